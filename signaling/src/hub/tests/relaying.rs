use super::*;

#[test]
fn a_signal_reaches_one_member_with_its_sender_stamped() {
    let mut w = World::new();
    w.room_of(&[1, 2, 3]);
    let body = Blob(b"hello".to_vec().into());
    let want = Effect::Send {
        to: conn(2),
        message: ServerMessage::Signal { from: sid(1), body },
        sender: Some(conn(1)),
    };
    assert_eq!(w.say(1, signal(2, "hello")), [want]);
    let m = w.hub.metrics();
    assert_eq!((m.relayed, m.relayed_bytes), (1, 5));
}

#[test]
fn a_forged_from_is_not_a_message() {
    let mut w = World::new();
    w.room_of(&[1, 2]);
    let forged = format!(
        r#"{{"type":"signal","to":"{}","from":"{}","body":""}}"#,
        sid(2),
        sid(3)
    );
    let effects = w.text(1, &forged);
    assert_eq!(errors(&effects), [error(1, Code::BadMessage, None)]);
    let left = ServerMessage::MemberLeft {
        sid: sid(1),
        why: LeftWhy::Refused,
    };
    assert!(effects.contains(&send(2, left)));
}

#[test]
fn signals_stay_in_their_room() {
    let mut w = World::new();
    w.enter(1, 1);
    w.enter(2, 2);
    w.open(3);
    for to in [2, 3, 1, 77] {
        let want = [error(1, Code::NoSuchMember, Some(to))];
        assert_eq!(errors(&w.say(1, signal(to, "x"))), want, "{to}");
    }
}

#[test]
fn a_body_over_its_limit_is_refused_and_the_connection_lives() {
    let mut w = World::new();
    w.room_of(&[1, 2]);
    let big = "x".repeat(limits::MAX_SIGNAL + 1);
    assert_eq!(
        errors(&w.say(1, signal(2, &big))),
        [error(1, Code::TooLarge, None)]
    );
    let longer = " ".repeat(limits::MAX_ROOM_MESSAGE + 1);
    assert_eq!(
        errors(&w.text(1, &longer)),
        [error(1, Code::TooLarge, None)]
    );
    assert_eq!(w.say(1, signal(2, &big[1..])).len(), 1);
    assert_eq!(w.hub.metrics().limited_size, 2);
}

#[test]
fn messages_over_the_rate_are_refused_then_the_connection_is() {
    let mut w = World::with(Config {
        message_rate: Rate::new(1, 4),
        strikes: Rate::new(0, 2),
        ..Config::default()
    });
    w.room_of(&[1, 2]); // Two messages of the four.
    assert_eq!(errors(&w.say(1, signal(2, "3"))), []);
    assert_eq!(errors(&w.say(1, signal(2, "4"))), []);
    for _ in 0..2 {
        assert_eq!(
            errors(&w.say(1, signal(2, "5"))),
            [error(1, Code::RateLimited, None)]
        );
    }
    let mut again = World::with(Config {
        message_rate: Rate::new(1, 4),
        ..Config::default()
    });
    again.room_of(&[1, 2]);
    for _ in 0..3 {
        again.say(1, signal(2, "x"));
    }
    again.pass(secs(1));
    assert_eq!(errors(&again.say(1, signal(2, "x"))), []);
    let effects = w.act(Input::PingSeen { conn: conn(1) });
    assert_eq!(closes(&effects), [closed(1, close::POLICY)]);
    assert_eq!(w.hub.metrics().limited_messages, 3);
}

#[test]
fn bytes_are_rationed_too() {
    let mut w = World::with(Config {
        byte_rate: Rate::new(1_000, 3_000),
        ..Config::default()
    });
    w.room_of(&[1, 2]);
    let body = "x".repeat(1_500);
    assert_eq!(errors(&w.say(1, signal(2, &body))), []);
    assert_eq!(
        errors(&w.say(1, signal(2, &body))),
        [error(1, Code::RateLimited, None)]
    );
}

#[test]
fn violations_close_with_their_code() {
    for (what, code, close) in [
        (Violation::TooLarge, Code::TooLarge, 1009),
        (Violation::Binary, Code::BadMessage, 1003),
        (Violation::NotUtf8, Code::BadMessage, 1007),
        (Violation::Framing, Code::BadMessage, 1002),
    ] {
        let mut w = World::new();
        w.open(1);
        let broke = Input::Broke {
            conn: conn(1),
            what,
        };
        assert_refused(&w.act(broke.clone()), 1, code, close);
        assert_eq!(w.act(broke), [], "it is gone");
    }
}

