//! How late packets come, and how long they should therefore wait.
//!
//! Clocks of two machines have nothing in common, so a delay is only known against the packet of
//! the last seconds that came fastest. All of it is in samples of 48 kHz.

use crate::audio::FRAME;

/// Samples of a millisecond.
pub(super) const MS: i64 = 48;
/// One frame, in samples.
pub(super) const TICK: i64 = FRAME as i64;
/// The least and the most to aim at …
const TARGETS: (i64, i64) = (20 * MS, 400 * MS);
/// … and where to begin.
const FIRST: i64 = 40 * MS;
/// So many packets of a hundred should be there in time.
const IN_TIME: f32 = 0.97;
/// What one bin of the histogram holds …
const BIN: i64 = 2 * MS;
/// … and how many there are: up to half a second.
const BINS: usize = 256;
/// Packets that are remembered. A rise shows when three of a hundred tell of it, within half a
/// second; a fall when all but three have been forgotten, after half a minute.
const MEMORY: f32 = 500.0;
/// What the beginning counts, in packets.
const PRIOR: f32 = 4.0;
/// The fastest packet is looked for in so many slices …
const SLICES: usize = 12;
/// … of a second each.
const SLICE: i64 = 1000 * MS;

/// What is known of the delays of one sender.
#[derive(Debug, Clone)]
pub(super) struct Delay {
    floor: Floor,
    /// Shares of packets by their delay against `aligned`; all together are one.
    histogram: [f32; BINS],
    /// The floor when the histogram was last shifted: at most one bin away from it.
    aligned: i64,
    weight: f32,
    target: i64,
    transit: i64,
    /// RFC 3550 section 6.4.1, in samples.
    jitter: f32,
}

impl Delay {
    /// From the first packet.
    pub fn new(timestamp: i64, arrived: i64) -> Self {
        let transit = arrived.saturating_sub(timestamp);
        let mut histogram = [0.0; BINS];
        if let Some(bin) = histogram.get_mut(((FIRST - TICK) / BIN) as usize) {
            *bin = 1.0;
        }
        Delay {
            floor: Floor::new(transit, arrived),
            histogram,
            aligned: transit,
            weight: PRIOR,
            target: FIRST,
            transit,
            jitter: 0.0,
        }
    }

    /// A packet came.
    pub fn heard(&mut self, timestamp: i64, arrived: i64) {
        let transit = arrived.saturating_sub(timestamp);
        // As RFC 3550 appendix A.8 has it.
        let step = transit.abs_diff(self.transit) as f32;
        self.jitter += (step - self.jitter) / 16.0;
        self.transit = transit;
        self.floor.heard(transit, arrived);
        self.align();
        self.count(transit);
        self.target = (self.late() + TICK).clamp(TARGETS.0, TARGETS.1);
    }

    /// How much later than the fastest packet of late this one is at some moment.
    pub fn of(&self, timestamp: i64, at: i64) -> i64 {
        let transit = at.saturating_sub(timestamp);
        transit.saturating_sub(self.floor.low)
    }

    /// How late a packet should be when it is played.
    pub fn target(&self) -> i64 {
        self.target
    }

    /// The jitter of RFC 3550 section 6.4.1, in milliseconds.
    pub fn jitter_ms(&self) -> f32 {
        self.jitter / MS as f32
    }

    fn count(&mut self, transit: i64) {
        self.weight = (self.weight + 1.0).min(MEMORY);
        let share = 1.0 / self.weight;
        self.histogram.iter_mut().for_each(|b| *b *= 1.0 - share);
        let at = bin(transit.saturating_sub(self.aligned) / BIN);
        if let Some(bin) = self.histogram.get_mut(at) {
            *bin += share;
        }
    }

    /// No more than the allowed share is later than this.
    fn late(&self) -> i64 {
        let mut sum = 0.0;
        let reached = self.histogram.iter().position(|share| {
            sum += share;
            sum >= IN_TIME
        });
        let late = reached.unwrap_or(BINS) as i64 * BIN;
        late.saturating_add(self.aligned)
            .saturating_sub(self.floor.low)
    }

    /// Where the floor has moved, so have the delays of all that came before: otherwise a detour of
    /// the network would count as lateness long after it is all there is.
    fn align(&mut self) {
        let bins = self.floor.low.saturating_sub(self.aligned) / BIN;
        if bins == 0 {
            return;
        }
        self.aligned = self.aligned.saturating_add(bins.saturating_mul(BIN));
        let mut shifted = [0.0; BINS];
        for (was, share) in self.histogram.iter().enumerate() {
            if let Some(b) = shifted.get_mut(bin((was as i64).saturating_sub(bins))) {
                *b += share;
            }
        }
        self.histogram = shifted;
    }
}

