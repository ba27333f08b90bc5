//! One object: what its data set says before the pixels, and where these lie.

use std::sync::Arc;

use crate::bytes::{Bytes, Order, Step, Stop};
use crate::data::DataSet;
use crate::error::{Error, corrupt, not_dicom, too_large, truncated};
use crate::frames::{ITEM_HEADER_BYTES, SharedPlaces};
use crate::image::{ImageModule, no_pixels};
use crate::inflate::Inflated;
use crate::sniff::{self, PREAMBLE_BYTES, SNIFF_BYTES};
use crate::spec::Shared;
use crate::syntax::{self, TransferSyntax};
use crate::tag::{self, Tag};
use crate::walk::{Encoding, Header, Walker};

/// Maximum number of bytes of an object whose data set is deflated: it is read as a whole.
pub const MAX_DEFLATED_BYTES: u64 = 1 << 30;

/// Where an instance was read from.
#[derive(Clone, Copy)]
struct Source {
    /// Bytes of the object.
    len: u64,
    /// Where the deflated data set begins.
    deflated_at: Option<u64>,
}

/// What an object says of itself before its pixels.
#[derive(Clone, Debug)]
pub struct Instance {
    meta: DataSet,
    pub(crate) data: DataSet,
    syntax: TransferSyntax,
    pub(crate) pixels: Option<Header>,
    /// Where the deflated data set begins.
    pub(crate) deflated_at: Option<u64>,
    image: Result<Arc<ImageModule>, Error>,
    pub(crate) shared: Shared,
    pub(crate) places: SharedPlaces,
}

/// Where the distance of pixels comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpacingSource {
    /// In the patient: Pixel Spacing (0028,0030).
    PixelSpacing,
    /// At the detector: Imager Pixel Spacing (0018,1164).
    ImagerPixelSpacing,
    /// On the film: Nominal Scanned Pixel Spacing (0018,2010).
    NominalScannedPixelSpacing,
}

/// The distance of neighbouring pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spacing {
    /// Between rows, in millimetres.
    pub rows_mm: f64,
    /// Between columns, in millimetres.
    pub columns_mm: f64,
    /// Where it comes from.
    pub source: SpacingSource,
}

/// Reads what an object says before its pixels.
///
/// Asks for prefixes of 64 KiB and then twice as much, at most [`MAX_HEADER_BYTES`](crate::MAX_HEADER_BYTES), and steps
/// over long values that nothing here reads. An object with a deflated data set is asked for as a whole.
///
/// # Errors
///
/// [`NotDicom`](crate::ErrorKind::NotDicom), `Truncated`, `Corrupt` and `TooLarge` for objects whose data set cannot be
/// read. An object that is no image, or none that is read, is no error: [`Instance::image`] says why.
///
/// # Reference
///
/// PS3.10, 7.1; PS3.5, 7 and annex A.
pub fn parse(object: &dyn Bytes) -> Step<Instance> {
    try_parse(object).into()
}

fn try_parse(object: &dyn Bytes) -> Result<Instance, Stop> {
    let len = object.len().min(SNIFF_BYTES as u64);
    let Some(start) = object.slice(0, len as usize) else {
        return Err(Stop::Needs(0..object.len().min(64 << 10)));
    };
    if !sniff::is_dicom(start) {
        return Err(not_dicom("neither DICM nor a data set at the start").into());
    }
    let at = if sniff::has_preamble(start) { PREAMBLE_BYTES as u64 + 4 } else { 0 };
    let mut walker = Walker::new(object);
    let (meta, at) = walker.file_meta(at)?;
    let declared = meta.text(tag::TRANSFER_SYNTAX).map(|uid| TransferSyntax::from_uid(&uid));
    if let Some(syntax) = declared.as_ref().filter(|syntax| syntax.deflated) {
        return deflated(object, at, meta, syntax.clone());
    }
    let (encoding, syntax) = encoding(object, at, declared)?;
    let (data, pixels) = walker.top(at, encoding)?;
    Ok(Instance::new(meta, data, syntax, pixels, Source { len: object.len(), deflated_at: None }))
}

