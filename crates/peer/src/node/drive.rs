//! The driver of the core: one task owns the engine, feeds it and carries out its effects.
//!
//! It never waits for what an effect does: whoever carries it out has a queue of its own and
//! reports back as an input. So inputs may be bounded, and their senders may wait.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use kith_api::{ApiError, Snapshot};
use kith_core::effect::{
    self, FetchEffect, HoldEffect, LinkEffect, SealEffect, ServeEffect, SessionEffect,
};
use kith_core::input::{
    Command, CommandResult, HoldKey, Input, JobId, LinkNews, ReqId, SealNews as CoreSealNews,
    ServeKey, SessionNews,
};
use kith_core::record::{FetchKey, Put};
use kith_core::{Effect, Engine, Mono, Now};
use kith_protocol::invite::RoomKeys;
use kith_protocol::room::ClientMessage;
use kith_protocol::{Code, LinkId, OfferId, PeerId, RoomId, Sid};
use tokio::sync::{mpsc, oneshot};

use super::fetching::{self, Fetching, Start};
use super::hashing::OfferHashes;
use super::holding::Holding;
use super::lanes::Lanes;
use super::links::{Links, Outgoing};
use super::pacing::Bound;
use super::parts::Parts;
use super::server;
use super::serving::{Plan, Serving, Way};
use super::subscription::Subscribers;
use super::tasks::Tasks;
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
    local: VecDeque<Input>,
    replies: HashMap<ReqId, oneshot::Sender<CommandResult>>,
    next_req: ReqId,
    sessions: HashMap<Sid, mpsc::UnboundedSender<ClientMessage>>,
    sealers: HashMap<(Sid, Sid), Sealer>,
    links: HashMap<LinkId, Outgoing>,
    serves: HashMap<ServeKey, (u32, Serving)>,
    fetches: HashMap<FetchKey, (u32, Fetching)>,
    holds: HashMap<HoldKey, (u32, Holding)>,
    sources: HashMap<(RoomId, OfferId), Arc<[SourceEntry]>>,
    /// Bounds that several share.
    bounds: HashMap<effect::Bound, Bound>,
    /// Hashes of offers, for as long as somebody is served who needs them.
    hashes: HashMap<(RoomId, OfferId), Weak<OfferHashes>>,
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
                self.state.sources.insert((room, offer), source);
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

    fn on_serve(&mut self, key: ServeKey, run: u32, effect: ServeEffect) {
        match effect {
            ServeEffect::Start {
                link,
                transfer,
                done,
                have,
                pull,
                ..
            } => {
                let source = self.state.sources.get(&(key.room, key.offer)).cloned();
                let Some(source) = source else {
                    let news = kith_core::input::ServeNews::Failed(Code::SourceGone);
                    self.state.local.push_back(Input::Serve(key, run, news));
                    return;
                };
                let way = match pull {
                    true => Way::Pull(self.hashes(key, &source)),
                    false => Way::Push,
                };
                let plan = Plan {
                    key,
                    run,
                    link,
                    transfer,
                    source,
                    done,
                    have,
                    way,
                };
                let offer = effect::Bound::Offer(key.room, key.offer);
                let bounds = vec![self.bound(effect::Bound::Up), self.bound(offer)];
                let inputs = self.inputs.clone();
                let serving = Serving::start(plan, bounds, &self.lanes, &self.tasks, inputs);
                self.state.serves.insert(key, (run, serving));
            }
            ServeEffect::Want { entry, ranges } => {
                if let Some((_, serving)) = self.state.serves.get(&key).filter(|s| s.0 == run) {
                    serving.want(entry, ranges);
                }
            }
            ServeEffect::Arrived(entries) => {
                if let Some((_, serving)) = self.state.serves.get(&key).filter(|s| s.0 == run) {
                    serving.arrived_whole(&entries);
                }
            }
            ServeEffect::Hold(held) => {
                if let Some((_, serving)) = self.state.serves.get(&key).filter(|s| s.0 == run) {
                    serving.hold(held);
                }
            }
            ServeEffect::Pace(most) => {
                if let Some((_, serving)) = self.state.serves.get(&key).filter(|s| s.0 == run) {
                    serving.pace(most);
                }
            }
            ServeEffect::Stop => {
                if self.state.serves.get(&key).is_some_and(|s| s.0 == run) {
                    self.state.serves.remove(&key);
                }
            }
        }
    }

    fn on_fetch(&mut self, key: FetchKey, run: u32, effect: FetchEffect) {
        match effect {
            FetchEffect::Prepare {
                record,
                ranges,
                done,
            } => {
                self.parts.begin(&record);
                let start = Start {
                    key,
                    run,
                    parts: self.parts.clone(),
                    record,
                    ranges,
                    done,
                };
                let fetching =
                    Fetching::start(start, &self.lanes, &self.tasks, self.inputs.clone());
                self.state.fetches.insert(key, (run, fetching));
            }
            FetchEffect::Attach { link, transfer } => {
                if let Some((_, f)) = self.state.fetches.get_mut(&key).filter(|f| f.0 == run) {
                    f.attach(link, transfer);
                }
            }
            FetchEffect::AddSource { link, transfer } => {
                if let Some((_, f)) = self.state.fetches.get_mut(&key).filter(|f| f.0 == run) {
                    f.add_source(link, transfer);
                }
            }
            FetchEffect::DropSource { link, transfer } => {
                if let Some((_, f)) = self.state.fetches.get_mut(&key).filter(|f| f.0 == run) {
                    f.drop_source(link, transfer);
                }
            }
            FetchEffect::Expect { entry, hash } => {
                if let Some((_, f)) = self.state.fetches.get(&key).filter(|f| f.0 == run) {
                    f.expect(entry, hash);
                }
            }
            FetchEffect::Probe { dir, needed } => {
                let inputs = self.inputs.clone();
                self.tasks.spawn_blocking("look at a disk", move || {
                    fetching::look(key, run, &dir, needed, &inputs);
                });
            }
            FetchEffect::Discard { record, begun } => {
                self.tasks.spawn_blocking("remove part files", move || {
                    fetching::discard(&record, &begun);
                });
            }
            FetchEffect::Stop { discard } => {
                if self.state.fetches.get(&key).is_some_and(|f| f.0 == run)
                    && let Some((_, fetching)) = self.state.fetches.remove(&key)
                {
                    fetching.stop(discard);
                }
            }
        }
    }

    /// The bound of this, made where there is none yet.
    fn bound(&mut self, of: effect::Bound) -> Bound {
        let bounds = &mut self.state.bounds;
        bounds.entry(of).or_insert_with(|| Bound::new(None)).clone()
    }

    fn on_hold(&mut self, key: HoldKey, run: u32, effect: HoldEffect) {
        match effect {
            HoldEffect::Start {
                link,
                transfer,
                record,
            } => {
                let (tasks, inputs) = (&self.tasks, self.inputs.clone());
                if let Some(lane) = self.lanes.get(link) {
                    let holding =
                        Holding::start((key, run), (lane, transfer), record, tasks, inputs);
                    self.state.holds.insert(key, (run, holding));
                }
            }
            HoldEffect::Want {
                entry,
                ranges,
                name,
            } => {
                if let Some((_, h)) = self.state.holds.get(&key).filter(|h| h.0 == run) {
                    h.want(entry, ranges, name);
                }
            }
            HoldEffect::Stop => {
                if self.state.holds.get(&key).is_some_and(|h| h.0 == run) {
                    self.state.holds.remove(&key);
                }
            }
        }
    }

    /// The hashes of an offer: those that are at hand, or new ones.
    fn hashes(&mut self, key: ServeKey, source: &Arc<[SourceEntry]>) -> Arc<OfferHashes> {
        self.state.hashes.retain(|_, h| h.strong_count() > 0);
        let at = (key.room, key.offer);
        let known = self.state.hashes.get(&at).and_then(Weak::upgrade);
        if let Some(hashes) = known.filter(|h| !h.has_failed()) {
            return hashes;
        }
        let hashes = OfferHashes::start(source, &self.tasks);
        self.state.hashes.insert(at, Arc::downgrade(&hashes));
        hashes
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
