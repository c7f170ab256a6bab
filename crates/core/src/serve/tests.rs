mod holds;
mod passing;
mod strategies;

use super::*;
use crate::input::NewOffer;
use crate::input::ServeNews;
use crate::testing::{World, entry, set};
use kith_api::FetchPhase;
use kith_api::OfferView;
use kith_api::ServePhase;

const ROOM: RoomId = RoomId([1; 16]);
const ME: PeerId = PeerId([2; 16]);
const BOB: PeerId = PeerId([3; 16]);
/// The certificate of Bob's app session.
const FP: Digest = Digest([6; 32]);
const LINK: LinkId = LinkId([4; 8]);
const CHUNK: u64 = limits::CHUNK as u64;

/// One offer of a file of ten chunks, one of one byte and a folder.
struct Sender {
    world: World,
    serves: Serves,
    id: OfferId,
}

impl Sender {
    fn new() -> Self {
        let (mut world, mut serves) = (World::new(), Serves::new(ROOM, ME));
        assert!(serves.on_open(BOB, FP).is_empty());
        let (id, out) = serves.add(offer(vec![]), &[BOB], &mut world.ctx()).unwrap();
        assert!(matches!(
            &out[1..],
            [
                ServeOut::Changed(_),
                ServeOut::Send(BOB, PeerMessage::Offer { entries: 3, .. }),
                ServeOut::Send(BOB, PeerMessage::Entries { first: 0, .. })
            ]
        ));
        Sender { world, serves, id }
    }

    fn hear(&mut self, message: PeerMessage) -> Vec<ServeOut> {
        self.serves
            .on_message(BOB, LINK, message, &mut self.world.ctx())
    }

    fn accept(&mut self, transfer: u32) -> u32 {
        let offer_id = self.id;
        self.hear(PeerMessage::Accept { offer_id, transfer });
        let last = self.world.drain().pop();
        let Some(Effect::Serve(_, run, ServeEffect::Start { .. })) = last else {
            panic!("{last:?}")
        };
        run
    }

    fn started(&mut self, transfer: u32) -> (RangeSet, BTreeMap<u32, RangeSet>) {
        let offer_id = self.id;
        self.hear(PeerMessage::Accept { offer_id, transfer });
        let last = self.world.drain().pop();
        let Some(Effect::Serve(_, _, ServeEffect::Start { done, have, .. })) = last else {
            panic!("{last:?}")
        };
        (done, have)
    }

    fn sent(&mut self, run: u32, entry: u32, ranges: &[(u64, u64)]) {
        let news = ServeNews::Sent(vec![(entry, set(ranges))]);
        let key = ServeKey {
            room: ROOM,
            peer: BOB,
            offer: self.id,
        };
        self.serves.handle(key, run, news, &mut self.world.ctx());
    }

    fn ack(&mut self, transfer: u32, entry: u32, ranges: &[(u64, u64)]) -> Vec<ServeOut> {
        self.serves.on_ack(
            BOB,
            LINK,
            transfer,
            entry,
            set(ranges),
            &mut self.world.ctx(),
        )
    }

    fn have(&mut self, transfer: u32, entry: u32, ranges: &[(u64, u64)]) {
        let (offer_id, ranges) = (self.id, set(ranges));
        self.hear(PeerMessage::Have {
            offer_id,
            transfer,
            entry,
            ranges,
        });
    }

    fn verified(&mut self, transfer: u32, entries: &[(u64, u64)]) -> Vec<ServeOut> {
        let (offer_id, entries) = (self.id, set(entries));
        self.hear(PeerMessage::Verified {
            offer_id,
            transfer,
            entries,
        })
    }

    fn view(&self) -> OfferView {
        self.serves.view(self.id, |_| "Bob".into()).unwrap()
    }

    fn phase(&self) -> ServePhase {
        self.view().receivers[0].phase
    }

    fn done(&self) -> u64 {
        self.view().receivers[0].done
    }
}

fn offer(to: Vec<PeerId>) -> NewOffer {
    let dir = Entry {
        dir: true,
        ..entry("d", 0)
    };
    let entries = vec![entry("a", 10 * CHUNK), entry("b", 1), dir];
    NewOffer {
        room: ROOM,
        to,
        name: "files".into(),
        note: None,
        entries,
        paths: Vec::new(),
        strategy: None,
    }
}

