//! Which fetches run: a few at a time, over all rooms, in the order of the user.

use crate::record::FetchKey;

/// Between two places, so that most moves change one record only.
pub const GAP: u64 = 1 << 24;

/// How a fetch that is taken stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Which.
    pub key: FetchKey,
    /// Its place: what is less comes first.
    pub place: u64,
    /// What it does.
    pub turn: Turn,
}

/// What a fetch that is taken does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It runs.
    Has,
    /// It could, if it were its turn.
    Wants,
    /// It could not: held back, blocked, or without its sender.
    Rests,
}

/// Whose turn it is now, with `at_once` of them at a time. None that runs is stopped for another.
pub fn grant(all: &[Standing], at_once: u32) -> Vec<FetchKey> {
    let running = all.iter().filter(|s| s.turn == Turn::Has).count();
    let free = (at_once as usize).saturating_sub(running);
    waiting(all).take(free).collect()
}

/// Those who wait for their turn, in order.
pub fn waiting(all: &[Standing]) -> impl Iterator<Item = FetchKey> {
    let mut wait: Vec<&Standing> = all.iter().filter(|s| s.turn == Turn::Wants).collect();
    wait.sort_by_key(|s| (s.place, s.key));
    wait.into_iter()
        .map(|s| s.key)
        .collect::<Vec<_>>()
        .into_iter()
}

/// The place behind all others.
pub fn last(all: &[Standing]) -> u64 {
    let most = all.iter().map(|s| s.place).max();
    most.map_or(GAP, |m| m.saturating_add(GAP))
}

/// New places, so that `key` comes right before `before`, or last. Empty where there is nothing to
/// change, or no such fetch.
pub fn shift(all: &[Standing], key: FetchKey, before: Option<FetchKey>) -> Vec<(FetchKey, u64)> {
    let mut order: Vec<(u64, FetchKey)> = all.iter().map(|s| (s.place, s.key)).collect();
    order.sort_unstable();
    let Some(from) = order.iter().position(|(_, k)| *k == key) else {
        return Vec::new();
    };
    if before == Some(key) {
        return Vec::new();
    }
    order.remove(from);
    let to = match before {
        Some(before) => match order.iter().position(|(_, k)| *k == before) {
            Some(at) => at,
            None => return Vec::new(),
        },
        None => order.len(),
    };
    if to == from {
        return Vec::new();
    }
    let below = to.checked_sub(1).map_or(0, |i| order[i].0);
    let place = match order.get(to) {
        Some((above, _)) => below + (above - below) / 2,
        None => below.saturating_add(GAP),
    };
    let fits = place > below && order.get(to).is_none_or(|(above, _)| place < *above);
    if fits {
        return vec![(key, place)];
    }
    // No room between the two: everybody gets a new place.
    order.insert(to, (0, key));
    let places = (1..).map(|n: u64| n.saturating_mul(GAP));
    order.into_iter().map(|(_, k)| k).zip(places).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kith_protocol::{OfferId, PeerId, RoomId};
    use proptest::prelude::*;

    fn key(n: u8) -> FetchKey {
        FetchKey {
            room: RoomId([n % 2; 16]),
            from: PeerId([3; 16]),
            offer: OfferId([n; 16]),
        }
    }

    fn standing(n: u8, place: u64, turn: Turn) -> Standing {
        Standing {
            key: key(n),
            place,
            turn,
        }
    }

    #[test]
    fn a_few_run_and_the_first_that_can_is_next() {
        let all = [
            standing(1, 10, Turn::Has),
            standing(2, 20, Turn::Rests),
            standing(3, 40, Turn::Wants),
            standing(4, 30, Turn::Wants),
        ];
        assert_eq!(grant(&all, 1), []);
        assert_eq!(grant(&all, 2), [key(4)]);
        assert_eq!(grant(&all, 9), [key(4), key(3)]);
        assert_eq!(grant(&all, 0), [], "fewer than run");
        assert_eq!(waiting(&all).collect::<Vec<_>>(), [key(4), key(3)]);
        assert_eq!(last(&all), 40 + GAP);
        assert_eq!(last(&[]), GAP);
    }

    #[test]
    fn moves_that_are_none_change_nothing() {
        let all = [1, 2, 3].map(|n| standing(n, u64::from(n) * GAP, Turn::Wants));
        assert_eq!(shift(&all, key(1), Some(key(1))), []);
        assert_eq!(shift(&all, key(1), Some(key(2))), []);
        assert_eq!(shift(&all, key(3), None), []);
        assert_eq!(shift(&all, key(9), None), []);
        assert_eq!(shift(&all, key(1), Some(key(9))), []);
    }

    proptest! {
        /// Whatever is moved where: it stands there, and nobody else changes order.
        #[test]
        fn a_move_moves_one(moves in prop::collection::vec((0u8..8, 0u8..9), 0..200)) {
            let mut all: Vec<Standing> =
                (0..8).map(|n| standing(n, u64::from(n) + 1, Turn::Wants)).collect();
            for (which, to) in moves {
                let mut want: Vec<FetchKey> = waiting(&all).collect();
                let before = (to < 8).then(|| key(to));
                if before != Some(key(which)) {
                    want.retain(|k| *k != key(which));
                    let at = want.iter().position(|k| Some(*k) == before).unwrap_or(want.len());
                    want.insert(at, key(which));
                }
                for (k, place) in shift(&all, key(which), before) {
                    all.iter_mut().filter(|s| s.key == k).for_each(|s| s.place = place);
                }
                prop_assert_eq!(waiting(&all).collect::<Vec<_>>(), want);
            }
        }
    }
}
