//! `GeoTIFF`: every window of every real file holds the samples that GDAL reads, or is rejected.
//!
//! The files are read as a run reads them, a range at a time. `scripts/golden/scenes_golden.py` wrote what
//! GDAL reads. `docs/reference/conformance.md` is written by this test: `TILEFLEET_WRITE_DOCS=1` rewrites it.

use std::collections::{BTreeMap, HashMap};
use std::env;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tilefleet::formats::partial::{Parsed, Partial};
use tilefleet::formats::raster::{BlockId, BlockLayout, Codec, GridId, Part, RasterFile};
use tilefleet::formats::tiff::{TiffHeader, parse_partial};
use tilefleet::stages::decode::blocks::{Block, WindowSamples, decode_block, read_window};
use tilefleet::vocabulary::chip::Samples;
use tilefleet::vocabulary::geometry::Window;
use tilefleet::vocabulary::reason::Rejection;
use tilefleet_testing::Random;

use crate::mutated::torment;
use crate::support;

/// A scene in a local file, read by ranges.
pub struct Scene {
    file: File,
    object: Partial,
    pub header: TiffHeader,
}

impl Scene {
    /// Reads the header of a file.
    pub fn open(path: &Path) -> Result<Self, Rejection> {
        let file = File::open(path).unwrap();
        let mut object = Partial::new(file.metadata().unwrap().len() as usize);
        let header = complete(&file, &mut object, parse_partial)?;
        Ok(Self { file, object, header })
    }

    /// Reads a window with all its bands, and nothing but the blocks that it needs.
    pub fn window(&mut self, level: usize, window: Window) -> Result<WindowSamples, Rejection> {
        let bands: Vec<u16> = (0..self.header.pixels(0, level).num_bands).collect();
        let (pixels, masks) = self.header.blocks_for(0, level, window, &bands);
        let mut blocks = HashMap::new();
        self.decode(level, Part::Pixels, &pixels, &mut blocks)?;
        if self.header.mask(0, level).is_some() {
            self.decode(level, Part::Mask, &masks, &mut blocks)?;
        }
        read_window(&self.header, 0, level, window, &bands, |part, id| Ok(&blocks[&(part, id)]))
    }

    fn decode(
        &mut self,
        level: usize,
        part: Part,
        ids: &[BlockId],
        blocks: &mut HashMap<(Part, BlockId), Block>,
    ) -> Result<(), Rejection> {
        let (header, place) = (&self.header, GridId { frame: 0, level, part });
        let table = complete(&self.file, &mut self.object, |object| header.locate(object, place, ids))?;
        for &id in ids {
            let stored = table.range(id)?.map(|range| {
                let mut bytes = vec![0; (range.end - range.start) as usize];
                self.file.read_exact_at(&mut bytes, range.start).unwrap();
                bytes
            });
            let grid = header.grid(place).unwrap();
            blocks.insert((part, id), decode_block(&grid.spec(id), stored.as_deref())?);
        }
        Ok(())
    }
}

/// Brings the ranges that a parser asks for until it has an answer.
fn complete<T>(
    file: &File,
    object: &mut Partial,
    parse: impl Fn(&Partial) -> Parsed<T>,
) -> Result<T, Rejection> {
    loop {
        match parse(object) {
            Parsed::Done(answer) => return answer,
            Parsed::Needs(range) => {
                let mut bytes = vec![0; range.len()];
                file.read_exact_at(&mut bytes, range.start as u64).unwrap();
                object.add(range.start, &bytes);
            }
        }
    }
}

/// What GDAL says of one file.
#[derive(Deserialize)]
struct Golden {
    error: Option<String>,
    #[serde(default)]
    bands: Vec<(String, f64, f64)>,
    nodata: Option<String>,
    converted_from: Option<String>,
    #[serde(default)]
    levels: Vec<GoldenLevel>,
}

#[derive(Deserialize)]
struct GoldenLevel {
    dtype: String,
    shape: [u32; 3],
    windows: Vec<Vec<Value>>,
}

