//! Whatever a client does to the room server, only its own socket closes: bystanders talk on, and
//! the memory it cost comes back.

#![cfg(target_os = "linux")] // /proc, and all of 127/8.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test names what it expects"
)]
#![allow(
    clippy::print_stdout,
    reason = "the figures are worth reading: --nocapture"
)]

use std::time::Duration;

use futures::future::join_all;
use kith_protocol::Code;
use kith_protocol::room::{ClientMessage, LeftWhy, ServerMessage};
use kith_tests::abuse::{Bystanders, Client, Victim, connect, frame, offender, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Far above what is measured (a few milliseconds), so that a busy machine fails no test.
const SLOWEST: Duration = Duration::from_millis(500);
/// What the memory of a server that has seen nothing yet may grow besides a tenth, in KiB: pages
/// that the allocator keeps after its first busy moments.
const FIRST: u64 = 16 * 1024;
/// The same after seven times, in KiB: what comes on top of it each time would be a leak.
const AGAIN: u64 = 2 * 1024;

/// Runs an abuse nine times and looks at the others, and at the memory.
async fn withstands<F: Future<Output = ()>>(name: &str, abuse: impl Fn(u8) -> F, victim: &Victim) {
    let mut others = Bystanders::start(victim).await;
    others.talk(20).await;
    let cold = victim.rss();
    abuse(1).await;
    let peak = victim.rss();
    for round in 2..8 {
        others.talk(5).await;
        abuse(round).await;
    }
    others.talk(20).await;
    let warm = victim.rss();
    for round in 8..10 {
        abuse(round).await;
    }
    let most = warm + warm / 10 + AGAIN;
    // What is closed is freed when its close is over.
    for _ in 0..40 {
        others.talk(10).await;
        if victim.rss() <= most {
            break;
        }
    }
    let last = victim.rss();
    let (said, p99) = others.stop().await;
    println!(
        "{name}: {said} rounds, p99 {p99:?}; RSS {cold} at first, {peak} once, {warm} warm, {last} KiB at last"
    );
    assert!(
        last <= cold + cold / 10 + FIRST,
        "memory stays: {cold} → {last} KiB"
    );
    assert!(last <= most, "memory grows: {warm} → {last} KiB");
    assert!(p99 < SLOWEST, "the others had to wait: {p99:?}");
}

fn victim() -> Victim {
    Victim::start(env!("CARGO_BIN_EXE_room-server"))
}

/// An abuse by bytes that a joined client writes, and the close code it gets.
async fn bytes(name: &str, bytes: &[u8], times: usize, code: u16) {
    let victim = victim();
    let abuse = async |round: u8| {
        let client = victim.joined(offender(round), round, 1).await;
        let got = client.write_and_close_code(bytes, times).await;
        assert_eq!(got, Some(code), "{name}");
    };
    withstands(name, abuse, &victim).await;
}

/// An abuse by what is written before there is a WebSocket: it is refused or cut off.
async fn heads(name: &str, head: &str, sockets: usize) {
    let victim = victim();
    let abuse = async |round: u8| {
        let one = async || {
            let Ok(mut tcp) = connect(victim.addr, offender(round), None).await else {
                return;
            };
            let (mut read, mut write) = tcp.split();
            let mut answer = Vec::new();
            let writing = async { write.write_all(head.as_bytes()).await };
            let reading = read.read_to_end(&mut answer);
            let _ = within(futures::future::join(writing, reading)).await;
            assert!(!answer.starts_with(b"HTTP/1.1 101"));
        };
        join_all((0..sockets).map(|_| one())).await;
    };
    withstands(name, abuse, &victim).await;
}

macro_rules! written {
    ($($name:ident: $bytes:expr, $times:expr => $code:expr;)*) => {$(
        #[tokio::test]
        async fn $name() {
            bytes(stringify!($name), &$bytes, $times, $code).await;
        }
    )*};
}

written! {
    malformed_json: frame(0x81, b"{\"type\":"), 1 => 1008;
    deep_nesting: frame(0x81, &[b'['; 60_000]), 1 => 1008;
    bad_utf8: frame(0x81, b"\xff\xfe"), 1 => 1007;
    an_unmasked_frame: *b"\x81\x02{}", 1 => 1002;
    reserved_bits: frame(0xf1, b"{}"), 1 => 1002;
    an_unknown_opcode: frame(0x83, b"{}"), 1 => 1002;
    a_binary_message: frame(0x82, b"{}"), 1 => 1003;
    a_continuation_of_nothing: frame(0x80, b"{}"), 1 => 1002;
    a_length_of_two_to_the_63: *b"\x81\xff\x80\0\0\0\0\0\0\0\0\0\0\0", 1 => 1009;
    a_message_of_a_mebibyte: frame(0x81, &[b' '; 1 << 20]), 1 => 1009;
    messages_of_64_kib_without_end: frame(0x81, &[b' '; 60_000]), 200 => 1008;
    a_message_begun_in_another: frame(0x01, b"{"), 200_000 => 1002;
    a_flood_of_pings: frame(0x89, b"are you there?"), 200_000 => 1008;
    a_flood_of_pongs: frame(0x8a, b""), 200_000 => 1008;
    a_flood_of_small_messages: frame(0x81, b"{\"type\":\"ping\",\"t\":1}"), 200_000 => 1008;
}

#[tokio::test]
async fn two_hundred_thousand_fragments() {
    for (name, piece) in [("fragments", &b" "[..]), ("empty fragments", b"")] {
        let mut all = frame(0x01, b"{");
        all.extend(frame(0x00, piece).repeat(200_000));
        bytes(name, &all, 1, 1008).await;
    }
}

/// Pings in between do not start the count anew.
#[tokio::test]
async fn fragments_with_pings_between() {
    let mut all = frame(0x01, b"{");
    let mut piece = frame(0x00, b"").repeat(1_000);
    piece.extend(frame(0x89, b""));
    all.extend(piece.repeat(200));
    bytes("fragments and pings", &all, 1, 1008).await;
}

#[tokio::test]
async fn half_open_requests() {
    heads("half-open", "GET /ws HTTP/1.1\r\nHost: x\r\n", 300).await;
}

#[tokio::test]
async fn silent_sockets() {
    heads("silent", "", 300).await;
}

#[tokio::test]
async fn a_huge_header() {
    let head = format!("GET /ws HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    heads("huge header", &head, 20).await;
}

#[tokio::test]
async fn many_headers() {
    let head = format!("GET /ws HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(20_000));
    heads("many headers", &head, 20).await;
}

#[tokio::test]
async fn silence_after_the_upgrade() {
    let victim = victim();
    let abuse = async |round: u8| {
        let one = async || match Client::open(victim.addr, offender(round), None).await {
            Some(client) => client.close_code().await,
            None => None,
        };
        for code in join_all((0..300).map(|_| one())).await {
            assert!(matches!(code, Some(1008 | 1013)), "{code:?}");
        }
    };
    withstands("silent after the upgrade", abuse, &victim).await;
}

/// Each of 50 readers gets more than it reads; who writes to them hears `busy` and stays.
#[tokio::test]
async fn slow_readers() {
    let victim = victim();
    let abuse = async |round: u8| {
        join_all((0..10).map(|n| slow_readers_of_one(&victim, offender(round), round * 10 + n)))
            .await;
    };
    withstands("slow readers", abuse, &victim).await;
}

async fn slow_readers_of_one(victim: &Victim, from: [u8; 4], room: u8) {
    let mut writer = victim.joined(from, room, 0).await;
    let mut slow = Vec::new();
    for sid in 1..=5 {
        let one = Client::open(victim.addr, from, Some(4096)).await;
        let mut one = one.unwrap();
        one.join(room, sid).await;
        slow.push(one);
    }
    let mut left = 0;
    for reader in &slow {
        let mut busy = false;
        while !busy {
            writer.signal(reader.sid, &[7; 16 * 1024]).await;
            writer.say(&ClientMessage::Ping { t: 1 }).await;
            loop {
                match writer.next().await.expect("the writer stays") {
                    ServerMessage::Pong { .. } => break,
                    ServerMessage::Error { code, about, .. } => {
                        assert_eq!((code, about), (Code::Busy, Some(reader.sid)));
                        busy = true;
                    }
                    ServerMessage::MemberLeft { .. } => left += 1,
                    ServerMessage::MemberJoined { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    }
    while left < slow.len() {
        match writer.next().await.expect("the writer stays") {
            ServerMessage::MemberLeft { why, .. } => {
                assert_eq!(why, LeftWhy::TimedOut);
                left += 1;
            }
            ServerMessage::Error { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_flood_of_joins() {
    let victim = victim();
    let abuse = async |round: u8| {
        let one = async |sid: usize| {
            let mut client = Client::open(victim.addr, offender(round), None).await?;
            client.prove(round, sid as u8, "evil.example").await;
            client.close_code().await
        };
        for code in join_all((0..400).map(one)).await {
            assert!(matches!(code, Some(1008 | 1013) | None), "{code:?}");
        }
    };
    withstands("joins", abuse, &victim).await;
}

#[tokio::test]
async fn a_taken_sid() {
    let victim = victim();
    let abuse = async |round: u8| {
        let mut first = victim.joined(offender(round), round, 1).await;
        for _ in 0..20 {
            let mut second = Client::open(victim.addr, offender(round), None)
                .await
                .unwrap();
            second.prove(round, 1, &victim.addr.to_string()).await;
            assert_eq!(second.close_code().await, Some(1008));
        }
        first.say(&ClientMessage::Ping { t: 7 }).await;
        assert_eq!(first.next().await, Some(ServerMessage::Pong { t: 7 }));
    };
    withstands("a taken sid", abuse, &victim).await;
}

#[tokio::test]
async fn a_storm_of_connects() {
    let victim = victim();
    let abuse = async |round: u8| {
        for _ in 0..20 {
            let many = (0..100).map(|_| connect(victim.addr, offender(round), None));
            drop(join_all(many).await);
            let many = (0..20).map(|_| Client::open(victim.addr, offender(round), None));
            drop(join_all(many).await);
        }
    };
    withstands("connects", abuse, &victim).await;
}
