//! Which messages have been printed: each exactly once, whether it came by itself or was read
//! from the history.

use std::collections::BTreeMap;

use kith_api::{Cursor, Handler, History, HistoryPage, MessageView};
use kith_protocol::ranges::RangeSet;
use kith_protocol::{PeerId, RoomId};

use crate::exit::Failure;

/// Messages of before that are shown at the start.
pub const FIRST: u32 = 20;
/// Messages read at a time later.
const PAGE: u32 = 200;

/// The messages of a room that have been printed.
#[derive(Debug, Default)]
pub struct Timeline {
    printed: BTreeMap<PeerId, RangeSet>,
    /// What is older was there before us and stays unprinted.
    oldest: Option<Cursor>,
}

impl Timeline {
    /// Takes the first page; all of it is to be printed.
    pub fn begin(&mut self, page: &History) {
        let oldest = page.messages.first().filter(|_| page.before.is_some());
        self.oldest = oldest.map(cursor);
        for message in &page.messages {
            self.is_new(message);
        }
    }

    /// Whether a message that comes now has not been printed; from now on it counts as printed.
    pub fn is_new(&mut self, message: &MessageView) -> bool {
        let printed = self.printed.entry(message.author).or_default();
        let new = !printed.contains(message.seq);
        printed.insert(message.seq, message.seq.saturating_add(1));
        new
    }

    /// The same for a message of the history, which also holds what was never to be printed.
    pub fn was_missed(&mut self, message: &MessageView) -> bool {
        self.is_missing(message) && self.is_new(message)
    }

    /// Where to begin to read again after changes were lost: the pages that hold messages not yet
    /// printed, newest first. Only places are kept, as there may be any number of messages.
    pub async fn lost(
        &self,
        handler: &impl Handler,
        room: RoomId,
    ) -> Result<Vec<Option<Cursor>>, Failure> {
        let mut pages = Vec::new();
        let mut before = None;
        loop {
            let page = read(handler, room, before).await?;
            if !page.messages.iter().any(|m| self.is_missing(m)) {
                return Ok(pages);
            }
            pages.push(before);
            match page.before {
                Some(next) => before = Some(next),
                None => return Ok(pages),
            }
        }
    }

    fn is_missing(&self, message: &MessageView) -> bool {
        let too_old = self
            .oldest
            .is_some_and(|oldest| key(&cursor(message)) < key(&oldest));
        let printed = self.printed.get(&message.author);
        !too_old && !printed.is_some_and(|p| p.contains(message.seq))
    }
}

/// One page of the history.
pub async fn read(
    handler: &impl Handler,
    room: RoomId,
    before: Option<Cursor>,
) -> Result<History, Failure> {
    let max = PAGE;
    Ok(handler.history(HistoryPage { room, before, max }).await?)
}

/// The first page of the history.
pub async fn first(handler: &impl Handler, room: RoomId) -> Result<History, Failure> {
    let (before, max) = (None, FIRST);
    Ok(handler.history(HistoryPage { room, before, max }).await?)
}

fn cursor(message: &MessageView) -> Cursor {
    Cursor {
        stored: message.stored,
        author: message.author,
        seq: message.seq,
    }
}

