//! The demo's DICOM objects: four patients whom nobody has met, and what a hospital's archive has of them.

use super::drawings::{
    self, CT_INTERCEPT, CT_PADDING, CT_PIXEL_MM, MR_PIXEL_MM, RADIOGRAPH_PIXEL_MM, Thorax,
};
use super::writer::{self, DataSet, Image, Syntax, Tag};
use crate::vocabulary::error::Result;
use crate::vocabulary::random::SplitMix64;

/// Frames of the ultrasound loop.
const NUM_LOOP_FRAMES: u16 = 6;
/// Share of its bytes that is left of the file that is cut.
const LEFT_OF_CUT: f64 = 0.6;

/// One file.
pub(super) struct Object {
    /// Below the folder of all; folders are called as patients are, and not every name ends in `.dcm`.
    pub path: String,
    pub syntax: Syntax,
    /// `None`: it has no pixels.
    pub image: Option<Image>,
    /// All but the image.
    data: DataSet,
    /// The file ends early.
    pub is_cut: bool,
}

/// A patient: folder, name, id, day of birth.
struct Patient(&'static str, &'static str, &'static str, &'static str);

const ELLIPSA: Patient = Patient("Madeup_Ellipsa", "Madeup^Ellipsa", "MADEUP-0001", "19010203");
const CYLINDRA: Patient = Patient("Madeup_Cylindra", "Madeup^Cylindra", "MADEUP-0002", "19020304");
const SPHEROS: Patient = Patient("Madeup_Spheros", "Madeup^Spheros", "MADEUP-0003", "19030405");
const TOROIDA: Patient = Patient("Madeup_Toroida", "Madeup^Toroida", "MADEUP-0004", "19040506");

