//! Others' offers and our fetching of them.
//!
//! ```text
//! Seen → Offered → Accepted → Fetching ⇄ Stalled → Done
//!            └→ Declined          └→ Failed, Withdrawn → Offered (when announced again)
//! ```
//! Nothing is acknowledged before the store has recorded it, and nothing is recorded before the
//! disk has it: what a sender was told is durable is durable.

use std::collections::BTreeMap;
use std::sync::Arc;

use kith_api::{ApiError, FetchPhase, OfferAction, OfferView, Traffic};
use kith_protocol::peer::{Entry, PeerMessage};
use kith_protocol::ranges::RangeSet;
use kith_protocol::{Code, LinkId, OfferId, PeerId, RoomId, frame, limits};

use crate::effect::{Effect, FetchEffect};
use crate::engine::Ctx;
use crate::input::{FetchNews, JobId};
use crate::offer;
use crate::record::{FetchKey, FetchRecord, Put, SavedFetch};
use crate::serve::bytes_of;

/// Bad checksums in a row that end a fetch.
pub const STRIKES: u32 = 3;
/// Wrong whole-file hashes that end a fetch.
pub const MISMATCHES: u32 = 2;
/// Offers of one peer that are remembered, those that ended included.
pub const MAX_KNOWN: usize = 1024;
/// Memory that the manifests of one peer may take, in bytes, about.
pub const MAX_MANIFESTS: usize = 256 << 20;

/// Others' offers in one room.
#[derive(Debug)]
pub struct Fetches {
    room: RoomId,
    fetches: BTreeMap<(PeerId, OfferId), Fetch>,
    saved: BTreeMap<(PeerId, OfferId), SavedFetch>,
    jobs: BTreeMap<JobId, (FetchKey, After)>,
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
    /// Pages that still come without being asked for.
    pages_due: usize,
    state: State,
    /// The link over which the sender announces it now.
    link: Option<LinkId>,
    run: u32,
    record: Option<Arc<FetchRecord>>,
    /// Chunks on disk and recorded, of entries that are not complete.
    durable: BTreeMap<u32, RangeSet>,
    /// Chunks on disk; their record may still be on its way.
    synced: BTreeMap<u32, RangeSet>,
    done: BTreeMap<u32, String>,
    /// Bytes of the entries in `done`.
    done_size: u64,
    strikes: u32,
    mismatches: u32,
    traffic: Traffic,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Seen,
    Offered,
    /// The disk is being prepared and the record stored.
    Accepted,
    Fetching {
        transfer: u32,
    },
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
        entry: u32,
        name: String,
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
}

impl Fetches {
    /// Restores accepted fetches; they go on when they are accepted again.
    pub fn new(room: RoomId, saved: &[SavedFetch]) -> Self {
        let mine = saved.iter().filter(|s| s.record.key.room == room);
        let saved = mine
            .map(|s| ((s.record.key.from, s.record.key.offer), s.clone()))
            .collect();
        Fetches {
            room,
            fetches: BTreeMap::new(),
            saved,
            jobs: BTreeMap::new(),
            transfers: 0,
            runs: 0,
        }
    }

    /// Takes an offer, into `dir`.
    pub fn accept(
        &mut self,
        key: FetchKey,
        dir: String,
        ctx: &mut Ctx<'_>,
    ) -> Result<Vec<FetchOut>, ApiError> {
        let at = (key.from, key.offer);
        let Some(f) = self.fetches.get_mut(&at) else {
            return Err(ApiError::new(Code::NotNow));
        };
        if !f.can().contains(&OfferAction::Accept) {
            return Err(ApiError::new(Code::NotNow));
        }
        self.runs = self.runs.wrapping_add(1);
        f.run = self.runs;
        let saved = self
            .saved
            .get(&at)
            .filter(|s| s.record.dir == dir && s.record.entries == f.entries);
        let record = match (&f.record, saved) {
            (Some(r), _) if r.dir == dir => Arc::clone(r),
            (_, Some(s)) => {
                f.durable = s.ranges.iter().cloned().collect();
                f.done = s.done.iter().cloned().collect();
                Arc::new(s.record.clone())
            }
            (_, None) => {
                f.durable.clear();
                f.done.clear();
                let tag = ctx
                    .random::<8>()
                    .iter()
                    .map(|b| format!("{b:02x}"))
                    .collect();
                let (name, entries) = (f.name.clone(), f.entries.clone());
                Arc::new(FetchRecord {
                    key,
                    dir,
                    tag,
                    name,
                    entries,
                    roots: Vec::new(),
                })
            }
        };
        f.measure();
        f.record = Some(Arc::clone(&record));
        f.state = State::Accepted;
        f.strikes = 0;
        f.mismatches = 0;
        let (ranges, done) = (f.durable.clone(), f.done.clone());
        let effect = FetchEffect::Prepare {
            record,
            ranges,
            done,
        };
        ctx.out(Effect::Fetch(key, f.run, effect));
        Ok(vec![FetchOut::Changed(key.from, key.offer)])
    }

