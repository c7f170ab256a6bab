//! One room: who is here, and who links to whom.
//!
//! A *member* is a connection of somebody to the room server, known by its sid. A *person* is an
//! identity, proven by the sealing handshake with a member. Links belong to persons and outlive
//! members: losing the server, theirs or ours, touches no link.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kith_api::{
    ApiError, Change, LinkPhase, MessageView, OfferView, PersonView, Presence, RoomView,
};
use kith_protocol::ids::{Digest, SealTag};
use kith_protocol::invite::RoomKeys;
use kith_protocol::peer::{PeerMessage, clean_name};
use kith_protocol::room::LeftWhy;
use kith_protocol::sealed::{Hello, SealedBody};
use kith_protocol::{Code, Invite, OfferId, PeerId, RoomId, Sid};

use crate::chat::{Chat, ChatOut};
use crate::effect::Effect;
use crate::engine::{Ctx, fallback_name};
use crate::fetch::{FetchOut, Fetches};
use crate::input::{
    FetchNews, JobId, LinkNews, NewOffer, ReqId, SealNews, ServeKey, ServeNews, SessionNews,
};
use crate::link::{Link, LinkOut};
use crate::member::Member;
use crate::record::{ChatRecord, FetchKey, PeerRecord, Put, Saved};
use crate::serve::{ServeOut, Serves};
use crate::session::{Session, SessionOut};
use crate::time::{Deadline, Mono};

/// A link that failed is tried again after this, doubled each time …
pub const RELINK_FIRST: Duration = Duration::from_secs(2);
/// … up to this.
pub const RELINK_LAST: Duration = Duration::from_secs(60);

/// People of one room that are remembered until it is left.
pub const MAX_PEOPLE: usize = 1024;

/// A room.
#[derive(Debug)]
pub struct Room {
    id: RoomId,
    invite: Invite,
    keys: RoomKeys,
    me: PeerId,
    /// Entered and not left.
    open: bool,
    session: Session,
    members: BTreeMap<Sid, Member>,
    people: BTreeMap<PeerId, Person>,
    chat: Chat,
    serves: Serves,
    fetches: Fetches,
    changes: Changes,
}

#[derive(Debug)]
struct Person {
    name: String,
    /// How to reach it through the server.
    member: Option<Sid>,
    /// The certificate of its app session.
    fp: Digest,
    /// The handshake with its member.
    tag: SealTag,
    link: Option<Link>,
    why: Option<Code>,
    /// When to try a link again, and how often that was done.
    relink: Option<Mono>,
    failures: u32,
}

/// What front ends must be told.
#[derive(Debug, Default)]
struct Changes {
    room: bool,
    gone: bool,
    people: BTreeSet<PeerId>,
    offers: BTreeSet<(PeerId, OfferId)>,
    messages: Vec<MessageView>,
}

impl Room {
    /// A room that is not yet entered, with what the store knows of it.
    pub fn new(invite: Invite, me: PeerId, saved: &Saved) -> Self {
        let keys = invite.keys();
        let id = keys.room_id();
        Room {
            session: Session::new(id, invite.server().clone()),
            chat: Chat::new(id, me, &saved.heads, &saved.acked),
            serves: Serves::new(id, me),
            fetches: Fetches::new(id, &saved.fetches),
            id,
            invite,
            keys,
            me,
            open: false,
            members: BTreeMap::new(),
            people: BTreeMap::new(),
            changes: Changes::default(),
        }
    }

    /// Enters the room.
    pub fn enter(&mut self, ctx: &mut Ctx<'_>) {
        if !self.open {
            // Front ends forgot them with the room.
            let ours = self.serves.ids().into_iter().map(|id| (self.me, id));
            self.changes.offers.extend(ours.chain(self.fetches.ids()));
        }
        self.open = true;
        self.changes.room = true;
        self.session.start(ctx);
    }

    /// Says good-bye and closes everything.
    pub fn leave(&mut self, ctx: &mut Ctx<'_>) {
        if !self.open {
            return;
        }
        self.serves.stop(ctx);
        self.fetches.stop(ctx);
        for (peer, person) in &mut self.people {
            if let Some(link) = person.link.take() {
                link.send(PeerMessage::Bye {}, ctx);
                link.close(ctx);
                self.chat.on_closed(*peer);
            }
        }
        self.people.clear();
        self.close_members(ctx);
        self.session.stop(ctx);
        self.open = false;
        self.changes = Changes {
            gone: true,
            ..Changes::default()
        };
    }

