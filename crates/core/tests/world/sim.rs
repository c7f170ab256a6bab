//! The world: who is in it, what is on its way, and the one loop that moves time.

mod commands;
mod faults;
mod links;
mod workers;

use std::collections::BTreeMap;

use kith_core::effect::{SealEffect, SessionEffect};
use kith_core::input::{Command, IceState, LinkNews, ReqId, ServeKey, SessionNews};
use kith_core::record::FetchKey;
use kith_core::{Effect, Input, Mono, Now};
use kith_protocol::invite::ServerAddr;
use kith_protocol::room::{ClientMessage, LeftWhy};
use kith_protocol::{Code, Invite, LinkId, PeerId, RoomId, Sid};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::net::{End, Net, Packet};
use crate::node::{Node, Process};
use crate::seal::Seal;
use crate::server::Server;

const UNIX: u64 = 1_700_000_000_000;
const SERVER: usize = usize::MAX;
const STORE: usize = 1_000;

/// Something on its way.
enum Event {
    Input(usize, u32, Input),
    Dialled(usize, u32, RoomId, Sid),
    ToServer(Sid, ClientMessage),
    Hangup(Sid),
    /// The server notices that a connection is dead.
    Expire(Sid),
    Deliver(usize, u32, LinkId, Packet),
    Serve(usize, u32, ServeKey, u32),
    Sync(usize, u32, FetchKey, u32),
    Stored(usize, u32, u64, Vec<kith_core::record::Put>),
    /// No path was found for this negotiation.
    NoPath(LinkId, u32),
}

/// The world.
pub struct World {
    seed: u64,
    pub now: u64,
    rng: ChaCha8Rng,
    queue: BTreeMap<(u64, u64), Event>,
    order: u64,
    /// When the last message between two of them arrives, so that none overtakes another.
    last: BTreeMap<(usize, usize), u64>,
    pub nodes: Vec<Node>,
    pub server: Server,
    pub net: Net,
    pub invite: Invite,
    pub room: RoomId,
    /// Milliseconds that any message takes, at most.
    pub delay: u64,
    /// Milliseconds that the store takes, at most.
    pub store_delay: u64,
    /// How many of the next chunks arrive damaged.
    pub corrupt: u32,
    /// Every message any link carried: `(from, to, message)`.
    pub said: u64,
    req: ReqId,
}

impl World {
    /// A room, nobody in it.
    pub fn new(seed: u64) -> Self {
        let server = ServerAddr::parse("127.0.0.1:7400").unwrap();
        let invite = Invite::new(server, [5; 32], PeerId([0; 16]));
        World {
            seed,
            now: 1_000,
            rng: ChaCha8Rng::seed_from_u64(seed),
            queue: BTreeMap::new(),
            order: 0,
            last: BTreeMap::new(),
            nodes: Vec::new(),
            server: Server::default(),
            net: Net::default(),
            room: invite.keys().room_id(),
            invite,
            delay: 1,
            store_delay: 0,
            corrupt: 0,
            said: 0,
            req: 0,
        }
    }

    /// A room with these people in it, all connected.
    pub fn with(seed: u64, names: &[&str]) -> Self {
        let mut w = World::new(seed);
        for name in names {
            let n = w.add(name);
            w.join(n);
        }
        w.until("all connected", 60_000, World::all_connected);
        w
    }

