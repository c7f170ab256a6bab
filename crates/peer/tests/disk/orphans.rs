//! Part files whose fetch nobody knows: adopted by another, or removed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use kith_peer::disk::{Adoption, CHUNK, PartTag, Removed, Target, leftovers, remove_leftovers};
use kith_protocol::ranges::RangeSet;

use super::{MTIME, bytes, finish, list, part, safe, write_all};

fn target() -> (tempfile::TempDir, Target) {
    let temp = tempfile::tempdir().unwrap();
    let target = Target::open(temp.path()).unwrap();
    (temp, target)
}

/// Leaves a part of `size` bytes with these chunks.
fn leave(target: &Target, wire: &str, tag: u64, data: &[u8], chunks: &[usize]) {
    let part = part(target, wire, tag, data.len() as u64).unwrap();
    for &n in chunks {
        let chunk = data.chunks(CHUNK).nth(n).unwrap();
        part.write_chunk(n as u64, chunk).unwrap();
    }
    part.sync().unwrap();
}

/// As a fetch with tag 9 that finds `used` parts in use.
fn adopt(
    target: &Target,
    wire: &str,
    from: &[&str],
    size: usize,
    used: &[u64],
) -> Option<RangeSet> {
    let elsewhere: Vec<_> = from.iter().map(|wire| safe(wire)).collect();
    let is_used = |tag: PartTag| used.contains(&tag.0);
    Adoption::new(target)
        .adopt(&safe(wire), &elsewhere, PartTag(9), size as u64, is_used)
        .unwrap()
}

fn ranges(of: &[(u64, u64)]) -> Option<RangeSet> {
    RangeSet::from_sorted(of.to_vec())
}

#[test]
fn a_part_is_adopted_with_the_chunks_that_are_there_and_completed() {
    let (_temp, target) = target();
    let data = bytes(6 * CHUNK + 10);
    // A hole of one chunk, and the end.
    leave(&target, "a/f", 1, &data, &[0, 1, 3, 6]);
    let have = adopt(&target, "a/f", &[], data.len(), &[]);
    assert_eq!(have, ranges(&[(0, 2), (3, 4), (6, 7)]));
    let whole = part(&target, "a/f", 9, data.len() as u64).unwrap();
    assert_eq!(whole.existing_len(), data.len() as u64);
    for n in [2, 4, 5] {
        let chunk = data.chunks(CHUNK).nth(n).unwrap();
        whole.write_chunk(n as u64, chunk).unwrap();
    }
    finish(whole, 0o644, MTIME).unwrap();
    assert_eq!(fs::read(target.root().join("a/f")).unwrap(), data);
    assert_eq!(list(&target.root().join("a")), ["f"], "nothing is left");
}

#[test]
fn a_chunk_that_is_there_in_part_does_not_count() {
    let (_temp, target) = target();
    let data = bytes(4 * CHUNK);
    leave(&target, "f", 1, &data, &[0]);
    let name = target.root().join(".f.0000000000000001.part");
    fs::write(name, &data[..2 * CHUNK + 5]).unwrap();
    assert_eq!(adopt(&target, "f", &[], data.len(), &[]), ranges(&[(0, 2)]));
}

#[test]
fn of_several_the_one_with_most_data_is_adopted() {
    let (_temp, target) = target();
    let data = bytes(5 * CHUNK);
    leave(&target, "f", 1, &data, &[4]);
    leave(&target, "f", 2, &data, &[0, 1, 2]);
    leave(&target, "f", 3, &data, &[0, 1]);
    assert_eq!(adopt(&target, "f", &[], data.len(), &[]), ranges(&[(0, 3)]));
    // It has no longer the name of an orphan, and is found again where it is.
    assert_eq!(adopt(&target, "f", &[], data.len(), &[]), ranges(&[(0, 3)]));
    assert_eq!(list(target.root()).len(), 3);
}

#[test]
fn what_is_used_open_or_longer_is_left_alone() {
    let (_temp, target) = target();
    let data = bytes(5 * CHUNK);
    leave(&target, "f", 1, &data, &[0, 1, 2, 3]);
    leave(&target, "f", 2, &data, &[0, 1, 2]);
    leave(&target, "g", 4, &data, &[0]);
    let open = part(&target, "f", 2, data.len() as u64).unwrap();
    assert_eq!(adopt(&target, "f", &[], data.len(), &[1]), None);
    assert_eq!(adopt(&target, "f", &[], 2 * CHUNK, &[]), None);
    drop(open);
    assert_eq!(
        adopt(&target, "f", &[], data.len(), &[1]),
        ranges(&[(0, 3)])
    );
}

