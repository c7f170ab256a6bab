//! Files of a fetch that have their names already, of an earlier run that ended before it could say so.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;

use kith_protocol::tree::Tree;

use super::names::{numbered, part_name};
use super::whole::Waits;
use super::{Digest, DiskError, HeldFile, ModTime, PartFile, PartTag, SafePath, Target};
use super::{WholeFile, chunk_count};

/// Numbered names that are looked at for one file.
const MOST_NUMBERS: u32 = 100;
/// Some filesystems keep times no finer than this, in seconds.
const COARSE: i64 = 2;

/// Looks for complete files under the names that they were to have. Each is found for one entry.
pub struct Placed<'a> {
    target: &'a Target,
    taken: HashSet<String>,
}

/// A file that looks like a complete one of the fetch. That it is one, its hash says.
#[derive(Debug)]
pub struct PlacedFile {
    wanted: SafePath,
    rel: SafePath,
    size: u64,
}

impl<'a> Placed<'a> {
    /// `taken` are names that are known to be other entries'.
    pub fn new(target: &'a Target, taken: impl Iterator<Item = String>) -> Self {
        let taken = taken.collect();
        Self { target, taken }
    }

    /// A file under this name, or a numbered form of it, of that size and time.
    pub fn find(&mut self, wanted: &SafePath, size: u64, mtime: ModTime) -> Option<PlacedFile> {
        let mut rel = wanted.clone();
        for n in 1..=MOST_NUMBERS {
            let found = std::fs::symlink_metadata(self.target.path_of(&rel)).ok()?;
            let near = found.mtime().abs_diff(mtime.seconds) <= COARSE.unsigned_abs();
            let alike = found.is_file() && found.len() == size && near;
            if alike && self.taken.insert(rel.as_str().to_owned()) {
                let wanted = wanted.clone();
                return Some(PlacedFile { wanted, rel, size });
            }
            rel = wanted.with_file_name(&numbered(wanted.file_name(), n));
        }
        None
    }
}

impl PlacedFile {
    /// What it hashes to.
    ///
    /// # Errors
    /// As [`HeldFile::open`] and [`HeldFile::read_chunk`].
    pub fn root(&self, target: &Target) -> Result<Digest, DiskError> {
        let file = HeldFile::open(target, &self.rel, self.size)?;
        let mut tree = Tree::new();
        for index in 0..chunk_count(self.size) {
            tree.push(&file.read_chunk(index, 0)?.digest);
        }
        Ok(tree.root(self.size))
    }

    /// The same as a complete file that keeps its name, which may not be durable yet. Where names are
    /// given by a second link, its part may still be the first: that is removed.
    ///
    /// # Errors
    /// As [`HeldFile::open`].
    pub fn keep(self, target: &Target, tag: PartTag) -> Result<WholeFile, DiskError> {
        let file = HeldFile::open(target, &self.rel, self.size)?.into_file();
        let folder = target.folder_of(&self.rel)?;
        let path = target.path_of(&self.rel);
        let found = file.metadata().map_err(|e| DiskError::target(&path, e))?;
        let part = part_name(self.wanted.file_name(), tag.0);
        let removed = target
            .names()
            .remove(&folder.dir, &part, (found.dev(), found.ino()));
        removed.map_err(|e| DiskError::target(&path, e))?;
        let alone = WholeFile::is_synced_alone(self.size);
        Ok(WholeFile {
            target: target.clone(),
            rel: self.rel,
            folder,
            path,
            at: Waits::Placed(alone.then_some(file)),
        })
    }
}

impl PartFile {
    /// Whether the part of this fetch is there, and nothing else has become of it.
    pub fn is_there(target: &Target, rel: &SafePath, tag: PartTag) -> bool {
        let name = part_name(rel.file_name(), tag.0);
        let found = std::fs::symlink_metadata(target.path_of(rel).with_file_name(name));
        found.is_ok_and(|m| m.is_file() && m.nlink() == 1)
    }
}
