//! From windows of the files of a scene to one chip: bands stacked on one grid, values in the model's unit.
//!
//! In go the samples of each file that the chip touches, as stored; out comes a [`SceneChip`], with the shares
//! of its pixels by which rules leave windows out ([`crate::scene::skip`]). Where a band has no data its value is 0. Nothing
//! is fetched or decoded here, and what the rules say is asked elsewhere.

mod area;
pub mod frame;

use self::area::AreaAxis;
use crate::formats::raster::{BlockId, Part, RasterFile};
use crate::scene::skip::{Measured, Share, SkipRules, WindowPixels};
use crate::scene::{Scene, SceneBand, SourceWindow};
use crate::stages::decode::blocks::{Block, WindowSamples, read_samples, read_window, validity};
use crate::vocabulary::chip::{Bands, Chip, Samples, with_samples};
use crate::vocabulary::geometry::Size;
use crate::vocabulary::reason::Rejection;

/// What was read of one file for a chip.
pub struct SourceSamples {
    /// Where the chip lies in it.
    pub cut: SourceWindow,
    /// `[height, width, bands]` of `cut.pixels` and `cut.bands`; `None` if the chip does not touch the file.
    pub samples: Option<WindowSamples>,
    /// Whether `samples.valid` comes from a mask or an alpha band. By nodata alone, pixels are judged band by band here.
    pub masked: bool,
}

impl SourceSamples {
    /// Puts the samples of a cut together.
    ///
    /// - `file`: the object that is cut
    /// - `block`: returns decoded blocks of the cut's level; asked for those of [`RasterFile::blocks_for`]
    ///
    /// # Errors
    ///
    /// Those of `block`.
    pub fn read<'a>(
        cut: SourceWindow,
        file: &dyn RasterFile,
        mut block: impl FnMut(Part, BlockId) -> Result<&'a Block, Rejection>,
    ) -> Result<Self, Rejection> {
        let masked = Self::is_masked(file, cut.frame, cut.level);
        if cut.pixels.width == 0 || cut.pixels.height == 0 {
            return Ok(Self { cut, samples: None, masked });
        }
        let samples = if masked {
            read_window(file, cut.frame, cut.level, cut.pixels, &cut.bands, block)?
        } else {
            read_samples(file, cut.frame, cut.level, cut.pixels, &cut.bands, |id| block(Part::Pixels, id))?
        };
        Ok(Self { cut, samples: Some(samples), masked })
    }

    /// Tells whether a level of a frame says by a mask or an alpha band which pixels are valid.
    #[must_use]
    pub fn is_masked(file: &dyn RasterFile, frame: u32, level: usize) -> bool {
        file.validity(frame, level).is_masked()
    }
}

/// A chip and how much of it there is.
pub struct SceneChip {
    /// `[side, side, bands]`: 8 bits if all files are and nothing is converted, else 32-bit float.
    pub chip: Chip,
    /// What the rules by which windows are left out judge by.
    pub measured: Measured,
}

/// A chip that no rule judges.
impl From<Chip> for SceneChip {
    fn from(chip: Chip) -> Self {
        Self { chip, measured: Measured::default() }
    }
}

/// Where the values of a chip go, and what they become on the way.
pub trait DirectLayout: Copy {
    /// Returns where a band of the first pixel lies, and how far it is to the next pixel.
    fn place(&self, band: usize) -> (usize, usize);

    /// Returns the element that a value of a band becomes.
    fn element(&self, band: usize, value: f32) -> f32;

    /// Tells whether values of a band become elements as they are.
    fn is_plain(&self, band: usize) -> bool;
}

/// The layout of a chip: pixel by pixel, values as they are.
#[derive(Clone, Copy)]
struct PixelByPixel {
    num_bands: usize,
}

impl DirectLayout for PixelByPixel {
    fn place(&self, band: usize) -> (usize, usize) {
        (band, self.num_bands)
    }

    #[inline]
    fn element(&self, _: usize, value: f32) -> f32 {
        value
    }

    fn is_plain(&self, _: usize) -> bool {
        true
    }
}

/// A slot of elements, and how values go into it.
struct Target<'a, L> {
    values: &'a mut [f32],
    layout: L,
}

