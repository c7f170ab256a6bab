//! How much of a lane may be on its way at once, so that it fills the path and not the queues on
//! it: all channels of a connection share one association, and whatever bulk has put into a queue,
//! a chat message waits behind.
//!
//! Without IO: times (since any beginning) and byte counts go in, permissions come out. What is
//! watched is how long each frame takes until it is acknowledged. The shortest of late is the path
//! itself; what a frame takes longer, it stood in queues, ours or others'. The allowance follows
//!
//! ```text
//! allowance ← allowance × (shortest + target) / now      slowly, with each acknowledged byte
//! ```
//!
//! which rests where frames stand in queues for just the target (as Wei et al., FAST TCP, 2006, with
//! the rate in the place of its constant). As long as frames hardly stand anywhere it grows faster:
//! by a gain that is cut whenever they do, and recovers while they do not.
//!
//! A short queue must not overflow meanwhile: the SCTP library mends one lost packet a round trip.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

/// The smallest allowance, with which everything starts: one frame, and what of the one before waits
/// for a second packet to be acknowledged with.
const LEAST: f64 = 72_000.0;
/// The end of a frame may be acknowledged with the beginning of the next only: every second packet
/// is (RFC 9260 section 6.2). What a frame took is told without it.
const TAIL: u64 = 2_400;
/// Shortest and longest time that frames may stand in queues; in between, a seventh of the path.
const TARGET: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(20));
/// On a path as short as that, losses are mended soon, and delays of the processor look like queues.
const SHORT: Duration = Duration::from_millis(3);
const TARGET_IF_SHORT: Duration = Duration::from_millis(10);
/// The target while somebody talks.
const TARGET_IN_CALL: Duration = Duration::from_millis(3);
/// The shortest time is that of the last one to two of these.
const MEMORY: Duration = Duration::from_secs(5);
/// Nothing acknowledged for so long: what is measured across it says nothing about queues.
const STALL: Duration = Duration::from_millis(700);
/// Growth for each acknowledged byte while frames hardly stand in queues: at first, and at most once
/// they have. What it overshoots by in a round trip has to fit a queue.
const FIRST_GAIN: f64 = 0.6;
const LATER_GAIN: f64 = 0.3;
/// What the gain recovers by in each round trip.
const RECOVERY: f64 = 1.25;
/// How much of the error is mended in a round trip. All of it would swing, as what is seen is a
/// round trip old.
const MEND: f64 = 0.5;
/// And at most of how much: a pause of a processor or a radio looks like a queue, too.
const MOST_ERROR: f64 = 0.4;
/// What is left of what the path seems to hold when the queue is emptied, and by how much of what is
/// acknowledged it is filled again.
const DRAINED: f64 = 0.9;
const REFILL: f64 = 0.25;
/// How much faster than the allowance comes back frames may go, and what waits can be as short as.
const HASTE: f64 = 1.25;
const CLOCK: Duration = Duration::from_millis(1);
/// So many frames may go at once after one that was late.
const LATE: u32 = 3;
/// Of the times of so many frames at least, and at most, the shortest counts: of those in half a round
/// trip, as a processor or a radio that pauses delays many at once.
const RECENT: (usize, usize) = (2, 64);
/// Bytes timed as one: small frames together, else they would seem to be quicker.
const PIECE: usize = 60_000;
/// Marks kept at most; more frames than a window holds.
const MOST_MARKS: usize = 512;

/// What a frame has to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing.
    Now,
    /// Until then, so that frames come evenly.
    At(Duration),
    /// Until more is acknowledged.
    Wait,
}

/// A frame on its way.
#[derive(Debug, Clone, Copy)]
struct Mark {
    /// Bytes sent up to its end, about.
    end: u64,
    at: Duration,
    /// Whether the allowance kept it waiting: else growth would know no bounds.
    limited: bool,
}

/// What the allowance is meanwhile. All of it at once would be a burst that overflows queues.
#[derive(Debug, Clone, Copy)]
struct Drain {
    until: Duration,
    allowance: f64,
}

