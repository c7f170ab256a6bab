//! The thread that verifies and writes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kith_core::input::FetchNews;
use kith_core::record::FetchRecord;
use kith_protocol::LinkId;
use kith_protocol::frame::{self, Chunk, Hashes};
use kith_protocol::ids::Digest;
use kith_protocol::ranges::RangeSet;
use kith_protocol::tree::Tree;
use kith_protocol::voucher;
use tokio::sync::mpsc;

use super::open::Open;
use super::sync::Syncs;
use super::{FetchMessage, Report, Start};
use crate::disk::{DiskError, DiskFault, ModTime, PlacedFile, ROW, WholeFile, chunk_digests};
use crate::node::faults::ending;
use crate::node::lanes::Queued;
use crate::node::layout::{self, Layout, Prepared};

/// Written bytes after which a checkpoint is taken; with every tick it is, too.
const CHECKPOINT_BYTES: u64 = 4 * 1024 * 1024;
/// How long a worker that has caught up lets chunks gather before it looks again. To be woken for
/// each costs more than to hash it, and together they hash quicker. It is nothing beside the time
/// until they are durable.
const COLLECT: Duration = Duration::from_millis(1);
/// Received bytes are reported in steps of this, and with every tick.
const REPORT_BYTES: u64 = 1024 * 1024;
/// Files that are written at once, whatever the sender begins: each holds two handles.
const MOST_OPEN: usize = 64;

pub(super) fn run(
    start: Start,
    mut queue: mpsc::UnboundedReceiver<FetchMessage>,
    syncs: Syncs,
    report: Report,
) {
    let mut in_use = start.parts.in_use();
    let prepared = Layout::prepare(&start.record, &start.ranges, &start.done, &mut in_use);
    let Prepared {
        layout,
        lost,
        adopted,
        placed,
    } = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            tracing::info!(%error, "the folder cannot be prepared");
            let have = |entry| match start.done.contains_key(&entry) {
                true => u64::MAX,
                false => start.ranges.get(&entry).map_or(0, RangeSet::count),
            };
            let needed = layout::needed(&start.record.entries, have);
            let dir = Path::new(&start.record.dir);
            return report.say(ending(&error, dir, needed));
        }
    };
    let mut fetch = Fetch::new(start, layout, syncs, report);
    fetch.forget(&lost);
    fetch.placed = placed;
    fetch.adopt(&adopted);
    let roots = fetch.layout.roots();
    fetch.report.say(FetchNews::Prepared {
        roots,
        lost,
        adopted,
    });
    // Only now: what was adopted is on the disk already.
    if let Err(error) = fetch.layout.check_space(fetch.needed()) {
        return fetch.fail(&error);
    }
    fetch.finish_folders();
    let mut busy = false;
    let mut chunks = Vec::new();
    loop {
        let next = queue.try_recv();
        if !matches!(next, Ok(FetchMessage::Chunks(_)))
            && let Err(error) = fetch.take_all(std::mem::take(&mut chunks))
        {
            return fetch.fail(&error);
        }
        let message = match next {
            Ok(message) => Some(message),
            Err(mpsc::error::TryRecvError::Disconnected) => None,
            Err(mpsc::error::TryRecvError::Empty) if busy => {
                busy = false;
                std::thread::sleep(COLLECT);
                continue;
            }
            Err(mpsc::error::TryRecvError::Empty) => queue.blocking_recv(),
        };
        let result = match message {
            None => return,
            Some(FetchMessage::Stop { discard }) => {
                if discard {
                    fetch.discard();
                }
                return;
            }
            Some(FetchMessage::Expect(entry, hash)) => fetch.expect(entry, hash),
            Some(FetchMessage::Named(entries, outcome)) => {
                fetch.named(&entries);
                outcome
            }
            Some(FetchMessage::Chunks(more)) => {
                busy = true;
                chunks.extend(more);
                // Fewer are taken with those that wait behind them.
                if chunks.len() >= ROW {
                    fetch.take_all(std::mem::take(&mut chunks))
                } else {
                    Ok(())
                }
            }
            Some(FetchMessage::Hashes(queued)) if queued.hashes.entry == frame::ROOTS => {
                fetch.learn_roots(&queued.hashes)
            }
            Some(FetchMessage::Hashes(queued)) => {
                fetch.learn(&queued.hashes);
                Ok(())
            }
            Some(FetchMessage::From(transfer, root)) => {
                fetch.from(transfer, root);
                Ok(())
            }
            Some(FetchMessage::Tick) => {
                fetch.report_received();
                if fetch.unsynced > 0 {
                    fetch.checkpoint();
                }
                Ok(())
            }
        };
        if let Err(error) = result {
            return fetch.fail(&error);
        }
    }
}

