//! Links with delay, loss and cuts: that they are what they say, and what `kith` does on them.
//! Needs root.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kith_tests::netlab::{Counts, Lab, Quality, Side};
use kith_tests::process::{Ended, Kith};
use kith_tests::{PATIENCE, random_file, sha256};
use serde_json::Value;

const FAR_AND_LOSSY: Quality = Quality::PERFECT.round_trip(40).loss(0.005);

fn lab(quality: Quality) -> Lab {
    Lab::start(quality, 1).unwrap_or_else(|e| panic!("{e}"))
}

fn socket(lab: &Lab, side: Side) -> UdpSocket {
    let addr = (lab.addr(side), 0);
    let socket = lab.within(side, || UdpSocket::bind(addr)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn next(socket: &UdpSocket) -> u8 {
    let mut byte = [0];
    socket.recv(&mut byte).unwrap();
    byte[0]
}

#[test]
fn a_round_trip_takes_the_delay_of_both_directions() {
    let lab = lab(Quality::PERFECT.round_trip(40));
    let (a, b) = (socket(&lab, Side::A), socket(&lab, Side::B));
    a.connect(b.local_addr().unwrap()).unwrap();
    b.connect(a.local_addr().unwrap()).unwrap();
    for byte in 0..5 {
        let begun = Instant::now();
        a.send(&[byte]).unwrap();
        b.send(&[next(&b)]).unwrap();
        assert_eq!(next(&a), byte);
        assert!(begun.elapsed() >= Duration::from_millis(40));
    }
}

#[test]
fn one_direction_loses_all_while_the_other_carries() {
    let lab = lab(Quality::PERFECT);
    let (a, b) = (socket(&lab, Side::A), socket(&lab, Side::B));
    a.connect(b.local_addr().unwrap()).unwrap();
    b.connect(a.local_addr().unwrap()).unwrap();
    lab.set(Side::A, Quality::PERFECT.loss(1.0));
    for byte in 0..3 {
        a.send(&[byte]).unwrap();
        b.send(&[10 + byte]).unwrap();
        assert_eq!(next(&a), 10 + byte);
    }
    lab.wait_counts(Side::A, "three lost packets", |c| c.lost == 3);
    assert_eq!(lab.counts(Side::B).lost, 0);
    lab.set(Side::A, Quality::PERFECT);
    a.send(&[3]).unwrap();
    assert_eq!(next(&b), 3, "the first that gets across");
}

/// Ada and the room server at one side, Bob at the other.
struct Scene {
    dir: tempfile::TempDir,
    lab: Lab,
    _server: Kith,
    invite: String,
}

impl Scene {
    fn new(quality: Quality) -> Scene {
        Scene::on(lab(quality))
    }

    fn on(lab: Lab) -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let listen = format!("{}:0", lab.addr(Side::A));
        let (server, addr) = lab.within(Side::A, || Kith::room_server_at(&listen));
        let mut scene = Scene {
            dir,
            lab,
            _server: server,
            invite: String::new(),
        };
        let maker = scene.ada(&["invite", "--server", &format!("http://{addr}")]);
        let made = maker.wait_end();
        scene.invite = made.line("invite")["invite"].as_str().unwrap().into();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn ada(&self, args: &[&str]) -> Kith {
        let home = self.path("ada");
        self.lab.within(Side::A, || Kith::start(&home, "Ada", args))
    }

    fn bob(&self, args: &[&str]) -> Kith {
        let home = self.path("bob");
        self.lab.within(Side::B, || Kith::start(&home, "Bob", args))
    }

    /// Ada's and Bob's end of a transfer.
    fn hand_over(&self, file: &Path) -> (Kith, Kith) {
        let (file, into) = (file.to_str().unwrap(), self.path("in"));
        let into = into.to_str().unwrap();
        let sender = self.ada(&["send", file, "--to", &self.invite]);
        let receiver = self.bob(&["receive", &self.invite, "--into", into, "--yes"]);
        (sender, receiver)
    }
}

fn text_of<'a>(author: &'a str) -> impl Fn(&Value) -> Option<String> + 'a {
    move |v| {
        let is = v["type"] == "message" && v["name"] == *author;
        is.then(|| v["text"].as_str().unwrap().to_string())
    }
}

fn succeed(process: Kith) -> Ended {
    let ended = process.wait_end();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    ended
}