    /// Entered and not left.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// The link that opens the room.
    pub fn invite_link(&self) -> String {
        self.invite.link()
    }

    /// Writes a message.
    pub fn write(&mut self, text: String, req: ReqId, ctx: &mut Ctx<'_>) -> Result<(), ApiError> {
        self.chat.write(text, req, ctx)
    }

    /// Offers files.
    pub fn offer(&mut self, new: NewOffer, ctx: &mut Ctx<'_>) -> Result<OfferId, ApiError> {
        let (id, out) = self.serves.add(new, &self.linked(), ctx)?;
        self.apply_serves(out, ctx);
        Ok(id)
    }

    /// Takes back an offer.
    pub fn withdraw(&mut self, offer: OfferId, ctx: &mut Ctx<'_>) -> Result<(), ApiError> {
        let out = self.serves.withdraw(offer, &self.linked(), ctx)?;
        self.apply_serves(out, ctx);
        Ok(())
    }

    /// Fetches what somebody offers.
    pub fn accept(
        &mut self,
        key: FetchKey,
        dir: String,
        ctx: &mut Ctx<'_>,
    ) -> Result<(), ApiError> {
        let out = self.fetches.accept(key, dir, ctx)?;
        self.apply_fetches(out, ctx);
        Ok(())
    }

    /// Refuses an offer or ends its fetch.
    pub fn decline(&mut self, key: FetchKey, ctx: &mut Ctx<'_>) -> Result<(), ApiError> {
        let out = self.fetches.decline(key, ctx)?;
        self.apply_fetches(out, ctx);
        Ok(())
    }

    /// News of the room server.
    pub fn on_session(&mut self, sid: Sid, news: SessionNews, ctx: &mut Ctx<'_>) {
        let before = self.session.phase();
        let out = self.session.handle(sid, news, &self.keys, ctx);
        self.after_session(before, out, ctx);
    }

    /// News of the sealing with a member.
    pub fn on_seal(
        &mut self,
        me: Sid,
        them: Sid,
        news: SealNews,
        known: &mut BTreeMap<PeerId, PeerRecord>,
        ctx: &mut Ctx<'_>,
    ) {
        if self.session.joined_sid() != Some(me) {
            return;
        }
        let Some(member) = self.members.get_mut(&them) else {
            return;
        };
        match news {
            SealNews::Send(bytes) => self.session.signal(ctx, them, bytes),
            SealNews::AskedAgain => member.on_asked_again(ctx),
            SealNews::Broken => member.on_broken(ctx),
            SealNews::Ready(hello, tag) => self.on_ready(them, *hello, tag, known, ctx),
            SealNews::Body(body) => {
                if let Some((peer, _)) = member.peer() {
                    self.on_sealed(them, peer, *body, ctx);
                }
            }
        }
    }

    /// News of a link.
    pub fn on_link(
        &mut self,
        peer: PeerId,
        link: kith_protocol::LinkId,
        news: LinkNews,
        ctx: &mut Ctx<'_>,
    ) {
        let Some(person) = self.people.get_mut(&peer) else {
            return;
        };
        let Some(l) = person.link.as_mut().filter(|l| l.id() == link) else {
            return;
        };
        let out = l.handle(news, ctx);
        self.apply_link(peer, out, ctx);
    }

    /// News of a serve worker.
    pub fn on_serve(&mut self, key: ServeKey, run: u32, news: ServeNews, ctx: &mut Ctx<'_>) {
        let out = self.serves.handle(key, run, news, ctx);
        self.apply_serves(out, ctx);
    }

    /// News of a fetch worker.
    pub fn on_fetch(&mut self, key: FetchKey, run: u32, news: FetchNews, ctx: &mut Ctx<'_>) {
        let out = self.fetches.handle(key, run, news, ctx);
        self.apply_fetches(out, ctx);
    }

    /// Whether a store job is one of this room's.
    pub fn owns(&self, job: JobId) -> bool {
        self.chat.owns(job) || self.fetches.owns(job)
    }