/// Returns how the data set is encoded: as the file meta information says, unless its first element says otherwise.
fn encoding(
    object: &dyn Bytes,
    at: u64,
    declared: Option<TransferSyntax>,
) -> Result<(Encoding, TransferSyntax), Stop> {
    let len = (object.len() - at.min(object.len())).min(SNIFF_BYTES as u64);
    let start = object.slice(at, len as usize).ok_or(Stop::Needs(at..at + len))?;
    let Some(syntax) = declared else {
        let guess = sniff::bare(start).unwrap_or_else(|| sniff::by_letters(start));
        let uid = match (guess.explicit, guess.order) {
            (false, _) => syntax::IMPLICIT_LITTLE,
            (true, Order::Little) => syntax::EXPLICIT_LITTLE,
            (true, Order::Big) => syntax::EXPLICIT_BIG,
        };
        let encoding = Encoding { explicit: guess.explicit, order: guess.order };
        return Ok((encoding, TransferSyntax::from_uid(uid)));
    };
    let letters = start.get(4..6).map(|vr| crate::data::Vr([vr[0], vr[1]]));
    let explicit = match letters {
        Some(vr) if !syntax.big_endian => vr.is_known(),
        _ => syntax.explicit,
    };
    Ok((Encoding { explicit, order: syntax.order() }, syntax))
}

fn deflated(object: &dyn Bytes, at: u64, meta: DataSet, syntax: TransferSyntax) -> Result<Instance, Stop> {
    if object.len() > MAX_DEFLATED_BYTES {
        return Err(too_large(format!("a deflated data set in over {MAX_DEFLATED_BYTES} bytes")).into());
    }
    let len = (object.len() - at.min(object.len())) as usize;
    let bytes = object.slice(at, len).ok_or(Stop::Needs(0..object.len()))?;
    let mut inflated = Inflated::new(bytes);
    let encoding = Encoding { explicit: true, order: Order::Little };
    loop {
        match Walker::new(&inflated).top(0, encoding) {
            Ok((data, pixels)) => {
                let source = Source { len: object.len(), deflated_at: Some(at) };
                return Ok(Instance::new(meta, data, syntax, pixels, source));
            }
            Err(Stop::Needs(range)) => inflated.grow(range.end)?,
            Err(stop) => return Err(stop),
        }
    }
}

impl Instance {
    fn new(
        meta: DataSet,
        data: DataSet,
        syntax: TransferSyntax,
        pixels: Option<Header>,
        source: Source,
    ) -> Self {
        let mut instance = Self {
            image: Err(no_pixels(None)),
            shared: Shared::default(),
            places: SharedPlaces::default(),
            meta,
            data,
            syntax,
            pixels,
            deflated_at: source.deflated_at,
        };
        instance.image = instance.read_image(source.len).map(Arc::new);
        if let Ok(image) = &instance.image {
            instance.shared = Shared::read(&instance.data, image);
        }
        instance
    }

    fn read_image(&self, object_len: u64) -> Result<ImageModule, Error> {
        let Some(pixels) = &self.pixels else { return Err(no_pixels(self.sop_class().as_deref())) };
        let image = ImageModule::read(&self.data, (pixels.tag, pixels.vr), &self.syntax)?;
        let room = if self.deflated_at.is_some() { u64::MAX } else { object_len.saturating_sub(pixels.at) };
        check_num_frames(&image, pixels, self.syntax.is_encapsulated(), room)?;
        Ok(image)
    }

    /// Returns shape, bits and colours of the frames, or why there is nothing to decode.
    ///
    /// # Errors
    ///
    /// `NotAnImage` without pixels, with the SOP class; `Unsupported` for video and other syntaxes; `Corrupt` where
    /// attributes are missing or contradict each other.
    pub fn image(&self) -> Result<&Arc<ImageModule>, Error> {
        self.image.as_ref().map_err(Clone::clone)
    }

