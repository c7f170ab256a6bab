//! Who reads what from the file lanes.
//!
//! A lane carries the frames of all transfers of a link. One task per link reads it and hands
//! chunks to fetch workers by transfer number; acknowledgements refill the windows of serve
//! workers on their way to the core.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kith_core::input::{Input, LinkNews};
use kith_protocol::frame::{self, Chunk, Frame, FrameError, Hashes};
use kith_protocol::ranges::RangeSet;
use kith_protocol::{Code, LinkId, PeerId, RoomId, limits};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::fetching::FetchMessage;
use crate::disk::SourceEntry;
use crate::rtc::Lane;

/// What a sender may have on the way before the receiver says it is durable, as
/// [`weight`]s. Wide enough that a disk's sync does not stop the sender.
pub(crate) const WINDOW: u32 = 192 * weight(limits::CHUNK);

/// As much waits in memory for a fetch's disk: all that the other side may send unasked, so that a
/// slow disk never makes the lane, and with it the messages, wait.
const QUEUE: u32 = WINDOW;

/// As much again from all other holders of what is fetched: no more is asked of them at a time.
const OTHERS: u32 = 192 * weight(limits::CHUNK);

/// Frames of hashes that wait for a fetch; each is 64 KiB at most.
const HASHES: usize = 32;

/// Frames that are taken from a lane at once.
const TOGETHER: usize = 32;

/// What a chunk takes of a window and of memory, in KiB: its payload, and one for what goes with it.
pub(crate) const fn weight(payload: usize) -> u32 {
    // `min` is not for constants.
    let longer = payload > limits::CHUNK;
    let payload = if longer { limits::CHUNK } else { payload };
    payload.div_ceil(1024) as u32 + 1
}

/// What these chunks of a file take.
fn weight_of(size: u64, ranges: &RangeSet) -> u64 {
    let all = ranges.count().saturating_mul(weight(limits::CHUNK).into());
    let last = frame::chunks(size).saturating_sub(1);
    let short = weight(limits::CHUNK) - weight(frame::chunk_len(size, last) as usize);
    if ranges.contains(last) {
        all.saturating_sub(short.into())
    } else {
        all
    }
}

/// A chunk and its place in the fetch's queue.
pub(crate) struct Queued {
    pub chunk: Chunk,
    /// Link and number of the holder that it came from, unless it is who offers.
    pub source: Option<(LinkId, u32)>,
    turn: u64,
    turns: Arc<AtomicU64>,
    _place: OwnedSemaphorePermit,
    _window: OwnedSemaphorePermit,
}

impl Queued {
    /// Whether the fetch has moved to another link since. What was not durable then is sent again
    /// there.
    pub fn is_stale(&self) -> bool {
        self.turn != self.turns.load(Ordering::Acquire)
    }
}

/// Hashes and their place in the fetch's queue.
pub(crate) struct QueuedHashes {
    pub hashes: Hashes,
    _place: OwnedSemaphorePermit,
}

/// Who takes the chunks of one fetch, over whichever link.
#[derive(Clone)]
pub(crate) struct Taker {
    worker: mpsc::UnboundedSender<FetchMessage>,
    /// Memory for chunks, shared by the links that one after the other carry the fetch …
    places: Arc<Semaphore>,
    /// … and by all other holders' …
    others: Arc<Semaphore>,
    /// … and for hashes.
    hashes: Arc<Semaphore>,
    /// Counts those links.
    turns: Arc<AtomicU64>,
}

impl Taker {
    pub fn new(worker: mpsc::UnboundedSender<FetchMessage>) -> Self {
        Taker {
            worker,
            places: semaphore(QUEUE),
            others: semaphore(OTHERS),
            hashes: Arc::new(Semaphore::new(HASHES)),
            turns: Arc::default(),
        }
    }
}

/// The lanes of a node and who uses them. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Lanes {
    /// Locked for moments only: link tasks, workers and the core's driver meet here.
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    lanes: HashMap<LinkId, Lane>,
    routes: HashMap<(LinkId, u32), Route>,
    windows: HashMap<(LinkId, u32), Window>,
}

/// The window of a serve.
struct Window {
    free: Arc<Semaphore>,
    source: Arc<[SourceEntry]>,
}

#[derive(Clone)]
struct Route {
    taker: Taker,
    /// Another holder's, not that of who offers.
    source: bool,
    turn: u64,
    /// What may be on the way over this link: an honest sender never has more.
    window: Arc<Semaphore>,
    gone: CancellationToken,
}

impl Lanes {
    pub fn add(&self, link: LinkId, lane: Lane) {
        self.with(|i| i.lanes.insert(link, lane));
    }

    /// The link is gone: nothing is read from or written to its lane any more.
    pub fn remove(&self, link: LinkId) {
        self.with(|i| {
            i.lanes.remove(&link);
            i.routes.retain(|(l, _), route| {
                if *l == link {
                    route.gone.cancel();
                }
                *l != link
            });
            i.windows.retain(|(l, _), window| {
                if *l == link {
                    window.free.close();
                }
                *l != link
            });
        });
    }