/// What all files must hash to, where somebody passes them on.
enum Roots {
    /// Who offers sends: it says so of each file by itself.
    Unneeded,
    /// They come, in order; together they must hash to this.
    Coming(Digest, Vec<Digest>),
    /// They are known, and expected.
    Known,
}

pub(super) struct Fetch {
    record: Arc<FetchRecord>,
    pub(super) layout: Layout,
    /// Chunks that were durable before this run, by entry.
    pub(super) before: BTreeMap<u32, RangeSet>,
    done: RangeSet,
    pub(super) open: BTreeMap<u32, Open>,
    expected: BTreeMap<u32, Digest>,
    /// What chunks must hash to, from the first on, where who offers has said so.
    hashes: BTreeMap<u32, Vec<Digest>>,
    /// Of whole files, from somebody who passes the offer on.
    roots: Roots,
    /// Chunks come from that one now.
    passed_on: bool,
    /// The number of the transfer over which who offers, or passes on, sends now.
    pub(super) transfer: u32,
    /// Entries that may have their names already.
    pub(super) placed: BTreeMap<u32, PlacedFile>,
    /// Of those: they are said to be complete.
    pub(super) claimed: BTreeSet<u32>,
    /// Complete and compared: they wait for their names.
    whole: RangeSet,
    files_left: usize,
    unsynced: u64,
    received: u64,
    received_durable: u64,
    syncs: Syncs,
    pub(super) report: Report,
}

impl Fetch {
    fn new(start: Start, layout: Layout, syncs: Syncs, report: Report) -> Self {
        let mut done = RangeSet::new();
        for entry in start.done.keys() {
            done.insert(u64::from(*entry), u64::from(*entry) + 1);
        }
        let mut fetch = Fetch {
            record: start.record,
            layout,
            before: start.ranges,
            done,
            open: BTreeMap::new(),
            expected: BTreeMap::new(),
            hashes: BTreeMap::new(),
            roots: Roots::Unneeded,
            passed_on: false,
            transfer: 0,
            placed: BTreeMap::new(),
            claimed: BTreeSet::new(),
            whole: RangeSet::new(),
            files_left: 0,
            unsynced: 0,
            received: 0,
            received_durable: 0,
            syncs,
            report,
        };
        fetch.count_left();
        fetch
    }

    fn forget(&mut self, lost: &[u32]) {
        for entry in lost {
            self.before.remove(entry);
            self.done.remove(u64::from(*entry), u64::from(*entry) + 1);
        }
        self.count_left();
    }

    fn count_left(&mut self) {
        let entries = (0u64..).zip(self.record.entries.iter());
        self.files_left = entries
            .filter(|(i, e)| !e.dir && !self.done.contains(*i))
            .count();
    }

    fn expect(&mut self, entry: u32, hash: Digest) -> Result<(), DiskError> {
        let Some(e) = self.record.entries.get(entry as usize) else {
            return Ok(());
        };
        if e.dir || self.done.contains(entry.into()) {
            return Ok(());
        }
        self.expected.insert(entry, hash);
        // Only what may be complete now is opened; the others are when their chunks come.
        let size = e.size;
        let whole = |have: &RangeSet| have.count() >= frame::chunks(size);
        if size == 0 || self.before.get(&entry).is_some_and(whole) {
            self.open_entry(entry)?;
        }
        self.try_complete(entry)
    }

    /// Who sends from now on.
    fn from(&mut self, transfer: u32, root: Option<Digest>) {
        self.transfer = transfer;
        self.passed_on = root.is_some();
        self.roots = match (root, &self.roots) {
            (_, Roots::Known) => Roots::Known,
            (Some(root), _) => Roots::Coming(root, Vec::new()),
            (None, _) => Roots::Unneeded,
        };
    }

    /// What all files hash to, says who passes them on.
    fn learn_roots(&mut self, page: &Hashes) -> Result<(), DiskError> {
        let Roots::Coming(vouched, known) = &mut self.roots else {
            return Ok(());
        };
        let all = self.record.entries.len();
        if page.first != known.len() as u64 || known.len() + page.iter().len() > all {
            let transfer = self.transfer;
            self.report.say(FetchNews::Untrue { transfer });
            return Ok(());
        }
        known.extend(page.iter());
        if known.len() < all {
            return Ok(());
        }
        if voucher::root(known) != *vouched {
            let transfer = self.transfer;
            self.report.say(FetchNews::Untrue { transfer });
            return Ok(());
        }
        let roots = std::mem::take(known);
        self.roots = Roots::Known;
        (0u32..)
            .zip(roots)
            .try_for_each(|(entry, root)| self.expect(entry, root))
    }

