//! Which values an activation takes: histograms, and the range that 8 bits are to cover.

use std::fmt;

/// Bins of a histogram, half of them for negative values. The range of a histogram is a power of two, so that at
/// least a quarter of them lies where values are.
const NUM_BINS: usize = 8192;

/// How the range of an activation is chosen from the values that were seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// From the smallest to the largest.
    Minmax,
    /// So that this percentage of all values lies below the upper and above the lower end, each.
    Percentile(f64),
    /// So that the quantised distribution tells as much as possible of the whole one (Kullback–Leibler).
    Entropy,
}

/// The values that 8 bits are to cover; contains zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The smallest, at most 0.
    pub min: f32,
    /// The largest, at least 0.
    pub max: f32,
}

/// Counts values by size. One pass is enough: the range doubles as needed, and pairs of bins join.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    /// The bins cover −`reach` to `reach`; a power of two, 0 before the first value.
    reach: f32,
    min: f32,
    max: f32,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; NUM_BINS], reach: 0.0, min: 0.0, max: 0.0 }
    }
}

impl Histogram {
    /// Counts values; those that are not finite count as nothing.
    pub fn add(&mut self, values: &[f32]) {
        let (mut min, mut max) = (self.min, self.max);
        for &value in values.iter().filter(|value| value.is_finite()) {
            min = min.min(value);
            max = max.max(value);
        }
        (self.min, self.max) = (min, max);
        self.extend_to(max.max(-min));
        if self.reach == 0.0 {
            self.counts[NUM_BINS / 2] += values.len() as u64;
            return;
        }
        let (half, per_unit) = ((NUM_BINS / 2) as f32, (NUM_BINS / 2) as f32 / self.reach);
        for &value in values.iter().filter(|value| value.is_finite()) {
            let bin = (value * per_unit + half) as usize;
            self.counts[bin.min(NUM_BINS - 1)] += 1;
        }
    }

    /// Returns the range that the method chooses.
    ///
    /// - `symmetric`: whether 8 bits will cover −m to m
    pub fn range(&self, method: Method, symmetric: bool) -> Range {
        match method {
            Method::Minmax => Range { min: self.min, max: self.max },
            Method::Percentile(percent) => self.percentile(percent),
            Method::Entropy => self.entropy(symmetric),
        }
    }

    /// Doubles the range until it holds `largest`.
    fn extend_to(&mut self, largest: f32) {
        if largest <= self.reach {
            return;
        }
        if self.reach == 0.0 {
            self.reach = largest.log2().ceil().exp2().max(f32::MIN_POSITIVE);
            // So far there were zeros only, which lie in the middle of any range.
            return;
        }
        while self.reach < largest {
            let mut joined = vec![0; NUM_BINS];
            for (pair, counts) in self.counts.chunks_exact(2).enumerate() {
                joined[NUM_BINS / 4 + pair] = counts[0] + counts[1];
            }
            self.counts = joined;
            self.reach *= 2.0;
        }
    }

    fn percentile(&self, percent: f64) -> Range {
        let total: u64 = self.counts.iter().sum();
        let left_out = (total as f64 * (1.0 - percent / 100.0)).floor() as u64;
        let upper = self.last_after(self.counts.iter().rev().copied(), left_out);
        let lower = self.last_after(self.counts.iter().copied(), left_out);
        // What stays, counted in bins from the other end.
        let max = self.edge(NUM_BINS - upper).clamp(0.0, self.max);
        let min = self.edge(lower).clamp(self.min, 0.0);
        Range { min, max }
    }

    /// Returns how many bins from one end hold no more than `left_out` values.
    fn last_after(&self, counts: impl Iterator<Item = u64>, left_out: u64) -> usize {
        let mut seen = 0;
        counts
            .take_while(|count| {
                seen += count;
                seen <= left_out
            })
            .count()
            .min(self.counts.len())
    }

    /// Returns the lower edge of a bin.
    fn edge(&self, bin: usize) -> f32 {
        (bin as f32 - (NUM_BINS / 2) as f32) * self.reach / (NUM_BINS / 2) as f32
    }

    /// Chooses the end of the range by magnitude, as `TensorRT`'s calibrator does.
    fn entropy(&self, symmetric: bool) -> Range {
        let half = NUM_BINS / 2;
        // By magnitude; values of exactly zero tell nothing of where to clip, and after a rectifier are most.
        let mut magnitudes: Vec<f64> =
            (0..half).map(|bin| (self.counts[half + bin] + self.counts[half - 1 - bin]) as f64).collect();
        magnitudes[0] = 0.0;
        let num_levels = if symmetric || self.min < 0.0 { 128 } else { 256 };
        let used = magnitudes.iter().rposition(|&count| count > 0.0).map_or(0, |last| last + 1);
        let best = (num_levels..=used)
            .step_by(8)
            .chain([used])
            .filter(|&end| end > 0)
            .map(|end| (end, divergence(&magnitudes[..used], end, num_levels)))
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .map_or(half, |(end, _)| end);
        let end = self.edge(half + best);
        Range { min: self.min.max(-end), max: self.max.min(end) }
    }
}

