//! From sources to tiles: a pure function of the table of sources and the tiling.

use std::sync::Arc;

use crate::output::PlannedTile;
use crate::scene::{FrameWindow, Scene, SceneLayout, Tiling};
use crate::vocabulary::geometry::Window;
use crate::vocabulary::tile_id::TileId;

/// So many windows of a scene are looked at, if an area of interest may leave few of them.
pub(crate) const MAX_WINDOWS: u64 = 1 << 24;

/// Cuts a source into its tiles: the windows of a scene, or the whole of it.
///
/// - `name`: of the source, which its tile ids are hashes of
/// - `shard_tiles`: windows come in square blocks of so many, so that a shard is compact; of scenes that are
///   stored in rows, in rows
pub(crate) fn tiles_of(
    source_id: u64,
    name: &str,
    survey: Option<&SceneLayout>,
    tiling: Option<&Tiling>,
    shard_tiles: u32,
) -> Box<dyn Iterator<Item = PlannedTile> + Send> {
    let Some((scene, tiling)) = survey.and_then(SceneLayout::scene).zip(tiling) else {
        return Box::new(std::iter::once(tile(source_id, name, 0, 0, None)));
    };
    let (name, level) = (Arc::<str>::from(name), scene.level);
    let cut = move |FrameWindow { frame, window }| tile(source_id, &name, level, frame, Some(window));
    Box::new(windows_of(scene, tiling, shard_tiles).map(cut))
}

/// Returns how many tiles a source is cut into; ids, which are hashes, are not made for that.
#[must_use]
pub fn num_tiles_of(survey: Option<&SceneLayout>, tiling: Option<&Tiling>) -> u64 {
    let cut = survey.and_then(SceneLayout::scene).zip(tiling);
    cut.map_or(1, |(scene, tiling)| windows_of(scene, tiling, 1).count() as u64)
}

/// Returns the windows of a scene that are tiles, row by row of each frame.
#[must_use]
pub fn planned_windows(scene: &Arc<Scene>, tiling: &Tiling) -> Box<dyn Iterator<Item = FrameWindow> + Send> {
    windows_of(scene, tiling, 1)
}

/// Returns the windows of a scene that are tiles, frame by frame.
fn windows_of(
    scene: &Arc<Scene>,
    tiling: &Tiling,
    shard_tiles: u32,
) -> Box<dyn Iterator<Item = FrameWindow> + Send> {
    if let Some(only) = scene.only.clone() {
        return Box::new(only.into_iter());
    }
    let touches = within_area(scene, tiling);
    let scene = scene.clone();
    let frames = tiling.frames.as_ref().map_or_else(
        || Box::new(0..scene.num_frames()) as Box<dyn Iterator<Item = u32> + Send>,
        |chosen| chosen.frames.of(scene.num_frames()),
    );
    let frames = frames
        .flat_map(move |frame| windows(&scene, shard_tiles).map(move |window| FrameWindow { frame, window }));
    Box::new(frames.filter(move |placed| touches(placed.window)))
}

fn tile(source_id: u64, name: &str, level: u32, frame: u32, window: Option<Window>) -> PlannedTile {
    PlannedTile { id: TileId::of(name, level, frame, window), source_id, level, frame, window }
}

/// Returns whether a window touches the area of interest: one without an outline on the Earth touches none.
/// Scenes without a place are rejected when they are surveyed.
fn within_area(scene: &Arc<Scene>, tiling: &Tiling) -> Box<dyn Fn(Window) -> bool + Send> {
    let Some(area) = tiling.aoi.clone() else { return Box::new(|_| true) };
    let Ok(place) = scene.reference().georeference() else { return Box::new(|_| false) };
    let scene = scene.clone();
    Box::new(move |window| {
        scene.footprint(&place, window).is_ok_and(|footprint| area.aoi.intersects(&footprint))
    })
}

/// Returns how many windows an area of interest leaves out because they have no outline on the Earth.
pub(crate) fn num_unplaced(scene: &Scene, tiling: &Tiling) -> u64 {
    let place = tiling.aoi.as_ref().and_then(|_| scene.reference().georeference().ok());
    // Where the whole scene has an outline, so has each window.
    let Some(place) = place.filter(|place| scene.footprint(place, Window::whole(scene.size)).is_err()) else {
        return 0;
    };
    let num_windows = windows(scene, 1).filter(|window| scene.footprint(&place, *window).is_err()).count();
    num_windows as u64 * u64::from(scene.num_frames())
}

/// Returns how many windows a scene has, before an area of interest thins them out.
pub(crate) fn count(scene: &Scene) -> u64 {
    let (across, down) = grid_of(scene);
    across.saturating_mul(down).saturating_mul(scene.num_frames().into())
}

/// Returns how many windows lie beside and below one another, before an area of interest thins them out.
#[must_use]
pub fn grid_of(scene: &Scene) -> (u64, u64) {
    let (across, down) = axes(scene);
    (across.count(), down.count())
}

/// Returns the column and row of a window in its grid; `None` if it is not one of the grid's.
#[must_use]
pub fn place_in_grid(scene: &Scene, x: u32, y: u32) -> Option<(u64, u64)> {
    let (across, down) = axes(scene);
    Some((across.index(x)?, down.index(y)?))
}

