//! Links that are as bad as one wants them, between real processes on one machine.
//!
//! A [`Lab`] is two network namespaces and nothing that leads out of them. In each there is a TUN
//! device; what goes into one comes out of the other as a [`Pipe`] for each direction lets it.
//! Namespaces and devices have no name outside and end with the last process in them and the file
//! that holds them, hence with the test, however it ends.
//!
//! Root is needed, `/dev/net/tun`, and `ip` (Debian: `iproute2`).

mod carry;
mod pipe;
mod space;

use std::collections::BTreeSet;
use std::fs;
use std::io::PipeWriter;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

pub use pipe::{Counts, Pipe, Quality};
pub use space::NoLab;

use carry::Line;
use space::Space;

/// An end of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// One.
    A,
    /// The other.
    B,
}

/// Two namespaces with a link between them. Gone when dropped.
pub struct Lab {
    spaces: [Space; 2],
    /// By where they come from.
    lines: [Arc<Line>; 2],
    /// Closed to end the carriers.
    stop: Option<PipeWriter>,
    carriers: Vec<JoinHandle<()>>,
}

impl Lab {
    /// Makes one, both directions of the same quality. What is lost and late follows `seed`.
    ///
    /// # Errors
    ///
    /// If this process may not make namespaces or TUN devices, or the machine has none.
    pub fn start(quality: Quality, seed: u64) -> Result<Lab, NoLab> {
        Self::with_mtu(quality, seed, 1_500)
    }

    /// As [`start`](Self::start), with devices that take packets of `mtu` bytes, up to 9,000.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn with_mtu(quality: Quality, seed: u64, mtu: u32) -> Result<Lab, NoLab> {
        let make = |side| Space::make(addr(side), mtu);
        let spaces = [make(Side::A)?, make(Side::B)?];
        let lines = [seed, !seed].map(|seed| Arc::new(Line::new(Pipe::new(quality, seed))));
        let (ended, stop) = std::io::pipe().map_err(|e| NoLab::new("make a pipe", &e))?;
        let [a, b] = [spaces[0].tun(), spaces[1].tun()];
        let mut lab = Lab {
            spaces,
            lines: lines.clone(),
            stop: Some(stop),
            carriers: Vec::new(),
        };
        for (line, from, to) in [(&lines[0], &a, &b), (&lines[1], &b, &a)] {
            let (line, from, to) = (line.clone(), from.clone(), to.clone());
            let ended = ended
                .try_clone()
                .map_err(|e| NoLab::new("share a pipe", &e))?;
            lab.carriers
                .push(std::thread::spawn(move || line.carry(&from, &to, &ended)));
        }
        Ok(lab)
    }

    /// The address of a side, the same in every lab.
    pub fn addr(&self, side: Side) -> Ipv4Addr {
        addr(side)
    }

    /// Runs `f` where its network is that of `side`: sockets made there and processes started there
    /// stay there.
    pub fn within<T: Send>(&self, side: Side, f: impl FnOnce() -> T + Send) -> T {
        self.spaces[side as usize].within(f)
    }

    /// Another quality for packets from `side`, from now on.
    pub fn set(&self, side: Side, quality: Quality) {
        self.lines[side as usize].set(quality);
    }

    /// Loses everything both ways, for so long.
    pub fn cut(&self, time: Duration) {
        self.cut_from(Side::A, time);
        self.cut_from(Side::B, time);
    }

    /// Loses everything from `side`, for so long.
    pub fn cut_from(&self, side: Side, time: Duration) {
        self.lines[side as usize].cut(time);
    }

    /// Loses UDP packets from or to this port, both ways and for good.
    pub fn block(&self, port: u16) {
        self.lines.iter().for_each(|line| line.block(port));
    }

    /// The ports of the UDP sockets bound to the address of `side`.
    ///
    /// # Panics
    ///
    /// If the kernel does not say.
    pub fn udp_ports(&self, side: Side) -> BTreeSet<u16> {
        let table = self.within(side, || fs::read_to_string("/proc/thread-self/net/udp"));
        let table = table.expect("a table of sockets");
        // proc(5): the second word of each line but the first is ADDRESS:PORT, in hexadecimal, the
        // address as a number of the machine that has the bytes of the network.
        let local = |line: &str| {
            let (ip, port) = line.split_whitespace().nth(1)?.rsplit_once(':')?;
            let ip = u32::from_str_radix(ip, 16).ok()?.to_ne_bytes();
            let port = u16::from_str_radix(port, 16).ok()?;
            (ip == addr(side).octets()).then_some(port)
        };
        table.lines().skip(1).filter_map(local).collect()
    }

    /// What became of the packets from `side` so far.
    pub fn counts(&self, side: Side) -> Counts {
        self.lines[side as usize].counts()
    }

    /// Waits until the packets from `side` are as `is` says.
    ///
    /// # Panics
    ///
    /// If that does not happen within [`PATIENCE`](crate::PATIENCE).
    pub fn wait_counts(&self, side: Side, what: &str, is: impl Fn(Counts) -> bool) {
        self.lines[side as usize].wait(what, is);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop = None;
        for carrier in self.carriers.drain(..) {
            let ended = carrier.join();
            assert!(
                ended.is_ok() || std::thread::panicking(),
                "a carrier of packets ended early"
            );
        }
    }
}

fn addr(side: Side) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, 1 + side as u8)
}
