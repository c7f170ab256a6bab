//! The world: who is in it, what is on its way, and the one loop that moves time.

use std::collections::BTreeMap;

use kith_api::LinkPhase;
use kith_core::effect::{FetchEffect, LinkEffect, SealEffect, ServeEffect, SessionEffect};
use kith_core::input::{
    Command, CommandResult, FetchNews, IceState, LinkNews, NewOffer, Reply, ReqId, ServeKey,
    ServeNews, SessionNews,
};
use kith_core::record::FetchKey;
use kith_core::{Effect, Input, Mono, Now};
use kith_protocol::invite::ServerAddr;
use kith_protocol::peer::Entry;
use kith_protocol::ranges::RangeSet;
use kith_protocol::room::{ClientMessage, LeftWhy};
use kith_protocol::{Code, Invite, LinkId, OfferId, PeerId, RoomId, Sid, frame};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::files::{Fetching, Serving, Step, digest};
use crate::net::{End, Net, Packet, candidate, describe, generation};
use crate::node::{Node, Process};
use crate::seal::Seal;
use crate::server::Server;

const UNIX: u64 = 1_700_000_000_000;
const SERVER: usize = usize::MAX;

/// Something on its way.
enum Event {
    Input(usize, u32, Input),
    Dialled(usize, u32, RoomId, Sid),
    ToServer(Sid, ClientMessage),
    Hangup(Sid),
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

    /// Ends a process without a word.
    pub fn crash(&mut self, n: usize) {
        self.nodes[n].process = None;
        self.net.ends.retain(|(_, node), _| *node != n);
        for sid in self.server.of(n) {
            self.send(n, SERVER, Event::Hangup(sid));
        }
    }

    /// A command; its reply comes in [`World::reply`].
    pub fn command(&mut self, n: usize, command: Command) -> ReqId {
        self.req += 1;
        let req = self.req;
        self.input(n, Input::Command(req, command));
        req
    }

    /// The answer, if it has come.
    pub fn reply(&self, n: usize, req: ReqId) -> Option<&CommandResult> {
        self.process(n).replies.get(&req)
    }

    /// Enters the room.
    pub fn join(&mut self, n: usize) {
        let invite = self.invite.clone();
        self.command(n, Command::Join(invite));
    }

    /// Writes a message.
    pub fn say(&mut self, n: usize, text: impl Into<String>) -> ReqId {
        self.command(n, Command::SendText(self.room, text.into()))
    }

    /// Offers files of these sizes to everybody.
    pub fn offer(&mut self, n: usize, sizes: &[u64]) -> OfferId {
        let entries: Vec<Entry> = sizes
            .iter()
            .enumerate()
            .map(|(i, size)| file(i, *size))
            .collect();
        let tokens = |size: &u64| {
            (0..frame::chunks(*size))
                .map(|_| self.rng.next_u64())
                .collect()
        };
        let source: Vec<Vec<u64>> = sizes.iter().map(tokens).collect();
        let new = NewOffer {
            room: self.room,
            to: vec![],
            name: "files".into(),
            note: None,
            entries,
        };
        let req = self.command(n, Command::Offer(new));
        let Some(Ok(Reply::Offered(id))) = self.reply(n, req).cloned() else {
            panic!()
        };
        self.nodes[n].sources.insert(id, source);
        id
    }

    /// Fetches an offer into the folder `down`.
    pub fn accept(&mut self, n: usize, from: usize, offer: OfferId) {
        let key = self.key(from, offer);
        let req = self.command(n, Command::Accept(key, "down".into()));
        assert_eq!(self.reply(n, req), Some(&Ok(Reply::Done)));
    }

    /// Names a fetch.
    pub fn key(&self, from: usize, offer: OfferId) -> FetchKey {
        FetchKey {
            room: self.room,
            from: self.nodes[from].peer(),
            offer,
        }
    }

    /// Whether what was fetched is what was offered.
    pub fn same_files(&self, n: usize, from: usize, offer: OfferId) -> bool {
        let source = &self.nodes[from].sources[&offer];
        let file = |i: usize| ("down".to_string(), file(i, 0).path);
        source
            .iter()
            .enumerate()
            .all(|(i, s)| self.nodes[n].disk.files.get(&file(i)) == Some(s))
    }

    /// How `n` shows the offer of `from`.
    pub fn offer_view(&self, n: usize, from: usize, id: OfferId) -> Option<&kith_api::OfferView> {
        self.process(n)
            .fold
            .offer(self.room, self.nodes[from].peer(), id)
    }

    /// Texts of `author` as `n` shows them, in order.
    pub fn texts(&self, n: usize, author: usize) -> Vec<String> {
        let author = self.nodes[author].peer();
        let shown = self
            .process(n)
            .fold
            .messages
            .iter()
            .filter(|m| m.author == author);
        shown.map(|m| m.text.clone()).collect()
    }

