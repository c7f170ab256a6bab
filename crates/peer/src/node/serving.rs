//! A serve at work: one thread reads and hashes, one task sends.
//!
//! ```text
//! disk → reader thread (chunk hash, file hash, frame) → batches → sender task → lane
//! ```
//! Two batches wait between them, so that the disk and the network work at the same time while
//! memory stays bounded. The window bounds what the receiver has not yet made durable.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use kith_core::input::{Input, ServeKey, ServeNews};
use kith_protocol::frame::{self, Frame, HEADER};
use kith_protocol::ids::Digest;
use kith_protocol::ranges::RangeSet;
use kith_protocol::{Code, LinkId, limits, voucher};
use tokio::sync::{Notify, Semaphore, mpsc, watch};

use super::faults::source_code;
use super::hashing::{Next, OfferHashes, Place};
use super::lanes::{Lanes, weight};
use super::pacing::{Bound, Gate};
use super::tasks::Tasks;
use super::vouching::{OF_FOLDER, OfferRoots};
use crate::disk::{ChunkRead, DiskError, EntryKind, SourceEntry, SourceReader};
use crate::rtc::Lane;

/// Bytes that are read before they are sent together …
const BATCH: usize = 16 * limits::CHUNK;
/// … and chunks and ends of files, where they are small.
const BATCH_PARTS: usize = 64;
/// Batches that wait for the lane.
const BATCHES: usize = 2;

/// What to send.
pub(crate) struct Plan {
    pub key: ServeKey,
    pub run: u32,
    pub link: LinkId,
    pub transfer: u32,
    pub source: Arc<[SourceEntry]>,
    /// Entries the receiver has whole.
    pub done: RangeSet,
    /// Chunks the receiver has of others.
    pub have: BTreeMap<u32, RangeSet>,
    pub way: Way,
    /// Where the hashes of whole files are noted, of an offer of ours.
    pub roots: Option<Arc<OfferRoots>>,
}

/// What the receiver gets, and in which order.
pub(crate) enum Way {
    /// Everything it lacks, from the beginning on.
    Push,
    /// Hashes of everything, and chunks as they are wanted.
    Pull(Arc<OfferHashes>),
    /// The hashes of all files, which must be what was vouched for, and then as with `Push`.
    PassOn(Arc<OfferHashes>, Digest),
}

/// The handle of a serve at work; dropping it stops the serve.
pub(crate) struct Serving {
    wants: Arc<Wants>,
    lanes: Lanes,
    link: LinkId,
    transfer: u32,
    window: Arc<Semaphore>,
    hold: watch::Sender<bool>,
    pace: Bound,
}

/// Chunks asked for again.
#[derive(Default)]
struct Wants {
    /// Locked for moments only, by the core's driver and the reader.
    queue: Mutex<WantQueue>,
    more: Notify,
}

#[derive(Default)]
struct WantQueue {
    ranges: VecDeque<(u32, RangeSet)>,
    closed: bool,
}

impl Wants {
    fn is_closed(&self) -> bool {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.closed
    }
}

/// Ranges that may wait; a receiver that asks for more at once asks again later.
const MOST_WANTS: usize = 1024;

enum Item {
    Batch(Batch),
    Hashes(Bytes),
    Failed(Code),
}

