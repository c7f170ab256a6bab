//! The invite: where the room is, the secret that opens it, and who invited.
//!
//! `kith://<server>/j#v1.<S>.<I>` or `https://<server>/j#v1.<S>.<I>` (and `http`, for a server
//! without TLS). The part after `#` never leaves the machine.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use crate::derive;
use crate::ids::{AccessPk, Nonce, PeerId, RoomId, Sid, Signature};

/// Why a text is not an invite.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InviteError {
    /// The scheme is not `kith`, `https` or `http`, or the path is not `/j`.
    #[error("this is not a Kith invite: it should look like kith://server/j#v1.…")]
    NotAnInvite,
    /// The server part is not a host with an optional port.
    #[error("the server name in the invite is not valid")]
    BadServer,
    /// The secret after `#` is missing, as when only half of the link was copied.
    #[error("the invite is cut off: the part after # is missing or incomplete")]
    CutOff,
    /// A newer kind of invite.
    #[error("the invite was made by a newer version of Kith; update to use it")]
    NewerVersion,
}

/// How to reach a room server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerAddr {
    /// Host with optional port, as written: `example.org`, `10.0.0.5:7400`, `[::1]:7400`.
    authority: String,
    /// Whether the connection is TLS.
    tls: bool,
}

impl ServerAddr {
    /// Parses `host[:port]`, or a URL with scheme `http`, `https`, `ws`, `wss` or `kith`.
    ///
    /// Without a scheme, or with `kith`, TLS is used unless the host is a literal IP address or
    /// `localhost`: such hosts rarely have certificates and are mostly the local network.
    pub fn parse(text: &str) -> Result<Self, InviteError> {
        let text = text.trim();
        let (scheme, rest) = match text.split_once("://") {
            Some((s, r)) => (s.to_ascii_lowercase(), r),
            None => (String::from("kith"), text),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let host = host_of(authority).ok_or(InviteError::BadServer)?;
        let tls = match scheme.as_str() {
            "kith" => !is_local_literal(host),
            "https" | "wss" => true,
            "http" | "ws" => false,
            _ => return Err(InviteError::NotAnInvite),
        };
        Ok(ServerAddr {
            authority: authority.to_ascii_lowercase(),
            tls,
        })
    }

    /// Host and optional port: also the origin that a join proof is bound to.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Whether the connection is TLS.
    pub fn tls(&self) -> bool {
        self.tls
    }

    /// The WebSocket URL of the room protocol.
    pub fn ws_url(&self) -> String {
        format!(
            "{}://{}/ws",
            if self.tls { "wss" } else { "ws" },
            self.authority
        )
    }
}

impl fmt::Display for ServerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}",
            if self.tls { "https" } else { "http" },
            self.authority
        )
    }
}

/// An invite to a room. Its `Debug` hides the secret; only [`Invite::link`] shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Invite {
    server: ServerAddr,
    secret: Zeroizing<[u8; 32]>,
    inviter: PeerId,
}

impl Invite {
    /// Puts an invite together. `secret` must be 32 random bytes.
    pub fn new(server: ServerAddr, secret: [u8; 32], inviter: PeerId) -> Self {
        Invite {
            server,
            secret: Zeroizing::new(secret),
            inviter,
        }
    }

    /// The room server.
    pub fn server(&self) -> &ServerAddr {
        &self.server
    }

    /// Who made the invite; authenticates that peer on first meeting.
    pub fn inviter(&self) -> PeerId {
        self.inviter
    }

    /// The secret itself, for the store.
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// The keys that the secret opens.
    pub fn keys(&self) -> RoomKeys {
        RoomKeys::derive(&self.secret)
    }

    /// The link, secret included.
    pub fn link(&self) -> String {
        // `kith` implies TLS for names and no TLS for literals; anything else is spelled out.
        let host = host_of(&self.server.authority).unwrap_or_default();
        let scheme = match (self.server.tls, is_local_literal(host)) {
            (true, false) | (false, true) => "kith",
            (true, true) => "https",
            (false, false) => "http",
        };
        format!(
            "{scheme}://{}/j#v1.{}.{}",
            self.server.authority,
            URL_SAFE_NO_PAD.encode(*self.secret),
            self.inviter
        )
    }
}

