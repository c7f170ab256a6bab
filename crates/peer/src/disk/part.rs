//! A file that is being received: it has its own name only once it is complete.

use std::fmt;
use std::fs::{File, Metadata, TryLockError};
use std::io::IoSlice;
#[cfg(target_os = "linux")]
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use kith_protocol::ranges::RangeSet;
use kith_protocol::tree::Tree;
use rustix::io::Errno;

use super::folder::is_named;
use super::names::part_name;
use super::target::{Folder, ModTime, set_attributes, sync_folder};
use super::whole::{Waits, WholeFile};
use super::{CHUNK, DiskError, SafePath, Target, chunk_digests, chunk_len};

/// A part that another Kith looks at is free again after a moment.
const MOST_TRIES: u32 = 100;
const BETWEEN_TRIES: Duration = Duration::from_millis(10);
/// Bytes read back at a time.
const READ_BACK: usize = 16 * CHUNK;

/// Marks the part file of one entry of one fetch, so that the same fetch finds it again. It must
/// differ between entries: two long names may share the beginning that a part file's name repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PartTag(pub u64);

/// The part file of one fetch, open for writing chunks in any order, from any thread.
///
/// It lies beside its final name as `.<beginning of the name>.<tag>.part`, with permissions for its
/// owner alone. Dropping it leaves it on disk for [`create_or_open`](Self::create_or_open) to find.
#[derive(Debug)]
pub struct PartFile {
    shared: Arc<Shared>,
    target: Target,
    rel: SafePath,
    /// `None`: it has none, and is gone with its handle.
    name: Option<String>,
    existing_len: u64,
}

/// Makes written chunks durable, beside the thread that writes them.
#[derive(Debug, Clone)]
pub struct PartSync {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    file: File,
    folder: Arc<Folder>,
    /// What the user calls it, for messages.
    path: PathBuf,
    size: u64,
    /// It lies in its folder under some name.
    named: bool,
    /// That is durable too.
    rooted: AtomicBool,
    /// It is being finished or discarded, or was.
    over: AtomicBool,
}

