//! What outlives the process.
//!
//! One directory, the *home*, belongs to one process at a time:
//!
//! ```text
//! home/           0700
//!   lock          held while the store is open
//!   schema        number of the record format, readable without opening the store
//!   store/        0700, the database
//! ```
//!
//! The database keeps two trees. `records` holds everything small under prefixed keys (see
//! `keys`); `manifests` holds the file lists of fetches, which may be tens of megabytes and would
//! otherwise be written again with every small neighbour, as the database writes whole leaves.
//! Nothing reaches the disk between two flushes and only [`Store::apply`] flushes, so that all
//! jobs of one call become durable together, across both trees, or not at all.
//!
//! A flush that fails leaves the database unusable until the process restarts, therefore
//! [`Store::apply`] refuses to write to a nearly full disk before it touches anything.

mod codec;
mod db;
mod home;
mod keys;
mod plan;
mod read;
mod writer;

use std::path::Path;

use kith_core::record::{ChatRecord, Put, Saved, SavedFetch};
use kith_protocol::{Code, PeerId, RoomId};

use crate::seal::Identity;
use db::Database;
use home::Home;

pub use writer::{QueueFull, Report, Writer, WriterGone};

/// The record format this build writes.
pub const SCHEMA: u32 = 1;

/// Why the store cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has this home open.
    #[error("Another Kith uses this profile. Close it, or choose another with --home.")]
    InUse,
    /// A newer Kith wrote this home.
    #[error(
        "This profile was written by a newer Kith (format {found}, known {known}). Update to use it."
    )]
    Newer {
        /// The format found.
        found: u32,
        /// The newest one this build reads.
        known: u32,
    },
    /// The data is damaged, or an earlier write failed in a way that needs a restart.
    #[error("The profile's data cannot be read: {what}.")]
    Broken {
        /// What is wrong, for the log.
        what: String,
    },
    /// There is not enough space to write safely. Nothing was changed.
    #[error("The disk is full.")]
    DiskFull,
    /// The home cannot be created or opened.
    #[error("The profile folder cannot be used: {0}.")]
    Denied(std::io::Error),
    /// The system gave no random bytes for a new identity.
    #[error("the system gave no random bytes")]
    NoRandomness,
}

impl StoreError {
    /// What the user is told.
    pub fn code(&self) -> Code {
        match self {
            StoreError::InUse => Code::HomeInUse,
            StoreError::Newer { .. } | StoreError::Broken { .. } => Code::StoreBroken,
            StoreError::DiskFull => Code::DiskFull,
            StoreError::Denied(_) => Code::DiskDenied,
            StoreError::NoRandomness => Code::DiskError,
        }
    }

    /// Whether the same call may succeed later without a restart.
    pub fn is_final(&self) -> bool {
        match self {
            StoreError::Newer { .. } | StoreError::Broken { .. } => true,
            StoreError::InUse
            | StoreError::DiskFull
            | StoreError::Denied(_)
            | StoreError::NoRandomness => false,
        }
    }

    fn broken(what: impl Into<String>) -> Self {
        StoreError::Broken { what: what.into() }
    }
}

/// The result of a store operation.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// An open home. Shared between threads: reads run beside the one writer.
#[derive(Debug)]
pub struct Store {
    db: Database,
    // Declared last, so that the lock is given back after the database has closed.
    _home: Home,
}

impl Store {
    /// Opens the home, and makes it (private to this user) where there is none.
    ///
    /// Blocks for the time recovery takes. [`StoreError::InUse`] while another process, or
    /// another `Store` in this one, has it open.
    pub fn open(home: &Path) -> Result<Self> {
        let home = Home::claim(home)?;
        let db = Database::open(&home)?;
        Ok(Store { db, _home: home })
    }

    /// Our lasting identity; made and durable on first use.
    pub fn identity(&self) -> Result<Identity> {
        if let Some(bytes) = self.db.get(keys::IDENTITY)? {
            return codec::identity(&bytes);
        }
        let me = Identity::generate().map_err(|_| StoreError::NoRandomness)?;
        let value = codec::identity_value(&me);
        codec::identity(&self.db.insert_if_absent(keys::IDENTITY, &value)?)
    }

    /// The display name its user chose, if any.
    pub fn display_name(&self) -> Result<Option<String>> {
        let value = self.db.get(keys::NAME)?;
        value.map(|v| codec::record(&v, "display name")).transpose()
    }

    /// Keeps the display name, durably.
    pub fn set_display_name(&self, name: &str) -> Result<()> {
        self.db.insert(keys::NAME, &codec::value(&name))
    }

    /// Everything the engine needs at start, in key order.
    pub fn load(&self) -> Result<Saved> {
        self.db.read(read::load)
    }

    /// The fetches that were accepted, in key order.
    pub fn fetches(&self) -> Result<Vec<SavedFetch>> {
        self.db.read(read::fetches)
    }

    /// Applies jobs in order, all together and durably: when this returns, they survive a crash
    /// of the machine; if it fails, none of them is there after the next start.
    ///
    /// Progress ([`Put::Ranges`], [`Put::EntriesDone`]) of a fetch that is not stored is dropped:
    /// there is nothing it could belong to. A [`Put::Fetch`] that replaces one with another
    /// folder, tag or manifest starts without progress, as its part files are others.
    pub fn apply(&self, jobs: &[Vec<Put>]) -> Result<()> {
        self.db.write(|tables| {
            let mut plan = plan::Plan::new(tables);
            for put in jobs.iter().flatten() {
                plan.put(put)?;
            }
            Ok(plan.into_batches())
        })
    }

    /// At most `max` entries of `author`'s log in `room`, ascending, from number `from_seq`.
    pub fn chat(
        &self,
        room: RoomId,
        author: PeerId,
        from_seq: u64,
        max: usize,
    ) -> Result<Vec<(u64, ChatRecord)>> {
        self.db.read(|t| read::chat(t, room, author, from_seq, max))
    }

    /// The newest page of `room`'s timeline across all authors: at most `max` messages before
    /// position `before` (the end, if none), ascending by `(stored, author, seq)`.
    pub fn history(
        &self,
        room: RoomId,
        before: Option<(u64, PeerId, u64)>,
        max: usize,
    ) -> Result<Vec<(PeerId, u64, ChatRecord)>> {
        self.db.read(|t| read::history(t, room, before, max))
    }
}
