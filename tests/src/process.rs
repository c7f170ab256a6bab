//! Real `kith` processes, watched through their JSON lines.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

/// No line is waited for longer than this.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The `kith` program under test: `KITH_BIN`, which `./dev test` sets.
pub fn kith_bin() -> PathBuf {
    let path = std::env::var_os("KITH_BIN");
    PathBuf::from(path.expect("KITH_BIN must name the kith program; ./dev test builds it and does"))
}

/// A process. Killed when dropped.
pub struct Kith {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::Receiver<Value>,
    seen: Vec<Value>,
    what: String,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; `None` if killed.
    pub code: Option<i32>,
    /// Everything it said.
    pub lines: Vec<Value>,
    /// Its standard error.
    pub stderr: String,
}

impl Ended {
    /// The line of this type.
    pub fn line(&self, kind: &str) -> &Value {
        let found = self.lines.iter().rev().find(|v| v["type"] == kind);
        found.unwrap_or_else(|| panic!("no {kind} line: {self:#?}"))
    }
}

impl Kith {
    /// Starts `kith ARGS --json` on the profile `home`.
    pub fn start(home: &Path, name: &str, args: &[&str]) -> Kith {
        let mut command = Command::new(kith_bin());
        command
            .args(args)
            .arg("--home")
            .arg(home)
            .args(["--name", name, "--json", "--loopback"]);
        Kith::spawn(&mut command, &args.join(" "))
    }

    /// Starts a room server on a free port, or on a given one.
    pub fn room_server(port: u16) -> (Kith, String) {
        Kith::room_server_at(&format!("127.0.0.1:{port}"))
    }

    /// Starts a room server on this address.
    pub fn room_server_at(listen: &str) -> (Kith, String) {
        let mut command = Command::new(kith_bin());
        command.args(["room-server", "--listen", listen, "--stun", "", "--json"]);
        let mut server = Kith::spawn(&mut command, "room-server");
        let addr = server.wait("its address", |v| v["addr"].as_str().map(str::to_string));
        (server, addr)
    }

    /// Starts a process; `what` names it in failures.
    pub fn spawn(command: &mut Command, what: &str) -> Kith {
        let mut child = command
            .env_remove("KITH_INVITE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kith starts");
        let (tx, lines) = mpsc::channel();
        let out = child.stdout.take().expect("stdout is piped");
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line);
                let value = value.unwrap_or_else(|_| Value::String(format!("not JSON: {line}")));
                if tx.send(value).is_err() {
                    return;
                }
            }
        });
        let stdin = child.stdin.take();
        Kith {
            child,
            stdin,
            lines,
            seen: Vec::new(),
            what: what.to_string(),
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line in which `pick` finds something, looking at those already seen first.
    pub fn wait<T>(&mut self, what: &str, mut pick: impl FnMut(&Value) -> Option<T>) -> T {
        if let Some(found) = self.seen.iter().find_map(&mut pick) {
            return found;
        }
        self.wait_new(what, pick)
    }

    /// Waits for a new line in which `pick` finds something.
    pub fn wait_new<T>(&mut self, what: &str, mut pick: impl FnMut(&Value) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                let (code, stderr) = self.kill_and_read();
                let last: Vec<_> = self.seen.iter().rev().take(5).collect();
                panic!(
                    "kith {}: no {what} (exit {code:?}); last lines {last:#?}; stderr: {stderr}",
                    self.what
                );
            };
            let found = pick(&line);
            self.seen.push(line);
            if let Some(found) = found {
                return found;
            }
        }
    }

    /// Waits for a line with these fields.
    pub fn wait_fields(&mut self, kind: &str, fields: &[(&str, &str)]) -> Value {
        let is = |v: &Value| {
            let all = v["type"] == kind && fields.iter().all(|(k, want)| v[*k] == **want);
            all.then(|| v.clone())
        };
        self.wait(&format!("{kind} with {fields:?}"), is)
    }

    /// What it said, as far as it was waited for.
    pub fn seen(&self) -> &[Value] {
        &self.seen
    }

    /// Listens to it until `deadline`; whether it has ended by then.
    pub fn ends_by(&mut self, deadline: Instant) -> bool {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.seen.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => return true,
                Err(mpsc::RecvTimeoutError::Timeout) => return false,
            }
        }
    }

    /// Writes a line to its standard input.
    pub fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        writeln!(stdin, "{line}").expect("kith reads its input");
    }

    /// Ends its standard input.
    pub fn end_of_input(&mut self) {
        self.stdin = None;
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().expect("a running process can be killed");
        self.child.wait().expect("a killed process ends");
    }

    /// Asks it to end (SIGTERM).
    pub fn terminate(&self) {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("a pid"), rustix::process::Signal::TERM)
            .expect("a running process takes a signal");
    }

    /// Waits for its end.
    pub fn wait_end(mut self) -> Ended {
        self.stdin = None;
        if !self.ends_by(Instant::now() + PATIENCE) {
            panic!(
                "kith {} does not end; said {:#?}",
                self.what,
                self.seen.last()
            );
        }
        let code = self.child.wait().expect("kith ends").code();
        let stderr = self.read_stderr();
        Ended {
            code,
            lines: std::mem::take(&mut self.seen),
            stderr,
        }
    }

    fn kill_and_read(&mut self) -> (Option<i32>, String) {
        let code = self.child.try_wait().ok().flatten().and_then(|s| s.code());
        let _ = self.child.kill();
        let _ = self.child.wait();
        (code, self.read_stderr())
    }

    fn read_stderr(&mut self) -> String {
        let mut text = String::new();
        if let Some(mut err) = self.child.stderr.take() {
            let _ = err.read_to_string(&mut text);
        }
        text
    }
}

impl Drop for Kith {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
