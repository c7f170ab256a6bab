//! The WebSocket to a room server: one task per dial.
//!
//! The server is believed to be hostile: it is read no faster than [`Pace`] allows, a message may
//! cost it only so many bytes ([`Metered`]), and it must take what we write.

mod metered;

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use kith_core::input::{Input, SessionNews};
use kith_protocol::invite::ServerAddr;
use kith_protocol::room::{ClientMessage, ServerMessage};
use kith_protocol::{Code, RoomId, Sid, limits};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Uri};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tokio_util::sync::CancellationToken;

use self::metered::Metered;

/// Bytes on the wire from the end of one message to the end of the next: the largest message,
/// with room for headers and for what TLS adds. More is fragments that come to nothing.
const MOST_PER_MESSAGE: u64 = 4 * limits::MAX_ROOM_MESSAGE as u64;
/// What waits in the socket's own buffer: one message, and pongs.
const MOST_OUTGOING: usize = 2 * limits::MAX_ROOM_MESSAGE;
/// Messages are read at this rate for long, each after another …
const PACE: Duration = Duration::from_millis(2);
/// … with so many at once before that: what a room full of newcomers has to say.
const BURST: u32 = 4096;
/// A server that does not take what we write for this long is not there.
const STUCK: Duration = Duration::from_secs(10);
/// A good-bye may take this long to leave.
const GOODBYE: Duration = Duration::from_millis(500);

/// Dials, then carries messages both ways until either side ends it. Dropping the sender of
/// `outgoing` says good-bye.
pub(crate) async fn run(
    room: RoomId,
    sid: Sid,
    addr: ServerAddr,
    mut outgoing: mpsc::UnboundedReceiver<ClientMessage>,
    inputs: mpsc::Sender<Input>,
    token: CancellationToken,
) {
    let news = |news| inputs.send(Input::Session(room, sid, news));
    let mut socket = tokio::select! {
        dialled = dial(&addr) => match dialled {
            Ok(socket) => socket,
            Err(code) => {
                let _ = news(SessionNews::Closed(code)).await;
                return;
            }
        },
        () = token.cancelled() => return,
        () = closed(&mut outgoing) => return,
    };
    if news(SessionNews::Connected).await.is_err() {
        return;
    }
    let mut pace = Pace::new();
    loop {
        tokio::select! {
            message = outgoing.recv() => {
                let Some(message) = message else { break };
                let sent = socket.send(Message::text(message.to_text()));
                if !matches!(tokio::time::timeout(STUCK, sent).await, Ok(Ok(()))) {
                    let _ = news(SessionNews::Closed(Code::ServerUnreachable)).await;
                    return;
                }
            }
            message = read(&mut pace, &mut socket) => {
                let code = match message {
                    Some(Ok(Message::Text(text))) => match ServerMessage::parse(&text) {
                        Ok(message) => {
                            if news(SessionNews::Message(message)).await.is_err() {
                                return;
                            }
                            continue;
                        }
                        Err(error) => {
                            tracing::warn!(%error, "the room server sent something unreadable");
                            Code::NotARoomServer
                        }
                    },
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                    Some(Ok(Message::Close(_) | Message::Frame(_))) | None => {
                        Code::ServerUnreachable
                    }
                    Some(Ok(Message::Binary(_))) => Code::NotARoomServer,
                    Some(Err(error)) => {
                        tracing::debug!(%error, "connection to the room server ended");
                        end_code(&error)
                    }
                };
                let _ = news(SessionNews::Closed(code)).await;
                return;
            }
        }
    }
    let _ = tokio::time::timeout(GOODBYE, socket.close(None)).await;
}

type Socket = WebSocketStream<MaybeTlsStream<Metered<TcpStream>>>;

/// The next message, not before its time. Cancel safe.
async fn read(pace: &mut Pace, socket: &mut Socket) -> Option<Result<Message, Error>> {
    pace.wait().await;
    let message = socket.next().await;
    pace.took();
    match socket.get_mut() {
        MaybeTlsStream::Plain(tcp) => tcp.allow(MOST_PER_MESSAGE),
        MaybeTlsStream::Rustls(tls) => tls.get_mut().0.allow(MOST_PER_MESSAGE),
        // Other TLS libraries are not compiled in.
        _ => {}
    }
    message
}

