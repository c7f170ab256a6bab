//! Who calls whom in one room: bookkeeping, so that `busy` and the metrics are true.
//!
//! ```text
//! request ──► ringing ──accept──► party ──hang-up / gone──► out
//!                └──reject / cancel / timeout / gone──► out
//! ```
//!
//! A call lives while somebody rings in it or two parties talk. A member is in one call at most,
//! so there are never more calls than members.

use kith_protocol::room::{CallNews, CallStep};
use kith_protocol::{CallId, Code, Sid};

use super::At;
use super::metrics::CallMetrics;

/// One line of news for one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct News {
    pub to: Sid,
    pub from: Sid,
    pub call: CallId,
    pub step: CallNews,
    pub why: Option<&'static str>,
}

/// A step that makes no sense now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused(pub Code, pub &'static str);

#[derive(Debug)]
struct Call {
    id: CallId,
    parties: Vec<Sid>,
    ringing: Vec<Ring>,
    answered: Option<At>,
}

#[derive(Debug, Clone, Copy)]
struct Ring {
    who: Sid,
    by: Sid,
    until: At,
}

/// How an unanswered call ends, for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unanswered {
    Rejected,
    Missed,
    Failed,
}

/// The calls of one room.
#[derive(Debug, Default)]
pub(super) struct Calls(Vec<Call>);

impl Calls {
    /// Rings `targets` on behalf of `from`. With the id of the call `from` is in, more members
    /// are called into it. A target in another call is reported `busy`.
    pub fn request(
        &mut self,
        from: Sid,
        targets: &[Sid],
        id: CallId,
        until: At,
        metrics: &mut CallMetrics,
    ) -> Result<Vec<News>, Refused> {
        let existing = match self.of(&from) {
            Some(i) if self.0[i].id != id => {
                return Err(Refused(Code::Busy, "you are in another call"));
            }
            Some(i) if !self.0[i].parties.contains(&from) => {
                return Err(Refused(Code::NotNow, "this call is ringing: accept it"));
            }
            Some(i) => Some(i),
            None if self.0.iter().any(|c| c.id == id) => {
                return Err(Refused(Code::NotNow, "this call id is taken"));
            }
            None => None,
        };
        let mut news = Vec::new();
        let mut rings = Vec::new();
        for who in targets {
            let (to, stamp, step) = match self.of(who) {
                Some(i) if Some(i) == existing => continue,
                Some(_) => (from, *who, CallNews::Busy),
                None => {
                    rings.push(Ring {
                        who: *who,
                        by: from,
                        until,
                    });
                    (*who, from, CallNews::Request)
                }
            };
            news.push(News {
                to,
                from: stamp,
                call: id,
                step,
                why: None,
            });
        }
        match existing {
            Some(i) => self.0[i].ringing.extend(rings),
            None if rings.is_empty() => metrics.failed += 1,
            None => {
                metrics.started += 1;
                self.0.push(Call {
                    id,
                    parties: vec![from],
                    ringing: rings,
                    answered: None,
                });
            }
        }
        Ok(news)
    }

    /// Any other step of a member.
    pub fn step(
        &mut self,
        from: Sid,
        id: CallId,
        step: CallStep,
        now: At,
        metrics: &mut CallMetrics,
    ) -> Result<Vec<News>, Refused> {
        let found = self.0.iter().position(|c| c.id == id);
        let i = found.ok_or(Refused(Code::NotNow, "there is no such call any more"))?;
        let call = &mut self.0[i];
        let rings = call.ringing.iter().any(|r| r.who == from);
        let is_party = call.parties.contains(&from);
        let (news, how) = match step {
            CallStep::Accept if rings => {
                call.ringing.retain(|r| r.who != from);
                let news = call.tell_parties(from, CallNews::Accept, None);
                call.parties.push(from);
                if call.answered.is_none() {
                    call.answered = Some(now);
                    metrics.answered += 1;
                    metrics.live += 1;
                    metrics.peak = metrics.peak.max(metrics.live);
                }
                (news, Unanswered::Failed)
            }
            CallStep::Reject if rings => (
                call.drop_ring(from, CallNews::Reject, None),
                Unanswered::Rejected,
            ),
            CallStep::Cancel if is_party => (call.cancel(from, None), Unanswered::Missed),
            CallStep::HangUp if is_party => (call.hang_up(from, None), Unanswered::Missed),
            CallStep::Request
            | CallStep::Accept
            | CallStep::Reject
            | CallStep::Cancel
            | CallStep::HangUp => {
                return Err(Refused(Code::NotNow, "this step is not possible now"));
            }
        };
        self.end_if_over(i, how, now, metrics);
        Ok(news)
    }

