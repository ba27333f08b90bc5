//! Which pixels are padding, by their stored values (PS3.3, C.7.5.1.1.2).

use crate::data::DataSet;
use crate::image::{ImageModule, PixelKind};
use crate::spec::FrameSpec;
use crate::stored::{Samples, Stored};
use crate::tag;

/// Values that are padding, both ends included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Padding {
    low: f64,
    high: f64,
}

impl Padding {
    pub(crate) fn read(data: &DataSet, image: &ImageModule) -> Option<Self> {
        let word = |tag| {
            let word = data.u16(tag)?;
            Some(if image.signed { f64::from(word as i16) } else { f64::from(word) })
        };
        let (value, limit) = match image.kind {
            PixelKind::Integer => (word(tag::PADDING_VALUE), word(tag::PADDING_LIMIT)),
            PixelKind::Float => {
                let float = |tag| Some(f64::from(f32::from_bits(data.order.u32(data.bytes(tag)?, 0)?)));
                (float(tag::FLOAT_PADDING_VALUE), float(tag::FLOAT_PADDING_LIMIT))
            }
            PixelKind::Double => {
                let double = |tag| Some(f64::from_bits(data.order.u64(data.bytes(tag)?, 0)?));
                (double(tag::DOUBLE_PADDING_VALUE), double(tag::DOUBLE_PADDING_LIMIT))
            }
        };
        let value = value?;
        let limit = limit.unwrap_or(value);
        // It is for grey images only.
        (image.samples_per_pixel == 1).then_some(Self { low: value.min(limit), high: value.max(limit) })
    }

    fn holds(self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// Returns which pixels are padding; `None` if the object declares no padding.
///
/// - returns: `[rows, columns]`, true for padding
///
/// # Reference
///
/// PS3.3, C.7.5.1.1.2: stored values from Pixel Padding Value to Pixel Padding Range Limit, in either order.
#[must_use]
pub fn padding(spec: &FrameSpec, stored: &Stored) -> Option<Vec<bool>> {
    let padding = spec.padding?;
    Some(match &stored.values {
        Samples::U8(values) => mask(values, |value| padding.holds(value.into())),
        Samples::I8(values) => mask(values, |value| padding.holds(value.into())),
        Samples::U16(values) => mask(values, |value| padding.holds(value.into())),
        Samples::I16(values) => mask(values, |value| padding.holds(value.into())),
        Samples::U32(values) => mask(values, |value| padding.holds(value.into())),
        Samples::I32(values) => mask(values, |value| padding.holds(value.into())),
        Samples::F32(values) => mask(values, |value| padding.holds(value.into())),
        Samples::F64(values) => mask(values, |value| padding.holds(value)),
    })
}

fn mask<T: Copy>(values: &[T], is_padding: impl Fn(T) -> bool) -> Vec<bool> {
    values.iter().map(|&value| is_padding(value)).collect()
}
