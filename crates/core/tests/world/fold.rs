//! A front end: one snapshot at the start, then events only.

use std::collections::BTreeMap;

use kith_api::{Change, Event, MessageView, OfferView, PersonView, RoomView, Snapshot};
use kith_protocol::{OfferId, PeerId, RoomId};

/// What a front end holds.
#[derive(Debug, Default)]
pub struct Fold {
    rev: u64,
    rooms: BTreeMap<RoomId, RoomView>,
    people: BTreeMap<(RoomId, PeerId), PersonView>,
    offers: BTreeMap<(RoomId, PeerId, OfferId), OfferView>,
    /// Every message shown, in the order shown; a later view of one replaces it.
    pub messages: Vec<MessageView>,
}

impl Fold {
    /// Applies one event.
    pub fn apply(&mut self, event: Event) {
        assert_eq!(event.rev, self.rev + 1, "revisions rise by one");
        self.rev = event.rev;
        match event.change {
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
                self.offers.insert((v.room, v.from, v.offer), v);
            }
            Change::Message(v) => {
                let same =
                    |m: &&mut MessageView| (m.room, m.author, m.seq) == (v.room, v.author, v.seq);
                match self.messages.iter_mut().find(same) {
                    Some(m) => *m = v,
                    None => self.messages.push(v),
                }
            }
        }
    }

    /// Fails where the folded events and the snapshot differ.
    pub fn check(&self, snapshot: &Snapshot) {
        assert_eq!(self.rev, snapshot.rev);
        assert_eq!(
            self.rooms.values().cloned().collect::<Vec<_>>(),
            snapshot.rooms
        );
        assert_eq!(
            self.people.values().cloned().collect::<Vec<_>>(),
            snapshot.people
        );
        let mut offers = snapshot.offers.clone();
        offers.sort_by_key(|o| (o.room, o.from, o.offer));
        assert_eq!(self.offers.values().cloned().collect::<Vec<_>>(), offers);
    }

    /// One person.
    pub fn person(&self, room: RoomId, peer: PeerId) -> Option<&PersonView> {
        self.people.get(&(room, peer))
    }

    /// One offer.
    pub fn offer(&self, room: RoomId, from: PeerId, id: OfferId) -> Option<&OfferView> {
        self.offers.get(&(room, from, id))
    }

    /// The room.
    pub fn room(&self, room: RoomId) -> Option<&RoomView> {
        self.rooms.get(&room)
    }
}
