//! Coming and going: the join proof, and forgetting a connection.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kith_protocol::ids::{AccessPk, Nonce, Signature};
use kith_protocol::invite::verify_proof;
use kith_protocol::room::{LeftWhy, Member, RoomInfo, ServerMessage};
use kith_protocol::{Code, RoomId, Sid, derive};

use super::{Challenged, ConnId, Hub, Joined, Now, State, Token, Why, turn};

/// Most bytes of all capability names of one member. Everybody's stand in `joined`, which must
/// fit one message ([`crate::config::MAX_CAPACITY`]); for the same reason they need no escaping.
const MAX_CAPS_BYTES: usize = 512;

impl Hub {
    pub(super) fn join(
        &mut self,
        conn: ConnId,
        (room, sid, access_pk, caps): (RoomId, Sid, AccessPk, Vec<String>),
        now: Now,
    ) {
        let plain = |c: &String| {
            c.bytes()
                .all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
        };
        if !caps.iter().all(plain) || caps.iter().map(String::len).sum::<usize>() > MAX_CAPS_BYTES {
            return self.refuse(conn, Code::BadMessage, "caps out of bounds", now);
        }
        let Some(c) = self.conns.get_mut(&conn) else {
            return;
        };
        let State::Fresh { host, by } = &mut c.state else {
            return self.refuse(conn, Code::BadMessage, "a second join", now);
        };
        let nonce = Nonce(self.chance.bytes());
        c.state = State::Challenged(Box::new(Challenged {
            host: std::mem::take(host),
            by: *by,
            room,
            sid,
            access_pk,
            caps: caps.into_boxed_slice(),
            nonce,
        }));
        self.send(conn, ServerMessage::Challenge { nonce });
    }

    /// Nothing about the room is looked at, let alone said, before the proof holds.
    pub(super) fn prove(&mut self, conn: ConnId, sig: &Signature, now: Now) {
        let Some(c) = self.conns.get_mut(&conn) else {
            return;
        };
        let State::Challenged(ch) = &c.state else {
            return self.refuse(conn, Code::BadMessage, "a proof nobody asked for", now);
        };
        if !self.addresses.may_join(c.addr, &self.config, now.at) {
            self.metrics.refused_rate += 1;
            return self.refuse(conn, Code::RateLimited, "too many joins", now);
        }
        let named = self.config.public_origins.iter().map(String::as_str);
        let asked = Some(&*ch.host).filter(|_| self.config.public_origins.is_empty());
        let holds = named
            .chain(asked)
            .any(|origin| verify_proof(&ch.access_pk, &ch.room, origin, &ch.nonce, &ch.sid, sig));
        if !holds {
            self.metrics.refused_proof += 1;
            return self.refuse(conn, Code::BadProof, "the proof does not hold", now);
        }
        if let Some(room) = self.rooms.get(&ch.room) {
            if room.conn(&ch.sid).is_some() {
                self.metrics.refused_proof += 1;
                return self.refuse(conn, Code::BadProof, "this sid is taken", now);
            }
            if room.len() >= usize::from(self.config.room_capacity) {
                self.metrics.refused_full += 1;
                return self.refuse(conn, Code::RoomFull, "the room is full", now);
            }
        }
        self.transition_to_joined(conn, now);
    }

