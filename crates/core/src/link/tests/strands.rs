use super::*;
use crate::input::{StrandId, StrandNews};

const OURS: StrandId = StrandId { ours: true, n: 0 };
const THEIRS: StrandId = StrandId { ours: false, n: 0 };

fn step(link: &mut Link, id: StrandId, step: StrandStep, world: &mut World) -> Vec<LinkOut> {
    let (n, mine) = (id.n, !id.ours);
    hear(link, PeerMessage::Strand { n, mine, step }, world)
}

fn news(link: &mut Link, id: StrandId, news: StrandNews, world: &mut World) -> Vec<LinkOut> {
    link.handle(LinkNews::Strand(id, news), &mut world.ctx())
}

fn strained(link: &mut Link, most: u8, world: &mut World) {
    assert_eq!(
        link.handle(LinkNews::Strained(most), &mut world.ctx()),
        vec![]
    );
}

fn good_sdp() -> String {
    sdp_of(&FP)
}

fn candidate_step(n: usize) -> StrandStep {
    let c = candidate(n);
    StrandStep::Candidate {
        candidate: c.candidate,
        mid: c.mid,
        mline: c.mline,
    }
}

/// A link with a strand of ours that is described by both.
fn described(world: &mut World) -> Link {
    let mut link = opened(world, true);
    strained(&mut link, 1, world);
    news(&mut link, OURS, StrandNews::LocalSdp("v=0".into()), world);
    let answer = StrandStep::Answer { sdp: good_sdp() };
    assert_eq!(step(&mut link, OURS, answer, world), []);
    assert_eq!(
        effects(world),
        ["strand 0: offer", "say 0: offer", "strand 0: accept answer"]
    );
    link
}

#[test]
fn a_strand_of_ours_carries_once_both_ends_are_ready() {
    for ours_first in [true, false] {
        let world = &mut World::new();
        let mut link = described(world);
        news(
            &mut link,
            OURS,
            StrandNews::LocalCandidate(candidate(1)),
            world,
        );
        step(&mut link, OURS, candidate_step(2), world);
        assert_eq!(
            effects(world),
            ["say 0: candidate", "strand 0: candidate:2"]
        );
        let mut ends = [true, false];
        ends.rotate_left(usize::from(!ours_first));
        for ours in ends {
            assert_eq!(effects(world), [""; 0], "not yet");
            if ours {
                news(&mut link, OURS, StrandNews::Open, world);
            } else {
                step(&mut link, OURS, StrandStep::Ready {}, world);
            }
        }
        assert_eq!(effects(world), ["strand 0: carry"]);
    }
}

#[test]
fn a_strand_of_the_other_is_answered_and_said_to_be_ready() {
    let world = &mut World::new();
    let mut link = opened(world, false);
    let offer = StrandStep::Offer { sdp: good_sdp() };
    assert_eq!(step(&mut link, THEIRS, offer, world), []);
    news(&mut link, THEIRS, StrandNews::LocalSdp("v=0".into()), world);
    news(&mut link, THEIRS, StrandNews::Open, world);
    assert_eq!(
        effects(world),
        ["strand 0: accept offer", "say 0: answer", "say 0: ready"]
    );
    // Its end is for who sends on it to judge.
    let lost = StrandNews::Lost { lossy: false };
    assert_eq!(news(&mut link, THEIRS, lost, world), []);
    assert_eq!(effects(world), ["strand 0: close"]);
}

#[test]
fn no_more_strands_are_opened_than_the_limit_and_none_twice() {
    let world = &mut World::new();
    let mut link = opened(world, true);
    strained(&mut link, 1, world);
    strained(&mut link, 1, world);
    assert_eq!(effects(world), ["strand 0: offer"]);
    strained(&mut link, u8::MAX, world);
    assert_eq!(effects(world).len(), usize::from(limits::MAX_STRANDS) - 1);
}

#[test]
fn none_is_opened_over_a_relay_or_while_the_path_is_mended() {
    let world = &mut World::new();
    let mut link = opened(world, true);
    link.handle(LinkNews::Ice(IceState::Disconnected), &mut world.ctx());
    strained(&mut link, 1, world);
    link.handle(LinkNews::Ice(IceState::Connected), &mut world.ctx());
    link.handle(LinkNews::Route(Route::Relay), &mut world.ctx());
    strained(&mut link, 1, world);
    assert_eq!(effects(world), [""; 0]);
    link.handle(LinkNews::Route(Route::Direct), &mut world.ctx());
    strained(&mut link, 1, world);
    assert_eq!(effects(world), ["strand 0: offer"]);
}