/// Returns the Kullback–Leibler divergence between the first `end` bins, with what lies beyond clipped into the
/// last, and the same at `num_levels` levels.
///
/// # Reference
///
/// Migacz, "8-bit inference with `TensorRT`" (2017).
fn divergence(counts: &[f64], end: usize, num_levels: usize) -> f64 {
    let mut clipped = counts[..end].to_vec();
    clipped[end - 1] += counts[end..].iter().sum::<f64>();
    let mut expanded = vec![0.0; end];
    for level in 0..num_levels {
        let (from, to) = (level * end / num_levels, (level + 1) * end / num_levels);
        let filled = counts[from..to].iter().filter(|&&count| count > 0.0).count();
        if filled == 0 {
            continue;
        }
        let mean = counts[from..to].iter().sum::<f64>() / filled as f64;
        for bin in (from..to).filter(|&bin| counts[bin] > 0.0) {
            expanded[bin] = mean;
        }
    }
    let (total, total_expanded) = (clipped.iter().sum::<f64>(), expanded.iter().sum::<f64>());
    let terms = clipped.iter().zip(&expanded).filter(|(count, _)| **count > 0.0);
    terms
        .map(|(&count, &level)| {
            let (p, q) = (count / total, level / total_expanded);
            // A clipped bin that was empty before has no counterpart: as unlikely as can be.
            p * (p / q.max(1e-12)).ln()
        })
        .sum()
}

impl Method {
    /// Returns the name as on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Minmax => "minmax",
            Self::Percentile(_) => "percentile",
            Self::Entropy => "entropy",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percentile(percent) => write!(f, "percentile {percent}"),
            other => f.write_str(other.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(batches: &[&[f32]]) -> Histogram {
        let mut histogram = Histogram::default();
        for batch in batches {
            histogram.add(batch);
        }
        histogram
    }

    #[test]
    fn minmax_is_exact_and_holds_zero() {
        let histogram = seen(&[&[1.5, 2.0], &[0.25], &[7.3, f32::NAN, f32::INFINITY]]);
        assert_eq!(histogram.range(Method::Minmax, false), Range { min: 0.0, max: 7.3 });
        let histogram = seen(&[&[-3.0], &[-0.1]]);
        assert_eq!(histogram.range(Method::Minmax, false), Range { min: -3.0, max: 0.0 });
    }

    /// The order of batches, and so the doubling, does not matter.
    #[test]
    fn growing_keeps_the_counts() {
        let (small, large) = ([0.3, -0.2, 0.0], [40.0, -9.0]);
        let (a, b) = (seen(&[&small, &large]), seen(&[&large, &small]));
        assert_eq!(a.reach.to_bits(), 64.0_f32.to_bits());
        assert_eq!(a.counts, b.counts);
        assert_eq!(a.counts.iter().sum::<u64>(), 5);
    }

    #[test]
    fn a_percentile_leaves_out_the_tails() {
        let mut values: Vec<f32> = (0..10_000).map(|index| index as f32 / 10_000.0).collect();
        values.push(50.0);
        values.push(-8.0);
        let histogram = seen(&[&values]);
        let range = histogram.range(Method::Percentile(99.9), false);
        assert!((range.max - 0.999).abs() < 0.03, "{range:?}");
        assert!(range.min > -0.02, "{range:?}");
        let all = histogram.range(Method::Percentile(100.0), false);
        assert_eq!(all, Range { min: -8.0, max: 50.0 });
    }

    /// A few outliers far away cost resolution that the many need.
    #[test]
    fn entropy_clips_outliers_and_nothing_else() {
        let bell = |index: usize| {
            let x = (index as f32 + 0.5) / 100_000.0;
            (x / (1.0 - x)).ln().abs()
        };
        let mut values: Vec<f32> = (0..100_000).map(bell).collect();
        let whole = seen(&[&values]).range(Method::Entropy, false);
        assert!(whole.max > 4.0, "{whole:?}");
        values.extend([200.0; 3]);
        let clipped = seen(&[&values]).range(Method::Entropy, false);
        assert!(clipped.max < 100.0 && clipped.max > 4.0, "{clipped:?}");
    }

    #[test]
    fn zeros_alone_have_no_range() {
        for method in [Method::Minmax, Method::Percentile(99.99), Method::Entropy] {
            assert_eq!(seen(&[&[0.0, 0.0]]).range(method, false), Range { min: 0.0, max: 0.0 });
        }
    }
}
