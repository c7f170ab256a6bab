//! `kith send`: offers files and ends when enough receivers have them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kith_api::{
    CreateRoom, FetchPhase, Handler as _, JoinRoom, Limit, OfferFiles, OfferView, Paused,
    ReceiverView, ServePhase, Strategy, Traffic,
};
use kith_peer::node::Node;
use kith_protocol::invite::ServerAddr;
use kith_protocol::{Code, Invite, PeerId, RoomId};
use serde::Serialize;

use crate::args::{Global, Send};
use crate::control;
use crate::exit::Failure;
use crate::invite;
use crate::output::Out;
use crate::progress::Progress;
use crate::signals::Stop;
use crate::stdin::Lines;
use crate::text;
use crate::watch::Watch;

/// `kith send`.
pub async fn run(
    options: Send,
    global: &Global,
    stop: &mut Stop,
    out: &mut Out,
) -> Result<u8, Failure> {
    let paths = options
        .paths
        .iter()
        .map(|p| checked(p))
        .collect::<Result<Vec<_>, _>>()?;
    let mut lines = Lines::default();
    let place = stop.or(place(&options, &mut lines)).await?;
    let node = global.start(stop).await?;
    let commands = control::is_on(options.control.commands);
    let mut sending = Sending::new(options.receivers, commands);
    let strategy = options.strategy.of(options.receivers);
    let result = stop
        .or(sending.work(
            &node,
            place,
            paths,
            (options.note, strategy, options.limit),
            lines,
            out,
        ))
        .await;
    node.shutdown().await;
    let (summary, closing) = (sending.summary(), sending.closing());
    Ok(out.finish(result, summary, &closing))
}

/// Where to send.
enum Place {
    /// In the room of an invite.
    Room(Box<Invite>),
    /// In a new room of a server.
    NewRoom(ServerAddr),
}

/// What was left out of the offer, for programs.
#[derive(Serialize)]
struct Skipped<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    message: &'a str,
}

/// What was done, for programs.
#[derive(Serialize)]
struct Summary {
    entries: u32,
    bytes: u64,
    seconds: f64,
    rate: f64,
    traffic: Traffic,
    receivers: Vec<ReceiverView>,
}

/// One run.
struct Sending {
    wanted: u32,
    offer: Option<OfferView>,
    /// How each receiver stood, and who held it back.
    stood: BTreeMap<PeerId, (ServePhase, Paused)>,
    /// Lines of standard input are commands, until it ends.
    commands: bool,
    progress: Progress,
    /// From the first receiver that was there to the last that was done.
    began: Option<Instant>,
    took: Duration,
}

/// What the state of the receivers means for the run.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Wait,
    Done,
    Failed(Code),
}

impl Sending {
    fn new(wanted: u32, commands: bool) -> Self {
        Sending {
            wanted,
            offer: None,
            stood: BTreeMap::new(),
            commands,
            progress: Progress::default(),
            began: None,
            took: Duration::ZERO,
        }
    }

    async fn work(
        &mut self,
        node: &Node,
        place: Place,
        paths: Vec<String>,
        (note, strategy, limit): (Option<String>, Option<Strategy>, Option<u64>),
        mut lines: Lines,
        out: &mut Out,
    ) -> Result<(), Failure> {
        let changes = node.subscribe();
        let room = enter(node, place, out).await?;
        let to = Vec::new();
        let offered = node
            .offer(OfferFiles {
                room,
                to,
                paths,
                note,
                strategy,
            })
            .await?;
        if limit.is_some() {
            let (from, offer) = (node.me().peer, offered.offer);
            let limit = Limit {
                room,
                from,
                offer,
                bytes_per_s: limit,
            };
            node.limit(limit).await?;
        }
        for message in &offered.skipped {
            out.note(&format!("Left out: {}", text::escaped(message)));
            let kind = "skipped";
            out.object(&Skipped { kind, message })?;
        }
        let receivers = text::count(self.wanted.into(), "receiver", "receivers");
        out.note(&format!("Waiting for {receivers}."));
        let mut watch = Watch::begin(node, changes, room, out).await?;
        let key = (watch.room.me, offered.offer);
        loop {
            if let Some(offer) = watch.room.offers.get(&key).cloned() {
                self.take(offer, out);
            }
            match self.verdict() {
                Verdict::Wait => {}
                Verdict::Done => return Ok(()),
                Verdict::Failed(code) => return Err(Failure::of(code)),
            }
            tokio::select! {
                seen = watch.next(out) => watch.note(&seen?, out),
                line = lines.next(), if self.commands => match line {
                    Some(line) => control::take(&line, node, &watch.room, out).await?,
                    None => self.commands = false,
                },
            }
        }
    }

