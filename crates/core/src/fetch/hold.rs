//! What keeps a fetch that is taken from running: its user, the sender, the disk, or others that
//! come first.

use std::sync::Arc;
use std::time::Duration;

use kith_api::{ApiError, FetchPhase, OfferAction};
use kith_protocol::peer::PeerMessage;
use kith_protocol::{Code, OfferId, PeerId, limits};

use super::{After, Fetch, FetchOut, Fetches, State};
use crate::effect::{Effect, FetchEffect};
use crate::engine::Ctx;
use crate::input::Refusal;
use crate::queue::{Standing, Turn};
use crate::record::{FetchKey, Put};
use crate::time::{Deadline, Mono};

/// A disk that refused is looked at again after this, doubled each time that it refuses soon
/// after …
pub const PROBE_FIRST: Duration = Duration::from_secs(4);
/// … up to this.
pub const PROBE_LAST: Duration = Duration::from_secs(32);

/// What holds a fetch, and what the sender was told of it.
#[derive(Debug, Default)]
pub(super) struct Hold {
    /// By our user.
    pub here: bool,
    /// By the sender.
    pub there: bool,
    /// By the disk.
    pub refused: Option<Refusal>,
    /// How often it refused since something came.
    pub refusals: u32,
    /// A place among all that are taken.
    pub place: u64,
    /// It is its turn.
    pub turn: bool,
    /// Among those who wait, from 1.
    pub waits: Option<u32>,
    /// Bytes per second, by our user.
    pub cap: Option<u64>,
    /// What the sender knows of our side over this link: why nothing is to come, if so …
    told: Option<Option<Code>>,
    /// … and how much at most.
    told_pace: Option<u64>,
    /// Bytes per second that may come, from all together.
    pub pace: Option<u64>,
    /// The record of it is stored, or on its way.
    pub kept: bool,
}

impl Hold {
    /// The sender forgets what we said: another link, or another `accept`.
    pub fn unsaid(&mut self) {
        (self.told, self.told_pace) = (None, None);
    }

    /// Nothing holds it, and its user begins anew.
    pub fn renew(&mut self) {
        let (place, cap) = (self.place, self.cap);
        *self = Hold::default();
        (self.place, self.cap) = (place, cap);
    }

    /// As the store has it.
    pub fn record(&self) -> crate::record::Hold {
        crate::record::Hold {
            paused: self.here,
            place: self.place,
            cap: self.cap,
        }
    }

    /// As the store had it.
    pub fn of(saved: crate::record::Hold) -> Self {
        Hold {
            here: saved.paused,
            place: saved.place,
            cap: saved.cap,
            kept: true,
            ..Hold::default()
        }
    }
}

impl Fetch {
    /// Taken, and not over.
    pub(super) fn is_taken(&self) -> bool {
        match self.state {
            State::Reading { .. }
            | State::Queued
            | State::Accepted
            | State::Fetching
            | State::Stalled => true,
            State::Seen
            | State::Offered
            | State::Done
            | State::Failed(_)
            | State::Declined
            | State::Withdrawn(_) => false,
        }
    }

    /// Could run if it were its turn.
    fn is_able(&self) -> bool {
        let begun = self.is_taken() && !matches!(self.state, State::Reading { .. });
        let hold = &self.hold;
        begun && self.link.is_some() && !hold.here && !hold.there && hold.refused.is_none()
    }

    /// Nothing is to be fetched, from whomever.
    pub(super) fn is_held(&self) -> bool {
        let hold = &self.hold;
        let waits = self.link.is_some() && !hold.turn;
        hold.here || hold.there || waits || hold.refused.is_some()
    }

    /// May have data flow now.
    pub(super) fn runs(&self) -> bool {
        self.hold.turn && self.is_able()
    }

    /// How a fetch that is taken shows.
    pub(super) fn taken_phase(&self, running: FetchPhase) -> (FetchPhase, Option<Code>) {
        let hold = &self.hold;
        let phase = match hold.refused {
            Some(refusal) => return (FetchPhase::Blocked, Some(refusal.code)),
            None if hold.here || hold.there => FetchPhase::Paused,
            None if self.link.is_none() => FetchPhase::Stalled,
            None if !hold.turn => FetchPhase::Queued,
            None => running,
        };
        (phase, None)
    }

