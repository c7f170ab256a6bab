//! Client ↔ room server: JSON text messages over a WebSocket (`GET /ws`, subprotocol
//! [`crate::limits::SUBPROTOCOL`]).
//!
//! The server is strict with clients (unknown fields and variants are refused); clients are
//! lenient with the server (unknown variants become [`ServerMessage::Unknown`], unknown fields are
//! ignored), so a server may be newer than its clients.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::code::Code;
use crate::ids::{AccessPk, Blob, CallId, Nonce, RoomId, Sid, Signature};
use crate::limits;

/// What a client tells the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ClientMessage {
    /// Asks to enter a room; answered by `challenge`.
    Join {
        /// The room.
        room_id: RoomId,
        /// This connection, chosen at random by the client.
        sid: Sid,
        /// Key whose hash is the room id.
        access_pk: AccessPk,
        /// Optional features of this client.
        #[serde(default)]
        caps: Vec<String>,
    },
    /// Answers `challenge`; see [`crate::invite::verify_proof`].
    Prove {
        /// The signature.
        sig: Signature,
    },
    /// Leaves the room and closes.
    Leave {},
    /// Opaque bytes for one member.
    Signal {
        /// The member.
        to: Sid,
        /// At most [`limits::MAX_SIGNAL`] bytes.
        body: Blob,
    },
    /// Bookkeeping of calls; the human content is in sealed signals.
    Call {
        /// The called member, or the whole room.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<Sid>,
        /// The call.
        call_id: CallId,
        /// What happens to it.
        step: CallStep,
    },
    /// Asks for `pong` with the same `t`.
    Ping {
        /// Any number.
        t: u64,
    },
}

/// A step a client reports of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallStep {
    /// Ring the other side.
    Request,
    /// Take the call.
    Accept,
    /// Do not take it.
    Reject,
    /// Stop ringing.
    Cancel,
    /// End it.
    HangUp,
}

/// A step the server reports of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallNews {
    /// See [`CallStep::Request`].
    Request,
    /// See [`CallStep::Accept`].
    Accept,
    /// See [`CallStep::Reject`].
    Reject,
    /// See [`CallStep::Cancel`].
    Cancel,
    /// See [`CallStep::HangUp`].
    HangUp,
    /// Nobody answered within [`limits::RING_TIMEOUT`].
    Timeout,
    /// The called member is in another call.
    Busy,
    /// A step this build does not know.
    #[serde(other)]
    Unknown,
}

impl From<CallStep> for CallNews {
    fn from(step: CallStep) -> Self {
        match step {
            CallStep::Request => CallNews::Request,
            CallStep::Accept => CallNews::Accept,
            CallStep::Reject => CallNews::Reject,
            CallStep::Cancel => CallNews::Cancel,
            CallStep::HangUp => CallNews::HangUp,
        }
    }
}

/// What the server tells a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ServerMessage {
    /// Sign this to enter.
    Challenge {
        /// Fresh random bytes.
        nonce: Nonce,
    },
    /// The client is in; the room as it is now.
    Joined {
        /// The client's own sid.
        you: Sid,
        /// Everybody else in the room.
        members: Vec<Member>,
        /// The room.
        room: RoomInfo,
        /// STUN and TURN servers.
        #[serde(default)]
        ice_servers: Vec<IceServer>,
        /// Seconds until the TURN credentials expire.
        #[serde(default)]
        ice_ttl: u64,
        /// Opens `GET /ice-servers` while this connection lives.
        #[serde(default)]
        token: String,
    },
    /// Somebody came.
    MemberJoined {
        /// Who.
        sid: Sid,
        /// Optional features of that client.
        #[serde(default)]
        caps: Vec<String>,
    },
    /// Somebody went.
    MemberLeft {
        /// Who.
        sid: Sid,
        /// Why.
        why: LeftWhy,
    },
    /// Opaque bytes from a member.
    Signal {
        /// Stamped by the server.
        from: Sid,
        /// The bytes.
        body: Blob,
    },
    /// Bookkeeping of calls.
    Call {
        /// Stamped by the server.
        from: Sid,
        /// The call.
        call_id: CallId,
        /// What happened.
        step: CallNews,
        /// A reason, where there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// The room changed.
    Room {
        /// The room as it is now.
        room: RoomInfo,
    },
    /// Fresh TURN credentials, sent before the old ones expire.
    IceServers {
        /// STUN and TURN servers.
        ice_servers: Vec<IceServer>,
        /// Seconds until the TURN credentials expire.
        ice_ttl: u64,
    },
    /// The server closes soon (close code 1012) and will be back.
    Restarting {
        /// Milliseconds until the close.
        after_ms: u64,
    },
    /// Answers `ping`.
    Pong {
        /// The number of the ping.
        t: u64,
    },
    /// Something the client asked for was refused.
    Error {
        /// Why.
        code: Code,
        /// For humans reading logs.
        #[serde(default)]
        message: String,
        /// The member it is about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        about: Option<Sid>,
    },
    /// A message this build does not know; skipped.
    #[serde(other, skip_serializing)]
    Unknown,
}

/// One member as others see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its connection.
    pub sid: Sid,
    /// Its optional features.
    #[serde(default)]
    pub caps: Vec<String>,
}

/// A room as its members see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomInfo {
    /// Whether newcomers are refused.
    #[serde(default)]
    pub locked: bool,
    /// Most members at once.
    pub capacity: u16,
}

