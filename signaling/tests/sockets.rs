//! The real server on loopback, driven by real WebSocket clients.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)] // A test may just fail.

mod client;

use std::time::Duration;

use client::{Client, Server, join_raw, keys, quick, refusal, within};
use kith_protocol::Code;
use kith_protocol::room::{CallNews, CallStep, ClientMessage, LeftWhy, ServerMessage};
use kith_protocol::{CallId, Sid};
use kith_signaling::Config;
use kith_signaling::config::Rate;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn two_join_exchange_signals_and_call() {
    let server = Server::start(quick()).await;
    let mut a = Client::join(&server, 1, 1).await;
    let mut b = Client::join(&server, 1, 2).await;
    let ServerMessage::MemberJoined { sid, .. } = a.next().await else {
        panic!();
    };
    assert_eq!(sid, b.sid);
    a.signal(b.sid, b"from a").await;
    b.signal(a.sid, b"from b").await;
    assert_eq!(b.next_signal().await, (a.sid, b"from a".to_vec()));
    assert_eq!(a.next_signal().await, (b.sid, b"from b".to_vec()));
    let call = |step| ClientMessage::Call {
        to: None,
        call_id: CallId([1; 16]),
        step,
    };
    a.say(call(CallStep::Request)).await;
    let news = |m| match m {
        ServerMessage::Call { from, step, .. } => (from, step),
        other => panic!("{other:?}"),
    };
    assert_eq!(news(b.next().await), (a.sid, CallNews::Request));
    b.say(call(CallStep::Accept)).await;
    assert_eq!(news(a.next().await), (b.sid, CallNews::Accept));
    b.say(ClientMessage::Leave {}).await;
    assert_eq!(b.closed().await, 1000);
    assert_eq!(news(a.next().await), (b.sid, CallNews::HangUp));
    let left = ServerMessage::MemberLeft {
        sid: b.sid,
        why: LeftWhy::Left,
    };
    assert_eq!(a.next().await, left);
    server.stop().await;
}

#[tokio::test]
async fn a_dropped_socket_is_seen_by_the_others() {
    let server = Server::start(quick()).await;
    let mut a = Client::join(&server, 1, 1).await;
    let b = Client::join(&server, 1, 2).await;
    a.next().await;
    let sid = b.sid;
    drop(b);
    let why = LeftWhy::Closed;
    assert_eq!(a.next().await, ServerMessage::MemberLeft { sid, why });
    server.stop().await;
}

#[tokio::test]
async fn bad_proofs_and_taken_sids_are_refused() {
    let server = Server::start(quick()).await;
    let mut a = Client::join(&server, 1, 1).await;
    // Another origin, as a server in the middle would pass on.
    let (error, code) = refusal(join_raw(&server, 1, 9, "evil.example").await).await;
    assert_eq!((error, code), (Code::BadProof, 1008));
    let (error, code) = refusal(join_raw(&server, 1, 1, &server.host).await).await;
    assert_eq!((error, code), (Code::BadProof, 1008));
    a.ping(7).await;
    assert_eq!(a.next().await, ServerMessage::Pong { t: 7 });
    server.stop().await;
}

