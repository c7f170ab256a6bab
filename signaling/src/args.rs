//! The configuration as command line flags and environment variables.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::{Config, Network, Secret};
use crate::serve::{RunError, run};

/// The environment variable with the TURN secret: a command line is readable by every user of
/// the machine.
pub const TURN_SECRET_ENV: &str = "KITH_TURN_SECRET";

/// Flags of the room server. Every one has a default; lists are separated by commas.
#[derive(Debug, Clone, clap::Args)]
pub struct ServerArgs {
    /// Address and port to listen on.
    #[arg(
        long,
        env = "KITH_LISTEN",
        hide_env_values = true,
        default_value = "127.0.0.1:7400",
        value_name = "ADDR:PORT"
    )]
    pub listen: String,
    /// Names under which clients reach this server, as in their invites: host or host:port.
    #[arg(
        long,
        env = "KITH_PUBLIC_ORIGINS",
        hide_env_values = true,
        value_delimiter = ',',
        value_name = "HOST[:PORT]"
    )]
    pub public_origin: Vec<String>,
    /// STUN servers for clients, instead of the public ones; empty for none.
    #[arg(
        long,
        env = "KITH_STUN_URLS",
        hide_env_values = true,
        value_delimiter = ',',
        value_name = "stun:HOST[:PORT]"
    )]
    pub stun: Option<Vec<String>>,
    /// TURN servers for clients. Their secret comes from KITH_TURN_SECRET or --turn-secret-file.
    #[arg(
        long,
        env = "KITH_TURN_URLS",
        hide_env_values = true,
        value_delimiter = ',',
        value_name = "turn:HOST[:PORT]"
    )]
    pub turn: Vec<String>,
    /// File with the secret shared with the TURN servers (coturn: static-auth-secret).
    #[arg(
        long,
        env = "KITH_TURN_SECRET_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub turn_secret_file: Option<PathBuf>,
    /// Seconds a TURN credential lives.
    #[arg(
        long,
        env = "KITH_TURN_TTL",
        hide_env_values = true,
        default_value_t = 3600,
        value_name = "SECONDS"
    )]
    pub turn_ttl: u64,
    /// Reverse proxies whose X-Forwarded-For is believed: addresses or ranges.
    #[arg(
        long,
        env = "KITH_TRUSTED_PROXIES",
        hide_env_values = true,
        value_delimiter = ',',
        value_name = "ADDR[/BITS]"
    )]
    pub trusted_proxy: Vec<Network>,
    /// Connections at once.
    #[arg(long, env = "KITH_MAX_CONNECTIONS", hide_env_values = true, default_value_t = Config::default().max_connections)]
    pub max_connections: usize,
    /// Connections at once from one address.
    #[arg(long, env = "KITH_MAX_PER_ADDRESS", hide_env_values = true, default_value_t = Config::default().max_per_address)]
    pub max_per_address: usize,
    /// Members of one room.
    #[arg(long, env = "KITH_ROOM_CAPACITY", hide_env_values = true, default_value_t = Config::default().room_capacity)]
    pub room_capacity: u16,
}

/// Why the room server did not start, in one sentence for the person who started it.
#[derive(Debug, thiserror::Error)]
pub enum MainError {
    /// Not an address to listen on.
    #[error("{0:?} is not an address to listen on: write it as 127.0.0.1:7400 or [::]:7400")]
    BadListen(String),
    /// Another process listens there.
    #[error("{0} is already in use: stop the other program or choose another port with --listen")]
    InUse(SocketAddr),
    /// The system refuses to listen there.
    #[error("cannot listen on {0}: {1}")]
    CannotListen(SocketAddr, std::io::Error),
    /// The secret cannot be read.
    #[error("the TURN secret cannot be read from {0:?}: {1}")]
    Secret(PathBuf, std::io::Error),
    /// The configuration or the system does not allow to run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// No way to learn that the process is asked to stop.
    #[error("cannot wait for signals: {0}")]
    Signals(std::io::Error),
}

impl ServerArgs {
    /// The configuration these flags describe. `secret` is the value of [`TURN_SECRET_ENV`];
    /// the file goes first.
    pub fn config(&self, secret: Option<&str>) -> Result<Config, MainError> {
        let full = |list: &[String]| -> Vec<String> {
            let trimmed = list.iter().map(|s| s.trim().to_owned());
            trimmed.filter(|s| !s.is_empty()).collect()
        };
        let from_file = match &self.turn_secret_file {
            None => None,
            Some(path) => Some(
                std::fs::read_to_string(path).map_err(|e| MainError::Secret(path.clone(), e))?,
            ),
        };
        let defaults = Config::default();
        let config = Config {
            stun_urls: self.stun.as_deref().map_or(defaults.stun_urls, full),
            turn_urls: full(&self.turn),
            turn_secret: from_file.as_deref().or(secret).and_then(Secret::new),
            turn_ttl: Duration::from_secs(self.turn_ttl),
            public_origins: full(&self.public_origin)
                .iter()
                .map(|o| o.to_ascii_lowercase())
                .collect(),
            trusted_proxies: self.trusted_proxy.clone(),
            max_connections: self.max_connections,
            max_per_address: self.max_per_address,
            room_capacity: self.room_capacity,
            ..defaults
        };
        config.check().map_err(RunError::from)?;
        Ok(config)
    }

