//! The sealing handshake with one member of a room.
//!
//! ```text
//! Greeting(tries) ⇄ Sealed        Greeting → Failed → Greeting …
//! ```
//! The smaller sid begins. A handshake that fails or takes too long is begun again, three times;
//! then the member rests for a while. There is no fallback to talking without a seal.

use std::time::Duration;

use kith_protocol::ids::SealTag;
use kith_protocol::sealed::SealedBody;
use kith_protocol::{PeerId, RoomId, Sid, limits};

use crate::effect::{Effect, SealEffect};
use crate::engine::Ctx;
use crate::time::{Deadline, Mono};

/// A member whose handshakes all failed is tried again after this.
pub const REST: Duration = Duration::from_secs(10);
/// Handshakes follow each other at least this far apart, whatever the other side sends.
pub const ASK_EVERY: Duration = Duration::from_secs(1);

/// One member: a connection of somebody to the room server.
#[derive(Debug)]
pub struct Member {
    room: RoomId,
    me: Sid,
    them: Sid,
    state: State,
    /// The last handshake that we began or asked for.
    begun: Mono,
    /// When to shake hands anew, because something could not be read.
    redo: Option<Mono>,
}

#[derive(Debug)]
enum State {
    Greeting {
        since: Mono,
        tries: u32,
    },
    Sealed {
        peer: PeerId,
        tag: SealTag,
        since: Mono,
    },
    Failed {
        until: Mono,
    },
}

impl Member {
    /// A member that has just been seen; the smaller sid begins the handshake.
    pub fn new(room: RoomId, me: Sid, them: Sid, ctx: &mut Ctx<'_>) -> Self {
        let since = ctx.now.mono;
        let state = State::Greeting { since, tries: 1 };
        let member = Member {
            room,
            me,
            them,
            state,
            begun: since,
            redo: None,
        };
        member.effect(ctx, SealEffect::Open);
        if member.initiator() {
            member.effect(ctx, SealEffect::Begin);
        }
        member
    }

    /// Whether we begin handshakes, and make the SDP offers, with this member.
    pub fn initiator(&self) -> bool {
        self.me < self.them
    }

    /// Who it is, once proven.
    pub fn peer(&self) -> Option<(PeerId, SealTag)> {
        match self.state {
            State::Sealed { peer, tag, .. } => Some((peer, tag)),
            State::Greeting { .. } | State::Failed { .. } => None,
        }
    }

    /// When we last began a handshake, or asked for one.
    pub fn begun(&self) -> Mono {
        self.begun
    }

    /// Whether no try of late came to anything.
    pub fn has_failed(&self) -> bool {
        matches!(self.state, State::Failed { .. })
    }

    /// A signal body has come.
    pub fn read(&self, body: bytes::Bytes, ctx: &mut Ctx<'_>) {
        self.effect(ctx, SealEffect::Read(body));
    }

    /// Seals and sends; dropped while there is no seal, as whoever it is for will start over.
    pub fn send(&self, body: SealedBody, ctx: &mut Ctx<'_>) {
        if self.peer().is_some() {
            self.effect(ctx, SealEffect::Send(Box::new(body)));
        }
    }

    /// The handshake is complete.
    pub fn on_ready(&mut self, peer: PeerId, tag: SealTag, ctx: &Ctx<'_>) {
        let since = ctx.now.mono;
        self.state = State::Sealed { peer, tag, since };
        self.redo = None;
    }

    /// What came could not be read: shake hands anew, though not so often that somebody who
    /// injects garbage could keep us busy.
    pub fn on_broken(&mut self, ctx: &mut Ctx<'_>) {
        self.redo = Some(ctx.now.mono.max(self.begun + ASK_EVERY));
        self.on_time(ctx);
    }

    /// The member uses keys that are replaced. When they have long been, it never learnt of the new
    /// ones: the last word of the handshake was lost, and neither side would ever hear the other.
    pub fn on_superseded(&mut self, ctx: &mut Ctx<'_>) {
        if let State::Sealed { since, .. } = self.state
            && ctx.now.mono.since(since) >= limits::SEAL_TIMEOUT
        {
            self.on_broken(ctx);
        }
    }

    /// The member cannot read us. Unauthenticated, so the seal that stands stays in use.
    pub fn on_asked_again(&mut self, ctx: &mut Ctx<'_>) {
        if self.initiator() && ctx.now.mono.since(self.begun) >= ASK_EVERY {
            self.begun = ctx.now.mono;
            self.effect(ctx, SealEffect::Begin);
        }
    }

    /// Acts on time.
    pub fn on_time(&mut self, ctx: &mut Ctx<'_>) {
        if self.deadline().is_none_or(|d| d.at > ctx.now.mono) {
            return;
        }
        match self.state {
            State::Greeting { tries, .. } => self.again(tries + 1, ctx),
            State::Failed { .. } | State::Sealed { .. } => self.again(1, ctx),
        }
    }

