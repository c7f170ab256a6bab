//! The path that carries a connection.

use std::time::{Duration, Instant};

use webrtc::peer_connection::{PeerConnection, RTCIceCandidateType, StatsSelector};

/// How one end of a path is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathKind {
    /// An address of the machine itself.
    Host,
    /// The address a NAT shows to the outside, told by STUN or seen by the other end.
    Reflexive,
    /// The address of a TURN server.
    Relay,
}

/// The selected candidate pair (RFC 8445 section 8.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Our end.
    pub local: PathKind,
    /// The other end.
    pub remote: PathKind,
    /// Round trip of the last connectivity check, once there was one.
    pub round_trip: Option<Duration>,
    /// Bytes that went out on this pair.
    pub bytes_sent: u64,
    /// Bytes that came in on this pair.
    pub bytes_received: u64,
}

/// The selected pair of `peer`, or `None` before there is one.
pub(super) async fn selected(peer: &dyn PeerConnection) -> Option<Route> {
    let ice = peer.sctp().await?.transport().ice_transport();
    let pair = ice.get_selected_candidate_pair().await.ok()??;
    let (local, remote) = (kind(pair.local().typ)?, kind(pair.remote().typ)?);
    let report = peer.get_stats(Instant::now(), StatsSelector::None).await;
    let selected = report
        .transport()
        .map(|transport| &transport.selected_candidate_pair_id);
    let stats = report
        .candidate_pairs()
        .find(|pair| Some(&pair.stats.id) == selected);
    Some(Route {
        local,
        remote,
        round_trip: stats
            .filter(|stats| stats.current_round_trip_time > 0.0)
            .and_then(|stats| Duration::try_from_secs_f64(stats.current_round_trip_time).ok()),
        bytes_sent: stats.map_or(0, |stats| stats.bytes_sent),
        bytes_received: stats.map_or(0, |stats| stats.bytes_received),
    })
}

fn kind(candidate: RTCIceCandidateType) -> Option<PathKind> {
    match candidate {
        RTCIceCandidateType::Host => Some(PathKind::Host),
        RTCIceCandidateType::Srflx | RTCIceCandidateType::Prflx => Some(PathKind::Reflexive),
        RTCIceCandidateType::Relay => Some(PathKind::Relay),
        // The enum is open.
        RTCIceCandidateType::Unspecified | _ => None,
    }
}
