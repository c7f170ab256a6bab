//! The peer connection with one person.
//!
//! ```text
//! Signaling → Connecting → Open ⇄ Recovering → (gone)
//! ```
//! A link outlives the room server and the member it was made with: it belongs to two app
//! sessions. When both meet again under new sids, the offering side proposes to keep it.

mod hear;
mod signal;
mod strands;
mod timing;

use std::time::Duration;

use kith_api::{LinkPhase, Presence, Route};
use kith_protocol::ids::{Digest, SealTag};
use kith_protocol::peer::{Beat, PeerMessage, PresenceState};
use kith_protocol::room::IceServer;
use kith_protocol::sealed::SealedBody;
use kith_protocol::{Code, LinkId, PeerId, RoomId, limits};

use crate::effect::{Effect, LinkEffect};
use crate::engine::Ctx;
use crate::input::{Candidate, LinkNews};
use crate::time::Mono;

use signal::check_sdp;
use strands::Strands;

/// Session descriptions must have been exchanged after this.
pub const SIGNAL_TIMEOUT: Duration = Duration::from_secs(15);
/// A path must have been found and both have confirmed after this.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// A beat goes out this often.
pub const BEAT_EVERY: Duration = Duration::from_millis(1500);
/// A person not heard for this long is shown as silent.
pub const SILENT: Duration = Duration::from_millis(4500);
/// A link not heard for this long looks for another path.
pub const QUIET: Duration = Duration::from_secs(8);
/// What was silent for so long does not go on: the association has said everything again into the
/// void, twice as late each time (RFC 9260 section 6.3.3), and then begins at a packet a round trip.
/// A new one is at full speed at once.
pub const WORN: Duration = Duration::from_secs(5);
/// What is heard so soon after a path was lost may have been on its way before.
pub const IN_FLIGHT: Duration = Duration::from_secs(1);
/// ICE restarts follow each other this far apart.
pub const RESTART_EVERY: Duration = Duration::from_secs(8);
/// One that is not answered is not repeated before this: offers in flight cannot be told apart by their
/// answers, and over a path that was gone for ten seconds TCP brings one after eight.
pub const ANSWER_WAIT: Duration = Duration::from_secs(14);
/// A restart that the other side asks for is heard no sooner than this after the last one.
pub const RESTART_LEAST: Duration = Duration::from_secs(2);
/// A link that did not recover by then is gone.
pub const GIVE_UP: Duration = Duration::from_secs(30);

/// One link.
#[derive(Debug)]
pub struct Link {
    room: RoomId,
    peer: PeerId,
    id: LinkId,
    offerer: bool,
    /// The other's certificate, from its sealed `Hello`.
    fp: Digest,
    /// The handshake the link came from.
    tag: SealTag,
    phase: Phase,
    /// Both channels and path are up, and we have said who we are.
    channels_open: bool,
    /// The other has confirmed that it means us.
    confirmed: bool,
    /// The other's description for the running negotiation is set.
    remote_set: bool,
    /// Candidates that came before it.
    early: Vec<Candidate>,
    /// Our description for the running negotiation is sent.
    local_sent: bool,
    /// A restart was wanted while our description was still unanswered: it comes after the answer.
    again: bool,
    /// When we last made a description for a restart.
    restarted: Option<Mono>,
    /// Our candidates that were found before it.
    unsent: Vec<Candidate>,
    remote_candidates: usize,
    heard: Mono,
    beat_at: Mono,
    beat_n: u64,
    last_beat: Option<Beat>,
    route: Option<Route>,
    silent: bool,
    strands: Strands,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Signaling { since: Mono },
    Connecting { since: Mono },
    Open,
    Recovering { since: Mono, restart_at: Mono },
}

/// What the link tells its room.
#[derive(Debug, PartialEq, Eq)]
pub enum LinkOut {
    /// Seal this and send it to the person's member.
    Sealed(SealedBody),
    /// Both have confirmed: messages may flow.
    Opened,
    /// A message from the person, after the confirmation.
    Message(Box<PeerMessage>),
    /// Chunks the person has on disk.
    Ack {
        /// Number of the transfer.
        transfer: u32,
        /// Which entry.
        entry: u32,
        /// Which chunks.
        ranges: kith_protocol::ranges::RangeSet,
    },
    /// What the room shows about the person may have changed.
    Changed,
    /// The person is not heard any more, or is again.
    Silent(bool),
    /// There is a path again after a long silence: a new link is better than this one.
    Worn,
    /// The link is of no use any more.
    Gone(Code),
}

