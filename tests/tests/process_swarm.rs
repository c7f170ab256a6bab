//! A swarm of real processes, one of which is killed on the way.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::path::{Path, PathBuf};

use kith_tests::process::{Ended, Kith};
use kith_tests::{random_file, sha256};

const SIZE: u64 = 200_000_000;
/// Who stays.
const OTHERS: [&str; 3] = ["bob", "cy", "dee"];
/// Who is killed.
const KILLED: &str = "eve";

/// Ada sends a film to four, who fetch it from each other.
struct Scene {
    sender: Kith,
    others: Vec<Kith>,
    _server: Kith,
    dir: tempfile::TempDir,
    film: PathBuf,
    invite: String,
}

impl Scene {
    /// Eve is killed when she has a good part of it.
    fn with_one_killed() -> Scene {
        let (server, addr) = Kith::room_server(0);
        let dir = tempfile::tempdir().unwrap();
        let film = dir.path().join("film");
        random_file(&film, SIZE);
        let url = format!("http://{addr}");
        // As slow as it takes to be killed on the way.
        let send = ["send", film.to_str().unwrap(), "--server", &url];
        let how = ["--receivers", "4", "--strategy", "swarm", "--limit", "30M"];
        let args = [&send[..], &how].concat();
        let mut sender = Kith::start(&dir.path().join("ada"), "Ada", &args);
        let invite = sender.wait("an invite", |v| v["invite"].as_str().map(str::to_string));
        let mut scene = Scene {
            sender,
            others: Vec::new(),
            _server: server,
            dir,
            film,
            invite,
        };
        // They stay for each other, as who has the film is the one to ask when Ada is busy.
        scene.others = OTHERS
            .iter()
            .map(|name| scene.receive(name, &["--stay"]))
            .collect();
        let mut eve = scene.receive(KILLED, &[]);
        eve.wait("half of it", |v| {
            assert_ne!(v["phase"], "done", "it was over before it could be killed");
            (v["done"].as_u64()? > SIZE / 2).then_some(())
        });
        eve.kill();
        scene
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("in {name}"))
    }

    fn receive(&self, name: &str, rest: &[&str]) -> Kith {
        let into = self.folder(name).display().to_string();
        let receive = ["receive", &self.invite, "--into", &into, "--yes"];
        let args = [&receive[..], rest].concat();
        Kith::start(&self.dir.path().join(name), name, &args)
    }

    /// Waits until those who stayed have the film, as it is.
    fn others_have_it(&mut self) {
        for (name, process) in OTHERS.iter().zip(&mut self.others) {
            process.wait_fields("offer", &[("phase", "done")]);
            whole(&self.dir.path().join(format!("in {name}")), &self.film);
        }
    }

    /// All have it, and the sender knows and has sent no more than `most` in all.
    fn all_have_it(mut self, eve: Kith, most: u64) {
        let eve = succeed(eve);
        let again = &eve.line("summary")["traffic"];
        assert!(again["resumed"].as_u64().unwrap() > 0, "{again}");
        whole(&self.folder(KILLED), &self.film);
        self.others_have_it();
        let sent = succeed(self.sender);
        let summary = sent.line("summary");
        let done = summary["receivers"].as_array().unwrap();
        assert!(done.iter().all(|r| r["phase"] == "done"), "{summary}");
        let sent = summary["traffic"]["sent"].as_u64().unwrap();
        eprintln!("sent {:.2} of the film", sent as f64 / SIZE as f64);
        assert!(sent <= most, "{sent} of {most}: {summary}");
    }
}

fn succeed(process: Kith) -> Ended {
    let ended = process.wait_end();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    ended
}

/// The film is there, and nothing else.
fn whole(folder: &Path, film: &Path) {
    let names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names, ["film"], "nothing is left over");
    assert_eq!(sha256(&folder.join("film")), sha256(film));
}

#[test]
fn one_that_is_killed_holds_up_nobody_and_gets_the_rest_when_it_is_back() {
    let mut scene = Scene::with_one_killed();
    scene.others_have_it();
    let eve = scene.receive(KILLED, &[]);
    scene.all_have_it(eve, SIZE * 3 / 2);
}

#[test]
fn one_that_is_killed_and_back_at_once_goes_on_with_the_others() {
    let scene = Scene::with_one_killed();
    let eve = scene.receive(KILLED, &[]);
    scene.all_have_it(eve, SIZE * 3 / 2);
}
