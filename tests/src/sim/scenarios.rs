//! Single stories, each about one promise.

#![allow(clippy::unwrap_used, reason = "all of it is a test")]

use kith_api::{FetchPhase, LinkPhase, Presence, ServePhase, SessionPhase, TransferSettings};
use kith_core::Input;
use kith_core::input::{Command, LinkNews};
use kith_core::record::FetchKey;
use kith_protocol::peer::Entry;
use kith_protocol::{Code, OfferId};

use super::world::World;

mod parts;
mod passing;
mod swarm;

const CHUNK: u64 = 65_536;

impl World {
    /// A room with these people in it, all connected.
    fn with(seed: u64, names: &[&str]) -> Self {
        let mut w = World::new(seed);
        for name in names {
            let n = w.add(name);
            w.join(n);
        }
        w.until("all connected", 60_000, World::all_connected);
        w
    }

    /// Lets time pass until `what` holds; fails after `ms`.
    fn until(&mut self, what: &str, ms: u64, holds: impl Fn(&World) -> bool) {
        let seed = self.seed;
        assert!(
            self.wait(ms, holds),
            "seed {seed}: not within {ms} ms: {what}"
        );
    }

    /// Fetches an offer into the folder `down`.
    fn accept(&mut self, n: usize, from: usize, offer: OfferId) {
        let (room, from) = (self.room, self.nodes[from].peer());
        let key = FetchKey { room, from, offer };
        assert!(self.accept_into(n, key, "down"));
    }

    /// Whether what was fetched is what was offered.
    fn same_files(&self, n: usize, from: usize, offer: OfferId) -> bool {
        let source = &self.nodes[from].sources[&offer];
        let name = |e: &Entry| ("down".to_string(), e.path.clone());
        let mut both = source.entries.iter().zip(&source.tokens);
        both.all(|(e, t)| self.nodes[n].disk.files.get(&name(e)) == Some(t))
    }

    /// Texts of `author` as `n` shows them, in order.
    fn texts(&self, n: usize, author: usize) -> Vec<String> {
        let author = self.nodes[author].peer();
        let shown = self.process(n).fold.messages(author);
        shown.map(|m| m.text.clone()).collect()
    }
}

fn seeds(n: u64) -> std::ops::Range<u64> {
    0..n
}

fn texts(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("text {i}")).collect()
}

#[test]
fn two_meet_and_connect() {
    for seed in seeds(50) {
        let w = World::with(seed, &["ada", "bob"]);
        assert!(w.now < 10_000, "seed {seed}: {}", w.now);
    }
}

#[test]
fn a_message_written_alone_arrives_later() {
    let mut w = World::new(1);
    let a = w.add("ada");
    w.join(a);
    let req = w.say(a, "hello?");
    w.pass(5_000);
    assert!(matches!(w.reply(a, req), Some(Ok(_))));
    let b = w.add("bob");
    w.join(b);
    w.until("it arrived", 10_000, |w| w.texts(b, a) == ["hello?"]);
    w.until("and is known to have", 10_000, |w| {
        w.process(a).engine.delivered(w.room, 1).len() == 1
    });
}

#[test]
fn two_hundred_messages_each_way_among_three_while_links_drop() {
    for seed in seeds(12) {
        let mut w = World::with(seed, &["ada", "bob", "cy"]);
        w.delay = 20;
        for text in texts(200) {
            for n in 0..3 {
                w.say(n, text.clone());
            }
            let ms = w.dice.below(300);
            w.pass(ms);
            let (x, y) = (w.dice.below(3) as usize, w.dice.below(3) as usize);
            match w.dice.below(30) {
                0 if x != y => w.cut(x, y, true),
                1 => w.move_to_another_network(x, seed % 2 == 0, false),
                2 => w.server_down(),
                3 => w.server.up(),
                4..=8 if x != y => w.heal(x, y),
                9 => {
                    w.crash(x, false);
                    let ms = w.dice.below(3_000);
                    w.pass(ms);
                    w.start(x);
                }
                _ => {}
            }
        }
        w.server.up();
        for (x, y) in [(0, 1), (0, 2), (1, 2)] {
            w.heal(x, y);
        }
        let room = w.room;
        let whole = move |w: &World| {
            let peers: Vec<_> = w.nodes.iter().map(|n| n.peer()).collect();
            let full = |n: &super::node::Node| {
                peers.iter().all(|p| {
                    n.store
                        .logs
                        .get(&(room, *p))
                        .is_some_and(|l| l.len() >= 195)
                })
            };
            let heads = |n: &super::node::Node| {
                peers
                    .iter()
                    .map(|p| n.store.logs[&(room, *p)].len())
                    .collect::<Vec<_>>()
            };
            w.nodes.iter().all(full) && w.nodes.iter().all(|n| heads(n) == heads(&w.nodes[0]))
        };
        w.until("everybody has everything", 180_000, whole);
        for (i, n) in w.nodes.iter().enumerate() {
            for author in &w.nodes {
                let log = &n.store.logs[&(room, author.peer())];
                let original = &author.store.logs[&(room, author.peer())];
                let same = log
                    .iter()
                    .map(|r| (r.id, &r.text))
                    .eq(original.iter().map(|r| (r.id, &r.text)));
                assert!(same, "seed {seed}: {i} has another log of {}", author.name);
            }
        }
        w.until("all connected again", 120_000, World::all_connected);
    }
}

