//! Who offered has left; whoever has the files passes them on.

use std::time::SystemTime;

use kith_api::FetchPhase;
use kith_protocol::OfferId;
use kith_tests::{Peer, random_file, sha256};

use super::{MB, Scene, accept_at, done, into};

/// Bob has everything of what Ada offered, and Ada is gone.
async fn scene(path: impl AsRef<std::path::Path>) -> (Scene, OfferId) {
    let scene = Scene::start(&["bob"]).await;
    let path = scene.dir.path().join(path);
    if path.extension().is_some() {
        random_file(&path, 24 * MB);
    } else {
        std::fs::create_dir_all(path.join("empty")).unwrap();
        for n in 0..200u64 {
            random_file(&path.join(format!("{n}.txt")), n * 1_000);
        }
    }
    let offer = scene.offer(&path, None).await;
    scene.accept(&scene.others[0], offer).await;
    done(&scene.others[0]).await;
    // Her word comes with the receipt.
    let known = |o: &kith_api::OfferView| {
        o.receivers
            .iter()
            .any(|r| r.phase == kith_api::ServePhase::Done)
    };
    scene.ada.wait_offer("the receipt", known).await;
    scene.ada.node.shutdown().await;
    gone(&scene.others[0], &scene.ada).await;
    (scene, offer)
}

async fn gone(peer: &Peer, other: &Peer) {
    let unlinked = |p: &kith_api::PersonView| p.link == kith_api::LinkPhase::Disconnected;
    peer.wait_person(other.id(), "gone", unlinked).await;
}

impl Scene {
    /// Somebody comes late, and takes the offer from those who are there.
    async fn late(&self, name: &str, offer: OfferId) -> Peer {
        let peer = self.join_with(name, self.others.iter()).await;
        let passed = |o: &kith_api::OfferView| o.offer == offer && o.phase == FetchPhase::Offered;
        let view = peer.wait_offer("it is passed on", passed).await;
        assert_eq!(
            (view.from, view.by),
            (self.ada.id(), Some(self.others[0].id()))
        );
        accept_at(&peer, self.room, self.ada.id(), offer).await;
        peer
    }

    async fn end(self, late: Peer) {
        late.node.shutdown().await;
        for peer in &self.others {
            peer.node.shutdown().await;
        }
        self.server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_late_gets_folders_and_all_from_whoever_has_them() {
    let (scene, offer) = scene("many").await;
    let cy = scene.late("cy", offer).await;
    done(&cy).await;
    let (from, to) = (scene.dir.path().join("many"), into(&cy).join("many"));
    for n in 0..200 {
        let name = format!("{n}.txt");
        let got = std::fs::read(to.join(&name)).unwrap();
        assert!(got == std::fs::read(from.join(&name)).unwrap(), "{name}");
        let time = |p: &std::path::Path| p.metadata().unwrap().modified().unwrap();
        assert_eq!(time(&to.join(&name)), time(&from.join(&name)));
    }
    assert!(to.join("empty").is_dir());
    let whom = |o: &kith_api::OfferView| {
        let of = o.receivers.iter().find(|r| r.peer == cy.id());
        of.is_some_and(|r| r.phase == kith_api::ServePhase::Done)
    };
    let view = scene.others[0].wait_offer("Bob sees to whom", whom).await;
    assert!(!view.mine && view.from == scene.ada.id());
    scene.end(cy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_goes_from_hand_to_hand_without_its_sender() {
    let (mut scene, offer) = scene("film.bin").await;
    let cy = scene.late("cy", offer).await;
    done(&cy).await;
    let bob = std::mem::replace(&mut scene.others[0], cy);
    bob.node.shutdown().await;
    gone(&scene.others[0], &bob).await;
    let dee = scene.late("dee", offer).await;
    done(&dee).await;
    let film = |dir: &std::path::Path| sha256(&dir.join("film.bin"));
    assert_eq!(film(&into(&dee)), film(scene.dir.path()));
    scene.end(dee).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_what_was_offered_is_passed_on_to_nobody() {
    let (scene, offer) = scene("film.bin").await;
    // Same size, same time, another byte: only its hash tells.
    let held = into(&scene.others[0]).join("film.bin");
    let time: SystemTime = held.metadata().unwrap().modified().unwrap();
    let mut bytes = std::fs::read(&held).unwrap();
    bytes[5_000_000] ^= 1;
    std::fs::write(&held, bytes).unwrap();
    std::fs::File::options()
        .write(true)
        .open(&held)
        .unwrap()
        .set_modified(time)
        .unwrap();
    let cy = scene.late("cy", offer).await;
    let left = |o: &kith_api::OfferView| o.phase == FetchPhase::Stalled && o.by.is_none();
    let view = cy.wait_offer("nobody has it", left).await;
    assert_eq!(view.done, 0);
    assert!(!into(&cy).join("film.bin").exists());
    scene.end(cy).await;
}
