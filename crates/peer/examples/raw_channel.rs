//! How fast the channel `files` of a [`Connection`] goes, between two processes on this machine; or
//! those of several connections side by side, each frame on the one that has room first.
//!
//! ```text
//! raw_channel recv                        prints {"port":N}, then one result
//! raw_channel send PORT MIB [--window=BYTES --udp=BYTES --queue=BYTES --reactors=N --mtu=BYTES
//!                            --workers=N --strands=N]
//! ```
//!
//! `recv` takes the same options, and the same number of strands. Each prints one JSON line: seconds from the first to the last
//! frame, MB/s (of 10^6 payload bytes), CPU seconds of the whole process, peak resident KiB.

use std::collections::HashSet;
use std::error::Error;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use kith_peer::rtc::{Connection, IceCandidate, IceConfig, RtcContext, RtcEvent, Tuning};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// One chunk frame: header, then payload.
const HEADER: usize = 56;
const CHUNK: usize = 64 * 1024;
/// Time for the two ends to find each other.
const SETUP_DEADLINE: Duration = Duration::from_secs(20);

enum Mode {
    Recv,
    Send { port: u16, mib: usize },
}

struct Arguments {
    mode: Mode,
    tuning: Tuning,
    workers: usize,
    /// Connections side by side.
    strands: usize,
}

fn main() -> Result<()> {
    let arguments = arguments()?;
    kith_peer::threads::runtime()
        .worker_threads(arguments.workers)
        .build()?
        .block_on(run(arguments))
}

async fn run(arguments: Arguments) -> Result<()> {
    let Arguments {
        mode,
        tuning,
        strands,
        ..
    } = arguments;
    let context = RtcContext::with_tuning(tuning)?;
    let stream = match mode {
        Mode::Recv => {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            print(&json!({ "port": listener.local_addr()?.port() }))?;
            listener.accept().await?.0
        }
        Mode::Send { port, .. } => {
            TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?
        }
    };
    let (reader, writer) = stream.into_split();
    let offering = matches!(mode, Mode::Send { .. });
    let (open_tx, mut open) = mpsc::channel(strands);
    let (done_tx, done) = mpsc::channel(1);
    let writer = Arc::new(Mutex::new(writer));
    let (mut connections, mut tasks) = (Vec::new(), JoinSet::new());
    for strand in 0..strands {
        let (events, events_rx) = mpsc::channel(64);
        let ice = IceConfig {
            include_loopback: true,
            ..IceConfig::default()
        };
        let connection = Arc::new(Connection::open(&context, &ice, events).await?);
        let told = told(
            Arc::clone(&writer),
            strand,
            events_rx,
            open_tx.clone(),
            done_tx.clone(),
        );
        tasks.spawn(told);
        connections.push(connection);
    }
    let signaling = tokio::spawn(signal(reader, writer, connections.clone(), offering));
    tokio::time::timeout(SETUP_DEADLINE, async {
        for _ in 0..strands {
            open.recv().await.ok_or("a connection failed")?;
        }
        Result::Ok(())
    })
    .await??;

    let (bytes, seconds) = match mode {
        Mode::Recv => receive(&connections).await?,
        Mode::Send { mib, .. } => send(&connections, mib, done).await?,
    };
    print(&json!({
        "mode": if offering { "send" } else { "recv" },
        "bytes": bytes,
        "seconds": seconds,
        "mb_per_s": bytes as f64 / seconds / 1e6,
        "cpu_seconds": cpu_seconds()?,
        "peak_rss_kib": peak_rss_kib()?,
        "sctp_window": context.sctp_window(),
    }))?;
    if !offering {
        // The last word is on its way; the other end hangs up when it has it.
        signaling.await??;
    }
    for connection in connections {
        connection.close().await;
    }
    Ok(())
}

/// Pushes `mib` MiB of payload and waits until the other end has counted them.
async fn send(
    connections: &[Arc<Connection>],
    mib: usize,
    mut done: mpsc::Receiver<()>,
) -> Result<(usize, f64)> {
    let frames = mib * 1024 * 1024 / CHUNK;
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let mut senders = JoinSet::new();
    for connection in connections {
        let (lane, next) = (connection.files(), Arc::clone(&next));
        senders.spawn(async move {
            let payload = vec![0x5a_u8; CHUNK];
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= frames {
                    return Result::Ok(());
                }
                lane.send(frame(index as u64, frames as u64, &payload))
                    .await?;
            }
        });
    }
    while let Some(sender) = senders.join_next().await {
        sender??;
    }
    done.recv().await.ok_or("the other end is gone")?;
    Ok((frames * CHUNK, started.elapsed().as_secs_f64()))
}

async fn receive(connections: &[Arc<Connection>]) -> Result<(usize, f64)> {
    let (frames_tx, mut frames) = mpsc::channel(1);
    let mut readers = JoinSet::new();
    for connection in connections {
        let (lane, frames) = (connection.files(), frames_tx.clone());
        readers.spawn(async move {
            while let Some(frame) = lane.recv().await {
                if frames.send(frame).await.is_err() {
                    return;
                }
            }
        });
    }
    drop(frames_tx);
    let (mut started, mut missing) = (None, None);
    loop {
        let frame = frames.recv().await.ok_or("the lane closed early")?;
        let started = *started.get_or_insert_with(Instant::now);
        let (index, total) = frame_numbers(&frame)?;
        let total = usize::try_from(total)?;
        let missing = missing.get_or_insert_with(|| (0..total as u64).collect::<HashSet<_>>());
        if !missing.remove(&index) || frame.len() != HEADER + CHUNK {
            return Err(format!("frame {index} came twice or wrong").into());
        }
        if missing.is_empty() {
            let first = connections.first().ok_or("no connection")?;
            first.send_message(Bytes::from_static(b"done")).await?;
            return Ok((total * CHUNK, started.elapsed().as_secs_f64()));
        }
    }
}

