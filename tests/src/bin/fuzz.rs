//! `fuzz [TARGET…] [--minutes N] [--seed N] [--keep]`: tries inputs on one or on all targets at
//! once. A finding is saved in its corpus, where the tests replay it from then on.

#![allow(clippy::print_stdout, reason = "a program that talks")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kith_tests::fuzz::{Target, corpus_dir, fuzz, targets};

/// Inputs that `--keep` puts into a corpus, and their longest, in bytes.
const KEPT: usize = 48;
const KEPT_LENGTH: usize = 1500;

struct Options {
    targets: Vec<Target>,
    time: Duration,
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
    let never = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for target in &options.targets {
            let (options, found, never) = (&options, &found, &never);
            let name = target.name;
            scope.spawn(move || {
                let outcome = fuzz(target, options.seed, options.time, never);
                println!(
                    "{name:16} {:>10} executions, {:>5} outcomes, slowest {:>6.1} ms, {}",
                    outcome.executions,
                    outcome.outcomes,
                    outcome.slowest.as_secs_f64() * 1e3,
                    if outcome.finding.is_some() {
                        "A FINDING"
                    } else {
                        "no finding"
                    },
                );
                if let Some((input, text)) = outcome.finding {
                    found.store(true, Ordering::Relaxed);
                    println!("{name}: {text}");
                    save(name, "found", &input);
                }
                if options.keep {
                    keep(name, outcome.pool);
                }
            });
        }
    });
    if found.into_inner() {
        std::process::exit(1);
    }
}

fn options(args: impl Iterator<Item = String>) -> Result<Options, String> {
    let all = targets();
    let mut options = Options {
        targets: Vec::new(),
        time: Duration::from_secs(60),
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

fn keep(name: &str, mut pool: Vec<Vec<u8>>) {
    pool.retain(|input| input.len() <= KEPT_LENGTH);
    // The shortest first: they say the most about the least.
    pool.sort_by_key(Vec::len);
    pool.iter()
        .take(KEPT)
        .for_each(|input| save(name, "seed", input));
}

fn save(name: &str, kind: &str, input: &[u8]) {
    let dir = corpus_dir(name);
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in input {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let path = dir.join(format!("{kind}-{hash:016x}"));
    let written = std::fs::create_dir_all(&dir).and_then(|()| std::fs::write(&path, input));
    if let Err(error) = written {
        println!("{name}: cannot save {}: {error}", path.display());
    } else if kind == "found" {
        println!("{name}: saved as {}", path.display());
    }
}
