//! Strands: connections beside that of the link, which carry chunks.
//!
//! ```text
//! ours:   Strained ⇒ Offer ⇒ strand{offer} … strand{answer} ⇒ AcceptAnswer … strand{ready} ⇒ Carry
//! theirs:            strand{offer} ⇒ AcceptOffer ⇒ strand{answer}   … Open ⇒ strand{ready}
//! ```
//! Either end opens some for what it sends, so that no two offers cross. Both ends of a strand must
//! have the certificates of the link. What does not come about leaves the link as it is; what ends
//! with chunks on it takes the link along, as nobody knows which of them are there.

use kith_api::Route;
use kith_protocol::peer::{PeerMessage, StrandStep};
use kith_protocol::{Code, limits, sdp};

use super::signal::check_sdp;
use super::{CONNECT_TIMEOUT, Link, LinkOut, Phase};
use crate::effect::{LinkEffect, StrandEffect};
use crate::engine::Ctx;
use crate::input::{Candidate, StrandId, StrandNews};
use crate::time::{Deadline, Mono};

/// Those of a link.
#[derive(Debug, Default)]
pub(super) struct Strands {
    ours: Vec<Strand>,
    theirs: Vec<Strand>,
}

#[derive(Debug)]
struct Strand {
    state: State,
    remote_candidates: usize,
    /// Whether its channels are open here, and there.
    ready: (bool, bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Ours, not answered yet.
    Offered {
        since: Mono,
    },
    /// Described by both.
    Connecting {
        since: Mono,
    },
    Open,
    Closed,
}

impl State {
    fn since(self) -> Option<Mono> {
        match self {
            State::Offered { since } | State::Connecting { since } => Some(since),
            State::Open | State::Closed => None,
        }
    }
}

impl Strand {
    fn new(state: State) -> Self {
        Strand {
            state,
            remote_candidates: 0,
            ready: (false, false),
        }
    }
}

impl Strands {
    fn of(&mut self, ours: bool) -> &mut Vec<Strand> {
        if ours {
            &mut self.ours
        } else {
            &mut self.theirs
        }
    }

    fn get(&mut self, id: StrandId) -> Option<&mut Strand> {
        self.of(id.ours).get_mut(usize::from(id.n))
    }

    fn due(&self, now: Mono) -> Vec<StrandId> {
        let due = |ours, strands: &[Strand]| {
            let late = |s: &Strand| {
                s.state
                    .since()
                    .is_some_and(|t| now.since(t) >= CONNECT_TIMEOUT)
            };
            let numbers = (0u8..).zip(strands).filter(|(_, s)| late(s));
            let ids: Vec<_> = numbers.map(|(n, _)| StrandId { ours, n }).collect();
            ids
        };
        [due(true, &self.ours), due(false, &self.theirs)].concat()
    }

    pub(super) fn deadline(&self) -> Option<Deadline> {
        let all = self.ours.iter().chain(&self.theirs);
        let first = all.filter_map(|s| s.state.since()).min()?;
        Some(Deadline {
            at: first + CONNECT_TIMEOUT,
            why: "strand",
        })
    }
}

impl Link {
    /// Chunks would go faster over so many strands of ours.
    pub(super) fn on_strained(&mut self, most: u8, ctx: &mut Ctx<'_>) {
        // A relay has little for each, and asks for credentials again.
        let wanted = self.phase == Phase::Open && self.route != Some(Route::Relay);
        let failed = self.strands.ours.iter().any(|s| s.state == State::Closed);
        if !wanted || failed {
            return;
        }
        for n in self.strands.ours.len() as u8..most.min(limits::MAX_STRANDS) {
            let since = ctx.now.mono;
            self.strands
                .ours
                .push(Strand::new(State::Offered { since }));
            self.strand(StrandId { ours: true, n }, StrandEffect::Offer, ctx);
        }
    }

    /// News of a strand.
    pub(super) fn on_strand(
        &mut self,
        id: StrandId,
        news: StrandNews,
        ctx: &mut Ctx<'_>,
    ) -> Vec<LinkOut> {
        let Some(strand) = self.strands.get(id) else {
            return Vec::new();
        };
        if strand.state == State::Closed {
            return Vec::new();
        }
        match news {
            StrandNews::LocalSdp(sdp) => self.say(
                id,
                if id.ours {
                    StrandStep::Offer { sdp }
                } else {
                    StrandStep::Answer { sdp }
                },
                ctx,
            ),
            StrandNews::LocalCandidate(c) => {
                let (candidate, mid, mline) = (c.candidate, c.mid, c.mline);
                let step = StrandStep::Candidate {
                    candidate,
                    mid,
                    mline,
                };
                self.say(id, step, ctx);
            }
            StrandNews::Open => {
                strand.ready.0 = true;
                if !id.ours {
                    self.say(id, StrandStep::Ready {}, ctx);
                }
                self.try_carry(id, ctx);
            }
            StrandNews::Lost { lossy } => {
                tracing::info!(peer = %self.peer, link = %self.id, ?id, lossy, "strand lost");
                strand.state = State::Closed;
                self.strand(id, StrandEffect::Close, ctx);
                if lossy {
                    return vec![LinkOut::Gone(Code::LinkLost)];
                }
            }
        }
        Vec::new()
    }

