//! Transfers held back, bounded and put in order; offers that outlive their process.

use kith_api::{OfferAction, OfferView, TransferSettings};
use kith_core::Mono;
use kith_core::effect::Bound;
use kith_core::input::{Command, ServeKey};
use kith_core::pace::Bucket;
use kith_core::record::FetchKey;
use kith_protocol::PeerId;

use super::plan::Action;
use super::world::World;

/// Bytes per second of a bound that somebody sets.
const BOUNDS: [Option<u64>; 4] = [None, Some(200_000), Some(2_000_000), Some(50_000_000)];

impl World {
    /// What somebody wants of transfers that are there.
    pub(super) fn control(&mut self, n: usize, action: Action) {
        match action {
            Action::Pause { pick, .. } => self.hold(n, OfferAction::Pause, pick),
            Action::Resume { pick, .. } => self.hold(n, OfferAction::Resume, pick),
            Action::Reorder { pick, before, .. } => {
                let all = self.may(n, &[OfferAction::Reorder]);
                let one = |pick: u32| all.get(pick as usize % all.len().max(1)).copied();
                if let Some(key) = one(pick) {
                    let before = one(before).filter(|_| before % 3 > 0);
                    self.command(n, Command::Reorder(key, before));
                }
            }
            Action::Limit { pick, bound, .. } => {
                let all = self.offers_that(n, OfferAction::Limit);
                if let Some(key) = all.get(pick as usize % all.len().max(1)) {
                    self.command(n, Command::Limit(*key, BOUNDS[bound as usize % 4]));
                }
            }
            Action::Tune { at_once, bound, .. } => {
                let settings = TransferSettings {
                    at_once,
                    up: BOUNDS[bound as usize % 4],
                    down: BOUNDS[bound as usize / 4 % 4],
                    ..TransferSettings::default()
                };
                self.command(n, Command::Transfers(Box::new(settings)));
            }
            _ => {}
        }
    }

    /// Holds one of what may be held, at whichever side; or lets it go on.
    fn hold(&mut self, n: usize, what: OfferAction, pick: u32) {
        let Some(p) = &self.nodes[n].process else {
            return;
        };
        let mut all: Vec<(FetchKey, Option<PeerId>)> = Vec::new();
        for offer in p.fold.offers() {
            if offer.can.contains(&what) {
                all.push((key(offer), None));
            }
            let one = offer.receivers.iter().filter(|r| r.can.contains(&what));
            all.extend(one.map(|r| (key(offer), Some(r.peer))));
        }
        let Some((key, peer)) = all.get(pick as usize % all.len().max(1)).copied() else {
            return;
        };
        self.command(n, held(what, key, peer));
    }

    fn offers_that(&self, n: usize, what: OfferAction) -> Vec<FetchKey> {
        let process = self.nodes[n].process.iter();
        let offers = process.flat_map(|p| p.fold.offers());
        offers.filter(|o| o.can.contains(&what)).map(key).collect()
    }

    /// Everybody lets everything go on, without bounds.
    pub(super) fn let_all_go(&mut self) {
        for n in 0..self.nodes.len() {
            let at_once = 1 + self.dice.below(3) as u32;
            let settings = TransferSettings {
                at_once,
                ..TransferSettings::default()
            };
            self.command(n, Command::Transfers(Box::new(settings)));
            for key in self.offers_that(n, OfferAction::Limit) {
                self.command(n, Command::Limit(key, None));
            }
            self.resume_all(n);
        }
    }

    /// Lets everything go on that `n` holds back.
    pub(super) fn resume_all(&mut self, n: usize) {
        for key in self.offers_that(n, OfferAction::Resume) {
            self.command(n, Command::Resume(key, None));
        }
        let Some(p) = &self.nodes[n].process else {
            return;
        };
        let mut left = Vec::new();
        for offer in p.fold.offers() {
            let held = |r: &&kith_api::ReceiverView| r.can.contains(&OfferAction::Resume);
            let held = offer.receivers.iter().filter(held);
            left.extend(held.map(|r| (key(offer), r.peer)));
        }
        for (key, peer) in left {
            self.command(n, Command::Resume(key, Some(peer)));
        }
    }

    /// Offers that an earlier process made, looked at when the room is entered again.
    pub(super) fn restore_offers(&mut self, n: usize) {
        let records: Vec<_> = self.nodes[n].store.offers.values().cloned().collect();
        for record in records {
            let node = &mut self.nodes[n];
            let files = match node.source_fault {
                Some(code) => Err(code),
                None => Ok(node.sources[&record.offer].entries.clone()),
            };
            if let (Some(p), Ok(_)) = (&mut node.process, &files) {
                p.offered.insert(record.offer);
            }
            self.command(n, Command::Restore(Box::new(record), files));
        }
    }

    /// A bound that several serves share.
    pub(super) fn bound(&mut self, n: usize, of: Bound, rate: Option<u64>) {
        let now = Mono(self.now);
        let Some(p) = self.nodes[n].process.as_mut() else {
            return;
        };
        let bucket = p.bounds.entry(of).or_insert_with(|| Bucket::new(None, now));
        bucket.set(rate, now);
        self.kick_all(n);
    }

    /// So many bytes go; when the next may.
    pub(super) fn charge(&mut self, n: usize, key: ServeKey, bytes: u64) -> u64 {
        let now = Mono(self.now);
        let Some(p) = self.nodes[n].process.as_mut() else {
            return self.now;
        };
        let offer = Bound::Offer(key.room, key.offer);
        let shared = [Bound::Up, offer];
        let mut wait = 0;
        for of in shared {
            if let Some(bucket) = p.bounds.get_mut(&of) {
                wait = wait.max(bucket.take(bytes, now).as_millis() as u64);
            }
        }
        if let Some(s) = p.serving.get_mut(&key) {
            wait = wait.max(s.pace.take(bytes, now).as_millis() as u64);
        }
        self.now + wait
    }
}

fn key(offer: &OfferView) -> FetchKey {
    FetchKey {
        room: offer.room,
        from: offer.from,
        offer: offer.offer,
    }
}

fn held(what: OfferAction, key: FetchKey, peer: Option<PeerId>) -> Command {
    match what {
        OfferAction::Resume => Command::Resume(key, peer),
        _ => Command::Pause(key, peer),
    }
}
