//! A server on a free port and a plain client for it. Every wait has a deadline.
#![allow(dead_code)] // Each test file uses its own part of this.

use std::future::Future;
use std::time::Duration;

use futures::{FutureExt as _, SinkExt as _, StreamExt as _};
use kith_protocol::ids::Blob;
use kith_protocol::invite::RoomKeys;
use kith_protocol::room::{ClientMessage, ServerMessage};
use kith_protocol::{Code, RoomId, Sid, limits};
use kith_signaling::{Config, run};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;

/// Long enough for a loaded machine, short enough to fail a run.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    let limited = tokio::time::timeout(Duration::from_secs(20), future);
    limited.await.expect("nothing happened in time")
}

/// The defaults, with a quick end: most clients here do not read on to see it.
pub fn quick() -> Config {
    Config {
        drain_for: Duration::from_millis(20),
        close_grace: Duration::from_millis(100),
        ..Config::default()
    }
}

pub fn keys(room: u8) -> RoomKeys {
    RoomKeys::derive(&[room; 32])
}

pub struct Server {
    pub host: String,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    pub async fn start(config: Config) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let shutdown = CancellationToken::new();
        let running = run(listener, config, shutdown.clone());
        let task = tokio::spawn(async move { running.await.unwrap() });
        Server {
            host,
            shutdown,
            task,
        }
    }

    /// Stops it; a server that hangs fails the test.
    pub async fn stop(self) {
        self.shutdown.cancel();
        within(self.task).await.unwrap();
    }
}

pub struct Client {
    ws: WebSocketStream<TcpStream>,
    pub sid: Sid,
    pub room: RoomId,
    pub token: String,
}

impl Client {
    /// Upgrades, and says nothing.
    pub async fn connect(server: &Server) -> Self {
        let tcp = TcpStream::connect(&server.host).await.unwrap();
        Self::upgrade(server, tcp, limits::SUBPROTOCOL)
            .await
            .unwrap()
    }

    pub async fn upgrade(server: &Server, tcp: TcpStream, protocol: &str) -> Result<Self, Error> {
        let url = format!("ws://{}/ws", server.host);
        let mut request = url.into_client_request().unwrap();
        let protocol = protocol.parse().unwrap();
        let headers = request.headers_mut();
        headers.insert("sec-websocket-protocol", protocol);
        let (ws, _) = within(tokio_tungstenite::client_async(request, tcp)).await?;
        Ok(Client {
            ws,
            sid: Sid([0; 16]),
            room: RoomId([0; 16]),
            token: String::new(),
        })
    }

    pub async fn join(server: &Server, room: u8, sid: u8) -> Self {
        let client = Self::connect(server).await;
        client.joined(server, room, sid).await
    }

    /// Joins with a socket whose kernel buffer is small, to be slow at little cost.
    pub async fn join_small(server: &Server, room: u8, sid: u8) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let tcp = socket.connect(server.host.parse().unwrap()).await.unwrap();
        let client = Self::upgrade(server, tcp, limits::SUBPROTOCOL).await;
        client.unwrap().joined(server, room, sid).await
    }

    async fn joined(mut self, server: &Server, room: u8, sid: u8) -> Self {
        self.prove(room, sid, &server.host).await;
        match self.next().await {
            ServerMessage::Joined { you, token, .. } => {
                assert_eq!(you, Sid([sid; 16]));
                self.token = token;
                self
            }
            other => panic!("{other:?}"),
        }
    }

    async fn prove(&mut self, room: u8, sid: u8, origin: &str) {
        let (keys, sid) = (keys(room), Sid([sid; 16]));
        (self.sid, self.room) = (sid, keys.room_id());
        self.say(ClientMessage::Join {
            room_id: self.room,
            sid,
            access_pk: keys.access_pk(),
            caps: vec![],
        })
        .await;
        match self.next().await {
            ServerMessage::Challenge { nonce } => {
                let sig = keys.prove(origin, &nonce, &sid);
                self.say(ClientMessage::Prove { sig }).await;
            }
            other => panic!("{other:?}"),
        }
    }

    pub async fn say(&mut self, message: ClientMessage) {
        self.send(Message::text(message.to_text())).await;
    }

    pub async fn send(&mut self, message: Message) {
        within(self.ws.send(message)).await.unwrap();
    }

    pub async fn signal(&mut self, to: Sid, body: &[u8]) {
        let body = Blob(body.to_vec().into());
        self.say(ClientMessage::Signal { to, body }).await;
    }

    pub async fn ping(&mut self, t: u64) {
        self.say(ClientMessage::Ping { t }).await;
    }

    /// The socket below, for frames that no library writes.
    pub fn raw(&mut self) -> &mut TcpStream {
        self.ws.get_mut()
    }

    /// The next message; pings are answered on the way.
    pub async fn next(&mut self) -> ServerMessage {
        loop {
            let message = within(self.ws.next()).await.expect("still open").unwrap();
            if let Message::Text(text) = message {
                return ServerMessage::parse(&text).unwrap();
            }
            assert!(!message.is_close(), "{message:?}");
        }
    }

    /// A message that is already here.
    pub async fn try_next(&mut self) -> Option<ServerMessage> {
        tokio::task::yield_now().await;
        match self.ws.next().now_or_never()? {
            Some(Ok(Message::Text(text))) => Some(ServerMessage::parse(&text).unwrap()),
            Some(Ok(_)) => None,
            other => panic!("{other:?}"),
        }
    }

    pub async fn next_signal(&mut self) -> (Sid, Vec<u8>) {
        match self.next().await {
            ServerMessage::Signal { from, body } => (from, body.0.to_vec()),
            other => panic!("{other:?}"),
        }
    }

    /// The close code; messages before it are skipped.
    pub async fn closed(&mut self) -> u16 {
        loop {
            match within(self.ws.next()).await {
                Some(Ok(Message::Close(frame))) => return frame.unwrap().code.into(),
                Some(Ok(_)) => {}
                other => panic!("no close frame: {other:?}"),
            }
        }
    }
}

/// Goes through the join with a proof for the given origin; what comes of it is not read.
pub async fn join_raw(server: &Server, room: u8, sid: u8, origin: &str) -> Client {
    let mut client = Client::connect(server).await;
    client.prove(room, sid, origin).await;
    client
}

/// The last error before the close, and the close code.
pub async fn refusal(mut client: Client) -> (Code, u16) {
    let mut last = None;
    loop {
        match within(client.ws.next()).await {
            Some(Ok(Message::Text(text))) => {
                if let ServerMessage::Error { code, .. } = ServerMessage::parse(&text).unwrap() {
                    last = Some(code);
                }
            }
            Some(Ok(Message::Close(frame))) => {
                return (last.expect("an error first"), frame.unwrap().code.into());
            }
            Some(Ok(_)) => {}
            other => panic!("no close frame: {other:?}"),
        }
    }
}
