//! What keeps a receiver from being served: us, or itself.

use kith_api::{ApiError, OfferAction, Paused, ServePhase};
use kith_protocol::peer::PeerMessage;
use kith_protocol::{Code, OfferId, PeerId, limits};

use super::{Offer, Receiver, ServeOut, Serves, State};
use crate::effect::{Bound, Effect, ServeEffect};
use crate::engine::Ctx;
use crate::input::ServeKey;
use crate::record::{OfferRecord, Put};

/// What holds a receiver's transfer back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Hold {
    /// Our user.
    pub here: bool,
    /// The receiver, for this reason; it does not outlive the link.
    pub there: Option<Why>,
    /// Bytes per second that the receiver wants at most.
    pub pace: Option<u64>,
}

/// Why a receiver holds its side back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Its user wants so.
    User,
    /// It has others to get through first.
    Turn,
    /// Its disk refuses.
    Disk(Code),
}

impl Hold {
    /// Nothing is to be sent.
    pub fn holds(&self) -> bool {
        self.here || self.there.is_some()
    }

    /// The link is gone, or the receiver begins anew.
    pub fn unsaid(&mut self) {
        (self.there, self.pace) = (None, None);
    }
}

impl Receiver {
    /// Not through, and not out of it.
    fn is_open(&self) -> bool {
        match self.state {
            State::Offered | State::Waiting { .. } | State::Serving { .. } | State::Stalled => true,
            State::Done | State::Declined(_) | State::Failed(_) => false,
        }
    }

    pub(super) fn paused(&self) -> Paused {
        Paused {
            here: self.hold.here,
            there: self.hold.there == Some(Why::User),
        }
    }

    /// How it shows, while nothing is decided otherwise.
    pub(super) fn phase(&self) -> (ServePhase, Option<Code>) {
        let free = match self.state {
            State::Offered => ServePhase::Offered,
            State::Waiting { .. } => ServePhase::Waiting,
            State::Serving { .. } => ServePhase::Serving,
            State::Stalled => ServePhase::Stalled,
            State::Done => return (ServePhase::Done, None),
            State::Declined(code) => return (ServePhase::Declined, Some(code)),
            State::Failed(code) => return (ServePhase::Failed, Some(code)),
        };
        match self.hold.there {
            Some(Why::Disk(code)) => (ServePhase::Blocked, Some(code)),
            Some(Why::User) => (ServePhase::Paused, None),
            // Who has not decided is not held up by us either.
            None if self.state == State::Offered => (free, None),
            Some(Why::Turn) | None if self.hold.here => (ServePhase::Paused, None),
            Some(Why::Turn) => (ServePhase::Queued, None),
            None => (free, None),
        }
    }

    /// Whether the user may hold it back, or let it go on.
    fn may_hold(&self, held: bool) -> bool {
        match held {
            true => self.is_open() && !self.hold.here,
            // Who failed may take it again, and is not to find it held then.
            false => self.hold.here && self.state != State::Done,
        }
    }

    /// What the user may do with it alone.
    pub(super) fn can(&self) -> Vec<OfferAction> {
        holds(|held| self.may_hold(held)).collect()
    }

    /// Has the worker send or not, as both sides want it now.
    pub(super) fn tell_worker(&self, key: ServeKey, ctx: &mut Ctx<'_>) {
        if let State::Serving { run, .. } = self.state {
            let hold = ServeEffect::Hold(self.hold.holds());
            ctx.out(Effect::Serve(key, run, hold));
        }
    }
}

/// Pausing and resuming, where they may be.
fn holds(may_hold: impl Fn(bool) -> bool) -> impl Iterator<Item = OfferAction> {
    let both = [(true, OfferAction::Pause), (false, OfferAction::Resume)];
    both.into_iter()
        .filter(move |(held, _)| may_hold(*held))
        .map(|(_, action)| action)
}

impl Offer {
    /// What the user may do with all of it.
    pub(super) fn can(&self) -> Vec<OfferAction> {
        if self.withdrawn.is_some() {
            return Vec::new();
        }
        let mut can = vec![OfferAction::Withdraw, OfferAction::Limit];
        can.extend(holds(|held| self.may_hold(held)));
        can
    }

    /// Whether the user may hold it back from everybody, or let it go on.
    fn may_hold(&self, held: bool) -> bool {
        self.paused != held || self.receivers.values().any(|r| r.may_hold(held))
    }

    /// Whether we hold it back from everybody.
    pub(super) fn paused(&self) -> Paused {
        let open = self.receivers.values().filter(|r| r.is_open());
        Paused {
            here: self.paused && open.into_iter().all(|r| r.hold.here),
            there: false,
        }
    }
}

