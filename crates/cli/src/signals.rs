//! What the system asks of the process.

use tokio::sync::watch;

use crate::exit::Failure;

/// Becomes true once the process is asked to stop.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Listens for Ctrl-C, SIGTERM and SIGHUP. The second of them ends the process at once.
    pub fn listen() -> Result<Stop, Failure> {
        let (tx, rx) = watch::channel(false);
        let mut asked = asked().map_err(|e| {
            Failure::unexpected(format!(
                "The system does not let Kith wait for signals: {e}."
            ))
        })?;
        tokio::spawn(async move {
            asked.next().await;
            tx.send_replace(true);
            asked.next().await;
            std::process::exit(i32::from(crate::exit::Exit::Interrupted as u8));
        });
        Ok(Stop(rx))
    }

    /// Resolves when the process is asked to stop.
    pub async fn asked(&mut self) {
        // The sender lives as long as the process.
        let _ = self.0.wait_for(|stop| *stop).await;
    }

    /// Does something unless the process is asked to stop before it is done.
    pub async fn or<T>(
        &mut self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            () = self.asked() => Err(Failure::interrupted()),
            done = work => done,
        }
    }
}

#[cfg(unix)]
struct Asked([tokio::signal::unix::Signal; 3]);

#[cfg(unix)]
impl Asked {
    async fn next(&mut self) {
        let [a, b, c] = &mut self.0;
        tokio::select! {
            _ = a.recv() => {}
            _ = b.recv() => {}
            _ = c.recv() => {}
        }
    }
}

#[cfg(unix)]
fn asked() -> std::io::Result<Asked> {
    use tokio::signal::unix::{SignalKind, signal};
    // A caught SIGXFSZ makes a write over the file size limit an error; by default it kills.
    // The handler stays for the rest of the process when its stream is dropped.
    let too_big = rustix::process::Signal::XFSZ.as_raw();
    drop(signal(SignalKind::from_raw(too_big))?);
    Ok(Asked([
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
        signal(SignalKind::hangup())?,
    ]))
}

#[cfg(not(unix))]
struct Asked;

#[cfg(not(unix))]
impl Asked {
    async fn next(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}

#[cfg(not(unix))]
fn asked() -> std::io::Result<Asked> {
    Ok(Asked)
}
