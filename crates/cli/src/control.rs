//! Commands for transfers, typed while a run goes on: lines that begin with `/`.

mod list;

use std::io::IsTerminal as _;

use kith_api::{
    Change, Empty, Handler as _, Limit, OfferRef, OfferView, Reorder, TransferRef,
    TransferSettings, Withdraw,
};
use kith_peer::node::Node;
use kith_protocol::{Code, PeerId};
use serde::Serialize;

use crate::args;
use crate::exit::Failure;
use crate::output::Out;
use crate::stdin::Line;
use crate::text;
use crate::watch::Room;

/// What `/help` says; a part of the help texts of the commands that take them.
pub const HELP: &str =
    "  /transfers             all transfers of the room, and the beginnings of their ids
  /pause ID [PERSON]     hold one back; of what you send also for one person alone
  /resume ID [PERSON]    let it go on, or try the disk again at once
  /cancel ID             end it: decline or give up what others send, take back what you send
  /first ID, /last ID    give a file that waits for its turn another place
  /limit RATE|off [ID]   so much per second at most: 500k, 20M; without an ID for all together,
                         each way, and kept in the profile
  /help                  this list";

/// What somebody types for a transfer.
#[derive(Debug, PartialEq, Eq)]
enum Command<'a> {
    Help,
    Transfers,
    Hold {
        held: bool,
        id: &'a str,
        person: Option<String>,
    },
    Cancel(&'a str),
    Move {
        id: &'a str,
        first: bool,
    },
    Limit(Option<u64>, Option<&'a str>),
}

/// How a command went, for programs.
#[derive(Serialize)]
struct Outcome<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    command: &'a str,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

/// Whether lines of standard input are commands: on a terminal, and where it was asked for. What
/// else stands in standard input may be meant for somebody else, as in the loop of a shell.
pub fn is_on(asked: bool) -> bool {
    asked || std::io::stdin().is_terminal()
}

/// Whether a line among others is a command; one that begins with `//` is none.
pub fn is_command(line: &str) -> bool {
    line.starts_with('/') && !line.starts_with("//")
}

/// Takes a line of a run in which nothing but commands is typed. Fails only where the output does.
pub async fn take(line: &Line, node: &Node, room: &Room, out: &mut Out) -> Result<(), Failure> {
    match line {
        Line::Text(text) if text.trim().is_empty() => Ok(()),
        Line::Text(text) => obey(text, node, room, out).await,
        Line::TooLong | Line::NotText => obey("?", node, room, out).await,
    }
}

/// Does what a line says, and tells how it went. Fails only where the output does.
pub async fn obey(line: &str, node: &Node, room: &Room, out: &mut Out) -> Result<(), Failure> {
    let done = match parse(line) {
        Ok(Command::Help) => {
            out.line(HELP)?;
            Ok(None)
        }
        Ok(Command::Transfers) => {
            show(room, out)?;
            Ok(None)
        }
        Ok(command) => act(command, node, room).await,
        Err(failure) => Err(failure),
    };
    let word = line.split_whitespace().next().unwrap_or_default();
    let failure = done.as_ref().err();
    let outcome = Outcome {
        kind: "command",
        command: word.trim_start_matches('/'),
        ok: failure.is_none(),
        code: failure.map(|f| f.name),
        message: failure.map(|f| f.message.as_str()),
    };
    out.object(&outcome)?;
    match done {
        Ok(said) => said.iter().for_each(|line| out.note(line)),
        Err(failure) => out.warn(&format!("kith: {}", text::redacted(&failure.message))),
    }
    Ok(())
}

/// All transfers: to people in lines, to programs once more whole.
fn show(room: &Room, out: &mut Out) -> Result<(), Failure> {
    for line in list::lines(room) {
        out.line(&line)?;
    }
    for offer in room.offers.values() {
        out.change(&Change::Offer(Box::new(offer.clone())))?;
    }
    Ok(())
}

/// Has the engine do it. What no change of the transfer will tell comes back.
async fn act(command: Command<'_>, node: &Node, room: &Room) -> Result<Option<String>, Failure> {
    let named = |o: &OfferView| text::name(&o.name);
    Ok(match command {
        Command::Help | Command::Transfers => None,
        Command::Hold { held, id, person } => {
            let of = list::find(room, id)?;
            let peer = person.map(|p| receiver(of, &p)).transpose()?;
            let transfer = TransferRef {
                room: room.id,
                from: of.from,
                offer: of.offer,
                peer,
            };
            match held {
                true => node.pause(transfer).await?,
                false => node.resume(transfer).await?,
            };
            None
        }
        Command::Cancel(id) => {
            let of = list::find(room, id)?;
            if of.mine {
                let (room, offer) = (room.id, of.offer);
                node.withdraw(Withdraw { room, offer }).await?;
            } else {
                node.decline(reference(of)).await?;
            }
            None
        }
        Command::Move { id, first } => {
            let of = list::find(room, id)?;
            let before = match first {
                true => Some(first_waiting(room)?),
                false => None,
            };
            let reorder = Reorder {
                room: room.id,
                from: of.from,
                offer: of.offer,
                before,
            };
            node.reorder(reorder).await?;
            let place = if first { "first" } else { "last" };
            Some(format!("{} comes {place}.", named(of)))
        }
        Command::Limit(rate, Some(id)) => {
            let of = list::find(room, id)?;
            let limit = Limit {
                room: room.id,
                from: of.from,
                offer: of.offer,
                bytes_per_s: rate,
            };
            node.limit(limit).await?;
            Some(format!("{}: {}.", named(of), text::bound(rate)))
        }
        Command::Limit(rate, None) => {
            let settings = TransferSettings {
                up: rate,
                down: rate,
                ..node.snapshot(Empty {}).await?.transfers
            };
            node.set_transfers(settings).await?;
            Some(format!("All transfers, each way: {}.", text::bound(rate)))
        }
    })
}

fn reference(of: &OfferView) -> OfferRef {
    OfferRef {
        room: of.room,
        from: of.from,
        offer: of.offer,
    }
}

/// The fetch whose turn comes next.
fn first_waiting(room: &Room) -> Result<OfferRef, Failure> {
    let waiting = room.offers.values().filter(|o| o.queued.is_some());
    let first = waiting.min_by_key(|o| o.queued);
    let first = first.ok_or_else(|| Failure::with(Code::NotNow, "No file waits for its turn."))?;
    Ok(reference(first))
}

/// Whom of those who receive an offer of ours is meant: by name, or by the beginning of the id.
fn receiver(of: &OfferView, person: &str) -> Result<PeerId, Failure> {
    let named = |r: &&kith_api::ReceiverView| {
        text::name(&r.name) == person || r.peer.to_string().starts_with(person)
    };
    let mut found = of.receivers.iter().filter(named);
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one.peer),
        (None, _) => Err(Failure::with(
            Code::BadRequest,
            format!("{:?} does not receive it.", text::name(person)),
        )),
        (Some(_), Some(_)) => Err(Failure::with(
            Code::BadRequest,
            format!(
                "{:?} is more than one person: use the id that --json shows.",
                text::name(person)
            ),
        )),
    }
}