    /// How `n` shows its connection with `other`.
    pub fn phase(&self, n: usize, other: usize) -> Option<LinkPhase> {
        let peer = self.nodes[other].peer();
        Some(
            self.nodes[n]
                .process
                .as_ref()?
                .fold
                .person(self.room, peer)?
                .link,
        )
    }

    /// Whether everybody who runs sees everybody else connected.
    pub fn all_connected(&self) -> bool {
        let up: Vec<usize> = (0..self.nodes.len())
            .filter(|n| self.nodes[*n].process.is_some())
            .collect();
        let seen = |a: usize, b: usize| self.phase(a, b) == Some(LinkPhase::Connected);
        up.iter().all(|a| up.iter().all(|b| a == b || seen(*a, *b)))
    }

    /// The link that `n` has with `other`.
    pub fn link(&self, n: usize, other: usize) -> Option<LinkId> {
        let peer = self.nodes[other].peer();
        self.net
            .ends
            .iter()
            .find(|((_, node), e)| *node == n && e.peer == peer)
            .map(|((l, _), _)| *l)
    }

    /// Nothing travels between two nodes any more.
    pub fn cut(&mut self, a: usize, b: usize) {
        self.net.cut.insert((a.min(b), a.max(b)));
    }

    /// It does again, over the old path or the one that is being negotiated.
    pub fn heal(&mut self, a: usize, b: usize) {
        self.net.cut.remove(&(a.min(b), a.max(b)));
        for link in self.net.of(a) {
            if self.net.other(link, a) == Some(b) {
                self.settle(link);
                self.flush(link, a);
                self.flush(link, b);
            }
        }
    }

    /// A node's addresses change: old paths are dead until ICE restarts.
    pub fn move_to_another_network(&mut self, n: usize, told: bool) {
        for link in self.net.of(n) {
            self.net.paths.remove(&link);
        }
        if told {
            self.input(n, Input::AddressesChanged);
        }
    }

    /// The room server goes away.
    pub fn server_down(&mut self) {
        for (node, sid) in self.server.crash() {
            let news = SessionNews::Closed(Code::ServerUnreachable);
            self.to_node(SERVER, node, Input::Session(self.room, sid, news));
        }
    }

    /// The room server is back.
    pub fn server_up(&mut self) {
        self.server.down = false;
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
                self.to_node(SERVER, n, Input::Session(room, sid, news));
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
                    self.to_node(
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
            Effect::Store(job, puts) => self.send(n, n, Event::Stored(n, life, job, puts)),
            Effect::LoadChat {
                job,
                room,
                from,
                max,
            } => {
                let peer = self.nodes[n].peer();
                let page = self.nodes[n].store.page(room, peer, from, max);
                self.to_node(n, n, Input::ChatLoaded(job, page));
            }
            Effect::Reply(..) | Effect::Event(_) => {}
        }
    }

    fn link_effect(
        &mut self,
        n: usize,
        room: RoomId,
        peer: PeerId,
        link: LinkId,
        effect: LinkEffect,
    ) {
        let fp = self.process(n).config.fp;
        if let LinkEffect::Open { offerer, .. } = effect {
            let old = self
                .net
                .ends
                .iter()
                .any(|((_, m), e)| *m == n && e.peer == peer);
            assert!(
                !old,
                "seed {}: a second link with the same person",
                self.seed
            );
            let (out, remote, candidates) = (Default::default(), None, 0);
            let end = End {
                room,
                peer,
                offerer,
                local: 0,
                remote,
                candidates,
                open: false,
                out,
            };
            self.net.ends.insert((link, n), end);
            return;
        }
        let Some(end) = self.net.ends.get_mut(&(link, n)) else {
            return;
        };
        match effect {
            LinkEffect::Open { .. } => {}
            LinkEffect::Offer { restart } => {
                assert!(end.offerer && restart == (end.local > 0));
                (end.local, end.remote, end.candidates) = (end.local + 1, None, 0);
                self.describe(n, link, &fp);
            }
            LinkEffect::AcceptOffer(sdp) => {
                assert!(!end.offerer);
                (end.local, end.remote, end.candidates) =
                    (generation(&sdp), Some(generation(&sdp)), 0);
                self.describe(n, link, &fp);
            }
            LinkEffect::AcceptAnswer(sdp) => {
                end.remote = Some(generation(&sdp));
                self.settle(link);
            }
            LinkEffect::AddCandidate(_) => {
                assert!(end.remote.is_some(), "a candidate before the description");
                end.candidates += 1;
                assert!(end.candidates <= 64);
                self.settle(link);
            }
            LinkEffect::Send(m) => self.push(n, link, Packet::Message(m)),
            LinkEffect::Beat(b) => {
                if self.net.flows(link, n).is_some() {
                    self.push(n, link, Packet::Beat(b));
                }
            }
            LinkEffect::Ack {
                transfer,
                entry,
                ranges,
            } => {
                self.push(
                    n,
                    link,
                    Packet::Ack {
                        transfer,
                        entry,
                        ranges,
                    },
                );
            }
            LinkEffect::Close => {
                let other = self.net.flows(link, n);
                self.net.ends.remove(&(link, n));
                if let Some(other) = other {
                    let news = LinkNews::Broken(Code::LinkLost);
                    let peer = self.nodes[n].peer();
                    self.to_node(
                        n,
                        other,
                        Input::Link {
                            room,
                            peer,
                            link,
                            news,
                        },
                    );
                }
            }
        }
    }

