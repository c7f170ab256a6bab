//! Whom to ask for what, where several hold parts of one offer.
//!
//! What the fewest hold is asked for first, from whoever has least to do. A source that is slow
//! gives back what it was asked for and rests; one that lies is not asked again. At the very end
//! what is under way may be asked for once more, from somebody who is idle.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kith_protocol::peer::Entry;
use kith_protocol::ranges::RangeSet;
use kith_protocol::{LinkId, PeerId, frame};

use super::STRIKES;
use crate::serve::{PIECE, first_chunks, subtract};
use crate::time::Mono;

/// Chunks that one source is asked for at a time …
pub const ASKED_OF_ONE: u64 = 64;
/// … and all of them together. As many have a place in memory beside those of who offers.
pub const ASKED_OF_ALL: u64 = 192;
/// A source that is silent for so long while it is asked for something …
pub const PATIENCE: Duration = Duration::from_secs(10);
/// … is left alone for this long.
pub const REST: Duration = Duration::from_secs(30);
/// Pieces of one source that are looked at when the next ones are chosen.
const LOOK: usize = 256;
/// Ranges that are remembered of one source.
const MAX_REMEMBERED: usize = 65_536;

pub(super) type Chunks = BTreeMap<u32, RangeSet>;

/// All sources of one fetch, but who offers.
#[derive(Debug, Default)]
pub(super) struct Sources {
    all: BTreeMap<PeerId, Source>,
    liars: BTreeSet<PeerId>,
}

#[derive(Debug)]
struct Source {
    link: LinkId,
    transfer: u32,
    /// Entries it has whole, and chunks of others; only what we may still lack.
    whole: RangeSet,
    parts: Chunks,
    remembered: usize,
    asked: Chunks,
    /// When something that it was asked for came last.
    heard: Mono,
    rests: Option<Mono>,
    strikes: u32,
}

/// What the fetch lacks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lack<'a> {
    pub entries: &'a [Entry],
    pub done: &'a BTreeMap<u32, String>,
    pub synced: &'a Chunks,
    /// Asked for from who offers.
    pub begged: &'a Chunks,
    /// Chunks before these can be checked.
    pub hashed: &'a BTreeMap<u32, u64>,
    /// Everything that is missing is under way.
    pub endgame: bool,
    /// So many chunks may be asked for at a time, of all together.
    pub most: u64,
    /// Differs between receivers, so that they do not all choose the same.
    pub salt: u64,
}

/// Something to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    pub peer: PeerId,
    pub transfer: u32,
    pub entry: u32,
    pub ranges: RangeSet,
}

impl Sources {
    pub fn contains(&self, peer: PeerId) -> bool {
        self.all.contains_key(&peer)
    }

    pub fn is_liar(&self, peer: PeerId) -> bool {
        self.liars.contains(&peer)
    }

    /// Somebody holds something; its chunks come with this number over this link.
    pub fn add(&mut self, peer: PeerId, link: LinkId, transfer: u32) {
        let source = Source {
            link,
            transfer,
            whole: RangeSet::new(),
            parts: BTreeMap::new(),
            remembered: 0,
            asked: BTreeMap::new(),
            heard: Mono::default(),
            rests: None,
            strikes: 0,
        };
        self.all.insert(peer, source);
    }

    /// What it holds, in addition to what was said before.
    pub fn holds(&mut self, peer: PeerId, whole: &RangeSet, parts: &[(u32, RangeSet)]) {
        let Some(s) = self.all.get_mut(&peer) else {
            return;
        };
        for ranges in parts.iter().map(|(_, r)| r).chain([whole]) {
            s.remembered = s.remembered.saturating_add(ranges.ranges().len());
        }
        if s.remembered > MAX_REMEMBERED {
            return;
        }
        s.whole.union(whole);
        for (entry, ranges) in parts {
            s.parts.entry(*entry).or_default().union(ranges);
        }
        s.parts.retain(|e, _| !s.whole.contains(u64::from(*e)));
    }

    /// It is gone; over which link and with which number its chunks came.
    pub fn left(&mut self, peer: PeerId) -> Option<(LinkId, u32)> {
        self.all.remove(&peer).map(|s| (s.link, s.transfer))
    }