impl Serving {
    /// Starts the thread and the task.
    /// What is sent obeys `bounds`, which it shares with others.
    pub fn start(
        plan: Plan,
        mut bounds: Vec<Bound>,
        lanes: &Lanes,
        tasks: &Tasks,
        inputs: mpsc::Sender<Input>,
    ) -> Self {
        let pace = Bound::new(None);
        bounds.push(pace.clone());
        let (gate, hold) = Gate::new(bounds);
        let wants = Arc::new(Wants::default());
        let (items, queue) = mpsc::channel(BATCHES);
        // Made here, not by the task: a stop may come before the task's first step.
        let window = lanes.window(plan.link, plan.transfer, &plan.source);
        let serving = Serving {
            wants: Arc::clone(&wants),
            lanes: lanes.clone(),
            link: plan.link,
            transfer: plan.transfer,
            window: Arc::clone(&window),
            hold,
            pace,
        };
        let sender = Sender {
            key: plan.key,
            run: plan.run,
            lane: lanes.get(plan.link),
            window: match plan.way {
                Way::Push | Way::PassOn(..) => Some(window),
                Way::Pull(_) => None,
            },
            gate,
            inputs,
        };
        tasks.spawn("serve", sender.run(queue));
        let handle = tokio::runtime::Handle::current();
        tasks.spawn_blocking("serve reader", move || {
            let mut reader = Reader {
                plan,
                wants,
                items,
                handle,
            };
            reader.run();
        });
        serving
    }

    /// Sends nothing from now on, or goes on.
    pub fn hold(&self, held: bool) {
        self.hold.send_replace(held);
    }

    /// Sends so much at most, in bytes per second.
    pub fn pace(&self, most: Option<u64>) {
        self.pace.set(most);
    }

    /// These files, of one chunk each, are whole at the receiver.
    pub fn arrived_whole(&self, entries: &RangeSet) {
        self.lanes.arrived_whole(self.link, self.transfer, entries);
    }

    /// Sends these (again) after what is under way.
    pub fn want(&self, entry: u32, ranges: RangeSet) {
        let mut queue = self
            .wants
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if queue.ranges.len() < MOST_WANTS {
            self.lanes.arrived(self.link, self.transfer, entry, &ranges);
            queue.ranges.push_back((entry, ranges));
            self.wants.more.notify_one();
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.lanes
            .close_window(self.link, self.transfer, &self.window);
        self.wants
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .closed = true;
        self.wants.more.notify_one();
    }
}

struct Sender {
    key: ServeKey,
    run: u32,
    lane: Option<Lane>,
    /// `None`: the core wants no more than has room.
    window: Option<Arc<Semaphore>>,
    gate: Gate,
    inputs: mpsc::Sender<Input>,
}

impl Sender {
    async fn run(mut self, mut queue: mpsc::Receiver<Item>) {
        let Some(lane) = self.lane.take() else {
            return;
        };
        while let Some(item) = queue.recv().await {
            match item {
                Item::Batch(batch) => {
                    if self.send(&lane, batch).await.is_err() {
                        return;
                    }
                }
                Item::Hashes(frame) => {
                    if lane.send(frame).await.is_err() {
                        return;
                    }
                }
                Item::Failed(code) => {
                    self.news(ServeNews::Failed(code)).await;
                    return;
                }
            }
        }
    }

    async fn send(&mut self, lane: &Lane, batch: Batch) -> Result<(), Stopped> {
        // Said first: the acknowledgement must not overtake it.
        if !batch.sent.is_empty() {
            self.news(ServeNews::Sent(batch.sent)).await;
        }
        let mut message = Message::default();
        for frame in batch.frames {
            if let Some(window) = self.window.clone() {
                let weight = weight(frame.len().saturating_sub(HEADER));
                let place = match window.try_acquire_many(weight) {
                    Ok(place) => place,
                    Err(_) => {
                        // What makes room may be what waits here.
                        self.pass(lane, message.take()).await?;
                        window.acquire_many(weight).await.map_err(|_| Stopped)?
                    }
                };
                place.forget();
            }
            if !message.has_room_for(&frame) {
                self.pass(lane, message.take()).await?;
            }
            message.push(frame);
        }
        self.pass(lane, message.take()).await?;
        for (entry, hash) in batch.read {
            self.news(ServeNews::EntryRead { entry, hash }).await;
        }
        Ok(())
    }

