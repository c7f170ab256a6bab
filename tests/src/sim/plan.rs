//! What happens in one run: drawn from a seed, and small enough to be read when it fails.

use super::dice::Dice;

/// One thing that people, machines or networks do. Peers are numbers from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants' docs name their fields")]
pub enum Action {
    /// `0` enters the room.
    Join(usize),
    /// `0` leaves the room.
    Leave(usize),
    /// The process ends without a word; with `power_cut`, what was not synced is lost or torn.
    Crash { peer: usize, power_cut: bool },
    /// The process says good-bye and ends.
    Quit(usize),
    /// The process starts again and rejoins what was open.
    Start(usize),
    /// The machine sleeps; its monotonic clock stops too, or does not.
    Sleep { peer: usize, clock_stops: bool },
    /// It wakes up.
    Wake(usize),
    /// Nothing travels from `from` to `to` any more; with `both`, neither the other way.
    Cut { from: usize, to: usize, both: bool },
    /// It does again, both ways.
    Heal(usize, usize),
    /// `0` cannot reach the room server, and nobody is told.
    CutServer(usize),
    /// It can again.
    HealServer(usize),
    /// The room server is killed.
    ServerDown,
    /// The room server says that it restarts, and goes.
    ServerDrain,
    /// The room server is back, knowing nothing.
    ServerUp,
    /// So many of the next signals are lost, doubled, cut short, altered or replayed.
    Garble(u32),
    /// The addresses change: paths are dead, and so is the connection to the server where
    /// `server_too`. The system says so where `told`.
    Move {
        peer: usize,
        told: bool,
        server_too: bool,
    },
    /// Messages take up to so many milliseconds.
    Delay(u64),
    /// So many percent of the beats are lost.
    LoseBeats(u64),
    /// `peer` writes so many messages.
    Say { peer: usize, count: u32 },
    /// `peer` offers files of some shape, to everybody or to `only`.
    Share {
        peer: usize,
        shape: u32,
        only: Option<usize>,
    },
    /// `peer` offers again what it once offered.
    ShareAgain { peer: usize, pick: u32 },
    /// `peer` takes an offer that it is shown, into one of two folders.
    Accept { peer: usize, pick: u32, dir: u32 },
    /// `peer` takes every offer that it may.
    AcceptAll(usize),
    /// `peer` refuses an offer, or cancels its fetch.
    Decline { peer: usize, pick: u32 },
    /// `peer` takes back an offer of its own.
    Withdraw { peer: usize, pick: u32 },
    /// `peer` holds a transfer back, its own fetch or what it serves.
    Pause { peer: usize, pick: u32 },
    /// `peer` lets one go on.
    Resume { peer: usize, pick: u32 },
    /// `peer` gives a fetch another place in the queue.
    Reorder { peer: usize, pick: u32, before: u32 },
    /// `peer` bounds a transfer.
    Limit { peer: usize, pick: u32, bound: u32 },
    /// `peer` lets so many fetches run at a time, and bounds all of them.
    Tune {
        peer: usize,
        at_once: u32,
        bound: u32,
    },
    /// `peer` asks for something that is not possible.
    Nonsense { peer: usize, what: u32 },
    /// So many of the next chunks arrive damaged.
    Damage(u32),
    /// So many of the next chunks are others than the file's, with a checksum that fits them.
    LieAboutChunks(u32),
    /// So many of the next whole-file hashes are wrong.
    LieAboutHashes(u32),
    /// `peer`'s disk is full (0), read-only (1) or failing (2).
    BreakDisk { peer: usize, how: u32 },
    /// Files that `peer` serves cannot be read (0) or have changed (1).
    BreakSources { peer: usize, how: u32 },
    /// `peer`'s disk works.
    MendDisk(usize),
    /// `peer`'s disk takes up to so many milliseconds for everything.
    SlowDisk { peer: usize, ms: u64 },
    /// `peer`'s user removes a part file.
    RemovePart { peer: usize, pick: u32 },
    /// In `peer`'s folder lies what a fetch left that nobody knows any more, of a file on offer or,
    /// where `spoiled`, of another one with its name.
    Orphan {
        peer: usize,
        pick: u32,
        spoiled: bool,
    },
    /// `peer`'s store refuses to write.
    BreakStore(usize),
    /// It writes again.
    MendStore(usize),
    /// `peer`'s store takes up to so many milliseconds.
    SlowStore { peer: usize, ms: u64 },
}

