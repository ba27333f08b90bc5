//! DICOM objects as files of pixels: each frame is one block (PS3.10; the crate `tilefleet-dicom` reads them).
//!
//! Errors of the crate hold tags, numbers and UIDs of the standard, never what else an object says: it may name a person.

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tilefleet_dicom::{
    Bytes, ErrorKind, FrameCoding, FrameSpec, ImageModule, Instance, Photometric as DicomPhotometric,
    PixelKind, Samples as DicomSamples, Step,
};

use crate::formats::bytes::Order;
use crate::formats::partial::{Parsed, Partial, View};
use crate::formats::raster::{
    BandInfo, BlockGrid, BlockId, BlockLayout, BlockTable, Codec, Container, Entry, GridId, NodataValue,
    Part, Photometric, Predictor, RasterFile, StoredSamples, ValueMapping,
};
use crate::geo::GeoTags;
use crate::vocabulary::chip::Samples;
use crate::vocabulary::geometry::Size;
use crate::vocabulary::reason::{Reason, Rejection};
use crate::vocabulary::sample::SampleKind;

/// SOP classes of segmentations (PS3.4, B.5): Segmentation, Label Map Segmentation, Surface Segmentation.
const SEGMENTATIONS: [&str; 3] =
    ["1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7", "1.2.840.10008.5.1.4.1.1.66.5"];

/// What is kept of each frame is small, but a header may declare 4 billion of them.
const MAX_FRAMES: u32 = 1 << 16;

/// A DICOM object that holds an image.
#[derive(Debug)]
pub struct DicomFile {
    instance: Instance,
    /// Of each frame.
    grids: Vec<BlockGrid>,
    bands: Vec<BandInfo>,
}

/// What decoding and rendering a frame of a DICOM object needs. Two are equal if their pixels are stored alike, whatever
/// their values mean.
///
/// To another process goes what decoding needs, but not what the values mean.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(into = "FrameCoding", from = "FrameCoding")]
pub struct DicomFrame(pub Arc<FrameSpec>);

impl From<DicomFrame> for FrameCoding {
    fn from(frame: DicomFrame) -> Self {
        Self::from(&*frame.0)
    }
}

impl From<FrameCoding> for DicomFrame {
    fn from(coding: FrameCoding) -> Self {
        Self(Arc::new(coding.into()))
    }
}

impl PartialEq for DicomFrame {
    fn eq(&self, other: &Self) -> bool {
        self.0.image() == other.0.image()
    }
}

/// The bytes of an object as the crate asks for them.
struct Object<'a>(View<'a>);

impl Bytes for Object<'_> {
    fn len(&self) -> u64 {
        self.0.object_bytes() as u64
    }

    fn slice(&self, at: u64, len: usize) -> Option<&[u8]> {
        self.0.slice(usize::try_from(at).ok()?, len)
    }
}

/// Both types have these, and ours two more.
macro_rules! sample_types {
    ($($kind:ident),+) => {
        /// Returns samples of a frame as all rooms have them.
        #[must_use]
        pub fn from_dicom(samples: DicomSamples) -> Samples {
            match samples { $(DicomSamples::$kind(samples) => Samples::$kind(samples),)+ }
        }

        /// Returns samples of a frame as the crate has them.
        ///
        /// # Panics
        ///
        /// If they are 64-bit integers, which no frame has.
        #[must_use]
        pub fn to_dicom(samples: Samples) -> DicomSamples {
            match samples {
                $(Samples::$kind(samples) => DicomSamples::$kind(samples),)+
                Samples::U64(_) | Samples::I64(_) => unreachable!("no DICOM frame has 64-bit integers"),
            }
        }
    };
}

sample_types!(U8, I8, U16, I16, U32, I32, F32, F64);

impl From<tilefleet_dicom::Error> for Rejection {
    fn from(error: tilefleet_dicom::Error) -> Self {
        let reason = match error.kind {
            ErrorKind::NotDicom => Reason::NotAnImage,
            ErrorKind::NotAnImage => Reason::NotImage,
            ErrorKind::Truncated => Reason::Truncated,
            ErrorKind::Corrupt => Reason::Corrupt,
            ErrorKind::Unsupported => Reason::Unsupported,
            ErrorKind::TooLarge => Reason::TooLarge,
        };
        Self::new(reason, error.detail)
    }
}

