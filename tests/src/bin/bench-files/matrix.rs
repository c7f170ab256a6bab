//! Links against programs.

use std::fmt::Write as _;
use std::fs;

use kith_tests::bench::{
    Bar, Far, Loopback, Panel, Place, Program, Run, machine, svg, today, versions,
};
use kith_tests::netlab::{Lab, Quality};
use kith_tests::random_file;

use super::{Options, middle_ratio};

const NARROW: Quality = Quality::PERFECT.round_trip(40).bits_per_s(200_000_000);

/// Links beyond loopback, and the MiB that take seconds on each.
const LINKS: [(&str, Quality, u64); 4] = [
    ("RTT 40 ms", Quality::PERFECT.round_trip(40), 128),
    (
        "RTT 40 ms, 200 Mbit/s, queue 1 MiB",
        NARROW.queue(1 << 20),
        128,
    ),
    (
        "RTT 40 ms, 200 Mbit/s, queue 256 KiB",
        NARROW.queue(256 << 10),
        64,
    ),
    (
        "RTT 100 ms, 0.5 % loss",
        Quality::PERFECT.round_trip(100).loss(0.005),
        8,
    ),
];
const SEED: u64 = 1;

/// In the order of columns.
const PROGRAMS: [Program; 5] = [
    Program::Kith,
    Program::Scp,
    Program::Wormhole,
    Program::Raw(1),
    Program::Iperf3,
];
const KITH: usize = 0;
const RAW: usize = 3;
const TCP: usize = 4;

struct Measured {
    link: &'static str,
    mib: u64,
    /// By program, then by round.
    runs: Vec<Vec<Run>>,
}

pub fn run(options: &Options) {
    let machine = machine();
    let mut all = Vec::new();
    let wanted = |link: &str| link.contains(&options.only);
    if wanted("loopback") {
        let rounds = (0..options.rounds).map(|_| Ok(Loopback));
        all.push(measure("loopback", options.mib, rounds));
    }
    for (link, quality, mib) in LINKS.into_iter().filter(|(l, ..)| wanted(l)) {
        let far = |_| Lab::start(quality, SEED).map(Far);
        all.push(measure(link, mib, (0..options.rounds).map(far)));
    }
    let all: Vec<Measured> = all
        .into_iter()
        .filter_map(|measured| measured.map_err(|e| eprintln!("bench-files: {e}")).ok())
        .collect();
    let text = report(&all, &machine, options.rounds);
    println!("{text}");
    if let Some(dir) = &options.write {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join("files.md"), &text).unwrap();
        fs::write(dir.join("files.svg"), plot(&all)).unwrap();
    }
}

/// A new link for every round, and every program in each.
fn measure<P: Place, E>(
    link: &'static str,
    mib: u64,
    places: impl Iterator<Item = Result<P, E>>,
) -> Result<Measured, E> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("random.bin");
    random_file(&file, mib << 20);
    let mut runs = vec![Vec::new(); PROGRAMS.len()];
    for (round, place) in places.enumerate() {
        let (place, dir) = (place?, dir.path().join(format!("round{round}")));
        for (program, runs) in runs.iter_mut().enumerate() {
            let (program, dir) = (PROGRAMS[program], dir.join(program.to_string()));
            let run = program.run(&place, &file, mib, &dir);
            eprintln!("{link}: {}: {:.1} MB/s", program.name(), run.mb_per_s);
            runs.push(run);
        }
        fs::remove_dir_all(dir).unwrap();
    }
    Ok(Measured { link, mib, runs })
}

fn report(all: &[Measured], machine: &str, rounds: u32) -> String {
    let mut out = format!(
        "# Files over links, {}\n\n{machine}.\n\n\
         Written by `./dev bench files --matrix`. MB/s (10^6 bytes), the best of {rounds}. All programs \
         share the machine with the link that is made up between them. What they need to meet is not \
         counted. `kith` alone syncs what it wrote and has checked every byte against a hash before \
         it says that it is done; what `scp` and `magic-wormhole` wrote is still in memory then.\n\n\
         ![The same as bars](files.svg)\n\n",
        today(),
    );
    let _ = write!(out, "| link | MiB |");
    for program in PROGRAMS {
        let _ = write!(out, " {} |", program.name());
    }
    let _ = writeln!(
        out,
        " kith / raw |\n|---|---:|{}---:|",
        "---:|".repeat(PROGRAMS.len())
    );
    for m in all {
        let _ = write!(out, "| {} | {} |", m.link, m.mib);
        for runs in &m.runs {
            let rate = Run::best(runs).mb_per_s;
            let digits = usize::from(rate < 100.0);
            let _ = write!(out, " {rate:.digits$} |");
        }
        let ratio = middle_ratio(&m.runs[KITH], &m.runs[RAW]) * 100.0;
        let _ = writeln!(out, " {ratio:.0} % |");
    }
    out.push_str("\n(kith / raw: of the round in the middle.)\n");
    for m in all.iter().filter(|m| m.link == "loopback") {
        out.push_str(
            "\nOn loopback, CPU seconds per GB of sender and receiver, and peak RSS in MiB; of \
             programs with several processes, RSS is that of the first:\n\n\
             | | CPU sender | CPU receiver | RSS sender | RSS receiver |\n|---|---:|---:|---:|---:|\n",
        );
        for (program, runs) in PROGRAMS.iter().zip(&m.runs) {
            let name = program.name();
            let Run { cpu, usage, .. } = Run::best(runs);
            let _ = writeln!(
                out,
                "| {name} | {:.2} | {:.2} | {:.0} | {:.0} |",
                cpu[0], cpu[1], usage[0].rss, usage[1].rss
            );
        }
    }
    let _ = writeln!(out, "\nBeside it: {}.", versions().join(", "));
    out
}

fn plot(all: &[Measured]) -> String {
    let panels: Vec<Panel> = all
        .iter()
        .map(|m| Panel {
            title: m.link.into(),
            bars: PROGRAMS
                .iter()
                .zip(&m.runs)
                .enumerate()
                .map(|(i, (program, runs))| Bar {
                    label: program.name(),
                    value: Run::best(runs).mb_per_s,
                    ours: i == KITH,
                    beyond: i == TCP,
                })
                .collect(),
        })
        .collect();
    svg(&format!("A file over links, {}", today()), "MB/s", &panels)
}
