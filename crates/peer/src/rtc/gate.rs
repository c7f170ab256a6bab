//! How far a connection's driver may get ahead of the readers of its channels.
//!
//! The WebRTC crate unpacks all that its driver has read from the sockets, and bounds it by the
//! bytes of the SCTP window; but a message of twenty bytes costs it a thousand, so a window of
//! them would be a hundred megabytes. So the sockets yield no more than [`BOUND`] ahead of what
//! the readers have taken, and what comes stays with the kernel, whose buffer is no smaller than
//! the window.
//!
//! Bytes that no reader ever takes (headers, acknowledgements, checks) would close the gate for
//! good. When it is closed, the driver is therefore asked for whatever it still has; and once it
//! has been round and no reader found anything after that, it has nothing, and the count begins
//! anew.
//!
//! ```text
//! sockets yielded BOUND ⇒ closed ⇒ driver asked ⇒ been round ⇒ readers look
//!       readers took half of it ⇒ open                        ├ one found something ⇒ asked again
//!                                                             └ all found nothing   ⇒ open
//! ```

use super::event::ChannelLabel;

/// Bytes that the sockets may have yielded and no reader taken. At a message of twenty bytes that
/// is 7 MB of memory.
pub(super) const BOUND: usize = 256 * 1024;
/// Bytes at which a closed gate opens.
const REOPEN: usize = BOUND / 2;
/// What a datagram carries at least besides chunks: 29 bytes of DTLS (RFC 6347 section 4.1, the
/// shortest tag), 12 of SCTP (RFC 9260 section 3.1).
const DATAGRAM: usize = 41;
/// What a message carries at least besides its payload: the header of a chunk (RFC 9260 section
/// 3.3.1).
const MESSAGE: usize = 16;
/// Messages that the driver takes in at once before it leaves the rest for another time.
const BATCH: usize = 256;

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Then {
    Nothing,
    /// Have the driver look at what it has left.
    Ring,
    /// Have the sockets be asked again.
    Wake,
}

/// What one reader is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// Not reading, not yet or no longer: nobody waits for it.
    Away,
    /// With something in its hands.
    Busy,
    /// Found nothing in this round.
    Idle(u64),
}

/// The count and what the readers are at.
#[derive(Debug)]
pub(super) struct Gate {
    /// Bytes yielded and not known to be taken.
    ahead: usize,
    /// Where it closes: [`BOUND`], or more after it relented.
    bound: usize,
    closed: bool,
    /// How often the driver has been round with the gate closed.
    round: u64,
    /// Whether it has been since it was asked.
    answered: bool,
    /// Messages taken since it was asked.
    taken: usize,
    readers: [Reader; 3],
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            ahead: 0,
            bound: BOUND,
            closed: false,
            round: 0,
            answered: false,
            taken: 0,
            readers: [Reader::Away; 3],
        }
    }
}

impl Gate {
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// The round that a reader is in when it looks.
    pub(super) fn round(&self) -> u64 {
        self.round
    }

    /// A socket yielded this much, in so many datagrams.
    pub(super) fn yielded(&mut self, bytes: usize, datagrams: usize) {
        self.ahead += bytes.saturating_sub(datagrams * DATAGRAM);
    }

    /// Closes when it is time; says whether it just did. The driver is to be asked then.
    pub(super) fn closes(&mut self) -> bool {
        let closes = !self.closed && self.ahead >= self.bound;
        if closes {
            self.closed = true;
            self.ask();
        }
        closes
    }

    /// The driver has been round since a socket yielded something; says whether the readers are
    /// to look again.
    pub(super) fn been_round(&mut self) -> bool {
        let news = self.closed && !self.answered;
        if news {
            self.answered = true;
            self.round += 1;
        }
        news
    }

    /// A reader took a message of `bytes`.
    pub(super) fn took(&mut self, who: ChannelLabel, bytes: usize) -> Then {
        self.readers[place(who)] = Reader::Busy;
        self.taken += 1;
        self.ahead = self.ahead.saturating_sub(bytes + MESSAGE);
        if self.ahead > REOPEN {
            return Then::Nothing;
        }
        self.open()
    }

    /// A reader looked in `round` and found nothing.
    pub(super) fn idle(&mut self, who: ChannelLabel, round: u64) -> Then {
        self.readers[place(who)] = Reader::Idle(round);
        self.settle()
    }

    /// A reader does not read for now, or no more.
    pub(super) fn away(&mut self, who: ChannelLabel) -> Then {
        self.readers[place(who)] = Reader::Away;
        self.settle()
    }

