use super::*;
use crate::testing::World;

const ROOM: RoomId = RoomId([1; 16]);
const ME: PeerId = PeerId([2; 16]);
const BOB: PeerId = PeerId([3; 16]);

fn chat() -> Chat {
    Chat::new(ROOM, ME, &[], &[])
}

fn jobs(world: &mut World) -> Vec<(JobId, usize)> {
    let job = |e| match e {
        Effect::Store(job, puts) => Some((job, puts.len())),
        _ => None,
    };
    world.drain().into_iter().filter_map(job).collect()
}

fn texts(out: &[ChatOut]) -> Vec<u64> {
    let seq = |o: &ChatOut| match o {
        ChatOut::Send(_, PeerMessage::Chat { seq, .. }) => Some(*seq),
        _ => None,
    };
    out.iter().filter_map(seq).collect()
}

fn chat_in(c: &mut Chat, seq: u64, world: &mut World) -> Vec<ChatOut> {
    c.on_chat(BOB, seq, MsgId([0; 16]), 1, "x".into(), &mut world.ctx())
}

#[test]
fn an_entry_is_sent_only_once_it_is_durable() {
    let (mut world, mut c) = (World::new(), chat());
    c.on_open(BOB);
    assert!(c.on_sync(BOB, 0, &mut world.ctx()).is_empty());
    c.write("hello".into(), 1, &mut world.ctx()).unwrap();
    let [(job, 1)] = jobs(&mut world)[..] else {
        panic!()
    };
    let out = c.on_stored(job, &mut world.ctx());
    assert!(matches!(out[0], ChatOut::Show(ME, 1, _)));
    assert_eq!(texts(&out), [1]);
    assert!(matches!(
        world.pop(),
        Some(Effect::Reply(1, Ok(Reply::Sent(1))))
    ));
    assert!(c.delivered(1).is_empty());
    let out = c.on_ack(BOB, 1, &mut world.ctx());
    assert_eq!(out, [ChatOut::Delivered(BOB, 1, 1)]);
    assert_eq!(c.delivered(1), [BOB]);
}

#[test]
fn writes_that_wait_for_the_store_share_its_next_job() {
    let (mut world, mut c) = (World::new(), chat());
    for req in 0..5 {
        c.write("x".into(), req, &mut world.ctx()).unwrap();
    }
    let [(first, 1)] = jobs(&mut world)[..] else {
        panic!()
    };
    c.on_stored(first, &mut world.ctx());
    let [(_, 4)] = jobs(&mut world)[..] else {
        panic!()
    };
}

#[test]
fn a_failing_store_leaves_no_gap() {
    let (mut world, mut c) = (World::new(), chat());
    c.write("a".into(), 1, &mut world.ctx()).unwrap();
    c.write("b".into(), 2, &mut world.ctx()).unwrap();
    let [(job, 1)] = jobs(&mut world)[..] else {
        panic!()
    };
    c.on_store_failed(job, Code::DiskFull, &mut world.ctx());
    let refused: Vec<_> = world.drain();
    assert_eq!(refused.len(), 2);
    c.write("c".into(), 3, &mut world.ctx()).unwrap();
    let [(job, 1)] = jobs(&mut world)[..] else {
        panic!()
    };
    let out = c.on_stored(job, &mut world.ctx());
    assert!(matches!(out[0], ChatOut::Show(ME, 1, _)));
}

#[test]
fn what_the_store_refuses_of_others_is_stored_later() {
    let (mut world, mut c) = (World::new(), chat());
    c.on_open(BOB);
    chat_in(&mut c, 1, &mut world);
    chat_in(&mut c, 2, &mut world);
    for delay in [2, 4, 8, 16, 30, 30] {
        let [(job, _)] = jobs(&mut world)[..] else {
            panic!()
        };
        c.on_store_failed(job, Code::DiskFull, &mut world.ctx());
        let at = c.deadline().unwrap().at;
        assert_eq!(at, world.now.mono + Duration::from_secs(delay));
        c.on_time(&mut world.ctx());
        assert!(jobs(&mut world).is_empty(), "not before its time");
        world.now.mono = at;
        c.on_time(&mut world.ctx());
    }
    let [(job, 2)] = jobs(&mut world)[..] else {
        panic!()
    };
    let out = c.on_stored(job, &mut world.ctx());
    assert!(out.contains(&ChatOut::Send(BOB, PeerMessage::ChatAck { upto: 2 })));
    assert_eq!(c.deadline(), None);
}

