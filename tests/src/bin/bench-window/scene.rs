//! A room with a long history, and who is in it.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use futures::StreamExt as _;
use kith_api::{CreateRoom, Handler as _, JoinRoom, OfferFiles, SendText};
use kith_protocol::{PeerId, RoomId};
use kith_tests::window::{Screen, Window, desktop_bin, surround};
use kith_tests::{Peer, Server, random_file};
use serde_json::json;

/// Messages under way to the store at once.
const AT_ONCE: usize = 64;
/// Nodes that offer files: a node takes few offers of one person, and starts few at once.
const SENDERS: usize = 8;
/// Bytes of each file: more than comes across while it is looked at.
const FILE: u64 = 60_000_000;

/// Ada's profile, whose window is opened, and Bob, who is in the room with her.
pub struct Scene {
    pub screen: Screen,
    pub bob: Peer,
    pub room: RoomId,
    /// Ada.
    pub ada: PeerId,
    invite: String,
    dir: tempfile::TempDir,
    _server: Server,
}

impl Scene {
    /// Lets Ada and Bob write that many messages, then closes Ada's profile.
    pub async fn start(messages: usize) -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start().await;
        let ada = Peer::start(&dir.path().join("ada"), "Ada").await;
        let made = CreateRoom {
            server: server.url(),
        };
        let made = ada.node.create_room(made).await.unwrap();
        let bob = Peer::start(&dir.path().join("bob"), "Bob").await;
        let invite = made.invite.clone();
        bob.node.join_room(JoinRoom { invite }).await.unwrap();
        ada.wait_linked(bob.id()).await;
        for from in (0..messages).step_by(200) {
            // They take turns, as in a talk, and each listens to the other.
            let (writer, reader) = if from % 400 == 0 {
                (&ada, &bob)
            } else {
                (&bob, &ada)
            };
            let texts = from..(from + 200).min(messages);
            for _ in write(writer, made.room, texts).await {
                reader.wait_message(writer.id()).await;
            }
        }
        ada.node.shutdown().await;
        let scene = Scene {
            screen: Screen::start(),
            bob,
            room: made.room,
            ada: ada.id(),
            invite: made.invite,
            dir,
            _server: server,
        };
        let settings = json!({ "welcomed": true, "theme": "light", "room_names": {},
            "downloads": scene.downloads() });
        std::fs::write(scene.home().join("window.json"), settings.to_string()).unwrap();
        scene
    }

    /// Her profile.
    fn home(&self) -> PathBuf {
        self.dir.path().join("ada")
    }

    /// Where her window puts files.
    pub fn downloads(&self) -> PathBuf {
        self.home().join("Downloads")
    }

    /// Her window, driven.
    pub async fn window(&self) -> Window {
        Window::open(&self.screen, &self.home(), &[]).await
    }

    /// Her window as she opens it.
    pub fn app(&self, screen: &Screen) -> Child {
        let mut app = Command::new(desktop_bin());
        surround(&mut app, screen, &self.home());
        app.arg("--home").arg(self.home());
        app.stdout(Stdio::null()).stderr(Stdio::null());
        app.spawn().unwrap()
    }

    /// Others who enter the room and offer that many files together. They leave when they are
    /// dropped.
    pub async fn offer(&self, files: usize) -> Vec<Peer> {
        let original = self.dir.path().join("original");
        random_file(&original, FILE);
        let mut peers = Vec::new();
        for n in 0..SENDERS {
            let home = self.dir.path().join(format!("sender{n}"));
            let peer = Peer::start(&home, &format!("Sender {n}")).await;
            let invite = self.invite.clone();
            peer.node.join_room(JoinRoom { invite }).await.unwrap();
            for file in (n..files).step_by(SENDERS) {
                // Another name makes another offer; the bytes may be the same.
                let path = home.join(format!("file-{file:03}.bin"));
                std::fs::hard_link(&original, &path).unwrap();
                self.offer_one(&peer, &path).await;
            }
            peers.push(peer);
        }
        peers
    }

    async fn offer_one(&self, peer: &Peer, path: &Path) {
        let offer = OfferFiles {
            room: self.room,
            to: Vec::new(),
            paths: vec![path.to_str().unwrap().to_owned()],
            note: None,
            strategy: None,
        };
        peer.node.offer(offer).await.unwrap();
    }
}

/// Writes messages with these numbers, of one line and of several.
pub async fn write(peer: &Peer, room: RoomId, numbers: Range<usize>) -> Range<usize> {
    const WORDS: &str = "A walk along the river is best before the others are awake, and longer \
                         than one thinks. ";
    let all = futures::stream::iter(numbers.clone()).map(|n| {
        let text = format!("Message number {}. {}", n + 1, WORDS.repeat(n % 7 / 2));
        peer.node.send_text(SendText { room, text })
    });
    let mut sent = all.buffered(AT_ONCE);
    while let Some(sent) = sent.next().await {
        sent.unwrap();
    }
    numbers
}
