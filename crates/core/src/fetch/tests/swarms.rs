//! A fetch whose receivers help each other.

use super::*;
use crate::effect::HoldEffect;
use crate::input::{HoldKey, HoldNews};

const CY: PeerId = PeerId([7; 16]);
const DEE: PeerId = PeerId([8; 16]);
const TO_CY: LinkId = LinkId([7; 8]);

impl Receiver {
    /// Bob serves us and Cy, who is linked with us; hashes of the large file have come.
    fn in_swarm() -> Self {
        let mut r = Receiver::fetching();
        r.fetches.on_open(CY, TO_CY, &mut r.world.ctx());
        let to = vec![CY];
        let out = r.hear(PeerMessage::Swarm { offer_id: ID, to });
        let hello = |o: &FetchOut| {
            matches!(
                o,
                FetchOut::Send(
                    CY,
                    PeerMessage::Holds {
                        hello: true,
                        from: BOB,
                        ..
                    }
                )
            )
        };
        assert!(out.iter().any(hello), "{out:?}");
        let out = r.news(FetchNews::Hashed { entry: 0, end: 10 });
        assert!(out.is_empty());
        r.world.drain();
        r
    }

    fn from(&mut self, peer: PeerId, message: PeerMessage) -> Vec<FetchOut> {
        self.fetches
            .on_message(peer, TO_CY, message, &mut self.world.ctx())
    }

    fn holds(&mut self, peer: PeerId, ranges: &[(u64, u64)]) -> Vec<FetchOut> {
        let parts = vec![(0, set(ranges))];
        self.from(peer, holds(false, parts))
    }

    fn pull(&mut self, peer: PeerId, ranges: &[(u64, u64)]) -> Vec<FetchOut> {
        let pull = PeerMessage::Pull {
            from: BOB,
            offer_id: ID,
            transfer: 70,
            entry: 0,
            ranges: set(ranges),
        };
        self.from(peer, pull)
    }

    fn on_time(&mut self) -> Vec<FetchOut> {
        let at = self.fetches.deadline().expect("something is waited for").at;
        self.world.now.mono = at;
        self.fetches.on_time(&mut self.world.ctx())
    }
}

fn holds(hello: bool, parts: Vec<(u32, RangeSet)>) -> PeerMessage {
    PeerMessage::Holds {
        from: BOB,
        offer_id: ID,
        hello,
        whole: RangeSet::new(),
        parts,
    }
}

fn pulls(out: &[FetchOut]) -> Vec<(PeerId, RangeSet)> {
    let pull = |o: &FetchOut| match o {
        FetchOut::Send(peer, PeerMessage::Pull { ranges, .. }) => Some((*peer, ranges.clone())),
        _ => None,
    };
    out.iter().filter_map(pull).collect()
}

fn wants(out: &[FetchOut]) -> u64 {
    let want = |o: &FetchOut| match o {
        FetchOut::Send(BOB, PeerMessage::Want { ranges, .. }) => Some(ranges.count()),
        _ => None,
    };
    out.iter().filter_map(want).sum()
}

#[test]
fn what_another_holds_is_asked_for_there_and_acknowledged_to_who_offers() {
    let mut r = Receiver::in_swarm();
    let out = r.holds(CY, &[(2, 6)]);
    assert_eq!(pulls(&out), [(CY, set(&[(2, 6)]))]);
    let effects = r.world.drain();
    let added = |e: &Effect| {
        matches!(
            e,
            Effect::Fetch(_, _, FetchEffect::AddSource { link: TO_CY, .. })
        )
    };
    assert!(effects.iter().any(added), "{effects:?}");
    r.durable(0, &[(2, 6)]);
    let out = r.stored();
    assert_eq!(acks(&out), [(0, set(&[(2, 6)]))]);
    let told = |o: &FetchOut| matches!(o, FetchOut::Send(CY, PeerMessage::Holds { .. }));
    assert!(out.iter().any(told), "{out:?}");
}

#[test]
fn nobody_hears_of_the_offer_but_those_to_whom_it_was_made() {
    let mut r = Receiver::in_swarm();
    assert!(r.fetches.on_open(DEE, LINK, &mut r.world.ctx()).is_empty());
    r.durable(0, &[(0, 4)]);
    r.stored();
    assert!(
        r.from(DEE, holds(true, vec![(0, set(&[(0, 9)]))]))
            .is_empty()
    );
    assert!(r.pull(DEE, &[(0, 2)]).is_empty());
    assert!(r.world.drain().is_empty());
}

