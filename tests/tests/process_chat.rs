//! Chat between real processes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test picks the one change it waits for"
)]

use kith_tests::process::Kith;
use serde_json::Value;

fn text_of(author: &str) -> impl Fn(&Value) -> Option<String> {
    let author = author.to_string();
    move |v| {
        let is = v["type"] == "message" && v["name"] == *author;
        is.then(|| v["text"].as_str().unwrap().to_string())
    }
}

#[test]
fn two_processes_chat_and_one_ends_when_its_words_are_delivered() {
    let (_server, addr) = Kith::room_server(0);
    let dir = tempfile::tempdir().unwrap();
    let home = |name: &str| dir.path().join(name);
    let mut maker = Kith::start(
        &home("ada"),
        "Ada",
        &["invite", "--server", &format!("http://{addr}")],
    );
    let invite = maker.wait("an invite", |v| v["invite"].as_str().map(str::to_string));
    assert_eq!(maker.wait_end().code, Some(0));

    let mut ada = Kith::start(&home("ada"), "Ada", &["join", &invite]);
    let mut bob = Kith::start(&home("bob"), "Bob", &["join", &invite, "--until-delivered"]);
    bob.say("hello from Bob");
    assert_eq!(ada.wait("Bob's words", text_of("Bob")), "hello from Bob");
    ada.say("hello \u{202e}from Ada\u{7}");
    assert_eq!(
        bob.wait("Ada's words", text_of("Ada")),
        "hello \u{202e}from Ada\u{7}"
    );
    bob.end_of_input();
    let ended = bob.wait_end();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let bob_gone = |v: &Value| {
        (v["type"] == "person" && v["name"] == "Bob" && v["presence"] == "offline").then_some(())
    };
    ada.wait("Bob's leave", bob_gone);
    ada.terminate();
    assert_eq!(ada.wait_end().code, Some(130));
}

#[test]
fn a_process_that_comes_back_gets_what_it_missed_and_still_has_what_it_had() {
    let (_server, addr) = Kith::room_server(0);
    let dir = tempfile::tempdir().unwrap();
    let home = |name: &str| dir.path().join(name);
    let mut maker = Kith::start(
        &home("ada"),
        "Ada",
        &["invite", "--server", &format!("http://{addr}")],
    );
    let invite = maker.wait("an invite", |v| v["invite"].as_str().map(str::to_string));
    maker.wait_end();
    let mut ada = Kith::start(&home("ada"), "Ada", &["join", &invite]);
    let mut bob = Kith::start(&home("bob"), "Bob", &["join", &invite]);
    ada.say("one");
    bob.wait("one", |v| text_of("Ada")(v).filter(|t| t == "one"));
    bob.kill();
    ada.wait("Bob's absence", |v| {
        let away = ["silent", "offline"].iter().any(|p| v["presence"] == **p);
        (v["type"] == "person" && away).then_some(())
    });
    ada.say("two");
    let mut bob = Kith::start(&home("bob"), "Bob", &["join", &invite]);
    bob.wait("one, from the history", |v| {
        text_of("Ada")(v).filter(|t| t == "one")
    });
    bob.wait("two, from the outbox", |v| {
        text_of("Ada")(v).filter(|t| t == "two")
    });
}
