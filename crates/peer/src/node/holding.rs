//! What we fetch, or fetched, served to another receiver of the same offer.

use std::sync::Arc;

use bytes::Bytes;
use kith_core::input::{HoldKey, HoldNews, Input};
use kith_core::record::FetchRecord;
use kith_protocol::frame::HEADER;
use kith_protocol::ranges::RangeSet;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::batch::framed;
use super::layout;
use super::pacing::{Bound, Gate};
use super::tasks::Tasks;
use crate::disk::{DiskError, HeldFile};
use crate::rtc::Lane;

/// Chunks that are read together.
const BATCH: u64 = 16;
/// Questions that may wait. An honest receiver has no more than a few under way.
const MOST_WANTS: usize = 256;

/// The handle of a hold at work; dropping it stops it.
pub(crate) struct Holding {
    wants: mpsc::Sender<Want>,
    _held: watch::Sender<bool>,
    _stop: DropGuard,
}

struct Want {
    entry: u32,
    ranges: RangeSet,
    name: Option<String>,
}

impl Holding {
    /// Starts the task. What it sends obeys the bound, which it shares with others.
    pub fn start(
        (key, run): (HoldKey, u32),
        (lane, transfer): (Lane, u32),
        record: Arc<FetchRecord>,
        up: Bound,
        tasks: &Tasks,
        inputs: mpsc::Sender<Input>,
    ) -> Self {
        let (wants, queue) = mpsc::channel(MOST_WANTS);
        let stop = CancellationToken::new();
        let (gate, held) = Gate::new(vec![up]);
        let holder = Holder {
            lane,
            gate,
            transfer,
            record,
            open: None,
        };
        let stopped = stop.clone();
        tasks.spawn("hold", async move {
            tokio::select! {
                () = holder.run(queue, (key, run), inputs) => {}
                () = stopped.cancelled() => {}
            }
        });
        Holding {
            wants,
            _held: held,
            _stop: stop.drop_guard(),
        }
    }

    /// Sends these, after what is under way. Who asks for too much at once asks again later.
    pub fn want(&self, entry: u32, ranges: RangeSet, name: Option<String>) {
        let _ = self.wants.try_send(Want {
            entry,
            ranges,
            name,
        });
    }
}

struct Holder {
    lane: Lane,
    gate: Gate,
    transfer: u32,
    record: Arc<FetchRecord>,
    /// The file that was read last.
    open: Option<(u32, Arc<HeldFile>)>,
}

impl Holder {
    async fn run(
        mut self,
        mut queue: mpsc::Receiver<Want>,
        (key, run): (HoldKey, u32),
        inputs: mpsc::Sender<Input>,
    ) {
        let news = |news| inputs.send(Input::Hold(key, run, news));
        while let Some(want) = queue.recv().await {
            for &(first, end) in want.ranges.ranges() {
                for from in (first..end).step_by(BATCH as usize) {
                    let to = end.min(from + BATCH);
                    let frames = match self.read(&want, from, to).await {
                        Ok(frames) => frames,
                        Err(error) => {
                            tracing::info!(%error, "what was fetched cannot be served on");
                            let _ = news(HoldNews::Failed).await;
                            return;
                        }
                    };
                    let bytes: usize = frames.iter().map(|f| f.len() - HEADER).sum();
                    for frame in frames {
                        let passed = self.gate.pass(frame.len() as u64).await;
                        if passed.is_err() || self.lane.send_chunk(frame).await.is_err() {
                            return;
                        }
                    }
                    if news(HoldNews::Sent(bytes as u64)).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn read(&mut self, want: &Want, from: u64, to: u64) -> Result<Vec<Bytes>, DiskError> {
        let (entry, transfer) = (want.entry, self.transfer);
        let known = self.open.take().filter(|(e, _)| *e == entry);
        let (record, name) = (Arc::clone(&self.record), want.name.clone());
        let read = move || {
            let file = match known {
                Some((_, file)) => file,
                None => Arc::new(layout::held(&record, entry, name.as_deref())?),
            };
            let mut frames = Vec::with_capacity((to - from) as usize);
            for index in from..to {
                let chunk = file.read_chunk(index, HEADER)?;
                frames.push(framed(transfer, entry, index, chunk));
            }
            Ok((file, frames))
        };
        match tokio::task::spawn_blocking(read).await {
            Ok(Ok((file, frames))) => {
                self.open = Some((entry, file));
                Ok(frames)
            }
            Ok(Err(error)) => Err(error),
            // The runtime ends.
            Err(_) => Ok(Vec::new()),
        }
    }
}
