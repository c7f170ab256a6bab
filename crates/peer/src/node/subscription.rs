//! Changes for front ends: merged by entity, so that a slow reader costs a bounded queue.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use kith_api::{Change, Changes, Event};
use kith_protocol::{OfferId, PeerId, RoomId};
use tokio::sync::Notify;

/// Messages that wait for one subscriber; beyond it the oldest are dropped and it is told.
const MOST_MESSAGES: usize = 10_000;
/// Most changes that are handed over together …
const MOST_TOGETHER: usize = 512;
/// … and most bytes of text in them, about.
const MOST_TEXT: usize = 1 << 20;

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

    /// What has happened since the last call, together; waits until there is something, and is
    /// `None` once the node has shut down. Cancel-safe.
    ///
    /// Where messages were dropped, the next changes do not follow the last ones: the front end
    /// finds a gap and hydrates again. One subscription is read by this or by
    /// [`Subscription::next`], not by both.
    pub async fn changes(&self) -> Option<Changes> {
        loop {
            let notified = self.queue.notify.notified();
            {
                let mut inner = self
                    .queue
                    .inner
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                if let Some(changes) = inner.take() {
                    return Some(changes);
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
    changes: VecDeque<Waiting>,
    messages: usize,
    lost: bool,
    closed: bool,
    /// Of the newest event.
    rev: u64,
    /// Up to where everything was handed over; what is handed over next follows it.
    taken: u64,
}

/// A change that waits, and the revision at which its place in the queue was taken.
#[derive(Debug)]
struct Waiting {
    first: u64,
    change: Change,
}

#[derive(PartialEq, Eq)]
enum Entity {
    Me,
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

    pub fn push(&self, event: &Event) {
        self.each(|inner| inner.push(event.clone()));
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
    fn push(&mut self, event: Event) {
        let Event { rev, change } = event;
        if self.rev == 0 {
            // The first that this subscriber hears of.
            self.taken = rev.saturating_sub(1);
        }
        self.rev = rev;
        if let Some(key) = entity(&change) {
            // The newest stands for all: in its old place, so that order among entities stays.
            // Never across a room's end, which would end it again.
            let standing = |w: &&mut Waiting| !matches!(w.change, Change::RoomGone { .. });
            let waiting = self.changes.iter_mut().rev().take(64).take_while(standing);
            for old in waiting {
                if entity(&old.change).as_ref() == Some(&key) {
                    old.change = change;
                    return;
                }
            }
        } else if let Change::Message(_) = change {
            self.messages += 1;
            if self.messages > MOST_MESSAGES {
                let oldest = self
                    .changes
                    .iter()
                    .position(|w| matches!(w.change, Change::Message(_)));
                if let Some(dropped) = oldest.and_then(|at| self.changes.remove(at)) {
                    self.messages -= 1;
                    self.lost = true;
                    self.taken = self.taken.max(dropped.first);
                }
            }
        }
        self.changes.push_back(Waiting { first: rev, change });
    }

    fn pop(&mut self) -> Option<Change> {
        let change = self.changes.pop_front()?.change;
        if let Change::Message(_) = change {
            self.messages -= 1;
        }
        Some(change)
    }

    fn take(&mut self) -> Option<Changes> {
        if self.changes.is_empty() {
            return None;
        }
        self.lost = false;
        let (after, mut text, mut changes) = (self.taken, 0, Vec::new());
        while changes.len() < MOST_TOGETHER && text < MOST_TEXT {
            let Some(change) = self.pop() else { break };
            if let Change::Message(message) = &change {
                text += message.text.len();
            }
            changes.push(change);
        }
        // What is merged into a later place began no earlier than that place.
        self.taken = match self.changes.front() {
            Some(next) => after.max(next.first - 1),
            None => self.rev,
        };
        Some(Changes {
            after,
            rev: self.taken,
            changes,
        })
    }
}

fn entity(change: &Change) -> Option<Entity> {
    match change {
        Change::Me(_) => Some(Entity::Me),
        Change::Room(r) => Some(Entity::Room(r.room)),
        Change::Person(p) => Some(Entity::Person(p.room, p.peer)),
        Change::Offer(o) => Some(Entity::Offer(o.room, o.from, o.offer)),
        Change::Message(_) | Change::RoomGone { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kith_api::{Me, MessageView, RoomView, SessionPhase};
    use kith_protocol::MsgId;

    const ROOM: RoomId = RoomId([1; 16]);

    fn room(session: SessionPhase) -> Change {
        Change::Room(RoomView {
            room: ROOM,
            invite: String::new(),
            server: String::new(),
            session,
            why: None,
        })
    }

    fn message(seq: u64, length: usize) -> Change {
        Change::Message(MessageView {
            room: ROOM,
            author: PeerId([2; 16]),
            name: String::new(),
            seq,
            id: MsgId([3; 16]),
            at: 0,
            stored: 0,
            text: "x".repeat(length),
            delivered: Vec::new(),
        })
    }

    fn queue(first: u64, changes: Vec<Change>) -> Inner {
        let mut inner = Inner::default();
        for (rev, change) in (first..).zip(changes) {
            inner.push(Event { rev, change });
        }
        inner
    }

    #[test]
    fn changes_are_merged_and_say_what_they_follow() {
        let mut q = queue(
            5,
            vec![room(SessionPhase::Dialing), room(SessionPhase::Joined)],
        );
        let changes = q.take().unwrap();
        assert_eq!((changes.after, changes.rev), (4, 6));
        assert_eq!(changes.changes, [room(SessionPhase::Joined)]);
        assert_eq!(q.take(), None);
        let me = Change::Me(Me {
            peer: PeerId([2; 16]),
            name: "Ada".into(),
        });
        q.push(Event { rev: 7, change: me });
        let changes = q.take().unwrap();
        assert_eq!((changes.after, changes.rev), (6, 7));
    }

    #[test]
    fn a_room_that_was_left_and_entered_again_stays() {
        let gone = Change::RoomGone { room: ROOM };
        let all = vec![
            room(SessionPhase::Joined),
            gone.clone(),
            room(SessionPhase::Dialing),
        ];
        let changes = queue(1, all.clone()).take().unwrap().changes;
        assert_eq!(changes, all);
    }

    #[test]
    fn much_comes_in_parts_that_follow_each_other() {
        let mut changes: Vec<Change> = (1..=600).map(|seq| message(seq, 1)).collect();
        changes.extend((601..=700).map(|seq| message(seq, 16 * 1024)));
        let mut q = queue(1, changes);
        let (mut at, mut seen) = (0, 0);
        while let Some(part) = q.take() {
            assert_eq!(part.after, at, "each part follows the one before");
            assert!(part.changes.len() <= MOST_TOGETHER);
            at = part.rev;
            seen += part.changes.len();
        }
        assert_eq!((at, seen, q.messages), (700, 700, 0));
    }

    #[test]
    fn dropped_messages_leave_a_gap() {
        let mut q = queue(1, vec![message(1, 1)]);
        assert_eq!(q.take().unwrap().rev, 1);
        let most = MOST_MESSAGES as u64;
        for seq in 2..=most + 2 {
            let change = message(seq, 1);
            q.push(Event { rev: seq, change });
        }
        let part = q.take().unwrap();
        assert!(part.after > 1, "it does not follow what was taken");
    }
}