#[tokio::test]
async fn a_configured_origin_is_the_only_one() {
    let server = Server::start(Config {
        public_origins: vec!["rooms.example".into()],
        ..quick()
    })
    .await;
    let refused = refusal(join_raw(&server, 1, 1, &server.host).await).await;
    assert_eq!(refused, (Code::BadProof, 1008));
    let mut ok = join_raw(&server, 1, 1, "rooms.example").await;
    assert!(matches!(ok.next().await, ServerMessage::Joined { .. }));
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_a_message_closes_that_socket_only() {
    let server = Server::start(quick()).await;
    let mut bystander = Client::join(&server, 1, 100).await;
    let big = "x".repeat(65 * 1024);
    let deep = "[".repeat(60_000);
    let cases = [
        (Message::text(big), Code::TooLarge, 1009),
        (Message::binary(vec![1, 2, 3]), Code::BadMessage, 1003),
        (Message::text("nonsense"), Code::BadMessage, 1008),
        (Message::text(deep), Code::BadMessage, 1008),
    ];
    for (i, (message, error, close)) in cases.into_iter().enumerate() {
        let mut c = Client::join(&server, 2, i as u8).await;
        c.send(message).await;
        assert_eq!(refusal(c).await, (error, close), "case {i}");
    }
    // Frames no client library would write: after the join the socket is written to directly.
    let raw: [(&[u8], u16); 5] = [
        (&[0x81, 0x01, b'x'], 1002),             // not masked
        (&[0xf1, 0x81, 0, 0, 0, 0, b'x'], 1002), // reserved bits
        (&[0x81, 0x81, 0, 0, 0, 0, 0xff], 1007), // not UTF-8
        (&[0x80, 0x80, 0, 0, 0, 0], 1002),       // continues nothing
        (
            &[
                0x81, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0,
            ],
            1009,
        ),
    ];
    for (i, (bytes, close)) in raw.into_iter().enumerate() {
        let mut c = Client::join(&server, 2, 50 + i as u8).await;
        c.raw().write_all(bytes).await.unwrap();
        assert_eq!(refusal(c).await.1, close, "raw {i}");
    }
    bystander.ping(1).await;
    assert_eq!(bystander.next().await, ServerMessage::Pong { t: 1 });
    server.stop().await;
}

#[tokio::test]
async fn half_open_and_slow_requests_are_closed() {
    let server = Server::start(Config {
        header_timeout: Duration::from_millis(100),
        ..quick()
    })
    .await;
    for start in ["", "GET /ws HT", "GET /ws HTTP/1.1\r\nHost: x\r\n"] {
        let mut tcp = TcpStream::connect(&server.host).await.unwrap();
        tcp.write_all(start.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        // An answer is allowed; staying open is not. Requests without an answer end some seconds
        // later in any case: this must be the header timeout.
        let end = tokio::time::timeout(Duration::from_secs(4), tcp.read_to_end(&mut rest));
        let _ = end.await.expect("closed by the header timeout");
        assert!(!rest.starts_with(b"HTTP/1.1 101"), "{start}");
    }
    server.stop().await;
}

#[tokio::test]
async fn silence_after_the_upgrade_is_closed() {
    let server = Server::start(Config {
        join_timeout: Duration::from_millis(100),
        ..quick()
    })
    .await;
    let c = Client::connect(&server).await;
    assert_eq!(refusal(c).await, (Code::NotJoined, 1008));
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_closed() {
    let server = Server::start(Config {
        ping_every: Duration::from_millis(50),
        ..quick()
    })
    .await;
    let mut awake = Client::join(&server, 1, 1).await;
    // Never polled again, so it never answers.
    let silent = Client::join(&server, 1, 2).await;
    awake.next().await;
    let left = ServerMessage::MemberLeft {
        sid: silent.sid,
        why: LeftWhy::TimedOut,
    };
    assert_eq!(awake.next().await, left);
    server.stop().await;
}

#[tokio::test]
async fn a_slow_reader_is_reported_to_its_sender_and_closed() {
    let server = Server::start(Config {
        outbox_patience: Duration::from_millis(200),
        message_rate: Rate::new(100_000, 100_000),
        byte_rate: Rate::new(u32::MAX, u32::MAX),
        ..quick()
    })
    .await;
    let mut sender = Client::join(&server, 1, 1).await;
    let slow = Client::join_small(&server, 1, 2).await;
    sender.next().await;
    let body = vec![7u8; 30 * 1024];
    let mut busy = 0;
    let left = loop {
        sender.signal(slow.sid, &body).await;
        match sender.try_next().await {
            Some(ServerMessage::Error {
                code: Code::Busy,
                about,
                ..
            }) => {
                assert_eq!(about, Some(slow.sid));
                busy += 1;
            }
            Some(ServerMessage::MemberLeft { sid, why }) => break (sid, why),
            Some(other) => panic!("{other:?}"),
            None => {}
        }
    };
    assert!(busy > 0);
    assert_eq!(left, (slow.sid, LeftWhy::TimedOut));
    drop(slow);
    server.stop().await;
}

#[tokio::test]
async fn a_reader_that_catches_up_stays() {
    let patience = Duration::from_secs(1);
    let server = Server::start(Config {
        outbox_patience: patience,
        message_rate: Rate::new(100_000, 100_000),
        byte_rate: Rate::new(u32::MAX, u32::MAX),
        ..quick()
    })
    .await;
    let mut sender = Client::join(&server, 1, 1).await;
    let mut reader = Client::join_small(&server, 1, 2).await;
    sender.next().await;
    let body = vec![7u8; 30 * 1024];
    let mut queued = 0;
    while sender.try_next().await.is_none() {
        sender.signal(reader.sid, &body).await;
        queued += 1;
    }
    // What was sent before the first `busy` came back may have been refused as well.
    sender.ping(1).await;
    let mut refused = 1;
    while sender.next().await != (ServerMessage::Pong { t: 1 }) {
        refused += 1;
    }
    for _ in 0..queued - refused {
        reader.next_signal().await;
    }
    let busy_until = std::time::Instant::now() + patience * 2;
    while std::time::Instant::now() < busy_until {
        sender.signal(reader.sid, &body).await;
        reader.next_signal().await;
    }
    server.stop().await;
}

#[tokio::test]
async fn the_rates_hold_on_real_sockets() {
    let server = Server::start(Config {
        message_rate: Rate::new(1, 10),
        strikes: Rate::new(0, 3),
        join_rate: Rate::new(0, 2),
        ..quick()
    })
    .await;
    let mut a = Client::join(&server, 1, 1).await;
    for t in 0..20 {
        a.ping(t).await;
    }
    assert_eq!(refusal(a).await, (Code::RateLimited, 1008));
    Client::join(&server, 1, 2).await;
    let third = join_raw(&server, 1, 3, &server.host).await;
    assert_eq!(refusal(third).await, (Code::RateLimited, 1008));
    server.stop().await;

    let server = Server::start(Config {
        max_per_address: 1,
        ..quick()
    })
    .await;
    let _one = Client::join(&server, 1, 1).await;
    let two = Client::connect(&server).await;
    assert_eq!(refusal(two).await, (Code::RateLimited, 1013));
    server.stop().await;
}

#[tokio::test]
async fn a_flood_of_sockets_is_cut_off() {
    let server = Server::start(Config {
        max_per_address: 2,
        ..quick()
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(TcpStream::connect(&server.host).await.unwrap());
    }
    let mut fifth = TcpStream::connect(&server.host).await.unwrap();
    let n = within(fifth.read(&mut [0u8; 1])).await;
    assert!(n.map_or(true, |n| n == 0), "closed at once");
    server.stop().await;
}

#[tokio::test]
async fn a_restart_is_announced_and_ends_in_time() {
    let server = Server::start(Config {
        drain_for: Duration::from_millis(100),
        ..Config::default()
    })
    .await;
    let mut a = Client::join(&server, 1, 1).await;
    let idle = Client::join(&server, 1, 2).await;
    let _half_open = TcpStream::connect(&server.host).await.unwrap();
    a.next().await;
    let began = std::time::Instant::now();
    let stopping = tokio::spawn(server.stop());
    assert_eq!(a.next().await, ServerMessage::Restarting { after_ms: 100 });
    assert_eq!(a.closed().await, 1012);
    stopping.await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(2_500));
    drop(idle);
}

#[tokio::test]
async fn a_storm_of_rooms_stays_apart() {
    let server = Server::start(quick()).await;
    let mut rooms = Vec::new();
    for room in 0..20u8 {
        let a = Client::join(&server, room, 1).await;
        let b = Client::join(&server, room, 2).await;
        rooms.push((room, a, b));
    }
    for (room, a, b) in &mut rooms {
        assert_eq!(a.sid, Sid([1; 16]), "the same sids in every room");
        assert!(matches!(a.next().await, ServerMessage::MemberJoined { .. }));
        a.signal(b.sid, &[*room]).await;
    }
    for (room, a, b) in &mut rooms {
        assert_eq!(b.next_signal().await, (a.sid, vec![*room]));
        assert_eq!(keys(*room).room_id(), a.room);
    }
    server.stop().await;
}
