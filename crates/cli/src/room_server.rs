//! `kith room-server`: the only place that knows the room server.

use kith_signaling::args::TURN_SECRET_ENV;
use kith_signaling::{MainError, RunError};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

pub use kith_signaling::ServerArgs;

use crate::exit::{Failure, sentence};
use crate::output::Out;
use crate::signals::Stop;

/// The first line for programs.
#[derive(Serialize)]
struct Listening {
    #[serde(rename = "type")]
    kind: &'static str,
    addr: String,
}

/// Serves until the process is asked to stop, which is no failure of a server.
pub async fn run(args: &ServerArgs, stop: &mut Stop, out: &mut Out) -> Result<u8, Failure> {
    let config = args
        .config(std::env::var(TURN_SECRET_ENV).ok().as_deref())
        .map_err(failure)?;
    let listener = args.bind().map_err(failure)?;
    let addr = listener
        .local_addr()
        .map_err(|e| Failure::unexpected(sentence(&format!("the address is not known: {e}"))))?;
    out.line(&format!("listening on http://{addr}"))?;
    out.object(&Listening {
        kind: "listening",
        addr: addr.to_string(),
    })?;
    let shutdown = CancellationToken::new();
    let serving = kith_signaling::run(listener, config, shutdown.clone());
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = stop.asked() => {
            shutdown.cancel();
            serving.await
        }
    };
    ended.map(|()| 0).map_err(|e| failure(e.into()))
}

fn failure(e: MainError) -> Failure {
    let message = sentence(&e.to_string());
    match e {
        MainError::BadListen(_) | MainError::Secret(..) | MainError::Run(RunError::Config(_)) => {
            Failure::usage(message)
        }
        MainError::InUse(_)
        | MainError::CannotListen(..)
        | MainError::Run(RunError::NoRandomness(_))
        | MainError::Signals(_) => Failure::unexpected(message),
    }
}
