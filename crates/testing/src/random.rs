//! Numbers that look random and are the same everywhere.

/// A linear congruential generator, with Knuth's constants for MMIX.
///
/// Cases and pictures of tests follow from its numbers, so these never change: a crate may change its own with any
/// version.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0
    }

    /// Returns a number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 33) as usize % limit
    }

    /// Returns a byte.
    pub fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }

    /// Returns a multiple of 2⁻²⁴ from −0.5 to 0.5.
    pub fn around_0(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 24) as f32 - 0.5
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_the_same() {
        let mut random = Random(1);
        assert_eq!([(); 4].map(|()| random.below(1000)), [774, 153, 196, 870]);
        let mut random = Random(1);
        assert_eq!([(); 4].map(|()| random.byte()), [108, 130, 165, 98]);
    }
}
