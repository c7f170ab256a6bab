//! Which part files belong to a fetch that somebody knows.
//!
//! A fetch that is queued or paused, or whose room is closed, has no worker: its record in the store
//! says that its parts are wanted. One that has just begun may have none yet: its worker does.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use kith_api::{ApiError, Empty, Handler as _};
use kith_core::record::FetchRecord;
use kith_protocol::Code;

use super::Node;
use super::faults::target_code;
use super::layout::part_tag;
use crate::disk::{self, DiskError, Leftovers, PartTag, Removed};
use crate::store::{Store, StoreError};

/// The fetches of a profile. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Parts {
    store: Arc<Store>,
    /// Of fetches whose worker may still run. Locked to add one or to look.
    running: Arc<Mutex<Vec<Weak<FetchRecord>>>>,
}

/// Tells which parts are in use; reads the store once, when it is first asked.
pub(crate) struct InUse<'a> {
    parts: &'a Parts,
    tags: HashSet<PartTag>,
    fetches: HashSet<String>,
    /// Folders that fetches fill, and those in which they lie.
    folders: HashSet<(String, String)>,
    stored: bool,
    /// The store does not say what is in use: then everything may be.
    unknown: bool,
}

impl Parts {
    pub fn new(store: Arc<Store>) -> Self {
        Parts {
            store,
            running: Arc::default(),
        }
    }

    /// A worker begins; its parts are in use for as long as it has the record.
    pub fn begin(&self, record: &Arc<FetchRecord>) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|known| known.strong_count() > 0);
        running.push(Arc::downgrade(record));
    }

    /// Whether parts are in use, from now on.
    pub fn in_use(&self) -> InUse<'_> {
        InUse {
            parts: self,
            tags: HashSet::new(),
            fetches: HashSet::new(),
            folders: HashSet::new(),
            stored: false,
            unknown: false,
        }
    }
}

impl Node {
    /// Folders that may hold part files: those given, where transfers of the profile go or went, and
    /// where they go that are taken without asking. None of them lies below another, and all are there.
    ///
    /// # Errors
    /// [`Code::StoreBroken`].
    pub async fn part_folders(&self, more: Vec<PathBuf>) -> Result<Vec<PathBuf>, ApiError> {
        let policy = self.snapshot(Empty {}).await?.transfers.accept.dir;
        self.look(move |parts| {
            let fetched = parts.store.fetches().map_err(unread)?.into_iter();
            let fetched = fetched.map(|f| f.record.dir);
            let policy = Some(policy).filter(|dir| !dir.is_empty());
            let known = fetched.chain(policy).map(PathBuf::from);
            let there = more.into_iter().chain(known);
            let mut all: Vec<PathBuf> = there.filter_map(|dir| dir.canonicalize().ok()).collect();
            all.retain(|dir| dir.is_dir());
            // A folder stands before those below it, and nothing else between them.
            all.sort();
            all.dedup_by(|below, dir| below.starts_with(&*dir));
            Ok(all)
        })
        .await
    }

    /// Part files in a folder and below it that belong to no transfer of the profile and that nobody has
    /// open.
    ///
    /// # Errors
    /// [`Code::StoreBroken`], [`Code::DiskDenied`], [`Code::DiskGone`].
    pub async fn leftovers(&self, dir: PathBuf) -> Result<Leftovers, ApiError> {
        self.look(move |parts| {
            let mut in_use = parts.in_use();
            in_use.read().map_err(unread)?;
            disk::leftovers(&dir, |tag| in_use.has(tag)).map_err(|e| unseen(&e))
        })
        .await
    }

    /// Removes leftovers of a folder, all of them or only these.
    ///
    /// # Errors
    /// As [`leftovers`](Self::leftovers).
    pub async fn remove_leftovers(
        &self,
        dir: PathBuf,
        only: Option<HashSet<PathBuf>>,
    ) -> Result<Removed, ApiError> {
        self.look(move |parts| {
            let mut in_use = parts.in_use();
            in_use.read().map_err(unread)?;
            let meant = |path: &Path| only.as_ref().is_none_or(|only| only.contains(path));
            let removed = disk::remove_leftovers(&dir, |tag| in_use.has(tag), meant);
            removed.map_err(|e| unseen(&e))
        })
        .await
    }

