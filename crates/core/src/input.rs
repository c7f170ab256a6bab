//! What happens to the engine.

use kith_api::{ApiError, Strategy, TransferSettings};
use kith_protocol::ids::{Digest, SealTag};
use kith_protocol::peer::{Beat, Entry, PeerMessage};
use kith_protocol::ranges::RangeSet;
use kith_protocol::room::ServerMessage;
use kith_protocol::sealed::{Hello, SealedBody};
use kith_protocol::voucher::Voucher;
use kith_protocol::{Code, Invite, LinkId, OfferId, PeerId, RoomId, Sid};

use crate::record::{ChatRecord, FetchKey, OfferRecord};

/// Numbers a request, so that its reply finds the caller.
pub type ReqId = u64;
/// Numbers a slow effect, so that its outcome finds the machine that waits for it.
pub type JobId = u64;

/// One thing that happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// The user or a program asks for something; answered by `Effect::Reply`.
    Command(ReqId, Command),
    /// From the room server's connection that was dialled as `sid`.
    Session(RoomId, Sid, SessionNews),
    /// From the sealing with member `them`, on our connection `me`.
    Seal {
        /// The room.
        room: RoomId,
        /// Our sid.
        me: Sid,
        /// Theirs.
        them: Sid,
        /// What happened.
        news: SealNews,
    },
    /// From the peer connection `link` with `peer`.
    Link {
        /// The room.
        room: RoomId,
        /// The person.
        peer: PeerId,
        /// The link; news of a link that is no more is ignored.
        link: LinkId,
        /// What happened.
        news: LinkNews,
    },
    /// From a serve worker.
    Serve(ServeKey, u32, ServeNews),
    /// From a fetch worker.
    Fetch(FetchKey, u32, FetchNews),
    /// From a hold worker.
    Hold(HoldKey, u32, HoldNews),
    /// What the files of an offer of ours hash to; `None` if they cannot be read.
    Vouched(RoomId, OfferId, Option<Box<Voucher>>),
    /// A store job is durable.
    Stored(JobId),
    /// A store job failed; nothing of it was stored.
    StoreFailed(JobId, Code),
    /// A page of our own log that was asked for.
    ChatLoaded(JobId, Vec<(u64, ChatRecord)>),
    /// The machine's addresses changed.
    AddressesChanged,
    /// The deadline that was asked for has come (or any other time: it is harmless).
    Timeout,
    /// The app ends: say good-bye.
    Shutdown,
}

/// What users and programs ask for, parsed.
#[derive(Debug, Clone)]
pub enum Command {
    /// Enter a room; its invite may be new or known.
    Join(Invite),
    /// Leave a room.
    Leave(RoomId),
    /// Write a message.
    SendText(RoomId, String),
    /// Offer files whose manifest the disk layer has read.
    Offer(NewOffer),
    /// Fetch an offer into a folder.
    Accept(FetchKey, String),
    /// Refuse an offer or end its fetch.
    Decline(FetchKey),
    /// Take back our own offer.
    Withdraw(RoomId, OfferId),
    /// Hold a fetch back, or an offer of ours from one receiver or from all.
    Pause(FetchKey, Option<PeerId>),
    /// Let it go on.
    Resume(FetchKey, Option<PeerId>),
    /// Give a fetch the place before another, or the last one.
    Reorder(FetchKey, Option<FetchKey>),
    /// Bytes per second for a fetch, or for an offer of ours.
    Limit(FetchKey, Option<u64>),
    /// What holds for all transfers.
    Transfers(Box<TransferSettings>),
    /// An offer that an earlier process made: its files as they are now, if they are the same.
    Restore(Box<OfferRecord>, Result<Vec<Entry>, Code>),
    /// Have another display name, one that is fit to show.
    Rename(String),
}

/// Files to offer.
#[derive(Debug, Clone)]
pub struct NewOffer {
    /// The room.
    pub room: RoomId,
    /// To whom; empty: everybody.
    pub to: Vec<PeerId>,
    /// What it is called.
    pub name: String,
    /// A word to go with it.
    pub note: Option<String>,
    /// The manifest. The disk layer finds the real files by the offer's id.
    pub entries: Vec<Entry>,
    /// Where the files are, for an offer that outlives the process.
    pub paths: Vec<String>,
    /// How several receivers are served; as their number suggests if `None`.
    pub strategy: Option<Strategy>,
}

/// A successful reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Done.
    Done,
    /// In the room, or on the way.
    Joined(RoomId),
    /// The message is durable.
    Sent(u64),
    /// The offer stands.
    Offered(OfferId),
}

/// Either.
pub type CommandResult = Result<Reply, ApiError>;

/// From the connection to the room server.
#[derive(Debug, Clone)]
pub enum SessionNews {
    /// The WebSocket is open.
    Connected,
    /// A message.
    Message(ServerMessage),
    /// It could not be opened, or has closed.
    Closed(Code),
}

/// From the sealing with one member.
#[derive(Debug, Clone)]
pub enum SealNews {
    /// Pass these bytes to the member.
    Send(bytes::Bytes),
    /// Keys are agreed and the other's identity is proven.
    Ready(Box<Hello>, SealTag),
    /// The member says.
    Body(Box<SealedBody>),
    /// The member cannot read us and asks for a new handshake.
    AskedAgain,
    /// What came was sealed with the keys before the current ones; nothing of it was used.
    Superseded,
    /// What came could not be read; nothing of it was used.
    Broken,
}

