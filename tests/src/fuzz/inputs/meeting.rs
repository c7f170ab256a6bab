//! Room server, handshakes and all that comes before the first word.

use kith_core::input::{Command, Input, LinkNews, SealNews, SessionNews};
use kith_protocol::ids::{Blob, Digest, Signature};
use kith_protocol::peer::PeerMessage;
use kith_protocol::room::{CallNews, LeftWhy, Member, RoomInfo, ServerMessage};
use kith_protocol::sealed::{Hello, SealedBody};
use kith_protocol::{CallId, LinkId, RoomId, Sid, sdp};

use super::super::engine::{PEOPLE, World, fp, id_pk};
use super::{Bytes, tag};

/// Enters a room, meets somebody and opens a link, by the book.
pub(super) fn connect(w: &mut World, b: &mut Bytes<'_>) {
    let who = b.byte();
    let (person, session) = (who % PEOPLE, who / 64);
    let (invite, room) = w.rooms[usize::from(who / 128)].clone();
    // Entering derives keys, so not again for everybody who is met there.
    if w.inside.insert(room) {
        w.command(Command::Join(invite));
    }
    let Some((_, me)) = w.sids.iter().rev().find(|s| s.0 == room).copied() else {
        return;
    };
    let them = sid(person, who & 32 != 0);
    w.give(Input::Session(room, me, SessionNews::Connected));
    let joined = ServerMessage::Joined {
        you: me,
        members: vec![Member {
            sid: them,
            caps: Vec::new(),
        }],
        room: RoomInfo {
            locked: false,
            capacity: 32,
        },
        ice_servers: Vec::new(),
        ice_ttl: 0,
        token: String::new(),
    };
    w.give(Input::Session(room, me, SessionNews::Message(joined)));
    let came = ServerMessage::MemberJoined {
        sid: them,
        caps: Vec::new(),
    };
    w.give(Input::Session(room, me, SessionNews::Message(came)));
    ready(w, room, me, them, person, session);
    let peer = id_pk(person).peer_id();
    let fp_text = sdp::format_fingerprint(&fp(person, w.seal_tag as u8));
    let text = format!("v=0\r\na=fingerprint:sha-256 {fp_text}\r\n");
    let offering = w.links.last().is_some_and(|l| l.1 == peer);
    let link = match w.links.last() {
        Some(l) if offering => l.2,
        Some(_) | None => LinkId([who; 8]),
    };
    let body = if offering {
        SealedBody::SdpAnswer { link, sdp: text }
    } else {
        SealedBody::SdpOffer {
            link,
            restart: false,
            sdp: text,
        }
    };
    let news = SealNews::Body(Box::new(body));
    w.give(Input::Seal {
        room,
        me,
        them,
        news,
    });
    w.give(Input::Link {
        room,
        peer,
        link,
        news: LinkNews::ChannelsOpen,
    });
    let confirm = confirm(w, link);
    w.give(Input::Link {
        room,
        peer,
        link,
        news: LinkNews::Message(Box::new(confirm)),
    });
}

fn ready(w: &mut World, room: RoomId, me: Sid, them: Sid, person: u8, session: u8) {
    // Counts handshakes; the low bit is the app session of the other end.
    w.seal_tag = (w.seal_tag / 2 + 1) * 2 + u64::from(session % 2);
    let hello = Hello {
        id_pk: id_pk(person),
        cert: Signature([0; 64]),
        fp: fp(person, w.seal_tag as u8),
        name: format!("P{session}"),
        caps: Vec::new(),
    };
    let news = SealNews::Ready(Box::new(hello), tag(w.seal_tag));
    w.give(Input::Seal {
        room,
        me,
        them,
        news,
    });
}

pub(super) fn confirm(w: &World, link: LinkId) -> PeerMessage {
    let (session, my_fp) = w
        .tags
        .get(&link)
        .copied()
        .unwrap_or((tag(0), Digest([0; 32])));
    PeerMessage::Confirm {
        my_fp,
        your_fp: Digest([1; 32]),
        session,
    }
}

/// Members on both sides of our own sid.
fn sid(person: u8, high: bool) -> Sid {
    Sid([if high { 0xff - person } else { person }; 16])
}

