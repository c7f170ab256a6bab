//! What the tests across crates share: a real room server, real nodes, real files, and waiting
//! for events with a deadline.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test picks the one change it waits for"
)]

pub mod abuse;
pub mod bench;
pub mod fuzz;
pub mod hostile_peer;
pub mod kills;
pub mod middle;
pub mod netlab;
pub mod process;
pub mod sim;
pub mod tmpfs;
pub mod window;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kith_api::{Change, Empty, Handler as _, MessageView, OfferView, PersonView, RoomView};
use kith_peer::node::{Node, NodeConfig, Subscription, Update};
use kith_protocol::{PeerId, RoomId};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// No step of a test waits longer than this: the machine may be slow, a bug may not be.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A real room server on a loopback port.
pub struct Server {
    /// Where it listens.
    pub addr: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    /// Starts one on a free port.
    pub async fn start() -> Server {
        Server::start_on("127.0.0.1:0".parse().unwrap()).await
    }

    /// Starts one on a given port: again, after a stop.
    pub async fn start_on(addr: SocketAddr) -> Server {
        let listener = listen(addr).await;
        let addr = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let config = config();
        let token = stop.clone();
        let task = tokio::spawn(async move {
            kith_signaling::run(listener, config, token).await.unwrap();
        });
        Server { addr, stop, task }
    }

    /// Its address as invites carry it.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Kills it: no notice, no drain.
    pub async fn kill(self) -> SocketAddr {
        self.task.abort();
        let _ = self.task.await;
        self.addr
    }

    /// Ends it politely.
    pub async fn stop(self) {
        self.stop.cancel();
        let _ = tokio::time::timeout(PATIENCE, self.task).await;
    }
}

/// A server for tests: no outside network, hence no STUN server.
fn config() -> kith_signaling::Config {
    kith_signaling::Config {
        stun_urls: Vec::new(),
        ..kith_signaling::Config::default()
    }
}

async fn listen(addr: SocketAddr) -> TcpListener {
    // A port that was just freed may need a moment; nobody else binds it.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match TcpListener::bind(addr).await {
            Ok(listener) => return listener,
            Err(e) if tokio::time::Instant::now() > deadline => panic!("cannot bind {addr}: {e}"),
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

/// A node with its profile in a temporary folder, and its changes.
pub struct Peer {
    /// The engine.
    pub node: Node,
    /// Its changes since the start.
    pub events: Subscription,
    /// Its profile.
    pub home: PathBuf,
}

impl Peer {
    /// Starts a node on the profile `home`.
    pub async fn start(home: &Path, name: &str) -> Peer {
        Peer::start_as(home, name, false).await
    }

    /// The same, as the window does: it is in its rooms again, and its transfers go on.
    pub async fn start_again(home: &Path, name: &str) -> Peer {
        Peer::start_as(home, name, true).await
    }

    async fn start_as(home: &Path, name: &str, rejoin: bool) -> Peer {
        let config = NodeConfig {
            home: home.to_path_buf(),
            name: Some(name.into()),
            rejoin,
            include_loopback: true,
        };
        let node = Node::start(config).await.unwrap();
        let events = node.subscribe();
        Peer {
            node,
            events,
            home: home.to_path_buf(),
        }
    }

    /// Our id.
    pub fn id(&self) -> PeerId {
        self.node.me().peer
    }

    /// Waits for a change that `pick` recognises; others are dropped.
    pub async fn wait<T>(&self, what: &str, mut pick: impl FnMut(&Change) -> Option<T>) -> T {
        let next = async {
            loop {
                match self.events.next().await {
                    Some(Update::Change(change)) => {
                        if let Some(found) = pick(&change) {
                            return found;
                        }
                    }
                    Some(Update::Lost) => panic!("events were lost while waiting for {what}"),
                    None => panic!("the node ended while waiting for {what}"),
                }
            }
        };
        match tokio::time::timeout(PATIENCE, next).await {
            Ok(found) => found,
            Err(_) => {
                let now = self.node.snapshot(Empty {}).await;
                panic!(
                    "{}: waited in vain for {what}; now: {now:#?}",
                    self.node.me().name
                )
            }
        }
    }

    /// Waits until the room is as `is` says, looking at the state first.
    pub async fn wait_room(&self, room: RoomId, what: &str, is: impl Fn(&RoomView) -> bool) {
        let now = self.node.snapshot(Empty {}).await.unwrap();
        if now.rooms.iter().any(|r| r.room == room && is(r)) {
            return;
        }
        let pick = |c: &Change| match c {
            Change::Room(r) if r.room == room && is(r) => Some(()),
            _ => None,
        };
        self.wait(what, pick).await;
    }

    /// Waits until a person is as `is` says, looking at the state first.
    pub async fn wait_person(&self, who: PeerId, what: &str, is: impl Fn(&PersonView) -> bool) {
        let now = self.node.snapshot(Empty {}).await.unwrap();
        if now.people.iter().any(|p| p.peer == who && is(p)) {
            return;
        }
        let pick = |c: &Change| match c {
            Change::Person(p) if p.peer == who && is(p) => Some(()),
            _ => None,
        };
        self.wait(what, pick).await;
    }

    /// Waits until the link to a person is open.
    pub async fn wait_linked(&self, who: PeerId) {
        let linked = |p: &PersonView| p.link == kith_api::LinkPhase::Connected;
        self.wait_person(who, "a link", linked).await;
    }

    /// Waits for an offer that is as `is` says, looking at the state first.
    pub async fn wait_offer(&self, what: &str, is: impl Fn(&OfferView) -> bool) -> OfferView {
        let now = self.node.snapshot(Empty {}).await.unwrap();
        if let Some(offer) = now.offers.iter().find(|o| is(o)) {
            return offer.clone();
        }
        let pick = |c: &Change| match c {
            Change::Offer(o) if is(o) => Some((**o).clone()),
            _ => None,
        };
        self.wait(what, pick).await
    }

    /// The next message of `author`.
    pub async fn wait_message(&self, author: PeerId) -> MessageView {
        let pick = |c: &Change| match c {
            Change::Message(m) if m.author == author => Some(m.clone()),
            _ => None,
        };
        self.wait("a message", pick).await
    }
}

/// SHA-256 of a file.
pub fn sha256(path: &Path) -> [u8; 32] {
    use sha2::{Digest as _, Sha256};
    let mut file = std::fs::File::open(path).unwrap();
    let mut hash = Sha256::new();
    std::io::copy(&mut file, &mut HashWriter(&mut hash)).unwrap();
    hash.finalize().into()
}

struct HashWriter<'a>(&'a mut sha2::Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        sha2::Digest::update(self.0, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Writes `size` bytes that do not repeat.
pub fn random_file(path: &Path, size: u64) {
    use std::io::Write as _;
    let mut out = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    let mut state = size ^ 0x9e37_79b9_7f4a_7c15;
    let mut left = size;
    while left > 0 {
        // SplitMix64: quick, and no two chunks alike.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bytes = (z ^ (z >> 31)).to_le_bytes();
        let n = left.min(8) as usize;
        out.write_all(&bytes[..n]).unwrap();
        left -= n as u64;
    }
    out.flush().unwrap();
}
