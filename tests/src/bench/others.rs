//! The programs that files are sent with otherwise, each with a server of its own that nobody else
//! reaches.
//!
//! What they need to meet (a key exchange, a Python start) is not counted: the time that one byte
//! takes is taken off. None of them waits for the disk at the end.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{PATIENCE, Place, Run, Usage, Watched, program, same, settle};
use crate::netlab::Side;

/// From memory to memory over TCP.
pub fn iperf3(place: &impl Place, mib: u64) -> Run {
    settle();
    let addr = free(place, Side::B);
    let (ip, port) = (addr.ip().to_string(), addr.port().to_string());
    let mut server = place.start(
        Side::B,
        Command::new("iperf3").args(["-s", "-1", "--forceflush", "-B", &ip, "-p", &port]),
    );
    server.line(|l| l.starts_with("Server listening").then_some(()));
    let bytes = (mib << 20).to_string();
    let mut client = place.start(
        Side::A,
        Command::new("iperf3").args(["-J", "-c", &ip, "-p", &port, "-n", &bytes]),
    );
    let said: serde_json::Value = serde_json::from_str(&client.rest()).unwrap();
    let got = &said["end"]["sum_received"];
    let (bytes, seconds) = (got["bytes"].as_f64(), got["seconds"].as_f64());
    let usage = [client.finish(), server.finish()];
    Run::new(bytes.unwrap(), seconds.unwrap(), usage)
}

/// OpenSSH with keys and configuration in a folder of its own.
pub struct Ssh<'p, P> {
    place: &'p P,
    dir: PathBuf,
    host: String,
    options: Vec<String>,
}

impl<'p, P: Place> Ssh<'p, P> {
    /// Makes the keys, in `dir`.
    pub fn new(place: &'p P, dir: &Path) -> Self {
        fs::create_dir_all(dir).unwrap();
        for key in ["host", "user"] {
            let mut keygen = Command::new("ssh-keygen");
            let path = dir.join(key);
            keygen
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(&path);
            if !path.exists() {
                run(&mut keygen);
            }
        }
        let user = Command::new("id").arg("-un").output().unwrap().stdout;
        let user = String::from_utf8(user).unwrap();
        let key = dir.join("user");
        let options = [
            format!("IdentityFile={}", key.display()),
            "IdentitiesOnly=yes".into(),
            "UserKnownHostsFile=/dev/null".into(),
            "StrictHostKeyChecking=no".into(),
            "BatchMode=yes".into(),
            "LogLevel=ERROR".into(),
        ];
        Ssh {
            place,
            dir: dir.to_path_buf(),
            host: format!("{}@{}", user.trim(), place.addr(Side::B)),
            options: options.map(|o| format!("-o{o}")).to_vec(),
        }
    }

    /// `scp` of a file.
    pub fn scp(&self, file: &Path) -> Run {
        self.timed(file, |file, into, port| {
            let mut scp = Command::new("scp");
            scp.args(["-F", "/dev/null", "-q", "-P", port])
                .args(&self.options);
            scp.arg(file)
                .arg(format!("{}:{}", self.host, into.display()));
            vec![self.place.start(Side::A, &mut scp)]
        })
    }

    /// `tar | ssh … tar` of what is in a folder.
    pub fn tar(&self, folder: &Path) -> Run {
        self.timed(folder, |folder, into, port| {
            let (name, parent) = (folder.file_name().unwrap(), folder.parent().unwrap());
            let mut tar = Command::new("tar");
            tar.arg("-C").arg(parent).arg("-c").arg(name);
            let mut tar = self.place.within(Side::A, || {
                tar.stdin(Stdio::null())
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap()
            });
            let output = tar.stdout.take().unwrap();
            let mut ssh = Command::new("ssh");
            ssh.args(["-F", "/dev/null", "-p", port])
                .args(&self.options);
            ssh.arg(&self.host)
                .arg(format!("tar -C {} -x", into.display()));
            let ssh = self
                .place
                .within(Side::A, || Watched::start_fed(&mut ssh, output.into()));
            // Ends with what reads its output.
            std::thread::spawn(move || tar.wait());
            vec![ssh]
        })
    }

    fn timed(&self, what: &Path, start: impl Fn(&Path, &Path, &str) -> Vec<Watched>) -> Run {
        settle();
        let least = self.dir.join("least");
        fs::write(&least, b"1").unwrap();
        let once = |what: &Path| {
            let into = self.dir.join("in");
            fs::create_dir_all(&into).unwrap();
            let (server, port) = self.serve();
            let begun = Instant::now();
            let senders: Vec<Usage> = start(what, &into, &port)
                .into_iter()
                .map(Watched::finish)
                .collect();
            let seconds = begun.elapsed().as_secs_f64();
            let bytes = same(what, &into.join(what.file_name().unwrap()));
            fs::remove_dir_all(into).unwrap();
            let sender = senders.into_iter().next().unwrap();
            (bytes as f64, seconds, [sender, server.stop()])
        };
        let (_, meeting, _) = once(&least);
        let (bytes, seconds, usage) = once(what);
        Run::new(bytes, seconds - meeting, usage)
    }

