//! How fast a file goes over links that are far, narrow or lossy, beside other programs, the bare data
//! channel and plain TCP on the same links; and how long chat takes while one saturates the link.
//!
//! `bench-links [--rounds N] [--only WORD] [--strands] [--write DIR] [--json]`, as root, with the
//! programs named by `KITH_BIN` and `RAW_CHANNEL_BIN`, and `WORMHOLE_VENV` naming the Python
//! environment of magic-wormhole. With `--strands` the bare channel alone, over one connection and
//! several. `--write` leaves the table and a plot of it in a folder.
//!
//! Sender and receiver are in network namespaces of their own (`netlab`). What carries packets between
//! them needs CPU as well: the link without delay shows what it can carry, and the ratios tell more
//! than the rates. The round in the middle counts for each.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench talks and may end early"
)]

mod rates;

use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;

use kith_tests::bench::{Far, Loopback, room_server, talk};
use kith_tests::netlab::{Lab, NoLab, Quality};
use serde_json::json;

/// What the command line says.
struct Options {
    rounds: u32,
    json: bool,
    strands: bool,
    only: String,
    write: Option<PathBuf>,
}

/// A link with 200 ms of queue.
const SLOW: Quality = Quality::PERFECT
    .round_trip(20)
    .bits_per_s(20_000_000)
    .queue(500_000);
/// Seconds of chat over it, and over loopback; and MiB that last for longer.
const SLOW_CHAT: (u64, u64) = (10, 64);
const LOOPBACK_CHAT: (u64, u64) = (4, 6 << 10);
const SEED: u64 = 1;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args
        .first()
        .is_some_and(|role| role == "ada" || role == "bob")
    {
        let runtime = kith_peer::threads::runtime().build().unwrap();
        runtime.block_on(talk::play(&args));
        return ExitCode::SUCCESS;
    }
    let mut options = Options {
        rounds: 1,
        json: false,
        strands: false,
        only: String::new(),
        write: None,
    };
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--rounds" => {
                let n = args.next().and_then(|v| v.parse().ok());
                options.rounds = n.filter(|n| *n > 0).expect("--rounds N");
            }
            "--only" => options.only = args.next().expect("--only WORD"),
            "--write" => options.write = Some(args.next().expect("--write DIR").into()),
            "--strands" => options.strands = true,
            "--json" => options.json = true,
            other => panic!("{other} is not an option; see the beginning of {}", file!()),
        }
    }
    // Said at the end: until then the programs say things of their own.
    let mut lines = match rates::measure(&options) {
        Ok(lines) => lines,
        Err(e) => {
            eprintln!("bench-links: {e}");
            return ExitCode::FAILURE;
        }
    };
    let (as_json, only) = (options.json, options.only);
    if !as_json && "chat".contains(&only) {
        lines.push(format!(
            "\n{:<32}{:>8}{:>8}{:>8}",
            "chat while a file goes, ms", "p50", "p95", "max"
        ));
    }
    for (name, slow) in [("20 Mbit/s, 200 ms of queue", true), ("loopback", false)] {
        if !"chat".contains(&only) {
            continue;
        }
        let both = match chat(slow) {
            Ok(both) => both,
            Err(e) => {
                eprintln!("bench-links: {e}");
                return ExitCode::FAILURE;
            }
        };
        for (way, l) in ["with it", "against it"].into_iter().zip(both) {
            lines.push(if as_json {
                json!({ "chat": name, "way": way, "p50_ms": l.p50, "p95_ms": l.p95,
                    "max_ms": l.max, "messages": l.count })
                .to_string()
            } else {
                let what = format!("{name}, {way}");
                format!("{what:<40}{:>8.0}{:>8.0}{:>8.0}", l.p50, l.p95, l.max)
            });
        }
    }
    println!("{}", lines.join("\n"));
    ExitCode::SUCCESS
}

/// Chat from the sender of a file and to it.
fn chat(slow: bool) -> Result<[talk::Latency; 2], NoLab> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file.bin");
    let (seconds, mib) = if slow { SLOW_CHAT } else { LOOPBACK_CHAT };
    // Without content: it is there at once, and goes as fast as any.
    File::create(&file).unwrap().set_len(mib << 20).unwrap();
    let program = std::env::current_exe().unwrap();
    let talk = (file.as_path(), seconds);
    Ok(if slow {
        let far = Far(Lab::start(SLOW, SEED)?);
        let (_server, url) = room_server(&far);
        talk::chat_under_load(&far, &program, &url, talk, dir.path())
    } else {
        let (_server, url) = room_server(&Loopback);
        talk::chat_under_load(&Loopback, &program, &url, talk, dir.path())
    })
}
