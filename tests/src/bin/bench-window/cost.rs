//! What the app costs while nothing happens.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use kith_tests::window::Screen;

use crate::scene::Scene;
use crate::start::end;

/// Until then a start is digested.
const REST: Duration = Duration::from_secs(10);
/// So long it is watched.
const WATCH: Duration = Duration::from_secs(20);

/// Of a second, as `/proc` counts CPU.
const TICKS: f64 = 100.0;

/// One process.
pub struct Part {
    pub name: String,
    /// MiB, pages shared with others counted in full.
    pub rss: f64,
    /// MiB, pages shared with others counted in part.
    pub pss: f64,
    /// Part of one core.
    pub cpu: f64,
}

/// The app and WebKit's processes.
pub struct Cost {
    pub parts: Vec<Part>,
    /// Part of one core, all together.
    pub cpu: f64,
}

/// Opens the window and leaves it alone; Bob is connected all the while.
pub async fn measure(scene: &Scene) -> Cost {
    let screen = Screen::bare("1280x800", &[]);
    let app = scene.app(&screen);
    scene.bob.wait_linked(scene.ada).await;
    tokio::time::sleep(REST).await;
    let pids = family(app.id());
    let before: Vec<f64> = pids.iter().map(|p| cpu(*p)).collect();
    let begun = Instant::now();
    tokio::time::sleep(WATCH).await;
    let seconds = begun.elapsed().as_secs_f64();
    let parts: Vec<Part> = pids
        .iter()
        .zip(before)
        .map(|(pid, before)| Part {
            name: read(*pid, "comm").trim().to_owned(),
            rss: mib(*pid, "Rss:"),
            pss: mib(*pid, "Pss:"),
            cpu: (cpu(*pid) - before) / seconds,
        })
        .collect();
    assert_eq!(pids, family(app.id()), "the same processes all the while");
    end(app);
    Cost {
        cpu: parts.iter().map(|p| p.cpu).sum(),
        parts,
    }
}

/// A process and all that it started.
fn family(pid: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let name = entry.unwrap().file_name();
        let Some(child) = name.to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        // It may have ended meanwhile.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{child}/stat")) else {
            continue;
        };
        let parent = fields(&stat)[1].parse().unwrap();
        children.entry(parent).or_default().push(child);
    }
    let mut all = vec![pid];
    let mut at = 0;
    while at < all.len() {
        let mut next = children.remove(&all[at]).unwrap_or_default();
        next.sort_unstable();
        all.extend(next);
        at += 1;
    }
    all
}

/// Seconds of CPU so far.
fn cpu(pid: u32) -> f64 {
    let stat = read(pid, "stat");
    let fields = fields(&stat);
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / TICKS
}

/// Of `/proc/PID/stat`, what follows the name, which may have spaces in it: see proc(5).
fn fields(stat: &str) -> Vec<&str> {
    let (_, rest) = stat.rsplit_once(')').expect("the name is in brackets");
    rest.split_whitespace().collect()
}

fn mib(pid: u32, key: &str) -> f64 {
    let all = read(pid, "smaps_rollup");
    let line = all.lines().find_map(|l| l.strip_prefix(key)).unwrap();
    let kib: f64 = line.split_whitespace().next().unwrap().parse().unwrap();
    kib / 1024.0
}

fn read(pid: u32, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap()
}
