//! A fetch at work: one thread verifies and writes, another makes durable.
//!
//! ```text
//! lane → queue → verify, write, hash → (sync thread) → Durable
//!                                    └ complete → compare, name → Finished
//! ```
//! A file is hashed as a whole while its chunks arrive in order; what came in another order, or in
//! an earlier life of the process, is read back before the file gets its name.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kith_core::input::{FetchNews, Input, Refusal};
use kith_core::record::{FetchKey, FetchRecord};
use kith_protocol::LinkId;
use kith_protocol::frame::{self, Chunk, Hashes};
use kith_protocol::ids::Digest;
use kith_protocol::ranges::RangeSet;
use kith_protocol::tree::Tree;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::faults::{self, ending, refusal};
use super::lanes::{Lanes, Queued, QueuedHashes, Taker};
use super::layout::{self, Layout};
use super::tasks::Tasks;
use crate::disk::{self, DiskError, DiskFault, ModTime, PartFile, PartSync, ROW, chunk_digest};

/// Written bytes after which a checkpoint is taken …
const CHECKPOINT_BYTES: u64 = 4 * 1024 * 1024;
/// … or after this long.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(250);
/// How long a worker that has caught up lets chunks gather before it looks again. To be woken for
/// each costs more than to hash it, and together they hash in half the time. It is nothing beside
/// the time until they are durable.
const COLLECT: Duration = Duration::from_millis(1);
/// Received bytes are reported in steps of this, and with every tick.
const REPORT_BYTES: u64 = 1024 * 1024;
/// Small files that get their names together: one sync serves them all. Each holds two handles.
const FINISH_TOGETHER: usize = 64;
/// Files that are written at once, whatever the sender begins: each holds two handles.
const MOST_OPEN: usize = 64;

/// What a fetch is told.
pub(crate) enum FetchMessage {
    /// Chunks from the lane.
    Chunks(Vec<Queued>),
    /// What chunks must hash to.
    Hashes(QueuedHashes),
    /// Some time has passed.
    Tick,
    /// The whole-file hash of an entry.
    Expect(u32, Digest),
    /// End now.
    Stop { discard: bool },
}

/// The handle of a fetch at work; dropping it stops the fetch.
pub(crate) struct Fetching {
    messages: mpsc::UnboundedSender<FetchMessage>,
    taker: Taker,
    lanes: Lanes,
    attached: Option<(LinkId, u32)>,
    /// Other holders' transfers.
    sources: Vec<(LinkId, u32)>,
}

/// What is known of a fetch when it starts.
pub(crate) struct Start {
    pub key: FetchKey,
    pub run: u32,
    pub record: Arc<FetchRecord>,
    pub ranges: BTreeMap<u32, RangeSet>,
    pub done: BTreeMap<u32, String>,
}

impl Fetching {
    /// Starts the threads; they first prepare the folder.
    pub fn start(start: Start, lanes: &Lanes, tasks: &Tasks, inputs: mpsc::Sender<Input>) -> Self {
        let (messages, queue) = mpsc::unbounded_channel();
        let report = Report {
            key: start.key,
            run: start.run,
            inputs,
        };
        let (syncs, sync_queue) = mpsc::channel(1);
        let turn = Turn::default();
        let (sync_turn, sync_report) = (Arc::clone(&turn), report.clone());
        tasks.spawn_blocking("fetch sync", move || {
            sync(sync_queue, &sync_turn, &sync_report);
        });
        let ticks = messages.downgrade();
        tasks.spawn("fetch ticks", tick(ticks, tasks.token().clone()));
        tasks.spawn_blocking("fetch", move || run(start, queue, syncs, turn, report));
        Fetching {
            taker: Taker::new(messages.clone()),
            messages,
            lanes: lanes.clone(),
            attached: None,
            sources: Vec::new(),
        }
    }

    /// Takes the frames of `transfer` on `link` from who offers, and no others of theirs.
    pub fn attach(&mut self, link: LinkId, transfer: u32) {
        self.detach();
        self.lanes.attach(link, transfer, &self.taker);
        self.attached = Some((link, transfer));
    }

    /// Takes the chunks of another holder too.
    pub fn add_source(&mut self, link: LinkId, transfer: u32) {
        self.lanes.attach_source(link, transfer, &self.taker);
        self.sources.push((link, transfer));
    }

    /// Takes them no longer.
    pub fn drop_source(&mut self, link: LinkId, transfer: u32) {
        self.lanes.detach(link, transfer);
        self.sources.retain(|s| *s != (link, transfer));
    }

    /// The hash the entry must have.
    pub fn expect(&self, entry: u32, hash: Digest) {
        let _ = self.messages.send(FetchMessage::Expect(entry, hash));
    }

