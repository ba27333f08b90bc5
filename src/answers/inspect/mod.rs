//! Looking at single sources: what the decoder sees of one, and the samples of one of its windows.
//!
//! Goes in: what a person names, the settings that a run would have, and for some questions its model. Comes out: a
//! [`Description`] made from headers alone, or a [`Picture`] with the decoded samples, as stored or as a model
//! gets them. The commands `inspect` and `chip` call it; nothing here plans, infers or judges a run, and what it says
//! is what a run with the same settings does with the same bytes: `source` finds the sources, `format::reader` chooses
//! the reader, `plan` chooses an item's files and its windows, as there.
//!
//! ```text
//! inspect   image: size and version ─▶ a range ─▶ parse ─▶ [ the range it asks for ─▶ parse ] ─▶ Description
//!           item: survey ─▶ its files ─▶ each as an image ─▶ Description
//! chip      whole: object ─▶ decode ─▶ window ─▶ [ preprocess ] ─▶ Picture ─▶ .npy, .png
//!           regular: header ─▶ block table ─▶ blocks ─▶ window ─▶ [ stack ─▶ preprocess ] ─▶ …
//! ```

mod blocks;
mod chip;
mod describe;
mod header;
mod item;
mod medical;
mod picture;
mod preview;
mod scene;
mod source;
mod window;

use std::fmt::Display;
use std::sync::Arc;

use bytes::Bytes;

use self::blocks::{read_frame, read_scene};
pub use self::chip::{ChipRequest, MedicalStage};
use self::chip::{check_only_tile, check_whole, decode_window, laid_out};
pub use self::describe::{Description, Grids, Image, Level, Status, Verdict, Windows};
use self::header::HeaderReport;
pub use self::item::{Asset, Item, ItemBand};
pub use self::medical::Medical;
pub use self::picture::{FileFormat, Picture};
pub use self::preview::preview;
pub use self::scene::{Band, Blocks, Scene};
pub use self::source::{Source, Sources};
use self::window::ReadWindow;

use crate::config::{Grid, InspectOptions};
use crate::formats::image::{DecodeLimits, ImageFormat};
use crate::formats::reader::TileGrid;
use crate::input::byte_ranges::{ReadError, read_whole};
use crate::input::open::OpenRaster;
use crate::input::source::ItemSpec;
use crate::input::storage::{ObjectUri, Storage, StoreError};
use crate::scene::skip::Skipped;
use crate::scene::{self as scenes, Area, BurnedIn, Tiling};
use crate::stages::fetch;
use crate::stages::preprocess::{Preprocess, WholeImage};
use crate::stages::single_window::WindowReader;
use crate::stages::worker::tiling;
use crate::vocabulary::chip::Chip;
use crate::vocabulary::contract::Input;
use crate::vocabulary::error::{Error, Kind, Result};
use crate::vocabulary::geometry::Window;
use crate::vocabulary::identity::SourceUri;
use crate::vocabulary::reason::{Reason, Rejection, SourceError};

/// Looks at sources with the settings of a run.
pub struct Inspector {
    storage: Storage,
    limits: DecodeLimits,
    max_object_bytes: u64,
    max_windows: u64,
    grid: TileGrid,
    /// Which STAC items are taken; `None`: a STAC document is a file like any other.
    items: Option<ItemSpec>,
    /// Which bands of items are taken where no model says so.
    bands: Option<Arc<Tiling>>,
    model: Option<ForModel>,
    burned_in: BurnedIn,
}

/// What a run would make of sources for one model.
struct ForModel {
    input: Input,
    how: Preprocess,
    /// How scenes are cut with `tiles.grid = "regular"`, whether they are or not, or why they cannot be; `None`: nobody
    /// asks.
    tiling: Option<Result<Arc<Tiling>>>,
    /// How frames of DICOM objects become tiles, or why they cannot.
    frames: Result<Arc<Tiling>>,
}

