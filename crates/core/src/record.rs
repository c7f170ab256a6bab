//! What outlives the process: the records the engine asks the store to keep, and what it gets
//! back at the next start.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kith_api::{Strategy, TransferSettings};
use kith_protocol::peer::Entry;
use kith_protocol::ranges::RangeSet;
use kith_protocol::voucher::Voucher;
use kith_protocol::{IdPk, MsgId, OfferId, PeerId, RoomId};
use serde::{Deserialize, Serialize};

/// One durable change. The store applies the changes of a job together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    /// A room to remember.
    Room(RoomRecord),
    /// Forget the room and everything in it.
    DropRoom(RoomId),
    /// A person once met.
    Peer(PeerRecord),
    /// One entry of somebody's log, ours or another's. `(room, author, seq)` is its key.
    Chat(RoomId, PeerId, u64, ChatRecord),
    /// How far `peer` has acknowledged our own log in `room`.
    Acked(RoomId, PeerId, u64),
    /// A fetch that was accepted.
    Fetch(FetchRecord),
    /// Verified chunks of one entry that are on disk; an empty set is as good as none.
    Ranges(FetchKey, u32, RangeSet),
    /// Entries have their final names (relative to the folder). No entry is named twice while the fetch
    /// is not forgotten.
    EntriesDone {
        /// The fetch.
        fetch: FetchKey,
        /// Which, and their names. Not empty.
        entries: Vec<(u32, String)>,
        /// Those of them that have ranges, which are no longer needed.
        begun: Vec<u32>,
    },
    /// Forget a fetch, its ranges and its done marks.
    DropFetch(FetchKey),
    /// An offer of ours that outlives the process.
    Offer(OfferRecord),
    /// Forget it.
    DropOffer(RoomId, OfferId),
    /// What the user has chosen for all transfers.
    Transfers(TransferSettings),
}

/// A room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomRecord {
    /// The room.
    pub room: RoomId,
    /// The invite link, secret included: what is needed to join again.
    pub invite: String,
    /// Whether the room was open when the app ended.
    pub open: bool,
}

/// A person once met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRecord {
    /// The pinned identity.
    pub id_pk: IdPk,
    /// The name it last used.
    pub name: String,
    /// When it was first met, milliseconds since 1970.
    pub met: u64,
}

/// One chat message in a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatRecord {
    /// The message.
    pub id: MsgId,
    /// When it was written, by the author's clock, milliseconds since 1970.
    pub at: u64,
    /// When we stored it, by our clock: what a timeline sorts by.
    pub stored: u64,
    /// The text.
    pub text: String,
}

/// Which fetch: an offer, fetched in a room from whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FetchKey {
    /// The room.
    pub room: RoomId,
    /// Who offers.
    pub from: PeerId,
    /// What.
    pub offer: OfferId,
}

/// A fetch that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchRecord {
    /// Which.
    pub key: FetchKey,
    /// Where to, as an absolute path.
    pub dir: String,
    /// Names part files: 16 hex digits, random.
    pub tag: String,
    /// The name of the offer.
    pub name: String,
    /// The manifest.
    pub entries: Arc<[Entry]>,
    /// Top-level names that had to change: `(as offered, as written)`.
    pub roots: Vec<(String, String)>,
    /// A worker was at it, or may have been in an earlier life: files may have their names though that is
    /// not recorded.
    pub begun: bool,
    /// Held back by its user, and how it stands among others: see [`crate::queue`].
    pub hold: Hold,
    /// With it the offer may be passed on.
    pub voucher: Option<Box<Voucher>>,
    /// Entries with chunks that another fetch left, which nobody has checked: others are told of none
    /// of them, and if the whole is wrong, that is not the sender's mistake.
    pub adopted: BTreeSet<u32>,
}

/// What the user wants of a fetch, beside having it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Hold {
    /// Nothing is to flow.
    #[serde(default)]
    pub paused: bool,
    /// Its place in the queue.
    #[serde(default)]
    pub place: u64,
    /// Bytes per second.
    #[serde(default)]
    pub cap: Option<u64>,
}

/// An offer of ours that outlives the process. Its files are looked at anew before it stands again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferRecord {
    /// The room.
    pub room: RoomId,
    /// The offer.
    pub offer: OfferId,
    /// What it is called.
    pub name: String,
    /// A word to go with it.
    pub note: Option<String>,
    /// What was offered, as absolute paths.
    pub paths: Vec<String>,
    /// Entries, and bytes of all files.
    pub entries: u32,
    /// See `entries`.
    pub total: u64,
    /// To whom; empty: everybody.
    pub to: Vec<PeerId>,
    /// When it was made, milliseconds since 1970.
    pub at: u64,
    /// Held back for all, those who come later too.
    pub paused: bool,
    /// Held back for these.
    pub held: Vec<PeerId>,
    /// Bytes per second, all receivers together.
    pub cap: Option<u64>,
    /// How several receivers are served; as their number suggests if `None`.
    pub strategy: Option<Strategy>,
}

/// A fetch as it comes back from the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedFetch {
    /// The record.
    pub record: FetchRecord,
    /// Verified chunks by entry, for entries that are not complete.
    pub ranges: Vec<(u32, RangeSet)>,
    /// Entries that are complete, with their final names.
    pub done: Vec<(u32, String)>,
}

impl SavedFetch {
    /// Whether everything of it was fetched.
    pub fn is_whole(&self) -> bool {
        self.done.len() == self.record.entries.len()
    }
}

/// A fetch that is complete, to be passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// What, and where it is. It has a voucher.
    pub record: Arc<FetchRecord>,
    /// The final names of its entries, relative to the folder.
    pub names: Arc<BTreeMap<u32, String>>,
}

/// One person's log in a room, as far as we have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogHead {
    /// The room.
    pub room: RoomId,
    /// Whose log.
    pub author: PeerId,
    /// Its last entry.
    pub seq: u64,
}

/// Everything the engine needs from the store at start. Chat texts stay in the store and are
/// read in pages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saved {
    /// Remembered rooms.
    pub rooms: Vec<RoomRecord>,
    /// Known people.
    pub peers: Vec<PeerRecord>,
    /// The last entry of every log.
    pub heads: Vec<LogHead>,
    /// How far each peer acknowledged our own log: room, peer, number.
    pub acked: Vec<(RoomId, PeerId, u64)>,
    /// Fetches that were accepted.
    pub fetches: Vec<SavedFetch>,
    /// Our offers that outlive a process.
    pub offers: Vec<OfferRecord>,
    /// What the user has chosen for all transfers.
    pub transfers: TransferSettings,
}
