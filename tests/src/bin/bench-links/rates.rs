//! Links against programs.

use std::fmt::Write as _;
use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use kith_tests::bench::{Bar, Far, Panel, Program, machine, svg, today, versions};
use kith_tests::netlab::{Lab, NoLab, Quality, Side};
use kith_tests::random_file;
use serde_json::json;

use super::Options;

const NARROW: Quality = Quality::PERFECT.round_trip(40).bits_per_s(200_000_000);

/// Links and the MiB that take seconds on each. What waits before the narrow ones may be as much as
/// they hold, or a quarter of it.
const LINKS: [(&str, Quality, u64); 5] = [
    ("no delay", Quality::PERFECT, 256),
    ("RTT 40 ms", Quality::PERFECT.round_trip(40), 256),
    (
        "RTT 40 ms, 200 Mbit/s, queue 1 MiB",
        NARROW.queue(1 << 20),
        128,
    ),
    (
        "RTT 40 ms, 200 Mbit/s, queue 256 KiB",
        NARROW.queue(256 << 10),
        128,
    ),
    (
        "RTT 100 ms, 0.5 % loss",
        Quality::PERFECT.round_trip(100).loss(0.005),
        16,
    ),
];
const SEED: u64 = 1;
/// TCP is not looked at for longer: where packets are lost, one retransmission after another can take
/// minutes.
const LONG_ENOUGH: Duration = Duration::from_secs(20);
/// What most systems use; it is asked for because the rate over lossy links depends on it.
const CONGESTION: &str = "cubic";
/// tcp(7): what the system gives to programs that do not ask.
const CONTROL: &str = "/proc/sys/net/ipv4/tcp_congestion_control";

/// One column.
#[derive(Clone, Copy, PartialEq)]
enum Column {
    Of(Program),
    Tcp,
}

const COLUMNS: [Column; 5] = [
    Column::Of(Program::Kith),
    Column::Of(Program::Scp),
    Column::Of(Program::Wormhole),
    Column::Of(Program::Raw(1)),
    Column::Tcp,
];
const STRANDS: [Column; 4] = [
    Column::Of(Program::Raw(1)),
    Column::Of(Program::Raw(2)),
    Column::Of(Program::Raw(4)),
    Column::Of(Program::Raw(8)),
];

impl Column {
    fn name(self) -> String {
        match self {
            Column::Of(program) => program.name(),
            Column::Tcp => format!("TCP ({CONGESTION}), memory"),
        }
    }
}

/// MB/s over one link, by column.
struct Measured {
    link: &'static str,
    mib: u64,
    rates: Vec<f64>,
}

/// Goes through all links; what is to be said of it.
pub fn measure(options: &Options) -> Result<Vec<String>, NoLab> {
    let machine = machine();
    let columns: &[Column] = if options.strands { &STRANDS } else { &COLUMNS };
    let mut all = Vec::new();
    let links = LINKS.into_iter();
    for (link, quality, mib) in links.filter(|(link, ..)| link.contains(&options.only)) {
        let rates = over(link, quality, mib, columns, options.rounds)?;
        all.push(Measured { link, mib, rates });
    }
    let text = report(&all, columns, &machine, options);
    if let Some(dir) = &options.write {
        let name = if options.strands {
            "links-strands"
        } else {
            "links-programs"
        };
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join(format!("{name}.md")), &text).unwrap();
        fs::write(dir.join(format!("{name}.svg")), plot(&all, columns)).unwrap();
    }
    if options.json {
        let line = |m: &Measured| {
            let rates: serde_json::Map<_, _> = columns
                .iter()
                .zip(&m.rates)
                .map(|(column, rate)| (column.name(), json!(rate)))
                .collect();
            json!({ "link": m.link, "mib": m.mib, "rounds": options.rounds, "mb_per_s": rates })
        };
        return Ok(all.iter().map(|m| line(m).to_string()).collect());
    }
    Ok(vec![text])
}

