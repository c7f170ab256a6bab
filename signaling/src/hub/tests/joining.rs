use super::calling::call_to;
use super::*;
use kith_protocol::room::{Member, RoomInfo};

#[test]
fn two_join_and_see_each_other() {
    let mut w = World::new();
    let first = w.enter(1, 1);
    let [
        Effect::Send {
            to,
            message: ServerMessage::Joined { you, members, .. },
            ..
        },
    ] = &first[..]
    else {
        panic!("{first:?}");
    };
    assert_eq!((*to, *you, members.len()), (conn(1), sid(1), 0));
    let second = w.enter(2, 1);
    let caps = vec!["quic/1".to_owned()];
    let Effect::Send {
        message:
            ServerMessage::Joined {
                members,
                room,
                ice_ttl,
                token,
                ..
            },
        ..
    } = &second[0]
    else {
        panic!("{second:?}");
    };
    assert_eq!(
        members,
        &[Member {
            sid: sid(1),
            caps: caps.clone()
        }]
    );
    assert_eq!(
        *room,
        RoomInfo {
            locked: false,
            capacity: limits::DEFAULT_CAPACITY
        }
    );
    assert_eq!((*ice_ttl, token.len()), (0, 22));
    assert_eq!(
        second[1..],
        [send(1, ServerMessage::MemberJoined { sid: sid(2), caps })]
    );
    assert_eq!(w.hub.gauges().rooms, 1);
}

#[test]
fn a_proof_that_does_not_hold_is_refused_whether_the_room_exists_or_not() {
    type Forge = fn(&Nonce) -> Signature;
    let forgeries: [(&str, Forge); 5] = [
        ("another origin", |n| {
            keys(1).prove("evil.example", n, &sid(9))
        }),
        ("another nonce", |_| {
            keys(1).prove(HOST, &Nonce([0; 32]), &sid(9))
        }),
        ("another sid", |n| keys(1).prove(HOST, n, &sid(8))),
        ("another room's key", |n| keys(2).prove(HOST, n, &sid(9))),
        ("garbage", |_| Signature([7; 64])),
    ];
    for (what, forge) in forgeries {
        let refusals = [true, false].map(|exists| {
            let mut w = World::new();
            if exists {
                w.enter(1, 1);
            }
            w.open(9);
            let nonce = w.ask(9, 1, 9);
            let sig = forge(&nonce);
            let effects = w.say(9, ClientMessage::Prove { sig });
            assert_refused(&effects, 9, Code::BadProof, close::POLICY);
            assert_eq!(w.hub.metrics().refused_proof, 1, "{what}");
            effects
        });
        assert_eq!(refusals[0], refusals[1], "{what}");
    }
}

#[test]
fn a_room_id_that_is_not_the_keys_is_refused() {
    let mut w = World::new();
    w.enter(1, 1);
    w.open(2);
    let message = ClientMessage::Join {
        room_id: keys(1).room_id(),
        sid: sid(2),
        access_pk: keys(2).access_pk(),
        caps: vec![],
    };
    let effects = w.say(2, message);
    let [
        Effect::Send {
            message: ServerMessage::Challenge { nonce },
            ..
        },
    ] = effects[..]
    else {
        panic!("{effects:?}");
    };
    let effects = w.prove(2, 2, 2, &nonce);
    assert_refused(&effects, 2, Code::BadProof, close::POLICY);
}

#[test]
fn a_replayed_proof_is_refused() {
    let mut w = World::new();
    w.open(1);
    let nonce = w.ask(1, 1, 1);
    w.prove(1, 1, 1, &nonce);
    w.act(Input::Closed { conn: conn(1) });
    w.open(2);
    let fresh = w.ask(2, 1, 1);
    assert_ne!(nonce, fresh);
    let effects = w.prove(2, 1, 1, &nonce);
    assert_refused(&effects, 2, Code::BadProof, close::POLICY);
}

#[test]
fn configured_origins_replace_the_host_header() {
    let named = |origins: &[&str]| {
        let mut w = World::with(Config {
            public_origins: origins.iter().map(|o| o.to_string()).collect(),
            ..Config::default()
        });
        errors(&w.enter(1, 1))
    };
    assert_eq!(
        named(&["elsewhere.example"]),
        [error(1, Code::BadProof, None)]
    );
    assert_eq!(named(&["elsewhere.example", HOST]), []);
}

