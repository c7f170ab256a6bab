//! From the start of the process to pixels.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use kith_tests::window::{PATIENCE, Screen};
use rustix::process::{Pid, Signal, kill_process};

use crate::scene::Scene;

/// The screen is looked at this often.
const LOOK: Duration = Duration::from_millis(4);
/// A picture that stays so long is whole.
const STAYS: Duration = Duration::from_secs(2);
/// Only every so many lines are looked at.
const EVERY: u64 = 8;
/// A window in which nothing is drawn yet has one colour; smooth letters have dozens.
const COLOURS: usize = 32;
/// The part of the pixels that may still change in a picture that is whole: a caret blinks.
const MAY_CHANGE: f64 = 0.001;

/// Milliseconds from before the process was made.
pub struct Start {
    /// Until the screen changed.
    pub shown: f64,
    /// Until there was text.
    pub painted: f64,
    /// Until it was as it stayed.
    pub complete: f64,
}

/// Starts the app, looks at the screen, and ends it.
pub fn measure(scene: &Scene) -> Start {
    let dir = tempfile::tempdir().unwrap();
    let screen = Screen::bare("1280x800", &["-fbdir", dir.path().to_str().unwrap()]);
    let pixels = Pixels::of(&dir.path().join("Xvfb_screen0"));
    let mut last = pixels.look();
    let (mut shown, mut painted, mut complete) = (None, None, Duration::ZERO);
    let begun = Instant::now();
    let app = scene.app(&screen);
    while painted.is_none() || begun.elapsed() - complete < STAYS {
        let (now, at) = (pixels.look(), begun.elapsed());
        assert!(at < PATIENCE, "nothing is painted");
        if !alike(&now, &last) {
            let text = now.iter().collect::<HashSet<_>>().len() >= COLOURS;
            shown = shown.or(Some(at));
            painted = painted.or(text.then_some(at));
            complete = at;
            last = now;
        }
        std::thread::sleep(LOOK);
    }
    end(app);
    let ms = |at: Duration| at.as_secs_f64() * 1e3;
    Start {
        shown: shown.map(ms).unwrap(),
        painted: painted.map(ms).unwrap(),
        complete: ms(complete),
    }
}

/// Asks the app to end, and waits for it.
pub fn end(mut app: Child) {
    let pid = i32::try_from(app.id()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = app.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return;
        }
        assert!(Instant::now() < deadline, "the app does not end");
        std::thread::sleep(LOOK);
    }
}

fn alike(one: &[u32], other: &[u32]) -> bool {
    let differing = one.iter().zip(other).filter(|(a, b)| a != b).count();
    (differing as f64) < MAY_CHANGE * one.len() as f64
}

/// What Xvfb shows: it keeps its screen in a file, in the format of `xwd`.
struct Pixels {
    file: File,
    first: u64,
    line: usize,
    lines: u64,
}

impl Pixels {
    fn of(path: &Path) -> Pixels {
        let file = File::open(path).unwrap();
        let mut header = [0; 100];
        file.read_exact_at(&mut header, 0).unwrap();
        let field = |n: usize| {
            let bytes = header[n * 4..n * 4 + 4].try_into().unwrap();
            u64::from(u32::from_be_bytes(bytes))
        };
        let (header_size, height, bits, line, colours) =
            (field(0), field(5), field(11), field(12), field(19));
        assert_eq!(bits, 32, "four bytes a pixel");
        Pixels {
            file,
            first: header_size + colours * 12,
            line: usize::try_from(line).unwrap(),
            lines: height,
        }
    }

    fn look(&self) -> Vec<u32> {
        let mut pixels = Vec::with_capacity(self.line * 50);
        let mut bytes = vec![0; self.line];
        for line in (0..self.lines).step_by(EVERY as usize) {
            let at = self.first + line * self.line as u64;
            self.file.read_exact_at(&mut bytes, at).unwrap();
            let four = bytes.chunks_exact(4);
            pixels.extend(four.map(|p| u32::from_ne_bytes(p.try_into().unwrap())));
        }
        pixels
    }
}
