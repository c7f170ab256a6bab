//! The world: who is in it, what is on its way, and the one loop that moves time.

use std::collections::BTreeMap;
use std::time::Duration;

use kith_core::input::{FetchNews, HoldKey, JobId, ReqId, ServeKey};
use kith_core::record::{ChatRecord, FetchKey};
use kith_core::{Effect, Input, Mono, Now};
use kith_protocol::invite::ServerAddr;
use kith_protocol::{Invite, LinkId, PeerId, RoomId, Sid};
use kith_signaling::hub::ConnId;

use super::dice::Dice;
use super::net::{Net, Packet};
use super::node::{Node, Process};
use super::server::{RoomServer, Up};

/// More than any run needs.
const MOST_EVENTS: u64 = 3_000_000;
pub(super) const UNIX: u64 = 1_700_000_000_000;

/// What reaches a node.
pub(crate) enum What {
    Input(Box<Input>),
    Packet(LinkId, Packet),
    ServeStep(ServeKey, u32),
    FetchStep(FetchKey, u32),
    HoldStep(HoldKey, u32),
    Synced(FetchKey, u32),
    Flushed,
    Loaded(JobId, Vec<(u64, ChatRecord)>),
    /// The server's ping: answered without anybody's help.
    Ping(ConnId),
}

/// Something on its way.
pub(super) enum Event {
    To(usize, u32, What),
    Dial(usize, u32, RoomId, Sid),
    Up(ConnId, Up),
    /// The room server has said good-bye and ends.
    ServerEnd,
    /// A look at whether a link has a path.
    Watch(LinkId),
    /// No path was found for this negotiation.
    NoPath(LinkId, u32),
}

/// What keeps its order on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    Up(ConnId),
    Down(ConnId),
    Messages(LinkId, usize),
    Files(LinkId, usize),
    Connection(LinkId, usize),
    Fetch(usize, u32),
    Sync(usize, u32),
    Probe(usize),
}

/// The world.
pub(crate) struct World {
    pub seed: u64,
    pub now: u64,
    pub(super) dice: Dice,
    queue: BTreeMap<(u64, u64), Event>,
    order: u64,
    last: BTreeMap<Lane, u64>,
    pub nodes: Vec<Node>,
    pub server: RoomServer,
    pub net: Net,
    pub invite: Invite,
    pub room: RoomId,
    /// Milliseconds that anything on the network takes, at most.
    pub delay: u64,
    /// Milliseconds that a lane takes for a batch of chunks, at most.
    pub pace: u64,
    /// So many percent of the beats are lost.
    pub lose_beats: u64,
    /// So many of the next signals are tampered with.
    pub garble: u32,
    /// So many of the next chunks are damaged, or others with a checksum that fits.
    pub damage: u32,
    pub lie_chunks: u32,
    /// So many of the next whole-file hashes are wrong.
    pub lie_hashes: u32,
    /// Counts whatever is not a beat or a heartbeat.
    pub noise: u64,
    /// Chunks of other holders that were not what who offers says.
    pub struck: u64,
    pub beats: u64,
    pub inputs: u64,
    events: u64,
    pub(super) req: ReqId,
}

impl World {
    /// A room, nobody in it.
    pub fn new(seed: u64) -> Self {
        let server = ServerAddr::parse("127.0.0.1:7400").expect("an address");
        let invite = Invite::new(server, [5; 32], PeerId([0; 16]));
        World {
            seed,
            now: 1_000,
            dice: Dice::new(seed),
            queue: BTreeMap::new(),
            order: 0,
            last: BTreeMap::new(),
            nodes: Vec::new(),
            server: RoomServer::new(seed),
            net: Net::default(),
            room: invite.keys().room_id(),
            invite,
            delay: 5,
            pace: 1,
            lose_beats: 0,
            garble: 0,
            damage: 0,
            lie_chunks: 0,
            lie_hashes: 0,
            noise: 0,
            struck: 0,
            beats: 0,
            inputs: 0,
            events: 0,
            req: 0,
        }
    }

