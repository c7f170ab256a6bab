//! Entities as front ends see them.

use kith_protocol::{Code, MsgId, OfferId, PeerId, RoomId};
use serde::{Deserialize, Serialize};

use crate::command::Strategy;
use crate::js;

/// Everything but messages, which are paged by `history`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Snapshot {
    /// The revision it stands for.
    #[serde(serialize_with = "js::number")]
    pub rev: u64,
    /// Us.
    pub me: Me,
    /// Rooms we are in.
    pub rooms: Vec<RoomView>,
    /// People in them.
    pub people: Vec<PersonView>,
    /// Offers in them, ours and others'.
    pub offers: Vec<OfferView>,
    /// What the user has chosen for all transfers.
    pub transfers: TransferSettings,
}

/// Us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Me {
    /// Our identity.
    pub peer: PeerId,
    /// Our display name.
    pub name: String,
}

/// One change. Applying all events since a snapshot gives the next snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Event {
    /// Rises by one.
    #[serde(serialize_with = "js::number")]
    pub rev: u64,
    /// What changed.
    pub change: Change,
}

/// What happened between two revisions, merged by entity: what front ends are sent.
///
/// An entity stands in it as it was at `rev` or later; applying what is already known changes
/// nothing for long. See [`Snapshot::apply`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Changes {
    /// It holds all that happened after this revision …
    #[serde(serialize_with = "js::number")]
    pub after: u64,
    /// … up to this one.
    #[serde(serialize_with = "js::number")]
    pub rev: u64,
    /// In order.
    pub changes: Vec<Change>,
}

/// A whole entity, or the word that one is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Change {
    /// Our name changed.
    Me(Me),
    /// A room is new or changed.
    Room(RoomView),
    /// We are no longer in the room; its people and offers are gone with it.
    RoomGone {
        /// The room.
        room: RoomId,
    },
    /// A person is new or changed.
    Person(PersonView),
    /// A message is new or its marks changed.
    Message(MessageView),
    /// An offer is new or changed.
    Offer(Box<OfferView>),
    /// What the user has chosen for all transfers changed.
    Transfers(TransferSettings),
}

/// A room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct RoomView {
    /// The room.
    pub room: RoomId,
    /// The link that opens it.
    pub invite: String,
    /// The room server, as people read it.
    pub server: String,
    /// How we stand with the room server.
    pub session: SessionPhase,
    /// Why, where something is wrong.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[cfg_attr(test, ts(optional))]
    pub why: Option<Code>,
}

/// How we stand with the room server. Links, transfers and calls do not depend on it once open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "kebab-case")]
pub enum SessionPhase {
    /// Not connected and not trying.
    Offline,
    /// Opening the connection.
    Dialing,
    /// Proving the right to join.
    Greeting,
    /// In the room.
    Joined,
    /// Lost; will try again by itself.
    Waiting,
    /// Refused for good.
    Refused,
}

/// A person in a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct PersonView {
    /// The room.
    pub room: RoomId,
    /// Who.
    pub peer: PeerId,
    /// As they call themselves, fit to show.
    pub name: String,
    /// What they are doing.
    pub presence: Presence,
    /// How we are connected.
    pub link: LinkPhase,
    /// How the data travels, while connected.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[cfg_attr(test, ts(optional))]
    pub route: Option<Route>,
    /// Why, where something is wrong.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[cfg_attr(test, ts(optional))]
    pub why: Option<Code>,
    /// The invite named this person, so the identity is proven.
    pub inviter: bool,
}

/// What a person is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    /// At the machine.
    Online,
    /// Away from it.
    Away,
    /// In a call.
    InCall,
    /// Connected until now, but nothing was heard for five seconds.
    Silent,
    /// Not in the room.
    Offline,
}

/// How we are connected to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "kebab-case")]
pub enum LinkPhase {
    /// No connection.
    Disconnected,
    /// Exchanging session descriptions.
    Signaling,
    /// Looking for a path and shaking hands.
    Connecting,
    /// Connected.
    Connected,
    /// The path was lost; looking for another.
    Reconnecting,
    /// No path was found; tried again later.
    Failed,
}

/// How the data travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "kebab-case")]
pub enum Route {
    /// Within one network.
    Lan,
    /// Through NATs, without a relay.
    Direct,
    /// Through a TURN server.
    Relay,
}

