//! Following one room: what the changes add up to, and when waiting is pointless.

use std::collections::BTreeMap;

use kith_api::{
    Change, Empty, Handler as _, LinkPhase, OfferView, PersonView, Presence, RoomView, SessionPhase,
};
use kith_peer::node::{Node, Subscription, Update};
use kith_protocol::{Code, OfferId, PeerId, RoomId};

use crate::exit::Failure;
use crate::output::Out;
use crate::text;

/// A room and the changes that come from it.
#[derive(Debug)]
pub struct Watch {
    changes: Subscription,
    /// The room as it is now.
    pub room: Room,
}

/// What a change means to the command that follows the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Already part of [`Watch::room`].
    Change(Box<Change>),
    /// Messages were left out: read the history.
    Lost,
}

/// A room as its changes add up.
#[derive(Debug)]
pub struct Room {
    /// Us.
    pub me: PeerId,
    /// The room.
    pub id: RoomId,
    /// The people in it, also those who left.
    pub people: BTreeMap<PeerId, PersonView>,
    /// All offers, ours and others'.
    pub offers: BTreeMap<(PeerId, OfferId), OfferView>,
    session: Option<RoomView>,
    /// Whether the room server has let us in at some time.
    joined: bool,
    gone: bool,
    /// Who was said to be here.
    here: BTreeMap<PeerId, bool>,
}

impl Watch {
    /// Begins with the room as it is. `changes` must be older than the room's entry.
    pub async fn begin(
        node: &Node,
        changes: Subscription,
        room: RoomId,
        out: &mut Out,
    ) -> Result<Self, Failure> {
        let mut watch = Watch {
            changes,
            room: Room::new(node.me().peer, room),
        };
        let now = node.snapshot(Empty {}).await?;
        let rooms = now.rooms.into_iter().map(Change::Room);
        let people = now.people.into_iter().map(Change::Person);
        let offers = now.offers.into_iter();
        let offers = offers.map(|offer| Change::Offer(Box::new(offer)));
        for change in rooms.chain(people).chain(offers) {
            // People come and go by changes, so that nobody is announced twice.
            if room_of(&change) == Some(room) {
                watch.take(&change, out)?;
            }
        }
        Ok(watch)
    }

    /// The next change of the room. Fails when there is nothing left to wait for. Cancel-safe.
    pub async fn next(&mut self, out: &mut Out) -> Result<Seen, Failure> {
        loop {
            match self.changes.next().await {
                Some(Update::Change(change)) if room_of(&change) == Some(self.room.id) => {
                    self.take(&change, out)?;
                    return Ok(Seen::Change(change));
                }
                Some(Update::Change(_)) => {}
                Some(Update::Lost) => return Ok(Seen::Lost),
                None => return Err(Failure::unexpected("Kith has stopped by itself.")),
            }
        }
    }

    /// Tells who comes and goes, to commands that are about files.
    pub fn note(&mut self, seen: &Seen, out: &mut Out) {
        match seen {
            Seen::Change(change) => {
                if let Change::Person(person) = &**change
                    && let Some(line) = self.room.move_of(person.peer)
                {
                    out.note(&line);
                }
            }
            // Only messages are ever left out.
            Seen::Lost => {}
        }
    }

    fn take(&mut self, change: &Change, out: &mut Out) -> Result<(), Failure> {
        // What happened between subscribing and the snapshot is in both.
        if self.room.knows(change) {
            return Ok(());
        }
        out.change(change)?;
        if let Some(note) = self.room.apply(change) {
            out.note(&note);
        }
        self.room.hopeless().map_or(Ok(()), Err)
    }
}

impl Room {
    /// Nothing is known yet.
    pub fn new(me: PeerId, id: RoomId) -> Self {
        Room {
            me,
            id,
            people: BTreeMap::new(),
            offers: BTreeMap::new(),
            session: None,
            joined: false,
            gone: false,
            here: BTreeMap::new(),
        }
    }

    /// Whether a change says nothing new.
    fn knows(&self, change: &Change) -> bool {
        match change {
            Change::Room(room) => self.session.as_ref() == Some(room),
            Change::Person(person) => self.people.get(&person.peer) == Some(person),
            Change::Offer(offer) => self.offers.get(&(offer.from, offer.offer)) == Some(offer),
            Change::Me(_) | Change::RoomGone { .. } | Change::Message(_) | Change::Transfers(_) => {
                false
            }
        }
    }

