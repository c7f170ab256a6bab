//! Strands that break the rule, and such as keep it.

use bytes::Bytes;
use kith_api::FetchPhase;
use kith_protocol::ids::Digest;
use kith_protocol::peer::{PeerMessage, StrandStep};
use kith_protocol::{Code, OfferId, limits, sdp};
use kith_tests::hostile_peer::{Hostile, Link, Scene, chunk, entry, root};

const OFFER: OfferId = OfferId([7; 16]);
const CHUNKS: usize = 40;

fn content() -> Vec<u8> {
    (0..CHUNKS * limits::CHUNK).map(|i| (i / 7) as u8).collect()
}

/// A hostile link over which Ada has taken a file of so many bytes.
async fn accepted(scene: &Scene, size: u64) -> (Hostile, Link, u32) {
    let mut hostile = scene.hostile().await;
    let mut link = hostile.link().await;
    link.announce(OFFER, "f.bin", &[entry("f.bin", size)]).await;
    scene.accept(hostile.me, OFFER).await;
    let transfer = link.accepted(OFFER).await;
    (hostile, link, transfer)
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_come_over_strands_in_any_order_make_the_file() {
    let scene = Scene::new().await;
    let content = content();
    let (hostile, mut link, transfer) = accepted(&scene, content.len() as u64).await;
    let strands = [
        link.open_strand(&hostile, 0).await,
        link.open_strand(&hostile, 1).await,
    ];
    // The hash of all first, the last chunks next, each on another way.
    let hash = root(&content);
    link.say(&PeerMessage::EntryDone {
        offer_id: OFFER,
        entry: 0,
        hash,
    })
    .await;
    for (index, payload) in content.chunks(limits::CHUNK).enumerate().rev() {
        let index = index as u64;
        let frame = chunk(transfer, 0, index, payload);
        match index % 3 {
            0 => link.frame(frame).await,
            n => strands[n as usize - 1].frame(frame).await,
        }
    }
    scene
        .wait_offer(hostile.me, OFFER, |o| o.phase == FetchPhase::Done)
        .await;
    let got = std::fs::read(scene.downloads().join("f.bin")).unwrap();
    assert!(got == content, "what arrived is not what was sent");
    scene.end().await;
}

/// Ends the link with this code.
async fn refused(code: Code, trick: impl AsyncFn(&Hostile, &mut Link)) {
    let scene = Scene::new().await;
    let mut hostile = scene.hostile().await;
    let mut link = hostile.link().await;
    scene.ada.wait_linked(hostile.me).await;
    trick(&hostile, &mut link).await;
    scene.wait_refused(hostile.me, code).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strand_to_somebody_else_is_refused() {
    refused(Code::BadSdp, async |hostile, link| {
        let (_strand, sdp) = hostile.offer_strand(0).await;
        let fp = sdp::format_fingerprint(&hostile.fp);
        let other = sdp::format_fingerprint(&Digest([9; 32]));
        let sdp = sdp.replace(&fp, &other).replace(&fp.to_lowercase(), &other);
        link.say_of(0, StrandStep::Offer { sdp }).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strands_beyond_the_limit_are_refused() {
    refused(Code::PeerProtocol, async |hostile, link| {
        let (_strand, sdp) = hostile.offer_strand(0).await;
        for n in 0..=limits::MAX_STRANDS {
            let sdp = sdp.clone();
            link.say_of(n, StrandStep::Offer { sdp }).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_on_a_strand_is_refused() {
    refused(Code::PeerProtocol, async |hostile, link| {
        let strand = link.open_strand(hostile, 0).await;
        let message = PeerMessage::ChatSync { have: 0 }.to_bytes();
        let _ = strand.connection.send_message(message).await;
        // Until it is read.
        strand.connection.flush_messages().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_is_none_on_a_strand_is_refused() {
    refused(Code::PeerProtocol, async |hostile, link| {
        let strand = link.open_strand(hostile, 0).await;
        strand.frame(Bytes::from_static(b"\x01")).await;
        while strand.connection.files().queued_bytes().await.unwrap_or(0) > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strand_that_ends_leaves_the_link_to_who_receives() {
    let scene = Scene::new().await;
    let content = content();
    let (hostile, mut link, transfer) = accepted(&scene, content.len() as u64).await;
    let strand = link.open_strand(&hostile, 0).await;
    strand
        .frame(chunk(transfer, 0, 0, &content[..limits::CHUNK]))
        .await;
    scene.wait_offer(hostile.me, OFFER, |o| o.done > 0).await;
    strand.connection.close().await;
    link.send_file(OFFER, transfer, 0, &content).await;
    scene
        .wait_offer(hostile.me, OFFER, |o| o.phase == FetchPhase::Done)
        .await;
    scene.end().await;
}
