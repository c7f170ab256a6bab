//! A stream that gives so many bytes and no more, until it is allowed others.
//!
//! The WebSocket layer above bounds a message, not what it takes to send one: fragments without
//! content, or without end, would have it read for ever.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// See the module.
pub(super) struct Metered<S> {
    inner: S,
    left: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("too many bytes for one message")]
struct TooMuch;

/// Whether an error is of a [`Metered`] stream that has given all it may.
pub(super) fn is_too_much(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|e| e.is::<TooMuch>())
}

impl<S> Metered<S> {
    /// A stream that gives `left` bytes.
    pub fn new(inner: S, left: u64) -> Self {
        Metered { inner, left }
    }

    /// From now on it gives this many.
    pub fn allow(&mut self, left: u64) {
        self.left = left;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::Error::other(TooMuch)));
        }
        let before = buf.filled().len();
        let done = Pin::new(&mut self.inner).poll_read(cx, buf);
        let read = buf.filled().len().saturating_sub(before);
        self.left = self.left.saturating_sub(read as u64);
        done
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

    #[tokio::test]
    async fn it_gives_what_is_allowed_and_then_an_error() {
        let mut stream = Metered::new(&b"0123456789"[..], 4);
        let mut bytes = [0; 2];
        stream.read_exact(&mut bytes).await.unwrap();
        stream.read_exact(&mut bytes).await.unwrap();
        let error = stream.read_exact(&mut bytes).await.unwrap_err();
        assert!(is_too_much(&error));
        stream.allow(2);
        stream.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"45");
    }
}
