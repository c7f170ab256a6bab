//! Transfers between real processes, controlled by lines that are typed while they run.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::path::PathBuf;

use kith_tests::process::{Ended, Kith};
use kith_tests::{random_file, sha256};
use serde_json::Value;

const SIZE: u64 = 60_000_000;

/// Ada sends a file to Bob, slowly enough to be held on the way.
struct Scene {
    sender: Kith,
    receiver: Kith,
    _server: Kith,
    dir: tempfile::TempDir,
    file: PathBuf,
    invite: String,
    /// What a command may call the transfer.
    id: String,
}

impl Scene {
    fn new() -> Scene {
        let (server, addr) = Kith::room_server(0);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("film.bin");
        random_file(&file, SIZE);
        let url = format!("http://{addr}");
        let path = file.to_str().unwrap();
        let send = [
            "send",
            path,
            "--server",
            &url,
            "--commands",
            "--limit",
            "8M",
        ];
        let mut sender = Kith::start(&dir.path().join("ada"), "Ada", &send);
        let invite = sender.wait("an invite", |v| v["invite"].as_str().map(str::to_string));
        let into = dir.path().join("in");
        let into = into.to_str().unwrap();
        let receive = ["receive", &invite, "--into", into, "--yes", "--commands"];
        let mut receiver = Kith::start(&dir.path().join("bob"), "Bob", &receive);
        let offer = receiver.wait("the first bytes", |v| {
            (v["phase"] == "fetching" && v["done"].as_u64()? > 0).then(|| v.clone())
        });
        let id = offer["offer"].as_str().unwrap()[..6].to_string();
        Scene {
            sender,
            receiver,
            _server: server,
            dir,
            file,
            invite,
            id,
        }
    }

    /// Without a bound, the file arrives as it is, once.
    fn whole(mut self) {
        obeyed(&mut self.sender, &format!("/limit off {}", self.id));
        let received = succeed(self.receiver);
        let sent = succeed(self.sender);
        let got = self.dir.path().join("in/film.bin");
        assert_eq!(sha256(&got), sha256(&self.file));
        let names = std::fs::read_dir(self.dir.path().join("in")).unwrap();
        assert_eq!(names.count(), 1, "nothing is left over");
        assert_eq!(traffic(&received, "received_durable"), 0);
        assert_eq!(traffic(&sent, "resent_durable"), 0);
    }
}

fn succeed(process: Kith) -> Ended {
    let ended = process.wait_end();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    ended
}

fn traffic(ended: &Ended, field: &str) -> u64 {
    ended.line("summary")["traffic"][field].as_u64().unwrap()
}

/// Types a command, and what came of it.
fn typed(process: &mut Kith, line: &str) -> Value {
    process.say(line);
    process.wait_new(line, |v| (v["type"] == "command").then(|| v.clone()))
}

fn obeyed(process: &mut Kith, line: &str) {
    let outcome = typed(process, line);
    assert_eq!(outcome["ok"], true, "{line}: {outcome}");
}

fn refused(process: &mut Kith, line: &str, code: &str, says: &str) {
    let outcome = typed(process, line);
    assert_eq!(
        (&outcome["ok"], &outcome["code"]),
        (&false.into(), &code.into()),
        "{outcome}"
    );
    let message = outcome["message"].as_str().unwrap();
    assert!(message.contains(says), "{line}: {message}");
}

/// Waits until a fetch is paused so, from now on, and says how far it is.
fn paused(process: &mut Kith, here: bool, there: bool) -> u64 {
    process.wait_new("the pause", |v| {
        let is =
            v["phase"] == "paused" && v["paused"]["here"] == here && v["paused"]["there"] == there;
        v["done"].as_u64().filter(|_| is)
    })
}

/// Waits until our only receiver is paused so, and says how far it is.
fn receiver_paused(process: &mut Kith, here: bool, there: bool) -> u64 {
    process.wait_new("the receiver's pause", |v| {
        let r = &v["receivers"][0];
        let is =
            r["phase"] == "paused" && r["paused"]["here"] == here && r["paused"]["there"] == there;
        r["done"].as_u64().filter(|_| is)
    })
}

/// How far the one transfer is, by `/transfers`.
fn done_now(process: &mut Kith) -> u64 {
    process.say("/transfers");
    let mut last = None;
    process.wait_new("the transfers", |v| {
        if v["type"] == "offer" {
            last = v["done"].as_u64();
        }
        (v["type"] == "command" && v["command"] == "transfers").then_some(())
    });
    last.expect("a transfer")
}