    /// What the user may do with a fetch that is taken.
    pub(super) fn taken_can(&self) -> Vec<OfferAction> {
        let hold = &self.hold;
        let mut can = Vec::with_capacity(5);
        if hold.refused.is_some() {
            // Into another folder, perhaps.
            can.push(OfferAction::Accept);
        }
        if !hold.here {
            can.push(OfferAction::Pause);
        }
        if hold.here || hold.refused.is_some() {
            can.push(OfferAction::Resume);
        }
        if hold.waits.is_some() {
            can.push(OfferAction::Reorder);
        }
        can.extend([OfferAction::Limit, OfferAction::Cancel]);
        can
    }

    /// Why nothing is to come, if so.
    fn held(&self) -> Option<Option<Code>> {
        let hold = &self.hold;
        match hold.refused {
            _ if hold.here => Some(None),
            Some(refusal) => Some(Some(refusal.code)),
            None if !hold.turn => Some(Some(Code::Busy)),
            None => None,
        }
    }
}

/// Whether the disk may take it later.
pub(super) fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::DiskFull
            | Code::DiskDenied
            | Code::DiskError
            | Code::DiskReadOnly
            | Code::DiskQuota
            | Code::DiskGone
    )
}

impl Fetches {
    /// Holds a fetch back until [`Fetches::resume`].
    pub fn pause(&mut self, key: FetchKey, ctx: &mut Ctx<'_>) -> Result<Vec<FetchOut>, ApiError> {
        let f = self.may(key, OfferAction::Pause)?;
        f.hold.here = true;
        self.keep(key, ctx);
        Ok(vec![FetchOut::Changed(key.from, key.offer)])
    }

    /// Lets a fetch go on; what the disk refused is tried at once.
    pub fn resume(&mut self, key: FetchKey, ctx: &mut Ctx<'_>) -> Result<Vec<FetchOut>, ApiError> {
        let f = self.may(key, OfferAction::Resume)?;
        f.hold.here = false;
        f.hold.refused = None;
        f.hold.refusals = 0;
        self.probes.remove(&(key.from, key.offer));
        self.keep(key, ctx);
        Ok(vec![FetchOut::Changed(key.from, key.offer)])
    }

    /// Bounds a fetch.
    pub fn limit(
        &mut self,
        key: FetchKey,
        cap: Option<u64>,
        ctx: &mut Ctx<'_>,
    ) -> Result<Vec<FetchOut>, ApiError> {
        let f = self.may(key, OfferAction::Limit)?;
        f.hold.cap = cap;
        self.keep(key, ctx);
        Ok(vec![FetchOut::Changed(key.from, key.offer)])
    }

    /// Gives a fetch another place.
    pub fn set_place(&mut self, key: FetchKey, place: u64, ctx: &mut Ctx<'_>) -> Vec<FetchOut> {
        let Some(f) = self.fetches.get_mut(&(key.from, key.offer)) else {
            return Vec::new();
        };
        f.hold.place = place;
        if f.hold.kept {
            self.keep(key, ctx);
        }
        vec![FetchOut::Changed(key.from, key.offer)]
    }

    /// Whether a fetch may have another place.
    pub fn may_move(&mut self, key: FetchKey) -> Result<(), ApiError> {
        self.may(key, OfferAction::Reorder).map(drop)
    }

    /// The sender holds it back, or does not any more.
    pub(super) fn on_held(
        &mut self,
        peer: PeerId,
        offer: OfferId,
        held: bool,
        ctx: &mut Ctx<'_>,
    ) -> Vec<FetchOut> {
        let Some(key) = self.served_by(peer, offer) else {
            return Vec::new();
        };
        match self.fetches.get_mut(&(key.from, key.offer)) {
            Some(f) if f.link.is_some() && f.hold.there != held => {
                f.hold.there = held;
                f.patience.begin(ctx.now.mono);
                vec![FetchOut::Changed(key.from, key.offer)]
            }
            Some(_) | None => Vec::new(),
        }
    }

