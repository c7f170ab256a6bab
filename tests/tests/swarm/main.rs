//! One offers, several fetch, and help each other: nodes in one process, everything else real.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test picks the one change it waits for"
)]

mod passing;

use std::path::{Path, PathBuf};

use kith_api::{
    Accept, CreateRoom, FetchPhase, Handler as _, JoinRoom, OfferFiles, OfferView, ServePhase,
    Strategy,
};
use kith_protocol::{OfferId, PeerId, RoomId};
use kith_tests::{Peer, Server, random_file, sha256};

const MB: u64 = 1_000_000;

/// Ada, who offers, and others in her room, all linked with each other.
struct Scene {
    server: Server,
    dir: tempfile::TempDir,
    ada: Peer,
    others: Vec<Peer>,
    room: RoomId,
    invite: String,
}

impl Scene {
    async fn start(names: &[&str]) -> Scene {
        let server = Server::start().await;
        let dir = tempfile::tempdir().unwrap();
        let ada = Peer::start(&dir.path().join("ada"), "Ada").await;
        let url = server.url();
        let made = ada.node.create_room(CreateRoom { server: url }).await;
        let made = made.unwrap();
        let mut scene = Scene {
            server,
            dir,
            ada,
            others: Vec::new(),
            room: made.room,
            invite: made.invite,
        };
        for name in names {
            let peer = scene.join(name).await;
            scene.others.push(peer);
        }
        scene
    }

    /// Somebody comes in and is linked with everybody there.
    async fn join(&self, name: &str) -> Peer {
        self.join_with(name, self.others.iter().chain([&self.ada]))
            .await
    }

    /// Somebody comes in and is linked with these.
    async fn join_with(&self, name: &str, there: impl Iterator<Item = &Peer>) -> Peer {
        let peer = Peer::start(&self.dir.path().join(name), name).await;
        let invite = self.invite.clone();
        peer.node.join_room(JoinRoom { invite }).await.unwrap();
        for other in there {
            peer.wait_linked(other.id()).await;
            other.wait_linked(peer.id()).await;
        }
        peer
    }

    async fn offer(&self, path: &Path, strategy: Option<Strategy>) -> OfferId {
        let offer = OfferFiles {
            room: self.room,
            to: vec![],
            paths: vec![path.to_str().unwrap().into()],
            note: None,
            strategy,
        };
        self.ada.node.offer(offer).await.unwrap().offer
    }

    async fn accept(&self, peer: &Peer, offer: OfferId) {
        peer.wait_offer("an offer", |o| can_accept(o, offer)).await;
        accept_at(peer, self.room, self.ada.id(), offer).await;
    }

    async fn stop(self) {
        for peer in self.others.iter().chain([&self.ada]) {
            peer.node.shutdown().await;
        }
        self.server.stop().await;
    }
}

fn can_accept(o: &OfferView, offer: OfferId) -> bool {
    o.offer == offer && o.can.contains(&kith_api::OfferAction::Accept)
}

async fn accept_at(peer: &Peer, room: RoomId, from: PeerId, offer: OfferId) {
    let accept = Accept {
        room,
        from,
        offer,
        dir: into(peer).to_str().unwrap().into(),
    };
    peer.node.accept(accept).await.unwrap();
}

fn into(peer: &Peer) -> PathBuf {
    peer.home.with_extension("in")
}

async fn done(peer: &Peer) -> OfferView {
    let over = |o: &OfferView| matches!(o.phase, FetchPhase::Done | FetchPhase::Failed);
    let view = peer.wait_offer("the end", over).await;
    assert_eq!(view.phase, FetchPhase::Done, "{view:?}");
    view
}

