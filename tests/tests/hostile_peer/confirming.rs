//! Nothing is believed before the other end has confirmed who it is.

use kith_protocol::ids::{Digest, SealTag};
use kith_protocol::peer::PeerMessage;
use kith_protocol::{Code, MsgId};
use kith_tests::hostile_peer::{Hostile, Scene};

async fn refused(first: impl Fn(&Hostile) -> PeerMessage) {
    let scene = Scene::new().await;
    let mut hostile = scene.hostile().await;
    let mut link = hostile.open().await;
    // Then her channels are up, and what comes first is heard.
    let confirmed = |m: &PeerMessage| matches!(m, PeerMessage::Confirm { .. }).then_some(());
    link.hear("Ada's confirmation", confirmed).await;
    link.say(&first(&hostile)).await;
    // What follows, even the right one, comes too late.
    link.say(&hostile.confirm()).await;
    let said = PeerMessage::Chat {
        seq: 1,
        id: MsgId([1; 16]),
        at: 1,
        text: "believe me".into(),
    };
    link.say(&said).await;
    scene.wait_refused(hostile.me, Code::ConfirmMismatch).await;
    let page = kith_api::HistoryPage {
        room: scene.room,
        before: None,
        max: 10,
    };
    let history = kith_api::Handler::history(&scene.ada.node, page)
        .await
        .unwrap();
    assert_eq!(history.messages, [], "nothing of it was stored");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmation_of_another_certificate_of_theirs_is_refused() {
    refused(|h| PeerMessage::Confirm {
        my_fp: Digest([6; 32]),
        your_fp: h.victim_fp,
        session: h.tag,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmation_of_another_certificate_of_ours_is_refused() {
    refused(|h| PeerMessage::Confirm {
        my_fp: h.fp,
        your_fp: h.fp,
        session: h.tag,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmation_of_another_handshake_is_refused() {
    refused(|h| PeerMessage::Confirm {
        my_fp: h.fp,
        your_fp: h.victim_fp,
        session: SealTag([6; 8]),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_before_the_confirmation_is_refused() {
    refused(|_| PeerMessage::Chat {
        seq: 1,
        id: MsgId([2; 16]),
        at: 1,
        text: "too early".into(),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_before_the_confirmation_is_refused() {
    refused(|_| PeerMessage::Offer {
        offer_id: kith_protocol::OfferId([3; 16]),
        name: "x".into(),
        entries: 1,
        total: 1,
        note: None,
    })
    .await;
}
