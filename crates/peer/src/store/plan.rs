//! From changes to batches. A plan sees its own earlier changes, so that jobs applied together
//! end as they would one by one.

use std::collections::BTreeMap;
use std::ops::Bound;

use kith_core::record::{ChatRecord, FetchKey, FetchRecord, Put};
use kith_protocol::{PeerId, RoomId};

use super::codec::{self, FetchHead};
use super::db::{Batches, Tables};
use super::{Result, keys};

/// Changes that are not in the database yet: the new value, or none for a removal.
type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

pub(super) struct Plan<'a> {
    tables: &'a Tables,
    records: Changes,
    manifests: Changes,
}

impl<'a> Plan<'a> {
    pub(super) fn new(tables: &'a Tables) -> Self {
        Plan {
            tables,
            records: Changes::new(),
            manifests: Changes::new(),
        }
    }

    pub(super) fn into_batches(self) -> Batches {
        Batches {
            records: self.records,
            manifests: self.manifests,
        }
    }

    pub(super) fn put(&mut self, put: &Put) -> Result<()> {
        match put {
            Put::Room(r) => self.set(keys::room(keys::ROOM, &r.room), codec::value(r)),
            Put::DropRoom(room) => self.drop_room(room)?,
            Put::Peer(p) => self.set(keys::peer(&p.id_pk.peer_id()), codec::value(p)),
            Put::Chat(room, author, seq, chat) => self.chat(room, author, *seq, chat)?,
            Put::Acked(room, peer, seq) => {
                self.set(keys::acked(room, peer), codec::number_value(*seq));
            }
            Put::Fetch(record) => self.fetch(record)?,
            Put::Ranges(key, entry, ranges) => {
                if self.knows(key)? {
                    let key = keys::entry(keys::RANGES, key, *entry);
                    match ranges.is_empty() {
                        true => self.remove(key),
                        false => self.set(key, codec::ranges_value(ranges)),
                    }
                }
            }
            Put::EntriesDone {
                fetch,
                entries,
                begun,
            } => {
                if let Some((first, _)) = entries.first()
                    && self.knows(fetch)?
                {
                    for entry in begun {
                        self.remove(keys::entry(keys::RANGES, fetch, *entry));
                    }
                    let key = keys::entry(keys::DONE, fetch, *first);
                    self.set(key, codec::value(entries));
                }
            }
            Put::DropFetch(key) => {
                self.drop_progress(key)?;
                self.remove(keys::fetch(keys::FETCH, key));
                self.manifests.insert(keys::manifest(key), None);
            }
            Put::Offer(o) => self.set(keys::offer(&o.room, &o.offer), codec::value(o)),
            Put::DropOffer(room, offer) => self.remove(keys::offer(room, offer)),
            Put::Transfers(t) => self.set(keys::TRANSFERS.to_vec(), codec::value(t)),
        }
        Ok(())
    }

    fn drop_room(&mut self, room: &RoomId) -> Result<()> {
        for prefix in keys::OF_ROOM {
            self.remove_all(&keys::room(prefix, room))?;
        }
        let stored = self.tables.manifests.keys(&room.0)?;
        for key in stored.into_iter().chain(under(&self.manifests, &room.0)) {
            self.manifests.insert(key, None);
        }
        Ok(())
    }

    fn chat(&mut self, room: &RoomId, author: &PeerId, seq: u64, chat: &ChatRecord) -> Result<()> {
        let key = keys::chat(room, author, seq);
        // An entry that is replaced must not keep its old place in the timeline.
        if let Some(old) = self.get(&key)? {
            let old: ChatRecord = codec::record(&old, "chat")?;
            self.remove(keys::timeline(room, old.stored, author, seq));
        }
        self.set(key, codec::value(chat));
        let place = keys::timeline(room, chat.stored, author, seq);
        self.set(place, Vec::new());
        Ok(())
    }

    fn fetch(&mut self, record: &FetchRecord) -> Result<()> {
        let head = keys::fetch(keys::FETCH, &record.key);
        let place = keys::manifest(&record.key);
        let entries = codec::value(&&record.entries[..]);
        let mut same_manifest = false;
        if let Some(old) = self.get(&head)? {
            let old: FetchHead = codec::record(&old, "fetch")?;
            same_manifest = self.manifest(&place)?.as_ref() == Some(&entries);
            if !same_manifest || old.dir != record.dir || old.tag != record.tag {
                self.drop_progress(&record.key)?;
            }
        }
        self.set(head, codec::value(&FetchHead::of(record)));
        if !same_manifest {
            self.manifests.insert(place, Some(entries));
        }
        Ok(())
    }

    fn drop_progress(&mut self, key: &FetchKey) -> Result<()> {
        self.remove_all(&keys::fetch(keys::RANGES, key))?;
        self.remove_all(&keys::fetch(keys::DONE, key))
    }

    fn knows(&self, key: &FetchKey) -> Result<bool> {
        Ok(self.get(&keys::fetch(keys::FETCH, key))?.is_some())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.records.get(key) {
            Some(changed) => Ok(changed.clone()),
            None => self.tables.records.get(key),
        }
    }

    fn manifest(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.manifests.get(key) {
            Some(changed) => Ok(changed.clone()),
            None => self.tables.manifests.get(key),
        }
    }

    fn set(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.records.insert(key, Some(value));
    }

    fn remove(&mut self, key: Vec<u8>) {
        self.records.insert(key, None);
    }

    fn remove_all(&mut self, prefix: &[u8]) -> Result<()> {
        let stored = self.tables.records.keys(prefix)?;
        for key in stored.into_iter().chain(under(&self.records, prefix)) {
            self.records.insert(key, None);
        }
        Ok(())
    }
}

/// The keys with this prefix among changes.
fn under(changes: &Changes, prefix: &[u8]) -> Vec<Vec<u8>> {
    let end = keys::above(prefix);
    let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    changes
        .range::<[u8], _>((Bound::Included(prefix), end))
        .map(|(k, _)| k.clone())
        .collect()
}
