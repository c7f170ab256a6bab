//! A store that outlives its engine.

use std::collections::{BTreeMap, VecDeque};

use kith_core::input::JobId;
use kith_core::record::{
    ChatRecord, FetchKey, LogHead, PeerRecord, Put, RoomRecord, Saved, SavedFetch,
};
use kith_protocol::{PeerId, RoomId};

/// What is durable.
#[derive(Debug, Default)]
pub(crate) struct Store {
    rooms: BTreeMap<RoomId, RoomRecord>,
    peers: BTreeMap<PeerId, PeerRecord>,
    /// Logs by room and author; entry `n` has number `n + 1`.
    pub logs: BTreeMap<(RoomId, PeerId), Vec<ChatRecord>>,
    acked: BTreeMap<(RoomId, PeerId), u64>,
    pub fetches: BTreeMap<FetchKey, SavedFetch>,
    /// Every job fails while this is set.
    pub broken: bool,
    /// Milliseconds that a flush takes, at most.
    pub delay: u64,
    /// Jobs that are not durable yet, in order.
    pub waiting: VecDeque<(JobId, Vec<Put>)>,
    /// A flush is under way.
    pub flushing: bool,
}

impl Store {
    /// Applies the changes of one job.
    pub fn apply(&mut self, puts: Vec<Put>) {
        for put in puts {
            match put {
                Put::Room(r) => {
                    self.rooms.insert(r.room, r);
                }
                Put::DropRoom(room) => {
                    self.rooms.remove(&room);
                }
                Put::Peer(p) => {
                    self.peers.insert(p.id_pk.peer_id(), p);
                }
                Put::Chat(room, author, seq, record) => {
                    let log = self.logs.entry((room, author)).or_default();
                    assert_eq!(seq, log.len() as u64 + 1, "a log has no gap and no double");
                    log.push(record);
                }
                Put::Acked(room, peer, upto) => {
                    self.acked.insert((room, peer), upto);
                }
                Put::Fetch(record) => {
                    let (ranges, done) = (Vec::new(), Vec::new());
                    let saved = SavedFetch {
                        record,
                        ranges,
                        done,
                    };
                    self.fetches.insert(saved.record.key, saved);
                }
                Put::Ranges(key, entry, set) => {
                    if let Some(f) = self.fetches.get_mut(&key) {
                        f.ranges.retain(|(e, _)| *e != entry);
                        f.ranges.push((entry, set));
                    }
                }
                Put::EntryDone(key, entry, name) => {
                    if let Some(f) = self.fetches.get_mut(&key) {
                        f.ranges.retain(|(e, _)| *e != entry);
                        f.done.push((entry, name));
                    }
                }
                Put::DropFetch(key) => {
                    self.fetches.remove(&key);
                }
            }
        }
    }

    /// What an engine wakes up with.
    pub fn saved(&self) -> Saved {
        let head = |((room, author), log): (&(RoomId, PeerId), &Vec<ChatRecord>)| LogHead {
            room: *room,
            author: *author,
            seq: log.len() as u64,
        };
        Saved {
            rooms: self.rooms.values().cloned().collect(),
            peers: self.peers.values().cloned().collect(),
            heads: self.logs.iter().map(head).collect(),
            acked: self.acked.iter().map(|((r, p), n)| (*r, *p, *n)).collect(),
            fetches: self.fetches.values().cloned().collect(),
        }
    }

    /// A page of a log.
    pub fn page(
        &self,
        room: RoomId,
        author: PeerId,
        from: u64,
        max: u32,
    ) -> Vec<(u64, ChatRecord)> {
        let log = self
            .logs
            .get(&(room, author))
            .map_or(&[][..], Vec::as_slice);
        (1u64..)
            .zip(log.iter().cloned())
            .skip(from.saturating_sub(1) as usize)
            .take(max as usize)
            .collect()
    }
}
