//! What a display shows, formula by formula.

use super::{EXPLICIT, IMPLICIT, assert_near, frame, shown};
use crate::test_objects::Object;
use crate::{ErrorKind, Function, Picture, Samples, Values, Window, tag};

/// A grey image of 16 bits, with its values.
fn grey(values: &[u16], bits: u16, signed: bool) -> Object {
    Object::image(EXPLICIT, 1, values.len() as u16, (16, bits), signed).words(tag::PIXELS, *b"OW", values)
}

fn table(first: u16, bits: u16, entries: &[u16]) -> Object {
    Object::new(EXPLICIT).words(tag::LUT_DESCRIPTOR, *b"US", &[entries.len() as u16, first, bits]).words(
        tag::LUT_DATA,
        *b"US",
        entries,
    )
}

#[test]
fn a_frame_goes_all_the_way() {
    let object = Object::image(EXPLICIT, 2, 2, (16, 12), true)
        .text(tag::RESCALE_SLOPE, *b"DS", "2")
        .text(tag::RESCALE_INTERCEPT, *b"DS", "-1024")
        .text(tag::WINDOW_CENTER, *b"DS", "-1022\\5")
        .text(tag::WINDOW_WIDTH, *b"DS", "5\\7")
        .words(tag::PIXELS, *b"OW", &[0x0FFF, 0, 1, 0xF7FF]);
    let (spec, stored) = frame(&object.bytes(), 0).unwrap();
    assert_eq!(stored.values, Samples::I16(vec![-1, 0, 1, 2047]));
    assert_eq!(crate::modality(&spec, &stored).unwrap(), Values::I32(vec![-1026, -1024, -1022, 3070]));
    let shown: Picture<f64> = crate::display(&spec, &stored, None).unwrap();
    assert_eq!(shown.values, [0.0, 0.125, 0.625, 1.0]);
    assert_eq!(spec.window().map(|window| window.width), Some(5.0), "of several windows, the first");
}

/// The examples of PS3.3, C.11.2.1.2.1, with an output of 0 to 255.
#[test]
fn linear_windows_are_those_of_the_standard() {
    let shade =
        |center, width, value: f64| Window { center, width, function: Function::Linear }.shade(value) * 255.0;
    assert_near(&[shade(2048.0, 4096.0, 0.0), shade(2048.0, 4096.0, 4095.0)], &[0.0, 255.0]);
    assert_near(&[shade(2048.0, 4096.0, 1000.0)], &[((1000.0 - 2047.5) / 4095.0 + 0.5) * 255.0]);
    assert_near(&[shade(2048.0, 1.0, 2047.0), shade(2048.0, 1.0, 2048.0)], &[0.0, 255.0]);
    assert_near(&[shade(0.0, 100.0, -50.0), shade(0.0, 100.0, 49.1)], &[0.0, 255.0]);
    assert_near(&[shade(0.0, 100.0, 7.0)], &[((7.0 + 0.5) / 99.0 + 0.5) * 255.0]);
    assert_near(&[shade(0.0, 1.0, -1.0), shade(0.0, 1.0, 0.0)], &[0.0, 255.0]);
}

/// The examples of PS3.3, C.11.2.1.3.2, and the formula of C.11.2.1.3.1.
#[test]
fn other_windows_are_those_of_the_standard() {
    let exact = |center, width, value: f64| {
        Window { center, width, function: Function::LinearExact }.shade(value) * 255.0
    };
    assert_near(&[exact(2048.0, 4096.0, 0.0), exact(2048.0, 4096.0, 4096.1)], &[0.0, 255.0]);
    assert_near(&[exact(2048.0, 4096.0, 1000.0)], &[((1000.0 - 2048.0) / 4096.0 + 0.5) * 255.0]);
    assert_near(&[exact(2048.0, 1.0, 2047.5), exact(2048.0, 1.0, 2048.6)], &[0.0, 255.0]);
    assert_near(&[exact(0.0, 100.0, -50.0), exact(0.0, 100.0, 50.1)], &[0.0, 255.0]);
    let sigmoid = Window { center: 10.0, width: 4.0, function: Function::Sigmoid };
    assert_near(&[sigmoid.shade(10.0), sigmoid.shade(13.0)], &[0.5, 1.0 / (1.0 + (-3.0_f64).exp())]);
    assert_near(&[Window::between(-5.0, 15.0).shade(0.0)], &[0.25]);
}