/// Every program in each round, each over a new link.
fn over(
    link: &str,
    quality: Quality,
    mib: u64,
    columns: &[Column],
    rounds: u32,
) -> Result<Vec<f64>, NoLab> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("random.bin");
    random_file(&file, mib << 20);
    let mut runs = vec![Vec::new(); columns.len()];
    for round in 0..rounds {
        for (n, (column, runs)) in columns.iter().zip(&mut runs).enumerate() {
            let far = Far(Lab::start(quality, SEED)?);
            let rate = match column {
                Column::Of(program) => {
                    let dir = dir.path().join(format!("{round}-{n}"));
                    let run = program.run(&far, &file, mib, &dir);
                    let _ = fs::remove_dir_all(dir);
                    run.mb_per_s
                }
                Column::Tcp => tcp(&far.0, mib),
            };
            eprintln!("{link}: {}: {rate:.2} MB/s", column.name());
            runs.push(rate);
        }
    }
    Ok(runs.into_iter().map(middle).collect())
}

fn middle(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn tcp(lab: &Lab, mib: u64) -> f64 {
    let addr = (lab.addr(Side::B), 0);
    let listener = lab.within(Side::B, || TcpListener::bind(addr)).unwrap();
    let addr = listener.local_addr().unwrap();
    let mut to = lab.within(Side::A, || TcpStream::connect(addr)).unwrap();
    socket2::SockRef::from(&to)
        .set_tcp_congestion(CONGESTION.as_bytes())
        .unwrap();
    to.set_write_timeout(Some(LONG_ENOUGH)).unwrap();
    let mut from = listener.accept().unwrap().0;
    let sender = std::thread::spawn(move || {
        let megabyte = vec![0x5a; 1 << 20];
        // It may end before all is sent.
        (0..mib).try_for_each(|_| to.write_all(&megabyte))
    });
    let mut buffer = vec![0; 1 << 18];
    let mut got = from.read(&mut buffer).unwrap();
    let begun = Instant::now();
    from.set_read_timeout(Some(LONG_ENOUGH)).unwrap();
    while begun.elapsed() < LONG_ENOUGH {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) => assert_eq!(e.kind(), ErrorKind::WouldBlock),
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    drop(from);
    let sent = sender.join().unwrap();
    if seconds < LONG_ENOUGH.as_secs_f64() {
        sent.unwrap();
        assert_eq!(got as u64, mib << 20, "TCP lost bytes");
    }
    got as f64 / 1e6 / seconds
}

fn report(all: &[Measured], columns: &[Column], machine: &str, options: &Options) -> String {
    let (title, flag, image) = if options.strands {
        (
            "The bare data channel over several connections",
            " --strands",
            "links-strands.svg",
        )
    } else {
        ("A file over bad links", "", "links-programs.svg")
    };
    let mut out = format!(
        "# {title}, {}\n\n{machine}.\n\n\
         Written by `./dev bench links{flag}`. MB/s (10^6 bytes), the middle of {} rounds. All programs \
         share the machine with the link that is made up between them. What they need to meet is not \
         counted.\n\n![The same as bars]({image})\n\n| link | MiB |",
        today(),
        options.rounds,
    );
    for column in columns {
        let _ = write!(out, " {} |", column.name());
    }
    let _ = writeln!(out, "\n|---|---:|{}", "---:|".repeat(columns.len()));
    for m in all {
        let _ = write!(out, "| {} | {} |", m.link, m.mib);
        for rate in &m.rates {
            let digits = if *rate < 10.0 { 2 } else { 1 };
            let _ = write!(out, " {rate:.digits$} |");
        }
        out.push('\n');
    }
    if !options.strands {
        let theirs = fs::read_to_string(CONTROL).unwrap_or_default();
        let _ = writeln!(
            out,
            "\nBeside it: {}. scp and magic-wormhole go over TCP with {}, as this system has it.",
            versions().join(", "),
            theirs.trim()
        );
    }
    out
}

fn plot(all: &[Measured], columns: &[Column]) -> String {
    let panels: Vec<Panel> = all
        .iter()
        .map(|m| Panel {
            title: m.link.into(),
            bars: columns
                .iter()
                .zip(&m.rates)
                .map(|(column, rate)| Bar {
                    label: column.name(),
                    value: *rate,
                    ours: *column == Column::Of(Program::Kith),
                    beyond: *column == Column::Tcp,
                })
                .collect(),
        })
        .collect();
    svg(&format!("Over bad links, {}", today()), "MB/s", &panels)
}