/// The allowance of one lane.
#[derive(Debug)]
pub(super) struct Flow {
    /// Bytes that may be on their way.
    allowance: f64,
    gain: f64,
    /// When the gain may change again.
    gain_at: Duration,
    most: f64,
    sent: u64,
    acked: u64,
    /// Of them, since a frame was last timed.
    news: u64,
    marks: VecDeque<Mark>,
    /// Small frames at the end, which have no mark yet: since when, and how many bytes.
    piece: Option<(Duration, usize)>,
    /// Whether the last who asked had to wait.
    limited: bool,
    /// When the next frame may go.
    next: Duration,
    /// When it was last seen how much is acknowledged, and when that last was more than before.
    looked: Duration,
    progress: Duration,
    /// Shortest times of a frame, in this stretch of memory and the one before.
    shortest: [Option<Duration>; 2],
    stretch: Duration,
    /// When they came, and what they took.
    recent: VecDeque<(Duration, Duration)>,
    /// The queue is emptied now and then, to see the path itself.
    drain: Option<Drain>,
    in_call: bool,
}

impl Flow {
    /// For a lane that may hold `most` bytes.
    pub(super) fn new(most: usize, now: Duration) -> Self {
        Self {
            allowance: LEAST,
            gain: FIRST_GAIN,
            gain_at: now,
            most: (most as f64).max(LEAST),
            sent: 0,
            acked: 0,
            news: 0,
            marks: VecDeque::new(),
            piece: None,
            limited: false,
            next: now,
            looked: now,
            progress: now,
            shortest: [None; 2],
            stretch: now,
            recent: VecDeque::new(),
            drain: None,
            in_call: false,
        }
    }

    /// Never more than `most` bytes from now on.
    pub(super) fn bound(&mut self, most: usize) {
        self.most = (most as f64).max(LEAST);
        self.allowance = self.allowance.min(self.most);
    }

    /// Begins with what another on the same path has found out.
    pub(super) fn begin_with(&mut self, allowance: f64) {
        self.allowance = allowance.clamp(LEAST, self.most);
    }

    /// Bytes that may be on their way, while no queue is emptied.
    pub(super) fn allowance(&self) -> f64 {
        self.allowance
    }

    /// The shortest time that a frame took of late: about what the path takes.
    pub(super) fn shortest(&self) -> Option<Duration> {
        self.shortest.iter().flatten().min().copied()
    }

    /// Whether `len` bytes more may go. What is not known to be acknowledged counts as on its way.
    pub(super) fn ask(&mut self, len: usize, now: Duration) -> Turn {
        let under_way = (self.sent - self.acked) as f64;
        if under_way + len as f64 > self.allowed() && under_way > 0.0 {
            self.limited = true;
            Turn::Wait
        } else if now < self.next {
            self.limited = true;
            Turn::At(self.next)
        } else {
            Turn::Now
        }
    }

    /// `len` bytes went.
    pub(super) fn sent(&mut self, len: usize, now: Duration) {
        if self.sent == self.acked {
            // After a rest nobody knows since when there was nothing to acknowledge.
            self.looked = now;
            self.progress = now;
        }
        self.sent += len as u64;
        let spacing = self.spacing(len);
        // Whoever comes late may catch up.
        self.next = self.next.max(now.saturating_sub(spacing * LATE)) + spacing;
        let (at, before) = self.piece.unwrap_or((now, 0));
        let bytes = before + len;
        if bytes >= PIECE {
            self.piece = None;
            if self.marks.len() < MOST_MARKS {
                self.marks.push_back(Mark {
                    end: self.sent - TAIL,
                    at,
                    limited: self.limited,
                });
            }
            self.limited = false;
        } else if now.saturating_sub(at) <= CLOCK {
            self.piece = Some((at, bytes));
        } else {
            self.piece = Some((now, len));
        }
    }

    /// So many bytes are on their way, seen now. `watched`: ever since it was last seen, so that what
    /// is acknowledged is so just now.
    pub(super) fn under_way(&mut self, bytes: usize, watched: bool, now: Duration) {
        let acked = self.sent.saturating_sub(bytes as u64).max(self.acked);
        let news = acked - self.acked;
        let looked = std::mem::replace(&mut self.looked, now);
        self.acked = acked;
        if news == 0 {
            return;
        }
        let stood = now.saturating_sub(std::mem::replace(&mut self.progress, now));
        if stood > STALL {
            self.after_stall();
            return;
        }
        self.remember(now);
        self.refill(news, now);
        let (mut limited, mut timed) = (false, false);
        while let Some(mark) = self.marks.front().copied().filter(|m| m.end <= acked) {
            self.marks.pop_front();
            limited |= mark.limited;
            let took = now.saturating_sub(mark.at);
            // Somewhere between the two looks it was acknowledged.
            let unsure = now.saturating_sub(looked.max(mark.at));
            if watched || unsure <= (took / 8).max(Duration::from_millis(1)) {
                self.took(took, now);
                timed = true;
            }
        }
        limited |= self.marks.front().is_some_and(|m| m.limited) || self.limited;
        self.news += news;
        if timed {
            let news = std::mem::take(&mut self.news);
            self.adjust(news, limited, now);
        }
    }

