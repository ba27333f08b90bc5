//! Which runs cut their sources into the same windows: area, bands and grid are the same.

use std::collections::{HashMap, HashSet};

use futures::TryStreamExt;

use crate::config::{Grid, Pipeline, TilesSection};
use crate::output::Run;
use crate::scene::{FrameChoice, Resolution};
use crate::vocabulary::error::Result;
use crate::vocabulary::identity::SourceUri;

/// Runs by how they cut their sources; a cut is a number.
pub(super) struct Cuts {
    by_fingerprint: HashMap<String, usize>,
    num_cuts: usize,
}

/// How a run cuts its sources.
#[derive(Clone, Debug, PartialEq)]
enum Cut {
    /// Every source is one tile.
    Whole,
    /// Into windows.
    Windows { size: u32, stride: u32, resolution: Resolution, area: Option<String>, bands: Vec<String> },
    /// Frames of medical images are tiles.
    Frames(FrameChoice),
    /// As no run of another fingerprint, as far as can be told.
    Other,
}

impl Cut {
    fn of(run: &Run) -> Self {
        let Ok(pipeline) = Pipeline::recorded(&run.record.pipeline, &run.id.to_string()) else {
            return Self::Other;
        };
        let TilesSection { size, stride, resolution, aoi, bands, .. } = match pipeline.grid {
            Grid::Whole => return Self::Whole,
            Grid::Frames(tiling) => return Self::Frames(tiling.frames),
            Grid::Windows(windows) => *windows,
        };
        // A record names the file of an area, and not what it said.
        if aoi.as_deref().is_some_and(|area| !is_spelt_out(area)) {
            return Self::Other;
        }
        let model = &run.record.model.contract.input;
        let size = size.map_or(model.width, std::num::NonZero::get);
        let stride = stride.map_or(size, std::num::NonZero::get);
        let bands = if bands.is_empty() { model.bands.clone() } else { bands };
        Self::Windows { size, stride, resolution, area: aoi, bands }
    }
}

/// Returns whether an area is given by its box or as `GeoJSON`, and not by the name of a file.
fn is_spelt_out(area: &str) -> bool {
    area.split(',').count() == 4 || area.trim_start().starts_with('{')
}

impl Cuts {
    pub(super) fn of(runs: &[&Run]) -> Self {
        let mut cuts: Vec<Cut> = Vec::new();
        let mut by_fingerprint = HashMap::new();
        for run in runs {
            by_fingerprint.entry(run.record.fingerprint.clone()).or_insert_with(|| {
                let cut = Cut::of(run);
                let known = cuts.iter().position(|known| *known == cut && cut != Cut::Other);
                known.unwrap_or_else(|| {
                    cuts.push(cut);
                    cuts.len() - 1
                })
            });
        }
        Self { by_fingerprint, num_cuts: cuts.len() }
    }

    pub(super) fn of_run(&self, run: &Run) -> usize {
        self.by_fingerprint.get(&run.record.fingerprint).copied().unwrap_or(self.num_cuts)
    }

    /// Returns the sources that these runs have cut differently.
    pub(super) async fn mixed(&self, runs: &[&Run]) -> Result<HashSet<SourceUri>> {
        let mut mixed = HashSet::new();
        if self.num_cuts < 2 {
            return Ok(mixed);
        }
        let mut cuts: HashMap<SourceUri, usize> = HashMap::new();
        for run in runs {
            let mut sources = run.sources.stream()?;
            while let Some(batch) = sources.try_next().await? {
                for source in batch {
                    let cut = self.of_run(run);
                    if *cuts.entry(source.uri.clone()).or_insert(cut) != cut {
                        mixed.insert(source.uri);
                    }
                }
            }
        }
        Ok(mixed)
    }
}
