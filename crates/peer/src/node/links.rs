//! The tasks of one link: effects in, news out.
//!
//! Reading and writing are separate tasks: a link on which both sides wait to write would
//! otherwise never be read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use kith_api::Route as ApiRoute;
use kith_core::effect::LinkEffect;
use kith_core::input::{Candidate, IceState, Input, LinkNews};
use kith_protocol::frame::{Ack, Frame};
use kith_protocol::peer::{Beat, PeerMessage};
use kith_protocol::ranges::RangeSet;
use kith_protocol::room::IceServer;
use kith_protocol::{Code, LinkId, PeerId, RoomId};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::lanes::{self, Lanes};
use super::strands::{self, Strands};
use super::tasks::Tasks;
use crate::rtc::{
    Connection, IceCandidate, IceConfig, IceServer as RtcIceServer, LinkState, PathKind,
    RtcContext, RtcError, RtcEvent,
};
use crate::seal;

/// Events of one connection that wait for the core.
const EVENTS: usize = 32;
/// What was said before the end may take this long to be heard. Whoever says that a file is complete
/// and leaves must be believed by somebody who waits for just that: a lost packet or two are said
/// again within it (RFC 9260 section 6.3.1: after one second, then two).
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Acks that wait for the lane, beside which messages go their own way.
const ACKS: usize = 1024;
/// What may wait for a link whose other end does not read, in bytes, about. Manifests do not
/// count: each page of ours goes out once a link.
const MOST_WAITING: usize = 2 * 1024 * 1024;
/// What a waiting effect costs beside its text, in bytes, about.
const EFFECT: usize = 512;

/// What all links of a node share.
#[derive(Clone)]
pub(crate) struct Links {
    pub rtc: Arc<RtcContext>,
    pub include_loopback: bool,
    pub lanes: Lanes,
    pub tasks: Tasks,
    pub inputs: mpsc::Sender<Input>,
}

/// The way to a link's task. Dropping it closes the link.
pub(crate) struct Outgoing {
    effects: mpsc::UnboundedSender<(LinkEffect, usize)>,
    waiting: Arc<AtomicUsize>,
    closing: CancellationToken,
}

