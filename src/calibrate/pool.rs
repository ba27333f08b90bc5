//! The tiles that a calibration chooses from, spread evenly: images, or windows of scenes.

use std::fmt;
use std::sync::Arc;

use crate::input::source::{Entry, Sorted};
use crate::input::storage::ObjectUri;
use crate::scene::{FrameWindow, Tiling};
use crate::stages::fetch::OpenScene;
use crate::stages::survey::planned_windows;
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::identity::SourceUri;
use crate::vocabulary::reason::Rejection;
use crate::vocabulary::words::counted;

/// One tile.
#[derive(Clone)]
pub(super) enum TileRef {
    /// A whole image.
    Image(ObjectUri),
    /// A window of a scene.
    Window {
        /// The source.
        source: SourceUri,
        /// The scene, open.
        scene: Arc<OpenScene>,
        /// The window in its frame.
        placed: FrameWindow,
    },
}

/// All tiles of some sources.
pub(super) struct Pool {
    tiles: Candidates,
    /// Sources without any tile, and why.
    pub(super) left_out: Vec<LeftOut>,
}

enum Candidates {
    /// One per source.
    Images(Sorted),
    /// The windows of each scene.
    Windows(Vec<SceneWindows>, Arc<Tiling>),
}

/// The windows of one scene.
pub(super) struct SceneWindows {
    pub(super) source: SourceUri,
    pub(super) scene: Arc<OpenScene>,
    pub(super) num_windows: u64,
}

impl TileRef {
    /// Returns the source that it is a tile of.
    pub(super) fn source(&self) -> &SourceUri {
        match self {
            Self::Image(uri) => uri.identity(),
            Self::Window { source, .. } => source,
        }
    }

    /// Says why it is left out.
    pub(super) fn left_out(&self, why: Rejection) -> LeftOut {
        let window = match self {
            Self::Image(_) => None,
            Self::Window { placed, .. } => Some(*placed),
        };
        LeftOut { source: self.source().clone(), window, why }
    }
}

/// A tile that a run would reject or skip, or a source of which it would take none.
#[derive(Clone, Debug)]
pub struct LeftOut {
    /// The source.
    pub source: SourceUri,
    /// The window; `None`: all of the source.
    pub window: Option<FrameWindow>,
    /// Why.
    pub why: Rejection,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.window {
            None => {}
            Some(FrameWindow { frame: 0, window }) => write!(f, "{window} of ")?,
            Some(FrameWindow { frame, window }) => write!(f, "{window} of frame {frame} of ")?,
        }
        write!(f, "{}: {}", self.source, self.why)
    }
}

impl Pool {
    /// Takes each source for one tile.
    pub(super) fn of_images(sources: Sorted) -> Self {
        Self { tiles: Candidates::Images(sources), left_out: Vec::new() }
    }

    /// Takes the windows of scenes.
    pub(super) fn of_windows(scenes: Vec<SceneWindows>, tiling: Arc<Tiling>, left_out: Vec<LeftOut>) -> Self {
        Self { tiles: Candidates::Windows(scenes, tiling), left_out }
    }

    /// Refuses scenes none of which has a window, and says why.
    ///
    /// # Errors
    ///
    /// `Config`
    pub(super) fn checked(self) -> Result<Self> {
        let Candidates::Windows(scenes, _) = &self.tiles else { return Ok(self) };
        if self.num_tiles() > 0 {
            return Ok(self);
        }
        let all = counted((scenes.len() + self.left_out.len()) as u64, "scene");
        let error = Error::config(format!("a run would cut no window out of {all}"));
        // A scene that is not rejected has windows, unless the area leaves them all out.
        Err(match self.left_out.into_iter().next() {
            Some(LeftOut { source, why, .. }) => {
                let hint = format!("`tilefleet inspect {source}` with the same --set says more of this one");
                error.because(why).hint(hint)
            }
            None => error
                .because("none of their windows touches `tiles.aoi`")
                .hint("leave out tiles.aoi, or name scenes that lie in that area"),
        })
    }

    pub(super) fn num_tiles(&self) -> u64 {
        match &self.tiles {
            Candidates::Images(sources) => sources.num_entries,
            Candidates::Windows(scenes, _) => scenes.iter().map(|scene| scene.num_windows).sum(),
        }
    }

    /// Chooses a number of tiles, spread evenly.
    pub(super) fn some(&self, count: usize) -> Result<Vec<TileRef>> {
        let there = self.num_tiles();
        match &self.tiles {
            Candidates::Images(sources) => {
                let image = |entry: Result<Entry>| ObjectUri::of(&entry?.uri).map(TileRef::Image);
                spread(sources.entries(), there, count).into_iter().map(image).collect()
            }
            Candidates::Windows(scenes, tiling) => {
                let windows = scenes.iter().flat_map(|scene| {
                    planned_windows(&scene.scene.scene, tiling).map(move |placed| (scene, placed))
                });
                let tile = |(scene, placed): (&SceneWindows, FrameWindow)| TileRef::Window {
                    source: scene.source.clone(),
                    scene: scene.scene.clone(),
                    placed,
                };
                Ok(spread(windows, there, count).into_iter().map(tile).collect())
            }
        }
    }
}

/// Takes a number of items out of so many, spread evenly.
pub(super) fn spread<T>(items: impl Iterator<Item = T>, there: u64, count: usize) -> Vec<T> {
    let place = |index: usize| (index as u128 * u128::from(there) / count.max(1) as u128) as u64;
    let mut chosen = Vec::with_capacity(count);
    for (position, item) in items.enumerate() {
        if chosen.len() == count {
            break;
        }
        if position as u64 == place(chosen.len()) {
            chosen.push(item);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_spread_over_all() {
        let some = |there: u64, count| spread(0..there, there, count);
        assert_eq!(some(10, 4), [0, 2, 5, 7]);
        assert_eq!(some(3, 3), [0, 1, 2]);
        assert_eq!(some(1000, 2), [0, 500]);
        assert!(some(5, 0).is_empty());
    }
}
