//! One peer connection: its negotiation, its channels, its end.

use std::sync::{Arc, Mutex as SyncMutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use rtc::peer_connection::configuration::RTCOfferOptions;
use tokio::sync::{Barrier, Mutex, OnceCell, mpsc};
use tokio::task::JoinSet;
use webrtc::peer_connection::{PeerConnection, RTCIceCandidateInit, RTCSessionDescription};

use super::channel::{Channel, Reader, pump_files, pump_messages, pump_presence};
use super::context::{IceConfig, RtcContext};
use super::error::RtcError;
use super::event::{Callbacks, Control, IceCandidate, LinkState, RtcEvent};
use super::lane::Lane;
use super::route::{self, Route};
use super::runtime::TunedRuntime;
use super::setup::{build, declare_channels};
use super::strand::Strand;
use super::tuning::{
    CONTROL_QUEUE, INCOMING_QUEUE, MAX_PENDING_CANDIDATES, MESSAGE_QUEUE_BYTES, MESSAGE_QUEUE_LOOK,
    WIDE_PACKET,
};

/// A connection to one peer.
///
/// ```text
/// offering end:   open → create_offer → (SDP) … accept_answer(SDP) → ChannelsOpen
/// answering end:  open → accept_offer(SDP) → (SDP)                 → ChannelsOpen
/// both:           LocalCandidate ⇒ signaling ⇒ add_candidate, in any order with the SDP
/// restart:        create_offer(true) → (SDP) … accept_answer(SDP), channels stay open
/// ```
///
/// Dropping a connection without [`Connection::close`] ends it too, but the other end then
/// learns of it only by silence.
pub struct Connection {
    peer: Arc<dyn PeerConnection>,
    messages: Channel,
    presence: Channel,
    lane: Lane,
    strand: Arc<Strand>,
    /// Locked across waits, so that candidates enter in the order in which they came.
    candidates: Mutex<Candidates>,
    events: mpsc::Sender<RtcEvent>,
    /// Locked only to put tasks in, and to take them out.
    tasks: SyncMutex<JoinSet<()>>,
    closed: OnceCell<()>,
}

/// The other end's candidates of one generation.
#[derive(Default)]
struct Candidates {
    /// Whether the session description they belong to is in place.
    described: bool,
    /// Waiting for it.
    waiting: Vec<IceCandidate>,
    /// Taken in this generation, waiting or not.
    taken: usize,
}

impl Connection {
    /// Binds sockets and declares the channels; nothing is sent before a description is set.
    /// Events go to `events`, whose capacity bounds what waits for the caller.
    ///
    /// # Errors
    ///
    /// [`RtcError::Setup`] when no socket can be bound or the configuration is refused.
    pub async fn open(
        context: &RtcContext,
        ice: &IceConfig,
        events: mpsc::Sender<RtcEvent>,
    ) -> Result<Self, RtcError> {
        let (frames, incoming) = mpsc::channel(INCOMING_QUEUE);
        let most = context.tuning().send_queue;
        let lane = |strand, frames: &_| Lane::new(strand, incoming, frames, most);
        Self::build(context, ice, events, frames, lane).await
    }

    /// As [`Connection::open`], for a strand of `lane`, to the same peer: what comes on its `files`
    /// comes out of the lane. Nothing is to be said on its other channels. What goes into the lane
    /// takes it once [`Connection::carry`] says so.
    ///
    /// # Errors
    ///
    /// As [`Connection::open`]; [`RtcError::Closed`] when the lane is.
    pub async fn open_strand(
        context: &RtcContext,
        ice: &IceConfig,
        events: mpsc::Sender<RtcEvent>,
        lane: &Lane,
    ) -> Result<Self, RtcError> {
        let frames = lane.entrance().ok_or(RtcError::Closed)?;
        let wide = lane.is_wide();
        let lane = |_, _: &_| lane.clone();
        Self::build(&context.of_strands(wide), ice, events, frames, lane).await
    }

    async fn build(
        context: &RtcContext,
        ice: &IceConfig,
        events: mpsc::Sender<RtcEvent>,
        frames: mpsc::Sender<Bytes>,
        lane: impl FnOnce(Arc<Strand>, &mpsc::Sender<Bytes>) -> Lane,
    ) -> Result<Self, RtcError> {
        let (control, control_rx) = mpsc::channel(CONTROL_QUEUE);
        let runtime = Arc::new(TunedRuntime::new(context.tuning().udp_buffer));
        let peer = build(
            context,
            ice,
            Arc::clone(&runtime),
            Callbacks::new(control, runtime.nudge()),
        )
        .await?;
        let channels = declare_channels(&*peer).await;
        let (messages, files, presence) = match channels {
            Ok(channels) => channels,
            Err(error) => {
                let _ = peer.close().await;
                return Err(error);
            }
        };

        let most = context.tuning().send_queue;
        let wide = context.tuning().sctp_mtu >= Some(WIDE_PACKET);
        let strand = Strand::new(files.clone(), runtime.nudge(), most, wide);
        let strand = Arc::new(strand);
        let lane = lane(Arc::clone(&strand), &frames);
        let all_open = Arc::new(Barrier::new(3));
        let mut tasks = JoinSet::new();
        tasks.spawn(forward(control_rx, Arc::downgrade(&peer), events.clone()));
        tasks.spawn(pump_messages(
            Reader::new(messages.clone(), runtime.nudge()),
            Arc::clone(&all_open),
            events.clone(),
        ));
        tasks.spawn(pump_presence(
            Reader::new(presence.clone(), runtime.nudge()),
            Arc::clone(&all_open),
            events.clone(),
        ));
        tasks.spawn(pump_files(
            Reader::new(files, runtime.nudge()),
            all_open,
            frames,
            events.clone(),
        ));

        Ok(Self {
            peer,
            messages,
            presence,
            lane,
            strand,
            candidates: Mutex::default(),
            events,
            tasks: SyncMutex::new(tasks),
            closed: OnceCell::new(),
        })
    }

    /// Makes an SDP offer and puts it in force; candidates follow as events. With `ice_restart`
    /// both ends look for paths anew, on the addresses the machine has now, while the channels
    /// stay open (RFC 8445 section 9).
    ///
    /// # Errors
    ///
    /// [`RtcError::Description`] when an offer does not fit the state of the negotiation.
    pub async fn create_offer(&self, ice_restart: bool) -> Result<String, RtcError> {
        let mut candidates = self.candidates.lock().await;
        let options = RTCOfferOptions { ice_restart };
        let offer = self
            .peer
            .create_offer(Some(options))
            .await
            .map_err(description)?;
        let sdp = offer.sdp.clone();
        self.peer
            .set_local_description(offer)
            .await
            .map_err(description)?;
        if ice_restart {
            // What comes from now on belongs to the answer, which names new credentials.
            *candidates = Candidates::default();
        }
        Ok(sdp)
    }

    /// Takes the other end's offer and returns the SDP answer, already in force here.
    ///
    /// # Errors
    ///
    /// [`RtcError::Description`] when the offer is malformed or unexpected.
    pub async fn accept_offer(&self, sdp: String) -> Result<String, RtcError> {
        let mut candidates = self.candidates.lock().await;
        if candidates.described {
            *candidates = Candidates::default();
        }
        let offer = RTCSessionDescription::offer(sdp).map_err(description)?;
        self.peer
            .set_remote_description(offer)
            .await
            .map_err(description)?;
        let answer = self.peer.create_answer(None).await.map_err(description)?;
        let sdp = answer.sdp.clone();
        self.peer
            .set_local_description(answer)
            .await
            .map_err(description)?;
        self.add_waiting(&mut candidates).await;
        Ok(sdp)
    }

    /// Takes the other end's answer to [`Connection::create_offer`].
    ///
    /// # Errors
    ///
    /// [`RtcError::Description`] when the answer is malformed or unexpected.
    pub async fn accept_answer(&self, sdp: String) -> Result<(), RtcError> {
        let mut candidates = self.candidates.lock().await;
        let answer = RTCSessionDescription::answer(sdp).map_err(description)?;
        self.peer
            .set_remote_description(answer)
            .await
            .map_err(description)?;
        self.add_waiting(&mut candidates).await;
        Ok(())
    }

    /// Takes one candidate of the other end. One that comes ahead of its description waits.
    ///
    /// # Errors
    ///
    /// [`RtcError::TooManyCandidates`] over [`MAX_PENDING_CANDIDATES`] per description,
    /// [`RtcError::Candidate`] when it is malformed.
    pub async fn add_candidate(&self, candidate: IceCandidate) -> Result<(), RtcError> {
        let mut candidates = self.candidates.lock().await;
        if candidates.taken >= MAX_PENDING_CANDIDATES {
            return Err(RtcError::TooManyCandidates);
        }
        candidates.taken += 1;
        if candidates.described {
            return self.add_now(candidate).await;
        }
        candidates.waiting.push(candidate);
        Ok(())
    }

    /// Queues one message on `messages`, waiting while
    /// [`MESSAGE_QUEUE_BYTES`](super::MESSAGE_QUEUE_BYTES) are unacknowledged.
    ///
    /// # Errors
    ///
    /// [`RtcError::TooLarge`] over [`MAX_MESSAGE_BYTES`](super::MAX_MESSAGE_BYTES), [`RtcError::Closed`] when the
    /// connection is gone.
    pub async fn send_message(&self, message: Bytes) -> Result<(), RtcError> {
        while self.messages.queued_bytes().await? > MESSAGE_QUEUE_BYTES {
            tokio::time::sleep(MESSAGE_QUEUE_LOOK).await;
        }
        self.messages.send(message).await
    }

    /// Queues one presence beat, or drops it when earlier ones still wait; says whether it was
    /// queued.
    ///
    /// # Errors
    ///
    /// As [`Connection::send_message`].
    pub async fn try_send_presence(&self, beat: Bytes) -> Result<bool, RtcError> {
        self.presence.send_unless_busy(beat).await
    }

    /// Waits until the other end has everything sent on `messages`, or the connection is gone.
    pub async fn flush_messages(&self) {
        while self
            .messages
            .queued_bytes()
            .await
            .is_ok_and(|bytes| bytes > 0)
        {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// The lane over `files`.
    #[must_use]
    pub fn files(&self) -> Lane {
        self.lane.clone()
    }

    /// Chunks that go into the lane of this strand may take it from now on; a wide one, once it has
    /// shown that its packets get through. If they do not, it fails.
    pub fn carry(&self) {
        if !self.strand.is_wide() {
            return self.lane.add(Arc::clone(&self.strand));
        }
        let (strand, lane) = (Arc::clone(&self.strand), self.lane.clone());
        let events = self.events.clone();
        self.tasks().spawn(async move {
            if strand.passes_wide().await {
                return lane.add(strand);
            }
            tracing::info!("the path carries no wide packets");
            lane.on_path(None);
            let _ = events.send(RtcEvent::StateChanged(LinkState::Failed)).await;
        });
    }

    /// No chunk takes this strand any more; says whether one that did may not have arrived.
    pub async fn carry_no_more(&self) -> bool {
        self.lane.remove(&self.strand).await
    }

    /// The path in use; `None` before one is selected.
    pub async fn route(&self) -> Option<Route> {
        route::selected(&*self.peer).await
    }

    /// Ends the connection: tells the other end, stops every task and releases the sockets.
    /// Whoever waits in a send or receive gets its end. Repeating it waits for the first to
    /// finish.
    pub async fn close(&self) {
        self.closed
            .get_or_init(|| async {
                if let Err(error) = self.peer.close().await {
                    tracing::debug!(%error, "unclean close");
                }
                let mut tasks = std::mem::take(&mut *self.tasks());
                tasks.shutdown().await;
                // The caller may be the one who reads the events: no waiting.
                let _ = self
                    .events
                    .try_send(RtcEvent::StateChanged(LinkState::Closed));
            })
            .await;
    }

    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn add_waiting(&self, candidates: &mut Candidates) {
        candidates.described = true;
        for candidate in candidates.waiting.drain(..) {
            if let Err(error) = self.add_now(candidate).await {
                tracing::debug!(%error, "waiting candidate refused");
            }
        }
    }

    async fn add_now(&self, candidate: IceCandidate) -> Result<(), RtcError> {
        let init = RTCIceCandidateInit {
            candidate: candidate.candidate,
            sdp_mid: candidate.sdp_mid,
            sdp_mline_index: candidate.sdp_mline_index,
            ..RTCIceCandidateInit::default()
        };
        self.peer
            .add_ice_candidate(init)
            .await
            .map_err(|error| RtcError::Candidate(error.to_string()))
    }
}

/// Carries what the callbacks report to the caller, who may be slower than they may wait.
async fn forward(
    mut control: mpsc::Receiver<Control>,
    peer: Weak<dyn PeerConnection>,
    events: mpsc::Sender<RtcEvent>,
) {
    while let Some(control) = control.recv().await {
        let event = match control {
            Control::Event(event) => event,
            Control::StrayChannel => {
                tracing::info!("the other end opened an unknown channel; closing");
                if let Some(peer) = peer.upgrade() {
                    let _ = peer.close().await;
                }
                RtcEvent::StateChanged(LinkState::Failed)
            }
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
}

fn description(error: impl std::fmt::Display) -> RtcError {
    RtcError::Description(error.to_string())
}
