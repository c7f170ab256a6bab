//! `kith receive`: shows what is offered, asks, fetches.

pub mod lines;
mod verdict;

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::Path;
use std::time::{Duration, Instant};

use kith_api::{
    Accept, ApiError, FetchPhase, Handler as _, JoinRoom, Limit, OfferAction, OfferRef, OfferView,
    Traffic,
};
use kith_peer::node::Node;
use kith_protocol::{Code, Invite, OfferId, PeerId};
use serde::Serialize;

use crate::args::{Global, Receive};
use crate::control;
use crate::exit::Failure;
use crate::invite;
use crate::output::Out;
use crate::progress::Progress;
use crate::signals::Stop;
use crate::stdin::{Line, Lines};
use crate::text;
use crate::watch::{Room, Watch};
use lines::{closing, failure, is_yes, show, step_line, sum};
use verdict::{Verdict, verdict};

/// `kith receive`.
pub async fn run(
    options: Receive,
    global: &Global,
    stop: &mut Stop,
    out: &mut Out,
) -> Result<u8, Failure> {
    let unasked = options.yes || !options.accept_from.is_empty();
    if !unasked && !std::io::stdin().is_terminal() {
        return Err(Failure::usage(
            "There is no terminal to ask on: use --yes to take everything that is offered.",
        ));
    }
    let dir = folder(&options.into)?;
    let mut lines = Lines::default();
    let invite = stop
        .or(invite::given(options.invite.as_ref(), &mut lines))
        .await?;
    let node = global.start(stop).await?;
    let mut receiving = Receiving::new(dir, &options);
    let result = stop
        .or(receiving.work(&node, &invite, &mut lines, out))
        .await;
    if receiving.asking.is_some() {
        // The cursor still stands behind the question.
        out.warn("");
    }
    node.shutdown().await;
    Ok(out.finish(result, receiving.summary(), &receiving.closing()))
}

const QUESTION: &str = "Accept? [y/N]";

type Key = (PeerId, OfferId);

/// One run.
struct Receiving {
    dir: String,
    yes: bool,
    stay: bool,
    /// Whose offers are taken without asking, and how large they may be.
    from: Vec<PeerId>,
    most: Option<u64>,
    limit: Option<u64>,
    wait: bool,
    /// There is somebody to ask.
    asks: bool,
    /// Lines of standard input are commands, until it ends.
    commands: bool,
    offers: BTreeMap<Key, Standing>,
    asking: Option<Key>,
    progress: Progress,
    began: Option<Instant>,
    took: Duration,
}

/// An offer and what became of it in this run.
#[derive(Debug)]
struct Standing {
    view: OfferView,
    /// Who offers it is connected.
    linked: bool,
    answer: Answer,
    /// It was shown to the user.
    shown: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// Not asked yet.
    Open,
    /// Yes, and the engine is to be told.
    Yes,
    /// Yes, and the engine knows.
    Accepted,
    /// No, and the engine is to be told.
    No,
    /// No, and the engine knows.
    Refused,
}

/// What was done, for programs.
#[derive(Serialize)]
struct Summary<'a> {
    bytes: u64,
    seconds: f64,
    rate: f64,
    traffic: Traffic,
    offers: Vec<&'a OfferView>,
}

impl Receiving {
    fn new(dir: String, options: &Receive) -> Self {
        Receiving {
            dir,
            yes: options.yes,
            stay: options.stay,
            from: options.accept_from.clone(),
            most: options.accept_most,
            limit: options.limit,
            wait: options.wait,
            asks: !options.yes && std::io::stdin().is_terminal(),
            commands: control::is_on(options.control.commands),
            offers: BTreeMap::new(),
            asking: None,
            progress: Progress::default(),
            began: None,
            took: Duration::ZERO,
        }
    }

