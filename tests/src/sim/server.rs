//! The real room server's hub, and the connections to it: TCP as a client and a server see it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use kith_core::Input;
use kith_core::input::SessionNews;
use kith_protocol::room::{ClientMessage, ServerMessage};
use kith_protocol::{Code, RoomId, Sid, limits};
use kith_signaling::Config;
use kith_signaling::hub::{ConnId, Effect, Hub, Input as HubInput};

use super::world::{Event, Lane, What, World, server_now};

/// From a client.
#[derive(Debug, Clone)]
pub(crate) enum Up {
    Text(String),
    Pong,
    Hangup,
}

/// To a client.
#[derive(Debug, Clone)]
enum Down {
    Text(String),
    Ping,
    Close,
}

#[derive(Debug)]
struct Conn {
    node: usize,
    life: u32,
    room: RoomId,
    sid: Sid,
    /// What waits on the server's side, and on the client's.
    outbox: VecDeque<Down>,
    held: VecDeque<Up>,
    full: bool,
    /// It carries nothing any more, and nobody has been told.
    dead: bool,
    /// The client's end is closed.
    closed: bool,
}

/// The room server and who is connected to it.
pub(crate) struct RoomServer {
    pub hub: Option<Hub>,
    conns: BTreeMap<ConnId, Conn>,
    /// Who cannot reach it.
    pub cut: BTreeSet<usize>,
    seed: u64,
    count: u64,
    /// Signals that passed, to be replayed.
    old: VecDeque<ServerMessage>,
}

impl RoomServer {
    pub fn new(seed: u64) -> Self {
        let mut server = RoomServer {
            hub: None,
            conns: BTreeMap::new(),
            cut: BTreeSet::new(),
            seed,
            count: 0,
            old: VecDeque::new(),
        };
        server.up();
        server
    }

    /// It runs, knowing nothing.
    pub fn up(&mut self) {
        if self.hub.is_none() {
            self.count += 1;
            let seed =
                kith_protocol::derive::hash(&[&self.seed.to_be_bytes(), &self.count.to_be_bytes()]);
            self.hub = Some(Hub::new(Arc::new(Config::default()), seed));
        }
    }

    /// When the hub wants to be called.
    pub fn deadline(&self) -> Option<u64> {
        let deadline = self.hub.as_ref()?.deadline()?;
        // Rounded up, as a timer would.
        Some(deadline.at.0.as_nanos().div_ceil(1_000_000) as u64)
    }

    fn of(&self, node: usize, sid: Sid) -> Option<ConnId> {
        let mine = |c: &&Conn| c.node == node && c.sid == sid && !c.closed;
        let mut found = self.conns.iter().filter(|(_, c)| mine(c));
        found.next().map(|(id, _)| *id)
    }
}

