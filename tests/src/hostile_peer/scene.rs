//! A victim, an honest bystander, and everything that must stay as it is.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use kith_api::{
    Accept, CreateRoom, FetchPhase, Handler as _, JoinRoom, OfferFiles, OfferView, SendText,
};
use kith_protocol::{Code, OfferId, PeerId, RoomId};

use super::Hostile;
use crate::{Peer, Server, random_file, sha256};

/// Ada is the victim, Bob is honest, and the hostile one is in their room.
pub struct Scene {
    /// The victim.
    pub ada: Peer,
    /// Honest, and linked with Ada.
    pub bob: Peer,
    /// Their room.
    pub room: RoomId,
    /// What opens it.
    pub invite: String,
    dir: tempfile::TempDir,
    server: Server,
    canary: BTreeMap<PathBuf, String>,
    /// How often the honest two were at work.
    honest: AtomicU64,
}

impl Scene {
    /// Ada and Bob are linked; beside Ada's download folder lie things that must not change.
    pub async fn new() -> Scene {
        let server = Server::start().await;
        let dir = tempfile::tempdir().unwrap();
        let ada = Peer::start(&dir.path().join("homes/ada"), "Ada").await;
        let bob = Peer::start(&dir.path().join("homes/bob"), "Bob").await;
        let made = ada.node.create_room(CreateRoom {
            server: server.url(),
        });
        let made = made.await.unwrap();
        let join = JoinRoom {
            invite: made.invite.clone(),
        };
        bob.node.join_room(join).await.unwrap();
        ada.wait_linked(bob.id()).await;
        bob.wait_linked(ada.id()).await;
        let at = |name: &str| dir.path().join(name);
        for folder in ["down/in", "down/near", "etc"] {
            std::fs::create_dir_all(at(folder)).unwrap();
        }
        for file in ["x", "down/x", "down/near/x", "etc/x", "etc/passwd"] {
            std::fs::write(at(file), format!("this is {file}")).unwrap();
        }
        let canary = tree(dir.path());
        Scene {
            ada,
            bob,
            room: made.room,
            invite: made.invite,
            dir,
            server,
            canary,
            honest: AtomicU64::new(0),
        }
    }

    /// The hostile one comes in and has proven who it is to Ada.
    pub async fn hostile(&self) -> Hostile {
        Hostile::meet(&self.invite, self.ada.id()).await
    }

    /// A path beside the download folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Ada's download folder.
    pub fn downloads(&self) -> PathBuf {
        self.path("down/in")
    }

    /// What is in the download folder, with `/` behind folders; part files too.
    pub fn downloaded(&self) -> Vec<String> {
        let root = self.downloads();
        let name = |path: &Path| {
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
            format!("{name}{}", if path.is_dir() { "/" } else { "" })
        };
        walk(&root).iter().map(|p| name(p)).collect()
    }

    /// Ada takes an offer of `from` into her download folder.
    pub async fn accept(&self, from: PeerId, offer: OfferId) {
        self.wait_offer(from, offer, |o| o.phase == FetchPhase::Offered)
            .await;
        let accept = Accept {
            room: self.room,
            from,
            offer,
            dir: self.downloads().to_str().unwrap().into(),
        };
        self.ada.node.accept(accept).await.unwrap();
    }

    /// Waits until Ada shows an offer as `is` says.
    pub async fn wait_offer(
        &self,
        from: PeerId,
        offer: OfferId,
        is: impl Fn(&OfferView) -> bool,
    ) -> OfferView {
        let mine = |o: &OfferView| (o.from, o.offer) == (from, offer) && is(o);
        self.ada.wait_offer("the offer to be so", mine).await
    }

    /// Waits until Ada's fetch has failed, and why.
    pub async fn wait_failed(&self, from: PeerId, offer: OfferId) -> Code {
        let failed = |o: &OfferView| o.phase == FetchPhase::Failed;
        self.wait_offer(from, offer, failed).await.why.unwrap()
    }

