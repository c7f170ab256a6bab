//! Others who pass on what we fetch, and what we may pass on ourselves.
//!
//! An offer is found again under its id, whoever serves it. What a stand-in says is compared with the
//! voucher of who offers: the manifest with the id, the hashes of all files with the voucher's root, each
//! file with its hash. Who is found wrong is not asked again.

use std::ops::Bound;
use std::sync::Arc;

use kith_protocol::ids::Digest;
use kith_protocol::peer::PeerMessage;
use kith_protocol::voucher::Voucher;
use kith_protocol::{Code, LinkId, OfferId, PeerId, limits};

use super::{After, Fetch, FetchOut, Fetches, MAX_KNOWN, State, say_done};
use crate::effect::{Effect, FetchEffect};
use crate::engine::Ctx;
use crate::offer;
use crate::record::{FetchKey, Passed, Put, SavedFetch};

impl Fetches {
    /// The fetch that this peer serves under this id now.
    pub(super) fn served_by(&self, peer: PeerId, offer: OfferId) -> Option<FetchKey> {
        let serves = |f: &Fetch| f.via == peer;
        let own = self.fetches.get(&(peer, offer)).filter(|f| serves(f));
        if own.is_some() {
            return Some(self.key(peer, offer));
        }
        let mut all = self.fetches.iter();
        let found = all.find(|((_, id), f)| *id == offer && serves(f) && f.link.is_some());
        found.map(|((from, id), _)| self.key(*from, *id))
    }

    /// Whether no more offers that this peer tells us of are remembered: its own, or others'.
    pub(super) fn is_full_of(&self, peer: PeerId, own: bool) -> bool {
        let of_peer = || self.fetches.iter().filter(|(_, f)| f.by == peer);
        let open = of_peer().filter(|((from, _), f)| f.is_open() && (*from == peer) == own);
        open.count() >= limits::MAX_OFFERS || of_peer().count() >= MAX_KNOWN
    }

    /// Who offers vouches for what we have all of.
    pub(super) fn on_voucher(
        &mut self,
        peer: PeerId,
        offer: OfferId,
        voucher: Box<Voucher>,
        ctx: &mut Ctx<'_>,
    ) -> Vec<FetchOut> {
        let key = self.key(peer, offer);
        let Some(f) = self.fetches.get_mut(&(peer, offer)) else {
            return Vec::new();
        };
        if voucher.by.peer_id() != peer || f.state != State::Done || !f.is_of(&voucher) {
            return Vec::new();
        }
        // Who offers may let in more people, and no more than that: each word is recorded.
        let more = |before: &Voucher| before.root == voucher.root && voucher.is_wider_than(before);
        if f.voucher.as_ref().is_some_and(|before| !more(before)) {
            return Vec::new();
        }
        let before = f.voucher.replace(voucher);
        if !f.is_vouched(key) {
            // The id names something else: nobody would take it from us.
            f.voucher = before;
            return Vec::new();
        }
        self.pass(key, ctx)
    }

