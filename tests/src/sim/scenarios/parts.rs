//! Part files whose fetch nobody knows any more.

use kith_api::{OfferView, Strategy};

use super::*;

fn view(w: &World, n: usize, id: OfferId) -> &OfferView {
    w.offer_view(n, 0, id).unwrap()
}

fn is_done(w: &World, n: usize, id: OfferId) -> bool {
    w.offer_view(n, 0, id)
        .is_some_and(|o| o.phase == FetchPhase::Done)
}

#[test]
fn a_receiver_that_lost_its_store_goes_on_from_its_parts() {
    for seed in seeds(10) {
        let mut w = World::with(seed, &["ada", "bob"]);
        w.pace = 100;
        let id = w.offer(0, &[900 * CHUNK]);
        w.until("seen", 5_000, |w| phase(w, id) == Some(FetchPhase::Offered));
        w.accept(1, 0, id);
        w.until("half of it", 60_000, |w| view(w, 1, id).done > 400 * CHUNK);
        w.crash(1, false);
        w.nodes[1].store = Default::default();
        w.nodes[1].promises.clear();
        w.start(1);
        w.join(1);
        w.until("seen", 60_000, |w| {
            phase(w, id) == Some(FetchPhase::Offered)
        });
        w.accept(1, 0, id);
        w.until("complete", 120_000, |w| is_done(w, 1, id));
        assert!(w.same_files(1, 0, id), "seed {seed}");
        let traffic = view(&w, 1, id).traffic;
        assert!(traffic.resumed > 400 * CHUNK, "seed {seed}: {traffic:?}");
        assert_eq!(traffic.resumed + traffic.received, 900 * CHUNK);
        assert!(w.nodes[1].disk.parts.is_empty(), "seed {seed}");
    }
}

#[test]
fn parts_of_other_files_cost_nothing_but_those_files() {
    for seed in seeds(10) {
        let mut w = World::with(seed, &["ada", "bob"]);
        let id = w.offer(0, &[30 * CHUNK, 40 * CHUNK, 50 * CHUNK, 60 * CHUNK]);
        w.until("seen", 5_000, |w| phase(w, id) == Some(FetchPhase::Offered));
        // Into the folder `down`.
        (0..4).for_each(|file| w.leave_orphan(1, file, true));
        w.accept(1, 0, id);
        w.until("complete", 60_000, |w| is_done(w, 1, id));
        assert!(w.same_files(1, 0, id), "seed {seed}");
        assert!(view(&w, 1, id).traffic.resumed > 0);
        assert!(w.nodes[1].disk.parts.is_empty(), "seed {seed}");
    }
}

#[test]
fn a_fetch_that_waits_keeps_its_part() {
    let mut w = World::with(1, &["ada", "bob"]);
    w.pace = 100;
    // Both have a file of this name.
    let ids = [900, 901].map(|chunks| w.offer_by(0, chunks * CHUNK, Strategy::Parallel));
    w.pass(500);
    w.accept(1, 0, ids[0]);
    w.until("half of it", 60_000, |w| {
        view(w, 1, ids[0]).done > 400 * CHUNK
    });
    // Its fetches do not go on by themselves.
    w.nodes[1].keep = false;
    w.crash(1, false);
    w.start(1);
    w.join(1);
    let offered = |w: &World, id| {
        w.offer_view(1, 0, id)
            .is_some_and(|o| o.phase == FetchPhase::Offered)
    };
    w.until("seen", 60_000, |w| ids.iter().all(|id| offered(w, *id)));
    w.accept(1, 0, ids[1]);
    w.until("complete", 120_000, |w| is_done(w, 1, ids[1]));
    assert_eq!(view(&w, 1, ids[1]).traffic.resumed, 0);
    w.accept(1, 0, ids[0]);
    w.until("complete too", 120_000, |w| is_done(w, 1, ids[0]));
    assert!(view(&w, 1, ids[0]).traffic.resumed > 400 * CHUNK);
}

#[test]
fn in_a_swarm_nobody_is_handed_what_was_adopted_unchecked() {
    for seed in seeds(10) {
        let mut w = World::with(seed, &["ada", "bob", "cy", "dee"]);
        let id = w.offer_by(0, 300 * CHUNK, Strategy::Swarm);
        w.pass(500);
        w.leave_orphan(1, 0, true);
        w.leave_orphan(2, 0, false);
        (1..4).for_each(|n| w.accept(n, 0, id));
        w.until("all have it", 120_000, |w| {
            (1..4).all(|n| is_done(w, n, id))
        });
        assert!((1..4).all(|n| w.same_files(n, 0, id)), "seed {seed}");
        assert_eq!(w.struck, 0, "seed {seed}");
    }
}
