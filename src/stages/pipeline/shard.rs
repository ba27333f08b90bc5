//! A shard on its way through the stages: where its tiles' outcomes meet again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::UnboundedSender;

use crate::observe::Progress;
use crate::output::{Shard, Tile};
use crate::scene::skip::Measured;
use crate::stages::decode::Decoder;
use crate::vocabulary::outcome::{MedicalRow, Outcome, Prediction, TileRow};
use crate::vocabulary::reason::{Reason, Rejection};

use super::geo_rows::GeoRows;
use super::leases::HeldLease;

/// A shard whose tiles are being worked on.
pub struct OpenShard {
    /// The shard as planned.
    pub shard: Shard,
    /// Who decodes its tiles.
    pub decoder: Decoder,
    lease: Arc<HeldLease>,
    opened: Instant,
    fed: AtomicBool,
    put_off: AtomicBool,
    progress: Arc<Progress>,
    state: Mutex<State>,
    settled: UnboundedSender<SettledShard>,
    cell_km: Option<u32>,
}

struct State {
    outcomes: Vec<Option<Outcome>>,
    /// Shares of valid pixels and of clouds, of windows of scenes.
    measures: HashMap<usize, Measured>,
    embeddings: Vec<f32>,
    num_embeddings: usize,
    num_left: usize,
    permit: Option<OwnedSemaphorePermit>,
}

/// A shard none of whose tiles is on its way any more.
pub enum SettledShard {
    /// All of them have their outcome.
    Finished(FinishedShard),
    /// It stays open: it was put off, or its lease is lost.
    GivenUp(Arc<HeldLease>),
}

/// A shard all of whose tiles have their outcome, ready to be encoded.
pub struct FinishedShard {
    /// Its number.
    pub number: u32,
    /// Its lease.
    pub lease: Arc<HeldLease>,
    /// One row a tile, in the order of the plan.
    pub rows: Vec<TileRow>,
    /// `[n, embedding_length]`
    pub embeddings: Vec<f32>,
    /// The manifest's additional columns.
    pub extra: Option<arrow::array::StructArray>,
    /// From the first tile's fetch to the last one's outcome.
    pub took: Duration,
    /// The place among the shards held in memory, free again when the shard is committed.
    pub permit: Option<OwnedSemaphorePermit>,
}

impl OpenShard {
    /// Opens a shard; it goes to `settled` once none of its tiles is on its way.
    ///
    /// - `cell_km`: spacing of the global grid, where tiles are windows of scenes
    /// - `progress`: counts the outcomes of its tiles, unless it is given up
    #[must_use]
    pub fn new(
        shard: Shard,
        lease: Arc<HeldLease>,
        decoder: Decoder,
        permit: OwnedSemaphorePermit,
        settled: UnboundedSender<SettledShard>,
        cell_km: Option<u32>,
        progress: Arc<Progress>,
    ) -> Arc<Self> {
        let num_left = shard.tiles.len();
        let state = State {
            outcomes: vec![None; num_left],
            measures: HashMap::new(),
            embeddings: Vec::new(),
            num_embeddings: 0,
            num_left,
            permit: Some(permit),
        };
        let (opened, fed, put_off) = (Instant::now(), AtomicBool::new(false), AtomicBool::new(false));
        let state = Mutex::new(state);
        Arc::new(Self { shard, decoder, lease, opened, fed, put_off, progress, state, settled, cell_km })
    }

    /// Records that a tile cannot be had for now: the shard stays open, and is given up here once none of its
    /// tiles is on its way.
    pub fn put_off(&self, index: usize) {
        self.put_off.store(true, Ordering::Relaxed);
        let mut state = self.state.lock().expect("no holder of this lock panics");
        assert!(
            state.outcomes[index].is_none(),
            "tile {index} of shard {} has an outcome",
            self.shard.number
        );
        self.settled(&mut state);
    }

