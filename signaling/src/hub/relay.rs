//! What members send each other, and readers that are too slow for it.

use kith_protocol::ids::Blob;
use kith_protocol::room::{CallStep, LeftWhy, ServerMessage};
use kith_protocol::{CallId, Code, RoomId, Sid};

use super::calls::{News, Refused};
use super::{ConnId, Effect, Hub, Now, State, Why, close, turn};

impl Hub {
    pub(super) fn signal(&mut self, conn: ConnId, to: Sid, body: Blob) {
        let Some((room, from)) = self.place(conn) else {
            return self.error(conn, Code::NotJoined, "join first", None);
        };
        let target = self.rooms.get(&room).and_then(|r| r.conn(&to));
        let Some(target) = target.filter(|t| *t != conn) else {
            return self.error(conn, Code::NoSuchMember, "no such member", Some(to));
        };
        self.metrics.relayed += 1;
        self.metrics.relayed_bytes += body.0.len() as u64;
        self.effects.push_back(Effect::Send {
            to: target,
            message: ServerMessage::Signal { from, body },
            sender: Some(conn),
        });
    }

    pub(super) fn call(
        &mut self,
        conn: ConnId,
        to: Option<Sid>,
        id: CallId,
        step: CallStep,
        now: Now,
    ) {
        let Some((room_id, from)) = self.place(conn) else {
            return self.error(conn, Code::NotJoined, "join first", None);
        };
        let Some(room) = self.rooms.get_mut(&room_id) else {
            return;
        };
        let targets: Vec<Sid> = room
            .others(conn)
            .map(|(sid, _)| sid)
            .filter(|sid| to.is_none_or(|to| to == *sid))
            .collect();
        let metrics = &mut self.metrics.calls;
        let request = step == CallStep::Request;
        if targets.is_empty() && (request || to.is_some()) {
            metrics.failed += u64::from(request);
            return self.error(conn, Code::NoSuchMember, "no such member", to);
        }
        let until = now.at.plus(self.config.ring_timeout);
        let news = if request {
            room.calls.request(from, &targets, id, until, metrics)
        } else {
            room.calls.step(from, id, step, now.at, metrics)
        };
        match news {
            Ok(news) => self.tell_calls(room_id, news),
            Err(Refused(code, why)) => self.error(conn, code, why, to),
        }
    }

    pub(super) fn ring_over(&mut self, id: RoomId, now: Now) {
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        room.ring_at = None;
        let news = room.calls.timeout(now.at, &mut self.metrics.calls);
        self.tell_calls(id, news);
    }

    /// Sends news to the members it is for, and keeps the ring timer right.
    pub(super) fn tell_calls(&mut self, id: RoomId, news: Vec<News>) {
        for n in news {
            let to = self.rooms.get(&id).and_then(|r| r.conn(&n.to));
            if let Some(to) = to {
                let message = ServerMessage::Call {
                    from: n.from,
                    call_id: n.call,
                    step: n.step,
                    why: n.why.map(str::to_owned),
                };
                self.send(to, message);
            }
        }
        self.set_ring_timer(id);
    }

    pub(super) fn set_ring_timer(&mut self, id: RoomId) {
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        let due = room.calls.due();
        if due == room.ring_at {
            return;
        }
        if let Some(at) = room.ring_at {
            self.timers.drop(at, Why::Ring(id));
        }
        if let Some(at) = due {
            self.timers.set(at, Why::Ring(id));
        }
        room.ring_at = due;
    }

    pub(super) fn renew_ice(&mut self, conn: ConnId, now: Now) {
        let Some(c) = self.conns.get_mut(&conn) else {
            return;
        };
        let State::Joined(j) = &mut c.state else {
            return;
        };
        let at = now.at.plus(self.config.turn_ttl / 5 * 4);
        j.ice_at = Some(at);
        self.timers.set(at, Why::Ice(conn));
        let ice = turn::ice_servers(&self.config, &j.sid, now.unix);
        let message = ServerMessage::IceServers {
            ice_servers: ice.ice_servers,
            ice_ttl: ice.ice_ttl,
        };
        self.send(conn, message);
    }

    /// A sender learns that its reader is slow. A message of the hub's own must not be lost, so
    /// a reader without room even for those is closed.
    pub(super) fn full(&mut self, to: ConnId, sender: Option<ConnId>, now: Now) {
        let Some(c) = self.conns.get_mut(&to) else {
            return;
        };
        let Some(sender) = sender else {
            self.metrics.slow_closed += 1;
            self.forget(to, LeftWhy::TimedOut, now);
            return self.close(to, close::POLICY, "slow reader");
        };
        if c.slow_at.is_none() {
            let at = now.at.plus(self.config.outbox_patience);
            c.slow_at = Some(at);
            self.timers.set(at, Why::Slow(to));
        }
        self.metrics.limited_outbox += 1;
        self.metrics.relayed = self.metrics.relayed.saturating_sub(1);
        let about = self.place(to).map(|(_, sid)| sid);
        if self.conns.contains_key(&sender) {
            self.error(sender, Code::Busy, "this member reads too slowly", about);
        }
    }

    pub(super) fn relieved(&mut self, to: ConnId) {
        if let Some(at) = self.conns.get_mut(&to).and_then(|c| c.slow_at.take()) {
            self.timers.drop(at, Why::Slow(to));
        }
    }

    /// The room and sid of a joined connection.
    fn place(&self, conn: ConnId) -> Option<(RoomId, Sid)> {
        match &self.conns.get(&conn)?.state {
            State::Joined(j) => Some((j.room, j.sid)),
            State::Fresh { .. } | State::Challenged(_) => None,
        }
    }
}
