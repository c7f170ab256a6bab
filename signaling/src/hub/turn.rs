//! STUN and TURN servers for clients, with credentials that expire.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use kith_protocol::Sid;
use kith_protocol::room::{IceServer, IceServers};
use sha1::Sha1;

use crate::config::Config;

/// The servers and a credential for one member. `unix` is the wall clock in seconds.
/// `ice_ttl` is 0 where no credential is needed.
pub(super) fn ice_servers(config: &Config, sid: &Sid, unix: u64) -> IceServers {
    let mut servers = Vec::new();
    if !config.stun_urls.is_empty() {
        servers.push(IceServer {
            urls: config.stun_urls.clone(),
            username: None,
            credential: None,
        });
    }
    let Some(secret) = config.turn_secret.as_ref().filter(|_| has_turn(config)) else {
        return IceServers {
            ice_servers: servers,
            ice_ttl: 0,
        };
    };
    let ttl = config.turn_ttl.as_secs();
    let username = format!("{}:{sid}", unix.saturating_add(ttl));
    let credential = credential(secret.expose(), &username);
    servers.push(IceServer {
        urls: config.turn_urls.clone(),
        username: Some(username),
        credential: Some(credential),
    });
    IceServers {
        ice_servers: servers,
        ice_ttl: ttl,
    }
}

/// Whether there are credentials to renew.
pub(super) fn has_turn(config: &Config) -> bool {
    config.turn_secret.is_some() && !config.turn_urls.is_empty()
}

/// The password of coturn's `use-auth-secret`: base64 of HMAC-SHA1 over the user name.
fn credential(secret: &[u8], username: &str) -> String {
    let mut mac =
        Hmac::<Sha1>::new_from_slice(secret).expect("HMAC takes keys of any length (RFC 2104)");
    mac.update(username.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use std::time::Duration;

    #[test]
    fn the_password_is_hmac_sha1() {
        // RFC 2202 section 3, test cases 1, 2 and 6.
        let hex = |s: &str| {
            let bytes: Vec<u8> = (0..s.len())
                .step_by(2)
                .map(|i| u8::from_str_radix(&s[i..i + 2], 16).unwrap())
                .collect();
            STANDARD.encode(bytes)
        };
        for (key, data, want) in [
            (
                vec![0x0b; 20],
                "Hi There",
                "b617318655057264e28bc0b6fb378c8ef146be00",
            ),
            (
                b"Jefe".to_vec(),
                "what do ya want for nothing?",
                "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
            ),
            (
                vec![0xaa; 80],
                "Test Using Larger Than Block-Size Key - Hash Key First",
                "aa4ae5e15272d00e95705637ce8a3b55ed402112",
            ),
        ] {
            assert_eq!(credential(&key, data), hex(want), "{data}");
        }
    }

    #[test]
    fn the_user_name_says_when_it_ends_and_whose_it_is() {
        let sid = Sid([3; 16]);
        let config = Config {
            stun_urls: vec!["stun:a".into()],
            turn_urls: vec!["turn:b".into(), "turns:c".into()],
            turn_secret: Secret::new("north"),
            turn_ttl: Duration::from_secs(600),
            ..Config::default()
        };
        let ice = ice_servers(&config, &sid, 1_000);
        assert_eq!(ice.ice_ttl, 600);
        let turn = &ice.ice_servers[1];
        assert_eq!(turn.urls, config.turn_urls);
        let name = format!("1600:{sid}");
        assert_eq!(turn.credential, Some(credential(b"north", &name)));
        assert_eq!(turn.username, Some(name));
        let bare = ice_servers(&Config::default(), &sid, 1_000);
        assert_eq!((bare.ice_servers.len(), bare.ice_ttl), (1, 0));
    }
}
