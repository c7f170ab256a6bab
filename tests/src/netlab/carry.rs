//! Packets from one TUN device through a pipe to another.

use std::fs::File;
use std::io::{ErrorKind, PipeReader, Read as _, Write as _};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::pipe::{Counts, Pipe, Quality};

/// More than the MTU of the devices.
const LARGEST: usize = 10_000;
/// Packets taken before those that are due get their turn.
const AT_ONCE: usize = 64;

/// A pipe with a clock, used by its carrier and by who changes it.
pub(super) struct Line {
    pipe: Mutex<Pipe>,
    moved: Condvar,
    begun: Instant,
}

impl Line {
    pub(super) fn new(pipe: Pipe) -> Line {
        Line {
            pipe: Mutex::new(pipe),
            moved: Condvar::new(),
            begun: Instant::now(),
        }
    }

    pub(super) fn set(&self, quality: Quality) {
        self.pipe().set(quality);
    }

    pub(super) fn cut(&self, time: Duration) {
        self.pipe().cut(self.begun.elapsed() + time);
    }

    pub(super) fn block(&self, port: u16) {
        self.pipe().block(port);
    }

    pub(super) fn counts(&self) -> Counts {
        self.pipe().counts()
    }

    pub(super) fn wait(&self, what: &str, is: impl Fn(Counts) -> bool) {
        let not_yet = |pipe: &mut Pipe| !is(pipe.counts());
        let (pipe, _) = self
            .moved
            .wait_timeout_while(self.pipe(), crate::PATIENCE, not_yet)
            .unwrap();
        let counts = pipe.counts();
        drop(pipe);
        assert!(is(counts), "waited in vain for {what}; now {counts:?}");
    }

    /// Carries packets until `stop` is closed at its other end.
    pub(super) fn carry(&self, from: &File, to: &File, stop: &PipeReader) {
        let mut buffer = [0; LARGEST];
        while self.wait_for_packet(from, stop) {
            let mut pipe = self.pipe();
            for _ in 0..AT_ONCE {
                match (&mut &*from).read(&mut buffer) {
                    Ok(len) => pipe.push(self.begun.elapsed(), buffer[..len].to_vec()),
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                    Err(e) => panic!("cannot read packets: {e}"),
                }
            }
            while let Some(packet) = pipe.pop(self.begun.elapsed()) {
                let written = (&mut &*to).write(&packet);
                assert!(written.is_ok(), "cannot write a packet: {written:?}");
            }
            drop(pipe);
            self.moved.notify_all();
        }
    }

    /// Waits until a packet comes or is due. False if it is time to end.
    fn wait_for_packet(&self, from: &File, stop: &PipeReader) -> bool {
        let due = self.pipe().due();
        let wait = due.map(|due| due.saturating_sub(self.begun.elapsed()));
        let wait = wait.map(|wait| Timespec::try_from(wait).unwrap());
        let mut fds = [
            PollFd::new(from, PollFlags::IN),
            PollFd::new(stop, PollFlags::IN),
        ];
        match poll(&mut fds, wait.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => fds[1].revents().is_empty(),
            Err(e) => panic!("cannot wait for packets: {e}"),
        }
    }

    fn pipe(&self) -> MutexGuard<'_, Pipe> {
        self.pipe.lock().unwrap()
    }
}
