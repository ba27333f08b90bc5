//! The phantoms' pixels: a thorax of ellipsoids with a lesion in its right lung, as several modalities see it, and a
//! fan of ultrasound with a cyst.
//!
//! Lengths are in millimetres; x goes to the patient's left, y to the back, z to the head (PS3.3, C.7.6.2.1.1).

use super::writer::Image;
use crate::vocabulary::random::SplitMix64;

/// A place in the patient.
type Point = [f32; 3];

/// What is at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tissue {
    Air,
    Lung,
    Soft,
    Bone,
}

impl Tissue {
    /// Returns CT numbers in Hounsfield units, attenuation per mm, and how bright MR shows it (0 to 1).
    fn properties(self) -> (f32, f32, f32) {
        match self {
            Self::Air => (-1000.0, 0.0, 0.0),
            Self::Lung => (-820.0, 0.0025, 0.08),
            Self::Soft => (40.0, 0.012, 0.55),
            Self::Bone => (650.0, 0.025, 0.25),
        }
    }
}

/// Middle of the lesion, a ball of soft tissue in the right lung.
const LESION: Point = [-78.0, -8.0, 20.0];
const HEART: Point = [28.0, -28.0, -40.0];

/// A thorax.
#[derive(Clone, Copy, Debug)]
pub(super) struct Thorax {
    /// Radius of the lesion, in mm.
    pub lesion_mm: f32,
}

/// Side of CT slices in pixels, and of a pixel in mm.
const CT_SIDE: u16 = 128;
pub(super) const CT_PIXEL_MM: f32 = 3.0;
/// `Hounsfield units = stored value + CT_INTERCEPT`.
pub(super) const CT_INTERCEPT: i16 = -1024;
/// Stored value of pixels beyond the scanner's field of view, which is round.
pub(super) const CT_PADDING: i16 = -2000;
const CT_FIELD_MM: f32 = 190.0;

/// Rows and columns of radiographs, and the side of their pixels in mm.
const RADIOGRAPH: (u16, u16) = (128, 112);
pub(super) const RADIOGRAPH_PIXEL_MM: f32 = 3.0;
/// Distance of the places along a ray that a radiograph adds up, in mm.
const STEP_MM: f32 = 6.0;

/// Rows and columns of MR slices, and the side of their pixels in mm.
const MR: (u16, u16) = (112, 96);
pub(super) const MR_PIXEL_MM: f32 = 3.5;

/// Rows and columns of ultrasound.
const FAN: (u16, u16) = (112, 144);

/// Tells a place within an ellipsoid, given by its centre and half axes.
fn within(place: Point, centre: Point, axes: Point) -> bool {
    let share = |axis: usize| (place[axis] - centre[axis]) / axes[axis];
    (0..3).map(|axis| share(axis) * share(axis)).sum::<f32>() < 1.0
}

impl Thorax {
    fn tissue(self, place: Point) -> Tissue {
        let [x, y, z] = place;
        let column = |centre: [f32; 2], axes: [f32; 2]| {
            within([x, y, 0.0], [centre[0], centre[1], 0.0], [axes[0], axes[1], 1.0])
        };
        let is_rib = (z - 0.4 * y).rem_euclid(28.0) < 9.0;
        let is_wall = !column([0.0, 0.0], [148.0, 96.0]) && column([0.0, 0.0], [154.0, 101.0]);
        let is_lung = |x: f32| within(place, [x, 0.0, 0.0], [58.0, 78.0, 130.0]);
        if !column([0.0, 0.0], [165.0, 110.0]) {
            Tissue::Air
        } else if column([0.0, 78.0], [17.0, 17.0]) || is_wall && is_rib {
            Tissue::Bone
        } else if within(place, LESION, [self.lesion_mm; 3]) || within(place, HEART, [58.0, 48.0, 62.0]) {
            Tissue::Soft
        } else if is_lung(-76.0) || is_lung(76.0) {
            Tissue::Lung
        } else {
            Tissue::Soft
        }
    }

