//! Which of the STUN and TURN servers that the room server names are used.

use std::net::Ipv6Addr;

use kith_protocol::room::IceServer;

/// Most URLs of STUN and TURN servers that are used: each costs a search from every address of
/// ours.
pub const MAX_ICE_URLS: usize = 8;
/// Longest such URL, user name or password, in bytes.
pub const MAX_ICE_TEXT: usize = 512;

/// What WebRTC can use of the servers we are told. It takes all or none, so one bad URL would
/// leave us without any link.
pub(super) fn usable(servers: Vec<IceServer>) -> Vec<IceServer> {
    let short = |text: &Option<String>| text.as_ref().is_some_and(|t| t.len() <= MAX_ICE_TEXT);
    let mut left = MAX_ICE_URLS;
    let mut kept = Vec::new();
    for mut server in servers {
        let known = short(&server.username) && short(&server.credential);
        if !known {
            (server.username, server.credential) = (None, None);
        }
        server.urls.retain(|url| is_url(url, known));
        server.urls.truncate(left);
        if !server.urls.is_empty() {
            left -= server.urls.len();
            kept.push(server);
        }
    }
    kept
}

/// RFC 7064 for STUN; RFC 7065 for TURN, which needs a user name and a password.
fn is_url(url: &str, known: bool) -> bool {
    let Some((scheme, rest)) = url.split_once(':').filter(|_| url.len() <= MAX_ICE_TEXT) else {
        return false;
    };
    match (scheme, rest.split_once('?')) {
        ("stun", None) => is_place(rest),
        ("turn" | "turns", None) => known && is_place(rest),
        ("turn" | "turns", Some((place, "transport=udp" | "transport=tcp"))) => {
            known && is_place(place)
        }
        _ => false,
    }
}

/// A host, and perhaps a port.
fn is_place(text: &str) -> bool {
    let port = |p: &str| p.parse::<u16>().is_ok_and(|p| p != 0);
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|t| t.split_once(']')) {
        let rest_is_port = rest.is_empty() || rest.strip_prefix(':').is_some_and(port);
        return host.parse::<Ipv6Addr>().is_ok() && rest_is_port;
    }
    let (host, rest) = match text.split_once(':') {
        Some((host, rest)) => (host, Some(rest)),
        None => (text, None),
    };
    let named = !host.is_empty()
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
    named && rest.is_none_or(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> IceServer {
        IceServer {
            urls: vec![url.into()],
            username: Some("u".into()),
            credential: Some("c".into()),
        }
    }

    #[test]
    fn only_some_that_are_urls_are_used() {
        let junk = [
            "",
            "stun",
            "stun:",
            "http://x",
            "turn:a b",
            "stun:a\u{0}",
            "file:x",
            "stun:[1",
            "turns::::9",
            "stun:a:0",
            "stun:a:65536",
            "stun:a?transport=udp",
            "turn:a?x=y",
            "stun:[a]:1",
            "stun:[::1]1",
            "turn:ä",
        ];
        assert_eq!(usable(junk.map(server).to_vec()), vec![]);
        let long = format!("stun:{}", "x".repeat(MAX_ICE_TEXT));
        assert_eq!(usable(vec![server(&long)]), vec![]);
        let good = [
            "stun:a",
            "turn:b-c.example:1",
            "turns:[::1]:2?transport=tcp",
            "stun:[2001:db8::1]",
            "turn:192.0.2.1?transport=udp",
        ];
        assert_eq!(usable(good.map(server).to_vec()), good.map(server).to_vec());
        assert_eq!(usable(vec![server("stun:a"); 1_000]).len(), MAX_ICE_URLS);
    }

    #[test]
    fn turn_needs_a_name_and_a_password() {
        let half = |url: &str| IceServer {
            username: None,
            ..server(url)
        };
        assert_eq!(usable(vec![half("turn:a")]), vec![]);
        let [kept] = &usable(vec![half("stun:a")])[..] else {
            panic!()
        };
        assert_eq!((&kept.username, &kept.credential), (&None, &None));
    }
}
