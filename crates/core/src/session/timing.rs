//! What the session does when time passes, or the machine moves.

use kith_protocol::Code;
use kith_protocol::room::ClientMessage;

use super::{
    BACKOFF_FLOOR, DEAD, DIAL_TIMEOUT, GREET_TIMEOUT, PROBE, QUIET, Session, SessionOut, State,
    Suspect,
};
use crate::effect::SessionEffect;
use crate::engine::Ctx;
use crate::time::Deadline;

impl Session {
    /// The machine's addresses changed: the connection may be dead without anybody saying so, and
    /// a server that was out of reach may be within it.
    pub fn on_addresses_changed(&mut self, ctx: &mut Ctx<'_>) {
        let now = ctx.now.mono;
        match &mut self.state {
            State::Joined { sid, suspect, .. } => {
                let sid = *sid;
                let since = suspect.map_or(now, |s| s.since);
                *suspect = Some(Suspect { since, asked: now });
                let ping = ClientMessage::Ping { t: now.0 };
                self.effect(ctx, sid, SessionEffect::Send(ping));
            }
            State::Waiting { until } => *until = (*until).min(now + BACKOFF_FLOOR),
            State::Offline | State::Dialing { .. } | State::Greeting { .. } | State::Refused => {}
        }
    }

    /// Acts on time.
    pub fn on_time(&mut self, ctx: &mut Ctx<'_>) -> Option<SessionOut> {
        let now = ctx.now.mono;
        if self.deadline().is_none_or(|d| d.at > now) {
            return None;
        }
        match &mut self.state {
            State::Offline | State::Refused => None,
            State::Waiting { .. } => {
                self.dial(ctx);
                None
            }
            State::Dialing { .. } | State::Greeting { .. } => {
                self.lost(Code::ServerUnreachable, false, ctx)
            }
            State::Joined {
                sid,
                heard,
                pinged,
                suspect,
                ..
            } => {
                let sid = *sid;
                let unanswered = suspect.is_some_and(|s| now.since(s.since) >= PROBE);
                if now.since(*heard) >= DEAD || unanswered {
                    return self.lost(Code::ServerUnreachable, false, ctx);
                }
                *pinged = Some(now);
                self.effect(
                    ctx,
                    sid,
                    SessionEffect::Send(ClientMessage::Ping { t: now.0 }),
                );
                None
            }
        }
    }

    /// When [`Session::on_time`] has something to do.
    pub fn deadline(&self) -> Option<Deadline> {
        match &self.state {
            State::Offline | State::Refused => None,
            State::Dialing { since, .. } => Some(Deadline {
                at: *since + DIAL_TIMEOUT,
                why: "dial",
            }),
            State::Greeting { since, .. } => Some(Deadline {
                at: *since + GREET_TIMEOUT,
                why: "greet",
            }),
            State::Joined {
                suspect: Some(suspect),
                ..
            } => Some(Deadline {
                at: suspect.since + PROBE,
                why: "server silent after a change of address",
            }),
            State::Joined { heard, pinged, .. } => Some(match pinged {
                None => Deadline {
                    at: *heard + QUIET,
                    why: "heartbeat",
                },
                Some(_) => Deadline {
                    at: *heard + DEAD,
                    why: "server silent",
                },
            }),
            State::Waiting { until } => Some(Deadline {
                at: *until,
                why: "retry",
            }),
        }
    }
}