    /// Ends the fetch.
    pub fn stop(mut self, discard: bool) {
        self.detach_all();
        let _ = self.messages.send(FetchMessage::Stop { discard });
    }

    fn detach_all(&mut self) {
        self.detach();
        for (link, transfer) in std::mem::take(&mut self.sources) {
            self.lanes.detach(link, transfer);
        }
    }

    fn detach(&mut self) {
        if let Some((link, transfer)) = self.attached.take() {
            self.lanes.detach(link, transfer);
        }
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        self.detach_all();
    }
}

#[derive(Clone)]
struct Report {
    key: FetchKey,
    run: u32,
    inputs: mpsc::Sender<Input>,
}

impl Report {
    fn say(&self, news: FetchNews) {
        let _ = self
            .inputs
            .blocking_send(Input::Fetch(self.key, self.run, news));
    }
}

/// Reminds the worker of the time for as long as it is wanted.
async fn tick(worker: mpsc::WeakUnboundedSender<FetchMessage>, token: CancellationToken) {
    let mut every = tokio::time::interval(CHECKPOINT_EVERY);
    loop {
        tokio::select! {
            _ = every.tick() => {}
            () = token.cancelled() => return,
        }
        let sent = worker
            .upgrade()
            .is_some_and(|w| w.send(FetchMessage::Tick).is_ok());
        if !sent {
            return;
        }
    }
}

/// Held while a part is synced and that is said, and while a part is thrown away and that is said:
/// nothing of a part is called durable once it is known to be gone.
type Turn = Arc<Mutex<()>>;

/// Makes checkpoints durable beside the writing.
fn sync(mut queue: mpsc::Receiver<Vec<(u32, PartSync, RangeSet)>>, turn: &Turn, report: &Report) {
    while let Some(checkpoint) = queue.blocking_recv() {
        for (entry, part, ranges) in checkpoint {
            let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            match part.sync() {
                Ok(()) => {
                    part.release(&ranges);
                    report.say(FetchNews::Durable { entry, ranges });
                }
                Err(error) if part.is_over() => tracing::debug!(%error, "checkpoint too late"),
                // The writer may never notice: a sender that waits for these chunks to be durable
                // sends no others.
                Err(error) => {
                    tracing::info!(%error, "the disk refused a checkpoint");
                    // How many bytes lack is seen when the disk is looked at.
                    let code = faults::target_code(&error);
                    let missing = None;
                    report.say(FetchNews::Refused(Refusal { code, missing }));
                }
            }
        }
    }
}

/// Looks whether the disk takes so many bytes in this folder, and says so.
pub(crate) fn look(key: FetchKey, run: u32, dir: &str, needed: u64, inputs: &mpsc::Sender<Input>) {
    let dir = Path::new(dir);
    let found = disk::probe(dir, needed).map_err(|error| {
        tracing::debug!(%error, "the disk still refuses");
        refusal(&error, dir, needed)
    });
    let _ = inputs.blocking_send(Input::Fetch(key, run, FetchNews::Probed(found)));
}

/// Removes the part files of a fetch that no worker has.
pub(crate) fn discard(record: &FetchRecord, begun: &[u32]) {
    if begun.is_empty() || !Path::new(&record.dir).is_dir() {
        return;
    }
    let layout = match Layout::found(record) {
        Ok(layout) => layout,
        Err(error) => return tracing::info!(%error, "part files are not removed"),
    };
    for entry in begun {
        let size = record.entries.get(*entry as usize).map(|e| e.size);
        let part = size.map(|size| layout.part(*entry, size));
        if let Some(Err(error)) = part.map(|p| p.and_then(|p| p.discard())) {
            tracing::debug!(%error, "part file not removed");
        }
    }
}

