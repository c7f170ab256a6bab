//! Links of the world at work.

use kith_core::Input;
use kith_core::effect::LinkEffect;
use kith_core::input::{IceState, LinkNews};
use kith_protocol::peer::PeerMessage;
use kith_protocol::{Code, LinkId, PeerId, RoomId, limits};

use super::net::{End, Packet, candidate, describe, generation};
use super::world::{Event, Lane, What, World};

/// ICE looks at a path this often, in milliseconds …
const WATCH: u64 = 2_500;
/// … calls it disconnected after so many looks in vain, and failed after so many.
const DISCONNECTED: u32 = 2;
const FAILED: u32 = 10;
/// Packets of `messages` and `files` that may wait for a path: every empty file of an offer costs
/// a message at either end, and no window holds those back.
const MOST_WAITING: usize = 12_000;

impl World {
    pub(super) fn link_effect(
        &mut self,
        n: usize,
        room: RoomId,
        peer: PeerId,
        link: LinkId,
        effect: LinkEffect,
    ) {
        let fp = self.process(n).config.fp;
        if let LinkEffect::Open { offerer, .. } = effect {
            let old = |((_, m), e): (&(LinkId, usize), &End)| *m == n && e.peer == peer;
            assert!(
                !self.net.ends.iter().any(old),
                "a second link with the same person"
            );
            let end = End {
                room,
                peer,
                offerer,
                local: 0,
                remote: None,
                candidates: 0,
                open: false,
                messages: Default::default(),
                files: Default::default(),
                heard: 0,
                lost: 0,
            };
            self.net.ends.insert((link, n), end);
            self.put(WATCH, Event::Watch(link));
            return;
        }
        if !matches!(effect, LinkEffect::Beat(_)) {
            self.noise += 1;
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
                self.settle_path(link);
            }
            LinkEffect::AddCandidate(_) => {
                assert!(end.remote.is_some(), "a candidate before the description");
                end.candidates += 1;
                assert!(end.candidates <= limits::MAX_CANDIDATES);
                self.settle_path(link);
            }
            LinkEffect::Send(m) => {
                if let PeerMessage::Want {
                    offer_id,
                    entry,
                    ranges,
                } = &*m
                {
                    self.unpromise(n, *offer_id, *entry, ranges);
                }
                if let PeerMessage::Verified {
                    transfer, entries, ..
                } = &*m
                {
                    self.promise_files(n, link, *transfer, entries);
                }
                self.push(n, link, Packet::Message(m));
            }
            LinkEffect::Beat(b) => {
                self.beats += 1;
                if let Some(other) = self.net.flows(link, n)
                    && !self.dice.percent(self.lose_beats)
                {
                    // Beats overtake each other.
                    let delay = 1 + self.dice.below(self.delay);
                    let life = self.nodes[other].life;
                    let packet = What::Packet(link, Packet::Beat(b));
                    self.put(delay, Event::To(other, life, packet));
                }
            }
            LinkEffect::Ack {
                transfer,
                entry,
                ranges,
            } => {
                self.promise(n, link, transfer, entry, &ranges);
                let packet = Packet::Ack {
                    transfer,
                    entry,
                    ranges,
                };
                self.push(n, link, packet);
            }
            LinkEffect::Strand(..) => unreachable!("no lane here is strained"),
            LinkEffect::Close => self.close_end(n, link),
        }
    }

    fn close_end(&mut self, n: usize, link: LinkId) {
        let other = self.net.flows(link, n);
        let Some(end) = self.net.ends.remove(&(link, n)) else {
            return;
        };
        if let Some(other) = other {
            let (room, peer) = (end.room, self.nodes[n].peer());
            let news = LinkNews::Broken(Code::LinkLost);
            let input = Input::Link {
                room,
                peer,
                link,
                news,
            };
            self.inform(Lane::Messages(link, n), other, input);
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
        if self.dice.percent(50) {
            news.swap(0, 1);
        }
        for news in news {
            self.link_news(n, link, news);
        }
        self.put(15_000, Event::NoPath(link, local));
    }

    /// Tells both ends where a path was found.
    pub(super) fn settle_path(&mut self, link: LinkId) {
        for n in self.net.connect(link).into_iter().flatten() {
            self.link_news(n, link, LinkNews::Ice(IceState::Checking));
            self.link_news(n, link, LinkNews::Route(kith_api::Route::Lan));
            self.link_news(n, link, LinkNews::Ice(IceState::Connected));
            let end = self
                .net
                .ends
                .get_mut(&(link, n))
                .expect("both ends are there");
            end.lost = 0;
            if !std::mem::replace(&mut end.open, true) {
                self.link_news(n, link, LinkNews::ChannelsOpen);
            }
            self.flush_link(link, n);
        }
    }

    /// Looks at the path of a link, as ICE does with its consent checks.
    pub(super) fn watch(&mut self, link: LinkId) {
        let range = self.net.ends.range((link, 0)..=(link, usize::MAX));
        let nodes: Vec<usize> = range.map(|((_, n), _)| *n).collect();
        for &n in &nodes {
            let other = self.net.other(link, n);
            let there = |o: usize| self.nodes[o].asleep.is_none() && self.net.reach(n, o);
            let path = self.net.paths.contains_key(&link) && other.is_some_and(there);
            let Some(end) = self.net.ends.get_mut(&(link, n)) else {
                continue;
            };
            if !end.open || self.nodes[n].asleep.is_some() {
                continue;
            }
            let news = match (path, end.lost) {
                (true, DISCONNECTED..FAILED) => Some(IceState::Connected),
                (false, l) if l + 1 == DISCONNECTED => Some(IceState::Disconnected),
                (false, l) if l + 1 == FAILED => Some(IceState::Failed),
                _ => None,
            };
            end.lost = if path { 0 } else { end.lost.saturating_add(1) };
            if news == Some(IceState::Failed) {
                self.net.paths.remove(&link);
            }
            if let Some(state) = news {
                self.link_news(n, link, LinkNews::Ice(state));
            }
        }
        if !nodes.is_empty() {
            self.put(WATCH, Event::Watch(link));
        }
    }

    pub(super) fn no_path(&mut self, link: LinkId, local: u32) {
        if self.net.paths.get(&link) == Some(&local) {
            return;
        }
        let waits = |((l, _), e): &(&(LinkId, usize), &End)| *l == link && e.local == local;
        let ends = self.net.ends.iter().filter(waits);
        for n in ends.map(|((_, n), _)| *n).collect::<Vec<_>>() {
            self.link_news(n, link, LinkNews::Ice(IceState::Failed));
        }
    }

    pub(super) fn push(&mut self, n: usize, link: LinkId, packet: Packet) {
        if let Some(end) = self.net.ends.get_mut(&(link, n)) {
            let queue = match packet {
                Packet::Message(_) | Packet::Beat(_) => &mut end.messages,
                Packet::Ack { .. }
                | Packet::Chunks { .. }
                | Packet::Roots { .. }
                | Packet::Hashes { .. } => &mut end.files,
            };
            queue.push_back(packet);
            // A peer that says again what it has, over half a path, may have a window sent again.
            let is_chat = |p: &&Packet| matches!(p, Packet::Message(m) if matches!(**m, PeerMessage::Chat { .. }));
            let chats = queue.iter().filter(is_chat).count() as u64;
            assert!(
                chats <= 2 * kith_core::chat::WINDOW,
                "{chats} messages wait for a path"
            );
            assert!(queue.len() <= MOST_WAITING, "too much waits for a path");
        }
        self.flush_link(link, n);
    }

    pub(super) fn flush_link(&mut self, link: LinkId, n: usize) {
        let Some(other) = self.net.flows(link, n) else {
            return;
        };
        let Some(end) = self.net.ends.get_mut(&(link, n)) else {
            return;
        };
        let messages = std::mem::take(&mut end.messages);
        let files = std::mem::take(&mut end.files);
        let waited = !files.is_empty();
        // Two streams: each in order, but not one with the other.
        let life = self.nodes[other].life;
        for packet in messages {
            let event = Event::To(other, life, What::Packet(link, packet));
            self.send(Lane::Messages(link, n), event);
        }
        for packet in files {
            let event = Event::To(other, life, What::Packet(link, packet));
            self.send(Lane::Files(link, n), event);
        }
        if waited {
            self.kick_serves(n, link);
        }
    }

    pub(super) fn arrive(&mut self, n: usize, link: LinkId, packet: Packet) {
        if !self.net.ends.contains_key(&(link, n)) {
            return;
        }
        let news = match packet {
            Packet::Message(m) => {
                // What is sent is also what can be parsed.
                let m = PeerMessage::parse(&m.to_bytes()).expect("peers send what is allowed");
                LinkNews::Message(Box::new(m))
            }
            Packet::Beat(b) => LinkNews::Beat(b),
            Packet::Ack {
                transfer,
                entry,
                ranges,
            } => {
                self.heard(n, link);
                self.acked(n, link, transfer, &ranges);
                LinkNews::Ack {
                    transfer,
                    entry,
                    ranges,
                }
            }
            Packet::Chunks {
                transfer,
                entry,
                pieces,
            } => {
                self.heard(n, link);
                return self.chunks(n, link, transfer, entry, &pieces);
            }
            Packet::Roots { transfer, roots } => {
                self.heard(n, link);
                return self.roots(n, link, transfer, roots);
            }
            Packet::Hashes {
                transfer,
                entry,
                tokens,
            } => {
                self.heard(n, link);
                return self.hashes(n, link, transfer, entry, tokens);
            }
        };
        self.tell_link(n, link, news);
    }

    /// Any frame on the file lane is a sign of life, reported once a second.
    fn heard(&mut self, n: usize, link: LinkId) {
        let now = self.now;
        if let Some(end) = self.net.ends.get_mut(&(link, n))
            && now >= end.heard + 1_000
        {
            end.heard = now;
            self.tell_link(n, link, LinkNews::Heard);
        }
    }

    fn tell_link(&mut self, n: usize, link: LinkId, news: LinkNews) {
        if let Some(end) = self.net.ends.get(&(link, n)) {
            let (room, peer) = (end.room, end.peer);
            let input = Input::Link {
                room,
                peer,
                link,
                news,
            };
            self.input(n, input);
        }
    }

    /// From the connection's own tasks.
    fn link_news(&mut self, n: usize, link: LinkId, news: LinkNews) {
        if let Some(end) = self.net.ends.get(&(link, n)) {
            let (room, peer) = (end.room, end.peer);
            let input = Input::Link {
                room,
                peer,
                link,
                news,
            };
            let delay = self.dice.below(4);
            let life = self.nodes[n].life;
            let event = Event::To(n, life, What::Input(Box::new(input)));
            self.send_after(delay, Lane::Connection(link, n), event);
        }
    }
}
