//! A part file whose fetch nobody knows any more is taken over by a new fetch of the same file.
//!
//! Nothing says that the content is right: its name alone tells what it might be. Who adopts it
//! compares the hash of the whole file in the end, as for every file.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use kith_protocol::ranges::RangeSet;
use rustix::fs::{OFlags, SeekFrom};
use rustix::io::Errno;

use super::folder::move_part;
use super::names::{parse_part, part_name, part_stem};
use super::target::sync_folder;
use super::{CHUNK, DiskError, PartTag, SafePath, Target, chunk_count};

/// Names of one folder that are looked at.
const MOST_NAMES: usize = 1 << 18;
/// A part that seems open is tried so often …
const CLAIMS: u32 = 5;
/// … with so much time between: a process that we start has all our handles, also of what was closed
/// since, until it is the program that was meant.
const CLAIM_AGAIN: Duration = Duration::from_millis(10);
/// Parts of one file that are compared.
const MOST_PARTS: usize = 16;

/// Looks for parts in the folders of one fetch; each is read once.
pub struct Adoption<'a> {
    target: &'a Target,
    /// Tags of the parts in a folder, by the beginning of the final name.
    folders: HashMap<String, HashMap<String, Vec<u64>>>,
}

/// A part file that nobody has open, and nobody else opens while this lasts.
pub(super) struct Claimed {
    pub file: File,
    pub found: Metadata,
}

struct Found {
    part: Claimed,
    folder: Dir,
    name: String,
    have: RangeSet,
}

impl<'a> Adoption<'a> {
    /// For a fetch into this folder.
    pub fn new(target: &'a Target) -> Self {
        Self {
            target,
            folders: HashMap::new(),
        }
    }

    /// Gives the part with most data the name of our part of `rel`, and says which chunks are there:
    /// all bytes of those were written once, by whomever. `None` where there is no such part.
    ///
    /// It may lie in the folder of `rel` or in those of `elsewhere`, which are other paths of the same
    /// file. Parts that `is_used` or that somebody has open are left alone, and so is whatever is no
    /// plain file of ours with one name. A part of ours that has the right name stays where it is.
    ///
    /// # Errors
    /// Those of making it durable.
    pub fn adopt(
        &mut self,
        rel: &SafePath,
        elsewhere: &[SafePath],
        tag: PartTag,
        size: u64,
        mut is_used: impl FnMut(PartTag) -> bool,
    ) -> Result<Option<RangeSet>, DiskError> {
        let mut best: Option<Found> = None;
        for place in std::iter::once(rel).chain(elsewhere) {
            let tags = self.tags(place);
            if tags.is_empty() {
                continue;
            }
            let Ok(folder) = self.target.existing_folder_of(place) else {
                continue;
            };
            for found in tags.into_iter().take(MOST_PARTS) {
                let own = found == tag.0 && place == rel;
                if !own && is_used(PartTag(found)) {
                    continue;
                }
                let name = part_name(rel.file_name(), found);
                let Some(part) = claim(&folder, &name).filter(|p| p.found.len() <= size) else {
                    continue;
                };
                let have = written(&part.file, part.found.len(), size);
                if own {
                    // No other can have its name.
                    let path = || self.target.path_of(rel).with_file_name(&name);
                    let synced = part.file.sync_data();
                    synced.map_err(|e| DiskError::target(&path(), e))?;
                    return Ok(Some(have).filter(|have| !have.is_empty()));
                }
                let most = best.as_ref().map_or(0, |best| best.have.count());
                if have.count() > most {
                    let folder = folder.try_clone();
                    best = folder.ok().map(|folder| Found {
                        part,
                        folder,
                        name,
                        have,
                    });
                }
            }
        }
        best.map_or(Ok(None), |found| self.take(rel, tag, found))
    }