impl Link {
    /// Makes the SDP offer for a new link.
    pub fn offer(
        room: RoomId,
        peer: PeerId,
        fp: Digest,
        tag: SealTag,
        ice: Vec<IceServer>,
        ctx: &mut Ctx<'_>,
    ) -> Self {
        let id = LinkId(ctx.random());
        let link = Link::new(room, peer, id, true, fp, tag, ctx);
        link.effect(
            ctx,
            LinkEffect::Open {
                offerer: true,
                ice_servers: ice,
            },
        );
        link.effect(ctx, LinkEffect::Offer { restart: false });
        link
    }

    /// Answers the SDP offer for a new link; refuses one that breaks the rule.
    #[allow(clippy::too_many_arguments)] // every one is a fact of its own about the new link
    pub fn answer(
        room: RoomId,
        peer: PeerId,
        id: LinkId,
        fp: Digest,
        tag: SealTag,
        ice: Vec<IceServer>,
        offer: String,
        ctx: &mut Ctx<'_>,
    ) -> Result<Self, Code> {
        check_sdp(&offer, &fp)?;
        let mut link = Link::new(room, peer, id, false, fp, tag, ctx);
        link.effect(
            ctx,
            LinkEffect::Open {
                offerer: false,
                ice_servers: ice,
            },
        );
        link.effect(ctx, LinkEffect::AcceptOffer(offer));
        link.remote_set = true;
        link.phase = Phase::Connecting {
            since: ctx.now.mono,
        };
        Ok(link)
    }

    /// The link.
    pub fn id(&self) -> LinkId {
        self.id
    }

    /// The other's certificate.
    pub fn fp(&self) -> Digest {
        self.fp
    }

    /// Whether messages may flow (they also do while the path is being mended).
    pub fn is_open(&self) -> bool {
        match self.phase {
            Phase::Open | Phase::Recovering { .. } => true,
            Phase::Signaling { .. } | Phase::Connecting { .. } => false,
        }
    }

    /// For the person's view.
    pub fn view(&self) -> (LinkPhase, Presence, Option<Route>) {
        let phase = match self.phase {
            Phase::Signaling { .. } => LinkPhase::Signaling,
            Phase::Connecting { .. } => LinkPhase::Connecting,
            Phase::Open => LinkPhase::Connected,
            Phase::Recovering { .. } => LinkPhase::Reconnecting,
        };
        let presence = match (&self.last_beat, self.is_open()) {
            (_, false) => Presence::Online,
            (_, true) if self.silent => Presence::Silent,
            (Some(beat), true) => match beat.state {
                PresenceState::Away => Presence::Away,
                PresenceState::InCall => Presence::InCall,
                PresenceState::Online | PresenceState::Unknown => Presence::Online,
            },
            (None, true) => Presence::Online,
        };
        (phase, presence, self.route)
    }

    /// Sends a message; only while [`Link::is_open`].
    pub fn send(&self, message: PeerMessage, ctx: &mut Ctx<'_>) {
        if self.is_open() {
            self.effect(ctx, LinkEffect::Send(Box::new(message)));
        }
    }

    /// Tells the sender of a transfer what is durable here.
    pub fn ack(
        &self,
        transfer: u32,
        entry: u32,
        ranges: kith_protocol::ranges::RangeSet,
        ctx: &mut Ctx<'_>,
    ) {
        if self.is_open() {
            self.effect(
                ctx,
                LinkEffect::Ack {
                    transfer,
                    entry,
                    ranges,
                },
            );
        }
    }

    /// Closes it.
    pub fn close(&self, ctx: &mut Ctx<'_>) {
        self.effect(ctx, LinkEffect::Close);
    }