pub(super) fn my_sid(w: &World, b: &mut Bytes<'_>) -> (RoomId, Sid) {
    b.pick(&w.sids).unwrap_or((w.rooms[0].1, Sid([0x77; 16])))
}

pub(super) fn session(w: &mut World, b: &mut Bytes<'_>) {
    let (room, me) = my_sid(w, b);
    let them = sid(b.byte() % PEOPLE, b.byte() > 128);
    let info = RoomInfo {
        locked: false,
        capacity: 1,
    };
    let message = match b.byte() % 12 {
        0 => return w.give(Input::Session(room, me, SessionNews::Connected)),
        1 => {
            let code = b.code();
            return w.give(Input::Session(room, me, SessionNews::Closed(code)));
        }
        2 => ServerMessage::Challenge {
            nonce: kith_protocol::ids::Nonce([1; 32]),
        },
        3 => ServerMessage::Joined {
            you: if b.byte() > 200 { them } else { me },
            members: (0..b.byte())
                .map(|n| Member {
                    sid: Sid([n; 16]),
                    caps: Vec::new(),
                })
                .collect(),
            room: info,
            ice_servers: Vec::new(),
            ice_ttl: b.number(),
            token: String::new(),
        },
        4 => ServerMessage::MemberJoined {
            sid: them,
            caps: Vec::new(),
        },
        5 => ServerMessage::MemberLeft {
            sid: them,
            why: b
                .pick(&[LeftWhy::Left, LeftWhy::Closed, LeftWhy::Unknown])
                .unwrap_or(LeftWhy::Left),
        },
        6 => ServerMessage::Signal {
            from: them,
            body: Blob::from(vec![1, 5]),
        },
        7 => ServerMessage::Call {
            from: them,
            call_id: CallId([1; 16]),
            step: CallNews::Request,
            why: None,
        },
        8 => ServerMessage::Room { room: info },
        9 => ServerMessage::Restarting {
            after_ms: b.number(),
        },
        10 => ServerMessage::Error {
            code: b.code(),
            message: b.text(),
            about: Some(them),
        },
        _ => ServerMessage::IceServers {
            ice_servers: Vec::new(),
            ice_ttl: b.number(),
        },
    };
    w.give(Input::Session(room, me, SessionNews::Message(message)));
}

pub(super) fn seal(w: &mut World, b: &mut Bytes<'_>) {
    let (room, me) = my_sid(w, b);
    let who = b.byte();
    let (person, them) = (who % PEOPLE, sid(who % PEOPLE, who > 128));
    let link = b.pick(&w.links).map_or(LinkId([b.byte(); 8]), |l| l.2);
    let news = match b.byte() % 10 {
        0 => SealNews::Send(vec![1, 5].into()),
        1 => return ready(w, room, me, them, person, b.byte()),
        2 => SealNews::AskedAgain,
        3 => SealNews::Broken,
        4 => SealNews::Superseded,
        n => {
            // A certificate of this person, or of another.
            let whose = fp(
                if b.byte() > 230 {
                    b.byte() % PEOPLE
                } else {
                    person
                },
                b.byte(),
            );
            let fp = sdp::format_fingerprint(&whose);
            let mut sdp = format!("v=0\r\na=fingerprint:sha-256 {fp}\r\n");
            for _ in 0..b.byte() / 4 {
                sdp.push_str("a=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n");
            }
            let candidate = ["", "candidate:1 1 udp 1 127.0.0.1 9 typ host", "x"];
            SealNews::Body(Box::new(match n {
                4 => SealedBody::SdpOffer {
                    link,
                    restart: b.byte() > 128,
                    sdp,
                },
                5 => SealedBody::SdpAnswer { link, sdp },
                6 => SealedBody::Candidate {
                    link,
                    candidate: candidate[usize::from(b.byte()) % 3].into(),
                    mid: None,
                    mline: Some(0),
                },
                7 => SealedBody::Keep { link },
                8 => SealedBody::Fresh {},
                _ => SealedBody::Restart { link },
            }))
        }
    };
    w.give(Input::Seal {
        room,
        me,
        them,
        news,
    });
}