#[test]
fn a_window_without_width_is_corrupt() {
    for (width, function) in
        [("0.5", "LINEAR"), ("0", "LINEAR_EXACT"), ("-3", "SIGMOID"), ("3", "OTHER"), ("x", "")]
    {
        let object = grey(&[1, 2], 8, false)
            .text(tag::WINDOW_CENTER, *b"DS", "1")
            .text(tag::WINDOW_WIDTH, *b"DS", width)
            .text(tag::VOI_FUNCTION, *b"CS", function);
        assert_eq!(shown(&object).unwrap_err().kind, ErrorKind::Corrupt, "{width} {function}");
        // Another window is still applied.
        let (spec, stored) = frame(&object.bytes(), 0).unwrap();
        assert!(crate::display::<f64>(&spec, &stored, Some(Window::between(0.0, 2.0))).is_ok());
    }
}

/// PS3.3, C.11.2.1.2.1: shades rise with the values of the modality, whatever the sign of the slope.
#[test]
fn a_negative_slope_turns_stored_values_around_but_not_the_window() {
    let object = grey(&[0, 1000, 3000], 12, false)
        .text(tag::RESCALE_SLOPE, *b"DS", "-1")
        .text(tag::RESCALE_INTERCEPT, *b"DS", "4000")
        .text(tag::WINDOW_CENTER, *b"DS", "2000")
        .text(tag::WINDOW_WIDTH, *b"DS", "4000")
        .text(tag::VOI_FUNCTION, *b"CS", "LINEAR_EXACT");
    assert_near(&shown(&object).unwrap(), &[1.0, 0.75, 0.25]);
}

/// PS3.3, C.7.6.3.1.2 and C.8.11.3.1.2: `MONOCHROME1` and a shape of INVERSE are one inversion; the shape comes first.
#[test]
fn shades_are_turned_around_once() {
    let one = |photometric: &str, shape: &str| {
        let object = grey(&[0, 51], 8, false).text(tag::PHOTOMETRIC, *b"CS", photometric).text(
            tag::PRESENTATION_LUT_SHAPE,
            *b"CS",
            shape,
        );
        shown(&object).unwrap()
    };
    for (photometric, shape) in [("MONOCHROME1", ""), ("MONOCHROME1", "INVERSE"), ("MONOCHROME2", "INVERSE")]
    {
        assert_near(&one(photometric, shape), &[1.0, 0.8]);
    }
    for (photometric, shape) in
        [("MONOCHROME2", ""), ("MONOCHROME1", "IDENTITY"), ("MONOCHROME2", "IDENTITY")]
    {
        assert_near(&one(photometric, shape), &[0.0, 0.2]);
    }
    let object = grey(&[0, 255], 8, false).items(tag::PRESENTATION_LUT, &[table(0, 10, &[1023, 100, 0])]);
    assert_near(&shown(&object).unwrap(), &[1.0, 0.0]);
}

/// PS3.3, C.11.1.1: values below the first have the first entry, those above the last the last; the table comes before
/// slope and intercept.
#[test]
fn a_modality_table_is_clamped() {
    let object = grey(&[0, 10, 11, 12, 500], 12, false)
        .items(tag::MODALITY_LUT, &[table(10, 12, &[7, 8, 4000])])
        .text(tag::RESCALE_SLOPE, *b"DS", "9")
        .text(tag::RESCALE_INTERCEPT, *b"DS", "9");
    let (spec, stored) = frame(&object.bytes(), 0).unwrap();
    assert_eq!(crate::modality(&spec, &stored).unwrap(), Values::I32(vec![7, 7, 8, 4000, 4000]));
    assert_eq!(spec.modality_range().unwrap(), (0.0, 4095.0));
    let signed = grey(&[0xFFFE, 0xFFFF, 0], 16, true).items(tag::MODALITY_LUT, &[table(0xFFFF, 12, &[7, 8])]);
    let (spec, stored) = frame(&signed.bytes(), 0).unwrap();
    assert_eq!(crate::modality(&spec, &stored).unwrap(), Values::I32(vec![7, 7, 8]), "the first value is -1");
}