    /// An installation whose process runs.
    pub fn add(&mut self, name: &str) -> usize {
        self.nodes.push(Node::new(name));
        self.start(self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    /// Starts a process and rejoins what was open.
    pub fn start(&mut self, n: usize) {
        self.nodes[n].start(self.seed);
        for room in self.nodes[n].store.saved().rooms {
            if room.open {
                self.command(n, Command::Join(room.invite.parse().unwrap()));
            }
        }
    }

    /// Lets time pass until `what` holds; fails after `ms`.
    pub fn until(&mut self, what: &str, ms: u64, holds: impl Fn(&World) -> bool) {
        let end = self.now + ms;
        while !holds(self) {
            assert!(
                self.now <= end,
                "seed {}: not within {ms} ms: {what}",
                self.seed
            );
            self.step();
        }
    }

    /// Lets so much time pass.
    pub fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.next().is_some_and(|at| at <= end) {
            self.step();
        }
        self.now = end;
    }

    /// A number below `n`.
    pub fn random(&mut self, n: u64) -> u64 {
        self.rng.next_u64() % n
    }

    /// The running process.
    pub fn process(&self, n: usize) -> &Process {
        self.nodes[n].process.as_ref().expect("it runs")
    }

    fn next(&self) -> Option<u64> {
        let deadline = |n: &Node| {
            n.process
                .as_ref()
                .and_then(|p| p.engine.deadline())
                .map(|d| d.at.0)
        };
        let deadlines = self.nodes.iter().filter_map(deadline);
        deadlines.chain(self.queue.keys().next().map(|k| k.0)).min()
    }

    fn step(&mut self) {
        let at = self
            .next()
            .expect("an engine that is in a room always has a deadline");
        assert!(at >= self.now, "seed {}: a deadline in the past", self.seed);
        if at > self.now {
            let up = self.nodes.iter_mut().filter_map(|n| n.process.as_mut());
            up.for_each(|p| p.timeouts = 0);
        }
        self.now = at;
        if let Some(e) = self.queue.first_entry().filter(|e| e.key().0 == at) {
            let event = e.remove();
            self.happen(event);
            return;
        }
        for n in 0..self.nodes.len() {
            let due = |p: &Process| p.engine.deadline().is_some_and(|d| d.at.0 <= at);
            if self.nodes[n].process.as_ref().is_some_and(due) {
                let p = self.nodes[n].process.as_mut().expect("just seen");
                p.timeouts += 1;
                let why = p.engine.deadline();
                assert!(p.timeouts < 8, "seed {}: {} spins on {why:?}", self.seed, n);
                self.input(n, Input::Timeout);
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Input(n, life, input) if self.nodes[n].life == life => self.input(n, input),
            Event::Dialled(n, life, room, sid) if self.nodes[n].life == life => {
                let down = self.server.down;
                if !down {
                    self.server.connected(n, sid);
                }
                let news = if down {
                    SessionNews::Closed(Code::ServerUnreachable)
                } else {
                    SessionNews::Connected
                };
                self.inform(SERVER, n, Input::Session(room, sid, news));
            }
            Event::ToServer(sid, _) | Event::Hangup(sid) if self.server.dead.contains(&sid) => {}
            Event::Expire(sid) => {
                self.server.dead.remove(&sid);
                let tell = self.server.closed(sid, LeftWhy::TimedOut);
                self.tell(tell);
            }
            Event::ToServer(sid, message) if self.server.knows(sid) => {
                let tell = self.server.message(sid, message);
                self.tell(tell);
            }
            Event::Hangup(sid) => {
                let tell = self.server.closed(sid, LeftWhy::Closed);
                self.tell(tell);
            }
            Event::Deliver(n, life, link, packet) if self.nodes[n].life == life => {
                self.arrive(n, link, packet)
            }
            Event::Serve(n, life, key, run) if self.nodes[n].life == life => {
                self.serve(n, key, run)
            }
            Event::Sync(n, life, key, run) if self.nodes[n].life == life => {
                let node = &mut self.nodes[n];
                let Some(p) = node.process.as_mut() else {
                    return;
                };
                if let Some(f) = p.fetching.get_mut(&key).filter(|f| f.run == run) {
                    let news = f.sync(&mut node.disk);
                    self.fetch_news(n, key, run, news);
                }
            }
            Event::Stored(n, life, job, puts) if self.nodes[n].life == life => {
                let store = &mut self.nodes[n].store;
                let input = if store.broken {
                    Input::StoreFailed(job, Code::DiskFull)
                } else {
                    store.apply(puts);
                    Input::Stored(job)
                };
                self.input(n, input);
            }
            Event::NoPath(link, local) => {
                let waits = |e: &End| e.local == local;
                if self.net.paths.get(&link) != Some(&local) {
                    let ends: Vec<usize> = self
                        .net
                        .ends
                        .iter()
                        .filter(|((l, _), e)| *l == link && waits(e))
                        .map(|((_, n), _)| *n)
                        .collect();
                    for n in ends {
                        self.link_news(n, link, LinkNews::Ice(IceState::Failed));
                    }
                }
            }
            Event::Input(..) | Event::Dialled(..) | Event::ToServer(..) | Event::Deliver(..) => {}
            Event::Serve(..) | Event::Sync(..) | Event::Stored(..) => {}
        }
    }

    /// One input, all its effects, and what must hold after it.
    pub fn input(&mut self, n: usize, input: Input) {
        let now = Now {
            mono: Mono(self.now),
            unix_ms: UNIX + self.now,
        };
        let seed = self.seed;
        let Some(p) = self.nodes[n].process.as_mut() else {
            return;
        };
        p.engine.handle(input, now);
        let effects: Vec<Effect> = std::iter::from_fn(|| p.engine.poll())
            .take(100_000)
            .collect();
        assert!(effects.len() < 100_000, "seed {seed}: effects do not end");
        if let Some(d) = p.engine.deadline() {
            assert!(
                d.at.0 >= self.now,
                "seed {seed}: {n}: deadline in the past: {d:?} at {}",
                self.now
            );
        }
        let mut rest = Vec::new();
        for effect in effects {
            match effect {
                Effect::Event(event) => p.fold.apply(event),
                Effect::Reply(req, result) => {
                    assert!(
                        p.replies.insert(req, result).is_none(),
                        "one reply to one command"
                    );
                }
                other => rest.push(other),
            }
        }
        p.fold.check(&p.engine.snapshot());
        rest.into_iter().for_each(|e| self.effect(n, e));
    }

    fn effect(&mut self, n: usize, effect: Effect) {
        let life = self.nodes[n].life;
        match effect {
            Effect::Session(room, sid, effect) => match effect {
                SessionEffect::Dial(_) => self.send(n, SERVER, Event::Dialled(n, life, room, sid)),
                SessionEffect::Send(m) => self.send(n, SERVER, Event::ToServer(sid, m)),
                SessionEffect::Close => self.send(n, SERVER, Event::Hangup(sid)),
            },
            Effect::Seal {
                room,
                me,
                them,
                effect,
            } => {
                let random = self.rng.next_u32();
                let Some(p) = self.nodes[n].process.as_mut() else {
                    return;
                };
                let hello = p.hello();
                if let SealEffect::Close = effect {
                    p.seals.remove(&(room, me, them));
                    return;
                }
                let seal = p
                    .seals
                    .entry((room, me, them))
                    .or_insert_with(|| Seal::new(me, them, hello));
                for news in seal.apply(effect, random) {
                    self.inform(
                        n,
                        n,
                        Input::Seal {
                            room,
                            me,
                            them,
                            news,
                        },
                    );
                }
            }
            Effect::Link {
                room,
                peer,
                link,
                effect,
            } => self.link_effect(n, room, peer, link, effect),
            Effect::Serve(key, run, effect) => self.serve_effect(n, key, run, effect),
            Effect::Fetch(key, run, effect) => self.fetch_effect(n, key, run, effect),
            Effect::Store(job, puts) => {
                let delay = self.random(self.store_delay + 1);
                self.send_after(delay, n, STORE + n, Event::Stored(n, life, job, puts));
            }
            Effect::LoadChat {
                job,
                room,
                from,
                max,
            } => {
                let peer = self.nodes[n].peer();
                let page = self.nodes[n].store.page(room, peer, from, max);
                self.inform(n, n, Input::ChatLoaded(job, page));
            }
            Effect::Reply(..) | Effect::Event(_) => {}
        }
    }

    fn tell(&mut self, tell: Vec<(usize, Sid, kith_protocol::room::ServerMessage)>) {
        for (n, sid, message) in tell {
            if self.server.dead.contains(&sid) {
                continue;
            }
            let input = Input::Session(self.room, sid, SessionNews::Message(message));
            self.inform(SERVER, n, input);
        }
    }

    fn inform(&mut self, from: usize, n: usize, input: Input) {
        let life = self.nodes[n].life;
        self.send(from, n, Event::Input(n, life, input));
    }

    /// After a while, but never before what the same two sent each other earlier.
    fn send(&mut self, from: usize, to: usize, event: Event) {
        let delay = if from == to {
            0
        } else {
            1 + self.random(self.delay)
        };
        self.send_after(delay, from, to, event);
    }

    fn send_after(&mut self, delay: u64, from: usize, to: usize, event: Event) {
        let last = self.last.entry((from, to)).or_default();
        let at = (self.now + delay).max(*last);
        *last = at;
        self.order += 1;
        self.queue.insert((at, self.order), event);
    }

    fn put(&mut self, after: u64, event: Event) {
        self.order += 1;
        self.queue.insert((self.now + after, self.order), event);
    }
}
