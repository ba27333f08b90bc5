use super::*;
use crate::vocabulary::chip::Bands;
use crate::vocabulary::contract::{Accept, Normalise};

fn input(width: u32, height: u32) -> Input {
    Input {
        tensor: "input".to_owned(),
        layout: Layout::Nhwc,
        sample_type: SampleType::Uint8,
        bands: ["red", "green", "blue"].map(str::to_owned).to_vec(),
        unit: "srgb8".to_owned(),
        units: None,
        width,
        height,
        resize: None,
        normalise: None,
        accept: Accept::default(),
    }
}

fn resize(short_side: u32, keep_exact: bool) -> Resize {
    Resize { short_side, interpolation: Interpolation::Bicubic, keep_exact }
}

fn chip(width: u32, height: u32, bands: Bands) -> Chip {
    let len = width * height * u32::try_from(bands.count()).unwrap();
    let samples = Samples::U8((0..len).map(|at| (at * 37 % 251) as u8).collect());
    Chip { size: Size::new(width, height), bands, samples }
}

fn bytes(input: &Input, chip: &Chip) -> Result<Vec<u8>, Rejection> {
    let preprocess = Preprocess::new(input).unwrap();
    let mut slot = vec![7; preprocess.slot_len()];
    preprocess.apply(chip, InputSlotMut::U8(&mut slot)).map(|()| slot)
}

fn floats(input: &Input, chip: &Chip) -> Result<Vec<f32>, Rejection> {
    let preprocess = Preprocess::new(input).unwrap();
    let mut slot = vec![7.0; preprocess.slot_len()];
    preprocess.apply(chip, InputSlotMut::F32(&mut slot)).map(|()| slot)
}

#[test]
fn a_tile_of_the_right_size_is_used_as_it_is() {
    let chip = chip(5, 4, Bands::Rgb);
    assert_eq!(Samples::U8(bytes(&input(5, 4), &chip).unwrap()), chip.samples);
    let kept = Input { resize: Some(resize(9, true)), ..input(5, 4) };
    assert_eq!(Samples::U8(bytes(&kept, &chip).unwrap()), chip.samples);
    let resized = Input { resize: Some(resize(9, false)), ..input(5, 4) };
    assert_ne!(Samples::U8(bytes(&resized, &chip).unwrap()), chip.samples);
}

#[test]
fn another_size_without_resize_is_a_mismatch() {
    let rejection = bytes(&input(5, 4), &chip(4, 5, Bands::Rgb)).unwrap_err();
    assert_eq!(rejection.reason, Reason::SizeMismatch);
}

#[test]
fn planes_hold_the_same_samples_as_pixels() {
    let pixels = Input { resize: Some(resize(9, false)), ..input(8, 6) };
    let planes = Input { layout: Layout::Nchw, ..pixels.clone() };
    let chip = chip(17, 12, Bands::Rgba);
    let (pixels, planes) = (bytes(&pixels, &chip).unwrap(), bytes(&planes, &chip).unwrap());
    for (at, &sample) in pixels.iter().enumerate() {
        assert_eq!(planes[at % 3 * 48 + at / 3], sample);
    }
}

#[test]
fn dropped_alpha_and_replicated_grey_do_not_change_the_colours() {
    let (rgb, rgba) = (chip(9, 7, Bands::Rgb), chip(9, 7, Bands::Rgba));
    let contract = Input { resize: Some(resize(12, false)), ..input(11, 10) };
    let Samples::U8(colours) = &rgb.samples else { unreachable!() };
    let with_alpha = colours.chunks_exact(3).flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 9]).collect();
    let with_alpha = Chip { samples: Samples::U8(with_alpha), ..rgba };
    assert_eq!(bytes(&contract, &with_alpha), bytes(&contract, &rgb));
    let grey = bytes(&contract, &chip(9, 7, Bands::Grey)).unwrap();
    assert!(grey.chunks_exact(3).all(|pixel| pixel[0] == pixel[1] && pixel[1] == pixel[2]));
}

