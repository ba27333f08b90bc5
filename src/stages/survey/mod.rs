//! Reads the headers of scenes when planning.
//!
//! Goes in: a source as discovered. Comes out: the [`Scene`] that its windows, blocks and footprints follow
//! from, or the rejection that becomes its one row. A source that does not answer is left to the worker, which
//! tells one object that is gone from a store that is away, and so is one that cannot be read while others of its
//! host can. No pixel is read.

mod bands;
mod frames;
mod grid;
pub(crate) mod windows;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures::{StreamExt, TryStreamExt, stream};
use tokio::runtime::Handle;

use self::bands::Choice;
pub use self::bands::{ChosenAsset, chosen_assets};
pub use self::frames::{may_be_burned_in, refuse_burned_in};
pub use self::windows::{
    grid_of, is_in_grid, is_planned, nearest_window, num_tiles_of, place_in_grid, planned_windows,
};
use crate::formats::dicom;
use crate::formats::reader::TileGrid;
use crate::input::byte_ranges::{RangeReader, ReadError, ReadOptions};
use crate::input::open::OpenRaster;
use crate::input::source::{Entry, ItemRecord, Sorted, UnusableItem};
use crate::input::stac::Item;
use crate::input::storage::{ObjectUri, Sample, Storage, StoreError, Tally};
use crate::output::Surveyed;
use crate::scene::{MedicalRules, Scene, SceneBand, SceneLayout, SceneObject, Tiling};
use crate::stages::survey::windows::{MAX_WINDOWS, count, tiles_of};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::guard;
use crate::vocabulary::identity::SourceUri;
use crate::vocabulary::outcome::MedicalRow;
use crate::vocabulary::reason::{Reason, Rejection};

/// So many sources are surveyed at once.
const AT_ONCE: usize = 32;

/// Different reasons for no geometry that are said; a bucket of oddities need not fill the log.
const MAX_WARNINGS: usize = 20;

/// Surveys sources.
pub struct HeaderReader {
    storage: Storage,
    tiling: Arc<Tiling>,
    max_windows: u64,
    reads: ReadOptions,
    medical: MedicalRules,
    tally: Tally,
    /// All sources of which some are surveyed.
    sources: OnceLock<Sorted>,
    /// Why scenes have no geometry, as far as it was said already.
    said: Mutex<HashSet<String>>,
}

/// What a survey found, and the objects that it opened, in the order of the scene's; none if it is rejected.
pub type SurveyedObjects = (SceneLayout, Vec<Arc<OpenRaster>>);

/// What reading a source's headers can come to, besides a header.
enum UnreadableHeader {
    /// The store did not answer for this object.
    NoAnswer(ObjectUri),
    /// It would fail again tomorrow; and whose medical image it is, if its header says so.
    Rejected(Rejection, Option<Box<MedicalRow>>),
    /// Planning ends.
    Failed(Error),
}

impl From<Rejection> for UnreadableHeader {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection, None)
    }
}

impl From<Error> for UnreadableHeader {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl HeaderReader {
    /// Prepares to survey with these settings.
    ///
    /// - `max_windows`: a scene that would be cut into more is rejected
    /// - `reads`: how headers are read
    #[must_use]
    pub fn new(storage: Storage, tiling: Arc<Tiling>, max_windows: u64, reads: ReadOptions) -> Self {
        Self {
            storage,
            tiling,
            max_windows,
            reads,
            medical: MedicalRules::default(),
            tally: Tally::default(),
            sources: OnceLock::new(),
            said: Mutex::default(),
        }
    }

    /// Tells no more of medical images than these rules allow.
    #[must_use]
    pub fn telling(self, medical: MedicalRules) -> Self {
        Self { medical, ..self }
    }

