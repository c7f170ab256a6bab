//! Scanning and reading what is sent.

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use kith_peer::disk::{
    CHUNK, Digest, DiskError, DiskFault, EntryKind, ModTime, ROW, SkipReason, SourceReader,
    chunk_digest, scan,
};

use super::{bytes, file_hash, only_entry};

/// Reads to the end as if every chunk were sent.
fn read_out(mut reader: SourceReader) -> Result<(Vec<u8>, Digest), DiskError> {
    let mut all = Vec::new();
    while reader.next_chunk() < reader.chunks() {
        for read in reader.read_row(3)? {
            let (head, chunk) = read.frame.split_at(3);
            assert_eq!((head, read.digest), (&[0; 3][..], chunk_digest(chunk)));
            all.extend_from_slice(chunk);
        }
    }
    Ok((all, reader.finish()?))
}

#[test]
fn a_scan_is_flat_sorted_and_complete() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("photos");
    fs::create_dir_all(root.join("b/empty")).unwrap();
    fs::write(root.join("b/two.txt"), "22").unwrap();
    fs::write(root.join("a.txt"), "1").unwrap();
    fs::set_permissions(root.join("a.txt"), Permissions::from_mode(0o4751)).unwrap();
    let time = UNIX_EPOCH + Duration::new(1_234_567_890, 42);
    let times = FileTimes::new().set_modified(time);
    File::open(root.join("a.txt"))
        .unwrap()
        .set_times(times)
        .unwrap();
    symlink("/etc/passwd", root.join("link")).unwrap();
    symlink("/etc", root.join("b/linked-folder")).unwrap();
    fs::write(root.join(OsStr::from_bytes(b"bad\xff")), "x").unwrap();
    fs::create_dir(root.join(OsStr::from_bytes(b"dir\xff"))).unwrap();
    fs::write(root.join(OsStr::from_bytes(b"dir\xff/inside")), "x").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();

    let found = scan(std::slice::from_ref(&root)).unwrap();

    let entries: Vec<_> = found
        .entries
        .iter()
        .map(|e| (e.wire_path.as_str(), e.kind, e.size))
        .collect();
    assert_eq!(
        entries,
        [
            ("photos", EntryKind::Dir, 0),
            ("photos/a.txt", EntryKind::File, 1),
            ("photos/b", EntryKind::Dir, 0),
            ("photos/b/empty", EntryKind::Dir, 0),
            ("photos/b/two.txt", EntryKind::File, 2),
        ]
    );
    assert_eq!(found.total(), 3);
    let a = &found.entries[1];
    assert_eq!(a.mode, 0o751);
    assert_eq!(
        a.mtime,
        ModTime {
            seconds: 1_234_567_890,
            nanos: 42
        }
    );
    assert_eq!(fs::read(&a.real).unwrap(), b"1");
    let skipped: Vec<_> = found.skipped.iter().map(|s| s.reason).collect();
    assert_eq!(
        skipped,
        [
            SkipReason::Link,
            SkipReason::NotText,
            SkipReason::NotText,
            SkipReason::Link,
            SkipReason::Special
        ]
    );
    assert_eq!(scan(&[root]).unwrap(), found);
}

#[test]
fn given_paths_get_distinct_names_and_given_links_are_followed() {
    let temp = tempfile::tempdir().unwrap();
    for dir in ["x", "y", "z"] {
        fs::create_dir(temp.path().join(dir)).unwrap();
    }
    fs::write(temp.path().join("x/a.txt"), "1").unwrap();
    fs::write(temp.path().join("y/A.TXT"), "22").unwrap();
    symlink("../x", temp.path().join("z/folder")).unwrap();
    let paths: Vec<PathBuf> = ["x/a.txt", "y/A.TXT", "x/a.txt", "z/folder", "y/."]
        .iter()
        .map(|path| temp.path().join(path))
        .collect();
    let found = scan(&paths).unwrap();
    let names: Vec<_> = found.entries.iter().map(|e| e.wire_path.as_str()).collect();
    assert_eq!(
        names,
        [
            "A (1).TXT",
            "a (2).txt",
            "a.txt",
            "folder",
            "folder/a.txt",
            "y",
            "y/A.TXT"
        ]
    );
    let missing = scan(&[temp.path().join("nowhere")]).unwrap_err();
    assert_eq!(missing.kind(), DiskFault::SourceMissing);
    assert!(missing.to_string().contains("nowhere"));
}

#[test]
fn an_unreadable_file_is_named() {
    if rustix::process::geteuid().is_root() {
        eprintln!("could not run: root may read every file");
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let secret = temp.path().join("secret");
    fs::write(&secret, "x").unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o000)).unwrap();
    let error = scan(&[temp.path().to_path_buf()]).unwrap_err();
    assert_eq!(error.kind(), DiskFault::Denied);
    assert!(error.to_string().contains("secret"));
}

#[test]
fn every_size_around_a_chunk_reads_back_with_its_hashes() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("f");
    for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 40 * CHUNK + 17] {
        let data = bytes(len);
        fs::write(&path, &data).unwrap();
        let (read, whole) = read_out(SourceReader::open(&only_entry(&path)).unwrap()).unwrap();
        assert_eq!(read, data, "{len}");
        assert_eq!(whole, file_hash(&data), "{len}");
    }
}

