//! How fast: a token bucket, as arithmetic. Whoever sends asks it how long to wait.

use std::time::Duration;

use crate::time::Mono;

/// What is not used within this time is lost: so much may go at once after a rest.
const BURST_MS: u64 = 100;
/// No path is faster, and numbers stay far from their ends.
const FASTEST: u64 = 1 << 40;

/// A bound in bytes per second, or none. More may be taken than there is: then one waits until the debt is
/// paid.
#[derive(Debug, Clone, Default)]
pub struct Bucket {
    rate: Option<u64>,
    /// Thousandths of a byte.
    left: i64,
    at: Mono,
}

impl Bucket {
    /// With a bound, or without.
    pub fn new(rate: Option<u64>, now: Mono) -> Self {
        Bucket {
            rate: rate.map(|r| r.clamp(1, FASTEST)),
            left: 0,
            at: now,
        }
    }

    /// Another bound from now on. What was taken before counts by the old one.
    pub fn set(&mut self, rate: Option<u64>, now: Mono) {
        self.refill(now);
        self.rate = rate.map(|r| r.clamp(1, FASTEST));
        if self.rate.is_none() {
            self.left = 0;
        }
    }

    /// The same, if it is another.
    pub fn bound(&mut self, rate: Option<u64>, now: Mono) {
        if self.rate != rate.map(|r| r.clamp(1, FASTEST)) {
            self.set(rate, now);
        }
    }

    /// Whether there is a bound.
    pub fn is_bounded(&self) -> bool {
        self.rate.is_some()
    }

    /// Takes `bytes`; so long to wait before they are sent.
    pub fn take(&mut self, bytes: u64, now: Mono) -> Duration {
        self.refill(now);
        if self.rate.is_none() {
            return Duration::ZERO;
        }
        let taken = i64::try_from(bytes.saturating_mul(1000)).unwrap_or(i64::MAX);
        self.left = self.left.saturating_sub(taken);
        self.debt()
    }

    /// So long until there is no debt.
    pub fn debt(&self) -> Duration {
        match self.rate {
            Some(rate) if self.left < 0 => {
                Duration::from_millis(self.left.unsigned_abs().div_ceil(rate))
            }
            Some(_) | None => Duration::ZERO,
        }
    }

    fn refill(&mut self, now: Mono) {
        let passed = now.since(self.at).as_millis() as u64;
        self.at = self.at.max(now);
        let Some(rate) = self.rate else { return };
        // A byte per second is a thousandth of a byte per millisecond.
        let fresh = i64::try_from(passed.saturating_mul(rate)).unwrap_or(i64::MAX);
        let most = (BURST_MS * rate) as i64;
        self.left = self.left.saturating_add(fresh).min(most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bound_is_held_over_time_and_a_rest_is_no_treasure() {
        let mut b = Bucket::new(Some(1_000_000), Mono(0));
        assert_eq!(b.take(500_000, Mono(0)), Duration::from_millis(500));
        assert_eq!(b.take(0, Mono(400)), Duration::from_millis(100));
        assert_eq!(b.take(0, Mono(500)), Duration::ZERO);
        // After an hour: a tenth of a second's worth, no more.
        assert_eq!(b.take(100_000, Mono(3_600_000)), Duration::ZERO);
        assert_eq!(b.take(1_000, Mono(3_600_000)), Duration::from_millis(1));
    }

    #[test]
    fn without_a_bound_nothing_waits() {
        let mut b = Bucket::new(None, Mono(0));
        assert_eq!(b.take(u64::MAX, Mono(0)), Duration::ZERO);
        b.set(Some(1000), Mono(0));
        assert_eq!(b.take(1000, Mono(0)), Duration::from_secs(1));
        b.set(None, Mono(1));
        assert_eq!(b.take(1 << 40, Mono(1)), Duration::ZERO);
    }

    proptest! {
        /// Whoever waits as told never sends more than the bound and one burst.
        #[test]
        fn no_span_carries_more_than_its_bound(
            rate in 1u64..10_000_000,
            takes in prop::collection::vec((0u64..200, 1u64..100_000), 1..60),
        ) {
            let mut b = Bucket::new(Some(rate), Mono(0));
            let (mut now, mut sent) = (0u64, 0u64);
            for (rest, bytes) in takes {
                now += rest;
                now += b.take(bytes, Mono(now)).as_millis() as u64;
                sent += bytes;
                let most = (now + BURST_MS) * rate / 1000 + 1;
                prop_assert!(sent <= most, "{sent} in {now} ms at {rate}");
            }
        }

        #[test]
        fn no_number_is_too_large(rate: u64, bytes: u64, a: u32, b: u64) {
            let mut bucket = Bucket::new(Some(rate), Mono(a.into()));
            bucket.take(bytes, Mono(b));
            bucket.set(Some(bytes), Mono(0));
            bucket.take(rate, Mono(u64::MAX));
        }
    }
}
