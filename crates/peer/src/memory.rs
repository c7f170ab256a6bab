//! What the system's allocator keeps of memory that is free again.
//!
//! glibc gives each thread an arena of its own and keeps in each what a burst left there; a node
//! has a dozen threads. A flood that needs 15 MB for moments then leaves 60 MB behind.

/// Has the allocator keep little. For programs, at their start, before there are other threads;
/// elsewhere than on Linux with glibc it does nothing.
pub fn settle() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // One arena: what a thread frees, another uses. Small blocks have a cache per thread
        // still. The thresholds for large blocks stay the allocator's own: set low, they cost a
        // transfer a fifth of its rate.
        // SAFETY: `mallopt` takes two integers and touches nothing but the allocator's settings.
        // It may be called at any time; that it is told so early is for effect, not for safety.
        #[allow(
            unsafe_code,
            reason = "there is no safe way to the allocator's settings"
        )]
        let taken = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
        if taken == 0 {
            tracing::debug!("the allocator refuses to keep to one arena");
        }
    }
}
