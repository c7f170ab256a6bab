//! The channel `files` as its two users see it: one end queues, the other pulls.

use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::select_all;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::Instant;

use super::error::RtcError;
use super::spread::{FAR, Spread};
use super::strand::Strand;
use super::tuning::{LEFT_ALONE, WIDE_PATH, WORTH_WIDE};

/// File frames to and from one peer, reliable. Clones share one lane, so that a sending and a
/// receiving task each hold one.
///
/// Frames go over the connection of the link and come in order, but for chunks, which may take other
/// connections beside it, *strands*, and overtake one another.
///
/// Both directions are bounded. [`Lane::send`] waits while as much is on its way as the path holds
/// without standing in queues, at most [`SEND_QUEUE_BYTES`](super::SEND_QUEUE_BYTES), over all
/// strands. A reader that stops calling [`Lane::recv`] fills the lane's short queue, and then the
/// connection receives nothing more, `messages` included: a reader that knows that it will be slow
/// has the sender wait by other means.
#[derive(Clone)]
pub struct Lane {
    /// Locked across waits, by whoever reads; there is one reader at a time by construction.
    incoming: Arc<Mutex<mpsc::Receiver<Bytes>>>,
    /// For what comes over other strands.
    entrance: mpsc::WeakSender<Bytes>,
    first: Arc<Strand>,
    outgoing: Arc<Outgoing>,
}

/// What all senders of a lane share.
struct Outgoing {
    begun: Instant,
    /// Locked across waits: senders take turns.
    turn: Mutex<()>,
    /// Locked for moments only.
    more: SyncMutex<More>,
    wanted: watch::Sender<u8>,
    /// Bytes that may be on their way, over all strands.
    most: usize,
}

/// Strands beside the first.
struct More {
    strands: Vec<Arc<Strand>>,
    spread: Spread,
    wide: Wide,
    /// When a chunk last went over one of them.
    used: Option<Instant>,
}

/// Whether a wide strand is worth having.
#[derive(Default)]
struct Wide {
    /// The first hop of the path carries wide packets.
    path: bool,
    /// Bytes of chunks that went without one.
    sent: u64,
    asked: bool,
}

impl Lane {
    /// A lane over `first`, on which at most `most` bytes are on their way. What comes is put in
    /// through `entrance`.
    pub(super) fn new(
        first: Arc<Strand>,
        incoming: mpsc::Receiver<Bytes>,
        entrance: &mpsc::Sender<Bytes>,
        most: usize,
    ) -> Self {
        Self {
            incoming: Arc::new(Mutex::new(incoming)),
            entrance: entrance.downgrade(),
            first,
            outgoing: Arc::new(Outgoing {
                begun: Instant::now(),
                turn: Mutex::default(),
                more: SyncMutex::new(More {
                    strands: Vec::new(),
                    spread: Spread::new(),
                    wide: Wide::default(),
                    used: None,
                }),
                wanted: watch::Sender::new(0),
                most,
            }),
        }
    }

    /// Queues `frame`, waiting while the lane is full, in turn with other senders. A frame that is
    /// the only holder of its bytes is not copied here.
    ///
    /// # Errors
    ///
    /// [`RtcError::TooLarge`] over [`MAX_MESSAGE_BYTES`](super::MAX_MESSAGE_BYTES),
    /// [`RtcError::Closed`] when the connection is gone.
    pub async fn send(&self, frame: Bytes) -> Result<(), RtcError> {
        let _turn = self.outgoing.turn.lock().await;
        self.first.room(frame.len()).await?;
        self.first.send_at_once(frame).await
    }

    /// Queues a `frame` that need not come in order, on the strand that has room first.
    ///
    /// # Errors
    ///
    /// As [`Lane::send`].
    pub async fn send_chunk(&self, frame: Bytes) -> Result<(), RtcError> {
        let _turn = self.outgoing.turn.lock().await;
        let len = frame.len();
        let ways = self.ways();
        let rooms = ways.iter().map(|way| Box::pin(way.room(len)));
        let (room, which, _) = select_all(rooms).await;
        let waited = room?;
        // Of those that it came from.
        let Some(way) = ways.get(which) else {
            return Err(RtcError::Closed);
        };
        if !Arc::ptr_eq(way, &self.first) {
            self.more(|m| m.used = Some(Instant::now()));
        }
        way.send_at_once(frame).await?;
        self.went(len, waited);
        Ok(())
    }

    /// Queues a small `frame` for which nobody else's has to make room, as those of bulk do.
    ///
    /// # Errors
    ///
    /// As [`Lane::send`].
    pub async fn send_at_once(&self, frame: Bytes) -> Result<(), RtcError> {
        self.first.send_at_once(frame).await
    }

    /// While `on`, bulk leaves queues even shorter, for a voice that must be quick.
    pub fn yield_to_call(&self, on: bool) {
        self.first.flow(|flow, _| flow.yield_to_call(on));
        for strand in self.more(|m| m.strands.clone()) {
            strand.flow(|flow, _| flow.yield_to_call(on));
        }
    }

