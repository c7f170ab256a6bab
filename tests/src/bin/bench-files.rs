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

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use kith_tests::{random_file, sha256};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Clone, Copy)]
struct Run {
    mb_per_s: f64,
    /// CPU seconds of sender and receiver, per 10^9 bytes.
    cpu: [f64; 2],
    /// Peak RSS of sender and receiver, MiB.
    rss: [f64; 2],
}

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
        raw.push(raw_channel(mib));
        kith.push(send_receive(
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

fn raw_channel(mib: u64) -> Run {
    let bin = program("RAW_CHANNEL_BIN");
    let mut recv = Watched::start(Command::new(&bin).arg("recv"));
    let port = recv.json_line(|v| v["port"].as_u64());
    let (port, mib) = (port.to_string(), mib.to_string());
    let send = Watched::start(Command::new(&bin).args(["send", &port, &mib]));
    let rate = recv.json_line(|v| v["mb_per_s"].as_f64());
    let bytes = (mib.parse::<u64>().unwrap() << 20) as f64;
    let (send, recv) = (send.finish(), recv.finish());
    Run {
        mb_per_s: rate,
        cpu: [send.cpu, recv.cpu].map(|s| s * 1e9 / bytes),
        rss: [send.rss, recv.rss],
    }
}

fn send_receive(file: &Path, dir: &Path) -> Run {
    let bin = program("KITH_BIN");
    let home = |name: &str| dir.join(name).to_str().unwrap().to_string();
    let kith = |name: &str, args: &[&str]| {
        let mut command = Command::new(&bin);
        command.args(args).args([
            "--home",
            &home(name),
            "--name",
            name,
            "--json",
            "--loopback",
        ]);
        command
    };
    let mut server = Watched::start(Command::new(&bin).args([
        "room-server",
        "--listen",
        "127.0.0.1:0",
        "--stun",
        "",
        "--json",
    ]));
    let addr = server.json_line(|v| v["addr"].as_str().map(str::to_string));
    let (path, url) = (file.to_str().unwrap(), format!("http://{addr}"));
    let mut send = Watched::start(&mut kith("Ada", &["send", path, "--server", &url]));
    let invite = send.json_line(|v| v["invite"].as_str().map(str::to_string));
    let into = home("in");
    let mut receive = Watched::start(&mut kith(
        "Bob",
        &["receive", &invite, "--into", &into, "--yes"],
    ));
    let phase = |v: &Value, phase: &str| (v["phase"] == phase).then_some(());
    receive.json_line(|v| phase(v, "fetching"));
    let begun = Instant::now();
    receive.json_line(|v| phase(v, "done"));
    let seconds = begun.elapsed().as_secs_f64();
    let (send, receive) = (send.finish(), receive.finish());
    server.kill();
    let got = dir.join("in").join(file.file_name().unwrap());
    assert_eq!(
        sha256(&got),
        sha256(file),
        "what arrived is not what was sent"
    );
    let bytes = fs::metadata(file).unwrap().len() as f64;
    fs::remove_dir_all(dir).unwrap();
    Run {
        mb_per_s: bytes / 1e6 / seconds,
        cpu: [send.cpu, receive.cpu].map(|s| s * 1e9 / bytes),
        rss: [send.rss, receive.rss],
    }
}

fn program(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable);
    PathBuf::from(path.unwrap_or_else(|| panic!("{variable} must name the program")))
}

struct Watched {
    child: Child,
    lines: mpsc::Receiver<(Instant, String)>,
    usage: std::thread::JoinHandle<Usage>,
}

#[derive(Clone, Copy, Default)]
struct Usage {
    cpu: f64,
    rss: f64,
}

impl Watched {
    fn start(command: &mut Command) -> Watched {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (tx, lines) = mpsc::channel();
        let out = child.stdout.take().unwrap();
        std::thread::spawn(move || read(out, &tx));
        let pid = child.id();
        let usage = std::thread::spawn(move || watch(pid));
        Watched {
            child,
            lines,
            usage,
        }
    }

    /// Waits for a line of JSON in which `pick` finds something.
    fn json_line<T>(&mut self, pick: impl Fn(&Value) -> Option<T>) -> T {
        loop {
            let (_, line) = self
                .lines
                .recv_timeout(PATIENCE)
                .expect("a line before the deadline");
            let found = serde_json::from_str(&line)
                .ok()
                .and_then(|v: Value| pick(&v));
            if let Some(found) = found {
                return found;
            }
        }
    }

    fn finish(mut self) -> Usage {
        // The usage is read while the process is a zombie: it must be seen before it is reaped.
        let usage = self.usage.join().unwrap();
        assert!(
            self.child.wait().unwrap().success(),
            "a process of the bench failed"
        );
        usage
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.usage.join().unwrap();
    }
}

fn read(out: ChildStdout, tx: &mpsc::Sender<(Instant, String)>) {
    for line in BufReader::new(out).lines().map_while(Result::ok) {
        if tx.send((Instant::now(), line)).is_err() {
            return;
        }
    }
}

/// CPU time and peak memory of a process, from `/proc`, until it has ended.
fn watch(pid: u32) -> Usage {
    let mut usage = Usage::default();
    loop {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|l| l.trim().trim_end_matches(" kB").parse::<f64>().ok());
        usage.rss = kib.map_or(usage.rss, |k| k / 1024.0);
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let Some((_, rest)) = stat.rsplit_once(')') else {
            return usage;
        };
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // utime and stime, in ticks of 1/100 s on Linux.
        let ticks = |i: usize| {
            fields
                .get(i)
                .and_then(|f| f.parse::<f64>().ok())
                .unwrap_or(0.0)
        };
        usage.cpu = (ticks(11) + ticks(12)) / 100.0;
        if fields.first() == Some(&"Z") {
            return usage;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
