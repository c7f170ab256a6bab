//! The room server inside the app, for rooms in the local network.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use kith_api::ApiError;
use kith_protocol::Code;
use kith_signaling::Config;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The port that is tried first.
const PORT: u16 = 7400;

/// A room server that runs.
#[derive(Debug)]
pub struct RoomServer {
    addr: SocketAddr,
    stop: CancellationToken,
    serving: tauri::async_runtime::JoinHandle<()>,
}

impl RoomServer {
    /// Starts on the port it had before, or on one that is free.
    ///
    /// # Errors
    ///
    /// [`Code::ServerUnreachable`] where the system lets us listen nowhere.
    pub async fn start(ip: IpAddr, before: Option<u16>) -> Result<Self, ApiError> {
        let listener = listen(ip, before).await.map_err(|e| {
            let message = format!("The room server inside Kith cannot start ({e}).");
            ApiError::with(Code::ServerUnreachable, message)
        })?;
        let port = listener.local_addr().map_or(PORT, |a| a.port());
        let addr = SocketAddr::new(ip, port);
        let config = Config {
            // Whoever reaches this server is in the same network: no third party is needed.
            stun_urls: Vec::new(),
            public_origins: vec![addr.to_string()],
            ..Config::default()
        };
        let stop = CancellationToken::new();
        let run = kith_signaling::run(listener, config, stop.clone());
        let serving = tauri::async_runtime::spawn(async move {
            if let Err(error) = run.await {
                tracing::warn!(%error, "the room server inside the app has ended");
            }
        });
        Ok(RoomServer {
            addr,
            stop,
            serving,
        })
    }

    /// Where others reach it.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Tells its clients and ends.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.serving.await {
            tracing::warn!(%error, "the room server inside the app did not end well");
        }
    }
}

/// Every address of this machine, so that a change of network needs no new port.
async fn listen(ip: IpAddr, before: Option<u16>) -> std::io::Result<TcpListener> {
    let any = if ip.is_loopback() {
        ip
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    };
    if let Some(port) = before
        && let Ok(listener) = TcpListener::bind((any, port)).await
    {
        return Ok(listener);
    }
    match TcpListener::bind((any, PORT)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind((any, 0)).await,
    }
}

/// Our address in the local network; loopback where there is none.
pub fn local_address(loopback: bool) -> IpAddr {
    if loopback {
        return Ipv4Addr::LOCALHOST.into();
    }
    // Connecting a UDP socket sends nothing: the system only says which address it would use. The
    // one named here is set aside for documentation (RFC 5737).
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0));
    let asked = socket.and_then(|s| {
        s.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        s.local_addr()
    });
    asked.map_or(Ipv4Addr::LOCALHOST.into(), |a| a.ip())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

    use super::*;

    #[test]
    fn it_keeps_its_port_and_moves_where_it_is_taken() {
        tauri::async_runtime::block_on(async {
            let ip = local_address(true);
            let first = RoomServer::start(ip, None).await.unwrap();
            let port = first.addr().port();
            let other = RoomServer::start(ip, Some(port)).await.unwrap();
            assert_ne!(other.addr().port(), port, "taken");
            first.stop().await;
            let again = RoomServer::start(ip, Some(port)).await.unwrap();
            assert_eq!(again.addr().port(), port);
            again.stop().await;
            other.stop().await;
        });
    }
}
