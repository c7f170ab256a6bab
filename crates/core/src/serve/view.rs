//! Our offers as front ends see them.

use kith_api::{FetchPhase, OfferView, ReceiverView, Traffic};
use kith_protocol::{Code, OfferId, PeerId};

use super::{Offer, Receiver, Serves, State};
use crate::offer;

impl Serves {
    /// All offers of ours.
    pub fn ids(&self) -> Vec<OfferId> {
        let ours = self.offers.iter().filter(|(_, o)| o.passed.is_none());
        ours.map(|(id, _)| *id).collect()
    }

    /// One offer as front ends see it; `name_of` names receivers.
    pub fn view(&self, id: OfferId, name_of: impl Fn(PeerId) -> String) -> Option<OfferView> {
        let offer = self.offers.get(&id).filter(|o| o.passed.is_none())?;
        let mut traffic = Traffic::default();
        for r in offer.receivers.values() {
            traffic.sent += r.traffic.sent;
            traffic.resent += r.traffic.resent;
            traffic.resent_durable += r.traffic.resent_durable;
        }
        let receivers = offer.receivers.iter();
        let receivers = receivers.map(|(peer, r)| offer.receiver_view(*peer, r, &name_of));
        Some(OfferView {
            room: self.room,
            from: self.me,
            offer: id,
            mine: true,
            at: offer.at,
            name: offer.name.clone(),
            note: offer.note.clone(),
            entries: offer.entries.len() as u32,
            preview: offer::preview(&offer.entries),
            total: offer.total,
            phase: if offer.withdrawn.is_some() {
                FetchPhase::Withdrawn
            } else {
                FetchPhase::Seen
            },
            done: 0,
            paused: offer.paused(),
            queued: None,
            cap: offer.cap,
            missing: None,
            dir: None,
            path: None,
            // That it was taken back needs no reason.
            why: offer.withdrawn.filter(|why| *why != Code::Cancelled),
            by: None,
            strategy: offer.mode.strategy(),
            receivers: receivers.collect(),
            traffic,
            can: offer.can(),
        })
    }
}

impl Offer {
    /// One receiver as front ends see it.
    pub(super) fn receiver_view(
        &self,
        peer: PeerId,
        r: &Receiver,
        name_of: impl Fn(PeerId) -> String,
    ) -> ReceiverView {
        let (phase, why) = r.phase();
        let done = if r.state == State::Done {
            self.total
        } else {
            r.done_bytes(&self.entries)
        };
        ReceiverView {
            peer,
            name: name_of(peer),
            phase,
            done,
            paused: r.paused(),
            cap: r.hold.pace,
            why,
            can: r.can(),
        }
    }
}
