//! A serve's files, read and hashed in the order in which they are to go out.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kith_protocol::frame::{self, Frame, HEADER};
use kith_protocol::ids::Digest;
use kith_protocol::ranges::RangeSet;
use kith_protocol::{Code, limits, voucher};
use tokio::sync::{Notify, mpsc};

use super::batch::{Batch, framed};
use super::faults::source_code;
use super::hashing::{Next, OfferHashes, Place};
use super::serving::{Item, Plan, Stopped, Way};
use super::vouching::OF_FOLDER;
use crate::disk::{DiskError, EntryKind, SourceEntry, SourceReader};

/// Ranges that may wait; a receiver that asks for more at once asks again later.
const MOST_WANTS: usize = 1024;

/// Chunks asked for again.
#[derive(Default)]
pub(super) struct Wants {
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
    /// Adds some, if there is room; `taken` is called before the reader can see them.
    pub fn push(&self, entry: u32, ranges: RangeSet, taken: impl FnOnce(&RangeSet)) {
        let mut queue = self.lock();
        if queue.ranges.len() < MOST_WANTS {
            taken(&ranges);
            queue.ranges.push_back((entry, ranges));
            self.more.notify_one();
        }
    }

    /// Nothing is wanted any more.
    pub fn close(&self) {
        self.lock().closed = true;
        self.more.notify_one();
    }

    fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn lock(&self) -> MutexGuard<'_, WantQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread's part of a serve.
pub(super) struct Reader {
    pub plan: Plan,
    pub wants: Arc<Wants>,
    pub items: mpsc::Sender<Item>,
    pub handle: tokio::runtime::Handle,
}

impl Reader {
    /// Reads and hands over until there is nothing more, or the serve is stopped.
    pub fn run(&mut self) {
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
        self.wants.lock().ranges.pop_front()
    }

    fn wait_wanted(&self) -> Option<(u32, RangeSet)> {
        self.handle.block_on(async {
            loop {
                let more = self.wants.more.notified();
                {
                    let mut queue = self.wants.lock();
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
