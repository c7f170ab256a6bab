//! One room: who is here, and who links to whom.
//!
//! A *member* is a connection of somebody to the room server, known by its sid. A *person* is an
//! identity, proven by the sealing handshake with a member. Links belong to persons and outlive
//! members: losing the server, theirs or ours, touches no link.

mod apply;
mod holding;
mod linking;
mod sealing;
mod seats;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kith_api::ApiError;
use kith_protocol::ids::{Digest, SealTag};
use kith_protocol::invite::RoomKeys;
use kith_protocol::peer::PeerMessage;
use kith_protocol::voucher::Voucher;
use kith_protocol::{Code, Invite, OfferId, PeerId, RoomId, Sid};

use crate::chat::Chat;
use crate::engine::Ctx;
use crate::fetch::Fetches;
use crate::input::{
    FetchNews, HoldKey, HoldNews, JobId, LinkNews, NewOffer, ReqId, SealNews, ServeKey, ServeNews,
    SessionNews,
};
use crate::link::Link;
use crate::member::Member;
use crate::record::{ChatRecord, FetchKey, PeerRecord, Saved};
use crate::serve::Serves;
use crate::session::Session;
use crate::time::{Deadline, Mono, Now};

/// A link that failed is tried again after this, doubled each time …
pub const RELINK_FIRST: Duration = Duration::from_secs(2);
/// … up to this.
pub const RELINK_LAST: Duration = Duration::from_secs(60);

/// A person may have us make so many new links at once …
pub const LINKS_MOST: u32 = 10;
/// … and another one after each of these.
pub const LINK_EVERY: Duration = Duration::from_secs(3);
/// Members of one room with whom handshakes go on at a time; a room holds fewer.
pub const MAX_MEMBERS: usize = 255;
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
    waiting: seats::Waiting,
    people: BTreeMap<PeerId, Person>,
    chat: Chat,
    serves: Serves,
    fetches: Fetches,
    /// Fetches may stand otherwise than when turns were given last.
    unsettled: bool,
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
    /// New links that it may still have us make, as of when; each costs sockets and a handshake.
    links_left: u32,
    links_at: Mono,
}

/// What front ends must be told.
#[derive(Debug, Default)]
struct Changes {
    room: bool,
    gone: bool,
    people: BTreeSet<PeerId>,
    offers: BTreeSet<(PeerId, OfferId)>,
    /// Author, number and entry. What is stored after the room was left waits until it is entered
    /// again: whoever keeps messages would miss one otherwise.
    messages: Vec<(PeerId, u64, ChatRecord)>,
}

impl Room {
    /// A room that is not yet entered, with what the store knows of it.
    pub fn new(invite: Invite, me: PeerId, saved: &Saved, keep: bool, now: Now) -> Self {
        let keys = invite.keys();
        let id = keys.room_id();
        Room {
            session: Session::new(id, invite.server().clone()),
            chat: Chat::new(id, me, &saved.heads, &saved.acked),
            serves: Serves::new(id, me),
            fetches: Fetches::new(id, &saved.fetches, keep).seen(now),
            unsettled: true,
            id,
            invite,
            keys,
            me,
            open: false,
            members: BTreeMap::new(),
            waiting: seats::Waiting::default(),
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
        self.unsettled = true;
        self.changes.room = true;
        for passed in self.fetches.passed() {
            let out = self.serves.pass_on(passed, ctx.now.unix_ms, &[]);
            self.apply_serves(out, ctx);
        }
        let out = self.chat.on_time(ctx);
        self.apply_chat(out, ctx);
        self.session.start(ctx);
    }

    /// Says good-bye and closes everything.
    pub fn leave(&mut self, ctx: &mut Ctx<'_>) {
        if !self.open {
            return;
        }
        self.serves.stop(ctx);
        self.fetches.stop(ctx);
        self.unsettled = true;
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
            SealNews::Superseded => member.on_superseded(ctx),
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

    /// What the files of an offer of ours hash to.
    pub fn on_vouched(&mut self, offer: OfferId, voucher: Option<Box<Voucher>>, ctx: &mut Ctx<'_>) {
        let out = self.serves.on_vouched(offer, voucher);
        self.apply_serves(out, ctx);
    }

    /// News of a fetch worker.
    pub fn on_fetch(&mut self, key: FetchKey, run: u32, news: FetchNews, ctx: &mut Ctx<'_>) {
        let out = self.fetches.handle(key, run, news, ctx);
        self.apply_fetches(out, ctx);
    }

    /// News of a hold worker.
    pub fn on_hold(&mut self, key: HoldKey, run: u32, news: HoldNews, ctx: &mut Ctx<'_>) {
        let out = self.fetches.on_hold(key, run, news, ctx);
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
        self.session.on_addresses_changed(ctx);
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
        let out = self.chat.on_time(ctx);
        self.apply_chat(out, ctx);
        let out = self.fetches.on_time(ctx);
        self.apply_fetches(out, ctx);
        self.members.values_mut().for_each(|m| m.on_time(ctx));
        self.seat_waiting(ctx);
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
            .chain([self.chat.deadline(), self.fetches.deadline()])
            .fold(self.session.deadline(), Deadline::earliest)
    }

    /// Who has our message on disk.
    pub fn delivered(&self, seq: u64) -> Vec<PeerId> {
        self.chat.delivered(seq)
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
            links_left: LINKS_MOST,
            links_at: Mono::default(),
        }
    }

    /// Whether the person may have us make a new link now.
    fn may_have_link(&mut self, now: Mono) -> bool {
        let earned = now.since(self.links_at).as_millis() / LINK_EVERY.as_millis();
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(u32::MAX);
            self.links_left = self.links_left.saturating_add(earned).min(LINKS_MOST);
            self.links_at = now;
        }
        let may = self.links_left > 0;
        self.links_left = self.links_left.saturating_sub(1);
        may
    }
}

#[cfg(test)]
mod tests;
