use super::*;

fn image<T>(size: (u32, u32), samples: Vec<T>) -> Image<T> {
    Image {
        size: Size::new(size.0, size.1),
        bands: vec![Band { description: "a < b & \"c\"".into(), scale: None }],
        samples,
        nodata: None,
        reduce: Reduce::Mean,
        colours: Colours::Values,
        place: None,
        notes: Vec::new(),
    }
}

#[test]
fn a_palette_is_for_one_band_of_8_bits() {
    let palette = || Colours::Palette(vec![[0, 0, 0], [255, 0, 0]]);
    let one = Image { colours: palette(), ..image((2, 1), vec![0_u8, 1]) };
    assert!(encode(&one).is_ok());
    let bands = vec![Band::default(); 2];
    assert!(encode(&Image { bands, samples: vec![0; 4], ..one }).is_err());
    assert!(encode(&Image { colours: palette(), ..image((2, 1), vec![0_u16, 1]) }).is_err());
    assert!(encode(&Image { colours: palette(), ..image((2, 1), vec![0.0_f32, 1.0]) }).is_err());
}

#[test]
fn an_image_of_the_wrong_length_is_refused() {
    assert!(encode(&image((3, 3), vec![0_u8; 8])).is_err());
    assert!(encode(&image((0, 3), Vec::<u8>::new())).is_err());
}

#[test]
fn overviews_leave_out_what_has_no_data() {
    let mean = |four: &[f32]| one(four, Reduce::Mean, f32::NAN);
    assert!(mean(&[f32::NAN; 4]).is_nan());
    assert!((mean(&[1.0, f32::NAN, 2.0, f32::NAN]) - 1.5).abs() < f32::EPSILON);
    assert_eq!(one(&[255, 255, 255, 7_u8], Reduce::Mode, 255), 7);
    assert_eq!(one(&[4, 9, 9, 4_u8], Reduce::Mode, 255), 4);
    assert_eq!(one(&[1, 2, 2, 2_u8], Reduce::Mean, 255), 2);
}

fn one<T: Sample>(four: &[T], reduce: Reduce, nodata: T) -> T {
    sample::halve(four, Size::new(2, 2), 1, reduce, Some(nodata))[0]
}

#[test]
fn odd_edges_are_reduced_too() {
    let halved = sample::halve(&[1_u16, 3, 10, 5, 7, 20], Size::new(3, 2), 1, Reduce::Mean, None);
    assert_eq!(halved, [4, 15]);
}
