//! Voice, as arithmetic on samples and packets.
//!
//! All of it runs on the threads of audio devices: nothing here waits, takes a lock, or allocates
//! once it is made. The codec is elsewhere: the jitter buffer hands out packets and says what to do
//! with them.
//!
//! ```text
//! network → JitterBuffer → (decoder) → Stretch → Mixer → device
//! ```
//!
//! | module | decides |
//! |---|---|
//! | [`jitter`] | which packet is decoded now, and how long packets wait |
//! | [`stretch`] | which period of a voice is left out or played twice |
//! | [`mix`] | how loud each voice is, and all of them together |
//! | [`level`] | how loud it is, and whether somebody speaks |

pub mod jitter;
pub mod level;
pub mod mix;
mod packet;
pub mod stretch;

pub use jitter::{JitterBuffer, Playout, Pulled, Refused, Stats};
pub use level::{Level, Speaking};
pub use mix::Mixer;
pub use stretch::{LONGEST, Stretch};

/// Samples per second, of one channel, each in -1..=1. The RTP clock of Opus runs at the same rate,
/// whatever the codec does inside (RFC 7587 section 4.1).
pub const RATE: usize = 48_000;
/// Samples of a frame: 20 ms.
pub const FRAME: usize = RATE / 50;
/// Samples that a device takes or gives at a time: 10 ms.
pub const BUFFER: usize = RATE / 100;

/// Nothing is quieter, in dBFS.
pub const SILENT: f32 = -100.0;

/// What to do with the frame at hand so that packets come to wait as long as they should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tempo {
    /// Nothing.
    #[default]
    Normal,
    /// Shorten it.
    Faster,
    /// Lengthen it.
    Slower,
}
