//! Pause, resume and bounds at the sender; offers that outlive the process.

use super::*;
use crate::effect::Bound;
use crate::record::{OfferRecord, Put};
use kith_api::{OfferAction, Paused};

impl Sender {
    fn holds(&mut self) -> Vec<bool> {
        let hold = |e| match e {
            Effect::Serve(_, _, ServeEffect::Hold(held)) => Some(held),
            _ => None,
        };
        self.world.drain().into_iter().filter_map(hold).collect()
    }

    fn hold(&mut self, peer: Option<PeerId>, held: bool) -> Vec<ServeOut> {
        let ctx = &mut self.world.ctx();
        let out = self.serves.hold(self.id, peer, held, &[BOB], ctx);
        out.unwrap()
    }

    fn said(&self, held: bool) -> ServeOut {
        ServeOut::Send(BOB, hold::said(self.id, held))
    }

    fn pause(&mut self, why: Option<Code>) {
        let offer_id = self.id;
        self.hear(PeerMessage::Pause { offer_id, why });
    }

    fn resume(&mut self) {
        let offer_id = self.id;
        self.hear(PeerMessage::Resume { offer_id });
    }

    fn paused(&self) -> Paused {
        self.view().receivers[0].paused
    }
}

#[test]
fn either_side_holds_the_worker_and_both_must_let_go() {
    let mut s = Sender::new();
    s.accept(1);
    assert!(s.hold(Some(BOB), true).contains(&s.said(true)));
    assert_eq!((s.holds(), s.phase()), (vec![true], ServePhase::Paused));
    s.pause(None);
    assert_eq!((s.paused().here, s.paused().there), (true, true));
    assert!(s.hold(Some(BOB), false).contains(&s.said(false)));
    assert_eq!(
        (s.holds(), s.phase()),
        (vec![true, true], ServePhase::Paused)
    );
    s.resume();
    assert_eq!((s.holds(), s.phase()), (vec![false], ServePhase::Serving));
    let err = s
        .serves
        .hold(s.id, Some(BOB), false, &[BOB], &mut s.world.ctx());
    assert!(err.is_err(), "there is nothing to let go");
}

#[test]
fn our_hold_outlives_the_link_and_theirs_does_not() {
    let mut s = Sender::new();
    s.accept(1);
    s.hold(None, true);
    s.pause(Some(Code::DiskFull));
    assert_eq!(s.phase(), ServePhase::Blocked);
    s.serves.on_closed(BOB, &mut s.world.ctx());
    assert_eq!(s.phase(), ServePhase::Paused);
    assert!(
        s.serves.on_open(BOB, FP).contains(&s.said(true)),
        "said with the announcement"
    );
    s.world.drain();
    let offer_id = s.id;
    s.hear(PeerMessage::Accept {
        offer_id,
        transfer: 2,
    });
    assert_eq!(s.holds(), [true], "it begins held");
}

#[test]
fn the_sender_sees_why_nothing_comes() {
    let mut s = Sender::new();
    s.pause(Some(Code::Busy));
    assert_eq!(s.phase(), ServePhase::Queued, "taken, and not begun");
    s.accept(1);
    assert_eq!(
        s.phase(),
        ServePhase::Serving,
        "an accept ends the receiver's hold"
    );
    s.pause(Some(Code::DiskQuota));
    let view = s.view().receivers.remove(0);
    assert_eq!(
        (view.phase, view.why),
        (ServePhase::Blocked, Some(Code::DiskQuota))
    );
    s.pause(Some(Code::Busy));
    assert_eq!(s.phase(), ServePhase::Queued);
}

