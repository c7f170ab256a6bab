mod adopted;
mod holds;
mod manifests;
mod passed;
mod swarms;

use super::*;
use crate::input::FetchNews;
use crate::record::Put;
use crate::testing::{World, entry, set};
use kith_api::FetchPhase;
use kith_api::OfferView;

const ROOM: RoomId = RoomId([1; 16]);
const BOB: PeerId = PeerId([3; 16]);
const LINK: LinkId = LinkId([4; 8]);
const ID: OfferId = OfferId([5; 16]);
const KEY: FetchKey = FetchKey {
    room: ROOM,
    from: BOB,
    offer: ID,
};
const CHUNK: u64 = limits::CHUNK as u64;

fn manifest() -> Vec<Entry> {
    vec![entry("a", 10 * CHUNK), entry("b", 1)]
}

/// A receiver that has seen an offer of a file of ten chunks and one of a byte.
struct Receiver {
    world: World,
    fetches: Fetches,
}

impl Receiver {
    fn new(saved: &[SavedFetch]) -> Self {
        let (world, fetches) = (World::new(), Fetches::new(ROOM, saved, false));
        let mut r = Receiver { world, fetches };
        r.announce(LINK);
        r.entries(0, manifest());
        assert_eq!(r.phase(), FetchPhase::Offered);
        r
    }

    fn hear(&mut self, message: PeerMessage) -> Vec<FetchOut> {
        self.fetches
            .on_message(BOB, LINK, message, &mut self.world.ctx())
    }

    fn announce(&mut self, link: LinkId) -> Vec<FetchOut> {
        let total = 10 * CHUNK + 1;
        let offer = PeerMessage::Offer {
            offer_id: ID,
            name: "files".into(),
            entries: 2,
            total,
            note: None,
        };
        self.fetches
            .on_message(BOB, link, offer, &mut self.world.ctx())
    }

    fn entries(&mut self, first: u32, entries: Vec<Entry>) -> Vec<FetchOut> {
        self.hear(PeerMessage::Entries {
            offer_id: ID,
            first,
            entries,
        })
    }

    fn news(&mut self, news: FetchNews) -> Vec<FetchOut> {
        let run = self.fetches.fetches[&(BOB, ID)].run;
        self.fetches.handle(KEY, run, news, &mut self.world.ctx())
    }

    fn jobs(&mut self) -> Vec<(JobId, Vec<Put>)> {
        let job = |e| match e {
            Effect::Store(job, puts) => Some((job, puts)),
            _ => None,
        };
        self.world.drain().into_iter().filter_map(job).collect()
    }

    /// Everything that waits for the store is durable.
    fn stored(&mut self) -> Vec<FetchOut> {
        let mut out = Vec::new();
        for (job, _) in self.jobs() {
            assert!(self.fetches.owns(job));
            out.extend(self.fetches.on_stored(job, &mut self.world.ctx()));
        }
        out
    }

    /// The same, and what was stored.
    fn stored_puts(&mut self) -> Vec<Put> {
        let mut all = Vec::new();
        for (job, puts) in self.jobs() {
            all.extend(puts);
            self.fetches.on_stored(job, &mut self.world.ctx());
        }
        all
    }

    fn accept(&mut self) {
        self.world.drain();
        self.fetches
            .accept(KEY, "down".into(), &mut self.world.ctx())
            .unwrap();
        if self.fetches.fetches[&(BOB, ID)].link.is_none() {
            assert_eq!(self.phase(), FetchPhase::Stalled);
            assert!(self.world.drain().is_empty(), "it holds nothing");
            return;
        }
        assert_eq!(self.phase(), FetchPhase::Accepted);
        let effects = self.world.drain();
        assert!(matches!(
            effects[..],
            [Effect::Fetch(_, _, FetchEffect::Prepare { .. })]
        ));
    }

    /// Accepted, prepared, stored, attached.
    fn fetching() -> Self {
        let mut r = Receiver::new(&[]);
        r.accept();
        r.news(FetchNews::Prepared {
            roots: vec![],
            lost: vec![],
            adopted: vec![],
        });
        let out = r.stored();
        assert!(out.iter().any(is_accept));
        assert_eq!(r.phase(), FetchPhase::Fetching);
        r.world.drain();
        r
    }

