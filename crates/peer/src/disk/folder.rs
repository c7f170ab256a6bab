//! Giving a finished file its name without ever replacing another.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::hash::BuildHasher;
use std::io;

use cap_std::fs::{Dir, MetadataExt};
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::names::{fold, is_part_name, numbered};
use super::unnamed;

/// Numbered names tried before giving up.
const MAX_ATTEMPTS: u32 = 10_000;
/// Names remembered over all folders; a folder beyond this is not compared by folded name.
const MAX_REMEMBERED: usize = 1 << 20;

/// The folded names in the folders that files arrive in.
///
/// What protects an existing file is the rename that refuses to replace. This memory only widens
/// "taken" to names that differ in case or composition, which another filesystem may hold to be
/// one, without reading a folder again for each of its thousands of files. A folder that somebody
/// else changed (its modification time tells) is read anew.
#[derive(Default)]
pub(super) struct FolderNames {
    folders: HashMap<FileId, Known>,
    remembered: usize,
    hasher: RandomState,
}

/// Device and inode.
pub(super) type FileId = (u64, u64);

struct Known {
    stamp: Stamp,
    /// Keyed hashes of folded names: a collision costs a needless number, nothing else.
    names: HashSet<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    seconds: i64,
    nanos: i64,
}

/// A finished file, and the name that it is to have.
pub(super) struct Part<'a> {
    pub at: At<'a>,
    pub wanted: &'a str,
}

/// Where a finished file is.
pub(super) enum At<'a> {
    /// Under the name of its part, if that still leads to it.
    Named(&'a str, FileId),
    /// In an open handle alone.
    Unnamed(&'a File),
    /// Under the name already.
    Placed,
}

/// Why a finished file has no name.
pub(super) enum PlaceError {
    /// The part was removed, or its name leads to another file.
    Gone,
    /// Every number is taken.
    NoFreeName,
    /// The system's answer.
    Io(io::Error),
}

impl From<io::Error> for PlaceError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Errno> for PlaceError {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

impl FolderNames {
    /// Gives each file the name that is wanted for it, or the first free numbered form of that, and says
    /// which. All are for `folder`, which is looked at once for all of them.
    pub(super) fn place_all<'a>(
        &mut self,
        folder: &Dir,
        parts: impl Iterator<Item = Part<'a>>,
    ) -> Vec<Result<String, PlaceError>> {
        let known = self.learn(folder);
        let placed = parts.map(|part| match &known {
            Ok(id) => self.place(*id, folder, &part),
            Err(error) => Err(again(error).into()),
        });
        let placed = placed.collect();
        if let Ok(id) = known {
            self.changed(id, folder);
        }
        placed
    }

    fn place(&mut self, id: FileId, folder: &Dir, part: &Part<'_>) -> Result<String, PlaceError> {
        match part.at {
            At::Placed => return Ok(part.wanted.to_owned()),
            At::Named(name, id) if !is_named(folder, name, id)? => return Err(PlaceError::Gone),
            At::Named(..) | At::Unnamed(_) => {}
        }
        let mut name = part.wanted.to_owned();
        for n in 1..=MAX_ATTEMPTS {
            let key = self.hasher.hash_one(fold(&name));
            if !self.has(id, key) {
                let placed = match part.at {
                    At::Named(from, _) => rename_new(folder, from, &name),
                    At::Unnamed(file) => unnamed::link(file, folder, &name),
                    At::Placed => Ok(true),
                };
                self.remember(id, key);
                if placed? {
                    return Ok(name);
                }
            }
            name = numbered(part.wanted, n);
        }
        Err(PlaceError::NoFreeName)
    }

    /// Removes a part file, unless the name leads to another file by now, or to none.
    pub(super) fn remove(&mut self, folder: &Dir, part: &str, id: FileId) -> io::Result<()> {
        if !is_named(folder, part, id).unwrap_or(false) {
            return Ok(());
        }
        self.with_own_change(folder, || {
            Ok(rustix::fs::unlinkat(folder, part, AtFlags::empty())?)
        })
    }

    /// Runs a change of our own, so that it does not pass for somebody else's.
    pub(super) fn with_own_change<T>(
        &mut self,
        folder: &Dir,
        change: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let (id, before) = identify(folder)?;
        let result = change();
        let known = self.folders.get(&id);
        if known.is_some_and(|known| known.stamp == before) {
            self.changed(id, folder);
        }
        result
    }

    /// What is remembered of a folder still holds after a change of our own.
    fn changed(&mut self, id: FileId, folder: &Dir) {
        match (identify(folder), self.folders.get_mut(&id)) {
            (Ok((_, stamp)), Some(known)) => known.stamp = stamp,
            (Ok(_), None) => {}
            (Err(_), _) => self.forget(id),
        }
    }

    fn forget(&mut self, id: FileId) {
        if let Some(old) = self.folders.remove(&id) {
            self.remembered -= old.names.len();
        }
    }

    /// Makes sure that the folder's names are known.
    fn learn(&mut self, folder: &Dir) -> io::Result<FileId> {
        let (id, stamp) = identify(folder)?;
        if self
            .folders
            .get(&id)
            .is_some_and(|known| known.stamp == stamp)
        {
            return Ok(id);
        }
        self.forget(id);
        if self.remembered >= MAX_REMEMBERED / 2 {
            self.folders.clear();
            self.remembered = 0;
        }
        let mut names = HashSet::new();
        for entry in folder.entries()? {
            let name = entry?.file_name();
            let name = name.to_string_lossy();
            if !is_part_name(&name) && self.remembered + names.len() < MAX_REMEMBERED {
                names.insert(self.hasher.hash_one(fold(&name)));
            }
        }
        self.remembered += names.len();
        self.folders.insert(id, Known { stamp, names });
        Ok(id)
    }

    fn has(&self, id: FileId, key: u64) -> bool {
        let known = self.folders.get(&id);
        known.is_some_and(|known| known.names.contains(&key))
    }

    fn remember(&mut self, id: FileId, key: u64) {
        if let Some(known) = self.folders.get_mut(&id)
            && self.remembered < MAX_REMEMBERED
            && known.names.insert(key)
        {
            self.remembered += 1;
        }
    }
}

/// The same error once more, of another file.
fn again(error: &io::Error) -> io::Error {
    error
        .raw_os_error()
        .map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// Whether the name in the folder leads to the file of this device and inode.
pub(super) fn is_named(folder: &Dir, name: &str, id: FileId) -> io::Result<bool> {
    let named = folder.symlink_metadata(name)?;
    Ok((named.dev(), named.ino()) == id)
}

fn identify(folder: &Dir) -> io::Result<(FileId, Stamp)> {
    let now = folder.dir_metadata()?;
    Ok((
        (now.dev(), now.ino()),
        Stamp {
            seconds: now.mtime(),
            nanos: now.mtime_nsec(),
        },
    ))
}

/// Renames within a folder; `false` if the new name exists.
fn rename_new(folder: &Dir, from: &str, to: &str) -> io::Result<bool> {
    match rustix::fs::renameat_with(folder, from, folder, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        // The filesystem (NFS, some FUSE) does not know the flag.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => link_new(folder, from, to),
        Err(error) => Err(error.into()),
    }
}

/// Moves a part file to a name of another fetch's, perhaps in another folder of the same filesystem;
/// `false` if it is not the file of this device and inode any more, or the new name exists.
pub(super) fn move_part(
    (folder, part, id): (&Dir, &str, FileId),
    (to, name): (&Dir, &str),
) -> io::Result<bool> {
    if !is_named(folder, part, id)? {
        return Ok(false);
    }
    match rustix::fs::renameat_with(folder, part, to, name, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        // The filesystem does not know the flag. The name is random: nobody else takes it meanwhile.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            if to.symlink_metadata(name).is_ok() {
                return Ok(false);
            }
            rustix::fs::renameat(folder, part, to, name)?;
            Ok(true)
        }
        Err(error) => Err(error.into()),
    }
}

