//! Whom of those that the server names we shake hands with.
//!
//! A server may name members without end, and those who are really there among them. Handshakes go
//! on with [`MAX_MEMBERS`] at a time, who have a *seat*; [`MAX_WAITING`] more wait for one. Nobody
//! can tell which are invented, so a seat goes from one that has proven nothing to whoever speaks,
//! comes anew, or has waited while all tries with the other failed.

use std::collections::VecDeque;

use kith_protocol::Sid;

use super::{MAX_MEMBERS, Room};
use crate::engine::Ctx;
use crate::member::Member;

/// Members of one room that wait for a seat: more than the server can list in one message, and
/// all that is kept of one is its sid.
pub const MAX_WAITING: usize = 2048;

/// Those without a seat, the longest waiting first.
#[derive(Debug, Default)]
pub(super) struct Waiting(VecDeque<Sid>);

impl Waiting {
    fn add(&mut self, sid: Sid) {
        if self.0.contains(&sid) {
            return;
        }
        if self.0.len() >= MAX_WAITING {
            self.0.pop_front();
        }
        self.0.push_back(sid);
    }

    /// Whether it waited; it no longer does.
    pub fn remove(&mut self, sid: Sid) -> bool {
        let place = self.0.iter().position(|s| *s == sid);
        place.is_some_and(|at| self.0.remove(at).is_some())
    }

    pub fn clear(&mut self) {
        self.0 = VecDeque::new();
    }
}

impl Room {
    /// Those who are there when we come: whoever finds no free seat waits.
    pub(super) fn meet_all(&mut self, others: Vec<Sid>, ctx: &mut Ctx<'_>) {
        for sid in others {
            if self.members.len() < MAX_MEMBERS {
                self.meet(sid, ctx);
            } else {
                self.waiting.add(sid);
            }
        }
    }

    /// Somebody has come, or speaks: it gets a seat, unless all are taken by proven ones.
    pub(super) fn meet(&mut self, sid: Sid, ctx: &mut Ctx<'_>) {
        let Some(me) = self.session.joined_sid() else {
            return;
        };
        if self.members.contains_key(&sid) {
            return;
        }
        if self.members.len() >= MAX_MEMBERS {
            let Some(other) = self.longest_unproven() else {
                return;
            };
            self.unseat(other, ctx);
        }
        self.waiting.remove(sid);
        self.members.insert(sid, Member::new(self.id, me, sid, ctx));
    }

    /// Gives the seats of those with whom all tries have failed to those who wait, and free ones.
    pub(super) fn seat_waiting(&mut self, ctx: &mut Ctx<'_>) {
        if self.waiting.0.is_empty() {
            return;
        }
        let failed = self.members.iter().filter(|(_, m)| m.has_failed());
        let mut failed: Vec<Sid> = failed.map(|(sid, _)| *sid).collect();
        failed.retain(|sid| !self.is_somebody(*sid));
        for _ in 0..self.waiting.0.len() {
            if self.members.len() >= MAX_MEMBERS {
                let Some(sid) = failed.pop() else { return };
                self.unseat(sid, ctx);
            }
            let Some(next) = self.waiting.0.pop_front() else {
                return;
            };
            self.meet(next, ctx);
        }
    }

    fn unseat(&mut self, sid: Sid, ctx: &mut Ctx<'_>) {
        if let Some(member) = self.members.remove(&sid) {
            member.close(ctx);
            self.waiting.add(sid);
        }
    }

    fn longest_unproven(&self) -> Option<Sid> {
        let all = self.members.iter();
        let unproven = all.filter(|(sid, m)| m.peer().is_none() && !self.is_somebody(**sid));
        unproven.min_by_key(|(_, m)| m.begun()).map(|(sid, _)| *sid)
    }

    /// Who has proven to be a person keeps its seat, also while it shakes hands anew.
    fn is_somebody(&self, sid: Sid) -> bool {
        self.people.values().any(|p| p.member == Some(sid))
    }
}