    fn durable(&mut self, entry: u32, ranges: &[(u64, u64)]) -> Vec<FetchOut> {
        self.news(FetchNews::Durable {
            entry,
            ranges: set(ranges),
        })
    }

    fn view(&self) -> OfferView {
        self.fetches.view(BOB, ID).unwrap()
    }

    fn phase(&self) -> FetchPhase {
        self.view().phase
    }
}

fn is_accept(o: &FetchOut) -> bool {
    matches!(o, FetchOut::Send(BOB, PeerMessage::Accept { .. }))
}

fn acks(out: &[FetchOut]) -> Vec<(u32, RangeSet)> {
    let ack = |o: &FetchOut| match o {
        FetchOut::Ack { entry, ranges, .. } => Some((*entry, ranges.clone())),
        FetchOut::Send(..) | FetchOut::Changed(..) | FetchOut::Pass(_) | FetchOut::KeepBack(..) => {
            None
        }
    };
    out.iter().filter_map(ack).collect()
}

fn haves(out: &[FetchOut]) -> Vec<(u32, RangeSet)> {
    let have = |o: &FetchOut| match o {
        FetchOut::Send(_, PeerMessage::Have { entry, ranges, .. }) => {
            Some((*entry, ranges.clone()))
        }
        _ => None,
    };
    out.iter().filter_map(have).collect()
}

/// One entry is complete.
fn finished(entry: u32, name: &str) -> FetchNews {
    FetchNews::Finished(vec![(entry, name.into())])
}

#[test]
fn from_seen_to_done() {
    let mut r = Receiver::fetching();
    assert!(
        acks(&r.durable(0, &[(0, 10)])).is_empty(),
        "not before the store has it"
    );
    assert_eq!(r.view().done, 0);
    assert_eq!(acks(&r.stored()), [(0, set(&[(0, 10)]))]);
    assert_eq!(r.view().done, 10 * CHUNK);
    assert!(r.news(finished(0, "a")).is_empty());
    let out = r.stored();
    let verified = PeerMessage::Verified {
        offer_id: ID,
        transfer: 1,
        entries: set(&[(0, 1)]),
    };
    assert!(out.contains(&FetchOut::Send(BOB, verified)));
    r.durable(1, &[(0, 1)]);
    r.news(finished(1, "b"));
    let out = r.stored();
    assert_eq!(r.phase(), FetchPhase::Done);
    assert_eq!(
        out.last(),
        Some(&FetchOut::Send(
            BOB,
            PeerMessage::OfferDone { offer_id: ID }
        ))
    );
    assert_eq!(r.view().done, r.view().total);
    assert!(matches!(
        r.world.drain()[..],
        [Effect::Fetch(_, _, FetchEffect::Stop { discard: false })]
    ));
    assert!(r.view().can.is_empty());
    // The sender forgot: it is told again.
    let out = r.announce(LinkId([8; 8]));
    assert_eq!(
        out.last(),
        Some(&FetchOut::Send(
            BOB,
            PeerMessage::OfferDone { offer_id: ID }
        ))
    );
}

#[test]
fn of_a_complete_file_only_what_is_not_acknowledged_yet_is() {
    let mut r = Receiver::fetching();
    r.durable(0, &[(0, 4), (6, 7)]);
    assert_eq!(acks(&r.stored()), [(0, set(&[(0, 4), (6, 7)]))]);
    r.news(finished(0, "a"));
    assert_eq!(acks(&r.stored()), [(0, set(&[(4, 6), (7, 10)]))]);
    // A single chunk needs none: `verified` says as much.
    r.news(finished(1, "b"));
    assert_eq!(acks(&r.stored()), []);
}

#[test]
fn what_is_finished_together_is_recorded_and_told_together() {
    let mut r = Receiver::fetching();
    let both = vec![(0, "a".into()), (1, "b".into())];
    r.news(FetchNews::Finished(both));
    let out = r.stored();
    let entries = set(&[(0, 2)]);
    let verified = PeerMessage::Verified {
        offer_id: ID,
        transfer: 1,
        entries,
    };
    assert!(out.contains(&FetchOut::Send(BOB, verified)));
    assert_eq!(r.phase(), FetchPhase::Done);
}

