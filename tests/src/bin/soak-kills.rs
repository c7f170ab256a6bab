//! Hands files over while `kill -9` strikes either end at random moments.
//!
//! `soak-kills [--kills N] [--size MB] [--small FILES] [--from SEED]`: until so many processes were killed.

#![allow(clippy::print_stdout, reason = "a program for people at a terminal")]

use std::process::ExitCode;
use std::time::Instant;

use kith_tests::kills::{Fate, Kills};

fn main() -> ExitCode {
    let (mut kills, mut size, mut small, mut from) = (500u64, 200u64, 2_000u64, 1u64);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let value = args.next().and_then(|v| v.parse().ok());
        match (arg.as_str(), value) {
            ("--kills", Some(n)) => kills = n,
            ("--size", Some(n)) => size = n,
            ("--small", Some(n)) => small = n,
            ("--from", Some(n)) => from = n,
            _ => {
                println!("usage: soak-kills [--kills N] [--size MB] [--small FILES] [--from SEED]");
                return ExitCode::from(2);
            }
        }
    }
    let scene = Kills::new(size.saturating_mul(1_000_000), small);
    let (begun, mut sum, mut files) = (Instant::now(), Fate::default(), 0u64);
    for seed in from.. {
        if sum.kills >= kills {
            break;
        }
        sum += scene.send(seed);
        files += 1;
        if files.is_multiple_of(10) {
            println!("{files} times {size} MB and {small} small files, all whole: {sum}");
        }
    }
    let seconds = begun.elapsed().as_secs();
    println!("{files} times {size} MB and {small} small files, all whole, in {seconds} s: {sum}");
    ExitCode::SUCCESS
}
