//! Token buckets, and what is remembered of each address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use super::At;
use crate::config::{Config, Rate};

/// A token bucket in whole tokens and nanoseconds, so that no rounding drifts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    tokens: u32,
    filled: At,
}

impl Bucket {
    pub fn full(rate: Rate, now: At) -> Self {
        Bucket {
            tokens: rate.burst,
            filled: now,
        }
    }

    /// Takes `n` tokens, or none and says no.
    pub fn take(&mut self, n: u32, rate: Rate, now: At) -> bool {
        self.fill(rate, now);
        match self.tokens.checked_sub(n) {
            Some(rest) => {
                self.tokens = rest;
                true
            }
            None => false,
        }
    }

    fn is_full(&mut self, rate: Rate, now: At) -> bool {
        self.fill(rate, now);
        self.tokens >= rate.burst
    }

    fn fill(&mut self, rate: Rate, now: At) {
        let passed = now.since(self.filled).as_nanos();
        let due = passed * u128::from(rate.per_second) / 1_000_000_000;
        if due >= u128::from(rate.burst.saturating_sub(self.tokens)) {
            self.tokens = rate.burst;
            self.filled = now;
        } else if due > 0 {
            // `due` is below a `u32` here. Only the time that made whole tokens is used up.
            self.tokens += due as u32;
            let used = due * 1_000_000_000 / u128::from(rate.per_second);
            self.filled = self.filled.plus(Duration::from_nanos(used as u64));
        }
    }
}

/// What limits are counted by: an IPv4 address, or an IPv6 /64, which is what one site gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct AddrKey(IpAddr);

impl AddrKey {
    pub fn of(addr: IpAddr) -> Self {
        AddrKey(match addr.to_canonical() {
            IpAddr::V4(a) => IpAddr::V4(a),
            IpAddr::V6(a) => IpAddr::V6((a.to_bits() >> 64 << 64).into()),
        })
    }
}

#[derive(Debug)]
struct Known {
    connections: usize,
    connects: Bucket,
    joins: Bucket,
}

/// Addresses with connections, and those whose buckets are not full again yet.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    known: HashMap<AddrKey, Known>,
}

impl Addresses {
    /// Counts a connection; `false` when the address has too many, or opens them too fast.
    /// Call [`Addresses::leave`] only after a `true`.
    pub fn connect(&mut self, key: AddrKey, config: &Config, now: At) -> bool {
        // Addresses are cheap to come by, so the table has a bound of its own.
        if self.known.len() >= config.max_connections.saturating_mul(4) {
            self.sweep(config, now);
            if self.known.len() >= config.max_connections.saturating_mul(4) {
                return false;
            }
        }
        let known = self.known.entry(key).or_insert_with(|| Known {
            connections: 0,
            connects: Bucket::full(config.connect_rate, now),
            joins: Bucket::full(config.join_rate, now),
        });
        let ok = known.connections < config.max_per_address
            && known.connects.take(1, config.connect_rate, now);
        if ok {
            known.connections += 1;
        }
        ok
    }

    /// One connection less.
    pub fn leave(&mut self, key: AddrKey) {
        if let Some(known) = self.known.get_mut(&key) {
            known.connections = known.connections.saturating_sub(1);
        }
    }

    /// Whether a proof from this address may be checked now.
    pub fn may_join(&mut self, key: AddrKey, config: &Config, now: At) -> bool {
        self.known
            .get_mut(&key)
            .is_some_and(|k| k.joins.take(1, config.join_rate, now))
    }

    /// Forgets the addresses about which nothing is left to know.
    pub fn sweep(&mut self, config: &Config, now: At) {
        self.known.retain(|_, k| {
            k.connections > 0
                || !k.connects.is_full(config.connect_rate, now)
                || !k.joins.is_full(config.join_rate, now)
        });
    }

    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> At {
        At(Duration::from_millis(ms))
    }

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate() {
        let rate = Rate::new(10, 3);
        let mut b = Bucket::full(rate, at(0));
        assert!((0..3).all(|_| b.take(1, rate, at(0))));
        assert!(!b.take(1, rate, at(0)));
        assert!(!b.take(1, rate, at(99)));
        assert!(b.take(1, rate, at(100)));
        assert!(!b.take(1, rate, at(199)));
        assert!(b.take(1, rate, at(200)));
        assert!(b.take(3, rate, at(100_000)));
        assert!(!b.take(1, rate, at(100_000)));
    }

    #[test]
    fn a_bucket_never_gives_back_and_survives_a_clock_that_stands() {
        let rate = Rate::new(0, 1);
        let mut b = Bucket::full(rate, at(5));
        assert!(b.take(1, rate, at(5)));
        assert!(!b.take(1, rate, at(1)));
        assert!(!b.take(1, rate, at(u32::MAX.into())));
    }

    #[test]
    fn one_ipv6_site_is_one_address() {
        let key = |s: &str| AddrKey::of(s.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:1.2.3.4"), key("1.2.3.4"));
        assert_ne!(key("1.2.3.5"), key("1.2.3.4"));
    }

    #[test]
    fn idle_addresses_are_forgotten() {
        let config = Config::default();
        let mut table = Addresses::default();
        let key = AddrKey::of("1.2.3.4".parse().unwrap());
        assert!(table.connect(key, &config, at(0)));
        table.sweep(&config, at(1_000_000));
        assert!(!table.is_empty());
        table.leave(key);
        table.sweep(&config, at(1_000_000));
        assert!(table.is_empty());
    }
}
