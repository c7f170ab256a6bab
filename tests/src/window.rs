//! Real windows of the app: Xvfb, WebKitWebDriver, the real engine behind the page.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use thirtyfour::prelude::*;

/// Nothing in a window is waited for longer than this.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// A drag that arrives at all arrives within this.
const DRAG: Duration = Duration::from_secs(6);
/// The window is looked at this often while something is waited for: WebDriver has no events.
const LOOK: Duration = Duration::from_millis(50);

/// The app under test: `KITH_DESKTOP_BIN`, which `./dev test` sets.
pub fn desktop_bin() -> PathBuf {
    let path = std::env::var_os("KITH_DESKTOP_BIN");
    PathBuf::from(path.expect("KITH_DESKTOP_BIN must name the app; ./dev test builds it and does"))
}

/// The program to drag files out of: `DRAG_SOURCE_BIN`, which `./dev test` sets.
fn drag_source() -> PathBuf {
    let path = std::env::var_os("DRAG_SOURCE_BIN");
    PathBuf::from(path.expect("DRAG_SOURCE_BIN must name it; ./dev test builds it and does"))
}

/// A place on the screen, for xdotool.
fn place(at: f64) -> String {
    format!("{at:.0}")
}

/// An X server without a screen. Ends when dropped.
pub struct Screen {
    server: Child,
    manager: Option<Child>,
    display: String,
}

impl Screen {
    /// Starts one on a free display, with a window manager: wide enough for two windows side by
    /// side.
    pub fn start() -> Screen {
        let mut screen = Screen::bare("2240x1000", &[]);
        let manager = Command::new("openbox")
            .env("DISPLAY", &screen.display)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("openbox starts: ./dev test installs it");
        screen.manager = Some(manager);
        screen
    }

    /// Starts one of that size (`WIDTHxHEIGHT`) on which windows have no frames, with further
    /// arguments for Xvfb.
    pub fn bare(size: &str, rest: &[&str]) -> Screen {
        let mut server = Command::new("Xvfb")
            .args(["-displayfd", "1", "-nolisten", "tcp"])
            .args(["-screen", "0", &format!("{size}x24")])
            .args(rest)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("Xvfb starts: ./dev test installs it");
        let out = server.stdout.take().expect("stdout is piped");
        let mut number = String::new();
        BufReader::new(out)
            .read_line(&mut number)
            .expect("Xvfb names its display");
        let display = format!(":{}", number.trim());
        Screen {
            server,
            manager: None,
            display,
        }
    }

    /// Moves the pointer, presses its buttons and keys: what xdotool understands.
    pub fn point(&self, args: &[&str]) {
        let status = self.xdotool(args).status();
        assert!(
            status
                .expect("xdotool runs: ./dev test installs it")
                .success(),
            "{args:?}"
        );
    }

    fn ask(&self, args: &[&str]) -> String {
        let output = self.xdotool(args).output();
        let output = output.expect("xdotool runs: ./dev test installs it");
        String::from_utf8(output.stdout).expect("xdotool speaks Unicode")
    }

    fn xdotool(&self, args: &[&str]) -> Command {
        let mut command = Command::new("xdotool");
        command.args(args).env("DISPLAY", &self.display);
        command
    }

