//! Where the entries of an offer go on disk.
//!
//! Names are made safe first. A folder whose name is taken gets another, `photos (1)`, so that
//! nothing of ours mixes with what was there; single files are renamed when they are complete.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kith_core::record::FetchRecord;
use kith_protocol::derive;
use kith_protocol::peer::Entry;
use kith_protocol::ranges::RangeSet;

use super::parts::InUse;
use crate::disk::{
    Adoption, Digest, DiskError, EntryKind, HeldFile, ModTime, OwnFolder, PartFile, PartTag,
    Placed, PlacedFile, SafePath, SourceEntry, Target, WholeFile, chunk_count,
};

/// Numbers tried for a folder's name before the disk is blamed.
const MOST_NAMES: u32 = 10_000;

/// Folders of earlier fetches that are looked into.
const MOST_BEFORE: usize = 16;

/// A folder that is ready, and what was found in it.
pub(crate) struct Prepared {
    pub layout: Layout,
    /// Entries that are recorded as complete or begun and are not there any more.
    pub lost: Vec<u32>,
    /// Chunks of other entries that an earlier fetch left, or that are in files that are `placed`.
    pub adopted: Vec<(u32, RangeSet)>,
    /// Entries that are not recorded as complete and look as if they had their names.
    pub placed: BTreeMap<u32, PlacedFile>,
}

/// The prepared folder of one fetch.
pub(crate) struct Layout {
    target: Target,
    paths: Vec<SafePath>,
    roots: Vec<(String, String)>,
    tag: String,
    /// Folders this fetch made: only those get attributes.
    made: HashSet<u32>,
    /// Folders at the top that nobody else takes for free ones meanwhile.
    _own: Vec<OwnFolder>,
}

impl Layout {
    /// Opens the folder, makes names safe and folders exist. Part files that are not `in_use` are adopted
    /// by entries of which nothing is known.
    pub fn prepare(
        record: &FetchRecord,
        ranges: &BTreeMap<u32, RangeSet>,
        done: &BTreeMap<u32, String>,
        in_use: &mut InUse<'_>,
    ) -> Result<Prepared, DiskError> {
        let target = Target::open(Path::new(&record.dir))?;
        let safe: Vec<SafePath> = record
            .entries
            .iter()
            .map(|e| SafePath::from_wire(&e.path).map_err(|_| bad_name(&e.path)))
            .collect::<Result<_, _>>()?;
        let mut roots: BTreeMap<String, String> = record.roots.iter().cloned().collect();
        let mut taken: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let mut own = Vec::new();
        for (entry, path) in record.entries.iter().zip(&safe) {
            let root = first(path);
            let is_folder = entry.dir || path.as_str() != root;
            if is_folder && !roots.contains_key(root) {
                let (made, before, folder) = make_root(&target, record, root, in_use)?;
                own.push(folder);
                roots.insert(root.to_string(), made);
                taken.insert(root, before);
            }
        }
        let mut layout = Layout {
            target,
            paths: Vec::with_capacity(safe.len()),
            roots: roots.clone().into_iter().collect(),
            tag: record.tag.clone(),
            made: HashSet::new(),
            _own: own,
        };
        for path in &safe {
            layout.paths.push(match roots.get(first(path)) {
                Some(root) => moved(path, root)?,
                None => path.clone(),
            });
        }
        for (_, index) in record.entries.iter().zip(0u32..).filter(|(e, _)| e.dir) {
            // All of them lie below a root that this fetch made, now or when it began.
            layout.target.create_dir(&layout.paths[index as usize])?;
            layout.made.insert(index);
        }
        let placed = match record.begun {
            true => layout.placed(&record.entries, done),
            false => BTreeMap::new(),
        };
        // A part that is gone became that file, though nobody could say so any more.
        let became = |index: &u32| placed.contains_key(index) && !layout.has_part(*index);
        let became: BTreeSet<u32> = ranges.keys().copied().filter(became).collect();
        let lost = layout.lost(&record.entries, ranges, done, &became);
        let known = |entry| {
            let recorded = ranges.contains_key(&entry) || done.contains_key(&entry);
            recorded || placed.contains_key(&entry)
        };
        let used = |tag| in_use.has(tag);
        let mut adopted = layout.adopt(record, known, &safe, &taken, used)?;
        adopted.extend(became.iter().filter_map(|index| {
            let entry = record.entries.get(*index as usize)?;
            Some((*index, RangeSet::full(chunk_count(entry.size))))
        }));
        Ok(Prepared {
            layout,
            lost,
            adopted,
            placed,
        })
    }

