//! Calls: who rings whom, and who talks with whom. One at a time, over all rooms, as there is one
//! microphone.
//!
//! ```text
//! Quiet → Opening → On → Quiet
//! ```
//! *Opening*: the devices are being opened, before anybody is rung or answered. *On*: we are in the
//! call, alone with those who are *asked* to join, or with those who are *in* it. It ends for us when
//! neither is left.
//!
//! Nobody decides who is in a call: everybody says so of themselves, over every link that opens and
//! whenever it changes. So two who are linked agree as soon as they have heard each other. A call of
//! two concerns those two, a call of the room everybody there, who may join it as long as it goes on.
//!
//! Two calls that should be one become the one of the smaller id: two people who ring each other at the
//! same time, and calls of the same room that were begun in parts that did not hear of each other.

mod heard;

use std::collections::BTreeMap;
use std::time::Duration;

use kith_api::ApiError;
use kith_protocol::peer::PeerMessage;
use kith_protocol::room::CallStep;
use kith_protocol::{CallId, Code, PeerId, RoomId, limits};

use crate::engine::Ctx;
use crate::input::ReqId;
use crate::time::{Deadline, Mono};

/// Somebody in the call whose link is lost is waited for so long.
pub const LOST_FOR: Duration = Duration::from_secs(30);
/// Who was declined does not ring again for so long.
pub const DECLINED_FOR: Duration = Duration::from_secs(5);

/// A person, in the room in which it is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Who {
    /// The room.
    pub room: RoomId,
    /// The person.
    pub peer: PeerId,
}

/// All calls of this app session.
#[derive(Debug, Default)]
pub struct Calls {
    at: At,
    /// Everybody who is linked, and what they say that concerns us.
    linked: BTreeMap<Who, Option<Said>>,
    rings: BTreeMap<Who, Ring>,
    /// Who rings in vain until then.
    declined: BTreeMap<Who, Mono>,
    ended: Option<Ended>,
    runs: u32,
}

#[derive(Debug, Default)]
enum At {
    #[default]
    Quiet,
    Opening {
        run: u32,
        then: Then,
        req: ReqId,
    },
    On(Call),
}

/// What is to be done once there is a microphone.
#[derive(Debug, Clone, Copy)]
enum Then {
    /// Ring one person, or all of the room.
    Ring(RoomId, Option<PeerId>),
    /// Join what somebody rings us to, or what goes on in a room.
    Join(Who, Said),
}

/// A call that somebody is in: see [`PeerMessage::InCall`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// Which.
    pub call: CallId,
    /// Of the room, not of two.
    pub room: bool,
    /// Nothing is to be heard from who says it.
    pub muted: bool,
}

/// Somebody rings us.
#[derive(Debug, Clone, Copy)]
struct Ring {
    call: CallId,
    until: Mono,
}

/// The call that we are in.
#[derive(Debug)]
struct Call {
    run: u32,
    id: CallId,
    at: RoomId,
    /// Of the room, not of two.
    room: bool,
    /// Who is rung, until when.
    asked: BTreeMap<PeerId, Mono>,
    with: BTreeMap<PeerId, Party>,
    /// How the last who left, or did not come, did.
    last: Option<(PeerId, Code)>,
    /// When we were first not alone, milliseconds since 1970.
    since: Option<u64>,
    muted: bool,
    deaf: bool,
    /// What is wrong with our devices.
    trouble: Option<Code>,
}

/// Somebody in the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Party {
    muted: bool,
    /// Its link is lost, and it is waited for until then.
    lost: Option<Mono>,
}

/// How the last call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Which.
    pub call: Option<CallId>,
    /// Where.
    pub room: RoomId,
    /// Who ended it; none: we did.
    pub by: Option<PeerId>,
    /// Why.
    pub why: Code,
    /// When it began, if anybody ever answered, milliseconds since 1970 …
    pub since: Option<u64>,
    /// … and when it ended.
    pub at: u64,
}

/// What calls want done.
#[derive(Debug, PartialEq, Eq)]
pub enum CallOut {
    /// Tell the person.
    Send(Who, PeerMessage),
    /// Tell the room server, for its books; `None`: about everybody in the room.
    Book(RoomId, Option<PeerId>, CallId, CallStep),
    /// To what hears and speaks.
    Audio(u32, AudioEffect),
    /// Answer a command.
    Reply(ReqId, Result<(), ApiError>),
    /// The view of calls may have changed.
    Changed,
}

