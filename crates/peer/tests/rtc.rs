//! Two connections in one process, over loopback, signaling to each other by function call.

// The lint knows test functions, but not the helpers they share.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use kith_peer::rtc::{
    ChannelLabel, Connection, IceCandidate, IceConfig, LinkState, PathKind, RtcContext, RtcError,
    RtcEvent, SEND_QUEUE_BYTES,
};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Everything that has to happen happens within this, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(40);
const FRAME: usize = 64 * 1024 + 56;

/// One end: its connection, and its events without the candidates, which have been delivered.
struct End {
    connection: Arc<Connection>,
    events: mpsc::Receiver<RtcEvent>,
}

async fn open() -> (Arc<Connection>, mpsc::Receiver<RtcEvent>) {
    let context = RtcContext::new().unwrap();
    let (tx, rx) = mpsc::channel(64);
    let ice = IceConfig {
        include_loopback: true,
        ..IceConfig::default()
    };
    (
        Arc::new(Connection::open(&context, &ice, tx).await.unwrap()),
        rx,
    )
}

/// Traffic of tests stays on loopback.
fn on_loopback(candidate: &IceCandidate) -> bool {
    candidate.candidate.contains(" 127.0.0.1 ")
}

/// Delivers candidates of one end to the other as they come, and passes the rest on.
fn deliver(
    mut events: mpsc::Receiver<RtcEvent>,
    other: &Arc<Connection>,
) -> mpsc::Receiver<RtcEvent> {
    let (tx, rx) = mpsc::channel(64);
    let other = Arc::clone(other);
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            if let RtcEvent::LocalCandidate(candidate) = event {
                if on_loopback(&candidate) {
                    // The other end may be closed by now.
                    let _ = other.add_candidate(candidate).await;
                }
            } else if tx.send(event).await.is_err() {
                return;
            }
        }
    });
    rx
}

async fn connect() -> (End, End) {
    let (one, one_events) = open().await;
    let (other, other_events) = open().await;
    let offer = one.create_offer(false).await.unwrap();
    let answer = other.accept_offer(offer).await.unwrap();
    let mut one = End {
        events: deliver(one_events, &other),
        connection: one,
    };
    let mut other = End {
        events: deliver(other_events, &one.connection),
        connection: other,
    };
    one.connection.accept_answer(answer).await.unwrap();
    one.wait_for(RtcEvent::ChannelsOpen).await;
    other.wait_for(RtcEvent::ChannelsOpen).await;
    (one, other)
}

impl End {
    async fn next(&mut self) -> RtcEvent {
        timeout(DEADLINE, self.events.recv())
            .await
            .expect("event in time")
            .expect("open events")
    }

    async fn wait_for(&mut self, wanted: RtcEvent) {
        while self.next().await != wanted {}
    }

    async fn next_message(&mut self) -> Bytes {
        loop {
            if let RtcEvent::Message(message) = self.next().await {
                return message;
            }
        }
    }
}

/// A frame that says where it belongs, in every word.
fn frame(index: u64) -> Bytes {
    let mut frame = BytesMut::with_capacity(FRAME);
    for word in 0..FRAME as u64 / 8 {
        frame.put_u64_le(index << 20 | word);
    }
    frame.freeze()
}

fn spawn_sender(connection: &Connection, frames: u64) -> tokio::task::JoinHandle<()> {
    let lane = connection.files();
    tokio::spawn(async move {
        for index in 0..frames {
            lane.send(frame(index)).await.unwrap();
        }
    })
}

