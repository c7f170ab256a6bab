//! Our offers as front ends see them.

use kith_api::{FetchPhase, OfferView, ReceiverView, Traffic};
use kith_protocol::{Code, OfferId, PeerId};

use super::{Serves, State};
use crate::offer;

impl Serves {
    /// All offers.
    pub fn ids(&self) -> Vec<OfferId> {
        self.offers.keys().copied().collect()
    }

    /// One offer as front ends see it; `name_of` names receivers.
    pub fn view(&self, id: OfferId, name_of: impl Fn(PeerId) -> String) -> Option<OfferView> {
        let offer = self.offers.get(&id)?;
        let mut traffic = Traffic::default();
        for r in offer.receivers.values() {
            traffic.sent += r.traffic.sent;
            traffic.resent += r.traffic.resent;
            traffic.resent_durable += r.traffic.resent_durable;
        }
        let receivers = offer.receivers.iter().map(|(peer, r)| {
            let (phase, why) = r.phase();
            let done = if r.state == State::Done {
                offer.total
            } else {
                r.done_bytes(&offer.entries)
            };
            ReceiverView {
                peer: *peer,
                name: name_of(*peer),
                phase,
                done,
                paused: r.paused(),
                cap: r.hold.pace,
                why,
                can: r.can(),
            }
        });
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
            strategy: offer.mode.strategy(),
            receivers: receivers.collect(),
            traffic,
            can: offer.can(),
        })
    }
}
