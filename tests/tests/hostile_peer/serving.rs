//! Lies of somebody we send to.

use kith_api::{Handler as _, OfferFiles, OfferView, ServePhase};
use kith_protocol::frame::{Ack, Frame};
use kith_protocol::peer::PeerMessage;
use kith_protocol::ranges::RangeSet;
use kith_protocol::{Code, OfferId};
use kith_tests::hostile_peer::{Hostile, Link, Scene};
use kith_tests::random_file;

const SIZE: u64 = 3_000_000;

/// Ada offers a file, and the hostile one has seen it.
async fn offered(scene: &Scene) -> (Hostile, Link, OfferId) {
    random_file(&scene.path("homes/ada.bin"), SIZE);
    let offer = OfferFiles {
        room: scene.room,
        to: vec![],
        paths: vec![scene.path("homes/ada.bin").to_str().unwrap().into()],
        note: None,
        strategy: None,
    };
    let offer = scene.ada.node.offer(offer).await.unwrap().offer;
    let mut hostile = scene.hostile().await;
    let mut link = hostile.link().await;
    let seen = |m: &PeerMessage| matches!(m, PeerMessage::Entries { .. }).then_some(());
    link.hear("the manifest", seen).await;
    (hostile, link, offer)
}

fn receiver(offer: &OfferView, hostile: &Hostile) -> (ServePhase, u64, Option<Code>) {
    let r = offer.receivers.iter().find(|r| r.peer == hostile.me);
    let r = r.expect("the hostile one is among the receivers");
    (r.phase, r.done, r.why)
}

fn ack(transfer: u32, entry: u32, ranges: RangeSet) -> bytes::Bytes {
    Frame::Ack(Ack {
        transfer,
        entry,
        ranges,
    })
    .to_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn acks_of_what_was_never_sent_are_not_believed() {
    let scene = Scene::new().await;
    let (hostile, mut link, offer_id) = offered(&scene).await;
    let huge = || RangeSet::full(u64::MAX);
    // Before anything was accepted, of other transfers, of other entries, of all there is.
    for transfer in 0..50 {
        link.frame(ack(transfer, 0, huge())).await;
        link.frame(ack(transfer, u32::MAX, huge())).await;
    }
    link.say(&PeerMessage::Accept {
        offer_id,
        transfer: 5,
    })
    .await;
    let mut early = RangeSet::new();
    early.insert(40, 46);
    for _ in 0..100 {
        link.frame(ack(5, 0, huge())).await;
        link.frame(ack(5, 7, early.clone())).await;
    }
    let read = |m: &PeerMessage| matches!(m, PeerMessage::EntryDone { .. }).then_some(());
    link.hear("the end of the file", read).await;
    let now = scene.ada.wait_offer("the serve", |o| {
        o.offer == offer_id && receiver(o, &hostile).0 == ServePhase::Serving
    });
    assert_eq!(
        receiver(&now.await, &hostile).1,
        0,
        "nothing counts as received"
    );
    // What was sent may be acknowledged, also twice, and then counts once.
    link.frame(ack(5, 0, RangeSet::full(SIZE.div_ceil(65_536))))
        .await;
    link.frame(ack(5, 0, RangeSet::full(SIZE.div_ceil(65_536))))
        .await;
    let all = scene.ada.wait_offer("all of it", |o| {
        o.offer == offer_id && receiver(o, &hostile).1 > 0
    });
    assert_eq!(receiver(&all.await, &hostile).1, SIZE);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ever_new_transfer_numbers_start_a_bounded_number_of_serves() {
    let scene = Scene::new().await;
    let (hostile, link, offer_id) = offered(&scene).await;
    let mut link = link;
    let flood = async {
        for n in 0..3000u32 {
            // The same number again, too: two serves must not share a window.
            let transfer = n / 2;
            link.say(&PeerMessage::Accept { offer_id, transfer }).await;
        }
        let why = |m: &PeerMessage| match m {
            PeerMessage::Gone { why, .. } => Some(*why),
            _ => None,
        };
        assert_eq!(link.hear("a refusal", why).await, Code::RateLimited);
    };
    futures::join!(flood, scene.honest_work());
    let failed = scene.ada.wait_offer("the end of the serve", |o| {
        o.offer == offer_id && receiver(o, &hostile).0 == ServePhase::Failed
    });
    assert_eq!(receiver(&failed.await, &hostile).2, Some(Code::RateLimited));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_about_what_is_not_there_are_not_answered() {
    let scene = Scene::new().await;
    let (_hostile, link, offer_id) = offered(&scene).await;
    let strange = OfferId([0xee; 16]);
    let ranges = RangeSet::full(u64::MAX);
    let why = Code::Cancelled;
    for n in 0..500u32 {
        for offer_id in [offer_id, strange] {
            let (first, entry) = (n * 8_589_934, n);
            link.say(&PeerMessage::Browse { offer_id, first }).await;
            let ranges = ranges.clone();
            link.say(&PeerMessage::Want {
                offer_id,
                entry,
                ranges: ranges.clone(),
            })
            .await;
            link.say(&PeerMessage::Have {
                offer_id,
                transfer: n,
                entry,
                ranges: ranges.clone(),
            })
            .await;
            link.say(&PeerMessage::Verified {
                offer_id,
                transfer: n,
                entries: ranges,
            })
            .await;
        }
        link.say(&PeerMessage::Decline {
            offer_id: strange,
            why,
        })
        .await;
        link.say(&PeerMessage::OfferDone { offer_id: strange })
            .await;
    }
    scene.end().await;
}
