//! The HTTP side of the real server.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)] // A test may just fail.

mod client;

use std::time::Duration;

use client::{Client, Server, quick, within};
use kith_protocol::room::{IceServers, ServerMessage};
use kith_protocol::{Code, limits};
use kith_signaling::Config;
use kith_signaling::config::Secret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Error;

/// One request, head and body written as they are; the answer up to the end of the socket.
async fn request(server: &Server, text: &str) -> String {
    let mut tcp = TcpStream::connect(&server.host).await.unwrap();
    tcp.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within(tcp.read_to_string(&mut answer)).await.unwrap();
    answer
}

async fn get(server: &Server, path: &str, headers: &str) -> (u16, String) {
    let text = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n",
        server.host
    );
    let answer = request(server, &text).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

fn with_turn() -> Config {
    Config {
        stun_urls: vec!["stun:127.0.0.1:1".into()],
        turn_urls: vec!["turn:127.0.0.1:1".into()],
        turn_secret: Secret::new("north"),
        turn_ttl: Duration::from_secs(600),
        ..quick()
    }
}

#[tokio::test]
async fn health_metrics_and_unknown_paths() {
    let server = Server::start(quick()).await;
    assert_eq!(get(&server, "/healthz", "").await, (200, "ok\n".into()));
    assert_eq!(get(&server, "/nothing", "").await.0, 404);
    let _a = Client::join(&server, 1, 1).await;
    let _b = Client::join(&server, 1, 2).await;
    let (status, text) = get(&server, "/metrics", "").await;
    assert_eq!(status, 200);
    for line in [
        "kith_connections 2",
        "kith_rooms 1",
        "kith_joins_total 2",
        r#"kith_joins_refused_total{why="bad-proof"} 0"#,
        "kith_relayed_messages_total 0",
        "kith_calls_peak 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
    let post = format!("POST /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", server.host);
    assert!(request(&server, &post).await.starts_with("HTTP/1.1 405"));
    server.stop().await;
}

#[tokio::test]
async fn ice_servers_need_the_token_of_a_live_connection() {
    let server = Server::start(with_turn()).await;
    assert_eq!(get(&server, "/ice-servers", "").await.0, 401);
    let wrong = "Authorization: Bearer AAAAAAAAAAAAAAAAAAAAAA\r\n";
    assert_eq!(get(&server, "/ice-servers", wrong).await.0, 401);
    let mut a = Client::join(&server, 1, 1).await;
    let token = format!("Authorization: Bearer {}\r\n", a.token);
    let (status, body) = get(&server, "/ice-servers", &token).await;
    assert_eq!(status, 200);
    let ice: IceServers = serde_json::from_str(&body).unwrap();
    assert_eq!((ice.ice_ttl, ice.ice_servers.len()), (600, 2));
    let turn = &ice.ice_servers[1];
    let name = turn.username.as_deref().unwrap();
    let (expiry, sid) = name.split_once(':').unwrap();
    assert_eq!(sid, a.sid.to_string());
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let left = expiry.parse::<u64>().unwrap().saturating_sub(now);
    assert!((590..=600).contains(&left), "{left}");
    assert!(!body.contains("north"));
    a.say(kith_protocol::room::ClientMessage::Leave {}).await;
    a.closed().await;
    assert_eq!(get(&server, "/ice-servers", &token).await.0, 401);
    server.stop().await;
}

#[tokio::test]
async fn another_version_is_refused_clearly() {
    let server = Server::start(quick()).await;
    let tcp = TcpStream::connect(&server.host).await.unwrap();
    let refused = Client::upgrade(&server, tcp, "kith.room.v9").await;
    let Err(Error::Http(answer)) = refused.map(|_| ()) else {
        panic!("it must not be accepted");
    };
    assert_eq!(answer.status(), 400);
    let body = String::from_utf8(answer.body().clone().unwrap()).unwrap();
    let ServerMessage::Error { code, message, .. } = ServerMessage::parse(&body).unwrap() else {
        panic!("{body}");
    };
    assert_eq!(code, Code::UnsupportedVersion);
    assert!(message.contains(limits::SUBPROTOCOL));
    server.stop().await;
}

#[tokio::test]
async fn bad_upgrades_are_refused() {
    let server = Server::start(quick()).await;
    let upgrade = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n";
    let protocol = "Sec-WebSocket-Protocol: other, kith.room.v1\r\n";
    let version = "Sec-WebSocket-Version: 13\r\n";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let cases = [
        (String::new(), 426),
        (format!("{version}{key}{protocol}"), 426),
        (format!("{upgrade}{key}{protocol}"), 426),
        (format!("{upgrade}{version}{protocol}"), 400),
        (format!("{upgrade}{version}{key}"), 400),
        (
            format!("{upgrade}{version}Sec-WebSocket-Key: x\r\n{protocol}"),
            400,
        ),
    ];
    for (headers, status) in cases {
        assert_eq!(get(&server, "/ws", &headers).await.0, status, "{headers}");
    }
    let huge = format!("X: {}\r\n", "x".repeat(20_000));
    assert_eq!(get(&server, "/healthz", &huge).await.0, 431);
    // RFC 6455 section 1.3 gives this key and its answer.
    let mut tcp = TcpStream::connect(&server.host).await.unwrap();
    let head = format!(
        "GET /ws HTTP/1.1\r\nHost: {}\r\n{upgrade}{version}{key}{protocol}\r\n",
        server.host
    );
    tcp.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(within(tcp.read_u8()).await.unwrap());
    }
    let answer = String::from_utf8(answer).unwrap().to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 101"), "{answer}");
    assert!(answer.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="));
    assert!(answer.contains("sec-websocket-protocol: kith.room.v1"));
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_configuration_does_not_start() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = Config {
        turn_secret: None,
        ..with_turn()
    };
    let stop = tokio_util::sync::CancellationToken::new();
    let error = kith_signaling::run(listener, config, stop)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("TURN"), "{error}");
}
