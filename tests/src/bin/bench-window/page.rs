//! What the page does in the real window: frames, and keys that the X server presses.

use std::time::{Duration, Instant};

use kith_tests::window::{PATIENCE, Window};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use thirtyfour::prelude::*;
use tokio_util::sync::CancellationToken;

use crate::scene::{Scene, write};

const VIEW: &str = "[aria-label='Messages and files']";
const FIELD: &str = "[data-composer]";
/// Pixels scrolled in one frame: about 14,000 a second.
const STEP: u32 = 240;
/// Among cards it goes up and down, so many pixels, for so long.
const REACH: u32 = 12_000;
const SCROLL: Duration = Duration::from_secs(10);
/// Keys that are typed, and milliseconds between two: ten a second.
const KEYS: usize = 150;
const PAUSE: &str = "100";
/// Others write a message this often meanwhile.
const OTHERS: Duration = Duration::from_millis(200);
/// What is looked for in the page is looked for this often.
const LOOK: Duration = Duration::from_millis(100);

/// Times in milliseconds, sorted.
pub struct Times(Vec<f64>);

impl Times {
    /// Of these milliseconds.
    pub fn of(mut times: Vec<f64>) -> Times {
        assert!(!times.is_empty(), "nothing was measured");
        times.sort_by(f64::total_cmp);
        Times(times)
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// So many percent are not longer.
    pub fn at(&self, percent: usize) -> f64 {
        let last = self.0.len() - 1;
        self.0[(last * percent).div_ceil(100)]
    }
}

/// What was measured while somebody typed.
pub struct Typed {
    /// From each key to the end of the next frame.
    pub keys: Times,
    /// Between two frames.
    pub frames: Times,
}

/// What was measured while files came, too.
pub struct Moving {
    pub typed: Typed,
    /// Between two frames, of those in which the view was scrolled past the cards.
    pub scrolled: Times,
    /// Files that were on their way from the first key to the last frame.
    pub at_once: usize,
    /// Changes that the engine told, a second.
    pub changes: f64,
    /// Megabytes that came, a second.
    pub rate: f64,
}

/// Her window, when it shows the newest message.
pub async fn open(scene: &Scene, messages: usize) -> Window {
    let window = scene.window().await;
    window.read(&newest(messages)).await;
    let patience = window.page.set_script_timeout(PATIENCE * 4).await;
    patience.expect("it takes a timeout");
    window
}

fn newest(messages: usize) -> String {
    format!("Message number {messages}.")
}

/// Scrolls to the first message and back; the times between frames.
pub async fn scroll(window: &Window, messages: usize) -> (Times, Times) {
    const SCRIPT: &str = "const [css, step, text, done] = arguments; \
        const view = document.querySelector(css); \
        const frames = []; \
        let last = performance.now(); \
        const there = () => step < 0 \
            ? view.scrollTop === 0 \
            : view.scrollHeight - view.scrollTop - view.clientHeight < 1; \
        const frame = () => { \
            const now = performance.now(); \
            frames.push(now - last); \
            last = now; \
            if (there() && view.textContent.includes(text)) return done(frames); \
            view.scrollTop += step; \
            requestAnimationFrame(frame); \
        }; \
        requestAnimationFrame(frame);";
    let go = async |step: i64, text: &str| {
        let args = vec![json!(VIEW), json!(step), json!(text)];
        Times::of(ask(window, SCRIPT, args).await)
    };
    let step = i64::from(STEP);
    let up = go(-step, "Message number 1.").await;
    (up, go(step, &newest(messages)).await)
}

/// Types into the composer while messages come in.
pub async fn type_while_others_write(window: &Window, scene: &Scene) -> Typed {
    let stop = CancellationToken::new();
    let others = async {
        let mut n = 1_000_000;
        while !stop.is_cancelled() {
            write(&scene.bob, scene.room, n..n + 1).await;
            n += 1;
            tokio::time::sleep(OTHERS).await;
        }
    };
    let typing = async {
        let typed = type_text(window, scene).await;
        stop.cancel();
        typed
    };
    tokio::join!(others, typing).1
}

/// Types, then scrolls, while files are fetched, all that others offer.
pub async fn while_files_come(window: &Window, scene: &Scene, files: usize) -> Moving {
    const ACCEPT: &str = "const [dir, done] = arguments; \
        const call = (command, request) => \
            window.__TAURI_INTERNALS__.invoke('call', { command, request }); \
        call('snapshot', {}).then(async ({ offers }) => { \
            const open = offers.filter((o) => o.can.includes('accept')); \
            await Promise.all(open.map(({ room, from, offer }) => \
                call('accept', { room, from, offer, dir }))); \
            done(open.length); \
        });";
    const STATE: &str = "const [done] = arguments; \
        window.__TAURI_INTERNALS__.invoke('call', { command: 'snapshot', request: {} }) \
            .then(({ rev, offers }) => done([rev, \
                offers.filter((o) => o.phase === 'fetching' && o.done > 0).length, \
                offers.reduce((sum, o) => sum + o.done, 0)]));";
    let senders = scene.offer(files).await;
    let dir = scene.downloads();
    let (mut accepted, deadline) = (0, Instant::now() + PATIENCE);
    while accepted < files {
        let args = vec![json!(dir)];
        accepted += ask::<usize>(window, ACCEPT, args).await;
        assert!(Instant::now() < deadline, "only {accepted} offers came");
        tokio::time::sleep(LOOK).await;
    }
    let (mut rev, mut at_once, mut bytes): (u64, usize, u64) = (0, 0, 0);
    while at_once < files {
        (rev, at_once, bytes) = ask(window, STATE, vec![]).await;
        let late = Instant::now() >= deadline;
        assert!(!late, "only {at_once} files move, {bytes} bytes are here");
        tokio::time::sleep(LOOK).await;
    }
    let begun = Instant::now();
    let typed = type_text(window, scene).await;
    let scrolled = scroll_by_cards(window).await;
    let seconds = begun.elapsed().as_secs_f64();
    let (now, still, more): (u64, usize, u64) = ask(window, STATE, vec![]).await;
    drop(senders);
    Moving {
        typed,
        scrolled,
        at_once: at_once.min(still),
        changes: (now - rev) as f64 / seconds,
        rate: (more - bytes) as f64 / seconds / 1e6,
    }
}

/// Scrolls up and down among the newest lines.
async fn scroll_by_cards(window: &Window) -> Times {
    const SCRIPT: &str = "const [css, step, reach, time, done] = arguments; \
        const view = document.querySelector(css); \
        const frames = []; \
        const begun = performance.now(); \
        let last = begun; \
        let by = -step; \
        const frame = () => { \
            const now = performance.now(); \
            frames.push(now - last); \
            last = now; \
            if (now - begun > time) return done(frames); \
            const below = view.scrollHeight - view.scrollTop - view.clientHeight; \
            if (below > reach) by = step; \
            if (below < 1) by = -step; \
            view.scrollTop += by; \
            requestAnimationFrame(frame); \
        }; \
        requestAnimationFrame(frame);";
    let args = vec![
        json!(VIEW),
        json!(STEP),
        json!(REACH),
        json!(SCROLL.as_millis()),
    ];
    Times::of(ask(window, SCRIPT, args).await)
}

/// Presses keys, one after the other, and sends the text.
async fn type_text(window: &Window, scene: &Scene) -> Typed {
    const WATCH: &str = "const w = (window.watched = { keys: [], frames: [], on: true }); \
        let last = performance.now(); \
        const frame = () => { \
            const now = performance.now(); \
            w.frames.push(now - last); \
            last = now; \
            if (w.on) requestAnimationFrame(frame); \
        }; \
        requestAnimationFrame(frame); \
        const field = document.querySelector(arguments[0]); \
        field.focus(); \
        field.addEventListener('keydown', (e) => { \
            requestAnimationFrame(() => { \
                const { port1, port2 } = new MessageChannel(); \
                port1.onmessage = () => w.keys.push(performance.now() - e.timeStamp); \
                port2.postMessage(0); \
            }); \
        });";
    const END: &str = "const w = window.watched; \
        w.on = false; \
        return [w.keys, w.frames, document.querySelector(arguments[0]).value];";
    window.raise(&scene.screen).await;
    run(window, WATCH, vec![json!(FIELD)]).await;
    let text: String = "the quick brown fox jumps over the lazy dog "
        .chars()
        .cycle()
        .take(KEYS)
        .collect();
    // Begun here, at this thread's priority. Whoever waits for it may do nothing else meanwhile.
    let mut xdotool = std::process::Command::new("xdotool");
    xdotool.env("DISPLAY", scene.screen.display());
    xdotool.args(["type", "--delay", PAUSE, &text]);
    let mut typing = xdotool.spawn().unwrap();
    let pressed = tokio::task::spawn_blocking(move || typing.wait());
    assert!(pressed.await.unwrap().unwrap().success());
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = run(window, "return window.watched.keys.length", vec![]).await;
        if said == json!(KEYS) {
            break;
        }
        assert!(Instant::now() < deadline, "{said} keys arrived");
        tokio::time::sleep(LOOK).await;
    }
    let found = run(window, END, vec![json!(FIELD)]).await;
    let (keys, frames, written): (Vec<f64>, Vec<f64>, String) =
        serde_json::from_value(found).unwrap();
    assert_eq!(written, text, "every key became a letter");
    window.press(Key::Enter).await;
    Typed {
        keys: Times::of(keys),
        frames: Times::of(frames),
    }
}

/// What a script calls its last argument with.
async fn ask<T: DeserializeOwned>(window: &Window, script: &str, args: Vec<Value>) -> T {
    let said = window.page.execute_async(script, args).await.unwrap();
    said.convert().unwrap()
}

/// What a script returns.
async fn run(window: &Window, script: &str, args: Vec<Value>) -> Value {
    let said = window.page.execute(script, args).await.unwrap();
    said.json().clone()
}