fn frame(index: u64, total: u64, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEADER + payload.len());
    frame.put_u64_le(index);
    frame.put_u64_le(total);
    frame.put_bytes(0, HEADER - 16);
    frame.put_slice(payload);
    frame.freeze()
}

fn frame_numbers(frame: &[u8]) -> Result<(u64, u64)> {
    let number = |at: usize| -> Result<u64> {
        let bytes = frame.get(at..at + 8).ok_or("short frame")?;
        Ok(u64::from_le_bytes(bytes.try_into()?))
    };
    Ok((number(0)?, number(8)?))
}

/// Takes descriptions and candidates as JSON lines, until the other end hangs up.
async fn signal(
    reader: OwnedReadHalf,
    writer: Arc<Mutex<OwnedWriteHalf>>,
    connections: Vec<Arc<Connection>>,
    offering: bool,
) -> Result<()> {
    let mut lines = BufReader::new(reader).lines();
    if offering {
        for (strand, connection) in connections.iter().enumerate() {
            let offer = connection.create_offer(false).await?;
            write(&writer, &json!({ "strand": strand, "sdp": offer })).await?;
        }
    }
    while let Some(line) = lines.next_line().await? {
        let line: Value = serde_json::from_str(&line)?;
        let strand = line["strand"].as_u64().ok_or("of which strand?")?;
        let connection = connections.get(usize::try_from(strand)?);
        let connection = connection.ok_or("more strands than here")?;
        if let Some(sdp) = line["sdp"].as_str() {
            if offering {
                connection.accept_answer(sdp.to_owned()).await?;
            } else {
                let answer = connection.accept_offer(sdp.to_owned()).await?;
                write(&writer, &json!({ "strand": strand, "sdp": answer })).await?;
            }
        } else if let Some(candidate) = line["candidate"].as_str() {
            let candidate = IceCandidate {
                candidate: candidate.to_owned(),
                sdp_mid: None,
                sdp_mline_index: Some(0),
            };
            connection.add_candidate(candidate).await?;
        }
    }
    Ok(())
}

/// Carries candidates to the other end, and word of the rest.
async fn told(
    writer: Arc<Mutex<OwnedWriteHalf>>,
    strand: usize,
    mut events: mpsc::Receiver<RtcEvent>,
    open: mpsc::Sender<()>,
    done: mpsc::Sender<()>,
) {
    while let Some(event) = events.recv().await {
        let heard = match event {
            RtcEvent::LocalCandidate(c) => {
                let line = json!({ "strand": strand, "candidate": c.candidate });
                write(&writer, &line).await.is_ok()
            }
            RtcEvent::ChannelsOpen => open.send(()).await.is_ok(),
            RtcEvent::Message(_) => done.send(()).await.is_ok(),
            RtcEvent::GatheringComplete
            | RtcEvent::StateChanged(_)
            | RtcEvent::Presence(_)
            | RtcEvent::ChannelClosed { .. } => true,
        };
        if !heard {
            return;
        }
    }
}

async fn write(writer: &Mutex<OwnedWriteHalf>, line: &Value) -> Result<()> {
    let mut writer = writer.lock().await;
    writer.write_all(format!("{line}\n").as_bytes()).await?;
    Ok(())
}

fn print(line: &Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}

/// User and system time of this process: fields 14 and 15 of proc(5) stat, in ticks of 10 ms.
fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(')').ok_or("stat has no name")?.1;
    let ticks: Vec<&str> = after_name.split_whitespace().collect();
    let user: f64 = ticks.get(11).ok_or("stat is short")?.parse()?;
    let system: f64 = ticks.get(12).ok_or("stat is short")?.parse()?;
    Ok((user + system) / 100.0)
}

fn peak_rss_kib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .ok_or("no VmHWM")?;
    Ok(line
        .split_whitespace()
        .nth(1)
        .ok_or("VmHWM is empty")?
        .parse()?)
}

fn arguments() -> Result<Arguments> {
    let mut tuning = Tuning::default();
    let (mut workers, mut strands) = (1, 1);
    let mut words = Vec::new();
    for argument in std::env::args().skip(1) {
        let Some((key, value)) = argument
            .strip_prefix("--")
            .and_then(|rest| rest.split_once('='))
        else {
            words.push(argument);
            continue;
        };
        match key {
            "window" => tuning.sctp_window = value.parse()?,
            "udp" => tuning.udp_buffer = value.parse()?,
            "queue" => tuning.send_queue = value.parse()?,
            "reactors" => tuning.reactor_threads = value.parse()?,
            "mtu" => tuning.sctp_mtu = Some(value.parse()?),
            "workers" => workers = value.parse()?,
            "strands" => strands = value.parse()?,
            other => return Err(format!("unknown option --{other}").into()),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mode = match words.as_slice() {
        ["recv"] => Mode::Recv,
        ["send", port, mib] => Mode::Send {
            port: port.parse()?,
            mib: mib.parse()?,
        },
        _ => return Err("usage: raw_channel recv | send PORT MIB".into()),
    };
    Ok(Arguments {
        mode,
        tuning,
        workers,
        strands,
    })
}
