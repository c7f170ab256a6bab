//! Our offers and how each receiver of them stands.
//!
//! ```text
//! Offered → (Waiting →) Serving ⇄ Stalled → Done    Offered → Declined    Serving → Failed
//! ```
//! An offer is announced on every new link, but not to an app session that declined it. A receiver
//! first says what it has, then accepts; a worker then sends the rest. What the receiver
//! acknowledges is durable there.
//!
//! What we have fetched whole from somebody else is passed on the same way, under its own id, once who
//! offers has vouched for it: see `passing`.

mod hold;
mod offering;
mod passing;
mod progress;
mod spread;
mod strategy;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kith_api::{Strategy, Traffic};
use kith_protocol::ids::Digest;
use kith_protocol::peer::{Entry, PeerMessage};
use kith_protocol::ranges::RangeSet;
use kith_protocol::voucher::Voucher;
use kith_protocol::{Code, LinkId, OfferId, PeerId, RoomId, frame, limits};

use crate::effect::{Effect, ServeEffect};
use crate::engine::Ctx;
use crate::input::ServeKey;
use crate::offer;
use crate::record::Passed;
use crate::time::Mono;
use hold::{Hold, Why};
use spread::Spread;

pub(crate) use spread::{PIECE, UNDER_WAY, first_chunks, subtract};

/// Ranges that one receiver may say it has of one offer; what is beyond them is sent again.
const MAX_DECLARED: usize = 65_536;
/// How often the whole manifest may go out over one link, about. Once is enough, unless the user
/// there takes the offer, thinks better of it and takes it again.
const MANIFESTS_PER_LINK: usize = 8;

/// A receiver may have us start over so often at once …
pub const STARTS_MOST: u32 = 16;
/// … and again after each of these: every start opens files and takes a thread.
pub const START_EVERY: Duration = Duration::from_secs(2);

/// Our offers in one room.
#[derive(Debug)]
pub struct Serves {
    room: RoomId,
    me: PeerId,
    offers: BTreeMap<OfferId, Offer>,
    /// The app session in which each peer was met last, by its certificate.
    met: BTreeMap<PeerId, Digest>,
    runs: u32,
}

#[derive(Debug)]
struct Offer {
    name: String,
    note: Option<String>,
    entries: Arc<[Entry]>,
    total: u64,
    /// Empty: everybody.
    to: BTreeSet<PeerId>,
    /// No longer on offer, for this reason.
    withdrawn: Option<Code>,
    /// Held back from all, those who come later too.
    paused: bool,
    /// Bytes per second, all receivers together.
    cap: Option<u64>,
    /// Where its files are, where it outlives the process.
    paths: Vec<String>,
    /// Receivers that an earlier process held it back from.
    held: BTreeSet<PeerId>,
    /// As the user has chosen, and as it is done while anybody is served.
    chosen: Option<Strategy>,
    mode: strategy::Mode,
    /// Somebody else's, which we pass on.
    passed: Option<Passed>,
    /// What receivers need to pass it on.
    word: Word,
    /// Who is linked with us and was told of the offer.
    met: BTreeSet<PeerId>,
    /// When it was made, milliseconds since 1970.
    at: u64,
    receivers: BTreeMap<PeerId, Receiver>,
}

/// Our word on what the files of an offer hash to.
#[derive(Debug, Default)]
enum Word {
    #[default]
    Ungiven,
    /// They are being hashed.
    Asked,
    Given(Box<Voucher>),
}

#[derive(Debug)]
struct Receiver {
    state: State,
    /// Chunks that are durable there, of entries that are not yet verified.
    durable: BTreeMap<u32, RangeSet>,
    /// Entries that are complete there, and their bytes.
    verified: RangeSet,
    verified_bytes: u64,
    /// What the receiver said over this link that it has; the whole truth once it accepts.
    declared: Declared,
    hold: Hold,
    /// It is not heard: nobody knows whether what was sent last arrives.
    silent: bool,
    /// Why the receiver was told that it is gone. Until it is announced again, what the receiver
    /// says was said before it knew.
    gone: Option<Code>,
    /// Entries of the manifest that went out over this link, each as often as it did.
    paged: usize,
    /// Chunks this process has sent, of entries that are not yet verified.
    sent: BTreeMap<u32, RangeSet>,
    traffic: Traffic,
    /// Starts that it may still have, as of when.
    starts_left: u32,
    starts_at: Mono,
}

