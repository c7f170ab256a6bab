//! Others' offers and our fetching of them.
//!
//! ```text
//! Seen → Offered → (Reading →) Queued → Accepted → Fetching ⇄ Stalled → Done
//!            └→ Declined         └──── a disk that refuses ────┘  └→ Failed, Withdrawn
//! ```
//! What failed or was withdrawn is Offered when it is announced again. A fetch that is taken runs
//! when it is its turn and nothing holds it back: see `hold`.
//!
//! Of a long manifest only the beginning is kept until the user takes the offer; the rest is asked
//! for then.
//!
//! It comes from who offers, or, where that one cannot be reached, from somebody who has all of it and
//! passes it on: see `passed`.
//!
//! Nothing is acknowledged before the store has recorded it, and nothing is recorded before the
//! disk has it: what a sender was told is durable is durable.

mod decide;
mod hold;
mod holding;
mod manifest;
mod passed;
mod patience;
mod records;
mod sources;
mod swarm;
mod view;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kith_api::{OfferAction, Traffic};
use kith_protocol::peer::{Entry, PeerMessage};
use kith_protocol::ranges::RangeSet;
use kith_protocol::voucher::Voucher;
use kith_protocol::{Code, LinkId, OfferId, PeerId, RoomId, limits};

use crate::effect::{Effect, FetchEffect};
use crate::engine::Ctx;
use crate::input::{JobId, Refusal};
use crate::record::{FetchKey, FetchRecord, Passed, SavedFetch};
use crate::serve::bytes_of;
use crate::time::{Mono, Now};
use hold::Hold;

pub use hold::{PROBE_FIRST, PROBE_LAST, share};
pub use patience::SILENCE_FIRST;

/// Bad checksums in a row that end a fetch.
pub const STRIKES: u32 = 3;
/// Wrong whole-file hashes that end a fetch.
pub const MISMATCHES: u32 = 2;
/// Offers of one peer that are remembered, those that ended included.
pub const MAX_KNOWN: usize = 1024;
/// Memory that manifests of one peer may take before the user has taken the offers, in bytes,
/// about …
pub const MAX_LOOK: usize = 2 << 20;
/// … and those of all peers of a room.
pub const MAX_LOOK_ALL: usize = 16 << 20;
/// Memory that the manifests of one peer may take in all, in bytes, about.
pub const MAX_MANIFESTS: usize = 256 << 20;

/// Others' offers in one room.
#[derive(Debug)]
pub struct Fetches {
    room: RoomId,
    fetches: BTreeMap<(PeerId, OfferId), Fetch>,
    saved: BTreeMap<(PeerId, OfferId), SavedFetch>,
    jobs: BTreeMap<JobId, (FetchKey, After)>,
    /// When disks that refused are looked at again.
    probes: BTreeMap<(PeerId, OfferId), Mono>,
    /// Who is linked with us.
    links: BTreeMap<PeerId, LinkId>,
    /// Whom we serve what of others' offers.
    holds: holding::Holds,
    transfers: u32,
    runs: u32,
}

#[derive(Debug)]
struct Fetch {
    name: String,
    note: Option<String>,
    count: u32,
    total: u64,
    entries: Vec<Entry>,
    /// Memory that they take, about.
    weight: usize,
    /// Pages that still come without another question.
    pages_due: usize,
    state: State,
    /// From whom it comes, or would: who offers, unless somebody passes it on …
    via: PeerId,
    /// … and the link over which that one announces it now.
    link: Option<LinkId>,
    /// Everybody who announces it now.
    announced: BTreeMap<PeerId, LinkId>,
    /// Of whom we heard of it first: it counts as one of theirs.
    by: PeerId,
    /// What its files hash to, from who offers.
    voucher: Option<Box<Voucher>>,
    /// Who offers has it no longer, for this reason.
    gone: Option<Code>,
    patience: patience::Patience,
    /// Who passed it on wrongly is not asked again.
    spurned: BTreeSet<PeerId>,
    /// Entries with chunks from somebody who passes it on, and from whom: that they are right is known
    /// when the whole is.
    hearsay: BTreeMap<u32, PeerId>,
    /// The link over which the sender was told that we do not want it. Over later ones it may not
    /// announce it to this app session again.
    declined: Option<LinkId>,
    /// Whether it is to be taken without asking was decided.
    looked_at: bool,
    run: u32,
    hold: Hold,
    record: Option<Arc<FetchRecord>>,
    /// Chunks on disk and recorded, of entries that are not complete.
    durable: BTreeMap<u32, RangeSet>,
    /// Chunks on disk; their record may still be on its way.
    synced: BTreeMap<u32, RangeSet>,
    done: BTreeMap<u32, String>,
    /// Bytes of the entries in `done`.
    done_size: u64,
    /// The number that it was last accepted with.
    transfer: u32,
    strikes: u32,
    mismatches: u32,
    /// Other receivers, where they help each other.
    swarm: Option<swarm::Swarm>,
    traffic: Traffic,
    /// When it was first seen here, milliseconds since 1970.
    at: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// The beginning of the manifest comes.
    Seen,
    /// There is the whole manifest, or enough of it to decide.
    Offered,
    /// Taken, and the rest of the manifest comes.
    Reading {
        dir: String,
    },
    /// Taken, with all that is known of it in its record. No worker is at it.
    Queued,
    /// The disk is being prepared and the record stored.
    Accepted,
    Fetching,
    Stalled,
    Done,
    Failed(Code),
    Declined,
    Withdrawn(Code),
}