    /// The disk does not take it: nothing is lost, and it is tried again.
    pub(super) fn refuse(
        &mut self,
        key: FetchKey,
        refusal: Refusal,
        ctx: &mut Ctx<'_>,
    ) -> Vec<FetchOut> {
        let at = (key.from, key.offer);
        let Some(f) = self.fetches.get_mut(&at) else {
            return Vec::new();
        };
        match f.state {
            State::Accepted | State::Fetching | State::Stalled => {}
            // It was tried no more already.
            State::Queued
            | State::Seen
            | State::Offered
            | State::Reading { .. }
            | State::Done
            | State::Failed(_)
            | State::Declined
            | State::Withdrawn(_) => return Vec::new(),
        }
        let stop = FetchEffect::Stop { discard: false };
        ctx.out(Effect::Fetch(key, f.run, stop));
        tracing::info!(offer = %key.offer, code = refusal.code.name(), "the disk refuses");
        f.state = State::Queued;
        f.hold.turn = false;
        f.hold.refused = Some(refusal);
        let wait = PROBE_FIRST.saturating_mul(1 << f.hold.refusals.min(5));
        f.hold.refusals = f.hold.refusals.saturating_add(1);
        self.probes.insert(at, ctx.now.mono + wait.min(PROBE_LAST));
        vec![FetchOut::Changed(key.from, key.offer)]
    }

    /// What a look at the disk found.
    pub(super) fn on_probed(
        &mut self,
        key: FetchKey,
        found: Result<(), Refusal>,
        ctx: &mut Ctx<'_>,
    ) -> Vec<FetchOut> {
        let at = (key.from, key.offer);
        let Some(f) = self.fetches.get_mut(&at) else {
            return Vec::new();
        };
        let Some(before) = f.hold.refused else {
            return Vec::new();
        };
        if self.probes.contains_key(&at) {
            // Of a look before the last time that it was tried.
            return Vec::new();
        }
        match found {
            Ok(()) => f.hold.refused = None,
            Err(refusal) => {
                f.hold.refused = Some(refusal);
                self.probes.insert(at, ctx.now.mono + PROBE_FIRST);
                if refusal == before {
                    return Vec::new();
                }
            }
        }
        vec![FetchOut::Changed(key.from, key.offer)]
    }

    /// When there is a disk to look at.
    pub(super) fn next_look(&self) -> Option<Deadline> {
        let at = *self.probes.values().min()?;
        let why = "look at the disk again";
        Some(Deadline { at, why })
    }

    /// Looks at disks that refused.
    pub(super) fn look_again(&mut self, ctx: &mut Ctx<'_>) {
        let now: Mono = ctx.now.mono;
        let due = self.probes.extract_if(.., |_, at| *at <= now);
        for ((from, offer), _) in due.collect::<Vec<_>>() {
            let Some(f) = self.fetches.get(&(from, offer)) else {
                continue;
            };
            let Some(record) = f.record.as_ref().filter(|_| f.hold.refused.is_some()) else {
                continue;
            };
            let key = record.key;
            let probe = FetchEffect::Probe {
                dir: record.dir.clone(),
                needed: f.total.saturating_sub(f.done_bytes()),
            };
            ctx.out(Effect::Fetch(key, f.run, probe));
        }
    }

    /// How the fetches that are taken stand. Who can run no more gives its turn back.
    pub fn standings(&mut self) -> (Vec<Standing>, Vec<FetchOut>) {
        let (mut all, mut out) = (Vec::new(), Vec::new());
        for ((from, offer), f) in &mut self.fetches {
            let able = f.is_able();
            if f.hold.turn && !able {
                f.hold.turn = false;
                out.push(FetchOut::Changed(*from, *offer));
            }
            if !f.is_taken() {
                continue;
            }
            all.push(Standing {
                key: FetchKey {
                    room: self.room,
                    from: *from,
                    offer: *offer,
                },
                place: f.hold.place,
                turn: match (able, f.hold.turn) {
                    (true, true) => Turn::Has,
                    (true, false) => Turn::Wants,
                    (false, _) => Turn::Rests,
                },
            });
        }
        (all, out)
    }

    /// It is its turn.
    pub fn begin(&mut self, key: FetchKey, ctx: &mut Ctx<'_>) -> Vec<FetchOut> {
        let Some(f) = self.fetches.get_mut(&(key.from, key.offer)) else {
            return Vec::new();
        };
        f.hold.turn = true;
        f.patience.begin(ctx.now.mono);
        match f.state {
            State::Queued => self.prepare(key, ctx),
            State::Stalled => self.attach(key, ctx),
            // The disk is being prepared, or the sender is told to go on.
            State::Accepted | State::Fetching => {
                let mut out = vec![FetchOut::Changed(key.from, key.offer)];
                out.extend(self.pull(key, ctx));
                out
            }
            State::Seen
            | State::Offered
            | State::Reading { .. }
            | State::Done
            | State::Failed(_)
            | State::Declined
            | State::Withdrawn(_) => Vec::new(),
        }
    }

