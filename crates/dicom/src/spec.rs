//! All that decoding and rendering one frame needs, as a value: I/O and CPU meet at it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::bytes::Order;
use crate::data::{DataSet, Vr};
use crate::error::{Error, corrupt};
use crate::frames::NativePlace;
use crate::image::{ImageModule, Photometric, PixelKind};
use crate::instance::{Instance, shared_group};
use crate::lut::Lut;
use crate::padding::Padding;
use crate::palette::Palette;
use crate::syntax::Codec;
use crate::tag;
use crate::voi::{Voi, Window};

/// How stored values become values of the modality (PS3.3, C.11.1).
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Modality {
    /// They stay.
    Identity,
    Rescale {
        slope: f64,
        intercept: f64,
    },
    Lut(Arc<Lut>),
}

/// What becomes of values after the window (PS3.3, C.11.6; C.7.6.3.1.2).
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Presentation {
    /// The least value is black.
    Identity,
    /// The least value is white.
    Inverse,
    Lut(Arc<Lut>),
}

/// What all frames of an object share.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    modality: Result<Modality, Error>,
    voi: Result<Voi, Error>,
    presentation: Result<Presentation, Error>,
    palette: Option<Result<Arc<Palette>, Error>>,
    padding: Option<Padding>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            modality: Ok(Modality::Identity),
            voi: Ok(Voi::None),
            presentation: Ok(Presentation::Identity),
            palette: None,
            padding: None,
        }
    }
}

impl Shared {
    pub(crate) fn read(data: &DataSet, image: &ImageModule) -> Self {
        // Read once for all frames: what frames share may be a table of 65,536 entries.
        let shared =
            shared_group(data, tag::PIXEL_VALUE_TRANSFORMATION).map(|item| read_modality(item, image));
        let modality = shared
            .and_then(Result::transpose)
            .unwrap_or_else(|| read_modality(data, image).map(|found| found.unwrap_or(Modality::Identity)));
        let shared = shared_group(data, tag::FRAME_VOI_LUT).map(|item| voi_under(item, image, &modality));
        let voi = shared
            .and_then(Result::transpose)
            .unwrap_or_else(|| voi_under(data, image, &modality).map(|found| found.unwrap_or(Voi::None)));
        Self {
            voi,
            modality,
            presentation: presentation(data, image),
            palette: has_palette(data, image).then(|| Palette::read(data, image).map(Arc::new)),
            padding: Padding::read(data, image),
        }
    }
}

fn has_palette(data: &DataSet, image: &ImageModule) -> bool {
    // A supplemental palette colours a part of the values of a grey image (PS3.3, C.7.6.19).
    let supplemental = image.photometric == Photometric::Monochrome2
        && matches!(data.text(tag::PIXEL_PRESENTATION).as_deref(), Some("COLOR" | "MIXED"))
        && data.bytes(tag::RED_DESCRIPTOR).is_some();
    image.photometric == Photometric::PaletteColor || supplemental
}

/// Reads a modality lookup table, else a rescale; `None` if there is neither.
fn read_modality(data: &DataSet, image: &ImageModule) -> Result<Option<Modality>, Error> {
    if let Some(item) = data.item(tag::MODALITY_LUT) {
        return Ok(Some(Modality::Lut(Arc::new(Lut::read(item, image.signed)?))));
    }
    let number = |tag| match data.text(tag) {
        None => Ok(None),
        Some(_) => data.decimal(tag).map(Some).ok_or_else(|| corrupt(format!("{tag} is no number"))),
    };
    let (slope, intercept) = (number(tag::RESCALE_SLOPE)?, number(tag::RESCALE_INTERCEPT)?);
    Ok(match (slope, intercept) {
        (None, None) => None,
        (slope, intercept) => {
            Some(Modality::Rescale { slope: slope.unwrap_or(1.0), intercept: intercept.unwrap_or(0.0) })
        }
    })
}

fn voi_under(
    data: &DataSet,
    image: &ImageModule,
    modality: &Result<Modality, Error>,
) -> Result<Option<Voi>, Error> {
    // Without a modality there is no window either, and the fault is named by that.
    let Ok(modality) = modality else { return Ok(None) };
    Voi::read(data, range_of(modality, image).0 < 0.0)
}

