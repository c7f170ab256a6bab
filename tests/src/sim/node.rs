//! One installation: what outlives its process, and the process if it runs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use kith_core::effect::Bound;
use kith_core::input::{CommandResult, HoldKey, ReqId, ServeKey};
use kith_core::pace::Bucket;
use kith_core::record::FetchKey;
use kith_core::{Config, Engine, Input};
use kith_protocol::ids::{Digest, Signature};
use kith_protocol::peer::Entry;
use kith_protocol::sealed::Hello;
use kith_protocol::{Code, IdPk, LinkId, OfferId, PeerId, RoomId, Sid, derive};

use super::disk::{Disk, Serving};
use super::fetching::Fetching;
use super::fold::Fold;
use super::holding::Holding;
use super::seal::Seal;
use super::store::Store;
use super::world::What;

/// One installation.
pub(crate) struct Node {
    pub name: String,
    pub id_pk: IdPk,
    /// Counts processes: what was under way for an earlier one reaches nobody.
    pub life: u32,
    pub process: Option<Process>,
    pub store: Store,
    pub disk: Disk,
    /// Files it offers or once offered.
    pub sources: BTreeMap<OfferId, Source>,
    /// Those cannot be read at the moment.
    pub source_fault: Option<Code>,
    /// The machine sleeps since then, and its clock stops meanwhile or does not.
    pub asleep: Option<(u64, bool)>,
    /// What reaches it when it wakes up.
    pub held: VecDeque<What>,
    /// Milliseconds for which its clock stood still.
    pub clock_lost: u64,
    /// Its transfers outlive its processes.
    pub keep: bool,
    /// Offers that its user wants, and where to.
    pub wanted: BTreeMap<FetchKey, String>,
    /// What it told senders to be durable here.
    pub promises: BTreeMap<FetchKey, Promise>,
}

/// Files on offer, in chunks.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub name: String,
    pub entries: Vec<Entry>,
    pub tokens: Vec<Vec<u64>>,
    pub only: Option<PeerId>,
    pub strategy: Option<kith_api::Strategy>,
}

/// Chunks of one fetch that were acknowledged, by entry.
#[derive(Debug, Default, Clone)]
pub(crate) struct Promise {
    /// The part files' name.
    pub tag: String,
    pub chunks: BTreeMap<u32, BTreeSet<u64>>,
}

/// A running process.
pub(crate) struct Process {
    pub engine: Engine,
    pub config: Config,
    pub fold: Fold,
    pub replies: BTreeMap<ReqId, CommandResult>,
    pub local: VecDeque<Input>,
    pub seals: BTreeMap<(RoomId, Sid, Sid), Seal>,
    pub serving: BTreeMap<ServeKey, Serving>,
    /// Bounds that several serves share.
    pub bounds: BTreeMap<Bound, Bucket>,
    pub fetching: BTreeMap<FetchKey, Fetching>,
    pub holding: BTreeMap<HoldKey, Holding>,
    /// Transfers that were attached: which fetch, and what was promised before.
    pub transfers: BTreeMap<(LinkId, u32), (FetchKey, Promise)>,
    /// Offers of this process.
    pub offered: BTreeSet<OfferId>,
    /// Texts that are to be delivered, by number: their reply has come.
    pub sent: BTreeSet<u64>,
    /// Timeouts handled at the current moment.
    pub timeouts: u32,
}

/// What works for an engine until it is told to stop, known by a key and the number of its run.
pub(crate) trait Worker {
    fn run(&self) -> u32;
}

/// The worker of a key, if it is still that run of it: effects may come late.
pub(crate) fn of_run<K: Ord, W: Worker>(
    workers: &mut BTreeMap<K, W>,
    key: K,
    run: u32,
) -> Option<&mut W> {
    workers.get_mut(&key).filter(|w| w.run() == run)
}

/// Ends the worker of a key, if it is still that run of it.
pub(crate) fn stop_run<K: Ord + Copy, W: Worker>(
    workers: &mut BTreeMap<K, W>,
    key: K,
    run: u32,
) -> Option<W> {
    of_run(workers, key, run)?;
    workers.remove(&key)
}

impl Node {
    /// An installation that does not run yet.
    pub fn new(name: &str) -> Self {
        Node {
            name: name.into(),
            id_pk: IdPk(derive::hash(&[b"id", name.as_bytes()])),
            life: 0,
            process: None,
            store: Store::default(),
            disk: Disk::default(),
            sources: BTreeMap::new(),
            source_fault: None,
            asleep: None,
            held: VecDeque::new(),
            clock_lost: 0,
            keep: false,
            wanted: BTreeMap::new(),
            promises: BTreeMap::new(),
        }
    }

    /// Its identity.
    pub fn peer(&self) -> PeerId {
        self.id_pk.peer_id()
    }

    /// Starts a process, with a certificate of its own.
    pub fn start(&mut self, seed: u64) {
        self.life += 1;
        let life = self.life.to_be_bytes();
        let config = Config {
            id_pk: self.id_pk,
            name: self.name.clone(),
            fp: Digest(derive::hash(&[b"fp", self.name.as_bytes(), &life])),
            keep: self.keep,
            transfers: Default::default(),
        };
        let seed = derive::hash(&[&seed.to_be_bytes(), self.name.as_bytes(), &life]);
        self.process = Some(Process {
            engine: Engine::new(config.clone(), self.store.saved(), seed),
            config,
            fold: Fold::new(self.store.transfers.clone()),
            replies: BTreeMap::new(),
            local: VecDeque::new(),
            seals: BTreeMap::new(),
            serving: BTreeMap::new(),
            bounds: BTreeMap::new(),
            fetching: BTreeMap::new(),
            holding: BTreeMap::new(),
            transfers: BTreeMap::new(),
            offered: BTreeSet::new(),
            sent: BTreeSet::new(),
            timeouts: 0,
        });
    }

    /// Tags of the part files that other fetches than this one want, while it prepares.
    pub fn used_tags(&self, of: FetchKey) -> BTreeSet<String> {
        let running = self.process.iter().flat_map(|p| &p.fetching);
        if running.clone().any(|(key, f)| *key == of && f.prepared) {
            return BTreeSet::new();
        }
        let running = running.map(|(key, f)| (key, &f.record));
        let stored = self.store.fetches.iter();
        let all = stored.map(|(key, s)| (key, &s.record.tag));
        let all = all.chain(running.map(|(key, record)| (key, &record.tag)));
        let others = all.filter(|(key, _)| **key != of);
        others.map(|(_, tag)| tag.clone()).collect()
    }

    /// Whether it runs and is awake.
    pub fn is_up(&self) -> bool {
        self.process.is_some() && self.asleep.is_none()
    }
}

impl Process {
    /// What it says about itself under seal.
    pub fn hello(&self) -> Hello {
        Hello {
            id_pk: self.config.id_pk,
            cert: Signature([0; 64]),
            fp: self.config.fp,
            name: self.config.name.clone(),
            caps: Vec::new(),
        }
    }
}
