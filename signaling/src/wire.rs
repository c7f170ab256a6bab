//! The TCP socket below a WebSocket, with the limits that the WebSocket layer does not have.
//!
//! *Reading*: a message may cost only so many bytes. The layer above bounds its size, but not the
//! fragments without content that could go before its end.
//!
//! *Writing*: the layer above formats a message into a buffer of its own and never makes that
//! smaller again, so one large signal would cost its reader's connection 64 KiB for ever.
//! Messages therefore go round it, as they are; it writes only pings, pongs and closes. What it
//! writes is taken whole or not at all, so frames never mix.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use kith_protocol::limits;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Bytes, Utf8Bytes};

/// Bytes on the wire from the end of one message to the end of the next: the largest message, and
/// as much again for the headers of its fragments.
pub(crate) const MOST_PER_MESSAGE: usize = 2 * limits::MAX_ROOM_MESSAGE;
/// Bytes of control frames that wait for a slow reader before pings go unanswered.
const MOST_CONTROL: usize = 4096;

/// See the module.
#[derive(Debug)]
pub(crate) struct Wire {
    tcp: TcpStream,
    /// What may still be read.
    left: usize,
    /// Frames, or pieces of them, still to be written.
    out: VecDeque<Bytes>,
    out_bytes: usize,
}

#[derive(Debug, thiserror::Error)]
#[error("too many bytes for one message")]
struct TooMuch;

/// Whether an error is of a [`Wire`] that has given all it may.
pub(crate) fn is_too_much(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|e| e.is::<TooMuch>())
}

impl Wire {
    pub fn new(tcp: TcpStream) -> Self {
        Wire {
            tcp,
            left: MOST_PER_MESSAGE,
            out: VecDeque::new(),
            out_bytes: 0,
        }
    }

    /// A message has been read; another may come.
    pub fn read_one(&mut self) {
        self.left = MOST_PER_MESSAGE;
    }

    /// Gives back what a control frame cost, which may come in the middle of a message.
    pub fn read_control(&mut self, payload: usize) {
        // Opcode, length and mask (RFC 6455 section 5.2).
        self.left = MOST_PER_MESSAGE.min(self.left + payload + 6);
    }

    /// Queues a text message, as one frame. The caller flushes first: no more than one waits.
    pub fn queue_text(&mut self, text: Utf8Bytes) {
        let len = text.len();
        let mut head = vec![0x81];
        match u16::try_from(len) {
            Ok(short @ 0..=125) => head.push(short as u8),
            Ok(middle) => {
                head.push(126);
                head.extend_from_slice(&middle.to_be_bytes());
            }
            Err(_) => {
                head.push(127);
                head.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        self.push(head.into());
        self.push(text.into());
    }

    fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.out_bytes += bytes.len();
            self.out.push_back(bytes);
        }
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let mut slices = [IoSlice::new(&[]); 4];
            for (slice, bytes) in slices.iter_mut().zip(&self.out) {
                *slice = IoSlice::new(bytes);
            }
            let mut written = ready!(Pin::new(&mut self.tcp).poll_write_vectored(cx, &slices))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out_bytes = self.out_bytes.saturating_sub(written);
            while let Some(first) = self.out.front_mut() {
                if written < first.len() {
                    *first = first.slice(written..);
                    break;
                }
                written -= first.len();
                self.out.pop_front();
            }
        }
        // Idle connections are many: an empty queue keeps no memory.
        self.out = VecDeque::new();
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::Error::other(TooMuch)));
        }
        let before = buf.filled().len();
        let done = Pin::new(&mut self.tcp).poll_read(cx, buf);
        let read = buf.filled().len().saturating_sub(before);
        self.left = self.left.saturating_sub(read);
        done
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.out_bytes >= MOST_CONTROL {
            ready!(self.poll_drain(cx))?;
        }
        self.push(Bytes::copy_from_slice(bytes));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_drain(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
