//! The wire, byte by byte. One line per message of each kind stands in a file; what we write must
//! equal it, and what we read from it must equal the value. `UPDATE_GOLDEN=1` rewrites the files:
//! a diff in them is a change of protocol.

// Everything here is a test, helpers too.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fmt::{Debug, Write as _};
use std::path::PathBuf;

use bytes::Bytes;
use kith_protocol::frame::{Ack, Chunk, Frame, Hashes};
use kith_protocol::ids::{AccessPk, Blob, Digest, Nonce, SealTag, Signature};
use kith_protocol::peer::{Beat, Entry, PeerMessage, PresenceState, StrandStep};
use kith_protocol::ranges::RangeSet;
use kith_protocol::room::{
    CallNews, CallStep, ClientMessage, IceServer, LeftWhy, Member, RoomInfo, ServerMessage,
};
use kith_protocol::sealed::{Envelope, Hello, SealedBody};
use kith_protocol::voucher::Voucher;
use kith_protocol::{CallId, Code, IdPk, LinkId, MsgId, OfferId, PeerId, RoomId, Sid, frame};

const SID: Sid = Sid([1; 16]);
const OTHER: Sid = Sid([2; 16]);
const OFFER: OfferId = OfferId([3; 16]);
const CALL: CallId = CallId([4; 16]);
const LINK: LinkId = LinkId([5; 8]);

/// Compares with the file, or rewrites it.
fn golden<T: PartialEq + Debug>(
    file: &str,
    values: &[T],
    write: impl Fn(&T) -> String,
    read: impl Fn(&str) -> T,
) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(file);
    let text: String = values.iter().map(|v| write(v) + "\n").collect();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        stored.lines().count(),
        values.len(),
        "{file}: one line per value"
    );
    for (line, value) in stored.lines().zip(values) {
        assert_eq!(
            line,
            write(value),
            "{file}: the form on the wire has changed"
        );
        assert_eq!(&read(line), value, "{file}: it is read as something else");
    }
}

/// Every kind that the type has must stand in the list; `kind` names it by an exhaustive match.
fn all_kinds<T>(values: &[T], kinds: usize, kind: impl Fn(&T) -> usize) {
    let seen: BTreeSet<usize> = values.iter().map(kind).collect();
    let missing: Vec<usize> = (0..kinds).filter(|k| !seen.contains(k)).collect();
    assert!(missing.is_empty(), "no golden line for kinds {missing:?}");
}

