//! What an operator can choose. [`Config::default`] works without any choice made.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use kith_protocol::limits;

/// Most members a room can be configured for: more would not fit one `joined` message.
pub const MAX_CAPACITY: u16 = 64;

/// Everything the server can be told. Durations are here so that tests can shorten them.
#[derive(Debug, Clone)]
pub struct Config {
    /// STUN servers handed to clients, as `stun:` URLs (RFC 7064).
    pub stun_urls: Vec<String>,
    /// TURN servers handed to clients, as `turn:` or `turns:` URLs (RFC 7065).
    pub turn_urls: Vec<String>,
    /// The `static-auth-secret` shared with the TURN servers.
    pub turn_secret: Option<Secret>,
    /// Life of one TURN credential.
    pub turn_ttl: Duration,
    /// Names under which clients reach this server (`host[:port]`). A join proof must be made
    /// for one of them. Empty: the request's `Host` header is taken, which lets a server in the
    /// middle pass proofs on; name your origins on a public server.
    pub public_origins: Vec<String>,
    /// Reverse proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,

    /// Sockets at once, joined or not.
    pub max_connections: usize,
    /// Sockets at once from one address (IPv6: from one /64).
    pub max_per_address: usize,
    /// Members of one room, [`MAX_CAPACITY`] at most.
    pub room_capacity: u16,
    /// New connections from one address.
    pub connect_rate: Rate,
    /// Join proofs checked for one address.
    pub join_rate: Rate,
    /// Messages of one connection. A newcomer to a full room talks to everybody at once, hence
    /// the burst.
    pub message_rate: Rate,
    /// Bytes of messages of one connection.
    pub byte_rate: Rate,
    /// Messages over the rate that a connection may send before it is closed.
    pub strikes: Rate,

    /// See [`limits::HEADER_TIMEOUT`].
    pub header_timeout: Duration,
    /// See [`limits::JOIN_TIMEOUT`].
    pub join_timeout: Duration,
    /// See [`limits::PING_EVERY`].
    pub ping_every: Duration,
    /// See [`limits::RING_TIMEOUT`].
    pub ring_timeout: Duration,
    /// See [`limits::OUTBOX_PATIENCE`].
    pub outbox_patience: Duration,
    /// Between `restarting` and the close of all connections.
    pub drain_for: Duration,
    /// How long a close may take before the socket is dropped.
    pub close_grace: Duration,
}

/// A token bucket: a steady rate with room for a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Tokens that come back each second.
    pub per_second: u32,
    /// Most tokens at once.
    pub burst: u32,
}

impl Rate {
    /// A rate.
    pub const fn new(per_second: u32, burst: u32) -> Self {
        Rate { per_second, burst }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            stun_urls: vec![
                "stun:stun.l.google.com:19302".into(),
                "stun:stun.cloudflare.com:3478".into(),
            ],
            turn_urls: Vec::new(),
            turn_secret: None,
            turn_ttl: Duration::from_secs(3600),
            public_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            max_connections: 10_000,
            max_per_address: 256,
            room_capacity: limits::DEFAULT_CAPACITY,
            connect_rate: Rate::new(10, 128),
            join_rate: Rate::new(10, 128),
            message_rate: Rate::new(100, 1_024),
            byte_rate: Rate::new(512 * 1024, 4 * 1024 * 1024),
            strikes: Rate::new(1, 64),
            header_timeout: limits::HEADER_TIMEOUT,
            join_timeout: limits::JOIN_TIMEOUT,
            ping_every: limits::PING_EVERY,
            ring_timeout: limits::RING_TIMEOUT,
            outbox_patience: limits::OUTBOX_PATIENCE,
            drain_for: Duration::from_secs(1),
            close_grace: Duration::from_millis(500),
        }
    }
}

/// A configuration that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// TURN servers without their secret, or the other way round.
    #[error("TURN needs both the URLs of the TURN servers and the secret shared with them")]
    HalfATurn,
    /// A credential that would expire before it is renewed.
    #[error("the TURN credentials must live for at least 30 seconds")]
    ShortTurn,
    /// A limit of zero.
    #[error("the limits on connections and on room members must be at least 1")]
    ZeroLimit,
    /// A room that `joined` could not describe.
    #[error("a room can hold {MAX_CAPACITY} members at most")]
    LargeRoom,
    /// A URL that WebRTC would not accept.
    #[error("{0:?} is not a stun:, turn: or turns: URL")]
    BadUrl(String),
    /// A name that no client could have in its invite.
    #[error("{0:?} is not a server name: write it as host or host:port")]
    BadOrigin(String),
}