    async fn work(
        &mut self,
        node: &Node,
        invite: &Invite,
        lines: &mut Lines,
        out: &mut Out,
    ) -> Result<(), Failure> {
        let changes = node.subscribe();
        let invite = invite.link();
        let room = node.join_room(JoinRoom { invite }).await?.room;
        let mut watch = Watch::begin(node, changes, room, out).await?;
        out.note("Waiting for files.");
        loop {
            self.take(&watch.room, out);
            self.decide(node, &watch.room, out).await?;
            match verdict(self.offers.values(), self.stay, self.wait) {
                Verdict::Wait => {}
                Verdict::Done => return Ok(()),
                Verdict::Failed(code) => return Err(failure(code)),
                Verdict::Declined => {
                    return Err(Failure::with(Code::Declined, "Nothing was received."));
                }
            }
            tokio::select! {
                seen = watch.next(out) => watch.note(&seen?, out),
                line = lines.next(), if self.asking.is_some() || self.commands => {
                    self.typed(line, node, &watch.room, out).await?;
                }
            }
        }
    }

    /// Takes over how the offers of others stand now.
    fn take(&mut self, room: &Room, out: &mut Out) {
        let others = room.offers.iter().filter(|(_, o)| !o.mine);
        for (key, view) in others {
            let linked = room.linked().any(|p| p == view.from);
            let standing = self
                .offers
                .entry(*key)
                .or_insert_with(|| Standing::new(view));
            standing.linked = linked;
            if standing.view == *view && standing.shown {
                continue;
            }
            let from = room.name_of(view.from);
            // A failure that ends the run is said at its end.
            let blocked = view.phase == FetchPhase::Blocked && !self.wait;
            let ends = (view.phase == FetchPhase::Failed || blocked) && !self.stay;
            let line = step_line(&from, &standing.view, view).filter(|_| !ends);
            let before = std::mem::replace(&mut standing.view, view.clone()).phase;
            match view.phase {
                FetchPhase::Fetching => {
                    let label = text::name(&view.name);
                    self.progress
                        .update(*key, &label, view.done, view.total, out);
                }
                // Announced again: what was answered still holds.
                FetchPhase::Withdrawn | FetchPhase::Failed => {
                    self.progress.end(*key);
                    if standing.answer == Answer::Accepted {
                        standing.answer = Answer::Yes;
                    }
                }
                FetchPhase::Done if before != FetchPhase::Done => {
                    self.progress.end(*key);
                    self.took = self.began.map_or(Duration::ZERO, |b| b.elapsed());
                }
                // What rests has no rate.
                FetchPhase::Queued
                | FetchPhase::Paused
                | FetchPhase::Blocked
                | FetchPhase::Declined => self.progress.end(*key),
                FetchPhase::Seen
                | FetchPhase::Offered
                | FetchPhase::Accepted
                | FetchPhase::Stalled
                | FetchPhase::Done => {}
            }
            // After the bar is gone, or it would be drawn once more below.
            if let Some(line) = line {
                out.note(&line);
            }
        }
    }

    /// Shows what is new, asks about it or tells the engine what was answered.
    async fn decide(&mut self, node: &Node, room: &Room, out: &mut Out) -> Result<(), Failure> {
        if let Some(asking) = self.asking
            && self.offers.get(&asking).is_none_or(|s| !s.is_open())
        {
            self.asking = None;
            out.warn("");
        }
        for (key, standing) in &mut self.offers {
            if standing.is_open() && !standing.shown {
                standing.shown = true;
                for line in show(&room.name_of(key.0), &standing.view) {
                    // Whoever is asked must see about what.
                    if self.yes {
                        out.note(&line);
                    } else {
                        out.warn(&line);
                    }
                }
            }
            let fits = self.most.is_none_or(|most| standing.view.total <= most);
            let unasked = fits && (self.yes || self.from.contains(&key.0));
            if standing.is_open() && unasked {
                standing.answer = Answer::Yes;
            } else if standing.is_open() && !self.asks {
                standing.answer = Answer::No;
            }
            if standing.is_open() && self.asking.is_none() {
                self.asking = Some(*key);
                out.ask(QUESTION);
            }
            let accept = standing.view.can.contains(&OfferAction::Accept);
            if standing.answer == Answer::Yes
                && standing.view.phase == FetchPhase::Offered
                && accept
            {
                self.began.get_or_insert_with(Instant::now);
                let (from, offer) = *key;
                let accept = Accept {
                    room: room.id,
                    from,
                    offer,
                    dir: self.dir.clone(),
                };
                if still_there(node.accept(accept).await)? {
                    standing.answer = Answer::Accepted;
                    if self.limit.is_some() {
                        let limit = Limit {
                            room: room.id,
                            from,
                            offer,
                            bytes_per_s: self.limit,
                        };
                        still_there(node.limit(limit).await)?;
                    }
                }
            }
            let decline = standing.view.can.contains(&OfferAction::Decline);
            if standing.answer == Answer::No
                && standing.view.phase == FetchPhase::Offered
                && decline
            {
                let (from, offer) = *key;
                let decline = OfferRef {
                    room: room.id,
                    from,
                    offer,
                };
                still_there(node.decline(decline).await)?;
                standing.answer = Answer::Refused;
            }
        }
        Ok(())
    }

