//! The user takes an offer or refuses it.

use std::sync::Arc;

use kith_api::{ApiError, OfferAction};
use kith_protocol::Code;
use kith_protocol::peer::PeerMessage;

use super::{After, FetchOut, Fetches, State};
use crate::effect::{Effect, FetchEffect};
use crate::engine::Ctx;
use crate::record::{FetchKey, FetchRecord, Put, SavedFetch};

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
        if f.has_manifest() {
            return Ok(self.prepare(key, dir, ctx));
        }
        f.state = State::Reading { dir };
        // Without a link it is asked for when the offer is announced again.
        let ask = f.link.is_some().then(|| f.browse(key));
        let changed = FetchOut::Changed(key.from, key.offer);
        Ok(ask.into_iter().chain([changed]).collect())
    }

    /// The user wants it in `dir`, and its manifest is here.
    pub(super) fn prepare(
        &mut self,
        key: FetchKey,
        dir: String,
        ctx: &mut Ctx<'_>,
    ) -> Vec<FetchOut> {
        let at = (key.from, key.offer);
        let Some(f) = self.fetches.get_mut(&at) else {
            return Vec::new();
        };
        self.runs = self.runs.wrapping_add(1);
        f.run = self.runs;
        let saved = self
            .saved
            .get(&at)
            .filter(|s| s.record.dir == dir && s.record.entries == f.entries);
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
                let (name, entries) = (f.name.clone(), f.entries.clone());
                Arc::new(FetchRecord {
                    key,
                    dir,
                    tag,
                    name,
                    entries,
                    roots: Vec::new(),
                })
            }
        };
        f.measure();
        f.record = Some(Arc::clone(&record));
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
            ctx.out(Effect::Fetch(
                key,
                f.run,
                FetchEffect::Stop { discard: true },
            ));
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
        let discarded = f.record.take().is_some();
        f.state = State::Declined;
        f.declined = true;
        f.durable.clear();
        f.synced.clear();
        f.done.clear();
        f.measure();
        f.shrink();
        self.stop_holds(|k| k.fetch == key, ctx);
        if let Some(saved) = self.saved.remove(&at)
            && !discarded
        {
            self.discard(saved, ctx);
        }
        self.store(key, vec![Put::DropFetch(key)], After::Nothing, ctx);
        Ok(vec![
            FetchOut::Send(key.from, message),
            FetchOut::Changed(key.from, key.offer),
        ])
    }

    /// Removes what an earlier app session left on disk.
    fn discard(&mut self, saved: SavedFetch, ctx: &mut Ctx<'_>) {
        self.runs = self.runs.wrapping_add(1);
        let key = saved.record.key;
        let prepare = FetchEffect::Prepare {
            record: Arc::new(saved.record),
            ranges: saved.ranges.into_iter().collect(),
            done: saved.done.into_iter().collect(),
        };
        for effect in [prepare, FetchEffect::Stop { discard: true }] {
            ctx.out(Effect::Fetch(key, self.runs, effect));
        }
    }
}
