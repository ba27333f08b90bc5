//! Pixels are Pillow's: decoding and resampling held against Pillow itself, run live.
//!
//! `scripts/oracles/pil_oracle.py` generates images, takes the JPEG and PNG files of the test data
//! with them, and writes what Pillow makes of them; these tests do the same and compare every sample.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;

use tilefleet::formats::image::{DecodeLimits, parse_header};
use tilefleet::stages::decode::{decode, decode_tile};
use tilefleet::stages::preprocess::{InputSlotMut, Preprocess};
use tilefleet::vocabulary::chip::{Chip, Samples};
use tilefleet::vocabulary::contract::{Accept, Input, Interpolation, Layout, Normalise, Resize, SampleType};

use crate::support;

/// Float results may be so far from the double-precision reference, relative to the largest sample.
const FLOAT_TOLERANCE: f64 = 3e-7;
/// Lossy WebP is decoded by another implementation than Pillow's libwebp.
const LOSSY_WEBP_TOLERANCE: f64 = 0.0;

/// One line of the oracle's manifest.
struct Reference {
    path: PathBuf,
    step: String,
    resize: Option<Resize>,
    crop: [u32; 2],
    dtype: String,
    shape: [usize; 3],
    offset: u64,
}

impl Reference {
    fn parse(line: &str) -> Self {
        let fields: Vec<&str> = line.split('\t').collect();
        let number = |at: usize| fields[at].parse::<usize>().expect("the manifest has numbers");
        let interpolation = match fields[2] {
            "bilinear" => Some(Interpolation::Bilinear),
            "bicubic" => Some(Interpolation::Bicubic),
            _ => None,
        };
        let short_side = u32::try_from(number(3)).unwrap();
        Self {
            path: fields[0].into(),
            step: fields[1].to_owned(),
            resize: interpolation.map(|interpolation| Resize {
                short_side,
                interpolation,
                keep_exact: false,
            }),
            crop: [number(4), number(5)].map(|side| u32::try_from(side).unwrap()),
            dtype: fields[6].to_owned(),
            shape: [number(7), number(8), number(9)],
            offset: number(10) as u64,
        }
    }

    fn samples(&self, arrays: &mut File) -> Vec<f64> {
        let width = match self.dtype.as_str() {
            "uint8" | "int8" => 1,
            "uint16" | "int16" => 2,
            "float32" | "uint32" => 4,
            "float64" => 8,
            other => panic!("the oracle writes no {other}"),
        };
        let mut raw = vec![0; self.shape.iter().product::<usize>() * width];
        arrays.seek(SeekFrom::Start(self.offset)).unwrap();
        arrays.read_exact(&mut raw).unwrap();
        raw.chunks_exact(width)
            .map(|raw| match self.dtype.as_str() {
                "uint8" => f64::from(raw[0]),
                "int8" => f64::from(raw[0].cast_signed()),
                "uint16" => f64::from(u16::from_le_bytes(raw.try_into().unwrap())),
                "int16" => f64::from(i16::from_le_bytes(raw.try_into().unwrap())),
                "uint32" => f64::from(u32::from_le_bytes(raw.try_into().unwrap())),
                "float32" => f64::from(f32::from_le_bytes(raw.try_into().unwrap())),
                _ => f64::from_le_bytes(raw.try_into().unwrap()),
            })
            .collect()
    }

    /// Tells what this reference is counted under.
    fn group(&self) -> String {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let suffix = match self.path.extension().and_then(|suffix| suffix.to_str()) {
            Some("jpeg") => "jpg",
            Some("webp") if name.contains("lossy") => "lossy webp",
            suffix => suffix.unwrap_or_default(),
        };
        format!("{} of {suffix}", self.step)
    }
}

/// How many arrays of a group were compared, and how far they are apart.
#[derive(Default)]
struct Tally {
    compared: usize,
    equal: usize,
    largest: f64,
    worst: PathBuf,
}

impl Tally {
    fn add(&mut self, path: &Path, found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len(), "{}", path.display());
        let difference = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        self.compared += 1;
        self.equal += usize::from(difference == 0.0);
        if difference > self.largest {
            self.largest = difference;
            path.clone_into(&mut self.worst);
        }
    }
}

