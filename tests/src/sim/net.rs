//! Peer connections: descriptions, candidates, paths, and what waits for a path.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use kith_core::input::Candidate;
use kith_protocol::LinkId;
use kith_protocol::ids::Digest;
use kith_protocol::peer::{Beat, PeerMessage};
use kith_protocol::ranges::RangeSet;
use kith_protocol::sdp::format_fingerprint;

/// One chunk on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    pub index: u64,
    /// Stands for the payload.
    pub token: u64,
    /// Whether the checksum fits the payload.
    pub intact: bool,
}

/// What travels over a link.
#[derive(Debug, Clone)]
pub(crate) enum Packet {
    Message(Box<PeerMessage>),
    Beat(Beat),
    Ack {
        transfer: u32,
        entry: u32,
        ranges: RangeSet,
    },
    Chunks {
        transfer: u32,
        entry: u32,
        pieces: Vec<Piece>,
    },
    /// What whole files must hash to.
    Roots {
        transfer: u32,
        roots: Vec<Digest>,
    },
    /// What the chunks of an entry must be.
    Hashes {
        transfer: u32,
        entry: u32,
        tokens: Vec<u64>,
    },
}

/// One end of a link.
#[derive(Debug)]
pub(crate) struct End {
    pub room: kith_protocol::RoomId,
    pub peer: kith_protocol::PeerId,
    pub offerer: bool,
    /// Generation of our description, and of the one that the other's answers or offers.
    pub local: u32,
    pub remote: Option<u32>,
    /// Remote candidates of this negotiation.
    pub candidates: usize,
    /// The channels have been reported open.
    pub open: bool,
    /// Packets of `messages` and of `files` that wait for a path.
    pub messages: VecDeque<Packet>,
    pub files: VecDeque<Packet>,
    /// When a sign of life on the file lane was last reported.
    pub heard: u64,
    /// For how many looks at the path there has been none.
    pub lost: u32,
}

/// All links.
#[derive(Debug, Default)]
pub(crate) struct Net {
    pub ends: BTreeMap<(LinkId, usize), End>,
    /// The generation whose path works.
    pub paths: BTreeMap<LinkId, u32>,
    /// From whom nothing reaches whom.
    pub cut: BTreeSet<(usize, usize)>,
}

impl Net {
    /// The node at the other end.
    pub fn other(&self, link: LinkId, node: usize) -> Option<usize> {
        let range = self.ends.range((link, 0)..=(link, usize::MAX));
        range.map(|((_, n), _)| *n).find(|n| *n != node)
    }

    /// The node that packets reach.
    pub fn flows(&self, link: LinkId, node: usize) -> Option<usize> {
        let other = self.other(link, node)?;
        (self.paths.contains_key(&link) && !self.cut.contains(&(node, other))).then_some(other)
    }

    /// Whether two nodes can find a path: that takes both directions.
    pub fn reach(&self, a: usize, b: usize) -> bool {
        !self.cut.contains(&(a, b)) && !self.cut.contains(&(b, a))
    }

    /// Finds the path of the newest negotiation; both nodes if one was found that was not there.
    pub fn connect(&mut self, link: LinkId) -> Option<[usize; 2]> {
        let range = self.ends.range((link, 0)..=(link, usize::MAX));
        let nodes: Vec<usize> = range.map(|((_, n), _)| *n).collect();
        let [a, b] = nodes[..] else { return None };
        let (x, y) = (&self.ends[&(link, a)], &self.ends[&(link, b)]);
        let agreed = x.remote == Some(x.local) && y.remote == Some(y.local) && x.local == y.local;
        let found = agreed && x.candidates > 0 && y.candidates > 0 && self.reach(a, b);
        if !found || self.paths.get(&link) == Some(&x.local) {
            return None;
        }
        self.paths.insert(link, x.local);
        Some([a, b])
    }

    /// Links of a node.
    pub fn of(&self, node: usize) -> Vec<LinkId> {
        let of = self.ends.keys().filter(|(_, n)| *n == node);
        of.map(|(l, _)| *l).collect()
    }
}

/// A description of generation `local` by the holder of `fp`.
pub(crate) fn describe(fp: &Digest, local: u32) -> String {
    let fp = format_fingerprint(fp);
    format!("v=0\r\na=gen:{local}\r\na=fingerprint:sha-256 {fp}\r\n")
}

/// The generation of a description.
pub(crate) fn generation(sdp: &str) -> u32 {
    let line = sdp.lines().find_map(|l| l.strip_prefix("a=gen:"));
    line.and_then(|n| n.parse().ok())
        .expect("descriptions of this world carry one")
}

/// A candidate.
pub(crate) fn candidate() -> Candidate {
    let candidate = "candidate:1 1 udp 1 192.0.2.1 9 typ host".to_string();
    Candidate {
        candidate,
        mid: Some("0".into()),
        mline: Some(0),
    }
}
