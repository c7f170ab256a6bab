//! Makes a failing plan smaller: fewer steps, then shorter waits.

use super::{Failure, run};
use crate::sim::plan::{Plan, Step};

/// Runs that shrinking may take.
const MOST_RUNS: usize = 600;

/// The smallest plan found that still fails the same way, more or less, and how it fails.
pub fn shrink(plan: &Plan, failure: Failure) -> (Plan, Failure) {
    let mut best = (plan.clone(), failure);
    let mut runs = 0;
    // Delta debugging: ever smaller pieces are left out as long as what remains fails.
    let mut size = best.0.steps.len().div_ceil(2);
    while size > 0 && runs < MOST_RUNS {
        let mut from = 0;
        let mut smaller = false;
        while from < best.0.steps.len() && runs < MOST_RUNS {
            let mut steps = best.0.steps.clone();
            steps.drain(from..(from + size).min(steps.len()));
            runs += 1;
            if try_steps(&mut best, steps) {
                smaller = true;
            } else {
                from += size;
            }
        }
        if size == 1 && !smaller {
            break;
        }
        if !smaller || size > 1 {
            size = (size / 2).max(1);
        }
    }
    for at in 0..best.0.steps.len() {
        let after = best.0.steps[at].after;
        if after > 0 && runs < MOST_RUNS {
            runs += 1;
            let mut steps = best.0.steps.clone();
            steps[at].after = 0;
            try_steps(&mut best, steps);
        }
    }
    best
}

fn try_steps(best: &mut (Plan, Failure), steps: Vec<Step>) -> bool {
    let plan = Plan {
        steps,
        ..best.0.clone()
    };
    match run(&plan) {
        Err(failure) if failure.kind() == best.1.kind() => {
            *best = (plan, failure);
            true
        }
        Ok(_) | Err(_) => false,
    }
}
