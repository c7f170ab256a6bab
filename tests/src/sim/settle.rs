//! The end of a run: everything heals, and then everything must come right and go quiet.

use kith_api::{FetchPhase, LinkPhase, OfferAction, OfferView, Presence, ServePhase, SessionPhase};
use kith_core::record::{ChatRecord, FetchKey};

use super::world::World;

/// Milliseconds until everybody must be connected and have every message.
const CONNECT: u64 = 240_000;
/// … and every message be everywhere: a store that failed is asked again after half a minute …
const TALK: u64 = 60_000;
/// … until every transfer that somebody wants must be through.
const TRANSFER: u64 = 240_000;
/// … and until the last dead connection is noticed.
const UNNOTICED: u64 = 50_000;
/// A while in which nothing but beats and heartbeats may happen.
const QUIET: u64 = 45_000;

impl World {
    /// Heals everything, waits, and looks at what came of it.
    pub fn settle(&mut self) {
        self.heal_everything();
        let connected = self.wait(CONNECT, World::is_connected);
        assert!(
            connected,
            "not connected after healing:\n{}",
            self.describe_people()
        );
        // Connections that died unnoticed before the healing are found out by their heartbeats.
        self.pass(UNNOTICED);
        let connected = self.wait(CONNECT, World::is_connected);
        assert!(
            connected,
            "not connected for long:\n{}",
            self.describe_people()
        );
        let talked = self.wait(TALK, World::is_told);
        assert!(
            talked,
            "messages are missing after healing:\n{}",
            self.describe_logs()
        );
        self.let_all_go();
        self.finish_transfers();
        self.finish_passing();
        self.check_rosters();
        self.pass(5_000);
        self.check_quiet();
    }

    fn heal_everything(&mut self) {
        (self.delay, self.pace, self.lose_beats) = (20, 5, 0);
        (self.garble, self.damage, self.lie_chunks, self.lie_hashes) = (0, 0, 0, 0);
        self.server.up();
        for n in 0..self.nodes.len() {
            let node = &mut self.nodes[n];
            (node.disk.fault, node.source_fault, node.store.broken) = (None, None, false);
            (node.disk.delay, node.store.delay) = (5, 5);
            self.wake(n);
            self.heal_server(n);
            for other in 0..self.nodes.len() {
                self.heal(n, other);
            }
        }
        // A server that was saying good-bye is waited for.
        self.pass(2_000);
        self.server.up();
        for n in 0..self.nodes.len() {
            self.start(n);
            if self.session(n).is_none_or(|s| s == SessionPhase::Refused) {
                self.join(n);
            }
        }
    }

    fn is_connected(w: &World) -> bool {
        let all = || 0..w.nodes.len();
        let joined = all().all(|n| w.session(n) == Some(SessionPhase::Joined));
        let known = w.server.hub.as_ref().map(|h| h.gauges().members);
        joined
            && known == Some(w.nodes.len())
            && w.all_connected()
            && all().all(|a| all().all(|b| a == b || w.link(a, b) == w.link(b, a)))
    }

    /// Whether everybody has every message on disk, and every author knows.
    fn is_told(w: &World) -> bool {
        w.nodes.iter().all(|author| {
            let peer = author.peer();
            let log = |n: &super::node::Node| n.store.logs.get(&(w.room, peer)).map_or(0, Vec::len);
            let own = log(author);
            let Some(p) = author.process.as_ref() else {
                return false;
            };
            let knows =
                own == 0 || p.engine.delivered(w.room, own as u64).len() == w.nodes.len() - 1;
            knows && author.store.waiting.is_empty() && w.nodes.iter().all(|n| log(n) == own)
        })
    }

