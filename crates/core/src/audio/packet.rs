//! What the first bytes of an Opus packet tell without a decoder (RFC 6716 section 3.1).

use super::FRAME;

/// Longer ones do not exist (RFC 6716 section 3.4, R5): 120 ms, in frames of 20 ms.
const LONGEST: usize = 6;
/// Opus sends so little where there is only silence to tell of.
const SILENCE: usize = 2;

/// How many frames of 20 ms a packet decodes to. `None` if that is no whole number of them, or if
/// it is no packet.
pub(super) fn frames(payload: &[u8]) -> Option<u32> {
    let toc = usize::from(*payload.first()?);
    let count = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => usize::from(payload.get(1)? & 0x3f),
    };
    let samples = count * coded(toc >> 3);
    let frames = samples / FRAME;
    let whole = samples.is_multiple_of(FRAME) && (1..=LONGEST).contains(&frames);
    u32::try_from(frames).ok().filter(|_| whole)
}

/// Whether the sender falls silent with it (DTX).
pub(super) fn is_silence(payload: &[u8]) -> bool {
    payload.len() <= SILENCE
}

/// Samples in each of the frames that a packet of this configuration is made of.
fn coded(config: usize) -> usize {
    let (shortest, step) = match config {
        // Silk: 10, 20, 40 and 60 ms.
        0..12 if config % 4 == 3 => return 3 * FRAME,
        0..12 => (FRAME / 2, config % 4),
        // Both together: 10 and 20 ms.
        12..16 => (FRAME / 2, config % 2),
        // Celt: 2.5, 5, 10 and 20 ms.
        _ => (FRAME / 8, config % 4),
    };
    shortest << step
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_packet_tells_how_long_it_is() {
        let toc = |config: u8, code: u8| config << 3 | code;
        for (payload, want) in [
            (vec![toc(1, 0), 9], Some(1)),
            (vec![toc(2, 0), 9], Some(2)),
            (vec![toc(3, 0), 9], Some(3)),
            (vec![toc(3, 2), 9], Some(6)),
            (vec![toc(3, 3), 3], None),
            (vec![toc(13, 0)], Some(1)),
            (vec![toc(12, 1)], Some(1)),
            (vec![toc(31, 0)], Some(1)),
            (vec![toc(31, 3), 0xc3, 9], Some(3)),
            (vec![toc(31, 3), 0], None),
            (vec![toc(31, 3)], None),
            (vec![toc(28, 3), 8], Some(1)),
            (vec![toc(28, 0)], None),
            (vec![toc(30, 0)], None),
            (vec![], None),
        ] {
            assert_eq!(frames(&payload), want, "{payload:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_of_no_unheard_length(payload: Vec<u8>) {
            prop_assert!(frames(&payload).is_none_or(|n| (1..=6).contains(&n)));
        }
    }
}
