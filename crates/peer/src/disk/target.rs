//! The one folder that received files may go to.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use cap_fs_ext::DirExt;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, MetadataExt as _};
use rustix::fs::{Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::folder::FolderNames;
use super::{DiskError, SafePath, unnamed};

/// A modification time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModTime {
    /// Seconds since 1970-01-01 UTC; negative before.
    pub seconds: i64,
    /// Nanoseconds into that second. A value of a second or more is taken as the last nanosecond.
    pub nanos: u32,
}

impl ModTime {
    pub(super) fn of(metadata: &Metadata) -> Self {
        // The system keeps nanoseconds within one second.
        let nanos = u32::try_from(metadata.mtime_nsec()).unwrap_or_default();
        Self {
            seconds: metadata.mtime(),
            nanos,
        }
    }
}

/// A download folder. Everything below it is reached from an open handle, one component at a time,
/// and no symbolic link below it is followed, whenever it appears. Clones share the handle.
#[derive(Clone)]
pub struct Target {
    inner: Arc<Inner>,
}

struct Inner {
    dir: Dir,
    root: PathBuf,
    /// Files finish on several threads; held for some renames and what they look at, never for a sync.
    names: Mutex<FolderNames>,
    /// Whether unnamed files can get names here; `None` while nobody has tried.
    unnamed: OnceLock<bool>,
    /// The last folder that a file was put in: most follow others of the same. Held for moments.
    recent: Mutex<Option<Recent>>,
}

/// An open folder below the target, shared by the files in it.
#[derive(Debug)]
pub(super) struct Folder {
    pub dir: Dir,
    /// The filesystem that it is on.
    pub dev: u64,
}

struct Recent {
    parent: String,
    folder: Arc<Folder>,
    opened: Instant,
}

/// How long a folder is used without looking where its path leads now.
const RECENT: Duration = Duration::from_secs(1);

impl Target {
    /// Opens the folder and creates it, with its parents, if it is missing. The given path itself
    /// is the user's choice, so links in it are followed.
    ///
    /// # Errors
    /// `Obstructed` if it is no folder, `Denied`, `ReadOnly`, `NoSpace`.
    pub fn open(dir: &Path) -> Result<Self, DiskError> {
        let fail = |e: io::Error| DiskError::target(dir, e);
        fs::create_dir_all(dir).map_err(fail)?;
        let root = fs::canonicalize(dir).map_err(fail)?;
        let dir = Dir::open_ambient_dir(&root, ambient_authority()).map_err(fail)?;
        Ok(Self {
            inner: Arc::new(Inner {
                dir,
                root,
                names: Mutex::default(),
                unnamed: OnceLock::new(),
                recent: Mutex::default(),
            }),
        })
    }

    /// Where the folder is.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// Where `rel` is, for showing to the user or opening in a file browser.
    pub fn path_of(&self, rel: &SafePath) -> PathBuf {
        rel.under(&self.inner.root)
    }

