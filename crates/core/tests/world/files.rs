//! Workers that serve and fetch, and the disk of a node. A chunk is one number; a file is a list.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use kith_core::input::FetchNews;
use kith_core::record::FetchRecord;
use kith_protocol::ids::Digest;
use kith_protocol::peer::Entry;
use kith_protocol::ranges::RangeSet;
use kith_protocol::{LinkId, derive, frame};

/// What is on a node's disk; outlives the process.
#[derive(Debug, Default)]
pub struct Disk {
    /// Synced chunks by part file.
    pub parts: BTreeMap<(String, u32), BTreeMap<u64, u64>>,
    /// Finished files by folder and name.
    pub files: BTreeMap<(String, String), Vec<u64>>,
}

/// One step of a serve worker.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    Chunk(u32, u64),
    Read(u32),
}

/// A serve worker.
#[derive(Debug)]
pub struct Serving {
    pub run: u32,
    pub link: LinkId,
    pub transfer: u32,
    pub steps: VecDeque<Step>,
}

impl Serving {
    /// Everything the receiver lacks.
    pub fn new(
        (run, link, transfer): (u32, LinkId, u32),
        entries: &[Entry],
        done: &RangeSet,
        have: &BTreeMap<u32, RangeSet>,
    ) -> Self {
        let mut serving = Serving {
            run,
            link,
            transfer,
            steps: VecDeque::new(),
        };
        let none = RangeSet::new();
        for (n, entry) in (0u32..).zip(entries) {
            if !entry.dir && !done.contains(n.into()) {
                let have = have.get(&n).unwrap_or(&none);
                let mut missing = RangeSet::full(frame::chunks(entry.size));
                have.ranges()
                    .iter()
                    .for_each(|&(a, b)| missing.remove(a, b));
                serving.want(n, &missing);
            }
        }
        serving
    }

    /// These again, and the hash after them.
    pub fn want(&mut self, entry: u32, ranges: &RangeSet) {
        let chunks = ranges.ranges().iter().flat_map(|&(a, b)| a..b);
        self.steps.extend(chunks.map(|i| Step::Chunk(entry, i)));
        self.steps.push_back(Step::Read(entry));
    }
}

/// A fetch worker.
#[derive(Debug)]
pub struct Fetching {
    pub run: u32,
    pub record: Arc<FetchRecord>,
    pub attached: Option<(LinkId, u32)>,
    expect: BTreeMap<u32, Digest>,
    unsynced: BTreeMap<u32, BTreeMap<u64, u64>>,
    finished: BTreeSet<u32>,
    /// A sync is on its way.
    pub syncing: bool,
}

impl Fetching {
    /// Opens the folder; what is recorded but not there is lost.
    pub fn prepare(
        run: u32,
        record: Arc<FetchRecord>,
        ranges: &BTreeMap<u32, RangeSet>,
        done: &BTreeMap<u32, String>,
        disk: &Disk,
    ) -> (Self, FetchNews) {
        let part = |e: u32| disk.parts.get(&(record.tag.clone(), e));
        let has = |e: u32, r: &RangeSet| {
            let all = r.ranges().iter().flat_map(|&(a, b)| a..b);
            part(e).is_some_and(|p| all.into_iter().all(|i| p.contains_key(&i)))
        };
        let mut lost: Vec<u32> = ranges
            .iter()
            .filter(|(e, r)| !has(**e, r))
            .map(|(e, _)| *e)
            .collect();
        let gone = |n: &String| !disk.files.contains_key(&(record.dir.clone(), n.clone()));
        lost.extend(done.iter().filter(|(_, n)| gone(n)).map(|(e, _)| *e));
        let finished = done.keys().copied().filter(|e| !lost.contains(e)).collect();
        let (attached, expect, unsynced) = (None, BTreeMap::new(), BTreeMap::new());
        let f = Fetching {
            run,
            record,
            attached,
            expect,
            unsynced,
            finished,
            syncing: false,
        };
        (
            f,
            FetchNews::Prepared {
                roots: Vec::new(),
                lost,
            },
        )
    }

    /// Files of no bytes and folders need nobody.
    pub fn empties(&mut self, disk: &mut Disk) -> Vec<FetchNews> {
        let all: Vec<u32> = (0u32..)
            .zip(&self.record.entries)
            .filter(|(_, e)| e.size == 0)
            .map(|(n, _)| n)
            .collect();
        let fresh = all
            .into_iter()
            .filter(|e| !self.finished.contains(e))
            .collect::<Vec<_>>();
        fresh
            .into_iter()
            .map(|e| self.finish(e, Vec::new(), disk))
            .collect()
    }

    /// A chunk has come.
    pub fn chunk(
        &mut self,
        entry: u32,
        index: u64,
        token: u64,
        intact: bool,
        disk: &Disk,
    ) -> Vec<FetchNews> {
        let Some(e) = self.record.entries.get(entry as usize) else {
            return Vec::new();
        };
        let bytes = u64::from(frame::chunk_len(e.size, index));
        let known = self.finished.contains(&entry)
            || disk
                .parts
                .get(&(self.record.tag.clone(), entry))
                .is_some_and(|p| p.contains_key(&index));
        let mut news = vec![FetchNews::Received {
            bytes,
            durable: if known { bytes } else { 0 },
        }];
        if !intact {
            news.push(FetchNews::Corrupt { entry, index });
        } else if !known {
            self.unsynced.entry(entry).or_default().insert(index, token);
        }
        news
    }

    /// The hash an entry must have.
    pub fn expect(&mut self, entry: u32, sha256: Digest) {
        self.expect.insert(entry, sha256);
    }

    /// Syncs what came, and finishes what is complete.
    pub fn sync(&mut self, disk: &mut Disk) -> Vec<FetchNews> {
        self.syncing = false;
        let mut news = Vec::new();
        for (entry, chunks) in std::mem::take(&mut self.unsynced) {
            let mut ranges = RangeSet::new();
            chunks.keys().for_each(|i| ranges.insert(*i, i + 1));
            disk.parts
                .entry((self.record.tag.clone(), entry))
                .or_default()
                .extend(chunks);
            news.push(FetchNews::Durable { entry, ranges });
        }
        for (n, e) in (0u32..).zip(self.record.entries.clone()) {
            let at = (self.record.tag.clone(), n);
            let Some(sha) = self.expect.get(&n).copied() else {
                continue;
            };
            let Some(part) = disk.parts.get(&at) else {
                continue;
            };
            if self.finished.contains(&n) || part.len() as u64 != frame::chunks(e.size) {
                continue;
            }
            let tokens: Vec<u64> = part.values().copied().collect();
            disk.parts.remove(&at);
            if digest(&tokens) == sha {
                news.push(self.finish(n, tokens, disk));
            } else {
                self.expect.remove(&n);
                news.push(FetchNews::Mismatch { entry: n });
            }
        }
        news
    }

    fn finish(&mut self, entry: u32, tokens: Vec<u64>, disk: &mut Disk) -> FetchNews {
        let name = self.record.entries[entry as usize].path.clone();
        disk.files
            .insert((self.record.dir.clone(), name.clone()), tokens);
        self.finished.insert(entry);
        FetchNews::Finished { entry, name }
    }
}

/// The hash of a file.
pub fn digest(tokens: &[u64]) -> Digest {
    let bytes: Vec<u8> = tokens.iter().flat_map(|t| t.to_be_bytes()).collect();
    Digest(derive::hash(&[&bytes]))
}
