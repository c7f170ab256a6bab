//! Links of the world at work.

use kith_core::Input;
use kith_core::effect::LinkEffect;
use kith_core::input::{IceState, LinkNews};
use kith_protocol::{Code, LinkId, PeerId, RoomId};

use super::{Event, World};
use crate::net::{End, Packet, candidate, describe, generation};

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
                    self.inform(
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
    pub(super) fn describe(&mut self, n: usize, link: LinkId, fp: &kith_protocol::ids::Digest) {
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
    pub(super) fn settle(&mut self, link: LinkId) {
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

    pub(super) fn push(&mut self, n: usize, link: LinkId, packet: Packet) {
        if let Some(end) = self.net.ends.get_mut(&(link, n)) {
            end.out.push_back(packet);
        }
        self.flush(link, n);
    }

    pub(super) fn flush(&mut self, link: LinkId, n: usize) {
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

    pub(super) fn arrive(&mut self, n: usize, link: LinkId, packet: Packet) {
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

    pub(super) fn link_news(&mut self, n: usize, link: LinkId, news: LinkNews) {
        let Some(end) = self.net.ends.get(&(link, n)) else {
            return;
        };
        let (room, peer) = (end.room, end.peer);
        self.inform(
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
}