/// From one peer connection.
#[derive(Debug, Clone)]
pub enum LinkNews {
    /// The local description is set: send it.
    LocalSdp(String),
    /// A local candidate.
    LocalCandidate(Candidate),
    /// ICE moved.
    Ice(IceState),
    /// All three channels are open.
    ChannelsOpen,
    /// A message that was read and bounded.
    Message(Box<PeerMessage>),
    /// A presence beat.
    Beat(Beat),
    /// Chunks the other side has on disk.
    Ack {
        /// Number of the transfer.
        transfer: u32,
        /// Which entry.
        entry: u32,
        /// Which chunks.
        ranges: RangeSet,
    },
    /// Any sign of life on the file lane.
    Heard,
    /// Chunks would go faster over so many strands of ours.
    Strained(u8),
    /// Of one of its strands.
    Strand(StrandId, StrandNews),
    /// The selected path.
    Route(kith_api::Route),
    /// The other side broke the protocol, or the connection failed for good.
    Broken(Code),
}

/// Which strand of a link: a connection beside it that carries chunks from who opens it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StrandId {
    /// Whether we open it.
    pub ours: bool,
    /// Which of those of the same end, from 0.
    pub n: u8,
}

/// From a strand.
#[derive(Debug, Clone)]
pub enum StrandNews {
    /// The local description is set: send it.
    LocalSdp(String),
    /// A local candidate; comes after the description.
    LocalCandidate(Candidate),
    /// It carries chunks.
    Open,
    /// It carries none any more. `lossy`: what was on it may not have arrived.
    Lost {
        /// See there.
        lossy: bool,
    },
}

/// A trickled candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The line; empty at the end.
    pub candidate: String,
    /// Media section by id.
    pub mid: Option<String>,
    /// Media section by index.
    pub mline: Option<u16>,
}

/// ICE connection states, as far as anybody decides by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IceState {
    /// Looking for a path.
    Checking,
    /// A path works.
    Connected,
    /// It went quiet.
    Disconnected,
    /// All pairs failed.
    Failed,
}

/// Which serve: our offer to one receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServeKey {
    /// The room.
    pub room: RoomId,
    /// The receiver.
    pub peer: PeerId,
    /// The offer.
    pub offer: OfferId,
}

impl ServeKey {
    /// Of its parts.
    pub fn new(room: RoomId, peer: PeerId, offer: OfferId) -> Self {
        ServeKey { room, peer, offer }
    }
}

/// Which hold: what we have of somebody's offer, for another receiver of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HoldKey {
    /// Our fetch.
    pub fetch: FetchKey,
    /// The other receiver.
    pub peer: PeerId,
}

/// From a hold worker.
#[derive(Debug, Clone)]
pub enum HoldNews {
    /// Payload that was handed to the lane, in bytes.
    Sent(u64),
    /// What was wanted is not where it was, or cannot be read; the worker ended.
    Failed,
}

/// From a serve worker.
#[derive(Debug, Clone)]
pub enum ServeNews {
    /// Chunks that are handed to the lane, by entry.
    Sent(Vec<(u32, RangeSet)>),
    /// The entry was read to its end. Not said of one whose only chunk was sent, as that says all.
    EntryRead {
        /// Which entry.
        entry: u32,
        /// Of the whole file: see [`kith_protocol::tree`].
        hash: Digest,
    },
    /// The worker ended.
    Failed(Code),
}

/// From a fetch worker.
#[derive(Debug, Clone)]
pub enum FetchNews {
    /// The folder is open and names are safe.
    Prepared {
        /// Top-level names that had to change.
        roots: Vec<(String, String)>,
        /// Entries whose file or part file is gone, so that what is recorded of them is void.
        lost: Vec<u32>,
        /// Chunks of other entries that lie in part files of a fetch that nobody knows any more, which
        /// are this fetch's now. They are durable, but nobody has checked them.
        adopted: Vec<(u32, RangeSet)>,
    },
    /// Chunks that are verified and synced.
    Durable {
        /// Which entry.
        entry: u32,
        /// Which chunks.
        ranges: RangeSet,
    },
    /// Payload that came, for the counters.
    Received {
        /// Bytes.
        bytes: u64,
        /// Of those: in chunks that were durable already.
        durable: u64,
    },
    /// Hashes came: chunks of the entry before `end` can be checked, whoever sends them.
    Hashed {
        /// Which entry.
        entry: u32,
        /// One past the last such chunk.
        end: u64,
    },
    /// A chunk from another holder that is not what was offered, or was not asked for.
    Spurned {
        /// The holder's link.
        link: LinkId,
        /// The number of its transfer.
        transfer: u32,
        /// Which entry.
        entry: u32,
        /// Which chunk.
        index: u64,
    },
    /// A chunk from who offers, or passes on, that does not match its checksum.
    Corrupt {
        /// The number of its transfer.
        transfer: u32,
        /// Which entry.
        entry: u32,
        /// Which chunk.
        index: u64,
    },
    /// These entries are complete, their hashes right, and they have these names, relative to the
    /// folder. Empty files and folders too.
    Finished(Vec<(u32, String)>),
    /// Who passes the offer on says of it what the voucher does not.
    Untrue {
        /// The number of its transfer.
        transfer: u32,
    },
    /// Complete, hash wrong; its part file is empty again.
    Mismatch {
        /// The number of the transfer that its worker was at.
        transfer: u32,
        /// Which entry.
        entry: u32,
    },
    /// The disk does not take it for now, and the worker ended.
    Refused(Refusal),
    /// What [`crate::effect::FetchEffect::Probe`] found. No worker is concerned.
    Probed(Result<(), Refusal>),
    /// The worker ended.
    Failed(Code),
}

/// Why a disk does not take something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub code: Code,
    /// Bytes that lack, where that is known.
    pub missing: Option<u64>,
}