/// An action, and the milliseconds that pass before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Milliseconds.
    pub after: u64,
    /// What is done then.
    pub action: Action,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Decides everything else that is left to chance.
    pub seed: u64,
    /// How many people there are.
    pub peers: usize,
    /// What they do.
    pub steps: Vec<Step>,
}

impl Plan {
    /// The run of a seed.
    pub fn from_seed(seed: u64) -> Plan {
        let mut dice = Dice::new(seed ^ 0x5eed);
        let peers = 3 + dice.one(&[0, 0, 0, 0, 1, 1, 2]);
        let mut steps: Vec<Step> = (0..peers)
            .map(|n| Step {
                after: dice.below(300),
                action: Action::Join(n),
            })
            .collect();
        // Some runs are mostly talk, some mostly files, some mostly trouble.
        let weights: Vec<u64> = KINDS
            .iter()
            .map(|k| k.0 * dice.one(&[0, 1, 1, 2]))
            .collect();
        let total: u64 = weights.iter().sum();
        let count = 12 + dice.below(28);
        while (steps.len() as u64) < peers as u64 + count && total > 0 {
            let mut at = dice.below(total);
            let kind = weights.iter().position(|w| {
                let here = at < *w;
                at = at.wrapping_sub(if here { 0 } else { *w });
                here
            });
            let Some(kind) = kind else { continue };
            let span = dice.one(&[5, 50, 400, 400, 3_000, 3_000, 12_000, 40_000]);
            steps.push(Step {
                after: dice.below(span),
                action: KINDS[kind].1(&mut dice, peers as u64),
            });
        }
        add_orphans(seed, peers, &mut steps);
        Plan { seed, peers, steps }
    }
}

/// Drawn apart, so that seeds that once failed still do what they did.
fn add_orphans(seed: u64, peers: usize, steps: &mut Vec<Step>) {
    let mut dice = Dice::new(seed ^ 0x0a4a);
    if !dice.percent(30) {
        return;
    }
    let shares = |s: &Step| matches!(s.action, Action::Share { .. });
    let mut at = 0;
    while let Some(next) = steps[at..].iter().position(shares) {
        at += next + 1;
        let action = Action::Orphan {
            peer: who(&mut dice, peers as u64),
            pick: pick(&mut dice),
            spoiled: dice.percent(40),
        };
        steps.insert(at, Step { after: 0, action });
    }
}

type Draw = fn(&mut Dice, u64) -> Action;

