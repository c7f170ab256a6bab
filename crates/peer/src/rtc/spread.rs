//! Over how many strands a lane spreads its chunks.
//!
//! An association mends one lost packet a round trip and has half its rate after each loss, for long:
//! over a path that is far and lossy, or whose queue is short, several carry a multiple of one. Over
//! one that is narrow or near they only cost. Which it is shows only by trying: one strand more is
//! opened, and if that makes chunks go faster, two more, then four.
//!
//! Without IO: what went goes in, with the time since any beginning; wishes come out.
//!
//! ```text
//! steady ── busy, far, below what it carries ⇒ asks for more ─ opened ⇒ tries them ─┐
//!   ▲                                                  ▲             faster │       │
//!   │                                                  └────────────────────┘       │
//!   └───────────────────────── not faster ⇒ uses them no more, rests for ever longer ┘
//! ```

#[cfg(test)]
mod tests;

use std::time::Duration;

use kith_protocol::limits::MAX_STRANDS;

/// Strands beside the first that are tried one after the other.
const STEPS: [usize; 4] = [0, 1, 3, MAX_STRANDS as usize];
/// What is faster than so many times the rate before is worth a strand …
const FASTER: f64 = 1.3;
/// … for as long as the path takes so long at least. Nearer ones mend losses soon.
pub(super) const FAR: Duration = Duration::from_millis(15);
/// Bytes on the way over each strand with which it is no loss that bounds the rate: over one alone, and
/// over several, where more new ones at once would make a short queue overflow for all.
const ENOUGH: (f64, f64) = (500e3, 200e3);
/// Rates are taken over so long, so many times what the path takes, and so many chunks at least.
const ROUND: (Duration, u32, u32) = (Duration::from_millis(1_000), 3, 5);
/// What a new strand takes to find its pace, about.
const SETTLE: Duration = Duration::from_millis(600);
/// Rounds in which it shows whether it helps: its beginning may cost all others a loss.
const TRY: u32 = 3;
/// How many of a hundred chunks had to wait for room: otherwise it is not the path that bounds the rate.
const BUSY: u32 = 60;
/// Without a chunk for so long, a round says nothing.
const PAUSE: Duration = Duration::from_millis(1_000);
/// Strands that are not there by then will not come for now.
const PATIENCE: Duration = Duration::from_secs(20);
/// After a try in vain the next is so much later, and each time twice as much.
const REST: Duration = Duration::from_secs(15);

/// The rule for one lane.
#[derive(Debug)]
pub(super) struct Spread {
    /// Of [`STEPS`].
    step: usize,
    /// Strands there are beside the first.
    open: usize,
    state: State,
    rest: Duration,
    round: Round,
    /// What goes before is in no round.
    from: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// As it is until then.
    Steady { until: Duration },
    /// More are asked for, as no more than so many bytes went in a second.
    Asked { before: f64, until: Duration },
    /// The last step is being tried; before it, so many bytes went in a second.
    /// So many rounds are left for it to be faster.
    Trying { before: f64, rounds: u32 },
}

/// What went since a moment.
#[derive(Debug, Clone, Copy, Default)]
struct Round {
    since: Duration,
    last: Duration,
    bytes: usize,
    chunks: u32,
    waited: u32,
}

impl Spread {
    pub(super) fn new() -> Self {
        Self {
            step: 0,
            open: 0,
            state: State::Steady {
                until: Duration::ZERO,
            },
            rest: REST,
            round: Round::default(),
            from: Duration::ZERO,
        }
    }

    /// Strands beside the first that chunks are to take.
    pub(super) fn used(&self) -> usize {
        self.steps(self.step).min(self.open)
    }

    /// A chunk of `len` bytes went, after it `waited` for room or not, over a path that takes so long
    /// at best. Says how many strands are wanted beside the first, if that is new.
    pub(super) fn sent(
        &mut self,
        len: usize,
        waited: bool,
        path: Option<Duration>,
        now: Duration,
    ) -> Option<u8> {
        if now < self.from {
            return None;
        }
        if self.round.chunks == 0 || now.saturating_sub(self.round.last) >= PAUSE {
            self.round = Round {
                since: now,
                last: now,
                // It went at the beginning of the round.
                bytes: 0,
                chunks: 1,
                waited: 0,
            };
            return None;
        }
        self.round.last = now;
        self.round.bytes += len;
        self.round.chunks += 1;
        self.round.waited += u32::from(waited);
        let path = path?;
        let took = now.saturating_sub(self.round.since);
        if took < ROUND.0.max(path * ROUND.1) || self.round.chunks < ROUND.2 {
            return None;
        }
        let round = std::mem::take(&mut self.round);
        let busy = round.waited * 100 >= round.chunks * BUSY;
        let rate = round.bytes as f64 / took.as_secs_f64();
        self.round_over(busy, rate, path, now)
    }

    /// So many strands are there beside the first.
    pub(super) fn opened(&mut self, open: usize, now: Duration) {
        self.open = open;
        if let State::Asked { before, .. } = self.state
            && open >= self.steps(self.step + 1)
        {
            self.try_next(before, now);
        }
    }

    /// So many are left.
    pub(super) fn lost(&mut self, open: usize) {
        self.open = open;
    }

    fn steps(&self, step: usize) -> usize {
        STEPS.get(step).or(STEPS.last()).copied().unwrap_or(0)
    }

    fn round_over(&mut self, busy: bool, rate: f64, path: Duration, now: Duration) -> Option<u8> {
        tracing::trace!(step = self.step, state = ?self.state, busy, rate, ?path, "round");
        match self.state {
            State::Asked { until, .. } if now < until => None,
            State::Asked { .. } => {
                self.rest(now);
                None
            }
            // Whoever has nothing more to send says nothing of the path.
            State::Trying { .. } if !busy => None,
            State::Trying { before, .. } if rate >= before * FASTER => {
                self.state = State::Steady { until: now };
                self.rest = REST;
                self.more(rate, path, now)
            }
            State::Trying { before, rounds } if rounds > 1 => {
                let rounds = rounds - 1;
                self.state = State::Trying { before, rounds };
                None
            }
            State::Trying { .. } => {
                self.step -= 1;
                self.rest(now);
                None
            }
            State::Steady { until } if busy && now >= until => self.more(rate, path, now),
            State::Steady { .. } => None,
        }
    }

    /// Takes the next step, if it may help: now, or once there are the strands for it.
    fn more(&mut self, rate: f64, path: Duration, now: Duration) -> Option<u8> {
        let (used, next) = (self.steps(self.step), self.steps(self.step + 1));
        let on_way = rate * path.as_secs_f64() / (used + 1) as f64;
        let enough = if used == 0 { ENOUGH.0 } else { ENOUGH.1 };
        if next == used || path < FAR || on_way >= enough {
            return None;
        }
        if self.open >= next {
            self.try_next(rate, now);
            return None;
        }
        self.state = State::Asked {
            before: rate,
            until: now + PATIENCE,
        };
        u8::try_from(next).ok()
    }

    fn try_next(&mut self, before: f64, now: Duration) {
        self.step += 1;
        let rounds = TRY;
        self.state = State::Trying { before, rounds };
        self.round = Round::default();
        self.from = now + SETTLE;
    }

    fn rest(&mut self, now: Duration) {
        self.state = State::Steady {
            until: now + self.rest,
        };
        self.rest = self.rest.saturating_mul(2);
    }
}