#[test]
fn two_meet_chat_and_hand_over_a_file_far_apart() {
    let scene = Scene::new(FAR_AND_LOSSY);
    let mut ada = scene.ada(&["join", &scene.invite]);
    let mut bob = scene.bob(&["join", &scene.invite, "--until-delivered"]);
    bob.say("hello from afar");
    assert_eq!(ada.wait("Bob's words", text_of("Bob")), "hello from afar");
    ada.say("so far and yet so near");
    assert_eq!(
        bob.wait("Ada's words", text_of("Ada")),
        "so far and yet so near"
    );
    succeed(bob);
    ada.terminate();
    assert_eq!(ada.wait_end().code, Some(130));

    let file = scene.path("film.bin");
    random_file(&file, 4_000_000);
    let (sender, receiver) = scene.hand_over(&file);
    let (sent, received) = (succeed(sender), succeed(receiver));
    assert_eq!(sent.line("summary")["ok"], true);
    assert_eq!(received.line("summary")["traffic"]["received"], 4_000_000);
    assert_eq!(sha256(&scene.path("in/film.bin")), sha256(&file));
    let lost = |side| scene.lab.counts(side).lost;
    assert!(lost(Side::A) + lost(Side::B) > 0, "the link was not lossy");
}

#[test]
fn a_transfer_goes_on_after_ten_seconds_without_a_link() {
    let scene = Scene::new(FAR_AND_LOSSY);
    let file = scene.path("film.bin");
    // Most of it is to be on its way still when this has heard of the beginning, on a busy machine too.
    random_file(&file, 16_000_000);
    let (sender, mut receiver) = scene.hand_over(&file);
    receiver.wait("a tenth of the file", |v| {
        let done = v["done"].as_u64().filter(|_| v["type"] == "offer");
        assert_ne!(v["phase"], "done", "the file was over before the cut");
        done.filter(|done| *done >= 1_500_000)
    });
    scene.lab.cut(Duration::from_secs(10));
    receiver.wait_fields("person", &[("link", "reconnecting")]);
    let (sent, received) = (succeed(sender), succeed(receiver));
    let (sent, received) = (sent.line("summary"), received.line("summary"));
    assert_eq!(sent["ok"], true, "{sent}");
    assert_eq!(sent["traffic"]["resent_durable"], 0, "{sent}");
    assert_eq!(received["traffic"]["received_durable"], 0, "{received}");
    assert_eq!(sha256(&scene.path("in/film.bin")), sha256(&file));
}

#[test]
fn a_path_that_is_back_after_a_cut_gets_a_new_link_and_the_file_goes_on() {
    // Alone at what it does: the association itself would be slow for as long again.
    let scene = Scene::new(Quality::PERFECT.round_trip(40).bits_per_s(50_000_000));
    let file = scene.path("film.bin");
    random_file(&file, 30_000_000);
    let (sender, mut receiver) = scene.hand_over(&file);
    let done = |v: &Value| v["done"].as_u64().filter(|_| v["type"] == "offer");
    receiver.wait("a tenth of the file", |v| {
        done(v).filter(|done| *done >= 3_000_000)
    });
    scene.lab.cut(Duration::from_secs(10));
    receiver.wait_fields("person", &[("link", "reconnecting")]);
    // Were it kept, it would go from mending to standing without being made anew.
    made_anew(&mut receiver);
    arrives_once(&scene, (sender, receiver), &file);
}

/// Waits for a link in place of another.
fn made_anew(receiver: &mut Kith) {
    receiver.wait_new("a new link", |v| {
        let made = v["link"] == "signaling" || v["link"] == "connecting";
        (v["type"] == "person" && made).then_some(())
    });
}

/// Both ends succeed, and nothing that was durable was sent twice.
fn arrives_once(scene: &Scene, (sender, receiver): (Kith, Kith), file: &Path) {
    let (sent, received) = (succeed(sender), succeed(receiver));
    assert_eq!(sent.line("summary")["traffic"]["resent_durable"], 0);
    let traffic = &received.line("summary")["traffic"];
    assert_eq!(traffic["received_durable"], 0, "{traffic}");
    let name = file.file_name().unwrap();
    assert_eq!(sha256(&scene.path("in").join(name)), sha256(file));
}