    /// Runs it if it can and a turn is free, which it is not while others wait.
    pub(super) fn wish(&mut self, key: FetchKey, ctx: &mut Ctx<'_>) -> Vec<FetchOut> {
        let f = self.fetches.get(&(key.from, key.offer));
        let able = f.is_some_and(|f| f.is_able() && !f.hold.turn);
        match ctx.turns.checked_sub(1) {
            Some(left) if able => {
                ctx.turns = left;
                self.begin(key, ctx)
            }
            Some(_) | None => Vec::new(),
        }
    }

    /// Everybody has the turn that is theirs: tells front ends who waits in which place, senders
    /// what to send or not, and the store what waits. `waiting` is in order, over all rooms;
    /// `share` is what each that runs may take.
    pub fn settle(
        &mut self,
        waiting: &[FetchKey],
        share: Option<u64>,
        ctx: &mut Ctx<'_>,
    ) -> Vec<FetchOut> {
        let mut out = Vec::new();
        let room = self.room;
        let mut unkept = Vec::new();
        for ((from, offer), f) in &mut self.fetches {
            let key = FetchKey {
                room,
                from: *from,
                offer: *offer,
            };
            let waits = (f.is_taken() && !f.hold.turn)
                .then(|| waiting.iter().position(|k| *k == key))
                .flatten()
                .map(|at| u32::try_from(at).unwrap_or(u32::MAX).saturating_add(1));
            if f.hold.waits != waits {
                f.hold.waits = waits;
                out.push(FetchOut::Changed(*from, *offer));
            }
            match f.state {
                State::Queued if !f.hold.kept => unkept.push(key),
                State::Queued | State::Accepted | State::Fetching | State::Stalled => {}
                State::Seen
                | State::Offered
                | State::Reading { .. }
                | State::Done
                | State::Failed(_)
                | State::Declined
                | State::Withdrawn(_) => continue,
            }
            let pace = [f.hold.cap, share].into_iter().flatten().min();
            f.hold.pace = pace;
            if f.link.is_none() {
                continue;
            }
            let held = f.held();
            if held != f.hold.told {
                f.hold.told = held;
                let message = match held {
                    Some(why) => PeerMessage::Pause {
                        offer_id: *offer,
                        why,
                    },
                    None => PeerMessage::Resume { offer_id: *offer },
                };
                // An accept says the same, and comes when the disk is ready.
                let accepts = held.is_none() && f.state != State::Fetching;
                if !accepts {
                    out.push(FetchOut::Send(f.via, message));
                }
            }
            if f.state == State::Fetching && pace != f.hold.told_pace {
                f.hold.told_pace = pace;
                let pace = PeerMessage::Pace {
                    offer_id: *offer,
                    bytes_per_s: pace,
                };
                out.push(FetchOut::Send(f.via, pace));
            }
        }
        unkept.into_iter().for_each(|key| self.keep(key, ctx));
        out
    }

    /// Has the store keep what is wanted of a fetch, once there is something to keep.
    pub(super) fn keep(&mut self, key: FetchKey, ctx: &mut Ctx<'_>) {
        let Some(f) = self.fetches.get_mut(&(key.from, key.offer)) else {
            return;
        };
        let Some(record) = &mut f.record else {
            return;
        };
        Arc::make_mut(record).hold = f.hold.record();
        f.hold.kept = true;
        let put = Put::Fetch((**record).clone());
        self.store(key, vec![put], After::Nothing, ctx);
    }

    fn may(&mut self, key: FetchKey, what: OfferAction) -> Result<&mut Fetch, ApiError> {
        self.fetches
            .get_mut(&(key.from, key.offer))
            .filter(|f| f.can().contains(&what))
            .ok_or_else(|| ApiError::new(Code::NotNow))
    }
}

/// The share of one of `running` fetches.
pub fn share(down: Option<u64>, running: usize) -> Option<u64> {
    down.map(|d| (d / running.max(1) as u64).max(limits::MIN_PACE))
}