/// Returns the least and the greatest value that a modality can yield.
///
/// Of 32-bit and float pixels, those that Bits Stored can hold, and 0.
pub(crate) fn range_of(modality: &Modality, image: &ImageModule) -> (f64, f64) {
    let (low, high) = match image.kind {
        PixelKind::Integer => image.stored_range(),
        _ => (0, 0),
    };
    match modality {
        Modality::Identity => (low as f64, high as f64),
        Modality::Rescale { slope, intercept } => {
            let ends = [low, high].map(|value| value as f64 * slope + intercept);
            (ends[0].min(ends[1]), ends[0].max(ends[1]))
        }
        Modality::Lut(lut) => (0.0, lut.max()),
    }
}

fn presentation(data: &DataSet, image: &ImageModule) -> Result<Presentation, Error> {
    if let Some(item) = data.item(tag::PRESENTATION_LUT) {
        return Ok(Presentation::Lut(Arc::new(Lut::read(item, false)?)));
    }
    Ok(match data.text(tag::PRESENTATION_LUT_SHAPE).as_deref() {
        Some("INVERSE") => Presentation::Inverse,
        Some("IDENTITY") => Presentation::Identity,
        _ if image.photometric == Photometric::Monochrome1 => Presentation::Inverse,
        _ => Presentation::Identity,
    })
}

/// One frame: how its bytes are encoded, and what its values mean.
#[derive(Clone, Debug)]
pub struct FrameSpec {
    pub(crate) image: Arc<ImageModule>,
    pub(crate) codec: Codec,
    pub(crate) lossless: bool,
    pub(crate) order: Order,
    /// Bytes of 8-bit samples are swapped in pairs.
    pub(crate) swapped: bool,
    /// Bits of the first bytes that are of the frame before.
    pub(crate) first_bit: u64,
    /// The frame begins so many bytes behind the start of the inflated pixels, and these so many behind that of the
    /// data set.
    pub(crate) inflated_at: Option<u64>,
    frame: u32,
    modality: Result<Modality, Error>,
    voi: Result<Voi, Error>,
    presentation: Result<Presentation, Error>,
    palette: Option<Result<Arc<Palette>, Error>>,
    pub(crate) padding: Option<Padding>,
}

/// What decoding a frame needs of its [`FrameSpec`], as a value that can be sent to another process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameCoding {
    image: ImageModule,
    codec: Codec,
    lossless: bool,
    order: Order,
    swapped: bool,
    first_bit: u64,
    inflated_at: Option<u64>,
    frame: u32,
}

impl From<&FrameSpec> for FrameCoding {
    fn from(spec: &FrameSpec) -> Self {
        let FrameSpec { codec, lossless, order, swapped, first_bit, inflated_at, frame, .. } = *spec;
        Self { image: (*spec.image).clone(), codec, lossless, order, swapped, first_bit, inflated_at, frame }
    }
}

/// A frame to be decoded, but not rendered: what its values mean is left behind.
impl From<FrameCoding> for FrameSpec {
    fn from(coding: FrameCoding) -> Self {
        let FrameCoding { image, codec, lossless, order, swapped, first_bit, inflated_at, frame } = coding;
        let Shared { modality, voi, presentation, palette, padding } = Shared::default();
        let image = Arc::new(image);
        Self {
            image,
            codec,
            lossless,
            order,
            swapped,
            first_bit,
            inflated_at,
            frame,
            modality,
            voi,
            presentation,
            palette,
            padding,
        }
    }
}

