//! What benches of files share: a run over the bare data channel, a run of `kith send`, and the
//! processes of both, watched.

pub mod talk;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::sha256;

const PATIENCE: Duration = Duration::from_secs(120);

/// What a transfer took.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// 10^6 bytes per second.
    pub mb_per_s: f64,
    /// CPU seconds of sender and receiver, per 10^9 bytes.
    pub cpu: [f64; 2],
    /// Peak RSS of sender and receiver, MiB.
    pub rss: [f64; 2],
}

/// Where the two ends of a transfer run.
pub trait Place {
    /// Starts a process where the sender runs.
    fn start_sender(&self, command: &mut Command) -> Watched;
    /// Starts a process where the receiver runs.
    fn start_receiver(&self, command: &mut Command) -> Watched;
    /// Where the room server listens, at the sender's.
    fn listen(&self) -> String;
    /// The loopback port of the sender that leads to this one of the receiver.
    fn lead_to(&self, port: u64) -> u64;
}

/// Both on this machine, over loopback.
#[derive(Debug, Clone, Copy)]
pub struct Loopback;

impl Place for Loopback {
    fn start_sender(&self, command: &mut Command) -> Watched {
        Watched::start(command)
    }

    fn start_receiver(&self, command: &mut Command) -> Watched {
        Watched::start(command)
    }

    fn listen(&self) -> String {
        "127.0.0.1:0".into()
    }

    fn lead_to(&self, port: u64) -> u64 {
        port
    }
}

/// The raw channel (64 KiB messages, the product's own connection and tuning, one process per
/// side), by the program that `RAW_CHANNEL_BIN` names.
pub fn raw_channel(place: &impl Place, mib: u64) -> Run {
    let bin = program("RAW_CHANNEL_BIN");
    let mut recv = place.start_receiver(Command::new(&bin).arg("recv"));
    let port = recv.json_line(|v| v["port"].as_u64());
    let (port, mib) = (place.lead_to(port).to_string(), mib.to_string());
    let send = place.start_sender(Command::new(&bin).args(["send", &port, &mib]));
    let rate = recv.json_line(|v| v["mb_per_s"].as_f64());
    let bytes = (mib.parse::<u64>().unwrap() << 20) as f64;
    let (send, recv) = (send.finish(), recv.finish());
    Run {
        mb_per_s: rate,
        cpu: [send.cpu, recv.cpu].map(|s| s * 1e9 / bytes),
        rss: [send.rss, recv.rss],
    }
}

/// `kith send` → `kith receive` of `file`, by the program that `KITH_BIN` names, with a fresh room
/// server, and fresh profiles in `dir`, which is removed at the end.
pub fn send_receive(place: &impl Place, file: &Path, dir: &Path) -> Run {
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
    let (server, url) = room_server(place);
    let path = file.to_str().unwrap();
    let mut send = place.start_sender(&mut kith("Ada", &["send", path, "--server", &url]));
    let invite = send.json_line(|v| v["invite"].as_str().map(str::to_string));
    let into = home("in");
    let receive = ["receive", &invite, "--into", &into, "--yes"];
    let mut receive = place.start_receiver(&mut kith("Bob", &receive));
    let phase = |v: &Value, phase: &str| (v["phase"] == phase).then_some(());
    receive.json_line(|v| phase(v, "fetching"));
    let begun = Instant::now();
    receive.json_line(|v| phase(v, "done"));
    let seconds = begun.elapsed().as_secs_f64();
    let (send, receive) = (send.finish(), receive.finish());
    drop(server);
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

/// A fresh room server where the sender runs, and its address.
pub fn room_server(place: &impl Place) -> (Watched, String) {
    let listen = place.listen();
    let args = ["room-server", "--listen", &listen, "--stun", "", "--json"];
    let mut server = place.start_sender(Command::new(program("KITH_BIN")).args(args));
    let addr = server.json_line(|v| v["addr"].as_str().map(str::to_string));
    (server, format!("http://{addr}"))
}

fn program(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable);
    PathBuf::from(path.unwrap_or_else(|| panic!("{variable} must name the program")))
}

/// A process whose lines are read and whose CPU time and memory are watched. Killed when dropped.
pub struct Watched {
    child: Child,
    lines: mpsc::Receiver<(Instant, String)>,
    usage: Option<std::thread::JoinHandle<Usage>>,
}

#[derive(Clone, Copy, Default)]
struct Usage {
    cpu: f64,
    rss: f64,
}

impl Watched {
    /// Starts it.
    pub fn start(command: &mut Command) -> Watched {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (tx, lines) = mpsc::channel();
        let out = child.stdout.take().unwrap();
        std::thread::spawn(move || read(out, &tx));
        let pid = child.id();
        Watched {
            child,
            lines,
            usage: Some(std::thread::spawn(move || watch(pid))),
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
        let usage = self.usage.take().unwrap().join().unwrap();
        assert!(
            self.child.wait().unwrap().success(),
            "a process of the bench failed"
        );
        usage
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
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