    /// Our description and one candidate are ready.
    fn describe(&mut self, n: usize, link: LinkId, fp: &kith_protocol::ids::Digest) {
        let local = self.net.ends[&(link, n)].local;
        // A candidate may be found before the description is ready.
        let mut news = [
            LinkNews::LocalSdp(describe(fp, local)),
            LinkNews::LocalCandidate(candidate()),
        ];
        if self.random(2) == 0 {
            news.swap(0, 1);
        }
        for news in news {
            self.link_news(n, link, news);
        }
        self.put(15_000, Event::NoPath(link, local));
    }

    /// Tells both ends where a path was found.
    fn settle(&mut self, link: LinkId) {
        for n in self.net.connect(link).into_iter().flatten() {
            self.link_news(n, link, LinkNews::Ice(IceState::Checking));
            self.link_news(n, link, LinkNews::Ice(IceState::Connected));
            self.link_news(n, link, LinkNews::Route(kith_api::Route::Lan));
            let end = self
                .net
                .ends
                .get_mut(&(link, n))
                .expect("both ends are there");
            if !std::mem::replace(&mut end.open, true) {
                self.link_news(n, link, LinkNews::ChannelsOpen);
            }
            self.flush(link, n);
        }
    }

    fn push(&mut self, n: usize, link: LinkId, packet: Packet) {
        if let Some(end) = self.net.ends.get_mut(&(link, n)) {
            end.out.push_back(packet);
        }
        self.flush(link, n);
    }

    fn flush(&mut self, link: LinkId, n: usize) {
        let Some(other) = self.net.flows(link, n) else {
            return;
        };
        let Some(end) = self.net.ends.get_mut(&(link, n)) else {
            return;
        };
        for packet in std::mem::take(&mut end.out) {
            self.said += 1;
            let life = self.nodes[other].life;
            self.send(n, other, Event::Deliver(other, life, link, packet));
        }
    }

    fn arrive(&mut self, n: usize, link: LinkId, packet: Packet) {
        let news = match packet {
            Packet::Message(m) => {
                // What is sent is also what can be parsed.
                let m = kith_protocol::peer::PeerMessage::parse(&m.to_bytes())
                    .expect("peers send what is allowed");
                LinkNews::Message(Box::new(m))
            }
            Packet::Beat(b) => LinkNews::Beat(b),
            Packet::Ack {
                transfer,
                entry,
                ranges,
            } => LinkNews::Ack {
                transfer,
                entry,
                ranges,
            },
            Packet::Chunk {
                transfer,
                entry,
                index,
                token,
                intact,
            } => {
                self.chunk(n, link, transfer, (entry, index, token, intact));
                LinkNews::Heard
            }
        };
        if let Some(end) = self.net.ends.get(&(link, n)) {
            let (room, peer) = (end.room, end.peer);
            self.input(
                n,
                Input::Link {
                    room,
                    peer,
                    link,
                    news,
                },
            );
        }
    }

    fn chunk(&mut self, n: usize, link: LinkId, transfer: u32, c: (u32, u64, u64, bool)) {
        let node = &mut self.nodes[n];
        let Some(p) = node.process.as_mut() else {
            return;
        };
        let mine = |f: &&mut Fetching| f.attached == Some((link, transfer));
        let Some(f) = p.fetching.values_mut().find(mine) else {
            return;
        };
        let (key, run) = (f.record.key, f.run);
        let news = f.chunk(c.0, c.1, c.2, c.3, &node.disk);
        let sync = !std::mem::replace(&mut f.syncing, true);
        self.fetch_news(n, key, run, news);
        if sync {
            let life = self.nodes[n].life;
            self.put(3, Event::Sync(n, life, key, run));
        }
    }

