//! Transfers held back, bounded and taken up again: real nodes, links and disks.

#![allow(clippy::unwrap_used, reason = "all of it is a test")]

use std::path::Path;

use kith_api::{
    Accept, AcceptPolicy, CreateRoom, Empty, FetchPhase, Handler as _, JoinRoom, Limit, OfferFiles,
    OfferView, ServePhase, TransferRef, TransferSettings,
};
use kith_protocol::{OfferId, RoomId};
use kith_tests::{Peer, Server, random_file, sha256};

const SIZE: u64 = 60_000_000;

/// Ada offers a file to Bob; both are as the window runs them.
struct Pair {
    server: Server,
    dir: tempfile::TempDir,
    ada: Peer,
    bob: Peer,
    room: RoomId,
    offer: OfferId,
}

impl Pair {
    async fn start() -> Pair {
        let server = Server::start().await;
        let dir = tempfile::tempdir().unwrap();
        let ada = Peer::start_again(&dir.path().join("ada"), "Ada").await;
        let bob = Peer::start_again(&dir.path().join("bob"), "Bob").await;
        let server_url = server.url();
        let made = ada
            .node
            .create_room(CreateRoom { server: server_url })
            .await
            .unwrap();
        let (room, invite) = (made.room, made.invite);
        bob.node.join_room(JoinRoom { invite }).await.unwrap();
        let file = dir.path().join("film.bin");
        random_file(&file, SIZE);
        let offer = OfferFiles {
            room,
            to: vec![],
            paths: vec![file.to_str().unwrap().into()],
            note: None,
            strategy: None,
        };
        let offer = ada.node.offer(offer).await.unwrap().offer;
        Pair {
            server,
            dir,
            ada,
            bob,
            room,
            offer,
        }
    }

    /// Bob takes it, slowly enough to be held on the way.
    async fn accept(&self) {
        let offered = |o: &OfferView| o.phase == FetchPhase::Offered;
        self.bob.wait_offer("an offer", offered).await;
        let dir = self.target().to_str().unwrap().into();
        let (room, from, offer) = (self.room, self.ada.id(), self.offer);
        let accept = Accept {
            room,
            from,
            offer,
            dir,
        };
        self.bob.node.accept(accept).await.unwrap();
        let limit = Limit {
            room,
            from,
            offer,
            bytes_per_s: Some(8_000_000),
        };
        self.bob.node.limit(limit).await.unwrap();
        let flows = |o: &OfferView| o.done > 0 && o.phase == FetchPhase::Fetching;
        self.bob.wait_offer("the first bytes", flows).await;
    }

    fn target(&self) -> std::path::PathBuf {
        self.dir.path().join("in")
    }

    fn transfer(&self) -> TransferRef {
        TransferRef {
            room: self.room,
            from: self.ada.id(),
            offer: self.offer,
            peer: None,
        }
    }

    async fn unbounded(&self) {
        let limit = Limit {
            room: self.room,
            from: self.ada.id(),
            offer: self.offer,
            bytes_per_s: None,
        };
        self.bob.node.limit(limit).await.unwrap();
    }

    async fn whole(self) {
        let done = |o: &OfferView| o.phase == FetchPhase::Done;
        let done = self.bob.wait_offer("the file", done).await;
        assert_eq!(
            done.traffic.received_durable, 0,
            "nothing durable came again"
        );
        let names: Vec<_> = std::fs::read_dir(self.target())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(names, ["film.bin"], "and nothing is left over");
        let file = self.dir.path().join("film.bin");
        assert_eq!(sha256(&self.target().join("film.bin")), sha256(&file));
        let knows = |o: &OfferView| o.receivers.iter().any(|r| r.phase == ServePhase::Done);
        let served = self.ada.wait_offer("the receipt", knows).await;
        assert_eq!(served.traffic.resent_durable, 0);
        self.ada.node.shutdown().await;
        self.bob.node.shutdown().await;
        self.server.stop().await;
    }
}

async fn restart(peer: Peer, name: &str) -> Peer {
    let home = peer.home.clone();
    peer.node.shutdown().await;
    drop(peer);
    Peer::start_again(Path::new(&home), name).await
}

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
    pair.ada.node.shutdown().await;
    pair.bob.node.shutdown().await;
    pair.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_named_person_offers_is_taken_without_asking() {
    let pair = Pair::start().await;
    let settings = TransferSettings {
        accept: AcceptPolicy {
            from: vec![pair.ada.id()],
            most: Some(SIZE),
            kinds: vec!["bin".into()],
            dir: pair.target().to_str().unwrap().into(),
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
    assert_eq!(sha256(&pair.target().join("other.bin")), sha256(&other));
    let bob = restart(pair.bob, "Bob").await;
    let kept = bob.node.snapshot(Empty {}).await.unwrap().transfers;
    assert_eq!(kept, settings);
    pair.ada.node.shutdown().await;
    bob.node.shutdown().await;
    pair.server.stop().await;
}