    /// What chunks of an entry must hash to. Their number is bounded by the manifest.
    fn learn(&mut self, page: &Hashes) {
        if self.passed_on {
            // Who passes it on says of whole files what they hash to, and no more is believed.
            return;
        }
        let entry = page.entry;
        let Some(e) = self.record.entries.get(entry as usize) else {
            return;
        };
        let chunks = frame::chunks(e.size);
        let end = page.first.saturating_add(page.iter().len() as u64);
        if end > chunks || self.done.contains(entry.into()) {
            return;
        }
        let known = self.hashes.entry(entry).or_default();
        let Some(first) = usize::try_from(page.first)
            .ok()
            .filter(|f| *f <= known.len())
        else {
            return;
        };
        let same = page.iter().zip(&known[first..]).all(|(a, b)| a == *b);
        if !same {
            // Something else than before: what was compared with that is read back in the end.
            known.truncate(first);
            if let Some(open) = self.open.get_mut(&entry) {
                open.checked = RangeSet::new();
            }
        }
        let new = known.len() - first;
        known.extend(page.iter().skip(new));
        let end = known.len() as u64;
        self.report.say(FetchNews::Hashed { entry, end });
    }

    /// Takes chunks as they came, some at a time: they are written together, and make room then.
    fn take_all(&mut self, chunks: Vec<Queued>) -> Result<(), DiskError> {
        let mut chunks = chunks.into_iter().filter(|queued| !queued.is_stale());
        loop {
            let some: Vec<Queued> = chunks.by_ref().take(ROW).collect();
            if some.is_empty() {
                return Ok(());
            }
            let payloads: Vec<&[u8]> = some.iter().map(|q| &q.chunk.payload[..]).collect();
            let digests = chunk_digests(&payloads);
            // Those that follow one another are written together.
            let mut row: Vec<Queued> = Vec::with_capacity(some.len());
            for (queued, digest) in some.into_iter().zip(digests) {
                let chunk = &queued.chunk;
                let follows = |last: &Queued| {
                    let next = last.chunk.index.checked_add(1);
                    (last.chunk.entry, next) == (chunk.entry, Some(chunk.index))
                };
                if !row.last().is_some_and(follows) {
                    self.write(std::mem::take(&mut row))?;
                }
                if self.check(chunk, digest, queued.source)? {
                    row.push(queued);
                }
            }
            self.write(row)?;
        }
    }

    /// Whether a chunk that hashes to `digest` is as it is to be, and new: to be written; its entry is
    /// open then.
    fn check(
        &mut self,
        chunk: &Chunk,
        digest: Digest,
        source: Option<(LinkId, u32)>,
    ) -> Result<bool, DiskError> {
        let entry = chunk.entry;
        self.received += chunk.payload.len() as u64;
        let known = self.record.entries.get(entry as usize).filter(|e| !e.dir);
        let Some(e) = known else {
            self.refuse(chunk, source);
            return Ok(false);
        };
        if frame::chunk_len(e.size, chunk.index) as usize != chunk.payload.len() {
            self.refuse(chunk, source);
            return Ok(false);
        }
        if self.done.contains(entry.into()) {
            self.received_durable += chunk.payload.len() as u64;
            return Ok(false);
        }
        self.open_entry(entry)?;
        let Some(open) = self.open.get(&entry) else {
            return Ok(false);
        };
        if open.have.contains(chunk.index) {
            if open.durable.contains(chunk.index) {
                self.received_durable += chunk.payload.len() as u64;
            }
            if source.is_none() && digest == chunk.digest {
                // It came before from somebody whose word on the file was not good.
                self.expect_only(entry, digest);
                self.try_complete(entry)?;
            }
            return Ok(false);
        }
        let known = self.told(chunk);
        let good = digest == chunk.digest
            && match source {
                Some(_) => known == Some(digest),
                None => known.is_none_or(|known| known == digest),
            };
        if !good {
            self.refuse(chunk, source);
            return Ok(false);
        }
        Ok(true)
    }

    /// What who offers said that the chunk hashes to.
    fn told(&self, chunk: &Chunk) -> Option<Digest> {
        let hashes = self.hashes.get(&chunk.entry)?;
        hashes.get(usize::try_from(chunk.index).ok()?).copied()
    }