async fn expect_frames(connection: &Connection, frames: std::ops::Range<u64>) {
    let lane = connection.files();
    for index in frames {
        let received = timeout(DEADLINE, lane.recv())
            .await
            .expect("frame in time")
            .unwrap();
        assert!(
            received == frame(index),
            "frame {index} is not what was sent"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_arrive_in_order_and_the_route_is_known() {
    let (one, mut other) = connect().await;
    for n in 0..300_u32 {
        one.connection
            .send_message(Bytes::from(n.to_string()))
            .await
            .unwrap();
    }
    for n in 0..300_u32 {
        assert_eq!(other.next_message().await, n.to_string());
    }
    let route = one.connection.route().await.expect("a selected pair");
    assert_ne!(route.local, PathKind::Relay);
    assert_ne!(route.remote, PathKind::Relay);
    assert!(route.bytes_sent > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_small_messages_does_not_wait_for_a_keepalive() {
    let (one, mut other) = connect().await;
    let rounds = async {
        for _ in 0..20 {
            for n in 0..600_u32 {
                one.connection
                    .send_message(Bytes::from(n.to_string()))
                    .await
                    .unwrap();
            }
            for n in 0..600_u32 {
                assert_eq!(other.next_message().await, n.to_string());
            }
        }
    };
    // Each round that waits for one costs about two seconds.
    timeout(Duration::from_secs(10), rounds)
        .await
        .expect("bursts go through at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn candidates_may_come_ahead_of_their_descriptions() {
    let (one, mut one_events) = open().await;
    let (other, mut other_events) = open().await;
    let offer = one.create_offer(false).await.unwrap();
    hand_over_all(&mut one_events, &other).await;
    let answer = other.accept_offer(offer).await.unwrap();
    hand_over_all(&mut other_events, &one).await;
    one.accept_answer(answer).await.unwrap();
    let mut one = End {
        connection: one,
        events: one_events,
    };
    let mut other = End {
        connection: other,
        events: other_events,
    };
    one.wait_for(RtcEvent::ChannelsOpen).await;
    other.wait_for(RtcEvent::ChannelsOpen).await;
}

async fn hand_over_all(events: &mut mpsc::Receiver<RtcEvent>, to: &Connection) {
    loop {
        let event = timeout(DEADLINE, events.recv()).await.unwrap().unwrap();
        if event == RtcEvent::GatheringComplete {
            return;
        }
        if let RtcEvent::LocalCandidate(candidate) = event
            && on_loopback(&candidate)
        {
            to.add_candidate(candidate).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_arrives_and_is_dropped_rather_than_queued() {
    let (one, mut other) = connect().await;
    assert!(
        one.connection
            .try_send_presence(Bytes::from_static(b"here"))
            .await
            .unwrap()
    );
    other
        .wait_for(RtcEvent::Presence(Bytes::from_static(b"here")))
        .await;

    let beat = Bytes::from(vec![7; 1024]);
    let mut dropped = false;
    for _ in 0..10_000 {
        dropped |= !one
            .connection
            .try_send_presence(beat.clone())
            .await
            .unwrap();
        if dropped {
            break;
        }
    }
    assert!(dropped, "the queue of beats is bounded");
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_megabytes_arrive_intact_both_ways() {
    let (one, other) = connect().await;
    let frames = 20_000_000 / FRAME as u64 + 1;
    let senders = [
        spawn_sender(&one.connection, frames),
        spawn_sender(&other.connection, frames),
    ];
    tokio::join!(
        expect_frames(&one.connection, 0..frames),
        expect_frames(&other.connection, 0..frames)
    );
    for sender in senders {
        sender.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ice_restart_in_mid_transfer_loses_nothing() {
    let (mut one, other) = connect().await;
    let frames = 30_000_000 / FRAME as u64;
    let sender = spawn_sender(&one.connection, frames);
    expect_frames(&other.connection, 0..frames / 3).await;

    let offer = one.connection.create_offer(true).await.unwrap();
    let answer = other.connection.accept_offer(offer).await.unwrap();
    one.connection.accept_answer(answer).await.unwrap();

    expect_frames(&other.connection, frames / 3..frames).await;
    sender.await.unwrap();
    one.connection
        .send_message(Bytes::from_static(b"after"))
        .await
        .unwrap();
    let mut other = other;
    assert_eq!(other.next_message().await, "after");
    while let Ok(event) = one.events.try_recv() {
        assert!(
            !matches!(event, RtcEvent::ChannelClosed { .. }),
            "channels survive a restart"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_fingerprint_gives_no_connection() {
    let (one, one_events) = open().await;
    let (other, other_events) = open().await;
    let offer = one.create_offer(false).await.unwrap();
    let answer = other.accept_offer(offer).await.unwrap();
    one.accept_answer(with_other_fingerprint(&answer))
        .await
        .unwrap();
    let mut one = End {
        events: deliver(one_events, &other),
        connection: one,
    };
    let started = Instant::now();
    let _other_events = deliver(other_events, &one.connection);
    loop {
        match one.next().await {
            RtcEvent::StateChanged(LinkState::Failed | LinkState::Closed) => {
                println!("refused after {:?}", started.elapsed());
                return;
            }
            event @ (RtcEvent::ChannelsOpen | RtcEvent::StateChanged(LinkState::Connected)) => {
                panic!("{event:?} with somebody else's certificate");
            }
            RtcEvent::LocalCandidate(_)
            | RtcEvent::GatheringComplete
            | RtcEvent::StateChanged(LinkState::Checking | LinkState::Disconnected)
            | RtcEvent::Message(_)
            | RtcEvent::Presence(_)
            | RtcEvent::ChannelClosed { .. } => {}
        }
    }
}

/// The same description with one hex digit of the fingerprint changed.
fn with_other_fingerprint(sdp: &str) -> String {
    let mark = "a=fingerprint:sha-256 ";
    let at = sdp.find(mark).expect("a fingerprint") + mark.len();
    let old = &sdp[at..at + 95];
    let digit = if old.starts_with('0') { "1" } else { "0" };
    sdp.replace(old, &format!("{digit}{}", &old[1..]))
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_ends_the_channels_of_the_other_end() {
    let (one, mut other) = connect().await;
    let lane = other.connection.files();
    let reader = tokio::spawn(async move { lane.recv().await });
    timeout(DEADLINE, one.connection.close()).await.unwrap();
    one.connection.close().await;

    let mut open = vec![
        ChannelLabel::Messages,
        ChannelLabel::Files,
        ChannelLabel::Presence,
    ];
    while !open.is_empty() {
        if let RtcEvent::ChannelClosed { label } = other.next().await {
            open.retain(|open| *open != label);
        }
    }
    assert_eq!(timeout(DEADLINE, reader).await.unwrap().unwrap(), None);
    let refused = one
        .connection
        .send_message(Bytes::from_static(b"late"))
        .await;
    assert!(matches!(refused, Err(RtcError::Closed)), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_releases_a_sender_that_waits() {
    let (one, _other) = connect().await;
    let sender = one.connection.files();
    let (accepted, mut progress) = mpsc::channel(1);
    let waiting = tokio::spawn(async move {
        while sender.send(frame(1)).await.is_ok() {
            let _ = accepted.send(()).await;
        }
    });
    // Nobody reads at the other end: stalled is when nothing more is accepted for a while.
    while let Ok(Some(())) = timeout(Duration::from_secs(1), progress.recv()).await {}
    one.connection.close().await;
    timeout(DEADLINE, waiting)
        .await
        .expect("the sender ends")
        .unwrap();
}

/// Bytes that may sit between a sender and a receiver that reads nothing: the sender's queue,
/// the window, and the crate's queues of 256 messages.
const STALLED_BOUND: usize = 64 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_stops_reading_stops_the_sender() {
    let (one, other) = connect().await;
    let lane = one.connection.files();
    let (accepted, mut progress) = mpsc::channel(1);
    let sender = tokio::spawn(async move {
        for index in 0..4096 {
            lane.send(frame(index)).await.unwrap();
            if accepted.send(index + 1).await.is_err() {
                return;
            }
        }
    });
    // Stalled is when nothing more is accepted for a while.
    let mut sent = 0;
    while let Ok(Some(count)) = timeout(Duration::from_secs(3), progress.recv()).await {
        sent = count;
        let bytes = usize::try_from(sent).unwrap() * FRAME;
        assert!(
            bytes < STALLED_BOUND,
            "{bytes} bytes were accepted without a reader"
        );
    }
    let queued = one.connection.files().queued_bytes().await.unwrap();
    assert!(queued <= SEND_QUEUE_BYTES + FRAME, "{queued}");
    println!(
        "stalled after {} KiB, {} KiB of them with the sender",
        sent * 64,
        queued / 1024
    );

    // A reader that comes back finds everything.
    expect_frames(&other.connection, 0..sent).await;
    drop(progress);
    expect_frames(&other.connection, sent..sent + 1).await;
    sender.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_signaling_is_refused() {
    let (one, _events) = open().await;
    let refused = one.accept_offer("v=0\r\nnonsense".to_owned()).await;
    assert!(
        matches!(refused, Err(RtcError::Description(_))),
        "{refused:?}"
    );
    let refused = one.accept_answer(String::new()).await;
    assert!(
        matches!(refused, Err(RtcError::Description(_))),
        "{refused:?}"
    );

    let (other, _events) = open().await;
    let offer = other.create_offer(false).await.unwrap();
    one.accept_offer(offer).await.unwrap();
    let candidate = IceCandidate {
        candidate: "candidate:not one".to_owned(),
        sdp_mid: None,
        sdp_mline_index: Some(0),
    };
    let refused = one.add_candidate(candidate.clone()).await;
    assert!(
        matches!(refused, Err(RtcError::Candidate(_))),
        "{refused:?}"
    );

    let mut last = Ok(());
    for _ in 0..100 {
        last = other.add_candidate(candidate.clone()).await;
    }
    assert!(matches!(last, Err(RtcError::TooManyCandidates)), "{last:?}");
    let huge = Bytes::from(vec![0; 1024 * 1024]);
    let refused = one.send_message(huge).await;
    assert!(
        matches!(refused, Err(RtcError::TooLarge { .. })),
        "{refused:?}"
    );
}
