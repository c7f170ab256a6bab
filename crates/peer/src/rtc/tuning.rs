//! The numbers this module runs on, each with the measurement that chose it.

use std::time::Duration;

/// Bytes asked for as `SO_RCVBUF` and `SO_SNDBUF` of every UDP socket.
pub const UDP_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// Largest SCTP receive window, bytes. The window in use is this or the effective UDP receive
/// buffer, whichever is smaller: a window that the kernel cannot hold turns into loss, and one
/// loss costs a round trip.
pub const SCTP_WINDOW_MAX: u32 = 4 * 1024 * 1024;

/// Smallest SCTP receive window, bytes, kept even where the kernel gives less: it has to hold
/// one message of [`MAX_MESSAGE_BYTES`].
pub const SCTP_WINDOW_FLOOR: u32 = 256 * 1024;

/// Largest message on any channel, bytes; both ends announce it (RFC 8841 section 6).
pub const MAX_MESSAGE_BYTES: usize = 256 * 1024;

/// Bytes that may wait unacknowledged in one channel before `send` waits.
pub const SEND_QUEUE_BYTES: usize = 2 * 1024 * 1024;

/// Bytes that may wait in `presence` before a beat is dropped: an old beat is worth nothing.
pub const PRESENCE_QUEUE_BYTES: usize = 8 * 1024;

/// Threads that drive connections, shared by all connections of the process.
pub const REACTOR_THREADS: usize = 2;

/// Silence after which a link counts as disconnected. Two keepalives may be lost before.
pub const ICE_DISCONNECTED_AFTER: Duration = Duration::from_secs(5);

/// Further silence, after [`ICE_DISCONNECTED_AFTER`], after which a link counts as failed:
/// 15 s in all, time for one ICE restart to succeed.
pub const ICE_FAILED_AFTER: Duration = Duration::from_secs(10);

/// Interval of keepalives on an otherwise silent link (RFC 7675 asks for at most 5 s).
pub const ICE_KEEPALIVE: Duration = Duration::from_secs(2);

/// Interval between connectivity checks of a pair. The crate's own 200 ms shows as waiting in
/// every connect.
pub(super) const ICE_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Checks of a pair before it is given up: 3 s, which a path over a satellite survives.
pub(super) const ICE_MAX_CHECKS: u16 = 60;

/// How long a better path may take to answer before one through a NAT is taken.
pub(super) const ICE_REFLEXIVE_WAIT: Duration = Duration::from_millis(300);

/// How long a direct path may take to answer before a relayed one is taken.
pub(super) const ICE_RELAY_WAIT: Duration = Duration::from_millis(1000);

/// Candidates kept while their session description is still on its way.
pub const MAX_PENDING_CANDIDATES: usize = 64;

/// Control events that may wait for the caller. Candidates and state changes are few; an end
/// that lets this many pile up has stopped listening.
pub(super) const CONTROL_QUEUE: usize = 256;

/// Received messages that may wait between a channel and its reader, on top of what the
/// channel itself holds.
pub(super) const INCOMING_QUEUE: usize = 8;

/// The knobs of a context that benches vary. Everything else takes the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// Bytes asked for per UDP socket and direction.
    pub udp_buffer: usize,
    /// Upper bound of the SCTP receive window, bytes.
    pub sctp_window: u32,
    /// Bytes that may wait unacknowledged in one channel.
    pub send_queue: usize,
    /// Driver threads; 0 drives connections on the caller's runtime.
    pub reactor_threads: usize,
    /// Size budget of one SCTP packet, bytes; `None` takes the value that fits every IPv6 path
    /// (RFC 8200 section 5).
    pub sctp_mtu: Option<u32>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            udp_buffer: UDP_BUFFER_BYTES,
            sctp_window: SCTP_WINDOW_MAX,
            send_queue: SEND_QUEUE_BYTES,
            reactor_threads: REACTOR_THREADS,
            sctp_mtu: None,
        }
    }
}