impl ForModel {
    /// - `area`: of interest, where scenes are cut
    fn new(settings: &InspectOptions, area: Option<&Area>, input: Input) -> Result<Self> {
        let input = Input { accept: settings.tiles.over(input.accept), ..input };
        let frames = tiling::of_frames(&settings.frames, &input).map(Arc::new);
        let tiling = match (&settings.grid, &settings.other_grid) {
            (Grid::Windows(grid), _) => {
                Some(Ok(Arc::new(tiling::resolve_within(grid, || Ok(area.cloned()), &input)?)))
            }
            (_, Some(grid)) => {
                let area = || grid.aoi.as_deref().map(tiling::read_aoi).transpose();
                Some(tiling::resolve_within(grid, area, &input).map(Arc::new))
            }
            (_, None) => None,
        };
        Ok(Self { how: Preprocess::new(&input)?, input, tiling, frames })
    }

    /// Returns how sources are cut under a grid, or why they cannot be; `None`: nobody asks.
    fn tiling_of(&self, grid: TileGrid) -> Option<&Result<Arc<Tiling>>> {
        if grid == TileGrid::Frames { Some(&self.frames) } else { self.tiling.as_ref() }
    }

    fn window_input(&self, read: ReadWindow, uri: &SourceUri) -> Result<ModelInput> {
        let picture = laid_out(&self.input, &self.how, |slot| self.how.apply(&read.chip.chip, slot));
        let of_window = || format!("{} of {uri}", read.window);
        Ok(ModelInput {
            picture: picture.map_err(|rejection| rejected(of_window(), TileGrid::Regular, rejection))?,
            window: Some(read.window),
            level: read.level,
            skipped: read.skipped,
            read_bytes: read.read_bytes,
        })
    }
}

/// What a run would give to the model.
#[derive(Debug)]
pub struct ModelInput {
    /// The samples.
    pub picture: Picture,
    /// The window; `None`: all of the source.
    pub window: Option<Window>,
    /// The level that it is counted in.
    pub level: u32,
    /// Why a run would leave it out, if it would: too few valid pixels, or too many clouds.
    pub skipped: Option<Skipped>,
    /// Number of bytes that were read for it.
    pub read_bytes: u64,
}

/// What headers say that a run does with a source: how it is cut, if a model is known and it is cut at all.
type Judged = Result<Option<Arc<scenes::Scene>>, Rejection>;

impl Inspector {
    /// Prepares to look; nothing is connected yet.
    ///
    /// - `input`: what the model takes that a run would have; `None` to leave the model out of account
    ///
    /// # Errors
    ///
    /// `Config` if the settings contradict themselves or the model.
    pub fn new(settings: &InspectOptions, input: Option<Input>) -> Result<Self> {
        Self::with_storage(settings, input, Storage::new(settings.storage.clone())?)
    }

