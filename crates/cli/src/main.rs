//! The `kith` command: rooms, messages and files from a terminal or a script.
//!
//! | module | what it holds |
//! |---|---|
//! | [`args`] | the command line |
//! | [`invite`], [`join`], [`send`], [`receive`], [`parts`], [`room_server`] | one command each |
//! | [`control`] | commands for transfers, typed while a run goes on |
//! | [`watch`] | a room as its changes add up, and when waiting is pointless |
//! | [`timeline`] | which messages have been printed |
//! | [`output`], [`progress`], [`text`] | what people and programs read |
//! | [`exit`] | why a run ends, and its exit code |
//! | [`stdin`], [`signals`] | what comes from outside |

mod args;
mod control;
mod exit;
mod invite;
mod join;
mod output;
mod parts;
mod progress;
mod receive;
mod room_server;
mod send;
mod signals;
mod stdin;
#[cfg(test)]
mod testing;
mod text;
mod timeline;
mod watch;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use args::{Cli, Command, Global};
use clap::Parser as _;
use exit::Failure;
use output::Out;
use signals::Stop;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    // Before the first thread.
    kith_peer::memory::settle();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => return explain(&e),
    };
    let mut out = Out::new(cli.global.json);
    let runtime = match cli.command {
        // It serves many, and no one of them may hold up the others.
        Command::RoomServer(_) => tokio::runtime::Runtime::new(),
        Command::Invite { .. }
        | Command::Join(_)
        | Command::Send(_)
        | Command::Receive(_)
        | Command::Parts(_) => kith_peer::threads::runtime().build(),
    };
    let code = match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(run(cli, &mut out));
            // Whatever still runs has had its time to end.
            runtime.shutdown_background();
            code
        }
        Err(e) => {
            let text = format!("The system does not let Kith start: {e}.");
            out.finish(Err(Failure::unexpected(text)), (), "")
        }
    };
    ExitCode::from(code)
}

async fn run(cli: Cli, out: &mut Out) -> u8 {
    let Cli { global, command } = cli;
    let ended = async {
        log_to_stderr(&global, &command)?;
        let mut stop = Stop::listen()?;
        let stop = &mut stop;
        match command {
            Command::Invite { server } => invite::run(&server, &global, stop, out).await,
            Command::Join(options) => join::run(options, &global, stop, out).await,
            Command::Send(options) => send::run(options, &global, stop, out).await,
            Command::Receive(options) => receive::run(options, &global, stop, out).await,
            Command::Parts(options) => parts::run(options, &global, stop, out).await,
            Command::RoomServer(options) => room_server::run(&options, stop, out).await,
        }
    }
    .await;
    // Commands that got to work have said their last words themselves.
    ended.unwrap_or_else(|failure| out.finish(Err(failure), (), ""))
}

/// Says what is wrong with the command line, or prints the help that was asked for.
fn explain(e: &clap::Error) -> ExitCode {
    if !e.use_stderr() {
        // A reader that has seen enough of the help is no error.
        let _ = e.print();
        return ExitCode::SUCCESS;
    }
    // The words of a wrong command line may hold an invite.
    let message = text::redacted(&e.render().to_string());
    let _ = write!(std::io::stderr(), "{message}");
    if std::env::args_os().any(|a| a == "--json") {
        let text = message.lines().next().unwrap_or_default();
        let text = text.trim_start_matches("error: ");
        return ExitCode::from(Out::new(true).quiet().finish(
            Err(Failure::usage(exit::sentence(text))),
            (),
            "",
        ));
    }
    ExitCode::from(exit::Exit::Usage as u8)
}

fn log_to_stderr(global: &Global, command: &Command) -> Result<(), Failure> {
    let filter = match std::env::var("KITH_LOG") {
        Ok(filter) if !filter.is_empty() => filter,
        _ => default_filter(global.verbose, command).to_owned(),
    };
    let filter = EnvFilter::try_new(filter)
        .map_err(|_| Failure::usage("KITH_LOG is not a log filter: try \"kith=debug\"."))?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    subscriber
        .try_init()
        .map_err(|e| Failure::unexpected(format!("Logging fails: {e}.")))
}

/// A server's notices are its only words; elsewhere they would stand among the messages.
fn default_filter(verbose: u8, command: &Command) -> &'static str {
    let server = matches!(command, Command::RoomServer(_));
    match verbose {
        0 if server => "off,kith=info",
        0 => "off,kith=error",
        1 => "warn,kith=info",
        2 => "info,kith=debug",
        _ => "debug,kith=trace",
    }
}
