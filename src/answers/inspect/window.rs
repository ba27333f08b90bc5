//! One window of a scene as a run gives it to the model: surveyed, cut, stacked.

use std::sync::Arc;

use super::blocks::{Blocks, decoded};
use super::chip::ChipRequest;
use super::header::reads;
use super::source::Source;
use super::{not_had, rejected};
use crate::formats::image::Limits;
use crate::formats::raster::GridId;
use crate::formats::reader::TileGrid;
use crate::input::byte_ranges::{ReadError, ReadOptions};
use crate::input::open::OpenRaster;
use crate::input::storage::{ObjectUri, Storage, StoreError};
use crate::scene::skip::Skipped;
use crate::scene::{Scene, SceneLayout, SourceWindow, Tiling};
use crate::stages::compose::{SceneChip, SourceSamples, composite};
use crate::stages::fetch;
use crate::stages::fetch::{OpenScene, blocks_of, check_size};
use crate::stages::preprocess::Preprocess;
use crate::stages::survey::{HeaderReader, grid_of, is_in_grid, is_planned, nearest_window};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::geometry::{Size, Window};
use crate::vocabulary::identity::SourceUri;
use crate::vocabulary::reason::{Reason, Rejection, SourceError};

/// Surveys a source as planning does, and finds out what a run would if an object of it does not answer.
///
/// - `max_windows`: more windows of one scene are a rejection
/// - `known`: objects whose headers have been read
/// - `reads`: how others are read
pub(super) async fn survey(
    storage: &Storage,
    tiling: &Arc<Tiling>,
    max_windows: u64,
    source: &Source,
    known: &[Arc<OpenRaster>],
    reads: ReadOptions,
) -> Result<OpenScene, SourceError> {
    let surveyor = HeaderReader::new(storage.clone(), tiling.clone(), max_windows, reads);
    let (survey, objects) = surveyor.survey_objects(&source.entry, source.item()?, known).await?;
    match survey {
        SceneLayout::Scene(scene) => Ok(OpenScene::new(scene, objects)),
        SceneLayout::Rejected { reason, detail } => Err(Rejection::new(reason, detail).into()),
        SceneLayout::Unanswered { uri } => Err(unanswered(storage, &ObjectUri::of(&uri)?).await?.into()),
    }
}

/// Returns why a run rejects a source for an object that did not answer.
async fn unanswered(storage: &Storage, uri: &ObjectUri) -> Result<Rejection> {
    let bucket = storage.bucket(uri);
    let found = match bucket.head(uri.key()).await {
        // An answer to this may say nothing of what reading it does.
        Ok(_) => bucket.get_range(uri.key(), 0, 1).await.map(|_| ()),
        Err(fault) => Err(fault),
    };
    match found {
        Err(StoreError::Gone) => Ok(fetch::gone()),
        Err(StoreError::Forbidden) => Ok(fetch::forbidden()),
        Err(StoreError::Failed(error)) => Err(error),
        Ok(()) | Err(_) => Err(Error::unavailable(format!("{uri} cannot be read by ranges"))),
    }
}

/// Reads windows of scenes as a run with this tiling does.
pub(super) struct WindowReader<'a> {
    pub(super) storage: &'a Storage,
    pub(super) limits: &'a Limits,
    pub(super) tiling: &'a Arc<Tiling>,
    pub(super) how: &'a Preprocess,
    /// More windows of one scene are a rejection.
    pub(super) max_windows: u64,
}

/// A window that was read.
pub(super) struct ReadWindow {
    pub(super) chip: SceneChip,
    pub(super) window: Window,
    pub(super) level: u32,
    /// Why a run gives its row no prediction, if it leaves the window out.
    pub(super) skipped: Option<Skipped>,
    pub(super) read_bytes: u64,
}

