//! Descriptions and candidates of a link, and ICE restarts.

use kith_protocol::ids::Digest;
use kith_protocol::sealed::SealedBody;
use kith_protocol::{Code, limits, sdp};

use super::{ANSWER_WAIT, Link, LinkOut, Phase, RESTART_EVERY, RESTART_LEAST};
use crate::effect::LinkEffect;
use crate::engine::Ctx;
use crate::input::Candidate;
use crate::time::Mono;

impl Link {
    /// Looks for a new path at once: the machine's addresses changed, or the other asks.
    pub fn restart(&mut self, ctx: &mut Ctx<'_>) -> Vec<LinkOut> {
        if !self.is_open() {
            return Vec::new();
        }
        let now = ctx.now.mono;
        let since = match self.phase {
            Phase::Recovering { since, .. } => since,
            Phase::Open | Phase::Signaling { .. } | Phase::Connecting { .. } => now,
        };
        if let Some(restart_at) = self.awaits_answer(ctx) {
            // Two offers in flight could not be told apart by their answers.
            self.again = true;
            self.transition(Phase::Recovering { since, restart_at });
            return vec![LinkOut::Changed];
        }
        self.transition(Phase::Recovering {
            since,
            restart_at: now + RESTART_EVERY,
        });
        if self.offerer {
            self.again = false;
            self.restarted = Some(now);
            self.local_sent = false;
            self.remote_set = false;
            self.remote_candidates = 0;
            self.early.clear();
            self.unsent.clear();
            self.effect(ctx, LinkEffect::Offer { restart: true });
            vec![LinkOut::Changed]
        } else {
            vec![
                LinkOut::Changed,
                LinkOut::Sealed(SealedBody::Restart { link: self.id }),
            ]
        }
    }

    /// Until when an answer to our restart may still come.
    pub(super) fn awaits_answer(&self, ctx: &Ctx<'_>) -> Option<Mono> {
        let last = self.restarted.filter(|_| self.offerer && !self.remote_set);
        let until = last.map(|at| at + ANSWER_WAIT);
        until.filter(|until| ctx.now.mono < *until)
    }

    /// The two have new keys: what was under way with the old ones will not be answered.
    pub fn on_new_seal(&mut self, ctx: &mut Ctx<'_>) -> Vec<LinkOut> {
        let unanswered = self.offerer && !self.remote_set;
        match self.phase {
            Phase::Recovering { .. } => {}
            Phase::Open if unanswered => {}
            Phase::Signaling { .. } | Phase::Connecting { .. } | Phase::Open => return Vec::new(),
        }
        self.restarted = None;
        self.restart(ctx)
    }

    /// A sealed body about this link has come.
    pub fn on_sealed(&mut self, body: SealedBody, ctx: &mut Ctx<'_>) -> Vec<LinkOut> {
        match body {
            SealedBody::SdpOffer {
                restart: true, sdp, ..
            } if !self.offerer => {
                if let Err(code) = check_sdp(&sdp, &self.fp) {
                    return vec![LinkOut::Gone(code)];
                }
                self.local_sent = false;
                self.remote_candidates = 0;
                self.unsent.clear();
                self.effect(ctx, LinkEffect::AcceptOffer(sdp));
                self.set_remote(ctx);
                Vec::new()
            }
            SealedBody::SdpAnswer { sdp, .. } if self.offerer && !self.remote_set => {
                if let Err(code) = check_sdp(&sdp, &self.fp) {
                    return vec![LinkOut::Gone(code)];
                }
                self.effect(ctx, LinkEffect::AcceptAnswer(sdp));
                self.set_remote(ctx);
                if let Phase::Signaling { .. } = self.phase {
                    self.transition(Phase::Connecting {
                        since: ctx.now.mono,
                    });
                    return vec![LinkOut::Changed];
                }
                if std::mem::take(&mut self.again) {
                    return self.restart(ctx);
                }
                Vec::new()
            }
            SealedBody::Candidate {
                candidate,
                mid,
                mline,
                ..
            } => {
                self.remote_candidates = self.remote_candidates.saturating_add(1);
                if !sdp::check_candidate(&candidate)
                    || self.remote_candidates > limits::MAX_CANDIDATES
                {
                    tracing::debug!(peer = %self.peer, "candidate refused");
                    return Vec::new();
                }
                let candidate = Candidate {
                    candidate,
                    mid,
                    mline,
                };
                if self.remote_set {
                    self.effect(ctx, LinkEffect::AddCandidate(candidate));
                } else {
                    self.early.push(candidate);
                }
                Vec::new()
            }
            // What the other asks for is bounded by what we would do ourselves.
            // One that crossed our own offer is answered by it.
            SealedBody::Restart { .. }
                if self.offerer && self.may_restart(ctx) && self.awaits_answer(ctx).is_none() =>
            {
                self.restart(ctx)
            }
            SealedBody::SdpOffer { .. }
            | SealedBody::SdpAnswer { .. }
            | SealedBody::Restart { .. }
            | SealedBody::Keep { .. }
            | SealedBody::Fresh {}
            | SealedBody::Unknown => Vec::new(),
        }
    }

    /// Whether a restart that the other asks for is due: not while one is fresh.
    pub(super) fn may_restart(&self, ctx: &Ctx<'_>) -> bool {
        match self.restarted {
            Some(at) => ctx.now.mono.since(at) >= RESTART_LEAST,
            None => true,
        }
    }

    pub(super) fn set_remote(&mut self, ctx: &mut Ctx<'_>) {
        self.remote_set = true;
        for candidate in std::mem::take(&mut self.early) {
            self.effect(ctx, LinkEffect::AddCandidate(candidate));
        }
    }

    pub(super) fn candidate_out(&self, c: Candidate) -> LinkOut {
        LinkOut::Sealed(SealedBody::Candidate {
            link: self.id,
            candidate: c.candidate,
            mid: c.mid,
            mline: c.mline,
        })
    }
}

pub(super) fn check_sdp(text: &str, fp: &Digest) -> Result<(), Code> {
    sdp::check(text, fp).map_err(|e| {
        tracing::warn!(error = %e, "SDP refused");
        Code::BadSdp
    })
}
