//! Where lines go: results to stdout, notices and errors to stderr.
//!
//! With `--json` stdout carries one JSON object per line and nothing else, and stderr only what
//! goes wrong. Nothing here panics when a reader goes away.

use std::io::{self, IsTerminal as _, Write};

use indicatif::MultiProgress;
use kith_api::Change;
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::text;

/// The two streams of one run.
pub struct Out {
    json: bool,
    stdout: Box<dyn Write + Send>,
    stderr: Box<dyn Write + Send>,
    bars: Option<MultiProgress>,
}

#[derive(Serialize)]
struct Summary<T: Serialize> {
    #[serde(rename = "type")]
    kind: &'static str,
    ok: bool,
    #[serde(flatten)]
    body: T,
}

#[derive(Serialize)]
struct ErrorLine<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    code: &'a str,
    message: &'a str,
    exit: u8,
}

impl Out {
    /// To the process's own streams.
    pub fn new(json: bool) -> Self {
        let bars = (!json && io::stderr().is_terminal()).then(MultiProgress::new);
        Out {
            json,
            stdout: Box::new(io::stdout()),
            stderr: Box::new(io::stderr()),
            bars,
        }
    }

    /// Without a word on stderr, where it has been told already.
    pub fn quiet(mut self) -> Self {
        self.stderr = Box::new(io::sink());
        self
    }

    /// To other streams.
    #[cfg(test)]
    pub fn to(json: bool, stdout: Box<dyn Write + Send>, stderr: Box<dyn Write + Send>) -> Self {
        Out {
            json,
            stdout,
            stderr,
            bars: None,
        }
    }

    /// Whether programs read this.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Where progress bars are drawn, if there is a terminal for them.
    pub fn bars(&self) -> Option<&MultiProgress> {
        self.bars.as_ref()
    }

    /// A result for people; left out with `--json`.
    pub fn line(&mut self, line: &str) -> Result<(), Failure> {
        if self.json {
            return Ok(());
        }
        self.write(line)
    }

    /// A result for programs; left out without `--json`.
    pub fn object(&mut self, object: &impl Serialize) -> Result<(), Failure> {
        if !self.json {
            return Ok(());
        }
        let line = serde_json::to_string(object)
            .map_err(|e| Failure::unexpected(format!("A result cannot be written: {e}.")))?;
        self.write(&line)
    }

    /// A change for programs, without the secret of the room.
    pub fn change(&mut self, change: &Change) -> Result<(), Failure> {
        match change {
            Change::Room(room) => {
                let mut room = room.clone();
                room.invite = text::redacted(&room.invite);
                self.object(&Change::Room(room))
            }
            Change::Me(_)
            | Change::RoomGone { .. }
            | Change::Person(_)
            | Change::Message(_)
            | Change::Offer(_)
            | Change::Transfers(_) => self.object(change),
        }
    }

    /// Something people may want to know while they wait.
    pub fn note(&mut self, line: &str) {
        if !self.json {
            self.warn(line);
        }
    }

    /// Something people should know, also those who watch a program at work.
    pub fn warn(&mut self, line: &str) {
        self.above_bars(|out| {
            // Nobody is left to tell when this fails.
            let _ = writeln!(out.stderr, "{line}").and_then(|()| out.stderr.flush());
        });
    }

    /// Asks on stderr; the answer comes on the same line.
    pub fn ask(&mut self, question: &str) {
        self.above_bars(|out| {
            let _ = write!(out.stderr, "{question} ").and_then(|()| out.stderr.flush());
        });
    }

    /// The last words: what was done, or why not. Gives the exit code.
    pub fn finish(&mut self, result: Result<(), Failure>, body: impl Serialize, human: &str) -> u8 {
        self.clear_bars();
        let summary = Summary {
            kind: "summary",
            ok: result.is_ok(),
            body,
        };
        let told = match &result {
            Ok(()) => self.line(human).and_then(|()| self.object(&summary)),
            Err(failure) => {
                self.failure(failure);
                // When stdout is gone, stderr has been told.
                let _ = self.object(&summary);
                Ok(())
            }
        };
        match (result, told) {
            // A reader that is gone before the last line does not undo what was done.
            (Ok(()), Ok(())) => 0,
            (Ok(()), Err(e)) if e.exit == Exit::Interrupted => 0,
            (Ok(()), Err(e)) | (Err(e), _) => e.exit as u8,
        }
    }

