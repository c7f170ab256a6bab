//! `(snapshot, changes, expected)`: what every front end must make of changes.

use kith_protocol::{Code, MsgId, OfferId, PeerId, RoomId};
use serde::Serialize;

use super::golden;
use crate::*;

/// One case. Without `expected` there is a gap.
#[derive(Serialize)]
struct Case {
    name: &'static str,
    snapshot: Snapshot,
    changes: Changes,
    expected: Option<Snapshot>,
}

const HOME: RoomId = RoomId([1; 16]);
const WORK: RoomId = RoomId([2; 16]);
const ME: PeerId = PeerId([3; 16]);
const ADA: PeerId = PeerId([4; 16]);
const BOB: PeerId = PeerId([5; 16]);

#[test]
fn the_window_folds_changes_as_the_engine_does() {
    let cases: Vec<Case> = [
        ("nothing happened", 7, 7, vec![]),
        ("our name changes", 7, 8, vec![Change::Me(me("Mia"))]),
        (
            "a room is new",
            7,
            8,
            vec![Change::Room(room(RoomId([9; 16])))],
        ),
        ("a room loses its server", 7, 8, vec![Change::Room(lost())]),
        (
            "a room goes with its people and offers",
            7,
            8,
            vec![Change::RoomGone { room: HOME }],
        ),
        (
            "a room goes and comes back empty",
            7,
            9,
            vec![Change::RoomGone { room: HOME }, Change::Room(room(HOME))],
        ),
        (
            "a room that is not there goes",
            7,
            8,
            vec![Change::RoomGone {
                room: RoomId([8; 16]),
            }],
        ),
        (
            "a person is new in one of two rooms",
            7,
            8,
            vec![Change::Person(person(WORK, BOB, "Bob"))],
        ),
        (
            "a person changes in one room only",
            7,
            8,
            vec![Change::Person(connected(HOME, ADA))],
        ),
        (
            "an offer comes further",
            7,
            8,
            vec![Change::Offer(Box::new(offer(
                HOME,
                ADA,
                FetchPhase::Fetching,
                500,
            )))],
        ),
        (
            "the same offer id of somebody else is another offer",
            7,
            8,
            vec![Change::Offer(Box::new(offer(
                HOME,
                BOB,
                FetchPhase::Offered,
                0,
            )))],
        ),
        (
            "what holds for all transfers changes",
            7,
            8,
            vec![Change::Transfers(slower())],
        ),
        (
            "a message is not part of a snapshot",
            7,
            8,
            vec![Change::Message(message())],
        ),
        (
            "of several changes of one entity the last one counts",
            7,
            10,
            vec![
                Change::Offer(Box::new(offer(HOME, ADA, FetchPhase::Fetching, 500))),
                Change::Person(connected(HOME, ADA)),
                Change::Offer(Box::new(offer(HOME, ADA, FetchPhase::Done, 1000))),
            ],
        ),
        (
            "changes that are already known do not turn the revision back",
            3,
            5,
            vec![Change::Room(room(HOME))],
        ),
        (
            "changes that reach over the snapshot are taken",
            5,
            9,
            vec![Change::Room(lost())],
        ),
        ("something is missing", 8, 9, vec![Change::Room(lost())]),
    ]
    .into_iter()
    .map(|(name, after, rev, changes)| case(name, after, rev, changes))
    .collect();
    assert!(cases.iter().any(|c| c.expected.is_none()));
    let text = serde_json::to_string_pretty(&cases).unwrap();
    golden("fold.json", &format!("{text}\n"));
}

#[test]
fn a_gap_changes_nothing() {
    let mut snapshot = start();
    let changes = Changes {
        after: 8,
        rev: 9,
        changes: vec![Change::RoomGone { room: HOME }],
    };
    assert_eq!(snapshot.apply(&changes), Err(Gap { rev: 7, after: 8 }));
    assert_eq!(snapshot, start());
}

