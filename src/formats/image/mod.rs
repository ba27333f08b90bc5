//! Headers of plain images: JPEG, PNG, WebP and TIFF.
//!
//! In goes the whole object, or as much of it as has been read ([`parse_partial`]); out comes an
//! [`ImageHeader`] or the reason why there is none. No pixel is decoded and nothing is allocated that
//! grows with the size announced; the planner checks [`DecodeLimits`] on the result and `stages::decode`
//! checks them again before it allocates.

pub(crate) mod jpeg;
mod orientation;
pub mod png;
mod tiff;
pub mod webp;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::tiff::Picture;
use crate::formats::bytes::Order;
use crate::formats::partial;
use crate::formats::partial::{Partial, View};
use crate::formats::tags::{Directory, tag};
use crate::vocabulary::geometry::Size;
use crate::vocabulary::reason::{Reason, Rejection};
pub use crate::vocabulary::sample::SampleKind;

/// An image format that can be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ImageFormat {
    /// JPEG (ITU-T T.81).
    Jpeg,
    /// PNG (W3C, third edition).
    Png,
    /// WebP (RFC 9649).
    WebP,
    /// TIFF 6.0 or `BigTIFF`.
    Tiff,
    /// DICOM (PS3.10).
    Dicom,
}

impl ImageFormat {
    /// Returns the name that people know, such as `JPEG`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::WebP => "WebP",
            Self::Tiff => "TIFF",
            Self::Dicom => "DICOM",
        }
    }

    /// Returns the usual file name extensions, in lower case and without the dot.
    #[must_use]
    pub fn extensions(self) -> &'static [&'static str] {
        match self {
            Self::Jpeg => &["jpg", "jpeg", "jpe", "jfif"],
            Self::Png => &["png"],
            Self::WebP => &["webp"],
            Self::Tiff => &["tif", "tiff", "gtiff", "tf8", "btf"],
            Self::Dicom => &["dcm", "dicom", "dic", "ima"],
        }
    }

    /// Tells whether a path's extension fits this format; a path without extension fits every one.
    #[must_use]
    pub fn extension_matches(self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        match name.rsplit_once('.') {
            Some((stem, extension)) if !stem.is_empty() => {
                self.extensions().iter().any(|known| extension.eq_ignore_ascii_case(known))
            }
            _ => true,
        }
    }
}

impl fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// So many bytes tell a format.
pub(crate) const SIGNATURE_BYTES: usize = tilefleet_dicom::SNIFF_BYTES;

/// Tells an image's format by its first bytes, whatever its name says. A DICOM file may have any preamble, that of a TIFF
/// among them (PS3.10, 7.1): so it is asked for first.
#[must_use]
pub fn sniff(bytes: &[u8]) -> Option<ImageFormat> {
    if tilefleet_dicom::is_dicom(bytes) {
        Some(ImageFormat::Dicom)
    } else if bytes.starts_with(&[0xFF, 0xD8, 0xFF]) {
        Some(ImageFormat::Jpeg)
    } else if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some(ImageFormat::Png)
    } else if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        Some(ImageFormat::WebP)
    } else if [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"].iter().any(|magic| bytes.starts_with(*magic)) {
        Some(ImageFormat::Tiff)
    } else {
        None
    }
}

/// What the stored samples mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Photometric {
    /// One band, black is 0 after decoding.
    Grey,
    /// Grey and alpha.
    GreyAlpha,
    /// Red, green, blue, also where they are stored as `YCbCr`.
    Rgb,
    /// Red, green, blue, alpha.
    Rgba,
    /// A palette of opaque colours; decodes to RGB.
    Palette,
    /// A palette of colours with alpha; decodes to RGBA.
    PaletteAlpha,
    /// Cyan, magenta, yellow, black, also where they are stored as YCCK; JPEG decodes to RGB, TIFF is not decoded.
    Cmyk,
    /// Bands without a display meaning, as many as `num_bands`.
    Other,
}

impl fmt::Display for Photometric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Grey => "grey",
            Self::GreyAlpha => "grey+alpha",
            Self::Rgb => "rgb",
            Self::Rgba => "rgba",
            Self::Palette => "palette",
            Self::PaletteAlpha => "palette+alpha",
            Self::Cmyk => "cmyk",
            Self::Other => "other",
        })
    }
}

