//! The hash of a whole file: the root of a tree over the hashes of its chunks.
//!
//! The chunks are hashed anyway, for their frames, so the file's hash costs 64 bytes more for each;
//! a plain hash over all bytes would cost as much again as everything else that is hashed. Chunks
//! may also be checked against the tree in any order, and parts of it by themselves.
//!
//! ```text
//! leaf = SHA-256(chunk)            node = SHA-256(1 ‖ left ‖ right)
//! top  = the leaf, or node(top of the largest 2^k < n leaves, top of the others)   (RFC 9162 §2.1)
//! root = H("kith1/file", size, top)    H: see `derive`; size as 8 big-endian bytes; no leaf: no top
//! ```
//!
//! The size gives the tree its shape, so no chunk can pass for a node.

use sha2::{Digest as _, Sha256};

use crate::derive;
use crate::ids::Digest;

/// A tree that grows leaf by leaf. It holds one hash for each bit of their number.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    leaves: u64,
    /// The tops of complete subtrees, the largest first: one for each bit set in `leaves`.
    tops: Vec<[u8; 32]>,
}

impl Tree {
    /// A tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Leaves so far; the next one is of the chunk of this index.
    pub fn leaves(&self) -> u64 {
        self.leaves
    }

    /// Adds the hash of the next chunk.
    pub fn push(&mut self, chunk: &Digest) {
        let mut top = chunk.0;
        // Subtrees of the same height join.
        for _ in 0..self.leaves.trailing_ones() {
            if let Some(left) = self.tops.pop() {
                top = node(&left, &top);
            }
        }
        self.tops.push(top);
        self.leaves += 1;
    }

    /// The hash of a file of `size` bytes whose chunks these are.
    pub fn root(&self, size: u64) -> Digest {
        let top = self.tops.iter().rev().copied().reduce(|r, l| node(&l, &r));
        let top = top.as_ref().map_or(&[][..], |top| &top[..]);
        Digest(derive::hash(&[b"kith1/file", &size.to_be_bytes(), top]))
    }
}

fn node(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update([1]);
    hash.update(left);
    hash.update(right);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn leaf(i: u64) -> Digest {
        Digest(Sha256::digest(i.to_be_bytes()).into())
    }

    /// As the definition reads.
    fn top(leaves: &[Digest]) -> [u8; 32] {
        if let [leaf] = leaves {
            return leaf.0;
        }
        let left = 1 << (leaves.len() - 1).ilog2();
        node(&top(&leaves[..left]), &top(&leaves[left..]))
    }

    fn root(leaves: u64, size: u64) -> Digest {
        let mut tree = Tree::new();
        for i in 0..leaves {
            assert_eq!(tree.leaves(), i);
            tree.push(&leaf(i));
        }
        tree.root(size)
    }

    proptest! {
        #[test]
        fn leaf_by_leaf_is_as_defined(n in 1u64..300, size in any::<u64>()) {
            let leaves: Vec<_> = (0..n).map(leaf).collect();
            let parts: [&[u8]; 3] = [b"kith1/file", &size.to_be_bytes(), &top(&leaves)];
            prop_assert_eq!(root(n, size), Digest(derive::hash(&parts)));
        }
    }

    #[test]
    fn size_number_and_order_count() {
        let mut swapped = Tree::new();
        swapped.push(&leaf(1));
        swapped.push(&leaf(0));
        let all = [
            root(0, 0),
            root(0, 1),
            root(1, 1),
            root(2, 1),
            root(2, 2),
            root(3, 2),
            swapped.root(2),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|b| a != b), "{i}");
        }
    }

    /// What any other implementation must come to: computed with Python's `hashlib`.
    #[test]
    fn known_answers() {
        let known = [
            (
                0,
                0,
                "4745f0684250d822a4301c280c77fc412d97084fae9eb00d5a904e7b377ccc1d",
            ),
            (
                1,
                8,
                "9eb62e2c70694bd2e2a59912d24a92d89ae0a11fd4df7f1f2d0e7c8e4ea5b2de",
            ),
            (
                5,
                40,
                "49194473e8ba54d750442897cd902442e175027db230c1d32868dd0c1375a1e6",
            ),
        ];
        for (leaves, size, hex) in known {
            let root = root(leaves, size).0;
            let ours: String = root.iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(ours, hex, "{leaves} leaves");
        }
    }
}