impl FromStr for Invite {
    type Err = InviteError;

    fn from_str(text: &str) -> Result<Self, InviteError> {
        let text = text.trim();
        let (url, fragment) = match text.split_once('#') {
            Some((u, f)) => (u, Some(f)),
            None => (text, None),
        };
        let (scheme, rest) = url.split_once("://").ok_or(InviteError::NotAnInvite)?;
        if !matches!(
            scheme.to_ascii_lowercase().as_str(),
            "kith" | "https" | "http"
        ) {
            return Err(InviteError::NotAnInvite);
        }
        let (authority, path) = rest.split_once('/').ok_or(InviteError::NotAnInvite)?;
        if path != "j" {
            return Err(InviteError::NotAnInvite);
        }
        let server = ServerAddr::parse(&format!("{scheme}://{authority}"))?;
        let fragment = fragment.ok_or(InviteError::CutOff)?;
        let mut parts = fragment.split('.');
        match parts.next() {
            Some("v1") => {}
            Some(v) if v.starts_with('v') && v[1..].parse::<u32>().is_ok_and(|n| n > 1) => {
                return Err(InviteError::NewerVersion);
            }
            _ => return Err(InviteError::CutOff),
        }
        let (Some(secret), Some(inviter), None) = (parts.next(), parts.next(), parts.next()) else {
            return Err(InviteError::CutOff);
        };
        let secret: crate::ids::Digest = secret.parse().map_err(|_| InviteError::CutOff)?;
        let inviter: PeerId = inviter.parse().map_err(|_| InviteError::CutOff)?;
        Ok(Invite::new(server, secret.0, inviter))
    }
}

impl fmt::Debug for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invite")
            .field("server", &self.server)
            .field("inviter", &self.inviter)
            .finish_non_exhaustive()
    }
}

/// The keys a room's secret derives.
#[derive(Clone)]
pub struct RoomKeys {
    access: SigningKey,
    psk: Zeroizing<[u8; 32]>,
}

impl RoomKeys {
    /// Derives `access_sk = Ed25519(X(S,"access-key"))` and `psk = X(S,"noise-psk")`.
    pub fn derive(secret: &[u8; 32]) -> Self {
        RoomKeys {
            access: SigningKey::from_bytes(&derive::expand(secret, b"access-key")),
            psk: Zeroizing::new(derive::expand(secret, b"noise-psk")),
        }
    }

    /// The public half of the access key.
    pub fn access_pk(&self) -> AccessPk {
        AccessPk(self.access.verifying_key().to_bytes())
    }

    /// The room.
    pub fn room_id(&self) -> RoomId {
        self.access_pk().room_id()
    }

    /// The pre-shared key of the sealing handshake.
    pub fn psk(&self) -> &[u8; 32] {
        &self.psk
    }

    /// Proof of the right to join, for `prove {sig}`.
    pub fn prove(&self, origin: &str, nonce: &Nonce, sid: &Sid) -> Signature {
        let room = self.room_id();
        Signature(
            self.access
                .sign(&proof_message(origin, nonce, &room, sid))
                .to_bytes(),
        )
    }
}

impl fmt::Debug for RoomKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomKeys")
            .field("room", &self.room_id())
            .finish_non_exhaustive()
    }
}

/// Checks a join proof: the key hashes to the room and the signature holds (strict Ed25519).
pub fn verify_proof(
    access_pk: &AccessPk,
    room: &RoomId,
    origin: &str,
    nonce: &Nonce,
    sid: &Sid,
    sig: &Signature,
) -> bool {
    if access_pk.room_id() != *room {
        return false;
    }
    let Ok(key) = VerifyingKey::from_bytes(&access_pk.0) else {
        return false;
    };
    let sig = ed25519_dalek::Signature::from_bytes(&sig.0);
    key.verify_strict(&proof_message(origin, nonce, room, sid), &sig)
        .is_ok()
}

fn proof_message(origin: &str, nonce: &Nonce, room: &RoomId, sid: &Sid) -> [u8; 32] {
    derive::hash(&[b"kith1/join", origin.as_bytes(), &nonce.0, &room.0, &sid.0])
}