/// A chat message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct MessageView {
    /// The room.
    pub room: RoomId,
    /// Who wrote it.
    pub author: PeerId,
    /// The author's name, fit to show.
    pub name: String,
    /// Its number in the author's log.
    #[serde(serialize_with = "js::number")]
    pub seq: u64,
    /// The message.
    pub id: MsgId,
    /// When it was written, by the author's clock, milliseconds since 1970.
    #[serde(serialize_with = "js::number")]
    pub at: u64,
    /// When it was stored here; timelines sort by `(stored, author, seq)`.
    #[serde(serialize_with = "js::number")]
    pub stored: u64,
    /// The text, as written: escape it for where it is shown.
    pub text: String,
    /// For our own: who has it on disk.
    pub delivered: Vec<PeerId>,
}

/// Where a page of history ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Cursor {
    /// See [`MessageView::stored`].
    #[serde(serialize_with = "js::number")]
    pub stored: u64,
    /// See [`MessageView::author`].
    pub author: PeerId,
    /// See [`MessageView::seq`].
    #[serde(serialize_with = "js::number")]
    pub seq: u64,
}

/// Files that somebody offers in a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct OfferView {
    /// The room.
    pub room: RoomId,
    /// Who offers; us for our own.
    pub from: PeerId,
    /// The offer.
    pub offer: OfferId,
    /// Whether it is ours.
    pub mine: bool,
    /// When it was made or first seen here, by this process, milliseconds since 1970.
    #[serde(serialize_with = "js::number")]
    pub at: u64,
    /// What it is called.
    pub name: String,
    /// A word to go with it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[cfg_attr(test, ts(optional))]
    pub note: Option<String>,
    /// Files and folders in it.
    pub entries: u32,
    /// The first few of them, as offered.
    pub preview: Vec<FileView>,
    /// Bytes of all files.
    #[serde(serialize_with = "js::number")]
    pub total: u64,
    /// For others' offers: how our fetch stands. For ours: [`FetchPhase::Seen`].
    pub phase: FetchPhase,
    /// Bytes verified and on disk here.
    #[serde(serialize_with = "js::number")]
    pub done: u64,
    /// Who holds it back. For our own: `here` if we hold back all receivers.
    pub paused: Paused,
    /// While it waits for its turn: its place among all that wait, from 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[cfg_attr(test, ts(optional))]
    pub queued: Option<u32>,
    /// What the user lets it take, in bytes per second; for our own: all receivers together.
    #[serde(
        serialize_with = "js::maybe",
        skip_serializing_if = "Option::is_none",
        default
    )]
    #[cfg_attr(test, ts(optional))]
    pub cap: Option<u64>,
    /// While the disk is full: the bytes that lack, as far as known.
    #[serde(
        serialize_with = "js::maybe",
        skip_serializing_if = "Option::is_none",
        default
    )]
    #[cfg_attr(test, ts(optional))]
    pub missing: Option<u64>,
    /// Where it is written, or was when the app ran last: taken there, it goes on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[cfg_attr(test, ts(optional))]
    pub dir: Option<String>,
    /// Once done: the file or folder that it became, or `dir` where it became several.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[cfg_attr(test, ts(optional))]
    pub path: Option<String>,
    /// Why, where something is wrong.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[cfg_attr(test, ts(optional))]
    pub why: Option<Code>,
    /// For others': who passes it on to us, while who offers cannot be reached.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[cfg_attr(test, ts(optional))]
    pub by: Option<PeerId>,
    /// For our own: how receivers are served, once there is one; for others': a swarm, if it is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[cfg_attr(test, ts(optional))]
    pub strategy: Option<Strategy>,
    /// For our own, and those that we pass on: how each receiver stands.
    pub receivers: Vec<ReceiverView>,
    /// Bytes counted by this process.
    pub traffic: Traffic,
    /// What the user may do now.
    pub can: Vec<OfferAction>,
}

/// One offered file or folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct FileView {
    /// As offered: escape it for where it is shown.
    pub path: String,
    /// Bytes.
    #[serde(serialize_with = "js::number")]
    pub size: u64,
    /// A folder.
    pub dir: bool,
}

/// How a fetch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "kebab-case")]
pub enum FetchPhase {
    /// The beginning of the manifest is still arriving.
    Seen,
    /// Waits for our decision.
    Offered,
    /// Asking for the rest of a long manifest, or preparing the disk.
    Accepted,
    /// Taken; waits until others are through. See [`OfferView::queued`].
    Queued,
    /// Data flows.
    Fetching,
    /// Held back by us, by the sender or by both: see [`OfferView::paused`].
    Paused,
    /// The disk does not take it, for the reason given. Tried again by itself, and on `resume`.
    Blocked,
    /// Waits for the link, or for the sender to come back.
    Stalled,
    /// Complete, verified, under its final name.
    Done,
    /// Ended by an error.
    Failed,
    /// Declined or cancelled by us.
    Declined,
    /// The sender no longer offers it.
    Withdrawn,
}

