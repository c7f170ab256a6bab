//! Every decision of the room server, without IO.
//!
//! One [`Hub::handle`], then [`Hub::poll`] until it is empty, then wait for an input or for
//! [`Hub::deadline`]. The hub never reads a clock and never rolls a die: time comes with each
//! input, chance from the seed.
//!
//! ```text
//! Fresh ──join──► Challenged ──prove──► Joined ──leave / closed / silent / slow──► gone
//!   └───────┴── late, malformed, refused ──► gone
//! ```

mod calls;
mod clock;
mod io;
mod join;
mod limits;
mod metrics;
mod relay;
mod room;
mod timers;
mod turn;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use kith_protocol::ids::{AccessPk, Nonce};
use kith_protocol::room::{ClientMessage, IceServers, LeftWhy, ServerMessage};
use kith_protocol::{Code, RoomId, Sid, derive};
use tracing::debug;

use crate::config::Config;
pub use io::{At, ConnId, Effect, Input, Now, Violation, close};
pub(crate) use limits::AddrKey;
use limits::{Addresses, Bucket};
pub use metrics::{CallMetrics, Gauges, Metrics};
use room::Room;
use timers::Timers;
pub use timers::{Deadline, Why};

/// The room server's state.
#[derive(Debug)]
pub struct Hub {
    config: Arc<Config>,
    conns: HashMap<ConnId, Conn>,
    rooms: HashMap<RoomId, Room>,
    tokens: HashMap<Token, ConnId>,
    addresses: Addresses,
    timers: Timers,
    effects: VecDeque<Effect>,
    metrics: Metrics,
    chance: Chance,
    draining: Option<At>,
    sweep_at: Option<At>,
}

type Token = [u8; 16];

#[derive(Debug)]
struct Conn {
    addr: AddrKey,
    state: State,
    messages: Bucket,
    bytes: Bucket,
    strikes: Bucket,
    beat_at: At,
    /// Whether anything arrived since the last ping.
    heard: bool,
    missed: u32,
    /// When its outbox has been full for too long.
    slow_at: Option<At>,
}

#[derive(Debug)]
enum State {
    Fresh { host: Box<str>, by: At },
    Challenged(Box<Challenged>),
    Joined(Joined),
}

#[derive(Debug)]
struct Challenged {
    host: Box<str>,
    by: At,
    room: RoomId,
    sid: Sid,
    access_pk: AccessPk,
    caps: Box<[String]>,
    nonce: Nonce,
}

#[derive(Debug)]
struct Joined {
    room: RoomId,
    sid: Sid,
    caps: Box<[String]>,
    token: Token,
    /// When its TURN credentials are renewed.
    ice_at: Option<At>,
}

/// Random bytes from a seed: SHA-256 over seed and counter.
struct Chance {
    seed: [u8; 32],
    count: u64,
}

impl Hub {
    /// An empty hub. `seed` must be secret and random: nonces and tokens come from it.
    pub fn new(config: Arc<Config>, seed: [u8; 32]) -> Self {
        Hub {
            config,
            conns: HashMap::new(),
            rooms: HashMap::new(),
            tokens: HashMap::new(),
            addresses: Addresses::default(),
            timers: Timers::default(),
            effects: VecDeque::new(),
            metrics: Metrics::default(),
            chance: Chance { seed, count: 0 },
            draining: None,
            sweep_at: None,
        }
    }

    /// Takes one input. Inputs of connections that are gone change nothing.
    pub fn handle(&mut self, input: Input, now: Now) {
        match input {
            Input::Connected { conn, addr, host } => self.connected(conn, addr, host, now),
            Input::Text { conn, text } => self.text(conn, &text, now),
            Input::PingSeen { conn } => {
                self.heard(conn, 0, now);
            }
            Input::PongSeen { conn } => {
                if let Some(c) = self.conns.get_mut(&conn) {
                    c.missed = 0;
                }
                self.heard(conn, 0, now);
            }
            Input::Broke { conn, what } => self.broke(conn, what, now),
            Input::Closed { conn } => {
                self.forget(conn, LeftWhy::Closed, now);
            }
            Input::Full { to, sender } => self.full(to, sender, now),
            Input::Relieved { to } => self.relieved(to),
            Input::Tick => self.tick(now),
            Input::Drain => self.drain(now),
        }
    }

    /// The next thing to do, if any.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Input::Tick`] is wanted at the latest.
    pub fn deadline(&self) -> Option<Deadline> {
        self.timers.first()
    }

    /// The answer to `GET /ice-servers`, if the token belongs to a connection that is in a room.
    pub fn ice_servers(&self, token: &str, unix: u64) -> Option<IceServers> {
        let conn = self.tokens.get(&join::parse_token(token)?)?;
        match &self.conns.get(conn)?.state {
            State::Joined(j) => Some(turn::ice_servers(&self.config, &j.sid, unix)),
            State::Fresh { .. } | State::Challenged(_) => None,
        }
    }

    /// The counters.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What is true now.
    pub fn gauges(&self) -> Gauges {
        Gauges {
            connections: self.conns.len(),
            members: self.tokens.len(),
            rooms: self.rooms.len(),
        }
    }

