//! The store as its callers see it, across restarts, kills and damage.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex, mpsc};
use std::time::{Duration, Instant};

use kith_core::record::{
    ChatRecord, FetchKey, FetchRecord, LogHead, PeerRecord, Put, RoomRecord, Saved, SavedFetch,
};
use kith_peer::store::{Report, SCHEMA, Store, StoreError, Writer};
use kith_protocol::ids::{Digest, Signature};
use kith_protocol::peer::Entry;
use kith_protocol::ranges::RangeSet;
use kith_protocol::voucher::Voucher;
use kith_protocol::{Code, IdPk, MsgId, OfferId, PeerId, RoomId};
use proptest::prelude::*;
use tempfile::TempDir;

const ROOM: RoomId = RoomId([1; 16]);
const OTHER: RoomId = RoomId([2; 16]);
const ANN: PeerId = PeerId([7; 16]);
const BOB: PeerId = PeerId([8; 16]);

fn home() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn open(home: &TempDir) -> Store {
    Store::open(home.path()).unwrap()
}

fn room(room: RoomId) -> RoomRecord {
    RoomRecord {
        room,
        invite: format!("kith://example.org/j#v1.{room}"),
        open: true,
    }
}

fn person(n: u8) -> PeerRecord {
    PeerRecord {
        id_pk: IdPk([n; 32]),
        name: format!("person {n}"),
        met: 5,
    }
}

fn message(n: u64, stored: u64) -> ChatRecord {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&n.to_be_bytes());
    ChatRecord {
        id: MsgId(id),
        at: n,
        stored,
        text: format!("message {n} ✓"),
    }
}

fn fetch_key(room: RoomId, n: u8) -> FetchKey {
    FetchKey {
        room,
        from: ANN,
        offer: OfferId([n; 16]),
    }
}

/// These entries are complete, of which these have ranges.
fn done(fetch: FetchKey, entries: &[u32], begun: &[u32]) -> Put {
    Put::EntriesDone {
        fetch,
        entries: entries.iter().map(|e| (*e, "name".into())).collect(),
        begun: begun.to_vec(),
    }
}

fn fetch(key: FetchKey, entries: usize) -> FetchRecord {
    FetchRecord {
        key,
        dir: "/home/ann/Downloads".into(),
        tag: "0123456789abcdef".into(),
        name: "photos".into(),
        entries: (0..entries)
            .map(|i| Entry {
                path: format!("photos/{:03}/image number {i}.jpeg", i % 500),
                size: i as u64 * 1000,
                mode: 0o644,
                mtime: 1_700_000_000 + i as i64,
                mtime_ns: 17,
                dir: false,
            })
            .collect(),
        begun: true,
        hold: Default::default(),
        adopted: [3, 7].into(),
        roots: vec![("a".into(), "a (2)".into())],
        voucher: Some(Box::new(Voucher {
            by: IdPk([3; 32]),
            name: "photos".into(),
            entries: 1,
            total: 1000,
            root: Digest([4; 32]),
            to: vec![ANN],
            sig: Signature([5; 64]),
        })),
    }
}

fn ranges(list: &[(u64, u64)]) -> RangeSet {
    RangeSet::from_sorted(list.to_vec()).unwrap()
}

