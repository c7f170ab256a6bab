//! Any sequence of inputs: no panic, no word across rooms, no forged sender, nothing left behind.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap as Map;

const CLIENTS: u8 = 6;

#[derive(Debug, Clone)]
enum Act {
    Open(u8),
    /// Client, room, claimed sid, whether the proof is good.
    Enter(u8, u8, u8, bool),
    Say(u8, ClientMessage),
    Garbage(u8, String),
    Close(u8),
    Break(u8),
    Pong(u8),
    Full(u8, u8),
    Relieved(u8),
    Wait(u64),
    Drain,
}

fn act() -> impl Strategy<Value = Act> {
    let client = || 0..CLIENTS;
    let step = prop::sample::select(vec![
        CallStep::Request,
        CallStep::Accept,
        CallStep::Reject,
        CallStep::Cancel,
        CallStep::HangUp,
    ]);
    let call = (client(), prop::option::of(client()), 0u8..3, step);
    prop_oneof![
        4 => client().prop_map(Act::Open),
        8 => (client(), 0u8..2, client(), prop::bool::weighted(0.9))
            .prop_map(|(n, r, s, ok)| Act::Enter(n, r, s, ok)),
        8 => (client(), client()).prop_map(|(n, to)| Act::Say(n, signal(to, "x"))),
        8 => call.prop_map(|(n, to, id, step)| Act::Say(n, ClientMessage::Call {
            to: to.map(sid),
            call_id: CallId([id; 16]),
            step,
        })),
        1 => client().prop_map(|n| Act::Say(n, ClientMessage::Leave {})),
        1 => client().prop_map(|n| Act::Say(n, ClientMessage::Ping { t: 0 })),
        1 => (client(), ".{0,20}").prop_map(|(n, s)| Act::Garbage(n, s)),
        2 => client().prop_map(Act::Close),
        1 => client().prop_map(Act::Break),
        2 => client().prop_map(Act::Pong),
        2 => (client(), client()).prop_map(|(a, b)| Act::Full(a, b)),
        1 => client().prop_map(Act::Relieved),
        3 => (0u64..20_000).prop_map(Act::Wait),
        1 => Just(Act::Drain),
    ]
}

/// What the test believes, told only by effects: who is where, under which sid.
#[derive(Default)]
struct Belief {
    live: Map<ConnId, Option<(RoomId, Sid)>>,
}

impl Belief {
    fn check(&mut self, effects: &[Effect], joining: Option<RoomId>) {
        for effect in effects {
            match effect {
                Effect::Send {
                    to,
                    message,
                    sender,
                } => self.check_send(*to, message, *sender, joining),
                Effect::Close { conn, .. } => {
                    self.live.remove(conn);
                }
                Effect::Ping { conn } => assert!(self.live.contains_key(conn)),
            }
        }
    }

    fn check_send(
        &mut self,
        to: ConnId,
        message: &ServerMessage,
        sender: Option<ConnId>,
        joining: Option<RoomId>,
    ) {
        match message {
            ServerMessage::Joined { you, .. } => {
                let room = joining.expect("a join was going on");
                self.live.insert(to, Some((room, *you)));
            }
            ServerMessage::Signal { from, .. } => {
                let sender = sender.expect("signals name their sender");
                let (room, sid) = self.live[&sender].expect("the sender is in");
                assert_eq!(*from, sid, "the stamp is the sender's");
                assert_eq!(self.live[&to].expect("the reader is in").0, room);
            }
            ServerMessage::Call { .. }
            | ServerMessage::MemberJoined { .. }
            | ServerMessage::MemberLeft { .. } => assert!(self.live[&to].is_some()),
            ServerMessage::Challenge { .. }
            | ServerMessage::Room { .. }
            | ServerMessage::IceServers { .. }
            | ServerMessage::Restarting { .. }
            | ServerMessage::Pong { .. }
            | ServerMessage::Error { .. }
            | ServerMessage::Unknown => {}
        }
    }
}