/// Stacks the bands of a chip.
///
/// - `rules`: measure its pixels; whether it is left out is decided elsewhere
/// - `meaning`: of the bands, in the order of the scene's
/// - `side`: width and height of the chip, in pixels
/// - `pieces`: one for each [`Scene::cuts`]
#[must_use]
pub fn composite(
    scene: &Scene,
    rules: &SkipRules,
    meaning: Bands,
    side: u32,
    pieces: &[SourceSamples],
) -> SceneChip {
    let (size, num_bands) = (Size::new(side, side), scene.bands.len());
    let mut values = vec![0.0; size.num_pixels() as usize * num_bands];
    let target = Target { values: &mut values, layout: PixelByPixel { num_bands } };
    let measured = draw(scene, rules, side, pieces, target);
    let samples = if is_bytes(scene, pieces) {
        Samples::U8(values.iter().map(|value| value.round() as u8).collect())
    } else {
        Samples::F32(values)
    };
    SceneChip { chip: Chip { size, bands: meaning, samples }, measured }
}

/// Stacks the bands of a chip in a model's input, as [`composite`] and preprocessing do one after the other; `None`
/// if the chip would be one of 8 bits, whose values are rounded.
///
/// - `slot`: every element is written
#[must_use]
pub fn composite_into(
    scene: &Scene,
    rules: &SkipRules,
    side: u32,
    pieces: &[SourceSamples],
    layout: impl DirectLayout,
    slot: &mut [f32],
) -> Option<Measured> {
    if is_bytes(scene, pieces) {
        return None;
    }
    Some(draw(scene, rules, side, pieces, Target { values: slot, layout }))
}

fn draw<L: DirectLayout>(
    scene: &Scene,
    rules: &SkipRules,
    side: u32,
    pieces: &[SourceSamples],
    target: Target<'_, L>,
) -> Measured {
    let num_pixels = Size::new(side, side).num_pixels() as usize;
    let mut canvas = Compositor { target, side: side as usize, valid: vec![true; num_pixels] };
    let axes: Vec<(AreaAxis, AreaAxis)> = pieces.iter().map(|piece| axes(&piece.cut, side)).collect();
    for (place, band) in scene.bands.iter().enumerate() {
        let found = pieces.iter().zip(&axes).find(|(piece, _)| piece.cut.object == band.object);
        match found.and_then(|(piece, axes)| piece.samples.as_ref().map(|samples| (piece, samples, axes))) {
            Some((piece, samples, axes)) => {
                canvas.draw(place, &band.in_frame(piece.cut.frame), piece, samples, axes);
            }
            None => canvas.leave_out(place),
        }
    }
    rules.measure(&DrawnPixels { scene, pieces, axes: &axes, valid: &canvas.valid })
}

fn axes(cut: &SourceWindow, side: u32) -> (AreaAxis, AreaAxis) {
    let (pixels, rect) = (cut.pixels, cut.rect);
    (
        AreaAxis::new(rect.x - f64::from(pixels.x), rect.width, pixels.width, side),
        AreaAxis::new(rect.y - f64::from(pixels.y), rect.height, pixels.height, side),
    )
}

/// Tells whether a chip is one of 8 bits: all of its files are, and nothing is converted but to be shown.
fn is_bytes(scene: &Scene, pieces: &[SourceSamples]) -> bool {
    scene.bands.iter().all(|band| {
        let piece = pieces.iter().find(|piece| piece.cut.object == band.object);
        let samples = piece.and_then(|piece| piece.samples.as_ref());
        band.is_bytes() && samples.is_none_or(|samples| matches!(samples.samples, Samples::U8(_)))
    })
}

/// The pixels of a chip as they come together.
struct Compositor<'a, L> {
    /// 0 before normalisation where there is no data
    target: Target<'a, L>,
    side: usize,
    /// `[side, side]`
    valid: Vec<bool>,
}

