//! A room server with little patience, as a process of its own: its memory can be looked at from
//! outside. Says where it listens and ends with its standard input.

#![allow(clippy::print_stdout, reason = "the address is what it has to say")]

use std::time::Duration;

use kith_signaling::Config;
use tokio::io::AsyncReadExt as _;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // As the real program listens: with room for a crowd at the door.
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 1], 0).into())?;
    let listener = socket.listen(1024)?;
    println!("{}", listener.local_addr()?);
    let config = Config {
        stun_urls: Vec::new(),
        header_timeout: Duration::from_millis(500),
        join_timeout: Duration::from_millis(500),
        outbox_patience: Duration::from_millis(500),
        close_grace: Duration::from_millis(300),
        ..Config::default()
    };
    let stop = CancellationToken::new();
    let running = tokio::spawn(kith_signaling::run(listener, config, stop.clone()));
    let mut nothing = Vec::new();
    tokio::io::stdin().read_to_end(&mut nothing).await?;
    stop.cancel();
    running.await??;
    Ok(())
}
