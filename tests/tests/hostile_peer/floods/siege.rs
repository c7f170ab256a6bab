//! A real process under attack, whose memory and handles are measured.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use kith_api::{CreateRoom, Handler as _, LinkPhase, OfferFiles, SendText, ServePhase};
use kith_protocol::{PeerId, RoomId};
use kith_tests::hostile_peer::Hostile;
use kith_tests::process::{Kith, kith_bin};
use kith_tests::{Peer, Server, random_file};

/// What floods may add to the memory of a node, in KiB, while they last and after them. It may hold
/// the window of a transfer (12 MiB) and what two links have received (4 MiB each), or the batches that
/// sixteen serves had read when they were started over, which is as many as may be at once (2 to 3 MiB
/// each: 17 to 25 MiB in all on an idle machine, 38 on a busy one, where their threads end later). The
/// allocator keeps some of what is free again, ever less of it: after five floods of begun files, which
/// carry 128 MiB each, 23 MiB and no more, and after six of questions whose answers nobody reads as much.
const MOST_GROWTH: u64 = 48 * 1024;
/// What the third of them may add to the second, in KiB: the allocator has two arenas, and the first two
/// may have filled one each.
const MOST_MORE: u64 = 8 * 1024;
/// A link whose other end is gone is closed by then, or stays.
const REST: Duration = Duration::from_secs(15);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// Handles that may be open after it beside those before.
const MOST_HANDLES: usize = 400;
/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A real `kith`, an honest node in this process, and the hostile one.
pub struct Siege {
    /// The process.
    pub victim: Kith,
    id: PeerId,
    bob: Peer,
    room: RoomId,
    said: u64,
    hostile: Hostile,
    receives: bool,
    dir: tempfile::TempDir,
    _server: Server,
}

impl Siege {
    /// Starts the victim with these arguments, warm: it has linked with two others, chatted and,
    /// where it is there to receive, fetched a file. That fills caches which every node fills.
    pub async fn new(args: &[&str]) -> Siege {
        let server = Server::start().await;
        let dir = tempfile::tempdir().unwrap();
        random_file(&dir.path().join("file.bin"), 3_000_000);
        let bob = Peer::start(&dir.path().join("bob"), "Bob").await;
        let made = bob.node.create_room(CreateRoom {
            server: server.url(),
        });
        let made = made.await.unwrap();
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
        let receives = args[0] == "receive";
        let args: Vec<String> = args
            .iter()
            .map(|a| match *a {
                "INVITE" => made.invite.clone(),
                "FILE" => at("file.bin"),
                "DIR" => at("in"),
                other => other.to_string(),
            })
            .collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut command = std::process::Command::new(kith_bin());
        command.args(&args).args(["--home", &at("ada")]);
        command.args(["--name", "Ada", "--json", "--loopback"]);
        let victim = Kith::spawn(&mut command, args[0]);
        let linked = |c: &kith_api::Change| match c {
            kith_api::Change::Person(p) if p.link == LinkPhase::Connected => Some(p.peer),
            _ => None,
        };
        let id = bob.wait("a link with the victim", linked).await;
        let hostile = Hostile::meet(&made.invite, id).await;
        let mut siege = Siege {
            victim,
            id,
            bob,
            room: made.room,
            said: 0,
            hostile,
            receives,
            dir,
            _server: server,
        };
        siege.warm_up().await;
        siege
    }

    async fn warm_up(&mut self) {
        drop(self.hostile.link().await);
        for _ in 0..20 {
            self.honest_chat().await;
        }
        if self.receives {
            let path = self.dir.path().join("file.bin");
            let offer = OfferFiles {
                room: self.room,
                to: vec![self.id],
                paths: vec![path.to_str().unwrap().into()],
                note: None,
                strategy: None,
            };
            let offer = self.bob.node.offer(offer).await.unwrap().offer;
            let done = |o: &kith_api::OfferView| {
                o.offer == offer && o.receivers.iter().any(|r| r.phase == ServePhase::Done)
            };
            self.bob.wait_offer("the first file", done).await;
        }
    }

    /// Kibibytes that are its own, and open handles.
    fn measure(&self) -> (u64, usize) {
        let pid = self.victim.pid();
        let handles = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        (anonymous(pid), handles.count())
    }

    /// Waits until the link of the flood is closed, if it is: what it was to send takes memory until then.
    async fn rest(&self, handles: usize) {
        let until = Instant::now() + REST;
        while self.measure().1 > handles && Instant::now() < until {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The honest one says something, and the victim's answer shows that it was stored.
    pub async fn honest_chat(&mut self) {
        let text = format!("honest {}", self.said);
        self.said += 1;
        let (room, victim) = (self.room, self.id);
        let sent = SendText { room, text };
        let seq = self.bob.node.send_text(sent).await.unwrap().seq;
        let delivered = |c: &kith_api::Change| match c {
            kith_api::Change::Message(m) if m.seq == seq && m.delivered.contains(&victim) => {
                Some(())
            }
            _ => None,
        };
        self.bob
            .wait("the honest message to arrive", delivered)
            .await;
    }

    /// Runs the flood three times, over a new link each time, with honest chats after each.
    pub async fn withstands(mut self, what: &str, flood: impl AsyncFn(&mut Hostile)) {
        self.honest_chat().await;
        let (before, handles) = self.measure();
        let (mut peaks, mut after) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let peak = Peak::watch(self.victim.pid());
            flood(&mut self.hostile).await;
            for _ in 0..5 {
                self.honest_chat().await;
            }
            peaks.push(peak.end());
            self.rest(handles).await;
            after.push(self.measure().0);
        }
        let handles_after = self.measure().1;
        let grown = |m: &[u64]| m.iter().max().unwrap().saturating_sub(before);
        let report = format!(
            "{what}: {before} KiB before, at most {peaks:?} during and {after:?} after the \
             floods: {} and {}; {handles} handles, then {handles_after}",
            grown(&peaks),
            grown(&after)
        );
        println!("{report}");
        assert!(grown(&peaks) <= MOST_GROWTH, "{report}");
        assert!(grown(&after) <= MOST_GROWTH, "{report}");
        assert!(after[2].saturating_sub(after[1]) <= MOST_MORE, "{report}");
        assert!(handles_after <= handles + MOST_HANDLES, "{report}");
        self.victim.terminate();
        let ended = self.victim.wait_end();
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
        self.bob.node.shutdown().await;
        drop(self.dir);
    }
}

/// Memory that is not the mapping of a file, in KiB.
fn anonymous(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("RssAnon:"));
    let number = line.and_then(|l| l.split_whitespace().nth(1)?.parse().ok());
    number.expect("a living process")
}

/// The most memory seen while it watches.
struct Peak {
    stop: mpsc::Sender<()>,
    thread: std::thread::JoinHandle<u64>,
}

impl Peak {
    fn watch(pid: u32) -> Peak {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut peak = 0;
            while let Err(mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(LOOK_EVERY) {
                peak = peak.max(anonymous(pid));
            }
            peak
        });
        Peak { stop, thread }
    }

    fn end(self) -> u64 {
        drop(self.stop);
        self.thread.join().expect("the watcher only reads")
    }
}
