//! Offers and their manifests, from a stranger.

use kith_protocol::peer::{Entry, PeerMessage};
use kith_protocol::{Code, LinkId, OfferId, PeerId, limits};

use super::{Fetch, FetchOut, Fetches, MAX_LOOK, MAX_LOOK_ALL, MAX_MANIFESTS, State, say_done};
use crate::engine::Ctx;
use crate::offer;
use crate::policy;
use crate::record::FetchKey;

impl Fetches {
    pub(super) fn on_offer(
        &mut self,
        peer: PeerId,
        link: LinkId,
        id: OfferId,
        (name, note, count, total): (String, Option<String>, u32, u64),
        ctx: &mut Ctx<'_>,
    ) -> Vec<FetchOut> {
        let key = self.key(peer, id);
        let full = self.is_full_of(peer, true);
        let Some(f) = self.fetches.get_mut(&(peer, id)) else {
            if full {
                let why = Code::TooManyOffers;
                return vec![FetchOut::Send(
                    peer,
                    PeerMessage::Decline { offer_id: id, why },
                )];
            }
            let mut f = Fetch::new((name, note, count, total), (peer, Some(link)));
            f.at = ctx.now.unix_ms;
            self.fetches.insert((peer, id), f);
            return vec![FetchOut::Changed(peer, id)];
        };
        if f.count != count || f.total != total {
            // An id names one manifest for ever; another under the same id is not looked at.
            return Vec::new();
        }
        f.gone = None;
        f.announced.insert(peer, link);
        f.note = f.note.take().or(note);
        f.by = peer;
        let mut out = vec![FetchOut::Changed(peer, id)];
        if f.via != peer {
            // Who passed it on is not needed any more.
            if f.state == State::Fetching {
                let (offer_id, why) = (id, Code::Busy);
                let cancel = PeerMessage::Cancel { offer_id, why };
                out.push(FetchOut::Send(f.via, cancel));
            }
            f.begin_anew();
        }
        if f.link != Some(link) {
            f.hold.unsaid();
        }
        (f.via, f.link) = (peer, Some(link));
        // What it says of its own side comes after this.
        f.hold.there = false;
        if f.at == 0 {
            f.at = ctx.now.unix_ms;
        }
        // An announcement over the same link may have crossed our refusal.
        f.declined = f.declined.filter(|over| *over == link);
        match f.state {
            State::Withdrawn(_) | State::Failed(_) if f.has_manifest() => f.state = State::Offered,
            State::Seen | State::Withdrawn(_) | State::Failed(_) => {
                f.forget_manifest();
                f.state = State::Seen;
            }
            State::Fetching if f.runs() => out.extend(self.attach(key, ctx)),
            State::Fetching => f.state = State::Stalled,
            State::Stalled | State::Queued => out.extend(self.wish(key, ctx)),
            State::Done => {
                out.extend(f.verified(key));
                out.push(say_done(peer, id));
            }
            State::Declined => {
                f.declined = Some(link);
                let message = PeerMessage::Decline {
                    offer_id: id,
                    why: Code::Declined,
                };
                out.push(FetchOut::Send(peer, message));
            }
            State::Reading { .. } => out.push(f.browse(key)),
            State::Offered | State::Accepted => {}
        }
        out
    }

    /// A page of a manifest.
    pub(super) fn on_entries(
        &mut self,
        key: FetchKey,
        first: u32,
        entries: Vec<Entry>,
        ctx: &mut Ctx<'_>,
    ) -> Vec<FetchOut> {
        let Some(f) = self.fetches.get_mut(&(key.from, key.offer)) else {
            return Vec::new();
        };
        let fits = f.entries.len() + entries.len() <= f.count as usize;
        if first as usize != f.entries.len() || !fits {
            return Vec::new();
        }
        f.patience.heard(ctx.now.mono);
        match f.state {
            State::Seen => {
                let mut out = self.look(key, entries, ctx);
                out.extend(self.take_unasked(key, ctx));
                out
            }
            State::Reading { .. } => self.read(key, entries, ctx),
            State::Offered
            | State::Queued
            | State::Accepted
            | State::Fetching
            | State::Stalled
            | State::Done
            | State::Failed(_)
            | State::Declined
            | State::Withdrawn(_) => Vec::new(),
        }
    }