#[test]
fn from_offered_to_done() {
    let mut s = Sender::new();
    assert_eq!(s.phase(), ServePhase::Offered);
    let run = s.accept(7);
    assert_eq!(s.phase(), ServePhase::Serving);
    s.sent(run, 0, &[(0, 10)]);
    assert_eq!(s.done(), 0, "sent is not durable");
    assert_eq!(s.ack(7, 0, &[(0, 4)]), [ServeOut::Changed(s.id)]);
    assert_eq!(s.done(), 4 * CHUNK);
    let key = ServeKey {
        room: ROOM,
        peer: BOB,
        offer: s.id,
    };
    let news = ServeNews::EntryRead {
        entry: 0,
        hash: kith_protocol::ids::Digest([1; 32]),
    };
    let out = s.serves.handle(key, run, news, &mut s.world.ctx());
    assert!(matches!(
        out[..],
        [ServeOut::Send(BOB, PeerMessage::EntryDone { entry: 0, .. })]
    ));
    s.verified(7, &[(0, 1)]);
    assert_eq!(s.done(), 10 * CHUNK);
    s.verified(7, &[(0, 1)]);
    assert_eq!(s.done(), 10 * CHUNK, "said twice, counted once");
    s.sent(run, 1, &[(0, 1)]);
    s.ack(7, 1, &[(0, 1)]);
    assert_eq!(s.done(), 10 * CHUNK + 1);
    let offer_id = s.id;
    s.hear(PeerMessage::OfferDone { offer_id });
    assert_eq!(s.phase(), ServePhase::Done);
    let [Effect::Serve(_, r, ServeEffect::Stop), Effect::Vouch(..)] = s.world.drain()[..] else {
        panic!("the worker stops, and others may have the offer from there")
    };
    assert_eq!(r, run);
    let traffic = s.view().traffic;
    assert_eq!(
        (traffic.sent, traffic.resent, traffic.resent_durable),
        (10 * CHUNK + 1, 0, 0)
    );
}

#[test]
fn what_the_receiver_says_before_it_accepts_is_the_whole_truth() {
    let mut s = Sender::new();
    let run = s.accept(1);
    s.sent(run, 0, &[(0, 10)]);
    s.ack(1, 0, &[(0, 10)]);
    s.verified(1, &[(0, 2)]);
    s.serves.on_closed(BOB, &mut s.world.ctx());
    assert_eq!(s.phase(), ServePhase::Stalled);
    s.world.drain();
    // It comes back from another disk, with little of it.
    s.have(2, 0, &[(0, 2)]);
    s.have(2, 0, &[(5, 6)]);
    let (done, have) = s.started(2);
    assert!(done.is_empty());
    assert_eq!(have, BTreeMap::from([(0, set(&[(0, 2), (5, 6)]))]));
    assert_eq!(s.done(), 3 * CHUNK);
    // And again, with more: of what is verified nothing else counts.
    s.serves.on_closed(BOB, &mut s.world.ctx());
    s.verified(3, &[(0, 1)]);
    s.have(3, 0, &[(0, 9)]);
    let (done, have) = s.started(3);
    assert_eq!((done, have), (set(&[(0, 1)]), BTreeMap::new()));
    assert_eq!(s.done(), 10 * CHUNK);
}

#[test]
fn what_was_complete_for_another_transfer_does_not_count() {
    let mut s = Sender::new();
    s.accept(1);
    s.verified(1, &[(0, 1)]);
    // Into another folder now, while we still serve the first; its last word comes late.
    s.have(2, 1, &[(0, 1)]);
    s.verified(1, &[(1, 2)]);
    let (done, have) = s.started(2);
    assert_eq!(done, RangeSet::new());
    assert_eq!(have, BTreeMap::from([(1, set(&[(0, 1)]))]));
    let before = s.done();
    s.verified(1, &[(0, 1)]);
    assert_eq!(s.done(), before);
    s.verified(2, &[(0, 1)]);
    assert_eq!(s.done(), before + 10 * CHUNK);
}

