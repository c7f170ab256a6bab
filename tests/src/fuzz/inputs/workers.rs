//! What disk and store answer.

use kith_core::input::{FetchNews, HoldNews, Input, Refusal, ServeNews};
use kith_core::record::ChatRecord;
use kith_protocol::ids::Digest;
use kith_protocol::{LinkId, MsgId};

use super::super::engine::World;
use super::Bytes;

pub(super) fn loaded(w: &mut World, b: &mut Bytes<'_>) {
    let job = b.pick(&w.loads).unwrap_or(b.number());
    let first = b.number();
    let record = |n| ChatRecord {
        id: MsgId([2; 16]),
        at: n,
        stored: n,
        text: "x".into(),
    };
    let page = (0..u64::from(b.byte() % 70)).map(|n| first.saturating_add(n));
    w.give(Input::ChatLoaded(
        job,
        page.map(|n| (n, record(n))).collect(),
    ));
}

/// A worker's news: of what it was told to do, which the engine may rely on.
pub(super) fn serve(w: &mut World, b: &mut Bytes<'_>) {
    let Some((key, run)) = b.pick(&w.serves) else {
        return;
    };
    let entry = u32::from(b.byte() % 5);
    let news = match b.byte() % 4 {
        0 | 1 => ServeNews::Sent(vec![(entry, b.ranges()), (entry / 2, b.ranges())]),
        2 => ServeNews::EntryRead {
            entry,
            hash: Digest([1; 32]),
        },
        _ => ServeNews::Failed(b.code()),
    };
    w.give(Input::Serve(key, run, news));
}

pub(super) fn hold(w: &mut World, b: &mut Bytes<'_>) {
    let Some((key, run)) = b.pick(&w.holds) else {
        return vouched(w, b);
    };
    let news = match b.byte() % 4 {
        0 if !w.vouched.is_empty() => return vouched(w, b),
        0 => HoldNews::Failed,
        _ => HoldNews::Sent(b.number() >> 20),
    };
    w.give(Input::Hold(key, run, news));
}

/// What the files of an offer of ours hash to.
fn vouched(w: &mut World, b: &mut Bytes<'_>) {
    let Some((room, offer, mut word)) = b.pick(&w.vouched) else {
        return;
    };
    word.root = Digest([b.byte(); 32]);
    let voucher = (b.byte() < 200).then_some(word);
    w.give(Input::Vouched(room, offer, voucher));
}

pub(super) fn fetch(w: &mut World, b: &mut Bytes<'_>) {
    let Some((key, run)) = b.pick(&w.fetches) else {
        return;
    };
    let entry = u32::from(b.byte() % 5);
    let refusal = |b: &mut Bytes<'_>| Refusal {
        code: b.code(),
        missing: (b.byte() > 128).then(|| b.number()),
    };
    let news = match b.byte() % 12 {
        0 => FetchNews::Prepared {
            roots: Vec::new(),
            lost: (0..b.byte() % 3).map(u32::from).collect(),
            adopted: (0..b.byte() % 2).map(|_| (entry, b.ranges())).collect(),
        },
        1 | 2 => FetchNews::Durable {
            entry,
            ranges: b.ranges(),
        },
        3 => FetchNews::Received {
            bytes: b.number() >> 20,
            durable: b.number() >> 20,
        },
        4 => FetchNews::Corrupt {
            transfer: b.byte().into(),
            entry,
            index: b.number(),
        },
        5 => FetchNews::Finished(vec![(entry, b.text())]),
        6 => FetchNews::Mismatch {
            transfer: b.byte().into(),
            entry,
        },
        7 => FetchNews::Hashed {
            entry,
            end: b.number(),
        },
        8 => FetchNews::Spurned {
            link: LinkId([0; 8]),
            transfer: b.byte().into(),
            entry,
            index: b.number(),
        },
        9 => FetchNews::Refused(refusal(b)),
        10 if b.byte() > 128 => FetchNews::Probed(Err(refusal(b))),
        10 => FetchNews::Probed(Ok(())),
        11 if b.byte() > 200 => FetchNews::Untrue {
            transfer: b.byte().into(),
        },
        _ => FetchNews::Failed(b.code()),
    };
    w.give(Input::Fetch(key, run, news));
}
