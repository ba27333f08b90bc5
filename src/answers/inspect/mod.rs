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
mod picture;
mod preview;
mod scene;
mod source;
mod window;

use std::fmt::Display;
use std::sync::Arc;

use bytes::Bytes;

use self::blocks::read_scene;
pub use self::chip::ChipRequest;
use self::chip::{check_only_tile, check_whole, decode_window, laid_out};
pub use self::describe::{Description, Grids, Image, Level, Status, Verdict, Windows};
use self::header::HeaderReport;
pub use self::item::{Asset, Item, ItemBand};
pub use self::picture::{FileFormat, Picture};
pub use self::preview::preview;
pub use self::scene::{Band, Blocks, Scene};
pub use self::source::{Source, Sources};
use self::window::ReadWindow;

use crate::config::InspectOptions;
use crate::formats::image::DecodeLimits;
use crate::formats::reader::TileGrid;
use crate::input::byte_ranges::{ReadError, read_whole};
use crate::input::open::OpenRaster;
use crate::input::source::ItemSpec;
use crate::input::storage::{ObjectUri, Storage, StoreError};
use crate::scene::skip::Skipped;
use crate::scene::{self as scenes, Area, Tiling};
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
}

/// What a run would make of sources for one model.
struct ForModel {
    input: Input,
    how: Preprocess,
    /// How scenes are cut with `tiles.grid = "regular"`, whether they are or not, or why they cannot be; `None`: nobody
    /// asks.
    tiling: Option<Result<Arc<Tiling>>>,
}