    /// While `on`, bulk makes even more room for what must be quick.
    pub(super) fn yield_to_call(&mut self, on: bool) {
        self.in_call = on;
    }

    /// Time between frames of this length, once it is known that they can be too many at once.
    fn spacing(&self, len: usize) -> Duration {
        let even = self.delay().unwrap_or_default().as_secs_f64() * len as f64;
        let spacing = Duration::from_secs_f64(even / self.allowance / HASTE);
        if self.gain < FIRST_GAIN && spacing >= CLOCK {
            spacing
        } else {
            Duration::ZERO
        }
    }

    /// Bytes that may be on their way now.
    fn allowed(&self) -> f64 {
        self.drain
            .map_or(self.allowance, |d| d.allowance.min(self.allowance))
    }

    /// What frames take now.
    fn delay(&self) -> Option<Duration> {
        self.recent.iter().map(|(_, took)| *took).min()
    }

    fn target(&self, shortest: Duration) -> Duration {
        if self.in_call {
            return TARGET_IN_CALL;
        }
        if shortest < SHORT {
            return TARGET_IF_SHORT;
        }
        (shortest / 7).clamp(TARGET.0, TARGET.1)
    }

    /// Keeps the shortest time from becoming that of a path we once had.
    fn remember(&mut self, now: Duration) {
        if now.saturating_sub(self.stretch) < MEMORY {
            return;
        }
        self.stretch = now;
        self.shortest = [None, self.shortest[0].or(self.shortest[1])];
        if let (Some(shortest), Some(delay)) = (self.shortest(), self.delay()) {
            let empty = shortest.as_secs_f64() / delay.max(shortest).as_secs_f64();
            self.drain = Some(Drain {
                until: now + delay * 2,
                allowance: (self.allowance * empty * DRAINED).max(LEAST),
            });
        }
    }

    /// Lets a drain come to its end.
    fn refill(&mut self, news: u64, now: Duration) {
        if let Some(drain) = self.drain.as_mut().filter(|d| now >= d.until) {
            drain.allowance += REFILL * news as f64;
            if drain.allowance >= self.allowance {
                self.drain = None;
            }
        }
    }

    fn took(&mut self, time: Duration, now: Duration) {
        let time = time.max(Duration::from_micros(50));
        self.shortest[0] = Some(self.shortest[0].map_or(time, |s| s.min(time)));
        let since = now.saturating_sub(self.shortest().unwrap_or(time) / 2);
        while self.recent.len() >= RECENT.0
            && (self.recent.len() >= RECENT.1 || self.recent.front().is_some_and(|r| r.0 < since))
        {
            self.recent.pop_front();
        }
        self.recent.push_back((now, time));
    }

    fn adjust(&mut self, news: u64, limited: bool, now: Duration) {
        let (Some(shortest), Some(delay)) = (self.shortest(), self.delay()) else {
            // Not one frame has come through yet.
            return;
        };
        let target = self.target(shortest);
        let error = (shortest + target).as_secs_f64() / delay.as_secs_f64() - 1.0;
        let extra = delay - shortest;
        let free = 1.0 - extra.as_secs_f64() / (target / 2).as_secs_f64();
        let stands = free <= 0.0;
        if now >= self.gain_at {
            self.gain_at = now + delay;
            let least = MEND * target.as_secs_f64() / shortest.as_secs_f64();
            if stands {
                self.gain /= 4.0;
            } else if self.gain < LATER_GAIN {
                self.gain = (self.gain * RECOVERY).min(LATER_GAIN);
            }
            self.gain = self.gain.max(least).min(FIRST_GAIN);
        }
        let gain = if stands {
            MEND * error.clamp(-MOST_ERROR, self.gain)
        } else {
            self.gain * free
        };
        if gain < 0.0 || limited && self.drain.is_none() {
            self.allowance = (self.allowance + gain * news as f64).clamp(LEAST, self.most);
        }
    }

    /// The association says everything again, slowly; what comes of it is seen when it comes.
    fn after_stall(&mut self) {
        self.marks.clear();
        self.piece = None;
        self.recent.clear();
        self.drain = None;
        self.allowance = (self.allowance / 2.0).max(2.0 * LEAST);
    }
}
