use super::*;
use crate::testing::World;
use kith_protocol::ids::Nonce;
use kith_protocol::room::{Member, RoomInfo};

fn keys() -> RoomKeys {
    RoomKeys::derive(&[1; 32])
}

fn session() -> Session {
    Session::new(keys().room_id(), ServerAddr::parse("example.org").unwrap())
}

fn dialled(world: &mut World) -> (Session, Sid) {
    let mut s = session();
    s.start(&mut world.ctx());
    let Some(Effect::Session(_, sid, SessionEffect::Dial(_))) = world.pop() else {
        panic!()
    };
    (s, sid)
}

fn joined(world: &mut World) -> (Session, Sid) {
    let (mut s, sid) = dialled(world);
    s.handle(sid, SessionNews::Connected, &keys(), &mut world.ctx());
    let m = ServerMessage::Challenge {
        nonce: Nonce([2; 32]),
    };
    s.handle(sid, SessionNews::Message(m), &keys(), &mut world.ctx());
    let members = [Sid([3; 16]), sid, Sid([3; 16])];
    let m = ServerMessage::Joined {
        you: sid,
        members: members.map(|sid| Member { sid, caps: vec![] }).to_vec(),
        room: RoomInfo {
            locked: false,
            capacity: 9,
        },
        ice_servers: vec![],
        ice_ttl: 0,
        token: String::new(),
    };
    let out = s.handle(sid, SessionNews::Message(m), &keys(), &mut world.ctx());
    assert_eq!(out, Some(SessionOut::Joined(vec![Sid([3; 16])])));
    (s, sid)
}

#[test]
fn joins_with_a_proof_that_holds() {
    let mut world = World::new();
    let (s, sid) = joined(&mut world);
    assert_eq!(s.phase(), (SessionPhase::Joined, None));
    let sent = world.drain();
    let [
        Effect::Session(_, _, SessionEffect::Send(ClientMessage::Join { access_pk, .. })),
        Effect::Session(_, _, SessionEffect::Send(ClientMessage::Prove { sig })),
    ] = &sent[..]
    else {
        panic!("{sent:?}")
    };
    let room = keys().room_id();
    let nonce = Nonce([2; 32]);
    let ok =
        kith_protocol::invite::verify_proof(access_pk, &room, "example.org", &nonce, &sid, sig);
    assert!(ok);
}

#[test]
fn a_lost_server_is_dialled_again_with_growing_random_delays_and_a_new_sid() {
    let mut world = World::new();
    let (mut s, mut sid) = dialled(&mut world);
    let mut seen = vec![sid];
    for round in 0..12u32 {
        let news = SessionNews::Closed(Code::ServerUnreachable);
        let out = s.handle(sid, news, &keys(), &mut world.ctx());
        assert_eq!(out, Some(SessionOut::Lost));
        let at = s.deadline().unwrap().at;
        let delay = at.since(world.now.mono);
        let most = (BACKOFF_FIRST * (1 << round.min(10))).min(BACKOFF_LAST);
        assert!(
            delay >= BACKOFF_FLOOR && delay <= most,
            "{round}: {delay:?}"
        );
        world.now.mono = at;
        // What is kept of a connection is let go with it.
        let effects = world.drain();
        assert!(
            matches!(effects[..], [Effect::Session(_, gone, SessionEffect::Close)] if gone == sid)
        );
        s.on_time(&mut world.ctx());
        let Some(Effect::Session(_, next, SessionEffect::Dial(_))) = world.pop() else {
            panic!()
        };
        assert!(!seen.contains(&next));
        seen.push(next);
        sid = next;
    }
}

