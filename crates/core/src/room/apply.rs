//! What the machines of a room tell it.

use kith_protocol::PeerId;
use kith_protocol::peer::PeerMessage;
use kith_protocol::sealed::SealedBody;

use super::{Person, Room};
use crate::chat::ChatOut;
use crate::engine::{Ctx, fallback_name};
use crate::fetch::FetchOut;
use crate::link::Link;
use crate::serve::ServeOut;

impl Room {
    pub(super) fn apply_chat(&mut self, out: Vec<ChatOut>, ctx: &mut Ctx<'_>) {
        for out in out {
            match out {
                ChatOut::Send(peer, message) => self.send(peer, message, ctx),
                ChatOut::Show(author, seq, record) => {
                    self.changes.messages.push((author, seq, record));
                }
                ChatOut::Delivered(_, from, to) => {
                    let own = self.chat.own(from, to).into_iter();
                    let own = own.map(|(seq, record)| (self.me, seq, record));
                    self.changes.messages.extend(own);
                }
            }
        }
    }

    pub(super) fn apply_serves(&mut self, out: Vec<ServeOut>, ctx: &mut Ctx<'_>) {
        for out in out {
            match out {
                ServeOut::Send(peer, message) => self.send(peer, message, ctx),
                ServeOut::Changed(id) => {
                    self.changes.offers.insert((self.serves.whose(id), id));
                }
                ServeOut::KeptBack(from, id) => {
                    self.changes.offers.insert((from, id));
                }
            }
        }
    }

    pub(super) fn apply_fetches(&mut self, out: Vec<FetchOut>, ctx: &mut Ctx<'_>) {
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
                FetchOut::Pass(passed) => {
                    let (at, linked) = (ctx.now.unix_ms, self.linked());
                    let out = self.serves.pass_on(passed, at, &linked);
                    self.apply_serves(out, ctx);
                }
                FetchOut::KeepBack(key, why) => {
                    let out = self.serves.keep_back(key, why, ctx);
                    self.apply_serves(out, ctx);
                }
                FetchOut::Changed(peer, id) => {
                    self.unsettled = true;
                    self.changes.offers.insert((peer, id));
                }
            }
        }
    }

    pub(super) fn send(&self, peer: PeerId, message: PeerMessage, ctx: &mut Ctx<'_>) {
        if let Some(link) = self.link(peer) {
            link.send(message, ctx);
        }
    }

    pub(super) fn sealed_to(&self, peer: PeerId, body: SealedBody, ctx: &mut Ctx<'_>) {
        let member = self.people.get(&peer).and_then(|p| p.member);
        if let Some(member) = member.and_then(|sid| self.members.get(&sid)) {
            member.send(body, ctx);
        }
    }

    pub(super) fn link(&self, peer: PeerId) -> Option<&Link> {
        self.people.get(&peer)?.link.as_ref()
    }

    pub(super) fn linked(&self) -> Vec<PeerId> {
        let open = |p: &Person| p.link.as_ref().is_some_and(Link::is_open);
        self.people
            .iter()
            .filter(|(_, p)| open(p))
            .map(|(id, _)| *id)
            .collect()
    }

    pub(super) fn name_of(&self, peer: PeerId) -> String {
        self.people
            .get(&peer)
            .map_or_else(|| fallback_name(&peer), |p| p.name.clone())
    }
}
