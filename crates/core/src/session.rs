//! Us and the room server.
//!
//! ```text
//! Offline → Dialing → Greeting → Joined ⇄ Waiting → Dialing …
//!               └─────────┴→ Waiting   └→ Refused
//! ```

mod ice;
mod timing;

use std::time::Duration;

use kith_api::SessionPhase;
use kith_protocol::invite::{RoomKeys, ServerAddr};
use kith_protocol::room::{ClientMessage, IceServer, LeftWhy, ServerMessage};
use kith_protocol::{Code, RoomId, Sid};

use crate::effect::{Effect, SessionEffect};
use crate::engine::Ctx;
use crate::input::SessionNews;
use crate::time::Mono;

/// Opening the WebSocket may take this long.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Proving and joining may take this long.
pub const GREET_TIMEOUT: Duration = Duration::from_secs(10);
/// We ask for a sign of life after this much silence …
pub const QUIET: Duration = Duration::from_secs(15);
/// … and take the server for dead after this much.
pub const DEAD: Duration = Duration::from_secs(35);
/// After our addresses changed, the server must answer within this.
pub const PROBE: Duration = Duration::from_secs(3);
/// Retry delays are drawn from zero to this, doubled each time …
pub const BACKOFF_FIRST: Duration = Duration::from_millis(250);
/// … up to this.
pub const BACKOFF_LAST: Duration = Duration::from_secs(30);
/// After this long in the room, the doubling starts over.
pub const STEADY: Duration = Duration::from_secs(10);
/// No two dials are closer together than this.
pub const BACKOFF_FLOOR: Duration = Duration::from_millis(50);

/// The session of one room.
#[derive(Debug)]
pub struct Session {
    room: RoomId,
    server: ServerAddr,
    state: State,
    /// Dials since we were last in the room for a while.
    attempt: u32,
    /// Whether the server ever let us in. What was a room server that takes our proof will be one
    /// again: no word of its own then makes us give the room up.
    proven: bool,
    why: Option<Code>,
}

#[derive(Debug)]
enum State {
    Offline,
    Dialing {
        sid: Sid,
        since: Mono,
    },
    Greeting {
        sid: Sid,
        since: Mono,
        /// Whether we have proven our right to join: once is enough for an honest server.
        signed: bool,
    },
    Joined {
        sid: Sid,
        since: Mono,
        heard: Mono,
        pinged: Option<Mono>,
        suspect: Option<Suspect>,
        ice: Vec<IceServer>,
    },
    Waiting {
        until: Mono,
    },
    Refused,
}

/// Our addresses changed: whether the connection still works is not known.
#[derive(Debug, Clone, Copy)]
struct Suspect {
    /// The first change. The server must answer soon after it.
    since: Mono,
    /// When we last asked. Only the answer to that counts: everything else may have been on its way
    /// before.
    asked: Mono,
}

/// What the session tells its room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionOut {
    /// We are in; these are the others.
    Joined(Vec<Sid>),
    /// Somebody came.
    MemberJoined(Sid),
    /// Somebody went.
    MemberLeft(Sid, LeftWhy),
    /// A member says something.
    Signal(Sid, bytes::Bytes),
    /// We are out: every sid we knew is void.
    Lost,
}

impl Session {
    /// A session that is not yet started.
    pub fn new(room: RoomId, server: ServerAddr) -> Self {
        Session {
            room,
            server,
            state: State::Offline,
            attempt: 0,
            proven: false,
            why: None,
        }
    }

    /// Starts dialling unless it is on already.
    pub fn start(&mut self, ctx: &mut Ctx<'_>) {
        match self.state {
            State::Offline | State::Refused | State::Waiting { .. } => self.dial(ctx),
            State::Dialing { .. } | State::Greeting { .. } | State::Joined { .. } => {}
        }
    }

    /// Says good-bye.
    pub fn stop(&mut self, ctx: &mut Ctx<'_>) {
        if let State::Joined { sid, .. } = self.state {
            self.effect(ctx, sid, SessionEffect::Send(ClientMessage::Leave {}));
        }
        if let Some(sid) = self.current_sid() {
            self.effect(ctx, sid, SessionEffect::Close);
        }
        self.transition(State::Offline, None);
    }

