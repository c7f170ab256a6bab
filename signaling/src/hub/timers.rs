//! What the hub waits for, in order.

use std::collections::BTreeSet;

use kith_protocol::RoomId;

use super::{At, ConnId};

/// What a deadline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// The drain is over.
    DrainOver,
    /// Idle addresses can be forgotten.
    Sweep,
    /// A connection should have joined.
    Join(ConnId),
    /// A connection is to be pinged.
    Beat(ConnId),
    /// TURN credentials are to be renewed.
    Ice(ConnId),
    /// A reader has been slow for too long.
    Slow(ConnId),
    /// A call has rung long enough.
    Ring(RoomId),
}

/// When something is due, and what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    /// When.
    pub at: At,
    /// What for.
    pub why: Why,
}

/// All deadlines. Whoever sets one keeps its time, to be able to drop it.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeSet<Deadline>);

impl Timers {
    pub fn set(&mut self, at: At, why: Why) {
        self.0.insert(Deadline { at, why });
    }

    pub fn drop(&mut self, at: At, why: Why) {
        self.0.remove(&Deadline { at, why });
    }

    pub fn first(&self) -> Option<Deadline> {
        self.0.first().copied()
    }

    pub fn pop_due(&mut self, now: At) -> Option<Why> {
        let first = self.first().filter(|d| d.at <= now)?;
        self.0.pop_first();
        Some(first.why)
    }
}
