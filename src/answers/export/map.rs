//! What was predicted, as maps: of each scene one of classes and one of their scores.
//!
//! A pixel of a map is a window of the scene's grid, and is as large as the stride. Where windows overlap or
//! leave gaps it lies around the window's centre; the last column and row stand for windows that were shifted
//! inward.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{Float32Type, Int32Type};
use futures::TryStreamExt as _;

use crate::formats::cog_writer;
use crate::formats::cog_writer::{Band, Colours, Image, Place, Reduce, System};
use crate::geo::GeoTransform;
use crate::output::current_rows::{Current, CurrentRows};
use crate::output::table::{BadColumn, StoredColumns, tile_id_at};
use crate::output::{Output, ParquetObject, Run, RunId, Scope};
use crate::scene::{Scene, SceneLayout};
use crate::stages::survey::{grid_of, place_in_grid};
use crate::vocabulary::contract::Classifier;
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::geometry::Size;

/// The columns that are read; the last two are also what the bands of a map are called.
const COLUMNS: [&str; 7] = [TILE_ID, SOURCE, STATUS, X, Y, CLASS_ID, SCORE];
const TILE_ID: &str = "tile_id";
const SOURCE: &str = "source";
const STATUS: &str = "status";
const X: &str = "x";
const Y: &str = "y";
const CLASS_ID: &str = "class_id";
const SCORE: &str = "score";
/// Most pixels of one map.
const MAX_PIXELS: u64 = 1 << 26;

/// Which maps are asked for.
#[derive(Clone, Debug, Default)]
pub struct MapQuestion {
    /// Only this run's rows, whether newer ones replace them or not; `None`: the newest of every tile.
    pub run: Option<RunId>,
}

/// The maps of one scene.
#[derive(Clone, Debug)]
pub struct Map {
    /// The scene's canonical URI.
    pub source: Arc<str>,
    /// Width and height, in windows.
    pub size: Size,
    /// Pixels that have a class.
    pub num_mapped: u64,
    /// Whether the file says where it lies.
    pub placed: bool,
    classes: Vec<u16>,
    scores: Vec<f32>,
    place: Option<Place>,
    legend: Arc<Legend>,
}

/// What the numbers on a map mean.
#[derive(Debug)]
struct Legend {
    /// Value of pixels without class: the largest of the sample's type.
    nodata: u16,
    /// Names and texts for the file.
    notes: Vec<(String, String)>,
}

/// Returns the maps of all scenes, in order of their URIs.
///
/// Memory: six bytes per window, and what [`CurrentRows::among`] needs.
///
/// # Errors
///
/// `Config` if there is no such run, none is complete, the model has no classes or nothing was cut into
/// windows; as the store answers.
pub async fn maps(output: &Output, question: &MapQuestion) -> Result<Vec<Map>> {
    let scope = Scope::of(question.run.as_ref());
    output
        .consistently(scope, async |snapshot| {
            let Current { mut runs, .. } = match question.run {
                Some(_) => Current { runs: snapshot.completed(), ..Current::default() },
                None => Current::of(&snapshot.runs).await?,
            };
            if runs.is_empty() {
                return Err(if snapshot.is_empty() {
                    snapshot.nothing(output, question.run.as_ref())
                } else {
                    Error::unavailable(format!("no run of {} is complete", output.uri))
                        .hint(format!("`tilefleet status {}` shows the progress of the runs", output.uri))
                });
            }
            let newest = match question.run {
                Some(_) => None,
                None => Some(CurrentRows::among(&runs).await?),
            };
            runs.sort_by(|a, b| a.age().cmp(&b.age()));
            draw(output, &runs, newest.as_ref()).await
        })
        .await
}

/// Draws the rows of runs, oldest first.
async fn draw(output: &Output, runs: &[&Run], newest: Option<&CurrentRows>) -> Result<Vec<Map>> {
    let mut sheets = BTreeMap::new();
    for run in runs {
        if newest.is_some_and(|newest| !newest.runs.contains_key(&run.id)) {
            continue;
        }
        let classifier = run.record.model.contract.output.classifier.as_ref().ok_or_else(|| {
            Error::config(format!("the model of run {} has no classes to map", run.id))
                .hint("`tilefleet model head` fits a classifier on the run's embeddings")
        })?;
        let legend = Arc::new(Legend::of(run, classifier)?);
        lay_out(run, &legend, &mut sheets).await?;
        for number in 0..run.num_shards() {
            draw_shard(run, number, newest, &legend, &mut sheets).await?;
        }
    }
    if sheets.is_empty() {
        return Err(Error::config(format!("no source of {} was cut into windows", output.uri))
            .hint("maps need scenes: a pipeline with tiles.grid = \"regular\""));
    }
    Ok(sheets.into_values().map(|sheet| sheet.map).collect())
}

/// A map that is being drawn.
struct Sheet {
    scene: Arc<Scene>,
    map: Map,
}

