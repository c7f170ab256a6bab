//! A process of a bench, and what it takes.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::PATIENCE;

/// How often the memory of a process is noted.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// What a process took.
#[derive(Debug, Clone, Default)]
pub struct Usage {
    /// CPU seconds, those of its children that ended included.
    pub cpu: f64,
    /// Peak RSS, MiB.
    pub rss: f64,
    /// RSS after every second, MiB.
    pub each_second: Vec<f64>,
}

impl Usage {
    /// The mean RSS, MiB, of the second quarter of the time and of the last: where memory grows with
    /// what has gone by, the latter is larger.
    pub fn early_and_late(&self) -> Option<(f64, f64)> {
        let all = &self.each_second;
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
        let quarter = all.len() / 4;
        (quarter > 0).then(|| {
            (
                mean(&all[quarter..2 * quarter]),
                mean(&all[all.len() - quarter..]),
            )
        })
    }
}

/// A process whose lines are read and whose CPU time and memory are watched. Killed when dropped.
pub struct Watched {
    child: Child,
    lines: mpsc::Receiver<String>,
    usage: Option<JoinHandle<Usage>>,
}

impl Watched {
    /// Starts it.
    pub fn start(command: &mut Command) -> Watched {
        Watched::start_fed(command, Stdio::null())
    }

    /// Starts it with this as its standard input.
    pub fn start_fed(command: &mut Command, input: Stdio) -> Watched {
        let mut child = command
            .stdin(input)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?} does not start: {e}"));
        let (tx, lines) = mpsc::channel();
        let out = child.stdout.take().unwrap();
        std::thread::spawn(move || read(out, &tx));
        let pid = child.id();
        Watched {
            child,
            lines,
            usage: Some(std::thread::spawn(move || watch(pid))),
        }
    }

    /// Waits for a line of JSON in which `pick` finds something.
    pub fn json_line<T>(&mut self, pick: impl Fn(&Value) -> Option<T>) -> T {
        self.line(|line| {
            serde_json::from_str(line)
                .ok()
                .and_then(|v: Value| pick(&v))
        })
    }

    /// Waits for a line in which `pick` finds something.
    pub fn line<T>(&mut self, pick: impl Fn(&str) -> Option<T>) -> T {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            if let Some(found) = pick(&line.expect("a line before the deadline")) {
                return found;
            }
        }
    }

    /// The lines that were not read, up to the end.
    pub fn rest(&mut self) -> String {
        let rest: Vec<String> = self.lines.iter().collect();
        rest.join("\n")
    }

    /// Waits for its end, which must be a good one.
    pub fn finish(mut self) -> Usage {
        // The usage is read while the process is a zombie: it must be seen before it is reaped.
        let usage = self.usage.take().unwrap().join().unwrap();
        assert!(
            self.child.wait().unwrap().success(),
            "a process of the bench failed"
        );
        usage
    }

    /// Ends what does not end by itself.
    pub fn stop(mut self) -> Usage {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).unwrap();
        self.usage.take().unwrap().join().unwrap()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(out: ChildStdout, tx: &mpsc::Sender<String>) {
    for line in BufReader::new(out).lines().map_while(Result::ok) {
        if tx.send(line).is_err() {
            return;
        }
    }
}

/// CPU time and memory of a process, from `/proc`, until it has ended.
fn watch(pid: u32) -> Usage {
    let mut usage = Usage::default();
    let mut noted = Instant::now();
    loop {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let mib = |key: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(key))?;
            let kib: f64 = line.trim().trim_end_matches(" kB").parse().ok()?;
            Some(kib / 1024.0)
        };
        usage.rss = mib("VmHWM:").unwrap_or(usage.rss);
        if noted.elapsed() >= NOTE_EVERY {
            noted += NOTE_EVERY;
            usage.each_second.extend(mib("VmRSS:"));
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let Some((_, rest)) = stat.rsplit_once(')') else {
            return usage;
        };
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // utime, stime and those of children, in ticks of 1/100 s on Linux.
        let ticks = fields.get(11..15).unwrap_or_default();
        let ticks = ticks.iter().filter_map(|f| f.parse::<f64>().ok());
        usage.cpu = ticks.sum::<f64>() / 100.0;
        if fields.first() == Some(&"Z") {
            return usage;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
