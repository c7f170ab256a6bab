mod strands;

use super::*;
use crate::effect::StrandEffect;
use crate::input::IceState;
use crate::testing::{World, config};
use kith_protocol::peer::StrandStep;
use kith_protocol::sdp;

const ROOM: RoomId = RoomId([1; 16]);
const BOB: PeerId = PeerId([2; 16]);
const FP: Digest = Digest([3; 32]);
const TAG: SealTag = SealTag([4; 8]);

fn sdp_of(fp: &Digest) -> String {
    let fp = sdp::format_fingerprint(fp);
    format!("v=0\r\na=fingerprint:sha-256 {fp}\r\n")
}

fn candidate(n: usize) -> Candidate {
    Candidate {
        candidate: format!("candidate:{n} 1 udp 1 192.0.2.1 9 typ host"),
        mid: Some("0".into()),
        mline: Some(0),
    }
}

fn sealed(link: &Link, n: usize) -> SealedBody {
    let c = candidate(n);
    SealedBody::Candidate {
        link: link.id(),
        candidate: c.candidate,
        mid: c.mid,
        mline: c.mline,
    }
}

/// Effects in short.
fn effects(world: &mut World) -> Vec<String> {
    let short = |e: Effect| match e {
        Effect::Link { effect, .. } => match effect {
            LinkEffect::Open { offerer, .. } => format!("open {offerer}"),
            LinkEffect::Offer { restart } => format!("offer {restart}"),
            LinkEffect::AcceptOffer(_) => "accept offer".into(),
            LinkEffect::AcceptAnswer(_) => "accept answer".into(),
            LinkEffect::AddCandidate(c) => c.candidate.split(' ').next().unwrap_or_default().into(),
            LinkEffect::Send(m) => match *m {
                PeerMessage::Confirm { .. } => "confirm".into(),
                PeerMessage::Strand { n, step, .. } => format!("say {n}: {}", step_name(&step)),
                _ => "send".into(),
            },
            LinkEffect::Strand(id, effect) => format!("strand {}: {}", id.n, strand_effect(effect)),
            LinkEffect::Beat(b) => format!("beat {}", b.n),
            LinkEffect::Ack { .. } => "ack".into(),
            LinkEffect::Close => "close".into(),
        },
        other => panic!("not of a link: {other:?}"),
    };
    world.drain().into_iter().map(short).collect()
}

fn step_name(step: &StrandStep) -> &'static str {
    match step {
        StrandStep::Offer { .. } => "offer",
        StrandStep::Answer { .. } => "answer",
        StrandStep::Candidate { .. } => "candidate",
        StrandStep::Ready {} => "ready",
        StrandStep::Unknown => "unknown",
    }
}

fn strand_effect(effect: StrandEffect) -> String {
    match effect {
        StrandEffect::Offer => "offer".into(),
        StrandEffect::AcceptOffer(_) => "accept offer".into(),
        StrandEffect::AcceptAnswer(_) => "accept answer".into(),
        StrandEffect::AddCandidate(c) => c.candidate.split(' ').next().unwrap_or_default().into(),
        StrandEffect::Carry => "carry".into(),
        StrandEffect::Close => "close".into(),
    }
}

fn offering(world: &mut World) -> Link {
    Link::offer(ROOM, BOB, FP, TAG, vec![], &mut world.ctx())
}

fn answering(world: &mut World) -> Link {
    let id = LinkId([5; 8]);
    let offer = sdp_of(&FP);
    Link::answer(ROOM, BOB, id, FP, TAG, vec![], offer, &mut world.ctx()).unwrap()
}

fn confirm() -> PeerMessage {
    PeerMessage::Confirm {
        my_fp: FP,
        your_fp: config().fp,
        session: TAG,
    }
}

fn hear(link: &mut Link, message: PeerMessage, world: &mut World) -> Vec<LinkOut> {
    link.handle(LinkNews::Message(Box::new(message)), &mut world.ctx())
}

fn answer(link: &mut Link, world: &mut World) -> Vec<LinkOut> {
    let (link_id, sdp) = (link.id(), sdp_of(&FP));
    link.on_sealed(
        SealedBody::SdpAnswer { link: link_id, sdp },
        &mut world.ctx(),
    )
}