    /// Returns the transfer syntax; where the file does not say it, the one that the data set shows.
    #[must_use]
    pub fn transfer_syntax(&self) -> &TransferSyntax {
        &self.syntax
    }

    /// Returns the value of an element at the top of the data set as text, several values separated by `\`.
    ///
    /// `None` for what is absent, blank, private, longer than 64 KiB, a sequence, or bytes without a meaning.
    #[must_use]
    pub fn string(&self, tag: Tag) -> Option<String> {
        let data = if tag.0 == 0x0002 { &self.meta } else { &self.data };
        data.as_text(tag)
    }

    /// Returns the UID of the SOP class.
    #[must_use]
    pub fn sop_class(&self) -> Option<String> {
        self.data.text(tag::SOP_CLASS).or_else(|| self.meta.text(tag::MEDIA_STORAGE_SOP_CLASS))
    }

    /// Tells a Media Storage Directory (`DICOMDIR`).
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.sop_class().as_deref() == Some("1.2.840.10008.1.3.10")
    }

    /// Returns the UID of the SOP instance.
    #[must_use]
    pub fn instance_uid(&self) -> Option<String> {
        self.data.text(tag::SOP_INSTANCE).or_else(|| self.meta.text(tag::MEDIA_STORAGE_SOP_INSTANCE))
    }

    /// Returns the UID of the series.
    #[must_use]
    pub fn series_uid(&self) -> Option<String> {
        self.data.text(tag::SERIES_INSTANCE)
    }

    /// Returns the UID of the study.
    #[must_use]
    pub fn study_uid(&self) -> Option<String> {
        self.data.text(tag::STUDY_INSTANCE)
    }

    /// Returns Patient ID (0010,0020) without padding.
    #[must_use]
    pub fn patient_id(&self) -> Option<String> {
        self.data.text(tag::PATIENT_ID)
    }

    /// Returns Issuer of Patient ID (0010,0021) without padding.
    #[must_use]
    pub fn issuer_of_patient_id(&self) -> Option<String> {
        self.data.text(tag::ISSUER_OF_PATIENT_ID)
    }

    /// Returns Patient's Age (0010,1010), such as `034Y`.
    #[must_use]
    pub fn patient_age(&self) -> Option<String> {
        self.data.text(tag::PATIENT_AGE)
    }

    /// Returns Study Date (0008,0020), `YYYYMMDD`.
    #[must_use]
    pub fn study_date(&self) -> Option<String> {
        self.data.text(tag::STUDY_DATE)
    }

    /// Returns Modality (0008,0060), such as `CT`.
    #[must_use]
    pub fn modality(&self) -> Option<String> {
        self.data.text(tag::MODALITY)
    }

    /// Returns View Position (0018,5101).
    #[must_use]
    pub fn view_position(&self) -> Option<String> {
        self.data.text(tag::VIEW_POSITION)
    }

    /// Returns Burned In Annotation (0028,0301), `YES` or `NO`.
    #[must_use]
    pub fn burned_in_annotation(&self) -> Option<String> {
        self.data.text(tag::BURNED_IN_ANNOTATION)
    }

    /// Returns the laterality of a frame: Frame Laterality, Image Laterality, Laterality.
    #[must_use]
    pub fn laterality(&self, frame: u32) -> Option<String> {
        (self.group(frame, tag::FRAME_ANATOMY).and_then(|item| item.text(tag::FRAME_LATERALITY)))
            .or_else(|| self.data.text(tag::IMAGE_LATERALITY))
            .or_else(|| self.data.text(tag::LATERALITY))
    }

    /// Returns how far pixels lie apart, and where: in the patient, at the detector or on the film.
    #[must_use]
    pub fn pixel_spacing(&self, frame: u32) -> Option<Spacing> {
        let own = self.group(frame, tag::PIXEL_MEASURES).and_then(|item| item.decimals(tag::PIXEL_SPACING));
        own.or_else(|| self.data.decimals(tag::PIXEL_SPACING))
            .and_then(|values| spacing(&values, SpacingSource::PixelSpacing))
            .or_else(|| {
                spacing(&self.data.decimals(tag::IMAGER_PIXEL_SPACING)?, SpacingSource::ImagerPixelSpacing)
            })
            .or_else(|| {
                let values = self.data.decimals(tag::NOMINAL_SCANNED_PIXEL_SPACING)?;
                spacing(&values, SpacingSource::NominalScannedPixelSpacing)
            })
    }

    /// Returns Image Orientation (Patient) of a frame: the directions of rows and of columns.
    #[must_use]
    pub fn orientation(&self, frame: u32) -> Option<[f64; 6]> {
        let own =
            self.group(frame, tag::PLANE_ORIENTATION).and_then(|item| item.decimals(tag::IMAGE_ORIENTATION));
        own.or_else(|| self.data.decimals(tag::IMAGE_ORIENTATION))?.try_into().ok()
    }

    /// Returns Image Position (Patient) of a frame, in millimetres.
    #[must_use]
    pub fn image_position(&self, frame: u32) -> Option<[f64; 3]> {
        let own = self.group(frame, tag::PLANE_POSITION).and_then(|item| item.decimals(tag::IMAGE_POSITION));
        own.or_else(|| self.data.decimals(tag::IMAGE_POSITION))?.try_into().ok()
    }

    /// Returns the item of a functional group: the frame's own, else the shared one (PS3.3, C.7.6.16).
    pub(crate) fn group(&self, frame: u32, sequence: Tag) -> Option<&DataSet> {
        self.own_group(frame, sequence).or_else(|| shared_group(&self.data, sequence))
    }

    pub(crate) fn own_group(&self, frame: u32, sequence: Tag) -> Option<&DataSet> {
        self.data.items(tag::PER_FRAME_GROUPS).get(frame as usize)?.item(sequence)
    }
}

