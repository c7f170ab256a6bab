//! The sending half of a data channel, and the task that reads it.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::{Barrier, mpsc};
use webrtc::data_channel::{DataChannel, DataChannelEvent, RTCDataChannelInit};
use webrtc::peer_connection::PeerConnection;

use super::error::RtcError;
use super::event::{ChannelLabel, RtcEvent};
use super::nudge::Nudge;
use super::tuning::{MAX_MESSAGE_BYTES, PRESENCE_QUEUE_BYTES};

/// One of the three negotiated channels.
#[derive(Clone)]
pub(super) struct Channel {
    label: ChannelLabel,
    inner: Arc<dyn DataChannel>,
}

impl Channel {
    /// Declares the channel on `peer`, without any word to the other end (RFC 8832 section 4
    /// leaves negotiated channels to the application).
    pub(super) async fn declare(
        peer: &dyn PeerConnection,
        label: ChannelLabel,
    ) -> Result<Self, RtcError> {
        let (name, id) = label.name_and_id();
        let reliable = match label {
            ChannelLabel::Messages | ChannelLabel::Files => true,
            ChannelLabel::Presence => false,
        };
        let init = RTCDataChannelInit {
            ordered: reliable,
            max_retransmits: (!reliable).then_some(0),
            negotiated: Some(id),
            ..RTCDataChannelInit::default()
        };
        let inner = peer
            .create_data_channel(name, Some(init))
            .await
            .map_err(|error| RtcError::Setup(error.to_string()))?;
        Ok(Self { label, inner })
    }

    /// Queues `message`, waiting while the channel holds its bound of unacknowledged bytes.
    pub(super) async fn send(&self, message: Bytes) -> Result<(), RtcError> {
        check_size(&message)?;
        self.inner
            .send(into_mut(message))
            .await
            .map_err(|error| self.closed(&error))
    }

    /// Queues `message` unless [`PRESENCE_QUEUE_BYTES`] are waiting; says whether it did.
    pub(super) async fn send_unless_busy(&self, message: Bytes) -> Result<bool, RtcError> {
        check_size(&message)?;
        if self.queued_bytes().await? > PRESENCE_QUEUE_BYTES {
            return Ok(false);
        }
        self.inner
            .send(into_mut(message))
            .await
            .map_err(|error| self.closed(&error))?;
        Ok(true)
    }

    /// Bytes handed over and not yet acknowledged by the other end.
    pub(super) async fn queued_bytes(&self) -> Result<usize, RtcError> {
        self.inner
            .outstanding_bytes()
            .await
            .map_err(|error| self.closed(&error))
    }

    /// [`RtcError::Closed`] when the connection is gone. Waits while the channel holds its bound.
    pub(super) async fn check_open(&self) -> Result<(), RtcError> {
        self.inner
            .writable()
            .await
            .map_err(|error| self.closed(&error))
    }

    fn closed(&self, error: &webrtc::error::Error) -> RtcError {
        tracing::debug!(label = %self.label, %error, "not sent");
        RtcError::Closed
    }
}

/// The reading half of a channel; its one reader holds it.
pub(super) struct Reader {
    channel: Channel,
    nudge: Arc<Nudge>,
    /// A message that came before the word that the channel is open.
    first: Option<Bytes>,
}

/// How long one wait for our reader may keep the connection from receiving anything at all.
const LONGEST_WAIT: Duration = Duration::from_millis(200);
/// Bytes that it receives after the first such wait.
const FIRST_RELIEF: usize = 128 * 1024;

impl Drop for Reader {
    fn drop(&mut self) {
        self.nudge.away(self.channel.label);
    }
}

impl Reader {
    pub(super) fn new(channel: Channel, nudge: Arc<Nudge>) -> Self {
        Self {
            channel,
            nudge,
            first: None,
        }
    }

    /// Reads until the channel opens; false when it closes instead.
    async fn opened(&mut self) -> bool {
        while let Some(event) = self.next_event().await {
            match event {
                DataChannelEvent::OnOpen => return true,
                // A channel that both ends declared can carry something before the driver has
                // said that it is open: the other end was quicker. It must not be lost.
                DataChannelEvent::OnMessage(message) => {
                    self.first = Some(message.data.freeze());
                    return true;
                }
                DataChannelEvent::OnClose => return false,
                // None of them opens it; the enum is open.
                DataChannelEvent::OnError
                | DataChannelEvent::OnClosing
                | DataChannelEvent::OnBufferedAmountLow
                | DataChannelEvent::OnBufferedAmountHigh
                | _ => {}
            }
        }
        false
    }

