//! The sending half of one connection's channel `files`, under its flow controller.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use kith_protocol::frame::Frame;
use tokio::time::{Instant, timeout, timeout_at};

use super::channel::Channel;
use super::error::RtcError;
use super::flow::{Flow, Turn};
use super::nudge::Nudge;
use super::tuning::PROBE;

/// Who waits for acknowledgements looks for them this often at least.
const LOOK: Duration = Duration::from_millis(50);

/// One connection's way for frames.
pub(super) struct Strand {
    channel: Channel,
    /// Locked for moments only, never across a wait.
    flow: Mutex<Flow>,
    begun: Instant,
    nudge: Arc<Nudge>,
    /// Bytes that may be on their way, however few strands there are.
    most: usize,
    /// Whether its packets are larger than every path carries.
    wide: bool,
}

impl Strand {
    /// A strand on which at most `most` bytes are on their way.
    pub(super) fn new(channel: Channel, nudge: Arc<Nudge>, most: usize, wide: bool) -> Self {
        Self {
            channel,
            flow: Mutex::new(Flow::new(most, Duration::ZERO)),
            begun: Instant::now(),
            nudge,
            most,
            wide,
        }
    }

    pub(super) fn is_wide(&self) -> bool {
        self.wide
    }

    /// Whether wide packets get through. As long as that is not known nothing may go over the strand:
    /// a packet that the path drops is sent anew as it is, for ever.
    pub(super) async fn passes_wide(&self) -> bool {
        let (len, time) = PROBE;
        let acknowledged = async {
            self.channel.send(Frame::Padding(len).to_bytes()).await?;
            loop {
                let dealt = self.nudge.dealt();
                if self.queued_bytes().await? == 0 {
                    return Ok::<_, RtcError>(());
                }
                let _ = timeout(LOOK, dealt).await;
            }
        };
        matches!(timeout(time, acknowledged).await, Ok(Ok(())))
    }

    /// At most `most` bytes are on their way from now on.
    pub(super) fn bound(&self, most: usize) {
        self.flow(|flow, _| flow.bound(most.min(self.most)));
    }

    /// Queues `frame`, whether there is room or not.
    pub(super) async fn send_at_once(&self, frame: Bytes) -> Result<(), RtcError> {
        let len = frame.len();
        self.channel.send(frame).await?;
        self.flow(|flow, now| flow.sent(len, now));
        Ok(())
    }

    /// Waits until `len` more bytes may be on their way; says whether it had to. May be given up at
    /// any time.
    pub(super) async fn room(&self, len: usize) -> Result<bool, RtcError> {
        if self.flow(|flow, now| flow.ask(len, now)) == Turn::Now {
            return Ok(false);
        }
        let mut watched = false;
        loop {
            // Asked for before looking, so that nothing is missed in between.
            let dealt = self.nudge.dealt();
            let queued = self.queued_bytes().await?;
            let turn = self.flow(|flow, now| {
                flow.under_way(queued, watched, now);
                flow.ask(len, now)
            });
            let until = match turn {
                Turn::Now => return Ok(true),
                Turn::At(at) => self.begun + at,
                Turn::Wait => Instant::now() + LOOK,
            };
            if timeout_at(until, dealt).await.is_err() {
                // What is closed would say for good how much it holds.
                self.channel.check_open().await?;
            }
            watched = true;
        }
    }

    /// Bytes queued and not yet acknowledged by the other end.
    pub(super) async fn queued_bytes(&self) -> Result<usize, RtcError> {
        self.channel.queued_bytes().await
    }

    pub(super) fn flow<T>(&self, f: impl FnOnce(&mut Flow, Duration) -> T) -> T {
        let mut flow = self.flow.lock().unwrap_or_else(PoisonError::into_inner);
        f(&mut flow, self.begun.elapsed())
    }
}
