//! Offers that outlive their sender's presence: what we vouch for, and what of others' we pass on.
//!
//! Who has all of an offer hears from who offers what its files hash to, signed, and may then stand in
//! for them. Whoever fetches from a stand-in checks every file against that.

use std::collections::{BTreeMap, BTreeSet};

use kith_api::ReceiverView;
use kith_protocol::ids::{Digest, Signature};
use kith_protocol::peer::PeerMessage;
use kith_protocol::voucher::Voucher;
use kith_protocol::{Code, OfferId, PeerId, limits};

use super::strategy::Mode;
use super::{Offer, Receiver, ServeOut, Serves, State, Word, stop};
use crate::effect::Effect;
use crate::engine::Ctx;
use crate::record::{FetchKey, Passed};

/// Others' offers that are passed on in a room at most.
const MOST_PASSED: usize = 256;

impl Serves {
    /// A receiver has everything: it may pass the offer on, with our word.
    pub(super) fn vouch(&mut self, peer: PeerId, id: OfferId, ctx: &mut Ctx<'_>) -> Vec<ServeOut> {
        let room = self.room;
        let Some(offer) = self.offers.get_mut(&id) else {
            return Vec::new();
        };
        // What is for one person is passed on to nobody; and all for whom it is must be named.
        let named = offer.to.len() != 1 && offer.to.len() <= limits::MAX_NAMED;
        let done = offer
            .receivers
            .get(&peer)
            .is_some_and(|r| r.state == State::Done);
        if !named || !done || offer.passed.is_some() {
            return Vec::new();
        }
        match &offer.word {
            Word::Given(voucher) => vec![ServeOut::Send(peer, word(id, voucher))],
            Word::Asked => Vec::new(),
            // Who says it without having got anything has our word already, or no need of it.
            Word::Ungiven if offer.receivers.values().all(|r| r.traffic.sent == 0) => Vec::new(),
            Word::Ungiven => {
                offer.word = Word::Asked;
                let word = Voucher {
                    by: ctx.config.id_pk,
                    name: offer.name.clone(),
                    entries: offer.entries.len() as u32,
                    total: offer.total,
                    root: Digest([0; 32]),
                    to: offer.to.iter().copied().collect(),
                    sig: Signature([0; 64]),
                };
                ctx.out(Effect::Vouch(room, id, Box::new(word)));
                Vec::new()
            }
        }
    }

    /// What the files of an offer of ours hash to.
    pub fn on_vouched(&mut self, id: OfferId, voucher: Option<Box<Voucher>>) -> Vec<ServeOut> {
        let Some(offer) = self.offers.get_mut(&id) else {
            return Vec::new();
        };
        if !matches!(offer.word, Word::Asked) {
            return Vec::new();
        }
        offer.word = Word::Ungiven;
        // It may be for others by now.
        let same = |v: &Voucher| v.to.iter().eq(&offer.to) && offer.withdrawn.is_none();
        let Some(voucher) = voucher.filter(|v| same(v)) else {
            return Vec::new();
        };
        let done = offer
            .receivers
            .iter()
            .filter(|(_, r)| r.state == State::Done);
        let here = done.filter(|(peer, _)| offer.met.contains(peer));
        let out = here.map(|(peer, _)| ServeOut::Send(*peer, word(id, &voucher)));
        let out = out.collect();
        offer.word = Word::Given(voucher);
        out
    }

    /// We have all of somebody's offer, and their word on it.
    pub fn pass_on(&mut self, passed: Passed, at: u64, linked: &[PeerId]) -> Vec<ServeOut> {
        let record = &passed.record;
        let id = record.key.offer;
        let all = self.offers.values().filter(|o| o.passed.is_some()).count();
        let (Some(voucher), Some(total)) = (&record.voucher, crate::offer::total(&record.entries))
        else {
            return Vec::new();
        };
        let to: BTreeSet<PeerId> = voucher.to.iter().copied().collect();
        if let Some(known) = self.offers.get_mut(&id) {
            if known.passed.is_none() || known.to == to {
                return Vec::new();
            }
            // It is for others too.
            (known.to, known.passed) = (to, Some(passed));
            let new = linked.iter().filter(|peer| !known.met.contains(peer));
            let new: Vec<PeerId> = new.copied().collect();
            return new
                .iter()
                .flat_map(|peer| self.announce(id, *peer))
                .collect();
        }
        if all >= MOST_PASSED {
            return Vec::new();
        }
        let offer = Offer {
            name: record.name.clone(),
            note: None,
            entries: record.entries.clone(),
            total,
            to,
            withdrawn: None,
            paused: false,
            cap: None,
            paths: Vec::new(),
            held: BTreeSet::new(),
            chosen: None,
            mode: Mode::Idle,
            passed: Some(passed),
            word: Word::Ungiven,
            met: BTreeSet::new(),
            at,
            receivers: BTreeMap::new(),
        };
        self.offers.insert(id, offer);
        let out = linked.iter().flat_map(|peer| self.announce(id, *peer));
        out.collect()
    }

    /// Which of somebody's offers this is, if we pass it on.
    pub(super) fn passed_key(&self, id: OfferId) -> Option<FetchKey> {
        let passed = self.offers.get(&id)?.passed.as_ref();
        passed.map(|p| p.record.key)
    }

    /// Passes it on no longer.
    pub fn keep_back(&mut self, key: FetchKey, why: Code, ctx: &mut Ctx<'_>) -> Vec<ServeOut> {
        let (room, id) = (self.room, key.offer);
        if self.passed_key(id) != Some(key) {
            return Vec::new();
        }
        let Some(mut offer) = self.offers.remove(&id) else {
            return Vec::new();
        };
        let mut out = vec![ServeOut::KeptBack(key.from, id)];
        for (peer, r) in &mut offer.receivers {
            stop(room, *peer, id, r, ctx);
            if offer.met.contains(peer) && r.state != State::Done {
                let gone = PeerMessage::Gone { offer_id: id, why };
                out.push(ServeOut::Send(*peer, gone));
            }
        }
        out
    }

    /// Whose it is, of those that we serve.
    pub fn whose(&self, id: OfferId) -> PeerId {
        self.passed_key(id).map_or(self.me, |key| key.from)
    }

    /// To whom somebody's offer is passed on.
    pub fn passed_to(&self, id: OfferId, name_of: impl Fn(PeerId) -> String) -> Vec<ReceiverView> {
        let Some(offer) = self.offers.get(&id).filter(|o| o.passed.is_some()) else {
            return Vec::new();
        };
        let shown = offer.receivers.iter();
        let shown = shown.filter(|(_, r)| r.transfer().is_some() || r.traffic.sent > 0);
        let view = |(peer, r): (&PeerId, &Receiver)| ReceiverView {
            // What is passed on is not held back or bounded by itself.
            can: Vec::new(),
            ..offer.receiver_view(*peer, r, &name_of)
        };
        shown.map(view).collect()
    }
}

fn word(offer_id: OfferId, voucher: &Voucher) -> PeerMessage {
    PeerMessage::Voucher {
        offer_id,
        voucher: Box::new(voucher.clone()),
    }
}
