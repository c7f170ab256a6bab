//! Part files that outlive the profile that began them, between real processes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use kith_tests::process::{Ended, Kith};
use kith_tests::{random_file, sha256};
use serde_json::Value;

const SIZE: u64 = 150_000_000;
/// So much is durable when the receiver is killed.
const HALF: u64 = 60_000_000;

struct Scene {
    dir: tempfile::TempDir,
    _server: Kith,
    /// It waits for who was killed, unless that one comes back as the same person.
    sender: Kith,
    invite: String,
}

impl Scene {
    /// Sends this, and kills the receiver half-way.
    fn broken_off(make: impl FnOnce(&Path) -> PathBuf) -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let (server, addr) = Kith::room_server(0);
        let what = make(dir.path());
        let url = format!("http://{addr}");
        let args = ["send", what.to_str().unwrap(), "--server", &url];
        // Slow enough to be killed in time.
        let args = [&args[..], &["--limit", "100M"]].concat();
        let mut sender = Kith::start(&dir.path().join("ada"), "Ada", &args);
        let invite = sender.wait("an invite", |v| v["invite"].as_str().map(str::to_string));
        let scene = Scene {
            dir,
            _server: server,
            sender,
            invite,
        };
        let mut receiver = scene.receive("bob");
        receiver.wait_new("progress", |v| {
            assert_ne!(v["phase"], "done", "it was over before it could be killed");
            let done = v["done"].as_u64().filter(|_| v["type"] == "offer");
            done.filter(|done| *done >= HALF).map(drop)
        });
        receiver.kill();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn receive(&self, profile: &str) -> Kith {
        let into = self.path("in");
        let into = into.to_str().unwrap();
        let args = ["receive", &self.invite, "--into", into, "--yes"];
        Kith::start(&self.path(profile), "Bob", &args)
    }

    fn parts(&self, profile: &str, more: &[&str]) -> Ended {
        let into = self.path("in");
        let args = [&["parts", into.to_str().unwrap()], more].concat();
        succeed(Kith::start(&self.path(profile), "Bob", &args))
    }
}

fn big(dir: &Path) -> PathBuf {
    let file = dir.join("big.bin");
    random_file(&file, SIZE);
    file
}

fn succeed(process: Kith) -> Ended {
    let ended = process.wait_end();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    ended
}

fn traffic(summary: &Value, field: &str) -> u64 {
    summary["traffic"][field].as_u64().unwrap()
}

/// Paths of all files below a folder.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(files(&path)),
            false => all.push(path),
        }
    }
    all.sort();
    all
}

#[test]
fn a_receiver_without_its_profile_goes_on_from_the_part_that_is_there() {
    let scene = Scene::broken_off(big);
    fs::remove_dir_all(scene.path("bob")).unwrap();
    let received = succeed(scene.receive("bob"));
    let summary = received.line("summary");
    assert!(traffic(summary, "resumed") >= HALF, "{summary}");
    let all = traffic(summary, "resumed") + traffic(summary, "received");
    assert_eq!(all, SIZE, "nothing that is there is sent again: {summary}");
    assert_eq!(
        sha256(&scene.path("in/big.bin")),
        sha256(&scene.path("big.bin"))
    );
    assert_eq!(files(&scene.path("in")), [scene.path("in/big.bin")]);
}

#[test]
fn a_spoiled_part_costs_no_more_than_its_file() {
    let scene = Scene::broken_off(big);
    fs::remove_dir_all(scene.path("bob")).unwrap();
    let part = files(&scene.path("in")).remove(0);
    let mut part = fs::OpenOptions::new().write(true).open(part).unwrap();
    part.seek(SeekFrom::Start(1_000_000)).unwrap();
    part.write_all(b"something else").unwrap();
    let received = succeed(scene.receive("bob"));
    let summary = received.line("summary");
    let (resumed, received) = (traffic(summary, "resumed"), traffic(summary, "received"));
    assert!(resumed >= HALF, "{summary}");
    assert_eq!(received, SIZE - resumed + SIZE, "{summary}");
    assert_eq!(
        sha256(&scene.path("in/big.bin")),
        sha256(&scene.path("big.bin"))
    );
    assert_eq!(files(&scene.path("in")), [scene.path("in/big.bin")]);
}

#[test]
fn the_parts_of_a_folder_move_to_the_folder_that_it_becomes() {
    let scene = Scene::broken_off(|dir| {
        let folder = dir.join("films");
        fs::create_dir_all(folder.join("old")).unwrap();
        random_file(&folder.join("old/a.bin"), SIZE);
        random_file(&folder.join("z.bin"), 1_000_000);
        folder
    });
    fs::remove_dir_all(scene.path("bob")).unwrap();
    let received = succeed(scene.receive("bob"));
    let summary = received.line("summary");
    assert!(traffic(summary, "resumed") >= HALF, "{summary}");
    for file in ["old/a.bin", "z.bin"] {
        let (here, there) = (format!("in/films (1)/{file}"), format!("films/{file}"));
        assert_eq!(sha256(&scene.path(&here)), sha256(&scene.path(&there)));
    }
    let left = files(&scene.path("in"));
    let is_part = |path: &&PathBuf| path.extension().is_some_and(|e| e == "part");
    assert_eq!(left.iter().find(is_part), None);
}

#[test]
fn a_part_is_kept_while_its_profile_wants_it_and_removed_by_another() {
    let scene = Scene::broken_off(big);
    let ours = scene.parts("bob", &["--remove", "--yes"]);
    assert_eq!(ours.line("summary")["files"], 0, "it is wanted: {ours:#?}");
    let others = scene.parts("eve", &[]);
    let summary = others.line("summary");
    assert_eq!(
        (&summary["files"], &summary["removed"]),
        (&1.into(), &0.into())
    );
    assert!(summary["bytes"].as_u64().unwrap() >= HALF);
    // Nor is it while it is received.
    let mut receiver = scene.receive("bob");
    receiver.wait_new("progress", |v| {
        let done = v["done"].as_u64().filter(|_| v["type"] == "offer");
        done.filter(|done| *done > HALF + 10_000_000).map(drop)
    });
    let others = scene.parts("eve", &["--remove", "--yes"]);
    assert_eq!(others.line("summary")["files"], 0, "{others:#?}");
    receiver.kill();
    let others = scene.parts("eve", &["--remove", "--yes"]);
    assert_eq!(others.line("summary")["removed"], 1, "{others:#?}");
    assert!(files(&scene.path("in")).is_empty());
    // The profile notices, and begins anew.
    succeed(scene.receive("bob"));
    assert_eq!(
        sha256(&scene.path("in/big.bin")),
        sha256(&scene.path("big.bin"))
    );
    succeed(scene.sender);
}