    /// Refuses an offer, or ends its fetch and removes what is unfinished.
    pub fn decline(&mut self, key: FetchKey, ctx: &mut Ctx<'_>) -> Result<Vec<FetchOut>, ApiError> {
        let at = (key.from, key.offer);
        let Some(f) = self.fetches.get_mut(&at) else {
            return Err(ApiError::new(Code::NotNow));
        };
        let can = f.can();
        if !can.contains(&OfferAction::Decline) && !can.contains(&OfferAction::Cancel) {
            return Err(ApiError::new(Code::NotNow));
        }
        let message = if f.record.is_some() {
            ctx.out(Effect::Fetch(
                key,
                f.run,
                FetchEffect::Stop { discard: true },
            ));
            PeerMessage::Cancel {
                offer_id: key.offer,
                why: Code::Cancelled,
            }
        } else {
            PeerMessage::Decline {
                offer_id: key.offer,
                why: Code::Declined,
            }
        };
        f.state = State::Declined;
        f.record = None;
        f.durable.clear();
        f.synced.clear();
        f.done.clear();
        f.measure();
        self.saved.remove(&at);
        self.store(key, vec![Put::DropFetch(key)], After::Nothing, ctx);
        Ok(vec![
            FetchOut::Send(key.from, message),
            FetchOut::Changed(key.from, key.offer),
        ])
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
            } => self.on_entries(peer, offer_id, first, entries),
            PeerMessage::EntryDone {
                offer_id,
                entry,
                sha256,
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
                if let (State::Fetching { .. }, true) = (f.state, known) {
                    ctx.out(Effect::Fetch(
                        key,
                        f.run,
                        FetchEffect::Expect { entry, sha256 },
                    ));
                }
                Vec::new()
            }
            PeerMessage::Gone { offer_id, why } => {
                let key = FetchKey {
                    room: self.room,
                    from: peer,
                    offer: offer_id,
                };
                let Some(f) = self.fetches.get_mut(&(peer, offer_id)) else {
                    return Vec::new();
                };
                f.link = None;
                match f.state {
                    State::Done | State::Declined | State::Failed(_) => return Vec::new(),
                    State::Accepted | State::Fetching { .. } | State::Stalled => {
                        ctx.out(Effect::Fetch(
                            key,
                            f.run,
                            FetchEffect::Stop { discard: false },
                        ));
                    }
                    State::Seen | State::Offered | State::Withdrawn(_) => {}
                }
                f.state = State::Withdrawn(why);
                vec![FetchOut::Changed(peer, offer_id)]
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
            | PeerMessage::Bye { .. }
            | PeerMessage::Unknown => Vec::new(),
        }
    }

    /// The link is gone.
    pub fn on_closed(&mut self, peer: PeerId) -> Vec<FetchOut> {
        let mut out = Vec::new();
        for ((from, offer), f) in &mut self.fetches {
            if *from != peer {
                continue;
            }
            f.link = None;
            if let State::Fetching { .. } = f.state {
                f.state = State::Stalled;
            }
            out.push(FetchOut::Changed(*from, *offer));
        }
        out
    }

    /// News of a worker.
    pub fn handle(
        &mut self,
        key: FetchKey,
        run: u32,
        news: FetchNews,
        ctx: &mut Ctx<'_>,
    ) -> Vec<FetchOut> {
        let Some(f) = self.fetches.get_mut(&(key.from, key.offer)) else {
            return Vec::new();
        };
        let active = matches!(
            f.state,
            State::Accepted | State::Fetching { .. } | State::Stalled
        );
        if f.run != run || !active {
            return Vec::new();
        }
        let changed = FetchOut::Changed(key.from, key.offer);
        match news {
            FetchNews::Prepared { roots, lost } => {
                for entry in lost {
                    f.durable.remove(&entry);
                    f.done.remove(&entry);
                }
                f.measure();
                let Some(record) = &mut f.record else {
                    return Vec::new();
                };
                Arc::make_mut(record).roots = roots;
                // The record starts over, so that nothing stale stands beside it.
                let mut puts = vec![Put::DropFetch(key), Put::Fetch((**record).clone())];
                let ranges = f
                    .durable
                    .iter()
                    .map(|(e, r)| Put::Ranges(key, *e, r.clone()));
                puts.extend(ranges);
                puts.extend(
                    f.done
                        .iter()
                        .map(|(e, n)| Put::EntryDone(key, *e, n.clone())),
                );
                f.synced = f.durable.clone();
                f.traffic.resumed = f.done_bytes();
                self.store(key, puts, After::Begin { run }, ctx);
                vec![changed]
            }
            FetchNews::Durable { entry, ranges } => {
                f.strikes = 0;
                let all = f.synced.entry(entry).or_default();
                all.union(&ranges);
                let all = all.clone();
                let after = After::Acknowledge { run, entry, ranges };
                self.store(key, vec![Put::Ranges(key, entry, all)], after, ctx);
                Vec::new()
            }
            FetchNews::Received { bytes, durable } => {
                f.traffic.received += bytes;
                f.traffic.received_durable += durable;
                vec![changed]
            }
            FetchNews::Corrupt { entry, index } => {
                f.strikes += 1;
                if f.strikes >= STRIKES {
                    return self.fail(key, Code::Corrupt, ctx);
                }
                let mut ranges = RangeSet::new();
                ranges.insert(index, index.saturating_add(1));
                vec![FetchOut::Send(
                    key.from,
                    PeerMessage::Want {
                        offer_id: key.offer,
                        entry,
                        ranges,
                    },
                )]
            }
            FetchNews::Finished { entry, name } => {
                f.strikes = 0;
                let puts = vec![Put::EntryDone(key, entry, name.clone())];
                self.store(key, puts, After::Complete { run, entry, name }, ctx);
                Vec::new()
            }
            FetchNews::Mismatch { entry } => {
                f.mismatches += 1;
                f.durable.remove(&entry);
                f.synced.remove(&entry);
                // Records of the entry that are still on their way speak of chunks that are gone.
                for (of, after) in self.jobs.values_mut() {
                    match after {
                        After::Acknowledge { entry: e, .. } if (*of, *e) == (key, entry) => {
                            *after = After::Nothing;
                        }
                        After::Acknowledge { .. }
                        | After::Begin { .. }
                        | After::Complete { .. }
                        | After::Nothing => {}
                    }
                }
                let again = f.mismatches < MISMATCHES;
                let size = f.entries.get(entry as usize).map_or(0, |e| e.size);
                self.store(
                    key,
                    vec![Put::Ranges(key, entry, RangeSet::new())],
                    After::Nothing,
                    ctx,
                );
                if !again {
                    return self.fail(key, Code::HashMismatch, ctx);
                }
                let ranges = RangeSet::full(frame::chunks(size));
                let want = PeerMessage::Want {
                    offer_id: key.offer,
                    entry,
                    ranges,
                };
                vec![FetchOut::Send(key.from, want), changed]
            }
            FetchNews::Failed(code) => self.fail(key, code, ctx),
        }
    }

    /// Whether `job` is one of ours.
    pub fn owns(&self, job: JobId) -> bool {
        self.jobs.contains_key(&job)
    }

    /// A store job of ours is durable.
    pub fn on_stored(&mut self, job: JobId, ctx: &mut Ctx<'_>) -> Vec<FetchOut> {
        let Some((key, after)) = self.jobs.remove(&job) else {
            return Vec::new();
        };
        let Some(f) = self.fetches.get_mut(&(key.from, key.offer)) else {
            return Vec::new();
        };
        let changed = FetchOut::Changed(key.from, key.offer);
        match after {
            After::Nothing => Vec::new(),
            After::Begin { run } if f.run == run && f.state == State::Accepted => {
                f.state = State::Stalled;
                let mut out = vec![changed];
                if f.is_complete() {
                    out.extend(f.complete(key, ctx));
                } else {
                    out.extend(self.attach(key, ctx));
                }
                out
            }
            After::Acknowledge { run, entry, ranges } if f.run == run => {
                // The entry may have been completed or voided while the record was written.
                if f.synced.contains_key(&entry) {
                    f.durable.entry(entry).or_default().union(&ranges);
                }
                let mut out = vec![changed];
                if let State::Fetching { transfer } = f.state {
                    let ack = |ranges| FetchOut::Ack {
                        peer: key.from,
                        transfer,
                        entry,
                        ranges,
                    };
                    out.extend(ranges.split(limits::MAX_RANGES).map(ack));
                }
                out
            }
            // A fetch that was cancelled meanwhile has no record, and its files are nobody's.
            After::Complete { run, entry, name } if f.run == run && f.record.is_some() => {
                f.durable.remove(&entry);
                f.synced.remove(&entry);
                let size = f.entries.get(entry as usize).map_or(0, |e| e.size);
                if f.done.insert(entry, name).is_none() {
                    f.done_size += size;
                }
                let mut out = vec![changed];
                if f.link.is_some() {
                    let mut entries = RangeSet::new();
                    entries.insert(entry.into(), u64::from(entry) + 1);
                    let message = PeerMessage::Verified {
                        offer_id: key.offer,
                        entries,
                    };
                    out.push(FetchOut::Send(key.from, message));
                }
                if f.is_complete() {
                    out.extend(f.complete(key, ctx));
                }
                out
            }
            After::Begin { .. } | After::Acknowledge { .. } | After::Complete { .. } => Vec::new(),
        }
    }

    /// A store job of ours failed.
    pub fn on_store_failed(&mut self, job: JobId, code: Code, ctx: &mut Ctx<'_>) -> Vec<FetchOut> {
        let Some((key, after)) = self.jobs.remove(&job) else {
            return Vec::new();
        };
        match after {
            After::Nothing => Vec::new(),
            After::Begin { run } | After::Acknowledge { run, .. } | After::Complete { run, .. } => {
                let fetch = self.fetches.get_mut(&(key.from, key.offer));
                if fetch.is_none_or(|f| f.run != run) {
                    return Vec::new();
                };
                self.fail(key, code, ctx)
            }
        }
    }

    /// Ends all workers; what is fetched stays.
    pub fn stop(&mut self, ctx: &mut Ctx<'_>) {
        for ((from, offer), f) in &mut self.fetches {
            f.link = None;
            if let State::Accepted | State::Fetching { .. } | State::Stalled = f.state {
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
        }
    }

    /// All offers.
    pub fn ids(&self) -> Vec<(PeerId, OfferId)> {
        self.fetches.keys().copied().collect()
    }

    /// One offer as front ends see it.
    pub fn view(&self, from: PeerId, id: OfferId) -> Option<OfferView> {
        let f = self.fetches.get(&(from, id))?;
        let (phase, why) = match f.state {
            State::Seen => (FetchPhase::Seen, None),
            State::Offered => (FetchPhase::Offered, None),
            State::Accepted => (FetchPhase::Accepted, None),
            State::Fetching { .. } => (FetchPhase::Fetching, None),
            State::Stalled => (FetchPhase::Stalled, None),
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
            name: f.name.clone(),
            note: f.note.clone(),
            entries: f.count,
            preview: offer::preview(&f.entries),
            total: f.total,
            phase,
            done: f.done_bytes(),
            dir: f.record.as_ref().map(|r| r.dir.clone()),
            why,
            receivers: Vec::new(),
            traffic: f.traffic,
            can: f.can(),
        })
    }

    fn on_offer(
        &mut self,
        peer: PeerId,
        link: LinkId,
        id: OfferId,
        (name, note, count, total): (String, Option<String>, u32, u64),
        ctx: &mut Ctx<'_>,
    ) -> Vec<FetchOut> {
        let key = FetchKey {
            room: self.room,
            from: peer,
            offer: id,
        };
        let Some(f) = self.fetches.get_mut(&(peer, id)) else {
            let of_peer = || self.fetches.iter().filter(|((p, _), _)| *p == peer);
            let open = of_peer().filter(|(_, f)| f.is_open()).count();
            if open >= limits::MAX_OFFERS || of_peer().count() >= MAX_KNOWN {
                let why = Code::TooManyOffers;
                return vec![FetchOut::Send(
                    peer,
                    PeerMessage::Decline { offer_id: id, why },
                )];
            }
            let f = Fetch::new(name, note, count, total, link);
            self.fetches.insert((peer, id), f);
            return vec![FetchOut::Changed(peer, id)];
        };
        if f.count != count || f.total != total {
            // An id names one manifest for ever; another under the same id is not looked at.
            return Vec::new();
        }
        f.link = Some(link);
        let mut out = vec![FetchOut::Changed(peer, id)];
        match f.state {
            State::Withdrawn(_) | State::Failed(_) if f.has_manifest() => f.state = State::Offered,
            State::Seen | State::Withdrawn(_) | State::Failed(_) => {
                f.forget_manifest();
                f.state = State::Seen;
            }
            State::Stalled | State::Fetching { .. } => out.extend(self.attach(key, ctx)),
            State::Done => {
                out.extend(f.verified(key));
                let message = PeerMessage::OfferDone { offer_id: id };
                out.push(FetchOut::Send(peer, message));
            }
            State::Declined => {
                let message = PeerMessage::Decline {
                    offer_id: id,
                    why: Code::Declined,
                };
                out.push(FetchOut::Send(peer, message));
            }
            State::Offered | State::Accepted => {}
        }
        out
    }

    fn on_entries(
        &mut self,
        peer: PeerId,
        id: OfferId,
        first: u32,
        entries: Vec<Entry>,
    ) -> Vec<FetchOut> {
        let of_peer = self.fetches.iter().filter(|((p, _), _)| *p == peer);
        let held: usize = of_peer.map(|(_, f)| f.weight).sum();
        let Some(f) = self.fetches.get_mut(&(peer, id)) else {
            return Vec::new();
        };
        let fits = f.entries.len() + entries.len() <= f.count as usize;
        if f.state != State::Seen || first as usize != f.entries.len() || !fits {
            return Vec::new();
        }
        let weight: usize = entries.iter().map(offer::weight).sum();
        if held.saturating_add(weight) > MAX_MANIFESTS {
            f.forget_manifest();
            f.state = State::Failed(Code::TooLarge);
            let why = Code::TooManyOffers;
            let decline = PeerMessage::Decline { offer_id: id, why };
            return vec![FetchOut::Send(peer, decline), FetchOut::Changed(peer, id)];
        }
        f.weight += weight;
        let shown = f.entries.len() < offer::PREVIEW;
        f.entries.extend(entries);
        let have = f.entries.len() as u32;
        if have < f.count {
            let mut out = Vec::new();
            f.pages_due = f.pages_due.saturating_sub(1);
            if f.pages_due == 0 {
                f.pages_due = limits::PAGES_AHEAD;
                let browse = PeerMessage::Browse {
                    offer_id: id,
                    first: have,
                };
                out.push(FetchOut::Send(peer, browse));
            }
            if shown {
                out.push(FetchOut::Changed(peer, id));
            }
            return out;
        }
        f.state = if offer::total(&f.entries) == Some(f.total) {
            State::Offered
        } else {
            f.forget_manifest();
            State::Failed(Code::PeerProtocol)
        };
        vec![FetchOut::Changed(peer, id)]
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
        f.state = State::Fetching { transfer };
        ctx.out(Effect::Fetch(
            key,
            f.run,
            FetchEffect::Attach { link, transfer },
        ));
        let mut out = f.verified(key);
        for (entry, ranges) in &f.durable {
            for ranges in ranges.split(limits::MAX_RANGES) {
                let have = PeerMessage::Have {
                    offer_id: key.offer,
                    entry: *entry,
                    ranges,
                };
                out.push(FetchOut::Send(key.from, have));
            }
        }
        let accept = PeerMessage::Accept {
            offer_id: key.offer,
            transfer,
        };
        out.push(FetchOut::Send(key.from, accept));
        out.push(FetchOut::Changed(key.from, key.offer));
        out
    }

    fn fail(&mut self, key: FetchKey, code: Code, ctx: &mut Ctx<'_>) -> Vec<FetchOut> {
        let Some(f) = self.fetches.get_mut(&(key.from, key.offer)) else {
            return Vec::new();
        };
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
            FetchOut::Send(key.from, cancel),
            FetchOut::Changed(key.from, key.offer),
        ]
    }

    fn store(&mut self, key: FetchKey, puts: Vec<Put>, after: After, ctx: &mut Ctx<'_>) {
        let job = ctx.job();
        ctx.out(Effect::Store(job, puts));
        self.jobs.insert(job, (key, after));
    }
}

