//! Several voices as one, never too loud.
//!
//! A limiter looks ahead: it knows of a peak 1.5 ms before it is heard, and has turned down by then
//! without a click. What stays below its ceiling passes as it is.

use super::{BUFFER, RATE};

/// So many samples a voice is later for having been looked at: 1.5 ms.
pub const AHEAD: usize = RATE * 3 / 2000;
/// Nothing louder comes out: -1 dBFS.
pub const CEILING: f32 = 0.891_250_9;
/// The loudest a voice can be made.
pub const LOUDEST: f32 = 2.0;
/// What one sample closes of the way back after a peak: most of it within 100 ms.
const RELEASE: f32 = 1.0 / (RATE / 10) as f32;
/// So close to the whole, the rest of the way is not heard.
const WHOLE: f32 = 0.999;
/// No sum is taken for larger. It keeps factors far from zero, where their sums would be inexact.
const HIGHEST: f32 = 64.0;
/// Factors that are averaged, and over which the lowest counts.
const WINDOW: usize = AHEAD + 1;

/// Sums voices, 10 ms at a time.
#[derive(Debug, Clone)]
pub struct Mixer {
    inputs: Box<[Input]>,
    sum: [f32; BUFFER],
    limiter: Limiter,
}

#[derive(Debug, Clone)]
struct Input {
    volume: f32,
    wanted: f32,
}

impl Mixer {
    /// For so many voices, each as loud as it comes. Everything it will ever need is allocated here.
    pub fn new(inputs: usize) -> Self {
        let input = Input {
            volume: 1.0,
            wanted: 1.0,
        };
        Mixer {
            inputs: vec![input; inputs].into_boxed_slice(),
            sum: [0.0; BUFFER],
            limiter: Limiter::new(),
        }
    }

    /// How loud a voice is from the next buffer on, 0..=[`LOUDEST`]: one leaves it as it is. It gets
    /// there within 10 ms. An input that does not exist has no volume.
    pub fn set_volume(&mut self, input: usize, volume: f32) {
        if let Some(i) = self.inputs.get_mut(input) {
            i.wanted = if volume.is_nan() { 0.0 } else { volume };
            i.wanted = i.wanted.clamp(0.0, LOUDEST);
        }
    }

    /// Adds a voice to this buffer; one that is not added is silent. What is no number is silence,
    /// as is an input that does not exist.
    pub fn add(&mut self, input: usize, samples: &[f32; BUFFER]) {
        let Some(i) = self.inputs.get(input) else {
            return;
        };
        let (from, by) = (i.volume, i.wanted - i.volume);
        for (n, (sum, sample)) in self.sum.iter_mut().zip(samples).enumerate() {
            let volume = match by == 0.0 {
                true => from,
                false => from + by * (n + 1) as f32 / BUFFER as f32,
            };
            if sample.is_finite() {
                *sum += sample * volume;
            }
        }
    }

    /// What was added, [`AHEAD`] samples later, and never above [`CEILING`]. The next buffer begins.
    pub fn take(&mut self, out: &mut [f32; BUFFER]) {
        for (out, sum) in out.iter_mut().zip(&mut self.sum) {
            *out = self.limiter.next(sum.clamp(-HIGHEST, HIGHEST));
            *sum = 0.0;
        }
        for i in &mut self.inputs {
            // Of who was silent nobody hears a jump.
            i.volume = i.wanted;
        }
    }
}

/// Turns down what would be too loud.
///
/// The lowest factor within the window holds until the peak that wants it has passed, and the
/// average over as many gets there in a straight line: every factor in it was chosen with that peak
/// in view, so their average is low enough when it comes out.
#[derive(Debug, Clone)]
struct Limiter {
    /// Samples on their way, and the factors that each of them wants.
    samples: [f32; WINDOW],
    wanted: [f32; WINDOW],
    /// The factors of late, and their sum: exact, so that it does not drift away.
    held: [f32; WINDOW],
    sum: f64,
    lowest: f32,
    /// Samples since the lowest was wanted.
    age: usize,
    last: f32,
    at: usize,
}