    /// Draws an axial CT slice: 16 bits, signed.
    pub(super) fn ct(self, z: f32) -> Image {
        let mut noise = Noise::new(z as i64);
        let frame = grid((CT_SIDE, CT_SIDE), CT_PIXEL_MM, |x, y| {
            let hounsfield = self.tissue([x, y, z]).properties().0 + noise.around_zero(12.0);
            let is_seen = x.hypot(y) < CT_FIELD_MM;
            let stored = if is_seen { hounsfield.round() as i16 - CT_INTERCEPT } else { CT_PADDING };
            stored.cast_unsigned()
        });
        Image { signed: true, ..grey((CT_SIDE, CT_SIDE), 16, vec![frame]) }
    }

    /// Draws a coronal MR slice: 12 bits.
    pub(super) fn mr(self, y: f32) -> Image {
        let mut noise = Noise::new(1000);
        let frame = grid(MR, MR_PIXEL_MM, |x, down| {
            let bright = self.tissue([x, y, -down]).properties().2;
            (3000.0 * bright + 80.0 + noise.around_zero(60.0)) as u16
        });
        grey(MR, 12, vec![frame])
    }

    /// Returns the share of rays that passes the patient from a place of the front to the back, or from side to side.
    fn passed(self, across: f32, z: f32, is_lateral: bool) -> f32 {
        let depths = (-28..=28).map(|step| step as f32 * STEP_MM);
        let at = |depth: f32| if is_lateral { [depth, across, z] } else { [across, depth, z] };
        let attenuation: f32 = depths.map(|depth| self.tissue(at(depth)).properties().1).sum();
        (-attenuation * STEP_MM).exp()
    }

    /// Draws a frontal radiograph as a detector counts: 12 bits, the fewer the whiter (`MONOCHROME1`).
    pub(super) fn frontal(self) -> Image {
        let mut noise = Noise::new(2000);
        let frame = grid(RADIOGRAPH, RADIOGRAPH_PIXEL_MM, |x, down| {
            (4000.0 * self.passed(x, -down, false) + noise.around_zero(20.0)).clamp(0.0, 4095.0) as u16
        });
        Image { photometric: "MONOCHROME1", ..grey(RADIOGRAPH, 12, vec![frame]) }
    }

    /// Draws a lateral radiograph, processed to be looked at: 8 bits.
    pub(super) fn lateral(self) -> Image {
        let frame = grid(RADIOGRAPH, RADIOGRAPH_PIXEL_MM, |y, down| {
            (255.0 * (1.0 - self.passed(y, -down, true))) as u16
        });
        grey(RADIOGRAPH, 8, vec![frame])
    }
}

/// Draws a loop of ultrasound in which a cyst grows and shrinks: 8 bits.
pub(super) fn ultrasound(num_frames: u16) -> Image {
    let frames = (0..num_frames).map(|frame| {
        let share = f32::from(frame) / f32::from(num_frames);
        fan(9.0 + 5.0 * (share * std::f32::consts::PI).sin(), frame.into())
    });
    grey(FAN, 8, frames.collect())
}

/// Draws ultrasound in colours, with a flow and with what stands for text in a corner.
pub(super) fn colour_ultrasound() -> Image {
    let shades = fan(12.0, 99);
    let places = (0..FAN.0).flat_map(|row| (0..FAN.1).map(move |column| (row, column)));
    let pixel = |((row, column), shade): ((u16, u16), u16)| match (row, column) {
        // Letters of a scanner, which say who was examined.
        (4..12, 4..60) if !column.is_multiple_of(6) && !(row + column / 6).is_multiple_of(4) => [255; 3],
        (60..80, 80..100) if shade > 40 => [255, shade / 2, 0],
        _ => [shade; 3],
    };
    let frame = places.zip(shades).flat_map(pixel).collect();
    Image { photometric: "RGB", samples_per_pixel: 3, ..grey(FAN, 8, vec![frame]) }
}