#[test]
fn everything_survives_a_restart() {
    let home = home();
    let store = open(&home);
    assert_eq!(store.load().unwrap(), Saved::default());
    let me = store.identity().unwrap().id_pk();
    assert_eq!(store.display_name().unwrap(), None);
    store.set_display_name("Ann ✿").unwrap();
    let key = fetch_key(ROOM, 1);
    // More ranges than one message may carry.
    let many: Vec<_> = (0..5000).map(|i| (i * 3, i * 3 + 2)).collect();
    store
        .apply(&[
            vec![Put::Room(room(ROOM)), Put::Room(room(OTHER))],
            vec![Put::Peer(person(1)), Put::Peer(person(2))],
            vec![
                Put::Chat(ROOM, ANN, 1, message(1, 10)),
                Put::Chat(ROOM, ANN, 2, message(2, 11)),
                Put::Chat(ROOM, BOB, 9, message(3, 12)),
                Put::Chat(OTHER, BOB, u64::MAX, message(4, u64::MAX)),
                Put::Acked(ROOM, BOB, 2),
            ],
            vec![
                Put::Fetch(fetch(key, 3)),
                Put::Ranges(key, 0, ranges(&many)),
                Put::Ranges(key, 1, ranges(&[(0, 4)])),
                done(key, &[1], &[1]),
                done(key, &[2], &[]),
            ],
        ])
        .unwrap();
    let check = |store: &Store| {
        let head = |room, author, seq| LogHead { room, author, seq };
        let saved = store.load().unwrap();
        assert_eq!(saved.rooms, [room(ROOM), room(OTHER)]);
        assert_eq!(saved.peers.len(), 2);
        assert!(saved.peers.contains(&person(1)) && saved.peers.contains(&person(2)));
        assert_eq!(
            saved.heads,
            [
                head(ROOM, ANN, 2),
                head(ROOM, BOB, 9),
                head(OTHER, BOB, u64::MAX)
            ]
        );
        assert_eq!(saved.acked, [(ROOM, BOB, 2)]);
        assert_eq!(
            saved.fetches,
            [SavedFetch {
                record: fetch(key, 3),
                ranges: vec![(0, ranges(&many))],
                done: vec![(1, "name".into()), (2, "name".into())],
            }]
        );
        assert_eq!(store.identity().unwrap().id_pk(), me);
        assert_eq!(store.display_name().unwrap().as_deref(), Some("Ann ✿"));
        assert_eq!(store.chat(ROOM, ANN, 2, 10).unwrap(), [(2, message(2, 11))]);
        assert_eq!(
            store.chat(OTHER, BOB, 0, 10).unwrap(),
            [(u64::MAX, message(4, u64::MAX))]
        );
    };
    check(&store);
    drop(store);
    check(&open(&home));
    check(&open(&home));
}

#[test]
fn forgetting_a_room_forgets_all_in_it_and_nothing_else() {
    let home = home();
    let store = open(&home);
    let fill = |r| {
        vec![
            Put::Room(room(r)),
            Put::Chat(r, ANN, 1, message(1, 1)),
            Put::Acked(r, ANN, 1),
            Put::Fetch(fetch(fetch_key(r, 1), 2)),
            Put::Ranges(fetch_key(r, 1), 0, ranges(&[(0, 1)])),
            done(fetch_key(r, 1), &[1], &[]),
        ]
    };
    store.apply(&[fill(OTHER)]).unwrap();
    let before = store.load().unwrap();
    // Once over what is stored, once over what the same call adds.
    store.apply(&[fill(ROOM)]).unwrap();
    store.apply(&[vec![Put::DropRoom(ROOM)]]).unwrap();
    assert_eq!(store.load().unwrap(), before);
    store
        .apply(&[fill(ROOM), vec![Put::DropRoom(ROOM)]])
        .unwrap();
    assert_eq!(store.load().unwrap(), before);
    assert_eq!(store.history(ROOM, None, 10).unwrap(), []);
    assert_eq!(store.history(OTHER, None, 10).unwrap().len(), 1);
    drop(store);
    assert_eq!(open(&home).load().unwrap(), before);
}

#[test]
fn progress_belongs_to_its_fetch() {
    let home = home();
    let store = open(&home);
    let key = fetch_key(ROOM, 1);
    let progress = || {
        let f = store.load().unwrap().fetches.into_iter().next()?;
        Some((f.ranges.len(), f.done.len()))
    };
    let some = || vec![Put::Ranges(key, 0, ranges(&[(0, 1)])), done(key, &[1], &[])];
    store.apply(&[some()]).unwrap();
    assert_eq!(progress(), None);
    store
        .apply(&[vec![Put::Fetch(fetch(key, 2))], some()])
        .unwrap();
    assert_eq!(progress(), Some((1, 1)));
    // The same fetch under another name keeps its part files; with another tag it does not.
    let mut renamed = fetch(key, 2);
    renamed.name = "pictures".into();
    store.apply(&[vec![Put::Fetch(renamed)]]).unwrap();
    assert_eq!(progress(), Some((1, 1)));
    let mut retagged = fetch(key, 2);
    retagged.tag = "fedcba9876543210".into();
    store.apply(&[vec![Put::Fetch(retagged)]]).unwrap();
    assert_eq!(progress(), Some((0, 0)));
    store.apply(&[some(), vec![Put::DropFetch(key)]]).unwrap();
    assert_eq!(progress(), None);
    store.apply(&[vec![Put::Fetch(fetch(key, 2))]]).unwrap();
    assert_eq!(progress(), Some((0, 0)));
}

