//! Manifests longer than what comes unasked.

use super::*;

const CARA: PeerId = PeerId([8; 16]);
const AHEAD: u32 = limits::PAGES_AHEAD as u32;

fn id(n: u8) -> OfferId {
    OfferId([n; 16])
}

fn key(n: u8) -> FetchKey {
    FetchKey {
        offer: id(n),
        ..KEY
    }
}

fn empty() -> Receiver {
    Receiver {
        world: World::new(),
        fetches: Fetches::new(ROOM, &[], false),
    }
}

impl Receiver {
    fn long(&mut self, from: PeerId, n: u8, link: LinkId, count: u32) -> Vec<FetchOut> {
        let offer = PeerMessage::Offer {
            offer_id: id(n),
            name: "long".into(),
            entries: count,
            total: 0,
            note: None,
        };
        self.fetches
            .on_message(from, link, offer, &mut self.world.ctx())
    }

    /// Pages of one entry each.
    fn pages(&mut self, n: u8, pages: std::ops::Range<u32>) -> Vec<FetchOut> {
        let page = |first: u32| PeerMessage::Entries {
            offer_id: id(n),
            first,
            entries: vec![entry(&format!("f{first}"), 0)],
        };
        pages.flat_map(|p| self.hear(page(p))).collect()
    }

    /// Fills pages with the longest paths there are.
    fn fill(&mut self, from: PeerId, n: u8, pages: u32) -> Vec<FetchOut> {
        let page = vec![entry(&"x".repeat(limits::MAX_PATH), 0); 14];
        let mut out = Vec::new();
        for first in 0..pages {
            let message = PeerMessage::Entries {
                offer_id: id(n),
                first: first * 14,
                entries: page.clone(),
            };
            let ctx = &mut self.world.ctx();
            out.extend(self.fetches.on_message(from, LINK, message, ctx));
        }
        out
    }

    fn take(&mut self, n: u8) -> Vec<FetchOut> {
        let ctx = &mut self.world.ctx();
        self.fetches.accept(key(n), "down".into(), ctx).unwrap()
    }

    fn is(&self, n: u8) -> FetchPhase {
        self.fetches.view(BOB, id(n)).unwrap().phase
    }

    /// The memory that manifests of these peers take.
    fn held(&self, of: &[PeerId]) -> usize {
        let of = self
            .fetches
            .fetches
            .iter()
            .filter(|((p, _), _)| of.contains(p));
        of.flat_map(|(_, f)| &f.entries)
            .map(crate::offer::weight)
            .sum()
    }

    fn prepared(&mut self) -> Option<usize> {
        self.world.drain().into_iter().find_map(|e| match e {
            Effect::Fetch(_, _, FetchEffect::Prepare { record, .. }) => Some(record.entries.len()),
            _ => None,
        })
    }
}

fn asked(out: &[FetchOut]) -> Vec<u32> {
    let first = |o: &FetchOut| match o {
        FetchOut::Send(_, PeerMessage::Browse { first, .. }) => Some(*first),
        _ => None,
    };
    out.iter().filter_map(first).collect()
}

#[test]
fn the_rest_of_a_long_manifest_is_asked_for_when_the_offer_is_taken() {
    let mut r = empty();
    let count = AHEAD * 3 + 5;
    r.long(BOB, 6, LINK, count);
    let out = r.pages(6, 0..AHEAD);
    assert_eq!((r.is(6), asked(&out)), (FetchPhase::Offered, vec![]));
    let view = r.fetches.view(BOB, id(6)).unwrap();
    assert_eq!(view.can, [OfferAction::Accept, OfferAction::Decline]);
    assert!(r.pages(6, AHEAD..AHEAD + 1).is_empty(), "not asked for");
    assert_eq!(asked(&r.take(6)), [AHEAD]);
    let view = r.fetches.view(BOB, id(6)).unwrap();
    assert_eq!(view.phase, FetchPhase::Accepted);
    assert_eq!(
        (view.can, view.dir),
        (
            vec![OfferAction::Pause, OfferAction::Limit, OfferAction::Cancel],
            Some("down".into())
        )
    );
    let out = r.pages(6, AHEAD..count - 1);
    assert_eq!(asked(&out), [AHEAD * 2, AHEAD * 3]);
    assert_eq!(r.prepared(), None, "not before all of it is known");
    r.pages(6, count - 1..count);
    assert_eq!(r.prepared(), Some(count as usize));
    assert_eq!(r.is(6), FetchPhase::Accepted);
}

#[test]
fn a_manifest_goes_on_over_the_next_link() {
    let mut r = empty();
    r.long(BOB, 6, LINK, AHEAD * 3);
    r.pages(6, 0..AHEAD);
    r.fetches.on_closed(BOB, &mut r.world.ctx());
    assert!(asked(&r.take(6)).is_empty(), "nobody to ask");
    let out = r.long(BOB, 6, LinkId([9; 8]), AHEAD * 3);
    assert_eq!(asked(&out), [AHEAD]);
    // What is announced again comes first, and is known.
    assert!(r.pages(6, 0..AHEAD).is_empty());
    assert_eq!(asked(&r.pages(6, AHEAD..AHEAD * 2)), [AHEAD * 2]);
    r.fetches.on_closed(BOB, &mut r.world.ctx());
    let out = r.long(BOB, 6, LinkId([10; 8]), AHEAD * 3);
    assert_eq!(asked(&out), [AHEAD * 2]);
    r.pages(6, AHEAD * 2..AHEAD * 3);
    assert_eq!(r.prepared(), Some(AHEAD as usize * 3));
}