#[test]
fn only_a_plain_file_of_one_name_is_adopted() {
    let (temp, target) = target();
    let outside = tempfile::tempdir().unwrap();
    let victim = outside.path().join("victim");
    fs::write(&victim, bytes(3 * CHUNK)).unwrap();
    let name = |tag: u64| temp.path().join(format!(".f.{tag:016x}.part"));
    symlink(&victim, name(1)).unwrap();
    fs::hard_link(&victim, name(2)).unwrap();
    fs::create_dir(name(3)).unwrap();
    fs::write(name(4), "").unwrap();
    assert_eq!(adopt(&target, "f", &[], 8 * CHUNK, &[]), None);
    assert_eq!(list(temp.path()).len(), 4);
    // Nor a folder that is a link.
    symlink(outside.path(), temp.path().join("photos")).unwrap();
    fs::write(
        outside.path().join(".f.0000000000000005.part"),
        bytes(CHUNK * 2),
    )
    .unwrap();
    assert_eq!(
        adopt(&target, "photos (1)/f", &["photos/f"], 8 * CHUNK, &[]),
        None
    );
    assert_eq!(fs::read(&victim).unwrap(), bytes(3 * CHUNK));
}

#[test]
fn a_part_moves_from_the_folder_of_an_earlier_fetch() {
    let (temp, target) = target();
    let data = bytes(3 * CHUNK);
    leave(&target, "photos/sub/f", 1, &data, &[0, 1]);
    target.create_dir(&safe("photos (1)/sub")).unwrap();
    let have = adopt(
        &target,
        "photos (1)/sub/f",
        &["photos/sub/f"],
        data.len(),
        &[],
    );
    assert_eq!(have, ranges(&[(0, 2)]));
    assert!(list(&temp.path().join("photos/sub")).is_empty());
    assert_eq!(
        list(&temp.path().join("photos (1)/sub")),
        [".f.0000000000000009.part"]
    );
}

#[test]
fn a_second_kith_never_writes_into_a_part_that_another_adopted() {
    let (_temp, target) = target();
    let data = bytes(3 * CHUNK);
    leave(&target, "f", 1, &data, &[0, 1]);
    let adopted = std::thread::spawn({
        let target = target.clone();
        move || adopt(&target, "f", &[], 3 * CHUNK, &[])
    });
    // Whoever comes first: the other begins with a file of its own.
    let own = part(&target, "f", 1, data.len() as u64).unwrap();
    let adopted = adopted.join().unwrap();
    assert_eq!(own.existing_len() == 0, adopted.is_some());
    own.write_chunk(2, &data[2 * CHUNK..]).unwrap();
    own.sync().unwrap();
}

#[test]
fn leftovers_are_those_that_nobody_uses_and_go_when_they_are_meant() {
    let (temp, target) = target();
    let data = bytes(3 * CHUNK);
    for (wire, tag) in [
        ("a/b/f", 1),
        ("g", 2),
        ("used", 3),
        ("open", 4),
        ("stays", 5),
    ] {
        leave(&target, wire, tag, &data, &[0, 1]);
    }
    let open = part(&target, "open", 4, data.len() as u64).unwrap();
    fs::write(temp.path().join(".notes.part"), "mine").unwrap();
    fs::write(temp.path().join("film.part"), "mine").unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join(".x.0000000000000006.part"), "x").unwrap();
    symlink(outside.path(), temp.path().join("link")).unwrap();
    let used = |tag: PartTag| tag.0 == 3;
    let names = |dir: &Path| -> Vec<String> {
        let found = leftovers(dir, used).unwrap();
        assert!(!found.cut);
        let parts = found.parts.iter();
        let root = dir.canonicalize().unwrap();
        parts
            .map(|p| p.path.strip_prefix(&root).unwrap().display().to_string())
            .collect()
    };
    assert_eq!(
        names(temp.path()),
        [
            ".g.0000000000000002.part",
            ".stays.0000000000000005.part",
            "a/b/.f.0000000000000001.part",
        ]
    );
    let found = leftovers(temp.path(), used).unwrap().parts;
    assert!(
        found.iter().all(|p| p.bytes == 2 * CHUNK as u64),
        "{found:?}"
    );
    let meant = |path: &Path| !path.ends_with(".stays.0000000000000005.part");
    let removed = remove_leftovers(temp.path(), used, meant).unwrap();
    let gone = Removed {
        files: 2,
        bytes: 4 * CHUNK as u64,
        kept: 0,
    };
    assert_eq!(removed, gone);
    assert_eq!(names(temp.path()), [".stays.0000000000000005.part"]);
    drop(open);
    assert_eq!(names(temp.path()).len(), 2, "nobody has it open any more");
    assert!(temp.path().join(".notes.part").exists());
    assert_eq!(list(outside.path()).len(), 1);
    assert!(leftovers(&temp.path().join("nowhere"), used).is_err());
}

#[test]
fn a_leftover_that_was_adopted_is_complete_all_the_same() {
    let (_temp, target) = target();
    let data = bytes(2 * CHUNK);
    let part_of = part(&target, "f", 1, data.len() as u64).unwrap();
    write_all(&part_of, &data).unwrap();
    drop(part_of);
    assert_eq!(adopt(&target, "f", &[], data.len(), &[]), ranges(&[(0, 2)]));
    let whole = part(&target, "f", 9, data.len() as u64).unwrap();
    assert_eq!(finish(whole, 0o644, MTIME).unwrap().as_str(), "f");
}
