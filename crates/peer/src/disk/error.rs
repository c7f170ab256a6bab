use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// What a disk operation failed at. The text is one sentence for the user.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The filesystem has no blocks or no inodes left.
    #[error("There is no room left for {path:?}: free some space on that disk and continue.")]
    NoSpace {
        /// What was being written.
        path: PathBuf,
    },
    /// The user's quota on this filesystem is used up.
    #[error("Your disk quota leaves no room for {path:?}: free some of your files and continue.")]
    OverQuota {
        /// What was being written.
        path: PathBuf,
    },
    /// The filesystem is mounted read-only.
    #[error(
        "The disk that holds {path:?} is read-only: make it writable or choose another folder."
    )]
    ReadOnly {
        /// What was being written.
        path: PathBuf,
    },
    /// Permissions forbid it.
    #[error("You may not use {path:?}: change its permissions or choose another place.")]
    Denied {
        /// What was being opened, read or written.
        path: PathBuf,
    },
    /// The filesystem or a process limit does not allow a file this long.
    #[error("{path:?} is too large for that disk: choose a folder on another disk.")]
    TooLarge {
        /// What was being written.
        path: PathBuf,
    },
    /// The unfinished file or its folder was removed, replaced or cut short by somebody else.
    #[error("The unfinished data of {path:?} was removed: start this file again.")]
    PartGone {
        /// The file that was being received.
        path: PathBuf,
    },
    /// The file being sent is no longer the one that was offered.
    #[error("{path:?} changed after it was offered: offer it again.")]
    SourceChanged {
        /// The file that was being sent.
        path: PathBuf,
    },
    /// The file being sent does not exist any more.
    #[error("{path:?} does not exist: check the name, or offer another file.")]
    SourceMissing {
        /// The file that was being sent.
        path: PathBuf,
    },
    /// Something that is not what is expected (a link, a file, a folder) has the needed name.
    #[error(
        "Something else is in the way at {path:?}, perhaps a link: move it away and try again."
    )]
    Obstructed {
        /// The name that is taken.
        path: PathBuf,
    },
    /// Every numbered variant of the final name is taken.
    #[error("Every name like {path:?} is taken: tidy that folder and try again.")]
    NoFreeName {
        /// The name that was wanted.
        path: PathBuf,
    },
    /// The given paths hold more entries than one offer may have.
    #[error("{path:?} brings the offer to too many files: offer fewer at once.")]
    TooMany {
        /// The entry that was one too many.
        path: PathBuf,
    },
    /// A chunk index, a buffer or a length does not fit the file.
    #[error("A piece of {path:?} does not fit its size: start this file again.")]
    OutOfRange {
        /// The file in question.
        path: PathBuf,
    },
    /// The file has not all of its bytes yet.
    #[error("{path:?} is not complete, {have} of {size} bytes: continue to receive it.")]
    Incomplete {
        /// The file that was being received.
        path: PathBuf,
        /// Bytes in the part file.
        have: u64,
        /// Bytes of the whole file.
        size: u64,
    },
    /// A name in an offer that cannot be made safe.
    #[error("{path:?} is not a name that can be written: ask for the file under another name.")]
    BadName {
        /// The name, as offered.
        path: PathBuf,
    },
    /// The device reports an error of its own.
    #[error("The disk failed at {path:?}: check that disk and try again.")]
    Failing {
        /// What was being read or written.
        path: PathBuf,
    },
    /// Any other answer of the operating system.
    #[error("{path:?} cannot be used ({source}): try again or choose another place.")]
    Io {
        /// What was being read or written.
        path: PathBuf,
        /// The system's own answer.
        source: io::Error,
    },
}

/// The kinds of disk trouble that a caller treats differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DiskFault {
    /// No space, no inodes, or no quota: pause until there is room.
    Full,
    /// The filesystem is read-only: pause.
    ReadOnly,
    /// Permissions: refuse before the first byte, otherwise pause.
    Denied,
    /// The filesystem cannot hold a file of this length: fail.
    TooLarge,
    /// The part file is no longer there or no longer whole: begin this file again.
    Gone,
    /// The source is another file than the one offered: withdraw it.
    SourceChanged,
    /// The source is no longer there: withdraw it.
    SourceMissing,
    /// A link or something else is where a file or folder of ours belongs: fail.
    Obstructed,
    /// The request does not fit the file or a limit: a fault of the caller or the peer.
    Invalid,
    /// The device or the system failed: try again a few times, then fail.
    Io,
}

