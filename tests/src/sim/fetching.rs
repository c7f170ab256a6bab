//! The worker that writes what others send, step by step as the real one does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use kith_core::input::{FetchNews, Refusal};
use kith_core::record::FetchRecord;
use kith_protocol::ids::Digest;
use kith_protocol::ranges::RangeSet;
use kith_protocol::{Code, LinkId, frame, voucher};

use super::dice::Dice;
use super::disk::{BATCH, Disk, Part, digest};
use super::net::Piece;
use super::node::Worker;

/// Bytes between checkpoints, and milliseconds.
const CHECKPOINT_BYTES: u64 = 8 << 20;
const CHECKPOINT_EVERY: u64 = 250;
/// Small files that get their names together.
const FINISH_TOGETHER: usize = 64;

/// What a fetch worker is told.
#[derive(Debug)]
pub(crate) enum Job {
    /// Of which entry, and from which holder's transfer unless it is who offers.
    Piece(u32, Piece, Option<(LinkId, u32)>),
    Hashes(u32, Vec<u64>),
    Expect(u32, Digest),
    /// What comes now is of this transfer, from who offers, or from somebody who passes it on, with
    /// this root.
    From(u32, Option<Digest>),
    Roots(Vec<Digest>),
}

/// A fetch worker.
#[derive(Debug)]
pub(crate) struct Fetching {
    pub run: u32,
    pub record: Arc<FetchRecord>,
    pub attached: Option<(LinkId, u32)>,
    pub sources: BTreeSet<(LinkId, u32)>,
    pub queue: VecDeque<Job>,
    /// Its next step is planned for then.
    pub planned: Option<u64>,
    pub ended: bool,
    pub prepared: bool,
    before: BTreeMap<u32, RangeSet>,
    done: BTreeMap<u32, String>,
    open: BTreeMap<u32, Open>,
    expected: BTreeMap<u32, Digest>,
    /// Somebody passes it on, with this root, and has not said what all files hash to.
    awaits: Option<Digest>,
    /// Number of the transfer that comes now.
    transfer: u32,
    /// It has been said.
    vouched: bool,
    /// What the chunks of entries must be.
    known: BTreeMap<u32, Vec<u64>>,
    ready: Vec<u32>,
    unsynced: u64,
    checkpoint_at: u64,
    /// What the sync thread is at: entry, the part's serial, chunks.
    pub syncing: Option<Vec<(u32, u64, RangeSet)>>,
    received: u64,
    received_durable: u64,
}

/// The disk does not take it.
fn refused(code: Code) -> FetchNews {
    let missing = None;
    FetchNews::Refused(Refusal { code, missing })
}

#[derive(Debug, Default)]
struct Open {
    have: RangeSet,
    fresh: RangeSet,
    durable: RangeSet,
}

impl Worker for Fetching {
    fn run(&self) -> u32 {
        self.run
    }
}

impl Fetching {
    pub fn new(
        run: u32,
        record: Arc<FetchRecord>,
        ranges: BTreeMap<u32, RangeSet>,
        done: BTreeMap<u32, String>,
    ) -> Self {
        Fetching {
            run,
            record,
            attached: None,
            sources: BTreeSet::new(),
            queue: VecDeque::new(),
            planned: None,
            ended: false,
            prepared: false,
            before: ranges,
            done,
            open: BTreeMap::new(),
            expected: BTreeMap::new(),
            awaits: None,
            transfer: 0,
            vouched: false,
            known: BTreeMap::new(),
            ready: Vec::new(),
            unsynced: 0,
            checkpoint_at: 0,
            syncing: None,
            received: 0,
            received_durable: 0,
        }
    }

