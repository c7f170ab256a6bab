//! Pause, resume, disks that refuse, turns.

use super::*;
use crate::input::Refusal;
use crate::queue::{self, Turn};
use crate::time::Deadline;

const FULL: Refusal = Refusal {
    code: Code::DiskFull,
    missing: Some(7),
};

impl Receiver {
    /// As the engine does after each input; what senders are told of it.
    pub(super) fn settle(&mut self, at_once: u32) -> Vec<PeerMessage> {
        let (all, mut out) = self.fetches.standings();
        for key in queue::grant(&all, at_once) {
            out.extend(self.fetches.begin(key, &mut self.world.ctx()));
        }
        let (all, more) = self.fetches.standings();
        out.extend(more);
        let waiting: Vec<FetchKey> = queue::waiting(&all).collect();
        let ctx = &mut self.world.ctx();
        out.extend(self.fetches.settle(&waiting, None, ctx));
        let said = |o| match o {
            FetchOut::Send(_, m) => Some(m),
            FetchOut::Ack { .. }
            | FetchOut::Changed(..)
            | FetchOut::Pass(_)
            | FetchOut::KeepBack(..) => None,
        };
        out.into_iter().filter_map(said).collect()
    }

    fn pause(&mut self) {
        let ctx = &mut self.world.ctx();
        self.fetches.pause(KEY, ctx).unwrap();
    }

    fn resume(&mut self) {
        let ctx = &mut self.world.ctx();
        self.fetches.resume(KEY, ctx).unwrap();
    }

    /// The fetch as a process after this one finds it, if it keeps things up.
    fn restarted(&mut self) -> Receiver {
        let record = self.fetches.fetches[&(BOB, ID)].record.clone().unwrap();
        let saved = SavedFetch {
            record: (*record).clone(),
            ranges: vec![(0, set(&[(0, 4)]))],
            done: vec![],
        };
        Receiver {
            world: World::new(),
            fetches: Fetches::new(ROOM, &[saved], true),
        }
    }
}

fn pause(why: Option<Code>) -> PeerMessage {
    PeerMessage::Pause { offer_id: ID, why }
}

fn resume() -> PeerMessage {
    PeerMessage::Resume { offer_id: ID }
}

#[test]
fn either_side_holds_and_only_its_own_word_lets_go() {
    let mut r = Receiver::fetching();
    assert_eq!(r.settle(1), []);
    r.pause();
    assert_eq!(r.settle(1), [pause(None)]);
    assert_eq!(r.phase(), FetchPhase::Paused);
    assert!(
        r.world
            .drain()
            .iter()
            .all(|e| !matches!(e, Effect::Fetch(..))),
        "the worker stays"
    );
    // What was on its way is still taken.
    r.durable(0, &[(0, 3)]);
    assert_eq!(acks(&r.stored()), [(0, set(&[(0, 3)]))]);
    r.hear(pause(None));
    r.resume();
    assert_eq!(
        r.settle(1),
        [pause(Some(Code::Busy))],
        "it has no turn while the sender holds"
    );
    assert_eq!(r.phase(), FetchPhase::Paused);
    assert_eq!((r.view().paused.here, r.view().paused.there), (false, true));
    r.hear(resume());
    assert_eq!(r.settle(1), [resume()]);
    assert_eq!(r.phase(), FetchPhase::Fetching);
    assert_eq!(r.settle(1), []);
}

#[test]
fn what_goes_on_after_a_restart_is_dated_before_its_sender_is_back() {
    let mut r = Receiver::fetching();
    let mut again = r.restarted();
    let now = again.world.now;
    assert!(now.unix_ms > 0);
    again.fetches = again.fetches.seen(now);
    assert_eq!(again.view().at, now.unix_ms);
}

