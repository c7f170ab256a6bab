//! What abuse of a room server does to others, and to its memory.
//!
//! `bench-abuse [--strikes N] [--only NAME] [--json]`, with the room server named by
//! `ROOM_SERVER_BIN`. Each attack meets a server of its own, with two bystanders who talk all the
//! while. After two strikes, which find code and tables used for the first time, its memory is
//! looked at, and again after all others: what grows with their number would be a leak.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench talks and may end early"
)]

use std::time::Duration;

use kith_tests::abuse::{ATTACKS, Attack, Bystanders, Delays, Ends, Victim};
use serde_json::json;

const WARM_UP: u8 = 2;
/// Longer than the server takes to give memory back.
const REST: Duration = Duration::from_secs(3);

struct Row {
    delays: Delays,
    /// RSS in KiB: before the first strike, after the warm-up, at most after a strike, at last.
    rss: [u64; 4],
    ends: Ends,
}

#[tokio::main]
async fn main() {
    let (mut strikes, mut only, mut as_json) = (10u8, None, false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--strikes" => {
                let n = args.next().and_then(|v| v.parse().ok());
                strikes = n
                    .filter(|n| (3..=24).contains(n))
                    .expect("--strikes 3 to 24");
            }
            "--only" => only = Some(args.next().expect("--only NAME")),
            "--json" => as_json = true,
            other => {
                panic!("{other} is not an option: bench-abuse [--strikes N] [--only NAME] [--json]")
            }
        }
    }
    let program = std::env::var("ROOM_SERVER_BIN").expect("ROOM_SERVER_BIN names the room server");
    if !as_json {
        println!(
            "{strikes} strikes each; round trips of two bystanders in ms; RSS of the server in KiB"
        );
        println!(
            "{:37} {:>6} {:>6} {:>6} {:>6}  {:>6} {:>6} {:>6} {:>6} {:>6}  ends of the offender\u{2019}s sockets, each time",
            "attack", "trips", "p50", "p99", "most", "cold", "warm", "peak", "last", "±"
        );
    }
    for attack in ATTACKS {
        if only.as_ref().is_none_or(|name| name == attack.name) {
            let row = measure(&program, *attack, strikes).await;
            print(attack.name, &row, as_json);
        }
    }
}

async fn measure(program: &str, attack: Attack, strikes: u8) -> Row {
    let victim = Victim::start_real(program);
    let mut others = Bystanders::start(&victim).await;
    others.talk(20).await;
    let cold = victim.rss();
    for round in 0..WARM_UP {
        attack.strike(&victim, round).await;
    }
    tokio::time::sleep(REST).await;
    let (warm, mut peak, mut ends) = (victim.rss(), 0, Ends::default());
    for round in WARM_UP..strikes {
        ends = attack.strike(&victim, round).await;
        peak = peak.max(victim.rss());
    }
    tokio::time::sleep(REST).await;
    let last = victim.rss();
    Row {
        delays: others.stop().await,
        rss: [cold, warm, peak, last],
        ends,
    }
}

fn print(name: &str, row: &Row, as_json: bool) {
    let ms = |percent| row.delays.percentile(percent).as_secs_f64() * 1e3;
    let (trips, p50, p99, most) = (row.delays.count(), ms(50), ms(99), ms(100));
    let [cold, warm, peak, last] = row.rss;
    let grown = (last as f64 / warm as f64 - 1.0) * 100.0;
    if as_json {
        let row = json!({ "attack": name, "trips": trips, "p50_ms": p50, "p99_ms": p99, "most_ms": most,
            "rss_kib": { "cold": cold, "warm": warm, "peak": peak, "last": last }, "ends": row.ends.to_string() });
        println!("{row}");
        return;
    }
    println!(
        "{name:37} {trips:>6} {p50:>6.1} {p99:>6.1} {most:>6.1}  {cold:>6} {warm:>6} {peak:>6} {last:>6} {grown:>+5.1}%  {}",
        row.ends
    );
}
