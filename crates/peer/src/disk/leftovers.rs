//! Part files that belong to no fetch: seen, and removed with the user's word.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cap_fs_ext::DirExt;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use rustix::fs::AtFlags;

use super::adopt::claim;
use super::folder::is_named;
use super::names::parse_part;
use super::{DiskError, PartTag};

/// Folders below a folder that are looked into.
const MOST_DEPTH: usize = 32;
/// Names that are looked at: a folder of downloads may hold whole trees.
const MOST_LOOKED: usize = 200_000;

/// A part file that belongs to no fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Where it is.
    pub path: PathBuf,
    /// Bytes that it takes.
    pub bytes: u64,
    /// How long ago something was written to it.
    pub age: Duration,
}

/// What a look at a folder found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// By path.
    pub parts: Vec<Leftover>,
    /// There was too much to look at all of it.
    pub cut: bool,
}

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Files that are gone.
    pub files: u64,
    /// Bytes that they took.
    pub bytes: u64,
    /// Files that the system did not let go.
    pub kept: u64,
}

/// Looks for part files in a folder and below it that are not `is_used`. Those that somebody has open
/// are left out. No link is followed, and what cannot be read is passed over.
///
/// # Errors
/// Where the folder itself cannot be read.
pub fn leftovers(dir: &Path, is_used: impl FnMut(PartTag) -> bool) -> Result<Leftovers, DiskError> {
    let mut parts = Vec::new();
    let cut = walk(dir, is_used, |_, _, leftover| parts.push(leftover))?;
    parts.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Leftovers { parts, cut })
}

/// Removes those of the [`leftovers`] of a folder that are `meant`. Each is looked at anew: what is
/// used by now, or is something else, stays.
///
/// # Errors
/// As [`leftovers`].
pub fn remove_leftovers(
    dir: &Path,
    is_used: impl FnMut(PartTag) -> bool,
    meant: impl Fn(&Path) -> bool,
) -> Result<Removed, DiskError> {
    let mut removed = Removed::default();
    walk(dir, is_used, |folder, name, leftover| {
        if !meant(&leftover.path) {
            return;
        }
        match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
            Ok(()) => {
                removed.files += 1;
                removed.bytes += leftover.bytes;
            }
            Err(error) => {
                tracing::debug!(%error, "a part file is not removed");
                removed.kept += 1;
            }
        }
    })?;
    Ok(removed)
}

/// Calls `visit` for each leftover, with its open folder and its name there; nobody else has it open
/// meanwhile. Says whether there was too much to look at all of it.
fn walk(
    dir: &Path,
    is_used: impl FnMut(PartTag) -> bool,
    visit: impl FnMut(&Dir, &str, Leftover),
) -> Result<bool, DiskError> {
    let fail = |e: std::io::Error| DiskError::target(dir, e);
    let root = std::fs::canonicalize(dir).map_err(fail)?;
    let open = Dir::open_ambient_dir(&root, ambient_authority()).map_err(fail)?;
    let mut walk = Walk {
        is_used,
        visit,
        looked: 0,
        cut: false,
    };
    walk.folder(&open, &root, 0).map_err(fail)?;
    Ok(walk.cut)
}

struct Walk<U, V> {
    is_used: U,
    visit: V,
    looked: usize,
    cut: bool,
}

impl<U: FnMut(PartTag) -> bool, V: FnMut(&Dir, &str, Leftover)> Walk<U, V> {
    fn folder(&mut self, folder: &Dir, path: &Path, depth: usize) -> io::Result<()> {
        for entry in folder.entries()?.flatten() {
            self.looked += 1;
            if self.looked > MOST_LOOKED {
                self.cut = true;
                return Ok(());
            }
            let name = entry.file_name();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if depth == MOST_DEPTH {
                    self.cut = true;
                } else if let Ok(below) = folder.open_dir_nofollow(&name) {
                    let path = path.join(&name);
                    if let Err(error) = self.folder(&below, &path, depth + 1) {
                        tracing::debug!(%error, "a folder is not looked into");
                    }
                }
            } else if let Some(name) = name.to_str() {
                self.file(folder, path, name);
            }
        }
        Ok(())
    }

    fn file(&mut self, folder: &Dir, path: &Path, name: &str) {
        let Some((_, tag)) = parse_part(name) else {
            return;
        };
        if (self.is_used)(PartTag(tag)) {
            return;
        }
        let Some(part) = claim(folder, name) else {
            return;
        };
        // Somebody may have put another there since it was opened.
        let id = (part.found.dev(), part.found.ino());
        if is_named(folder, name, id).unwrap_or(false) {
            let leftover = Leftover {
                path: path.join(name),
                bytes: part
                    .found
                    .len()
                    .min(part.found.blocks().saturating_mul(512)),
                age: age(&part.found),
            };
            (self.visit)(folder, name, leftover);
        }
    }
}

fn age(found: &std::fs::Metadata) -> Duration {
    let now = SystemTime::now();
    let written = found.modified().unwrap_or(now);
    now.duration_since(written).unwrap_or_default()
}
