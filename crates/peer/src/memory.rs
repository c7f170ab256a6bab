//! What the system's allocator keeps of memory that is free again.
//!
//! glibc gives each thread an arena of its own and keeps in each what a burst left there; a node
//! has a dozen threads. A flood that needs 15 MB for moments then leaves 60 MB behind.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
const ARENAS: libc::c_int = 2;

/// Has the allocator keep little. For programs, at their start, before there are other threads;
/// elsewhere than on Linux with glibc it does nothing.
pub fn settle() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // Few arenas: what a thread frees, another uses. With one alone, threads wait for each other
        // at every other block: 20,000 small files took a fifth longer (2-core EPYC), and memory
        // was the same. The thresholds for large blocks stay the allocator's own: set low, they cost
        // a transfer a fifth of its rate.
        // SAFETY: `mallopt` takes two integers and touches nothing but the allocator's settings.
        // It may be called at any time; that it is told so early is for effect, not for safety.
        #[allow(
            unsafe_code,
            reason = "there is no safe way to the allocator's settings"
        )]
        let taken = unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS) };
        if taken == 0 {
            tracing::debug!("the allocator refuses to keep to few arenas");
        }
    }
}