/// To what hears and speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AudioEffect {
    /// Open microphone and speaker; answered by `Opened` or `Failed`.
    Open,
    /// Speak to this person, and hear it.
    Talk(Who),
    /// No longer.
    Part(Who),
    /// Say nothing, or something again.
    Mute(bool),
    /// Hear nothing, or something again.
    Deafen(bool),
    /// Let the devices go.
    Close,
}

/// News of what hears and speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AudioNews {
    /// Both devices are open.
    Opened,
    /// They cannot be opened.
    Failed(Code),
    /// Something is wrong with them in the call, or not any more.
    Trouble(Option<Code>),
}

impl Calls {
    /// Calls one person, or all of a room; joins a call of the room that goes on. Answered once the
    /// devices are open.
    pub fn place(
        &mut self,
        room: RoomId,
        to: Option<PeerId>,
        req: ReqId,
    ) -> Result<Vec<CallOut>, ApiError> {
        self.may_begin()?;
        let joined = match to {
            Some(peer) => self.ring_of(Who { room, peer }),
            None => self.going_on(room),
        };
        let then = match joined {
            Some((who, said)) => Then::Join(who, said),
            None => {
                let mut there = self.linked.keys().filter(|who| who.room == room);
                if !there.any(|who| to.is_none_or(|to| to == who.peer)) {
                    return Err(ApiError::new(Code::LinkLost));
                }
                Then::Ring(room, to)
            }
        };
        Ok(self.open(then, req))
    }

    /// Answers somebody who rings. Answered itself once the devices are open.
    pub fn answer(&mut self, who: Who, req: ReqId) -> Result<Vec<CallOut>, ApiError> {
        self.may_begin()?;
        let Some((who, said)) = self.ring_of(who) else {
            return Err(ApiError::new(Code::NotNow));
        };
        Ok(self.open(Then::Join(who, said), req))
    }

    /// Does not answer somebody who rings.
    pub fn decline(&mut self, who: Who, ctx: &mut Ctx<'_>) -> Result<Vec<CallOut>, ApiError> {
        let Some(ring) = self.rings.remove(&who) else {
            return Err(ApiError::new(Code::NotNow));
        };
        self.declined.insert(who, ctx.now.mono + DECLINED_FOR);
        let mut out = vec![
            out_of(who, ring.call, Code::CallDeclined),
            CallOut::Book(who.room, Some(who.peer), ring.call, CallStep::Reject),
            CallOut::Changed,
        ];
        if let At::Opening { then, .. } = &self.at
            && matches!(then, Then::Join(_, said) if said.call == ring.call)
        {
            out.extend(self.give_up(Code::CallDeclined));
        }
        Ok(out)
    }

    /// Leaves the call, or gives up one that has not begun.
    pub fn hang_up(&mut self, ctx: &mut Ctx<'_>) -> Result<Vec<CallOut>, ApiError> {
        match &self.at {
            At::Quiet => Err(ApiError::new(Code::NotNow)),
            At::Opening { .. } => Ok(self.give_up(Code::CallCancelled)),
            At::On(_) => Ok(self.end(None, Code::HungUp, ctx)),
        }
    }

    /// Says nothing in the call, or something again; everybody in it is told.
    pub fn mute(&mut self, muted: bool) -> Result<Vec<CallOut>, ApiError> {
        let At::On(c) = &mut self.at else {
            return Err(ApiError::new(Code::NotNow));
        };
        if c.muted == muted {
            return Ok(Vec::new());
        }
        c.muted = muted;
        let mut out = vec![CallOut::Audio(c.run, AudioEffect::Mute(muted))];
        out.extend(self.say_all());
        out.push(CallOut::Changed);
        Ok(out)
    }

    /// Hears nothing of the call, or something again.
    pub fn deafen(&mut self, deaf: bool) -> Result<Vec<CallOut>, ApiError> {
        let At::On(c) = &mut self.at else {
            return Err(ApiError::new(Code::NotNow));
        };
        c.deaf = deaf;
        let audio = CallOut::Audio(c.run, AudioEffect::Deafen(deaf));
        Ok(vec![audio, CallOut::Changed])
    }

    /// News of what hears and speaks.
    pub fn on_audio(&mut self, run: u32, news: AudioNews, ctx: &mut Ctx<'_>) -> Vec<CallOut> {
        match (&mut self.at, news) {
            (At::Opening { run: r, .. }, AudioNews::Opened) if *r == run => self.begin(ctx),
            (At::Opening { run: r, .. }, AudioNews::Failed(code)) if *r == run => {
                self.give_up(code)
            }
            (At::On(c), AudioNews::Failed(code)) if c.run == run => self.end(None, code, ctx),
            (At::On(c), AudioNews::Trouble(trouble)) if c.run == run => {
                c.trouble = trouble;
                vec![CallOut::Changed]
            }
            // Of a call that is over.
            (At::Quiet | At::Opening { .. } | At::On(_), _) => Vec::new(),
        }
    }