    /// Nobody is asked for anything any more.
    pub fn clear(&mut self) {
        self.all.clear();
    }

    /// These are on disk, whoever sent them.
    pub fn arrived(&mut self, entry: u32, ranges: &RangeSet, now: Mono) {
        for s in self.all.values_mut() {
            let Some(asked) = s.asked.get_mut(&entry) else {
                continue;
            };
            let before = asked.count();
            subtract(asked, ranges);
            if asked.count() < before {
                s.heard = now;
            }
            if asked.is_empty() {
                s.asked.remove(&entry);
            }
        }
    }

    /// The entry is complete.
    pub fn complete(&mut self, entry: u32, now: Mono) {
        for s in self.all.values_mut() {
            if s.asked.remove(&entry).is_some() {
                s.heard = now;
            }
            s.parts.remove(&entry);
            s.whole.remove(entry.into(), u64::from(entry) + 1);
        }
    }

    /// A chunk of this transfer is not what was offered. The source, if it is one too many.
    pub fn refused(
        &mut self,
        at: (LinkId, u32),
        entry: u32,
        index: u64,
    ) -> Option<(PeerId, LinkId, u32)> {
        let (peer, s) = self
            .all
            .iter_mut()
            .find(|(_, s)| (s.link, s.transfer) == at)?;
        let peer = *peer;
        if let Some(asked) = s.asked.get_mut(&entry) {
            asked.remove(index, index.saturating_add(1));
        }
        // It does not have this one, whatever it says.
        if let Some(part) = s.parts.get_mut(&entry) {
            part.remove(index, index.saturating_add(1));
        }
        s.strikes += 1;
        if s.strikes < STRIKES {
            return None;
        }
        self.liars.insert(peer);
        self.left(peer)
            .map(|(link, transfer)| (peer, link, transfer))
    }

    /// Chunks that are asked for.
    pub fn asked(&self) -> u64 {
        self.all.values().map(Source::load).sum()
    }

    /// Takes back what silent sources were asked for.
    pub fn on_time(&mut self, now: Mono) {
        for s in self.all.values_mut() {
            if !s.asked.is_empty() && s.heard + PATIENCE <= now {
                s.rest(now);
            }
            if s.rests.is_some_and(|at| at <= now) {
                s.rests = None;
            }
        }
    }

    /// A source is not heard any more, and rests with what it was asked for; or it is again.
    pub fn on_silent(&mut self, peer: PeerId, silent: bool, now: Mono) {
        if let Some(s) = self.all.get_mut(&peer) {
            match silent {
                true => s.rest(now),
                false => s.rests = None,
            }
        }
    }

    /// When that is due.
    pub fn deadline(&self) -> Option<Mono> {
        let all = self.all.values();
        let due = |s: &Source| {
            let silent = (!s.asked.is_empty()).then_some(s.heard + PATIENCE);
            silent.into_iter().chain(s.rests)
        };
        all.flat_map(due).min()
    }

    /// What to ask whom for now.
    pub fn choose(&mut self, lack: &Lack<'_>, now: Mono) -> Vec<Ask> {
        let mut out = Vec::new();
        let mut left = lack.most.min(ASKED_OF_ALL).saturating_sub(self.asked());
        if left == 0 {
            return out;
        }
        for (_, _, entry, piece) in self.rarest(lack) {
            if left == 0 {
                break;
            }
            let mut open = self.open(lack, entry);
            within(&mut open, piece * PIECE, (piece + 1) * PIECE);
            if let Some(ask) = self.ask(entry, &open, left, now) {
                left -= ask.ranges.count();
                out.push(ask);
            }
        }
        if out.is_empty() && lack.endgame {
            out.extend(self.again(lack, left, now));
        }
        out
    }

