//! Offers that come from somebody who passes them on.

use super::*;
use kith_protocol::IdPk;
use kith_protocol::ids::{Digest, Signature};

/// Whose offer it is, and the two who pass it on.
const OWNER: IdPk = IdPk([9; 32]);
const CY: PeerId = PeerId([5; 16]);
const DEE: PeerId = PeerId([6; 16]);
const ROOT: Digest = Digest([8; 32]);

struct Late {
    world: World,
    fetches: Fetches,
    key: FetchKey,
}

fn link(peer: PeerId) -> LinkId {
    LinkId([peer.0[0]; 8])
}

fn voucher(to: Vec<PeerId>) -> Box<Voucher> {
    Box::new(Voucher {
        by: OWNER,
        name: "files".into(),
        entries: 2,
        total: 10 * CHUNK + 1,
        root: ROOT,
        to,
        sig: Signature([0; 64]),
    })
}

impl Late {
    fn new() -> Self {
        let offer = crate::offer::offer_id(&OWNER, &ROOM, "files", &manifest());
        Late {
            world: World::new(),
            fetches: Fetches::new(ROOM, &[], false),
            key: FetchKey {
                room: ROOM,
                from: OWNER.peer_id(),
                offer,
            },
        }
    }

    fn hear(&mut self, peer: PeerId, message: PeerMessage) -> Vec<FetchOut> {
        let ctx = &mut self.world.ctx();
        self.fetches.on_message(peer, link(peer), message, ctx)
    }

    fn stand_in(&mut self, peer: PeerId) -> Vec<FetchOut> {
        let stand_in = PeerMessage::StandIn {
            offer_id: self.key.offer,
            voucher: voucher(vec![]),
        };
        self.hear(peer, stand_in)
    }

    fn offered(&mut self) -> Vec<FetchOut> {
        let offer = PeerMessage::Offer {
            offer_id: self.key.offer,
            name: "files".into(),
            entries: 2,
            total: 10 * CHUNK + 1,
            note: None,
        };
        self.hear(self.key.from, offer)
    }

    fn entries(&mut self, peer: PeerId, entries: Vec<Entry>) -> Vec<FetchOut> {
        let entries = PeerMessage::Entries {
            offer_id: self.key.offer,
            first: 0,
            entries,
        };
        self.hear(peer, entries)
    }

    fn fetch(&self) -> &Fetch {
        &self.fetches.fetches[&(self.key.from, self.key.offer)]
    }

    fn news(&mut self, news: FetchNews) -> Vec<FetchOut> {
        let (key, run) = (self.key, self.fetch().run);
        self.fetches.handle(key, run, news, &mut self.world.ctx())
    }

    fn stored(&mut self) -> Vec<FetchOut> {
        let mut out = Vec::new();
        for effect in self.world.drain() {
            if let Effect::Store(job, _) = effect {
                out.extend(self.fetches.on_stored(job, &mut self.world.ctx()));
            }
        }
        out
    }

    /// Fetching from Cy.
    fn fetching() -> Self {
        let mut r = Late::new();
        r.stand_in(CY);
        r.entries(CY, manifest());
        let ctx = &mut r.world.ctx();
        r.fetches.accept(r.key, "down".into(), ctx).unwrap();
        r.news(FetchNews::Prepared {
            roots: vec![],
            lost: vec![],
            adopted: vec![],
        });
        let out = r.stored();
        assert_eq!(accepts(&out), [CY]);
        let attached = r.world.drain();
        assert!(attached.iter().any(|e| matches!(
            e,
            Effect::Fetch(
                _,
                _,
                FetchEffect::Attach {
                    root: Some(ROOT),
                    ..
                }
            )
        )));
        r
    }

    fn phase(&self) -> FetchPhase {
        self.fetches
            .view(self.key.from, self.key.offer)
            .unwrap()
            .phase
    }
}

/// Who is asked to send.
fn accepts(out: &[FetchOut]) -> Vec<PeerId> {
    let to = |o: &FetchOut| match o {
        FetchOut::Send(to, PeerMessage::Accept { .. }) => Some(*to),
        _ => None,
    };
    out.iter().filter_map(to).collect()
}

fn detached(world: &mut World) -> bool {
    let detach = |e: &Effect| matches!(e, Effect::Fetch(_, _, FetchEffect::Detach));
    world.drain().iter().any(detach)
}

#[test]
fn an_offer_is_had_from_who_passes_it_on_and_then_passed_on_itself() {
    let mut r = Late::new();
    let out = r.stand_in(CY);
    assert!(matches!(
        out[0],
        FetchOut::Send(CY, PeerMessage::Browse { first: 0, .. })
    ));
    r.entries(CY, manifest());
    let view = r.fetches.view(r.key.from, r.key.offer).unwrap();
    assert_eq!((view.phase, view.by), (FetchPhase::Offered, Some(CY)));
    let mut r = Late::fetching();
    // What Cy says of single files does not count beside what was vouched for.
    let done = PeerMessage::EntryDone {
        offer_id: r.key.offer,
        entry: 0,
        hash: Digest([1; 32]),
    };
    r.hear(CY, done);
    assert!(r.world.drain().is_empty());
    r.news(FetchNews::Finished(vec![(0, "a".into()), (1, "b".into())]));
    let out = r.stored();
    assert!(
        out.iter()
            .any(|o| matches!(o, FetchOut::Send(CY, PeerMessage::OfferDone { .. })))
    );
    let passed = out.iter().find_map(|o| match o {
        FetchOut::Pass(passed) => Some(passed),
        _ => None,
    });
    let record = &passed.unwrap().record;
    assert_eq!(record.voucher, Some(voucher(vec![])));
    assert_eq!(r.phase(), FetchPhase::Done);
}

