//! The simulated world, seed after seed: see `kith_tests::sim`.

#![allow(clippy::unwrap_used, reason = "all of it is a test")]

use std::sync::atomic::{AtomicUsize, Ordering};

use kith_tests::sim;

/// Seeds of every test run.
const SEEDS: u64 = 1_000;

/// Seeds that once failed: each stands for a bug that is fixed.
const KEPT: &str = include_str!("../sim-seeds.txt");

/// `SEED=7` runs that one; `SEEDS=5000` runs so many.
#[test]
fn sim_many_seeds_hold_every_promise() {
    let number = |name| std::env::var(name).ok().and_then(|t| t.parse::<u64>().ok());
    let seeds = match number("SEED") {
        Some(seed) => vec![seed],
        None => (0..number("SEEDS").unwrap_or(SEEDS)).collect(),
    };
    check(&seeds);
}

#[test]
fn sim_seeds_that_once_failed_hold() {
    let lines = KEPT
        .lines()
        .filter(|l| !l.starts_with('#') && !l.is_empty());
    let seeds: Vec<u64> = lines
        .map(|l| l.split_whitespace().next().unwrap().parse().unwrap())
        .collect();
    check(&seeds);
}

#[test]
fn sim_the_same_seed_is_the_same_run() {
    for seed in 0..5 {
        let plan = sim::plan::Plan::from_seed(seed);
        let runs = [(); 2].map(|()| sim::run(&plan).map(|s| (s.inputs, s.ms)));
        assert_eq!(runs[0], runs[1]);
    }
}

fn check(seeds: &[u64]) {
    let next = AtomicUsize::new(0);
    let (totals, failures) = sim::run_all(
        || seeds.get(next.fetch_add(1, Ordering::Relaxed)).copied(),
        3,
        |_| {},
    );
    eprintln!("{totals}");
    assert!(failures.is_empty(), "\n\n{}", failures.join("\n"));
    assert_eq!(totals.seeds(), seeds.len() as u64);
}