    /// Refuses if so many bytes do not fit now.
    pub fn check_space(&self, needed: u64) -> Result<(), DiskError> {
        self.target.check_space(needed)
    }

    /// The folder of a fetch that may have begun, as it is: nothing is made or checked.
    pub fn found(record: &FetchRecord) -> Result<Layout, DiskError> {
        let target = Target::open(Path::new(&record.dir))?;
        let roots: BTreeMap<&str, &str> = record
            .roots
            .iter()
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .collect();
        let mut paths = Vec::with_capacity(record.entries.len());
        for entry in record.entries.iter() {
            let path = SafePath::from_wire(&entry.path).map_err(|_| bad_name(&entry.path))?;
            paths.push(match roots.get(first(&path)) {
                Some(root) => moved(&path, root)?,
                None => path,
            });
        }
        Ok(Layout {
            target,
            paths,
            roots: record.roots.clone(),
            tag: record.tag.clone(),
            made: HashSet::new(),
            _own: Vec::new(),
        })
    }

    /// Top-level folders and the names they got.
    pub fn roots(&self) -> Vec<(String, String)> {
        self.roots.clone()
    }

    /// The part file of an entry.
    pub fn part(&self, entry: u32, size: u64) -> Result<PartFile, DiskError> {
        let path = &self.paths[entry as usize];
        PartFile::create_or_open(&self.target, path, part_tag(&self.tag, entry), size)
    }

    /// What its files hash to that look as if they had their names.
    ///
    /// # Errors
    /// As [`PlacedFile::root`].
    pub fn root_of(&self, placed: &PlacedFile) -> Result<Digest, DiskError> {
        placed.root(&self.target)
    }

    /// Such a file as one that is complete.
    ///
    /// # Errors
    /// As [`PlacedFile::keep`].
    pub fn keep(&self, entry: u32, placed: PlacedFile) -> Result<WholeFile, DiskError> {
        placed.keep(&self.target, part_tag(&self.tag, entry))
    }

    /// The file of an entry that is written in one go: of what breaks off, nothing is kept.
    pub fn passing(&self, entry: u32, size: u64, mode: u32) -> Result<PartFile, DiskError> {
        let path = &self.paths[entry as usize];
        PartFile::create_passing(&self.target, path, part_tag(&self.tag, entry), size, mode)
    }

    /// Gives all folders their attributes, the deepest first, and says their names.
    pub fn finish_folders(&self, entries: &[Entry]) -> Vec<(u32, String)> {
        let mut folders: Vec<u32> = self.made.iter().copied().collect();
        let depth = |i: &u32| self.paths[*i as usize].components().count();
        folders.sort_by_key(|i| (std::cmp::Reverse(depth(i)), *i));
        let mut out = Vec::with_capacity(folders.len());
        for index in folders {
            let (path, entry) = (&self.paths[index as usize], &entries[index as usize]);
            let mtime = ModTime {
                seconds: entry.mtime,
                nanos: entry.mtime_ns,
            };
            if let Err(error) = self.target.finish_dir(path, entry.mode, mtime) {
                // Its files are all there: a missing attribute is no reason to fail them.
                tracing::info!(%error, "a folder did not get its attributes");
            }
            out.push((index, path.as_str().to_string()));
        }
        out
    }

