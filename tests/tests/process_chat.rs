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

/// A room server and an invite to a room of Ada's.
struct Scene {
    dir: tempfile::TempDir,
    _server: Kith,
    invite: String,
}

impl Scene {
    fn new() -> Scene {
        let (server, addr) = Kith::room_server(0);
        let dir = tempfile::tempdir().unwrap();
        let url = format!("http://{addr}");
        let mut maker = Kith::start(
            &dir.path().join("Ada"),
            "Ada",
            &["invite", "--server", &url],
        );
        let invite = maker.wait("an invite", |v| v["invite"].as_str().map(str::to_string));
        assert_eq!(maker.wait_end().code, Some(0));
        Scene {
            dir,
            _server: server,
            invite,
        }
    }

    fn join(&self, name: &str, rest: &[&str]) -> Kith {
        let args = [&["join", self.invite.as_str()], rest].concat();
        Kith::start(&self.dir.path().join(name), name, &args)
    }
}

/// Picks the line that says that somebody who was there has gone.
fn gone(name: &str) -> impl FnMut(&Value) -> Option<()> {
    let (name, mut was_there) = (name.to_string(), false);
    move |v| {
        if v["type"] != "person" || v["name"] != *name {
            return None;
        }
        was_there |= v["presence"] == "online";
        (was_there && v["presence"] == "offline").then_some(())
    }
}

#[test]
fn two_processes_chat_and_one_ends_when_its_words_are_delivered() {
    let scene = Scene::new();
    let mut ada = scene.join("Ada", &[]);
    let mut bob = scene.join("Bob", &["--until-delivered"]);
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
    ada.wait("Bob's leave", gone("Bob"));
    ada.terminate();
    assert_eq!(ada.wait_end().code, Some(130));
}

#[test]
fn five_processes_in_one_room_all_chat_with_each_other_and_see_each_other_leave() {
    const NAMES: [&str; 5] = ["Ada", "Bob", "Cyd", "Dan", "Eve"];
    let scene = Scene::new();
    let mut people: Vec<_> = NAMES
        .map(|name| (name, scene.join(name, &[])))
        .into_iter()
        .collect();
    for (name, process) in &mut people {
        process.say(&format!("{name} says hello"));
        process.say(&format!("{name} says more"));
    }
    for (name, process) in &mut people {
        for other in NAMES.iter().filter(|other| *other != name) {
            let mut texts = Vec::new();
            process.wait(&format!("both messages of {other}"), |v| {
                texts.extend(text_of(other)(v));
                (texts.len() == 2).then_some(())
            });
            let expected = [format!("{other} says hello"), format!("{other} says more")];
            assert_eq!(texts, expected, "of {other} at {name}");
        }
    }
    while people.len() > 1 {
        let (leaving, process) = people.remove(0);
        process.terminate();
        assert_eq!(process.wait_end().code, Some(130), "{leaving}");
        for (name, process) in &mut people {
            process.wait(&format!("the leave of {leaving} at {name}"), gone(leaving));
        }
        // Those who stay still talk.
        let (speaker, process) = people.last_mut().unwrap();
        let (speaker, words) = (*speaker, format!("{leaving} has left"));
        process.say(&words);
        for (_, process) in people.iter_mut().filter(|(name, _)| *name != speaker) {
            process.wait("what is said after it", |v| {
                text_of(speaker)(v).filter(|text| *text == words)
            });
        }
    }
}

#[test]
fn a_process_that_comes_back_gets_what_it_missed_and_still_has_what_it_had() {
    let scene = Scene::new();
    let mut ada = scene.join("Ada", &[]);
    let mut bob = scene.join("Bob", &[]);
    ada.say("one");
    bob.wait("one", |v| text_of("Ada")(v).filter(|t| t == "one"));
    bob.kill();
    ada.wait("Bob's absence", |v| {
        let away = ["silent", "offline"].iter().any(|p| v["presence"] == **p);
        (v["type"] == "person" && away).then_some(())
    });
    ada.say("two");
    let mut bob = scene.join("Bob", &[]);
    bob.wait("one, from the history", |v| {
        text_of("Ada")(v).filter(|t| t == "one")
    });
    bob.wait("two, from the outbox", |v| {
        text_of("Ada")(v).filter(|t| t == "two")
    });
}
