//! What the app around the engine does for its window: settings, pickers, the room server inside
//! the app, and what the window is told without asking.
//!
//! A front end other than the window has no use for this.

use std::collections::BTreeMap;
use std::future::Future;

use kith_protocol::RoomId;
use serde::{Deserialize, Serialize};

use crate::command::commands;
use crate::{ApiError, Changes, Created, Empty, OfferRef, Request, js};

commands! {
    /// The app around the engine. A missing method does not compile.
    trait Shell,
    /// The names of all commands of [`Shell`], in list order.
    const SHELL_COMMANDS,
    /// Calls a command of [`Shell`] by name with JSON in and out; `admit` as in
    /// [`dispatch`](crate::dispatch).
    fn dispatch_shell, types shell_types;

    /// Makes a room on a room server inside this app, reachable in the local network, and enters
    /// it.
    host_room(Empty) -> Created;
    /// The settings as they are kept.
    settings(Empty) -> Settings;
    /// Keeps settings, all of them; the reply is what was kept.
    set_settings(Settings) -> Settings;
    /// Lets the user choose files. Nothing chosen is an empty list.
    pick_files(Empty) -> Picked;
    /// Lets the user choose one folder. Nothing chosen is an empty list.
    pick_folder(Empty) -> Picked;
    /// Opens what a finished fetch became ([`crate::OfferView::path`]) with the program for it.
    open(OfferRef) -> Empty;
    /// Shows what a finished fetch became in the file manager.
    show_in_folder(OfferRef) -> Empty;
    /// Unfinished files that belong to no transfer, in the folders that files are fetched into.
    leftovers(Empty) -> Leftovers;
    /// Removes them; the reply is what is left.
    remove_leftovers(Empty) -> Leftovers;
}

/// What the user has chosen for this installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Settings {
    /// Whether somebody has been here before: the name has been chosen or confirmed.
    pub welcomed: bool,
    /// Light, dark, or as the system.
    pub theme: Theme,
    /// Folder that files are fetched into.
    pub downloads: String,
    /// Names the user gave to rooms. Nobody else sees them.
    pub room_names: BTreeMap<RoomId, String>,
}

impl Request for Settings {
    fn paths(&self) -> &[String] {
        std::slice::from_ref(&self.downloads)
    }
}

/// Colours of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "kebab-case")]
pub enum Theme {
    /// As the system.
    System,
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

/// Reply of [`Shell::pick_files`] and [`Shell::pick_folder`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Picked {
    /// Absolute paths.
    pub paths: Vec<String>,
}

/// Reply of [`Shell::leftovers`] and [`Shell::remove_leftovers`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Leftovers {
    /// Folders in which, or below which, there are some.
    pub folders: Vec<LeftoverFolder>,
}

/// Unfinished files that belong to no transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct LeftoverFolder {
    /// An absolute path.
    pub dir: String,
    /// How many.
    #[serde(serialize_with = "js::number")]
    pub files: u64,
    /// Bytes that they take.
    #[serde(serialize_with = "js::number")]
    pub bytes: u64,
}

/// What the window is told without asking, over its one event pump.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Push {
    /// The engine's state moved on.
    Changes(Changes),
    /// The app was opened with an invite, or another start of it was.
    Invite {
        /// The link.
        invite: String,
    },
    /// Files are dragged over the window, or dropped on it.
    Drag(Drag),
}

/// Files over the window. Positions are CSS pixels from its top left corner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(tag = "at", rename_all = "kebab-case")]
pub enum Drag {
    /// They are moved.
    Over {
        /// From the left.
        x: f64,
        /// From the top.
        y: f64,
    },
    /// They left.
    Left,
    /// They were dropped.
    Dropped {
        /// From the left.
        x: f64,
        /// From the top.
        y: f64,
        /// Absolute paths.
        paths: Vec<String>,
    },
}
