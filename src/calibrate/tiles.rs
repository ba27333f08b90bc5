//! Which tiles a model is calibrated with and compared on, and their samples as the model gets them.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::pool::{LeftOut, Pool, TileRef};
use super::scenes::Scenes;
use crate::config::InspectOptions;
use crate::formats::image::DecodeLimits;
use crate::input::byte_ranges::read_whole;
use crate::input::source::{InputSpec, Sorted, discover};
use crate::input::storage::Storage;
use crate::scene::skip::Skipped;
use crate::stages::fetch::OpenScene;
use crate::stages::infer::{InputBatch, SamplesMut};
use crate::stages::preprocess::{InputSlotMut, Preprocess, WholeImage};
use crate::stages::single_window::{FetchedWindow, WindowChip, WindowReader};
use crate::vocabulary::contract::Input;
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::identity::SourceUri;
use crate::vocabulary::reason::{Rejection, SourceError};
use crate::vocabulary::words::{counted, form};

/// Default number of tiles to measure ranges on.
pub const USUAL_CALIBRATION: usize = 256;
/// Default number of other tiles to compare on.
pub const USUAL_HELD_OUT: usize = 128;
/// Objects read at a time.
const READS_AT_ONCE: usize = 8;
/// So many bytes as stored are decoded at once, whatever the batch: blocks of a window may be many times as large as it.
const PIECE_BYTES: usize = 256 << 20;

/// Which tiles are wanted.
#[derive(Clone, Debug)]
pub struct TileSelection {
    /// Sources to calibrate with; folders, objects, globs.
    pub calibration: Vec<String>,
    /// Sources to compare on; empty: others of the same.
    pub held_out: Vec<String>,
    /// How many to calibrate with; `None`: as many as is usual, or two thirds of what there is.
    pub num_calibration: Option<NonZeroUsize>,
    /// How many to compare on; `None`: as many as is usual, or a third of what there is.
    pub num_held_out: Option<NonZeroUsize>,
}

/// Tiles as a model gets them, all in memory: 150 kB each for 8-bit RGB at 224 × 224, four times that for floats.
#[derive(Debug)]
pub struct Tiles {
    /// The samples.
    pub batches: Vec<InputBatch>,
    /// Tiles that a run would reject or skip, and sources of which it would take none.
    pub left_out: Vec<LeftOut>,
}

impl Tiles {
    /// Returns the number of tiles.
    #[must_use]
    pub fn len(&self) -> usize {
        self.batches.iter().map(InputBatch::len).sum()
    }

    /// Returns whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }
}

/// The tiles of a quantisation; none is in both.
#[derive(Debug)]
pub struct Split {
    /// Give the ranges.
    pub calibration: Tiles,
    /// Are compared on.
    pub held_out: Tiles,
}

/// Reads tiles as a run would: discovery, decoding, preprocessing; with `tiles.grid = "regular"` survey and composing, too.
pub struct Reader<'a> {
    storage: Storage,
    limits: DecodeLimits,
    max_object_bytes: u64,
    input: &'a Input,
    how: Preprocess,
    batch: NonZeroUsize,
    /// Where scenes are cut into windows; `None`: every source is one tile.
    scenes: Option<Scenes>,
}

/// What was fetched of a tile: nothing of it is decoded.
enum Fetched<'a> {
    /// All of an image.
    Image(bytes::Bytes),
    /// The blocks of a window, and what decodes them.
    Window(WindowReader<'a>, Arc<OpenScene>, FetchedWindow),
}

impl Fetched<'_> {
    fn num_bytes(&self) -> usize {
        match self {
            Self::Image(bytes) => bytes.len(),
            Self::Window(_, _, window) => window.num_bytes(),
        }
    }
}

/// A tile, and what was fetched of it or why it cannot be used.
type FetchedTile<'a> = (TileRef, Result<Fetched<'a>, Rejection>);

/// Tiles that are decoded at once.
#[derive(Default)]
struct Piece<'a> {
    tiles: Vec<FetchedTile<'a>>,
    num_bytes: usize,
}

impl<'a> Piece<'a> {
    fn push(&mut self, tile: FetchedTile<'a>) {
        self.num_bytes += tile.1.as_ref().map_or(0, Fetched::num_bytes);
        self.tiles.push(tile);
    }
}