    /// Does some of what is to be done. When to come back, and whether the sync thread starts,
    /// stands in `planned` and `syncing` afterwards.
    ///
    /// `used` are the tags of other fetches.
    pub fn work(
        &mut self,
        now: u64,
        disk: &mut Disk,
        dice: &mut Dice,
        used: &BTreeSet<String>,
    ) -> Vec<FetchNews> {
        let mut news = Vec::new();
        self.planned = None;
        if self.ended {
            return news;
        }
        if !self.prepared {
            if let Some(code) = disk.fault {
                self.ended = true;
                return vec![refused(code)];
            }
            let lost = self.lost(disk);
            for entry in &lost {
                self.before.remove(entry);
                self.done.remove(entry);
            }
            self.prepared = true;
            let adopted = self.adopt(disk, used, &lost);
            self.before.extend(adopted.iter().cloned());
            news.push(FetchNews::Prepared {
                roots: Vec::new(),
                lost,
                adopted,
            });
            self.finish_folders(disk, &mut news);
        }
        let result = self.some_jobs(now, disk, &mut news);
        if let Err(code) = result {
            self.checkpoint(now, disk);
            self.ended = true;
            news.push(refused(code));
            return news;
        }
        let soon = now + 1 + dice.below(disk.delay);
        self.planned = if !self.queue.is_empty() {
            Some(soon)
        } else if self.unsynced > 0 {
            Some(self.checkpoint_at.max(soon))
        } else {
            None
        };
        news
    }

    /// The sync thread is through: what is durable now.
    pub fn synced(&mut self, disk: &mut Disk) -> Vec<FetchNews> {
        let mut news = Vec::new();
        for (entry, serial, ranges) in self.syncing.take().unwrap_or_default() {
            let part = disk.parts.get_mut(&(self.record.tag.clone(), entry));
            match (part, disk.fault) {
                (Some(part), None) if part.serial == serial => {
                    part.synced.union(&ranges);
                    news.push(FetchNews::Durable { entry, ranges });
                }
                (Some(part), Some(code)) if part.serial == serial => {
                    news.push(refused(code));
                }
                // Somebody else removed it.
                (None, _) if self.open.contains_key(&entry) => {
                    news.push(refused(Code::DiskGone));
                }
                // It was named or discarded meanwhile.
                _ => {}
            }
        }
        news
    }

    fn some_jobs(
        &mut self,
        now: u64,
        disk: &mut Disk,
        news: &mut Vec<FetchNews>,
    ) -> Result<(), Code> {
        for _ in 0..BATCH * 4 {
            match self.queue.pop_front() {
                Some(Job::Piece(entry, piece, source)) => {
                    self.take(entry, (piece, source), now, disk, news)?;
                }
                Some(Job::Hashes(entry, tokens)) if !self.done.contains_key(&entry) => {
                    let end = tokens.len() as u64;
                    self.known.insert(entry, tokens);
                    news.push(FetchNews::Hashed { entry, end });
                }
                Some(Job::Hashes(..)) => {}
                Some(Job::From(transfer, root)) => {
                    self.transfer = transfer;
                    self.awaits = root.filter(|_| !self.vouched);
                }
                Some(Job::Roots(roots)) if self.awaits == Some(voucher::root(&roots)) => {
                    (self.awaits, self.vouched) = (None, true);
                    let all = (0u32..).zip(roots);
                    self.queue.extend(all.map(|(e, root)| Job::Expect(e, root)));
                }
                Some(Job::Roots(_)) if self.awaits.is_some() => news.push(FetchNews::Untrue {
                    transfer: self.transfer,
                }),
                Some(Job::Roots(_)) => {}
                Some(Job::Expect(entry, hash)) => {
                    let known = self.record.entries.get(entry as usize);
                    if known.is_some_and(|e| !e.dir) && !self.done.contains_key(&entry) {
                        self.expected.insert(entry, hash);
                        self.open(entry, disk)?;
                        self.try_complete(entry, disk, news)?;
                    }
                }
                None => break,
            }
        }
        if self.queue.is_empty() {
            self.finish_ready(disk, news)?;
            self.report_received(news);
        }
        if self.unsynced > 0 && (now >= self.checkpoint_at || self.unsynced >= CHECKPOINT_BYTES) {
            self.checkpoint(now, disk);
        }
        Ok(())
    }

