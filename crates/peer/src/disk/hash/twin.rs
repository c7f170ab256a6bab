//! Two SHA-256 states fed with the same blocks at once (FIPS 180-4 §6.2.2).
//!
//! A chunk counts towards two hashes, its own and the file's. Both see the same blocks, so the
//! message schedule is worked out once; and as one state's rounds each wait for the one before,
//! the other state's rounds fill the processor in between. Where the processor has no SHA
//! instructions, `sha2` does one after the other.

use sha2::block_api::compress256;

/// The working state of SHA-256.
pub(super) type State = [u32; 8];
/// A block of the message.
pub(super) type Block = [u8; 64];

/// Takes `blocks` into both states.
pub(super) fn compress_both(a: &mut State, b: &mut State, blocks: &[Block]) {
    #[cfg(target_arch = "x86_64")]
    if x86::is_available() {
        x86::compress_both(a, b, blocks);
        return;
    }
    compress256(a, blocks);
    compress256(b, blocks);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Block, State};

    /// Round constants, FIPS 180-4 §4.2.2.
    #[rustfmt::skip]
    const K: [u32; 64] = [
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
    ];

    pub fn is_available() -> bool {
        is_x86_feature_detected!("sha")
            && is_x86_feature_detected!("ssse3")
            && is_x86_feature_detected!("sse4.1")
    }

    pub fn compress_both(a: &mut State, b: &mut State, blocks: &[Block]) {
        debug_assert!(is_available());
        // SAFETY: the caller has seen that the processor has these features, and nothing else is
        // asked of it: the function touches no memory but through references.
        #[allow(unsafe_code)]
        unsafe {
            rounds(a, b, blocks);
        }
    }

    /// One state as the SHA instructions want it: words a, b, e, f and c, d, g, h, highest first.
    #[derive(Clone, Copy)]
    struct Halves {
        abef: __m128i,
        cdgh: __m128i,
    }

    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn rounds(a: &mut State, b: &mut State, blocks: &[Block]) {
        let (mut x, mut y) = (split(a), split(b));
        for block in blocks {
            let (x0, y0) = (x, y);
            let mut w = schedule_start(block);
            for quad in 0..16 {
                let k = &K[quad * 4..quad * 4 + 4];
                let k = _mm_set_epi32(k[3] as i32, k[2] as i32, k[1] as i32, k[0] as i32);
                let wk = _mm_add_epi32(w[quad % 4], k);
                let wk_high = _mm_shuffle_epi32::<0x0e>(wk);
                x.cdgh = _mm_sha256rnds2_epu32(x.cdgh, x.abef, wk);
                y.cdgh = _mm_sha256rnds2_epu32(y.cdgh, y.abef, wk);
                x.abef = _mm_sha256rnds2_epu32(x.abef, x.cdgh, wk_high);
                y.abef = _mm_sha256rnds2_epu32(y.abef, y.cdgh, wk_high);
                // Words 16 to 63 follow from the sixteen before (§6.2.2 step 1).
                if quad < 12 {
                    let next = _mm_sha256msg1_epu32(w[quad % 4], w[(quad + 1) % 4]);
                    let nine = _mm_alignr_epi8::<4>(w[(quad + 3) % 4], w[(quad + 2) % 4]);
                    let next = _mm_add_epi32(next, nine);
                    w[quad % 4] = _mm_sha256msg2_epu32(next, w[(quad + 3) % 4]);
                }
            }
            x = add(x, x0);
            y = add(y, y0);
        }
        *a = join(x);
        *b = join(y);
    }

    #[target_feature(enable = "sse4.1")]
    fn split(s: &State) -> Halves {
        let s = s.map(u32::cast_signed);
        Halves {
            abef: _mm_set_epi32(s[0], s[1], s[4], s[5]),
            cdgh: _mm_set_epi32(s[2], s[3], s[6], s[7]),
        }
    }

    #[target_feature(enable = "sse4.1")]
    fn join(h: Halves) -> State {
        [
            _mm_extract_epi32::<3>(h.abef),
            _mm_extract_epi32::<2>(h.abef),
            _mm_extract_epi32::<3>(h.cdgh),
            _mm_extract_epi32::<2>(h.cdgh),
            _mm_extract_epi32::<1>(h.abef),
            _mm_extract_epi32::<0>(h.abef),
            _mm_extract_epi32::<1>(h.cdgh),
            _mm_extract_epi32::<0>(h.cdgh),
        ]
        .map(i32::cast_unsigned)
    }

    #[target_feature(enable = "sse4.1")]
    fn add(a: Halves, b: Halves) -> Halves {
        Halves {
            abef: _mm_add_epi32(a.abef, b.abef),
            cdgh: _mm_add_epi32(a.cdgh, b.cdgh),
        }
    }

    /// The block's sixteen big-endian words, four to a vector, lowest first.
    #[target_feature(enable = "ssse3")]
    fn schedule_start(block: &Block) -> [__m128i; 4] {
        let big_endian = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
        let half = |at: usize| {
            let mut bytes = [0u8; 8];
            bytes.copy_from_slice(&block[at..at + 8]);
            i64::from_le_bytes(bytes)
        };
        let load = |i: usize| {
            let bytes = _mm_set_epi64x(half(i * 16 + 8), half(i * 16));
            _mm_shuffle_epi8(bytes, big_endian)
        };
        [load(0), load(1), load(2), load(3)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_states_are_as_if_each_were_alone(
            a: [u32; 8],
            b: [u32; 8],
            bytes in prop::collection::vec(any::<u8>(), 0..1024),
        ) {
            let (blocks, _) = bytes.as_chunks::<64>();
            let (mut x, mut y) = (a, b);
            compress_both(&mut x, &mut y, blocks);
            let (mut alone_x, mut alone_y) = (a, b);
            compress256(&mut alone_x, blocks);
            compress256(&mut alone_y, blocks);
            prop_assert_eq!(x, alone_x);
            prop_assert_eq!(y, alone_y);
        }
    }
}
