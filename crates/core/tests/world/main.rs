//! Real engines in a world that is not: one virtual clock, one seed, a room server, seals, links,
//! stores and disks that do what the effects say, and faults on demand.
//!
//! After every input the world checks what must hold always: events folded over the last snapshot
//! give the next one, no deadline lies in the past, no engine spins.

// Everything here is a test, helpers too.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

mod files;
mod fold;
mod net;
mod node;
mod seal;
mod server;
mod sim;
mod store;

mod scenarios;
