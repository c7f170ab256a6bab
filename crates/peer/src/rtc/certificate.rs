//! The DTLS certificate of an app session.

use rtc::crypto::{SignatureScheme, default_provider};
use rtc::peer_connection::certificate::CertificateParams;
use sha2::{Digest, Sha256};
use webrtc::peer_connection::RTCCertificate;

use super::error::RtcError;

/// A self-signed ECDSA P-256 certificate, made fresh per app session and shared by all its
/// connections, so that one fingerprint names this end towards everybody.
#[derive(Clone)]
pub struct Certificate {
    inner: RTCCertificate,
    fingerprint: [u8; 32],
}

impl Certificate {
    /// Makes a key pair and signs a certificate with it.
    ///
    /// # Errors
    ///
    /// [`RtcError::Setup`] when the system has no randomness or no usable crypto provider.
    pub fn generate() -> Result<Self, RtcError> {
        let setup = |error: &dyn std::fmt::Display| RtcError::Setup(error.to_string());
        let provider = default_provider().map_err(|error| setup(&error))?;
        let inner = RTCCertificate::generate(
            provider.crypto(),
            SignatureScheme::EcdsaP256Sha256,
            CertificateParams::default(),
        )
        .map_err(|error| setup(&error))?;
        let der = inner
            .dtls_certificate
            .certificate
            .first()
            .ok_or_else(|| setup(&"the certificate chain is empty"))?;
        let fingerprint = Sha256::digest(der.as_ref()).into();
        Ok(Self { inner, fingerprint })
    }

    /// SHA-256 of the certificate's DER, the value that `a=fingerprint:sha-256` carries
    /// (RFC 8122 section 5).
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    pub(super) fn to_rtc(&self) -> RTCCertificate {
        self.inner.clone()
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key stays out of logs.
        f.debug_struct("Certificate").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_is_the_one_the_sdp_will_carry() {
        let certificate = Certificate::generate().unwrap();
        let provider = default_provider().unwrap();
        let listed = certificate
            .inner
            .get_fingerprints(provider.crypto())
            .unwrap();
        let ours: Vec<String> = certificate
            .fingerprint()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(listed[0].value.to_lowercase(), ours.join(":"));
    }

    #[test]
    fn every_certificate_is_its_own() {
        let one = Certificate::generate().unwrap();
        let other = Certificate::generate().unwrap();
        assert_ne!(one.fingerprint(), other.fingerprint());
    }
}