    fn take(&mut self, offer: OfferView, out: &mut Out) {
        for r in &offer.receivers {
            let before = self.stood.insert(r.peer, (r.phase, r.paused));
            let key = (r.peer, offer.offer);
            if r.phase == ServePhase::Serving {
                // Those who think about it are not part of the time it takes.
                self.began.get_or_insert_with(Instant::now);
                let name = text::name(&r.name);
                self.progress.update(key, &name, r.done, offer.total, out);
            } else {
                self.progress.end(key);
            }
            if r.phase == ServePhase::Done && before.is_none_or(|b| b.0 != ServePhase::Done) {
                self.took = self.began.get_or_insert_with(Instant::now).elapsed();
            }
            if let Some(line) = receiver_line(before, r) {
                out.note(&line);
            }
        }
        self.offer = Some(offer);
    }

    fn verdict(&self) -> Verdict {
        match &self.offer {
            None => Verdict::Wait,
            Some(offer) if offer.phase == FetchPhase::Withdrawn => {
                Verdict::Failed(offer.why.unwrap_or(Code::Cancelled))
            }
            Some(offer) => verdict(&offer.receivers, self.wanted),
        }
    }

    fn traffic(&self) -> Traffic {
        self.offer
            .as_ref()
            .map_or_else(Traffic::default, |o| o.traffic)
    }

    fn summary(&self) -> Summary {
        let offer = self.offer.as_ref();
        let seconds = self.took.as_secs_f64();
        let sent = self.traffic().sent as f64;
        Summary {
            entries: offer.map_or(0, |o| o.entries),
            bytes: offer.map_or(0, |o| o.total),
            seconds,
            rate: if seconds > 0.0 { sent / seconds } else { 0.0 },
            traffic: self.traffic(),
            receivers: offer.map_or_else(Vec::new, |o| o.receivers.clone()),
        }
    }

    fn closing(&self) -> String {
        let Some(offer) = &self.offer else {
            return String::new();
        };
        let done = offer
            .receivers
            .iter()
            .filter(|r| r.phase == ServePhase::Done);
        closing(offer, done.count() as u64, self.took)
    }
}

/// Enters the room, or makes it and shows the invite.
async fn enter(node: &Node, place: Place, out: &mut Out) -> Result<RoomId, Failure> {
    match place {
        Place::Room(invite) => {
            let invite = invite.link();
            Ok(node.join_room(JoinRoom { invite }).await?.room)
        }
        Place::NewRoom(server) => {
            let server = server.to_string();
            let created = node.create_room(CreateRoom { server }).await?;
            out.note("Give this invite to whoever shall receive:");
            invite::show(&created.invite, out)?;
            Ok(created.room)
        }
    }
}

/// The options go before the environment, and an invite before a server.
async fn place(options: &Send, lines: &mut Lines) -> Result<Place, Failure> {
    let env = |name| std::env::var(name).ok().filter(|v| !v.trim().is_empty());
    if options.to.is_none() {
        if let Some(server) = &options.server {
            return invite::server_of(server).map(Place::NewRoom);
        }
        if env(invite::ENV).is_none() {
            let server = env("KITH_SERVER").ok_or_else(|| {
                Failure::usage(
                    "Say where to send: --to INVITE for a room that is there, or --server URL to \
                     make one.",
                )
            })?;
            return invite::server_of(&server).map(Place::NewRoom);
        }
    }
    let given = invite::given(options.to.as_ref(), lines).await?;
    Ok(Place::Room(Box::new(given)))
}

/// A path that can be sent, as the engine takes it.
fn checked(path: &Path) -> Result<String, Failure> {
    let shown = text::name(&path.display().to_string());
    let gone = |e: std::io::Error| {
        let why = if e.kind() == std::io::ErrorKind::NotFound {
            "does not exist".to_owned()
        } else if e.kind() == std::io::ErrorKind::PermissionDenied {
            "may not be read".to_owned()
        } else {
            format!("cannot be read: {e}")
        };
        Failure::with(Code::SourceGone, format!("{shown} {why}."))
    };
    let full = resolved(path).map_err(gone)?;
    let kind = std::fs::metadata(&full).map_err(gone)?;
    if kind.is_dir() {
        std::fs::read_dir(&full).map_err(gone)?;
    } else if kind.is_file() {
        std::fs::File::open(&full).map_err(gone)?;
    } else {
        let text = format!("{shown} is neither a file nor a folder.");
        return Err(Failure::with(Code::SourceGone, text));
    }
    full.into_os_string().into_string().map_err(|_| {
        let text = format!("The name of {shown} is not UTF-8: rename it.");
        Failure::with(Code::SourceGone, text)
    })
}