/// Numbers the variants of an enum, so that a new one does not compile before it is listed here.
macro_rules! kinds {
    ($values:expr, $t:ident: $($variant:ident),* $(, = $skipped:ident)*) => {{
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        enum Kind { $($variant),* }
        let count = [$(Kind::$variant as usize),*].len();
        all_kinds($values, count, |v| match v {
            $($t::$variant { .. } => Kind::$variant as usize,)*
            $($t::$skipped => usize::MAX,)*
        });
    }};
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let pair = |i: usize| u8::from_str_radix(&text[i..i + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(pair).collect()
}

fn set(ranges: &[(u64, u64)]) -> RangeSet {
    RangeSet::from_sorted(ranges.to_vec()).unwrap()
}

fn blob() -> Blob {
    vec![0, 1, 0xfe, 0xff].into()
}

fn ice() -> Vec<IceServer> {
    let turn = IceServer {
        urls: vec!["turn:example.org:3478".into()],
        username: Some("1700000000:x".into()),
        credential: Some("c2VjcmV0".into()),
    };
    let stun = IceServer {
        urls: vec!["stun:example.org".into()],
        username: None,
        credential: None,
    };
    vec![stun, turn]
}

#[test]
fn client_messages() {
    let step = |to, step| ClientMessage::Call {
        to,
        call_id: CALL,
        step,
    };
    let values = [
        ClientMessage::Join {
            room_id: RoomId([6; 16]),
            sid: SID,
            access_pk: AccessPk([7; 32]),
            caps: vec!["quic/1".into()],
        },
        ClientMessage::Prove {
            sig: Signature([8; 64]),
        },
        ClientMessage::Leave {},
        ClientMessage::Signal {
            to: OTHER,
            body: blob(),
        },
        step(None, CallStep::Request),
        step(Some(OTHER), CallStep::Accept),
        step(Some(OTHER), CallStep::Reject),
        step(Some(OTHER), CallStep::Cancel),
        step(Some(OTHER), CallStep::HangUp),
        ClientMessage::Ping { t: u64::MAX },
    ];
    kinds!(&values, ClientMessage: Join, Prove, Leave, Signal, Call, Ping);
    golden("client.jsonl", &values, ClientMessage::to_text, |l| {
        ClientMessage::parse(l).unwrap()
    });
}

#[test]
fn server_messages() {
    let room = RoomInfo {
        locked: true,
        capacity: 32,
    };
    let call = |step, why| ServerMessage::Call {
        from: OTHER,
        call_id: CALL,
        step,
        why,
    };
    let mut values = vec![
        ServerMessage::Challenge {
            nonce: Nonce([9; 32]),
        },
        ServerMessage::Joined {
            you: SID,
            members: vec![Member {
                sid: OTHER,
                caps: vec!["quic/1".into()],
            }],
            room,
            ice_servers: ice(),
            ice_ttl: 3600,
            token: "t".into(),
        },
        ServerMessage::MemberJoined {
            sid: OTHER,
            caps: vec![],
        },
        ServerMessage::Signal {
            from: OTHER,
            body: blob(),
        },
        call(CallNews::Reject, Some("later".into())),
        ServerMessage::Room { room },
        ServerMessage::IceServers {
            ice_servers: ice(),
            ice_ttl: 60,
        },
        ServerMessage::Restarting { after_ms: 500 },
        ServerMessage::Pong { t: 1 },
    ];
    for step in [
        CallNews::Request,
        CallNews::Accept,
        CallNews::Cancel,
        CallNews::HangUp,
        CallNews::Timeout,
        CallNews::Busy,
    ] {
        values.push(call(step, None));
    }
    for why in [
        LeftWhy::Left,
        LeftWhy::Closed,
        LeftWhy::TimedOut,
        LeftWhy::Refused,
    ] {
        values.push(ServerMessage::MemberLeft { sid: OTHER, why });
    }
    for code in Code::ALL {
        let (message, about) = (String::new(), Some(OTHER));
        values.push(ServerMessage::Error {
            code: *code,
            message,
            about,
        });
    }
    kinds!(
        &values, ServerMessage: Challenge, Joined, MemberJoined, MemberLeft, Signal, Call, Room,
        IceServers, Restarting, Pong, Error, = Unknown
    );
    golden("server.jsonl", &values, ServerMessage::to_text, |l| {
        ServerMessage::parse(l).unwrap()
    });
}

#[test]
fn peer_messages() {
    let voucher = |to| Voucher {
        by: IdPk([7; 32]),
        name: "photos".into(),
        entries: 3,
        total: 70_000,
        root: Digest([8; 32]),
        to,
        sig: Signature([9; 64]),
    };
    let (offer_id, why, entry) = (OFFER, Code::Cancelled, 7);
    let ranges = set(&[(0, 3), (9, u64::MAX)]);
    let entries = vec![
        Entry {
            path: "a/b\u{1}\"é".into(),
            size: 1 << 40,
            mode: 0o755,
            mtime: -1,
            mtime_ns: 5,
            dir: false,
        },
        Entry {
            path: "d".into(),
            size: 0,
            mode: 0,
            mtime: 0,
            mtime_ns: 0,
            dir: true,
        },
    ];
    let (name, note) = ("files".to_string(), Some("look".to_string()));
    let values = [
        PeerMessage::Confirm {
            my_fp: Digest([1; 32]),
            your_fp: Digest([2; 32]),
            session: SealTag([3; 8]),
        },
        PeerMessage::ChatSync { have: 0 },
        PeerMessage::Chat {
            seq: 1,
            id: MsgId([4; 16]),
            at: 1_700_000_000_000,
            text: "hé\n\"\\".into(),
        },
        PeerMessage::ChatAck { upto: u64::MAX },
        PeerMessage::Offer {
            offer_id,
            name: name.clone(),
            entries: 2,
            total: 1 << 40,
            note,
        },
        PeerMessage::Offer {
            offer_id,
            name,
            entries: 1,
            total: 0,
            note: None,
        },
        PeerMessage::Entries {
            offer_id,
            first: 0,
            entries,
        },
        PeerMessage::Browse {
            offer_id,
            first: 4096,
        },
        PeerMessage::Accept {
            offer_id,
            transfer: u32::MAX,
        },
        PeerMessage::Decline {
            offer_id,
            why: Code::Declined,
        },
        PeerMessage::Have {
            offer_id,
            transfer: 7,
            entry,
            ranges: ranges.clone(),
        },
        PeerMessage::Want {
            offer_id,
            entry,
            ranges: ranges.clone(),
        },
        PeerMessage::Cancel { offer_id, why },
        PeerMessage::Gone { offer_id, why },
        PeerMessage::EntryDone {
            offer_id,
            entry,
            hash: Digest([5; 32]),
        },
        PeerMessage::Verified {
            offer_id,
            transfer: 7,
            entries: ranges.clone(),
        },
        PeerMessage::OfferDone { offer_id },
        PeerMessage::Pause {
            offer_id,
            why: None,
        },
        PeerMessage::Pause {
            offer_id,
            why: Some(Code::DiskFull),
        },
        PeerMessage::Resume { offer_id },
        PeerMessage::Pace {
            offer_id,
            bytes_per_s: Some(1 << 20),
        },
        PeerMessage::Pace {
            offer_id,
            bytes_per_s: None,
        },
        PeerMessage::Swarm {
            offer_id,
            to: vec![PeerId([6; 16]), PeerId([7; 16])],
        },
        PeerMessage::Swarm {
            offer_id,
            to: Vec::new(),
        },
        PeerMessage::Holds {
            from: PeerId([6; 16]),
            offer_id,
            hello: true,
            whole: ranges.clone(),
            parts: vec![(entry, ranges.clone())],
        },
        PeerMessage::Holds {
            from: PeerId([6; 16]),
            offer_id,
            hello: false,
            whole: RangeSet::new(),
            parts: Vec::new(),
        },
        PeerMessage::Pull {
            from: PeerId([6; 16]),
            offer_id,
            transfer: u32::MAX,
            entry,
            ranges,
        },
        PeerMessage::Voucher {
            offer_id,
            voucher: Box::new(voucher(Vec::new())),
        },
        PeerMessage::StandIn {
            offer_id,
            voucher: Box::new(voucher(vec![PeerId([6; 16])])),
        },
        PeerMessage::LetGo {
            from: PeerId([6; 16]),
            offer_id,
        },
        PeerMessage::Strand {
            n: 0,
            mine: true,
            step: StrandStep::Offer {
                sdp: "v=0\r\n".into(),
            },
        },
        PeerMessage::Strand {
            n: 6,
            mine: false,
            step: StrandStep::Answer {
                sdp: "v=0\r\n".into(),
            },
        },
        PeerMessage::Strand {
            n: 1,
            mine: true,
            step: StrandStep::Candidate {
                candidate: "candidate:1 1 udp 1 192.0.2.1 9 typ host".into(),
                mid: Some("0".into()),
                mline: Some(0),
            },
        },
        PeerMessage::Strand {
            n: 2,
            mine: false,
            step: StrandStep::Ready {},
        },
        PeerMessage::Ring {
            call: CallId([6; 16]),
            room: true,
        },
        PeerMessage::InCall {
            call: Some(CallId([6; 16])),
            room: false,
            muted: true,
        },
        PeerMessage::InCall {
            call: None,
            room: false,
            muted: false,
        },
        PeerMessage::OutOfCall {
            call: CallId([6; 16]),
            why: Code::HungUp,
        },
        PeerMessage::Bye {},
    ];
    kinds!(
        &values, PeerMessage: Confirm, ChatSync, Chat, ChatAck, Offer, Entries, Browse, Accept,
        Decline, Have, Want, Cancel, Gone, EntryDone, Verified, OfferDone, Pause, Resume, Pace,
        Swarm, Holds, Pull, Voucher, StandIn, LetGo, Strand, Ring, InCall, OutOfCall,
        Bye, = Unknown
    );
    let write = |m: &PeerMessage| String::from_utf8(m.to_bytes().to_vec()).unwrap();
    golden("peer.jsonl", &values, write, |l| {
        PeerMessage::parse(l.as_bytes()).unwrap()
    });
}

#[test]
fn beats() {
    let beat = |n, state, typing| Beat { n, state, typing };
    let values = [
        beat(1, PresenceState::Online, false),
        beat(2, PresenceState::Away, false),
        beat(u64::MAX, PresenceState::InCall, true),
    ];
    let states = values.iter().map(|b| b.state).collect::<Vec<_>>();
    kinds!(&states, PresenceState: Online, Away, InCall, = Unknown);
    let write = |b: &Beat| String::from_utf8(b.to_bytes().to_vec()).unwrap();
    golden("beat.jsonl", &values, write, |l| {
        Beat::parse(l.as_bytes()).unwrap()
    });
}

#[test]
fn hellos() {
    let hello = |name: &str, caps: &[&str]| Hello {
        id_pk: IdPk([1; 32]),
        cert: Signature([2; 64]),
        fp: Digest([3; 32]),
        name: name.into(),
        caps: caps.iter().map(|c| c.to_string()).collect(),
    };
    let values = [hello("Ada", &["quic/1"]), hello("", &[])];
    golden(
        "hello.hex",
        &values,
        |h| hex(&h.to_bytes()),
        |l| Hello::parse(&unhex(l)).unwrap(),
    );
}

#[test]
fn sealed_bodies() {
    let (link, sdp) = (LINK, "v=0\r\n".to_string());
    let candidate = "candidate:1 1 udp 1 192.0.2.1 9 typ host".to_string();
    let values = [
        SealedBody::SdpOffer {
            link,
            restart: true,
            sdp: sdp.clone(),
        },
        SealedBody::SdpAnswer { link, sdp },
        SealedBody::Candidate {
            link,
            candidate,
            mid: Some("0".into()),
            mline: Some(0),
        },
        SealedBody::Candidate {
            link,
            candidate: String::new(),
            mid: None,
            mline: None,
        },
        SealedBody::Keep { link },
        SealedBody::Fresh {},
        SealedBody::Restart { link },
    ];
    kinds!(
        &values, SealedBody: SdpOffer, SdpAnswer, Candidate, Keep, Fresh, Restart, = Unknown
    );
    golden(
        "sealed.hex",
        &values,
        |b| hex(&b.to_bytes()),
        |l| SealedBody::parse(&unhex(l)).unwrap(),
    );
}

#[test]
fn envelopes() {
    let noise = Bytes::from_static(b"noise");
    let step = |step| Envelope::Handshake {
        step,
        attempt: 0x0102_0304,
        noise: noise.clone(),
    };
    let (tag, counter) = (SealTag([6; 8]), 0x0102_0304_0506_0708);
    let values = [
        step(1),
        step(2),
        step(3),
        Envelope::Transport {
            tag,
            counter,
            noise: noise.clone(),
        },
        Envelope::Rehandshake,
    ];
    kinds!(&values, Envelope: Handshake, Transport, Rehandshake);
    let read = |l: &str| Envelope::parse(unhex(l).into()).unwrap();
    golden("envelope.hex", &values, |e| hex(&e.to_bytes()), read);
}

#[test]
fn frames() {
    let (transfer, entry) = (0x0102_0304, 0x0506_0708);
    let values = [
        Frame::Chunk(Chunk {
            transfer,
            entry,
            index: 0x1112_1314_1516_1718,
            digest: Digest([9; 32]),
            payload: Bytes::from_static(b"payload"),
        }),
        Frame::Ack(Ack {
            transfer,
            entry,
            ranges: set(&[(0, 3), (9, u64::MAX)]),
        }),
        Frame::Ack(Ack {
            transfer,
            entry,
            ranges: RangeSet::new(),
        }),
        Frame::Hashes(Hashes {
            transfer,
            entry,
            first: 0x1112_1314_1516_1718,
            hashes: Bytes::from(vec![9; 64]),
        }),
        Frame::Padding(5),
    ];
    kinds!(&values, Frame: Chunk, Ack, Hashes, Padding);
    golden(
        "frame.hex",
        &values,
        |f| hex(&f.to_bytes()),
        |l| frame::parse(unhex(l).into()).next().unwrap().unwrap(),
    );
    assert_eq!(values[2].to_bytes().len(), frame::HEADER);
}
