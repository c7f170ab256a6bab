//! From bytes to inputs of the engine: the first byte of each says what it is, the next ones
//! choose among what is known and what is not.

use kith_api::Route;
use kith_core::input::{
    Candidate, Command, FetchNews, IceState, Input, LinkNews, NewOffer, SealNews, ServeNews,
    SessionNews,
};
use kith_core::record::{ChatRecord, FetchKey};
use kith_protocol::ids::{Blob, Digest, SealTag, Signature};
use kith_protocol::peer::{Beat, Entry, PeerMessage, PresenceState};
use kith_protocol::ranges::RangeSet;
use kith_protocol::room::{CallNews, LeftWhy, Member, RoomInfo, ServerMessage};
use kith_protocol::sealed::{Hello, SealedBody};
use kith_protocol::{CallId, Code, LinkId, MsgId, OfferId, PeerId, RoomId, Sid, sdp};

use super::engine::{PEOPLE, World, fp, id_pk};

/// What is left of the input; zeros when it is over.
pub(super) struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        Bytes(input)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((b, rest)) => {
                self.0 = rest;
                *b
            }
            None => 0,
        }
    }

    /// Small numbers mostly, and those at the limits.
    fn number(&mut self) -> u64 {
        match self.byte() {
            n @ 0..=199 => n.into(),
            n @ 200..=219 => u64::from(n) << 8 | u64::from(self.byte()),
            n @ 220..=229 => 65_536 * u64::from(n - 220),
            n @ 230..=239 => u64::from(u32::MAX) + u64::from(n) - 235,
            n @ 240..=247 => (1 << 63) + u64::from(n) - 244,
            n => u64::MAX - u64::from(255 - n),
        }
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> Option<T> {
        // The newest are the likeliest to be alive.
        let at = usize::from(self.byte());
        of.iter().rev().nth(at % of.len().max(1)).cloned()
    }

    fn code(&mut self) -> Code {
        self.pick(Code::ALL).unwrap_or(Code::Unknown)
    }

    fn ranges(&mut self) -> RangeSet {
        let mut set = RangeSet::new();
        for _ in 0..self.byte() % 4 {
            let (a, n) = (self.number(), self.number());
            set.insert(a, a.saturating_add(n));
        }
        set
    }

    fn text(&mut self) -> String {
        let words = ["", "a", "hello", "\u{202e}x", "../../x", "\n\u{1b}[2J", "é"];
        let word = words[usize::from(self.byte()) % words.len()];
        let times = match self.byte() {
            0..=199 => 1,
            200..=249 => 30,
            _ => 5000,
        };
        word.repeat(times)
    }
}

/// The tag of a handshake.
pub(super) fn tag(n: u64) -> SealTag {
    SealTag(n.to_be_bytes())
}

/// Some sequences that lead somewhere.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let connect = |person: u8| vec![0, person];
    let offers = [21, 0, 3, 0, 21, 1, 3, 1];
    let mut seeds = vec![connect(0), [connect(0), connect(1), connect(2)].concat()];
    seeds.push(
        [
            connect(1),
            offers.to_vec(),
            vec![5, 0, 0, 0, 17, 0, 16, 0, 17, 1],
        ]
        .concat(),
    );
    seeds.push(
        [
            connect(0),
            vec![4, 1, 3, 2, 17, 0, 21, 4, 0, 1, 18, 0, 18, 1],
        ]
        .concat(),
    );
    seeds.push(
        [
            connect(2),
            vec![3, 2, 1, 16, 0, 21, 7, 0, 21, 8, 0, 10, 200, 10, 200],
        ]
        .concat(),
    );
    // One of every kind behind a connection.
    seeds.extend((0..40).map(|op| [connect(0), vec![op, 1, 2, 3, 4, 5, 6, 7, 8]].concat()));
    seeds.extend((0..24).map(|m| [connect(1), vec![21, 0, m, 1, 2, 3, 4, 5, 6]].concat()));
    seeds
}

