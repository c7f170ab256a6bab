//! The channel `files` as its two users see it: one end queues, the other pulls.

use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, timeout_at};

use super::channel::Channel;
use super::error::RtcError;
use super::flow::{Flow, Turn};
use super::nudge::Nudge;

/// Who waits for acknowledgements looks for them this often at least.
const LOOK: Duration = Duration::from_millis(50);

/// File frames to and from one peer, reliable and ordered. Clones share one lane, so that a
/// sending and a receiving task each hold one.
///
/// Both directions are bounded. [`Lane::send`] waits while as much is on its way as the path holds
/// without standing in queues, at most [`SEND_QUEUE_BYTES`](super::SEND_QUEUE_BYTES). A reader that stops calling [`Lane::recv`] fills the lane's short queue, and then the connection
/// receives nothing more, `messages` included: a reader that knows that it will be slow has the
/// sender wait by other means.
#[derive(Clone)]
pub struct Lane {
    channel: Channel,
    /// Locked across waits, by whoever reads; there is one reader at a time by construction.
    incoming: Arc<Mutex<mpsc::Receiver<Bytes>>>,
    outgoing: Arc<Outgoing>,
}

/// What all senders of a lane share.
struct Outgoing {
    /// Locked for moments only, never across a wait.
    flow: SyncMutex<Flow>,
    begun: Instant,
    nudge: Arc<Nudge>,
    /// Locked across waits: senders take turns.
    turn: Mutex<()>,
}

impl Lane {
    /// A lane on which at most `most` bytes are on their way.
    pub(super) fn new(
        channel: Channel,
        incoming: mpsc::Receiver<Bytes>,
        nudge: Arc<Nudge>,
        most: usize,
    ) -> Self {
        Self {
            channel,
            incoming: Arc::new(Mutex::new(incoming)),
            outgoing: Arc::new(Outgoing {
                flow: SyncMutex::new(Flow::new(most, Duration::ZERO)),
                begun: Instant::now(),
                nudge,
                turn: Mutex::default(),
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
        self.room(frame.len()).await?;
        self.send_at_once(frame).await
    }

    /// Queues a small `frame` for which nobody else's has to make room, as those of bulk do.
    ///
    /// # Errors
    ///
    /// As [`Lane::send`].
    pub async fn send_at_once(&self, frame: Bytes) -> Result<(), RtcError> {
        let len = frame.len();
        self.channel.send(frame).await?;
        self.flow(|flow, now| flow.sent(len, now));
        Ok(())
    }

    /// While `on`, bulk leaves queues even shorter, for a voice that must be quick.
    pub fn yield_to_call(&self, on: bool) {
        self.flow(|flow, _| flow.yield_to_call(on));
    }

    /// Waits until `len` more bytes may be on their way.
    async fn room(&self, len: usize) -> Result<(), RtcError> {
        if self.flow(|flow, now| flow.ask(len, now)) == Turn::Now {
            return Ok(());
        }
        let mut watched = false;
        loop {
            // Asked for before looking, so that nothing is missed in between.
            let dealt = self.outgoing.nudge.dealt();
            let queued = self.queued_bytes().await?;
            let turn = self.flow(|flow, now| {
                flow.under_way(queued, watched, now);
                flow.ask(len, now)
            });
            let until = match turn {
                Turn::Now => return Ok(()),
                Turn::At(at) => self.outgoing.begun + at,
                Turn::Wait => Instant::now() + LOOK,
            };
            if timeout_at(until, dealt).await.is_err() {
                // What is closed would say for good how much it holds.
                self.channel.check_open().await?;
            }
            watched = true;
        }
    }

    fn flow<T>(&self, f: impl FnOnce(&mut Flow, Duration) -> T) -> T {
        let mut flow = self
            .outgoing
            .flow
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        f(&mut flow, self.outgoing.begun.elapsed())
    }

    /// The next frame, in the order of sending; `None` once the channel is closed.
    pub async fn recv(&self) -> Option<Bytes> {
        self.incoming.lock().await.recv().await
    }

    /// The next frames, as many as wait but at most `most`, appended to `frames`; how many they
    /// are, 0 once the channel is closed.
    pub async fn recv_many(&self, frames: &mut Vec<Bytes>, most: usize) -> usize {
        self.incoming.lock().await.recv_many(frames, most).await
    }

    /// Bytes queued and not yet acknowledged by the other end.
    ///
    /// # Errors
    ///
    /// [`RtcError::Closed`] when the connection is gone.
    pub async fn queued_bytes(&self) -> Result<usize, RtcError> {
        self.channel.queued_bytes().await
    }
}
