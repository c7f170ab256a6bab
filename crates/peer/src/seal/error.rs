//! Why sealing failed, and what that means.

use kith_protocol::Code;

/// Why a sealed message was refused or could not be made. Whatever it is, the remedy is a new
/// handshake; there is no weaker mode to fall back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Both members carry the same session id.
    #[error("both sides of the seal have the same session id")]
    SameSid,
    /// Our own name or capabilities are beyond the protocol's limits.
    #[error("our own hello is out of bounds")]
    OwnHello,
    /// The body is not an envelope of this version.
    #[error("not a sealed envelope of this version")]
    NotAnEnvelope,
    /// A handshake step that the other side never has reason to send, such as our own reflected.
    #[error("handshake step {0} does not come from this side")]
    WrongStep(u8),
    /// Altered, truncated, made for another room or other members, or made with another secret.
    #[error("the message does not decrypt")]
    Decrypt,
    /// Correctly sealed, but not what may stand there.
    #[error("the sealed content is malformed")]
    Malformed,
    /// The identity does not vouch for the Noise key that it came with.
    #[error("the certificate does not cover the key of the handshake")]
    BadCert,
    /// The other side presents our own identity.
    #[error("the other side presents our own identity")]
    OwnIdentity,
    /// A message that was read before.
    #[error("message {got} was read before; {want} is next")]
    Replay {
        /// Its counter.
        got: u64,
        /// The counter that is next.
        want: u64,
    },
    /// Messages before this one are missing.
    #[error("messages {want} to {got} are missing")]
    Gap {
        /// Its counter.
        got: u64,
        /// The counter that is next.
        want: u64,
    },
    /// Sealed under a handshake that we do not know: ours or theirs was lost.
    #[error("sealed under an unknown handshake")]
    UnknownTag,
    /// Only the side with the smaller session id begins; the other asks.
    #[error("the other side begins the handshake")]
    NotInitiator,
    /// No handshake has completed yet.
    #[error("no handshake has completed yet")]
    NotReady,
    /// The body is over the limit, or is of no kind that can be sent.
    #[error("the body cannot be sealed")]
    Unsendable,
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    NoRandomness,
    /// The Noise library refused a step that is correct by construction.
    #[error("the handshake could not be computed")]
    Noise,
}

impl SealError {
    /// Whether loss and restarts cannot explain it: somebody altered, replayed or forged
    /// something, or runs a broken build.
    pub fn is_hostile(self) -> bool {
        match self {
            SealError::SameSid
            | SealError::NotAnEnvelope
            | SealError::WrongStep(_)
            | SealError::Decrypt
            | SealError::Malformed
            | SealError::BadCert
            | SealError::OwnIdentity
            | SealError::Replay { .. } => true,
            SealError::OwnHello
            | SealError::Gap { .. }
            | SealError::UnknownTag
            | SealError::NotInitiator
            | SealError::NotReady
            | SealError::Unsendable
            | SealError::NoRandomness
            | SealError::Noise => false,
        }
    }

    /// What the user is told.
    pub fn code(self) -> Code {
        match self {
            SealError::OwnHello => Code::BadRequest,
            SealError::NotInitiator | SealError::NotReady => Code::NotNow,
            SealError::Unsendable => Code::TooLarge,
            SealError::SameSid
            | SealError::NotAnEnvelope
            | SealError::WrongStep(_)
            | SealError::Decrypt
            | SealError::Malformed
            | SealError::BadCert
            | SealError::OwnIdentity
            | SealError::Replay { .. }
            | SealError::Gap { .. }
            | SealError::UnknownTag
            | SealError::NoRandomness
            | SealError::Noise => Code::SealFailed,
        }
    }
}
