//! Tables: (state, input, now) → (effects, state).
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)] // A test may just fail.

mod calling;
mod joining;
mod random;
mod relaying;

use super::*;
use crate::config::{Rate, Secret};
use kith_protocol::ids::{Blob, Signature};
use kith_protocol::invite::RoomKeys;
use kith_protocol::room::{CallNews, CallStep};
use kith_protocol::{CallId, limits};
use std::time::Duration;

const HOST: &str = "rooms.example:7400";

/// A hub, its clock, and clients that are numbers: client 7 has connection 7 and sid 7,7,7….
struct World {
    hub: Hub,
    now: Now,
}

impl World {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        World {
            hub: Hub::new(Arc::new(config), [1; 32]),
            now: Now {
                at: At::default(),
                unix: 1_000_000,
            },
        }
    }

    fn act(&mut self, input: Input) -> Vec<Effect> {
        self.hub.handle(input, self.now);
        std::iter::from_fn(|| self.hub.poll()).collect()
    }

    fn open_from(&mut self, n: u8, addr: &str) -> Vec<Effect> {
        self.act(Input::Connected {
            conn: conn(n),
            addr: addr.parse().unwrap(),
            host: HOST.into(),
        })
    }

    /// Every client has an address of its own unless a test says otherwise.
    fn open(&mut self, n: u8) {
        let effects = self.open_from(n, &format!("192.0.2.{n}"));
        assert_eq!(effects, []);
    }

    fn say(&mut self, n: u8, message: ClientMessage) -> Vec<Effect> {
        self.text(n, &message.to_text())
    }

    fn text(&mut self, n: u8, text: &str) -> Vec<Effect> {
        self.act(Input::Text {
            conn: conn(n),
            text: text.into(),
        })
    }

    fn ask(&mut self, n: u8, room: u8, as_sid: u8) -> Nonce {
        let effects = self.say(n, join(room, as_sid));
        match &effects[..] {
            [Effect::Send { to, message, .. }] if *to == conn(n) => match message {
                ServerMessage::Challenge { nonce } => *nonce,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    fn prove(&mut self, n: u8, room: u8, as_sid: u8, nonce: &Nonce) -> Vec<Effect> {
        let sig = keys(room).prove(HOST, nonce, &sid(as_sid));
        self.say(n, ClientMessage::Prove { sig })
    }

    /// Opens and joins; the effects are those of the join.
    fn enter(&mut self, n: u8, room: u8) -> Vec<Effect> {
        self.open(n);
        let nonce = self.ask(n, room, n);
        self.prove(n, room, n, &nonce)
    }

    fn room_of(&mut self, members: &[u8]) {
        for n in members {
            self.enter(*n, 1);
        }
    }

    fn pass(&mut self, time: Duration) -> Vec<Effect> {
        let end = self.now.at.plus(time);
        let mut effects = Vec::new();
        while let Some(due) = self.hub.deadline().filter(|d| d.at <= end) {
            assert!(due.at >= self.now.at, "a deadline in the past: {due:?}");
            self.now.unix += due.at.since(self.now.at).as_secs();
            self.now.at = due.at;
            effects.extend(self.act(Input::Tick));
        }
        self.now.unix += end.since(self.now.at).as_secs();
        self.now.at = end;
        effects
    }
}

fn conn(n: u8) -> ConnId {
    ConnId(n.into())
}

fn sid(n: u8) -> Sid {
    Sid([n; 16])
}

fn keys(room: u8) -> RoomKeys {
    RoomKeys::derive(&[room; 32])
}

fn join(room: u8, as_sid: u8) -> ClientMessage {
    ClientMessage::Join {
        room_id: keys(room).room_id(),
        sid: sid(as_sid),
        access_pk: keys(room).access_pk(),
        caps: vec!["quic/1".into()],
    }
}

fn signal(to: u8, body: &str) -> ClientMessage {
    ClientMessage::Signal {
        to: sid(to),
        body: Blob(body.to_owned().into_bytes().into()),
    }
}

fn send(to: u8, message: ServerMessage) -> Effect {
    Effect::Send {
        to: conn(to),
        message,
        sender: None,
    }
}

fn error(to: u8, code: Code, about: Option<u8>) -> (ConnId, Code, Option<Sid>) {
    (conn(to), code, about.map(sid))
}

fn closed(n: u8, code: u16) -> (ConnId, u16) {
    (conn(n), code)
}

/// The coded errors among effects, without their words.
fn errors(effects: &[Effect]) -> Vec<(ConnId, Code, Option<Sid>)> {
    let one = |e: &Effect| match e {
        Effect::Send {
            to,
            message: ServerMessage::Error { code, about, .. },
            ..
        } => Some((*to, *code, *about)),
        Effect::Send { .. } | Effect::Ping { .. } | Effect::Close { .. } => None,
    };
    effects.iter().filter_map(one).collect()
}

fn closes(effects: &[Effect]) -> Vec<(ConnId, u16)> {
    let one = |e: &Effect| match e {
        Effect::Close { conn, code, .. } => Some((*conn, *code)),
        Effect::Send { .. } | Effect::Ping { .. } => None,
    };
    effects.iter().filter_map(one).collect()
}

/// Asserts one coded error to the client and its close, and nothing else.
fn assert_refused(effects: &[Effect], n: u8, code: Code, close: u16) {
    assert_eq!(effects.len(), 2, "{effects:?}");
    assert_eq!(errors(effects), [error(n, code, None)]);
    assert_eq!(closes(effects), [closed(n, close)]);
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}