fn opened(world: &mut World, offerer: bool) -> Link {
    let mut link = if offerer {
        offering(world)
    } else {
        answering(world)
    };
    link.handle(LinkNews::LocalSdp("ours".into()), &mut world.ctx());
    if offerer {
        answer(&mut link, world);
    }
    link.handle(LinkNews::ChannelsOpen, &mut world.ctx());
    let out = hear(&mut link, confirm(), world);
    assert_eq!(out, [LinkOut::Opened, LinkOut::Changed]);
    world.drain();
    link
}

/// Passes time in the steps that the link asks for; everything it said on the way.
fn pass(link: &mut Link, ms: u64, can_signal: bool, world: &mut World) -> Vec<LinkOut> {
    let end = world.now.mono + Duration::from_millis(ms);
    let mut out = Vec::new();
    let mut steps = 0;
    while let Some(d) = link.deadline().filter(|d| d.at <= end) {
        assert!(d.at >= world.now.mono, "{d:?} lies in the past");
        steps += 1;
        assert!(steps < 1_000, "spins on {d:?}");
        world.now.mono = d.at;
        let now = link.on_time(can_signal, &mut world.ctx());
        let gone = now.iter().any(|o| matches!(o, LinkOut::Gone(_)));
        out.extend(now);
        if gone {
            return out;
        }
    }
    world.now.mono = end;
    out
}

#[test]
fn an_offer_goes_out_before_its_candidates() {
    let mut world = World::new();
    let mut link = offering(&mut world);
    assert_eq!(effects(&mut world), ["open true", "offer false"]);
    for n in 0..100 {
        let news = LinkNews::LocalCandidate(candidate(n));
        assert!(link.handle(news, &mut world.ctx()).is_empty());
    }
    let out = link.handle(LinkNews::LocalSdp("ours".into()), &mut world.ctx());
    assert!(matches!(
        &out[0],
        LinkOut::Sealed(SealedBody::SdpOffer { restart: false, .. })
    ));
    assert_eq!(
        out.len(),
        1 + limits::MAX_CANDIDATES,
        "what waits is bounded"
    );
    let news = LinkNews::LocalCandidate(candidate(7));
    let out = link.handle(news, &mut world.ctx());
    assert_eq!(out, [LinkOut::Sealed(sealed(&link, 7))]);
}

#[test]
fn remote_candidates_wait_for_the_description_and_are_bounded() {
    let mut world = World::new();
    let mut link = offering(&mut world);
    world.drain();
    for n in 0..limits::MAX_CANDIDATES + 10 {
        link.on_sealed(sealed(&link, n), &mut world.ctx());
    }
    assert!(effects(&mut world).is_empty());
    assert_eq!(answer(&mut link, &mut world), [LinkOut::Changed]);
    let done = effects(&mut world);
    assert_eq!(done[..2], ["accept answer", "candidate:0"]);
    assert_eq!(done.len(), 1 + limits::MAX_CANDIDATES);
    link.on_sealed(sealed(&link, 99), &mut world.ctx());
    assert!(effects(&mut world).is_empty(), "the sixty-fifth is refused");
    assert_eq!(link.view().0, LinkPhase::Connecting);
    assert!(answer(&mut link, &mut world).is_empty(), "a second answer");
    assert!(effects(&mut world).is_empty());
}

#[test]
fn a_candidate_that_is_none_is_refused() {
    let mut world = World::new();
    let mut link = answering(&mut world);
    world.drain();
    for bad in [
        "a=fingerprint:x".to_string(),
        "candidate:\r\na=x".into(),
        "candidate:".to_string() + &"1".repeat(600),
    ] {
        let body = SealedBody::Candidate {
            link: link.id(),
            candidate: bad,
            mid: None,
            mline: None,
        };
        assert!(link.on_sealed(body, &mut world.ctx()).is_empty());
    }
    assert!(effects(&mut world).is_empty());
}

#[test]
fn an_answerer_takes_candidates_at_once() {
    let mut world = World::new();
    let mut link = answering(&mut world);
    link.on_sealed(sealed(&link, 1), &mut world.ctx());
    assert_eq!(
        effects(&mut world),
        ["open false", "accept offer", "candidate:1"]
    );
    let out = link.handle(LinkNews::LocalSdp("ours".into()), &mut world.ctx());
    assert!(matches!(
        out[..],
        [LinkOut::Sealed(SealedBody::SdpAnswer { .. })]
    ));
}

