//! Chat as replicated logs: everybody writes an own log per room, and each pair copies what the
//! other lacks. Entry numbers rise by one, so delivery is exactly once and in order, across lost
//! links and restarts, without a list of what is under way.
//!
//! Sending: an entry is stored, then sent; at most [`WINDOW`] entries are unacknowledged per peer.
//! Receiving: an entry is stored, then shown and acknowledged; anything but the next number is
//! dropped, and a gap is asked about.

mod pump;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use kith_api::ApiError;
use kith_protocol::peer::PeerMessage;
use kith_protocol::{Code, MsgId, PeerId, RoomId, limits};

use crate::effect::Effect;
use crate::engine::Ctx;
use crate::input::{JobId, Reply, ReqId};
use crate::record::{ChatRecord, LogHead, Put};
use crate::time::{Deadline, Mono};

/// Entries sent to a peer and not yet acknowledged.
pub const WINDOW: u64 = 64;
/// Newest own entries kept in memory; older ones are read from the store.
pub const TAIL: usize = 256;
/// Entries of ours that may wait for the store; more are refused.
pub const QUEUE: u64 = 1024;
/// Entries of a peer's that may wait for the store; more are dropped and asked for again. An
/// honest one has no more than [`WINDOW`] that we have not acknowledged.
pub const PEER_QUEUE: u64 = WINDOW;
/// What could not be stored of a peer's log, or read of ours, is tried again after this, doubled
/// each time …
pub const RETRY_FIRST: Duration = Duration::from_secs(2);
/// … up to this.
pub const RETRY_LAST: Duration = Duration::from_secs(30);
/// A peer may have us send the same window again so often; then the next link tries.
pub const RESTARTS: u32 = 64;

/// The logs of one room.
#[derive(Debug)]
pub struct Chat {
    room: RoomId,
    me: PeerId,
    own: Log,
    tail: VecDeque<(u64, ChatRecord)>,
    loading: Option<Loading>,
    /// When our own log could not be read.
    unread: Retry,
    peers: BTreeMap<PeerId, Peer>,
    /// Jobs that store how far a peer acknowledged; nothing waits for them.
    marks: BTreeSet<JobId>,
}

/// A page of our own log that is being read for a peer.
#[derive(Debug, Clone, Copy)]
struct Loading {
    job: JobId,
    peer: PeerId,
    from: u64,
}

/// One peer, linked or not.
#[derive(Debug, Default)]
struct Peer {
    /// Its log, as far as we have it.
    log: Log,
    /// What it has of our log, durably.
    acked: u64,
    /// While linked and synced: the last entry of ours sent over this link.
    sent: Option<u64>,
    /// What the peer said over this link that it has: the window counts from here. It can be less
    /// than `acked`, where the peer has lost its store.
    base: u64,
    /// How often the peer had us start over without getting any further.
    restarts: u32,
    linked: bool,
    /// A gap was asked about and not yet answered.
    asked: bool,
    /// Something came for which there was no room. It is asked for when there is.
    dropped: bool,
}

impl Peer {
    /// Asks for what follows, unless that is asked for already.
    fn ask(&mut self, peer: PeerId) -> Vec<ChatOut> {
        if std::mem::replace(&mut self.asked, true) {
            return Vec::new();
        }
        let have = self.log.pending();
        vec![ChatOut::Send(peer, PeerMessage::ChatSync { have })]
    }
}

/// The end of one log. Entries are stored in order, one job at a time, so that a failing store
/// can never leave a gap.
#[derive(Debug, Default)]
struct Log {
    durable: u64,
    queue: VecDeque<Item>,
    storing: Option<(JobId, Vec<Item>)>,
    /// When it could not be stored.
    retry: Retry,
}

/// The store failed so often in a row, and is to be asked again then.
#[derive(Debug, Default)]
struct Retry {
    failures: u32,
    at: Option<Mono>,
}

