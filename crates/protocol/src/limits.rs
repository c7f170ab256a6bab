//! Every limit of the wire, used by both ends.

use std::time::Duration;

/// Protocol version spoken by this build.
pub const VERSION: u16 = 1;
/// WebSocket subprotocol of the room server.
pub const SUBPROTOCOL: &str = "kith.room.v1";

/// Bytes of a file in one chunk; only the last chunk of a file may be shorter.
pub const CHUNK: usize = 64 * 1024;
/// Largest WebSocket message in either direction, in bytes.
pub const MAX_ROOM_MESSAGE: usize = 64 * 1024;
/// Largest `signal` body before base64, in bytes. Leaves room for the JSON around it.
pub const MAX_SIGNAL: usize = 40 * 1024;
/// Largest SDP, in bytes.
pub const MAX_SDP: usize = 16 * 1024;
/// Most candidates in one SDP, and most trickled for one negotiation.
pub const MAX_CANDIDATES: usize = 64;
/// Largest trickled candidate line, in bytes.
pub const MAX_CANDIDATE: usize = 512;
/// Sealed bodies are padded to a multiple of this many bytes.
pub const SEAL_PADDING: usize = 256;
/// Largest sealed body before padding, in bytes.
pub const MAX_SEALED: usize = 32 * 1024;
/// Largest message on the data channel `messages`, in bytes.
pub const MAX_PEER_MESSAGE: usize = 64 * 1024;
/// Most strands that one end of a link may open beside it.
pub const MAX_STRANDS: u8 = 7;
/// Largest beat on the data channel `presence`, in bytes.
pub const MAX_PRESENCE: usize = 1024;
/// Longest chat message, in bytes of UTF-8.
pub const MAX_TEXT: usize = 16 * 1024;
/// Longest display name, in bytes of UTF-8.
pub const MAX_NAME: usize = 64;
/// Longest free-text reason or note, in bytes of UTF-8.
pub const MAX_NOTE: usize = 512;
/// Most capabilities named in a `join` or a `Hello`, and the longest name of one.
pub const MAX_CAPS: usize = 32;
/// Longest capability name, in bytes.
pub const MAX_CAP: usize = 32;
/// Longest path of an offered entry, in bytes of UTF-8.
pub const MAX_PATH: usize = 4096;
/// Most entries in one offer.
pub const MAX_ENTRIES: u32 = 1_000_000;
/// Most open offers one peer may have with us.
pub const MAX_OFFERS: usize = 64;
/// Most entries in one `entries` message.
pub const MAX_ENTRIES_PER_MESSAGE: usize = 256;
/// Pages of a manifest that are sent without being asked for one by one.
pub const PAGES_AHEAD: usize = 16;
/// Most chunk ranges in one `have`, `want` or ack.
pub const MAX_RANGES: usize = 1024;
/// Most people named in one message.
pub const MAX_NAMED: usize = 255;
/// Most hashes in one frame.
pub const MAX_HASHES: usize = MAX_FRAME_PAYLOAD / 32;
/// Largest offer whose receivers fetch from each other, in bytes: every end keeps the hashes of all
/// its chunks in memory, 32 bytes for each.
pub const MAX_SWARM: u64 = 128 << 30;
/// Largest payload of a frame, in bytes.
pub const MAX_FRAME_PAYLOAD: usize = CHUNK;
/// Largest file that can be offered, in bytes: the limit of signed 64-bit file offsets.
pub const MAX_FILE: u64 = i64::MAX as u64;
/// Least bound that a transfer may have, in bytes per second: below it a chunk takes minutes.
pub const MIN_PACE: u64 = 1024;

/// Members a room holds unless its owner says otherwise.
pub const DEFAULT_CAPACITY: u16 = 32;
/// A connection must have joined this long after the upgrade.
pub const JOIN_TIMEOUT: Duration = Duration::from_secs(5);
/// The request line and headers must have arrived this long after the TCP accept.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// The server pings this often …
pub const PING_EVERY: Duration = Duration::from_secs(15);
/// … and a connection that missed this many pings is dead.
pub const PING_MISSES: u32 = 2;
/// Messages waiting for a slow reader before senders are told `busy`.
pub const OUTBOX_MESSAGES: usize = 64;
/// Bytes waiting for a slow reader before senders are told `busy`.
pub const OUTBOX_BYTES: usize = 256 * 1024;
/// A reader whose outbox stays full this long is closed.
pub const OUTBOX_PATIENCE: Duration = Duration::from_secs(10);
/// Read buffer of one server socket, in bytes.
pub const SOCKET_READ_BUFFER: usize = 4 * 1024;
/// A call rings this long.
pub const RING_TIMEOUT: Duration = Duration::from_secs(30);

/// One attempt of the sealing handshake may take this long.
pub const SEAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Attempts of the sealing handshake before the member is given up.
pub const SEAL_TRIES: u32 = 3;
