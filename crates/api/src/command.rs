//! The one list of commands.

use std::future::Future;

use kith_protocol::{OfferId, PeerId, RoomId};
use serde::{Deserialize, Serialize};

use crate::{ApiError, Cursor, Me, MessageView, Snapshot, TransferSettings, js};

/// Makes a trait, its names and its dispatcher of one list.
macro_rules! commands {
    (
        $(#[$trait_doc:meta])*
        trait $trait:ident, $(#[$names_doc:meta])* const $names:ident, $(#[$call_doc:meta])* fn $dispatch:ident, types $types:ident;
        $($(#[$doc:meta])* $name:ident($request:ty) -> $reply:ty;)*
    ) => {
        $(#[$trait_doc])*
        pub trait $trait: Send + Sync {
            $($(#[$doc])*
            fn $name(&self, request: $request) -> impl Future<Output = Result<$reply, ApiError>> + Send;)*
        }

        $(#[$names_doc])*
        pub const $names: &[&str] = &[$(stringify!($name)),*];

        $(#[$call_doc])*
        ///
        /// # Errors
        ///
        /// Those of the command and of `admit`, and
        /// [`BadRequest`](kith_protocol::Code::BadRequest) where there is no such command or the
        /// request is not its own.
        pub async fn $dispatch<H: $trait>(
            handler: &H,
            name: &str,
            request: serde_json::Value,
            admit: impl AsyncFnOnce(&[String]) -> Result<(), ApiError>,
        ) -> Result<serde_json::Value, ApiError> {
            let bad = |e: serde_json::Error| {
                ApiError::with(kith_protocol::Code::BadRequest, e.to_string())
            };
            match name {
                $(stringify!($name) => {
                    let request: $request = serde_json::from_value(request).map_err(bad)?;
                    admit($crate::Request::paths(&request)).await?;
                    let reply = handler.$name(request).await?;
                    serde_json::to_value(reply).map_err(bad)
                })*
                _ => Err(ApiError::with(
                    kith_protocol::Code::BadRequest,
                    format!("there is no command named {name:?}"),
                )),
            }
        }

        /// Name, request and reply, for the TypeScript map.
        #[cfg(test)]
        pub(crate) fn $types(cfg: &ts_rs::Config) -> Vec<(&'static str, String, String)> {
            use ts_rs::TS as _;
            vec![$((stringify!($name), <$request>::name(cfg), <$reply>::name(cfg))),*]
        }
    };
}
pub(crate) use commands;

commands! {
    /// The engine as front ends see it. A missing method does not compile.
    trait Handler,
    /// The names of all commands of [`Handler`], in list order.
    const COMMANDS,
    /// Calls a command of [`Handler`] by name with JSON in and out, for transports. `admit` is
    /// asked about the paths that the request names before anything happens.
    fn dispatch, types command_types;

    /// Everything as it is now.
    snapshot(Empty) -> Snapshot;
    /// Makes a room on a server and enters it.
    create_room(CreateRoom) -> Created;
    /// Enters the room of an invite.
    join_room(JoinRoom) -> Joined;
    /// Says good-bye and forgets to rejoin; history stays.
    leave_room(RoomRef) -> Empty;
    /// Writes a message to everybody in the room, also to those away.
    send_text(SendText) -> Sent;
    /// Offers files and folders.
    offer(OfferFiles) -> Offered;
    /// Fetches what somebody offers.
    accept(Accept) -> Empty;
    /// Refuses an offer, or ends a fetch that runs.
    decline(OfferRef) -> Empty;
    /// Withdraws one of our own offers.
    withdraw(Withdraw) -> Empty;
    /// Holds a transfer back until [`Handler::resume`], also across lost links and restarts.
    pause(TransferRef) -> Empty;
    /// Lets a transfer that we hold back go on; tries one at once that the disk holds back.
    resume(TransferRef) -> Empty;
    /// Gives a fetch another place in the queue.
    reorder(Reorder) -> Empty;
    /// Says how much a transfer may take.
    limit(Limit) -> Empty;
    /// Keeps what is chosen for all transfers, all of it; the reply is what was kept.
    set_transfers(TransferSettings) -> TransferSettings;
    /// One page of a room's messages, newest page first.
    history(HistoryPage) -> History;
    /// Changes our display name. Others see it from the next connection on.
    rename(Rename) -> Me;
}

/// What a command is called with.
pub trait Request {
    /// Files and folders on this machine that it names. The engine trusts its front end with them;
    /// a window must not trust its page.
    fn paths(&self) -> &[String];
}

macro_rules! without_paths {
    ($($request:ty),*) => {
        $(impl Request for $request {
            fn paths(&self) -> &[String] {
                &[]
            }
        })*
    };
}

without_paths!(
    Empty,
    CreateRoom,
    JoinRoom,
    RoomRef,
    SendText,
    OfferRef,
    Withdraw,
    TransferRef,
    Reorder,
    Limit,
    HistoryPage,
    Rename
);

/// Nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Empty {}

/// See [`Handler::create_room`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct CreateRoom {
    /// `host[:port]` or a URL.
    pub server: String,
}

/// Reply of [`Handler::create_room`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Created {
    /// The room.
    pub room: RoomId,
    /// The link that opens it.
    pub invite: String,
}

/// See [`Handler::join_room`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct JoinRoom {
    /// The link.
    pub invite: String,
}

/// Reply of [`Handler::join_room`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Joined {
    /// The room.
    pub room: RoomId,
}

/// Names a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct RoomRef {
    /// The room.
    pub room: RoomId,
}

/// See [`Handler::send_text`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct SendText {
    /// The room.
    pub room: RoomId,
    /// At most [`kith_protocol::limits::MAX_TEXT`] bytes.
    pub text: String,
}

/// Reply of [`Handler::send_text`]: the message is durable here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Sent {
    /// Its number in our own log.
    #[serde(serialize_with = "crate::js::number")]
    pub seq: u64,
}

/// See [`Handler::offer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct OfferFiles {
    /// The room.
    pub room: RoomId,
    /// To whom; empty: to everybody in the room.
    #[serde(default)]
    pub to: Vec<PeerId>,
    /// Files and folders on this machine.
    pub paths: Vec<String>,
    /// A word to go with it.
    #[serde(default)]
    #[cfg_attr(test, ts(optional = nullable))]
    pub note: Option<String>,
    /// How several receivers are served; as their number suggests if absent.
    #[serde(default)]
    #[cfg_attr(test, ts(optional = nullable))]
    pub strategy: Option<Strategy>,
}

