//! Abuse of a room server: the server as a process, bystanders who want to talk all the while,
//! and clients that write what no library would.

mod attacks;

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use futures::{SinkExt as _, StreamExt as _};
use kith_protocol::ids::Blob;
use kith_protocol::invite::RoomKeys;
use kith_protocol::room::{ClientMessage, ServerMessage};
use kith_protocol::{Sid, limits};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

pub use attacks::{ATTACKS, Attack, Ends};

/// No single step waits longer.
pub const PATIENCE: Duration = Duration::from_secs(20);
const BYSTANDER: [u8; 4] = [127, 0, 0, 2];
/// A bystander says something this often.
const EVERY: Duration = Duration::from_millis(12);

/// Where the offenders of a round come from: limits count by address, bystanders have another one,
/// and each round is to find its limits untouched.
pub fn offender(round: u8) -> [u8; 4] {
    [127, 0, 1, round]
}

/// The server under abuse. Killed when dropped.
pub struct Victim {
    /// Where it listens.
    pub addr: SocketAddr,
    child: Child,
    _stdin: Option<ChildStdin>,
}

impl Victim {
    /// Starts `program`, which says on its first line where it listens.
    pub fn start(program: &str) -> Victim {
        let mut child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        Victim {
            addr: line.trim().parse().unwrap(),
            _stdin: child.stdin.take(),
            child,
        }
    }

    /// Starts the program that users run, with what it does unless told otherwise.
    pub fn start_real(program: &str) -> Victim {
        let mut child = Command::new(program)
            .args(["--listen", "127.0.0.1:0", "--stun", "", "--log", "info"])
            .env("NO_COLOR", "1")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let addr = log.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, addr) = line.split_once("addr=")?;
            addr.trim().parse().ok()
        });
        // A log that nobody reads would stop its writer.
        std::thread::spawn(move || log.for_each(drop));
        Victim {
            addr: addr.expect("a line that says where it listens"),
            child,
            _stdin: None,
        }
    }

    /// Its resident memory, in KiB.
    pub fn rss(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
        let kib = line.unwrap().trim().trim_end_matches(" kB");
        kib.parse().unwrap()
    }

    /// An offender that is in a room.
    pub async fn joined(&self, from: [u8; 4], room: u8, sid: u8) -> Client {
        let mut client = Client::open(self.addr, from, None).await.unwrap();
        client.join(room, sid).await;
        client
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection from `from`; with a small buffer in the kernel where one wants to read slowly.
pub async fn connect(
    to: SocketAddr,
    from: [u8; 4],
    buffer: Option<u32>,
) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    if let Some(bytes) = buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    let tcp = socket.connect(to).await?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

/// Waits with a limit.
pub async fn within<T>(what: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, what).await;
    done.expect("nothing happened in time")
}

/// A client that can be made to write anything.
pub struct Client {
    ws: WebSocketStream<TcpStream>,
    host: String,
    /// Its sid, once joined.
    pub sid: Sid,
}

impl Client {
    /// Upgrades, and says nothing. `None` where the server does not want it.
    pub async fn open(to: SocketAddr, from: [u8; 4], buffer: Option<u32>) -> Option<Client> {
        let tcp = connect(to, from, buffer).await.ok()?;
        let mut request = format!("ws://{to}/ws").into_client_request().ok()?;
        let protocol = limits::SUBPROTOCOL.parse().ok()?;
        request
            .headers_mut()
            .insert("sec-websocket-protocol", protocol);
        let (ws, _) = within(tokio_tungstenite::client_async(request, tcp))
            .await
            .ok()?;
        Some(Client {
            ws,
            host: to.to_string(),
            sid: Sid([0; 16]),
        })
    }

    /// Joins a room with a proof that holds.
    pub async fn join(&mut self, room: u8, sid: u8) {
        let host = self.host.clone();
        self.prove(room, sid, &host).await;
        let answer = self.next().await;
        assert!(
            matches!(answer, Some(ServerMessage::Joined { .. })),
            "{answer:?}"
        );
    }

    /// Goes through the join with a proof for `origin`; the answer is not read.
    pub async fn prove(&mut self, room: u8, sid: u8, origin: &str) {
        let keys = RoomKeys::derive(&[room; 32]);
        self.sid = Sid([sid; 16]);
        self.say(&ClientMessage::Join {
            room_id: keys.room_id(),
            sid: self.sid,
            access_pk: keys.access_pk(),
            caps: vec![],
        })
        .await;
        if let Some(ServerMessage::Challenge { nonce }) = self.next().await {
            let sig = keys.prove(origin, &nonce, &self.sid);
            self.say(&ClientMessage::Prove { sig }).await;
        }
    }

    /// Sends a message, unless the server has hung up.
    pub async fn say(&mut self, message: &ClientMessage) {
        let _ = within(self.ws.send(Message::text(message.to_text()))).await;
    }

    /// Sends bytes to a member.
    pub async fn signal(&mut self, to: Sid, body: &[u8]) {
        let body = Blob(body.to_vec().into());
        self.say(&ClientMessage::Signal { to, body }).await;
    }

