//! A way to make a connection's driver look at its queues.
//!
//! The driver takes in at most a batch of 256 messages at once and leaves the rest where it is.
//! It resumes only when a datagram arrives; when the sender has nothing more to send, that is
//! the next keepalive, up to two seconds later. A nudge is a datagram that no network brought: a
//! STUN binding indication, which asks for no answer and changes nothing (RFC 8445 section 11),
//! and after which the driver looks at everything else.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;
use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Transmit};

/// A binding indication without attributes: type, length, magic cookie, transaction (RFC 8489
/// section 5).
const INDICATION: [u8; 20] = [
    0x00, 0x11, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// Nudges the driver of one connection, through the socket it bound last.
#[derive(Debug, Default)]
pub(super) struct Nudge {
    /// Replaced when the driver binds anew. Locked for moments only, never across a wait.
    latest: Mutex<Option<Arc<Bell>>>,
}

#[derive(Debug, Default)]
struct Bell {
    rung: AtomicBool,
    reader: AtomicWaker,
}

impl Nudge {
    /// Makes the driver look, soon.
    pub(super) fn ring(&self) {
        if let Some(bell) = &*self.latest.lock().unwrap_or_else(PoisonError::into_inner) {
            bell.rung.store(true, Ordering::Release);
            bell.reader.wake();
        }
    }

    /// Puts the bell on `socket`.
    pub(super) fn attach(&self, socket: Arc<dyn AsyncUdpSocket>) -> Arc<dyn AsyncUdpSocket> {
        let bell = Arc::new(Bell::default());
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&bell));
        Arc::new(BelledSocket {
            inner: socket,
            bell,
        })
    }
}

#[derive(Debug)]
struct BelledSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    bell: Arc<Bell>,
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
        self.inner.poll_recv(cx, bufs, meta)
    }

    fn max_gso_segments(&self) -> usize {
        self.inner.max_gso_segments()
    }

    fn max_gro_segments(&self) -> usize {
        self.inner.max_gro_segments()
    }
}
