//! Binary frames on the data channel `files` (and on any other lane). One message holds one frame or,
//! so that small files do not cost a message each, several after one another.
//!
//! Little endian: version 1 byte, kind 1, flags 2, transfer 4, entry 4, chunk index 8, payload
//! length 4, SHA-256 of the payload 32, then the payload.

use bytes::{Buf as _, BufMut, Bytes, BytesMut};

use crate::ids::Digest;
use crate::limits;
use crate::ranges::RangeSet;

/// Bytes before the payload.
pub const HEADER: usize = 56;
const FRAME_VERSION: u8 = 1;
const KIND_CHUNK: u8 = 1;
const KIND_ACK: u8 = 2;
const KIND_HASHES: u8 = 3;
const KIND_PADDING: u8 = 4;

/// The entry number of [`Hashes`] that are of whole entries, one for each from entry `first` on: all of
/// them come before any chunk from whoever passes on an offer of somebody else.
pub const ROOTS: u32 = u32::MAX;

/// A parsed frame. The payload's checksum is *not* yet compared: that costs CPU and belongs to a
/// worker, see [`Chunk::digest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A piece of a file.
    Chunk(Chunk),
    /// Chunks that are durable at the receiver.
    Ack(Ack),
    /// What chunks must hash to, whoever sends them.
    Hashes(Hashes),
    /// So many bytes that say nothing, to see whether a path carries packets of some size (RFC 8899).
    Padding(usize),
}

/// A piece of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Number agreed in `accept`.
    pub transfer: u32,
    /// Index into the offer's entries.
    pub entry: u32,
    /// Which chunk of the file; its offset is `index × 65,536`.
    pub index: u64,
    /// SHA-256 the payload must have.
    pub digest: Digest,
    /// 1 to 65,536 bytes.
    pub payload: Bytes,
}

/// Chunks that are durable at the receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// Number agreed in `accept`.
    pub transfer: u32,
    /// Index into the offer's entries.
    pub entry: u32,
    /// The chunks, at most [`limits::MAX_RANGES`] ranges.
    pub ranges: RangeSet,
}

/// Hashes of consecutive chunks, from who offers them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashes {
    /// Number agreed in `accept`.
    pub transfer: u32,
    /// Index into the offer's entries.
    pub entry: u32,
    /// The chunk of the first hash.
    pub first: u64,
    /// 32 bytes for each chunk, at least one and at most [`limits::MAX_HASHES`] of them.
    pub hashes: Bytes,
}

impl Hashes {
    /// The hashes in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Digest> {
        let (hashes, _) = self.hashes.as_chunks::<32>();
        hashes.iter().map(|h| Digest(*h))
    }
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Shorter than a header, or the length field disagrees with the message.
    #[error("frame length does not match")]
    Length,
    /// Another frame version.
    #[error("frame version {0} is not supported")]
    Version(u8),
    /// A kind this build does not know; skipped by the receiver.
    #[error("frame kind {0} is not known")]
    Kind(u8),
    /// A payload that is missing, too large, or not a list of ranges.
    #[error("frame payload is not valid")]
    Payload,
}

/// Writes the header of a chunk frame, [`HEADER`] bytes. The payload follows it in the same message.
pub fn put_chunk_header(
    out: impl BufMut,
    transfer: u32,
    entry: u32,
    index: u64,
    payload_len: u32,
    digest: &[u8; 32],
) {
    put_header(out, KIND_CHUNK, transfer, entry, index, payload_len, digest);
}

/// Parses one message, frame by frame, at least one and up to the first that is none; one of an unknown
/// kind is passed over. The payload of a frame that has its message for itself is not copied.
pub fn parse(message: Bytes) -> impl Iterator<Item = Result<Frame, FrameError>> {
    let whole = message.len();
    let mut rest = Some(message);
    std::iter::from_fn(move || {
        let mut message = rest.take()?;
        let frame = Frame::split_off(&mut message, whole);
        let goes_on = matches!(frame, Ok(_) | Err(FrameError::Kind(_)));
        rest = Some(message).filter(|rest| goes_on && !rest.is_empty());
        Some(frame)
    })
}

