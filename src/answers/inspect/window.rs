//! Which window of a scene is meant, and what a run gives of it to the model.

use std::fmt::Display;
use std::sync::Arc;

use super::chip::ChipRequest;
use super::header::reads;
use super::rejected;
use super::source::Source;
use crate::formats::reader::TileGrid;
use crate::input::open::OpenRaster;
use crate::scene::skip::Skipped;
use crate::scene::{Scene, Tiling};
use crate::stages::compose::SceneChip;
use crate::stages::fetch::OpenScene;
use crate::stages::single_window::{WindowChip, WindowReader};
use crate::stages::survey::{grid_of, is_in_grid, is_planned, nearest_window};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::geometry::Window;
use crate::vocabulary::identity::SourceUri;
use crate::vocabulary::reason::SourceError;

/// A window that was read.
pub(super) struct ReadWindow {
    pub(super) chip: SceneChip,
    pub(super) window: Window,
    pub(super) level: u32,
    /// Why a run gives its row no prediction, if it leaves the window out.
    pub(super) skipped: Option<Skipped>,
    pub(super) read_bytes: u64,
}

/// Tells by the headers alone how a run cuts a source, or why it rejects all of it.
///
/// - `known`: objects whose headers have been read
pub(super) async fn judge(
    windows: WindowReader<'_>,
    source: &Source,
    known: &[Arc<OpenRaster>],
) -> Result<Arc<Scene>, SourceError> {
    Ok(windows.open((&source.entry, source.item()?), known, reads(u64::MAX)).await?.scene)
}

/// Reads one window.
///
/// - `known`: objects whose headers have been read
pub(super) async fn read(
    windows: WindowReader<'_>,
    source: &Source,
    known: &[Arc<OpenRaster>],
    wanted: ChipRequest,
) -> Result<ReadWindow> {
    let uri = &source.uri;
    let reads = reads(u64::MAX);
    let traffic = reads.traffic.clone();
    let opened = windows.open((&source.entry, source.item()?), known, reads).await;
    let opened = opened.map_err(|error| ended(uri, error))?;
    let chip = cut(windows, uri, &opened, wanted).await?;
    Ok(ReadWindow { read_bytes: traffic.bytes(), ..chip })
}

/// Reads one window of a scene that is open.
async fn cut(
    windows: WindowReader<'_>,
    uri: &SourceUri,
    opened: &OpenScene,
    wanted: ChipRequest,
) -> Result<ReadWindow> {
    let window = chosen(windows.tiling, uri, &opened.scene, wanted)?;
    let read = windows.read(opened, wanted.frame, window).await;
    let WindowChip { chip, skipped } = read.map_err(|error| ended(format!("{window} of {uri}"), error))?;
    Ok(ReadWindow { chip, window, level: opened.scene.level, skipped, read_bytes: 0 })
}

/// Ends a command for what came of its only source.
fn ended(what: impl Display, error: SourceError) -> Error {
    error.into_error(|rejection| rejected(what, TileGrid::Regular, rejection))
}

