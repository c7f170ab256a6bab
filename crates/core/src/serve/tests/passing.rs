//! Vouching for our offers, and passing on others'.

use super::*;
use crate::record::{FetchKey, FetchRecord};
use kith_protocol::ids::{IdPk, Signature};

const CY: PeerId = PeerId([5; 16]);

fn voucher(by: IdPk, to: Vec<PeerId>) -> Box<Voucher> {
    Box::new(Voucher {
        by,
        name: "files".into(),
        entries: 1,
        total: 10 * CHUNK,
        root: Digest([8; 32]),
        to,
        sig: Signature([0; 64]),
    })
}

fn is_word(o: &ServeOut, to: PeerId) -> bool {
    matches!(o, ServeOut::Send(peer, PeerMessage::Voucher { .. }) if *peer == to)
}

#[test]
fn who_has_everything_gets_our_word_as_soon_as_there_is_one() {
    let mut s = Sender::new();
    let offer_id = s.id;
    s.hear(PeerMessage::OfferDone { offer_id });
    assert!(
        s.world.drain().is_empty(),
        "nothing was sent, and nothing is read for a word"
    );
    let run = s.accept(7);
    s.sent(run, 1, &[(0, 1)]);
    let out = s.hear(PeerMessage::OfferDone { offer_id });
    assert!(!out.iter().any(|o| is_word(o, BOB)));
    let asked = s.world.drain().pop();
    assert!(
        matches!(asked, Some(Effect::Vouch(ROOM, id, ref to)) if id == offer_id && to.to.is_empty())
    );
    s.hear(PeerMessage::OfferDone { offer_id });
    let again = s.world.drain();
    assert!(
        !again.iter().any(|e| matches!(e, Effect::Vouch(..))),
        "once"
    );
    let by = s.world.config.id_pk;
    assert!(
        s.serves
            .on_vouched(offer_id, Some(voucher(by, vec![BOB])))
            .is_empty(),
        "for fewer"
    );
    s.hear(PeerMessage::OfferDone { offer_id });
    let asked = s.world.drain().pop();
    assert!(matches!(asked, Some(Effect::Vouch(..))), "again");
    let ours = voucher(by, vec![]);
    let out = s.serves.on_vouched(offer_id, Some(ours));
    assert!(matches!(&out[..], [o] if is_word(o, BOB)));
    let out = s.hear(PeerMessage::OfferDone { offer_id });
    assert!(
        out.iter().any(|o| is_word(o, BOB)),
        "and whenever it says so"
    );
}

#[test]
fn no_word_is_given_on_what_is_for_one_person_or_was_not_finished() {
    let (mut world, mut serves) = (World::new(), Serves::new(ROOM, ME));
    let (id, _) = serves
        .add(offer(vec![BOB]), &[BOB], &mut world.ctx())
        .unwrap();
    let done = PeerMessage::OfferDone { offer_id: id };
    serves.on_message(BOB, LINK, done.clone(), &mut world.ctx());
    assert!(!world.drain().iter().any(|e| matches!(e, Effect::Vouch(..))));
    let by = world.config.id_pk;
    assert!(
        serves.on_vouched(id, Some(voucher(by, vec![]))).is_empty(),
        "unasked"
    );
    // Somebody to whom it was never announced.
    serves.on_message(CY, LINK, done, &mut world.ctx());
    assert!(!world.drain().iter().any(|e| matches!(e, Effect::Vouch(..))));
}

/// What Bob offered, whole here.
fn theirs(to: Vec<PeerId>) -> Passed {
    let by = IdPk([9; 32]);
    let record = FetchRecord {
        key: FetchKey {
            room: ROOM,
            from: by.peer_id(),
            offer: OfferId([7; 16]),
        },
        dir: "down".into(),
        tag: String::new(),
        name: "files".into(),
        entries: vec![entry("a", 10 * CHUNK)].into(),
        roots: vec![],
        begun: true,
        hold: crate::record::Hold::default(),
        adopted: BTreeSet::new(),
        voucher: Some(voucher(by, to)),
    };
    Passed {
        record: record.into(),
        names: BTreeMap::from([(0, "a".to_string())]).into(),
    }
}

