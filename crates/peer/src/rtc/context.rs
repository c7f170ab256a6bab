//! What all connections of an app session share.

use super::certificate::Certificate;
use super::error::RtcError;
use super::runtime::effective_udp_buffer;
use super::tuning::{SCTP_WINDOW_FLOOR, STRAND_BYTES, Tuning, WIDE_PACKET};

/// How a connection looks for paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IceConfig {
    /// STUN and TURN servers, with credentials for the latter. Only `turn:` over UDP is used;
    /// other TURN transports are skipped with a warning.
    pub servers: Vec<IceServer>,
    /// Offer loopback addresses too. Without it they are offered only where there is no other.
    pub include_loopback: bool,
    /// Use relayed paths only, which hides our addresses from the other end.
    pub relay_only: bool,
}

/// One STUN or TURN server (RFC 7064, RFC 7065).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct IceServer {
    /// `stun:` and `turn:` addresses of the server.
    pub urls: Vec<String>,
    /// TURN user name, else empty.
    pub username: String,
    /// TURN password, else empty.
    pub credential: String,
}

impl std::fmt::Debug for IceServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The credential stays out of logs.
        f.debug_struct("IceServer")
            .field("urls", &self.urls)
            .finish_non_exhaustive()
    }
}

/// The session's certificate and sizes. Cheap to share; made once per app session.
#[derive(Debug)]
pub struct RtcContext {
    certificate: Certificate,
    sctp_window: u32,
    tuning: Tuning,
}

impl RtcContext {
    /// Makes a certificate and finds out what the kernel grants.
    ///
    /// # Errors
    ///
    /// [`RtcError::Setup`] without a certificate, [`RtcError::Socket`] without any UDP socket.
    pub fn new() -> Result<Self, RtcError> {
        Self::with_tuning(Tuning::default())
    }

    /// As [`RtcContext::new`], with other numbers.
    ///
    /// # Errors
    ///
    /// As [`RtcContext::new`].
    pub fn with_tuning(tuning: Tuning) -> Result<Self, RtcError> {
        let effective = effective_udp_buffer(tuning.udp_buffer)?;
        let sctp_window = sctp_window(effective, tuning.sctp_window);
        tracing::debug!(effective, sctp_window, "socket buffers");
        Ok(Self {
            certificate: Certificate::generate()?,
            sctp_window,
            tuning,
        })
    }

    /// The same certificate, with the sizes of a strand, `wide` or not.
    pub(super) fn of_strands(&self, wide: bool) -> Self {
        let tuning = Tuning {
            udp_buffer: self.tuning.udp_buffer.min(STRAND_BYTES),
            send_queue: self.tuning.send_queue.min(STRAND_BYTES),
            sctp_mtu: if wide {
                Some(WIDE_PACKET)
            } else {
                self.tuning.sctp_mtu
            },
            ..self.tuning
        };
        Self {
            certificate: self.certificate.clone(),
            sctp_window: sctp_window(STRAND_BYTES, self.sctp_window),
            tuning,
        }
    }

    /// The certificate that every connection of this context presents.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The SCTP receive window of every connection, bytes.
    #[must_use]
    pub fn sctp_window(&self) -> u32 {
        self.sctp_window
    }

    pub(super) fn tuning(&self) -> Tuning {
        self.tuning
    }
}

/// A window never larger than what the socket holds, but large enough for one message.
fn sctp_window(effective_udp_buffer: usize, max: u32) -> u32 {
    u32::try_from(effective_udp_buffer)
        .unwrap_or(u32::MAX)
        .min(max)
        .max(SCTP_WINDOW_FLOOR)
}

#[cfg(test)]
mod tests {
    use super::super::tuning::SCTP_WINDOW_MAX;
    use super::*;

    #[test]
    fn the_window_follows_the_kernel_between_floor_and_maximum() {
        assert_eq!(sctp_window(208 * 1024, SCTP_WINDOW_MAX), SCTP_WINDOW_FLOOR);
        assert_eq!(sctp_window(1024 * 1024, SCTP_WINDOW_MAX), 1024 * 1024);
        assert_eq!(
            sctp_window(64 * 1024 * 1024, SCTP_WINDOW_MAX),
            SCTP_WINDOW_MAX
        );
    }
}