fn parse(line: &str) -> Result<Command<'_>, Failure> {
    let mut words = line.split_whitespace();
    let name = words.next().unwrap_or_default();
    let rest: Vec<&str> = words.collect();
    let hold = |held, id, person: &[&str]| Command::Hold {
        held,
        id,
        person: (!person.is_empty()).then(|| person.join(" ")),
    };
    Ok(match (name, &rest[..]) {
        ("/help", []) => Command::Help,
        ("/transfers", []) => Command::Transfers,
        ("/pause", [id, person @ ..]) => hold(true, id, person),
        ("/resume", [id, person @ ..]) => hold(false, id, person),
        ("/cancel", [id]) => Command::Cancel(id),
        ("/first", [id]) => Command::Move { id, first: true },
        ("/last", [id]) => Command::Move { id, first: false },
        ("/limit", [rate]) => Command::Limit(bound(rate)?, None),
        ("/limit", [rate, id]) => Command::Limit(bound(rate)?, Some(id)),
        (
            "/help" | "/transfers" | "/pause" | "/resume" | "/cancel" | "/first" | "/last"
            | "/limit",
            _,
        ) => {
            let text = format!("{name} is written otherwise: see /help.");
            return Err(Failure::usage(text));
        }
        _ => {
            let text = format!("{:?} is no command: see /help.", text::name(name));
            return Err(Failure::usage(text));
        }
    })
}