/// Draws speckle in a fan, dark in a cyst of this radius.
fn fan(cyst: f32, seed: i64) -> Vec<u16> {
    let mut noise = Noise::new(3000 + seed);
    grid(FAN, 1.0, |x, y| {
        let (depth, angle) = (x.hypot(y + 62.0), x.atan2(y + 62.0));
        let speckle = 110.0 - 0.6 * depth + noise.around_zero(70.0);
        if !(10.0..112.0).contains(&depth) || angle.abs() > 0.62 {
            0
        } else if x.hypot(y - 5.0) < cyst {
            12
        } else {
            speckle.max(0.0) as u16
        }
    })
}

fn grey((rows, columns): (u16, u16), bits_stored: u16, frames: Vec<Vec<u16>>) -> Image {
    let bits_allocated = bits_stored.next_multiple_of(8);
    Image {
        rows,
        columns,
        samples_per_pixel: 1,
        photometric: "MONOCHROME2",
        bits_allocated,
        bits_stored,
        signed: false,
        frames,
    }
}

/// Returns where the first pixel of so many lies, if the middle of all of them is 0, in mm.
pub(super) fn first(num_pixels: u16, pixel_mm: f32) -> f32 {
    -0.5 * f32::from(num_pixels - 1) * pixel_mm
}

/// Draws pixel by pixel, row by row; places are in mm from the middle, to the right and down.
fn grid((rows, columns): (u16, u16), pixel_mm: f32, mut paint: impl FnMut(f32, f32) -> u16) -> Vec<u16> {
    let at = |index: u16, num: u16| first(num, pixel_mm) + f32::from(index) * pixel_mm;
    let mut samples = Vec::with_capacity(usize::from(rows) * usize::from(columns));
    for row in 0..rows {
        samples.extend((0..columns).map(|column| paint(at(column, columns), at(row, rows))));
    }
    samples
}

/// Noise that is the same each time.
struct Noise(SplitMix64);

impl Noise {
    fn new(seed: i64) -> Self {
        Self(SplitMix64(seed.cast_unsigned()))
    }

    /// Returns a number of at most this size.
    fn around_zero(&mut self, size: f32) -> f32 {
        (2.0 * self.0.unit() - 1.0) * size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THORAX: Thorax = Thorax { lesion_mm: 14.0 };

    fn hounsfield(image: &Image, row: usize, column: usize) -> i32 {
        let stored = image.frames[0][row * usize::from(image.columns) + column].cast_signed();
        i32::from(stored) + i32::from(CT_INTERCEPT)
    }

    /// The lesion is soft tissue in a lung where a slice meets it, and lung where it does not.
    #[test]
    fn a_slice_shows_the_lesion_where_it_is() {
        // 78 mm to the patient's right, 8 mm to the front.
        let (row, column) = (61, 37);
        let within = |hounsfield: i32, tissue: i32| (hounsfield - tissue).abs() <= 12;
        assert!(within(hounsfield(&THORAX.ct(20.0), row, column), 40));
        assert!(within(hounsfield(&THORAX.ct(40.0), row, column), -820));
        assert_eq!(THORAX.ct(20.0).frames[0][0].cast_signed(), CT_PADDING, "a corner is not seen");
    }

    /// With fewer counts where more is in the way, the middle is whiter than the lungs and air is black.
    #[test]
    fn a_radiograph_counts_what_passes() {
        let image = THORAX.frontal();
        let at = |row: usize, column: usize| image.frames[0][row * usize::from(image.columns) + column];
        let (air, lung, middle) = (at(64, 0), at(43, 81), at(64, 55));
        assert!(air > 2 * lung && lung > 2 * middle, "{air} {lung} {middle}");
        assert!(image.frames[0].iter().all(|count| *count < 1 << 12));
    }

    #[test]
    fn phantoms_are_the_same_each_time() {
        assert_eq!(THORAX.ct(10.0).frames, THORAX.ct(10.0).frames);
        assert_ne!(THORAX.ct(10.0).frames, THORAX.ct(0.0).frames);
        assert_eq!(ultrasound(2).frames, ultrasound(2).frames);
    }
}
