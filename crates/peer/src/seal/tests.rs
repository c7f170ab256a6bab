//! Known answers: the wire of the handshake cannot drift unnoticed.

use bytes::Bytes;
use kith_protocol::ids::{Digest, LinkId, RoomId, Sid};
use kith_protocol::sealed::SealedBody;
use zeroize::Zeroizing;

use super::{Identity, SealContext, SealNews, Sealer};

fn sealer(me: u8, mine: u8, theirs: u8, ephemeral: u8) -> Sealer {
    let mut secret = [me; 64];
    secret[32..].fill(me + 1);
    let context = SealContext {
        psk: Zeroizing::new([0x50; 32]),
        room_id: RoomId([0x60; 16]),
        my_sid: Sid([mine; 16]),
        their_sid: Sid([theirs; 16]),
        fp: Digest([me + 2; 32]),
        name: format!("peer {me}"),
        caps: vec!["files/1".into()],
    };
    let mut s = Sealer::new(&Identity::from_secret_bytes(&secret), context).unwrap();
    s.setup.ephemeral = Some([ephemeral; 32]);
    s
}

fn sent(news: &[SealNews]) -> Bytes {
    match news.first() {
        Some(SealNews::Send(b)) => b.clone(),
        other => panic!("nothing to send: {other:?}"),
    }
}

fn hash(news: &[SealNews]) -> [u8; 32] {
    match news.last() {
        Some(SealNews::Ready { hash, .. }) => *hash,
        other => panic!("not ready: {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn the_handshake_has_its_known_answer() {
    let mut i = sealer(0x10, 1, 2, 0x70);
    let mut r = sealer(0x20, 2, 1, 0x71);
    let m1 = i.begin_attempt(0x0102_0304).unwrap();
    let n2 = r.read(m1.clone()).unwrap();
    let n3 = i.read(sent(&n2)).unwrap();
    let done = r.read(sent(&n3)).unwrap();
    assert_eq!(hash(&n3), hash(&done));
    let body = SealedBody::Keep {
        link: LinkId([9; 8]),
    };
    let sealed = i.seal(&body).unwrap();

    let got = [
        ("message 1", hex(&m1)),
        ("message 2", hex(&sent(&n2))),
        ("message 3", hex(&sent(&n3))),
        ("hash", hex(&hash(&n3))),
        ("transport", hex(&sealed)),
    ];
    let known: Vec<_> = include_str!("known_answer.txt").lines().collect();
    assert_eq!(known.len(), got.len());
    for ((what, got), line) in got.into_iter().zip(known) {
        assert_eq!(format!("{what}: {got}"), line);
    }
    assert_eq!(r.read(sealed).unwrap(), [SealNews::Body(body)]);
}

#[test]
fn a_prologue_has_its_known_answer() {
    let p = super::shake::prologue(&RoomId([3; 16]), &Sid([1; 16]), &Sid([2; 16]));
    let want = format!(
        "{}0001{}{}{}",
        hex(b"kith1"),
        "03".repeat(16),
        "01".repeat(16),
        "02".repeat(16)
    );
    assert_eq!(hex(&p), want);
}

#[test]
fn debug_shows_no_secret() {
    let s = sealer(0x10, 1, 2, 0x70);
    let me = Identity::from_secret_bytes(&[0xab; 64]);
    let text = format!("{s:?} {me:?}");
    assert!(
        !text.contains("171, 171") && !text.contains("abab"),
        "{text}"
    );
}
