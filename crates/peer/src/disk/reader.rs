//! A file that is being sent, chunk by chunk.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use kith_protocol::tree::Tree;
use rustix::fs::OFlags;

use super::chunk::read_at;
use super::folder::FileId;
use super::target::ModTime;
use super::{
    CHUNK, ChunkRead, Digest, DiskError, ROW, SourceEntry, chunk_count, chunk_digest,
    chunk_digests, chunk_len,
};

/// Chunks between two looks at the file's size and time (1 MiB), whole rows.
const STRIDE: u64 = 16;
const _: () = assert!(STRIDE.is_multiple_of(ROW as u64));

/// An offered file, open for sending.
///
/// Chunks go by in order through [`read_row`](Self::read_row) and end in
/// [`finish`](Self::finish). That the file is still the offered one (size, modification time, and at
/// the end that it still has its name) is checked when it is opened, every MiB, and at the end, so a
/// mixture of two versions never ends with a whole-file hash.
#[derive(Debug)]
pub struct SourceReader {
    file: File,
    real: PathBuf,
    size: u64,
    mtime: ModTime,
    /// As it was opened.
    id: FileId,
    tree: Tree,
}

impl SourceReader {
    /// Opens a file of a manifest.
    ///
    /// # Errors
    /// `SourceMissing`, `SourceChanged` (another size or time, or no plain file any more), `Denied`.
    pub fn open(entry: &SourceEntry) -> Result<Self, DiskError> {
        // A link or a pipe put here since the scan is neither followed nor waited for.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(&entry.real)
            .map_err(|e| DiskError::source(&entry.real, e))?;
        let mut reader = Self {
            file,
            real: entry.real.clone(),
            size: entry.size,
            mtime: entry.mtime,
            id: FileId::default(),
            tree: Tree::new(),
        };
        reader.id = reader.check_unchanged()?;
        if reader.chunks() > ROW as u64 {
            reader.expect_sequential();
        }
        Ok(reader)
    }

    /// Bytes in the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Chunks in the file.
    pub fn chunks(&self) -> u64 {
        chunk_count(self.size)
    }

    /// The chunk that [`read_row`](Self::read_row) begins with.
    pub fn next_chunk(&self) -> u64 {
        self.tree.leaves()
    }

    /// Reads the next chunks, [`ROW`] of them or what is left, each behind `head` zero bytes, and feeds
    /// the whole-file hash.
    ///
    /// # Errors
    /// `SourceChanged`; what was read before the error then counts for nothing, and neither does the
    /// reader.
    pub fn read_row(&mut self, head: usize) -> Result<Vec<ChunkRead>, DiskError> {
        let first = self.next_chunk();
        if first > 0 && first.is_multiple_of(STRIDE) {
            self.check_unchanged()?;
        }
        let row = first..self.chunks().min(first + ROW as u64);
        let frames = row.map(|index| self.fill(index, head));
        let frames = frames.collect::<Result<Vec<_>, _>>()?;
        let chunks: Vec<&[u8]> = frames.iter().map(|frame| &frame[head..]).collect();
        let digests = chunk_digests(&chunks);
        for digest in &digests {
            self.tree.push(digest);
        }
        let read = frames.into_iter().zip(digests);
        Ok(read
            .map(|(frame, digest)| ChunkRead { frame, digest })
            .collect())
    }

    /// Reads any chunk once more, behind `head` zero bytes, for a peer that asks again; the whole-file
    /// hash is not touched.
    ///
    /// # Errors
    /// `OutOfRange` beyond the end; `SourceChanged`.
    pub fn read_again(&self, index: u64, head: usize) -> Result<ChunkRead, DiskError> {
        self.check_unchanged()?;
        let frame = self.fill(index, head)?;
        let digest = chunk_digest(&frame[head..]);
        Ok(ChunkRead { frame, digest })
    }

    /// The whole file's hash (see [`kith_protocol::tree`]), once every chunk has gone by.
    ///
    /// # Errors
    /// `OutOfRange` if chunks are left; `SourceChanged` or `SourceMissing` if the file is not what
    /// was offered any more, even if every byte was read before that.
    pub fn finish(self) -> Result<Digest, DiskError> {
        if self.next_chunk() != self.chunks() {
            return Err(DiskError::OutOfRange { path: self.real });
        }
        // An editor that saves by renaming leaves our handle on the old file.
        let named = self.unchanged(fs::symlink_metadata(&self.real))?;
        if named != self.id {
            return Err(DiskError::SourceChanged { path: self.real });
        }
        Ok(self.tree.root(self.size))
    }

    fn check_unchanged(&self) -> Result<FileId, DiskError> {
        self.unchanged(self.file.metadata())
    }

    /// Which file it is, if it is what was offered.
    fn unchanged(&self, now: io::Result<Metadata>) -> Result<FileId, DiskError> {
        let now = now.map_err(|e| DiskError::source(&self.real, e))?;
        if now.is_file() && now.len() == self.size && ModTime::of(&now) == self.mtime {
            Ok((now.dev(), now.ino()))
        } else {
            Err(DiskError::SourceChanged {
                path: self.real.clone(),
            })
        }
    }

    fn fill(&self, index: u64, head: usize) -> Result<Vec<u8>, DiskError> {
        let len = chunk_len(self.size, index).ok_or_else(|| self.out_of_range())?;
        read_at(&self.file, head, index * CHUNK as u64, len).map_err(|e| {
            if e.kind() == std::io::ErrorKind::UnexpectedEof {
                DiskError::SourceChanged {
                    path: self.real.clone(),
                }
            } else {
                DiskError::source(&self.real, e)
            }
        })
    }

    fn out_of_range(&self) -> DiskError {
        DiskError::OutOfRange {
            path: self.real.clone(),
        }
    }

    /// Advice only: where it is refused, reading is slower and nothing else.
    #[cfg(target_os = "linux")]
    fn expect_sequential(&self) {
        let _ = rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::Sequential);
    }

    #[cfg(not(target_os = "linux"))]
    fn expect_sequential(&self) {}
}
