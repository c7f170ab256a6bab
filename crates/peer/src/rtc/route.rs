//! The path that carries a connection.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use webrtc::peer_connection::{
    PeerConnection, RTCIceCandidate, RTCIceCandidateType, StatsSelector,
};

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
    let (local, remote) = (kind(pair.local())?, kind(pair.remote())?);
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

fn kind(candidate: &RTCIceCandidate) -> Option<PathKind> {
    match candidate.typ {
        RTCIceCandidateType::Host => Some(PathKind::Host),
        // Learned from a check before its own candidate arrived: no NAT stood in between.
        RTCIceCandidateType::Prflx if is_local(&candidate.address) => Some(PathKind::Host),
        RTCIceCandidateType::Srflx | RTCIceCandidateType::Prflx => Some(PathKind::Reflexive),
        RTCIceCandidateType::Relay => Some(PathKind::Relay),
        // The enum is open.
        RTCIceCandidateType::Unspecified | _ => None,
    }
}

/// Whether an address is of the machine itself or of a private network (RFC 1918, RFC 4193).
fn is_local(address: &str) -> bool {
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        Ok(IpAddr::V6(ip)) => {
            ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()
        }
        Err(_) => false,
    }
}
