//! A file that is complete and verified, and waits for its name.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::io::Errno;

use super::folder::{At, FileId, Part, PlaceError};
use super::part::Shared;
use super::target::{Folder, readable, sync_folder};
use super::{DiskError, SafePath, Target};

/// Files of this many bytes are synced by themselves, not with all else on their filesystem.
const LARGE: u64 = 1024 * 1024;
/// Files that get their names in one go. Others who make files in that folder wait meanwhile, and to
/// take turns with them for every file costs more than the renaming.
const ROW: usize = 32;

/// A complete file with its attributes, which waits for its name. Small ones get theirs together.
#[derive(Debug)]
pub struct WholeFile {
    pub(super) target: Target,
    pub(super) rel: SafePath,
    pub(super) folder: Arc<Folder>,
    pub(super) path: PathBuf,
    pub(super) at: Waits,
}

/// Where a complete file waits.
#[derive(Debug)]
pub(super) enum Waits {
    /// Under the name of its part, with all else that is synced. It holds no handle of the process's
    /// limit.
    Named(String, FileId),
    /// Under the name of its part, and is synced by itself.
    Alone(String, FileId, Arc<Shared>),
    /// Nowhere but in its handle, with all else that is synced.
    Unnamed(Arc<Shared>),
    /// It has its name, but nobody has said so. With its handle if it is synced by itself.
    Placed(Option<File>),
}

impl WholeFile {
    /// Whether a file of this size is synced by itself: everywhere where no filesystem can be.
    pub(super) fn is_synced_alone(size: u64) -> bool {
        size >= LARGE || !cfg!(target_os = "linux")
    }

    /// Whether it is synced by itself.
    pub fn is_large(&self) -> bool {
        matches!(self.at, Waits::Alone(..) | Waits::Placed(Some(_)))
    }

    /// Removes it. If it is gone already, or another file has its name, that is left so.
    pub fn discard(self) -> Result<(), DiskError> {
        let removed = match &self.at {
            Waits::Named(name, id) | Waits::Alone(name, id, _) => {
                let mut names = self.target.names();
                names.remove(&self.folder.dir, name, *id)
            }
            // What was named stays.
            Waits::Unnamed(_) | Waits::Placed(_) => Ok(()),
        };
        removed.map_err(|e| self.fail(e))
    }

    /// Makes its bytes durable.
    fn sync_bytes(&self, synced: &mut Synced) -> Result<(), DiskError> {
        match &self.at {
            Waits::Alone(_, _, own) => own.sync_file(),
            Waits::Placed(Some(file)) => file.sync_all().map_err(|e| self.fail(e)),
            Waits::Named(..) | Waits::Unnamed(_) | Waits::Placed(None) => synced.filesystem(self),
        }
    }

    /// Makes its name durable.
    fn sync_name(&self, synced: &mut Synced) -> Result<(), DiskError> {
        match &self.at {
            Waits::Alone(..) | Waits::Placed(Some(_)) => {
                sync_folder(&self.folder.dir).map_err(|e| self.fail(e))
            }
            Waits::Named(..) | Waits::Unnamed(_) | Waits::Placed(None) => synced.filesystem(self),
        }
    }

    fn unplaced(&self, error: PlaceError) -> DiskError {
        let path = self.path.clone();
        match error {
            PlaceError::Gone => DiskError::PartGone { path },
            PlaceError::NoFreeName => DiskError::NoFreeName { path },
            PlaceError::Io(error) => self.fail(error),
        }
    }

    fn fail(&self, error: impl Into<std::io::Error>) -> DiskError {
        DiskError::target(&self.path, error)
    }
}

/// Gives files their names, durably, in rounds: `name (1).ext` and so on where a file of that name (case
/// and composition aside) exists. Nothing is ever replaced. `K` says which file is meant.
///
/// All small files of a filesystem share its syncs, and each round has one: it makes the names of the
/// round before durable, and the bytes of the files that get theirs in this one.
#[derive(Debug)]
pub struct Naming<K> {
    /// Under their names, which a power cut may still undo.
    placed: Vec<(K, WholeFile, SafePath)>,
}

impl<K> Default for Naming<K> {
    fn default() -> Self {
        Self { placed: Vec::new() }
    }
}

impl<K> Naming<K> {
    /// Whether no name waits for another round.
    pub fn is_idle(&self) -> bool {
        self.placed.is_empty()
    }

    /// Gives these files their names, and says which of those before, in any order, have theirs for
    /// good now, and which have failed.
    ///
    /// # Errors
    /// Of each by itself: `PartGone` if its part was removed or replaced, `NoFreeName`, `NoSpace`,
    /// `Failing`. The part is still where it was then, unless only making the new name durable
    /// failed.
    pub fn round(&mut self, files: Vec<(K, WholeFile)>) -> Vec<(K, Result<SafePath, DiskError>)> {
        let mut synced = Synced::default();
        // No file may carry its name before its bytes are durable.
        let mut written = Vec::with_capacity(files.len());
        let mut out = Vec::with_capacity(self.placed.len());
        for (key, file) in files {
            match file.sync_bytes(&mut synced) {
                Ok(()) => written.push((key, file)),
                Err(error) => out.push((key, Err(error))),
            }
        }
        for (key, file, name) in self.placed.drain(..) {
            let done = file.sync_name(&mut synced);
            out.push((key, done.map(|()| name)));
        }
        let mut names = Vec::with_capacity(written.len());
        for beside in written.chunk_by(|(_, a), (_, b)| Arc::ptr_eq(&a.folder, &b.folder)) {
            names.extend(beside.chunks(ROW).flat_map(place));
        }
        for ((key, file), name) in written.into_iter().zip(names) {
            match name {
                Ok(name) => {
                    let name = file.rel.with_file_name(&name);
                    self.placed.push((key, file, name));
                }
                Err(error) => out.push((key, Err(file.unplaced(error)))),
            }
        }
        out
    }
}

/// Gives names to files of one folder.
fn place<K>(row: &[(K, WholeFile)]) -> Vec<Result<String, PlaceError>> {
    let Some((_, first)) = row.first() else {
        return Vec::new();
    };
    let parts = row.iter().map(|(_, file)| Part {
        at: match &file.at {
            Waits::Named(name, id) | Waits::Alone(name, id, _) => At::Named(name, *id),
            Waits::Unnamed(own) => At::Unnamed(own.file()),
            Waits::Placed(_) => At::Placed,
        },
        wanted: file.rel.file_name(),
    });
    first.target.names().place_all(&first.folder.dir, parts)
}

/// The filesystems that were synced, and what came of it, by device.
#[derive(Default)]
struct Synced(HashMap<u64, Result<(), Errno>>);

impl Synced {
    /// Syncs the filesystem of `file`, once; a failure is that of all its files.
    #[cfg(target_os = "linux")]
    fn filesystem(&mut self, file: &WholeFile) -> Result<(), DiskError> {
        let sync = || {
            let folder = readable(&file.folder.dir);
            let folder = folder.map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
            rustix::fs::syncfs(folder)
        };
        let answer = *self.0.entry(file.folder.dev).or_insert_with(sync);
        answer.map_err(|errno| file.fail(errno))
    }

    /// This system cannot: every file is synced by itself.
    #[cfg(not(target_os = "linux"))]
    fn filesystem(&mut self, _: &WholeFile) -> Result<(), DiskError> {
        Ok(())
    }
}
