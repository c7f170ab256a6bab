//! How fast the channel `files` of a [`Connection`] goes, between two processes on this machine.
//!
//! ```text
//! raw_channel recv                        prints {"port":N}, then one result
//! raw_channel send PORT MIB [--window=BYTES --udp=BYTES --queue=BYTES --reactors=N --mtu=BYTES
//!                            --workers=N]
//! ```
//!
//! `recv` takes the same options. Each prints one JSON line: seconds from the first to the last
//! frame, MB/s (of 10^6 payload bytes), CPU seconds of the whole process, peak resident KiB.

use std::error::Error;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use kith_peer::rtc::{Connection, IceCandidate, IceConfig, RtcContext, RtcEvent, Tuning};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

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

fn main() -> Result<()> {
    let (mode, tuning, workers) = arguments()?;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()?
        .block_on(run(mode, tuning))
}

async fn run(mode: Mode, tuning: Tuning) -> Result<()> {
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
    let (events, events_rx) = mpsc::channel(64);
    let ice = IceConfig {
        include_loopback: true,
        ..IceConfig::default()
    };
    let connection = Arc::new(Connection::open(&context, &ice, events).await?);
    let offering = matches!(mode, Mode::Send { .. });
    let (open_tx, open) = oneshot::channel();
    let (done_tx, done) = oneshot::channel();
    let signaling = tokio::spawn(signal(
        reader,
        writer,
        connection.clone(),
        offering,
        events_rx,
        open_tx,
        done_tx,
    ));
    tokio::time::timeout(SETUP_DEADLINE, open).await??;

    let (bytes, seconds) = match mode {
        Mode::Recv => receive(&connection).await?,
        Mode::Send { mib, .. } => send(&connection, mib, done).await?,
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
    connection.close().await;
    Ok(())
}

/// Pushes `mib` MiB of payload and waits until the other end has counted them.
async fn send(
    connection: &Connection,
    mib: usize,
    done: oneshot::Receiver<()>,
) -> Result<(usize, f64)> {
    let lane = connection.files();
    let payload = vec![0x5a_u8; CHUNK];
    let frames = mib * 1024 * 1024 / CHUNK;
    let started = Instant::now();
    for index in 0..frames {
        lane.send(frame(index as u64, frames as u64, &payload))
            .await?;
    }
    done.await?;
    Ok((frames * CHUNK, started.elapsed().as_secs_f64()))
}

async fn receive(connection: &Connection) -> Result<(usize, f64)> {
    let lane = connection.files();
    let mut started = None;
    let mut expected = 0;
    loop {
        let frame = lane.recv().await.ok_or("the lane closed early")?;
        let started = *started.get_or_insert_with(Instant::now);
        let (index, total) = frame_numbers(&frame)?;
        if index != expected || frame.len() != HEADER + CHUNK {
            return Err(format!("frame {index} in place of {expected}").into());
        }
        expected += 1;
        if expected == total {
            connection.send_message(Bytes::from_static(b"done")).await?;
            return Ok((
                usize::try_from(total)? * CHUNK,
                started.elapsed().as_secs_f64(),
            ));
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

/// Carries descriptions and candidates as JSON lines, until the other end hangs up.
async fn signal(
    reader: OwnedReadHalf,
    mut writer: OwnedWriteHalf,
    connection: Arc<Connection>,
    offering: bool,
    mut events: mpsc::Receiver<RtcEvent>,
    open: oneshot::Sender<()>,
    done: oneshot::Sender<()>,
) -> Result<()> {
    let mut lines = BufReader::new(reader).lines();
    let (mut open, mut done) = (Some(open), Some(done));
    if offering {
        let offer = connection.create_offer(false).await?;
        write(&mut writer, &json!({ "sdp": offer })).await?;
    }
    loop {
        tokio::select! {
            line = lines.next_line() => {
                let Some(line) = line? else { return Ok(()) };
                let line: Value = serde_json::from_str(&line)?;
                if let Some(sdp) = line["sdp"].as_str() {
                    if offering {
                        connection.accept_answer(sdp.to_owned()).await?;
                    } else {
                        let answer = connection.accept_offer(sdp.to_owned()).await?;
                        write(&mut writer, &json!({ "sdp": answer })).await?;
                    }
                } else if let Some(candidate) = line["candidate"].as_str() {
                    connection.add_candidate(IceCandidate {
                        candidate: candidate.to_owned(),
                        sdp_mid: None,
                        sdp_mline_index: Some(0),
                    }).await?;
                }
            }
            event = events.recv() => match event {
                Some(RtcEvent::LocalCandidate(candidate)) => {
                    write(&mut writer, &json!({ "candidate": candidate.candidate })).await?;
                }
                Some(RtcEvent::ChannelsOpen) => {
                    if let Some(open) = open.take() {
                        let _ = open.send(());
                    }
                }
                Some(RtcEvent::Message(_)) => {
                    if let Some(done) = done.take() {
                        let _ = done.send(());
                    }
                }
                Some(
                    RtcEvent::GatheringComplete
                    | RtcEvent::StateChanged(_)
                    | RtcEvent::Presence(_)
                    | RtcEvent::ChannelClosed { .. },
                ) => {}
                None => return Ok(()),
            }
        }
    }
}

async fn write(writer: &mut OwnedWriteHalf, line: &Value) -> Result<()> {
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

fn arguments() -> Result<(Mode, Tuning, usize)> {
    let mut tuning = Tuning::default();
    let mut workers = 2;
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
    Ok((mode, tuning, workers))
}