    /// Pieces that somebody with room holds, the rarest first.
    fn rarest(&self, lack: &Lack<'_>) -> Vec<(usize, u64, u32, u64)> {
        let mut pieces = BTreeSet::new();
        let mut opens: Chunks = BTreeMap::new();
        for s in self.all.values().filter(|s| s.has_room()) {
            let whole = s.whole.ranges().iter().flat_map(|&(a, b)| a..b);
            let whole = whole.filter_map(|e| u32::try_from(e).ok());
            let mut looked = 0;
            for entry in s.parts.keys().copied().chain(whole) {
                if looked >= LOOK {
                    break;
                }
                if lack.done.contains_key(&entry) || !lack.hashed.contains_key(&entry) {
                    continue;
                }
                let open = opens.entry(entry).or_insert_with(|| self.open(lack, entry));
                let of_it = s.has(entry, open);
                let ranges = of_it.ranges().iter();
                let all = ranges.flat_map(|&(a, b)| a / PIECE..b.div_ceil(PIECE));
                for piece in all.take(LOOK - looked.min(LOOK)) {
                    looked += 1;
                    pieces.insert((entry, piece));
                }
            }
        }
        let rated = pieces.into_iter().map(|(entry, piece)| {
            let mut all = RangeSet::new();
            all.insert(piece * PIECE, (piece + 1) * PIECE);
            let holders = self.all.values().filter(|s| s.touches(entry, &all));
            (holders.count(), mix(lack.salt, entry, piece), entry, piece)
        });
        let mut rated: Vec<_> = rated.collect();
        rated.sort_unstable();
        rated
    }

    /// Chunks of an entry that are missing, nowhere under way, and can be checked.
    fn open(&self, lack: &Lack<'_>, entry: u32) -> RangeSet {
        let size = lack.entries.get(entry as usize).map_or(0, |e| e.size);
        let checked = lack.hashed.get(&entry).copied().unwrap_or_default();
        let mut open = RangeSet::full(frame::chunks(size).min(checked));
        let asked = self.all.values().filter_map(|s| s.asked.get(&entry));
        let known = [lack.synced.get(&entry), lack.begged.get(&entry)];
        for other in known.into_iter().flatten().chain(asked) {
            subtract(&mut open, other);
        }
        open
    }

    fn ask(&mut self, entry: u32, open: &RangeSet, most: u64, now: Mono) -> Option<Ask> {
        let able = self.all.iter_mut().filter(|(_, s)| s.has_room());
        let able = able.filter(|(_, s)| s.touches(entry, open));
        let (peer, s) = able.min_by_key(|(_, s)| s.load())?;
        let ranges = first_chunks(&s.has(entry, open), most.min(ASKED_OF_ONE - s.load()));
        if s.asked.is_empty() {
            s.heard = now;
        }
        s.asked.entry(entry).or_default().union(&ranges);
        Some(Ask {
            peer: *peer,
            transfer: s.transfer,
            entry,
            ranges,
        })
    }

    /// A second copy of what is under way, from who is idle.
    fn again(&mut self, lack: &Lack<'_>, most: u64, now: Mono) -> Option<Ask> {
        let mut once: Chunks = BTreeMap::new();
        let mut twice: Chunks = BTreeMap::new();
        for (entry, asked) in self.all.values().flat_map(|s| &s.asked) {
            let mut both = asked.clone();
            let mut new = asked.clone();
            subtract(&mut new, once.entry(*entry).or_default());
            subtract(&mut both, &new);
            twice.entry(*entry).or_default().union(&both);
            once.entry(*entry).or_default().union(asked);
        }
        for (entry, mut open) in once {
            let known = [lack.synced.get(&entry), twice.get(&entry)];
            for other in known.into_iter().flatten() {
                subtract(&mut open, other);
            }
            let idle = |s: &&Source| s.asked.is_empty() && s.rests.is_none();
            let idle = self.all.values().filter(idle);
            if idle.filter(|s| s.touches(entry, &open)).count() == 0 {
                continue;
            }
            // Least to do is nothing to do.
            return self.ask(entry, &open, most.min(PIECE), now);
        }
        None
    }
}

impl Source {
    fn rest(&mut self, now: Mono) {
        self.asked.clear();
        self.rests = Some(now + REST);
    }

    fn load(&self) -> u64 {
        self.asked.values().map(RangeSet::count).sum()
    }

    fn has_room(&self) -> bool {
        self.rests.is_none() && self.load() < ASKED_OF_ONE
    }

    fn touches(&self, entry: u32, of: &RangeSet) -> bool {
        if self.whole.contains(entry.into()) {
            return !of.is_empty();
        }
        self.parts.get(&entry).is_some_and(|had| {
            let any = |&(a, b): &(u64, u64)| had.next_held(a) < b;
            of.ranges().iter().any(any)
        })
    }