/// How the stored rows and columns map to the picture as seen (Exif 2.32, tag 274), 1 to 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Orientation(u8);

impl Orientation {
    /// Stored as seen.
    pub const UPRIGHT: Self = Self(1);

    /// Creates an orientation; a code outside 1 to 8 counts as upright, as in Pillow.
    #[must_use]
    pub fn new(code: u64) -> Self {
        match u8::try_from(code) {
            Ok(code @ 1..=8) => Self(code),
            _ => Self::UPRIGHT,
        }
    }

    /// Takes the tag of a directory as Pillow does; `None` without one. A tag that is no code counts as upright.
    pub(crate) fn of_tag(directory: &Directory<'_>) -> Option<Self> {
        let is_code = |code: &f64| (1.0..=8.0).contains(code) && code.fract() == 0.0;
        let code = || directory.number(tag::ORIENTATION).filter(is_code);
        directory.has(tag::ORIENTATION).then(|| Self::new(code().unwrap_or(1.0) as u64))
    }

    /// Returns the code, 1 to 8.
    #[must_use]
    pub fn code(self) -> u8 {
        self.0
    }

    /// Tells whether width and height change places.
    #[must_use]
    pub fn transposes(self) -> bool {
        self.0 >= 5
    }
}

impl Default for Orientation {
    fn default() -> Self {
        Self::UPRIGHT
    }
}

/// What an image's header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageHeader {
    /// The format, by content.
    pub format: ImageFormat,
    /// Width and height as stored, before the orientation is applied.
    pub size: Size,
    /// Type of the samples after decoding.
    pub sample_kind: SampleKind,
    /// Bits of a sample (of a palette index) as stored.
    pub stored_bits: u16,
    /// What the stored samples mean.
    pub photometric: Photometric,
    /// Number of bands after decoding.
    pub num_bands: u16,
    /// How the stored rows and columns map to the picture as seen.
    pub orientation: Orientation,
    /// How the samples are compressed, such as `baseline` or `lzw`.
    pub compression: &'static str,
    /// Whether the rows of a PNG are stored coarse ones first.
    pub interlaced: bool,
    /// How much coarser the colour of a three-component JPEG is stored, such as `4:2:0`.
    pub subsampling: Option<&'static str>,
    /// Whether the image brings a colour profile; no decoder applies it.
    pub icc_profile: bool,
    /// Number of pages or animation frames; only the first is decoded.
    pub num_pages: u32,
}

impl ImageHeader {
    /// Returns width and height as seen, after the orientation is applied.
    #[must_use]
    pub fn oriented_size(&self) -> Size {
        if self.orientation.transposes() { self.size.transposed() } else { self.size }
    }

    /// Returns the size of the decoded samples in memory; saturates instead of overflowing.
    #[must_use]
    pub fn decoded_bytes(&self) -> u64 {
        let sample_bytes = u64::from(self.num_bands) * self.sample_kind.num_bytes();
        self.size.num_pixels().saturating_mul(sample_bytes)
    }
}

impl fmt::Display for ImageHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.format, self.size, self.photometric, self.sample_kind)?;
        if self.orientation != Orientation::UPRIGHT {
            write!(f, ", orientation {}", self.orientation.code())?;
        }
        Ok(())
    }
}

/// What a header may announce. Checked before anything is allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecodeLimits {
    /// Most pixels of one image.
    pub max_pixels: u64,
    /// Most bytes of one image's decoded samples.
    pub max_decoded_bytes: u64,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self { max_pixels: 100_000_000, max_decoded_bytes: 1 << 30 }
    }
}

impl DecodeLimits {
    /// Returns the limits for images of at most so many pixels, the one limit that people set: of four
    /// bands of 32 bits at most.
    #[must_use]
    pub fn of_pixels(max_pixels: u64) -> Self {
        Self { max_pixels, max_decoded_bytes: max_pixels.saturating_mul(16) }
    }

