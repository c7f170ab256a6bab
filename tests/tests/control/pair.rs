//! Two people, and a file that one of them offers the other.

use std::path::{Path, PathBuf};

use kith_api::{
    Accept, CreateRoom, FetchPhase, Handler as _, JoinRoom, Limit, OfferFiles, OfferView,
    ServePhase, TransferRef,
};
use kith_protocol::{OfferId, RoomId};
use kith_tests::{Peer, Server, random_file, sha256};

/// Bytes of the file.
pub const SIZE: u64 = 60_000_000;

/// Ada offers a file to Bob; both are as the window runs them.
pub struct Pair {
    pub server: Server,
    pub dir: tempfile::TempDir,
    pub ada: Peer,
    pub bob: Peer,
    pub room: RoomId,
    pub offer: OfferId,
    /// Where Bob puts it.
    pub target: PathBuf,
}

impl Pair {
    pub async fn start() -> Pair {
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
        random_file(&dir.path().join("film.bin"), SIZE);
        let target = dir.path().join("in");
        let mut pair = Pair {
            server,
            dir,
            ada,
            bob,
            room,
            offer: OfferId([0; 16]),
            target,
        };
        pair.offer("film.bin").await;
        pair
    }

    /// Ada offers a file of the folder that both have.
    pub async fn offer(&mut self, name: &str) {
        let path = self.dir.path().join(name);
        let offer = OfferFiles {
            room: self.room,
            to: vec![],
            paths: vec![path.to_str().unwrap().into()],
            note: None,
            strategy: None,
        };
        self.offer = self.ada.node.offer(offer).await.unwrap().offer;
    }

    /// Bob takes it, slowly enough to be held on the way, and the first bytes come.
    pub async fn accept(&self) {
        self.take().await;
        let flows = |o: &OfferView| o.done > 0 && o.phase == FetchPhase::Fetching;
        self.bob.wait_offer("the first bytes", flows).await;
    }

    /// Bob takes it, slowly enough to be held on the way.
    pub async fn take(&self) {
        let (room, from, offer) = (self.room, self.ada.id(), self.offer);
        let offered = |o: &OfferView| o.offer == offer && o.phase == FetchPhase::Offered;
        self.bob.wait_offer("an offer", offered).await;
        let dir = self.target.to_str().unwrap().into();
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
    }

    pub fn transfer(&self) -> TransferRef {
        TransferRef {
            room: self.room,
            from: self.ada.id(),
            offer: self.offer,
            peer: None,
        }
    }

    pub async fn unbounded(&self) {
        let limit = Limit {
            room: self.room,
            from: self.ada.id(),
            offer: self.offer,
            bytes_per_s: None,
        };
        self.bob.node.limit(limit).await.unwrap();
    }

    /// It arrives whole, once, and all ends.
    pub async fn whole(self) {
        let offer = self.offer;
        let done = |o: &OfferView| o.offer == offer && o.phase == FetchPhase::Done;
        let done = self.bob.wait_offer("the file", done).await;
        assert_eq!(
            done.traffic.received_durable, 0,
            "nothing durable came again"
        );
        let names: Vec<_> = std::fs::read_dir(&self.target)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(names, ["film.bin"], "and nothing is left over");
        let file = self.dir.path().join("film.bin");
        assert_eq!(sha256(&self.target.join("film.bin")), sha256(&file));
        let knows = |o: &OfferView| {
            o.offer == offer && o.receivers.iter().any(|r| r.phase == ServePhase::Done)
        };
        let served = self.ada.wait_offer("the receipt", knows).await;
        assert_eq!(served.traffic.resent_durable, 0);
        self.end().await;
    }

    pub async fn end(self) {
        self.ada.node.shutdown().await;
        self.bob.node.shutdown().await;
        self.server.stop().await;
    }
}

/// The same person, in another process as it were.
pub async fn restart(peer: Peer, name: &str) -> Peer {
    let home = peer.home.clone();
    peer.node.shutdown().await;
    drop(peer);
    Peer::start_again(Path::new(&home), name).await
}