    /// An installation whose process runs.
    pub fn add(&mut self, name: &str) -> usize {
        self.nodes.push(Node::new(name));
        self.start(self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    /// Lets so much time pass.
    pub fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.next().is_some_and(|at| at <= end) {
            self.step();
        }
        self.now = end;
    }

    /// Lets time pass until `what` holds; whether it did within `ms`.
    pub fn wait(&mut self, ms: u64, mut holds: impl FnMut(&World) -> bool) -> bool {
        let end = self.now + ms;
        loop {
            if holds(self) {
                return true;
            }
            if self.now >= end {
                return false;
            }
            // What is waited for is dear to look at.
            let next = self.next().unwrap_or(end).max(self.now + 20).min(end);
            self.pass(next - self.now);
        }
    }

    /// The running process.
    pub fn process(&self, n: usize) -> &Process {
        self.nodes[n].process.as_ref().expect("it runs")
    }

    fn deadline(&self, n: usize) -> Option<u64> {
        let node = &self.nodes[n];
        if node.asleep.is_some() {
            return None;
        }
        let deadline = node.process.as_ref()?.engine.deadline()?;
        Some(deadline.at.0 + node.clock_lost)
    }

    fn next(&self) -> Option<u64> {
        let deadlines = (0..self.nodes.len()).filter_map(|n| self.deadline(n));
        let queue = self.queue.keys().next().map(|k| k.0);
        deadlines.chain(queue).chain(self.server.deadline()).min()
    }

    fn step(&mut self) {
        let Some(at) = self.next() else { return };
        // A machine that slept too long is late.
        let at = at.max(self.now);
        if at > self.now {
            let up = self.nodes.iter_mut().filter_map(|n| n.process.as_mut());
            up.for_each(|p| p.timeouts = 0);
        }
        self.now = at;
        super::failure::at(at);
        while let Some(e) = self.queue.first_entry().filter(|e| e.key().0 <= at) {
            let event = e.remove();
            self.events += 1;
            assert!(self.events < MOST_EVENTS, "the run does not end");
            self.happen(event);
        }
        if self.server.deadline().is_some_and(|d| d <= at) {
            self.tick();
        }
        for n in 0..self.nodes.len() {
            if self.deadline(n).is_some_and(|d| d <= at) {
                let p = self.nodes[n].process.as_mut().expect("it has a deadline");
                p.timeouts += 1;
                let why = p.engine.deadline();
                assert!(p.timeouts < 8, "{n} spins on {why:?}");
                self.input(n, Input::Timeout);
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::To(n, life, _) if self.nodes[n].life != life => {}
            Event::To(n, _, what) => {
                let node = &mut self.nodes[n];
                if node.asleep.is_some() {
                    // A beat that nobody takes is gone; the rest comes again or waits.
                    if !matches!(what, What::Packet(_, Packet::Beat(_)) | What::Ping(_)) {
                        node.held.push_back(what);
                    }
                } else if node.process.is_some() {
                    self.reach(n, what);
                }
            }
            Event::Dial(n, life, room, sid) => self.dial(n, life, room, sid),
            Event::Up(conn, up) => self.up(conn, up),
            Event::ServerEnd => self.server_end(),
            Event::Watch(link) => self.watch(link),
            Event::NoPath(link, local) => self.no_path(link, local),
        }
    }

    pub(super) fn reach(&mut self, n: usize, what: What) {
        match what {
            What::Input(input) => self.input(n, *input),
            What::Packet(link, packet) => self.arrive(n, link, packet),
            What::ServeStep(key, run) => self.serve_step(n, key, run),
            What::FetchStep(key, run) => self.fetch_step(n, key, run),
            What::HoldStep(key, run) => self.hold_step(n, key, run),
            What::Synced(key, run) => self.synced(n, key, run),
            What::Flushed => self.flushed(n),
            What::Loaded(job, page) => self.input(n, Input::ChatLoaded(job, page)),
            What::Ping(conn) => self.send(Lane::Up(conn), Event::Up(conn, Up::Pong)),
        }
    }

    /// One input, what it leads to at once, and what must hold after it.
    pub fn input(&mut self, n: usize, input: Input) {
        let mut next = Some(input);
        while let Some(input) = next {
            self.one_input(n, input);
            next = self.nodes[n]
                .process
                .as_mut()
                .and_then(|p| p.local.pop_front());
        }
    }

    /// The engine's clock.
    pub(super) fn clock(&self, n: usize) -> Now {
        Now {
            mono: Mono(self.now - self.nodes[n].clock_lost),
            unix_ms: UNIX + self.now,
        }
    }

    fn one_input(&mut self, n: usize, input: Input) {
        if let Input::Fetch(key, _, FetchNews::Mismatch { entry, .. }) = &input {
            // Until now the engine could not know, and may have acknowledged some more of it.
            self.forget_promises(n, *key, *entry);
        }
        let now = self.clock(n);
        let Some(p) = self.nodes[n].process.as_mut() else {
            return;
        };
        self.inputs += 1;
        let refusable = match &input {
            Input::Command(req, _) => Some((*req, p.engine.snapshot(), p.engine.deadline())),
            _ => None,
        };
        // Only a machine that was asleep is late, and only until it looks at its clock.
        let due = p.engine.deadline();
        let on_time = matches!(input, Input::Timeout) || due.is_none_or(|d| d.at >= now.mono);
        p.engine.handle(input, now);
        let effects: Vec<Effect> = std::iter::from_fn(|| p.engine.poll())
            .take(100_000)
            .collect();
        assert!(effects.len() < 100_000, "effects do not end");
        let deadline = p.engine.deadline();
        if let Some(d) = deadline.filter(|_| on_time) {
            assert!(
                d.at >= now.mono,
                "{n}: a deadline in the past: {d:?} at {now:?}"
            );
        }
        if let Some((req, before, was)) = refusable {
            let refused = |e: &Effect| matches!(e, Effect::Reply(r, Err(_)) if *r == req);
            if effects.iter().any(refused) {
                assert_eq!(
                    effects.len(),
                    1,
                    "a refused command has effects: {effects:?}"
                );
                let after = p.engine.snapshot();
                assert!(before == after, "a refused command changed something");
                assert_eq!(was, deadline, "a refused command changed a deadline");
            }
        }
        let mut rest = Vec::new();
        let mut done = Vec::new();
        for effect in effects {
            match effect {
                Effect::Event(event) => {
                    self.noise += 1;
                    if let kith_api::Change::Offer(v) = &event.change
                        && v.phase == kith_api::FetchPhase::Done
                    {
                        done.push((v.from, v.offer));
                    }
                    p.fold.apply(*event);
                }
                Effect::Reply(req, result) => {
                    if let Ok(kith_core::input::Reply::Sent(seq)) = &result {
                        p.sent.insert(*seq);
                    }
                    let before = p.replies.insert(req, result);
                    assert!(before.is_none(), "one reply to one command");
                }
                other => rest.push(other),
            }
        }
        p.fold.check(&p.engine.snapshot());
        for (from, offer) in done {
            self.check_done(n, from, offer);
        }
        rest.into_iter().for_each(|e| self.effect(n, e));
    }

    pub(super) fn inform(&mut self, lane: Lane, n: usize, input: Input) {
        let life = self.nodes[n].life;
        self.send(lane, Event::To(n, life, What::Input(Box::new(input))));
    }

    /// After a while, but never before what went the same way earlier.
    pub(super) fn send(&mut self, lane: Lane, event: Event) {
        let delay = 1 + self.dice.below(self.delay);
        self.send_after(delay, lane, event);
    }

    pub(super) fn send_after(&mut self, delay: u64, lane: Lane, event: Event) {
        let last = self.last.entry(lane).or_default();
        let at = (self.now + delay).max(*last);
        *last = at;
        self.order += 1;
        self.queue.insert((at, self.order), event);
    }

    /// What goes `lane` next comes after everything that went `other`.
    pub(super) fn follow(&mut self, lane: Lane, other: Lane) {
        let before = self.last.get(&other).copied().unwrap_or_default();
        let last = self.last.entry(lane).or_default();
        *last = before.max(*last);
    }

    pub(super) fn put(&mut self, after: u64, event: Event) {
        self.order += 1;
        self.queue.insert((self.now + after, self.order), event);
    }
}

/// Time as the room server takes it.
pub(super) fn server_now(now: u64) -> kith_signaling::hub::Now {
    kith_signaling::hub::Now {
        at: kith_signaling::hub::At(Duration::from_millis(now)),
        unix: (UNIX + now) / 1000,
    }
}
