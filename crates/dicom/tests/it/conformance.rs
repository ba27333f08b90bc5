//! Stored, modality and display values of all frames, compared with pydicom; a table of them for the documents.

use std::collections::BTreeMap;
use std::fs;

use tilefleet_dicom::{Error, ErrorKind, FrameSpec, Limits, Picture, Stored, display, modality};
use tilefleet_testing::files::Scratch;

use crate::body::Ranges;
use crate::index::{Entry, entries};
use crate::table;

/// What tests allow a frame to take.
pub(crate) const LIMITS: Limits = Limits { max_pixels: 1 << 24, max_decoded_bytes: 1 << 27 };
/// Display values are shares between black and white; both sides round differently.
const ROUNDING: f64 = 1e-9;

/// What became of a file.
pub(crate) enum Outcome {
    /// The largest difference of stored values.
    Read(f64),
    Failed(ErrorKind),
}

/// Files that pydicom does not read either, and what they are here.
const PYDICOM_FAILS: &[(&str, ErrorKind)] = &[
    ("JPEG2000-embedded-sequence-delimiter.dcm", ErrorKind::Corrupt),
    ("MR_truncated.dcm", ErrorKind::Truncated),
    ("badVR.dcm", ErrorKind::Corrupt),
    ("meta_missing_tsyntax.dcm", ErrorKind::Corrupt),
    ("nested_priv_SQ.dcm", ErrorKind::Corrupt),
    // It has no pixels, and ends within a sequence.
    ("rtplan_truncated.dcm", ErrorKind::Truncated),
];

/// All frames, in ranges.
fn read(bytes: &[u8]) -> Result<Vec<(FrameSpec, Stored)>, Error> {
    let mut ranges = Ranges::new(bytes);
    let instance = ranges.parse()?;
    let frames: Vec<u32> = (0..instance.image()?.num_frames).collect();
    ranges.frames(&instance, &frames, &LIMITS)
}

/// Every value of every frame of every file is the oracle's, and what is not read is listed.
#[test]
fn values_are_those_of_pydicom_or_the_standard() {
    let folder = Scratch::new("dicom-compared");
    let Some(entries) = entries(folder.path()) else { return };
    let mut faults = Vec::new();
    let mut found = Vec::new();
    let mut wg04 = BTreeMap::new();
    for entry in entries {
        let frames =
            fs::read(&entry.path).map_err(|error| error.to_string()).map(|bytes| read(&bytes)).unwrap();
        let outcome = compare(&entry, &frames);
        if let Ok(frames) = frames
            && entry.group == "WG04"
        {
            wg04.insert(entry.name.clone(), frames);
        }
        match outcome {
            Ok(outcome) => found.push((entry, outcome)),
            Err(fault) => faults.push(format!("{}/{}: {fault}", entry.group, entry.name)),
        }
    }
    faults.extend(unequal_to_reference(&wg04));
    assert!(
        faults.is_empty(),
        "{} of {} files:\n{}",
        faults.len(),
        found.len() + faults.len(),
        faults.join("\n")
    );
    table::check(&found);
}

fn compare(entry: &Entry, frames: &Result<Vec<(FrameSpec, Stored)>, Error>) -> Result<Outcome, String> {
    let frames = match (&entry.failure, frames) {
        (None, Ok(frames)) => frames,
        (None, Err(error)) => return Err(format!("{:?}: {error}", error.kind)),
        (Some(failure), frames) => return compare_failure(entry, failure, frames),
    };
    let shape = [
        frames.len(),
        frames[0].1.rows as usize,
        frames[0].1.columns as usize,
        frames[0].1.samples_per_pixel.into(),
    ];
    if shape.as_slice() != entry.shape {
        return Err(format!("{shape:?}, and {:?} are expected", entry.shape));
    }
    let stored: Vec<f64> = frames.iter().flat_map(|(_, stored)| stored.values.to_f64()).collect();
    let expected = entry.stored();
    let away = largest(&stored, &expected);
    if away > entry.tolerance {
        return Err(format!("stored values are up to {away} away"));
    }
    if away == 0.0 {
        let expected = entry.modality().unwrap_or(expected);
        compare_modality(frames, &expected)?;
        compare_display(entry, frames, &entry.display().unwrap_or(expected))?;
    }
    Ok(Outcome::Read(away))
}

fn largest(own: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(own.len(), expected.len());
    own.iter().zip(expected).map(|(own, expected)| (own - expected).abs()).fold(0.0, f64::max)
}

