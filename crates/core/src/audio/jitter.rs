//! Which packet of a voice is decoded now, and how long packets wait for it.
//!
//! Packets come late, twice, in another order or never, and whoever listens wants the next 20 ms
//! now. Waiting longer loses less and answers later; the delay therefore follows what the network
//! does ([`Stats::target_ms`]), and [`Tempo`] brings what waits there without anybody hearing it.
//! It also makes up for a sender whose clock is faster or slower than ours.

mod delay;
mod slots;
mod turn;

use thiserror::Error;

use super::{Tempo, packet};
use crate::time::Mono;
use delay::{Delay, MS};
pub use slots::LARGEST;
use slots::{Put, Slots};
use turn::Turn;

/// Frames that are concealed before what is missing counts as silence. By then a decoder has faded
/// out anyway.
const PATIENCE: u32 = 10;
/// What would be played later than this is left out: nobody can talk like that.
const LATEST: i64 = 500 * MS;
/// Sequence numbers further ahead than this are of another stream …
const AHEAD: i64 = 3000;
/// … as are those further behind …
const BEHIND: i64 = 100;
/// … and timestamps that are off by more.
const OFF: i64 = 2000 * MS;
/// What waits may be so much more than the target before it is made less: more than the longest
/// period of a voice, so that it is not made too little by it.
const LONG: i64 = 16 * MS;

/// The packets of one voice, on their way to the decoder.
#[derive(Debug)]
pub struct JitterBuffer {
    slots: Slots,
    /// What is known of the sender; nothing before its first packet.
    stream: Option<Stream>,
    /// The last packet that belongs nowhere. If the next one follows it, the sender began anew.
    stray: Option<u16>,
    counts: Counts,
}

#[derive(Debug)]
struct Stream {
    /// The newest packet, counted on through all wraps.
    seq: i64,
    timestamp: i64,
    delay: Delay,
    /// The sequence number to play next; none before anything was played.
    next: Option<i64>,
    /// The first that was played.
    first: i64,
    /// Which of the 128 before the next came, the nearest in the lowest bit.
    came: u128,
    phase: Phase,
    /// What was played last said that silence follows.
    silent: bool,
    /// How late we play, in samples, smoothed.
    level: i64,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// Nothing is being played.
    Idle,
    Playing {
        /// The timestamp of what is heard next.
        head: i64,
        /// Frames of it that were decoded with the one before.
        decoded: u32,
        /// Frames that were concealed because nothing was there. What was to be heard then may still
        /// come and is heard late.
        waited: u32,
    },
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    received: u64,
    late: u64,
    lost: u64,
    duplicates: u64,
    fec: u64,
    concealed: u64,
}

/// Where the next 20 ms come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Playout {
    /// Decode this packet of so many bytes. If it holds more than 20 ms, hear the first of them.
    Packet(usize),
    /// The wanted packet is lost. Decode the one after it, of so many bytes, for what it repeats of
    /// the lost one (RFC 6716 section 2.1.7), with as many samples as it has itself.
    Fec(usize),
    /// The next 20 ms of what was decoded last.
    More,
    /// Let the decoder make up 20 ms.
    Conceal,
    /// Nothing is being sent.
    Silence,
}

/// What [`JitterBuffer::pull`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pulled {
    /// Where the next 20 ms come from.
    pub playout: Playout,
    /// What to do with them.
    pub tempo: Tempo,
}

/// Why a packet is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refused {
    /// More than [`LARGEST`] bytes.
    #[error("the packet is larger than Opus packets are")]
    TooLarge,
    /// It is no Opus packet, or of no whole number of frames of 20 ms.
    #[error("the packet does not hold 20 ms of Opus, or a multiple of it")]
    Length,
}

/// What a buffer has seen since it was made, and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Stats {
    /// Packets that were taken, with those that were late or came twice.
    pub received: u64,
    /// Packets that came after others had to do for them.
    pub late: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Packets that came twice.
    pub duplicates: u64,
    /// Packets that were made up from the one after them.
    pub fec: u64,
    /// Frames that the decoder made up.
    pub concealed: u64,
    /// How long after the fastest packets a voice should be heard, in milliseconds.
    pub target_ms: u32,
    /// How long after them it is heard, in milliseconds; what waits in the device comes on top.
    pub delay_ms: u32,
    /// Interarrival jitter (RFC 3550 section 6.4.1), in milliseconds.
    pub jitter_ms: f32,
}

impl Default for JitterBuffer {
    fn default() -> Self {
        JitterBuffer::new()
    }
}

impl JitterBuffer {
    /// Without packets. Everything it will ever need is allocated here.
    pub fn new() -> Self {
        JitterBuffer {
            slots: Slots::new(),
            stream: None,
            stray: None,
            counts: Counts::default(),
        }
    }