    fn take(
        &self,
        rel: &SafePath,
        tag: PartTag,
        found: Found,
    ) -> Result<Option<RangeSet>, DiskError> {
        let own = part_name(rel.file_name(), tag.0);
        let path = self.target.path_of(rel).with_file_name(&own);
        let fail = |e: std::io::Error| DiskError::target(&path, e);
        let to = self.target.folder_of(rel)?;
        let id = (found.part.found.dev(), found.part.found.ino());
        let moved = {
            let mut names = self.target.names();
            names.with_own_change(&to.dir, || {
                move_part((&found.folder, &found.name, id), (&to.dir, &own))
            })
        };
        match moved {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) => {
                // Without it the file is fetched from its beginning.
                tracing::debug!(%error, "a part file is not adopted");
                return Ok(None);
            }
        }
        // It is about to be recorded that these chunks are there.
        found.part.file.sync_data().map_err(fail)?;
        sync_folder(&to.dir).map_err(fail)?;
        Ok(Some(found.have))
    }

    /// Of the parts that could be of this file. What cannot be read holds none.
    fn tags(&mut self, rel: &SafePath) -> Vec<u64> {
        let parent = rel.parent();
        let parent = parent.as_ref().map_or("", |parent| parent.as_str());
        if !self.folders.contains_key(parent) {
            let parts = self.target.existing_folder_of(rel);
            let parts = parts.ok().map(|folder| parts_in(&folder));
            self.folders
                .insert(parent.to_owned(), parts.unwrap_or_default());
        }
        let parts = self.folders.get(parent);
        let tags = parts.and_then(|parts| parts.get(part_stem(rel.file_name())));
        tags.cloned().unwrap_or_default()
    }
}

fn parts_in(folder: &Dir) -> HashMap<String, Vec<u64>> {
    let mut parts: HashMap<String, Vec<u64>> = HashMap::new();
    let Ok(entries) = folder.entries() else {
        return parts;
    };
    for entry in entries.take(MOST_NAMES).flatten() {
        let name = entry.file_name();
        if let Some((stem, tag)) = name.to_str().and_then(parse_part) {
            parts.entry(stem.to_owned()).or_default().push(tag);
        }
    }
    // The order of a folder says nothing.
    parts.values_mut().for_each(|tags| tags.sort_unstable());
    parts
}

/// Takes the part of this name, unless it is in use or no part of ours.
pub(super) fn claim(folder: &Dir, name: &str) -> Option<Claimed> {
    let mut options = OpenOptions::new();
    // A pipe that somebody put there is not waited for.
    options
        .read(true)
        .write(true)
        .follow(FollowSymlinks::No)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let file = folder.open_with(name, &options).ok()?.into_std();
    let found = file.metadata().ok()?;
    let ours = found.uid() == rustix::process::geteuid().as_raw();
    if !found.is_file() || found.nlink() != 1 || !ours {
        return None;
    }
    for _ in 0..CLAIMS {
        match file.try_lock() {
            Err(std::fs::TryLockError::WouldBlock) => std::thread::sleep(CLAIM_AGAIN),
            // Where there are no locks, nothing says that it is in use.
            Ok(()) | Err(std::fs::TryLockError::Error(_)) => return Some(Claimed { file, found }),
        }
    }
    None
}

/// The chunks of a file of `size` bytes whose every byte was written in these `len` ones: parts are
/// written in any order, and what lies between is a hole.
fn written(file: &File, len: u64, size: u64) -> RangeSet {
    let mut have = RangeSet::new();
    let mut at = 0;
    while at < len {
        let (start, end) = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(start) => {
                let hole = rustix::fs::seek(file, SeekFrom::Hole(start));
                (start, hole.unwrap_or(len).min(len))
            }
            // Nothing but a hole follows.
            Err(Errno::NXIO) => return have,
            // The filesystem does not tell.
            Err(_) => (at, len),
        };
        let first = start.div_ceil(CHUNK as u64);
        let last = match end == size {
            true => chunk_count(size),
            false => end / CHUNK as u64,
        };
        if first < last {
            have.insert(first, last);
        }
        if end <= at {
            return have;
        }
        at = end;
    }
    have
}
