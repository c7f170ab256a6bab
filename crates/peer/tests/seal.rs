//! Sealing as its callers see it: two sealers and a hostile server between them.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use kith_peer::seal::{Identity, SealContext, SealError, SealNews, Sealer};
use kith_protocol::ids::{Digest, LinkId, RoomId, SealTag, Sid};
use kith_protocol::sealed::{Envelope, Hello, NOISE_PATTERN, SealedBody};
use kith_protocol::{Code, PeerId, limits};
use proptest::prelude::*;
use zeroize::Zeroizing;

const SMALL: Sid = Sid([1; 16]);
const LARGE: Sid = Sid([2; 16]);

fn identity(n: u8) -> Identity {
    Identity::from_secret_bytes(&[n; 64])
}

fn context(my_sid: Sid, their_sid: Sid) -> SealContext {
    SealContext {
        psk: Zeroizing::new([5; 32]),
        room_id: RoomId([6; 16]),
        my_sid,
        their_sid,
        fp: Digest([my_sid.0[0]; 32]),
        name: format!("peer {}", my_sid.0[0]),
        caps: vec!["x/1".into()],
    }
}

fn initiator() -> Sealer {
    Sealer::new(&identity(10), context(SMALL, LARGE)).unwrap()
}

fn responder() -> Sealer {
    Sealer::new(&identity(20), context(LARGE, SMALL)).unwrap()
}

fn sent(news: &[SealNews]) -> Bytes {
    match news {
        [SealNews::Send(b), ..] => b.clone(),
        other => panic!("nothing to send: {other:?}"),
    }
}

/// Who and what handshake, where the news say that one is complete.
fn ready(news: &[SealNews]) -> Option<(PeerId, SealTag, [u8; 32])> {
    match news.last() {
        Some(SealNews::Ready {
            peer, tag, hash, ..
        }) => Some((*peer, *tag, *hash)),
        _ => None,
    }
}

fn shake(i: &mut Sealer, r: &mut Sealer) {
    let m1 = i.begin().unwrap();
    let m2 = sent(&r.read(m1).unwrap());
    let n3 = i.read(m2).unwrap();
    let done = r.read(sent(&n3)).unwrap();
    let (a, b) = (ready(&n3).unwrap(), ready(&done).unwrap());
    assert_eq!((a.1, a.2), (b.1, b.2));
}

fn pair() -> (Sealer, Sealer) {
    let (mut i, mut r) = (initiator(), responder());
    shake(&mut i, &mut r);
    (i, r)
}

fn body(n: u8) -> SealedBody {
    SealedBody::Restart {
        link: LinkId([n; 8]),
    }
}

fn flip(message: &Bytes, at: usize) -> Bytes {
    let mut v = message.to_vec();
    v[at] ^= 1;
    v.into()
}

#[test]
fn both_learn_who_the_other_is() {
    let (mut i, mut r) = (initiator(), responder());
    let m1 = i.begin().unwrap();
    let m2 = sent(&r.read(m1).unwrap());
    let n3 = i.read(m2).unwrap();
    let done = r.read(sent(&n3)).unwrap();
    for (news, who, sid) in [(n3, 20, LARGE), (done, 10, SMALL)] {
        let Some(SealNews::Ready {
            peer,
            hello,
            tag,
            hash,
        }) = news.last()
        else {
            panic!("not ready: {news:?}");
        };
        assert_eq!(*peer, identity(who).peer_id());
        assert_eq!(hello.id_pk, identity(who).id_pk());
        assert_eq!(hello.fp, Digest([sid.0[0]; 32]));
        assert_eq!(hello.name, format!("peer {}", sid.0[0]));
        assert_eq!(hello.caps, ["x/1"]);
        assert_eq!(tag.0, hash[..8]);
    }
}

