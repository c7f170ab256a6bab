//! What the engine wants done.

use std::collections::BTreeMap;
use std::sync::Arc;

use kith_api::Event;
use kith_protocol::ids::Digest;
use kith_protocol::invite::ServerAddr;
use kith_protocol::peer::{Beat, Entry, PeerMessage};
use kith_protocol::ranges::RangeSet;
use kith_protocol::room::{ClientMessage, IceServer};
use kith_protocol::sealed::SealedBody;
use kith_protocol::voucher::Voucher;
use kith_protocol::{LinkId, OfferId, PeerId, RoomId, Sid};

use crate::input::{Candidate, CommandResult, HoldKey, JobId, ReqId, ServeKey, StrandId};
use crate::record::{FetchKey, FetchRecord, Passed, Put};

/// One thing to do. Effects of one target are done in the order they come.
#[derive(Debug, Clone)]
pub enum Effect {
    /// To the connection with the room server that is (to be) known as `sid`.
    Session(RoomId, Sid, SessionEffect),
    /// To the sealing between our `me` and member `them`.
    Seal {
        /// The room.
        room: RoomId,
        /// Our sid.
        me: Sid,
        /// Theirs.
        them: Sid,
        /// What to do.
        effect: SealEffect,
    },
    /// To the peer connection `link` with `peer`.
    Link {
        /// The room.
        room: RoomId,
        /// The person.
        peer: PeerId,
        /// The link.
        link: LinkId,
        /// What to do.
        effect: LinkEffect,
    },
    /// To the serve worker number `run`.
    Serve(ServeKey, u32, ServeEffect),
    /// To the fetch worker number `run`.
    Fetch(FetchKey, u32, FetchEffect),
    /// So many bytes per second at most, for this; without a bound if absent.
    Bound(Bound, Option<u64>),
    /// Say what the files of this offer of ours hash to, and sign it: the voucher lacks both. Answered by
    /// `Vouched`.
    Vouch(RoomId, OfferId, Box<Voucher>),
    /// To the hold worker number `run`.
    Hold(HoldKey, u32, HoldEffect),
    /// Make these durable, together or not at all; answered by `Stored` or `StoreFailed`.
    Store(JobId, Vec<Put>),
    /// Read our own log from `from` on, at most `max` entries; answered by `ChatLoaded`.
    LoadChat {
        /// The job.
        job: JobId,
        /// The room.
        room: RoomId,
        /// First number.
        from: u64,
        /// Most entries.
        max: u32,
    },
    /// Answers a command.
    Reply(ReqId, CommandResult),
    /// Tells the front ends.
    Event(Box<Event>),
}

/// What shares a bound. Each serve may have one of its own beside: [`ServeEffect::Pace`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bound {
    /// Everything that is sent.
    Up,
    /// One offer of ours, to all its receivers.
    Offer(RoomId, OfferId),
}

/// To the connection with the room server.
#[derive(Debug, Clone)]
pub enum SessionEffect {
    /// Open it.
    Dial(ServerAddr),
    /// Send a message.
    Send(ClientMessage),
    /// Close it; no news is wanted any more.
    Close,
}

/// To the sealing with one member.
#[derive(Debug, Clone)]
pub enum SealEffect {
    /// Be ready for the member.
    Open,
    /// Start a handshake (only where we are the initiator).
    Begin,
    /// A signal body from the member.
    Read(bytes::Bytes),
    /// Seal this and pass it on.
    Send(Box<SealedBody>),
    /// Tell the member that we cannot read it.
    AskAgain,
    /// Forget the member.
    Close,
}

/// To a strand.
#[derive(Debug, Clone)]
pub enum StrandEffect {
    /// Make it and an SDP offer for it; answered by `LocalSdp`.
    Offer,
    /// Make it and answer the other's offer; answered by `LocalSdp`.
    AcceptOffer(String),
    /// Take the other's answer.
    AcceptAnswer(String),
    /// Add a remote candidate.
    AddCandidate(Candidate),
    /// Chunks may take it.
    Carry,
    /// Close it.
    Close,
}

