//! Workers of the world: they send and fetch.

use kith_core::Input;
use kith_core::effect::{FetchEffect, ServeEffect};
use kith_core::input::{FetchNews, ServeKey, ServeNews};
use kith_core::record::FetchKey;
use kith_protocol::LinkId;
use kith_protocol::ranges::RangeSet;

use super::{Event, World};
use crate::files::{Fetching, Serving, Step, digest};
use crate::net::Packet;

impl World {
    pub(super) fn chunk(
        &mut self,
        n: usize,
        link: LinkId,
        transfer: u32,
        c: (u32, u64, u64, bool),
    ) {
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

    pub(super) fn serve_effect(&mut self, n: usize, key: ServeKey, run: u32, effect: ServeEffect) {
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
    pub(super) fn serve(&mut self, n: usize, key: ServeKey, run: u32) {
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

    pub(super) fn fetch_effect(&mut self, n: usize, key: FetchKey, run: u32, effect: FetchEffect) {
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

    pub(super) fn fetch_news(&mut self, n: usize, key: FetchKey, run: u32, news: Vec<FetchNews>) {
        for news in news {
            self.inform(n, n, Input::Fetch(key, run, news));
        }
    }
}