/// Returns a functional group that all frames share.
pub(crate) fn shared_group(data: &DataSet, sequence: Tag) -> Option<&DataSet> {
    data.item(tag::SHARED_GROUPS)?.item(sequence)
}

fn spacing(values: &[f64], source: SpacingSource) -> Option<Spacing> {
    match values {
        &[rows_mm, columns_mm] if rows_mm > 0.0 && columns_mm > 0.0 => {
            Some(Spacing { rows_mm, columns_mm, source })
        }
        _ => None,
    }
}

/// Compares the number of frames with the bytes of pixels: a plan would believe it.
///
/// - `room`: bytes of the object from the pixels on
fn check_num_frames(
    image: &ImageModule,
    pixels: &Header,
    encapsulated: bool,
    room: u64,
) -> Result<(), Error> {
    let num_frames = image.num_frames;
    let Some(len) = pixels.len.filter(|_| !encapsulated) else {
        // Each compressed frame has an item of its own, and there is one for the offset table.
        let most = room / ITEM_HEADER_BYTES;
        let fits = !encapsulated || u64::from(num_frames) < most.max(2);
        return if fits { Ok(()) } else { Err(truncated(format!("{num_frames} frames in {room} bytes"))) };
    };
    let bits = u128::from(image.native_frame_bits());
    let declared = (bits * u128::from(num_frames)).div_ceil(8).next_multiple_of(2);
    // The last byte may be missing that makes the length even.
    if u128::from(len) + 1 < declared {
        return Err(truncated(format!("{num_frames} frames of {bits} bits in {len} bytes")));
    }
    let surplus = (u128::from(len) - declared.min(len.into())) * 8;
    if surplus >= bits && surplus > 16 {
        return Err(corrupt(format!("{len} bytes, and {num_frames} frames of {bits} bits are declared")));
    }
    Ok(())
}
