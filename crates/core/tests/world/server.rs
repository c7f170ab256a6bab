//! A room server: members of rooms and what it passes between them.

use std::collections::BTreeMap;

use kith_protocol::ids::Nonce;
use kith_protocol::room::{ClientMessage, LeftWhy, Member, RoomInfo, ServerMessage};
use kith_protocol::{Code, RoomId, Sid};

/// One connection.
#[derive(Debug)]
struct Conn {
    node: usize,
    room: Option<RoomId>,
    joined: bool,
}

/// The server. Each call returns what to tell whom: `(node, sid, message)`.
#[derive(Debug, Default)]
pub struct Server {
    conns: BTreeMap<Sid, Conn>,
    /// Nobody can dial while it is down.
    pub down: bool,
    /// Connections that carry nothing any more, and nobody has noticed.
    pub dead: std::collections::BTreeSet<Sid>,
    /// It loses, doubles and garbles signals.
    pub hostile: bool,
    /// Counts signals, so that mischief is the same for the same seed.
    signals: u64,
}

type Tell = Vec<(usize, Sid, ServerMessage)>;

impl Server {
    /// A connection is open.
    pub fn connected(&mut self, node: usize, sid: Sid) {
        let (room, joined) = (None, false);
        self.conns.insert(sid, Conn { node, room, joined });
    }

    /// Whether the connection still stands.
    pub fn knows(&self, sid: Sid) -> bool {
        self.conns.contains_key(&sid)
    }

    /// Every connection is lost.
    pub fn crash(&mut self) -> Vec<(usize, Sid)> {
        self.down = true;
        std::mem::take(&mut self.conns)
            .into_iter()
            .map(|(sid, c)| (c.node, sid))
            .collect()
    }

    /// A connection ends.
    pub fn closed(&mut self, sid: Sid, why: LeftWhy) -> Tell {
        let Some(Conn {
            room: Some(room),
            joined: true,
            ..
        }) = self.conns.remove(&sid)
        else {
            return Vec::new();
        };
        self.others(room, sid)
            .map(|(n, s)| (n, s, ServerMessage::MemberLeft { sid, why }))
            .collect()
    }

    /// Sids of a node's connections.
    pub fn of(&self, node: usize) -> Vec<Sid> {
        self.conns
            .iter()
            .filter(|(_, c)| c.node == node)
            .map(|(s, _)| *s)
            .collect()
    }

    /// A message of a client.
    pub fn message(&mut self, sid: Sid, message: ClientMessage) -> Tell {
        let Some(conn) = self.conns.get_mut(&sid) else {
            return Vec::new();
        };
        let node = conn.node;
        // What is sent is also what can be parsed.
        let message =
            ClientMessage::parse(&message.to_text()).expect("clients send what is allowed");
        match message {
            ClientMessage::Join {
                room_id, access_pk, ..
            } => {
                assert_eq!(access_pk.room_id(), room_id);
                conn.room = Some(room_id);
                vec![(
                    node,
                    sid,
                    ServerMessage::Challenge {
                        nonce: Nonce([7; 32]),
                    },
                )]
            }
            ClientMessage::Prove { .. } => {
                let Some(room) = conn.room else {
                    return Vec::new();
                };
                conn.joined = true;
                let caps = Vec::new();
                let others: Vec<_> = self.others(room, sid).collect();
                let joined = ServerMessage::Joined {
                    you: sid,
                    members: others
                        .iter()
                        .map(|(_, sid)| Member {
                            sid: *sid,
                            caps: Vec::new(),
                        })
                        .collect(),
                    room: RoomInfo {
                        locked: false,
                        capacity: 32,
                    },
                    ice_servers: Vec::new(),
                    ice_ttl: 0,
                    token: String::new(),
                };
                let news = ServerMessage::MemberJoined { sid, caps };
                let mut tell = vec![(node, sid, joined)];
                tell.extend(others.into_iter().map(|(n, s)| (n, s, news.clone())));
                tell
            }
            ClientMessage::Leave {} => self.closed(sid, LeftWhy::Left),
            ClientMessage::Signal { to, body } => match self.conns.get(&to) {
                Some(c) if c.joined => {
                    self.signals += 1;
                    let tell = |body| (c.node, to, ServerMessage::Signal { from: sid, body });
                    match self.signals * 7919 % 11 {
                        0 | 1 if self.hostile => vec![],
                        2 if self.hostile => vec![tell(body.clone()), tell(body)],
                        3 if self.hostile => vec![tell(vec![1, 2, 3, 4, 5, 6].into()), tell(body)],
                        4 if self.hostile => {
                            let mut bytes = body.0.to_vec();
                            if let Some(last) = bytes.last_mut() {
                                *last ^= 1;
                            }
                            bytes.truncate(bytes.len() / 2 + 1);
                            vec![tell(bytes.into())]
                        }
                        _ => vec![tell(body)],
                    }
                }
                _ => {
                    let (code, about) = (Code::NoSuchMember, Some(to));
                    let message = String::new();
                    vec![(
                        node,
                        sid,
                        ServerMessage::Error {
                            code,
                            message,
                            about,
                        },
                    )]
                }
            },
            ClientMessage::Ping { t } => vec![(node, sid, ServerMessage::Pong { t })],
            ClientMessage::Call { .. } => Vec::new(),
        }
    }

    fn others(&self, room: RoomId, but: Sid) -> impl Iterator<Item = (usize, Sid)> + '_ {
        let there =
            move |(sid, c): &(&Sid, &Conn)| c.joined && c.room == Some(room) && **sid != but;
        self.conns
            .iter()
            .filter(there)
            .map(|(sid, c)| (c.node, *sid))
    }
}
