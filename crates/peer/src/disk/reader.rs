//! A file that is being sent, chunk by chunk.

use std::fs::{self, File, Metadata, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use kith_protocol::tree::Tree;
use rustix::fs::OFlags;

use super::target::ModTime;
use super::{CHUNK, Digest, DiskError, SourceEntry, chunk_count, chunk_digest, chunk_len};

/// Chunks between two looks at the file's size and time, and the grain of reading ahead (1 MiB).
const STRIDE: u64 = 16;

/// One chunk, now in the caller's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRead {
    /// Bytes of the buffer that are the chunk.
    pub len: usize,
    /// SHA-256 of the chunk.
    pub digest: Digest,
}

/// An offered file, open for sending.
///
/// Chunks go by in order through [`read_chunk`](Self::read_chunk) and end in
/// [`finish`](Self::finish). That the file is still the offered one (size, modification time, and at
/// the end that it still has its name) is checked when it is opened, every MiB, and at the end, so a
/// mixture of two versions never ends with a whole-file hash.
#[derive(Debug)]
pub struct SourceReader {
    file: File,
    real: PathBuf,
    size: u64,
    mtime: ModTime,
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
        let reader = Self {
            file,
            real: entry.real.clone(),
            size: entry.size,
            mtime: entry.mtime,
            tree: Tree::new(),
        };
        reader.check_unchanged()?;
        reader.expect_sequential();
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

    /// The chunk that [`read_chunk`](Self::read_chunk) takes next.
    pub fn next_chunk(&self) -> u64 {
        self.tree.leaves()
    }

    /// Reads the next chunk into the beginning of `buf`, which holds at least [`CHUNK`] bytes (or
    /// the chunk, if it is shorter), and feeds the whole-file hash.
    ///
    /// # Errors
    /// `OutOfRange` if `index` is not the next chunk or `buf` too short; `SourceChanged`.
    pub fn read_chunk(&mut self, index: u64, buf: &mut [u8]) -> Result<ChunkRead, DiskError> {
        let read = self.read_chunks(index, &mut [buf])?;
        read.into_iter().next().ok_or_else(|| self.out_of_range())
    }

    /// As [`read_chunk`](Self::read_chunk) of the next chunks from `first` on, one into each of
    /// `bufs`. They are hashed together, which is quicker.
    ///
    /// # Errors
    /// As there; what was read before the error then counts for nothing, and neither does the reader.
    pub fn read_chunks(
        &mut self,
        first: u64,
        bufs: &mut [&mut [u8]],
    ) -> Result<Vec<ChunkRead>, DiskError> {
        if first != self.next_chunk() {
            return Err(self.out_of_range());
        }
        let mut chunks: Vec<&[u8]> = Vec::with_capacity(bufs.len());
        for (index, buf) in (first..).zip(bufs) {
            if index.is_multiple_of(STRIDE) {
                self.check_unchanged()?;
            }
            chunks.push(self.fill(index, buf)?);
        }
        let read = |chunk: &[u8]| ChunkRead {
            len: chunk.len(),
            digest: chunk_digest(chunk),
        };
        let read: Vec<ChunkRead> = chunks.into_iter().map(read).collect();
        for chunk in &read {
            self.tree.push(&chunk.digest);
        }
        Ok(read)
    }

    /// Reads any chunk once more, for a peer that asks again; the whole-file hash is not touched.
    ///
    /// # Errors
    /// `OutOfRange` beyond the end or if `buf` is too short; `SourceChanged`.
    pub fn read_again(&self, index: u64, buf: &mut [u8]) -> Result<ChunkRead, DiskError> {
        self.check_unchanged()?;
        let chunk = self.fill(index, buf)?;
        Ok(ChunkRead {
            len: chunk.len(),
            digest: chunk_digest(chunk),
        })
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
        let open = self.check_unchanged()?;
        // An editor that saves by renaming leaves our handle on the old file.
        let named =
            fs::symlink_metadata(&self.real).map_err(|e| DiskError::source(&self.real, e))?;
        if (named.dev(), named.ino()) != (open.dev(), open.ino()) {
            return Err(DiskError::SourceChanged { path: self.real });
        }
        Ok(self.tree.root(self.size))
    }

    fn check_unchanged(&self) -> Result<Metadata, DiskError> {
        let now = self
            .file
            .metadata()
            .map_err(|e| DiskError::source(&self.real, e))?;
        if now.is_file() && now.len() == self.size && ModTime::of(&now) == self.mtime {
            Ok(now)
        } else {
            Err(DiskError::SourceChanged {
                path: self.real.clone(),
            })
        }
    }

    fn fill<'b>(&self, index: u64, buf: &'b mut [u8]) -> Result<&'b [u8], DiskError> {
        let chunk = chunk_len(self.size, index)
            .and_then(|len| buf.get_mut(..len))
            .ok_or_else(|| self.out_of_range())?;
        // Straight into the caller's buffer: from the page cache a read of one chunk costs no more
        // per byte than a longer one, and its bytes are still in the processor's cache for hashing.
        self.file
            .read_exact_at(chunk, index * CHUNK as u64)
            .map_err(|e| {
                if e.kind() == std::io::ErrorKind::UnexpectedEof {
                    DiskError::SourceChanged {
                        path: self.real.clone(),
                    }
                } else {
                    DiskError::source(&self.real, e)
                }
            })?;
        Ok(chunk)
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