fn run(acts: Vec<Act>) {
    let mut w = World::with(Config {
        turn_urls: vec!["turn:t".into()],
        turn_secret: Secret::new("north"),
        turn_ttl: secs(30),
        room_capacity: 4,
        message_rate: Rate::new(5, 20),
        strikes: Rate::new(0, 3),
        max_per_address: 4,
        ..Config::default()
    });
    let mut belief = Belief::default();
    let mut ids: Map<u8, ConnId> = (0..CLIENTS).map(|n| (n, ConnId(9_000))).collect();
    let mut next = 0;
    for act in acts {
        let mut joining = None;
        let text = |ids: &Map<u8, ConnId>, n: u8, m: ClientMessage| Input::Text {
            conn: ids[&n],
            text: m.to_text(),
        };
        let input = match act {
            Act::Open(n) => {
                let conn = ConnId(next);
                next += 1;
                // The client's last connection goes first.
                let effects = w.act(Input::Closed { conn: ids[&n] });
                belief.live.remove(&ids[&n]);
                belief.check(&effects, None);
                ids.insert(n, conn);
                belief.live.insert(conn, None);
                let addr = [192, 0, 2, n % 2].into();
                Input::Connected {
                    conn,
                    addr,
                    host: HOST.into(),
                }
            }
            Act::Enter(n, room, as_sid, good) => {
                let effects = w.act(text(&ids, n, join(room, as_sid)));
                belief.check(&effects, None);
                let nonce = effects.iter().find_map(|e| match e {
                    Effect::Send {
                        message: ServerMessage::Challenge { nonce },
                        ..
                    } => Some(*nonce),
                    _ => None,
                });
                let Some(nonce) = nonce else { continue };
                joining = Some(keys(room).room_id());
                let origin = if good { HOST } else { "evil" };
                let sig = keys(room).prove(origin, &nonce, &sid(as_sid));
                text(&ids, n, ClientMessage::Prove { sig })
            }
            Act::Say(n, m) => text(&ids, n, m),
            Act::Garbage(n, text) => Input::Text {
                conn: ids[&n],
                text,
            },
            Act::Close(n) => {
                belief.live.remove(&ids[&n]);
                Input::Closed { conn: ids[&n] }
            }
            Act::Break(n) => Input::Broke {
                conn: ids[&n],
                what: Violation::Binary,
            },
            Act::Pong(n) => Input::PongSeen { conn: ids[&n] },
            Act::Full(a, b) => Input::Full {
                to: ids[&a],
                sender: (a != b).then_some(ids[&b]),
            },
            Act::Relieved(n) => Input::Relieved { to: ids[&n] },
            Act::Wait(ms) => {
                let effects = w.pass(Duration::from_millis(ms));
                belief.check(&effects, None);
                continue;
            }
            Act::Drain => Input::Drain,
        };
        let effects = w.act(input);
        belief.check(&effects, joining);
        check_hub(&w.hub, &belief);
    }
    let all: Vec<ConnId> = w.hub.conns.keys().copied().collect();
    for conn in all {
        w.act(Input::Closed { conn });
    }
    assert_eq!(w.hub.gauges(), Gauges::default());
    assert_eq!(w.hub.metrics().calls.live, 0);
    w.pass(secs(600));
    assert_eq!(w.hub.deadline(), None);
}

fn check_hub(hub: &Hub, belief: &Belief) {
    let mut members = 0;
    for (id, room) in &hub.rooms {
        assert!(!room.is_empty(), "an empty room is freed at once");
        for (sid, conn) in room.members() {
            members += 1;
            assert_eq!(belief.live.get(&conn), Some(&Some((*id, sid))));
        }
    }
    assert_eq!(members, hub.tokens.len());
    assert_eq!(hub.conns.len(), belief.live.len());
    let c = &hub.metrics.calls;
    assert!(c.answered <= c.started && c.live <= c.peak);
    assert!(c.ended + c.rejected + c.missed <= c.started);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]
    #[test]
    fn no_sequence_breaks_the_hub(acts in prop::collection::vec(act(), 1..80)) {
        run(acts);
    }

    #[test]
    fn no_text_panics(text in ".{0,200}") {
        let mut w = World::new();
        w.open(1);
        w.text(1, &text);
    }
}