    /// The next message; `None` once the channel is closed.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        while let Some(event) = self.next_event().await {
            match event {
                DataChannelEvent::OnMessage(message) => return Some(message.data.freeze()),
                DataChannelEvent::OnClose => return None,
                DataChannelEvent::OnError => {
                    tracing::debug!(label = %self.channel.label, "channel error");
                }
                // Thresholds are not set, closing ends in closed; the enum is open.
                DataChannelEvent::OnOpen
                | DataChannelEvent::OnClosing
                | DataChannelEvent::OnBufferedAmountLow
                | DataChannelEvent::OnBufferedAmountHigh
                | _ => {}
            }
        }
        None
    }

    /// The next event, and word to the driver's gate of what was taken or not found.
    async fn next_event(&mut self) -> Option<DataChannelEvent> {
        let label = self.channel.label;
        let event = loop {
            let (round, look_again) = self.nudge.round();
            let mut event = self.channel.inner.poll();
            if let Poll::Ready(event) = futures::poll!(&mut event) {
                break event;
            }
            self.nudge.idle(label, round);
            tokio::select! {
                event = event => break event,
                () = look_again => {}
            }
        };
        let bytes = match &event {
            Some(DataChannelEvent::OnMessage(message)) => message.data.len(),
            Some(_) | None => 0,
        };
        self.nudge.took(label, bytes);
        event
    }

    /// Waits for all channels to open. Meanwhile nobody waits for this one.
    async fn all_open(&self, barrier: &Barrier) {
        self.nudge.away(self.channel.label);
        barrier.wait().await;
    }

    /// Waits for room. What the driver may unpack meanwhile is bounded; but acknowledgements wait
    /// as well, ours and theirs, so more and more is let through: in a second, a window.
    async fn hand_over<T>(
        &self,
        queue: &mpsc::Sender<T>,
        item: T,
    ) -> Result<(), mpsc::error::SendError<()>> {
        let mut bytes = FIRST_RELIEF;
        let permit = loop {
            match tokio::time::timeout(LONGEST_WAIT, queue.reserve()).await {
                Ok(permit) => break permit?,
                Err(_) => self.nudge.relent(bytes),
            }
            bytes = bytes.saturating_mul(2);
        };
        permit.send(item);
        Ok(())
    }
}

/// Reads `messages` into the events, waiting for the reader: the other end waits too.
pub(super) async fn pump_messages(
    mut reader: Reader,
    all_open: Arc<Barrier>,
    events: mpsc::Sender<RtcEvent>,
) {
    if reader.opened().await {
        reader.all_open(&all_open).await;
        if events.send(RtcEvent::ChannelsOpen).await.is_err() {
            return;
        }
        while let Some(message) = reader.next().await {
            let sent = match events.try_send(RtcEvent::Message(message)) {
                Ok(()) => continue,
                Err(mpsc::error::TrySendError::Full(event)) => {
                    reader.hand_over(&events, event).await
                }
                Err(mpsc::error::TrySendError::Closed(_)) => return,
            };
            if sent.is_err() {
                return;
            }
        }
    }
    let label = reader.channel.label;
    drop(reader);
    report_closed(label, &events).await;
}

/// Reads `presence` into the events, dropping what does not fit: a newer beat follows.
pub(super) async fn pump_presence(
    mut reader: Reader,
    all_open: Arc<Barrier>,
    events: mpsc::Sender<RtcEvent>,
) {
    if reader.opened().await {
        reader.all_open(&all_open).await;
        while let Some(beat) = reader.next().await {
            if events.try_send(RtcEvent::Presence(beat)).is_err() {
                tracing::trace!("presence beat dropped");
            }
        }
    }
    let label = reader.channel.label;
    drop(reader);
    report_closed(label, &events).await;
}

/// Reads `files` into the lane, waiting for its reader as [`pump_messages`] does.
pub(super) async fn pump_files(
    mut reader: Reader,
    all_open: Arc<Barrier>,
    lane: mpsc::Sender<Bytes>,
    events: mpsc::Sender<RtcEvent>,
) {
    if reader.opened().await {
        reader.all_open(&all_open).await;
        while let Some(frame) = reader.next().await {
            let sent = match lane.try_send(frame) {
                Ok(()) => continue,
                Err(mpsc::error::TrySendError::Full(frame)) => reader.hand_over(&lane, frame).await,
                Err(mpsc::error::TrySendError::Closed(_)) => return,
            };
            if sent.is_err() {
                return;
            }
        }
    }
    drop(lane);
    let label = reader.channel.label;
    drop(reader);
    report_closed(label, &events).await;
}

async fn report_closed(label: ChannelLabel, events: &mpsc::Sender<RtcEvent>) {
    // Nobody listening is nobody to tell.
    let _ = events.send(RtcEvent::ChannelClosed { label }).await;
}

fn check_size(message: &Bytes) -> Result<(), RtcError> {
    if message.len() > MAX_MESSAGE_BYTES {
        return Err(RtcError::TooLarge {
            size: message.len(),
            limit: MAX_MESSAGE_BYTES,
        });
    }
    Ok(())
}

/// The crate takes a mutable buffer; a message that nobody else holds is handed over as it is.
fn into_mut(message: Bytes) -> BytesMut {
    message
        .try_into_mut()
        .unwrap_or_else(|shared| BytesMut::from(&shared[..]))
}