/// Why a member left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeftWhy {
    /// It said so.
    Left,
    /// Its connection closed.
    Closed,
    /// It stopped answering pings, or reading.
    TimedOut,
    /// The server removed it for breaking the protocol.
    Refused,
    /// A reason this build does not know.
    #[serde(other)]
    Unknown,
}

/// A STUN or TURN server, in the shape of `RTCIceServer`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IceServer {
    /// `stun:`, `turn:` or `turns:` URLs (RFC 7064, RFC 7065).
    pub urls: Vec<String>,
    /// TURN user name: `<expiry>:<sid>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// TURN password: base64 of HMAC-SHA1 over the user name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// The answer of `GET /ice-servers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IceServers {
    /// STUN and TURN servers.
    pub ice_servers: Vec<IceServer>,
    /// Seconds until the TURN credentials expire.
    pub ice_ttl: u64,
}

/// Why a message of the room protocol could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoomError {
    /// Over the size limit.
    #[error("message of {0} bytes is over the limit")]
    TooLarge(usize),
    /// Not JSON of a known shape, or a value out of its bounds.
    #[error("malformed message: {0}")]
    Malformed(String),
}

impl RoomError {
    /// The code the other end is told.
    pub fn code(&self) -> Code {
        match self {
            RoomError::TooLarge(_) => Code::TooLarge,
            RoomError::Malformed(_) => Code::BadMessage,
        }
    }
}

impl ClientMessage {
    /// Parses what a client sent.
    pub fn parse(text: &str) -> Result<Self, RoomError> {
        let message: ClientMessage = parse(text)?;
        match &message {
            ClientMessage::Join { caps, .. } => check_caps(caps)?,
            ClientMessage::Signal { body, .. } => check_body(body)?,
            ClientMessage::Prove { .. }
            | ClientMessage::Leave {}
            | ClientMessage::Call { .. }
            | ClientMessage::Ping { .. } => {}
        }
        Ok(message)
    }

    /// The JSON text.
    pub fn to_text(&self) -> String {
        to_text(self)
    }
}

impl ServerMessage {
    /// Parses what the server sent.
    pub fn parse(text: &str) -> Result<Self, RoomError> {
        let message: ServerMessage = parse(text)?;
        if let ServerMessage::Signal { body, .. } = &message {
            check_body(body)?;
        }
        Ok(message)
    }

    /// The JSON text.
    pub fn to_text(&self) -> String {
        to_text(self)
    }
}

/// Checks a list of capability names against the limits.
pub fn check_caps(caps: &[String]) -> Result<(), RoomError> {
    let fits = caps.len() <= limits::MAX_CAPS
        && caps
            .iter()
            .all(|c| !c.is_empty() && c.len() <= limits::MAX_CAP && c.is_ascii());
    if fits {
        Ok(())
    } else {
        Err(RoomError::Malformed("caps out of bounds".into()))
    }
}

fn check_body(body: &Blob) -> Result<(), RoomError> {
    if body.0.len() > limits::MAX_SIGNAL {
        return Err(RoomError::TooLarge(body.0.len()));
    }
    Ok(())
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, RoomError> {
    if text.len() > limits::MAX_ROOM_MESSAGE {
        return Err(RoomError::TooLarge(text.len()));
    }
    serde_json::from_str(text).map_err(|e| RoomError::Malformed(e.to_string()))
}

fn to_text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("room messages hold nothing JSON cannot carry")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_strict() {
        for text in [
            r#"{"type":"ping","t":1,"extra":2}"#,
            r#"{"type":"dance"}"#,
            r#"{"type":"leave","why":"x"}"#,
            r#"{"t":1}"#,
            r#"{"type":"ping","t":-1}"#,
            "5",
            "",
            "[]",
        ] {
            assert!(
                matches!(ClientMessage::parse(text), Err(RoomError::Malformed(_))),
                "{text}"
            );
        }
        assert!(ClientMessage::parse(r#"{"type":"leave"}"#).is_ok());
    }

    #[test]
    fn the_client_is_lenient() {
        let parsed = ServerMessage::parse(r#"{"type":"from-2031","x":[1,{"y":2}]}"#);
        assert_eq!(parsed, Ok(ServerMessage::Unknown));
        let parsed = ServerMessage::parse(r#"{"type":"pong","t":4,"new":true}"#);
        assert_eq!(parsed, Ok(ServerMessage::Pong { t: 4 }));
    }

    #[test]
    fn sizes_are_bounded() {
        let long = format!(
            r#"{{"type":"ping","t":{}1}}"#,
            " ".repeat(limits::MAX_ROOM_MESSAGE)
        );
        assert!(matches!(
            ClientMessage::parse(&long),
            Err(RoomError::TooLarge(_))
        ));
        let body = Blob(vec![0u8; limits::MAX_SIGNAL + 1].into());
        let text = ClientMessage::Signal {
            to: Sid([0; 16]),
            body,
        }
        .to_text();
        assert!(text.len() < limits::MAX_ROOM_MESSAGE);
        assert!(matches!(
            ClientMessage::parse(&text),
            Err(RoomError::TooLarge(_))
        ));
        let caps = vec!["x".to_string(); limits::MAX_CAPS + 1];
        let (room_id, sid) = (RoomId([0; 16]), Sid([0; 16]));
        let join = ClientMessage::Join {
            room_id,
            sid,
            access_pk: AccessPk([0; 32]),
            caps,
        };
        assert!(ClientMessage::parse(&join.to_text()).is_err());
    }
}