#[test]
fn a_manifest_that_the_id_does_not_name_is_not_taken() {
    let mut r = Late::new();
    r.stand_in(CY);
    r.stand_in(DEE);
    let forged = vec![entry("a", 10 * CHUNK), entry("x", 1)];
    let out = r.entries(CY, forged);
    assert!(matches!(
        out[0],
        FetchOut::Send(CY, PeerMessage::Cancel { .. })
    ));
    assert!(
        out.iter()
            .any(|o| matches!(o, FetchOut::Send(DEE, PeerMessage::Browse { .. })))
    );
    assert!(r.stand_in(CY).is_empty(), "once is enough");
    r.entries(CY, manifest());
    assert_eq!(r.phase(), FetchPhase::Seen);
    r.entries(DEE, manifest());
    assert_eq!(r.phase(), FetchPhase::Offered);
}

#[test]
fn who_passes_on_something_else_is_left_for_somebody_else() {
    for wrong in [FetchNews::Untrue, FetchNews::Mismatch { entry: 0 }] {
        let mut r = Late::fetching();
        r.stand_in(DEE);
        let mut out = r.news(wrong.clone());
        if let FetchNews::Mismatch { .. } = wrong {
            let again = |o: &FetchOut| matches!(o, FetchOut::Send(CY, PeerMessage::Want { .. }));
            assert!(out.iter().any(again), "a disk may have been wrong");
            out = r.news(wrong);
        }
        assert!(
            out.iter()
                .any(|o| matches!(o, FetchOut::Send(CY, PeerMessage::Cancel { .. })))
        );
        assert_eq!(accepts(&out), [DEE]);
        assert!(detached(&mut r.world));
        assert_eq!(r.phase(), FetchPhase::Fetching);
    }
}

#[test]
fn who_offers_takes_over_and_who_leaves_is_followed_by_another() {
    let mut r = Late::fetching();
    let owner = r.key.from;
    r.news(FetchNews::Durable {
        entry: 0,
        ranges: set(&[(0, 4)]),
    });
    r.stored();
    assert!(r.stand_in(DEE).is_empty());
    let out = r.offered();
    assert!(
        out.iter()
            .any(|o| matches!(o, FetchOut::Send(CY, PeerMessage::Cancel { .. })))
    );
    assert_eq!(accepts(&out), [owner]);
    let have = |o: &FetchOut| matches!(o, FetchOut::Send(to, PeerMessage::Have { entry: 0, .. }) if *to == owner);
    assert!(out.iter().any(have), "nothing comes twice");
    let out = r.fetches.on_closed(owner, &mut r.world.ctx());
    assert_eq!(accepts(&out), [CY]);
    let out = r.fetches.on_closed(CY, &mut r.world.ctx());
    assert_eq!(accepts(&out), [DEE]);
    let gone = PeerMessage::Gone {
        offer_id: r.key.offer,
        why: Code::SourceGone,
    };
    r.offered();
    r.stand_in(DEE);
    let out = r.hear(owner, gone.clone());
    assert_eq!(accepts(&out), [DEE], "what it cannot read others can");
    r.hear(DEE, gone);
    assert_eq!(r.phase(), FetchPhase::Stalled, "somebody may come back");
    assert_eq!(accepts(&r.stand_in(CY)), [CY]);
}

#[test]
fn what_was_taken_back_is_not_had_from_others() {
    let mut r = Late::fetching();
    let owner = r.key.from;
    r.offered();
    let gone = PeerMessage::Gone {
        offer_id: r.key.offer,
        why: Code::Cancelled,
    };
    r.hear(owner, gone);
    assert_eq!(r.phase(), FetchPhase::Withdrawn);
    assert!(r.stand_in(DEE).is_empty());
    assert_eq!(r.phase(), FetchPhase::Withdrawn);
}

#[test]
fn who_offers_hears_of_the_end_though_it_came_from_another() {
    let mut r = Late::fetching();
    let owner = r.key.from;
    r.fetches.on_open(owner, link(owner), &mut r.world.ctx());
    r.news(FetchNews::Finished(vec![(0, "a".into()), (1, "b".into())]));
    let out = r.stored();
    let told = |p: PeerId| {
        let done = |o: &&FetchOut| matches!(o, FetchOut::Send(to, PeerMessage::OfferDone { .. }) if *to == p);
        out.iter().any(|o| done(&o))
    };
    assert!(told(owner) && told(CY));
}