#[test]
fn a_lost_server_touches_no_link_and_rejoining_keeps_it() {
    for seed in seeds(30) {
        let mut w = World::with(seed, &["ada", "bob"]);
        let link = w.link(0, 1);
        w.server_down();
        w.pass(60_000);
        assert!(w.all_connected(), "seed {seed}");
        w.say(0, "still here");
        w.until("it arrives without a server", 5_000, |w| {
            w.texts(1, 0).len() == 1
        });
        w.server.up();
        let joined = |w: &World, n: usize| {
            w.process(n).fold.room(w.room).unwrap().session == SessionPhase::Joined
        };
        w.until("both are back", 60_000, |w| joined(w, 0) && joined(w, 1));
        w.pass(10_000);
        assert!(w.all_connected());
        assert_eq!(
            (w.link(0, 1), w.link(1, 0)),
            (link, link),
            "seed {seed}: the link is kept"
        );
    }
}

#[test]
fn a_restarted_process_gets_a_fresh_link() {
    for seed in seeds(30) {
        let mut w = World::with(seed, &["ada", "bob"]);
        let link = w.link(0, 1);
        w.crash(1, false);
        let ms = w.dice.below(40_000);
        w.pass(ms);
        w.start(1);
        w.until("connected again", 60_000, |w| {
            w.all_connected() && w.link(0, 1) == w.link(1, 0)
        });
        assert_ne!(w.link(0, 1), link);
        w.say(1, "back");
        w.until("it arrives", 5_000, |w| w.texts(0, 1) == ["back"]);
    }
}

#[test]
fn a_new_address_mends_the_path_without_a_new_link() {
    for (seed, told) in seeds(40).map(|s| (s, s % 2 == 0)) {
        let mut w = World::with(seed, &["ada", "bob"]);
        w.delay = 1 + seed % 30;
        let link = w.link(0, 1);
        w.move_to_another_network((seed / 2 % 2) as usize, told, false);
        w.say(0, "over the new path");
        w.until("it arrives", 20_000, |w| w.texts(1, 0).len() == 1);
        w.until("connected", 20_000, World::all_connected);
        assert_eq!(w.link(0, 1), link, "seed {seed}");
    }
}

#[test]
fn a_changed_address_is_mended_in_seconds_though_the_server_connection_is_dead() {
    for seed in seeds(40) {
        let mut w = World::with(seed, &["ada", "bob"]);
        w.delay = 1 + seed % 100;
        let link = w.link(0, 1);
        w.pass(60_000);
        w.move_to_another_network((seed % 2) as usize, true, true);
        w.say(0, "from elsewhere");
        w.until("it arrives", 8_000, |w| w.texts(1, 0).len() == 1);
        w.until("connected", 5_000, World::all_connected);
        w.pass(60_000);
        assert!(w.all_connected());
        assert_eq!(w.link(0, 1), link, "seed {seed}: over the same link");
    }
}