    /// Says why a scene's rows will have no geometry, each reason once.
    fn warn_of_no_geometry(&self, scene: &Scene) {
        let Err(why) = scene.reference().georeference() else { return };
        if scene.medical.is_some() {
            return;
        }
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() < MAX_WARNINGS && said.insert(why.to_string()) {
            tracing::warn!("the rows of some scenes have no geometry: {why}");
        }
    }

    /// Checks, when all sources are surveyed, that every host with an object in trouble has answered for others.
    ///
    /// # Errors
    ///
    /// As [`Tally::check`].
    pub fn check_hosts(&self) -> Result<()> {
        self.tally.check()
    }

    /// Tells which sources there are, so that others of a host can be asked for.
    pub(super) fn begin(&self, sources: &Sorted) {
        let _ = self.sources.set(sources.clone());
    }

    /// Surveys a source.
    ///
    /// # Errors
    ///
    /// `Config` or `Unavailable` if a store is away or the access is wrong.
    pub async fn survey(&self, entry: Entry) -> Result<Surveyed> {
        let item = entry.stac_item()?;
        let (survey, _) = self.survey_objects(&entry, item.as_ref(), &[]).await?;
        Ok(Surveyed { entry, survey: Some(survey) })
    }

    /// Surveys a source, and returns its objects as they were opened for that.
    ///
    /// - `item`: that of the entry
    /// - `known`: objects that are open already, and are not read again
    ///
    /// # Errors
    ///
    /// As [`Self::survey`].
    pub async fn survey_objects(
        &self,
        entry: &Entry,
        item: Option<&ItemRecord>,
        known: &[Arc<OpenRaster>],
    ) -> Result<SurveyedObjects> {
        let found = match self.scene(entry, item, known).await {
            Ok((scene, objects)) => {
                self.warn_of_no_geometry(&scene);
                (SceneLayout::Scene(Arc::new(scene)), objects)
            }
            Err(UnreadableHeader::Rejected(rejection, whose)) => {
                (SceneLayout::from(rejection).of(whose), Vec::new())
            }
            Err(UnreadableHeader::NoAnswer(uri)) => {
                (SceneLayout::Unanswered { uri: uri.identity().clone() }, Vec::new())
            }
            Err(UnreadableHeader::Failed(error)) => return Err(error),
        };
        Ok((found.0.recordable(), found.1))
    }

    async fn scene(
        &self,
        entry: &Entry,
        item: Option<&ItemRecord>,
        known: &[Arc<OpenRaster>],
    ) -> Result<(Scene, Vec<Arc<OpenRaster>>), UnreadableHeader> {
        let unusable = |why: &UnusableItem| unusable_item(&entry.uri.naming().quote(&why.to_string()));
        let item = item.map(Result::as_ref).transpose().map_err(unusable)?;
        if let Some(tiling) = &self.tiling.frames {
            let opened = self.open(&entry.uri, entry, known).await?;
            let scene = guard::catch_decoder_panic(|| frames::scene(&opened, tiling, &self.medical));
            return match scene {
                Ok(scene) => Ok((scene, vec![opened])),
                Err(rejection) => Err(self.refused(rejection, opened.reader()).await),
            };
        }
        let choices = match item {
            None => bands::whole_file(&entry.uri, &self.tiling),
            Some(item) => bands::of_item(item, &self.tiling)?,
        };
        let opening = stream::iter(&choices.uris).map(|uri| self.open(uri, entry, known));
        let opened: Vec<_> = opening.buffered(AT_ONCE).try_collect().await?;
        let scene =
            guard::catch_decoder_panic(|| self.assemble(&choices.bands, choices.notes, &opened, item))?;
        Ok((scene, opened))
    }

    fn grid(&self) -> TileGrid {
        if self.tiling.is_of_frames() { TileGrid::Frames } else { TileGrid::Regular }
    }