/// PS3.3, C.11.2.1.1: a number of 0 entries is 65,536; entries of 8 bits may be packed, and are found by all of the value.
#[test]
fn tables_of_interest_have_any_size() {
    let mut long: Vec<u16> = vec![0; 1 << 16];
    long[40_000] = 65535;
    // The data are too long for a length of 16 bits: OW.
    let item = Object::new(EXPLICIT).words(tag::LUT_DESCRIPTOR, *b"US", &[0, 0, 16]).words(
        tag::LUT_DATA,
        *b"OW",
        &long,
    );
    let object = grey(&[39_999, 40_000], 16, false).items(tag::VOI_LUT, &[item]);
    assert_near(&shown(&object).unwrap(), &[0.0, 1.0]);
    let packed: Vec<u8> = (0..1001_u32).map(|index| if index == 1000 { 51 } else { 0 }).chain([0]).collect();
    let item = Object::new(EXPLICIT).words(tag::LUT_DESCRIPTOR, *b"US", &[1001, 0, 8]).element(
        tag::LUT_DATA,
        *b"OW",
        &packed,
    );
    let object = grey(&[1000, 999, 4000], 12, false).items(tag::VOI_LUT, &[item]);
    assert_near(&shown(&object).unwrap(), &[0.2, 0.0, 0.2]);
}

/// PS3.3, C.11.2.1.1: the first value mapped is signed where the modality yields values below 0, in each syntax alike.
#[test]
fn the_first_value_of_a_table_of_interest_may_be_negative() {
    for syntax in [EXPLICIT, IMPLICIT] {
        let item = Object::new(syntax).words(tag::LUT_DESCRIPTOR, *b"US", &[3, 0xFC00, 8]).words(
            tag::LUT_DATA,
            *b"US",
            &[0, 51, 255],
        );
        let object = Object::image(syntax, 1, 3, (16, 12), false)
            .text(tag::RESCALE_SLOPE, *b"DS", "1")
            .text(tag::RESCALE_INTERCEPT, *b"DS", "-1024")
            .items(tag::VOI_LUT, &[item])
            .words(tag::PIXELS, *b"OW", &[0, 1, 2]);
        assert_near(&shown(&object).unwrap(), &[0.0, 0.2, 1.0]);
    }
}

#[test]
fn tables_that_contradict_themselves_are_corrupt() {
    let short = Object::new(EXPLICIT).words(tag::LUT_DESCRIPTOR, *b"US", &[9, 0, 16]).words(
        tag::LUT_DATA,
        *b"US",
        &[1, 2],
    );
    let no_bits = Object::new(EXPLICIT).words(tag::LUT_DESCRIPTOR, *b"US", &[2, 0, 17]).words(
        tag::LUT_DATA,
        *b"US",
        &[1, 2],
    );
    let no_data = Object::new(EXPLICIT).words(tag::LUT_DESCRIPTOR, *b"US", &[2, 0, 16]);
    for item in [short, no_bits, no_data, Object::new(EXPLICIT)] {
        for sequence in [tag::MODALITY_LUT, tag::VOI_LUT, tag::PRESENTATION_LUT] {
            let object = grey(&[1, 2], 8, false).items(sequence, std::slice::from_ref(&item));
            assert_eq!(shown(&object).unwrap_err().kind, ErrorKind::Corrupt);
            assert!(frame(&object.bytes(), 0).is_ok(), "what is stored is sound");
        }
    }
}

/// PS3.3, C.7.6.16.2.9 and C.7.6.16.2.10: the frame's own group, then the shared one, then the top of the data set.
#[test]
fn functional_groups_come_before_the_top() {
    let transformation = |slope: &str| {
        let item = Object::new(EXPLICIT).text(tag::RESCALE_SLOPE, *b"DS", slope).text(
            tag::RESCALE_INTERCEPT,
            *b"DS",
            "0",
        );
        Object::new(EXPLICIT).items(tag::PIXEL_VALUE_TRANSFORMATION, &[item])
    };
    let spacing = Object::new(EXPLICIT).text(tag::PIXEL_SPACING, *b"DS", "0.5\\0.25");
    let own = [transformation("2").items(tag::PIXEL_MEASURES, &[spacing]), Object::new(EXPLICIT)];
    let top = grey(&[1, 1], 12, false)
        .us(tag::COLUMNS, 1)
        .text(tag::NUM_FRAMES, *b"IS", "2")
        .text(tag::PIXEL_SPACING, *b"DS", "9\\8")
        .text(tag::RESCALE_SLOPE, *b"DS", "5")
        .text(tag::RESCALE_INTERCEPT, *b"DS", "1")
        .items(tag::PER_FRAME_GROUPS, &own);
    let shared = top.clone().items(tag::SHARED_GROUPS, &[transformation("3")]);
    let value = |object: &Object, number| {
        let (spec, stored) = frame(&object.bytes(), number).unwrap();
        crate::modality(&spec, &stored).unwrap().to_f64()[0]
    };
    assert_near(&[value(&shared, 0), value(&shared, 1)], &[2.0, 3.0]);
    assert_near(&[value(&top, 0), value(&top, 1)], &[2.0, 6.0]);
    let instance = super::instance(&shared.bytes()).unwrap();
    let rows_mm = |frame| instance.pixel_spacing(frame).map(|spacing| spacing.rows_mm);
    assert_eq!([rows_mm(0), rows_mm(1)], [Some(0.5), Some(9.0)]);
}