const KINDS: &[(u64, Draw)] = &[
    (2, |d, n| Action::Join(who(d, n))),
    (2, |d, n| Action::Leave(who(d, n))),
    (4, |d, n| Action::Crash {
        peer: who(d, n),
        power_cut: d.percent(50),
    }),
    (1, |d, n| Action::Quit(who(d, n))),
    (6, |d, n| Action::Start(who(d, n))),
    (2, |d, n| Action::Sleep {
        peer: who(d, n),
        clock_stops: d.percent(70),
    }),
    (4, |d, n| Action::Wake(who(d, n))),
    (4, |d, n| {
        let (from, to) = pair(d, n);
        Action::Cut {
            from,
            to,
            both: d.percent(70),
        }
    }),
    (5, |d, n| {
        let (a, b) = pair(d, n);
        Action::Heal(a, b)
    }),
    (2, |d, n| Action::CutServer(who(d, n))),
    (3, |d, n| Action::HealServer(who(d, n))),
    (2, |_, _| Action::ServerDown),
    (1, |_, _| Action::ServerDrain),
    (4, |_, _| Action::ServerUp),
    (2, |d, _| Action::Garble(1 + d.below(6) as u32)),
    (4, |d, n| Action::Move {
        peer: who(d, n),
        told: d.percent(70),
        server_too: d.percent(60),
    }),
    (2, |d, _| Action::Delay(d.one(&[1, 5, 20, 60, 150]))),
    (1, |d, _| Action::LoseBeats(d.one(&[0, 20, 60]))),
    (8, |d, n| Action::Say {
        peer: who(d, n),
        count: d.one(&[1, 1, 2, 5, 30, 200]),
    }),
    (7, |d, n| {
        let (peer, other) = pair(d, n);
        Action::Share {
            peer,
            shape: d.below(100) as u32,
            only: d.percent(15).then_some(other),
        }
    }),
    (3, |d, n| {
        picked(d, n, |peer, pick| Action::ShareAgain { peer, pick })
    }),
    (5, |d, n| Action::Accept {
        peer: who(d, n),
        pick: pick(d),
        dir: d.below(2) as u32,
    }),
    (8, |d, n| Action::AcceptAll(who(d, n))),
    (2, |d, n| {
        picked(d, n, |peer, pick| Action::Decline { peer, pick })
    }),
    (1, |d, n| {
        picked(d, n, |peer, pick| Action::Withdraw { peer, pick })
    }),
    (5, |d, n| {
        picked(d, n, |peer, pick| Action::Pause { peer, pick })
    }),
    (4, |d, n| {
        picked(d, n, |peer, pick| Action::Resume { peer, pick })
    }),
    (1, |d, n| Action::Reorder {
        peer: who(d, n),
        pick: pick(d),
        before: pick(d),
    }),
    (1, |d, n| Action::Limit {
        peer: who(d, n),
        pick: pick(d),
        bound: pick(d),
    }),
    (1, |d, n| Action::Tune {
        peer: who(d, n),
        at_once: 1 + d.below(3) as u32,
        bound: pick(d),
    }),
    (2, |d, n| Action::Nonsense {
        peer: who(d, n),
        what: d.below(12) as u32,
    }),
    (3, |d, _| Action::Damage(1 + d.below(4) as u32)),
    (1, |d, _| Action::LieAboutChunks(1 + d.below(3) as u32)),
    (1, |d, _| Action::LieAboutHashes(1 + d.below(2) as u32)),
    (2, |d, n| Action::BreakDisk {
        peer: who(d, n),
        how: d.below(3) as u32,
    }),
    (1, |d, n| Action::BreakSources {
        peer: who(d, n),
        how: d.below(2) as u32,
    }),
    (4, |d, n| Action::MendDisk(who(d, n))),
    (3, |d, n| Action::SlowDisk {
        peer: who(d, n),
        ms: d.one(&[1, 20, 200, 900]),
    }),
    (1, |d, n| {
        picked(d, n, |peer, pick| Action::RemovePart { peer, pick })
    }),
    (2, |d, n| Action::BreakStore(who(d, n))),
    (4, |d, n| Action::MendStore(who(d, n))),
    (3, |d, n| Action::SlowStore {
        peer: who(d, n),
        ms: d.one(&[0, 10, 100, 1_000]),
    }),
];

fn who(d: &mut Dice, n: u64) -> usize {
    d.below(n) as usize
}

fn pair(d: &mut Dice, n: u64) -> (usize, usize) {
    let a = d.below(n);
    let b = (a + 1 + d.below(n - 1)) % n;
    (a as usize, b as usize)
}

/// An action of somebody with one of several things.
fn picked(d: &mut Dice, n: u64, action: fn(usize, u32) -> Action) -> Action {
    action(who(d, n), pick(d))
}

fn pick(d: &mut Dice) -> u32 {
    d.below(1 << 16) as u32
}