#[test]
fn entries_are_taken_in_order_exactly_once() {
    let (mut world, mut c) = (World::new(), chat());
    c.on_open(BOB);
    assert!(chat_in(&mut c, 1, &mut world).is_empty());
    let [(job, 1)] = jobs(&mut world)[..] else {
        panic!()
    };
    // Again while it is being stored: nothing.
    assert!(chat_in(&mut c, 1, &mut world).is_empty());
    // A gap: asked about, once.
    let ask = ChatOut::Send(BOB, PeerMessage::ChatSync { have: 1 });
    assert_eq!(chat_in(&mut c, 5, &mut world), [ask]);
    assert!(chat_in(&mut c, 6, &mut world).is_empty());
    let out = c.on_stored(job, &mut world.ctx());
    assert!(matches!(out[0], ChatOut::Show(BOB, 1, _)));
    assert_eq!(out[1], ChatOut::Send(BOB, PeerMessage::ChatAck { upto: 1 }));
    // Again when it is durable: acknowledged, not shown.
    let ack = ChatOut::Send(BOB, PeerMessage::ChatAck { upto: 1 });
    assert_eq!(chat_in(&mut c, 1, &mut world), [ack]);
    assert!(jobs(&mut world).is_empty());
}

#[test]
fn what_came_when_there_was_no_room_is_asked_for_until_it_is_there() {
    let (mut world, mut c) = (World::new(), chat());
    c.on_open(BOB);
    for seq in 1..=PEER_QUEUE {
        assert!(chat_in(&mut c, seq, &mut world).is_empty());
    }
    let asked = |out: &[ChatOut]| {
        let have = |o: &ChatOut| match o {
            ChatOut::Send(BOB, PeerMessage::ChatSync { have }) => Some(*have),
            _ => None,
        };
        out.iter().filter_map(have).collect::<Vec<_>>()
    };
    // Asked now, it would only be dropped again.
    for seq in [PEER_QUEUE + 1, PEER_QUEUE + 2] {
        assert!(chat_in(&mut c, seq, &mut world).is_empty());
    }
    let [(first, 1)] = jobs(&mut world)[..] else {
        panic!()
    };
    let out = c.on_stored(first, &mut world.ctx());
    assert_eq!(asked(&out), [PEER_QUEUE]);
    // There is room for one of those that come again.
    for seq in [PEER_QUEUE + 1, PEER_QUEUE + 2] {
        assert!(chat_in(&mut c, seq, &mut world).is_empty());
    }
    let [(second, _)] = jobs(&mut world)[..] else {
        panic!()
    };
    let out = c.on_stored(second, &mut world.ctx());
    assert_eq!(asked(&out), [PEER_QUEUE + 1]);
    let [(third, 1)] = jobs(&mut world)[..] else {
        panic!()
    };
    assert!(chat_in(&mut c, PEER_QUEUE + 2, &mut world).is_empty());
    let out = c.on_stored(third, &mut world.ctx());
    assert!(asked(&out).is_empty(), "nothing is missing");
}

#[test]
fn what_was_missed_is_read_from_the_store_in_windows() {
    let mut world = World::new();
    let heads = [LogHead {
        room: ROOM,
        author: ME,
        seq: 150,
    }];
    let mut c = Chat::new(ROOM, ME, &heads, &[(ROOM, BOB, 10)]);
    c.on_open(BOB);
    let mut got = Vec::new();
    let mut out = c.on_sync(BOB, 10, &mut world.ctx());
    for _ in 0..20 {
        got.extend(texts(&out));
        out.clear();
        for effect in world.drain() {
            if let Effect::LoadChat { job, from, max, .. } = effect {
                let last = (from + u64::from(max)).min(151);
                let text = |n: u64| ChatRecord {
                    id: MsgId([0; 16]),
                    at: n,
                    stored: n,
                    text: "x".into(),
                };
                let page = (from..last).map(|n| (n, text(n))).collect();
                out.extend(c.on_loaded(job, page, &mut world.ctx()));
            }
        }
        got.extend(texts(&out));
        if let Some(last) = got.last() {
            out = c.on_ack(BOB, *last, &mut world.ctx());
        }
    }
    assert_eq!(got, (11..=150).collect::<Vec<_>>());
}

#[test]
fn an_unreadable_store_is_not_asked_in_a_loop() {
    let mut world = World::new();
    let heads = [LogHead {
        room: ROOM,
        author: ME,
        seq: 5,
    }];
    let mut c = Chat::new(ROOM, ME, &heads, &[]);
    c.on_open(BOB);
    c.on_sync(BOB, 0, &mut world.ctx());
    let Some(Effect::LoadChat { job, .. }) = world.pop() else {
        panic!()
    };
    assert!(c.on_loaded(job, vec![], &mut world.ctx()).is_empty());
    assert!(world.drain().is_empty());

    // But after a while, and then what is due is sent.
    let at = c.deadline().unwrap().at;
    assert!(c.on_time(&mut world.ctx()).is_empty());
    assert!(world.drain().is_empty(), "not yet");
    world.now.mono = at;
    c.on_time(&mut world.ctx());
    let Some(Effect::LoadChat { job, from: 1, .. }) = world.pop() else {
        panic!()
    };
    let record = ChatRecord {
        id: MsgId([0; 16]),
        at: 1,
        stored: 1,
        text: "x".into(),
    };
    let page = (1..=5).map(|seq| (seq, record.clone())).collect();
    let out = c.on_loaded(job, page, &mut world.ctx());
    assert_eq!(texts(&out), [1, 2, 3, 4, 5]);
    assert_eq!(c.deadline(), None);
}

