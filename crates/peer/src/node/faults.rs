//! What a disk error means to the two people of a transfer.

use kith_protocol::Code;

use crate::disk::{DiskError, DiskFault};

/// The code of an error at the receiver.
pub(crate) fn target_code(error: &DiskError) -> Code {
    match error.kind() {
        DiskFault::Full | DiskFault::TooLarge => Code::DiskFull,
        DiskFault::ReadOnly | DiskFault::Denied | DiskFault::Obstructed => Code::DiskDenied,
        DiskFault::Invalid => Code::BadName,
        DiskFault::SourceChanged | DiskFault::SourceMissing | DiskFault::Gone | DiskFault::Io => {
            Code::DiskError
        }
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
