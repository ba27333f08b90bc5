//! What a run takes of a STAC item: which of its files, by the code that a run chooses them with, and what they are.

use std::sync::Arc;

use serde::Serialize;

use super::describe::{Description, Image, Verdict};
use super::header::{HeaderReport, reads};
use super::source::Source;
use super::window::judge;
use super::{Inspector, Judged, not_had, rejected};
use crate::config::TilesSection;
use crate::formats::image::ImageFormat;
use crate::formats::reader::TileGrid;
use crate::input::open::OpenRaster;
use crate::input::stac;
use crate::input::stac::time;
use crate::input::storage::{ObjectUri, StoreError};
use crate::scene::{Area, Scene, SceneBand, Tiling};
use crate::stages::fetch;
use crate::stages::single_window::survey;
use crate::stages::survey::{ChosenAsset, chosen_assets, unusable_item};
use crate::stages::worker::tiling;
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::reason::SourceError;

/// What there is to say of an item, and of its files that a run reads.
#[derive(Clone, Debug, Serialize)]
pub struct Item {
    /// Its id.
    pub id: String,
    /// Id of its collection.
    pub collection: Option<String>,
    /// When it was taken, UTC.
    pub datetime: Option<String>,
    /// Clouds in percent.
    pub cloud_cover: Option<f64>,
    /// Keys of all its assets.
    pub asset_keys: Vec<String>,
    /// The files that are read; none if neither a model nor `tiles.bands` says which bands are needed.
    pub assets: Vec<Asset>,
    /// What a run takes for granted or decides.
    pub notes: Vec<String>,
}

/// A file of an item that a run reads.
#[derive(Clone, Debug, Serialize)]
pub struct Asset {
    /// Its keys in the item.
    pub keys: Vec<String>,
    /// The bands that are taken from it.
    pub bands: Vec<ItemBand>,
    /// Canonical URI.
    pub source: String,
    /// What its header alone says that becomes of it.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Size of the object.
    pub size_bytes: Option<u64>,
    /// Its version.
    pub version: Option<String>,
    /// Number of bytes that were read for this description.
    pub read_bytes: u64,
    /// The format by content.
    pub format: Option<&'static str>,
    /// What the header says.
    pub image: Option<Image>,
}

/// A band that is taken from a file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ItemBand {
    /// As it was asked for.
    pub name: String,
    /// Which band of the file it is, from 1; `None` if a run does not come so far, or no model was named.
    pub number: Option<u16>,
    /// Value = sample × scale + offset; likewise.
    pub scale: Option<f64>,
    /// See `scale`.
    pub offset: Option<f64>,
}

/// Why the header of a file could not be read.
enum Unread {
    /// Its name is none.
    NoUri(Error),
    /// Its store says so.
    Fault(StoreError, ObjectUri),
}

/// Makes of `[tiles]` what finds the bands that it names, where no model says what their values are to mean.
pub(super) fn tiling_of_bands(grid: &TilesSection, area: Option<Area>) -> Option<Arc<Tiling>> {
    if grid.bands.is_empty() {
        return None;
    }
    // Of its windows nothing is said.
    let size = grid.size.map_or(1, std::num::NonZero::get);
    let (bands, units) = (grid.bands.clone(), vec!["dn".to_owned(); grid.bands.len()]);
    let tiling = tiling::of_grid(grid, size, area, bands, units);
    Some(Arc::new(Tiling { scale: vec![1.0], offset: vec![0.0], ..tiling }))
}

impl Inspector {
    /// Describes an item: what becomes of it, and its files that are read.
    pub(super) async fn describe_item(&self, source: &Source) -> Result<Description> {
        let item = source.item()?.and_then(|item| item.as_ref().ok());
        let mut files = Vec::new();
        for chosen in item.map_or_else(Vec::new, |item| self.chosen(item)) {
            let looked = self.file(&chosen).await;
            files.push((chosen, looked));
        }
        let known: Vec<Arc<OpenRaster>> =
            files.iter().filter_map(|(_, looked)| looked.as_ref().ok()?.known()).collect();
        let judged = self.judge_item(source, &known).await?;
        let scene = judged.as_ref().ok().and_then(Option::as_ref);
        let item = item.map(|item| self.item_of(item, files, scene.map(|scene| &**scene)));
        let windows = scene.and_then(|scene| self.windows_of(scene, TileGrid::Regular));
        Ok(Description::of_item(&source.uri.to_string(), item, judged.err(), windows))
    }

    /// Tells by the headers of its files what a run does with an item.
    ///
    /// - `known`: those whose headers have been read
    async fn judge_item(&self, source: &Source, known: &[Arc<OpenRaster>]) -> Result<Judged> {
        if let Some(model) = &self.model {
            return SourceError::answer(
                judge(self.windows(model, TileGrid::Regular)?, source, known).await.map(Some),
            );
        }
        if let Some(tiling) = &self.bands {
            // Without a model nobody knows how many windows there are.
            let of = (&source.entry, source.item()?);
            let surveyed =
                survey(&self.storage, tiling, u64::MAX, of, known, reads(u64::MAX), self.burned_in).await;
            return SourceError::answer(surveyed.map(|_| None));
        }
        match source.item()? {
            Some(Err(why)) => Ok(Err(unusable_item(&why.to_string()))),
            _ => Ok(Ok(None)),
        }
    }

