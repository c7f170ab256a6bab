//! Actions of a plan, done. One that makes no sense at the moment does nothing.

use kith_api::OfferAction;
use kith_core::Input;
use kith_core::input::{Command, NewOffer};
use kith_core::record::FetchKey;
use kith_protocol::{Code, OfferId, PeerId, RoomId};

use super::disk;
use super::plan::Action;
use super::world::World;

const DIRS: [&str; 2] = ["down", "elsewhere"];

impl World {
    pub fn act(&mut self, action: Action) {
        match action {
            Action::Join(n) if self.nodes[n].is_up() => self.join(n),
            Action::Leave(n) if self.nodes[n].is_up() => {
                let room = self.room;
                self.command(n, Command::Leave(room));
            }
            Action::Crash { peer, power_cut } => self.crash(peer, power_cut),
            Action::Quit(n) if self.nodes[n].is_up() => self.quit(n),
            Action::Start(n) => self.start(n),
            Action::Sleep { peer, clock_stops } => {
                let now = self.now;
                let node = &mut self.nodes[peer];
                if node.process.is_some() {
                    node.asleep.get_or_insert((now, clock_stops));
                }
            }
            Action::Wake(n) => self.wake(n),
            Action::Cut { from, to, both } => self.cut(from, to, both),
            Action::Heal(a, b) => self.heal(a, b),
            Action::CutServer(n) => {
                self.server.cut.insert(n);
            }
            Action::HealServer(n) => self.heal_server(n),
            Action::ServerDown => self.server_down(),
            Action::ServerDrain => self.server_drain(),
            Action::ServerUp => self.server.up(),
            Action::Garble(count) => self.garble += count,
            Action::Move {
                peer,
                told,
                server_too,
            } => self.move_to_another_network(peer, told, server_too),
            Action::Delay(ms) => self.delay = ms,
            Action::LoseBeats(percent) => self.lose_beats = percent,
            Action::Damage(count) => self.damage += count,
            Action::LieAboutChunks(count) => self.lie_chunks += count,
            Action::LieAboutHashes(count) => self.lie_hashes += count,
            Action::BreakDisk { peer, how } => {
                let codes = [Code::DiskFull, Code::DiskDenied, Code::DiskError];
                self.nodes[peer].disk.fault = Some(codes[how as usize % 3]);
            }
            Action::BreakSources { peer, how } => {
                let codes = [Code::SourceGone, Code::SourceChanged];
                self.nodes[peer].source_fault = Some(codes[how as usize % 2]);
            }
            Action::MendDisk(n) => {
                self.nodes[n].disk.fault = None;
                self.nodes[n].source_fault = None;
            }
            Action::SlowDisk { peer, ms } => self.nodes[peer].disk.delay = ms,
            Action::RemovePart { peer, pick } => self.remove_part(peer, pick as usize),
            Action::Orphan {
                peer,
                pick,
                spoiled,
            } => self.leave_orphan(peer, pick, spoiled),
            Action::BreakStore(n) => self.nodes[n].store.broken = true,
            Action::MendStore(n) => self.nodes[n].store.broken = false,
            Action::SlowStore { peer, ms } => self.nodes[peer].store.delay = ms,
            Action::Say { peer, .. }
            | Action::Share { peer, .. }
            | Action::ShareAgain { peer, .. }
            | Action::Accept { peer, .. }
            | Action::AcceptAll(peer)
            | Action::Decline { peer, .. }
            | Action::Withdraw { peer, .. }
            | Action::Nonsense { peer, .. }
                if self.nodes[peer].is_up() =>
            {
                self.ask(peer, action);
            }
            Action::Pause { peer, .. }
            | Action::Resume { peer, .. }
            | Action::Reorder { peer, .. }
            | Action::Limit { peer, .. }
            | Action::Tune { peer, .. }
                if self.nodes[peer].is_up() =>
            {
                self.control(peer, action);
            }
            Action::Join(_)
            | Action::Leave(_)
            | Action::Quit(_)
            | Action::Say { .. }
            | Action::Share { .. }
            | Action::ShareAgain { .. }
            | Action::Accept { .. }
            | Action::AcceptAll(_)
            | Action::Decline { .. }
            | Action::Withdraw { .. }
            | Action::Pause { .. }
            | Action::Resume { .. }
            | Action::Reorder { .. }
            | Action::Limit { .. }
            | Action::Tune { .. }
            | Action::Nonsense { .. } => {}
        }
    }