impl ForModel {
    /// - `area`: of interest, where scenes are cut
    fn new(settings: &InspectOptions, area: Option<&Area>, input: Input) -> Result<Self> {
        let input = Input { accept: settings.tiles.over(input.accept), ..input };
        let tiling = match (&settings.grid, &settings.other_grid) {
            (Some(grid), _) => {
                Some(Ok(Arc::new(tiling::resolve_within(grid, || Ok(area.cloned()), &input)?)))
            }
            (None, Some(grid)) => match tiling::resolve(Some(grid), &input) {
                Ok(tiling) => tiling.map(|tiling| Ok(Arc::new(tiling))),
                Err(error) => Some(Err(error)),
            },
            (None, None) => None,
        };
        Ok(Self { how: Preprocess::new(&input)?, input, tiling })
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
        let area = settings.grid.as_ref().and_then(|grid| grid.aoi.as_deref()).map(tiling::read_aoi);
        let area = area.transpose()?;
        let items = || tiling::items(&settings.stac, &settings.limits, area.as_ref(), storage.naming());
        let items = settings.grid.as_ref().map(|_| items()).transpose()?;
        Ok(Self {
            storage,
            limits: DecodeLimits::of_pixels(settings.limits.max_pixels),
            max_object_bytes: settings.limits.max_object_bytes,
            max_windows: settings.limits.max_windows,
            grid: settings.tile_grid(),
            items,
            bands: settings.grid.as_ref().and_then(|grid| item::tiling_of_bands(grid, area.clone())),
            model: input.map(|input| ForModel::new(settings, area.as_ref(), input)).transpose()?,
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
        let judged = self.judge(source, &looked, self.grid).await?;
        let grids = self.grids(&uri, &looked, &judged).await;
        let windows = judged.as_ref().ok().and_then(|scene| self.windows_of(scene.as_ref()?));
        Ok(Description::new(&uri, looked, self.grid, grids, judged.err(), windows))
    }

    /// Says what runs of both grids do with an object.
    async fn grids(&self, uri: &ObjectUri, looked: &HeaderReport, own: &Judged) -> Grids {
        let own = Verdict::new(own.as_ref().err());
        let other = match self.grid {
            TileGrid::Whole => TileGrid::Regular,
            TileGrid::Regular => TileGrid::Whole,
        };
        let other_verdict = if other == TileGrid::Regular && looked.is_stac {
            Verdict::of_stac()
        } else {
            match self.judge(&Source::object(uri), looked, other).await {
                Ok(judged) => Verdict::new(judged.err().as_ref()),
                Err(error) => Verdict::failed(&error),
            }
        };
        match other {
            TileGrid::Regular => Grids { whole: own, regular: other_verdict },
            TileGrid::Whole => Grids { whole: other_verdict, regular: own },
        }
    }

    /// Counts the windows of a scene that a run has.
    fn windows_of(&self, scene: &Arc<scenes::Scene>) -> Option<Windows> {
        let tiling = self.model.as_ref()?.tiling.as_ref()?.as_ref().ok()?;
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
        Ok(self.judge(&Source::object(uri), &looked, self.grid).await?.err())
    }

    /// Tells by the header alone what a run of this grid does.
    async fn judge(&self, source: &Source, looked: &HeaderReport, grid: TileGrid) -> Result<Judged> {
        if let Err(rejection) = looked.check(grid, &self.limits) {
            return Ok(Err(rejection));
        }
        let Some(model) = &self.model else { return Ok(Ok(None)) };
        match (grid, &looked.picture) {
            (TileGrid::Regular, _) => {
                let known: Vec<Arc<OpenRaster>> = looked.known().into_iter().collect();
                SourceError::answer(window::judge(self.windows(model)?, source, &known).await.map(Some))
            }
            (TileGrid::Whole, Ok(header)) => {
                Ok(WholeImage::of(header.clone(), &self.limits, &model.how).map(|_| None))
            }
            (TileGrid::Whole, Err(rejection)) => Ok(Err(rejection.clone())),
        }
    }

    /// Returns how windows of scenes are read for the model.
    fn windows<'a>(&'a self, model: &'a ForModel) -> Result<WindowReader<'a>> {
        let tiling = match &model.tiling {
            Some(Ok(tiling)) => tiling,
            Some(Err(why)) => return Err(Error::config(why.to_string())),
            None => return Err(Error::bug("nobody has asked how scenes are cut")),
        };
        let (limits, max_windows) = (&self.limits, self.max_windows);
        Ok(WindowReader { storage: &self.storage, limits, tiling, how: &model.how, max_windows })
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
        let judged = self.judge(&Source::object(uri), &looked, self.grid).await?;
        judged.map_err(|rejection| rejected(uri, self.grid, rejection))?;
        if let (TileGrid::Regular, Ok(object)) = (self.grid, looked.scene) {
            let chip = read_scene(&object, &self.limits, wanted).await?;
            return Ok((chip, object.reader().read_bytes()));
        }
        let bytes = self.read(uri, looked.whole).await?;
        let chip = decode_window(uri, &bytes, &self.limits, wanted)?;
        Ok((chip, bytes.len() as u64))
    }

    /// Makes of the part of a source that is wanted what a run gives to the model.
    ///
    /// # Errors
    ///
    /// As [`Self::chip`]; `Usage` if no model was named, or a run has no such tile.
    pub async fn input(&self, source: &Source, wanted: ChipRequest) -> Result<ModelInput> {
        let model = self.model.as_ref().ok_or_else(|| Error::usage("no model was named"))?;
        if self.grid == TileGrid::Regular {
            return model
                .window_input(window::read(self.windows(model)?, source, wanted).await?, &source.uri);
        }
        self.whole_input(model, &ObjectUri::of(&source.uri)?, wanted).await
    }

    async fn whole_input(
        &self,
        model: &ForModel,
        uri: &ObjectUri,
        wanted: ChipRequest,
    ) -> Result<ModelInput> {
        let ForModel { input, how, .. } = model;
        let reject = |rejection| rejected(uri, TileGrid::Whole, rejection);
        let looked = self.header(uri).await.map_err(|fault| not_had(fault, uri))?;
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
        TileGrid::Regular => error.hint(more),
    }
}
