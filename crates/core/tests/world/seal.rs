//! The sealing between two members, with the steps and the strictness of the real one but no
//! cryptography.

use bytes::Bytes;
use kith_core::effect::SealEffect;
use kith_core::input::SealNews;
use kith_protocol::Sid;
use kith_protocol::ids::SealTag;
use kith_protocol::sealed::{Envelope, Hello, SealedBody};

#[derive(Debug)]
struct Keys {
    attempt: u32,
    tag: SealTag,
    sent: u64,
    read: u64,
}

/// One side.
#[derive(Debug)]
pub struct Seal {
    initiator: bool,
    hello: Hello,
    /// The attempt under way.
    shake: Option<u32>,
    keys: Option<Keys>,
    before: Option<SealTag>,
}

impl Seal {
    /// Nothing agreed yet.
    pub fn new(me: Sid, them: Sid, hello: Hello) -> Self {
        Seal {
            initiator: me < them,
            hello,
            shake: None,
            keys: None,
            before: None,
        }
    }

    /// Does what the effect says; `random` numbers an attempt.
    pub fn apply(&mut self, effect: SealEffect, random: u32) -> Vec<SealNews> {
        match effect {
            SealEffect::Open | SealEffect::Close => Vec::new(),
            SealEffect::Begin => {
                assert!(self.initiator, "only the initiator begins");
                self.shake = Some(random);
                vec![step(1, random, Bytes::new())]
            }
            SealEffect::Read(body) => self.read(body).unwrap_or_else(|()| vec![SealNews::Broken]),
            SealEffect::Send(body) => {
                let Some(keys) = &mut self.keys else {
                    return vec![SealNews::Broken];
                };
                let (tag, counter) = (keys.tag, keys.sent);
                keys.sent += 1;
                let noise = body.to_bytes();
                vec![SealNews::Send(
                    Envelope::Transport {
                        tag,
                        counter,
                        noise,
                    }
                    .to_bytes(),
                )]
            }
            SealEffect::AskAgain => vec![SealNews::Send(Envelope::Rehandshake.to_bytes())],
        }
    }

    fn read(&mut self, body: Bytes) -> Result<Vec<SealNews>, ()> {
        match Envelope::parse(body).map_err(|_| ())? {
            Envelope::Handshake {
                step: 1, attempt, ..
            } if !self.initiator => {
                self.shake = Some(attempt);
                Ok(vec![step(2, attempt, self.hello.to_bytes())])
            }
            Envelope::Handshake {
                step: 2,
                attempt,
                noise,
            } if self.initiator => {
                if self.shake != Some(attempt) {
                    return Ok(Vec::new());
                }
                let hello = Hello::parse(&noise).map_err(|_| ())?;
                Ok(vec![
                    step(3, attempt, self.hello.to_bytes()),
                    self.switch(attempt, hello),
                ])
            }
            Envelope::Handshake {
                step: 3,
                attempt,
                noise,
            } if !self.initiator => {
                if self.shake != Some(attempt) {
                    return Ok(Vec::new());
                }
                let hello = Hello::parse(&noise).map_err(|_| ())?;
                Ok(vec![self.switch(attempt, hello)])
            }
            Envelope::Handshake { .. } => Err(()),
            Envelope::Transport {
                tag,
                counter,
                noise,
            } => {
                if self.before == Some(tag) {
                    return Ok(Vec::new());
                }
                let keys = self.keys.as_mut().filter(|k| k.tag == tag).ok_or(())?;
                if keys.read != counter {
                    return Err(());
                }
                keys.read += 1;
                let body = SealedBody::parse(&noise).map_err(|_| ())?;
                Ok(vec![SealNews::Body(Box::new(body))])
            }
            Envelope::Rehandshake => Ok(vec![SealNews::AskedAgain]),
        }
    }

    fn switch(&mut self, attempt: u32, hello: Hello) -> SealNews {
        let mut tag = [0; 8];
        tag[..4].copy_from_slice(&attempt.to_be_bytes());
        let tag = SealTag(tag);
        self.shake = None;
        let keys = Keys {
            attempt,
            tag,
            sent: 0,
            read: 0,
        };
        self.before = self.keys.replace(keys).map(|k| k.tag);
        debug_assert!(self.keys.as_ref().is_some_and(|k| k.attempt == attempt));
        SealNews::Ready(Box::new(hello), tag)
    }
}

fn step(step: u8, attempt: u32, noise: Bytes) -> SealNews {
    SealNews::Send(
        Envelope::Handshake {
            step,
            attempt,
            noise,
        }
        .to_bytes(),
    )
}