    fn take(
        &mut self,
        entry: u32,
        (piece, source): (Piece, Option<(LinkId, u32)>),
        now: u64,
        disk: &mut Disk,
        news: &mut Vec<FetchNews>,
    ) -> Result<(), Code> {
        let Some(e) = self.record.entries.get(entry as usize).filter(|e| !e.dir) else {
            return Ok(());
        };
        let bytes = u64::from(frame::chunk_len(e.size, piece.index));
        let chunks = frame::chunks(e.size);
        self.received += bytes;
        if self.done.contains_key(&entry) {
            self.received_durable += bytes;
            return Ok(());
        }
        self.open(entry, disk)?;
        let Some(open) = self.open.get_mut(&entry) else {
            return Ok(());
        };
        if open.have.contains(piece.index) {
            if open.durable.contains(piece.index) {
                self.received_durable += bytes;
            }
            if source.is_none() && piece.intact {
                self.expect_only(entry, chunks, piece.token);
                self.try_complete(entry, disk, news)?;
            }
            return Ok(());
        }
        let index = piece.index;
        let known = self.known.get(&entry).map(|k| k[index as usize]);
        let as_told = piece.intact && known == Some(piece.token);
        match source {
            Some((link, transfer)) if !as_told => {
                news.push(FetchNews::Spurned {
                    link,
                    transfer,
                    entry,
                    index,
                });
                return Ok(());
            }
            None if !as_told && (!piece.intact || known.is_some()) => {
                news.push(FetchNews::Corrupt {
                    transfer: self.transfer,
                    entry,
                    index,
                });
                return Ok(());
            }
            Some(_) | None => {}
        }
        if let Some(code) = disk.fault {
            return Err(code);
        }
        let part = disk.parts.get_mut(&(self.record.tag.clone(), entry));
        part.ok_or(Code::DiskGone)?
            .chunks
            .insert(piece.index, piece.token);
        open.have.insert(piece.index, piece.index + 1);
        open.fresh.insert(piece.index, piece.index + 1);
        self.expect_only(entry, chunks, piece.token);
        if self.unsynced == 0 {
            self.checkpoint_at = self.checkpoint_at.max(now + CHECKPOINT_EVERY);
        }
        self.unsynced += bytes;
        self.try_complete(entry, disk, news)
    }

    /// The only chunk says all of a file.
    fn expect_only(&mut self, entry: u32, chunks: u64, token: u64) {
        if chunks == 1 && !self.vouched && self.awaits.is_none() {
            let only = digest(&[token]);
            self.expected.entry(entry).or_insert(only);
        }
    }

    fn open(&mut self, entry: u32, disk: &mut Disk) -> Result<(), Code> {
        if self.open.contains_key(&entry) || self.ready.contains(&entry) {
            return Ok(());
        }
        if let Some(code) = disk.fault {
            return Err(code);
        }
        disk.serial += 1;
        let serial = disk.serial;
        let path = self.record.entries[entry as usize].path.clone();
        let at = (self.record.dir.clone(), path);
        let new = || Part {
            at,
            serial,
            ..Part::default()
        };
        disk.parts
            .entry((self.record.tag.clone(), entry))
            .or_insert_with(new);
        let have = self.before.remove(&entry).unwrap_or_default();
        let (durable, fresh) = (have.clone(), RangeSet::new());
        self.open.insert(
            entry,
            Open {
                have,
                fresh,
                durable,
            },
        );
        Ok(())
    }

    fn try_complete(
        &mut self,
        entry: u32,
        disk: &mut Disk,
        news: &mut Vec<FetchNews>,
    ) -> Result<(), Code> {
        let (Some(expected), Some(open)) = (self.expected.get(&entry), self.open.get(&entry))
        else {
            return Ok(());
        };
        let size = self.record.entries[entry as usize].size;
        if open.have.count() < frame::chunks(size) {
            return Ok(());
        }
        let at = (self.record.tag.clone(), entry);
        let part = disk.parts.get(&at).ok_or(Code::DiskGone)?;
        let tokens: Vec<u64> = part.chunks.values().copied().collect();
        let whole = digest(&tokens);
        self.open.remove(&entry);
        if whole != *expected {
            disk.parts.remove(&at);
            let transfer = self.transfer;
            news.push(FetchNews::Mismatch { transfer, entry });
            return Ok(());
        }
        self.ready.push(entry);
        if self.ready.len() >= FINISH_TOGETHER || size >= CHECKPOINT_BYTES {
            self.finish_ready(disk, news)?;
        }
        Ok(())
    }