#[test]
fn a_peer_that_knows_no_strands_is_asked_once_and_the_link_goes_on() {
    let world = &mut World::new();
    let mut link = opened(world, true);
    strained(&mut link, 1, world);
    news(&mut link, OURS, StrandNews::LocalSdp("v=0".into()), world);
    effects(world);
    let mut out = Vec::new();
    for _ in 0..25 {
        link.handle(LinkNews::Heard, &mut world.ctx());
        out.extend(pass(&mut link, 1_000, true, world));
    }
    assert_eq!(out, []);
    let said = effects(world);
    let closed = said.iter().filter(|e| *e == "strand 0: close").count();
    assert_eq!(closed, 1, "{said:?}");
    // Late is never.
    let answer = StrandStep::Answer { sdp: good_sdp() };
    assert_eq!(step(&mut link, OURS, answer, world), []);
    strained(&mut link, 7, world);
    assert_eq!(effects(world), [""; 0]);
    assert!(link.is_open());
}

#[test]
fn what_ends_with_chunks_on_it_takes_the_link_along() {
    // Whether it carried, whether chunks may be lost, whether the link is.
    for (carried, lossy) in [(false, false), (true, false), (true, true)] {
        let world = &mut World::new();
        let mut link = described(world);
        if carried {
            news(&mut link, OURS, StrandNews::Open, world);
            step(&mut link, OURS, StrandStep::Ready {}, world);
        }
        let out = news(&mut link, OURS, StrandNews::Lost { lossy }, world);
        let gone = [LinkOut::Gone(Code::LinkLost)];
        assert_eq!(out, if lossy { &gone[..] } else { &[] });
        let said = effects(world);
        assert_eq!(said.last().map(String::as_str), Some("strand 0: close"));
        let again = StrandNews::Lost { lossy: true };
        assert_eq!(news(&mut link, OURS, again, world), [], "once");
    }
}

#[test]
fn what_breaks_the_protocol_of_strands_ends_the_link() {
    let offer = |sdp: &str| StrandStep::Offer { sdp: sdp.into() };
    let answer = |sdp: &str| StrandStep::Answer { sdp: sdp.into() };
    let (good, wrong) = (good_sdp(), sdp_of(&Digest([9; 32])));
    let both = format!("{good}{wrong}");
    let far = StrandId { ours: false, n: 1 };
    let unknown = StrandId { ours: true, n: 1 };
    let rows = [
        (THEIRS, offer(&wrong), Code::BadSdp),
        (THEIRS, offer(&both), Code::BadSdp),
        (THEIRS, offer("v=0"), Code::BadSdp),
        (far, offer(&good), Code::PeerProtocol),
        (OURS, offer(&good), Code::PeerProtocol),
        (OURS, answer(&good), Code::PeerProtocol),
        (unknown, answer(&good), Code::PeerProtocol),
        (THEIRS, answer(&good), Code::PeerProtocol),
        (unknown, StrandStep::Ready {}, Code::PeerProtocol),
        (THEIRS, candidate_step(1), Code::PeerProtocol),
    ];
    for (id, said, code) in rows {
        let world = &mut World::new();
        let mut link = described(world);
        let what = format!("{id:?} {said:?}");
        let out = step(&mut link, id, said, world);
        assert_eq!(out, [LinkOut::Gone(code)], "{what}");
        assert_eq!(effects(world), [""; 0], "{what}");
    }
    let world = &mut World::new();
    let mut link = opened(world, true);
    strained(&mut link, 1, world);
    world.drain();
    let out = step(&mut link, OURS, answer(&wrong), world);
    assert_eq!(out, [LinkOut::Gone(Code::BadSdp)]);
}

#[test]
fn candidates_of_a_strand_are_bounded_and_checked() {
    let world = &mut World::new();
    let mut link = described(world);
    let bad = StrandStep::Candidate {
        candidate: "not one".into(),
        mid: None,
        mline: None,
    };
    step(&mut link, OURS, bad, world);
    for n in 0..2 * limits::MAX_CANDIDATES {
        assert_eq!(step(&mut link, OURS, candidate_step(n), world), []);
    }
    assert_eq!(effects(world).len(), limits::MAX_CANDIDATES - 1);
}

#[test]
fn the_other_opens_no_more_strands_than_the_limit() {
    let world = &mut World::new();
    let mut link = opened(world, true);
    let offer = |n| PeerMessage::Strand {
        n,
        mine: true,
        step: StrandStep::Offer { sdp: good_sdp() },
    };
    for n in 0..limits::MAX_STRANDS {
        assert_eq!(hear(&mut link, offer(n), world), []);
    }
    let out = hear(&mut link, offer(limits::MAX_STRANDS), world);
    assert_eq!(out, [LinkOut::Gone(Code::PeerProtocol)]);
}
