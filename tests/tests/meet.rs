//! Two people meet, chat and hand over a file: nodes in one process, everything else real.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test picks the one change it waits for"
)]

use kith_api::{
    Accept, CreateRoom, FetchPhase, Handler as _, JoinRoom, OfferFiles, SendText, ServePhase,
};
use kith_protocol::RoomId;
use kith_tests::{Peer, Server, random_file, sha256};

/// Ada and Bob in a room, linked.
struct Scene {
    server: Server,
    dir: tempfile::TempDir,
    ada: Peer,
    bob: Peer,
    room: RoomId,
}

impl Scene {
    async fn start() -> Scene {
        let server = Server::start().await;
        let dir = tempfile::tempdir().unwrap();
        let ada = Peer::start(&dir.path().join("ada"), "Ada").await;
        let bob = Peer::start(&dir.path().join("bob"), "Bob").await;
        let made = ada
            .node
            .create_room(CreateRoom {
                server: server.url(),
            })
            .await
            .unwrap();
        let room = made.room;
        bob.node
            .join_room(JoinRoom {
                invite: made.invite,
            })
            .await
            .unwrap();
        ada.wait_linked(bob.id()).await;
        bob.wait_linked(ada.id()).await;
        Scene {
            server,
            dir,
            ada,
            bob,
            room,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_meet_chat_and_hand_over_a_file() {
    let Scene {
        server,
        dir,
        ada,
        bob,
        room,
    } = Scene::start().await;
    ada.node
        .send_text(SendText {
            room,
            text: "hello Bob".into(),
        })
        .await
        .unwrap();
    assert_eq!(bob.wait_message(ada.id()).await.text, "hello Bob");
    bob.node
        .send_text(SendText {
            room,
            text: "hello Ada".into(),
        })
        .await
        .unwrap();
    let heard = ada.wait_message(bob.id()).await;
    assert_eq!(
        (heard.text.as_str(), heard.name.as_str()),
        ("hello Ada", "Bob")
    );

    let file = dir.path().join("photo.raw");
    random_file(&file, 10_000_001);
    let offer = OfferFiles {
        room,
        to: vec![],
        paths: vec![file.to_str().unwrap().into()],
        note: Some("look".into()),
        strategy: None,
    };
    let offered = ada.node.offer(offer).await.unwrap();
    let seen = bob
        .wait_offer("an offer", |o| o.phase == FetchPhase::Offered)
        .await;
    assert_eq!(
        (seen.offer, seen.total, seen.entries),
        (offered.offer, 10_000_001, 1)
    );
    let into = dir.path().join("in");
    let accept = Accept {
        room,
        from: ada.id(),
        offer: seen.offer,
        dir: into.to_str().unwrap().into(),
    };
    bob.node.accept(accept).await.unwrap();
    let done = bob
        .wait_offer("the file", |o| o.phase == FetchPhase::Done)
        .await;
    assert_eq!(done.done, 10_000_001);
    assert_eq!(sha256(&into.join("photo.raw")), sha256(&file));
    let served = ada
        .wait_offer("the receipt", |o| {
            o.receivers.iter().any(|r| r.phase == ServePhase::Done)
        })
        .await;
    assert_eq!(served.traffic.sent, 10_000_001);
    assert_eq!(served.traffic.resent, 0);

    bob.node.shutdown().await;
    ada.wait_person(bob.id(), "Bob to leave", |p| {
        p.presence == kith_api::Presence::Offline
    })
    .await;
    ada.node.shutdown().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_more_small_files_than_the_window_has_places_arrives() {
    let Scene {
        server,
        dir,
        ada,
        bob,
        room,
    } = Scene::start().await;
    let folder = dir.path().join("many");
    std::fs::create_dir(&folder).unwrap();
    for n in 0..1500 {
        std::fs::write(
            folder.join(format!("{n}.txt")),
            format!("this is number {n}"),
        )
        .unwrap();
    }
    let paths = vec![folder.to_str().unwrap().into()];
    ada.node
        .offer(OfferFiles {
            room,
            to: vec![],
            paths,
            note: None,
            strategy: None,
        })
        .await
        .unwrap();
    let seen = bob
        .wait_offer("an offer", |o| o.phase == FetchPhase::Offered)
        .await;
    let into = dir.path().join("in");
    let dir = into.to_str().unwrap().into();
    bob.node
        .accept(Accept {
            room,
            from: ada.id(),
            offer: seen.offer,
            dir,
        })
        .await
        .unwrap();
    let ended = |o: &kith_api::OfferView| matches!(o.phase, FetchPhase::Done | FetchPhase::Failed);
    let done = bob.wait_offer("the folder", ended).await;
    assert_eq!(done.phase, FetchPhase::Done, "{done:?}");
    for n in 0..1500 {
        let got = std::fs::read_to_string(into.join(format!("many/{n}.txt"))).unwrap();
        assert_eq!(got, format!("this is number {n}"));
    }
    ada.node.shutdown().await;
    bob.node.shutdown().await;
    server.stop().await;
}
