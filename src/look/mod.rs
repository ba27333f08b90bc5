//! Looking at single sources: what the decoder sees of one, and the samples of one of its windows.
//!
//! Goes in: a source's URI, the settings that a run would have, and for some questions its model. Comes out: a
//! [`Description`] made from the header alone, or a [`Picture`] with the decoded samples, as stored or as a model
//! gets them. The commands `inspect` and `chip` call it; nothing here plans, infers or judges a run, and what it says
//! is what a run with the same settings does with the same bytes: `format::reader` chooses the reader, as there.
//!
//! ```text
//! inspect   size and version ─▶ a range ─▶ parse ─▶ [ the range it asks for ─▶ parse ] ─▶ Description
//! chip      whole: object ─▶ decode ─▶ window ─▶ [ preprocess ] ─▶ Picture ─▶ .npy, .png
//!           regular: header ─▶ block table ─▶ blocks ─▶ window ─▶ [ stack ─▶ preprocess ] ─▶ …
//! ```

mod blocks;
mod chip;
mod describe;
mod header;
mod picture;
mod scene;
mod window;

use std::sync::Arc;

use bytes::Bytes;

use self::blocks::read_scene;
pub use self::chip::Wanted;
use self::chip::{check_whole, decode_window, laid_out};
pub use self::describe::{Description, Grids, Image, Level, Status, Verdict};
use self::header::{Looked, Ranges};
pub use self::picture::{FileFormat, Picture};
pub use self::scene::{Band, Blocks, Scene};
use self::window::{ReadWindow, WindowReader};

use crate::config::Looking;
use crate::decode::chip::Chip;
use crate::error::{Error, Kind, Result};
use crate::fetch::too_large;
use crate::format::image::Limits;
use crate::format::reader::TileGrid;
use crate::geometry::Window;
use crate::model::contract::Input;
use crate::observe::Traffic;
use crate::preprocess::{Preprocess, WholeImage};
use crate::reason::{Reason, Rejection};
use crate::scene::Tiling;
use crate::storage::{Fault, ObjectUri, Storage};
use crate::worker::tiling;

/// Looks at sources with the settings of a run.
pub struct Looker {
    storage: Storage,
    limits: Limits,
    max_object_bytes: u64,
    max_windows: u64,
    grid: TileGrid,
    model: Option<ForModel>,
}

/// What a run would make of sources for one model.
struct ForModel {
    input: Input,
    how: Preprocess,
    /// How scenes are cut, with `tiles.grid = "regular"`.
    tiling: Option<Arc<Tiling>>,
}