/// How fast the server is read: what it says costs us work, and it may say anything.
struct Pace {
    /// When the burst is all there again; the later, the more of it is used.
    until: Instant,
}

impl Pace {
    fn new() -> Self {
        Pace {
            until: Instant::now(),
        }
    }

    async fn wait(&self) {
        let next = self.until.checked_sub(PACE * BURST);
        if let Some(next) = next.filter(|next| *next > Instant::now()) {
            tokio::time::sleep_until(next).await;
        }
    }

    fn took(&mut self) {
        self.until = self.until.max(Instant::now()) + PACE;
    }
}

async fn dial(addr: &ServerAddr) -> Result<Socket, Code> {
    let mut request = addr
        .ws_url()
        .into_client_request()
        .map_err(|_| Code::ServerUnreachable)?;
    request.headers_mut().insert(
        "sec-websocket-protocol",
        HeaderValue::from_static(limits::SUBPROTOCOL),
    );
    let config = WebSocketConfig::default()
        .read_buffer_size(limits::SOCKET_READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(MOST_OUTGOING)
        .max_message_size(Some(limits::MAX_ROOM_MESSAGE))
        .max_frame_size(Some(limits::MAX_ROOM_MESSAGE));
    let tcp = connect(request.uri()).await.map_err(|error| {
        tracing::debug!(%error, "dial failed");
        Code::ServerUnreachable
    })?;
    let tcp = Metered::new(tcp, MOST_PER_MESSAGE);
    let dialled =
        tokio_tungstenite::client_async_tls_with_config(request, tcp, Some(config), None).await;
    match dialled {
        Ok((socket, _)) => Ok(socket),
        Err(error) => {
            tracing::debug!(%error, "dial failed");
            Err(dial_code(&error))
        }
    }
}

async fn connect(uri: &Uri) -> std::io::Result<TcpStream> {
    let port = match uri.scheme_str() {
        Some("wss") => 443,
        Some(_) | None => 80,
    };
    let port = uri.port_u16().unwrap_or(port);
    // An IPv6 address stands in brackets here, as it does in the URL.
    let host = uri.host().unwrap_or_default();
    let tcp = TcpStream::connect(format!("{host}:{port}")).await?;
    let _ = tcp.set_nodelay(true);
    Ok(tcp)
}

/// Why a connection ended that was a WebSocket already.
fn end_code(error: &Error) -> Code {
    match error {
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Code::ServerUnreachable,
        Error::Protocol(_) | Error::Utf8(_) | Error::Capacity(_) | Error::AttackAttempt => {
            Code::NotARoomServer
        }
        Error::Io(error) if metered::is_too_much(error) => Code::NotARoomServer,
        Error::Io(_)
        | Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Tls(_)
        | Error::WriteBufferFull(_)
        | Error::Url(_)
        | Error::Http(_)
        | Error::HttpFormat(_) => Code::ServerUnreachable,
    }
}

fn dial_code(error: &Error) -> Code {
    match error {
        Error::Http(response) => match response.status().as_u16() {
            429 => Code::RateLimited,
            503 => Code::Busy,
            502 | 504 => Code::ServerUnreachable,
            426 => Code::UnsupportedVersion,
            _ => Code::NotARoomServer,
        },
        Error::Protocol(_) | Error::HttpFormat(_) | Error::Utf8(_) => Code::NotARoomServer,
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Io(_)
        | Error::Tls(_)
        | Error::Capacity(_)
        | Error::WriteBufferFull(_)
        | Error::AttackAttempt
        | Error::Url(_) => Code::ServerUnreachable,
    }
}

/// Resolves when the sender is gone; messages before the connection is up have no meaning.
async fn closed(outgoing: &mut mpsc::UnboundedReceiver<ClientMessage>) {
    while outgoing.recv().await.is_some() {}
}
