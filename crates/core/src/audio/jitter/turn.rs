//! One pull: what is heard next, given what waits.

use super::delay::TICK;
use super::slots::Slots;
use super::{Counts, LATEST, LONG, PATIENCE, Phase, Playout, Stream};
use crate::audio::{Tempo, packet};

pub(super) struct Turn<'a> {
    pub stream: &'a mut Stream,
    pub slots: &'a mut Slots,
    pub counts: &'a mut Counts,
    /// In samples.
    pub now: i64,
}

/// What was being played, while it is.
#[derive(Clone, Copy)]
struct Position {
    head: i64,
    waited: u32,
}

/// What is known of the packet to play next.
#[derive(Clone, Copy)]
struct Front {
    seq: i64,
    timestamp: i64,
    frames: u32,
    silence: bool,
}

impl Turn<'_> {
    /// After an outage everything comes at once. It is not heard from its beginning, or the whole
    /// talk would be late from then on.
    pub fn leave_out(&mut self) {
        let first = self.front().filter(|_| self.slots.len() > 1);
        if first.is_none_or(|f| self.late(f.timestamp) <= LATEST) {
            return;
        }
        while let Some(front) = self.front()
            && self.slots.len() > 1
            && self.late(front.timestamp) > self.stream.delay.target()
        {
            self.drop_late(front);
        }
        self.stream.phase = Phase::Idle;
    }

    /// Whether what waits is too much or too little, by itself and on average: packets come in
    /// whole milliseconds and devices ask by whole buffers.
    pub fn tempo(&mut self) -> Tempo {
        let Phase::Playing { head, .. } = self.stream.phase else {
            return Tempo::Normal;
        };
        let target = self.stream.delay.target();
        let late = self.late(head);
        let level = &mut self.stream.level;
        *level = level.saturating_add(late.saturating_sub(*level) / 4);
        if late.min(*level) > target + LONG {
            Tempo::Faster
        } else if late.max(*level) < target {
            Tempo::Slower
        } else {
            Tempo::Normal
        }
    }

    /// Where the next 20 ms come from.
    pub fn next(&mut self, out: &mut [u8]) -> Playout {
        match self.stream.phase {
            Phase::Idle => self.begin(out),
            Phase::Playing {
                head,
                decoded,
                waited,
            } if decoded > 0 => {
                self.stream.phase = Phase::Playing {
                    head: head + TICK,
                    decoded: decoded - 1,
                    waited,
                };
                Playout::More
            }
            Phase::Playing { head, waited, .. } => self.go_on(Position { head, waited }, out),
        }
    }

    /// Plays what is there once it has waited as long as it should.
    fn begin(&mut self, out: &mut [u8]) -> Playout {
        self.stream.phase = Phase::Idle;
        let Some(front) = self.front() else {
            return Playout::Silence;
        };
        let late = self.late(front.timestamp);
        // Of an unknown network half as much is expected, so that the first word comes at once.
        let enough = match self.stream.next {
            Some(_) => self.stream.delay.target(),
            None => self.stream.delay.target() - TICK + 1,
        };
        if late < enough {
            return Playout::Silence;
        }
        self.stream.level = late;
        self.play(front, out)
    }

    fn go_on(&mut self, at: Position, out: &mut [u8]) -> Playout {
        while let Some(front) = self.front()
            && front.end() <= at.head
        {
            self.drop_late(front);
        }
        let Some(front) = self.front() else {
            return self.wait(at);
        };
        let lost = self.stream.next.is_some_and(|next| front.seq > next);
        let gap = frames_between(at.head, front.timestamp);
        // What was concealed while nothing was there has filled the beginning of it.
        let left = gap.saturating_sub(at.waited);
        if gap == 0 || lost && left == 0 {
            return self.play(front, out);
        }
        // Time without packets is a pause, as is what nobody would believe to be one loss.
        if !lost || self.stream.silent || left > PATIENCE {
            return self.begin(out);
        }
        let head = front.timestamp - i64::from(left) * TICK;
        if left == front.frames && !front.silence {
            return self.repeat(front, head, out);
        }
        self.stream.phase = Phase::Playing {
            head: head + TICK,
            decoded: 0,
            waited: 0,
        };
        Playout::Conceal
    }

    /// Nothing is there. It may only be late: what is wanted remains the same.
    fn wait(&mut self, at: Position) -> Playout {
        if self.stream.silent || at.waited >= PATIENCE {
            self.stream.phase = Phase::Idle;
            return Playout::Silence;
        }
        self.stream.phase = Phase::Playing {
            head: at.head,
            decoded: 0,
            waited: at.waited + 1,
        };
        Playout::Conceal
    }

    fn play(&mut self, front: Front, out: &mut [u8]) -> Playout {
        let len = self.copy(out);
        self.stream.silent = front.silence;
        self.heard(front, front.timestamp);
        self.stream.pass(front.seq, self.counts);
        self.stream.pass_one_that_came();
        self.slots.remove(front.seq);
        len.map_or(Playout::Conceal, Playout::Packet)
    }

    /// The lost packet, as far as the one after it knows it. What was lost is now too late.
    fn repeat(&mut self, front: Front, head: i64, out: &mut [u8]) -> Playout {
        let len = self.copy(out);
        self.heard(front, head);
        self.stream.pass(front.seq, self.counts);
        len.map_or(Playout::Conceal, Playout::Fec)
    }

    /// As much as a packet holds is decoded, and its first frame heard.
    fn heard(&mut self, front: Front, head: i64) {
        self.stream.phase = Phase::Playing {
            head: head + TICK,
            decoded: front.frames.saturating_sub(1),
            waited: 0,
        };
    }

    fn drop_late(&mut self, front: Front) {
        self.counts.late += 1;
        self.stream.pass(front.seq, self.counts);
        self.stream.pass_one_that_came();
        self.slots.remove(front.seq);
    }

    /// How late a timestamp is if it is heard now.
    fn late(&self, timestamp: i64) -> i64 {
        self.stream.delay.of(timestamp, self.now)
    }

    fn copy(&self, out: &mut [u8]) -> Option<usize> {
        let payload = self.slots.first()?.payload();
        out.get_mut(..payload.len())?.copy_from_slice(payload);
        Some(payload.len())
    }

    fn front(&self) -> Option<Front> {
        self.slots.first().map(|s| Front {
            seq: s.seq,
            timestamp: s.timestamp,
            frames: s.frames,
            silence: packet::is_silence(s.payload()),
        })
    }
}