    /// Takes over what other fetches left of the entries that are not `known`. A folder of an earlier
    /// fetch has the name that this one's could not get, so that is where its parts are looked for.
    fn adopt(
        &self,
        record: &FetchRecord,
        known: impl Fn(u32) -> bool,
        safe: &[SafePath],
        taken: &BTreeMap<&str, Vec<String>>,
        mut used: impl FnMut(PartTag) -> bool,
    ) -> Result<Vec<(u32, RangeSet)>, DiskError> {
        let mut adoption = Adoption::new(&self.target);
        let mut adopted = Vec::new();
        for (entry, index) in record.entries.iter().zip(0u32..) {
            // A file of one chunk costs as much to find as to fetch.
            if entry.dir || known(index) || chunk_count(entry.size) < 2 {
                continue;
            }
            let offered = &safe[index as usize];
            let before = taken.get(first(offered)).into_iter().flatten();
            let elsewhere: Vec<SafePath> = before.flat_map(|root| moved(offered, root)).collect();
            let path = &self.paths[index as usize];
            let tag = part_tag(&self.tag, index);
            let found = adoption.adopt(path, &elsewhere, tag, entry.size, &mut used)?;
            if let Some(ranges) = found {
                tracing::info!(entry = index, chunks = ranges.count(), "a part is adopted");
                adopted.push((index, ranges));
            }
        }
        Ok(adopted)
    }

    fn has_part(&self, entry: u32) -> bool {
        let path = &self.paths[entry as usize];
        PartFile::is_there(&self.target, path, part_tag(&self.tag, entry))
    }

    /// Files under the names that entries were to have which are not `done`.
    fn placed(&self, entries: &[Entry], done: &BTreeMap<u32, String>) -> BTreeMap<u32, PlacedFile> {
        let mut names = Placed::new(&self.target, done.values().cloned());
        let open = (0u32..).zip(entries).zip(&self.paths);
        let open = open.filter(|((index, e), _)| !e.dir && !done.contains_key(index));
        let found = open.filter_map(|((index, e), path)| {
            let mtime = ModTime {
                seconds: e.mtime,
                nanos: e.mtime_ns,
            };
            Some((index, names.find(path, e.size, mtime)?))
        });
        found.collect()
    }

    fn lost(
        &self,
        entries: &[Entry],
        ranges: &BTreeMap<u32, RangeSet>,
        done: &BTreeMap<u32, String>,
        became: &BTreeSet<u32>,
    ) -> Vec<u32> {
        let mut lost = Vec::new();
        for (index, name) in done {
            let Some(entry) = entries.get(*index as usize) else {
                continue;
            };
            let there = SafePath::from_wire(name).is_ok_and(|path| {
                let meta = std::fs::symlink_metadata(self.target.path_of(&path));
                meta.is_ok_and(|m| {
                    if entry.dir {
                        m.is_dir()
                    } else {
                        m.is_file() && m.len() == entry.size
                    }
                })
            });
            if !there {
                lost.push(*index);
            }
        }
        for (index, have) in ranges.iter().filter(|(index, _)| !became.contains(index)) {
            let Some(entry) = entries.get(*index as usize) else {
                continue;
            };
            let end = have
                .end()
                .saturating_mul(crate::disk::CHUNK as u64)
                .min(entry.size);
            let there = self
                .part(*index, entry.size)
                .is_ok_and(|p| p.existing_len() >= end);
            if !there {
                lost.push(*index);
            }
        }
        lost
    }
}

/// Bytes that are still to be written; `have` says how many chunks of an entry are there.
pub(crate) fn needed(entries: &[Entry], have: impl Fn(u32) -> u64) -> u64 {
    let left = |(e, i): (&Entry, u32)| {
        let have = have(i).saturating_mul(crate::disk::CHUNK as u64);
        e.size.saturating_sub(have)
    };
    let all = entries.iter().zip(0u32..);
    all.map(left).fold(0, u64::saturating_add)
}

