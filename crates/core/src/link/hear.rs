//! What comes over the connection, and what ICE says of it.

use std::time::Duration;

use kith_protocol::Code;
use kith_protocol::peer::PeerMessage;

use super::{IN_FLIGHT, Link, LinkOut, Phase};
use crate::effect::LinkEffect;
use crate::engine::Ctx;
use crate::input::{IceState, StrandId};

impl Link {
    pub(super) fn on_ice(&mut self, state: IceState, ctx: &mut Ctx<'_>) -> Vec<LinkOut> {
        tracing::debug!(peer = %self.peer, link = %self.id, ?state, "ICE");
        let now = ctx.now.mono;
        match (state, self.phase) {
            (IceState::Connected, Phase::Recovering { .. }) => {
                self.heard = now;
                let mut out = self.heard_again();
                self.transition(Phase::Open);
                out.push(LinkOut::Changed);
                out
            }
            (IceState::Disconnected, Phase::Open) => {
                // Often only a hiccup: ICE itself may find back before the restart is due.
                let restart_at = now + Duration::from_secs(2);
                self.transition(Phase::Recovering {
                    since: now,
                    restart_at,
                });
                vec![LinkOut::Changed]
            }
            (IceState::Failed, Phase::Open | Phase::Recovering { .. }) => {
                let since = match self.phase {
                    Phase::Recovering { since, .. } => since,
                    Phase::Open | Phase::Signaling { .. } | Phase::Connecting { .. } => now,
                };
                self.transition(Phase::Recovering {
                    since,
                    restart_at: now,
                });
                vec![LinkOut::Changed]
            }
            (IceState::Failed, Phase::Signaling { .. } | Phase::Connecting { .. }) => {
                vec![LinkOut::Gone(Code::NoRoute)]
            }
            (IceState::Checking | IceState::Connected | IceState::Disconnected, _) => Vec::new(),
        }
    }

    pub(super) fn on_message(
        &mut self,
        message: Box<PeerMessage>,
        ctx: &mut Ctx<'_>,
    ) -> Vec<LinkOut> {
        if !self.confirmed {
            // Nothing is believed before the other end of this DTLS connection has shown that it
            // is the one we shook hands with.
            if let PeerMessage::Confirm {
                my_fp,
                your_fp,
                session,
            } = *message
                && (my_fp, your_fp, session) == (self.fp, ctx.config.fp, self.tag)
            {
                self.confirmed = true;
                return self.try_open(ctx);
            }
            return vec![LinkOut::Gone(Code::ConfirmMismatch)];
        }
        if !self.is_open() {
            // The other end sends only once it has our confirmation, which goes out when our
            // channels are open: an honest message cannot come before that.
            return vec![LinkOut::Gone(Code::PeerProtocol)];
        }
        let mut out = self.on_heard(ctx);
        if let PeerMessage::Strand { n, mine, step } = *message {
            let id = StrandId { ours: !mine, n };
            out.extend(self.on_strand_step(id, step, ctx));
        } else {
            out.push(LinkOut::Message(message));
        }
        out
    }

    /// Says who we are and whom we mean.
    pub(super) fn confirm(&self, ctx: &mut Ctx<'_>) {
        let confirm = PeerMessage::Confirm {
            my_fp: ctx.config.fp,
            your_fp: self.fp,
            session: self.tag,
        };
        self.effect(ctx, LinkEffect::Send(Box::new(confirm)));
    }

    pub(super) fn try_open(&mut self, ctx: &mut Ctx<'_>) -> Vec<LinkOut> {
        if !(self.channels_open && self.confirmed) || self.is_open() {
            return Vec::new();
        }
        self.heard = ctx.now.mono;
        self.beat_at = ctx.now.mono;
        self.transition(Phase::Open);
        // Said again: the WebRTC library loses what reaches an end whose channels are not up yet,
        // and everything else we say would then come before it.
        self.confirm(ctx);
        vec![LinkOut::Opened, LinkOut::Changed]
    }

    pub(super) fn on_heard(&mut self, ctx: &Ctx<'_>) -> Vec<LinkOut> {
        self.heard = ctx.now.mono;
        let mut out = self.heard_again();
        if let Phase::Recovering { since, .. } = self.phase
            && self.heard.since(since) >= IN_FLIGHT
        {
            // Whatever ICE thinks of it: a path that carries something is a path.
            self.transition(Phase::Open);
            out.push(LinkOut::Changed);
        }
        out
    }

    fn heard_again(&mut self) -> Vec<LinkOut> {
        let was = std::mem::take(&mut self.silent);
        was.then_some(LinkOut::Silent(false)).into_iter().collect()
    }
}