/// Returns the window of the grid that begins nearest to a pixel.
#[must_use]
pub fn nearest_window(scene: &Scene, x: u32, y: u32) -> Window {
    let (across, down) = axes(scene);
    Window { x: across.nearest(x), y: down.nearest(y), width: across.clipped(), height: down.clipped() }
}

/// Returns whether a run has this window.
#[must_use]
pub fn is_planned(scene: &Arc<Scene>, tiling: &Tiling, window: Window) -> bool {
    is_in_grid(scene, window) && within_area(scene, tiling)(window)
}

/// Returns whether a window is one of the grid's, whatever the area of interest.
#[must_use]
pub fn is_in_grid(scene: &Scene, window: Window) -> bool {
    nearest_window(scene, window.x, window.y) == window
}

fn axes(scene: &Scene) -> (Axis, Axis) {
    let [right, below] = scene.stride;
    (
        Axis { length: scene.size.width, window: scene.window.width, stride: right },
        Axis { length: scene.size.height, window: scene.window.height, stride: below },
    )
}

/// Yields the windows of a regular grid, block by block.
fn windows(scene: &Scene, shard_tiles: u32) -> impl Iterator<Item = Window> + use<> {
    let (across, down) = axes(scene);
    let (columns, rows) = (across.count(), down.count());
    let side = u64::from(shard_tiles.isqrt().max(1));
    let (block_columns, block_rows) = if scene.in_rows { (columns, 1) } else { (side, side) };
    let blocks = (0..rows)
        .step_by(block_rows as usize)
        .flat_map(move |row| (0..columns).step_by(block_columns as usize).map(move |column| (row, column)));
    blocks.flat_map(move |(first_row, first_column)| {
        let row_range = first_row..rows.min(first_row + block_rows);
        let column_range = first_column..columns.min(first_column + block_columns);
        row_range.flat_map(move |row| {
            column_range.clone().map(move |column| Window {
                x: across.start(column),
                y: down.start(row),
                width: across.clipped(),
                height: down.clipped(),
            })
        })
    })
}

/// Where windows begin along one axis.
#[derive(Clone, Copy)]
struct Axis {
    length: u32,
    window: u32,
    stride: f64,
}

impl Axis {
    /// Returns the number of windows: as many as fit at the stride, and one that is shifted inward if pixels
    /// are left over.
    fn count(self) -> u64 {
        let room = self.length.saturating_sub(self.window);
        if room == 0 {
            return 1;
        }
        // The first window whose rounded start reaches the end is the last one.
        ((f64::from(room) - 0.5) / self.stride).ceil() as u64 + 1
    }

    fn start(self, index: u64) -> u32 {
        let room = self.length.saturating_sub(self.window);
        room.min((index as f64 * self.stride).round() as u32)
    }

    /// Returns which window begins there.
    fn index(self, start: u32) -> Option<u64> {
        let last = self.count() - 1;
        let near = ((f64::from(start) / self.stride).round() as u64).min(last);
        [near, last].into_iter().find(|index| self.start(*index) == start)
    }

    /// Returns the start of the window that begins nearest.
    fn nearest(self, start: u32) -> u32 {
        let last = self.count() - 1;
        let near = ((f64::from(start) / self.stride).round() as u64).min(last);
        let starts = [near, last].map(|index| self.start(index));
        if starts[0].abs_diff(start) <= starts[1].abs_diff(start) { starts[0] } else { starts[1] }
    }

    /// Returns the length of a window: all of a scene that is smaller.
    fn clipped(self) -> u32 {
        self.window.min(self.length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn axis(length: u32, window: u32, stride: f64) -> Vec<u32> {
        let axis = Axis { length, window, stride };
        (0..axis.count()).map(|index| axis.start(index)).collect()
    }

    #[test]
    fn the_last_window_is_shifted_inward() {
        assert_eq!(axis(1000, 224, 224.0), [0, 224, 448, 672, 776]);
        assert_eq!(axis(448, 224, 224.0), [0, 224]);
        assert_eq!(axis(224, 224, 224.0), [0]);
        assert_eq!(axis(100, 224, 224.0), [0]);
        assert_eq!(axis(449, 224, 112.0), [0, 112, 224, 225]);
        assert_eq!(axis(10, 4, 2.5), [0, 3, 5, 6]);
    }

    proptest! {
        /// Without gaps between windows, every pixel lies in one, and no window is planned twice.
        #[test]
        fn every_pixel_is_covered(length in 1_u32..3000, window in 1_u32..400, share in 0.1_f64..=1.0) {
            let stride = (f64::from(window) * share).max(1.0);
            let starts = axis(length, window, stride);
            prop_assert!(starts.windows(2).all(|pair| pair[0] < pair[1] && pair[1] <= pair[0] + window));
            prop_assert_eq!(starts[0], 0);
            let axis = Axis { length, window, stride };
            prop_assert!(starts.iter().enumerate().all(|(index, start)| axis.index(*start) == Some(index as u64)));
            prop_assert_eq!(axis.index(length), None);
            let distance = |begin: u32| starts.iter().map(|start| start.abs_diff(begin)).min().unwrap();
            for begin in [0, length / 3, length / 2, length] {
                prop_assert_eq!(axis.nearest(begin).abs_diff(begin), distance(begin));
            }
            let end = starts.last().unwrap() + window;
            prop_assert!(end >= length && (end == length || length < window));
        }
    }
}
