//! Too much of everything, at a real process whose memory and handles are measured.
//!
//! Every flood comes twice, over a new link each time. The first fills what is bounded (windows,
//! queues, caches); what the second adds is what a longer one would go on to add.

use std::time::Duration;

use kith_api::{CreateRoom, Handler as _, LinkPhase, SendText};
use kith_protocol::frame::{Ack, Frame};
use kith_protocol::ids::Digest;
use kith_protocol::peer::{Beat, PeerMessage, PresenceState};
use kith_protocol::ranges::RangeSet;
use kith_protocol::{MsgId, OfferId, PeerId, RoomId, limits};
use kith_tests::hostile_peer::{Hostile, Link, chunk, entry};
use kith_tests::process::{Kith, kith_bin};
use kith_tests::{Peer, Server, random_file};

/// What a flood may add once everything bounded is full, in KiB …
const MOST_GROWTH: u64 = 20 * 1024;
/// … and all of it together.
const MOST_AT_ALL: u64 = 48 * 1024;

/// A real `kith`, an honest node in this process, and the hostile one.
struct Siege {
    victim: Kith,
    id: PeerId,
    bob: Peer,
    room: RoomId,
    said: u64,
    hostile: Hostile,
    dir: tempfile::TempDir,
    _server: Server,
}

impl Siege {
    async fn new(args: &[&str]) -> Siege {
        let server = Server::start().await;
        let dir = tempfile::tempdir().unwrap();
        random_file(&dir.path().join("file.bin"), 3_000_000);
        let bob = Peer::start(&dir.path().join("bob"), "Bob").await;
        let made = bob.node.create_room(CreateRoom {
            server: server.url(),
        });
        let made = made.await.unwrap();
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
        let args: Vec<String> = args
            .iter()
            .map(|a| match *a {
                "INVITE" => made.invite.clone(),
                "FILE" => at("file.bin"),
                "DIR" => at("in"),
                other => other.to_string(),
            })
            .collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut command = std::process::Command::new(kith_bin());
        command.args(&args).args(["--home", &at("ada")]);
        command.args(["--name", "Ada", "--json", "--loopback"]);
        // So that memory in use is what is measured, not what the allocator keeps for later.
        for (name, value) in [
            ("ARENA_MAX", "1"),
            ("TRIM_THRESHOLD_", "65536"),
            ("MMAP_THRESHOLD_", "65536"),
        ] {
            command.env(format!("MALLOC_{name}"), value);
        }
        let victim = Kith::spawn(&mut command, args[0]);
        let linked = |c: &kith_api::Change| match c {
            kith_api::Change::Person(p) if p.link == LinkPhase::Connected => Some(p.peer),
            _ => None,
        };
        let id = bob.wait("a link with the victim", linked).await;
        let hostile = Hostile::meet(&made.invite, id).await;
        Siege {
            victim,
            id,
            bob,
            room: made.room,
            said: 0,
            hostile,
            dir,
            _server: server,
        }
    }

    /// Kibibytes in memory, and open handles.
    fn measure(&self) -> (u64, usize) {
        let pid = self.victim.pid();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        let rss = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        let handles = std::fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .count();
        (rss, handles)
    }

    /// The honest one says something, and the victim's answer shows that it was stored.
    async fn honest_chat(&mut self) {
        let text = format!("honest {}", self.said);
        self.said += 1;
        let (room, victim) = (self.room, self.id);
        let sent = SendText { room, text };
        let seq = self.bob.node.send_text(sent).await.unwrap().seq;
        let delivered = |c: &kith_api::Change| match c {
            kith_api::Change::Message(m) if m.seq == seq && m.delivered.contains(&victim) => {
                Some(())
            }
            _ => None,
        };
        self.bob
            .wait("the honest message to arrive", delivered)
            .await;
    }

    /// Runs the flood twice, with an honest chat after each.
    async fn withstands(mut self, what: &str, flood: impl AsyncFn(&mut Hostile)) {
        self.honest_chat().await;
        let (before, handles) = self.measure();
        let first = self.peak_after(&flood).await;
        let second = self.peak_after(&flood).await;
        let (_, handles_after) = self.measure();
        let report = format!(
            "{what}: {before} KiB, {first} after the first, {second} after the second; \
             {handles} handles, then {handles_after}"
        );
        println!("{report}");
        assert!(second.saturating_sub(first) <= MOST_GROWTH, "{report}");
        assert!(second.saturating_sub(before) <= MOST_AT_ALL, "{report}");
        assert!(handles_after <= handles + 400, "{report}");
        self.victim.terminate();
        let ended = self.victim.wait_end();
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
        self.bob.node.shutdown().await;
        drop(self.dir);
    }

    async fn peak_after(&mut self, flood: &impl AsyncFn(&mut Hostile)) -> u64 {
        flood(&mut self.hostile).await;
        let mut peak = self.measure().0;
        for _ in 0..5 {
            self.honest_chat().await;
            peak = peak.max(self.measure().0);
        }
        peak
    }
}

/// A link that is read, so that only what the victim keeps counts.
async fn reading(hostile: &mut Hostile) -> kith_tests::hostile_peer::Drained {
    hostile.link().await.drain()
}

fn say(seq: u64, text: &str) -> PeerMessage {
    PeerMessage::Chat {
        seq,
        id: MsgId([1; 16]),
        at: 1,
        text: text.into(),
    }
}

