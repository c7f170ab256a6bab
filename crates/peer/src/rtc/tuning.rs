//! The numbers this module runs on, each with the measurement that chose it.

use std::time::Duration;

/// Bytes asked for as `SO_RCVBUF` and `SO_SNDBUF` of every UDP socket. 4 MiB hold a window of
/// 4 MiB: 460 MB/s over loopback on two idle cores. Where the kernel grants less, the window
/// follows: at 208 KiB the rate over loopback was the same as at 4 MiB on two equally busy cores
/// (260 MB/s), but the window bounds the rate by the round trip.
pub const UDP_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// Largest SCTP receive window, bytes. The window in use is this or the effective UDP receive
/// buffer, whichever is smaller: a window that the kernel cannot hold turns into loss, and one
/// loss costs a round trip. Over loopback 2 MiB do as well; longer paths want all of it, as the
/// rate is at most the window per round trip.
pub const SCTP_WINDOW_MAX: u32 = 4 * 1024 * 1024;

/// Smallest SCTP receive window, bytes, kept even where the kernel gives less: it has to hold
/// one message of [`MAX_MESSAGE_BYTES`].
pub const SCTP_WINDOW_FLOOR: u32 = 256 * 1024;

/// Largest message on any channel, bytes; both ends announce it (RFC 8841 section 6). A file
/// frame, the largest there is, fits; more would only let a peer make us hold more.
pub const MAX_MESSAGE_BYTES: usize = 65 * 1024;
const _: () = assert!(
    MAX_MESSAGE_BYTES >= kith_protocol::frame::HEADER + kith_protocol::limits::MAX_FRAME_PAYLOAD
        && MAX_MESSAGE_BYTES >= kith_protocol::limits::MAX_PEER_MESSAGE
);

/// Bytes that may wait unacknowledged in one channel before `send` waits; of `files`, fewer where the
/// path holds fewer (`flow.rs`). As much as the window,
/// so that the window and not this bounds a long path. Over loopback the rate is the same from
/// 0.5 to 8 MiB. What waits costs several times its size: the peak resident memory of a process
/// that pushes 1 GiB is 18 MiB at 2 MiB and 27 at 4 with the system's allocator; with mimalloc it
/// is 47 and 80, for a tenth less CPU.
pub const SEND_QUEUE_BYTES: usize = 4 * 1024 * 1024;

/// The same of a strand beside the link's own connection, and its window and socket buffers: all
/// strands that both ends may open take no more than three windows. They share the bound of what waits
/// besides, and each has its turn where losses keep every one of them far below.
pub(super) const STRAND_BYTES: usize = 512 * 1024;

/// Size budget of an SCTP packet on a wide strand, bytes. Each packet costs about the same whatever
/// its size: over loopback a bare channel takes 3.2 CPU seconds per GB in place of 4.9 and goes at 510
/// MB/s in place of 360 (2-core EPYC). Larger ones fill the socket's buffer with less in it, and
/// overflow it.
pub(super) const WIDE_PACKET: u32 = 4_000;
/// The largest IP packet of a path that carries them: with the headers of DTLS (37 bytes), UDP and
/// IPv6.
pub(super) const WIDE_PATH: u32 = WIDE_PACKET + 37 + 8 + 40;
/// A padding frame that does not fit one of them, and how long it may take to be acknowledged: long
/// enough to be lost once.
pub(super) const PROBE: (usize, Duration) = (2 * WIDE_PACKET as usize, Duration::from_secs(3));
/// Bytes of chunks after which a wide strand is worth its handshake.
pub(super) const WORTH_WIDE: u64 = 1024 * 1024;

/// A strand over which nothing went for so long ends without harm.
pub(super) const LEFT_ALONE: Duration = Duration::from_secs(60);

/// Bytes that may wait unacknowledged in `messages`. They may be many small ones, each of which
/// costs several times its size: at 4 MiB somebody who asks and never reads the answers makes us
/// hold 40 MB.
pub const MESSAGE_QUEUE_BYTES: usize = 512 * 1024;

/// How often it is looked whether there is room again.
pub(super) const MESSAGE_QUEUE_LOOK: Duration = Duration::from_millis(5);

/// Bytes that may wait in `presence` before a beat is dropped: an old beat is worth nothing.
pub const PRESENCE_QUEUE_BYTES: usize = 8 * 1024;

/// Threads that drive connections, shared by all connections of the process; each connection
/// stays on one. A busy link then leaves the other links and the caller's runtime alone; for one
/// link alone the rate is that of the caller's runtime (450 MB/s), for a tenth less CPU.
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
    /// Driver threads, at least 1. The first connection of a process decides.
    pub reactor_threads: usize,
    /// Size budget of one SCTP packet, bytes; `None` takes the value that fits every IPv6 path
    /// (RFC 8200 section 5). 1400 saves a tenth of the CPU (over loopback), but nothing
    /// discovers the paths that drop such packets.
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
