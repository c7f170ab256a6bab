//! Why an operation on a connection did not happen.

use std::io;

/// Failure of an operation on a [`Connection`](super::Connection) or a [`Lane`](super::Lane).
#[derive(Debug, thiserror::Error)]
pub enum RtcError {
    /// No connection could be built: no certificate, no socket, or a refused configuration.
    #[error("cannot set up the connection: {0}")]
    Setup(String),
    /// The operating system refused a socket operation.
    #[error("socket: {0}")]
    Socket(#[from] io::Error),
    /// The other end's SDP is malformed or does not fit the state of the negotiation.
    #[error("session description refused: {0}")]
    Description(String),
    /// The other end's candidate is malformed.
    #[error("candidate refused: {0}")]
    Candidate(String),
    /// More candidates came ahead of their session description than are kept.
    #[error("too many candidates before the session description")]
    TooManyCandidates,
    /// The message is larger than both ends agreed to carry.
    #[error("message of {size} bytes is over the limit of {limit}")]
    TooLarge {
        /// Bytes of the refused message.
        size: usize,
        /// Largest size that is carried.
        limit: usize,
    },
    /// The connection is closed, or its channel is.
    #[error("the connection is closed")]
    Closed,
}

impl RtcError {
    /// Whether the connection is of no further use; a new one has to be opened.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Setup(_) | Self::Socket(_) | Self::Closed => true,
            Self::Description(_)
            | Self::Candidate(_)
            | Self::TooManyCandidates
            | Self::TooLarge { .. } => false,
        }
    }
}