    /// What somebody at a running machine asks for.
    fn ask(&mut self, n: usize, action: Action) {
        match action {
            Action::Say { count, .. } => {
                for _ in 0..count {
                    let text = format!("text {}", self.dice.below(1_000));
                    self.say(n, text);
                }
            }
            Action::Share { shape, only, .. } => {
                self.share(n, shape, only);
            }
            Action::ShareAgain { pick, .. } => {
                let sources = &self.nodes[n].sources;
                let known = sources.values().nth(pick as usize % sources.len().max(1));
                if let Some(source) = known.cloned() {
                    self.offer_source(n, source);
                }
            }
            Action::Accept { pick, dir, .. } => {
                if let Some(key) = picked(&self.may(n, &[OfferAction::Accept]), pick) {
                    self.accept_into(n, key, DIRS[dir as usize % 2]);
                }
            }
            Action::AcceptAll(_) => {
                for key in self.may(n, &[OfferAction::Accept]) {
                    self.accept_into(n, key, DIRS[0]);
                }
            }
            Action::Decline { pick, .. } => {
                let may = self.may(n, &[OfferAction::Decline, OfferAction::Cancel]);
                if let Some(key) = picked(&may, pick) {
                    self.nodes[n].wanted.remove(&key);
                    self.command(n, Command::Decline(key));
                }
            }
            Action::Withdraw { pick, .. } => {
                let all = self.nodes[n]
                    .process
                    .iter()
                    .flat_map(|p| &p.offered)
                    .copied();
                if let Some(id) = picked(&all.collect::<Vec<_>>(), pick) {
                    let room = self.room;
                    self.command(n, Command::Withdraw(room, id));
                }
            }
            Action::Nonsense { what, .. } => {
                let command = self.nonsense(n, what);
                self.command(n, command);
            }
            _ => {}
        }
    }

    fn nonsense(&self, n: usize, what: u32) -> Command {
        let (room, offer) = (self.room, OfferId([9; 16]));
        let (me, nowhere) = (self.nodes[n].peer(), RoomId([9; 16]));
        let key = |room, from| FetchKey { room, from, offer };
        let new = |room, name: &str| NewOffer {
            room,
            to: vec![],
            name: name.into(),
            note: None,
            entries: vec![],
            strategy: None,
            paths: vec![],
        };
        match what % 12 {
            0 => Command::Leave(nowhere),
            1 => Command::SendText(room, "  \n".into()),
            2 => Command::SendText(nowhere, "hello".into()),
            3 => Command::Offer(new(room, "nothing")),
            4 => Command::Accept(key(room, PeerId([9; 16])), "x".into()),
            5 => Command::Decline(key(room, me)),
            6 => Command::Withdraw(room, offer),
            7 => Command::Pause(key(room, me), None),
            8 => Command::Resume(key(room, PeerId([9; 16])), Some(me)),
            9 => Command::Reorder(key(room, PeerId([9; 16])), None),
            10 => Command::Limit(key(room, me), Some(1)),
            _ => Command::SendText(room, "x".repeat(20_000)),
        }
    }

    /// Starts a process and rejoins what was open.
    pub fn start(&mut self, n: usize) {
        if self.nodes[n].process.is_some() {
            return;
        }
        self.nodes[n].start(self.seed);
        // What a new engine has to say at once is not what its first command brings about.
        self.input(n, Input::Timeout);
        for room in self.nodes[n].store.saved().rooms {
            if room.open {
                let invite = room.invite.parse().expect("what was stored can be read");
                self.command(n, Command::Join(invite));
            }
        }
        if self.nodes[n].keep {
            self.restore_offers(n);
        }
    }

    /// Ends a process without a word.
    pub fn crash(&mut self, n: usize, power_cut: bool) {
        if self.nodes[n].process.is_none() {
            return;
        }
        self.hang_up_all(n);
        // Some of what was under way has reached the disk.
        let waiting = self.nodes[n].store.waiting.len() as u64;
        let broken = self.nodes[n].store.broken;
        let lucky = if broken {
            0
        } else {
            self.dice.below(waiting + 1)
        };
        for _ in 0..lucky {
            if let Some((_, puts)) = self.nodes[n].store.waiting.pop_front() {
                self.apply_puts(n, puts);
            }
        }
        if power_cut {
            let dice = &mut self.dice;
            self.nodes[n].disk.power_cut(dice);
        }
        self.end(n);
        self.check_promises(n);
    }