/// Returns which window is meant; without one, the only one.
fn chosen(tiling: &Tiling, uri: &SourceUri, scene: &Arc<Scene>, wanted: ChipRequest) -> Result<Window> {
    let level = scene.level;
    if wanted.frame >= scene.num_frames() || (wanted.level != 0 && wanted.level != level) {
        let frames = match scene.num_frames() {
            1 => "frame 0".to_owned(),
            frames => format!("frames 0 to {}", frames - 1),
        };
        return Err(Error::usage(format!("a run cuts {uri} at level {level}, {frames}")));
    }
    let only = (grid_of(scene) == (1, 1)).then(|| nearest_window(scene, 0, 0));
    match wanted.window.or(only).filter(|window| is_planned(scene, tiling, *window)) {
        Some(window) => Ok(window),
        None if wanted.window.or(only).is_some_and(|window| is_in_grid(scene, window)) => {
            Err(Error::usage(format!("that window of {uri} is not a tile of a run with this `tiles.aoi`"))
                .hint("do not set tiles.aoi, or give a window that touches it"))
        }
        None => Err(not_planned(uri, scene, wanted.window)),
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::formats::image::DecodeLimits;
    use crate::input::byte_ranges::RangeReader;
    use crate::input::storage::{ObjectUri, Storage, StorageOptions};
    use crate::output::PlannedTile;
    use crate::rasters::raw;
    use crate::scene::{BurnedIn, Microns, NodataSetting, Resolution, SceneLayout};
    use crate::stages::fetch::blocks_of;
    use crate::stages::preprocess::Preprocess;
    use crate::stages::survey::windows::tiles_of;
    use crate::vocabulary::chip::Samples;
    use crate::vocabulary::contract::{Accept, Input, Layout, SampleType};
    use crate::vocabulary::geometry::Size;
    use crate::vocabulary::reason::Reason;
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
            frames: None,
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

    /// A raw raster on disk, and what surveys it.
    struct Raw {
        _folder: tempfile::TempDir,
        storage: Storage,
        uri: ObjectUri,
    }

    impl Raw {
        fn write(file: &[u8]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.raw");
            std::fs::write(&path, file).unwrap();
            let uri = ObjectUri::parse(path.to_str().unwrap()).unwrap();
            Self { storage: Storage::new(StorageOptions::default()).unwrap(), _folder: folder, uri }
        }

        /// Surveys it with the windows of a tiling.
        async fn opened(&self, windows: WindowReader<'_>) -> Result<OpenScene, SourceError> {
            let known = [raw_raster(&self.storage, &self.uri).await];
            let source = Source::object(&self.uri);
            windows.open((&source.entry, None), &known, reads(u64::MAX)).await
        }
    }

    /// A file of a format that is not shaped like TIFF is surveyed, planned, fetched, decoded and stacked as any other:
    /// each frame has tiles, blocks and samples of its own. It lies nowhere on the Earth.
    #[tokio::test]
    async fn frames_differ_in_ids_blocks_and_samples() {
        let raw = Raw::write(&raw::file(Size::new(20, 12), 1, 3, sample));
        let (tiling, how, limits) = (tiling(), preprocess(), DecodeLimits::default());
        let (storage, uri) = (&raw.storage, &raw.uri);
        let windows = WindowReader {
            storage,
            limits: &limits,
            tiling: &tiling,
            how: &how,
            max_windows: 18,
            burned_in: BurnedIn::Allow,
        };
        let opened = raw.opened(windows).await.unwrap();
        let scene = opened.scene.clone();
        assert_eq!((&scene.objects[0].earth, scene.gsd), (&None, None));
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
            let read = cut(windows, uri.identity(), &opened, wanted).await.unwrap();
            let pixels = (0..SIDE * SIDE).map(|at| (window.x + at % SIDE, window.y + at / SIDE));
            let expected = pixels.map(|(x, y)| f32::from(sample(frame, x, y, 0))).collect();
            assert_eq!(read.chip.chip.samples, Samples::F32(expected), "{window} of frame {frame}");
            let cuts = scene.cuts(frame, window, SIDE);
            assert!(blocks_of(&opened, &cuts[0]).all(|key| key.grid.frame == frame));
        }
        let beyond = ChipRequest { window: tiles[0].window, level: 0, frame: 3 };
        let error = cut(windows, uri.identity(), &opened, beyond).await.err().unwrap();
        assert!(error.to_string().ends_with("at level 0, frames 0 to 2"), "{error}");
        let too_few = WindowReader { max_windows: 17, ..windows };
        let refused = SourceError::answer(raw.opened(too_few).await).unwrap().err().unwrap();
        assert_eq!(refused.reason, Reason::TooLarge, "frames count");
    }

    /// What samples mean, and which of them mean no data, is said by frame: values follow it.
    #[tokio::test]
    async fn frames_differ_in_what_their_samples_mean() {
        let file = raw::file(Size::new(SIDE, SIDE), 1, 3, sample);
        let raw = Raw::write(&raw::saying("step=100 nodata=503", &file));
        let tiling = Tiling { units: vec!["hu".to_owned()], ..Tiling::clone(&tiling()) };
        let (tiling, how, limits) = (Arc::new(tiling), preprocess(), DecodeLimits::default());
        let windows = WindowReader {
            storage: &raw.storage,
            limits: &limits,
            tiling: &tiling,
            how: &how,
            max_windows: 3,
            burned_in: BurnedIn::Allow,
        };
        let opened = raw.opened(windows).await.unwrap();
        let window = Window { x: 0, y: 0, width: SIDE, height: SIDE };
        for (frame, num_valid) in [(0, 64.0), (1, 63.0), (2, 64.0)] {
            let wanted = ChipRequest { window: Some(window), level: 0, frame };
            let read = cut(windows, raw.uri.identity(), &opened, wanted).await.unwrap();
            let value = |at: u32| match sample(frame, at % SIDE, at / SIDE, 0) {
                // Twice 503, in the second frame alone.
                1006 if frame == 1 => 0.0,
                sample => f32::from(sample) + 100.0 * (frame + 1) as f32,
            };
            assert_eq!(
                read.chip.chip.samples,
                Samples::F32((0..SIDE * SIDE).map(value).collect()),
                "{frame}"
            );
            assert_eq!(read.chip.measured.share(Reason::Nodata), Some(num_valid / 64.0), "frame {frame}");
        }
    }

    /// Tiles of a slide are asked for in microns per pixel, and nothing else of it is on the Earth.
    #[tokio::test]
    async fn windows_are_cut_by_microns_where_the_file_says_them() {
        let (how, limits) = (preprocess(), DecodeLimits::default());
        let file = raw::file(Size::new(20, 20), 1, 1, sample);
        let half = Tiling { resolution: Resolution::Slide(Microns(0.5)), ..Tiling::clone(&tiling()) };
        let (tiling, slide) = (Arc::new(half), Raw::write(&raw::saying("microns=0.25", &file)));
        let storage = &slide.storage;
        let windows = WindowReader {
            storage,
            limits: &limits,
            tiling: &tiling,
            how: &how,
            max_windows: 4,
            burned_in: BurnedIn::Allow,
        };
        let opened = slide.opened(windows).await.unwrap();
        assert_eq!((opened.scene.window, opened.scene.stride), (Size::new(2 * SIDE, 2 * SIDE), [16.0; 2]));
        let window = Window { x: 4, y: 0, width: 2 * SIDE, height: 2 * SIDE };
        let wanted = ChipRequest { window: Some(window), level: 0, frame: 0 };
        let read = cut(windows, slide.uri.identity(), &opened, wanted).await.unwrap();
        // Each is the mean of 2 × 2 pixels.
        let mean = |at: u32| f32::from(sample(0, 4 + 2 * (at % SIDE), 2 * (at / SIDE), 0)) + 10.5;
        assert_eq!(read.chip.chip.samples, Samples::F32((0..SIDE * SIDE).map(mean).collect()));
        let unsaid = SourceError::answer(Raw::write(&file).opened(windows).await).unwrap().err().unwrap();
        assert_eq!(unsaid.detail, "`tiles.mpp` = 0.5 µm, but the file does not give its pixel size");
    }
}