/// Puts an empty sheet in for each scene of a run, unless there is one of the same grid.
async fn lay_out(run: &Run, legend: &Arc<Legend>, sheets: &mut BTreeMap<Arc<str>, Sheet>) -> Result<()> {
    let mut sources = run.sources.stream()?;
    while let Some(batch) = sources.try_next().await? {
        for source in batch {
            let name = source.uri.shared_name();
            let scene = match &source.survey {
                Some(SceneLayout::Scene(scene)) => scene,
                // It was one, and is none any more.
                Some(SceneLayout::Rejected { .. }) => {
                    sheets.remove(&name);
                    continue;
                }
                Some(SceneLayout::Unanswered { .. }) | None => continue,
            };
            let same = sheets.get(&name).is_some_and(|sheet| sheet.scene.has_grid_of(scene));
            if !same {
                let map = Map::empty(name.clone(), scene, legend)?;
                sheets.insert(name, Sheet { scene: scene.clone(), map });
            }
        }
    }
    Ok(())
}

async fn draw_shard(
    run: &Run,
    number: u32,
    newest: Option<&CurrentRows>,
    legend: &Arc<Legend>,
    sheets: &mut BTreeMap<Arc<str>, Sheet>,
) -> Result<()> {
    let key = run.shard_key(number);
    let object = ParquetObject::open(&run.output.bucket, &key).await?.ok_or_else(|| {
        Error::unavailable(format!("{key} was listed, but does not exist any more")).hint("ask again")
    })?;
    for batch in object.read_columns(&COLUMNS).await? {
        draw_rows(&batch, run, newest, legend, sheets).map_err(|cause| {
            Error::config(format!("{key} does not have the columns of a shard")).because(cause)
        })?;
    }
    Ok(())
}

fn draw_rows(
    batch: &RecordBatch,
    run: &Run,
    newest: Option<&CurrentRows>,
    legend: &Arc<Legend>,
    sheets: &mut BTreeMap<Arc<str>, Sheet>,
) -> Result<()> {
    let damaged = |bad: BadColumn| Error::config(bad.to_string());
    let stored = StoredColumns(batch);
    let text = |name| stored.text(name).map_err(damaged);
    let whole = |name| stored.numbers::<Int32Type>(name).map_err(damaged);
    let (ids, sources, statuses) = (text(TILE_ID)?, text(SOURCE)?, text(STATUS)?);
    let (xs, ys, classes) = (whole(X)?, whole(Y)?, whole(CLASS_ID)?);
    let scores = stored.numbers::<Float32Type>(SCORE).map_err(damaged)?;
    for row in 0..batch.num_rows() {
        let Some(sheet) = sheets.get_mut(sources.value(row)).filter(|_| xs.is_valid(row)) else { continue };
        let is_current = |newest: &CurrentRows| -> Result<bool> {
            let id = tile_id_at(ids, row).map_err(damaged)?;
            Ok(newest.is_current(&run.id, sources.value(row), id))
        };
        if !newest.map_or(Ok(true), is_current)? {
            continue;
        }
        // Runs come oldest first: the map is said to be of the newest that has a part in it.
        sheet.map.legend = legend.clone();
        let (x, y) = (xs.value(row) as u32, ys.value(row) as u32);
        let predicted = (statuses.value(row) == "ok" && classes.is_valid(row))
            .then(|| (classes.value(row) as u16, scores.value(row)));
        sheet
            .set(x, y, predicted)
            .ok_or_else(|| Error::config(format!("{} has no window at {x}, {y}", sources.value(row))))?;
    }
    Ok(())
}

impl Sheet {
    /// Enters what was predicted for a window; `None` if the scene has no such window.
    fn set(&mut self, x: u32, y: u32, predicted: Option<(u16, f32)>) -> Option<()> {
        let (column, row) = place_in_grid(&self.scene, x, y)?;
        let pixel = (row * u64::from(self.map.size.width) + column) as usize;
        let (class, score) = predicted.unwrap_or((self.map.legend.nodata, f32::NAN));
        self.map.num_mapped += u64::from(predicted.is_some());
        self.map.num_mapped -= u64::from(self.map.classes[pixel] != self.map.legend.nodata);
        (self.map.classes[pixel], self.map.scores[pixel]) = (class, score);
        Some(())
    }
}

impl Legend {
    fn of(run: &Run, classifier: &Classifier) -> Result<Self> {
        let count = classifier.num_classes;
        let nodata = if u8::try_from(count).is_ok() { u16::from(u8::MAX) } else { u16::MAX };
        if count > usize::from(nodata) {
            return Err(Error::config(format!("a map cannot have {count} classes"))
                .hint("a map's pixels have 16 bits: up to 65535 classes"));
        }
        let labels = classifier.labels.iter().flatten().enumerate();
        let named = labels.map(|(id, label)| (format!("class {id}"), label.clone()));
        let contract = &run.record.model.contract;
        let model = [("model".to_owned(), contract.name.clone()), ("run".to_owned(), run.id.to_string())];
        Ok(Self { nodata, notes: model.into_iter().chain(named).collect() })
    }
}

