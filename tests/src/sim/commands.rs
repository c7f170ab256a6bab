//! What people do, and how it shows.

use kith_api::{LinkPhase, OfferAction, SessionPhase, Strategy};
use kith_core::Input;
use kith_core::input::{Command, CommandResult, NewOffer, Reply, ReqId};
use kith_core::record::FetchKey;
use kith_protocol::peer::Entry;
use kith_protocol::{LinkId, OfferId, frame};

use super::node::Source;
use super::world::World;

const CHUNK: u64 = 65_536;

impl World {
    /// A command; its reply comes in [`World::reply`].
    pub fn command(&mut self, n: usize, command: Command) -> ReqId {
        self.req += 1;
        let req = self.req;
        self.input(n, Input::Command(req, command));
        req
    }

    /// The answer, if it has come.
    pub fn reply(&self, n: usize, req: ReqId) -> Option<&CommandResult> {
        self.nodes[n].process.as_ref()?.replies.get(&req)
    }

    /// Enters the room.
    pub fn join(&mut self, n: usize) {
        let invite = self.invite.clone();
        self.command(n, Command::Join(invite));
    }

    /// Writes a message.
    pub fn say(&mut self, n: usize, text: impl Into<String>) -> ReqId {
        self.command(n, Command::SendText(self.room, text.into()))
    }

    /// Offers files of these sizes to everybody.
    #[cfg(test)]
    pub fn offer(&mut self, n: usize, sizes: &[u64]) -> OfferId {
        let entries = (0..)
            .zip(sizes)
            .map(|(i, size)| file(&format!("f{i}"), *size))
            .collect();
        self.offer_entries(n, "files", entries, None, None)
            .expect("a good offer")
    }

    /// Offers a file to everybody, in this way.
    #[cfg(test)]
    pub fn offer_by(&mut self, n: usize, size: u64, strategy: Strategy) -> OfferId {
        self.offer_entries(n, "file", vec![file("f0", size)], None, Some(strategy))
            .expect("a good offer")
    }

    /// Offers files of one of some shapes.
    pub fn share(&mut self, n: usize, shape: u32, only: Option<usize>) -> Option<OfferId> {
        let dice = &mut self.dice;
        let some = |dice: &mut super::dice::Dice, most: u64| {
            dice.below(most) * CHUNK + dice.one(&[0, 1, 7, CHUNK - 1])
        };
        let mut entries = Vec::new();
        match shape {
            0..10 => entries.push(file("empty", 0)),
            10..30 => entries.push(file("a", 1 + dice.below(3 * CHUNK))),
            30..50 => entries.push(file("b", some(dice, 60))),
            50..80 => {
                let count = 2 + dice.below(6);
                entries.push(folder("dir"));
                entries.push(folder("dir/none"));
                for i in 0..count {
                    let size = dice.one(&[0, 1, CHUNK, 5 * CHUNK + 3, 20 * CHUNK]);
                    entries.push(file(&format!("dir/{i}"), size));
                }
            }
            80..90 => entries.push(file("large", some(dice, 900))),
            90..98 => {
                for i in 0..40 + dice.below(100) {
                    entries.push(file(&format!("small{i}"), dice.below(10)));
                }
            }
            // More pages of a manifest than go out unasked.
            _ => entries.extend((0..4_500).map(|i| file(&format!("many{i}"), 0))),
        }
        let strategy = match shape % 5 {
            0 => Some(Strategy::Sequential),
            1 => Some(Strategy::Parallel),
            2 | 3 => Some(Strategy::Swarm),
            _ => None,
        };
        self.offer_entries(n, &format!("shape {shape}"), entries, only, strategy)
    }

    fn offer_entries(
        &mut self,
        n: usize,
        name: &str,
        mut entries: Vec<Entry>,
        only: Option<usize>,
        strategy: Option<Strategy>,
    ) -> Option<OfferId> {
        // Files that differ have another time.
        let mtime = self.dice.below(1 << 30) as i64;
        entries.iter_mut().for_each(|e| e.mtime = mtime);
        let mut tokens = |e: &Entry| {
            let chunks = if e.dir { 0 } else { frame::chunks(e.size) };
            (0..chunks).map(|_| self.dice.next()).collect()
        };
        let source = Source {
            name: name.into(),
            tokens: entries.iter().map(&mut tokens).collect(),
            entries,
            only: only.map(|o| self.nodes[o].peer()),
            strategy,
        };
        self.offer_source(n, source)
    }