    pub fn get(&self, link: LinkId) -> Option<Lane> {
        self.with(|i| i.lanes.get(&link).cloned())
    }

    /// Chunks of `transfer` go to `taker`.
    pub fn attach(&self, link: LinkId, transfer: u32, taker: &Taker) {
        let turn = taker.turns.fetch_add(1, Ordering::AcqRel) + 1;
        self.add_route(link, transfer, taker.clone(), turn, false);
    }

    /// Chunks of `transfer`, which another holder sends, go to `taker` too.
    pub fn attach_source(&self, link: LinkId, transfer: u32, taker: &Taker) {
        let taker = Taker {
            places: Arc::clone(&taker.others),
            turns: Arc::default(),
            ..taker.clone()
        };
        self.add_route(link, transfer, taker, 0, true);
    }

    fn add_route(&self, link: LinkId, transfer: u32, taker: Taker, turn: u64, source: bool) {
        let route = Route {
            taker,
            source,
            turn,
            window: semaphore(WINDOW),
            gone: CancellationToken::new(),
        };
        self.with(|i| i.routes.insert((link, transfer), route));
    }

    pub fn detach(&self, link: LinkId, transfer: u32) {
        if let Some(route) = self.with(|i| i.routes.remove(&(link, transfer))) {
            route.gone.cancel();
        }
    }

    /// The window of a serve of these files; places are taken by [`weight`].
    pub fn window(
        &self,
        link: LinkId,
        transfer: u32,
        source: &Arc<[SourceEntry]>,
    ) -> Arc<Semaphore> {
        let free = semaphore(WINDOW);
        let window = Window {
            free: Arc::clone(&free),
            source: Arc::clone(source),
        };
        let before = self.with(|i| i.windows.insert((link, transfer), window));
        if let Some(before) = before {
            // The receiver gave one number to two transfers: whoever waits there waits in vain.
            before.free.close();
        }
        free
    }

    /// Ends a serve's window; another serve's under the same number stays.
    pub fn close_window(&self, link: LinkId, transfer: u32, window: &Arc<Semaphore>) {
        window.close();
        self.with(|i| {
            let at = (link, transfer);
            if i.windows
                .get(&at)
                .is_some_and(|w| Arc::ptr_eq(&w.free, window))
            {
                i.windows.remove(&at);
            }
        });
    }

    /// These chunks of a serve are no longer on the way: they are durable there, or did not come
    /// right and are asked for again. Without the latter their places would be lost for good.
    pub fn arrived(&self, link: LinkId, transfer: u32, entry: u32, ranges: &RangeSet) {
        self.with(|i| {
            if let Some(window) = i.windows.get(&(link, transfer)) {
                window.arrived(entry, ranges);
            }
        });
    }

    /// The same of these whole files, of one chunk each.
    pub fn arrived_whole(&self, link: LinkId, transfer: u32, entries: &RangeSet) {
        let chunk = RangeSet::full(1);
        let entries = entries.ranges().iter().flat_map(|&(a, b)| a..b);
        self.with(|i| {
            let Some(window) = i.windows.get(&(link, transfer)) else {
                return;
            };
            for entry in entries.filter_map(|e| u32::try_from(e).ok()) {
                window.arrived(entry, &chunk);
            }
        });
    }

    fn route(&self, link: LinkId, transfer: u32) -> Option<Route> {
        self.with(|i| i.routes.get(&(link, transfer)).cloned())
    }

    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Window {
    fn arrived(&self, entry: u32, ranges: &RangeSet) {
        let Some(file) = self.source.get(entry as usize) else {
            return;
        };
        // What is named twice, or was never sent, must not widen the window.
        let room = (WINDOW as usize).saturating_sub(self.free.available_permits());
        let weight = usize::try_from(weight_of(file.size, ranges)).unwrap_or(usize::MAX);
        self.free.add_permits(weight.min(room));
    }
}

fn semaphore(places: u32) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(places as usize))
}

