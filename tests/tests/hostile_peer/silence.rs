//! Somebody who stops.

use kith_api::{FetchPhase, LinkPhase};
use kith_protocol::{Code, OfferId, limits};
use kith_tests::hostile_peer::{Hostile, Link, Scene, chunk, entry};

const OFFER: OfferId = OfferId([4; 16]);

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_stops_in_the_middle_is_shown_as_gone() {
    let scene = Scene::new().await;
    let mut hostile = scene.hostile().await;
    let _link = half_way(&scene, &mut hostile).await;
    let some = |o: &kith_api::OfferView| o.done == limits::CHUNK as u64;
    scene.wait_offer(hostile.me, OFFER, some).await;
    // The connection stays up, as far as ICE can tell; nothing more comes over it.
    scene
        .ada
        .wait_person(hostile.me, "the silence to be seen", |p| {
            p.link == LinkPhase::Reconnecting
        })
        .await;
    scene.honest_work().await;
    scene.wait_refused(hostile.me, Code::LinkLost).await;
    scene
        .wait_offer(hostile.me, OFFER, |o| o.phase == FetchPhase::Stalled)
        .await;
    assert!(!scene.downloaded().contains(&"half".into()));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_whose_process_ends_in_the_middle_stalls_only_his_own_transfer() {
    let scene = Scene::new().await;
    let mut hostile = scene.hostile().await;
    let link = half_way(&scene, &mut hostile).await;
    link.connection.close().await;
    drop(link);
    scene
        .wait_offer(hostile.me, OFFER, |o| o.phase == FetchPhase::Stalled)
        .await;
    scene.end().await;
}

/// An offer that was taken, and the first of its chunks.
async fn half_way(scene: &Scene, hostile: &mut Hostile) -> Link {
    let mut link = hostile.link().await;
    link.announce(OFFER, "half", &[entry("half", 1_000_000)])
        .await;
    scene.accept(hostile.me, OFFER).await;
    let transfer = link.accepted(OFFER).await;
    link.frame(chunk(transfer, 0, 0, &[1; limits::CHUNK])).await;
    link
}