    /// When [`Member::on_time`] has something to do.
    pub fn deadline(&self) -> Option<Deadline> {
        let redo = self.redo.map(|at| Deadline {
            at,
            why: "seal anew",
        });
        let state = match self.state {
            State::Greeting { since, .. } => Some(Deadline {
                at: since + limits::SEAL_TIMEOUT,
                why: "sealing",
            }),
            State::Failed { until } => Some(Deadline {
                at: until,
                why: "seal again",
            }),
            State::Sealed { .. } => None,
        };
        // A member at rest is left in peace.
        match self.state {
            State::Failed { .. } => state,
            State::Greeting { .. } | State::Sealed { .. } => Deadline::earliest(state, redo),
        }
    }

    /// The member is gone.
    pub fn close(&self, ctx: &mut Ctx<'_>) {
        self.effect(ctx, SealEffect::Close);
    }

    fn again(&mut self, tries: u32, ctx: &mut Ctx<'_>) {
        let since = ctx.now.mono;
        self.redo = None;
        if tries > limits::SEAL_TRIES {
            tracing::warn!(room = %self.room, them = %self.them, "no seal after several tries");
            self.state = State::Failed {
                until: since + REST,
            };
            return;
        }
        self.begun = since;
        self.state = State::Greeting { since, tries };
        let effect = if self.initiator() {
            SealEffect::Begin
        } else {
            SealEffect::AskAgain
        };
        self.effect(ctx, effect);
    }

    fn effect(&self, ctx: &mut Ctx<'_>, effect: SealEffect) {
        ctx.out(Effect::Seal {
            room: self.room,
            me: self.me,
            them: self.them,
            effect,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    fn member(world: &mut World, me: u8, them: u8) -> Member {
        Member::new(
            RoomId([0; 16]),
            Sid([me; 16]),
            Sid([them; 16]),
            &mut world.ctx(),
        )
    }

    fn effects(world: &mut World) -> Vec<&'static str> {
        let name = |e: Effect| match e {
            Effect::Seal {
                effect: SealEffect::Open,
                ..
            } => "open",
            Effect::Seal {
                effect: SealEffect::Begin,
                ..
            } => "begin",
            Effect::Seal {
                effect: SealEffect::AskAgain,
                ..
            } => "ask",
            _ => "other",
        };
        world.drain().into_iter().map(name).collect()
    }

    #[test]
    fn the_smaller_sid_begins() {
        let mut world = World::new();
        member(&mut world, 1, 2);
        assert_eq!(effects(&mut world), ["open", "begin"]);
        member(&mut world, 2, 1);
        assert_eq!(effects(&mut world), ["open"]);
    }

    #[test]
    fn three_tries_then_a_rest_then_again() {
        for (me, them, word) in [(1, 2, "begin"), (2, 1, "ask")] {
            let mut world = World::new();
            let mut m = member(&mut world, me, them);
            effects(&mut world);
            for want in [vec![word], vec![word], vec![], vec![word]] {
                world.now.mono = m.deadline().unwrap().at;
                m.on_time(&mut world.ctx());
                assert_eq!(effects(&mut world), want);
            }
        }
    }

    #[test]
    fn garbage_cannot_keep_us_shaking_hands() {
        let mut world = World::new();
        let mut m = member(&mut world, 1, 2);
        m.on_ready(PeerId([9; 16]), SealTag([0; 8]), &world.ctx());
        effects(&mut world);
        for _ in 0..100 {
            m.on_broken(&mut world.ctx());
            m.on_asked_again(&mut world.ctx());
        }
        assert!(effects(&mut world).is_empty());
        assert!(m.peer().is_some(), "the seal that stands stays");
        world.now.mono = world.now.mono + ASK_EVERY;
        m.on_asked_again(&mut world.ctx());
        assert_eq!(effects(&mut world), ["begin"]);
        assert!(m.peer().is_some());
        m.on_broken(&mut world.ctx());
        assert!(effects(&mut world).is_empty());
        world.now.mono = m.deadline().unwrap().at;
        m.on_time(&mut world.ctx());
        assert_eq!(effects(&mut world), ["begin"]);
        assert!(m.peer().is_none(), "what cannot be read is not trusted");
    }

    #[test]
    fn a_member_that_never_learnt_of_the_new_keys_is_told() {
        for (me, them, word) in [(1, 2, "begin"), (2, 1, "ask")] {
            let mut world = World::new();
            let mut m = member(&mut world, me, them);
            m.on_ready(PeerId([9; 16]), SealTag([0; 8]), &world.ctx());
            effects(&mut world);
            m.on_superseded(&mut world.ctx());
            assert!(
                effects(&mut world).is_empty(),
                "it may have been on its way"
            );
            world.now.mono = world.now.mono + limits::SEAL_TIMEOUT;
            m.on_superseded(&mut world.ctx());
            assert_eq!(effects(&mut world), [word]);
        }
    }
}