    /// A packet came: its sequence number, its timestamp in samples of 48 kHz (RFC 7587 section
    /// 4.1), its payload. Packets that are late or came before are counted and left out.
    ///
    /// # Errors
    ///
    /// If the payload is none that the buffer can play. Nothing of it is counted.
    pub fn insert(
        &mut self,
        seq: u16,
        timestamp: u32,
        payload: &[u8],
        arrived: Mono,
    ) -> Result<(), Refused> {
        if Slots::is_too_large(payload) {
            return Err(Refused::TooLarge);
        }
        let frames = packet::frames(payload).ok_or(Refused::Length)?;
        self.counts.received += 1;
        let arrived = samples(arrived);
        let Some((seq, timestamp)) = self.place(seq, timestamp, arrived) else {
            return Ok(());
        };
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        if stream.next.is_some_and(|next| seq < next) {
            if stream.missed(seq, &mut self.counts) {
                stream.delay.heard(timestamp, arrived);
            }
            return Ok(());
        }
        match self.slots.put(seq, timestamp, frames, payload) {
            Put::Waits => stream.delay.heard(timestamp, arrived),
            Put::Duplicate => self.counts.duplicates += 1,
            Put::Old => self.counts.late += 1,
        }
        Ok(())
    }

    /// The next 20 ms, asked for whenever less than that is left to play. A packet is copied to
    /// `out`, which holds at least [`LARGEST`] bytes; what does not fit is concealed.
    pub fn pull(&mut self, now: Mono, out: &mut [u8]) -> Pulled {
        let mut pulled = Pulled {
            playout: Playout::Silence,
            tempo: Tempo::Normal,
        };
        if let Some(stream) = &mut self.stream {
            let mut turn = Turn {
                stream,
                slots: &mut self.slots,
                counts: &mut self.counts,
                now: samples(now),
            };
            turn.leave_out();
            let tempo = turn.tempo();
            pulled.playout = turn.next(out);
            pulled.tempo = match pulled.playout {
                Playout::Packet(_) | Playout::Fec(_) | Playout::More => tempo,
                Playout::Conceal | Playout::Silence => Tempo::Normal,
            };
        }
        match pulled.playout {
            Playout::Fec(_) => self.counts.fec += 1,
            Playout::Conceal => self.counts.concealed += 1,
            Playout::Packet(_) | Playout::More | Playout::Silence => (),
        }
        pulled
    }

    /// What it has seen so far.
    pub fn stats(&self) -> Stats {
        let Counts {
            received,
            late,
            lost,
            duplicates,
            fec,
            concealed,
        } = self.counts;
        let stream = self.stream.as_ref();
        let ms = |samples: i64| (samples / MS).clamp(0, u32::MAX.into()) as u32;
        Stats {
            received,
            late,
            lost,
            duplicates,
            fec,
            concealed,
            target_ms: ms(stream.map_or(0, |s| s.delay.target())),
            delay_ms: ms(stream.map_or(0, |s| s.level)),
            jitter_ms: stream.map_or(0.0, |s| s.delay.jitter_ms()),
        }
    }

    /// Where a packet belongs in the stream. One that belongs nowhere does not end a stream: it may
    /// be of an earlier one. Two in a row begin another.
    fn place(&mut self, seq: u16, timestamp: u32, arrived: i64) -> Option<(i64, i64)> {
        let Some(stream) = &mut self.stream else {
            return Some(self.begin(seq, timestamp, arrived));
        };
        let step = seq.wrapping_sub(stream.seq as u16) as i16;
        let at = stream.seq + i64::from(step);
        let passed = timestamp.wrapping_sub(stream.timestamp as u32) as i32;
        let time = stream.timestamp + i64::from(passed);
        let off = stream.delay.of(time, arrived).abs();
        if (-BEHIND..=AHEAD).contains(&step.into()) && off <= OFF {
            self.stray = None;
            if step > 0 {
                (stream.seq, stream.timestamp) = (at, time);
            }
            return Some((at, time));
        }
        let before = self.stray.replace(seq);
        let follows = before == Some(seq.wrapping_sub(1));
        follows.then(|| self.begin(seq, timestamp, arrived))
    }

    fn begin(&mut self, seq: u16, timestamp: u32, arrived: i64) -> (i64, i64) {
        self.slots.clear();
        self.stray = None;
        let (seq, timestamp) = (i64::from(seq), i64::from(timestamp));
        self.stream = Some(Stream {
            seq,
            timestamp,
            delay: Delay::new(timestamp, arrived),
            next: None,
            first: seq,
            came: 0,
            phase: Phase::Idle,
            silent: false,
            level: 0,
        });
        (seq, timestamp)
    }
}

/// In samples of 48 kHz, far from the end of all numbers.
fn samples(at: Mono) -> i64 {
    at.0.min(1 << 50) as i64 * MS
}

#[cfg(test)]
mod tests;