    /// A store job is durable.
    pub fn on_stored(&mut self, job: JobId, ctx: &mut Ctx<'_>) {
        if self.chat.owns(job) {
            let out = self.chat.on_stored(job, ctx);
            self.apply_chat(out, ctx);
        } else {
            let out = self.fetches.on_stored(job, ctx);
            self.apply_fetches(out, ctx);
        }
    }

    /// A store job failed.
    pub fn on_store_failed(&mut self, job: JobId, code: Code, ctx: &mut Ctx<'_>) {
        if self.chat.owns(job) {
            self.chat.on_store_failed(job, code, ctx);
        } else {
            let out = self.fetches.on_store_failed(job, code, ctx);
            self.apply_fetches(out, ctx);
        }
    }

    /// A page of our log has been read.
    pub fn on_chat_loaded(
        &mut self,
        job: JobId,
        entries: Vec<(u64, ChatRecord)>,
        ctx: &mut Ctx<'_>,
    ) {
        let out = self.chat.on_loaded(job, entries, ctx);
        self.apply_chat(out, ctx);
    }

    /// The machine's addresses changed: every link looks for a new path at once.
    pub fn on_addresses_changed(&mut self, ctx: &mut Ctx<'_>) {
        for peer in self.people.keys().copied().collect::<Vec<_>>() {
            let link = self.people.get_mut(&peer).and_then(|p| p.link.as_mut());
            let out = link.map_or_else(Vec::new, |l| l.restart(ctx));
            self.apply_link(peer, out, ctx);
        }
    }

    /// Acts on time.
    pub fn on_time(&mut self, ctx: &mut Ctx<'_>) {
        if !self.open {
            return;
        }
        let before = self.session.phase();
        let out = self.session.on_time(ctx);
        self.after_session(before, out, ctx);
        self.members.values_mut().for_each(|m| m.on_time(ctx));
        for peer in self.people.keys().copied().collect::<Vec<_>>() {
            let Some(person) = self.people.get_mut(&peer) else {
                continue;
            };
            let can_signal = person.member.is_some();
            if let Some(link) = &mut person.link {
                let out = link.on_time(can_signal, ctx);
                self.apply_link(peer, out, ctx);
            } else if person.relink.is_some_and(|at| at <= ctx.now.mono) {
                person.relink = None;
                self.relink(peer, ctx);
            }
        }
    }

    /// When [`Room::on_time`] has something to do.
    pub fn deadline(&self) -> Option<Deadline> {
        if !self.open {
            return None;
        }
        let members = self.members.values().map(Member::deadline);
        let people = self.people.values().map(|p| match &p.link {
            Some(link) => link.deadline(),
            None => p.relink.map(|at| Deadline {
                at,
                why: "link again",
            }),
        });
        members
            .chain(people)
            .fold(self.session.deadline(), Deadline::earliest)
    }

    /// Who has our message on disk.
    pub fn delivered(&self, seq: u64) -> Vec<PeerId> {
        self.chat.delivered(seq)
    }

    /// The room as front ends see it.
    pub fn view(&self) -> RoomView {
        let (session, why) = self.session.phase();
        RoomView {
            room: self.id,
            invite: self.invite.link(),
            server: self.invite.server().to_string(),
            session,
            why,
        }
    }

    /// The people as front ends see them.
    pub fn people(&self) -> Vec<PersonView> {
        self.people
            .keys()
            .filter_map(|p| self.person_view(*p))
            .collect()
    }

    /// The offers as front ends see them.
    pub fn offers(&self) -> Vec<OfferView> {
        let ours = self
            .serves
            .ids()
            .into_iter()
            .filter_map(|id| self.offer_view(self.me, id));
        let theirs = self
            .fetches
            .ids()
            .into_iter()
            .filter_map(|(p, id)| self.offer_view(p, id));
        ours.chain(theirs).collect()
    }

