//! The threads that tasks run on.

use tokio::runtime::Builder;

/// A runtime for a program with a node in it, still to be built.
///
/// One thread carries all tasks: each step of a task is short, and what takes long has threads of its
/// own: connections ([`rtc`](crate::rtc)), files, the store. With two, each frame that arrives wakes
/// both, and one of them finds nothing to do: a file over loopback took 8 % longer, and the bare
/// channel 10 % (2-core EPYC).
pub fn runtime() -> Builder {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_all();
    builder
}
