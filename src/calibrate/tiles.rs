//! Which tiles a model is calibrated with and compared on, and their samples as the model gets them.

use std::num::NonZeroUsize;
use std::path::Path;

use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::config::InspectOptions;
use crate::formats::image::Limits;
use crate::input::byte_ranges::read_whole;
use crate::input::source::{InputSpec, Sorted, discover};
use crate::input::storage::{ObjectUri, Storage};
use crate::stages::infer::{InputBatch, SamplesMut};
use crate::stages::preprocess::{InputSlotMut, Preprocess, WholeImage};
use crate::vocabulary::contract::Input;
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::reason::Rejection;
use crate::vocabulary::words::{counted, form};

/// Default number of tiles to measure ranges on.
pub const USUAL_CALIBRATION: usize = 256;
/// Default number of other tiles to compare on.
pub const USUAL_HELD_OUT: usize = 128;
/// Objects read at a time.
const READS_AT_ONCE: usize = 8;

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
    /// Tiles that a run would reject, and are left out.
    pub rejected: Vec<(ObjectUri, Rejection)>,
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

/// Reads tiles by the ordinary way: discovery, decoding, preprocessing.
pub struct Reader<'a> {
    storage: Storage,
    limits: Limits,
    max_object_bytes: u64,
    input: &'a Input,
    batch: NonZeroUsize,
}

/// A tile's bytes, or why it cannot be used.
type ReadTile = (ObjectUri, Result<bytes::Bytes, Rejection>);