impl World {
    pub(super) fn dial(&mut self, n: usize, life: u32, room: RoomId, sid: Sid) {
        if self.nodes[n].life != life || self.nodes[n].process.is_none() {
            return;
        }
        // Nobody answers, not even with a refusal.
        if self.server.cut.contains(&n) || self.nodes[n].asleep.is_some() {
            return;
        }
        self.server.count += 1;
        let conn = ConnId(self.server.count);
        let host = self.invite.server().authority().to_string();
        let Some(_) = &self.server.hub else {
            let news = SessionNews::Closed(Code::ServerUnreachable);
            return self.inform(Lane::Down(conn), n, Input::Session(room, sid, news));
        };
        let new = Conn {
            node: n,
            life,
            room,
            sid,
            outbox: VecDeque::new(),
            held: VecDeque::new(),
            full: false,
            dead: false,
            closed: false,
        };
        self.server.conns.insert(conn, new);
        let connected = Input::Session(room, sid, SessionNews::Connected);
        self.inform(Lane::Down(conn), n, connected);
        let addr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, n as u8));
        self.hub(HubInput::Connected { conn, addr, host });
    }

    pub(super) fn say_to_server(&mut self, n: usize, room: RoomId, sid: Sid, m: &ClientMessage) {
        if !matches!(m, ClientMessage::Ping { .. }) {
            self.noise += 1;
        }
        match self.server.of(n, sid) {
            Some(conn) => self.send(Lane::Up(conn), Event::Up(conn, Up::Text(m.to_text()))),
            None => {
                let news = SessionNews::Closed(Code::ServerUnreachable);
                if let Some(p) = self.nodes[n].process.as_mut() {
                    p.local.push_back(Input::Session(room, sid, news));
                }
            }
        }
    }

    pub(super) fn hang_up(&mut self, n: usize, sid: Sid) {
        if let Some(conn) = self.server.of(n, sid) {
            if let Some(c) = self.server.conns.get_mut(&conn) {
                c.closed = true;
            }
            self.send(Lane::Up(conn), Event::Up(conn, Up::Hangup));
        }
    }

    /// The process of a node is gone: its system closes what it had open.
    pub(super) fn hang_up_all(&mut self, n: usize) {
        let mine = self
            .server
            .conns
            .iter()
            .filter(|(_, c)| c.node == n && !c.closed);
        for sid in mine.map(|(_, c)| c.sid).collect::<Vec<_>>() {
            self.hang_up(n, sid);
        }
    }

    /// Connections of a node carry nothing any more.
    pub(super) fn kill_connections(&mut self, n: usize) {
        for conn in self.server.conns.values_mut().filter(|c| c.node == n) {
            conn.dead = true;
        }
    }

    pub(super) fn up(&mut self, id: ConnId, up: Up) {
        let Some(conn) = self.server.conns.get_mut(&id) else {
            return;
        };
        if conn.dead {
            return;
        }
        if self.server.cut.contains(&conn.node) {
            conn.held.push_back(up);
            return;
        }
        match up {
            Up::Text(text) => self.hub(HubInput::Text { conn: id, text }),
            Up::Pong => self.hub(HubInput::PongSeen { conn: id }),
            Up::Hangup => {
                self.server.conns.remove(&id);
                self.hub(HubInput::Closed { conn: id });
            }
        }
    }

    /// What waited on either side of a node's connections goes on.
    pub(super) fn flush_connections(&mut self, n: usize) {
        let mine = self.server.conns.iter().filter(|(_, c)| c.node == n);
        for id in mine.map(|(id, _)| *id).collect::<Vec<_>>() {
            let held = self
                .server
                .conns
                .get_mut(&id)
                .map(|c| std::mem::take(&mut c.held));
            for up in held.unwrap_or_default() {
                self.send(Lane::Up(id), Event::Up(id, up));
            }
            self.flush_outbox(id);
        }
    }

    /// The room server's process ends; its system closes the connections.
    pub(super) fn server_down(&mut self) {
        self.server.hub = None;
        for id in self.server.conns.keys().copied().collect::<Vec<_>>() {
            if let Some(conn) = self.server.conns.get_mut(&id) {
                conn.outbox.clear();
                conn.outbox.push_back(Down::Close);
            }
            self.flush_outbox(id);
        }
    }

    /// The room server is asked to go.
    pub(super) fn server_drain(&mut self) {
        self.hub(HubInput::Drain);
        self.put(1_500, Event::ServerEnd);
    }

    /// The drain is over.
    pub(super) fn server_end(&mut self) {
        if self.server.hub.as_ref().is_some_and(Hub::is_draining) {
            self.server_down();
        }
    }

    pub(super) fn tick(&mut self) {
        self.hub(HubInput::Tick);
        let later = self.server.deadline().is_none_or(|d| d > self.now);
        assert!(later, "the room server's deadline stays in the past");
    }

    fn hub(&mut self, input: HubInput) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let Some(hub) = &mut self.server.hub else {
                return;
            };
            hub.handle(input, server_now(self.now));
            let effects: Vec<Effect> = std::iter::from_fn(|| hub.poll()).collect();
            for effect in effects {
                match effect {
                    Effect::Send {
                        to,
                        message,
                        sender,
                    } => {
                        for message in self.garbled(message) {
                            if !self.push_down(to, &message, sender.is_some()) {
                                inputs.push_back(HubInput::Full { to, sender });
                            }
                        }
                    }
                    Effect::Ping { conn } => {
                        if let Some(c) = self.server.conns.get_mut(&conn)
                            && !c.outbox.iter().any(|d| matches!(d, Down::Ping))
                        {
                            c.outbox.push_back(Down::Ping);
                        }
                        self.flush_outbox(conn);
                    }
                    Effect::Close { conn, .. } => {
                        if let Some(c) = self.server.conns.get_mut(&conn) {
                            c.outbox.push_back(Down::Close);
                        }
                        self.flush_outbox(conn);
                    }
                }
            }
            let half = limits::OUTBOX_MESSAGES / 2;
            for (id, c) in &mut self.server.conns {
                if c.full && c.outbox.len() <= half {
                    c.full = false;
                    inputs.push_back(HubInput::Relieved { to: *id });
                }
            }
        }
    }

    fn push_down(&mut self, to: ConnId, message: &ServerMessage, relayed: bool) -> bool {
        if !matches!(message, ServerMessage::Pong { .. }) {
            self.noise += 1;
        }
        let Some(c) = self.server.conns.get_mut(&to) else {
            return true;
        };
        let most = limits::OUTBOX_MESSAGES * if relayed { 1 } else { 2 };
        if c.outbox.len() >= most {
            c.full = true;
            return false;
        }
        c.outbox.push_back(Down::Text(message.to_text()));
        self.flush_outbox(to);
        true
    }

    fn flush_outbox(&mut self, id: ConnId) {
        let Some(c) = self.server.conns.get_mut(&id) else {
            return;
        };
        if c.closed {
            let over = c.outbox.iter().any(|d| matches!(d, Down::Close));
            c.outbox.clear();
            if over {
                self.server.conns.remove(&id);
            }
            return;
        }
        let (node, life, room, sid) = (c.node, c.life, c.room, c.sid);
        let asleep = self.nodes[node].asleep.is_some();
        if c.dead || self.server.cut.contains(&node) || asleep {
            return;
        }
        for down in std::mem::take(&mut c.outbox) {
            let news = match down {
                Down::Ping => {
                    self.send(Lane::Down(id), Event::To(node, life, What::Ping(id)));
                    continue;
                }
                Down::Text(text) => match ServerMessage::parse(&text) {
                    Ok(message) => SessionNews::Message(message),
                    Err(e) => panic!("the room server says what cannot be read: {e}: {text}"),
                },
                Down::Close => {
                    self.server.conns.remove(&id);
                    SessionNews::Closed(Code::ServerUnreachable)
                }
            };
            let input = Box::new(Input::Session(room, sid, news));
            self.send(Lane::Down(id), Event::To(node, life, What::Input(input)));
        }
    }

    /// Signals as somebody in between makes them.
    fn garbled(&mut self, message: ServerMessage) -> Vec<ServerMessage> {
        let ServerMessage::Signal { from, body } = &message else {
            return vec![message];
        };
        self.server.old.push_back(message.clone());
        if self.server.old.len() > 32 {
            self.server.old.pop_front();
        }
        if self.garble == 0 {
            return vec![message];
        }
        self.garble -= 1;
        let mut bytes = body.0.to_vec();
        match self.dice.below(6) {
            0 => return vec![],
            1 => return vec![message.clone(), message],
            2 => bytes.truncate(bytes.len() / 2 + 1),
            3 => {
                let at = self.dice.below(bytes.len() as u64) as usize;
                if let Some(b) = bytes.get_mut(at) {
                    *b ^= 1 << self.dice.below(8);
                }
            }
            4 => bytes = vec![1, 2, 3, 4, 5, 6],
            _ => {
                let at = self.dice.below(self.server.old.len() as u64) as usize;
                return vec![self.server.old[at].clone(), message];
            }
        }
        let (from, body) = (*from, bytes.into());
        vec![ServerMessage::Signal { from, body }]
    }
}