#[test]
fn a_sid_in_use_is_refused_and_its_owner_stays() {
    let mut w = World::new();
    w.room_of(&[1, 2]);
    w.open(9);
    let nonce = w.ask(9, 1, 1);
    let effects = w.prove(9, 1, 1, &nonce);
    assert_refused(&effects, 9, Code::BadProof, close::POLICY);
    let effects = w.say(2, signal(1, "still there?"));
    assert!(matches!(&effects[..], [Effect::Send { to, .. }] if *to == conn(1)));
}

#[test]
fn a_full_room_says_so_only_to_those_with_a_proof() {
    let mut w = World::with(Config {
        room_capacity: 1,
        ..Config::default()
    });
    w.enter(1, 1);
    assert_refused(&w.enter(2, 1), 2, Code::RoomFull, close::POLICY);
    w.open(3);
    w.ask(3, 1, 3);
    let effects = w.say(
        3,
        ClientMessage::Prove {
            sig: Signature([0; 64]),
        },
    );
    assert_refused(&effects, 3, Code::BadProof, close::POLICY);
    w.say(1, ClientMessage::Leave {});
    assert_eq!(errors(&w.enter(4, 1)), []);
}

#[test]
fn proofs_are_rationed_per_address_before_they_are_checked() {
    let mut w = World::with(Config {
        join_rate: Rate::new(1, 2),
        ..Config::default()
    });
    let attempt = |w: &mut World, n: u8, good: bool| {
        w.open_from(n, "198.51.100.1");
        let nonce = w.ask(n, 1, n);
        if good {
            return w.prove(n, 1, n, &nonce);
        }
        w.say(
            n,
            ClientMessage::Prove {
                sig: Signature([0; 64]),
            },
        )
    };
    for n in [1, 2] {
        assert_refused(&attempt(&mut w, n, false), n, Code::BadProof, close::POLICY);
    }
    // Even a good proof: nothing was checked.
    assert_refused(
        &attempt(&mut w, 3, true),
        3,
        Code::RateLimited,
        close::POLICY,
    );
    assert_eq!(w.hub.metrics().refused_rate, 1);
    assert_eq!(errors(&w.enter(4, 1)), [], "another address");
    w.pass(secs(1));
    assert_eq!(errors(&attempt(&mut w, 5, true)), []);
}

#[test]
fn connections_are_capped_in_number_and_in_rate() {
    let mut w = World::with(Config {
        max_connections: 4,
        max_per_address: 2,
        connect_rate: Rate::new(1, 3),
        ..Config::default()
    });
    let one = "2001:db8::1";
    assert_eq!(w.open_from(1, one), []);
    assert_eq!(w.open_from(2, "2001:db8::2"), []);
    assert_refused(&w.open_from(3, one), 3, Code::RateLimited, close::TRY_LATER);
    w.act(Input::Closed { conn: conn(1) });
    assert_eq!(w.open_from(4, one), []);
    w.act(Input::Closed { conn: conn(4) });
    assert_refused(&w.open_from(5, one), 5, Code::RateLimited, close::TRY_LATER);
    for n in [6, 7, 8] {
        w.open(n);
    }
    let effects = w.open_from(9, "192.0.2.200");
    assert_refused(&effects, 9, Code::RateLimited, close::TRY_LATER);
    assert_eq!(w.hub.metrics().limited_connections, 3);
    assert_eq!(w.hub.gauges().connections, 4);
}

#[test]
fn who_does_not_join_in_time_is_closed() {
    let mut w = World::new();
    w.open(1);
    w.open(2);
    w.ask(2, 1, 2);
    w.enter(3, 1);
    assert_eq!(w.pass(limits::JOIN_TIMEOUT - Duration::from_millis(1)), []);
    let effects = w.pass(Duration::from_millis(1));
    assert_eq!(
        closes(&effects),
        [closed(1, close::POLICY), closed(2, close::POLICY)]
    );
    assert_eq!(w.hub.metrics().refused_late, 2);
    assert_eq!(w.hub.gauges().connections, 1);
}

