//! Offers that are not what they say.

use kith_api::{Empty, FetchPhase, Handler as _, OfferAction};
use kith_core::fetch::MAX_KNOWN;
use kith_protocol::peer::{Entry, PeerMessage};
use kith_protocol::{Code, OfferId, limits};
use kith_tests::hostile_peer::{Scene, entry};

const OFFER: OfferId = OfferId([9; 16]);

fn offer(entries: u32, total: u64) -> PeerMessage {
    PeerMessage::Offer {
        offer_id: OFFER,
        name: "x".into(),
        entries,
        total,
        note: None,
    }
}

fn page(first: u32, entries: Vec<Entry>) -> PeerMessage {
    PeerMessage::Entries {
        offer_id: OFFER,
        first,
        entries,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_million_entries_are_refused_when_they_are_announced() {
    let scene = Scene::new().await;
    let mut hostile = scene.hostile().await;
    let link = hostile.link().await;
    link.say(&offer(10_000_000, 1)).await;
    scene.wait_refused(hostile.me, Code::PeerProtocol).await;
    let now = scene.ada.node.snapshot(Empty {}).await.unwrap();
    assert_eq!(now.offers, []);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_total_that_overflows_fails_the_offer() {
    let scene = Scene::new().await;
    let mut hostile = scene.hostile().await;
    let link = hostile.link().await;
    // Wrapped around, the sum would be what was announced.
    let sizes = [limits::MAX_FILE, limits::MAX_FILE, 7];
    let total = sizes.iter().fold(0, |a: u64, b| a.wrapping_add(*b));
    link.say(&offer(3, total)).await;
    link.say(&page(0, sizes.iter().map(|s| entry("x", *s)).collect()))
        .await;
    assert_eq!(
        scene.wait_failed(hostile.me, OFFER).await,
        Code::PeerProtocol
    );
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_total_that_is_not_the_sum_fails_the_offer() {
    let scene = Scene::new().await;
    let mut hostile = scene.hostile().await;
    let link = hostile.link().await;
    link.say(&offer(2, 3)).await;
    link.say(&page(0, vec![entry("a", 1), entry("b", 1_000_000_000)]))
        .await;
    assert_eq!(
        scene.wait_failed(hostile.me, OFFER).await,
        Code::PeerProtocol
    );
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_out_of_order_or_missing_never_make_an_offer_one_could_take() {
    let scene = Scene::new().await;
    let mut hostile = scene.hostile().await;
    let link = hostile.link().await;
    link.say(&offer(4, 4)).await;
    for (first, n) in [
        (2, 2),
        (1, 3),
        (u32::MAX, 2),
        (0, 5),
        (0, 2),
        (0, 2),
        (3, 1),
        (2, 3),
    ] {
        let entries = (0..n).map(|i| entry(&format!("f{first}-{i}"), 1)).collect();
        link.say(&page(first, entries)).await;
    }
    // Another offer behind it shows that all of it was read.
    link.announce(OfferId([1; 16]), "y", &[entry("y", 1)]).await;
    scene
        .wait_offer(hostile.me, OfferId([1; 16]), |o| {
            o.phase == FetchPhase::Offered
        })
        .await;
    let seen = scene.wait_offer(hostile.me, OFFER, |_| true).await;
    assert_eq!((seen.phase, seen.preview.len()), (FetchPhase::Seen, 2));
    assert_eq!(
        seen.can,
        [OfferAction::Decline],
        "it may be refused, not taken"
    );
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_offers_sixty_four_are_kept() {
    let scene = Scene::new().await;
    let mut hostile = scene.hostile().await;
    let mut link = hostile.link().await;
    let id = |n: u32| {
        let mut id = [5; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        OfferId(id)
    };
    let flood = async {
        for n in 0..1000 {
            link.announce(id(n), "spam", &[entry("x", 1)]).await;
        }
    };
    futures::join!(flood, scene.honest_work());
    let mut declined = 0;
    while declined < 1000 - limits::MAX_OFFERS {
        let why = |m: &PeerMessage| match m {
            PeerMessage::Decline { why, .. } => Some(*why),
            _ => None,
        };
        assert_eq!(link.hear("a decline", why).await, Code::TooManyOffers);
        declined += 1;
    }
    // Withdrawing them makes room for others, though not for ever.
    for n in 0..4000 {
        let why = Code::Cancelled;
        link.announce(id(n), "spam", &[entry("x", 1)]).await;
        let offer_id = id(n);
        link.say(&PeerMessage::Gone { offer_id, why }).await;
    }
    scene.honest_work().await;
    let now = scene.ada.node.snapshot(Empty {}).await.unwrap();
    let theirs = now.offers.iter().filter(|o| o.from == hostile.me).count();
    assert!(theirs <= MAX_KNOWN, "{theirs} are remembered");
    scene.end().await;
}
