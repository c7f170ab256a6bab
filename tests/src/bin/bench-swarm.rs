//! What a sender's narrow uplink has to carry for four receivers, and how long each of them waits,
//! by every strategy.
//!
//! `bench-swarm [--mib N] [--mbit N] [--json]`, as root, with the program named by `KITH_BIN`. The
//! sender and the room server are alone behind the uplink (`netlab`); the receivers are beyond it,
//! and reach each other without it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench talks and may end early"
)]

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use kith_tests::netlab::{Lab, NoLab, Quality, Side};
use kith_tests::process::{Kith, kith_bin};
use kith_tests::{random_file, sha256};
use serde_json::{Value, json};

const NAMES: [&str; 4] = ["Bob", "Cy", "Dee", "Eve"];
const STRATEGIES: [&str; 3] = ["sequential", "parallel", "swarm"];
const SEED: u64 = 1;
const RTT: u64 = 20;

fn main() -> ExitCode {
    let (mut mib, mut mbit, mut as_json) = (1024u64, 200u64, false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|v| v.parse().ok()).filter(|n| *n > 0);
        match arg.as_str() {
            "--mib" => mib = number().expect("--mib N"),
            "--mbit" => mbit = number().expect("--mbit N"),
            "--json" => as_json = true,
            other => panic!("{other}: bench-swarm [--mib N] [--mbit N] [--json]"),
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("random.bin");
    random_file(&file, mib << 20);
    let mut lines = Vec::new();
    if !as_json {
        lines.push(format!(
            "{mib} MiB to four, uplink {mbit} Mbit/s, round trip {RTT} ms"
        ));
        lines.push(format!(
            "{:<12}{:>10}{:>10}{:>16}",
            "strategy", "first s", "last s", "sent / file"
        ));
    }
    for strategy in STRATEGIES {
        match measure(strategy, &file, mbit, &dir.path().join(strategy)) {
            Ok((times, sent)) => {
                let times_of_file = sent / (mib << 20) as f64;
                let (first, last) = (times[0], times[times.len() - 1]);
                lines.push(if as_json {
                    json!({ "strategy": strategy, "mib": mib, "mbit": mbit, "seconds": times,
                        "sent": times_of_file })
                    .to_string()
                } else {
                    format!("{strategy:<12}{first:>10.1}{last:>10.1}{times_of_file:>16.2}")
                });
            }
            Err(e) => {
                eprintln!("bench-swarm: {e}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!("{}", lines.join("\n"));
    ExitCode::SUCCESS
}

/// When each receiver had everything, in order, in seconds since the first was served; and the bytes
/// of files that the sender sent.
fn measure(strategy: &str, file: &Path, mbit: u64, dir: &Path) -> Result<(Vec<f64>, f64), NoLab> {
    let lab = Lab::start(Quality::PERFECT.round_trip(RTT), SEED)?;
    let uplink = Quality::PERFECT
        .round_trip(RTT)
        .bits_per_s(mbit * 1_000_000);
    lab.set(Side::A, uplink);
    let start = |side, name: &str, args: &[&str]| {
        let mut command = Command::new(kith_bin());
        command.args(args).arg("--home").arg(dir.join(name));
        command.args(["--name", name, "--json", "--loopback"]);
        lab.within(side, || Kith::spawn(&mut command, name))
    };
    let listen = format!("{}:0", lab.addr(Side::A));
    let (_server, addr) = lab.within(Side::A, || Kith::room_server_at(&listen));
    let url = format!("http://{addr}");
    let path = file.to_str().unwrap();
    let send = ["send", path, "--server", &url, "--receivers", "4"];
    let send = [&send[..], &["--strategy", strategy]].concat();
    let mut sender = start(Side::A, "Ada", &send);
    let invite = sender.wait("the invite", |v| v["invite"].as_str().map(str::to_string));
    let receivers: Vec<(Kith, String)> = NAMES
        .iter()
        .map(|name| {
            let into = dir.join(format!("in {name}")).display().to_string();
            let receive = ["receive", &invite, "--into", &into, "--yes", "--stay"];
            (start(Side::B, name, &receive), into)
        })
        .collect();
    let (mut begun, mut times) = (None, Vec::new());
    let summary = loop {
        let line = sender.wait_new("a line", |v: &Value| Some(v.clone()));
        let phases = line["receivers"].as_array().cloned().unwrap_or_default();
        let count = |phase: &str| phases.iter().filter(|r| r["phase"] == phase).count();
        if count("serving") > 0 {
            begun.get_or_insert_with(Instant::now);
        }
        if let Some(begun) = begun {
            let since: f64 = Instant::elapsed(&begun).as_secs_f64();
            (times.len()..count("done")).for_each(|_| times.push(since));
        }
        if line["type"] == "summary" {
            break line;
        }
    };
    for (_, into) in &receivers {
        let got = Path::new(into).join(file.file_name().unwrap());
        assert_eq!(
            sha256(&got),
            sha256(file),
            "what arrived is not what was sent"
        );
    }
    assert_eq!(times.len(), NAMES.len(), "{summary}");
    let sent = summary["traffic"]["sent"].as_f64().expect("bytes sent");
    drop(receivers);
    std::fs::remove_dir_all(dir).unwrap();
    Ok((times, sent))
}
