//! Files between real processes: every size and mode, and death by `kill -9` in the middle.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test picks the one change it waits for"
)]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use kith_tests::process::{Ended, Kith};
use kith_tests::{random_file, sha256};
use serde_json::Value;

const CHUNK: u64 = 65_536;

struct Scene {
    dir: tempfile::TempDir,
    server: Kith,
    url: String,
}

impl Scene {
    fn new() -> Scene {
        let (server, addr) = Kith::room_server(0);
        Scene {
            dir: tempfile::tempdir().unwrap(),
            server,
            url: format!("http://{addr}"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn send(&self, paths: &[&Path], rest: &[&str]) -> Kith {
        let mut args = vec!["send"];
        args.extend(paths.iter().map(|p| p.to_str().unwrap()));
        args.extend(rest);
        Kith::start(&self.path("ada"), "Ada", &args)
    }

    fn receive(&self, invite: &str) -> Kith {
        let into = self.path("in");
        let args = ["receive", invite, "--into", into.to_str().unwrap(), "--yes"];
        Kith::start(&self.path("bob"), "Bob", &args)
    }

    /// Sends 400 MB and waits until so many bytes are durable at the receiver.
    fn under_way(&self, durable: u64) -> UnderWay {
        let file = self.path("big.bin");
        random_file(&file, 400_000_000);
        let mut sender = self.send(&[&file], &["--server", &self.url]);
        let invite = invite_of(&mut sender);
        let mut receiver = self.receive(&invite);
        wait_durable(&mut receiver, durable);
        UnderWay {
            file,
            invite,
            sender,
            receiver,
        }
    }

    /// Asserts that the file is there, whole, and nothing else.
    fn arrived(&self, file: &Path) {
        assert_eq!(sha256(&self.path("in/big.bin")), sha256(file));
        assert_eq!(names(&self.path("in")), ["big.bin"], "nothing is left over");
    }
}

/// A large file half-way from Ada to Bob.
struct UnderWay {
    file: PathBuf,
    invite: String,
    sender: Kith,
    receiver: Kith,
}

fn invite_of(sender: &mut Kith) -> String {
    sender.wait("an invite", |v| v["invite"].as_str().map(str::to_string))
}

fn succeed(process: Kith) -> Ended {
    let ended = process.wait_end();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(ended.line("summary")["ok"], true);
    ended
}

fn number(value: &Value, field: &str) -> u64 {
    value["traffic"][field]
        .as_u64()
        .unwrap_or_else(|| panic!("no traffic.{field} in {value}"))
}

/// Waits until at least `bytes` of an offer are durable at the receiver.
fn wait_durable(receiver: &mut Kith, bytes: u64) {
    receiver.wait_new("progress", |v| {
        let done = v["done"].as_u64().filter(|_| v["type"] == "offer");
        assert_ne!(
            v["phase"], "done",
            "the file was over before the process could be killed"
        );
        done.filter(|d| *d >= bytes).map(|_| ())
    });
}

#[test]
fn files_of_every_size_and_a_folder_arrive_bit_for_bit_with_modes_and_times() {
    let scene = Scene::new();
    let out = scene.path("out");
    fs::create_dir(&out).unwrap();
    let sizes = [0, 1, CHUNK, CHUNK + 1, 300_000_000];
    for (i, size) in sizes.iter().enumerate() {
        random_file(&out.join(format!("file{size}")), *size);
        let mode = [0o644, 0o600, 0o755, 0o640, 0o444][i];
        dress(
            &out.join(format!("file{size}")),
            mode,
            1_000_000_000 + i as u64 * 86_400,
        );
    }
    let folder = out.join("folder");
    fs::create_dir_all(folder.join("deep/deeper")).unwrap();
    fs::create_dir(folder.join("empty")).unwrap();
    for n in 0..200u64 {
        let sub = ["", "deep", "deep/deeper"][n as usize % 3];
        let file = folder.join(sub).join(format!("n{n}.dat"));
        random_file(&file, n * n * 7);
        dress(
            &file,
            if n % 2 == 0 { 0o600 } else { 0o755 },
            1_200_000_000 + n,
        );
    }
    for (n, sub) in ["deep/deeper", "deep", "empty", ""].iter().enumerate() {
        dress(&folder.join(sub), 0o750, 1_300_000_000 + n as u64);
    }
    let mut paths: Vec<PathBuf> = sizes.iter().map(|s| out.join(format!("file{s}"))).collect();
    paths.push(folder);
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let mut sender = scene.send(&paths, &["--server", &scene.url]);
    let invite = invite_of(&mut sender);
    let receiver = scene.receive(&invite);
    let sent = succeed(sender);
    let received = succeed(receiver);
    same_tree(&out, &scene.path("in"));
    let total: u64 = sizes.iter().sum::<u64>() + (0..200u64).map(|n| n * n * 7).sum::<u64>();
    assert_eq!(number(sent.line("summary"), "sent"), total);
    assert_eq!(number(sent.line("summary"), "resent"), 0);
    assert_eq!(number(received.line("summary"), "received"), total);
    drop(scene.server);
}

#[test]
fn a_killed_receiver_goes_on_where_it_was() {
    let scene = Scene::new();
    let UnderWay {
        file,
        invite,
        sender,
        receiver,
    } = scene.under_way(40_000_000);
    receiver.kill();
    let received = succeed(scene.receive(&invite));
    let sent = succeed(sender);
    let summary = received.line("summary");
    assert!(number(summary, "resumed") >= 40_000_000, "{summary}");
    assert_eq!(number(summary, "received_durable"), 0, "{summary}");
    assert_eq!(
        number(summary, "resumed") + number(summary, "received"),
        400_000_000
    );
    let summary = sent.line("summary");
    assert_eq!(number(summary, "resent_durable"), 0, "{summary}");
    assert!(
        number(summary, "resent") < 120_000_000,
        "only what was in flight: {summary}"
    );
    scene.arrived(&file);
}

#[test]
fn a_killed_sender_goes_on_where_it_was() {
    let scene = Scene::new();
    let UnderWay {
        file,
        invite,
        sender,
        receiver,
    } = scene.under_way(40_000_000);
    sender.kill();
    let sent = succeed(scene.send(&[&file], &["--to", &invite]));
    let received = succeed(receiver);
    let summary = received.line("summary");
    assert_eq!(number(summary, "received_durable"), 0, "{summary}");
    let summary = sent.line("summary");
    assert_eq!(number(summary, "resent_durable"), 0, "{summary}");
    let again = number(summary, "sent");
    assert!(
        again <= 360_000_000,
        "what was durable is not sent again: {summary}"
    );
    scene.arrived(&file);
}

/// Kills the receiver half-way and leaves the folder as if it had given the file its name, which it
/// could not record any more: with the bytes of `complete`, and the time of what is offered.
fn killed_after_the_name(scene: &Scene, spoil: bool) -> (PathBuf, Ended) {
    let UnderWay {
        file,
        invite,
        sender,
        receiver,
    } = scene.under_way(40_000_000);
    receiver.kill();
    let into = scene.path("in");
    for name in names(&into) {
        fs::remove_file(into.join(name)).unwrap();
    }
    let named = into.join("big.bin");
    fs::copy(&file, &named).unwrap();
    let opened = fs::File::options().write(true).open(&named).unwrap();
    if spoil {
        std::os::unix::fs::FileExt::write_all_at(&opened, b"mine", 300_000_000).unwrap();
    }
    let offered = fs::metadata(&file).unwrap().modified().unwrap();
    opened.set_modified(offered).unwrap();
    let received = succeed(scene.receive(&invite));
    succeed(sender);
    (file, received)
}

#[test]
fn a_file_that_got_its_name_before_a_kill_is_known_again() {
    let scene = Scene::new();
    let (file, received) = killed_after_the_name(&scene, false);
    let summary = received.line("summary");
    assert_eq!(number(summary, "resumed"), 400_000_000, "{summary}");
    scene.arrived(&file);
}

#[test]
fn another_file_of_its_name_and_time_is_left_alone() {
    let scene = Scene::new();
    let (file, _) = killed_after_the_name(&scene, true);
    let into = scene.path("in");
    assert_eq!(names(&into), ["big (1).bin", "big.bin"]);
    assert_eq!(sha256(&into.join("big (1).bin")), sha256(&file));
    assert_ne!(sha256(&into.join("big.bin")), sha256(&file));
}

#[test]
fn small_files_of_a_receiver_that_is_killed_again_and_again_are_there_once() {
    const FILES: usize = 6_000;
    let scene = Scene::new();
    let folder = scene.path("many");
    fs::create_dir(&folder).unwrap();
    for n in 0..FILES {
        fs::write(folder.join(format!("{n:04}")), n.to_string().repeat(400)).unwrap();
    }
    let mut sender = scene.send(&[&folder], &["--server", &scene.url]);
    let invite = invite_of(&mut sender);
    // As one leaves it that is killed before it could record anything.
    fs::create_dir_all(scene.path("in/many")).unwrap();
    for part in [1_000_000, 3_000_000, 5_000_000] {
        let mut receiver = scene.receive(&invite);
        wait_durable(&mut receiver, part);
        receiver.kill();
    }
    succeed(scene.receive(&invite));
    succeed(sender);
    let into = scene.path("in");
    assert_eq!(names(&into), ["many"]);
    same_tree(&folder, &into.join("many"));
}

#[test]
fn a_killed_room_server_does_not_disturb_a_transfer() {
    let scene = Scene::new();
    let UnderWay {
        file,
        sender,
        receiver,
        ..
    } = scene.under_way(20_000_000);
    let Scene { dir, server, .. } = scene;
    server.kill();
    let sent = succeed(sender);
    let received = succeed(receiver);
    assert_eq!(number(sent.line("summary"), "resent"), 0);
    assert_eq!(number(received.line("summary"), "received"), 400_000_000);
    assert_eq!(sha256(&dir.path().join("in/big.bin")), sha256(&file));
}

fn dress(path: &Path, mode: u32, mtime: u64) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(mtime);
    let file = fs::File::open(path).unwrap();
    file.set_modified(time).unwrap();
}

fn same_tree(a: &Path, b: &Path) {
    assert_eq!(names(a), names(b));
    for name in names(a) {
        let (a, b) = (a.join(&name), b.join(&name));
        let (ma, mb) = (
            fs::symlink_metadata(&a).unwrap(),
            fs::symlink_metadata(&b).unwrap(),
        );
        assert_eq!(ma.file_type(), mb.file_type(), "{name}");
        assert_eq!(ma.mode() & 0o777, mb.mode() & 0o777, "mode of {name}");
        assert_eq!(
            (ma.mtime(), ma.mtime_nsec()),
            (mb.mtime(), mb.mtime_nsec()),
            "time of {name}"
        );
        if ma.is_dir() {
            same_tree(&a, &b);
        } else {
            assert_eq!(sha256(&a), sha256(&b), "{name}");
        }
    }
}

fn names(dir: &Path) -> Vec<String> {
    let name = |e: std::io::Result<fs::DirEntry>| e.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = fs::read_dir(dir).unwrap().map(name).collect();
    names.sort();
    names
}
