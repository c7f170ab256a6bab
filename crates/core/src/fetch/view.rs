//! Others' offers as front ends see them.

use std::path::Path;

use kith_api::{FetchPhase, OfferView, Paused, Strategy};
use kith_protocol::{OfferId, PeerId};

use super::{Fetch, Fetches, State};
use crate::offer;

impl Fetches {
    /// All offers.
    pub fn ids(&self) -> Vec<(PeerId, OfferId)> {
        self.fetches.keys().copied().collect()
    }

    /// One offer as front ends see it.
    pub fn view(&self, from: PeerId, id: OfferId) -> Option<OfferView> {
        let f = self.fetches.get(&(from, id))?;
        let saved = self.saved.get(&(from, id)).map(|s| &s.record);
        let record = f.record.as_deref().or(saved);
        let (phase, why) = match f.state {
            State::Seen => (FetchPhase::Seen, None),
            State::Offered => (FetchPhase::Offered, None),
            // Whatever holds it back comes after its manifest.
            State::Reading { .. } if !f.hold.here => (FetchPhase::Accepted, None),
            State::Reading { .. } | State::Queued | State::Accepted => {
                f.taken_phase(FetchPhase::Accepted)
            }
            State::Fetching => f.taken_phase(FetchPhase::Fetching),
            State::Stalled => f.taken_phase(FetchPhase::Stalled),
            State::Done => (FetchPhase::Done, None),
            State::Failed(code) => (FetchPhase::Failed, Some(code)),
            State::Declined => (FetchPhase::Declined, None),
            State::Withdrawn(code) => (FetchPhase::Withdrawn, Some(code)),
        };
        Some(OfferView {
            room: self.room,
            from,
            offer: id,
            mine: false,
            at: f.at,
            name: f.name.clone(),
            note: f.note.clone(),
            entries: f.count,
            preview: offer::preview(&f.entries),
            total: f.total,
            phase,
            done: f.done_bytes(),
            paused: Paused {
                here: f.hold.here,
                there: f.hold.there,
            },
            queued: f.hold.waits,
            cap: f.hold.cap,
            missing: f.hold.refused.and_then(|r| r.missing),
            dir: match &f.state {
                State::Reading { dir } => Some(dir.clone()),
                State::Seen
                | State::Offered
                | State::Queued
                | State::Accepted
                | State::Fetching
                | State::Stalled
                | State::Done
                | State::Failed(_)
                | State::Declined
                | State::Withdrawn(_) => record.map(|r| r.dir.clone()),
            },
            path: f.path(),
            why,
            by: (f.link.is_some() && f.via != from).then_some(f.via),
            strategy: f.swarm.as_ref().map(|_| Strategy::Swarm),
            receivers: Vec::new(),
            traffic: f.traffic,
            can: f.can(),
        })
    }
}

impl Fetch {
    /// What a finished fetch became: its one file or folder, or the folder of several.
    fn path(&self) -> Option<String> {
        let State::Done = self.state else {
            return None;
        };
        let dir = &self.record.as_ref()?.dir;
        let root = |name: &'_ String| name.split('/').next().map(str::to_owned);
        let mut roots = self.done.values().map(root);
        let first = roots.next().flatten()?;
        if roots.all(|r| r.as_ref() == Some(&first)) {
            Path::new(dir).join(first).to_str().map(str::to_owned)
        } else {
            Some(dir.clone())
        }
    }
}