#[test]
fn a_description_of_somebody_else_ends_the_link() {
    let mut world = World::new();
    let other = Digest([9; 32]);
    let bad = [
        sdp_of(&other),
        "v=0\r\n".into(),
        sdp_of(&FP) + &sdp_of(&other),
        "x".repeat(limits::MAX_SDP + 1),
    ];
    for text in bad {
        let id = LinkId([5; 8]);
        let refused = Link::answer(
            ROOM,
            BOB,
            id,
            FP,
            TAG,
            vec![],
            text.clone(),
            &mut world.ctx(),
        );
        assert_eq!(refused.err(), Some(Code::BadSdp));
        assert!(world.drain().is_empty(), "nothing was opened");

        let mut link = offering(&mut world);
        world.drain();
        let body = SealedBody::SdpAnswer {
            link: link.id(),
            sdp: text.clone(),
        };
        assert_eq!(
            link.on_sealed(body, &mut world.ctx()),
            [LinkOut::Gone(Code::BadSdp)]
        );

        let mut link = opened(&mut world, false);
        let body = SealedBody::SdpOffer {
            link: link.id(),
            restart: true,
            sdp: text,
        };
        assert_eq!(
            link.on_sealed(body, &mut world.ctx()),
            [LinkOut::Gone(Code::BadSdp)]
        );
        assert!(world.drain().is_empty());
    }
}

#[test]
fn only_the_right_confirmation_opens() {
    let wrong = Digest([9; 32]);
    let (my_fp, your_fp, session) = (FP, config().fp, TAG);
    let bad = [
        PeerMessage::Confirm {
            my_fp: wrong,
            your_fp,
            session,
        },
        PeerMessage::Confirm {
            my_fp,
            your_fp: wrong,
            session,
        },
        PeerMessage::Confirm {
            my_fp,
            your_fp,
            session: SealTag([9; 8]),
        },
        PeerMessage::Confirm {
            my_fp: your_fp,
            your_fp: my_fp,
            session,
        },
        PeerMessage::ChatSync { have: 0 },
        PeerMessage::Bye {},
        PeerMessage::Unknown,
    ];
    for message in bad {
        let mut world = World::new();
        let mut link = answering(&mut world);
        link.handle(LinkNews::ChannelsOpen, &mut world.ctx());
        let out = hear(&mut link, message.clone(), &mut world);
        assert_eq!(out, [LinkOut::Gone(Code::ConfirmMismatch)], "{message:?}");
        assert!(!link.is_open());
    }
}

#[test]
fn the_confirmation_may_come_before_our_channels_are_reported() {
    let mut world = World::new();
    let mut link = answering(&mut world);
    world.drain();
    assert!(hear(&mut link, confirm(), &mut world).is_empty());
    assert!(!link.is_open());
    let out = link.handle(LinkNews::ChannelsOpen, &mut world.ctx());
    assert_eq!(out, [LinkOut::Opened, LinkOut::Changed]);
    // Once more when we know that the other hears us, ahead of everything else.
    assert_eq!(effects(&mut world), ["confirm", "confirm"]);
}

#[test]
fn nothing_is_believed_before_both_have_confirmed() {
    let mut world = World::new();
    let mut link = answering(&mut world);
    let beat = Beat {
        n: 1,
        state: PresenceState::Away,
        typing: false,
    };
    let ack = LinkNews::Ack {
        transfer: 1,
        entry: 0,
        ranges: Default::default(),
    };
    assert!(
        link.handle(LinkNews::Beat(beat), &mut world.ctx())
            .is_empty()
    );
    assert!(link.handle(ack, &mut world.ctx()).is_empty());
    hear(&mut link, confirm(), &mut world);
    // We have not said who we are, so nobody may talk to us yet.
    let out = hear(&mut link, PeerMessage::ChatSync { have: 0 }, &mut world);
    assert_eq!(out, [LinkOut::Gone(Code::PeerProtocol)]);
}

