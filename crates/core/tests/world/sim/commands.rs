//! What people do, and how it shows.

use kith_api::LinkPhase;
use kith_core::Input;
use kith_core::input::{Command, CommandResult, NewOffer, Reply, ReqId};
use kith_core::record::FetchKey;
use kith_protocol::peer::Entry;
use kith_protocol::{LinkId, OfferId, frame};
use rand_chacha::rand_core::Rng as _;

use super::World;

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
        self.process(n).replies.get(&req)
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
    pub fn offer(&mut self, n: usize, sizes: &[u64]) -> OfferId {
        let entries: Vec<Entry> = sizes
            .iter()
            .enumerate()
            .map(|(i, size)| file(i, *size))
            .collect();
        let tokens = |size: &u64| {
            (0..frame::chunks(*size))
                .map(|_| self.rng.next_u64())
                .collect()
        };
        let source: Vec<Vec<u64>> = sizes.iter().map(tokens).collect();
        let new = NewOffer {
            room: self.room,
            to: vec![],
            name: "files".into(),
            note: None,
            entries,
        };
        let req = self.command(n, Command::Offer(new));
        let Some(Ok(Reply::Offered(id))) = self.reply(n, req).cloned() else {
            panic!()
        };
        self.nodes[n].sources.insert(id, source);
        id
    }

    /// Fetches an offer into the folder `down`.
    pub fn accept(&mut self, n: usize, from: usize, offer: OfferId) {
        let key = self.key(from, offer);
        let req = self.command(n, Command::Accept(key, "down".into()));
        assert_eq!(self.reply(n, req), Some(&Ok(Reply::Done)));
    }

    /// Names a fetch.
    pub fn key(&self, from: usize, offer: OfferId) -> FetchKey {
        FetchKey {
            room: self.room,
            from: self.nodes[from].peer(),
            offer,
        }
    }

    /// Whether what was fetched is what was offered.
    pub fn same_files(&self, n: usize, from: usize, offer: OfferId) -> bool {
        let source = &self.nodes[from].sources[&offer];
        let file = |i: usize| ("down".to_string(), file(i, 0).path);
        source
            .iter()
            .enumerate()
            .all(|(i, s)| self.nodes[n].disk.files.get(&file(i)) == Some(s))
    }

    /// How `n` shows the offer of `from`.
    pub fn offer_view(&self, n: usize, from: usize, id: OfferId) -> Option<&kith_api::OfferView> {
        self.process(n)
            .fold
            .offer(self.room, self.nodes[from].peer(), id)
    }

    /// Texts of `author` as `n` shows them, in order.
    pub fn texts(&self, n: usize, author: usize) -> Vec<String> {
        let author = self.nodes[author].peer();
        let shown = self
            .process(n)
            .fold
            .messages
            .iter()
            .filter(|m| m.author == author);
        shown.map(|m| m.text.clone()).collect()
    }

    /// How `n` shows its connection with `other`.
    pub fn phase(&self, n: usize, other: usize) -> Option<LinkPhase> {
        let peer = self.nodes[other].peer();
        Some(
            self.nodes[n]
                .process
                .as_ref()?
                .fold
                .person(self.room, peer)?
                .link,
        )
    }

    /// Whether everybody who runs sees everybody else connected.
    pub fn all_connected(&self) -> bool {
        let up: Vec<usize> = (0..self.nodes.len())
            .filter(|n| self.nodes[*n].process.is_some())
            .collect();
        let seen = |a: usize, b: usize| self.phase(a, b) == Some(LinkPhase::Connected);
        up.iter().all(|a| up.iter().all(|b| a == b || seen(*a, *b)))
    }

    /// The link that `n` has with `other`.
    pub fn link(&self, n: usize, other: usize) -> Option<LinkId> {
        let peer = self.nodes[other].peer();
        self.net
            .ends
            .iter()
            .find(|((_, node), e)| *node == n && e.peer == peer)
            .map(|((l, _), _)| *l)
    }
}

pub(super) fn file(i: usize, size: u64) -> Entry {
    Entry {
        path: format!("f{i}"),
        size,
        mode: 0o644,
        mtime: 0,
        mtime_ns: 0,
        dir: false,
    }
}