impl PartFile {
    /// Opens the part file of this fetch, or creates it with its folders. A part longer than `size`
    /// cannot be of this fetch and begins again, empty.
    ///
    /// # Errors
    /// `Obstructed` if a link or anything but a plain file of one name has the part's name, or a
    /// component of the path is no folder; `TooLarge`, `NoSpace`, `Denied`, `ReadOnly`.
    pub fn create_or_open(
        target: &Target,
        rel: &SafePath,
        tag: PartTag,
        size: u64,
    ) -> Result<Self, DiskError> {
        let path = target.path_of(rel);
        if i64::try_from(size).is_err() {
            return Err(DiskError::TooLarge { path });
        }
        let name = part_name(rel.file_name(), tag.0);
        let part_path = path.with_file_name(&name);
        let fail = |e: std::io::Error| DiskError::target(&part_path, e);
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .mode(0o600)
            .follow(FollowSymlinks::No);
        let open = |folder: &Folder| {
            let mut names = target.names();
            names.with_own_change(&folder.dir, || folder.dir.open_with(&name, &options))
        };
        let mut folder = target.folder_of(rel)?;
        let mut tries = 0;
        let (file, found) = loop {
            let opened = match open(&folder) {
                // It was removed since it was last used.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                    target.forget_folder();
                    folder = target.folder_of(rel)?;
                    open(&folder)
                }
                opened => opened,
            };
            let file = opened.map_err(fail)?.into_std();
            let found = file.metadata().map_err(fail)?;
            if is_ours(&folder.dir, &name, &file, &found) {
                break (file, found);
            }
            tries += 1;
            if tries > MOST_TRIES {
                return Err(DiskError::Obstructed { path: part_path });
            }
            std::thread::sleep(BETWEEN_TRIES);
        };
        // A second name for the same file could be somebody's way of having us write elsewhere.
        if !found.is_file() || found.nlink() != 1 {
            return Err(DiskError::Obstructed { path: part_path });
        }
        let mut existing_len = found.len();
        if existing_len > size {
            file.set_len(0).map_err(fail)?;
            existing_len = 0;
        }
        let shared = Arc::new(Shared {
            file,
            folder,
            path,
            size,
            named: true,
            rooted: AtomicBool::new(false),
            over: AtomicBool::new(false),
        });
        Ok(Self {
            shared,
            target: target.clone(),
            rel: rel.clone(),
            name: Some(name),
            existing_len,
        })
    }

    /// A file of which no part is ever to be found again: it has no name, where the system can do
    /// that. Dropping it removes it then. It may have the permissions of the complete file, `mode`, at
    /// once, as nobody else can open it.
    ///
    /// # Errors
    /// As [`create_or_open`](Self::create_or_open).
    pub fn create_passing(
        target: &Target,
        rel: &SafePath,
        tag: PartTag,
        size: u64,
        mode: u32,
    ) -> Result<Self, DiskError> {
        let Some((file, folder)) = target.unnamed(rel, with_owner(mode))? else {
            return Self::create_or_open(target, rel, tag, size);
        };
        let shared = Arc::new(Shared {
            file,
            folder,
            path: target.path_of(rel),
            size,
            named: false,
            rooted: AtomicBool::new(true),
            over: AtomicBool::new(false),
        });
        Ok(Self {
            shared,
            target: target.clone(),
            rel: rel.clone(),
            name: None,
            existing_len: 0,
        })
    }

    /// Bytes in the part file when it was opened, holes included; 0 if it was new. Which of them
    /// are verified is for the caller to know.
    pub fn existing_len(&self) -> u64 {
        self.existing_len
    }

    /// Bytes of the complete file.
    pub fn size(&self) -> u64 {
        self.shared.size
    }

    /// Writes one (verified) chunk at its place.
    ///
    /// # Errors
    /// `OutOfRange` if there is no such chunk or it has another length; `NoSpace`, `OverQuota`,
    /// `TooLarge`, `ReadOnly`, `Failing`.
    pub fn write_chunk(&self, index: u64, chunk: &[u8]) -> Result<(), DiskError> {
        self.write_chunks(index, &[chunk])
    }

    /// Writes (verified) chunks that follow one another, from `first` on. Together they take the
    /// filesystem two thirds of the processor time.
    ///
    /// # Errors
    /// As [`write_chunk`](Self::write_chunk); some of them may be written then.
    pub fn write_chunks(&self, first: u64, chunks: &[&[u8]]) -> Result<(), DiskError> {
        let len_of = |n: usize| chunk_len(self.size(), first.checked_add(n as u64)?);
        let mut lens = chunks.iter().map(|chunk| Some(chunk.len())).enumerate();
        if !lens.all(|(n, len)| len == len_of(n)) {
            return Err(self.out_of_range());
        }
        let mut slices: Vec<IoSlice<'_>> = chunks.iter().map(|c| IoSlice::new(c)).collect();
        let mut left = &mut slices[..];
        let mut offset = first.saturating_mul(CHUNK as u64);
        while !left.is_empty() {
            let written = match rustix::io::pwritev(&self.shared.file, left, offset) {
                Ok(0) => Err(std::io::ErrorKind::WriteZero.into()),
                Err(Errno::INTR) => continue,
                written => written.map_err(std::io::Error::from),
            };
            let written = written.map_err(|e| self.shared.fail(e))?;
            offset += written as u64;
            IoSlice::advance_slices(&mut left, written);
        }
        Ok(())
    }

    /// Adds the chunks before `end` that `tree` lacks, read back from disk.
    ///
    /// # Errors
    /// `OutOfRange` if the range is not within the file, `PartGone` if the part ends before it does.
    pub fn hash_up_to(&self, tree: &mut Tree, end: u64) -> Result<(), DiskError> {
        let start = tree.leaves();
        if start > end || end > super::chunk_count(self.size()) {
            return Err(self.out_of_range());
        }
        let bytes_to = |chunk: u64| chunk.saturating_mul(CHUNK as u64).min(self.size());
        let (mut at, end) = (bytes_to(start), bytes_to(end));
        let mut buf = vec![0; usize::try_from(end - at).map_or(READ_BACK, |n| n.min(READ_BACK))];
        while at < end {
            let len = usize::try_from(end - at).map_or(buf.len(), |left| left.min(buf.len()));
            let piece = &mut buf[..len];
            self.read_exact(piece, at)?;
            let chunks: Vec<&[u8]> = piece.chunks(CHUNK).collect();
            for digest in chunk_digests(&chunks) {
                tree.push(&digest);
            }
            at += len as u64;
        }
        Ok(())
    }

    /// A handle that syncs from another thread while this one writes.
    pub fn syncer(&self) -> PartSync {
        PartSync {
            shared: Arc::clone(&self.shared),
        }
    }

    /// As [`PartSync::sync`].
    pub fn sync(&self) -> Result<(), DiskError> {
        self.shared.sync()
    }

    /// Gives the complete, verified file its attributes; its name it gets with
    /// [`Naming`](super::Naming). `mode` counts up to 0o777 and its owner can always read it.
    ///
    /// # Errors
    /// `Incomplete` if bytes are missing at the end, `PartGone` if the part was removed. The part is
    /// still where it was then.
    pub fn complete(self, mode: u32, mtime: ModTime) -> Result<WholeFile, DiskError> {
        let shared = self.shared;
        shared.over.store(true, Ordering::Release);
        let now = shared.check_linked()?;
        let (have, size) = (now.len(), shared.size);
        if have != size {
            let path = shared.path.clone();
            return Err(DiskError::Incomplete { path, have, size });
        }
        let mode = with_owner(mode);
        let mode = Some(mode).filter(|mode| now.mode() & 0o777 != *mode);
        set_attributes(&shared.file, mode, mtime).map_err(|e| shared.fail(e))?;
        let (folder, path) = (Arc::clone(&shared.folder), shared.path.clone());
        let id = (now.dev(), now.ino());
        let at = match self.name {
            None => Waits::Unnamed(shared),
            Some(name) if WholeFile::is_synced_alone(size) => Waits::Alone(name, id, shared),
            Some(name) => Waits::Named(name, id),
        };
        Ok(WholeFile {
            target: self.target,
            rel: self.rel,
            folder,
            path,
            at,
        })
    }

    /// Removes the part file. If it is gone already, or another one has its name, that is left so.
    pub fn discard(self) -> Result<(), DiskError> {
        self.shared.over.store(true, Ordering::Release);
        let Some(name) = &self.name else {
            return Ok(());
        };
        let now = self
            .shared
            .file
            .metadata()
            .map_err(|e| self.shared.fail(e))?;
        let mut names = self.target.names();
        names
            .remove(&self.shared.folder.dir, name, (now.dev(), now.ino()))
            .map_err(|e| self.shared.fail(e))
    }

    fn read_exact(&self, buf: &mut [u8], offset: u64) -> Result<(), DiskError> {
        self.shared.file.read_exact_at(buf, offset).map_err(|e| {
            if e.kind() == std::io::ErrorKind::UnexpectedEof {
                DiskError::PartGone {
                    path: self.shared.path.clone(),
                }
            } else {
                self.shared.fail(e)
            }
        })
    }

    fn out_of_range(&self) -> DiskError {
        DiskError::OutOfRange {
            path: self.shared.path.clone(),
        }
    }
}

