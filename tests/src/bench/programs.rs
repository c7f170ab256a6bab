//! What takes a file, or as many bytes, from one end of a place to the other.

use std::path::Path;
use std::process::Command;

use super::{Place, Run, Ssh, Wormhole, iperf3, raw_channel, send_receive};

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `kith send`.
    Kith,
    /// OpenSSH.
    Scp,
    /// With a relay that it does not need.
    Wormhole,
    /// The bare channel `files`, over so many connections side by side.
    Raw(u8),
    /// From memory to memory.
    Iperf3,
}

impl Program {
    /// As tables call it.
    pub fn name(self) -> String {
        match self {
            Program::Kith => "kith, disk to disk".into(),
            Program::Scp => "scp, disk to disk".into(),
            Program::Wormhole => "magic-wormhole, disk to disk".into(),
            Program::Raw(1) => "raw data channel, memory".into(),
            Program::Raw(n) => format!("{n} raw data channels, memory"),
            Program::Iperf3 => "TCP (iperf3), memory".into(),
        }
    }

    /// Takes `file`, or `mib` MiB from memory, across `place`; `dir` is for what it needs.
    pub fn run(self, place: &impl Place, file: &Path, mib: u64, dir: &Path) -> Run {
        match self {
            Program::Kith => send_receive(place, file, dir),
            Program::Scp => Ssh::new(place, dir).scp(file),
            Program::Wormhole => Wormhole::start(place, dir).send(file),
            Program::Raw(n) => raw_channel(place, mib, n),
            Program::Iperf3 => iperf3(place, mib),
        }
    }
}

/// What the others say of themselves.
pub fn versions() -> Vec<String> {
    let wormhole = std::env::var("WORMHOLE_VENV").unwrap_or_default() + "/bin/wormhole";
    [
        ("ssh", "-V", ","),
        (&wormhole, "--version", "\n"),
        ("iperf3", "--version", "("),
    ]
    .into_iter()
    .filter_map(|(program, flag, end)| {
        let said = Command::new(program).arg(flag).output().ok()?;
        // OpenSSH says it on standard error.
        let text = [said.stdout, said.stderr].concat();
        let text = String::from_utf8(text).ok()?;
        Some(text.split(end).next()?.trim().to_string())
    })
    .collect()
}
