//! What the fuzz target of DICOM objects does with any bytes; the parser's own tests do the same.

use std::iter;
use std::ops::Range;

use tilefleet_dicom::{
    Bytes, Error, FrameBytes, FrameSpec, ImageModule, Instance, Limits, Picture, Samples, Step, Stored, Tag,
    Window, decode_frame, display, modality, padding, parse,
};

/// What is looked for is found in small frames.
pub const LIMITS: Limits = Limits { max_pixels: 1 << 19, max_decoded_bytes: 1 << 22 };
/// Frames that are decoded of each object.
const NUM_FRAMES: u32 = 2;
/// Display values of one type are those of another, rounded.
pub const ROUNDING: f64 = 1e-6;

/// Reads anything as an object, as a whole and in parts: both say the same. Decodes its first frames and shows them.
///
/// # Panics
///
/// If they do not, if values are outside of what the header says, or if a part crashes.
pub fn dicom(bytes: &[u8]) {
    let mut ranges = Ranges::new(bytes);
    let in_parts = ranges.parse();
    let Step::Done(whole) = parse(&bytes) else { panic!("all of the object is there") };
    assert_eq!(image(&whole), image(&in_parts), "an object says the same as a whole and in parts");
    let Ok(instance) = in_parts else { return };
    attributes(&instance);
    let Ok(image) = instance.image() else { return };
    let frames: Vec<u32> = (0..image.num_frames.min(NUM_FRAMES)).collect();
    for (spec, stored) in ranges.frames(&instance, &frames, &LIMITS).iter().flatten() {
        values(spec, stored, None);
        values(spec, stored, spec.window());
    }
}

fn image(instance: &Result<Instance, Error>) -> Result<ImageModule, Error> {
    Ok(ImageModule::clone(instance.as_ref().map_err(Clone::clone)?.image()?))
}

/// Asks for all that an object may say.
fn attributes(instance: &Instance) {
    drop((instance.sop_class(), instance.patient_id(), instance.study_date(), instance.is_directory()));
    drop((
        instance.pixel_spacing(0),
        instance.orientation(0),
        instance.image_position(0),
        instance.laterality(0),
    ));
    for group in [0x0002, 0x0008, 0x0010, 0x0018, 0x0020, 0x0028] {
        for element in [0, 0x10, 0x20, 0x0100, 0x1050, 0x3000] {
            drop(instance.string(Tag(group, element)));
        }
    }
}

/// Takes stored values to those of the modality and to what is shown.
///
/// # Panics
///
/// If any are outside of what the header says, or not as many as it says.
pub fn values(spec: &FrameSpec, stored: &Stored, window: Option<Window>) {
    let (image, num_pixels) = (spec.image(), spec.image().num_pixels() as usize);
    assert_eq!((stored.rows, stored.columns), (image.rows, image.columns));
    assert_eq!(stored.values.len() as u64, image.num_samples());
    assert_within_bits(stored);
    let padding = padding(spec, stored);
    assert!(padding.as_ref().is_none_or(|mask| mask.len() == num_pixels));
    if let Ok(values) = modality(spec, stored) {
        assert_eq!(values.to_f64().len(), stored.values.len());
        assert!(values.range(padding.as_deref()).is_none_or(|(low, high)| low <= high));
    }
    let Ok(exact) = display::<f64>(spec, stored, window) else { return };
    assert_eq!(exact.values.len(), num_pixels * usize::from(exact.samples_per_pixel));
    assert_shares(stored, &exact);
    let floats = display::<f32>(spec, stored, window).expect("it can be shown").values;
    let bytes = display::<u8>(spec, stored, window).expect("it can be shown").values;
    for ((&exact, float), byte) in
        exact.values.iter().zip(floats).zip(bytes).filter(|((exact, _), _)| !exact.is_nan())
    {
        assert!((f64::from(float) - exact).abs() < ROUNDING, "{float} of {exact}");
        assert!((f64::from(byte) - 255.0 * exact).abs() <= 0.5 + ROUNDING, "{byte} of {exact}");
    }
}

/// Values are numbers of so many bits.
fn assert_within_bits(stored: &Stored) {
    if matches!(stored.values, Samples::F32(_) | Samples::F64(_)) {
        return;
    }
    let limit = 2_f64.powi(i32::from(stored.bits) - i32::from(stored.signed));
    let range = if stored.signed { -limit..limit } else { 0.0..limit };
    let outside = stored.values.to_f64().into_iter().find(|value| !range.contains(value));
    assert_eq!(outside, None, "{} bits, {}", stored.bits, if stored.signed { "signed" } else { "unsigned" });
}

/// Shades lie between black and white; floats that are infinite or no numbers may have none.
fn assert_shares(stored: &Stored, shown: &Picture<f64>) {
    let per_value = shown.values.len() / stored.values.len();
    let numbers = stored.values.to_f64().into_iter().flat_map(|value| iter::repeat_n(value, per_value));
    for (number, share) in numbers.zip(&shown.values).filter(|(number, _)| number.is_finite()) {
        assert!((0.0..=1.0).contains(share), "{number} becomes {share}");
    }
}

/// An object that is read in ranges, as from object storage: those that were asked for.
pub struct Ranges<'a> {
    whole: &'a [u8],
    read: Vec<Range<u64>>,
}

impl Bytes for Ranges<'_> {
    fn len(&self) -> u64 {
        self.whole.len() as u64
    }

    fn slice(&self, at: u64, len: usize) -> Option<&[u8]> {
        let end = at.checked_add(len as u64).filter(|&end| end <= Bytes::len(self))?;
        let is_read = |range: &Range<u64>| range.start <= at && end <= range.end;
        (len == 0 || self.read.iter().any(is_read)).then(|| &self.whole[at as usize..end as usize])
    }
}

impl<'a> Ranges<'a> {
    /// Nothing has been read of it.
    pub fn new(whole: &'a [u8]) -> Self {
        Self { whole, read: Vec::new() }
    }

    fn run<T>(&mut self, step: impl Fn(&dyn Bytes) -> Step<T>) -> Result<T, Error> {
        loop {
            match step(self) {
                Step::Done(result) => return result,
                Step::Needs(range) => {
                    assert!(
                        range.start < range.end && range.end <= Bytes::len(self),
                        "{range:?} is asked for"
                    );
                    assert!(!self.read.contains(&range), "{range:?} is asked for twice");
                    self.read.push(range);
                }
            }
        }
    }

    /// Reads the header.
    ///
    /// # Errors
    ///
    /// Those of [`parse`].
    pub fn parse(&mut self) -> Result<Instance, Error> {
        self.run(parse)
    }

    /// Reads and decodes frames.
    ///
    /// # Errors
    ///
    /// Those of reading and decoding.
    pub fn frames(
        &mut self,
        instance: &Instance,
        frames: &[u32],
        limits: &Limits,
    ) -> Result<Vec<(FrameSpec, Stored)>, Error> {
        let found = self.run(|object| instance.locate(object, frames))?;
        let frame = |(&frame, bytes): (&u32, &FrameBytes)| {
            let joined: Vec<u8> = (bytes.ranges.iter())
                .flat_map(|range| self.whole[range.start as usize..range.end as usize].iter().copied())
                .collect();
            let spec = instance.frame_spec(frame)?;
            let stored = decode_frame(&spec, &joined, limits)?;
            Ok((spec, stored))
        };
        frames.iter().zip(&found).map(frame).collect()
    }
}
