//! New inputs from old ones.

/// A small random source with a seed (SplitMix64).
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The same seed, the same numbers.
    pub fn new(seed: u64) -> Self {
        Rng(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 where `n` is.
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 {
            return 0;
        }
        (self.number() % n as u64) as usize
    }
}

/// Texts that break parsers: numbers at their limits, nesting, escapes, names of other machines.
const WORDS: [&str; 40] = [
    "0",
    "-1",
    "1",
    "65535",
    "65536",
    "65537",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1e400",
    "-0.0",
    "null",
    "true",
    "[]",
    "{}",
    "\"\"",
    "[[0,1]]",
    "[[0,18446744073709551615]]",
    "[[1,1]]",
    "\\u0000",
    "\\ud800",
    "\u{202e}",
    "\u{fffd}",
    "é",
    "e\u{301}",
    "../",
    "/etc/x",
    "C:\\\\x",
    "CON",
    "con.txt",
    ".",
    "..",
    "\r",
    "\r\n",
    "a=fingerprint:sha-256 ",
    "a=candidate:",
    "AAAAAAAAAAAAAAAAAAAAAA",
];

/// An input made from the pool by a few changes.
pub(super) fn next(pool: &[Vec<u8>], text: bool, longest: usize, rng: &mut Rng) -> Vec<u8> {
    let mut input = pick(pool, rng).to_vec();
    for _ in 0..=rng.below(4) {
        change(&mut input, pool, text, rng);
    }
    input.truncate(longest);
    input
}

fn pick<'a>(pool: &'a [Vec<u8>], rng: &mut Rng) -> &'a [u8] {
    // Half of the time one of the newest, which lead somewhere new.
    let newest = pool.len().min(32);
    let at = if rng.below(2) == 0 {
        pool.len() - newest + rng.below(newest)
    } else {
        rng.below(pool.len())
    };
    pool.get(at).map_or(&[], Vec::as_slice)
}

fn change(input: &mut Vec<u8>, pool: &[Vec<u8>], text: bool, rng: &mut Rng) {
    let kinds = if text { 12 } else { 9 };
    match rng.below(kinds) {
        0 => flip(input, rng),
        1 => {
            let at = rng.below(input.len() + 1);
            input.insert(at, rng.number() as u8);
        }
        2 => {
            let cut = span(input, rng);
            input.drain(cut);
        }
        3 => {
            let copied = input[span(input, rng)].to_vec();
            let at = rng.below(input.len() + 1);
            input.splice(at..at, copied);
        }
        4 => {
            let other = pick(pool, rng);
            let piece = other[span(other, rng)].to_vec();
            let place = span(input, rng);
            input.splice(place, piece);
        }
        5 => number(input, rng),
        6 => {
            let to = rng.below(input.len() + 1);
            input.truncate(to);
        }
        7 => {
            let piece = input[span(input, rng)].to_vec();
            let times = [2, 16, 300, 2000][rng.below(4)];
            if piece.len() * times < 64 * 1024 {
                let at = rng.below(input.len() + 1);
                input.splice(at..at, piece.repeat(times));
            }
        }
        8 => input.extend(std::iter::repeat_with(|| rng.number() as u8).take(16)),
        9 => word(input, rng),
        10 => value(input, rng),
        _ => {
            let depth = [2, 64, 200, 5000][rng.below(4)];
            let (open, close) = [("[", "]"), ("{\"a\":", "}")][rng.below(2)];
            let at = rng.below(input.len() + 1);
            let nested = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            input.splice(at..at, nested.into_bytes());
        }
    }
}

fn flip(input: &mut [u8], rng: &mut Rng) {
    if !input.is_empty() {
        let at = rng.below(input.len());
        input[at] ^= 1 << rng.below(8);
    }
}

/// Some stretch of the input, mostly short.
fn span(input: &[u8], rng: &mut Rng) -> std::ops::Range<usize> {
    let from = rng.below(input.len() + 1);
    let most = if rng.below(4) == 0 { input.len() } else { 16 };
    from..(from + rng.below(most + 1)).min(input.len())
}

/// Overwrites a binary number with one at its limits.
fn number(input: &mut [u8], rng: &mut Rng) {
    const AT: [u64; 8] = [0, 1, 0xff, 0xffff, 0x1_0000, 0xffff_ffff, 1 << 63, u64::MAX];
    let width = [1, 2, 4, 8][rng.below(4)];
    if input.len() < width {
        return;
    }
    let at = rng.below(input.len() - width + 1);
    let n = AT[rng.below(AT.len())]
        .wrapping_add(rng.below(3) as u64)
        .wrapping_sub(1);
    let bytes = if rng.below(2) == 0 {
        n.to_le_bytes()
    } else {
        n.rotate_right(8 * width as u32).to_be_bytes()
    };
    input[at..at + width].copy_from_slice(&bytes[..width]);
}

fn word(input: &mut Vec<u8>, rng: &mut Rng) {
    let word = WORDS[rng.below(WORDS.len())];
    let place = span(input, rng);
    input.splice(place, word.bytes());
}

/// Replaces a JSON value: what stands between `:` or `,` and the next `,` or bracket.
fn value(input: &mut Vec<u8>, rng: &mut Rng) {
    let starts: Vec<usize> = input
        .iter()
        .enumerate()
        .filter(|(_, b)| matches!(b, b':' | b',' | b'['))
        .map(|(i, _)| i + 1)
        .collect();
    if starts.is_empty() {
        return;
    }
    let from = starts[rng.below(starts.len())];
    let len = input[from..]
        .iter()
        .position(|b| matches!(b, b',' | b'}' | b']'));
    let to = len.map_or(input.len(), |n| from + n);
    let word = WORDS[rng.below(WORDS.len())];
    let new = if rng.below(2) == 0 {
        format!("\"{word}\"")
    } else {
        word.to_string()
    };
    input.splice(from..to, new.into_bytes());
}
