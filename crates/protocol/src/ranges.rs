//! Sets of chunk indexes, as sorted disjoint half-open ranges.

use serde::{Deserialize, Deserializer, Serialize};

/// A set of chunk indexes. On the wire: `[[first, end], …]`, ascending, disjoint, `first < end`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash, Serialize)]
#[serde(transparent)]
pub struct RangeSet(Vec<(u64, u64)>);

impl RangeSet {
    /// The empty set.
    pub const fn new() -> Self {
        RangeSet(Vec::new())
    }

    /// All of `0..end`.
    pub fn full(end: u64) -> Self {
        let mut set = RangeSet::new();
        set.insert(0, end);
        set
    }

    /// Builds a set from ranges that must already be ascending and disjoint, as on the wire.
    pub fn from_sorted(ranges: Vec<(u64, u64)>) -> Option<Self> {
        let mut last = None;
        for &(first, end) in &ranges {
            if first >= end || last.is_some_and(|l| first <= l) {
                return None;
            }
            last = Some(end);
        }
        Some(RangeSet(ranges))
    }

    /// The ranges, ascending, disjoint, not touching.
    pub fn ranges(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many indexes are in it.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|(a, b)| b - a).sum()
    }

    /// One past the largest index, 0 if empty.
    pub fn end(&self) -> u64 {
        self.0.last().map_or(0, |r| r.1)
    }

    /// Whether `index` is in it.
    pub fn contains(&self, index: u64) -> bool {
        let at = self.0.partition_point(|r| r.1 <= index);
        self.0.get(at).is_some_and(|r| r.0 <= index)
    }

    /// Adds `first..end`; an empty range adds nothing.
    pub fn insert(&mut self, first: u64, end: u64) {
        if first >= end {
            return;
        }
        // Everything that overlaps or touches melts into one range.
        let from = self.0.partition_point(|r| r.1 < first);
        let to = self.0.partition_point(|r| r.0 <= end);
        let (mut a, mut b) = (first, end);
        if from < to {
            a = a.min(self.0[from].0);
            b = b.max(self.0[to - 1].1);
        }
        self.0.splice(from..to, [(a, b)]);
    }

    /// Adds all of `other`.
    pub fn union(&mut self, other: &RangeSet) {
        for &(a, b) in &other.0 {
            self.insert(a, b);
        }
    }

    /// Removes `first..end`.
    pub fn remove(&mut self, first: u64, end: u64) {
        if first >= end {
            return;
        }
        let from = self.0.partition_point(|r| r.1 <= first);
        let to = self.0.partition_point(|r| r.0 < end);
        if from >= to {
            return;
        }
        let mut keep = Vec::with_capacity(2);
        if self.0[from].0 < first {
            keep.push((self.0[from].0, first));
        }
        if self.0[to - 1].1 > end {
            keep.push((end, self.0[to - 1].1));
        }
        self.0.splice(from..to, keep);
    }

    /// What of `0..end` is not in the set.
    pub fn missing(&self, end: u64) -> RangeSet {
        let mut out = RangeSet::full(end);
        for &(a, b) in &self.0 {
            out.remove(a, b);
        }
        out
    }

    /// The first missing index at or after `from`.
    pub fn next_missing(&self, from: u64) -> u64 {
        let at = self.0.partition_point(|r| r.1 <= from);
        match self.0.get(at) {
            Some(r) if r.0 <= from => r.1,
            Some(_) | None => from,
        }
    }

    /// The first index at or after `from` that is in the set, `u64::MAX` if there is none.
    pub fn next_held(&self, from: u64) -> u64 {
        let at = self.0.partition_point(|r| r.1 <= from);
        self.0.get(at).map_or(u64::MAX, |r| r.0.max(from))
    }

    /// Cuts into sets of at most `n` ranges each, for messages with a bound.
    pub fn split(&self, n: usize) -> impl Iterator<Item = RangeSet> + '_ {
        self.0.chunks(n).map(|c| RangeSet(c.to_vec()))
    }
}

impl<'de> Deserialize<'de> for RangeSet {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let ranges = Vec::<(u64, u64)>::deserialize(d)?;
        if ranges.len() > crate::limits::MAX_RANGES {
            return Err(serde::de::Error::custom("too many ranges"));
        }
        RangeSet::from_sorted(ranges)
            .ok_or_else(|| serde::de::Error::custom("ranges not ascending"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_wire_form_is_strict() {
        for bad in [
            "[[1,1]]",
            "[[2,1]]",
            "[[0,2],[2,3]]",
            "[[5,6],[1,2]]",
            "[[-1,2]]",
            "[1]",
        ] {
            assert!(serde_json::from_str::<RangeSet>(bad).is_err(), "{bad}");
        }
        let set: RangeSet = serde_json::from_str("[[0,2],[4,9]]").unwrap();
        assert_eq!(set.count(), 7);
        assert_eq!(serde_json::to_string(&set).unwrap(), "[[0,2],[4,9]]");
    }

    proptest! {
        #[test]
        fn behaves_like_a_set_of_numbers(ops in prop::collection::vec((any::<bool>(), 0u64..60, 0u64..60), 0..40)) {
            let mut set = RangeSet::new();
            let mut model = BTreeSet::new();
            for (add, a, b) in ops {
                if add { set.insert(a, b); model.extend(a..b); }
                else { set.remove(a, b); model.retain(|x| !(a..b).contains(x)); }
                prop_assert!(RangeSet::from_sorted(set.ranges().to_vec()).is_some());
                prop_assert_eq!(set.count(), model.len() as u64);
                for i in 0..62 {
                    prop_assert_eq!(set.contains(i), model.contains(&i));
                    let held = (i..62).find(|x| model.contains(x)).unwrap_or(u64::MAX);
                    prop_assert_eq!(set.next_held(i), held);
                    prop_assert_eq!(set.next_missing(i), (i..).find(|x| !model.contains(x)).unwrap());
                }
                let missing = set.missing(60);
                prop_assert_eq!(missing.count(), 60 - model.len() as u64);
            }
        }
    }
}