    /// Somebody has all of somebody else's offer.
    pub(super) fn on_stand_in(
        &mut self,
        peer: PeerId,
        link: LinkId,
        offer: OfferId,
        voucher: Box<Voucher>,
        ctx: &mut Ctx<'_>,
    ) -> Vec<FetchOut> {
        let key = self.key(voucher.by.peer_id(), offer);
        let me = ctx.config.id_pk.peer_id();
        if key.from == me || key.from == peer || !voucher.is_for(me) {
            return Vec::new();
        }
        let (at, full) = ((key.from, offer), self.is_full_of(peer, false));
        let Some(f) = self.fetches.get_mut(&at) else {
            if full || self.saved.get(&at).is_some_and(SavedFetch::is_whole) {
                // What was here whole before was seen by its user, who may have moved it since.
                return Vec::new();
            }
            let facts = (voucher.name.clone(), None, voucher.entries, voucher.total);
            let mut f = Fetch::new(facts, (peer, Some(link)));
            f.voucher = Some(voucher);
            f.at = ctx.now.unix_ms;
            f.patience.begin(ctx.now.mono);
            let browse = f.browse(key);
            self.fetches.insert(at, f);
            return vec![browse, FetchOut::Changed(key.from, offer)];
        };
        let same = f.is_of(&voucher);
        let root = f.voucher.as_ref().map(|v| v.root);
        if !same || root.is_some_and(|r| r != voucher.root) || f.spurned.contains(&peer) {
            return Vec::new();
        }
        match f.state {
            // What its sender took back, or our user refused, is not had from others.
            State::Done | State::Declined | State::Failed(_) => return Vec::new(),
            State::Withdrawn(Code::Cancelled | Code::SourceChanged) => return Vec::new(),
            // Who took it did not give it up.
            State::Withdrawn(_) if f.record.is_some() => f.state = State::Queued,
            State::Withdrawn(_) if f.has_manifest() => f.state = State::Offered,
            State::Withdrawn(_) => {
                f.forget_manifest();
                f.state = State::Seen;
            }
            State::Seen
            | State::Offered
            | State::Reading { .. }
            | State::Queued
            | State::Accepted
            | State::Fetching
            | State::Stalled => {}
        }
        f.voucher = f.voucher.take().or(Some(voucher));
        f.announced.insert(peer, link);
        match f.link {
            Some(_) => Vec::new(),
            None => self.turn_to_another(key, ctx),
        }
    }

    /// Somebody serves it no longer: who offers, for everybody, or who passed it on.
    pub(super) fn on_gone(
        &mut self,
        peer: PeerId,
        offer: OfferId,
        why: Code,
        ctx: &mut Ctx<'_>,
    ) -> Vec<FetchOut> {
        let at = (peer, offer);
        let key = self.key(peer, offer);
        let mut out = Vec::new();
        let known = self.fetches.contains_key(&at) || self.saved.contains_key(&at);
        if why == Code::Cancelled && known {
            // Nobody is to have it from us either.
            out.push(FetchOut::KeepBack(key, why));
            self.forget_voucher(key, ctx);
        }
        let ends = matches!(why, Code::Cancelled | Code::SourceChanged);
        let Some(f) = self.fetches.get_mut(&at) else {
            if let Some(key) = self.served_by(peer, offer) {
                out.extend(self.turn_away(key, peer, ctx));
            }
            return out;
        };
        f.gone = Some(why);
        let others = f.announced.keys().any(|p| *p != peer);
        if others && !ends {
            out.extend(self.turn_away(key, peer, ctx));
        } else {
            out.extend(self.withdraw(key, why, ctx));
        }
        out
    }

    /// Nobody has it any more, or may give it to us.
    fn withdraw(&mut self, key: FetchKey, why: Code, ctx: &mut Ctx<'_>) -> Vec<FetchOut> {
        let (peer, at) = (key.from, (key.from, key.offer));
        let Some(f) = self.fetches.get_mut(&at) else {
            return Vec::new();
        };
        f.announced.clear();
        (f.via, f.link) = (peer, None);
        // It can never be had: what is unfinished of it is of no use any more.
        let discard = why == Code::SourceChanged;
        match f.state {
            State::Done => return Vec::new(),
            State::Accepted | State::Fetching | State::Stalled => {
                ctx.out(Effect::Fetch(key, f.run, FetchEffect::Stop { discard }));
            }
            State::Queued if discard => f.discard(key, ctx),
            State::Queued => {}
            State::Reading { .. } => f.shrink(),
            // Taken once more, they would wait for an announcement that does not come.
            State::Seen
            | State::Offered
            | State::Declined
            | State::Failed(_)
            | State::Withdrawn(_) => {}
        }
        f.state = State::Withdrawn(why);
        f.hold.refused = None;
        if discard && f.record.take().is_some() {
            f.forget_progress();
            self.store(key, vec![Put::DropFetch(key)], After::Nothing, ctx);
        }
        self.probes.remove(&at);
        vec![FetchOut::Changed(peer, key.offer)]
    }