    /// Reads the header of an object, unless that has been done.
    async fn open(
        &self,
        uri: &SourceUri,
        entry: &Entry,
        known: &[Arc<OpenRaster>],
    ) -> Result<Arc<OpenRaster>, UnreadableHeader> {
        let uri = ObjectUri::of(uri)?;
        if let Some(open) = known.iter().find(|open| *open.uri() == uri) {
            self.tally.answered(&uri);
            return Ok(open.clone());
        }
        let (storage, reads) = (&self.storage, self.reads.clone());
        let reader = match entry.size.filter(|_| *uri.identity() == entry.uri) {
            Some(size) => {
                let version = entry.version.clone().map(Into::into);
                Ok(Some(RangeReader::new(storage, &uri, size, version, reads)))
            }
            None => RangeReader::open(storage, &uri, reads).await,
        };
        let reader = match reader {
            Ok(Some(reader)) => Arc::new(reader),
            // Without its size it cannot be read in parts; the worker says so.
            Ok(None) => return Err(self.unanswered(None, uri).await?),
            Err(fault) => return Err(self.faulty(fault, uri).await?),
        };
        match ReadError::answer(OpenRaster::open(self.grid(), reader.clone()).await) {
            Ok(opened) => {
                self.tally.answered(&uri);
                match opened {
                    Ok(opened) => Ok(Arc::new(opened)),
                    Err(rejection) => Err(self.refused(rejection, &reader).await),
                }
            }
            Err(fault) => Err(self.faulty(fault, uri).await?),
        }
    }

    /// Rejects an object. The row of a medical image says whose it is, so that it is found when a person is erased.
    async fn refused(&self, rejection: Rejection, reader: &RangeReader) -> UnreadableHeader {
        if !self.tiling.is_of_frames() {
            return rejection.into();
        }
        // What the header needs has been read already.
        let instance = reader.parse(dicom::parse_instance).await.ok();
        let whose = instance.and_then(|instance| {
            guard::catch_decoder_panic(|| Ok(frames::identity(&instance, &self.medical))).ok()
        });
        UnreadableHeader::Rejected(rejection, whose.map(Box::new))
    }

    async fn faulty(&self, fault: StoreError, uri: ObjectUri) -> Result<UnreadableHeader> {
        match fault {
            StoreError::Failed(error) => self.unanswered(Some(error), uri).await,
            _ => self.unanswered(None, uri).await,
        }
    }

    /// Leaves an object to the worker, if its host answers for others.
    async fn unanswered(&self, error: Option<Error>, uri: ObjectUri) -> Result<UnreadableHeader> {
        match error {
            Some(error) => {
                let others = async { self.sample(&uri) };
                self.tally.in_trouble_unlike(&self.storage, &uri, error, others).await?;
            }
            None => self.tally.answered(&uri),
        }
        Ok(UnreadableHeader::NoAnswer(uri))
    }

    /// Draws a sample of the objects of a host; blocks for disk reads.
    fn sample(&self, uri: &ObjectUri) -> Result<Sample> {
        let mut sample = Sample::of_host(uri);
        for entry in self.sources.get().into_iter().flat_map(Sorted::entries) {
            for uri in self.objects(&entry?) {
                sample.offer(&ObjectUri::of(&uri)?);
            }
        }
        Ok(sample)
    }

    /// Returns the objects of a source; none if that cannot be told.
    fn objects(&self, entry: &Entry) -> Vec<SourceUri> {
        match entry.stac_item() {
            Ok(None) => bands::whole_file(&entry.uri, &self.tiling).uris,
            Ok(Some(Ok(item))) => {
                bands::of_item(&item, &self.tiling).map_or_else(|_| Vec::new(), |choices| choices.uris)
            }
            Ok(Some(Err(_))) | Err(_) => Vec::new(),
        }
    }

