//! The sockets of the middle: read by the library, written to clients by hand.

use std::net::SocketAddr;

use kith_protocol::limits;
use kith_protocol::room::ServerMessage;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Join, Sink};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Opcode of a continuation frame (RFC 6455 section 5.2).
pub(super) const CONTINUATION: u8 = 0;
/// Opcode of a text frame.
pub(super) const TEXT: u8 = 1;
/// Opcode of a binary frame.
pub(super) const BINARY: u8 = 2;
/// Opcode of a ping.
pub(super) const PING: u8 = 9;

/// Reads what a client says; what the library would answer goes nowhere.
pub(super) type FromClient = WebSocketStream<Join<OwnedReadHalf, Sink>>;

/// Writes frames to a client.
pub(super) struct ToClient(OwnedWriteHalf);

impl ToClient {
    /// A message, as an honest server would write it.
    pub async fn say(&mut self, message: &ServerMessage) -> Option<()> {
        self.text(message.to_text().as_bytes()).await
    }

    /// A text frame of any bytes.
    pub async fn text(&mut self, bytes: &[u8]) -> Option<()> {
        self.frame(TEXT, true, bytes).await
    }

    /// One frame.
    pub async fn frame(&mut self, opcode: u8, last: bool, payload: &[u8]) -> Option<()> {
        let mut bytes = header(opcode, last, payload.len() as u64);
        bytes.extend_from_slice(payload);
        self.raw(&bytes).await
    }

    /// Any bytes.
    pub async fn raw(&mut self, bytes: &[u8]) -> Option<()> {
        self.0.write_all(bytes).await.ok()
    }
}

/// The head of a frame that announces so many bytes.
pub(super) fn header(opcode: u8, last: bool, len: u64) -> Vec<u8> {
    let mut out = vec![opcode | if last { 0x80 } else { 0 }];
    match len {
        0..126 => out.push(len as u8),
        126..65_536 => {
            out.push(126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
    out
}

/// The WebSocket handshake of a server (RFC 6455 section 4.2), with good clients only.
pub(super) async fn accept(mut tcp: TcpStream) -> Option<(FromClient, ToClient)> {
    let _ = tcp.set_nodelay(true);
    // Little is under way, so what was said is soon heard.
    let _ = socket2::SockRef::from(&tcp).set_send_buffer_size(32 * 1024);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tcp.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let key = head.lines().find_map(|l| {
        let (name, value) = l.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key")
            .then(|| value.trim())
    })?;
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: {}\r\n\r\n",
        derive_accept_key(key.as_bytes()),
        limits::SUBPROTOCOL
    );
    tcp.write_all(answer.as_bytes()).await.ok()?;
    let (read, write) = tcp.into_split();
    let read = tokio::io::join(read, tokio::io::sink());
    let read = WebSocketStream::from_raw_socket(read, Role::Server, None).await;
    Some((read, ToClient(write)))
}

/// Dials the real server in the name of `origin`: join proofs are bound to the name that the
/// client dialled, so a server that passes them on must be one that the other takes for itself.
pub(super) async fn dial(
    server: SocketAddr,
    origin: SocketAddr,
) -> Option<WebSocketStream<MaybeTlsStream<TcpStream>>> {
    let mut request = format!("ws://{server}/ws").into_client_request().ok()?;
    let headers = request.headers_mut();
    headers.insert("host", origin.to_string().parse().ok()?);
    let protocol = limits::SUBPROTOCOL.parse().ok()?;
    headers.insert("sec-websocket-protocol", protocol);
    let (socket, _) = tokio_tungstenite::connect_async(request).await.ok()?;
    Some(socket)
}
