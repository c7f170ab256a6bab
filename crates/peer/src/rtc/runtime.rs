//! The runtime that drives connections: tokio, with UDP sockets sized by us.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::SockRef;
use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, Runtime,
    TokioRuntime,
};

use super::nudge::Nudge;

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The crate's tokio runtime with one difference: UDP sockets get large kernel buffers before
/// they are used. With the system's default of about 200 KiB a burst of one SCTP window
/// overflows the receiver, and every overflow costs a round trip.
#[derive(Debug)]
pub struct TunedRuntime {
    inner: TokioRuntime,
    udp_buffer: usize,
    nudge: Arc<Nudge>,
}

impl TunedRuntime {
    /// A runtime for one connection, whose UDP sockets ask for `udp_buffer` bytes per direction.
    #[must_use]
    pub fn new(udp_buffer: usize) -> Self {
        Self {
            inner: TokioRuntime,
            udp_buffer,
            nudge: Arc::default(),
        }
    }

    pub(super) fn nudge(&self) -> Arc<Nudge> {
        Arc::clone(&self.nudge)
    }
}

/// Payload bytes that the receive buffer of a UDP socket really holds after asking for
/// `requested`: what the kernel grants, which may be far less, read back from a socket of its
/// own.
///
/// # Errors
///
/// When no UDP socket can be opened at all.
pub fn effective_udp_buffer(requested: usize) -> io::Result<usize> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    size_buffers(&socket, requested);
    let reported = SockRef::from(&socket).recv_buffer_size()?;
    // Linux books every datagram with its bookkeeping and therefore doubles the value it
    // grants (socket(7), SO_RCVBUF); only half of it is payload.
    Ok(if cfg!(target_os = "linux") {
        reported / 2
    } else {
        reported
    })
}

/// Asks for `bytes` in both directions. A refusal leaves the system's size, which works, slowly.
fn size_buffers(socket: &UdpSocket, bytes: usize) {
    let socket = SockRef::from(socket);
    if let Err(error) = socket.set_recv_buffer_size(bytes) {
        tracing::debug!(%error, bytes, "receive buffer not set");
    }
    if let Err(error) = socket.set_send_buffer_size(bytes) {
        tracing::debug!(%error, bytes, "send buffer not set");
    }
}

impl Runtime for TunedRuntime {
    fn spawn(&self, future: BoxFuture<'static, ()>) -> Box<dyn JoinHandle> {
        self.inner.spawn(future)
    }

    fn spawn_reactor(&self, threads: usize, future: BoxFuture<'static, ()>) -> Box<dyn JoinHandle> {
        self.inner.spawn_reactor(threads, future)
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        size_buffers(&socket, self.udp_buffer);
        Ok(self.nudge.attach(self.inner.wrap_udp_socket(socket)?))
    }

    fn wrap_tcp_listener(
        &self,
        listener: std::net::TcpListener,
    ) -> io::Result<Arc<dyn AsyncTcpListener>> {
        self.inner.wrap_tcp_listener(listener)
    }

    fn connect_tcp<'a>(
        &'a self,
        remote: SocketAddr,
    ) -> BoxFuture<'a, io::Result<Arc<dyn AsyncTcpStream>>> {
        self.inner.connect_tcp(remote)
    }

    fn resolve_host<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        self.inner.resolve_host(host)
    }

    fn now(&self) -> Instant {
        self.inner.now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.inner.sleep(duration)
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        self.inner.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        self.inner.block_on(future);
    }

    fn yield_now(&self) -> BoxFuture<'static, ()> {
        self.inner.yield_now()
    }

    fn name(&self) -> &'static str {
        "tokio, tuned"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_size_never_exceeds_the_request() {
        let requested = 64 * 1024;
        let effective = effective_udp_buffer(requested).unwrap();
        assert!(effective > 0 && effective <= requested, "{effective}");
    }
}