    /// Our sid while we are in the room.
    pub fn joined_sid(&self) -> Option<Sid> {
        match self.state {
            State::Joined { sid, .. } => Some(sid),
            State::Offline
            | State::Dialing { .. }
            | State::Greeting { .. }
            | State::Waiting { .. }
            | State::Refused => None,
        }
    }

    /// STUN and TURN servers, while we are in the room.
    pub fn ice_servers(&self) -> Vec<IceServer> {
        match &self.state {
            State::Joined { ice, .. } => ice.clone(),
            State::Offline
            | State::Dialing { .. }
            | State::Greeting { .. }
            | State::Waiting { .. }
            | State::Refused => Vec::new(),
        }
    }

    /// For the room's view.
    pub fn phase(&self) -> (SessionPhase, Option<Code>) {
        let phase = match self.state {
            State::Offline => SessionPhase::Offline,
            State::Dialing { .. } => SessionPhase::Dialing,
            State::Greeting { .. } => SessionPhase::Greeting,
            State::Joined { .. } => SessionPhase::Joined,
            State::Waiting { .. } => SessionPhase::Waiting,
            State::Refused => SessionPhase::Refused,
        };
        (phase, self.why)
    }

    /// Passes bytes to a member; dropped while we are not in the room, as the member then is gone
    /// too and will shake hands anew.
    pub fn signal(&self, ctx: &mut Ctx<'_>, to: Sid, body: bytes::Bytes) {
        if let Some(sid) = self.joined_sid() {
            let body = kith_protocol::ids::Blob(body);
            self.effect(
                ctx,
                sid,
                SessionEffect::Send(ClientMessage::Signal { to, body }),
            );
        }
    }

    /// Takes news of the connection `sid`; that of an earlier connection is ignored.
    pub fn handle(
        &mut self,
        sid: Sid,
        news: SessionNews,
        keys: &RoomKeys,
        ctx: &mut Ctx<'_>,
    ) -> Option<SessionOut> {
        if self.current_sid() != Some(sid) {
            return None;
        }
        match news {
            SessionNews::Connected => {
                if let State::Dialing { .. } = self.state {
                    let join = ClientMessage::Join {
                        room_id: self.room,
                        sid,
                        access_pk: keys.access_pk(),
                        caps: Vec::new(),
                    };
                    self.effect(ctx, sid, SessionEffect::Send(join));
                    self.transition(
                        State::Greeting {
                            sid,
                            since: ctx.now.mono,
                            signed: false,
                        },
                        None,
                    );
                }
                None
            }
            SessionNews::Message(message) => self.on_message(sid, message, keys, ctx),
            SessionNews::Closed(code) => {
                // What got as far as a WebSocket of ours is a room server, if a broken one.
                let dialing = matches!(self.state, State::Dialing { .. });
                self.lost(code, dialing && code.is_final(), ctx)
            }
        }
    }