#[derive(Debug, Default)]
struct Declared {
    /// For which transfer.
    transfer: u32,
    have: BTreeMap<u32, RangeSet>,
    verified: RangeSet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Offered,
    /// Others are served first; those of lower numbers before this one.
    Waiting {
        link: LinkId,
        transfer: u32,
        number: u32,
    },
    Serving {
        link: LinkId,
        transfer: u32,
        run: u32,
    },
    Stalled,
    Done,
    Declined(Code),
    Failed(Code),
}

/// What the serves tell their room.
#[derive(Debug, PartialEq, Eq)]
pub enum ServeOut {
    /// Send to the peer.
    Send(PeerId, PeerMessage),
    /// The offer's view may have changed.
    Changed(OfferId),
    /// Somebody's offer is passed on no longer.
    KeptBack(PeerId, OfferId),
}

impl Serves {
    /// No offers yet.
    pub fn new(room: RoomId, me: PeerId) -> Self {
        Serves {
            room,
            me,
            offers: BTreeMap::new(),
            met: BTreeMap::new(),
            runs: 0,
        }
    }

    /// A link is open to the app session of `peer` that has the certificate `fp`.
    pub fn on_open(&mut self, peer: PeerId, fp: Digest) -> Vec<ServeOut> {
        if self.met.insert(peer, fp) != Some(fp) {
            // It knows no offer of before, and its user may have thought better of a refusal while
            // we could not be told.
            self.forget_refusals(peer);
        }
        let ids: Vec<OfferId> = self.offers.keys().copied().collect();
        ids.into_iter()
            .flat_map(|id| self.announce(id, peer))
            .collect()
    }

    /// The link is gone.
    pub fn on_closed(&mut self, peer: PeerId, ctx: &mut Ctx<'_>) -> Vec<ServeOut> {
        let room = self.room;
        let mut out = Vec::new();
        for (id, offer) in &mut self.offers {
            let Some(r) = offer.receivers.get_mut(&peer) else {
                continue;
            };
            if r.unlinked() {
                out.push(ServeOut::Changed(*id));
            }
            if let State::Serving { .. } | State::Waiting { .. } = r.state {
                stop(room, peer, *id, r, ctx);
                r.state = State::Stalled;
                out.push(ServeOut::Changed(*id));
            }
            offer.met.remove(&peer);
            out.extend(offer.left(room, *id, peer, ctx));
        }
        out
    }

    /// A receiver is not heard any more, or is again.
    pub fn on_silent(&mut self, peer: PeerId, silent: bool, ctx: &mut Ctx<'_>) {
        let room = self.room;
        for (id, offer) in &mut self.offers {
            if let Some(r) = offer.receivers.get_mut(&peer) {
                r.silent = silent;
                // Its link may yet go on.
                offer.tell(room, *id, ctx, Spread::look_again);
            }
        }
    }

