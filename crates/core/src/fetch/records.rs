//! What is promised only once the store has it.

use kith_protocol::ranges::RangeSet;
use kith_protocol::{Code, frame, limits};

use super::{After, FetchOut, Fetches, State, say_verified};
use crate::effect::Effect;
use crate::engine::Ctx;
use crate::input::JobId;
use crate::record::{FetchKey, Put};
use crate::serve::subtract;

impl Fetches {
    /// Whether `job` is one of ours.
    pub fn owns(&self, job: JobId) -> bool {
        self.jobs.contains_key(&job)
    }

    /// A store job of ours is durable.
    pub fn on_stored(&mut self, job: JobId, ctx: &mut Ctx<'_>) -> Vec<FetchOut> {
        let Some((key, after)) = self.jobs.remove(&job) else {
            return Vec::new();
        };
        let Some(f) = self.fetches.get_mut(&(key.from, key.offer)) else {
            return Vec::new();
        };
        let changed = FetchOut::Changed(key.from, key.offer);
        match after {
            After::Nothing => Vec::new(),
            After::Begin { run } if f.run == run && f.state == State::Accepted => {
                f.state = State::Stalled;
                let mut out = vec![changed];
                if f.is_complete() {
                    out.extend(f.complete(key, ctx));
                    out.extend(self.after_complete(key, ctx));
                } else if f.runs() {
                    out.extend(self.attach(key, ctx));
                }
                out
            }
            After::Acknowledge { run, entry, ranges } if f.run == run => {
                // The entry may have been completed or voided while the record was written.
                if f.synced.contains_key(&entry) {
                    f.durable.entry(entry).or_default().union(&ranges);
                }
                let mut out = vec![changed];
                if f.state == State::Fetching {
                    let ack = |ranges| FetchOut::Ack {
                        peer: f.via,
                        transfer: f.transfer,
                        entry,
                        ranges,
                    };
                    out.extend(ranges.split(limits::MAX_RANGES).map(ack));
                }
                out.extend(self.tell(key, &RangeSet::new(), Some((entry, &ranges))));
                out
            }
            // A fetch that was cancelled meanwhile has no record, and its files are nobody's.
            After::Complete { run, entries } if f.run == run && f.record.is_some() => {
                let mut out = vec![changed];
                let mut verified = RangeSet::new();
                for (entry, name) in entries {
                    let told = f.durable.remove(&entry).unwrap_or_default();
                    f.synced.remove(&entry);
                    f.hearsay.remove(&entry);
                    let size = f.entries.get(entry as usize).map_or(0, |e| e.size);
                    if f.done.insert(entry, name).is_none() {
                        f.done_size += size;
                    }
                    // Gives back the sender's window: what came since the last checkpoint. Of a single
                    // chunk `verified` says it.
                    let chunks = frame::chunks(size);
                    let mut rest = RangeSet::full(chunks);
                    subtract(&mut rest, &told);
                    if f.state == State::Fetching && chunks > 1 {
                        let ack = |ranges| FetchOut::Ack {
                            peer: f.via,
                            transfer: f.transfer,
                            entry,
                            ranges,
                        };
                        out.extend(rest.split(limits::MAX_RANGES).map(ack));
                    }
                    verified.insert(entry.into(), u64::from(entry) + 1);
                    if let Some(swarm) = &mut f.swarm {
                        swarm.complete(entry, ctx.now.mono);
                    }
                }
                // Of a fetch that has ended the sender has forgotten everything.
                if f.state == State::Fetching {
                    out.extend(say_verified(key, (f.via, f.transfer), &verified));
                }
                if f.is_complete() {
                    out.extend(f.complete(key, ctx));
                    out.extend(self.after_complete(key, ctx));
                }
                out.extend(self.tell(key, &verified, None));
                out.extend(self.pull(key, ctx));
                out
            }
            After::Begin { .. } | After::Acknowledge { .. } | After::Complete { .. } => Vec::new(),
        }
    }

    /// A store job of ours failed.
    pub fn on_store_failed(&mut self, job: JobId, code: Code, ctx: &mut Ctx<'_>) -> Vec<FetchOut> {
        let Some((key, after)) = self.jobs.remove(&job) else {
            return Vec::new();
        };
        match after {
            After::Nothing => Vec::new(),
            After::Begin { run } | After::Acknowledge { run, .. } | After::Complete { run, .. } => {
                let fetch = self.fetches.get_mut(&(key.from, key.offer));
                if fetch.is_none_or(|f| f.run != run) {
                    return Vec::new();
                };
                self.fail(key, code, ctx)
            }
        }
    }

    pub(super) fn store(&mut self, key: FetchKey, puts: Vec<Put>, after: After, ctx: &mut Ctx<'_>) {
        let job = ctx.job();
        ctx.out(Effect::Store(job, puts));
        self.jobs.insert(job, (key, after));
    }
}