    /// News of the connection.
    pub fn handle(&mut self, news: LinkNews, ctx: &mut Ctx<'_>) -> Vec<LinkOut> {
        let before = self.is_open().then_some(self.heard);
        let mut out = self.on_news(news, ctx);
        if before.is_some_and(|heard| self.heard.since(heard) >= WORN) {
            out.push(LinkOut::Worn);
        }
        out
    }

    fn on_news(&mut self, news: LinkNews, ctx: &mut Ctx<'_>) -> Vec<LinkOut> {
        match news {
            LinkNews::LocalSdp(sdp) => {
                let link = self.id;
                let restart = self.is_open();
                let mut out = vec![LinkOut::Sealed(if self.offerer {
                    SealedBody::SdpOffer { link, restart, sdp }
                } else {
                    SealedBody::SdpAnswer { link, sdp }
                })];
                self.local_sent = true;
                let unsent = std::mem::take(&mut self.unsent);
                out.extend(unsent.into_iter().map(|c| self.candidate_out(c)));
                out
            }
            LinkNews::LocalCandidate(candidate) if self.local_sent => {
                vec![self.candidate_out(candidate)]
            }
            LinkNews::LocalCandidate(candidate) => {
                if self.unsent.len() < limits::MAX_CANDIDATES {
                    self.unsent.push(candidate);
                }
                Vec::new()
            }
            LinkNews::Ice(state) => self.on_ice(state, ctx),
            LinkNews::ChannelsOpen => {
                self.channels_open = true;
                self.heard = ctx.now.mono;
                self.confirm(ctx);
                self.try_open(ctx)
            }
            LinkNews::Message(message) => self.on_message(message, ctx),
            LinkNews::Beat(beat) if self.confirmed => {
                let mut out = self.on_heard(ctx);
                if self.last_beat.as_ref().is_none_or(|b| b.n < beat.n) {
                    if self
                        .last_beat
                        .as_ref()
                        .is_none_or(|b| b.state != beat.state)
                    {
                        out.push(LinkOut::Changed);
                    }
                    self.last_beat = Some(beat);
                }
                out
            }
            LinkNews::Ack {
                transfer,
                entry,
                ranges,
            } if self.confirmed => {
                let mut out = self.on_heard(ctx);
                out.push(LinkOut::Ack {
                    transfer,
                    entry,
                    ranges,
                });
                out
            }
            LinkNews::Heard => self.on_heard(ctx),
            LinkNews::Beat(_) | LinkNews::Ack { .. } => Vec::new(),
            LinkNews::Route(route) => {
                self.route = Some(route);
                vec![LinkOut::Changed]
            }
            LinkNews::Strained(most) => {
                self.on_strained(most, ctx);
                Vec::new()
            }
            LinkNews::Strand(id, news) => self.on_strand(id, news, ctx),
            LinkNews::Broken(code) => vec![LinkOut::Gone(code)],
        }
    }

    fn new(
        room: RoomId,
        peer: PeerId,
        id: LinkId,
        offerer: bool,
        fp: Digest,
        tag: SealTag,
        ctx: &Ctx<'_>,
    ) -> Self {
        let now = ctx.now.mono;
        Link {
            room,
            peer,
            id,
            offerer,
            fp,
            tag,
            phase: Phase::Signaling { since: now },
            channels_open: false,
            confirmed: false,
            remote_set: false,
            early: Vec::new(),
            local_sent: false,
            again: false,
            restarted: None,
            unsent: Vec::new(),
            remote_candidates: 0,
            heard: now,
            beat_at: now,
            beat_n: 0,
            last_beat: None,
            route: None,
            silent: false,
            strands: Strands::default(),
        }
    }

    fn transition(&mut self, phase: Phase) {
        self.phase = phase;
        let (phase, _, _) = self.view();
        tracing::info!(room = %self.room, peer = %self.peer, link = %self.id, ?phase, "link");
    }

    fn effect(&self, ctx: &mut Ctx<'_>, effect: LinkEffect) {
        ctx.out(Effect::Link {
            room: self.room,
            peer: self.peer,
            link: self.id,
            effect,
        });
    }
}

#[cfg(test)]
mod tests;