    /// Says why a run failed.
    fn failure(&mut self, failure: &Failure) {
        self.clear_bars();
        if !failure.message.is_empty() {
            self.warn(&format!("kith: {}", text::redacted(&failure.message)));
        }
        let line = ErrorLine {
            kind: "error",
            code: failure.name,
            message: &text::redacted(&failure.message),
            exit: failure.exit as u8,
        };
        // When stdout is gone, stderr has been told.
        let _ = self.object(&line);
    }

    fn clear_bars(&mut self) {
        if let Some(bars) = &self.bars {
            let _ = bars.clear();
        }
    }

    fn write(&mut self, line: &str) -> Result<(), Failure> {
        let mut result = Ok(());
        self.above_bars(|out| {
            result = writeln!(out.stdout, "{line}").and_then(|()| out.stdout.flush());
        });
        result.map_err(|e| {
            if e.kind() == io::ErrorKind::BrokenPipe {
                // As in a pipe to `head`: whoever reads has seen enough.
                return Failure::interrupted();
            }
            Failure::unexpected(format!("The output cannot be written: {e}."))
        })
    }

    fn above_bars(&mut self, act: impl FnOnce(&mut Self)) {
        match self.bars.clone() {
            Some(bars) => bars.suspend(|| act(self)),
            None => act(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Shared, room};
    use kith_api::SessionPhase;
    use kith_protocol::Code;

    fn out(json: bool) -> (Out, Shared, Shared) {
        let (a, b) = (Shared::default(), Shared::default());
        let out = Out::to(json, Box::new(a.clone()), Box::new(b.clone()));
        (out, a, b)
    }

    #[test]
    fn people_and_programs_get_their_own() {
        let (mut o, stdout, stderr) = out(false);
        o.line("hello").unwrap();
        o.object(&1).unwrap();
        o.note("psst");
        assert_eq!(o.finish(Ok(()), serde_json::json!({"n": 1}), "Done."), 0);
        assert_eq!(stdout.text(), "hello\nDone.\n");
        assert_eq!(stderr.text(), "psst\n");

        let (mut o, stdout, stderr) = out(true);
        o.line("hello").unwrap();
        o.note("psst");
        assert_eq!(o.finish(Ok(()), serde_json::json!({"n": 1}), "Done."), 0);
        assert_eq!(
            stdout.text(),
            "{\"type\":\"summary\",\"ok\":true,\"n\":1}\n"
        );
        assert_eq!(stderr.text(), "");
    }

    #[test]
    fn a_failure_comes_before_its_summary() {
        let (mut o, stdout, stderr) = out(true);
        let failure = Err(Failure::of(Code::DiskFull));
        assert_eq!(o.finish(failure, serde_json::json!({}), "Done."), 7);
        let text = stdout.text();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with(r#"{"type":"error","code":"disk-full","message":"The disk"#));
        assert!(lines[0].ends_with(r#""exit":7}"#));
        assert_eq!(lines[1], r#"{"type":"summary","ok":false}"#);
        assert!(stderr.text().starts_with("kith: The disk is full."));
    }

    #[test]
    fn the_secret_of_a_room_is_not_told() {
        let (mut o, stdout, _) = out(true);
        let mut view = room(SessionPhase::Joined, None);
        view.invite = "kith://a/j#v1.secret.x".into();
        o.change(&Change::Room(view)).unwrap();
        assert!(stdout.text().contains(r#""invite":"kith://a/j#…""#));
    }

    #[test]
    fn a_reader_that_leaves_ends_the_run_quietly() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let stderr = Shared::default();
        let mut o = Out::to(false, Box::new(Gone), Box::new(stderr.clone()));
        let failure = o.line("hello").unwrap_err();
        assert_eq!(failure, Failure::interrupted());
        assert_eq!(o.finish(Err(failure), (), ""), 130);
        // What was done stays done.
        assert_eq!(o.finish(Ok(()), (), "Done."), 0);
        assert_eq!(stderr.text(), "");
    }
}