#[test]
fn bodies_cross_both_ways_in_order_and_padded() {
    let (mut i, mut r) = pair();
    for n in 0..20 {
        let m = i.seal(&body(n)).unwrap();
        assert_eq!((m.len() - 2 - 16 - 16) % limits::SEAL_PADDING, 0);
        assert_eq!(r.read(m).unwrap(), [SealNews::Body(body(n))]);
        let m = r.seal(&body(n)).unwrap();
        assert_eq!(i.read(m).unwrap(), [SealNews::Body(body(n))]);
    }
}

#[test]
fn nothing_is_sealed_before_a_handshake() {
    let mut i = initiator();
    assert!(!i.is_ready());
    assert_eq!(i.seal(&body(1)), Err(SealError::NotReady));
    i.begin().unwrap();
    assert_eq!(i.seal(&body(1)), Err(SealError::NotReady));
}

#[test]
fn only_the_smaller_sid_begins() {
    let (i, mut r) = (initiator(), responder());
    assert!(i.is_initiator() && !r.is_initiator());
    assert_eq!(r.begin(), Err(SealError::NotInitiator));
    assert_eq!(
        initiator().read(r.ask_again()).unwrap(),
        [SealNews::AskedAgain]
    );
}

#[test]
fn equal_sids_and_our_own_identity_are_refused() {
    let me = identity(10);
    let equal = Sealer::new(&me, context(SMALL, SMALL));
    assert_eq!(equal.unwrap_err(), SealError::SameSid);

    let mut i = initiator();
    let mut r = Sealer::new(&me, context(LARGE, SMALL)).unwrap();
    let m2 = sent(&r.read(i.begin().unwrap()).unwrap());
    assert_eq!(i.read(m2), Err(SealError::OwnIdentity));
}

#[test]
fn our_own_hello_keeps_the_limits() {
    let mut c = context(SMALL, LARGE);
    c.name = "x".repeat(limits::MAX_NAME + 1);
    let s = Sealer::new(&identity(1), c);
    assert_eq!(s.unwrap_err(), SealError::OwnHello);
}

#[test]
fn another_secret_room_or_pair_does_not_shake() {
    let change: [fn(&mut SealContext); 3] = [
        |c| *c.psk = [9; 32],
        |c| c.room_id = RoomId([9; 16]),
        |c| c.their_sid = Sid([0; 16]),
    ];
    for change in change {
        let mut c = context(LARGE, SMALL);
        change(&mut c);
        let mut r = Sealer::new(&identity(20), c).unwrap();
        let m1 = initiator().begin().unwrap();
        assert_eq!(r.read(m1), Err(SealError::Decrypt));
    }
}

#[test]
fn swapped_sids_do_not_shake() {
    // Both believe to be the initiator, so neither answers.
    let mut a = initiator();
    let mut b = Sealer::new(&identity(20), context(SMALL, LARGE)).unwrap();
    let m1 = a.begin().unwrap();
    assert_eq!(b.read(m1), Err(SealError::WrongStep(1)));
}

#[test]
fn reflected_messages_are_refused() {
    let (mut i, mut r) = (initiator(), responder());
    let m1 = i.begin().unwrap();
    assert_eq!(i.read(m1.clone()), Err(SealError::WrongStep(1)));
    let m2 = sent(&r.read(m1).unwrap());
    assert_eq!(r.read(m2.clone()), Err(SealError::WrongStep(2)));
    let m3 = sent(&i.read(m2).unwrap());
    assert_eq!(i.read(m3.clone()), Err(SealError::WrongStep(3)));
    assert!(ready(&r.read(m3).unwrap()).is_some());
    let sealed = i.seal(&body(1)).unwrap();
    assert_eq!(i.read(sealed), Err(SealError::Decrypt));
}