/// What to do when a store job is durable.
#[derive(Debug)]
enum After {
    Begin {
        run: u32,
    },
    Acknowledge {
        run: u32,
        entry: u32,
        ranges: RangeSet,
    },
    Complete {
        run: u32,
        entries: Vec<(u32, String)>,
    },
    Nothing,
}

/// What the fetches tell their room.
#[derive(Debug, PartialEq, Eq)]
pub enum FetchOut {
    /// Send to the peer.
    Send(PeerId, PeerMessage),
    /// Tell the peer what is durable here.
    Ack {
        /// Who sends.
        peer: PeerId,
        /// Number of the transfer.
        transfer: u32,
        /// Which entry.
        entry: u32,
        /// Which chunks.
        ranges: RangeSet,
    },
    /// The offer's view may have changed.
    Changed(PeerId, OfferId),
    /// We have all of it, and may pass it on …
    Pass(Passed),
    /// … and may not any more.
    KeepBack(FetchKey, Code),
}

impl Fetches {
    /// Restores accepted fetches; they go on when they are accepted again, or by themselves where
    /// they are to be kept up.
    pub fn new(room: RoomId, saved: &[SavedFetch], keep: bool) -> Self {
        let mine = saved.iter().filter(|s| s.record.key.room == room);
        let at = |s: &SavedFetch| (s.record.key.from, s.record.key.offer);
        // What is complete may have been moved away since; it is not fetched again by itself.
        let (going, saved): (Vec<_>, Vec<_>) = mine.partition(|s| keep && !s.is_whole());
        Fetches {
            room,
            fetches: going
                .into_iter()
                .filter_map(|s| Some((at(s), Fetch::restored(s)?)))
                .collect(),
            saved: saved.into_iter().map(|s| (at(s), s.clone())).collect(),
            jobs: BTreeMap::new(),
            probes: BTreeMap::new(),
            links: BTreeMap::new(),
            holds: holding::Holds::default(),
            transfers: 0,
            runs: 0,
        }
    }

    /// What goes on by itself is seen from now on, also before its sender is back.
    pub fn seen(mut self, now: Now) -> Self {
        for f in self.fetches.values_mut() {
            f.at = now.unix_ms;
        }
        self
    }