#[test]
fn messages_are_sent_only_while_open() {
    let mut world = World::new();
    let link = answering(&mut world);
    world.drain();
    link.send(PeerMessage::Bye {}, &mut world.ctx());
    link.ack(1, 0, Default::default(), &mut world.ctx());
    assert!(world.drain().is_empty());
    let link = opened(&mut world, true);
    link.send(PeerMessage::Bye {}, &mut world.ctx());
    link.ack(1, 0, Default::default(), &mut world.ctx());
    assert_eq!(effects(&mut world), ["send", "ack"]);
}

#[test]
fn beats_go_out_and_the_newest_counts() {
    let mut world = World::new();
    let mut link = opened(&mut world, true);
    pass(&mut link, 3_100, true, &mut world);
    assert_eq!(effects(&mut world), ["beat 1", "beat 2", "beat 3"]);
    let beat = |n, state| {
        LinkNews::Beat(Beat {
            n,
            state,
            typing: false,
        })
    };
    let out = link.handle(beat(5, PresenceState::Away), &mut world.ctx());
    assert_eq!(out, [LinkOut::Changed]);
    assert_eq!(link.view().1, Presence::Away);
    assert!(
        link.handle(beat(4, PresenceState::Online), &mut world.ctx())
            .is_empty()
    );
    assert_eq!(
        link.view().1,
        Presence::Away,
        "an old beat says nothing new"
    );
    assert!(
        link.handle(beat(6, PresenceState::Away), &mut world.ctx())
            .is_empty()
    );
}

#[test]
fn silence_is_shown_then_mended_then_final() {
    for offerer in [true, false] {
        let mut world = World::new();
        let mut link = opened(&mut world, offerer);
        let start = world.now.mono;
        pass(&mut link, 5_000, true, &mut world);
        assert_eq!(
            (link.view().0, link.view().1),
            (LinkPhase::Connected, Presence::Silent)
        );
        world.drain();
        let out = pass(&mut link, 3_500, true, &mut world);
        assert_eq!(link.view().0, LinkPhase::Reconnecting);
        let asked = out.contains(&LinkOut::Sealed(SealedBody::Restart { link: link.id() }));
        let offered = effects(&mut world).contains(&"offer true".to_string());
        assert_eq!((offered, asked), (offerer, !offerer));
        let out = pass(&mut link, 60_000, true, &mut world);
        assert_eq!(out.last(), Some(&LinkOut::Gone(Code::LinkLost)));
        assert_eq!(world.now.mono.since(start), QUIET + GIVE_UP);
        assert!(
            effects(&mut world)
                .iter()
                .filter(|e| *e == "offer true")
                .count()
                <= 3
        );
    }
}

#[test]
fn any_sign_of_life_ends_the_silence() {
    for ms in [5_000, 12_000] {
        for news in [
            LinkNews::Heard,
            LinkNews::Message(Box::new(PeerMessage::ChatAck { upto: 0 })),
            LinkNews::Beat(Beat {
                n: 1,
                state: PresenceState::Online,
                typing: false,
            }),
            LinkNews::Ack {
                transfer: 1,
                entry: 0,
                ranges: Default::default(),
            },
        ] {
            let mut world = World::new();
            let mut link = opened(&mut world, true);
            // The server is away, so no restart can help.
            pass(&mut link, ms, false, &mut world);
            let out = link.handle(news, &mut world.ctx());
            assert!(out.contains(&LinkOut::Silent(false)));
            assert_eq!(
                (link.view().0, link.view().1),
                (LinkPhase::Connected, Presence::Online)
            );
            assert!(pass(&mut link, 1_000, false, &mut world).is_empty());
        }
    }
}

#[test]
fn a_path_that_is_back_after_a_long_silence_asks_for_a_new_link() {
    let connected = LinkNews::Ice(IceState::Connected);
    for (silence, worn) in [(WORN - Duration::from_millis(1), false), (WORN, true)] {
        for (lost, news) in [
            (false, LinkNews::Heard),
            (true, LinkNews::Heard),
            (true, connected.clone()),
        ] {
            let mut world = World::new();
            let mut link = opened(&mut world, true);
            let heard = world.now.mono;
            if lost {
                world.now.mono = heard + Duration::from_secs(2);
                link.handle(LinkNews::Ice(IceState::Disconnected), &mut world.ctx());
            }
            world.now.mono = heard + silence;
            let out = link.handle(news.clone(), &mut world.ctx());
            assert_eq!(out.contains(&LinkOut::Worn), worn, "{silence:?} {news:?}");
            assert_eq!(link.view().0, LinkPhase::Connected, "until there is one");
            let out = link.handle(news, &mut world.ctx());
            assert!(!out.contains(&LinkOut::Worn), "once");
        }
    }
}

