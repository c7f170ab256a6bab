use std::fmt;

use sha2::{Digest as _, Sha256};

/// A SHA-256 value.
pub type Digest = [u8; 32];

/// SHA-256's own block. Two independent hashes that take turns at this grain overlap in the
/// processor's pipeline, which one hash alone leaves half empty.
const BLOCK: usize = 64;

/// SHA-256 of one chunk, as it stands in a frame.
pub fn chunk_digest(chunk: &[u8]) -> Digest {
    Sha256::digest(chunk).into()
}

/// The hash of a whole file while its bytes go by in order.
#[derive(Clone, Default)]
pub struct Sha256State(Sha256);

impl Sha256State {
    /// The state before the first byte.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the file.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Takes the next chunk and gives the chunk's own hash, cheaper than the two separately.
    pub fn update_and_digest(&mut self, chunk: &[u8]) -> Digest {
        let mut own = Sha256::new();
        for block in chunk.chunks(BLOCK) {
            own.update(block);
            self.0.update(block);
        }
        own.finalize().into()
    }

    /// Takes the next chunk if its hash is `expected`; otherwise nothing changes and the answer
    /// is `false`.
    pub fn update_if(&mut self, chunk: &[u8], expected: &Digest) -> bool {
        let before = self.0.clone();
        let good = self.update_and_digest(chunk) == *expected;
        if !good {
            self.0 = before;
        }
        good
    }

    /// The hash of everything taken so far.
    pub fn finish(self) -> Digest {
        self.0.finalize().into()
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
