mod leaving;

use std::time::Duration;

use kith_api::{LinkPhase, PersonView};
use kith_protocol::ids::{Nonce, Signature};
use kith_protocol::invite::ServerAddr;
use kith_protocol::peer::PeerMessage;
use kith_protocol::room::{LeftWhy, Member, RoomInfo, ServerMessage};
use kith_protocol::sealed::{Hello, SealedBody};
use kith_protocol::{IdPk, LinkId, sdp};

use super::*;
use crate::effect::{Effect, LinkEffect, SealEffect, SessionEffect};
use crate::engine::Engine;
use crate::input::{Command, Input};
use crate::link::WORN;
use crate::testing::config;
use crate::time::Now;

/// Larger than any sid of ours: we begin. Smaller: they do.
const LARGE: Sid = Sid([0xff; 16]);
const SMALL: Sid = Sid([0; 16]);
const TAG: SealTag = SealTag([9; 8]);

/// An engine in a room.
struct Us {
    engine: Engine,
    now: Now,
    room: RoomId,
    sid: Sid,
}

impl Us {
    /// With nobody else.
    fn new() -> Self {
        Us::among(&[]).0
    }

    /// With those whom the server lists, and what we do about them.
    fn among(others: &[Sid]) -> (Self, Vec<Effect>) {
        let invite = invite();
        let room = invite.keys().room_id();
        let engine = Engine::new(config(), Saved::default(), [3; 32]);
        let mut us = Us {
            engine,
            now: Now::default(),
            room,
            sid: Sid([0; 16]),
        };
        let sid = us
            .input(Input::Command(1, Command::Join(invite)))
            .into_iter()
            .find_map(|e| match e {
                Effect::Session(_, sid, SessionEffect::Dial(_)) => Some(sid),
                _ => None,
            });
        us.sid = sid.unwrap();
        us.session(SessionNews::Connected);
        us.server(ServerMessage::Challenge {
            nonce: Nonce([2; 32]),
        });
        let member = |sid: &Sid| Member {
            sid: *sid,
            caps: vec![],
        };
        let effects = us.server(ServerMessage::Joined {
            you: us.sid,
            members: others.iter().map(member).collect(),
            room: RoomInfo {
                locked: false,
                capacity: 9,
            },
            ice_servers: vec![],
            ice_ttl: 0,
            token: String::new(),
        });
        (us, effects)
    }

    fn input(&mut self, input: Input) -> Vec<Effect> {
        self.engine.handle(input, self.now);
        std::iter::from_fn(|| self.engine.poll()).collect()
    }

    fn session(&mut self, news: SessionNews) -> Vec<Effect> {
        self.input(Input::Session(self.room, self.sid, news))
    }

    fn server(&mut self, message: ServerMessage) -> Vec<Effect> {
        self.session(SessionNews::Message(message))
    }

    fn seal(&mut self, them: Sid, news: SealNews) -> Vec<Effect> {
        let (room, me) = (self.room, self.sid);
        self.input(Input::Seal {
            room,
            me,
            them,
            news,
        })
    }

    fn say(&mut self, them: Sid, body: SealedBody) -> Vec<Effect> {
        self.seal(them, SealNews::Body(Box::new(body)))
    }

    /// Somebody comes and proves who it is.
    fn meet(&mut self, them: Sid, id_pk: IdPk, name: &str) -> Vec<Effect> {
        self.server(ServerMessage::MemberJoined {
            sid: them,
            caps: vec![],
        });
        let hello = Hello {
            id_pk,
            cert: Signature([0; 64]),
            fp: fp(),
            name: name.into(),
            caps: vec![],
        };
        self.seal(them, SealNews::Ready(Box::new(hello), TAG))
    }

    fn people(&self) -> Vec<PersonView> {
        self.engine.snapshot().people
    }
}

fn invite() -> Invite {
    let server = ServerAddr::parse("127.0.0.1").unwrap();
    Invite::new(server, [1; 32], PeerId([0; 16]))
}

fn fp() -> Digest {
    Digest([7; 32])
}

