//! A room server that can be told to lie: the real one behind a switch.
//!
//! Clients dial the [`Middle`]; it passes everything on to the real server and back, and, while a
//! [`Treachery`] is switched on, does to the messages what that names. Frames to clients are
//! written by hand, so that it can also send what no library would.

mod lies;
mod talk;
mod wire;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use kith_protocol::room::{ClientMessage, ServerMessage};
use kith_protocol::{RoomId, Sid};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_tungstenite::tungstenite::Message;

pub use lies::{Kind, Treachery};

/// Stands between the clients and the real server. Ends when dropped.
pub struct Middle {
    /// Where clients dial it.
    pub addr: SocketAddr,
    world: Arc<World>,
    /// How often it had lied when it was last switched.
    since: std::sync::atomic::AtomicU64,
    task: JoinHandle<()>,
}

/// What the middle has seen and done.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    /// Connections that clients opened.
    pub dials: u64,
    /// Proofs that clients made.
    pub proofs: u64,
    /// Clients that the real server let in.
    pub joins: u64,
    /// Members that clients addressed.
    pub addressed: std::collections::BTreeSet<Sid>,
    /// Every body that clients handed over, while there are not very many.
    pub bodies: Vec<Bytes>,
}

struct World {
    server: SocketAddr,
    addr: SocketAddr,
    how: watch::Sender<Option<Treachery>>,
    meddled: watch::Sender<u64>,
    cuts: watch::Sender<u64>,
    probes: std::sync::atomic::AtomicU64,
    seen: Mutex<Seen>,
    clients: Mutex<BTreeMap<u64, Client>>,
    /// The last body of each connection's signals, for swapping.
    last: Mutex<BTreeMap<u64, Bytes>>,
}

/// One client, once it has asked to join.
#[derive(Clone)]
struct Client {
    sid: Sid,
    room: RoomId,
    say: mpsc::Sender<ServerMessage>,
}

/// More than any client says in these tests.
const MOST_BODIES: usize = 4096;

impl Middle {
    /// An honest one, for now.
    pub async fn start(server: SocketAddr) -> Middle {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let world = Arc::new(World {
            server,
            addr,
            how: watch::Sender::new(None),
            meddled: watch::Sender::new(0),
            cuts: watch::Sender::new(0),
            probes: Default::default(),
            seen: Mutex::default(),
            clients: Mutex::default(),
            last: Mutex::default(),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&world)));
        Middle {
            addr,
            world,
            since: Default::default(),
            task,
        }
    }

    /// Its address as invites carry it.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Switches a treachery on, for open connections too.
    pub fn turn(&self, how: Treachery) {
        self.since.store(self.meddled(), Ordering::SeqCst);
        self.world.how.send_replace(Some(how));
    }

    /// Behaves from now on.
    pub fn behave(&self) {
        self.world.how.send_replace(None);
    }

    /// Closes every connection, as a restart does.
    pub fn cut(&self) {
        self.world.cuts.send_modify(|n| *n += 1);
    }

    /// How often it has lied so far.
    pub fn meddled(&self) -> u64 {
        *self.world.meddled.borrow()
    }

    /// Waits until it has lied `n` times since it was switched on.
    pub async fn wait_meddled(&self, n: u64) {
        let mut meddled = self.world.meddled.subscribe();
        let until = self.since.load(Ordering::SeqCst) + n;
        let done = meddled.wait_for(|m| *m >= until);
        let done = reached(done).await;
        let (how, lied) = (self.world.how(), self.meddled());
        assert!(done, "{how:?}: {lied} lies, {until} wanted");
    }

    /// Waits until what it has seen is as `is` says.
    pub async fn wait_seen(&self, what: &str, is: impl Fn(&Seen) -> bool) {
        let mut meddled = self.world.meddled.subscribe();
        let done = meddled.wait_for(|_| is(&self.world.seen()));
        let done = reached(done).await;
        assert!(done, "waited in vain for {what}: {:?}", self.seen());
    }

    /// Waits until every client has read what was written to it so far: each is told of somebody
    /// who comes, and greets them. A client that hangs up instead is waited for until it is back.
    pub async fn wait_read(&self) {
        let clients: Vec<Client> = self.world.clients().values().cloned().collect();
        for client in clients {
            // Greater than any other, so that it is the client who begins.
            let n = self
                .world
                .probes
                .fetch_add(1, Ordering::SeqCst)
                .to_be_bytes();
            let mut sid = Sid([0xff; 16]);
            sid.0[8..].copy_from_slice(&n);
            let joins = self.seen().joins;
            let caps = vec![];
            let told = client.say.send(ServerMessage::MemberJoined { sid, caps });
            let _ = tokio::time::timeout(crate::PATIENCE, told).await;
            let read = |s: &Seen| s.addressed.contains(&sid) || s.joins > joins;
            self.wait_seen("a greeting", read).await;
        }
    }

    /// What it has seen and done.
    pub fn seen(&self) -> Seen {
        self.world.seen().clone()
    }
}