    /// Whether [`Input::Drain`] was given.
    pub fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    fn connected(&mut self, conn: ConnId, addr: IpAddr, host: String, now: Now) {
        self.metrics.connections += 1;
        if let Some(until) = self.draining {
            self.say_restarting(conn, until.since(now.at));
            return self.close(conn, close::RESTART, "restarting");
        }
        let addr = AddrKey::of(addr);
        if self.conns.len() >= self.config.max_connections
            || !self.addresses.connect(addr, &self.config, now.at)
        {
            self.metrics.limited_connections += 1;
            self.error(conn, Code::RateLimited, "too many connections", None);
            return self.close(conn, close::TRY_LATER, "too many connections");
        }
        let by = now.at.plus(self.config.join_timeout);
        let beat_at = now.at.plus(self.config.ping_every);
        self.timers.set(by, Why::Join(conn));
        self.timers.set(beat_at, Why::Beat(conn));
        if self.sweep_at.is_none() {
            self.plan_sweep(now);
        }
        let host = host.into_boxed_str();
        let fresh = Conn {
            addr,
            state: State::Fresh { host, by },
            messages: Bucket::full(self.config.message_rate, now.at),
            bytes: Bucket::full(self.config.byte_rate, now.at),
            strikes: Bucket::full(self.config.strikes, now.at),
            beat_at,
            // No ping was sent yet that could have been missed.
            heard: true,
            missed: 0,
            slow_at: None,
        };
        self.conns.insert(conn, fresh);
    }

    fn text(&mut self, conn: ConnId, text: &str, now: Now) {
        if !self.heard(conn, text.len(), now) {
            return;
        }
        let message = match ClientMessage::parse(text) {
            Ok(message) => message,
            Err(e) if e.code() == Code::TooLarge => {
                self.metrics.limited_size += 1;
                return self.error(conn, Code::TooLarge, "the message is too large", None);
            }
            // The parser's words could repeat what the client wrote; the client knows that anyway.
            Err(_) => {
                return self.refuse(
                    conn,
                    Code::BadMessage,
                    "not a message of this protocol",
                    now,
                );
            }
        };
        match message {
            ClientMessage::Join {
                room_id,
                sid,
                access_pk,
                caps,
            } => self.join(conn, (room_id, sid, access_pk, caps), now),
            ClientMessage::Prove { sig } => self.prove(conn, &sig, now),
            ClientMessage::Leave {} => {
                self.forget(conn, LeftWhy::Left, now);
                self.close(conn, close::NORMAL, "left");
            }
            ClientMessage::Signal { to, body } => self.signal(conn, to, body),
            ClientMessage::Call { to, call_id, step } => {
                self.call(conn, to, call_id, step, now);
            }
            ClientMessage::Ping { t } => self.send(conn, ServerMessage::Pong { t }),
        }
    }

    /// Counts what arrived; `false` when it is over a limit and must not be looked at.
    fn heard(&mut self, conn: ConnId, bytes: usize, now: Now) -> bool {
        let Some(c) = self.conns.get_mut(&conn) else {
            return false;
        };
        c.heard = true;
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if c.messages.take(1, self.config.message_rate, now.at)
            && c.bytes.take(bytes, self.config.byte_rate, now.at)
        {
            return true;
        }
        self.metrics.limited_messages += 1;
        if c.strikes.take(1, self.config.strikes, now.at) {
            self.error(conn, Code::RateLimited, "too many messages", None);
        } else {
            self.refuse(conn, Code::RateLimited, "too many messages", now);
        }
        false
    }

    fn broke(&mut self, conn: ConnId, what: Violation, now: Now) {
        if !self.conns.contains_key(&conn) {
            return;
        }
        self.metrics.violations += 1;
        let (code, close, why) = match what {
            Violation::TooLarge => (Code::TooLarge, close::TOO_LARGE, "message too large"),
            Violation::Binary => (Code::BadMessage, close::UNSUPPORTED, "binary message"),
            Violation::NotUtf8 => (Code::BadMessage, close::NOT_UTF8, "text is not UTF-8"),
            Violation::Framing => (Code::BadMessage, close::PROTOCOL, "forbidden frame"),
            Violation::Fragments => (Code::BadMessage, close::POLICY, "too many fragments"),
        };
        if what == Violation::TooLarge {
            self.metrics.limited_size += 1;
        }
        self.error(conn, code, why, None);
        self.forget(conn, LeftWhy::Refused, now);
        self.close(conn, close, why);
    }

    fn send(&mut self, to: ConnId, message: ServerMessage) {
        self.effects.push_back(Effect::Send {
            to,
            message,
            sender: None,
        });
    }

    fn error(&mut self, conn: ConnId, code: Code, message: &str, about: Option<Sid>) {
        debug!(conn = conn.0, code = code.name(), why = message, "refused");
        let message = message.to_owned();
        self.send(
            conn,
            ServerMessage::Error {
                code,
                message,
                about,
            },
        );
    }

    /// An error that ends the connection.
    fn refuse(&mut self, conn: ConnId, code: Code, message: &'static str, now: Now) {
        if code == Code::BadMessage {
            self.metrics.violations += 1;
        }
        self.error(conn, code, message, None);
        self.forget(conn, LeftWhy::Refused, now);
        self.close(conn, close::POLICY, message);
    }

    fn close(&mut self, conn: ConnId, code: u16, why: &'static str) {
        debug!(conn = conn.0, code, why, "close");
        self.effects.push_back(Effect::Close { conn, code, why });
    }
}

impl Chance {
    fn bytes(&mut self) -> [u8; 32] {
        self.count += 1;
        let count = self.count.to_be_bytes();
        derive::hash(&[b"kith1/room-server", &self.seed, &count])
    }
}

impl std::fmt::Debug for Chance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Chance(…)")
    }
}