    fn serve_effect(&mut self, n: usize, key: ServeKey, run: u32, effect: ServeEffect) {
        let life = self.nodes[n].life;
        let Some(p) = self.nodes[n].process.as_mut() else {
            return;
        };
        match effect {
            ServeEffect::Start {
                link,
                transfer,
                entries,
                done,
                have,
            } => {
                let serving = Serving::new((run, link, transfer), &entries, &done, &have);
                p.serving.insert(key, serving);
                self.put(1, Event::Serve(n, life, key, run));
            }
            ServeEffect::Want { entry, ranges } => {
                if let Some(s) = p.serving.get_mut(&key).filter(|s| s.run == run) {
                    let idle = s.steps.is_empty();
                    s.want(entry, &ranges);
                    if idle {
                        self.put(1, Event::Serve(n, life, key, run));
                    }
                }
            }
            ServeEffect::Stop => {
                if p.serving.get(&key).is_some_and(|s| s.run == run) {
                    p.serving.remove(&key);
                }
            }
        }
    }

    /// A worker takes its next step.
    fn serve(&mut self, n: usize, key: ServeKey, run: u32) {
        let Some(p) = self.nodes[n].process.as_mut() else {
            return;
        };
        let Some(s) = p.serving.get_mut(&key).filter(|s| s.run == run) else {
            return;
        };
        let (link, transfer) = (s.link, s.transfer);
        let Some(step) = s.steps.pop_front() else {
            return;
        };
        let source = &self.nodes[n].sources[&key.offer];
        let news = match step {
            Step::Chunk(entry, index) => {
                let token = source[entry as usize][index as usize];
                let intact = self.corrupt == 0;
                self.corrupt = self.corrupt.saturating_sub(1);
                self.push(
                    n,
                    link,
                    Packet::Chunk {
                        transfer,
                        entry,
                        index,
                        token,
                        intact,
                    },
                );
                let mut ranges = RangeSet::new();
                ranges.insert(index, index + 1);
                ServeNews::Sent { entry, ranges }
            }
            Step::Read(entry) => ServeNews::EntryRead {
                entry,
                sha256: digest(&source[entry as usize]),
            },
        };
        self.input(n, Input::Serve(key, run, news));
        let life = self.nodes[n].life;
        self.put(1, Event::Serve(n, life, key, run));
    }

    fn fetch_effect(&mut self, n: usize, key: FetchKey, run: u32, effect: FetchEffect) {
        let node = &mut self.nodes[n];
        let Some(p) = node.process.as_mut() else {
            return;
        };
        let news = match effect {
            FetchEffect::Prepare {
                record,
                ranges,
                done,
            } => {
                let (f, news) = Fetching::prepare(run, record, &ranges, &done, &node.disk);
                p.fetching.insert(key, f);
                vec![news]
            }
            FetchEffect::Attach { link, transfer } => {
                let Some(f) = p.fetching.get_mut(&key).filter(|f| f.run == run) else {
                    return;
                };
                f.attached = Some((link, transfer));
                f.empties(&mut node.disk)
            }
            FetchEffect::Expect { entry, sha256 } => {
                let Some(f) = p.fetching.get_mut(&key).filter(|f| f.run == run) else {
                    return;
                };
                f.expect(entry, sha256);
                if !std::mem::replace(&mut f.syncing, true) {
                    let life = node.life;
                    self.put(3, Event::Sync(n, life, key, run));
                }
                return;
            }
            FetchEffect::Stop { discard } => {
                if let Some(f) = p.fetching.get(&key).filter(|f| f.run == run) {
                    let tag = f.record.tag.clone();
                    p.fetching.remove(&key);
                    if discard {
                        node.disk.parts.retain(|(t, _), _| *t != tag);
                    }
                }
                return;
            }
        };
        self.fetch_news(n, key, run, news);
    }

    fn fetch_news(&mut self, n: usize, key: FetchKey, run: u32, news: Vec<FetchNews>) {
        for news in news {
            self.to_node(n, n, Input::Fetch(key, run, news));
        }
    }

    fn link_news(&mut self, n: usize, link: LinkId, news: LinkNews) {
        let Some(end) = self.net.ends.get(&(link, n)) else {
            return;
        };
        let (room, peer) = (end.room, end.peer);
        self.to_node(
            n,
            n,
            Input::Link {
                room,
                peer,
                link,
                news,
            },
        );
    }

    fn tell(&mut self, tell: Vec<(usize, Sid, kith_protocol::room::ServerMessage)>) {
        for (n, sid, message) in tell {
            let input = Input::Session(self.room, sid, SessionNews::Message(message));
            self.to_node(SERVER, n, input);
        }
    }

    fn to_node(&mut self, from: usize, n: usize, input: Input) {
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

fn file(i: usize, size: u64) -> Entry {
    Entry {
        path: format!("f{i}"),
        size,
        mode: 0o644,
        mtime: 0,
        mtime_ns: 0,
        dir: false,
    }
}
