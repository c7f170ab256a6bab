//! What goes into the hub and what comes out.

use std::net::IpAddr;
use std::time::Duration;

use kith_protocol::room::ServerMessage;

/// A point in monotonic time, counted from wherever the caller likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct At(pub Duration);

impl At {
    /// This much later.
    pub fn plus(self, d: Duration) -> At {
        At(self.0.saturating_add(d))
    }

    /// Time since an earlier point; zero if it is later.
    pub fn since(self, earlier: At) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Decides everything inside.
    pub at: At,
    /// Wall clock in seconds since 1970; only for the expiry that a TURN server reads.
    pub unix: u64,
}

/// A connection, numbered by the caller; a number is never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// What happens to the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A WebSocket was opened.
    Connected {
        /// Its number.
        conn: ConnId,
        /// The client's address.
        addr: IpAddr,
        /// The `Host` it asked for, lower case.
        host: String,
    },
    /// A text message arrived.
    Text {
        /// From where.
        conn: ConnId,
        /// Not parsed yet.
        text: String,
    },
    /// A WebSocket ping arrived (and was answered).
    PingSeen {
        /// From where.
        conn: ConnId,
    },
    /// A WebSocket pong arrived.
    PongSeen {
        /// From where.
        conn: ConnId,
    },
    /// A client broke the WebSocket layer's rules.
    Broke {
        /// Which.
        conn: ConnId,
        /// How.
        what: Violation,
    },
    /// A connection is gone.
    Closed {
        /// Which.
        conn: ConnId,
    },
    /// The outbox of `to` had no room for a message.
    Full {
        /// The slow reader.
        to: ConnId,
        /// Whose message it was; `None` where it was the hub's own, of which none may be lost.
        sender: Option<ConnId>,
    },
    /// The outbox of `to` has room again.
    Relieved {
        /// The reader.
        to: ConnId,
    },
    /// A deadline may have passed.
    Tick,
    /// The server goes down.
    Drain,
}

/// How a client broke the WebSocket layer's rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// A message over [`kith_protocol::limits::MAX_ROOM_MESSAGE`].
    TooLarge,
    /// A binary message.
    Binary,
    /// A text that is not UTF-8.
    NotUtf8,
    /// Frames that RFC 6455 forbids.
    Framing,
    /// A message in more, or emptier, fragments than anybody needs.
    Fragments,
}

/// What the hub wants done. Effects for one connection are in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Queue a message.
    Send {
        /// For whom.
        to: ConnId,
        /// What.
        message: ServerMessage,
        /// Set for a relayed message: the sender can be told `busy`.
        sender: Option<ConnId>,
    },
    /// Send a WebSocket ping.
    Ping {
        /// To whom.
        conn: ConnId,
    },
    /// Send what is queued, then close. The hub has forgotten the connection.
    Close {
        /// Which.
        conn: ConnId,
        /// WebSocket close code (RFC 6455 section 7.4).
        code: u16,
        /// Close reason, for people who read traces.
        why: &'static str,
    },
}

/// Close codes in use (RFC 6455 section 7.4.1 and the IANA registry).
pub mod close {
    /// The client left.
    pub const NORMAL: u16 = 1000;
    /// Frames against the rules.
    pub const PROTOCOL: u16 = 1002;
    /// Binary messages are not spoken here.
    pub const UNSUPPORTED: u16 = 1003;
    /// Text that is not UTF-8.
    pub const NOT_UTF8: u16 = 1007;
    /// Refused, late, silent or slow.
    pub const POLICY: u16 = 1008;
    /// A message over the limit.
    pub const TOO_LARGE: u16 = 1009;
    /// The server restarts.
    pub const RESTART: u16 = 1012;
    /// Too many connections; try again later.
    pub const TRY_LATER: u16 = 1013;
}