#[test]
fn a_short_silence_without_a_server_does_not_end_the_link() {
    let mut w = World::with(3, &["ada", "bob"]);
    let link = w.link(0, 1);
    w.server_down();
    w.cut(0, 1, true);
    w.pass(6_000);
    assert_eq!(
        w.process(0)
            .fold
            .person(w.room, w.nodes[1].peer())
            .unwrap()
            .presence,
        Presence::Silent
    );
    w.pass(6_000);
    assert_eq!(w.phase(0, 1), Some(LinkPhase::Reconnecting));
    w.heal(0, 1);
    w.pass(60_000);
    assert!(w.all_connected());
    assert_eq!(w.link(0, 1), link);
}

#[test]
fn links_that_fail_on_both_sides_are_tried_again() {
    for seed in seeds(20) {
        let mut w = World::new(seed);
        for name in ["ada", "bob"] {
            let n = w.add(name);
            w.join(n);
        }
        w.cut(0, 1, true);
        w.pass(200_000 + seed * 1_000);
        assert_ne!(w.phase(0, 1), Some(LinkPhase::Connected));
        w.heal(0, 1);
        w.until("connected", 130_000, World::all_connected);
    }
}

#[test]
fn a_long_partition_ends_in_one_new_link() {
    for seed in seeds(20) {
        let mut w = World::with(seed, &["ada", "bob"]);
        w.cut(0, 1, true);
        w.say(0, "into the dark");
        w.pass(100_000 + seed * 500);
        w.heal(0, 1);
        w.until("it arrives", 130_000, |w| w.texts(1, 0).len() == 1);
        w.until("connected", 60_000, World::all_connected);
        w.pass(20_000);
        assert!(w.all_connected());
        assert_eq!(w.link(0, 1), w.link(1, 0));
    }
}

#[test]
fn files_are_offered_accepted_and_arrive() {
    for seed in seeds(10) {
        let mut w = World::with(seed, &["ada", "bob"]);
        let id = w.offer(0, &[5 * CHUNK, 0, 1, 20 * CHUNK + 7]);
        w.until("seen", 5_000, |w| phase(w, id) == Some(FetchPhase::Offered));
        w.accept(1, 0, id);
        w.until("done", 30_000, |w| phase(w, id) == Some(FetchPhase::Done));
        assert!(w.same_files(1, 0, id));
        w.until("the sender knows", 5_000, |w| {
            w.offer_view(0, 0, id).unwrap().receivers[0].phase == ServePhase::Done
        });
        let mine = w.offer_view(0, 0, id).unwrap();
        assert_eq!(
            (mine.traffic.resent, mine.receivers[0].done),
            (0, mine.total)
        );
        assert_eq!(w.offer_view(1, 0, id).unwrap().done, mine.total);
    }
}

#[test]
fn files_arrive_whole_through_cuts_moves_crashes_and_damage() {
    for seed in seeds(25) {
        let mut w = World::with(seed, &["ada", "bob"]);
        (w.delay, w.pace) = (10, 100);
        let id = w.offer(0, &[900 * CHUNK, 3, 500 * CHUNK + 1]);
        w.until("seen", 5_000, |w| phase(w, id) == Some(FetchPhase::Offered));
        w.accept(1, 0, id);
        for _ in 0..8 {
            let ms = w.dice.below(1_500);
            w.pass(ms);
            match w.dice.below(6) {
                0 => w.cut(0, 1, true),
                1 => w.move_to_another_network(1, true, false),
                2 => w.damage = 1,
                3 => w.server_down(),
                4 => {
                    w.crash(1, false);
                    w.start(1);
                }
                _ => {
                    w.server.up();
                    w.heal(0, 1);
                }
            }
        }
        w.server.up();
        w.heal(0, 1);
        w.until("connected", 120_000, World::all_connected);
        w.until("known again", 60_000, |w| {
            phase(w, id).is_some_and(|p| p != FetchPhase::Seen)
        });
        if phase(&w, id) == Some(FetchPhase::Offered) {
            w.accept(1, 0, id);
        }
        w.until("done", 120_000, |w| phase(w, id) == Some(FetchPhase::Done));
        assert!(w.same_files(1, 0, id), "seed {seed}");
        let mine = w.offer_view(0, 0, id).unwrap();
        assert_eq!(
            mine.traffic.resent_durable, 0,
            "seed {seed}: nothing durable is sent again"
        );
    }
}

