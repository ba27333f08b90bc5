//! Cells of integers become stored values.

use crate::image::ImageModule;
use crate::recycle;
use crate::stored::{Colours, Samples, Stored};

/// Which bits of a cell are the sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    /// The lowest of them, from 0.
    pub(super) low: u32,
    /// How many, at least 1.
    pub(super) bits: u32,
    /// They are two's complement.
    pub(super) signed: bool,
}

/// A cell of integers.
pub(super) trait Cell: Copy + Default {
    /// Returns an empty buffer for cells.
    fn buffer() -> Vec<Self>;

    /// Shifts samples down, masks them and extends their sign (PS3.5, 8.1.1).
    fn meanings(cells: Vec<Self>, field: Field) -> Samples;
}

macro_rules! cell {
    ($unsigned:ty, $signed:ty, $of_unsigned:path, $of_signed:path, $buffer:expr) => {
        impl Cell for $unsigned {
            fn buffer() -> Vec<Self> {
                $buffer
            }

            fn meanings(mut cells: Vec<Self>, field: Field) -> Samples {
                let low = field.low;
                let above = Self::BITS - field.bits.min(Self::BITS);
                if field.signed {
                    let extend = |cell: Self| ((cell >> low << above) as $signed) >> above;
                    return $of_signed(cells.into_iter().map(extend).collect());
                }
                if above > 0 {
                    for cell in &mut cells {
                        *cell = *cell >> low << above >> above;
                    }
                }
                $of_unsigned(cells)
            }
        }
    };
}

cell!(u8, i8, Samples::U8, Samples::I8, Vec::new());
cell!(u16, i16, Samples::U16, Samples::I16, recycle::words());
cell!(u32, i32, Samples::U32, Samples::I32, Vec::new());

pub(super) fn stored(image: &ImageModule, colours: Colours, field: Field, values: Samples) -> Stored {
    Stored {
        rows: image.rows,
        columns: image.columns,
        samples_per_pixel: image.samples_per_pixel,
        colours,
        bits: field.bits as u16,
        signed: field.signed,
        values,
    }
}