    /// Returns whether a tile was put off or the lease is lost, so that the others need not be computed.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        self.put_off.load(Ordering::Relaxed) || self.is_lost()
    }

    /// Returns whether another worker may have the shard by now.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lease.is_lost()
    }

    /// Notes that all of its tiles are on their way.
    pub fn all_fed(&self) {
        self.fed.store(true, Ordering::Relaxed);
    }

    /// Returns whether all of its tiles are on their way, so that it can be finished.
    #[must_use]
    pub fn fed(&self) -> bool {
        self.fed.load(Ordering::Relaxed)
    }

    /// Returns one of its tiles.
    #[must_use]
    pub fn tile(&self, index: usize) -> &Tile {
        &self.shard.tiles[index]
    }

    /// Records that a tile is rejected.
    pub fn reject(&self, index: usize, rejection: Rejection) {
        let rejection = rejection.shown(self.tile(index).source.uri.naming());
        self.settle(index, |_| Outcome::Rejected(rejection));
    }

    /// Records that a tile is left out on purpose.
    pub fn skip(&self, index: usize, reason: Reason, detail: String) {
        self.settle(index, |_| Outcome::Skipped { reason, detail: Some(detail) });
    }

    /// Records the shares of a window's pixels that rules judge by: how much of it is valid, how much clouds.
    pub fn measured(&self, index: usize, measured: Measured) {
        let mut state = self.state.lock().expect("no holder of this lock panics");
        state.measures.insert(index, measured);
    }

    /// Records what the model says about a tile.
    pub fn accept(
        &self,
        index: usize,
        embedding: &[f32],
        prediction: Option<Prediction>,
        detail: Option<String>,
    ) {
        self.settle(index, |state| {
            if state.embeddings.is_empty() {
                state.embeddings.reserve_exact(embedding.len() * state.outcomes.len());
            }
            state.embeddings.extend_from_slice(embedding);
            state.num_embeddings += 1;
            Outcome::Ok { detail, prediction, embedding: state.num_embeddings - 1 }
        });
    }

    fn settle(&self, index: usize, outcome: impl FnOnce(&mut State) -> Outcome) {
        let mut state = self.state.lock().expect("no holder of this lock panics");
        let outcome = outcome(&mut state);
        let before = state.outcomes[index].replace(outcome);
        assert!(before.is_none(), "tile {index} of shard {} was settled twice", self.shard.number);
        self.settled(&mut state);
    }

    /// Ends with the shard when none of its tiles is left.
    fn settled(&self, state: &mut State) {
        state.num_left -= 1;
        if state.num_left > 0 {
            return;
        }
        if self.is_given_up() {
            state.outcomes.iter().flatten().for_each(|outcome| self.progress.taken_back(outcome));
            state.permit.take();
            let _ = self.settled.send(SettledShard::GivenUp(self.lease.clone()));
            return;
        }
        let finished = self.finish(state);
        // The receiver is gone only when the run is being abandoned: the shard stays open.
        let _ = self.settled.send(SettledShard::Finished(finished));
    }

    fn finish(&self, state: &mut State) -> FinishedShard {
        let outcomes = std::mem::take(&mut state.outcomes);
        let mut geo_rows = GeoRows::new(self.cell_km);
        let tiles = self.shard.tiles.iter().zip(outcomes).enumerate();
        let rows = tiles.map(|(index, (tile, outcome))| TileRow {
            geo: geo_rows.row(tile, state.measures.get(&index)),
            medical: medical_row(tile),
            tile_id: tile.id,
            source: tile.source.uri.clone(),
            source_version: tile.source.shown_version(),
            level: tile.level,
            frame: tile.frame,
            window: tile.window,
            outcome: outcome.expect("none is left, counted above"),
        });
        FinishedShard {
            number: self.shard.number,
            lease: self.lease.clone(),
            rows: rows.collect(),
            embeddings: std::mem::take(&mut state.embeddings),
            extra: self.shard.extra.clone(),
            took: self.opened.elapsed(),
            permit: state.permit.take(),
        }
    }
}

/// Returns what is known of a tile as a medical image.
fn medical_row(tile: &Tile) -> Option<Box<MedicalRow>> {
    let image = tile.source.scene()?.medical.as_ref()?;
    Some(Box::new(image.row(tile.frame)))
}
