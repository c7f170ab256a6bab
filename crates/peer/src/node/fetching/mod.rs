//! A fetch at work: one thread verifies and writes, another makes durable and gives names.
//!
//! ```text
//! lane → queue → verify, write, hash → (sync thread) checkpoint → Durable
//!                └ complete, compare → (sync thread) name       → Finished
//! ```
//! A file is hashed as a whole while its chunks arrive in order; what came in another order, or in
//! an earlier life of the process, is read back before the file gets its name.

mod open;
mod placed;
mod sync;
mod worker;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kith_core::input::{FetchNews, Input};
use kith_core::record::{FetchKey, FetchRecord};
use kith_protocol::LinkId;
use kith_protocol::ids::Digest;
use kith_protocol::ranges::RangeSet;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::sync::Syncs;
use super::faults::refusal;
use super::lanes::{Lanes, Queued, QueuedHashes, Taker};
use super::layout::Layout;
use super::parts::Parts;
use super::tasks::Tasks;
use crate::disk::{self, DiskError};

/// How often the worker is reminded of the time.
const TICK: Duration = Duration::from_millis(250);

/// What a fetch is told.
pub(crate) enum FetchMessage {
    /// Chunks from the lane.
    Chunks(Vec<Queued>),
    /// What chunks must hash to, or whole files.
    Hashes(QueuedHashes),
    /// What comes now is of this transfer, from who offers, or from somebody who passes it on: what
    /// the hashes of all files hash to.
    From(u32, Option<Digest>),
    /// Some time has passed.
    Tick,
    /// The whole-file hash of an entry.
    Expect(u32, Digest),
    /// From the sync thread: these have their names, or how that failed.
    Named(Vec<u32>, Result<(), DiskError>),
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
    /// Of all fetches.
    pub parts: Parts,
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
        let syncs = Syncs::start(messages.downgrade(), &report, tasks);
        let ticks = messages.downgrade();
        tasks.spawn("fetch ticks", tick(ticks, tasks.token().clone()));
        tasks.spawn_blocking("fetch", move || worker::run(start, queue, syncs, report));
        Fetching {
            taker: Taker::new(messages.clone()),
            messages,
            lanes: lanes.clone(),
            attached: None,
            sources: Vec::new(),
        }
    }

    /// Takes the frames of `transfer` on `link` from who offers, and no others of theirs; or from who
    /// passes it on, with what the hashes of all files must hash to.
    pub fn attach(&mut self, link: LinkId, transfer: u32, root: Option<Digest>) {
        self.detach();
        let _ = self.messages.send(FetchMessage::From(transfer, root));
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

    /// Takes nothing from who offers, or passes it on, until the next [`Fetching::attach`].
    pub fn detach(&mut self) {
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
    let mut every = tokio::time::interval(TICK);
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
