//! What waits to be written to one socket: bounded, filled by the hub, emptied by the socket.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use futures::task::AtomicWaker;
use kith_protocol::limits;
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// The outbox of one connection.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    // Held for a push or a pop; nobody waits under it.
    inner: Mutex<Inner>,
    reader: AtomicWaker,
}

#[derive(Debug, Default)]
struct Inner {
    queue: VecDeque<Utf8Bytes>,
    bytes: usize,
    ping: bool,
    /// A relayed message was refused and there is not enough room again yet.
    full: bool,
    close: Close,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Close {
    #[default]
    No,
    Asked(u16, &'static str),
    Taken,
}

/// What became of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    Queued,
    /// No room; the message was not queued.
    Full,
}

/// What to write next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Text(Utf8Bytes),
    Ping,
    Close(u16, &'static str),
    Nothing,
}

impl Outbox {
    /// Queues a message. Relayed messages get the room of the limits; the hub's own get as much
    /// again, because a client that misses one of them has a wrong picture of its room.
    pub fn push(&self, text: Utf8Bytes, relayed: bool) -> Pushed {
        let mut o = self.lock();
        let factor = if relayed { 1 } else { 2 };
        let fits = o.queue.len() < limits::OUTBOX_MESSAGES * factor
            && o.bytes + text.len() <= limits::OUTBOX_BYTES * factor;
        if !fits {
            o.full = true;
            return Pushed::Full;
        }
        o.bytes += text.len();
        o.queue.push_back(text);
        drop(o);
        self.reader.wake();
        Pushed::Queued
    }

    /// Asks for a WebSocket ping; asking again before it is sent changes nothing.
    pub fn ping(&self) {
        self.lock().ping = true;
        self.reader.wake();
    }

    /// Asks for a close after what is queued.
    pub fn close(&self, code: u16, why: &'static str) {
        let mut o = self.lock();
        if o.close == Close::No {
            o.close = Close::Asked(code, why);
        }
        drop(o);
        self.reader.wake();
    }

    /// Whether a close was asked for.
    pub fn is_closing(&self) -> bool {
        self.lock().close != Close::No
    }

    /// Takes what is to be written next.
    pub fn next(&self) -> Next {
        let mut o = self.lock();
        if let Some(text) = o.queue.pop_front() {
            o.bytes -= text.len();
            if o.queue.is_empty() {
                // Idle connections are many: an empty queue keeps no memory.
                o.queue = VecDeque::new();
            }
            return Next::Text(text);
        }
        if std::mem::take(&mut o.ping) {
            return Next::Ping;
        }
        if let Close::Asked(code, why) = o.close {
            o.close = Close::Taken;
            return Next::Close(code, why);
        }
        Next::Nothing
    }

    /// Says once that an outbox that was full is at most half full now. Half, so that a reader
    /// at the edge does not go back and forth.
    pub fn take_relief(&self) -> bool {
        let mut o = self.lock();
        let half =
            o.queue.len() <= limits::OUTBOX_MESSAGES / 2 && o.bytes <= limits::OUTBOX_BYTES / 2;
        half && std::mem::take(&mut o.full)
    }

    /// Who is woken by changes.
    pub fn register(&self, waker: &Waker) {
        self.reader.register(waker);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(len: usize) -> Utf8Bytes {
        "x".repeat(len).into()
    }

    #[test]
    fn it_is_bounded_in_messages_and_in_bytes() {
        let o = Outbox::default();
        for _ in 0..limits::OUTBOX_MESSAGES {
            assert_eq!(o.push(text(1), true), Pushed::Queued);
        }
        assert_eq!(o.push(text(1), true), Pushed::Full);
        for _ in 0..limits::OUTBOX_MESSAGES {
            assert_eq!(o.push(text(1), false), Pushed::Queued);
        }
        assert_eq!(o.push(text(1), false), Pushed::Full);

        let o = Outbox::default();
        let big = limits::OUTBOX_BYTES / 4;
        for _ in 0..4 {
            assert_eq!(o.push(text(big), true), Pushed::Queued);
        }
        assert_eq!(o.push(text(1), true), Pushed::Full);
        assert_eq!(o.push(text(1), false), Pushed::Queued);
    }

    #[test]
    fn relief_comes_once_and_only_after_full() {
        let o = Outbox::default();
        assert!(!o.take_relief());
        while o.push(text(1), true) == Pushed::Queued {}
        assert!(!o.take_relief());
        for _ in 0..limits::OUTBOX_MESSAGES / 2 {
            assert!(matches!(o.next(), Next::Text(_)));
        }
        assert!(o.take_relief());
        assert!(!o.take_relief());
    }

    #[test]
    fn a_close_comes_last_and_once() {
        let o = Outbox::default();
        o.close(1012, "restarting");
        o.close(1000, "other");
        o.ping();
        o.push(text(1), false);
        assert_eq!(o.next(), Next::Text(text(1)));
        assert_eq!(o.next(), Next::Ping);
        assert_eq!(o.next(), Next::Close(1012, "restarting"));
        assert_eq!(o.next(), Next::Nothing);
        assert!(o.is_closing());
    }
}
