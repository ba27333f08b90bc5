//! What the fuzz target of DICOM's values does with any bytes: the first ones are the header of a frame, the others its
//! pixels.

use tilefleet_dicom::{FrameSpec, Function, PixelKind, Stored, Window, display, modality};

use super::dicom::{LIMITS, ROUNDING, Ranges, values};

/// Makes an object of the first bytes, which say shape, bits and transformations, and of the others, which are its pixels;
/// decodes and shows it.
///
/// # Panics
///
/// If values are outside of what the header says, if a part crashes, or if a window shades all values together otherwise
/// than one by one.
pub fn dicom_pixels(bytes: &[u8]) {
    let mut input = Input(bytes);
    let window = window(&mut input);
    let shapes = input.byte().is_multiple_of(4);
    let object = object(&mut input, shapes);
    let mut ranges = Ranges::new(&object);
    let Ok(instance) = ranges.parse() else { panic!("the object is sound") };
    for (spec, stored) in ranges.frames(&instance, &[0], &LIMITS).iter().flatten() {
        values(spec, stored, None);
        values(spec, stored, Some(window));
        if !shapes {
            assert_shaded_one_by_one(spec, stored, window);
        }
    }
}

/// Compares with the formula of the standard.
fn assert_shaded_one_by_one(spec: &FrameSpec, stored: &Stored, window: Window) {
    let (Ok(values), Ok(inverted)) = (modality(spec, stored), spec.is_inverted()) else { return };
    let Ok(shown) = display::<f64>(spec, stored, Some(window)) else { return };
    // Where the window is no wider than what numbers are rounded by, both are right.
    if shown.samples_per_pixel != 1 || window.width < ROUNDING * window.center.abs() {
        return;
    }
    for (value, share) in values.to_f64().into_iter().zip(shown.values).filter(|(value, _)| !value.is_nan()) {
        let shade = window.shade(value);
        let expected = if inverted { 1.0 - shade } else { shade };
        assert!((expected - share).abs() < ROUNDING, "{value} in {window:?} becomes {share}, not {expected}");
    }
}

/// Bytes that decide; behind their end all are 0.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    fn bytes(&mut self, num: usize) -> Vec<u8> {
        (0..num).map(|_| self.byte()).collect()
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.byte()) % all.len()]
    }

    /// A number as a header has it: mostly small, now and then at the limits of floats, or none.
    fn number(&mut self) -> String {
        match self.byte() % 8 {
            0..=4 => (f64::from(self.word() as i16) / self.one_of(&[1.0, 1.0, 16.0, 1000.0])).to_string(),
            5 => self
                .one_of(&["0", "-0", "1", "1e308", "-1e308", "5e-324", "1e16", "1\\2", "inf", "x"])
                .to_owned(),
            _ => format!("{}e{}", self.word() as i16, self.byte() as i8),
        }
    }
}

fn window(input: &mut Input<'_>) -> Window {
    let mut number = || input.number().parse().unwrap_or(1.0);
    let (center, width) = (number(), number());
    let function = input.one_of(&[Function::Linear, Function::LinearExact, Function::Sigmoid]);
    Window { center, width, function }
}

/// An object in explicit little endian with one native frame.
///
/// - `shapes`: it may have a presentation lookup table
fn object(input: &mut Input<'_>, shapes: bool) -> Vec<u8> {
    let mut object = Elements(vec![0; 128]);
    object.0.extend(b"DICM");
    object.text(0x0002, 0x0010, *b"UI", "1.2.840.10008.1.2.1\0");
    let kind = input.one_of(&[
        PixelKind::Integer,
        PixelKind::Integer,
        PixelKind::Integer,
        PixelKind::Float,
        PixelKind::Double,
    ]);
    if kind == PixelKind::Integer && input.byte().is_multiple_of(4) {
        object.text(0x0008, 0x9205, *b"CS", "COLOR ");
    }
    let photometric = input.one_of(&[
        "MONOCHROME1 ",
        "MONOCHROME2 ",
        "MONOCHROME2 ",
        "PALETTE COLOR ",
        "PALETTE COLOR ",
        "RGB ",
        "YBR_FULL",
        "YBR_FULL_422",
    ]);
    let num_samples = if photometric.starts_with('M') || photometric.starts_with('P') { 1 } else { 3 };
    object.us(0x0028, 0x0002, num_samples);
    object.text(0x0028, 0x0004, *b"CS", photometric);
    object.us(0x0028, 0x0006, input.word() & 1);
    let [rows, columns] = [(); 2].map(|()| u16::from(input.byte() % 33));
    object.us(0x0028, 0x0010, rows);
    object.us(0x0028, 0x0011, columns);
    let allocated = match kind {
        PixelKind::Integer => input.one_of(&[1, 8, 8, 16, 16, 16, 32, 24]),
        PixelKind::Float => 32,
        PixelKind::Double => 64,
    };
    object.us(0x0028, 0x0100, allocated);
    // One more than there are, too.
    let stored = u16::from(input.byte()) % (allocated + 2);
    object.us(0x0028, 0x0101, stored);
    object.us(0x0028, 0x0102, stored.wrapping_sub(1).wrapping_add(u16::from(input.byte() % 3)));
    object.us(0x0028, 0x0103, input.word() & 1);
    transformations(&mut object, input, shapes);
    let num_bits =
        usize::from(rows) * usize::from(columns) * usize::from(num_samples) * usize::from(allocated);
    let mut pixels: Vec<u8> = input.0.iter().copied().cycle().take(num_bits.div_ceil(8)).collect();
    pixels.resize(num_bits.div_ceil(16) * 2, 0);
    let (element, vr) = match kind {
        PixelKind::Integer => (0x0010, *b"OW"),
        PixelKind::Float => (0x0008, *b"OF"),
        PixelKind::Double => (0x0009, *b"OD"),
    };
    object.element(0x7FE0, element, vr, &pixels);
    object.0
}