fn bob() -> IdPk {
    IdPk([8; 32])
}

fn offer(n: u32) -> SealedBody {
    let mut link = [0; 8];
    link[..4].copy_from_slice(&n.to_be_bytes());
    let sdp = format!(
        "v=0\r\na=fingerprint:sha-256 {}\r\n",
        sdp::format_fingerprint(&fp())
    );
    SealedBody::SdpOffer {
        link: LinkId(link),
        restart: false,
        sdp,
    }
}

fn opened(effects: &[Effect]) -> usize {
    let open = |e: &&Effect| {
        matches!(
            e,
            Effect::Link {
                effect: LinkEffect::Open { .. },
                ..
            }
        )
    };
    effects.iter().filter(open).count()
}

#[test]
fn a_peer_cannot_have_us_make_links_without_end() {
    let mut us = Us::new();
    us.meet(SMALL, bob(), "Bob");
    let made: usize = (0..500).map(|n| opened(&us.say(SMALL, offer(n)))).sum();
    assert_eq!(made, LINKS_MOST as usize);
    us.now.mono = us.now.mono + LINK_EVERY;
    assert_eq!(opened(&us.say(SMALL, offer(1_000))), 1);

    // It answers, then asks for another one, again and again.
    let mut us = Us::new();
    let mut effects = us.meet(LARGE, bob(), "Bob");
    let mut made = 0;
    for _ in 0..500 {
        made += opened(&effects);
        let link = effects.iter().find_map(|e| match e {
            Effect::Link {
                link,
                effect: LinkEffect::Open { .. },
                ..
            } => Some(*link),
            _ => None,
        });
        if let Some(link) = link {
            let SealedBody::SdpOffer { sdp, .. } = offer(0) else {
                panic!()
            };
            us.say(LARGE, SealedBody::SdpAnswer { link, sdp });
        }
        effects = us.say(LARGE, SealedBody::Fresh {});
    }
    assert_eq!(made, 1 + LINKS_MOST as usize);
}

/// Has a link with Bob open, go silent, and hear something after `silence`.
fn heard_after(silence: Duration, them: Sid, reachable: bool) -> (Us, Vec<Effect>) {
    let mut us = Us::new();
    let effects = us.meet(them, bob(), "Bob");
    let effects = match them {
        SMALL => us.say(them, offer(1)),
        _ => effects,
    };
    let made = |e: &Effect| match e {
        Effect::Link { link, .. } => Some(*link),
        _ => None,
    };
    let link = effects.iter().find_map(made).unwrap();
    let (room, peer) = (us.room, bob().peer_id());
    let news = |news| Input::Link {
        room,
        peer,
        link,
        news,
    };
    us.input(news(LinkNews::LocalSdp("v=0".into())));
    if them == LARGE {
        let SealedBody::SdpOffer { sdp, .. } = offer(1) else {
            panic!()
        };
        us.say(them, SealedBody::SdpAnswer { link, sdp });
    }
    us.input(news(LinkNews::ChannelsOpen));
    us.input(news(LinkNews::Message(Box::new(PeerMessage::Confirm {
        my_fp: fp(),
        your_fp: config().fp,
        session: TAG,
    }))));
    assert_eq!(us.people()[0].link, LinkPhase::Connected);
    if !reachable {
        us.server(ServerMessage::MemberLeft {
            sid: them,
            why: LeftWhy::TimedOut,
        });
    }
    us.now.mono = us.now.mono + silence;
    let effects = us.input(news(LinkNews::Heard));
    (us, effects)
}

