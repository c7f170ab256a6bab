//! What a connection tells its owner, and the callbacks it comes from.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use webrtc::data_channel::DataChannel;
use webrtc::peer_connection::{
    PeerConnectionEventHandler, RTCIceConnectionState, RTCIceGatheringState,
    RTCPeerConnectionIceEvent, RTCPeerConnectionState,
};

use super::nudge::Nudge;

/// One event of a connection, in the order in which it happened within its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RtcEvent {
    /// A local candidate to carry to the other end (RFC 8838 section 4.1). The session
    /// description it belongs to has to reach the other end first.
    LocalCandidate(IceCandidate),
    /// No further candidate follows in this generation.
    GatheringComplete,
    /// The state of the whole connection changed.
    StateChanged(LinkState),
    /// All three channels carry data. Sent once, before the first message.
    ChannelsOpen,
    /// A message on `messages`. Not reading events makes the other end wait.
    Message(Bytes),
    /// A beat on `presence`. Dropped when the events are not read in time.
    Presence(Bytes),
    /// The other end closed a channel, or the connection under it is gone.
    ChannelClosed {
        /// The channel.
        label: ChannelLabel,
    },
}

/// The three channels of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelLabel {
    /// Control and chat: id 0, reliable, ordered.
    Messages,
    /// File frames: id 1, reliable, ordered.
    Files,
    /// Presence beats: id 2, unordered, never retransmitted.
    Presence,
}

impl ChannelLabel {
    /// The label and the SCTP stream both ends agreed on.
    pub(super) fn name_and_id(self) -> (&'static str, u16) {
        match self {
            Self::Messages => ("messages", 0),
            Self::Files => ("files", 1),
            Self::Presence => ("presence", 2),
        }
    }
}

impl fmt::Display for ChannelLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name_and_id().0)
    }
}

/// State of a connection, ICE and DTLS taken together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// Looking for a path, or shaking hands on one.
    Checking,
    /// A path carries data.
    Connected,
    /// Nothing has come for a while; it may come back, an ICE restart helps.
    Disconnected,
    /// No path, or the other end is not who its session description says.
    Failed,
    /// Closed, by either end.
    Closed,
}

/// A candidate as it crosses signaling (RFC 8839 section 5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceCandidate {
    /// The candidate attribute, with its `candidate:` prefix.
    pub candidate: String,
    /// The media section by identification tag, when known.
    pub sdp_mid: Option<String>,
    /// The media section by position, when known.
    pub sdp_mline_index: Option<u16>,
}

/// What the driver reports besides data.
#[derive(Debug)]
pub(super) enum Control {
    Event(RtcEvent),
    /// The other end opened a channel that no protocol names. Its events would pile up unread.
    StrayChannel,
}

/// Receives the driver's callbacks. They run on the task that also answers ICE checks, so they
/// never wait: what does not fit is a caller that stopped listening, and is dropped.
pub(super) struct Callbacks {
    control: mpsc::Sender<Control>,
    nudge: Arc<Nudge>,
}

impl Callbacks {
    pub(super) fn new(control: mpsc::Sender<Control>, nudge: Arc<Nudge>) -> Self {
        Self { control, nudge }
    }

    fn report(&self, control: Control) {
        if let Err(error) = self.control.try_send(control) {
            tracing::warn!(%error, "connection event dropped");
        }
    }
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Callbacks {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        match event.candidate.to_json() {
            Ok(init) => self.report(Control::Event(RtcEvent::LocalCandidate(IceCandidate {
                candidate: init.candidate,
                sdp_mid: init.sdp_mid.filter(|mid| !mid.is_empty()),
                sdp_mline_index: init.sdp_mline_index,
            }))),
            Err(error) => tracing::debug!(%error, "local candidate not usable"),
        }
    }

    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.report(Control::Event(RtcEvent::GatheringComplete));
        }
    }

    async fn on_ice_connection_state_change(&self, state: RTCIceConnectionState) {
        if state == RTCIceConnectionState::Connected {
            // The first message of DTLS waits to be sent.
            self.nudge.ring();
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        if state == RTCPeerConnectionState::Connected {
            // The first of SCTP does.
            self.nudge.ring();
        }
        let state = match state {
            RTCPeerConnectionState::Connecting => LinkState::Checking,
            RTCPeerConnectionState::Connected => LinkState::Connected,
            RTCPeerConnectionState::Disconnected => LinkState::Disconnected,
            RTCPeerConnectionState::Failed => LinkState::Failed,
            RTCPeerConnectionState::Closed => LinkState::Closed,
            // `New` says nothing, and the enum is open.
            RTCPeerConnectionState::Unspecified | RTCPeerConnectionState::New | _ => return,
        };
        self.report(Control::Event(RtcEvent::StateChanged(state)));
    }

    async fn on_data_channel(&self, _channel: Arc<dyn DataChannel>) {
        self.report(Control::StrayChannel);
    }
}
