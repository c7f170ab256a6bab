//! What the command says and returns before anything is connected.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

const GOOD: &str =
    "kith://127.0.0.1:9/j#v1.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAA";

fn kith(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kith"));
    command.args(args).stdin(Stdio::null());
    let ours = std::env::vars_os().map(|(name, _)| name);
    let ours = ours.filter(|name| name.to_string_lossy().starts_with("KITH_"));
    for name in ours.chain(["HOME", "XDG_DATA_HOME", "COLUMNS"].map(Into::into)) {
        command.env_remove(name);
    }
    command
}

fn run(command: &mut Command) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// Exit code and the one line on stderr.
fn fails(command: &mut Command) -> (i32, String) {
    let (code, stdout, stderr) = run(command);
    assert_eq!(stdout, "");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(
        stderr.starts_with("kith: ") && stderr.ends_with(".\n"),
        "{stderr}"
    );
    (code, stderr)
}

/// Set `UPDATE_GOLDEN=1` to write the texts anew.
fn golden(name: &str, args: &[&str]) {
    let (code, stdout, stderr) = run(&mut kith(args));
    assert_eq!((code, stderr.as_str()), (0, ""), "{args:?}");
    for line in stdout.lines() {
        assert!(line.chars().count() <= 100, "too wide: {line}");
    }
    // Blank lines may come indented.
    let stdout: String = stdout
        .lines()
        .map(|l| l.trim_end().to_owned() + "\n")
        .collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/help/{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &stdout).unwrap();
    }
    let want = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        stdout,
        want,
        "the help text of {args:?} is not that of {}",
        path.display()
    );
}

#[test]
fn help_reads_as_agreed() {
    golden("kith", &["--help"]);
    golden("kith-short", &["-h"]);
    golden("invite", &["invite", "--help"]);
    golden("join", &["join", "--help"]);
    golden("send", &["send", "--help"]);
    golden("receive", &["receive", "--help"]);
    golden("parts", &["parts", "--help"]);
    golden("room-server", &["room-server", "--help"]);
}

#[test]
fn every_command_has_a_golden_help() {
    let (_, stdout, _) = run(&mut kith(&["-h"]));
    let commands = stdout
        .split("Commands:\n")
        .nth(1)
        .unwrap()
        .split("\n\n")
        .next()
        .unwrap();
    let names: Vec<&str> = commands
        .lines()
        .map(|l| l.split_whitespace().next().unwrap())
        .collect();
    assert_eq!(
        names,
        ["invite", "join", "send", "receive", "parts", "room-server"]
    );
}

#[test]
fn the_version_is_one_line() {
    let (code, stdout, _) = run(&mut kith(&["--version"]));
    assert_eq!((code, stdout.lines().count()), (0, 1));
    assert!(stdout.starts_with("kith "));
}

#[test]
fn a_wrong_command_line_is_exit_2() {
    for args in [
        &[][..],
        &["dance"],
        &["send"],
        &["send", "x", "--receivers", "0"],
        &["send", "x", "--to", GOOD, "--server", "a"],
        &["receive", GOOD],
        &["invite"],
        &["join", "--nonsense"],
    ] {
        let (code, stdout, stderr) = run(&mut kith(args));
        assert_eq!((code, stdout.as_str()), (2, ""), "{args:?}");
        assert!(!stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn what_is_missing_is_said_in_one_sentence() {
    let file = env!("CARGO_MANIFEST_DIR").to_owned() + "/Cargo.toml";
    let (code, text) = fails(&mut kith(&["join"]));
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("KITH_INVITE"), "{text}");
    let (code, text) = fails(&mut kith(&["send", &file]));
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("--server"), "{text}");
    let (code, text) = fails(&mut kith(&["invite", "--server", "no such server"]));
    assert_eq!(code, 2, "{text}");
    let (code, text) = fails(kith(&["send", &file]).env("KITH_SERVER", "a b"));
    assert_eq!(code, 2, "{text}");
    let (code, text) = fails(&mut kith(&["join", GOOD]));
    assert_eq!(code, 2, "no home: {text}");
    assert!(text.contains("--home"), "{text}");
    let (code, text) = fails(kith(&["join", GOOD]).env("KITH_LOG", "kith=nonsense=5"));
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("KITH_LOG"), "{text}");
}