/// Hands over so many bytes where the devices take packets of 9,000 bytes; what became of packets.
fn over_wide_devices(quality: Quality, bytes: u64) -> Counts {
    let scene = Scene::on(Lab::with_mtu(quality, 1, 9_000).unwrap_or_else(|e| panic!("{e}")));
    let file = scene.path("film.bin");
    random_file(&file, bytes);
    let ends = scene.hand_over(&file);
    arrives_once(&scene, ends, &file);
    scene.lab.counts(Side::A)
}

#[test]
fn wide_packets_are_taken_where_the_whole_path_carries_them() {
    // Seconds, of which those until there is the strand are few.
    let bytes = 60_000_000;
    let counts = over_wide_devices(Quality::PERFECT.bits_per_s(100_000_000), bytes);
    assert!(counts.carried < bytes / 1_600, "{counts:?}");
}

#[test]
fn a_path_that_silently_drops_wide_packets_is_taken_with_others() {
    // Long enough under way that the answer to the first wide packets is given up.
    let quality = Quality::PERFECT.bits_per_s(50_000_000).widest(1_500);
    let bytes = 30_000_000;
    let counts = over_wide_devices(quality, bytes);
    assert!(counts.carried > bytes / 1_200, "{counts:?}");
    assert!(counts.dropped > 0, "none was tried: {counts:?}");
}

/// A transfer over a link that is far and lossy, once chunks have gone over several connections; and
/// the sender's port of the second.
fn over_strands(scene: &Scene, file: &Path) -> (Kith, Kith, u16) {
    random_file(file, 40_000_000);
    let (sender, mut receiver) = scene.hand_over(file);
    let done = |v: &Value| v["done"].as_u64().filter(|_| v["type"] == "offer");
    receiver.wait("the first bytes", |v| done(v).filter(|done| *done > 0));
    let first = scene.lab.udp_ports(Side::A);
    let mut second = None;
    // With every word of progress it is looked.
    receiver.wait_new("several strands", |v| {
        assert_ne!(v["phase"], "done", "the file was over before");
        let later = &scene.lab.udp_ports(Side::A) - &first;
        second = second.or(later.first().copied());
        // More are opened once the second has carried some.
        (later.len() > 1).then_some(())
    });
    (sender, receiver, second.unwrap())
}

#[test]
fn a_lossy_path_is_taken_by_several_connections_and_the_file_is_right() {
    let scene = Scene::new(FAR_AND_LOSSY);
    let file = scene.path("film.bin");
    let (sender, receiver, _) = over_strands(&scene, &file);
    let (sent, received) = (succeed(sender), succeed(receiver));
    assert_eq!(sent.line("summary")["traffic"]["resent_durable"], 0);
    let traffic = &received.line("summary")["traffic"];
    assert_eq!(
        traffic["received"], 40_000_000,
        "each chunk once: {traffic}"
    );
    assert_eq!(sha256(&scene.path("in/film.bin")), sha256(&file));
}

#[test]
fn a_strand_that_dies_under_way_costs_the_link_and_no_byte_of_the_file() {
    let scene = Scene::new(FAR_AND_LOSSY);
    let file = scene.path("film.bin");
    let (sender, mut receiver, port) = over_strands(&scene, &file);
    // What is on it does not come, so the file cannot end over this link.
    scene.lab.block(port);
    made_anew(&mut receiver);
    arrives_once(&scene, (sender, receiver), &file);
}

#[test]
fn the_last_words_of_who_leaves_are_said_until_they_are_heard() {
    let scene = Scene::new(Quality::PERFECT);
    // The file is under way for long enough to cut the way back before it is there.
    let slow = Quality::PERFECT.round_trip(1_400);
    scene.lab.set(Side::A, slow);
    let file = scene.path("note.txt");
    random_file(&file, 600);
    let (mut sender, receiver) = scene.hand_over(&file);
    sender.wait("a receiver", |v| {
        let receiver = v["receivers"].get(0).filter(|_| v["type"] == "offer")?;
        (receiver["phase"] == "serving").then_some(())
    });
    scene.lab.cut_from(Side::B, Duration::from_secs(2));
    // It leaves as soon as it has everything; that it has is what the sender waits for.
    succeed(receiver);
    assert_eq!(succeed(sender).line("summary")["ok"], true);
    assert_eq!(sha256(&scene.path("in/note.txt")), sha256(&file));
}
