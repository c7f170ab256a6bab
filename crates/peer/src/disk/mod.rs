//! Files on disk: what is sent, and where received bytes go.
//!
//! All of it is synchronous and meant for dedicated blocking threads. The sending side is
//! [`scan`] (paths to a flat manifest) and [`SourceReader`] (a file as hashed chunks). The
//! receiving side is [`SafePath`] (a peer's name made harmless), [`Target`] (a capability to one
//! download folder) and [`PartFile`] (a file that has no name of its own until it is complete), which
//! [`HeldFile`] reads for other receivers. Part files that no fetch knows any more are taken over by
//! another fetch of the same file ([`Adoption`]) or removed when the user says so ([`leftovers`]).
//!
//! Which chunks are already verified is kept elsewhere; nothing here remembers ranges.

mod adopt;
mod chunk;
mod error;
mod folder;
mod held;
mod leftovers;
mod names;
mod own;
mod part;
mod placed;
mod probe;
mod reader;
mod scan;
mod target;
mod unnamed;
mod whole;

pub use adopt::Adoption;
pub use chunk::{ChunkRead, ROW, chunk_digest, chunk_digests};
pub use error::{DiskError, DiskFault};
pub use held::HeldFile;
pub use leftovers::{Leftover, Leftovers, Removed, leftovers, remove_leftovers};
pub use names::{MAX_DEPTH, MAX_NAME, MAX_PATH, NameError, SafePath};
pub use own::OwnFolder;
pub use part::{PartFile, PartSync, PartTag};
pub use placed::{Placed, PlacedFile};
pub use probe::probe;
pub use reader::SourceReader;
pub use scan::{EntryKind, MAX_ENTRIES, Scan, SkipReason, Skipped, SourceEntry, scan};
pub use target::{ModTime, Target};
pub use whole::{Naming, WholeFile};

pub use kith_protocol::frame::chunks as chunk_count;
pub use kith_protocol::ids::Digest;
/// Bytes in every chunk of a file but the last.
pub use kith_protocol::limits::CHUNK;

/// Length in bytes of chunk `index` of a file of `size` bytes; `None` beyond its end.
pub fn chunk_len(size: u64, index: u64) -> Option<usize> {
    let start = index.checked_mul(CHUNK as u64)?;
    let left = size.checked_sub(start).filter(|left| *left > 0)?;
    Some(usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK)))
}