impl Map {
    fn empty(source: Arc<str>, scene: &Scene, legend: &Arc<Legend>) -> Result<Self> {
        let (across, down) = grid_of(scene);
        let pixels = across.saturating_mul(down);
        let size = u32::try_from(across).ok().zip(u32::try_from(down).ok());
        let Some((across, down)) = size.filter(|_| pixels <= MAX_PIXELS) else {
            return Err(Error::config(format!("{source} has {pixels} windows, a map at most {MAX_PIXELS}"))
                .hint(
                    "plan a run with a larger tiles.stride, which has fewer windows, and export that one",
                ));
        };
        let place = place_of(scene);
        Ok(Self {
            source,
            size: Size::new(across, down),
            num_mapped: 0,
            placed: place.is_some(),
            classes: vec![legend.nodata; pixels as usize],
            scores: vec![f32::NAN; pixels as usize],
            place,
            legend: legend.clone(),
        })
    }

    /// Returns the file of class ids; what has none is 255, or 65535 if there are more than 255 classes.
    ///
    /// # Errors
    ///
    /// As [`cog_writer::encode`].
    pub fn classes(&self) -> Result<Vec<u8>> {
        let nodata = self.legend.nodata;
        if nodata > u16::from(u8::MAX) {
            return cog_writer::encode(&self.image(CLASS_ID, self.classes.clone(), nodata, Reduce::Mode));
        }
        let classes: Vec<u8> = self.classes.iter().map(|class| *class as u8).collect();
        let mut image = self.image(CLASS_ID, classes, u8::MAX, Reduce::Mode);
        image.colours = Colours::Palette((0..u8::MAX).map(colour).collect());
        cog_writer::encode(&image)
    }

    /// Returns the file of scores; what has none is NaN.
    ///
    /// # Errors
    ///
    /// As [`cog_writer::encode`].
    pub fn scores(&self) -> Result<Vec<u8>> {
        cog_writer::encode(&self.image(SCORE, self.scores.clone(), f32::NAN, Reduce::Mean))
    }

    fn image<T>(&self, band: &str, samples: Vec<T>, nodata: T, reduce: Reduce) -> Image<T> {
        Image {
            size: self.size,
            bands: vec![Band { description: band.to_owned(), scale: None }],
            samples,
            nodata: Some(nodata),
            reduce,
            colours: Colours::Values,
            place: self.place.clone(),
            notes: self.legend.notes.clone(),
        }
    }
}

/// Returns where the map of a scene lies, if it is known where the scene does.
fn place_of(scene: &Scene) -> Option<Place> {
    let reference = scene.reference();
    let earth = reference.earth.as_ref()?;
    let transform = GeoTransform(earth.transform?).checked().ok()?;
    let system = match (earth.epsg, &earth.tags) {
        (Some(code), _) => System::Epsg(code),
        (None, Some(tags)) => System::Tags(Box::new(tags.clone())),
        (None, None) => System::Unknown,
    };
    let across = f64::from(reference.size().width) / f64::from(scene.size.width);
    let down = f64::from(reference.size().height) / f64::from(scene.size.height);
    // Around the centre of the first window.
    let [right, below] = scene.stride;
    let (left, top) = (f64::from(scene.window.width) - right, f64::from(scene.window.height) - below);
    let transform = transform.regrid(left / 2.0 * across, top / 2.0 * down, right * across, below * down);
    Some(Place { transform, system })
}

/// Returns a class's colour: hues a golden angle apart, so that neighbours differ, in three shades.
fn colour(class: u8) -> [u8; 3] {
    let hue = (f64::from(class) * 0.618_033_988_749_895).fract() * 6.0;
    let value = [0.85, 0.65, 1.0][usize::from(class) % 3];
    let channel = |shift: f64| {
        let ramp = ((hue + shift) % 6.0 - 3.0).abs() - 1.0;
        (255.0 * value * (0.25 + 0.75 * ramp.clamp(0.0, 1.0))).round() as u8
    };
    [channel(0.0), channel(4.0), channel(2.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_next_to_one_another_have_colours_that_differ() {
        let colours: Vec<[u8; 3]> = (0..u8::MAX).map(colour).collect();
        let distance = |a: [u8; 3], b: [u8; 3]| -> u32 {
            a.iter().zip(b).map(|(one, other)| u32::from(one.abs_diff(other))).sum()
        };
        assert!(colours.windows(2).all(|pair| distance(pair[0], pair[1]) > 100));
        let mut distinct = colours.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert!(distinct.len() > 250, "{}", distinct.len());
    }
}