    /// Whoever wants something takes it (again), until it is there.
    fn finish_transfers(&mut self) {
        for round in 0..4 {
            for n in 0..self.nodes.len() {
                for key in self.may(n, &[OfferAction::Accept]) {
                    if let Some(dir) = self.nodes[n].wanted.get(&key).cloned() {
                        self.accept_into(n, key, &dir);
                    }
                }
            }
            let over = |w: &World| w.wanted().iter().all(|(n, k)| w.is_over(*n, *k));
            let ended = self.wait(TRANSFER, over);
            assert!(
                ended,
                "transfers hang after healing:\n{}",
                self.describe_wanted()
            );
            let done = |w: &World| w.wanted().iter().all(|(n, k)| w.is_done(*n, *k));
            // What was damaged on the way before the healing may still end a fetch.
            if done(self) {
                break;
            }
            assert!(
                round < 3,
                "transfers fail after healing:\n{}",
                self.describe_wanted()
            );
        }
        // The last word may still be on its way.
        let known = |w: &World| {
            // What its sender could not send may be passed on by now, which its user has not seen yet.
            let done = |(n, k): &&(usize, FetchKey)| w.is_done(*n, *k);
            let wanted = w.wanted();
            wanted
                .iter()
                .filter(done)
                .all(|(n, k)| w.sender_knows(*n, *k))
        };
        let told = self.wait(10_000, known);
        assert!(
            told,
            "senders do not know of what is done:\n{}",
            self.describe_wanted()
        );
    }

    /// What its sender does not offer any more may still come from somebody who passes it on.
    fn finish_passing(&mut self) {
        let calm = self.wait(TRANSFER, |w| w.still_coming().is_empty());
        assert!(
            calm,
            "what is passed on never ends:\n{:#?}",
            self.still_coming()
        );
    }

    /// Who fetches what.
    fn still_coming(&self) -> Vec<(usize, &OfferView)> {
        let all = self.nodes.iter().enumerate();
        let all = all.flat_map(|(n, node)| {
            let offers = node.wanted.keys().filter_map(move |key| {
                let from = self.node_of(key.from)?;
                self.offer_view(n, from, key.offer)
            });
            offers.map(move |view| (n, view))
        });
        all.filter(|(_, v)| v.phase == FetchPhase::Fetching)
            .collect()
    }

    /// What can be finished: wanted, and still on offer by a running process.
    fn wanted(&self) -> Vec<(usize, FetchKey)> {
        let mut all = Vec::new();
        for (n, node) in self.nodes.iter().enumerate() {
            for key in node.wanted.keys() {
                let from = self.node_of(key.from);
                let view = from.and_then(|f| self.offer_view(f, f, key.offer));
                let meant = view.is_some_and(|v| {
                    v.phase != FetchPhase::Withdrawn
                        && v.receivers.iter().any(|r| r.peer == node.peer())
                });
                // The sender said for good why it cannot be had.
                let refused = self.fetch_phase(n, *key) == Some(FetchPhase::Withdrawn);
                if meant && !refused {
                    all.push((n, *key));
                }
            }
        }
        all
    }

    fn fetch_phase(&self, n: usize, key: FetchKey) -> Option<FetchPhase> {
        let from = self.node_of(key.from)?;
        Some(self.offer_view(n, from, key.offer)?.phase)
    }

    fn is_done(&self, n: usize, key: FetchKey) -> bool {
        self.fetch_phase(n, key) == Some(FetchPhase::Done)
    }

    fn is_over(&self, n: usize, key: FetchKey) -> bool {
        matches!(
            self.fetch_phase(n, key),
            Some(FetchPhase::Done | FetchPhase::Failed | FetchPhase::Offered)
        )
    }

    fn sender_knows(&self, n: usize, key: FetchKey) -> bool {
        let view = self
            .node_of(key.from)
            .and_then(|f| self.offer_view(f, f, key.offer));
        let me = self.nodes[n].peer();
        view.is_some_and(|v| {
            let mine = |r: &&kith_api::ReceiverView| r.peer == me;
            v.receivers
                .iter()
                .find(mine)
                .is_some_and(|r| r.phase == ServePhase::Done)
        })
    }

