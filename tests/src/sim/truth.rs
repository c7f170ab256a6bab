//! What must be true of disks and stores, whatever the engines think.

use kith_core::record::{FetchKey, Put};
use kith_protocol::ranges::RangeSet;
use kith_protocol::{LinkId, OfferId, PeerId, frame};

use super::world::World;

impl World {
    /// Makes changes durable. A log grows by its next entry, and a copy of it is a prefix.
    pub(super) fn apply_puts(&mut self, n: usize, puts: Vec<Put>) {
        for put in &puts {
            let Put::Chat(room, author, seq, record) = put else {
                continue;
            };
            if *author == self.nodes[n].peer() {
                continue;
            }
            let Some(owner) = self.node_of(*author) else {
                panic!("{n} stores a log of nobody");
            };
            let log = self.nodes[owner].store.logs.get(&(*room, *author));
            let own = log.and_then(|l| l.get(*seq as usize - 1));
            let same = own.is_some_and(|o| (o.id, &o.text) == (record.id, &record.text));
            assert!(
                same,
                "{n} stores {seq} of {owner}, who has {own:?}: {record:?}"
            );
        }
        self.nodes[n].store.apply(puts);
    }

    /// A fetch shows as done: every file is there, named, and equal to its source.
    pub(super) fn check_done(&self, n: usize, from: PeerId, offer: OfferId) {
        let key = FetchKey {
            room: self.room,
            from,
            offer,
        };
        let Some(owner) = self.node_of(from) else {
            panic!("an offer of nobody");
        };
        let (Some(source), Some(saved)) = (
            self.nodes[owner].sources.get(&offer),
            self.nodes[n].store.fetches.get(&key),
        ) else {
            panic!("{n} is done with what was never offered or never recorded");
        };
        for (entry, e) in (0u32..).zip(&source.entries) {
            let name = saved
                .done
                .iter()
                .find(|(d, _)| *d == entry)
                .map(|(_, name)| name);
            let name = name.unwrap_or_else(|| panic!("{n}: {entry} is done and not recorded"));
            let file = self.nodes[n]
                .disk
                .files
                .get(&(saved.record.dir.clone(), name.clone()));
            let whole = file == Some(&source.tokens[entry as usize]);
            assert!(
                whole || e.dir,
                "{n}: the done file {name} differs from its source"
            );
        }
    }

    /// An acknowledgement goes out: what it speaks of must be durable.
    pub(super) fn promise(
        &mut self,
        n: usize,
        link: LinkId,
        transfer: u32,
        entry: u32,
        ranges: &RangeSet,
    ) {
        let node = &mut self.nodes[n];
        let of = node
            .process
            .as_ref()
            .and_then(|p| p.transfers.get(&(link, transfer)));
        let Some((key, _)) = of else {
            panic!("{n} acknowledges for a transfer that it never took");
        };
        let key = *key;
        let saved = node.store.fetches.get(&key);
        let saved = saved.unwrap_or_else(|| panic!("{n} acknowledges what it has no record of"));
        let done = saved.done.iter().any(|(e, _)| *e == entry);
        let recorded = saved
            .ranges
            .iter()
            .find(|(e, _)| *e == entry)
            .map(|(_, r)| r);
        let durable = |i: u64| done || recorded.is_some_and(|r| r.contains(i));
        let all = || ranges.ranges().iter().flat_map(|&(a, b)| a..b);
        assert!(
            all().all(durable),
            "{n} acknowledges what is not recorded: {entry} {ranges:?}"
        );
        let part = node.disk.parts.get(&(saved.record.tag.clone(), entry));
        if let Some(part) = part.filter(|_| !done) {
            let synced = all().all(|i| part.synced.contains(i));
            assert!(
                synced,
                "{n} acknowledges what is not on the disk: {entry} {ranges:?}"
            );
        }
        let promise = node.promises.entry(key).or_default();
        promise.chunks.entry(entry).or_default().extend(all());
    }

    /// Whole files are spoken of, which acknowledges those of one chunk.
    pub(super) fn promise_files(
        &mut self,
        n: usize,
        link: LinkId,
        transfer: u32,
        entries: &RangeSet,
    ) {
        let transfers = self.nodes[n].process.as_ref().map(|p| &p.transfers);
        let of = transfers.and_then(|t| t.get(&(link, transfer)));
        let saved = of.and_then(|(key, _)| self.nodes[n].store.fetches.get(key));
        // Over a later link it is said of what was complete before, too.
        let Some(record) = saved.map(|s| s.record.clone()) else {
            return;
        };
        for entry in entries.ranges().iter().flat_map(|&(a, b)| a..b) {
            let size = record.entries[entry as usize].size;
            if frame::chunks(size) == 1 {
                self.promise(n, link, transfer, entry as u32, &RangeSet::full(1));
            }
        }
    }

    /// What was acknowledged is asked for again: the promise is off.
    pub(super) fn unpromise(&mut self, n: usize, offer: OfferId, entry: u32, ranges: &RangeSet) {
        let wanted = |i: &u64| ranges.contains(*i);
        let node = &mut self.nodes[n];
        let running = node
            .process
            .iter_mut()
            .flat_map(|p| p.transfers.values_mut());
        let running = running.filter(|(k, _)| k.offer == offer).map(|(_, p)| p);
        let told = node.promises.iter_mut().filter(|(k, _)| k.offer == offer);
        for promise in running.chain(told.map(|(_, p)| p)) {
            if let Some(chunks) = promise.chunks.get_mut(&entry) {
                chunks.retain(|i| !wanted(i));
            }
        }
    }

    /// An entry's part file is void, for a reason that is nobody's mistake.
    pub(super) fn forget_promises(&mut self, n: usize, key: FetchKey, entry: u32) {
        let node = &mut self.nodes[n];
        let running = node
            .process
            .iter_mut()
            .flat_map(|p| p.transfers.values_mut());
        let running = running.filter(|(k, _)| *k == key).map(|(_, p)| p);
        for promise in running.chain(node.promises.get_mut(&key)) {
            promise.chunks.remove(&entry);
        }
    }

    /// After a crash: what was acknowledged is still there.
    pub(super) fn check_promises(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        for (key, promise) in &mut node.promises {
            let saved = node
                .store
                .fetches
                .get(key)
                .filter(|s| s.record.tag == promise.tag);
            let Some(saved) = saved else {
                assert!(promise.chunks.is_empty(), "{n} lost the record of {key:?}");
                continue;
            };
            promise.chunks.retain(|entry, chunks| {
                if saved.done.iter().any(|(e, _)| e == entry) {
                    return true;
                }
                let part = node.disk.parts.get(&(promise.tag.clone(), *entry));
                // Named, and the crash came before that was recorded: it is fetched again.
                let Some(part) = part else { return false };
                let recorded = saved
                    .ranges
                    .iter()
                    .find(|(e, _)| e == entry)
                    .map(|(_, r)| r);
                let kept =
                    |i: &u64| recorded.is_some_and(|r| r.contains(*i)) && part.synced.contains(*i);
                assert!(
                    chunks.iter().all(kept),
                    "{n} lost what it acknowledged: {key:?} {entry}"
                );
                true
            });
        }
    }
}
