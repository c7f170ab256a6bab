//! Rooms of several people: nodes in one process, everything else real.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test picks the one change it waits for"
)]

use std::collections::BTreeMap;

use kith_api::{
    Change, CreateRoom, Empty, Handler as _, HistoryPage, JoinRoom, LinkPhase, Presence, Rename,
    SendText, SessionPhase,
};
use kith_protocol::{PeerId, RoomId};
use kith_tests::{Peer, Server};

const NAMES: [&str; 5] = ["Ada", "Bob", "Cy", "Dee", "Eve"];

/// Starts `n` people in one room, all linked to all.
async fn room_of(n: usize, server: &Server, dir: &std::path::Path) -> (RoomId, Vec<Peer>) {
    let mut peers = Vec::new();
    for name in &NAMES[..n] {
        peers.push(Peer::start(&dir.join(name), name).await);
    }
    let made = peers[0]
        .node
        .create_room(CreateRoom {
            server: server.url(),
        })
        .await
        .unwrap();
    for peer in &peers[1..] {
        peer.node
            .join_room(JoinRoom {
                invite: made.invite.clone(),
            })
            .await
            .unwrap();
    }
    for a in &peers {
        for b in peers.iter().filter(|b| b.id() != a.id()) {
            a.wait_linked(b.id()).await;
        }
    }
    (made.room, peers)
}