#[test]
fn a_final_refusal_is_not_retried() {
    for (code, phase) in [
        (Code::BadProof, SessionPhase::Refused),
        (Code::UnsupportedVersion, SessionPhase::Refused),
        (Code::RoomFull, SessionPhase::Waiting),
        (Code::RateLimited, SessionPhase::Waiting),
    ] {
        let mut world = World::new();
        let (mut s, sid) = dialled(&mut world);
        s.handle(sid, SessionNews::Connected, &keys(), &mut world.ctx());
        let m = ServerMessage::Error {
            code,
            message: String::new(),
            about: None,
        };
        s.handle(sid, SessionNews::Message(m), &keys(), &mut world.ctx());
        assert_eq!(s.phase(), (phase, Some(code)));
    }
}

#[test]
fn silence_is_asked_about_and_then_believed() {
    let mut world = World::new();
    let (mut s, sid) = joined(&mut world);
    world.drain();
    world.now.mono = s.deadline().unwrap().at;
    assert_eq!(s.on_time(&mut world.ctx()), None);
    let ping = world.pop();
    assert!(matches!(
        ping,
        Some(Effect::Session(
            _,
            _,
            SessionEffect::Send(ClientMessage::Ping { .. })
        ))
    ));
    let m = ServerMessage::Pong { t: 0 };
    s.handle(sid, SessionNews::Message(m), &keys(), &mut world.ctx());
    assert_eq!(s.deadline().unwrap().why, "heartbeat");
    world.now.mono = s.deadline().unwrap().at;
    s.on_time(&mut world.ctx());
    world.now.mono = s.deadline().unwrap().at;
    assert_eq!(s.on_time(&mut world.ctx()), Some(SessionOut::Lost));
    assert_eq!(s.phase().0, SessionPhase::Waiting);
}

#[test]
fn news_of_an_earlier_connection_is_ignored() {
    let mut world = World::new();
    let (mut s, _) = joined(&mut world);
    let news = SessionNews::Closed(Code::ServerUnreachable);
    assert_eq!(
        s.handle(Sid([9; 16]), news, &keys(), &mut world.ctx()),
        None
    );
    assert_eq!(s.phase().0, SessionPhase::Joined);
}

#[test]
fn messages_before_their_time_are_ignored() {
    let mut world = World::new();
    let (mut s, sid) = dialled(&mut world);
    for m in [
        ServerMessage::MemberJoined {
            sid: Sid([7; 16]),
            caps: vec![],
        },
        ServerMessage::Signal {
            from: Sid([7; 16]),
            body: vec![1].into(),
        },
        ServerMessage::Challenge {
            nonce: Nonce([0; 32]),
        },
    ] {
        let out = s.handle(sid, SessionNews::Message(m), &keys(), &mut world.ctx());
        assert_eq!(out, None);
    }
    assert!(world.drain().is_empty());
}

#[test]
fn after_a_change_of_address_the_server_is_asked_and_given_little_time() {
    let mut world = World::new();
    let (mut s, sid) = joined(&mut world);
    world.drain();
    s.on_addresses_changed(&mut world.ctx());
    let Some(Effect::Session(_, _, SessionEffect::Send(ClientMessage::Ping { t }))) = world.pop()
    else {
        panic!("the server is asked");
    };
    // It answers: all is well.
    let pong = |t| SessionNews::Message(ServerMessage::Pong { t });
    s.handle(sid, pong(t), &keys(), &mut world.ctx());
    world.now.mono = world.now.mono + PROBE;
    assert_eq!(s.on_time(&mut world.ctx()), None);
    // It does not, as what still comes was on its way before: dial anew.
    s.on_addresses_changed(&mut world.ctx());
    let asked = world.now.mono;
    s.handle(sid, pong(asked.0 - 1), &keys(), &mut world.ctx());
    world.now.mono = s.deadline().unwrap().at;
    assert_eq!(world.now.mono.since(asked), PROBE);
    assert_eq!(s.on_time(&mut world.ctx()), Some(SessionOut::Lost));
    // And while waiting, a new address is a reason to try at once.
    s.on_addresses_changed(&mut world.ctx());
    assert!(s.deadline().unwrap().at <= world.now.mono + BACKOFF_FLOOR);
}

