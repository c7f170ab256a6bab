//! Files without any name until they are complete: what breaks off leaves nothing, and for a small file
//! the folder is changed once, not twice.

use std::fs::File;
use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::{AsRawFd, OwnedFd};
#[cfg(target_os = "linux")]
use std::sync::OnceLock;

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
    let handle = file.as_raw_fd().to_string();
    match rustix::fs::linkat(handles()?, handle, folder, name, AtFlags::SYMLINK_FOLLOW) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(error.into()),
    }
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