#[test]
fn a_receiver_that_cancelled_starts_from_nothing() {
    let mut s = Sender::new();
    let run = s.accept(1);
    s.sent(run, 0, &[(0, 10)]);
    s.ack(1, 0, &[(0, 10)]);
    s.verified(1, &[(1, 3)]);
    let offer_id = s.id;
    s.hear(PeerMessage::Cancel {
        offer_id,
        why: Code::Cancelled,
    });
    assert_eq!(s.phase(), ServePhase::Declined);
    s.world.drain();
    let (done, have) = s.started(2);
    assert!(done.is_empty() && have.is_empty());
}

#[test]
fn what_is_sent_twice_is_counted() {
    let mut s = Sender::new();
    let run = s.accept(1);
    s.sent(run, 0, &[(0, 10)]);
    s.ack(1, 0, &[(0, 5)]);
    let offer_id = s.id;
    s.hear(PeerMessage::Want {
        offer_id,
        entry: 0,
        ranges: set(&[(4, 5)]),
    });
    assert_eq!(s.done(), 4 * CHUNK, "what is wanted again is not there");
    assert!(
        matches!(s.world.drain()[..], [Effect::Serve(_, r, ServeEffect::Want { entry: 0, .. })] if r == run)
    );
    s.sent(run, 0, &[(3, 5)]);
    let traffic = s.view().traffic;
    assert_eq!(
        (traffic.sent, traffic.resent, traffic.resent_durable),
        (12 * CHUNK, 2 * CHUNK, CHUNK)
    );
    s.verified(1, &[(0, 1)]);
    s.sent(run, 0, &[(0, 1)]);
    assert_eq!(s.view().traffic.resent_durable, 2 * CHUNK);
    s.ack(1, 0, &[(0, 1)]);
    assert_eq!(
        s.done(),
        10 * CHUNK,
        "a late ack adds nothing to what is complete"
    );
}

#[test]
fn lies_are_not_believed() {
    let mut s = Sender::new();
    let run = s.accept(1);
    s.sent(run, 0, &[(0, 3)]);
    let before = s.view();
    for (transfer, entry, ranges) in [
        (1, 0, vec![(0, 4)]),
        (1, 0, vec![(9, 10)]),
        (1, 1, vec![(0, 1)]),
        (1, 9, vec![(0, 1)]),
        (1, 0, vec![(0, u64::MAX)]),
        (2, 0, vec![(0, 1)]),
    ] {
        assert!(
            s.ack(transfer, entry, &ranges).is_empty(),
            "{transfer} {entry} {ranges:?}"
        );
    }
    let other = LinkId([9; 8]);
    assert!(
        s.serves
            .on_ack(BOB, other, 1, 0, set(&[(0, 1)]), &mut s.world.ctx())
            .is_empty()
    );
    assert!(
        s.serves
            .on_ack(ME, LINK, 1, 0, set(&[(0, 1)]), &mut s.world.ctx())
            .is_empty()
    );
    let offer_id = s.id;
    for message in [
        PeerMessage::Have {
            offer_id,
            transfer: 1,
            entry: 0,
            ranges: set(&[(0, 11)]),
        },
        PeerMessage::Have {
            offer_id,
            transfer: 1,
            entry: 2,
            ranges: set(&[(0, 1)]),
        },
        PeerMessage::Have {
            offer_id,
            transfer: 1,
            entry: 7,
            ranges: set(&[(0, 1)]),
        },
        PeerMessage::Want {
            offer_id,
            entry: 0,
            ranges: set(&[(9, 11)]),
        },
        PeerMessage::Want {
            offer_id,
            entry: u32::MAX,
            ranges: set(&[(0, 1)]),
        },
        PeerMessage::Want {
            offer_id: OfferId([0; 16]),
            entry: 0,
            ranges: set(&[(0, 1)]),
        },
        PeerMessage::Verified {
            offer_id,
            transfer: 1,
            entries: set(&[(0, 4)]),
        },
        PeerMessage::Verified {
            offer_id,
            transfer: 1,
            entries: set(&[(u64::MAX - 1, u64::MAX)]),
        },
        PeerMessage::Browse {
            offer_id,
            first: u32::MAX,
        },
        PeerMessage::Bye {},
    ] {
        assert!(s.hear(message.clone()).is_empty(), "{message:?}");
    }
    assert!(s.world.drain().is_empty());
    assert_eq!(s.view(), before);
    let offer_id = OfferId([0; 16]);
    let out = s.hear(PeerMessage::Accept {
        offer_id,
        transfer: 1,
    });
    assert_eq!(
        out,
        [ServeOut::Send(
            BOB,
            PeerMessage::Gone {
                offer_id,
                why: Code::OfferGone
            }
        )]
    );
}

