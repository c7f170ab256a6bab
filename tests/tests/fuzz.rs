//! Every committed input again, and a short look for new ones.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use kith_tests::fuzz::{corpus, fuzz, targets, try_input};

#[test]
fn every_input_of_the_corpora_still_passes() {
    for target in targets() {
        let corpus = corpus(target.name);
        assert!(!corpus.is_empty(), "{} has no corpus", target.name);
        for (name, input) in corpus {
            if let Err(text) = try_input(&target, &input) {
                panic!("{}/{name}: {text}", target.name);
            }
        }
    }
}

#[test]
fn a_second_of_new_inputs_per_target_finds_nothing() {
    for target in targets() {
        let found = fuzz(&target, 7, Duration::from_secs(1), &AtomicBool::new(false)).finding;
        if let Some((input, text)) = found {
            panic!("{}: {text}; input {input:?}", target.name);
        }
    }
}
