//! Many small files, beside one large file and `tar | ssh`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use kith_tests::bench::{Loopback, Run, Ssh, machine, send_receive, today};
use kith_tests::random_file;

use super::Options;

/// Files per folder.
const PER_FOLDER: u32 = 1000;
/// The single file is no smaller: it takes a second at least.
const LEAST: u64 = 256 << 20;

pub fn run(options: &Options, files: u32, size: u64) {
    let machine = machine();
    let dir = tempfile::tempdir().unwrap();
    let (folder, single) = (dir.path().join("many"), dir.path().join("single.bin"));
    make(&folder, files, size);
    let bytes = u64::from(files) * size;
    random_file(&single, bytes.max(LEAST));
    let mut runs = [const { Vec::new() }; 3];
    for round in 0..options.rounds {
        let dir = dir.path().join(format!("round{round}"));
        runs[0].push(send_receive(&Loopback, &folder, &dir.join("many")));
        runs[1].push(send_receive(&Loopback, &single, &dir.join("single")));
        runs[2].push(Ssh::new(&Loopback, &dir.join("ssh")).tar(&folder));
    }
    let [many, single, tar] = [0, 1, 2].map(|i| Run::best(&runs[i]));
    let mut out = format!(
        "# {files} files of {size} bytes, {}\n\n{machine}.\n\n\
         Written by `./dev bench files --many {files} --size {size}`: loopback, the best of {}. `kith` \
         checks and syncs every file before it has its name; `tar | ssh` does not wait for the \
         disk.\n\n\
         | | files/s | MB/s | CPU s per GB | RSS sender, MiB | RSS receiver, MiB |\n\
         |---|---:|---:|---:|---:|---:|\n",
        today(),
        options.rounds,
    );
    for (name, run, size) in [
        ("kith, the small files", many, Some(size)),
        ("kith, one file", single, None),
        ("tar \\| ssh, the small files", tar, Some(size)),
    ] {
        let per_s = size.map_or(String::new(), |s| {
            format!("{:.0}", run.mb_per_s * 1e6 / s as f64)
        });
        let _ = writeln!(
            out,
            "| {name} | {per_s} | {:.1} | {:.1} | {:.0} | {:.0} |",
            run.mb_per_s,
            run.cpu[0] + run.cpu[1],
            run.usage[0].rss,
            run.usage[1].rss
        );
    }
    let of = |other: &Run| many.mb_per_s / other.mb_per_s * 100.0;
    let _ = writeln!(
        out,
        "\nThe small files go at {:.0} % of the rate of one file, and at {:.0} % of that of \
         `tar | ssh`.",
        of(single),
        of(tar)
    );
    println!("{out}");
    if let Some(dir) = &options.write {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join(format!("files-{files}.md")), out).unwrap();
    }
}

/// No two alike.
fn make(folder: &Path, files: u32, size: u64) {
    let mut content = vec![0u8; usize::try_from(size).unwrap()];
    for index in 0..files {
        let inner = folder.join(format!("{:03}", index / PER_FOLDER));
        if index % PER_FOLDER == 0 {
            fs::create_dir_all(&inner).unwrap();
        }
        let mark = index.to_le_bytes();
        let len = content.len().min(mark.len());
        content[..len].copy_from_slice(&mark[..len]);
        fs::write(inner.join(format!("{index:07}.bin")), &content).unwrap();
    }
}