impl<'a> Reader<'a> {
    /// Prepares to read.
    ///
    /// - `input`: what the model takes
    /// - `batch`: chips per batch
    ///
    /// # Errors
    ///
    /// `Config` if the settings contradict themselves or the model.
    pub fn new(settings: &InspectOptions, input: &'a Input, batch: NonZeroUsize) -> Result<Self> {
        Ok(Self {
            storage: Storage::new(settings.storage.clone())?,
            limits: DecodeLimits::of_pixels(settings.limits.max_pixels),
            max_object_bytes: settings.limits.max_object_bytes,
            input,
            how: Preprocess::new(input)?,
            batch,
            scenes: Scenes::new(settings, input)?,
        })
    }

    /// Chooses tiles, spread evenly over the sources in order, and reads them.
    ///
    /// The same sources give the same tiles.
    ///
    /// # Errors
    ///
    /// `Config` if there are too few, or the sources are not there; `Unavailable` if their store is away.
    pub async fn read(&self, wanted: &TileSelection) -> Result<Split> {
        let spool = tempfile::tempdir()
            .map_err(|cause| Error::unavailable("cannot create a temporary folder").because(cause))?;
        let mut pool = self.pool(&wanted.calibration, spool.path()).await?;
        let chosen = if wanted.held_out.is_empty() {
            divided(&pool, counts(pool.num_tiles(), wanted.num_calibration, wanted.num_held_out)?)?
        } else {
            let mut others = self.pool(&wanted.held_out, spool.path()).await?;
            pool.left_out.append(&mut others.left_out);
            let calibration = pool.some(number(wanted.num_calibration, USUAL_CALIBRATION, &pool)?)?;
            let held_out = others.some(number(wanted.num_held_out, USUAL_HELD_OUT, &others)?)?;
            refuse_common(&calibration, &held_out)?;
            [calibration, held_out]
        };
        let [calibration, held_out] = chosen;
        let mut calibration = self.tiles(calibration, "to calibrate with").await?;
        calibration.left_out.append(&mut pool.left_out);
        Ok(Split { calibration, held_out: self.tiles(held_out, "to compare on").await? })
    }

    /// Finds the tiles to choose from.
    async fn pool(&self, uris: &[String], spool: &Path) -> Result<Pool> {
        let sources = self.discover(uris, spool).await?;
        match &self.scenes {
            None => Ok(Pool::of_images(sources)),
            Some(scenes) => scenes.pool(&self.windows(scenes), &sources).await?.checked(),
        }
    }

    fn windows<'r>(&'r self, scenes: &'r Scenes) -> WindowReader<'r> {
        scenes.windows(&self.storage, &self.limits, &self.how)
    }

    async fn discover(&self, uris: &[String], spool: &Path) -> Result<Sorted> {
        let items = self.scenes.as_ref().map(|scenes| scenes.items.clone());
        let spec = InputSpec { uris: uris.to_vec(), items, ..InputSpec::default() };
        let found = discover(&spec, &self.storage, spool).await?;
        if found.sources.num_entries == 0 {
            return Err(Error::config("no images were found to calibrate with or to compare on")
                .because(found.summary())
                .hint("check --calibration and --held-out: a folder is searched with all its subfolders"));
        }
        Ok(found.sources)
    }

    async fn tiles(&self, chosen: Vec<TileRef>, purpose: &str) -> Result<Tiles> {
        let mut read = stream::iter(chosen).map(|tile| self.fetched(tile)).buffered(READS_AT_ONCE);
        let mut tiles = Tiles { batches: Vec::new(), left_out: Vec::new() };
        let mut piece = Piece::default();
        while let Some(tile) = read.try_next().await? {
            piece.push(tile);
            // A piece is decoded on all cores while nothing is read; a calibration is short.
            if piece.tiles.len() >= 4 * self.batch.get() || piece.num_bytes >= PIECE_BYTES {
                self.add(&mut tiles, std::mem::take(&mut piece));
            }
        }
        self.add(&mut tiles, piece);
        match (tiles.is_empty(), tiles.left_out.pop()) {
            (false, last) => tiles.left_out.extend(last),
            (true, None) => return Err(Error::bug("no tile was chosen")),
            (true, Some(LeftOut { source, why, .. })) => {
                let all = counted(tiles.left_out.len() as u64 + 1, "tile");
                let message = format!("none of {all} {purpose} can be used");
                return Err(Error::config(message)
                    .because(why)
                    .hint(format!("run `tilefleet inspect {source}` on the image named above")));
            }
        }
        Ok(tiles)
    }

