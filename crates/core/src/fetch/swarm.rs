//! A fetch whose receivers help each other.
//!
//! Who offers says so and to whom else it was offered; those say to each other what they hold, ask
//! each other for it, and check what comes against hashes from who offers. Whoever finds nothing to
//! ask for elsewhere asks who offers after all.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kith_protocol::peer::PeerMessage;
use kith_protocol::ranges::RangeSet;
use kith_protocol::{LinkId, OfferId, PeerId, limits};

use super::sources::{ASKED_OF_ALL, Chunks, Lack, Sources};
use super::{Fetch, FetchOut, Fetches, State};
use crate::effect::{Effect, FetchEffect};
use crate::engine::Ctx;
use crate::pace::Bucket;
use crate::record::FetchKey;
use crate::serve::{PIECE, UNDER_WAY, first_chunks, subtract};
use crate::time::{Deadline, Mono};

/// Nothing became durable for so long, and nobody else can be asked: who offers is.
pub const ALONE: Duration = Duration::from_secs(3);

/// What is known of the others.
#[derive(Debug, Default)]
pub(super) struct Swarm {
    /// To whom it was offered; empty: to the room.
    to: BTreeSet<PeerId>,
    /// Chunks before these can be checked, by entry.
    pub hashed: BTreeMap<u32, u64>,
    pub sources: Sources,
    /// Who hears what becomes durable here.
    told: BTreeSet<PeerId>,
    /// Who offers serves us as one of a swarm.
    fed: bool,
    /// Asked for from who offers, as nobody else has it.
    begged: Chunks,
    /// When something became durable last; nothing is waited for without it.
    progress: Option<Mono>,
    /// Who offers is all there is, until somebody else turns up.
    alone: bool,
    /// Entries before this one are complete.
    low: u32,
    /// What comes from all together, within the bound that there is on our side.
    paid: Bucket,
    /// When more may be asked for.
    pays: Option<Mono>,
}

/// A fetch that is bounded asks others for what it may take in this time, and for a piece at least.
const AHEAD: Duration = Duration::from_millis(250);

impl Swarm {
    /// A new worker, or a new link with who offers.
    pub fn detached(&mut self) {
        self.fed = false;
        self.progress = None;
        self.pays = None;
        self.begged.clear();
    }

    /// Something is on disk.
    pub fn arrived(&mut self, entry: u32, ranges: &RangeSet, now: Mono) {
        self.sources.arrived(entry, ranges, now);
        if let Some(begged) = self.begged.get_mut(&entry) {
            subtract(begged, ranges);
            if begged.is_empty() {
                self.begged.remove(&entry);
            }
        }
        self.progress = self.fed.then_some(now);
    }

    /// So much has come, whoever it is from.
    pub fn received(&mut self, bytes: u64, pace: Option<u64>, now: Mono) {
        self.paid.bound(pace, now);
        self.paid.take(bytes, now);
    }

    /// So many chunks may be asked for at a time now.
    fn most(&mut self, pace: Option<u64>, now: Mono) -> u64 {
        self.paid.bound(pace, now);
        let debt = self.paid.take(0, now);
        self.pays = (debt > Duration::ZERO).then(|| now + debt);
        match (pace, self.pays) {
            (_, Some(_)) => 0,
            (None, None) => ASKED_OF_ALL,
            (Some(pace), None) => {
                let ahead = u128::from(pace) * AHEAD.as_millis() / 1000;
                let chunks = ahead / limits::CHUNK as u128;
                u64::try_from(chunks).unwrap_or(u64::MAX).max(PIECE)
            }
        }
    }

    /// An entry is complete.
    pub fn complete(&mut self, entry: u32, now: Mono) {
        self.sources.complete(entry, now);
        self.begged.remove(&entry);
        self.hashed.remove(&entry);
        self.progress = self.fed.then_some(now);
    }

    /// Everything of the entry is void.
    pub fn void(&mut self, entry: u32) {
        self.low = self.low.min(entry);
    }