impl Instance {
    /// Returns all that decoding and rendering a frame needs.
    ///
    /// A transformation of values stands in the frame's own functional group, else in the shared one, else at the top
    /// of the data set (PS3.3, C.7.6.16.2.9, C.7.6.16.2.10).
    ///
    /// # Errors
    ///
    /// That of [`Instance::image`], and `Corrupt` for a frame that is not declared.
    pub fn frame_spec(&self, frame: u32) -> Result<FrameSpec, Error> {
        let image = self.image()?.clone();
        if frame >= image.num_frames {
            return Err(corrupt(format!("frame {frame} of {} is asked for", image.num_frames)));
        }
        let syntax = self.transfer_syntax();
        let swapped = self.swaps_words(&image);
        let place = NativePlace::of(&image, swapped, frame);
        let pixels_at = self.pixels.map_or(0, |pixels| pixels.at);
        let modality = self.modality_of(frame, &image);
        let native = syntax.codec() == Codec::Native;
        Ok(FrameSpec {
            codec: syntax.codec(),
            lossless: syntax.is_lossless(),
            order: if syntax.big_endian_samples { Order::Big } else { Order::Little },
            swapped,
            first_bit: if native { place.first_bit } else { 0 },
            inflated_at: self.deflated_at.map(|_| pixels_at.saturating_add(place.bytes.start)),
            frame,
            voi: self.voi_of(frame, &image, &modality),
            modality,
            presentation: self.shared.presentation.clone(),
            palette: self.shared.palette.clone(),
            padding: self.shared.padding,
            image,
        })
    }

    fn modality_of(&self, frame: u32, image: &ImageModule) -> Result<Modality, Error> {
        let own =
            self.own_group(frame, tag::PIXEL_VALUE_TRANSFORMATION).map(|item| read_modality(item, image));
        own.and_then(Result::transpose).unwrap_or_else(|| self.shared.modality.clone())
    }

    fn voi_of(
        &self,
        frame: u32,
        image: &ImageModule,
        modality: &Result<Modality, Error>,
    ) -> Result<Voi, Error> {
        let own = self.own_group(frame, tag::FRAME_VOI_LUT).map(|item| voi_under(item, image, modality));
        own.and_then(Result::transpose).unwrap_or_else(|| self.shared.voi.clone())
    }
}

impl FrameSpec {
    /// Returns shape, bits and colours.
    #[must_use]
    pub fn image(&self) -> &ImageModule {
        &self.image
    }

    /// Returns the number of the frame, from 0.
    #[must_use]
    pub fn frame(&self) -> u32 {
        self.frame
    }

    /// Tells whether values become colours by a palette, at least some of them.
    #[must_use]
    pub fn has_palette(&self) -> bool {
        self.palette.is_some()
    }

    /// Returns the first window of the frame, if it has one that counts: a VOI LUT comes before it.
    #[must_use]
    pub fn window(&self) -> Option<Window> {
        match &self.voi {
            Ok(Voi::Window(window)) => Some(*window),
            _ => None,
        }
    }

    /// Returns the least and the greatest value that the modality can yield of Bits Stored bits.
    ///
    /// # Errors
    ///
    /// `Corrupt` for a table or numbers that cannot be read.
    pub fn modality_range(&self) -> Result<(f64, f64), Error> {
        Ok(range_of(self.modality()?, &self.image))
    }

    /// Tells frames whose least value is shown white, by Presentation LUT Shape, else by `MONOCHROME1`.
    ///
    /// # Errors
    ///
    /// `Corrupt` for a presentation lookup table that cannot be read.
    pub fn is_inverted(&self) -> Result<bool, Error> {
        Ok(*self.presentation()? == Presentation::Inverse)
    }

    pub(crate) fn modality(&self) -> Result<&Modality, Error> {
        self.modality.as_ref().map_err(Clone::clone)
    }

    pub(crate) fn voi(&self) -> Result<&Voi, Error> {
        self.voi.as_ref().map_err(Clone::clone)
    }

    pub(crate) fn presentation(&self) -> Result<&Presentation, Error> {
        self.presentation.as_ref().map_err(Clone::clone)
    }

    pub(crate) fn palette(&self) -> Result<Option<&Arc<Palette>>, Error> {
        self.palette.as_ref().map(Result::as_ref).transpose().map_err(Clone::clone)
    }
}

/// The first value mapped is signed where a representation says so.
pub(crate) fn is_signed(vr: Vr) -> bool {
    vr == Vr(*b"SS")
}
