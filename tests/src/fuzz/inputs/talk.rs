//! What comes over a link.

use kith_api::Route;
use kith_core::input::{Candidate, IceState, Input, LinkNews, StrandId, StrandNews};
use kith_protocol::ids::{Digest, Signature};
use kith_protocol::peer::{Beat, Entry, PeerMessage, PresenceState, StrandStep};
use kith_protocol::voucher::Voucher;
use kith_protocol::{LinkId, MsgId, OfferId, PeerId, RoomId, limits, sdp};

use super::super::engine::{PEOPLE, World, fp, id_pk};
use super::Bytes;
use super::meeting::confirm;

pub(super) fn link(w: &mut World, b: &mut Bytes<'_>) {
    let unknown = (w.rooms[0].1, id_pk(0).peer_id(), LinkId([9; 8]));
    let (room, peer, link) = b.pick(&w.links).unwrap_or(unknown);
    let news = match b.byte() % 48 {
        24 => LinkNews::LocalSdp("v=0\r\n".into()),
        25 => LinkNews::LocalCandidate(Candidate {
            candidate: "candidate:1".into(),
            mid: None,
            mline: None,
        }),
        26 => LinkNews::Ice(
            b.pick(&[
                IceState::Checking,
                IceState::Connected,
                IceState::Disconnected,
                IceState::Failed,
            ])
            .unwrap_or(IceState::Checking),
        ),
        27 => LinkNews::ChannelsOpen,
        28 => LinkNews::Message(Box::new(confirm(w, link))),
        29 => LinkNews::Beat(Beat {
            n: b.number(),
            state: PresenceState::Away,
            typing: false,
        }),
        30 | 31 => LinkNews::Ack {
            transfer: b.byte().into(),
            entry: b.byte().into(),
            ranges: b.ranges(),
        },
        32 => LinkNews::Heard,
        33 => LinkNews::Route(Route::Lan),
        34 => LinkNews::Broken(b.code()),
        35 => return long_offer(w, b, (room, peer, link)),
        n @ 36..=42 => LinkNews::Message(Box::new(message(w, b, n - 12))),
        43 => LinkNews::Strained(b.byte()),
        44 | 45 => {
            let (id, news) = strand_news(b);
            LinkNews::Strand(id, news)
        }
        46 => LinkNews::Message(Box::new(strand(b, peer))),
        47 => {
            let n = 31 + b.byte() % 2;
            LinkNews::Message(Box::new(message(w, b, n)))
        }
        n => LinkNews::Message(Box::new(message(w, b, n % 24))),
    };
    w.give(Input::Link {
        room,
        peer,
        link,
        news,
    });
}

fn strand_id(b: &mut Bytes<'_>) -> StrandId {
    let n = b.byte();
    StrandId {
        ours: n < 128,
        n: n % limits::MAX_STRANDS,
    }
}

fn strand_news(b: &mut Bytes<'_>) -> (StrandId, StrandNews) {
    let id = strand_id(b);
    let news = match b.byte() % 5 {
        0 => StrandNews::LocalSdp("v=0\r\n".into()),
        1 => StrandNews::LocalCandidate(Candidate {
            candidate: "candidate:1".into(),
            mid: None,
            mline: None,
        }),
        2 | 3 => StrandNews::Open,
        _ => StrandNews::Lost {
            lossy: b.byte() > 128,
        },
    };
    (id, news)
}

/// Something of a strand, with the certificate of who says it or another.
fn strand(b: &mut Bytes<'_>, peer: PeerId) -> PeerMessage {
    let id = strand_id(b);
    let who = (0..PEOPLE).find(|p| id_pk(*p).peer_id() == peer);
    let digest = who.map_or(Digest([0; 32]), |who| fp(who, b.byte() % 3));
    let print = sdp::format_fingerprint(&digest);
    let text = format!("v=0\r\na=fingerprint:sha-256 {print}\r\n");
    let step = match b.byte() % 5 {
        0 => StrandStep::Offer { sdp: text },
        1 => StrandStep::Answer { sdp: text },
        2 => StrandStep::Candidate {
            candidate: b.text(),
            mid: None,
            mline: None,
        },
        3 => StrandStep::Ready {},
        _ => StrandStep::Unknown,
    };
    PeerMessage::Strand {
        n: id.n,
        mine: !id.ours,
        step,
    }
}

/// An offer whose manifest is longer than what is sent unasked, in pages of one entry.
fn long_offer(w: &mut World, b: &mut Bytes<'_>, (room, peer, link): (RoomId, PeerId, LinkId)) {
    let ahead = limits::PAGES_AHEAD as u32;
    let offer_id = OfferId([b.byte() % 4; 16]);
    let from = if b.byte() < 128 { 0 } else { ahead };
    let mut give = |message| {
        let news = LinkNews::Message(Box::new(message));
        w.give(Input::Link {
            room,
            peer,
            link,
            news,
        });
    };
    if from == 0 {
        give(PeerMessage::Offer {
            offer_id,
            name: "long".into(),
            entries: ahead + 2,
            total: 0,
            note: None,
        });
    }
    for first in from..from + ahead.min(ahead + 2 - from) {
        let entry = Entry {
            path: format!("{first}"),
            size: 0,
            mode: 0o644,
            mtime: 5,
            mtime_ns: 0,
            dir: false,
        };
        give(PeerMessage::Entries {
            offer_id,
            first,
            entries: vec![entry],
        });
    }
}

