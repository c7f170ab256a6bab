//! Gives memory back to the system after a crowd has gone.
//!
//! The allocator keeps what is freed for the next crowd, which for a room server may never come.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// This long after connections ended, so that those who leave together cost one look at the heap.
const AFTER: Duration = Duration::from_secs(1);

/// Knows when there is something to give back.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    due: Option<Instant>,
}

impl Memory {
    /// A connection has ended and its memory is free.
    pub fn freed(&mut self) {
        self.due.get_or_insert_with(|| Instant::now() + AFTER);
    }

    /// Waits until there is something to give back, and gives it. Cancel safe.
    pub async fn give_back(&mut self) {
        match self.due {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
        self.due = None;
        trim();
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(
    unsafe_code,
    reason = "glibc has no other way to say it, and no crate wraps it"
)]
fn trim() {
    let began = Instant::now();
    // SAFETY: takes no pointer, locks what it looks at, and touches free memory only.
    unsafe { libc::malloc_trim(0) };
    tracing::trace!(took = ?began.elapsed(), "gave memory back");
}

/// Other allocators give back by themselves, or cannot be asked.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}
