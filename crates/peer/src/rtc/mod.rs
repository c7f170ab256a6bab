//! Links over WebRTC: one [`Connection`] per peer, three negotiated data channels and one silent
//! Opus line, on sockets that this crate sizes itself.
//!
//! The caller carries SDP and candidates between the two ends, in order and sealed; this module
//! neither signals nor judges who the other end is. It does enforce that the DTLS certificate of
//! the other end matches the fingerprint in the SDP it was given (RFC 8122 section 5).
//!
//! ```text
//! RtcContext (certificate, socket sizes, one per app session)
//!   └── Connection::open ── create_offer / accept_offer / accept_answer / add_candidate
//!         ├── RtcEvent …            candidates, states, messages, presence
//!         ├── send_message          channel "messages", reliable, ordered
//!         ├── try_send_presence     channel "presence", unordered, never retransmitted
//!         └── files() → Lane        channel "files", reliable, ordered, pulled by its reader
//!               └── Connection::open_strand   another, whose "files" carries chunks of the lane
//! ```

mod addresses;
mod certificate;
mod channel;
mod connection;
mod context;
mod error;
mod event;
mod flow;
mod gate;
mod lane;
mod nudge;
mod route;
mod runtime;
mod setup;
mod spread;
mod strand;
mod tuning;

pub use certificate::Certificate;
pub use connection::Connection;
pub use context::{IceConfig, IceServer, RtcContext};
pub use error::RtcError;
pub use event::{ChannelLabel, IceCandidate, LinkState, RtcEvent};
pub use lane::Lane;
pub use route::{PathKind, Route};
pub use runtime::{TunedRuntime, effective_udp_buffer};
pub use tuning::{
    ICE_DISCONNECTED_AFTER, ICE_FAILED_AFTER, ICE_KEEPALIVE, MAX_MESSAGE_BYTES,
    MAX_PENDING_CANDIDATES, MESSAGE_QUEUE_BYTES, PRESENCE_QUEUE_BYTES, REACTOR_THREADS,
    SCTP_WINDOW_FLOOR, SCTP_WINDOW_MAX, SEND_QUEUE_BYTES, Tuning, UDP_BUFFER_BYTES,
};