    /// Fetches a tile.
    async fn fetched(&self, tile: TileRef) -> Result<FetchedTile<'_>> {
        let found = SourceError::answer(self.fetch(&tile).await)?;
        Ok((tile, found))
    }

    async fn fetch(&self, tile: &TileRef) -> Result<Fetched<'_>, SourceError> {
        match (tile, &self.scenes) {
            (TileRef::Image(uri), _) => {
                let object = read_whole(&self.storage, uri, self.max_object_bytes).await;
                Ok(Fetched::Image(object.map_err(|error| error.at(uri))?.bytes))
            }
            (TileRef::Window { scene, placed, .. }, Some(scenes)) => {
                let windows = self.windows(scenes);
                let cuts = windows.cuts(scene, placed.frame, placed.window)?;
                if let Some(skipped) = windows.skipped_unread(scene, &cuts) {
                    return Err(unused(skipped).into());
                }
                Ok(Fetched::Window(windows, scene.clone(), FetchedWindow::fetch(scene, cuts).await?))
            }
            (TileRef::Window { .. }, None) => Err(Error::bug("nobody has cut scenes into windows").into()),
        }
    }

    /// Decodes a piece on all cores, and appends what can be used.
    fn add(&self, tiles: &mut Tiles, piece: Piece<'_>) {
        use rayon::prelude::*;
        let samples =
            |(tile, fetched): FetchedTile<'_>| (tile, fetched.and_then(|fetched| self.samples(fetched)));
        let decoded: Vec<_> = piece.tiles.into_par_iter().map(samples).collect();
        for (tile, samples) in decoded {
            match samples {
                Ok(samples) => self.push(tiles, samples),
                Err(why) => tiles.left_out.push(tile.left_out(why)),
            }
        }
    }

    /// Returns a batch of one, laid out as the model wants it.
    fn samples(&self, fetched: Fetched<'_>) -> Result<InputBatch, Rejection> {
        let mut samples = InputBatch::new(self.input, NonZeroUsize::MIN);
        samples.set_len(1);
        let slot = match samples.samples_mut() {
            SamplesMut::U8(samples) => InputSlotMut::U8(samples),
            SamplesMut::F32(samples) => InputSlotMut::F32(samples),
        };
        match fetched {
            Fetched::Image(bytes) => {
                WholeImage::decode(&bytes, &self.limits, &self.how, slot).map(|_| samples)
            }
            Fetched::Window(windows, scene, window) => {
                let WindowChip { chip, skipped } = windows.draw(&scene, window)?;
                match skipped {
                    None => self.how.apply(&chip.chip, slot).map(|()| samples),
                    Some(skipped) => Err(unused(skipped)),
                }
            }
        }
    }

    fn push(&self, tiles: &mut Tiles, mut samples: InputBatch) {
        if tiles.batches.last().is_none_or(|batch| batch.len() == batch.capacity()) {
            tiles.batches.push(InputBatch::new(self.input, self.batch));
        }
        let batch = tiles.batches.last_mut().expect("pushed if there was none");
        let place = batch.len() * batch.chip_len()..(batch.len() + 1) * batch.chip_len();
        batch.set_len(batch.len() + 1);
        match (batch.samples_mut(), samples.samples_mut()) {
            (SamplesMut::U8(batch), SamplesMut::U8(samples)) => batch[place].copy_from_slice(samples),
            (SamplesMut::F32(batch), SamplesMut::F32(samples)) => batch[place].copy_from_slice(samples),
            _ => unreachable!("both are made for the same input"),
        }
    }
}

/// Leaves out a window of which a run makes no prediction.
fn unused(skipped: Skipped) -> Rejection {
    Rejection::new(skipped.reason, skipped.detail)
}

