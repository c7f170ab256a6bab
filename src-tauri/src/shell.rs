//! The commands of the window.

use std::path::{Path, PathBuf};

use kith_api::{
    ApiError, CreateRoom, Created, Empty, Handler, LeftoverFolder, Leftovers, OfferRef, Picked,
    Settings, Shell,
};
use kith_protocol::Code;
use serde_json::Value;
use tauri_plugin_dialog::{DialogExt as _, FilePath};
use tauri_plugin_opener::{open_path, reveal_item_in_dir};
use tokio::sync::oneshot;

use crate::desk::Desk;

impl Desk {
    /// Any command the page may call.
    ///
    /// # Errors
    ///
    /// Those of the command, and [`Code::BadRequest`] where the page names a path that the user
    /// did not give it.
    pub async fn call(&self, command: &str, request: Value) -> Result<Value, ApiError> {
        // The engine trusts its front end with paths; the page must not be trusted.
        let given = async |paths: &[String]| {
            for path in paths {
                self.check(path).await?;
            }
            Ok(())
        };
        if kith_api::SHELL_COMMANDS.contains(&command) {
            kith_api::dispatch_shell(self, command, request, given).await
        } else {
            kith_api::dispatch(&self.node, command, request, given).await
        }
    }

    async fn check(&self, path: &str) -> Result<(), ApiError> {
        if self.grants.has(Path::new(path)) || path == self.settings().downloads {
            return Ok(());
        }
        // Chosen for a fetch that goes on after a restart, or for what is taken without asking.
        let now = self.node.snapshot(Empty {}).await?;
        let fetched = now.offers.iter().filter_map(|o| o.dir.as_deref());
        if fetched
            .chain([&*now.transfers.accept.dir])
            .any(|d| d == path)
        {
            return Ok(());
        }
        let message = "Choose the file or folder yourself: the window may not name it.";
        Err(ApiError::with(Code::BadRequest, message))
    }

    /// What a finished fetch became.
    async fn fetched(&self, which: &OfferRef) -> Result<PathBuf, ApiError> {
        let now = self.node.snapshot(Empty {}).await?;
        let offer = now
            .offers
            .into_iter()
            .find(|o| (o.room, o.from, o.offer) == (which.room, which.from, which.offer));
        let path = offer.and_then(|o| o.path).map(PathBuf::from);
        let path = path.ok_or_else(|| ApiError::new(Code::NotNow))?;
        if !path.exists() {
            let message = "The file is not there any more. It was moved or deleted.";
            return Err(ApiError::with(Code::SourceGone, message));
        }
        Ok(path)
    }

    /// Where unfinished files may be. The page does not name it.
    async fn part_folders(&self) -> Result<Vec<PathBuf>, ApiError> {
        let downloads = PathBuf::from(self.settings().downloads);
        self.node.part_folders(vec![downloads]).await
    }

    fn picked(&self, chosen: Option<Vec<FilePath>>) -> Picked {
        let chosen = chosen.unwrap_or_default().into_iter();
        let paths: Vec<PathBuf> = chosen.filter_map(|p| p.into_path().ok()).collect();
        self.grants.give(&paths);
        Picked {
            paths: shown(&paths),
        }
    }
}

/// As the page gets them. A path that is not Unicode cannot cross and is left out.
pub fn shown(paths: &[PathBuf]) -> Vec<String> {
    let whole = paths.iter().filter_map(|p| p.to_str());
    whole.map(str::to_owned).collect()
}

impl Shell for Desk {
    async fn host_room(&self, _: Empty) -> Result<Created, ApiError> {
        let server = self.serve_rooms().await?;
        self.node.create_room(CreateRoom { server }).await
    }

    async fn settings(&self, _: Empty) -> Result<Settings, ApiError> {
        Ok(Desk::settings(self))
    }

    async fn set_settings(&self, request: Settings) -> Result<Settings, ApiError> {
        self.keep(request)
    }

    async fn pick_files(&self, _: Empty) -> Result<Picked, ApiError> {
        let (tell, told) = oneshot::channel();
        self.app.dialog().file().pick_files(|chosen| {
            let _ = tell.send(chosen);
        });
        Ok(self.picked(told.await.ok().flatten()))
    }