/// All that turns stored values into others, each now and then, in the order of tags.
fn transformations(object: &mut Elements, input: &mut Input<'_>, shapes: bool) {
    let has = input.word();
    if has & 1 > 0 {
        object.us(0x0028, 0x0120, input.word());
        object.us(0x0028, 0x0121, input.word());
    }
    for (bit, element) in [(1, 0x1050), (1, 0x1051), (2, 0x1052), (3, 0x1053)] {
        if has >> bit & 1 > 0 {
            object.text(0x0028, element, *b"DS", &input.number());
        }
    }
    if has >> 4 & 1 > 0 {
        object.text(0x0028, 0x1056, *b"CS", input.one_of(&["LINEAR", "LINEAR_EXACT", "SIGMOID ", "ODD "]));
    }
    if has >> 5 & 1 > 0 {
        palette(object, input);
    }
    for (bit, sequence) in [(6, 0x3000), (7, 0x3010)] {
        if has >> bit & 3 == 3 {
            object.item(0x0028, sequence, &table(input));
        }
    }
    if shapes && has >> 10 & 1 > 0 {
        object.item(0x2050, 0x0010, &table(input));
    } else if has >> 11 & 1 > 0 {
        object.text(0x2050, 0x0020, *b"CS", input.one_of(&["IDENTITY", "INVERSE ", "ODD "]));
    }
}

/// Three lookup tables of colours, plain or in segments.
fn palette(object: &mut Elements, input: &mut Input<'_>) {
    let in_segments = input.byte().is_multiple_of(3);
    let tables = [(); 3].map(|()| descriptor(input));
    for (descriptor, element) in tables.iter().zip(0x1101..) {
        object.words(0x0028, element, *b"US", descriptor);
    }
    for (descriptor, element) in tables.iter().zip(if in_segments { 0x1221.. } else { 0x1201.. }) {
        let data = entries(input, *descriptor);
        object.element(0x0028, element, *b"OW", &data);
    }
}

/// The item of a lookup table.
fn table(input: &mut Input<'_>) -> Elements {
    let (mut item, descriptor) = (Elements(Vec::new()), descriptor(input));
    item.words(0x0028, 0x3002, *b"US", &descriptor);
    let data = entries(input, descriptor);
    item.element(0x0028, 0x3006, *b"OW", &data);
    item
}

/// Number of entries, the first value, bits of an entry.
fn descriptor(input: &mut Input<'_>) -> [u16; 3] {
    [input.byte().into(), input.word(), u16::from(input.byte() % 18)]
}

/// As many entries as there are to be, of one byte or two; seldom some more or fewer bytes.
fn entries(input: &mut Input<'_>, descriptor: [u16; 3]) -> Vec<u8> {
    let num_entries = if descriptor[0] == 0 { 1 << 16 } else { usize::from(descriptor[0]) };
    let bytes_per_entry = 1 + usize::from(input.byte() % 2);
    let more = if input.byte().is_multiple_of(8) { input.byte().into() } else { 0 };
    let mut data = input.bytes((num_entries * bytes_per_entry + more).min(300));
    data.resize((num_entries * bytes_per_entry + more).next_multiple_of(2), 7);
    data
}

/// Elements of a data set, one after another.
struct Elements(Vec<u8>);

impl Elements {
    fn element(&mut self, group: u16, element: u16, vr: [u8; 2], value: &[u8]) {
        self.0.extend([group, element].into_iter().flat_map(u16::to_le_bytes));
        self.0.extend(vr);
        if matches!(&vr, b"OW" | b"OF" | b"OD" | b"SQ") {
            self.0.extend([0; 2]);
            self.0.extend((value.len() as u32).to_le_bytes());
        } else {
            self.0.extend((value.len() as u16).to_le_bytes());
        }
        self.0.extend(value);
    }

    fn text(&mut self, group: u16, element: u16, vr: [u8; 2], text: &str) {
        let padding = if text.len() % 2 == 1 { " " } else { "" };
        self.element(group, element, vr, [text, padding].concat().as_bytes());
    }

    fn words(&mut self, group: u16, element: u16, vr: [u8; 2], words: &[u16]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.element(group, element, vr, &bytes);
    }

    fn us(&mut self, group: u16, element: u16, word: u16) {
        self.words(group, element, *b"US", &[word]);
    }

    fn item(&mut self, group: u16, element: u16, item: &Elements) {
        let len = (item.0.len() as u32).to_le_bytes();
        self.element(group, element, *b"SQ", &[&[0xFE, 0xFF, 0x00, 0xE0][..], &len, &item.0].concat());
    }
}
