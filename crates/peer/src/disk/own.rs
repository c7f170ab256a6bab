//! A folder that one fetch alone fills.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use super::{DiskError, SafePath, Target};

/// Nobody else takes the folder for one that is free while this lives.
#[derive(Debug)]
pub struct OwnFolder(#[allow(dead_code, reason = "it is locked for as long as it is open")] File);

impl Target {
    /// Makes a folder, or takes one that is there and has no file in it nor below: a fetch that was killed
    /// before anything of it was recorded leaves such. `None` if it is somebody's. It is looked into as
    /// far as `most` folders.
    ///
    /// # Errors
    /// As [`create_dir`](Self::create_dir).
    pub fn own_folder(&self, rel: &SafePath, most: usize) -> Result<Option<OwnFolder>, DiskError> {
        let path = self.path_of(rel);
        let made = match std::fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() && is_hollow(&path, most) => false,
            Ok(_) => return Ok(None),
            Err(_) if self.create_dir(rel)? => true,
            Err(_) => return Ok(None),
        };
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(flags.bits().cast_signed());
        let folder = options
            .open(&path)
            .map_err(|e| DiskError::target(&path, e))?;
        let own = match folder.try_lock() {
            // It may have been filled until it was locked.
            Ok(()) => made || is_hollow(&path, most),
            Err(TryLockError::WouldBlock) => false,
            // The filesystem has no locks: then only what is new is nobody's.
            Err(TryLockError::Error(_)) => made,
        };
        Ok(own.then_some(OwnFolder(folder)))
    }
}

/// Whether there are only folders in it, and not more than so many.
fn is_hollow(folder: &Path, most: usize) -> bool {
    let (mut open, mut seen) = (vec![folder.to_path_buf()], 0);
    while let Some(folder) = open.pop() {
        let Ok(entries) = std::fs::read_dir(folder) else {
            return false;
        };
        for entry in entries {
            seen += 1;
            let dir = entry
                .ok()
                .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
            let Some(dir) = dir.filter(|_| seen <= most) else {
                return false;
            };
            open.push(dir.path());
        }
    }
    true
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

    use super::*;

    #[test]
    fn only_what_is_new_or_hollow_is_taken_and_once() {
        let temp = tempfile::tempdir().unwrap();
        let target = Target::open(temp.path()).unwrap();
        let own = |name: &str| {
            let rel = SafePath::from_wire(name).unwrap();
            target.own_folder(&rel, 3).unwrap()
        };
        let at = |name: &str| temp.path().join(name);
        let new = own("new").unwrap();
        assert!(own("new").is_none(), "somebody is at it");
        drop(new);
        assert!(own("new").is_some());
        std::fs::create_dir_all(at("deep/a/b/c")).unwrap();
        assert!(own("deep").is_some());
        std::fs::create_dir_all(at("deep/d")).unwrap();
        assert!(own("deep").is_none(), "more than are looked at");
        std::fs::create_dir_all(at("full/a")).unwrap();
        std::fs::write(at("full/a/x"), "mine").unwrap();
        assert!(own("full").is_none());
        std::fs::write(at("file"), "mine").unwrap();
        assert!(own("file").is_none());
        std::os::unix::fs::symlink(at("new"), at("link")).unwrap();
        assert!(own("link").is_none());
    }
}
