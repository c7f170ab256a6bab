//! One large file, and what both ends hold meanwhile.

use std::fmt::Write as _;
use std::fs;

use kith_tests::bench::{Loopback, machine, send_receive, today};
use kith_tests::random_file;

use super::Options;

/// What the second quarter and the last may differ by and memory still be called flat: a share of the
/// former, and MiB.
const FLAT: (f64, f64) = (0.1, 4.0);

pub fn run(options: &Options, gib: u64) {
    let machine = machine();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("random.bin");
    random_file(&file, gib << 30);
    let run = send_receive(&Loopback, &file, &dir.path().join("run"));
    let mut out = format!(
        "# A file of {gib} GiB, {}\n\n{machine}.\n\n\
         Written by `./dev bench files --gib {gib}`: loopback, disk to disk, {:.0} MB/s, RSS noted \
         every second.\n\n\
         | | peak RSS, MiB | mean of the second quarter | of the last | flat | CPU s per GB |\n\
         |---|---:|---:|---:|---|---:|\n",
        today(),
        run.mb_per_s,
    );
    for (name, usage, cpu) in [
        ("sender", &run.usage[0], run.cpu[0]),
        ("receiver", &run.usage[1], run.cpu[1]),
    ] {
        let (early, late) = usage.early_and_late().expect("a run of seconds");
        let flat = late <= early * (1.0 + FLAT.0) + FLAT.1;
        let flat = if flat { "yes" } else { "no" };
        let _ = writeln!(
            out,
            "| {name} | {:.0} | {early:.0} | {late:.0} | {flat} | {cpu:.2} |",
            usage.rss
        );
    }
    println!("{out}");
    if let Some(dir) = &options.write {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join(format!("files-{gib}-gib.md")), out).unwrap();
    }
}
