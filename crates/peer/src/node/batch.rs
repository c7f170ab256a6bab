//! Chunks on their way from files to the lane: what is read together and what is sent together.

use bytes::Bytes;
use kith_protocol::frame::{self, HEADER};
use kith_protocol::ids::Digest;
use kith_protocol::limits;
use kith_protocol::ranges::RangeSet;

use crate::disk::ChunkRead;

/// Bytes that are read before they are sent together …
const BATCH: usize = 16 * limits::CHUNK;
/// … and chunks and ends of files, where they are small.
const BATCH_PARTS: usize = 64;

/// What was read and is sent together.
#[derive(Default)]
pub(super) struct Batch {
    pub frames: Vec<Bytes>,
    bytes: usize,
    /// Chunks of the frames, by entry.
    pub sent: Vec<(u32, RangeSet)>,
    /// Files that were read to their end, and their hashes.
    pub read: Vec<(u32, Digest)>,
}

impl Batch {
    /// Adds a chunk.
    pub fn push(&mut self, entry: u32, index: u64, frame: Bytes) {
        if self.sent.last().is_none_or(|(last, _)| *last != entry) {
            self.sent.push((entry, RangeSet::new()));
        }
        if let Some((_, ranges)) = self.sent.last_mut() {
            ranges.insert(index, index + 1);
        }
        self.bytes += frame.len();
        self.frames.push(frame);
    }

    /// How many there are.
    pub fn parts(&self) -> usize {
        self.frames.len() + self.read.len()
    }

    /// Whether it is to be sent now.
    pub fn is_full(&self) -> bool {
        self.bytes >= BATCH || self.parts() >= BATCH_PARTS
    }
}

/// Frames that go together, so that small files do not cost a message each.
#[derive(Default)]
pub(super) struct Message {
    frames: Vec<Bytes>,
    len: usize,
}

impl Message {
    /// Whether this one may go with the others.
    pub fn has_room_for(&self, frame: &Bytes) -> bool {
        self.len + frame.len() <= HEADER + limits::MAX_FRAME_PAYLOAD
    }

    /// Adds one.
    pub fn push(&mut self, frame: Bytes) {
        self.len += frame.len();
        self.frames.push(frame);
    }

    /// All of them, if there are any. One alone is not copied.
    pub fn take(&mut self) -> Option<Bytes> {
        self.len = 0;
        let mut frames = std::mem::take(&mut self.frames);
        if frames.len() > 1 {
            return Some(frames.concat().into());
        }
        frames.pop()
    }
}

/// The frame of a chunk that was read behind the place of its header, so that it is never copied.
pub(super) fn framed(transfer: u32, entry: u32, index: u64, chunk: ChunkRead) -> Bytes {
    let ChunkRead { mut frame, digest } = chunk;
    let len = frame.len().saturating_sub(HEADER) as u32;
    frame::put_chunk_header(&mut frame[..HEADER], transfer, entry, index, len, &digest.0);
    frame.into()
}
