//! `kith join`: standard input goes to the room, the room comes to standard output.

use std::collections::BTreeMap;
use std::time::Instant;

use jiff::tz::TimeZone;
use kith_api::{Change, FetchPhase, Handler as _, JoinRoom, MessageView, OfferView, SendText};
use kith_peer::node::Node;
use kith_protocol::{Code, Invite, OfferId, PeerId, RoomId};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::args::{Global, Join};
use crate::control;
use crate::exit::Failure;
use crate::invite;
use crate::output::Out;
use crate::receive::lines::step_line;
use crate::signals::Stop;
use crate::stdin::{Line, Lines};
use crate::text;
use crate::timeline::{self, Timeline};
use crate::watch::{Room, Seen, Watch};

/// `kith join`.
pub async fn run(
    options: Join,
    global: &Global,
    stop: &mut Stop,
    out: &mut Out,
) -> Result<u8, Failure> {
    let mut lines = Lines::default();
    let invite = stop
        .or(invite::given(options.invite.as_ref(), &mut lines))
        .await?;
    let node = global.start(stop).await?;
    let commands = control::is_on(options.control.commands);
    let mut talk = Talk::new(node.me().peer, options.until_delivered, commands);
    let begun = Instant::now();
    let result = stop.or(talk.work(&node, &invite, lines, out)).await;
    node.shutdown().await;
    let summary = Summary {
        messages: talk.sent,
        seconds: begun.elapsed().as_secs_f64(),
    };
    Ok(out.finish(result, summary, &talk.closing()))
}

/// What was done, for programs.
#[derive(Serialize)]
struct Summary {
    messages: u64,
    seconds: f64,
}

/// A line of ours has become a message, for programs.
#[derive(Serialize)]
struct Sent {
    #[serde(rename = "type")]
    kind: &'static str,
    seq: u64,
}

/// One run in a room.
struct Talk {
    me: PeerId,
    until_delivered: bool,
    /// Lines that begin with `/` are commands.
    commands: bool,
    zone: TimeZone,
    timeline: Timeline,
    /// Offers as they were shown.
    shown: BTreeMap<(PeerId, OfferId), OfferView>,
    own: Own,
    sent: u64,
    ended: bool,
    /// Why a line of ours did not become a message.
    refused: Option<Failure>,
}

/// Our newest message and who has it; who has it has all before it.
#[derive(Debug, Default)]
struct Own {
    seq: u64,
    delivered: Vec<PeerId>,
}

impl Talk {
    fn new(me: PeerId, until_delivered: bool, commands: bool) -> Self {
        Talk {
            me,
            until_delivered,
            commands,
            zone: TimeZone::system(),
            timeline: Timeline::default(),
            shown: BTreeMap::new(),
            own: Own::default(),
            sent: 0,
            ended: false,
            refused: None,
        }
    }

    async fn work(
        &mut self,
        node: &Node,
        invite: &Invite,
        lines: Lines,
        out: &mut Out,
    ) -> Result<(), Failure> {
        let changes = node.subscribe();
        let invite = invite.link();
        let room = node.join_room(JoinRoom { invite }).await?.room;
        let page = timeline::first(node, room).await?;
        self.timeline.begin(&page);
        for message in page.messages {
            self.own.take(self.me, &message);
            out.line(&message_line(&message, &self.zone))?;
            out.change(&Change::Message(message))?;
        }
        let mut watch = Watch::begin(node, changes, room, out).await?;
        let (say, mut said) = mpsc::channel(1);
        // Dropped with this future, so that nothing is sent once the run is over.
        let saying = write(node, room, lines, self.commands, say);
        tokio::pin!(saying);
        loop {
            if self.is_over(&watch.room) {
                return self.refused.clone().map_or(Ok(()), Err);
            }
            tokio::select! {
                seen = watch.next(out) => match seen? {
                    Seen::Change(change) => self.show(&change, &mut watch.room, out)?,
                    Seen::Lost => self.catch_up(node, room, out).await?,
                },
                () = &mut saying, if !self.ended => self.ended = true,
                Some(typed) = said.recv() => self.typed(typed, node, &watch.room, out).await?,
            }
            // What was said before the end of the input still counts.
            while let Ok(typed) = said.try_recv() {
                self.typed(typed, node, &watch.room, out).await?;
            }
        }
    }

    fn is_over(&self, room: &Room) -> bool {
        let linked: Vec<PeerId> = room.linked().collect();
        self.until_delivered && self.ended && self.own.is_with(&linked)
    }

    async fn typed(
        &mut self,
        typed: Typed,
        node: &Node,
        room: &Room,
        out: &mut Out,
    ) -> Result<(), Failure> {
        match typed {
            Typed::Command(line) => control::obey(&line, node, room, out).await,
            Typed::Message(Ok(seq)) => {
                self.sent += 1;
                self.own.wrote(seq);
                out.object(&Sent { kind: "sent", seq })
            }
            Typed::Message(Err(failure)) => {
                out.warn(&format!("kith: not sent: {}", failure.message));
                self.refused.get_or_insert(failure);
                Ok(())
            }
        }
    }

    fn show(&mut self, change: &Change, room: &mut Room, out: &mut Out) -> Result<(), Failure> {
        match change {
            Change::Message(message) => {
                self.own.take(self.me, message);
                if self.timeline.is_new(message) && message.author != self.me {
                    out.line(&message_line(message, &self.zone))?;
                }
            }
            Change::Person(person) => {
                if let Some(line) = room.move_of(person.peer) {
                    out.line(&line)?;
                }
            }
            Change::Offer(offer) => {
                let key = (offer.from, offer.offer);
                let from = room.name_of(offer.from);
                let line = match self.shown.get(&key) {
                    Some(before) => step_line(&from, before, offer).map(|l| format!("* {l}")),
                    None if offer.mine || offer.phase == FetchPhase::Seen => return Ok(()),
                    None => Some(offer_line(&from, offer)),
                };
                self.shown.insert(key, (**offer).clone());
                if let Some(line) = line {
                    out.line(&line)?;
                }
            }
            Change::Me(_) | Change::Room(_) | Change::RoomGone { .. } | Change::Transfers(_) => {}
        }
        Ok(())
    }

