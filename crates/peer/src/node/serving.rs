//! A serve at work: one thread reads and hashes, one task sends.
//!
//! ```text
//! disk → reader thread (chunk hash, file hash, frame) → batches → sender task → lane
//! ```
//! Two batches wait between them, so that the disk and the network work at the same time while
//! memory stays bounded. The window bounds what the receiver has not yet made durable.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kith_core::input::{Input, ServeKey, ServeNews};
use kith_protocol::frame::HEADER;
use kith_protocol::ids::Digest;
use kith_protocol::ranges::RangeSet;
use kith_protocol::{Code, LinkId};
use tokio::sync::{Semaphore, mpsc, watch};

use super::batch::{Batch, Message};
use super::hashing::OfferHashes;
use super::lanes::{Lanes, weight};
use super::pacing::{Bound, Gate};
use super::reading::{Reader, Wants};
use super::tasks::Tasks;
use super::vouching::OfferRoots;
use crate::disk::SourceEntry;
use crate::rtc::Lane;

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

/// What the reader hands to the sender.
pub(super) enum Item {
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
        let lanes = &self.lanes;
        self.wants.push(entry, ranges, |ranges| {
            lanes.arrived(self.link, self.transfer, entry, ranges);
        });
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.lanes
            .close_window(self.link, self.transfer, &self.window);
        self.wants.close();
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

/// The serve was stopped.
pub(super) struct Stopped;
