//! Who gets which piece of an offer whose receivers fetch from each other.
//!
//! Every piece goes out once, to whoever has least under way; the fastest thus gets most. What was
//! given to a receiver that leaves, and was nowhere else, goes out again; while one is not heard, to
//! the others. A receiver that finds nobody else to ask is given what it asks for.

use std::collections::BTreeMap;

use kith_protocol::peer::Entry;
use kith_protocol::ranges::RangeSet;
use kith_protocol::{PeerId, frame};

/// Chunks that are given out together.
pub const PIECE: u64 = 16;
/// Chunks that one receiver may have under way. Its queue for a slow disk holds as many.
pub const UNDER_WAY: u64 = 192;

/// What is under way to whom.
#[derive(Debug, Default)]
pub(super) struct Spread {
    /// Everything before this chunk is out.
    at: (u32, u64),
    /// Given out, and not yet known to be durable there.
    given: BTreeMap<PeerId, Chunks>,
    /// Asked for, and not yet given.
    asked: BTreeMap<PeerId, Chunks>,
}

type Chunks = BTreeMap<u32, RangeSet>;

/// What a receiver has, as the spread looks at it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holding<'a> {
    pub peer: PeerId,
    /// It takes pieces; otherwise it only has some.
    pub takes: bool,
    /// Entries it has whole, and chunks of others.
    pub verified: &'a RangeSet,
    pub durable: &'a Chunks,
}

/// A piece for somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub peer: PeerId,
    pub entry: u32,
    pub ranges: RangeSet,
}

impl Spread {
    /// These are durable at the receiver.
    pub fn arrived(&mut self, peer: PeerId, entry: u32, ranges: &RangeSet) {
        for all in [&mut self.given, &mut self.asked] {
            take(all, peer, entry, ranges);
        }
    }

    /// These entries are complete at the receiver.
    pub fn verified(&mut self, peer: PeerId, entries: &RangeSet) {
        for all in [&mut self.given, &mut self.asked] {
            if let Some(chunks) = all.get_mut(&peer) {
                chunks.retain(|e, _| !entries.contains(u64::from(*e)));
            }
        }
    }

    /// The receiver asks for these. What is under way to it is to be sent once more, at once.
    pub fn ask(&mut self, peer: PeerId, entry: u32, ranges: &RangeSet) -> RangeSet {
        let mut fresh = ranges.clone();
        if let Some(given) = self.given.get(&peer).and_then(|g| g.get(&entry)) {
            subtract(&mut fresh, given);
        }
        let mut again = ranges.clone();
        subtract(&mut again, &fresh);
        if !fresh.is_empty() {
            let asked = self.asked.entry(peer).or_default();
            asked.entry(entry).or_default().union(&fresh);
        }
        again
    }

    /// The receiver is gone, or starts over: what only it was to have goes out again.
    pub fn left(&mut self, peer: PeerId) {
        self.given.remove(&peer);
        self.asked.remove(&peer);
        self.look_again();
    }

    /// Others than before have something.
    pub fn look_again(&mut self) {
        self.at = (0, 0);
    }

