//! From bytes to inputs of the engine: the first byte of each says what it is, the next ones
//! choose among what is known and what is not.

mod meeting;
mod talk;
mod workers;

use kith_api::{AcceptPolicy, TransferSettings};
use kith_core::input::{Command, FetchNews, Input, NewOffer};
use kith_core::record::FetchKey;
use kith_protocol::Code;
use kith_protocol::ids::SealTag;
use kith_protocol::ranges::RangeSet;

use self::meeting::{connect, seal, session};
use self::talk::{entries, link, some_offer};
use self::workers::{fetch, loaded, serve};
use super::engine::{World, id_pk};

/// What is left of the input; zeros when it is over.
pub(super) struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        Bytes(input)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((b, rest)) => {
                self.0 = rest;
                *b
            }
            None => 0,
        }
    }

    /// Small numbers mostly, and those at the limits.
    fn number(&mut self) -> u64 {
        match self.byte() {
            n @ 0..=199 => n.into(),
            n @ 200..=219 => u64::from(n) << 8 | u64::from(self.byte()),
            n @ 220..=229 => 65_536 * u64::from(n - 220),
            n @ 230..=239 => u64::from(u32::MAX) + u64::from(n) - 235,
            n @ 240..=247 => (1 << 63) + u64::from(n) - 244,
            n => u64::MAX - u64::from(255 - n),
        }
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> Option<T> {
        // The newest are the likeliest to be alive.
        let at = usize::from(self.byte());
        of.iter().rev().nth(at % of.len().max(1)).cloned()
    }

    fn code(&mut self) -> Code {
        self.pick(Code::ALL).unwrap_or(Code::Unknown)
    }

    fn ranges(&mut self) -> RangeSet {
        let mut set = RangeSet::new();
        for _ in 0..self.byte() % 4 {
            let (a, n) = (self.number(), self.number());
            set.insert(a, a.saturating_add(n));
        }
        set
    }

    fn text(&mut self) -> String {
        let words = ["", "a", "hello", "\u{202e}x", "../../x", "\n\u{1b}[2J", "é"];
        let word = words[usize::from(self.byte()) % words.len()];
        let times = match self.byte() {
            0..=199 => 1,
            200..=249 => 30,
            _ => 5000,
        };
        word.repeat(times)
    }
}

/// The tag of a handshake.
pub(super) fn tag(n: u64) -> SealTag {
    SealTag(n.to_be_bytes())
}

/// Some sequences that lead somewhere.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let connect = |person: u8| vec![0, person];
    let offers = [21, 0, 3, 0, 21, 1, 3, 1];
    let mut seeds = vec![connect(0), [connect(0), connect(1), connect(2)].concat()];
    seeds.push(
        [
            connect(1),
            offers.to_vec(),
            vec![5, 0, 0, 0, 17, 0, 16, 0, 17, 1],
        ]
        .concat(),
    );
    seeds.push(
        [
            connect(0),
            vec![4, 1, 3, 2, 17, 0, 21, 4, 0, 1, 18, 0, 18, 1],
        ]
        .concat(),
    );
    seeds.push(
        [
            connect(2),
            vec![3, 2, 1, 16, 0, 21, 7, 0, 21, 8, 0, 10, 200, 10, 200],
        ]
        .concat(),
    );
    // One of every kind behind a connection.
    seeds.extend((0..40).map(|op| [connect(0), vec![op, 1, 2, 3, 4, 5, 6, 7, 8]].concat()));
    seeds.extend((0..24).map(|m| [connect(1), vec![21, 0, m, 1, 2, 3, 4, 5, 6]].concat()));
    seeds
}

