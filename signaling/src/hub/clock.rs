//! What the hub does because time passed: heartbeats, timeouts, the drain.

use std::time::Duration;

use kith_protocol::room::{LeftWhy, ServerMessage};
use kith_protocol::{Code, limits};

use super::{ConnId, Effect, Hub, Now, Why, close};

const SWEEP_EVERY: Duration = Duration::from_secs(60);

impl Hub {
    pub(super) fn tick(&mut self, now: Now) {
        while let Some(why) = self.timers.pop_due(now.at) {
            match why {
                Why::DrainOver => self.close_all(now),
                Why::Sweep => self.sweep(now),
                Why::Join(conn) => {
                    self.metrics.refused_late += 1;
                    self.error(conn, Code::NotJoined, "no join in time", None);
                    self.forget(conn, LeftWhy::TimedOut, now);
                    self.close(conn, close::POLICY, "no join in time");
                }
                Why::Beat(conn) => self.beat(conn, now),
                Why::Ice(conn) => self.renew_ice(conn, now),
                Why::Slow(conn) => {
                    self.metrics.slow_closed += 1;
                    self.forget(conn, LeftWhy::TimedOut, now);
                    self.close(conn, close::POLICY, "slow reader");
                }
                Why::Ring(room) => self.ring_over(room, now),
            }
        }
    }

    fn beat(&mut self, conn: ConnId, now: Now) {
        let Some(c) = self.conns.get_mut(&conn) else {
            return;
        };
        c.missed = if c.heard { 0 } else { c.missed + 1 };
        c.heard = false;
        if c.missed >= limits::PING_MISSES {
            self.metrics.silent_closed += 1;
            self.forget(conn, LeftWhy::TimedOut, now);
            return self.close(conn, close::POLICY, "no answer to pings");
        }
        c.beat_at = now.at.plus(self.config.ping_every);
        self.timers.set(c.beat_at, Why::Beat(conn));
        self.effects.push_back(Effect::Ping { conn });
    }

    fn sweep(&mut self, now: Now) {
        self.addresses.sweep(&self.config, now.at);
        self.sweep_at = None;
        if !self.addresses.is_empty() {
            self.plan_sweep(now);
        }
    }

    pub(super) fn plan_sweep(&mut self, now: Now) {
        let at = now.at.plus(SWEEP_EVERY);
        self.sweep_at = Some(at);
        self.timers.set(at, Why::Sweep);
    }

    pub(super) fn drain(&mut self, now: Now) {
        if self.draining.is_some() {
            return;
        }
        let until = now.at.plus(self.config.drain_for);
        self.draining = Some(until);
        self.timers.set(until, Why::DrainOver);
        for conn in self.all_conns() {
            self.say_restarting(conn, self.config.drain_for);
        }
    }

    fn close_all(&mut self, now: Now) {
        for conn in self.all_conns() {
            self.forget_quietly(conn, now);
            self.close(conn, close::RESTART, "restarting");
        }
    }

    fn all_conns(&self) -> Vec<ConnId> {
        let mut all: Vec<ConnId> = self.conns.keys().copied().collect();
        all.sort_unstable();
        all
    }

    pub(super) fn say_restarting(&mut self, conn: ConnId, after: Duration) {
        let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        self.send(conn, ServerMessage::Restarting { after_ms });
    }
}
