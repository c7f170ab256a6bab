//! What runs behind the window.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use kith_api::{ApiError, Push, Settings};
use kith_peer::node::{Node, NodeConfig, StartError};
use kith_protocol::Code;
use tauri::AppHandle;

use crate::grants::Grants;
use crate::pump::Pump;
use crate::room_server::{RoomServer, local_address};
use crate::settings::{KeepError, Kept, SettingsFile};

/// The engine, and what the app adds to it. One per process.
pub struct Desk {
    /// The engine.
    pub node: Node,
    /// Paths the page may name.
    pub grants: Grants,
    /// The way to the page.
    pub pump: Pump,
    /// For pickers, and for opening what was fetched.
    pub app: AppHandle,
    /// Peers on this machine count.
    loopback: bool,
    file: SettingsFile,
    /// Locked to read or replace it; the file is written under the lock, so that it says the same.
    kept: Mutex<Kept>,
    /// Held while one is started, so that two rooms made at once share it.
    server: tokio::sync::Mutex<Option<RoomServer>>,
}

impl Desk {
    /// Opens the profile and starts the engine; before it, the room server inside the app if there
    /// was one, as rooms that are rejoined may be on it.
    ///
    /// # Errors
    ///
    /// Those of [`Node::start`].
    pub async fn start(
        app: AppHandle,
        home: PathBuf,
        downloads: &Path,
        loopback: bool,
    ) -> Result<Desk, StartError> {
        let file = SettingsFile::of(&home);
        let kept = file.read(downloads);
        let server = match kept.room_server {
            Some(port) => RoomServer::start(local_address(loopback), Some(port))
                .await
                .inspect_err(|error| tracing::warn!(%error, "rooms of this machine stay closed"))
                .ok(),
            None => None,
        };
        let node = Node::start(NodeConfig {
            home,
            name: None,
            rejoin: true,
            include_loopback: loopback,
        });
        let node = match node.await {
            Ok(node) => node,
            Err(error) => {
                if let Some(server) = server {
                    server.stop().await;
                }
                return Err(error);
            }
        };
        Ok(Desk {
            node,
            grants: Grants::default(),
            pump: Pump::default(),
            app,
            loopback,
            file,
            kept: Mutex::new(kept),
            server: tokio::sync::Mutex::new(server),
        })
    }

    /// Says good-bye to everybody and ends.
    pub async fn stop(&self) {
        self.node.shutdown().await;
        if let Some(server) = self.server.lock().await.take() {
            server.stop().await;
        }
    }

    /// The settings as they are kept.
    pub fn settings(&self) -> Settings {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.settings.clone()
    }

    /// Keeps settings.
    ///
    /// # Errors
    ///
    /// [`Code::BadRequest`] for settings the window would not send, [`Code::DiskError`].
    pub fn keep(&self, settings: Settings) -> Result<Settings, ApiError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let new = Kept {
            settings,
            room_server: kept.room_server,
        };
        self.file.write(&new)?;
        *kept = new;
        Ok(kept.settings.clone())
    }

    /// Where the room server inside the app is reached; starts it if it does not run.
    ///
    /// # Errors
    ///
    /// Those of [`RoomServer::start`].
    pub async fn serve_rooms(&self) -> Result<String, ApiError> {
        let mut server = self.server.lock().await;
        let ip = local_address(self.loopback);
        let mut port = {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.room_server
        };
        // In another network it needs the name that it has there.
        if let Some(old) = server.take_if(|s| s.addr().ip() != ip) {
            port = Some(old.addr().port());
            old.stop().await;
        }
        let addr = match &*server {
            Some(server) => server.addr(),
            None => server.insert(RoomServer::start(ip, port).await?).addr(),
        };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.room_server != Some(addr.port()) {
            let new = Kept {
                room_server: Some(addr.port()),
                ..kept.clone()
            };
            self.file.write(&new)?;
            *kept = new;
        }
        Ok(format!("http://{addr}"))
    }

    /// The app was opened with an invite, or once more.
    pub fn opened_with(&self, invite: String) {
        self.pump.push(Push::Invite { invite });
    }
}

impl From<KeepError> for ApiError {
    fn from(error: KeepError) -> Self {
        let code = match error {
            KeepError::Invalid(_) => Code::BadRequest,
            KeepError::Disk(_) => Code::DiskError,
        };
        ApiError::with(code, error.to_string())
    }
}