    /// The next message; `None` at the end.
    pub async fn next(&mut self) -> Option<ServerMessage> {
        loop {
            match within(self.ws.next()).await?.ok()? {
                Message::Text(text) => return ServerMessage::parse(&text).ok(),
                Message::Close(_) => return None,
                Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_) => {}
            }
        }
    }

    /// Writes bytes to the socket, as often as `times`, until the server hangs up; reads all the
    /// while, and returns the close code if one came.
    pub async fn write_and_close_code(self, bytes: &[u8], times: usize) -> Option<u16> {
        let (read, mut write) = self.ws.into_inner().into_split();
        let writing = async {
            let many = 1 + 16 * 1024 / bytes.len().max(1);
            let block = bytes.repeat(many.min(times));
            let mut left = times;
            while left > 0 {
                let n = left.min(many);
                if write.write_all(&block[..n * bytes.len()]).await.is_err() {
                    break;
                }
                left -= n;
            }
            // Kept: the server is to end it, not we.
            write
        };
        let (_write, code) = within(futures::future::join(writing, close_code(read))).await;
        code
    }

    /// Reads to the end; the close code if one came.
    pub async fn close_code(mut self) -> Option<u16> {
        loop {
            match within(self.ws.next()).await?.ok()? {
                Message::Close(frame) => return frame.map(|f| f.code.into()),
                Message::Text(_)
                | Message::Ping(_)
                | Message::Pong(_)
                | Message::Binary(_)
                | Message::Frame(_) => {}
            }
        }
    }
}

/// A masked frame with a mask of zeros.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        n @ 0..126 => out.push(0x80 | n as u8),
        n @ 126..65_536 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(n as u16).to_be_bytes());
        }
        n => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(n as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
    out
}

/// Reads what the server writes until it hangs up.
async fn close_code(mut from: impl tokio::io::AsyncRead + Unpin) -> Option<u16> {
    let mut code = None;
    loop {
        let Ok(first) = from.read_u8().await else {
            return code;
        };
        let len = match from.read_u8().await.ok()? {
            126 => u64::from(from.read_u16().await.ok()?),
            127 => from.read_u64().await.ok()?,
            n => u64::from(n),
        };
        let mut payload = vec![0; usize::try_from(len).unwrap()];
        from.read_exact(&mut payload).await.ok()?;
        if first == 0x88 {
            code = Some(u16::from_be_bytes([payload[0], payload[1]]));
        }
    }
}

/// Two who exchange signals all the time, and count.
pub struct Bystanders {
    rounds: watch::Receiver<usize>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Vec<Duration>>,
}

impl Bystanders {
    /// Two on a server.
    pub async fn start(victim: &Victim) -> Bystanders {
        let mut a = Client::open(victim.addr, BYSTANDER, None).await.unwrap();
        a.join(255, 1).await;
        let mut b = Client::open(victim.addr, BYSTANDER, None).await.unwrap();
        b.join(255, 2).await;
        let came = a.next().await;
        assert!(matches!(came, Some(ServerMessage::MemberJoined { .. })));
        let (count, rounds) = watch::channel(0);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut took = Vec::new();
            let mut clock = tokio::time::interval(EVERY);
            clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            while !*stopped.borrow() {
                clock.tick().await;
                let word = (took.len() as u64).to_be_bytes();
                let begun = Instant::now();
                a.signal(b.sid, &word).await;
                heard(&mut b, a.sid, &word).await;
                b.signal(a.sid, &word).await;
                heard(&mut a, b.sid, &word).await;
                took.push(begun.elapsed());
                count.send_replace(took.len());
            }
            took
        });
        Bystanders { rounds, stop, task }
    }

    /// Waits for so many more rounds.
    pub async fn talk(&mut self, more: usize) {
        let until = *self.rounds.borrow() + more;
        let done = within(self.rounds.wait_for(|n| *n >= until)).await;
        assert!(done.is_ok(), "a bystander was disturbed");
    }

    /// Ends them: how long it took a word to get there and another one back.
    pub async fn stop(self) -> Delays {
        self.stop.send_replace(true);
        let mut took = within(self.task).await.unwrap();
        took.sort_unstable();
        Delays(took)
    }
}

/// All round trips of two bystanders, the quickest first; never none.
#[derive(Debug, Clone)]
pub struct Delays(Vec<Duration>);

impl Delays {
    /// How many there were.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// So many percent of them took no longer.
    pub fn percentile(&self, percent: usize) -> Duration {
        self.0[(self.0.len() * percent / 100).min(self.0.len() - 1)]
    }
}

async fn heard(who: &mut Client, from: Sid, word: &[u8]) {
    match who.next().await {
        Some(ServerMessage::Signal { from: f, body }) => {
            assert_eq!((f, &body.0[..]), (from, word), "lost or mixed up");
        }
        other => panic!("a bystander was disturbed: {other:?}"),
    }
}
