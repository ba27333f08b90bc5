use std::io::Cursor;

use libjpeg_turbo_rs::{Encoder, PixelFormat, Subsampling};
use tilefleet_testing::Random;
use tilefleet_testing::counting::{Counting, peak_bytes};

use super::*;
use crate::vocabulary::chip::Samples;
use test_files::{HEIGHT, WIDTH, baseline, motion, picture, progressive, with_restarts};

#[path = "../../../crates/jpeg/src/test_files.rs"]
mod test_files;

/// Tests measure what decoding allocates.
#[global_allocator]
static COUNTING: Counting = Counting;

fn cmyk() -> Vec<u8> {
    let pixels: Vec<u8> = picture().into_iter().take(24 * 24 * 4).collect();
    Encoder::new(&pixels, 24, 24, PixelFormat::Cmyk).quality(90).encode().unwrap()
}

fn png_file() -> Vec<u8> {
    png_of_frames(1)
}

fn png_of_frames(num_frames: u32) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = ::png::Encoder::new(&mut file, WIDTH, HEIGHT);
    encoder.set_color(::png::ColorType::Rgb);
    if num_frames > 1 {
        encoder.set_animated(num_frames, 0).unwrap();
    }
    let mut writer = encoder.write_header().unwrap();
    for shift in 0..num_frames {
        let frame: Vec<u8> = picture().into_iter().map(|sample| sample.wrapping_add(shift as u8)).collect();
        writer.write_image_data(&frame).unwrap();
    }
    writer.finish().unwrap();
    file
}

fn webp_chunk(kind: &[u8], body: &[u8]) -> Vec<u8> {
    let padding: &[u8] = if body.len() % 2 == 1 { &[0] } else { &[] };
    [kind, &(body.len() as u32).to_le_bytes(), body, padding].concat()
}

/// An animation of two frames as large as the canvas, the second of which is nonsense.
fn animated_webp_file() -> Vec<u8> {
    let image = &webp_file()[12..];
    let sides = [WIDTH - 1, HEIGHT - 1].map(u32::to_le_bytes);
    let place = [&[0; 6], &sides[0][..3], &sides[1][..3], &[40, 0, 0, 0]].concat();
    let frame = |image: &[u8]| webp_chunk(b"ANMF", &[&place[..], image].concat());
    let chunks = [
        webp_chunk(b"VP8X", &[&[2, 0, 0, 0], &sides[0][..3], &sides[1][..3]].concat()),
        webp_chunk(b"ANIM", &[0; 6]),
        frame(image),
        frame(&webp_chunk(b"VP8L", &[0x2F; 20])),
    ]
    .concat();
    [b"RIFF", &(chunks.len() as u32 + 4).to_le_bytes()[..], b"WEBP", &chunks].concat()
}

fn webp_file() -> Vec<u8> {
    let mut file = Vec::new();
    let encoder = image_webp::WebPEncoder::new(&mut file);
    encoder.encode(&picture(), WIDTH, HEIGHT, image_webp::ColorType::Rgb8).unwrap();
    file
}

fn tiff_file() -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    let mut encoder = ::tiff::encoder::TiffEncoder::new(&mut file)
        .unwrap()
        .with_compression(::tiff::encoder::Compression::Lzw);
    encoder.write_image::<::tiff::encoder::colortype::RGB8>(WIDTH, HEIGHT, &picture()).unwrap();
    file.into_inner()
}