#[test]
fn a_bad_invite_is_exit_3_wherever_it_comes_from() {
    let cut = &GOOD[..GOOD.len() - 5];
    for bad in ["hello", "kith://a/j", cut, "kith://a b/j#v1.x.y"] {
        let (code, text) = fails(&mut kith(&["join", bad]));
        assert_eq!(code, 3, "{bad}: {text}");
        assert!(!text.contains("v1.A"), "the secret is told: {text}");
        let (code, _) = fails(kith(&["join"]).env("KITH_INVITE", bad));
        assert_eq!(code, 3, "{bad}");
        let (code, _) = fails(&mut kith(&["receive", bad, "--into", "x", "--yes"]));
        assert_eq!(code, 3, "{bad}");
        let file = env!("CARGO_MANIFEST_DIR").to_owned() + "/Cargo.toml";
        let (code, _) = fails(&mut kith(&["send", &file, "--to", bad]));
        assert_eq!(code, 3, "{bad}");
    }
}

#[test]
fn an_invite_is_read_from_the_first_line_of_stdin() {
    for (input, want) in [("hello\nmore\n", 3), ("", 2), (GOOD, 2)] {
        let mut child = kith(&["join", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(want), "{input:?}: {stderr}");
        // A good one gets as far as the profile.
        assert_eq!(stderr.contains("--home"), input == GOOD, "{stderr}");
    }
}

#[test]
fn a_missing_path_is_found_before_connecting() {
    let args = ["send", "/no/such\nfile", "--server", "localhost:1"];
    let (code, text) = fails(&mut kith(&args));
    assert_eq!(code, 8);
    assert_eq!(text, "kith: /no/such\\nfile does not exist.\n");
}

#[test]
fn without_a_terminal_nobody_can_be_asked() {
    let (code, text) = fails(&mut kith(&["receive", GOOD, "--into", "x"]));
    assert_eq!(code, 2);
    assert!(text.contains("--yes"), "{text}");
    let file = env!("CARGO_MANIFEST_DIR").to_owned() + "/Cargo.toml";
    let (code, text) = fails(&mut kith(&["receive", GOOD, "--into", &file, "--yes"]));
    assert_eq!(code, 7, "{text}");
}

#[test]
fn programs_get_errors_as_objects() {
    let (code, stdout, stderr) = run(&mut kith(&["join", "hello", "--json"]));
    assert_eq!(code, 3);
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{stdout}");
    let error: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
    assert_eq!(error["type"], "error");
    assert_eq!(error["code"], "bad-invite");
    assert_eq!(error["exit"], 3);
    assert!(stderr.contains(error["message"].as_str().unwrap()));
    assert_eq!(lines[1], r#"{"type":"summary","ok":false}"#);

    let (code, stdout, stderr) = run(&mut kith(&["--json", "dance"]));
    assert_eq!(code, 2);
    let first = stdout.lines().next().unwrap();
    let error: serde_json::Value = serde_json::from_str(first).unwrap();
    assert_eq!(
        (&error["code"], &error["exit"]),
        (&"usage".into(), &2.into())
    );
    assert!(stderr.contains("dance"));
}

#[test]
fn a_wrong_command_line_does_not_tell_the_secret() {
    let (code, _, stderr) = run(&mut kith(&["invite", GOOD, "--server", "a"]));
    assert_eq!(code, 2);
    assert!(
        stderr.contains("#…") && !stderr.contains("v1.A"),
        "{stderr}"
    );
}

#[test]
fn an_invite_is_made_without_a_server() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path().to_str().unwrap();
    let args = ["invite", "--server", "localhost:1", "--home", home];
    let (code, stdout, stderr) = run(&mut kith(&args));
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(stdout.lines().count(), 1);
    let first: kith_protocol::Invite = stdout.parse().unwrap();
    let (code, stdout, _) = run(kith(&args).arg("--json"));
    assert_eq!(code, 0);
    let made: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(made["type"], "invite");
    let second: kith_protocol::Invite = made["invite"].as_str().unwrap().parse().unwrap();
    assert_eq!(first.inviter(), second.inviter(), "the same profile");
    assert_ne!(first.secret(), second.secret());
}

#[test]
fn a_room_server_says_where_it_listens_and_stops_when_asked() {
    for (json, want) in [
        (false, "listening on http://127.0.0.1:"),
        (true, "127.0.0.1:"),
    ] {
        let mut command = kith(&["room-server", "--listen", "127.0.0.1:0"]);
        if json {
            command.arg("--json");
        }
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.unwrap();
        let (tx, rx) = mpsc::channel();
        let stdout = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).unwrap();
            tx.send(line).unwrap();
        });
        let line = rx.recv_timeout(Duration::from_secs(30)).unwrap();
        let said = match json {
            false => line.trim_end().to_owned(),
            true => {
                let said: serde_json::Value = serde_json::from_str(&line).unwrap();
                assert_eq!(said["type"], "listening");
                said["addr"].as_str().unwrap().to_owned()
            }
        };
        let port: u16 = said.strip_prefix(want).unwrap().parse().unwrap();
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn a_room_server_that_cannot_listen_says_why() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let (code, text) = fails(&mut kith(&["room-server", "--listen", &addr]));
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("in use"), "{text}");
    let (code, text) = fails(&mut kith(&["room-server", "--listen", "nowhere"]));
    assert_eq!(code, 2, "{text}");
}