#[test]
fn a_silent_connection_is_pinged_twice_and_closed() {
    let mut w = World::new();
    w.room_of(&[1, 2]);
    let ping = |n| Effect::Ping { conn: conn(n) };
    for beat in 1..=2 {
        assert_eq!(
            w.pass(limits::PING_EVERY),
            [ping(1), ping(2)],
            "beat {beat}"
        );
        w.act(Input::PongSeen { conn: conn(2) });
    }
    let effects = w.pass(limits::PING_EVERY);
    assert_eq!(closes(&effects), [closed(1, close::POLICY)]);
    let left = ServerMessage::MemberLeft {
        sid: sid(1),
        why: LeftWhy::TimedOut,
    };
    assert!(effects.contains(&send(2, left)));
    assert!(effects.contains(&ping(2)));
}

#[test]
fn a_slow_reader_makes_its_sender_wait_and_is_closed() {
    let full = |sender: Option<u8>| Input::Full {
        to: conn(2),
        sender: sender.map(conn),
    };
    let mut w = World::new();
    w.room_of(&[1, 2]);
    w.say(1, signal(2, "x"));
    assert_eq!(
        errors(&w.act(full(Some(1)))),
        [error(1, Code::Busy, Some(2))]
    );
    assert_eq!(w.hub.metrics().relayed, 0);
    // Room again: the time starts anew.
    w.pass(secs(9));
    w.act(Input::Relieved { to: conn(2) });
    assert_eq!(closes(&w.pass(secs(2))), []);
    w.act(full(Some(1)));
    w.pass(secs(5));
    w.act(full(Some(1)));
    let effects = w.pass(secs(5));
    assert_eq!(closes(&effects), [closed(2, close::POLICY)]);
    assert_eq!(w.hub.metrics().slow_closed, 1);

    let mut w = World::new();
    w.room_of(&[1, 2]);
    assert_eq!(closes(&w.act(full(None))), [closed(2, close::POLICY)]);
}

#[test]
fn turn_credentials_are_renewed_before_they_expire() {
    let mut w = World::with(Config {
        turn_urls: vec!["turn:t".into()],
        turn_secret: Secret::new("north"),
        turn_ttl: secs(100),
        ping_every: secs(10_000),
        ..Config::default()
    });
    let Effect::Send {
        message:
            ServerMessage::Joined {
                ice_servers,
                ice_ttl,
                token,
                ..
            },
        ..
    } = w.enter(1, 1).remove(0)
    else {
        panic!();
    };
    let name = |servers: &[kith_protocol::room::IceServer]| servers[1].username.clone().unwrap();
    assert_eq!(
        (ice_ttl, name(&ice_servers)),
        (100, format!("1000100:{}", sid(1)))
    );
    assert_eq!(w.pass(secs(79)), []);
    let renewed = w.pass(secs(1));
    let [
        Effect::Send {
            message:
                ServerMessage::IceServers {
                    ice_servers,
                    ice_ttl,
                },
            ..
        },
    ] = &renewed[..]
    else {
        panic!("{renewed:?}");
    };
    assert_eq!(
        (*ice_ttl, name(ice_servers)),
        (100, format!("1000180:{}", sid(1)))
    );
    assert_eq!(w.pass(secs(80)).len(), 1);
    let asked = w.hub.ice_servers(&token, 5).unwrap();
    assert_eq!(name(&asked.ice_servers), format!("105:{}", sid(1)));
    for bad in ["", "x", &token[1..], &"A".repeat(22), &"A".repeat(500)] {
        assert_eq!(w.hub.ice_servers(bad, 5), None);
    }
    w.act(Input::Closed { conn: conn(1) });
    assert_eq!(w.hub.ice_servers(&token, 5), None);
}

#[test]
fn a_drain_tells_everybody_then_closes() {
    let mut w = World::new();
    w.room_of(&[1, 2]);
    w.open(3);
    let say = |n, after_ms| send(n, ServerMessage::Restarting { after_ms });
    assert_eq!(
        w.act(Input::Drain),
        [say(1, 1000), say(2, 1000), say(3, 1000)]
    );
    assert_eq!(w.act(Input::Drain), []);
    w.pass(Duration::from_millis(400));
    let effects = w.open_from(4, "192.0.2.4");
    assert_eq!(effects[0], say(4, 600));
    assert_eq!(closes(&effects), [closed(4, close::RESTART)]);
    assert_eq!(w.say(1, signal(2, "until the end")).len(), 1);
    let effects = w.pass(Duration::from_millis(600));
    assert_eq!(effects.len(), 3, "no farewells among those who go");
    assert_eq!(
        closes(&effects),
        [1, 2, 3].map(|n| closed(n, close::RESTART))
    );
    assert_eq!(w.hub.gauges(), Gauges::default());
}