    /// Bytes that an ordinary user may still write to the folder's filesystem.
    pub fn free_space(&self) -> Result<u64, DiskError> {
        let space =
            rustix::fs::fstatvfs(&self.inner.dir).map_err(|e| DiskError::target(self.root(), e))?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    /// Refuses with `NoSpace` if `needed` bytes do not fit now. Whether they still do later is
    /// nobody's promise.
    pub fn check_space(&self, needed: u64) -> Result<(), DiskError> {
        if needed > self.free_space()? {
            return Err(DiskError::NoSpace {
                path: self.root().to_path_buf(),
            });
        }
        Ok(())
    }

    /// Creates a folder and its parents; says whether this made the last of them. A folder that
    /// was there before is the user's own: do not [`finish_dir`](Self::finish_dir) it.
    ///
    /// # Errors
    /// `Obstructed` if a component is a link or a file.
    pub fn create_dir(&self, rel: &SafePath) -> Result<bool, DiskError> {
        self.walk(rel, Missing::Create).map(|(_, created)| created)
    }

    /// Gives a folder its permissions and modification time. Call it when everything below is
    /// finished, the deepest folder first. The owner keeps the right to read and enter it.
    ///
    /// # Errors
    /// `PartGone` if there is no such folder, `Obstructed` if it is something else.
    pub fn finish_dir(&self, rel: &SafePath, mode: u32, mtime: ModTime) -> Result<(), DiskError> {
        let (dir, _) = self.walk(rel, Missing::Fail)?;
        readable(&dir)
            .and_then(|dir| set_attributes(dir, Some(mode | 0o500), mtime))
            .map_err(|e| DiskError::target(&self.path_of(rel), e))
    }

    /// The open folder that `rel` lies in, created where it is missing. It may have been removed
    /// since it was opened: see [`forget_folder`](Self::forget_folder).
    pub(super) fn folder_of(&self, rel: &SafePath) -> Result<Arc<Folder>, DiskError> {
        let parent = rel.parent();
        let path = parent.as_ref().map_or("", |p| p.as_str());
        let recent = self.recent().as_ref().and_then(|recent| {
            let holds = recent.parent == path && recent.opened.elapsed() < RECENT;
            holds.then(|| Arc::clone(&recent.folder))
        });
        if let Some(folder) = recent {
            return Ok(folder);
        }
        let dir = match &parent {
            Some(parent) => self.walk(parent, Missing::Create)?.0,
            None => self.clone_root()?,
        };
        let now = dir.dir_metadata();
        let dev = now
            .map_err(|e| DiskError::target(&self.path_of(rel), e))?
            .dev();
        let folder = Arc::new(Folder { dir, dev });
        *self.recent() = Some(Recent {
            parent: path.to_owned(),
            folder: Arc::clone(&folder),
            opened: Instant::now(),
        });
        Ok(folder)
    }

    /// The next [`folder_of`](Self::folder_of) goes by the path again.
    pub(super) fn forget_folder(&self) {
        *self.recent() = None;
    }

    /// Opens a file without a name in the folder of `rel`, if there can be such files; see
    /// [`unnamed`](super::unnamed).
    pub(super) fn unnamed(
        &self,
        rel: &SafePath,
        mode: u32,
    ) -> Result<Option<(File, Arc<Folder>)>, DiskError> {
        if self.inner.unnamed.get() == Some(&false) {
            return Ok(None);
        }
        let mut folder = self.folder_of(rel)?;
        let mut file = unnamed::create(&folder.dir, mode);
        // It was removed since it was last used; filesystems have different words for that.
        let is_gone = || folder.dir.dir_metadata().is_ok_and(|now| now.nlink() == 0);
        if file.is_err() && is_gone() {
            self.forget_folder();
            folder = self.folder_of(rel)?;
            file = unnamed::create(&folder.dir, mode);
        }
        let file = file.map_err(|e| DiskError::target(&self.path_of(rel), e))?;
        let can = || file.as_ref().is_some_and(unnamed::is_linkable);
        if !self.inner.unnamed.get_or_init(can) {
            return Ok(None);
        }
        Ok(file.map(|file| (file, folder)))
    }

    /// The open folder that `rel` lies in, if it is there.
    pub(super) fn existing_folder_of(&self, rel: &SafePath) -> Result<Dir, DiskError> {
        match rel.parent() {
            Some(parent) => self.walk(&parent, Missing::Fail).map(|(dir, _)| dir),
            None => self.clone_root(),
        }
    }

    fn clone_root(&self) -> Result<Dir, DiskError> {
        let root = self.inner.dir.try_clone();
        root.map_err(|e| DiskError::target(self.root(), e))
    }

    fn recent(&self) -> MutexGuard<'_, Option<Recent>> {
        self.inner
            .recent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn names(&self) -> MutexGuard<'_, FolderNames> {
        // A memory of names is never half-written in a way that matters: see `FolderNames`.
        self.inner
            .names
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn walk(&self, rel: &SafePath, missing: Missing) -> Result<(Dir, bool), DiskError> {
        let mut path = self.inner.root.clone();
        let mut here: Option<Dir> = None;
        let mut created = false;
        for name in rel.components() {
            path.push(name);
            let dir = here.as_ref().unwrap_or(&self.inner.dir);
            let (next, made) =
                enter(dir, name, missing).map_err(|e| DiskError::target(&path, e))?;
            here = Some(next);
            created = made;
        }
        match here {
            Some(dir) => Ok((dir, created)),
            None => Err(DiskError::Obstructed { path }),
        }
    }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Target").field(&self.inner.root).finish()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Create,
    Fail,
}

fn enter(dir: &Dir, name: &str, missing: Missing) -> io::Result<(Dir, bool)> {
    match dir.open_dir_nofollow(name) {
        Err(e) if e.kind() == io::ErrorKind::NotFound && missing == Missing::Create => {}
        opened => return opened.map(|dir| (dir, false)),
    }
    let created = match dir.create_dir(name) {
        Ok(()) => true,
        // Somebody was quicker; what they made is looked at like anything else.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => false,
        Err(e) => return Err(e),
    };
    Ok((dir.open_dir_nofollow(name)?, created))
}

/// A handle that syncs and sets attributes: the capability's own one may only be good for paths.
pub(super) fn readable(dir: &Dir) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, ".", flags, Mode::empty())?)
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(dir: &Dir) -> io::Result<()> {
    match rustix::fs::fsync(readable(dir)?) {
        // Some network filesystems have no sync for folders.
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Sets permissions (never more than 0o777, so nothing becomes setuid), if given, and modification
/// time. A filesystem that has no such thing is no reason to fail.
pub(super) fn set_attributes(fd: impl AsFd, mode: Option<u32>, mtime: ModTime) -> io::Result<()> {
    let forgive = |result: Result<(), Errno>| match result {
        Err(Errno::PERM | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(()),
        other => other,
    };
    if let Some(mode) = mode {
        forgive(rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode & 0o777)))?;
    }
    // Larger values of the nanoseconds field have special meanings to the system.
    let nanos = mtime.nanos.min(999_999_999);
    let time = Timespec {
        tv_sec: mtime.seconds,
        tv_nsec: nanos.into(),
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    forgive(rustix::fs::futimens(&fd, &times))?;
    Ok(())
}
