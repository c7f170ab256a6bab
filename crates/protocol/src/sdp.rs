//! The rule an SDP must pass before WebRTC sees it.
//!
//! The fingerprint in an SDP is what binds a DTLS connection to a person (RFC 8122, RFC 8827
//! §6.5), so exactly one distinct value is allowed and it must be the one the sealed `Hello` named.

use crate::ids::Digest;
use crate::limits;

/// Why an SDP is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// Over [`limits::MAX_SDP`].
    #[error("SDP of {0} bytes is over the limit")]
    TooLarge(usize),
    /// More than [`limits::MAX_CANDIDATES`] candidates.
    #[error("SDP with {0} candidates is over the limit")]
    TooManyCandidates(usize),
    /// No `a=fingerprint` at all.
    #[error("SDP without a fingerprint")]
    NoFingerprint,
    /// Two different fingerprints.
    #[error("SDP with more than one fingerprint")]
    SeveralFingerprints,
    /// Not SHA-256, or not 32 hex pairs.
    #[error("SDP fingerprint is not SHA-256")]
    BadFingerprint,
    /// Not the fingerprint of the sealed `Hello`.
    #[error("SDP fingerprint is not the peer's")]
    WrongFingerprint,
    /// A control character or other byte that has no place in an SDP.
    #[error("SDP holds a forbidden character")]
    BadCharacter,
}

/// Checks `sdp` against the rule; `expected` is the fingerprint of the sealed `Hello`.
pub fn check(sdp: &str, expected: &Digest) -> Result<(), SdpError> {
    if sdp.len() > limits::MAX_SDP {
        return Err(SdpError::TooLarge(sdp.len()));
    }
    if sdp
        .chars()
        .any(|c| c.is_control() && c != '\r' && c != '\n')
    {
        return Err(SdpError::BadCharacter);
    }
    let mut candidates = 0;
    let mut found: Option<Digest> = None;
    // A lone CR ends a line for some parsers and not for others: split at both, so that nothing
    // can hide from this check behind the difference.
    for line in sdp.split(['\r', '\n']) {
        let line = line.trim();
        let Some(attribute) = strip_prefix_ignore_case(line, "a=") else {
            continue;
        };
        let attribute = attribute.trim_start();
        if strip_prefix_ignore_case(attribute, "candidate").is_some() {
            candidates += 1;
        }
        if let Some(value) = strip_prefix_ignore_case(attribute, "fingerprint") {
            let fp = parse_fingerprint(value).ok_or(SdpError::BadFingerprint)?;
            match found {
                Some(seen) if seen != fp => return Err(SdpError::SeveralFingerprints),
                Some(_) | None => found = Some(fp),
            }
        }
    }
    if candidates > limits::MAX_CANDIDATES {
        return Err(SdpError::TooManyCandidates(candidates));
    }
    match found {
        None => Err(SdpError::NoFingerprint),
        Some(fp) if fp != *expected => Err(SdpError::WrongFingerprint),
        Some(_) => Ok(()),
    }
}

/// Whether a trickled candidate line is short, printable and looks like a candidate. The empty
/// line means "no more candidates" (RFC 8838 §13).
pub fn check_candidate(line: &str) -> bool {
    line.len() <= limits::MAX_CANDIDATE
        && line.bytes().all(|b| (0x20..0x7f).contains(&b))
        && (line.is_empty() || line.starts_with("candidate:") || line.starts_with("a=candidate:"))
}

/// Writes a fingerprint as SDP does: `AB:CD:…`.
pub fn format_fingerprint(fp: &Digest) -> String {
    fp.0.iter()
        .map(|b| format!("{b:02X}"))
        .collect::<Vec<_>>()
        .join(":")
}