/// Runs the oracle; `None` where there is no Python or no test data.
fn oracle() -> Option<(PathBuf, Vec<Reference>)> {
    let python = support::python()?;
    let data = support::test_data()?;
    let folder = tempfile::tempdir().expect("a folder for the references").keep();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/oracles/pil_oracle.py");
    let status = Command::new(python).arg(script).arg(&folder).arg(data).status().expect("Python starts");
    assert!(status.success(), "the oracle failed");
    let manifest = fs::read_to_string(folder.join("manifest.tsv")).unwrap();
    let references = manifest.lines().map(Reference::parse).collect();
    Some((folder, references))
}

fn input(reference: &Reference, num_bands: usize) -> Input {
    let float = reference.step != "resize";
    let display = reference.step != "float";
    let bands: Vec<String> = match num_bands {
        1 => vec!["grey".to_owned()],
        3 => ["red", "green", "blue"].map(str::to_owned).to_vec(),
        4 => ["red", "green", "blue", "alpha"].map(str::to_owned).to_vec(),
        count => (0..count).map(|band| format!("band{band}")).collect(),
    };
    Input {
        tensor: "input".to_owned(),
        layout: Layout::Nhwc,
        sample_type: if float { SampleType::Float32 } else { SampleType::Uint8 },
        bands,
        unit: if display { "srgb8" } else { "dn" }.to_owned(),
        units: None,
        width: reference.crop[0],
        height: reference.crop[1],
        resize: reference.resize,
        normalise: (reference.step == "normalise").then(|| Normalise {
            scale: (1.0 / 255.0).into(),
            clamp: None,
            mean: vec![0.485, 0.456, 0.406],
            std: vec![0.229, 0.224, 0.225],
        }),
        accept: Accept::default(),
    }
}

/// Decodes what the crop needs, as the pipeline does, and preprocesses it.
fn preprocessed(reference: &Reference, bytes: &[u8]) -> Vec<f64> {
    let input = input(reference, reference.shape[2]);
    let preprocess = Preprocess::new(&input).expect("the contract is consistent");
    let header = parse_header(bytes).expect("decoded before");
    let needed = preprocess.needed(header.oriented_size());
    let chip = &decode(&header, bytes, &DecodeLimits::default(), needed).expect("decoded before");
    if input.sample_type == SampleType::Uint8 {
        let mut slot = vec![0; preprocess.slot_len()];
        preprocess.apply(chip, InputSlotMut::U8(&mut slot)).expect("the contract takes the chip");
        slot.into_iter().map(f64::from).collect()
    } else {
        let mut slot = vec![0.0; preprocess.slot_len()];
        preprocess.apply(chip, InputSlotMut::F32(&mut slot)).expect("the contract takes the chip");
        slot.into_iter().map(f64::from).collect()
    }
}

fn samples(chip: &Chip) -> Vec<f64> {
    match &chip.samples {
        Samples::U8(samples) => samples.iter().map(|&sample| f64::from(sample)).collect(),
        Samples::I8(samples) => samples.iter().map(|&sample| f64::from(sample)).collect(),
        Samples::U16(samples) => samples.iter().map(|&sample| f64::from(sample)).collect(),
        Samples::I16(samples) => samples.iter().map(|&sample| f64::from(sample)).collect(),
        Samples::U32(samples) => samples.iter().map(|&sample| f64::from(sample)).collect(),
        Samples::F32(samples) => samples.iter().map(|&sample| f64::from(sample)).collect(),
        other => panic!("no image of the oracle has {}", other.type_name()),
    }
}

