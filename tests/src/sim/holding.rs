//! The worker that serves what its node fetches to other receivers, step by step as the real one.

use std::collections::VecDeque;
use std::sync::Arc;

use kith_core::Input;
use kith_core::effect::HoldEffect;
use kith_core::input::{HoldKey, HoldNews};
use kith_core::record::FetchRecord;
use kith_protocol::{LinkId, frame};

use super::disk::{BATCH, Disk};
use super::net::{Packet, Piece};
use super::node::{Worker, of_run, stop_run};
use super::world::{Event, What, World};

/// A hold worker.
#[derive(Debug)]
pub(crate) struct Holding {
    run: u32,
    pub link: LinkId,
    transfer: u32,
    record: Arc<FetchRecord>,
    wants: VecDeque<(u32, Vec<u64>, Option<String>)>,
    scheduled: bool,
}

impl Worker for Holding {
    fn run(&self) -> u32 {
        self.run
    }
}

impl World {
    pub(super) fn hold_effect(&mut self, n: usize, key: HoldKey, run: u32, effect: HoldEffect) {
        let Some(p) = self.nodes[n].process.as_mut() else {
            return;
        };
        match effect {
            HoldEffect::Start {
                link,
                transfer,
                record,
            } => {
                let holding = Holding {
                    run,
                    link,
                    transfer,
                    record,
                    wants: VecDeque::new(),
                    scheduled: false,
                };
                p.holding.insert(key, holding);
            }
            HoldEffect::Want {
                entry,
                ranges,
                name,
            } => {
                if let Some(h) = of_run(&mut p.holding, key, run) {
                    let all: Vec<u64> = ranges.ranges().iter().flat_map(|&(a, b)| a..b).collect();
                    let batches = all.chunks(BATCH);
                    h.wants
                        .extend(batches.map(|b| (entry, b.to_vec(), name.clone())));
                }
                self.plan_hold(n, key);
            }
            HoldEffect::Stop => {
                stop_run(&mut p.holding, key, run);
            }
        }
    }

    fn plan_hold(&mut self, n: usize, key: HoldKey) {
        let node = &mut self.nodes[n];
        let life = node.life;
        let Some(h) = node.process.as_mut().and_then(|p| p.holding.get_mut(&key)) else {
            return;
        };
        if h.scheduled || h.wants.is_empty() {
            return;
        }
        h.scheduled = true;
        let run = h.run;
        let delay = 1 + self.dice.below(self.pace + self.nodes[n].disk.delay / 4);
        self.put(delay, Event::To(n, life, What::HoldStep(key, run)));
    }

    /// A worker takes its next step.
    pub(super) fn hold_step(&mut self, n: usize, key: HoldKey, run: u32) {
        let node = &mut self.nodes[n];
        let p = node.process.as_mut();
        let Some(h) = p.and_then(|p| of_run(&mut p.holding, key, run)) else {
            return;
        };
        h.scheduled = false;
        let Some((entry, indexes, name)) = h.wants.pop_front() else {
            return;
        };
        let (link, transfer, record) = (h.link, h.transfer, Arc::clone(&h.record));
        if !self.net.ends.contains_key(&(link, n)) {
            // The lane is closed.
            return;
        }
        let mut pieces = Vec::new();
        let mut bytes = 0;
        for index in indexes {
            let Some(token) = read(&node.disk, &record, entry, index, name.as_deref()) else {
                if let Some(p) = node.process.as_mut() {
                    p.holding.remove(&key);
                }
                return self.input(n, Input::Hold(key, run, HoldNews::Failed));
            };
            bytes += u64::from(frame::chunk_len(record.entries[entry as usize].size, index));
            let (mut token, mut intact) = (token, true);
            if self.damage > 0 {
                self.damage -= 1;
                intact = false;
            } else if self.lie_chunks > 0 {
                self.lie_chunks -= 1;
                token ^= 1;
            }
            pieces.push(Piece {
                index,
                token,
                intact,
            });
        }
        self.noise += 1;
        let packet = Packet::Chunks {
            transfer,
            entry,
            pieces,
        };
        self.push(n, link, packet);
        self.input(n, Input::Hold(key, run, HoldNews::Sent(bytes)));
        self.plan_hold(n, key);
    }
}

fn read(
    disk: &Disk,
    record: &FetchRecord,
    entry: u32,
    index: u64,
    name: Option<&str>,
) -> Option<u64> {
    if let Some(name) = name {
        let file = disk.files.get(&(record.dir.clone(), name.to_string()))?;
        return file.get(index as usize).copied();
    }
    let part = disk.parts.get(&(record.tag.clone(), entry))?;
    part.chunks.get(&index).copied()
}