    /// Checks a header.
    ///
    /// # Errors
    ///
    /// [`Reason::TooLarge`] if the header announces more than is allowed.
    pub fn check(&self, header: &ImageHeader) -> Result<(), Rejection> {
        let pixels = header.size.num_pixels();
        if pixels > self.max_pixels {
            let limit = self.max_pixels;
            return Err(too_large(format!("{} has {pixels} pixels, the limit is {limit}", header.size)));
        }
        let bytes = header.decoded_bytes();
        if bytes > self.max_decoded_bytes {
            let limit = self.max_decoded_bytes;
            return Err(too_large(format!("{} decodes to {bytes} bytes, the limit is {limit}", header.size)));
        }
        Ok(())
    }
}

fn too_large(detail: String) -> Rejection {
    Rejection::new(Reason::TooLarge, detail)
}

/// Reads the header of an image from the whole object.
///
/// # Errors
///
/// [`Reason::Empty`] for no bytes, [`Reason::NotAnImage`] for an unknown format,
/// [`Reason::Truncated`] if the object ends inside the header, [`Reason::Corrupt`] if the header
/// contradicts itself, [`Reason::Unsupported`] for a real image that this build does not decode.
pub fn parse_header(bytes: &[u8]) -> Result<ImageHeader, Rejection> {
    parse(View::Whole(bytes))
}

/// What the parser says about an image that has been read in part.
pub type Parsed = partial::Parsed<ImageHeader>;

/// Reads the header of an image from the parts of the object that have been read.
///
/// JPEG headers are at the beginning. Those of PNG and WebP are spread between their chunks, of which
/// only the beginnings are asked for; those of TIFF lie anywhere.
#[must_use]
pub fn parse_partial(object: &Partial) -> Parsed {
    object.parse(parse)
}

/// Tells the format of an object whose first bytes have been read.
#[must_use]
pub fn sniff_partial(object: &Partial) -> Option<ImageFormat> {
    sniff(View::Partial(object).prefix())
}

/// Tells the format of an object by its content.
///
/// # Errors
///
/// [`Reason::Empty`] and [`Reason::NotAnImage`].
pub(crate) fn recognise(view: View<'_>) -> Result<ImageFormat, Rejection> {
    if view.object_bytes() == 0 {
        return Err(Rejection::new(Reason::Empty, "the object has no bytes"));
    }
    let format = sniff(view.slice(0, view.object_bytes().min(SIGNATURE_BYTES)).unwrap_or_default());
    format.ok_or_else(|| unknown(view))
}

fn parse(view: View<'_>) -> Result<ImageHeader, Rejection> {
    let header = match recognise(view)? {
        ImageFormat::Jpeg => from_beginning(view, jpeg::parse_header),
        ImageFormat::Png => png::parse_header(view),
        ImageFormat::WebP => webp::parse_header(view),
        ImageFormat::Tiff => tiff::parse_header(view),
        ImageFormat::Dicom => Err(unsupported(format!("DICOM {NEEDS_FRAMES}"))),
    }?;
    if header.size.num_pixels() == 0 {
        return Err(corrupt(format!("the header announces {}", header.size)));
    }
    Ok(header)
}

/// How images with frames are read, where they are not.
pub(super) const NEEDS_FRAMES: &str = "is read with tiles.grid = \"frames\", and with a section [privacy]";

/// So many bytes tell the formats that are not read.
const SNIFFED_OTHER_BYTES: usize = 24;

/// Names a format that is not read, or says that it is none.
fn unknown(view: View<'_>) -> Rejection {
    let start = view.slice(0, view.object_bytes().min(SNIFFED_OTHER_BYTES)).unwrap_or_default();
    match other_format(start) {
        Some(name) => unsupported(format!("{name} is not supported: convert it to PNG, JPEG, WebP or TIFF")),
        None => Rejection::new(Reason::NotAnImage, "its content is not JPEG, PNG, WebP or TIFF"),
    }
}

/// Tells an image format that is not read by its first bytes.
fn other_format(start: &[u8]) -> Option<&'static str> {
    let begins = |magic: &[u8]| start.starts_with(magic);
    let brand = start.get(4..8).filter(|kind| kind == b"ftyp").and(start.get(8..12));
    let dib_header = || Order::Little.u32(start, 14).is_some_and(|len| matches!(len, 12 | 16 | 40..=124));
    Some(match brand {
        _ if begins(b"GIF87a") || begins(b"GIF89a") => "GIF",
        // Two letters are not enough to tell text from an image.
        _ if begins(b"BM") && dib_header() => "BMP",
        _ if begins(b"\0\0\0\x0CjP  ") || begins(&[0xFF, 0x4F, 0xFF, 0x51]) => "JPEG 2000",
        _ if begins(b"\0\0\0\x0CJXL ") || begins(&[0xFF, 0x0A]) => "JPEG XL",
        Some(b"avif" | b"avis") => "AVIF",
        Some(b"heic" | b"heix" | b"mif1" | b"msf1" | b"hevc") => "HEIF",
        _ => return None,
    })
}