#[test]
fn what_is_held_is_served_and_what_is_not_is_refused() {
    let mut r = Receiver::in_swarm();
    r.durable(0, &[(0, 4)]);
    assert!(
        r.pull(CY, &[(0, 2)]).iter().any(is_let_go),
        "not yet recorded"
    );
    r.stored();
    assert!(r.pull(CY, &[(0, 2)]).is_empty());
    let effects = r.world.drain();
    let [
        Effect::Hold(
            key,
            run,
            HoldEffect::Start {
                link: TO_CY,
                transfer: 70,
                ..
            },
        ),
        Effect::Hold(
            _,
            _,
            HoldEffect::Want {
                entry: 0,
                ranges,
                name: None,
            },
        ),
    ] = &effects[..]
    else {
        panic!("{effects:?}")
    };
    assert_eq!(ranges, &set(&[(0, 2)]));
    assert_eq!(
        *key,
        HoldKey {
            fetch: KEY,
            peer: CY
        }
    );
    r.fetches
        .on_hold(*key, *run, HoldNews::Sent(99), &mut r.world.ctx());
    assert_eq!(r.view().traffic.sent, 99);
    for beyond in [[(3, 5)], [(9, 12)]] {
        assert!(r.pull(CY, &beyond).iter().any(is_let_go));
    }
    let stopped = |e: &Effect| matches!(e, Effect::Hold(_, _, HoldEffect::Stop));
    assert!(r.world.drain().iter().any(stopped));
}

fn is_let_go(o: &FetchOut) -> bool {
    matches!(o, FetchOut::Send(CY, PeerMessage::LetGo { .. }))
}

#[test]
fn who_asks_without_end_is_let_go() {
    let mut r = Receiver::in_swarm();
    r.durable(0, &[(0, 10)]);
    r.stored();
    let refused = (0..1_000).find(|_| r.pull(CY, &[(0, 10)]).iter().any(is_let_go));
    assert!(refused.is_some());
}

#[test]
fn chunks_that_are_wrong_cost_their_holder_its_part_and_not_the_fetch() {
    let mut r = Receiver::in_swarm();
    r.holds(CY, &[(0, 10)]);
    let effects = r.world.drain();
    let at = effects.iter().find_map(|e| match e {
        Effect::Fetch(_, _, FetchEffect::AddSource { link, transfer }) => Some((*link, *transfer)),
        _ => None,
    });
    let (link, transfer) = at.expect("a source");
    for index in 0..u64::from(STRIKES) {
        r.news(FetchNews::Spurned {
            link,
            transfer,
            entry: 0,
            index,
        });
    }
    let dropped = |e: &Effect| matches!(e, Effect::Fetch(_, _, FetchEffect::DropSource { .. }));
    assert!(r.world.drain().iter().any(dropped));
    assert_eq!(r.phase(), FetchPhase::Fetching);
    assert!(r.holds(CY, &[(0, 10)]).is_empty(), "it is not asked again");
    assert!(r.pull(CY, &[(0, 1)]).is_empty());
    assert!(wants(&r.on_time()) > 0, "who offers is");
}

#[test]
fn who_finds_nobody_else_asks_who_offers() {
    let mut r = Receiver::in_swarm();
    let out = r.on_time();
    assert_eq!(wants(&out), 11);
    assert_eq!(wants(&r.durable(0, &[(0, 10)])), 0, "the rest is under way");
}

#[test]
fn the_others_are_enough_while_who_offers_is_away() {
    let mut r = Receiver::in_swarm();
    r.fetches.on_closed(BOB, &mut r.world.ctx());
    assert_eq!(r.phase(), FetchPhase::Stalled);
    let out = r.holds(CY, &[(0, 10)]);
    assert_eq!(pulls(&out), [(CY, set(&[(0, 10)]))]);
    r.durable(0, &[(0, 10)]);
    assert!(acks(&r.stored()).is_empty());
    assert_eq!(r.view().done, 10 * CHUNK);
}

#[test]
fn a_hello_is_answered_with_what_is_here() {
    let mut r = Receiver::in_swarm();
    r.durable(0, &[(0, 4)]);
    r.stored();
    let out = r.from(CY, holds(true, Vec::new()));
    let [
        FetchOut::Send(
            CY,
            PeerMessage::Holds {
                hello: false,
                parts,
                ..
            },
        ),
    ] = &out[..]
    else {
        panic!("{out:?}")
    };
    assert_eq!(parts, &[(0, set(&[(0, 4)]))]);
}

#[test]
fn a_bound_counts_what_comes_from_others_too() {
    let mut r = Receiver::in_swarm();
    let ctx = &mut r.world.ctx();
    r.fetches.limit(KEY, Some(2 * CHUNK), ctx).unwrap();
    let said = r.settle(1);
    let told = |m: &PeerMessage| matches!(m, PeerMessage::Pace { bytes_per_s: Some(b), .. } if *b == 2 * CHUNK);
    assert!(said.iter().any(told), "{said:?}");
    // Five chunks have just come from Bob: more than two seconds' worth is spent.
    let bytes = 5 * CHUNK;
    r.news(FetchNews::Received { bytes, durable: 0 });
    assert!(pulls(&r.holds(CY, &[(0, 8)])).is_empty());
    let begun = r.world.now.mono;
    let out = loop {
        let out = r.on_time();
        if !pulls(&out).is_empty() {
            break out;
        }
    };
    let waited = r.world.now.mono.since(begun);
    assert_eq!(waited.as_millis(), 2_500, "until that is paid");
    assert_eq!(pulls(&out), [(CY, set(&[(0, 8)]))]);
}