    /// Waits until Ada's disk does not take a fetch, and why.
    pub async fn wait_blocked(&self, from: PeerId, offer: OfferId) -> Code {
        let blocked = |o: &OfferView| o.phase == FetchPhase::Blocked;
        self.wait_offer(from, offer, blocked).await.why.unwrap()
    }

    /// Waits until Ada shows why there is no link with `peer`.
    pub async fn wait_refused(&self, peer: PeerId, why: Code) {
        self.ada
            .wait_person(peer, why.name(), |p| p.why == Some(why))
            .await;
    }

    /// Bob and Ada chat and Ada fetches a file from Bob: to run beside a trick, or after it.
    pub async fn honest_work(&self) {
        // Ears of their own, as the trick listens too.
        let ears = |peer: &Peer| Peer {
            node: peer.node.clone(),
            events: peer.node.subscribe(),
            home: peer.home.clone(),
        };
        let (ada, bob, room) = (ears(&self.ada), ears(&self.bob), self.room);
        for n in 0..5 {
            let text = format!("honest {n}");
            let say = SendText {
                room,
                text: text.clone(),
            };
            bob.node.send_text(say).await.unwrap();
            assert_eq!(ada.wait_message(bob.id()).await.text, text);
            let say = SendText {
                room,
                text: text.clone(),
            };
            ada.node.send_text(say).await.unwrap();
            assert_eq!(bob.wait_message(ada.id()).await.text, text);
        }
        // Another each time, as the same one again would be the same offer.
        let n = self.honest.fetch_add(1, Ordering::SeqCst);
        let name = format!("honest{n}.bin");
        let file = self.path("homes").join(&name);
        random_file(&file, 2_000_000 + n);
        let offer = OfferFiles {
            room,
            to: vec![ada.id()],
            paths: vec![file.to_str().unwrap().into()],
            note: None,
            strategy: None,
        };
        let offer = bob.node.offer(offer).await.unwrap().offer;
        let of_bob = |o: &OfferView| (o.from, o.offer) == (bob.id(), offer);
        let seen = |o: &OfferView| of_bob(o) && o.phase == FetchPhase::Offered;
        ada.wait_offer("the honest offer", seen).await;
        // Elsewhere, so that the download folder is the hostile one's alone.
        let into = tempfile::tempdir().unwrap();
        let accept = Accept {
            room,
            from: bob.id(),
            offer,
            dir: into.path().to_str().unwrap().into(),
        };
        ada.node.accept(accept).await.unwrap();
        let done = |o: &OfferView| of_bob(o) && o.phase == FetchPhase::Done;
        ada.wait_offer("the honest file", done).await;
        assert_eq!(sha256(&into.path().join(&name)), sha256(&file));
    }

    /// Nothing outside the download folder has changed, the honest two are well, and the end is
    /// an orderly one.
    pub async fn end(self) {
        self.honest_work().await;
        assert_eq!(tree(self.dir.path()), self.canary, "something else changed");
        self.ada.node.shutdown().await;
        self.bob.node.shutdown().await;
        self.server.stop().await;
    }
}

/// Everything but the download folder and the profiles: kind, size, times and content.
fn tree(root: &Path) -> BTreeMap<PathBuf, String> {
    walk(root)
        .into_iter()
        .filter(|p| !p.starts_with(root.join("homes")) && !p.starts_with(root.join("down/in")))
        .map(|p| {
            let meta = std::fs::symlink_metadata(&p).unwrap();
            let content = std::fs::read(&p).unwrap_or_default();
            let what = format!(
                "{:?} {:o} {} {}.{} {:x?}",
                meta.file_type(),
                meta.mode(),
                meta.nlink(),
                meta.mtime(),
                meta.mtime_nsec(),
                super::parts::digest(&content)
            );
            (p, what)
        })
        .collect()
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if std::fs::symlink_metadata(&path).unwrap().is_dir() {
            all.extend(walk(&path));
        }
        all.push(path);
    }
    all.sort();
    all
}