#[test]
fn messages_out_of_place_are_refused() {
    let prove = || ClientMessage::Prove {
        sig: Signature([0; 64]),
    };
    let mut w = World::new();
    w.open(1);
    assert_refused(&w.say(1, prove()), 1, Code::BadMessage, close::POLICY);
    w.open(2);
    w.ask(2, 1, 2);
    assert_refused(&w.say(2, join(1, 2)), 2, Code::BadMessage, close::POLICY);
    w.enter(3, 1);
    assert_refused(&w.say(3, join(2, 3)), 3, Code::BadMessage, close::POLICY);
    w.enter(4, 1);
    assert_refused(&w.say(4, prove()), 4, Code::BadMessage, close::POLICY);
    w.open(5);
    for text in [
        "",
        "5",
        "[]",
        "{",
        r#"{"type":"dance"}"#,
        r#"{"type":"leave","x":1}"#,
    ] {
        assert_refused(&w.text(5, text), 5, Code::BadMessage, close::POLICY);
        w.open(5);
    }
    let early = [signal(1, "x"), call_to(Some(1), CallStep::Request)];
    for message in early {
        assert_eq!(
            errors(&w.say(5, message)),
            [error(5, Code::NotJoined, None)]
        );
    }
    assert_eq!(
        w.say(5, ClientMessage::Ping { t: 3 }),
        [send(5, ServerMessage::Pong { t: 3 })]
    );
}

#[test]
fn caps_that_would_bloat_joined_are_refused() {
    for caps in [
        vec!["x".repeat(32); 17],
        vec!["a\"b".into()],
        vec!["a b".into()],
    ] {
        let mut w = World::new();
        w.open(1);
        let message = ClientMessage::Join {
            room_id: keys(1).room_id(),
            sid: sid(1),
            access_pk: keys(1).access_pk(),
            caps,
        };
        assert_refused(&w.say(1, message), 1, Code::BadMessage, close::POLICY);
    }
}

#[test]
fn the_fullest_room_fits_one_message() {
    let mut w = World::with(Config {
        room_capacity: crate::config::MAX_CAPACITY,
        ..Config::default()
    });
    let mut longest = 0;
    for n in 1..=crate::config::MAX_CAPACITY as u8 {
        w.open(n);
        let message = ClientMessage::Join {
            room_id: keys(1).room_id(),
            sid: sid(n),
            access_pk: keys(1).access_pk(),
            caps: vec!["x".repeat(16); 32],
        };
        let effects = w.say(n, message);
        let [
            Effect::Send {
                message: ServerMessage::Challenge { nonce },
                ..
            },
        ] = effects[..]
        else {
            panic!("{effects:?}");
        };
        for effect in w.prove(n, 1, n, &nonce) {
            if let Effect::Send { message, .. } = effect {
                longest = longest.max(message.to_text().len());
            }
        }
    }
    assert_eq!(
        w.hub.gauges().members,
        usize::from(crate::config::MAX_CAPACITY)
    );
    assert!(
        longest > 30_000 && longest < limits::MAX_ROOM_MESSAGE,
        "{longest}"
    );
}

#[test]
fn leaving_is_seen_and_frees_the_room() {
    let mut w = World::new();
    w.room_of(&[1, 2, 3]);
    let left = |n, why| ServerMessage::MemberLeft { sid: sid(n), why };
    let effects = w.say(1, ClientMessage::Leave {});
    assert_eq!(
        effects[..2],
        [2, 3].map(|to| send(to, left(1, LeftWhy::Left)))
    );
    assert_eq!(closes(&effects), [closed(1, close::NORMAL)]);
    let effects = w.act(Input::Closed { conn: conn(2) });
    assert_eq!(effects, [send(3, left(2, LeftWhy::Closed))]);
    assert_eq!(w.act(Input::Closed { conn: conn(2) }), []);
    w.act(Input::Closed { conn: conn(3) });
    assert_eq!(w.hub.gauges(), Gauges::default());
    w.pass(secs(600));
    assert_eq!(w.hub.deadline(), None, "an empty hub waits for nothing");
}