    /// A member left the room: out of its call.
    pub fn gone(&mut self, who: Sid, now: At, metrics: &mut CallMetrics) -> Vec<News> {
        let Some(i) = self.of(&who) else {
            return Vec::new();
        };
        let call = &mut self.0[i];
        let why = Some("left the room");
        let news = if call.parties.contains(&who) {
            call.hang_up(who, why)
        } else {
            call.drop_ring(who, CallNews::Reject, why)
        };
        self.end_if_over(i, Unanswered::Failed, now, metrics);
        news
    }

    /// Stops what has rung long enough; both ends learn it.
    pub fn timeout(&mut self, now: At, metrics: &mut CallMetrics) -> Vec<News> {
        let mut news = Vec::new();
        for i in (0..self.0.len()).rev() {
            let call = &mut self.0[i];
            let (over, on): (Vec<Ring>, Vec<Ring>) =
                call.ringing.iter().partition(|r| r.until <= now);
            call.ringing = on;
            for r in over {
                let line = |to, from| News {
                    to,
                    from,
                    call: call.id,
                    step: CallNews::Timeout,
                    why: None,
                };
                news.push(line(r.by, r.who));
                news.push(line(r.who, r.by));
            }
            self.end_if_over(i, Unanswered::Missed, now, metrics);
        }
        news
    }

    /// When the next ring ends.
    pub fn due(&self) -> Option<At> {
        self.0
            .iter()
            .flat_map(|c| &c.ringing)
            .map(|r| r.until)
            .min()
    }

    /// The index of the call a member is in, ringing or talking.
    fn of(&self, who: &Sid) -> Option<usize> {
        self.0
            .iter()
            .position(|c| c.parties.contains(who) || c.ringing.iter().any(|r| r.who == *who))
    }

    fn end_if_over(&mut self, i: usize, how: Unanswered, now: At, metrics: &mut CallMetrics) {
        let call = &self.0[i];
        if !call.ringing.is_empty() || call.parties.len() > 1 {
            return;
        }
        match (call.answered, how) {
            (Some(at), _) => {
                metrics.live = metrics.live.saturating_sub(1);
                metrics.ended += 1;
                metrics.talked = metrics.talked.saturating_add(now.since(at));
            }
            (None, Unanswered::Rejected) => metrics.rejected += 1,
            (None, Unanswered::Missed) => metrics.missed += 1,
            (None, Unanswered::Failed) => metrics.failed += 1,
        }
        self.0.remove(i);
    }
}

impl Call {
    fn tell_parties(&self, from: Sid, step: CallNews, why: Option<&'static str>) -> Vec<News> {
        let others = self.parties.iter().filter(|p| **p != from);
        others
            .map(|to| News {
                to: *to,
                from,
                call: self.id,
                step,
                why,
            })
            .collect()
    }

    fn drop_ring(&mut self, who: Sid, step: CallNews, why: Option<&'static str>) -> Vec<News> {
        self.ringing.retain(|r| r.who != who);
        self.tell_parties(who, step, why)
    }

    /// Stops the rings that `by` started.
    fn cancel(&mut self, by: Sid, why: Option<&'static str>) -> Vec<News> {
        let mine = self.ringing.iter().filter(|r| r.by == by);
        let news = mine
            .map(|r| News {
                to: r.who,
                from: by,
                call: self.id,
                step: CallNews::Cancel,
                why,
            })
            .collect();
        self.ringing.retain(|r| r.by != by);
        news
    }

    fn hang_up(&mut self, who: Sid, why: Option<&'static str>) -> Vec<News> {
        let mut news = self.cancel(who, why);
        news.extend(self.tell_parties(who, CallNews::HangUp, why));
        self.parties.retain(|p| *p != who);
        news
    }
}
