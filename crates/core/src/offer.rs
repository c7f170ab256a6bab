//! What serving and fetching share: manifests and their identity.

use kith_api::FileView;
use kith_protocol::peer::{Entry, PeerMessage};
use kith_protocol::{IdPk, OfferId, RoomId, derive, limits};

/// Entries shown before the user decides.
pub(crate) const PREVIEW: usize = 20;

/// The id of an offer: who offers what, where. The same unchanged files offered again in the same
/// room give the same id, so a receiver recognises what it has begun to fetch.
pub fn offer_id(id_pk: &IdPk, room: &RoomId, name: &str, entries: &[Entry]) -> OfferId {
    let manifest = serde_json::to_vec(entries).expect("a manifest holds nothing JSON cannot carry");
    let h = derive::hash(&[
        b"kith1/offer",
        &id_pk.0,
        &room.0,
        name.as_bytes(),
        &manifest,
    ]);
    OfferId(derive::truncate(&h))
}

/// Bytes of all files; `None` where the sum is beyond counting.
pub fn total(entries: &[Entry]) -> Option<u64> {
    entries
        .iter()
        .try_fold(0u64, |sum, e| sum.checked_add(e.size))
}

/// Whether another build of this version takes the entry.
pub fn is_sendable(e: &Entry) -> bool {
    (1..=limits::MAX_PATH).contains(&e.path.len())
        && e.size <= limits::MAX_FILE
        && !(e.dir && e.size > 0)
        && e.mtime_ns < 1_000_000_000
}

/// Memory that an entry takes, about.
pub fn weight(e: &Entry) -> usize {
    size_of::<Entry>() + e.path.len()
}

/// The pages of a manifest from entry `first` on, as many as go out at once. A page ends at a
/// number of entries or at a number of bytes, whichever comes first.
pub fn pages(offer_id: OfferId, entries: &[Entry], first: u32) -> Vec<PeerMessage> {
    let mut out = Vec::new();
    let mut at = first as usize;
    while at < entries.len() && out.len() < limits::PAGES_AHEAD {
        let mut bytes = 0;
        let page: Vec<Entry> = entries[at..]
            .iter()
            .take(limits::MAX_ENTRIES_PER_MESSAGE)
            // JSON may escape a byte as six, and each entry has fields beside its path.
            .take_while(|e| {
                bytes += e.path.len() * 6 + 128;
                bytes < limits::MAX_PEER_MESSAGE - 1024
            })
            .cloned()
            .collect();
        if page.is_empty() {
            break;
        }
        let next = at + page.len();
        out.push(PeerMessage::Entries {
            offer_id,
            first: at as u32,
            entries: page,
        });
        at = next;
    }
    out
}

/// Entries in these pages.
pub fn count_of(pages: &[PeerMessage]) -> usize {
    let mut count = 0;
    for page in pages {
        if let PeerMessage::Entries { entries, .. } = page {
            count += entries.len();
        }
    }
    count
}

/// The first entries, for people to look at.
pub fn preview(entries: &[Entry]) -> Vec<FileView> {
    let view = |e: &Entry| FileView {
        path: e.path.clone(),
        size: e.size,
        dir: e.dir,
    };
    entries.iter().take(PREVIEW).map(view).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, size: u64) -> Entry {
        Entry {
            path: path.into(),
            size,
            mode: 0o644,
            mtime: 5,
            mtime_ns: 0,
            dir: false,
        }
    }

    #[test]
    fn the_id_changes_with_everything_that_matters() {
        let (pk, room, e) = (IdPk([1; 32]), RoomId([2; 16]), vec![entry("a", 1)]);
        let id = offer_id(&pk, &room, "a", &e);
        assert_eq!(id, offer_id(&pk, &room, "a", &e.clone()));
        assert_ne!(id, offer_id(&IdPk([9; 32]), &room, "a", &e));
        assert_ne!(id, offer_id(&pk, &RoomId([9; 16]), "a", &e));
        assert_ne!(id, offer_id(&pk, &room, "b", &e));
        assert_ne!(id, offer_id(&pk, &room, "a", &[entry("a", 2)]));
        let touched = Entry {
            mtime: 6,
            ..entry("a", 1)
        };
        assert_ne!(id, offer_id(&pk, &room, "a", &[touched]));
    }

    #[test]
    fn pages_cover_the_manifest_and_fit_a_message() {
        let long = "\u{1}".repeat(limits::MAX_PATH);
        let entries: Vec<Entry> = (0..9000)
            .map(|i| entry(if i % 50 == 0 { &long } else { "short" }, i))
            .collect();
        let mut seen = Vec::new();
        while seen.len() < entries.len() {
            for page in pages(OfferId([0; 16]), &entries, seen.len() as u32) {
                assert!(page.to_bytes().len() <= limits::MAX_PEER_MESSAGE);
                let PeerMessage::Entries { first, entries, .. } = page else {
                    panic!()
                };
                assert_eq!(first as usize, seen.len());
                seen.extend(entries);
            }
        }
        assert_eq!(seen, entries);
        assert!(pages(OfferId([0; 16]), &entries, u32::MAX).is_empty());
    }

    #[test]
    fn a_total_beyond_counting_is_none() {
        assert_eq!(total(&[entry("a", 1), entry("b", 2)]), Some(3));
        assert_eq!(total(&[entry("a", u64::MAX), entry("b", 2)]), None);
    }
}
