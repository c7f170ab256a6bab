//! Too much of everything, at a real process whose memory and handles are measured.
//!
//! What counts is memory that is not a file's, against that of a warm node (it has linked, chatted
//! and, where it is there to receive, fetched a file), during the flood and after it. Every flood
//! comes twice, over a new link each time.

mod siege;

use std::time::Duration;

use kith_protocol::frame::{Ack, Frame};
use kith_protocol::ids::Digest;
use kith_protocol::peer::{Beat, PeerMessage, PresenceState};
use kith_protocol::ranges::RangeSet;
use kith_protocol::{MsgId, OfferId, limits};
use kith_tests::hostile_peer::{Hostile, Link, chunk, entry};

use siege::Siege;

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
async fn a_flood_of_manifests() {
    let siege = Siege::new(&["join", "INVITE"]).await;
    let flood = async |hostile: &mut Hostile| {
        let drained = reading(hostile).await;
        for n in 0..limits::MAX_OFFERS as u32 {
            let offer_id = id(n);
            let entries = limits::MAX_ENTRIES;
            let offer = PeerMessage::Offer {
                offer_id,
                name: "long".into(),
                entries,
                total: 0,
                note: None,
            };
            drained.link.say(&offer).await;
            let page = vec![entry(&"x".repeat(limits::MAX_PATH), 0); 14];
            for first in 0..limits::PAGES_AHEAD as u32 {
                let page = PeerMessage::Entries {
                    offer_id,
                    first: first * 14,
                    entries: page.clone(),
                };
                drained.link.say(&page).await;
            }
        }
    };
    siege.withstands("manifests", flood).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_small_messages_beats_and_acks() {
    let siege = Siege::new(&["join", "INVITE"]).await;
    let flood = async |hostile: &mut Hostile| {
        let drained = reading(hostile).await;
        let link = &drained.link;
        let hash = Digest([1; 32]);
        for n in 0..8000u32 {
            let offer_id = id(n);
            link.say(&PeerMessage::ChatSync { have: u64::from(n) })
                .await;
            link.say(&PeerMessage::ChatAck { upto: u64::MAX }).await;
            link.say(&PeerMessage::Browse { offer_id, first: n }).await;
            link.say(&PeerMessage::EntryDone {
                offer_id,
                entry: n,
                hash,
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
                transfer: n + 1,
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
        let hash = Digest([1; 32]);
        for entry in 0..2000 {
            let offer_id = id(1);
            drained
                .link
                .say(&PeerMessage::EntryDone {
                    offer_id,
                    entry,
                    hash,
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
