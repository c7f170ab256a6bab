//! The driver of the core: one task owns the engine, feeds it and carries out its effects.
//!
//! It never waits for what an effect does: whoever carries it out has a queue of its own and
//! reports back as an input. So inputs may be bounded, and their senders may wait.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use kith_api::{ApiError, Snapshot};
use kith_core::effect::{LinkEffect, SealEffect, SessionEffect};
use kith_core::input::{
    Command, CommandResult, Input, JobId, LinkNews, ReqId, SealNews as CoreSealNews, SessionNews,
};
use kith_core::record::Put;
use kith_core::{Effect, Engine, Mono, Now};
use kith_protocol::invite::RoomKeys;
use kith_protocol::room::ClientMessage;
use kith_protocol::{Code, LinkId, OfferId, PeerId, RoomId, Sid};
use tokio::sync::{mpsc, oneshot};

use super::lanes::Lanes;
use super::links::{Links, Outgoing};
use super::parts::Parts;
use super::server;
use super::subscription::Subscribers;
use super::tasks::Tasks;
use super::work::Workers;
use crate::disk::SourceEntry;
use crate::seal::{Identity, SealContext, SealNews, Sealer};
use crate::store::{Store, Writer};

/// What the node's handle asks of the driver.
pub(crate) enum Request {
    /// Runs a command.
    Command(Command, oneshot::Sender<CommandResult>),
    /// Reads the state.
    Snapshot(oneshot::Sender<Snapshot>),
    /// For history: the names of people, and who has which of our messages.
    Marks(
        RoomId,
        Vec<(PeerId, u64)>,
        oneshot::Sender<Vec<(String, Vec<PeerId>)>>,
    ),
    /// The files behind an offer that is about to be made.
    Source(RoomId, OfferId, Arc<[SourceEntry]>),
    /// Ends the node.
    Shutdown(oneshot::Sender<()>),
}

pub(crate) struct Driver {
    pub engine: Engine,
    pub identity: Arc<Identity>,
    pub name: String,
    pub fp: kith_protocol::ids::Digest,
    pub store: Arc<Store>,
    pub parts: Parts,
    pub writer: Writer,
    pub subscribers: Arc<Subscribers>,
    pub tasks: Tasks,
    pub links: Links,
    pub lanes: Lanes,
    pub inputs: mpsc::Sender<Input>,
    pub started: Instant,
    /// Room keys by room, for sealing; filled by `Join`.
    pub keys: HashMap<RoomId, RoomKeys>,
    pub state: State,
}

/// Who carries out what.
#[derive(Default)]
pub(crate) struct State {
    /// Inputs that effects produced at once.
    pub(super) local: VecDeque<Input>,
    replies: HashMap<ReqId, oneshot::Sender<CommandResult>>,
    next_req: ReqId,
    sessions: HashMap<Sid, mpsc::UnboundedSender<ClientMessage>>,
    sealers: HashMap<(Sid, Sid), Sealer>,
    links: HashMap<LinkId, Outgoing>,
    pub(super) work: Workers,
    /// Store jobs that the writer had no place for.
    backlog: VecDeque<(JobId, Vec<Put>)>,
}