#[test]
fn a_link_that_never_stood_is_not_worn() {
    let mut world = World::new();
    let mut link = offering(&mut world);
    world.now.mono = world.now.mono + WORN;
    let out = link.handle(LinkNews::ChannelsOpen, &mut world.ctx());
    assert_eq!(out, []);
}

#[test]
fn a_restart_waits_for_the_server() {
    let mut world = World::new();
    let mut link = opened(&mut world, true);
    pass(&mut link, 9_000, false, &mut world);
    assert_eq!(link.view().0, LinkPhase::Reconnecting);
    assert!(!effects(&mut world).contains(&"offer true".to_string()));
    pass(
        &mut link,
        RESTART_EVERY.as_millis() as u64,
        true,
        &mut world,
    );
    assert!(effects(&mut world).contains(&"offer true".to_string()));
}

#[test]
fn ice_states_lead_to_recovery_and_back() {
    let mut world = World::new();
    let mut link = opened(&mut world, true);
    let out = link.handle(LinkNews::Ice(IceState::Disconnected), &mut world.ctx());
    assert_eq!(out, [LinkOut::Changed]);
    pass(&mut link, 1_900, true, &mut world);
    assert!(
        !effects(&mut world).contains(&"offer true".to_string()),
        "it may be a hiccup"
    );
    pass(&mut link, 200, true, &mut world);
    assert!(effects(&mut world).contains(&"offer true".to_string()));
    link.handle(LinkNews::Ice(IceState::Connected), &mut world.ctx());
    assert_eq!(link.view().0, LinkPhase::Connected);
    link.handle(LinkNews::Ice(IceState::Failed), &mut world.ctx());
    assert_eq!(link.view().0, LinkPhase::Reconnecting);
    // The first restart was never answered: another one has to wait for its turn, not spin.
    pass(&mut link, 20_000, true, &mut world);
    assert!(
        effects(&mut world)
            .iter()
            .filter(|e| *e == "offer true")
            .count()
            >= 1
    );
    let mut link = offering(&mut world);
    let out = link.handle(LinkNews::Ice(IceState::Failed), &mut world.ctx());
    assert_eq!(out, [LinkOut::Gone(Code::NoRoute)]);
}

#[test]
fn the_other_side_may_ask_for_a_restart_but_not_all_the_time() {
    let mut world = World::new();
    let mut link = opened(&mut world, true);
    let ask = SealedBody::Restart { link: link.id() };
    for _ in 0..50 {
        link.on_sealed(ask.clone(), &mut world.ctx());
        for n in 0..100 {
            link.on_sealed(sealed(&link, n), &mut world.ctx());
        }
    }
    assert_eq!(effects(&mut world), ["offer true"]);
    assert!(link.early.len() <= limits::MAX_CANDIDATES);
    let out = link.handle(LinkNews::LocalSdp("new".into()), &mut world.ctx());
    assert!(matches!(
        out[0],
        LinkOut::Sealed(SealedBody::SdpOffer { restart: true, .. })
    ));
    let mut link = opened(&mut world, false);
    let ask = SealedBody::Restart { link: link.id() };
    assert!(
        link.on_sealed(ask, &mut world.ctx()).is_empty(),
        "an answerer cannot"
    );
}

#[test]
fn a_second_restart_waits_for_the_answer_to_the_first() {
    let mut world = World::new();
    let mut link = opened(&mut world, true);
    link.restart(&mut world.ctx());
    assert_eq!(effects(&mut world), ["offer true"]);
    link.restart(&mut world.ctx());
    link.restart(&mut world.ctx());
    assert!(effects(&mut world).is_empty());
    answer(&mut link, &mut world);
    assert_eq!(effects(&mut world), ["accept answer", "offer true"]);
    answer(&mut link, &mut world);
    assert_eq!(effects(&mut world), ["accept answer"], "and no third");
}

