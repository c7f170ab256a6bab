//! Numbers as JavaScript can hold them.
//!
//! JavaScript reads every JSON number as a double, which is exact up to 2^53 - 1. Counters, times
//! and sizes stay far below it, so they cross as plain numbers; what a hostile peer claims beyond
//! it is cut there. No value that a front end sends back can come near that bound.

use serde::Serializer;

/// The largest integer that a JavaScript number holds exactly.
pub const MAX_SAFE: u64 = (1 << 53) - 1;

/// For `#[serde(serialize_with)]`.
#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
pub(crate) fn number<S: Serializer>(value: &u64, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_u64((*value).min(MAX_SAFE))
}

/// For `#[serde(serialize_with)]`.
#[allow(clippy::ref_option, reason = "serde passes a reference")]
pub(crate) fn maybe<S: Serializer>(value: &Option<u64>, s: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => number(value, s),
        None => s.serialize_none(),
    }
}