    /// Takes a line: a command, or the answer to the question.
    async fn typed(
        &mut self,
        line: Option<Line>,
        node: &Node,
        room: &Room,
        out: &mut Out,
    ) -> Result<(), Failure> {
        let answers = match &line {
            Some(Line::Text(text)) => !(self.commands && control::is_command(text)),
            Some(Line::TooLong | Line::NotText) => true,
            None => {
                self.commands = false;
                true
            }
        };
        match line {
            Some(line) if self.asking.is_none() || !answers => {
                control::take(&line, node, room, out).await?;
                if self.asking.is_some() {
                    out.ask(QUESTION);
                }
            }
            line => self.answer(line, out),
        }
        Ok(())
    }

    fn answer(&mut self, line: Option<Line>, out: &mut Out) {
        let Some(standing) = self.asking.take().and_then(|key| self.offers.get_mut(&key)) else {
            return;
        };
        if line.is_none() {
            // No more answers will come; the cursor still stands behind the question.
            out.warn("");
        }
        standing.answer = if is_yes(line.as_ref()) {
            Answer::Yes
        } else {
            Answer::No
        };
    }

    fn done(&self) -> impl Iterator<Item = &OfferView> {
        let views = self.offers.values().map(|s| &s.view);
        views.filter(|v| v.phase == FetchPhase::Done)
    }

    fn summary(&self) -> Summary<'_> {
        let traffic = sum(self.offers.values().map(|s| s.view.traffic));
        let seconds = self.took.as_secs_f64();
        Summary {
            bytes: self.done().map(|v| v.total).sum(),
            seconds,
            rate: if seconds > 0.0 {
                traffic.received as f64 / seconds
            } else {
                0.0
            },
            traffic,
            offers: self.offers.values().map(|s| &s.view).collect(),
        }
    }

    fn closing(&self) -> String {
        closing(&self.done().collect::<Vec<_>>(), self.took, &self.dir)
    }
}

impl Standing {
    fn new(view: &OfferView) -> Self {
        Standing {
            view: view.clone(),
            linked: false,
            answer: Answer::Open,
            shown: false,
        }
    }

    /// Waits for the user's word.
    fn is_open(&self) -> bool {
        self.answer == Answer::Open && self.view.phase == FetchPhase::Offered
    }
}

/// The folder to write into, as the engine takes it.
fn folder(path: &Path) -> Result<String, Failure> {
    let shown = text::name(&path.display().to_string());
    if std::fs::metadata(path).is_ok_and(|m| !m.is_dir()) {
        let text = format!("{shown} is not a folder: choose another with --into.");
        return Err(Failure::with(Code::DiskDenied, text));
    }
    let full = std::path::absolute(path)
        .map_err(|e| Failure::with(Code::DiskDenied, format!("{shown} cannot be used: {e}.")))?;
    full.into_os_string().into_string().map_err(|_| {
        Failure::usage(format!(
            "The name of {shown} is not UTF-8: choose another with --into."
        ))
    })
}

/// An offer may go away while it is answered; its next view says so.
fn still_there<T>(result: Result<T, ApiError>) -> Result<bool, Failure> {
    match result {
        Ok(_) => Ok(true),
        Err(e) if e.code == Code::NotNow => Ok(false),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests;