impl<'a> Reader<'a> {
    /// Prepares to read.
    ///
    /// - `input`: what the model takes
    /// - `batch`: chips per batch
    ///
    /// # Errors
    ///
    /// `Config` if the settings contradict themselves.
    pub fn new(settings: &InspectOptions, input: &'a Input, batch: NonZeroUsize) -> Result<Self> {
        if settings.grid.is_some() {
            return Err(Error::config("a calibration reads whole images, but `tiles.grid` is \"regular\"")
                .hint(
                    "do not set tiles.grid; `tilefleet chip --set tiles.grid=regular` writes windows of \
                     scenes as images",
                ));
        }
        Ok(Self {
            storage: Storage::new(settings.storage.clone())?,
            limits: Limits::of_pixels(settings.limits.max_pixels),
            max_object_bytes: settings.limits.max_object_bytes,
            input,
            batch,
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
        let sources = self.discover(&wanted.calibration, spool.path()).await?;
        let chosen = if wanted.held_out.is_empty() {
            let counts = counts(sources.num_entries, wanted.num_calibration, wanted.num_held_out)?;
            divided(&sources, counts)?
        } else {
            let others = self.discover(&wanted.held_out, spool.path()).await?;
            let calibration =
                some_of(&sources, number(wanted.num_calibration, USUAL_CALIBRATION, &sources)?)?;
            let held_out = some_of(&others, number(wanted.num_held_out, USUAL_HELD_OUT, &others)?)?;
            refuse_common(&calibration, &held_out)?;
            [calibration, held_out]
        };
        let [calibration, held_out] = chosen;
        Ok(Split {
            calibration: self.tiles(calibration, "to calibrate with").await?,
            held_out: self.tiles(held_out, "to compare on").await?,
        })
    }

    async fn discover(&self, uris: &[String], spool: &Path) -> Result<Sorted> {
        let spec = InputSpec { uris: uris.to_vec(), ..InputSpec::default() };
        let found = discover(&spec, &self.storage, spool).await?;
        if found.sources.num_entries == 0 {
            return Err(Error::config("no images were found to calibrate with or to compare on")
                .because(found.summary())
                .hint("check --calibration and --held-out: a folder is searched with all its subfolders"));
        }
        Ok(found.sources)
    }

    async fn tiles(&self, uris: Vec<ObjectUri>, purpose: &str) -> Result<Tiles> {
        let preprocess = Preprocess::new(self.input)?;
        let read = stream::iter(uris).map(|uri| self.bytes(uri)).buffered(READS_AT_ONCE);
        let mut tiles = Tiles { batches: Vec::new(), rejected: Vec::new() };
        // A piece is decoded on all cores while nothing is read; a calibration is short.
        let mut pieces = read.try_chunks(4 * self.batch.get());
        while let Some(piece) = pieces.try_next().await.map_err(|failure| failure.1)? {
            self.add(&mut tiles, piece, &preprocess);
        }
        match (tiles.is_empty(), tiles.rejected.pop()) {
            (false, last) => tiles.rejected.extend(last),
            (true, None) => return Err(Error::bug("no tile was chosen")),
            (true, Some((uri, rejection))) => {
                let all = counted(tiles.rejected.len() as u64 + 1, "tile");
                let message = format!("none of {all} {purpose} can be used");
                return Err(Error::config(message)
                    .because(rejection)
                    .hint(format!("run `tilefleet inspect {uri}` on the image named above")));
            }
        }
        Ok(tiles)
    }

    async fn bytes(&self, uri: ObjectUri) -> Result<ReadTile> {
        let bytes = match read_whole(&self.storage, &uri, self.max_object_bytes).await {
            Ok(object) => Ok(object.bytes),
            Err(error) => Err(error.rejection().map_err(|fault| fault.into_error(&uri))?),
        };
        Ok((uri, bytes))
    }

    /// Decodes a piece on all cores, and appends what can be used.
    fn add(&self, tiles: &mut Tiles, piece: Vec<ReadTile>, how: &Preprocess) {
        use rayon::prelude::*;
        let decoded: Vec<_> = piece
            .into_par_iter()
            .map(|(uri, bytes)| (uri, bytes.and_then(|bytes| self.samples(&bytes, how))))
            .collect();
        for (uri, samples) in decoded {
            match samples {
                Ok(samples) => self.push(tiles, samples),
                Err(rejection) => tiles.rejected.push((uri, rejection)),
            }
        }
    }

    /// Returns a batch of one, laid out as the model wants it.
    fn samples(&self, bytes: &[u8], how: &Preprocess) -> Result<InputBatch, Rejection> {
        let mut samples = InputBatch::new(self.input, NonZeroUsize::MIN);
        samples.set_len(1);
        let slot = match samples.samples_mut() {
            SamplesMut::U8(samples) => InputSlotMut::U8(samples),
            SamplesMut::F32(samples) => InputSlotMut::F32(samples),
        };
        WholeImage::decode(bytes, &self.limits, how, slot).map(|_| samples)
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

/// How many tiles of a number of sources: to calibrate with, and to compare on.
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

fn number(asked: Option<NonZeroUsize>, usual: usize, sources: &Sorted) -> Result<usize> {
    let there = usize::try_from(sources.num_entries).unwrap_or(usize::MAX);
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
fn divided(sources: &Sorted, [calibration, held_out]: [usize; 2]) -> Result<[Vec<ObjectUri>; 2]> {
    let chosen = some_of(sources, calibration + held_out)?;
    let mut divided = [Vec::with_capacity(calibration), Vec::with_capacity(held_out)];
    let total = chosen.len();
    for (index, uri) in chosen.into_iter().enumerate() {
        let is_held_out = (index + 1) * held_out / total > index * held_out / total;
        divided[usize::from(is_held_out)].push(uri);
    }
    Ok(divided)
}

/// Chooses a number of sources, spread evenly.
fn some_of(sources: &Sorted, count: usize) -> Result<Vec<ObjectUri>> {
    let there = sources.num_entries as u128;
    let place = |index: usize| (index as u128 * there / count.max(1) as u128) as u64;
    let mut chosen = Vec::with_capacity(count);
    for (position, entry) in sources.entries().enumerate() {
        if chosen.len() == count {
            break;
        }
        if position as u64 == place(chosen.len()) {
            chosen.push(ObjectUri::of(&entry?.uri)?);
        }
    }
    Ok(chosen)
}

fn refuse_common(calibration: &[ObjectUri], held_out: &[ObjectUri]) -> Result<()> {
    let known: std::collections::HashSet<&str> = calibration.iter().map(ObjectUri::for_reading).collect();
    match held_out.iter().find(|uri| known.contains(uri.for_reading())) {
        None => Ok(()),
        Some(uri) => Err(Error::config(format!("{uri} is both in --calibration and in --held-out"))
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
