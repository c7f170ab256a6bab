//! Which local addresses a connection binds, decided anew at every bind.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

use rtc::shared::ifaces::ifaces;

/// Addresses bound at most: each costs a socket and a candidate, and hosts with many container
/// bridges have dozens.
const MAX_ADDRESSES: usize = 16;

/// The machine's usable interface addresses, asked for when sockets are bound: at the start and
/// again at every ICE restart, which is how a link follows a change of network.
#[derive(Debug, Clone, Copy)]
pub(super) struct LocalAddresses {
    /// Bind loopback too; without it loopback is bound only when there is nothing else.
    pub include_loopback: bool,
}

impl ToSocketAddrs for LocalAddresses {
    type Iter = std::vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        // A machine that cannot list its interfaces still has loopback.
        let found = ifaces()
            .unwrap_or_default()
            .into_iter()
            .filter_map(|iface| iface.addr);
        let bind = choose(found.map(|addr| addr.ip()), self.include_loopback);
        Ok(bind
            .into_iter()
            .map(|ip| SocketAddr::new(ip, 0))
            .collect::<Vec<_>>()
            .into_iter())
    }
}

/// IPv4 before IPv6, in the system's order within each; loopback last.
fn choose(found: impl Iterator<Item = IpAddr>, include_loopback: bool) -> Vec<IpAddr> {
    let mut chosen: Vec<IpAddr> = Vec::new();
    for ip in found.filter(|ip| is_usable(*ip)) {
        if !chosen.contains(&ip) {
            chosen.push(ip);
        }
    }
    chosen.sort_by_key(IpAddr::is_ipv6);
    chosen.truncate(MAX_ADDRESSES);
    if include_loopback || chosen.is_empty() {
        chosen.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    chosen
}

/// Link-local addresses need a scope that a candidate does not carry (RFC 8445 section 5.1.1.1).
fn is_usable(ip: IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(link_local || ip.is_loopback() || ip.is_unspecified() || ip.is_multicast())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(found: &[&str], include_loopback: bool) -> Vec<String> {
        let found = found.iter().map(|ip| ip.parse().unwrap());
        choose(found, include_loopback)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn link_local_and_duplicates_are_left_out_and_ipv4_comes_first() {
        let found = [
            "127.0.0.1",
            "fd00::2",
            "fe80::1",
            "169.254.3.4",
            "10.0.0.2",
            "10.0.0.2",
        ];
        assert_eq!(chosen(&found, false), ["10.0.0.2", "fd00::2"]);
    }

    #[test]
    fn loopback_is_bound_when_asked_for_or_when_alone() {
        assert_eq!(
            chosen(&["127.0.0.1", "10.0.0.2"], true),
            ["10.0.0.2", "127.0.0.1"]
        );
        assert_eq!(chosen(&["127.0.0.1", "::1"], false), ["127.0.0.1"]);
        assert_eq!(chosen(&[], false), ["127.0.0.1"]);
    }

    #[test]
    fn a_host_with_many_bridges_binds_a_bounded_number() {
        let found: Vec<IpAddr> = (0..100)
            .map(|n| IpAddr::V4(Ipv4Addr::new(10, 0, n, 1)))
            .collect();
        assert_eq!(choose(found.into_iter(), false).len(), MAX_ADDRESSES);
    }
}