    fn finish_ready(&mut self, disk: &mut Disk, news: &mut Vec<FetchNews>) -> Result<(), Code> {
        if self.ready.is_empty() {
            return Ok(());
        }
        if let Some(code) = disk.fault {
            return Err(code);
        }
        let mut files = Vec::new();
        for entry in std::mem::take(&mut self.ready) {
            let part = disk.parts.remove(&(self.record.tag.clone(), entry));
            let tokens = part.ok_or(Code::DiskGone)?.chunks.into_values().collect();
            let path = &self.record.entries[entry as usize].path;
            let name = disk.free_name(&self.record.dir, path);
            disk.files
                .insert((self.record.dir.clone(), name.clone()), tokens);
            self.done.insert(entry, name.clone());
            self.expected.remove(&entry);
            files.push((entry, name));
        }
        news.push(FetchNews::Finished(files));
        self.report_received(news);
        self.finish_folders(disk, news);
        Ok(())
    }

    fn finish_folders(&mut self, disk: &mut Disk, news: &mut Vec<FetchNews>) {
        let entries = || (0u32..).zip(self.record.entries.iter());
        if entries().any(|(i, e)| !e.dir && !self.done.contains_key(&i)) {
            return;
        }
        let left: Vec<(u32, String)> = entries()
            .filter(|(i, e)| e.dir && !self.done.contains_key(i))
            .map(|(i, e)| (i, e.path.clone()))
            .collect();
        for (entry, name) in &left {
            disk.files
                .insert((self.record.dir.clone(), name.clone()), Vec::new());
            self.done.insert(*entry, name.clone());
        }
        if !left.is_empty() {
            news.push(FetchNews::Finished(left));
        }
    }

    /// Hands what is fresh to the sync thread, unless that is busy.
    fn checkpoint(&mut self, now: u64, disk: &Disk) {
        self.checkpoint_at = now + CHECKPOINT_EVERY;
        if self.syncing.is_some() {
            return;
        }
        let mut all = Vec::new();
        for (entry, open) in &mut self.open {
            let part = disk.parts.get(&(self.record.tag.clone(), *entry));
            if let Some(part) = part.filter(|_| !open.fresh.is_empty()) {
                all.push((*entry, part.serial, std::mem::take(&mut open.fresh)));
            }
        }
        self.unsynced = 0;
        self.syncing = Some(all);
    }

    fn report_received(&mut self, news: &mut Vec<FetchNews>) {
        if self.received > 0 {
            let bytes = std::mem::take(&mut self.received);
            let durable = std::mem::take(&mut self.received_durable);
            news.push(FetchNews::Received { bytes, durable });
        }
    }

    /// Takes over what other fetches left of entries that nothing is recorded of.
    fn adopt(
        &self,
        disk: &mut Disk,
        used: &BTreeSet<String>,
        lost: &[u32],
    ) -> Vec<(u32, RangeSet)> {
        let mut adopted = Vec::new();
        for (n, e) in (0u32..).zip(self.record.entries.iter()) {
            let known = self.before.contains_key(&n) || self.done.contains_key(&n);
            let chunks = frame::chunks(e.size);
            if e.dir || chunks < 2 || known || lost.contains(&n) {
                continue;
            }
            let at = (self.record.dir.clone(), e.path.clone());
            let found = disk.adopt(at, (&self.record.tag, n), chunks, used);
            adopted.extend(found.map(|ranges| (n, ranges)));
        }
        adopted
    }

    /// What is recorded but not there.
    fn lost(&self, disk: &Disk) -> Vec<u32> {
        let mut lost = Vec::new();
        for (entry, name) in &self.done {
            if !disk
                .files
                .contains_key(&(self.record.dir.clone(), name.clone()))
            {
                lost.push(*entry);
            }
        }
        for (entry, have) in &self.before {
            // The real disk compares lengths, no more.
            let part = disk.parts.get(&(self.record.tag.clone(), *entry));
            let len = part
                .and_then(|p| p.chunks.keys().next_back())
                .map_or(0, |i| i + 1);
            if len < have.end() {
                lost.push(*entry);
            }
        }
        lost
    }
}
