//! What a lying room server says of its own accord.

use kith_protocol::ids::Nonce;
use kith_protocol::room::{LeftWhy, ServerMessage};
use kith_protocol::{Code, limits};

use super::Client;
use super::lies::{Liar, Treachery, error, random, random_sid};
use super::wire::{BINARY, CONTINUATION, PING, TEXT, ToClient, header};

use Treachery as T;

const _: () = assert!(limits::MAX_ROOM_MESSAGE >= 60_000, "nesting fits a message");

impl Liar {
    /// What it says of its own accord. `None`: the client hung up.
    pub(super) async fn talk(&mut self, how: Treachery, out: &mut ToClient) -> Option<()> {
        match how {
            T::CrossRooms => {
                let others: Vec<Client> = self.world.clients().values().cloned().collect();
                let me = self.me()?;
                for c in others.iter().filter(|c| c.room != me.room) {
                    let came = |sid| ServerMessage::MemberJoined { sid, caps: vec![] };
                    out.say(&came(c.sid)).await?;
                    let _ = c.say.send(came(me.sid)).await;
                }
                Some(())
            }
            T::Invent => {
                for step in 0..20u8 {
                    let sid = random_sid();
                    out.say(&ServerMessage::MemberJoined { sid, caps: vec![] })
                        .await?;
                    // Shaped as a handshake message or a sealed one.
                    let mut body = random::<96>().to_vec();
                    body[0] = step % 4;
                    body[1] = step % 5;
                    let body = body.into();
                    out.say(&ServerMessage::Signal { from: sid, body }).await?;
                    self.lied();
                }
                Some(())
            }
            T::Challenges => {
                for _ in 0..10_000 {
                    let nonce = Nonce(random());
                    out.say(&ServerMessage::Challenge { nonce }).await?;
                }
                self.lied();
                Some(())
            }
            T::LeftLies => {
                let me = self.me()?;
                let others: Vec<Client> = self.world.clients().values().cloned().collect();
                for why in [LeftWhy::Left, LeftWhy::Closed, LeftWhy::Refused] {
                    for c in others.iter().filter(|c| c.sid != me.sid) {
                        let sid = c.sid;
                        out.say(&ServerMessage::MemberLeft { sid, why }).await?;
                    }
                    let sid = me.sid;
                    out.say(&ServerMessage::MemberLeft { sid, why }).await?;
                    self.lied();
                }
                Some(())
            }
            T::Errors => {
                for code in Code::ALL {
                    out.say(&error(*code)).await?;
                    self.lied();
                }
                out.say(&ServerMessage::Restarting { after_ms: 1 }).await
            }
            T::Comings | T::Deaf => {
                while self.world.how() == Some(how) {
                    let sid = random_sid();
                    out.say(&ServerMessage::MemberJoined { sid, caps: vec![] })
                        .await?;
                    if self.count.is_multiple_of(2) {
                        let why = LeftWhy::Left;
                        out.say(&ServerMessage::MemberLeft { sid, why }).await?;
                    }
                    self.count += 1;
                    self.lied();
                }
                Some(())
            }
            _ => self.frames(how, out).await,
        }
    }

    async fn frames(&mut self, how: Treachery, out: &mut ToClient) -> Option<()> {
        let mebibyte = vec![b'x'; 1 << 20];
        self.lied();
        match how {
            T::NotJson => out.text(b"<html>502</html>").await,
            T::Nested => out.text(&[b'['; 60_000]).await,
            T::Binary => out.frame(BINARY, true, b"\0\x01\x02").await,
            T::NotUtf8 => out.text(b"\xff\xfe").await,
            T::Reserved => out.frame(0x70 | TEXT, true, b"{}").await,
            T::Oversize => out.text(&mebibyte).await,
            T::HugeHeader => out.raw(&header(TEXT, true, 1 << 62)).await,
            T::EndlessText | T::EndlessEmpty | T::Pings => {
                let (opcode, piece): (u8, &[u8]) = match how {
                    T::EndlessText => (CONTINUATION, &[b' '; 100]),
                    T::Pings => (PING, &[b'p'; 125]),
                    _ => (CONTINUATION, b""),
                };
                if how != T::Pings {
                    out.frame(TEXT, false, b"{").await?;
                }
                // Many at a time, or the writing itself would be the limit.
                let piece = [
                    header(opcode, how == T::Pings, piece.len() as u64),
                    piece.into(),
                ]
                .concat()
                .repeat(500);
                while self.world.how() == Some(how) {
                    out.raw(&piece).await?;
                    self.lied();
                }
                Some(())
            }
            _ => Some(()),
        }
    }
}
