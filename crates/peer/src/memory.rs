//! What the system's allocator keeps of memory that is free again.
//!
//! glibc gives each thread an arena of its own and keeps in each what a burst left there; a node
//! has a dozen threads. A flood that needs 15 MB for moments then leaves 60 MB behind.

/// Has the allocator keep little. For programs, at their start, before there are other threads;
/// elsewhere than on Linux with glibc it does nothing.
pub fn settle() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (what, value) in [
        // One arena: what a thread frees, another uses. Small blocks have a cache per thread still.
        (libc::M_ARENA_MAX, 1),
        // Both are otherwise raised by each large block that is freed, up to 32 MiB and twice that.
        (libc::M_MMAP_THRESHOLD, 128 * 1024),
        (libc::M_TRIM_THRESHOLD, 1024 * 1024),
    ] {
        // SAFETY: `mallopt` takes two integers and touches nothing but the allocator's settings.
        // It may be called at any time; that it is told so early is for effect, not for safety.
        #[allow(
            unsafe_code,
            reason = "there is no safe way to the allocator's settings"
        )]
        let taken = unsafe { libc::mallopt(what, value) };
        if taken == 0 {
            tracing::debug!(what, value, "the allocator refuses a setting");
        }
    }
}
