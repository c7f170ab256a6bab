//! The engine as a sequence of inputs: whatever comes, in whatever order, of links and jobs that
//! are or are no more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use kith_api::{Change, Event, OfferView, PersonView, RoomView};
use kith_core::effect::{
    FetchEffect, HoldEffect, LinkEffect, ServeEffect, SessionEffect, StrandEffect,
};
use kith_core::input::{Command, HoldKey, Input, JobId, LinkNews, ReqId, ServeKey};
use kith_core::record::{FetchKey, Saved};
use kith_core::{Config, Effect, Engine, Mono, Now};
use kith_protocol::ids::{Digest, SealTag};
use kith_protocol::invite::ServerAddr;
use kith_protocol::peer::PeerMessage;
use kith_protocol::voucher::Voucher;
use kith_protocol::{IdPk, Invite, LinkId, OfferId, PeerId, RoomId, Sid, limits, sdp};

use super::inputs::{self, Bytes};
use super::{Target, kind};

/// Effects of one input at most. Opening a link announces every offer there is.
const MOST_EFFECTS: usize = 20_000;
/// Times that a deadline may be due again at once.
const MOST_SPINS: u32 = 64;
/// Longest sequence that is made, in bytes. An input takes some five, so this is a hundred of them:
/// many short sequences find more than few long ones.
const LONGEST: usize = 512;
/// Inputs in one sequence at most.
const MOST_STEPS: usize = 600;
/// People that the sequence knows.
pub(super) const PEOPLE: u8 = 3;

pub(super) fn target() -> Target {
    Target {
        name: "engine",
        run,
        seeds: inputs::seeds,
        text: false,
        longest: LONGEST,
    }
}

/// One of the people.
pub(super) fn id_pk(person: u8) -> IdPk {
    IdPk([10 + person; 32])
}

/// The certificate of one of its app sessions.
pub(super) fn fp(person: u8, session: u8) -> Digest {
    Digest([16 * (person + 1) + session % 2; 32])
}

/// The engine, and what the sequence may refer to.
pub(super) struct World {
    engine: Engine,
    pub(super) now: Mono,
    views: Views,
    pub(super) rooms: Vec<(Invite, RoomId)>,
    /// Rooms that were entered and not left.
    pub(super) inside: BTreeSet<RoomId>,
    /// Our connections to room servers, the newest last.
    pub(super) sids: Vec<(RoomId, Sid)>,
    pub(super) links: Vec<(RoomId, PeerId, LinkId)>,
    pub(super) offers: Vec<(PeerId, OfferId)>,
    pub(super) serves: Vec<(ServeKey, u32)>,
    pub(super) fetches: Vec<(FetchKey, u32)>,
    pub(super) holds: Vec<(HoldKey, u32)>,
    pub(super) vouched: Vec<(RoomId, OfferId, Box<Voucher>)>,
    pub(super) jobs: Vec<JobId>,
    pub(super) loads: Vec<JobId>,
    pub(super) tags: BTreeMap<LinkId, (SealTag, Digest)>,
    /// Links whose other end has confirmed who it is.
    confirmed: BTreeSet<LinkId>,
    pub(super) seal_tag: u64,
    req: ReqId,
    shape: u64,
    /// A bit for each phase that was met.
    met: u32,
    steps: u64,
    /// The revision when the views were last compared.
    told: u64,
}

#[derive(Default)]
struct Views {
    rev: u64,
    rooms: BTreeMap<RoomId, RoomView>,
    people: BTreeMap<(RoomId, PeerId), PersonView>,
    offers: BTreeMap<(RoomId, PeerId, OfferId), OfferView>,
}

fn run(input: &[u8]) -> u64 {
    let mut world = World::new();
    let mut bytes = Bytes::new(input);
    for _ in 0..MOST_STEPS {
        if bytes.is_empty() {
            break;
        }
        inputs::step(&mut world, &mut bytes);
    }
    world.give(Input::Shutdown);
    assert!(
        world.engine.deadline().is_none(),
        "nothing to wait for after the end"
    );
    u64::from(world.met) << 32 | world.shape
}

impl World {
    fn new() -> Self {
        let config = Config {
            id_pk: IdPk([1; 32]),
            name: "Ada".into(),
            fp: Digest([1; 32]),
            keep: true,
            transfers: Default::default(),
        };
        // Deriving keys costs more than everything else that a sequence does.
        static ROOMS: OnceLock<[(Invite, RoomId); 2]> = OnceLock::new();
        let rooms = ROOMS.get_or_init(|| {
            let server = ServerAddr::parse("127.0.0.1:7400").expect("an address");
            [5, 6].map(|secret| {
                let invite = Invite::new(server.clone(), [secret; 32], id_pk(0).peer_id());
                let room = invite.keys().room_id();
                (invite, room)
            })
        });
        World {
            engine: Engine::new(config, Saved::default(), [7; 32]),
            now: Mono(1_000),
            views: Views::default(),
            rooms: rooms.to_vec(),
            inside: BTreeSet::new(),
            sids: Vec::new(),
            links: Vec::new(),
            offers: Vec::new(),
            serves: Vec::new(),
            fetches: Vec::new(),
            holds: Vec::new(),
            vouched: Vec::new(),
            jobs: Vec::new(),
            loads: Vec::new(),
            tags: BTreeMap::new(),
            confirmed: BTreeSet::new(),
            seal_tag: 0,
            req: 0,
            shape: 0,
            met: 0,
            steps: 0,
            told: 0,
        }
    }

