//! The path that carries a connection.

use std::net::IpAddr;
#[cfg(target_os = "linux")]
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
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
    /// Largest IP packet of the first hop towards the other end, bytes, where the system tells. What
    /// lies behind may carry less.
    pub mtu: Option<u32>,
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
    let direct = local != PathKind::Relay && remote != PathKind::Relay;
    let address = pair.remote().address.parse().ok().filter(|_| direct);
    Some(Route {
        local,
        remote,
        mtu: address.and_then(first_hop_mtu),
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

/// What the system's routes say about the way to an address; no packet is sent.
#[cfg(target_os = "linux")]
fn first_hop_mtu(to: IpAddr) -> Option<u32> {
    use rustix::net::sockopt;
    // Any port will do: routes know none.
    let (from, to) = (unspecified(to), SocketAddr::new(to, 9));
    let socket = UdpSocket::bind((from, 0)).ok()?;
    socket.connect(to).ok()?;
    match to {
        SocketAddr::V4(_) => sockopt::ip_mtu(&socket).ok(),
        SocketAddr::V6(_) => sockopt::ipv6_mtu(&socket).ok(),
    }
}

#[cfg(not(target_os = "linux"))]
fn first_hop_mtu(_: IpAddr) -> Option<u32> {
    None
}

#[cfg(target_os = "linux")]
fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn loopback_carries_wide_packets() {
        let mtu = first_hop_mtu(Ipv4Addr::LOCALHOST.into());
        assert!(mtu.is_some_and(|mtu| mtu >= 16_384), "{mtu:?}");
    }
}
