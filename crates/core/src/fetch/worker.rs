//! News of the workers that fetch.

use std::sync::Arc;

use kith_protocol::peer::PeerMessage;
use kith_protocol::ranges::RangeSet;
use kith_protocol::{Code, frame};

use super::{After, FetchOut, Fetches, MISMATCHES, STRIKES, State};
use crate::engine::Ctx;
use crate::input::FetchNews;
use crate::record::{FetchKey, Put};
use crate::serve::fits;

/// Complete entries that are recorded together.
const TOGETHER: usize = 512;

impl Fetches {
    /// News of a worker.
    pub fn handle(
        &mut self,
        key: FetchKey,
        run: u32,
        news: FetchNews,
        ctx: &mut Ctx<'_>,
    ) -> Vec<FetchOut> {
        let Some(f) = self.fetches.get_mut(&(key.from, key.offer)) else {
            return Vec::new();
        };
        if let FetchNews::Probed(found) = news {
            return self.on_probed(key, found, ctx);
        }
        let active = matches!(f.state, State::Accepted | State::Fetching | State::Stalled);
        if f.run != run || !active {
            return Vec::new();
        }
        let changed = FetchOut::Changed(key.from, key.offer);
        match news {
            FetchNews::Prepared {
                roots,
                lost,
                adopted,
            } => {
                let Some(record) = &mut f.record else {
                    return Vec::new();
                };
                let kept = Arc::make_mut(record);
                for entry in lost {
                    f.durable.remove(&entry);
                    f.done.remove(&entry);
                    kept.adopted.remove(&entry);
                }
                for (entry, ranges) in adopted {
                    if !f.done.contains_key(&entry) && fits(&f.entries, entry, &ranges) {
                        f.durable.entry(entry).or_default().union(&ranges);
                        kept.adopted.insert(entry);
                    }
                }
                kept.roots = roots;
                kept.begun = true;
                kept.hold = f.hold.record();
                f.hold.kept = true;
                // The record starts over, so that nothing stale stands beside it.
                let mut puts = vec![Put::DropFetch(key), Put::Fetch((**record).clone())];
                let ranges = f
                    .durable
                    .iter()
                    .map(|(e, r)| Put::Ranges(key, *e, r.clone()));
                puts.extend(ranges);
                let done: Vec<_> = f.done.iter().map(|(e, n)| (*e, n.clone())).collect();
                puts.extend(done.chunks(TOGETHER).map(|some| Put::EntriesDone {
                    fetch: key,
                    entries: some.to_vec(),
                    begun: Vec::new(),
                }));
                f.measure();
                f.synced = f.durable.clone();
                f.traffic.resumed = f.done_bytes();
                self.store(key, puts, After::Begin { run }, ctx);
                vec![changed]
            }
            FetchNews::Durable { entry, ranges } => {
                f.strikes = 0;
                f.hold.refusals = 0;
                let finishing = |(of, after): &(FetchKey, After)| match after {
                    After::Complete { run: r, entries } => {
                        (*of, *r) == (key, run) && entries.iter().any(|(e, _)| *e == entry)
                    }
                    After::Begin { .. } | After::Acknowledge { .. } | After::Nothing => false,
                };
                // A sync that ends after the file got its name has nothing to add: it would be
                // counted and recorded twice.
                if f.done.contains_key(&entry) || self.jobs.values().any(finishing) {
                    return Vec::new();
                }
                if f.via != key.from {
                    f.hearsay.entry(entry).or_insert(f.via);
                }
                let all = f.synced.entry(entry).or_default();
                all.union(&ranges);
                let all = all.clone();
                if let Some(swarm) = &mut f.swarm {
                    swarm.arrived(entry, &ranges, ctx.now.mono);
                }
                let after = After::Acknowledge { run, entry, ranges };
                self.store(key, vec![Put::Ranges(key, entry, all)], after, ctx);
                self.pull(key, ctx)
            }
            FetchNews::Received { bytes, durable } => {
                f.traffic.received += bytes;
                f.patience.heard(ctx.now.mono);
                if let Some(swarm) = &mut f.swarm {
                    swarm.received(bytes, f.hold.pace, ctx.now.mono);
                }
                f.traffic.received_durable += durable;
                vec![changed]
            }
            FetchNews::Hashed { entry, end } => {
                f.patience.heard(ctx.now.mono);
                if let Some(swarm) = &mut f.swarm {
                    let known = swarm.hashed.entry(entry).or_default();
                    *known = end.max(*known);
                }
                self.pull(key, ctx)
            }
            FetchNews::Spurned {
                link,
                transfer,
                entry,
                index,
            } => self.on_refused(key, (link, transfer), (entry, index), ctx),
            // The next who is asked was told what is here, and sends this too.
            FetchNews::Corrupt { transfer, .. } if transfer != f.transfer => Vec::new(),
            FetchNews::Corrupt { entry, index, .. } => {
                f.strikes += 1;
                if f.strikes >= STRIKES {
                    return self.fail(key, Code::Corrupt, ctx);
                }
                let mut ranges = RangeSet::new();
                ranges.insert(index, index.saturating_add(1));
                vec![FetchOut::Send(
                    f.via,
                    PeerMessage::Want {
                        offer_id: key.offer,
                        entry,
                        ranges,
                    },
                )]
            }
            FetchNews::Finished(entries) => {
                f.strikes = 0;
                let begun = entries.iter().map(|(entry, _)| *entry);
                let put = Put::EntriesDone {
                    fetch: key,
                    entries: entries.clone(),
                    begun: begun.filter(|e| f.synced.contains_key(e)).collect(),
                };
                self.store(key, vec![put], After::Complete { run, entries }, ctx);
                Vec::new()
            }
            FetchNews::Mismatch { entry, transfer } => {
                let mut puts = vec![Put::Ranges(key, entry, RangeSet::new())];
                let record = f.record.as_mut().filter(|r| r.adopted.contains(&entry));
                // What was adopted may well be of another file: then it is received as if there had
                // been nothing.
                let other = f.hearsay.remove(&entry).is_some_and(|by| by != f.via);
                if let Some(record) = record {
                    Arc::make_mut(record).adopted.remove(&entry);
                    puts.push(Put::Fetch((**record).clone()));
                } else if !other && transfer == f.transfer {
                    f.mismatches += 1;
                }
                f.durable.remove(&entry);
                f.synced.remove(&entry);
                if let Some(swarm) = &mut f.swarm {
                    swarm.void(entry);
                }
                // Records of the entry that are still on their way speak of chunks that are gone.
                for (of, after) in self.jobs.values_mut() {
                    match after {
                        After::Acknowledge { entry: e, .. } if (*of, *e) == (key, entry) => {
                            *after = After::Nothing;
                        }
                        After::Acknowledge { .. }
                        | After::Begin { .. }
                        | After::Complete { .. }
                        | After::Nothing => {}
                    }
                }
                let size = f.entries.get(entry as usize).map_or(0, |e| e.size);
                // Of a file without bytes there is nothing to send again.
                let again = f.mismatches < MISMATCHES && size > 0;
                self.store(key, puts, After::Nothing, ctx);
                if !again {
                    return self.fail(key, Code::HashMismatch, ctx);
                }
                let ranges = RangeSet::full(frame::chunks(size));
                let want = PeerMessage::Want {
                    offer_id: key.offer,
                    entry,
                    ranges,
                };
                let via = self.fetches.get(&(key.from, key.offer)).map(|f| f.via);
                vec![FetchOut::Send(via.unwrap_or(key.from), want), changed]
            }
            FetchNews::Untrue { transfer } if transfer != f.transfer => Vec::new(),
            FetchNews::Untrue { .. } => self.spurn(key, Code::PeerProtocol, ctx),
            FetchNews::Failed(code) => self.fail(key, code, ctx),
            FetchNews::Refused(refusal) => self.refuse(key, refusal, ctx),
            // Taken above.
            FetchNews::Probed(_) => Vec::new(),
        }
    }
}
