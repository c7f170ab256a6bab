//! The world in which engines are tested: three to five real engines and the real room server's
//! hub on one virtual clock and one seed, over a network, disks and stores that fail in every way
//! the real ones do. Nothing waits for anything, so a run of minutes takes milliseconds, and the
//! same seed is the same run.
//!
//! | module | what it holds |
//! |---|---|
//! | [`plan`] | what happens in a run, drawn from a seed |
//! | `act`, `commands`, `control` | those actions, done |
//! | `world`, `effects` | the clock, the queue and what must hold after each input |
//! | `server`, `links`, `net`, `seal` | the network: the hub's connections, ICE, data channels |
//! | `disk`, `fetching`, `holding`, `workers`, `store` | serving, fetching and storing, modelled on `peer` |
//! | `truth` | what must be true of disks and stores |
//! | `settle` | healing, and what must be true afterwards |
//! | `shrink` | a failing plan made small |

mod act;
mod commands;
mod control;
pub(crate) mod dice;
mod disk;
mod effects;
mod failure;
mod fetching;
mod fold;
mod holding;
mod links;
mod net;
mod node;
pub mod plan;
#[cfg(test)]
mod scenarios;
mod seal;
mod server;
mod settle;
mod shrink;
mod store;
mod truth;
mod workers;
mod world;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use plan::Plan;
pub use shrink::shrink;
use world::World;

const NAMES: [&str; 5] = ["ada", "bob", "cy", "dee", "eve"];

/// What a run that went well took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stats {
    /// Inputs that engines handled.
    pub inputs: u64,
    /// Virtual milliseconds.
    pub ms: u64,
}

/// How a run failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What was wrong, when and where.
    pub text: String,
}

impl Failure {
    /// Failures of one kind begin alike, numbers aside.
    fn kind(&self) -> String {
        let words = self.text.chars().filter(|c| !c.is_ascii_digit());
        words
            .take_while(|c| *c != '\n' && *c != ':')
            .take(40)
            .collect()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Runs a plan from the first join to the quiet after the healing.
///
/// # Errors
/// What did not hold.
pub fn run(plan: &Plan) -> Result<Stats, Failure> {
    let result = failure::catch(|| {
        let mut world = World::new(plan.seed);
        // Some links are so slow that a file is under way for half a minute.
        world.pace = world.dice.one(&[1, 10, 100, 600]);
        for name in &NAMES[..plan.peers] {
            let n = world.add(name);
            // From its next process on.
            world.nodes[n].keep = world.dice.percent(60);
        }
        for (i, step) in plan.steps.iter().enumerate() {
            failure::step(i);
            world.pass(step.after);
            world.act(step.action);
        }
        failure::step(plan.steps.len());
        world.settle();
        Stats {
            inputs: world.inputs,
            ms: world.now,
        }
    });
    result.map_err(|text| Failure { text })
}

/// Runs the plan of a seed.
///
/// # Errors
/// A text that says what did not hold, and the smallest list of actions that shows it.
pub fn run_seed(seed: u64) -> Result<Stats, String> {
    let plan = Plan::from_seed(seed);
    run(&plan).map_err(|failure| {
        let (small, failure) = shrink(&plan, failure);
        let mut text = format!("seed {seed}, {} peers: {failure}\n", small.peers);
        let all = plan.steps.len();
        text.push_str(&format!(
            "  {} of {all} actions are enough:\n",
            small.steps.len()
        ));
        for step in &small.steps {
            text.push_str(&format!(
                "    after {:>6} ms  {:?}\n",
                step.after, step.action
            ));
        }
        text.push_str(&format!("  again: SEED={seed} ./dev test sim\n"));
        text
    })
}

/// Runs seeds on all cores, from `next` until it has none left; the failures, `most` at most.
pub fn run_all(
    next: impl Fn() -> Option<u64> + Sync,
    most: usize,
    progress: impl Fn(&Totals) + Sync,
) -> (Totals, Vec<String>) {
    let totals = Totals::default();
    let failures = std::sync::Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(seed) = next() {
                    let begun = Instant::now();
                    let result = run_seed(seed);
                    totals.took(begun.elapsed().as_millis() as u64);
                    match result {
                        Ok(stats) => totals.add(stats),
                        Err(text) => {
                            let mut all = failures.lock().unwrap();
                            all.push(text);
                            if all.len() >= most {
                                return;
                            }
                        }
                    }
                    progress(&totals);
                    if failures.lock().unwrap().len() >= most {
                        return;
                    }
                }
            });
        }
    });
    (totals, failures.into_inner().unwrap())
}

/// What many runs took.
#[derive(Debug, Default)]
pub struct Totals {
    seeds: AtomicU64,
    inputs: AtomicU64,
    ms: AtomicU64,
    slowest: AtomicU64,
}

impl Totals {
    fn add(&self, stats: Stats) {
        self.seeds.fetch_add(1, Ordering::Relaxed);
        self.inputs.fetch_add(stats.inputs, Ordering::Relaxed);
        self.ms.fetch_add(stats.ms, Ordering::Relaxed);
    }

    fn took(&self, ms: u64) {
        self.slowest.fetch_max(ms, Ordering::Relaxed);
    }

    /// Seeds that went well.
    pub fn seeds(&self) -> u64 {
        self.seeds.load(Ordering::Relaxed)
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} seeds, {} steps, {} virtual hours, slowest seed {} ms",
            self.seeds(),
            self.inputs.load(Ordering::Relaxed),
            self.ms.load(Ordering::Relaxed) / 3_600_000,
            self.slowest.load(Ordering::Relaxed),
        )
    }
}
