//! A frame made shorter or longer by one period of the voice in it, at the same pitch.
//!
//! A voice repeats itself from one opening of the glottis to the next. To leave one such period
//! out, or to have it twice, goes unheard if the seam lies where both sides are alike.

use super::{FRAME, RATE, Tempo};

/// The shortest period: 2.5 ms, or 400 Hz …
const SHORTEST_PERIOD: usize = RATE / 400;
/// … and the longest: 15 ms, or 67 Hz.
const LONGEST_PERIOD: usize = RATE * 15 / 1000;
/// Samples of the longest frame that comes out.
pub const LONGEST: usize = FRAME + LONGEST_PERIOD;
/// One side of the seam fades into the other over 5 ms.
const SEAM: usize = RATE / 200;
/// They are compared over 10 ms around it.
const COMPARED: usize = 2 * SEAM;
/// So much alike they must be: one is the same, zero has nothing in common.
const ALIKE: f32 = 0.85;
/// Periods are looked for in such steps, then one by one around the best.
const STEP: usize = 3;
/// Below this amplitude nobody hears a seam: -50 dBFS.
const QUIET: f32 = 0.003_16;
/// What is taken of a frame so quiet: 10 ms.
const QUIET_PERIOD: usize = RATE / 100;

/// One voice on its way to the mixer. Every frame of it passes here, since the next is compared with
/// the one before.
#[derive(Debug, Clone)]
pub struct Stretch {
    /// The last frame and this one.
    heard: [f32; 2 * FRAME],
}

impl Default for Stretch {
    fn default() -> Self {
        Stretch::new()
    }
}

impl Stretch {
    /// After silence.
    pub fn new() -> Self {
        Stretch {
            heard: [0.0; 2 * FRAME],
        }
    }

    /// Writes the frame to `out`, at the wanted tempo if that can be done unheard, and says how many
    /// samples it has now: [`FRAME`], or between 120 and 720 less or more.
    pub fn frame(&mut self, frame: &[f32; FRAME], tempo: Tempo, out: &mut [f32; LONGEST]) -> usize {
        self.heard.copy_within(FRAME.., 0);
        let (_, this) = self.heard.split_at_mut(FRAME);
        this.copy_from_slice(frame);
        let seam = match tempo {
            Tempo::Normal => None,
            Tempo::Faster => self.period(|p| FRAME + p).map(|p| FRAME + p),
            Tempo::Slower => self.period(|p| FRAME - p).map(|p| FRAME - p),
        };
        match seam {
            Some(to) => self.go_on_at(to, out),
            None => {
                let (whole, _) = out.split_at_mut(FRAME);
                whole.copy_from_slice(frame);
                FRAME
            }
        }
    }

    /// Begins with the frame as it is, and fades into what is heard at `to`, up to the end.
    fn go_on_at(&self, to: usize, out: &mut [f32; LONGEST]) -> usize {
        let (_, from) = self.heard.split_at(FRAME);
        let (_, to) = self.heard.split_at(to);
        let (seam, rest) = out.split_at_mut(SEAM);
        for (n, (out, (a, b))) in seam.iter_mut().zip(from.iter().zip(to)).enumerate() {
            let share = (n + 1) as f32 / (SEAM + 1) as f32;
            *out = a + (b - a) * share;
        }
        for (out, sample) in rest.iter_mut().zip(to.iter().skip(SEAM)) {
            *out = *sample;
        }
        to.len()
    }

    /// The period by which the voice is most like itself, if it is enough.
    fn period(&self, seam: impl Fn(usize) -> usize) -> Option<usize> {
        let here = self.around(FRAME);
        if loudness(&self.heard) < QUIET {
            return Some(QUIET_PERIOD);
        }
        let likeness = |p: usize| likeness(here, self.around(seam(p)));
        let coarse = (SHORTEST_PERIOD..=LONGEST_PERIOD).step_by(STEP);
        let (near, _) = best(coarse, likeness);
        let fine = near.saturating_sub(STEP - 1)..=near + STEP - 1;
        let fine = fine.filter(|p| (SHORTEST_PERIOD..=LONGEST_PERIOD).contains(p));
        let (period, alike) = best(fine, likeness);
        (alike >= ALIKE).then_some(period)
    }

    /// What a seam at this place is compared by.
    fn around(&self, place: usize) -> &[f32] {
        let from = place.saturating_sub(COMPARED / 2);
        self.heard.get(from..from + COMPARED).unwrap_or_default()
    }
}

/// The first of those that are most alike.
fn best(of: impl Iterator<Item = usize>, likeness: impl Fn(usize) -> f32) -> (usize, f32) {
    of.map(|p| (p, likeness(p))).fold((0, -1.0), |best, new| {
        // What is no number is like nothing.
        if new.1 > best.1 { new } else { best }
    })
}

