//! One file of a fetch while it is written.

use std::collections::BTreeMap;

use kith_protocol::ids::Digest;
use kith_protocol::ranges::RangeSet;
use kith_protocol::tree::Tree;

use crate::disk::{DiskError, PartFile};

/// Hashes of chunks ahead of the tree that are kept at most, a few MB: chunks overtake one another by
/// a window, and after those of an earlier run comes all the rest. What is not kept is read back.
const MOST_EARLY: usize = 64 * 1024;

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
    tree: Tree,
    /// Hashes of those that this run wrote and the tree cannot take yet.
    early: BTreeMap<u64, Digest>,
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
            early: BTreeMap::new(),
        }
    }

    /// This chunk was written, and hashes to `digest`.
    pub fn wrote(&mut self, chunk: u64, digest: Digest) {
        let next = self.tree.leaves();
        if chunk > next && self.early.len() < MOST_EARLY {
            self.early.insert(chunk, digest);
        }
        if chunk == next {
            self.tree.push(&digest);
            while let Some(digest) = self.early.remove(&self.tree.leaves()) {
                self.tree.push(&digest);
            }
        }
    }

    /// The hash of the whole file, once every chunk is there.
    pub fn root(&self) -> Digest {
        self.tree.root(self.size)
    }

    /// Adds what the tree lacks: hashes that are kept, those with which chunks were compared when they
    /// came, and of all others what is on disk.
    pub fn finish_tree(&mut self, hashes: &[Digest], chunks: u64) -> Result<(), DiskError> {
        while self.tree.leaves() < chunks {
            let at = self.tree.leaves();
            let known = usize::try_from(at).ok().and_then(|i| hashes.get(i));
            if let Some(known) = known.filter(|_| self.checked.contains(at)) {
                self.tree.push(known);
            } else if let Some(digest) = self.early.remove(&at) {
                self.tree.push(&digest);
            } else {
                let early = self.early.range(at..).next().map_or(chunks, |(c, _)| *c);
                let end = self.checked.next_held(at + 1).min(early).min(chunks);
                self.part.hash_up_to(&mut self.tree, end)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

    use super::*;
    use crate::disk::{CHUNK, PartTag, SafePath, Target, chunk_digest};

    /// Writes chunks in this order into a file that had `before`, then spoils all of those on disk,
    /// and says whether the hash is right all the same.
    fn is_right_unread(before: u64, order: &[u64]) -> bool {
        let temp = tempfile::tempdir().unwrap();
        let target = Target::open(temp.path()).unwrap();
        let chunks: Vec<Vec<u8>> = (0..6u8).map(|n| vec![n; CHUNK]).collect();
        let size = (chunks.len() * CHUNK) as u64;
        let name = SafePath::from_wire("f").unwrap();
        let part = PartFile::create_or_open(&target, &name, PartTag(1), size).unwrap();
        for chunk in 0..before {
            part.write_chunk(chunk, &chunks[chunk as usize]).unwrap();
        }
        let mut open = Open::new(part, size, RangeSet::full(before));
        for &chunk in order {
            let bytes = &chunks[chunk as usize];
            open.part.write_chunk(chunk, bytes).unwrap();
            open.wrote(chunk, chunk_digest(bytes));
            open.part.write_chunk(chunk, &vec![0xff; CHUNK]).unwrap();
        }
        open.finish_tree(&[], 6).unwrap();
        let mut tree = Tree::new();
        chunks.iter().for_each(|c| tree.push(&chunk_digest(c)));
        open.root() == tree.root(size)
    }

    #[test]
    fn chunks_that_overtake_one_another_are_not_read_back() {
        for order in [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [1, 0, 3, 5, 2, 4]] {
            assert!(is_right_unread(0, &order), "{order:?}");
        }
    }

    #[test]
    fn of_a_file_that_goes_on_only_what_was_there_before_is_read_back() {
        for order in [[3, 4, 5], [5, 3, 4]] {
            assert!(is_right_unread(3, &order), "{order:?}");
        }
    }
}
