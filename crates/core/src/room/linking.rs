//! Links with people: made, lost, tried again, and what comes over them.

use kith_protocol::peer::PeerMessage;
use kith_protocol::sealed::SealedBody;
use kith_protocol::{Code, PeerId};

use super::{RELINK_FIRST, RELINK_LAST, Room};
use crate::engine::Ctx;
use crate::link::{Link, LinkOut};

impl Room {
    pub(super) fn new_link(&mut self, peer: PeerId, ctx: &mut Ctx<'_>) {
        let ice = self.session.ice_servers();
        let Some(person) = self.people.get_mut(&peer) else {
            return;
        };
        person.relink = None;
        person.link = Some(Link::offer(self.id, peer, person.fp, person.tag, ice, ctx));
        self.changes.people.insert(peer);
    }

    pub(super) fn relink(&mut self, peer: PeerId, ctx: &mut Ctx<'_>) {
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

    /// Has a new link made in the place of one that stands, if the person can be reached.
    fn renew(&mut self, peer: PeerId, ctx: &mut Ctx<'_>) {
        let member = self.people.get(&peer).and_then(|p| p.member);
        let Some(member) = member.and_then(|sid| self.members.get(&sid)) else {
            return;
        };
        tracing::info!(%peer, "link renewed after a silence");
        if member.initiator() {
            self.drop_link(peer, None, ctx);
            self.new_link(peer, ctx);
        } else {
            self.sealed_to(peer, SealedBody::Fresh {}, ctx);
        }
    }

    pub(super) fn schedule_relink(&mut self, peer: PeerId, ctx: &mut Ctx<'_>) {
        let Some(person) = self.people.get_mut(&peer) else {
            return;
        };
        let delay = RELINK_FIRST
            .saturating_mul(1 << person.failures.min(10))
            .min(RELINK_LAST);
        person.failures = person.failures.saturating_add(1);
        person.relink = person.member.map(|_| ctx.now.mono + delay);
    }

    pub(super) fn drop_link(&mut self, peer: PeerId, why: Option<Code>, ctx: &mut Ctx<'_>) {
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
        let out = self.fetches.on_closed(peer, ctx);
        self.apply_fetches(out, ctx);
    }

    pub(super) fn apply_link(&mut self, peer: PeerId, out: Vec<LinkOut>, ctx: &mut Ctx<'_>) {
        for out in out {
            match out {
                LinkOut::Sealed(body) => self.sealed_to(peer, body, ctx),
                LinkOut::Changed => {
                    self.changes.people.insert(peer);
                }
                LinkOut::Silent(silent) => {
                    self.changes.people.insert(peer);
                    self.serves.on_silent(peer, silent, ctx);
                    let out = self.fetches.on_silent(peer, silent, ctx);
                    self.apply_fetches(out, ctx);
                }
                LinkOut::Opened => {
                    if let Some(person) = self.people.get_mut(&peer) {
                        person.why = None;
                        person.failures = 0;
                    }
                    let out = self.chat.on_open(peer);
                    self.apply_chat(out, ctx);
                    if let Some(fp) = self.people.get(&peer).map(|p| p.fp) {
                        let out = self.serves.on_open(peer, fp);
                        self.apply_serves(out, ctx);
                    }
                    if let Some(link) = self.link(peer).map(Link::id) {
                        let out = self.fetches.on_open(peer, link, ctx);
                        self.apply_fetches(out, ctx);
                    }
                }
                LinkOut::Message(message) => self.on_message(peer, *message, ctx),
                LinkOut::Ack {
                    transfer,
                    entry,
                    ranges,
                } => {
                    if let Some(link) = self.link(peer).map(Link::id) {
                        let out = self.serves.on_ack(peer, link, transfer, entry, ranges, ctx);
                        self.apply_serves(out, ctx);
                    }
                }
                LinkOut::Worn => self.renew(peer, ctx),
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

    pub(super) fn on_message(&mut self, peer: PeerId, message: PeerMessage, ctx: &mut Ctx<'_>) {
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
            | PeerMessage::Swarm { .. }
            | PeerMessage::Holds { .. }
            | PeerMessage::Pull { .. }
            | PeerMessage::LetGo { .. }
            | PeerMessage::Voucher { .. }
            | PeerMessage::StandIn { .. }
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
            PeerMessage::Pause { offer_id, .. }
            | PeerMessage::Resume { offer_id }
            | PeerMessage::Pace { offer_id, .. } => {
                self.on_hold_message(peer, offer_id, message, ctx);
            }
            // The link itself has taken those of strands.
            PeerMessage::Confirm { .. }
            | PeerMessage::Strand { .. }
            | PeerMessage::Ring { .. }
            | PeerMessage::InCall { .. }
            | PeerMessage::OutOfCall { .. }
            | PeerMessage::Unknown => {}
        }
    }
}