impl<L: DirectLayout> Compositor<'_, L> {
    /// Writes a band of which there is nothing.
    fn leave_out(&mut self, place: usize) {
        self.valid.fill(false);
        let absent = self.target.layout.element(place, 0.0);
        let (first, step) = self.target.layout.place(place);
        self.target.values[first..]
            .iter_mut()
            .step_by(step)
            .take(self.side * self.side)
            .for_each(|value| *value = absent);
    }

    fn draw(
        &mut self,
        place: usize,
        band: &SceneBand,
        piece: &SourceSamples,
        samples: &WindowSamples,
        axes: &(AreaAxis, AreaAxis),
    ) {
        let index = piece.cut.bands.iter().position(|number| *number == band.band);
        let index = index.expect("a cut has all bands of its object");
        let mask = samples.valid.as_deref().filter(|_| piece.masked);
        let (across, down) = (&axes.0, &axes.1);
        let corner = across.whole(samples.size.width).zip(down.whole(samples.size.height));
        match corner.filter(|_| mask.is_none()) {
            Some(corner) => with_samples!(&samples.samples, stored => {
                self.copy(place, band, &Plane { stored, samples, index }, corner);
            }),
            None => with_samples!(&samples.samples, stored => {
                self.resample(place, band, &Plane { stored, samples, index }, mask, (across, down));
            }),
        }
    }

    /// Writes a band whose stored pixels are those of the chip.
    fn copy<T: Stored>(
        &mut self,
        place: usize,
        band: &SceneBand,
        plane: &Plane<'_, T>,
        corner: (usize, usize),
    ) {
        let nodata = band.nodata.and_then(T::of);
        let is_absent = |sample: T| sample.is_absent(nodata);
        let (target, absent) = (&self.target, self.target.layout.element(place, 0.0));
        if band.is_stored() && target.layout.is_plain(place) {
            let value =
                |sample: T| if is_absent(sample) { (absent, false) } else { (sample.value() as f32, true) };
            self.copy_rows(place, plane, corner, value);
        } else {
            let (scale, offset, layout) = (band.scale, band.offset, target.layout);
            let value = |sample: T| {
                let value = (sample.value() * scale + offset) as f32;
                if is_absent(sample) { (absent, false) } else { (layout.element(place, value), true) }
            };
            self.copy_rows(place, plane, corner, value);
        }
    }

    fn copy_rows<T: Stored>(
        &mut self,
        place: usize,
        plane: &Plane<'_, T>,
        (left, top): (usize, usize),
        value: impl Fn(T) -> (f32, bool),
    ) {
        let (width, num_bands) = (plane.samples.size.width as usize, usize::from(plane.samples.num_bands));
        let (side, (first, step)) = (self.side, self.target.layout.place(place));
        let mut row_of_band = Vec::with_capacity(side);
        for row in 0..side {
            let start = ((top + row) * width + left) * num_bands;
            let stored = &plane.stored[start..start + side * num_bands];
            // Loops over neighbours are many times as fast as over every n-th.
            row_of_band.clear();
            take_band(stored, num_bands, plane.index, &mut row_of_band);
            let valid = self.valid[row * side..][..side].iter_mut();
            let places = &mut self.target.values[first + row * side * step..];
            let mut put = |(place, (valid, sample)): (&mut f32, (&mut bool, &T))| {
                let (element, is_valid) = value(*sample);
                *place = element;
                *valid &= is_valid;
            };
            if step == 1 {
                places[..side].iter_mut().zip(valid.zip(&row_of_band)).for_each(put);
            } else {
                places.iter_mut().step_by(step).zip(valid.zip(&row_of_band)).for_each(&mut put);
            }
        }
    }

    /// Writes a band whose pixels are means of stored ones, or repeated.
    fn resample<T: Stored>(
        &mut self,
        place: usize,
        band: &SceneBand,
        plane: &Plane<'_, T>,
        mask: Option<&[u8]>,
        axes: (&AreaAxis, &AreaAxis),
    ) {
        let num_bands = usize::from(plane.samples.num_bands);
        let nodata = band.nodata.and_then(T::of);
        let sample = |pixel: usize| plane.stored[pixel * num_bands + plane.index];
        let value = |pixel: usize| sample(pixel).value();
        let valid =
            |pixel: usize| mask.is_none_or(|mask| mask[pixel] != 0) && !sample(pixel).is_absent(nodata);
        let stored = area::Stored { size: plane.samples.size, value, valid, axes };
        let (first, step) = self.target.layout.place(place);
        stored.resample(|pixel, value| {
            let converted = value.map_or(0.0, |value| (value * band.scale + band.offset) as f32);
            self.target.values[first + pixel * step] = self.target.layout.element(place, converted);
            self.valid[pixel] &= value.is_some();
        });
    }
}

