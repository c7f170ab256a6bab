//! The sealing between two members, with the steps and the strictness of the real one but no
//! cryptography.

use bytes::Bytes;
use kith_core::effect::SealEffect;
use kith_core::input::SealNews;
use kith_protocol::Sid;
use kith_protocol::derive;
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
pub(crate) struct Seal {
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
                vec![step(1, random, &[])]
            }
            SealEffect::Read(body) => self.read(body).unwrap_or_else(|()| vec![SealNews::Broken]),
            SealEffect::Send(body) => {
                let Some(keys) = &mut self.keys else {
                    return vec![SealNews::Broken];
                };
                let (tag, counter) = (keys.tag, keys.sent);
                keys.sent += 1;
                let noise = seal(&counted(tag, counter), &body.to_bytes());
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
                step: 1,
                attempt,
                noise,
            } if !self.initiator => {
                if self.shake == Some(attempt) || self.done() == Some(attempt) {
                    return Ok(Vec::new());
                }
                open(&numbered(1, attempt), &noise)?;
                self.shake = Some(attempt);
                Ok(vec![step(2, attempt, &self.hello.to_bytes())])
            }
            Envelope::Handshake {
                step: 2,
                attempt,
                noise,
            } if self.initiator => {
                let Some(_) = self.shake.take_if(|s| *s == attempt) else {
                    return Ok(Vec::new());
                };
                let hello = Hello::parse(&open(&numbered(2, attempt), &noise)?).map_err(|_| ())?;
                Ok(vec![
                    step(3, attempt, &self.hello.to_bytes()),
                    self.switch(attempt, hello),
                ])
            }
            Envelope::Handshake {
                step: 3,
                attempt,
                noise,
            } if !self.initiator => {
                let Some(_) = self.shake.take_if(|s| *s == attempt) else {
                    return Ok(Vec::new());
                };
                let hello = Hello::parse(&open(&numbered(3, attempt), &noise)?).map_err(|_| ())?;
                Ok(vec![self.switch(attempt, hello)])
            }
            Envelope::Handshake { .. } => Err(()),
            Envelope::Transport {
                tag,
                counter,
                noise,
            } => {
                if self.before == Some(tag) {
                    return Ok(vec![SealNews::Superseded]);
                }
                let keys = self.keys.as_mut().filter(|k| k.tag == tag).ok_or(())?;
                if keys.read != counter {
                    return Err(());
                }
                let plain = open(&counted(tag, counter), &noise)?;
                keys.read += 1;
                let body = SealedBody::parse(&plain).map_err(|_| ())?;
                Ok(vec![SealNews::Body(Box::new(body))])
            }
            Envelope::Rehandshake => Ok(vec![SealNews::AskedAgain]),
        }
    }

    fn done(&self) -> Option<u32> {
        self.keys.as_ref().map(|k| k.attempt)
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
        SealNews::Ready(Box::new(hello), tag)
    }
}

fn step(step: u8, attempt: u32, plain: &[u8]) -> SealNews {
    let noise = seal(&numbered(step, attempt), plain);
    let envelope = Envelope::Handshake {
        step,
        attempt,
        noise,
    };
    SealNews::Send(envelope.to_bytes())
}

/// What stands for authenticated encryption: the plain text after a hash of it and its place.
fn seal(place: &[u8], plain: &[u8]) -> Bytes {
    let mut out = derive::hash(&[place, plain])[..8].to_vec();
    out.extend_from_slice(plain);
    out.into()
}

fn open(place: &[u8], noise: &[u8]) -> Result<Bytes, ()> {
    let (tag, plain) = noise.split_at_checked(8).ok_or(())?;
    let fits = derive::hash(&[place, plain])[..8] == *tag;
    if fits {
        Ok(Bytes::copy_from_slice(plain))
    } else {
        Err(())
    }
}

fn counted(tag: SealTag, counter: u64) -> Vec<u8> {
    [&tag.0[..], &counter.to_be_bytes()].concat()
}

fn numbered(step: u8, attempt: u32) -> Vec<u8> {
    [&[step][..], &attempt.to_be_bytes()].concat()
}