    fn check_rosters(&self) {
        for (n, node) in self.nodes.iter().enumerate() {
            let Some(p) = &node.process else { continue };
            let others = self.nodes.iter().filter(|o| o.peer() != node.peer());
            let expected: Vec<&str> = others.map(|o| o.name.as_str()).collect();
            let here = p.fold.people().filter(|v| v.presence != Presence::Offline);
            let mut seen: Vec<&str> = here.map(|v| v.name.as_str()).collect();
            seen.sort_unstable();
            assert_eq!(seen, expected, "who {n} sees");
            for v in p.fold.people() {
                assert_eq!(
                    (v.link, v.presence),
                    (LinkPhase::Connected, Presence::Online)
                );
            }
            for o in p.fold.offers().filter(|o| o.phase == FetchPhase::Done) {
                assert_eq!(o.done, o.total, "{n}: done, but not all of it: {o:?}");
            }
            let total = self.server.hub.as_ref().map(|h| h.gauges().members);
            assert_eq!(
                total,
                Some(self.nodes.len()),
                "members the room server knows"
            );
            for seq in &p.sent {
                let log = node.store.logs.get(&(self.room, node.peer()));
                let len = log.map_or(0, |l: &Vec<ChatRecord>| l.len()) as u64;
                assert!(*seq <= len, "{n}: message {seq} was promised and is gone");
            }
        }
        for (n, node) in self.nodes.iter().enumerate() {
            for (author, other) in self.nodes.iter().enumerate() {
                let at = (self.room, other.peer());
                let text = |l: &Vec<ChatRecord>| {
                    l.iter().map(|r| (r.id, r.text.clone())).collect::<Vec<_>>()
                };
                let mine = node.store.logs.get(&at).map(text);
                let theirs = other.store.logs.get(&at).map(text);
                assert!(
                    mine == theirs,
                    "{n} has another log of {author} than {author}"
                );
            }
        }
    }

    /// A world at peace sends beats and heartbeats, and nothing else.
    fn check_quiet(&mut self) {
        let (noise, beats) = (self.noise, self.beats);
        let begun = self.now;
        let revs = |w: &World| {
            let rev = |n: &super::node::Node| n.process.as_ref().map(|p| p.fold.rev);
            w.nodes.iter().map(rev).collect::<Vec<_>>()
        };
        let before = revs(self);
        self.pass(QUIET);
        assert_eq!(before, revs(self), "views change though nothing happens");
        assert_eq!(
            self.noise, noise,
            "something is said though nothing happens"
        );
        let n = self.nodes.len() as u64;
        let most = (n * (n - 1)) * ((self.now - begun) / 1_500 + 2);
        assert!(
            self.beats - beats <= most,
            "too many beats: {}",
            self.beats - beats
        );
    }

    fn describe_people(&self) -> String {
        let mut out = String::new();
        for (n, node) in self.nodes.iter().enumerate() {
            out.push_str(&format!("  {n} {:?}", self.session(n)));
            for v in node.process.iter().flat_map(|p| p.fold.people()) {
                let link = self.node_of(v.peer).and_then(|o| self.link(n, o));
                let link = link.map(|l| l.to_string());
                out.push_str(&format!(
                    ", {} {:?} {:?} {link:?}",
                    v.name, v.link, v.presence
                ));
            }
            out.push('\n');
        }
        out
    }

    fn describe_logs(&self) -> String {
        let mut out = String::new();
        for (n, node) in self.nodes.iter().enumerate() {
            let len = |o: &super::node::Node| {
                node.store
                    .logs
                    .get(&(self.room, o.peer()))
                    .map_or(0, Vec::len)
            };
            let lens: Vec<usize> = self.nodes.iter().map(len).collect();
            let own = lens[n] as u64;
            let knows = node
                .process
                .as_ref()
                .map(|p| p.engine.delivered(self.room, own).len());
            out.push_str(&format!("  {n} has {lens:?}; own delivered to {knows:?}\n"));
        }
        out
    }

    fn describe_wanted(&self) -> String {
        let mut out = String::new();
        for (n, key) in self.wanted() {
            let from = self.node_of(key.from);
            let view = from.and_then(|f| self.offer_view(n, f, key.offer));
            let here = view.map(|v| (v.phase, v.why, v.done, v.total));
            let theirs = from.and_then(|f| self.offer_view(f, f, key.offer));
            let me = self.nodes[n].peer();
            let there = theirs.and_then(|v| v.receivers.iter().find(|r| r.peer == me));
            let there = there.map(|r| (r.phase, r.why, r.done));
            out.push_str(&format!(
                "  {n} from {from:?}: {here:?}, sender: {there:?}\n"
            ));
        }
        out
    }
}