#[test]
fn a_peer_that_claims_the_future_gets_what_comes() {
    let (mut world, mut c) = (World::new(), chat());
    c.on_open(BOB);
    assert!(c.on_sync(BOB, u64::MAX, &mut world.ctx()).is_empty());
    assert!(c.on_ack(BOB, u64::MAX, &mut world.ctx()).is_empty());
    c.write("hello".into(), 1, &mut world.ctx()).unwrap();
    let [(job, 1)] = jobs(&mut world)[..] else {
        panic!()
    };
    assert_eq!(texts(&c.on_stored(job, &mut world.ctx())), [1]);
}

#[test]
fn empty_and_oversize_texts_are_refused() {
    let (mut world, mut c) = (World::new(), chat());
    for text in [
        String::new(),
        "  \n".into(),
        "x".repeat(limits::MAX_TEXT + 1),
    ] {
        assert!(c.write(text, 1, &mut world.ctx()).is_err());
    }
    assert!(world.drain().is_empty());
}

#[test]
fn a_window_counts_from_what_the_peer_says_it_has() {
    let mut world = World::new();
    let head = |seq| {
        [LogHead {
            room: ROOM,
            author: ME,
            seq,
        }]
    };
    // It had everything once, and has lost it.
    let mut c = Chat::new(ROOM, ME, &head(0), &[]);
    c.on_open(BOB);
    c.on_sync(BOB, 0, &mut world.ctx());
    for n in 1..=200 {
        c.write("x".into(), n, &mut world.ctx()).unwrap();
        let [(job, _)] = jobs(&mut world)[..] else {
            panic!()
        };
        c.on_stored(job, &mut world.ctx());
        c.on_ack(BOB, n, &mut world.ctx());
        world.drain();
    }
    let out = c.on_sync(BOB, 0, &mut world.ctx());
    assert_eq!(texts(&out), (1..=WINDOW).collect::<Vec<_>>());
    assert_eq!(texts(&c.on_ack(BOB, 1, &mut world.ctx())), [WINDOW + 1]);
}

#[test]
fn a_peer_cannot_have_us_repeat_for_ever() {
    let (mut world, mut c) = (World::new(), chat());
    c.on_open(BOB);
    c.write("x".into(), 1, &mut world.ctx()).unwrap();
    let [(job, _)] = jobs(&mut world)[..] else {
        panic!()
    };
    c.on_stored(job, &mut world.ctx());
    let asks = (0..1_000).map(|_| texts(&c.on_sync(BOB, 0, &mut world.ctx())).len());
    assert!(asks.sum::<usize>() <= RESTARTS as usize + 1);
    c.on_open(BOB);
    assert_eq!(
        texts(&c.on_sync(BOB, 0, &mut world.ctx())),
        [1],
        "the next link tries again"
    );
}

#[test]
fn a_page_read_for_the_last_link_does_not_stop_the_next() {
    let mut world = World::new();
    let heads = [LogHead {
        room: ROOM,
        author: ME,
        seq: 5,
    }];
    let mut c = Chat::new(ROOM, ME, &heads, &[]);
    let load = |world: &mut World| {
        let found = world.drain().into_iter().find_map(|e| match e {
            Effect::LoadChat { job, from, .. } => Some((job, from)),
            _ => None,
        });
        found.unwrap()
    };
    let page = |from| {
        let text = |n| ChatRecord {
            id: MsgId([0; 16]),
            at: n,
            stored: n,
            text: "x".into(),
        };
        (from..=5).map(|n| (n, text(n))).collect::<Vec<_>>()
    };
    c.on_open(BOB);
    c.on_sync(BOB, 4, &mut world.ctx());
    let (job, from) = load(&mut world);
    assert_eq!(from, 5);
    c.on_closed(BOB);
    c.on_open(BOB);
    c.on_sync(BOB, 0, &mut world.ctx());
    c.on_loaded(job, page(from), &mut world.ctx());
    let (job, from) = load(&mut world);
    assert_eq!(from, 1);
    let out = c.on_loaded(job, page(from), &mut world.ctx());
    assert_eq!(texts(&out), [1, 2, 3, 4, 5]);
}

#[test]
fn a_text_that_would_not_fit_on_the_way_is_refused() {
    let (mut world, mut c) = (World::new(), chat());
    let text = "\u{1}".repeat(limits::MAX_TEXT);
    let refused = c.write(text, 1, &mut world.ctx());
    assert_eq!(refused.map_err(|e| e.code), Err(Code::TooLarge));
    c.write("é\"".repeat(limits::MAX_TEXT / 3), 2, &mut world.ctx())
        .unwrap();
}