#[test]
fn replays_and_gaps_are_refused_and_end_nothing() {
    let (mut i, mut r) = pair();
    let m: Vec<_> = (0..4).map(|n| i.seal(&body(n)).unwrap()).collect();
    assert_eq!(r.read(m[0].clone()).unwrap(), [SealNews::Body(body(0))]);
    let replay = r.read(m[0].clone()).unwrap_err();
    assert_eq!(replay, SealError::Replay { got: 0, want: 1 });
    assert!(replay.is_hostile());
    let gap = r.read(m[2].clone()).unwrap_err();
    assert_eq!(gap, SealError::Gap { got: 2, want: 1 });
    assert!(!gap.is_hostile());
    assert_eq!(gap.code(), Code::SealFailed);
    // What is next in order still opens, and so does an answer.
    assert_eq!(r.read(m[1].clone()).unwrap(), [SealNews::Body(body(1))]);
    let back = r.seal(&body(9)).unwrap();
    assert_eq!(i.read(back).unwrap(), [SealNews::Body(body(9))]);
}

#[test]
fn a_counter_that_lies_does_not_decrypt() {
    let (mut i, mut r) = pair();
    r.read(i.seal(&body(0)).unwrap()).unwrap();
    let Ok(Envelope::Transport { tag, noise, .. }) = Envelope::parse(i.seal(&body(1)).unwrap())
    else {
        panic!("not a transport message");
    };
    let _lost = i.seal(&body(2)).unwrap();
    let m3 = i.seal(&body(3)).unwrap();
    r.read(
        Envelope::Transport {
            tag,
            counter: 1,
            noise,
        }
        .to_bytes(),
    )
    .unwrap();
    let Ok(Envelope::Transport { tag, noise, .. }) = Envelope::parse(m3) else {
        panic!("not a transport message");
    };
    let lie = Envelope::Transport {
        tag,
        counter: 2,
        noise,
    };
    assert_eq!(r.read(lie.to_bytes()), Err(SealError::Decrypt));
}

#[test]
fn a_new_handshake_replaces_the_keys_without_a_pause() {
    let (mut i, mut r) = pair();
    let m1 = i.begin().unwrap();
    // Old keys work both ways while the new handshake is under way.
    assert_eq!(
        r.read(i.seal(&body(1)).unwrap()).unwrap(),
        [SealNews::Body(body(1))]
    );
    let m2 = sent(&r.read(m1).unwrap());
    let in_flight = r.seal(&body(2)).unwrap();
    assert_eq!(
        r.read(i.seal(&body(3)).unwrap()).unwrap(),
        [SealNews::Body(body(3))]
    );
    let late = i.seal(&body(4)).unwrap();
    let n3 = i.read(m2).unwrap();
    // The initiator has switched; what the responder sent before is stale, not an error.
    assert_eq!(i.read(in_flight).unwrap(), [SealNews::Superseded]);
    let first = i.seal(&body(5)).unwrap();
    assert_eq!(r.read(first.clone()), Err(SealError::UnknownTag));
    assert!(ready(&r.read(sent(&n3)).unwrap()).is_some());
    assert_eq!(r.read(late).unwrap(), [SealNews::Superseded]);
    assert_eq!(r.read(first).unwrap(), [SealNews::Body(body(5))]);
    // Counters began anew.
    let Ok(Envelope::Transport { counter, .. }) = Envelope::parse(r.seal(&body(6)).unwrap()) else {
        panic!("not a transport message");
    };
    assert_eq!(counter, 0);
}

#[test]
fn a_failed_new_handshake_leaves_the_old_keys() {
    let (mut i, mut r) = pair();
    let m1 = i.begin().unwrap();
    let m2 = sent(&r.read(m1).unwrap());
    assert_eq!(i.read(flip(&m2, 40)), Err(SealError::Decrypt));
    // The attempt is over, even for the true message.
    assert_eq!(i.read(m2).unwrap(), [SealNews::Stale]);
    assert_eq!(
        r.read(i.seal(&body(1)).unwrap()).unwrap(),
        [SealNews::Body(body(1))]
    );
    shake(&mut i, &mut r);
}