/// Asks the crate, and for what it has to see first.
fn step<T>(object: &Partial, ask: impl FnOnce(&Object<'_>) -> Step<T>) -> Parsed<T> {
    let answer = ask(&Object(View::Partial(object)));
    object.take_missing();
    match answer {
        Step::Done(answer) => Parsed::Done(answer.map_err(Rejection::from)),
        Step::Needs(Range { start, end }) => {
            // What is there of the range need not be read again.
            let missing = object.parse(|view| {
                view.slice(start as usize, (end - start) as usize);
                Ok(())
            });
            match missing {
                Parsed::Needs(range) => Parsed::Needs(range),
                Parsed::Done(_) => Parsed::Needs(start as usize..end as usize),
            }
        }
    }
}

/// Reads the header of an object from the parts of it that have been read.
///
/// [`Reason::NotImage`] without pixels, [`Reason::Unsupported`] for video and other syntaxes that are not read.
#[must_use]
pub fn parse_raster(object: &Partial) -> Parsed<Arc<dyn RasterFile>> {
    match step(object, |bytes| tilefleet_dicom::parse(bytes)) {
        Parsed::Needs(range) => Parsed::Needs(range),
        Parsed::Done(instance) => {
            let file = instance.and_then(DicomFile::new);
            Parsed::Done(file.map(|file| Arc::new(file) as Arc<dyn RasterFile>))
        }
    }
}

impl DicomFile {
    fn new(instance: Instance) -> Result<Self, Rejection> {
        if instance.sop_class().is_some_and(|class| SEGMENTATIONS.contains(&class.as_str())) {
            return Err(Rejection::new(
                Reason::NotImage,
                "a segmentation: its pixels are labels of another image",
            ));
        }
        let num_frames = instance.image()?.num_frames;
        if num_frames > MAX_FRAMES {
            let detail = format!("it declares {num_frames} frames, and at most {MAX_FRAMES} are read");
            return Err(Rejection::new(Reason::TooLarge, detail));
        }
        let grids =
            (0..num_frames).map(|frame| instance.frame_spec(frame).map(grid)).collect::<Result<_, _>>()?;
        let num_bands = instance.image()?.samples_per_pixel;
        let colours: &[&str] = if num_bands == 3 { &["red", "green", "blue"] } else { &["gray"] };
        let band = |colour: &&str| BandInfo {
            colour: (*colour).to_owned(),
            description: None,
            values: ValueMapping::default(),
        };
        Ok(Self { instance, grids, bands: colours.iter().map(band).collect() })
    }

    /// Returns what the object says of itself.
    #[must_use]
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Returns the one block of a frame.
    #[must_use]
    pub fn block(frame: u32) -> (GridId, BlockId) {
        (GridId { frame, level: 0, part: Part::Pixels }, BlockId(0))
    }

    /// Returns what decoding and rendering a frame needs.
    ///
    /// # Panics
    ///
    /// If there is no such frame.
    #[must_use]
    pub fn frame(&self, frame: u32) -> &FrameSpec {
        let frame = self.grids[frame as usize].stored.dicom.as_ref();
        &frame.expect("grids of DICOM files have it").0
    }
}

/// Describes the one block of a frame.
fn grid(spec: FrameSpec) -> BlockGrid {
    let image = spec.image();
    let size = Size::new(image.columns, image.rows);
    let photometric = match image.photometric {
        DicomPhotometric::Monochrome1 => Photometric::MinIsWhite,
        DicomPhotometric::Monochrome2 => Photometric::MinIsBlack,
        DicomPhotometric::PaletteColor => Photometric::Palette,
        _ => Photometric::Rgb,
    };
    BlockGrid {
        size,
        layout: BlockLayout::Strips,
        block: size,
        num_bands: image.samples_per_pixel,
        separate: false,
        stored: StoredSamples {
            kind: kind(image),
            stored_bits: image.bits_allocated,
            photometric,
            codec: Codec::Dicom,
            predictor: Predictor::None,
            fill: None,
            order: Order::NATIVE,
            reversed_bits: false,
            tables: None,
            dicom: Some(DicomFrame(Arc::new(spec))),
        },
    }
}

/// Returns the type that stored values are decoded to.
fn kind(image: &ImageModule) -> SampleKind {
    match (image.kind, image.bits_allocated, image.signed) {
        (PixelKind::Float, ..) => SampleKind::F32,
        (PixelKind::Double, ..) => SampleKind::F64,
        (PixelKind::Integer, ..=8, false) => SampleKind::U8,
        (PixelKind::Integer, ..=8, true) => SampleKind::I8,
        (PixelKind::Integer, 9..=16, false) => SampleKind::U16,
        (PixelKind::Integer, 9..=16, true) => SampleKind::I16,
        (PixelKind::Integer, _, false) => SampleKind::U32,
        (PixelKind::Integer, _, true) => SampleKind::I32,
    }
}

impl RasterFile for DicomFile {
    fn num_frames(&self) -> u32 {
        self.grids.len() as u32
    }

    fn num_levels(&self) -> usize {
        1
    }

    fn grid(&self, id: GridId) -> Option<&BlockGrid> {
        let is_there = id.level == 0 && id.part == Part::Pixels;
        self.grids.get(id.frame as usize).filter(|_| is_there)
    }

    fn bands(&self, frame: u32) -> &[BandInfo] {
        assert!(frame < self.num_frames(), "frame {frame}");
        &self.bands
    }

    fn nodata(&self, _: u32) -> Option<NodataValue> {
        None
    }

    fn geo(&self) -> Option<&GeoTags> {
        None
    }

    fn dicom(&self) -> Option<&DicomFile> {
        Some(self)
    }

    fn notes(&self) -> &[String] {
        &[]
    }

    fn container(&self) -> Container {
        Container { big_tiff: false, big_endian: false, num_pages: self.num_frames() }
    }

    fn locate(&self, object: &Partial, id: GridId, _: &[BlockId]) -> Parsed<BlockTable> {
        let grid = &self.grids[id.frame as usize];
        let located = step(object, |bytes| self.instance.locate(bytes, &[id.frame]));
        let frames = match located {
            Parsed::Needs(range) => return Parsed::Needs(range),
            Parsed::Done(frames) => frames,
        };
        // Of an object that was cut off, the frames before the cut are sound.
        let entry = match frames.map(|frames| frames.into_iter().flat_map(|frame| frame.ranges).next()) {
            Ok(Some(span)) => Entry::At { offset: span.start, length: span.end - span.start },
            Ok(None) => Entry::Absent,
            Err(rejection) => Entry::Refused(Box::new(rejection)),
        };
        Parsed::Done(Ok(BlockTable::new(grid, 0, vec![entry], object_bytes(object))))
    }
}

fn object_bytes(object: &Partial) -> u64 {
    View::Partial(object).object_bytes() as u64
}
