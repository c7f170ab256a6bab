//! Valid inputs to begin with: what is pinned as the wire format, and texts known for trouble.

use std::str::from_utf8;

use kith_protocol::invite::ServerAddr;
use kith_protocol::{Invite, PeerId, sdp};

use super::decoders::FP;

fn golden(file: &str) -> String {
    let dir = env!("CARGO_MANIFEST_DIR");
    let path = format!("{dir}/../crates/protocol/tests/golden/{file}");
    std::fs::read_to_string(path).unwrap_or_default()
}

pub(super) fn lines(file: &str) -> Vec<Vec<u8>> {
    golden(file)
        .lines()
        .map(|l| l.as_bytes().to_vec())
        .collect()
}

pub(super) fn hex(file: &str) -> Vec<Vec<u8>> {
    let byte = |pair: &[u8]| u8::from_str_radix(from_utf8(pair).unwrap_or("0"), 16).unwrap_or(0);
    golden(file)
        .lines()
        .map(|l| l.as_bytes().chunks(2).map(byte).collect())
        .collect()
}

pub(super) fn ranges() -> Vec<Vec<u8>> {
    vec![
        vec![0, 1, 5, 0, 7, 9, 1, 3, 8, 2, 4, 4],
        b"[[0,2],[5,18446744073709551615]]".to_vec(),
    ]
}

pub(super) fn invites() -> Vec<Vec<u8>> {
    [
        "example.org",
        "http://example.org:81",
        "10.0.0.5:7400",
        "https://[::1]:7",
    ]
    .into_iter()
    .filter_map(|s| ServerAddr::parse(s).ok())
    .map(|s| Invite::new(s, [5; 32], PeerId([6; 16])).link().into_bytes())
    .collect()
}

pub(super) fn sdps() -> Vec<Vec<u8>> {
    let fp = sdp::format_fingerprint(&FP);
    let text = format!(
        "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=fingerprint:sha-256 {fp}\r\n\
         a=group:BUNDLE 0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n\
         c=IN IP4 0.0.0.0\r\na=setup:actpass\r\na=mid:0\r\na=sctp-port:5000\r\n\
         a=ice-ufrag:abcd\r\na=ice-pwd:abcdabcdabcdabcdabcdabcd\r\n\
         a=candidate:1 1 udp 2130706431 127.0.0.1 5000 typ host\r\n"
    );
    vec![text.replace("\r\n", "\n").into_bytes(), text.into_bytes()]
}

pub(super) fn candidates() -> Vec<Vec<u8>> {
    [
        "",
        "candidate:1 1 udp 2130706431 127.0.0.1 5000 typ host",
        "candidate:2 1 udp 1694498815 192.0.2.1 5001 typ srflx raddr 10.0.0.1 rport 9",
        "candidate:3 1 tcp 1518214911 ::1 9 typ host tcptype active",
        "a=candidate:1 1 udp 1 x.local 5000 typ host",
    ]
    .into_iter()
    .map(|s| s.as_bytes().to_vec())
    .collect()
}

pub(super) fn paths() -> Vec<Vec<u8>> {
    [
        "a/b.txt",
        "../../x",
        "/etc/x",
        "C:\\x",
        "CON",
        "com¹.tar.gz",
        "a:b",
        "~",
        "x. ",
        "\u{202e}gpj.exe",
        "e\u{301}",
        ".x.0123456789abcdef.part",
        "a//b",
        "x\ny",
        "👩‍👩‍👧‍👦.png",
    ]
    .into_iter()
    .map(|s| s.as_bytes().to_vec())
    .chain([vec![b'n'; 300], "é".repeat(200).into_bytes()])
    .collect()
}

pub(super) fn records() -> Vec<Vec<u8>> {
    let id = "BgYGBgYGBgYGBgYGBgYGBg";
    vec![
        format!(r#"{{"room":"{id}","invite":"kith://a/j#v1.x.y","open":true}}"#).into_bytes(),
        format!(r#"{{"id":"{id}","at":1,"stored":2,"text":"x"}}"#).into_bytes(),
        format!(
            r#"{{"key":{{"room":"{id}","from":"{id}","offer":"{id}"}},"dir":"/d","tag":"00","name":"n","entries":[{{"path":"a","size":5}}],"roots":[["a","a (1)"]]}}"#
        )
        .into_bytes(),
    ]
}