#[test]
fn messages_of_other_attempts_are_stale() {
    let (mut i, mut r) = (initiator(), responder());
    let first = i.begin().unwrap();
    let second = i.begin().unwrap();
    let old = sent(&r.read(first).unwrap());
    assert_eq!(i.read(old).unwrap(), [SealNews::Stale]);
    let m2 = sent(&r.read(second.clone()).unwrap());
    // A copy of message 1 does not disturb the attempt that it began.
    assert_eq!(r.read(second.clone()).unwrap(), [SealNews::Stale]);
    let n3 = i.read(m2.clone()).unwrap();
    assert_eq!(i.read(m2).unwrap(), [SealNews::Stale]);
    assert!(ready(&r.read(sent(&n3)).unwrap()).is_some());
    assert_eq!(r.read(sent(&n3)).unwrap(), [SealNews::Stale]);
    assert_eq!(r.read(second).unwrap(), [SealNews::Stale]);
}

#[test]
fn garbage_and_wrong_sizes_are_refused() {
    let (mut i, mut r) = (initiator(), responder());
    for junk in [&[][..], &[1], &[0; 40], &[1, 9, 0, 0], &[255; 4000]] {
        let got = r.read(Bytes::copy_from_slice(junk));
        assert_eq!(got, Err(SealError::NotAnEnvelope));
    }
    let huge = Bytes::from(vec![1; limits::MAX_SIGNAL + 1]);
    assert_eq!(r.read(huge), Err(SealError::NotAnEnvelope));

    let m1 = i.begin().unwrap();
    for len in 0..m1.len() {
        assert!(r.read(m1.slice(..len)).is_err(), "{len}");
    }
    let mut long = m1.to_vec();
    long.push(0);
    assert_eq!(r.read(long.into()), Err(SealError::Decrypt));
    let m2 = sent(&r.read(m1).unwrap());
    assert_eq!(i.read(m2.slice(..m2.len() - 1)), Err(SealError::Decrypt));
    let (mut i, mut r) = pair();
    let sealed = i.seal(&body(1)).unwrap();
    assert_eq!(
        r.read(sealed.slice(..sealed.len() - 1)),
        Err(SealError::Decrypt)
    );
}

#[test]
fn a_body_beyond_the_limit_is_not_sealed() {
    let (mut i, mut r) = pair();
    let sdp = |len| SealedBody::SdpOffer {
        link: LinkId([1; 8]),
        restart: false,
        sdp: "x".repeat(len),
    };
    assert_eq!(i.seal(&sdp(limits::MAX_SEALED)), Err(SealError::Unsendable));
    assert_eq!(i.seal(&SealedBody::Unknown), Err(SealError::Unsendable));
    let largest = sdp(limits::MAX_SEALED - 512);
    let m = i.seal(&largest).unwrap();
    assert_eq!(r.read(m).unwrap(), [SealNews::Body(largest)]);
}

/// A member with the secret that speaks correct Noise but says what it likes in its `Hello`.
fn forged_message_2(m1: Bytes, hello: &[u8]) -> Bytes {
    let Ok(Envelope::Handshake { attempt, noise, .. }) = Envelope::parse(m1) else {
        panic!("not a handshake message");
    };
    let mut prologue = b"kith1\x00\x01".to_vec();
    prologue.extend([6; 16]);
    prologue.extend([1; 16]);
    prologue.extend([2; 16]);
    let mut hs = snow::Builder::new(NOISE_PATTERN.parse().unwrap())
        .local_private_key(&[77; 32])
        .unwrap()
        .psk(0, &[5; 32])
        .unwrap()
        .prologue(&prologue)
        .unwrap()
        .build_responder()
        .unwrap();
    let mut out = vec![0; 4096];
    hs.read_message(&noise, &mut out).unwrap();
    let n = hs.write_message(hello, &mut out).unwrap();
    Envelope::Handshake {
        step: 2,
        attempt,
        noise: Bytes::copy_from_slice(&out[..n]),
    }
    .to_bytes()
}