#[test]
fn a_pause_outlives_links_and_processes() {
    let mut r = Receiver::fetching();
    r.pause();
    r.settle(1);
    r.fetches.on_closed(BOB, &mut r.world.ctx());
    r.settle(1);
    assert_eq!(r.phase(), FetchPhase::Paused);
    let later = LinkId([9; 8]);
    assert!(!r.announce(later).iter().any(is_accept));
    assert_eq!(r.settle(1), [pause(None)], "the sender is told again");

    let mut again = r.restarted();
    assert_eq!(again.phase(), FetchPhase::Paused);
    again.announce(LINK);
    assert_eq!(again.settle(1), [pause(None)]);
    again.resume();
    assert_eq!(again.settle(1), []);
    assert_eq!(again.phase(), FetchPhase::Accepted);
    let (roots, lost) = (vec![], vec![]);
    again.news(FetchNews::Prepared {
        roots,
        lost,
        adopted: vec![],
    });
    assert_eq!(haves(&again.stored()), [(0, set(&[(0, 4)]))]);
    assert_eq!(again.phase(), FetchPhase::Fetching);
}

#[test]
fn a_fetch_that_is_kept_up_goes_on_when_its_sender_is_there() {
    let mut r = Receiver::fetching().restarted();
    r.settle(1);
    assert_eq!((r.phase(), r.view().done), (FetchPhase::Stalled, 4 * CHUNK));
    assert!(r.view().can.contains(&OfferAction::Cancel));
    r.announce(LINK);
    assert_eq!(r.phase(), FetchPhase::Accepted);
}

#[test]
fn without_a_turn_it_holds_nothing_and_the_sender_knows() {
    let mut r = Receiver::new(&[]);
    let ctx = &mut r.world.ctx();
    ctx.turns = 0;
    r.fetches.accept(KEY, "down".into(), ctx).unwrap();
    assert_eq!(r.settle(0), [pause(Some(Code::Busy))]);
    assert_eq!((r.phase(), r.view().queued), (FetchPhase::Queued, Some(1)));
    assert!(r.view().can.contains(&OfferAction::Reorder));
    let effects = r.world.drain();
    assert!(
        matches!(&effects[..], [Effect::Store(_, puts)] if matches!(puts[..], [Put::Fetch(_)]))
    );
    r.settle(1);
    assert_eq!((r.phase(), r.view().queued), (FetchPhase::Accepted, None));
}

#[test]
fn a_disk_that_refuses_is_looked_at_until_it_takes_it() {
    let mut r = Receiver::fetching();
    r.durable(0, &[(0, 4)]);
    r.stored();
    r.news(FetchNews::Refused(FULL));
    assert_eq!(r.settle(1), [pause(Some(Code::DiskFull))]);
    let view = r.view();
    assert_eq!(
        (view.phase, view.why, view.missing),
        (FetchPhase::Blocked, Some(Code::DiskFull), Some(7))
    );
    let (all, _) = r.fetches.standings();
    assert_eq!(all[0].turn, Turn::Rests, "others go first");
    let Some(Deadline { at, .. }) = r.fetches.deadline() else {
        panic!()
    };
    assert_eq!(at, r.world.now.mono + PROBE_FIRST);
    r.world.drain();
    r.fetches.on_time(&mut r.world.ctx());
    assert!(r.world.drain().is_empty(), "not before its time");
    r.world.now.mono = at;
    r.fetches.on_time(&mut r.world.ctx());
    let looked = r.world.drain();
    let [Effect::Fetch(_, _, FetchEffect::Probe { dir, needed })] = &looked[..] else {
        panic!("{looked:?}")
    };
    assert_eq!((dir.as_str(), *needed), ("down", 6 * CHUNK + 1));
    assert!(r.fetches.deadline().is_none(), "one look at a time");
    assert!(r.news(FetchNews::Probed(Err(FULL))).is_empty());
    r.world.now.mono = r.fetches.deadline().unwrap().at;
    r.fetches.on_time(&mut r.world.ctx());
    r.news(FetchNews::Probed(Ok(())));
    r.settle(1);
    assert_eq!(r.phase(), FetchPhase::Accepted);
    let (roots, lost) = (vec![], vec![]);
    r.news(FetchNews::Prepared {
        roots,
        lost,
        adopted: vec![],
    });
    assert_eq!(
        haves(&r.stored()),
        [(0, set(&[(0, 4)]))],
        "nothing durable comes again"
    );

    // Refused again and again, it is tried less and less often.
    let mut waits = Vec::new();
    for _ in 0..5 {
        r.news(FetchNews::Refused(FULL));
        waits.push(r.fetches.deadline().unwrap().at.since(r.world.now.mono));
        r.resume_disk();
    }
    assert!(waits.is_sorted() && waits[4] == PROBE_LAST, "{waits:?}");
}