#[test]
fn a_shutdown_says_bye() {
    let mut w = World::with(1, &["ada", "bob"]);
    w.input(1, Input::Shutdown);
    w.until("ada sees it", 1_000, |w| {
        w.process(0)
            .fold
            .person(w.room, w.nodes[1].peer())
            .unwrap()
            .presence
            == Presence::Offline
    });
    assert_eq!(w.phase(0, 1), Some(LinkPhase::Disconnected));
    assert!(w.net.ends.is_empty(), "both closed their ends");
}

#[test]
fn leaving_and_coming_back_shows_everything_again() {
    let mut w = World::with(1, &["ada", "bob"]);
    w.pace = 100;
    let id = w.offer(0, &[500 * CHUNK]);
    w.until("seen", 5_000, |w| phase(w, id) == Some(FetchPhase::Offered));
    w.accept(1, 0, id);
    w.pass(100);
    for n in [1, 0] {
        let room = w.room;
        w.command(n, kith_core::input::Command::Leave(room));
        w.pass(1_000);
        w.join(n);
        w.until("connected", 30_000, World::all_connected);
    }
    w.pass(1_000);
    w.accept(1, 0, id);
    w.until("done", 30_000, |w| phase(w, id) == Some(FetchPhase::Done));
    assert!(w.same_files(1, 0, id));
}

#[test]
fn a_full_store_refuses_and_recovers() {
    let mut w = World::with(1, &["ada", "bob"]);
    w.nodes[1].store.broken = true;
    for text in texts(20) {
        w.say(0, text);
        w.pass(50);
    }
    w.pass(5_000);
    assert!(w.texts(1, 0).is_empty());
    let req = w.say(1, "lost");
    w.pass(100);
    assert!(matches!(w.reply(1, req), Some(Err(_))));
    w.nodes[1].store.broken = false;
    w.say(0, "and now");
    w.until("all arrive", 10_000, |w| w.texts(1, 0).len() == 21);
    assert!(w.texts(0, 1).is_empty());
}

#[test]
fn a_server_that_garbles_cannot_keep_two_apart_once_it_stops() {
    for seed in seeds(30) {
        let mut w = World::new(seed);
        w.garble = 60;
        for name in ["ada", "bob", "cy"] {
            let n = w.add(name);
            w.join(n);
            w.say(n, name);
        }
        w.pass(60_000);
        w.garble = 0;
        w.until("all connected", 120_000, World::all_connected);
        w.until("all messages", 10_000, |w| {
            (0..3).all(|a| (0..3).all(|b| w.texts(a, b).len() == 1))
        });
    }
}

#[test]
fn a_server_that_garbles_touches_no_open_link() {
    let mut w = World::with(1, &["ada", "bob"]);
    let link = w.link(0, 1);
    w.garble = 60;
    w.server_down();
    w.server.up();
    for _ in 0..100 {
        w.pass(1_000);
        assert!(w.all_connected());
    }
    assert_eq!(w.link(0, 1), link);
}

#[test]
fn a_link_that_only_one_side_still_has_is_replaced() {
    for seed in seeds(20) {
        let mut w = World::with(seed, &["ada", "bob"]);
        let (old, loser) = (w.link(0, 1), (seed % 2) as usize);
        w.server_down();
        w.cut(0, 1, true);
        let (room, peer, link) = (w.room, w.nodes[1 - loser].peer(), old.unwrap());
        let news = LinkNews::Broken(Code::LinkLost);
        w.input(
            loser,
            Input::Link {
                room,
                peer,
                link,
                news,
            },
        );
        assert_eq!(w.link(loser, 1 - loser), None);
        w.heal(0, 1);
        w.server.up();
        // Sooner than silence would show it.
        w.until("one new link", 6_000, |w| {
            w.all_connected() && w.link(0, 1) == w.link(1, 0) && w.link(0, 1) != old
        });
    }
}

#[test]
fn a_world_at_peace_is_quiet() {
    let mut w = World::with(1, &["ada", "bob", "cy"]);
    w.say(0, "hello");
    w.pass(5_000);
    let revs = |w: &World| {
        (0..3)
            .map(|n| w.process(n).engine.snapshot().rev)
            .collect::<Vec<_>>()
    };
    let (before, noise, beats) = (revs(&w), w.noise, w.beats);
    w.pass(600_000);
    assert_eq!(revs(&w), before, "nothing changes");
    assert_eq!(w.noise, noise, "nothing is said");
    let most = 600_000 / 1_500 * 6 + 6;
    assert!(
        w.beats - beats <= most,
        "nothing but beats: {}",
        w.beats - beats
    );
}

