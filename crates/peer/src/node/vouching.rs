//! What the files of an offer hash to as wholes: gathered while they are served, signed for those who pass
//! the offer on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kith_protocol::ids::Digest;
use kith_protocol::voucher;

use crate::disk::{DiskError, EntryKind, SourceEntry, SourceReader};

/// What stands for a folder.
pub(crate) const OF_FOLDER: Digest = Digest([0; 32]);

/// What is known so far.
pub(crate) struct OfferRoots {
    /// By entry. Locked for moments only, by threads that read files.
    known: Mutex<Vec<Option<Digest>>>,
}

impl OfferRoots {
    /// Of these files, nothing yet.
    pub fn new(source: &[SourceEntry]) -> Arc<Self> {
        let known = source.iter().map(|file| match file.kind {
            EntryKind::Dir => Some(OF_FOLDER),
            EntryKind::File => None,
        });
        let known = Mutex::new(known.collect());
        Arc::new(OfferRoots { known })
    }

    /// A file was read to its end.
    pub fn note(&self, entry: u32, root: Digest) {
        if let Some(place) = self.lock().get_mut(entry as usize) {
            *place = Some(root);
        }
    }

    /// What the voucher is about, if all of it is known.
    pub fn root(&self) -> Option<Digest> {
        let all: Option<Vec<Digest>> = self.lock().iter().copied().collect();
        all.map(|all| voucher::root(&all))
    }

    /// Reads what nobody has read yet.
    ///
    /// # Errors
    /// A file is gone, or is not what was offered.
    pub fn complete(&self, source: &[SourceEntry]) -> Result<Option<Digest>, DiskError> {
        let lacks = |entry: &usize| self.lock().get(*entry).is_some_and(Option::is_none);
        for (entry, file) in source.iter().enumerate() {
            if !lacks(&entry) {
                continue;
            }
            let mut reader = SourceReader::open(file)?;
            while reader.next_chunk() < reader.chunks() {
                reader.read_row(0)?;
            }
            let root = reader.finish()?;
            self.note(u32::try_from(entry).unwrap_or(u32::MAX), root);
        }
        Ok(self.root())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Option<Digest>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