#[test]
fn an_identity_that_does_not_vouch_for_the_key_is_refused() {
    // The certificate is genuine, but for another Noise key: a stolen Hello.
    let stolen = Hello {
        id_pk: identity(20).id_pk(),
        cert: identity(20).cert(),
        fp: Digest([0; 32]),
        name: "mallory".into(),
        caps: vec![],
    };
    let mut i = initiator();
    let m2 = forged_message_2(i.begin().unwrap(), &stolen.to_bytes());
    let err = i.read(m2).unwrap_err();
    assert_eq!(err, SealError::BadCert);
    assert!(err.is_hostile());

    // A small-order key, for which a lax verifier accepts a signature over anything.
    let mut weak = stolen.clone();
    weak.id_pk.0 = [0; 32];
    weak.id_pk.0[0] = 1;
    weak.cert.0 = [0; 64];
    weak.cert.0[0] = 1;
    let m2 = forged_message_2(i.begin().unwrap(), &weak.to_bytes());
    assert_eq!(i.read(m2), Err(SealError::BadCert));

    let m2 = forged_message_2(i.begin().unwrap(), b"not a hello");
    assert_eq!(i.read(m2), Err(SealError::Malformed));
    assert!(!i.is_ready());
}

#[test]
fn an_identity_survives_its_secret_bytes() {
    let a = Identity::generate().unwrap();
    let b = Identity::from_secret_bytes(&a.secret_bytes());
    assert_eq!(a.id_pk(), b.id_pk());
    assert_eq!(a.cert(), b.cert());
    assert_ne!(a.id_pk(), Identity::generate().unwrap().id_pk());
}

/// Runs a handshake in which byte `at` of message `which` (0 to 2) is changed by `xor`, and gives
/// what each side believes at its end.
fn tampered(which: usize, at: usize, xor: u8) -> [Option<(SealTag, [u8; 32])>; 2] {
    let (mut i, mut r) = (initiator(), responder());
    let mut on_wire = i.begin().unwrap();
    let mut believed = [None, None];
    for message in 0..3 {
        if message == which {
            let mut v = on_wire.to_vec();
            let at = at % v.len();
            v[at] ^= xor;
            on_wire = v.into();
        }
        let side = (message + 1) % 2;
        let reader = if side == 1 { &mut r } else { &mut i };
        let Ok(news) = reader.read(on_wire) else {
            break;
        };
        if let Some((_, tag, hash)) = ready(&news) {
            believed[side] = Some((tag, hash));
        }
        let [SealNews::Send(next), ..] = news.as_slice() else {
            break;
        };
        on_wire = next.clone();
    }
    believed
}

#[test]
fn untampered_both_believe_the_same() {
    let [i, r] = tampered(9, 0, 0);
    assert!(i.is_some() && i == r);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_handshake_never_completes_on_both_sides(which in 0usize..3, at: usize, xor in 1u8..) {
        let [i, r] = tampered(which, at, xor);
        prop_assert!(i.is_none() || r.is_none());
        prop_assert!(r.is_none());
    }

    #[test]
    fn a_changed_body_never_opens(at: usize, xor in 1u8..) {
        let (mut i, mut r) = pair();
        let m = i.seal(&body(1)).unwrap();
        let mut v = m.to_vec();
        let at = at % v.len();
        v[at] ^= xor;
        prop_assert!(r.read(v.into()).is_err());
        prop_assert_eq!(r.read(m).unwrap(), [SealNews::Body(body(1))]);
    }

    #[test]
    fn any_bytes_are_read_without_panic(step in 1u8..=5, v in prop::collection::vec(any::<u8>(), 0..400)) {
        let (mut i, mut r) = pair();
        i.begin().unwrap();
        let mut m = vec![1, step];
        m.extend(v);
        let _ = i.read(m.clone().into());
        let _ = r.read(m.into());
        prop_assert_eq!(r.read(i.seal(&body(1)).unwrap()).unwrap(), [SealNews::Body(body(1))]);
    }
}
