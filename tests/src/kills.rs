//! A large file and small ones from one process to another, both killed again and again at random
//! moments: each time the same command starts anew, and in the end all are there, whole, and nothing
//! else.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::process::{Ended, Kith};
use crate::sim::dice::Dice;

/// The longest that a process lives that is to be killed, but for the last ones: from its start,
/// over its meeting the other, to the middle of the file.
const LONGEST_LIFE: Duration = Duration::from_millis(2_500);
/// Most kills of one file. Enough to strike what the kill before left.
const MOST_KILLS: u64 = 6;

/// By so many bytes each small file is larger than the one before.
const SMALL_STEP: u64 = 7;
/// Small files whose names are recorded together at most.
const NAMED_TOGETHER: u64 = 512;

/// One of them whose other end has ended has heard it by then, or never will.
const MEET: Duration = Duration::from_secs(10);

/// What files went through.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fate {
    /// How often a process was killed, at either end.
    pub kills: u64,
    /// Of these, after bytes had come and before all had.
    pub half_way: u64,
    /// Bytes that the last receiver found from before.
    pub resumed: u64,
    /// Bytes that the last sender sent twice.
    pub resent: u64,
}

impl std::ops::AddAssign for Fate {
    fn add_assign(&mut self, other: Fate) {
        self.kills += other.kills;
        self.half_way += other.half_way;
        self.resumed += other.resumed;
        self.resent = self.resent.max(other.resent);
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mb = |bytes: u64| bytes as f64 / 1e6;
        write!(
            f,
            "{} kills, {} of them half-way; {:.0} MB not sent again; at most {:.1} MB sent twice",
            self.kills,
            self.half_way,
            mb(self.resumed),
            mb(self.resent)
        )
    }
}

/// Files that are sent over and over, and the room server that all use.
pub struct Kills {
    dir: tempfile::TempDir,
    paths: [PathBuf; 2],
    largest_small: u64,
    hashes: Tree,
    url: String,
    _server: Kith,
}

impl Kills {
    /// With a file of so many bytes, and a folder of so many small ones.
    pub fn new(size: u64, small: u64) -> Kills {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let paths = [out.join("film.bin"), out.join("notes")];
        std::fs::create_dir_all(&paths[1]).unwrap();
        crate::random_file(&paths[0], size);
        for n in 0..small {
            crate::random_file(&paths[1].join(n.to_string()), n * SMALL_STEP);
        }
        let (server, addr) = Kith::room_server(0);
        Kills {
            hashes: hashes(&out),
            dir,
            paths,
            largest_small: small * SMALL_STEP,
            url: format!("http://{addr}"),
            _server: server,
        }
    }

    /// Sends them once; `seed` says who dies when.
    ///
    /// # Panics
    ///
    /// If they do not arrive, or not as they were, or something is left over.
    pub fn send(&self, seed: u64) -> Fate {
        let home = self.dir.path().join(seed.to_string());
        let fate = Pair::new(self, &home, seed).run();
        let arrived = hashes(&home.join("in"));
        let names = |tree: &Tree| tree.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&arrived), names(&self.hashes), "seed {seed}");
        assert!(arrived == self.hashes, "seed {seed}: other bytes");
        std::fs::remove_dir_all(&home).unwrap();
        fate
    }
}

/// What files of a folder hash to, whatever their names.
type Tree = BTreeMap<PathBuf, [u8; 32]>;

fn hashes(folder: &Path) -> Tree {
    let (mut tree, mut open) = (Tree::new(), vec![folder.to_path_buf()]);
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_path_buf();
                tree.insert(name, crate::sha256(&path));
            }
        }
    }
    tree
}

/// The two ends of one offer.
struct Pair<'a> {
    kills: &'a Kills,
    home: &'a Path,
    invite: String,
    seed: u64,
    dice: Dice,
    fate: Fate,
}

impl<'a> Pair<'a> {
    fn new(kills: &'a Kills, home: &'a Path, seed: u64) -> Self {
        let ada = home.join("ada");
        let made = Kith::start(&ada, "Ada", &["invite", "--server", &kills.url]).wait_end();
        let invite = made.line("invite")["invite"].as_str().unwrap().to_string();
        let (dice, fate) = (Dice::new(seed), Fate::default());
        Pair {
            kills,
            home,
            invite,
            seed,
            dice,
            fate,
        }
    }

    fn run(mut self) -> Fate {
        let (mut sender, mut receiver) = (self.sender(), self.receiver());
        for _ in 0..=self.dice.below(MOST_KILLS) {
            let until = Instant::now() + LONGEST_LIFE.mul_f64(self.dice.fraction());
            let over = (receiver.ends_by(until), sender.ends_by(until));
            let receiver_dies = match over {
                (true, true) => break,
                (received, sent) if received != sent => sent,
                _ => self.dice.percent(50),
            };
            let (done, total) = progress(&receiver);
            self.fate.kills += 1;
            self.fate.half_way += u64::from(done > 0 && done < total);
            // Who has ended is needed again by the one that starts anew.
            if receiver_dies {
                receiver.kill();
                receiver = self.receiver();
                if sender.ends_by(Instant::now()) {
                    sender = self.sender();
                }
            } else {
                sender.kill();
                sender = self.sender();
                if receiver.ends_by(Instant::now()) {
                    receiver = self.receiver();
                }
            }
        }
        if !receiver.ends_by(Instant::now() + MEET) && sender.ends_by(Instant::now()) {
            // It had heard that all is there, from a receiver that was dying: nothing is left to do.
            receiver.kill();
            self.succeed(sender);
            return self.fate;
        }
        let mut received = self.succeed(receiver);
        if !sender.ends_by(Instant::now() + MEET) {
            // It said that it has everything to a sender that was dying.
            received = self.succeed(self.receiver());
        }
        let sent = self.succeed(sender);
        let number = |ended: &Ended, field: &str| {
            let traffic = &ended.line("summary")["traffic"][field];
            traffic.as_u64().unwrap()
        };
        // Small files that were being recorded when the one before died may come once more, and be
        // acknowledged before they are sent. Of the large one nothing may.
        let named = NAMED_TOGETHER * self.kills.largest_small;
        for (ended, field) in [(&received, "received_durable"), (&sent, "resent_durable")] {
            let again = number(ended, field);
            assert!(again <= named, "seed {}: {field} is {again}", self.seed);
        }
        self.fate.resumed = number(&received, "resumed");
        self.fate.resent = number(&sent, "resent");
        self.fate
    }

    fn sender(&self) -> Kith {
        let [file, folder] = self.kills.paths.each_ref().map(|p| p.to_str().unwrap());
        let args = ["send", file, folder, "--to", &self.invite];
        Kith::start(&self.home.join("ada"), "Ada", &args)
    }

    fn receiver(&self) -> Kith {
        let into = self.home.join("in");
        let into = into.to_str().unwrap();
        let args = ["receive", &self.invite, "--into", into, "--yes"];
        Kith::start(&self.home.join("bob"), "Bob", &args)
    }

    fn succeed(&self, process: Kith) -> Ended {
        let ended = process.wait_end();
        assert_eq!(ended.code, Some(0), "seed {}: {ended:#?}", self.seed);
        ended
    }
}

/// How much is durable, of how much.
fn progress(receiver: &Kith) -> (u64, u64) {
    let mut offers = receiver.seen().iter().filter(|v| v["type"] == "offer");
    offers.next_back().map_or((0, 0), |v| {
        let number = |field: &str| v[field].as_u64().unwrap_or_default();
        (number("done"), number("total"))
    })
}
