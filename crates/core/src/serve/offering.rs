//! Making, announcing and withdrawing our offers.

use std::collections::{BTreeMap, BTreeSet};

use kith_api::ApiError;
use kith_protocol::peer::{Entry, PeerMessage};
use kith_protocol::{Code, OfferId, PeerId, limits};

use crate::effect::{Bound, Effect};
use crate::record::{OfferRecord, Put};

use super::hold::said;
use super::strategy::Mode;
use super::{Offer, Receiver, ServeOut, Serves, State, Word, stop};
use crate::engine::Ctx;
use crate::input::NewOffer;
use crate::offer;

impl Serves {
    /// Offers files to the given, or to all, of the linked peers and of those who come later.
    pub fn add(
        &mut self,
        new: NewOffer,
        linked: &[PeerId],
        ctx: &mut Ctx<'_>,
    ) -> Result<(OfferId, Vec<ServeOut>), ApiError> {
        let bad = |text: &str| Err(ApiError::with(Code::BadRequest, text));
        if new.entries.is_empty() {
            return bad("There is nothing to send.");
        }
        if new.entries.len() > limits::MAX_ENTRIES as usize {
            return bad("That is too many files for one offer. Send fewer, or an archive of them.");
        }
        if new
            .note
            .as_ref()
            .is_some_and(|n| n.len() > limits::MAX_NOTE)
        {
            return bad("The note is too long.");
        }
        if new.name.len() > limits::MAX_PATH || !new.entries.iter().all(offer::is_sendable) {
            return bad("A name is too long, or a file too large, to be sent.");
        }
        let Some(total) = offer::total(&new.entries) else {
            return bad("The files are too large.");
        };
        let id = offer::offer_id(&ctx.config.id_pk, &self.room, &new.name, &new.entries);
        let to: BTreeSet<PeerId> = new.to.into_iter().collect();
        match self.offers.get_mut(&id).filter(|o| o.withdrawn.is_none()) {
            Some(offer) => {
                // The same files again: whoever was left out is let in.
                if to.is_empty() {
                    offer.to.clear();
                } else if !offer.to.is_empty() {
                    offer.to.extend(to);
                }
                // It names those for whom it is.
                offer.word = Word::Ungiven;
                offer.chosen = new.strategy.or(offer.chosen);
                offer
                    .receivers
                    .retain(|_, r| !matches!(r.state, State::Declined(_)));
            }
            None => {
                let offer = Offer {
                    name: new.name,
                    note: new.note,
                    entries: new.entries.into(),
                    total,
                    to,
                    withdrawn: None,
                    paused: false,
                    cap: None,
                    paths: new.paths,
                    held: BTreeSet::new(),
                    chosen: new.strategy,
                    mode: Mode::Idle,
                    passed: None,
                    word: Word::Ungiven,
                    met: BTreeSet::new(),
                    at: ctx.now.unix_ms,
                    receivers: BTreeMap::new(),
                };
                self.offers.insert(id, offer);
            }
        }
        self.keep(id, ctx);
        let mut out = vec![ServeOut::Changed(id)];
        for peer in linked {
            out.extend(self.announce(id, *peer));
        }
        Ok((id, out))
    }

    /// Takes an offer back.
    pub fn withdraw(
        &mut self,
        id: OfferId,
        linked: &[PeerId],
        ctx: &mut Ctx<'_>,
    ) -> Result<Vec<ServeOut>, ApiError> {
        let room = self.room;
        let Some(offer) = self.offers.get_mut(&id).filter(|o| o.withdrawn.is_none()) else {
            return Err(ApiError::new(Code::NotNow));
        };
        offer.withdrawn = Some(Code::Cancelled);
        offer.mode = Mode::Idle;
        let mut out = vec![ServeOut::Changed(id)];
        for (peer, r) in &mut offer.receivers {
            stop(room, *peer, id, r, ctx);
            if r.state != State::Done {
                r.state = State::Failed(Code::Cancelled);
            }
            if linked.contains(peer) {
                let gone = PeerMessage::Gone {
                    offer_id: id,
                    why: Code::Cancelled,
                };
                out.push(ServeOut::Send(*peer, gone));
            }
        }
        self.keep(id, ctx);
        Ok(out)
    }

