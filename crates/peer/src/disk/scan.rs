//! From paths on a command line to a flat manifest.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use super::names::{fold, numbered};
use super::target::ModTime;
use super::{DiskError, SafePath};

/// Most entries in one scan.
pub const MAX_ENTRIES: usize = 1_000_000;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder; every folder is listed, the empty ones too.
    Dir,
}

/// One file or folder to offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceEntry {
    /// Relative, `/` between components, beginning with the last component of the given path.
    /// Always accepted by [`SafePath::from_wire`].
    pub wire_path: String,
    /// File or folder.
    pub kind: EntryKind,
    /// Bytes; 0 for a folder.
    pub size: u64,
    /// Permission bits, at most 0o777.
    pub mode: u32,
    /// Last modification.
    pub mtime: ModTime,
    /// Where it is here; absolute. Never leaves this machine.
    pub real: PathBuf,
}

/// Something that is not offered although it lies under a given path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Where it is.
    pub real: PathBuf,
    /// Why it stays.
    pub reason: SkipReason,
}

/// Why something is not offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SkipReason {
    /// A symbolic link inside a folder; where it leads may not be meant to be shared.
    #[error("it is a symbolic link")]
    Link,
    /// A device, socket or pipe.
    #[error("it is neither a file nor a folder")]
    Special,
    /// Its name is no valid UTF-8.
    #[error("its name is not valid text")]
    NotText,
    /// No receiver accepts a path this deep or long.
    #[error("its path is too deep or too long")]
    TooLong,
    /// It disappeared while the folder was being read.
    #[error("it disappeared while the folder was read")]
    Vanished,
}

/// What [`scan`] finds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scan {
    /// Sorted by `wire_path`, so a folder comes before what it holds.
    pub entries: Vec<SourceEntry>,
    /// What is left out, sorted by path.
    pub skipped: Vec<Skipped>,
}

/// Lists files and folders for an offer.
///
/// A given path that is a symbolic link is followed, one inside a folder is skipped. Given paths
/// whose last components are equal (case and composition aside) get ` (1)`, ` (2)`… in the order
/// given.
///
/// # Errors
/// `SourceMissing` for a given path that does not exist, `Denied` for the first file or folder that
/// cannot be read, `TooMany` beyond [`MAX_ENTRIES`].
pub fn scan(paths: &[PathBuf]) -> Result<Scan, DiskError> {
    let mut found = Scan::default();
    let mut taken = HashSet::new();
    for path in paths {
        let root = fs::canonicalize(path).map_err(|e| DiskError::source(path, e))?;
        match given_name(path, &root).to_str() {
            Some(name) => walk(&root, &distinct(name, &mut taken), &mut found)?,
            None => found.skip(&root, SkipReason::NotText),
        }
    }
    found.entries.sort_by(|a, b| a.wire_path.cmp(&b.wire_path));
    found.skipped.sort_by(|a, b| a.real.cmp(&b.real));
    Ok(found)
}

impl Scan {
    /// Bytes in all files together.
    pub fn total(&self) -> u64 {
        self.entries
            .iter()
            .map(|entry| entry.size)
            .fold(0, u64::saturating_add)
    }

    fn skip(&mut self, real: &Path, reason: SkipReason) {
        self.skipped.push(Skipped {
            real: real.to_path_buf(),
            reason,
        });
    }
}

/// The name as the user wrote it, or the real one where they wrote `.`, `..` or `/`.
fn given_name<'a>(path: &'a Path, root: &'a Path) -> &'a OsStr {
    match path.components().next_back() {
        Some(Component::Normal(name)) => name,
        _ => root.file_name().unwrap_or(OsStr::new("files")),
    }
}

fn distinct(name: &str, taken: &mut HashSet<String>) -> String {
    let mut wire = name.to_owned();
    let mut n = 0;
    while !taken.insert(fold(&wire)) {
        n += 1;
        wire = numbered(name, n);
    }
    wire
}

fn walk(root: &Path, top: &str, found: &mut Scan) -> Result<(), DiskError> {
    let mut walk = WalkDir::new(root)
        .follow_links(false)
        .sort_by_file_name()
        .into_iter();
    while let Some(next) = walk.next() {
        let entry = match next {
            Ok(entry) => entry,
            Err(error) => {
                let path = error.path().unwrap_or(root).to_path_buf();
                let inside = error.depth() > 0;
                let error = error
                    .into_io_error()
                    .unwrap_or_else(|| io::Error::other("a loop"));
                if inside && error.kind() == io::ErrorKind::NotFound {
                    found.skip(&path, SkipReason::Vanished);
                    continue;
                }
                return Err(DiskError::source(&path, error));
            }
        };
        if found.entries.len() + found.skipped.len() >= MAX_ENTRIES {
            return Err(DiskError::TooMany {
                path: entry.path().to_path_buf(),
            });
        }
        match describe(&entry, root, top)? {
            Ok(entry) => found.entries.push(entry),
            Err(reason) => {
                found.skip(entry.path(), reason);
                if entry.file_type().is_dir() {
                    walk.skip_current_dir();
                }
            }
        }
    }
    Ok(())
}

/// The outer error ends the scan, the inner one leaves this entry out.
fn describe(
    entry: &DirEntry,
    root: &Path,
    top: &str,
) -> Result<Result<SourceEntry, SkipReason>, DiskError> {
    let real = entry.path();
    let Some(wire_path) = wire_path(real, root, top) else {
        return Ok(Err(SkipReason::NotText));
    };
    let file_type = entry.file_type();
    if file_type.is_symlink() {
        return Ok(Err(SkipReason::Link));
    }
    if !file_type.is_file() && !file_type.is_dir() {
        return Ok(Err(SkipReason::Special));
    }
    if SafePath::from_wire(&wire_path).is_err() {
        return Ok(Err(SkipReason::TooLong));
    }
    let inside = entry.depth() > 0;
    let metadata = match fs::symlink_metadata(real) {
        Ok(metadata) => metadata,
        Err(e) if inside && e.kind() == io::ErrorKind::NotFound => {
            return Ok(Err(SkipReason::Vanished));
        }
        Err(e) => return Err(DiskError::source(real, e)),
    };
    let kind = if metadata.is_dir() {
        EntryKind::Dir
    } else {
        EntryKind::File
    };
    if kind == EntryKind::File {
        // Better now, with the name, than in the middle of the transfer.
        rustix::fs::access(real, rustix::fs::Access::READ_OK)
            .map_err(|e| DiskError::source(real, e))?;
    }
    Ok(Ok(SourceEntry {
        wire_path,
        kind,
        size: file_size(kind, &metadata),
        mode: metadata.mode() & 0o777,
        mtime: ModTime::of(&metadata),
        real: real.to_path_buf(),
    }))
}

fn wire_path(real: &Path, root: &Path, top: &str) -> Option<String> {
    let mut wire = top.to_owned();
    for component in real.strip_prefix(root).ok()?.components() {
        wire.push('/');
        wire.push_str(component.as_os_str().to_str()?);
    }
    Some(wire)
}

fn file_size(kind: EntryKind, metadata: &Metadata) -> u64 {
    match kind {
        EntryKind::File => metadata.len(),
        EntryKind::Dir => 0,
    }
}
