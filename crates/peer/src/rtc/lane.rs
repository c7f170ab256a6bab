//! The channel `files` as its two users see it: one end queues, the other pulls.

use std::sync::{Arc, Mutex as SyncMutex, PoisonError};

use bytes::Bytes;
use futures::future::select_all;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::Instant;

use super::error::RtcError;
use super::spread::Spread;
use super::strand::Strand;
use super::tuning::LEFT_ALONE;

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
    /// When a chunk last went over one of them.
    used: Option<Instant>,
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
        let others = self.in_use();
        let waited = if others.is_empty() {
            let waited = self.first.room(len).await?;
            self.first.send_at_once(frame).await?;
            waited
        } else {
            let all: Vec<_> = std::iter::once(&self.first).chain(&others).collect();
            let rooms = all.iter().map(|s| Box::pin(s.room(len)));
            let (room, which, _) = select_all(rooms).await;
            if which > 0 {
                self.more(|m| m.used = Some(Instant::now()));
            }
            let waited = room?;
            // Of those that it came from.
            let Some(strand) = all.get(which) else {
                return Err(RtcError::Closed);
            };
            strand.send_at_once(frame).await?;
            waited
        };
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

    /// How many strands beside the first would make chunks go faster; each value once.
    pub fn strands_wanted(&self) -> watch::Receiver<u8> {
        self.outgoing.wanted.subscribe()
    }

    /// Chunks may go over `strand` too, for as long as it is held.
    pub(super) fn add(&self, strand: Arc<Strand>) {
        let now = self.outgoing.begun.elapsed();
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

    /// Strands beside the first that chunks take now.
    fn in_use(&self) -> Vec<Arc<Strand>> {
        self.more(|m| {
            let used = m.spread.used();
            m.strands.iter().take(used).cloned().collect()
        })
    }

    /// Counts a chunk, and asks for more strands when it is time.
    fn went(&self, len: usize, waited: bool) {
        let now = self.outgoing.begun.elapsed();
        let path = self.first.flow(|flow, _| flow.shortest());
        let (wanted, changed) = self.more(|m| {
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
        let others = self.in_use();
        let each = self.outgoing.most / (others.len() + 1);
        self.first.bound(each);
        others.iter().for_each(|strand| strand.bound(each));
    }

    fn more<T>(&self, f: impl FnOnce(&mut More) -> T) -> T {
        f(&mut self
            .outgoing
            .more
            .lock()
            .unwrap_or_else(PoisonError::into_inner))
    }
}
