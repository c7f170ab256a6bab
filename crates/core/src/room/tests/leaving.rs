//! Leaving a room and entering it again.

use kith_api::{Change, MessageView};
use kith_protocol::MsgId;

use super::*;
use crate::record::Put;

impl Us {
    /// The link that somebody smaller than us offers is open.
    fn open_link(&mut self, them: Sid, peer: PeerId) {
        self.say(them, offer(1));
        self.link(peer, LinkNews::ChannelsOpen);
        let confirm = PeerMessage::Confirm {
            my_fp: fp(),
            your_fp: config().fp,
            session: TAG,
        };
        self.hear(peer, confirm);
        assert_eq!(self.people()[0].link, LinkPhase::Connected);
    }

    fn hear(&mut self, peer: PeerId, message: PeerMessage) -> Vec<Effect> {
        self.link(peer, LinkNews::Message(Box::new(message)))
    }

    fn link(&mut self, peer: PeerId, news: LinkNews) -> Vec<Effect> {
        let room = self.room;
        let SealedBody::SdpOffer { link, .. } = offer(1) else {
            panic!()
        };
        self.input(Input::Link {
            room,
            peer,
            link,
            news,
        })
    }
}

/// The messages that are shown.
fn shown(effects: &[Effect]) -> Vec<&MessageView> {
    let mut shown = Vec::new();
    for effect in effects {
        if let Effect::Event(event) = effect
            && let Change::Message(message) = &event.change
        {
            shown.push(message);
        }
    }
    shown
}

/// The job that stores chat.
fn storing(effects: &[Effect]) -> JobId {
    let job = |e: &Effect| match e {
        Effect::Store(job, puts) if matches!(puts[..], [Put::Chat(..)]) => Some(*job),
        _ => None,
    };
    effects.iter().find_map(job).unwrap()
}

#[test]
fn what_is_stored_after_the_room_was_left_is_shown_when_it_is_entered_again() {
    let mut us = Us::new();
    us.meet(SMALL, bob(), "Bob");
    let peer = bob().peer_id();
    us.open_link(SMALL, peer);
    let command = Command::SendText(us.room, "mine".into());
    let mine = storing(&us.input(Input::Command(2, command)));
    let theirs = storing(&us.hear(
        peer,
        PeerMessage::Chat {
            seq: 1,
            id: MsgId([1; 16]),
            at: 1,
            text: "theirs".into(),
        },
    ));
    us.input(Input::Command(3, Command::Leave(us.room)));
    for job in [theirs, mine] {
        let stored = us.input(Input::Stored(job));
        assert!(shown(&stored).is_empty(), "nobody looks at the room");
    }
    let again = us.input(Input::Command(4, Command::Join(invite())));
    let name = |m: &&MessageView| (m.name.clone(), m.seq, m.text.clone());
    assert_eq!(
        shown(&again).iter().map(name).collect::<Vec<_>>(),
        [
            ("Bob".into(), 1, "theirs".into()),
            ("Ada".into(), 1, "mine".into())
        ]
    );
    let later = us.input(Input::Timeout);
    assert!(shown(&later).is_empty(), "once");
}