#[test]
fn a_link_that_was_silent_for_long_is_replaced_once_there_is_a_path() {
    let said = |effects: &[Effect]| {
        let fresh = |e: &&Effect| match e {
            Effect::Seal {
                effect: SealEffect::Send(body),
                ..
            } => matches!(**body, SealedBody::Fresh {}),
            _ => false,
        };
        effects.iter().filter(fresh).count()
    };
    let closed = |effects: &[Effect]| {
        effects.iter().any(|e| {
            matches!(
                e,
                Effect::Link {
                    effect: LinkEffect::Close,
                    ..
                }
            )
        })
    };
    // Who begins makes it; who does not asks for it, and keeps what there is until it comes.
    let (us, effects) = heard_after(WORN, LARGE, true);
    assert_eq!((opened(&effects), said(&effects)), (1, 0));
    assert!(closed(&effects));
    assert_eq!(us.people()[0].link, LinkPhase::Signaling);
    let (us, effects) = heard_after(WORN, SMALL, true);
    assert_eq!((opened(&effects), said(&effects)), (0, 1));
    assert!(!closed(&effects));
    assert_eq!(us.people()[0].link, LinkPhase::Connected);
    // Where nobody can be asked, a slow link is better than none.
    for them in [LARGE, SMALL] {
        let (us, effects) = heard_after(WORN, them, false);
        assert_eq!((opened(&effects), said(&effects)), (0, 0));
        assert_eq!(us.people()[0].link, LinkPhase::Connected);
        let (_, effects) = heard_after(WORN - Duration::from_secs(1), them, true);
        assert_eq!((opened(&effects), said(&effects)), (0, 0));
    }
}

#[test]
fn an_offer_that_breaks_the_rule_is_not_tried_again() {
    let mut us = Us::new();
    us.meet(SMALL, bob(), "Bob");
    let SealedBody::SdpOffer { link, .. } = offer(1) else {
        panic!()
    };
    let bad = SealedBody::SdpOffer {
        link,
        restart: false,
        sdp: "v=0\r\n".into(),
    };
    assert_eq!(opened(&us.say(SMALL, bad)), 0);
    let person = us.people().remove(0);
    assert_eq!(
        (person.link, person.why),
        (LinkPhase::Failed, Some(Code::BadSdp))
    );
    assert!(us.engine.deadline().is_none_or(|d| d.why != "link again"));
}

#[test]
fn a_final_end_leaves_no_old_plan_to_try_again() {
    let mut us = Us::new();
    us.meet(SMALL, bob(), "Bob");
    let (room, peer) = (us.room, bob().peer_id());
    let news = |n, news| {
        let SealedBody::SdpOffer { link, .. } = offer(n) else {
            panic!()
        };
        Input::Link {
            room,
            peer,
            link,
            news,
        }
    };
    us.say(SMALL, offer(1));
    us.input(news(1, LinkNews::Broken(Code::NoRoute)));
    assert!(us.engine.deadline().is_some_and(|d| d.why == "link again"));
    us.say(SMALL, offer(2));
    us.input(news(2, LinkNews::Broken(Code::ConfirmMismatch)));
    us.now.mono = us.now.mono + RELINK_FIRST + Duration::from_secs(1);
    assert!(us.engine.deadline().is_none_or(|d| d.why != "link again"));
    let again = us.input(Input::Timeout);
    let fresh = |e: &Effect| {
        matches!(
            e,
            Effect::Seal {
                effect: SealEffect::Send(_),
                ..
            }
        )
    };
    assert!(!again.iter().any(fresh));
}

#[test]
fn an_endless_stream_of_strangers_does_not_fill_our_memory() {
    let mut us = Us::new();
    for n in 0..MAX_PEOPLE as u32 + 100 {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&n.to_be_bytes());
        us.meet(SMALL, IdPk(id), "somebody");
        us.server(ServerMessage::MemberLeft {
            sid: SMALL,
            why: LeftWhy::Left,
        });
    }
    assert_eq!(us.people().len(), MAX_PEOPLE);
}

#[test]
fn nobody_else_can_be_us() {
    let mut us = Us::new();
    us.meet(SMALL, config().id_pk, "me too");
    assert!(us.people().is_empty());
    assert_eq!(opened(&us.say(SMALL, offer(1))), 0);
}

