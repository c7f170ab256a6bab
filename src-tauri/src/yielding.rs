//! The threads of the engine, which make way for the window.

use tokio::runtime::{Builder, Runtime};

/// What the window leaves is enough for the engine: as Unix counts, from 0 for the usual to 19.
#[cfg(target_os = "linux")]
const AFTER_THE_WINDOW: i32 = 10;

/// A runtime for all but the window. With hundreds of files under way each of its threads has work,
/// and a key press has a long way through threads of the window and of WebKit's processes: at the
/// same priority it would queue behind the engine at every step.
///
/// A program that is started from one of its threads gets the low priority, too.
///
/// # Errors
///
/// The system grants no threads.
pub fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread()
        .enable_all()
        .on_thread_start(make_way)
        .build()
}

/// On Linux a priority is a thread's own, and those that it starts inherit it. Elsewhere it would be
/// the whole process's, with the window in it.
fn make_way() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, AFTER_THE_WINDOW) {
        tracing::debug!(%error, "a thread keeps the usual priority");
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
        assert!(
            usual < AFTER_THE_WINDOW,
            "{usual}: nobody made this thread wait"
        );
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
        assert_eq!([task, blocking, thread], [AFTER_THE_WINDOW; 3]);
        assert_eq!(priority(), usual, "that of the window");
    }
}