    /// The other end says something of a strand.
    pub(super) fn on_strand_step(
        &mut self,
        id: StrandId,
        step: StrandStep,
        ctx: &mut Ctx<'_>,
    ) -> Vec<LinkOut> {
        let broken = |code| vec![LinkOut::Gone(code)];
        let now = ctx.now.mono;
        match step {
            StrandStep::Offer { sdp } => {
                let next = self.strands.theirs.len();
                if id.ours || usize::from(id.n) != next || id.n >= limits::MAX_STRANDS {
                    return broken(Code::PeerProtocol);
                }
                if let Err(code) = check_sdp(&sdp, &self.fp) {
                    return broken(code);
                }
                let state = State::Connecting { since: now };
                self.strands.theirs.push(Strand::new(state));
                self.strand(id, StrandEffect::AcceptOffer(sdp), ctx);
            }
            StrandStep::Answer { sdp } => {
                let Some(strand) = self.strands.get(id).filter(|_| id.ours) else {
                    return broken(Code::PeerProtocol);
                };
                match strand.state {
                    State::Offered { .. } => strand.state = State::Connecting { since: now },
                    // Given up meanwhile.
                    State::Closed => return Vec::new(),
                    State::Connecting { .. } | State::Open => return broken(Code::PeerProtocol),
                }
                if let Err(code) = check_sdp(&sdp, &self.fp) {
                    return broken(code);
                }
                self.strand(id, StrandEffect::AcceptAnswer(sdp), ctx);
            }
            StrandStep::Candidate {
                candidate,
                mid,
                mline,
            } => {
                let Some(strand) = self.strands.get(id) else {
                    return broken(Code::PeerProtocol);
                };
                strand.remote_candidates = strand.remote_candidates.saturating_add(1);
                let described = match strand.state {
                    State::Connecting { .. } | State::Open => true,
                    State::Offered { .. } | State::Closed => false,
                };
                if !described
                    || !sdp::check_candidate(&candidate)
                    || strand.remote_candidates > limits::MAX_CANDIDATES
                {
                    tracing::debug!(peer = %self.peer, ?id, "candidate of a strand refused");
                    return Vec::new();
                }
                let candidate = Candidate {
                    candidate,
                    mid,
                    mline,
                };
                self.strand(id, StrandEffect::AddCandidate(candidate), ctx);
            }
            StrandStep::Ready {} => {
                let Some(strand) = self.strands.get(id).filter(|_| id.ours) else {
                    return broken(Code::PeerProtocol);
                };
                strand.ready.1 = true;
                self.try_carry(id, ctx);
            }
            StrandStep::Unknown => {}
        }
        Vec::new()
    }

    /// Uses a strand of ours once both ends are ready. What would come before is lost by the WebRTC
    /// library.
    fn try_carry(&mut self, id: StrandId, ctx: &mut Ctx<'_>) {
        let Some(strand) = self.strands.get(id) else {
            return;
        };
        let connecting = matches!(strand.state, State::Connecting { .. });
        if connecting && strand.ready.0 && (strand.ready.1 || !id.ours) {
            strand.state = State::Open;
            tracing::debug!(peer = %self.peer, link = %self.id, ?id, "strand open");
            if id.ours {
                self.strand(id, StrandEffect::Carry, ctx);
            }
        }
    }

    /// Gives up what was not answered, as by peers that know no strands, or found no path.
    pub(super) fn close_late_strands(&mut self, ctx: &mut Ctx<'_>) {
        for id in self.strands.due(ctx.now.mono) {
            if let Some(strand) = self.strands.get(id) {
                strand.state = State::Closed;
            }
            self.strand(id, StrandEffect::Close, ctx);
        }
    }

    fn say(&self, id: StrandId, step: StrandStep, ctx: &mut Ctx<'_>) {
        let (n, mine) = (id.n, id.ours);
        self.send(PeerMessage::Strand { n, mine, step }, ctx);
    }

    fn strand(&self, id: StrandId, effect: StrandEffect, ctx: &mut Ctx<'_>) {
        self.effect(ctx, LinkEffect::Strand(id, effect));
    }
}
