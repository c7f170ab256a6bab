//! Changes for front ends: merged by entity, so that a slow reader costs a bounded queue.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use kith_api::Change;
use kith_protocol::{OfferId, PeerId, RoomId};
use tokio::sync::Notify;

/// Messages that wait for one subscriber; beyond it the oldest are dropped and it is told.
const MOST_MESSAGES: usize = 10_000;

/// What a subscriber gets.
#[derive(Debug, Clone)]
pub enum Update {
    /// Something changed. Changes of one entity that were not yet taken are merged.
    Change(Box<Change>),
    /// The subscriber was too slow and messages were dropped: read the history.
    Lost,
}

/// Changes as they happen, for one front end.
#[derive(Debug)]
pub struct Subscription {
    queue: Arc<Queue>,
}

impl Subscription {
    /// The next change; `None` once the node has shut down.
    pub async fn next(&self) -> Option<Update> {
        loop {
            let notified = self.queue.notify.notified();
            {
                let mut inner = self
                    .queue
                    .inner
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                if std::mem::take(&mut inner.lost) {
                    return Some(Update::Lost);
                }
                if let Some(change) = inner.changes.pop_front() {
                    if let Change::Message(_) = change {
                        inner.messages -= 1;
                    }
                    return Some(Update::Change(Box::new(change)));
                }
                if inner.closed {
                    return None;
                }
            }
            notified.await;
        }
    }
}

/// All subscribers of a node.
#[derive(Debug, Default)]
pub(crate) struct Subscribers {
    /// Locked for moments only; the engine and the subscribers' creation share it.
    queues: Mutex<Vec<std::sync::Weak<Queue>>>,
}

#[derive(Debug, Default)]
struct Queue {
    inner: Mutex<Inner>,
    notify: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    changes: VecDeque<Change>,
    messages: usize,
    lost: bool,
    closed: bool,
}

#[derive(PartialEq, Eq)]
enum Entity {
    Room(RoomId),
    Person(RoomId, PeerId),
    Offer(RoomId, PeerId, OfferId),
}

impl Subscribers {
    pub fn subscribe(&self) -> Subscription {
        let queue = Arc::new(Queue::default());
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.retain(|q| q.strong_count() > 0);
        queues.push(Arc::downgrade(&queue));
        Subscription { queue }
    }

    pub fn push(&self, change: &Change) {
        self.each(|inner| inner.push(change.clone()));
    }

    pub fn close(&self) {
        self.each(|inner| inner.closed = true);
    }

    fn each(&self, f: impl Fn(&mut Inner)) {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        for queue in queues.iter().filter_map(std::sync::Weak::upgrade) {
            f(&mut queue.inner.lock().unwrap_or_else(PoisonError::into_inner));
            queue.notify.notify_one();
        }
    }
}

impl Inner {
    fn push(&mut self, change: Change) {
        if let Some(entity) = entity(&change) {
            // The newest stands for all: in its old place, so that order among entities stays.
            let waiting = self.changes.iter_mut().rev().take(64);
            for old in waiting {
                if old_entity(old).as_ref() == Some(&entity) {
                    *old = change;
                    return;
                }
            }
        } else if let Change::Message(_) = change {
            self.messages += 1;
            if self.messages > MOST_MESSAGES {
                let oldest = self
                    .changes
                    .iter()
                    .position(|c| matches!(c, Change::Message(_)));
                if let Some(at) = oldest {
                    self.changes.remove(at);
                    self.messages -= 1;
                    self.lost = true;
                }
            }
        }
        self.changes.push_back(change);
    }
}

fn old_entity(change: &Change) -> Option<Entity> {
    entity(change)
}

fn entity(change: &Change) -> Option<Entity> {
    match change {
        Change::Room(r) => Some(Entity::Room(r.room)),
        Change::Person(p) => Some(Entity::Person(p.room, p.peer)),
        Change::Offer(o) => Some(Entity::Offer(o.room, o.from, o.offer)),
        Change::Message(_) | Change::RoomGone { .. } => None,
    }
}