    /// Takes a change; what people should know of the room server comes back.
    pub fn apply(&mut self, change: &Change) -> Option<String> {
        match change {
            Change::Room(room) => {
                let note = session_note(self.joined, self.session.as_ref(), room);
                self.joined |= room.session == SessionPhase::Joined;
                self.session = Some(room.clone());
                note
            }
            Change::RoomGone { .. } => {
                self.gone = true;
                None
            }
            Change::Person(person) => {
                self.people.insert(person.peer, person.clone());
                None
            }
            Change::Offer(offer) => {
                self.offers
                    .insert((offer.from, offer.offer), (**offer).clone());
                None
            }
            Change::Me(_) | Change::Message(_) | Change::Transfers(_) => None,
        }
    }

    /// What to say about the coming and going of a person, once for each.
    pub fn move_of(&mut self, peer: PeerId) -> Option<String> {
        let person = self.people.get(&peer)?;
        let before = self.here.get(&peer).copied().unwrap_or_default();
        let now = is_here(before, person);
        self.here.insert(peer, now);
        let name = text::name(&person.name);
        match (before, now) {
            (false, true) => Some(format!("* {name} is here")),
            (true, false) => Some(format!("* {name} has left")),
            (false, false) | (true, true) => None,
        }
    }

    /// Who hears us now.
    pub fn linked(&self) -> impl Iterator<Item = PeerId> + '_ {
        let people = self.people.values();
        people
            .filter(|p| p.link == LinkPhase::Connected)
            .map(|p| p.peer)
    }

    /// Somebody's name, fit to show.
    pub fn name_of(&self, peer: PeerId) -> String {
        self.people
            .get(&peer)
            .map_or_else(|| String::from("Somebody"), |p| text::name(&p.name))
    }

    /// Why there is nothing left to wait for.
    ///
    /// A server that is lost later comes back; one that does not let us in at first is most
    /// likely not the right one. Open links outlive even a refusal.
    pub fn hopeless(&self) -> Option<Failure> {
        if self.gone {
            return Some(Failure::of(Code::NotJoined));
        }
        let room = self.session.as_ref()?;
        let refused = room.session == SessionPhase::Refused;
        let first = !self.joined && room.why.is_some();
        (first || refused && self.linked().next().is_none())
            .then(|| Failure::of(room.why.unwrap_or(Code::BadProof)))
    }
}

/// The room a change belongs to.
fn room_of(change: &Change) -> Option<RoomId> {
    match change {
        Change::Me(_) | Change::Transfers(_) => None,
        Change::Room(room) => Some(room.room),
        Change::RoomGone { room } => Some(*room),
        Change::Person(person) => Some(person.room),
        Change::Message(message) => Some(message.room),
        Change::Offer(offer) => Some(offer.room),
    }
}

/// What to say about the room server.
fn session_note(joined: bool, before: Option<&RoomView>, now: &RoomView) -> Option<String> {
    if !joined {
        return None;
    }
    let was_in = before.is_some_and(|r| r.session == SessionPhase::Joined);
    match now.session {
        SessionPhase::Joined if !was_in => Some("* The room server is back".into()),
        SessionPhase::Waiting if was_in => {
            Some("* The room server is lost; Kith reconnects, and open connections go on".into())
        }
        SessionPhase::Refused => {
            let why = now.why.unwrap_or(Code::BadProof).text();
            Some(format!("* {why} Open connections go on"))
        }
        SessionPhase::Joined
        | SessionPhase::Waiting
        | SessionPhase::Offline
        | SessionPhase::Dialing
        | SessionPhase::Greeting => None,
    }
}