#[test]
fn what_is_recorded_after_a_fetch_ended_is_told_by_the_next_one_or_not_at_all() {
    let told = |out: &[FetchOut]| {
        let is = |o: &FetchOut| matches!(o, FetchOut::Send(_, PeerMessage::Verified { .. }));
        out.iter().any(is)
    };
    for (dir, again) in [("down", true), ("elsewhere", false)] {
        let mut r = Receiver::fetching();
        r.news(finished(1, "b"));
        r.news(FetchNews::Failed(Code::DiskFull));
        // The sender has forgotten what was said before, and would take this for the next fetch's.
        let out = r.stored();
        assert!(!told(&out), "said too late: {out:?}");
        assert_eq!(r.view().done, 1, "it counts all the same");
        r.fetches
            .accept(KEY, dir.into(), &mut r.world.ctx())
            .unwrap();
        r.news(FetchNews::Prepared {
            roots: vec![],
            lost: vec![],
            adopted: vec![],
        });
        let out = r.stored();
        assert!(out.iter().any(is_accept));
        assert_eq!(told(&out), again, "{dir}");
    }
}

#[test]
fn a_finished_fetch_says_what_to_open() {
    let done = |names: [&str; 2]| {
        let mut r = Receiver::fetching();
        assert_eq!(r.view().path, None, "not before it is done");
        for (entry, name) in (0..).zip(names) {
            r.news(finished(entry, name));
            r.stored();
        }
        assert_eq!(r.phase(), FetchPhase::Done);
        assert_eq!(r.view().at, r.world.now.unix_ms);
        r.view().path
    };
    let several = done(["a", "b"]);
    assert_eq!(several.as_deref(), Some("down"));
    let folder = done(["photos (1)/a", "photos (1)/b"]);
    assert_eq!(folder.as_deref(), Some("down/photos (1)"));
}

#[test]
fn it_says_what_it_has_before_it_accepts() {
    let record = FetchRecord {
        key: KEY,
        dir: "down".into(),
        tag: "0123456789abcdef".into(),
        name: "files".into(),
        entries: manifest().into(),
        begun: true,
        hold: Default::default(),
        adopted: Default::default(),
        roots: vec![],
        voucher: None,
    };
    let saved = SavedFetch {
        record,
        ranges: vec![(0, set(&[(0, 4)]))],
        done: vec![(1, "b".into())],
    };
    let mut r = Receiver::new(std::slice::from_ref(&saved));
    let dir = r.view().dir;
    assert_eq!(dir.as_deref(), Some("down"), "taken there, it goes on");
    r.accept();
    r.news(FetchNews::Prepared {
        roots: vec![],
        lost: vec![],
        adopted: vec![],
    });
    assert_eq!(r.view().traffic.resumed, 4 * CHUNK + 1);
    let jobs = r.jobs();
    assert_eq!(jobs[0].1.len(), 4, "drop, record, ranges, done");
    let out = r.fetches.on_stored(jobs[0].0, &mut r.world.ctx());
    let at = |f: &dyn Fn(&FetchOut) -> bool| out.iter().position(f).unwrap();
    let verified = at(&|o| matches!(o, FetchOut::Send(_, PeerMessage::Verified { .. })));
    let have = at(&|o| matches!(o, FetchOut::Send(_, PeerMessage::Have { .. })));
    assert!(verified < at(&is_accept) && have < at(&is_accept));
    assert_eq!(haves(&out), [(0, set(&[(0, 4)]))]);

    // What the disk has lost is not claimed.
    let mut r = Receiver::new(std::slice::from_ref(&saved));
    r.accept();
    r.news(FetchNews::Prepared {
        roots: vec![],
        lost: vec![0, 1],
        adopted: vec![],
    });
    assert_eq!(r.view().traffic.resumed, 0);
    assert!(haves(&r.stored()).is_empty());

    // Declined, nothing of it stays on disk.
    let mut r = Receiver::new(std::slice::from_ref(&saved));
    r.fetches.decline(KEY, &mut r.world.ctx()).unwrap();
    assert!(matches!(
        r.world.drain()[..],
        [
            Effect::Fetch(_, _, FetchEffect::Discard { .. }),
            Effect::Store(..),
        ]
    ));

    // Into another folder, it starts anew.
    let mut r = Receiver::new(&[saved]);
    r.fetches
        .accept(KEY, "elsewhere".into(), &mut r.world.ctx())
        .unwrap();
    let Some(Effect::Fetch(
        _,
        _,
        FetchEffect::Prepare {
            record,
            ranges,
            done,
        },
    )) = r.world.pop()
    else {
        panic!()
    };
    assert!(ranges.is_empty() && done.is_empty() && record.tag != "0123456789abcdef");
}

