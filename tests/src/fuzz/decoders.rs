//! The decoders of the wire. What parses must survive being written and parsed again, and must
//! lie within the limits.

use std::str::from_utf8;

use bytes::Bytes;
use kith_core::record::{ChatRecord, PeerRecord, RoomRecord};
use kith_peer::disk::{MAX_NAME, SafePath};
use kith_protocol::frame::{self, Frame};
use kith_protocol::ids::Digest;
use kith_protocol::invite::ServerAddr;
use kith_protocol::peer::{Beat, Entry, PeerMessage, StrandStep, clean_name, is_unprintable};
use kith_protocol::ranges::RangeSet;
use kith_protocol::room::{ClientMessage, ServerMessage};
use kith_protocol::sealed::{Envelope, Hello, SealedBody};
use kith_protocol::{Invite, limits, sdp};

use super::{LONGEST, Target, kind, magnitude, seeds, size};

/// The certificate that SDPs here are checked against.
pub(super) const FP: Digest = Digest([0xab; 32]);

/// A decoder, and valid inputs for it.
type Decoder = (fn(&[u8]) -> u64, fn() -> Vec<Vec<u8>>);

/// What is JSON or a line of text between members, the room server and the store.
const MESSAGES: [Decoder; 8] = [
    (client, || seeds::lines("client.jsonl")),
    (server, || seeds::lines("server.jsonl")),
    (peer, || seeds::lines("peer.jsonl")),
    (beat, || seeds::lines("beat.jsonl")),
    (sealed, || seeds::hex("sealed.hex")),
    (hello, || seeds::hex("hello.hex")),
    (record, seeds::records),
    (invite, seeds::invites),
];
/// Names and addresses that somebody else chose.
const NAMES: [Decoder; 4] = [
    (safe_path, seeds::paths),
    (display_name, seeds::paths),
    (description, seeds::sdps),
    (candidate, seeds::candidates),
];
/// What is not text.
const BINARY: [Decoder; 3] = [
    (frame, || seeds::hex("frame.hex")),
    (envelope, || seeds::hex("envelope.hex")),
    (ranges, seeds::ranges),
];

pub(super) fn targets() -> Vec<Target> {
    let target = |name, run, seeds, text| Target {
        name,
        run,
        seeds,
        text,
        longest: LONGEST,
    };
    vec![
        target(
            "messages",
            |i| family(&MESSAGES, i),
            || told(&MESSAGES),
            true,
        ),
        target("names", |i| family(&NAMES, i), || told(&NAMES), true),
        target("binary", |i| family(&BINARY, i), || told(&BINARY), false),
    ]
}

/// The first byte says which decoder of the family gets the rest.
fn family(decoders: &[Decoder], input: &[u8]) -> u64 {
    let (first, rest) = input.split_first().map_or((b'a', input), |(f, r)| (*f, r));
    let which = usize::from(first.wrapping_sub(b'a')) % decoders.len();
    let outcome = (decoders[which].0)(rest);
    // The decoder is a part of the shape.
    outcome ^ (which as u64 + 1) << 59
}

fn told(decoders: &[Decoder]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (first, (_, seeds)) in (b'a'..).zip(decoders) {
        all.extend(seeds().into_iter().map(|s| [&[first], &s[..]].concat()));
    }
    all
}

fn client(input: &[u8]) -> u64 {
    let Ok(text) = from_utf8(input) else { return 0 };
    match ClientMessage::parse(text) {
        Ok(message) => {
            assert!(text.len() <= limits::MAX_ROOM_MESSAGE);
            assert_eq!(
                ClientMessage::parse(&message.to_text()).as_ref(),
                Ok(&message)
            );
            kind(&format!("{message:?}"))
        }
        Err(e) => kind(&e.to_string()),
    }
}

fn server(input: &[u8]) -> u64 {
    let Ok(text) = from_utf8(input) else { return 0 };
    match ServerMessage::parse(text) {
        Ok(ServerMessage::Unknown) => 1,
        Ok(message) => {
            assert_eq!(
                ServerMessage::parse(&message.to_text()).as_ref(),
                Ok(&message)
            );
            kind(&format!("{message:?}"))
        }
        Err(e) => kind(&e.to_string()),
    }
}

fn envelope(input: &[u8]) -> u64 {
    match Envelope::parse(Bytes::copy_from_slice(input)) {
        Ok(e) => {
            assert_eq!(e.to_bytes(), input, "one body, one reading");
            kind(&format!("{e:?}")) ^ magnitude(input.len() as u64)
        }
        Err(_) => size(0, input.len()),
    }
}

fn hello(input: &[u8]) -> u64 {
    match Hello::parse(input) {
        Ok(h) => {
            assert!(h.name.len() <= limits::MAX_NAME && h.caps.len() <= limits::MAX_CAPS);
            assert_eq!(Hello::parse(&h.to_bytes()), Ok(h.clone()));
            kind(&format!("{h:?}"))
        }
        Err(e) => kind(&e.to_string()),
    }
}