    /// Writes checked chunks of one entry that follow one another.
    fn write(&mut self, row: Vec<Queued>) -> Result<(), DiskError> {
        let Some(first) = row.first().map(|queued| &queued.chunk) else {
            return Ok(());
        };
        let (entry, first) = (first.entry, first.index);
        let end = first + row.len() as u64;
        let told: Vec<bool> = row
            .iter()
            .map(|queued| self.told(&queued.chunk).is_some())
            .collect();
        let Some(open) = self.open.get_mut(&entry) else {
            return Ok(());
        };
        let payloads: Vec<&[u8]> = row.iter().map(|q| &q.chunk.payload[..]).collect();
        open.part.write_chunks(first, &payloads)?;
        for Queued { chunk, .. } in &row {
            open.wrote(chunk.index, chunk.digest);
        }
        for (Queued { chunk, .. }, told) in row.iter().zip(told) {
            if told {
                open.checked.insert(chunk.index, chunk.index + 1);
            }
        }
        open.have.insert(first, end);
        open.fresh.insert(first, end);
        if let Some(only) = row.first().map(|queued| queued.chunk.digest) {
            self.expect_only(entry, only);
        }
        self.unsynced += payloads.iter().map(|p| p.len() as u64).sum::<u64>();
        // Their places are free before anybody may hear that they are durable: the sender fills them
        // again at once, and must not seem to send more than it may.
        drop(row);
        if self.received >= REPORT_BYTES {
            self.report_received();
        }
        // What is whole now is made durable with its name.
        self.try_complete(entry)?;
        if self.unsynced >= CHECKPOINT_BYTES {
            self.checkpoint();
        }
        Ok(())
    }

    /// What who offers says of the only chunk says all of the file, and nothing else does.
    fn expect_only(&mut self, entry: u32, digest: Digest) {
        let size = self.size_of(entry);
        if frame::chunks(size) == 1 && matches!(self.roots, Roots::Unneeded) {
            let mut tree = Tree::new();
            tree.push(&digest);
            self.expected.entry(entry).or_insert(tree.root(size));
        }
    }

    fn open_entry(&mut self, entry: u32) -> Result<(), DiskError> {
        if self.open.contains_key(&entry) || self.whole.contains(entry.into()) {
            return Ok(());
        }
        let Some(e) = self.record.entries.get(entry as usize) else {
            return Ok(());
        };
        let (size, mode) = (e.size, e.mode);
        if self.open.len() >= MOST_OPEN {
            self.park()?;
        }
        let have = self.before.remove(&entry).unwrap_or_default();
        // What cannot be compared yet must be found again.
        let compared = !matches!(self.roots, Roots::Coming(..));
        let part = if have.is_empty() && frame::chunks(size) <= 1 && compared {
            self.layout.passing(entry, size, mode)?
        } else {
            self.layout.part(entry, size)?
        };
        let open = Open::new(part, size, have);
        self.open.insert(entry, open);
        Ok(())
    }

    /// Closes the file that was begun first; what it has is made durable and found again.
    fn park(&mut self) -> Result<(), DiskError> {
        let Some((entry, open)) = self.open.pop_first() else {
            return Ok(());
        };
        if !open.fresh.is_empty() {
            open.part.syncer().sync()?;
            let ranges = open.fresh;
            self.report.say(FetchNews::Durable { entry, ranges });
        }
        self.before.insert(entry, open.have);
        Ok(())
    }

    /// Compares the whole-file hash if everything is there.
    fn try_complete(&mut self, entry: u32) -> Result<(), DiskError> {
        let Some(expected) = self.expected.get(&entry).copied() else {
            return Ok(());
        };
        if self.try_placed(entry, expected)? {
            return Ok(());
        }
        let Some(open) = self.open.get_mut(&entry) else {
            return Ok(());
        };
        let chunks = frame::chunks(open.size);
        if open.have.count() < chunks {
            return Ok(());
        }
        let hashes = self.hashes.get(&entry).map_or(&[][..], Vec::as_slice);
        open.finish_tree(hashes, chunks)?;
        let intact = open.root() == expected;
        let Some(open) = self.open.remove(&entry) else {
            return Ok(());
        };
        if !intact {
            // From the beginning, with an empty part: there is no telling which chunk is wrong.
            let _turn = self.syncs.turn();
            open.part.discard()?;
            let transfer = self.transfer;
            self.report.say(FetchNews::Mismatch { transfer, entry });
            return Ok(());
        }
        let Some(e) = self.record.entries.get(entry as usize) else {
            return Ok(());
        };
        let mtime = ModTime {
            seconds: e.mtime,
            nanos: e.mtime_ns,
        };
        let file = open.part.complete(e.mode, mtime)?;
        self.complete(entry, file);
        Ok(())
    }

