//! What clients do to a room server, one name each. Every attack ends with the offender's sockets
//! closed by the server, and says how they were closed.

use std::collections::BTreeMap;

use futures::future::join_all;
use kith_protocol::Code;
use kith_protocol::room::{ClientMessage, LeftWhy, ServerMessage};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Client, Victim, connect, frame, offender, within};

/// One way to abuse a room server.
#[derive(Debug, Clone, Copy)]
pub struct Attack {
    /// Its name, which is that of its test.
    pub name: &'static str,
    how: How,
}

#[derive(Debug, Clone, Copy)]
enum How {
    /// A joined client writes these bytes so many times, and is closed with this code.
    Bytes(fn() -> Vec<u8>, usize, u16),
    /// So many sockets write this before there is a WebSocket.
    Head(fn() -> String, usize),
    SilentAfterUpgrade,
    SlowReaders,
    Joins,
    TakenSid,
    Connects,
}

macro_rules! attacks {
    ($($name:ident: $how:expr;)*) => {
        /// All of them.
        pub const ATTACKS: &[Attack] = &[$(Attack { name: stringify!($name), how: $how }),*];
    };
}

use How::{Bytes, Head};

attacks! {
    malformed_json: Bytes(|| frame(0x81, b"{\"type\":"), 1, 1008);
    deep_nesting: Bytes(|| frame(0x81, &[b'['; 60_000]), 1, 1008);
    bad_utf8: Bytes(|| frame(0x81, b"\xff\xfe"), 1, 1007);
    an_unmasked_frame: Bytes(|| b"\x81\x02{}".to_vec(), 1, 1002);
    reserved_bits: Bytes(|| frame(0xf1, b"{}"), 1, 1002);
    an_unknown_opcode: Bytes(|| frame(0x83, b"{}"), 1, 1002);
    a_binary_message: Bytes(|| frame(0x82, b"{}"), 1, 1003);
    a_continuation_of_nothing: Bytes(|| frame(0x80, b"{}"), 1, 1002);
    a_length_of_two_to_the_63:
        Bytes(|| b"\x81\xff\x80\0\0\0\0\0\0\0\0\0\0\0".to_vec(), 1, 1009);
    a_message_of_a_mebibyte: Bytes(|| frame(0x81, &[b' '; 1 << 20]), 1, 1009);
    messages_of_64_kib_without_end: Bytes(|| frame(0x81, &[b' '; 60_000]), 200, 1008);
    a_message_begun_in_another: Bytes(|| frame(0x01, b"{"), 200_000, 1002);
    a_flood_of_pings: Bytes(|| frame(0x89, b"are you there?"), 200_000, 1008);
    a_flood_of_pongs: Bytes(|| frame(0x8a, b""), 200_000, 1008);
    a_flood_of_small_messages:
        Bytes(|| frame(0x81, b"{\"type\":\"ping\",\"t\":1}"), 200_000, 1008);
    two_hundred_thousand_fragments: Bytes(|| fragments(b" "), 1, 1008);
    two_hundred_thousand_empty_fragments: Bytes(|| fragments(b""), 1, 1008);
    fragments_with_pings_between: Bytes(fragments_and_pings, 1, 1008);
    half_open_requests: Head(|| "GET /ws HTTP/1.1\r\nHost: x\r\n".into(), 300);
    silent_sockets: Head(String::new, 300);
    a_huge_header: Head(|| format!("GET /ws HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1 << 20)), 20);
    many_headers: Head(|| format!("GET /ws HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(20_000)), 20);
    silence_after_the_upgrade: How::SilentAfterUpgrade;
    slow_readers: How::SlowReaders;
    a_flood_of_joins: How::Joins;
    a_taken_sid: How::TakenSid;
    a_storm_of_connects: How::Connects;
}

impl Attack {
    /// The one with this name.
    pub fn named(name: &str) -> Attack {
        let found = ATTACKS.iter().find(|a| a.name == name);
        *found.expect("an attack of this name")
    }

    /// Does it once, from an address of the round's own. Says how the offender's sockets ended;
    /// panics if the server answers in another way than it must.
    pub async fn strike(self, victim: &Victim, round: u8) -> Ends {
        match self.how {
            Bytes(bytes, times, code) => {
                let client = victim.joined(offender(round), round, 1).await;
                let got = client.write_and_close_code(&bytes(), times).await;
                assert_eq!(got, Some(code), "{}", self.name);
                Ends::of([got])
            }
            Head(head, sockets) => {
                let head = head();
                let all = (0..sockets).map(|_| begin(victim, round, head.as_bytes()));
                let ends = join_all(all).await;
                assert!(ends.iter().all(|e| e != "101"), "{}: {ends:?}", self.name);
                Ends::named(ends)
            }
            How::SilentAfterUpgrade => {
                let ends = join_all((0..300).map(|_| say_nothing(victim, round))).await;
                let refused = |c: &Option<u16>| matches!(c, Some(1008 | 1013));
                assert!(ends.iter().all(refused), "{ends:?}");
                Ends::of(ends)
            }
            How::SlowReaders => {
                let from = |n| slow_readers_of_one(victim, offender(round), round * 10 + n);
                let left: usize = join_all((0..10).map(from)).await.iter().sum();
                Ends(BTreeMap::from([("slow".into(), left)]))
            }
            How::Joins => {
                let one = async |sid: usize| {
                    let mut client = Client::open(victim.addr, offender(round), None).await?;
                    client.prove(round, sid as u8, "evil.example").await;
                    client.close_code().await
                };
                let ends = join_all((0..400).map(one)).await;
                let refused = |c: &Option<u16>| matches!(c, Some(1008 | 1013) | None);
                assert!(ends.iter().all(refused), "{ends:?}");
                Ends::of(ends)
            }
            How::TakenSid => taken_sid(victim, round).await,
            How::Connects => {
                for _ in 0..20 {
                    let many = (0..100).map(|_| connect(victim.addr, offender(round), None));
                    drop(join_all(many).await);
                    let many = (0..20).map(|_| Client::open(victim.addr, offender(round), None));
                    drop(join_all(many).await);
                }
                Ends(BTreeMap::from([("own".into(), 20 * 120)]))
            }
        }
    }
}

/// How many sockets ended in which way: a WebSocket close code, the status of an HTTP answer,
/// `cut` without a word, `slow` readers that were put out, or closed by the offender's `own` hand.
#[derive(Debug, Clone, Default)]
pub struct Ends(BTreeMap<String, usize>);

impl Ends {
    fn of(codes: impl IntoIterator<Item = Option<u16>>) -> Ends {
        let name = |c: Option<u16>| c.map_or_else(|| "cut".into(), |c| c.to_string());
        Ends::named(codes.into_iter().map(name))
    }

    fn named(ends: impl IntoIterator<Item = String>) -> Ends {
        let mut counts = BTreeMap::new();
        for end in ends {
            *counts.entry(end).or_default() += 1;
        }
        Ends(counts)
    }
}

impl std::fmt::Display for Ends {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all: Vec<_> = self.0.iter().map(|(how, n)| format!("{n} {how}")).collect();
        f.write_str(&all.join(", "))
    }
}

fn fragments(piece: &[u8]) -> Vec<u8> {
    let mut all = frame(0x01, b"{");
    all.extend(frame(0x00, piece).repeat(200_000));
    all
}

/// Pings in between do not start the count anew.
fn fragments_and_pings() -> Vec<u8> {
    let mut all = frame(0x01, b"{");
    let mut piece = frame(0x00, b"").repeat(1_000);
    piece.extend(frame(0x89, b""));
    all.extend(piece.repeat(200));
    all
}

/// Writes a head, and waits for the end.
async fn begin(victim: &Victim, round: u8, head: &[u8]) -> String {
    let Ok(mut tcp) = connect(victim.addr, offender(round), None).await else {
        return "cut".into();
    };
    let (mut read, mut write) = tcp.split();
    let mut answer = Vec::new();
    let writing = async { write.write_all(head).await };
    let reading = read.read_to_end(&mut answer);
    let _ = within(futures::future::join(writing, reading)).await;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split_whitespace().nth(1);
    status.map_or_else(|| "cut".into(), Into::into)
}

async fn say_nothing(victim: &Victim, round: u8) -> Option<u16> {
    let client = Client::open(victim.addr, offender(round), None).await?;
    client.close_code().await
}

async fn taken_sid(victim: &Victim, round: u8) -> Ends {
    let mut first = victim.joined(offender(round), round, 1).await;
    let mut ends = Vec::new();
    for _ in 0..20 {
        let second = Client::open(victim.addr, offender(round), None).await;
        let mut second = second.unwrap();
        second.prove(round, 1, &victim.addr.to_string()).await;
        ends.push(second.close_code().await);
        assert_eq!(ends.last(), Some(&Some(1008)));
    }
    first.say(&ClientMessage::Ping { t: 7 }).await;
    assert_eq!(first.next().await, Some(ServerMessage::Pong { t: 7 }));
    Ends::of(ends)
}

/// Five readers get more than they read; who writes to them hears `busy` and stays. How many were
/// put out.
async fn slow_readers_of_one(victim: &Victim, from: [u8; 4], room: u8) -> usize {
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
    left
}
