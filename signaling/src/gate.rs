//! Counts sockets before anything is read from them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::Config;
use crate::hub::AddrKey;

/// The caps on open sockets, whatever they turn out to be.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    open: Mutex<Open>,
    refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_address: HashMap<AddrKey, usize>,
}

/// One open socket; dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Arc<Gate>,
    key: Option<AddrKey>,
}

impl Gate {
    /// A place for a socket, or `None` where its address or everybody has too many. A trusted
    /// proxy counts towards the whole only: its clients are told apart later.
    pub fn enter(self: &Arc<Self>, peer: IpAddr, config: &Config) -> Option<Pass> {
        let key = (!config.is_trusted(peer)).then(|| AddrKey::of(peer));
        let mut open = self.lock();
        // Twice the room of the hub: a refusal with a reason needs a socket for a moment.
        let mut fits = open.all < config.max_connections.saturating_mul(2);
        if let Some(key) = key {
            let here = open.by_address.get(&key).copied().unwrap_or_default();
            fits &= here < config.max_per_address.saturating_mul(2);
        }
        if !fits {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        open.all += 1;
        if let Some(key) = key {
            *open.by_address.entry(key).or_default() += 1;
        }
        let gate = Arc::clone(self);
        Some(Pass { gate, key })
    }

    /// Sockets closed for want of a place.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut open = self.gate.lock();
        open.all = open.all.saturating_sub(1);
        if let Some(key) = self.key
            && let Some(n) = open.by_address.get_mut(&key)
        {
            *n = n.saturating_sub(1);
            if *n == 0 {
                open.by_address.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_comes_back_when_its_socket_ends() {
        let gate = Arc::new(Gate::default());
        let config = Config {
            max_per_address: 1,
            trusted_proxies: vec!["10.0.0.1".parse().unwrap()],
            ..Config::default()
        };
        let enter = |a: &str| gate.enter(a.parse().unwrap(), &config);
        let (one, _two) = (enter("1.1.1.1"), enter("1.1.1.1"));
        assert!(one.is_some());
        assert!(enter("1.1.1.1").is_none());
        assert!(enter("1.1.1.2").is_some());
        drop(one);
        assert!(enter("1.1.1.1").is_some());
        let proxied: Vec<_> = (0..5).map(|_| enter("10.0.0.1")).collect();
        assert!(proxied.iter().all(Option::is_some));
        assert_eq!(gate.refused(), 1);
    }
}