/// Has everybody know that the part is in use, for as long as it is open. `false` if another Kith has
/// just taken it for one that is nobody's: its name leads to another file then, or to none.
///
/// Without this, a second profile that adopts the part would write into the same file.
fn is_ours(folder: &Dir, name: &str, file: &File, found: &Metadata) -> bool {
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => false,
        // Where there are no locks, nobody can find it unlocked either.
        Ok(()) | Err(TryLockError::Error(_)) => {
            is_named(folder, name, (found.dev(), found.ino())).unwrap_or(false)
        }
    }
}

/// Permissions of a received file: nothing becomes setuid, and its owner can always read it.
fn with_owner(mode: u32) -> u32 {
    mode & 0o777 | 0o400
}

impl PartSync {
    /// Returns once every chunk written before the call survives a power cut.
    ///
    /// # Errors
    /// `PartGone` if the part file was removed; `NoSpace`, `Failing` and others where the
    /// filesystem notices only now.
    pub fn sync(&self) -> Result<(), DiskError> {
        self.shared.sync()
    }

    /// Has the system forget what it keeps in memory of these synced chunks. It otherwise takes ever
    /// new memory for a large file, and pushes out for it what others want to read soon; the memory
    /// that was just let go of is the cheapest to write the next chunks into (on a virtual machine,
    /// writing then costs a quarter of the processor time).
    ///
    /// Advice only: where it is refused, writing is slower and nothing else.
    #[cfg(target_os = "linux")]
    pub fn release(&self, chunks: &RangeSet) {
        for &(first, end) in chunks.ranges() {
            let bytes = |chunk: u64| chunk.saturating_mul(CHUNK as u64).min(self.shared.size);
            let (from, to) = (bytes(first), bytes(end));
            if let Some(len) = NonZeroU64::new(to.saturating_sub(from)) {
                let advice = rustix::fs::Advice::DontNeed;
                let _ = rustix::fs::fadvise(&self.shared.file, from, Some(len), advice);
            }
        }
    }

    /// This system takes no such advice.
    #[cfg(not(target_os = "linux"))]
    pub fn release(&self, _: &RangeSet) {}

    /// Whether the part is being finished or discarded, or was: a sync that fails then says nothing,
    /// and whoever ends the part sees what does.
    pub fn is_over(&self) -> bool {
        self.shared.over.load(Ordering::Acquire)
    }
}

impl Shared {
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// The bytes and the attributes survive a power cut.
    pub(super) fn sync_file(&self) -> Result<(), DiskError> {
        self.file.sync_all().map_err(|e| self.fail(e))
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.file.sync_data().map_err(|e| self.fail(e))?;
        if !self.rooted.load(Ordering::Acquire) {
            sync_folder(&self.folder.dir).map_err(|e| self.fail(e))?;
            self.rooted.store(true, Ordering::Release);
        }
        self.check_linked().map(drop)
    }

    /// Bytes in a file that nobody can open any more are not worth receiving.
    fn check_linked(&self) -> Result<Metadata, DiskError> {
        let now = self.file.metadata().map_err(|e| self.fail(e))?;
        if self.named && now.nlink() == 0 {
            return Err(DiskError::PartGone {
                path: self.path.clone(),
            });
        }
        Ok(now)
    }

    fn fail(&self, error: impl Into<std::io::Error>) -> DiskError {
        DiskError::target(&self.path, error)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("path", &self.path)
            .field("size", &self.size)
            .finish()
    }
}