/// Absolute, and with a name of its own: `.` and `..` get that of the folder they stand for.
fn resolved(path: &Path) -> std::io::Result<PathBuf> {
    match path.file_name() {
        // `a/.` has a file name and no use for the dot.
        Some(_) => std::path::absolute(path),
        None => path.canonicalize(),
    }
}

/// Done is when enough have everything and nobody who accepted is half-way. Whoever declines or
/// fails may come back, so they end nothing; a file that is gone is gone for everybody.
fn verdict(receivers: &[ReceiverView], wanted: u32) -> Verdict {
    let any = |phase| receivers.iter().any(|r| r.phase == phase);
    let source = receivers.iter().find_map(|r| {
        let failed = r.phase == ServePhase::Failed;
        let ours = |c: &Code| matches!(c, Code::SourceChanged | Code::SourceGone);
        r.why.filter(ours).filter(|_| failed)
    });
    let done = receivers.iter().filter(|r| r.phase == ServePhase::Done);
    match source {
        _ if any(ServePhase::Serving) => Verdict::Wait,
        Some(code) => Verdict::Failed(code),
        None if any(ServePhase::Stalled)
            || any(ServePhase::Queued)
            || any(ServePhase::Waiting)
            || any(ServePhase::Paused)
            || any(ServePhase::Blocked) =>
        {
            Verdict::Wait
        }
        None if done.count() as u64 >= u64::from(wanted) => Verdict::Done,
        None => Verdict::Wait,
    }
}

/// What to say when a receiver comes to stand otherwise.
fn receiver_line(before: Option<(ServePhase, Paused)>, r: &ReceiverView) -> Option<String> {
    let (was, paused) = before.unzip();
    if was == Some(r.phase) && (r.phase != ServePhase::Paused || paused == Some(r.paused)) {
        return None;
    }
    let name = text::name(&r.name);
    let why = |otherwise: Code| r.why.unwrap_or(otherwise).text();
    Some(match r.phase {
        ServePhase::Offered => format!("{name} sees the offer."),
        ServePhase::Queued => format!("{name} takes it when its turn comes."),
        ServePhase::Paused => format!("{name}: {}.", text::paused(r.paused, "them")),
        ServePhase::Blocked => format!("{name}: {}", why(Code::DiskError)),
        ServePhase::Waiting => format!("{name} accepts, and waits for the others."),
        ServePhase::Serving => match was {
            Some(ServePhase::Waiting | ServePhase::Queued) => format!("{name} is next."),
            Some(ServePhase::Stalled) => format!("{name} is back; going on."),
            Some(ServePhase::Paused | ServePhase::Blocked) => format!("{name}: going on."),
            Some(
                ServePhase::Offered
                | ServePhase::Serving
                | ServePhase::Done
                | ServePhase::Declined
                | ServePhase::Failed,
            )
            | None => format!("{name} accepts."),
        },
        ServePhase::Stalled => {
            format!("{name}: the connection is lost; going on when it is back.")
        }
        ServePhase::Done => format!("{name} has everything, checked."),
        ServePhase::Declined => match r.why {
            None | Some(Code::Declined) => format!("{name} does not want it."),
            Some(code) => format!("{name} does not take it: {}", code.text()),
        },
        ServePhase::Failed => format!("{name}: {}", why(Code::LinkLost)),
    })
}

/// `Sent 3 files, 300 MB to 1 receiver in 1.2 s (250 MB/s).`
fn closing(offer: &OfferView, done: u64, took: Duration) -> String {
    let rate = text::rate(offer.traffic.sent, took).map_or_else(String::new, |r| format!(" ({r})"));
    format!(
        "Sent {}, {} to {} in {}{rate}.",
        text::contents(offer),
        text::size(offer.total),
        text::count(done, "receiver", "receivers"),
        text::duration(took),
    )
}

#[cfg(test)]
mod tests;