impl DiskError {
    /// What a caller does next.
    pub fn kind(&self) -> DiskFault {
        match self {
            Self::NoSpace { .. } | Self::OverQuota { .. } => DiskFault::Full,
            Self::ReadOnly { .. } => DiskFault::ReadOnly,
            Self::Denied { .. } => DiskFault::Denied,
            Self::TooLarge { .. } => DiskFault::TooLarge,
            Self::PartGone { .. } => DiskFault::Gone,
            Self::SourceChanged { .. } => DiskFault::SourceChanged,
            Self::SourceMissing { .. } => DiskFault::SourceMissing,
            Self::Obstructed { .. } | Self::NoFreeName { .. } => DiskFault::Obstructed,
            Self::TooMany { .. }
            | Self::OutOfRange { .. }
            | Self::Incomplete { .. }
            | Self::BadName { .. } => DiskFault::Invalid,
            Self::Failing { .. } | Self::Io { .. } => DiskFault::Io,
        }
    }

    /// Reads the system's answer about something in a download folder.
    pub(super) fn target(path: &Path, error: impl Into<io::Error>) -> Self {
        let missing = |path| Self::PartGone { path };
        let in_the_way = |path| Self::Obstructed { path };
        Self::read(path, error.into(), missing, in_the_way)
    }

    /// Reads the system's answer about something that is being sent.
    pub(super) fn source(path: &Path, error: impl Into<io::Error>) -> Self {
        let missing = |path| Self::SourceMissing { path };
        // A link or a folder stands where a plain file was found before.
        let in_the_way = |path| Self::SourceChanged { path };
        Self::read(path, error.into(), missing, in_the_way)
    }

    fn read(
        path: &Path,
        source: io::Error,
        missing: impl FnOnce(PathBuf) -> Self,
        in_the_way: impl FnOnce(PathBuf) -> Self,
    ) -> Self {
        let path = path.to_path_buf();
        match Errno::from_io_error(&source) {
            Some(Errno::NOSPC) => Self::NoSpace { path },
            Some(Errno::DQUOT) => Self::OverQuota { path },
            Some(Errno::ROFS) => Self::ReadOnly { path },
            Some(Errno::ACCESS | Errno::PERM) => Self::Denied { path },
            Some(Errno::FBIG) => Self::TooLarge { path },
            Some(Errno::IO) => Self::Failing { path },
            Some(Errno::NOENT | Errno::STALE) => missing(path),
            Some(Errno::LOOP | Errno::NOTDIR | Errno::ISDIR | Errno::EXIST) => in_the_way(path),
            // The capability layer words some refusals itself, without a system code.
            None if source.kind() == io::ErrorKind::PermissionDenied => Self::Denied { path },
            Some(_) | None => Self::Io { path, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_system_answer_has_its_kind_and_a_sentence_with_the_path() {
        let table = [
            (Errno::NOSPC, DiskFault::Full),
            (Errno::DQUOT, DiskFault::Full),
            (Errno::ROFS, DiskFault::ReadOnly),
            (Errno::ACCESS, DiskFault::Denied),
            (Errno::PERM, DiskFault::Denied),
            (Errno::FBIG, DiskFault::TooLarge),
            (Errno::NOENT, DiskFault::Gone),
            (Errno::LOOP, DiskFault::Obstructed),
            (Errno::IO, DiskFault::Io),
            (Errno::MFILE, DiskFault::Io),
        ];
        for (errno, kind) in table {
            let error = DiskError::target(Path::new("/d/a\nb"), errno);
            assert_eq!(error.kind(), kind, "{errno:?}");
            let text = error.to_string();
            assert!(text.contains(r#""/d/a\nb""#), "{text}");
            assert!(text.ends_with('.'), "{text}");
        }
    }

    #[test]
    fn the_source_side_tells_missing_from_changed() {
        let path = Path::new("x");
        assert_eq!(
            DiskError::source(path, Errno::NOENT).kind(),
            DiskFault::SourceMissing
        );
        assert_eq!(
            DiskError::source(path, Errno::LOOP).kind(),
            DiskFault::SourceChanged
        );
    }
}