/// To one peer connection.
#[derive(Debug, Clone)]
pub enum LinkEffect {
    /// Make it.
    Open {
        /// Whether we make the SDP offer.
        offerer: bool,
        /// STUN and TURN servers.
        ice_servers: Vec<IceServer>,
    },
    /// Make an SDP offer; answered by `LocalSdp`.
    Offer {
        /// With new ICE credentials.
        restart: bool,
    },
    /// Take the other's offer and answer it; answered by `LocalSdp`.
    AcceptOffer(String),
    /// Take the other's answer.
    AcceptAnswer(String),
    /// Add a remote candidate.
    AddCandidate(Candidate),
    /// To one of its strands.
    Strand(StrandId, StrandEffect),
    /// Send on `messages`.
    Send(Box<PeerMessage>),
    /// Send on `presence`.
    Beat(Beat),
    /// Send an ack frame on `files`.
    Ack {
        /// Number of the transfer.
        transfer: u32,
        /// Which entry.
        entry: u32,
        /// Which chunks.
        ranges: RangeSet,
    },
    /// Close it; no news is wanted any more.
    Close,
}

/// To a serve worker.
#[derive(Debug, Clone)]
pub enum ServeEffect {
    /// Send the files over the link's lane.
    Start {
        /// The link.
        link: LinkId,
        /// Number the frames carry.
        transfer: u32,
        /// The manifest.
        entries: Arc<[Entry]>,
        /// Entries the receiver has whole.
        done: RangeSet,
        /// Chunks the receiver has of others.
        have: BTreeMap<u32, RangeSet>,
        /// Send the hashes of all chunks, and of the chunks only what is wanted. Those have no
        /// window: what is wanted is bounded already.
        pull: bool,
        /// It is somebody else's offer that we fetched: the hashes of all entries go before its chunks,
        /// if they are what the voucher says.
        passed: Option<Passed>,
    },
    /// Send these (again), after what is under way.
    Want {
        /// Which entry.
        entry: u32,
        /// Which chunks.
        ranges: RangeSet,
    },
    /// These entries, of one chunk each that this worker may have sent, are whole at the receiver.
    Arrived(RangeSet),
    /// Send nothing, or go on. What is handed to the lane already still goes.
    Hold(bool),
    /// What the receiver wants at most, in bytes per second.
    Pace(Option<u64>),
    /// Stop now.
    Stop,
}

/// To a hold worker: it serves what we fetch, or fetched, to another receiver of the offer.
#[derive(Debug, Clone)]
pub enum HoldEffect {
    /// Get ready; nothing is sent before it is wanted.
    Start {
        /// The link.
        link: LinkId,
        /// Number the frames carry.
        transfer: u32,
        /// The fetch.
        record: Arc<FetchRecord>,
    },
    /// Send these, after what is under way.
    Want {
        /// Which entry.
        entry: u32,
        /// Which chunks.
        ranges: RangeSet,
        /// The entry's final name, relative to the fetch's folder, if it is complete.
        name: Option<String>,
    },
    /// Stop now.
    Stop,
}

/// To a fetch worker.
#[derive(Debug, Clone)]
pub enum FetchEffect {
    /// Open the folder; answered by `Prepared`.
    Prepare {
        /// What and where.
        record: Arc<FetchRecord>,
        /// Verified chunks by entry.
        ranges: BTreeMap<u32, RangeSet>,
        /// Entries that are complete, with their final names.
        done: BTreeMap<u32, String>,
    },
    /// Frames of `transfer` on `link`, from who offers, are for this worker from now on, and of no
    /// other transfer of theirs.
    Attach {
        /// The link.
        link: LinkId,
        /// Number the frames carry.
        transfer: u32,
        /// They come from somebody who passes the offer on: what the hashes of all entries, which come
        /// first, hash to.
        root: Option<Digest>,
    },
    /// Frames from who offers, or passes it on, are for this worker no longer.
    Detach,
    /// Chunks of `transfer` on `link`, from another holder, are for this worker too.
    AddSource {
        /// The link.
        link: LinkId,
        /// Number the frames carry.
        transfer: u32,
    },
    /// And no longer.
    DropSource {
        /// The link.
        link: LinkId,
        /// Number the frames carry.
        transfer: u32,
    },
    /// The hash the entry must have.
    Expect {
        /// Which entry.
        entry: u32,
        /// Of the whole file: see [`kith_protocol::tree`].
        hash: Digest,
    },
    /// Look whether the disk takes so many bytes in this folder now; answered by `Probed`.
    Probe {
        /// The folder.
        dir: String,
        /// Bytes.
        needed: u64,
    },
    /// Remove the part files of a fetch that no worker has.
    Discard {
        /// Which.
        record: Arc<FetchRecord>,
        /// Entries that were begun.
        begun: Vec<u32>,
    },
    /// Stop now; remove part files if asked.
    Stop {
        /// Whether what is there is thrown away.
        discard: bool,
    },
}