    /// A message about one of our offers. Messages of the wrong time or size are ignored: the
    /// worst a peer can do here is to get less than it could.
    pub fn on_message(
        &mut self,
        peer: PeerId,
        link: LinkId,
        message: PeerMessage,
        ctx: &mut Ctx<'_>,
    ) -> Vec<ServeOut> {
        match message {
            PeerMessage::Browse { offer_id, first } => {
                let Some((offer, r)) = self.receiver(peer, offer_id) else {
                    return Vec::new();
                };
                // A short question must not cost us megabytes for ever.
                if r.paged >= MANIFESTS_PER_LINK * offer.entries.len() {
                    return Vec::new();
                }
                let pages = offer::pages(offer_id, offer.entries, first);
                r.paged += offer::count_of(&pages);
                pages.into_iter().map(|m| ServeOut::Send(peer, m)).collect()
            }
            PeerMessage::Have {
                offer_id,
                transfer,
                entry,
                ranges,
            } => {
                let Some((offer, r)) = self.receiver(peer, offer_id) else {
                    return Vec::new();
                };
                if r.gone.is_some() || !fits(offer.entries, entry, &ranges) {
                    return Vec::new();
                }
                let have = &mut r.declared_for(transfer).have;
                let known: usize = have.values().map(|r| r.ranges().len()).sum();
                if known < MAX_DECLARED {
                    have.entry(entry).or_default().union(&ranges);
                }
                Vec::new()
            }
            PeerMessage::Verified {
                offer_id,
                transfer,
                entries,
            } => {
                let room = self.room;
                let Some((offer, r)) = self.receiver(peer, offer_id) else {
                    return Vec::new();
                };
                if r.gone.is_some() || entries.end() > offer.entries.len() as u64 {
                    return Vec::new();
                }
                if r.transfer() == Some(transfer) {
                    let arrived = r.verify(&entries, offer.entries);
                    if let State::Serving { run, .. } = r.state
                        && !arrived.is_empty()
                    {
                        let key = ServeKey {
                            room,
                            peer,
                            offer: offer_id,
                        };
                        ctx.out(Effect::Serve(key, run, ServeEffect::Arrived(arrived)));
                    }
                    if let Some(offer) = self.offers.get_mut(&offer_id) {
                        offer.tell(room, offer_id, ctx, |s| s.verified(peer, &entries));
                    }
                    return vec![ServeOut::Changed(offer_id)];
                }
                r.declared_for(transfer).verified.union(&entries);
                Vec::new()
            }
            PeerMessage::Accept { offer_id, transfer } => {
                self.start(peer, link, offer_id, transfer, ctx)
            }
            PeerMessage::Want {
                offer_id,
                entry,
                ranges,
            } => {
                let room = self.room;
                let Some((offer, r)) = self.receiver(peer, offer_id) else {
                    return Vec::new();
                };
                let State::Serving { run, .. } = r.state else {
                    return Vec::new();
                };
                if fits(offer.entries, entry, &ranges) {
                    if let Some(durable) = r.durable.get_mut(&entry) {
                        subtract(durable, &ranges);
                    }
                    if let Some(offer) = self.offers.get_mut(&offer_id) {
                        offer.wanted(room, offer_id, (peer, run), entry, ranges, ctx);
                    }
                    return vec![ServeOut::Changed(offer_id)];
                }
                Vec::new()
            }
            PeerMessage::Pause { offer_id, why } => {
                self.on_held(peer, offer_id, Some(Why::of(why)), ctx)
            }
            PeerMessage::Resume { offer_id } => self.on_held(peer, offer_id, None, ctx),
            PeerMessage::Pace {
                offer_id,
                bytes_per_s,
            } => self.on_pace(peer, offer_id, bytes_per_s, ctx),
            PeerMessage::OfferDone { offer_id } => {
                let mut out = self.finish(peer, offer_id, State::Done, ctx);
                out.extend(self.vouch(peer, offer_id, ctx));
                out
            }
            PeerMessage::Decline { offer_id, why } => {
                self.finish(peer, offer_id, State::Declined(why), ctx)
            }
            PeerMessage::Cancel { offer_id, why } => {
                let meant = matches!(why, Code::Cancelled | Code::Declined);
                let state = if meant {
                    State::Declined(why)
                } else {
                    State::Failed(why)
                };
                self.finish(peer, offer_id, state, ctx)
            }
            PeerMessage::Confirm { .. }
            | PeerMessage::ChatSync { .. }
            | PeerMessage::Chat { .. }
            | PeerMessage::ChatAck { .. }
            | PeerMessage::Offer { .. }
            | PeerMessage::Entries { .. }
            | PeerMessage::Gone { .. }
            | PeerMessage::EntryDone { .. }
            | PeerMessage::Swarm { .. }
            | PeerMessage::Holds { .. }
            | PeerMessage::Pull { .. }
            | PeerMessage::Voucher { .. }
            | PeerMessage::StandIn { .. }
            | PeerMessage::LetGo { .. }
            | PeerMessage::Strand { .. }
            | PeerMessage::Ring { .. }
            | PeerMessage::InCall { .. }
            | PeerMessage::OutOfCall { .. }
            | PeerMessage::Bye { .. }
            | PeerMessage::Unknown => Vec::new(),
        }
    }

    /// Whether we serve it: an offer of ours, or one that we pass on.
    pub fn has(&self, id: OfferId) -> bool {
        self.offers.contains_key(&id)
    }