/// Reads a lane until it closes.
pub(crate) async fn read(
    lanes: Lanes,
    lane: Lane,
    (room, peer, link): (RoomId, PeerId, LinkId),
    inputs: mpsc::Sender<Input>,
) {
    let news = |news| {
        inputs.send(Input::Link {
            room,
            peer,
            link,
            news,
        })
    };
    let mut heard = Instant::now();
    let mut frames = Vec::with_capacity(TOGETHER);
    let mut unexpected = 0u64;
    while lane.recv_many(&mut frames, TOGETHER).await > 0 {
        if heard.elapsed() >= Duration::from_secs(1) {
            heard = Instant::now();
            if news(LinkNews::Heard).await.is_err() {
                return;
            }
        }
        let mut batch = Batch::default();
        for frame in frames.drain(..).flat_map(frame::parse) {
            match frame {
                Ok(Frame::Chunk(chunk)) => {
                    if batch.transfer != Some(chunk.transfer) {
                        batch.deliver();
                        batch.transfer = Some(chunk.transfer);
                        batch.route = lanes.route(link, chunk.transfer);
                    }
                    let Some(route) = &batch.route else {
                        // What a cancelled fetch had on the way, or a peer's mistake.
                        unexpected += 1;
                        tracing::trace!(chunk.transfer, unexpected, "chunk of no transfer");
                        continue;
                    };
                    let weight = weight(chunk.payload.len());
                    let window = Arc::clone(&route.window).try_acquire_many_owned(weight);
                    let Ok(window) = window else {
                        tracing::warn!(%peer, "more chunks than the window allows");
                        let _ = news(LinkNews::Broken(Code::PeerProtocol)).await;
                        return;
                    };
                    if route.taker.places.available_permits() < weight as usize {
                        // The worker must see what there is before it can make room.
                        batch.deliver();
                    }
                    let Some(route) = &batch.route else { continue };
                    let place = tokio::select! {
                        place = Arc::clone(&route.taker.places).acquire_many_owned(weight) => {
                            place.ok()
                        }
                        () = route.gone.cancelled() => None,
                    };
                    if let Some(place) = place {
                        let source = route.source.then_some((link, chunk.transfer));
                        batch.chunks.push(Queued {
                            chunk,
                            source,
                            turn: route.turn,
                            turns: Arc::clone(&route.taker.turns),
                            _place: place,
                            _window: window,
                        });
                    }
                }
                Ok(Frame::Hashes(hashes)) => {
                    let route = lanes.route(link, hashes.transfer).filter(|r| !r.source);
                    let Some(route) = route else {
                        continue;
                    };
                    let place = tokio::select! {
                        place = Arc::clone(&route.taker.hashes).acquire_owned() => place.ok(),
                        () = route.gone.cancelled() => None,
                    };
                    if let Some(place) = place {
                        let hashes = QueuedHashes {
                            hashes,
                            _place: place,
                        };
                        let _ = route.taker.worker.send(FetchMessage::Hashes(hashes));
                    }
                }
                Ok(Frame::Ack(ack)) => {
                    lanes.arrived(link, ack.transfer, ack.entry, &ack.ranges);
                    let (transfer, entry, ranges) = (ack.transfer, ack.entry, ack.ranges);
                    if news(LinkNews::Ack {
                        transfer,
                        entry,
                        ranges,
                    })
                    .await
                    .is_err()
                    {
                        return;
                    }
                }
                Ok(Frame::Padding(_)) => {}
                Err(FrameError::Kind(kind)) => tracing::debug!(kind, "frame of a kind not known"),
                Err(error) => {
                    tracing::warn!(%peer, %error, "frame refused");
                    let _ = news(LinkNews::Broken(Code::PeerProtocol)).await;
                    return;
                }
            }
        }
        batch.deliver();
    }
}

/// Chunks of one transfer on their way to its worker. Handed over together: waking a thread for
/// every chunk costs as much as a fifth of its hashing.
#[derive(Default)]
struct Batch {
    transfer: Option<u32>,
    route: Option<Route>,
    chunks: Vec<Queued>,
}

impl Batch {
    fn deliver(&mut self) {
        let chunks = std::mem::take(&mut self.chunks);
        if let (Some(route), false) = (&self.route, chunks.is_empty()) {
            // A worker that has ended takes nothing more.
            let _ = route.taker.worker.send(FetchMessage::Chunks(chunks));
        }
    }
}

const _: () = assert!(
    (QUEUE + OTHERS) as usize * 1024 + HASHES * limits::CHUNK <= 32 * 1024 * 1024,
    "memory a fetch may hold"
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{EntryKind, ModTime};

    #[test]
    fn chunks_that_are_asked_for_again_give_their_places_back() {
        let (lanes, link) = (Lanes::default(), LinkId([1; 8]));
        let chunk = limits::CHUNK as u64;
        let file = |size| SourceEntry {
            wire_path: "f".into(),
            real: "f".into(),
            kind: EntryKind::File,
            size,
            mode: 0o600,
            mtime: ModTime::default(),
        };
        let source: Arc<[SourceEntry]> = [file(1000 * chunk), file(5 * chunk + 1)].into();
        let window = lanes.window(link, 1, &source);
        let whole = window.try_acquire_many(WINDOW);
        whole.expect("a window that is all free").forget();
        let mut free = 0;
        let mut arrives = |transfer, entry, (from, to), weight: u32| {
            let mut ranges = RangeSet::new();
            ranges.insert(from, to);
            lanes.arrived(link, transfer, entry, &ranges);
            free += weight;
            assert_eq!(
                window.available_permits(),
                free as usize,
                "{transfer} {entry}"
            );
        };
        arrives(2, 0, (0, 100), 0);
        arrives(1, 2, (0, 100), 0);
        arrives(1, 0, (0, 100), 6500);
        arrives(1, 1, (0, 5), 325);
        arrives(1, 1, (4, 6), 65 + 2);
        // And no more than there are.
        arrives(1, 0, (0, u64::MAX), WINDOW - 6500 - 325 - 67);
    }
}
