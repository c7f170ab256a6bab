//! The desktop window of Kith: a thin shell around the engine.
//!
//! | module | what it holds |
//! |---|---|
//! | [`args`] | the command line |
//! | [`desk`] | what runs behind the window: the engine, settings, the room server inside the app |
//! | [`shell`] | the commands of [`kith_api::Shell`], and which paths the page may name |
//! | [`pump`] | what the page is told without asking |
//! | [`window`] | the window itself, and the two Tauri commands |
//!
//! The page is untrusted: it has no file system and no network, and names only paths that the user
//! picked or dropped.

#![cfg_attr(not(debug_assertions), windows_subsystem = "windows")]

mod args;
mod desk;
mod grants;
mod pump;
mod room_server;
mod settings;
mod shell;
mod window;

use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    kith_peer::memory::settle();
    let args = args::Args::parse();
    let filter = EnvFilter::try_from_env("KITH_LOG");
    tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|_| EnvFilter::new("warn")))
        .with_writer(std::io::stderr)
        .init();
    window::run(args)
}