impl WindowReader<'_> {
    /// Tells by the headers alone how a run cuts a source, or why it rejects all of it.
    ///
    /// - `known`: objects whose headers have been read
    pub(super) async fn judge(
        &self,
        source: &Source,
        known: &[Arc<OpenRaster>],
    ) -> Result<Arc<Scene>, SourceError> {
        Ok(self.opened(source, known, reads(u64::MAX)).await?.scene)
    }

    /// Surveys and opens a source, and holds what its headers say against the contract.
    async fn opened(
        &self,
        source: &Source,
        known: &[Arc<OpenRaster>],
        reads: ReadOptions,
    ) -> Result<OpenScene, SourceError> {
        let opened = survey(self.storage, self.tiling, self.max_windows, source, known, reads).await?;
        self.check(&opened)?;
        Ok(opened)
    }

    fn check(&self, scene: &OpenScene) -> Result<(), Rejection> {
        let side = self.tiling.size;
        self.how.check(self.how.bands(), scene.kind(), Size::new(side, side))
    }

    /// Reads one window.
    pub(super) async fn read(&self, source: &Source, wanted: ChipRequest) -> Result<ReadWindow> {
        let uri = &source.uri;
        let reads = reads(u64::MAX);
        let traffic = reads.traffic.clone();
        let opened = self.opened(source, &[], reads).await.map_err(|error| match error {
            SourceError::Rejected(rejection) => rejected(uri, TileGrid::Regular, rejection),
            SourceError::Failed(error) => error,
        })?;
        let chip = self.cut(uri, &opened, wanted).await?;
        Ok(ReadWindow { read_bytes: traffic.bytes(), ..chip })
    }

    /// Reads one window of a scene that is open.
    async fn cut(&self, uri: &SourceUri, opened: &OpenScene, wanted: ChipRequest) -> Result<ReadWindow> {
        let scene = opened.scene.clone();
        let window = self.chosen(uri, &scene, wanted)?;
        let reject = |rejection| rejected(format!("{window} of {uri}"), TileGrid::Regular, rejection);
        let cuts = scene.cuts(wanted.frame, window, self.tiling.size);
        check_size(opened, &cuts, self.limits).map_err(reject)?;
        let blocks = blocks(opened, &cuts).await?;
        let chip = self.stacked(opened, cuts, &blocks).map_err(reject)?;
        Ok(ReadWindow {
            skipped: self.tiling.skip_rules().after_pixels(&chip.measured),
            chip,
            window,
            level: scene.level,
            read_bytes: 0,
        })
    }

    /// Returns which window is meant; without one, the only one.
    fn chosen(&self, uri: &SourceUri, scene: &Arc<Scene>, wanted: ChipRequest) -> Result<Window> {
        let level = scene.level;
        if wanted.frame >= scene.num_frames() || (wanted.level != 0 && wanted.level != level) {
            let frames = match scene.num_frames() {
                1 => "frame 0".to_owned(),
                frames => format!("frames 0 to {}", frames - 1),
            };
            return Err(Error::usage(format!("a run cuts {uri} at level {level}, {frames}")));
        }
        let only = (grid_of(scene) == (1, 1)).then(|| nearest_window(scene, 0, 0));
        match wanted.window.or(only).filter(|window| is_planned(scene, self.tiling, *window)) {
            Some(window) => Ok(window),
            None if wanted.window.or(only).is_some_and(|window| is_in_grid(scene, window)) => Err(
                Error::usage(format!("that window of {uri} is not a tile of a run with this `tiles.aoi`"))
                    .hint("do not set tiles.aoi, or give a window that touches it"),
            ),
            None => Err(not_planned(uri, scene, wanted.window)),
        }
    }

    fn stacked(
        &self,
        opened: &OpenScene,
        cuts: Vec<SourceWindow>,
        blocks: &[Blocks],
    ) -> Result<SceneChip, Rejection> {
        let piece = |cut: SourceWindow| {
            let SourceWindow { object, frame, level, .. } = cut;
            let block = |part, id| {
                blocks[object][&(GridId { frame, level, part }, id)].as_ref().map_err(Clone::clone)
            };
            SourceSamples::read(cut, opened.objects[object].file(), block)
        };
        let pieces: Vec<SourceSamples> = cuts.into_iter().map(piece).collect::<Result<_, _>>()?;
        let (side, rules) = (self.tiling.size, self.tiling.skip_rules());
        Ok(composite(&opened.scene, &rules, self.how.bands(), side, &pieces))
    }
}

/// Says of a window that no run has it, and which one is near.
fn not_planned(uri: &SourceUri, scene: &Scene, wanted: Option<Window>) -> Error {
    let Scene { size, level, .. } = *scene;
    let (x, y) = wanted.map_or((0, 0), |window| (window.x, window.y));
    let near = nearest_window(scene, x, y);
    let (across, down) = grid_of(scene);
    let cut = format!("a run cuts {uri} into {across} × {down} windows of {}", near.size());
    let error = match wanted {
        None => Error::usage(cut),
        Some(window) => {
            Error::usage(format!("the window {window} of {uri} is not a tile of a run")).because(cut)
        }
    };
    let Window { x, y, width, height } = near;
    error.hint(format!(
        "--window {x},{y},{width},{height} is the nearest of that grid, in pixels of level {level}, which is {size}; \
         without `--stage input` any window can be written, with samples as stored"
    ))
}

