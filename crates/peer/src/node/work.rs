//! The workers that the core has serve, fetch and hold: started, told and stopped by the driver.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use kith_core::effect::{self, FetchEffect, HoldEffect, ServeEffect};
use kith_core::input::{HoldKey, Input, ServeKey, ServeNews};
use kith_core::record::FetchKey;
use kith_protocol::voucher::Voucher;
use kith_protocol::{Code, OfferId, RoomId};

use super::drive::Driver;
use super::fetching::{self, Fetching, Start};
use super::hashing::OfferHashes;
use super::holding::Holding;
use super::layout;
use super::pacing::Bound;
use super::serving::{Plan, Serving, Way};
use super::vouching::OfferRoots;
use crate::disk::SourceEntry;

/// Who is at work, each with the number of its run, and what they work with.
#[derive(Default)]
pub(crate) struct Workers {
    serves: HashMap<ServeKey, (u32, Serving)>,
    fetches: HashMap<FetchKey, (u32, Fetching)>,
    holds: HashMap<HoldKey, (u32, Holding)>,
    sources: HashMap<(RoomId, OfferId), Arc<[SourceEntry]>>,
    /// What their files hash to.
    roots: HashMap<(RoomId, OfferId), Arc<OfferRoots>>,
    /// Bounds that several share.
    bounds: HashMap<effect::Bound, Bound>,
    /// Hashes of offers, for as long as somebody is served who needs them.
    hashes: HashMap<(RoomId, OfferId), Weak<OfferHashes>>,
}

impl Workers {
    /// The files of an offer that is about to be made.
    pub fn knows(&mut self, offer: (RoomId, OfferId), source: Arc<[SourceEntry]>) {
        self.roots.insert(offer, OfferRoots::new(&source));
        self.sources.insert(offer, source);
    }
}

impl Driver {
    pub(super) fn on_serve(&mut self, key: ServeKey, run: u32, effect: ServeEffect) {
        match effect {
            ServeEffect::Start {
                link,
                transfer,
                done,
                have,
                pull,
                passed,
                ..
            } => {
                let at = (key.room, key.offer);
                let roots = self.state.work.roots.get(&at).cloned();
                let source = match &passed {
                    Some(passed) => Some(layout::source(&passed.record, &passed.names)),
                    None => self.state.work.sources.get(&at).cloned(),
                };
                let Some(source) = source else {
                    let news = ServeNews::Failed(Code::SourceGone);
                    self.state.local.push_back(Input::Serve(key, run, news));
                    return;
                };
                let vouched = passed.and_then(|p| Some(p.record.voucher.as_ref()?.root));
                let way = match vouched {
                    Some(root) => Way::PassOn(self.hashes(key, &source), root),
                    None if pull => Way::Pull(self.hashes(key, &source)),
                    None => Way::Push,
                };
                let plan = Plan {
                    key,
                    run,
                    link,
                    transfer,
                    source,
                    done,
                    have,
                    way,
                    roots,
                };
                let offer = effect::Bound::Offer(key.room, key.offer);
                let bounds = vec![self.bound(effect::Bound::Up), self.bound(offer)];
                let inputs = self.inputs.clone();
                let serving = Serving::start(plan, bounds, &self.lanes, &self.tasks, inputs);
                self.state.work.serves.insert(key, (run, serving));
            }
            ServeEffect::Want { entry, ranges } => {
                self.serving(key, run, |s| s.want(entry, ranges))
            }
            ServeEffect::Arrived(entries) => self.serving(key, run, |s| s.arrived_whole(&entries)),
            ServeEffect::Hold(held) => self.serving(key, run, |s| s.hold(held)),
            ServeEffect::Pace(most) => self.serving(key, run, |s| s.pace(most)),
            ServeEffect::Stop => {
                if self.state.work.serves.get(&key).is_some_and(|s| s.0 == run) {
                    self.state.work.serves.remove(&key);
                }
            }
        }
    }

    /// Tells a serve, if it is still that run of it.
    fn serving(&self, key: ServeKey, run: u32, tell: impl FnOnce(&Serving)) {
        if let Some((_, serving)) = self.state.work.serves.get(&key).filter(|s| s.0 == run) {
            tell(serving);
        }
    }

