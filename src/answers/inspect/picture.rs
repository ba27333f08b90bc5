//! Samples on their way into a file: NumPy's `.npy` and PNG.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;

use png::{BitDepth, ColorType, Encoder};

use crate::vocabulary::chip::{Bands, Samples, with_samples};
use crate::vocabulary::contract::{Input, Layout};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::sample::SampleKind;

/// Axes of images, and of models that take NHWC.
pub(super) const BANDS_LAST: [&str; 3] = ["height", "width", "bands"];
/// Axes of models that take NCHW.
const BANDS_FIRST: [&str; 3] = ["bands", "height", "width"];
/// A `.npy` header is filled up to a multiple of so many bytes.
const NPY_ALIGNMENT: usize = 64;

/// Samples with three axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Lengths of the axes.
    pub shape: [usize; 3],
    /// Names of the axes.
    pub axes: [&'static str; 3],
    /// What the bands mean.
    pub bands: Bands,
    /// The samples, the last axis varying fastest.
    pub samples: Samples,
}

/// What a picture is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// NumPy's format, version 1.0.
    Npy,
    /// PNG of 8 or 16 bits.
    Png,
}

impl FileFormat {
    /// Chooses by a file's extension.
    ///
    /// # Errors
    ///
    /// `Usage` if it is neither `.npy` nor `.png`.
    pub fn of(path: &Path) -> Result<Self> {
        match path.extension().map(OsStr::to_ascii_lowercase) {
            Some(extension) if extension == "npy" => Ok(Self::Npy),
            Some(extension) if extension == "png" => Ok(Self::Png),
            _ => Err(Error::usage(format!("{} is neither .npy nor .png", path.display()))
                .hint("name a .npy file for any samples, or a .png file for 8 and 16 bits")),
        }
    }
}

impl Picture {
    pub(super) fn of_input(input: &Input, bands: Bands, samples: Samples) -> Self {
        let [height, width] = [input.height, input.width].map(|side| side as usize);
        let num_bands = input.bands.len();
        let (shape, axes) = match input.layout {
            Layout::Nhwc => ([height, width, num_bands], BANDS_LAST),
            Layout::Nchw => ([num_bands, height, width], BANDS_FIRST),
        };
        Self { shape, axes, bands, samples }
    }

    /// Checks that a file of this format can hold the picture as it is.
    ///
    /// # Errors
    ///
    /// `Usage` if it cannot.
    pub fn check(&self, format: FileFormat) -> Result<()> {
        match format {
            FileFormat::Npy => Ok(()),
            FileFormat::Png => self.png_type().map(|_| ()),
        }
    }

    /// Writes the picture.
    ///
    /// # Errors
    ///
    /// `Usage` as [`Self::check`], `Unavailable` if the disk fails.
    pub fn write(&self, format: FileFormat, out: &mut impl Write) -> Result<()> {
        match format {
            FileFormat::Npy => self.write_npy(out).map_err(not_written),
            FileFormat::Png => self.write_png(out),
        }
    }