#[test]
fn a_home_belongs_to_one_at_a_time() {
    let home = home();
    let store = open(&home);
    let err = Store::open(home.path()).unwrap_err();
    assert!(matches!(err, StoreError::InUse), "{err:?}");
    assert_eq!(err.code(), Code::HomeInUse);
    assert_eq!(err.to_string(), Code::HomeInUse.text());
    let child = child("child_opens", home.path()).output().unwrap();
    assert!(String::from_utf8_lossy(&child.stdout).contains("answer: InUse"));
    drop(store);
    let child = self::child("child_opens", home.path()).output().unwrap();
    assert!(String::from_utf8_lossy(&child.stdout).contains("answer: opened"));
}

#[cfg(unix)]
#[test]
fn a_home_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let parent = home();
    let path = parent.path().join("a/b");
    drop(Store::open(&path).unwrap());
    for (name, want) in [("", 0o700), ("store", 0o700), ("lock", 0o600)] {
        let mode = path.join(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, want, "{name}");
    }
}

#[test]
fn a_newer_format_is_left_alone() {
    let home = home();
    drop(open(&home));
    let newer = SCHEMA + 1;
    std::fs::write(home.path().join("schema"), format!("{newer}\n")).unwrap();
    let err = Store::open(home.path()).unwrap_err();
    assert!(
        matches!(err, StoreError::Newer { found, known } if found == newer && known == SCHEMA),
        "{err:?}"
    );
    assert!(err.is_final());
    std::fs::write(home.path().join("schema"), "what").unwrap();
    let err = Store::open(home.path()).unwrap_err();
    assert!(matches!(err, StoreError::Broken { .. }), "{err:?}");
}

#[test]
fn lost_data_is_not_taken_for_a_new_profile() {
    let home = home();
    drop(open(&home));
    std::fs::remove_dir_all(home.path().join("store")).unwrap();
    let err = Store::open(home.path()).unwrap_err();
    assert!(matches!(err, StoreError::Broken { .. }), "{err:?}");
    assert_eq!(err.code(), Code::StoreBroken);
}

/// All files below, with their contents.
fn files(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            out.extend(files(&path));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            out.push((path, bytes));
        }
    }
    out
}