/// Takes one input from `b` and gives it.
pub(super) fn step(w: &mut World, b: &mut Bytes<'_>) {
    let room = |w: &World, b: &mut Bytes<'_>| w.rooms[usize::from(b.byte() / 128)].1;
    match b.byte() % 32 {
        0 | 1 => connect(w, b),
        2 => {
            let (invite, _) = w.rooms[usize::from(b.byte() / 128)].clone();
            w.command(Command::Join(invite));
        }
        3 => {
            let (room, text) = (room(w, b), b.text());
            w.command(Command::SendText(room, text));
        }
        4 => {
            let new = NewOffer {
                room: room(w, b),
                to: (b.byte() > 200)
                    .then(|| id_pk(0).peer_id())
                    .into_iter()
                    .collect(),
                name: b.text(),
                note: (b.byte() > 128).then(|| b.text()),
                entries: entries(b),
            };
            w.command(Command::Offer(new));
        }
        5 | 6 => {
            let (from, offer) = some_offer(w, b);
            let key = FetchKey {
                room: room(w, b),
                from,
                offer,
            };
            w.command(Command::Accept(key, format!("/in{}", b.byte() % 2)));
        }
        7 => {
            let (from, offer) = some_offer(w, b);
            let key = FetchKey {
                room: room(w, b),
                from,
                offer,
            };
            w.command(Command::Decline(key));
        }
        8 => {
            let (room, offer) = (room(w, b), some_offer(w, b).1);
            w.command(Command::Withdraw(room, offer));
        }
        9 if b.byte() > 200 => {
            let room = room(w, b);
            w.command(Command::Leave(room));
        }
        9 | 10 => {
            let most = b.number().saturating_mul(50);
            w.pass(most.min(600_000));
        }
        11 | 12 => session(w, b),
        13 | 14 => seal(w, b),
        15 => w.give(if b.byte() > 250 {
            Input::AddressesChanged
        } else {
            Input::Timeout
        }),
        16 => {
            let job = b.pick(&w.jobs).unwrap_or(b.number());
            w.give(Input::Stored(job));
        }
        17 => {
            // The store answers in order, mostly.
            let jobs = std::mem::take(&mut w.jobs);
            jobs.into_iter().for_each(|job| w.give(Input::Stored(job)));
        }
        18 => {
            let (job, code) = (b.pick(&w.jobs).unwrap_or(b.number()), b.code());
            w.give(Input::StoreFailed(job, code));
        }
        19 => loaded(w, b),
        20 => serve(w, b),
        21..=25 => link(w, b),
        26 | 27 => fetch(w, b),
        _ => {
            // The disk and the store do what they are there for.
            let (key, run) = match w.fetches.last() {
                Some(f) => *f,
                None => return,
            };
            let entry = u32::from(b.byte() % 4);
            let prepared = FetchNews::Prepared {
                roots: Vec::new(),
                lost: Vec::new(),
            };
            w.give(Input::Fetch(key, run, prepared));
            let jobs = std::mem::take(&mut w.jobs);
            jobs.into_iter().for_each(|job| w.give(Input::Stored(job)));
            let news = FetchNews::Finished {
                entry,
                name: b.text(),
            };
            w.give(Input::Fetch(key, run, news));
        }
    }
}