#[test]
fn a_server_that_throws_us_out_at_once_is_not_dialled_in_a_loop() {
    let mut world = World::new();
    let (mut s, mut sid) = joined(&mut world);
    let start = world.now.mono;
    for _ in 0..12 {
        let closed = SessionNews::Closed(Code::Restarting);
        assert_eq!(
            s.handle(sid, closed, &keys(), &mut world.ctx()),
            Some(SessionOut::Lost)
        );
        world.now.mono = s.deadline().unwrap().at;
        world.drain();
        s.on_time(&mut world.ctx());
        let Some(Effect::Session(_, next, SessionEffect::Dial(_))) = world.pop() else {
            panic!()
        };
        sid = next;
        s.handle(sid, SessionNews::Connected, &keys(), &mut world.ctx());
        let joined = ServerMessage::Joined {
            you: sid,
            members: vec![],
            room: RoomInfo {
                locked: false,
                capacity: 9,
            },
            ice_servers: vec![],
            ice_ttl: 0,
            token: String::new(),
        };
        s.handle(sid, SessionNews::Message(joined), &keys(), &mut world.ctx());
        assert!(s.joined_sid().is_some());
    }
    assert!(
        world.now.mono.since(start) > Duration::from_secs(15),
        "the delays grow"
    );
    world.now.mono = world.now.mono + STEADY;
    s.handle(
        sid,
        SessionNews::Closed(Code::Restarting),
        &keys(),
        &mut world.ctx(),
    );
    assert!(
        s.deadline().unwrap().at <= world.now.mono + BACKOFF_FIRST,
        "and start over"
    );
}

#[test]
fn a_server_that_once_let_us_in_cannot_make_us_give_up() {
    let mut world = World::new();
    let (mut s, sid) = joined(&mut world);
    let closed = SessionNews::Closed(Code::NotARoomServer);
    s.handle(sid, closed, &keys(), &mut world.ctx());
    let waiting = (SessionPhase::Waiting, Some(Code::NotARoomServer));
    assert_eq!(s.phase(), waiting);
    for code in [Code::BadProof, Code::RoomLocked, Code::UnsupportedVersion] {
        world.now.mono = s.deadline().unwrap().at;
        world.drain();
        s.on_time(&mut world.ctx());
        let Some(Effect::Session(_, sid, SessionEffect::Dial(_))) = world.pop() else {
            panic!()
        };
        s.handle(sid, SessionNews::Connected, &keys(), &mut world.ctx());
        let m = SessionNews::Message(ServerMessage::Error {
            code,
            message: String::new(),
            about: None,
        });
        s.handle(sid, m, &keys(), &mut world.ctx());
        assert_eq!(s.phase(), (SessionPhase::Waiting, Some(code)));
    }
}

#[test]
fn a_proof_is_made_once_and_another_sid_than_ours_is_not_ours() {
    let mut world = World::new();
    let (mut s, sid) = dialled(&mut world);
    s.handle(sid, SessionNews::Connected, &keys(), &mut world.ctx());
    world.drain();
    for n in 0..100 {
        let m = SessionNews::Message(ServerMessage::Challenge {
            nonce: Nonce([n; 32]),
        });
        s.handle(sid, m, &keys(), &mut world.ctx());
    }
    assert_eq!(world.drain().len(), 1);
    let m = SessionNews::Message(ServerMessage::Joined {
        you: Sid([9; 16]),
        members: vec![],
        room: RoomInfo {
            locked: false,
            capacity: 9,
        },
        ice_servers: vec![],
        ice_ttl: 0,
        token: String::new(),
    });
    let out = s.handle(sid, m, &keys(), &mut world.ctx());
    assert_eq!(out, Some(SessionOut::Lost));
    assert_eq!(s.phase().0, SessionPhase::Waiting);
}