/// Returns the first digits of the SHA-256 of bytes, as in the golden values.
pub fn digest(bytes: &[u8]) -> String {
    hex::encode(&Sha256::digest(bytes)[..8])
}

fn little_endian(samples: &Samples) -> &[u8] {
    const { assert!(cfg!(target_endian = "little"), "the digests are of little-endian samples") };
    samples.bytes()
}

/// Converts CMYK to RGBA as libtiff does for GDAL (`tif_getimage.c`, `putRGBcontig8bitCMYKtile`).
fn rgba_of_cmyk(cmyk: &[u8]) -> Vec<u8> {
    let pixel = |cmyk: &[u8; 4]| {
        let [cyan, magenta, yellow, black] = cmyk.map(u16::from);
        let ink = |ink: u16| ((255 - black) * (255 - ink) / 255) as u8;
        [ink(cyan), ink(magenta), ink(yellow), 255]
    };
    cmyk.as_chunks().0.iter().flat_map(pixel).collect()
}

/// How one file compares.
#[derive(Default)]
struct Row {
    layout: String,
    num_levels: usize,
    windows: usize,
    equal: usize,
    /// JPEG windows that are libjpeg-turbo's.
    turbo: usize,
    /// How far IJG's are from those.
    apart: u64,
    rejected: BTreeMap<String, usize>,
    different: Vec<String>,
    /// Whether GDAL converts to RGBA what we leave as it is.
    converted: bool,
}

impl Row {
    fn compare(path: &Path, golden: &Golden) -> Self {
        let mut row = Self::default();
        let mut scene = match Scene::open(path) {
            Ok(scene) => scene,
            Err(rejection) => {
                row.windows = golden.levels.iter().map(|level| level.windows.len()).sum();
                row.rejected.insert(rejection.to_string(), row.windows.max(1));
                return row;
            }
        };
        row.layout = layout(&scene.header);
        row.num_levels = scene.header.levels.len();
        row.converted = golden.converted_from.is_some();
        row.compare_header(&scene.header, golden);
        for (number, level) in golden.levels.iter().enumerate().take(row.num_levels) {
            row.compare_level(&mut scene, number, level);
        }
        row
    }

    fn compare_header(&mut self, header: &TiffHeader, golden: &Golden) {
        if let Some(error) = &golden.error {
            self.different.push(format!("GDAL refuses it: {error}"));
        }
        if header.levels.len() != golden.levels.len() {
            self.different.push(format!("{} levels, not {}", header.levels.len(), golden.levels.len()));
        }
        let nodata = golden.nodata.as_ref().map(|text| text.parse::<f64>().unwrap());
        let ours = header.nodata.map(|nodata| nodata.value);
        if ours.map(f64::to_bits) != nodata.map(f64::to_bits)
            && !(ours.is_some_and(f64::is_nan) && nodata.is_some_and(f64::is_nan))
        {
            self.different.push(format!("nodata {ours:?}, not {nodata:?}"));
        }
        let bands: Vec<_> = header
            .bands
            .iter()
            .map(|band| (band.colour.clone(), band.values.scale, band.values.offset))
            .collect();
        if golden.converted_from.is_none() && bands != golden.bands {
            self.different.push(format!("bands {bands:?}, not {:?}", golden.bands));
        }
    }

    fn compare_level(&mut self, scene: &mut Scene, number: usize, level: &GoldenLevel) {
        let page = scene.header.pixels(0, number).clone();
        let shape = [page.size.height, page.size.width, page.num_bands.into()];
        if shape != level.shape || (page.stored.kind.name() != level.dtype && !self.converted) {
            self.different.push(format!("level {number}: {} {shape:?}", page.stored.kind));
            return;
        }
        for told in &level.windows {
            let number_at = |at: usize| u32::try_from(told[at].as_u64().unwrap()).unwrap();
            let window =
                Window { x: number_at(0), y: number_at(1), width: number_at(2), height: number_at(3) };
            self.windows += 1;
            let read = match scene.window(number, window) {
                Ok(read) => read,
                Err(rejection) => {
                    *self.rejected.entry(rejection.to_string()).or_default() += 1;
                    continue;
                }
            };
            let mut samples = little_endian(&read.samples).to_vec();
            if self.converted {
                samples = rgba_of_cmyk(&samples);
            }
            let valid = read.valid.unwrap_or_else(|| vec![255; read.size.num_pixels() as usize]);
            let ours = [digest(&samples), digest(&valid)];
            self.judge(&format!("level {number}, {window}"), &ours, &told[4..]);
        }
    }
}

