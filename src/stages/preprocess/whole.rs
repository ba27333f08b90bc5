//! From the bytes of one whole image to a model's input: what a run, a calibration and `chip` do with it.
//!
//! Two steps, since between them a run waits for room: the header, which refuses all that a header can refuse
//! before anything is decoded, then the samples.

use super::{InputSlotMut, Preprocess, bit_depth};
use crate::formats::image::{DecodeLimits, ImageHeader};
use crate::formats::reader::parse_picture;
use crate::stages::decode;
use crate::stages::decode::{check, decode};
use crate::vocabulary::chip::Chip;
use crate::vocabulary::geometry::Window;
use crate::vocabulary::reason::Rejection;
use crate::vocabulary::sample::SampleKind;

/// An image that is one tile, and that its header lets pass.
///
/// ```
/// use tilefleet::formats::image::DecodeLimits;
/// use tilefleet::stages::preprocess::{InputSlotMut, Preprocess, WholeImage};
/// use tilefleet::vocabulary::contract::{Accept, Input, Interpolation, Layout, Resize, SampleType};
///
/// let input = Input {
///     tensor: "input".into(),
///     layout: Layout::Nchw,
///     sample_type: SampleType::Float32,
///     bands: ["red", "green", "blue"].map(String::from).into(),
///     unit: "srgb8".into(),
///     units: None,
///     width: 32,
///     height: 32,
///     resize: Some(Resize { short_side: 32, interpolation: Interpolation::Bilinear, keep_exact: false }),
///     normalise: None,
///     accept: Accept::default(),
/// };
/// let (how, limits) = (Preprocess::new(&input)?, DecodeLimits::default());
///
/// let bytes = std::fs::read("tests/fixtures/earlier/bucket/images/00000.jpg")?;
/// let mut slot = vec![f32::NAN; how.slot_len()];
/// WholeImage::open(&bytes, &limits, &how)?.write(&bytes, &limits, &how, InputSlotMut::F32(&mut slot))?;
/// assert!(slot.iter().all(|sample| (0.0..=255.0).contains(sample)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct WholeImage {
    /// What its header says.
    pub header: ImageHeader,
}

impl WholeImage {
    /// Reads the header of an image, and compares it with the limits and the contract.
    ///
    /// # Errors
    ///
    /// Those of [`Self::of`], and of [`crate::formats::image::parse_header`].
    pub fn open(bytes: &[u8], limits: &DecodeLimits, how: &Preprocess) -> Result<Self, Rejection> {
        Self::of(parse_picture(bytes)?, limits, how)
    }

    /// Holds a header against the limits and the contract; nothing is decoded.
    ///
    /// # Errors
    ///
    /// [`crate::vocabulary::reason::Reason::TooLarge`], [`crate::vocabulary::reason::Reason::Unsupported`], and those of [`Preprocess::check`].
    pub fn of(header: ImageHeader, limits: &DecodeLimits, how: &Preprocess) -> Result<Self, Rejection> {
        let bands = check(&header, limits)?;
        how.check(bands, header.sample_kind, header.oriented_size())?;
        let bits = header.stored_bits;
        if header.sample_kind == SampleKind::U16 && bits < 16 && how.scales_sixteen_bits() {
            return Err(bit_depth(&format!("{bits}-bit samples, but only 16 bits can be scaled to 8")));
        }
        Ok(Self { header })
    }

    /// Opens and writes an image in one go, where nobody waits for room in between.
    ///
    /// # Errors
    ///
    /// Those of [`Self::open`] and [`Self::write`].
    pub fn decode(
        bytes: &[u8],
        limits: &DecodeLimits,
        how: &Preprocess,
        slot: InputSlotMut<'_>,
    ) -> Result<Self, Rejection> {
        let image = Self::open(bytes, limits, how)?;
        image.write(bytes, limits, how, slot).map(|()| image)
    }

    /// Decodes the image, and lays it out as the model's input.
    ///
    /// - `bytes`: those that the header was read from
    /// - `slot`: [`Preprocess::slot_len`] elements of the contract's type; every one is written
    ///
    /// # Errors
    ///
    /// Those of [`decode()`].
    pub fn write(
        &self,
        bytes: &[u8],
        limits: &DecodeLimits,
        how: &Preprocess,
        slot: InputSlotMut<'_>,
    ) -> Result<(), Rejection> {
        self.write_by(|needed| decode(&self.header, bytes, limits, needed), how, slot)
    }