    async fn pass(&mut self, lane: &Lane, message: Option<Bytes>) -> Result<(), Stopped> {
        let Some(message) = message else {
            return Ok(());
        };
        let passed = self.gate.pass(message.len() as u64).await;
        passed.map_err(|_| Stopped)?;
        lane.send_chunk(message).await.map_err(|_| Stopped)
    }

    async fn news(&self, news: ServeNews) {
        let _ = self
            .inputs
            .send(Input::Serve(self.key, self.run, news))
            .await;
    }
}

/// Frames that go together, so that small files do not cost a message each.
#[derive(Default)]
struct Message {
    frames: Vec<Bytes>,
    len: usize,
}

impl Message {
    fn has_room_for(&self, frame: &Bytes) -> bool {
        self.len + frame.len() <= HEADER + limits::MAX_FRAME_PAYLOAD
    }

    fn push(&mut self, frame: Bytes) {
        self.len += frame.len();
        self.frames.push(frame);
    }

    /// All of them, if there are any. One alone is not copied.
    fn take(&mut self) -> Option<Bytes> {
        self.len = 0;
        let mut frames = std::mem::take(&mut self.frames);
        if frames.len() > 1 {
            return Some(frames.concat().into());
        }
        frames.pop()
    }
}

/// The frame of a chunk that was read behind the place of its header, so that it is never copied.
pub(super) fn framed(transfer: u32, entry: u32, index: u64, chunk: ChunkRead) -> Bytes {
    let ChunkRead { mut frame, digest } = chunk;
    let len = frame.len().saturating_sub(HEADER) as u32;
    frame::put_chunk_header(&mut frame[..HEADER], transfer, entry, index, len, &digest.0);
    frame.into()
}

/// The serve was stopped.
struct Stopped;

struct Reader {
    plan: Plan,
    wants: Arc<Wants>,
    items: mpsc::Sender<Item>,
    handle: tokio::runtime::Handle,
}

impl Reader {
    fn run(&mut self) {
        let source = Arc::clone(&self.plan.source);
        if let Way::Pull(hashes) = &self.plan.way {
            let hashes = Arc::clone(hashes);
            return self.serve_wanted(&source, &hashes);
        }
        if let Way::PassOn(hashes, root) = &self.plan.way {
            let (hashes, root) = (Arc::clone(hashes), *root);
            if self.send_roots(&source, &hashes, root).is_err() {
                return;
            }
        }
        let mut batch = Batch::default();
        for (entry, file) in (0u32..).zip(source.iter()) {
            if file.kind == EntryKind::Dir || self.plan.done.contains(entry.into()) {
                continue;
            }
            if self.stopped() {
                return;
            }
            let have = self.plan.have.remove(&entry).unwrap_or_default();
            match self.send_entry(entry, file, &have, &mut batch) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    // The files before it are whole.
                    let _ = self.send(&mut batch);
                    return self.fail(file, &error);
                }
                Err(Stopped) => return,
            }
            while let Some((entry, ranges)) = self.wanted() {
                if self.send_wanted(&source, entry, &ranges).is_err() {
                    return;
                }
            }
        }
        if self.send(&mut batch).is_err() {
            return;
        }
        // Everything is sent; what arrives damaged may still be asked for.
        while let Some((entry, ranges)) = self.wait_wanted() {
            if self.send_wanted(&source, entry, &ranges).is_err() {
                return;
            }
        }
    }

    /// Hashes as they are known, and between them what is wanted.
    fn serve_wanted(&mut self, source: &[SourceEntry], hashes: &OfferHashes) {
        let mut at = Place::default();
        let mut left = true;
        while !self.stopped() {
            let more = hashes.more();
            let want = self.wanted();
            if let Some((entry, ranges)) = &want
                && self.send_wanted(source, *entry, ranges).is_err()
            {
                return;
            }
            let next = if left {
                hashes.next(&mut at, &self.plan.done)
            } else {
                Next::Wait
            };
            let sent = match next {
                Next::Page(entry, first, hashes) => {
                    let page = Frame::Hashes(frame::Hashes {
                        transfer: self.plan.transfer,
                        entry,
                        first,
                        hashes,
                    });
                    let page = Item::Hashes(page.to_bytes());
                    self.items.blocking_send(page).map_err(|_| Stopped)
                }
                Next::Root(entry, hash) => {
                    self.note(entry, hash);
                    let mut batch = Batch::default();
                    batch.read.push((entry, hash));
                    self.send(&mut batch)
                }
                Next::Failed(code) => {
                    let _ = self.items.blocking_send(Item::Failed(code));
                    return;
                }
                Next::End => {
                    left = false;
                    Ok(())
                }
                Next::Wait => {
                    if want.is_none() {
                        self.handle.block_on(async {
                            tokio::select! {
                                () = more => {}
                                () = self.wants.more.notified() => {}
                                () = self.items.closed() => {}
                            }
                        });
                    }
                    Ok(())
                }
            };
            if sent.is_err() || self.wants.is_closed() {
                return;
            }
        }
    }

    fn note(&self, entry: u32, root: Digest) {
        if let Some(roots) = &self.plan.roots {
            roots.note(entry, root);
        }
    }

    /// What all files hash to, once that is known to be what was vouched for.
    fn send_roots(
        &mut self,
        source: &[SourceEntry],
        hashes: &OfferHashes,
        vouched: Digest,
    ) -> Result<(), Stopped> {
        let mut roots = vec![OF_FOLDER; source.len()];
        let mut at = Place::default();
        let failed = loop {
            let more = hashes.more();
            match hashes.next(&mut at, &RangeSet::new()) {
                Next::Page(..) => {}
                Next::Root(entry, root) => {
                    if let Some(place) = roots.get_mut(entry as usize) {
                        *place = root;
                    }
                }
                Next::Failed(code) => break Some(code),
                Next::End => break None,
                Next::Wait => self.handle.block_on(async {
                    tokio::select! {
                        () = more => {}
                        () = self.items.closed() => {}
                    }
                }),
            }
            if self.stopped() {
                return Err(Stopped);
            }
        };
        let changed = (voucher::root(&roots) != vouched).then_some(Code::SourceChanged);
        if let Some(code) = failed.or(changed) {
            tracing::info!(code = code.name(), "what was fetched cannot be passed on");
            let _ = self.items.blocking_send(Item::Failed(code));
            return Err(Stopped);
        }
        for (first, some) in (0u64..)
            .step_by(limits::MAX_HASHES)
            .zip(roots.chunks(limits::MAX_HASHES))
        {
            let hashes: Vec<u8> = some.iter().flat_map(|root| root.0).collect();
            let page = Frame::Hashes(frame::Hashes {
                transfer: self.plan.transfer,
                entry: frame::ROOTS,
                first,
                hashes: hashes.into(),
            });
            let page = Item::Hashes(page.to_bytes());
            self.items.blocking_send(page).map_err(|_| Stopped)?;
        }
        Ok(())
    }

    fn send_entry(
        &mut self,
        entry: u32,
        file: &SourceEntry,
        have: &RangeSet,
        batch: &mut Batch,
    ) -> Result<Result<(), DiskError>, Stopped> {
        let mut reader = match SourceReader::open(file) {
            Ok(reader) => reader,
            Err(error) => return Ok(Err(error)),
        };
        // The hash of its only chunk says all of a file, so nothing is said of it after that.
        let mut only = None;
        while reader.next_chunk() < reader.chunks() {
            let first = reader.next_chunk();
            let row = match reader.read_row(HEADER) {
                Ok(row) => row,
                Err(error) => return Ok(Err(error)),
            };
            if self.stopped() {
                return Err(Stopped);
            }
            // What the receiver has is read for the file's hash alone.
            for (index, chunk) in (first..).zip(row).filter(|(i, _)| !have.contains(*i)) {
                let frame = framed(self.plan.transfer, entry, index, chunk);
                if reader.chunks() == 1 {
                    only = Some(frame);
                } else {
                    batch.push(entry, index, frame);
                }
            }
            if batch.is_full() {
                self.send(batch)?;
            }
        }
        match (reader.finish(), only) {
            (Ok(hash), only) => {
                self.note(entry, hash);
                match only {
                    Some(frame) => batch.push(entry, 0, frame),
                    None => batch.read.push((entry, hash)),
                }
            }
            (Err(error), _) => return Ok(Err(error)),
        }
        if batch.is_full() {
            self.send(batch)?;
        }
        Ok(Ok(()))
    }

    fn send_wanted(
        &mut self,
        source: &[SourceEntry],
        entry: u32,
        ranges: &RangeSet,
    ) -> Result<(), Stopped> {
        let Some(file) = source.get(entry as usize) else {
            return Ok(());
        };
        let reader = match SourceReader::open(file) {
            Ok(reader) => reader,
            Err(error) => {
                self.fail(file, &error);
                return Err(Stopped);
            }
        };
        let mut batch = Batch::default();
        for index in ranges.ranges().iter().flat_map(|&(a, b)| a..b) {
            match reader.read_again(index, HEADER) {
                Ok(chunk) => {
                    let frame = framed(self.plan.transfer, entry, index, chunk);
                    batch.push(entry, index, frame);
                }
                Err(error) => {
                    self.fail(file, &error);
                    return Err(Stopped);
                }
            }
            if batch.is_full() {
                self.send(&mut batch)?;
            }
        }
        self.send(&mut batch)
    }

    /// Hands over what was read, if there is anything.
    fn send(&self, batch: &mut Batch) -> Result<(), Stopped> {
        let batch = std::mem::take(batch);
        if batch.parts() == 0 {
            return Ok(());
        }
        let item = Item::Batch(batch);
        self.items.blocking_send(item).map_err(|_| Stopped)
    }

    fn fail(&self, file: &SourceEntry, error: &DiskError) {
        let code = source_code(error);
        tracing::warn!(code = code.name(), "a file to send cannot be read");
        tracing::trace!(file = %file.real.display(), %error, "source failed");
        let _ = self.items.blocking_send(Item::Failed(code));
    }

    fn stopped(&self) -> bool {
        self.items.is_closed()
    }

    fn wanted(&self) -> Option<(u32, RangeSet)> {
        let mut queue = self
            .wants
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        queue.ranges.pop_front()
    }

    fn wait_wanted(&self) -> Option<(u32, RangeSet)> {
        self.handle.block_on(async {
            loop {
                let more = self.wants.more.notified();
                {
                    let mut queue = self
                        .wants
                        .queue
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner);
                    if queue.closed {
                        return None;
                    }
                    if let Some(want) = queue.ranges.pop_front() {
                        return Some(want);
                    }
                }
                tokio::select! {
                    () = more => {}
                    () = self.items.closed() => return None,
                }
            }
        })
    }
}

/// What was read and is sent together.
#[derive(Default)]
struct Batch {
    frames: Vec<Bytes>,
    bytes: usize,
    /// Chunks of the frames, by entry.
    sent: Vec<(u32, RangeSet)>,
    /// Files that were read to their end, and their hashes.
    read: Vec<(u32, Digest)>,
}

impl Batch {
    fn push(&mut self, entry: u32, index: u64, frame: Bytes) {
        if self.sent.last().is_none_or(|(last, _)| *last != entry) {
            self.sent.push((entry, RangeSet::new()));
        }
        if let Some((_, ranges)) = self.sent.last_mut() {
            ranges.insert(index, index + 1);
        }
        self.bytes += frame.len();
        self.frames.push(frame);
    }

    fn parts(&self) -> usize {
        self.frames.len() + self.read.len()
    }

    fn is_full(&self) -> bool {
        self.bytes >= BATCH || self.parts() >= BATCH_PARTS
    }
}
