//! What the decoder sees of one source.

use serde::Serialize;

use super::header::{Header, Looked};
use super::rejected;
use super::scene::Scene;
use crate::decode;
use crate::error::{Error, Result};
use crate::format::image::{ImageFormat, ImageHeader, Limits, Orientation};
use crate::format::tiff::{self, TiffHeader};
use crate::geometry::Size;
use crate::reason::Rejection;
use crate::storage::ObjectUri;

/// What the decoder sees of one source, by its header.
#[derive(Clone, Debug, Serialize)]
pub struct Description {
    /// Canonical URI.
    pub source: String,
    /// Whether a run would decode it.
    pub status: Status,
    /// Code of what is wrong with it.
    pub reason: Option<&'static str>,
    /// Particulars of what is wrong, for people.
    pub detail: Option<String>,
    /// Size of the object.
    pub size_bytes: Option<u64>,
    /// `ETag`; for a local file size and modification time.
    pub version: Option<String>,
    /// Number of bytes that were read for this description.
    pub read_bytes: u64,
    /// The format by content, such as `JPEG`.
    pub format: Option<&'static str>,
    /// Whether the name's extension, if it has one, is one of this format.
    pub extension_agrees: Option<bool>,
    /// What the header says; `None` where it cannot be read or is of a kind that is not decoded.
    pub image: Option<Image>,
    #[serde(skip)]
    rejection: Option<(ObjectUri, Rejection)>,
}

/// Whether a source can be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As far as the header tells.
    Ok,
    /// A run would reject it.
    Rejected,
    /// It could not be looked at.
    Failed,
}

/// What an image's header says.
#[derive(Clone, Debug, Serialize)]
pub struct Image {
    /// Number of columns as seen, orientation applied.
    pub width: u32,
    /// Number of rows as seen.
    pub height: u32,
    /// Number of columns as stored.
    pub stored_width: u32,
    /// Number of rows as stored.
    pub stored_height: u32,
    /// How the stored rows and columns map to those seen, 1 to 8 (Exif 2.32, tag 274).
    pub orientation: u8,
    /// Number of bands after decoding.
    pub num_bands: u16,
    /// What the stored samples mean.
    pub photometric: String,
    /// Type of a sample after decoding.
    pub sample_type: String,
    /// Bits of a sample, or of a palette index, as stored.
    pub stored_bits: u16,
    /// How the samples are compressed.
    pub compression: String,
    /// How much coarser colour is stored than brightness; JPEG only.
    pub subsampling: Option<&'static str>,
    /// Whether coarse rows are stored first; PNG only.
    pub interlaced: bool,
    /// Whether there is a colour profile; it is not applied.
    pub icc_profile: bool,
    /// Size of the decoded samples in memory.
    pub decoded_bytes: u64,
    /// Sizes of the levels as seen, the finest first.
    pub levels: Vec<Level>,
    /// Number of frames that can be decoded.
    pub num_frames: u32,
    /// Number of pages or animation frames in the file.
    pub num_pages: u32,
    /// What more there is to say of a scene; `None` for a plain image.
    pub scene: Option<Scene>,
}

/// Size of one level, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Level {
    /// Number of columns.
    pub width: u32,
    /// Number of rows.
    pub height: u32,
}

impl Description {
    pub(super) fn new(uri: &ObjectUri, looked: Looked, limits: &Limits) -> Self {
        let check = |header: &Header| match header {
            Header::Image(header) => decode::check(header, limits).map(|_| ()),
            // Its windows are checked, not the whole.
            Header::Scene(_) => Ok(()),
        };
        let fits = looked.header.as_ref().map_err(Clone::clone).and_then(check);
        let rejection = looked.unread.or(fits.err());
        Self {
            source: uri.to_string(),
            status: if rejection.is_some() { Status::Rejected } else { Status::Ok },
            reason: rejection.as_ref().map(|rejection| rejection.reason.code()),
            detail: rejection.as_ref().map(|rejection| rejection.detail.clone()),
            size_bytes: Some(looked.size_bytes),
            version: looked.version,
            read_bytes: looked.read_bytes,
            format: looked.format.map(ImageFormat::name),
            extension_agrees: looked.format.map(|format| format.extension_matches(uri.as_str())),
            image: looked.header.ok().as_ref().map(|header| match header {
                Header::Image(header) => Image::new(header),
                Header::Scene(header) => Image::of_scene(header),
            }),
            rejection: rejection.map(|rejection| (uri.clone(), rejection)),
        }
    }

    /// Stands for a source that could not be looked at, among others that could.
    #[must_use]
    pub fn failed(uri: &ObjectUri, error: &Error) -> Self {
        Self {
            source: uri.to_string(),
            status: Status::Failed,
            reason: None,
            detail: Some(error.to_string()),
            size_bytes: None,
            version: None,
            read_bytes: 0,
            format: None,
            extension_agrees: None,
            image: None,
            rejection: None,
        }
    }

    /// Returns the error that a source deserves which a run would reject.
    ///
    /// # Errors
    ///
    /// `Rejected`, with the reason.
    pub fn check(&self) -> Result<()> {
        match &self.rejection {
            Some((uri, rejection)) => Err(rejected(uri, rejection.clone())),
            None => Ok(()),
        }
    }
}

impl Image {
    fn new(header: &ImageHeader) -> Self {
        let seen = header.oriented_size();
        Self {
            width: seen.width,
            height: seen.height,
            stored_width: header.size.width,
            stored_height: header.size.height,
            orientation: header.orientation.code(),
            num_bands: header.num_bands,
            photometric: header.photometric.to_string(),
            sample_type: header.sample_kind.to_string(),
            stored_bits: header.stored_bits,
            compression: header.compression.to_owned(),
            subsampling: header.subsampling,
            interlaced: header.interlaced,
            icc_profile: header.icc_profile,
            decoded_bytes: header.decoded_bytes(),
            levels: vec![Level { width: seen.width, height: seen.height }],
            num_frames: 1,
            num_pages: header.num_pages,
            scene: None,
        }
    }

    fn of_scene(header: &TiffHeader) -> Self {
        let page = &header.levels[0].pixels;
        let Size { width, height } = page.size;
        let level =
            |level: &tiff::Level| Level { width: level.pixels.size.width, height: level.pixels.size.height };
        let sample_bytes = u64::from(page.num_bands) * page.kind.num_bytes();
        Self {
            width,
            height,
            stored_width: width,
            stored_height: height,
            // Scenes are placed by their geotransform; nothing is turned.
            orientation: Orientation::UPRIGHT.code(),
            num_bands: page.num_bands,
            photometric: page.photometric.to_string(),
            sample_type: page.kind.to_string(),
            stored_bits: page.stored_bits,
            compression: page.compression.to_string(),
            subsampling: None,
            interlaced: false,
            icc_profile: false,
            decoded_bytes: page.size.num_pixels().saturating_mul(sample_bytes),
            levels: header.levels.iter().map(level).collect(),
            num_frames: 1,
            num_pages: header.num_pages,
            scene: Some(Scene::new(header)),
        }
    }
}
