//! Changes for front ends: merged by entity, so that a slow reader costs a bounded queue.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use kith_api::Change;
use kith_protocol::{OfferId, PeerId, RoomId};
use tokio::sync::Notify;

/// Messages that wait for one subscriber; beyond it the oldest are dropped and it is told.
const MOST_MESSAGES: usize = 10_000;
/// Bytes of text in them; as above.
const MOST_TEXT: usize = 4 * 1024 * 1024;

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
                if let Some(change) = inner.pop() {
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
    /// What waits, in order.
    order: VecDeque<Waiting>,
    /// The newest view of each entity that waits: it stands for all, in the place of the first.
    entities: HashMap<Entity, Change>,
    messages: usize,
    text: usize,
    lost: bool,
    closed: bool,
}

#[derive(Debug)]
enum Waiting {
    /// Of this entity.
    Entity(Entity),
    Other(Box<Change>),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
        match (entity(&change), &change) {
            (Some(entity), _) => {
                if self.entities.insert(entity.clone(), change).is_none() {
                    self.order.push_back(Waiting::Entity(entity));
                }
            }
            (None, Change::RoomGone { room }) => {
                // What waits of the room is void, and what comes later comes after this.
                self.entities.retain(|e, _| e.room() != *room);
                self.order.retain(|w| match w {
                    Waiting::Entity(e) => e.room() != *room,
                    Waiting::Other(_) => true,
                });
                self.order.push_back(Waiting::Other(Box::new(change)));
            }
            (None, _) => {
                self.count(&change, 1);
                self.order.push_back(Waiting::Other(Box::new(change)));
                while self.messages > MOST_MESSAGES || self.text > MOST_TEXT {
                    self.drop_oldest_message();
                }
            }
        }
    }

    fn pop(&mut self) -> Option<Change> {
        match self.order.pop_front()? {
            Waiting::Entity(entity) => self.entities.remove(&entity),
            Waiting::Other(change) => {
                self.count(&change, -1);
                Some(*change)
            }
        }
    }

    fn drop_oldest_message(&mut self) {
        let message =
            |w: &Waiting| matches!(w, Waiting::Other(c) if matches!(**c, Change::Message(_)));
        let oldest = self.order.iter().position(message);
        match oldest.and_then(|at| self.order.remove(at)) {
            Some(Waiting::Other(change)) => self.count(&change, -1),
            Some(Waiting::Entity(_)) | None => (self.messages, self.text) = (0, 0),
        }
        self.lost = true;
    }

    fn count(&mut self, change: &Change, by: isize) {
        if let Change::Message(m) = change {
            self.messages = self.messages.saturating_add_signed(by);
            let text = m.text.len().try_into().unwrap_or(isize::MAX);
            self.text = self.text.saturating_add_signed(by.saturating_mul(text));
        }
    }
}

impl Entity {
    fn room(&self) -> RoomId {
        match self {
            Entity::Room(room) | Entity::Person(room, _) | Entity::Offer(room, ..) => *room,
        }
    }
}

fn entity(change: &Change) -> Option<Entity> {
    match change {
        Change::Room(r) => Some(Entity::Room(r.room)),
        Change::Person(p) => Some(Entity::Person(p.room, p.peer)),
        Change::Offer(o) => Some(Entity::Offer(o.room, o.from, o.offer)),
        Change::Message(_) | Change::RoomGone { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use kith_api::{MessageView, RoomView, SessionPhase};
    use kith_protocol::MsgId;

    use super::*;

    fn room(n: u8) -> Change {
        Change::Room(RoomView {
            room: RoomId([n; 16]),
            invite: String::new(),
            server: String::new(),
            session: SessionPhase::Joined,
            why: None,
        })
    }

    fn message(text: &str) -> Change {
        Change::Message(MessageView {
            room: RoomId([1; 16]),
            author: PeerId([1; 16]),
            name: String::new(),
            seq: 1,
            id: MsgId([1; 16]),
            at: 0,
            stored: 0,
            text: text.into(),
            delivered: Vec::new(),
        })
    }

    #[test]
    fn a_reader_that_sleeps_costs_one_place_per_entity() {
        let mut inner = Inner::default();
        for _ in 0..1000 {
            (0..200).for_each(|n| inner.push(room(n)));
        }
        assert_eq!(inner.order.len(), 200);
        for n in 0..200 {
            assert_eq!(inner.pop(), Some(room(n)));
        }
        assert_eq!(inner.pop(), None);
    }

    #[test]
    fn messages_are_bounded_by_number_and_by_size() {
        let mut inner = Inner::default();
        let long = "x".repeat(kith_protocol::limits::MAX_TEXT);
        (0..5000).for_each(|_| inner.push(message(&long)));
        assert!(inner.lost && inner.text <= MOST_TEXT);
        (0..20_000).for_each(|_| inner.push(message("y")));
        assert!(inner.order.len() <= MOST_MESSAGES);
        while inner.pop().is_some() {}
        assert_eq!((inner.messages, inner.text), (0, 0));
    }

    #[test]
    fn a_room_entered_again_is_told_after_its_end() {
        let mut inner = Inner::default();
        let gone = Change::RoomGone {
            room: RoomId([1; 16]),
        };
        inner.push(room(1));
        inner.push(gone.clone());
        inner.push(room(1));
        assert_eq!(inner.pop(), Some(gone));
        assert_eq!(inner.pop(), Some(room(1)));
        assert_eq!(inner.pop(), None);
    }
}