    /// A message about an offer of the peer. Messages of the wrong time or size are ignored.
    pub fn on_message(
        &mut self,
        peer: PeerId,
        link: LinkId,
        message: PeerMessage,
        ctx: &mut Ctx<'_>,
    ) -> Vec<FetchOut> {
        match message {
            PeerMessage::Offer {
                offer_id,
                name,
                entries,
                total,
                note,
            } => self.on_offer(peer, link, offer_id, (name, note, entries, total), ctx),
            PeerMessage::Entries {
                offer_id,
                first,
                entries,
            } => match self.served_by(peer, offer_id) {
                Some(key) => self.on_entries(key, first, entries, ctx),
                None => Vec::new(),
            },
            PeerMessage::EntryDone {
                offer_id,
                entry,
                hash,
            } => {
                let key = FetchKey {
                    room: self.room,
                    from: peer,
                    offer: offer_id,
                };
                let Some(f) = self.fetches.get(&(peer, offer_id)) else {
                    return Vec::new();
                };
                let known = f.entries.get(entry as usize).is_some_and(|e| !e.dir);
                if f.state == State::Fetching && f.via == peer && known {
                    ctx.out(Effect::Fetch(
                        key,
                        f.run,
                        FetchEffect::Expect { entry, hash },
                    ));
                }
                Vec::new()
            }
            PeerMessage::Gone { offer_id, why } => self.on_gone(peer, offer_id, why, ctx),
            PeerMessage::Voucher { offer_id, voucher } => {
                self.on_voucher(peer, offer_id, voucher, ctx)
            }
            PeerMessage::StandIn { offer_id, voucher } => {
                self.on_stand_in(peer, link, offer_id, voucher, ctx)
            }
            PeerMessage::Pause { offer_id, .. } => self.on_held(peer, offer_id, true, ctx),
            PeerMessage::Resume { offer_id } => self.on_held(peer, offer_id, false, ctx),
            PeerMessage::Swarm { offer_id, to } => self.on_swarm(peer, offer_id, to, ctx),
            PeerMessage::Holds {
                from,
                offer_id,
                hello,
                whole,
                parts,
            } => {
                let key = self.key(from, offer_id);
                self.on_holds(peer, link, key, hello, (&whole, &parts), ctx)
            }
            PeerMessage::Pull {
                from,
                offer_id,
                transfer,
                entry,
                ranges,
            } => {
                let key = self.key(from, offer_id);
                self.on_pull(peer, link, key, transfer, (entry, ranges), ctx)
            }
            PeerMessage::LetGo { from, offer_id } => {
                self.on_let_go(peer, self.key(from, offer_id), ctx)
            }
            PeerMessage::Confirm { .. }
            | PeerMessage::ChatSync { .. }
            | PeerMessage::Chat { .. }
            | PeerMessage::ChatAck { .. }
            | PeerMessage::Browse { .. }
            | PeerMessage::Accept { .. }
            | PeerMessage::Decline { .. }
            | PeerMessage::Have { .. }
            | PeerMessage::Want { .. }
            | PeerMessage::Cancel { .. }
            | PeerMessage::Verified { .. }
            | PeerMessage::OfferDone { .. }
            | PeerMessage::Pace { .. }
            | PeerMessage::Strand { .. }
            | PeerMessage::Ring { .. }
            | PeerMessage::InCall { .. }
            | PeerMessage::OutOfCall { .. }
            | PeerMessage::Bye { .. }
            | PeerMessage::Unknown => Vec::new(),
        }
    }

    /// A link is open. What was declined is not announced over it, but may still be taken.
    pub fn on_open(&mut self, peer: PeerId, link: LinkId, ctx: &mut Ctx<'_>) -> Vec<FetchOut> {
        let mut out = Vec::new();
        let declined = self
            .fetches
            .iter_mut()
            .filter(|((p, _), f)| *p == peer && f.declined.is_some());
        let mut stalled = Vec::new();
        for ((from, offer), f) in declined {
            f.announced.insert(*from, link);
            if f.state == State::Done {
                // It came from somebody who passed it on.
                out.push(say_done(peer, *offer));
                continue;
            }
            if f.via != *from && f.link.is_some() {
                // Somebody passes it on, and goes on so.
                continue;
            }
            if f.link.is_none() {
                out.push(FetchOut::Changed(*from, *offer));
            }
            (f.via, f.link) = (*from, Some(link));
            let key = FetchKey {
                room: self.room,
                from: *from,
                offer: *offer,
            };
            match f.state {
                State::Stalled | State::Queued => stalled.push(key),
                State::Reading { .. } => out.push(f.browse(key)),
                State::Seen
                | State::Offered
                | State::Accepted
                | State::Fetching
                | State::Done
                | State::Failed(_)
                | State::Declined
                | State::Withdrawn(_) => {}
            }
        }
        for key in stalled {
            out.extend(self.wish(key, ctx));
        }
        self.links.insert(peer, link);
        out.extend(self.greet_all(peer));
        out
    }

    /// The link is gone.
    pub fn on_closed(&mut self, peer: PeerId, ctx: &mut Ctx<'_>) -> Vec<FetchOut> {
        self.links.remove(&peer);
        self.stop_holds(|key| key.peer == peer, ctx);
        let mut out = self.peer_left(peer, ctx);
        let concerned = self
            .fetches
            .iter()
            .filter(|(_, f)| f.announced.contains_key(&peer));
        for (from, offer) in concerned.map(|(at, _)| *at).collect::<Vec<_>>() {
            out.extend(self.leave(self.key(from, offer), peer, ctx));
        }
        out
    }

