//! What is no message at all.

use bytes::Bytes;
use kith_protocol::{Code, limits};
use kith_tests::hostile_peer::Scene;

/// It ends the link with a code.
async fn refused(bytes: impl Into<Bytes>) {
    let scene = Scene::new().await;
    let mut hostile = scene.hostile().await;
    let link = hostile.link().await;
    scene.ada.wait_linked(hostile.me).await;
    link.say_bytes(bytes.into()).await;
    scene.wait_refused(hostile.me, Code::PeerProtocol).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_refused() {
    refused(vec![0xff, 0, 1, 2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_message_is_refused() {
    refused(r#"{"type":"chat","seq":1,"id":"#).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_the_limit_is_refused() {
    let text = "x".repeat(limits::MAX_PEER_MESSAGE);
    refused(format!(r#"{{"type":"bye","x":"{text}"}}"#)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deep_nesting_is_refused() {
    refused(format!(
        r#"{{"type":"x","y":{}1{}}}"#,
        "[".repeat(30_000),
        "]".repeat(30_000)
    ))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_over_the_limit_is_refused() {
    let text = "x".repeat(limits::MAX_TEXT + 1);
    let id = "BAQEBAQEBAQEBAQEBAQEBA";
    refused(format!(
        r#"{{"type":"chat","seq":1,"id":"{id}","at":1,"text":"{text}"}}"#
    ))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_without_end_are_refused() {
    let ranges: Vec<[u32; 2]> = (0..2000).map(|n| [3 * n, 3 * n + 1]).collect();
    let ranges = serde_json::to_string(&ranges).unwrap();
    let id = "BAQEBAQEBAQEBAQEBAQEBA";
    refused(format!(
        r#"{{"type":"want","offer_id":"{id}","entry":0,"ranges":{ranges}}}"#
    ))
    .await;
}
