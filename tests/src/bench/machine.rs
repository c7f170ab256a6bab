//! What a figure must say besides itself: where and when.

use std::fs;
use std::process::Command;

/// Processor, cores, memory, kernel, how large a UDP buffer may be, and what else went on: the load of
/// the minutes before. Ask before a bench begins.
pub fn machine() -> String {
    let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, key: &str| {
        let line = text.lines().find(|l| l.starts_with(key));
        let value = line.and_then(|l| l.split_once(':')).map(|(_, v)| v.trim());
        value.unwrap_or("?").to_string()
    };
    let cpu = value(&file("/proc/cpuinfo"), "model name");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = value(&file("/proc/meminfo"), "MemTotal");
    let kib: f64 = memory.trim_end_matches(" kB").parse().unwrap_or(0.0);
    let gib = kib / f64::from(1 << 20);
    let kernel = file("/proc/sys/kernel/osrelease");
    let buffer = file("/proc/sys/net/core/rmem_max");
    let load = file("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or("?");
    format!(
        "{cpu}, {cores} cores, {gib:.0} GiB; Linux {}; net.core.rmem_max {}; load before it began {load}",
        kernel.trim(),
        buffer.trim()
    )
}

/// The date, as in `2026-01-31`.
pub fn today() -> String {
    let date = Command::new("date").args(["-u", "+%F"]).output().unwrap();
    String::from_utf8(date.stdout).unwrap().trim().to_string()
}
