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
    let (transfer, entry) = (1, 0);
    let mismatch = FetchNews::Mismatch { transfer, entry };
    for wrong in [FetchNews::Untrue { transfer }, mismatch] {
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
fn what_the_one_before_sent_is_not_the_next_ones_mistake() {
    let (transfer, entry, index) = (1, 0, 0);
    let corrupt = FetchNews::Corrupt {
        transfer,
        entry,
        index,
    };
    let mismatch = FetchNews::Mismatch { transfer, entry };
    for late in [FetchNews::Untrue { transfer }, corrupt, mismatch] {
        let mut r = Late::fetching();
        r.stand_in(DEE);
        r.fetches.on_closed(CY, &mut r.world.ctx());
        // Its worker said so before it heard of another.
        for _ in 0..2 * MISMATCHES.max(STRIKES) {
            let out = r.news(late.clone());
            let blames = |o: &FetchOut| matches!(o, FetchOut::Send(_, PeerMessage::Cancel { .. }));
            assert!(!out.iter().any(blames), "{out:?}");
        }
        assert_eq!((r.phase(), r.fetch().via), (FetchPhase::Fetching, DEE));
    }
}

/// When somebody who sends nothing is left for another, if at all.
fn silence(r: &Late) -> Option<Mono> {
    let due = r.fetches.deadline().filter(|d| d.why.contains("nothing"));
    due.map(|d| d.at)
}

/// Time goes on until that is due.
fn be_silent(r: &mut Late) -> Vec<FetchOut> {
    r.world.now.mono = silence(r).expect("somebody is waited for");
    r.fetches.on_time(&mut r.world.ctx())
}

#[test]
fn who_sends_nothing_is_left_for_the_next_and_each_has_more_time() {
    const EVE: PeerId = PeerId([7; 16]);
    let mut r = Late::fetching();
    assert_eq!(silence(&r), None, "there is nobody else");
    r.stand_in(DEE);
    r.stand_in(EVE);
    let (mut wait, mut asked) = (SILENCE_FIRST, vec![]);
    for _ in 0..4 {
        let (before, via) = (r.world.now.mono, r.fetch().via);
        let out = be_silent(&mut r);
        assert_eq!(r.world.now.mono, before + wait);
        let cancel = |o: &FetchOut| matches!(o, FetchOut::Send(to, PeerMessage::Cancel { why: Code::Busy, .. }) if *to == via);
        assert!(out.iter().any(cancel), "{out:?}");
        assert!(detached(&mut r.world));
        asked.extend(accepts(&out));
        wait *= 2;
    }
    assert_eq!(asked, [DEE, EVE, CY, DEE]);
    // What comes shows that somebody is there.
    r.world.now.mono = r.world.now.mono + SILENCE_FIRST;
    let (bytes, durable) = (1, 0);
    r.news(FetchNews::Received { bytes, durable });
    assert_eq!(silence(&r), Some(r.world.now.mono + SILENCE_FIRST));
    r.offered();
    assert_eq!(silence(&r), None, "who offers is waited for");
}

#[test]
fn who_does_not_answer_about_a_manifest_or_pauses_is_left_too() {
    let mut r = Late::new();
    r.stand_in(CY);
    r.stand_in(DEE);
    let out = be_silent(&mut r);
    assert!(
        out.iter()
            .any(|o| matches!(o, FetchOut::Send(DEE, PeerMessage::Browse { first: 0, .. })))
    );
    r.entries(DEE, manifest());
    assert_eq!(r.phase(), FetchPhase::Offered);
    assert_eq!(silence(&r), None, "it is for our user to say");
    let mut r = Late::fetching();
    r.stand_in(DEE);
    let (offer_id, why) = (r.key.offer, None);
    r.hear(CY, PeerMessage::Pause { offer_id, why });
    r.fetches.standings();
    assert_eq!(r.phase(), FetchPhase::Paused);
    let out = be_silent(&mut r);
    assert_eq!(accepts(&out), [DEE]);
    assert_eq!(r.phase(), FetchPhase::Fetching);
    // Our own pause is nobody's silence.
    r.fetches.pause(r.key, &mut r.world.ctx()).unwrap();
    assert_eq!(silence(&r), None);
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
    assert_eq!(r.phase(), FetchPhase::Withdrawn, "nobody has it");
    // Somebody who has it comes: it was taken, and goes on.
    r.stand_in(CY);
    let (roots, lost, adopted) = (vec![], vec![], vec![]);
    r.news(FetchNews::Prepared {
        roots,
        lost,
        adopted,
    });
    assert_eq!(accepts(&r.stored()), [CY]);
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
        let transfer = r.fetch().transfer;
        let out = r.news(FetchNews::Mismatch { transfer, entry });
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

#[test]
fn who_offers_may_let_in_more_people_and_no_more_than_that() {
    let mut r = Late::fetching();
    r.news(FetchNews::Finished(vec![(0, "a".into()), (1, "b".into())]));
    r.stored();
    r.world.drain();
    let narrow = voucher(vec![CY]);
    let owner = r.key;
    r.fetches
        .fetches
        .get_mut(&(owner.from, owner.offer))
        .unwrap()
        .voucher = Some(narrow.clone());
    let mut word = |voucher: &Voucher| {
        let word = PeerMessage::Voucher {
            offer_id: r.key.offer,
            voucher: Box::new(voucher.clone()),
        };
        let out = r.hear(r.key.from, word);
        let puts = r.world.drain().len();
        (out.len(), puts)
    };
    let wide = voucher(vec![CY, DEE]);
    let other = Voucher {
        root: Digest([0; 32]),
        ..*wide.clone()
    };
    assert_eq!(word(&narrow), (0, 0));
    assert_eq!(word(&other), (0, 0));
    assert_eq!(word(&wide), (1, 1));
    assert_eq!(word(&narrow), (0, 0), "it was said to more already");
    assert_eq!(word(&wide), (0, 0));
}