#[test]
fn unfinished_files_of_no_transfer_are_listed_and_removed() {
    let (home, down) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (home, dir) = (home.path().to_str().unwrap(), down.path());
    let part = dir.join("sub/.film.0123456789abcdef.part");
    std::fs::create_dir(dir.join("sub")).unwrap();
    std::fs::write(&part, vec![7; 300_000]).unwrap();
    std::fs::write(dir.join(".film.part"), "mine").unwrap();
    let parts = |more: &[&str]| {
        let mut command = kith(&["parts", "--home", home]);
        command.arg(dir).args(more);
        command
    };
    let (code, stdout, stderr) = run(&mut parts(&[]));
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.contains("300 kB") && stdout.contains(".film.0123456789abcdef.part"));
    assert!(stdout.ends_with("--remove removes them.\n"), "{stdout}");

    let (code, stdout, _) = run(&mut parts(&["--json"]));
    let lines: Vec<serde_json::Value> = stdout
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!((code, lines.len()), (0, 2), "{stdout}");
    assert_eq!(lines[0]["type"], "part");
    assert_eq!(lines[0]["bytes"], 300_000);
    assert!(lines[0]["path"].as_str().unwrap().ends_with(".part"));
    assert_eq!(
        (&lines[1]["ok"], &lines[1]["files"]),
        (&true.into(), &1.into())
    );
    assert_eq!(lines[1]["removed"], 0);

    let (code, text) = fails(&mut parts(&["--remove"]));
    assert_eq!(code, 2, "nobody can be asked: {text}");
    assert!(text.contains("--yes") && part.exists(), "{text}");
    let (code, stdout, _) = run(&mut parts(&["--remove", "--yes"]));
    assert_eq!(code, 0);
    assert!(
        stdout.ends_with("Removed 1 unfinished file, 300 kB.\n"),
        "{stdout}"
    );
    assert!(!part.exists() && dir.join(".film.part").exists());

    let (code, stdout, _) = run(&mut kith(&["parts", "--home", home]));
    assert_eq!(code, 0);
    assert!(stdout.starts_with("There are no"), "{stdout}");
    let (code, text) = fails(&mut kith(&["parts", "--home", home, "/no/such"]));
    assert_eq!(code, 2, "{text}");
}