#[test]
fn only_who_offers_vouches_and_only_for_those_it_is_for() {
    // For somebody else, by its own owner, and our own.
    let mut r = Late::new();
    let mut stand_in = |voucher, from| {
        let stand_in = PeerMessage::StandIn {
            offer_id: r.key.offer,
            voucher,
        };
        r.hear(from, stand_in)
    };
    assert!(stand_in(voucher(vec![DEE]), CY).is_empty());
    assert!(stand_in(voucher(vec![]), OWNER.peer_id()).is_empty());
    let ours = Voucher {
        by: IdPk([1; 32]),
        ..*voucher(vec![])
    };
    assert!(stand_in(Box::new(ours), CY).is_empty());
    assert!(r.fetches.fetches.is_empty());
    // A word on somebody else's offer.
    let mut r = Late::fetching();
    let word = PeerMessage::Voucher {
        offer_id: r.key.offer,
        voucher: voucher(vec![DEE]),
    };
    r.hear(CY, word);
    assert_eq!(r.fetch().voucher, Some(voucher(vec![])));
}

#[test]
fn offers_that_one_peer_passes_on_are_bounded() {
    let mut r = Late::new();
    for n in 0..2 * limits::MAX_OFFERS as u8 {
        let stand_in = PeerMessage::StandIn {
            offer_id: OfferId([n; 16]),
            voucher: Box::new(Voucher {
                by: IdPk([n; 32]),
                ..*voucher(vec![])
            }),
        };
        r.hear(CY, stand_in);
    }
    assert_eq!(r.fetches.fetches.len(), limits::MAX_OFFERS);
}

#[test]
fn a_first_page_of_a_liar_is_not_mixed_with_that_of_another() {
    let mut r = Late::new();
    r.stand_in(CY);
    r.stand_in(DEE);
    let page = PeerMessage::Entries {
        offer_id: r.key.offer,
        first: 0,
        entries: vec![entry("x", 10 * CHUNK)],
    };
    r.hear(CY, page);
    let out = r.fetches.on_closed(CY, &mut r.world.ctx());
    assert!(
        out.iter()
            .any(|o| matches!(o, FetchOut::Send(DEE, PeerMessage::Browse { first: 0, .. })))
    );
    r.entries(DEE, manifest());
    assert_eq!(r.phase(), FetchPhase::Offered);
}

#[test]
fn what_a_liar_left_is_not_the_next_ones_mistake() {
    let mut r = Late::fetching();
    for entry in [0, 1] {
        r.news(FetchNews::Durable {
            entry,
            ranges: set(&[(0, 1)]),
        });
    }
    r.stored();
    r.stand_in(DEE);
    r.fetches.on_closed(CY, &mut r.world.ctx());
    for entry in [0, 1] {
        let out = r.news(FetchNews::Mismatch { entry });
        let again = |o: &FetchOut| matches!(o, FetchOut::Send(DEE, PeerMessage::Want { .. }));
        assert!(out.iter().any(again), "{out:?}");
    }
    assert_eq!(r.phase(), FetchPhase::Fetching);
}

#[test]
fn what_was_taken_back_is_kept_back_after_a_restart_too() {
    let mut r = Late::fetching();
    r.news(FetchNews::Finished(vec![(0, "a".into()), (1, "b".into())]));
    r.stored();
    let record = (**r.fetch().record.as_ref().unwrap()).clone();
    let done = vec![(0, "a".into()), (1, "b".into())];
    let saved = SavedFetch {
        record,
        ranges: vec![],
        done,
    };
    r.fetches = Fetches::new(ROOM, &[saved], true);
    assert_eq!(r.fetches.passed().len(), 1);
    let (owner, offer_id) = (r.key.from, r.key.offer);
    let why = Code::Cancelled;
    let out = r.hear(owner, PeerMessage::Gone { offer_id, why });
    assert!(
        out.iter()
            .any(|o| matches!(o, FetchOut::KeepBack(key, _) if key.offer == offer_id))
    );
    assert!(r.fetches.passed().is_empty());
    let stored = r.world.drain();
    let unvouched = |p: &Put| matches!(p, Put::Fetch(record) if record.voucher.is_none());
    assert!(
        stored
            .iter()
            .any(|e| matches!(e, Effect::Store(_, puts) if puts.iter().any(unvouched)))
    );
}

#[test]
fn a_word_on_an_id_that_names_something_else_is_worth_nothing() {
    let mut r = Receiver::fetching();
    r.news(FetchNews::Finished(vec![(0, "a".into()), (1, "b".into())]));
    r.stored();
    // Bob's id here is no hash of what he offers.
    let pk = IdPk([3; 32]);
    let voucher = Voucher {
        by: pk,
        ..*voucher(vec![])
    };
    assert_ne!(pk.peer_id(), BOB);
    let word = PeerMessage::Voucher {
        offer_id: ID,
        voucher: Box::new(voucher),
    };
    assert!(r.hear(word).is_empty());
    assert!(r.fetches.passed().is_empty());
}