fn bound(rate: &str) -> Result<Option<u64>, Failure> {
    match rate {
        "off" => Ok(None),
        rate => args::rate(rate).map(Some).map_err(|why| {
            let text = format!("{:?} is no rate: {why}.", text::name(rate));
            Failure::usage(text)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ADA, BOB, offer, receiver as view};
    use kith_api::ServePhase;

    #[test]
    fn commands_are_read_as_the_help_says() {
        let hold = |held, id, person: Option<&str>| Command::Hold {
            held,
            id,
            person: person.map(str::to_owned),
        };
        for (line, want) in [
            ("/help", Command::Help),
            ("  /transfers ", Command::Transfers),
            ("/pause x7", hold(true, "x7", None)),
            (
                "/resume x7  Ada  Lovelace",
                hold(false, "x7", Some("Ada Lovelace")),
            ),
            ("/cancel x7", Command::Cancel("x7")),
            (
                "/first x7",
                Command::Move {
                    id: "x7",
                    first: true,
                },
            ),
            (
                "/last x7",
                Command::Move {
                    id: "x7",
                    first: false,
                },
            ),
            ("/limit 5M", Command::Limit(Some(5_000_000), None)),
            ("/limit off x7", Command::Limit(None, Some("x7"))),
        ] {
            assert_eq!(parse(line).unwrap(), want, "{line}");
        }
        for bad in [
            "",
            "pause x7",
            "/",
            "/pause",
            "/cancel",
            "/cancel a b",
            "/limit",
            "/limit 5",
            "/limit fast",
            "/limit 5M a b",
            "/transfers now",
            "/\x1b[2J",
        ] {
            let failure = parse(bad).unwrap_err();
            assert_eq!(failure.name, "usage", "{bad}");
            assert!(!failure.message.contains('\x1b'), "{bad}");
            assert!(failure.message.ends_with('.'), "{failure}");
        }
    }

    #[test]
    fn every_command_stands_in_the_help() {
        for name in [
            "/transfers",
            "/pause",
            "/resume",
            "/cancel",
            "/first",
            "/last",
            "/limit",
            "/help",
        ] {
            assert!(HELP.contains(name), "{name}");
        }
    }

    #[test]
    fn a_receiver_is_meant_by_name_or_id() {
        let mut of = offer("film", &[("film", 1)]);
        of.receivers = vec![view(ADA, ServePhase::Serving, None)];
        assert_eq!(receiver(&of, "Ada").unwrap(), ADA);
        assert_eq!(receiver(&of, &ADA.to_string()).unwrap(), ADA);
        assert_eq!(receiver(&of, "Bob").unwrap_err().name, "bad-request");
        // Anybody may take a name.
        of.receivers.push(view(BOB, ServePhase::Serving, None));
        assert!(
            receiver(&of, "Ada")
                .unwrap_err()
                .message
                .contains("more than one")
        );
        assert_eq!(receiver(&of, &BOB.to_string()).unwrap(), BOB);
    }

    #[test]
    fn first_is_before_whatever_comes_next() {
        let mut room = Room::new(ADA, crate::testing::ROOM);
        assert_eq!(first_waiting(&room).unwrap_err().name, "not-now");
        for (n, queued) in [(1, None), (2, Some(2)), (3, Some(1))] {
            let mut o = offer("film", &[("film", 1)]);
            (o.offer.0, o.queued) = ([n; 16], queued);
            room.apply(&Change::Offer(Box::new(o)));
        }
        assert_eq!(first_waiting(&room).unwrap().offer.0, [3; 16]);
    }
}
