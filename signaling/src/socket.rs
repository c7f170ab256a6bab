//! One WebSocket: moves messages between the wire, the hub and the outbox.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::{SinkExt as _, StreamExt as _};
use kith_protocol::limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Sleep;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};

use crate::http::Upgraded;
use crate::hub::{Input, Violation};
use crate::outbox::Next;
use crate::shared::Connection;
use crate::wire::{self, Wire};

/// Serves an upgraded socket until it ends.
pub(crate) async fn serve(upgraded: Upgraded, connection: Connection) {
    let config = WebSocketConfig::default()
        .read_buffer_size(limits::SOCKET_READ_BUFFER)
        .write_buffer_size(0)
        // Control frames only.
        .max_write_buffer_size(limits::SOCKET_READ_BUFFER)
        .max_message_size(Some(limits::MAX_ROOM_MESSAGE))
        .max_frame_size(Some(limits::MAX_ROOM_MESSAGE));
    let Upgraded { tcp, early, .. } = upgraded;
    let wire = Wire::new(tcp);
    let ws = WebSocketStream::from_partially_read(wire, early, Role::Server, Some(config)).await;
    let mut pump = Pump {
        ws,
        connection,
        reading: true,
        close_sent: false,
        grace: None,
    };
    if poll_fn(|cx| pump.poll(cx)).await == End::Linger {
        let Pump { ws, connection, .. } = pump;
        let grace = connection.shared.config.close_grace;
        drop(connection);
        // Boxed: most connections are idle and should not carry this along.
        let last = Box::pin(linger(ws.into_inner()));
        let _ = tokio::time::timeout(grace, last).await;
    }
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The close frame is out.
    Linger,
    /// The socket is of no more use.
    Gone,
}

struct Pump {
    ws: WebSocketStream<Wire>,
    connection: Connection,
    /// Whether the client may still say something.
    reading: bool,
    close_sent: bool,
    /// Runs from the moment a close begins: a slow reader cannot hold it up.
    grace: Option<Pin<Box<Sleep>>>,
}

impl Pump {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.connection.outbox.register(cx.waker());
        loop {
            if let Poll::Ready(end) = self.poll_write(cx) {
                return Poll::Ready(end);
            }
            if self.closing() {
                break;
            }
            match self.poll_read(cx) {
                // Something may have been queued for this very client.
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(end)) => return Poll::Ready(end),
                Poll::Pending => return Poll::Pending,
            }
        }
        let config = &self.connection.shared.config;
        let grace = self
            .grace
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(config.close_grace)));
        grace.as_mut().poll(cx).map(|()| End::Gone)
    }

    fn closing(&self) -> bool {
        !self.reading || self.close_sent || self.connection.outbox.is_closing()
    }

    /// Writes as much as the socket takes. `Pending` also when there is nothing to write.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let connection = &self.connection;
        while self.reading && !self.close_sent {
            // What was queued before must be out, or a slow reader's messages would wait here
            // instead of in the outbox, which is bounded.
            match self.ws.poll_flush_unpin(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(End::Gone),
                Poll::Pending => return Poll::Pending,
            }
            let control = match connection.outbox.next() {
                Next::Text(text) => {
                    self.ws.get_mut().queue_text(text);
                    None
                }
                Next::Ping => Some(Message::Ping(Bytes::new())),
                Next::Close(code, why) => {
                    self.close_sent = true;
                    Some(Message::Close(Some(CloseFrame {
                        code: code.into(),
                        reason: why.into(),
                    })))
                }
                Next::Nothing => break,
            };
            if let Some(control) = control
                && self.ws.start_send_unpin(control).is_err()
            {
                return Poll::Ready(End::Gone);
            }
            if connection.outbox.take_relief() {
                let to = connection.conn;
                connection.act(Input::Relieved { to });
            }
        }
        match self.ws.poll_flush_unpin(cx) {
            Poll::Ready(Ok(())) if self.close_sent || !self.reading => Poll::Ready(End::Linger),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
            Poll::Ready(Err(_)) => Poll::Ready(End::Gone),
        }
    }

    /// Takes one message from the client.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let Poll::Ready(item) = self.ws.poll_next_unpin(cx) else {
            return Poll::Pending;
        };
        let conn = self.connection.conn;
        match &item {
            Some(Ok(Message::Ping(p) | Message::Pong(p))) => {
                self.ws.get_mut().read_control(p.len());
            }
            _ => self.ws.get_mut().read_one(),
        }
        let input = match item {
            None => return Poll::Ready(Err(End::Gone)),
            Some(Ok(Message::Text(text))) => Input::Text {
                conn,
                text: text.as_str().to_owned(),
            },
            Some(Ok(Message::Ping(_))) => Input::PingSeen { conn },
            Some(Ok(Message::Pong(_))) => Input::PongSeen { conn },
            Some(Ok(Message::Close(_))) => {
                // The answer is queued by the layer below; what remains is to flush it.
                self.reading = false;
                Input::Closed { conn }
            }
            Some(Ok(Message::Binary(_) | Message::Frame(_))) => Input::Broke {
                conn,
                what: Violation::Binary,
            },
            Some(Err(e)) => {
                let Some(what) = violation(&e) else {
                    return Poll::Ready(Err(End::Gone));
                };
                Input::Broke { conn, what }
            }
        };
        let broke = matches!(input, Input::Broke { .. });
        self.connection.act(input);
        if broke && !self.connection.outbox.is_closing() {
            return Poll::Ready(Err(End::Gone));
        }
        Poll::Ready(Ok(()))
    }
}

/// What a failed read says of the client; `None` when the socket itself ended.
fn violation(error: &Error) -> Option<Violation> {
    use tokio_tungstenite::tungstenite::error::ProtocolError;
    match error {
        Error::Capacity(_) => Some(Violation::TooLarge),
        Error::Io(e) if wire::is_too_much(e) => Some(Violation::Fragments),
        Error::Utf8(_) => Some(Violation::NotUtf8),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        Error::Protocol(_) => Some(Violation::Framing),
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Io(_)
        | Error::Tls(_)
        | Error::WriteBufferFull(_)
        | Error::AttackAttempt
        | Error::Url(_)
        | Error::Http(_)
        | Error::HttpFormat(_) => None,
    }
}

/// Ends our side and reads on until the client ends its own. A socket that is closed with unread
/// bytes is reset, and a reset can overtake the close frame. The shutdown flushes first.
async fn linger(mut tcp: Wire) {
    let _ = tcp.shutdown().await;
    tcp.read_one();
    let mut waste = vec![0u8; 4096];
    while tcp.read(&mut waste).await.is_ok_and(|n| n > 0) {
        tcp.read_one();
    }
}
