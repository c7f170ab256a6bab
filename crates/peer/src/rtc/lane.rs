//! The channel `files` as its two users see it: one end queues, the other pulls.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Mutex, mpsc};

use super::channel::Channel;
use super::error::RtcError;

/// File frames to and from one peer, reliable and ordered. Clones share one lane, so that a
/// sending and a receiving task each hold one.
///
/// Both directions are bounded. [`Lane::send`] waits while the channel holds
/// [`SEND_QUEUE_BYTES`](super::SEND_QUEUE_BYTES) that the other end has not acknowledged. A
/// reader that stops calling [`Lane::recv`] fills the lane's short queue, and then the connection
/// receives nothing more, `messages` included: a reader that knows that it will be slow has the
/// sender wait by other means.
#[derive(Clone)]
pub struct Lane {
    channel: Channel,
    /// Locked across waits, by whoever reads; there is one reader at a time by construction.
    incoming: Arc<Mutex<mpsc::Receiver<Bytes>>>,
}

impl Lane {
    pub(super) fn new(channel: Channel, incoming: mpsc::Receiver<Bytes>) -> Self {
        Self {
            channel,
            incoming: Arc::new(Mutex::new(incoming)),
        }
    }

    /// Queues `frame`, waiting while the lane is full. A frame that is the only holder of its
    /// bytes is not copied here.
    ///
    /// # Errors
    ///
    /// [`RtcError::TooLarge`] over [`MAX_MESSAGE_BYTES`](super::MAX_MESSAGE_BYTES),
    /// [`RtcError::Closed`] when the connection is gone.
    pub async fn send(&self, frame: Bytes) -> Result<(), RtcError> {
        self.channel.send(frame).await
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