#[test]
fn while_its_manifest_is_read_an_offer_can_be_cancelled_withdrawn_or_left() {
    let reading = || {
        let mut r = empty();
        r.long(BOB, 6, LINK, AHEAD * 3);
        r.pages(6, 0..AHEAD);
        r.take(6);
        r.pages(6, AHEAD..AHEAD * 2);
        r.world.drain();
        r
    };
    let mut r = reading();
    r.fetches.decline(key(6), &mut r.world.ctx()).unwrap();
    assert_eq!(r.is(6), FetchPhase::Declined);
    assert_eq!(
        r.fetches.fetches[&(BOB, id(6))].entries.len(),
        20,
        "to look at"
    );
    // And taken again: over this link, or one over which it is not announced any more.
    assert_eq!(asked(&r.take(6)), [20]);
    r.fetches.on_closed(BOB, &mut r.world.ctx());
    r.fetches.fetches.get_mut(&(BOB, id(6))).unwrap().declined = Some(LINK);
    let out = r.fetches.on_open(BOB, LINK, &mut r.world.ctx());
    assert_eq!(asked(&out), [20]);
    r.pages(6, 20..AHEAD * 3);
    assert_eq!(r.prepared(), Some(AHEAD as usize * 3));

    let mut r = reading();
    let (offer_id, why) = (id(6), Code::Cancelled);
    r.hear(PeerMessage::Gone { offer_id, why });
    assert_eq!(r.is(6), FetchPhase::Withdrawn);
    r.long(BOB, 6, LINK, AHEAD * 3);
    assert_eq!(r.is(6), FetchPhase::Seen);

    let mut r = reading();
    r.fetches.stop(&mut r.world.ctx());
    assert_eq!(r.is(6), FetchPhase::Offered);
    assert!(r.world.drain().is_empty(), "no worker to end");
}

#[test]
fn a_total_is_checked_as_far_as_it_is_known() {
    let offer = |total| PeerMessage::Offer {
        offer_id: id(6),
        name: "x".into(),
        entries: AHEAD + 1,
        total,
        note: None,
    };
    let page = |first| PeerMessage::Entries {
        offer_id: id(6),
        first,
        entries: vec![entry("x", 10)],
    };
    let mut r = empty();
    r.hear(offer(5));
    (0..AHEAD).for_each(|n| drop(r.hear(page(n))));
    assert_eq!(r.is(6), FetchPhase::Failed, "more than it says");
    let mut r = empty();
    r.hear(offer(u64::from(AHEAD) * 10));
    (0..AHEAD).for_each(|n| drop(r.hear(page(n))));
    assert_eq!(r.is(6), FetchPhase::Offered);
    r.take(6);
    r.hear(page(AHEAD));
    let view = r.fetches.view(BOB, id(6)).unwrap();
    assert_eq!(
        (view.phase, view.why),
        (FetchPhase::Failed, Some(Code::PeerProtocol))
    );
    assert_eq!((view.can, r.prepared()), (vec![], None));
}

#[test]
fn manifests_that_nobody_took_have_little_room() {
    let mut r = empty();
    for n in 0..limits::MAX_OFFERS as u8 {
        r.long(BOB, n, LINK, limits::MAX_ENTRIES);
        let out = r.fill(BOB, n, AHEAD);
        assert_eq!((asked(&out), r.is(n)), (vec![], FetchPhase::Offered));
    }
    assert!(r.held(&[BOB]) <= MAX_LOOK);
    // Somebody else is not hurt, and everybody together stays within bounds.
    r.long(CARA, 6, LINK, limits::MAX_ENTRIES);
    r.fill(CARA, 6, 2);
    assert_eq!(r.fetches.view(CARA, id(6)).unwrap().preview.len(), 20);
    let crowd: Vec<PeerId> = (100..200).map(|p| PeerId([p; 16])).collect();
    for peer in &crowd {
        for n in 0..4 {
            r.long(*peer, n, LINK, limits::MAX_ENTRIES);
            r.fill(*peer, n, AHEAD);
        }
    }
    assert!(r.held(&crowd) <= MAX_LOOK_ALL);
    // An offer of which nothing can be kept may still be taken.
    r.long(crowd[99], 9, LINK, 14);
    r.fill(crowd[99], 9, 1);
    let view = r.fetches.view(crowd[99], id(9)).unwrap();
    assert_eq!((view.phase, view.preview.len()), (FetchPhase::Offered, 0));
    let theirs = FetchKey {
        from: crowd[99],
        ..key(9)
    };
    let out = r.fetches.accept(theirs, "down".into(), &mut r.world.ctx());
    assert_eq!(asked(&out.unwrap()), [0]);
    r.fill(crowd[99], 9, 1);
    assert_eq!(r.prepared(), Some(14));
}

#[test]
fn a_manifest_of_gigabytes_ends_the_offer() {
    let mut r = empty();
    r.long(BOB, 6, LINK, limits::MAX_ENTRIES);
    r.fill(BOB, 6, AHEAD);
    r.take(6);
    let had = r.fetches.fetches[&(BOB, id(6))].entries.len() as u32;
    let page = vec![entry(&"x".repeat(limits::MAX_PATH), 0); 14];
    let refused = (0..10_000).find(|n| {
        let out = r.hear(PeerMessage::Entries {
            offer_id: id(6),
            first: had + n * 14,
            entries: page.clone(),
        });
        let why = Code::TooManyOffers;
        let offer_id = id(6);
        out.contains(&FetchOut::Send(BOB, PeerMessage::Decline { offer_id, why }))
    });
    assert!(refused.is_some());
    assert_eq!((r.is(6), r.held(&[BOB])), (FetchPhase::Failed, 0));
}