    /// Ends all workers; what is fetched stays.
    pub fn stop(&mut self, ctx: &mut Ctx<'_>) {
        self.probes.clear();
        self.links.clear();
        self.stop_holds(|_| true, ctx);
        for ((from, offer), f) in &mut self.fetches {
            f.announced.clear();
            (f.via, f.link) = (*from, None);
            f.swarm = None;
            if let State::Accepted | State::Fetching | State::Stalled = f.state {
                let key = FetchKey {
                    room: self.room,
                    from: *from,
                    offer: *offer,
                };
                ctx.out(Effect::Fetch(
                    key,
                    f.run,
                    FetchEffect::Stop { discard: false },
                ));
                f.state = State::Offered;
            }
            if let State::Reading { .. } = f.state {
                f.shrink();
                f.state = State::Offered;
            }
            if f.state == State::Queued {
                f.state = State::Offered;
            }
            f.hold = Hold::default();
        }
    }

    /// Says what we have, then accepts, over the link that announces the offer.
    fn attach(&mut self, key: FetchKey, ctx: &mut Ctx<'_>) -> Vec<FetchOut> {
        let Some(f) = self.fetches.get_mut(&(key.from, key.offer)) else {
            return Vec::new();
        };
        let Some(link) = f.link else {
            return Vec::new();
        };
        self.transfers = self.transfers.wrapping_add(1);
        let transfer = self.transfers;
        f.state = State::Fetching;
        f.transfer = transfer;
        f.patience.begin(ctx.now.mono);
        let root = f.root_for(key);
        f.hold.unsaid();
        if let Some(swarm) = &mut f.swarm {
            swarm.detached();
        }
        ctx.out(Effect::Fetch(
            key,
            f.run,
            FetchEffect::Attach {
                link,
                transfer,
                root,
            },
        ));
        let mut out = f.verified(key);
        for (entry, ranges) in &f.durable {
            for ranges in ranges.split(limits::MAX_RANGES) {
                let have = PeerMessage::Have {
                    offer_id: key.offer,
                    transfer,
                    entry: *entry,
                    ranges,
                };
                out.push(FetchOut::Send(f.via, have));
            }
        }
        let accept = PeerMessage::Accept {
            offer_id: key.offer,
            transfer,
        };
        out.push(FetchOut::Send(f.via, accept));
        out.push(FetchOut::Changed(key.from, key.offer));
        out
    }

    fn fail(&mut self, key: FetchKey, code: Code, ctx: &mut Ctx<'_>) -> Vec<FetchOut> {
        if hold::is_refusal(code) {
            let missing = None;
            return self.refuse(key, Refusal { code, missing }, ctx);
        }
        let Some(f) = self.fetches.get_mut(&(key.from, key.offer)) else {
            return Vec::new();
        };
        let blamed = matches!(code, Code::Corrupt | Code::HashMismatch);
        if blamed && f.via != key.from {
            return self.spurn(key, code, ctx);
        }
        ctx.out(Effect::Fetch(
            key,
            f.run,
            FetchEffect::Stop { discard: false },
        ));
        f.state = State::Failed(code);
        tracing::warn!(offer = %key.offer, code = code.name(), "fetch failed");
        let cancel = PeerMessage::Cancel {
            offer_id: key.offer,
            why: code,
        };
        vec![
            FetchOut::Send(f.via, cancel),
            FetchOut::Changed(key.from, key.offer),
        ]
    }
}

impl Fetch {
    fn new(
        (name, note, count, total): (String, Option<String>, u32, u64),
        (from, link): (PeerId, Option<LinkId>),
    ) -> Self {
        Fetch {
            name,
            note,
            count,
            total,
            entries: Vec::new(),
            weight: 0,
            pages_due: limits::PAGES_AHEAD,
            state: State::Seen,
            via: from,
            link,
            announced: link.map(|link| (from, link)).into_iter().collect(),
            by: from,
            voucher: None,
            gone: None,
            patience: patience::Patience::default(),
            spurned: BTreeSet::new(),
            hearsay: BTreeMap::new(),
            declined: None,
            looked_at: false,
            run: 0,
            hold: Hold::default(),
            record: None,
            durable: BTreeMap::new(),
            synced: BTreeMap::new(),
            done: BTreeMap::new(),
            done_size: 0,
            transfer: 0,
            strikes: 0,
            mismatches: 0,
            swarm: None,
            traffic: Traffic::default(),
            at: 0,
        }
    }