fn compare_failure(
    entry: &Entry,
    failure: &str,
    frames: &Result<Vec<(FrameSpec, Stored)>, Error>,
) -> Result<Outcome, String> {
    let kind = frames.as_ref().err().map(|error| error.kind);
    let no_image = matches!(kind, Some(ErrorKind::NotAnImage | ErrorKind::NotDicom));
    let contradicts = entry.name.ends_with("-other-rows") || entry.name.ends_with("-one-sample-of-three");
    let listed = PYDICOM_FAILS.iter().find(|(name, _)| *name == entry.name).map(|(_, kind)| *kind);
    let listed = listed.or(contradicts.then_some(ErrorKind::Corrupt));
    match (failure, kind) {
        ("none", Some(kind)) if no_image => Ok(Outcome::Failed(kind)),
        (_, Some(kind)) if listed == Some(kind) => Ok(Outcome::Failed(kind)),
        _ => Err(format!("pydicom: {failure}; here: {:?}", frames.as_ref().map(Vec::len))),
    }
}

fn compare_modality(frames: &[(FrameSpec, Stored)], expected: &[f64]) -> Result<(), String> {
    let values = |(spec, stored): &(FrameSpec, Stored)| modality(spec, stored).map(|values| values.to_f64());
    let values: Vec<Vec<f64>> =
        frames.iter().map(values).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    let away = largest(&values.concat(), expected);
    if away == 0.0 { Ok(()) } else { Err(format!("modality values are up to {away} away")) }
}

fn compare_display(entry: &Entry, frames: &[(FrameSpec, Stored)], expected: &[f64]) -> Result<(), String> {
    let per_frame = expected.len() / frames.len();
    for (((spec, stored), expected), &(low, high)) in
        frames.iter().zip(expected.chunks(per_frame)).zip(&entry.ranges)
    {
        let shown: Picture<f64> = display(spec, stored, None).map_err(|error| error.to_string())?;
        let share = |value: &f64| if high > low { (value - low) / (high - low) } else { 0.0 };
        let inverted = entry.inverted && shown.samples_per_pixel == 1;
        let expected: Vec<f64> =
            expected.iter().map(share).map(|share| if inverted { 1.0 - share } else { share }).collect();
        if expected.len() != shown.values.len() {
            return Err(format!(
                "{} display values, and {} are expected",
                shown.values.len(),
                expected.len()
            ));
        }
        let away = largest(&shown.values, &expected);
        if away.is_nan() || away > ROUNDING {
            return Err(format!("display values ({}) are up to {away} away", entry.kind));
        }
        compare_types(spec, stored, &shown)?;
    }
    Ok(())
}

/// Floats of 32 bits and bytes are those of 64 bits, rounded.
fn compare_types(spec: &FrameSpec, stored: &Stored, shown: &Picture<f64>) -> Result<(), String> {
    let floats: Picture<f32> = display(spec, stored, None).map_err(|error| error.to_string())?;
    let bytes: Picture<u8> = display(spec, stored, None).map_err(|error| error.to_string())?;
    let equal =
        shown.values.iter().zip(&floats.values).zip(&bytes.values).all(|((&double, &float), &byte)| {
            (f64::from(float) - double).abs() < 1e-6 && (f64::from(byte) - 255.0 * double).abs() <= 0.5 + 1e-4
        });
    if equal { Ok(()) } else { Err("floats, bytes and doubles disagree".to_owned()) }
}

/// The lossless syntaxes of NEMA's compression set are bit-equal to its uncompressed files.
fn unequal_to_reference(files: &BTreeMap<String, Vec<(FrameSpec, Stored)>>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut num_compared = 0;
    for (name, frames) in files {
        let (syntax, file) = name.split_once('/').unwrap();
        if !matches!(syntax, "J2KR" | "JLSL" | "JPLL" | "RLE") {
            continue;
        }
        let reference = &files[&format!("REF/{}_UNC", file.split_once('_').unwrap().0)];
        num_compared += 1;
        let equal = frames
            .iter()
            .zip(reference)
            .all(|(own, reference)| own.1.values.to_f64() == reference.1.values.to_f64());
        if !equal {
            faults.push(format!("{name}: not equal to REF"));
        }
    }
    assert!(files.is_empty() || num_compared == 30, "{num_compared} compressed files of NEMA");
    faults
}
