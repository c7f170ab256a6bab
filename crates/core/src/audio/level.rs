//! How loud a voice is, and whether somebody speaks.

use super::{RATE, SILENT};

/// What a meter shows as nothing, in dBFS; full scale is its other end.
const LEFT: f32 = -60.0;
/// A meter falls by so many decibels a second, so that an eye can follow.
const FALL: f32 = 30.0;
/// Whoever is louder than this speaks, in dBFS …
const ON: f32 = -45.0;
/// … and who is quieter than this does not …
const OFF: f32 = -52.0;
/// … once it has been so for 400 ms: between two words nobody has stopped.
const PATIENCE: usize = RATE * 2 / 5;

/// Rises at once and falls slowly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    rms: f32,
    peak: f32,
}

impl Default for Level {
    fn default() -> Self {
        Level::new()
    }
}

impl Level {
    /// After silence.
    pub fn new() -> Self {
        Level {
            rms: SILENT,
            peak: SILENT,
        }
    }

    /// The next samples, however many.
    pub fn hear(&mut self, samples: &[f32]) {
        let fall = FALL * samples.len() as f32 / RATE as f32;
        let peak = samples.iter().fold(0.0, |p: f32, s| p.max(s.abs()));
        let follow = |was: f32, now: f32| now.max(was - fall).max(SILENT);
        self.rms = follow(self.rms, dbfs(rms(samples)));
        self.peak = follow(self.peak, dbfs(peak));
    }

    /// The root mean square, in dBFS: -3 for the loudest tone, [`SILENT`] for nothing.
    pub fn rms(&self) -> f32 {
        self.rms
    }

    /// The highest sample, in dBFS.
    pub fn peak(&self) -> f32 {
        self.peak
    }

    /// The root mean square on a meter: 0 at -60 dBFS and below, 1 at full scale.
    pub fn meter(&self) -> f32 {
        meter(self.rms)
    }

    /// The highest sample on the same meter.
    pub fn peak_meter(&self) -> f32 {
        meter(self.peak)
    }
}

/// Whether somebody speaks: from the first frame of a word until 400 ms after the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Speaking {
    /// Samples of it that are left if nothing more is heard.
    left: usize,
}

impl Speaking {
    /// Nobody does.
    pub fn new() -> Self {
        Speaking::default()
    }

    /// The next samples, a frame or so. Whether somebody speaks now.
    pub fn hear(&mut self, samples: &[f32]) -> bool {
        let loud = dbfs(rms(samples));
        if loud > ON || self.is_on() && loud > OFF {
            self.left = PATIENCE;
        } else {
            self.left = self.left.saturating_sub(samples.len());
        }
        self.is_on()
    }

    /// Whether somebody speaks.
    pub fn is_on(&self) -> bool {
        self.left > 0
    }
}

fn meter(dbfs: f32) -> f32 {
    ((dbfs - LEFT) / -LEFT).clamp(0.0, 1.0)
}

/// An amplitude in decibels of full scale; [`SILENT`] for what is no number. There is an end to
/// how loud it is, so that a meter comes down again.
fn dbfs(amplitude: f32) -> f32 {
    let loud = 20.0 * amplitude.log10();
    if loud.is_nan() {
        return SILENT;
    }
    loud.clamp(SILENT, -SILENT)
}

fn rms(samples: &[f32]) -> f32 {
    let sum: f32 = samples.iter().map(|s| s * s).sum();
    f32::sqrt(sum / samples.len().max(1) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::FRAME;
    use proptest::prelude::*;
    use std::f32::consts::TAU;

    fn tone(dbfs: f32) -> [f32; FRAME] {
        let amplitude = 10f32.powf(dbfs / 20.0);
        std::array::from_fn(|n| amplitude * (TAU * n as f32 / 48.0).sin())
    }

    #[test]
    fn a_meter_rises_at_once_and_falls_slowly() {
        let mut l = Level::new();
        assert_eq!((l.rms(), l.meter()), (SILENT, 0.0));
        l.hear(&tone(0.0));
        assert!((l.rms() + 3.01).abs() < 0.01 && l.peak().abs() < 0.01);
        assert!((l.meter() - 0.95).abs() < 0.01 && l.peak_meter() > 0.99);
        (0..50).for_each(|_| l.hear(&[0.0; FRAME]));
        assert!((l.peak() + FALL).abs() < 0.1, "{}", l.peak());
        (0..500).for_each(|_| l.hear(&[0.0; FRAME]));
        assert_eq!((l.peak(), l.meter()), (SILENT, 0.0));
        l.hear(&tone(-20.0));
        assert!((l.peak() + 20.0).abs() < 0.1);
    }

    #[test]
    fn a_word_is_seen_at_once_and_a_pause_between_words_is_not() {
        let mut s = Speaking::new();
        assert!(!s.hear(&tone(-46.0)));
        assert!(s.hear(&tone(-40.0)));
        assert!((0..19).all(|_| s.hear(&[0.0; FRAME])));
        assert!(s.hear(&tone(-46.0)), "quieter words hold it");
        assert!((0..19).all(|_| s.hear(&tone(-60.0))));
        assert!(!s.hear(&tone(-60.0)));
        assert!(!s.hear(&tone(-46.0)), "but do not begin it");
    }

    proptest! {
        #[test]
        fn whatever_is_heard_a_meter_has_two_ends(all: Vec<Vec<f32>>) {
            let (mut l, mut s) = (Level::new(), Speaking::new());
            for samples in all {
                l.hear(&samples);
                s.hear(&samples);
                prop_assert!((0.0..=1.0).contains(&l.meter()), "{l:?}");
                prop_assert!((0.0..=1.0).contains(&l.peak_meter()), "{l:?}");
            }
        }
    }
}
