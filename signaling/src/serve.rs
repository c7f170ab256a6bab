//! The listener: sockets in, one task each, all of them owned here, graceful stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::config::{Config, ConfigError};
use crate::gate::Pass;
use crate::hub::Input;
use crate::memory::Memory;
use crate::shared::Shared;
use crate::{http, socket};

/// Why the server could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system has no randomness to give.
    #[error("the system gives no random bytes: {0}")]
    NoRandomness(getrandom::Error),
}

/// What a socket may hold in the kernel, each way: enough for a full room's worth of handshakes.
const KERNEL_BUFFER: usize = 64 * 1024;
/// How long to let sockets close before the next accept, when there are too many.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// All tasks are gone this long after the shutdown began, whatever they wait for.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// Serves until `shutdown`, then tells every client, closes and returns within two seconds
/// (plus what [`Config::drain_for`] has above one). The caller binds the listener.
pub async fn run(
    listener: TcpListener,
    config: Config,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    config.check()?;
    let mut seed = [0u8; 32];
    getrandom::fill(&mut seed).map_err(RunError::NoRandomness)?;
    let shared = Arc::new(Shared::new(config, seed));
    let mut tasks = JoinSet::new();
    let mut accept_from = Instant::now();
    let mut memory = Memory::default();
    info!("the room server is up");
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, accept_from) => match accepted {
                Ok((tcp, peer)) => admit(&shared, &mut tasks, tcp, peer),
                // Mostly "too many open files": waiting lets some close, and keeps the CPU free.
                Err(e) => {
                    warn!(error = %e, "a connection could not be accepted");
                    accept_from = Instant::now() + ACCEPT_PAUSE;
                }
            },
            Some(ended) = tasks.join_next(), if !tasks.is_empty() => {
                note(ended);
                memory.freed();
            }
            () = memory.give_back() => {}
            () = tick(&shared) => {}
        }
    }
    info!(connections = tasks.len(), "the room server stops");
    // Newcomers are refused by the system rather than left waiting.
    drop(listener);
    stop(&shared, &mut tasks).await;
    Ok(())
}

async fn accept(listener: &TcpListener, from: Instant) -> std::io::Result<(TcpStream, SocketAddr)> {
    sleep_until(from).await;
    listener.accept().await
}

fn admit(shared: &Arc<Shared>, tasks: &mut JoinSet<()>, tcp: TcpStream, peer: SocketAddr) {
    let Some(pass) = shared.gate.enter(peer.ip(), &shared.config) else {
        debug!("a socket over the caps was closed");
        return;
    };
    // Options that fail leave a slower or bigger socket, not a wrong one.
    let _ = tcp.set_nodelay(true);
    let options = SockRef::from(&tcp);
    let _ = options.set_send_buffer_size(KERNEL_BUFFER);
    let _ = options.set_recv_buffer_size(KERNEL_BUFFER);
    tasks.spawn(connection(Arc::clone(shared), tcp, peer, pass));
}

/// One connection from accept to end. Each phase is a box of its own, freed before the next, so
/// that an idle WebSocket does not carry the HTTP machine it came through.
async fn connection(shared: Arc<Shared>, tcp: TcpStream, peer: SocketAddr, _pass: Pass) {
    let http = Box::pin(http::serve(Arc::clone(&shared), tcp, peer.ip()));
    let Some(mut upgraded) = http.await else {
        return;
    };
    let host = std::mem::take(&mut upgraded.host);
    let connection = shared.connect(upgraded.addr, host);
    drop(shared);
    Box::pin(socket::serve(upgraded, connection)).await;
}

/// Waits for the hub's next deadline and gives it its tick, or for an earlier deadline.
async fn tick(shared: &Shared) {
    let earlier = shared.clock.notified();
    let Some(at) = shared.arm() else {
        return earlier.await;
    };
    tokio::select! {
        () = earlier => {}
        () = sleep_until(at.into()) => shared.act(Input::Tick),
    }
}

async fn stop(shared: &Shared, tasks: &mut JoinSet<()>) {
    let config = &shared.config;
    let within = STOP_WITHIN.max(config.drain_for + Duration::from_secs(1));
    let last = Instant::now() + within - Duration::from_millis(200);
    shared.act(Input::Drain);
    loop {
        tokio::select! {
            () = sleep_until(last) => break,
            ended = tasks.join_next() => match ended {
                Some(ended) => note(ended),
                None => break,
            },
            () = tick(shared) => {}
        }
    }
    if !tasks.is_empty() {
        debug!(
            left = tasks.len(),
            "connections that did not close are dropped"
        );
    }
    tasks.abort_all();
    while let Some(ended) = tasks.join_next().await {
        note(ended);
    }
}

fn note(ended: Result<(), JoinError>) {
    if let Err(e) = ended
        && e.is_panic()
    {
        error!("a connection's task panicked");
    }
}