impl Receiver {
    fn resume_disk(&mut self) {
        self.world.now.mono = self.fetches.deadline().unwrap().at;
        self.fetches.on_time(&mut self.world.ctx());
        self.news(FetchNews::Probed(Ok(())));
        self.settle(1);
        self.world.drain();
    }
}

#[test]
fn a_user_may_try_at_once_or_elsewhere_or_give_up() {
    let refused = || {
        let mut r = Receiver::fetching();
        r.durable(0, &[(0, 4)]);
        r.stored();
        r.news(FetchNews::Refused(FULL));
        r.settle(1);
        r.world.drain();
        r
    };
    let mut r = refused();
    r.resume();
    r.settle(1);
    assert_eq!(
        (r.phase(), r.fetches.deadline()),
        (FetchPhase::Accepted, None)
    );
    let mut r = refused();
    let ctx = &mut r.world.ctx();
    r.fetches.accept(KEY, "elsewhere".into(), ctx).unwrap();
    assert_eq!((r.phase(), r.view().done), (FetchPhase::Accepted, 0));
    let mut r = refused();
    r.fetches.decline(KEY, &mut r.world.ctx()).unwrap();
    let effects = r.world.drain();
    let [
        Effect::Fetch(_, _, FetchEffect::Discard { begun, .. }),
        Effect::Store(..),
    ] = &effects[..]
    else {
        panic!("{effects:?}")
    };
    assert_eq!((begun.as_slice(), r.fetches.deadline()), (&[0][..], None));
}

#[test]
fn what_can_never_be_had_leaves_nothing_unfinished() {
    let mut r = Receiver::fetching();
    r.durable(0, &[(0, 4)]);
    r.stored();
    r.world.drain();
    let why = Code::SourceChanged;
    r.hear(PeerMessage::Gone { offer_id: ID, why });
    assert_eq!(
        (r.phase(), r.view().why),
        (FetchPhase::Withdrawn, Some(why))
    );
    let effects = r.world.drain();
    assert!(matches!(
        &effects[..],
        [Effect::Fetch(_, _, FetchEffect::Stop { discard: true }), Effect::Store(_, puts)]
            if puts[..] == [Put::DropFetch(KEY)]
    ));
    // A file that cannot be read for now may be there again.
    let mut r = Receiver::fetching();
    let why = Code::SourceGone;
    r.hear(PeerMessage::Gone { offer_id: ID, why });
    assert!(matches!(
        &r.world.drain()[..],
        [Effect::Fetch(_, _, FetchEffect::Stop { discard: false })]
    ));
}

#[test]
fn a_bound_is_told_with_each_accept_and_kept() {
    let mut r = Receiver::fetching();
    let ctx = &mut r.world.ctx();
    r.fetches.limit(KEY, Some(5_000), ctx).unwrap();
    let pace = PeerMessage::Pace {
        offer_id: ID,
        bytes_per_s: Some(5_000),
    };
    assert_eq!(r.settle(1), std::slice::from_ref(&pace));
    assert_eq!((r.settle(1), r.view().cap), (vec![], Some(5_000)));
    r.fetches.on_closed(BOB, &mut r.world.ctx());
    r.announce(LinkId([9; 8]));
    assert_eq!(r.settle(1), [pace], "the next serve knows nothing of it");
    assert_eq!(r.restarted().view().cap, Some(5_000));
    assert_eq!(share(Some(9_000), 3), Some(3_000));
    assert_eq!(share(Some(2_000), 9), Some(limits::MIN_PACE));
    assert_eq!(share(None, 3), None);
}

#[test]
fn what_is_wanted_unasked_is_taken_once() {
    let mut r = Receiver {
        world: World::new(),
        fetches: Fetches::new(ROOM, &[], false),
    };
    let accept = &mut r.world.config.transfers.accept;
    (accept.from, accept.dir) = (vec![BOB], "in".into());
    r.announce(LINK);
    r.entries(0, manifest());
    assert_eq!(r.phase(), FetchPhase::Accepted);
    assert_eq!(r.view().dir.as_deref(), Some("in"));
    // Cancelled, it stays so.
    r.fetches.decline(KEY, &mut r.world.ctx()).unwrap();
    r.announce(LINK);
    assert_eq!(r.phase(), FetchPhase::Declined);
}