#[test]
fn what_a_receiver_declares_is_bounded() {
    let mut s = Sender::new();
    let big = vec![entry("big", (1 << 30) * CHUNK)];
    let new = NewOffer {
        entries: big,
        ..offer(vec![])
    };
    s.id = s.serves.add(new, &[BOB], &mut s.world.ctx()).unwrap().0;
    for page in 0..200u64 {
        let holes: Vec<_> = (0..1_000)
            .map(|i| page * 10_000 + i * 2)
            .map(|i| (i, i + 1))
            .collect();
        s.have(1, 0, &holes);
    }
    let (_, have) = s.started(1);
    assert!(have[&0].ranges().len() <= MAX_DECLARED + limits::MAX_RANGES);
}

#[test]
fn declining_ends_it_until_it_is_offered_again() {
    let mut s = Sender::new();
    let offer_id = s.id;
    s.hear(PeerMessage::Decline {
        offer_id,
        why: Code::Declined,
    });
    assert_eq!(
        (s.phase(), s.view().receivers[0].why),
        (ServePhase::Declined, Some(Code::Declined))
    );
    assert!(s.serves.on_open(BOB, FP).is_empty(), "not announced again");
    let (id, out) = s
        .serves
        .add(offer(vec![]), &[BOB], &mut s.world.ctx())
        .unwrap();
    assert_eq!(id, s.id);
    assert!(
        out.iter()
            .any(|o| matches!(o, ServeOut::Send(BOB, PeerMessage::Offer { .. })))
    );
    assert_eq!(s.phase(), ServePhase::Offered);
}

#[test]
fn another_app_session_is_offered_what_an_earlier_one_declined() {
    let mut s = Sender::new();
    let (offer_id, why) = (s.id, Code::Declined);
    for n in 1..4 {
        s.hear(PeerMessage::Decline { offer_id, why });
        // Its user takes the offer while we are away, and quits before we are back.
        s.serves.on_closed(BOB, &mut s.world.ctx());
        let out = s.serves.on_open(BOB, Digest([n; 32]));
        let announced = |o: &ServeOut| matches!(o, ServeOut::Send(BOB, PeerMessage::Offer { .. }));
        assert!(out.iter().any(announced));
        assert_eq!(s.phase(), ServePhase::Offered);
    }
    s.accept(1);
    assert_eq!(s.phase(), ServePhase::Serving);
}

#[test]
fn a_withdrawn_offer_is_gone_for_everybody() {
    let mut s = Sender::new();
    let run = s.accept(1);
    let out = s.serves.withdraw(s.id, &[BOB], &mut s.world.ctx()).unwrap();
    assert!(out.iter().any(|o| matches!(
        o,
        ServeOut::Send(
            BOB,
            PeerMessage::Gone {
                why: Code::Cancelled,
                ..
            }
        )
    )));
    assert!(matches!(s.world.drain()[..], [Effect::Serve(_, r, ServeEffect::Stop)] if r == run));
    assert_eq!(
        (s.phase(), s.view().phase),
        (ServePhase::Failed, FetchPhase::Withdrawn)
    );
    assert!(s.view().can.is_empty());
    let out = s.serves.on_open(BOB, FP);
    assert!(matches!(
        out[..],
        [ServeOut::Send(BOB, PeerMessage::Gone { .. })]
    ));
    assert!(s.serves.withdraw(s.id, &[BOB], &mut s.world.ctx()).is_err());
    let offer_id = s.id;
    let out = s.hear(PeerMessage::Accept {
        offer_id,
        transfer: 2,
    });
    assert!(matches!(
        out[..],
        [ServeOut::Send(
            BOB,
            PeerMessage::Gone {
                why: Code::OfferGone,
                ..
            }
        )]
    ));
    s.serves
        .add(offer(vec![]), &[BOB], &mut s.world.ctx())
        .unwrap();
    assert_eq!(s.phase(), ServePhase::Offered, "offered anew");
}