/// The host of `host[:port]`, or `None` where it is not one.
fn host_of(authority: &str) -> Option<&str> {
    if authority.is_empty() || authority.len() > 255 {
        return None;
    }
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (inside, after) = rest.split_once(']')?;
        inside.parse::<std::net::Ipv6Addr>().ok()?;
        match after {
            "" => (inside, None),
            _ => (inside, Some(after.strip_prefix(':')?)),
        }
    } else {
        match authority.split_once(':') {
            Some((h, p)) => (h, Some(p)),
            None => (authority, None),
        }
    };
    if let Some(port) = port
        && port.parse::<u16>().ok().filter(|p| *p != 0).is_none()
    {
        return None;
    }
    let bracketed = authority.starts_with('[');
    let plain = host
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    (!host.is_empty() && (bracketed || plain)).then_some(host)
}

fn is_local_literal(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invite(server: &str) -> Invite {
        Invite::new(ServerAddr::parse(server).unwrap(), [5; 32], PeerId([6; 16]))
    }

    #[test]
    fn a_link_parses_back() {
        for server in [
            "example.org",
            "http://example.org:81",
            "10.0.0.5:7400",
            "https://[::1]:7",
            "localhost:1",
        ] {
            let i = invite(server);
            assert_eq!(i.link().parse::<Invite>().unwrap(), i, "{server}");
        }
    }

    #[test]
    fn the_scheme_decides_tls() {
        assert!(ServerAddr::parse("example.org").unwrap().tls());
        assert!(!ServerAddr::parse("192.168.1.4:7400").unwrap().tls());
        assert!(!ServerAddr::parse("localhost:7400").unwrap().tls());
        assert!(ServerAddr::parse("https://192.168.1.4").unwrap().tls());
        assert_eq!(
            ServerAddr::parse("http://a.b:9/").unwrap().ws_url(),
            "ws://a.b:9/ws"
        );
    }

    #[test]
    fn broken_links_say_what_is_wrong() {
        let good = invite("example.org").link();
        let cut = &good[..good.len() - 4];
        for (text, want) in [
            ("hello", InviteError::NotAnInvite),
            ("ftp://example.org/j#v1.a.b", InviteError::NotAnInvite),
            ("kith://example.org/x#v1.a.b", InviteError::NotAnInvite),
            ("kith:///j#v1.a.b", InviteError::BadServer),
            ("kith://a b/j#v1.a.b", InviteError::BadServer),
            ("kith://a:99999/j#v1.a.b", InviteError::BadServer),
            ("kith://example.org/j", InviteError::CutOff),
            ("kith://example.org/j#v1", InviteError::CutOff),
            ("kith://example.org/j#v9.a.b", InviteError::NewerVersion),
            (cut, InviteError::CutOff),
        ] {
            assert_eq!(text.parse::<Invite>().unwrap_err(), want, "{text}");
        }
    }

    #[test]
    fn debug_hides_the_secret() {
        let i = invite("example.org");
        let secret = URL_SAFE_NO_PAD.encode([5u8; 32]);
        assert!(!format!("{i:?} {:?}", i.keys()).contains(&secret));
    }

    #[test]
    fn a_proof_holds_only_for_what_it_was_made_for() {
        let keys = invite("example.org").keys();
        let (nonce, sid) = (Nonce([1; 32]), Sid([2; 16]));
        let sig = keys.prove("example.org", &nonce, &sid);
        let ok = |o: &str, n: &Nonce, r: &RoomId, s: &Sid, sg: &Signature| {
            verify_proof(&keys.access_pk(), r, o, n, s, sg)
        };
        let room = keys.room_id();
        assert!(ok("example.org", &nonce, &room, &sid, &sig));
        assert!(!ok("evil.org", &nonce, &room, &sid, &sig));
        assert!(!ok("example.org", &Nonce([9; 32]), &room, &sid, &sig));
        assert!(!ok("example.org", &nonce, &RoomId([0; 16]), &sid, &sig));
        assert!(!ok("example.org", &nonce, &room, &Sid([3; 16]), &sig));
        let mut bad = sig;
        bad.0[0] ^= 1;
        assert!(!ok("example.org", &nonce, &room, &sid, &bad));
        let other = RoomKeys::derive(&[8; 32]);
        assert!(!verify_proof(
            &other.access_pk(),
            &room,
            "example.org",
            &nonce,
            &sid,
            &sig
        ));
    }
}
