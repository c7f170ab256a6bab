//! How long somebody who passes an offer on may send nothing while others announce it too.
//!
//! Who passes on reads all files before it sends the first byte, which takes long where they are
//! large, and asks for nothing where its disk is slow. So each that is silent earns the next more time:
//! who is slow is waited for in the end.

use std::time::Duration;

use kith_protocol::peer::PeerMessage;
use kith_protocol::{Code, PeerId};

use super::{Fetch, FetchOut, Fetches, State};
use crate::engine::Ctx;
use crate::record::FetchKey;
use crate::time::{Deadline, Mono};

/// Somebody who passes on and sends nothing is left for another after this, doubled with each that
/// sends nothing …
pub const SILENCE_FIRST: Duration = Duration::from_secs(60);
/// … so often.
const DOUBLINGS: u32 = 5;

/// For whom we wait, how long already.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// Since when.
    since: Option<Mono>,
    /// How many sent nothing, one after the other.
    silent: u32,
}

impl Patience {
    /// From now on something is to come.
    pub fn begin(&mut self, now: Mono) {
        self.since = Some(now);
    }

    /// Something came.
    pub fn heard(&mut self, now: Mono) {
        (self.since, self.silent) = (Some(now), 0);
    }

    fn ends(&self) -> Option<Mono> {
        let wait = SILENCE_FIRST.saturating_mul(1 << self.silent.min(DOUBLINGS));
        self.since.map(|since| since + wait)
    }
}

impl Fetch {
    /// When another is asked instead, if who passes it on goes on sending nothing.
    pub(super) fn silence(&self, from: PeerId) -> Option<Deadline> {
        let other = |p: &PeerId| *p != self.via;
        if self.via == from || self.link.is_none() || !self.announced.keys().any(other) {
            return None;
        }
        let hold = &self.hold;
        let wanted = !hold.here && hold.refused.is_none();
        let waits = match self.state {
            State::Seen | State::Reading { .. } => true,
            State::Fetching => wanted && (hold.turn || hold.there),
            State::Queued | State::Stalled => wanted && hold.there,
            State::Offered
            | State::Accepted
            | State::Done
            | State::Failed(_)
            | State::Declined
            | State::Withdrawn(_) => false,
        };
        let at = self.patience.ends().filter(|_| waits)?;
        let why = "who passes an offer on sends nothing";
        Some(Deadline { at, why })
    }
}

impl Fetches {
    /// Has it come from the next who announces it, if who passes it on sends nothing.
    pub(super) fn leave_silent(&mut self, key: FetchKey, ctx: &mut Ctx<'_>) -> Vec<FetchOut> {
        let at = (key.from, key.offer);
        let Some(f) = self.fetches.get_mut(&at) else {
            return Vec::new();
        };
        let due = f.silence(key.from).is_some_and(|d| d.at <= ctx.now.mono);
        let Some(link) = f.link.filter(|_| due) else {
            return Vec::new();
        };
        let via = f.via;
        tracing::info!(peer = %via, offer = %key.offer, "it sends nothing: asking another");
        f.patience.silent += 1;
        let (offer_id, why) = (key.offer, Code::Busy);
        let cancel = PeerMessage::Cancel { offer_id, why };
        let fetching = f.state == State::Fetching;
        let mut out: Vec<_> = fetching
            .then_some(FetchOut::Send(via, cancel))
            .into_iter()
            .collect();
        out.extend(self.turn_away(key, via, ctx));
        if let Some(f) = self.fetches.get_mut(&at) {
            // Its turn may come again.
            f.announced.insert(via, link);
        }
        out
    }
}