fn files() -> [(&'static str, Vec<u8>); 10] {
    [
        ("motion JPEG", motion()),
        ("CMYK JPEG", cmyk()),
        ("baseline JPEG", baseline()),
        ("JPEG with restart markers", with_restarts()),
        ("progressive JPEG", progressive()),
        ("PNG", png_file()),
        ("animated PNG", png_of_frames(2)),
        ("WebP", webp_file()),
        ("animated WebP", animated_webp_file()),
        ("TIFF", tiff_file()),
    ]
}

fn decoded(bytes: &[u8]) -> Result<Chip, Rejection> {
    decode_tile(bytes, &DecodeLimits::default()).map(|(_, chip)| chip)
}

fn reason(bytes: &[u8]) -> Reason {
    decoded(bytes).expect_err("a damaged file is rejected").reason
}

#[test]
fn lossless_formats_give_back_what_was_written() {
    for (name, file) in files().into_iter().skip(5) {
        assert_eq!(decoded(&file).unwrap().samples, Samples::U8(picture()), "{name}");
    }
}

/// At 64 places and at every one of the last 16: rejected, or whole with the right pixels.
#[test]
fn a_cut_file_is_never_taken_for_a_whole_one() {
    for (name, file) in files() {
        let whole = decoded(&file).unwrap();
        let places = (0..64).map(|step| step * file.len() / 64).chain(file.len() - 16..file.len());
        for len in places {
            match decoded(&file[..len]) {
                Ok(chip) => assert_eq!(chip, whole, "{name} cut at {len} of {}", file.len()),
                Err(rejection) => {
                    let expected = if len == 0 { Reason::Empty } else { Reason::Truncated };
                    let early = len < 12 && rejection.reason == Reason::NotAnImage;
                    assert!(rejection.reason == expected || early, "{name} cut at {len}: {rejection}");
                }
            }
        }
    }
}

#[test]
fn every_flipped_bit_of_png_data_is_found() {
    let file = png_file();
    let start = file.windows(4).position(|kind| kind == b"IDAT").unwrap() + 4;
    for at in (start..file.len() - 16).step_by(37) {
        let mut damaged = file.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(decoded(&damaged).is_err(), "bit flipped at {at}");
    }
}

/// Damage is not a crash. WebP and TIFF have no checksums, so most of it stays legal there; in PNG and
/// JPEG most of it is found.
#[test]
fn damaged_files_are_rejected_without_a_crash() {
    let mut random = Random(7);
    for (name, file) in files() {
        let (mut rejected, mut crashed) = (0, Vec::new());
        for _ in 0..700 {
            let mut damaged = file.clone();
            for _ in 0..=random.below(4) {
                let at = random.below(damaged.len());
                damaged[at] = random.below(256) as u8;
            }
            if let Err(rejection) = decoded(&damaged) {
                rejected += 1;
                if rejection.reason == Reason::DecoderCrash {
                    crashed.push(rejection.detail);
                }
            }
        }
        assert!(crashed.is_empty(), "{name}: {crashed:?}");
        let expected = if name.contains("WebP") || name.contains("TIFF") { 35 } else { 350 };
        assert!(rejected > expected, "{name}: only {rejected} of 700 rejected");
    }
}

#[test]
fn a_pixel_bomb_is_rejected_by_its_header() {
    let mut png = png_file();
    png[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
    assert_eq!(reason(&png), Reason::TooLarge, "65536×65536 cannot come from so few bytes");
    let mut jpeg = baseline();
    let frame = jpeg.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    jpeg[frame + 5..frame + 9].fill(0xFF);
    assert_eq!(reason(&jpeg), Reason::TooLarge);
}

#[test]
fn limits_are_checked_before_decoding() {
    let limits = DecodeLimits { max_pixels: u64::from(WIDTH * HEIGHT), ..DecodeLimits::default() };
    assert!(decode_tile(&png_file(), &limits).is_ok());
    let limits = DecodeLimits { max_pixels: limits.max_pixels - 1, ..limits };
    assert_eq!(decode_tile(&png_file(), &limits).unwrap_err().reason, Reason::TooLarge);
    let limits =
        DecodeLimits { max_decoded_bytes: u64::from(WIDTH * HEIGHT * 3) - 1, ..DecodeLimits::default() };
    assert_eq!(decode_tile(&png_file(), &limits).unwrap_err().reason, Reason::TooLarge);
}

/// The colours are compared with Pillow's by `pixels_are_those_of_pillow`.
#[test]
fn cmyk_becomes_rgb() {
    for (stored, seen) in
        [([255; 4], [255; 3]), ([255, 255, 255, 0], [0; 3]), ([0, 255, 255, 255], [0, 255, 255])]
    {
        let file =
            Encoder::new(&stored.repeat(16 * 16), 16, 16, PixelFormat::Cmyk).quality(100).encode().unwrap();
        let chip = decoded(&file).unwrap();
        assert_eq!((chip.bands, chip.samples), (Bands::Rgb, Samples::U8(seen.repeat(16 * 16))), "{stored:?}");
    }
}

/// What is broken in later frames says nothing of the first.
#[test]
fn the_first_frame_of_an_animation_counts() {
    let whole = png_of_frames(3);
    let second = whole.windows(4).position(|kind| kind == b"fdAT").unwrap();
    for at in (second - 30..whole.len() - 20).step_by(101) {
        let mut broken = whole.clone();
        broken[at] ^= 0x5A;
        match decoded(&broken) {
            Ok(chip) => assert_eq!(chip.samples, Samples::U8(picture()), "broken at {at}"),
            // The length of a chunk, or its kind.
            Err(rejection) => assert_eq!(rejection.reason, Reason::Truncated, "broken at {at}: {rejection}"),
        }
    }
    for file in [whole, animated_webp_file()] {
        let header = parse_header(&file).unwrap();
        assert!(header.num_pages > 1);
        assert_eq!(decoded(&file).unwrap().samples, Samples::U8(picture()));
    }
}

/// A few bytes of a lossless image announce 65,536 groups of codes.
#[test]
fn a_webp_of_very_many_codes_is_rejected_before_it_is_decoded() {
    let mut file = webp_file();
    let data = file.windows(4).position(|kind| kind == b"VP8L").unwrap() + 8 + 5;
    // No transform, no cache, an entropy image of blocks of 4×4, all of them of the group 65,535. Bits from the lowest.
    let simple = |symbol: u32| (0b101 | symbol << 3, 11);
    let parts =
        [(0, 1), (0, 1), (1, 1), (0, 3), (0, 1), simple(255), simple(255), simple(0), simple(0), simple(0)];
    let mut at = 8 * data;
    for (value, count) in parts {
        for shift in 0..count {
            file[at / 8] = file[at / 8] & !(1 << (at % 8)) | ((value >> shift & 1) as u8) << (at % 8);
            at += 1;
        }
    }
    let rejection = decoded(&file).unwrap_err();
    assert_eq!(rejection.reason, Reason::TooLarge, "{rejection}");
    assert!(rejection.detail.contains("65536"), "{rejection}");
    let header = parse_header(&file).unwrap();
    assert!(working_bytes(&header, &file) > 4096 * (20 << 10), "what the codes take is reserved");
}

/// A picture large enough that tables and rows do not count.
fn large(size: [u32; 2], num_bands: usize) -> Vec<u8> {
    let mut random = Random(9);
    let num_samples = size[0] as usize * size[1] as usize * num_bands;
    (0..num_samples).map(|at| (at / 97 % 200) as u8 + random.below(30) as u8).collect()
}

/// Files of every kind, of 900×700 pixels.
fn large_files() -> Vec<(&'static str, Vec<u8>)> {
    let (size @ [width, height], rgb, rgba) = ([900, 700], large([900, 700], 3), large([900, 700], 4));
    let jpeg = |pixels, format| Encoder::new(pixels, width as usize, height as usize, format).quality(90);
    let colour = |sampling| jpeg(&rgb, PixelFormat::Rgb).subsampling(sampling);
    let png = |samples: &[u8], colour, depth| {
        let mut file = Vec::new();
        let mut encoder = ::png::Encoder::new(&mut file, width, height);
        encoder.set_color(colour);
        encoder.set_depth(depth);
        encoder.write_header().unwrap().write_image_data(samples).unwrap();
        file
    };
    let webp = |samples: &[u8], colour| {
        let mut file = Vec::new();
        image_webp::WebPEncoder::new(&mut file).encode(samples, width, height, colour).unwrap();
        file
    };
    vec![
        ("baseline 4:2:0", colour(Subsampling::S420).encode().unwrap()),
        ("baseline 4:4:4", colour(Subsampling::S444).encode().unwrap()),
        ("baseline 4:1:1", colour(Subsampling::S411).encode().unwrap()),
        ("grey", jpeg(&rgb, PixelFormat::Grayscale).encode().unwrap()),
        ("CMYK", jpeg(&rgba, PixelFormat::Cmyk).encode().unwrap()),
        ("progressive 4:2:0", colour(Subsampling::S420).progressive(true).encode().unwrap()),
        ("progressive 4:4:4", colour(Subsampling::S444).progressive(true).encode().unwrap()),
        ("progressive 4:4:0", colour(Subsampling::S440).progressive(true).encode().unwrap()),
        ("PNG of 8 bits", png(&rgb, ::png::ColorType::Rgb, ::png::BitDepth::Eight)),
        ("PNG of 16 bits", png(&large(size, 8), ::png::ColorType::Rgba, ::png::BitDepth::Sixteen)),
        ("WebP RGB", webp(&rgb, image_webp::ColorType::Rgb8)),
        ("WebP RGBA", webp(&rgba, image_webp::ColorType::Rgba8)),
    ]
}

/// What is reserved before an image is decoded is what decoding takes, give or take its half.
#[test]
fn decoders_take_the_memory_that_is_foretold() {
    let mut wrong = Vec::new();
    for (name, file) in large_files() {
        for code in [1, 6] {
            let header = ImageHeader { orientation: Orientation::new(code), ..parse_header(&file).unwrap() };
            let window = Window::whole(header.oriented_size());
            // On a thread of its own, whose buffers are empty.
            let peak = std::thread::scope(|scope| {
                let work = || decode(&header, &file, &DecodeLimits::default(), window).unwrap();
                scope.spawn(move || peak_bytes(work)).join().unwrap()
            });
            let foretold = working_bytes(&header, &file);
            if peak > foretold || 2 * peak < foretold {
                wrong.push(format!("{name}, orientation {code}: {peak} of {foretold} bytes"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
