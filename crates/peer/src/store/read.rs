//! From keys and values to what callers ask for.

use std::collections::BTreeMap;

use kith_core::record::{ChatRecord, FetchKey, LogHead, Saved, SavedFetch};
use kith_protocol::ranges::RangeSet;
use kith_protocol::{PeerId, RoomId};

use super::codec::{self, FetchHead};
use super::db::{Table, Tables};
use super::keys::{self, Fields};
use super::{Result, StoreError};

/// Everything but chat texts.
pub(super) fn load(t: &Tables) -> Result<Saved> {
    let mut saved = Saved::default();
    t.records.each(&[keys::ROOM], |_, v| {
        saved.rooms.push(codec::record(v, "room")?);
        Ok(())
    })?;
    t.records.each(&[keys::PEER], |_, v| {
        saved.peers.push(codec::record(v, "peer")?);
        Ok(())
    })?;
    t.records.each(&[keys::ACKED], |k, v| {
        let mut fields = Fields::of(k);
        let (room, peer) = (need(fields.room())?, need(fields.peer())?);
        saved.acked.push((room, peer, codec::number(v, "acked")?));
        Ok(())
    })?;
    saved.heads = heads(&t.records)?;
    saved.fetches = fetches(t)?;
    t.records.each(&[keys::OFFER], |_, v| {
        saved.offers.push(codec::record(v, "offer")?);
        Ok(())
    })?;
    if let Some(value) = t.records.get(keys::TRANSFERS)? {
        saved.transfers = codec::record(&value, "transfers")?;
    }
    Ok(saved)
}

/// Entries of one log.
pub(super) fn chat(
    t: &Tables,
    room: RoomId,
    author: PeerId,
    from_seq: u64,
    max: usize,
) -> Result<Vec<(u64, ChatRecord)>> {
    let from = keys::chat(&room, &author, from_seq);
    // The number is the last field, so the prefix is the key without it.
    let end = keys::above(&from[..from.len() - 8]);
    t.records
        .page(&from, end.as_deref(), max)?
        .into_iter()
        .map(|(k, v)| {
            let mut fields = Fields::of(&k);
            need(fields.room())?;
            need(fields.peer())?;
            Ok((need(fields.number())?, codec::record(&v, "chat")?))
        })
        .collect()
}

/// A page of the timeline.
pub(super) fn history(
    t: &Tables,
    room: RoomId,
    before: Option<(u64, PeerId, u64)>,
    max: usize,
) -> Result<Vec<(PeerId, u64, ChatRecord)>> {
    let prefix = keys::room(keys::TIMELINE, &room);
    let end = match before {
        Some((stored, author, seq)) => Some(keys::timeline(&room, stored, &author, seq)),
        None => keys::above(&prefix),
    };
    let mut page = Vec::new();
    for key in t.records.page_back(&prefix, end.as_deref(), max)? {
        let mut fields = Fields::of(&key);
        need(fields.room())?;
        need(fields.number())?;
        let (author, seq) = (need(fields.peer())?, need(fields.number())?);
        // A room may be dropped between the two reads.
        if let Some(value) = t.records.get(&keys::chat(&room, &author, seq))? {
            page.push((author, seq, codec::record(&value, "chat")?));
        }
    }
    page.reverse();
    Ok(page)
}

/// The last entry of every log, by jumping from log to log rather than reading them.
fn heads(records: &Table) -> Result<Vec<LogHead>> {
    let mut heads = Vec::new();
    let mut end = keys::above(&[keys::CHAT]);
    while let Some(key) = records
        .page_back(&[keys::CHAT], end.as_deref(), 1)?
        .into_iter()
        .next()
    {
        let mut fields = Fields::of(&key);
        let head = LogHead {
            room: need(fields.room())?,
            author: need(fields.peer())?,
            seq: need(fields.number())?,
        };
        end = Some(keys::chat(&head.room, &head.author, 0));
        heads.push(head);
    }
    heads.reverse();
    Ok(heads)
}

/// What is fetched, or was.
pub(super) fn fetches(t: &Tables) -> Result<Vec<SavedFetch>> {
    let mut done: BTreeMap<FetchKey, Vec<(u32, String)>> = BTreeMap::new();
    t.records.each(&[keys::DONE], |k, v| {
        let mut fields = Fields::of(k);
        let key = need(fields.fetch())?;
        let mut some: Vec<(u32, String)> = codec::record(v, "finished entries")?;
        done.entry(key).or_default().append(&mut some);
        Ok(())
    })?;
    for all in done.values_mut() {
        all.sort_unstable();
    }
    let mut ranges: BTreeMap<FetchKey, Vec<(u32, RangeSet)>> = BTreeMap::new();
    t.records.each(&[keys::RANGES], |k, v| {
        let mut fields = Fields::of(k);
        let (key, entry) = (need(fields.fetch())?, need(fields.entry())?);
        let complete = done
            .get(&key)
            .is_some_and(|d| d.binary_search_by_key(&entry, |(e, _)| *e).is_ok());
        if !complete {
            let set = codec::ranges(v)?;
            ranges.entry(key).or_default().push((entry, set));
        }
        Ok(())
    })?;
    let mut fetches = Vec::new();
    t.records.each(&[keys::FETCH], |k, v| {
        let key = need(Fields::of(k).fetch())?;
        let head: FetchHead = codec::record(v, "fetch")?;
        let manifest = t
            .manifests
            .get(&keys::manifest(&key))?
            .ok_or_else(|| StoreError::broken("a fetch has no manifest"))?;
        fetches.push(SavedFetch {
            record: head.with(codec::record(&manifest, "manifest")?),
            ranges: ranges.remove(&key).unwrap_or_default(),
            done: done.remove(&key).unwrap_or_default(),
        });
        Ok(())
    })?;
    Ok(fetches)
}

fn need<T>(field: Option<T>) -> Result<T> {
    field.ok_or_else(|| StoreError::broken("a key is too short"))
}
