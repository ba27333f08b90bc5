//! Damaged and hostile streams: errors, never a panic, and no more memory than allowed.

use tilefleet_jpeg2000::{Error, ErrorKind, Limits, Options, decode};
use tilefleet_testing::Random;
use tilefleet_testing::counting::peak_bytes;

use crate::body;
use crate::cases::{self, OPTIONS};
use crate::golden::{STREAMS, stream};

/// How many mutations of each stream are tried.
const MUTATIONS: usize = 60;
/// Beside what is counted: lists of tiles and components, as long as the format allows.
const SLACK_BYTES: u64 = 16 << 20;

fn kind(result: Result<impl Sized, Error>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind)
}

/// Prefixes of a stream are errors; only the marker EOC may be missing.
#[test]
fn cut_streams_are_errors() {
    for name in ["plain 16", "tiles", "tile parts R", "HT many blocks", "PPM", "PPT", "all styles"] {
        let whole = stream(name);
        let image = decode(&whole, &OPTIONS).unwrap();
        assert_eq!(decode(&whole[..whole.len() - 2], &OPTIONS).as_ref(), Ok(&image), "{name} without EOC");
        let mut padded = whole[..whole.len() - 2].to_vec();
        padded.push(0);
        assert_eq!(decode(&padded, &OPTIONS).as_ref(), Ok(&image), "{name}, padded");
        let step = (whole.len() / 300).max(1);
        for len in (0..whole.len() - 2).step_by(step) {
            let error = decode(&whole[..len], &OPTIONS).expect_err(name);
            assert!(
                matches!(error.kind, ErrorKind::Truncated | ErrorKind::Corrupt),
                "{name}, {len}: {error}"
            );
        }
    }
}

/// A stream that was cut to fewer packets, its lengths mended, is an error only where it has to be complete.
#[test]
fn absent_packets_may_be_allowed() {
    let lenient = Options { strict: false, ..OPTIONS };
    let mut cut = stream("LRCP");
    let start = cut.windows(2).position(|pair| pair == [0xFF, 0x90]).unwrap();
    cut.truncate(cut.len() * 2 / 3);
    // The tile-part is as long as what follows.
    cut[start + 6..start + 10].fill(0);
    let ends = (start + 14..cut.len()).rev();
    let end = ends.into_iter().find(|&len| decode(&cut[..len], &lenient).is_ok());
    let cut = &cut[..end.expect("the end of some packet")];
    assert_eq!(kind(decode(cut, &OPTIONS)), Some(ErrorKind::Truncated));
}

/// Mutated streams neither crash nor take more memory than allowed, and what is decoded of them is whole.
#[test]
fn mutated_streams_are_harmless() {
    let mut random = Random(7);
    for case in cases::read(STREAMS) {
        for turn in 0..MUTATIONS {
            let mutated = mutate(case.stream, turn, &mut random);
            let peak = peak_bytes(|| body::jpeg2000(&mutated));
            let limit = body::LIMITS.max_decoded_bytes + SLACK_BYTES;
            assert!(peak <= limit, "{}, {turn}: {peak} bytes", case.name);
        }
    }
}

/// Changes up to three bytes; every other time within the headers, where most is at stake.
fn mutate(stream: &[u8], turn: usize, random: &mut Random) -> Vec<u8> {
    let mut mutated = stream.to_vec();
    let reach = if turn.is_multiple_of(2) { mutated.len().min(160) } else { mutated.len() };
    for _ in 0..=random.below(3) {
        let at = random.below(reach);
        mutated[at] = if random.below(3) == 0 { mutated[at] ^ (1 << random.below(8)) } else { random.byte() };
    }
    mutated
}

/// Sizes are refused before anything is allocated for them.
#[test]
fn limits_hold_before_allocation() {
    let mut huge = stream("plain 16");
    // Xsiz and Ysiz, and the size of tiles.
    for at in [8, 12, 24, 28] {
        huge[at..at + 4].copy_from_slice(&0x7FFF_FFFF_u32.to_be_bytes());
    }
    let mut result = None;
    let peak = peak_bytes(|| result = kind(decode(&huge, &OPTIONS)));
    assert_eq!(result, Some(ErrorKind::TooLarge));
    assert!(peak < 1 << 20, "{peak} bytes");
    let limits = Limits { max_pixels: 1 << 26, max_decoded_bytes: 1 << 12 };
    assert_eq!(kind(decode(&stream("plain 16"), &Options { limits, ..OPTIONS })), Some(ErrorKind::TooLarge));
}

/// Damage in a code-block is noticed where it has segmentation symbols.
#[test]
fn damage_shows_in_segmentation_symbols() {
    let mut damaged = stream("symbols");
    let at = damaged.len() - damaged.len() / 3;
    damaged[at] ^= 0x55;
    assert_eq!(kind(decode(&damaged, &OPTIONS)), Some(ErrorKind::Corrupt));
}