/// How many of the tiles there are: to calibrate with, and to compare on.
fn counts(
    there: u64,
    calibration: Option<NonZeroUsize>,
    held_out: Option<NonZeroUsize>,
) -> Result<[usize; 2]> {
    let there = usize::try_from(there).unwrap_or(usize::MAX);
    let counts = match (calibration.map(NonZeroUsize::get), held_out.map(NonZeroUsize::get)) {
        (None, None) => {
            let held_out = USUAL_HELD_OUT.min(there.div_ceil(3));
            [USUAL_CALIBRATION.min(there.saturating_sub(held_out)), held_out]
        }
        (Some(calibration), None) => {
            [calibration, USUAL_HELD_OUT.min(there.saturating_sub(calibration)).max(1)]
        }
        (None, Some(held_out)) => [USUAL_CALIBRATION.min(there.saturating_sub(held_out)).max(1), held_out],
        (Some(calibration), Some(held_out)) => [calibration, held_out],
    };
    let [calibration, held_out] = counts;
    if calibration > 0 && held_out > 0 && calibration.saturating_add(held_out) <= there {
        return Ok(counts);
    }
    Err(Error::config(format!(
        "{} too few: {} are needed to calibrate with, and {} to compare on",
        are_there(there),
        calibration.max(1),
        held_out.max(1)
    ))
    .hint("give more images, or use fewer tiles to calibrate with or to compare on"))
}

/// Begins a sentence on how many tiles there are.
fn are_there(there: usize) -> String {
    format!("{} {}", counted(there as u64, "tile"), form(there as u64, "is", "are"))
}

fn number(asked: Option<NonZeroUsize>, usual: usize, pool: &Pool) -> Result<usize> {
    let there = usize::try_from(pool.num_tiles()).unwrap_or(usize::MAX);
    match asked.map(NonZeroUsize::get) {
        Some(asked) if asked > there => {
            Err(Error::config(format!("{} too few: {asked} are needed", are_there(there)))
                .hint("give more images, or ask for fewer tiles"))
        }
        Some(asked) => Ok(asked),
        None => Ok(usual.min(there)),
    }
}

/// Chooses tiles of both kinds, spread evenly and among each other.
fn divided(pool: &Pool, [calibration, held_out]: [usize; 2]) -> Result<[Vec<TileRef>; 2]> {
    let chosen = pool.some(calibration + held_out)?;
    let mut divided = [Vec::with_capacity(calibration), Vec::with_capacity(held_out)];
    let total = chosen.len();
    for (index, tile) in chosen.into_iter().enumerate() {
        let is_held_out = (index + 1) * held_out / total > index * held_out / total;
        divided[usize::from(is_held_out)].push(tile);
    }
    Ok(divided)
}

fn refuse_common(calibration: &[TileRef], held_out: &[TileRef]) -> Result<()> {
    let known: std::collections::HashSet<&SourceUri> = calibration.iter().map(TileRef::source).collect();
    match held_out.iter().map(TileRef::source).find(|source| known.contains(source)) {
        None => Ok(()),
        Some(source) => Err(Error::config(format!("{source} is both in --calibration and in --held-out"))
            .hint("give other images to --held-out, or leave it out to use other images of --calibration")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(number: usize) -> Option<NonZeroUsize> {
        NonZeroUsize::new(number)
    }

    #[test]
    fn what_is_there_is_divided_if_nobody_says_how_many() {
        assert_eq!(counts(10_000, None, None).unwrap(), [256, 128]);
        assert_eq!(counts(90, None, None).unwrap(), [60, 30]);
        assert_eq!(counts(2, None, None).unwrap(), [1, 1]);
        assert_eq!(counts(100, some(90), None).unwrap(), [90, 10]);
        assert_eq!(counts(100, None, some(90)).unwrap(), [10, 90]);
    }

    #[test]
    fn too_few_tiles_are_refused() {
        for refused in [counts(1, None, None), counts(100, some(100), None), counts(100, some(60), some(41))]
        {
            let error = refused.unwrap_err();
            assert_eq!(error.kind().exit_code(), 78);
            assert!(error.to_string().contains("too few"), "{error}");
        }
    }
}
