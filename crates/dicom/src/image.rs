//! The image pixel module: shape, bits and colours of the frames (PS3.3, C.7.6.3).

use serde::{Deserialize, Serialize};

use crate::data::{DataSet, Vr};
use crate::error::{Error, corrupt, not_an_image, unsupported};
use crate::syntax::{Codec, TransferSyntax};
use crate::tag::{self, Tag};

/// What samples mean (PS3.3, C.7.6.3.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Photometric {
    /// The least value is white.
    Monochrome1,
    /// The least value is black.
    Monochrome2,
    /// Indices of a palette.
    PaletteColor,
    /// Red, green, blue.
    Rgb,
    /// Luminance and colour differences at full range.
    YbrFull,
    /// The same; of two pixels of a row, one pair of colour differences.
    YbrFull422,
    /// The irreversible transform of JPEG 2000 made the samples of RGB.
    YbrIct,
    /// The reversible transform of JPEG 2000 made the samples of RGB.
    YbrRct,
    /// What JPEG XL makes of RGB.
    Xyb,
}

impl Photometric {
    fn of(text: &str) -> Option<Self> {
        Some(match text {
            "MONOCHROME1" => Self::Monochrome1,
            "MONOCHROME2" => Self::Monochrome2,
            "PALETTE COLOR" => Self::PaletteColor,
            "RGB" => Self::Rgb,
            "YBR_FULL" => Self::YbrFull,
            "YBR_FULL_422" => Self::YbrFull422,
            "YBR_ICT" => Self::YbrIct,
            "YBR_RCT" => Self::YbrRct,
            "XYB" => Self::Xyb,
            _ => return None,
        })
    }

    /// Returns the defined term of the standard.
    #[must_use]
    pub fn term(self) -> &'static str {
        match self {
            Self::Monochrome1 => "MONOCHROME1",
            Self::Monochrome2 => "MONOCHROME2",
            Self::PaletteColor => "PALETTE COLOR",
            Self::Rgb => "RGB",
            Self::YbrFull => "YBR_FULL",
            Self::YbrFull422 => "YBR_FULL_422",
            Self::YbrIct => "YBR_ICT",
            Self::YbrRct => "YBR_RCT",
            Self::Xyb => "XYB",
        }
    }

    fn num_samples(self) -> u16 {
        match self {
            Self::Monochrome1 | Self::Monochrome2 | Self::PaletteColor => 1,
            _ => 3,
        }
    }
}

/// What kind of numbers the pixels are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PixelKind {
    /// Integers of Bits Stored bits: Pixel Data.
    Integer,
    /// Float Pixel Data.
    Float,
    /// Double Float Pixel Data.
    Double,
}

/// Shape, bits and colours of all frames of an object; checked, so that all of it fits together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageModule {
    /// Rows of a frame; not 0.
    pub rows: u32,
    /// Columns of a frame; not 0.
    pub columns: u32,
    /// Frames; not 0.
    pub num_frames: u32,
    /// Samples per pixel: 1 or 3.
    pub samples_per_pixel: u16,
    /// What samples mean.
    pub photometric: Photometric,
    /// Bits of a sample with those around it: 1, 8, 16, 32 or 64.
    pub bits_allocated: u16,
    /// Bits of a sample.
    pub bits_stored: u16,
    /// The highest bit of a sample, from 0.
    pub high_bit: u16,
    /// Samples are two's complement: Pixel Representation is 1.
    pub signed: bool,
    /// Colours lie in planes: Planar Configuration is 1. Compressed frames ignore it (PS3.5, 8.2).
    pub planar: bool,
    /// What kind of numbers the pixels are.
    pub kind: PixelKind,
    /// The element is OW, which swaps bytes of 8-bit samples in big endian.
    pub(crate) in_words: bool,
}

impl ImageModule {
    pub(crate) fn read(data: &DataSet, pixels: (Tag, Vr), syntax: &TransferSyntax) -> Result<Self, Error> {
        let kind = match pixels.0 {
            tag::FLOAT_PIXELS => PixelKind::Float,
            tag::DOUBLE_PIXELS => PixelKind::Double,
            _ => PixelKind::Integer,
        };
        let text = data.text(tag::PHOTOMETRIC).ok_or_else(|| missing(tag::PHOTOMETRIC))?;
        let photometric = Photometric::of(&text)
            .ok_or_else(|| unsupported(format!("{} is none that is read", tag::PHOTOMETRIC)))?;
        let bits_allocated = number(data, tag::BITS_ALLOCATED)?;
        let (bits_stored, signed) = match kind {
            PixelKind::Integer => {
                (number(data, tag::BITS_STORED)?, number(data, tag::PIXEL_REPRESENTATION)? & 1 == 1)
            }
            // Neither attribute has a meaning there (PS3.3, C.7.6.24).
            _ => (bits_allocated, false),
        };
        let image = Self {
            rows: number(data, tag::ROWS)?.into(),
            columns: number(data, tag::COLUMNS)?.into(),
            num_frames: num_frames(data)?,
            samples_per_pixel: number(data, tag::SAMPLES_PER_PIXEL)?,
            photometric,
            bits_allocated,
            bits_stored,
            high_bit: data
                .u16(tag::HIGH_BIT)
                .filter(|_| kind == PixelKind::Integer)
                .unwrap_or(bits_stored.saturating_sub(1)),
            signed,
            planar: data.u16(tag::PLANAR_CONFIGURATION) == Some(1),
            kind,
            in_words: pixels.1 != Vr(*b"OB"),
        };
        image.check(syntax)?;
        Ok(image)
    }