    /// What changed since the last call.
    pub fn take_changes(&mut self) -> Vec<Change> {
        let changes = std::mem::take(&mut self.changes);
        let mut out = Vec::new();
        if changes.gone {
            out.push(Change::RoomGone { room: self.id });
        }
        if !self.open {
            return out;
        }
        if changes.room {
            out.push(Change::Room(self.view()));
        }
        out.extend(
            changes
                .people
                .iter()
                .filter_map(|p| self.person_view(*p))
                .map(Change::Person),
        );
        out.extend(changes.messages.into_iter().map(Change::Message));
        let offers = changes
            .offers
            .iter()
            .filter_map(|(p, id)| self.offer_view(*p, *id));
        out.extend(offers.map(Change::Offer));
        out
    }

    fn after_session(
        &mut self,
        before: (kith_api::SessionPhase, Option<Code>),
        out: Option<SessionOut>,
        ctx: &mut Ctx<'_>,
    ) {
        self.changes.room |= before != self.session.phase();
        match out {
            None => {}
            Some(SessionOut::Joined(others)) => {
                others.into_iter().for_each(|sid| self.meet(sid, ctx));
            }
            Some(SessionOut::MemberJoined(sid)) => self.meet(sid, ctx),
            Some(SessionOut::MemberLeft(sid, why)) => self.part(sid, why, ctx),
            Some(SessionOut::Signal(from, body)) => {
                if let Some(member) = self.members.get(&from) {
                    member.read(body, ctx);
                }
            }
            Some(SessionOut::Lost) => self.close_members(ctx),
        }
    }

    fn meet(&mut self, sid: Sid, ctx: &mut Ctx<'_>) {
        let Some(me) = self.session.joined_sid() else {
            return;
        };
        // More members than a room may hold is the server's lie; it must not cost us memory.
        if self.members.contains_key(&sid) || self.members.len() >= usize::from(u8::MAX) {
            return;
        }
        self.members.insert(sid, Member::new(self.id, me, sid, ctx));
    }

    fn part(&mut self, sid: Sid, why: LeftWhy, ctx: &mut Ctx<'_>) {
        let Some(member) = self.members.remove(&sid) else {
            return;
        };
        member.close(ctx);
        let Some((peer, _)) = member.peer() else {
            return;
        };
        let Some(person) = self.people.get_mut(&peer) else {
            return;
        };
        if person.member != Some(sid) {
            return;
        }
        person.member = None;
        person.relink = None;
        self.changes.people.insert(peer);
        // Only its own word ends a link: the server may have lost it, or may lie.
        if why == LeftWhy::Left && person.link.as_ref().is_some_and(|l| !l.is_open()) {
            self.drop_link(peer, None, ctx);
        }
    }

    fn close_members(&mut self, ctx: &mut Ctx<'_>) {
        for member in std::mem::take(&mut self.members).into_values() {
            member.close(ctx);
        }
        for (peer, person) in &mut self.people {
            person.member = None;
            person.relink = None;
            self.changes.people.insert(*peer);
        }
    }

    fn on_ready(
        &mut self,
        sid: Sid,
        hello: Hello,
        tag: SealTag,
        known: &mut BTreeMap<PeerId, PeerRecord>,
        ctx: &mut Ctx<'_>,
    ) {
        let peer = hello.id_pk.peer_id();
        if peer == self.me {
            return;
        }
        if !self.people.contains_key(&peer) && self.people.len() >= MAX_PEOPLE {
            tracing::warn!(room = %self.id, "too many people");
            return;
        }
        let Some(member) = self.members.get_mut(&sid) else {
            return;
        };
        member.on_ready(peer, tag);
        let initiator = member.initiator();
        let name = clean_name(&hello.name, &fallback_name(&peer));
        let record = PeerRecord {
            id_pk: hello.id_pk,
            name: name.clone(),
            met: ctx.now.unix_ms,
        };
        if known.get(&peer).is_none_or(|k| k.name != name) {
            let met = known.get(&peer).map_or(record.met, |k| k.met);
            let record = PeerRecord { met, ..record };
            known.insert(peer, record.clone());
            let job = ctx.job();
            ctx.out(Effect::Store(job, vec![Put::Peer(record)]));
        }
        let person = self
            .people
            .entry(peer)
            .or_insert_with(|| Person::new(hello.fp, tag));
        let same_session = person.fp == hello.fp;
        if person.name != name {
            // Offers name their receivers.
            let ours = self.serves.ids().into_iter().map(|id| (self.me, id));
            self.changes.offers.extend(ours);
        }
        person.name = name;
        person.member = Some(sid);
        person.fp = hello.fp;
        person.tag = tag;
        person.relink = None;
        person.failures = 0;
        self.changes.people.insert(peer);
        let keep = person
            .link
            .as_ref()
            .filter(|l| same_session && l.is_open())
            .map(Link::id);
        match keep {
            Some(link) if initiator => self.sealed_to(peer, SealedBody::Keep { link }, ctx),
            Some(_) => {}
            None => {
                self.drop_link(peer, None, ctx);
                if initiator {
                    self.new_link(peer, ctx);
                }
            }
        }
    }