    /// What to give to whom now. What others than `holdings` were given counts for nothing.
    pub fn top_up(&mut self, entries: &[Entry], holdings: &[Holding<'_>]) -> Vec<Piece> {
        let mut out = Vec::new();
        let mut load: Vec<(u64, PeerId)> = holdings
            .iter()
            .filter(|h| h.takes)
            .map(|h| (self.load(h.peer), h.peer))
            .collect();
        for (load, peer) in &mut load {
            while *load < UNDER_WAY
                && let Some((entry, ranges)) = self.next_asked(*peer, UNDER_WAY - *load)
            {
                *load += ranges.count();
                self.give(*peer, entry, ranges, &mut out);
            }
        }
        while let Some((load, peer)) = load.iter_mut().min().filter(|l| l.0 < UNDER_WAY) {
            let Some((entry, open)) = self.next_open(entries, holdings) else {
                break;
            };
            let ranges = first_chunks(&open, UNDER_WAY - *load);
            *load += ranges.count();
            self.give(*peer, entry, ranges, &mut out);
        }
        out
    }

    fn give(&mut self, peer: PeerId, entry: u32, ranges: RangeSet, out: &mut Vec<Piece>) {
        let given = self.given.entry(peer).or_default();
        given.entry(entry).or_default().union(&ranges);
        out.push(Piece {
            peer,
            entry,
            ranges,
        });
    }

    fn load(&self, peer: PeerId) -> u64 {
        let given = self.given.get(&peer).into_iter().flatten();
        given.map(|(_, r)| r.count()).sum()
    }

    fn next_asked(&mut self, peer: PeerId, most: u64) -> Option<(u32, RangeSet)> {
        let asked = self.asked.get_mut(&peer)?;
        let mut first = asked.first_entry()?;
        let entry = *first.key();
        let ranges = first_chunks(first.get(), most.min(PIECE));
        subtract(first.get_mut(), &ranges);
        if first.get().is_empty() {
            first.remove();
        }
        (!ranges.is_empty()).then_some((entry, ranges))
    }

    /// The next chunks of a piece that nobody has or is to have.
    fn next_open(
        &mut self,
        entries: &[Entry],
        holdings: &[Holding<'_>],
    ) -> Option<(u32, RangeSet)> {
        while let Some(e) = entries.get(self.at.0 as usize) {
            let (entry, from) = self.at;
            let chunks = frame::chunks(e.size);
            let whole = holdings.iter().any(|h| h.verified.contains(entry.into()));
            if whole || from >= chunks {
                self.at = (entry + 1, 0);
                continue;
            }
            let end = (from / PIECE + 1).saturating_mul(PIECE).min(chunks);
            let mut open = RangeSet::new();
            open.insert(from, end);
            for had in holdings.iter().filter_map(|h| h.durable.get(&entry)) {
                subtract(&mut open, had);
            }
            let given = holdings.iter().filter_map(|h| self.given.get(&h.peer));
            for given in given.filter_map(|g| g.get(&entry)) {
                subtract(&mut open, given);
            }
            if !open.is_empty() {
                return Some((entry, open));
            }
            self.at.1 = end;
        }
        None
    }
}

fn take(all: &mut BTreeMap<PeerId, Chunks>, peer: PeerId, entry: u32, ranges: &RangeSet) {
    if let Some(chunks) = all.get_mut(&peer)
        && let Some(given) = chunks.get_mut(&entry)
    {
        subtract(given, ranges);
        if given.is_empty() {
            chunks.remove(&entry);
        }
    }
}

/// Removes all of `other`, looking only at what it can touch.
pub(crate) fn subtract(set: &mut RangeSet, other: &RangeSet) {
    let Some(&(first, _)) = set.ranges().first() else {
        return;
    };
    let end = set.end();
    let from = other.ranges().partition_point(|r| r.1 <= first);
    for &(a, b) in &other.ranges()[from..] {
        if a >= end {
            break;
        }
        set.remove(a, b);
    }
}

/// The first `most` chunks of a set.
pub(crate) fn first_chunks(set: &RangeSet, most: u64) -> RangeSet {
    let mut out = RangeSet::new();
    let mut left = most;
    for &(a, b) in set.ranges() {
        let n = left.min(b - a);
        out.insert(a, a + n);
        left -= n;
        if left == 0 {
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{entry, set};
    use proptest::prelude::*;

    const CHUNK: u64 = 65_536;

    fn peer(n: u8) -> PeerId {
        PeerId([n; 16])
    }

    /// Receivers and what they have.
    #[derive(Default)]
    struct Scene {
        spread: Spread,
        entries: Vec<Entry>,
        has: BTreeMap<PeerId, (RangeSet, Chunks)>,
    }

    impl Scene {
        fn new(sizes: &[u64], peers: u8) -> Self {
            let file = |(n, size): (usize, &u64)| entry(&n.to_string(), *size);
            Scene {
                entries: sizes.iter().enumerate().map(file).collect(),
                has: (0..peers).map(|n| (peer(n), Default::default())).collect(),
                spread: Spread::default(),
            }
        }

        fn top_up(&mut self) -> Vec<Piece> {
            let holdings: Vec<Holding<'_>> = self
                .has
                .iter()
                .map(|(peer, (verified, durable))| Holding {
                    peer: *peer,
                    takes: true,
                    verified,
                    durable,
                })
                .collect();
            self.spread.top_up(&self.entries, &holdings)
        }

        fn arrive(&mut self, p: &Piece) {
            let (_, durable) = self.has.get_mut(&p.peer).unwrap();
            durable.entry(p.entry).or_default().union(&p.ranges);
            self.spread.arrived(p.peer, p.entry, &p.ranges);
        }

        fn count(pieces: &[Piece]) -> u64 {
            pieces.iter().map(|p| p.ranges.count()).sum()
        }
    }

    #[test]
    fn every_piece_goes_out_once_spread_evenly() {
        let mut s = Scene::new(&[100 * CHUNK, 0, 3], 4);
        let pieces = s.top_up();
        assert_eq!(Scene::count(&pieces), 101);
        for n in 0..4 {
            let of: Vec<_> = pieces.iter().filter(|p| p.peer == peer(n)).collect();
            assert!((1..=2).contains(&of.len()), "{of:?}");
        }
        assert!(s.top_up().is_empty(), "all is under way");
    }

    #[test]
    fn who_is_faster_gets_more() {
        let mut s = Scene::new(&[4096 * CHUNK], 2);
        let mut got = [0; 2];
        let mut way = s.top_up();
        assert_eq!(Scene::count(&way), 2 * UNDER_WAY);
        for round in 0..40 {
            // One is four times as fast as the other.
            for (n, got) in got.iter_mut().enumerate() {
                if n == 1 && round % 4 > 0 {
                    continue;
                }
                if let Some(at) = way.iter().position(|p| p.peer == peer(n as u8)) {
                    let p = way.remove(at);
                    *got += p.ranges.count();
                    s.arrive(&p);
                }
            }
            way.extend(s.top_up());
        }
        assert!(got[0] >= 3 * got[1], "{got:?}");
    }

    #[test]
    fn what_left_with_a_receiver_goes_out_again_and_nothing_else_does() {
        let mut s = Scene::new(&[64 * CHUNK], 3);
        let pieces = s.top_up();
        let (lost, kept): (Vec<_>, Vec<_>) = pieces.iter().partition(|p| p.peer == peer(1));
        kept.iter().for_each(|p| s.arrive(p));
        s.has.remove(&peer(1));
        s.spread.left(peer(1));
        let again = s.top_up();
        let lost: u64 = lost.iter().map(|p| p.ranges.count()).sum();
        assert_eq!(Scene::count(&again), lost);
        assert!(again.iter().all(|p| p.peer != peer(1)));
    }

    #[test]
    fn what_is_under_way_to_somebody_silent_goes_out_once_more() {
        let mut s = Scene::new(&[64 * CHUNK], 3);
        let pieces = s.top_up();
        let (lost, kept): (Vec<_>, Vec<_>) = pieces.iter().partition(|p| p.peer == peer(1));
        kept.iter().for_each(|p| s.arrive(p));
        let silent = s.has.remove(&peer(1)).unwrap();
        s.spread.look_again();
        let again = s.top_up();
        let lost: u64 = lost.iter().map(|p| p.ranges.count()).sum();
        assert_eq!(Scene::count(&again), lost);
        assert!(again.iter().all(|p| p.peer != peer(1)));
        // Heard again, it has as much under way as before.
        s.has.insert(peer(1), silent);
        s.spread.look_again();
        assert!(s.top_up().is_empty());
        assert_eq!(s.spread.load(peer(1)), lost);
    }

    #[test]
    fn what_is_asked_for_is_given_within_the_bound() {
        let mut s = Scene::new(&[1000 * CHUNK], 1);
        let pieces = s.top_up();
        assert_eq!(Scene::count(&pieces), UNDER_WAY);
        assert_eq!(
            s.spread.ask(peer(0), 0, &set(&[(0, 2), (900, 1000)])),
            set(&[(0, 2)])
        );
        assert!(s.top_up().is_empty(), "no room");
        s.arrive(&pieces[0]);
        let next = s.top_up();
        assert_eq!(next[0].ranges, set(&[(900, 916)]));
        assert_eq!(Scene::count(&next), 16);
    }

    proptest! {
        #[test]
        fn all_goes_out_within_the_bound_whatever_comes_and_goes(
            sizes in prop::collection::vec(0u64..400, 1..6),
            steps in prop::collection::vec((0u8..10, 0u8..4), 0..200),
        ) {
            let sizes: Vec<u64> = sizes.iter().map(|n| n * CHUNK).collect();
            let mut s = Scene::new(&sizes, 4);
            let mut way: Vec<Piece> = s.top_up();
            for (what, who) in steps {
                match what {
                    0 => {
                        way.retain(|p| p.peer != peer(who));
                        s.has.remove(&peer(who));
                        s.spread.left(peer(who));
                    }
                    1 => {
                        s.has.entry(peer(who)).or_default();
                    }
                    _ => if let Some(at) = way.iter().position(|p| p.peer == peer(who)) {
                        let p = way.remove(at);
                        s.arrive(&p);
                    }
                }
                way.extend(s.top_up());
                for n in 0..4 {
                    let of: u64 = way.iter().filter(|p| p.peer == peer(n)).map(|p| p.ranges.count()).sum();
                    prop_assert!(of <= UNDER_WAY);
                }
            }
            s.has.entry(peer(0)).or_default();
            loop {
                way.extend(s.top_up());
                let Some(p) = way.pop() else { break };
                s.arrive(&p);
            }
            for (n, e) in (0u32..).zip(&s.entries) {
                let mut all = RangeSet::new();
                for (_, durable) in s.has.values() {
                    durable.get(&n).into_iter().for_each(|r| all.union(r));
                }
                prop_assert_eq!(all, RangeSet::full(frame::chunks(e.size)));
            }
        }
    }
}