    /// Binds the address to listen on, and lets the process have as many sockets as it may.
    pub fn bind(&self) -> Result<TcpListener, MainError> {
        raise_file_limit();
        let addr: SocketAddr = self
            .listen
            .parse()
            .map_err(|_| MainError::BadListen(self.listen.clone()))?;
        let listen = || {
            let socket = if addr.is_ipv4() {
                tokio::net::TcpSocket::new_v4()?
            } else {
                tokio::net::TcpSocket::new_v6()?
            };
            // A restart must not wait for the connections of the run before. Elsewhere than on
            // Unix the option would let two servers share a port.
            #[cfg(unix)]
            socket.set_reuseaddr(true)?;
            socket.bind(addr)?;
            socket.listen(1024)
        };
        listen().map_err(|e: std::io::Error| {
            if e.kind() == std::io::ErrorKind::AddrInUse {
                MainError::InUse(addr)
            } else {
                MainError::CannotListen(addr, e)
            }
        })
    }
}

/// Runs the room server as a process does: binds, serves, stops gracefully on SIGTERM or
/// interrupt. Needs a tokio runtime and says what happens by `tracing` only.
pub async fn main_with(args: ServerArgs) -> Result<(), MainError> {
    let config = args.config(std::env::var(TURN_SECRET_ENV).ok().as_deref())?;
    // Before anybody can learn that we listen: a stop that comes at once is graceful too.
    let mut stopped = stop_asked().map_err(MainError::Signals)?;
    let listener = args.bind()?;
    let addr = listener.local_addr();
    if let Ok(addr) = addr {
        info!(%addr, "listening");
        if config.public_origins.is_empty() && !addr.ip().is_loopback() {
            warn!("no --public-origin: join proofs are checked against the Host header");
        }
    }
    let shutdown = CancellationToken::new();
    let serving = run(listener, config, shutdown.clone());
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => return Ok(ended?),
        () = &mut stopped => shutdown.cancel(),
    }
    Ok(serving.await?)
}

type Stopped = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Resolves when the process is asked to stop.
#[cfg(unix)]
fn stop_asked() -> std::io::Result<Stopped> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    Ok(Box::pin(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    }))
}

/// Resolves when the process is asked to stop.
#[cfg(not(unix))]
fn stop_asked() -> std::io::Result<Stopped> {
    Ok(Box::pin(async {
        let _ = tokio::signal::ctrl_c().await;
    }))
}

/// Every connection is a file; the soft limit is often 1024 where the hard one is far higher.
#[cfg(unix)]
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(e) = setrlimit(Resource::Nofile, limit) {
        warn!(error = %e, "the limit of open files stays as it is");
    }
}

#[cfg(not(unix))]
fn raise_file_limit() {}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: ServerArgs,
    }

    fn args(flags: &[&str]) -> ServerArgs {
        let all = ["server"].iter().chain(flags);
        Cli::try_parse_from(all).map(|c| c.args).unwrap()
    }

    #[test]
    fn no_flags_are_enough() {
        let config = args(&[]).config(None).unwrap();
        assert_eq!(config.stun_urls, Config::default().stun_urls);
        assert!(config.turn_secret.is_none());
    }

    #[test]
    fn flags_reach_the_configuration() {
        let a = args(&[
            "--turn",
            "turn:a,turns:b",
            "--stun",
            "",
            "--public-origin",
            "Example.org:7400",
            "--trusted-proxy",
            "10.0.0.0/8,::1",
            "--room-capacity",
            "4",
        ]);
        let config = a.config(Some("north")).unwrap();
        assert_eq!(config.turn_urls, ["turn:a", "turns:b"]);
        assert!(config.stun_urls.is_empty());
        assert_eq!(config.public_origins, ["example.org:7400"]);
        assert_eq!(config.trusted_proxies.len(), 2);
        assert_eq!(config.room_capacity, 4);
        assert!(a.config(None).is_err());
    }

    #[test]
    fn the_secret_file_goes_before_the_environment() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "from-file\n").unwrap();
        let flags = ["--turn", "turn:a", "--turn-secret-file"];
        let a = args(&[&flags[..], &[path.to_str().unwrap()]].concat());
        let config = a.config(Some("from-env")).unwrap();
        assert_eq!(config.turn_secret, Secret::new("from-file"));
        let missing = dir.path().join("missing");
        let a = args(&[&flags[..], &[missing.to_str().unwrap()]].concat());
        assert!(matches!(a.config(None), Err(MainError::Secret(..))));
    }

    #[tokio::test]
    async fn a_bad_or_taken_address_is_said_in_one_sentence() {
        let bad = args(&["--listen", "nowhere"]).bind().unwrap_err();
        assert!(matches!(bad, MainError::BadListen(_)));
        let first = args(&["--listen", "127.0.0.1:0"]).bind().unwrap();
        let taken = first.local_addr().unwrap().to_string();
        let second = args(&["--listen", &taken]).bind().unwrap_err();
        assert!(matches!(second, MainError::InUse(_)), "{second}");
        assert!(!second.to_string().contains('\n'));
    }
}