impl Drop for Middle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl World {
    fn how(&self) -> Option<Treachery> {
        *self.how.borrow()
    }

    fn lied(&self) {
        self.meddled.send_modify(|n| *n += 1);
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clients(&self) -> MutexGuard<'_, BTreeMap<u64, Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last(&self) -> MutexGuard<'_, BTreeMap<u64, Bytes>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, world: Arc<World>) {
    let mut passing = JoinSet::new();
    let mut next = 0;
    while let Ok((tcp, _)) = listener.accept().await {
        next += 1;
        let world = Arc::clone(&world);
        passing.spawn(async move {
            let mut cuts = world.cuts.subscribe();
            tokio::select! {
                _ = pass(next, tcp, &world) => {}
                _ = cuts.changed() => {}
            }
            world.clients().remove(&next);
        });
        while passing.try_join_next().is_some() {}
    }
}

/// One client from dial to end. `None` when either side ended it.
async fn pass(number: u64, tcp: TcpStream, world: &Arc<World>) -> Option<()> {
    let (mut from_client, mut to_client) = wire::accept(tcp).await?;
    world.seen().dials += 1;
    // Somebody may wait for the number of dials.
    world.meddled.send_modify(|_| {});
    let upstream = wire::dial(world.server, world.addr).await?;
    let (mut to_server, mut from_server) = upstream.split();
    let (say, mut said) = mpsc::channel(256);
    let up = async {
        loop {
            let text = match from_client.next().await?.ok()? {
                Message::Text(text) => text,
                Message::Close(_) => return None::<()>,
                Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_) => {
                    continue;
                }
            };
            let message = ClientMessage::parse(&text).ok()?;
            if let ClientMessage::Join { room_id, sid, .. } = &message {
                let (sid, room, say) = (*sid, *room_id, say.clone());
                let client = Client { sid, room, say };
                world.clients().insert(number, client);
            }
            note(world, &message);
            for message in lies::up(world, number, message).await {
                let text = Message::text(message.to_text());
                to_server.send(text).await.ok()?;
            }
        }
    };
    let mut liar = lies::Liar::new(number, Arc::clone(world));
    let mut switched = world.how.subscribe();
    switched.mark_changed();
    let down = async {
        loop {
            let message = tokio::select! {
                message = from_server.next() => match message?.ok()? {
                    Message::Text(text) => ServerMessage::parse(&text).ok()?,
                    Message::Ping(_)
                    | Message::Pong(_)
                    | Message::Binary(_)
                    | Message::Frame(_) => continue,
                    Message::Close(_) => return None::<()>,
                },
                Some(message) = said.recv() => {
                    to_client.say(&message).await?;
                    continue;
                }
                _ = switched.changed() => {
                    liar.on_switch(&mut to_client).await?;
                    continue;
                }
            };
            liar.pass(message, &mut to_client).await?;
        }
    };
    tokio::select! {
        end = up => end,
        end = down => end,
    }
}

/// Whether it came in time. What a watch answers with is a lock held for reading: whoever looks
/// at the same watch again while a writer waits would wait for ever, so it is let go of here.
async fn reached<T>(done: impl Future<Output = T>) -> bool {
    tokio::time::timeout(crate::PATIENCE, done).await.is_ok()
}

fn note(world: &World, message: &ClientMessage) {
    let mut seen = world.seen();
    match message {
        ClientMessage::Signal { to, body } => {
            seen.addressed.insert(*to);
            if seen.bodies.len() < MOST_BODIES {
                seen.bodies.push(body.0.clone());
            }
        }
        ClientMessage::Prove { .. } => seen.proofs += 1,
        ClientMessage::Join { .. }
        | ClientMessage::Leave {}
        | ClientMessage::Call { .. }
        | ClientMessage::Ping { .. } => {}
    }
    drop(seen);
    world.meddled.send_modify(|_| {});
}
