//! Files that an earlier run gave their names before it ended, without a record of it.
//!
//! A run that is killed between the two leaves complete files that nobody knows of. Received again,
//! they would stand beside themselves under numbered names.

use kith_core::input::FetchNews;
use kith_protocol::ids::Digest;
use kith_protocol::ranges::RangeSet;

use super::worker::Fetch;
use crate::disk::DiskError;

impl Fetch {
    /// Chunks that are there from before, though no record says so.
    pub(super) fn adopt(&mut self, adopted: &[(u32, RangeSet)]) {
        for (entry, ranges) in adopted {
            if self.placed.contains_key(entry) {
                // Of its part, nothing is there any more.
                self.before.remove(entry);
                self.claimed.insert(*entry);
            } else {
                self.before.insert(*entry, ranges.clone());
            }
        }
    }

    /// Takes the file that looks as if it were this entry, if it hashes to what is expected; `false`
    /// if it has to be received.
    pub(super) fn try_placed(&mut self, entry: u32, expected: Digest) -> Result<bool, DiskError> {
        let Some(placed) = self.placed.remove(&entry) else {
            return Ok(false);
        };
        let claimed = self.claimed.remove(&entry);
        let same = self.layout.root_of(&placed).is_ok_and(|r| r == expected);
        if same && let Ok(file) = self.layout.keep(entry, placed) {
            tracing::info!(entry, "it has its name already");
            let part = match self.open.remove(&entry) {
                Some(open) => Some(open.part),
                None if self.before.remove(&entry).is_some() => {
                    let size = self.size_of(entry);
                    Some(self.layout.part(entry, size)?)
                }
                None => None,
            };
            part.map_or(Ok(()), |part| part.discard())?;
            self.complete(entry, file);
            return Ok(true);
        }
        if claimed {
            let transfer = self.transfer;
            self.report.say(FetchNews::Mismatch { transfer, entry });
        }
        Ok(claimed)
    }
}