impl Fetch {
    fn new(name: String, note: Option<String>, count: u32, total: u64, link: LinkId) -> Self {
        Fetch {
            name,
            note,
            count,
            total,
            entries: Vec::new(),
            weight: 0,
            pages_due: limits::PAGES_AHEAD,
            state: State::Seen,
            link: Some(link),
            run: 0,
            record: None,
            durable: BTreeMap::new(),
            synced: BTreeMap::new(),
            done: BTreeMap::new(),
            done_size: 0,
            strikes: 0,
            mismatches: 0,
            traffic: Traffic::default(),
        }
    }

    fn can(&self) -> Vec<OfferAction> {
        let manifest = self.has_manifest();
        match self.state {
            State::Seen => vec![OfferAction::Decline],
            State::Offered => vec![OfferAction::Accept, OfferAction::Decline],
            State::Accepted | State::Fetching { .. } | State::Stalled => vec![OfferAction::Cancel],
            State::Failed(_) if manifest => vec![OfferAction::Accept, OfferAction::Decline],
            State::Declined if manifest => vec![OfferAction::Accept],
            State::Failed(_) | State::Declined | State::Done | State::Withdrawn(_) => Vec::new(),
        }
    }

    fn has_manifest(&self) -> bool {
        self.entries.len() == self.count as usize
    }