    /// Whether the peer may be served, and be a source.
    pub fn serves(&self, key: FetchKey, peer: PeerId) -> bool {
        self.meant(key, peer) && !self.sources.is_liar(peer)
    }

    fn meant(&self, key: FetchKey, peer: PeerId) -> bool {
        peer != key.from && (self.to.is_empty() || self.to.contains(&peer))
    }
}

impl Fetches {
    /// Who offers serves us as one of several.
    pub(super) fn on_swarm(
        &mut self,
        peer: PeerId,
        offer: OfferId,
        to: Vec<PeerId>,
        ctx: &mut Ctx<'_>,
    ) -> Vec<FetchOut> {
        let key = self.key(peer, offer);
        let Some(f) = self.fetches.get_mut(&(peer, offer)) else {
            return Vec::new();
        };
        if f.state != State::Fetching || f.total > limits::MAX_SWARM {
            return Vec::new();
        }
        let swarm = f.swarm.get_or_insert_default();
        swarm.to = to.into_iter().collect();
        swarm.fed = true;
        swarm.progress = Some(ctx.now.mono);
        let linked: Vec<PeerId> = self.links.keys().copied().collect();
        let mut out = vec![FetchOut::Changed(peer, offer)];
        for other in linked {
            out.extend(self.greet(key, other, true));
        }
        out
    }

    /// A link is open: its other end may hold what we lack, or lack what we hold.
    pub(super) fn greet_all(&self, peer: PeerId) -> Vec<FetchOut> {
        let mut out = Vec::new();
        for (from, offer) in self.fetches.keys() {
            out.extend(self.greet(self.key(*from, *offer), peer, true));
        }
        out
    }

    /// Says what we hold.
    fn greet(&self, key: FetchKey, peer: PeerId, hello: bool) -> Vec<FetchOut> {
        let Some(f) = self.fetches.get(&(key.from, key.offer)) else {
            return Vec::new();
        };
        let Some(swarm) = f.swarm.as_ref().filter(|s| s.meant(key, peer)) else {
            return Vec::new();
        };
        // Who has everything has nothing to ask for.
        let hello = hello && f.state.is_under_way();
        if !hello && !f.state.holds() || swarm.sources.is_liar(peer) {
            return Vec::new();
        }
        let mut whole = RangeSet::new();
        for entry in f.done.keys() {
            whole.insert(u64::from(*entry), u64::from(*entry) + 1);
        }
        let parts = f.durable.iter();
        let parts = parts.filter(|(e, r)| !r.is_empty() && !f.is_adopted(**e));
        holds(key, hello, &whole, parts)
            .into_iter()
            .map(|m| FetchOut::Send(peer, m))
            .collect()
    }

    /// Tells the others what is durable now.
    pub(super) fn tell(
        &self,
        key: FetchKey,
        whole: &RangeSet,
        part: Option<(u32, &RangeSet)>,
    ) -> Vec<FetchOut> {
        let f = self.fetches.get(&(key.from, key.offer));
        let Some((f, swarm)) = f.and_then(|f| Some((f, f.swarm.as_ref()?))) else {
            return Vec::new();
        };
        let part = part.filter(|(entry, _)| !f.is_adopted(*entry));
        let mut out = Vec::new();
        for peer in &swarm.told {
            let parts = part.iter().map(|(e, r)| (e, *r));
            let all = holds(key, false, whole, parts);
            out.extend(all.into_iter().map(|m| FetchOut::Send(*peer, m)));
        }
        out
    }

