//! How the window feels, and what it costs.
//!
//! `bench-window [--starts N] [--messages N] [--cards N] [--only-cards] [--json]`, with the app
//! named by `KITH_DESKTOP_BIN`. All of it in real windows on an X server without a screen, in a room with
//! 10,000 messages that two real nodes wrote:
//!
//! - *starts*: from before the process is made until pixels of the screen change, until there is
//!   text, and until the screen stays as it is for two seconds;
//! - *idle*: memory and CPU of the app and WebKit's processes, the room open and one person in it;
//! - *scrolling* through all messages and back, 240 pixels a frame: time between frames;
//! - *typing* with keys of the X server, messages coming in: from the key to the next frame;
//! - *cards*: typing, and scrolling for ten seconds, while 200 files are fetched from eight nodes at
//!   once; `--only-cards` does just this.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench talks and may end early"
)]

mod cost;
mod page;
mod scene;
mod start;

use kith_tests::window::Window;
use serde_json::{Value, json};

use crate::cost::Cost;
use crate::page::Times;
use crate::scene::Scene;

/// The priority of other machines: nearly the lowest.
const LEFT: i32 = 15;

fn main() {
    let (mut starts, mut messages, mut cards) = (7usize, 10_000usize, 200usize);
    let (mut only_cards, mut as_json) = (false, false);
    let mut args = std::env::args().skip(1);
    let usage = "bench-window [--starts N] [--messages N] [--cards N] [--only-cards] [--json]";
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|v| v.parse().ok()).expect(usage);
        match arg.as_str() {
            "--starts" => starts = number(),
            "--messages" => messages = number(),
            "--cards" => cards = number(),
            "--only-cards" => only_cards = true,
            "--json" => as_json = true,
            other => panic!("{other} is not an option: {usage}"),
        }
    }
    assert!(starts > 0 && messages >= 200 && cards > 0, "{usage}");
    // All nodes here stand for other machines, so they get what the app leaves of this one. Only
    // what this thread itself starts, the app among it, has the usual priority.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_start(|| {
            // On Linux it holds for this thread, and for those that it starts.
            rustix::process::setpriority_process(None, LEFT).unwrap();
        })
        .build()
        .unwrap();
    let talk = Talk { as_json };
    runtime.block_on(async {
        let scene = Scene::start(messages).await;
        talk.say(&format!("A room with {messages} messages."));
        if !only_cards {
            alone(&scene, starts, &talk).await;
        }
        let window = page::open(&scene, messages).await;
        if !only_cards {
            few_changes(&window, &scene, messages, &talk).await;
        }
        many_changes(&window, &scene, cards, &talk).await;
    });
}

/// Starts, and what it costs that the window is there.
async fn alone(scene: &Scene, starts: usize, talk: &Talk) {
    let mut runs = Vec::new();
    for _ in 0..starts {
        runs.push(start::measure(scene));
    }
    for (name, times) in [
        ("start to a window", runs.iter().map(|r| r.shown).collect()),
        ("start to text", runs.iter().map(|r| r.painted).collect()),
        (
            "start to the whole room",
            runs.iter().map(|r| r.complete).collect(),
        ),
    ] {
        talk.times(name, &Times::of(times));
    }

    talk.cost(&cost::measure(scene).await);
}

async fn few_changes(window: &Window, scene: &Scene, messages: usize, talk: &Talk) {
    let (up, down) = page::scroll(window, messages).await;
    talk.times("frames, scrolling up", &up);
    talk.times("frames, scrolling down", &down);
    let typed = page::type_while_others_write(window, scene).await;
    talk.times("key to frame, typing", &typed.keys);
    talk.times("frames, typing", &typed.frames);
}

async fn many_changes(window: &Window, scene: &Scene, cards: usize, talk: &Talk) {
    let moving = page::while_files_come(window, scene, cards).await;
    talk.say(&format!(
        "{} of {cards} files were on their way at once, {:.0} changes and {:.0} MB a second.",
        moving.at_once, moving.changes, moving.rate
    ));
    talk.times("key to frame, cards moving", &moving.typed.keys);
    talk.times("frames, cards moving", &moving.typed.frames);
    talk.times("frames, scrolling by them", &moving.scrolled);
}

/// How results are told.
struct Talk {
    as_json: bool,
}

impl Talk {
    fn say(&self, text: &str) {
        if self.as_json {
            println!("{}", json!({ "note": text }));
        } else {
            println!("{text}");
        }
    }

    fn times(&self, name: &str, times: &Times) {
        let (median, p95, most) = (times.at(50), times.at(95), times.at(100));
        if self.as_json {
            let row: Value = json!({ "what": name, "times": times.count(), "median_ms": median,
                "p95_ms": p95, "most_ms": most });
            println!("{row}");
        } else {
            println!(
                "{name:28} {:>6} times  median {median:>7.1}  p95 {p95:>7.1}  most {most:>7.1} ms",
                times.count()
            );
        }
    }

    fn cost(&self, cost: &Cost) {
        let percent = cost.cpu * 100.0;
        if self.as_json {
            let parts: Vec<Value> = cost
                .parts
                .iter()
                .map(|p| json!({ "process": p.name, "rss_mib": p.rss, "pss_mib": p.pss, "cpu_percent": p.cpu * 100.0 }))
                .collect();
            println!(
                "{}",
                json!({ "what": "idle", "processes": parts, "cpu_percent": percent })
            );
            return;
        }
        for p in &cost.parts {
            println!(
                "idle, {:22} RSS {:>6.1}  PSS {:>6.1} MiB  CPU {:>5.2} %",
                p.name,
                p.rss,
                p.pss,
                p.cpu * 100.0
            );
        }
        let pss: f64 = cost.parts.iter().map(|p| p.pss).sum();
        let rss: f64 = cost.parts.iter().map(|p| p.rss).sum();
        println!(
            "idle, {:22} RSS {rss:>6.1}  PSS {pss:>6.1} MiB  CPU {percent:>5.2} % of one core",
            "all"
        );
    }
}