#[test]
fn garbage_gives_an_error_and_never_another_identity() {
    let good = home();
    let store = open(&good);
    let me = store.identity().unwrap().id_pk();
    for n in 0..50 {
        let put = Put::Chat(ROOM, ANN, n, message(n, n));
        store.apply(&[vec![put]]).unwrap();
    }
    drop(store);
    let mut refused = 0;
    let files = files(&good.path().join("store"));
    let targets: Vec<_> = files.iter().filter(|f| !f.1.is_empty()).collect();
    assert!(targets.len() >= 3);
    for (target, bytes) in &targets {
        for junk in [
            vec![0xa5; bytes.len()],
            bytes[..bytes.len() / 2].to_vec(),
            Vec::new(),
        ] {
            let bad = home();
            for (path, bytes) in &files {
                let to = bad.path().join(path.strip_prefix(good.path()).unwrap());
                std::fs::create_dir_all(to.parent().unwrap()).unwrap();
                let bytes = if path == target { &junk } else { bytes };
                std::fs::write(to, bytes).unwrap();
            }
            std::fs::write(bad.path().join("schema"), SCHEMA.to_string()).unwrap();
            let got = Store::open(bad.path()).and_then(|s| {
                let me = s.identity()?.id_pk();
                s.load()?;
                Ok((me, s.chat(ROOM, ANN, 0, 100)?.len()))
            });
            match got {
                Ok(found) => assert_eq!(found, (me, 50), "{target:?}"),
                Err(e) => {
                    assert!(matches!(e, StoreError::Broken { .. }), "{e:?}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 0);

    for name in ["metadata/log_what", "metadata/snapshot_0", "slabs/64/x"] {
        let bad = home();
        let path = bad.path().join("store").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "junk").unwrap();
        let err = Store::open(bad.path()).unwrap_err();
        assert!(matches!(err, StoreError::Broken { .. }), "{name}: {err:?}");
    }
    let bad = home();
    std::fs::write(bad.path().join("store"), "junk").unwrap();
    assert!(Store::open(bad.path()).is_err());
}

/// This binary again, running one of the tests named `child_…` on a home.
fn child(test: &str, home: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env("KITH_TEST_HOME", home)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

#[test]
fn child_opens() {
    let Some(home) = std::env::var_os("KITH_TEST_HOME") else {
        return;
    };
    match Store::open(Path::new(&home)) {
        Ok(_) => say("\nanswer: opened"),
        Err(e) => say(&format!("\nanswer: {e:?}")),
    }
}

/// How long the manifest is after job `n`.
fn manifest_at(n: u64) -> usize {
    (n / 10 % 50) as usize
}

/// The changes of job `n`: in two rooms and both trees, so that half a job would show.
fn job(n: u64) -> Vec<Put> {
    let mut puts = vec![
        Put::Chat(ROOM, ANN, n, message(n, n)),
        Put::Chat(OTHER, BOB, n, message(n, n)),
    ];
    if n.is_multiple_of(10) {
        puts.push(Put::Fetch(fetch(fetch_key(ROOM, 1), manifest_at(n))));
    }
    puts
}

#[test]
fn child_writes() {
    let Some(home) = std::env::var_os("KITH_TEST_HOME") else {
        return;
    };
    let store = Arc::new(Store::open(Path::new(&home)).unwrap());
    let heads = store.load().unwrap().heads;
    let writer = Writer::start(store, |report| match report {
        Report::Done(ids) => say(&format!("acked {}", ids.last().unwrap())),
        Report::Failed { error, .. } => panic!("{error}"),
    })
    .unwrap();
    let mut n = heads.first().map_or(0, |h| h.seq);
    // Runs until killed.
    loop {
        n += 1;
        let mut puts = job(n);
        while let Err(full) = writer.try_submit(n, puts) {
            puts = full.0;
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_kill_loses_no_acknowledged_job() {
    let home = home();
    let mut acked = 0;
    for round in 0..10 {
        let mut child = child("child_writes", home.path()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut reports = 0;
        // Varies where in its work the child is hit.
        while reports < 3 + round * 2 {
            let line = lines.next().expect("the child ended early").unwrap();
            if let Some(n) = line.strip_prefix("acked ") {
                acked = n.parse().unwrap();
                reports += 1;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            // The last line may be cut.
            let n = line.strip_prefix("acked ").and_then(|n| n.parse().ok());
            acked = acked.max(n.unwrap_or(0));
        }
        let store = open(&home);
        let saved = store.load().unwrap();
        let [a, b] = saved.heads.as_slice() else {
            panic!("two logs: {:?}", saved.heads);
        };
        assert!(a.seq >= acked, "round {round}: {} of {acked}", a.seq);
        assert_eq!(a.seq, b.seq);
        let entries = saved.fetches.first().map_or(0, |f| f.record.entries.len());
        assert_eq!(entries, manifest_at(a.seq), "round {round}");
        let log = store.chat(ROOM, ANN, 0, usize::MAX).unwrap();
        assert!(log.iter().map(|(n, _)| *n).eq(1..=a.seq));
        assert!(log.iter().all(|(n, c)| *c == message(*n, *n)));
        assert_eq!(
            log.len(),
            store.history(ROOM, None, usize::MAX).unwrap().len()
        );
        acked = a.seq;
    }
}

#[test]
fn the_writer_reports_every_job_once_and_ends_clean() {
    let home = home();
    let store = Arc::new(open(&home));
    let (tell, told) = mpsc::channel();
    let writer = Writer::start(store.clone(), move |r| tell.send(r).unwrap()).unwrap();
    const JOBS: u64 = 20_000;
    let began = Instant::now();
    for n in 1..=JOBS {
        let mut puts = vec![Put::Chat(ROOM, ANN, n, message(n, n))];
        while let Err(full) = writer.try_submit(n, puts) {
            puts = full.0;
            std::thread::yield_now();
        }
        // Reads go on beside the writes.
        if n.is_multiple_of(5000) {
            assert!(store.history(ROOM, None, 50).unwrap().len() <= 50);
        }
    }
    writer.close().unwrap();
    let took = began.elapsed();
    eprintln!(
        "writer: {:.0} jobs/s in batches",
        JOBS as f64 / took.as_secs_f64()
    );
    let mut done = Vec::new();
    let mut flushes = 0;
    for report in told {
        match report {
            Report::Done(ids) => {
                assert!(ids.len() <= Writer::BATCH);
                done.extend(ids);
                flushes += 1;
            }
            Report::Failed { error, .. } => panic!("{error}"),
        }
    }
    eprintln!(
        "writer: {:.0} jobs per flush",
        JOBS as f64 / f64::from(flushes)
    );
    assert!(done.into_iter().eq(1..=JOBS));
    drop(store);
    let log = open(&home).chat(ROOM, ANN, 0, usize::MAX).unwrap();
    assert_eq!(log.len() as u64, JOBS);
}

#[tokio::test]
async fn a_waiting_submit_gets_its_place() {
    let home = home();
    let store = Arc::new(open(&home));
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let writer = Writer::start(store, move |r| tell.send(r).unwrap()).unwrap();
    for n in 0..3000 {
        let puts = vec![Put::Acked(ROOM, ANN, n)];
        writer.submit(n, puts).await.unwrap();
    }
    let mut done = 0;
    while done < 3000 {
        let report = tokio::time::timeout(Duration::from_secs(60), told.recv()).await;
        match report.unwrap().unwrap() {
            Report::Done(ids) => done += ids.len(),
            Report::Failed { error, .. } => panic!("{error}"),
        }
    }
}

#[test]
fn a_big_manifest_does_not_weigh_on_small_writes() {
    let home = home();
    let store = open(&home);
    let key = fetch_key(ROOM, 1);
    let record = fetch(key, 200_000);
    let began = Instant::now();
    store.apply(&[vec![Put::Fetch(record.clone())]]).unwrap();
    let big = began.elapsed();
    let began = Instant::now();
    for n in 0..100 {
        let put = Put::Ranges(key, 0, ranges(&[(0, n + 1)]));
        store.apply(&[vec![put]]).unwrap();
    }
    let small = began.elapsed() / 100;
    eprintln!("manifest of 200,000: {big:?}; then a range: {small:?}");
    assert!(small < big / 5, "{small:?} against {big:?}");
    drop(store);
    let began = Instant::now();
    let saved = open(&home).load().unwrap();
    eprintln!("open and load: {:?}", began.elapsed());
    assert_eq!(saved.fetches[0].record, record);
    assert_eq!(saved.fetches[0].ranges, [(0, ranges(&[(0, 100)]))]);
}

/// One store for all cases of the model test; each case has a room of its own.
static SHARED: LazyLock<(TempDir, Store, Mutex<u64>)> = LazyLock::new(|| {
    let home = home();
    let store = open(&home);
    (home, store, Mutex::new(0))
});

fn fresh_rooms() -> [RoomId; 2] {
    let mut next = SHARED.2.lock().unwrap();
    *next += 1;
    [0u8, 1].map(|n| {
        let mut id = [0xff; 16];
        id[7..15].copy_from_slice(&next.to_be_bytes());
        id[15] = n;
        RoomId(id)
    })
}

#[derive(Debug, Clone)]
enum Op {
    Chat(bool, u8, u64, u64),
    DropRoom(bool),
}

fn ops() -> impl Strategy<Value = Vec<Vec<Op>>> {
    let number = prop_oneof![0u64..12, Just(255), Just(256), Just(u64::MAX)];
    let author = prop_oneof![Just(0u8), Just(1), Just(0xff)];
    let op = prop_oneof![
        20 => (any::<bool>(), author, number.clone(), number)
            .prop_map(|(r, a, n, s)| Op::Chat(r, a, n, s)),
        1 => any::<bool>().prop_map(Op::DropRoom),
    ];
    prop::collection::vec(prop::collection::vec(op, 1..8), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn logs_and_timelines_behave_like_a_map(jobs in ops(), max in 1usize..9, from: u8) {
        let store = &SHARED.1;
        let rooms = fresh_rooms();
        let mut model: BTreeMap<(RoomId, PeerId, u64), ChatRecord> = BTreeMap::new();
        let mut serial = 0;
        for calls in jobs.chunks(2) {
            let mut batch = Vec::new();
            for job in calls {
                let mut puts = Vec::new();
                for op in job {
                    match *op {
                        Op::Chat(r, a, n, stored) => {
                            serial += 1;
                            let key = (rooms[usize::from(r)], PeerId([a; 16]), n);
                            let record = message(serial, stored);
                            puts.push(Put::Chat(key.0, key.1, key.2, record.clone()));
                            model.insert(key, record);
                        }
                        Op::DropRoom(r) => {
                            let room = rooms[usize::from(r)];
                            puts.push(Put::DropRoom(room));
                            model.retain(|k, _| k.0 != room);
                        }
                    }
                }
                batch.push(puts);
            }
            store.apply(&batch).unwrap();
        }
        for room in rooms {
            for a in [0u8, 1, 0xff] {
                let author = PeerId([a; 16]);
                let want: Vec<_> = model
                    .range((room, author, u64::from(from))..=(room, author, u64::MAX))
                    .take(max)
                    .map(|(k, v)| (k.2, v.clone()))
                    .collect();
                prop_assert_eq!(store.chat(room, author, from.into(), max).unwrap(), want);
            }
            let mut want: Vec<_> = model
                .iter()
                .filter(|(k, _)| k.0 == room)
                .map(|(k, v)| (k.1, k.2, v.clone()))
                .collect();
            want.sort_by_key(|(author, seq, c)| (c.stored, *author, *seq));
            // Page by page from the end gives the whole timeline.
            let mut got = Vec::new();
            let mut before = None;
            loop {
                let page = store.history(room, before, max).unwrap();
                prop_assert!(page.len() <= max);
                let Some((author, seq, c)) = page.first() else { break };
                before = Some((c.stored, *author, *seq));
                got.splice(0..0, page);
            }
            prop_assert_eq!(got, want);
            let heads: Vec<_> = store.load().unwrap().heads.into_iter().filter(|h| h.room == room).collect();
            let mut last = BTreeMap::new();
            for (r, a, n) in model.keys().filter(|k| k.0 == room) {
                last.insert((*r, *a), *n);
            }
            let want: Vec<_> = last.into_iter().map(|((room, author), seq)| LogHead { room, author, seq }).collect();
            prop_assert_eq!(heads, want);
        }
    }
}

/// The database gathers everything in one file when it opens, and then begins a new log. A process
/// that ends between the two leaves the one without the other.
#[test]
fn an_end_between_two_steps_of_opening_loses_nothing() {
    let home = home();
    open(&home).apply(&[vec![Put::Room(room(ROOM))]]).unwrap();
    drop(open(&home));
    let dir = home.path().join("store/metadata");
    let logs: Vec<_> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("log_")
        })
        .collect();
    assert_eq!(logs.len(), 1);
    assert_eq!(
        std::fs::metadata(&logs[0]).unwrap().len(),
        0,
        "all is gathered"
    );
    std::fs::remove_file(&logs[0]).unwrap();
    for _ in 0..2 {
        assert_eq!(open(&home).load().unwrap().rooms, [room(ROOM)]);
    }
}
