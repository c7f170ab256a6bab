//! One peer connection: its negotiation, its channels, its end.

use std::sync::{Arc, Mutex as SyncMutex, Weak};
use std::time::Instant;

use bytes::Bytes;
use rtc::ice::mdns::MulticastDnsMode;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::RTCOfferOptions;
use rtc::peer_connection::configuration::media_engine::MIME_TYPE_OPUS;
use rtc::peer_connection::configuration::setting_engine::SctpMaxMessageSize;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters,
    RtpCodecKind,
};
use tokio::sync::{Barrier, Mutex, OnceCell, mpsc};
use tokio::task::JoinSet;
use webrtc::media_stream::track_local::static_sample::TrackLocalStaticSample;
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, RTCConfigurationBuilder,
    RTCIceCandidateInit, RTCIceServer, RTCIceTransportPolicy, RTCSessionDescription, Registry,
    SettingEngine, SettingEngineBuilder, configure_rtcp_reports,
};

use super::addresses::LocalAddresses;
use super::channel::{Channel, Reader, pump_files, pump_messages, pump_presence};
use super::context::{IceConfig, RtcContext};
use super::error::RtcError;
use super::event::{Callbacks, ChannelLabel, Control, IceCandidate, LinkState, RtcEvent};
use super::lane::Lane;
use super::route::{self, Route};
use super::runtime::TunedRuntime;
use super::tuning::{
    CONTROL_QUEUE, ICE_CHECK_INTERVAL, ICE_DISCONNECTED_AFTER, ICE_FAILED_AFTER, ICE_KEEPALIVE,
    ICE_MAX_CHECKS, ICE_REFLEXIVE_WAIT, ICE_RELAY_WAIT, INCOMING_QUEUE, MAX_MESSAGE_BYTES,
    MAX_PENDING_CANDIDATES,
};

