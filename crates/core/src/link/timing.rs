//! What a link does when time passes.

use kith_protocol::Code;
use kith_protocol::peer::{Beat, PresenceState};

use super::{
    BEAT_EVERY, CONNECT_TIMEOUT, GIVE_UP, Link, LinkOut, Phase, QUIET, RESTART_EVERY,
    SIGNAL_TIMEOUT, SILENT,
};
use crate::effect::LinkEffect;
use crate::engine::Ctx;
use crate::time::Deadline;

impl Link {
    /// Acts on time. `can_signal`: whether the person is reachable through the server.
    pub fn on_time(&mut self, can_signal: bool, ctx: &mut Ctx<'_>) -> Vec<LinkOut> {
        let now = ctx.now.mono;
        let mut out = Vec::new();
        match self.phase {
            Phase::Signaling { since } if now.since(since) >= SIGNAL_TIMEOUT => {
                return vec![LinkOut::Gone(Code::NoRoute)];
            }
            Phase::Connecting { since } if now.since(since) >= CONNECT_TIMEOUT => {
                return vec![LinkOut::Gone(Code::NoRoute)];
            }
            Phase::Recovering { since, .. } if now.since(since) >= GIVE_UP => {
                return vec![LinkOut::Gone(Code::LinkLost)];
            }
            Phase::Recovering { since, restart_at } if now >= restart_at => {
                if let Some(restart_at) = self.awaits_answer(ctx) {
                    self.phase = Phase::Recovering { since, restart_at };
                } else if can_signal {
                    out.extend(self.restart(ctx));
                } else {
                    self.phase = Phase::Recovering {
                        since,
                        restart_at: now + RESTART_EVERY,
                    };
                }
            }
            Phase::Open if now.since(self.heard) >= QUIET => {
                let restart_at = if can_signal { now } else { now + RESTART_EVERY };
                self.transition(Phase::Recovering {
                    since: now,
                    restart_at,
                });
                out.push(LinkOut::Changed);
                if can_signal {
                    out.extend(self.restart(ctx));
                }
            }
            Phase::Signaling { .. }
            | Phase::Connecting { .. }
            | Phase::Open
            | Phase::Recovering { .. } => {}
        }
        self.close_late_strands(ctx);
        if self.is_open() {
            let silent = now.since(self.heard) >= SILENT;
            if silent != self.silent {
                self.silent = silent;
                out.push(LinkOut::Silent(silent));
            }
            if now >= self.beat_at {
                self.beat_n += 1;
                let beat = Beat {
                    n: self.beat_n,
                    state: PresenceState::Online,
                    typing: false,
                };
                self.effect(ctx, LinkEffect::Beat(beat));
                self.beat_at = now + BEAT_EVERY;
            }
        }
        out
    }

    /// When [`Link::on_time`] has something to do.
    pub fn deadline(&self) -> Option<Deadline> {
        let phase = match self.phase {
            Phase::Signaling { since } => Deadline {
                at: since + SIGNAL_TIMEOUT,
                why: "signal",
            },
            Phase::Connecting { since } => Deadline {
                at: since + CONNECT_TIMEOUT,
                why: "connect",
            },
            Phase::Open => Deadline {
                at: self.heard + QUIET,
                why: "silence",
            },
            Phase::Recovering { since, restart_at } => {
                let give_up = Deadline {
                    at: since + GIVE_UP,
                    why: "give up",
                };
                give_up.min(Deadline {
                    at: restart_at,
                    why: "ICE restart",
                })
            }
        };
        let mut next = Deadline::earliest(Some(phase), self.strands.deadline());
        if self.is_open() {
            next = Deadline::earliest(
                next,
                Some(Deadline {
                    at: self.beat_at,
                    why: "beat",
                }),
            );
            if !self.silent {
                let silent = Deadline {
                    at: self.heard + SILENT,
                    why: "shown as silent",
                };
                next = Deadline::earliest(next, Some(silent));
            }
        }
        next
    }
}