    /// Ends a process that says good-bye and stores what it has.
    fn quit(&mut self, n: usize) {
        self.input(n, Input::Shutdown);
        for (_, puts) in std::mem::take(&mut self.nodes[n].store.waiting) {
            if !self.nodes[n].store.broken {
                self.apply_puts(n, puts);
            }
        }
        self.hang_up_all(n);
        self.end(n);
    }

    fn end(&mut self, n: usize) {
        let now = self.now;
        let node = &mut self.nodes[n];
        node.process = None;
        node.life += 1;
        node.store.waiting.clear();
        node.store.flushing = false;
        node.held.clear();
        if let Some((since, true)) = node.asleep.take() {
            node.clock_lost += now - since;
        }
        self.net.ends.retain(|(_, node), _| *node != n);
    }

    pub fn wake(&mut self, n: usize) {
        let now = self.now;
        let node = &mut self.nodes[n];
        let Some((since, stops)) = node.asleep.take() else {
            return;
        };
        if stops {
            node.clock_lost += now - since;
        }
        for what in std::mem::take(&mut node.held) {
            if self.nodes[n].process.is_some() {
                self.reach(n, what);
            }
        }
        self.flush_connections(n);
    }

    /// Nothing travels from one node to another any more.
    pub fn cut(&mut self, from: usize, to: usize, both: bool) {
        self.net.cut.insert((from, to));
        if both {
            self.net.cut.insert((to, from));
        }
    }

    /// It does again, over the old path or the one that is being negotiated.
    pub fn heal(&mut self, a: usize, b: usize) {
        self.net.cut.remove(&(a, b));
        self.net.cut.remove(&(b, a));
        for link in self.net.of(a) {
            if self.net.other(link, a) == Some(b) {
                self.settle_path(link);
                self.flush_link(link, a);
                self.flush_link(link, b);
            }
        }
    }

    pub fn heal_server(&mut self, n: usize) {
        if self.server.cut.remove(&n) {
            self.flush_connections(n);
        }
    }

    /// A node's addresses change: old paths are dead until ICE restarts.
    pub fn move_to_another_network(&mut self, n: usize, told: bool, server_too: bool) {
        for link in self.net.of(n) {
            self.net.paths.remove(&link);
        }
        if server_too {
            self.kill_connections(n);
        }
        if told && self.nodes[n].is_up() {
            self.input(n, Input::AddressesChanged);
        }
    }

    pub(super) fn leave_orphan(&mut self, n: usize, pick: u32, spoiled: bool) {
        let sources = self.nodes.iter().enumerate().filter(|(m, _)| *m != n);
        let sources = sources.flat_map(|(_, node)| node.sources.values());
        let files = sources.flat_map(|s| s.entries.iter().zip(&s.tokens));
        let large: Vec<_> = files.filter(|(_, tokens)| tokens.len() > 1).collect();
        let Some((e, tokens)) = large.get(pick as usize % large.len().max(1)) else {
            return;
        };
        let mut part = disk::Part {
            at: (DIRS[pick as usize / 7 % 2].to_string(), e.path.clone()),
            ..disk::Part::default()
        };
        for (index, token) in (0..).zip(tokens.iter()) {
            if self.dice.percent(70) {
                part.chunks.insert(index, token ^ u64::from(spoiled));
            }
        }
        let disk = &mut self.nodes[n].disk;
        disk.serial += 1;
        part.serial = disk.serial;
        let tag = format!("orphan {}", part.serial);
        disk.parts.insert((tag, 0), part);
    }

    fn remove_part(&mut self, n: usize, pick: usize) {
        let parts = &self.nodes[n].disk.parts;
        let Some(at) = parts.keys().nth(pick % parts.len().max(1)).cloned() else {
            return;
        };
        self.nodes[n].disk.parts.remove(&at);
        let of = self.nodes[n].promises.iter().filter(|(_, p)| p.tag == at.0);
        for key in of.map(|(k, _)| *k).collect::<Vec<_>>() {
            self.forget_promises(n, key, at.1);
        }
    }
}

fn picked<T: Copy>(of: &[T], pick: u32) -> Option<T> {
    of.get(pick as usize % of.len().max(1)).copied()
}
