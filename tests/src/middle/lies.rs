//! What a room server could try, one name each, and what becomes of messages on their way. What it
//! says of its own accord is in [`super::talk`].

use std::sync::Arc;

use bytes::Bytes;
use kith_protocol::ids::Blob;
use kith_protocol::room::{ClientMessage, IceServer, Member, ServerMessage};
use kith_protocol::{Code, RoomId, Sid};

use super::wire::ToClient;
use super::{Client, World};

/// What the middle does while it is switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treachery {
    /// Changes one byte in the middle of each signal.
    Flip,
    /// Changes the last byte, which is of the authentication tag.
    FlipTag,
    /// Cuts the second half off.
    Truncate,
    /// Lets a handshake message claim to be another step.
    WrongStep,
    /// Passes on the first signal again instead of each later one.
    Replay,
    /// Passes on each signal twice.
    Twice,
    /// Hands a client's own words back to it, as if the other had said them.
    Reflect,
    /// Passes signals on in pairs, the second first.
    Reorder,
    /// Passes on no signal.
    DropAll,
    /// Passes on every other signal.
    DropSome,
    /// Says that another member sent it.
    ForgeFrom,
    /// Gives each client the last body that was meant for another one, of another room if there
    /// is one.
    SwapBodies,
    /// Shows the members of all rooms to each other and passes on what they say.
    CrossRooms,

    /// Tells us another sid than ours.
    WrongYou,
    /// Lists ourselves, and everybody twice.
    Doubles,
    /// Lists as many members as fit a message.
    Crowd,
    /// Lists 10,000 members, which do not fit one.
    Multitude,
    /// Names 1,000 STUN and TURN servers, none of them any.
    JunkIce,
    /// Invents members, and words of theirs.
    Invent,
    /// Asks for proof after proof.
    Challenges,
    /// Answers each attempt to join with another error.
    Refusals,
    /// Closes as soon as somebody has joined.
    KickOut,

    /// Says again and again that all others have left.
    LeftLies,
    /// Reports every error there is, about nothing.
    Errors,
    /// Invents members that come and go, without end.
    Comings,
    /// The same, and never reads what the client answers.
    Deaf,

    /// Sends text that is no JSON.
    NotJson,
    /// Sends JSON of great depth.
    Nested,
    /// Sends a binary message.
    Binary,
    /// Sends bad UTF-8.
    NotUtf8,
    /// Sends reserved bits.
    Reserved,
    /// Sends a message of 1 MiB.
    Oversize,
    /// Announces a message of 2^62 bytes.
    HugeHeader,
    /// Sends fragments that never make a message.
    EndlessText,
    /// The same, with nothing in them.
    EndlessEmpty,
    /// Sends pings without end, and reads no pong.
    Pings,
}

use Treachery as T;

/// What a treachery is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To signals.
    Signals,
    /// To the greeting.
    Greeting,
    /// To the picture that clients have of the room.
    News,
    /// To the WebSocket itself.
    Frames,
}

impl Treachery {
    /// What it is done to.
    pub fn kind(self) -> Kind {
        match self {
            T::Flip
            | T::FlipTag
            | T::Truncate
            | T::WrongStep
            | T::Replay
            | T::Twice
            | T::Reflect
            | T::Reorder
            | T::DropAll
            | T::DropSome
            | T::ForgeFrom
            | T::SwapBodies
            | T::CrossRooms => Kind::Signals,
            T::WrongYou
            | T::Doubles
            | T::Crowd
            | T::Multitude
            | T::JunkIce
            | T::Challenges
            | T::Refusals
            | T::KickOut => Kind::Greeting,
            T::Invent | T::LeftLies | T::Errors | T::Comings | T::Deaf => Kind::News,
            T::NotJson
            | T::Nested
            | T::Binary
            | T::NotUtf8
            | T::Reserved
            | T::Oversize
            | T::HugeHeader
            | T::EndlessText
            | T::EndlessEmpty
            | T::Pings => Kind::Frames,
        }
    }