impl Config {
    /// Checks what the types cannot.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.turn_urls.is_empty() != self.turn_secret.is_none() {
            return Err(ConfigError::HalfATurn);
        }
        if self.turn_ttl < Duration::from_secs(30) {
            return Err(ConfigError::ShortTurn);
        }
        if self.max_connections == 0 || self.max_per_address == 0 || self.room_capacity == 0 {
            return Err(ConfigError::ZeroLimit);
        }
        if self.room_capacity > MAX_CAPACITY {
            return Err(ConfigError::LargeRoom);
        }
        let stun = self.stun_urls.iter().map(|u| (u, u.starts_with("stun:")));
        let turn = self
            .turn_urls
            .iter()
            .map(|u| (u, u.starts_with("turn:") || u.starts_with("turns:")));
        if let Some((url, _)) = stun.chain(turn).find(|(_, good)| !good) {
            return Err(ConfigError::BadUrl(url.clone()));
        }
        for origin in &self.public_origins {
            match kith_protocol::invite::ServerAddr::parse(origin) {
                Ok(addr) if addr.authority() == origin => {}
                Ok(_) | Err(_) => return Err(ConfigError::BadOrigin(origin.clone())),
            }
        }
        Ok(())
    }

    /// The client behind a connection: the socket's peer, or what a trusted proxy says it is.
    /// `forwarded` is the `X-Forwarded-For` list; it is read from the right, because everything
    /// left of the first untrusted hop could have been written by the client.
    pub fn client_addr(&self, peer: IpAddr, forwarded: Option<&str>) -> IpAddr {
        let mut addr = peer.to_canonical();
        let hops = forwarded.unwrap_or_default().rsplit(',').map(str::trim);
        for hop in hops {
            if !self.is_trusted(addr) {
                break;
            }
            let Ok(next) = hop.parse::<IpAddr>() else {
                break;
            };
            addr = next.to_canonical();
        }
        addr
    }

    /// Whether an address belongs to a configured reverse proxy.
    pub fn is_trusted(&self, addr: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|n| n.contains(addr))
    }
}

/// A shared secret; `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret, or `None` for an empty text.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Secret(text.to_owned()))
    }

    pub(crate) fn expose(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// An address or a range of addresses: `10.0.0.1` or `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    addr: IpAddr,
    prefix: u8,
}

/// A text that is not a [`Network`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an address like 10.0.0.1 or a range like 10.0.0.0/8")]
pub struct NetworkError;

impl Network {
    /// Whether the address lies in the range.
    pub fn contains(&self, addr: IpAddr) -> bool {
        match (self.addr, addr.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(a)) => {
                let shift = 32 - u32::from(self.prefix);
                net.to_bits().checked_shr(shift) == a.to_bits().checked_shr(shift)
            }
            (IpAddr::V6(net), IpAddr::V6(a)) => {
                let shift = 128 - u32::from(self.prefix);
                net.to_bits().checked_shr(shift) == a.to_bits().checked_shr(shift)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (addr, prefix) = match text.split_once('/') {
            Some((a, p)) => (a, Some(p.parse::<u8>().map_err(|_| NetworkError)?)),
            None => (text, None),
        };
        let addr = addr.parse::<IpAddr>().map_err(|_| NetworkError)?;
        let most = if addr.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(most);
        if prefix > most {
            return Err(NetworkError);
        }
        Ok(Network { addr, prefix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_mistakes_are_named() {
        let ok = Config::default();
        assert_eq!(ok.check(), Ok(()));
        let turn = |urls: &[&str], secret: &str| Config {
            turn_urls: urls.iter().map(|u| u.to_string()).collect(),
            turn_secret: Secret::new(secret),
            ..Config::default()
        };
        assert_eq!(turn(&["turn:a"], "x").check(), Ok(()));
        assert_eq!(turn(&["turn:a"], " ").check(), Err(ConfigError::HalfATurn));
        assert_eq!(turn(&[], "x").check(), Err(ConfigError::HalfATurn));
        assert_eq!(
            turn(&["http:a"], "x").check(),
            Err(ConfigError::BadUrl("http:a".into()))
        );
        for origin in ["https://a", "A.example", "a b", ""] {
            let config = Config {
                public_origins: vec![origin.into()],
                ..Config::default()
            };
            assert!(config.check().is_err(), "{origin}");
        }
        assert!(!format!("{:?}", turn(&["turn:a"], "hunter2")).contains("hunter2"));
    }

    #[test]
    fn ranges_hold_what_they_say() {
        let within = |net: &str, addr: &str| {
            net.parse::<Network>()
                .unwrap()
                .contains(addr.parse().unwrap())
        };
        assert!(within("10.0.0.0/8", "10.200.1.2"));
        assert!(!within("10.0.0.0/8", "11.0.0.1"));
        assert!(within("0.0.0.0/0", "1.2.3.4"));
        assert!(within("10.0.0.1", "::ffff:10.0.0.1"));
        assert!(!within("10.0.0.1", "10.0.0.2"));
        assert!(within("fd00::/8", "fd12::1"));
        assert!(!within("::/0", "1.2.3.4"));
        for bad in ["", "10.0.0.0/33", "10.0.0/8", "a/8", "10.0.0.0/"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let config = Config {
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            ..Config::default()
        };
        let addr = |peer: &str, forwarded: Option<&str>| {
            config
                .client_addr(peer.parse().unwrap(), forwarded)
                .to_string()
        };
        assert_eq!(addr("192.0.2.1", Some("1.1.1.1")), "192.0.2.1");
        assert_eq!(addr("10.0.0.1", Some("1.1.1.1")), "1.1.1.1");
        assert_eq!(
            addr("10.0.0.1", Some("9.9.9.9, 1.1.1.1, 10.0.0.2")),
            "1.1.1.1"
        );
        assert_eq!(addr("10.0.0.1", Some("nonsense")), "10.0.0.1");
        assert_eq!(addr("10.0.0.1", None), "10.0.0.1");
    }
}
