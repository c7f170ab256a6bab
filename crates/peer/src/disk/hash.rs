//! SHA-256 of chunks and of whole files, taken together.

mod twin;

use std::fmt;

use sha2::block_api::compress256;
use sha2::{Digest as _, Sha256};

use self::twin::{Block, State, compress_both};

/// A SHA-256 value.
pub type Digest = [u8; 32];

/// FIPS 180-4 §5.3.3.
const START: State = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// SHA-256 of one chunk, as it stands in a frame.
pub fn chunk_digest(chunk: &[u8]) -> Digest {
    Sha256::digest(chunk).into()
}

/// The hash of a whole file while its bytes go by in order.
///
/// It keeps the blocks' state itself, around `sha2`'s compression, so that a chunk can go into
/// the file's hash and into its own at once: both together at 1,385 MB/s, where `sha2` gives 900
/// one after the other and 1,226 taking turns block by block. Hashing being the largest cost of a
/// transfer, that takes about 5 % off a sender's CPU time (2-core EPYC with SHA instructions).
#[derive(Clone)]
pub struct Sha256State {
    state: State,
    /// Bytes taken.
    len: u64,
    /// The first `len % 64` bytes are of a block that is not complete.
    tail: Block,
}

impl Default for Sha256State {
    fn default() -> Self {
        Sha256State {
            state: START,
            len: 0,
            tail: [0; 64],
        }
    }
}

impl Sha256State {
    /// The state before the first byte.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the file.
    pub fn update(&mut self, mut bytes: &[u8]) {
        let filled = self.filled();
        self.len += bytes.len() as u64;
        if filled > 0 {
            let (head, rest) = bytes.split_at(bytes.len().min(64 - filled));
            self.tail[filled..filled + head.len()].copy_from_slice(head);
            if filled + head.len() < 64 {
                return;
            }
            compress256(&mut self.state, &[self.tail]);
            bytes = rest;
        }
        let (blocks, rest) = bytes.as_chunks();
        compress256(&mut self.state, blocks);
        self.tail[..rest.len()].copy_from_slice(rest);
    }

    /// Takes the next chunk and gives the chunk's own hash, cheaper than the two separately.
    pub fn update_and_digest(&mut self, chunk: &[u8]) -> Digest {
        if self.filled() > 0 {
            // The two see different blocks.
            self.update(chunk);
            return chunk_digest(chunk);
        }
        let mut own = Sha256State::new();
        let (blocks, rest) = chunk.as_chunks();
        compress_both(&mut self.state, &mut own.state, blocks);
        for hash in [&mut *self, &mut own] {
            hash.len += chunk.len() as u64;
            hash.tail[..rest.len()].copy_from_slice(rest);
        }
        own.finish()
    }

    /// Takes the next chunk if its hash is `expected`; otherwise nothing changes and the answer
    /// is `false`.
    pub fn update_if(&mut self, chunk: &[u8], expected: &Digest) -> bool {
        let before = self.clone();
        let good = self.update_and_digest(chunk) == *expected;
        if !good {
            *self = before;
        }
        good
    }

    /// The hash of everything taken so far.
    pub fn finish(mut self) -> Digest {
        // A one bit, zeros, and the length in bits at the end of a block (§5.1.1).
        let filled = self.filled();
        self.tail[filled] = 0x80;
        self.tail[filled + 1..].fill(0);
        if filled + 1 > 56 {
            compress256(&mut self.state, &[self.tail]);
            self.tail = [0; 64];
        }
        self.tail[56..].copy_from_slice(&(self.len.wrapping_mul(8)).to_be_bytes());
        compress256(&mut self.state, &[self.tail]);
        let mut out = [0; 32];
        for (bytes, word) in out.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        out
    }

    fn filled(&self) -> usize {
        (self.len % 64) as usize
    }
}

impl fmt::Debug for Sha256State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sha256State")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn taking_turns_gives_the_same_hashes_as_one_after_the_other() {
        for len in [0, 1, 63, 64, 65, 1000, 65_535, 65_536] {
            let data: Vec<u8> = (0..len).map(|i| (i * 7 % 251) as u8).collect();
            let mut whole = Sha256State::new();
            whole.update(b"a start that is no whole block");
            assert_eq!(whole.update_and_digest(&data), chunk_digest(&data));
            let mut plain = Sha256::new();
            plain.update(b"a start that is no whole block");
            plain.update(&data);
            assert_eq!(whole.finish(), Digest::from(plain.finalize()));
        }
    }

    proptest! {
        #[test]
        fn any_pieces_hash_as_the_whole(
            pieces in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..300)), 0..20),
        ) {
            let mut ours = Sha256State::new();
            let mut plain = Sha256::new();
            for (with_own, piece) in &pieces {
                if *with_own {
                    prop_assert_eq!(ours.update_and_digest(piece), chunk_digest(piece));
                } else {
                    ours.update(piece);
                }
                plain.update(piece);
            }
            prop_assert_eq!(ours.finish(), Digest::from(plain.finalize()));
        }
    }

    #[test]
    fn a_bad_chunk_leaves_no_trace() {
        let mut whole = Sha256State::new();
        whole.update(b"abc");
        let before = whole.clone().finish();
        assert!(!whole.update_if(b"def", &[0; 32]));
        assert_eq!(whole.clone().finish(), before);
        assert!(whole.update_if(b"def", &chunk_digest(b"def")));
        assert_eq!(whole.finish(), chunk_digest(b"abcdef"));
    }
}
