//! `fuzz [TARGET…] [--minutes N] [--jobs N] [--seed N] [--keep]`: tries new inputs, on as many
//! targets at a time as there are cores, for so long each. A finding is saved in its corpus, where
//! the tests replay it from then on. `--keep` writes the corpora anew, an input for each shape.

#![allow(clippy::print_stdout, reason = "a program that talks")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kith_tests::fuzz::{Target, corpus_dir, fuzz, hash, targets};

/// Inputs that a corpus keeps beside what was once found.
const KEPT: usize = 36;

struct Options {
    targets: Vec<Target>,
    time: Duration,
    jobs: usize,
    seed: u64,
    keep: bool,
}

fn main() {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(text) => {
            println!("{text}");
            std::process::exit(2);
        }
    };
    // A panic is a finding and told as one.
    std::panic::set_hook(Box::new(|_| {}));
    let found = AtomicBool::new(false);
    let queue: Mutex<VecDeque<&Target>> = Mutex::new(options.targets.iter().collect());
    let next = || queue.lock().ok()?.pop_front();
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.min(options.targets.len()) {
            scope.spawn(|| {
                while let Some(target) = next() {
                    found.fetch_or(run(target, &options), Ordering::Relaxed);
                }
            });
        }
    });
    if found.into_inner() {
        std::process::exit(1);
    }
}

/// One target; whether something was found.
fn run(target: &Target, options: &Options) -> bool {
    let name = target.name;
    let begun = Instant::now();
    let never = AtomicBool::new(false);
    let outcome = fuzz(target, options.seed, options.time, &never);
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{name:12} {:>10} executions in {seconds:.0} s, {:>7.0}/s, {:>5} outcomes, \
         slowest {:>5.1} ms, {} findings",
        outcome.executions,
        outcome.executions as f64 / seconds,
        outcome.outcomes,
        outcome.slowest.as_secs_f64() * 1e3,
        u8::from(outcome.finding.is_some()),
    );
    if options.keep {
        keep(name, outcome.shapes);
    }
    let Some((input, text)) = outcome.finding else {
        return false;
    };
    println!("{name}: {text}");
    save(name, "found", &input);
    true
}

fn options(args: impl Iterator<Item = String>) -> Result<Options, String> {
    let all = targets();
    let mut options = Options {
        targets: Vec::new(),
        time: Duration::from_secs(60),
        jobs: std::thread::available_parallelism().map_or(1, usize::from),
        seed: 1,
        keep: false,
    };
    let mut args = args.peekable();
    while let Some(arg) = args.next() {
        let mut number = || {
            let n = args.next().and_then(|n| n.parse::<u64>().ok());
            n.ok_or_else(|| format!("{arg} wants a number"))
        };
        match arg.as_str() {
            "--minutes" => options.time = Duration::from_secs(60 * number()?),
            "--seconds" => options.time = Duration::from_secs(number()?),
            "--jobs" => options.jobs = number()?.max(1) as usize,
            "--seed" => options.seed = number()?,
            "--keep" => options.keep = true,
            name => match all.iter().find(|t| t.name == name) {
                Some(target) => options.targets.push(*target),
                None => {
                    let names: Vec<_> = all.iter().map(|t| t.name).collect();
                    return Err(format!("no target {name}; there are: {}", names.join(", ")));
                }
            },
        }
    }
    if options.targets.is_empty() {
        options.targets = all;
    }
    Ok(options)
}

/// The shortest first: they say the most about the least.
fn keep(name: &str, shapes: BTreeMap<u32, Vec<u8>>) {
    let mut kept: Vec<Vec<u8>> = shapes.into_values().collect();
    kept.sort_by_key(Vec::len);
    kept.truncate(KEPT);
    let dir = std::fs::read_dir(corpus_dir(name));
    for old in dir.into_iter().flatten().flatten() {
        if old.file_name().to_string_lossy().starts_with("seed-") {
            let _ = std::fs::remove_file(old.path());
        }
    }
    kept.iter().for_each(|input| save(name, "seed", input));
}

fn save(name: &str, kind: &str, input: &[u8]) {
    let dir = corpus_dir(name);
    let path = dir.join(format!("{kind}-{:016x}", hash(input.iter().copied())));
    let written = std::fs::create_dir_all(&dir).and_then(|()| std::fs::write(&path, input));
    if let Err(error) = written {
        println!("{name}: cannot save {}: {error}", path.display());
    } else if kind == "found" {
        println!("{name}: saved as {}", path.display());
    }
}
