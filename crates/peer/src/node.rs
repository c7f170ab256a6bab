//! The engine at work: one [`Node`] per app session.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use kith_api::{Change, Me};
use kith_protocol::Code;
use tokio::sync::Notify;

/// How to start a node.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Folder of the profile: identity, rooms, history. Made if missing.
    pub home: PathBuf,
    /// Display name; kept in the profile. Without one the profile's, or a friendly random one.
    pub name: Option<String>,
    /// Whether to rejoin the rooms that were open.
    pub rejoin: bool,
    /// Offer loopback addresses as ICE candidates: for two peers on one machine.
    pub include_loopback: bool,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct StartError {
    /// For programs.
    pub code: Code,
    /// For people.
    pub message: String,
}

/// What a subscriber gets.
#[derive(Debug, Clone)]
pub enum Update {
    /// Something changed. Changes of one entity that were not yet taken are merged.
    Change(Change),
    /// The subscriber was too slow and messages were dropped: read the history.
    Lost,
}

/// Changes as they happen, for one front end.
#[derive(Debug, Clone)]
pub struct Subscription {
    shared: Arc<(Mutex<Queue>, Notify)>,
}

#[derive(Debug, Default)]
struct Queue {
    updates: VecDeque<Update>,
    closed: bool,
}

impl Subscription {
    /// The next change; `None` once the node has shut down.
    pub async fn next(&self) -> Option<Update> {
        loop {
            let notified = self.shared.1.notified();
            {
                let mut q = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(update) = q.updates.pop_front() {
                    return Some(update);
                }
                if q.closed {
                    return None;
                }
            }
            notified.await;
        }
    }
}

/// A running engine. Cheap to clone. Front ends call it through [`kith_api::Handler`].
#[derive(Debug, Clone)]
pub struct Node {}

impl Node {
    /// Opens the profile and starts.
    pub async fn start(_config: NodeConfig) -> Result<Node, StartError> {
        unimplemented!()
    }

    /// Us.
    pub fn me(&self) -> Me {
        unimplemented!()
    }

    /// Changes from now on.
    pub fn subscribe(&self) -> Subscription {
        unimplemented!()
    }

    /// Says good-bye, ends every task within two seconds and flushes the store.
    pub async fn shutdown(&self) {
        unimplemented!()
    }
}

impl kith_api::Handler for Node {
    async fn snapshot(&self, _: kith_api::Empty) -> Result<kith_api::Snapshot, kith_api::ApiError> { unimplemented!() }
    async fn create_room(&self, _: kith_api::CreateRoom) -> Result<kith_api::Created, kith_api::ApiError> { unimplemented!() }
    async fn join_room(&self, _: kith_api::JoinRoom) -> Result<kith_api::Joined, kith_api::ApiError> { unimplemented!() }
    async fn leave_room(&self, _: kith_api::RoomRef) -> Result<kith_api::Empty, kith_api::ApiError> { unimplemented!() }
    async fn send_text(&self, _: kith_api::SendText) -> Result<kith_api::Sent, kith_api::ApiError> { unimplemented!() }
    async fn offer(&self, _: kith_api::OfferFiles) -> Result<kith_api::Offered, kith_api::ApiError> { unimplemented!() }
    async fn accept(&self, _: kith_api::Accept) -> Result<kith_api::Empty, kith_api::ApiError> { unimplemented!() }
    async fn decline(&self, _: kith_api::OfferRef) -> Result<kith_api::Empty, kith_api::ApiError> { unimplemented!() }
    async fn withdraw(&self, _: kith_api::Withdraw) -> Result<kith_api::Empty, kith_api::ApiError> { unimplemented!() }
    async fn history(&self, _: kith_api::HistoryPage) -> Result<kith_api::History, kith_api::ApiError> { unimplemented!() }
}