async fn say(peer: &Peer, room: RoomId, text: String) {
    peer.node.send_text(SendText { room, text }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn five_people_all_chat_with_each_other_and_see_each_other_leave() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let (room, mut peers) = room_of(5, &server, dir.path()).await;
    for peer in &peers {
        say(peer, room, format!("I am {}", peer.node.me().name)).await;
    }
    for reader in &peers {
        let mut heard = BTreeMap::new();
        let everybody = |c: &Change| {
            if let Change::Message(m) = c {
                heard.insert(m.author, m.text.clone());
            }
            (heard.len() == 5).then(|| heard.clone())
        };
        let heard = reader.wait("everybody's message", everybody).await;
        for writer in &peers {
            let want = format!("I am {}", writer.node.me().name);
            assert_eq!(heard.get(&writer.id()), Some(&want));
        }
    }
    while let Some(leaver) = peers.pop() {
        let gone = leaver.id();
        leaver.node.shutdown().await;
        for other in &peers {
            other
                .wait_person(gone, "a leave", |p| p.presence == Presence::Offline)
                .await;
        }
    }
}

/// Collects messages by author until each other author has said `n`; checks order and uniqueness.
async fn collect(peer: &Peer, authors: &[PeerId], n: u64) -> BTreeMap<PeerId, u64> {
    let mut seen: BTreeMap<PeerId, u64> = authors.iter().map(|a| (*a, 0)).collect();
    let me = peer.id();
    let all = |c: &Change| {
        if let Change::Message(m) = c
            && m.author != me
        {
            let last = seen.get_mut(&m.author).unwrap();
            assert_eq!(m.seq, *last + 1, "in order, exactly once");
            assert_eq!(m.text, format!("number {}", m.seq));
            *last = m.seq;
        }
        seen.values().all(|s| *s == n).then(|| seen.clone())
    };
    peer.wait("all messages", all).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_messages_each_way_arrive_once_and_in_order_and_outlive_a_restart() {
    const N: u64 = 1000;
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let (room, peers) = room_of(3, &server, dir.path()).await;
    let writing = peers.iter().map(|p| async move {
        for n in 1..=N {
            say(p, room, format!("number {n}")).await;
        }
    });
    let ids: Vec<PeerId> = peers.iter().map(Peer::id).collect();
    let reading = peers.iter().map(|p| {
        let others: Vec<PeerId> = ids.iter().copied().filter(|id| *id != p.id()).collect();
        async move { collect(p, &others, N).await }
    });
    let (_, seen) = futures::join!(
        futures::future::join_all(writing),
        futures::future::join_all(reading)
    );
    assert!(seen.iter().all(|s| s.len() == 2));

    // Everybody leaves; Bob comes back and finds it all.
    for peer in &peers {
        peer.node.shutdown().await;
    }
    drop(peers);
    let bob = Peer::start(&dir.path().join("Bob"), "Bob").await;
    let mut all: BTreeMap<PeerId, Vec<u64>> = BTreeMap::new();
    let mut before = None;
    loop {
        let page = bob
            .node
            .history(HistoryPage {
                room,
                before,
                max: 500,
            })
            .await
            .unwrap();
        for m in page.messages {
            all.entry(m.author).or_default().push(m.seq);
        }
        before = page.before;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(all.len(), 3);
    for seqs in all.values_mut() {
        seqs.sort_unstable();
        assert_eq!(*seqs, (1..=N).collect::<Vec<_>>());
    }
    bob.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_written_while_the_other_was_away_arrives_when_it_is_back() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let (room, mut peers) = room_of(2, &server, dir.path()).await;
    let bob = peers.pop().unwrap();
    let ada = peers.pop().unwrap();
    let (bob_id, bob_home) = (bob.id(), bob.home.clone());
    let invite = ada.node.snapshot(kith_api::Empty {}).await.unwrap().rooms[0]
        .invite
        .clone();
    bob.node.shutdown().await;
    drop(bob);
    ada.wait_person(bob_id, "Bob to leave", |p| p.presence == Presence::Offline)
        .await;
    say(&ada, room, "see you later".into()).await;
    let bob = Peer::start(&bob_home, "Bob").await;
    assert_eq!(bob.id(), bob_id, "the identity lasts");
    bob.node.join_room(JoinRoom { invite }).await.unwrap();
    assert_eq!(bob.wait_message(ada.id()).await.text, "see you later");
    let delivered = |c: &Change| match c {
        Change::Message(m) if m.delivered == [bob_id] => Some(()),
        _ => None,
    };
    ada.wait("the delivered mark", delivered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_room_server_disturbs_no_chat_and_both_rejoin_by_themselves() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let (room, peers) = room_of(2, &server, dir.path()).await;
    let [ada, bob] = &peers[..] else {
        unreachable!()
    };
    let addr = server.kill().await;
    for p in &peers {
        p.wait_room(room, "the loss", |r| r.session != SessionPhase::Joined)
            .await;
    }
    say(ada, room, "still there?".into()).await;
    assert_eq!(bob.wait_message(ada.id()).await.text, "still there?");

    let server = Server::start_on(addr).await;
    let link_lost = |c: &Change| match c {
        Change::Person(p) => {
            assert_eq!(p.link, LinkPhase::Connected, "the link is kept");
            None
        }
        Change::Room(r) => (r.session == SessionPhase::Joined).then_some(()),
        _ => None,
    };
    for p in &peers {
        p.wait("the rejoin", link_lost).await;
    }
    say(bob, room, "still here".into()).await;
    assert_eq!(ada.wait_message(bob.id()).await.text, "still here");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_name_is_told_kept_and_what_others_see_next() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let ada = Peer::start(&dir.path().join("a"), "Ada").await;
    let window = ada.node.subscribe();
    let mut seen = ada.node.snapshot(Empty {}).await.unwrap();
    let name = " Ada\u{202e} Lovelace ".to_string();
    let me = ada.node.rename(Rename { name }).await.unwrap();
    assert_eq!(me.name, "Ada Lovelace");
    assert_eq!(ada.node.me(), me);
    seen.apply(&window.changes().await.unwrap()).unwrap();
    assert_eq!(seen, ada.node.snapshot(Empty {}).await.unwrap());

    let made = ada.node.create_room(CreateRoom {
        server: server.url(),
    });
    let invite = made.await.unwrap().invite;
    let bob = Peer::start(&dir.path().join("b"), "Bob").await;
    bob.node.join_room(JoinRoom { invite }).await.unwrap();
    bob.wait_person(ada.id(), "the new name", |p| p.name == me.name)
        .await;
    bob.node.shutdown().await;
    ada.node.shutdown().await;
    server.stop().await;
    // It keeps its store open for readers of history.
    drop(ada);

    let store = kith_peer::store::Store::open(&dir.path().join("a")).unwrap();
    assert_eq!(store.display_name().unwrap(), Some(me.name));
}