    /// The path of the link's own connection has a first hop that carries packets of `mtu` bytes.
    pub fn on_path(&self, mtu: Option<u32>) {
        self.more(|m| m.wide.path = mtu >= Some(WIDE_PATH));
    }

    /// Whether a strand is to be wide.
    pub(super) fn is_wide(&self) -> bool {
        self.more(|m| m.wide.path)
    }

    /// How many strands beside the first would make chunks go faster; each value once.
    pub fn strands_wanted(&self) -> watch::Receiver<u8> {
        self.outgoing.wanted.subscribe()
    }

    /// Chunks may go over `strand` too, for as long as it is held.
    pub(super) fn add(&self, strand: Arc<Strand>) {
        let now = self.outgoing.begun.elapsed();
        if strand.is_wide() {
            // In place of the first, not beside it.
            let allowance = self.first.flow(|flow, _| flow.allowance());
            strand.flow(|flow, _| flow.begin_with(allowance));
        }
        self.more(|m| {
            m.strands.push(strand);
            m.spread.opened(m.strands.len(), now);
        });
        self.share();
    }

    /// No chunk goes over `strand` any more; says whether one that did may not have arrived.
    pub(super) async fn remove(&self, strand: &Arc<Strand>) -> bool {
        let (was, used) = self.more(|m| {
            let before = m.strands.len();
            m.strands.retain(|s| !Arc::ptr_eq(s, strand));
            m.spread.lost(m.strands.len());
            (before > m.strands.len(), m.used)
        });
        self.share();
        let idle = used.is_none_or(|at| at.elapsed() >= LEFT_ALONE);
        was && !(idle && strand.queued_bytes().await.unwrap_or(0) == 0)
    }

    /// Where what comes over a strand is put in; `None` once the link is closed.
    pub(super) fn entrance(&self) -> Option<mpsc::Sender<Bytes>> {
        self.entrance.upgrade()
    }

    /// The next frame; `None` once the channel is closed.
    pub async fn recv(&self) -> Option<Bytes> {
        self.incoming.lock().await.recv().await
    }

    /// The next frames, as many as wait but at most `most`, appended to `frames`; how many they
    /// are, 0 once the channel is closed.
    pub async fn recv_many(&self, frames: &mut Vec<Bytes>, most: usize) -> usize {
        self.incoming.lock().await.recv_many(frames, most).await
    }

    /// Bytes queued on the link's own connection and not yet acknowledged by the other end.
    ///
    /// # Errors
    ///
    /// [`RtcError::Closed`] when the connection is gone.
    pub async fn queued_bytes(&self) -> Result<usize, RtcError> {
        self.first.queued_bytes().await
    }

    /// What chunks take now, at least one: the wide strand alone, if there is one, as each packet of
    /// another costs as much for less.
    fn ways(&self) -> Vec<Arc<Strand>> {
        self.more(|m| {
            let wide = m.strands.iter().filter(|s| s.is_wide());
            let wide: Vec<_> = wide.cloned().collect();
            if !wide.is_empty() {
                return wide;
            }
            let others = m.strands.iter().take(m.spread.used());
            std::iter::once(&self.first)
                .chain(others)
                .cloned()
                .collect()
        })
    }

    /// Counts a chunk, and asks for more strands when it is time.
    fn went(&self, len: usize, waited: bool) {
        let now = self.outgoing.begun.elapsed();
        let path = self.first.flow(|flow, _| flow.shortest());
        let (wanted, changed) = self.more(|m| {
            if m.strands.iter().any(|s| s.is_wide()) {
                return (None, false);
            }
            if m.wide.is_wanted(len, path) {
                return (Some(1), false);
            }
            let before = m.spread.used();
            let wanted = m.spread.sent(len, waited, path, now);
            (wanted, before != m.spread.used())
        });
        if changed {
            self.share();
        }
        if let Some(wanted) = wanted {
            self.outgoing.wanted.send_replace(wanted);
        }
    }

    /// Divides the bytes that may be on their way among the strands in use.
    fn share(&self) {
        let ways = self.ways();
        let each = self.outgoing.most / ways.len();
        ways.iter().for_each(|way| way.bound(each));
    }

    fn more<T>(&self, f: impl FnOnce(&mut More) -> T) -> T {
        f(&mut self
            .outgoing
            .more
            .lock()
            .unwrap_or_else(PoisonError::into_inner))
    }
}

impl Wide {
    /// Whether it is time for a wide strand, said once; `len` bytes more went over a path that takes so
    /// long at best. A strand has a small window, which is too little for one that is far.
    fn is_wanted(&mut self, len: usize, path: Option<Duration>) -> bool {
        self.sent += len as u64;
        let near = path.is_some_and(|path| path < FAR);
        let wanted = self.path && near && !self.asked && self.sent >= WORTH_WIDE;
        self.asked |= wanted;
        wanted
    }
}