    /// Somebody holds some of what we fetch, or asks what we hold of it.
    pub(super) fn on_holds(
        &mut self,
        peer: PeerId,
        link: LinkId,
        key: FetchKey,
        hello: bool,
        (whole, parts): (&RangeSet, &[(u32, RangeSet)]),
        ctx: &mut Ctx<'_>,
    ) -> Vec<FetchOut> {
        let at = (key.from, key.offer);
        let Some(f) = self.fetches.get_mut(&at) else {
            return Vec::new();
        };
        let Some(swarm) = f.swarm.as_mut().filter(|s| s.meant(key, peer)) else {
            return Vec::new();
        };
        let fits = |(e, r): &(u32, RangeSet)| crate::serve::fits(&f.entries, *e, r);
        let bounded = whole.end() <= f.entries.len() as u64 && parts.iter().all(fits);
        if !bounded || swarm.sources.is_liar(peer) {
            return Vec::new();
        }
        swarm.told.insert(peer);
        let mut out = Vec::new();
        if f.state.is_under_way() && !(whole.is_empty() && parts.is_empty()) {
            if !swarm.sources.contains(peer) {
                self.transfers = self.transfers.wrapping_add(1);
                let transfer = self.transfers;
                swarm.sources.add(peer, link, transfer);
                let source = FetchEffect::AddSource { link, transfer };
                ctx.out(Effect::Fetch(key, f.run, source));
            }
            let mut whole = whole.clone();
            for entry in f.done.keys() {
                whole.remove(u64::from(*entry), u64::from(*entry) + 1);
            }
            let lacked = parts.iter().filter(|(e, _)| !f.done.contains_key(e));
            swarm
                .sources
                .holds(peer, &whole, &lacked.cloned().collect::<Vec<_>>());
            out.extend(self.pull(key, ctx));
        }
        if hello {
            out.extend(self.greet(key, peer, false));
        }
        out
    }

    /// Somebody holds nothing any more.
    pub(super) fn on_let_go(
        &mut self,
        peer: PeerId,
        key: FetchKey,
        ctx: &mut Ctx<'_>,
    ) -> Vec<FetchOut> {
        self.source_left(key, peer, ctx);
        self.pull(key, ctx)
    }

    /// The link with somebody is gone: as a source, as an asker, as a listener.
    pub(super) fn peer_left(&mut self, peer: PeerId, ctx: &mut Ctx<'_>) -> Vec<FetchOut> {
        let mut out = Vec::new();
        for (from, offer) in self.fetches.keys().copied().collect::<Vec<_>>() {
            let key = self.key(from, offer);
            let swarm = self.fetches.get_mut(&(from, offer));
            if let Some(swarm) = swarm.and_then(|f| f.swarm.as_mut()) {
                swarm.told.remove(&peer);
                self.source_left(key, peer, ctx);
                out.extend(self.pull(key, ctx));
            }
        }
        out
    }

    /// Somebody is not heard any more, or is again: what it was asked for is asked for elsewhere.
    pub fn on_silent(&mut self, peer: PeerId, silent: bool, ctx: &mut Ctx<'_>) -> Vec<FetchOut> {
        let now = ctx.now.mono;
        let mut out = Vec::new();
        for (from, offer) in self.fetches.keys().copied().collect::<Vec<_>>() {
            let swarm = self.fetches.get_mut(&(from, offer));
            if let Some(swarm) = swarm.and_then(|f| f.swarm.as_mut()) {
                swarm.sources.on_silent(peer, silent, now);
                out.extend(self.pull(self.key(from, offer), ctx));
            }
        }
        out
    }

    fn source_left(&mut self, key: FetchKey, peer: PeerId, ctx: &mut Ctx<'_>) {
        let Some(f) = self.fetches.get_mut(&(key.from, key.offer)) else {
            return;
        };
        let left = f.swarm.as_mut().and_then(|s| s.sources.left(peer));
        if let Some((link, transfer)) = left {
            let source = FetchEffect::DropSource { link, transfer };
            ctx.out(Effect::Fetch(key, f.run, source));
        }
    }

