//! What a hostile member of the room cannot do.
//!
//! Every test plays one trick on a real node (`floods`: on a real process) while an honest person
//! is in the same room. After each, nothing beside the download folder has changed, the honest two
//! chat and hand over a file, and the victim says what happened.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]
#![allow(clippy::print_stdout, reason = "measurements are worth reading")]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test picks the one change it waits for"
)]

mod confirming;
mod floods;
mod lanes;
mod manifests;
mod messages;
mod names;
mod negotiating;
mod passing;
mod serving;
mod silence;
mod strands;
