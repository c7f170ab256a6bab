//! The thread that makes durable what was written, and gives complete files their names.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kith_core::input::{FetchNews, Refusal};
use kith_protocol::ranges::RangeSet;
use tokio::sync::mpsc;

use super::{FetchMessage, Report};
use crate::disk::{DiskError, Naming, PartSync, SafePath, WholeFile};
use crate::node::faults;
use crate::node::tasks::Tasks;

/// Small files that get their names together at most: one sync serves them all. As many may wait, each
/// with a handle.
const TOGETHER: usize = 512;
/// How long they wait for others …
const GATHER: Duration = Duration::from_millis(10);
/// … while they are fewer than this. It is nothing beside the sync, which costs about as much for one
/// as for all.
const ENOUGH: usize = 128;

/// A checkpoint: written ranges of entries.
type Written = Vec<(u32, PartSync, RangeSet)>;

enum Job {
    Checkpoint(Written),
    Name(u32, WholeFile),
}

/// The way to the thread. It ends when this is dropped, after all that was handed over.
pub(super) struct Syncs {
    jobs: mpsc::Sender<Job>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Held while a part is synced and that is said, and while a part is thrown away and that is
    /// said: nothing of a part is called durable once it is known to be gone.
    turn: Mutex<()>,
    /// A checkpoint was handed over and is not done.
    checkpointing: AtomicBool,
    /// What is handed over and has no name yet is not wanted any more.
    discarded: AtomicBool,
}

impl Syncs {
    pub fn start(
        worker: mpsc::WeakUnboundedSender<FetchMessage>,
        report: &Report,
        tasks: &Tasks,
    ) -> Self {
        let (jobs, queue) = mpsc::channel(TOGETHER);
        let shared = Arc::<Shared>::default();
        let thread = Thread {
            shared: Arc::clone(&shared),
            worker,
            report: report.clone(),
        };
        tasks.spawn_blocking("fetch sync", move || thread.run(queue));
        Syncs { jobs, shared }
    }

    /// Whether a checkpoint is on its way.
    pub fn is_checkpointing(&self) -> bool {
        self.shared.checkpointing.load(Ordering::Acquire)
    }

    /// Makes these durable, and says so.
    pub fn checkpoint(&self, written: Written) {
        self.shared.checkpointing.store(true, Ordering::Release);
        self.send(Job::Checkpoint(written));
    }

    /// Gives a complete file its name, and says so; the worker is told too.
    pub fn name(&self, entry: u32, file: WholeFile) {
        self.send(Job::Name(entry, file));
    }

    /// Removes what has no name yet.
    pub fn discard(&self) {
        self.shared.discarded.store(true, Ordering::Release);
    }

    /// Held while a part is thrown away and that is said.
    pub fn turn(&self) -> MutexGuard<'_, ()> {
        self.shared.turn()
    }

    fn send(&self, job: Job) {
        // The thread lives as long as there is a way to it.
        let _ = self.jobs.blocking_send(job);
    }
}

impl Shared {
    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Thread {
    shared: Arc<Shared>,
    worker: mpsc::WeakUnboundedSender<FetchMessage>,
    report: Report,
}

impl Thread {
    fn run(&self, mut queue: mpsc::Receiver<Job>) {
        let mut naming = Naming::default();
        let mut jobs = Vec::with_capacity(TOGETHER);
        // While names wait to be durable, nothing else is waited for.
        while !naming.is_idle() || queue.blocking_recv_many(&mut jobs, TOGETHER) > 0 {
            let few = jobs.len() < ENOUGH && jobs.iter().any(Job::gathers);
            if few && naming.is_idle() {
                std::thread::sleep(GATHER);
            }
            while jobs.len() < TOGETHER
                && let Ok(job) = queue.try_recv()
            {
                jobs.push(job);
            }
            let mut files = Vec::new();
            for job in jobs.drain(..) {
                match job {
                    Job::Checkpoint(written) => self.checkpoint(written),
                    Job::Name(entry, file) => files.push((entry, file)),
                }
            }
            if self.shared.discarded.load(Ordering::Acquire) {
                files.drain(..).for_each(|(_, file)| discard(file));
            }
            if files.iter().any(|(_, file)| file.is_large()) {
                // Its bytes may take long; names of before are not to wait for them.
                self.say(naming.round(Vec::new()));
            }
            self.say(naming.round(files));
        }
    }

    fn checkpoint(&self, written: Written) {
        for (entry, part, ranges) in written {
            let _turn = self.shared.turn();
            match part.sync() {
                Ok(()) => {
                    part.release(&ranges);
                    self.report.say(FetchNews::Durable { entry, ranges });
                }
                Err(error) if part.is_over() => tracing::debug!(%error, "checkpoint too late"),
                // The writer may never notice: a sender that waits for these chunks to be durable
                // sends no others.
                Err(error) => {
                    tracing::info!(%error, "the disk refused a checkpoint");
                    // How many bytes lack is seen when the disk is looked at.
                    let code = faults::target_code(&error);
                    let missing = None;
                    self.report
                        .say(FetchNews::Refused(Refusal { code, missing }));
                }
            }
        }
        self.shared.checkpointing.store(false, Ordering::Release);
    }

    /// These have their names for good, or failed.
    fn say(&self, ended: Vec<(u32, Result<SafePath, DiskError>)>) {
        if ended.is_empty() {
            return;
        }
        let mut names = Vec::with_capacity(ended.len());
        let mut outcome = Ok(());
        for (entry, name) in ended {
            match name {
                Ok(name) => names.push((entry, name.as_str().to_owned())),
                Err(error) => outcome = Err(error),
            }
        }
        let named = names.iter().map(|(entry, _)| *entry).collect();
        if !names.is_empty() {
            self.report.say(FetchNews::Finished(names));
        }
        if let Some(worker) = self.worker.upgrade() {
            let _ = worker.send(FetchMessage::Named(named, outcome));
        }
    }
}

impl Job {
    /// Whether it costs less together with others.
    fn gathers(&self) -> bool {
        match self {
            Job::Checkpoint(_) => false,
            Job::Name(_, file) => !file.is_large(),
        }
    }
}

fn discard(file: WholeFile) {
    if let Err(error) = file.discard() {
        tracing::debug!(%error, "part file not removed");
    }
}
