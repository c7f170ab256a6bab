//! A store that outlives its engine.

use std::collections::{BTreeMap, VecDeque};

use kith_api::TransferSettings;
use kith_core::input::JobId;
use kith_core::record::{
    ChatRecord, FetchKey, FetchRecord, LogHead, OfferRecord, PeerRecord, Put, RoomRecord, Saved,
    SavedFetch,
};
use kith_protocol::ranges::RangeSet;
use kith_protocol::{OfferId, PeerId, RoomId};

/// What is durable.
#[derive(Debug, Default)]
pub(crate) struct Store {
    rooms: BTreeMap<RoomId, RoomRecord>,
    peers: BTreeMap<PeerId, PeerRecord>,
    /// Logs by room and author; entry `n` has number `n + 1`.
    pub logs: BTreeMap<(RoomId, PeerId), Vec<ChatRecord>>,
    acked: BTreeMap<(RoomId, PeerId), u64>,
    pub fetches: BTreeMap<FetchKey, SavedFetch>,
    pub offers: BTreeMap<(RoomId, OfferId), OfferRecord>,
    pub transfers: TransferSettings,
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
                    let key = record.key;
                    let of = |r: &FetchRecord| (r.dir.clone(), r.tag.clone(), r.entries.clone());
                    let before = self.fetches.remove(&key);
                    let before = before.filter(|b| of(&b.record) == of(&record));
                    let (ranges, done) =
                        before.map_or_else(Default::default, |b| (b.ranges, b.done));
                    let saved = SavedFetch {
                        record,
                        ranges,
                        done,
                    };
                    self.fetches.insert(key, saved);
                }
                Put::Ranges(key, entry, set) => {
                    if let Some(f) = self.fetches.get_mut(&key) {
                        f.ranges.retain(|(e, _)| *e != entry);
                        if !set.is_empty() {
                            f.ranges.push((entry, set));
                        }
                    }
                }
                Put::EntriesDone {
                    fetch,
                    entries,
                    begun,
                } => {
                    if let Some(f) = self.fetches.get_mut(&fetch) {
                        f.ranges.retain(|(e, _)| !begun.contains(e));
                        let left = |(e, _): &&(u32, RangeSet)| entries.iter().any(|(d, _)| d == e);
                        assert_eq!(f.ranges.iter().find(left), None, "ranges of what is done");
                        f.done.extend(entries);
                    }
                }
                Put::DropFetch(key) => {
                    self.fetches.remove(&key);
                }
                Put::Offer(record) => {
                    self.offers.insert((record.room, record.offer), record);
                }
                Put::DropOffer(room, offer) => {
                    self.offers.remove(&(room, offer));
                }
                Put::Transfers(t) => self.transfers = t,
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
            offers: self.offers.values().cloned().collect(),
            transfers: self.transfers.clone(),
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