    /// One that was taken in an earlier life of the process.
    fn restored(saved: &SavedFetch) -> Option<Self> {
        let record = &saved.record;
        let count = u32::try_from(record.entries.len()).ok()?;
        let total = crate::offer::total(&record.entries)?;
        let mut f = Fetch {
            entries: record.entries.to_vec(),
            weight: record.entries.iter().map(crate::offer::weight).sum(),
            state: State::Queued,
            voucher: record.voucher.clone(),
            hold: Hold::of(record.hold),
            durable: saved.ranges.iter().cloned().collect(),
            done: saved.done.iter().cloned().collect(),
            record: Some(Arc::new(record.clone())),
            ..Fetch::new(
                (record.name.clone(), None, count, total),
                (record.key.from, None),
            )
        };
        f.measure();
        Some(f)
    }

    fn can(&self) -> Vec<OfferAction> {
        let manifest = self.has_manifest();
        match self.state {
            State::Seen => vec![OfferAction::Decline],
            State::Offered => vec![OfferAction::Accept, OfferAction::Decline],
            State::Reading { .. }
            | State::Queued
            | State::Accepted
            | State::Fetching
            | State::Stalled => self.taken_can(),
            State::Failed(_) if manifest => vec![OfferAction::Accept, OfferAction::Decline],
            State::Declined => vec![OfferAction::Accept],
            State::Failed(_) | State::Done | State::Withdrawn(_) => Vec::new(),
        }
    }

    fn has_manifest(&self) -> bool {
        self.entries.len() == self.count as usize
    }

    /// Whether it counts against what one peer may have open.
    fn is_open(&self) -> bool {
        match self.state {
            State::Seen
            | State::Offered
            | State::Reading { .. }
            | State::Queued
            | State::Accepted
            | State::Fetching
            | State::Stalled => true,
            State::Done | State::Failed(_) | State::Declined | State::Withdrawn(_) => false,
        }
    }

    /// Some of its chunks were left by another fetch, or come from somebody who passes it on, and are not
    /// checked.
    fn is_adopted(&self, entry: u32) -> bool {
        let record = self.record.as_ref();
        self.hearsay.contains_key(&entry) || record.is_some_and(|r| r.adopted.contains(&entry))
    }

    fn measure(&mut self) {
        let size = |e: &u32| self.entries.get(*e as usize).map_or(0, |e| e.size);
        self.done_size = self.done.keys().map(size).sum();
    }

    /// Nothing of it is here any more.
    fn forget_progress(&mut self) {
        self.durable.clear();
        self.synced.clear();
        self.done.clear();
        self.measure();
    }

    /// Removes what is unfinished and has no worker.
    fn discard(&self, key: FetchKey, ctx: &mut Ctx<'_>) {
        if let Some(record) = &self.record {
            let effect = FetchEffect::Discard {
                record: Arc::clone(record),
                begun: self.durable.keys().copied().collect(),
            };
            ctx.out(Effect::Fetch(key, self.run, effect));
        }
    }

    fn is_complete(&self) -> bool {
        self.done.len() == self.count as usize
    }

    fn complete(&mut self, key: FetchKey, ctx: &mut Ctx<'_>) -> Vec<FetchOut> {
        self.state = State::Done;
        self.hold.refused = None;
        if let Some(swarm) = &mut self.swarm {
            swarm.sources.clear();
        }
        ctx.out(Effect::Fetch(
            key,
            self.run,
            FetchEffect::Stop { discard: false },
        ));
        let mut out = vec![FetchOut::Changed(key.from, key.offer)];
        if self.link.is_some() {
            out.extend(self.verified(key));
            out.push(say_done(self.via, key.offer));
        }
        out
    }

    fn verified(&self, key: FetchKey) -> Vec<FetchOut> {
        let mut all = RangeSet::new();
        for entry in self.done.keys() {
            all.insert(u64::from(*entry), u64::from(*entry) + 1);
        }
        say_verified(key, (self.via, self.transfer), &all)
    }

    fn done_bytes(&self) -> u64 {
        let size = |e: u32| self.entries.get(e as usize).map_or(0, |e| e.size);
        let durable = self.durable.iter().map(|(e, r)| bytes_of(size(*e), r));
        self.done_size + durable.sum::<u64>()
    }
}

/// Tells somebody that we have everything.
fn say_done(to: PeerId, offer_id: OfferId) -> FetchOut {
    FetchOut::Send(to, PeerMessage::OfferDone { offer_id })
}

/// Tells the sender which entries are complete.
fn say_verified(key: FetchKey, (to, transfer): (PeerId, u32), entries: &RangeSet) -> Vec<FetchOut> {
    let message = |entries| {
        let message = PeerMessage::Verified {
            offer_id: key.offer,
            transfer,
            entries,
        };
        FetchOut::Send(to, message)
    };
    entries.split(limits::MAX_RANGES).map(message).collect()
}

#[cfg(test)]
mod tests;
