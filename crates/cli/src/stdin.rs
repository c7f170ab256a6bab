//! Lines of standard input, bounded.

use std::io::{self, BufRead, IsTerminal as _, Read as _};

use kith_protocol::limits::MAX_TEXT;
use tokio::sync::mpsc;

/// Lines read ahead of whoever takes them.
const AHEAD: usize = 16;

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// Without its line ending.
    Text(String),
    /// Longer than a message may be; skipped to its end.
    TooLong,
    /// Not UTF-8.
    NotText,
}

/// The lines of standard input as they come.
///
/// A thread of its own reads, as a read of a terminal cannot be taken back: the process can end
/// while it waits.
#[derive(Debug, Default)]
pub struct Lines {
    lines: Option<mpsc::Receiver<Line>>,
}

impl Lines {
    /// The next line; `None` at the end. Cancel-safe. The first call starts the reading.
    pub async fn next(&mut self) -> Option<Line> {
        self.lines.get_or_insert_with(start).recv().await
    }
}

fn start() -> mpsc::Receiver<Line> {
    let (tx, rx) = mpsc::channel(AHEAD);
    let reader = move || {
        let mut input = io::stdin().lock();
        loop {
            wait_for_ground(&input);
            let Ok(Some(line)) = read(&mut input, MAX_TEXT) else {
                return;
            };
            if tx.blocking_send(line).is_err() {
                return;
            }
        }
    };
    if let Err(e) = std::thread::Builder::new()
        .name("stdin".into())
        .spawn(reader)
    {
        tracing::error!(error = %e, "standard input cannot be read");
    }
    rx
}

/// Returns once a terminal has something to read, and for us: a process in the background that
/// reads its terminal is stopped by the system, and may have files to send.
#[cfg(unix)]
fn wait_for_ground(input: &io::StdinLock<'_>) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let look = Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    while input.is_terminal() {
        let ours = rustix::termios::tcgetpgrp(input);
        if ours.is_ok_and(|group| group != rustix::process::getpgrp()) {
            std::thread::sleep(std::time::Duration::from_secs(1));
            continue;
        }
        let mut fds = [PollFd::new(input, PollFlags::IN)];
        match poll(&mut fds, Some(&look)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            // Also where it cannot be told: reading then says why.
            Ok(_) | Err(_) => return,
        }
    }
}

#[cfg(not(unix))]
fn wait_for_ground(_: &io::StdinLock<'_>) {}

/// Reads one line of at most `most` bytes; `None` at the end.
fn read(input: &mut impl BufRead, most: usize) -> io::Result<Option<Line>> {
    let mut bytes = Vec::new();
    // Room for a line ending of two bytes.
    let limit = most as u64 + 2;
    if input.by_ref().take(limit).read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    let ended = bytes.ends_with(b"\n");
    if ended {
        bytes.pop();
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
    }
    if !ended && bytes.len() as u64 == limit {
        input.skip_until(b'\n')?;
        return Ok(Some(Line::TooLong));
    }
    if bytes.len() > most {
        return Ok(Some(Line::TooLong));
    }
    Ok(Some(
        String::from_utf8(bytes).map_or(Line::NotText, Line::Text),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(input: &[u8], most: usize) -> Vec<Line> {
        let mut input = input;
        std::iter::from_fn(|| read(&mut input, most).unwrap()).collect()
    }

    #[test]
    fn lines_are_bounded_and_complete() {
        let text = |t: &str| Line::Text(t.into());
        assert_eq!(all(b"", 4), []);
        assert_eq!(all(b"ab\r\n\ncd", 4), [text("ab"), text(""), text("cd")]);
        assert_eq!(
            all(b"abcd\nabcde\nx\n", 4),
            [text("abcd"), Line::TooLong, text("x")]
        );
        assert_eq!(all(b"abcdefghijkl\nx", 4), [Line::TooLong, text("x")]);
        assert_eq!(all(b"abcdef", 4), [Line::TooLong]);
        assert_eq!(all(b"\xff\nok\n", 4), [Line::NotText, text("ok")]);
    }
}
