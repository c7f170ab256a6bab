//! A sender, a network and a device, in virtual time.

use std::collections::BTreeSet;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use super::super::*;
use crate::audio::{BUFFER, FRAME};

/// A packet that says that silence follows.
pub(super) const SILENT: u8 = 8;

/// A packet on its way.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub arrives: f64,
    pub seq: u16,
    pub timestamp: u32,
    pub payload: Vec<u8>,
}

/// A sender behind a network: what it sends, one packet after the other.
pub(super) struct Sender {
    pub rng: ChaCha8Rng,
    pub at: f64,
    pub seq: u16,
    pub timestamp: u32,
    /// Frames in a packet.
    pub frames: u32,
    /// Against the clock of the receiver.
    pub pace: f64,
    /// Uniform, in milliseconds.
    pub jitter: f64,
    pub sent: Vec<Sent>,
}

impl Sender {
    pub fn new(jitter: f64) -> Self {
        Sender::seeded(jitter, 3)
    }

    /// Another network, and another moment between the times at which the device asks.
    pub fn seeded(jitter: f64, seed: u8) -> Self {
        Sender {
            rng: ChaCha8Rng::from_seed([seed; 32]),
            at: 5_000.0 + f64::from(seed),
            seq: 65_000,
            timestamp: u32::MAX - 500_000,
            frames: 1,
            pace: 1.0,
            jitter,
            sent: Vec::new(),
        }
    }

    pub fn chance(&mut self) -> f64 {
        f64::from(self.rng.next_u32()) / f64::from(u32::MAX)
    }

    pub fn rest(&mut self, frames: u32) {
        self.at += f64::from(frames) * 20.0 * self.pace;
        self.timestamp = self.timestamp.wrapping_add(frames * FRAME as u32);
    }

    /// One packet of which the receiver can tell which it is.
    pub fn send(&mut self) {
        let toc = self.frames as u8 * 8;
        let [high, low] = self.seq.to_be_bytes();
        self.send_this(vec![toc, high, low, 0]);
    }

    pub fn send_this(&mut self, payload: Vec<u8>) {
        let late = self.chance() * self.jitter;
        self.rest(self.frames);
        self.sent.push(Sent {
            arrives: self.at + late,
            seq: self.seq,
            timestamp: self.timestamp,
            payload,
        });
        self.seq = self.seq.wrapping_add(1);
    }

    pub fn talk(mut self, packets: usize) -> Self {
        (0..packets).for_each(|_| self.send());
        self
    }

    pub fn lose(mut self, mut which: impl FnMut(usize, f64) -> bool) -> Self {
        let sent = std::mem::take(&mut self.sent);
        for (n, s) in sent.into_iter().enumerate() {
            if !which(n, self.chance()) {
                self.sent.push(s);
            }
        }
        self
    }
}

/// What came of it.
pub(super) struct Heard {
    /// When, what, and which packet.
    pub all: Vec<(u64, Pulled, Option<u16>)>,
    pub stats: Stats,
    /// Of every pull after the first ten seconds, in milliseconds.
    pub delays: (u32, u32),
    /// Frames that were concealed although the packet after the lost one was there.
    pub wasted: usize,
}

impl Heard {
    pub fn count(&self, which: impl Fn(Playout) -> bool) -> usize {
        self.all.iter().filter(|(_, p, _)| which(p.playout)).count()
    }

    pub fn packets(&self) -> Vec<u16> {
        let packet = |(_, p, seq): &(u64, Pulled, Option<u16>)| match p.playout {
            Playout::Packet(_) => *seq,
            _ => None,
        };
        self.all.iter().filter_map(packet).collect()
    }

    /// The share of frames that are not what was said.
    pub fn worse(&self) -> f64 {
        (self.stats.late + self.stats.concealed) as f64 / self.all.len() as f64
    }
}

/// A device that takes 10 ms at a time, and somebody who decodes and stretches for it.
pub(super) fn hear(mut sender: Sender) -> Heard {
    sender.send_this(vec![SILENT]);
    let Sender {
        mut sent, mut rng, ..
    } = sender;
    sent.sort_by(|a, b| a.arrives.total_cmp(&b.arrives));
    let end = sent.last().map_or(0.0, |s| s.arrives) as u64 + 500;
    let mut sent = sent.into_iter().peekable();
    let mut buffer = JitterBuffer::new();
    let mut heard = Heard {
        all: Vec::new(),
        stats: Stats::default(),
        delays: (u32::MAX, 0),
        wasted: 0,
    };
    let (mut out, mut left) = ([0; LARGEST], 0);
    let (mut here, mut last) = (BTreeSet::new(), None);
    for now in (5_000..end).step_by(10) {
        while let Some(s) = sent.next_if(|s| s.arrives <= now as f64) {
            here.insert(s.seq);
            let at = Mono(s.arrives as u64);
            buffer.insert(s.seq, s.timestamp, &s.payload, at).unwrap();
        }
        if left < BUFFER {
            let pulled = buffer.pull(Mono(now), &mut out);
            let seq = match pulled.playout {
                Playout::Packet(len) | Playout::Fec(len) if len > 2 => {
                    Some(u16::from_be_bytes([out[1], out[2]]))
                }
                _ => None,
            };
            last = seq.or(last);
            if let (Playout::Conceal, Some(last)) = (pulled.playout, last) {
                let lost = !here.contains(&last.wrapping_add(1));
                let next = here.contains(&last.wrapping_add(2));
                heard.wasted += usize::from(lost && next);
            }
            let period = 120 + rng.next_u32() as usize % 600;
            left = match pulled.tempo {
                Tempo::Normal => left + FRAME,
                Tempo::Faster => left + FRAME - period,
                Tempo::Slower => left + FRAME + period,
            };
            heard.all.push((now, pulled, seq));
            let delay = buffer.stats().delay_ms;
            if now > 15_000 {
                heard.delays = (heard.delays.0.min(delay), heard.delays.1.max(delay));
            }
        }
        left = left.saturating_sub(BUFFER);
        if here.len() > 10_000 {
            here.clear();
        }
    }
    heard.stats = buffer.stats();
    heard
}

pub(super) fn report(what: &str, h: &Heard) {
    let s = h.stats;
    println!(
        "{what}: target {} ms, delay {}..{} ms, jitter {:.1} ms, late {} lost {} fec {} concealed {} \
         of {} frames: {:.2} %",
        s.target_ms,
        h.delays.0,
        h.delays.1,
        s.jitter_ms,
        s.late,
        s.lost,
        s.fec,
        s.concealed,
        h.all.len(),
        100.0 * h.worse()
    );
}