/// As [`rename_new`], by a second link: making one never replaces either.
fn link_new(folder: &Dir, from: &str, to: &str) -> io::Result<bool> {
    match rustix::fs::linkat(folder, from, folder, to, AtFlags::empty()) {
        Ok(()) => {
            rustix::fs::unlinkat(folder, from, AtFlags::empty())?;
            Ok(true)
        }
        Err(Errno::EXIST) => Ok(false),
        Err(Errno::PERM | Errno::NOSYS | Errno::OPNOTSUPP | Errno::MLINK) => {
            claim_new(folder, from, to)
        }
        Err(error) => Err(error.into()),
    }
}

/// As [`rename_new`], where there are no links either: an empty file, made only if the name is
/// free, is what the rename replaces. A crash between the two leaves it behind, empty.
fn claim_new(folder: &Dir, from: &str, to: &str) -> io::Result<bool> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    match rustix::fs::openat(folder, to, flags, Mode::RUSR | Mode::WUSR) {
        Ok(_claim) => {
            rustix::fs::renameat(folder, from, folder, to)?;
            Ok(true)
        }
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    type Rename = fn(&Dir, &str, &str) -> io::Result<bool>;

    #[test]
    fn no_way_of_renaming_replaces_a_file_or_follows_a_link() {
        let ways: [(&str, Rename); 3] = [
            ("flag", rename_new),
            ("link", link_new),
            ("claim", claim_new),
        ];
        for (way, rename) in ways {
            let temp = tempfile::tempdir().unwrap();
            let dir = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
            let at = |name: &str| temp.path().join(name);
            fs::write(at("part"), "new").unwrap();
            fs::write(at("taken"), "old").unwrap();
            symlink(at("outside"), at("dangling")).unwrap();
            assert!(!rename(&dir, "part", "taken").unwrap(), "{way}");
            assert!(!rename(&dir, "part", "dangling").unwrap(), "{way}");
            assert!(rename(&dir, "part", "free").unwrap(), "{way}");
            assert_eq!(fs::read(at("taken")).unwrap(), b"old", "{way}");
            assert_eq!(fs::read(at("free")).unwrap(), b"new", "{way}");
            assert!(!at("part").exists() && !at("outside").exists(), "{way}");
        }
    }
}
