//! What others say of calls, and what they are told. What makes no sense now is ignored: each side
//! says again what it is in when a link opens.

use kith_protocol::peer::PeerMessage;
use kith_protocol::room::CallStep;
use kith_protocol::{CallId, Code, RoomId, limits};

use super::{At, AudioEffect, Call, CallOut, Calls, Party, Ring, Said, Who, out_of};
use crate::engine::Ctx;

impl Calls {
    /// Somebody asks us to join a call. It has said before that it is in it.
    pub fn on_ring(
        &mut self,
        who: Who,
        call: CallId,
        room: bool,
        ctx: &mut Ctx<'_>,
    ) -> Vec<CallOut> {
        let said = self.linked.get(&who).copied().flatten();
        if said.is_none_or(|s| (s.call, s.room) != (call, room)) {
            return Vec::new();
        }
        match &self.at {
            At::On(c) if c.at == who.room && c.id == call => vec![self.say(who)],
            // Both ring: the call of the smaller id is the one.
            At::On(c) if c.rings_alone(who) && !room => match call < c.id {
                true => self.become_one(call, ctx),
                false => Vec::new(),
            },
            // They come to ours when they hear of it.
            At::On(c) if c.at == who.room && c.room && room => Vec::new(),
            At::On(_) => vec![out_of(who, call, Code::CallBusy)],
            At::Quiet | At::Opening { .. } if self.declined.contains_key(&who) => {
                vec![out_of(who, call, Code::CallDeclined)]
            }
            At::Quiet | At::Opening { .. } => {
                let until = ctx.now.mono + limits::RING_TIMEOUT;
                let known = self.rings.get(&who).filter(|ring| ring.call == call);
                let until = known.map_or(until, |ring| ring.until);
                self.rings.insert(who, Ring { call, until });
                vec![CallOut::Changed]
            }
        }
    }

    /// Somebody says which call it is in, of those that concern us.
    pub fn on_said(&mut self, who: Who, said: Option<Said>, ctx: &mut Ctx<'_>) -> Vec<CallOut> {
        let Some(known) = self.linked.get_mut(&who) else {
            return Vec::new();
        };
        *known = said;
        let mut out = vec![CallOut::Changed];
        let call = said.map(|s| s.call);
        // Who rings is in the call.
        self.rings
            .retain(|of, ring| *of != who || Some(ring.call) == call);
        let ours = match &self.at {
            At::On(c) => c.concerns(who),
            At::Quiet | At::Opening { .. } => false,
        };
        if !ours && said.is_some_and(|s| !s.room) {
            // It may believe that we are in it too.
            out.push(self.say(who));
        }
        let At::On(c) = &mut self.at else {
            return out;
        };
        if c.at != who.room {
            return out;
        }
        match said {
            Some(s) if s.call == c.id => out.extend(self.gather(ctx)),
            Some(s) if s.room && c.room && s.call < c.id => {
                out.extend(self.become_one(s.call, ctx));
            }
            Some(_) | None => {
                if c.with.remove(&who.peer).is_some() {
                    c.last = Some((who.peer, Code::HungUp));
                    out.push(CallOut::Audio(c.run, AudioEffect::Part(who)));
                    out.extend(self.end_if_alone(ctx));
                }
            }
        }
        out
    }

    /// Somebody will not come, or does not ask any more; of a call of two: is in it no longer.
    pub fn on_out(&mut self, who: Who, call: CallId, why: Code, ctx: &mut Ctx<'_>) -> Vec<CallOut> {
        let Some(said) = self.linked.get_mut(&who) else {
            return Vec::new();
        };
        let mut out = vec![CallOut::Changed];
        // Who only asks no longer is still in a call of the room, or else says so too.
        *said = said.filter(|s| s.call != call || s.room);
        self.rings
            .retain(|of, ring| *of != who || ring.call != call);
        let At::On(c) = &mut self.at else {
            return out;
        };
        if (c.at, c.id) != (who.room, call) {
            return out;
        }
        let asked = c.asked.remove(&who.peer).is_some();
        let with = !c.room && c.with.remove(&who.peer).is_some();
        if asked || with {
            c.last = Some((who.peer, reason(why)));
        }
        if with {
            out.push(CallOut::Audio(c.run, AudioEffect::Part(who)));
        }
        out.extend(self.end_if_alone(ctx));
        out
    }

    /// Our call is that of another id from now on: two that should be one.
    fn become_one(&mut self, call: CallId, ctx: &mut Ctx<'_>) -> Vec<CallOut> {
        let At::On(c) = &mut self.at else {
            return Vec::new();
        };
        tracing::info!(call = %c.id, with = %call, "two calls become one");
        let (room, run) = (c.at, c.run);
        let mut out = vec![
            CallOut::Book(room, None, c.id, CallStep::Cancel),
            CallOut::Book(room, None, call, CallStep::Accept),
        ];
        c.id = call;
        let before = std::mem::take(&mut c.with);
        out.extend(self.gather(ctx));
        let At::On(c) = &self.at else {
            return out;
        };
        for peer in before.into_keys().filter(|p| !c.with.contains_key(p)) {
            let who = Who { room, peer };
            out.push(CallOut::Audio(run, AudioEffect::Part(who)));
        }
        out.extend(self.say_all());
        out.extend(self.ring_all());
        out
    }

