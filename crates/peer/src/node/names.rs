//! Friendly names for people who have not chosen one.

use kith_protocol::PeerId;

const FIRST: [&str; 32] = [
    "Amber", "Brave", "Bright", "Calm", "Clever", "Coral", "Cosy", "Crisp", "Daring", "Eager",
    "Fleet", "Gentle", "Golden", "Happy", "Hazel", "Humble", "Ivory", "Jolly", "Keen", "Kind",
    "Lively", "Lucky", "Merry", "Misty", "Noble", "Olive", "Proud", "Quiet", "Rosy", "Silver",
    "Sunny", "Witty",
];

const SECOND: [&str; 32] = [
    "Badger", "Beaver", "Bison", "Crane", "Dolphin", "Falcon", "Finch", "Fox", "Gecko", "Heron",
    "Ibis", "Jay", "Koala", "Lark", "Lynx", "Marten", "Newt", "Otter", "Owl", "Panda", "Puffin",
    "Quail", "Raven", "Robin", "Seal", "Stork", "Swan", "Tapir", "Toad", "Vole", "Wren", "Yak",
];

/// A name drawn from the identity, which is itself random: the same every time.
pub(crate) fn friendly(peer: &PeerId) -> String {
    let pick = |words: &[&'static str; 32], byte: u8| words[usize::from(byte) % 32];
    format!("{} {}", pick(&FIRST, peer.0[0]), pick(&SECOND, peer.0[1]))
}