#[tokio::test(flavor = "multi_thread")]
async fn four_receivers_cost_the_sender_little_more_than_one() {
    let scene = Scene::start(&["bob", "cy", "dee", "eve"]).await;
    let size = 40 * MB;
    let file = scene.dir.path().join("film");
    random_file(&file, size);
    // As many receivers and bytes as it takes for a swarm to be chosen.
    let offer = scene.offer(&file, None).await;
    for peer in &scene.others {
        scene.accept(peer, offer).await;
    }
    let mut others = 0;
    for peer in &scene.others {
        let view = done(peer).await;
        assert_eq!(sha256(&into(peer).join("film")), sha256(&file));
        others += view.traffic.sent;
    }
    let all = |o: &OfferView| {
        let done = o.receivers.iter().filter(|r| r.phase == ServePhase::Done);
        done.count() == 4
    };
    let view = scene.ada.wait_offer("the receipts", all).await;
    assert_eq!(view.strategy, Some(Strategy::Swarm));
    let sent = view.traffic.sent;
    println!(
        "sent {:.2} of the file, the others {:.2}",
        sent as f64 / size as f64,
        others as f64 / size as f64
    );
    assert!(sent <= size * 13 / 10, "{sent} of {size}");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_of_small_files_go_from_hand_to_hand_too() {
    let scene = Scene::start(&["bob", "cy", "dee"]).await;
    let folder = scene.dir.path().join("many");
    std::fs::create_dir_all(folder.join("empty")).unwrap();
    for n in 0..400u64 {
        random_file(&folder.join(format!("{n}.txt")), n * 200);
    }
    let offer = scene.offer(&folder, Some(Strategy::Swarm)).await;
    for peer in &scene.others {
        scene.accept(peer, offer).await;
    }
    for peer in &scene.others {
        done(peer).await;
        for n in 0..400 {
            let name = format!("many/{n}.txt");
            let got = std::fs::read(into(peer).join(&name)).unwrap();
            assert!(got == std::fs::read(folder.join(format!("{n}.txt"))).unwrap());
        }
        assert!(into(peer).join("many/empty").is_dir());
    }
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_half_way_and_comes_back_gets_the_rest() {
    let mut scene = Scene::start(&["bob", "cy", "dee"]).await;
    let file = scene.dir.path().join("film");
    random_file(&file, 48 * MB);
    let offer = scene.offer(&file, Some(Strategy::Swarm)).await;
    for peer in &scene.others {
        scene.accept(peer, offer).await;
    }
    let dee = scene.others.pop().unwrap();
    let some = |o: &OfferView| o.done > 8 * MB;
    dee.wait_offer("some of it", some).await;
    dee.node.shutdown().await;
    drop(dee);
    for peer in &scene.others {
        done(peer).await;
        assert_eq!(sha256(&into(peer).join("film")), sha256(&file));
    }
    let dee = scene.join("dee").await;
    scene.accept(&dee, offer).await;
    let view = done(&dee).await;
    assert_eq!(sha256(&into(&dee).join("film")), sha256(&file));
    assert!(view.traffic.resumed > 0, "{view:?}");
    dee.node.shutdown().await;
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_after_the_other_each_is_served_alone() {
    let scene = Scene::start(&["bob", "cy"]).await;
    let file = scene.dir.path().join("film");
    random_file(&file, 8 * MB);
    let offer = scene.offer(&file, Some(Strategy::Sequential)).await;
    for peer in &scene.others {
        scene.accept(peer, offer).await;
    }
    let mut served = Vec::new();
    loop {
        let view = scene.ada.wait("a change", |c| match c {
            kith_api::Change::Offer(o) => Some(o.clone()),
            _ => None,
        });
        let view = view.await;
        let of = |phase| view.receivers.iter().filter(move |r| r.phase == phase);
        assert!(of(ServePhase::Serving).count() <= 1, "{view:?}");
        served.extend(of(ServePhase::Waiting).map(|r| r.peer));
        if of(ServePhase::Done).count() == 2 {
            break;
        }
    }
    assert!(!served.is_empty(), "nobody had to wait");
    for peer in &scene.others {
        done(peer).await;
        assert_eq!(sha256(&into(peer).join("film")), sha256(&file));
    }
    scene.stop().await;
}