/// Runs a parser of consecutive bytes; one that would read on marks what comes next as missing.
fn from_beginning(
    view: View<'_>,
    parse: impl FnOnce(&[u8]) -> Result<ImageHeader, Rejection>,
) -> Result<ImageHeader, Rejection> {
    let there = view.prefix();
    let parsed = parse(there);
    if matches!(&parsed, Err(rejection) if rejection.reason == Reason::Truncated) {
        let _ = view.slice(there.len(), 1);
    }
    parsed
}

/// A rejection for an object that ends too early.
pub fn truncated(detail: impl Into<String>) -> Rejection {
    Rejection::new(Reason::Truncated, detail)
}

/// A rejection for an object whose structure contradicts itself.
pub fn corrupt(detail: impl Into<String>) -> Rejection {
    Rejection::new(Reason::Corrupt, detail)
}

/// A rejection for a real image that is not decoded.
pub fn unsupported(detail: impl Into<String>) -> Rejection {
    Rejection::new(Reason::Unsupported, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_decides_the_format() {
        assert_eq!(sniff(b"\xff\xd8\xff\xe0"), Some(ImageFormat::Jpeg));
        assert_eq!(sniff(b"\x89PNG\r\n\x1a\n"), Some(ImageFormat::Png));
        assert_eq!(sniff(b"RIFF\0\0\0\0WEBPVP8 "), Some(ImageFormat::WebP));
        assert_eq!(sniff(b"MM\0+\0\x08"), Some(ImageFormat::Tiff));
        assert_eq!(sniff(b"GIF89a"), None);
        assert_eq!(sniff(b""), None);
    }

    #[test]
    fn extensions_are_compared_without_case_and_without_folder() {
        assert!(ImageFormat::Jpeg.extension_matches("s3://bucket/a.b/photo.JPG"));
        assert!(ImageFormat::Png.extension_matches("s3://bucket/a.b/photo"));
        assert!(ImageFormat::Png.extension_matches(".hidden"));
        assert!(!ImageFormat::Png.extension_matches("photo.jpg"));
    }

    #[test]
    fn no_bytes_and_no_image_have_their_own_reasons() {
        assert_eq!(parse_header(b"").unwrap_err().reason, Reason::Empty);
        assert_eq!(parse_header(b"hello, world").unwrap_err().reason, Reason::NotAnImage);
        assert_eq!(parse_header(b"BMW and other cars, a list").unwrap_err().reason, Reason::NotAnImage);
    }

    #[test]
    fn formats_that_are_not_read_are_named() {
        let bmp = [&b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0"[..], &40u32.to_le_bytes()].concat();
        let others: [(&[u8], &str); 7] = [
            (b"GIF89a\x01\0\x01\0\0\0\0", "GIF"),
            (b"GIF87a", "GIF"),
            (&bmp, "BMP"),
            (b"\0\0\0\x0CjP  \r\n\x87\n", "JPEG 2000"),
            (b"\0\0\0\x20ftypavif", "AVIF"),
            (b"\0\0\0\x18ftypheic", "HEIF"),
            (b"\xFF\x0A", "JPEG XL"),
        ];
        for (bytes, name) in others {
            let rejection = parse_header(bytes).unwrap_err();
            assert_eq!(rejection.reason, Reason::Unsupported, "{name}");
            assert!(rejection.detail.starts_with(name), "{rejection}");
        }
    }

    #[test]
    fn orientations_outside_the_standard_count_as_upright() {
        assert_eq!(Orientation::new(0), Orientation::UPRIGHT);
        assert_eq!(Orientation::new(9), Orientation::UPRIGHT);
        assert_eq!(Orientation::new(6).code(), 6);
        assert!(Orientation::new(5).transposes() && !Orientation::new(4).transposes());
    }
}