    async fn catch_up(&mut self, node: &Node, room: RoomId, out: &mut Out) -> Result<(), Failure> {
        loop {
            let pages = self.timeline.lost(node, room).await?;
            if pages.is_empty() {
                return Ok(());
            }
            for before in pages.into_iter().rev() {
                for message in timeline::read(node, room, before).await?.messages {
                    self.own.take(self.me, &message);
                    if !self.timeline.was_missed(&message) {
                        continue;
                    }
                    if message.author != self.me {
                        out.line(&message_line(&message, &self.zone))?;
                    }
                    out.change(&Change::Message(message))?;
                }
            }
        }
    }

    fn closing(&self) -> String {
        let messages = text::count(self.sent, "message", "messages");
        let people = text::count(self.own.delivered.len() as u64, "person", "people");
        format!("* Delivered {messages} to {people}")
    }
}

impl Own {
    /// A message was accepted; nobody has it yet, unless its marks came first.
    fn wrote(&mut self, seq: u64) {
        if seq > self.seq {
            self.seq = seq;
            self.delivered.clear();
        }
    }

    /// A message or its marks came.
    fn take(&mut self, me: PeerId, message: &MessageView) {
        if message.author == me && message.seq >= self.seq {
            self.seq = message.seq;
            self.delivered.clone_from(&message.delivered);
        }
    }

    /// Whether everybody who is linked, and at least somebody, has all there is.
    fn is_with(&self, linked: &[PeerId]) -> bool {
        let all = linked.iter().all(|p| self.delivered.contains(p));
        self.seq == 0 || !linked.is_empty() && all
    }
}

/// A line that was typed.
enum Typed {
    /// To be obeyed.
    Command(String),
    /// Sent as this message, or not.
    Message(Result<u64, Failure>),
}

/// Writes each line to the room, in order, and tells how it went. With `commands`, those that begin
/// with `/` are handed on instead, and a second `/` stands for one.
async fn write(
    node: &Node,
    room: RoomId,
    mut lines: Lines,
    commands: bool,
    typed: mpsc::Sender<Typed>,
) {
    while let Some(line) = lines.next().await {
        let one = match line {
            Line::Text(text) if text.trim().is_empty() => continue,
            Line::Text(text) if commands && control::is_command(&text) => Typed::Command(text),
            Line::Text(text) => {
                let text = match text.strip_prefix('/') {
                    Some(rest) if commands => rest.to_owned(),
                    Some(_) | None => text,
                };
                let sent = node.send_text(SendText { room, text }).await;
                Typed::Message(sent.map(|s| s.seq).map_err(Failure::from))
            }
            Line::TooLong => Typed::Message(Err(Failure::with(
                Code::BadRequest,
                "The line is longer than a message may be: split it.",
            ))),
            Line::NotText => Typed::Message(Err(Failure::with(
                Code::BadRequest,
                "The line is not UTF-8 text.",
            ))),
        };
        if typed.send(one).await.is_err() {
            return;
        }
    }
}

fn message_line(message: &MessageView, zone: &TimeZone) -> String {
    let (name, words) = (text::name(&message.name), text::escaped(&message.text));
    format!("[{}] {name}: {words}", text::clock(message.at, zone))
}

fn offer_line(from: &str, offer: &OfferView) -> String {
    let (name, size) = (text::name(&offer.name), text::size(offer.total));
    format!("* {from} offers {name} ({size}): use kith receive")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ADA, BOB, ME, message, offer};

    #[test]
    fn lines_read_as_promised_and_cannot_be_forged() {
        let m = message(ADA, 1, 43_380_000, "hi\n* Bob is here\x1b[2J");
        assert_eq!(
            message_line(&m, &TimeZone::UTC),
            "[12:03] Ada: hi\\n* Bob is here\\u{1b}[2J"
        );
        let o = offer("photo.jpg", &[("photo.jpg", 3_210_000)]);
        assert_eq!(
            offer_line("Ada", &o),
            "* Ada offers photo.jpg (3.2 MB): use kith receive"
        );
    }

    #[test]
    fn delivered_means_to_everybody_who_is_linked() {
        let marked = |seq, to: &[PeerId]| {
            let mut m = message(ME, seq, seq, "x");
            m.delivered = to.to_vec();
            m
        };
        let mut own = Own::default();
        assert!(own.is_with(&[]), "nothing to deliver");
        own.wrote(1);
        assert!(!own.is_with(&[]), "nobody is there");
        assert!(!own.is_with(&[ADA]));
        own.take(ME, &marked(1, &[ADA]));
        assert!(own.is_with(&[ADA]));
        assert!(!own.is_with(&[ADA, BOB]));
        own.wrote(2);
        assert!(!own.is_with(&[ADA]));
        own.take(ME, &marked(1, &[ADA, BOB]));
        assert!(
            !own.is_with(&[ADA]),
            "an older message says nothing of a newer"
        );
        own.take(ADA, &marked(9, &[ADA]));
        own.take(ME, &marked(2, &[ADA, BOB]));
        assert!(own.is_with(&[ADA, BOB]));
        // The marks may come before the word that the message was accepted.
        own.take(ME, &marked(3, &[ADA]));
        own.wrote(3);
        assert!(own.is_with(&[ADA]));
    }
}
