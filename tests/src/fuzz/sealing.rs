//! The sealing with a member, and the WebRTC library behind the SDP rule.

use std::sync::OnceLock;

use bytes::Bytes;
use kith_peer::rtc::{Connection, IceCandidate, IceConfig, RtcContext};
use kith_peer::seal::{Identity, SealContext, SealNews, Sealer};
use kith_protocol::ids::{Digest, RoomId, Sid};
use kith_protocol::sealed::SealedBody;

use super::{LONGEST, Target, kind};

pub(super) fn targets() -> Vec<Target> {
    vec![
        Target {
            name: "sealer",
            run: sealer,
            seeds: sealer_seeds,
            text: false,
            longest: LONGEST,
        },
        Target {
            name: "negotiation",
            run: negotiation,
            seeds: negotiation_seeds,
            text: true,
            longest: LONGEST,
        },
    ]
}

fn side(me: u8, them: u8) -> Sealer {
    let identity = Identity::from_secret_bytes(&[me; Identity::SECRET_LEN]);
    let context = SealContext {
        psk: [9; 32].into(),
        room_id: RoomId([1; 16]),
        my_sid: Sid([me; 16]),
        their_sid: Sid([them; 16]),
        fp: Digest([me; 32]),
        name: "x".into(),
        caps: Vec::new(),
    };
    Sealer::new(&identity, context).expect("the context is within bounds")
}

fn only_send(news: Vec<SealNews>) -> Bytes {
    news.into_iter()
        .find_map(|n| match n {
            SealNews::Send(bytes) => Some(bytes),
            SealNews::Ready { .. }
            | SealNews::Body(_)
            | SealNews::AskedAgain
            | SealNews::Stale
            | SealNews::Superseded => None,
        })
        .expect("a handshake answers")
}

/// The first byte says how far the handshake has come and what is done to a real message; the
/// rest is sent as it is, or says where the real one is changed. Two keys that agree must go on
/// to work, whatever came.
fn sealer(input: &[u8]) -> u64 {
    let (head, rest) = input.split_first().map_or((0, input), |(h, r)| (*h, r));
    let (mut a, mut b) = (side(1, 2), side(2, 1));
    let first = a.begin().expect("the smaller sid begins");
    let mut said = Vec::new();
    if head & 3 > 0 {
        said.push(only_send(b.read(first).expect("an honest first message")));
    }
    if head & 3 > 1 {
        said.push(only_send(
            a.read(said[0].clone()).expect("an honest answer"),
        ));
    }
    let sealed = head & 3 > 2;
    if sealed {
        b.read(said[1].clone()).expect("an honest third message");
        said.push(a.seal(&SealedBody::Fresh {}).expect("sealed"));
    }
    let (was_a, was_b) = (a.is_ready(), b.is_ready());
    let mut evil = rest.to_vec();
    if head & 4 != 0
        && let Some(real) = said.last()
    {
        evil = real.to_vec();
        for change in rest.chunks_exact(3) {
            let at = usize::from(u16::from_be_bytes([change[0], change[1]])) % evil.len();
            evil[at] ^= change[2];
        }
    }
    let target = if head & 8 == 0 { &mut a } else { &mut b };
    let came = target.read(evil.clone().into());
    let honest = said.iter().any(|s| s[..] == evil[..]);
    if let Ok(news) = &came
        && !honest
    {
        let believed = |n: &SealNews| matches!(n, SealNews::Body(_) | SealNews::Ready { .. });
        assert!(!news.iter().any(believed), "believed: {news:?}");
    }
    assert!(a.is_ready() >= was_a && b.is_ready() >= was_b, "keys stay");
    if sealed && !honest {
        let body = a.seal(&SealedBody::Fresh {}).expect("sealed");
        let next = said.last().expect("one was sealed").clone();
        b.read(next).expect("the one before still opens");
        b.read(body).expect("and so does the next");
    }
    kind(&format!("{came:?}")) ^ u64::from(head & 15) << 60
}

fn sealer_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for head in 0..16 {
        seeds.push(vec![head, 0, 0, 1]);
        seeds.push([&[head & !4][..], &[1, 1, 0, 0, 0, 1], &[7; 48]].concat());
        seeds.push([&[head & !4][..], &[1, 4], &[3; 40]].concat());
        seeds.push(vec![head & !4, 1, 5]);
    }
    seeds
}

/// SDP and candidates that have passed our own checks reach the library: it must refuse what it
/// cannot use and go on. The input is an SDP, then candidates, apart by `\u{1}`.
fn negotiation(input: &[u8]) -> u64 {
    static RUNTIME: OnceLock<(tokio::runtime::Runtime, RtcContext)> = OnceLock::new();
    let Ok(text) = std::str::from_utf8(input) else {
        return 0;
    };
    let mut parts = text.split('\u{1}');
    let sdp = parts.next().unwrap_or_default().to_string();
    let candidates: Vec<String> = parts.take(8).map(str::to_string).collect();
    let fp = Digest([0xab; 32]);
    if kith_protocol::sdp::check(&sdp, &fp).is_err() {
        return 0;
    }
    let (runtime, context) = RUNTIME.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        (runtime, RtcContext::new().expect("a certificate"))
    });
    runtime.block_on(async {
        let (events, mut incoming) = tokio::sync::mpsc::channel(64);
        let config = IceConfig {
            include_loopback: true,
            ..IceConfig::default()
        };
        let connection = Connection::open(context, &config, events).await;
        let connection = connection.expect("sockets on loopback");
        let mut said = match connection.accept_offer(sdp).await {
            Ok(answer) => format!("answer {}", answer.lines().count()),
            Err(error) => error.to_string(),
        };
        for candidate in candidates {
            if kith_protocol::sdp::check_candidate(&candidate) {
                let added = connection
                    .add_candidate(IceCandidate {
                        candidate,
                        sdp_mid: Some("0".into()),
                        sdp_mline_index: Some(0),
                    })
                    .await;
                said.push_str(&format!("{added:?}"));
            }
        }
        // The driver must still be there to say good-bye.
        let closed = tokio::time::timeout(std::time::Duration::from_secs(10), connection.close());
        assert!(closed.await.is_ok(), "the connection hangs");
        while incoming.try_recv().is_ok() {}
        kind(&said)
    })
}

fn negotiation_seeds() -> Vec<Vec<u8>> {
    let mut seeds = super::seeds::sdps();
    for candidate in super::seeds::candidates() {
        let both = [&seeds[0][..], b"\x01", &candidate].concat();
        seeds.push(both);
    }
    seeds
}