/// Takes one input from `b` and gives it.
pub(super) fn step(w: &mut World, b: &mut Bytes<'_>) {
    let room = |w: &World, b: &mut Bytes<'_>| w.rooms[usize::from(b.byte() / 128)].1;
    match b.byte() % 32 {
        0 | 1 => connect(w, b),
        2 => {
            let (invite, _) = w.rooms[usize::from(b.byte() / 128)].clone();
            w.command(Command::Join(invite));
        }
        3 => {
            let (room, text) = (room(w, b), b.text());
            w.command(Command::SendText(room, text));
        }
        4 => {
            let new = NewOffer {
                room: room(w, b),
                to: (b.byte() > 200)
                    .then(|| id_pk(0).peer_id())
                    .into_iter()
                    .collect(),
                name: b.text(),
                note: (b.byte() > 128).then(|| b.text()),
                entries: entries(b),
                strategy: match b.byte() % 4 {
                    0 => Some(kith_api::Strategy::Sequential),
                    1 => Some(kith_api::Strategy::Swarm),
                    _ => None,
                },
                paths: vec![b.text()],
            };
            w.command(Command::Offer(new));
        }
        5 | 6 => {
            let (from, offer) = some_offer(w, b);
            let key = FetchKey {
                room: room(w, b),
                from,
                offer,
            };
            w.command(Command::Accept(key, format!("/in{}", b.byte() % 2)));
        }
        7 => {
            let (from, offer) = some_offer(w, b);
            let key = FetchKey {
                room: room(w, b),
                from,
                offer,
            };
            w.command(Command::Decline(key));
        }
        8 => {
            let (room, offer) = (room(w, b), some_offer(w, b).1);
            w.command(Command::Withdraw(room, offer));
        }
        9 if b.byte() > 200 => {
            let room = room(w, b);
            w.inside.remove(&room);
            w.command(Command::Leave(room));
        }
        9 | 10 => {
            let most = b.number().saturating_mul(50);
            w.pass(most.min(600_000));
        }
        11 | 12 => session(w, b),
        13 | 14 => seal(w, b),
        15 => w.give(if b.byte() > 250 {
            Input::AddressesChanged
        } else {
            Input::Timeout
        }),
        16 => {
            let job = b.pick(&w.jobs).unwrap_or(b.number());
            w.give(Input::Stored(job));
        }
        17 => {
            // The store answers in order, mostly.
            let jobs = std::mem::take(&mut w.jobs);
            jobs.into_iter().for_each(|job| w.give(Input::Stored(job)));
        }
        18 => {
            let (job, code) = (b.pick(&w.jobs).unwrap_or(b.number()), b.code());
            w.give(Input::StoreFailed(job, code));
        }
        19 => loaded(w, b),
        20 if b.byte() > 192 => workers::hold(w, b),
        20 => serve(w, b),
        21..=25 => link(w, b),
        26 | 27 => fetch(w, b),
        28 => {
            let (from, offer) = some_offer(w, b);
            let room = room(w, b);
            let key = FetchKey { room, from, offer };
            let peer = (b.byte() > 128).then(|| id_pk(b.byte() % 3).peer_id());
            w.command(match b.byte() % 8 {
                0 | 1 => Command::Pause(key, peer),
                2 | 3 => Command::Resume(key, peer),
                4 => Command::Limit(key, (b.byte() > 80).then(|| b.number())),
                5 | 6 => {
                    let (from, offer) = some_offer(w, b);
                    let before = FetchKey { room, from, offer };
                    Command::Reorder(key, (b.byte() > 80).then_some(before))
                }
                _ => Command::Transfers(Box::new(TransferSettings {
                    at_once: u32::from(b.byte() % 4),
                    up: (b.byte() > 128).then(|| b.number()),
                    down: (b.byte() > 128).then(|| b.number()),
                    accept: AcceptPolicy {
                        from: vec![from],
                        dir: b.text(),
                        ..AcceptPolicy::default()
                    },
                })),
            });
        }
        _ => {
            // The disk and the store do what they are there for.
            let (key, run) = match w.fetches.last() {
                Some(f) => *f,
                None => return,
            };
            let entry = u32::from(b.byte() % 4);
            let prepared = FetchNews::Prepared {
                roots: Vec::new(),
                lost: Vec::new(),
                adopted: Vec::new(),
            };
            w.give(Input::Fetch(key, run, prepared));
            let jobs = std::mem::take(&mut w.jobs);
            jobs.into_iter().for_each(|job| w.give(Input::Stored(job)));
            let news = FetchNews::Finished(vec![(entry, b.text())]);
            w.give(Input::Fetch(key, run, news));
        }
    }
}
