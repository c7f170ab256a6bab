//! Writing, resuming, naming.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use kith_peer::disk::{
    CHUNK, DiskError, DiskFault, ModTime, Naming, PartFile, PartTag, SafePath, Target, chunk_digest,
};
use kith_protocol::ranges::RangeSet;
use kith_protocol::tree::Tree;

use super::{
    MTIME, bytes, file_hash, finish, finish_many, held, list, part, receive, safe, write_all,
};

fn target() -> (tempfile::TempDir, Target) {
    let temp = tempfile::tempdir().unwrap();
    let target = Target::open(&temp.path().join("down/loads")).unwrap();
    (temp, target)
}

#[test]
fn every_size_around_a_chunk_arrives_exactly() {
    let (_temp, target) = target();
    for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1] {
        let name = format!("a folder/{len}.bin");
        let data = bytes(len);
        assert_eq!(receive(&target, &name, &data).unwrap(), name);
        assert_eq!(fs::read(target.path_of(&safe(&name))).unwrap(), data);
    }
    assert!(
        list(&target.root().join("a folder"))
            .iter()
            .all(|name| name.ends_with(".bin"))
    );
}

#[test]
fn chunks_may_come_in_any_order_but_only_where_they_belong() {
    let (_temp, target) = target();
    let data = bytes(2 * CHUNK + 10);
    let part = part(&target, "f", 1, data.len() as u64).unwrap();
    let wrong: [(u64, &[u8]); 6] = [
        (0, &data[..CHUNK - 1]),
        (2, &data[..CHUNK]),
        (2, &data[..9]),
        (3, &data[..10]),
        (u64::MAX, &data[..10]),
        (0, &[]),
    ];
    for (index, chunk) in wrong {
        let error = part.write_chunk(index, chunk).unwrap_err();
        assert_eq!(error.kind(), DiskFault::Invalid, "{index} {}", chunk.len());
    }
    for index in [2, 0, 1] {
        let chunk = data.chunks(CHUNK).nth(index).unwrap();
        part.write_chunk(index as u64, chunk).unwrap();
    }
    let last = held(&target, "f", 1, &part).read_chunk(2, 0).unwrap();
    assert_eq!(last.frame, data[2 * CHUNK..]);
    finish(part, 0o644, MTIME).unwrap();
    assert_eq!(fs::read(target.root().join("f")).unwrap(), data);
}

#[test]
fn chunks_in_a_row_are_written_together_and_read_back_once_let_go_of() {
    let (_temp, target) = target();
    let data = bytes(5 * CHUNK + 10);
    let part = part(&target, "f", 1, data.len() as u64).unwrap();
    let chunks: Vec<&[u8]> = data.chunks(CHUNK).collect();
    for (first, row) in [
        (3, &chunks[2..6]),
        (4, &chunks[..2]),
        (u64::MAX, &chunks[..2]),
    ] {
        let wrong = part.write_chunks(first, row).unwrap_err();
        assert_eq!(wrong.kind(), DiskFault::Invalid, "{first}");
    }
    let held = held(&target, "f", 1, &part);
    assert!(held.read_chunk(0, 0).is_err(), "nothing is written");
    part.write_chunks(2, &chunks[2..]).unwrap();
    part.write_chunks(0, &chunks[..2]).unwrap();
    part.sync().unwrap();
    let all = RangeSet::from_sorted(vec![(0, 3), (4, 6)]).unwrap();
    part.syncer().release(&all);
    part.syncer()
        .release(&RangeSet::from_sorted(vec![(u64::MAX - 1, u64::MAX)]).unwrap());
    for (index, chunk) in (0..).zip(&chunks) {
        assert_eq!(held.read_chunk(index, 0).unwrap().frame, *chunk);
    }
    finish(part, 0o644, MTIME).unwrap();
    assert_eq!(fs::read(target.root().join("f")).unwrap(), data);
}