    /// A chunk of another holder was refused.
    pub(super) fn on_refused(
        &mut self,
        key: FetchKey,
        at: (LinkId, u32),
        (entry, index): (u32, u64),
        ctx: &mut Ctx<'_>,
    ) -> Vec<FetchOut> {
        let Some(f) = self.fetches.get_mut(&(key.from, key.offer)) else {
            return Vec::new();
        };
        let Some(swarm) = &mut f.swarm else {
            return Vec::new();
        };
        if let Some((peer, link, transfer)) = swarm.sources.refused(at, entry, index) {
            tracing::warn!(%peer, "a holder is not asked any more: its chunks are wrong");
            swarm.told.remove(&peer);
            let source = FetchEffect::DropSource { link, transfer };
            ctx.out(Effect::Fetch(key, f.run, source));
        }
        self.pull(key, ctx)
    }

    /// Asks for what can be had.
    pub(super) fn pull(&mut self, key: FetchKey, ctx: &mut Ctx<'_>) -> Vec<FetchOut> {
        let now = ctx.now.mono;
        let Some(f) = self.fetches.get_mut(&(key.from, key.offer)) else {
            return Vec::new();
        };
        let fetching = f.state == State::Fetching;
        // Who passes it on sends everything.
        let pushed = fetching && f.via != key.from;
        if (!fetching && f.state != State::Stalled) || f.is_held() || pushed {
            return Vec::new();
        }
        let left = f.total.saturating_sub(f.done_bytes());
        let pace = f.hold.pace;
        let Some(swarm) = &mut f.swarm else {
            return Vec::new();
        };
        let most = swarm.most(pace, now);
        let endgame = left <= swarm.sources.asked() * limits::CHUNK as u64;
        let lack = Lack {
            entries: &f.entries,
            done: &f.done,
            synced: &f.synced,
            begged: &swarm.begged,
            hashed: &swarm.hashed,
            endgame,
            most,
            salt: salt(&ctx.config.id_pk.peer_id()),
        };
        let mut out = Vec::new();
        for ask in swarm.sources.choose(&lack, now) {
            swarm.alone = false;
            let pull = PeerMessage::Pull {
                from: key.from,
                offer_id: key.offer,
                transfer: ask.transfer,
                entry: ask.entry,
                ranges: ask.ranges,
            };
            out.push(FetchOut::Send(ask.peer, pull));
        }
        if fetching && swarm.fed && swarm.alone {
            out.extend(f.beg(key));
        }
        out
    }

    /// Looks after disks that refused, sources that are slow and fetches that stand still.
    pub fn on_time(&mut self, ctx: &mut Ctx<'_>) -> Vec<FetchOut> {
        self.look_again(ctx);
        let now = ctx.now.mono;
        let mut out = Vec::new();
        for (from, offer) in self.fetches.keys().copied().collect::<Vec<_>>() {
            let key = self.key(from, offer);
            out.extend(self.leave_silent(key, ctx));
            let Some(f) = self.fetches.get_mut(&(from, offer)) else {
                continue;
            };
            let due = f.deadline().is_some_and(|d| d.at <= now);
            let Some(swarm) = f.swarm.as_mut().filter(|_| due) else {
                continue;
            };
            swarm.sources.on_time(now);
            if swarm.progress.is_some_and(|at| at + ALONE <= now) {
                swarm.alone = swarm.sources.asked() == 0;
                // What was asked for and did not come is asked for elsewhere, or once more.
                swarm.begged.clear();
                swarm.progress = Some(now);
            }
            out.extend(self.pull(key, ctx));
        }
        out
    }

    /// When that is due.
    pub fn deadline(&self) -> Option<Deadline> {
        let all = self.fetches.iter();
        let all = all.flat_map(|((from, _), f)| [f.deadline(), f.silence(*from)]);
        all.fold(self.next_look(), Deadline::earliest)
    }

    pub(super) fn key(&self, from: PeerId, offer: OfferId) -> FetchKey {
        let room = self.room;
        FetchKey { room, from, offer }
    }
}