fn message(w: &World, b: &mut Bytes<'_>, n: u8) -> PeerMessage {
    let (from, offer_id) = some_offer(w, b);
    let entry = b.byte() % 8;
    let entry = if entry == 7 { u32::MAX } else { entry.into() };
    let message = match n {
        0 | 1 => {
            let n = b.byte();
            PeerMessage::Offer {
                offer_id: OfferId([n; 16]),
                name: b.text(),
                entries: u32::from(b.byte() % 4) + 1,
                total: b.number(),
                note: None,
            }
        }
        2 | 3 => {
            let first = u32::from(b.byte() % 6);
            PeerMessage::Entries {
                offer_id,
                first,
                entries: entries(b),
            }
        }
        4 => PeerMessage::Browse {
            offer_id,
            first: b.number() as u32,
        },
        5 | 6 => PeerMessage::Accept {
            offer_id,
            transfer: b.byte().into(),
        },
        7 => PeerMessage::Decline {
            offer_id,
            why: b.code(),
        },
        8 => PeerMessage::Have {
            offer_id,
            transfer: b.byte().into(),
            entry,
            ranges: b.ranges(),
        },
        9 => PeerMessage::Want {
            offer_id,
            entry,
            ranges: b.ranges(),
        },
        10 => PeerMessage::Cancel {
            offer_id,
            why: b.code(),
        },
        11 => PeerMessage::Gone {
            offer_id,
            why: b.code(),
        },
        12 => PeerMessage::EntryDone {
            offer_id,
            entry,
            hash: Digest([1; 32]),
        },
        13 => PeerMessage::Verified {
            offer_id,
            transfer: b.byte().into(),
            entries: b.ranges(),
        },
        14 => PeerMessage::OfferDone { offer_id },
        15 => PeerMessage::Bye {},
        16 => PeerMessage::ChatSync { have: b.number() },
        17..=20 => PeerMessage::Chat {
            seq: b.number().max(1),
            id: MsgId([1; 16]),
            at: b.number(),
            text: b.text(),
        },
        21 => PeerMessage::ChatAck { upto: b.number() },
        22 => return PeerMessage::Unknown,
        24 => PeerMessage::Swarm {
            offer_id,
            to: (0..b.byte() % 3).map(|n| id_pk(n).peer_id()).collect(),
        },
        25 => PeerMessage::Holds {
            from,
            offer_id,
            hello: b.byte() > 128,
            whole: b.ranges(),
            parts: vec![(entry, b.ranges())],
        },
        26 => PeerMessage::Pull {
            from,
            offer_id,
            transfer: b.byte().into(),
            entry,
            ranges: b.ranges(),
        },
        27 => PeerMessage::LetGo { from, offer_id },
        31 => PeerMessage::Voucher {
            offer_id,
            voucher: voucher(b),
        },
        32 => PeerMessage::StandIn {
            offer_id,
            voucher: voucher(b),
        },
        28 => PeerMessage::Pause {
            offer_id,
            why: (b.byte() > 80).then(|| b.code()),
        },
        29 => PeerMessage::Resume { offer_id },
        30 => PeerMessage::Pace {
            offer_id,
            bytes_per_s: (b.byte() > 80).then(|| b.number()),
        },
        _ => confirm(w, LinkId([0; 8])),
    };
    // Only what the decoder lets through reaches the engine.
    match PeerMessage::parse(&message.to_bytes()) {
        Ok(message) => message,
        Err(_) => PeerMessage::Bye {},
    }
}

/// Somebody's, as its signature is checked before the engine hears of it.
fn voucher(b: &mut Bytes<'_>) -> Box<Voucher> {
    Box::new(Voucher {
        by: id_pk(b.byte() % PEOPLE),
        name: b.text(),
        entries: u32::from(b.byte() % 5),
        total: b.number(),
        root: Digest([b.byte(); 32]),
        to: (0..b.byte() % 3).map(|n| id_pk(n).peer_id()).collect(),
        sig: Signature([0; 64]),
    })
}

pub(super) fn some_offer(w: &World, b: &mut Bytes<'_>) -> (PeerId, OfferId) {
    match b.byte() {
        n @ 240.. => (id_pk(n % PEOPLE).peer_id(), OfferId([n; 16])),
        n => w
            .offers
            .iter()
            .rev()
            .nth(usize::from(n) % w.offers.len().max(1))
            .copied()
            .unwrap_or((w.me(), OfferId([n; 16]))),
    }
}

pub(super) fn entries(b: &mut Bytes<'_>) -> Vec<Entry> {
    (0..b.byte() % 5)
        .map(|i| {
            let dir = b.byte() > 220;
            Entry {
                path: format!("{i}{}", b.text()),
                size: if dir { 0 } else { b.number() },
                mode: 0o644,
                mtime: 5,
                mtime_ns: 0,
                dir,
            }
        })
        .collect()
}