/// Appends every `num_bands`-th sample, from that of the band on.
fn take_band<T: Copy>(stored: &[T], num_bands: usize, index: usize, band: &mut Vec<T>) {
    fn of<T: Copy, const N: usize>(stored: &[T], index: usize, band: &mut Vec<T>) {
        let index = index.min(N - 1);
        band.extend(stored.as_chunks::<N>().0.iter().map(|pixel| pixel[index]));
    }
    match num_bands {
        1 => band.extend_from_slice(stored),
        2 => of::<T, 2>(stored, index, band),
        3 => of::<T, 3>(stored, index, band),
        4 => of::<T, 4>(stored, index, band),
        _ => band.extend(stored.iter().skip(index).step_by(num_bands)),
    }
}

/// One band of a window as stored.
struct Plane<'a, T> {
    stored: &'a [T],
    samples: &'a WindowSamples,
    index: usize,
}

/// A type of stored samples.
trait Stored: Copy + PartialEq {
    fn value(self) -> f64;

    /// Returns the sample of this value, if there is one.
    fn of(value: f64) -> Option<Self>;

    /// Tells whether it means no data, as NaN always does.
    fn is_absent(self, nodata: Option<Self>) -> bool;
}

macro_rules! stored {
    ($($kind:ty: $is_absent:expr),*) => {$(
        impl Stored for $kind {
            #[inline]
            #[allow(clippy::unnecessary_cast, clippy::cast_lossless, reason = "of all sample types one is f64")]
            fn value(self) -> f64 {
                self as f64
            }

            #[allow(clippy::unnecessary_cast, clippy::float_cmp, reason = "the value itself is meant")]
            fn of(value: f64) -> Option<Self> {
                (value as Self as f64 == value).then_some(value as Self)
            }

            #[inline]
            fn is_absent(self, nodata: Option<Self>) -> bool {
                ($is_absent)(self, nodata)
            }
        }
    )*};
}

fn is_same<T: PartialEq>(sample: T, nodata: Option<T>) -> bool {
    nodata == Some(sample)
}

fn is_absent_f32(sample: f32, nodata: Option<f32>) -> bool {
    sample.is_nan() || nodata.is_some_and(|nodata| validity::is_absent_f32(sample, nodata))
}

fn is_absent_f64(sample: f64, nodata: Option<f64>) -> bool {
    sample.is_nan() || nodata.is_some_and(|nodata| validity::is_absent_f64(sample, nodata))
}

stored!(u8: is_same, i8: is_same, u16: is_same, i16: is_same, u32: is_same, i32: is_same);
stored!(u64: is_same, i64: is_same, f32: is_absent_f32, f64: is_absent_f64);

/// A chip that is drawn, and what it was drawn from, as rules ask for it.
struct DrawnPixels<'a> {
    scene: &'a Scene,
    pieces: &'a [SourceSamples],
    /// Of each piece.
    axes: &'a [(AreaAxis, AreaAxis)],
    /// `[side, side]`
    valid: &'a [bool],
}

impl DrawnPixels<'_> {
    fn num_valid(&self) -> usize {
        self.valid.iter().filter(|valid| **valid).count()
    }

    /// Returns the mean over valid pixels.
    ///
    /// - `part`: of a stored sample
    fn share_of<T: Copy>(
        &self,
        plane: &Plane<'_, T>,
        axes: &(AreaAxis, AreaAxis),
        part: impl Fn(T) -> f64,
    ) -> Share {
        let num_valid = self.num_valid();
        if num_valid == 0 {
            return None;
        }
        let num_bands = usize::from(plane.samples.num_bands);
        let value = |pixel: usize| part(plane.stored[pixel * num_bands + plane.index]);
        let size = plane.samples.size;
        let stored = area::Stored { size, value, valid: |_| true, axes: (&axes.0, &axes.1) };
        let (mut sum, mut known) = (0.0, 0_u32);
        stored.resample(|pixel, share| {
            if let Some(share) = share.filter(|_| self.valid[pixel]) {
                sum += share;
                known += 1;
            }
        });
        let is_known = known > 0 && 2 * known as usize >= num_valid;
        is_known.then(|| (sum / f64::from(known)) as f32)
    }
}

