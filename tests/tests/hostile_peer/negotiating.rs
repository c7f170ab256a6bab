//! Session descriptions and candidates that break the rule.

use kith_protocol::sealed::SealedBody;
use kith_protocol::{Code, LinkId, sdp};
use kith_tests::hostile_peer::{Hostile, Scene};

/// An SDP changed by `change` is refused with a code, before anything is connected; then the
/// same one may behave.
async fn refused(change: impl Fn(&Hostile, String) -> String) {
    let scene = Scene::new().await;
    let mut hostile = scene.hostile().await;
    let (link, sdp) = hostile.offer().await;
    let sdp = change(&hostile, sdp);
    hostile.say(SealedBody::SdpOffer {
        link: link.id,
        restart: false,
        sdp,
    });
    scene.wait_refused(hostile.me, Code::BadSdp).await;
    let _link = hostile.link().await;
    scene.ada.wait_linked(hostile.me).await;
    scene.end().await;
}

fn is_fingerprint(line: &&str) -> bool {
    line.starts_with("a=fingerprint")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sdp_without_a_fingerprint_is_refused() {
    refused(|_, sdp| {
        let lines = sdp.split("\r\n").filter(|l| !is_fingerprint(l));
        lines.collect::<Vec<_>>().join("\r\n")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sdp_with_two_fingerprints_is_refused() {
    refused(|h, sdp| {
        let other = sdp::format_fingerprint(&h.victim_fp);
        format!("{sdp}a=fingerprint:sha-256 {other}\r\n")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sdp_with_a_hidden_second_fingerprint_is_refused() {
    refused(|h, sdp| {
        let other = sdp::format_fingerprint(&h.victim_fp);
        format!("{sdp}a=x:1\rA=FINGERPRINT:SHA-256 {other}\r\n")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sdp_with_a_changed_fingerprint_is_refused() {
    refused(|h, sdp| {
        let fp = sdp::format_fingerprint(&h.fp);
        let other = sdp::format_fingerprint(&h.victim_fp);
        sdp.replace(&fp, &other).replace(&fp.to_lowercase(), &other)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sdp_with_a_sha_1_fingerprint_is_refused() {
    refused(|_, sdp| sdp.replace("a=fingerprint:sha-256", "a=fingerprint:sha-1")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sdp_with_too_many_candidates_is_refused() {
    refused(|_, sdp| {
        sdp + "a=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n"
            .repeat(100)
            .as_str()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sdp_over_the_limit_is_refused() {
    refused(|_, sdp| sdp + "a=x:0123456789\r\n".repeat(1200).as_str()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_candidates_and_garbage_ones_leave_a_link_that_works() {
    let scene = Scene::new().await;
    let mut hostile = scene.hostile().await;
    let (link, sdp) = hostile.offer().await;
    hostile.say(SealedBody::SdpOffer {
        link: link.id,
        restart: false,
        sdp,
    });
    // Ten times what is taken; the room server lets nobody say much more in a minute.
    let lines = [
        "candidate:1 1 udp 1 127.0.0.1 9 typ host".to_string(),
        "candidate:1 1 udp 99999999999999 127.0.0.1 99999 typ host".into(),
        "candidate:".into(),
        "candidate:1 1 udp 1 ::ffff:0.0.0.0 0 typ relay raddr x rport y".into(),
        "\u{1b}[2J".into(),
        "x".repeat(5000),
    ];
    for n in 0..600 {
        hostile.say(SealedBody::Candidate {
            link: link.id,
            candidate: lines[n % lines.len()].clone(),
            mid: Some("0".into()),
            mline: Some((n % 3) as u16),
        });
        if n % 30 == 29 {
            // A question shows that all of it was read: the room server drops what is not.
            hostile.say(SealedBody::Keep {
                link: LinkId([0; 8]),
            });
            while hostile.hear().await != (SealedBody::Fresh {}) {}
        }
    }
    scene.honest_work().await;
    let _link = hostile.link().await;
    scene.ada.wait_linked(hostile.me).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_megabyte_under_seal_does_not_arrive_and_ends_nothing_of_others() {
    let scene = Scene::new().await;
    let hostile = scene.hostile().await;
    // Ten thousand candidates come to as much.
    let line = "a=candidate:1 1 udp 2130706431 127.0.0.1 5000 typ host generation 0\r\n";
    hostile.say_raw(line.repeat(16_000).into_bytes());
    scene
        .ada
        .wait_person(hostile.me, "the server to part with it", |p| {
            p.presence == kith_api::Presence::Offline
        })
        .await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sdp_that_says_nothing_the_library_knows_gives_no_link() {
    let scene = Scene::new().await;
    let hostile = scene.hostile().await;
    let fp = sdp::format_fingerprint(&hostile.fp);
    let line = format!("a=fingerprint:sha-256 {fp}\r\n");
    let media = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:0\r\n";
    let texts = [
        line.clone(),
        format!("v=0\r\n{line}"),
        format!(
            "v=0\r\no=- 1 1 IN IP4 0\r\ns=-\r\nt=0 0\r\n{line}{}",
            media.repeat(150)
        ),
        format!("v=99999999999999999999\r\n{line}m=audio 99999999999 X\r\n"),
        format!(
            "{line}a=ice-ufrag:{}\r\na=ice-pwd:\r\na=setup:x\r\na=sctp-port:99999\r\n",
            "x".repeat(9000)
        ),
    ];
    for (n, sdp) in (0u8..).zip(texts) {
        let link = LinkId([n + 1; 8]);
        let restart = false;
        hostile.say(SealedBody::SdpOffer { link, restart, sdp });
    }
    scene.wait_refused(hostile.me, Code::NoRoute).await;
    scene.end().await;
}
