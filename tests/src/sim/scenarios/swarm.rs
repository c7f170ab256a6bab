//! Stories of several receivers of one offer.

use kith_api::{FetchPhase, Strategy};
use kith_protocol::OfferId;

use super::{CHUNK, World, seeds};

const NAMES: [&str; 5] = ["ada", "bob", "cy", "dee", "eve"];

impl World {
    fn sent(&self, offer: OfferId) -> u64 {
        self.offer_view(0, 0, offer).unwrap().traffic.sent
    }

    fn is_done_at(&self, n: usize, offer: OfferId) -> bool {
        let view = self.offer_view(n, 0, offer);
        view.is_some_and(|v| v.phase == FetchPhase::Done)
    }

    /// Bytes that node `n` has.
    fn has(&self, n: usize, offer: OfferId) -> u64 {
        self.offer_view(n, 0, offer).map_or(0, |v| v.done)
    }

    /// Ada offers a file of `size` bytes to a swarm, and all others take it.
    fn offer_to_all(&mut self, size: u64) -> OfferId {
        let id = self.offer_by(0, size, Strategy::Swarm);
        self.pass(500);
        (1..5).for_each(|n| self.accept(n, 0, id));
        id
    }

    /// All others get it, as it is.
    fn all_have(&mut self, offer: OfferId) {
        self.until("all have it", 120_000, |w| {
            (1..5).all(|n| w.is_done_at(n, offer))
        });
        assert!((1..5).all(|n| self.same_files(n, 0, offer)));
    }
}

/// A world in which a file of `size` bytes begins to go from Ada to all others.
fn swarm(seed: u64, pace: u64, size: u64) -> (World, OfferId) {
    let mut w = World::with(seed, &NAMES);
    w.pace = pace;
    let id = w.offer_to_all(size);
    (w, id)
}

#[test]
fn the_sender_sends_it_about_once() {
    for seed in seeds(20) {
        let size = 1_500 * CHUNK + 7;
        let (mut w, id) = swarm(seed, 10, size);
        w.all_have(id);
        let sent = w.sent(id);
        assert!(sent <= size * 13 / 10, "seed {seed}: {sent} of {size}");
    }
}

#[test]
fn all_pieces_are_out_and_the_sender_leaves() {
    for seed in seeds(20) {
        let size = 900 * CHUNK;
        let (mut w, id) = swarm(seed, 20, size);
        // Everything is on disk somewhere.
        w.until("everything is out", 120_000, |w| {
            (1..5).map(|n| w.has(n, id)).sum::<u64>() >= size * 5 / 4
        });
        let out = (1..5).map(|n| w.has(n, id)).sum::<u64>();
        w.crash(0, false);
        if out < 4 * size {
            w.until("the others go on", 120_000, |w| {
                (1..5).map(|n| w.has(n, id)).sum::<u64>() > out
            });
        }
        w.start(0);
        let source = w.nodes[0].sources[&id].clone();
        w.until("it is back", 60_000, World::all_connected);
        w.offer_source(0, source);
        w.all_have(id);
    }
}

#[test]
fn who_leaves_and_comes_back_costs_the_others_nothing() {
    for seed in seeds(20) {
        let size = 900 * CHUNK;
        let (mut w, id) = swarm(seed, 20, size);
        w.until("some of it", 60_000, |w| w.has(4, id) > 100 * CHUNK);
        w.crash(4, seed % 2 == 0);
        // Long before its link is given up.
        w.until("the others have it", 15_000, |w| {
            (1..4).all(|n| w.is_done_at(n, id))
        });
        w.start(4);
        w.until("it is back", 60_000, World::all_connected);
        w.pass(1_000);
        w.accept(4, 0, id);
        w.all_have(id);
        let sent = w.sent(id);
        // Its part, which goes out again, and what it lacks.
        assert!(sent <= size * 3 / 2, "seed {seed}: {sent} of {size}");
    }
}

#[test]
fn receivers_that_cannot_reach_each_other_get_it_all_from_the_sender() {
    let mut w = World::with(1, &NAMES);
    for a in 1..5 {
        (1..5).for_each(|b| w.cut(a, b, true));
    }
    w.pass(90_000);
    let id = w.offer_to_all(700 * CHUNK);
    w.all_have(id);
}

#[test]
fn holders_that_lie_are_found_out() {
    for seed in seeds(20) {
        let (mut w, id) = swarm(seed, 10, 900 * CHUNK);
        w.until("some of it", 60_000, |w| w.has(1, id) > 50 * CHUNK);
        w.lie_chunks = 2;
        w.damage = 1;
        w.until("all are through", 120_000, |w| {
            (1..5).all(|n| {
                let view = w.offer_view(n, 0, id).unwrap();
                matches!(view.phase, FetchPhase::Done | FetchPhase::Failed)
            })
        });
        assert!((1..5).all(|n| w.is_done_at(n, id)), "seed {seed}");
        w.all_have(id);
    }
}

#[test]
fn one_after_the_other_is_one_at_a_time() {
    let mut w = World::with(3, &NAMES);
    w.pace = 10;
    let id = w.offer_by(0, 300 * CHUNK, Strategy::Sequential);
    w.pass(500);
    for n in [3, 1, 4, 2] {
        w.accept(n, 0, id);
        // They accept one by one.
        w.pass(100);
    }
    for (i, n) in [3, 1, 4, 2].into_iter().enumerate() {
        w.until("its turn", 60_000, |w| w.is_done_at(n, id));
        let begun = [3, 1, 4, 2].into_iter().skip(i + 2);
        assert!(begun.map(|n| w.has(n, id)).all(|has| has == 0), "{i}");
    }
}