#[test]
fn a_very_holey_file_is_declared_and_acknowledged_in_parts() {
    let mut r = Receiver::new(&[]);
    let size = 4_000 * CHUNK;
    let id = OfferId([6; 16]);
    let key = FetchKey { offer: id, ..KEY };
    r.hear(PeerMessage::Offer {
        offer_id: id,
        name: "x".into(),
        entries: 1,
        total: size,
        note: None,
    });
    r.hear(PeerMessage::Entries {
        offer_id: id,
        first: 0,
        entries: vec![entry("x", size)],
    });
    r.fetches
        .accept(key, "down".into(), &mut r.world.ctx())
        .unwrap();
    let run = r.fetches.fetches[&(BOB, id)].run;
    r.fetches.handle(
        key,
        run,
        FetchNews::Prepared {
            roots: vec![],
            lost: vec![],
            adopted: vec![],
        },
        &mut r.world.ctx(),
    );
    r.stored();
    let mut holes = RangeSet::new();
    (0..2_000).for_each(|i| holes.insert(i * 2, i * 2 + 1));
    let news = FetchNews::Durable {
        entry: 0,
        ranges: holes.clone(),
    };
    r.fetches.handle(key, run, news, &mut r.world.ctx());
    let parts = acks(&r.stored());
    assert!(
        parts.len() == 2
            && parts
                .iter()
                .all(|(_, p)| p.ranges().len() <= limits::MAX_RANGES)
    );
    r.fetches.on_closed(BOB, &mut r.world.ctx());
    let again = PeerMessage::Offer {
        offer_id: id,
        name: "x".into(),
        entries: 1,
        total: size,
        note: None,
    };
    let parts = haves(&r.hear(again));
    assert_eq!(
        parts.iter().map(|(_, p)| p.count()).sum::<u64>(),
        holes.count()
    );
}

#[test]
fn a_damaged_chunk_is_wanted_again_and_three_in_a_row_end_it() {
    let mut r = Receiver::fetching();
    let corrupt = || FetchNews::Corrupt {
        transfer: 1,
        entry: 0,
        index: 3,
    };
    let want = PeerMessage::Want {
        offer_id: ID,
        entry: 0,
        ranges: set(&[(3, 4)]),
    };
    for _ in 0..2 {
        assert_eq!(r.news(corrupt()), [FetchOut::Send(BOB, want.clone())]);
    }
    r.durable(0, &[(3, 4)]);
    for _ in 0..2 {
        assert_eq!(r.news(corrupt()), [FetchOut::Send(BOB, want.clone())]);
    }
    let out = r.news(corrupt());
    assert_eq!(
        out[0],
        FetchOut::Send(
            BOB,
            PeerMessage::Cancel {
                offer_id: ID,
                why: Code::Corrupt
            }
        )
    );
    assert_eq!(
        (r.phase(), r.view().why),
        (FetchPhase::Failed, Some(Code::Corrupt))
    );
    assert!(r.news(corrupt()).is_empty(), "it ended");
    assert!(
        r.view().can.contains(&OfferAction::Accept),
        "and may be tried again"
    );
}

