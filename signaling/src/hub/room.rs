//! One room: who is in it, and their calls.

use kith_protocol::Sid;

use super::calls::Calls;
use super::{At, ConnId};

/// A room with at least one member; the hub frees it with the last.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// In the order they came. Rooms are small: a scan beats a map.
    members: Vec<(Sid, ConnId)>,
    pub calls: Calls,
    /// The time of the room's ring timer, while it is set.
    pub ring_at: Option<At>,
}

impl Room {
    pub fn members(&self) -> impl Iterator<Item = (Sid, ConnId)> + '_ {
        self.members.iter().copied()
    }

    pub fn others(&self, than: ConnId) -> impl Iterator<Item = (Sid, ConnId)> + '_ {
        self.members().filter(move |(_, c)| *c != than)
    }

    pub fn len(&self) -> usize {
        self.members.len()
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub fn conn(&self, sid: &Sid) -> Option<ConnId> {
        let found = self.members.iter().find(|(s, _)| s == sid);
        found.map(|(_, c)| *c)
    }

    pub fn add(&mut self, sid: Sid, conn: ConnId) {
        self.members.push((sid, conn));
    }

    pub fn remove(&mut self, conn: ConnId) {
        self.members.retain(|(_, c)| *c != conn);
    }
}