#[test]
fn a_part_is_found_again_and_read_back_into_the_hash() {
    let (_temp, target) = target();
    let data = bytes(40 * CHUNK + 5);
    let size = data.len() as u64;
    let first = part(&target, "sub/f.bin", 0xabc, size).unwrap();
    assert_eq!(first.existing_len(), 0);
    write_all(&first, &data[..30 * CHUNK]).unwrap();
    first.sync().unwrap();
    drop(first);
    assert_eq!(
        list(&target.root().join("sub")),
        [".f.bin.0000000000000abc.part"]
    );

    let again = part(
        &Target::open(target.root()).unwrap(),
        "sub/f.bin",
        0xabc,
        size,
    )
    .unwrap();
    assert_eq!(again.existing_len(), 30 * CHUNK as u64);
    let mut tree = Tree::new();
    for end in [17, 30] {
        again.hash_up_to(&mut tree, end).unwrap();
        assert_eq!(tree.leaves(), end);
    }
    let mut more = tree.clone();
    for (end, fault) in [
        (31, DiskFault::Gone),
        (42, DiskFault::Invalid),
        (29, DiskFault::Invalid),
    ] {
        let error = again.hash_up_to(&mut more, end).unwrap_err();
        assert_eq!(error.kind(), fault);
    }
    for (index, chunk) in data.chunks(CHUNK).enumerate().skip(30) {
        tree.push(&chunk_digest(chunk));
        again.write_chunk(index as u64, chunk).unwrap();
    }
    again.hash_up_to(&mut tree, 41).unwrap();
    assert_eq!(tree.root(size), file_hash(&data));
    assert_eq!(finish(again, 0o600, MTIME).unwrap().as_str(), "sub/f.bin");
    assert_eq!(fs::read(target.root().join("sub/f.bin")).unwrap(), data);
    assert_eq!(list(&target.root().join("sub")), ["f.bin"]);
}

#[test]
fn other_tags_are_other_parts_and_an_overlong_part_begins_again() {
    let (_temp, target) = target();
    let one = part(&target, "f", 1, 100).unwrap();
    let two = part(&target, "f", 2, 100).unwrap();
    one.write_chunk(0, &[1; 100]).unwrap();
    two.write_chunk(0, &[2; 100]).unwrap();
    assert_eq!(list(target.root()).len(), 2);
    drop(one);
    assert_eq!(part(&target, "f", 1, 99).unwrap().existing_len(), 0);
    two.discard().unwrap();
    assert_eq!(list(target.root()), [".f.0000000000000001.part"]);
}

#[test]
fn an_incomplete_file_gets_no_name() {
    let (_temp, target) = target();
    let part = part(&target, "f", 1, CHUNK as u64 + 1).unwrap();
    part.write_chunk(0, &bytes(CHUNK)).unwrap();
    let error = finish(part, 0o644, MTIME).unwrap_err();
    assert_eq!(error.kind(), DiskFault::Invalid);
    assert_eq!(list(target.root()), [".f.0000000000000001.part"]);
}

#[test]
fn taken_names_get_numbers_and_nothing_is_replaced() {
    let (_temp, target) = target();
    fs::write(target.root().join("Cafe\u{301}.txt"), "mine").unwrap();
    let names: Vec<String> = ["x.txt", "x.txt", "X.TXT", "x (1).txt", "CAF\u{c9}.txt", "y"]
        .iter()
        .map(|name| receive(&target, name, name.as_bytes()).unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "x.txt",
            "x (1).txt",
            "X (2).TXT",
            "x (1) (1).txt",
            "CAF\u{c9} (1).txt",
            "y"
        ]
    );
    assert_eq!(
        fs::read(target.root().join("Cafe\u{301}.txt")).unwrap(),
        b"mine"
    );
    assert_eq!(fs::read(target.root().join("x.txt")).unwrap(), b"x.txt");
    // What others put into the folder, or take from it, counts as well.
    fs::write(target.root().join("late"), "mine").unwrap();
    fs::create_dir(target.root().join("Folder")).unwrap();
    fs::remove_file(target.root().join("y")).unwrap();
    assert_eq!(receive(&target, "late", b"1").unwrap(), "late (1)");
    assert_eq!(receive(&target, "folder", b"1").unwrap(), "folder (1)");
    assert_eq!(receive(&target, "y", b"1").unwrap(), "y");
    assert_eq!(fs::read(target.root().join("late")).unwrap(), b"mine");
}

#[test]
fn modes_and_times_arrive_but_never_setuid_or_unreadable() {
    let (_temp, target) = target();
    let table = [
        (0o644, 0o644),
        (0o755, 0o755),
        (0o444, 0o444),
        (0o7777, 0o777),
        (0, 0o400),
    ];
    for (index, (wanted, expected)) in table.into_iter().enumerate() {
        let name = format!("f{index}");
        let part = part(&target, &name, 1, 3).unwrap();
        let on_disk = target.root().join(&list(target.root())[0]);
        assert_eq!(fs::metadata(on_disk).unwrap().mode() & 0o7777, 0o600);
        part.write_chunk(0, b"abc").unwrap();
        finish(part, wanted, MTIME).unwrap();
        let found = fs::metadata(target.root().join(&name)).unwrap();
        assert_eq!(found.mode() & 0o7777, expected, "{wanted:o}");
        assert_eq!(
            (found.mtime(), found.mtime_nsec()),
            (MTIME.seconds, 123_456_789)
        );
    }
}