    pub(super) fn on_fetch(&mut self, key: FetchKey, run: u32, effect: FetchEffect) {
        match effect {
            FetchEffect::Prepare {
                record,
                ranges,
                done,
            } => {
                self.parts.begin(&record);
                let start = Start {
                    key,
                    run,
                    parts: self.parts.clone(),
                    record,
                    ranges,
                    done,
                };
                let fetching =
                    Fetching::start(start, &self.lanes, &self.tasks, self.inputs.clone());
                self.state.work.fetches.insert(key, (run, fetching));
            }
            FetchEffect::Attach {
                link,
                transfer,
                root,
            } => self.fetching(key, run, |f| f.attach(link, transfer, root)),
            FetchEffect::Detach => self.fetching(key, run, |f| f.detach()),
            FetchEffect::AddSource { link, transfer } => {
                self.fetching(key, run, |f| f.add_source(link, transfer))
            }
            FetchEffect::DropSource { link, transfer } => {
                self.fetching(key, run, |f| f.drop_source(link, transfer))
            }
            FetchEffect::Expect { entry, hash } => {
                self.fetching(key, run, |f| f.expect(entry, hash))
            }
            FetchEffect::Probe { dir, needed } => {
                let inputs = self.inputs.clone();
                self.tasks.spawn_blocking("look at a disk", move || {
                    fetching::look(key, run, &dir, needed, &inputs);
                });
            }
            FetchEffect::Discard { record, begun } => {
                self.tasks.spawn_blocking("remove part files", move || {
                    fetching::discard(&record, &begun);
                });
            }
            FetchEffect::Stop { discard } => {
                if self
                    .state
                    .work
                    .fetches
                    .get(&key)
                    .is_some_and(|f| f.0 == run)
                    && let Some((_, fetching)) = self.state.work.fetches.remove(&key)
                {
                    fetching.stop(discard);
                }
            }
        }
    }

    /// Tells a fetch, if it is still that run of it.
    fn fetching(&mut self, key: FetchKey, run: u32, tell: impl FnOnce(&mut Fetching)) {
        if let Some((_, fetching)) = self.state.work.fetches.get_mut(&key).filter(|f| f.0 == run) {
            tell(fetching);
        }
    }

    /// Signs what the files of an offer hash to. What was not read to be served is read first.
    pub(super) fn vouch(&mut self, room: RoomId, offer: OfferId, mut word: Box<Voucher>) {
        let source = self.state.work.sources.get(&(room, offer)).cloned();
        let roots = self.state.work.roots.get(&(room, offer)).cloned();
        let Some((source, roots)) = source.zip(roots) else {
            let none = Input::Vouched(room, offer, None);
            return self.state.local.push_back(none);
        };
        let identity = Arc::clone(&self.identity);
        let sign = move |root| {
            word.root = root;
            identity.vouch(&room, &offer, &mut word);
            word
        };
        if let Some(root) = roots.root() {
            let vouched = Input::Vouched(room, offer, Some(sign(root)));
            return self.state.local.push_back(vouched);
        }
        let inputs = self.inputs.clone();
        self.tasks.spawn_blocking("vouch", move || {
            let root = roots.complete(&source).unwrap_or_else(|error| {
                tracing::info!(%error, "what was offered cannot be vouched for");
                None
            });
            let _ = inputs.blocking_send(Input::Vouched(room, offer, root.map(sign)));
        });
    }

    /// The bound of this, made where there is none yet.
    pub(super) fn bound(&mut self, of: effect::Bound) -> Bound {
        let bounds = &mut self.state.work.bounds;
        bounds.entry(of).or_insert_with(|| Bound::new(None)).clone()
    }

    pub(super) fn on_hold(&mut self, key: HoldKey, run: u32, effect: HoldEffect) {
        match effect {
            HoldEffect::Start {
                link,
                transfer,
                record,
            } => {
                let up = self.bound(effect::Bound::Up);
                let (tasks, inputs) = (&self.tasks, self.inputs.clone());
                if let Some(lane) = self.lanes.get(link) {
                    let holding =
                        Holding::start((key, run), (lane, transfer), record, up, tasks, inputs);
                    self.state.work.holds.insert(key, (run, holding));
                }
            }
            HoldEffect::Want {
                entry,
                ranges,
                name,
            } => {
                if let Some((_, h)) = self.state.work.holds.get(&key).filter(|h| h.0 == run) {
                    h.want(entry, ranges, name);
                }
            }
            HoldEffect::Stop => {
                if self.state.work.holds.get(&key).is_some_and(|h| h.0 == run) {
                    self.state.work.holds.remove(&key);
                }
            }
        }
    }

    /// The hashes of an offer: those that are at hand, or new ones.
    fn hashes(&mut self, key: ServeKey, source: &Arc<[SourceEntry]>) -> Arc<OfferHashes> {
        self.state.work.hashes.retain(|_, h| h.strong_count() > 0);
        let at = (key.room, key.offer);
        let known = self.state.work.hashes.get(&at).and_then(Weak::upgrade);
        if let Some(hashes) = known.filter(|h| !h.has_failed()) {
            return hashes;
        }
        let hashes = OfferHashes::start(source, &self.tasks);
        self.state.work.hashes.insert(at, Arc::downgrade(&hashes));
        hashes
    }
}
