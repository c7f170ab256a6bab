//! Two real windows on an X server without a screen: pages, engines and network are what users
//! have.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use kith_api::{COMMANDS, SHELL_COMMANDS};
use kith_tests::process::Kith;
use kith_tests::window::{Screen, Window};
use kith_tests::{random_file, sha256};
use serde_json::json;
use thirtyfour::prelude::*;

const MESSAGE: &str = "Message to everyone in the room";

/// A home for each, and Ada's window with a room in it.
struct Scene {
    dir: tempfile::TempDir,
    screen: Screen,
    ada: Window,
    invite: String,
}

impl Scene {
    async fn start() -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let screen = Screen::start();
        let ada = Window::open(&screen, &dir.path().join("ada"), &[]).await;
        ada.fill("What should others call you?", "Ada").await;
        ada.click("button", "Create room").await;
        // The first screen has a field of this name as well.
        let invite = ada
            .wait("an invite", async |_| {
                let link = ada.fillable("Invite link").await;
                link.value().await.ok()?.filter(|v| !v.is_empty())
            })
            .await;
        assert!(invite.starts_with("kith://127.0.0.1:"), "{invite}");
        ada.press(Key::Escape).await;
        Scene {
            dir,
            screen,
            ada,
            invite,
        }
    }

    fn home(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Bob's window, in the room.
    async fn bob(&self) -> Window {
        let bob = Window::open(&self.screen, &self.home("bob"), &[]).await;
        bob.fill("What should others call you?", "Bob").await;
        bob.fill("Invite link", &self.invite).await;
        bob.click("button", "Join room").await;
        bob
    }
}

async fn say(window: &Window, text: &str) {
    let field = window.fill(MESSAGE, text).await;
    field.send_keys(Key::Enter).await.unwrap();
}

/// Bytes received so far, as the progress bar of a file tells; `None` without one.
async fn progress(window: &Window, name: &str) -> Option<f64> {
    let css = format!("progress[aria-label='Received of {name}']");
    let bar = window.page.find(By::Css(&css)).await.ok()?;
    let value = bar.prop("value").await.ok()??;
    value.parse().ok()
}