impl Limiter {
    fn new() -> Self {
        Limiter {
            samples: [0.0; WINDOW],
            wanted: [1.0; WINDOW],
            held: [1.0; WINDOW],
            sum: WINDOW as f64,
            lowest: 1.0,
            age: 0,
            last: 1.0,
            at: 0,
        }
    }

    fn next(&mut self, sample: f32) -> f32 {
        // Only what rounding left above it.
        self.turned_down(sample).clamp(-CEILING, CEILING)
    }

    fn turned_down(&mut self, sample: f32) -> f32 {
        let wanted = CEILING / sample.abs().max(CEILING);
        replace(&mut self.samples, self.at, sample);
        replace(&mut self.wanted, self.at, wanted);
        self.find_lowest(wanted);
        self.last = match self.lowest < self.last {
            true => self.lowest,
            false => self.last + (self.lowest - self.last) * RELEASE,
        };
        if self.last > WHOLE && self.lowest == 1.0 {
            self.last = 1.0;
        }
        let gone = replace(&mut self.held, self.at, self.last);
        self.sum += f64::from(self.last) - f64::from(gone);
        // The next place is that of the oldest.
        self.at = (self.at + 1) % WINDOW;
        let due = self.samples.get(self.at).copied().unwrap_or_default();
        let factor = (self.sum / WINDOW as f64) as f32;
        due * factor
    }

    fn find_lowest(&mut self, wanted: f32) {
        self.age += 1;
        if wanted <= self.lowest {
            (self.lowest, self.age) = (wanted, 0);
        } else if self.age >= WINDOW {
            self.lowest = self.wanted.iter().copied().fold(1.0, f32::min);
            self.age = self.since(self.lowest);
        }
    }

    /// How many samples ago this factor was wanted last.
    fn since(&self, factor: f32) -> usize {
        let (newer, older) = self.wanted.split_at((self.at + 1).min(WINDOW));
        let newest_first = newer.iter().rev().chain(older.iter().rev());
        let mut all = newest_first;
        all.position(|w| *w == factor).unwrap_or(WINDOW)
    }
}

