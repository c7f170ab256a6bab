//! A disk that outlives its process, and the worker that reads it for others, step by step as the
//! real one does. A chunk's payload is one number; a file is a list of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use kith_core::Mono;
use kith_core::pace::Bucket;
use kith_core::record::Passed;
use kith_protocol::ids::Digest;
use kith_protocol::peer::Entry;
use kith_protocol::ranges::RangeSet;
use kith_protocol::{Code, LinkId, derive, frame};

use super::dice::Dice;
use super::node::{Source, Worker};

/// Chunks that go together.
pub(crate) const BATCH: usize = 16;
/// Chunks in flight, and chunks that wait for a disk: `peer/src/node/lanes.rs` has the same.
pub(crate) const WINDOW: usize = 192;

/// What is on a node's disk.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// By the fetch's tag and the entry.
    pub parts: BTreeMap<(String, u32), Part>,
    /// Finished files by folder and name.
    pub files: BTreeMap<(String, String), Vec<u64>>,
    /// Every write fails with this.
    pub fault: Option<Code>,
    /// Milliseconds that anything takes, at most.
    pub delay: u64,
    pub(super) serial: u64,
}

/// A part file.
#[derive(Debug, Default)]
pub(crate) struct Part {
    /// Folder, and name that it is to have.
    pub at: (String, String),
    /// Tells it from another of the same name.
    pub serial: u64,
    pub chunks: BTreeMap<u64, u64>,
    pub synced: RangeSet,
}

impl Disk {
    /// What was not synced is lost or torn.
    pub fn power_cut(&mut self, dice: &mut Dice) {
        for part in self.parts.values_mut() {
            let Part { chunks, synced, .. } = part;
            for (index, token) in chunks.iter_mut() {
                if !synced.contains(*index) && dice.percent(50) {
                    *token = dice.next();
                }
            }
            chunks.retain(|i, _| synced.contains(*i) || dice.percent(50));
        }
    }

    /// Gives the part with most chunks that is of this file, or may be, and in no fetch of `used` to an
    /// entry of the fetch `tag`: its chunks, checked by nobody.
    pub(super) fn adopt(
        &mut self,
        at: (String, String),
        (tag, entry): (&str, u32),
        chunks: u64,
        used: &BTreeSet<String>,
    ) -> Option<RangeSet> {
        let own = (tag.to_string(), entry);
        let end = |p: &Part| p.chunks.keys().next_back().map_or(0, |last| last + 1);
        if !self.parts.contains_key(&own) {
            let orphans = self.parts.iter().filter(|((t, _), p)| {
                let fits = p.at == at && (1..=chunks).contains(&end(p));
                fits && !used.contains(t)
            });
            let most = orphans.max_by_key(|(_, p)| p.chunks.len())?.0.clone();
            let part = self.parts.remove(&most)?;
            self.parts.insert(own.clone(), part);
        }
        let part = self.parts.get_mut(&own)?;
        let mut have = RangeSet::new();
        part.chunks.keys().for_each(|i| have.insert(*i, i + 1));
        part.synced.union(&have);
        Some(have).filter(|have| !have.is_empty())
    }

    pub(super) fn free_name(&self, dir: &str, path: &str) -> String {
        let numbered = (1..).map(|n| format!("{path} ({n})"));
        let mut names = std::iter::once(path.to_string()).chain(numbered);
        let free = |n: &String| !self.files.contains_key(&(dir.to_string(), n.clone()));
        names.find(free).expect("numbers do not end")
    }
}

/// One step of a serve worker.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Send(u32, RangeSet),
    Read(u32),
    /// What the chunks of an entry must be.
    Hashes(u32),
    /// What all files must hash to.
    Roots,
}

/// A serve worker.
#[derive(Debug)]
pub(crate) struct Serving {
    pub run: u32,
    pub link: LinkId,
    pub transfer: u32,
    steps: VecDeque<Step>,
    wants: VecDeque<Step>,
    /// Chunks that are reported as sent and wait for the window or the lane.
    pub batch: Option<(u32, VecDeque<u64>)>,
    pub window: usize,
    /// Only what is wanted, without a window.
    pub pull: bool,
    pub scheduled: bool,
    pub ended: bool,
    /// Nothing is to be sent.
    pub held: bool,
    /// What the receiver wants at most, and when the next may go by all bounds.
    pub pace: Bucket,
    pub ready_at: u64,
    /// It is somebody else's offer.
    pub passed: Option<Passed>,
}