fn palette(object: Object, first: u16, tables: [&[u16]; 3]) -> Object {
    let tags = [
        (tag::RED_DESCRIPTOR, tag::RED_DATA),
        (tag::GREEN_DESCRIPTOR, tag::GREEN_DATA),
        (tag::BLUE_DESCRIPTOR, tag::BLUE_DATA),
    ];
    tags.into_iter().zip(tables).fold(object, |object, ((descriptor, data), table)| {
        object.words(descriptor, *b"US", &[table.len() as u16, first, 16]).words(data, *b"OW", table)
    })
}

/// PS3.3, C.7.6.3.1.5 and C.7.6.19: values of a palette; of a supplemental one, those below it are shades.
#[test]
fn palettes_have_colours() {
    let tables: [&[u16]; 3] = [&[0, 13107], &[26214, 0], &[65535, 39321]];
    let object = palette(grey(&[4, 5, 6, 9], 8, false), 5, tables);
    let colours = shown(&object.clone().text(tag::PHOTOMETRIC, *b"CS", "PALETTE COLOR")).unwrap();
    assert_near(&colours, &[0.0, 0.4, 1.0, 0.0, 0.4, 1.0, 0.2, 0.0, 0.6, 0.2, 0.0, 0.6]);
    let shaded = object.text(tag::PIXEL_PRESENTATION, *b"CS", "COLOR");
    let grey = 4.0 / 255.0;
    assert_near(&shown(&shaded).unwrap()[..6], &[grey, grey, grey, 0.0, 0.4, 1.0]);
}

#[test]
fn entries_of_palettes_say_their_bits_where_the_descriptor_does_not() {
    let entries = |bits: u16, data: &[u8]| {
        let object = grey(&[0, 1], 8, false).text(tag::PHOTOMETRIC, *b"CS", "PALETTE COLOR");
        let tags = [
            (tag::RED_DESCRIPTOR, tag::RED_DATA),
            (tag::GREEN_DESCRIPTOR, tag::GREEN_DATA),
            (tag::BLUE_DESCRIPTOR, tag::BLUE_DATA),
        ];
        let object = tags.into_iter().fold(object, |object, (descriptor, table)| {
            object.words(descriptor, *b"US", &[2, 0, bits]).element(table, *b"OW", data)
        });
        let shown = shown(&object).unwrap();
        [shown[0], shown[3]]
    };
    for bits in [8, 16] {
        assert_near(&entries(bits, &[51, 255]), &[0.2, 1.0]);
        assert_near(&entries(bits, &[0x33, 0x33, 0xFF, 0xFF]), &[0.2, 1.0]);
    }
    assert_near(&entries(8, &[51, 0, 255, 0]), &[0.2, 1.0]);
    // An entry that has no room in its bits is full, not more.
    assert_near(&entries(4, &[3, 255]), &[0.2, 1.0]);
}

/// No shade is made of what lies between two values that are infinitely far from each other.
#[test]
fn a_range_beyond_numbers_is_corrupt() {
    let object = grey(&[0, 255], 8, false).text(tag::RESCALE_SLOPE, *b"DS", "1e308");
    assert_eq!(shown(&object).unwrap_err().kind, ErrorKind::Corrupt);
    let windowed = object.text(tag::WINDOW_CENTER, *b"DS", "0").text(tag::WINDOW_WIDTH, *b"DS", "9");
    assert_near(&shown(&windowed).unwrap(), &[0.5625, 1.0]);
    let floats: Vec<u8> = [-1.7e308_f64, 1.7e308].into_iter().flat_map(f64::to_le_bytes).collect();
    let object = Object::image(EXPLICIT, 1, 2, (64, 64), false).element(tag::DOUBLE_PIXELS, *b"OD", &floats);
    assert_eq!(shown(&object).unwrap_err().kind, ErrorKind::Corrupt);
}

