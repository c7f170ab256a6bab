//! The engine at work: one [`Node`] per app session.
//!
//! ```text
//! Node (handle) ──requests──► driver (owns kith_core::Engine) ──effects──► workers
//!                                  ▲───────────── inputs ◄─────────────────────┘
//! ```
//!
//! | file | its tasks |
//! |---|---|
//! | `drive` | the one that owns the engine |
//! | `server` | a WebSocket to a room server |
//! | `links`, `lanes` | a peer connection: effects, events, acks, the file lane |
//! | `serving`, `pacing` | reading and sending files, within bounds |
//! | `fetching`, `layout`, `parts` | receiving and writing files |
//! | `tasks` | the only place that spawns |

mod batch;
mod drive;
mod faults;
mod fetching;
mod hashing;
mod holding;
mod home;
mod lanes;
mod layout;
mod links;
mod names;
mod pacing;
mod parts;
mod reading;
mod server;
mod serving;
mod strands;
mod subscription;
mod tasks;
mod vouching;
mod work;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kith_api::{
    Accept, ApiError, CreateRoom, Created, Cursor, Empty, Handler, History, HistoryPage, JoinRoom,
    Joined, Limit, Me, MessageView, OfferFiles, OfferRef, Offered, Rename, Reorder, RoomRef,
    SendText, Sent, Snapshot, TransferRef, TransferSettings, Withdraw,
};
use kith_core::input::{Command, Input, NewOffer, Reply};
use kith_core::record::{ChatRecord, FetchKey, OfferRecord};
use kith_core::{Engine, offer};
use kith_protocol::ids::Digest;
use kith_protocol::invite::{Invite, ServerAddr};
use kith_protocol::peer::{Entry, clean_name};
use kith_protocol::{Code, IdPk, PeerId};
use tokio::sync::{mpsc, oneshot};

use self::drive::{Driver, Request, State, ended};
pub use self::home::profile_home;
use self::lanes::Lanes;
use self::links::Links;
use self::parts::Parts;
use self::subscription::Subscribers;
pub use self::subscription::{Subscription, Update};
use self::tasks::Tasks;
use crate::disk;
use crate::rtc::RtcContext;
use crate::seal::Identity;
use crate::store::{Report, Store, StoreError, Writer};

/// Everything must have ended this long after a shutdown began. It takes moments, unless somebody on
/// a link that stands has not yet heard what we said: three quarters of it are for that.
const SHUTDOWN: Duration = Duration::from_secs(8);
/// Requests that wait for the driver.
const QUEUE: usize = 1024;
/// Inputs that wait for the core: one may be a message of [`MAX_PEER_MESSAGE`] bytes.
///
/// [`MAX_PEER_MESSAGE`]: kith_protocol::limits::MAX_PEER_MESSAGE
const INPUTS: usize = 128;
/// Most messages in a page of history.
const MOST_HISTORY: u32 = 500;

/// How to start a node.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Folder of the profile: identity, rooms, history. Made if missing.
    pub home: PathBuf,
    /// Display name; kept in the profile. Without one the profile's, or a friendly random one.
    pub name: Option<String>,
    /// Whether to rejoin the rooms that were open. Transfers then outlive the process, too: fetches
    /// go on, and offers that were made stand again if their files are what they were.
    pub rejoin: bool,
    /// Offer loopback addresses as ICE candidates: for two peers on one machine.
    pub include_loopback: bool,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct StartError {
    /// For programs.
    pub code: Code,
    /// For people.
    pub message: String,
}

/// A running engine. Cheap to clone. Front ends call it through [`kith_api::Handler`].
#[derive(Clone)]
pub struct Node {
    shared: Arc<Shared>,
}

struct Shared {
    me: PeerId,
    /// Locked to read or replace it, never longer.
    name: Mutex<String>,
    id_pk: IdPk,
    requests: mpsc::Sender<Request>,
    subscribers: Arc<Subscribers>,
    store: Arc<Store>,
    parts: Parts,
}