impl Retry {
    fn failed(&mut self, now: Mono) {
        let pause = RETRY_FIRST.saturating_mul(1 << self.failures.min(10));
        self.at = Some(now + pause.min(RETRY_LAST));
        self.failures = self.failures.saturating_add(1);
    }

    /// Whether to try again now; the next failure sets another time.
    fn is_due(&mut self, now: Mono) -> bool {
        self.at.take_if(|at| *at <= now).is_some()
    }
}

#[derive(Debug)]
struct Item {
    record: ChatRecord,
    /// Who waits for it, where it is ours.
    req: Option<ReqId>,
}

impl Log {
    fn pending(&self) -> u64 {
        let storing = self.storing.as_ref().map_or(0, |(_, items)| items.len());
        self.durable + (storing + self.queue.len()) as u64
    }

    fn push(&mut self, room: RoomId, author: PeerId, item: Item, ctx: &mut Ctx<'_>) {
        self.queue.push_back(item);
        self.store(room, author, ctx);
    }

    fn store(&mut self, room: RoomId, author: PeerId, ctx: &mut Ctx<'_>) {
        if self.storing.is_some() || self.queue.is_empty() || self.retry.at.is_some() {
            return;
        }
        let items: Vec<Item> = self.queue.drain(..).collect();
        let puts = items
            .iter()
            .zip(self.durable + 1..)
            .map(|(item, seq)| Put::Chat(room, author, seq, item.record.clone()));
        let job = ctx.job();
        ctx.out(Effect::Store(job, puts.collect()));
        self.storing = Some((job, items));
    }

    /// The job is durable: its entries with their numbers.
    fn stored(&mut self, job: JobId) -> Option<Vec<(u64, Item)>> {
        let (_, items) = self.storing.take_if(|(j, _)| *j == job)?;
        self.retry.failures = 0;
        let first = self.durable + 1;
        self.durable += items.len() as u64;
        Some((first..).zip(items).collect())
    }

    /// The job failed: what it held waits for the next try. Dropped, it would be missing until
    /// the author writes again, as nobody would ask for it.
    fn keep(&mut self, job: JobId, now: Mono) {
        let Some((_, items)) = self.storing.take_if(|(j, _)| *j == job) else {
            return;
        };
        for item in items.into_iter().rev() {
            self.queue.push_front(item);
        }
        self.retry.failed(now);
    }

    /// The job failed: everything that was not durable, dropped.
    fn failed(&mut self, job: JobId) -> Option<Vec<Item>> {
        let (_, mut items) = self.storing.take_if(|(j, _)| *j == job)?;
        items.extend(self.queue.drain(..));
        Some(items)
    }
}

/// What the chat tells its room.
#[derive(Debug, PartialEq, Eq)]
pub enum ChatOut {
    /// Send to the peer.
    Send(PeerId, PeerMessage),
    /// Show an entry: `(author, seq, record)`.
    Show(PeerId, u64, ChatRecord),
    /// Our entries in this range are now on that peer's disk.
    Delivered(PeerId, u64, u64),
}

impl Chat {
    /// Restores what the store knows.
    pub fn new(
        room: RoomId,
        me: PeerId,
        heads: &[LogHead],
        acked: &[(RoomId, PeerId, u64)],
    ) -> Self {
        let mut chat = Chat {
            room,
            me,
            own: Log::default(),
            tail: VecDeque::new(),
            loading: None,
            unread: Retry::default(),
            peers: BTreeMap::new(),
            marks: BTreeSet::new(),
        };
        for head in heads.iter().filter(|h| h.room == room) {
            if head.author == me {
                chat.own.durable = head.seq;
            } else {
                chat.peers.entry(head.author).or_default().log.durable = head.seq;
            }
        }
        for (_, peer, upto) in acked.iter().filter(|a| a.0 == room) {
            chat.peers.entry(*peer).or_default().acked = (*upto).min(chat.own.durable);
        }
        chat
    }

    /// Who has our entry `seq` on disk.
    pub fn delivered(&self, seq: u64) -> Vec<PeerId> {
        self.peers
            .iter()
            .filter(|(_, p)| p.acked >= seq)
            .map(|(id, _)| *id)
            .collect()
    }