    /// Us.
    pub(super) fn me(&self) -> PeerId {
        IdPk([1; 32]).peer_id()
    }

    /// A command; one that is refused must change nothing.
    pub(super) fn command(&mut self, command: Command) {
        self.req += 1;
        let (req, before) = (self.req, self.engine.snapshot());
        let effects = self.take(Input::Command(req, command));
        let refused = effects
            .iter()
            .any(|e| matches!(e, Effect::Reply(_, Err(_))));
        if refused {
            assert_eq!(
                effects.len(),
                1,
                "a refused command has no other effect: {effects:?}"
            );
            assert_eq!(
                self.engine.snapshot(),
                before,
                "a refused command changes nothing"
            );
        }
        effects.into_iter().for_each(|e| self.on_effect(e));
        self.check();
    }

    /// Any other input.
    pub(super) fn give(&mut self, input: Input) {
        if let Input::Link { link, news, .. } = &input {
            self.note_confirm(*link, news);
        }
        let effects = self.take(input);
        effects.into_iter().for_each(|e| self.on_effect(e));
        self.check();
    }

    /// Goes to the next deadline, if there is one in reach, and acts.
    pub(super) fn pass(&mut self, most: u64) {
        let due = self.engine.deadline().map_or(u64::MAX, |d| d.at.0);
        self.now = Mono(due.min(self.now.0.saturating_add(most)).max(self.now.0));
        let mut spins = 0;
        loop {
            self.give(Input::Timeout);
            match self.engine.deadline() {
                Some(d) if d.at <= self.now => {
                    spins += 1;
                    assert!(spins < MOST_SPINS, "due again and again: {}", d.why);
                }
                Some(_) | None => return,
            }
        }
    }

    fn take(&mut self, input: Input) -> Vec<Effect> {
        let now = Now {
            mono: self.now,
            unix_ms: 1_700_000_000_000 + self.now.0,
        };
        self.engine.handle(input, now);
        let mut effects = Vec::new();
        while let Some(effect) = self.engine.poll() {
            effects.push(effect);
            assert!(effects.len() < MOST_EFFECTS, "no end of effects");
        }
        effects
    }

    fn note_confirm(&mut self, link: LinkId, news: &LinkNews) {
        if let (LinkNews::Message(message), Some((tag, fp))) = (news, self.tags.get(&link))
            && let PeerMessage::Confirm {
                my_fp,
                your_fp,
                session,
            } = **message
            && (my_fp, your_fp, session) == (*fp, Digest([1; 32]), *tag)
        {
            self.confirmed.insert(link);
        }
    }

    fn on_effect(&mut self, effect: Effect) {
        match effect {
            Effect::Session(room, sid, SessionEffect::Dial(_)) => self.sids.push((room, sid)),
            Effect::Session(..) | Effect::Seal { .. } | Effect::Reply(..) => {}
            Effect::Link {
                room,
                peer,
                link,
                effect,
            } => self.on_link(room, peer, link, &effect),
            Effect::Serve(key, run, effect) => {
                if let ServeEffect::Start { .. } = effect {
                    self.serves.push((key, run));
                }
            }
            Effect::Fetch(key, run, effect) => {
                if let FetchEffect::Prepare { .. } | FetchEffect::Probe { .. } = effect {
                    self.fetches.push((key, run));
                }
            }
            Effect::Hold(key, run, effect) => {
                if let HoldEffect::Start { .. } = effect {
                    self.holds.push((key, run));
                }
            }
            Effect::Vouch(room, offer, word) => self.vouched.push((room, offer, word)),
            Effect::Bound(_, rate) => assert!(rate.is_none_or(|r| r >= limits::MIN_PACE)),
            Effect::Store(job, _) => self.jobs.push(job),
            Effect::LoadChat { job, max, .. } => {
                assert!(max <= 1024, "a page of bounded size");
                self.loads.push(job);
            }
            Effect::Event(event) => self.views.apply(*event),
        }
    }

