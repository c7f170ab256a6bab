//! Files without any name until they are complete: what breaks off leaves nothing, and for a small file
//! the folder is changed once, not twice.

use std::fs::File;
use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::{AsRawFd, OwnedFd};
#[cfg(target_os = "linux")]
use std::sync::OnceLock;
#[cfg(target_os = "linux")]
use std::sync::atomic::{AtomicBool, Ordering};

use cap_std::fs::Dir;
#[cfg(target_os = "linux")]
use rustix::fs::{AtFlags, Mode, OFlags};
#[cfg(target_os = "linux")]
use rustix::io::Errno;

/// Opens a new file of the folder's filesystem with these permissions, less those that the process
/// never gives; `None` where there is no such thing. What is written is gone with its last handle
/// unless [`link`] gives it a name.
///
/// # Errors
/// Whatever creating any file there can fail with.
#[cfg(target_os = "linux")]
pub(super) fn create(folder: &Dir, mode: u32) -> io::Result<Option<File>> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::openat(folder, ".", flags, Mode::from_raw_mode(mode)) {
        Ok(file) => Ok(Some(file.into())),
        // The filesystem (NFS, FAT, some FUSE) or the kernel does not know the flag.
        Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::ISDIR | Errno::NOSYS) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Gives a file of [`create`] its name; `false` if that exists.
///
/// # Errors
/// The system's answer.
#[cfg(target_os = "linux")]
pub(super) fn link(file: &File, folder: &Dir, name: &str) -> io::Result<bool> {
    /// The kernel does not link by the handle alone: before Linux 6.10 that took a capability.
    static REFUSED: AtomicBool = AtomicBool::new(false);
    let mut linked = Err(Errno::NOENT);
    if !REFUSED.load(Ordering::Relaxed) {
        // Spares the system a walk through its list of handles.
        linked = rustix::fs::linkat(file, "", folder, name, AtFlags::EMPTY_PATH);
    }
    if linked == Err(Errno::NOENT) {
        linked = link_listed(file, folder, name)?;
        if linked.is_ok() {
            REFUSED.store(true, Ordering::Relaxed);
        }
    }
    match linked {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The same by way of the system's list of handles.
#[cfg(target_os = "linux")]
fn link_listed(file: &File, folder: &Dir, name: &str) -> io::Result<Result<(), Errno>> {
    let handle = file.as_raw_fd().to_string();
    let flags = AtFlags::SYMLINK_FOLLOW;
    Ok(rustix::fs::linkat(handles()?, handle, folder, name, flags))
}

/// Whether [`link`] can work: it finds the file by its handle, in the system's list of those, which a
/// confined process may not see.
#[cfg(target_os = "linux")]
pub(super) fn is_linkable(file: &File) -> bool {
    let same = || {
        let found = rustix::fs::statat(handles()?, file.as_raw_fd().to_string(), AtFlags::empty())?;
        let own = rustix::fs::fstat(file)?;
        Ok::<_, io::Error>((own.st_dev, own.st_ino) == (found.st_dev, found.st_ino))
    };
    same().unwrap_or(false)
}

/// The list of this process's handles.
#[cfg(target_os = "linux")]
fn handles() -> io::Result<&'static OwnedFd> {
    static HANDLES: OnceLock<OwnedFd> = OnceLock::new();
    if let Some(handles) = HANDLES.get() {
        return Ok(handles);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open("/proc/self/fd", flags, Mode::empty())?;
    Ok(HANDLES.get_or_init(|| opened))
}

/// This system has none.
#[cfg(not(target_os = "linux"))]
pub(super) fn create(_: &Dir, _: u32) -> io::Result<Option<File>> {
    Ok(None)
}

/// This system has none.
#[cfg(not(target_os = "linux"))]
pub(super) fn link(_: &File, _: &Dir, _: &str) -> io::Result<bool> {
    Err(io::ErrorKind::Unsupported.into())
}

/// This system has none.
#[cfg(not(target_os = "linux"))]
pub(super) fn is_linkable(_: &File) -> bool {
    false
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

    use super::*;

    #[test]
    fn both_ways_to_a_name_end_there_and_replace_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
        let Some(file) = create(&folder, 0o600).unwrap() else {
            return;
        };
        std::io::Write::write_all(&mut &file, b"whole").unwrap();
        assert!(link(&file, &folder, "one").unwrap());
        assert!(!link(&file, &folder, "one").unwrap());
        assert_eq!(std::fs::read(temp.path().join("one")).unwrap(), b"whole");
        let other = create(&folder, 0o600).unwrap().unwrap();
        link_listed(&other, &folder, "two").unwrap().unwrap();
        let again = link_listed(&other, &folder, "one").unwrap();
        assert_eq!(again, Err(Errno::EXIST));
        assert_eq!(std::fs::read(temp.path().join("one")).unwrap(), b"whole");
    }
}