#[test]
fn chunks_are_read_in_order_and_any_of_them_again() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("f");
    let data = bytes(5 * CHUNK + 3);
    fs::write(&path, &data).unwrap();
    let mut reader = SourceReader::open(&only_entry(&path)).unwrap();
    for (read, chunk) in reader.read_row(0).unwrap().iter().zip(data.chunks(CHUNK)) {
        assert_eq!(read.frame, chunk);
    }
    assert_eq!(reader.next_chunk(), 4);
    let again = reader.read_again(1, 2).unwrap();
    assert_eq!(again.frame[2..], data[CHUNK..2 * CHUNK]);
    assert_eq!(again.digest, chunk_digest(&data[CHUNK..2 * CHUNK]));
    let beyond = reader.read_again(6, 0).unwrap_err();
    assert_eq!(beyond.kind(), DiskFault::Invalid);
    let read = reader.read_row(0).unwrap();
    assert_eq!((read.len(), read[1].frame.len()), (2, 3));
    assert_eq!(read[0].digest, chunk_digest(&read[0].frame));
    assert_eq!(read[1].frame, data[5 * CHUNK..]);
    assert_eq!(reader.read_row(0).unwrap(), []);
    assert_eq!(reader.finish().unwrap(), file_hash(&data));
}

#[test]
fn a_whole_hash_needs_every_chunk() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("f");
    fs::write(&path, bytes(ROW * CHUNK + 1)).unwrap();
    let mut reader = SourceReader::open(&only_entry(&path)).unwrap();
    reader.read_row(0).unwrap();
    assert_eq!(reader.finish().unwrap_err().kind(), DiskFault::Invalid);
}

/// What happens to the file, and what the sender must be told.
type Mischief = (&'static str, fn(&PathBuf), DiskFault);

const MISCHIEF: [Mischief; 6] = [
    ("append", |path| append(path), DiskFault::SourceChanged),
    ("truncate", |path| truncate(path), DiskFault::SourceChanged),
    (
        "overwrite",
        |path| overwrite(path),
        DiskFault::SourceChanged,
    ),
    (
        "delete",
        |path| fs::remove_file(path).unwrap(),
        DiskFault::SourceMissing,
    ),
    ("replace", |path| replace(path), DiskFault::SourceChanged),
    (
        "link",
        |path| replace_by_link(path),
        DiskFault::SourceChanged,
    ),
];

fn append(path: &PathBuf) {
    let file = File::options().append(true).open(path).unwrap();
    std::io::Write::write_all(&mut &file, b"more").unwrap();
}

fn truncate(path: &PathBuf) {
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(CHUNK as u64 + 5)
        .unwrap();
}

fn overwrite(path: &PathBuf) {
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .write_all_at(b"other", 9)
        .unwrap();
}

fn replace(path: &PathBuf) {
    let other = path.with_extension("new");
    fs::write(&other, bytes(fs::metadata(path).unwrap().len() as usize)).unwrap();
    let time = fs::metadata(path).unwrap().modified().unwrap() + Duration::from_secs(1);
    File::open(&other)
        .unwrap()
        .set_times(FileTimes::new().set_modified(time))
        .unwrap();
    fs::rename(other, path).unwrap();
}

fn replace_by_link(path: &PathBuf) {
    fs::rename(path, path.with_extension("old")).unwrap();
    symlink(path.with_extension("old"), path).unwrap();
}

/// A file whose time is in the past, so that any change shows in it.
fn old_file(len: usize) -> (tempfile::TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("f");
    fs::write(&path, bytes(len)).unwrap();
    let times = FileTimes::new().set_modified(UNIX_EPOCH + Duration::from_secs(1_000_000_000));
    File::open(&path).unwrap().set_times(times).unwrap();
    (temp, path)
}

#[test]
fn a_source_changed_before_it_is_opened_is_refused() {
    for (what, mischief, fault) in MISCHIEF {
        let (_temp, path) = old_file(3 * CHUNK);
        let entry = only_entry(&path);
        mischief(&path);
        let error = SourceReader::open(&entry).unwrap_err();
        assert_eq!(error.kind(), fault, "{what}: {error}");
    }
}

#[test]
fn a_source_changed_while_it_is_read_never_yields_a_whole_hash() {
    for (what, mischief, fault) in MISCHIEF {
        for at in [0, 3, 10] {
            let (_temp, path) = old_file(40 * CHUNK);
            let mut reader = SourceReader::open(&only_entry(&path)).unwrap();
            let read = || {
                for row in 0..10 {
                    if row == at {
                        mischief(&path);
                    }
                    reader.read_row(0)?;
                }
                if at == 10 {
                    mischief(&path);
                }
                reader.finish()
            };
            let error = read().unwrap_err();
            assert_eq!(error.kind(), fault, "{what} at {at}: {error}");
        }
    }
}

#[test]
fn a_sparse_file_beyond_four_gib_is_read_at_its_far_end() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("sparse");
    let size = (5 << 30) + 17;
    let file = File::create(&path).unwrap();
    file.set_len(size).unwrap();
    file.write_all_at(b"the end", size - 7).unwrap();
    let reader = SourceReader::open(&only_entry(&path)).unwrap();
    let read = reader.read_again(reader.chunks() - 1, 0).unwrap();
    assert_eq!(read.frame.len(), 17);
    assert_eq!(&read.frame[10..], b"the end");
}