#[test]
fn only_the_member_that_a_person_is_now_may_speak_for_it() {
    let mut us = Us::new();
    us.meet(SMALL, bob(), "Bob");
    let newer = Sid([0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    us.meet(newer, bob(), "Bob");
    assert_eq!(opened(&us.say(SMALL, offer(1))), 0);
    assert_eq!(opened(&us.say(newer, offer(2))), 1);
    us.server(ServerMessage::MemberLeft {
        sid: SMALL,
        why: LeftWhy::TimedOut,
    });
    assert_eq!(
        us.people()[0].link,
        LinkPhase::Connecting,
        "the ghost takes nothing with it"
    );
    assert!(us.say(Sid([9; 16]), offer(3)).is_empty(), "who is that?");
}

/// So many sids that nobody has.
fn invented(n: u16) -> Vec<Sid> {
    let sid = |n: u16| {
        let mut sid = [7; 16];
        sid[..2].copy_from_slice(&n.to_be_bytes());
        Sid(sid)
    };
    (1..=n).map(sid).collect()
}

/// Those with whom a handshake is opened.
fn greeted(effects: &[Effect]) -> Vec<Sid> {
    let of = |e: &Effect| match e {
        Effect::Seal {
            them,
            effect: SealEffect::Open,
            ..
        } => Some(*them),
        _ => None,
    };
    effects.iter().filter_map(of).collect()
}

fn left_alone(us: &Us, effects: &[Effect]) -> usize {
    let closed = |e: &&Effect| {
        matches!(
            e,
            Effect::Seal {
                effect: SealEffect::Close,
                ..
            }
        )
    };
    assert_eq!(us.people().len(), 0, "nobody is invented into the room");
    effects.iter().filter(closed).count()
}

#[test]
fn whoever_speaks_is_heard_wherever_it_stands_among_a_thousand_invented() {
    let mut all = invented(1_000);
    all.extend([SMALL, LARGE]);
    for real in [SMALL, LARGE] {
        let (mut us, effects) = Us::among(&all);
        assert_eq!(greeted(&effects).len(), MAX_MEMBERS);
        let seated = greeted(&effects).contains(&real);
        let body = kith_protocol::ids::Blob(vec![1].into());
        let heard = us.server(ServerMessage::Signal { from: real, body });
        assert_eq!(greeted(&heard), if seated { vec![] } else { vec![real] });
        assert_eq!(left_alone(&us, &heard), usize::from(!seated));
        let reads = |e: &Effect| matches!(e, Effect::Seal { them, effect: SealEffect::Read(_), .. } if *them == real);
        assert!(heard.iter().any(reads));
    }
}

#[test]
fn whoever_waits_gets_a_turn_though_nobody_speaks() {
    let all = invented(1_000);
    let (mut us, effects) = Us::among(&all);
    let mut turns: BTreeSet<Sid> = greeted(&effects).into_iter().collect();
    let mut open = turns.len();
    while turns.len() < all.len() {
        us.now.mono = us.engine.deadline().unwrap().at;
        assert!(
            us.now.mono < Mono(0) + Duration::from_secs(200),
            "{}",
            turns.len()
        );
        let mut effects = us.server(ServerMessage::Pong { t: 0 });
        effects.extend(us.input(Input::Timeout));
        open += greeted(&effects).len();
        open -= left_alone(&us, &effects);
        assert!(open <= MAX_MEMBERS);
        turns.extend(greeted(&effects));
    }
}

#[test]
fn a_crowd_at_the_door_takes_no_seat_from_who_has_proven_something() {
    let mut us = Us::new();
    us.meet(LARGE, bob(), "Bob");
    // Not even while it shakes hands anew.
    us.seal(LARGE, SealNews::Broken);
    for sid in invented(5_000) {
        let came = us.server(ServerMessage::MemberJoined { sid, caps: vec![] });
        assert_eq!(greeted(&came), [sid], "a newcomer is met");
        let gone = |e: &Effect| {
            matches!(
                e,
                Effect::Seal {
                    them: LARGE,
                    effect: SealEffect::Close,
                    ..
                }
            )
        };
        assert!(!came.iter().any(gone));
    }
    assert_eq!(us.people().len(), 1);
}