    fn on_sealed(&mut self, sid: Sid, peer: PeerId, body: SealedBody, ctx: &mut Ctx<'_>) {
        let initiator = self.members.get(&sid).is_some_and(Member::initiator);
        let Some(person) = self.people.get_mut(&peer) else {
            return;
        };
        if person.member != Some(sid) {
            return;
        }
        let current = person.link.as_ref().map(Link::id);
        match body {
            SealedBody::SdpOffer {
                link,
                restart: false,
                sdp,
            } if !initiator => {
                if current == Some(link) {
                    return;
                }
                self.drop_link(peer, None, ctx);
                let ice = self.session.ice_servers();
                let Some(person) = self.people.get_mut(&peer) else {
                    return;
                };
                let answer =
                    Link::answer(self.id, peer, link, person.fp, person.tag, ice, sdp, ctx);
                match answer {
                    Ok(link) => person.link = Some(link),
                    Err(code) => person.why = Some(code),
                }
                self.changes.people.insert(peer);
            }
            SealedBody::Keep { link } if !initiator => {
                let kept = current == Some(link) && person.link.as_ref().is_some_and(Link::is_open);
                if !kept {
                    self.sealed_to(peer, SealedBody::Fresh {}, ctx);
                }
            }
            SealedBody::Fresh {} if initiator => {
                // One that is only just being offered is as fresh as it gets.
                let offering = person
                    .link
                    .as_ref()
                    .is_some_and(|l| l.view().0 == LinkPhase::Signaling);
                if !offering {
                    self.drop_link(peer, None, ctx);
                    self.new_link(peer, ctx);
                }
            }
            SealedBody::SdpOffer { link, .. }
            | SealedBody::SdpAnswer { link, .. }
            | SealedBody::Candidate { link, .. }
            | SealedBody::Restart { link }
                if current == Some(link) =>
            {
                let Some(l) = person.link.as_mut() else {
                    return;
                };
                let out = l.on_sealed(body, ctx);
                self.apply_link(peer, out, ctx);
            }
            SealedBody::SdpOffer { restart: true, .. } if !initiator => {
                self.sealed_to(peer, SealedBody::Fresh {}, ctx);
            }
            // The other still mends a link that is gone here.
            SealedBody::SdpOffer { restart: true, .. } | SealedBody::Restart { .. }
                if initiator && current.is_none() =>
            {
                self.new_link(peer, ctx);
            }
            SealedBody::SdpOffer { .. }
            | SealedBody::SdpAnswer { .. }
            | SealedBody::Candidate { .. }
            | SealedBody::Restart { .. }
            | SealedBody::Keep { .. }
            | SealedBody::Fresh {}
            | SealedBody::Unknown => {}
        }
    }

    fn new_link(&mut self, peer: PeerId, ctx: &mut Ctx<'_>) {
        let ice = self.session.ice_servers();
        let Some(person) = self.people.get_mut(&peer) else {
            return;
        };
        person.relink = None;
        person.link = Some(Link::offer(self.id, peer, person.fp, person.tag, ice, ctx));
        self.changes.people.insert(peer);
    }

    fn relink(&mut self, peer: PeerId, ctx: &mut Ctx<'_>) {
        let Some(person) = self.people.get(&peer) else {
            return;
        };
        let Some(member) = person.member.and_then(|sid| self.members.get(&sid)) else {
            return;
        };
        if member.initiator() {
            self.new_link(peer, ctx);
        } else {
            self.sealed_to(peer, SealedBody::Fresh {}, ctx);
            self.schedule_relink(peer, ctx);
        }
    }