impl WindowPixels for DrawnPixels<'_> {
    fn scene(&self) -> &Scene {
        self.scene
    }

    fn valid_fraction(&self) -> f32 {
        self.num_valid() as f32 / self.valid.len() as f32
    }

    fn share(&self, band: &SceneBand, belongs: &dyn Fn(f64) -> bool) -> Share {
        let mut pieces = self.pieces.iter().zip(self.axes);
        let (piece, axes) = pieces.find(|(piece, _)| piece.cut.object == band.object)?;
        let samples = piece.samples.as_ref()?;
        let index = piece.cut.bands.iter().position(|number| *number == band.band).unwrap_or(0);
        match &samples.samples {
            Samples::U8(stored) => {
                // Classes have 256 values at most, and a window has many times as many pixels to ask for.
                let parts: [f64; 256] = std::array::from_fn(|sample| part(belongs(sample as f64)));
                self.share_of(&Plane { stored, samples, index }, axes, |sample: u8| {
                    parts[usize::from(sample)]
                })
            }
            other => with_samples!(other, stored => {
                self.share_of(&Plane { stored, samples, index }, axes, |sample| part(belongs(sample.value())))
            }),
        }
    }
}

/// Returns how much of a stored pixel belongs to what is meant.
fn part(belongs: bool) -> f64 {
    f64::from(u8::from(belongs))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stages::preprocess::{InputSlotMut, Preprocess};
    use crate::vocabulary::contract::{Accept, Input, Layout, Normalise, SampleType};
    use crate::vocabulary::geometry::{Rect, Window};

    const SIDE: u32 = 8;

    fn preprocess(layout: Layout, normalise: Option<Normalise>) -> Preprocess {
        let input = Input {
            tensor: "input".to_owned(),
            layout,
            sample_type: SampleType::Float32,
            bands: vec!["nir".to_owned(), "red".to_owned()],
            unit: "reflectance".to_owned(),
            units: None,
            width: SIDE,
            height: SIDE,
            resize: None,
            normalise,
            accept: Accept::default(),
        };
        Preprocess::new(&input).unwrap()
    }

    fn scene(scales: [(f64, f64); 2]) -> Scene {
        let object = serde_json::json!({"uri": "s3://b/a.tif", "version": null, "size_bytes": 1,
            "levels": [{"width": 100, "height": 100}]});
        let band = |(scale, offset): (f64, f64), band| serde_json::json!({"object": 0, "band": band, "scale": scale, "offset": offset, "nodata": "7"});
        let scene = serde_json::json!({"objects": [object], "bands": [band(scales[0], 1), band(scales[1], 0)],
            "reference": 0, "level": 0, "size": {"width": 100, "height": 100},
            "window": {"width": SIDE, "height": SIDE}, "stride": [8.0, 8.0], "in_rows": false});
        serde_json::from_value(scene).unwrap()
    }

    /// A chip of two bands from `x`, `y` and that much larger.
    fn piece(x: f64, y: f64, factor: f64, stored: Vec<u16>) -> SourceSamples {
        let length = f64::from(SIDE) * factor;
        let rect = Rect { x, y, width: length, height: length };
        let pixels = rect.touched(Size::new(100, 100));
        let size = Size::new(pixels.width, pixels.height);
        let len = size.num_pixels() as usize * 2;
        let samples = Samples::U16(stored.into_iter().cycle().take(len).collect());
        let samples = WindowSamples { size, num_bands: 2, samples, valid: None };
        SourceSamples {
            cut: SourceWindow { object: 0, frame: 0, level: 0, rect, pixels, bands: vec![0, 1] },
            samples: Some(samples),
            masked: false,
        }
    }

    proptest! {
        /// Straight into the input is the same as by way of a chip, to the bit.
        #[test]
        fn both_ways_to_the_input_are_one(
            stored in prop::collection::vec(0_u16..12, 64),
            x in 0_u32..96, y in 0_u32..96,
            factor in prop::sample::select(vec![1.0, 2.0, 0.5, 1.3]),
            scales in prop::sample::select(vec![[(1.0, 0.0); 2], [(0.25, -0.5), (1.0, 0.0)]]),
            nhwc in any::<bool>(), normalised in any::<bool>(),
        ) {
            let normalise = normalised.then(|| Normalise {
                scale: 0.1.into(), clamp: Some([0.0, 0.9]), mean: vec![0.3, 0.1], std: vec![0.7, 1.3],
            });
            let preprocess = preprocess(if nhwc { Layout::Nhwc } else { Layout::Nchw }, normalise);
            let (scene, pieces) = (scene(scales), [piece(f64::from(x), f64::from(y), factor, stored)]);
            let by_chip = composite(&scene, &SkipRules::default(), preprocess.bands(), SIDE, &pieces);
            let mut expected = vec![f32::NAN; preprocess.slot_len()];
            preprocess.apply(&by_chip.chip, InputSlotMut::F32(&mut expected)).unwrap();
            let mut slot = vec![f32::NAN; preprocess.slot_len()];
            let direct = preprocess.direct(Size::new(SIDE, SIDE)).unwrap();
            let measured = composite_into(&scene, &SkipRules::default(), SIDE, &pieces, direct, &mut slot).unwrap();
            prop_assert_eq!(measured, by_chip.measured);
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&slot), bits(&expected));
        }
    }

    proptest! {
        /// Classes of 8 bits are looked up, and give the share that asking for each sample gives.
        #[test]
        fn classes_of_8_bits_have_the_share_of_any_others(
            stored in prop::collection::vec(0_u16..256, 64),
            valid in prop::collection::vec(any::<bool>(), (SIDE * SIDE) as usize),
            x in 0_u32..96, y in 0_u32..96,
            factor in prop::sample::select(vec![1.0, 2.0, 0.5, 1.3]),
        ) {
            let general = piece(f64::from(x), f64::from(y), factor, stored);
            let mut bytes = piece(f64::from(x), f64::from(y), factor, vec![0]);
            let (Some(from), Some(to)) = (&general.samples, &mut bytes.samples) else { unreachable!() };
            let Samples::U16(wide) = &from.samples else { unreachable!() };
            to.samples = Samples::U8(wide.iter().map(|sample| *sample as u8).collect());
            let scene = scene([(1.0, 0.0); 2]);
            let share = |piece: SourceSamples| {
                let axes = [axes(&piece.cut, SIDE)];
                let pixels = DrawnPixels { scene: &scene, pieces: &[piece], axes: &axes, valid: &valid };
                pixels.share(&scene.bands[0], &|sample| sample % 3.0 == 0.0)
            };
            let found = share(bytes);
            prop_assert_eq!(found, share(general));
            prop_assert!(found.is_none() || valid.contains(&true));
        }
    }

    #[test]
    fn nothing_is_known_of_a_window_without_a_valid_pixel() {
        let (scene, pieces) = (scene([(1.0, 0.0); 2]), [piece(0.0, 0.0, 1.0, vec![3])]);
        let axes = [axes(&pieces[0].cut, SIDE)];
        let share = |valid: &[bool]| {
            let pixels = DrawnPixels { scene: &scene, pieces: &pieces, axes: &axes, valid };
            pixels.share(&scene.bands[0], &|_| true)
        };
        let mut valid = vec![false; (SIDE * SIDE) as usize];
        assert_eq!(share(&valid), None);
        valid[5] = true;
        assert_eq!(share(&valid), Some(1.0));
    }

    #[test]
    fn what_is_resized_or_rounded_goes_by_way_of_a_chip() {
        let plain = preprocess(Layout::Nchw, None);
        assert!(plain.direct(Size::new(SIDE + 1, SIDE)).is_none());
        let whole = Window::whole(Size::new(SIDE, SIDE));
        let mut bytes = piece(0.0, 0.0, 1.0, vec![1]);
        assert_eq!(bytes.cut.pixels, whole);
        bytes.samples.as_mut().unwrap().samples =
            Samples::U8(vec![1; whole.size().num_pixels() as usize * 2]);
        let mut slot = vec![0.0; plain.slot_len()];
        let direct = plain.direct(whole.size()).unwrap();
        let scene = scene([(1.0, 0.0); 2]);
        assert!(composite_into(&scene, &SkipRules::default(), SIDE, &[bytes], direct, &mut slot).is_none());
    }
}
