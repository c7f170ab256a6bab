//! Who of an offer's receivers is served when, and with what.

use kith_api::Strategy;
use kith_protocol::peer::PeerMessage;
use kith_protocol::ranges::RangeSet;
use kith_protocol::{OfferId, PeerId, RoomId, limits};

use super::spread::{Holding, Spread};
use super::{Offer, Receiver, ServeOut, State};
use crate::effect::{Effect, ServeEffect};
use crate::engine::Ctx;
use crate::input::ServeKey;

/// So many receivers fetch from each other unless the user says otherwise …
const SWARM_FROM: usize = 3;
/// … of offers of at least so many bytes: for less, meeting each other takes longer than it saves.
const SWARM_BYTES: u64 = 16 << 20;

/// How receivers are served. It is decided when the first of them starts, and stands until nobody
/// is served any more.
#[derive(Debug, Default)]
pub(super) enum Mode {
    #[default]
    Idle,
    Sequential,
    Parallel,
    Swarm(Spread),
}

impl Mode {
    pub fn is_swarm(&self) -> bool {
        matches!(self, Mode::Swarm(_))
    }

    /// As front ends see it.
    pub fn strategy(&self) -> Option<Strategy> {
        match self {
            Mode::Idle => None,
            Mode::Sequential => Some(Strategy::Sequential),
            Mode::Parallel => Some(Strategy::Parallel),
            Mode::Swarm(_) => Some(Strategy::Swarm),
        }
    }
}

impl Offer {
    /// A receiver has accepted and waits.
    pub(super) fn joined(
        &mut self,
        room: RoomId,
        id: OfferId,
        peer: PeerId,
        ctx: &mut Ctx<'_>,
    ) -> Vec<ServeOut> {
        if self.served().next().is_none() {
            self.mode = self.decide();
        }
        // What it was to have before is to go out again.
        self.left(room, id, peer, ctx)
    }

    /// A receiver is no longer served, or no longer there.
    pub(super) fn left(
        &mut self,
        room: RoomId,
        id: OfferId,
        peer: PeerId,
        ctx: &mut Ctx<'_>,
    ) -> Vec<ServeOut> {
        if let Mode::Swarm(spread) = &mut self.mode {
            spread.left(peer);
        }
        self.go_on(room, id, ctx)
    }

    /// A receiver is held back, or is not any more.
    pub(super) fn held(
        &mut self,
        room: RoomId,
        id: OfferId,
        peer: PeerId,
        ctx: &mut Ctx<'_>,
    ) -> Vec<ServeOut> {
        let holds = self.receivers.get(&peer).is_some_and(|r| r.hold.holds());
        if let (Mode::Swarm(spread), true) = (&mut self.mode, holds) {
            // What it was to have goes to others.
            spread.left(peer);
        }
        self.go_on(room, id, ctx)
    }

    /// Tells a swarm's spread something, and hands out what may go out then.
    pub(super) fn tell(
        &mut self,
        room: RoomId,
        id: OfferId,
        ctx: &mut Ctx<'_>,
        tell: impl FnOnce(&mut Spread),
    ) {
        if let Mode::Swarm(spread) = &mut self.mode {
            tell(spread);
            self.top_up(room, id, ctx);
        }
    }

    /// A receiver asks for chunks.
    pub(super) fn wanted(
        &mut self,
        room: RoomId,
        id: OfferId,
        (peer, run): (PeerId, u32),
        entry: u32,
        ranges: RangeSet,
        ctx: &mut Ctx<'_>,
    ) {
        let now = match &mut self.mode {
            Mode::Swarm(spread) => spread.ask(peer, entry, &ranges),
            Mode::Idle | Mode::Sequential | Mode::Parallel => ranges,
        };
        if !now.is_empty() {
            want(room, id, (peer, run), entry, now, ctx);
        }
        self.top_up(room, id, ctx);
    }

    /// Those whose turn it is, also if they are held back.
    fn served(&self) -> impl Iterator<Item = &Receiver> {
        let all = self.receivers.values();
        all.filter(|r| matches!(r.state, State::Serving { .. }))
    }

