//! The part of the demo that is a scene: a COG of four bands of 16 bits, cut into windows and mapped.

use std::fs;
use std::path::{Path, PathBuf};

use crate::answers::export::{MapQuestion, maps};
use crate::cli::{block_on, show};
use crate::config::{Overrides, Pipeline};
use crate::formats::cog_writer;
use crate::formats::cog_writer::{Band, Colours, Image, Place, Reduce, System};
use crate::geo::GeoTransform;
use crate::models::build::{BuildOptions, build};
use crate::models::resnet::Architecture;
use crate::models::weights::Weights;
use crate::vocabulary::contract::SampleType;
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::geometry::Size;
use crate::vocabulary::random::SplitMix64;

const SEED: u64 = 18;
const SIZE: Size = Size { width: 1500, height: 1200 };
const BANDS: [&str; 4] = ["blue", "green", "red", "nir"];
/// Reflectance of four kinds of ground in the bands.
const GROUND: [[f32; 4]; 4] =
    [[0.04, 0.03, 0.02, 0.01], [0.03, 0.07, 0.04, 0.42], [0.11, 0.15, 0.22, 0.28], [0.17, 0.18, 0.19, 0.21]];
/// `reflectance = sample × SCALE + OFFSET`, as in today's Sentinel-2 products.
const SCALE: f64 = 0.0001;
const OFFSET: f64 = -0.1;
const NUM_CLASSES: usize = 6;

/// Runs the windows of a generated scene and maps what was predicted; returns where the maps lie.
pub(super) fn run(folder: &Path) -> Result<()> {
    let (scene, model) = (folder.join("scene/scene.tif"), folder.join("resnet18-four-bands.onnx"));
    if !scene.exists() {
        write(&scene, &cog_writer::encode(&image())?)?;
    }
    if !model.exists() {
        write_model(&model)?;
    }
    let job = crate::cli::run::open(&Pipeline::load(Some(&write_pipeline(folder)?), &Overrides::default())?)?;
    let report = crate::cli::run::work(&job)?;
    crate::cli::run::print(&job, &report);
    job.check_rejects(&report)?;
    for map in block_on(maps(job.output(), &MapQuestion::default()))? {
        let (class, score) = (folder.join("maps/scene-class.tif"), folder.join("maps/scene-score.tif"));
        write(&class, &map.classes()?)?;
        write(&score, &map.scores()?)?;
        println!(
            "a map of {} in {}, and one of their scores beside it",
            show::counted(map.num_mapped, "window"),
            class.display()
        );
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |error| Error::unavailable(format!("cannot write {}", path.display())).because(error);
    fs::create_dir_all(path.parent().expect("a file in a folder")).map_err(failed)?;
    fs::write(path, bytes).map_err(failed)
}

fn write_model(path: &Path) -> Result<()> {
    let architecture = Architecture::Resnet18;
    let weights = Weights::from_seed(SEED, architecture, BANDS.len(), Some(NUM_CLASSES));
    let mut options = BuildOptions::new(architecture, "resnet18-four-bands", BANDS.len());
    options.bands = BANDS.map(str::to_owned).to_vec();
    "reflectance".clone_into(&mut options.unit);
    options.sample_type = SampleType::Float32;
    build(&weights, &options)?.write(path, false)
}

fn write_pipeline(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("scene.toml");
    let text = "# The scene of `tilefleet demo`: paths are relative to this file.\n\n\
                name = \"scene\"\n\n\
                [input]\nuris = [\"scene\"]\n\n\
                [plan]\nshard_tiles = 16\n\n\
                [tiles]\n\
                grid = \"regular\"              # windows, side by side\n\
                bands = [\"blue\", \"green\", \"red\", \"nir\"]\n\
                unit = \"reflectance\"          # by the file's scale and offset\n\
                min_valid_fraction = 0.5      # emptier windows become `skipped` rows\n\n\
                [model]\nfile = \"resnet18-four-bands.onnx\"\n\n\
                [output]\nuri = \"scene-table\"\n";
    write(&path, text.as_bytes())?;
    Ok(path)
}

/// Draws a scene of UTM zone 33 north whose right edge is slanted, as an orbit's is.
fn image() -> Image<u16> {
    let mut random = SplitMix64(SEED);
    let knobs: [f32; 6] = std::array::from_fn(|_| random.unit());
    let mut samples = Vec::with_capacity(SIZE.num_pixels() as usize * BANDS.len());
    for row in 0..SIZE.height {
        for column in 0..SIZE.width {
            let is_beyond = column + row / 4 > 1400;
            let ground = GROUND[kind_of_ground(column as f32, row as f32, knobs)];
            for reflectance in ground {
                let seen = f64::from(reflectance + (random.unit() - 0.5) * 0.02);
                let sample = ((seen - OFFSET) / SCALE).round().max(1.0) as u16;
                samples.push(if is_beyond { 0 } else { sample });
            }
        }
    }
    let band = |name: &str| Band { description: name.to_owned(), scale: Some((SCALE, OFFSET)) };
    Image {
        size: SIZE,
        bands: BANDS.map(band).to_vec(),
        samples,
        nodata: Some(0),
        reduce: Reduce::Mean,
        colours: Colours::Values,
        place: Some(Place {
            transform: GeoTransform([500_000.0, 10.0, 0.0, 5_300_000.0, 0.0, -10.0]),
            system: System::Epsg(32_633),
        }),
        notes: Vec::new(),
    }
}

/// Water, woods, fields or a town.
fn kind_of_ground(x: f32, y: f32, knobs: [f32; 6]) -> usize {
    let river = (y - 600.0 - 250.0 * (x / (300.0 + 100.0 * knobs[0])).sin()).abs() < 35.0 + 20.0 * knobs[1];
    let hills = (x / (140.0 + 60.0 * knobs[2])).sin() + (y / (110.0 + 60.0 * knobs[3])).cos();
    let town = (x - 400.0 - 500.0 * knobs[4]).hypot(y - 250.0 - 150.0 * knobs[5]) < 170.0;
    match (river, town, hills > 0.4) {
        (true, ..) => 0,
        (_, true, _) => 3,
        (.., true) => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::raster::RasterFile;
    use crate::formats::tiff::parse_header;

    #[test]
    fn the_scene_says_what_a_run_asks_for() {
        let header = parse_header(&cog_writer::encode(&image()).unwrap()).unwrap();
        assert_eq!(header.levels.len(), 4, "1500 is halved until it fits into 256");
        assert!(header.is_scene() && header.nodata.is_some_and(|nodata| nodata.integer == Some(0)));
        let bands = header.bands.iter();
        let bands: Vec<_> =
            bands.map(|it| (it.description.as_deref().unwrap(), it.values.scale, it.values.offset)).collect();
        assert_eq!(bands, BANDS.map(|name| (name, SCALE, OFFSET)));
    }
}