#[test]
fn sixteen_bits_become_eight_only_where_they_may() {
    let samples = Samples::U16(vec![0, 128, 129, 257, 65_406, 65_535]);
    let chip = Chip { size: Size::new(2, 1), bands: Bands::Rgb, samples };
    assert_eq!(bytes(&input(2, 1), &chip).unwrap_err().reason, Reason::BitDepthMismatch);
    let mut scaling = input(2, 1);
    scaling.accept.sixteen_bit = AcceptSixteenBit::Scale;
    assert_eq!(bytes(&scaling, &chip).unwrap(), [0, 0, 1, 1, 254, 255]);
}

#[test]
fn float_samples_are_no_display_values() {
    let samples = Samples::F32(vec![0.5; 3]);
    let chip = Chip { size: Size::new(1, 1), bands: Bands::Rgb, samples };
    assert_eq!(bytes(&input(1, 1), &chip).unwrap_err().reason, Reason::BitDepthMismatch);
    let numbers = Input { unit: "reflectance".to_owned(), sample_type: SampleType::Float32, ..input(1, 1) };
    assert_eq!(floats(&numbers, &chip).unwrap(), [0.5; 3]);
}

#[test]
fn sixteen_bit_samples_are_normalised_in_double_precision() {
    let normalise =
        Normalise { scale: 1e-4.into(), clamp: None, mean: vec![0.1, 0.2, 0.3], std: vec![0.5, 0.25, 2.0] };
    let numbers = Input {
        unit: "reflectance".to_owned(),
        sample_type: SampleType::Float32,
        normalise: Some(normalise),
        ..input(1, 1)
    };
    let samples = Samples::U16(vec![10_000, 20_000, 3]);
    let chip = Chip { size: Size::new(1, 1), bands: Bands::Rgb, samples };
    assert_eq!(floats(&numbers, &chip).unwrap(), [1.8, 7.2, -0.149_85]);
}

#[test]
fn an_image_smaller_than_the_crop_lies_in_black() {
    let contract = Input { resize: Some(resize(2, false)), ..input(4, 3) };
    let slot = bytes(&contract, &chip(2, 2, Bands::Rgb)).unwrap();
    let black = [0; 3];
    let pixels: Vec<bool> = slot.chunks_exact(3).map(|pixel| pixel == black).collect();
    // The first sample is 0, but its pixel is not black.
    let (b, i) = (true, false);
    assert_eq!(pixels, [b, i, i, b, b, i, i, b, b, b, b, b]);
    let normalise =
        Normalise { scale: 1.0.into(), clamp: None, mean: vec![1.0, 2.0, 3.0], std: vec![1.0; 3] };
    for layout in [Layout::Nhwc, Layout::Nchw] {
        let normalised = Input {
            layout,
            sample_type: SampleType::Float32,
            normalise: Some(normalise.clone()),
            ..contract.clone()
        };
        let slot = floats(&normalised, &chip(2, 2, Bands::Rgb)).unwrap();
        let step = if layout == Layout::Nhwc { 1 } else { 12 };
        let corner = [slot[0], slot[step], slot[2 * step]];
        assert_eq!(corner.map(f32::to_bits), [-1.0_f32, -2.0, -3.0].map(f32::to_bits));
    }
}

#[test]
fn extreme_ratios_cost_only_what_is_kept() {
    let contract = Input { resize: Some(resize(256, false)), ..input(224, 224) };
    for (width, height) in [(1, 60_000), (60_000, 1), (1, 1), (2, 9)] {
        assert!(bytes(&contract, &chip(width, height, Bands::Rgb)).is_ok());
    }
}

#[test]
fn contradictions_in_a_contract_are_errors() {
    let normalise =
        Some(Normalise { scale: 1.0.into(), clamp: None, mean: vec![0.0; 3], std: vec![1.0, 0.0, 1.0] });
    let zero_std = Input { sample_type: SampleType::Float32, normalise: normalise.clone(), ..input(1, 1) };
    let bytes = Input { normalise, ..input(1, 1) };
    let no_bands = Input { bands: Vec::new(), ..input(1, 1) };
    for contract in [zero_std, bytes, no_bands, input(0, 1)] {
        assert_eq!(Preprocess::new(&contract).unwrap_err().kind().exit_code(), 78);
    }
}