impl Node {
    /// Opens the profile and starts.
    ///
    /// # Errors
    ///
    /// [`Code::HomeInUse`], [`Code::StoreBroken`], [`Code::DiskDenied`], [`Code::DiskFull`].
    pub async fn start(config: NodeConfig) -> Result<Node, StartError> {
        // More than one TLS library may be linked; this says which one is meant.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let home = config.home.clone();
        let wanted = config.name.clone();
        let profile = tokio::task::spawn_blocking(move || open_profile(&home, wanted))
            .await
            .map_err(|e| StartError {
                code: Code::StoreBroken,
                message: e.to_string(),
            })??;
        let Profile {
            store,
            identity,
            name,
            saved,
        } = profile;
        let store = Arc::new(store);
        let rtc = RtcContext::new().map_err(|e| StartError {
            code: Code::NoRoute,
            message: e.to_string(),
        })?;
        let fp = Digest(rtc.certificate().fingerprint());
        let mut seed = [0u8; 32];
        getrandom::fill(&mut seed).map_err(|e| StartError {
            code: Code::StoreBroken,
            message: e.to_string(),
        })?;

        let (inputs, input_queue) = mpsc::channel(INPUTS);
        let (requests, request_queue) = mpsc::channel(QUEUE);
        let reports = inputs.clone();
        let writer = Writer::start(Arc::clone(&store), move |report| {
            for input in stored(report) {
                let _ = reports.blocking_send(input);
            }
        })
        .map_err(|e| StartError {
            code: Code::StoreBroken,
            message: e.to_string(),
        })?;
        let id_pk = identity.id_pk();
        let me = identity.peer_id();
        let known_name = Mutex::new(name.clone());
        let rooms: Vec<_> = saved.rooms.iter().filter(|r| r.open).cloned().collect();
        let engine_config = kith_core::Config {
            id_pk,
            name: name.clone(),
            fp,
            keep: config.rejoin,
            transfers: saved.transfers.clone(),
        };
        let offers = saved.offers.clone();
        let engine = Engine::new(engine_config, saved, seed);
        let tasks = Tasks::default();
        let lanes = Lanes::default();
        let subscribers = Arc::new(Subscribers::default());
        let links = Links {
            rtc: Arc::new(rtc),
            include_loopback: config.include_loopback,
            lanes: lanes.clone(),
            tasks: tasks.clone(),
            inputs: inputs.clone(),
        };
        let looking = tasks.clone();
        let parts = Parts::new(Arc::clone(&store));
        let driver = Driver {
            engine,
            identity: Arc::new(identity),
            name,
            fp,
            store: Arc::clone(&store),
            parts: parts.clone(),
            writer,
            subscribers: Arc::clone(&subscribers),
            tasks,
            links,
            lanes,
            inputs,
            started: Instant::now(),
            keys: HashMap::new(),
            state: State::default(),
        };
        // The driver outlives the task set it ends; `Node::shutdown` waits for it.
        tokio::spawn(driver.run(input_queue, request_queue));
        let node = Node {
            shared: Arc::new(Shared {
                me,
                name: known_name,
                id_pk,
                requests,
                subscribers,
                store,
                parts,
            }),
        };
        if config.rejoin {
            for room in rooms {
                let joined = node
                    .join_room(JoinRoom {
                        invite: room.invite,
                    })
                    .await;
                if let Err(error) = joined {
                    tracing::warn!(room = %room.room, %error, "a remembered room cannot be joined");
                }
            }
            // Many files take a while to look at.
            looking.spawn("look at offers", node.clone().restore(offers));
        }
        Ok(node)
    }