    /// A link is open.
    pub fn on_open(&mut self, who: Who) -> Vec<CallOut> {
        self.linked.insert(who, None);
        let mut out = vec![self.say(who)];
        if let At::On(c) = &mut self.at
            && c.at == who.room
        {
            if let Some(party) = c.with.get_mut(&who.peer) {
                party.lost = None;
                out.push(CallOut::Audio(c.run, AudioEffect::Talk(who)));
                out.push(CallOut::Changed);
            }
            if c.asked.contains_key(&who.peer) {
                out.push(CallOut::Send(who, c.ring()));
            }
        }
        out
    }

    /// A link is gone.
    pub fn on_closed(&mut self, who: Who, ctx: &mut Ctx<'_>) -> Vec<CallOut> {
        self.linked.remove(&who);
        let mut out = vec![CallOut::Changed];
        if let At::On(c) = &mut self.at
            && c.at == who.room
            && let Some(party) = c.with.get_mut(&who.peer)
        {
            party.lost = Some(ctx.now.mono + LOST_FOR);
            out.push(CallOut::Audio(c.run, AudioEffect::Part(who)));
        }
        out
    }

    /// The room is left: so is a call in it.
    pub fn on_left(&mut self, room: RoomId, ctx: &mut Ctx<'_>) -> Vec<CallOut> {
        let mut out = match &self.at {
            At::On(c) if c.at == room => self.end(None, Code::HungUp, ctx),
            At::Opening { then, .. } if then.room() == room => self.give_up(Code::CallCancelled),
            At::Quiet | At::Opening { .. } | At::On(_) => Vec::new(),
        };
        self.linked.retain(|who, _| who.room != room);
        self.rings.retain(|who, _| who.room != room);
        out.push(CallOut::Changed);
        out
    }

    /// What is due.
    pub fn on_time(&mut self, ctx: &mut Ctx<'_>) -> Vec<CallOut> {
        let now = ctx.now.mono;
        self.declined.retain(|_, until| *until > now);
        let mut out = Vec::new();
        let due = self.rings.extract_if(.., |_, ring| ring.until <= now);
        for (who, ring) in due {
            out.push(out_of(who, ring.call, Code::NoAnswer));
            out.push(CallOut::Changed);
        }
        let At::On(c) = &mut self.at else {
            return out;
        };
        let at = c.at;
        let silent = c.asked.extract_if(.., |_, until| *until <= now);
        for (peer, _) in silent {
            out.push(out_of(Who { room: at, peer }, c.id, Code::NoAnswer));
            c.last = Some((peer, Code::NoAnswer));
        }
        let lost = c
            .with
            .extract_if(.., |_, p| p.lost.is_some_and(|until| until <= now));
        for (peer, _) in lost {
            c.last = Some((peer, Code::LinkLost));
            out.push(CallOut::Changed);
        }
        out.extend(self.end_if_alone(ctx));
        out
    }

    /// When something is.
    pub fn deadline(&self) -> Option<Deadline> {
        let rings = self.rings.values().map(|ring| ring.until);
        let ours: Vec<Mono> = match &self.at {
            At::On(c) => {
                let lost = c.with.values().filter_map(|p| p.lost);
                c.asked.values().copied().chain(lost).collect()
            }
            At::Quiet | At::Opening { .. } => Vec::new(),
        };
        let at = rings.chain(ours).min()?;
        let why = "a call that nobody answers, or a link of a call";
        Some(Deadline { at, why })
    }

    fn may_begin(&self) -> Result<(), ApiError> {
        match self.at {
            At::Quiet => Ok(()),
            At::Opening { .. } | At::On(_) => Err(ApiError::new(Code::InACall)),
        }
    }

    fn open(&mut self, then: Then, req: ReqId) -> Vec<CallOut> {
        self.runs = self.runs.wrapping_add(1);
        let run = self.runs;
        self.at = At::Opening { run, then, req };
        self.ended = None;
        vec![CallOut::Audio(run, AudioEffect::Open), CallOut::Changed]
    }

