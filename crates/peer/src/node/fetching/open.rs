//! One file of a fetch while it is written.

use kith_protocol::ids::Digest;
use kith_protocol::ranges::RangeSet;
use kith_protocol::tree::Tree;

use crate::disk::{DiskError, PartFile};

/// An entry that is being written.
pub(super) struct Open {
    pub part: PartFile,
    pub size: u64,
    /// Verified and written.
    pub have: RangeSet,
    /// Of those: not yet given to the sync thread.
    pub fresh: RangeSet,
    /// Of those: known to be durable from the start.
    pub durable: RangeSet,
    /// Of those: received by this run, and compared with what who offers says of them.
    pub checked: RangeSet,
    /// Of those from the beginning on.
    pub tree: Tree,
}

impl Open {
    /// Of `size` bytes, with these chunks from before.
    pub fn new(part: PartFile, size: u64, have: RangeSet) -> Self {
        Open {
            part,
            size,
            durable: have.clone(),
            have,
            fresh: RangeSet::new(),
            checked: RangeSet::new(),
            tree: Tree::new(),
        }
    }

    /// Adds what the tree lacks: hashes of chunks that were compared with them when they came, and
    /// of all others what is on disk.
    pub fn finish_tree(&mut self, hashes: &[Digest], chunks: u64) -> Result<(), DiskError> {
        while self.tree.leaves() < chunks {
            let at = self.tree.leaves();
            let known = usize::try_from(at).ok().and_then(|i| hashes.get(i));
            if let Some(known) = known.filter(|_| self.checked.contains(at)) {
                self.tree.push(known);
            } else {
                let end = self.checked.next_held(at + 1).min(chunks);
                self.part.hash_up_to(&mut self.tree, end)?;
            }
        }
        Ok(())
    }
}