    fn item_of(
        &self,
        item: &stac::Item,
        files: Vec<(ChosenAsset, Result<HeaderReport, Unread>)>,
        scene: Option<&Scene>,
    ) -> Item {
        let assets = files.into_iter().map(|(chosen, looked)| self.asset(chosen, looked, scene)).collect();
        Item {
            id: item.id.clone(),
            collection: item.collection.clone(),
            datetime: item.datetime.map(time::format),
            cloud_cover: item.cloud_cover,
            asset_keys: item.assets.iter().map(|asset| asset.key.clone()).collect(),
            assets,
            notes: scene.map_or_else(Vec::new, |scene| scene.notes.clone()),
        }
    }

    /// Returns the files that a run reads; none if they cannot be chosen, which is a rejection.
    fn chosen(&self, item: &stac::Item) -> Vec<ChosenAsset> {
        let for_model = self.model.as_ref().and_then(|model| model.tiling.as_ref()?.as_ref().ok());
        let tiling = for_model.or(self.bands.as_ref());
        tiling.and_then(|tiling| chosen_assets(item, tiling).ok()).unwrap_or_default()
    }

    /// Reads the header of a file of an item.
    async fn file(&self, chosen: &ChosenAsset) -> Result<HeaderReport, Unread> {
        let object = ObjectUri::of(&chosen.uri).map_err(Unread::NoUri)?;
        self.header(&object).await.map_err(|fault| Unread::Fault(fault, object))
    }

    fn asset(
        &self,
        chosen: ChosenAsset,
        looked: Result<HeaderReport, Unread>,
        scene: Option<&Scene>,
    ) -> Asset {
        let bands = bands_of(&chosen, scene);
        let ChosenAsset { uri, keys, .. } = chosen;
        let bare = |verdict| Asset {
            keys,
            bands,
            source: uri.to_string(),
            verdict,
            size_bytes: None,
            version: None,
            read_bytes: 0,
            format: None,
            image: None,
        };
        match looked {
            Ok(looked) => {
                let rejection = looked.check(TileGrid::Regular, &self.limits).err();
                Asset {
                    size_bytes: Some(looked.size_bytes),
                    version: looked.version.clone(),
                    read_bytes: looked.read_bytes,
                    format: looked.format.map(ImageFormat::name),
                    image: looked.image(TileGrid::Regular),
                    ..bare(Verdict::new(rejection.as_ref()))
                }
            }
            Err(Unread::NoUri(error)) => bare(Verdict::failed(&error)),
            Err(Unread::Fault(StoreError::Gone, _)) => bare(Verdict::new(Some(&fetch::gone()))),
            Err(Unread::Fault(StoreError::Forbidden, _)) => bare(Verdict::new(Some(&fetch::forbidden()))),
            Err(Unread::Fault(fault, object)) => bare(Verdict::failed(&not_had(fault, &object))),
        }
    }

    /// Returns the object whose samples a source has as stored.
    ///
    /// # Errors
    ///
    /// `Usage` if an item's bands do not lie in one file, `Rejected` if they are not found.
    pub(super) fn file_of(&self, source: &Source) -> Result<ObjectUri> {
        let item = match source.item()? {
            None => return ObjectUri::of(&source.uri),
            Some(item) => item
                .as_ref()
                .map_err(|why| rejected(&source.uri, TileGrid::Regular, unusable_item(&why.to_string())))?,
        };
        let Some(tiling) = &self.bands else {
            return Err(Error::usage(format!("{} is a STAC item: choose one of its files", source.uri))
                .hint(
                    "name its bands with --set tiles.bands=NAME,NAME, or give `--stage input` with a model",
                ));
        };
        let chosen = chosen_assets(item, tiling);
        let chosen = chosen.map_err(|rejection| rejected(&source.uri, TileGrid::Regular, rejection))?;
        if let [file] = &chosen[..] {
            return ObjectUri::of(&file.uri);
        }
        let files: Vec<String> = chosen.iter().map(|file| file.uri.to_string()).collect();
        Err(Error::usage(format!("the bands of {} are in {} files", source.uri, files.len()))
            .because("samples as stored come from one file")
            .hint(format!("name one of them: {}; or give `--stage input` with a model", files.join(", "))))
    }
}

/// Says of the bands of a file what a run makes of them.
fn bands_of(chosen: &ChosenAsset, scene: Option<&Scene>) -> Vec<ItemBand> {
    let resolved = scene.into_iter().flat_map(|scene| {
        let here = |object: usize| scene.objects[object].uri == chosen.uri;
        scene.bands.iter().chain(&scene.rule_bands).filter(move |band| here(band.object))
    });
    let resolved = resolved.map(Some).chain(std::iter::repeat(None));
    let band = |(name, band): (&String, Option<&SceneBand>)| ItemBand {
        name: name.clone(),
        number: band.map(|band| band.band + 1),
        scale: band.map(|band| band.scale),
        offset: band.map(|band| band.offset),
    };
    chosen.bands.iter().zip(resolved).map(band).collect()
}