    /// Who offers took it back: it is not passed on any more, also after a restart.
    fn forget_voucher(&mut self, key: FetchKey, ctx: &mut Ctx<'_>) {
        let at = (key.from, key.offer);
        if let Some(f) = self.fetches.get_mut(&at) {
            f.voucher = None;
            self.keep_voucher(key, ctx);
        }
        if let Some(s) = self.saved.get_mut(&at)
            && s.record.voucher.take().is_some()
        {
            let put = Put::Fetch(s.record.clone());
            self.store(key, vec![put], After::Nothing, ctx);
        }
    }

    /// Somebody announces it no longer; if it came from there, it comes from another now.
    pub(super) fn leave(
        &mut self,
        key: FetchKey,
        peer: PeerId,
        ctx: &mut Ctx<'_>,
    ) -> Vec<FetchOut> {
        let Some(f) = self.fetches.get_mut(&(key.from, key.offer)) else {
            return Vec::new();
        };
        f.announced.remove(&peer);
        if f.via != peer {
            return Vec::new();
        }
        f.link = None;
        f.hold.unsaid();
        f.hold.there = false;
        f.hold.turn = false;
        if let Some(swarm) = &mut f.swarm {
            swarm.detached();
        }
        if f.state == State::Fetching {
            f.state = State::Stalled;
        }
        let mut out = vec![FetchOut::Changed(key.from, key.offer)];
        out.extend(self.turn_to_another(key, ctx));
        out
    }

    /// Has it come from whoever announces it, if anybody does: from who offers rather than others.
    fn turn_to_another(&mut self, key: FetchKey, ctx: &mut Ctx<'_>) -> Vec<FetchOut> {
        let Some(f) = self.fetches.get_mut(&(key.from, key.offer)) else {
            return Vec::new();
        };
        let first = f.announced.get_key_value(&key.from);
        // The next after the one before, so that each is asked in the end.
        let after = (Bound::Excluded(f.via), Bound::Unbounded);
        let next = || f.announced.range(after).next();
        let any = || f.announced.first_key_value();
        let Some((via, link)) = first.or_else(next).or_else(any) else {
            f.via = key.from;
            return Vec::new();
        };
        let (via, link) = (*via, *link);
        if f.via != via {
            f.begin_anew();
        }
        (f.via, f.link) = (via, Some(link));
        f.patience.begin(ctx.now.mono);
        let mut out = vec![FetchOut::Changed(key.from, key.offer)];
        match f.state {
            State::Seen | State::Reading { .. } => out.push(f.browse(key)),
            State::Stalled | State::Queued => out.extend(self.wish(key, ctx)),
            State::Offered
            | State::Accepted
            | State::Fetching
            | State::Done
            | State::Failed(_)
            | State::Declined
            | State::Withdrawn(_) => {}
        }
        out
    }

    /// Who passes it on is wrong: others are asked from now on.
    pub(super) fn spurn(&mut self, key: FetchKey, why: Code, ctx: &mut Ctx<'_>) -> Vec<FetchOut> {
        let Some(f) = self.fetches.get_mut(&(key.from, key.offer)) else {
            return Vec::new();
        };
        let via = f.via;
        if via == key.from || f.link.is_none() {
            return Vec::new();
        }
        tracing::warn!(peer = %via, offer = %key.offer, code = why.name(), "not taken from here");
        (f.strikes, f.mismatches) = (0, 0);
        f.spurned.insert(via);
        let cancel = PeerMessage::Cancel {
            offer_id: key.offer,
            why,
        };
        let mut out = vec![FetchOut::Send(via, cancel)];
        out.extend(self.turn_away(key, via, ctx));
        out
    }

    /// Somebody who is still linked passes it on no longer, to us at least.
    pub(super) fn turn_away(
        &mut self,
        key: FetchKey,
        peer: PeerId,
        ctx: &mut Ctx<'_>,
    ) -> Vec<FetchOut> {
        let f = self.fetches.get(&(key.from, key.offer));
        if let Some(f) = f.filter(|f| f.state == State::Fetching) {
            // What is on the way is not looked at any more.
            ctx.out(Effect::Fetch(key, f.run, FetchEffect::Detach));
        }
        let mut out = self.leave(key, peer, ctx);
        let f = self.fetches.get(&(key.from, key.offer));
        let nobody = f.filter(|f| f.announced.is_empty());
        if let Some(why) = nobody.and_then(|f| f.gone) {
            // Nor has who offers.
            out.extend(self.withdraw(key, why, ctx));
        }
        out
    }