#[test]
fn a_wrong_file_is_fetched_once_more_then_given_up() {
    let mut r = Receiver::fetching();
    r.durable(0, &[(0, 10)]);
    // The record of these chunks is still under way when the file turns out wrong.
    let early = r.jobs();
    let out = r.news(FetchNews::Mismatch {
        transfer: 1,
        entry: 0,
    });
    let want = PeerMessage::Want {
        offer_id: ID,
        entry: 0,
        ranges: set(&[(0, 10)]),
    };
    assert!(out.contains(&FetchOut::Send(BOB, want)));
    r.durable(0, &[(0, 1)]);
    let late = r.jobs();
    let out = r.fetches.on_stored(early[0].0, &mut r.world.ctx());
    assert!(acks(&out).is_empty(), "void chunks are not acknowledged");
    assert_eq!(r.view().done, 0);
    for (job, _) in late {
        r.fetches.on_stored(job, &mut r.world.ctx());
    }
    assert_eq!(r.view().done, CHUNK);
    r.news(FetchNews::Mismatch {
        transfer: 1,
        entry: 0,
    });
    assert_eq!(
        (r.phase(), r.view().why),
        (FetchPhase::Failed, Some(Code::HashMismatch))
    );
}

#[test]
fn a_lost_link_stalls_and_the_next_one_goes_on() {
    let mut r = Receiver::fetching();
    r.durable(0, &[(0, 4)]);
    let jobs = r.jobs();
    r.fetches.on_closed(BOB, &mut r.world.ctx());
    assert_eq!(r.phase(), FetchPhase::Stalled);
    let out = r.fetches.on_stored(jobs[0].0, &mut r.world.ctx());
    assert!(acks(&out).is_empty(), "nobody to tell");
    let out = r.announce(LinkId([8; 8]));
    assert_eq!(haves(&out), [(0, set(&[(0, 4)]))]);
    assert!(out.iter().any(is_accept));
    assert_eq!(r.phase(), FetchPhase::Fetching);
    let attached = r.world.drain();
    assert!(
        matches!(attached[..], [Effect::Fetch(_, _, FetchEffect::Attach { link, .. })] if link == LinkId([8; 8]))
    );
}

#[test]
fn an_offer_may_be_accepted_while_its_sender_is_away() {
    let mut r = Receiver::new(&[]);
    r.fetches.on_closed(BOB, &mut r.world.ctx());
    r.accept();
    r.announce(LINK);
    assert_eq!(r.phase(), FetchPhase::Accepted);
    r.world.drain();
    r.news(FetchNews::Prepared {
        roots: vec![],
        lost: vec![],
        adopted: vec![],
    });
    assert!(r.stored().iter().any(is_accept));
}

#[test]
fn announcing_again_suits_every_state() {
    let gone = |why| PeerMessage::Gone { offer_id: ID, why };
    let mut r = Receiver::new(&[]);
    assert_eq!(r.announce(LINK), [FetchOut::Changed(BOB, ID)]);
    assert_eq!(r.phase(), FetchPhase::Offered);
    r.hear(gone(Code::Cancelled));
    assert_eq!((r.phase(), r.view().can), (FetchPhase::Withdrawn, vec![]));
    r.announce(LINK);
    assert_eq!(r.phase(), FetchPhase::Offered);
    r.accept();
    assert_eq!(r.announce(LINK), [FetchOut::Changed(BOB, ID)]);
    assert_eq!(r.phase(), FetchPhase::Accepted);
    let mut r = Receiver::fetching();
    assert!(
        r.announce(LINK).iter().any(is_accept),
        "a sender that restarted its serve"
    );
    r.hear(gone(Code::SourceChanged));
    assert_eq!(
        (r.phase(), r.view().why),
        (FetchPhase::Withdrawn, Some(Code::SourceChanged))
    );
    r.announce(LINK);
    assert_eq!(r.phase(), FetchPhase::Offered);
    r.fetches.decline(KEY, &mut r.world.ctx()).unwrap();
    let out = r.announce(LINK);
    let decline = PeerMessage::Decline {
        offer_id: ID,
        why: Code::Declined,
    };
    assert!(out.contains(&FetchOut::Send(BOB, decline)));
}

#[test]
fn what_is_gone_cannot_be_taken_once_more() {
    let why = Code::SourceChanged;
    let gone = |r: &mut Receiver| {
        r.hear(PeerMessage::Gone { offer_id: ID, why });
        assert_eq!((r.phase(), r.view().can), (FetchPhase::Withdrawn, vec![]));
    };
    let mut failed = Receiver::fetching();
    failed.news(FetchNews::Failed(Code::DiskFull));
    assert_eq!(failed.view().can[0], OfferAction::Accept);
    gone(&mut failed);
    let mut declined = Receiver::new(&[]);
    declined.announce(LINK);
    declined
        .fetches
        .decline(KEY, &mut declined.world.ctx())
        .unwrap();
    assert_eq!(declined.view().can, [OfferAction::Accept]);
    gone(&mut declined);
}