    /// A server and its port.
    fn serve(&self) -> (Watched, String) {
        let addr = free(self.place, Side::B);
        let dir = self.dir.display();
        let config = format!(
            "ListenAddress {addr}\nHostKey {dir}/host\nAuthorizedKeysFile {dir}/user.pub\n\
             PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
             PermitRootLogin yes\nSubsystem sftp internal-sftp\n"
        );
        let file = self.dir.join("sshd_config");
        fs::write(&file, config).unwrap();
        // Where the server locks itself in as root; the system's own start makes it otherwise.
        let _ = fs::create_dir_all("/run/sshd");
        let mut sshd = Command::new("/usr/sbin/sshd");
        sshd.args(["-D", "-q", "-f"]).arg(file);
        let sshd = self.place.start(Side::B, &mut sshd);
        wait(self.place, Side::B, addr);
        (sshd, addr.port().to_string())
    }
}

/// magic-wormhole from the Python environment that `WORMHOLE_VENV` names, with a mailbox server and
/// a transit relay at the sender's.
pub struct Wormhole<'p, P> {
    place: &'p P,
    dir: PathBuf,
    /// Named on both command lines.
    servers: [String; 4],
    _servers: [Watched; 2],
}

const CODE: &str = "7-bench-of-files";

impl<'p, P: Place> Wormhole<'p, P> {
    /// Starts the servers, with what they keep in `dir`.
    pub fn start(place: &'p P, dir: &Path) -> Self {
        fs::create_dir_all(dir).unwrap();
        let server = |plugin: &str, args: &[&str]| {
            let addr = free(place, Side::A);
            let port = format!("tcp:{}:interface={}", addr.port(), addr.ip());
            let mut twist = Command::new(tool("twist"));
            twist
                .args(["--log-level=error", plugin, "--port", &port])
                .args(args);
            let server = place.start(Side::A, twist.current_dir(dir));
            wait(place, Side::A, addr);
            (addr, server)
        };
        let db = dir.join("mailbox.sqlite");
        let db = format!("--channel-db={}", db.display());
        let (mailbox, first) = server("wormhole-mailbox", &[&db]);
        let (transit, second) = server("transitrelay", &[]);
        Wormhole {
            place,
            dir: dir.to_path_buf(),
            servers: [
                "--relay-url".into(),
                format!("ws://{mailbox}/v1"),
                "--transit-helper".into(),
                format!("tcp:{}:{}", transit.ip(), transit.port()),
            ],
            _servers: [first, second],
        }
    }

    /// Sends a file.
    pub fn send(&self, file: &Path) -> Run {
        settle();
        let least = self.dir.join("least");
        fs::write(&least, b"1").unwrap();
        let (_, meeting, _) = self.once(&least);
        let (bytes, seconds, usage) = self.once(file);
        Run::new(bytes, seconds - meeting, usage)
    }

    fn once(&self, file: &Path) -> (f64, f64, [Usage; 2]) {
        let into = self.dir.join("in");
        let _ = fs::remove_file(&into);
        let wormhole = |side, args: &[&str]| {
            let mut command = Command::new(tool("wormhole"));
            command
                .args(&self.servers)
                .args(args)
                .current_dir(&self.dir);
            self.place.start(side, command.stderr(Stdio::null()))
        };
        let begun = Instant::now();
        let path = file.to_str().unwrap();
        let send = wormhole(
            Side::A,
            &["send", "--no-qr", "--hide-progress", "--code", CODE, path],
        );
        let to = into.to_str().unwrap();
        let receive = [
            "receive",
            "--hide-progress",
            "--accept-file",
            "-o",
            to,
            CODE,
        ];
        let receive = wormhole(Side::B, &receive);
        let usage = [send.finish(), receive.finish()];
        let seconds = begun.elapsed().as_secs_f64();
        (same(file, &into) as f64, seconds, usage)
    }
}

fn tool(name: &str) -> PathBuf {
    program("WORMHOLE_VENV").join("bin").join(name)
}

/// A port that nobody listens on.
fn free(place: &impl Place, side: Side) -> SocketAddr {
    let ip = place.addr(side);
    let listener = place.within(side, || TcpListener::bind((ip, 0)));
    listener.unwrap().local_addr().unwrap()
}

/// Until somebody listens there.
fn wait(place: &impl Place, side: Side, addr: SocketAddr) {
    let deadline = Instant::now() + PATIENCE;
    while place.within(side, || TcpStream::connect(addr)).is_err() {
        assert!(Instant::now() < deadline, "nobody listens on {addr}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn run(command: &mut Command) {
    let status = command.status();
    let status = status.unwrap_or_else(|e| panic!("{command:?} does not start: {e}"));
    assert!(status.success(), "{command:?} failed");
}