#[test]
fn what_passes_has_no_name_until_it_is_complete() {
    let (_temp, target) = target();
    let passing = |wire: &str, mode| {
        let part = PartFile::create_passing(&target, &safe(wire), PartTag(1), 3, mode).unwrap();
        part.write_chunk(0, b"abc").unwrap();
        assert_eq!(part.existing_len(), 0);
        part
    };
    let folder = target.root().join("d");
    // What breaks off leaves nothing, however far it was.
    drop(passing("d/f", 0o644));
    passing("d/f", 0o644).discard().unwrap();
    let whole = passing("d/f", 0o644).complete(0o644, MTIME).unwrap();
    assert!(!whole.is_large());
    whole.discard().unwrap();
    assert_eq!(list(&folder), [] as [&str; 0]);
    let table = [
        ("f", 0o644, 0o644),
        ("f (1)", 0o755, 0o755),
        ("f (2)", 0o7777, 0o777),
        ("f (3)", 0, 0o400),
    ];
    for (name, wanted, expected) in table {
        let named = finish(passing("d/f", wanted), wanted, MTIME).unwrap();
        assert_eq!(named.file_name(), name);
        let at = folder.join(name);
        let found = fs::metadata(&at).unwrap();
        assert_eq!(found.mode() & 0o7777, expected, "{wanted:o}");
        assert_eq!((found.nlink(), found.mtime()), (1, MTIME.seconds));
        assert_eq!(fs::read(&at).unwrap(), b"abc");
    }
    assert_eq!(list(&folder).len(), table.len());
    // Somebody removes the folder between two files.
    fs::remove_dir_all(&folder).unwrap();
    finish(passing("d/g", 0o600), 0o600, MTIME).unwrap();
    assert_eq!(list(&folder), ["g"]);
    // And with the file on its way: it has nowhere to go, and that is said.
    let part = passing("d/h", 0o600);
    fs::remove_dir_all(&folder).unwrap();
    let error = finish(part, 0o600, MTIME).unwrap_err();
    assert_eq!(error.kind(), DiskFault::Gone);
}

#[test]
fn rounds_make_durable_what_the_round_before_named() {
    let (_temp, target) = target();
    let whole = |wire: &str| {
        let part = PartFile::create_passing(&target, &safe(wire), PartTag(1), 1, 0o600).unwrap();
        part.write_chunk(0, b"x").unwrap();
        part.complete(0o600, MTIME).unwrap()
    };
    let names = |ended: Vec<(u32, Result<SafePath, DiskError>)>| -> Vec<(u32, String)> {
        let name =
            |(key, name): (u32, Result<SafePath, DiskError>)| (key, name.unwrap().to_string());
        ended.into_iter().map(name).collect()
    };
    let mut naming = Naming::default();
    assert!(naming.is_idle() && naming.round(Vec::new()).is_empty());
    let ended = naming.round(vec![(1, whole("a")), (2, whole("d/b"))]);
    assert_eq!(names(ended), []);
    assert!(!naming.is_idle());
    let ended = naming.round(vec![(3, whole("a"))]);
    assert_eq!(names(ended), [(1, "a".into()), (2, "d/b".into())]);
    assert_eq!(names(naming.round(Vec::new())), [(3, "a (1)".into())]);
    assert!(naming.is_idle());
}

#[test]
fn absurd_times_do_no_harm() {
    let (_temp, target) = target();
    let table = [
        (i64::MIN, u32::MAX),
        (i64::MAX, 0),
        (0, (1 << 30) - 1),
        (0, (1 << 30) - 2),
    ];
    for (seconds, nanos) in table {
        let part = part(&target, "f", 1, 0).unwrap();
        let name = finish(part, 0o644, ModTime { seconds, nanos }).unwrap();
        let found = fs::metadata(target.path_of(&name)).unwrap();
        if seconds == 0 {
            assert_eq!((found.mtime(), found.mtime_nsec()), (0, 999_999_999));
        }
    }
}

