//! Transfers held back, bounded and put in order.

use kith_api::ApiError;
use kith_protocol::peer::{Entry, PeerMessage};
use kith_protocol::{Code, OfferId, PeerId};

use super::Room;
use crate::engine::Ctx;
use crate::queue::Standing;
use crate::record::{FetchKey, OfferRecord};

impl Room {
    /// Holds a fetch back, or an offer of ours from one receiver or from all; or lets it go on.
    pub fn hold(
        &mut self,
        key: FetchKey,
        peer: Option<PeerId>,
        held: bool,
        ctx: &mut Ctx<'_>,
    ) -> Result<(), ApiError> {
        if key.from == self.me {
            let linked = self.linked();
            let out = self.serves.hold(key.offer, peer, held, &linked, ctx)?;
            self.apply_serves(out, ctx);
            return Ok(());
        }
        let out = match held {
            true => self.fetches.pause(key, ctx)?,
            false => self.fetches.resume(key, ctx)?,
        };
        self.apply_fetches(out, ctx);
        Ok(())
    }

    /// Bounds a fetch, or an offer of ours.
    pub fn limit(
        &mut self,
        key: FetchKey,
        cap: Option<u64>,
        ctx: &mut Ctx<'_>,
    ) -> Result<(), ApiError> {
        if key.from == self.me {
            let out = self.serves.limit(key.offer, cap, ctx)?;
            self.apply_serves(out, ctx);
        } else {
            let out = self.fetches.limit(key, cap, ctx)?;
            self.apply_fetches(out, ctx);
        }
        Ok(())
    }

    /// An offer of an earlier process stands again.
    pub fn restore(
        &mut self,
        record: OfferRecord,
        files: Result<Vec<Entry>, Code>,
        ctx: &mut Ctx<'_>,
    ) {
        let out = self.serves.restore(record, files, &self.linked(), ctx);
        self.apply_serves(out, ctx);
    }

    /// Whether a fetch may have another place in the queue.
    pub fn may_move(&mut self, key: FetchKey) -> Result<(), ApiError> {
        self.fetches.may_move(key)
    }

    /// Gives a fetch another place in the queue.
    pub fn set_place(&mut self, key: FetchKey, place: u64, ctx: &mut Ctx<'_>) {
        let out = self.fetches.set_place(key, place, ctx);
        self.apply_fetches(out, ctx);
    }

    /// Whether fetches may stand otherwise than at the last call.
    pub fn take_unsettled(&mut self) -> bool {
        std::mem::take(&mut self.unsettled)
    }

    /// How the fetches that are taken stand.
    pub fn standings(&mut self, ctx: &mut Ctx<'_>) -> Vec<Standing> {
        if !self.open {
            return Vec::new();
        }
        let (all, out) = self.fetches.standings();
        self.apply_fetches(out, ctx);
        all
    }

    /// It is the turn of a fetch.
    pub fn begin(&mut self, key: FetchKey, ctx: &mut Ctx<'_>) {
        let out = self.fetches.begin(key, ctx);
        self.apply_fetches(out, ctx);
    }

    /// Everybody has the turn that is theirs: see [`crate::fetch::Fetches::settle`].
    pub fn settle(&mut self, waiting: &[FetchKey], share: Option<u64>, ctx: &mut Ctx<'_>) {
        if self.open {
            let out = self.fetches.settle(waiting, share, ctx);
            self.apply_fetches(out, ctx);
        }
    }

    /// One side holds its part back, or bounds it: ours or theirs, the offer's id says.
    pub(super) fn on_hold_message(
        &mut self,
        peer: PeerId,
        offer: OfferId,
        message: PeerMessage,
        ctx: &mut Ctx<'_>,
    ) {
        let Some(link) = self.link(peer).map(crate::link::Link::id) else {
            return;
        };
        if self.serves.has(offer) {
            let out = self.serves.on_message(peer, link, message, ctx);
            self.apply_serves(out, ctx);
        } else {
            let out = self.fetches.on_message(peer, link, message, ctx);
            self.apply_fetches(out, ctx);
        }
    }
}