    /// Lays the image out as the model's input, decoded by somebody else.
    ///
    /// - `decode`: as [`decode()`], of the pixels that are needed
    /// - `slot`: as of [`Self::write`]
    ///
    /// # Errors
    ///
    /// Those of `decode`, and of [`Preprocess::apply`].
    pub fn write_by<E: From<Rejection>>(
        &self,
        decode: impl FnOnce(Window) -> Result<Chip, E>,
        how: &Preprocess,
        slot: InputSlotMut<'_>,
    ) -> Result<(), E> {
        let chip = decode(how.needed(self.header.oriented_size()))?;
        let written = how.apply(&chip, slot);
        decode::recycle(chip);
        Ok(written?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::contract::{Accept, AcceptSixteenBit, Input, Layout, SampleType};
    use crate::vocabulary::reason::Reason;

    /// The header of a TIFF of one strip, and none of its samples.
    fn tiff(side: u32, num_bands: u16, bits: u16) -> Vec<u8> {
        let mut file = b"II*\0\x08\0\0\0\x09\0".to_vec();
        let photometric = if num_bands < 3 { 1 } else { 2 };
        let entries: [(u16, u16, u32); 9] = [
            (256, 4, side),
            (257, 4, side),
            (258, 3, bits.into()),
            (262, 3, photometric),
            (273, 4, 8),
            (277, 3, num_bands.into()),
            (278, 4, side),
            (279, 4, u32::MAX),
            (338, 3, 2),
        ];
        for (tag, kind, value) in entries {
            file.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
            file.extend([1_u32.to_le_bytes(), value.to_le_bytes()].concat());
        }
        file.extend(0_u32.to_le_bytes());
        file
    }

    fn rgb(sixteen_bit: AcceptSixteenBit) -> Preprocess {
        let input = Input {
            tensor: "input".to_owned(),
            layout: Layout::Nhwc,
            sample_type: SampleType::Uint8,
            bands: ["red", "green", "blue"].map(str::to_owned).to_vec(),
            unit: "srgb8".to_owned(),
            units: None,
            width: 9000,
            height: 9000,
            resize: None,
            normalise: None,
            accept: Accept { sixteen_bit, ..Accept::default() },
        };
        Preprocess::new(&input).unwrap()
    }

    /// What the model does not take is rejected as that, and nothing of it is decoded: there is nothing.
    #[test]
    fn what_the_header_refuses_is_not_decoded() {
        let reason = |file: &[u8], sixteen_bit| {
            let limits = DecodeLimits::default();
            let how = rgb(sixteen_bit);
            WholeImage::open(file, &limits, &how).map_err(|rejection| rejection.reason).err()
        };
        let (reject, scale) = (AcceptSixteenBit::Reject, AcceptSixteenBit::Scale);
        assert_eq!(reason(&tiff(9000, 4, 16), reject), Some(Reason::BitDepthMismatch));
        assert_eq!(reason(&tiff(9000, 4, 16), scale), None, "by its header it is one to decode");
        assert_eq!(reason(&tiff(9000, 3, 12), scale), Some(Reason::BitDepthMismatch), "65535 would be white");
        assert_eq!(reason(&tiff(9000, 5, 8), reject), Some(Reason::BandsMismatch));
        assert_eq!(reason(&tiff(8999, 3, 8), reject), Some(Reason::SizeMismatch));
        assert_eq!(reason(&tiff(20_000, 3, 8), reject), Some(Reason::TooLarge));
        let image = WholeImage::open(&tiff(9000, 3, 8), &DecodeLimits::default(), &rgb(reject)).unwrap();
        let mut slot = vec![0; 9000 * 9000 * 3];
        let written = image.write(
            &tiff(9000, 3, 8),
            &DecodeLimits::default(),
            &rgb(reject),
            InputSlotMut::U8(&mut slot),
        );
        assert_eq!(written.unwrap_err().reason, Reason::Truncated, "only now its samples are looked for");
    }
}