    /// There is a microphone.
    fn begin(&mut self, ctx: &mut Ctx<'_>) -> Vec<CallOut> {
        let At::Opening { run, then, req } = std::mem::take(&mut self.at) else {
            return Vec::new();
        };
        let mut out = vec![CallOut::Reply(req, Ok(())), CallOut::Changed];
        // Who is to be rung may ring meanwhile.
        let crossed = match then {
            Then::Ring(room, Some(peer)) => self.ring_of(Who { room, peer }),
            Then::Ring(room, None) => self.going_on(room),
            Then::Join(..) => None,
        };
        let then = crossed.map_or(then, |(who, said)| Then::Join(who, said));
        let mut call = Call {
            run,
            id: CallId(ctx.random()),
            at: then.room(),
            room: false,
            asked: BTreeMap::new(),
            with: BTreeMap::new(),
            last: None,
            since: None,
            muted: false,
            deaf: false,
            trouble: None,
        };
        match then {
            Then::Ring(room, to) => {
                call.room = to.is_none();
                let until = ctx.now.mono + limits::RING_TIMEOUT;
                let there = self.linked.keys().filter(|who| who.room == room);
                let meant = there.filter(|who| to.is_none_or(|to| to == who.peer));
                call.asked = meant.map(|who| (who.peer, until)).collect();
                out.push(CallOut::Book(room, to, call.id, CallStep::Request));
                call.last = to.map(|peer| (peer, Code::LinkLost));
            }
            Then::Join(who, said) => {
                (call.id, call.room) = (said.call, said.room);
                self.rings.remove(&who);
                out.push(CallOut::Book(who.room, None, call.id, CallStep::Accept));
                call.last = Some((who.peer, Code::CallCancelled));
            }
        }
        self.at = At::On(call);
        out.extend(self.gather(ctx));
        // Who is rung has heard by then that we are in it.
        out.extend(self.say_all());
        out.extend(self.ring_all());
        out.extend(self.refuse_others());
        out.extend(self.end_if_alone(ctx));
        out
    }

    /// The call does not come about.
    fn give_up(&mut self, why: Code) -> Vec<CallOut> {
        let At::Opening { run, req, .. } = std::mem::take(&mut self.at) else {
            return Vec::new();
        };
        vec![
            CallOut::Audio(run, AudioEffect::Close),
            CallOut::Reply(req, Err(ApiError::new(why))),
            CallOut::Changed,
        ]
    }

    /// We are in no call any more.
    fn end(&mut self, by: Option<PeerId>, why: Code, ctx: &mut Ctx<'_>) -> Vec<CallOut> {
        let At::On(c) = std::mem::take(&mut self.at) else {
            return Vec::new();
        };
        let room = c.at;
        tracing::info!(call = %c.id, why = why.name(), "call ended");
        let mut out = vec![CallOut::Audio(c.run, AudioEffect::Close)];
        let told = c.with.keys().map(|peer| (*peer, why));
        let asked = c.asked.keys().map(|peer| (*peer, Code::CallCancelled));
        for (peer, why) in told.chain(asked) {
            out.push(out_of(Who { room, peer }, c.id, why));
        }
        let step = match c.since {
            Some(_) => CallStep::HangUp,
            None => CallStep::Cancel,
        };
        out.push(CallOut::Book(room, None, c.id, step));
        if c.room {
            // Everybody there could have joined it.
            out.extend(self.linked_in(room).map(|who| self.say(who)));
        }
        self.ended = Some(Ended {
            call: Some(c.id),
            room,
            by,
            why,
            since: c.since,
            at: ctx.now.unix_ms,
        });
        out.push(CallOut::Changed);
        out
    }

    fn end_if_alone(&mut self, ctx: &mut Ctx<'_>) -> Vec<CallOut> {
        let At::On(c) = &self.at else {
            return Vec::new();
        };
        if !c.asked.is_empty() || !c.with.is_empty() {
            return Vec::new();
        }
        let (by, why) = c
            .last
            .map_or((None, Code::NoAnswer), |(peer, why)| (Some(peer), why));
        self.end(by, why, ctx)
    }
}

impl Then {
    fn room(&self) -> RoomId {
        match self {
            Then::Ring(room, _) => *room,
            Then::Join(who, _) => who.room,
        }
    }
}

impl Call {
    fn ring(&self) -> PeerMessage {
        PeerMessage::Ring {
            call: self.id,
            room: self.room,
        }
    }
}

fn out_of(who: Who, call: CallId, why: Code) -> CallOut {
    CallOut::Send(who, PeerMessage::OutOfCall { call, why })
}

#[cfg(test)]
mod tests;
