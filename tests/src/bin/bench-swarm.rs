//! What a sender's narrow uplink has to carry for four receivers, and how long each of them waits,
//! by every strategy; and what it costs a swarm that one of them is killed half way.
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
/// Who is killed, if anybody.
const KILLED: &str = "Eve";
const CASES: [Case; 5] = [
    Case::new("sequential", "sequential", Fate::Stays),
    Case::new("parallel", "parallel", Fate::Stays),
    Case::new("swarm", "swarm", Fate::Stays),
    Case::new("… back at once", "swarm", Fate::BackAtOnce),
    Case::new("… back later", "swarm", Fate::BackLater),
];
const SEED: u64 = 1;
const RTT: u64 = 20;

/// One run.
struct Case {
    label: &'static str,
    strategy: &'static str,
    fate: Fate,
}

impl Case {
    const fn new(label: &'static str, strategy: &'static str, fate: Fate) -> Case {
        Case {
            label,
            strategy,
            fate,
        }
    }
}

/// What becomes of Eve once she has half of it: `kill -9`, or nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stays,
    BackAtOnce,
    /// When the others have it.
    BackLater,
}

/// Seconds since the first was served, and what the sender sent, in multiples of the file.
#[derive(Default)]
struct Times {
    first: f64,
    /// All but Eve.
    others: f64,
    last: f64,
    sent: f64,
}

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
            "{:<16}{:>10}{:>10}{:>10}{:>16}",
            "strategy", "first s", "others s", "last s", "sent / file"
        ));
    }
    for (n, case) in CASES.iter().enumerate() {
        match measure(case, &file, mbit, &dir.path().join(n.to_string())) {
            Ok(Times {
                first,
                others,
                last,
                sent,
            }) => {
                let Case {
                    label, strategy, ..
                } = case;
                lines.push(if as_json {
                    let killed = case.fate != Fate::Stays;
                    let back_at_once = case.fate == Fate::BackAtOnce;
                    json!({ "strategy": strategy, "killed": killed, "back_at_once": back_at_once,
                        "mib": mib, "mbit": mbit, "first": first, "others": others, "last": last,
                        "sent": sent })
                    .to_string()
                } else {
                    format!("{label:<16}{first:>10.1}{others:>10.1}{last:>10.1}{sent:>16.2}")
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

fn measure(case: &Case, file: &Path, mbit: u64, dir: &Path) -> Result<Times, NoLab> {
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
    let send = [&send[..], &["--strategy", case.strategy]].concat();
    let mut sender = start(Side::A, "Ada", &send);
    let invite = sender.wait("the invite", |v| v["invite"].as_str().map(str::to_string));
    let into = |name: &str| dir.join(format!("in {name}"));
    let receive = |name: &str| {
        let into = into(name).display().to_string();
        let receive = ["receive", &invite, "--into", &into, "--yes", "--stay"];
        start(Side::B, name, &receive)
    };
    let mut receivers: Vec<Kith> = NAMES.iter().map(|name| receive(name)).collect();
    let half = std::fs::metadata(file).unwrap().len() / 2;
    let (mut begun, mut killed, mut times) = (None, false, Times::default());
    let summary = loop {
        let line = sender.wait_new("a line", |v: &Value| Some(v.clone()));
        let all = line["receivers"].as_array().cloned().unwrap_or_default();
        let is = |r: &Value, phase: &str| r["phase"] == phase;
        if all.iter().any(|r| is(r, "serving")) {
            begun.get_or_insert_with(Instant::now);
        }
        let since: f64 = begun.map_or(0.0, |b: Instant| b.elapsed().as_secs_f64());
        let done = all.iter().filter(|r| is(r, "done"));
        let (eve, others): (Vec<_>, Vec<_>) = done.partition(|r| r["name"] == KILLED);
        let reached = |time: &mut f64, there: bool| {
            if there && *time == 0.0 {
                *time = since;
            }
        };
        let all_others = others.len() == NAMES.len() - 1;
        reached(&mut times.first, !others.is_empty() || !eve.is_empty());
        reached(&mut times.others, all_others);
        reached(&mut times.last, all_others && !eve.is_empty());
        let has_half = |r: &&Value| r["name"] == KILLED && r["done"].as_u64() >= Some(half);
        if case.fate != Fate::Stays && !killed && all.iter().any(|r| has_half(&r)) {
            killed = true;
            receivers.pop().expect("Eve").kill();
            if case.fate == Fate::BackAtOnce {
                receivers.push(receive(KILLED));
            }
        }
        if killed && all_others && receivers.len() < NAMES.len() {
            receivers.push(receive(KILLED));
        }
        if line["type"] == "summary" {
            break line;
        }
    };
    for name in NAMES {
        let got = into(name).join(file.file_name().unwrap());
        assert_eq!(
            sha256(&got),
            sha256(file),
            "what arrived is not what was sent"
        );
    }
    assert!(times.last > 0.0, "{summary}");
    assert_eq!(killed, case.fate != Fate::Stays, "nobody could be killed");
    let sent = summary["traffic"]["sent"].as_f64().expect("bytes sent");
    times.sent = sent / (half * 2) as f64;
    drop(receivers);
    std::fs::remove_dir_all(dir).unwrap();
    Ok(times)
}
