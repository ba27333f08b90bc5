//! Windows and lookup tables of interest: values of the modality become shades (PS3.3, C.11.2).

use std::sync::Arc;

use crate::data::DataSet;
use crate::display::each;
use crate::error::{Error, corrupt};
use crate::lut::Lut;
use crate::tag;

/// The formula of a window (PS3.3, C.11.2.1.2 and C.11.2.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Function {
    /// LINEAR: from centre − 0.5 − (width − 1) / 2 to centre − 0.5 + (width − 1) / 2.
    Linear,
    /// `LINEAR_EXACT`: from centre − width / 2 to centre + width / 2.
    LinearExact,
    /// SIGMOID: 1 / (1 + exp(−4 (x − centre) / width)).
    Sigmoid,
}

/// A window: which values become shades between black and white.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Its centre, in the modality's unit.
    pub center: f64,
    /// Its width, in the same; at least 1 for [`Function::Linear`], otherwise above 0.
    pub width: f64,
    /// Its formula.
    pub function: Function,
}

impl Window {
    /// Returns a linear window that begins and ends at two values of the modality.
    #[must_use]
    pub fn between(low: f64, high: f64) -> Self {
        Self { center: f64::midpoint(low, high), width: high - low, function: Function::LinearExact }
    }

    pub(crate) fn check(self) -> Result<Self, Error> {
        let least = if self.function == Function::Linear { 1.0 } else { f64::MIN_POSITIVE };
        if self.center.is_finite() && self.width.is_finite() && self.width >= least {
            return Ok(self);
        }
        Err(corrupt(format!("a window of width {}", self.width)))
    }

    /// Returns the shade of a value: 0.0 is the least, 1.0 the greatest.
    #[must_use]
    pub fn shade(self, value: f64) -> f64 {
        let Self { center, width, function } = self;
        match function {
            // C.11.2.1.2.1; both ends are compared first, so that a width of 1 is a step.
            Function::Linear => {
                let (middle, span) = (center - 0.5, width - 1.0);
                if value <= middle - span / 2.0 {
                    0.0
                } else if value > middle + span / 2.0 {
                    1.0
                } else {
                    (value - middle) / span + 0.5
                }
            }
            // C.11.2.1.3.2.
            Function::LinearExact => {
                if value <= center - width / 2.0 {
                    0.0
                } else if value > center + width / 2.0 {
                    1.0
                } else {
                    (value - center) / width + 0.5
                }
            }
            // C.11.2.1.3.1.
            Function::Sigmoid => 1.0 / (1.0 + (-4.0 * (value - center) / width).exp()),
        }
    }
}

impl Window {
    /// Turns values into shades, equal to those of [`Window::shade`].
    pub(crate) fn shade_all(self, values: &mut [f64]) {
        let Self { center, width, function } = self;
        match function {
            // A width of 1 is a step, and has no slope.
            Function::Linear if width > 1.0 => ramp(values, center - 0.5, width - 1.0),
            Function::LinearExact => ramp(values, center, width),
            _ => each(values, |value| self.shade(value)),
        }
    }
}

fn ramp(values: &mut [f64], middle: f64, span: f64) {
    each(values, |value| ((value - middle) / span + 0.5).clamp(0.0, 1.0));
}

/// What makes shades of values.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Voi {
    /// Nothing is said: all that the modality can yield.
    None,
    Window(Window),
    Lut(Arc<Lut>),
}

impl Voi {
    /// Reads a table, else a window; the first of several, which are alternatives (PS3.3, C.11.2.1).
    ///
    /// `signed` tells that values below 0 may come in (C.11.2.1.1).
    pub(crate) fn read(data: &DataSet, signed: bool) -> Result<Option<Self>, Error> {
        if let Some(item) = data.item(tag::VOI_LUT) {
            let signed = signed || item.vr(tag::LUT_DESCRIPTOR).is_some_and(crate::spec::is_signed);
            return Ok(Some(Self::Lut(Arc::new(Lut::read(item, signed)?))));
        }
        if data.text(tag::WINDOW_CENTER).is_none() || data.text(tag::WINDOW_WIDTH).is_none() {
            return Ok(None);
        }
        let number = |tag| data.decimal(tag).ok_or_else(|| corrupt(format!("{tag} is no number")));
        let function = match data.text(tag::VOI_FUNCTION).as_deref() {
            None | Some("LINEAR") => Function::Linear,
            Some("LINEAR_EXACT") => Function::LinearExact,
            Some("SIGMOID") => Function::Sigmoid,
            Some(_) => return Err(corrupt(format!("{} is none of the standard", tag::VOI_FUNCTION))),
        };
        let window =
            Window { center: number(tag::WINDOW_CENTER)?, width: number(tag::WINDOW_WIDTH)?, function };
        Ok(Some(Self::Window(window.check()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shaded_alike_one_by_one_and_together() {
        for function in [Function::Linear, Function::LinearExact, Function::Sigmoid] {
            for width in [1.0, 1.5, 2.0, 3.0, 100.0, 400.3] {
                let window = Window { center: 40.2, width, function };
                let values: Vec<f64> = (-3000..3000).map(|value| f64::from(value) / 10.0).collect();
                let mut shades = values.clone();
                window.shade_all(&mut shades);
                let away =
                    values.iter().zip(shades).map(|(&value, shade)| (window.shade(value) - shade).abs());
                assert!(away.fold(0.0, f64::max) < 1e-12, "{window:?}");
            }
        }
    }
}
