//! The hostile one's connection to the room server.

use std::collections::HashMap;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use kith_peer::seal::{Identity, SealContext, SealNews, Sealer};
use kith_protocol::ids::{Blob, Digest, SealTag};
use kith_protocol::invite::RoomKeys;
use kith_protocol::room::{ClientMessage, ServerMessage};
use kith_protocol::sealed::SealedBody;
use kith_protocol::{Invite, PeerId, Sid, limits};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use super::Say;

type Socket =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

/// The connection to the room server, and the seals with everybody in the room.
pub(super) struct Member {
    socket: Socket,
    keys: RoomKeys,
    identity: Identity,
    fp: Digest,
    sid: Sid,
    sealers: HashMap<Sid, Sealer>,
}

impl Member {
    pub(super) async fn join(invite: Invite, identity: Identity, fp: Digest) -> Member {
        let url = invite.server().ws_url();
        let mut request = url.into_client_request().unwrap();
        let protocol = limits::SUBPROTOCOL.parse().unwrap();
        request
            .headers_mut()
            .insert("sec-websocket-protocol", protocol);
        let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        // Small, so that we begin handshakes and make the SDP offers.
        let mut sid = [0; 16];
        getrandom::fill(&mut sid[4..]).unwrap();
        let (sid, keys) = (Sid(sid), invite.keys());
        let join = ClientMessage::Join {
            room_id: keys.room_id(),
            sid,
            access_pk: keys.access_pk(),
            caps: Vec::new(),
        };
        socket.send(Message::text(join.to_text())).await.unwrap();
        let Some(ServerMessage::Challenge { nonce }) = next(&mut socket).await else {
            panic!("the server asks for a proof");
        };
        let sig = keys.prove(invite.server().authority(), &nonce, &sid);
        let prove = ClientMessage::Prove { sig };
        socket.send(Message::text(prove.to_text())).await.unwrap();
        let mut member = Member {
            socket,
            keys,
            identity,
            fp,
            sid,
            sealers: HashMap::new(),
        };
        let Some(ServerMessage::Joined { members, .. }) = next(&mut member.socket).await else {
            panic!("the server lets us in");
        };
        for other in members {
            member.greet(other.sid).await;
        }
        member
    }

    pub(super) async fn run(
        mut self,
        victim: PeerId,
        mut queue: mpsc::UnboundedReceiver<Say>,
        heard: mpsc::UnboundedSender<SealedBody>,
        ready: tokio::sync::oneshot::Sender<(Digest, SealTag)>,
    ) {
        let mut ready = Some(ready);
        let mut at: Option<Sid> = None;
        loop {
            tokio::select! {
                say = queue.recv() => {
                    let (Some(say), Some(to)) = (say, at) else { return };
                    let body = match say {
                        Say::Raw(bytes) => bytes,
                        Say::Sealed(body) => {
                            let sealer = self.sealers.get_mut(&to).unwrap();
                            match sealer.seal(&body) {
                                Ok(bytes) => bytes,
                                Err(_) => continue,
                            }
                        }
                    };
                    self.signal(to, body).await;
                }
                message = next(&mut self.socket) => match message {
                    Some(ServerMessage::MemberJoined { sid, .. }) => self.greet(sid).await,
                    Some(ServerMessage::Signal { from, body }) => {
                        let Some(sealer) = self.sealers.get_mut(&from) else { continue };
                        for news in sealer.read(body.0).unwrap_or_default() {
                            match news {
                                SealNews::Send(bytes) => self.signal(from, bytes).await,
                                SealNews::Ready { peer, hello, tag, .. } if peer == victim => {
                                    at = Some(from);
                                    if let Some(ready) = ready.take() {
                                        let _ = ready.send((hello.fp, tag));
                                    }
                                }
                                SealNews::Body(body) if at == Some(from) => {
                                    let _ = heard.send(body);
                                }
                                _ => {}
                            }
                        }
                    }
                    Some(_) => {}
                    None => return,
                },
            }
        }
    }

    async fn greet(&mut self, them: Sid) {
        let context = SealContext {
            psk: (*self.keys.psk()).into(),
            room_id: self.keys.room_id(),
            my_sid: self.sid,
            their_sid: them,
            fp: self.fp,
            name: "Mallory".into(),
            caps: Vec::new(),
        };
        let mut sealer = Sealer::new(&self.identity, context).unwrap();
        let first = sealer.begin().unwrap();
        self.sealers.insert(them, sealer);
        self.signal(them, first).await;
    }

    async fn signal(&mut self, to: Sid, body: Bytes) {
        let body = Blob(body);
        let signal = ClientMessage::Signal { to, body };
        let _ = self.socket.send(Message::text(signal.to_text())).await;
    }
}

async fn next(socket: &mut Socket) -> Option<ServerMessage> {
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Text(text) = message {
            return Some(ServerMessage::parse(&text).unwrap());
        }
    }
    None
}
