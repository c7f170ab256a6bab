//! Why a run ends: the exit code, a name for programs and one sentence for people.

use kith_api::ApiError;
use kith_peer::node::StartError;
use kith_protocol::Code;
use kith_protocol::invite::InviteError;

/// The exit codes of the command; a stable part of its interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Something nobody thought of.
    Unexpected = 1,
    /// The command line is not right.
    Usage = 2,
    /// The invite is not valid.
    BadInvite = 3,
    /// The room server cannot be reached.
    Unreachable = 4,
    /// The room server refused the join.
    Refused = 5,
    /// Declined or withdrawn, nothing transferred.
    Declined = 6,
    /// The disk refused.
    Disk = 7,
    /// A file to send is missing, unreadable or changed.
    Source = 8,
    /// The profile is in use or broken.
    Profile = 9,
    /// The transfer failed.
    Transfer = 10,
    /// Ctrl-C, SIGTERM, or nobody reads the output any more.
    Interrupted = 130,
}

/// What `kith --help` says about exit codes.
pub const TABLE: &str = "\
Exit codes:
    0  done
    1  something unexpected
    2  the command line is not right
    3  the invite is not valid
    4  the room server cannot be reached
    5  the room server refused the join
    6  declined or withdrawn, nothing transferred
    7  the disk refused: full, denied or read-only
    8  a file to send is missing, unreadable or changed
    9  the profile is in use or broken
   10  the transfer failed: data damaged or the protocol broken
  130  interrupted";

/// A run that did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What the process returns.
    pub exit: Exit,
    /// For programs: the name of a [`Code`], or `usage`, `bad-invite`, `interrupted`.
    pub name: &'static str,
    /// For people: one sentence that says what to do. Empty: end quietly.
    pub message: String,
}

impl Failure {
    /// With the standard text of a code.
    pub fn of(code: Code) -> Self {
        Failure::with(code, code.text())
    }

    /// With a text of its own.
    pub fn with(code: Code, message: impl Into<String>) -> Self {
        Failure {
            exit: exit_of(code),
            name: code.name(),
            message: message.into(),
        }
    }

    /// The command line is not right.
    pub fn usage(message: impl Into<String>) -> Self {
        Failure {
            exit: Exit::Usage,
            name: "usage",
            message: message.into(),
        }
    }

    /// Nobody thought of this.
    pub fn unexpected(message: impl Into<String>) -> Self {
        Failure {
            exit: Exit::Unexpected,
            name: Code::Unknown.name(),
            message: message.into(),
        }
    }

    /// The user, or the system, wants us to end.
    pub fn interrupted() -> Self {
        Failure {
            exit: Exit::Interrupted,
            name: "interrupted",
            message: String::new(),
        }
    }
}

impl From<ApiError> for Failure {
    fn from(e: ApiError) -> Self {
        Failure::with(e.code, e.message)
    }
}

impl From<StartError> for Failure {
    fn from(e: StartError) -> Self {
        Failure::with(e.code, e.message)
    }
}

impl From<InviteError> for Failure {
    fn from(e: InviteError) -> Self {
        Failure {
            exit: Exit::BadInvite,
            name: "bad-invite",
            message: sentence(&e.to_string()),
        }
    }
}

/// Which exit code a code of the engine means.
pub fn exit_of(code: Code) -> Exit {
    match code {
        Code::Restarting | Code::ServerUnreachable | Code::NotARoomServer => Exit::Unreachable,
        Code::BadMessage
        | Code::TooLarge
        | Code::NotJoined
        | Code::NoSuchMember
        | Code::RoomFull
        | Code::RoomLocked
        | Code::RateLimited
        | Code::Busy
        | Code::BadProof
        | Code::UnsupportedVersion => Exit::Refused,
        Code::Declined | Code::Cancelled | Code::OfferGone | Code::TooManyOffers => Exit::Declined,
        Code::DiskFull
        | Code::DiskDenied
        | Code::DiskError
        | Code::DiskReadOnly
        | Code::DiskQuota
        | Code::DiskGone => Exit::Disk,
        Code::SourceChanged | Code::SourceGone => Exit::Source,
        Code::HomeInUse | Code::StoreBroken => Exit::Profile,
        Code::SealFailed
        | Code::IdentityChanged
        | Code::BadSdp
        | Code::ConfirmMismatch
        | Code::NoRoute
        | Code::LinkLost
        | Code::PeerProtocol
        | Code::Corrupt
        | Code::HashMismatch
        | Code::BadName => Exit::Transfer,
        Code::BadRequest => Exit::Usage,
        // No command calls anybody.
        Code::CallDeclined
        | Code::CallBusy
        | Code::NoAnswer
        | Code::CallCancelled
        | Code::HungUp
        | Code::InACall
        | Code::MicMissing
        | Code::MicDenied
        | Code::MicBusy
        | Code::MicLost
        | Code::SpeakerMissing
        | Code::NotNow
        | Code::Unknown => Exit::Unexpected,
    }
}

/// Starts with a capital and ends with a full stop.
pub fn sentence(text: &str) -> String {
    let mut chars = text.trim_end_matches('.').chars();
    let first: String = chars
        .next()
        .map_or_else(String::new, |c| c.to_uppercase().collect());
    format!("{first}{}.", chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_code_stands_in_the_table_and_every_code_has_one() {
        for code in Code::ALL {
            let exit = exit_of(*code) as u8;
            let row = format!("{exit:>5}  ");
            assert!(TABLE.lines().any(|l| l.starts_with(&row)), "{code:?}");
        }
    }

    #[test]
    fn codes_mean_what_the_table_says() {
        for (code, exit) in [
            (Code::ServerUnreachable, 4),
            (Code::NotARoomServer, 4),
            (Code::RoomFull, 5),
            (Code::BadProof, 5),
            (Code::OfferGone, 6),
            (Code::DiskFull, 7),
            (Code::DiskDenied, 7),
            (Code::SourceChanged, 8),
            (Code::HomeInUse, 9),
            (Code::StoreBroken, 9),
            (Code::Corrupt, 10),
            (Code::PeerProtocol, 10),
            (Code::BadRequest, 2),
            (Code::Unknown, 1),
        ] {
            assert_eq!(exit_of(code) as u8, exit, "{code:?}");
        }
    }

    #[test]
    fn failures_are_sentences() {
        let bad: Failure = InviteError::CutOff.into();
        assert_eq!(
            bad.message,
            "The invite is cut off: the part after # is missing or incomplete."
        );
        assert_eq!(bad.exit, Exit::BadInvite);
        assert_eq!(sentence("done."), "Done.");
    }
}
