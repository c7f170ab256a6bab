//! The sockets of a connection, with a bell and a gate.
//!
//! The driver takes in at most a batch of 256 messages at once and leaves the rest where it is.
//! It resumes only when a datagram arrives; when the sender has nothing more to send, that is
//! the next keepalive, up to two seconds later. A nudge is a datagram that no network brought: a
//! STUN binding indication, which asks for no answer and changes nothing (RFC 8445 section 11),
//! and after which the driver looks at everything else.
//!
//! How much the sockets yield is for the [`Gate`] to say.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Transmit};

use super::event::ChannelLabel;
use super::gate::{Gate, Then};

/// A binding indication without attributes: type, length, magic cookie, transaction (RFC 8489
/// section 5).
const INDICATION: [u8; 20] = [
    0x00, 0x11, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// Nudges the driver of one connection, and keeps it from getting far ahead of the readers.
#[derive(Debug, Default)]
pub(super) struct Nudge {
    /// Those of the connection's sockets. This lock and the other are held for moments only,
    /// never across a wait, nor one within the other.
    bells: Mutex<Vec<Weak<Bell>>>,
    gate: Mutex<Gate>,
    /// Has the readers look again.
    look: Notify,
    /// Has senders look again: the driver has dealt with all that came.
    dealt: Notify,
}

#[derive(Debug, Default)]
struct Bell {
    rung: AtomicBool,
    driver: AtomicWaker,
    /// How often the socket was asked in vain since it last yielded something, up to 2.
    ///
    /// Having got something, the driver asks once more at once and goes round after that; the
    /// second time it has been round.
    refused: AtomicU8,
}

impl Nudge {
    /// The round in which a reader is about to look, and the call to look again.
    pub(super) fn round(&self) -> (u64, Notified<'_>) {
        // In this order: a call for a later round is then not missed.
        let look = self.look.notified();
        (self.gate().round(), look)
    }

    /// The call to see what has been acknowledged since.
    pub(super) fn dealt(&self) -> Notified<'_> {
        self.dealt.notified()
    }

    /// A reader took a message of this many bytes.
    pub(super) fn took(&self, who: ChannelLabel, bytes: usize) {
        let then = self.gate().took(who, bytes);
        self.carry_out(then);
    }

    /// A reader looked in this round and found nothing.
    pub(super) fn idle(&self, who: ChannelLabel, round: u64) {
        let then = self.gate().idle(who, round);
        self.carry_out(then);
    }

    /// A reader does not read for now, or no more.
    pub(super) fn away(&self, who: ChannelLabel) {
        let then = self.gate().away(who);
        self.carry_out(then);
    }

    /// Lets this many bytes through, as a reader has waited for long.
    pub(super) fn relent(&self, bytes: usize) {
        let then = self.gate().relent(bytes);
        self.carry_out(then);
    }

    /// Has the driver look at everything once more: what a step of its own brought about, it would
    /// otherwise send with its next timer.
    pub(super) fn ring(&self) {
        self.carry_out(Then::Ring);
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

    fn carry_out(&self, then: Then) {
        let ring = match then {
            Then::Nothing => return,
            Then::Ring => true,
            Then::Wake => false,
        };
        // All of them: the driver may have given up one.
        for bell in self.bells().iter().filter_map(Weak::upgrade) {
            if ring {
                bell.rung.store(true, Ordering::Release);
            }
            bell.driver.wake();
        }
    }

    fn bells(&self) -> MutexGuard<'_, Vec<Weak<Bell>>> {
        self.bells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct BelledSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    bell: Arc<Bell>,
    nudge: Arc<Nudge>,
}

impl BelledSocket {
    /// Nothing to be had while the gate is closed.
    fn refuse(&self, cx: &Context<'_>) {
        let refused = self.bell.refused.load(Ordering::Relaxed);
        if refused < 2 {
            self.bell.refused.store(refused + 1, Ordering::Relaxed);
        }
        if refused == 0 {
            cx.waker().wake_by_ref();
        } else if self.nudge.gate().been_round() {
            self.nudge.look.notify_waiters();
        }
    }
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
        self.bell.driver.register(cx.waker());
        let (closes, closed) = {
            let mut gate = self.nudge.gate();
            (gate.closes(), gate.is_closed())
        };
        if (self.bell.rung.swap(false, Ordering::AcqRel) || closes) && indicate(bufs, meta) {
            self.bell.refused.store(0, Ordering::Relaxed);
            return Poll::Ready(Ok(1));
        }
        if closed {
            self.nudge.dealt.notify_waiters();
            self.refuse(cx);
            return Poll::Pending;
        }
        let received = self.inner.poll_recv(cx, bufs, meta);
        if received.is_pending() {
            self.nudge.dealt.notify_waiters();
        }
        if let Poll::Ready(Ok(count)) = &received {
            let yielded = meta.iter().take(*count);
            let (bytes, datagrams) = yielded.fold((0, 0), |(bytes, datagrams), m| {
                let parts = m.len.div_ceil(m.stride.max(1));
                (bytes + m.len, datagrams + parts)
            });
            self.nudge.gate().yielded(bytes, datagrams);
            self.bell.refused.store(0, Ordering::Relaxed);
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

/// Writes the indication; false when there is no room for it.
fn indicate(bufs: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> bool {
    let (Some(meta), Some(buf)) = (meta.first_mut(), bufs.first_mut()) else {
        return false;
    };
    let Some(start) = buf.get_mut(..INDICATION.len()) else {
        return false;
    };
    start.copy_from_slice(&INDICATION);
    *meta = RecvMeta::default();
    // No candidate has this address, so nobody seems to have spoken.
    meta.addr = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    meta.len = INDICATION.len();
    meta.stride = INDICATION.len();
    true
}

#[cfg(test)]
mod tests {
    use super::super::gate::BOUND;
    use super::*;
    use futures::task::noop_waker;

    const LEN: usize = 60_000;

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
            (meta[0].len, meta[0].stride) = (LEN, LEN);
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

    #[tokio::test]
    async fn who_is_not_read_yields_no_more_than_the_bound() {
        let nudge = Arc::new(Nudge::default());
        let socket = nudge.attach(Arc::new(Full));
        let label = ChannelLabel::Messages;
        let (round, _) = nudge.round();
        nudge.idle(label, round);
        let mut yielded = 0;
        while receive(&*socket) == Some(LEN) {
            yielded += LEN;
        }
        assert!((BOUND..BOUND + 2 * LEN).contains(&yielded), "{yielded}");

        let (round, look) = nudge.round();
        let mut look = std::pin::pin!(look);
        assert_eq!(receive(&*socket), None);
        assert!(futures::poll!(&mut look).is_pending(), "not been round");
        assert_eq!(receive(&*socket), None);
        assert!(futures::poll!(&mut look).is_ready());

        nudge.took(label, 20);
        nudge.idle(label, round + 1);
        assert_eq!(receive(&*socket), Some(INDICATION.len()), "asked again");
        assert_eq!(receive(&*socket), None);
        assert_eq!(receive(&*socket), None);
        nudge.idle(label, round + 2);
        assert_eq!(receive(&*socket), Some(LEN), "there was nothing left");
    }
}
