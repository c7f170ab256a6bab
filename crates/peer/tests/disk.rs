//! The disk layer on real folders.
#![allow(clippy::unwrap_used)]

#[path = "disk/faults.rs"]
mod faults;
#[path = "disk/orphans.rs"]
mod orphans;
#[path = "disk/receive.rs"]
mod receive;
#[path = "disk/send.rs"]
mod send;

use std::fs;
use std::path::Path;

use kith_peer::disk::{
    CHUNK, Digest, DiskError, HeldFile, ModTime, Naming, PartFile, PartTag, SafePath, SourceEntry,
    Target, WholeFile, chunk_digest, scan,
};
use kith_protocol::tree::Tree;

const MTIME: ModTime = ModTime {
    seconds: 1_000_000_000,
    nanos: 123_456_789,
};

/// Bytes that differ from chunk to chunk.
fn bytes(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| (i % 251) as u8 ^ (i / CHUNK) as u8)
        .collect()
}

fn file_hash(data: &[u8]) -> Digest {
    let mut tree = Tree::new();
    for chunk in data.chunks(CHUNK) {
        tree.push(&chunk_digest(chunk));
    }
    tree.root(data.len() as u64)
}

fn safe(wire: &str) -> SafePath {
    SafePath::from_wire(wire).unwrap()
}

fn part(target: &Target, wire: &str, tag: u64, size: u64) -> Result<PartFile, DiskError> {
    PartFile::create_or_open(target, &safe(wire), PartTag(tag), size)
}

/// What another receiver would be served from a part file.
fn held(target: &Target, wire: &str, tag: u64, part: &PartFile) -> HeldFile {
    HeldFile::open_part(target, &safe(wire), PartTag(tag), part.size()).unwrap()
}

/// Gives a complete part its name.
fn finish(part: PartFile, mode: u32, mtime: ModTime) -> Result<SafePath, DiskError> {
    let mut named = name_all(vec![part.complete(mode, mtime)?]);
    named.pop().unwrap()
}

/// Names, in the order of the files.
fn name_all(files: Vec<WholeFile>) -> Vec<Result<SafePath, DiskError>> {
    let mut naming = Naming::default();
    let mut ended = naming.round(files.into_iter().enumerate().collect());
    assert!(
        ended.iter().all(|(_, name)| name.is_err()),
        "not durable yet"
    );
    ended.extend(naming.round(Vec::new()));
    assert!(naming.is_idle());
    ended.sort_by_key(|(nth, _)| *nth);
    ended.into_iter().map(|(_, name)| name).collect()
}

/// As [`finish`] for many at once.
fn finish_many(batch: Vec<(PartFile, u32, ModTime)>) -> Vec<Result<SafePath, DiskError>> {
    let complete = batch.into_iter();
    let complete: Vec<_> = complete.map(|(p, mode, at)| p.complete(mode, at)).collect();
    let (mut whole, mut order) = (Vec::new(), Vec::new());
    for file in complete {
        order.push(file.map(|file| whole.push(file)));
    }
    let mut named = name_all(whole).into_iter();
    let named = order
        .into_iter()
        .map(|file| file.and_then(|()| named.next().unwrap()));
    named.collect()
}

fn write_all(part: &PartFile, data: &[u8]) -> Result<(), DiskError> {
    for (index, chunk) in data.chunks(CHUNK).enumerate() {
        part.write_chunk(index as u64, chunk)?;
    }
    Ok(())
}

/// Receives a whole file and says what it is called.
fn receive(target: &Target, wire: &str, data: &[u8]) -> Result<String, DiskError> {
    let part = part(target, wire, 7, data.len() as u64)?;
    write_all(&part, data)?;
    Ok(finish(part, 0o644, MTIME)?.to_string())
}

fn only_entry(path: &Path) -> SourceEntry {
    let mut found = scan(&[path.to_path_buf()]).unwrap();
    assert_eq!(found.entries.len(), 1);
    found.entries.remove(0)
}

/// Names in a folder, sorted.
fn list(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