    /// Our entries from number `from` to `to`, of those still in memory.
    pub fn own(&self, from: u64, to: u64) -> Vec<(u64, ChatRecord)> {
        self.tail
            .iter()
            .filter(|(seq, _)| (from..=to).contains(seq))
            .cloned()
            .collect()
    }

    /// Writes a message; answered once it is durable.
    pub fn write(&mut self, text: String, req: ReqId, ctx: &mut Ctx<'_>) -> Result<(), ApiError> {
        if text.trim().is_empty() {
            return Err(ApiError::with(
                Code::BadRequest,
                "An empty message is not sent.",
            ));
        }
        if text.len() > limits::MAX_TEXT {
            let most = limits::MAX_TEXT;
            return Err(ApiError::with(
                Code::TooLarge,
                format!("The message is longer than {most} bytes. Send it as a file."),
            ));
        }
        // JSON writes a control character as six: such a text would fit here and not on the way.
        let escaped = serde_json::to_string(&text).map_or(usize::MAX, |t| t.len());
        if escaped > limits::MAX_PEER_MESSAGE - 512 {
            return Err(ApiError::with(
                Code::TooLarge,
                "The message holds too many special characters. Send it as a file.",
            ));
        }
        if self.own.pending() - self.own.durable >= QUEUE {
            return Err(ApiError::new(Code::Busy));
        }
        let now = ctx.now.unix_ms;
        let record = ChatRecord {
            id: MsgId(ctx.random()),
            at: now,
            stored: now,
            text,
        };
        self.own.push(
            self.room,
            self.me,
            Item {
                record,
                req: Some(req),
            },
            ctx,
        );
        Ok(())
    }

    /// A link is open: say what we have; the other does the same.
    pub fn on_open(&mut self, peer: PeerId) -> Vec<ChatOut> {
        let p = self.peers.entry(peer).or_default();
        p.linked = true;
        p.sent = None;
        p.base = 0;
        p.restarts = 0;
        p.asked = false;
        p.dropped = false;
        vec![ChatOut::Send(
            peer,
            PeerMessage::ChatSync {
                have: p.log.durable,
            },
        )]
    }

    /// The link is gone.
    pub fn on_closed(&mut self, peer: PeerId) {
        if let Some(p) = self.peers.get_mut(&peer) {
            p.linked = false;
            p.sent = None;
        }
    }

    /// The peer says what it has of our log.
    pub fn on_sync(&mut self, peer: PeerId, have: u64, ctx: &mut Ctx<'_>) -> Vec<ChatOut> {
        // A peer cannot have what was never written; its word is bounded by our own.
        let have = have.min(self.own.durable);
        if let Some(p) = self.peers.get_mut(&peer).filter(|p| p.linked) {
            if p.restarts > RESTARTS {
                return Vec::new();
            }
            p.restarts += 1;
            p.sent = Some(have);
            p.base = have;
        }
        self.on_ack(peer, have, ctx)
    }

    /// The peer has our log on disk up to here.
    pub fn on_ack(&mut self, peer: PeerId, upto: u64, ctx: &mut Ctx<'_>) -> Vec<ChatOut> {
        let upto = upto.min(self.own.durable);
        let p = self.peers.entry(peer).or_default();
        let mut out = Vec::new();
        if upto > p.base {
            p.base = upto;
            p.restarts = 0;
        }
        if upto > p.acked {
            out.push(ChatOut::Delivered(peer, p.acked + 1, upto));
            p.acked = upto;
            let job = ctx.job();
            ctx.out(Effect::Store(job, vec![Put::Acked(self.room, peer, upto)]));
            self.marks.insert(job);
        }
        out.extend(self.pump(peer, ctx));
        out
    }