    /// A manifest is not what it was said to be.
    pub(super) fn refuse_manifest(&mut self, key: FetchKey, ctx: &mut Ctx<'_>) -> Vec<FetchOut> {
        let Some(f) = self.fetches.get_mut(&(key.from, key.offer)) else {
            return Vec::new();
        };
        f.forget_manifest();
        if f.via != key.from {
            return self.spurn(key, Code::PeerProtocol, ctx);
        }
        f.state = State::Failed(Code::PeerProtocol);
        vec![FetchOut::Changed(key.from, key.offer)]
    }

    /// We have all of it: who offers hears that also if it came from another, and it is passed on.
    pub(super) fn after_complete(&mut self, key: FetchKey, ctx: &mut Ctx<'_>) -> Vec<FetchOut> {
        let mut out = self.pass(key, ctx);
        let f = self.fetches.get(&(key.from, key.offer));
        if f.is_some_and(|f| f.via != key.from) && self.links.contains_key(&key.from) {
            out.push(say_done(key.from, key.offer));
        }
        out
    }

    /// Passes it on, if we have all of it and the word of who offers.
    fn pass(&mut self, key: FetchKey, ctx: &mut Ctx<'_>) -> Vec<FetchOut> {
        self.keep_voucher(key, ctx);
        let f = self.fetches.get(&(key.from, key.offer));
        f.and_then(|f| f.passed(key))
            .map(FetchOut::Pass)
            .into_iter()
            .collect()
    }

    /// Everything that we may pass on.
    pub fn passed(&self) -> Vec<Passed> {
        let live = self.fetches.iter();
        let live = live.filter_map(|((from, offer), f)| f.passed(self.key(*from, *offer)));
        let known = |at| self.fetches.get(at).is_some_and(|f| f.record.is_some());
        let saved = self.saved.iter().filter(|(at, _)| !known(at));
        let saved = saved.filter(|(_, s)| s.record.voucher.is_some() && s.is_whole());
        let saved = saved.map(|(_, s)| Passed {
            record: s.record.clone().into(),
            names: Arc::new(s.done.iter().cloned().collect()),
        });
        live.chain(saved).collect()
    }

    /// Has the store know the voucher, or that there is none any more.
    fn keep_voucher(&mut self, key: FetchKey, ctx: &mut Ctx<'_>) {
        let Some(f) = self.fetches.get_mut(&(key.from, key.offer)) else {
            return;
        };
        let Some(record) = f.record.as_mut().filter(|r| r.voucher != f.voucher) else {
            return;
        };
        Arc::make_mut(record).voucher.clone_from(&f.voucher);
        let put = Put::Fetch((**record).clone());
        self.store(key, vec![put], After::Nothing, ctx);
    }
}

impl Fetch {
    /// Whether the voucher is about an offer of this name and size.
    fn is_of(&self, voucher: &Voucher) -> bool {
        let facts = (&voucher.name, voucher.entries, voucher.total);
        (&self.name, self.count, self.total) == facts
    }

    /// What the hashes of all entries must hash to, if it does not come from who offers.
    pub(super) fn root_for(&self, key: FetchKey) -> Option<Digest> {
        let voucher = self.voucher.as_ref().filter(|_| self.via != key.from);
        voucher.map(|v| v.root)
    }

    /// Whether the manifest, if it is whole, is the one that the id names: who offers may have a
    /// mistaken one of its own, others not.
    pub(super) fn is_vouched(&self, key: FetchKey) -> bool {
        let Some(voucher) = self.voucher.as_ref().filter(|_| self.has_manifest()) else {
            return true;
        };
        offer::offer_id(&voucher.by, &key.room, &self.name, &self.entries) == key.offer
    }

    fn passed(&self, key: FetchKey) -> Option<Passed> {
        let record = self.record.as_ref().filter(|_| self.state == State::Done)?;
        if record.voucher.is_none() || !self.is_vouched(key) {
            return None;
        }
        Some(Passed {
            record: record.clone(),
            names: Arc::new(self.done.clone()),
        })
    }
}
