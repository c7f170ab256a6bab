//! One direction of a link, without IO: packets go in with the time, and come out when it is their
//! turn. Times are counted from whatever beginning the caller likes.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::sim::dice::Dice;

/// However far packets travel, no more of them are kept in memory.
const MOST_BYTES: usize = 64 << 20;

/// What a direction does to its packets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quality {
    /// How long a packet travels.
    pub delay: Duration,
    /// At most this is added to the delay of a packet, evenly spread.
    pub jitter: Duration,
    /// Whether packets may overtake each other by their jitter.
    pub reorders: bool,
    /// The share of packets that get lost on the way, 0 to 1.
    pub loss: f64,
    /// How many bits leave in a second; without it, all at once.
    pub bits_per_s: Option<u64>,
    /// How many bytes may wait until they leave. What comes when they are that many is dropped.
    pub queue: usize,
    /// Larger UDP packets are dropped, and nobody is told.
    pub widest: usize,
}

impl Quality {
    /// Nothing happens to a packet.
    pub const PERFECT: Quality = Quality {
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        reorders: false,
        loss: 0.0,
        bits_per_s: None,
        queue: 1 << 20,
        widest: usize::MAX,
    };

    /// Half of this round trip, in milliseconds, as delay.
    pub const fn round_trip(self, ms: u64) -> Quality {
        Quality {
            delay: Duration::from_micros(ms * 500),
            ..self
        }
    }

    /// This share of packets lost.
    pub const fn loss(self, loss: f64) -> Quality {
        Quality { loss, ..self }
    }

    /// So many bits in a second.
    pub const fn bits_per_s(self, bits: u64) -> Quality {
        Quality {
            bits_per_s: Some(bits),
            ..self
        }
    }

    /// So many bytes may wait.
    pub const fn queue(self, queue: usize) -> Quality {
        Quality { queue, ..self }
    }

    /// No UDP packets of more bytes.
    pub const fn widest(self, widest: usize) -> Quality {
        Quality { widest, ..self }
    }
}

/// What became of the packets so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Came out.
    pub carried: u64,
    /// Were lost by chance, or by a cut.
    pub lost: u64,
    /// Found the queue full, or were too wide.
    pub dropped: u64,
}

/// A direction of a link.
#[derive(Debug)]
pub struct Pipe {
    quality: Quality,
    dice: Dice,
    /// By when they arrive, and among those by when they came.
    under_way: BTreeMap<(Duration, u64), Vec<u8>>,
    bytes: usize,
    came: u64,
    /// When all that waits has left.
    free_at: Duration,
    last_arrival: Duration,
    cut_until: Duration,
    /// UDP packets from or to it are lost.
    blocked: Option<u16>,
    counts: Counts,
}

impl Pipe {
    /// An empty one; `seed` decides what is lost and late.
    pub fn new(quality: Quality, seed: u64) -> Pipe {
        Pipe {
            quality,
            dice: Dice::new(seed),
            under_way: BTreeMap::new(),
            bytes: 0,
            came: 0,
            free_at: Duration::ZERO,
            last_arrival: Duration::ZERO,
            cut_until: Duration::ZERO,
            blocked: None,
            counts: Counts::default(),
        }
    }

    /// Has another quality from now on. What is under way arrives as it would have.
    pub fn set(&mut self, quality: Quality) {
        self.quality = quality;
    }

    /// Loses what is under way, and all that comes before `until`.
    pub fn cut(&mut self, until: Duration) {
        self.counts.lost += self.under_way.len() as u64;
        self.under_way.clear();
        self.bytes = 0;
        self.free_at = Duration::ZERO;
        self.cut_until = until;
    }

    /// Loses UDP packets from or to this port, from now on.
    pub fn block(&mut self, port: u16) {
        self.blocked = Some(port);
    }

