//! Packets that wait, in places that are there from the beginning.

/// No Opus frame is larger (RFC 6716 section 3.2).
pub const LARGEST: usize = 1275;
/// So many places: more than a second of packets of one frame each.
pub(super) const PLACES: i64 = 64;

/// One packet that waits.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    /// Counted on through all wraps, as is `timestamp`.
    pub seq: i64,
    pub timestamp: i64,
    /// What it decodes to.
    pub frames: u32,
    taken: bool,
    len: usize,
    bytes: [u8; LARGEST],
}

impl Slot {
    const EMPTY: Slot = Slot {
        seq: 0,
        timestamp: 0,
        frames: 0,
        taken: false,
        len: 0,
        bytes: [0; LARGEST],
    };

    pub fn payload(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    Waits,
    Duplicate,
    /// There are so many newer ones that it has no place.
    Old,
}

/// All that wait.
#[derive(Debug)]
pub(super) struct Slots {
    all: Box<[Slot]>,
}

impl Slots {
    pub fn new() -> Self {
        Slots {
            all: vec![Slot::EMPTY; PLACES as usize].into_boxed_slice(),
        }
    }

    /// Whether the payload is larger than any place.
    pub fn is_too_large(payload: &[u8]) -> bool {
        payload.len() > LARGEST
    }

    /// Takes a packet in. What is too old beside it goes.
    pub fn put(&mut self, seq: i64, timestamp: i64, frames: u32, payload: &[u8]) -> Put {
        let taken = self.all.iter().filter(|s| s.taken);
        if taken
            .map(|s| s.seq)
            .max()
            .is_some_and(|m| m >= seq + PLACES)
        {
            return Put::Old;
        }
        self.forget(|s| s.seq <= seq - PLACES);
        let Some(slot) = self.all.get_mut(seq.rem_euclid(PLACES) as usize) else {
            return Put::Old;
        };
        if slot.taken {
            return Put::Duplicate;
        }
        let Some(bytes) = slot.bytes.get_mut(..payload.len()) else {
            return Put::Old;
        };
        bytes.copy_from_slice(payload);
        slot.len = payload.len();
        (slot.seq, slot.timestamp, slot.frames) = (seq, timestamp, frames);
        slot.taken = true;
        Put::Waits
    }

    /// The one to play first.
    pub fn first(&self) -> Option<&Slot> {
        let taken = self.all.iter().filter(|s| s.taken);
        taken.min_by_key(|s| s.seq)
    }

    pub fn len(&self) -> usize {
        self.all.iter().filter(|s| s.taken).count()
    }

    pub fn remove(&mut self, seq: i64) {
        self.forget(|s| s.seq == seq);
    }

    pub fn clear(&mut self) {
        self.forget(|_| true);
    }

    fn forget(&mut self, which: impl Fn(&Slot) -> bool) {
        for slot in self.all.iter_mut().filter(|s| which(s)) {
            slot.taken = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_wait_in_order_and_the_newest_find_a_place() {
        let mut s = Slots::new();
        assert_eq!(s.put(5, 0, 1, b"five"), Put::Waits);
        assert_eq!(s.put(-1, 0, 1, b"before"), Put::Waits);
        assert_eq!(s.put(5, 0, 1, b"again"), Put::Duplicate);
        assert_eq!(s.first().map(Slot::payload), Some(&b"before"[..]));
        s.remove(-1);
        assert_eq!(s.first().map(Slot::payload), Some(&b"five"[..]));
        assert_eq!(s.put(5 + PLACES, 0, 1, &[7; LARGEST]), Put::Waits);
        assert_eq!((s.len(), s.first().map(|s| s.seq)), (1, Some(69)));
        assert_eq!(s.put(5, 0, 1, b"five"), Put::Old);
        assert_eq!(s.put(6, 0, 1, b"six"), Put::Waits);
        s.clear();
        assert!(s.first().is_none());
    }
}