    /// Ends all workers; receivers may go on over their next links.
    pub fn stop(&mut self, ctx: &mut Ctx<'_>) {
        let room = self.room;
        for (id, offer) in &mut self.offers {
            for (peer, r) in &mut offer.receivers {
                stop(room, *peer, *id, r, ctx);
                r.unlinked();
                if let State::Serving { .. } | State::Waiting { .. } = r.state {
                    r.state = State::Stalled;
                }
            }
            offer.met.clear();
            offer.mode = strategy::Mode::Idle;
        }
    }

    fn start(
        &mut self,
        peer: PeerId,
        link: LinkId,
        id: OfferId,
        transfer: u32,
        ctx: &mut Ctx<'_>,
    ) -> Vec<ServeOut> {
        let room = self.room;
        self.runs = self.runs.wrapping_add(1);
        let run = self.runs;
        let Some((_, r)) = self.receiver(peer, id) else {
            let gone = PeerMessage::Gone {
                offer_id: id,
                why: Code::OfferGone,
            };
            return vec![ServeOut::Send(peer, gone)];
        };
        if let Some(why) = r.gone {
            let gone = PeerMessage::Gone { offer_id: id, why };
            return vec![ServeOut::Send(peer, gone)];
        }
        if !r.may_start(ctx.now.mono) {
            return self.give_up(peer, id, Code::RateLimited, ctx);
        }
        stop(room, peer, id, r, ctx);
        let Some((offer, r)) = self.receiver(peer, id) else {
            return Vec::new();
        };
        // What it had before it may have thrown away since: what it says now counts.
        let declared = std::mem::take(r.declared_for(transfer));
        let (mut have, verified) = (declared.have, declared.verified);
        have.retain(|e, _| !verified.contains(u64::from(*e)));
        (r.durable, r.verified, r.verified_bytes) = (have, RangeSet::new(), 0);
        r.verify(&verified, offer.entries);
        r.hold.unsaid();
        let number = run;
        r.state = State::Waiting {
            link,
            transfer,
            number,
        };
        let Some(offer) = self.offers.get_mut(&id) else {
            return Vec::new();
        };
        let mut out = vec![ServeOut::Changed(id)];
        out.extend(offer.joined(room, id, peer, ctx));
        out
    }

    /// The receiver cannot have it, at least not until it is announced again.
    fn give_up(
        &mut self,
        peer: PeerId,
        id: OfferId,
        why: Code,
        ctx: &mut Ctx<'_>,
    ) -> Vec<ServeOut> {
        let gone = PeerMessage::Gone { offer_id: id, why };
        let mut out = vec![ServeOut::Send(peer, gone)];
        out.extend(self.finish(peer, id, State::Failed(why), ctx));
        if let Some((_, r)) = self.receiver(peer, id) {
            r.gone = Some(why);
        }
        out
    }

    fn finish(
        &mut self,
        peer: PeerId,
        id: OfferId,
        state: State,
        ctx: &mut Ctx<'_>,
    ) -> Vec<ServeOut> {
        let room = self.room;
        let Some((_, r)) = self.receiver(peer, id) else {
            return Vec::new();
        };
        stop(room, peer, id, r, ctx);
        r.state = state;
        r.sent.clear();
        r.durable.clear();
        r.declared = Declared::default();
        let mut out = vec![ServeOut::Changed(id)];
        if let Some(offer) = self.offers.get_mut(&id) {
            out.extend(offer.left(room, id, peer, ctx));
        }
        out
    }

    fn receiver(&mut self, peer: PeerId, id: OfferId) -> Option<(OfferRef<'_>, &mut Receiver)> {
        let offer = self.offers.get_mut(&id).filter(|o| o.withdrawn.is_none())?;
        let r = offer.receivers.get_mut(&peer)?;
        Some((
            OfferRef {
                entries: &offer.entries,
            },
            r,
        ))
    }
}

/// The part of an offer that its receivers' handling reads.
struct OfferRef<'a> {
    entries: &'a Arc<[Entry]>,
}