    /// Takes in everybody who says that they are in our call.
    pub(super) fn gather(&mut self, ctx: &mut Ctx<'_>) -> Vec<CallOut> {
        let At::On(c) = &mut self.at else {
            return Vec::new();
        };
        let mut out = Vec::new();
        for (who, said) in self.linked.iter().filter(|(who, _)| who.room == c.at) {
            let Some(said) = said.filter(|s| (s.call, s.room) == (c.id, c.room)) else {
                continue;
            };
            c.asked.remove(&who.peer);
            let party = Party {
                muted: said.muted,
                lost: None,
            };
            let before = c.with.insert(who.peer, party);
            if before.is_none_or(|p| p.lost.is_some()) {
                out.push(CallOut::Audio(c.run, AudioEffect::Talk(*who)));
            }
            c.since = c.since.or(Some(ctx.now.unix_ms));
            out.push(CallOut::Changed);
        }
        out
    }

    /// What we are in, of what concerns this person.
    pub(super) fn say(&self, who: Who) -> CallOut {
        let ours = match &self.at {
            At::On(c) if c.concerns(who) => Some(c),
            At::Quiet | At::Opening { .. } | At::On(_) => None,
        };
        let message = PeerMessage::InCall {
            call: ours.map(|c| c.id),
            room: ours.is_some_and(|c| c.room),
            muted: ours.is_some_and(|c| c.muted),
        };
        CallOut::Send(who, message)
    }

    /// Tells everybody whom our call concerns.
    pub(super) fn say_all(&self) -> Vec<CallOut> {
        let At::On(c) = &self.at else {
            return Vec::new();
        };
        let concerned = self.linked_in(c.at).filter(|who| c.concerns(*who));
        concerned.map(|who| self.say(who)).collect()
    }

    /// Rings everybody whom we ask to join.
    pub(super) fn ring_all(&self) -> Vec<CallOut> {
        let At::On(c) = &self.at else {
            return Vec::new();
        };
        let asked = self.linked_in(c.at);
        let asked = asked.filter(|who| c.asked.contains_key(&who.peer));
        asked.map(|who| CallOut::Send(who, c.ring())).collect()
    }

    /// We are in a call: who rings for another hears that.
    pub(super) fn refuse_others(&mut self) -> Vec<CallOut> {
        let At::On(c) = &self.at else {
            return Vec::new();
        };
        let mut out = Vec::new();
        for (who, ring) in std::mem::take(&mut self.rings) {
            if ring.call != c.id {
                out.push(out_of(who, ring.call, Code::CallBusy));
            }
            out.push(CallOut::Changed);
        }
        out
    }

    /// The call to which this person rings us, if it can be reached.
    pub(super) fn ring_of(&self, who: Who) -> Option<(Who, Said)> {
        let ring = self.rings.get(&who)?;
        let said = self.linked.get(&who).copied().flatten()?;
        (said.call == ring.call).then_some((who, said))
    }

    /// The call of the room that goes on, if there is one.
    pub(super) fn going_on(&self, room: RoomId) -> Option<(Who, Said)> {
        let said = self.linked.iter().filter(|(who, _)| who.room == room);
        let said = said.filter_map(|(who, said)| Some((*who, said.filter(|s| s.room)?)));
        said.min_by_key(|(_, said)| said.call)
    }

    pub(super) fn linked_in(&self, room: RoomId) -> impl Iterator<Item = Who> + use<'_> {
        let there = self.linked.keys().copied();
        there.filter(move |who| who.room == room)
    }
}

impl Call {
    /// Whether this person may know of the call.
    fn concerns(&self, who: Who) -> bool {
        let ours = || self.with.contains_key(&who.peer) || self.asked.contains_key(&who.peer);
        self.at == who.room && (self.room || ours())
    }

    /// Whether it is a call to this person alone, who has not answered.
    fn rings_alone(&self, who: Who) -> bool {
        let unanswered = self.with.is_empty() && self.asked.contains_key(&who.peer);
        self.at == who.room && !self.room && unanswered
    }
}

/// A reason that a stranger may give for not being in a call.
fn reason(why: Code) -> Code {
    let may = [
        Code::CallDeclined,
        Code::CallBusy,
        Code::CallCancelled,
        Code::NoAnswer,
        Code::LinkLost,
    ];
    may.into_iter()
        .find(|code| *code == why)
        .unwrap_or(Code::HungUp)
}