    /// Nobody wants it yet: as much as there is room for, and no question for more.
    fn look(&mut self, key: FetchKey, entries: Vec<Entry>, ctx: &mut Ctx<'_>) -> Vec<FetchOut> {
        let at = (key.from, key.offer);
        let by = self.fetches.get(&at).map(|f| f.by);
        let unwanted = |of: Option<PeerId>| -> usize {
            let of = self
                .fetches
                .values()
                .filter(|f| of.is_none_or(|of| of == f.by) && !f.is_wanted());
            of.map(|f| f.weight).sum()
        };
        let left = (MAX_LOOK.saturating_sub(unwanted(by)))
            .min(MAX_LOOK_ALL.saturating_sub(unwanted(None)));
        let Some(f) = self.fetches.get_mut(&at) else {
            return Vec::new();
        };
        let (had, most) = (f.entries.len(), f.weight + left);
        let came = entries.len();
        for entry in entries {
            let weight = offer::weight(&entry);
            if f.weight + weight > most {
                break;
            }
            f.weight += weight;
            f.entries.push(entry);
        }
        f.pages_due = f.pages_due.saturating_sub(1);
        let enough = f.entries.len() < had + came || f.pages_due == 0;
        let sum = offer::total(&f.entries);
        if f.has_manifest() || enough {
            let honest = sum.is_some_and(|sum| match f.has_manifest() {
                true => sum == f.total,
                false => sum <= f.total,
            });
            if !honest || !f.is_vouched(key) {
                return self.refuse_manifest(key, ctx);
            }
            f.state = State::Offered;
        } else if had >= offer::PREVIEW {
            return Vec::new();
        }
        vec![FetchOut::Changed(key.from, key.offer)]
    }

    /// Takes what its user wants to be taken without being asked, once.
    fn take_unasked(&mut self, key: FetchKey, ctx: &mut Ctx<'_>) -> Vec<FetchOut> {
        let (peer, id) = (key.from, key.offer);
        // What was here whole before was seen by its user, who may have moved it since.
        let known = self.saved.contains_key(&(peer, id));
        let Some(f) = self.fetches.get_mut(&(peer, id)) else {
            return Vec::new();
        };
        let fresh = f.state == State::Offered && f.has_manifest() && !f.looked_at;
        f.looked_at |= f.state == State::Offered;
        let policy = &ctx.config.transfers.accept;
        if !fresh || known || !policy::takes(policy, peer, f.total, &f.entries) {
            return Vec::new();
        }
        let dir = policy.dir.clone();
        self.enqueue(key, dir, ctx)
    }

    /// The user has taken it: everything.
    fn read(&mut self, key: FetchKey, entries: Vec<Entry>, ctx: &mut Ctx<'_>) -> Vec<FetchOut> {
        let (peer, id) = (key.from, key.offer);
        let by = self.fetches.get(&(peer, id)).map(|f| f.by);
        let of_peer = self.fetches.values().filter(|f| Some(f.by) == by);
        let held: usize = of_peer.map(|f| f.weight).sum();
        let Some(f) = self.fetches.get_mut(&(peer, id)) else {
            return Vec::new();
        };
        let weight: usize = entries.iter().map(offer::weight).sum();
        if held.saturating_add(weight) > MAX_MANIFESTS {
            f.forget_manifest();
            f.state = State::Failed(Code::TooLarge);
            let why = Code::TooManyOffers;
            let decline = PeerMessage::Decline { offer_id: id, why };
            return vec![FetchOut::Send(f.via, decline), FetchOut::Changed(peer, id)];
        }
        let shown = f.entries.len() < offer::PREVIEW;
        f.weight += weight;
        f.entries.extend(entries);
        f.pages_due = f.pages_due.saturating_sub(1);
        if !f.has_manifest() {
            let ask = (f.pages_due == 0).then(|| f.browse(key));
            let changed = shown.then_some(FetchOut::Changed(peer, id));
            return ask.into_iter().chain(changed).collect();
        }
        if offer::total(&f.entries) != Some(f.total) || !f.is_vouched(key) {
            return self.refuse_manifest(key, ctx);
        }
        let State::Reading { dir } = std::mem::replace(&mut f.state, State::Offered) else {
            return Vec::new();
        };
        self.enqueue(key, dir, ctx)
    }
}

impl Fetch {
    /// The question for what is missing of the manifest.
    pub(super) fn browse(&mut self, key: FetchKey) -> FetchOut {
        self.pages_due = limits::PAGES_AHEAD;
        let browse = PeerMessage::Browse {
            offer_id: key.offer,
            first: self.entries.len() as u32,
        };
        FetchOut::Send(self.via, browse)
    }

    /// Keeps what people look at: nobody wants the rest any more.
    pub(super) fn shrink(&mut self) {
        self.entries.truncate(offer::PREVIEW);
        self.entries.shrink_to_fit();
        self.weight = self.entries.iter().map(offer::weight).sum();
    }

    /// It comes from another now: what is not whole of a manifest may be wrong.
    pub(super) fn begin_anew(&mut self) {
        if self.has_manifest() {
            return;
        }
        self.forget_manifest();
        if self.state == State::Offered {
            self.state = State::Seen;
        }
    }

    pub(super) fn forget_manifest(&mut self) {
        self.entries = Vec::new();
        self.weight = 0;
        self.pages_due = limits::PAGES_AHEAD;
    }

    /// Whether the user has taken it.
    fn is_wanted(&self) -> bool {
        self.record.is_some() || matches!(self.state, State::Reading { .. })
    }
}
