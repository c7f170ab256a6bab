//! What goes wrong ends in one clear sentence and a documented exit code.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test picks the one change it waits for"
)]

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use kith_tests::process::{Ended, Kith, kith_bin};
use kith_tests::tmpfs::Tmpfs;
use kith_tests::{random_file, sha256};

const INVITE: &str =
    "kith://127.0.0.1:1/j#v1.BQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU.BgYGBgYGBgYGBgYGBgYGBg";

fn refused(ended: &Ended, exit: i32, says: &str) {
    assert_eq!(ended.code, Some(exit), "{ended:#?}");
    let error = ended.line("error");
    assert_eq!(error["exit"], exit);
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(says), "{message:?} does not say {says:?}");
    assert!(
        message.ends_with('.') && !message.contains('\n'),
        "one sentence: {message:?}"
    );
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

fn run(home: &Path, args: &[&str]) -> Ended {
    Kith::start(home, "Ada", args).wait_end()
}

#[test]
fn a_wrong_invite() {
    let dir = tempfile::tempdir().unwrap();
    for (text, says) in [
        ("hello", "not a Kith invite"),
        ("kith://example.org/j#v1.abc", "cut off"),
        ("kith://example.org/j#v7.abc.def", "newer version"),
    ] {
        refused(&run(dir.path(), &["join", text]), 3, says);
    }
}

#[test]
fn a_dead_server() {
    let dir = tempfile::tempdir().unwrap();
    for args in [
        &["join", INVITE][..],
        &[
            "receive",
            INVITE,
            "--into",
            dir.path().to_str().unwrap(),
            "--yes",
        ],
        &["send", "/etc/hostname", "--to", INVITE],
    ] {
        refused(&run(dir.path(), args), 4, "cannot be reached");
    }
}

#[test]
fn a_server_of_another_kind() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(3).flatten() {
            let mut stream = stream;
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let invite = INVITE.replace("127.0.0.1:1", &addr.to_string());
    refused(
        &run(dir.path(), &["join", &invite]),
        4,
        "not a Kith room server",
    );
}

#[test]
fn a_refused_join() {
    let mut server = Command::new(kith_bin());
    server.args([
        "room-server",
        "--listen",
        "127.0.0.1:0",
        "--stun",
        "",
        "--json",
    ]);
    server.args(["--room-capacity", "1"]);
    let (mut server, dir) = (
        Kith::spawn(&mut server, "small server"),
        tempfile::tempdir().unwrap(),
    );
    let addr = server.wait("its address", |v| v["addr"].as_str().map(str::to_string));
    let invite = INVITE.replace("127.0.0.1:1", &addr);
    let mut first = Kith::start(&dir.path().join("a"), "Ada", &["join", &invite]);
    first.wait_fields("room", &[("session", "joined")]);
    refused(&run(&dir.path().join("b"), &["join", &invite]), 5, "full");
}

#[test]
fn a_missing_file_is_found_before_anything_else() {
    let dir = tempfile::tempdir().unwrap();
    let ended = run(dir.path(), &["send", "/no/such/file", "--to", INVITE]);
    refused(&ended, 8, "/no/such/file");
}

#[test]
fn a_profile_in_use() {
    let (_server, addr) = Kith::room_server(0);
    let dir = tempfile::tempdir().unwrap();
    let invite = INVITE.replace("127.0.0.1:1", &addr);
    let mut first = Kith::start(dir.path(), "Ada", &["join", &invite]);
    first.wait_fields("room", &[("session", "joined")]);
    refused(
        &run(dir.path(), &["join", &invite]),
        9,
        "Another Kith uses this profile",
    );
}

/// Ada sends a file to Bob, whose disk is smaller than it.
struct FullDisk {
    sender: Kith,
    _server: Kith,
    disk: Tmpfs,
    // Dropped after what is mounted in it.
    dir: tempfile::TempDir,
    file: PathBuf,
    invite: String,
}

impl FullDisk {
    /// `None` for those who may not mount a disk.
    fn new() -> Option<FullDisk> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("cannot run: mounting a small tmpfs needs root");
            return None;
        }
        let (_server, addr) = Kith::room_server(0);
        let dir = tempfile::tempdir().unwrap();
        let disk = Tmpfs::mount(&dir.path().join("disk"), "16m");
        let file = dir.path().join("big.bin");
        random_file(&file, 40_000_000);
        let url = format!("http://{addr}");
        let send = ["send", file.to_str().unwrap(), "--server", &url];
        let mut sender = Kith::start(&dir.path().join("ada"), "Ada", &send);
        let invite = sender.wait("an invite", |v| v["invite"].as_str().map(str::to_string));
        Some(FullDisk {
            sender,
            _server,
            disk,
            dir,
            file,
            invite,
        })
    }

    fn receive(&self, rest: &[&str]) -> Kith {
        let into = self.disk.0.to_str().unwrap();
        let receive = ["receive", &self.invite, "--into", into, "--yes"];
        let args = [&receive[..], rest].concat();
        Kith::start(&self.dir.path().join("bob"), "Bob", &args)
    }

    /// With space enough, the receiver gets the file as it is, and both end well.
    fn goes_through(self, receiver: Kith) {
        let ended = receiver.wait_end();
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        assert_eq!(sha256(&self.disk.0.join("big.bin")), sha256(&self.file));
        assert_eq!(self.sender.wait_end().code, Some(0));
    }
}

#[test]
fn a_full_disk_names_itself_and_the_same_command_goes_on_when_there_is_space() {
    let Some(scene) = FullDisk::new() else { return };
    refused(&scene.receive(&[]).wait_end(), 7, "full");
    assert!(
        !scene.disk.0.join("big.bin").exists(),
        "nothing half-written has the final name"
    );
    scene.disk.resize("80m");
    let again = scene.receive(&[]);
    scene.goes_through(again);
}

#[test]
fn a_command_that_waits_goes_on_by_itself_when_there_is_space() {
    let Some(mut scene) = FullDisk::new() else {
        return;
    };
    let mut receiver = scene.receive(&["--wait"]);
    let blocked = receiver.wait_fields("offer", &[("phase", "blocked"), ("why", "disk-full")]);
    let missing = blocked["missing"].as_u64().unwrap();
    assert!((20_000_000..40_000_000).contains(&missing), "{blocked}");
    scene.sender.wait("the sender to see it", |v| {
        let r = &v["receivers"][0];
        (r["phase"] == "blocked" && r["why"] == "disk-full").then_some(())
    });
    scene.disk.resize("80m");
    scene.goes_through(receiver);
}