#[test]
fn a_receiver_pauses_by_command_and_goes_on() {
    let mut s = Scene::new();
    let id = s.id.clone();
    obeyed(&mut s.receiver, &format!("/pause {id}"));
    receiver_paused(&mut s.sender, false, true);
    paused(&mut s.receiver, true, false);
    // Nothing else holds it back: all of it would be there before somebody else is in the room.
    obeyed(&mut s.sender, &format!("/limit off {id}"));
    let begun = s.receiver.seen().len();
    let mut talk = Kith::start(&s.dir.path().join("cy"), "Cy", &["join", &s.invite]);
    talk.wait_fields("person", &[("name", "Bob"), ("link", "connected")]);
    talk.say("Are you still there?");
    s.receiver.wait_fields("message", &[("name", "Cy")]);
    // Only what was on its way when it was paused.
    let still = done_now(&mut s.receiver);
    assert!(still < SIZE / 2, "{still} have come");
    let offers = s.receiver.seen().iter().skip(begun);
    let mut phases = offers.filter(|v| v["type"] == "offer").map(|v| &v["phase"]);
    assert!(phases.all(|phase| phase == "paused"));
    refused(
        &mut s.receiver,
        &format!("/pause {id}"),
        "not-now",
        "not possible",
    );
    obeyed(&mut s.receiver, &format!("/resume {id}"));
    s.receiver.wait_new("progress", |v| {
        (v["phase"] == "fetching" && v["done"].as_u64()? > still).then_some(())
    });
    s.whole();
}

#[test]
fn a_senders_pause_is_shown_at_the_receiver_and_is_the_senders_to_end() {
    let mut s = Scene::new();
    let id = s.id.clone();
    obeyed(&mut s.sender, &format!("/pause {id} Bob"));
    paused(&mut s.receiver, false, true);
    obeyed(&mut s.receiver, &format!("/pause {id}"));
    paused(&mut s.receiver, true, true);
    obeyed(&mut s.receiver, &format!("/resume {id}"));
    paused(&mut s.receiver, false, true);
    obeyed(&mut s.sender, &format!("/resume {id}"));
    s.receiver
        .wait_new("data again", |v| (v["phase"] == "fetching").then_some(()));
    s.whole();
}

#[test]
fn bounds_are_set_by_command_and_wrong_ones_are_refused() {
    let mut s = Scene::new();
    let id = s.id.clone();
    obeyed(&mut s.receiver, &format!("/limit 2M {id}"));
    let bound = |v: &Value| (v["cap"] == 2_000_000).then_some(());
    s.receiver.wait("the bound", bound);
    s.sender
        .wait("the sender to see it", |v| bound(&v["receivers"][0]));
    obeyed(&mut s.receiver, &format!("/limit off {id}"));
    s.sender.wait_new("the sender to see that it is gone", |v| {
        v["receivers"][0]["cap"]
            .is_null()
            .then_some(())
            .filter(|()| v["type"] == "offer")
    });
    refused(&mut s.receiver, "/pause ?", "bad-request", "No transfer");
    refused(
        &mut s.receiver,
        &format!("/pause {id} Bob"),
        "bad-request",
        "does not receive",
    );
    refused(
        &mut s.receiver,
        &format!("/limit 5 {id}"),
        "usage",
        "at least",
    );
    refused(&mut s.receiver, "/pause", "usage", "/help");
    refused(&mut s.receiver, "pause it", "usage", "/help");
    refused(
        &mut s.receiver,
        &format!("/first {id}"),
        "not-now",
        "No file waits",
    );
    s.whole();
}

#[test]
fn what_is_cancelled_ends_on_both_sides() {
    let mut s = Scene::new();
    let id = s.id.clone();
    obeyed(&mut s.receiver, &format!("/cancel {id}"));
    let ended = s.receiver.wait_end();
    assert_eq!(ended.code, Some(6), "{ended:#?}");
    s.sender.wait("the word of it", |v| {
        (v["receivers"][0]["phase"] == "declined").then_some(())
    });
    obeyed(&mut s.sender, &format!("/cancel {id}"));
    assert_eq!(s.sender.wait_end().code, Some(6));
    let left = std::fs::read_dir(s.dir.path().join("in")).unwrap();
    assert_eq!(left.count(), 0, "nothing is left over");
}

#[test]
fn a_room_takes_commands_beside_messages() {
    let mut s = Scene::new();
    let join = ["join", &s.invite, "--commands"];
    let mut cy = Kith::start(&s.dir.path().join("cy"), "Cy", &join);
    cy.wait_fields("offer", &[("phase", "offered")]);
    cy.say("//pause is what one types");
    let said = s
        .receiver
        .wait("a message", |v| v["text"].as_str().map(str::to_owned));
    assert_eq!(said, "/pause is what one types");
    refused(
        &mut cy,
        &format!("/pause {}", s.id),
        "not-now",
        "not possible",
    );
    obeyed(&mut cy, "/help");
    obeyed(&mut cy, &format!("/cancel {}", s.id));
    cy.wait_fields("offer", &[("phase", "declined")]);
    // Without the option, a line is a message whatever it begins with.
    let join = ["join", &s.invite];
    let mut dee = Kith::start(&s.dir.path().join("dee"), "Dee", &join);
    dee.wait_fields("person", &[("name", "Cy"), ("link", "connected")]);
    dee.say("/help");
    dee.wait("a message", |v| (v["type"] == "sent").then_some(()));
    cy.wait_fields("message", &[("name", "Dee"), ("text", "/help")]);
    s.whole();
}
