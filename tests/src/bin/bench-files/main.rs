//! How fast files go from disk to disk, beside the bare data channel they travel on and beside other
//! programs.
//!
//! ```text
//! bench-files                          a file over loopback, beside the raw channel
//! bench-files --others                 … beside scp, magic-wormhole and iperf3 too
//! bench-files --many 20000 --size 4096 small files, beside one of the same bytes and tar | ssh
//! bench-files --gib 10                 one large file, and the memory of both ends over time
//!
//!   --mib N       size of the file (1024)
//!   --rounds N    (3)
//!   --json        for programs, where there is no other word
//!   --write DIR   tables and plots as files there
//! ```
//! The programs are those that `KITH_BIN` and `RAW_CHANNEL_BIN` name, with fresh profiles and a fresh
//! room server each time; `WORMHOLE_VENV` names the Python environment of magic-wormhole. The best of
//! the rounds counts for each, as other work on the machine only ever takes away.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench talks and may end early"
)]

mod large;
mod many;
mod others;

use std::path::PathBuf;

use kith_tests::bench::{Loopback, Run, raw_channel, send_receive};
use kith_tests::random_file;
use serde_json::json;

/// What the command line says.
struct Options {
    mib: u64,
    rounds: u32,
    json: bool,
    write: Option<PathBuf>,
    what: What,
}

enum What {
    Loopback,
    Others,
    Many { files: u32, size: u64 },
    Large { gib: u64 },
}

fn main() {
    let options = options();
    match options.what {
        What::Loopback => loopback(&options),
        What::Others => others::run(&options),
        What::Many { files, size } => many::run(&options, files, size),
        What::Large { gib } => large::run(&options, gib),
    }
}

fn options() -> Options {
    let mut options = Options {
        mib: 1024,
        rounds: 3,
        json: false,
        write: None,
        what: What::Loopback,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || {
            let value = args.next().and_then(|v| v.parse::<u64>().ok());
            value
                .filter(|n| *n > 0)
                .unwrap_or_else(|| panic!("{arg} N"))
        };
        match arg.as_str() {
            "--mib" => options.mib = number(),
            "--rounds" => options.rounds = u32::try_from(number()).unwrap(),
            "--others" => options.what = What::Others,
            "--gib" => options.what = What::Large { gib: number() },
            "--many" => {
                let files = u32::try_from(number()).unwrap();
                options.what = What::Many { files, size: 4096 };
            }
            "--size" => match &mut options.what {
                What::Many { size, .. } => *size = number(),
                What::Loopback | What::Others | What::Large { .. } => {
                    panic!("--size goes with --many and comes after it")
                }
            },
            "--write" => options.write = Some(args.next().expect("--write DIR").into()),
            "--json" => options.json = true,
            other => panic!("{other} is not an option; see the beginning of {}", file!()),
        }
    }
    options
}

fn loopback(options: &Options) {
    let (mib, rounds) = (options.mib, options.rounds);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("random.bin");
    random_file(&file, mib << 20);
    let (mut raw, mut kith) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        raw.push(raw_channel(&Loopback, mib, 1));
        let dir = dir.path().join(format!("round{round}"));
        kith.push(send_receive(&Loopback, &file, &dir));
    }
    let middle = middle_ratio(&kith, &raw);
    let (raw, kith) = (Run::best(&raw), Run::best(&kith));
    let ratio = kith.mb_per_s / raw.mb_per_s;
    if options.json {
        let row = |r: &Run| {
            json!({ "mb_per_s": r.mb_per_s, "cpu_s_per_gb": r.cpu,
                    "peak_rss_mib": [r.usage[0].rss, r.usage[1].rss] })
        };
        let all = json!({ "mib": mib, "rounds": rounds, "raw_channel": row(raw),
                          "send_receive": row(kith), "ratio": ratio, "middle_ratio": middle });
        println!("{all}");
        return;
    }
    println!("{mib} MiB on loopback, best of {rounds}; CPU and RSS as sender / receiver");
    println!(
        "{:<34}{:>8}  {:>15}  {:>15}",
        "", "MB/s", "CPU s per GB", "peak RSS MiB"
    );
    for (name, r) in [
        ("raw data channel, memory to memory", raw),
        ("kith send, disk to disk", kith),
    ] {
        let cpu = format!("{:.2} / {:.2}", r.cpu[0], r.cpu[1]);
        let rss = format!("{:.0} / {:.0}", r.usage[0].rss, r.usage[1].rss);
        println!("{name:<34}{:>8.0}  {cpu:>15}  {rss:>15}", r.mb_per_s);
    }
    println!(
        "disk to disk / raw: {:.0} % of the best, {:.0} % in the middle round",
        ratio * 100.0,
        middle * 100.0
    );
}

/// What one is of the other, in the round in the middle: what slows the machine for a while slows
/// both.
fn middle_ratio(one: &[Run], other: &[Run]) -> f64 {
    let mut ratios: Vec<f64> = one
        .iter()
        .zip(other)
        .map(|(one, other)| one.mb_per_s / other.mb_per_s)
        .collect();
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}
