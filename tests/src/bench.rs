//! What benches of files share: runs over the bare data channel, of `kith send`, and of the programs
//! it stands beside; the processes of all, watched; tables and a plot.

mod far;
mod machine;
mod others;
mod plot;
mod programs;
mod watched;

pub mod talk;

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::netlab::Side;
use crate::sha256;

pub use far::Far;
pub use machine::{machine, today};
pub use others::{Ssh, Wormhole, iperf3};
pub use plot::{Bar, Panel, svg};
pub use programs::{Program, versions};
pub use watched::{Usage, Watched};

/// No step of a bench takes longer than this without a word.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a transfer took.
#[derive(Debug, Clone)]
pub struct Run {
    /// 10^6 bytes per second.
    pub mb_per_s: f64,
    /// CPU seconds of sender and receiver, per 10^9 bytes.
    pub cpu: [f64; 2],
    /// What sender and receiver took in all.
    pub usage: [Usage; 2],
}

impl Run {
    fn new(bytes: f64, seconds: f64, usage: [Usage; 2]) -> Run {
        Run {
            mb_per_s: bytes / 1e6 / seconds,
            cpu: [0, 1].map(|end| usage[end].cpu * 1e9 / bytes),
            usage,
        }
    }

    /// The quickest of some: other work on the machine only ever takes away.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn best(runs: &[Run]) -> &Run {
        let best = runs.iter().max_by(|a, b| a.mb_per_s.total_cmp(&b.mb_per_s));
        best.expect("a run")
    }
}

/// Where the two ends of a transfer run: the sender at [`Side::A`], the receiver at [`Side::B`].
pub trait Place {
    /// Runs `f` in the network of that side.
    fn within<T: Send>(&self, side: Side, f: impl FnOnce() -> T + Send) -> T;
    /// The address of that side.
    fn addr(&self, side: Side) -> Ipv4Addr;
    /// The loopback port of the sender that leads to this one of the receiver.
    fn lead_to(&self, port: u16) -> u16;

    /// Starts a process there.
    fn start(&self, side: Side, command: &mut Command) -> Watched {
        self.within(side, || Watched::start(command))
    }
}

/// Both on this machine, over loopback.
#[derive(Debug, Clone, Copy)]
pub struct Loopback;

impl Place for Loopback {
    fn within<T: Send>(&self, _: Side, f: impl FnOnce() -> T + Send) -> T {
        f()
    }

    fn addr(&self, _: Side) -> Ipv4Addr {
        Ipv4Addr::LOCALHOST
    }

    fn lead_to(&self, port: u16) -> u16 {
        port
    }
}

/// The raw channel (64 KiB messages, the product's own connection and tuning, one process per
/// side) over so many connections, by the program that `RAW_CHANNEL_BIN` names.
pub fn raw_channel(place: &impl Place, mib: u64, strands: u8) -> Run {
    settle();
    let bin = program("RAW_CHANNEL_BIN");
    let strands = format!("--strands={strands}");
    let mut recv = place.start(Side::B, Command::new(&bin).args(["recv", &strands]));
    let port = recv.json_line(|v| v["port"].as_u64());
    let port = place.lead_to(u16::try_from(port).unwrap()).to_string();
    let mib = mib.to_string();
    let args = ["send", &port, &mib, &strands];
    let send = place.start(Side::A, Command::new(&bin).args(args));
    let rate = recv.json_line(|v| v["mb_per_s"].as_f64());
    let bytes = (mib.parse::<u64>().unwrap() << 20) as f64;
    Run::new(bytes, bytes / 1e6 / rate, [send.finish(), recv.finish()])
}

/// `kith send` → `kith receive` of a file or a folder, by the program that `KITH_BIN` names, with a
/// fresh room server, and fresh profiles in `dir`, which is removed at the end. Timed from the
/// receiver's word that it begins until its word that all is there, checked and synced.
pub fn send_receive(place: &impl Place, what: &Path, dir: &Path) -> Run {
    settle();
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
    let path = what.to_str().unwrap();
    let mut send = place.start(Side::A, &mut kith("Ada", &["send", path, "--server", &url]));
    let invite = send.json_line(|v| v["invite"].as_str().map(str::to_string));
    let into = home("in");
    let receive = ["receive", &invite, "--into", &into, "--yes"];
    let mut receive = place.start(Side::B, &mut kith("Bob", &receive));
    let phase = |v: &Value, phase: &str| (v["phase"] == phase).then_some(());
    receive.json_line(|v| phase(v, "fetching"));
    let begun = Instant::now();
    receive.json_line(|v| phase(v, "done"));
    let seconds = begun.elapsed().as_secs_f64();
    let usage = [send.finish(), receive.finish()];
    drop(server);
    let bytes = same(what, &dir.join("in").join(what.file_name().unwrap()));
    fs::remove_dir_all(dir).unwrap();
    Run::new(bytes as f64, seconds, usage)
}

/// Bytes of the files in `sent`.
///
/// # Panics
///
/// If what arrived is not what was sent.
fn same(sent: &Path, got: &Path) -> u64 {
    if !sent.is_dir() {
        assert_eq!(
            sha256(got),
            sha256(sent),
            "what arrived is not what was sent"
        );
        return fs::metadata(sent).unwrap().len();
    }
    let mut names: Vec<_> = fs::read_dir(sent)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    let count = fs::read_dir(got).unwrap().count();
    assert_eq!(count, names.len(), "entries in {}", got.display());
    let both = names
        .iter()
        .map(|name| same(&sent.join(name), &got.join(name)));
    both.sum()
}

/// What was written before costs this run nothing.
fn settle() {
    rustix::fs::sync();
}

/// A fresh room server where the sender runs, and its address.
pub fn room_server(place: &impl Place) -> (Watched, String) {
    let listen = format!("{}:0", place.addr(Side::A));
    let args = ["room-server", "--listen", &listen, "--stun", "", "--json"];
    let mut server = place.start(Side::A, Command::new(program("KITH_BIN")).args(args));
    let addr = server.json_line(|v| v["addr"].as_str().map(str::to_string));
    (server, format!("http://{addr}"))
}

fn program(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable);
    PathBuf::from(path.unwrap_or_else(|| panic!("{variable} must name the program")))
}
