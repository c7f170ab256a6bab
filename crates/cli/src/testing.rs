//! Views and streams for tests.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use kith_api::{
    FetchPhase, FileView, LinkPhase, MessageView, OfferView, Paused, PersonView, Presence,
    ReceiverView, RoomView, ServePhase, SessionPhase, Traffic,
};
use kith_protocol::{Code, MsgId, OfferId, PeerId, RoomId};

pub const ROOM: RoomId = RoomId([1; 16]);
pub const ME: PeerId = PeerId([2; 16]);
pub const ADA: PeerId = PeerId([3; 16]);
pub const BOB: PeerId = PeerId([4; 16]);

/// A stream whose text can be read back.
#[derive(Clone, Default)]
pub struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub fn room(session: SessionPhase, why: Option<Code>) -> RoomView {
    RoomView {
        room: ROOM,
        invite: "kith://example.org/j#v1.s.i".into(),
        server: "https://example.org".into(),
        session,
        why,
    }
}

pub fn person(peer: PeerId, name: &str, link: LinkPhase, presence: Presence) -> PersonView {
    PersonView {
        room: ROOM,
        peer,
        name: name.into(),
        presence,
        link,
        route: None,
        why: None,
        inviter: false,
    }
}

pub fn offer(name: &str, files: &[(&str, u64)]) -> OfferView {
    let file = |(path, size): &(&str, u64)| FileView {
        path: (*path).into(),
        size: *size,
        dir: false,
    };
    OfferView {
        room: ROOM,
        from: ADA,
        offer: OfferId([9; 16]),
        mine: false,
        at: 0,
        name: name.into(),
        note: None,
        entries: files.len() as u32,
        preview: files.iter().map(file).collect(),
        total: files.iter().map(|f| f.1).sum(),
        phase: FetchPhase::Offered,
        done: 0,
        paused: Paused::default(),
        queued: None,
        cap: None,
        missing: None,
        dir: None,
        path: None,
        why: None,
        by: None,
        strategy: None,
        receivers: Vec::new(),
        traffic: Traffic::default(),
        can: Vec::new(),
    }
}

pub fn receiver(peer: PeerId, phase: ServePhase, why: Option<Code>) -> ReceiverView {
    ReceiverView {
        peer,
        name: "Ada".into(),
        phase,
        done: 0,
        paused: Paused::default(),
        cap: None,
        can: Vec::new(),
        why,
    }
}

pub fn message(author: PeerId, seq: u64, stored: u64, text: &str) -> MessageView {
    MessageView {
        room: ROOM,
        author,
        name: "Ada".into(),
        seq,
        id: MsgId([seq as u8; 16]),
        at: stored,
        stored,
        text: text.into(),
        delivered: Vec::new(),
    }
}
