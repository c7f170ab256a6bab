//! A file that is complete and verified, and waits for its name.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::io::Errno;

use super::folder::{FileId, PlaceError, is_named};
use super::part::Shared;
use super::target::{Folder, readable, sync_folder};
use super::{DiskError, SafePath, Target};

/// Files of this many bytes are synced by themselves, not with all else on their filesystem.
const LARGE: u64 = 1024 * 1024;

/// A complete file under the name of its part, with its attributes. A small one holds no handle of
/// the process's limit, so that many can wait for each other: they get their names together.
#[derive(Debug)]
pub struct WholeFile {
    pub(super) target: Target,
    pub(super) rel: SafePath,
    /// The part's name.
    pub(super) name: String,
    pub(super) folder: Arc<Folder>,
    pub(super) path: PathBuf,
    /// Device and inode of what was written.
    pub(super) id: FileId,
    /// What is synced by itself.
    pub(super) own: Option<Arc<Shared>>,
}

impl WholeFile {
    /// Whether a file of this size is synced by itself: everywhere where no filesystem can be.
    pub(super) fn is_synced_alone(size: u64) -> bool {
        size >= LARGE || !cfg!(target_os = "linux")
    }

    /// Gives files their names, durably, and says which those are, in the order given: `name (1).ext`
    /// and so on where a file of that name (case and composition aside) exists. Nothing is ever
    /// replaced. All small files of a filesystem share its two syncs.
    ///
    /// # Errors
    /// Of each by itself: `PartGone` if its part was removed or replaced, `NoFreeName`, `NoSpace`,
    /// `Failing`. The part is still where it was then, unless only making the new name durable
    /// failed.
    pub fn name_all(files: &[Self]) -> Vec<Result<SafePath, DiskError>> {
        let mut synced = Synced::default();
        // No file may carry its name before its bytes are durable.
        let written = files.iter().map(|file| match &file.own {
            Some(own) => own.sync_file(),
            None => synced.filesystem(file),
        });
        let written: Vec<_> = written.collect();
        let placed = files.iter().zip(written);
        let placed: Vec<_> = placed
            .map(|(file, written)| written.and_then(|()| file.place()))
            .collect();
        let mut synced = Synced::default();
        let named = files.iter().zip(placed).map(|(file, placed)| {
            let name = placed?;
            match &file.own {
                Some(_) => sync_folder(&file.folder.dir).map_err(|e| file.fail(e))?,
                None => synced.filesystem(file)?,
            }
            Ok(name)
        });
        named.collect()
    }

    /// Whether it is synced by itself.
    pub fn is_large(&self) -> bool {
        self.own.is_some()
    }

    /// Removes it. If it is gone already, or another file has its name, that is left so.
    pub fn discard(self) -> Result<(), DiskError> {
        let mut names = self.target.names();
        let removed = names.remove(&self.folder.dir, &self.name, self.id);
        removed.map_err(|e| self.fail(e))
    }

    fn place(&self) -> Result<SafePath, DiskError> {
        let mut names = self.target.names();
        let named = is_named(&self.folder.dir, &self.name, self.id);
        if !named.map_err(|e| self.fail(e))? {
            return Err(DiskError::PartGone {
                path: self.path.clone(),
            });
        }
        names
            .place(&self.folder.dir, &self.name, self.rel.file_name())
            .map(|name| self.rel.with_file_name(&name))
            .map_err(|error| match error {
                PlaceError::NoFreeName => DiskError::NoFreeName {
                    path: self.path.clone(),
                },
                PlaceError::Io(error) => self.fail(error),
            })
    }

    fn fail(&self, error: impl Into<std::io::Error>) -> DiskError {
        DiskError::target(&self.path, error)
    }
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
        let answer = *self.0.entry(file.id.0).or_insert_with(sync);
        answer.map_err(|errno| file.fail(errno))
    }

    /// This system cannot: every file is synced by itself.
    #[cfg(not(target_os = "linux"))]
    fn filesystem(&mut self, _: &WholeFile) -> Result<(), DiskError> {
        Ok(())
    }
}