    /// Writes version 1.0 of the format: a line of Python, then the samples, little-endian.
    fn write_npy(&self, out: &mut impl Write) -> io::Result<()> {
        const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";
        let kind = match self.samples.kind() {
            SampleKind::U8 => "|u1",
            SampleKind::I8 => "|i1",
            SampleKind::U16 => "<u2",
            SampleKind::I16 => "<i2",
            SampleKind::U32 => "<u4",
            SampleKind::I32 => "<i4",
            SampleKind::U64 => "<u8",
            SampleKind::I64 => "<i8",
            SampleKind::F32 => "<f4",
            SampleKind::F64 => "<f8",
        };
        let [a, b, c] = self.shape;
        let mut header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({a}, {b}, {c}), }}");
        // Before it stand the magic and its own length; it ends in a line feed.
        let unfilled = MAGIC.len() + 2 + header.len() + 1;
        header.push_str(&" ".repeat(unfilled.next_multiple_of(NPY_ALIGNMENT) - unfilled));
        header.push('\n');
        out.write_all(MAGIC)?;
        out.write_all(&u16::try_from(header.len()).expect("three numbers are short").to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        with_samples!(&self.samples, samples => {
            samples.iter().try_for_each(|sample| out.write_all(&sample.to_le_bytes()))
        })
    }

    fn write_png(&self, out: &mut impl Write) -> Result<()> {
        let (colour, depth) = self.png_type()?;
        let [height, width, _] = self.shape.map(|length| u32::try_from(length).unwrap_or(u32::MAX));
        let mut encoder = Encoder::new(out, width, height);
        encoder.set_color(colour);
        encoder.set_depth(depth);
        let big_endian: Vec<u8>;
        let bytes = match &self.samples {
            Samples::U8(samples) => samples,
            Samples::U16(samples) => {
                big_endian = samples.iter().flat_map(|sample| sample.to_be_bytes()).collect();
                &big_endian
            }
            _ => unreachable!("refused above"),
        };
        let mut writer = encoder.write_header().map_err(not_written)?;
        writer.write_image_data(bytes).map_err(not_written)?;
        writer.finish().map_err(not_written)
    }

    fn png_type(&self) -> Result<(ColorType, BitDepth)> {
        let cannot = |what: &str| Error::usage(format!("a PNG cannot store {what}")).hint("name a .npy file");
        let depth = match self.samples {
            Samples::U8(_) => BitDepth::Eight,
            Samples::U16(_) => BitDepth::Sixteen,
            _ => return Err(cannot(&format!("{} samples", self.samples.type_name()))),
        };
        if self.axes != BANDS_LAST {
            return Err(cannot(&format!("samples in the order {}", self.axes.join(", "))));
        }
        let colour = match self.bands {
            Bands::Grey => ColorType::Grayscale,
            Bands::GreyAlpha => ColorType::GrayscaleAlpha,
            Bands::Rgb => ColorType::Rgb,
            Bands::Rgba => ColorType::Rgba,
            Bands::Many(_) => return Err(cannot("bands other than grey, RGB and alpha")),
        };
        Ok((colour, depth))
    }
}

fn not_written(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::unavailable("cannot write the samples").because(cause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::error::Kind;

    fn picture(bands: Bands, samples: Samples) -> Picture {
        Picture { shape: [1, 2, bands.count()], axes: BANDS_LAST, bands, samples }
    }

    /// NumPy: `np.lib.format.write_array(file, np.array([[[1], [515]]], "<u2"), (1, 0))`.
    #[test]
    fn npy_begins_with_a_line_of_python() {
        let mut file = Vec::new();
        picture(Bands::Grey, Samples::U16(vec![1, 515])).write(FileFormat::Npy, &mut file).unwrap();
        let line = "{'descr': '<u2', 'fortran_order': False, 'shape': (1, 2, 1), }";
        assert_eq!(&file[..10], b"\x93NUMPY\x01\x00\x76\x00");
        assert_eq!(String::from_utf8_lossy(&file[10..128]), format!("{line:117}\n"));
        assert_eq!(&file[128..], [1, 0, 3, 2]);
    }

    #[test]
    fn png_holds_integers_of_known_bands() {
        let samples = vec![1, 2, 3, 40_000, 50_000, 60_000];
        let mut file = Vec::new();
        picture(Bands::Rgb, Samples::U16(samples.clone())).write(FileFormat::Png, &mut file).unwrap();
        let limits = crate::formats::image::DecodeLimits::default();
        let (_, chip) = crate::stages::decode::decode_tile(&file, &limits).unwrap();
        assert_eq!((chip.bands, chip.samples), (Bands::Rgb, Samples::U16(samples)));
        for other in [
            picture(Bands::Grey, Samples::F32(vec![0.0; 2])),
            picture(Bands::Many(2), Samples::U8(vec![0; 4])),
        ] {
            let error = other.check(FileFormat::Png).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            assert_eq!(error.hints(), ["name a .npy file"]);
        }
    }

    #[test]
    fn the_extension_decides() {
        assert_eq!(FileFormat::of(Path::new("a/b.NPY")).unwrap(), FileFormat::Npy);
        assert_eq!(FileFormat::of(Path::new("b.png")).unwrap(), FileFormat::Png);
        assert!(FileFormat::of(Path::new("b.jpg")).is_err() && FileFormat::of(Path::new("npy")).is_err());
    }
}