fn bin(of: i64) -> usize {
    of.clamp(0, BINS as i64 - 1) as usize
}

/// The fastest transit of the last seconds.
#[derive(Debug, Clone)]
struct Floor {
    slices: [i64; SLICES],
    /// Which slice of time is being filled.
    at: i64,
    low: i64,
}

/// Nothing came in this slice.
const NONE: i64 = i64::MAX;

impl Floor {
    fn new(transit: i64, arrived: i64) -> Self {
        let mut floor = Floor {
            slices: [NONE; SLICES],
            at: arrived / SLICE,
            low: transit,
        };
        floor.heard(transit, arrived);
        floor
    }

    fn heard(&mut self, transit: i64, arrived: i64) {
        let at = arrived / SLICE;
        let passed = at.saturating_sub(self.at).clamp(0, SLICES as i64);
        for n in 1..=passed {
            *self.slice(at.saturating_sub(passed - n)) = NONE;
        }
        self.at = self.at.max(at);
        let slice = self.slice(self.at);
        *slice = transit.min(*slice);
        self.low = self.slices.iter().copied().min().unwrap_or(transit);
    }

    fn slice(&mut self, at: i64) -> &mut i64 {
        &mut self.slices[at.rem_euclid(SLICES as i64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(of: i64) -> i64 {
        of / MS
    }

    /// Packets with these delays in milliseconds, one every 20 ms from `from` on.
    fn hear(delay: &mut Delay, from: i64, late: impl Iterator<Item = i64>) -> i64 {
        let mut n = from;
        for late in late {
            delay.heard(n * TICK, n * TICK + late * MS);
            n += 1;
        }
        n
    }

    #[test]
    fn the_target_rises_within_half_a_second_and_falls_within_a_minute() {
        let mut d = Delay::new(0, 0);
        assert_eq!(ms(d.target()), 40);
        let n = hear(&mut d, 1, (0..500).map(|_| 0));
        assert_eq!(ms(d.target()), 20);
        let n = hear(&mut d, n, (0..25).map(|_| 100));
        assert_eq!(ms(d.target()), 120);
        let n = hear(&mut d, n, (0..500).map(|_| 0));
        assert_eq!(ms(d.target()), 20, "it was short");
        let n = hear(&mut d, n, (0..1000).map(|n| n % 2 * 100));
        let n = hear(&mut d, n, (0..500).map(|_| 0));
        assert_eq!(ms(d.target()), 120, "it was long");
        hear(&mut d, n, (0..1000).map(|_| 0));
        assert_eq!(ms(d.target()), 20);
    }

    #[test]
    fn the_target_keeps_within_its_bounds() {
        let mut d = Delay::new(0, 0);
        let n = hear(&mut d, 1, (0..100).map(|n| n % 2 * 1500));
        assert_eq!(ms(d.target()), 400);
        hear(&mut d, n, (0..3000).map(|_| 0));
        assert_eq!(ms(d.target()), 20);
    }

    #[test]
    fn a_detour_counts_as_late_only_until_it_is_all_there_is() {
        let mut d = Delay::new(0, 0);
        let n = hear(&mut d, 1, (0..500).map(|_| 0));
        let n = hear(&mut d, n, (0..100).map(|_| 150));
        assert_eq!(ms(d.target()), 170);
        let n = hear(&mut d, n, (0..600).map(|_| 150));
        assert_eq!(ms(d.target()), 20);
        assert_eq!(ms(d.of(n * TICK, (n + 5) * TICK)), 100 - 150);
        hear(&mut d, n, (0..10).map(|_| 0));
        assert_eq!(ms(d.target()), 170, "those before came late after all");
    }

    #[test]
    fn jitter_is_that_of_the_rfc() {
        let mut d = Delay::new(0, 0);
        hear(&mut d, 1, (0..1000).map(|n| n % 2 * 32));
        assert!((d.jitter_ms() - 32.0).abs() < 0.1, "{}", d.jitter_ms());
        hear(&mut d, 1001, std::iter::once(0));
        let mut first = Delay::new(0, 0);
        first.heard(TICK, TICK + 16 * MS);
        assert!((first.jitter_ms() - 1.0).abs() < 0.001);
    }
}