impl ForModel {
    fn window_input(&self, read: ReadWindow, uri: &ObjectUri) -> Result<ModelInput> {
        let picture = laid_out(&self.input, &self.how, |slot| self.how.apply(&read.chip.chip, slot));
        Ok(ModelInput {
            picture: picture.map_err(|rejection| rejected(uri, TileGrid::Regular, rejection))?,
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
    pub skipped: Option<(Reason, String)>,
    /// Number of bytes that were read for it.
    pub read_bytes: u64,
}

impl Looker {
    /// Prepares to look; nothing is connected yet.
    ///
    /// - `input`: what the model takes that a run would have; `None` to leave the model out of account
    ///
    /// # Errors
    ///
    /// `Config` if the settings contradict themselves or the model.
    pub fn new(settings: &Looking, input: Option<Input>) -> Result<Self> {
        Self::with_storage(settings, input, Storage::new(settings.storage.clone())?)
    }

    /// Prepares to look at what this storage gives access to, whatever the settings say of it.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn with_storage(settings: &Looking, input: Option<Input>, storage: Storage) -> Result<Self> {
        let for_model = |input: Input| {
            let input = Input { accept: settings.tiles.over(input.accept), ..input };
            let tiling = tiling::resolve(settings.grid.as_ref(), &input)?.map(Arc::new);
            Ok::<_, Error>(ForModel { how: Preprocess::new(&input)?, input, tiling })
        };
        Ok(Self {
            storage,
            limits: Limits::of_pixels(settings.limits.max_pixels),
            max_object_bytes: settings.limits.max_object_bytes,
            max_windows: settings.limits.max_windows,
            grid: settings.tile_grid(),
            model: input.map(for_model).transpose()?,
        })
    }

    /// Returns how the runs make tiles that this speaks of.
    #[must_use]
    pub fn grid(&self) -> TileGrid {
        self.grid
    }

    /// Describes a source by its header.
    ///
    /// # Errors
    ///
    /// `Config` if the object is not there or may not be read, `Unavailable` if its store is away. What a
    /// run would reject is described, see [`Description::check`].
    pub async fn describe(&self, uri: &ObjectUri) -> Result<Description> {
        let looked = self.header(uri).await.map_err(|fault| not_had(fault, uri))?;
        let rejection = self.judge(uri, &looked).await?.err();
        Ok(Description::new(uri, looked, self.grid, &self.limits, rejection))
    }

    /// Tells by the header alone why a run would reject a source, if it would.
    ///
    /// # Errors
    ///
    /// As [`Self::describe`] if nothing can be told: its store is away, or it changes while it is read.
    pub async fn check(&self, uri: &ObjectUri) -> Result<Option<Rejection>> {
        let looked = match self.header(uri).await {
            Ok(looked) => looked,
            Err(Fault::Gone) => return Ok(Some(Rejection::new(Reason::Gone, "the object is not there"))),
            Err(Fault::Forbidden) => {
                return Ok(Some(Rejection::new(Reason::Forbidden, "the object may not be read")));
            }
            Err(fault) => return Err(fault.into_error(uri)),
        };
        Ok(self.judge(uri, &looked).await?.err())
    }

    /// Tells by the header alone what a run would reject.
    async fn judge(&self, uri: &ObjectUri, looked: &Looked) -> Result<Result<(), Rejection>> {
        if let Err(rejection) = looked.check(self.grid, &self.limits) {
            return Ok(Err(rejection));
        }
        let Some(model) = &self.model else { return Ok(Ok(())) };
        match (self.windows(), &looked.picture) {
            (Some(windows), _) => {
                let scene = match windows.survey(uri).await? {
                    Ok(scene) => scene,
                    Err(rejection) => return Ok(Err(rejection)),
                };
                let opened = windows.open(&scene, &Arc::new(Traffic::default())).await?;
                Ok(windows.check(&opened))
            }
            (None, Ok(header)) => Ok(WholeImage::of(header.clone(), &self.limits, &model.how).map(|_| ())),
            (None, Err(rejection)) => Ok(Err(rejection.clone())),
        }
    }

    /// Returns how windows of scenes are read for the model, if a run would cut scenes.
    fn windows(&self) -> Option<WindowReader<'_>> {
        let ForModel { how, tiling, .. } = self.model.as_ref()?;
        let tiling = tiling.as_ref()?;
        let (limits, max_windows) = (&self.limits, self.max_windows);
        Some(WindowReader { storage: &self.storage, limits, tiling, how, max_windows })
    }

    /// Decodes the part of a source that is wanted, samples as stored; returns also how many bytes were read.
    ///
    /// Where a run cuts scenes, only the blocks are read that the window needs; else all of the source.
    ///
    /// # Errors
    ///
    /// As [`Self::describe`]; `Rejected` for what a run would reject; `Usage` if the source has no such level or
    /// frame, or the window is not inside it.
    pub async fn chip(&self, uri: &ObjectUri, wanted: Wanted) -> Result<(Chip, u64)> {
        let mut looked = self.header(uri).await.map_err(|fault| not_had(fault, uri))?;
        self.judge(uri, &looked).await?.map_err(|rejection| rejected(uri, self.grid, rejection))?;
        if let (TileGrid::Regular, Ok(header)) = (self.grid, looked.scene) {
            let bucket = self.storage.bucket(uri);
            let mut ranges =
                Ranges::again(&bucket, uri.key(), looked.object, looked.whole, looked.read_bytes);
            let chip = read_scene(uri, &mut ranges, &header, &self.limits, wanted).await?;
            return Ok((chip, ranges.read_bytes));
        }
        let bytes = self.read(uri, looked.whole.take()).await?;
        let chip = decode_window(uri, &bytes, &self.limits, wanted)?;
        Ok((chip, bytes.len() as u64))
    }

    /// Makes of the part of a source that is wanted what a run gives to the model.
    ///
    /// # Errors
    ///
    /// As [`Self::chip`]; `Usage` if no model was named.
    pub async fn input(&self, uri: &ObjectUri, wanted: Wanted) -> Result<ModelInput> {
        let model = self.model.as_ref().ok_or_else(|| Error::usage("no model was named"))?;
        match self.windows() {
            Some(windows) => model.window_input(windows.read(uri, wanted).await?, uri),
            None => self.whole_input(model, uri, wanted).await,
        }
    }

    async fn whole_input(&self, model: &ForModel, uri: &ObjectUri, wanted: Wanted) -> Result<ModelInput> {
        let ForModel { input, how, .. } = model;
        let reject = |rejection| rejected(uri, TileGrid::Whole, rejection);
        let mut looked = self.header(uri).await.map_err(|fault| not_had(fault, uri))?;
        // Whether the model takes a part of it is not said by the header of all of it.
        if wanted.window.is_none() || looked.unread.is_some() {
            self.judge(uri, &looked).await?.map_err(reject)?;
        }
        let bytes = self.read(uri, looked.whole.take()).await?;
        let picture = if wanted.window.is_some() {
            let chip = decode_window(uri, &bytes, &self.limits, wanted)?;
            laid_out(input, how, |slot| how.apply(&chip, slot))
        } else {
            let image = WholeImage::open(&bytes, &self.limits, how).map_err(reject)?;
            check_whole(uri, &image.header, wanted)?;
            laid_out(input, how, |slot| image.write(&bytes, &self.limits, how, slot))
        };
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
        match self.storage.bucket(uri).get(uri.key(), self.max_object_bytes).await {
            Ok(object) => Ok(object.bytes),
            Err(Fault::TooLarge { size }) => {
                Err(rejected(uri, self.grid, too_large(size, self.max_object_bytes)))
            }
            Err(fault) => Err(not_had(fault, uri)),
        }
    }
}

fn not_had(fault: Fault, uri: &ObjectUri) -> Error {
    if matches!(fault, Fault::Gone) && uri.local_path().is_some_and(|path| path.is_dir()) {
        return Error::config(format!("{uri} is a folder")).hint("name the images in it");
    }
    fault.into_error(uri)
}

/// Ends a command whose only source a run would reject.
fn rejected(uri: &ObjectUri, grid: TileGrid, rejection: Rejection) -> Error {
    let too_large = rejection.reason == Reason::TooLarge;
    let error = Error::new(Kind::Rejected, format!("cannot decode {uri}")).because(rejection);
    if !too_large {
        return error;
    }
    let more = "if the file is sound, allow more with --set limits.max_pixels=NUMBER or --set limits.max_object=SIZE";
    match grid {
        TileGrid::Whole => error.hint(format!(
            "{more}; a GeoTIFF can be cut into windows instead, with --set tiles.grid=regular"
        )),
        TileGrid::Regular => error.hint(more),
    }
}
