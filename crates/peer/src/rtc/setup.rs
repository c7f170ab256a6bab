//! How a peer connection is configured.

use std::sync::Arc;
use std::time::Instant;

use rtc::ice::mdns::MulticastDnsMode;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::media_engine::MIME_TYPE_OPUS;
use rtc::peer_connection::configuration::setting_engine::SctpMaxMessageSize;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters,
    RtpCodecKind,
};
use webrtc::media_stream::track_local::static_sample::TrackLocalStaticSample;
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, RTCConfigurationBuilder, RTCIceServer,
    RTCIceTransportPolicy, Registry, SettingEngine, SettingEngineBuilder, configure_rtcp_reports,
};

use super::addresses::LocalAddresses;
use super::channel::Channel;
use super::context::{IceConfig, RtcContext};
use super::error::RtcError;
use super::event::{Callbacks, ChannelLabel};
use super::runtime::TunedRuntime;
use super::tuning::{
    ICE_CHECK_INTERVAL, ICE_DISCONNECTED_AFTER, ICE_FAILED_AFTER, ICE_KEEPALIVE, ICE_MAX_CHECKS,
    ICE_REFLEXIVE_WAIT, ICE_RELAY_WAIT, MAX_MESSAGE_BYTES,
};

/// Payload type of Opus on the wire, the one browsers use.
const OPUS_PAYLOAD_TYPE: u8 = 111;

/// A peer connection with its sockets bound and its voice line in place.
pub(super) async fn build(
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

/// `messages`, `files` and `presence`, in this order.
pub(super) async fn declare_channels(
    peer: &dyn PeerConnection,
) -> Result<(Channel, Channel, Channel), RtcError> {
    let messages = Channel::declare(peer, ChannelLabel::Messages).await?;
    let files = Channel::declare(peer, ChannelLabel::Files).await?;
    let presence = Channel::declare(peer, ChannelLabel::Presence).await?;
    Ok((messages, files, presence))
}

fn setup(error: impl std::fmt::Display) -> RtcError {
    RtcError::Setup(error.to_string())
}
