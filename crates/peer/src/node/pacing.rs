//! Bounds on what is sent: each shared by whoever sends under it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kith_core::Mono;
use kith_core::pace::Bucket;
use tokio::sync::{Notify, watch};

/// A bound in bytes per second that may change at any time. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Bound {
    shared: Arc<Shared>,
}

struct Shared {
    /// Locked for moments only.
    bucket: Mutex<Bucket>,
    changed: Notify,
    started: Instant,
}

impl Bound {
    pub fn new(rate: Option<u64>) -> Self {
        Bound {
            shared: Arc::new(Shared {
                bucket: Mutex::new(Bucket::new(rate, Mono(0))),
                changed: Notify::new(),
                started: Instant::now(),
            }),
        }
    }

    /// Another bound from now on, also for who waits.
    pub fn set(&self, rate: Option<u64>) {
        self.with(|b, now| b.set(rate, now));
        self.shared.changed.notify_waiters();
    }

    /// Takes so many bytes; they may go once [`Bound::paid`] returns.
    fn charge(&self, bytes: u64) {
        self.with(|b, now| b.take(bytes, now));
    }

    /// Waits until what was taken is within the bound. Cancel-safe.
    async fn paid(&self) {
        loop {
            let mut changed = std::pin::pin!(self.shared.changed.notified());
            // Before the look: a change after it must not be missed.
            changed.as_mut().enable();
            let debt = self.with(|b, now| b.take(0, now));
            if debt == Duration::ZERO {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(debt) => {}
                () = changed => {}
            }
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Bucket, Mono) -> T) -> T {
        let now = Mono(self.shared.started.elapsed().as_millis() as u64);
        let mut bucket = self
            .shared
            .bucket
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        f(&mut bucket, now)
    }
}

/// What one sender has to obey: it may be held, and it has bounds.
pub(crate) struct Gate {
    held: watch::Receiver<bool>,
    bounds: Vec<Bound>,
}

/// The end of whoever was to hold the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed;

impl Gate {
    /// A gate, and what holds it (`true`) or lets go; dropping that closes the gate.
    pub fn new(bounds: Vec<Bound>) -> (Gate, watch::Sender<bool>) {
        let (hold, held) = watch::channel(false);
        (Gate { held, bounds }, hold)
    }

    /// Waits until so many bytes may go.
    pub async fn pass(&mut self, bytes: u64) -> Result<(), Closed> {
        self.bounds.iter().for_each(|b| b.charge(bytes));
        loop {
            if *self.held.borrow_and_update() {
                self.held.changed().await.map_err(|_| Closed)?;
                continue;
            }
            let paid = async {
                for bound in &self.bounds {
                    bound.paid().await;
                }
            };
            tokio::select! {
                biased;
                changed = self.held.changed() => changed.map_err(|_| Closed)?,
                () = paid => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_gate_that_is_held_opens_when_it_is_let_go_and_ends_with_its_holder() {
        let (mut gate, hold) = Gate::new(vec![Bound::new(None)]);
        assert_eq!(gate.pass(1 << 30).await, Ok(()));
        hold.send_replace(true);
        let passing = tokio::spawn(async move {
            let first = gate.pass(1).await;
            (first, gate.pass(1).await)
        });
        hold.send_replace(false);
        hold.send_replace(true);
        drop(hold);
        let (_, last) = passing.await.expect("no panic");
        assert_eq!(last, Err(Closed));
    }

    #[tokio::test]
    async fn a_bound_that_is_lifted_lets_go_at_once() {
        let bound = Bound::new(Some(1));
        let (mut gate, hold) = Gate::new(vec![bound.clone()]);
        let passing = tokio::spawn(async move { gate.pass(1 << 20).await });
        tokio::task::yield_now().await;
        assert!(!passing.is_finished());
        bound.set(None);
        assert_eq!(passing.await.expect("no panic"), Ok(()));
        drop(hold);
    }
}