/// Opens an entry of a fetch for reading: its part file, or the complete file of this name.
pub(crate) fn held(
    record: &FetchRecord,
    entry: u32,
    name: Option<&str>,
) -> Result<HeldFile, DiskError> {
    let missing = || DiskError::PartGone {
        path: record.dir.clone().into(),
    };
    let e = record.entries.get(entry as usize).ok_or_else(missing)?;
    let dir = Path::new(&record.dir);
    if !dir.is_dir() {
        // Opening it would make it anew.
        return Err(missing());
    }
    let target = Target::open(dir)?;
    if let Some(name) = name {
        let path = SafePath::from_wire(name).map_err(|_| bad_name(name))?;
        return HeldFile::open(&target, &path, e.size);
    }
    let path = SafePath::from_wire(&e.path).map_err(|_| bad_name(&e.path))?;
    let root = record.roots.iter().find(|(root, _)| root == first(&path));
    let path = match root {
        Some((_, root)) => moved(&path, root)?,
        None => path,
    };
    HeldFile::open_part(&target, &path, part_tag(&record.tag, entry), e.size)
}

/// The files of a fetch that is whole, to be sent on: as they were offered, or they count as changed.
pub(crate) fn source(record: &FetchRecord, names: &BTreeMap<u32, String>) -> Arc<[SourceEntry]> {
    let dir = Path::new(&record.dir);
    let entries = (0u32..).zip(record.entries.iter());
    let source = entries.map(|(index, e)| SourceEntry {
        wire_path: e.path.clone(),
        kind: if e.dir {
            EntryKind::Dir
        } else {
            EntryKind::File
        },
        size: e.size,
        mode: e.mode,
        mtime: ModTime {
            seconds: e.mtime,
            nanos: e.mtime_ns,
        },
        real: match names.get(&index).map(|name| SafePath::from_wire(name)) {
            Some(Ok(name)) => dir.join(name.as_str()),
            Some(Err(_)) | None => PathBuf::new(),
        },
    });
    source.collect()
}

/// A folder for a fetch alone, under the name or the next free number. Also says which folders had the
/// names before.
fn make_root(
    target: &Target,
    record: &FetchRecord,
    name: &str,
    in_use: &mut InUse<'_>,
) -> Result<(String, Vec<String>, OwnFolder), DiskError> {
    let mut before = Vec::new();
    for n in 0..MOST_NAMES {
        let candidate = if n == 0 {
            name.to_string()
        } else {
            format!("{name} ({n})")
        };
        let path = SafePath::from_wire(&candidate).map_err(|_| bad_name(name))?;
        let found = std::fs::symlink_metadata(target.path_of(&path));
        let another = found.is_ok() && in_use.fills(&record.dir, path.as_str());
        if !another && let Some(own) = target.own_folder(&path, record.entries.len())? {
            return Ok((path.as_str().to_string(), before, own));
        }
        if found.is_ok_and(|m| m.is_dir()) && before.len() < MOST_BEFORE {
            before.push(path.as_str().to_string());
        }
    }
    let path = target.root().join(name);
    Err(DiskError::Obstructed { path })
}

fn moved(path: &SafePath, root: &str) -> Result<SafePath, DiskError> {
    let rest: Vec<&str> = path.components().skip(1).collect();
    let text = if rest.is_empty() {
        root.to_string()
    } else {
        format!("{root}/{}", rest.join("/"))
    };
    SafePath::from_wire(&text).map_err(|_| bad_name(&text))
}

fn bad_name(name: &str) -> DiskError {
    DiskError::BadName { path: name.into() }
}

fn first(path: &SafePath) -> &str {
    path.components().next().unwrap_or_default()
}

/// Different for every entry, as two entries may share the beginning of a name.
pub(crate) fn part_tag(tag: &str, entry: u32) -> PartTag {
    let hash = derive::hash(&[b"kith1/part", tag.as_bytes(), &entry.to_be_bytes()]);
    PartTag(u64::from_be_bytes(derive::truncate(&hash)))
}