    fn schedule_relink(&mut self, peer: PeerId, ctx: &mut Ctx<'_>) {
        let Some(person) = self.people.get_mut(&peer) else {
            return;
        };
        let delay = RELINK_FIRST
            .saturating_mul(1 << person.failures.min(10))
            .min(RELINK_LAST);
        person.failures = person.failures.saturating_add(1);
        person.relink = person.member.map(|_| ctx.now.mono + delay);
    }

    fn drop_link(&mut self, peer: PeerId, why: Option<Code>, ctx: &mut Ctx<'_>) {
        let Some(person) = self.people.get_mut(&peer) else {
            return;
        };
        let Some(link) = person.link.take() else {
            return;
        };
        link.close(ctx);
        person.relink = None;
        person.why = why;
        self.changes.people.insert(peer);
        self.chat.on_closed(peer);
        let out = self.serves.on_closed(peer, ctx);
        self.apply_serves(out, ctx);
        let out = self.fetches.on_closed(peer);
        self.apply_fetches(out, ctx);
    }

    fn apply_link(&mut self, peer: PeerId, out: Vec<LinkOut>, ctx: &mut Ctx<'_>) {
        for out in out {
            match out {
                LinkOut::Sealed(body) => self.sealed_to(peer, body, ctx),
                LinkOut::Changed => {
                    self.changes.people.insert(peer);
                }
                LinkOut::Opened => {
                    if let Some(person) = self.people.get_mut(&peer) {
                        person.why = None;
                        person.failures = 0;
                    }
                    let out = self.chat.on_open(peer);
                    self.apply_chat(out, ctx);
                    let out = self.serves.on_open(peer);
                    self.apply_serves(out, ctx);
                }
                LinkOut::Message(message) => self.on_message(peer, *message, ctx),
                LinkOut::Ack {
                    transfer,
                    entry,
                    ranges,
                } => {
                    if let Some(link) = self.link(peer).map(Link::id) {
                        let out = self.serves.on_ack(peer, link, transfer, entry, ranges);
                        self.apply_serves(out, ctx);
                    }
                }
                LinkOut::Gone(code) => {
                    tracing::info!(%peer, code = code.name(), "link gone");
                    self.drop_link(peer, Some(code), ctx);
                    if !code.is_final() {
                        self.schedule_relink(peer, ctx);
                    }
                }
            }
        }
    }

    fn on_message(&mut self, peer: PeerId, message: PeerMessage, ctx: &mut Ctx<'_>) {
        let Some(link) = self.link(peer).map(Link::id) else {
            return;
        };
        match message {
            PeerMessage::ChatSync { have } => {
                let out = self.chat.on_sync(peer, have, ctx);
                self.apply_chat(out, ctx);
            }
            PeerMessage::Chat { seq, id, at, text } => {
                let out = self.chat.on_chat(peer, seq, id, at, text, ctx);
                self.apply_chat(out, ctx);
            }
            PeerMessage::ChatAck { upto } => {
                let out = self.chat.on_ack(peer, upto, ctx);
                self.apply_chat(out, ctx);
            }
            PeerMessage::Offer { .. }
            | PeerMessage::Entries { .. }
            | PeerMessage::EntryDone { .. }
            | PeerMessage::Gone { .. } => {
                let out = self.fetches.on_message(peer, link, message, ctx);
                self.apply_fetches(out, ctx);
            }
            PeerMessage::Browse { .. }
            | PeerMessage::Accept { .. }
            | PeerMessage::Decline { .. }
            | PeerMessage::Have { .. }
            | PeerMessage::Want { .. }
            | PeerMessage::Cancel { .. }
            | PeerMessage::Verified { .. }
            | PeerMessage::OfferDone { .. } => {
                let out = self.serves.on_message(peer, link, message, ctx);
                self.apply_serves(out, ctx);
            }
            PeerMessage::Bye {} => self.drop_link(peer, None, ctx),
            PeerMessage::Confirm { .. } | PeerMessage::Unknown => {}
        }
    }

