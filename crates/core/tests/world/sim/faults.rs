//! What goes wrong on demand.

use kith_core::Input;
use kith_core::input::SessionNews;
use kith_protocol::Code;

use super::{Event, SERVER, World};

impl World {
    /// Ends a process without a word.
    pub fn crash(&mut self, n: usize) {
        self.nodes[n].process = None;
        self.net.ends.retain(|(_, node), _| *node != n);
        for sid in self.server.of(n) {
            self.send(n, SERVER, Event::Hangup(sid));
        }
    }

    /// Nothing travels between two nodes any more.
    pub fn cut(&mut self, a: usize, b: usize) {
        self.net.cut.insert((a.min(b), a.max(b)));
    }

    /// It does again, over the old path or the one that is being negotiated.
    pub fn heal(&mut self, a: usize, b: usize) {
        self.net.cut.remove(&(a.min(b), a.max(b)));
        for link in self.net.of(a) {
            if self.net.other(link, a) == Some(b) {
                self.settle(link);
                self.flush(link, a);
                self.flush(link, b);
            }
        }
    }

    /// A node's addresses change: old paths are dead until ICE restarts.
    pub fn move_to_another_network(&mut self, n: usize, told: bool) {
        for link in self.net.of(n) {
            self.net.paths.remove(&link);
        }
        if told {
            self.input(n, Input::AddressesChanged);
        }
    }

    /// The same, and its connection to the server is dead without anybody having noticed.
    pub fn change_address(&mut self, n: usize) {
        for sid in self.server.of(n) {
            self.server.dead.insert(sid);
            self.put(30_000, Event::Expire(sid));
        }
        self.move_to_another_network(n, true);
    }

    /// The room server goes away.
    pub fn server_down(&mut self) {
        for (node, sid) in self.server.crash() {
            let news = SessionNews::Closed(Code::ServerUnreachable);
            self.inform(SERVER, node, Input::Session(self.room, sid, news));
        }
    }

    /// The room server is back.
    pub fn server_up(&mut self) {
        self.server.down = false;
    }
}