impl Worker for Serving {
    fn run(&self) -> u32 {
        self.run
    }
}

impl Serving {
    /// Everything the receiver lacks.
    pub fn new(
        (run, link, transfer): (u32, LinkId, u32),
        entries: &[Entry],
        done: &RangeSet,
        have: &BTreeMap<u32, RangeSet>,
        (pull, passed): (bool, Option<Passed>),
    ) -> Self {
        let mut steps = VecDeque::new();
        if passed.is_some() {
            steps.push_back(Step::Roots);
        }
        for (n, entry) in (0u32..).zip(entries) {
            if entry.dir || done.contains(n.into()) {
                continue;
            }
            if pull {
                steps.push_back(Step::Hashes(n));
                steps.push_back(Step::Read(n));
                continue;
            }
            let mut missing = RangeSet::full(frame::chunks(entry.size));
            for &(a, b) in have.get(&n).map_or(&[][..], RangeSet::ranges) {
                missing.remove(a, b);
            }
            steps.extend(batches(n, &missing));
            // The only chunk says all of a file.
            if frame::chunks(entry.size) != 1 || missing.is_empty() {
                steps.push_back(Step::Read(n));
            }
        }
        Serving {
            run,
            link,
            transfer,
            steps,
            wants: VecDeque::new(),
            batch: None,
            window: WINDOW,
            pull,
            scheduled: false,
            ended: false,
            held: false,
            pace: Bucket::new(None, Mono(0)),
            ready_at: 0,
            passed,
        }
    }

    /// These chunks are no longer on the way.
    pub fn arrived(&mut self, ranges: &RangeSet) {
        self.window = (self.window + ranges.count() as usize).min(WINDOW);
    }

    /// These again, when the entry under way is through.
    pub fn want(&mut self, entry: u32, ranges: &RangeSet) {
        self.arrived(ranges);
        self.wants.extend(batches(entry, ranges));
    }

    /// The chunks of a file, if it is there as it was offered.
    pub fn tokens<'a>(
        &self,
        disk: &'a Disk,
        source: Option<&'a Source>,
        entry: u32,
    ) -> Option<&'a [u64]> {
        let Some(Passed { record, names }) = &self.passed else {
            return Some(&source?.tokens[entry as usize]);
        };
        let e = &record.entries[entry as usize];
        let at = (record.dir.clone(), names.get(&entry)?.clone());
        let tokens = disk.files.get(&at)?;
        let same = e.dir || tokens.len() as u64 == frame::chunks(e.size);
        same.then_some(tokens)
    }

    /// What comes next.
    pub fn next(&mut self) -> Option<Step> {
        self.wants.pop_front().or_else(|| self.steps.pop_front())
    }
}

fn batches(entry: u32, ranges: &RangeSet) -> Vec<Step> {
    let all: Vec<u64> = ranges.ranges().iter().flat_map(|&(a, b)| a..b).collect();
    let set = |chunk: &[u64]| {
        let mut set = RangeSet::new();
        chunk.iter().for_each(|i| set.insert(*i, i + 1));
        set
    };
    all.chunks(BATCH)
        .map(|c| Step::Send(entry, set(c)))
        .collect()
}

/// A fetch that was cancelled leaves nothing unfinished.
pub(crate) fn discard(disk: &mut Disk, tag: &str) {
    disk.parts.retain(|(t, _), _| t != tag);
}

/// The hashes of all files of an offer; `of` has the chunks of each.
pub(crate) fn roots<'a>(
    entries: &[Entry],
    of: impl Fn(u32) -> Option<&'a [u64]>,
) -> Option<Vec<Digest>> {
    let root = |(n, e): (u32, &Entry)| match e.dir {
        true => Some(Digest([0; 32])),
        false => of(n).map(digest),
    };
    (0u32..).zip(entries).map(root).collect()
}

/// The hash of a file.
pub(crate) fn digest(tokens: &[u64]) -> Digest {
    let bytes: Vec<u8> = tokens.iter().flat_map(|t| t.to_be_bytes()).collect();
    Digest(derive::hash(&[&bytes]))
}
