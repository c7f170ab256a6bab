//! A file over loopback, by us and by others.

use std::fmt::Write as _;
use std::fs;

use kith_tests::bench::{Bar, Loopback, Panel, Program, Run, machine, svg, today, versions};
use kith_tests::random_file;

use super::{Options, middle_ratio};

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

/// By program, then by round.
type Runs = Vec<Vec<Run>>;

pub fn run(options: &Options) {
    let machine = machine();
    let runs = measure(options.mib, options.rounds);
    let text = report(&runs, &machine, options);
    println!("{text}");
    if let Some(dir) = &options.write {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join("files-others.md"), &text).unwrap();
        fs::write(dir.join("files-others.svg"), plot(&runs)).unwrap();
    }
}

/// Every program in each round.
fn measure(mib: u64, rounds: u32) -> Runs {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("random.bin");
    random_file(&file, mib << 20);
    let mut runs = vec![Vec::new(); PROGRAMS.len()];
    for round in 0..rounds {
        let dir = dir.path().join(format!("round{round}"));
        for (n, (program, runs)) in PROGRAMS.iter().zip(&mut runs).enumerate() {
            let run = program.run(&Loopback, &file, mib, &dir.join(n.to_string()));
            eprintln!("{}: {:.1} MB/s", program.name(), run.mb_per_s);
            runs.push(run);
        }
        fs::remove_dir_all(dir).unwrap();
    }
    runs
}

fn report(runs: &Runs, machine: &str, options: &Options) -> String {
    let Options { mib, rounds, .. } = options;
    let mut out = format!(
        "# A file over loopback, beside other programs, {}\n\n{machine}.\n\n\
         Written by `./dev bench files --others`: {mib} MiB, {rounds} rounds. MB/s (10^6 bytes) of each, \
         CPU seconds per GB and peak RSS in MiB of sender and receiver in the fastest; of programs with \
         several processes, RSS is that of the first. What they need to meet is not counted. `kith` alone \
         syncs what it wrote and has checked every byte against a hash before it says that it is done; \
         what `scp` and `magic-wormhole` wrote is still in memory then.\n\n\
         ![The same as bars](files-others.svg)\n\n\
         | | MB/s | CPU sender | CPU receiver | RSS sender | RSS receiver |\n\
         |---|---|---:|---:|---:|---:|\n",
        today(),
    );
    for (program, runs) in PROGRAMS.iter().zip(runs) {
        let rates: Vec<String> = runs.iter().map(|r| format!("{:.0}", r.mb_per_s)).collect();
        let Run { cpu, usage, .. } = Run::best(runs);
        let _ = writeln!(
            out,
            "| {} | {} | {:.2} | {:.2} | {:.0} | {:.0} |",
            program.name(),
            rates.join(", "),
            cpu[0],
            cpu[1],
            usage[0].rss,
            usage[1].rss
        );
    }
    let ratio = middle_ratio(&runs[KITH], &runs[RAW]) * 100.0;
    let versions = versions().join(", ");
    let _ = writeln!(
        out,
        "\nkith / raw, in the round in the middle: {ratio:.0} %. Beside it: {versions}."
    );
    out
}

fn plot(runs: &Runs) -> String {
    let bars = PROGRAMS.iter().zip(runs).enumerate();
    let bar = |(i, (program, runs)): (usize, (&Program, &Vec<Run>))| Bar {
        label: program.name(),
        value: Run::best(runs).mb_per_s,
        ours: i == KITH,
        beyond: i == TCP,
    };
    let panel = Panel {
        title: "loopback, the best".into(),
        bars: bars.map(bar).collect(),
    };
    let title = format!("A file beside other programs, {}", today());
    svg(&title, "MB/s", &[panel])
}
