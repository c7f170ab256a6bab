//! Changes for front ends: merged by entity, so that a slow reader costs a bounded queue.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use kith_api::{Change, Changes, Event};
use kith_protocol::{OfferId, PeerId, RoomId};
use tokio::sync::Notify;

/// Messages that wait for one subscriber; beyond it the oldest are dropped and it is told.
const MOST_MESSAGES: usize = 10_000;
/// Bytes of text in them; as above.
const MOST_TEXT: usize = 4 * 1024 * 1024;
/// Most changes that are handed over together …
const MOST_TOGETHER: usize = 512;
/// … and most bytes of text in them, about.
const TEXT_TOGETHER: usize = 1 << 20;

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
        self.wait(|inner| {
            if std::mem::take(&mut inner.lost) {
                return Some(Update::Lost);
            }
            inner.pop().map(|change| Update::Change(Box::new(change)))
        })
        .await
    }

    /// What has happened since the last call, together; waits until there is something, and is
    /// `None` once the node has shut down. Cancel-safe.
    ///
    /// Where messages were dropped, the next changes do not follow the last ones: the front end
    /// finds a gap and hydrates again. One subscription is read by this or by
    /// [`Subscription::next`], not by both.
    pub async fn changes(&self) -> Option<Changes> {
        self.wait(Inner::take).await
    }

    /// Waits until `look` finds something in the queue; `None` where nothing can come any more.
    async fn wait<T>(&self, mut look: impl FnMut(&mut Inner) -> Option<T>) -> Option<T> {
        loop {
            let notified = self.queue.notify.notified();
            {
                let mut inner = self
                    .queue
                    .inner
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                let found = look(&mut inner);
                if found.is_some() || inner.closed {
                    return found;
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
    /// Of the newest event.
    rev: u64,
    /// Up to where everything was handed over; what is handed over next follows it.
    taken: u64,
}

/// A change that waits, and the revision at which its place in the queue was taken.
#[derive(Debug)]
struct Waiting {
    first: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    /// The newest of this entity.
    Entity(Entity),
    Other(Box<Change>),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Entity {
    Me,
    Transfers,
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
        if let Some(entity) = entity(&change) {
            if self.entities.insert(entity.clone(), change).is_none() {
                self.wait(What::Entity(entity));
            }
            return;
        }
        if let Change::RoomGone { room } = &change {
            // What waits of the room is void, and what comes later comes after this.
            let stays = |e: &Entity| e.room() != Some(*room);
            self.entities.retain(|e, _| stays(e));
            self.order.retain(|w| match &w.what {
                What::Entity(e) => stays(e),
                What::Other(_) => true,
            });
        }
        self.count(&change, 1);
        self.wait(What::Other(Box::new(change)));
        while self.messages > MOST_MESSAGES || self.text > MOST_TEXT {
            self.drop_oldest_message();
        }
    }

    fn wait(&mut self, what: What) {
        let first = self.rev;
        self.order.push_back(Waiting { first, what });
    }

    fn pop(&mut self) -> Option<Change> {
        match self.order.pop_front()?.what {
            What::Entity(entity) => self.entities.remove(&entity),
            What::Other(change) => {
                self.count(&change, -1);
                Some(*change)
            }
        }
    }

    fn take(&mut self) -> Option<Changes> {
        if self.order.is_empty() {
            return None;
        }
        self.lost = false;
        let (after, mut text, mut changes) = (self.taken, 0, Vec::new());
        while changes.len() < MOST_TOGETHER && text < TEXT_TOGETHER {
            let Some(change) = self.pop() else { break };
            if let Change::Message(message) = &change {
                text += message.text.len();
            }
            changes.push(change);
        }
        // What is merged into a later place began no earlier than that place.
        self.taken = match self.order.front() {
            Some(next) => after.max(next.first - 1),
            None => self.rev,
        };
        Some(Changes {
            after,
            rev: self.taken,
            changes,
        })
    }

    fn drop_oldest_message(&mut self) {
        let message =
            |w: &Waiting| matches!(&w.what, What::Other(c) if matches!(**c, Change::Message(_)));
        let oldest = self.order.iter().position(message);
        match oldest.and_then(|at| self.order.remove(at)) {
            Some(Waiting {
                first,
                what: What::Other(change),
            }) => {
                self.count(&change, -1);
                self.taken = self.taken.max(first);
            }
            Some(_) | None => (self.messages, self.text) = (0, 0),
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
    fn room(&self) -> Option<RoomId> {
        match self {
            Entity::Me | Entity::Transfers => None,
            Entity::Room(room) | Entity::Person(room, _) | Entity::Offer(room, ..) => Some(*room),
        }
    }
}

fn entity(change: &Change) -> Option<Entity> {
    match change {
        Change::Me(_) => Some(Entity::Me),
        Change::Transfers(_) => Some(Entity::Transfers),
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
        let changes = queue(1, all.clone()).take().unwrap();
        assert_eq!((changes.after, changes.rev), (0, 3));
        assert_eq!(changes.changes, all[1..], "what was before its end is void");
    }

    #[test]
    fn a_reader_that_sleeps_costs_one_place_per_entity() {
        let phases = [SessionPhase::Dialing, SessionPhase::Joined];
        let all = (0..1000).map(|n| room(phases[n % 2])).collect();
        let mut q = queue(1, all);
        assert_eq!(q.order.len(), 1);
        assert_eq!(q.pop(), Some(room(SessionPhase::Joined)));
        assert_eq!(q.pop(), None);
    }

    #[test]
    fn messages_are_bounded_by_number_and_by_size() {
        let long = kith_protocol::limits::MAX_TEXT;
        let mut q = queue(1, (0..5000).map(|n| message(n, long)).collect());
        assert!(q.lost && q.text <= MOST_TEXT);
        for n in 0..20_000 {
            let (rev, change) = (5001 + n, message(n, 1));
            q.push(Event { rev, change });
        }
        assert!(q.order.len() <= MOST_MESSAGES);
        while q.pop().is_some() {}
        assert_eq!((q.messages, q.text), (0, 0));
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