/// How one receiver of our offer stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct ReceiverView {
    /// Who.
    pub peer: PeerId,
    /// Their name.
    pub name: String,
    /// How they stand.
    pub phase: ServePhase,
    /// Bytes that are durable at the receiver.
    #[serde(serialize_with = "js::number")]
    pub done: u64,
    /// Who holds it back.
    pub paused: Paused,
    /// What the receiver wants at most, in bytes per second.
    #[serde(
        serialize_with = "js::maybe",
        skip_serializing_if = "Option::is_none",
        default
    )]
    #[cfg_attr(test, ts(optional))]
    pub cap: Option<u64>,
    /// Why, where something is wrong.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[cfg_attr(test, ts(optional))]
    pub why: Option<Code>,
    /// What the user may do now, for this receiver alone.
    pub can: Vec<OfferAction>,
}

/// Who holds a transfer back. Either is enough, and only its own side lets it go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Paused {
    /// We do.
    pub here: bool,
    /// The other side does.
    pub there: bool,
}

/// How a receiver of our offer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "kebab-case")]
pub enum ServePhase {
    /// Has not decided.
    Offered,
    /// Took it, and has others to get through first.
    Queued,
    /// Accepted; others are served first.
    Waiting,
    /// Data flows.
    Serving,
    /// Held back by us, by the receiver or by both: see [`ReceiverView::paused`].
    Paused,
    /// The receiver's disk does not take it, for the reason given; goes on by itself.
    Blocked,
    /// Accepted, but the link is gone for now.
    Stalled,
    /// Has everything, verified.
    Done,
    /// Does not want it.
    Declined,
    /// Ended by an error.
    Failed,
}

/// Bytes of file data, counted by this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Traffic {
    /// Payload bytes sent; of others' offers: to their other receivers.
    #[serde(serialize_with = "js::number")]
    pub sent: u64,
    /// Of those: sent before by this process.
    #[serde(serialize_with = "js::number")]
    pub resent: u64,
    /// Of those: already acknowledged as durable when they were sent again.
    #[serde(serialize_with = "js::number")]
    pub resent_durable: u64,
    /// Payload bytes received.
    #[serde(serialize_with = "js::number")]
    pub received: u64,
    /// Of those: already durable here when they came.
    #[serde(serialize_with = "js::number")]
    pub received_durable: u64,
    /// Bytes that were already here when the fetch began in this process.
    #[serde(serialize_with = "js::number")]
    pub resumed: u64,
}

/// What the user may do with an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "kebab-case")]
pub enum OfferAction {
    /// Fetch it.
    Accept,
    /// Refuse it.
    Decline,
    /// End the fetch.
    Cancel,
    /// Take the offer back.
    Withdraw,
    /// Hold it back.
    Pause,
    /// Let it go on, or try again at once.
    Resume,
    /// Give it another place in the queue.
    Reorder,
    /// Say how much it may take.
    Limit,
}

/// What the user has chosen for all transfers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct TransferSettings {
    /// Fetches that run at a time, 1 to [`TransferSettings::MOST_AT_ONCE`]; the others wait.
    pub at_once: u32,
    /// Bytes per second that all serves together may take; without a bound if absent.
    #[serde(serialize_with = "js::maybe", default)]
    pub up: Option<u64>,
    /// … and all fetches.
    #[serde(serialize_with = "js::maybe", default)]
    pub down: Option<u64>,
    /// What is taken without asking.
    #[serde(default)]
    pub accept: AcceptPolicy,
}

/// What is taken without asking.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct AcceptPolicy {
    /// From these people; nobody: nothing is.
    pub from: Vec<PeerId>,
    /// Offers of so many bytes at most; of any size if absent.
    #[serde(serialize_with = "js::maybe", default)]
    pub most: Option<u64>,
    /// Files whose names all end in one of these, without the dot; any if empty.
    #[serde(default)]
    pub kinds: Vec<String>,
    /// Folder to write into. Empty only where nothing is taken.
    #[serde(default)]
    pub dir: String,
}

impl TransferSettings {
    /// Most fetches that may run at a time.
    pub const MOST_AT_ONCE: u32 = 64;
}

impl Default for TransferSettings {
    fn default() -> Self {
        TransferSettings {
            at_once: 3,
            up: None,
            down: None,
            accept: AcceptPolicy::default(),
        }
    }
}