    /// Us.
    pub fn me(&self) -> Me {
        let name = self.shared.name.lock();
        Me {
            peer: self.shared.me,
            name: name.unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Changes from now on.
    pub fn subscribe(&self) -> Subscription {
        self.shared.subscribers.subscribe()
    }

    /// Says good-bye, flushes the store and ends every task: at once when the others have heard what
    /// was said, within eight seconds when not.
    pub async fn shutdown(&self) {
        let (done, wait) = oneshot::channel();
        if self
            .shared
            .requests
            .send(Request::Shutdown(done))
            .await
            .is_ok()
        {
            let _ = wait.await;
        }
    }

    /// Looks at the files of offers that an earlier process made; what is unchanged stands again.
    async fn restore(self, offers: Vec<OfferRecord>) {
        for record in offers {
            let paths: Vec<PathBuf> = record.paths.iter().map(PathBuf::from).collect();
            let scan = tokio::task::spawn_blocking(move || disk::scan(&paths)).await;
            let files = match scan {
                Ok(Ok(scan)) => Ok(scan.entries),
                Ok(Err(error)) => Err(faults::source_code(&error)),
                // The node is ending.
                Err(_) => return,
            };
            let (room, offer) = (record.room, record.offer);
            let entries = files.as_ref().map(|f| f.iter().map(entry).collect());
            let entries = entries.map_err(|code| *code);
            if let Ok(files) = files {
                let source = Request::Source(room, offer, files.into());
                if self.shared.requests.send(source).await.is_err() {
                    return;
                }
            }
            let restore = Command::Restore(Box::new(record), entries);
            if let Err(error) = self.command(restore).await {
                tracing::info!(%offer, %error, "an offer of before does not stand again");
            }
        }
    }

    async fn command(&self, command: Command) -> Result<Reply, ApiError> {
        self.ask(|reply| Request::Command(command, reply)).await?
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, ApiError> {
        let (reply, wait) = oneshot::channel();
        self.shared
            .requests
            .send(request(reply))
            .await
            .map_err(|_| ended())?;
        wait.await.map_err(|_| ended())
    }
}

impl Handler for Node {
    async fn snapshot(&self, _: Empty) -> Result<Snapshot, ApiError> {
        self.ask(Request::Snapshot).await
    }

    async fn create_room(&self, request: CreateRoom) -> Result<Created, ApiError> {
        let server = ServerAddr::parse(&request.server)
            .map_err(|e| ApiError::with(Code::BadRequest, e.to_string()))?;
        let mut secret = [0u8; 32];
        getrandom::fill(&mut secret)
            .map_err(|e| ApiError::with(Code::StoreBroken, e.to_string()))?;
        let invite = Invite::new(server, secret, self.shared.me);
        let (room, link) = (invite.keys().room_id(), invite.link());
        self.command(Command::Join(invite)).await?;
        Ok(Created { room, invite: link })
    }

    async fn join_room(&self, request: JoinRoom) -> Result<Joined, ApiError> {
        let invite: Invite =
            request
                .invite
                .parse()
                .map_err(|e: kith_protocol::invite::InviteError| {
                    ApiError::with(Code::BadRequest, e.to_string())
                })?;
        let room = invite.keys().room_id();
        self.command(Command::Join(invite)).await?;
        Ok(Joined { room })
    }

    async fn rename(&self, request: Rename) -> Result<Me, ApiError> {
        let peer = self.shared.me;
        let name = clean_name(&request.name, &names::friendly(&peer));
        let (store, kept) = (Arc::clone(&self.shared.store), name.clone());
        tokio::task::spawn_blocking(move || store.set_display_name(&kept))
            .await
            .map_err(|e| ApiError::with(Code::StoreBroken, e.to_string()))?
            .map_err(|e| ApiError::with(e.code(), e.to_string()))?;
        self.command(Command::Rename(name.clone())).await?;
        let mut known = self
            .shared
            .name
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        known.clone_from(&name);
        Ok(Me { peer, name })
    }

    async fn leave_room(&self, request: RoomRef) -> Result<Empty, ApiError> {
        self.command(Command::Leave(request.room)).await?;
        Ok(Empty {})
    }

    async fn send_text(&self, request: SendText) -> Result<Sent, ApiError> {
        match self
            .command(Command::SendText(request.room, request.text))
            .await?
        {
            Reply::Sent(seq) => Ok(Sent { seq }),
            Reply::Done | Reply::Joined(_) | Reply::Offered(_) => Err(unexpected()),
        }
    }

    async fn offer(&self, request: OfferFiles) -> Result<Offered, ApiError> {
        let paths: Vec<PathBuf> = request.paths.iter().map(PathBuf::from).collect();
        let scan = tokio::task::spawn_blocking(move || disk::scan(&paths))
            .await
            .map_err(|e| ApiError::with(Code::SourceGone, e.to_string()))?
            .map_err(|e| ApiError::with(faults::source_code(&e), e.to_string()))?;
        let entries: Vec<Entry> = scan.entries.iter().map(entry).collect();
        let name = offer_name(&entries);
        let offer = offer::offer_id(&self.shared.id_pk, &request.room, &name, &entries);
        let paths = absolute_all(&request.paths);
        let source = Request::Source(request.room, offer, scan.entries.into());
        self.shared
            .requests
            .send(source)
            .await
            .map_err(|_| ended())?;
        let new = NewOffer {
            room: request.room,
            to: request.to,
            name,
            note: request.note,
            entries,
            paths,
            strategy: request.strategy,
        };
        match self.command(Command::Offer(new)).await? {
            Reply::Offered(offer) => {
                let skipped = scan
                    .skipped
                    .iter()
                    .map(|s| format!("{} is left out: {}", s.real.display(), s.reason))
                    .collect();
                Ok(Offered { offer, skipped })
            }
            Reply::Done | Reply::Joined(_) | Reply::Sent(_) => Err(unexpected()),
        }
    }

    async fn accept(&self, request: Accept) -> Result<Empty, ApiError> {
        let dir = absolute(Path::new(&request.dir))?;
        let key = FetchKey {
            room: request.room,
            from: request.from,
            offer: request.offer,
        };
        self.command(Command::Accept(key, dir)).await?;
        Ok(Empty {})
    }

    async fn decline(&self, request: OfferRef) -> Result<Empty, ApiError> {
        let key = FetchKey {
            room: request.room,
            from: request.from,
            offer: request.offer,
        };
        self.command(Command::Decline(key)).await?;
        Ok(Empty {})
    }

    async fn withdraw(&self, request: Withdraw) -> Result<Empty, ApiError> {
        self.command(Command::Withdraw(request.room, request.offer))
            .await?;
        Ok(Empty {})
    }

    async fn pause(&self, request: TransferRef) -> Result<Empty, ApiError> {
        let (key, peer) = transfer(&request);
        self.command(Command::Pause(key, peer)).await?;
        Ok(Empty {})
    }

    async fn resume(&self, request: TransferRef) -> Result<Empty, ApiError> {
        let (key, peer) = transfer(&request);
        self.command(Command::Resume(key, peer)).await?;
        Ok(Empty {})
    }

    async fn reorder(&self, request: Reorder) -> Result<Empty, ApiError> {
        let key = |room, from, offer| FetchKey { room, from, offer };
        let before = request.before.map(|b| key(b.room, b.from, b.offer));
        let key = key(request.room, request.from, request.offer);
        self.command(Command::Reorder(key, before)).await?;
        Ok(Empty {})
    }

    async fn limit(&self, request: Limit) -> Result<Empty, ApiError> {
        let key = FetchKey {
            room: request.room,
            from: request.from,
            offer: request.offer,
        };
        self.command(Command::Limit(key, request.bytes_per_s))
            .await?;
        Ok(Empty {})
    }

    async fn set_transfers(&self, request: TransferSettings) -> Result<TransferSettings, ApiError> {
        let mut kept = request;
        if !kept.accept.dir.is_empty() {
            kept.accept.dir = absolute(Path::new(&kept.accept.dir))?;
        }
        self.command(Command::Transfers(Box::new(kept.clone())))
            .await?;
        Ok(kept)
    }

    async fn history(&self, request: HistoryPage) -> Result<History, ApiError> {
        let max = request.max.clamp(1, MOST_HISTORY) as usize;
        let before = request.before.map(|c| (c.stored, c.author, c.seq));
        let (store, room) = (Arc::clone(&self.shared.store), request.room);
        let page = tokio::task::spawn_blocking(move || store.history(room, before, max))
            .await
            .map_err(|e| ApiError::with(Code::StoreBroken, e.to_string()))?
            .map_err(|e| ApiError::with(e.code(), e.to_string()))?;
        let keys = page
            .iter()
            .map(|(author, seq, _)| (*author, *seq))
            .collect();
        let marks = self.ask(|reply| Request::Marks(room, keys, reply)).await?;
        let before = page
            .first()
            .filter(|_| page.len() == max)
            .map(|(author, seq, r)| Cursor {
                stored: r.stored,
                author: *author,
                seq: *seq,
            });
        let mine = self.shared.me;
        let view = |((author, seq, r), (name, delivered)): (Stored, Marks)| MessageView {
            room,
            author,
            name,
            seq,
            id: {
                let r: &kith_core::record::ChatRecord = &r;
                r.id
            },
            at: r.at,
            stored: r.stored,
            text: r.text,
            delivered: if author == mine {
                delivered
            } else {
                Vec::new()
            },
        };
        Ok(History {
            messages: page.into_iter().zip(marks).map(view).collect(),
            before,
        })
    }
}

fn transfer(request: &TransferRef) -> (FetchKey, Option<PeerId>) {
    let key = FetchKey {
        room: request.room,
        from: request.from,
        offer: request.offer,
    };
    (key, request.peer)
}

/// For an offer that outlives the process; none where one is not Unicode, as it cannot be kept.
fn absolute_all(paths: &[String]) -> Vec<String> {
    let all: Result<Vec<String>, ApiError> = paths.iter().map(|p| absolute(Path::new(p))).collect();
    all.unwrap_or_default()
}

/// Author, number, message.
type Stored = (PeerId, u64, ChatRecord);
/// The author's name, and who has the message.
type Marks = (String, Vec<PeerId>);

struct Profile {
    store: Store,
    identity: Identity,
    name: String,
    saved: kith_core::record::Saved,
}

fn open_profile(home: &Path, wanted: Option<String>) -> Result<Profile, StartError> {
    let failed = |e: StoreError| StartError {
        code: e.code(),
        message: e.to_string(),
    };
    let store = Store::open(home).map_err(failed)?;
    let identity = store.identity().map_err(failed)?;
    let known = store.display_name().map_err(failed)?;
    let fallback = || names::friendly(&identity.peer_id());
    let name = match (wanted, known) {
        (Some(wanted), _) => clean_name(&wanted, &fallback()),
        (None, Some(known)) => clean_name(&known, &fallback()),
        (None, None) => fallback(),
    };
    store.set_display_name(&name).map_err(failed)?;
    let saved = store.load().map_err(failed)?;
    Ok(Profile {
        store,
        identity,
        name,
        saved,
    })
}

fn stored(report: Report) -> Vec<Input> {
    match report {
        Report::Done(jobs) => jobs.into_iter().map(Input::Stored).collect(),
        Report::Failed { jobs, error } => {
            tracing::warn!(%error, "the store refused");
            let code = error.code();
            jobs.into_iter()
                .map(|job| Input::StoreFailed(job, code))
                .collect()
        }
    }
}

fn entry(source: &disk::SourceEntry) -> Entry {
    Entry {
        path: source.wire_path.clone(),
        size: source.size,
        mode: source.mode,
        mtime: source.mtime.seconds,
        mtime_ns: source.mtime.nanos,
        dir: source.kind == disk::EntryKind::Dir,
    }
}

/// The first top-level name, and how many others there are.
fn offer_name(entries: &[Entry]) -> String {
    let mut roots: Vec<&str> = entries
        .iter()
        .filter_map(|e| e.path.split('/').next())
        .collect();
    roots.dedup();
    match roots.as_slice() {
        [] => String::new(),
        [one] => (*one).to_string(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}

fn absolute(dir: &Path) -> Result<String, ApiError> {
    let bad = |text: &str| ApiError::with(Code::BadRequest, text);
    let dir = std::path::absolute(dir).map_err(|e| bad(&e.to_string()))?;
    dir.to_str()
        .map(str::to_string)
        .ok_or_else(|| bad("The folder's name is not valid Unicode."))
}

fn unexpected() -> ApiError {
    ApiError::with(
        Code::NotNow,
        "The engine gave an answer to another question.",
    )
}