    fn on_link(&mut self, room: RoomId, peer: PeerId, link: LinkId, effect: &LinkEffect) {
        self.shape = kind(match effect {
            LinkEffect::Send(_) => "send",
            LinkEffect::Close => "close",
            LinkEffect::Ack { .. } => "ack",
            _ => "other",
        })
        .wrapping_add(self.shape.rotate_left(3));
        match effect {
            LinkEffect::Open { .. } => {
                self.links.push((room, peer, link));
                // The newest handshake is the one a new link comes from.
                let who = (0..PEOPLE).find(|p| id_pk(*p).peer_id() == peer);
                let session = self.seal_tag as u8;
                let fp = who.map_or(Digest([0; 32]), |p| fp(p, session));
                self.tags.insert(link, (inputs::tag(self.seal_tag), fp));
            }
            LinkEffect::AcceptOffer(text) | LinkEffect::AcceptAnswer(text) => {
                self.check_sdp(peer, text);
            }
            LinkEffect::AddCandidate(c) => assert!(sdp::check_candidate(&c.candidate)),
            LinkEffect::Strand(id, effect) => {
                assert!(self.confirmed.contains(&link) && id.n < limits::MAX_STRANDS);
                match effect {
                    StrandEffect::AcceptOffer(text) | StrandEffect::AcceptAnswer(text) => {
                        self.check_sdp(peer, text);
                    }
                    StrandEffect::AddCandidate(c) => assert!(sdp::check_candidate(&c.candidate)),
                    StrandEffect::Offer | StrandEffect::Carry | StrandEffect::Close => {}
                }
            }
            LinkEffect::Send(message) => {
                let confirms = matches!(**message, PeerMessage::Confirm { .. });
                let open = confirms || self.confirmed.contains(&link);
                assert!(open, "said before the other end was confirmed: {message:?}");
                let read = PeerMessage::parse(&message.to_bytes());
                assert_eq!(
                    read.as_ref(),
                    Ok(&**message),
                    "what we say is within the limits"
                );
            }
            LinkEffect::Ack { ranges, .. } => assert!(!ranges.is_empty()),
            LinkEffect::Beat(_) => assert!(self.confirmed.contains(&link)),
            LinkEffect::Offer { .. } | LinkEffect::Close => {}
        }
    }

    fn check_sdp(&self, peer: PeerId, text: &str) {
        let who = (0..PEOPLE).find(|p| id_pk(*p).peer_id() == peer);
        let who = who.expect("a link is with somebody proven");
        let theirs = [0, 1].map(|session| sdp::check(text, &fp(who, session)));
        assert!(
            theirs.iter().any(Result::is_ok),
            "an SDP of somebody else: {text}"
        );
    }

    fn check(&mut self) {
        self.steps += 1;
        // What is told is compared each time; that nothing went untold, now and then.
        if std::mem::replace(&mut self.told, self.views.rev) == self.views.rev
            && !self.steps.is_multiple_of(8)
        {
            return;
        }
        let snapshot = self.engine.snapshot();
        self.views.check(&snapshot);
        for offer in &snapshot.offers {
            assert!(
                offer.done <= offer.total,
                "no more than all of it: {offer:?}"
            );
            for r in &offer.receivers {
                assert!(r.done <= offer.total, "no more than all of it: {offer:?}");
            }
            let id = (offer.from, offer.offer);
            if !self.offers.contains(&id) {
                self.offers.push(id);
            }
            let phase = kind(&format!("{:?}", offer.phase));
            self.met |= 1 << (phase % 32);
            self.shape = self.shape.rotate_left(1) ^ phase;
        }
        for p in &snapshot.people {
            let phase = kind(&format!("{:?}{:?}", p.link, p.why));
            self.met |= 1 << (phase % 32);
            self.shape = self.shape.rotate_left(1) ^ phase;
        }
        // Few shapes, so that what is new is new.
        self.shape %= 65_521;
    }
}

impl Views {
    fn apply(&mut self, event: Event) {
        assert_eq!(event.rev, self.rev + 1, "revisions rise by one");
        self.rev = event.rev;
        match event.change {
            Change::Room(v) => {
                self.rooms.insert(v.room, v);
            }
            Change::RoomGone { room } => {
                self.rooms.remove(&room);
                self.people.retain(|k, _| k.0 != room);
                self.offers.retain(|k, _| k.0 != room);
            }
            Change::Person(v) => {
                self.people.insert((v.room, v.peer), v);
            }
            Change::Offer(v) => {
                self.offers.insert((v.room, v.from, v.offer), *v);
            }
            Change::Me(_) | Change::Message(_) | Change::Transfers(_) => {}
        }
    }

    fn check(&self, snapshot: &kith_api::Snapshot) {
        assert_eq!(self.rev, snapshot.rev);
        assert!(self.rooms.values().eq(&snapshot.rooms), "rooms as told");
        assert!(self.people.values().eq(&snapshot.people), "people as told");
        let mut offers: Vec<_> = snapshot.offers.iter().collect();
        offers.sort_by_key(|o| (o.room, o.from, o.offer));
        assert!(self.offers.values().eq(offers), "offers as told");
    }
}
