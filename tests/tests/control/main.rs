//! Transfers held back, bounded and taken up again: real nodes, links and disks.

#![allow(clippy::unwrap_used, reason = "all of it is a test")]

mod disks;
mod pair;

use kith_api::{
    AcceptPolicy, Empty, FetchPhase, Handler as _, OfferFiles, OfferView, TransferSettings,
};
use kith_tests::{random_file, sha256};

use pair::{Pair, SIZE, restart};

fn is_paused(here: bool) -> impl Fn(&OfferView) -> bool {
    move |o| o.phase == FetchPhase::Paused && o.paused.here == here
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receivers_pause_outlives_its_restart() {
    let mut pair = Pair::start().await;
    pair.accept().await;
    pair.bob.node.pause(pair.transfer()).await.unwrap();
    pair.bob.wait_offer("the pause", is_paused(true)).await;
    let there = |o: &OfferView| o.receivers.iter().any(|r| r.paused.there);
    pair.ada.wait_offer("the sender to see it", there).await;
    pair.bob = restart(pair.bob, "Bob").await;
    let paused = pair
        .bob
        .wait_offer("the pause again", is_paused(true))
        .await;
    assert!(paused.done > 0, "what came is there: {paused:?}");
    pair.bob.wait_linked(pair.ada.id()).await;
    pair.ada
        .wait_offer("the sender to see it again", there)
        .await;
    pair.unbounded().await;
    pair.bob.node.resume(pair.transfer()).await.unwrap();
    pair.whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_senders_pause_and_its_offer_outlive_its_restart() {
    let mut pair = Pair::start().await;
    pair.accept().await;
    pair.ada.node.pause(pair.transfer()).await.unwrap();
    pair.bob.wait_offer("the pause", is_paused(false)).await;
    pair.ada = restart(pair.ada, "Ada").await;
    let stands = |o: &OfferView| o.mine && o.paused.here;
    pair.ada.wait_offer("the offer again", stands).await;
    let gone = |o: &OfferView| o.phase == FetchPhase::Paused && o.paused.there;
    pair.bob.wait_linked(pair.ada.id()).await;
    pair.bob.wait_offer("the pause again", gone).await;
    pair.unbounded().await;
    pair.ada.node.resume(pair.transfer()).await.unwrap();
    pair.whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_whose_file_changed_does_not_stand_again() {
    let mut pair = Pair::start().await;
    std::fs::write(pair.dir.path().join("film.bin"), "another film").unwrap();
    pair.ada = restart(pair.ada, "Ada").await;
    let withdrawn = |o: &OfferView| o.mine && o.phase == FetchPhase::Withdrawn;
    let shown = pair.ada.wait_offer("the word of it", withdrawn).await;
    assert_eq!(shown.why, Some(kith_protocol::Code::SourceChanged));
    pair.ada = restart(pair.ada, "Ada").await;
    let now = pair.ada.node.snapshot(Empty {}).await.unwrap();
    assert!(now.offers.is_empty(), "it is said once: {now:?}");
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_named_person_offers_is_taken_without_asking() {
    let pair = Pair::start().await;
    let settings = TransferSettings {
        accept: AcceptPolicy {
            from: vec![pair.ada.id()],
            most: Some(SIZE),
            kinds: vec!["bin".into()],
            dir: pair.target.to_str().unwrap().into(),
        },
        ..TransferSettings::default()
    };
    // Nobody is taken by surprise: what was there before is asked about.
    let offered = |o: &OfferView| o.phase == FetchPhase::Offered;
    pair.bob.wait_offer("an offer", offered).await;
    pair.bob.node.set_transfers(settings.clone()).await.unwrap();
    let other = pair.dir.path().join("other.bin");
    random_file(&other, 1_000_000);
    let offer = OfferFiles {
        room: pair.room,
        to: vec![],
        paths: vec![other.to_str().unwrap().into()],
        note: None,
        strategy: None,
    };
    pair.ada.node.offer(offer).await.unwrap();
    let done = |o: &OfferView| o.phase == FetchPhase::Done && o.name == "other.bin";
    pair.bob.wait_offer("the other file", done).await;
    assert_eq!(sha256(&pair.target.join("other.bin")), sha256(&other));
    let bob = restart(pair.bob, "Bob").await;
    let kept = bob.node.snapshot(Empty {}).await.unwrap().transfers;
    assert_eq!(kept, settings);
    pair.ada.node.shutdown().await;
    bob.node.shutdown().await;
    pair.server.stop().await;
}