/// Reads and decodes what cuts need, object by object.
async fn blocks(opened: &OpenScene, cuts: &[SourceWindow]) -> Result<Vec<Blocks>> {
    let mut blocks = Vec::with_capacity(opened.objects.len());
    for (number, object) in opened.objects.iter().enumerate() {
        let (object, uri) = (object.opened(), object.opened().uri());
        let keys = cuts.iter().flat_map(|cut| blocks_of(opened, cut)).filter(|key| key.object == number);
        let found = decoded(object, keys.map(|key| (key.grid, key.id))).await;
        blocks.push(found.map_err(|error| match error {
            ReadError::Rejected(why) => rejected(uri, TileGrid::Regular, why),
            ReadError::Store(fault) => not_had(fault, uri),
        })?);
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::formats::raster::raw;
    use crate::input::byte_ranges::RangeReader;
    use crate::input::storage::StorageOptions;
    use crate::output::PlannedTile;
    use crate::scene::{NodataSetting, Resolution};
    use crate::stages::survey::windows::tiles_of;
    use crate::vocabulary::chip::Samples;
    use crate::vocabulary::contract::{Accept, Input, Layout, SampleType};
    use crate::vocabulary::tile_id::TileId;

    const SIDE: u32 = 8;

    fn sample(frame: u32, x: u32, y: u32, _: u16) -> u16 {
        (1000 * frame + 20 * y + x) as u16
    }

    async fn raw_raster(storage: &Storage, uri: &ObjectUri) -> Arc<OpenRaster> {
        let reader = RangeReader::open(storage, uri, reads(u64::MAX)).await.unwrap().unwrap();
        let file = reader.parse(raw::parse_partial).await.unwrap();
        Arc::new(OpenRaster::new(file, Arc::new(reader)))
    }

    fn tiling() -> Arc<Tiling> {
        Arc::new(Tiling {
            size: SIDE,
            stride: SIDE,
            resolution: Resolution::default(),
            aoi: None,
            bands: vec!["1".to_owned()],
            units: vec!["dn".to_owned()],
            scale: Vec::new(),
            offset: Vec::new(),
            nodata: NodataSetting::File,
            min_valid_fraction: 0.0,
            clouds: None,
            cell_km: 10,
        })
    }

    fn preprocess() -> Preprocess {
        Preprocess::new(&Input {
            tensor: "input".to_owned(),
            layout: Layout::Nchw,
            sample_type: SampleType::Float32,
            bands: vec!["one".to_owned()],
            unit: "dn".to_owned(),
            units: None,
            width: SIDE,
            height: SIDE,
            resize: None,
            normalise: None,
            accept: Accept::default(),
        })
        .unwrap()
    }

    /// A file of a format that is not shaped like TIFF is surveyed, planned, fetched, decoded and stacked as any other:
    /// each frame has tiles, blocks and samples of its own.
    #[tokio::test]
    async fn frames_differ_in_ids_blocks_and_samples() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.raw");
        std::fs::write(&path, raw::file(Size::new(20, 12), 1, 3, sample)).unwrap();
        let storage = Storage::new(StorageOptions::default()).unwrap();
        let uri = ObjectUri::parse(path.to_str().unwrap()).unwrap();
        let (tiling, how, limits) = (tiling(), preprocess(), Limits::default());
        let windows =
            WindowReader { storage: &storage, limits: &limits, tiling: &tiling, how: &how, max_windows: 18 };
        let known = [raw_raster(&storage, &uri).await];
        let opened = windows.opened(&Source::object(&uri), &known, reads(u64::MAX)).await.unwrap();
        let scene = opened.scene.clone();
        let survey = SceneLayout::Scene(scene.clone());
        let json = survey.to_json().unwrap();
        assert!(json.contains("\"num_frames\":3"), "{json}");

        let name = uri.to_string();
        let tiles: Vec<PlannedTile> = tiles_of(0, &name, Some(&survey), Some(&tiling), 4).collect();
        assert_eq!(tiles.len(), 3 * 6, "three by two windows of each frame");
        assert_eq!(tiles.iter().map(|tile| tile.id).collect::<HashSet<_>>().len(), tiles.len());
        for tile in &tiles {
            assert_eq!(tile.id, TileId::of(&name, 0, tile.frame, tile.window));
            let (window, frame) = (tile.window.unwrap(), tile.frame);
            let wanted = ChipRequest { window: Some(window), level: 0, frame };
            let read = windows.cut(uri.identity(), &opened, wanted).await.unwrap();
            let pixels = (0..SIDE * SIDE).map(|at| (window.x + at % SIDE, window.y + at / SIDE));
            let expected = pixels.map(|(x, y)| f32::from(sample(frame, x, y, 0))).collect();
            assert_eq!(read.chip.chip.samples, Samples::F32(expected), "{window} of frame {frame}");
            let cuts = scene.cuts(frame, window, SIDE);
            assert!(blocks_of(&opened, &cuts[0]).all(|key| key.grid.frame == frame));
        }
        let beyond = ChipRequest { window: tiles[0].window, level: 0, frame: 3 };
        let error = windows.cut(uri.identity(), &opened, beyond).await.err().unwrap();
        assert!(error.to_string().ends_with("at level 0, frames 0 to 2"), "{error}");
        let too_few = WindowReader { max_windows: 17, ..windows };
        let refused = too_few.opened(&Source::object(&uri), &known, reads(u64::MAX)).await.err().unwrap();
        assert_eq!(refused.rejection().unwrap().reason, Reason::TooLarge, "frames count");
    }
}