impl Frame {
    /// Takes the first frame off what is left of a message of `whole` bytes.
    fn split_off(message: &mut Bytes, whole: usize) -> Result<Frame, FrameError> {
        if message.len() < HEADER {
            return Err(FrameError::Length);
        }
        let mut head = message.split_to(HEADER);
        let version = head.get_u8();
        if version != FRAME_VERSION {
            return Err(FrameError::Version(version));
        }
        let kind = head.get_u8();
        // Flags are all spare: a later version may set some without changing what is here.
        let _flags = head.get_u16_le();
        let transfer = head.get_u32_le();
        let entry = head.get_u32_le();
        let index = head.get_u64_le();
        let len = head.get_u32_le() as usize;
        let mut digest = [0u8; 32];
        head.copy_to_slice(&mut digest);
        if len > message.len() {
            return Err(FrameError::Length);
        }
        let mut payload = message.split_to(len);
        if HEADER + len < whole {
            // A small one that waits somewhere must not keep all of its message in memory.
            payload = Bytes::copy_from_slice(&payload);
        }
        match kind {
            KIND_CHUNK if len == 0 || len > limits::MAX_FRAME_PAYLOAD => Err(FrameError::Payload),
            KIND_CHUNK => Ok(Frame::Chunk(Chunk {
                transfer,
                entry,
                index,
                digest: Digest(digest),
                payload,
            })),
            KIND_ACK => Ok(Frame::Ack(Ack {
                transfer,
                entry,
                ranges: parse_ranges(payload)?,
            })),
            KIND_HASHES if len == 0 || !len.is_multiple_of(32) || len > limits::MAX_HASHES * 32 => {
                Err(FrameError::Payload)
            }
            KIND_HASHES => Ok(Frame::Hashes(Hashes {
                transfer,
                entry,
                first: index,
                hashes: payload,
            })),
            KIND_PADDING if len > limits::MAX_FRAME_PAYLOAD => Err(FrameError::Payload),
            KIND_PADDING => Ok(Frame::Padding(len)),
            other => Err(FrameError::Kind(other)),
        }
    }

    /// The bytes of a message, or of a part of one.
    pub fn to_bytes(&self) -> Bytes {
        match self {
            Frame::Chunk(c) => {
                let mut out = BytesMut::with_capacity(HEADER + c.payload.len());
                let len = c.payload.len() as u32;
                put_chunk_header(&mut out, c.transfer, c.entry, c.index, len, &c.digest.0);
                out.put_slice(&c.payload);
                out.freeze()
            }
            Frame::Ack(a) => {
                let ranges = a.ranges.ranges();
                let len = ranges.len() * 16;
                let mut out = BytesMut::with_capacity(HEADER + len);
                // An ack travels on an authenticated channel and is small: its digest is zero.
                put_header(
                    &mut out, KIND_ACK, a.transfer, a.entry, 0, len as u32, &[0; 32],
                );
                for (first, end) in ranges {
                    out.put_u64_le(*first);
                    out.put_u64_le(*end);
                }
                out.freeze()
            }
            Frame::Hashes(h) => {
                let len = h.hashes.len();
                let mut out = BytesMut::with_capacity(HEADER + len);
                // Authenticated by its channel, as an ack is.
                put_header(
                    &mut out,
                    KIND_HASHES,
                    h.transfer,
                    h.entry,
                    h.first,
                    len as u32,
                    &[0; 32],
                );
                out.put_slice(&h.hashes);
                out.freeze()
            }
            Frame::Padding(len) => {
                let mut out = BytesMut::with_capacity(HEADER + len);
                put_header(&mut out, KIND_PADDING, 0, 0, 0, *len as u32, &[0; 32]);
                out.put_bytes(0, *len);
                out.freeze()
            }
        }
    }
}

fn put_header(
    mut out: impl BufMut,
    kind: u8,
    transfer: u32,
    entry: u32,
    index: u64,
    len: u32,
    digest: &[u8; 32],
) {
    out.put_u8(FRAME_VERSION);
    out.put_u8(kind);
    out.put_u16_le(0);
    out.put_u32_le(transfer);
    out.put_u32_le(entry);
    out.put_u64_le(index);
    out.put_u32_le(len);
    out.put_slice(digest);
}

fn parse_ranges(mut payload: Bytes) -> Result<RangeSet, FrameError> {
    if !payload.len().is_multiple_of(16) || payload.len() / 16 > limits::MAX_RANGES {
        return Err(FrameError::Payload);
    }
    let mut ranges = Vec::with_capacity(payload.len() / 16);
    while payload.has_remaining() {
        ranges.push((payload.get_u64_le(), payload.get_u64_le()));
    }
    RangeSet::from_sorted(ranges).ok_or(FrameError::Payload)
}

/// How many chunks a file of `size` bytes has.
pub fn chunks(size: u64) -> u64 {
    size.div_ceil(limits::CHUNK as u64)
}