impl Front {
    fn end(&self) -> i64 {
        self.timestamp + i64::from(self.frames) * TICK
    }
}

impl Stream {
    /// All before this one are not waited for any more.
    fn pass(&mut self, seq: i64, counts: &mut Counts) {
        if self.next.is_none() {
            self.first = seq;
        }
        let missing = self.next.map_or(0, |next| (seq - next).max(0));
        counts.lost += missing.unsigned_abs();
        self.came = u32::try_from(missing).map_or(0, |n| self.came.checked_shl(n).unwrap_or(0));
        self.next = Some(seq);
    }

    fn pass_one_that_came(&mut self) {
        self.came = self.came << 1 | 1;
        self.next = self.next.map(|next| next + 1);
    }

    /// One came that is not waited for any more. Whether for the first time.
    pub(super) fn missed(&mut self, seq: i64, counts: &mut Counts) -> bool {
        let before = self.next.map_or(0, |next| next - 1 - seq);
        let bit = u32::try_from(before).map_or(0, |n| 1u128.checked_shl(n).unwrap_or(0));
        if self.came & bit != 0 {
            counts.duplicates += 1;
            return false;
        }
        self.came |= bit;
        counts.late += 1;
        if seq > self.first {
            counts.lost = counts.lost.saturating_sub(1);
        }
        true
    }
}

/// Whole frames from one moment to a later one, to the nearest.
fn frames_between(from: i64, to: i64) -> u32 {
    let frames = (to.saturating_sub(from).saturating_add(TICK / 2)).div_euclid(TICK);
    u32::try_from(frames.max(0)).unwrap_or(u32::MAX)
}
