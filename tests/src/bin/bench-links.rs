//! How fast a file goes over links that are far, narrow or lossy, beside the bare data channel and
//! plain TCP on the same links; and how long chat takes while one saturates the link.
//!
//! `bench-links [--rounds N] [--only WORD] [--json]`, as root, with the programs named by `KITH_BIN` and
//! `RAW_CHANNEL_BIN`. Sender and receiver are in network namespaces of their own (`netlab`). What
//! carries packets between them needs CPU as well: the link without delay shows what it can carry,
//! and the ratios tell more than the rates. The best of the rounds counts for each.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench talks and may end early"
)]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::Instant;

use kith_tests::bench::{Far, Loopback, raw_channel, room_server, send_receive, talk};
use kith_tests::netlab::{Lab, NoLab, Quality, Side};
use kith_tests::random_file;
use serde_json::json;

/// Links and the MiB that take seconds on each. What waits before the narrow ones may be as much as
/// they hold, or a quarter of it.
const LINKS: [(&str, Quality, u64); 5] = [
    ("no delay", Quality::PERFECT, 256),
    ("RTT 40 ms", Quality::PERFECT.round_trip(40), 256),
    (
        "RTT 100 ms, 0.5 % loss",
        Quality::PERFECT.round_trip(100).loss(0.005),
        4,
    ),
    ("RTT 40 ms, 200 Mbit/s", NARROW.queue(1 << 20), 128),
    ("… with 256 KiB of queue", NARROW.queue(256 << 10), 128),
];
const NARROW: Quality = Quality::PERFECT.round_trip(40).bits_per_s(200_000_000);
/// A link with 200 ms of queue.
const SLOW: Quality = Quality::PERFECT
    .round_trip(20)
    .bits_per_s(20_000_000)
    .queue(500_000);
/// Seconds of chat over it, and over loopback; and MiB that last for longer.
const SLOW_CHAT: (u64, u64) = (10, 64);
const LOOPBACK_CHAT: (u64, u64) = (4, 6 << 10);
const SEED: u64 = 1;
/// What most systems use; it is asked for because the rate over lossy links depends on it.
const CONGESTION: &str = "cubic";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args
        .first()
        .is_some_and(|role| role == "ada" || role == "bob")
    {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(talk::play(&args));
        return ExitCode::SUCCESS;
    }
    let (mut rounds, mut as_json, mut only) = (1u32, false, String::new());
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--rounds" => {
                let n = args.next().and_then(|v| v.parse().ok());
                rounds = n.filter(|n| *n > 0).expect("--rounds N");
            }
            "--only" => only = args.next().expect("--only WORD"),
            "--json" => as_json = true,
            other => {
                panic!("{other} is not an option: bench-links [--rounds N] [--only WORD] [--json]")
            }
        }
    }
    // Said at the end: until then the programs say things of their own.
    let mut lines = Vec::new();
    if !as_json {
        lines.push(format!(
            "MB/s, best of {rounds}; TCP: from memory to memory, {CONGESTION}"
        ));
        lines.push(format!(
            "{:<24}{:>8}{:>8}{:>8}{:>12}{:>12}",
            "link", "kith", "raw", "TCP", "kith / raw", "kith / TCP"
        ));
    }
    for (name, quality, mib) in LINKS {
        if !name.contains(&only) {
            continue;
        }
        let mut best = [0f64; 3];
        for _ in 0..rounds {
            match measure(quality, mib) {
                Ok(rates) => best = std::array::from_fn(|i| best[i].max(rates[i])),
                Err(e) => {
                    eprintln!("bench-links: {e}");
                    return ExitCode::FAILURE;
                }
            }
        }
        let [kith, raw, tcp] = best;
        lines.push(if as_json {
            json!({ "link": name, "mib": mib, "rounds": rounds, "kith_mb_per_s": kith,
                "raw_mb_per_s": raw, "tcp_mb_per_s": tcp, "congestion": CONGESTION })
            .to_string()
        } else {
            let (of_raw, of_tcp) = (kith / raw * 100.0, kith / tcp * 100.0);
            format!("{name:<24}{kith:>8.1}{raw:>8.1}{tcp:>8.1}{of_raw:>10.0} %{of_tcp:>10.0} %")
        });
    }
    if !as_json && "chat".contains(&only) {
        lines.push(format!(
            "\n{:<32}{:>8}{:>8}{:>8}",
            "chat while a file goes, ms", "p50", "p95", "max"
        ));
    }
    for (name, slow) in [("20 Mbit/s, 200 ms of queue", true), ("loopback", false)] {
        if !"chat".contains(&only) {
            continue;
        }
        let both = match chat(slow) {
            Ok(both) => both,
            Err(e) => {
                eprintln!("bench-links: {e}");
                return ExitCode::FAILURE;
            }
        };
        for (way, l) in ["with it", "against it"].into_iter().zip(both) {
            lines.push(if as_json {
                json!({ "chat": name, "way": way, "p50_ms": l.p50, "p95_ms": l.p95,
                    "max_ms": l.max, "messages": l.count })
                .to_string()
            } else {
                let what = format!("{name}, {way}");
                format!("{what:<40}{:>8.0}{:>8.0}{:>8.0}", l.p50, l.p95, l.max)
            });
        }
    }
    println!("{}", lines.join("\n"));
    ExitCode::SUCCESS
}

