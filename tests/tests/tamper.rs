//! A room server that meddles: it can keep two people apart, never come between them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]
#![allow(
    clippy::result_large_err,
    reason = "the shape of the handshake callback is not ours"
)]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test picks the one change it waits for"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures::{SinkExt as _, StreamExt as _};
use kith_api::{Change, CreateRoom, Handler as _, JoinRoom, LinkPhase};
use kith_protocol::ids::Blob;
use kith_protocol::room::ServerMessage;
use kith_tests::{Peer, Server};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

/// What the server in the middle does to a signal it passes on.
#[derive(Clone, Copy, Debug)]
enum Treachery {
    /// Changes one byte somewhere in the middle.
    Flip,
    /// Changes the last byte, which is of the authentication tag.
    FlipLast,
    /// Sends the sender's own words back as if the other had said them.
    Reflect,
    /// Passes on the first signal again instead of each later one.
    Replay,
}

/// Stands between the clients and the real server.
struct Middle {
    addr: std::net::SocketAddr,
    on: Arc<AtomicBool>,
    meddled: Arc<AtomicU64>,
}

async fn middle(server: std::net::SocketAddr, how: Treachery) -> Middle {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (on, meddled) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    let middle = Middle {
        addr,
        on: Arc::clone(&on),
        meddled: Arc::clone(&meddled),
    };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(pass(
                stream,
                server,
                addr,
                how,
                Arc::clone(&on),
                Arc::clone(&meddled),
            ));
        }
    });
    middle
}

async fn pass(
    stream: tokio::net::TcpStream,
    server: std::net::SocketAddr,
    addr: std::net::SocketAddr,
    how: Treachery,
    on: Arc<AtomicBool>,
    meddled: Arc<AtomicU64>,
) {
    let protocol = |_: &Request, mut response: Response| {
        let name = kith_protocol::limits::SUBPROTOCOL.parse().unwrap();
        response
            .headers_mut()
            .insert("sec-websocket-protocol", name);
        Ok(response)
    };
    let client = tokio_tungstenite::accept_hdr_async(stream, protocol)
        .await
        .unwrap();
    // The join proof is bound to the name that the client dialled: a server that passes joins on
    // must be one that the other believes to be itself.
    let mut request =
        tokio_tungstenite::tungstenite::client::IntoClientRequest::into_client_request(format!(
            "ws://{server}/ws"
        ))
        .unwrap();
    let headers = request.headers_mut();
    headers.insert("host", addr.to_string().parse().unwrap());
    headers.insert(
        "sec-websocket-protocol",
        kith_protocol::limits::SUBPROTOCOL.parse().unwrap(),
    );
    let (upstream, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    let (mut to_client, mut from_client) = client.split();
    let (mut to_server, mut from_server) = upstream.split();
    let up = async {
        while let Some(Ok(message)) = from_client.next().await {
            if to_server.send(message).await.is_err() {
                return;
            }
        }
    };
    let down = async {
        let mut first: Option<Blob> = None;
        while let Some(Ok(message)) = from_server.next().await {
            let message = match message {
                Message::Text(text) if on.load(Ordering::SeqCst) => {
                    let mut parsed = ServerMessage::parse(&text).unwrap();
                    if let ServerMessage::Signal { body, .. } = &mut parsed {
                        meddle(body, how, &mut first);
                        meddled.fetch_add(1, Ordering::SeqCst);
                    }
                    Message::text(parsed.to_text())
                }
                other => other,
            };
            if to_client.send(message).await.is_err() {
                return;
            }
        }
    };
    futures::future::select(Box::pin(up), Box::pin(down)).await;
}

fn meddle(body: &mut Blob, how: Treachery, first: &mut Option<Blob>) {
    let mut bytes = body.0.to_vec();
    let len = bytes.len();
    match how {
        Treachery::Flip => bytes[len / 2] ^= 1,
        Treachery::FlipLast => bytes[len - 1] ^= 0x80,
        // A handshake message that claims to be the next step with the bytes of this one.
        Treachery::Reflect => bytes[1] = bytes[1] % 3 + 1,
        Treachery::Replay => {
            bytes = first.get_or_insert_with(|| body.clone()).0.to_vec();
        }
    }
    *body = bytes.into();
}

async fn keeps_apart_but_never_comes_between(how: Treachery) {
    let server = Server::start().await;
    let middle = middle(server.addr, how).await;
    let dir = tempfile::tempdir().unwrap();
    let ada = Peer::start(&dir.path().join("ada"), "Ada").await;
    let bob = Peer::start(&dir.path().join("bob"), "Bob").await;
    let url = format!("http://{}", middle.addr);
    let made = ada
        .node
        .create_room(CreateRoom { server: url })
        .await
        .unwrap();
    bob.node
        .join_room(JoinRoom {
            invite: made.invite,
        })
        .await
        .unwrap();
    // Several tries of both sides pass through the traitor's hands …
    let deadline = tokio::time::Instant::now() + kith_tests::PATIENCE;
    while middle.meddled.load(Ordering::SeqCst) < 4 {
        assert!(
            tokio::time::Instant::now() < deadline,
            "nothing was meddled with: {how:?}"
        );
        let step = std::time::Duration::from_millis(20);
        let change = tokio::time::timeout(step, ada.events.next()).await;
        if let Ok(Some(kith_peer::node::Update::Change(change))) = change
            && let Change::Person(p) = *change
        {
            assert_ne!(p.link, LinkPhase::Connected, "{how:?} gave a link");
        }
    }
    // … and give no link,
    for p in [&ada, &bob] {
        let now = p.node.snapshot(kith_api::Empty {}).await.unwrap();
        assert!(
            now.people.iter().all(|p| p.link != LinkPhase::Connected),
            "{how:?}: {now:#?}"
        );
    }
    // while the same two, left alone, find each other.
    middle.on.store(false, Ordering::SeqCst);
    ada.wait_linked(bob.id()).await;
    bob.wait_linked(ada.id()).await;
    ada.node.shutdown().await;
    bob.node.shutdown().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_byte_gives_no_link() {
    keeps_apart_but_never_comes_between(Treachery::Flip).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_tag_gives_no_link() {
    keeps_apart_but_never_comes_between(Treachery::FlipLast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_out_of_turn_gives_no_link() {
    keeps_apart_but_never_comes_between(Treachery::Reflect).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_gives_no_link() {
    keeps_apart_but_never_comes_between(Treachery::Replay).await;
}
