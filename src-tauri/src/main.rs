//! The desktop window of Kith: a thin shell around the engine.
//!
//! | module | what it holds |
//! |---|---|
//! | [`args`] | the command line |
//! | [`desk`] | what runs behind the window: the engine, settings, the room server inside the app |
//! | [`shell`] | the commands of [`kith_api::Shell`], and which paths the page may name |
//! | [`pump`] | what the page is told without asking |
//! | [`yielding`] | the threads on which all that runs |
//! | [`window`] | the window itself, and its Tauri commands |
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
mod yielding;

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
    let runtime = match yielding::runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "no threads to work with");
            return ExitCode::FAILURE;
        }
    };
    tauri::async_runtime::set(runtime.handle().clone());
    let code = window::run(args);
    // The engine has stopped; what still waits for a disk is not waited for.
    runtime.shutdown_background();
    code
}
