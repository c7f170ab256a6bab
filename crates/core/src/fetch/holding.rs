//! What we have of others' offers, for other receivers of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use kith_protocol::peer::PeerMessage;
use kith_protocol::ranges::RangeSet;
use kith_protocol::{LinkId, PeerId, limits};

use super::{FetchOut, Fetches};
use crate::effect::{Effect, HoldEffect};
use crate::engine::Ctx;
use crate::input::{HoldKey, HoldNews};
use crate::record::FetchKey;

/// Everything may be asked for so many times by one receiver over one link, and some more.
const TIMES: u64 = 3;
const SOME_MORE: u64 = 1024;
/// Receivers that are served at a time, of all offers of a room.
const MOST_HOLDS: usize = 256;

/// Whom we serve what of others' offers.
#[derive(Debug, Default)]
pub(super) struct Holds {
    all: BTreeMap<HoldKey, Hold>,
    runs: u32,
}

#[derive(Debug)]
struct Hold {
    run: u32,
    link: LinkId,
    transfer: u32,
    /// Chunks that were asked for.
    asked: u64,
}

impl Fetches {
    /// Another receiver asks for chunks.
    pub(super) fn on_pull(
        &mut self,
        peer: PeerId,
        link: LinkId,
        fetch: FetchKey,
        transfer: u32,
        (entry, ranges): (u32, RangeSet),
        ctx: &mut Ctx<'_>,
    ) -> Vec<FetchOut> {
        let key = HoldKey { fetch, peer };
        let Some(f) = self.fetches.get(&(fetch.from, fetch.offer)) else {
            return Vec::new();
        };
        if !f.swarm.as_ref().is_some_and(|s| s.serves(fetch, peer)) {
            return Vec::new();
        }
        let name = f.done.get(&entry);
        let durable = f.durable.get(&entry).filter(|_| !f.is_adopted(entry));
        let there = |&(a, b): &(u64, u64)| durable.is_some_and(|d| d.next_missing(a) >= b);
        let held = match name {
            Some(_) => crate::serve::fits(&f.entries, entry, &ranges),
            None => ranges.ranges().iter().all(there),
        };
        let most = (f.total / limits::CHUNK as u64 + u64::from(f.count)) * TIMES + SOME_MORE;
        let asked = self.holds.all.get(&key).map_or(0, |h| h.asked);
        let record = f.record.as_ref().filter(|_| f.state.holds() && held);
        let Some(record) = record.filter(|_| asked.saturating_add(ranges.count()) <= most) else {
            return self.let_go(key, ctx);
        };
        let known = self.holds.all.get(&key);
        if known.is_none_or(|h| (h.link, h.transfer) != (link, transfer)) {
            if known.is_none() && self.holds.all.len() >= MOST_HOLDS {
                return self.let_go(key, ctx);
            }
            let before = self.holds.all.remove(&key);
            if let Some(h) = &before {
                ctx.out(Effect::Hold(key, h.run, HoldEffect::Stop));
            }
            self.holds.runs = self.holds.runs.wrapping_add(1);
            let hold = Hold {
                run: self.holds.runs,
                link,
                transfer,
                asked: before.map_or(0, |h| h.asked),
            };
            let start = HoldEffect::Start {
                link,
                transfer,
                record: Arc::clone(record),
            };
            ctx.out(Effect::Hold(key, hold.run, start));
            self.holds.all.insert(key, hold);
        }
        if let Some(hold) = self.holds.all.get_mut(&key) {
            hold.asked += ranges.count();
            let want = HoldEffect::Want {
                entry,
                ranges,
                name: name.cloned(),
            };
            ctx.out(Effect::Hold(key, hold.run, want));
        }
        Vec::new()
    }

    /// News of a hold worker.
    pub fn on_hold(
        &mut self,
        key: HoldKey,
        run: u32,
        news: HoldNews,
        ctx: &mut Ctx<'_>,
    ) -> Vec<FetchOut> {
        if self.holds.all.get(&key).is_none_or(|h| h.run != run) {
            return Vec::new();
        }
        match news {
            HoldNews::Sent(bytes) => {
                let FetchKey { from, offer, .. } = key.fetch;
                let Some(f) = self.fetches.get_mut(&(from, offer)) else {
                    return Vec::new();
                };
                f.traffic.sent += bytes;
                vec![FetchOut::Changed(from, offer)]
            }
            HoldNews::Failed => self.let_go(key, ctx),
        }
    }

    fn let_go(&mut self, key: HoldKey, ctx: &mut Ctx<'_>) -> Vec<FetchOut> {
        self.stop_holds(|k| *k == key, ctx);
        let message = PeerMessage::LetGo {
            from: key.fetch.from,
            offer_id: key.fetch.offer,
        };
        vec![FetchOut::Send(key.peer, message)]
    }

    /// Serves these no longer.
    pub(super) fn stop_holds(&mut self, which: impl Fn(&HoldKey) -> bool, ctx: &mut Ctx<'_>) {
        self.holds.all.retain(|key, hold| {
            let stop = which(key);
            if stop {
                ctx.out(Effect::Hold(*key, hold.run, HoldEffect::Stop));
            }
            !stop
        });
    }
}