/// A person is here once connected, and until gone from the room and the link: a path that is
/// being looked for is not worth a line.
fn is_here(before: bool, person: &PersonView) -> bool {
    match (person.link, person.presence) {
        (LinkPhase::Connected, _) => true,
        (LinkPhase::Disconnected | LinkPhase::Failed, Presence::Offline) => false,
        (
            LinkPhase::Disconnected
            | LinkPhase::Signaling
            | LinkPhase::Connecting
            | LinkPhase::Reconnecting
            | LinkPhase::Failed,
            _,
        ) => before,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ADA, ME, ROOM, person, room};

    #[test]
    fn the_same_view_again_is_nothing_new() {
        let joined = Change::Room(room(SessionPhase::Joined, None));
        let lost = Change::Room(room(SessionPhase::Waiting, Some(Code::ServerUnreachable)));
        let mut r = Room::new(ME, ROOM);
        assert!(!r.knows(&joined));
        r.apply(&joined);
        assert!(r.knows(&joined) && !r.knows(&lost));
    }

    fn after(changes: &[(SessionPhase, Option<Code>)]) -> (Room, Vec<Option<String>>) {
        let mut r = Room::new(ME, ROOM);
        let apply = |(s, w): &(SessionPhase, Option<Code>)| r.apply(&Change::Room(room(*s, *w)));
        let notes = changes.iter().map(apply).collect();
        (r, notes)
    }

    #[test]
    fn only_the_first_join_may_fail() {
        use SessionPhase::{Dialing, Greeting, Joined, Refused, Waiting};
        let down = Some(Code::ServerUnreachable);
        let full = Some(Code::RoomFull);
        let proof = Some(Code::BadProof);
        for (changes, want) in [
            (&[][..], None),
            (&[(Dialing, None)], None),
            (&[(Dialing, None), (Greeting, None)], None),
            (&[(Dialing, None), (Waiting, down)], Some(4)),
            (&[(Greeting, None), (Waiting, full)], Some(5)),
            (&[(Refused, proof)], Some(5)),
            (&[(Refused, Some(Code::NotARoomServer))], Some(4)),
            (&[(Joined, None), (Waiting, down)], None),
            (&[(Joined, None), (Waiting, down), (Dialing, None)], None),
            (&[(Joined, None), (Refused, proof)], Some(5)),
        ] {
            let end = after(changes).0.hopeless().map(|f| f.exit as u8);
            assert_eq!(end, want, "{changes:?}");
        }
    }

    #[test]
    fn an_open_link_outlives_a_refusal_but_not_the_room() {
        let (mut r, _) = after(&[
            (SessionPhase::Joined, None),
            (SessionPhase::Refused, Some(Code::RoomLocked)),
        ]);
        let ada = person(ADA, "Ada", LinkPhase::Connected, Presence::Online);
        r.apply(&Change::Person(ada));
        assert_eq!(r.hopeless(), None);
        r.apply(&Change::RoomGone { room: ROOM });
        assert_eq!(r.hopeless(), Some(Failure::of(Code::NotJoined)));
    }

    #[test]
    fn a_lost_server_is_said_once_and_its_return_too() {
        use SessionPhase::{Dialing, Joined, Waiting};
        let down = Some(Code::ServerUnreachable);
        let (_, notes) = after(&[
            (Dialing, None),
            (Joined, None),
            (Waiting, down),
            (Dialing, None),
            (Waiting, down),
            (Joined, None),
        ]);
        let said: Vec<bool> = notes.iter().map(Option::is_some).collect();
        assert_eq!(said, [false, false, true, false, false, true]);
    }

    #[test]
    fn people_come_and_go_once() {
        use LinkPhase::{Connected, Connecting, Disconnected, Reconnecting, Signaling};
        let mut r = Room::new(ME, ROOM);
        let mut step = |link, presence| {
            let ada = person(ADA, "A\u{202e}da", link, presence);
            r.apply(&Change::Person(ada));
            r.move_of(ADA)
        };
        let here = Some(String::from("* A\\u{202e}da is here"));
        let left = Some(String::from("* A\\u{202e}da has left"));
        assert_eq!(step(Signaling, Presence::Online), None);
        assert_eq!(step(Connecting, Presence::Online), None);
        assert_eq!(step(Connected, Presence::Online), here);
        assert_eq!(step(Connected, Presence::Silent), None);
        assert_eq!(step(Reconnecting, Presence::Silent), None);
        assert_eq!(step(Connected, Presence::Offline), None);
        assert_eq!(step(Disconnected, Presence::Offline), left);
        assert_eq!(step(Disconnected, Presence::Offline), None);
        assert_eq!(step(Connected, Presence::Online), here);
    }
}
