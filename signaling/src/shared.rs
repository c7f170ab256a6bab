//! The hub behind its lock, and the outboxes its effects go to.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use kith_protocol::room::IceServers;
use tokio::sync::Notify;

use crate::config::Config;
use crate::gate::Gate;
use crate::hub::{At, ConnId, Effect, Hub, Input, Now};
use crate::outbox::{Outbox, Pushed};

/// What all tasks of one server share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub config: Arc<Config>,
    pub gate: Arc<Gate>,
    started: Instant,
    // Held for one input and its effects, which only fill queues: effects for one connection
    // must reach its outbox in the order the hub decided them.
    state: Mutex<State>,
    /// Rings when a deadline earlier than the one waited for appears.
    pub clock: Notify,
}

#[derive(Debug)]
struct State {
    hub: Hub,
    outboxes: HashMap<ConnId, Arc<Outbox>>,
    next: u64,
    /// What the clock waits for.
    armed: Option<At>,
}

/// A connection as its task holds it; dropping it tells the hub.
#[derive(Debug)]
pub(crate) struct Connection {
    pub shared: Arc<Shared>,
    pub conn: ConnId,
    pub outbox: Arc<Outbox>,
}

impl Shared {
    pub fn new(config: Config, seed: [u8; 32]) -> Self {
        let config = Arc::new(config);
        Shared {
            gate: Arc::new(Gate::default()),
            started: Instant::now(),
            state: Mutex::new(State {
                hub: Hub::new(Arc::clone(&config), seed),
                outboxes: HashMap::new(),
                next: 0,
                armed: None,
            }),
            config,
            clock: Notify::new(),
        }
    }

    /// A WebSocket opened.
    pub fn connect(self: &Arc<Self>, addr: IpAddr, host: String) -> Connection {
        let outbox = Arc::new(Outbox::default());
        let mut state = self.lock();
        let conn = ConnId(state.next);
        state.next += 1;
        state.outboxes.insert(conn, Arc::clone(&outbox));
        self.act_locked(&mut state, Input::Connected { conn, addr, host });
        drop(state);
        let shared = Arc::clone(self);
        Connection {
            shared,
            conn,
            outbox,
        }
    }

    /// One input and all that follows from it.
    pub fn act(&self, input: Input) {
        self.act_locked(&mut self.lock(), input);
    }

    /// The time of the next deadline; the clock waits for it from now on.
    pub fn arm(&self) -> Option<Instant> {
        let mut state = self.lock();
        state.armed = state.hub.deadline().map(|d| d.at);
        state.armed.and_then(|at| self.started.checked_add(at.0))
    }

    pub fn ice_servers(&self, token: &str) -> Option<IceServers> {
        self.lock().hub.ice_servers(token, unix())
    }

    pub fn render_metrics(&self) -> String {
        let state = self.lock();
        let (metrics, gauges) = (state.hub.metrics().clone(), state.hub.gauges());
        drop(state);
        metrics.render(gauges, self.gate.refused())
    }

    pub fn is_draining(&self) -> bool {
        self.lock().hub.is_draining()
    }

    fn act_locked(&self, state: &mut State, input: Input) {
        let now = Now {
            at: At(self.started.elapsed()),
            unix: unix(),
        };
        state.hub.handle(input, now);
        while let Some(effect) = state.hub.poll() {
            match effect {
                Effect::Send {
                    to,
                    message,
                    sender,
                } => {
                    let Some(outbox) = state.outboxes.get(&to) else {
                        continue;
                    };
                    let text = message.to_text().into();
                    if outbox.push(text, sender.is_some()) == Pushed::Full {
                        state.hub.handle(Input::Full { to, sender }, now);
                    }
                }
                Effect::Ping { conn } => {
                    if let Some(outbox) = state.outboxes.get(&conn) {
                        outbox.ping();
                    }
                }
                Effect::Close { conn, code, why } => {
                    if let Some(outbox) = state.outboxes.remove(&conn) {
                        outbox.close(code, why);
                    }
                }
            }
        }
        let due = state.hub.deadline().map(|d| d.at);
        if due.is_some_and(|due| state.armed.is_none_or(|armed| due < armed)) {
            self.clock.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock is a bug, but one that should not take every room along.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    pub fn act(&self, input: Input) {
        self.shared.act(input);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let conn = self.conn;
        let mut state = self.shared.lock();
        state.outboxes.remove(&conn);
        self.shared.act_locked(&mut state, Input::Closed { conn });
    }
}

fn unix() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map(|d| d.as_secs()).unwrap_or_default()
}
