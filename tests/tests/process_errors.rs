//! What goes wrong ends in one clear sentence and a documented exit code.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test picks the one change it waits for"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Command;

use kith_tests::process::{Ended, Kith, kith_bin};
use kith_tests::random_file;
use kith_tests::tmpfs::Tmpfs;

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

#[test]
fn a_full_disk_names_itself_and_the_same_command_goes_on_when_there_is_space() {
    if !rustix::process::geteuid().is_root() {
        println!("cannot run: mounting a small tmpfs needs root");
        return;
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
    let into = disk.0.to_str().unwrap();
    let receive = ["receive", &invite, "--into", into, "--yes"];
    let ended = Kith::start(&dir.path().join("bob"), "Bob", &receive).wait_end();
    refused(&ended, 7, "full");
    assert!(
        !disk.0.join("big.bin").exists(),
        "nothing half-written has the final name"
    );
    disk.resize("80m");
    let ended = Kith::start(&dir.path().join("bob"), "Bob", &receive).wait_end();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(
        fs::metadata(disk.0.join("big.bin")).unwrap().len(),
        40_000_000
    );
    assert_eq!(sender.wait_end().code, Some(0));
}

#[test]
fn a_command_that_waits_goes_on_by_itself_when_there_is_space() {
    if !rustix::process::geteuid().is_root() {
        println!("cannot run: mounting a small tmpfs needs root");
        return;
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
    let into = disk.0.to_str().unwrap();
    let receive = ["receive", &invite, "--into", into, "--yes", "--wait"];
    let mut receiver = Kith::start(&dir.path().join("bob"), "Bob", &receive);
    let blocked = receiver.wait_fields("offer", &[("phase", "blocked"), ("why", "disk-full")]);
    let missing = blocked["missing"].as_u64().unwrap();
    assert!((20_000_000..40_000_000).contains(&missing), "{blocked}");
    sender.wait("the sender to see it", |v| {
        let r = &v["receivers"][0];
        (r["phase"] == "blocked" && r["why"] == "disk-full").then_some(())
    });
    disk.resize("80m");
    let ended = receiver.wait_end();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let arrived = kith_tests::sha256(&disk.0.join("big.bin"));
    assert_eq!(arrived, kith_tests::sha256(&file));
    assert_eq!(sender.wait_end().code, Some(0));
}