/// Chat from the sender of a file and to it.
fn chat(slow: bool) -> Result<[talk::Latency; 2], NoLab> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file.bin");
    let (seconds, mib) = if slow { SLOW_CHAT } else { LOOPBACK_CHAT };
    // Without content: it is there at once, and goes as fast as any.
    File::create(&file).unwrap().set_len(mib << 20).unwrap();
    let program = std::env::current_exe().unwrap();
    let talk = (file.as_path(), seconds);
    Ok(if slow {
        let far = Far(Lab::start(SLOW, SEED)?);
        let (_server, url) = room_server(&far);
        talk::chat_under_load(&far, &program, &url, talk, dir.path())
    } else {
        let (_server, url) = room_server(&Loopback);
        talk::chat_under_load(&Loopback, &program, &url, talk, dir.path())
    })
}

/// MB/s of `kith send`, the raw channel and TCP, each over a new link.
fn measure(quality: Quality, mib: u64) -> Result<[f64; 3], NoLab> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("random.bin");
    random_file(&file, mib << 20);
    let far = || Lab::start(quality, SEED).map(Far);
    Ok([
        send_receive(&far()?, &file, &dir.path().join("run")).mb_per_s,
        raw_channel(&far()?, mib).mb_per_s,
        tcp(&far()?.0, mib),
    ])
}

fn tcp(lab: &Lab, mib: u64) -> f64 {
    let addr = (lab.addr(Side::B), 0);
    let listener = lab.within(Side::B, || TcpListener::bind(addr)).unwrap();
    let addr = listener.local_addr().unwrap();
    let mut to = lab.within(Side::A, || TcpStream::connect(addr)).unwrap();
    socket2::SockRef::from(&to)
        .set_tcp_congestion(CONGESTION.as_bytes())
        .unwrap();
    let mut from = listener.accept().unwrap().0;
    let sender = std::thread::spawn(move || {
        let megabyte = vec![0x5a; 1 << 20];
        for _ in 0..mib {
            to.write_all(&megabyte).unwrap();
        }
    });
    let mut buffer = vec![0; 1 << 18];
    let mut got = from.read(&mut buffer).unwrap();
    let begun = Instant::now();
    loop {
        match from.read(&mut buffer).unwrap() {
            0 => break,
            n => got += n,
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    sender.join().unwrap();
    assert_eq!(got as u64, mib << 20, "TCP lost bytes");
    got as f64 / 1e6 / seconds
}
