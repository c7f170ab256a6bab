//! A small world for table tests: a clock, a seed and the effects that came out.

use std::collections::VecDeque;

use kith_protocol::peer::Entry;
use kith_protocol::ranges::RangeSet;
use rand_chacha::rand_core::SeedableRng as _;

use crate::effect::Effect;
use crate::engine::{Config, Ctx};
use crate::time::{Mono, Now};

pub(crate) struct World {
    pub now: Now,
    out: VecDeque<Effect>,
    rng: rand_chacha::ChaCha8Rng,
    jobs: u64,
    pub config: Config,
}

impl World {
    pub fn new() -> Self {
        World {
            now: Now {
                mono: Mono(1_000),
                unix_ms: 1_700_000_000_000,
            },
            out: VecDeque::new(),
            rng: rand_chacha::ChaCha8Rng::from_seed([7; 32]),
            jobs: 0,
            config: config(),
        }
    }

    pub fn ctx(&mut self) -> Ctx<'_> {
        Ctx::new(
            self.now,
            &mut self.out,
            &mut self.rng,
            &mut self.jobs,
            &self.config,
        )
    }

    pub fn pop(&mut self) -> Option<Effect> {
        self.out.pop_front()
    }

    pub fn drain(&mut self) -> Vec<Effect> {
        self.out.drain(..).collect()
    }
}

pub(crate) fn config() -> Config {
    Config {
        id_pk: kith_protocol::IdPk([1; 32]),
        name: "Ada".into(),
        fp: kith_protocol::ids::Digest([1; 32]),
        keep: false,
        transfers: kith_api::TransferSettings::default(),
    }
}

/// A file of an offer.
pub(crate) fn entry(path: &str, size: u64) -> Entry {
    Entry {
        path: path.into(),
        size,
        mode: 0o644,
        mtime: 0,
        mtime_ns: 0,
        dir: false,
    }
}

/// Chunks, as `[from, to)` pairs in order.
pub(crate) fn set(pairs: &[(u64, u64)]) -> RangeSet {
    RangeSet::from_sorted(pairs.to_vec()).expect("they are in order")
}
