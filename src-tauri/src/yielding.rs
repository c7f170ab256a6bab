//! The threads of the engine, which make way for the window.

use tokio::runtime::Runtime;

/// So far behind the window's priority, as Unix counts: from 0 for the usual one to [`LAST`]. What
/// the window leaves is enough for the engine.
#[cfg(target_os = "linux")]
const BEHIND: i32 = 10;
/// The lowest priority there is.
#[cfg(target_os = "linux")]
const LAST: i32 = 19;

/// A runtime for all but the window. With hundreds of files under way each of its threads has work,
/// and a key press has a long way through threads of the window and of WebKit's processes: at the
/// same priority it would queue behind the engine at every step.
///
/// A program that is started from one of its threads gets the low priority, too. On Linux a priority
/// is a thread's own, and those that it starts inherit it; elsewhere it would be the whole process's,
/// with the window in it, and stays as it is.
///
/// # Errors
///
/// The system grants no threads.
pub fn runtime() -> std::io::Result<Runtime> {
    let mut builder = kith_peer::threads::runtime();
    #[cfg(target_os = "linux")]
    builder.on_thread_start(make_way(rustix::process::getpriority_process(None)?));
    builder.build()
}

/// What each thread does first, with the priority of the window's.
#[cfg(target_os = "linux")]
fn make_way(window: i32) -> impl Fn() + Send + Sync {
    let priority = (window + BEHIND).min(LAST);
    move || {
        if let Err(error) = rustix::process::setpriority_process(None, priority) {
            tracing::debug!(%error, "a thread keeps the usual priority");
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

    use super::*;
    use rustix::process::getpriority_process;

    #[test]
    fn whatever_the_engine_starts_makes_way_and_nothing_else_does() {
        let priority = || getpriority_process(None).unwrap();
        let usual = priority();
        let low = (usual + BEHIND).min(LAST);
        let runtime = runtime().unwrap();
        let (task, blocking, thread) = runtime.block_on(async {
            let task = tokio::spawn(async move { priority() });
            let blocking = tokio::task::spawn_blocking(move || {
                let further = std::thread::spawn(priority);
                (priority(), further.join().unwrap())
            });
            let (blocking, thread) = blocking.await.unwrap();
            (task.await.unwrap(), blocking, thread)
        });
        assert_eq!([task, blocking, thread], [low; 3]);
        assert_eq!(priority(), usual, "that of the window");
    }
}