    /// An offer of an earlier process stands again, if its files are what they were; if not, it is
    /// shown as withdrawn, with the reason.
    pub fn restore(
        &mut self,
        record: OfferRecord,
        files: Result<Vec<Entry>, Code>,
        linked: &[PeerId],
        ctx: &mut Ctx<'_>,
    ) -> Vec<ServeOut> {
        let id = record.offer;
        if self.offers.get(&id).is_some_and(|o| o.passed.is_none()) {
            return Vec::new();
        }
        let pk = &ctx.config.id_pk;
        let same = |e: &Vec<Entry>| offer::offer_id(pk, &self.room, &record.name, e) == id;
        let files = files.and_then(|e| {
            if same(&e) {
                Ok(e)
            } else {
                Err(Code::SourceChanged)
            }
        });
        let (entries, withdrawn) = match files {
            Ok(entries) => (entries, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        let restored = Offer {
            name: record.name,
            note: record.note,
            entries: entries.into(),
            total: record.total,
            to: record.to.into_iter().collect(),
            withdrawn,
            paused: record.paused,
            cap: record.cap,
            paths: record.paths,
            held: record.held.into_iter().collect(),
            chosen: record.strategy,
            mode: Mode::Idle,
            passed: None,
            word: Word::Ungiven,
            met: BTreeSet::new(),
            at: record.at,
            receivers: BTreeMap::new(),
        };
        self.offers.insert(id, restored);
        let mut out = vec![ServeOut::Changed(id)];
        if let Some(why) = withdrawn {
            tracing::info!(offer = %id, why = why.name(), "an offer does not stand again");
            let job = ctx.job();
            ctx.out(Effect::Store(job, vec![Put::DropOffer(self.room, id)]));
            return out;
        }
        if record.cap.is_some() {
            ctx.out(Effect::Bound(Bound::Offer(self.room, id), record.cap));
        }
        for peer in linked {
            out.extend(self.announce(id, *peer));
        }
        out
    }

    /// What the peer declined is open again.
    pub(super) fn forget_refusals(&mut self, peer: PeerId) {
        let all = self.offers.values_mut();
        for r in all.filter_map(|o| o.receivers.get_mut(&peer)) {
            if let State::Declined(_) = r.state {
                r.state = State::Offered;
            }
        }
    }

    pub(super) fn announce(&mut self, id: OfferId, peer: PeerId) -> Vec<ServeOut> {
        let Some(offer) = self.offers.get_mut(&id) else {
            return Vec::new();
        };
        let meant = offer.to.is_empty() || offer.to.contains(&peer);
        let theirs = offer
            .passed
            .as_ref()
            .is_some_and(|p| p.record.key.from == peer);
        if let Some(why) = offer.withdrawn {
            // It may have been away then, and may have it and pass it on.
            let told = offer.receivers.contains_key(&peer);
            let gone = PeerMessage::Gone { offer_id: id, why };
            return told
                .then_some(ServeOut::Send(peer, gone))
                .into_iter()
                .collect();
        }
        if !meant || theirs {
            return Vec::new();
        }
        let here = offer.held.remove(&peer) || offer.paused;
        let r = offer.receivers.entry(peer).or_insert_with(|| {
            let mut r = Receiver::new();
            r.hold.here = here;
            r
        });
        // A receiver that had no room for it may have now.
        if let State::Declined(code) = r.state
            && code.is_final()
        {
            return Vec::new();
        }
        r.gone = None;
        offer.met.insert(peer);
        let mut out = vec![ServeOut::Changed(id)];
        let entries = offer.entries.len() as u32;
        let (name, note, total) = (offer.name.clone(), offer.note.clone(), offer.total);
        if let Some(voucher) = offer.passed.as_ref().and_then(|p| p.record.voucher.clone()) {
            // Most have it already: who has not asks for the entries.
            let offer_id = id;
            let stand_in = PeerMessage::StandIn { offer_id, voucher };
            return vec![ServeOut::Send(peer, stand_in)];
        }
        let announce = PeerMessage::Offer {
            offer_id: id,
            name,
            entries,
            total,
            note,
        };
        out.push(ServeOut::Send(peer, announce));
        let pages = offer::pages(id, &offer.entries, 0);
        r.paged = offer::count_of(&pages);
        out.extend(pages.into_iter().map(|m| ServeOut::Send(peer, m)));
        if r.hold.here {
            out.push(ServeOut::Send(peer, said(id, true)));
        }
        out
    }
}