#[test]
fn slow_stores_lose_nothing() {
    for seed in seeds(10) {
        let mut w = World::with(seed, &["ada", "bob"]);
        w.nodes.iter_mut().for_each(|n| n.store.delay = 400);
        let id = w.offer(0, &[300 * CHUNK, 1, 40 * CHUNK]);
        for text in texts(100) {
            w.say(0, text.clone());
            w.say(1, text);
        }
        w.until("seen", 5_000, |w| phase(w, id) == Some(FetchPhase::Offered));
        w.accept(1, 0, id);
        w.pass(200);
        w.move_to_another_network(0, true, false);
        w.until("done", 120_000, |w| phase(w, id) == Some(FetchPhase::Done));
        assert!(w.same_files(1, 0, id));
        w.until("all texts", 60_000, |w| {
            w.texts(0, 1) == texts(100) && w.texts(1, 0) == texts(100)
        });
    }
}

#[test]
fn a_peer_that_lost_its_store_gets_the_whole_log_again() {
    let mut w = World::with(1, &["ada", "bob"]);
    for text in texts(700) {
        w.say(0, text);
        w.pass(2);
    }
    w.until("all there", 10_000, |w| w.texts(1, 0).len() == 700);
    w.crash(1, false);
    w.nodes[1].store = Default::default();
    w.start(1);
    w.join(1);
    w.until("all there again", 60_000, |w| w.texts(1, 0) == texts(700));
}

#[test]
fn one_offer_serves_two() {
    let mut w = World::with(1, &["ada", "bob", "cy"]);
    let id = w.offer(0, &[50 * CHUNK]);
    w.pass(500);
    w.accept(1, 0, id);
    w.accept(2, 0, id);
    let done = |w: &World, n| {
        w.offer_view(n, 0, id)
            .is_some_and(|o| o.phase == FetchPhase::Done)
    };
    w.until("both have it", 30_000, |w| done(w, 1) && done(w, 2));
    assert!(w.same_files(1, 0, id) && w.same_files(2, 0, id));
}

#[test]
fn a_receiver_that_starts_over_elsewhere_gets_everything() {
    let mut w = World::with(1, &["ada", "bob"]);
    let id = w.offer(0, &[50 * CHUNK, 7]);
    w.pass(500);
    w.accept(1, 0, id);
    w.until("done", 30_000, |w| phase(w, id) == Some(FetchPhase::Done));
    w.crash(1, false);
    w.nodes[1].store = Default::default();
    w.nodes[1].disk = Default::default();
    w.start(1);
    w.join(1);
    w.until("offered again", 60_000, |w| {
        phase(w, id) == Some(FetchPhase::Offered)
    });
    w.accept(1, 0, id);
    w.until("done again", 30_000, |w| {
        phase(w, id) == Some(FetchPhase::Done)
    });
    assert!(w.same_files(1, 0, id));
}

fn phase(w: &World, id: kith_protocol::OfferId) -> Option<FetchPhase> {
    w.offer_view(1, 0, id).map(|o| o.phase)
}

fn fetch_key(w: &World, from: usize, offer: OfferId) -> FetchKey {
    let (room, from) = (w.room, w.nodes[from].peer());
    FetchKey { room, from, offer }
}