    /// A packet comes. Not earlier than the one before.
    pub fn push(&mut self, now: Duration, packet: Vec<u8>) {
        if now < self.cut_until || self.blocked.is_some_and(|port| is_of_port(&packet, port)) {
            self.counts.lost += 1;
            return;
        }
        if self.waiting(now) + packet.len() > self.quality.queue
            || self.bytes + packet.len() > MOST_BYTES
            || packet.len() > self.quality.widest && is_udp(&packet)
        {
            self.counts.dropped += 1;
            return;
        }
        self.free_at = self.free_at.max(now) + self.time_to_send(packet.len());
        // Both are thrown for every packet, so that one does not depend on the other's setting.
        let (luck, late) = (self.dice.fraction(), self.dice.fraction());
        if luck < self.quality.loss {
            self.counts.lost += 1;
            return;
        }
        let mut at = self.free_at + self.quality.delay + self.quality.jitter.mul_f64(late);
        if !self.quality.reorders {
            at = at.max(self.last_arrival);
        }
        self.last_arrival = self.last_arrival.max(at);
        self.bytes += packet.len();
        self.under_way.insert((at, self.came), packet);
        self.came += 1;
    }

    /// The next packet that has arrived by now.
    pub fn pop(&mut self, now: Duration) -> Option<Vec<u8>> {
        let first = self.under_way.first_entry()?;
        if first.key().0 > now {
            return None;
        }
        let packet = first.remove();
        self.bytes -= packet.len();
        self.counts.carried += 1;
        Some(packet)
    }

    /// When the next packet arrives.
    pub fn due(&self) -> Option<Duration> {
        self.under_way.first_key_value().map(|((at, _), _)| *at)
    }

    /// What became of the packets so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Bytes that have not left yet.
    fn waiting(&self, now: Duration) -> usize {
        let left = self.free_at.saturating_sub(now);
        let rate = self.quality.bits_per_s.unwrap_or(0) as f64;
        (left.as_secs_f64() * rate / 8.0).round() as usize
    }

    fn time_to_send(&self, bytes: usize) -> Duration {
        self.quality.bits_per_s.map_or(Duration::ZERO, |rate| {
            Duration::from_secs_f64(bytes as f64 * 8.0 / rate as f64)
        })
    }
}

/// Whether a packet is UDP (RFC 768) over IPv4 (RFC 791 section 3.1).
fn is_udp(packet: &[u8]) -> bool {
    const UDP: u8 = 17;
    packet.first().is_some_and(|version| version >> 4 == 4) && packet.get(9) == Some(&UDP)
}