    fn transition_to_joined(&mut self, conn: ConnId, now: Now) {
        let Some(c) = self.conns.get_mut(&conn) else {
            return;
        };
        let State::Challenged(ch) = &mut c.state else {
            return;
        };
        self.timers.drop(ch.by, Why::Join(conn));
        let (room_id, sid, caps) = (ch.room, ch.sid, std::mem::take(&mut ch.caps));
        let token: Token = derive::truncate(&self.chance.bytes());
        let ice_at =
            turn::has_turn(&self.config).then(|| now.at.plus(self.config.turn_ttl / 5 * 4));
        if let Some(at) = ice_at {
            self.timers.set(at, Why::Ice(conn));
        }
        let said = caps.to_vec();
        c.state = State::Joined(Joined {
            room: room_id,
            sid,
            caps,
            token,
            ice_at,
        });
        self.tokens.insert(token, conn);
        self.metrics.joins += 1;
        let room = self.rooms.entry(room_id).or_default();
        let before: Vec<(Sid, ConnId)> = room.members().collect();
        room.add(sid, conn);
        let members = before
            .iter()
            .map(|(sid, c)| self.member(*sid, *c))
            .collect();
        let ice = turn::ice_servers(&self.config, &sid, now.unix);
        let joined = ServerMessage::Joined {
            you: sid,
            members,
            room: RoomInfo {
                locked: false,
                capacity: self.config.room_capacity,
            },
            ice_servers: ice.ice_servers,
            ice_ttl: ice.ice_ttl,
            token: URL_SAFE_NO_PAD.encode(token),
        };
        self.send(conn, joined);
        for (_, other) in before {
            let caps = said.clone();
            self.send(other, ServerMessage::MemberJoined { sid, caps });
        }
    }

    fn member(&self, sid: Sid, conn: ConnId) -> Member {
        let caps = match self.conns.get(&conn).map(|c| &c.state) {
            Some(State::Joined(j)) => j.caps.to_vec(),
            Some(State::Fresh { .. } | State::Challenged(_)) | None => Vec::new(),
        };
        Member { sid, caps }
    }

    /// Drops all that is known of a connection; its room learns it, its calls end.
    pub(super) fn forget(&mut self, conn: ConnId, why: LeftWhy, now: Now) {
        let Some(joined) = self.drop_conn(conn) else {
            return;
        };
        let Some(room) = self.rooms.get_mut(&joined.room) else {
            return;
        };
        let news = room.calls.gone(joined.sid, now.at, &mut self.metrics.calls);
        room.remove(conn);
        let others: Vec<ConnId> = room.members().map(|(_, c)| c).collect();
        self.tell_calls(joined.room, news);
        for other in others {
            let sid = joined.sid;
            self.send(other, ServerMessage::MemberLeft { sid, why });
        }
        self.free_if_empty(joined.room);
    }

    /// [`Hub::forget`] without a word to the others, who are about to be closed as well.
    pub(super) fn forget_quietly(&mut self, conn: ConnId, now: Now) {
        let Some(joined) = self.drop_conn(conn) else {
            return;
        };
        if let Some(room) = self.rooms.get_mut(&joined.room) {
            room.calls.gone(joined.sid, now.at, &mut self.metrics.calls);
            room.remove(conn);
            self.set_ring_timer(joined.room);
            self.free_if_empty(joined.room);
        }
    }

    fn drop_conn(&mut self, conn: ConnId) -> Option<Joined> {
        let c = self.conns.remove(&conn)?;
        self.addresses.leave(c.addr);
        self.timers.drop(c.beat_at, Why::Beat(conn));
        if let Some(at) = c.slow_at {
            self.timers.drop(at, Why::Slow(conn));
        }
        match c.state {
            State::Fresh { by, .. } => {
                self.timers.drop(by, Why::Join(conn));
                None
            }
            State::Challenged(ch) => {
                self.timers.drop(ch.by, Why::Join(conn));
                None
            }
            State::Joined(j) => {
                self.tokens.remove(&j.token);
                if let Some(at) = j.ice_at {
                    self.timers.drop(at, Why::Ice(conn));
                }
                Some(j)
            }
        }
    }

    fn free_if_empty(&mut self, id: RoomId) {
        if self.rooms.get(&id).is_some_and(super::Room::is_empty)
            && let Some(room) = self.rooms.remove(&id)
            && let Some(at) = room.ring_at
        {
            self.timers.drop(at, Why::Ring(id));
        }
    }
}

/// The token of `GET /ice-servers`.
pub(super) fn parse_token(text: &str) -> Option<Token> {
    let mut buf = [0u8; 24];
    let n = URL_SAFE_NO_PAD.decode_slice(text, &mut buf).ok()?;
    buf.get(..n)?.try_into().ok()
}
