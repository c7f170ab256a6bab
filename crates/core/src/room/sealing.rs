//! Members of the room: meeting them, and what they say under seal.

use std::collections::BTreeMap;

use kith_api::LinkPhase;
use kith_protocol::ids::SealTag;
use kith_protocol::peer::clean_name;
use kith_protocol::room::LeftWhy;
use kith_protocol::sealed::{Hello, SealedBody};
use kith_protocol::{Code, PeerId, Sid};

use super::{MAX_PEOPLE, Person, Room};
use crate::effect::Effect;
use crate::engine::{Ctx, fallback_name};
use crate::link::Link;
use crate::member::Member;
use crate::record::{PeerRecord, Put};
use crate::session::SessionOut;

impl Room {
    pub(super) fn after_session(
        &mut self,
        before: (kith_api::SessionPhase, Option<Code>),
        out: Option<SessionOut>,
        ctx: &mut Ctx<'_>,
    ) {
        self.changes.room |= before != self.session.phase();
        match out {
            None => {}
            Some(SessionOut::Joined(others)) => self.meet_all(others, ctx),
            Some(SessionOut::MemberJoined(sid)) => self.meet(sid, ctx),
            Some(SessionOut::MemberLeft(sid, why)) => self.part(sid, why, ctx),
            Some(SessionOut::Signal(from, body)) => {
                // Only members we know of: what somebody said before leaving may come after, and
                // must not bring back a member who would never answer.
                if self.waiting.remove(from) {
                    self.meet(from, ctx);
                }
                if let Some(member) = self.members.get(&from) {
                    member.read(body, ctx);
                }
            }
            Some(SessionOut::Lost) => self.close_members(ctx),
        }
    }

    pub(super) fn part(&mut self, sid: Sid, why: LeftWhy, ctx: &mut Ctx<'_>) {
        self.waiting.remove(sid);
        let Some(member) = self.members.remove(&sid) else {
            return;
        };
        member.close(ctx);
        self.seat_waiting(ctx);
        // Not by the member's seal: it may just be shaking hands anew.
        let person = self.people.iter_mut().find(|(_, p)| p.member == Some(sid));
        let Some((peer, person)) = person.map(|(id, p)| (*id, p)) else {
            return;
        };
        person.member = None;
        person.relink = None;
        self.changes.people.insert(peer);
        // Only its own word ends a link: the server may have lost it, or may lie.
        if why == LeftWhy::Left && person.link.as_ref().is_some_and(|l| !l.is_open()) {
            self.drop_link(peer, None, ctx);
        }
    }

    pub(super) fn close_members(&mut self, ctx: &mut Ctx<'_>) {
        self.waiting.clear();
        for member in std::mem::take(&mut self.members).into_values() {
            member.close(ctx);
        }
        for (peer, person) in &mut self.people {
            person.member = None;
            person.relink = None;
            self.changes.people.insert(*peer);
        }
    }

    pub(super) fn on_ready(
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
        member.on_ready(peer, tag, ctx);
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
            self.changes.offers.extend(ours.chain(self.fetches.ids()));
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
        let Some(link) = keep else {
            self.drop_link(peer, None, ctx);
            if initiator {
                self.new_link(peer, ctx);
            }
            return;
        };
        if initiator {
            self.sealed_to(peer, SealedBody::Keep { link }, ctx);
        }
        let link = self.people.get_mut(&peer).and_then(|p| p.link.as_mut());
        let out = link.map_or_else(Vec::new, |l| l.on_new_seal(ctx));
        self.apply_link(peer, out, ctx);
    }

    pub(super) fn on_sealed(
        &mut self,
        sid: Sid,
        peer: PeerId,
        body: SealedBody,
        ctx: &mut Ctx<'_>,
    ) {
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
                if current == Some(link) || !person.may_have_link(ctx.now.mono) {
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
                if !offering && person.may_have_link(ctx.now.mono) {
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
                if person.may_have_link(ctx.now.mono) {
                    self.new_link(peer, ctx);
                }
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
}
