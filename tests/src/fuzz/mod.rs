//! Fuzzing on stable and in process: every decoder, and the engine as a sequence of inputs.
//!
//! A [`Target`] takes any bytes, checks what must hold and returns what it made of them as a
//! number. Without instrumentation that number stands for coverage: an input with a new outcome
//! joins the pool that the next ones are mutated from. The mutations know JSON, numbers at their
//! limits and what is in the pool; a run with the same seed and time budget repeats itself.

mod decoders;
mod engine;
mod inputs;
mod mutate;
mod sealing;
mod seeds;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub use mutate::Rng;

/// Inputs to mutate at most; a new one then takes a random place.
const POOL: usize = 4096;
/// Longest input that is made, in bytes: over every limit of the wire.
const LONGEST: usize = 80 * 1024;

/// Something that takes bytes of a stranger.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// Takes an input, panics where an invariant breaks, and says what came out.
    pub run: fn(&[u8]) -> u64,
    /// Valid inputs to begin with, beside the corpus.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Whether inputs are text, which the mutations then keep mostly readable.
    pub text: bool,
    /// Longest input that is made for it, in bytes.
    pub longest: usize,
}

/// Every target.
pub fn targets() -> Vec<Target> {
    let mut all = decoders::targets();
    all.extend(sealing::targets());
    all.push(engine::target());
    all
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// Inputs tried.
    pub executions: u64,
    /// Different outcomes seen.
    pub outcomes: usize,
    /// The slowest input, and how long it took.
    pub slowest: Duration,
    /// The input that broke an invariant, if one did, and what it said.
    pub finding: Option<(Vec<u8>, String)>,
    /// The shortest input met for each shape, by [`shape`].
    pub shapes: BTreeMap<u32, Vec<u8>>,
}

/// Where the corpus of a target is.
pub fn corpus_dir(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name)
}

/// The committed inputs of a target, with their file names.
pub fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let Ok(dir) = std::fs::read_dir(corpus_dir(name)) else {
        return Vec::new();
    };
    let mut all: Vec<(String, Vec<u8>)> = dir
        .filter_map(|e| {
            let e = e.ok()?;
            let bytes = std::fs::read(e.path()).ok()?;
            Some((e.file_name().to_string_lossy().into_owned(), bytes))
        })
        .collect();
    all.sort();
    all
}

/// Runs one input; the text of its panic, if it panics.
pub fn try_input(target: &Target, input: &[u8]) -> Result<u64, String> {
    catch_unwind(AssertUnwindSafe(|| (target.run)(input))).map_err(|cause| {
        let text = cause.downcast_ref::<String>().cloned();
        text.or_else(|| cause.downcast_ref::<&str>().map(|s| (*s).to_string()))
            .unwrap_or_else(|| "a panic without a text".into())
    })
}

/// Tries inputs until the time is over, an invariant breaks, or somebody says `stop`.
pub fn fuzz(target: &Target, seed: u64, time: Duration, stop: &AtomicBool) -> Outcome {
    let mut rng = Rng::new(seed);
    let mut outcome = Outcome {
        executions: 0,
        outcomes: 0,
        slowest: Duration::ZERO,
        finding: None,
        shapes: BTreeMap::new(),
    };
    let mut pool: Vec<Vec<u8>> = Vec::new();
    let mut seen = HashSet::new();
    let mut waiting = (target.seeds)();
    waiting.extend(corpus(target.name).into_iter().map(|(_, bytes)| bytes));
    waiting.push(Vec::new());
    let end = Instant::now() + time;
    loop {
        let input = match waiting.pop() {
            Some(input) => input,
            None => mutate::next(&pool, target.text, target.longest, &mut rng),
        };
        let begun = Instant::now();
        let result = try_input(target, &input);
        outcome.executions += 1;
        outcome.slowest = outcome.slowest.max(begun.elapsed());
        match result {
            Ok(kind) if seen.insert(kind) => {
                match outcome.shapes.entry(shape(kind)) {
                    Entry::Vacant(e) => {
                        e.insert(input.clone());
                    }
                    Entry::Occupied(mut e) if e.get().len() > input.len() => {
                        e.insert(input.clone());
                    }
                    Entry::Occupied(_) => {}
                }
                if pool.len() < POOL {
                    pool.push(input);
                } else {
                    let at = rng.below(POOL);
                    pool[at] = input;
                }
            }
            Ok(_) => {}
            Err(text) => {
                outcome.finding = Some((input, text));
                break;
            }
        }
        if waiting.is_empty() && (Instant::now() >= end || stop.load(Ordering::Relaxed)) {
            break;
        }
    }
    outcome.outcomes = seen.len();
    outcome
}

/// A number for what came out: same shape, same number. The beginning counts, and then only how
/// it is nested and cut, so that new content alone is nothing new. The upper half is the
/// [`shape`], here the variant or the first words of the error.
pub(crate) fn kind(text: &str) -> u64 {
    let counts = |(at, b): &(usize, u8)| {
        !b.is_ascii_digit() && (*at < 24 || b.is_ascii_punctuation()) && *at < 400
    };
    let fine = hash(text.bytes().enumerate().filter(counts).map(|(_, b)| b));
    let mut words = 0;
    let first = text.bytes().take_while(|b| {
        words += u32::from(*b == b' ');
        words < 3 && (b.is_ascii_alphabetic() || *b == b' ')
    });
    hash(first) << 32 | fine & 0xffff_ffff
}

/// What came out where it has no text: which case, and how long it was by powers of two.
pub(crate) fn size(case: u64, len: usize) -> u64 {
    case << 32 | magnitude(len as u64)
}

/// The coarse part of an outcome: a corpus keeps one input for each.
pub fn shape(outcome: u64) -> u32 {
    (outcome >> 32) as u32
}

/// FNV-1a.
pub fn hash(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Sizes that count as different: powers of two.
pub(crate) fn magnitude(n: u64) -> u64 {
    u64::from(64 - n.leading_zeros())
}