impl Receiver {
    fn new() -> Self {
        Receiver {
            state: State::Offered,
            durable: BTreeMap::new(),
            verified: RangeSet::new(),
            verified_bytes: 0,
            declared: Declared::default(),
            hold: Hold::default(),
            gone: None,
            paged: 0,
            silent: false,
            sent: BTreeMap::new(),
            traffic: Traffic::default(),
            starts_left: STARTS_MOST,
            starts_at: Mono::default(),
        }
    }

    /// The transfer that it has accepted, while it is served or waits for its turn.
    fn transfer(&self) -> Option<u32> {
        match self.state {
            State::Serving { transfer, .. } | State::Waiting { transfer, .. } => Some(transfer),
            State::Offered
            | State::Stalled
            | State::Done
            | State::Declined(_)
            | State::Failed(_) => None,
        }
    }

    /// What it says that it has for this transfer; what it said for another is void.
    fn declared_for(&mut self, transfer: u32) -> &mut Declared {
        if self.declared.transfer != transfer {
            self.declared = Declared {
                transfer,
                ..Declared::default()
            };
        }
        &mut self.declared
    }

    /// Forgets what was true of a link that is gone; says whether that shows.
    fn unlinked(&mut self) -> bool {
        self.declared = Declared::default();
        self.paged = 0;
        self.silent = false;
        let before = self.hold;
        self.hold.unsaid();
        self.hold != before
    }

    /// Whether the receiver may have us start now.
    fn may_start(&mut self, now: Mono) -> bool {
        let earned = now.since(self.starts_at).as_millis() / START_EVERY.as_millis();
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(u32::MAX);
            self.starts_left = self.starts_left.saturating_add(earned).min(STARTS_MOST);
            self.starts_at = now;
        }
        let may = self.starts_left > 0;
        self.starts_left = self.starts_left.saturating_sub(1);
        may
    }

    fn done_bytes(&self, entries: &[Entry]) -> u64 {
        let size = |e: u32| entries.get(e as usize).map_or(0, |e| e.size);
        let durable = self.durable.iter().map(|(e, r)| bytes_of(size(*e), r));
        self.verified_bytes + durable.sum::<u64>()
    }

    /// These are complete there; only what is new of them costs anything. Says of which of those
    /// nothing else says that they have arrived: of one chunk, sent by us, and not known to be there
    /// before.
    fn verify(&mut self, new: &RangeSet, entries: &[Entry]) -> RangeSet {
        let mut fresh = new.clone();
        subtract(&mut fresh, &self.verified);
        let mut arrived = RangeSet::new();
        for e in fresh.ranges().iter().flat_map(|&(a, b)| a..b) {
            let size = entries.get(e as usize).map_or(0, |e| e.size);
            self.verified_bytes += size;
            let sent = |e| self.sent.contains_key(&e) && !self.durable.contains_key(&e);
            if frame::chunks(size) == 1 && u32::try_from(e).is_ok_and(sent) {
                arrived.insert(e, e + 1);
            }
        }
        self.verified.union(new);
        self.durable.retain(|e, _| !new.contains(u64::from(*e)));
        self.sent.retain(|e, _| !new.contains(u64::from(*e)));
        arrived
    }
}

fn stop(room: RoomId, peer: PeerId, offer: OfferId, r: &mut Receiver, ctx: &mut Ctx<'_>) {
    if let State::Serving { run, .. } = r.state {
        ctx.out(Effect::Serve(
            ServeKey { room, peer, offer },
            run,
            ServeEffect::Stop,
        ));
    }
}

/// Whether the entry is a file and has these chunks.
pub(crate) fn fits(entries: &[Entry], entry: u32, ranges: &RangeSet) -> bool {
    entries
        .get(entry as usize)
        .is_some_and(|e| !e.dir && ranges.end() <= frame::chunks(e.size))
}

/// Bytes of the chunks in `ranges` of a file of `size` bytes.
pub(crate) fn bytes_of(size: u64, ranges: &RangeSet) -> u64 {
    let chunk = limits::CHUNK as u64;
    let bytes = |&(a, b): &(u64, u64)| {
        b.saturating_mul(chunk)
            .min(size)
            .saturating_sub(a.saturating_mul(chunk))
    };
    ranges.ranges().iter().map(bytes).sum()
}

#[cfg(test)]
mod tests;