fn names(dir: &Path) -> Vec<String> {
    let files = std::fs::read_dir(dir).unwrap();
    files
        .map(|f| f.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[tokio::test]
async fn window_two_windows_meet_chat_hand_over_a_file_and_part() {
    let scene = Scene::start().await;
    let (ada, bob) = (&scene.ada, scene.bob().await);
    ada.read("Bob is here").await;
    bob.read("Ada is here").await;
    ada.read("1 of 1 connected").await;
    bob.read("1 of 1 connected").await;

    say(ada, "hello from Ada's window").await;
    bob.read("hello from Ada's window").await;
    say(&bob, "and hello from Bob's").await;
    ada.read("and hello from Bob's").await;

    let file = scene.home("film.mkv");
    random_file(&file, 60_000_000);
    ada.drop_files(&scene.screen, &[&file], "[aria-label='Messages and files']")
        .await;
    bob.click("button", "Accept: film.mkv").await;
    bob.read("Received and checked").await;
    let arrived = scene.home("bob").join("Downloads/film.mkv");
    assert_eq!(sha256(&arrived), sha256(&file));
    ada.read("Has everything").await;

    // Holes, but so many of them that it is far from over when it is cancelled.
    let other = scene.home("series.mkv");
    let size = 4_000_000_000;
    std::fs::File::create(&other)
        .unwrap()
        .set_len(size)
        .unwrap();
    ada.drop_files(
        &scene.screen,
        &[&other],
        "[aria-label='Messages and files']",
    )
    .await;
    bob.click("button", "Accept: series.mkv").await;
    let mut seen: Vec<f64> = Vec::new();
    bob.wait("a bar that moves", async |_| {
        let done = progress(&bob, "series.mkv").await?;
        if done > 0.0 && seen.last() != Some(&done) {
            seen.push(done);
        }
        (seen.len() >= 3).then_some(())
    })
    .await;
    assert!(seen.is_sorted(), "only forward: {seen:?}");
    bob.click("button", "Cancel: series.mkv").await;
    bob.wait("no bar any more", async |_| {
        progress(&bob, "series.mkv").await.is_none().then_some(())
    })
    .await;
    bob.read("Declined").await;
    ada.read("Declined").await;
    let left = names(&scene.home("bob").join("Downloads"));
    assert_eq!(left, ["film.mkv"], "a cancelled file leaves nothing");

    bob.close(&scene.screen).await;
    ada.read("Bob has left").await;
    ada.read("0 of 1 connected").await;
}

#[tokio::test]
async fn window_a_window_and_a_terminal_meet_chat_and_hand_over_a_file() {
    let scene = Scene::start().await;
    let ada = &scene.ada;
    let mut cli = Kith::start(&scene.home("bob"), "Bob", &["join", &scene.invite]);
    ada.read("Bob is here").await;
    ada.read("1 of 1 connected").await;
    say(ada, "hello terminal").await;
    cli.wait_fields("message", &[("name", "Ada"), ("text", "hello terminal")]);
    cli.say("hello window");
    ada.read("hello window").await;
    cli.terminate();
    assert_eq!(cli.wait_end().code, Some(130));
    ada.read("Bob has left").await;

    // From the window to the terminal …
    let to_cli = scene.home("for-bob.bin");
    random_file(&to_cli, 20_000_000);
    ada.drop_files(
        &scene.screen,
        &[&to_cli],
        "[aria-label='Messages and files']",
    )
    .await;
    let into = scene.home("in");
    let args = [
        "receive",
        &scene.invite,
        "--into",
        into.to_str().unwrap(),
        "--yes",
    ];
    let ended = Kith::start(&scene.home("bob"), "Bob", &args).wait_end();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(sha256(&into.join("for-bob.bin")), sha256(&to_cli));
    ada.read("Has everything").await;

    // … and back.
    let to_window = scene.home("for-ada.bin");
    random_file(&to_window, 20_000_000);
    let args = ["send", to_window.to_str().unwrap(), "--to", &scene.invite];
    let sender = Kith::start(&scene.home("bob"), "Bob", &args);
    ada.click("button", "Accept: for-ada.bin").await;
    let ended = sender.wait_end();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    ada.read("Received and checked").await;
    let arrived = scene.home("ada").join("Downloads/for-ada.bin");
    assert_eq!(sha256(&arrived), sha256(&to_window));

    // What opens it has the priority of any program, though the engine has a low one.
    let opener = scene.home("ada").join("bin/xdg-open");
    let said = scene.home("ada").join("opened");
    std::fs::create_dir(opener.parent().unwrap()).unwrap();
    let script = format!("#!/bin/sh\necho \"$(nice) $1\" >'{}'\n", said.display());
    std::fs::write(&opener, script).unwrap();
    std::fs::set_permissions(&opener, Permissions::from_mode(0o755)).unwrap();
    ada.click("button", "Open: for-ada.bin").await;
    let line = ada
        .wait("program that opens it", async |_| {
            let line = std::fs::read_to_string(&said).ok()?;
            line.ends_with('\n').then_some(line)
        })
        .await;
    let usual = rustix::process::getpriority_process(None).unwrap();
    assert_eq!(line, format!("{usual} {}\n", arrived.display()));
}

/// Bob's window, closed as by its user, and opened again on the same profile.
async fn again(scene: &Scene, bob: Window) -> Window {
    bob.close(&scene.screen).await;
    Window::open(&scene.screen, &scene.home("bob"), &[]).await
}

/// Bytes received once the bar of a file is there.
async fn bar(window: &Window, name: &str) -> f64 {
    let what = format!("bar of {name}");
    window
        .wait(&what, async |_| progress(window, name).await)
        .await
}

/// Waits until the bar of a file has moved to more than so many bytes.
async fn beyond(window: &Window, name: &str, bytes: f64) {
    let what = format!("bar of {name} beyond {bytes}");
    window
        .wait(&what, async |_| {
            (progress(window, name).await? > bytes).then_some(())
        })
        .await;
}

#[tokio::test]
async fn window_a_file_paused_by_its_receiver_stays_so_across_a_restart_and_completes() {
    let scene = Scene::start().await;
    let (ada, bob) = (&scene.ada, scene.bob().await);
    bob.read("1 of 1 connected").await;
    let film = scene.home("film.mkv");
    let size = 300_000_000;
    random_file(&film, size);
    ada.drop_files(&scene.screen, &[&film], "[aria-label='Messages and files']")
        .await;
    bob.click("button", "Accept: film.mkv").await;
    beyond(&bob, "film.mkv", 0.0).await;
    bob.click("button", "Pause: film.mkv").await;
    bob.read("You paused it").await;
    ada.read("Bob paused it").await;
    let before = bar(&bob, "film.mkv").await;
    assert!(before < size as f64, "it was paused on the way");

    let bob = again(&scene, bob).await;
    bob.read("You paused it").await;
    let kept = bar(&bob, "film.mkv").await;
    assert!(kept >= before, "what had come is still there");
    // Both know each other again, and nothing comes for that.
    bob.read("1 of 1 connected").await;
    ada.read("1 of 1 connected").await;
    ada.read("Bob paused it").await;
    say(&bob, "still waiting").await;
    ada.read("still waiting").await;
    assert_eq!(bar(&bob, "film.mkv").await.to_bits(), kept.to_bits());

    bob.click("button", "Resume: film.mkv").await;
    bob.read("Received and checked").await;
    ada.read("Has everything").await;
    let downloads = scene.home("bob").join("Downloads");
    assert_eq!(names(&downloads), ["film.mkv"], "no leftovers");
    assert_eq!(sha256(&downloads.join("film.mkv")), sha256(&film));
}

#[tokio::test]
async fn window_a_file_paused_by_its_sender_says_so_at_the_receiver() {
    let scene = Scene::start().await;
    let (ada, bob) = (&scene.ada, scene.bob().await);
    bob.read("1 of 1 connected").await;
    let film = scene.home("film.mkv");
    random_file(&film, 300_000_000);
    ada.drop_files(&scene.screen, &[&film], "[aria-label='Messages and files']")
        .await;
    bob.click("button", "Accept: film.mkv").await;
    beyond(&bob, "film.mkv", 0.0).await;
    ada.click("button", "Pause: film.mkv").await;
    ada.read("You paused it").await;
    bob.read("Ada paused it").await;

    // The receiver's own bit is another one: both have to let it go on.
    bob.click("button", "Pause: film.mkv").await;
    bob.read("You and Ada paused it").await;
    ada.read("You and Bob paused it").await;
    ada.click("button", "Resume: film.mkv").await;
    ada.read("Bob paused it").await;
    bob.read("You paused it").await;
    bob.click("button", "Resume: film.mkv").await;

    bob.read("Received and checked").await;
    ada.read("Has everything").await;
    let arrived = scene.home("bob").join("Downloads/film.mkv");
    assert_eq!(sha256(&arrived), sha256(&film));
}

/// Calls a Tauri command as a page that was taken over would; how it was refused.
async fn refusal(window: &Window, command: &str, args: serde_json::Value) -> String {
    const SCRIPT: &str = "const [command, args, done] = arguments; \
        window.__TAURI_INTERNALS__.invoke(command, args).then( \
            (reply) => done('granted: ' + JSON.stringify(reply)), \
            (error) => done(typeof error === 'string' ? error : JSON.stringify(error)));";
    let args = vec![command.into(), args];
    let said = window.page.execute_async(SCRIPT, args).await.unwrap();
    said.convert().unwrap()
}

#[tokio::test]
async fn window_page_may_call_the_commands_of_the_list_and_nothing_else() {
    let scene = Scene::start().await;
    let ada = &scene.ada;
    // Each command is known: what is refused is that it was asked with nothing.
    for name in COMMANDS.iter().chain(SHELL_COMMANDS) {
        let call = json!({ "command": name, "request": null });
        let said = refusal(ada, "call", call).await;
        assert!(said.contains("invalid type: null"), "{name}: {said}");
    }
    let call = json!({ "command": "check_paths", "request": {} });
    let said = refusal(ada, "call", call).await;
    assert!(said.contains("there is no command named"), "{said}");
    // Nothing besides, neither of Tauri nor of its plugins.
    for name in [
        "offer",
        "plugin:dialog|open",
        "plugin:opener|open_path",
        "plugin:opener|open_url",
        "plugin:window-state|save_window_state",
        "plugin:window|create",
        "plugin:webview|create_webview_window",
        "plugin:webview|internal_toggle_devtools",
        "plugin:event|emit",
        "plugin:path|resolve_directory",
        "plugin:app|version",
        "plugin:image|from_path",
    ] {
        let said = refusal(ada, name, json!({})).await;
        let refused = said.contains("not allowed") || said.contains("not found");
        assert!(refused, "{name}: {said}");
    }
}

#[tokio::test]
async fn window_page_names_only_paths_that_the_user_gave_it() {
    let scene = Scene::start().await;
    let ada = &scene.ada;
    let id = "A".repeat(22);
    let elsewhere = scene.home("elsewhere").display().to_string();
    std::fs::write(&elsewhere, "not given").unwrap();
    for (name, request) in [
        ("offer", json!({ "room": id, "paths": [elsewhere] })),
        (
            "accept",
            json!({ "room": id, "from": id, "offer": id, "dir": elsewhere }),
        ),
        (
            "set_settings",
            json!({ "welcomed": true, "theme": "dark", "downloads": elsewhere, "room_names": {} }),
        ),
        (
            "set_transfers",
            json!({ "at_once": 3, "accept": { "from": [id], "dir": elsewhere } }),
        ),
    ] {
        let call = json!({ "command": name, "request": request });
        let said = refusal(ada, "call", call).await;
        assert!(said.contains("Choose the file or folder"), "{name}: {said}");
    }
}

#[tokio::test]
async fn window_shows_unfinished_files_of_no_transfer_and_removes_them() {
    let scene = Scene::start().await;
    let ada = &scene.ada;
    let folder = scene.home("ada").join("Downloads/films");
    std::fs::create_dir_all(&folder).unwrap();
    let part = folder.join(".film.mkv.0123456789abcdef.part");
    std::fs::write(&part, vec![7; 3_000_000]).unwrap();
    std::fs::write(folder.join("film.part"), "mine").unwrap();
    ada.click("button", "Settings").await;
    ada.click("button", "Change the settings for transfers")
        .await;
    ada.read("1 file, 3.0 MB in").await;
    ada.click("button", "Remove unfinished files").await;
    ada.click("button", "Remove for good").await;
    ada.wait("the file to be gone", async |_| {
        let gone = !part.exists();
        gone.then_some(())
    })
    .await;
    assert!(folder.join("film.part").exists());
}