    /// A reader has waited for long: lets `bytes` more through, until the driver has been caught
    /// up with. Among them may be the acknowledgement that all wait for; and if it lasts, the
    /// sender must see what came acknowledged, lest it sends it again.
    pub(super) fn relent(&mut self, bytes: usize) -> Then {
        if !self.closed {
            return Then::Nothing;
        }
        self.closed = false;
        self.bound = self.ahead.saturating_add(bytes);
        Then::Wake
    }

    fn settle(&mut self) -> Then {
        if !self.closed {
            if self.taken < BATCH {
                return Then::Nothing;
            }
            self.ask();
            return Then::Ring;
        }
        let round = self.round;
        let waits = |r: &Reader| matches!(r, Reader::Away) || *r == Reader::Idle(round);
        if !self.answered || !self.readers.iter().all(waits) {
            return Then::Nothing;
        }
        if self.taken > 0 {
            self.ask();
            return Then::Ring;
        }
        self.ahead = 0;
        self.open()
    }

    fn open(&mut self) -> Then {
        self.bound = BOUND;
        if !self.closed {
            return Then::Nothing;
        }
        self.closed = false;
        Then::Wake
    }

    fn ask(&mut self) {
        self.answered = false;
        self.taken = 0;
    }
}

fn place(who: ChannelLabel) -> usize {
    usize::from(who.name_and_id().1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ChannelLabel::{Files, Messages, Presence};

    /// A gate that just closed, with two readers who had found nothing before.
    fn closed() -> Gate {
        let mut gate = Gate::default();
        assert_eq!(gate.idle(Messages, 0), Then::Nothing);
        assert_eq!(gate.idle(Files, 0), Then::Nothing);
        gate.yielded(BOUND - 1, 0);
        assert!(!gate.closes());
        gate.yielded(1 + DATAGRAM, 1);
        assert!(gate.closes() && gate.is_closed());
        assert!(!gate.closes(), "once");
        gate
    }

    #[test]
    fn it_opens_when_half_is_taken() {
        let mut gate = closed();
        let half = BOUND / 2 - MESSAGE;
        assert_eq!(gate.took(Files, half - 1), Then::Nothing);
        assert_eq!(gate.took(Files, 1), Then::Wake);
        assert!(!gate.is_closed());
    }

    #[test]
    fn it_opens_when_a_round_brought_nothing_to_anybody() {
        let mut gate = closed();
        assert_eq!(gate.idle(Messages, 0), Then::Nothing, "not been round yet");
        assert!(gate.been_round());
        assert!(!gate.been_round(), "once for each question");
        assert_eq!(gate.idle(Files, 0), Then::Nothing, "looked too early");
        assert_eq!(gate.took(Files, 20), Then::Nothing);
        assert_eq!(gate.idle(Messages, gate.round()), Then::Nothing);
        assert_eq!(gate.idle(Files, gate.round()), Then::Ring, "there was more");
        assert!(gate.been_round());
        assert_eq!(gate.idle(Files, gate.round()), Then::Nothing);
        assert_eq!(gate.idle(Messages, gate.round()), Then::Wake);
        gate.yielded(BOUND - 1, 0);
        assert!(!gate.closes(), "the count began anew");
    }

    #[test]
    fn who_goes_away_is_not_waited_for() {
        let mut gate = closed();
        assert!(gate.been_round());
        assert_eq!(gate.idle(Messages, gate.round()), Then::Nothing);
        assert_eq!(gate.away(Files), Then::Wake);
        assert_eq!(gate.idle(Presence, 0), Then::Nothing);
    }

    #[test]
    fn relenting_lets_some_through_until_all_is_taken() {
        let mut gate = closed();
        assert_eq!(gate.relent(1000), Then::Wake);
        gate.yielded(999, 0);
        assert!(!gate.closes());
        gate.yielded(1, 0);
        assert!(gate.closes());
        assert_eq!(gate.took(Files, BOUND), Then::Wake);
        gate.yielded(BOUND, 0);
        assert!(gate.closes(), "as early as ever");
    }

    #[test]
    fn an_open_gate_asks_after_a_batch() {
        let mut gate = Gate::default();
        for _ in 1..BATCH {
            assert_eq!(gate.took(Messages, 1), Then::Nothing);
        }
        assert_eq!(gate.idle(Messages, 0), Then::Nothing);
        assert_eq!(gate.took(Messages, 1), Then::Nothing);
        assert_eq!(gate.idle(Messages, 0), Then::Ring);
        assert_eq!(gate.idle(Messages, 0), Then::Nothing, "once");
    }
}