/// How many bytes chunk `index` of a file of `size` bytes has; 0 where there is no such chunk.
pub fn chunk_len(size: u64, index: u64) -> u32 {
    let Some(start) = index.checked_mul(limits::CHUNK as u64) else {
        return 0;
    };
    size.saturating_sub(start).min(limits::CHUNK as u64) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The only frame of a message, or what is wrong with it.
    fn one(message: Bytes) -> Result<Frame, FrameError> {
        parse(message).last().unwrap()
    }

    #[test]
    fn the_last_chunk_is_short() {
        for (size, n, last) in [(0, 0, 0), (1, 1, 1), (65_536, 1, 65_536), (65_537, 2, 1)] {
            assert_eq!(chunks(size), n);
            assert_eq!(chunk_len(size, n.saturating_sub(1)), last);
            assert_eq!(chunk_len(size, n), 0);
        }
        assert_eq!(chunk_len(u64::MAX, u64::MAX), 0);
    }

    #[test]
    fn hostile_frames_are_refused() {
        let good = Frame::Chunk(Chunk {
            transfer: 1,
            entry: 2,
            index: 3,
            digest: Digest([4; 32]),
            payload: Bytes::from_static(b"hello"),
        })
        .to_bytes();
        let with = |f: &dyn Fn(&mut Vec<u8>)| {
            let mut v = good.to_vec();
            f(&mut v);
            one(v.into())
        };
        assert!(with(&|_| {}).is_ok());
        assert_eq!(with(&|v| v[0] = 2), Err(FrameError::Version(2)));
        assert_eq!(with(&|v| v[1] = 9), Err(FrameError::Kind(9)));
        assert_eq!(with(&|v| v[20] = 4), Err(FrameError::Length));
        assert_eq!(with(&|v| v[20..24].fill(0xff)), Err(FrameError::Length));
        assert_eq!(with(&|v| v.truncate(40)), Err(FrameError::Length));
        assert_eq!(
            with(&|v| {
                v.truncate(56);
                v[20] = 0
            }),
            Err(FrameError::Payload)
        );
        assert_eq!(with(&|v| v[1] = 2), Err(FrameError::Payload));
        assert_eq!(with(&|v| v[1] = 3), Err(FrameError::Payload));
        assert!(with(&|v| v[2] = 0xff).is_ok(), "spare flags are ignored");
        assert_eq!(one(Bytes::new()), Err(FrameError::Length));
    }

    #[test]
    fn a_message_holds_several_frames() {
        let chunk = |entry, payload: &'static [u8]| {
            Frame::Chunk(Chunk {
                transfer: 1,
                entry,
                index: 0,
                digest: Digest([4; 32]),
                payload: Bytes::from_static(payload),
            })
        };
        let frames = [chunk(1, b"one"), Frame::Padding(9), chunk(2, b"two")];
        let all = frames.iter().map(Frame::to_bytes).collect::<Vec<_>>();
        let said = |parts: &[&[u8]]| parse(parts.concat().into()).collect::<Vec<_>>();
        assert!(
            said(&[&all[0], &all[1], &all[2]])
                .into_iter()
                .eq(frames.iter().cloned().map(Ok))
        );
        // What is unknown is passed over; what is broken ends it.
        let mut unknown = all[0].to_vec();
        unknown[1] = 9;
        let [first, _, last] = frames;
        let kind = Err(FrameError::Kind(9));
        assert_eq!(said(&[&unknown, &all[2]]), [kind, Ok(last)]);
        let broken = Err(FrameError::Length);
        assert_eq!(
            said(&[&all[0], &all[1][..9], &all[2]])[..1],
            [Ok(first.clone())]
        );
        assert_eq!(said(&[&all[0], b"rest"]), [Ok(first), broken]);
    }

    #[test]
    fn a_small_payload_does_not_keep_its_message() {
        let chunk = |payload: Bytes| Chunk {
            transfer: 1,
            entry: 2,
            index: 3,
            digest: Digest([4; 32]),
            payload,
        };
        let of = |message: &Bytes| {
            let Some(Ok(Frame::Chunk(chunk))) = parse(message.clone()).next() else {
                panic!("a chunk");
            };
            message.as_ptr_range().contains(&chunk.payload.as_ptr())
        };
        let small = Frame::Chunk(chunk(Bytes::from_static(b"x"))).to_bytes();
        assert!(of(&small), "alone, it is not copied");
        let padded = [small, Frame::Padding(60_000).to_bytes()].concat();
        assert!(!of(&padded.into()));
    }

    proptest! {
        #[test]
        fn any_bytes_parse_without_panic(v in prop::collection::vec(any::<u8>(), 0..300)) {
            parse(v.into()).for_each(drop);
        }

        #[test]
        fn chunks_round_trip(transfer: u32, entry: u32, index: u64, d: [u8; 32], p in prop::collection::vec(any::<u8>(), 1..200)) {
            let f = Frame::Chunk(Chunk { transfer, entry, index, digest: Digest(d), payload: p.into() });
            prop_assert_eq!(one(f.to_bytes()), Ok(f));
        }

        #[test]
        fn hashes_round_trip(transfer: u32, entry: u32, first: u64, all in prop::collection::vec(any::<[u8; 32]>(), 1..50)) {
            let h = Hashes { transfer, entry, first, hashes: all.concat().into() };
            prop_assert!(h.iter().map(|d| d.0).eq(all));
            prop_assert_eq!(one(Frame::Hashes(h.clone()).to_bytes()), Ok(Frame::Hashes(h)));
        }

        #[test]
        fn padding_round_trips(len in 0..=limits::MAX_FRAME_PAYLOAD) {
            let bytes = Frame::Padding(len).to_bytes();
            prop_assert_eq!(bytes.len(), HEADER + len);
            prop_assert_eq!(one(bytes), Ok(Frame::Padding(len)));
        }

        #[test]
        fn acks_round_trip(transfer: u32, entry: u32, r in prop::collection::vec((0u64..1_000_000, 1u64..50), 0..30)) {
            let mut ranges = RangeSet::new();
            for (a, n) in r { ranges.insert(a, a + n); }
            let f = Frame::Ack(Ack { transfer, entry, ranges });
            prop_assert_eq!(one(f.to_bytes()), Ok(f));
        }
    }
}
