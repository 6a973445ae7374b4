//! MT19937 (Matsumoto and Nishimura 1998), and torch's normal numbers from it on a CPU
//! (`aten/src/ATen/native/cpu/DistributionTemplates.h`, `normal_fill`).

const N: usize = 624;
const M: usize = 397;

/// The generator, and the second value of a pair, which torch keeps for the next draw.
#[derive(Debug, Clone)]
pub(super) struct Mt19937 {
    state: [u32; N],
    next: usize,
    spare: Option<f64>,
}

impl Mt19937 {
    /// `init_genrand(seed)` of the authors' code.
    pub(super) fn new(seed: u32) -> Self {
        let mut state = [seed; N];
        for i in 1..N {
            let before = state[i - 1];
            state[i] = 1_812_433_253u32.wrapping_mul(before ^ (before >> 30)).wrapping_add(i as u32);
        }
        Self { state, next: N, spare: None }
    }

    fn word(&mut self) -> u32 {
        if self.next == N {
            for i in 0..N {
                let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
                let twist = if y & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + M) % N] ^ (y >> 1) ^ twist;
            }
            self.next = 0;
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// `torch.randn(count)`. torch has one algorithm for small tensors and one for large tensors.
    pub(super) fn normal(&mut self, count: usize) -> Vec<f32> {
        if count < 16 { self.small(count) } else { self.large(count) }
    }

    /// Groups of 16 uniform values of 24 bits: 8 radii, then 8 angles. If `count` is not a multiple of 16, the last 16
    /// values are drawn again.
    fn large(&mut self, count: usize) -> Vec<f32> {
        let mut values: Vec<f32> = (0..count).map(|_| self.uniform()).collect();
        values.chunks_exact_mut(16).for_each(box_muller);
        if !count.is_multiple_of(16) {
            let last = &mut values[count - 16..];
            last.fill_with(|| self.uniform());
            box_muller(last);
        }
        values
    }

    fn uniform(&mut self) -> f32 {
        (self.word() & 0xff_ffff) as f32 / 16_777_216.0
    }

    /// Pairs of values, computed in f64. The second value of a pair is kept for the next call.
    fn small(&mut self, count: usize) -> Vec<f32> {
        (0..count)
            .map(|_| match self.spare.take() {
                Some(value) => value as f32,
                None => {
                    let (u1, u2) = (self.double(), self.double());
                    let radius = (-2.0 * (-u2).ln_1p()).sqrt();
                    let angle = std::f64::consts::TAU * u1;
                    self.spare = Some(radius * angle.sin());
                    (radius * angle.cos()) as f32
                }
            })
            .collect()
    }

    fn double(&mut self) -> f64 {
        let high = u64::from(self.word());
        let bits = high << 32 | u64::from(self.word());
        (bits & ((1 << 53) - 1)) as f64 / (1u64 << 53) as f64
    }
}

/// Box and Muller 1958 on 8 radii and 8 angles.
fn box_muller(group: &mut [f32]) {
    let (radii, angles) = group.split_at_mut(8);
    for (u, v) in radii.iter_mut().zip(angles) {
        let radius = (-2.0 * (1.0 - *u).ln()).sqrt();
        let angle = std::f32::consts::TAU * *v;
        *u = radius * angle.cos();
        *v = radius * angle.sin();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_words_of_the_default_seed() {
        // The first and the 10000th value for seed 5489, from the authors' code and std::mt19937.
        let mut twister = Mt19937::new(5489);
        assert_eq!(twister.word(), 3_499_211_612);
        assert_eq!((0..9999).map(|_| twister.word()).last(), Some(4_123_659_995));
    }
}