fn parse_fingerprint(value: &str) -> Option<Digest> {
    let value = value.trim_start().strip_prefix(':')?.trim();
    let (algorithm, hex) = value.split_once(' ')?;
    if !algorithm.eq_ignore_ascii_case("sha-256") {
        return None;
    }
    let mut out = [0u8; 32];
    let mut pairs = hex.trim().split(':');
    for byte in &mut out {
        let pair = pairs.next()?;
        if pair.len() != 2 || !pair.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    pairs.next().is_none().then_some(Digest(out))
}

fn strip_prefix_ignore_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix)
        .then(|| &text[prefix.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sdp(lines: &[String]) -> String {
        format!("v=0\r\ns=-\r\n{}\r\n", lines.join("\r\n"))
    }

    fn line(fp: &Digest) -> String {
        format!("a=fingerprint:sha-256 {}", format_fingerprint(fp))
    }

    #[test]
    fn only_the_expected_fingerprint_passes() {
        let (good, evil) = (Digest([1; 32]), Digest([2; 32]));
        let hex = format_fingerprint(&good);
        let table: &[(Vec<String>, Result<(), SdpError>)] = &[
            (vec![line(&good)], Ok(())),
            (vec![line(&good), line(&good)], Ok(())),
            (vec![line(&good).to_lowercase()], Ok(())),
            (vec![], Err(SdpError::NoFingerprint)),
            (vec![line(&evil)], Err(SdpError::WrongFingerprint)),
            (
                vec![line(&good), line(&evil)],
                Err(SdpError::SeveralFingerprints),
            ),
            (
                vec![line(&good), line(&evil).to_uppercase()],
                Err(SdpError::SeveralFingerprints),
            ),
            (
                vec![line(&good), format!("{}\r{}", "x=1", line(&evil))],
                Err(SdpError::SeveralFingerprints),
            ),
            (
                vec![line(&good), format!("  {}", line(&evil))],
                Err(SdpError::SeveralFingerprints),
            ),
            (
                vec![format!("a=fingerprint:sha-1 {}", &hex[..59])],
                Err(SdpError::BadFingerprint),
            ),
            (
                vec![format!("a=fingerprint:sha-256 {}", &hex[..92])],
                Err(SdpError::BadFingerprint),
            ),
            (
                vec![format!("a=fingerprint:sha-256 {hex}:00")],
                Err(SdpError::BadFingerprint),
            ),
            (vec!["a=fingerprint:".into()], Err(SdpError::BadFingerprint)),
            (
                vec![line(&good), "a=x\0y".into()],
                Err(SdpError::BadCharacter),
            ),
        ];
        for (lines, want) in table {
            assert_eq!(check(&sdp(lines), &good), *want, "{lines:?}");
        }
    }

    #[test]
    fn size_and_candidates_are_bounded() {
        let good = Digest([1; 32]);
        let big = sdp(&[line(&good), format!("a=x:{}", "y".repeat(limits::MAX_SDP))]);
        assert!(matches!(check(&big, &good), Err(SdpError::TooLarge(_))));
        let mut lines = vec![line(&good)];
        lines.extend((0..=limits::MAX_CANDIDATES).map(|i| format!("a=candidate:{i}")));
        assert_eq!(
            check(&sdp(&lines), &good),
            Err(SdpError::TooManyCandidates(65))
        );
    }

    #[test]
    fn candidates_are_plain_lines() {
        assert!(check_candidate(
            "candidate:1 1 udp 2130706431 127.0.0.1 5000 typ host"
        ));
        assert!(check_candidate(""));
        assert!(!check_candidate("candidate:1\r\na=fingerprint:sha-256 00"));
        assert!(!check_candidate("hello"));
        assert!(!check_candidate(&format!("candidate:{}", "1".repeat(600))));
    }

    proptest! {
        #[test]
        fn any_text_is_checked_without_panic(text in "(a=|[\\PC\r\n:]|fingerprint|sha-256 ){0,60}") {
            let _ = check(&text, &Digest([0; 32]));
            let _ = check_candidate(&text);
        }
    }
}