#[test]
fn folders_are_made_once_and_finished_last() {
    let (_temp, target) = target();
    let dir = safe("a/b/c");
    assert!(target.create_dir(&dir).unwrap());
    assert!(!target.create_dir(&dir).unwrap());
    assert!(!target.create_dir(&safe("a")).unwrap());
    receive(&target, "a/b/c/f", b"x").unwrap();
    target.finish_dir(&dir, 0o7550, MTIME).unwrap();
    let found = fs::metadata(target.path_of(&dir)).unwrap();
    assert_eq!(
        (found.mode() & 0o7777, found.mtime()),
        (0o550, MTIME.seconds)
    );
    let missing = target
        .finish_dir(&safe("a/none"), 0o755, MTIME)
        .unwrap_err();
    assert_eq!(missing.kind(), DiskFault::Gone);
    fs::set_permissions(target.path_of(&dir), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn syncing_runs_beside_writing() {
    let (_temp, target) = target();
    let data = bytes(64 * CHUNK);
    let part = part(&target, "f", 1, data.len() as u64).unwrap();
    let syncer = part.syncer();
    std::thread::scope(|scope| {
        let syncing = scope.spawn(move || (0..8).try_for_each(|_| syncer.clone().sync()));
        write_all(&part, &data).unwrap();
        syncing.join().unwrap().unwrap();
    });
    finish(part, 0o644, MTIME).unwrap();
    assert_eq!(fs::read(target.root().join("f")).unwrap(), data);
}

#[test]
fn holes_stay_holes_and_offsets_beyond_four_gib_are_exact() {
    let (_temp, target) = target();
    let size = (5 << 30) + 3;
    let part = part(&target, "big", 1, size).unwrap();
    part.write_chunk(size / CHUNK as u64, b"end").unwrap();
    finish(part, 0o644, MTIME).unwrap();
    let found = fs::metadata(target.root().join("big")).unwrap();
    assert_eq!(found.len(), size);
    assert!(found.blocks() * 512 < 1 << 20, "{}", found.blocks());
}

#[test]
fn five_thousand_small_files_finish_in_order() {
    let (_temp, target) = target();
    for from in (0..5_000).step_by(250) {
        let wanted: Vec<_> = (from..from + 250).map(|i| format!("many/{i:04}")).collect();
        let batch: Vec<_> = wanted
            .iter()
            .map(|name| {
                let part = part(&target, name, 7, name.len() as u64).unwrap();
                part.write_chunk(0, name.as_bytes()).unwrap();
                (part, 0o644, MTIME)
            })
            .collect();
        let names = finish_many(batch).into_iter();
        assert_eq!(
            names
                .map(|name| name.unwrap().to_string())
                .collect::<Vec<_>>(),
            wanted
        );
    }
    let names = list(&target.root().join("many"));
    assert_eq!(names.len(), 5_000);
    for name in names {
        let text = fs::read_to_string(target.root().join("many").join(&name)).unwrap();
        assert_eq!(text, format!("many/{name}"));
    }
}

#[test]
fn a_batch_finishes_in_order_and_one_bad_part_spoils_no_other() {
    let (_temp, target) = target();
    let batch: Vec<_> = ["a", "b", "a", "d", "e"]
        .iter()
        .enumerate()
        .map(|(tag, name)| {
            let part = part(&target, name, tag as u64, 3).unwrap();
            if *name != "b" {
                part.write_chunk(0, b"abc").unwrap();
            }
            (part, 0o640, MTIME)
        })
        .collect();
    fs::remove_file(target.root().join(".d.0000000000000003.part")).unwrap();
    let names: Vec<_> = finish_many(batch)
        .into_iter()
        .map(|name| {
            name.map(|name| name.to_string())
                .map_err(|error| error.kind())
        })
        .collect();
    let ok = |name: &str| Ok(name.to_owned());
    assert_eq!(
        names,
        [
            ok("a"),
            Err(DiskFault::Invalid),
            ok("a (1)"),
            Err(DiskFault::Gone),
            ok("e")
        ]
    );
    assert_eq!(
        list(target.root()),
        [".b.0000000000000001.part", "a", "a (1)", "e"]
    );
    let found = fs::metadata(target.root().join("a (1)")).unwrap();
    assert_eq!(
        (found.mode() & 0o7777, found.mtime()),
        (0o640, MTIME.seconds)
    );
}

#[test]
fn the_longest_and_deepest_paths_can_be_written() {
    let (_temp, target) = target();
    let name = "😀".repeat(64);
    let long = receive(&target, &name, b"x").unwrap();
    assert_eq!(long, "😀".repeat(60));
    assert_eq!(
        receive(&target, &name, b"y").unwrap(),
        format!("{} (1)", "😀".repeat(59))
    );
    let deep = vec!["deep"; 300].join("/");
    assert_eq!(receive(&target, &deep, b"x").unwrap(), deep);
}

#[test]
fn space_is_known_up_front() {
    let (_temp, target) = target();
    let free = target.free_space().unwrap();
    assert!(free > 0);
    assert!(target.check_space(1).is_ok());
    assert_eq!(
        target.check_space(u64::MAX).unwrap_err().kind(),
        DiskFault::Full
    );
    let huge = PartFile::create_or_open(&target, &safe("f"), PartTag(1), u64::MAX).unwrap_err();
    assert_eq!(huge.kind(), DiskFault::TooLarge);
    assert!(list(target.root()).is_empty());
}
