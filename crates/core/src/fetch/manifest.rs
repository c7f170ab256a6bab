//! Offers and their manifests, from a stranger.

use kith_protocol::peer::{Entry, PeerMessage};
use kith_protocol::{Code, LinkId, OfferId, PeerId, limits};

use super::{Fetch, FetchOut, Fetches, MAX_KNOWN, MAX_MANIFESTS, State};
use crate::engine::Ctx;
use crate::offer;
use crate::record::FetchKey;

impl Fetches {
    pub(super) fn on_offer(
        &mut self,
        peer: PeerId,
        link: LinkId,
        id: OfferId,
        (name, note, count, total): (String, Option<String>, u32, u64),
        ctx: &mut Ctx<'_>,
    ) -> Vec<FetchOut> {
        let key = FetchKey {
            room: self.room,
            from: peer,
            offer: id,
        };
        let Some(f) = self.fetches.get_mut(&(peer, id)) else {
            let of_peer = || self.fetches.iter().filter(|((p, _), _)| *p == peer);
            let open = of_peer().filter(|(_, f)| f.is_open()).count();
            if open >= limits::MAX_OFFERS || of_peer().count() >= MAX_KNOWN {
                let why = Code::TooManyOffers;
                return vec![FetchOut::Send(
                    peer,
                    PeerMessage::Decline { offer_id: id, why },
                )];
            }
            let mut f = Fetch::new(name, note, count, total, link);
            f.at = ctx.now.unix_ms;
            self.fetches.insert((peer, id), f);
            return vec![FetchOut::Changed(peer, id)];
        };
        if f.count != count || f.total != total {
            // An id names one manifest for ever; another under the same id is not looked at.
            return Vec::new();
        }
        f.link = Some(link);
        f.declined = f.state == State::Declined;
        let mut out = vec![FetchOut::Changed(peer, id)];
        match f.state {
            State::Withdrawn(_) | State::Failed(_) if f.has_manifest() => f.state = State::Offered,
            State::Seen | State::Withdrawn(_) | State::Failed(_) => {
                f.forget_manifest();
                f.state = State::Seen;
            }
            State::Stalled | State::Fetching { .. } => out.extend(self.attach(key, ctx)),
            State::Done => {
                out.extend(f.verified(key));
                let message = PeerMessage::OfferDone { offer_id: id };
                out.push(FetchOut::Send(peer, message));
            }
            State::Declined => {
                let message = PeerMessage::Decline {
                    offer_id: id,
                    why: Code::Declined,
                };
                out.push(FetchOut::Send(peer, message));
            }
            State::Offered | State::Accepted => {}
        }
        out
    }

    pub(super) fn on_entries(
        &mut self,
        peer: PeerId,
        id: OfferId,
        first: u32,
        entries: Vec<Entry>,
    ) -> Vec<FetchOut> {
        let of_peer = self.fetches.iter().filter(|((p, _), _)| *p == peer);
        let held: usize = of_peer.map(|(_, f)| f.weight).sum();
        let Some(f) = self.fetches.get_mut(&(peer, id)) else {
            return Vec::new();
        };
        let fits = f.entries.len() + entries.len() <= f.count as usize;
        if f.state != State::Seen || first as usize != f.entries.len() || !fits {
            return Vec::new();
        }
        let weight: usize = entries.iter().map(offer::weight).sum();
        if held.saturating_add(weight) > MAX_MANIFESTS {
            f.forget_manifest();
            f.state = State::Failed(Code::TooLarge);
            let why = Code::TooManyOffers;
            let decline = PeerMessage::Decline { offer_id: id, why };
            return vec![FetchOut::Send(peer, decline), FetchOut::Changed(peer, id)];
        }
        f.weight += weight;
        let shown = f.entries.len() < offer::PREVIEW;
        f.entries.extend(entries);
        let have = f.entries.len() as u32;
        if have < f.count {
            let mut out = Vec::new();
            f.pages_due = f.pages_due.saturating_sub(1);
            if f.pages_due == 0 {
                f.pages_due = limits::PAGES_AHEAD;
                let browse = PeerMessage::Browse {
                    offer_id: id,
                    first: have,
                };
                out.push(FetchOut::Send(peer, browse));
            }
            if shown {
                out.push(FetchOut::Changed(peer, id));
            }
            return out;
        }
        f.state = if offer::total(&f.entries) == Some(f.total) {
            State::Offered
        } else {
            f.forget_manifest();
            State::Failed(Code::PeerProtocol)
        };
        vec![FetchOut::Changed(peer, id)]
    }
}