fn id(n: u32) -> OfferId {
    let mut id = [5; 16];
    id[..4].copy_from_slice(&n.to_be_bytes());
    OfferId(id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_chat() {
    let siege = Siege::new(&["join", "INVITE"]).await;
    let flood = async |hostile: &mut Hostile| {
        let drained = reading(hostile).await;
        for seq in 1..=1500 {
            drained.link.say(&say(seq, &"x".repeat(8000))).await;
        }
        for n in 0..10_000 {
            drained.link.say(&say(1 + n * 7 % 3000, "again")).await;
        }
    };
    siege.withstands("chat", flood).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_offers() {
    let siege = Siege::new(&["join", "INVITE"]).await;
    let flood = async |hostile: &mut Hostile| {
        let drained = reading(hostile).await;
        for n in 0..3000 {
            let name = format!("{n}").repeat(200);
            drained.link.announce(id(n), &name, &[entry("x", 1)]).await;
        }
        for n in 0..20_000 {
            let offer_id = id(n % 100);
            drained
                .link
                .say(&PeerMessage::Offer {
                    offer_id,
                    name: "again".into(),
                    entries: 1,
                    total: 1,
                    note: None,
                })
                .await;
        }
    };
    siege.withstands("offers", flood).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_small_messages_beats_and_acks() {
    let siege = Siege::new(&["join", "INVITE"]).await;
    let flood = async |hostile: &mut Hostile| {
        let drained = reading(hostile).await;
        let link = &drained.link;
        let sha256 = Digest([1; 32]);
        for n in 0..8000u32 {
            let offer_id = id(n);
            link.say(&PeerMessage::ChatSync { have: u64::from(n) })
                .await;
            link.say(&PeerMessage::ChatAck { upto: u64::MAX }).await;
            link.say(&PeerMessage::Browse { offer_id, first: n }).await;
            link.say(&PeerMessage::EntryDone {
                offer_id,
                entry: n,
                sha256,
            })
            .await;
            let beat = Beat {
                n: u64::from(n),
                state: PresenceState::Away,
                typing: true,
            };
            let _ = link.connection.try_send_presence(beat.to_bytes()).await;
            let (transfer, entry, ranges) = (n, n, RangeSet::full(u64::MAX));
            link.frame(
                Frame::Ack(Ack {
                    transfer,
                    entry,
                    ranges,
                })
                .to_bytes(),
            )
            .await;
        }
    };
    siege.withstands("small messages", flood).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_never_reads_what_he_asks_for() {
    let mut siege = Siege::new(&["join", "INVITE"]).await;
    // Of something long to send again and again.
    for _ in 0..40 {
        siege.victim.say(&"y".repeat(15_000));
    }
    let flood = async |hostile: &mut Hostile| {
        let link: Link = hostile.link().await;
        let ask = async {
            for n in 0..60_000u64 {
                link.say(&say(1, "answer me")).await;
                link.say(&PeerMessage::ChatSync { have: 0 }).await;
                link.say(&PeerMessage::ChatAck { upto: n % 40 }).await;
            }
        };
        // The victim may stop listening, or break the link: both are an end.
        let _ = tokio::time::timeout(Duration::from_secs(5), ask).await;
    };
    siege.withstands("never reads", flood).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_questions_to_somebody_who_offers() {
    let siege = Siege::new(&["send", "FILE", "--to", "INVITE"]).await;
    let flood = async |hostile: &mut Hostile| {
        let mut link = hostile.link().await;
        let seen = |m: &PeerMessage| match m {
            PeerMessage::Offer { offer_id, .. } => Some(*offer_id),
            _ => None,
        };
        let offer_id = link.hear("the offer", seen).await;
        let drained = link.drain();
        let link = &drained.link;
        for n in 0..6000u32 {
            let (entry, transfer) = (0, n);
            link.say(&PeerMessage::Accept { offer_id, transfer }).await;
            let mut ranges = RangeSet::new();
            (0..20).for_each(|i| {
                ranges.insert(u64::from(n % 3) + 2 * i, u64::from(n % 3) + 2 * i + 1)
            });
            link.say(&PeerMessage::Have {
                offer_id,
                entry,
                ranges: ranges.clone(),
            })
            .await;
            link.say(&PeerMessage::Want {
                offer_id,
                entry,
                ranges,
            })
            .await;
            link.say(&PeerMessage::Browse { offer_id, first: 0 }).await;
        }
    };
    siege.withstands("questions", flood).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_begins_every_file_and_ends_none() {
    let siege = Siege::new(&["receive", "INVITE", "--into", "DIR", "--yes", "--stay"]).await;
    let flood = async |hostile: &mut Hostile| {
        let mut link = hostile.link().await;
        let size = 2 * limits::CHUNK as u64;
        let entries: Vec<_> = (0..2000)
            .map(|n| entry(&format!("many/{n}"), size))
            .collect();
        link.announce(id(1), "many", &entries).await;
        let transfer = link.accepted(id(1)).await;
        let drained = link.drain();
        let sha256 = Digest([1; 32]);
        for entry in 0..2000 {
            let offer_id = id(1);
            drained
                .link
                .say(&PeerMessage::EntryDone {
                    offer_id,
                    entry,
                    sha256,
                })
                .await;
        }
        for entry in 0..2000 {
            let part = [entry as u8; limits::CHUNK];
            drained.link.frame(chunk(transfer, entry, 1, &part)).await;
        }
    };
    siege.withstands("files begun", flood).await;
}
