//! The database, and the only place that knows which one it is.
//!
//! Facts about this version of `sled` that the code here rests on:
//!
//! - With `flush_every_ms` unset nothing is written but by `flush`, which writes everything dirty
//!   in all trees as one atomic step. (Set, a thread would flush beside us and abort the process
//!   when it fails.)
//! - Dropping a tree handle flushes, and a flush after one that failed waits forever. Hence the
//!   handles are made once, and after a failure they are leaked: what was acknowledged is on the
//!   disk, and a restart recovers it.
//! - Damage shows as a panic as often as an error, and a panic while it opens waits forever for
//!   a thread that was never started. Hence everything is read once before it is opened: the
//!   checksums find the damage.
//! - Opening gathers what there is in a *snapshot*, removes the logs, and begins a new one. A process
//!   that is killed before the last step leaves a snapshot alone, and the next opening then writes it
//!   anew and removes it as if it were the old one: all is lost. Hence the log is begun here if it is
//!   missing.

use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::home::{Home, patiently};
use super::{Result, SCHEMA, StoreError, codec, keys};

/// Records in one leaf. A leaf is compressed and written whole, so fewer make small changes
/// cheap; part of the format.
const LEAF: usize = 128;
/// Memory for leaves that are not dirty, in bytes.
const CACHE: usize = 2 * 1024 * 1024;
/// Space that stays free on the disk, in bytes: for leaves around a change and for the
/// database's own log.
const RESERVE: u64 = 16 * 1024 * 1024;

type Tree = sled::Tree<LEAF>;

/// The open database. Reads run beside the writer, one at a time, as a handle serves one thread.
pub(super) struct Database {
    path: PathBuf,
    /// Here until the end, as is the other; an option so that the end can leak it.
    reader: Mutex<Option<Tables>>,
    writer: Mutex<Option<Tables>>,
    /// Set by the first failure; nothing is tried after it.
    failed: AtomicBool,
}

/// A handle on both trees.
pub(super) struct Tables {
    pub(super) records: Table,
    pub(super) manifests: Table,
}

/// A handle on one tree.
pub(super) struct Table(Tree);