impl Serves {
    /// Holds an offer back from one receiver or from all, or does not any more.
    pub fn hold(
        &mut self,
        id: OfferId,
        peer: Option<PeerId>,
        held: bool,
        linked: &[PeerId],
        ctx: &mut Ctx<'_>,
    ) -> Result<Vec<ServeOut>, ApiError> {
        let room = self.room;
        let not_now = || ApiError::new(Code::NotNow);
        let offer = self.offers.get_mut(&id).ok_or_else(not_now)?;
        let may = match peer {
            Some(peer) => {
                let of = offer.receivers.get(&peer);
                of.is_some_and(|r| r.may_hold(held))
            }
            None => offer.may_hold(held),
        };
        if offer.withdrawn.is_some() || !may {
            return Err(not_now());
        }
        if peer.is_none() {
            offer.paused = held;
            // Also for those who have not been met again since they were held.
            offer.held.clear();
        }
        let mut out = vec![ServeOut::Changed(id)];
        let mut changed = Vec::new();
        let concerned = offer.receivers.iter_mut();
        for (who, r) in concerned.filter(|(p, _)| peer.is_none_or(|peer| peer == **p)) {
            // Also who failed: it may take the offer again.
            if r.hold.here == held {
                continue;
            }
            r.hold.here = held;
            r.tell_worker(ServeKey::new(room, *who, id), ctx);
            changed.push(*who);
            if linked.contains(who) {
                out.push(ServeOut::Send(*who, said(id, held)));
            }
        }
        for who in changed {
            out.extend(offer.held(room, id, who, ctx));
        }
        self.keep(id, ctx);
        Ok(out)
    }

    /// Bounds an offer: all its receivers together.
    pub fn limit(
        &mut self,
        id: OfferId,
        cap: Option<u64>,
        ctx: &mut Ctx<'_>,
    ) -> Result<Vec<ServeOut>, ApiError> {
        let room = self.room;
        let offer = self.offers.get_mut(&id).filter(|o| o.withdrawn.is_none());
        let offer = offer.ok_or_else(|| ApiError::new(Code::NotNow))?;
        offer.cap = cap;
        ctx.out(Effect::Bound(Bound::Offer(room, id), cap));
        self.keep(id, ctx);
        Ok(vec![ServeOut::Changed(id)])
    }

    /// The receiver holds its side back, or does not any more.
    pub(super) fn on_held(
        &mut self,
        peer: PeerId,
        id: OfferId,
        there: Option<Why>,
        ctx: &mut Ctx<'_>,
    ) -> Vec<ServeOut> {
        let room = self.room;
        let Some((_, r)) = self.receiver(peer, id) else {
            return Vec::new();
        };
        if r.hold.there == there {
            return Vec::new();
        }
        r.hold.there = there;
        r.tell_worker(ServeKey::new(room, peer, id), ctx);
        let mut out = vec![ServeOut::Changed(id)];
        if let Some(offer) = self.offers.get_mut(&id) {
            out.extend(offer.held(room, id, peer, ctx));
        }
        out
    }

    /// The receiver wants so much at most.
    pub(super) fn on_pace(
        &mut self,
        peer: PeerId,
        id: OfferId,
        pace: Option<u64>,
        ctx: &mut Ctx<'_>,
    ) -> Vec<ServeOut> {
        let room = self.room;
        let Some((_, r)) = self.receiver(peer, id) else {
            return Vec::new();
        };
        let pace = pace.map(|p| p.max(limits::MIN_PACE));
        if r.hold.pace == pace {
            return Vec::new();
        }
        r.hold.pace = pace;
        if let State::Serving { run, .. } = r.state {
            let key = ServeKey::new(room, peer, id);
            ctx.out(Effect::Serve(key, run, ServeEffect::Pace(pace)));
        }
        vec![ServeOut::Changed(id)]
    }

    /// Has the store keep the offer, if it is to outlive the process.
    pub(super) fn keep(&self, id: OfferId, ctx: &mut Ctx<'_>) {
        let Some(offer) = self.offers.get(&id) else {
            return;
        };
        if !ctx.config.keep || offer.paths.is_empty() {
            return;
        }
        let put = match offer.withdrawn {
            Some(_) => Put::DropOffer(self.room, id),
            None => {
                let held = offer.receivers.iter().filter(|(_, r)| r.hold.here);
                let held = held.map(|(p, _)| p).chain(&offer.held);
                Put::Offer(OfferRecord {
                    room: self.room,
                    offer: id,
                    name: offer.name.clone(),
                    note: offer.note.clone(),
                    paths: offer.paths.clone(),
                    entries: offer.entries.len() as u32,
                    total: offer.total,
                    to: offer.to.iter().copied().collect(),
                    at: offer.at,
                    paused: offer.paused,
                    held: held.copied().collect(),
                    cap: offer.cap,
                    strategy: offer.chosen,
                })
            }
        };
        let job = ctx.job();
        ctx.out(Effect::Store(job, vec![put]));
    }
}

impl Why {
    /// What a receiver says.
    pub fn of(code: Option<Code>) -> Self {
        match code {
            None => Why::User,
            Some(Code::Busy) => Why::Turn,
            Some(code) => Why::Disk(code),
        }
    }
}

/// The word that we hold something back, or do not any more.
pub(super) fn said(offer_id: OfferId, held: bool) -> PeerMessage {
    match held {
        true => PeerMessage::Pause {
            offer_id,
            why: None,
        },
        false => PeerMessage::Resume { offer_id },
    }
}
