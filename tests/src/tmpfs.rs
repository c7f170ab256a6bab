//! A small disk that fills, or takes nothing for a while.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A filesystem in memory, unmounted when dropped. Mounting wants root.
pub struct Tmpfs(pub PathBuf);

impl Tmpfs {
    /// Mounts one of this size at a folder that is made.
    pub fn mount(at: &Path, size: &str) -> Tmpfs {
        std::fs::create_dir(at).unwrap();
        mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], at);
        Tmpfs(at.to_path_buf())
    }

    /// Gives it another size, not below what is in it.
    pub fn resize(&self, size: &str) {
        self.remount(&format!("size={size}"));
    }

    /// Mounts it anew with these options.
    pub fn remount(&self, options: &str) {
        mount(&["-o", &format!("remount,{options}")], &self.0);
    }
}

fn mount(args: &[&str], at: &Path) {
    let status = Command::new("mount").args(args).arg(at).status();
    assert!(status.unwrap().success(), "mount {args:?}");
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
