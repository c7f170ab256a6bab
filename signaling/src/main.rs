//! The room server as a program of its own.

use std::process::ExitCode;

use clap::Parser;
use kith_signaling::ServerArgs;
use tracing_subscriber::EnvFilter;

/// Introduces Kith peers to each other. Reads nothing of what they say.
#[derive(Parser)]
#[command(name = "kith-room-server", version)]
struct Cli {
    #[command(flatten)]
    server: ServerArgs,
    /// What to log, as `level` or `target=level,…`.
    #[arg(long, env = "KITH_LOG", default_value = "info")]
    log: String,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_new(&cli.log).unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(kith_signaling::main_with(cli.server)),
        Err(e) => {
            tracing::error!("cannot start: {e}");
            return ExitCode::FAILURE;
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!("{e}");
            ExitCode::FAILURE
        }
    }
}