impl Row {
    fn remarks(&self) -> String {
        let mut remarks: Vec<String> = Vec::new();
        if self.converted {
            remarks.push("once converted to RGBA as GDAL does".to_owned());
        }
        if self.turbo > 0 {
            let Self { turbo, apart, .. } = self;
            remarks.push(format!("{turbo} as libjpeg-turbo, up to {apart} from libjpeg 9"));
        }
        remarks.extend(self.rejected.iter().map(|(what, count)| format!("{count} rejected, {what}")));
        remarks.join("; ")
    }

    /// Compares digests of samples and mask with GDAL's, and with those of libjpeg-turbo.
    fn judge(&mut self, what: &str, ours: &[String; 2], theirs: &[Value]) {
        let is = |value: &Value, ours: &String| value.as_str() == Some(ours);
        let [samples, mask] = ours;
        match theirs {
            [gdal, valid, ..] if is(gdal, samples) && is(valid, mask) => self.equal += 1,
            [_, valid, turbo, apart] if is(turbo, samples) && is(valid, mask) => {
                self.turbo += 1;
                self.apart = self.apart.max(apart.as_u64().unwrap());
            }
            [error] if error == "error" => self.different.push(format!("{what}: GDAL cannot read it")),
            _ => self.different.push(format!("{what}: {ours:?}, not {theirs:?}")),
        }
    }
}

fn layout(header: &TiffHeader) -> String {
    let page = header.pixels(0, 0);
    let mut text = match page.layout {
        BlockLayout::Tiles => format!("tiles {}", page.block),
        BlockLayout::Strips => format!("strips of {}", page.block.height),
    };
    if page.separate {
        text.push_str(", separate bands");
    }
    if header.big_tiff {
        text.push_str(", BigTIFF");
    }
    if header.big_endian {
        text.push_str(", big-endian");
    }
    let num_masks = header.levels.iter().filter(|level| level.mask.is_some()).count();
    match num_masks {
        0 => {}
        1 => text.push_str(", a mask"),
        _ => write!(text, ", {num_masks} masks").unwrap(),
    }
    let predictor = page.stored.predictor.code();
    let codec = match page.stored.codec {
        Codec::None => "none".to_owned(),
        codec if predictor > 1 => format!("{codec}, predictor {predictor}"),
        codec => codec.to_string(),
    };
    let bits = match page.stored.stored_bits {
        bits if u64::from(bits) == 8 * page.stored.kind.num_bytes() => String::new(),
        1 => " (1 bit)".to_owned(),
        bits => format!(" ({bits} bits)"),
    };
    format!("{} × {}{bits} | {text} | {codec}", page.num_bands, page.stored.kind)
}