fn replace(all: &mut [f32; WINDOW], at: usize, new: f32) -> f32 {
    all.get_mut(at)
        .map_or(0.0, |old| std::mem::replace(old, new))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::f32::consts::TAU;

    fn tone(hz: f32, amplitude: f32, n: usize) -> f32 {
        amplitude * (TAU * hz * (n % RATE) as f32 / RATE as f32).sin()
    }

    /// What comes out of voices that are functions of time, over so many buffers.
    fn mixed(
        mixer: &mut Mixer,
        buffers: std::ops::Range<usize>,
        voices: &[&dyn Fn(usize) -> f32],
    ) -> Vec<f32> {
        let mut all = Vec::new();
        for b in buffers {
            for (input, voice) in voices.iter().enumerate() {
                mixer.add(input, &std::array::from_fn(|n| voice(b * BUFFER + n)));
            }
            let mut out = [9.0; BUFFER];
            mixer.take(&mut out);
            all.extend(out);
        }
        all
    }

    fn highest(of: &[f32]) -> f32 {
        of.iter().fold(0.0, |h, s| h.max(s.abs()))
    }

    fn highest_jump(of: &[f32]) -> f32 {
        let jumps = of.windows(2).map(|w| (w[1] - w[0]).abs());
        jumps.fold(0.0, f32::max)
    }

    #[test]
    fn a_quiet_voice_passes_bit_for_bit() {
        let voice = |n| tone(313.0, 0.89, n);
        let all = mixed(&mut Mixer::new(3), 0..50, &[&voice]);
        assert!(all[..AHEAD].iter().all(|s| *s == 0.0));
        for (n, s) in all[AHEAD..].iter().enumerate() {
            assert_eq!(s.to_bits(), (0.0 + voice(n)).to_bits(), "{n}");
        }
    }

    #[test]
    fn eight_full_voices_keep_below_the_ceiling_and_do_not_click() {
        let tones: Vec<_> = (0..8)
            .map(|v| move |n| tone(200.0 + 37.0 * v as f32, 1.0, n))
            .collect();
        let voices: Vec<&dyn Fn(usize) -> f32> = tones.iter().map(|t| t as _).collect();
        let all = mixed(&mut Mixer::new(8), 0..300, &voices);
        assert!(highest(&all) <= CEILING);
        assert!(highest(&all) > CEILING * 0.95);
        // Where it turns down nothing, eight such tones move by this much at most.
        let own: f32 = (0..8)
            .map(|v| TAU * (200.0 + 37.0 * v as f32) / RATE as f32)
            .sum();
        assert!(highest_jump(&all) < own, "{} {own}", highest_jump(&all));
    }

    #[test]
    fn after_a_peak_all_is_again_as_it_was() {
        let loud = |n| if (9600..9700).contains(&n) { 3.0 } else { 0.0 };
        let voice = |n| tone(400.0, 0.3, n);
        let all = mixed(&mut Mixer::new(2), 0..150, &[&voice, &loud]);
        let same = |n: usize| all[n + AHEAD].to_bits() == (voice(n) + 0.0).to_bits();
        assert!((0..9600 - AHEAD).all(same), "before");
        assert!(!same(9650) && highest(&all) <= CEILING);
        assert!((9700 + RATE..150 * BUFFER - AHEAD).all(same), "after");
    }

    #[test]
    fn a_peak_is_turned_down_in_time_and_not_cut_off() {
        let mut limiter = Limiter::new();
        let loud = |n: usize| [1009, 877, 51].iter().any(|every| n.is_multiple_of(*every));
        let voice = |n| if n < 20_000 && loud(n) { 4.0 } else { 0.9 };
        let all = (0..60_000).map(|n| limiter.turned_down(voice(n)));
        let all: Vec<f32> = all.skip(AHEAD).collect();
        assert!(highest(&all) < CEILING * 1.000_001, "{}", highest(&all));
        let factors = all.iter().enumerate().map(|(n, s)| s / voice(n));
        assert!(highest_jump(&factors.collect::<Vec<_>>()) < 1.0 / WINDOW as f32);
        assert!(all[59_000] > CEILING * 0.999, "as little as it takes");
    }

    #[test]
    fn a_volume_is_reached_in_ten_milliseconds_without_a_click() {
        let mut mixer = Mixer::new(1);
        let voice = |_: usize| 0.4;
        mixed(&mut mixer, 0..1, &[&voice]);
        for (volume, from, to) in [(2.0, 0.4, 0.8), (0.0, 0.8, 0.0), (f32::NAN, 0.0, 0.0)] {
            mixer.set_volume(0, volume);
            let all = mixed(&mut mixer, 0..2, &[&voice]);
            assert!((all[AHEAD - 1] - from).abs() < 1e-6);
            assert!((all[AHEAD + BUFFER - 1] - to).abs() < 1e-6);
            assert!(highest_jump(&all) < 0.9 / BUFFER as f32);
        }
        mixer.set_volume(0, 7.0);
        assert!((mixed(&mut mixer, 0..2, &[&voice])[600] - 0.8).abs() < 1e-6);
    }

    #[test]
    fn an_input_that_does_not_exist_is_silent() {
        let mut mixer = Mixer::new(1);
        mixer.set_volume(1, 2.0);
        mixer.add(1, &[0.5; BUFFER]);
        let mut out = [9.0; BUFFER];
        mixer.take(&mut out);
        assert_eq!(out, [0.0; BUFFER]);
    }

    proptest! {
        #[test]
        fn whatever_is_added_nothing_passes_the_ceiling(
            all in prop::collection::vec((0usize..5, any::<f32>(), any::<f32>(), 1usize..200), 1..40),
        ) {
            let mut mixer = Mixer::new(4);
            for (input, volume, sample, every) in all {
                mixer.set_volume(input, volume);
                let spikes = std::array::from_fn(|n| if n % every == 0 { sample } else { 0.5 });
                mixer.add(input, &spikes);
                let mut out = [9.0; BUFFER];
                mixer.take(&mut out);
                prop_assert!(out.iter().all(|s| s.abs() <= CEILING), "{:?}", out);
            }
        }
    }
}