    fn on_message(
        &mut self,
        sid: Sid,
        message: ServerMessage,
        keys: &RoomKeys,
        ctx: &mut Ctx<'_>,
    ) -> Option<SessionOut> {
        let greeting = matches!(self.state, State::Greeting { .. });
        let joined = if let State::Joined {
            heard,
            pinged,
            suspect,
            ..
        } = &mut self.state
        {
            *heard = ctx.now.mono;
            *pinged = None;
            if let ServerMessage::Pong { t } = message {
                *suspect = suspect.filter(|s| t < s.asked.0);
            }
            true
        } else {
            false
        };
        match message {
            ServerMessage::Challenge { nonce } if greeting => {
                let State::Greeting { signed, .. } = &mut self.state else {
                    return None;
                };
                if std::mem::replace(signed, true) {
                    return None;
                }
                let sig = keys.prove(self.server.authority(), &nonce, &sid);
                self.effect(ctx, sid, SessionEffect::Send(ClientMessage::Prove { sig }));
                None
            }
            // A connection of somebody else: nothing it says would be meant for us.
            ServerMessage::Joined { you, .. } if greeting && you != sid => {
                self.lost(Code::NotARoomServer, false, ctx)
            }
            ServerMessage::Joined {
                members,
                ice_servers,
                ..
            } if greeting => {
                self.proven = true;
                let heard = ctx.now.mono;
                let state = State::Joined {
                    sid,
                    since: heard,
                    heard,
                    pinged: None,
                    suspect: None,
                    ice: ice::usable(ice_servers),
                };
                self.transition(state, None);
                // The list is the server's word: ourselves or somebody twice is not believed.
                let mut others: Vec<Sid> = members.into_iter().map(|m| m.sid).collect();
                others.sort_unstable();
                others.dedup();
                others.retain(|s| *s != sid);
                Some(SessionOut::Joined(others))
            }
            ServerMessage::MemberJoined { sid: other, .. } if joined && other != sid => {
                Some(SessionOut::MemberJoined(other))
            }
            ServerMessage::MemberLeft { sid: other, why } if joined => {
                Some(SessionOut::MemberLeft(other, why))
            }
            ServerMessage::Signal { from, body } if joined && from != sid => {
                Some(SessionOut::Signal(from, body.0))
            }
            ServerMessage::IceServers { ice_servers, .. } => {
                if let State::Joined { ice, .. } = &mut self.state {
                    *ice = ice::usable(ice_servers);
                }
                None
            }
            ServerMessage::Error { code, .. } if greeting => self.lost(code, code.is_final(), ctx),
            ServerMessage::Error {
                code,
                about,
                message,
            } => {
                tracing::debug!(
                    code = code.name(),
                    ?about,
                    message,
                    "the server refused something"
                );
                None
            }
            ServerMessage::Challenge { .. }
            | ServerMessage::Joined { .. }
            | ServerMessage::MemberJoined { .. }
            | ServerMessage::MemberLeft { .. }
            | ServerMessage::Signal { .. }
            | ServerMessage::Call { .. }
            | ServerMessage::Room { .. }
            | ServerMessage::Restarting { .. }
            | ServerMessage::Pong { .. }
            | ServerMessage::Unknown => None,
        }
    }

    fn dial(&mut self, ctx: &mut Ctx<'_>) {
        let sid = Sid(ctx.random());
        self.attempt = self.attempt.saturating_add(1);
        self.effect(ctx, sid, SessionEffect::Dial(self.server.clone()));
        let why = self.why;
        self.transition(
            State::Dialing {
                sid,
                since: ctx.now.mono,
            },
            why,
        );
    }

    /// We are out. `refused`: by something that looks as if it would say so again.
    fn lost(&mut self, code: Code, refused: bool, ctx: &mut Ctx<'_>) -> Option<SessionOut> {
        // Also where the connection is gone already, for what is kept of it.
        if let Some(sid) = self.current_sid() {
            self.effect(ctx, sid, SessionEffect::Close);
        }
        if refused && !self.proven {
            self.transition(State::Refused, Some(code));
            return Some(SessionOut::Lost);
        }
        // A server that lets us in and throws us out at once is not dialled in a loop.
        if let State::Joined { since, .. } = self.state
            && ctx.now.mono.since(since) >= STEADY
        {
            self.attempt = 0;
        }
        let doublings = self.attempt.saturating_sub(1).min(10);
        let most = BACKOFF_FIRST
            .saturating_mul(1 << doublings)
            .min(BACKOFF_LAST);
        let delay = ctx.random_up_to(most).max(BACKOFF_FLOOR);
        self.transition(
            State::Waiting {
                until: ctx.now.mono + delay,
            },
            Some(code),
        );
        Some(SessionOut::Lost)
    }

    fn current_sid(&self) -> Option<Sid> {
        match self.state {
            State::Dialing { sid, .. }
            | State::Greeting { sid, .. }
            | State::Joined { sid, .. } => Some(sid),
            State::Offline | State::Waiting { .. } | State::Refused => None,
        }
    }

    fn transition(&mut self, state: State, why: Option<Code>) {
        self.state = state;
        self.why = why;
        let (phase, why) = self.phase();
        tracing::info!(room = %self.room, ?phase, why = why.map(Code::name), "room server");
    }

    fn effect(&self, ctx: &mut Ctx<'_>, sid: Sid, effect: SessionEffect) {
        ctx.out(Effect::Session(self.room, sid, effect));
    }
}

#[cfg(test)]
mod tests;