    /// Which of these it has.
    fn has(&self, entry: u32, of: &RangeSet) -> RangeSet {
        if self.whole.contains(entry.into()) {
            return of.clone();
        }
        let Some(had) = self.parts.get(&entry) else {
            return RangeSet::new();
        };
        let mut lacked = of.clone();
        subtract(&mut lacked, had);
        let mut out = of.clone();
        subtract(&mut out, &lacked);
        out
    }
}

fn within(set: &mut RangeSet, from: u64, end: u64) {
    set.remove(0, from);
    set.remove(end, u64::MAX);
}

/// Spreads pieces of equal rarity, for each receiver in another order.
fn mix(salt: u64, entry: u32, piece: u64) -> u64 {
    let mut x = salt ^ (u64::from(entry) << 40) ^ piece;
    for _ in 0..2 {
        x = (x ^ (x >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    x ^ (x >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{entry, set};
    use proptest::prelude::*;

    const CHUNK: u64 = 65_536;
    const NOW: Mono = Mono(5_000);

    fn peer(n: u8) -> PeerId {
        PeerId([n; 16])
    }

    struct Scene {
        sources: Sources,
        entries: Vec<Entry>,
        done: BTreeMap<u32, String>,
        synced: Chunks,
        begged: Chunks,
        hashed: BTreeMap<u32, u64>,
        endgame: bool,
    }

    impl Scene {
        /// One file, whose chunks can all be checked.
        fn new(chunks: u64) -> Self {
            Scene {
                sources: Sources::default(),
                entries: vec![entry("a", chunks * CHUNK)],
                done: BTreeMap::new(),
                synced: BTreeMap::new(),
                begged: BTreeMap::new(),
                hashed: BTreeMap::from([(0, chunks)]),
                endgame: false,
            }
        }

        fn holds(&mut self, n: u8, ranges: &[(u64, u64)]) {
            if !self.sources.contains(peer(n)) {
                self.sources.add(peer(n), LinkId([n; 8]), n.into());
            }
            self.sources
                .holds(peer(n), &RangeSet::new(), &[(0, set(ranges))]);
        }

        fn choose(&mut self, now: Mono) -> Vec<Ask> {
            let lack = Lack {
                entries: &self.entries,
                done: &self.done,
                synced: &self.synced,
                begged: &self.begged,
                hashed: &self.hashed,
                endgame: self.endgame,
                most: ASKED_OF_ALL,
                salt: 3,
            };
            self.sources.choose(&lack, now)
        }

        fn arrive(&mut self, ask: &Ask) {
            self.synced.entry(ask.entry).or_default().union(&ask.ranges);
            self.sources.arrived(ask.entry, &ask.ranges, NOW);
        }
    }

    #[test]
    fn what_the_fewest_hold_comes_first() {
        let mut s = Scene::new(96);
        s.holds(1, &[(0, 96)]);
        s.holds(2, &[(0, 80)]);
        s.holds(3, &[(0, 80)]);
        let asks = s.choose(NOW);
        assert_eq!(
            (asks[0].peer, &asks[0].ranges),
            (peer(1), &set(&[(80, 96)]))
        );
        let all: u64 = asks.iter().map(|a| a.ranges.count()).sum();
        assert_eq!(all, 96, "{asks:?}");
        assert!(s.choose(NOW).is_empty(), "all is under way");
    }

    #[test]
    fn nobody_is_asked_for_more_than_its_bound_or_for_what_cannot_be_checked() {
        let mut s = Scene::new(1000);
        s.hashed.insert(0, 500);
        s.holds(1, &[(0, 400), (500, 1000)]);
        let asked = |asks: &[Ask]| asks.iter().map(|a| a.ranges.count()).sum::<u64>();
        assert_eq!(asked(&s.choose(NOW)), ASKED_OF_ONE);
        (2..9).for_each(|n| s.holds(n, &[(400, 1000)]));
        let more = s.choose(NOW);
        assert_eq!(asked(&more), 100, "all that can be checked: {more:?}");
        assert!(more.iter().all(|a| a.ranges.end() <= 500));
        s.hashed.insert(0, 1000);
        assert_eq!(asked(&s.choose(NOW)), ASKED_OF_ALL - ASKED_OF_ONE - 100);
    }

    #[test]
    fn a_silent_source_gives_back_and_rests() {
        let mut s = Scene::new(32);
        s.holds(1, &[(0, 32)]);
        assert!(!s.choose(NOW).is_empty());
        s.holds(2, &[(0, 32)]);
        assert!(s.choose(NOW).is_empty());
        let late = NOW + PATIENCE;
        assert_eq!(s.sources.deadline(), Some(late));
        s.sources.on_time(late);
        let asks = s.choose(late);
        assert!(!asks.is_empty() && asks.iter().all(|a| a.peer == peer(2)));
        assert_eq!(s.sources.deadline(), Some(late + PATIENCE));
    }

    #[test]
    fn who_is_not_heard_gives_back_until_it_is() {
        let mut s = Scene::new(32);
        s.holds(1, &[(0, 32)]);
        assert!(!s.choose(NOW).is_empty());
        s.sources.on_silent(peer(1), true, NOW);
        assert_eq!(s.sources.asked(), 0);
        assert!(s.choose(NOW).is_empty(), "it rests");
        s.sources.on_silent(peer(1), false, NOW);
        assert!(!s.choose(NOW).is_empty());
    }

    #[test]
    fn who_lies_three_times_is_not_asked_again() {
        let mut s = Scene::new(64);
        s.holds(1, &[(0, 64)]);
        assert!(!s.choose(NOW).is_empty());
        let at = (LinkId([1; 8]), 1);
        assert_eq!(s.sources.refused(at, 0, 1), None);
        assert!(
            s.choose(NOW).is_empty(),
            "it is not believed to have that one"
        );
        assert_eq!(s.sources.refused(at, 0, 2), None);
        assert_eq!(s.sources.refused(at, 0, 3), Some((peer(1), at.0, at.1)));
        assert!(s.sources.is_liar(peer(1)));
        assert_eq!(s.sources.asked(), 0);
        assert_eq!(s.sources.refused(at, 0, 4), None);
    }

    #[test]
    fn at_the_end_what_is_under_way_is_asked_for_twice_and_not_thrice() {
        let mut s = Scene::new(16);
        s.holds(1, &[(0, 16)]);
        assert_eq!(s.choose(NOW).len(), 1);
        s.holds(2, &[(0, 16)]);
        s.holds(3, &[(0, 16)]);
        assert!(s.choose(NOW).is_empty());
        s.endgame = true;
        assert_eq!(s.choose(NOW).len(), 1);
        assert!(s.choose(NOW).is_empty());
    }

    proptest! {
        #[test]
        fn everything_that_is_held_comes_within_the_bounds(
            chunks in 1u64..600,
            held in prop::collection::vec((1u8..5, 0u64..600, 1u64..300), 1..12),
            leaves in prop::collection::vec((0u8..8, 0u64..30_000), 0..8),
        ) {
            let mut s = Scene::new(chunks);
            let mut all = RangeSet::new();
            for (n, from, len) in held {
                let (a, b) = (from.min(chunks), (from + len).min(chunks));
                if a < b {
                    s.holds(n, &[(a, b)]);
                    if n != 4 { all.insert(a, b); }
                }
            }
            let mut way = Vec::new();
            let mut now = NOW;
            for (who, ms) in leaves {
                way.extend(s.choose(now));
                if who == 4 {
                    s.sources.left(peer(4));
                    way.retain(|a: &Ask| a.peer != peer(4));
                } else if who < 3 && let Some(ask) = way.pop() {
                    s.arrive(&ask);
                }
                prop_assert!(s.sources.asked() <= ASKED_OF_ALL);
                now = now + Duration::from_millis(ms);
                s.sources.on_time(now);
            }
            for _ in 0..200 {
                now = now + REST;
                s.sources.on_time(now);
                for ask in s.choose(now) {
                    s.arrive(&ask);
                }
            }
            let got = s.synced.remove(&0).unwrap_or_default();
            subtract(&mut all, &got);
            prop_assert!(all.is_empty(), "{:?}", all);
        }
    }
}