    fn forget_manifest(&mut self) {
        self.entries = Vec::new();
        self.weight = 0;
        self.pages_due = limits::PAGES_AHEAD;
    }

    /// Whether it counts against what one peer may have open.
    fn is_open(&self) -> bool {
        match self.state {
            State::Seen
            | State::Offered
            | State::Accepted
            | State::Fetching { .. }
            | State::Stalled => true,
            State::Done | State::Failed(_) | State::Declined | State::Withdrawn(_) => false,
        }
    }

    fn measure(&mut self) {
        let size = |e: &u32| self.entries.get(*e as usize).map_or(0, |e| e.size);
        self.done_size = self.done.keys().map(size).sum();
    }

    fn is_complete(&self) -> bool {
        self.done.len() == self.count as usize
    }

    fn complete(&mut self, key: FetchKey, ctx: &mut Ctx<'_>) -> Vec<FetchOut> {
        self.state = State::Done;
        ctx.out(Effect::Fetch(
            key,
            self.run,
            FetchEffect::Stop { discard: false },
        ));
        let mut out = vec![FetchOut::Changed(key.from, key.offer)];
        if self.link.is_some() {
            out.extend(self.verified(key));
            let message = PeerMessage::OfferDone {
                offer_id: key.offer,
            };
            out.push(FetchOut::Send(key.from, message));
        }
        out
    }

    fn verified(&self, key: FetchKey) -> Vec<FetchOut> {
        let mut all = RangeSet::new();
        for entry in self.done.keys() {
            all.insert(u64::from(*entry), u64::from(*entry) + 1);
        }
        let message = |entries| {
            let message = PeerMessage::Verified {
                offer_id: key.offer,
                entries,
            };
            FetchOut::Send(key.from, message)
        };
        all.split(limits::MAX_RANGES).map(message).collect()
    }

    fn done_bytes(&self) -> u64 {
        let size = |e: u32| self.entries.get(e as usize).map_or(0, |e| e.size);
        let durable = self.durable.iter().map(|(e, r)| bytes_of(size(*e), r));
        self.done_size + durable.sum::<u64>()
    }
}

#[cfg(test)]
mod tests;