/// Whether it is, from or to this port.
fn is_of_port(packet: &[u8], port: u16) -> bool {
    let header = packet
        .first()
        .map_or(0, |length| usize::from(length & 0xf) * 4);
    let ports = packet.get(header..header + 4).unwrap_or_default();
    is_udp(packet) && ports.chunks_exact(2).any(|p| p == port.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Puts packets in, each with a number on it, and takes all out: (number, ms of arrival).
    fn through(pipe: &mut Pipe, packets: &[(u32, usize)]) -> Vec<(u8, f64)> {
        for (i, (ms, len)) in packets.iter().enumerate() {
            pipe.push(MS * *ms, vec![i as u8; *len]);
        }
        let mut out = Vec::new();
        while let Some(due) = pipe.due() {
            if let Some(early) = due.checked_sub(Duration::from_nanos(1)) {
                assert_eq!(pipe.pop(early), None, "nothing comes before it is due");
            }
            let packet = pipe.pop(due).unwrap();
            out.push((packet[0], due.as_secs_f64() * 1e3));
        }
        out
    }

    #[test]
    fn packets_come_when_delay_rate_and_queue_let_them() {
        type Row<'a> = (&'a str, Quality, &'a [(u32, usize)], &'a [(u8, f64)], u64);
        let perfect = Quality::PERFECT;
        // 8 kbit/s: a byte in a millisecond.
        let slow = perfect.bits_per_s(8_000);
        let short = Quality { queue: 20, ..slow };
        let rows: &[Row<'_>] = &[
            (
                "at once",
                perfect,
                &[(3, 9), (3, 9), (7, 9)],
                &[(0, 3.0), (1, 3.0), (2, 7.0)],
                0,
            ),
            (
                "a delay",
                perfect.round_trip(40),
                &[(0, 9), (5, 9)],
                &[(0, 20.0), (1, 25.0)],
                0,
            ),
            (
                "one after the other",
                slow,
                &[(0, 10), (0, 5), (30, 10)],
                &[(0, 10.0), (1, 15.0), (2, 40.0)],
                0,
            ),
            (
                "rate, then delay",
                slow.round_trip(100),
                &[(0, 10), (0, 10)],
                &[(0, 60.0), (1, 70.0)],
                0,
            ),
            (
                "a full queue drops the last",
                short,
                &[(0, 10), (0, 10), (0, 1)],
                &[(0, 10.0), (1, 20.0)],
                1,
            ),
            (
                "a smaller one still fits",
                short,
                &[(0, 10), (0, 11), (0, 10)],
                &[(0, 10.0), (2, 20.0)],
                1,
            ),
            (
                "room again when some has left",
                short,
                &[(0, 10), (0, 10), (4, 5), (5, 5)],
                &[(0, 10.0), (1, 20.0), (3, 25.0)],
                1,
            ),
        ];
        for (name, quality, packets, want, dropped) in rows {
            let mut pipe = Pipe::new(*quality, 1);
            assert_eq!(through(&mut pipe, packets), *want, "{name}");
            let want = Counts {
                carried: want.len() as u64,
                lost: 0,
                dropped: *dropped,
            };
            assert_eq!(pipe.counts(), want, "{name}");
        }
    }

    #[test]
    fn jitter_delays_within_its_bounds_and_reorders_only_when_asked() {
        let jittery = |reorders| Quality {
            jitter: MS * 30,
            reorders,
            ..Quality::PERFECT.round_trip(20)
        };
        let packets: Vec<(u32, usize)> = (0..200).map(|ms| (ms, 1)).collect();
        for (reorders, seed) in [(false, 1), (false, 2), (true, 1), (true, 2)] {
            let out = through(&mut Pipe::new(jittery(reorders), seed), &packets);
            assert_eq!(out.len(), packets.len());
            let took = out.iter().map(|(number, at)| at - f64::from(*number));
            assert!(took.clone().all(|ms| (10.0 - 1e-6..=40.0).contains(&ms)));
            let late = took.filter(|ms| *ms >= 30.0).count();
            assert!((20..200).contains(&late), "{late} of 200 are late");
            assert_eq!(out.is_sorted_by_key(|(number, _)| *number), !reorders);
        }
    }

    #[test]
    fn so_many_packets_are_lost_and_the_same_for_a_seed() {
        for (share, least, most) in [
            (0.0, 0, 0),
            (0.005, 300, 700),
            (0.5, 49_000, 51_000),
            (1.0, 100_000, 100_000),
        ] {
            let lost = |seed| {
                let mut pipe = Pipe::new(Quality::PERFECT.loss(share), seed);
                let mut fates = Vec::new();
                for _ in 0..100_000 {
                    pipe.push(MS, vec![0]);
                    fates.push(pipe.pop(MS).is_none());
                }
                assert_eq!(pipe.counts().lost + pipe.counts().carried, 100_000);
                fates
            };
            let fates = lost(7);
            let count = fates.iter().filter(|lost| **lost).count();
            assert!(
                (least..=most).contains(&count),
                "{count} lost of 100000 at {share}"
            );
            assert_eq!(fates, lost(7));
            assert_eq!(
                fates == lost(8),
                least == most,
                "another seed, other losses"
            );
        }
    }

    #[test]
    fn a_cut_loses_what_is_under_way_and_what_comes_until_it_ends() {
        let mut pipe = Pipe::new(Quality::PERFECT.round_trip(40), 1);
        pipe.push(MS, vec![1]);
        pipe.cut(MS * 50);
        pipe.push(MS * 49, vec![2]);
        assert_eq!((pipe.due(), pipe.counts().lost), (None, 2));
        pipe.push(MS * 50, vec![3]);
        assert_eq!(pipe.pop(MS * 70), Some(vec![3]));
    }

    #[test]
    fn memory_stays_bounded_without_a_rate() {
        let mut pipe = Pipe::new(
            Quality {
                queue: usize::MAX / 2,
                ..Quality::PERFECT.round_trip(40)
            },
            1,
        );
        for _ in 0..80 {
            pipe.push(MS, vec![0; 1 << 20]);
        }
        assert_eq!(pipe.counts().dropped, 16);
    }
}
