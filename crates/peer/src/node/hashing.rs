//! Hashes of all chunks of an offer, for receivers that fetch from each other.
//!
//! One thread reads the files once, ahead of sending, and all serves of the offer read from what it
//! found. It takes 32 bytes of memory for each chunk, for as long as somebody is served.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::{BufMut as _, Bytes, BytesMut};
use kith_protocol::ids::Digest;
use kith_protocol::ranges::RangeSet;
use kith_protocol::{Code, frame, limits};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::faults::source_code;
use super::tasks::Tasks;
use crate::disk::{DiskError, EntryKind, SourceEntry, SourceReader};

/// Hashes that go out together while more of the file are to come: 16 MiB of it.
const PAGE: usize = 256;

/// What is known so far.
pub(crate) struct OfferHashes {
    /// Locked for moments only, by the thread that reads and by those that send.
    state: Mutex<State>,
    more: Notify,
}

#[derive(Default)]
struct State {
    /// By entry; an entry is complete when there is one after it, or all is over.
    entries: Vec<Entry>,
    over: bool,
    failed: Option<Code>,
}

#[derive(Default)]
struct Entry {
    hashes: Vec<Digest>,
    root: Option<Digest>,
}

/// How far somebody has been told.
#[derive(Default)]
pub(crate) struct Place {
    entry: u32,
    chunk: usize,
}

/// What comes next for somebody.
pub(crate) enum Next {
    /// Hashes of consecutive chunks of an entry: 32 bytes for each, from this one on.
    Page(u32, u64, Bytes),
    /// The hash of the whole entry.
    Root(u32, Digest),
    /// Not yet known.
    Wait,
    /// The files cannot be read.
    Failed(Code),
    /// Everything has been told.
    End,
}

impl OfferHashes {
    /// Starts the thread. It ends when nobody holds what it works for.
    pub fn start(source: &Arc<[SourceEntry]>, tasks: &Tasks) -> Arc<Self> {
        let hashes = Arc::new(OfferHashes {
            state: Mutex::default(),
            more: Notify::new(),
        });
        let (source, of) = (Arc::clone(source), Arc::downgrade(&hashes));
        tasks.spawn_blocking("hash", move || hash_all(&source, &of));
        hashes
    }

    /// Whether the files could not be read.
    pub fn has_failed(&self) -> bool {
        self.lock().failed.is_some()
    }

    /// Ready when there is more than at the time of this call.
    pub fn more(&self) -> Notified<'_> {
        self.more.notified()
    }

    /// What comes next at `place`, which moves on. Entries in `skip` are left out.
    pub fn next(&self, place: &mut Place, skip: &RangeSet) -> Next {
        let state = self.lock();
        loop {
            if skip.contains(place.entry.into()) {
                (place.entry, place.chunk) = (place.entry + 1, 0);
                continue;
            }
            let Some(entry) = state.entries.get(place.entry as usize) else {
                return match state.failed {
                    Some(code) => Next::Failed(code),
                    None if state.over => Next::End,
                    None => Next::Wait,
                };
            };
            let new = &entry.hashes[place.chunk..];
            let ready = entry.root.is_some() || new.len() >= PAGE;
            if ready && !new.is_empty() {
                let new = &new[..new.len().min(limits::MAX_HASHES)];
                let mut page = BytesMut::with_capacity(new.len() * 32);
                new.iter().for_each(|h| page.put_slice(&h.0));
                let first = place.chunk as u64;
                place.chunk += new.len();
                return Next::Page(place.entry, first, page.freeze());
            }
            match (entry.root, state.failed) {
                (Some(root), _) => {
                    let at = place.entry;
                    (place.entry, place.chunk) = (at + 1, 0);
                    return Next::Root(at, root);
                }
                (None, Some(code)) => return Next::Failed(code),
                (None, None) if (place.entry as usize) + 1 < state.entries.len() => {
                    // A folder.
                    (place.entry, place.chunk) = (place.entry + 1, 0);
                }
                (None, None) if state.over => return Next::End,
                (None, None) => return Next::Wait,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.more.notify_waiters();
    }
}

fn hash_all(source: &[SourceEntry], of: &Weak<OfferHashes>) {
    for file in source {
        let Some(hashes) = of.upgrade() else {
            return;
        };
        hashes.change(|s| {
            let chunks = usize::try_from(frame::chunks(file.size)).unwrap_or(0);
            let mut entry = Entry::default();
            entry.hashes.reserve_exact(chunks.min(limits::MAX_HASHES));
            s.entries.push(entry);
        });
        drop(hashes);
        if file.kind == EntryKind::Dir {
            continue;
        }
        if let Err(error) = hash_file(file, of) {
            let code = source_code(&error);
            tracing::warn!(code = code.name(), "a file to send cannot be read");
            tracing::trace!(file = %file.real.display(), %error, "source failed");
            if let Some(hashes) = of.upgrade() {
                hashes.change(|s| s.failed = Some(code));
            }
            return;
        }
    }
    if let Some(hashes) = of.upgrade() {
        hashes.change(|s| s.over = true);
    }
}

fn hash_file(file: &SourceEntry, of: &Weak<OfferHashes>) -> Result<(), DiskError> {
    let mut reader = SourceReader::open(file)?;
    let mut page = Vec::with_capacity(PAGE);
    while reader.next_chunk() < reader.chunks() {
        page.extend(reader.read_row(0)?.iter().map(|chunk| chunk.digest));
        if page.len() >= PAGE {
            let Some(hashes) = of.upgrade() else {
                return Ok(());
            };
            hashes.change(|s| s.add(&mut page));
        }
    }
    let root = reader.finish()?;
    if let Some(hashes) = of.upgrade() {
        hashes.change(|s| {
            s.add(&mut page);
            if let Some(entry) = s.entries.last_mut() {
                entry.root = Some(root);
            }
        });
    }
    Ok(())
}

impl State {
    fn add(&mut self, page: &mut Vec<Digest>) {
        if let Some(entry) = self.entries.last_mut() {
            entry.hashes.append(page);
        }
    }
}