    async fn pick_folder(&self, _: Empty) -> Result<Picked, ApiError> {
        let (tell, told) = oneshot::channel();
        self.app.dialog().file().pick_folder(|chosen| {
            let _ = tell.send(chosen);
        });
        let chosen = told.await.ok().flatten();
        Ok(self.picked(chosen.map(|c| vec![c])))
    }

    async fn open(&self, request: OfferRef) -> Result<Empty, ApiError> {
        let path = self.fetched(&request).await?;
        if may_run(&path) {
            let message = "This could be a program, and opening would run it. Show it in its \
                           folder and open it there if you trust it.";
            return Err(ApiError::with(Code::NotNow, message));
        }
        // A program has the priority of the thread that starts it: not one of the engine's. The
        // window's must not wait for it either.
        let (tell, told) = oneshot::channel();
        let begin = move || {
            let open = move || tell.send(open_path(&path, None::<&str>));
            if let Err(error) = std::thread::Builder::new().spawn(open) {
                tracing::warn!(%error, "no thread to open a file");
            }
        };
        let begun = self.app.run_on_main_thread(begin);
        // Without an answer there is no thread for it, or no window any more.
        begun.map_err(|_| ApiError::new(Code::NotNow))?;
        let opened = told.await.map_err(|_| ApiError::new(Code::NotNow))?;
        opened.map_err(|e| cannot(&e))?;
        Ok(Empty {})
    }

    async fn leftovers(&self, _: Empty) -> Result<Leftovers, ApiError> {
        let mut folders = Vec::new();
        for dir in self.part_folders().await? {
            let shown = dir.display().to_string();
            // A folder that cannot be read has none to show.
            let Ok(found) = self.node.leftovers(dir).await else {
                continue;
            };
            if !found.parts.is_empty() {
                folders.push(LeftoverFolder {
                    dir: shown,
                    files: found.parts.len() as u64,
                    bytes: found.parts.iter().map(|part| part.bytes).sum(),
                });
            }
        }
        Ok(Leftovers { folders })
    }

    async fn remove_leftovers(&self, request: Empty) -> Result<Leftovers, ApiError> {
        for dir in self.part_folders().await? {
            // What stays is in the reply.
            if let Err(error) = self.node.remove_leftovers(dir, None).await {
                tracing::info!(%error, "unfinished files are not removed");
            }
        }
        self.leftovers(request).await
    }

    async fn show_in_folder(&self, request: OfferRef) -> Result<Empty, ApiError> {
        let path = self.fetched(&request).await?;
        reveal_item_in_dir(&path).map_err(|e| cannot(&e))?;
        Ok(Empty {})
    }
}

fn cannot(error: &tauri_plugin_opener::Error) -> ApiError {
    let message = format!("No program on this machine opens it ({error}).");
    ApiError::with(Code::NotNow, message)
}

/// Whether opening a file may run what is in it.
fn may_run(path: &Path) -> bool {
    const RUN: &[&str] = &[
        "desktop", "sh", "bash", "run", "appimage", "jar", "exe", "msi", "bat", "cmd", "com",
        "scr", "ps1", "vbs", "lnk", "app", "command", "pkg", "deb", "rpm",
    ];
    let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    if ending.is_some_and(|e| RUN.contains(&e.as_str())) {
        return true;
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let meta = path.metadata();
        meta.is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    }
    #[cfg(not(unix))]
    false
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

    use super::*;

    #[test]
    fn what_could_run_is_not_opened() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, mode: u32| {
            let path = dir.path().join(name);
            std::fs::write(&path, "x").unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            path
        };
        assert!(!may_run(&file("photo.jpg", 0o644)));
        assert!(!may_run(&file("README", 0o600)));
        assert!(may_run(&file("photo.jpg.desktop", 0o644)));
        assert!(may_run(&file("Setup.EXE", 0o644)));
        assert!(may_run(&file("tool", 0o755)));
        assert!(!may_run(dir.path()), "a folder");
    }
}