    fn check(&self, syntax: &TransferSyntax) -> Result<(), Error> {
        if self.rows == 0 || self.columns == 0 {
            return Err(corrupt(format!("{} or {} is 0", tag::ROWS, tag::COLUMNS)));
        }
        let widths: &[u16] = match self.kind {
            PixelKind::Integer => &[1, 8, 16, 32],
            PixelKind::Float => &[32],
            PixelKind::Double => &[64],
        };
        if !widths.contains(&self.bits_allocated) {
            return Err(unsupported(format!("{} is {}", tag::BITS_ALLOCATED, self.bits_allocated)));
        }
        if self.samples_per_pixel != self.photometric.num_samples() {
            let (own, term) = (self.samples_per_pixel, self.photometric.term());
            return Err(corrupt(format!("{} is {own} for {term}", tag::SAMPLES_PER_PIXEL)));
        }
        let fits = (1..=self.bits_allocated).contains(&self.bits_stored)
            && (self.bits_stored - 1..self.bits_allocated).contains(&self.high_bit);
        if !fits {
            let (allocated, stored, high) = (self.bits_allocated, self.bits_stored, self.high_bit);
            return Err(corrupt(format!("{stored} bits stored of {allocated}, the highest one {high}")));
        }
        match syntax.codec() {
            Codec::Video | Codec::Unknown => {
                Err(unsupported(format!("no reader for transfer syntax {}", uid_of_standard(syntax.uid()))))
            }
            Codec::Native | Codec::EncapsulatedNative | Codec::DeflatedFrame => Ok(()),
            _ if self.kind != PixelKind::Integer => Err(unsupported("compressed float pixels")),
            _ => Ok(()),
        }
    }

    /// Returns the pixels of a frame.
    #[must_use]
    pub fn num_pixels(&self) -> u64 {
        u64::from(self.rows) * u64::from(self.columns)
    }

    /// Returns the samples of a decoded frame.
    #[must_use]
    pub fn num_samples(&self) -> u64 {
        self.num_pixels() * u64::from(self.samples_per_pixel)
    }

    /// Returns the bytes that the stored values of a frame take.
    #[must_use]
    pub fn decoded_bytes(&self) -> u64 {
        self.num_samples() * u64::from(self.bits_allocated.max(8) / 8)
    }

    /// Returns the bits that a native frame takes, those of `YBR_FULL_422` being 2 samples per pixel (PS3.3, C.7.6.3.1.2).
    pub(crate) fn native_frame_bits(&self) -> u64 {
        let samples = match self.photometric {
            Photometric::YbrFull422 => u64::from(self.rows) * 2 * u64::from(self.columns),
            _ => self.num_samples(),
        };
        samples * u64::from(self.bits_allocated)
    }

    /// Returns the least and the greatest value that Bits Stored can hold.
    pub(crate) fn stored_range(&self) -> (i64, i64) {
        let bits = u32::from(self.bits_stored).min(32);
        if self.signed { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) }
    }
}

fn missing(tag: Tag) -> Error {
    corrupt(format!("{tag} is missing"))
}

fn number(data: &DataSet, tag: Tag) -> Result<u16, Error> {
    data.u16(tag).ok_or_else(|| missing(tag))
}

/// Absent, empty and 0 mean one frame.
fn num_frames(data: &DataSet) -> Result<u32, Error> {
    if data.text(tag::NUM_FRAMES).is_none() {
        return Ok(1);
    }
    let number =
        data.decimal(tag::NUM_FRAMES).ok_or_else(|| corrupt(format!("{} is no number", tag::NUM_FRAMES)))?;
    if !(0.0..=f64::from(u32::MAX)).contains(&number) {
        return Err(corrupt(format!("{} is {number}", tag::NUM_FRAMES)));
    }
    Ok((number as u32).max(1))
}

/// Returns a UID if it is one of the standard; others may be made of anything.
pub(crate) fn uid_of_standard(uid: &str) -> &str {
    // No part of one that DICOM has assigned is as long as a date.
    let is_part =
        |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    let sound =
        uid.len() <= 32 && uid.strip_prefix("1.2.840.10008.").is_some_and(|own| own.split('.').all(is_part));
    if sound { uid } else { "that is not of the standard" }
}

/// Returns why an object without pixels is no image.
pub(crate) fn no_pixels(sop_class: Option<&str>) -> Error {
    match sop_class {
        Some(uid) => not_an_image(format!("no pixels in an object of SOP class {}", uid_of_standard(uid))),
        None => not_an_image("no pixels in an object without a SOP class"),
    }
}
