//! The room as front ends see it.

use kith_api::{Change, LinkPhase, MessageView, OfferView, PersonView, Presence, RoomView};
use kith_protocol::{OfferId, PeerId};

use super::Room;
use crate::record::ChatRecord;

impl Room {
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

    /// What changed since the last call; `name_of` names authors, who need not be here any more.
    pub fn take_changes(&mut self, name_of: impl Fn(PeerId) -> String) -> Vec<Change> {
        let changes = std::mem::take(&mut self.changes);
        let mut out = Vec::new();
        if changes.gone {
            out.push(Change::RoomGone { room: self.id });
        }
        if !self.open {
            self.changes.messages = changes.messages;
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
        let messages = changes.messages.into_iter();
        out.extend(messages.map(|(author, seq, record)| {
            Change::Message(self.message_view(author, name_of(author), seq, record))
        }));
        let offers = changes
            .offers
            .iter()
            .filter_map(|(p, id)| self.offer_view(*p, *id));
        out.extend(offers.map(|offer| Change::Offer(Box::new(offer))));
        out
    }

    fn message_view(
        &self,
        author: PeerId,
        name: String,
        seq: u64,
        record: ChatRecord,
    ) -> MessageView {
        MessageView {
            room: self.id,
            author,
            name,
            seq,
            id: record.id,
            at: record.at,
            stored: record.stored,
            text: record.text,
            delivered: if author == self.me {
                self.chat.delivered(seq)
            } else {
                Vec::new()
            },
        }
    }

    pub(super) fn person_view(&self, peer: PeerId) -> Option<PersonView> {
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

    pub(super) fn offer_view(&self, from: PeerId, id: OfferId) -> Option<OfferView> {
        if from == self.me {
            self.serves.view(id, |peer| self.name_of(peer))
        } else {
            let mut view = self.fetches.view(from, id)?;
            view.receivers = self.serves.passed_to(id, |peer| self.name_of(peer));
            Some(view)
        }
    }
}