fn golden() -> BTreeMap<String, Golden> {
    parsed(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/scenes.json"))
}

/// One window of a file, and the digests that its samples may have: GDAL's, or libjpeg-turbo's.
pub struct GoldenWindow {
    pub level: usize,
    pub window: [u32; 4],
    pub digests: Vec<String>,
}

/// Returns the windows of one file of the test data.
pub fn golden_windows(name: &str) -> Vec<GoldenWindow> {
    let all = golden();
    let levels = all[name].levels.iter().enumerate();
    let windows = levels.flat_map(|(level, told)| told.windows.iter().map(move |window| (level, window)));
    let window = |(level, told): (usize, &Vec<Value>)| GoldenWindow {
        level,
        window: [0, 1, 2, 3].map(|at| u32::try_from(told[at].as_u64().unwrap()).unwrap()),
        digests: [4, 6].iter().filter_map(|&at| Some(told.get(at)?.as_str()?.to_owned())).collect(),
    };
    windows.map(window).collect()
}

fn parsed(path: &Path) -> BTreeMap<String, Golden> {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Every layout, type and codec that GDAL writes; mutated, they are read or rejected without a crash.
#[test]
fn generated_scenes_hold_the_samples_of_gdal() {
    let Some(python) = support::python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/oracles/scenes_oracle.py");
    support::stdout_of(Command::new(python).arg(script).arg(folder.path()));
    let golden = parsed(&folder.path().join("golden.json"));
    let mut different = Vec::new();
    let mut random = Random(3);
    for (name, golden) in &golden {
        let row = Row::compare(&folder.path().join(name), golden);
        different.extend(row.different.iter().map(|what| format!("{name}: {what}")));
        different.extend(row.rejected.keys().map(|what| format!("{name}: {what}")));
        torment(&fs::read(folder.path().join(name)).unwrap(), 12, &mut random);
    }
    assert!(different.is_empty(), "{} differences:\n{}", different.len(), different.join("\n"));
    assert!(golden.len() > 1000, "{} files", golden.len());
}

/// Every file of the test data, every level, every window; and what the documentation says of it.
#[test]
fn real_scenes_hold_the_samples_of_gdal() {
    let Some(data) = support::test_data() else { return };
    let folder: PathBuf = data.join("satellite");
    let golden = golden();
    let rows: Vec<(&String, Row)> =
        golden.iter().map(|(name, golden)| (name, Row::compare(&folder.join(name), golden))).collect();
    let found = num_files(&folder);
    assert_eq!(rows.len(), found, "make tests/golden/scenes.json anew, there are {found} files");
    let different: Vec<String> = rows
        .iter()
        .flat_map(|(name, row)| row.different.iter().map(move |what| format!("{name}: {what}")))
        .collect();
    assert!(different.is_empty(), "{} differences:\n{}", different.len(), different.join("\n"));
    keep_table(&table(&rows));
}

fn num_files(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| match path.extension().map(OsStr::to_ascii_lowercase) {
            _ if path.is_dir() => num_files(&path),
            Some(extension) if extension == "tif" || extension == "tiff" => 1,
            _ => 0,
        })
        .sum()
}

fn table(rows: &[(&String, Row)]) -> String {
    let sum = |of: fn(&Row) -> usize| rows.iter().map(|(_, row)| of(row)).sum::<usize>();
    let rejected = sum(|row| row.rejected.values().sum());
    let mut text = format!(
        "{} files, {} windows: {} equal to GDAL, {} equal to libjpeg-turbo, {rejected} rejected, 0 different.\n\n",
        rows.len(),
        sum(|row| row.windows),
        sum(|row| row.equal),
        sum(|row| row.turbo),
    );
    text.push_str(
        "| file | bands | layout | compression | levels | equal | remarks |\n|---|---|---|---|---|---|---|\n",
    );
    for (name, row) in rows {
        let name = name.strip_prefix("geotiff/").unwrap_or(name);
        let layout = if row.layout.is_empty() { " | | " } else { &row.layout };
        let (levels, equal, windows) = (row.num_levels, row.equal + row.turbo, row.windows);
        let remarks = row.remarks();
        writeln!(text, "| {name} | {layout} | {levels} | {equal} of {windows} | {remarks} |").unwrap();
    }
    text.trim_end().to_owned()
}

/// Compares the table with the one in the documentation, or puts it there.
fn keep_table(table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/conformance.md");
    let documented = fs::read_to_string(&path).unwrap();
    let (head, rest) = documented.split_once("held to it by a test -->\n").expect("the table's beginning");
    let (kept, tail) = rest.split_once("<!-- end -->").expect("the table's end");
    if env::var_os("TILEFLEET_WRITE_DOCS").is_some() {
        fs::write(&path, format!("{head}held to it by a test -->\n{table}\n<!-- end -->{tail}")).unwrap();
    } else {
        assert!(
            kept.trim_end() == table,
            "docs/reference/conformance.md is out of date: TILEFLEET_WRITE_DOCS=1 rewrites it"
        );
    }
}
