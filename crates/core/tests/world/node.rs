//! One installation: what outlives its process, and the process if it runs.

use std::collections::BTreeMap;

use kith_core::input::{CommandResult, ReqId, ServeKey};
use kith_core::record::FetchKey;
use kith_core::{Config, Engine};
use kith_protocol::ids::{Digest, Signature};
use kith_protocol::sealed::Hello;
use kith_protocol::{IdPk, OfferId, PeerId, RoomId, Sid, derive};

use crate::files::{Disk, Fetching, Serving};
use crate::fold::Fold;
use crate::seal::Seal;
use crate::store::Store;

/// One installation.
pub struct Node {
    pub name: String,
    pub id_pk: IdPk,
    /// Counts processes: what was under way for an earlier one reaches nobody.
    pub life: u32,
    pub process: Option<Process>,
    pub store: Store,
    pub disk: Disk,
    /// Files it offers, in chunks.
    pub sources: BTreeMap<OfferId, Vec<Vec<u64>>>,
}

/// A running process.
pub struct Process {
    pub engine: Engine,
    pub config: Config,
    pub fold: Fold,
    pub replies: BTreeMap<ReqId, CommandResult>,
    pub seals: BTreeMap<(RoomId, Sid, Sid), Seal>,
    pub serving: BTreeMap<ServeKey, Serving>,
    pub fetching: BTreeMap<FetchKey, Fetching>,
    /// Timeouts handled at the current moment.
    pub timeouts: u32,
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
        };
        let seed = derive::hash(&[&seed.to_be_bytes(), self.name.as_bytes(), &life]);
        self.process = Some(Process {
            engine: Engine::new(config.clone(), self.store.saved(), seed),
            config,
            fold: Fold::default(),
            replies: BTreeMap::new(),
            seals: BTreeMap::new(),
            serving: BTreeMap::new(),
            fetching: BTreeMap::new(),
            timeouts: 0,
        });
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