/// Everything that a stranger can make large, as large as can be.
pub(super) fn hostile() -> Changes {
    let mut offer = offer(HOME, ADA, FetchPhase::Fetching, u64::MAX);
    offer.total = u64::MAX;
    offer.at = u64::MAX;
    offer.preview[0].size = u64::MAX;
    offer.receivers.push(ReceiverView {
        peer: BOB,
        name: "Bob".into(),
        phase: ServePhase::Serving,
        done: u64::MAX,
        paused: Paused::default(),
        cap: Some(u64::MAX),
        why: None,
        can: Vec::new(),
    });
    (offer.cap, offer.missing) = (Some(u64::MAX), Some(u64::MAX));
    offer.traffic = Traffic {
        sent: u64::MAX,
        resent: u64::MAX,
        resent_durable: u64::MAX,
        received: u64::MAX,
        received_durable: u64::MAX,
        resumed: u64::MAX,
    };
    let mut message = message();
    (message.at, message.stored, message.seq) = (u64::MAX, u64::MAX, u64::MAX);
    Changes {
        after: u64::MAX,
        rev: u64::MAX,
        changes: vec![
            Change::Offer(Box::new(offer)),
            Change::Message(message),
            Change::Transfers(TransferSettings {
                at_once: u32::MAX,
                up: Some(u64::MAX),
                down: Some(u64::MAX),
                accept: AcceptPolicy {
                    most: Some(u64::MAX),
                    ..AcceptPolicy::default()
                },
            }),
        ],
    }
}

fn case(name: &'static str, after: u64, rev: u64, changes: Vec<Change>) -> Case {
    let snapshot = start();
    let changes = Changes {
        after,
        rev,
        changes,
    };
    let mut expected = snapshot.clone();
    let applied = expected.apply(&changes);
    Case {
        name,
        snapshot,
        changes,
        expected: applied.is_ok().then_some(expected),
    }
}

fn start() -> Snapshot {
    Snapshot {
        rev: 7,
        me: me("Me"),
        rooms: vec![room(HOME), room(WORK)],
        people: vec![
            person(HOME, ADA, "Ada"),
            person(WORK, ADA, "Ada"),
            person(HOME, BOB, "Bob"),
        ],
        offers: vec![
            offer(HOME, ADA, FetchPhase::Offered, 0),
            offer(WORK, ADA, FetchPhase::Offered, 0),
        ],
        transfers: TransferSettings::default(),
    }
}

fn me(name: &str) -> Me {
    Me {
        peer: ME,
        name: name.into(),
    }
}

fn room(room: RoomId) -> RoomView {
    RoomView {
        room,
        invite: "kith://example.org/j#v1.secret.inviter".into(),
        server: "example.org".into(),
        session: SessionPhase::Joined,
        why: None,
    }
}

fn lost() -> RoomView {
    RoomView {
        session: SessionPhase::Waiting,
        why: Some(Code::ServerUnreachable),
        ..room(HOME)
    }
}

fn person(room: RoomId, peer: PeerId, name: &str) -> PersonView {
    PersonView {
        room,
        peer,
        name: name.into(),
        presence: Presence::Online,
        link: LinkPhase::Connecting,
        route: None,
        why: None,
        inviter: peer == ADA,
    }
}

fn connected(room: RoomId, peer: PeerId) -> PersonView {
    PersonView {
        link: LinkPhase::Connected,
        route: Some(Route::Lan),
        ..person(room, peer, "Ada")
    }
}

fn offer(room: RoomId, from: PeerId, phase: FetchPhase, done: u64) -> OfferView {
    OfferView {
        room,
        from,
        offer: OfferId([6; 16]),
        mine: false,
        at: 1_800_000_000_000,
        name: "holiday.zip".into(),
        note: None,
        entries: 1,
        preview: vec![FileView {
            path: "holiday.zip".into(),
            size: 1000,
            dir: false,
        }],
        total: 1000,
        phase,
        done,
        paused: Paused::default(),
        queued: None,
        cap: None,
        missing: None,
        dir: None,
        path: None,
        why: None,
        by: None,
        strategy: None,
        receivers: Vec::new(),
        traffic: Traffic::default(),
        can: vec![OfferAction::Accept, OfferAction::Decline],
    }
}

fn slower() -> TransferSettings {
    TransferSettings {
        at_once: 1,
        up: Some(1_000_000),
        down: None,
        accept: AcceptPolicy {
            from: vec![ADA],
            most: Some(1_000_000_000),
            kinds: vec!["jpg".into()],
            dir: "/home/ada/Pictures".into(),
        },
    }
}

fn message() -> MessageView {
    MessageView {
        room: HOME,
        author: ADA,
        name: "Ada".into(),
        seq: 1,
        id: MsgId([7; 16]),
        at: 1_800_000_000_000,
        stored: 1_800_000_000_100,
        text: "hello".into(),
        delivered: Vec::new(),
    }
}
