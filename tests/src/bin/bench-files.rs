//! How fast a file goes from disk to disk, beside the bare data channel it travels on.
//!
//! `bench-files [--mib N] [--rounds N] [--json]`, with the programs named by `KITH_BIN` and
//! `RAW_CHANNEL_BIN`. All in one run on loopback: the raw channel (64 KiB messages, the product's
//! own connection and tuning, one process per side), then `kith send` → `kith receive` of a random
//! file, with a fresh room server and fresh profiles. The best of the rounds counts for each, as
//! other work on the machine only ever takes away.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench talks and may end early"
)]

use kith_tests::bench::{Loopback, Run, raw_channel, send_receive};
use kith_tests::random_file;
use serde_json::json;

fn main() {
    let (mut mib, mut rounds, mut as_json) = (1024u64, 3u32, false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--mib" => mib = args.next().and_then(|v| v.parse().ok()).expect("--mib N"),
            "--rounds" => {
                rounds = args
                    .next()
                    .and_then(|v| v.parse().ok())
                    .expect("--rounds N")
            }
            "--json" => as_json = true,
            other => {
                panic!("{other} is not an option: bench-files [--mib N] [--rounds N] [--json]")
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("random.bin");
    random_file(&file, mib << 20);
    let (mut raw, mut kith) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        raw.push(raw_channel(&Loopback, mib));
        kith.push(send_receive(
            &Loopback,
            &file,
            &dir.path().join(format!("round{round}")),
        ));
    }
    let best = |runs: &[Run]| {
        *runs
            .iter()
            .max_by(|a, b| a.mb_per_s.total_cmp(&b.mb_per_s))
            .expect("a round")
    };
    let (raw, kith) = (best(&raw), best(&kith));
    let ratio = kith.mb_per_s / raw.mb_per_s;
    if as_json {
        let row = |r: Run| json!({ "mb_per_s": r.mb_per_s, "cpu_s_per_gb": r.cpu, "peak_rss_mib": r.rss });
        let all = json!({ "mib": mib, "rounds": rounds, "raw_channel": row(raw),
                          "send_receive": row(kith), "ratio": ratio });
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
        let rss = format!("{:.0} / {:.0}", r.rss[0], r.rss[1]);
        println!("{name:<34}{:>8.0}  {cpu:>15}  {rss:>15}", r.mb_per_s);
    }
    println!("disk to disk / raw: {:.0} %", ratio * 100.0);
}
