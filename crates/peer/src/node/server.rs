//! The WebSocket to a room server: one task per dial.

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use kith_core::input::{Input, SessionNews};
use kith_protocol::invite::ServerAddr;
use kith_protocol::room::{ClientMessage, ServerMessage};
use kith_protocol::{Code, RoomId, Sid, limits};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;

/// A server that lists a full room may send more than a client may.
const MOST_INCOMING: usize = 4 * limits::MAX_ROOM_MESSAGE;
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
    loop {
        tokio::select! {
            message = outgoing.recv() => {
                let Some(message) = message else { break };
                if socket.send(Message::text(message.to_text())).await.is_err() {
                    let _ = news(SessionNews::Closed(Code::ServerUnreachable)).await;
                    return;
                }
            }
            message = socket.next() => {
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
                    Some(Ok(Message::Binary(_) | Message::Close(_) | Message::Frame(_))) | None => {
                        Code::ServerUnreachable
                    }
                    Some(Err(error)) => {
                        tracing::debug!(%error, "connection to the room server ended");
                        Code::ServerUnreachable
                    }
                };
                // Once a room server, always a room server: what was joined is dialled again.
                let code = if code == Code::NotARoomServer { Code::ServerUnreachable } else { code };
                let _ = news(SessionNews::Closed(code)).await;
                return;
            }
        }
    }
    let _ = tokio::time::timeout(GOODBYE, socket.close(None)).await;
}

type Socket =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

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
        .max_message_size(Some(MOST_INCOMING))
        .max_frame_size(Some(MOST_INCOMING));
    let dialled = tokio_tungstenite::connect_async_with_config(request, Some(config), true).await;
    match dialled {
        Ok((socket, _)) => Ok(socket),
        Err(error) => {
            tracing::debug!(%error, "dial failed");
            Err(dial_code(&error))
        }
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