/// How several receivers of one offer are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// One after the other, in the order in which they accept.
    Sequential,
    /// All at once, each everything.
    Parallel,
    /// All at once, each a part of it; they fetch the rest from each other.
    Swarm,
}

impl Request for OfferFiles {
    fn paths(&self) -> &[String] {
        &self.paths
    }
}

/// Reply of [`Handler::offer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Offered {
    /// The offer.
    pub offer: OfferId,
    /// What was left out, and why, in plain words.
    pub skipped: Vec<String>,
}

/// Names an offer of somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct OfferRef {
    /// The room.
    pub room: RoomId,
    /// Who offers.
    pub from: PeerId,
    /// The offer.
    pub offer: OfferId,
}

/// See [`Handler::accept`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Accept {
    /// The room.
    pub room: RoomId,
    /// Who offers.
    pub from: PeerId,
    /// The offer.
    pub offer: OfferId,
    /// Folder to write into; made if missing.
    pub dir: String,
}

impl Request for Accept {
    fn paths(&self) -> &[String] {
        std::slice::from_ref(&self.dir)
    }
}

/// See [`Handler::withdraw`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Withdraw {
    /// The room.
    pub room: RoomId,
    /// Our offer.
    pub offer: OfferId,
}

/// See [`Handler::pause`] and [`Handler::resume`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct TransferRef {
    /// The room.
    pub room: RoomId,
    /// Who offers; us for our own.
    pub from: PeerId,
    /// The offer.
    pub offer: OfferId,
    /// One receiver of an offer of ours; all of them, and those to come, if absent.
    #[serde(default)]
    #[cfg_attr(test, ts(optional = nullable))]
    pub peer: Option<PeerId>,
}

/// See [`Handler::reorder`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Reorder {
    /// The room.
    pub room: RoomId,
    /// Who offers.
    pub from: PeerId,
    /// The offer.
    pub offer: OfferId,
    /// The fetch that it comes right before, of any room; the last one if absent.
    #[serde(default)]
    #[cfg_attr(test, ts(optional = nullable))]
    pub before: Option<OfferRef>,
}

/// See [`Handler::limit`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Limit {
    /// The room.
    pub room: RoomId,
    /// Who offers; us for our own.
    pub from: PeerId,
    /// The offer.
    pub offer: OfferId,
    /// At least [`kith_protocol::limits::MIN_PACE`]; without a bound if absent.
    #[serde(serialize_with = "js::maybe", default)]
    #[cfg_attr(test, ts(optional = nullable))]
    pub bytes_per_s: Option<u64>,
}

impl Request for TransferSettings {
    fn paths(&self) -> &[String] {
        if self.accept.dir.is_empty() {
            &[]
        } else {
            std::slice::from_ref(&self.accept.dir)
        }
    }
}

/// See [`Handler::history`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct HistoryPage {
    /// The room.
    pub room: RoomId,
    /// Only what is older than this; from the newest if absent.
    #[serde(default)]
    #[cfg_attr(test, ts(optional = nullable))]
    pub before: Option<Cursor>,
    /// At most 500.
    pub max: u32,
}

/// Reply of [`Handler::history`], oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct History {
    /// The messages.
    pub messages: Vec<MessageView>,
    /// Where to go on; absent at the beginning of the room.
    pub before: Option<Cursor>,
}

/// See [`Handler::rename`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Rename {
    /// The new name; made fit to show and cut at [`kith_protocol::limits::MAX_NAME`] bytes.
    pub name: String,
}
