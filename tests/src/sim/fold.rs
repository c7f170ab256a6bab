//! A front end: nothing at the start, then events only.

use std::collections::BTreeMap;

use kith_api::{
    Change, Event, MessageView, OfferView, PersonView, RoomView, Snapshot, TransferSettings,
};
use kith_protocol::{OfferId, PeerId, RoomId};

/// What a front end holds.
#[derive(Debug, Default)]
pub(crate) struct Fold {
    pub rev: u64,
    rooms: BTreeMap<RoomId, RoomView>,
    people: BTreeMap<(RoomId, PeerId), PersonView>,
    offers: BTreeMap<(RoomId, PeerId, OfferId), OfferView>,
    messages: BTreeMap<PeerId, BTreeMap<u64, MessageView>>,
    transfers: TransferSettings,
}

impl Fold {
    /// Knows what holds for all transfers, as a snapshot at the start says it.
    pub fn new(transfers: TransferSettings) -> Self {
        Fold {
            transfers,
            ..Fold::default()
        }
    }

    /// Applies one event.
    pub fn apply(&mut self, event: Event) {
        assert_eq!(event.rev, self.rev + 1, "revisions rise by one");
        self.rev = event.rev;
        match event.change {
            // Nobody in this world takes another name.
            Change::Me(me) => panic!("renamed by itself: {me:?}"),
            Change::Room(v) => {
                self.rooms.insert(v.room, v);
            }
            Change::RoomGone { room } => {
                self.rooms.remove(&room);
                self.people.retain(|k, _| k.0 != room);
                self.offers.retain(|k, _| k.0 != room);
            }
            Change::Person(v) => {
                self.people.insert((v.room, v.peer), v);
            }
            Change::Offer(v) => {
                assert!(
                    v.done <= v.total,
                    "more is done than there is: {} of {}",
                    v.done,
                    v.total
                );
                for r in &v.receivers {
                    assert!(
                        r.done <= v.total,
                        "a receiver has more than there is: {r:?}"
                    );
                }
                self.offers.insert((v.room, v.from, v.offer), *v);
            }
            Change::Transfers(v) => self.transfers = v,
            Change::Message(v) => {
                let shown = self.messages.entry(v.author).or_default();
                let last = shown.keys().next_back().copied();
                match (shown.get(&v.seq), last) {
                    (Some(before), _) => {
                        let same = (before.id, &before.text) == (v.id, &v.text);
                        assert!(same, "a message changed after it was shown: {v:?}");
                    }
                    (None, Some(last)) => {
                        assert_eq!(
                            v.seq,
                            last + 1,
                            "messages are shown in order, without a gap"
                        );
                    }
                    (None, None) => {}
                }
                shown.insert(v.seq, v);
            }
        }
    }

    /// Fails where the folded events and the snapshot differ.
    pub fn check(&self, snapshot: &Snapshot) {
        assert_eq!(
            self.rev, snapshot.rev,
            "the events' revision is the snapshot's"
        );
        same("rooms", self.rooms.values(), &snapshot.rooms);
        same("people", self.people.values(), &snapshot.people);
        assert_eq!(
            self.transfers, snapshot.transfers,
            "what holds for all transfers"
        );
        let key = |o: &OfferView| (o.room, o.from, o.offer);
        if snapshot.offers.is_sorted_by_key(key) {
            same("offers", self.offers.values(), &snapshot.offers);
        } else {
            let mut offers = snapshot.offers.clone();
            offers.sort_by_key(key);
            same("offers", self.offers.values(), &offers);
        }
    }

    /// One person.
    pub fn person(&self, room: RoomId, peer: PeerId) -> Option<&PersonView> {
        self.people.get(&(room, peer))
    }

    /// Everybody.
    pub fn people(&self) -> impl Iterator<Item = &PersonView> {
        self.people.values()
    }

    /// One offer.
    pub fn offer(&self, room: RoomId, from: PeerId, id: OfferId) -> Option<&OfferView> {
        self.offers.get(&(room, from, id))
    }

    /// All offers.
    pub fn offers(&self) -> impl Iterator<Item = &OfferView> {
        self.offers.values()
    }

    /// The room.
    pub fn room(&self, room: RoomId) -> Option<&RoomView> {
        self.rooms.get(&room)
    }

    /// Messages of somebody, as shown by this process.
    #[cfg(test)]
    pub fn messages(&self, author: PeerId) -> impl Iterator<Item = &MessageView> {
        self.messages
            .get(&author)
            .into_iter()
            .flat_map(BTreeMap::values)
    }
}

fn same<'a, T: PartialEq + std::fmt::Debug + 'a>(
    what: &str,
    events: impl ExactSizeIterator<Item = &'a T>,
    snapshot: &[T],
) {
    assert_eq!(
        events.len(),
        snapshot.len(),
        "as many {what} from events as in the snapshot"
    );
    for (a, b) in events.zip(snapshot) {
        assert!(a == b, "{what} differ\n  events   {a:?}\n  snapshot {b:?}");
    }
}
