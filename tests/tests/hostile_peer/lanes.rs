//! Lies on the lane that carries files.

use kith_api::FetchPhase;
use kith_protocol::frame::{Ack, Frame};
use kith_protocol::ids::Digest;
use kith_protocol::peer::PeerMessage;
use kith_protocol::ranges::RangeSet;
use kith_protocol::{Code, OfferId, limits};
use kith_tests::hostile_peer::{Hostile, Link, Scene, chunk, damaged, entry};

const OFFER: OfferId = OfferId([7; 16]);
/// Three chunks, the last of them short.
const SIZE: usize = 2 * limits::CHUNK + 100;

fn content() -> Vec<u8> {
    (0..SIZE).map(|i| (i / 7) as u8).collect()
}

/// A hostile link over which Ada has taken a file of [`SIZE`] bytes.
async fn accepted(scene: &Scene) -> (Hostile, Link, u32) {
    let mut hostile = scene.hostile().await;
    let mut link = hostile.link().await;
    link.announce(OFFER, "f.bin", &[entry("f.bin", SIZE as u64)])
        .await;
    scene.accept(hostile.me, OFFER).await;
    let transfer = link.accepted(OFFER).await;
    (hostile, link, transfer)
}

/// The fetch ends with `corrupt` after three lies, and the liar is told so.
async fn three_strikes(lie: impl Fn(u32) -> bytes::Bytes) {
    let scene = Scene::new().await;
    let (hostile, mut link, transfer) = accepted(&scene).await;
    let honest = scene.honest_work();
    let trick = async {
        for asked in [true, true, false] {
            link.frame(lie(transfer)).await;
            let said = link.hear("an answer", |m| match m {
                PeerMessage::Want {
                    offer_id: OFFER, ..
                } => Some(true),
                PeerMessage::Cancel {
                    offer_id: OFFER,
                    why,
                } => {
                    assert_eq!(*why, Code::Corrupt);
                    Some(false)
                }
                _ => None,
            });
            assert_eq!(said.await, asked, "twice asked again, then the end");
        }
    };
    futures::join!(honest, trick);
    assert_eq!(scene.wait_failed(hostile.me, OFFER).await, Code::Corrupt);
    assert!(!scene.downloaded().contains(&"f.bin".into()));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_bad_checksums_end_a_transfer() {
    three_strikes(|t| damaged(t, 0, 0, &[1; limits::CHUNK])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_beyond_the_end_of_the_file_end_a_transfer() {
    three_strikes(|t| chunk(t, 0, 3, &[1; 100])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_whose_place_overflows_end_a_transfer() {
    three_strikes(|t| chunk(t, 0, u64::MAX, &[1; limits::CHUNK])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_whose_place_in_bytes_overflows_to_zero_end_a_transfer() {
    three_strikes(|t| chunk(t, 0, 1 << 48, &[1; limits::CHUNK])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_overlap_their_neighbours_end_a_transfer() {
    // The last chunk is short: a full one would reach over the end.
    three_strikes(|t| chunk(t, 0, 2, &[1; limits::CHUNK])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_are_too_short_for_their_place_end_a_transfer() {
    three_strikes(|t| chunk(t, 0, 0, &[1; 10])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_of_an_entry_that_is_not_there_end_a_transfer() {
    three_strikes(|t| chunk(t, u32::MAX, 0, &[1; limits::CHUNK])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_and_any_order_do_no_harm() {
    let scene = Scene::new().await;
    let (hostile, link, transfer) = accepted(&scene).await;
    let content = content();
    let parts: Vec<&[u8]> = content.chunks(limits::CHUNK).collect();
    for index in [2, 0, 2, 2, 0, 1, 1, 0] {
        link.frame(chunk(transfer, 0, index as u64, parts[index]))
            .await;
    }
    link.send_file(OFFER, transfer, 0, &content).await;
    let done = scene.wait_offer(hostile.me, OFFER, |o| o.phase == FetchPhase::Done);
    assert_eq!(done.await.done, SIZE as u64, "all of it and no more");
    assert_eq!(
        std::fs::read(scene.downloads().join("f.bin")).unwrap(),
        content
    );
    assert_eq!(scene.downloaded(), ["f.bin"]);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_hash_of_the_whole_file_gives_no_file() {
    let scene = Scene::new().await;
    let (hostile, mut link, transfer) = accepted(&scene).await;
    let lie = async {
        for again in [true, false] {
            for (index, part) in (0u64..).zip(content().chunks(limits::CHUNK)) {
                link.frame(chunk(transfer, 0, index, part)).await;
            }
            let (offer_id, hash) = (OFFER, Digest([1; 32]));
            link.say(&PeerMessage::EntryDone {
                offer_id,
                entry: 0,
                hash,
            })
            .await;
            let answer = link.hear("an answer", |m| match m {
                PeerMessage::Want { .. } => Some(true),
                PeerMessage::Cancel { why, .. } => {
                    assert_eq!(*why, Code::HashMismatch);
                    Some(false)
                }
                _ => None,
            });
            assert_eq!(answer.await, again, "asked again once, then the end");
        }
    };
    futures::join!(lie, scene.honest_work());
    let why = scene.wait_failed(hostile.me, OFFER).await;
    assert_eq!(why, Code::HashMismatch);
    assert!(!scene.downloaded().contains(&"f.bin".into()));
    scene.end().await;
}

/// A frame that is none ends the link with a code; the fetch may go on over the next one.
async fn refused(frame: impl Fn(u32) -> Vec<u8>) {
    let scene = Scene::new().await;
    let (mut hostile, link, transfer) = accepted(&scene).await;
    link.frame(frame(transfer).into()).await;
    scene.wait_refused(hostile.me, Code::PeerProtocol).await;
    scene
        .wait_offer(hostile.me, OFFER, |o| o.phase == FetchPhase::Stalled)
        .await;
    // The same one may mend its ways, over a new link.
    let mut link = hostile.link().await;
    link.announce(OFFER, "f.bin", &[entry("f.bin", SIZE as u64)])
        .await;
    let transfer = link.accepted(OFFER).await;
    link.send_file(OFFER, transfer, 0, &content()).await;
    scene
        .wait_offer(hostile.me, OFFER, |o| o.phase == FetchPhase::Done)
        .await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_of_no_bytes_is_refused() {
    refused(|t| chunk(t, 0, 0, &[]).to_vec()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversize_frame_is_refused() {
    refused(|t| chunk(t, 0, 0, &[1; limits::CHUNK + 1]).to_vec()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_whose_length_lies_is_refused() {
    refused(|t| {
        let mut frame = chunk(t, 0, 0, &[1; 100]).to_vec();
        frame[20..24].copy_from_slice(&u32::MAX.to_le_bytes());
        frame
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ack_whose_ranges_run_backwards_is_refused() {
    refused(|t| {
        let (transfer, ranges) = (t, RangeSet::full(9));
        let ack = Ack {
            transfer,
            entry: 0,
            ranges,
        };
        let mut frame = Frame::Ack(ack).to_bytes().to_vec();
        frame[56] = 10;
        frame
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_of_unknown_transfers_are_dropped() {
    let scene = Scene::new().await;
    let (hostile, link, transfer) = accepted(&scene).await;
    for n in 0..1000u32 {
        let other = transfer.wrapping_add(1 + n % 7 * 1_000_003);
        link.frame(chunk(other, n, u64::from(n), &[1; 1000])).await;
    }
    link.send_file(OFFER, transfer, 0, &content()).await;
    scene
        .wait_offer(hostile.me, OFFER, |o| o.phase == FetchPhase::Done)
        .await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn planted_links_are_never_followed() {
    let scene = Scene::new().await;
    let mut hostile = scene.hostile().await;
    let mut link = hostile.link().await;
    let entries = [
        entry("f.bin", SIZE as u64),
        entry("d/g.bin", SIZE as u64),
        entry("h.bin", SIZE as u64),
    ];
    link.announce(OFFER, "three", &entries).await;
    scene.accept(hostile.me, OFFER).await;
    let transfer = link.accepted(OFFER).await;
    let at = |name: &str| scene.downloads().join(name);
    let outside = scene.path("etc/x");
    // The final name of one is taken by a link; it must neither be followed nor replaced.
    std::os::unix::fs::symlink(&outside, at("f.bin")).unwrap();
    let content = content();
    link.send_file(OFFER, transfer, 0, &content).await;
    let first = |o: &kith_api::OfferView| o.done >= SIZE as u64;
    scene.wait_offer(hostile.me, OFFER, first).await;
    assert_eq!(std::fs::read(at("f (1).bin")).unwrap(), content);
    assert_eq!(std::fs::read_link(at("f.bin")).unwrap(), outside);
    // A whole folder becomes a link to elsewhere.
    std::fs::remove_dir_all(at("d")).unwrap();
    std::os::unix::fs::symlink(scene.path("etc"), at("d")).unwrap();
    link.send_file(OFFER, transfer, 1, &content).await;
    assert_eq!(
        scene.wait_blocked(hostile.me, OFFER).await,
        Code::DiskDenied
    );
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_file_that_becomes_a_link_is_never_written_through() {
    let scene = Scene::new().await;
    let (hostile, link, transfer) = accepted(&scene).await;
    let content = content();
    link.frame(chunk(transfer, 0, 0, &content[..limits::CHUNK]))
        .await;
    scene
        .wait_offer(hostile.me, OFFER, |o| o.done >= limits::CHUNK as u64)
        .await;
    let part = scene.downloaded().pop().unwrap();
    let part = scene.downloads().join(part);
    std::fs::remove_file(&part).unwrap();
    std::os::unix::fs::symlink(scene.path("etc/x"), &part).unwrap();
    link.send_file(OFFER, transfer, 0, &content).await;
    let ended = |o: &kith_api::OfferView| matches!(o.phase, FetchPhase::Done | FetchPhase::Blocked);
    let end = scene.wait_offer(hostile.me, OFFER, ended).await;
    assert_eq!(end.phase, FetchPhase::Blocked, "{end:?}");
    assert_eq!(std::fs::read_link(&part).unwrap(), scene.path("etc/x"));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_file_that_is_removed_is_noticed_though_nothing_more_comes() {
    let scene = Scene::new().await;
    let (hostile, link, transfer) = accepted(&scene).await;
    let content = content();
    let send = async |n: usize| {
        let of = n * limits::CHUNK..(n + 1) * limits::CHUNK;
        link.frame(chunk(transfer, 0, n as u64, &content[of])).await;
    };
    send(0).await;
    let durable = |o: &kith_api::OfferView| o.done >= limits::CHUNK as u64;
    scene.wait_offer(hostile.me, OFFER, durable).await;
    let part = scene.downloaded().pop().unwrap();
    std::fs::remove_file(scene.downloads().join(part)).unwrap();
    // A sender whose window is full would wait for this one to be durable.
    send(1).await;
    assert_eq!(scene.wait_blocked(hostile.me, OFFER).await, Code::DiskGone);
    scene.end().await;
}