#[test]
fn an_offer_withdrawn_before_its_manifest_came_is_read_from_the_start() {
    let mut r = Receiver {
        world: World::new(),
        fetches: Fetches::new(ROOM, &[], false),
    };
    r.announce(LINK);
    r.entries(0, manifest()[..1].to_vec());
    r.hear(PeerMessage::Gone {
        offer_id: ID,
        why: Code::Cancelled,
    });
    r.announce(LINK);
    assert_eq!(
        (r.phase(), r.view().can),
        (FetchPhase::Seen, vec![OfferAction::Decline])
    );
    assert!(
        r.fetches
            .accept(KEY, "down".into(), &mut r.world.ctx())
            .is_err()
    );
    r.entries(0, manifest());
    assert_eq!(r.phase(), FetchPhase::Offered);
}

#[test]
fn declining_and_cancelling_forget_everything() {
    let mut r = Receiver::new(&[]);
    let out = r.fetches.decline(KEY, &mut r.world.ctx()).unwrap();
    assert_eq!(
        out[0],
        FetchOut::Send(
            BOB,
            PeerMessage::Decline {
                offer_id: ID,
                why: Code::Declined
            }
        )
    );
    assert!(r.fetches.decline(KEY, &mut r.world.ctx()).is_err());
    r.accept();
    r.news(FetchNews::Prepared {
        roots: vec![],
        lost: vec![],
        adopted: vec![],
    });
    r.stored();
    r.durable(0, &[(0, 10)]);
    r.stored();
    r.news(finished(0, "a"));
    r.news(finished(1, "b"));
    let late = r.jobs();
    let out = r.fetches.decline(KEY, &mut r.world.ctx()).unwrap();
    assert_eq!(
        out[0],
        FetchOut::Send(
            BOB,
            PeerMessage::Cancel {
                offer_id: ID,
                why: Code::Cancelled
            }
        )
    );
    let stop = r.world.pop();
    assert!(matches!(
        stop,
        Some(Effect::Fetch(_, _, FetchEffect::Stop { discard: true }))
    ));
    for (job, _) in late {
        r.fetches.on_stored(job, &mut r.world.ctx());
    }
    assert_eq!(
        (r.phase(), r.view().done),
        (FetchPhase::Declined, 0),
        "a late record changes nothing"
    );
}

#[test]
fn a_failing_store_blocks_the_fetch_and_nothing_was_promised() {
    let mut r = Receiver::new(&[]);
    r.accept();
    r.news(FetchNews::Prepared {
        roots: vec![],
        lost: vec![],
        adopted: vec![],
    });
    let [(job, _)] = &r.jobs()[..] else { panic!() };
    r.fetches
        .on_store_failed(*job, Code::DiskFull, &mut r.world.ctx());
    assert_eq!(
        (r.phase(), r.view().why),
        (FetchPhase::Blocked, Some(Code::DiskFull))
    );
    let mut r = Receiver::fetching();
    r.durable(0, &[(0, 3)]);
    let [(job, _)] = &r.jobs()[..] else { panic!() };
    let out = r
        .fetches
        .on_store_failed(*job, Code::DiskFull, &mut r.world.ctx());
    assert!(acks(&out).is_empty());
    assert_eq!((r.phase(), r.view().done), (FetchPhase::Blocked, 0));
    r.accept();
}

#[test]
fn news_of_an_earlier_worker_is_ignored() {
    let mut r = Receiver::fetching();
    r.news(FetchNews::Failed(Code::DiskFull));
    r.accept();
    let old = r.fetches.fetches[&(BOB, ID)].run - 1;
    for news in [
        FetchNews::Failed(Code::DiskError),
        FetchNews::Durable {
            entry: 0,
            ranges: set(&[(0, 1)]),
        },
    ] {
        assert!(
            r.fetches
                .handle(KEY, old, news, &mut r.world.ctx())
                .is_empty()
        );
    }
    assert_eq!(r.phase(), FetchPhase::Accepted);
}

