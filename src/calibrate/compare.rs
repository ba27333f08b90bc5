//! How near an int8 model comes to the fp32 model that it was made from.

/// What both models say of some tiles.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    cosines: Vec<f64>,
    same_class: usize,
    logits: Power,
}

/// Sums of squares.
#[derive(Clone, Copy, Debug, Default)]
struct Power {
    signal: f64,
    noise: f64,
}

impl Comparison {
    /// Compares the embeddings of some tiles.
    ///
    /// - `exact`, `rounded`: `[n, length]`, row-major
    pub fn add_embeddings(&mut self, exact: &[f32], rounded: &[f32], length: usize) {
        let rows = exact.chunks_exact(length).zip(rounded.chunks_exact(length));
        self.cosines.extend(rows.map(|(a, b)| cosine(a, b)));
    }

    /// Compares the logits of the same tiles.
    ///
    /// - `exact`, `rounded`: `[n, num_classes]`, row-major
    pub fn add_logits(&mut self, exact: &[f32], rounded: &[f32], num_classes: usize) {
        for (a, b) in exact.chunks_exact(num_classes).zip(rounded.chunks_exact(num_classes)) {
            self.same_class += usize::from(largest(a) == largest(b));
        }
        self.logits.add(exact, rounded);
    }

    /// Returns the mean cosine of the embeddings.
    #[must_use]
    pub fn cosine_mean(&self) -> f64 {
        self.cosines.iter().sum::<f64>() / self.cosines.len().max(1) as f64
    }

    /// Returns the smallest cosine.
    #[must_use]
    pub fn cosine_min(&self) -> f64 {
        self.cosines.iter().copied().fold(1.0, f64::min)
    }

    /// Returns the share of tiles of which both say the same class.
    #[must_use]
    pub fn top1_agreement(&self) -> f64 {
        self.same_class as f64 / self.cosines.len().max(1) as f64
    }

    /// Returns the root mean square of the logits' difference over that of the logits.
    #[must_use]
    pub fn logits_error(&self) -> f64 {
        (self.logits.noise / self.logits.signal.max(f64::MIN_POSITIVE)).sqrt()
    }
}

impl Power {
    fn add(&mut self, exact: &[f32], rounded: &[f32]) {
        for (&a, &b) in exact.iter().zip(rounded) {
            let (a, b) = (f64::from(a), f64::from(b));
            self.signal += a * a;
            self.noise += (a - b) * (a - b);
        }
    }
}

/// How much of each layer's result its rounding costs.
#[derive(Clone, Debug)]
pub struct Noise(Vec<Power>);

impl Noise {
    /// Starts empty, for a number of layers.
    #[must_use]
    pub fn of_layers(count: usize) -> Self {
        Self(vec![Power::default(); count])
    }

    /// Compares a layer's exact and rounded results.
    pub fn add(&mut self, layer: usize, exact: &[f32], rounded: &[f32]) {
        self.0[layer].add(exact, rounded);
    }

    /// Returns the layers, the noisiest first, with signal over noise in decibels.
    #[must_use]
    pub fn worst_first(&self) -> Vec<(usize, f64)> {
        let decibels = |power: &Power| match power.noise {
            0.0 => f64::INFINITY,
            noise => 10.0 * (power.signal / noise).log10(),
        };
        let mut layers: Vec<_> =
            self.0.iter().enumerate().map(|(layer, power)| (layer, decibels(power))).collect();
        layers.sort_by(|a, b| a.1.total_cmp(&b.1));
        layers
    }
}

/// Two zero vectors have the same direction; a zero vector and another have none in common.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let norms = (dot(a, a) * dot(b, b)).sqrt();
    if norms == 0.0 {
        return f64::from(u8::from(a == b));
    }
    let cosine = dot(a, b) / norms;
    // What is not finite is like nothing.
    if cosine.is_nan() { 0.0 } else { cosine.min(1.0) }
}

fn largest(logits: &[f32]) -> Option<usize> {
    logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(class, _)| class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comparison_counts_directions_and_classes() {
        let mut comparison = Comparison::default();
        comparison.add_embeddings(&[3.0, 4.0, 1.0, 0.0], &[3.0, 4.0, 1.0, 1.0], 2);
        comparison.add_logits(&[1.0, 2.0, 5.0, 0.0], &[1.0, 2.0, 4.0, 4.5], 2);
        assert!((comparison.cosine_mean() - f64::midpoint(1.0, 0.5_f64.sqrt())).abs() < 1e-9);
        assert!((comparison.cosine_min() - 0.5_f64.sqrt()).abs() < 1e-9);
        assert!((comparison.top1_agreement() - 0.5).abs() < 1e-9);
        assert!((comparison.logits_error() - ((1.0 + 4.5 * 4.5) / 30.0_f64).sqrt()).abs() < 1e-9);
    }

    #[test]
    fn the_noisiest_layer_comes_first() {
        let mut noise = Noise::of_layers(3);
        noise.add(0, &[1.0], &[0.9]);
        noise.add(1, &[10.0], &[9.9]);
        noise.add(2, &[1.0], &[1.0]);
        let order: Vec<usize> = noise.worst_first().into_iter().map(|(layer, _)| layer).collect();
        assert_eq!(order, [0, 1, 2]);
        assert!((noise.worst_first()[0].1 - 20.0).abs() < 1e-4);
    }
}