fn run(
    start: Start,
    mut queue: mpsc::UnboundedReceiver<FetchMessage>,
    syncs: mpsc::Sender<Vec<(u32, PartSync, RangeSet)>>,
    turn: Turn,
    report: Report,
) {
    let (layout, lost) = match Layout::prepare(&start.record, &start.ranges, &start.done) {
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
    let mut fetch = Fetch::new(start, layout, syncs, turn, report);
    fetch.forget(&lost);
    let roots = fetch.layout.roots();
    fetch.report.say(FetchNews::Prepared { roots, lost });
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
            Err(mpsc::error::TryRecvError::Empty) => {
                // A quiet moment: small files need not wait for company.
                if let Err(error) = fetch.finish_ready() {
                    return fetch.fail(&error);
                }
                queue.blocking_recv()
            }
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
            Some(FetchMessage::Hashes(queued)) => {
                fetch.learn(&queued.hashes);
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

struct Fetch {
    record: Arc<FetchRecord>,
    layout: Layout,
    /// Chunks that were durable before this run, by entry.
    before: BTreeMap<u32, RangeSet>,
    done: RangeSet,
    open: BTreeMap<u32, Open>,
    expected: BTreeMap<u32, Digest>,
    /// What chunks must hash to, from the first on, where who offers has said so.
    hashes: BTreeMap<u32, Vec<Digest>>,
    /// Complete and compared: wait for their names.
    ready: Vec<(u32, PartFile)>,
    files_left: usize,
    unsynced: u64,
    received: u64,
    received_durable: u64,
    syncs: mpsc::Sender<Vec<(u32, PartSync, RangeSet)>>,
    turn: Turn,
    report: Report,
}

/// An entry that is being written.
struct Open {
    part: PartFile,
    size: u64,
    /// Verified and written.
    have: RangeSet,
    /// Of those: not yet given to the sync thread.
    fresh: RangeSet,
    /// Of those: known to be durable from the start.
    durable: RangeSet,
    /// Of those: received by this run, and compared with what who offers says of them.
    checked: RangeSet,
    /// Of those from the beginning on.
    tree: Tree,
}

impl Open {
    /// Adds what the tree lacks: hashes of chunks that were compared with them when they came, and
    /// of all others what is on disk.
    fn finish_tree(&mut self, hashes: &[Digest], chunks: u64) -> Result<(), DiskError> {
        while self.tree.leaves() < chunks {
            let at = self.tree.leaves();
            let known = usize::try_from(at).ok().and_then(|i| hashes.get(i));
            if let Some(known) = known.filter(|_| self.checked.contains(at)) {
                self.tree.push(known);
            } else {
                let end = self.checked.next_held(at + 1).min(chunks);
                self.part.hash_up_to(&mut self.tree, end)?;
            }
        }
        Ok(())
    }
}

impl Fetch {
    fn new(
        start: Start,
        layout: Layout,
        syncs: mpsc::Sender<Vec<(u32, PartSync, RangeSet)>>,
        turn: Turn,
        report: Report,
    ) -> Self {
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
            ready: Vec::new(),
            files_left: 0,
            unsynced: 0,
            received: 0,
            received_durable: 0,
            syncs,
            turn,
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
        let entries = (0u64..).zip(&self.record.entries);
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

    /// What chunks of an entry must hash to. Their number is bounded by the manifest.
    fn learn(&mut self, page: &Hashes) {
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
            // Those that follow one another are written together.
            let mut row: Vec<Queued> = Vec::with_capacity(some.len());
            for queued in some {
                let chunk = &queued.chunk;
                let follows = |last: &Queued| {
                    let next = last.chunk.index.checked_add(1);
                    (last.chunk.entry, next) == (chunk.entry, Some(chunk.index))
                };
                if !row.last().is_some_and(follows) {
                    self.write(std::mem::take(&mut row))?;
                }
                if self.check(chunk, queued.source)? {
                    row.push(queued);
                }
            }
            self.write(row)?;
        }
    }

    /// Whether a chunk is as it is to be, and new: to be written; its entry is open then.
    fn check(&mut self, chunk: &Chunk, source: Option<(LinkId, u32)>) -> Result<bool, DiskError> {
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
            return Ok(false);
        }
        let digest = chunk_digest(&chunk.payload);
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
            if chunk.index == open.tree.leaves() {
                open.tree.push(&chunk.digest);
            }
        }
        for (Queued { chunk, .. }, told) in row.iter().zip(told) {
            if told {
                open.checked.insert(chunk.index, chunk.index + 1);
            }
        }
        open.have.insert(first, end);
        open.fresh.insert(first, end);
        self.unsynced += payloads.iter().map(|p| p.len() as u64).sum::<u64>();
        // Their places are free before anybody may hear that they are durable: the sender fills them
        // again at once, and must not seem to send more than it may.
        drop(row);
        if self.received >= REPORT_BYTES {
            self.report_received();
        }
        if self.unsynced >= CHECKPOINT_BYTES {
            self.checkpoint();
        }
        self.try_complete(entry)
    }

    fn open_entry(&mut self, entry: u32) -> Result<(), DiskError> {
        if self.open.contains_key(&entry) || self.ready.iter().any(|(e, _)| *e == entry) {
            return Ok(());
        }
        let Some(e) = self.record.entries.get(entry as usize) else {
            return Ok(());
        };
        let size = e.size;
        if self.open.len() >= MOST_OPEN {
            self.park()?;
        }
        let part = self.layout.part(entry, size)?;
        let have = self.before.remove(&entry).unwrap_or_default();
        let open = Open {
            part,
            size,
            durable: have.clone(),
            have,
            fresh: RangeSet::new(),
            checked: RangeSet::new(),
            tree: Tree::new(),
        };
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
        let Some(expected) = self.expected.get(&entry) else {
            return Ok(());
        };
        let Some(open) = self.open.get_mut(&entry) else {
            return Ok(());
        };
        let chunks = frame::chunks(open.size);
        if open.have.count() < chunks {
            return Ok(());
        }
        let hashes = self.hashes.get(&entry).map_or(&[][..], Vec::as_slice);
        open.finish_tree(hashes, chunks)?;
        let intact = open.tree.root(open.size) == *expected;
        let Some(open) = self.open.remove(&entry) else {
            return Ok(());
        };
        if !intact {
            // From the beginning, with an empty part: there is no telling which chunk is wrong.
            let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
            open.part.discard()?;
            self.report.say(FetchNews::Mismatch { entry });
            return Ok(());
        }
        self.ready.push((entry, open.part));
        if self.ready.len() >= FINISH_TOGETHER || open.size >= CHECKPOINT_BYTES {
            self.finish_ready()?;
        }
        Ok(())
    }

    /// Gives complete files their names.
    fn finish_ready(&mut self) -> Result<(), DiskError> {
        if self.ready.is_empty() {
            return Ok(());
        }
        let mut entries = Vec::with_capacity(self.ready.len());
        let mut batch = Vec::with_capacity(self.ready.len());
        for (entry, part) in self.ready.drain(..) {
            let Some(e) = self.record.entries.get(entry as usize) else {
                continue;
            };
            entries.push(entry);
            let mtime = ModTime {
                seconds: e.mtime,
                nanos: e.mtime_ns,
            };
            batch.push((part, e.mode, mtime));
        }
        let named = if batch.len() == 1 {
            let Some((part, mode, mtime)) = batch.pop() else {
                return Ok(());
            };
            vec![part.finish(mode, mtime)]
        } else {
            PartFile::finish_many(&batch)
        };
        let mut files = Vec::with_capacity(entries.len());
        let mut failed = Ok(());
        for (entry, name) in entries.into_iter().zip(named) {
            match name {
                Ok(name) => files.push((entry, name.as_str().to_string())),
                Err(error) => failed = Err(error),
            }
            self.expected.remove(&entry);
            self.files_left = self.files_left.saturating_sub(1);
        }
        self.finished(files);
        failed?;
        self.report_received();
        self.finish_folders();
        Ok(())
    }

    /// Folders get their attributes when nothing more is written into them.
    fn finish_folders(&mut self) {
        if self.files_left > 0 {
            return;
        }
        let mut folders = self.layout.finish_folders(&self.record.entries);
        folders.retain(|(entry, _)| !self.done.contains((*entry).into()));
        self.finished(folders);
    }

    fn finished(&mut self, entries: Vec<(u32, String)>) {
        for (entry, _) in &entries {
            self.hashes.remove(entry);
            self.done.insert(u64::from(*entry), u64::from(*entry) + 1);
        }
        if !entries.is_empty() {
            self.report.say(FetchNews::Finished(entries));
        }
    }

    /// Hands what was written since the last checkpoint to the sync thread, unless it is busy:
    /// then the next checkpoint takes it.
    fn checkpoint(&mut self) {
        let Ok(place) = self.syncs.try_reserve() else {
            return;
        };
        let fresh = self.open.iter_mut().filter(|(_, o)| !o.fresh.is_empty());
        let checkpoint = fresh
            .map(|(e, o)| (*e, o.part.syncer(), std::mem::take(&mut o.fresh)))
            .collect();
        self.unsynced = 0;
        place.send(checkpoint);
    }

    fn refuse(&mut self, chunk: &Chunk, source: Option<(LinkId, u32)>) {
        let (entry, index) = (chunk.entry, chunk.index);
        tracing::warn!(entry, index, "chunk refused");
        self.report.say(match source {
            None => FetchNews::Corrupt { entry, index },
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
        let have = |entry: u32| match (self.open.get(&entry), self.before.get(&entry)) {
            _ if self.done.contains(entry.into()) => u64::MAX,
            (Some(open), _) => open.have.count(),
            (None, Some(have)) => have.count(),
            (None, None) => 0,
        };
        let needed = layout::needed(&self.record.entries, have);
        let dir = Path::new(&self.record.dir);
        self.report.say(ending(error, dir, needed));
    }

    fn discard(&mut self) {
        let ready = self.ready.drain(..).map(|(_, part)| part);
        let open = std::mem::take(&mut self.open).into_values().map(|o| o.part);
        for part in ready.chain(open) {
            if let Err(error) = part.discard() {
                tracing::debug!(%error, "part file not removed");
            }
        }
        // Parts of an earlier run that this one never opened.
        for entry in std::mem::take(&mut self.before).into_keys() {
            let size = self
                .record
                .entries
                .get(entry as usize)
                .map_or(0, |e| e.size);
            if let Ok(part) = self.layout.part(entry, size) {
                let _ = part.discard();
            }
        }
    }
}