#[test]
fn a_failing_worker_tells_the_receiver_and_may_be_accepted_when_announced_again() {
    let mut s = Sender::new();
    let run = s.accept(1);
    let key = ServeKey {
        room: ROOM,
        peer: BOB,
        offer: s.id,
    };
    let failed = || ServeNews::Failed(Code::SourceChanged);
    assert!(
        s.serves
            .handle(key, run + 1, failed(), &mut s.world.ctx())
            .is_empty(),
        "not this run"
    );
    let out = s.serves.handle(key, run, failed(), &mut s.world.ctx());
    assert!(matches!(
        out[0],
        ServeOut::Send(
            BOB,
            PeerMessage::Gone {
                why: Code::SourceChanged,
                ..
            }
        )
    ));
    assert_eq!(s.phase(), ServePhase::Failed);
    assert!(
        s.serves
            .handle(key, run, failed(), &mut s.world.ctx())
            .is_empty(),
        "it ended"
    );
    s.serves
        .add(offer(vec![]), &[BOB], &mut s.world.ctx())
        .unwrap();
    s.accept(2);
    assert_eq!(s.phase(), ServePhase::Serving);
}

#[test]
fn accepting_again_replaces_the_worker() {
    let mut s = Sender::new();
    let first = s.accept(1);
    let offer_id = s.id;
    s.hear(PeerMessage::Accept {
        offer_id,
        transfer: 2,
    });
    let effects = s.world.drain();
    assert!(matches!(effects[0], Effect::Serve(_, r, ServeEffect::Stop) if r == first));
    assert!(
        matches!(effects[1], Effect::Serve(_, r, ServeEffect::Start { transfer: 2, .. }) if r != first)
    );
}

#[test]
fn an_offer_to_one_is_none_of_anothers_business() {
    let (mut world, mut serves) = (World::new(), Serves::new(ROOM, ME));
    let cy = PeerId([9; 16]);
    let (id, out) = serves
        .add(offer(vec![cy]), &[BOB], &mut world.ctx())
        .unwrap();
    assert_eq!(out, [ServeOut::Changed(id)]);
    assert!(serves.on_open(BOB, FP).is_empty());
    let accept = PeerMessage::Accept {
        offer_id: id,
        transfer: 1,
    };
    let out = serves.on_message(BOB, LINK, accept, &mut world.ctx());
    assert!(matches!(
        out[..],
        [ServeOut::Send(BOB, PeerMessage::Gone { .. })]
    ));
    assert!(world.drain().is_empty());
    assert!(!serves.on_open(cy, FP).is_empty());
}

#[test]
fn what_cannot_be_sent_is_refused_here() {
    let (mut world, mut serves) = (World::new(), Serves::new(ROOM, ME));
    let with = |entries: Vec<Entry>| NewOffer {
        entries,
        ..offer(vec![])
    };
    let max = limits::MAX_FILE;
    for new in [
        with(vec![]),
        with(vec![entry("", 1)]),
        with(vec![entry(&"x".repeat(limits::MAX_PATH + 1), 1)]),
        with(vec![entry("a", max + 1)]),
        with(vec![entry("a", max), entry("b", max), entry("c", max)]),
        with(vec![Entry {
            dir: true,
            ..entry("a", 1)
        }]),
        NewOffer {
            note: Some("x".repeat(limits::MAX_NOTE + 1)),
            ..offer(vec![])
        },
        NewOffer {
            name: "x".repeat(limits::MAX_PATH + 1),
            ..offer(vec![])
        },
    ] {
        let refused = serves.add(new, &[BOB], &mut world.ctx());
        assert_eq!(refused.map_err(|e| e.code).err(), Some(Code::BadRequest));
    }
    assert!(serves.ids().is_empty() && world.drain().is_empty());
}

#[test]
fn leaving_the_room_stops_the_workers() {
    let mut s = Sender::new();
    s.accept(1);
    s.serves.stop(&mut s.world.ctx());
    assert!(matches!(
        s.world.drain()[..],
        [Effect::Serve(_, _, ServeEffect::Stop)]
    ));
    assert_eq!(s.phase(), ServePhase::Stalled);
}