#[test]
fn an_answer_that_comes_late_is_not_spoilt_by_another_offer() {
    let mut world = World::new();
    let mut link = opened(&mut world, true);
    link.handle(LinkNews::Ice(IceState::Disconnected), &mut world.ctx());
    let offers = |world: &mut World| {
        let offer = |e: &&String| *e == "offer true";
        effects(world).iter().filter(offer).count()
    };
    pass(&mut link, 3_000, true, &mut world);
    assert_eq!(offers(&mut world), 1);
    // The other asked for one before it had ours; both were long on their way.
    pass(&mut link, 8_000, true, &mut world);
    let id = link.id();
    link.on_sealed(SealedBody::Restart { link: id }, &mut world.ctx());
    answer(&mut link, &mut world);
    pass(&mut link, 1_000, true, &mut world);
    assert_eq!(offers(&mut world), 0);
    pass(
        &mut link,
        RESTART_EVERY.as_millis() as u64,
        true,
        &mut world,
    );
    assert_eq!(offers(&mut world), 1, "the answer did not help either");
}

#[test]
fn an_answerer_takes_a_restart_in_place() {
    let mut world = World::new();
    let mut link = opened(&mut world, false);
    let body = SealedBody::SdpOffer {
        link: link.id(),
        restart: true,
        sdp: sdp_of(&FP),
    };
    assert!(link.on_sealed(body, &mut world.ctx()).is_empty());
    assert!(link.is_open());
    let news = LinkNews::LocalCandidate(candidate(1));
    assert!(
        link.handle(news, &mut world.ctx()).is_empty(),
        "not before the answer"
    );
    let out = link.handle(LinkNews::LocalSdp("new".into()), &mut world.ctx());
    assert!(matches!(
        out[..],
        [
            LinkOut::Sealed(SealedBody::SdpAnswer { .. }),
            LinkOut::Sealed(SealedBody::Candidate { .. })
        ]
    ));
}

#[test]
fn signaling_and_connecting_end_in_time() {
    let mut world = World::new();
    let start = world.now.mono;
    let mut link = offering(&mut world);
    assert_eq!(
        pass(&mut link, 60_000, true, &mut world),
        [LinkOut::Gone(Code::NoRoute)]
    );
    assert_eq!(world.now.mono.since(start), SIGNAL_TIMEOUT);
    let start = world.now.mono;
    let mut link = answering(&mut world);
    assert_eq!(
        pass(&mut link, 60_000, true, &mut world),
        [LinkOut::Gone(Code::NoRoute)]
    );
    assert_eq!(world.now.mono.since(start), CONNECT_TIMEOUT);
}

#[test]
fn the_route_is_shown_and_a_broken_link_is_gone() {
    let mut world = World::new();
    let mut link = opened(&mut world, true);
    assert_eq!(
        link.handle(LinkNews::Route(Route::Relay), &mut world.ctx()),
        [LinkOut::Changed]
    );
    assert_eq!(link.view().2, Some(Route::Relay));
    let out = link.handle(LinkNews::Broken(Code::PeerProtocol), &mut world.ctx());
    assert_eq!(out, [LinkOut::Gone(Code::PeerProtocol)]);
}

#[test]
fn what_was_in_flight_does_not_prove_a_path() {
    let mut world = World::new();
    let mut link = opened(&mut world, true);
    link.restart(&mut world.ctx());
    assert!(link.handle(LinkNews::Heard, &mut world.ctx()).is_empty());
    assert_eq!(link.view().0, LinkPhase::Reconnecting);
    world.now.mono = world.now.mono + IN_FLIGHT;
    let out = link.handle(LinkNews::Heard, &mut world.ctx());
    assert_eq!(out, [LinkOut::Changed]);
    assert_eq!(link.view().0, LinkPhase::Connected);
}

#[test]
fn new_keys_repeat_a_restart_that_was_lost_with_the_old_ones() {
    let mut world = World::new();
    let mut link = opened(&mut world, true);
    assert!(
        link.on_new_seal(&mut world.ctx()).is_empty(),
        "nothing is wrong"
    );
    assert!(world.drain().is_empty());
    link.restart(&mut world.ctx());
    link.on_new_seal(&mut world.ctx());
    assert_eq!(effects(&mut world), ["offer true", "offer true"]);
    let mut link = opened(&mut world, false);
    link.restart(&mut world.ctx());
    let out = link.on_new_seal(&mut world.ctx());
    assert!(out.contains(&LinkOut::Sealed(SealedBody::Restart { link: link.id() })));
}