/// Normalised correlation: -1..=1, and zero where one of the two is silent.
fn likeness(a: &[f32], b: &[f32]) -> f32 {
    let (mut both, mut of_a, mut of_b) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        both += a * b;
        of_a += a * a;
        of_b += b * b;
    }
    let size = f32::sqrt(of_a * of_b);
    if size > 0.0 { both / size } else { 0.0 }
}

/// Root mean square.
fn loudness(of: &[f32]) -> f32 {
    let sum: f32 = of.iter().map(|s| s * s).sum();
    f32::sqrt(sum / of.len() as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
    use std::f32::consts::TAU;

    fn tone(hz: f32, amplitude: f32) -> impl Iterator<Item = f32> {
        (0..).map(move |n| amplitude * (TAU * hz * (n % RATE) as f32 / RATE as f32).sin())
    }

    fn noise(amplitude: f32) -> impl Iterator<Item = f32> {
        let mut rng = ChaCha8Rng::from_seed([3; 32]);
        std::iter::from_fn(move || {
            let unit = f64::from(rng.next_u32()) / f64::from(u32::MAX);
            Some((unit as f32 * 2.0 - 1.0) * amplitude)
        })
    }

    /// A frame each of these tempos: all samples, and how many each became.
    fn run(mut of: impl Iterator<Item = f32>, tempos: &[Tempo]) -> (Vec<f32>, Vec<usize>) {
        let mut stretch = Stretch::new();
        let (mut all, mut sizes) = (Vec::new(), Vec::new());
        for tempo in tempos {
            let mut frame = [0.0; FRAME];
            frame.fill_with(|| of.next().unwrap());
            let mut out = [9.0; LONGEST];
            let size = stretch.frame(&frame, *tempo, &mut out);
            all.extend_from_slice(&out[..size]);
            sizes.push(size);
        }
        (all, sizes)
    }

    fn highest_jump(of: &[f32]) -> f32 {
        let jumps = of.windows(2).map(|w| (w[1] - w[0]).abs());
        jumps.fold(0.0, f32::max)
    }

    const MIXED: [Tempo; 9] = [
        Tempo::Normal,
        Tempo::Faster,
        Tempo::Faster,
        Tempo::Slower,
        Tempo::Normal,
        Tempo::Slower,
        Tempo::Slower,
        Tempo::Faster,
        Tempo::Normal,
    ];

    #[test]
    fn a_tone_goes_on_as_if_nothing_had_happened() {
        let (all, sizes) = run(tone(200.0, 0.8), &MIXED);
        for (size, tempo) in sizes.into_iter().zip(MIXED) {
            assert_eq!(size % 240, 0, "whole periods");
            assert_eq!(size < FRAME, tempo == Tempo::Faster);
            assert_eq!(size > FRAME, tempo == Tempo::Slower);
        }
        for (n, (got, want)) in all.iter().zip(tone(200.0, 0.8)).enumerate() {
            assert!((got - want).abs() < 1e-4, "{n}: {got} {want}");
        }
    }

    #[test]
    fn no_pitch_of_a_voice_gets_a_click() {
        for hz in [70.0, 97.3, 131.0, 223.7, 399.0, 1003.0] {
            let (all, sizes) = run(tone(hz, 0.8), &MIXED);
            let own = 0.8 * TAU * hz / RATE as f32;
            let jump = highest_jump(&all);
            assert!(jump < own * 1.05, "{hz}: {jump} {own}");
            let done = sizes.iter().filter(|s| **s != FRAME).count();
            assert_eq!(done, 6, "{hz}: {sizes:?}");
            assert!(sizes.iter().all(|s| s.abs_diff(FRAME) <= LONGEST_PERIOD));
        }
    }

    #[test]
    fn silence_and_what_nobody_hears_are_shortened_at_once() {
        for amplitude in [0.0, 0.003] {
            let (_, sizes) = run(noise(amplitude), &[Tempo::Faster, Tempo::Slower]);
            assert_eq!(sizes, [480, 1440]);
        }
    }

    #[test]
    fn noise_is_left_alone() {
        let (all, sizes) = run(noise(0.5), &MIXED);
        assert!(sizes.iter().all(|s| *s == FRAME), "{sizes:?}");
        assert!(all.iter().copied().eq(noise(0.5).take(all.len())));
    }

    #[test]
    fn what_is_no_sound_is_left_alone() {
        for odd in [f32::NAN, f32::INFINITY, f32::MAX] {
            let (all, sizes) = run(std::iter::repeat(odd), &MIXED);
            assert!(sizes.iter().all(|s| *s == FRAME));
            assert_eq!(all.len(), 9 * FRAME);
        }
    }
}
