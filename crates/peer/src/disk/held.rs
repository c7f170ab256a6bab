//! What was received, read for other receivers.

use std::fs::File;
use std::path::PathBuf;

use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::{OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;

use super::chunk::read_at;
use super::names::part_name;
use super::{CHUNK, ChunkRead, DiskError, PartTag, SafePath, Target, chunk_digest, chunk_len};

/// A part file, or the complete file that it became, open for reading. It stays readable when the
/// part gets its name meanwhile. Which of its chunks are verified is for the caller to know.
#[derive(Debug)]
pub struct HeldFile {
    file: File,
    path: PathBuf,
    size: u64,
}

impl HeldFile {
    /// Opens a complete file of `size` bytes.
    ///
    /// # Errors
    /// `PartGone` if it is not there, or is another file by now; `Denied`, `Obstructed`.
    pub fn open(target: &Target, rel: &SafePath, size: u64) -> Result<Self, DiskError> {
        let held = Self::open_named(target, rel, rel.file_name(), size)?;
        match held.file.metadata() {
            Ok(now) if now.len() == size => Ok(held),
            Ok(_) => Err(held.gone()),
            Err(e) => Err(DiskError::target(&held.path, e)),
        }
    }

    /// Opens the part file of a fetch.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_part(
        target: &Target,
        rel: &SafePath,
        tag: PartTag,
        size: u64,
    ) -> Result<Self, DiskError> {
        Self::open_named(target, rel, &part_name(rel.file_name(), tag.0), size)
    }

    pub(super) fn into_file(self) -> File {
        self.file
    }

    /// Reads one chunk, behind `head` zero bytes.
    ///
    /// # Errors
    /// `OutOfRange` if there is no such chunk, `PartGone` if the file ends before it.
    pub fn read_chunk(&self, index: u64, head: usize) -> Result<ChunkRead, DiskError> {
        let len = chunk_len(self.size, index).ok_or_else(|| DiskError::OutOfRange {
            path: self.path.clone(),
        })?;
        let frame = read_at(&self.file, head, index * CHUNK as u64, len).map_err(|e| {
            if e.kind() == std::io::ErrorKind::UnexpectedEof {
                self.gone()
            } else {
                DiskError::target(&self.path, e)
            }
        })?;
        let digest = chunk_digest(&frame[head..]);
        Ok(ChunkRead { frame, digest })
    }

    fn open_named(
        target: &Target,
        rel: &SafePath,
        name: &str,
        size: u64,
    ) -> Result<Self, DiskError> {
        let path = target.path_of(rel).with_file_name(name);
        let fail = |e: std::io::Error| DiskError::target(&path, e);
        let folder = target.existing_folder_of(rel)?;
        let mut options = OpenOptions::new();
        // A pipe that somebody put there is not waited for.
        options
            .read(true)
            .follow(FollowSymlinks::No)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        let file = folder.open_with(name, &options).map_err(fail)?.into_std();
        let held = Self { file, path, size };
        match held.file.metadata() {
            Ok(now) if now.is_file() => Ok(held),
            Ok(_) => Err(held.gone()),
            Err(e) => Err(DiskError::target(&held.path, e)),
        }
    }

    fn gone(&self) -> DiskError {
        DiskError::PartGone {
            path: self.path.clone(),
        }
    }
}