#[test]
fn manifests_that_do_not_add_up_are_refused() {
    let fresh = || {
        let mut r = Receiver {
            world: World::new(),
            fetches: Fetches::new(ROOM, &[], false),
        };
        assert!(
            r.entries(0, manifest()).is_empty(),
            "a page before its offer"
        );
        r.announce(LINK);
        r
    };
    let mut r = fresh();
    assert!(
        r.entries(1, manifest()[1..].to_vec()).is_empty(),
        "out of order"
    );
    assert!(
        r.entries(0, [manifest(), manifest()].concat()).is_empty(),
        "too many"
    );
    assert_eq!(r.phase(), FetchPhase::Seen);
    for bad in [
        vec![entry("a", 1), entry("b", 1)],
        vec![entry("a", u64::MAX), entry("b", 2)],
    ] {
        let mut r = fresh();
        r.entries(0, bad);
        assert_eq!(
            (r.phase(), r.view().why),
            (FetchPhase::Failed, Some(Code::PeerProtocol))
        );
        assert!(r.view().can.is_empty());
        r.announce(LINK);
        assert_eq!(
            r.phase(),
            FetchPhase::Seen,
            "it has to bring another manifest"
        );
    }
    // Another manifest under a known id is not looked at.
    let mut r = Receiver::fetching();
    let other = PeerMessage::Offer {
        offer_id: ID,
        name: "x".into(),
        entries: 9,
        total: 9,
        note: None,
    };
    assert!(r.hear(other).is_empty());
    assert!(r.entries(0, manifest()).is_empty());
    assert_eq!(r.phase(), FetchPhase::Fetching);
}

#[test]
fn one_peer_cannot_fill_our_memory() {
    let mut r = Receiver::new(&[]);
    let offer = |n: u16, count| {
        let mut id = [7; 16];
        id[..2].copy_from_slice(&n.to_be_bytes());
        let offer_id = OfferId(id);
        (
            offer_id,
            PeerMessage::Offer {
                offer_id,
                name: "x".into(),
                entries: count,
                total: 0,
                note: None,
            },
        )
    };
    let declined = |out: &[FetchOut]| {
        matches!(
            out,
            [
                FetchOut::Send(
                    _,
                    PeerMessage::Decline {
                        why: Code::TooManyOffers,
                        ..
                    }
                ),
                ..
            ]
        )
    };
    for n in 0..63 {
        assert!(!declined(&r.hear(offer(n, 1).1)));
    }
    assert!(
        declined(&r.hear(offer(63, 1).1)),
        "the sixty-fifth open offer"
    );
    // One that ended makes room …
    r.hear(PeerMessage::Gone {
        offer_id: offer(0, 1).0,
        why: Code::Cancelled,
    });
    assert!(!declined(&r.hear(offer(63, 1).1)));
    // … but not for ever.
    for n in 64..3_000 {
        let (offer_id, message) = offer(n, 1);
        r.hear(PeerMessage::Gone {
            offer_id: offer(n - 1, 1).0,
            why: Code::Cancelled,
        });
        r.hear(message);
        r.hear(PeerMessage::Gone {
            offer_id,
            why: Code::Cancelled,
        });
    }
    assert!(r.fetches.ids().len() <= MAX_KNOWN);
}

#[test]
fn hostile_messages_change_nothing() {
    let mut r = Receiver::fetching();
    let before = r.view();
    let hash = kith_protocol::ids::Digest([1; 32]);
    let unknown = OfferId([9; 16]);
    for message in [
        PeerMessage::EntryDone {
            offer_id: ID,
            entry: 2,
            hash,
        },
        PeerMessage::EntryDone {
            offer_id: ID,
            entry: u32::MAX,
            hash,
        },
        PeerMessage::EntryDone {
            offer_id: unknown,
            entry: 0,
            hash,
        },
        PeerMessage::Gone {
            offer_id: unknown,
            why: Code::Cancelled,
        },
        PeerMessage::Entries {
            offer_id: unknown,
            first: 0,
            entries: manifest(),
        },
        PeerMessage::Accept {
            offer_id: ID,
            transfer: 1,
        },
    ] {
        assert!(r.hear(message.clone()).is_empty(), "{message:?}");
    }
    assert!(r.world.drain().is_empty());
    assert_eq!(r.view(), before);
    r.hear(PeerMessage::EntryDone {
        offer_id: ID,
        entry: 0,
        hash,
    });
    assert!(matches!(
        r.world.drain()[..],
        [Effect::Fetch(_, _, FetchEffect::Expect { entry: 0, .. })]
    ));
    r.fetches.on_closed(BOB, &mut r.world.ctx());
    r.hear(PeerMessage::EntryDone {
        offer_id: ID,
        entry: 0,
        hash,
    });
    assert!(r.world.drain().is_empty(), "not while stalled");
}

