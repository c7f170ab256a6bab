//! Runs the simulated world with ever new seeds for as long as it is told to.
//!
//! `soak-sim [--minutes N] [--from SEED]`: seeds from SEED on (by default from the clock).

#![allow(clippy::print_stdout, reason = "a program for people at a terminal")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Failures after which there is enough to look at.
const ENOUGH: usize = 3;

fn main() -> ExitCode {
    let mut minutes = 20u64;
    let clock = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    // Apart from the seeds that the tests run.
    let mut from = clock.as_secs().saturating_mul(1_000);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let value = args.next().and_then(|v| v.parse().ok());
        match (arg.as_str(), value) {
            ("--minutes", Some(n)) => minutes = n,
            ("--from", Some(n)) => from = n,
            _ => {
                println!("usage: soak-sim [--minutes N] [--from SEED]");
                return ExitCode::from(2);
            }
        }
    }
    println!("{minutes} minutes of seeds from {from} on");
    let end = Instant::now() + Duration::from_secs(minutes.saturating_mul(60));
    let next = AtomicU64::new(from);
    let said = AtomicU64::new(0);
    let (totals, failures) = kith_tests::sim::run_all(
        || (Instant::now() < end).then(|| next.fetch_add(1, Ordering::Relaxed)),
        ENOUGH,
        |totals| {
            let left = end.saturating_duration_since(Instant::now()).as_secs() / 60;
            if said.swap(left, Ordering::Relaxed) != left {
                println!("{totals}; {left} minutes left");
            }
        },
    );
    for failure in &failures {
        println!("\n{failure}");
    }
    println!("{totals}, {} failed", failures.len());
    ExitCode::from(u8::from(!failures.is_empty()))
}