fn key(cursor: &Cursor) -> (u64, PeerId, u64) {
    (cursor.stored, cursor.author, cursor.seq)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ADA, BOB, ROOM, message};
    use kith_api::{
        Accept, ApiError, CreateRoom, Created, Empty, JoinRoom, Joined, Limit, Me, OfferFiles,
        OfferRef, Offered, Rename, Reorder, RoomRef, SendText, Sent, Snapshot, TransferRef,
        TransferSettings, Withdraw,
    };
    use kith_protocol::Code;

    /// Keeps messages, oldest first, and answers nothing else.
    struct Store(Vec<MessageView>);

    fn no<T>() -> Result<T, ApiError> {
        Err(ApiError::new(Code::NotNow))
    }

    impl Handler for Store {
        async fn history(&self, page: HistoryPage) -> Result<History, ApiError> {
            let older = |m: &&MessageView| page.before.is_none_or(|b| key(&cursor(m)) < key(&b));
            let all: Vec<MessageView> = self.0.iter().filter(older).cloned().collect();
            let from = all.len().saturating_sub(page.max as usize);
            let messages = all[from..].to_vec();
            let before = messages.first().filter(|_| from > 0).map(cursor);
            Ok(History { messages, before })
        }
        async fn snapshot(&self, _: Empty) -> Result<Snapshot, ApiError> {
            no()
        }
        async fn create_room(&self, _: CreateRoom) -> Result<Created, ApiError> {
            no()
        }
        async fn join_room(&self, _: JoinRoom) -> Result<Joined, ApiError> {
            no()
        }
        async fn leave_room(&self, _: RoomRef) -> Result<Empty, ApiError> {
            no()
        }
        async fn send_text(&self, _: SendText) -> Result<Sent, ApiError> {
            no()
        }
        async fn offer(&self, _: OfferFiles) -> Result<Offered, ApiError> {
            no()
        }
        async fn accept(&self, _: Accept) -> Result<Empty, ApiError> {
            no()
        }
        async fn decline(&self, _: OfferRef) -> Result<Empty, ApiError> {
            no()
        }
        async fn withdraw(&self, _: Withdraw) -> Result<Empty, ApiError> {
            no()
        }
        async fn pause(&self, _: TransferRef) -> Result<Empty, ApiError> {
            no()
        }
        async fn resume(&self, _: TransferRef) -> Result<Empty, ApiError> {
            no()
        }
        async fn reorder(&self, _: Reorder) -> Result<Empty, ApiError> {
            no()
        }
        async fn limit(&self, _: Limit) -> Result<Empty, ApiError> {
            no()
        }
        async fn set_transfers(&self, _: TransferSettings) -> Result<TransferSettings, ApiError> {
            no()
        }
        async fn rename(&self, _: Rename) -> Result<Me, ApiError> {
            no()
        }
    }

    async fn catch_up(timeline: &mut Timeline, store: &Store) -> Vec<u64> {
        let mut got = Vec::new();
        let pages = timeline.lost(store, ROOM).await.unwrap();
        for before in pages.into_iter().rev() {
            let page = read(store, ROOM, before).await.unwrap();
            let new = page.messages.iter().filter(|m| timeline.was_missed(m));
            got.extend(new.map(|m| m.seq));
        }
        got
    }

    #[tokio::test]
    async fn what_was_lost_is_found_in_order_and_nothing_twice() {
        let all = |n: u64| (1..=n).map(|i| message(ADA, i, 1000 + i, "x")).collect();
        let mut store = Store(all(100));
        let mut timeline = Timeline::default();
        let page = first(&store, ROOM).await.unwrap();
        assert_eq!(page.messages.len(), FIRST as usize);
        timeline.begin(&page);
        assert_eq!(catch_up(&mut timeline, &store).await, [0u64; 0]);

        store.0 = all(1000);
        assert!(timeline.is_new(&store.0[999]));
        assert!(!timeline.is_new(&store.0[999]));
        let want: Vec<u64> = (101..1000).collect();
        assert_eq!(catch_up(&mut timeline, &store).await, want);
        assert_eq!(catch_up(&mut timeline, &store).await, [0u64; 0]);
    }

    #[tokio::test]
    async fn in_a_room_that_was_empty_everything_is_new() {
        let mut store = Store(Vec::new());
        let mut timeline = Timeline::default();
        timeline.begin(&first(&store, ROOM).await.unwrap());
        store.0 = vec![message(ADA, 1, 5, "a"), message(BOB, 1, 6, "b")];
        assert_eq!(catch_up(&mut timeline, &store).await, [1, 1]);
    }

    #[test]
    fn what_was_there_long_before_is_not_new() {
        let mut timeline = Timeline::default();
        let before = Some(cursor(&message(ADA, 7, 50, "x")));
        let messages = vec![message(ADA, 7, 50, "x")];
        timeline.begin(&History { messages, before });
        assert!(!timeline.was_missed(&message(ADA, 3, 20, "old")));
        assert!(timeline.was_missed(&message(ADA, 8, 60, "new")));
        // A clock that was set back makes nothing that comes now old.
        assert!(timeline.is_new(&message(ADA, 9, 10, "new")));
    }
}