fn sealed(input: &[u8]) -> u64 {
    match SealedBody::parse(input) {
        Ok(SealedBody::Unknown) => 1,
        Ok(b) => {
            // What is only just in bounds may not be once it is escaped anew.
            let bytes = b.to_bytes();
            assert!(bytes.len().is_multiple_of(limits::SEAL_PADDING));
            if bytes.len() <= limits::MAX_SEALED {
                assert_eq!(SealedBody::parse(&bytes), Ok(b.clone()));
            }
            kind(&format!("{b:?}"))
        }
        Err(e) => kind(&e.to_string()),
    }
}

fn peer(input: &[u8]) -> u64 {
    match PeerMessage::parse(input) {
        // What is not known is skipped, and never said.
        Ok(
            PeerMessage::Unknown
            | PeerMessage::Strand {
                step: StrandStep::Unknown,
                ..
            },
        ) => 1,
        Ok(message) => {
            assert!(input.len() <= limits::MAX_PEER_MESSAGE);
            match &message {
                PeerMessage::Chat { seq, text, .. } => {
                    assert!(*seq > 0 && text.len() <= limits::MAX_TEXT);
                }
                PeerMessage::Entries { entries, .. } => {
                    assert!(entries.iter().all(kith_core::offer::is_sendable));
                }
                PeerMessage::Have { ranges, .. }
                | PeerMessage::Want { ranges, .. }
                | PeerMessage::Pull { ranges, .. } => {
                    well_formed(ranges);
                }
                PeerMessage::Offer { entries, .. } => assert!(*entries <= limits::MAX_ENTRIES),
                PeerMessage::Verified { entries, .. } => well_formed(entries),
                PeerMessage::Swarm { to, .. } => assert!(to.len() <= limits::MAX_NAMED),
                PeerMessage::Holds { whole, parts, .. } => {
                    well_formed(whole);
                    parts.iter().for_each(|(_, r)| well_formed(r));
                }
                _ => {}
            }
            let bytes = message.to_bytes();
            if bytes.len() <= limits::MAX_PEER_MESSAGE {
                assert_eq!(PeerMessage::parse(&bytes).as_ref(), Ok(&message));
            }
            kind(&format!("{message:?}"))
        }
        Err(e) => kind(&e.to_string()),
    }
}

fn beat(input: &[u8]) -> u64 {
    match Beat::parse(input) {
        Ok(b) => {
            assert_eq!(Beat::parse(&b.to_bytes()), Ok(b.clone()));
            kind(&format!("{b:?}"))
        }
        Err(e) => kind(&e.to_string()),
    }
}

fn frame(input: &[u8]) -> u64 {
    let all: Vec<_> = frame::parse(Bytes::copy_from_slice(input)).collect();
    assert!(!all.is_empty() && all.len() <= input.len() / frame::HEADER + 1);
    let said = all.iter().flatten().map(|frame| {
        match frame {
            Frame::Chunk(c) => {
                assert!((1..=limits::CHUNK).contains(&c.payload.len()));
                let size = frame::chunk_len(u64::MAX, c.index) as usize;
                assert!(size <= limits::CHUNK);
            }
            Frame::Ack(a) => well_formed(&a.ranges),
            Frame::Hashes(h) => assert!((1..=limits::MAX_HASHES).contains(&h.iter().len())),
            Frame::Padding(len) => assert!(*len <= limits::MAX_FRAME_PAYLOAD),
        }
        frame.to_bytes()
    });
    let said: Vec<Bytes> = said.collect();
    let again: Vec<_> = frame::parse(said.concat().into()).flatten().collect();
    assert!(said.is_empty() || all.iter().flatten().eq(&again));
    match all.last() {
        Some(Err(e)) => kind(&e.to_string()),
        Some(Ok(_)) | None => size(u64::from(input[1]), input.len()),
    }
}

fn well_formed(set: &RangeSet) {
    assert!(set.ranges().len() <= limits::MAX_RANGES);
    let mut last = None;
    for &(a, b) in set.ranges() {
        assert!(a < b && last.is_none_or(|l| l < a), "ascending and apart");
        last = Some(b);
    }
}