    /// It is complete and compared, and gets its name.
    pub(super) fn complete(&mut self, entry: u32, file: WholeFile) {
        self.expected.remove(&entry);
        self.whole.insert(entry.into(), u64::from(entry) + 1);
        if self.whole.count() >= self.files_left as u64 {
            // The last of them: once it has its name, nothing is asked about the fetch any more.
            self.report_received();
        }
        self.syncs.name(entry, file);
    }

    /// The sync thread gave them their names, and said so.
    fn named(&mut self, entries: &[u32]) {
        for entry in entries {
            self.hashes.remove(entry);
            self.whole.remove(u64::from(*entry), u64::from(*entry) + 1);
            self.done.insert(u64::from(*entry), u64::from(*entry) + 1);
        }
        self.files_left = self.files_left.saturating_sub(entries.len());
        self.report_received();
        self.finish_folders();
    }

    /// Folders get their attributes when nothing more is written into them.
    fn finish_folders(&mut self) {
        if self.files_left > 0 {
            return;
        }
        let mut folders = self.layout.finish_folders(&self.record.entries);
        folders.retain(|(entry, _)| !self.done.contains((*entry).into()));
        for (entry, _) in &folders {
            self.done.insert(u64::from(*entry), u64::from(*entry) + 1);
        }
        if !folders.is_empty() {
            self.report.say(FetchNews::Finished(folders));
        }
    }

    /// Hands what was written since the last checkpoint to the sync thread, unless it is busy with
    /// one: then the next takes it.
    fn checkpoint(&mut self) {
        if self.syncs.is_checkpointing() {
            return;
        }
        let fresh = self.open.iter_mut().filter(|(_, o)| !o.fresh.is_empty());
        let checkpoint: Vec<_> = fresh
            .map(|(e, o)| (*e, o.part.syncer(), std::mem::take(&mut o.fresh)))
            .collect();
        self.unsynced = 0;
        if !checkpoint.is_empty() {
            self.syncs.checkpoint(checkpoint);
        }
    }

    fn refuse(&mut self, chunk: &Chunk, source: Option<(LinkId, u32)>) {
        let (entry, index) = (chunk.entry, chunk.index);
        tracing::warn!(entry, index, "chunk refused");
        self.report.say(match source {
            None => FetchNews::Corrupt {
                transfer: self.transfer,
                entry,
                index,
            },
            Some((link, transfer)) => FetchNews::Spurned {
                link,
                transfer,
                entry,
                index,
            },
        });
    }

    fn report_received(&mut self) {
        if self.received > 0 {
            let bytes = std::mem::take(&mut self.received);
            let durable = std::mem::take(&mut self.received_durable);
            self.report.say(FetchNews::Received { bytes, durable });
        }
    }

    fn fail(&mut self, error: &DiskError) {
        // What is written stays good: the last checkpoint is worth its sync.
        self.checkpoint();
        if error.kind() == DiskFault::Gone {
            tracing::info!("a part file was removed by somebody else");
        }
        tracing::info!(%error, "the disk refused");
        let dir = Path::new(&self.record.dir);
        self.report.say(ending(error, dir, self.needed()));
    }

    pub(super) fn size_of(&self, entry: u32) -> u64 {
        let known = self.record.entries.get(entry as usize);
        known.map_or(0, |e| e.size)
    }

    /// Bytes that are still to be written.
    fn needed(&self) -> u64 {
        let have = |entry: u32| match (self.open.get(&entry), self.before.get(&entry)) {
            _ if self.done.contains(entry.into()) || self.whole.contains(entry.into()) => u64::MAX,
            _ if self.claimed.contains(&entry) => u64::MAX,
            (Some(open), _) => open.have.count(),
            (None, Some(have)) => have.count(),
            (None, None) => 0,
        };
        layout::needed(&self.record.entries, have)
    }

    fn discard(&mut self) {
        self.syncs.discard();
        for open in std::mem::take(&mut self.open).into_values() {
            if let Err(error) = open.part.discard() {
                tracing::debug!(%error, "part file not removed");
            }
        }
        // Parts of an earlier run that this one never opened.
        for entry in std::mem::take(&mut self.before).into_keys() {
            let size = self.size_of(entry);
            if let Ok(part) = self.layout.part(entry, size) {
                let _ = part.discard();
            }
        }
    }
}