    /// For `DISPLAY`.
    pub fn display(&self) -> &str {
        &self.display
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        for child in self.manager.iter_mut().chain([&mut self.server]) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A window of the app, with a profile of its own.
pub struct Window {
    /// To look at the page and to act on it as a user.
    pub page: WebDriver,
    driver: Child,
    what: String,
}

impl Window {
    /// Opens the app on the profile `home`; files go to `home/Downloads`.
    pub async fn open(screen: &Screen, home: &Path, rest: &[&str]) -> Window {
        let port = free_port();
        std::fs::create_dir_all(home.join("Downloads")).expect("the test's folder is writable");
        let mut driver = Command::new("WebKitWebDriver");
        surround(&mut driver, screen, home);
        let driver = driver
            .args([&format!("--port={port}"), "--host=127.0.0.1"])
            .env("TAURI_WEBVIEW_AUTOMATION", "true")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("WebKitWebDriver starts: ./dev test installs it");
        let mut args = vec![
            "--home",
            home.to_str().expect("the test's folder is Unicode"),
        ];
        args.extend(rest);
        let mut caps = Capabilities::new();
        let options = json!({"binary": desktop_bin(), "args": args});
        caps.set("webkitgtk:browserOptions", options)
            .expect("these are valid capabilities");
        let url = format!("http://127.0.0.1:{port}");
        let deadline = Instant::now() + PATIENCE;
        let page = loop {
            // The driver says by nothing else that it listens.
            match WebDriver::new(&url, caps.clone()).await {
                Ok(page) => break page,
                Err(e) => assert!(Instant::now() < deadline, "no window opens: {e}"),
            }
            tokio::time::sleep(LOOK).await;
        };
        // Whoever drops it kills the driver: nothing is asked of a session that may hang.
        let _ = page.clone().leak();
        Window {
            page,
            driver,
            what: home.display().to_string(),
        }
    }

    /// Waits until `look` finds something.
    pub async fn wait<T>(
        &self,
        what: &str,
        mut look: impl AsyncFnMut(&WebDriver) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look(&self.page).await {
                return found;
            }
            if Instant::now() >= deadline {
                let shot = std::env::temp_dir().join("kith-window.png");
                let shown = self.page.screenshot(&shot).await.is_ok();
                let text = self.text().await;
                panic!(
                    "{}: no {what}; screenshot {shown} {shot:?}; it shows:\n{text}",
                    self.what
                );
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// All text that the page shows.
    pub async fn text(&self) -> String {
        text(&self.page).await
    }

    /// Waits for an element that is shown.
    pub async fn see(&self, css: &str) -> WebElement {
        self.wait(css, async |page| {
            let found = page.find(By::Css(css)).await.ok()?;
            found.is_displayed().await.ok()?.then_some(found)
        })
        .await
    }

    /// Waits for a text.
    pub async fn read(&self, text: &str) {
        self.wait(text, async |_| {
            self.text().await.contains(text).then_some(())
        })
        .await;
    }

    /// Clicks what has this role and name, as a screen reader tells it.
    pub async fn click(&self, role: &str, name: &str) {
        let what = format!("{role} {name:?} that can be used");
        let found = self
            .wait(&what, async |page| named(page, role, name).await)
            .await;
        found.click().await.expect("it can be clicked");
    }

    /// Waits for a field of this name.
    pub async fn fillable(&self, name: &str) -> WebElement {
        let what = format!("field {name:?}");
        self.wait(&what, async |page| named(page, "textbox", name).await)
            .await
    }

    /// Presses a key where the focus is.
    pub async fn press(&self, key: Key) {
        let focused = self.page.active_element().await;
        let focused = focused.expect("something has the focus");
        focused.send_keys(key).await.expect("it takes keys");
    }

    /// Waits for a field of this name, empties it and writes into it.
    pub async fn fill(&self, name: &str, text: &str) -> WebElement {
        let field = self.fillable(name).await;
        field.clear().await.expect("it can be emptied");
        field.send_keys(text).await.expect("it takes text");
        field
    }

    /// Drags files from another program over this window and drops them on an element.
    pub async fn drop_files(&self, screen: &Screen, files: &[&Path], css: &str) {
        let deadline = Instant::now() + PATIENCE;
        // A drag that another window swallows is begun again, as a hand would.
        while !self.drag(screen, files, css).await {
            assert!(Instant::now() < deadline, "{}: no drag arrives", self.what);
        }
    }

    async fn drag(&self, screen: &Screen, files: &[&Path], css: &str) -> bool {
        let onto = self.see(css).await.rect().await.expect("it has a place");
        let (left, top) = self.raise(screen).await;
        let mut source = Command::new(drag_source())
            .args(files)
            .env("DISPLAY", screen.display())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the drag source starts");
        let mut ready = String::new();
        let out = source.stdout.take().expect("stdout is piped");
        BufReader::new(out)
            .read_line(&mut ready)
            .expect("it says that it is shown");
        let x = left + onto.x + onto.width / 2.0;
        let y = top + onto.y + onto.height / 2.0;
        screen.point(&["mousemove", "20", "20", "mousedown", "1"]);
        // A drag begins with a little way, and is known to the window when its page says so.
        let until = Instant::now() + DRAG;
        let mut step = 0_u8;
        let mut above = false;
        while !above && Instant::now() < until {
            step = (step + 1) % 7;
            let shake = f64::from(step);
            screen.point(&["mousemove", &place(x + shake), &place(y + shake)]);
            tokio::time::sleep(LOOK).await;
            above = self.text().await.contains("Drop to offer");
        }
        screen.point(&["mouseup", "1"]);
        if above {
            source.wait().expect("the drag ends");
        } else {
            let _ = source.kill();
            let _ = source.wait();
        }
        above
    }

    /// Brings the window to the front; where its page begins on the screen, in pixels from the left
    /// and the top.
    pub async fn raise(&self, screen: &Screen) -> (f64, f64) {
        let id = self.on_screen(screen).await;
        screen.point(&["windowraise", &id, "windowfocus", "--sync", &id]);
        let place = screen.ask(&["getwindowgeometry", "--shell", &id]);
        let number = |key: &str| {
            let line = place.lines().find_map(|l| l.strip_prefix(key));
            line.and_then(|n| n.parse().ok())
                .expect("xdotool tells a place")
        };
        (number("X="), number("Y="))
    }

    /// Its number on the screen.
    async fn on_screen(&self, screen: &Screen) -> String {
        let pid = self.app_pid().to_string();
        let find = ["search", "--onlyvisible", "--pid", &pid, "--name", "Kith"];
        self.wait("window on the screen", async |_| {
            let found = screen.ask(&find);
            // The toolkit has windows of one pixel besides.
            let real = |id: &&str| !screen.ask(&["getwindowgeometry", id]).contains(" 1x1");
            found.lines().find(real).map(str::to_owned)
        })
        .await
    }

    /// The app itself: the driver's child.
    fn app_pid(&self) -> u32 {
        let pid = self.driver.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.expect("the driver runs");
        let first = children.split_whitespace().next();
        first
            .and_then(|c| c.parse().ok())
            .expect("the driver has started the app")
    }

    /// Closes the window as its user does, and waits until the app has ended.
    pub async fn close(self, screen: &Screen) {
        let pid = self.app_pid();
        let id = self.on_screen(screen).await;
        screen.point(&[
            "windowraise",
            &id,
            "windowfocus",
            "--sync",
            &id,
            "key",
            "alt+F4",
        ]);
        let deadline = Instant::now() + PATIENCE;
        while Path::new(&format!("/proc/{pid}/stat")).exists() {
            assert!(Instant::now() < deadline, "{}: does not end", self.what);
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Gives a program the screen and an environment in which nothing is this user's. It finds programs
/// in `bin` in its home before others.
pub fn surround(command: &mut Command, screen: &Screen, home: &Path) {
    let mut path = home.join("bin").into_os_string();
    if let Some(others) = std::env::var_os("PATH") {
        path.push(":");
        path.push(others);
    }
    command
        .env("PATH", path)
        .env("DISPLAY", screen.display())
        .env("HOME", home)
        .env("XDG_DATA_HOME", home.join("data"))
        .env("XDG_CACHE_HOME", home.join("cache"))
        .env("XDG_CONFIG_HOME", home.join("config"))
        .env("NO_AT_BRIDGE", "1")
        .env("GDK_BACKEND", "x11")
        .env("LIBGL_ALWAYS_SOFTWARE", "1")
        .env("KITH_LOOPBACK", "1")
        .env_remove("WAYLAND_DISPLAY");
}

impl Drop for Window {
    fn drop(&mut self) {
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

async fn text(page: &WebDriver) -> String {
    let shown = page.execute("return document.body.innerText", vec![]).await;
    match shown {
        Ok(shown) => shown.convert().unwrap_or_default(),
        Err(e) => format!("({e})"),
    }
}

/// An enabled, shown element with this role and accessible name.
async fn named(page: &WebDriver, role: &str, name: &str) -> Option<WebElement> {
    let css = match role {
        "button" => "button, [role=button]",
        "textbox" => "input, textarea, [role=textbox]",
        "link" => "a",
        "menuitem" => "[role=menuitem]",
        other => panic!("what is a {other}?"),
    };
    for element in page.find_all(By::Css(css)).await.ok()? {
        let label = label(page, &element).await;
        if label.is_some_and(|l| l == name)
            && element.is_displayed().await.unwrap_or(false)
            && element.is_enabled().await.unwrap_or(false)
        {
            return Some(element);
        }
    }
    None
}

/// The accessible name, as far as this app uses its rules.
async fn label(page: &WebDriver, element: &WebElement) -> Option<String> {
    const SCRIPT: &str = "const e = arguments[0]; \
        const by = e.getAttribute('aria-labelledby'); \
        const text = (n) => n ? n.textContent : ''; \
        return (e.getAttribute('aria-label') \
            || (by && by.split(' ').map((id) => text(document.getElementById(id))).join(' ')) \
            || (e.labels && e.labels.length ? text(e.labels[0]) : '') \
            || e.textContent || '').replace(/\\s+/g, ' ').trim();";
    let found = page.execute(SCRIPT, vec![element.to_json().ok()?]).await;
    found.ok()?.convert::<String>().ok()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    listener.local_addr().expect("it is bound").port()
}
