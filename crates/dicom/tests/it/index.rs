//! What the script of the oracle writes.

use std::fs;
use std::path::{Path, PathBuf};

use tilefleet_testing::oracle::oracle;
use tilefleet_testing::skipped;

/// A file, and what is known of it.
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) path: PathBuf,
    /// What pydicom raises instead of giving values; `none` for objects without pixels.
    pub(crate) failure: Option<String>,
    pub(crate) oracle: String,
    /// Frames, rows, columns, samples.
    pub(crate) shape: Vec<usize>,
    integer: bool,
    pub(crate) tolerance: f64,
    pub(crate) kind: String,
    /// The least and the greatest display value of each frame.
    pub(crate) ranges: Vec<(f64, f64)>,
    pub(crate) inverted: bool,
    /// Why the standard is not what pydicom does.
    pub(crate) why: String,
    pub(crate) syntax: String,
    pub(crate) photometric: String,
    pub(crate) bits: String,
    number: usize,
    folder: PathBuf,
}

impl Entry {
    fn parse(number: usize, line: &str, folder: &Path) -> Self {
        let fields: Vec<&str> = line.split('\t').collect();
        let [
            name,
            group,
            path,
            status,
            oracle,
            shape,
            kind,
            tolerance,
            display,
            ranges,
            inverted,
            why,
            syntax,
            photometric,
            bits,
        ] = fields.try_into().expect("15 fields per line");
        let pair = |text: &str| {
            let (low, high) = text.split_once(',').expect("two numbers");
            (low.parse().unwrap(), high.parse().unwrap())
        };
        let ok = status == "ok";
        Self {
            name: name.to_owned(),
            group: group.to_owned(),
            path: path.into(),
            failure: (!ok).then(|| status.to_owned()),
            oracle: oracle.to_owned(),
            shape: if ok { shape.split(',').map(|side| side.parse().unwrap()).collect() } else { Vec::new() },
            integer: kind == "int",
            tolerance: tolerance.parse().unwrap_or(0.0),
            kind: display.to_owned(),
            ranges: if ok { ranges.split(';').map(pair).collect() } else { Vec::new() },
            inverted: inverted == "1",
            why: why.to_owned(),
            syntax: syntax.to_owned(),
            photometric: photometric.to_owned(),
            bits: bits.to_owned(),
            number,
            folder: folder.to_owned(),
        }
    }

    fn file(&self, extension: &str) -> Option<Vec<[u8; 8]>> {
        let bytes = fs::read(self.folder.join(format!("{}.{extension}", self.number))).ok()?;
        Some(bytes.as_chunks().0.to_vec())
    }

    pub(crate) fn stored(&self) -> Vec<f64> {
        let values = self.file("stored").expect("the stored values");
        let integer = |bytes: [u8; 8]| i64::from_le_bytes(bytes) as f64;
        values.into_iter().map(if self.integer { integer } else { f64::from_le_bytes }).collect()
    }

    pub(crate) fn modality(&self) -> Option<Vec<f64>> {
        Some(self.file("modality")?.into_iter().map(f64::from_le_bytes).collect())
    }

    pub(crate) fn display(&self) -> Option<Vec<f64>> {
        Some(self.file("display")?.into_iter().map(f64::from_le_bytes).collect())
    }
}

/// The script of the oracle.
pub(crate) const SCRIPT: &str = "dicom_oracle.py";

/// Returns all files and what the oracle says of them.
pub(crate) fn entries(folder: &Path) -> Option<Vec<Entry>> {
    let data = skipped::test_data()?.join("medical/dicom");
    oracle(SCRIPT, &[&"compare", &folder, &data])?;
    let index = fs::read_to_string(folder.join("index.tsv")).unwrap();
    Some(index.lines().enumerate().map(|(number, line)| Entry::parse(number, line, folder)).collect())
}
