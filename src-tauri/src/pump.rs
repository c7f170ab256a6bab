//! What the page is told without asking.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kith_api::Push;
use kith_peer::node::Subscription;
use tauri::async_runtime::JoinHandle;
use tauri::ipc::Channel;
use tokio::sync::Notify;

/// Changes of so long are sent together: a page does not draw more often.
const TOGETHER: Duration = Duration::from_millis(30);
/// A page that never says that it has drawn is sent changes as often as this.
const LONGEST: Duration = Duration::from_secs(1);
/// Words that wait for a page.
const MOST_WAITING: usize = 64;

/// The one pump: the page that attached last hears everything.
#[derive(Default)]
pub struct Pump {
    /// Locked to send or to replace the page.
    inner: Mutex<Inner>,
    drawn: Arc<Notify>,
}

#[derive(Default)]
struct Inner {
    page: Option<Channel<Push>>,
    changes: Option<JoinHandle<()>>,
    waiting: VecDeque<Push>,
}

impl Pump {
    /// A page is there: it hears what waited for it, then all that comes.
    pub fn attach(&self, page: Channel<Push>, changes: Subscription) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(earlier) = inner.changes.take() {
            earlier.abort();
        }
        for push in std::mem::take(&mut inner.waiting) {
            send(&page, push);
        }
        inner.page = Some(page.clone());
        let drawn = Arc::clone(&self.drawn);
        inner.changes = Some(tauri::async_runtime::spawn(async move {
            while let Some(changes) = changes.changes().await {
                send(&page, Push::Changes(changes));
                // What comes meanwhile is merged here. Sent at once, it would queue up in a page
                // that has much to draw, and keys would wait behind it.
                let seen = tokio::time::timeout(LONGEST, drawn.notified());
                let _ = tokio::join!(tokio::time::sleep(TOGETHER), seen);
            }
        }));
    }

    /// The page has drawn the changes that it was sent last.
    pub fn drawn(&self) {
        self.drawn.notify_one();
    }

    /// Tells the page; without one it waits, the oldest making way.
    pub fn push(&self, push: Push) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        match &inner.page {
            Some(page) => send(page, push),
            None => {
                inner.waiting.push_back(push);
                if inner.waiting.len() > MOST_WAITING {
                    inner.waiting.pop_front();
                }
            }
        }
    }
}

fn send(page: &Channel<Push>, push: Push) {
    if let Err(error) = page.send(push) {
        tracing::debug!(%error, "the page does not listen");
    }
}