    /// Prepares to look at what this storage gives access to, whatever the settings say of it.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn with_storage(settings: &InspectOptions, input: Option<Input>, storage: Storage) -> Result<Self> {
        let windows = settings.grid.windows();
        let area = windows.and_then(|grid| grid.aoi.as_deref()).map(tiling::read_aoi);
        let area = area.transpose()?;
        let items = || tiling::items(&settings.stac, &settings.limits, area.as_ref(), storage.naming());
        let items = windows.map(|_| items()).transpose()?;
        Ok(Self {
            storage,
            limits: DecodeLimits::of_pixels(settings.limits.max_pixels),
            max_object_bytes: settings.limits.max_object_bytes,
            max_windows: settings.limits.max_windows,
            grid: settings.grid.kind(),
            items,
            bands: windows.and_then(|grid| item::tiling_of_bands(grid, area.clone())),
            model: input.map(|input| ForModel::new(settings, area.as_ref(), input)).transpose()?,
            burned_in: settings.burned_in,
        })
    }

    /// Returns how the runs make tiles that this speaks of.
    #[must_use]
    pub fn grid(&self) -> TileGrid {
        self.grid
    }

    /// Describes a source by its header, an item by those of its files.
    ///
    /// ```
    /// use tilefleet::answers::inspect::{Inspector, Source};
    /// use tilefleet::config::looking;
    /// use tilefleet::input::storage::ObjectUri;
    /// use tilefleet::vocabulary::contract::{Accept, Input, Layout, SampleType};
    ///
    /// let input = Input {
    ///     tensor: "input".into(),
    ///     layout: Layout::Nchw,
    ///     sample_type: SampleType::Float32,
    ///     bands: vec!["1".into()],
    ///     unit: "dn".into(),
    ///     units: None,
    ///     width: 64,
    ///     height: 64,
    ///     resize: None,
    ///     normalise: None,
    ///     accept: Accept::default(),
    /// };
    /// let inspector = Inspector::new(&looking(&["tiles.grid=regular".into()])?, Some(input))?;
    /// let scene = ObjectUri::parse("tests/fixtures/earlier/bucket/scenes/placed.tif")?;
    ///
    /// let runtime = tokio::runtime::Runtime::new()?;
    /// let description = runtime.block_on(inspector.describe(&Source::object(&scene)))?;
    /// description.check()?;
    /// // 192 × 128 pixels are 3 × 2 windows.
    /// assert_eq!(description.windows.map(|windows| windows.count), Some(6));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `Config` if the object is not there or may not be read, `Unavailable` if its store is away. What a
    /// run would reject is described, see [`Description::check`].
    pub async fn describe(&self, source: &Source) -> Result<Description> {
        if source.is_item() {
            return self.describe_item(source).await;
        }
        let uri = ObjectUri::of(&source.uri)?;
        let looked = self.header(&uri).await.map_err(|fault| not_had(fault, &uri))?;
        let grid = self.grid_of(&looked);
        let judged = self.judge(source, &looked, grid).await?;
        let grids = self.grids(&uri, &looked, (grid, &judged)).await;
        let windows = judged.as_ref().ok().and_then(|scene| self.windows_of(scene.as_ref()?, grid));
        Ok(Description::new(&uri, looked, grid, grids, judged.err(), windows))
    }

    /// Returns how tiles are made of an object: a DICOM object has frames, whatever is asked of others.
    fn grid_of(&self, looked: &HeaderReport) -> TileGrid {
        if looked.format == Some(ImageFormat::Dicom) { TileGrid::Frames } else { self.grid }
    }

    /// Says what runs of each grid do with an object.
    ///
    /// - `own`: a grid of which that is known
    async fn grids(&self, uri: &ObjectUri, looked: &HeaderReport, own: (TileGrid, &Judged)) -> Grids {
        let verdict = async |grid| {
            if grid == own.0 {
                return Verdict::new(own.1.as_ref().err());
            }
            if grid == TileGrid::Regular && looked.is_stac {
                return Verdict::of_stac();
            }
            match self.judge(&Source::object(uri), looked, grid).await {
                Ok(judged) => Verdict::new(judged.err().as_ref()),
                Err(error) => Verdict::failed(&error),
            }
        };
        Grids {
            whole: verdict(TileGrid::Whole).await,
            regular: verdict(TileGrid::Regular).await,
            frames: verdict(TileGrid::Frames).await,
        }
    }

    /// Counts the windows of a scene that a run has.
    fn windows_of(&self, scene: &Arc<scenes::Scene>, grid: TileGrid) -> Option<Windows> {
        let tiling = self.model.as_ref()?.tiling_of(grid)?.as_ref().ok()?;
        Some(Windows::of(scene, tiling))
    }

    /// Tells by the header alone why a run would reject an object, if it would.
    ///
    /// # Errors
    ///
    /// As [`Self::describe`] if nothing can be told: its store is away, or it changes while it is read.
    pub async fn check(&self, uri: &ObjectUri) -> Result<Option<Rejection>> {
        let looked = match self.header(uri).await {
            Ok(looked) => looked,
            Err(StoreError::Gone) => return Ok(Some(fetch::gone())),
            Err(StoreError::Forbidden) => return Ok(Some(fetch::forbidden())),
            Err(fault) => return Err(fault.into_error(uri)),
        };
        Ok(self.judge(&Source::object(uri), &looked, self.grid_of(&looked)).await?.err())
    }

    /// Tells by the header alone what a run of this grid does.
    async fn judge(&self, source: &Source, looked: &HeaderReport, grid: TileGrid) -> Result<Judged> {
        if let Err(rejection) = looked.check(grid, &self.limits) {
            return Ok(Err(rejection));
        }
        if let Err(rejection) = looked.check_burned_in(self.burned_in) {
            return Ok(Err(rejection));
        }
        let Some(model) = &self.model else { return Ok(Ok(None)) };
        match (grid, &looked.picture) {
            (TileGrid::Regular | TileGrid::Frames, _) => {
                let known: Vec<Arc<OpenRaster>> = looked.known().into_iter().collect();
                SourceError::answer(window::judge(self.windows(model, grid)?, source, &known).await.map(Some))
            }
            (TileGrid::Whole, Ok(header)) => {
                Ok(WholeImage::of(header.clone(), &self.limits, &model.how).map(|_| None))
            }
            (TileGrid::Whole, Err(rejection)) => Ok(Err(rejection.clone())),
        }
    }

    /// Returns how windows of scenes, or frames, are read for the model.
    fn windows<'a>(&'a self, model: &'a ForModel, grid: TileGrid) -> Result<WindowReader<'a>> {
        let tiling = match model.tiling_of(grid) {
            Some(Ok(tiling)) => tiling,
            Some(Err(why)) => return Err(why.again()),
            None => return Err(Error::bug("nobody has asked how scenes are cut")),
        };
        let Self { storage, limits, max_windows, burned_in, .. } = self;
        let (max_windows, burned_in) = (*max_windows, *burned_in);
        Ok(WindowReader { storage, limits, tiling, how: &model.how, max_windows, burned_in })
    }

    /// Decodes the part of a source that is wanted, samples as stored; returns also how many bytes were read.
    ///
    /// Where a run cuts scenes, only the blocks are read that the window needs; else all of the source. Of an item it
    /// is the one file that holds all bands that are taken.
    ///
    /// # Errors
    ///
    /// As [`Self::describe`]; `Rejected` for what a run would reject; `Usage` if the source has no such level or
    /// frame, the window is not inside it, or an item's bands lie in several files.
    pub async fn chip(&self, source: &Source, wanted: ChipRequest) -> Result<(Chip, u64)> {
        let uri = &self.file_of(source)?;
        let looked = self.header(uri).await.map_err(|fault| not_had(fault, uri))?;
        let grid = self.grid_of(&looked);
        let judged = self.judge(&Source::object(uri), &looked, grid).await?;
        judged.map_err(|rejection| rejected(uri, grid, rejection))?;
        if let (TileGrid::Regular | TileGrid::Frames, Ok(object)) = (grid, looked.scene) {
            let chip = read_scene(&object, &self.limits, wanted).await?;
            return Ok((chip, object.reader().read_bytes()));
        }
        let bytes = self.read(uri, looked.whole).await?;
        let chip = decode_window(uri, &bytes, &self.limits, wanted)?;
        Ok((chip, bytes.len() as u64))
    }

    /// Makes of a frame of a DICOM object what a viewer shows, or its modality values; returns also how many bytes were
    /// read.
    ///
    /// # Errors
    ///
    /// As [`Self::chip`]; `Usage` for any other source.
    pub async fn frame(
        &self,
        source: &Source,
        wanted: ChipRequest,
        stage: MedicalStage,
    ) -> Result<(Chip, u64)> {
        let uri = &ObjectUri::of(&source.uri)?;
        let looked = self.header(uri).await.map_err(|fault| not_had(fault, uri))?;
        if self.grid_of(&looked) != TileGrid::Frames {
            return Err(Error::usage(format!("{uri} is no DICOM object: only those have this stage"))
                .hint("leave out --stage for samples as stored"));
        }
        let object = looked.scene.map_err(|rejection| rejected(uri, TileGrid::Frames, rejection))?;
        let file = object.file().dicom().expect("its frames are tiles");
        let chip = read_frame(&object, file, &self.limits, (wanted, stage)).await?;
        Ok((chip, object.reader().read_bytes()))
    }

    /// Makes of the part of a source that is wanted what a run gives to the model.
    ///
    /// # Errors
    ///
    /// As [`Self::chip`]; `Usage` if no model was named, or a run has no such tile.
    pub async fn input(&self, source: &Source, wanted: ChipRequest) -> Result<ModelInput> {
        let model = self.model.as_ref().ok_or_else(|| Error::usage("no model was named"))?;
        if self.grid != TileGrid::Whole {
            return self.input_by_blocks(model, source, wanted, (self.grid, &[])).await;
        }
        let uri = ObjectUri::of(&source.uri)?;
        let looked = self.header(&uri).await.map_err(|fault| not_had(fault, &uri))?;
        match self.grid_of(&looked) {
            grid @ TileGrid::Frames => {
                let known: Vec<Arc<OpenRaster>> = looked.known().into_iter().collect();
                self.input_by_blocks(model, source, wanted, (grid, &known)).await
            }
            _ => self.whole_input(model, &uri, looked, wanted).await,
        }
    }

    async fn input_by_blocks(
        &self,
        model: &ForModel,
        source: &Source,
        wanted: ChipRequest,
        (grid, known): (TileGrid, &[Arc<OpenRaster>]),
    ) -> Result<ModelInput> {
        let windows = self.windows(model, grid)?;
        model.window_input(window::read(windows, source, known, wanted).await?, &source.uri)
    }

    async fn whole_input(
        &self,
        model: &ForModel,
        uri: &ObjectUri,
        looked: HeaderReport,
        wanted: ChipRequest,
    ) -> Result<ModelInput> {
        let ForModel { input, how, .. } = model;
        let reject = |rejection| rejected(uri, TileGrid::Whole, rejection);
        self.judge(&Source::object(uri), &looked, TileGrid::Whole).await?.map_err(reject)?;
        let bytes = self.read(uri, looked.whole).await?;
        let image = WholeImage::open(&bytes, &self.limits, how).map_err(reject)?;
        check_whole(uri, &image.header, wanted)?;
        check_only_tile(uri, &image.header, wanted)?;
        let picture = laid_out(input, how, |slot| image.write(&bytes, &self.limits, how, slot));
        Ok(ModelInput {
            picture: picture.map_err(reject)?,
            window: wanted.window,
            level: 0,
            skipped: None,
            read_bytes: bytes.len() as u64,
        })
    }

    async fn read(&self, uri: &ObjectUri, there: Option<Bytes>) -> Result<Bytes> {
        if let Some(bytes) = there {
            return Ok(bytes);
        }
        let object = read_whole(&self.storage, uri, self.max_object_bytes).await;
        let object = ReadError::answer(object).map_err(|fault| not_had(fault, uri))?;
        Ok(object.map_err(|rejection| rejected(uri, self.grid, rejection))?.bytes)
    }
}

fn not_had(fault: StoreError, uri: &ObjectUri) -> Error {
    if matches!(fault, StoreError::Gone) && uri.local_path().is_some_and(|path| path.is_dir()) {
        return Error::config(format!("{uri} is a folder in which a run finds no sources"))
            .hint("name a folder of images, or a pattern such as `items/*.json` for STAC items");
    }
    fault.into_error(uri)
}

/// Ends a command whose only source a run would reject.
fn rejected(what: impl Display, grid: TileGrid, rejection: Rejection) -> Error {
    let too_large = rejection.reason == Reason::TooLarge;
    let error = Error::new(Kind::Rejected, format!("a run would reject {what}")).because(rejection);
    if !too_large {
        return error;
    }
    let more = "if the file is intact, allow more with --set limits.max_pixels=NUMBER or --set \
         limits.max_object=SIZE";
    match grid {
        TileGrid::Whole => error.hint(format!(
            "{more}; a GeoTIFF can be cut into windows instead, with --set tiles.grid=regular"
        )),
        TileGrid::Regular | TileGrid::Frames => error.hint(more),
    }
}
