//! A network namespace with a TUN device in it.

use std::fs::{File, OpenOptions};
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Command;
use std::sync::Arc;
use std::{fmt, io};

use rustix::fs::OFlags;
use rustix::ioctl::{self, Updater, opcode};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

const DEVICE: &str = "link0";
/// Packets that wait for their carrier: enough that they are lost where a pipe says, not here.
const QUEUE: &str = "10000";

/// Why there is no lab.
#[derive(Debug)]
pub struct NoLab(String);

impl NoLab {
    pub(super) fn new(what: &str, why: &dyn fmt::Display) -> NoLab {
        NoLab(format!("cannot {what}: {why}"))
    }
}

impl fmt::Display for NoLab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = &self.0;
        write!(f, "impaired links need root, /dev/net/tun and ip: {why}")
    }
}

impl std::error::Error for NoLab {}

/// A namespace of its own. It ends when this is dropped and no process is left in it.
pub(super) struct Space {
    namespace: File,
    tun: Arc<File>,
}

impl Space {
    /// Makes one in which `addr` is a neighbour of all in its /24, by packets of `mtu` bytes at most.
    pub(super) fn make(addr: Ipv4Addr, mtu: u32) -> Result<Space, NoLab> {
        // In a thread that ends: the others stay where they are.
        let made = std::thread::spawn(move || {
            leave_network().map_err(|e| NoLab::new("make a network namespace", &e))?;
            let namespace = File::open("/proc/thread-self/ns/net")
                .map_err(|e| NoLab::new("open the namespace", &e))?;
            let tun = open_tun().map_err(|e| NoLab::new("make a TUN device", &e))?;
            let tun = Arc::new(tun);
            let (addr, mtu) = (format!("{addr}/24"), mtu.to_string());
            ip(&["link", "set", "lo", "up"])?;
            // No address of IPv6 appears by itself.
            ip(&["link", "set", DEVICE, "addrgenmode", "none"])?;
            ip(&["addr", "add", &addr, "dev", DEVICE])?;
            ip(&[
                "link",
                "set",
                DEVICE,
                "mtu",
                &mtu,
                "txqueuelen",
                QUEUE,
                "up",
            ])?;
            Ok(Space { namespace, tun })
        });
        made.join().expect("a thread that reports its errors")
    }

    pub(super) fn tun(&self) -> Arc<File> {
        self.tun.clone()
    }

    pub(super) fn within<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(self.namespace.as_fd(), kind).unwrap();
            f()
        };
        let ended = std::thread::scope(|scope| scope.spawn(inside).join());
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Moves this thread to a network of its own.
fn leave_network() -> io::Result<()> {
    // SAFETY: only `FILES` takes descriptors from other threads; this is `NEWNET` alone.
    #[allow(unsafe_code, reason = "rustix has no safe way for this flag alone")]
    unsafe {
        unshare_unsafe(UnshareFlags::NEWNET)?;
    }
    Ok(())
}

/// A TUN device in the network of this thread, gone when the file is closed. Reads and writes are
/// IP packets and never block.
fn open_tun() -> io::Result<File> {
    /// `struct ifreq` of netdevice(7), as `TUNSETIFF` reads it.
    #[repr(C)]
    struct Request {
        name: [u8; 16],
        flags: u16,
        rest: [u8; 22],
    }
    const TUNSETIFF: ioctl::Opcode = opcode::write::<i32>(b'T', 202);
    const IFF_TUN: u16 = 0x0001;
    const IFF_NO_PI: u16 = 0x1000;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open("/dev/net/tun")?;
    let mut request = Request {
        name: [0; 16],
        flags: IFF_TUN | IFF_NO_PI,
        rest: [0; 22],
    };
    request.name[..DEVICE.len()].copy_from_slice(DEVICE.as_bytes());
    // SAFETY: `TUNSETIFF` takes a `struct ifreq`, of which `Request` has size and layout, and
    // writes only within it.
    #[allow(unsafe_code, reason = "no call of rustix makes a TUN device")]
    unsafe {
        ioctl::ioctl(&file, Updater::<TUNSETIFF, Request>::new(&mut request))?;
    }
    Ok(file)
}

fn ip(args: &[&str]) -> Result<(), NoLab> {
    let command = format!("run 'ip {}'", args.join(" "));
    let out = Command::new("ip").args(args).output();
    let out = out.map_err(|e| NoLab::new(&command, &e))?;
    let said = String::from_utf8_lossy(&out.stderr);
    out.status
        .success()
        .then_some(())
        .ok_or_else(|| NoLab::new(&command, &said.trim()))
}