/// Payload type of Opus on the wire, the one browsers use.
const OPUS_PAYLOAD_TYPE: u8 = 111;

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
    /// Locked across waits, so that candidates enter in the order in which they came.
    candidates: Mutex<Candidates>,
    events: mpsc::Sender<RtcEvent>,
    /// Locked only to take the tasks out.
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
        let (control, control_rx) = mpsc::channel(CONTROL_QUEUE);
        let runtime = Arc::new(TunedRuntime::new(context.tuning().udp_buffer));
        let peer = build(context, ice, Arc::clone(&runtime), Callbacks::new(control)).await?;
        let channels = declare_channels(&*peer).await;
        let (messages, files, presence) = match channels {
            Ok(channels) => channels,
            Err(error) => {
                let _ = peer.close().await;
                return Err(error);
            }
        };

        let (frames, incoming) = mpsc::channel(INCOMING_QUEUE);
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
            Reader::new(files.clone(), runtime.nudge()),
            all_open,
            frames,
            events.clone(),
        ));

        Ok(Self {
            peer,
            messages,
            presence,
            lane: Lane::new(files, incoming),
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
    /// [`SEND_QUEUE_BYTES`](super::SEND_QUEUE_BYTES) are unacknowledged.
    ///
    /// # Errors
    ///
    /// [`RtcError::TooLarge`] over [`MAX_MESSAGE_BYTES`], [`RtcError::Closed`] when the
    /// connection is gone.
    pub async fn send_message(&self, message: Bytes) -> Result<(), RtcError> {
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

    /// The lane over `files`.
    #[must_use]
    pub fn files(&self) -> Lane {
        self.lane.clone()
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
                let mut tasks = std::mem::take(
                    &mut *self
                        .tasks
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner),
                );
                tasks.shutdown().await;
                // The caller may be the one who reads the events: no waiting.
                let _ = self
                    .events
                    .try_send(RtcEvent::StateChanged(LinkState::Closed));
            })
            .await;
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

async fn build(
    context: &RtcContext,
    ice: &IceConfig,
    runtime: Arc<TunedRuntime>,
    callbacks: Callbacks,
) -> Result<Arc<dyn PeerConnection>, RtcError> {
    let tuning = context.tuning();
    let opus = opus();
    let mut media = MediaEngine::default();
    media
        .register_codec(opus.clone(), RtpCodecKind::Audio)
        .map_err(setup)?;
    let policy = if ice.relay_only {
        RTCIceTransportPolicy::Relay
    } else {
        RTCIceTransportPolicy::All
    };
    let configuration = RTCConfigurationBuilder::default()
        .with_ice_servers(
            ice.servers
                .iter()
                .map(|server| RTCIceServer {
                    urls: server.urls.clone(),
                    username: server.username.clone(),
                    credential: server.credential.clone(),
                })
                .collect(),
        )
        .with_ice_transport_policy(policy)
        .with_certificates(vec![context.certificate().to_rtc()])
        .build();
    let peer: Arc<dyn PeerConnection> = Arc::new(
        PeerConnectionBuilder::new()
            .with_configuration(configuration)
            .with_media_engine(media)
            .with_interceptor_registry(configure_rtcp_reports(Registry::new()))
            .with_setting_engine(settings(context))
            .with_runtime(runtime)
            .with_handler(Arc::new(callbacks))
            .with_udp_addrs(vec![LocalAddresses {
                include_loopback: ice.include_loopback,
            }])
            .with_data_channel_send_buffer_limit(tuning.send_queue)
            .with_dedicated_reactor_pool_size(tuning.reactor_threads.max(1))
            .build()
            .await
            .map_err(setup)?,
    );
    // A track, unlike a transceiver made by hand, pairs up with the offer's audio section on
    // the answering end (RFC 9429 section 5.10).
    peer.add_track(Arc::new(silent_track(opus.rtp_codec)?))
        .await
        .map_err(setup)?;
    Ok(peer)
}

fn settings(context: &RtcContext) -> SettingEngine {
    let max_message = u32::try_from(MAX_MESSAGE_BYTES).unwrap_or(u32::MAX);
    let mut settings = SettingEngineBuilder::new()
        .with_sctp_max_message_size(SctpMaxMessageSize::Bounded(max_message))
        .with_sctp_max_receive_buffer_size(context.sctp_window())
        // Without a multicast route the mDNS socket fails, and the connection with it.
        .with_multicast_dns_mode(MulticastDnsMode::Disabled)
        // A restart binds the addresses that the machine has by then.
        .with_discard_local_candidates_during_ice_restart(true)
        .with_ice_timeouts(
            Some(ICE_DISCONNECTED_AFTER),
            Some(ICE_FAILED_AFTER),
            Some(ICE_KEEPALIVE),
        )
        .with_ice_connection_attempts(Some(ICE_CHECK_INTERVAL), Some(ICE_MAX_CHECKS))
        .with_srflx_acceptance_min_wait(Some(ICE_REFLEXIVE_WAIT))
        .with_prflx_acceptance_min_wait(Some(ICE_REFLEXIVE_WAIT))
        .with_relay_acceptance_min_wait(Some(ICE_RELAY_WAIT));
    if let Some(mtu) = context.tuning().sctp_mtu {
        settings = settings.with_sctp_mtu(mtu);
    }
    settings.build()
}

fn opus() -> RTCRtpCodecParameters {
    RTCRtpCodecParameters {
        rtp_codec: RTCRtpCodec {
            mime_type: MIME_TYPE_OPUS.to_owned(),
            clock_rate: 48_000,
            channels: 2,
            sdp_fmtp_line: "minptime=10;useinbandfec=1".to_owned(),
            rtcp_feedback: vec![],
        },
        payload_type: OPUS_PAYLOAD_TYPE,
    }
}

/// An Opus line that sends nothing until a call writes to it.
fn silent_track(codec: RTCRtpCodec) -> Result<TrackLocalStaticSample, RtcError> {
    let mut ssrc = [0; 4];
    getrandom::fill(&mut ssrc).map_err(setup)?;
    let encoding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters {
            ssrc: Some(u32::from_ne_bytes(ssrc)),
            ..RTCRtpCodingParameters::default()
        },
        codec,
        ..RTCRtpEncodingParameters::default()
    };
    let (stream, track, label) = ("kith".to_owned(), "voice".to_owned(), "voice".to_owned());
    let track = MediaStreamTrack::new(stream, track, label, RtpCodecKind::Audio, vec![encoding]);
    TrackLocalStaticSample::new(Instant::now(), track).map_err(setup)
}

async fn declare_channels(
    peer: &dyn PeerConnection,
) -> Result<(Channel, Channel, Channel), RtcError> {
    let messages = Channel::declare(peer, ChannelLabel::Messages).await?;
    let files = Channel::declare(peer, ChannelLabel::Files).await?;
    let presence = Channel::declare(peer, ChannelLabel::Presence).await?;
    Ok((messages, files, presence))
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

fn setup(error: impl std::fmt::Display) -> RtcError {
    RtcError::Setup(error.to_string())
}

fn description(error: impl std::fmt::Display) -> RtcError {
    RtcError::Description(error.to_string())
}