    fn assemble(
        &self,
        choices: &[Choice],
        mut notes: Vec<String>,
        opened: &[Arc<OpenRaster>],
        item: Option<&Item>,
    ) -> Result<Scene, Rejection> {
        let tiling = &*self.tiling;
        let (chosen, of_rules) = choices.split_at(tiling.bands.len());
        let mut bands = Vec::with_capacity(chosen.len());
        for (place, choice) in chosen.iter().enumerate() {
            bands.push(choice.resolve(place, opened[choice.object].file(), tiling, item, &mut notes)?);
        }
        let stored = |choice: &Choice| choice.stored(opened[choice.object].file());
        let rule_bands: Vec<SceneBand> = of_rules.iter().map(stored).collect::<Result<_, _>>()?;
        let objects: Vec<SceneObject> =
            opened.iter().map(|object| grid::object(object)).collect::<Result<_, _>>()?;
        let place = grid::place(&objects, &bands, &rule_bands, tiling, &mut notes)?;
        for object in opened {
            notes.extend(object.file().notes().iter().cloned());
        }
        let reference = opened[place.reference].file().pixels(0, place.level as usize);
        let scene = Scene {
            in_rows: reference.block.width >= reference.size.width,
            size: reference.size,
            objects,
            bands,
            rule_bands,
            reference: place.reference,
            level: place.level,
            window: place.window,
            stride: place.stride,
            gsd: place.gsd,
            datetime: item.and_then(|item| item.datetime),
            medical: None,
            notes,
            only: None,
        };
        self.bounded(scene)
    }

    /// Rejects a scene that would be cut into too many windows.
    fn bounded(&self, scene: Scene) -> Result<Scene, Rejection> {
        let (num_windows, most) = (count(&scene), self.max_windows);
        let few_remain = || {
            let survey = SceneLayout::Scene(Arc::new(scene.clone()));
            let windows = tiles_of(0, "", Some(&survey), Some(&*self.tiling), 1);
            (windows.take(most as usize + 1).count() as u64) <= most
        };
        let may_be_few = self.tiling.aoi.is_some() && num_windows <= MAX_WINDOWS;
        if num_windows <= most || (may_be_few && few_remain()) {
            return Ok(scene);
        }
        let size = scene.size;
        let detail =
            format!("{size} would be cut into {num_windows} windows, but `limits.max_windows` is {most}");
        Err(Rejection::new(Reason::TooLarge, detail))
    }
}

/// Rejects an item for what is wrong with its document.
#[must_use]
pub fn unusable_item(why: &str) -> Rejection {
    Rejection::new(Reason::Corrupt, format!("the STAC item cannot be used: {why}"))
}

/// Surveys sources on their way, several at once and in their order.
pub(super) struct Surveying<I> {
    entries: I,
    surveyor: Option<Arc<HeaderReader>>,
    ahead: std::vec::IntoIter<Surveyed>,
    runtime: Handle,
}

impl<I: Iterator<Item = Result<Entry>>> Surveying<I> {
    /// Passes entries on as they are if there is no surveyor.
    pub(super) fn of(entries: I, surveyor: Option<Arc<HeaderReader>>) -> Self {
        Self { entries, surveyor, ahead: Vec::new().into_iter(), runtime: Handle::current() }
    }

    fn survey_next(&mut self, surveyor: &HeaderReader) -> Result<()> {
        let entries: Vec<Entry> = self.entries.by_ref().take(4 * AT_ONCE).collect::<Result<_>>()?;
        let surveys = stream::iter(entries).map(|entry| surveyor.survey(entry)).buffered(AT_ONCE);
        self.ahead = self.runtime.block_on(surveys.try_collect::<Vec<_>>())?.into_iter();
        Ok(())
    }
}

impl<I: Iterator<Item = Result<Entry>>> Iterator for Surveying<I> {
    type Item = Result<Surveyed>;

    fn next(&mut self) -> Option<Result<Surveyed>> {
        let Some(surveyor) = self.surveyor.clone() else {
            return self.entries.next().map(|entry| entry.map(Into::into));
        };
        if self.ahead.len() == 0
            && let Err(error) = self.survey_next(&surveyor)
        {
            return Some(Err(error));
        }
        self.ahead.next().map(Ok)
    }
}
