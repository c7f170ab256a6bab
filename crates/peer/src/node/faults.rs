//! What a disk error means to the two people of a transfer.

use std::path::Path;

use kith_core::input::{FetchNews, Refusal};
use kith_protocol::Code;

use crate::disk::{DiskError, DiskFault, Target};

/// The code of an error at the receiver.
pub(crate) fn target_code(error: &DiskError) -> Code {
    match error.kind() {
        DiskFault::Full if matches!(error, DiskError::OverQuota { .. }) => Code::DiskQuota,
        DiskFault::Full | DiskFault::TooLarge => Code::DiskFull,
        DiskFault::ReadOnly => Code::DiskReadOnly,
        DiskFault::Denied | DiskFault::Obstructed => Code::DiskDenied,
        DiskFault::Gone => Code::DiskGone,
        DiskFault::Invalid => Code::BadName,
        DiskFault::SourceChanged | DiskFault::SourceMissing | DiskFault::Io => Code::DiskError,
    }
}

/// Why the disk does not take `needed` more bytes in `dir`, and how many lack if it is full.
pub(crate) fn refusal(error: &DiskError, dir: &Path, needed: u64) -> Refusal {
    let code = target_code(error);
    let lacks = |target: Target| {
        let missing = needed.saturating_sub(target.free_space().ok()?);
        (missing > 0).then_some(missing)
    };
    let full = code == Code::DiskFull;
    let missing = full.then(|| Target::open(dir).ok()).flatten();
    let missing = missing.and_then(lacks);
    Refusal { code, missing }
}

/// What a fetch worker that ends with this error says.
pub(crate) fn ending(error: &DiskError, dir: &Path, needed: u64) -> FetchNews {
    match error.kind() {
        DiskFault::Invalid => FetchNews::Failed(target_code(error)),
        DiskFault::Full
        | DiskFault::ReadOnly
        | DiskFault::Denied
        | DiskFault::TooLarge
        | DiskFault::Gone
        | DiskFault::SourceChanged
        | DiskFault::SourceMissing
        | DiskFault::Obstructed
        | DiskFault::Io => FetchNews::Refused(refusal(error, dir, needed)),
    }
}

/// The code of an error at the sender.
pub(crate) fn source_code(error: &DiskError) -> Code {
    match error.kind() {
        DiskFault::SourceChanged => Code::SourceChanged,
        DiskFault::SourceMissing | DiskFault::Denied | DiskFault::Gone | DiskFault::Obstructed => {
            Code::SourceGone
        }
        DiskFault::Full
        | DiskFault::ReadOnly
        | DiskFault::TooLarge
        | DiskFault::Invalid
        | DiskFault::Io => Code::DiskError,
    }
}
