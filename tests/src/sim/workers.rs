//! Workers of the world: they send and fetch.

use kith_core::Input;
use kith_core::Mono;
use kith_core::effect::{FetchEffect, ServeEffect};
use kith_core::input::{FetchNews, Refusal, ServeKey, ServeNews};
use kith_core::record::FetchKey;
use kith_protocol::ids::Digest;
use kith_protocol::limits::CHUNK;
use kith_protocol::ranges::RangeSet;
use kith_protocol::voucher::{self, Voucher};
use kith_protocol::{Code, LinkId, OfferId, RoomId};

use super::disk::{self, Serving, Step, WINDOW, digest, roots};
use super::fetching::{Fetching, Job};
use super::net::{Packet, Piece};
use super::node::{of_run, stop_run};
use super::world::{Event, Lane, What, World};

/// Packets of a lane that may wait for a path before a serve worker waits too.
const LANE: usize = 32;

impl World {
    pub(super) fn serve_effect(&mut self, n: usize, key: ServeKey, run: u32, effect: ServeEffect) {
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
                pull,
                passed,
            } => {
                if passed.is_none() && !p.offered.contains(&key.offer) {
                    let news = ServeNews::Failed(Code::SourceGone);
                    p.local.push_back(Input::Serve(key, run, news));
                    return;
                }
                let serving = Serving::new(
                    (run, link, transfer),
                    &entries,
                    &done,
                    &have,
                    (pull, passed),
                );
                p.serving.insert(key, serving);
            }
            ServeEffect::Want { entry, ranges } => {
                if let Some(s) = of_run(&mut p.serving, key, run) {
                    s.want(entry, &ranges);
                }
            }
            ServeEffect::Arrived(entries) => {
                if let Some(s) = of_run(&mut p.serving, key, run) {
                    s.arrived(&entries);
                }
            }
            ServeEffect::Hold(held) => {
                if let Some(s) = of_run(&mut p.serving, key, run) {
                    s.held = held;
                }
            }
            ServeEffect::Pace(most) => {
                if let Some(s) = of_run(&mut p.serving, key, run) {
                    s.pace.set(most, Mono(self.now));
                    s.ready_at = 0;
                }
            }
            ServeEffect::Stop => {
                stop_run(&mut p.serving, key, run);
            }
        }
        self.kick(n, key);
    }

    /// A worker takes its next step.
    pub(super) fn serve_step(&mut self, n: usize, key: ServeKey, run: u32) {
        let node = &mut self.nodes[n];
        let p = node.process.as_mut();
        let s = p.and_then(|p| of_run(&mut p.serving, key, run));
        let Some(s) = s.filter(|s| !s.ended) else {
            return;
        };
        s.scheduled = false;
        let link = s.link;
        let Some(end) = self.net.ends.get(&(link, n)) else {
            // The lane is closed: the worker ends without a word.
            s.ended = true;
            return;
        };
        if s.batch.is_some() {
            if end.files.len() < LANE && !s.held && s.ready_at <= self.now {
                self.send_some(n, key);
            }
            return self.kick(n, key);
        }
        let Some(step) = s.next() else {
            return;
        };
        let source = node.sources.get(&key.offer);
        let there = match &step {
            Step::Send(entry, _) | Step::Read(entry) | Step::Hashes(entry) => {
                s.tokens(&node.disk, source, *entry).is_some()
            }
            Step::Roots => true,
        };
        let gone = (!there).then_some(Code::SourceGone);
        if let Some(code) = node.source_fault.or(gone) {
            s.ended = true;
            return self.input(n, Input::Serve(key, run, ServeNews::Failed(code)));
        }
        let news = match step {
            Step::Roots => {
                let Some(passed) = s.passed.clone() else {
                    return;
                };
                let tokens = |entry| s.tokens(&node.disk, source, entry);
                let roots = roots(&passed.record.entries, tokens);
                let vouched = passed.record.voucher.as_ref().map(|v| v.root);
                let Some(mut roots) = roots.filter(|r| Some(voucher::root(r)) == vouched) else {
                    s.ended = true;
                    let news = ServeNews::Failed(Code::SourceChanged);
                    return self.input(n, Input::Serve(key, run, news));
                };
                if self.lie_hashes > 0 {
                    self.lie_hashes -= 1;
                    roots[0].0[0] ^= 1;
                }
                let (transfer, link) = (s.transfer, s.link);
                self.noise += 1;
                self.push(n, link, Packet::Roots { transfer, roots });
                return self.kick(n, key);
            }
            Step::Send(entry, ranges) => {
                let all = ranges.ranges().iter().flat_map(|&(a, b)| a..b).collect();
                s.batch = Some((entry, all));
                ServeNews::Sent(vec![(entry, ranges)])
            }
            Step::Hashes(entry) => {
                let (transfer, link) = (s.transfer, s.link);
                let tokens = s
                    .tokens(&node.disk, source, entry)
                    .unwrap_or_default()
                    .to_vec();
                self.noise += 1;
                let packet = Packet::Hashes {
                    transfer,
                    entry,
                    tokens,
                };
                self.push(n, link, packet);
                return self.kick(n, key);
            }
            Step::Read(entry) => {
                let mut hash = digest(s.tokens(&node.disk, source, entry).unwrap_or_default());
                if self.lie_hashes > 0 && s.passed.is_none() {
                    self.lie_hashes -= 1;
                    hash = Digest([7; 32]);
                }
                ServeNews::EntryRead { entry, hash }
            }
        };
        self.input(n, Input::Serve(key, run, news));
        self.kick(n, key);
    }

    fn send_some(&mut self, n: usize, key: ServeKey) {
        let node = &mut self.nodes[n];
        let Some(s) = node.process.as_mut().and_then(|p| p.serving.get_mut(&key)) else {
            return;
        };
        let Some((entry, mut left)) = s.batch.take() else {
            return;
        };
        let (link, transfer, entry) = (s.link, s.transfer, entry);
        let now = if s.pull {
            left.len()
        } else {
            left.len().min(s.window)
        };
        s.window -= now.min(s.window);
        let source = s.tokens(&node.disk, node.sources.get(&key.offer), entry);
        let Some(source) = source else {
            s.ended = true;
            let (run, news) = (s.run, ServeNews::Failed(Code::SourceGone));
            return self.input(n, Input::Serve(key, run, news));
        };
        let mut pieces = Vec::with_capacity(now);
        for index in left.drain(..now) {
            let mut piece = Piece {
                index,
                token: source[index as usize],
                intact: true,
            };
            if self.damage > 0 {
                self.damage -= 1;
                piece.intact = false;
            } else if self.lie_chunks > 0 && (source.len() > 1 || s.passed.is_some()) {
                // Of a single chunk there is no other word to compare it with.
                self.lie_chunks -= 1;
                piece.token ^= 1;
            }
            pieces.push(piece);
        }
        if !left.is_empty() {
            s.batch = Some((entry, left));
        }
        assert!(!s.held, "{n} sends what is held back");
        let ready_at = self.charge(n, key, now as u64 * CHUNK as u64);
        let p = self.nodes[n].process.as_mut();
        if let Some(s) = p.and_then(|p| p.serving.get_mut(&key)) {
            s.ready_at = ready_at;
        }
        if !pieces.is_empty() {
            self.noise += 1;
            let packet = Packet::Chunks {
                transfer,
                entry,
                pieces,
            };
            self.push(n, link, packet);
        }
    }

    /// Plans the next step of a serve worker that can take one.
    fn kick(&mut self, n: usize, key: ServeKey) {
        let node = &mut self.nodes[n];
        let life = node.life;
        let Some(s) = node.process.as_mut().and_then(|p| p.serving.get_mut(&key)) else {
            return;
        };
        let end = self.net.ends.get(&(s.link, n));
        let stuck = s.batch.is_some()
            && (s.window == 0 && !s.pull || end.is_some_and(|e| e.files.len() >= LANE));
        let held = s.held && s.batch.is_some();
        if s.scheduled || s.ended || stuck || held {
            return;
        }
        s.scheduled = true;
        let run = s.run;
        let bounded = s.ready_at.saturating_sub(self.now);
        let delay = 1 + self.dice.below(self.pace + node.disk.delay / 4);
        let delay = delay.max(bounded);
        self.put(delay, Event::To(n, life, What::ServeStep(key, run)));
    }

    /// Bounds are others now.
    pub(super) fn kick_all(&mut self, n: usize) {
        let Some(p) = self.nodes[n].process.as_mut() else {
            return;
        };
        p.serving.values_mut().for_each(|s| s.ready_at = 0);
        for key in p.serving.keys().copied().collect::<Vec<_>>() {
            self.kick(n, key);
        }
    }

    pub(super) fn kick_serves(&mut self, n: usize, link: LinkId) {
        let Some(p) = &self.nodes[n].process else {
            return;
        };
        let waiting = p.serving.iter().filter(|(_, s)| s.link == link);
        for key in waiting.map(|(k, _)| *k).collect::<Vec<_>>() {
            self.kick(n, key);
        }
    }

    /// Chunks that are durable at the receiver make room for others.
    pub(super) fn acked(&mut self, n: usize, link: LinkId, transfer: u32, ranges: &RangeSet) {
        let Some(p) = self.nodes[n].process.as_mut() else {
            return;
        };
        let mut of = p.serving.iter_mut();
        let found = of.find(|(_, s)| (s.link, s.transfer) == (link, transfer));
        if let Some((key, s)) = found {
            s.arrived(ranges);
            let key = *key;
            self.kick(n, key);
        }
    }

    /// Chunks have come.
    pub(super) fn chunks(
        &mut self,
        n: usize,
        link: LinkId,
        transfer: u32,
        entry: u32,
        pieces: &[Piece],
    ) {
        let Some(p) = self.nodes[n].process.as_mut() else {
            return;
        };
        if let Some((_, promise)) = p.transfers.get(&(link, transfer))
            && let Some(before) = promise.chunks.get(&entry)
        {
            let again = pieces.iter().find(|p| before.contains(&p.index));
            assert!(
                again.is_none(),
                "{n}: sent again though durable: {entry} {again:?}"
            );
        }
        let at = (link, transfer);
        let mut all = p.fetching.iter_mut();
        let takes = |f: &Fetching| f.attached == Some(at) || f.sources.contains(&at);
        let Some((key, f)) = all.find(|(_, f)| takes(f)) else {
            return;
        };
        let source = (f.attached != Some(at)).then_some(at);
        let (key, run) = (*key, f.run);
        f.queue
            .extend(pieces.iter().map(|p| Job::Piece(entry, *p, source)));
        let waiting = f.queue.len();
        assert!(
            waiting <= 5 * WINDOW + 2 * f.record.entries.len(),
            "{n}: {waiting} chunks wait for the disk"
        );
        self.plan_fetch(n, key, run);
    }

    /// Signs what the files of an offer hash to.
    pub(super) fn vouch(&mut self, n: usize, room: RoomId, offer: OfferId, word: Box<Voucher>) {
        let node = &mut self.nodes[n];
        let source = node.sources.get(&offer);
        let all = source.and_then(|s| roots(&s.entries, |e| Some(&s.tokens[e as usize][..])));
        let readable = node.source_fault.is_none();
        let voucher = all.filter(|_| readable).map(|roots| Voucher {
            root: voucher::root(&roots),
            ..*word
        });
        if let Some(p) = node.process.as_mut() {
            let vouched = Input::Vouched(room, offer, voucher.map(Box::new));
            p.local.push_back(vouched);
        }
    }

    /// Hashes of whole files have come.
    pub(super) fn roots(&mut self, n: usize, link: LinkId, transfer: u32, roots: Vec<Digest>) {
        let Some(p) = self.nodes[n].process.as_mut() else {
            return;
        };
        let mut all = p.fetching.iter_mut();
        if let Some((key, f)) = all.find(|(_, f)| f.attached == Some((link, transfer))) {
            f.queue.push_back(Job::Roots(roots));
            let (key, run) = (*key, f.run);
            self.plan_fetch(n, key, run);
        }
    }

    /// Hashes have come.
    pub(super) fn hashes(
        &mut self,
        n: usize,
        link: LinkId,
        transfer: u32,
        entry: u32,
        tokens: Vec<u64>,
    ) {
        let Some(p) = self.nodes[n].process.as_mut() else {
            return;
        };
        let mut all = p.fetching.iter_mut();
        if let Some((key, f)) = all.find(|(_, f)| f.attached == Some((link, transfer))) {
            f.queue.push_back(Job::Hashes(entry, tokens));
            let (key, run) = (*key, f.run);
            self.plan_fetch(n, key, run);
        }
    }

    pub(super) fn fetch_effect(&mut self, n: usize, key: FetchKey, run: u32, effect: FetchEffect) {
        let node = &mut self.nodes[n];
        let Some(p) = node.process.as_mut() else {
            return;
        };
        match effect {
            FetchEffect::Prepare {
                record,
                ranges,
                done,
            } => {
                let promise = node.promises.entry(key).or_default();
                if promise.tag != record.tag {
                    *promise = Default::default();
                    promise.tag.clone_from(&record.tag);
                }
                p.fetching
                    .insert(key, Fetching::new(run, record, ranges, done));
            }
            FetchEffect::Detach => {
                if let Some(f) = of_run(&mut p.fetching, key, run) {
                    f.attached = None;
                }
            }
            FetchEffect::Attach {
                link,
                transfer,
                root,
            } => {
                let promise = node.promises.get(&key).cloned().unwrap_or_default();
                if let Some(f) = of_run(&mut p.fetching, key, run) {
                    f.attached = Some((link, transfer));
                    f.queue.push_back(Job::From(transfer, root));
                    p.transfers.insert((link, transfer), (key, promise));
                }
            }
            FetchEffect::AddSource { link, transfer } => {
                if let Some(f) = of_run(&mut p.fetching, key, run) {
                    f.sources.insert((link, transfer));
                }
            }
            FetchEffect::DropSource { link, transfer } => {
                if let Some(f) = of_run(&mut p.fetching, key, run) {
                    f.sources.remove(&(link, transfer));
                }
            }
            FetchEffect::Expect { entry, hash } => {
                if let Some(f) = of_run(&mut p.fetching, key, run) {
                    f.queue.push_back(Job::Expect(entry, hash));
                }
            }
            FetchEffect::Probe { .. } => {
                let code = node.disk.fault;
                let missing = None;
                let found = code.map_or(Ok(()), |code| Err(Refusal { code, missing }));
                self.fetch_news(n, key, run, vec![FetchNews::Probed(found)], Lane::Probe(n));
                return;
            }
            FetchEffect::Discard { record, .. } => {
                disk::discard(&mut node.disk, &record.tag);
                node.promises.remove(&key);
                return;
            }
            FetchEffect::Stop { discard } => {
                let stopped = stop_run(&mut p.fetching, key, run);
                if discard {
                    if let Some(f) = stopped {
                        disk::discard(&mut node.disk, &f.record.tag);
                    }
                    node.promises.remove(&key);
                }
                return;
            }
        }
        self.plan_fetch(n, key, run);
    }

    /// Plans the next step of a fetch worker, unless an earlier one is planned.
    fn plan_fetch(&mut self, n: usize, key: FetchKey, run: u32) {
        let at = self.now + 1 + self.dice.below(self.nodes[n].disk.delay);
        let now = self.now;
        let node = &mut self.nodes[n];
        let life = node.life;
        let p = node.process.as_mut();
        let Some(f) = p.and_then(|p| of_run(&mut p.fetching, key, run)) else {
            return;
        };
        if f.ended || f.planned.is_some_and(|p| p <= at && p > now) {
            return;
        }
        f.planned = Some(at);
        self.put(at - now, Event::To(n, life, What::FetchStep(key, run)));
    }

    pub(super) fn fetch_step(&mut self, n: usize, key: FetchKey, run: u32) {
        let now = self.now;
        let node = &mut self.nodes[n];
        let life = node.life;
        let used = node.used_tags(key);
        let p = node.process.as_mut();
        let f = p.and_then(|p| of_run(&mut p.fetching, key, run));
        let Some(f) = f.filter(|f| f.planned.is_none_or(|p| p <= now)) else {
            return;
        };
        let syncing = f.syncing.is_some();
        let news = f.work(now, &mut node.disk, &mut self.dice, &used);
        if let Some(at) = f.planned {
            let event = Event::To(n, life, What::FetchStep(key, run));
            self.put(at - now, event);
        }
        self.sync_if_due(n, key, run, syncing);
        self.fetch_news(n, key, run, news, Lane::Fetch(n, run));
    }

    fn sync_if_due(&mut self, n: usize, key: FetchKey, run: u32, was: bool) {
        let node = &self.nodes[n];
        let f = node.process.as_ref().and_then(|p| p.fetching.get(&key));
        if !was && f.is_some_and(|f| f.run == run && f.syncing.is_some()) {
            let delay = 1 + self.dice.below(node.disk.delay * 4 + 1);
            let life = node.life;
            self.put(delay, Event::To(n, life, What::Synced(key, run)));
        }
    }

    pub(super) fn synced(&mut self, n: usize, key: FetchKey, run: u32) {
        let node = &mut self.nodes[n];
        let p = node.process.as_mut();
        if let Some(f) = p.and_then(|p| of_run(&mut p.fetching, key, run)) {
            let news = f.synced(&mut node.disk);
            // Another thread than the writer's: what they say is in no order.
            self.fetch_news(n, key, run, news, Lane::Sync(n, run));
        }
    }

    fn fetch_news(&mut self, n: usize, key: FetchKey, run: u32, news: Vec<FetchNews>, lane: Lane) {
        for news in news {
            if let FetchNews::Mismatch { entry, .. } = &news {
                self.forget_promises(n, key, *entry);
                // The two threads take turns here, so that nothing is said of a part that is gone.
                self.follow(lane, Lane::Sync(n, run));
            }
            if let FetchNews::Spurned { .. } = &news {
                self.struck += 1;
            }
            if let FetchNews::Prepared { lost, .. } = &news {
                lost.iter().for_each(|e| self.forget_promises(n, key, *e));
            }
            let delay = self.dice.below(3);
            let life = self.nodes[n].life;
            let input = Box::new(Input::Fetch(key, run, news));
            self.send_after(delay, lane, Event::To(n, life, What::Input(input)));
        }
    }
}
