//! What manifests and file lanes are made of.

use bytes::Bytes;
use kith_protocol::frame::{Chunk, Frame};
use kith_protocol::ids::Digest;
use kith_protocol::limits;
use kith_protocol::peer::Entry;
use kith_protocol::tree::Tree;

/// An entry of a manifest.
pub fn entry(path: &str, size: u64) -> Entry {
    Entry {
        path: path.into(),
        size,
        mode: 0o644,
        mtime: 1_000_000_000,
        mtime_ns: 0,
        dir: false,
    }
}

/// A folder of a manifest.
pub fn folder(path: &str) -> Entry {
    Entry {
        dir: true,
        mode: 0o755,
        ..entry(path, 0)
    }
}

/// A chunk with the right checksum.
pub fn chunk(transfer: u32, entry: u32, index: u64, payload: &[u8]) -> Bytes {
    Frame::Chunk(Chunk {
        transfer,
        entry,
        index,
        digest: Digest(digest(payload)),
        payload: Bytes::copy_from_slice(payload),
    })
    .to_bytes()
}

/// A chunk with a wrong one.
pub fn damaged(transfer: u32, entry: u32, index: u64, payload: &[u8]) -> Bytes {
    Frame::Chunk(Chunk {
        transfer,
        entry,
        index,
        digest: Digest([0x66; 32]),
        payload: Bytes::copy_from_slice(payload),
    })
    .to_bytes()
}

/// The hash of a file.
pub fn root(content: &[u8]) -> Digest {
    let mut tree = Tree::new();
    for payload in content.chunks(limits::CHUNK) {
        tree.push(&Digest(digest(payload)));
    }
    tree.root(content.len() as u64)
}

pub(super) fn digest(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).into()
}
