//! The threads that tasks run on.

use tokio::runtime::Builder;

/// A runtime for a program with a node in it, still to be built.
///
/// One thread carries all tasks: each step of a task is short, and what takes long has threads of its
/// own: connections ([`rtc`](crate::rtc)), files, the store. With two, each frame that arrives wakes
/// both, and one of them finds nothing to do: a file over loopback took 8 % longer, and the bare
/// channel 10 % (2-core EPYC).
///
/// The process may have as many handles as the system lets it: small files wait for their names in
/// theirs, up to a thousand for each fetch.
pub fn runtime() -> Builder {
    raise_handle_limit();
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_all();
    builder
}

/// The soft limit is often 1,024 where the hard one is far higher.
#[cfg(unix)]
fn raise_handle_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

#[cfg(not(unix))]
fn raise_handle_limit() {}
