//! Ways to make a connection's driver look at its queues, or wait.
//!
//! The driver takes in at most a batch of 256 messages at once and leaves the rest where it is.
//! It resumes only when a datagram arrives; when the sender has nothing more to send, that is
//! the next keepalive, up to two seconds later. A nudge is a datagram that no network brought: a
//! STUN binding indication, which asks for no answer and changes nothing (RFC 8445 section 11),
//! and after which the driver looks at everything else.
//!
//! Waiting is for the flood of small messages. The crate bounds what has been received and not
//! read by the bytes of the SCTP window; but a message of twenty bytes costs it a thousand, so a
//! full window would be a hundred megabytes. While somebody [holds](Nudge::hold) a connection, its
//! sockets yield nothing, and what comes stays with the kernel, whose buffer is no smaller than
//! the window. So that somebody may notice in time, they pause after each [`BURST`].

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;
use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Transmit};

/// A binding indication without attributes: type, length, magic cookie, transaction (RFC 8489
/// section 5).
const INDICATION: [u8; 20] = [
    0x00, 0x11, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// Bytes that a socket yields before its driver must look at everything else. The driver would
/// take megabytes otherwise; 64 KiB are what the kernel hands over at once.
const BURST: usize = 128 * 1024;

/// Nudges the driver of one connection, through the socket it bound last, or holds it.
#[derive(Debug, Default)]
pub(super) struct Nudge {
    /// Those of the connection's sockets, the latest last. Locked for moments only, never across
    /// a wait.
    bells: Mutex<Vec<Weak<Bell>>>,
    /// How many hold the connection.
    held: AtomicUsize,
}

/// While it is there, the connection receives nothing.
pub(super) struct Held(Arc<Nudge>);

impl Drop for Held {
    fn drop(&mut self) {
        if self.0.held.fetch_sub(1, Ordering::AcqRel) == 1 {
            for bell in self.0.bells().iter().filter_map(Weak::upgrade) {
                bell.reader.wake();
            }
        }
    }
}

#[derive(Debug, Default)]
struct Bell {
    rung: AtomicBool,
    reader: AtomicWaker,
    /// Bytes since the last pause.
    burst: AtomicUsize,
}

impl Nudge {
    /// Makes the driver look, soon.
    pub(super) fn ring(&self) {
        let latest = self.bells().iter().rev().find_map(Weak::upgrade);
        if let Some(bell) = latest {
            bell.rung.store(true, Ordering::Release);
            bell.reader.wake();
        }
    }

    /// Keeps the connection from receiving. Only for waits that end without its help.
    pub(super) fn hold(self: &Arc<Self>) -> Held {
        self.held.fetch_add(1, Ordering::AcqRel);
        Held(Arc::clone(self))
    }

    /// Puts a bell on `socket`.
    pub(super) fn attach(
        self: &Arc<Self>,
        socket: Arc<dyn AsyncUdpSocket>,
    ) -> Arc<dyn AsyncUdpSocket> {
        let bell = Arc::new(Bell::default());
        let mut bells = self.bells();
        bells.retain(|b| b.strong_count() > 0);
        bells.push(Arc::downgrade(&bell));
        Arc::new(BelledSocket {
            inner: socket,
            bell,
            nudge: Arc::clone(self),
        })
    }

    fn bells(&self) -> MutexGuard<'_, Vec<Weak<Bell>>> {
        self.bells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct BelledSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    bell: Arc<Bell>,
    nudge: Arc<Nudge>,
}

impl AsyncUdpSocket for BelledSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        self.inner.poll_send(cx, transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        // Registered before looking, so that a ring in between is not lost.
        self.bell.reader.register(cx.waker());
        if self.bell.rung.swap(false, Ordering::AcqRel)
            && let (Some(meta), Some(buf)) = (meta.first_mut(), bufs.first_mut())
            && let Some(start) = buf.get_mut(..INDICATION.len())
        {
            start.copy_from_slice(&INDICATION);
            *meta = RecvMeta::default();
            // No candidate has this address, so nobody seems to have spoken.
            meta.addr = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
            meta.len = INDICATION.len();
            meta.stride = INDICATION.len();
            return Poll::Ready(Ok(1));
        }
        if self.nudge.held.load(Ordering::Acquire) > 0 {
            return Poll::Pending;
        }
        if self.bell.burst.load(Ordering::Relaxed) >= BURST {
            self.bell.burst.store(0, Ordering::Relaxed);
            // At once again, but after the driver has been round.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let received = self.inner.poll_recv(cx, bufs, meta);
        if let Poll::Ready(Ok(count)) = &received {
            let bytes: usize = meta.iter().take(*count).map(|m| m.len).sum();
            self.bell.burst.fetch_add(bytes, Ordering::Relaxed);
        }
        received
    }

    fn max_gso_segments(&self) -> usize {
        self.inner.max_gso_segments()
    }

    fn max_gro_segments(&self) -> usize {
        self.inner.max_gro_segments()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::task::noop_waker;

    /// A socket on which a datagram always waits.
    #[derive(Debug)]
    struct Full;

    impl AsyncUdpSocket for Full {
        fn local_addr(&self) -> io::Result<SocketAddr> {
            Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)))
        }

        fn poll_send(&self, _: &mut Context<'_>, _: &Transmit<'_>) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_recv(
            &self,
            _: &mut Context<'_>,
            _: &mut [IoSliceMut<'_>],
            meta: &mut [RecvMeta],
        ) -> Poll<io::Result<usize>> {
            meta[0].len = 1;
            Poll::Ready(Ok(1))
        }
    }

    /// The length of what the socket yields.
    fn receive(socket: &dyn AsyncUdpSocket) -> Option<usize> {
        let (mut buf, mut meta) = ([0; 64], [RecvMeta::default()]);
        let waker = noop_waker();
        let mut cx = Context::from_waker(&waker);
        let mut bufs = [IoSliceMut::new(&mut buf)];
        let ready = socket.poll_recv(&mut cx, &mut bufs, &mut meta).is_ready();
        ready.then_some(meta[0].len)
    }

    #[test]
    fn a_held_connection_receives_nothing_but_nudges() {
        let nudge = Arc::new(Nudge::default());
        let socket = nudge.attach(Arc::new(Full));
        assert_eq!(receive(&*socket), Some(1));
        let (one, other) = (nudge.hold(), nudge.hold());
        assert_eq!(receive(&*socket), None);
        nudge.ring();
        assert_eq!(receive(&*socket), Some(INDICATION.len()));
        drop(one);
        assert_eq!(receive(&*socket), None, "somebody still holds it");
        drop(other);
        assert_eq!(receive(&*socket), Some(1));
    }
}