    /// An entry of the peer's log has come.
    pub fn on_chat(
        &mut self,
        peer: PeerId,
        seq: u64,
        id: MsgId,
        at: u64,
        text: String,
        ctx: &mut Ctx<'_>,
    ) -> Vec<ChatOut> {
        let p = self.peers.entry(peer).or_default();
        if seq <= p.log.durable {
            return vec![ChatOut::Send(
                peer,
                PeerMessage::ChatAck {
                    upto: p.log.durable,
                },
            )];
        }
        let pending = p.log.pending();
        if seq <= pending {
            return Vec::new();
        }
        if pending - p.log.durable >= PEER_QUEUE {
            p.dropped = true;
            return Vec::new();
        }
        if seq > pending + 1 {
            return p.ask(peer);
        }
        p.asked = false;
        let record = ChatRecord {
            id,
            at,
            stored: ctx.now.unix_ms,
            text,
        };
        p.log.push(self.room, peer, Item { record, req: None }, ctx);
        Vec::new()
    }

    /// A store job of ours is durable.
    pub fn on_stored(&mut self, job: JobId, ctx: &mut Ctx<'_>) -> Vec<ChatOut> {
        if self.marks.remove(&job) {
            return Vec::new();
        }
        let mut out = Vec::new();
        if let Some(items) = self.own.stored(job) {
            for (seq, item) in items {
                if let Some(req) = item.req {
                    ctx.out(Effect::Reply(req, Ok(Reply::Sent(seq))));
                }
                out.push(ChatOut::Show(self.me, seq, item.record.clone()));
                self.tail.push_back((seq, item.record));
                if self.tail.len() > TAIL {
                    self.tail.pop_front();
                }
            }
            self.own.store(self.room, self.me, ctx);
            out.extend(self.pump_all(ctx));
            return out;
        }
        for (author, p) in &mut self.peers {
            let Some(items) = p.log.stored(job) else {
                continue;
            };
            out.extend(
                items
                    .into_iter()
                    .map(|(seq, i)| ChatOut::Show(*author, seq, i.record)),
            );
            if p.linked {
                out.push(ChatOut::Send(
                    *author,
                    PeerMessage::ChatAck {
                        upto: p.log.durable,
                    },
                ));
            }
            p.log.store(self.room, *author, ctx);
            if p.linked && std::mem::take(&mut p.dropped) {
                // What was asked for before may have been dropped as well.
                p.asked = false;
                out.extend(p.ask(*author));
            }
            break;
        }
        out
    }

    /// A store job of ours failed. What we wrote is as if never written; what others wrote is kept
    /// and stored later.
    pub fn on_store_failed(&mut self, job: JobId, code: Code, ctx: &mut Ctx<'_>) {
        if self.marks.remove(&job) {
            return;
        }
        for req in self
            .own
            .failed(job)
            .into_iter()
            .flatten()
            .filter_map(|i| i.req)
        {
            ctx.out(Effect::Reply(req, Err(ApiError::new(code))));
        }
        for p in self.peers.values_mut() {
            p.log.keep(job, ctx.now.mono);
        }
    }

    /// Acts on time.
    pub fn on_time(&mut self, ctx: &mut Ctx<'_>) -> Vec<ChatOut> {
        let now = ctx.now.mono;
        for (author, p) in &mut self.peers {
            if p.log.retry.is_due(now) {
                p.log.store(self.room, *author, ctx);
            }
        }
        if self.unread.is_due(now) {
            return self.pump_all(ctx);
        }
        Vec::new()
    }

    /// When [`Chat::on_time`] has something to do.
    pub fn deadline(&self) -> Option<Deadline> {
        let retries = self.peers.values().filter_map(|p| p.log.retry.at);
        retries.chain(self.unread.at).min().map(|at| Deadline {
            at,
            why: "store or read chat again",
        })
    }

    /// Whether `job` is one of ours.
    pub fn owns(&self, job: JobId) -> bool {
        let stores = |log: &Log| log.storing.as_ref().is_some_and(|(j, _)| *j == job);
        self.marks.contains(&job)
            || stores(&self.own)
            || self.loading.is_some_and(|l| l.job == job)
            || self.peers.values().any(|p| stores(&p.log))
    }
}

#[cfg(test)]
mod tests;
