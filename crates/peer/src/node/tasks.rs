//! The one place that spawns. Every task has a name, hears about the end and is waited for.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

/// The tasks of one node. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tasks {
    token: CancellationToken,
    /// Locked for moments only: to add a task, or to take the set at the end.
    set: Arc<Mutex<Set>>,
}

#[derive(Debug, Default)]
struct Set {
    tasks: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

impl Tasks {
    /// Told when everything ends.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Runs `task` until it ends or the node does; a task that wants to say good-bye listens to
    /// [`Tasks::token`] itself and is given time.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.with(|set| {
            let id = set.tasks.spawn(task).id();
            set.names.insert(id, name);
        });
    }

    /// Runs blocking work on its own thread.
    pub fn spawn_blocking(&self, name: &'static str, work: impl FnOnce() + Send + 'static) {
        self.with(|set| {
            let id = set.tasks.spawn_blocking(work).id();
            set.names.insert(id, name);
        });
    }

    /// Ends everything. Tasks whose queues are closed end by themselves once they have said what
    /// was left to say, and get most of `limit` for it; then all are told, and who is still there
    /// at the end is named and aborted.
    pub async fn shutdown(&self, limit: Duration) {
        let mut set = self.with(std::mem::take);
        if tokio::time::timeout(limit * 3 / 4, set.all()).await.is_ok() {
            return;
        }
        self.token.cancel();
        if tokio::time::timeout(limit / 4, set.all()).await.is_err() {
            let left: Vec<_> = set.names.values().collect();
            tracing::warn!(?left, "tasks did not end in time");
            set.tasks.abort_all();
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Set) -> T) -> T {
        let mut set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(ended) = set.tasks.try_join_next_with_id() {
            forget(&mut set.names, ended);
        }
        f(&mut set)
    }
}

impl Set {
    async fn all(&mut self) {
        while let Some(ended) = self.tasks.join_next_with_id().await {
            forget(&mut self.names, ended);
        }
    }
}

fn forget(names: &mut HashMap<Id, &'static str>, ended: Result<(Id, ()), tokio::task::JoinError>) {
    match ended {
        Ok((id, ())) => {
            names.remove(&id);
        }
        Err(error) => {
            let name = names.remove(&error.id());
            if error.is_panic() {
                tracing::error!(?name, %error, "a task panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shutdown_waits_for_the_polite_and_aborts_the_rest() {
        let tasks = Tasks::default();
        let (polite, seen) = tokio::sync::oneshot::channel();
        let token = tasks.token().clone();
        tasks.spawn("polite", async move {
            token.cancelled().await;
            let _ = polite.send(());
        });
        tasks.spawn("stuck", std::future::pending());
        tasks.shutdown(Duration::from_millis(100)).await;
        assert!(seen.await.is_ok());
    }
}
