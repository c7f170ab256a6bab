//! What engines want done, handed to whoever does it; sealing and storing.

use kith_core::effect::{SealEffect, SessionEffect};
use kith_core::input::JobId;
use kith_core::{Effect, Input};
use kith_protocol::{Code, RoomId, Sid};

use super::disk::WINDOW;
use super::seal::Seal;
use super::world::{Event, What, World};

impl World {
    pub(super) fn effect(&mut self, n: usize, effect: Effect) {
        let life = self.nodes[n].life;
        match effect {
            Effect::Session(room, sid, effect) => match effect {
                SessionEffect::Dial(_) => self.put(1 + self.delay, Event::Dial(n, life, room, sid)),
                SessionEffect::Send(message) => self.say_to_server(n, room, sid, &message),
                SessionEffect::Close => self.hang_up(n, sid),
            },
            Effect::Seal {
                room,
                me,
                them,
                effect,
            } => self.seal_effect(n, (room, me, them), effect),
            Effect::Link {
                room,
                peer,
                link,
                effect,
            } => self.link_effect(n, room, peer, link, effect),
            Effect::Serve(key, run, effect) => self.serve_effect(n, key, run, effect),
            Effect::Fetch(key, run, effect) => self.fetch_effect(n, key, run, effect),
            Effect::Hold(key, run, effect) => self.hold_effect(n, key, run, effect),
            Effect::Vouch(room, offer, word) => self.vouch(n, room, offer, word),
            Effect::Bound(of, rate) => self.bound(n, of, rate),
            Effect::Store(job, puts) => {
                self.noise += 1;
                let node = &mut self.nodes[n];
                node.store.waiting.push_back((job, puts));
                let waiting = node.store.waiting.len();
                // What a window holds is recorded once when it is durable and once when its file
                // has its name.
                let fetches = node.process.as_ref().map_or(0, |p| p.fetching.len());
                let most = 512 + 2 * WINDOW * fetches;
                assert!(waiting <= most, "{n}: {waiting} jobs wait for the store");
                self.flush_store(n);
            }
            Effect::LoadChat {
                job,
                room,
                from,
                max,
            } => {
                let node = &self.nodes[n];
                let page = if node.store.broken {
                    Vec::new()
                } else {
                    node.store.page(room, node.peer(), from, max)
                };
                let delay = self.dice.below(self.nodes[n].store.delay + 2);
                self.put(delay, Event::To(n, life, What::Loaded(job, page)));
            }
            Effect::Reply(..) | Effect::Event(_) => {}
        }
    }

    fn seal_effect(&mut self, n: usize, key: (RoomId, Sid, Sid), effect: SealEffect) {
        let random = self.dice.next() as u32;
        let (room, me, them) = key;
        let Some(p) = self.nodes[n].process.as_mut() else {
            return;
        };
        let hello = p.hello();
        match effect {
            SealEffect::Close => {
                p.seals.remove(&key);
            }
            SealEffect::Open => {
                p.seals.insert(key, Seal::new(me, them, hello));
            }
            SealEffect::Begin
            | SealEffect::Read(_)
            | SealEffect::Send(_)
            | SealEffect::AskAgain => {
                let news = p.seals.get_mut(&key).map(|s| s.apply(effect, random));
                let input = |news| Input::Seal {
                    room,
                    me,
                    them,
                    news,
                };
                p.local.extend(news.into_iter().flatten().map(input));
            }
        }
    }

    fn flush_store(&mut self, n: usize) {
        let store = &mut self.nodes[n].store;
        if store.flushing || store.waiting.is_empty() {
            return;
        }
        store.flushing = true;
        let delay = self.dice.below(store.delay + 1);
        let life = self.nodes[n].life;
        self.put(delay, Event::To(n, life, What::Flushed));
    }

    /// What waited when the flush began, and maybe some of what came since, is durable.
    pub(super) fn flushed(&mut self, n: usize) {
        let store = &mut self.nodes[n].store;
        store.flushing = false;
        let count = store.waiting.len().min(256);
        let jobs: Vec<JobId> = store.waiting.iter().take(count).map(|(j, _)| *j).collect();
        let broken = store.broken;
        for _ in 0..count {
            if let Some((_, puts)) = self.nodes[n].store.waiting.pop_front()
                && !broken
            {
                self.apply_puts(n, puts);
            }
        }
        for job in jobs {
            let input = if broken {
                Input::StoreFailed(job, Code::DiskFull)
            } else {
                Input::Stored(job)
            };
            self.input(n, input);
        }
        self.flush_store(n);
    }
}