/// Enters a room, meets somebody and opens a link, by the book.
fn connect(w: &mut World, b: &mut Bytes<'_>) {
    let who = b.byte();
    let (person, session) = (who % PEOPLE, who / 64);
    let (invite, room) = w.rooms[usize::from(who / 128)].clone();
    w.command(Command::Join(invite));
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

fn confirm(w: &World, link: LinkId) -> PeerMessage {
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

fn my_sid(w: &World, b: &mut Bytes<'_>) -> (RoomId, Sid) {
    b.pick(&w.sids).unwrap_or((w.rooms[0].1, Sid([0x77; 16])))
}

fn some_offer(w: &World, b: &mut Bytes<'_>) -> (PeerId, OfferId) {
    match b.byte() {
        n @ 240.. => (id_pk(n % PEOPLE).peer_id(), OfferId([n; 16])),
        n => w
            .offers
            .iter()
            .rev()
            .nth(usize::from(n) % w.offers.len().max(1))
            .copied()
            .unwrap_or((w.me(), OfferId([n; 16]))),
    }
}

fn entries(b: &mut Bytes<'_>) -> Vec<Entry> {
    (0..b.byte() % 5)
        .map(|i| {
            let dir = b.byte() > 220;
            Entry {
                path: format!("{i}{}", b.text()),
                size: if dir { 0 } else { b.number() },
                mode: 0o644,
                mtime: 5,
                mtime_ns: 0,
                dir,
            }
        })
        .collect()
}

fn session(w: &mut World, b: &mut Bytes<'_>) {
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

fn seal(w: &mut World, b: &mut Bytes<'_>) {
    let (room, me) = my_sid(w, b);
    let who = b.byte();
    let (person, them) = (who % PEOPLE, sid(who % PEOPLE, who > 128));
    let link = b.pick(&w.links).map_or(LinkId([b.byte(); 8]), |l| l.2);
    let news = match b.byte() % 10 {
        0 => SealNews::Send(vec![1, 5].into()),
        1 => return ready(w, room, me, them, person, b.byte()),
        2 => SealNews::AskedAgain,
        3 => SealNews::Broken,
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

fn link(w: &mut World, b: &mut Bytes<'_>) {
    let unknown = (w.rooms[0].1, id_pk(0).peer_id(), LinkId([9; 8]));
    let (room, peer, link) = b.pick(&w.links).unwrap_or(unknown);
    let news = match b.byte() % 40 {
        24 => LinkNews::LocalSdp("v=0\r\n".into()),
        25 => LinkNews::LocalCandidate(Candidate {
            candidate: "candidate:1".into(),
            mid: None,
            mline: None,
        }),
        26 => LinkNews::Ice(
            b.pick(&[
                IceState::Checking,
                IceState::Connected,
                IceState::Disconnected,
                IceState::Failed,
            ])
            .unwrap_or(IceState::Checking),
        ),
        27 => LinkNews::ChannelsOpen,
        28 => LinkNews::Message(Box::new(confirm(w, link))),
        29 => LinkNews::Beat(Beat {
            n: b.number(),
            state: PresenceState::Away,
            typing: false,
        }),
        30 | 31 => LinkNews::Ack {
            transfer: b.byte().into(),
            entry: b.byte().into(),
            ranges: b.ranges(),
        },
        32 => LinkNews::Heard,
        33 => LinkNews::Route(Route::Lan),
        34 => LinkNews::Broken(b.code()),
        n => LinkNews::Message(Box::new(message(w, b, n % 24))),
    };
    w.give(Input::Link {
        room,
        peer,
        link,
        news,
    });
}

fn message(w: &World, b: &mut Bytes<'_>, n: u8) -> PeerMessage {
    let offer_id = some_offer(w, b).1;
    let entry = b.byte() % 8;
    let entry = if entry == 7 { u32::MAX } else { entry.into() };
    let message = match n {
        0 | 1 => {
            let n = b.byte();
            PeerMessage::Offer {
                offer_id: OfferId([n; 16]),
                name: b.text(),
                entries: u32::from(b.byte() % 4) + 1,
                total: b.number(),
                note: None,
            }
        }
        2 | 3 => {
            let first = u32::from(b.byte() % 6);
            PeerMessage::Entries {
                offer_id,
                first,
                entries: entries(b),
            }
        }
        4 => PeerMessage::Browse {
            offer_id,
            first: b.number() as u32,
        },
        5 | 6 => PeerMessage::Accept {
            offer_id,
            transfer: b.byte().into(),
        },
        7 => PeerMessage::Decline {
            offer_id,
            why: b.code(),
        },
        8 => PeerMessage::Have {
            offer_id,
            entry,
            ranges: b.ranges(),
        },
        9 => PeerMessage::Want {
            offer_id,
            entry,
            ranges: b.ranges(),
        },
        10 => PeerMessage::Cancel {
            offer_id,
            why: b.code(),
        },
        11 => PeerMessage::Gone {
            offer_id,
            why: b.code(),
        },
        12 => PeerMessage::EntryDone {
            offer_id,
            entry,
            sha256: Digest([1; 32]),
        },
        13 => PeerMessage::Verified {
            offer_id,
            entries: b.ranges(),
        },
        14 => PeerMessage::OfferDone { offer_id },
        15 => PeerMessage::Bye {},
        16 => PeerMessage::ChatSync { have: b.number() },
        17..=20 => PeerMessage::Chat {
            seq: b.number().max(1),
            id: MsgId([1; 16]),
            at: b.number(),
            text: b.text(),
        },
        21 => PeerMessage::ChatAck { upto: b.number() },
        22 => return PeerMessage::Unknown,
        _ => confirm(w, LinkId([0; 8])),
    };
    // Only what the decoder lets through reaches the engine.
    match PeerMessage::parse(&message.to_bytes()) {
        Ok(message) => message,
        Err(_) => PeerMessage::Bye {},
    }
}

fn loaded(w: &mut World, b: &mut Bytes<'_>) {
    let job = b.pick(&w.loads).unwrap_or(b.number());
    let first = b.number();
    let record = |n| ChatRecord {
        id: MsgId([2; 16]),
        at: n,
        stored: n,
        text: "x".into(),
    };
    let page = (0..u64::from(b.byte() % 70)).map(|n| first.saturating_add(n));
    w.give(Input::ChatLoaded(
        job,
        page.map(|n| (n, record(n))).collect(),
    ));
}

/// A worker's news: of what it was told to do, which the engine may rely on.
fn serve(w: &mut World, b: &mut Bytes<'_>) {
    let Some((key, run)) = b.pick(&w.serves) else {
        return;
    };
    let entry = u32::from(b.byte() % 5);
    let news = match b.byte() % 4 {
        0 | 1 => ServeNews::Sent {
            entry,
            ranges: b.ranges(),
        },
        2 => ServeNews::EntryRead {
            entry,
            sha256: Digest([1; 32]),
        },
        _ => ServeNews::Failed(b.code()),
    };
    w.give(Input::Serve(key, run, news));
}

fn fetch(w: &mut World, b: &mut Bytes<'_>) {
    let Some((key, run)) = b.pick(&w.fetches) else {
        return;
    };
    let entry = u32::from(b.byte() % 5);
    let news = match b.byte() % 8 {
        0 => FetchNews::Prepared {
            roots: Vec::new(),
            lost: (0..b.byte() % 3).map(u32::from).collect(),
        },
        1 | 2 => FetchNews::Durable {
            entry,
            ranges: b.ranges(),
        },
        3 => FetchNews::Received {
            bytes: b.number() >> 20,
            durable: b.number() >> 20,
        },
        4 => FetchNews::Corrupt {
            entry,
            index: b.number(),
        },
        5 => FetchNews::Finished {
            entry,
            name: b.text(),
        },
        6 => FetchNews::Mismatch { entry },
        _ => FetchNews::Failed(b.code()),
    };
    w.give(Input::Fetch(key, run, news));
}
