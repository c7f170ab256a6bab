//! The path that carries a connection.

use std::time::Duration;

use webrtc::peer_connection::{RTCIceCandidateType, RTCStatsReport, RTCStatsReportEntry};

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

/// The selected pair of `report`, or `None` before there is one.
pub(super) fn from_report(report: &RTCStatsReport) -> Option<Route> {
    let selected = &report.transport()?.selected_candidate_pair_id;
    let pair = report
        .candidate_pairs()
        .find(|pair| pair.stats.id == *selected)
        .or_else(|| report.candidate_pairs().find(|pair| pair.nominated))?;
    let round_trip = pair.current_round_trip_time;
    Some(Route {
        local: kind(report, &pair.local_candidate_id)?,
        remote: kind(report, &pair.remote_candidate_id)?,
        round_trip: (round_trip > 0.0)
            .then(|| Duration::try_from_secs_f64(round_trip).ok())
            .flatten(),
        bytes_sent: pair.bytes_sent,
        bytes_received: pair.bytes_received,
    })
}

fn kind(report: &RTCStatsReport, candidate: &str) -> Option<PathKind> {
    let stats = match report.get(candidate)? {
        RTCStatsReportEntry::LocalCandidate(stats)
        | RTCStatsReportEntry::RemoteCandidate(stats) => stats,
        // The enum is open.
        _ => return None,
    };
    match stats.candidate_type {
        RTCIceCandidateType::Host => Some(PathKind::Host),
        RTCIceCandidateType::Srflx | RTCIceCandidateType::Prflx => Some(PathKind::Reflexive),
        RTCIceCandidateType::Relay => Some(PathKind::Relay),
        _ => None,
    }
}