/// A sequence of operations on a set, beside a plain bit field.
fn ranges(input: &[u8]) -> u64 {
    let mut set = RangeSet::new();
    let mut bits = [false; 256];
    for op in input.chunks_exact(3).take(400) {
        let (a, b) = (usize::from(op[1]), usize::from(op[2]));
        match op[0] % 3 {
            0 => {
                set.insert(a as u64, b as u64);
                bits.iter_mut().take(b).skip(a).for_each(|x| *x = true);
            }
            1 => {
                set.remove(a as u64, b as u64);
                bits.iter_mut().take(b).skip(a).for_each(|x| *x = false);
            }
            // At the far end nothing may overflow.
            _ => {
                let mut far = set.clone();
                far.insert(u64::MAX - a as u64, u64::MAX);
                far.remove(b as u64, u64::MAX - 1);
                let _ = far.missing(u64::MAX).count();
                assert!(far.next_missing(u64::MAX - 1) >= u64::MAX - 1);
            }
        }
    }
    assert_eq!(set.count(), bits.iter().filter(|b| **b).count() as u64);
    for (i, bit) in bits.iter().enumerate() {
        assert_eq!(set.contains(i as u64), *bit);
    }
    let again = RangeSet::from_sorted(set.ranges().to_vec());
    assert_eq!(again.as_ref(), Some(&set), "kept ascending and apart");
    if let Ok(parsed) = serde_json::from_slice::<RangeSet>(input) {
        well_formed(&parsed);
        let _ = (parsed.count(), parsed.missing(u64::MAX).count());
    }
    size(0, set.ranges().len())
}

fn invite(input: &[u8]) -> u64 {
    let Ok(text) = from_utf8(input) else { return 0 };
    if let Ok(addr) = ServerAddr::parse(text) {
        assert_eq!(ServerAddr::parse(&addr.to_string()).as_ref(), Ok(&addr));
        assert!(!addr.authority().contains(['/', '#', '@', ' ']));
    }
    match text.parse::<Invite>() {
        Ok(i) => {
            assert_eq!(i.link().parse::<Invite>().as_ref(), Ok(&i));
            kind(i.server().authority())
        }
        Err(e) => kind(&e.to_string()),
    }
}

fn description(input: &[u8]) -> u64 {
    let Ok(text) = from_utf8(input) else { return 0 };
    match sdp::check(text, &FP) {
        Ok(()) => {
            assert!(text.len() <= limits::MAX_SDP);
            // However another parser cuts the lines, it finds no other fingerprint.
            let folded = text.to_ascii_lowercase();
            for (at, _) in folded.match_indices("a=fingerprint") {
                let line_start = at == 0 || matches!(folded.as_bytes()[at - 1], b'\r' | b'\n');
                if line_start {
                    let rest = folded[at..].split(['\r', '\n']).next().unwrap_or_default();
                    let fp = sdp::format_fingerprint(&FP).to_ascii_lowercase();
                    assert!(rest.contains(&fp), "another fingerprint passed: {rest:?}");
                }
            }
            size(2, text.len())
        }
        Err(e) => kind(&e.to_string()),
    }
}

fn candidate(input: &[u8]) -> u64 {
    let Ok(text) = from_utf8(input) else { return 0 };
    let ok = sdp::check_candidate(text);
    if ok {
        assert!(text.len() <= limits::MAX_CANDIDATE && !text.contains(['\r', '\n']));
    }
    size(u64::from(ok), text.len())
}

fn safe_path(input: &[u8]) -> u64 {
    let Ok(text) = from_utf8(input) else { return 0 };
    match SafePath::from_wire(text) {
        Ok(path) => {
            let root = std::path::Path::new("/downloads");
            let joined = path.components().fold(root.to_path_buf(), |p, c| p.join(c));
            assert!(joined.starts_with(root) && joined != root);
            assert_eq!(joined.components().count(), 2 + path.components().count());
            for name in path.components() {
                assert!(!name.is_empty() && name.len() <= MAX_NAME && name != "." && name != "..");
                assert!(!name.contains(['/', '\\', '\0', ':', '\n', '\u{202e}']));
                assert!(!name.ends_with(['.', ' ']));
            }
            assert_eq!(SafePath::from_wire(path.as_str()).as_ref(), Ok(&path));
            kind(path.as_str())
        }
        Err(e) => kind(&e.to_string()),
    }
}

fn display_name(input: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(input);
    let name = clean_name(&text, "Peer");
    assert!(!name.is_empty() && name.len() <= limits::MAX_NAME);
    assert!(!name.chars().any(is_unprintable) && name.trim() == name);
    assert_eq!(clean_name(&name, "Peer"), name);
    kind(&name)
}

/// What the store reads back: a damaged disk is a stranger too.
fn record(input: &[u8]) -> u64 {
    let mut out = 0;
    if let Ok(r) = serde_json::from_slice::<RoomRecord>(input) {
        out = kind(&format!("{:?}", r.invite.parse::<Invite>()));
    }
    if let Ok(r) = serde_json::from_slice::<PeerRecord>(input) {
        out = kind(&r.name) ^ 1;
    }
    if let Ok(r) = serde_json::from_slice::<ChatRecord>(input) {
        out = kind(&r.text) ^ 2;
    }
    if let Ok(r) = serde_json::from_slice::<Vec<Entry>>(input) {
        out = kind(&format!("{r:?}"));
    }
    out
}