/// One examination: its number among all, and its day.
#[derive(Clone, Copy)]
struct Study(u64, &'static str);

/// SOP classes (PS3.4, B.5).
const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
const MR: &str = "1.2.840.10008.5.1.4.1.1.4";
const COMPUTED_RADIOGRAPHY: &str = "1.2.840.10008.5.1.4.1.1.1";
const DIGITAL_XRAY: &str = "1.2.840.10008.5.1.4.1.1.1.1";
const ULTRASOUND: &str = "1.2.840.10008.5.1.4.1.1.6.1";
const ULTRASOUND_LOOP: &str = "1.2.840.10008.5.1.4.1.1.3.1";
const REPORT: &str = "1.2.840.10008.5.1.4.1.1.88.11";

/// Tags whose texts name somebody, or an examination of somebody; so do all of group 0010.
const IDENTIFYING: [Tag; 7] = [
    (0x0008, 0x0018),
    (0x0008, 0x0020),
    (0x0008, 0x0050),
    (0x0008, 0x0080),
    (0x0008, 0x0090),
    (0x0020, 0x000D),
    (0x0020, 0x000E),
];

/// Draws and describes all objects.
pub(super) fn all() -> Vec<Object> {
    let mut all = ct_series();
    all.extend(radiographs());
    all.extend(ultrasounds());
    all.push(mr());
    all.extend(no_images());
    all
}

/// Two series of one patient, half a year apart: the lesion shrinks, and each slice of the first has a syntax of its own.
fn ct_series() -> Vec<Object> {
    let (first, second) = (Study(1, "20010105"), Study(2, "20010709"));
    let syntaxes = Syntax::ALL.into_iter().filter(|syntax| !syntax.is_compressed()).chain([Syntax::Rle]);
    let slices = (1..).zip(syntaxes).map(|(number, syntax)| {
        let path = format!("CT-first/slice-{number}.dcm");
        ct(first, number, &path, syntax, Thorax { lesion_mm: 22.0 })
    });
    let later = (2..5).map(|number| {
        let path = format!("CT-second/IM00000{number}");
        ct(second, number, &path, Syntax::JpegLossless, Thorax { lesion_mm: 13.0 })
    });
    slices.chain(later).collect()
}

fn ct(study: Study, number: u16, path: &str, syntax: Syntax, thorax: Thorax) -> Object {
    let z = f32::from(number) * 10.0 - 10.0;
    let image = thorax.ct(z);
    let corner = drawings::first(image.columns, CT_PIXEL_MM);
    let data = described(&ELLIPSA, study, (CT, "CT"), number)
        .text((0x0018, 0x0050), "DS", "10")
        .text((0x0020, 0x0032), "DS", format!("{corner}\\{corner}\\{z}"))
        .text((0x0020, 0x0037), "DS", "1\\0\\0\\0\\1\\0")
        .text((0x0028, 0x0030), "DS", format!("{CT_PIXEL_MM}\\{CT_PIXEL_MM}"))
        .word((0x0028, 0x0120), "SS", CT_PADDING.cast_unsigned())
        .text((0x0028, 0x1050), "DS", "-100")
        .text((0x0028, 0x1051), "DS", "1600")
        .text((0x0028, 0x1052), "DS", CT_INTERCEPT.to_string())
        .text((0x0028, 0x1053), "DS", "1")
        .text((0x0028, 0x1054), "LO", "HU");
    Object::new(&ELLIPSA, path, syntax, data, Some(image))
}

/// A chest from the front, white where little was counted, and from the side, compressed with loss.
fn radiographs() -> [Object; 2] {
    let thorax = Thorax { lesion_mm: 16.0 };
    let frontal = radiograph((DIGITAL_XRAY, "DX"), 1, "PA");
    let lateral = radiograph((COMPUTED_RADIOGRAPHY, "CR"), 2, "LL");
    let lossy = lateral.text((0x0028, 0x2110), "CS", "01").text((0x0028, 0x2114), "CS", "ISO_10918_1");
    [
        Object::new(&CYLINDRA, "chest-PA", Syntax::ExplicitLittle, frontal, Some(thorax.frontal())),
        Object::new(&CYLINDRA, "chest-LL.dcm", Syntax::JpegBaseline, lossy, Some(thorax.lateral())),
    ]
}

fn radiograph(class: (&str, &str), number: u16, view: &str) -> DataSet {
    let spacing = format!("{RADIOGRAPH_PIXEL_MM}\\{RADIOGRAPH_PIXEL_MM}");
    let data = described(&CYLINDRA, Study(3, "20020311"), class, number);
    data.text((0x0018, 0x1164), "DS", spacing).text((0x0018, 0x5101), "CS", view)
}

/// A loop whose header says that no text is burned into the pixels, and an image whose header says that some is.
fn ultrasounds() -> [Object; 2] {
    let study = Study(4, "20030417");
    let looped = described(&SPHEROS, study, (ULTRASOUND_LOOP, "US"), 1)
        .text((0x0018, 0x1063), "DS", "40")
        .text((0x0028, 0x0301), "CS", "NO");
    let burned = described(&SPHEROS, study, (ULTRASOUND, "US"), 2).text((0x0028, 0x0301), "CS", "YES");
    let frames = drawings::ultrasound(NUM_LOOP_FRAMES);
    let colours = drawings::colour_ultrasound();
    [
        Object::new(&SPHEROS, "loop.dcm", Syntax::Rle, looped, Some(frames)),
        Object::new(&SPHEROS, "with-text.dcm", Syntax::ExplicitLittle, burned, Some(colours)),
    ]
}

fn mr() -> Object {
    let y = -8.0;
    let image = Thorax { lesion_mm: 18.0 }.mr(y);
    let left = drawings::first(image.columns, MR_PIXEL_MM);
    let top = -drawings::first(image.rows, MR_PIXEL_MM);
    let data = described(&TOROIDA, Study(5, "20040523"), (MR, "MR"), 1)
        .text((0x0020, 0x0032), "DS", format!("{left}\\{y}\\{top}"))
        .text((0x0020, 0x0037), "DS", "1\\0\\0\\0\\0\\-1")
        .text((0x0028, 0x0030), "DS", format!("{MR_PIXEL_MM}\\{MR_PIXEL_MM}"));
    Object::new(&TOROIDA, "MR000001", Syntax::ImplicitLittle, data, Some(image))
}

/// An image whose file ends early, and a report, which is none.
fn no_images() -> [Object; 2] {
    let study = Study(6, "20040524");
    let cut = described(&TOROIDA, study, (DIGITAL_XRAY, "DX"), 1);
    let image = Thorax { lesion_mm: 18.0 }.frontal();
    let text = DataSet::default().text((0x0040, 0xA040), "CS", "TEXT").text(
        (0x0040, 0xA160),
        "UT",
        "Ellipsa Madeup, MADEUP-0001, was seen by nobody",
    );
    let report = described(&TOROIDA, study, (REPORT, "SR"), 2)
        .text((0x0040, 0xA040), "CS", "CONTAINER")
        .items((0x0040, 0xA730), vec![text]);
    [
        Object {
            is_cut: true,
            ..Object::new(&TOROIDA, "chest-cut.dcm", Syntax::ExplicitLittle, cut, Some(image))
        },
        Object::new(&TOROIDA, "report", Syntax::ExplicitLittle, report, None),
    ]
}

/// Describes whose object it is, of which examination, and what made it (PS3.3, C.7).
///
/// - `class`: SOP class and modality; a study has one series per modality
fn described(patient: &Patient, study: Study, class: (&str, &str), number: u16) -> DataSet {
    let Study(place, date) = study;
    let series = place * 100 + u64::from(class.1.as_bytes()[0]);
    DataSet::default()
        .text((0x0008, 0x0016), "UI", class.0)
        .text((0x0008, 0x0018), "UI", uid(series * 100 + u64::from(number)))
        .text((0x0008, 0x0020), "DA", date)
        .text((0x0008, 0x0030), "TM", "101500")
        .text((0x0008, 0x0050), "SH", format!("MADEUP-ACC-{place}"))
        .text((0x0008, 0x0060), "CS", class.1)
        .text((0x0008, 0x0070), "LO", "tilefleet demo")
        .text((0x0008, 0x0080), "LO", "Madeup General Hospital")
        .text((0x0008, 0x0090), "PN", "Madeup^Referens^^Dr")
        .text((0x0010, 0x0010), "PN", patient.1)
        .text((0x0010, 0x0020), "LO", patient.2)
        .text((0x0010, 0x0030), "DA", patient.3)
        .text((0x0020, 0x000D), "UI", uid(place))
        .text((0x0020, 0x000E), "UI", uid(series))
        .text((0x0020, 0x0011), "IS", "1")
        .text((0x0020, 0x0013), "IS", number.to_string())
}

/// Returns a UID made of 128 bits (PS3.5, B.2), the same each time.
fn uid(number: u64) -> String {
    let mut random = SplitMix64(number);
    let bits = u128::from(random.next_u64()) << 64 | u128::from(random.next_u64());
    format!("2.25.{bits}")
}

impl Object {
    fn new(patient: &Patient, path: &str, syntax: Syntax, data: DataSet, image: Option<Image>) -> Self {
        Self { path: format!("{}/{path}", patient.0), syntax, image, data, is_cut: false }
    }

    /// Returns the file.
    ///
    /// # Errors
    ///
    /// As [`writer::file`].
    pub(super) fn bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = writer::file(&self.data, self.image.as_ref(), self.syntax)?;
        if self.is_cut {
            bytes.truncate((bytes.len() as f64 * LEFT_OF_CUT) as usize);
        }
        Ok(bytes)
    }

    /// Returns what must not get into a table: names, ids, days and UIDs of its data set, and its path.
    pub(super) fn identifiers(&self) -> impl Iterator<Item = &str> {
        let texts = self.data.texts().into_iter();
        let named = texts.filter(|(tag, _)| tag.0 == 0x0010 || IDENTIFYING.contains(tag));
        let words = named.flat_map(|(_, text)| text.split('^')).filter(|word| word.len() > 3);
        words.chain([self.path.as_str()])
    }
}