#[test]
fn what_is_whole_here_is_passed_on_but_not_to_its_owner() {
    let (mut world, mut serves) = (World::new(), Serves::new(ROOM, ME));
    let passed = theirs(vec![]);
    let (owner, id) = (passed.record.key.from, passed.record.key.offer);
    let out = serves.pass_on(passed, 5, &[BOB, owner]);
    let announced = |o: &ServeOut| match o {
        ServeOut::Send(peer, PeerMessage::StandIn { offer_id, .. }) => Some((*peer, *offer_id)),
        _ => None,
    };
    let told: Vec<_> = out.iter().filter_map(announced).collect();
    assert_eq!(told, [(BOB, id)]);
    assert!(serves.ids().is_empty() && serves.view(id, |_| String::new()).is_none());
    assert_eq!(serves.whose(id), owner);
    let accept = PeerMessage::Accept {
        offer_id: id,
        transfer: 1,
    };
    serves.on_message(BOB, LINK, accept, &mut world.ctx());
    let started = world.drain().pop();
    let Some(Effect::Serve(key, run, ServeEffect::Start { passed, .. })) = started else {
        panic!("{started:?}")
    };
    assert_eq!(passed.unwrap().record.key.from, owner);
    assert_eq!(serves.passed_to(id, |_| "Bob".into()).len(), 1);
    // A new link, another person.
    let out = serves.on_open(CY, FP);
    assert_eq!(
        out.iter().filter_map(announced).collect::<Vec<_>>(),
        [(CY, id)]
    );
    // Its file is not what it was: nobody gets it any more.
    let news = ServeNews::Failed(Code::SourceChanged);
    let out = serves.handle(key, run, news, &mut world.ctx());
    let gone = |peer: PeerId| {
        let is =
            |o: &&ServeOut| matches!(o, ServeOut::Send(p, PeerMessage::Gone { .. }) if *p == peer);
        out.iter().any(|o| is(&o))
    };
    assert!(gone(BOB) && gone(CY) && !serves.has(id));
}

#[test]
fn it_is_passed_on_to_those_for_whom_it_was() {
    let mut serves = Serves::new(ROOM, ME);
    let out = serves.pass_on(theirs(vec![ME, CY]), 5, &[BOB, CY]);
    let told = |p: PeerId| {
        out.iter()
            .any(|o| matches!(o, ServeOut::Send(to, _) if *to == p))
    };
    assert!(told(CY) && !told(BOB));
    let unvouched = Passed {
        record: Arc::new(FetchRecord {
            voucher: None,
            ..(*theirs(vec![]).record).clone()
        }),
        names: Arc::default(),
    };
    let mut serves = Serves::new(ROOM, ME);
    assert!(serves.pass_on(unvouched, 5, &[CY]).is_empty());
}

#[test]
fn who_is_let_in_later_has_it_from_others_too() {
    let mut serves = Serves::new(ROOM, ME);
    let told = |out: &[ServeOut]| -> Vec<PeerId> {
        let to = |o: &ServeOut| match o {
            ServeOut::Send(to, PeerMessage::StandIn { .. }) => Some(*to),
            _ => None,
        };
        out.iter().filter_map(to).collect()
    };
    let out = serves.pass_on(theirs(vec![ME, CY]), 5, &[BOB, CY]);
    assert_eq!(told(&out), [CY]);
    let out = serves.pass_on(theirs(vec![ME, CY, BOB]), 5, &[BOB, CY]);
    assert_eq!(told(&out), [BOB]);
    assert!(
        serves
            .pass_on(theirs(vec![ME, CY, BOB]), 5, &[BOB, CY])
            .is_empty()
    );
}

#[test]
fn who_was_away_hears_that_it_was_taken_back() {
    let mut s = Sender::new();
    let id = s.id;
    s.serves.on_closed(BOB, &mut s.world.ctx());
    s.serves.withdraw(id, &[], &mut s.world.ctx()).unwrap();
    let gone = |out: &[ServeOut]| {
        let is = |o: &ServeOut| {
            matches!(
                o,
                ServeOut::Send(
                    _,
                    PeerMessage::Gone {
                        why: Code::Cancelled,
                        ..
                    }
                )
            )
        };
        out.iter().filter(|o| is(o)).count()
    };
    assert_eq!(gone(&s.serves.on_open(BOB, FP)), 1);
    assert!(s.serves.on_open(CY, FP).is_empty(), "it never knew");
}