#[test]
fn a_manifest_goes_out_a_few_times_a_link() {
    let mut s = Sender::new();
    let many = (0..10_000).map(|n| entry(&format!("f{n}"), 0)).collect();
    let new = NewOffer {
        entries: many,
        ..offer(vec![])
    };
    s.id = s.serves.add(new, &[BOB], &mut s.world.ctx()).unwrap().0;
    let offer_id = s.id;
    let browse = |s: &mut Sender, first| -> usize {
        let out = s.hear(PeerMessage::Browse { offer_id, first });
        let pages = out.iter().map(|o| match o {
            ServeOut::Send(_, PeerMessage::Entries { entries, .. }) => entries.len(),
            other => panic!("{other:?}"),
        });
        pages.sum()
    };
    // All of it, from any entry on.
    let mut first = 20;
    while first < 10_000 {
        first += browse(&mut s, first as u32);
    }
    assert_eq!(first, 10_000);
    assert_eq!(browse(&mut s, 10_000), 0);
    let more: usize = (0..1000).map(|_| browse(&mut s, 0)).sum();
    assert!(more > 10_000, "the user may think again");
    assert!(more < MANIFESTS_PER_LINK * 10_000);
    assert_eq!(browse(&mut s, 5_000), 0);
    s.serves.on_closed(BOB, &mut s.world.ctx());
    assert!(!s.serves.on_open(BOB, FP).is_empty());
    assert!(browse(&mut s, 5_000) > 0, "the next link");
}

#[test]
fn a_receiver_that_had_no_room_is_asked_again() {
    let mut s = Sender::new();
    let offer_id = s.id;
    s.hear(PeerMessage::Decline {
        offer_id,
        why: Code::TooManyOffers,
    });
    assert_eq!(s.phase(), ServePhase::Declined);
    assert!(!s.serves.on_open(BOB, FP).is_empty());
    s.accept(1);
    assert_eq!(s.phase(), ServePhase::Serving);
}

#[test]
fn what_a_receiver_said_before_it_knew_that_the_offer_is_gone_counts_for_nothing() {
    let mut s = Sender::new();
    let run = s.accept(1);
    let key = ServeKey {
        room: ROOM,
        peer: BOB,
        offer: s.id,
    };
    let news = ServeNews::Failed(Code::SourceGone);
    s.serves.handle(key, run, news, &mut s.world.ctx());
    s.world.drain();
    // All of this was on its way.
    s.verified(2, &[(1, 2)]);
    s.have(2, 0, &[(0, 4)]);
    let (offer_id, transfer) = (s.id, 2);
    let out = s.hear(PeerMessage::Accept { offer_id, transfer });
    assert!(s.world.drain().is_empty(), "nothing is started");
    let why = Code::SourceGone;
    let gone = PeerMessage::Gone { offer_id, why };
    assert_eq!(out, [ServeOut::Send(BOB, gone)]);
    assert_eq!(s.phase(), ServePhase::Failed);
    // Announced again it is taken into another folder, where nothing is yet.
    s.serves
        .add(offer(vec![]), &[BOB], &mut s.world.ctx())
        .unwrap();
    assert_eq!(s.started(3), (RangeSet::new(), BTreeMap::new()));
    assert_eq!(s.phase(), ServePhase::Serving);
}

#[test]
fn a_file_of_one_chunk_is_acknowledged_by_being_whole() {
    let mut s = Sender::new();
    let run = s.accept(1);
    let arrived = |s: &mut Sender| -> Vec<RangeSet> {
        let of = |e| match e {
            Effect::Serve(_, r, ServeEffect::Arrived(entries)) if r == run => Some(entries),
            _ => None,
        };
        s.world.drain().into_iter().filter_map(of).collect()
    };
    // What was not sent gives no room, nor do files of several chunks: those have acks.
    s.verified(1, &[(1, 2)]);
    assert_eq!(arrived(&mut s), []);
    s = Sender::new();
    s.accept(1);
    s.sent(run, 0, &[(0, 10)]);
    s.sent(run, 1, &[(0, 1)]);
    s.verified(1, &[(0, 3)]);
    assert_eq!(arrived(&mut s), [set(&[(1, 2)])]);
    // Nor does what is said again, or was acknowledged.
    s.verified(1, &[(0, 2)]);
    assert_eq!(arrived(&mut s), []);
    s = Sender::new();
    s.accept(1);
    s.sent(run, 1, &[(0, 1)]);
    s.ack(1, 1, &[(0, 1)]);
    s.verified(1, &[(1, 2)]);
    assert_eq!(arrived(&mut s), []);
}