/// Blank values are absent, and of several only the first is looked at.
#[test]
fn blank_numbers_are_absent() {
    let object = grey(&[0, 51], 8, false)
        .text(tag::WINDOW_CENTER, *b"DS", "  ")
        .text(tag::WINDOW_WIDTH, *b"DS", "9")
        .text(tag::RESCALE_SLOPE, *b"DS", " ");
    assert_near(&shown(&object).unwrap(), &[0.0, 0.2]);
    let object = object.text(tag::WINDOW_CENTER, *b"DS", "25.5\\").text(tag::WINDOW_WIDTH, *b"DS", "52\\x");
    assert_near(&shown(&object).unwrap(), &[0.5 - 25.0 / 51.0, 1.0]);
}

/// PS3.3, C.7.6.3.1.2: pure red is (76, 85, 255) in full-range YCbCr.
#[test]
fn luminance_and_differences_become_rgb() {
    let object = Object::image(EXPLICIT, 1, 2, (8, 8), false)
        .us(tag::SAMPLES_PER_PIXEL, 3)
        .text(tag::PHOTOMETRIC, *b"CS", "YBR_FULL_422")
        .element(tag::PIXELS, *b"OB", &[76, 150, 85, 255]);
    let (spec, stored) = frame(&object.bytes(), 0).unwrap();
    assert_eq!(
        stored.values,
        Samples::U8(vec![76, 85, 255, 150, 85, 255]),
        "both pixels have the differences"
    );
    let rgb: Picture<u8> = crate::display(&spec, &stored, None).unwrap();
    assert_eq!(rgb.values[..3], [254, 0, 0]);
    assert_eq!(rgb.samples_per_pixel, 3);
}

/// Nobody writes such frames, and header and bytes agree.
#[test]
fn single_bits_may_lie_in_pairs_of_pixels() {
    let object = Object::image(EXPLICIT, 1, 2, (1, 1), false)
        .us(tag::SAMPLES_PER_PIXEL, 3)
        .text(tag::PHOTOMETRIC, *b"CS", "YBR_FULL_422")
        .element(tag::PIXELS, *b"OB", &[0b1101, 0]);
    let (_, stored) = frame(&object.bytes(), 0).unwrap();
    assert_eq!(stored.values, Samples::U8(vec![1, 1, 1, 0, 1, 1]));
}

/// PS3.3, C.7.5.1.1.2: padding is found in stored values; a limit may lie on either side.
#[test]
fn padding_is_marked_before_any_transform() {
    let object = grey(&[0xF830, 0xF82F, 5, 0xF832], 16, true).words(tag::PADDING_VALUE, *b"SS", &[0xF830]);
    let mask = |object: &Object| {
        let (spec, stored) = frame(&object.bytes(), 0).unwrap();
        crate::padding(&spec, &stored)
    };
    assert_eq!(mask(&object), Some(vec![true, false, false, false]));
    for limit in [0xF832, 0xF82F] {
        let marked = mask(&object.clone().words(tag::PADDING_LIMIT, *b"SS", &[limit])).unwrap();
        assert_eq!(marked, [true, limit == 0xF82F, false, limit == 0xF832]);
    }
    assert_eq!(mask(&grey(&[1], 8, false)), None);
    let values = Values::I32(vec![-2000, 3, 9, -2000]);
    assert_eq!(values.range(Some(&[true, false, false, true])), Some((3.0, 9.0)));
    assert_eq!(values.range(None), Some((-2000.0, 9.0)));
}

#[test]
fn float_pixels_are_rendered_from_their_least_to_their_greatest() {
    let floats: Vec<u8> = [0.5_f32, -1.5, f32::NAN, 2.5].into_iter().flat_map(f32::to_le_bytes).collect();
    let object = Object::image(EXPLICIT, 1, 4, (32, 32), false).element(tag::FLOAT_PIXELS, *b"OF", &floats);
    let shades = shown(&object).unwrap();
    assert_near(&[shades[0], shades[1], shades[3]], &[0.5, 0.0, 1.0]);
    let (spec, stored) = frame(&object.bytes(), 0).unwrap();
    assert_eq!(crate::display::<u8>(&spec, &stored, None).unwrap().values[2], 0, "no number is black");
}
