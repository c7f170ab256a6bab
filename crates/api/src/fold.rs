//! What a front end does with changes: the reference that others are tested against.

use crate::{Change, Changes, Snapshot};

/// Something is missing between a snapshot and the changes: hydrate again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("changes after revision {after} do not follow revision {rev}")]
pub struct Gap {
    /// What the snapshot stands for.
    pub rev: u64,
    /// What the changes build on.
    pub after: u64,
}

impl Snapshot {
    /// Applies changes. Messages are not part of a snapshot and are passed over.
    ///
    /// Changes that a snapshot already holds may come again, as it is read while they are under
    /// way; what follows them puts right what they put back.
    ///
    /// # Errors
    ///
    /// [`Gap`], and nothing is changed.
    pub fn apply(&mut self, changes: &Changes) -> Result<(), Gap> {
        if changes.after > self.rev {
            return Err(Gap {
                rev: self.rev,
                after: changes.after,
            });
        }
        for change in &changes.changes {
            self.apply_one(change);
        }
        self.rev = self.rev.max(changes.rev);
        Ok(())
    }

    fn apply_one(&mut self, change: &Change) {
        match change {
            Change::Me(me) => self.me = me.clone(),
            Change::Room(new) => put(&mut self.rooms, new, |r| r.room),
            Change::RoomGone { room } => {
                self.rooms.retain(|r| r.room != *room);
                self.people.retain(|p| p.room != *room);
                self.offers.retain(|o| o.room != *room);
            }
            Change::Person(new) => put(&mut self.people, new, |p| (p.room, p.peer)),
            Change::Offer(new) => put(&mut self.offers, new, |o| (o.room, o.from, o.offer)),
            Change::Message(_) => {}
            Change::Transfers(new) => self.transfers = new.clone(),
        }
    }
}

/// In place of the one with the same key, or at the end.
fn put<T: Clone, K: PartialEq>(list: &mut Vec<T>, new: &T, key: impl Fn(&T) -> K) {
    match list.iter_mut().find(|old| key(old) == key(new)) {
        Some(old) => *old = new.clone(),
        None => list.push(new.clone()),
    }
}