#[test]
fn nothing_flows_while_either_side_holds_it_and_nothing_comes_twice() {
    for seed in seeds(20) {
        let mut w = World::with(seed, &["ada", "bob"]);
        (w.delay, w.pace) = (10, 100);
        let id = w.offer(0, &[600 * CHUNK, 3]);
        w.until("seen", 5_000, |w| phase(w, id) == Some(FetchPhase::Offered));
        w.accept(1, 0, id);
        let key = fetch_key(&w, 0, id);
        for round in 0..6 {
            let side = (seed + round) as usize % 2;
            let ms = w.dice.below(800);
            w.pass(ms);
            if phase(&w, id) == Some(FetchPhase::Done) {
                break;
            }
            w.command(side, Command::Pause(key, None));
            // What was on its way arrives and is written.
            w.pass(3_000);
            assert_eq!(phase(&w, id), Some(FetchPhase::Paused), "seed {seed}");
            let view = w.offer_view(0, 0, id).unwrap().receivers[0].clone();
            assert_eq!(view.phase, ServePhase::Paused);
            assert_eq!(
                (view.paused.here, view.paused.there),
                (side == 0, side == 1)
            );
            let received = |w: &World| w.offer_view(1, 0, id).unwrap().traffic.received;
            let before = received(&w);
            if round == 3 {
                w.cut(0, 1, true);
                w.pass(100_000);
                w.heal(0, 1);
                w.until("connected", 130_000, World::all_connected);
            }
            w.pass(60_000);
            assert_eq!(
                received(&w),
                before,
                "seed {seed}: it flows though it is held"
            );
            w.command(side, Command::Resume(key, None));
        }
        w.until("done", 60_000, |w| phase(w, id) == Some(FetchPhase::Done));
        assert!(w.same_files(1, 0, id));
        let traffic = w.offer_view(0, 0, id).unwrap().traffic;
        assert_eq!(traffic.resent_durable, 0, "seed {seed}");
    }
}

#[test]
fn a_pause_at_either_side_outlives_its_process() {
    for (seed, side) in seeds(20).map(|s| (s, (s % 2) as usize)) {
        let mut w = World::with(seed, &["ada", "bob"]);
        w.pace = 100;
        for n in 0..2 {
            w.nodes[n].keep = true;
            w.crash(n, false);
            w.start(n);
        }
        w.until("connected", 60_000, World::all_connected);
        let id = w.offer(0, &[600 * CHUNK]);
        w.until("seen", 5_000, |w| phase(w, id) == Some(FetchPhase::Offered));
        w.accept(1, 0, id);
        w.until("flows", 9_000, |w| w.offer_view(1, 0, id).unwrap().done > 0);
        let key = fetch_key(&w, 0, id);
        w.command(side, Command::Pause(key, None));
        w.pass(5_000);
        w.crash(side, seed % 3 == 0);
        w.pass(2_000);
        w.start(side);
        w.until("connected", 60_000, World::all_connected);
        w.pass(30_000);
        assert_eq!(phase(&w, id), Some(FetchPhase::Paused), "seed {seed}");
        w.command(side, Command::Resume(key, None));
        w.until("done", 60_000, |w| phase(w, id) == Some(FetchPhase::Done));
        assert!(w.same_files(1, 0, id), "seed {seed}");
    }
}

#[test]
fn fetches_run_in_the_order_of_their_user_and_who_is_held_lets_others_go_first() {
    let mut w = World::with(1, &["ada", "bob"]);
    w.pace = 30;
    let one = TransferSettings {
        at_once: 1,
        ..TransferSettings::default()
    };
    w.command(1, Command::Transfers(Box::new(one)));
    let ids: Vec<OfferId> = (0..4).map(|_| w.offer(0, &[300 * CHUNK])).collect();
    w.pass(500);
    ids.iter().for_each(|id| w.accept(1, 0, *id));
    let keys: Vec<FetchKey> = ids.iter().map(|id| fetch_key(&w, 0, *id)).collect();
    w.pass(300);
    let place = |w: &World, n: usize| w.offer_view(1, 0, ids[n]).unwrap().queued;
    assert_eq!([1, 2, 3].map(|n| place(&w, n)), [Some(1), Some(2), Some(3)]);
    let waits = w.offer_view(0, 0, ids[2]).unwrap().receivers[0].phase;
    assert_eq!(
        waits,
        ServePhase::Queued,
        "the sender sees why nothing comes"
    );
    w.command(1, Command::Reorder(keys[3], Some(keys[1])));
    assert_eq!([3, 1, 2].map(|n| place(&w, n)), [Some(1), Some(2), Some(3)]);
    // Held back, the first gives its turn to the next one, and waits for the turn after.
    w.command(1, Command::Pause(keys[0], None));
    w.pass(300);
    assert_eq!(phase(&w, ids[3]), Some(FetchPhase::Fetching));
    w.command(1, Command::Resume(keys[0], None));
    assert_eq!(phase(&w, ids[0]), Some(FetchPhase::Queued));
    let done = |w: &World| {
        ids.iter()
            .filter(|id| phase(w, **id) == Some(FetchPhase::Done))
            .count()
    };
    for n in 1..=4 {
        w.until("one more is done", 60_000, |w| done(w) >= n);
        let running = ids
            .iter()
            .filter(|id| phase(&w, **id) == Some(FetchPhase::Fetching));
        assert!(running.count() <= 1);
    }
}