#[test]
fn bounds_reach_the_workers() {
    let mut s = Sender::new();
    let run = s.accept(1);
    let (offer_id, bytes_per_s) = (s.id, Some(1));
    s.hear(PeerMessage::Pace {
        offer_id,
        bytes_per_s,
    });
    let least = Some(limits::MIN_PACE);
    let effects = s.world.drain();
    assert!(
        matches!(&effects[..], [Effect::Serve(_, r, ServeEffect::Pace(p))] if (*r, *p) == (run, least))
    );
    assert_eq!(s.view().receivers[0].cap, least);
    s.serves
        .limit(s.id, Some(9_000), &mut s.world.ctx())
        .unwrap();
    let effects = s.world.drain();
    assert!(
        matches!(&effects[..], [Effect::Bound(Bound::Offer(ROOM, id), Some(9_000))] if *id == s.id)
    );
    assert_eq!(s.view().cap, Some(9_000));
}

/// The last record of an offer that the store was given.
fn kept(effects: Vec<Effect>) -> OfferRecord {
    let puts = effects.into_iter().filter_map(|e| match e {
        Effect::Store(_, puts) => Some(puts),
        _ => None,
    });
    let records = puts.flatten().filter_map(|put| match put {
        Put::Offer(record) => Some(record),
        _ => None,
    });
    records.last().expect("a record")
}

#[test]
fn an_offer_stands_again_if_its_files_are_what_they_were() {
    let (mut world, mut serves) = (World::new(), Serves::new(ROOM, ME));
    world.config.keep = true;
    let new = NewOffer {
        paths: vec!["/a".into()],
        ..offer(vec![])
    };
    let (id, _) = serves.add(new, &[BOB], &mut world.ctx()).unwrap();
    serves
        .hold(id, None, true, &[BOB], &mut world.ctx())
        .unwrap();
    let record = kept(world.drain());
    assert!(record.paused && record.held == [BOB] && record.paths == ["/a"]);

    let mut again = Serves::new(ROOM, ME);
    let files = offer(vec![]).entries;
    let out = again.restore(record.clone(), Ok(files.clone()), &[BOB], &mut world.ctx());
    assert!(
        out.iter()
            .any(|o| matches!(o, ServeOut::Send(_, PeerMessage::Offer { .. })))
    );
    let view = again.view(id, |_| "Bob".into()).unwrap();
    assert!(view.paused.here && view.receivers[0].paused.here);
    assert!(view.can.contains(&OfferAction::Resume) && view.can.contains(&OfferAction::Withdraw));

    let mut touched = files;
    touched[0].mtime += 1;
    let mut changed = Serves::new(ROOM, ME);
    let out = changed.restore(record, Ok(touched), &[BOB], &mut world.ctx());
    assert_eq!(out, [ServeOut::Changed(id)], "nobody is told of it");
    let view = changed.view(id, |_| "Bob".into()).unwrap();
    assert_eq!(
        (view.phase, view.why),
        (FetchPhase::Withdrawn, Some(Code::SourceChanged))
    );
    assert!(view.can.is_empty());
    let dropped = world.drain();
    assert!(
        matches!(&dropped[..], [.., Effect::Store(_, puts)] if puts[..] == [Put::DropOffer(ROOM, id)])
    );
}

#[test]
fn a_hold_of_an_earlier_process_lasts_until_it_is_let_go_whoever_is_there() {
    let (mut world, mut first) = (World::new(), Serves::new(ROOM, ME));
    world.config.keep = true;
    let new = NewOffer {
        paths: vec!["/a".into()],
        ..offer(vec![])
    };
    let (id, _) = first.add(new, &[BOB], &mut world.ctx()).unwrap();
    first
        .hold(id, None, true, &[BOB], &mut world.ctx())
        .unwrap();
    let record = kept(world.drain());

    let mut again = Serves::new(ROOM, ME);
    again.restore(record, Ok(offer(vec![]).entries), &[], &mut world.ctx());
    again.limit(id, Some(1), &mut world.ctx()).unwrap();
    assert_eq!(kept(world.drain()).held, [BOB], "kept for another life");
    again.hold(id, None, false, &[], &mut world.ctx()).unwrap();
    assert_eq!(kept(world.drain()).held, []);
    let out = again.on_open(BOB, FP);
    assert!(!out.contains(&ServeOut::Send(BOB, hold::said(id, true))));
    let view = again.view(id, |_| "Bob".into()).unwrap();
    assert!(!view.paused.here && !view.receivers[0].paused.here);
}
