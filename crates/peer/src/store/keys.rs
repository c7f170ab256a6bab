//! The keys of the tree `records`. A prefix byte, then fixed-width fields, numbers big endian, so
//! that byte order is the order of the fields.
//!
//! | prefix | fields | value |
//! |---|---|---|
//! | `v` | | schema number |
//! | `i` | | identity secret |
//! | `n` | | display name |
//! | `r` | room | room |
//! | `p` | peer | person |
//! | `c` | room, author, seq | chat message |
//! | `t` | room, stored, author, seq | nothing: the timeline's order |
//! | `a` | room, peer | acknowledged number |
//! | `f` | fetch | fetch without its manifest |
//! | `g` | fetch, entry | verified ranges |
//! | `d` | fetch, entry | complete entries that were recorded together, by the first of them |
//! | `o` | room, offer | an offer of ours |
//! | `s` | | what holds for all transfers |
//!
//! The tree `manifests` has the fetch key alone.

use kith_core::record::FetchKey;
use kith_protocol::{OfferId, PeerId, RoomId};

/// The schema number.
pub(super) const SCHEMA: &[u8] = b"v";
/// The identity.
pub(super) const IDENTITY: &[u8] = b"i";
/// The display name.
pub(super) const NAME: &[u8] = b"n";

/// What holds for all transfers.
pub(super) const TRANSFERS: &[u8] = b"s";

/// Prefixes of records.
pub(super) const ROOM: u8 = b'r';
pub(super) const PEER: u8 = b'p';
pub(super) const CHAT: u8 = b'c';
pub(super) const TIMELINE: u8 = b't';
pub(super) const ACKED: u8 = b'a';
pub(super) const FETCH: u8 = b'f';
pub(super) const RANGES: u8 = b'g';
pub(super) const DONE: u8 = b'd';
pub(super) const OFFER: u8 = b'o';

/// Prefixes whose first field is the room: what goes with it.
pub(super) const OF_ROOM: [u8; 8] = [ROOM, CHAT, TIMELINE, ACKED, FETCH, RANGES, DONE, OFFER];

pub(super) fn room(prefix: u8, room: &RoomId) -> Vec<u8> {
    join(prefix, &[&room.0])
}

pub(super) fn peer(peer: &PeerId) -> Vec<u8> {
    join(PEER, &[&peer.0])
}

pub(super) fn acked(room: &RoomId, peer: &PeerId) -> Vec<u8> {
    join(ACKED, &[&room.0, &peer.0])
}

pub(super) fn chat(room: &RoomId, author: &PeerId, seq: u64) -> Vec<u8> {
    join(CHAT, &[&room.0, &author.0, &seq.to_be_bytes()])
}

pub(super) fn timeline(room: &RoomId, stored: u64, author: &PeerId, seq: u64) -> Vec<u8> {
    let (stored, seq) = (stored.to_be_bytes(), seq.to_be_bytes());
    join(TIMELINE, &[&room.0, &stored, &author.0, &seq])
}

pub(super) fn offer(room: &RoomId, offer: &OfferId) -> Vec<u8> {
    join(OFFER, &[&room.0, &offer.0])
}

pub(super) fn fetch(prefix: u8, key: &FetchKey) -> Vec<u8> {
    join(prefix, &[&manifest(key)])
}

pub(super) fn entry(prefix: u8, key: &FetchKey, entry: u32) -> Vec<u8> {
    join(prefix, &[&manifest(key), &entry.to_be_bytes()])
}

pub(super) fn manifest(key: &FetchKey) -> Vec<u8> {
    [key.room.0, key.from.0, key.offer.0].concat()
}

/// The least key above all that start with `prefix`; none where there is none.
pub(super) fn above(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|b| *b != 0xff)?;
    let mut out = prefix[..=last].to_vec();
    out[last] += 1;
    Some(out)
}

/// Reads the fields of a key one after the other, behind its prefix.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The fields of a key that has a prefix byte.
    pub(super) fn of(key: &'a [u8]) -> Self {
        Fields(key.get(1..).unwrap_or_default())
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    pub(super) fn room(&mut self) -> Option<RoomId> {
        self.take().map(RoomId)
    }

    pub(super) fn peer(&mut self) -> Option<PeerId> {
        self.take().map(PeerId)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    pub(super) fn entry(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    pub(super) fn fetch(&mut self) -> Option<FetchKey> {
        Some(FetchKey {
            room: self.room()?,
            from: self.peer()?,
            offer: self.take().map(OfferId)?,
        })
    }
}

fn join(prefix: u8, fields: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![prefix];
    for field in fields {
        out.extend_from_slice(field);
    }
    out
}