    fn apply_chat(&mut self, out: Vec<ChatOut>, ctx: &mut Ctx<'_>) {
        for out in out {
            match out {
                ChatOut::Send(peer, message) => self.send(peer, message, ctx),
                ChatOut::Show(author, seq, record) => {
                    let view = self.message_view(author, seq, &record, ctx);
                    self.changes.messages.push(view);
                }
                ChatOut::Delivered(_, from, to) => {
                    for (seq, record) in self.chat.own(from, to) {
                        let view = self.message_view(self.me, seq, &record, ctx);
                        self.changes.messages.push(view);
                    }
                }
            }
        }
    }

    fn apply_serves(&mut self, out: Vec<ServeOut>, ctx: &mut Ctx<'_>) {
        for out in out {
            match out {
                ServeOut::Send(peer, message) => self.send(peer, message, ctx),
                ServeOut::Changed(id) => {
                    self.changes.offers.insert((self.me, id));
                }
            }
        }
    }

    fn apply_fetches(&mut self, out: Vec<FetchOut>, ctx: &mut Ctx<'_>) {
        for out in out {
            match out {
                FetchOut::Send(peer, message) => self.send(peer, message, ctx),
                FetchOut::Ack {
                    peer,
                    transfer,
                    entry,
                    ranges,
                } => {
                    if let Some(link) = self.link(peer) {
                        link.ack(transfer, entry, ranges, ctx);
                    }
                }
                FetchOut::Changed(peer, id) => {
                    self.changes.offers.insert((peer, id));
                }
            }
        }
    }

    fn send(&self, peer: PeerId, message: PeerMessage, ctx: &mut Ctx<'_>) {
        if let Some(link) = self.link(peer) {
            link.send(message, ctx);
        }
    }

    fn sealed_to(&self, peer: PeerId, body: SealedBody, ctx: &mut Ctx<'_>) {
        let member = self.people.get(&peer).and_then(|p| p.member);
        if let Some(member) = member.and_then(|sid| self.members.get(&sid)) {
            member.send(body, ctx);
        }
    }

    fn link(&self, peer: PeerId) -> Option<&Link> {
        self.people.get(&peer)?.link.as_ref()
    }

    fn linked(&self) -> Vec<PeerId> {
        let open = |p: &Person| p.link.as_ref().is_some_and(Link::is_open);
        self.people
            .iter()
            .filter(|(_, p)| open(p))
            .map(|(id, _)| *id)
            .collect()
    }

    fn name_of(&self, peer: PeerId) -> String {
        self.people
            .get(&peer)
            .map_or_else(|| fallback_name(&peer), |p| p.name.clone())
    }

    fn message_view(
        &self,
        author: PeerId,
        seq: u64,
        record: &ChatRecord,
        ctx: &Ctx<'_>,
    ) -> MessageView {
        let mine = author == self.me;
        MessageView {
            room: self.id,
            author,
            name: if mine {
                ctx.config.name.clone()
            } else {
                self.name_of(author)
            },
            seq,
            id: record.id,
            at: record.at,
            stored: record.stored,
            text: record.text.clone(),
            delivered: if mine {
                self.chat.delivered(seq)
            } else {
                Vec::new()
            },
        }
    }

    fn person_view(&self, peer: PeerId) -> Option<PersonView> {
        let p = self.people.get(&peer)?;
        let (link, presence, route) = match (&p.link, p.member, p.why) {
            (Some(link), _, _) => link.view(),
            (None, Some(_), Some(_)) => (LinkPhase::Failed, Presence::Online, None),
            (None, Some(_), None) => (LinkPhase::Disconnected, Presence::Online, None),
            (None, None, _) => (LinkPhase::Disconnected, Presence::Offline, None),
        };
        let inviter = peer == self.invite.inviter();
        let name = p.name.clone();
        Some(PersonView {
            room: self.id,
            peer,
            name,
            presence,
            link,
            route,
            why: p.why,
            inviter,
        })
    }

    fn offer_view(&self, from: PeerId, id: OfferId) -> Option<OfferView> {
        if from == self.me {
            self.serves.view(id, |peer| self.name_of(peer))
        } else {
            self.fetches.view(from, id)
        }
    }
}

impl Person {
    fn new(fp: Digest, tag: SealTag) -> Self {
        Person {
            name: String::new(),
            member: None,
            fp,
            tag,
            link: None,
            why: None,
            relink: None,
            failures: 0,
        }
    }
}