    fn never_reads(self) -> bool {
        matches!(self, T::Deaf | T::Pings)
    }
}

/// What becomes of a client's message on its way up.
pub(super) async fn up(world: &World, number: u64, message: ClientMessage) -> Vec<ClientMessage> {
    if matches!(message, ClientMessage::Signal { .. }) {
        // Not the greeting: without it there would be nobody to write to.
        let mut switched = world.how.subscribe();
        let reads = |how: &Option<Treachery>| !how.is_some_and(T::never_reads);
        let _ = switched.wait_for(reads).await;
    }
    let how = world.how();
    match (how, &message) {
        (Some(T::Reflect), ClientMessage::Signal { to, body }) => {
            let (from, body) = (*to, body.clone());
            let me = world.clients().get(&number).cloned();
            if let Some(me) = me {
                let _ = me.say.send(ServerMessage::Signal { from, body }).await;
            }
            world.lied();
            Vec::new()
        }
        (Some(T::CrossRooms), ClientMessage::Signal { to, body }) => {
            let me = world.clients().get(&number).cloned();
            let other = world.clients().values().find(|c| c.sid == *to).cloned();
            match (me, other) {
                (Some(me), Some(other)) if me.room != other.room => {
                    let (from, body) = (me.sid, body.clone());
                    let _ = other.say.send(ServerMessage::Signal { from, body }).await;
                    world.lied();
                    Vec::new()
                }
                _ => vec![message],
            }
        }
        // The real server would close a connection that greets so many.
        (Some(T::Comings), ClientMessage::Signal { .. }) => Vec::new(),
        // What was signed is not what the real server asked.
        (Some(T::Challenges), ClientMessage::Prove { .. }) => Vec::new(),
        _ => vec![message],
    }
}

/// What lies to one client.
pub(super) struct Liar {
    number: u64,
    pub(super) world: Arc<World>,
    joined: bool,
    first: Option<Blob>,
    held: Option<ServerMessage>,
    pub(super) count: u64,
}

impl Liar {
    pub fn new(number: u64, world: Arc<World>) -> Self {
        Liar {
            number,
            world,
            joined: false,
            first: None,
            held: None,
            count: 0,
        }
    }

    /// A treachery was switched on or off, or the client has just connected.
    pub async fn on_switch(&mut self, out: &mut ToClient) -> Option<()> {
        match self.world.how() {
            Some(how) if how.kind() == Kind::Frames || how == T::Challenges || self.joined => {
                self.talk(how, out).await
            }
            _ => Some(()),
        }
    }

    /// Passes a message of the real server on, or not quite.
    pub async fn pass(&mut self, message: ServerMessage, out: &mut ToClient) -> Option<()> {
        if let ServerMessage::Joined { .. } = message {
            self.joined = true;
            self.world.seen().joins += 1;
            self.world.meddled.send_modify(|_| {});
        }
        let Some(how) = self.world.how() else {
            return out.say(&message).await;
        };
        match message {
            ServerMessage::Signal { from, body } => {
                for message in self.signal(how, from, body) {
                    out.say(&message).await?;
                }
                Some(())
            }
            ServerMessage::Joined { .. } => {
                for message in self.joined(how, message) {
                    out.say(&message).await?;
                }
                match how {
                    T::KickOut => None,
                    _ => self.talk(how, out).await,
                }
            }
            ServerMessage::Challenge { .. } if how == T::Refusals => {
                self.lied();
                let dials = self.world.seen().dials as usize;
                let code = Code::ALL[dials % Code::ALL.len()];
                out.say(&error(code)).await
            }
            _ => out.say(&message).await,
        }
    }

    pub(super) fn lied(&self) {
        self.world.lied();
    }

    pub(super) fn me(&self) -> Option<Client> {
        self.world.clients().get(&self.number).cloned()
    }