/// Every image of the test data and every generated one, decoded, resized and normalised, is equal to
/// Pillow's bit for bit; 16-bit and float samples are within [`FLOAT_TOLERANCE`] of double precision.
#[test]
fn pixels_are_those_of_pillow() {
    let Some((folder, references)) = oracle() else { return };
    let mut arrays = File::open(folder.join("arrays.bin")).unwrap();
    let mut tallies: HashMap<String, Tally> = HashMap::new();
    let mut read: Option<(PathBuf, Vec<u8>, Chip)> = None;
    for reference in &references {
        if read.as_ref().is_none_or(|(path, ..)| *path != reference.path) {
            let bytes = fs::read(&reference.path).unwrap();
            let decoded = decode_tile(&bytes, &DecodeLimits::default());
            let (_, decoded) =
                decoded.unwrap_or_else(|error| panic!("{}: {error}", reference.path.display()));
            read = Some((reference.path.clone(), bytes, decoded));
        }
        let (path, bytes, chip) = read.as_ref().expect("read above");
        let expected = reference.samples(&mut arrays);
        let mut found = match reference.step.as_str() {
            "decode" => {
                let shape = [chip.size.height as usize, chip.size.width as usize, chip.bands.count()];
                assert_eq!(shape, reference.shape, "{}", path.display());
                samples(chip)
            }
            _ => preprocessed(reference, bytes),
        };
        if reference.step == "float" {
            let largest = expected.iter().fold(0.0, |max: f64, value| max.max(value.abs()));
            for (found, expected) in found.iter_mut().zip(&expected) {
                // Within the tolerance counts as equal.
                if (*found - expected).abs() <= FLOAT_TOLERANCE * largest {
                    *found = *expected;
                }
            }
        }
        tallies.entry(reference.group()).or_default().add(path, &found, &expected);
    }
    fs::remove_dir_all(&folder).unwrap();
    report(&tallies);
    for (group, least) in MIN_COMPARED {
        let compared = tallies.get(group).map_or(0, |tally| tally.compared);
        assert!(compared >= least, "{group}: {compared} comparisons, not {least}");
    }
}

/// Sequential scans of any grouping, no Huffman tables, chroma finer than luma, CMYK: half of such a file is never
/// filled with grey, though an end marker may follow.
#[test]
fn a_cut_jpeg_of_a_rare_kind_is_rejected() {
    let Some(python) = support::python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/oracles/jpeg_writer.py");
    support::stdout_of(Command::new(python).arg(script).arg(folder.path()).arg("37"));
    let mut num_cuts = 0;
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let file = fs::read(&path).unwrap();
        decode_tile(&file, &DecodeLimits::default())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let scan = file.windows(2).rposition(|pair| pair == [0xFF, 0xDA]).unwrap() + 14;
        for len in (scan..file.len() - 3).step_by(7) {
            for cut in [file[..len].to_vec(), [&file[..len], &[0xFF, 0xD9]].concat()] {
                let decoded = decode_tile(&cut, &DecodeLimits::default());
                assert!(decoded.is_err(), "{} cut at {len} of {}", path.display(), file.len());
                num_cuts += 1;
            }
        }
    }
    assert!(num_cuts > 5000, "{num_cuts} cuts");
}

/// How many comparisons of each group there are at least, so that none is empty unseen.
const MIN_COMPARED: [(&str, usize); 15] = [
    ("decode of jpg", 1834),
    ("decode of lossy webp", 26),
    ("decode of png", 486),
    ("decode of tif", 279),
    ("decode of webp", 70),
    ("float of png", 132),
    ("float of tif", 378),
    ("normalise of jpg", 2664),
    ("normalise of png", 846),
    ("normalise of tif", 284),
    ("normalise of webp", 124),
    ("resize of jpg", 7912),
    ("resize of png", 2188),
    ("resize of tif", 808),
    ("resize of webp", 248),
];

fn report(tallies: &HashMap<String, Tally>) {
    let mut groups: Vec<_> = tallies.iter().collect();
    groups.sort_by_key(|(group, _)| *group);
    for (group, tally) in &groups {
        let Tally { compared, equal, largest, worst } = tally;
        println!("{group}: {equal} of {compared} equal, largest difference {largest} {}", worst.display());
    }
    for (group, tally) in groups {
        let tolerance = if group.contains("lossy webp") { LOSSY_WEBP_TOLERANCE } else { 0.0 };
        assert!(tally.largest <= tolerance, "{group}: {} apart in {}", tally.largest, tally.worst.display());
    }
}
