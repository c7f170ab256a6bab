//! What is counted, and its Prometheus text.

use std::fmt::Write as _;
use std::time::Duration;

/// Counters since the start, and the gauges of calls.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// WebSocket connections accepted.
    pub connections: u64,
    /// Joins that succeeded.
    pub joins: u64,
    /// Joins refused for a proof that does not hold, or a sid that is taken.
    pub refused_proof: u64,
    /// Joins refused because the room has no place.
    pub refused_full: u64,
    /// Joins refused because of their rate.
    pub refused_rate: u64,
    /// Connections that did not join in time.
    pub refused_late: u64,
    /// Signals passed on.
    pub relayed: u64,
    /// Bytes of signal bodies, those refused for a slow reader included.
    pub relayed_bytes: u64,
    /// Connections refused: too many, or too fast from one address.
    pub limited_connections: u64,
    /// Messages over their rate.
    pub limited_messages: u64,
    /// Messages or bodies over their size.
    pub limited_size: u64,
    /// Signals refused because their reader was slow.
    pub limited_outbox: u64,
    /// Readers closed for being slow.
    pub slow_closed: u64,
    /// Connections closed for not answering pings.
    pub silent_closed: u64,
    /// Connections closed for breaking the protocol.
    pub violations: u64,
    /// What calls do.
    pub calls: CallMetrics,
}

/// Counters of calls.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct CallMetrics {
    /// Calls that rang somewhere.
    pub started: u64,
    /// Calls that somebody took.
    pub answered: u64,
    /// Calls whose last called member said no.
    pub rejected: u64,
    /// Calls that nobody took in time, or that the caller gave up.
    pub missed: u64,
    /// Calls that could not be placed, or that ended unanswered because somebody went away.
    pub failed: u64,
    /// Sum of the durations of answered calls that ended.
    pub talked: Duration,
    /// Answered calls that ended.
    pub ended: u64,
    /// Answered calls going on now.
    pub live: u64,
    /// Most answered calls at once.
    pub peak: u64,
}

/// What is true at the moment.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Gauges {
    /// WebSocket connections.
    pub connections: usize,
    /// Connections in a room.
    pub members: usize,
    /// Rooms with somebody in them.
    pub rooms: usize,
}

impl Metrics {
    /// The Prometheus text format, version 0.0.4. No label holds an id or an address.
    pub fn render(&self, now: Gauges, gate_closed: u64) -> String {
        let c = &self.calls;
        let mut out = String::with_capacity(4096);
        let mut put = |name: &str, kind: &str, rows: &[(&str, f64)]| {
            let _ = writeln!(out, "# TYPE kith_{name} {kind}");
            for (labels, value) in rows {
                let _ = writeln!(out, "kith_{name}{labels} {value}");
            }
        };
        put("connections", "gauge", &[("", now.connections as f64)]);
        put("members", "gauge", &[("", now.members as f64)]);
        put("rooms", "gauge", &[("", now.rooms as f64)]);
        put(
            "connections_total",
            "counter",
            &[("", self.connections as f64)],
        );
        put("joins_total", "counter", &[("", self.joins as f64)]);
        put(
            "joins_refused_total",
            "counter",
            &[
                (r#"{why="bad-proof"}"#, self.refused_proof as f64),
                (r#"{why="room-full"}"#, self.refused_full as f64),
                (r#"{why="rate-limited"}"#, self.refused_rate as f64),
                (r#"{why="late"}"#, self.refused_late as f64),
            ],
        );
        put(
            "relayed_messages_total",
            "counter",
            &[("", self.relayed as f64)],
        );
        put(
            "relayed_bytes_total",
            "counter",
            &[("", self.relayed_bytes as f64)],
        );
        put(
            "limits_hit_total",
            "counter",
            &[
                (r#"{limit="sockets"}"#, gate_closed as f64),
                (r#"{limit="connections"}"#, self.limited_connections as f64),
                (r#"{limit="messages"}"#, self.limited_messages as f64),
                (r#"{limit="size"}"#, self.limited_size as f64),
                (r#"{limit="outbox"}"#, self.limited_outbox as f64),
            ],
        );
        put(
            "closed_total",
            "counter",
            &[
                (r#"{why="slow-reader"}"#, self.slow_closed as f64),
                (r#"{why="silent"}"#, self.silent_closed as f64),
                (r#"{why="violation"}"#, self.violations as f64),
            ],
        );
        put("calls_started_total", "counter", &[("", c.started as f64)]);
        put(
            "calls_answered_total",
            "counter",
            &[("", c.answered as f64)],
        );
        put(
            "calls_rejected_total",
            "counter",
            &[("", c.rejected as f64)],
        );
        put("calls_missed_total", "counter", &[("", c.missed as f64)]);
        put("calls_failed_total", "counter", &[("", c.failed as f64)]);
        put(
            "call_duration_seconds",
            "summary",
            &[("_sum", c.talked.as_secs_f64()), ("_count", c.ended as f64)],
        );
        put("calls", "gauge", &[("", c.live as f64)]);
        put("calls_peak", "gauge", &[("", c.peak as f64)]);
        out
    }
}
