//! A thread that owns the writes, so that nobody else waits for the disk.
//!
//! A durable write costs about as much for one job as for many, therefore the thread takes
//! everything that waits (up to [`Writer::BATCH`] jobs), makes it durable with one flush, and
//! reports. While it flushes, the next batch gathers by itself.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use kith_core::record::Put;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::{Store, StoreError};

/// What became of jobs; every job is reported exactly once, in the order of submission.
#[derive(Debug)]
pub enum Report {
    /// These are durable.
    Done(Vec<u64>),
    /// None of these is known to be durable. With [`StoreError::DiskFull`] nothing was changed
    /// and they may be submitted again.
    Failed {
        /// The jobs.
        jobs: Vec<u64>,
        /// Why.
        error: StoreError,
    },
}

/// The queue is full; here is the job back.
#[derive(Debug, thiserror::Error)]
#[error("the store is behind: its queue is full")]
pub struct QueueFull(pub Vec<Put>);

/// The writer has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store's writer has ended")]
pub struct WriterGone;

struct Job {
    id: u64,
    puts: Vec<Put>,
}

/// The way to the writing thread. Dropping it waits until everything submitted is reported.
#[derive(Debug)]
pub struct Writer {
    queue: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Most jobs made durable with one flush.
    pub const BATCH: usize = 256;
    /// Most jobs that wait.
    pub const QUEUE: usize = 1024;

    /// Starts the thread. `report` is called on it; one that blocks holds up the writes.
    pub fn start(
        store: Arc<Store>,
        report: impl FnMut(Report) + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, jobs) = mpsc::channel(Self::QUEUE);
        let thread = std::thread::Builder::new()
            .name("kith-store".into())
            .spawn(move || run(&store, jobs, report))?;
        Ok(Writer {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Hands over a job without waiting. `id` is the caller's and comes back in a [`Report`].
    ///
    /// [`QueueFull`] gives the changes back: where [`Writer::QUEUE`] jobs wait already, or the
    /// thread is gone.
    pub fn try_submit(&self, id: u64, puts: Vec<Put>) -> Result<(), QueueFull> {
        let Some(queue) = &self.queue else {
            return Err(QueueFull(puts));
        };
        queue.try_send(Job { id, puts }).map_err(|e| match e {
            TrySendError::Full(job) | TrySendError::Closed(job) => QueueFull(job.puts),
        })
    }

    /// Hands over a job, waiting for a place in the queue.
    pub async fn submit(&self, id: u64, puts: Vec<Put>) -> Result<(), WriterGone> {
        let queue = self.queue.as_ref().ok_or(WriterGone)?;
        queue.send(Job { id, puts }).await.map_err(|_| WriterGone)
    }

    /// Writes and reports everything submitted, then ends the thread. Blocks meanwhile, as does
    /// dropping a `Writer`; call it where that is allowed.
    pub fn close(mut self) -> Result<(), WriterGone> {
        self.end()
    }

    fn end(&mut self) -> Result<(), WriterGone> {
        self.queue = None;
        match self.thread.take() {
            Some(thread) => thread.join().map_err(|_| WriterGone),
            None => Ok(()),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.end().is_err() {
            tracing::error!("the store's writer panicked");
        }
    }
}

fn run(store: &Store, mut queue: mpsc::Receiver<Job>, mut report: impl FnMut(Report)) {
    let mut jobs = Vec::with_capacity(Writer::BATCH);
    while queue.blocking_recv_many(&mut jobs, Writer::BATCH) > 0 {
        let (ids, puts): (Vec<u64>, Vec<Vec<Put>>) =
            jobs.drain(..).map(|job| (job.id, job.puts)).unzip();
        match store.apply(&puts) {
            Ok(()) => report(Report::Done(ids)),
            Err(error) => {
                tracing::error!(%error, jobs = ids.len(), "the store could not write");
                report(Report::Failed { jobs: ids, error });
            }
        }
    }
}