#[test]
fn counters_tell_what_came_and_what_came_twice() {
    let mut r = Receiver::fetching();
    r.news(FetchNews::Received {
        bytes: 100,
        durable: 0,
    });
    assert_eq!(
        r.news(FetchNews::Received {
            bytes: 50,
            durable: 50
        }),
        [FetchOut::Changed(BOB, ID)]
    );
    let t = r.view().traffic;
    assert_eq!((t.received, t.received_durable, t.resumed), (150, 50, 0));
}

#[test]
fn leaving_the_room_keeps_what_is_there() {
    let mut r = Receiver::fetching();
    r.durable(0, &[(0, 4)]);
    r.stored();
    r.fetches.stop(&mut r.world.ctx());
    assert!(matches!(
        r.world.drain()[..],
        [Effect::Fetch(_, _, FetchEffect::Stop { discard: false })]
    ));
    assert_eq!((r.phase(), r.view().done), (FetchPhase::Offered, 4 * CHUNK));
    r.accept();
    r.announce(LINK);
    r.world.drain();
    r.news(FetchNews::Prepared {
        roots: vec![],
        lost: vec![],
        adopted: vec![],
    });
    assert_eq!(haves(&r.stored()), [(0, set(&[(0, 4)]))]);
}

#[test]
fn a_sync_that_ends_after_the_file_has_its_name_counts_nothing_twice() {
    let mut r = Receiver::fetching();
    r.news(finished(1, "b"));
    // Before the store has it, and after.
    for _ in 0..2 {
        assert!(r.durable(1, &[(0, 1)]).is_empty());
        let puts = r.stored_puts();
        assert!(!puts.iter().any(|p| matches!(p, Put::Ranges(..))));
        assert_eq!(r.view().done, 1);
    }
}

#[test]
fn an_empty_file_with_a_wrong_hash_ends_the_fetch() {
    let mut r = Receiver::new(&[]);
    let fetch = r.fetches.fetches.get_mut(&(BOB, ID)).unwrap();
    fetch.entries[1].size = 0;
    r.accept();
    let (roots, lost) = (vec![], vec![]);
    r.news(FetchNews::Prepared {
        roots,
        lost,
        adopted: vec![],
    });
    r.stored();
    r.news(FetchNews::Mismatch {
        transfer: 1,
        entry: 1,
    });
    let view = r.view();
    assert_eq!(
        (view.phase, view.why),
        (FetchPhase::Failed, Some(Code::HashMismatch))
    );
}

#[test]
fn what_was_declined_may_be_taken_over_a_later_link() {
    let later = LinkId([7; 8]);
    // Never; before, or after it is taken again. The announcement was on its way when we declined.
    for told_again in [None, Some(false), Some(true)] {
        let mut r = Receiver::new(&[]);
        r.fetches.decline(KEY, &mut r.world.ctx()).unwrap();
        if told_again == Some(false) {
            r.announce(LINK);
        }
        if told_again == Some(true) {
            r.accept();
            r.announce(LINK);
        }
        r.fetches.on_closed(BOB, &mut r.world.ctx());
        if told_again != Some(true) {
            r.accept();
        }
        // Its sender does not announce it again.
        r.fetches.on_open(BOB, later, &mut r.world.ctx());
        if r.phase() == FetchPhase::Queued {
            r.fetches.begin(KEY, &mut r.world.ctx());
        }
        r.world.drain();
        let (roots, lost) = (vec![], vec![]);
        r.news(FetchNews::Prepared {
            roots,
            lost,
            adopted: vec![],
        });
        assert!(r.stored().iter().any(is_accept));
        assert_eq!(r.phase(), FetchPhase::Fetching);
    }
}