#[test]
fn a_bound_at_either_side_is_held() {
    for (at, what) in [(0, "offer"), (0, "up"), (1, "fetch"), (1, "down")] {
        let mut w = World::with(1, &["ada", "bob"]);
        let id = w.offer(0, &[200 * CHUNK]);
        w.pass(500);
        w.accept(1, 0, id);
        let key = fetch_key(&w, 0, id);
        let rate = Some(1_000_000);
        let settings = |up, down| {
            Box::new(TransferSettings {
                up,
                down,
                ..TransferSettings::default()
            })
        };
        w.command(
            at,
            match what {
                "up" => Command::Transfers(settings(rate, None)),
                "down" => Command::Transfers(settings(None, rate)),
                _ => Command::Limit(key, rate),
            },
        );
        let (begun, before) = (w.now, w.offer_view(1, 0, id).unwrap().done);
        w.until("done", 60_000, |w| phase(w, id) == Some(FetchPhase::Done));
        // What is in flight when the bound comes is as much as a window.
        let moved = 200 * CHUNK - before - super::disk::WINDOW as u64 * CHUNK;
        let least = moved / 1_000;
        assert!(
            w.now - begun >= least,
            "{what}: {} ms for {moved}",
            w.now - begun
        );
    }
}

#[test]
fn a_full_disk_ends_nothing_and_goes_on_by_itself() {
    for seed in seeds(20) {
        let mut w = World::with(seed, &["ada", "bob"]);
        w.pace = 60;
        let id = w.offer(0, &[400 * CHUNK, 2]);
        w.until("seen", 5_000, |w| phase(w, id) == Some(FetchPhase::Offered));
        if seed % 4 == 0 {
            w.nodes[1].disk.fault = Some(Code::DiskFull);
        }
        w.accept(1, 0, id);
        let ms = w.dice.below(1_500);
        w.pass(ms);
        if phase(&w, id) == Some(FetchPhase::Done) {
            continue;
        }
        w.nodes[1].disk.fault = Some(Code::DiskFull);
        w.until("blocked", 20_000, |w| {
            let blocked = (Some(FetchPhase::Blocked), Some(Code::DiskFull));
            let view = w.offer_view(1, 0, id).unwrap();
            (Some(view.phase), view.why) == blocked
        });
        w.until("the sender sees it", 5_000, |w| {
            let r = &w.offer_view(0, 0, id).unwrap().receivers[0];
            (r.phase, r.why) == (ServePhase::Blocked, Some(Code::DiskFull))
        });
        w.pass(90_000);
        w.nodes[1].disk.fault = None;
        w.until("done", 90_000, |w| phase(w, id) == Some(FetchPhase::Done));
        assert!(w.same_files(1, 0, id));
        let traffic = w.offer_view(0, 0, id).unwrap().traffic;
        assert_eq!(traffic.resent_durable, 0, "seed {seed}");
    }
}

#[test]
fn an_offer_outlives_its_process_unless_its_files_changed() {
    for changed in [false, true] {
        let mut w = World::with(1, &["ada", "bob"]);
        w.nodes[0].keep = true;
        w.crash(0, false);
        w.start(0);
        w.until("connected", 60_000, World::all_connected);
        let id = w.offer(0, &[20 * CHUNK]);
        w.pass(1_000);
        w.crash(0, false);
        if changed {
            w.nodes[0].source_fault = Some(Code::SourceChanged);
        }
        w.start(0);
        w.until("connected", 60_000, World::all_connected);
        let mine = w.offer_view(0, 0, id).unwrap();
        if changed {
            assert_eq!(
                (mine.phase, mine.why),
                (FetchPhase::Withdrawn, Some(Code::SourceChanged))
            );
            assert!(w.nodes[0].store.offers.is_empty(), "and not once more");
            continue;
        }
        w.accept(1, 0, id);
        w.until("done", 30_000, |w| phase(w, id) == Some(FetchPhase::Done));
        assert!(w.same_files(1, 0, id));
    }
}