    fn decide(&self) -> Mode {
        if self.passed.is_some() {
            return Mode::Parallel;
        }
        let meant = if self.to.is_empty() {
            self.met.len()
        } else {
            self.to.len()
        };
        // Who is not to know of it is not to be told by receivers, so they must all be named.
        let named = self.to.len() != 1 && self.to.len() <= limits::MAX_NAMED;
        let fits = self.total <= limits::MAX_SWARM && named;
        let chosen = self.chosen.unwrap_or({
            if meant >= SWARM_FROM && self.total >= SWARM_BYTES {
                Strategy::Swarm
            } else {
                Strategy::Parallel
            }
        });
        match chosen {
            Strategy::Sequential => Mode::Sequential,
            Strategy::Swarm if fits => Mode::Swarm(Spread::default()),
            Strategy::Swarm | Strategy::Parallel => Mode::Parallel,
        }
    }

    /// Starts those whose turn it is.
    fn go_on(&mut self, room: RoomId, id: OfferId, ctx: &mut Ctx<'_>) -> Vec<ServeOut> {
        let mut out = Vec::new();
        if self.withdrawn.is_some() {
            return out;
        }
        let mut waiting: Vec<(u32, PeerId)> = Vec::new();
        for (peer, r) in &self.receivers {
            if let State::Waiting { number, .. } = r.state {
                waiting.push((number, *peer));
            }
        }
        waiting.sort_unstable();
        for (_, peer) in waiting {
            match &self.mode {
                // Who is held back keeps nobody waiting.
                Mode::Sequential if self.served().any(|r| !r.hold.holds()) => break,
                Mode::Idle | Mode::Sequential | Mode::Parallel | Mode::Swarm(_) => {
                    out.extend(self.launch(room, id, peer, ctx));
                }
            }
        }
        self.top_up(room, id, ctx);
        out
    }

    fn launch(
        &mut self,
        room: RoomId,
        id: OfferId,
        peer: PeerId,
        ctx: &mut Ctx<'_>,
    ) -> Vec<ServeOut> {
        let pull = self.mode.is_swarm();
        let Some(r) = self.receivers.get_mut(&peer) else {
            return Vec::new();
        };
        let State::Waiting {
            link,
            transfer,
            number,
        } = r.state
        else {
            return Vec::new();
        };
        let run = number;
        r.state = State::Serving {
            link,
            transfer,
            run,
        };
        let effect = ServeEffect::Start {
            link,
            transfer,
            entries: self.entries.clone(),
            done: r.verified.clone(),
            have: r.durable.clone(),
            pull,
            passed: self.passed.clone(),
        };
        let key = ServeKey::new(room, peer, id);
        ctx.out(Effect::Serve(key, run, effect));
        if r.hold.holds() {
            r.tell_worker(key, ctx);
        }
        let mut out = vec![ServeOut::Changed(id)];
        if pull {
            let others = self.to.iter().filter(|p| **p != peer);
            let swarm = PeerMessage::Swarm {
                offer_id: id,
                to: others.take(limits::MAX_NAMED).copied().collect(),
            };
            out.push(ServeOut::Send(peer, swarm));
        }
        out
    }

    fn top_up(&mut self, room: RoomId, id: OfferId, ctx: &mut Ctx<'_>) {
        let Mode::Swarm(spread) = &mut self.mode else {
            return;
        };
        let mut holdings = Vec::new();
        let full = RangeSet::full(self.entries.len() as u64);
        let mut runs = Vec::new();
        // Of those who are not heard nobody gets what they have or are to have.
        for (peer, r) in self.receivers.iter().filter(|(_, r)| !r.silent) {
            let here = self.met.contains(peer);
            let (takes, verified) = match r.state {
                State::Serving { run, .. } => {
                    runs.push((*peer, run));
                    // Who is held back takes nothing, but serves what it has.
                    (!r.hold.holds(), &r.verified)
                }
                State::Done if here => (false, &full),
                State::Done
                | State::Waiting { .. }
                | State::Offered
                | State::Stalled
                | State::Declined(_)
                | State::Failed(_) => continue,
            };
            holdings.push(Holding {
                peer: *peer,
                takes,
                verified,
                durable: &r.durable,
            });
        }
        for piece in spread.top_up(&self.entries, &holdings) {
            if let Some(of) = runs.iter().find(|(peer, _)| *peer == piece.peer) {
                want(room, id, *of, piece.entry, piece.ranges, ctx);
            }
        }
    }
}

fn want(
    room: RoomId,
    id: OfferId,
    (peer, run): (PeerId, u32),
    entry: u32,
    ranges: RangeSet,
    ctx: &mut Ctx<'_>,
) {
    let effect = ServeEffect::Want { entry, ranges };
    ctx.out(Effect::Serve(ServeKey::new(room, peer, id), run, effect));
}