    async fn look<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Parts) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let parts = self.shared.parts.clone();
        let look = tokio::task::spawn_blocking(move || f(&parts));
        look.await
            .map_err(|e| ApiError::with(Code::DiskError, e.to_string()))?
    }
}

fn unread(error: StoreError) -> ApiError {
    ApiError::with(error.code(), error.to_string())
}

fn unseen(error: &DiskError) -> ApiError {
    ApiError::with(target_code(error), error.to_string())
}

impl InUse<'_> {
    /// Whether the part of this tag belongs to a fetch.
    pub fn has(&mut self, tag: PartTag) -> bool {
        self.look_again();
        self.unknown || self.tags.contains(&tag)
    }

    /// Whether a fetch puts its files into this folder of `dir`.
    pub fn fills(&mut self, dir: &str, folder: &str) -> bool {
        self.look_again();
        let folder = (dir.to_owned(), folder.to_owned());
        self.unknown || self.folders.contains(&folder)
    }

    fn look_again(&mut self) {
        if let Err(error) = self.read() {
            tracing::info!(%error, "it is not known which part files are in use");
        }
        // A worker may have begun since.
        let running = {
            let all = self.parts.running.lock();
            let all = all.unwrap_or_else(PoisonError::into_inner);
            all.iter().filter_map(Weak::upgrade).collect::<Vec<_>>()
        };
        for record in running {
            self.add(&record);
        }
    }

    fn read(&mut self) -> Result<(), StoreError> {
        if self.stored {
            return Ok(());
        }
        self.stored = true;
        self.unknown = true;
        for fetch in self.parts.store.fetches()? {
            self.add(&fetch.record);
        }
        self.unknown = false;
        Ok(())
    }

    fn add(&mut self, record: &FetchRecord) {
        if self.fetches.contains(&record.tag) {
            return;
        }
        self.fetches.insert(record.tag.clone());
        let entries = (0u32..).zip(record.entries.iter()).filter(|(_, e)| !e.dir);
        let folders = record.roots.iter();
        self.folders
            .extend(folders.map(|(_, made)| (record.dir.clone(), made.clone())));
        self.tags
            .extend(entries.map(|(entry, _)| part_tag(&record.tag, entry)));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

    use kith_core::record::{FetchKey, Put};
    use kith_protocol::peer::Entry;
    use kith_protocol::{OfferId, PeerId, RoomId};

    use super::*;

    fn record(n: u8) -> FetchRecord {
        let entry = |path: &str| Entry {
            path: path.into(),
            size: 1_000_000,
            mode: 0o644,
            mtime: 0,
            mtime_ns: 0,
            dir: false,
        };
        FetchRecord {
            key: FetchKey {
                room: RoomId([1; 16]),
                from: PeerId([2; 16]),
                offer: OfferId([n; 16]),
            },
            dir: "/down".into(),
            tag: format!("{n:016x}"),
            name: "films".into(),
            entries: vec![entry("a"), entry("b")].into(),
            voucher: None,
            roots: Vec::new(),
            begun: true,
            hold: Default::default(),
            adopted: Default::default(),
        }
    }

    #[test]
    fn parts_are_in_use_while_a_record_or_a_worker_is_there() {
        let home = tempfile::tempdir().unwrap();
        let parts = Parts::new(Arc::new(Store::open(home.path()).unwrap()));
        let uses = |n: u8, entry| {
            let tag = part_tag(&record(n).tag, entry);
            parts.in_use().has(tag)
        };
        parts.store.apply(&[vec![Put::Fetch(record(1))]]).unwrap();
        assert!(uses(1, 0) && uses(1, 1), "it waits for its turn");
        assert!(!uses(1, 2) && !uses(2, 0));
        let running = Arc::new(record(2));
        let mut before = parts.in_use();
        assert!(!before.has(part_tag(&running.tag, 1)));
        parts.begin(&running);
        assert!(before.has(part_tag(&running.tag, 1)), "it began since");
        drop(running);
        assert!(!uses(2, 1));
        let drop_it = Put::DropFetch(record(1).key);
        parts.store.apply(&[vec![drop_it]]).unwrap();
        assert!(!uses(1, 0));
    }
}