    /// Offers what stands in `source`, for the first time or again.
    pub fn offer_source(&mut self, n: usize, source: Source) -> Option<OfferId> {
        let new = NewOffer {
            room: self.room,
            to: source.only.into_iter().collect(),
            name: source.name.clone(),
            note: None,
            entries: source.entries.clone(),
            strategy: source.strategy,
            paths: vec![source.name.clone()],
        };
        // The driver knows the files of an offer before the core knows the offer.
        let pk = self.nodes[n].id_pk;
        let id = kith_core::offer::offer_id(&pk, &self.room, &source.name, &source.entries);
        let p = self.nodes[n].process.as_mut()?;
        let knew = !p.offered.insert(id);
        let req = self.command(n, Command::Offer(new));
        let Some(Ok(Reply::Offered(given))) = self.reply(n, req) else {
            if let Some(p) = self.nodes[n].process.as_mut()
                && !knew
            {
                p.offered.remove(&id);
            }
            return None;
        };
        assert_eq!(*given, id);
        self.nodes[n].sources.insert(id, source);
        Some(id)
    }

    /// Fetches an offer into a folder.
    pub fn accept_into(&mut self, n: usize, key: FetchKey, dir: &str) -> bool {
        let req = self.command(n, Command::Accept(key, dir.into()));
        let taken = self.reply(n, req) == Some(&Ok(Reply::Done));
        if taken {
            self.nodes[n].wanted.insert(key, dir.into());
        }
        taken
    }

    /// Offers of others on which `n` may do `what`.
    pub fn may(&self, n: usize, what: &[OfferAction]) -> Vec<FetchKey> {
        let Some(p) = &self.nodes[n].process else {
            return Vec::new();
        };
        let can = |o: &&kith_api::OfferView| !o.mine && what.iter().any(|w| o.can.contains(w));
        let key = |o: &kith_api::OfferView| FetchKey {
            room: o.room,
            from: o.from,
            offer: o.offer,
        };
        p.fold.offers().filter(can).map(key).collect()
    }

    /// The node of a person.
    pub fn node_of(&self, peer: kith_protocol::PeerId) -> Option<usize> {
        self.nodes.iter().position(|n| n.peer() == peer)
    }

    /// How `n` shows the offer of `from`.
    pub fn offer_view(&self, n: usize, from: usize, id: OfferId) -> Option<&kith_api::OfferView> {
        let peer = self.nodes[from].peer();
        self.nodes[n]
            .process
            .as_ref()?
            .fold
            .offer(self.room, peer, id)
    }

    /// How `n` stands with the room server.
    pub fn session(&self, n: usize) -> Option<SessionPhase> {
        let p = self.nodes[n].process.as_ref()?;
        Some(p.fold.room(self.room)?.session)
    }

    /// How `n` shows its connection with `other`.
    pub fn phase(&self, n: usize, other: usize) -> Option<LinkPhase> {
        let peer = self.nodes[other].peer();
        let p = self.nodes[n].process.as_ref()?;
        Some(p.fold.person(self.room, peer)?.link)
    }

    /// Whether everybody who runs sees everybody else connected.
    pub fn all_connected(&self) -> bool {
        let up = || (0..self.nodes.len()).filter(|n| self.nodes[*n].process.is_some());
        let seen = |a: usize, b: usize| self.phase(a, b) == Some(LinkPhase::Connected);
        up().all(|a| up().all(|b| a == b || seen(a, b)))
    }

    /// The link that `n` has with `other`.
    pub fn link(&self, n: usize, other: usize) -> Option<LinkId> {
        let peer = self.nodes[other].peer();
        let mut ends = self.net.ends.iter();
        let found = ends.find(|((_, node), e)| *node == n && e.peer == peer);
        found.map(|((l, _), _)| *l)
    }
}

fn file(path: &str, size: u64) -> Entry {
    Entry {
        path: path.into(),
        size,
        mode: 0o644,
        mtime: 0,
        mtime_ns: 0,
        dir: false,
    }
}

fn folder(path: &str) -> Entry {
    Entry {
        dir: true,
        mode: 0o755,
        ..file(path, 0)
    }
}
