//! Prints what the disk layer does per second on this machine: reading and hashing, and
//! verifying, writing and syncing.
//!
//! `cargo run --release -p kith-peer --example disk_rate [-- MiB [FOLDER]]`
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use kith_peer::disk::{
    CHUNK, Digest, Naming, PartFile, PartTag, SafePath, SourceEntry, SourceReader, Target,
    WholeFile, chunk_digest, chunk_digests, scan,
};
use kith_protocol::tree::Tree;

type Answer<T> = Result<T, Box<dyn Error>>;

fn main() -> Answer<()> {
    let mut args = std::env::args().skip(1);
    let mib: usize = args.next().map_or(Ok(512), |arg| arg.parse())?;
    let dir = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = dir.join(format!("kith-disk-rate-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let result = measure(&dir, mib << 20);
    fs::remove_dir_all(&dir)?;
    result
}

fn measure(dir: &Path, len: usize) -> Answer<()> {
    let data: Vec<u8> = (0..len)
        .map(|i| (i % 251) as u8 ^ (i / CHUNK) as u8)
        .collect();
    let path = dir.join("source");
    fs::write(&path, &data)?;
    let entry = scan(&[path])?.entries.remove(0);

    rate("hash", len, || {
        let mut tree = Tree::new();
        let chunks: Vec<&[u8]> = data.chunks(CHUNK).collect();
        for digest in chunk_digests(&chunks) {
            tree.push(&digest);
        }
        std::hint::black_box(tree.root(len as u64));
        Ok(())
    })?;
    rate("read + hash", len, || read(&entry).map(drop))?;

    let hashes: Vec<Digest> = data.chunks(CHUNK).map(chunk_digest).collect();
    let target = Target::open(&dir.join("target"))?;
    rate("verify + write", len, || {
        write(&target, &data, &hashes)?
            .discard()
            .map_err(Into::into)
    })?;
    rate("verify + write + sync + name", len, || {
        name(vec![
            write(&target, &data, &hashes)?.complete(entry.mode, entry.mtime)?,
        ])
    })?;

    let files: u32 = 1_024;
    let small = |folder: &str, index: u32| -> Answer<PartFile> {
        let name = SafePath::from_wire(&format!("{folder}/{index}"))?;
        let part = PartFile::create_passing(&target, &name, PartTag(1), 10, 0o644)?;
        part.write_chunk(0, &data[..10])?;
        Ok(part)
    };
    let start = Instant::now();
    for index in 0..files {
        name(vec![
            small("single", index)?.complete(entry.mode, entry.mtime)?,
        ])?;
    }
    let per_second = f64::from(files) / start.elapsed().as_secs_f64();
    println!("{:34}{per_second:8.0} files/s", "small files, one by one");
    let start = Instant::now();
    for from in (0..files).step_by(256) {
        let batch = (from..from + 256)
            .map(|index| Ok(small("batch", index)?.complete(entry.mode, entry.mtime)?))
            .collect::<Answer<Vec<_>>>()?;
        name(batch)?;
    }
    let per_second = f64::from(files) / start.elapsed().as_secs_f64();
    println!(
        "{:34}{per_second:8.0} files/s",
        "small files, 256 at a time"
    );
    Ok(())
}

fn read(entry: &SourceEntry) -> Answer<Digest> {
    let mut reader = SourceReader::open(entry)?;
    while reader.next_chunk() < reader.chunks() {
        std::hint::black_box(reader.read_row(0)?);
    }
    Ok(reader.finish()?)
}

fn name(files: Vec<WholeFile>) -> Answer<()> {
    let mut naming = Naming::default();
    let files = files.into_iter().map(|file| ((), file)).collect();
    let mut ended = naming.round(files);
    ended.extend(naming.round(Vec::new()));
    for ((), name) in ended {
        name?;
    }
    Ok(())
}

fn write(target: &Target, data: &[u8], hashes: &[Digest]) -> Answer<PartFile> {
    let name = SafePath::from_wire("target.bin")?;
    let part = PartFile::create_or_open(target, &name, PartTag(1), data.len() as u64)?;
    let mut tree = Tree::new();
    for (index, (chunk, hash)) in (0..).zip(data.chunks(CHUNK).zip(hashes)) {
        if chunk_digest(chunk) != *hash {
            return Err("a chunk does not match its hash".into());
        }
        part.write_chunk(index, chunk)?;
        tree.push(hash);
    }
    Ok(part)
}

/// Best of three, by the clock and by what the processor spent on this thread.
fn rate(what: &str, bytes: usize, mut run: impl FnMut() -> Answer<()>) -> Answer<()> {
    let (mut clock, mut cpu) = (f64::MAX, f64::MAX);
    for _ in 0..3 {
        let (start, spent) = (Instant::now(), cpu_seconds());
        run()?;
        clock = clock.min(start.elapsed().as_secs_f64());
        cpu = cpu.min(cpu_seconds() - spent);
    }
    let mb = bytes as f64 / 1e6;
    println!(
        "{what:34}{:8.0} MB/s {:8.0} MB per CPU second",
        mb / clock,
        mb / cpu
    );
    Ok(())
}

/// Processor time of this thread; NaN where the system does not say.
fn cpu_seconds() -> f64 {
    fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|text| text.split(' ').next()?.parse::<f64>().ok())
        .map_or(f64::NAN, |nanos| nanos / 1e9)
}
