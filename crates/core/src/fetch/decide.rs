//! The user takes an offer or refuses it.

use std::collections::BTreeSet;
use std::sync::Arc;

use kith_api::{ApiError, OfferAction};
use kith_protocol::Code;
use kith_protocol::peer::PeerMessage;

use super::{After, FetchOut, Fetches, Hold, State};
use crate::effect::{Effect, FetchEffect};
use crate::engine::Ctx;
use crate::record::{FetchKey, FetchRecord, Put};

impl Fetches {
    /// Takes an offer, into `dir`. What is missing of its manifest is asked for first.
    pub fn accept(
        &mut self,
        key: FetchKey,
        dir: String,
        ctx: &mut Ctx<'_>,
    ) -> Result<Vec<FetchOut>, ApiError> {
        let at = (key.from, key.offer);
        let Some(f) = self.fetches.get_mut(&at) else {
            return Err(ApiError::new(Code::NotNow));
        };
        if !f.can().contains(&OfferAction::Accept) {
            return Err(ApiError::new(Code::NotNow));
        }
        f.hold.renew();
        self.probes.remove(&at);
        if f.has_manifest() {
            return Ok(self.enqueue(key, dir, ctx));
        }
        f.state = State::Reading { dir };
        // Without a link it is asked for when the offer is announced again.
        let ask = f.link.is_some().then(|| f.browse(key));
        let changed = FetchOut::Changed(key.from, key.offer);
        Ok(ask.into_iter().chain([changed]).collect())
    }

    /// The user wants it in `dir`, and its manifest is here.
    pub(super) fn enqueue(
        &mut self,
        key: FetchKey,
        dir: String,
        ctx: &mut Ctx<'_>,
    ) -> Vec<FetchOut> {
        let at = (key.from, key.offer);
        let Some(f) = self.fetches.get_mut(&at) else {
            return Vec::new();
        };
        let saved = self
            .saved
            .get(&at)
            .filter(|s| s.record.dir == dir && s.record.entries[..] == f.entries[..]);
        let record = match (&f.record, saved) {
            (Some(r), _) if r.dir == dir => Arc::clone(r),
            (_, Some(s)) => {
                f.durable = s.ranges.iter().cloned().collect();
                f.done = s.done.iter().cloned().collect();
                Arc::new(s.record.clone())
            }
            (_, None) => {
                f.durable.clear();
                f.done.clear();
                let tag = ctx
                    .random::<8>()
                    .iter()
                    .map(|b| format!("{b:02x}"))
                    .collect();
                let (name, entries) = (f.name.clone(), f.entries.as_slice().into());
                Arc::new(FetchRecord {
                    key,
                    dir,
                    tag,
                    name,
                    entries,
                    roots: Vec::new(),
                    begun: false,
                    hold: crate::record::Hold::default(),
                    voucher: f.voucher.clone(),
                    adopted: BTreeSet::new(),
                })
            }
        };
        f.measure();
        f.record = Some(record);
        f.state = State::Queued;
        let mut out = vec![FetchOut::Changed(key.from, key.offer)];
        out.extend(self.wish(key, ctx));
        out
    }

    /// It is its turn: a worker prepares the folder.
    pub(super) fn prepare(&mut self, key: FetchKey, ctx: &mut Ctx<'_>) -> Vec<FetchOut> {
        let at = (key.from, key.offer);
        let Some(f) = self.fetches.get_mut(&at) else {
            return Vec::new();
        };
        let Some(record) = f.record.clone() else {
            return Vec::new();
        };
        self.runs = self.runs.wrapping_add(1);
        f.run = self.runs;
        f.state = State::Accepted;
        f.strikes = 0;
        f.mismatches = 0;
        f.swarm = None;
        let (ranges, done) = (f.durable.clone(), f.done.clone());
        let effect = FetchEffect::Prepare {
            record,
            ranges,
            done,
        };
        ctx.out(Effect::Fetch(key, f.run, effect));
        vec![FetchOut::Changed(key.from, key.offer)]
    }

    /// Refuses an offer, or ends its fetch and removes what is unfinished.
    pub fn decline(&mut self, key: FetchKey, ctx: &mut Ctx<'_>) -> Result<Vec<FetchOut>, ApiError> {
        let at = (key.from, key.offer);
        let Some(f) = self.fetches.get_mut(&at) else {
            return Err(ApiError::new(Code::NotNow));
        };
        let can = f.can();
        if !can.contains(&OfferAction::Decline) && !can.contains(&OfferAction::Cancel) {
            return Err(ApiError::new(Code::NotNow));
        }
        let message = if f.record.is_some() {
            match f.state {
                State::Accepted | State::Fetching | State::Stalled => {
                    let stop = FetchEffect::Stop { discard: true };
                    ctx.out(Effect::Fetch(key, f.run, stop));
                }
                State::Queued
                | State::Seen
                | State::Offered
                | State::Reading { .. }
                | State::Done
                | State::Failed(_)
                | State::Declined
                | State::Withdrawn(_) => f.discard(key, ctx),
            }
            PeerMessage::Cancel {
                offer_id: key.offer,
                why: Code::Cancelled,
            }
        } else {
            PeerMessage::Decline {
                offer_id: key.offer,
                why: Code::Declined,
            }
        };
        f.swarm = None;
        let via = f.via;
        let discarded = f.record.take().is_some();
        f.state = State::Declined;
        // Without a link, what it was told before still stands.
        f.declined = f.link.or(f.declined);
        f.hold = Hold::default();
        f.forget_progress();
        f.shrink();
        self.probes.remove(&at);
        self.stop_holds(|k| k.fetch == key, ctx);
        let saved = self.saved.remove(&at);
        // It may be whole, of before, and passed on since.
        let kept = saved
            .as_ref()
            .map(|_| FetchOut::KeepBack(key, Code::Declined));
        if let Some(saved) = saved.filter(|_| !discarded) {
            let effect = FetchEffect::Discard {
                begun: saved.ranges.iter().map(|(e, _)| *e).collect(),
                record: Arc::new(saved.record),
            };
            ctx.out(Effect::Fetch(key, 0, effect));
        }
        self.store(key, vec![Put::DropFetch(key)], After::Nothing, ctx);
        let said = [
            FetchOut::Send(via, message),
            FetchOut::Changed(key.from, key.offer),
        ];
        Ok(said.into_iter().chain(kept).collect())
    }
}