impl Outgoing {
    /// Hands an effect on; `false` if so much waits already that the other end cannot be reading.
    pub fn send(&self, effect: LinkEffect) -> bool {
        let cost = cost(&effect);
        if self.waiting.fetch_add(cost, Ordering::Relaxed) + cost > MOST_WAITING {
            return false;
        }
        let _ = self.effects.send((effect, cost));
        true
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

fn cost(effect: &LinkEffect) -> usize {
    let mut cost = EFFECT;
    if let LinkEffect::Ack { ranges, .. } = effect {
        cost += ranges.ranges().len() * 16;
    }
    if let LinkEffect::Send(message) = effect {
        if let PeerMessage::Chat { text, .. } = &**message {
            cost += text.len();
        }
        if let PeerMessage::Have { ranges, .. }
        | PeerMessage::Want { ranges, .. }
        | PeerMessage::Pull { ranges, .. }
        | PeerMessage::Holds { whole: ranges, .. } = &**message
        {
            cost += ranges.ranges().len() * 16;
        }
        if let PeerMessage::Holds { parts, .. } = &**message {
            let part = |(_, r): &(u32, RangeSet)| r.ranges().len() * 16 + size_of::<RangeSet>();
            cost += parts.iter().map(part).sum::<usize>();
        }
    }
    cost
}

/// Whether the voucher in a message, if there is one, was given by who is named in it.
fn is_vouched(message: &PeerMessage, room: &RoomId) -> bool {
    if let PeerMessage::Voucher { offer_id, voucher }
    | PeerMessage::StandIn {
        offer_id, voucher, ..
    } = message
    {
        return seal::voucher_holds(voucher, room, offer_id);
    }
    true
}

/// The task's end of it.
struct Queue {
    effects: mpsc::UnboundedReceiver<(LinkEffect, usize)>,
    waiting: Arc<AtomicUsize>,
    closing: CancellationToken,
}

#[derive(Clone, Copy)]
pub(super) struct Key {
    pub room: RoomId,
    pub peer: PeerId,
    pub link: LinkId,
}

impl Links {
    /// Starts the tasks of a link.
    pub fn open(
        &self,
        room: RoomId,
        peer: PeerId,
        link: LinkId,
        ice_servers: Vec<IceServer>,
    ) -> Outgoing {
        let (effects, queue) = mpsc::unbounded_channel();
        let (waiting, closing) = (Arc::default(), CancellationToken::new());
        let outgoing = Outgoing {
            effects,
            waiting: Arc::clone(&waiting),
            closing: closing.clone(),
        };
        let links = self.clone();
        let key = Key { room, peer, link };
        let queue = Queue {
            effects: queue,
            waiting,
            closing,
        };
        self.tasks.spawn(
            "link",
            async move { links.run(key, ice_servers, queue).await },
        );
        outgoing
    }

    async fn run(self, key: Key, ice_servers: Vec<IceServer>, mut queue: Queue) {
        let servers = ice_servers.into_iter().map(|s| RtcIceServer {
            urls: s.urls,
            username: s.username.unwrap_or_default(),
            credential: s.credential.unwrap_or_default(),
        });
        let config = IceConfig {
            servers: servers.collect(),
            include_loopback: self.include_loopback,
            relay_only: false,
        };
        let (events, incoming) = mpsc::channel(EVENTS);
        let connection = match Connection::open(&self.rtc, &config, events).await {
            Ok(connection) => Arc::new(connection),
            Err(error) => {
                tracing::warn!(peer = %key.peer, %error, "no connection can be built");
                self.news(key, LinkNews::Broken(Code::NoRoute)).await;
                return;
            }
        };
        let events = self.clone();
        let watched = Arc::clone(&connection);
        let (path, carries) = watch::channel(false);
        // The watcher holds the connection, which may be too full to tell it of its end.
        let over = CancellationToken::new();
        let _over = over.clone().drop_guard();
        let mut strands = Strands::new(self.clone(), key, config, connection.files(), over.clone());
        let watching = over.clone();
        self.tasks.spawn("link events", async move {
            tokio::select! {
                () = events.watch(key, &watched, incoming, &path) => {}
                () = watching.cancelled() => {}
            }
        });
        let lane = connection.files();
        let strain = strands::strain(self.clone(), key, lane.strands_wanted(), over);
        self.tasks.spawn("strain", strain);
        let reader = lanes::read(
            self.lanes.clone(),
            lane.clone(),
            (key.room, key.peer, key.link),
            self.inputs.clone(),
        );
        self.tasks.spawn("lane", reader);
        let (acks, mut ack_queue) = mpsc::channel::<Bytes>(ACKS);
        let ack_lane = lane.clone();
        self.tasks.spawn("acks", async move {
            while let Some(ack) = ack_queue.recv().await {
                if ack_lane.send_at_once(ack).await.is_err() {
                    return;
                }
            }
        });
        self.lanes.add(key.link, lane);
        let token = self.tasks.token().clone();
        let closing = queue.closing.clone();
        let said = async {
            self.work(key, &connection, &acks, &mut strands, &mut queue)
                .await;
            self.lanes.remove(key.link);
            connection.flush_messages().await;
        };
        tokio::select! {
            () = said => {}
            () = unheard(&closing, carries) => tracing::info!(peer = %key.peer, "last words unheard"),
            () = token.cancelled() => {}
        }
        self.lanes.remove(key.link);
        tokio::join!(connection.close(), strands.close());
    }

    /// Carries out effects until there are no more.
    async fn work(
        &self,
        key: Key,
        connection: &Connection,
        acks: &mpsc::Sender<Bytes>,
        strands: &mut Strands,
        queue: &mut Queue,
    ) {
        while let Some((effect, cost)) = queue.effects.recv().await {
            if let LinkEffect::Close = effect {
                return;
            }
            if let Err(error) = self.act(key, connection, acks, strands, effect).await {
                let code = match error {
                    RtcError::Closed => Code::LinkLost,
                    RtcError::Setup(_)
                    | RtcError::Socket(_)
                    | RtcError::Description(_)
                    | RtcError::Candidate(_)
                    | RtcError::TooManyCandidates
                    | RtcError::TooLarge { .. } => Code::NoRoute,
                };
                tracing::debug!(peer = %key.peer, %error, "link effect failed");
                self.news(key, LinkNews::Broken(code)).await;
            }
            queue.waiting.fetch_sub(cost, Ordering::Relaxed);
        }
    }

    async fn act(
        &self,
        key: Key,
        connection: &Connection,
        acks: &mpsc::Sender<Bytes>,
        strands: &mut Strands,
        effect: LinkEffect,
    ) -> Result<(), RtcError> {
        match effect {
            LinkEffect::Open { .. } | LinkEffect::Close => {}
            LinkEffect::Offer { restart } => {
                let sdp = connection.create_offer(restart).await?;
                self.news(key, LinkNews::LocalSdp(sdp)).await;
            }
            LinkEffect::AcceptOffer(sdp) => {
                let answer = connection.accept_offer(sdp).await?;
                self.news(key, LinkNews::LocalSdp(answer)).await;
            }
            LinkEffect::AcceptAnswer(sdp) => connection.accept_answer(sdp).await?,
            LinkEffect::AddCandidate(c) => {
                let candidate = ice_candidate(c);
                // One candidate that cannot be used is no reason to give up the others.
                if let Err(error) = connection.add_candidate(candidate).await {
                    tracing::debug!(peer = %key.peer, %error, "candidate refused");
                }
            }
            LinkEffect::Strand(id, effect) => strands.act(id, effect).await,
            LinkEffect::Send(message) => connection.send_message(message.to_bytes()).await?,
            LinkEffect::Beat(beat) => {
                connection.try_send_presence(beat.to_bytes()).await?;
            }
            LinkEffect::Ack {
                transfer,
                entry,
                ranges,
            } => {
                for ranges in ranges.split(kith_protocol::limits::MAX_RANGES) {
                    let frame = Frame::Ack(Ack {
                        transfer,
                        entry,
                        ranges,
                    });
                    let _ = acks.send(frame.to_bytes()).await;
                }
            }
        }
        Ok(())
    }

    async fn watch(
        self,
        key: Key,
        connection: &Connection,
        mut events: mpsc::Receiver<RtcEvent>,
        path: &watch::Sender<bool>,
    ) {
        while let Some(event) = events.recv().await {
            if let RtcEvent::StateChanged(state) = &event {
                path.send_replace(*state == LinkState::Connected);
            }
            let news = match event {
                RtcEvent::LocalCandidate(c) => LinkNews::LocalCandidate(core_candidate(c)),
                RtcEvent::GatheringComplete => continue,
                RtcEvent::StateChanged(LinkState::Checking) => LinkNews::Ice(IceState::Checking),
                RtcEvent::StateChanged(LinkState::Connected) => {
                    if let Some(route) = connection.route().await {
                        connection.files().on_path(route.mtu);
                        self.news(key, LinkNews::Route(api_route(&route))).await;
                    }
                    LinkNews::Ice(IceState::Connected)
                }
                RtcEvent::StateChanged(LinkState::Disconnected) => {
                    LinkNews::Ice(IceState::Disconnected)
                }
                RtcEvent::StateChanged(LinkState::Failed) => LinkNews::Ice(IceState::Failed),
                RtcEvent::StateChanged(LinkState::Closed) => return,
                RtcEvent::ChannelsOpen => LinkNews::ChannelsOpen,
                RtcEvent::Message(bytes) => match PeerMessage::parse(&bytes) {
                    Ok(message) if !is_vouched(&message, &key.room) => {
                        tracing::warn!(peer = %key.peer, "a voucher that nobody gave");
                        LinkNews::Broken(Code::PeerProtocol)
                    }
                    Ok(message) => LinkNews::Message(Box::new(message)),
                    Err(error) => {
                        tracing::warn!(peer = %key.peer, %error, "message refused");
                        LinkNews::Broken(Code::PeerProtocol)
                    }
                },
                RtcEvent::Presence(bytes) => match Beat::parse(&bytes) {
                    Ok(beat) => LinkNews::Beat(beat),
                    Err(_) => continue,
                },
                RtcEvent::ChannelClosed { label } => {
                    tracing::debug!(peer = %key.peer, %label, "channel closed");
                    LinkNews::Broken(Code::LinkLost)
                }
            };
            self.news(key, news).await;
        }
    }

    pub(super) async fn news(&self, key: Key, news: LinkNews) {
        let Key { room, peer, link } = key;
        let _ = self
            .inputs
            .send(Input::Link {
                room,
                peer,
                link,
                news,
            })
            .await;
    }
}

/// Returns once a closing link has had its time, or has no path on which anything could be heard:
/// somebody who is gone or never reads does not hold us up.
async fn unheard(closing: &CancellationToken, mut carries: watch::Receiver<bool>) {
    closing.cancelled().await;
    let _ = tokio::time::timeout(LAST_WORDS, carries.wait_for(|carries| !carries)).await;
}

pub(super) fn ice_candidate(c: Candidate) -> IceCandidate {
    IceCandidate {
        candidate: c.candidate,
        sdp_mid: c.mid,
        sdp_mline_index: c.mline,
    }
}

pub(super) fn core_candidate(c: IceCandidate) -> Candidate {
    Candidate {
        candidate: c.candidate,
        mid: c.sdp_mid,
        mline: c.sdp_mline_index,
    }
}

fn api_route(route: &crate::rtc::Route) -> ApiRoute {
    match (route.local, route.remote) {
        (PathKind::Relay, _) | (_, PathKind::Relay) => ApiRoute::Relay,
        (PathKind::Host, PathKind::Host) => ApiRoute::Lan,
        (PathKind::Host | PathKind::Reflexive, PathKind::Host | PathKind::Reflexive) => {
            ApiRoute::Direct
        }
    }
}
