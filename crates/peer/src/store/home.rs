//! The home directory: who holds it, and which format lies in it.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use super::{Result, SCHEMA, StoreError};

/// How long a lock may look taken before it is believed to be.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(500);

/// A home that this process holds; given back when dropped.
#[derive(Debug)]
pub(super) struct Home {
    dir: PathBuf,
    /// An advisory lock: it goes with the process, however that ends.
    _lock: File,
}

impl Home {
    /// Makes the home where there is none, and takes it. A home of a newer format is refused
    /// before anything in it is touched.
    pub(super) fn claim(dir: &Path) -> Result<Self> {
        make_private(dir).map_err(StoreError::Denied)?;
        let lock = open_private(&dir.join("lock")).map_err(StoreError::Denied)?;
        patiently(|| match lock.try_lock() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse),
            Err(TryLockError::Error(e)) => Err(StoreError::Denied(e)),
        })?;
        let home = Home {
            dir: dir.to_path_buf(),
            _lock: lock,
        };
        if let Some(found) = home.schema()?
            && found > SCHEMA
        {
            return Err(StoreError::Newer {
                found,
                known: SCHEMA,
            });
        }
        make_private(&home.store()).map_err(StoreError::Denied)?;
        Ok(home)
    }

    /// Where the database lies.
    pub(super) fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// The format that was written here; none in a new home. Its presence also says that the
    /// database held something: an empty one beside it has lost its data.
    pub(super) fn schema(&self) -> Result<Option<u32>> {
        let text = match std::fs::read(self.dir.join("schema")) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(StoreError::Denied(e)),
        };
        std::str::from_utf8(&text)
            .ok()
            .and_then(|t| t.trim().parse().ok())
            .map(Some)
            .ok_or_else(|| StoreError::broken("the schema number is unreadable"))
    }

    /// Notes the format, durably.
    pub(super) fn set_schema(&self) -> Result<()> {
        let write = || {
            let draft = self.dir.join("schema.new");
            let mut file = open_private(&draft)?;
            file.set_len(0)?;
            writeln!(file, "{SCHEMA}")?;
            file.sync_all()?;
            std::fs::rename(&draft, self.dir.join("schema"))?;
            // The name is durable only once its directory is.
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(|e| {
            if e.kind() == ErrorKind::StorageFull {
                StoreError::DiskFull
            } else {
                StoreError::Denied(e)
            }
        })
    }
}

/// Tries again for a moment while something is in use. A process that this one starts holds copies
/// of all its locks until it runs its own program, so a lock that was just given back may still
/// look taken.
pub(super) fn patiently<T>(mut f: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        match f() {
            Err(StoreError::InUse) if std::time::Instant::now() < deadline => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            other => return other,
        }
    }
}

/// Makes a directory that only its owner enters; one that exists keeps its mode.
fn make_private(dir: &Path) -> std::io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

fn open_private(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