impl Driver {
    pub async fn run(
        mut self,
        mut inputs: mpsc::Receiver<Input>,
        mut requests: mpsc::Receiver<Request>,
    ) {
        let done = loop {
            self.drain();
            let deadline = self.engine.deadline();
            let wake = async {
                match deadline {
                    Some(d) => tokio::time::sleep_until(self.instant(d.at).into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                input = inputs.recv() => match input {
                    Some(input) => self.state.local.push_back(input),
                    None => break None,
                },
                request = requests.recv() => match request {
                    Some(Request::Shutdown(done)) => break Some(done),
                    Some(request) => self.on_request(request),
                    None => break None,
                },
                () = wake => self.state.local.push_back(Input::Timeout),
            }
        };
        self.state.local.push_back(Input::Shutdown);
        self.drain();
        self.finish(inputs).await;
        if let Some(done) = done {
            let _ = done.send(());
        }
    }

    /// Ends all tasks and flushes the store. What the tasks still report is read and dropped, so
    /// that none waits for us.
    async fn finish(mut self, mut inputs: mpsc::Receiver<Input>) {
        let jobs = std::mem::take(&mut self.state.backlog);
        self.state = State::default();
        let reading = async { while inputs.recv().await.is_some() {} };
        let writer = self.writer;
        let flush = async {
            for (id, puts) in jobs {
                if writer.submit(id, puts).await.is_err() {
                    break;
                }
            }
            let _ = tokio::task::spawn_blocking(move || writer.close()).await;
            self.tasks.shutdown(super::SHUTDOWN).await;
        };
        tokio::select! {
            () = flush => {}
            () = async { reading.await; std::future::pending().await } => {}
        }
        self.subscribers.close();
    }

    fn drain(&mut self) {
        while let Some(input) = self.state.local.pop_front() {
            if let Input::Stored(_) | Input::StoreFailed(..) = input {
                self.flush_backlog();
            }
            let now = self.now();
            self.engine.handle(input, now);
            while let Some(effect) = self.engine.poll() {
                self.act(effect);
            }
        }
    }

    fn on_request(&mut self, request: Request) {
        match request {
            Request::Command(command, reply) => {
                if let Command::Join(invite) = &command {
                    let keys = invite.keys();
                    self.keys.insert(keys.room_id(), keys);
                }
                if let Command::Rename(name) = &command {
                    // Handshakes from now on say this one.
                    self.name.clone_from(name);
                }
                self.state.next_req += 1;
                let req = self.state.next_req;
                self.state.replies.insert(req, reply);
                self.state.local.push_back(Input::Command(req, command));
            }
            Request::Snapshot(reply) => {
                let _ = reply.send(self.engine.snapshot());
            }
            Request::Marks(room, messages, reply) => {
                let mark = |(author, seq)| {
                    (
                        self.engine.name_of(author),
                        self.engine.delivered(room, seq),
                    )
                };
                let _ = reply.send(messages.into_iter().map(mark).collect());
            }
            Request::Source(room, offer, source) => {
                self.state.work.knows((room, offer), source);
            }
            // Taken by the loop.
            Request::Shutdown(_) => {}
        }
    }

    fn act(&mut self, effect: Effect) {
        match effect {
            Effect::Session(room, sid, effect) => self.on_session(room, sid, effect),
            Effect::Seal {
                room,
                me,
                them,
                effect,
            } => self.on_seal(room, me, them, effect),
            Effect::Link {
                room,
                peer,
                link,
                effect,
            } => self.on_link(room, peer, link, effect),
            Effect::Serve(key, run, effect) => self.on_serve(key, run, effect),
            Effect::Fetch(key, run, effect) => self.on_fetch(key, run, effect),
            Effect::Bound(of, rate) => self.bound(of).set(rate),
            Effect::Vouch(room, offer, word) => self.vouch(room, offer, word),
            Effect::Hold(key, run, effect) => self.on_hold(key, run, effect),
            Effect::Store(job, puts) => {
                self.state.backlog.push_back((job, puts));
                self.flush_backlog();
            }
            Effect::LoadChat {
                job,
                room,
                from,
                max,
            } => {
                let (store, inputs) = (Arc::clone(&self.store), self.inputs.clone());
                let me = self.identity.peer_id();
                self.tasks.spawn_blocking("load chat", move || {
                    let entries =
                        store
                            .chat(room, me, from, max as usize)
                            .unwrap_or_else(|error| {
                                tracing::warn!(%error, "our own log cannot be read");
                                Vec::new()
                            });
                    let _ = inputs.blocking_send(Input::ChatLoaded(job, entries));
                });
            }
            Effect::Reply(req, result) => {
                if let Some(reply) = self.state.replies.remove(&req) {
                    let _ = reply.send(result);
                }
            }
            Effect::Event(event) => self.subscribers.push(&event),
        }
    }

    fn on_session(&mut self, room: RoomId, sid: Sid, effect: SessionEffect) {
        match effect {
            SessionEffect::Dial(addr) => {
                let (outgoing, queue) = mpsc::unbounded_channel();
                self.state.sessions.insert(sid, outgoing);
                let inputs = self.inputs.clone();
                let token = self.tasks.token().clone();
                let task = server::run(room, sid, addr, queue, inputs, token);
                self.tasks.spawn("room server", task);
            }
            SessionEffect::Send(message) => {
                let gone = self
                    .state
                    .sessions
                    .get(&sid)
                    .is_none_or(|s| s.send(message).is_err());
                if gone {
                    self.state.sessions.remove(&sid);
                    let news = SessionNews::Closed(Code::ServerUnreachable);
                    self.state.local.push_back(Input::Session(room, sid, news));
                }
            }
            SessionEffect::Close => {
                self.state.sessions.remove(&sid);
                self.state.sealers.retain(|(me, _), _| *me != sid);
            }
        }
    }

    fn on_seal(&mut self, room: RoomId, me: Sid, them: Sid, effect: SealEffect) {
        let mut news = Vec::new();
        match effect {
            SealEffect::Open => {
                let Some(keys) = self.keys.get(&room) else {
                    return;
                };
                let context = SealContext {
                    psk: (*keys.psk()).into(),
                    room_id: room,
                    my_sid: me,
                    their_sid: them,
                    fp: self.fp,
                    name: self.name.clone(),
                    caps: Vec::new(),
                };
                match Sealer::new(&self.identity, context) {
                    Ok(sealer) => {
                        self.state.sealers.insert((me, them), sealer);
                    }
                    Err(error) => tracing::warn!(%error, "no seal with this member"),
                }
            }
            SealEffect::Close => {
                self.state.sealers.remove(&(me, them));
            }
            SealEffect::Begin
            | SealEffect::Read(_)
            | SealEffect::Send(_)
            | SealEffect::AskAgain => {
                let Some(sealer) = self.state.sealers.get_mut(&(me, them)) else {
                    return;
                };
                news = seal(sealer, effect);
            }
        }
        let input = |news| Input::Seal {
            room,
            me,
            them,
            news,
        };
        self.state.local.extend(news.into_iter().map(input));
    }

    fn on_link(&mut self, room: RoomId, peer: PeerId, link: LinkId, effect: LinkEffect) {
        match effect {
            LinkEffect::Open { ice_servers, .. } => {
                let effects = self.links.open(room, peer, link, ice_servers);
                self.state.links.insert(link, effects);
            }
            LinkEffect::Close => {
                if let Some(outgoing) = self.state.links.remove(&link) {
                    outgoing.send(LinkEffect::Close);
                }
            }
            LinkEffect::Offer { .. }
            | LinkEffect::AcceptOffer(_)
            | LinkEffect::AcceptAnswer(_)
            | LinkEffect::AddCandidate(_)
            | LinkEffect::Strand(..)
            | LinkEffect::Send(_)
            | LinkEffect::Beat(_)
            | LinkEffect::Ack { .. } => {
                let Some(outgoing) = self.state.links.get(&link) else {
                    return;
                };
                if !outgoing.send(effect) {
                    tracing::warn!(%peer, "too much waits for somebody who does not read");
                    // The link is closed with all that waits; it can be made anew.
                    self.state.links.remove(&link);
                    let news = LinkNews::Broken(Code::LinkLost);
                    let input = Input::Link {
                        room,
                        peer,
                        link,
                        news,
                    };
                    self.state.local.push_back(input);
                }
            }
        }
    }

    fn flush_backlog(&mut self) {
        while let Some((job, puts)) = self.state.backlog.pop_front() {
            if let Err(full) = self.writer.try_submit(job, puts) {
                self.state.backlog.push_front((job, full.0));
                return;
            }
        }
    }

    fn now(&self) -> Now {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Now {
            mono: Mono(self.started.elapsed().as_millis() as u64),
            unix_ms: unix.as_millis() as u64,
        }
    }

    fn instant(&self, at: Mono) -> Instant {
        // Rounded up: waking a moment early would only mean to be called again at once.
        self.started + std::time::Duration::from_millis(at.0.saturating_add(1))
    }
}

fn seal(sealer: &mut Sealer, effect: SealEffect) -> Vec<CoreSealNews> {
    let done = match effect {
        SealEffect::Begin => sealer.begin().map(|bytes| vec![CoreSealNews::Send(bytes)]),
        SealEffect::AskAgain => Ok(vec![CoreSealNews::Send(sealer.ask_again())]),
        SealEffect::Send(body) => sealer
            .seal(&body)
            .map(|bytes| vec![CoreSealNews::Send(bytes)]),
        SealEffect::Read(body) => sealer.read(body).map(|news| {
            let core = |news| match news {
                SealNews::Send(bytes) => Some(CoreSealNews::Send(bytes)),
                SealNews::Ready { hello, tag, .. } => {
                    Some(CoreSealNews::Ready(Box::new(hello), tag))
                }
                SealNews::Body(body) => Some(CoreSealNews::Body(Box::new(body))),
                SealNews::AskedAgain => Some(CoreSealNews::AskedAgain),
                SealNews::Superseded => Some(CoreSealNews::Superseded),
                SealNews::Stale => None,
            };
            news.into_iter().filter_map(core).collect()
        }),
        SealEffect::Open | SealEffect::Close => Ok(Vec::new()),
    };
    done.unwrap_or_else(|error| {
        tracing::warn!(%error, hostile = error.is_hostile(), "a sealed message was refused");
        vec![CoreSealNews::Broken]
    })
}

/// What is said when the driver is gone.
pub(crate) fn ended() -> ApiError {
    ApiError::with(Code::NotNow, "Kith is shutting down.")
}