/// Changes to make durable together: new values, none for removals.
#[derive(Default)]
pub(super) struct Batches {
    pub(super) records: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    pub(super) manifests: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Database {
    pub(super) fn open(home: &Home) -> Result<Self> {
        let path = home.store();
        check_space(&path, 0)?;
        begin_log(&path.join("metadata")).map_err(failed)?;
        patiently(|| caught(|| check_leaves(&path)))?;
        let (reader, writer) = patiently(|| caught(|| open_tables(&path)))?;
        let db = Database {
            path,
            reader: Mutex::new(Some(reader)),
            writer: Mutex::new(Some(writer)),
            failed: AtomicBool::new(false),
        };
        db.check_schema(home)?;
        Ok(db)
    }

    pub(super) fn read<T>(&self, f: impl FnOnce(&Tables) -> Result<T>) -> Result<T> {
        let tables = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        self.attempt(|| f(here(&tables)?))
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.read(|t| t.records.get(key))
    }

    /// Makes what `plan` decides durable. Plans run one at a time, so that one can rely on what
    /// it reads.
    pub(super) fn write(&self, plan: impl FnOnce(&Tables) -> Result<Batches>) -> Result<()> {
        let tables = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let batches = self.attempt(|| plan(here(&tables)?))?;
        if batches.is_empty() {
            return Ok(());
        }
        check_space(&self.path, batches.bytes())?;
        let done = self.attempt(|| here(&tables)?.commit(batches));
        if done.is_err() {
            // Changes that are only half there must not be read, nor flushed at the end.
            self.failed.store(true, Ordering::Release);
        }
        done
    }

    pub(super) fn insert(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.write(|_| Ok(Batches::one(key, value)))
    }

    /// Inserts unless there is a value already; gives the one that is there then.
    pub(super) fn insert_if_absent(&self, key: &[u8], value: &[u8]) -> Result<Vec<u8>> {
        let mut there = None;
        self.write(|t| {
            there = t.records.get(key)?;
            Ok(match there {
                Some(_) => Batches::default(),
                None => Batches::one(key, value),
            })
        })?;
        Ok(there.unwrap_or_else(|| value.to_vec()))
    }

    /// The number stands twice: in a file, to be read before the database is opened, and in the
    /// database, so that one that has lost its data is not taken for a new one.
    fn check_schema(&self, home: &Home) -> Result<()> {
        let noted = home.schema()?;
        let stored = self.get(keys::SCHEMA)?;
        let found = stored.map(|v| codec::number(&v, "schema")).transpose()?;
        match found {
            Some(n) if n == u64::from(SCHEMA) => {}
            Some(n) if n > u64::from(SCHEMA) => {
                return Err(StoreError::Newer {
                    found: u32::try_from(n).unwrap_or(u32::MAX),
                    known: SCHEMA,
                });
            }
            Some(n) => return Err(StoreError::broken(format!("schema number {n}"))),
            None if noted.is_some() || !self.read(|t| t.records.is_empty())? => {
                return Err(StoreError::broken("the data is missing"));
            }
            None => self.insert(keys::SCHEMA, &codec::number_value(SCHEMA.into()))?,
        }
        if noted.is_none() {
            home.set_schema()?;
        }
        Ok(())
    }

    /// Runs `f` unless something failed before. Damage ends the use of the database; an error
    /// in one value does not.
    fn attempt<T>(&self, f: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.failed.load(Ordering::Acquire) {
            return Err(StoreError::broken(
                "an earlier operation failed; restart to recover",
            ));
        }
        let mut finished = false;
        let result = caught(|| {
            let result = f();
            finished = true;
            result
        });
        if !finished {
            self.failed.store(true, Ordering::Release);
        }
        result
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let take = |m: &mut Mutex<Option<Tables>>| {
            m.get_mut().unwrap_or_else(PoisonError::into_inner).take()
        };
        let tables = (take(&mut self.reader), take(&mut self.writer));
        // Closing may move data, which must not fail; see the top of this file.
        let sound = tables
            .0
            .as_ref()
            .is_none_or(|t| t.records.0.check_error().is_ok());
        let failed = self.failed.load(Ordering::Acquire);
        if failed || !sound || check_space(&self.path, 0).is_err() {
            tracing::warn!("the store is left open; what was acknowledged is on the disk");
            std::mem::forget(tables);
            return;
        }
        let closed = caught(|| {
            drop(tables);
            Ok(())
        });
        if closed.is_err() {
            tracing::error!("the store did not close cleanly");
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl Tables {
    fn commit(&self, batches: Batches) -> Result<()> {
        for (table, changes) in [
            (&self.manifests, batches.manifests),
            (&self.records, batches.records),
        ] {
            if changes.is_empty() {
                continue;
            }
            let mut batch = sled::Batch::default();
            for (key, value) in changes {
                match value {
                    Some(value) => batch.insert(key, value),
                    None => batch.remove(key),
                }
            }
            table.0.apply_batch(batch).map_err(failed)?;
        }
        // One flush covers both trees.
        self.records.0.flush().map_err(failed)?;
        Ok(())
    }
}

impl Table {
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let value = self.0.get(key).map_err(failed)?;
        Ok(value.map(|v| v.to_vec()))
    }

    /// The keys with this prefix, ascending.
    pub(super) fn keys(&self, prefix: &[u8]) -> Result<Vec<Vec<u8>>> {
        let mut keys = Vec::new();
        self.each(prefix, |key, _| {
            keys.push(key.to_vec());
            Ok(())
        })?;
        Ok(keys)
    }

    /// Visits all with this prefix, ascending.
    pub(super) fn each(
        &self,
        prefix: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<()>,
    ) -> Result<()> {
        for pair in self.0.scan_prefix(prefix) {
            let (key, value) = pair.map_err(failed)?;
            visit(&key, &value)?;
        }
        Ok(())
    }

    /// At most `max` pairs from `from` on and below `end`, ascending.
    pub(super) fn page(
        &self,
        from: &[u8],
        end: Option<&[u8]>,
        max: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.span(from, end)
            .take(max)
            .map(|pair| pair.map(|(k, v)| (k.to_vec(), v.to_vec())).map_err(failed))
            .collect()
    }

    /// At most `max` keys from `from` on and below `end`, the last first.
    pub(super) fn page_back(
        &self,
        from: &[u8],
        end: Option<&[u8]>,
        max: usize,
    ) -> Result<Vec<Vec<u8>>> {
        self.span(from, end)
            .rev()
            .take(max)
            .map(|pair| pair.map(|(k, _)| k.to_vec()).map_err(failed))
            .collect()
    }

    fn is_empty(&self) -> Result<bool> {
        self.0.is_empty().map_err(failed)
    }

    fn span(&self, from: &[u8], end: Option<&[u8]>) -> sled::Iter<LEAF> {
        match end {
            Some(end) if end <= from => self.0.range(from..from),
            Some(end) => self.0.range(from..end),
            None => self.0.range(from..),
        }
    }
}

impl Batches {
    fn one(key: &[u8], value: &[u8]) -> Self {
        let mut batches = Batches::default();
        batches.records.insert(key.to_vec(), Some(value.to_vec()));
        batches
    }

    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.manifests.is_empty()
    }

    /// About what the changes weigh, in bytes.
    fn bytes(&self) -> u64 {
        self.records
            .iter()
            .chain(&self.manifests)
            .map(|(k, v)| (k.len() + v.as_ref().map_or(0, Vec::len)) as u64)
            .sum()
    }
}

/// Begins the log after the newest snapshot where there is none: see the top of this file.
fn begin_log(path: &Path) -> std::io::Result<()> {
    let names = match std::fs::read_dir(path) {
        Ok(names) => names,
        // Nothing is stored yet.
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    let (mut snapshot, mut log) = (None, None);
    for entry in names {
        let name = entry?.file_name();
        let number = |prefix: &str| {
            let digits = name.to_str()?.strip_prefix(prefix)?;
            u64::from_str_radix(digits, 16).ok()
        };
        snapshot = snapshot.max(number("snapshot_"));
        log = log.max(number("log_"));
    }
    let Some(next) = snapshot.and_then(|s: u64| s.checked_add(1)) else {
        return Ok(());
    };
    if log < Some(next) {
        tracing::info!("the store was being opened when it was last left");
        std::fs::File::create_new(path.join(format!("log_{next:016x}")))?;
        std::fs::File::open(path)?.sync_all()?;
    }
    Ok(())
}

/// Reads every leaf, which checks its checksum.
fn check_leaves(path: &Path) -> Result<()> {
    let recovery = sled::Heap::recover(LEAF, &config(path)).map_err(failed)?;
    for node in &recovery.recovered_nodes {
        match recovery.heap.read(node.object_id) {
            Some(Ok(_)) => {}
            Some(Err(e)) => return Err(failed(e)),
            None => return Err(StoreError::broken("a leaf is missing")),
        }
    }
    Ok(())
}

fn config(path: &Path) -> sled::Config {
    sled::Config::new()
        .path(path)
        .flush_every_ms(None)
        .cache_capacity_bytes(CACHE)
}

fn open_tables(path: &Path) -> Result<(Tables, Tables)> {
    let db: sled::Db<LEAF> = config(path).open().map_err(failed)?;
    let records = db.open_tree("records").map_err(failed)?;
    let manifests = db.open_tree("manifests").map_err(failed)?;
    if let Err(e) = db.flush() {
        // Dropping any of them would wait forever.
        std::mem::forget((db, records, manifests));
        return Err(failed(e));
    }
    let pair = |r: &Tree, m: &Tree| Tables {
        records: Table(r.clone()),
        manifests: Table(m.clone()),
    };
    Ok((pair(&records, &manifests), pair(&records, &manifests)))
}

fn here(tables: &Option<Tables>) -> Result<&Tables> {
    let closed = || StoreError::broken("the store is closed");
    tables.as_ref().ok_or_else(closed)
}

/// Turns a panic of the database into an error. Panics of ours would be caught too, but nothing
/// in `store` panics.
fn caught<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let what = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("unknown");
        Err(StoreError::broken(format!("the database gave up: {what}")))
    })
}

fn failed(e: std::io::Error) -> StoreError {
    let kind = e.kind();
    if matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
        StoreError::DiskFull
    } else if kind == ErrorKind::WouldBlock {
        StoreError::InUse
    } else {
        StoreError::broken(e.to_string())
    }
}

/// Refuses where writing `bytes` would leave less than the reserve. A change is written with its
/// neighbours and moved once more when space is reclaimed, hence the factor.
#[cfg(unix)]
fn check_space(path: &Path, bytes: u64) -> Result<()> {
    // Where the question has no answer, the write itself gives one.
    let Ok(stat) = rustix::fs::statvfs(path) else {
        return Ok(());
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free < bytes.saturating_mul(4).saturating_add(RESERVE) {
        return Err(StoreError::DiskFull);
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_space(_path: &Path, _bytes: u64) -> Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_the_disk_cannot_hold_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let full = check_space(dir.path(), u64::MAX / 2);
        assert!(matches!(full, Err(StoreError::DiskFull)));
        assert!(check_space(dir.path(), 1).is_ok());
    }
}
