//! Stories of offers that outlast the presence of who made them.

use kith_api::FetchPhase;
use kith_protocol::{Code, OfferId};

use super::{CHUNK, World, seeds};

impl World {
    fn stands(&self, n: usize, offer: OfferId) -> Option<FetchPhase> {
        Some(self.offer_view(n, 0, offer)?.phase)
    }

    fn has_whole(&self, n: usize, offer: OfferId) -> bool {
        self.stands(n, offer) == Some(FetchPhase::Done)
    }

    fn got(&self, n: usize, offer: OfferId) -> u64 {
        self.offer_view(n, 0, offer).map_or(0, |v| v.done)
    }

    /// Somebody who was not there before joins, and takes the offer that others pass on.
    fn late(&mut self, offer: OfferId) -> usize {
        let late = self.add("late");
        self.join(late);
        self.until("the offer is passed on", 60_000, |w| {
            w.stands(late, offer) == Some(FetchPhase::Offered)
        });
        self.accept(late, 0, offer);
        late
    }
}

/// Ada offered something, these have it, and she is gone.
fn gone(seed: u64, names: &[&str], chunks: u64) -> (World, OfferId) {
    let mut w = World::with(seed, names);
    let id = match chunks {
        0 => w.share(0, 60, None).expect("a good offer"),
        _ => w.offer_by(0, chunks * CHUNK + 7, kith_api::Strategy::Parallel),
    };
    w.pass(500);
    for n in 1..names.len() {
        w.accept(n, 0, id);
    }
    w.until("they have it", 120_000, |w| {
        (1..names.len()).all(|n| w.has_whole(n, id))
    });
    w.pass(1_000);
    w.crash(0, false);
    (w, id)
}

#[test]
fn who_comes_late_gets_it_from_whoever_has_it() {
    for seed in seeds(20) {
        let (mut w, id) = gone(
            seed,
            &["ada", "bob", "cy"],
            if seed % 2 == 0 { 0 } else { 300 },
        );
        let late = w.late(id);
        w.until("it is here", 60_000, |w| w.has_whole(late, id));
        assert!(w.same_files(late, 0, id), "seed {seed}");
        // And from there to the next, when nobody else is left.
        w.crash(1, false);
        w.crash(2, false);
        let last = w.add("last");
        w.join(last);
        w.until("it is passed on again", 60_000, |w| {
            w.stands(last, id) == Some(FetchPhase::Offered)
        });
        w.accept(last, 0, id);
        w.until("it is there too", 60_000, |w| w.has_whole(last, id));
        assert!(w.same_files(last, 0, id), "seed {seed}");
    }
}

#[test]
fn a_holder_that_leaves_is_followed_by_another_and_nothing_comes_twice() {
    for seed in seeds(20) {
        let (mut w, id) = gone(seed, &["ada", "bob", "cy"], 900);
        w.pace = 20;
        let late = w.late(id);
        w.until("some of it", 60_000, |w| w.got(late, id) > 100 * CHUNK);
        let by = w.offer_view(late, 0, id).and_then(|v| v.by);
        let holder = by
            .and_then(|p| w.node_of(p))
            .expect("it comes from somebody");
        w.crash(holder, seed % 2 == 0);
        w.until("the other goes on", 120_000, |w| w.has_whole(late, id));
        assert!(w.same_files(late, 0, id), "seed {seed}");
        let view = w.offer_view(late, 0, id).unwrap();
        assert_eq!(view.traffic.received_durable, 0, "seed {seed}");
    }
}

#[test]
fn a_holder_that_lies_is_left() {
    for seed in seeds(20) {
        let (mut w, id) = gone(seed, &["ada", "bob", "cy"], 300);
        match seed % 2 {
            0 => w.lie_hashes = 1,
            _ => w.lie_chunks = 2,
        }
        let late = w.late(id);
        w.until("it is here", 120_000, |w| w.has_whole(late, id));
        assert!(w.same_files(late, 0, id), "seed {seed}");
    }
}

#[test]
fn who_offers_is_back_and_hears_of_the_end() {
    for seed in seeds(20) {
        let (mut w, id) = gone(seed, &["ada", "bob"], 900);
        w.pace = 20;
        let late = w.late(id);
        w.until("some of it", 60_000, |w| w.got(late, id) > 100 * CHUNK);
        let source = w.nodes[0].sources[&id].clone();
        w.start(0);
        w.until("she is back", 60_000, |w| w.all_connected());
        w.offer_source(0, source);
        w.until("it is here", 120_000, |w| w.has_whole(late, id));
        let late = w.nodes[late].peer();
        w.until("and she knows", 60_000, |w| {
            let view = w.offer_view(0, 0, id).unwrap();
            let of = view.receivers.iter().find(|r| r.peer == late);
            of.is_some_and(|r| r.phase == kith_api::ServePhase::Done)
        });
    }
}

#[test]
fn a_holder_whose_file_is_another_now_serves_nobody() {
    let (mut w, id) = gone(3, &["ada", "bob"], 300);
    w.nodes[1].source_fault = Some(Code::SourceChanged);
    let late = w.late(id);
    w.pass(20_000);
    assert_eq!(w.stands(late, id), Some(FetchPhase::Stalled));
    assert_eq!(w.got(late, id), 0);
    let source = w.nodes[0].sources[&id].clone();
    w.start(0);
    w.until("she is back", 60_000, |w| w.all_connected());
    w.offer_source(0, source);
    w.until("it is here", 120_000, |w| w.has_whole(late, id));
    assert!(w.same_files(late, 0, id));
}

#[test]
fn a_holder_that_was_restarted_passes_it_on_still() {
    let (mut w, id) = gone(4, &["ada", "bob"], 300);
    w.crash(1, true);
    w.start(1);
    let late = w.late(id);
    w.until("it is here", 60_000, |w| w.has_whole(late, id));
    assert!(w.same_files(late, 0, id));
}