impl Fetch {
    fn deadline(&self) -> Option<Deadline> {
        let swarm = self.swarm.as_ref().filter(|_| self.state.is_under_way())?;
        let fetching = self.state == State::Fetching;
        let alone = swarm.progress.filter(|_| fetching).map(|at| Deadline {
            at: at + ALONE,
            why: "fetch alone",
        });
        let slow = swarm.sources.deadline().map(|at| Deadline {
            at,
            why: "a slow source",
        });
        let pays = swarm.pays.filter(|_| !self.is_held()).map(|at| Deadline {
            at,
            why: "a bound on what is fetched",
        });
        Deadline::earliest(Deadline::earliest(alone, slow), pays)
    }

    /// Asks who offers for what nobody else can be asked for.
    fn beg(&mut self, key: FetchKey) -> Vec<FetchOut> {
        let mut out = Vec::new();
        let Some(swarm) = &mut self.swarm else {
            return out;
        };
        let begged: u64 = swarm.begged.values().map(RangeSet::count).sum();
        // Not for every chunk that comes a message.
        let mut left = match UNDER_WAY.saturating_sub(begged) {
            some if some * 3 >= UNDER_WAY => some,
            _ => return out,
        };
        while self.done.contains_key(&swarm.low) {
            swarm.low += 1;
        }
        for (entry, e) in (0u32..).zip(&self.entries).skip(swarm.low as usize) {
            if left == 0 {
                break;
            }
            if e.dir || self.done.contains_key(&entry) {
                continue;
            }
            let mut open = RangeSet::full(kith_protocol::frame::chunks(e.size));
            let known = [self.synced.get(&entry), swarm.begged.get(&entry)];
            known
                .into_iter()
                .flatten()
                .for_each(|r| subtract(&mut open, r));
            let ranges = first_chunks(&open, left);
            if ranges.is_empty() {
                continue;
            }
            left -= ranges.count();
            swarm.begged.entry(entry).or_default().union(&ranges);
            let want = PeerMessage::Want {
                offer_id: key.offer,
                entry,
                ranges,
            };
            out.push(FetchOut::Send(key.from, want));
        }
        out
    }
}

impl State {
    /// Taken, and not yet over.
    pub(super) fn is_under_way(&self) -> bool {
        matches!(self, State::Accepted | State::Fetching | State::Stalled)
    }

    /// Others may be served from it.
    pub(super) fn holds(&self) -> bool {
        matches!(self, State::Fetching | State::Stalled | State::Done)
    }
}

/// What we hold, in as many messages as it takes; one at least where it is a greeting.
fn holds<'a>(
    key: FetchKey,
    hello: bool,
    whole: &RangeSet,
    parts: impl Iterator<Item = (&'a u32, &'a RangeSet)>,
) -> Vec<PeerMessage> {
    let message = |whole, parts| PeerMessage::Holds {
        from: key.from,
        offer_id: key.offer,
        hello: false,
        whole,
        parts,
    };
    let mut out: Vec<PeerMessage> = whole
        .split(limits::MAX_RANGES)
        .map(|whole| message(whole, Vec::new()))
        .collect();
    let mut page: Vec<(u32, RangeSet)> = Vec::new();
    let mut left = limits::MAX_RANGES;
    for (entry, ranges) in parts {
        for ranges in ranges.split(limits::MAX_RANGES / 4) {
            let count = ranges.ranges().len();
            if count > left {
                out.push(message(RangeSet::new(), std::mem::take(&mut page)));
                left = limits::MAX_RANGES;
            }
            left -= count;
            page.push((*entry, ranges));
        }
    }
    if !page.is_empty() {
        out.push(message(RangeSet::new(), page));
    }
    if hello {
        if out.is_empty() {
            out.push(message(RangeSet::new(), Vec::new()));
        }
        if let Some(PeerMessage::Holds { hello, .. }) = out.last_mut() {
            *hello = true;
        }
    }
    out
}

fn salt(me: &PeerId) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&me.0[..8]);
    u64::from_be_bytes(first)
}