    fn signal(&mut self, how: Treachery, from: Sid, body: Blob) -> Vec<ServerMessage> {
        if how.kind() != Kind::Signals || matches!(how, T::Reflect | T::CrossRooms) {
            return vec![ServerMessage::Signal { from, body }];
        }
        self.lied();
        self.count += 1;
        let before = body.0.clone();
        let signal = |from, bytes: Vec<u8>| ServerMessage::Signal {
            from,
            body: bytes.into(),
        };
        let mut bytes = body.0.to_vec();
        let len = bytes.len();
        match how {
            T::Flip => bytes[len / 2] ^= 1,
            T::FlipTag => bytes[len - 1] ^= 0x80,
            T::Truncate => bytes.truncate(len / 2),
            T::WrongStep => bytes[1] = bytes[1] % 3 + 1,
            T::Replay => bytes = self.first.get_or_insert_with(|| body.clone()).0.to_vec(),
            T::Twice => return vec![signal(from, bytes.clone()), signal(from, bytes)],
            T::DropAll => return Vec::new(),
            T::DropSome if self.count.is_multiple_of(2) => return Vec::new(),
            T::Reorder => {
                let now = signal(from, bytes);
                return match self.held.take() {
                    Some(earlier) => vec![now, earlier],
                    None => {
                        self.held = Some(now);
                        Vec::new()
                    }
                };
            }
            T::ForgeFrom => return vec![signal(self.another(from), bytes)],
            T::SwapBodies => match self.body_of_another(before) {
                Some(other) => bytes = other.to_vec(),
                None => return Vec::new(),
            },
            _ => {}
        }
        vec![signal(from, bytes)]
    }

    /// Somebody else in the room, or nobody that is.
    fn another(&self, from: Sid) -> Sid {
        let me = self.me();
        let clients = self.world.clients();
        let is = |c: &&Client| {
            me.as_ref()
                .is_some_and(|m| m.room == c.room && m.sid != c.sid)
                && c.sid != from
        };
        clients.values().find(is).map_or_else(random_sid, |c| c.sid)
    }

    fn body_of_another(&self, body: Bytes) -> Option<Bytes> {
        let clients = self.world.clients();
        let room = |n: &u64| clients.get(n).map(|c| c.room);
        let mine: Option<RoomId> = room(&self.number);
        let mut last = self.world.last();
        let mut others: Vec<_> = last.iter().filter(|(n, _)| **n != self.number).collect();
        others.sort_by_key(|(n, _)| room(n) == mine);
        let other = others.first().map(|(_, b)| (*b).clone());
        last.insert(self.number, body);
        other
    }

    fn joined(&mut self, how: Treachery, mut message: ServerMessage) -> Vec<ServerMessage> {
        let ServerMessage::Joined {
            you,
            members,
            ice_servers,
            ..
        } = &mut message
        else {
            return vec![message];
        };
        match how {
            T::WrongYou => you.0[0] ^= 1,
            T::Doubles => {
                members.extend(members.clone());
                members.extend([member(*you), member(*you)]);
            }
            T::Crowd => members.extend((0..1_000).map(|_| member(random_sid()))),
            T::Multitude => members.extend((0..10_000).map(|_| member(random_sid()))),
            T::JunkIce => ice_servers.extend((0..1_000).map(junk_ice)),
            _ => return vec![message],
        }
        self.lied();
        vec![message]
    }
}

fn member(sid: Sid) -> Member {
    Member { sid, caps: vec![] }
}

pub(super) fn error(code: Code) -> ServerMessage {
    ServerMessage::Error {
        code,
        message: "\u{1b}[31mthis is not so".into(),
        about: Some(random_sid()),
    }
}

fn junk_ice(n: usize) -> IceServer {
    let url = match n % 6 {
        0 => "turn:".into(),
        1 => "http://127.0.0.1/".into(),
        2 => format!("stun:[{n}"),
        3 => "turns::::99999".into(),
        4 => String::new(),
        _ => "stun:a\u{0}b".into(),
    };
    IceServer {
        urls: vec![url],
        username: None,
        credential: n.is_multiple_of(7).then(|| "x".into()),
    }
}

pub(super) fn random_sid() -> Sid {
    Sid(random())
}

pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}
