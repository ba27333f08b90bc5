//! Histories of runs: what is newest is compared with the rule, spelt out row by row.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::{StreamExt, stream};
use serde_json::json;

use super::waiting::waiting_among;
use super::{Change, CurrentRows, stay_as_they_are};
use crate::input::source::Entry;
use crate::input::storage::{ObjectUri, Storage, StorageOptions};
use crate::output;
use crate::output::{Described, ModelRecord, Origin, Output, PlannedTile, Run, RunId, Surveyed, Timestamp};
use crate::output::{Election, SOURCE_BYTES_KEY};
use crate::scene::SceneLayout;
use crate::vocabulary::contract::Contract;
use crate::vocabulary::geometry::Window;
use crate::vocabulary::process::Process;
use crate::vocabulary::reason::{Reason, Rejection};
use crate::vocabulary::tile_id::TileId;

const SOURCES: [&str; 3] = ["s3://scenes/a.tif", "s3://scenes/b.tif", "s3://scenes/c.tif"];
const CONTRACT: &str = include_str!("../../../contracts/satlas-sentinel2-resnet152-mi-rgb.contract.toml");

/// What a run says of one source.
#[derive(Clone, Debug)]
struct Said {
    /// Whether the source is covered as a whole.
    whole: bool,
    /// Where its windows begin; none: it could not be cut.
    xs: BTreeSet<u32>,
}

/// One run of a history; later ones are newer.
#[derive(Clone, Debug)]
struct Made {
    cut: u32,
    retry: bool,
    said: BTreeMap<usize, Said>,
}

impl Made {
    fn id(&self, number: usize) -> RunId {
        RunId::new("sim", &format!("{:08x}", self.cut), number as u32 + 1)
    }

    /// The tiles, as pairs of source and window; the window of a source that could not be cut is `None`.
    fn tiles(&self) -> BTreeSet<(usize, Option<u32>)> {
        let windows = |said: &Said| -> Vec<Option<u32>> {
            if said.xs.is_empty() { vec![None] } else { said.xs.iter().copied().map(Some).collect() }
        };
        self.said.iter().flat_map(|(source, said)| windows(said).into_iter().map(|x| (*source, x))).collect()
    }

    fn outdates(&self, older: &Self, source: usize) -> bool {
        let (Some(said), Some(before)) = (self.said.get(&source), older.said.get(&source)) else {
            return false;
        };
        said.whole && (self.cut == older.cut || before.xs.is_empty())
    }
}

/// The rule: by run number, the tiles that are shown.
fn shown(history: &[(usize, Made)]) -> BTreeMap<usize, BTreeSet<(usize, Option<u32>)>> {
    let is_outdated = |at: usize, source: usize| {
        history[at + 1..].iter().any(|(_, newer)| newer.outdates(&history[at].1, source))
    };
    let is_shown = |at: usize, tile: (usize, Option<u32>)| {
        let newer = at + 1..history.len();
        !is_outdated(at, tile.0)
            && newer.clone().all(|it| is_outdated(it, tile.0) || !history[it].1.tiles().contains(&tile))
    };
    let of_run = |(at, (number, made)): (usize, &(usize, Made))| {
        (*number, made.tiles().into_iter().filter(|tile| is_shown(at, *tile)).collect())
    };
    history.iter().enumerate().map(of_run).collect()
}

struct World {
    _folder: tempfile::TempDir,
    output: Output,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::new(StorageOptions::default()).unwrap();
        let output = Output::open(&storage, &ObjectUri::from_path(folder.path()).unwrap(), Process::real());
        Self { _folder: folder, output }
    }

    async fn publish(&self, number: usize, made: &Made) -> Run {
        let id = made.id(number);
        let fingerprint = format!("{:08x}", made.cut);
        let moment = Timestamp::from(SystemTime::UNIX_EPOCH + Duration::from_secs(number as u64 + 1));
        let election = Election {
            shard_tiles: 2,
            fingerprint: fingerprint.clone(),
            origin: if made.retry { Origin::Retry } else { Origin::Pipeline },
            planned_at: Some(moment),
            as_of: Some(moment),
            max_reject_ratio: None,
            limit: None,
        };
        let surveyed = made.said.iter().map(|(source, said)| {
            let entry = Entry { uri: SOURCES[*source].into(), ..Entry::default() };
            Ok(Surveyed { entry, survey: Some(survey(SOURCES[*source], said)) })
        });
        let sources = output::encode(surveyed, None, || election.metadata(), SOURCE_BYTES_KEY).unwrap();
        self.output.bucket.put_new(&self.output.layout.sources(&id), sources.bytes).await.unwrap();
        let contract = Contract::from_toml(CONTRACT).unwrap();
        let model = ModelRecord {
            file: "model.onnx".to_owned(),
            digest: String::new(),
            contract_digest: String::new(),
            contract_origin: "file".to_owned(),
            contract,
        };
        let tiles = json!({"grid": "regular", "bands": [made.cut.to_string(), "2", "3"]});
        let pipeline = json!({"name": "sim", "tiles": tiles});
        let described =
            Described { fingerprint: &fingerprint, model: &model, pipeline: &pipeline, privacy: None };
        let elected = output::elected(&self.output, &id).await.unwrap();
        let ids: BTreeMap<usize, u64> = made.said.keys().copied().zip(0..).collect();
        let planned = made.tiles().into_iter().map(|(source, x)| {
            let window = x.map(window);
            let id = TileId::of(SOURCES[source], 0, 0, window);
            Ok(PlannedTile { id, source_id: ids[&source], level: 0, frame: 0, window })
        });
        output::publish(&self.output, &id, &elected, described, stream::iter(planned).boxed()).await.unwrap()
    }
}

fn window(x: u32) -> Window {
    Window { x, y: 0, width: 8, height: 8 }
}

fn survey(uri: &str, said: &Said) -> SceneLayout {
    if said.xs.is_empty() {
        return Rejection::new(Reason::BandsMismatch, "no such band").into();
    }
    let only: Option<Vec<Window>> = (!said.whole).then(|| said.xs.iter().copied().map(window).collect());
    let size = json!({"width": 64, "height": 8});
    let scene = json!({
        "objects": [{"uri": uri, "version": null, "size_bytes": 1, "levels": [size]}],
        "bands": [{"object": 0, "band": 0, "scale": 1.0, "offset": 0.0}],
        "reference": 0, "level": 0, "size": size, "window": {"width": 8, "height": 8}, "stride": [8.0, 8.0],
        "in_rows": false, "only": only,
    });
    SceneLayout::Scene(Arc::new(serde_json::from_value(scene).unwrap()))
}

/// Which of its planned tiles `newest` shows of a run.
async fn shown_of(newest: &CurrentRows, run: &Run) -> BTreeSet<(usize, Option<u32>)> {
    let mut shown = BTreeSet::new();
    for number in 0..run.num_shards() {
        for tile in run.shard(number).await.unwrap().tiles {
            if newest.is_current(&run.id, &tile.source.uri.name(), tile.id) {
                let source = SOURCES.iter().position(|uri| *uri == tile.source.uri.for_reading()).unwrap();
                shown.insert((source, tile.window.map(|window| window.x)));
            }
        }
    }
    shown
}

fn all_tiles(
    shown: &BTreeMap<usize, BTreeSet<(usize, Option<u32>)>>,
) -> BTreeMap<(usize, Option<u32>), usize> {
    shown.iter().flat_map(|(run, tiles)| tiles.iter().map(|tile| (*tile, *run))).collect()
}

async fn check(made: Vec<Made>) {
    let (world, history) = (World::new(), made.into_iter().enumerate().collect::<Vec<_>>());
    let mut runs = Vec::new();
    for (number, made) in &history {
        runs.push(world.publish(*number, made).await);
    }
    let current: Vec<&Run> = runs.iter().collect();
    let (newest, expected) = (CurrentRows::among(&current).await.unwrap(), shown(&history));
    for (number, run) in runs.iter().enumerate() {
        assert_eq!(shown_of(&newest, run).await, expected[&number], "run {number} of {history:#?}");
    }
    // Whether a run would show anything if it alone were not accepted yet.
    for (number, made) in history.iter().filter(|(_, made)| !made.retry) {
        let withheld = BTreeSet::from([runs[*number].id.clone()]);
        let waits = !waiting_among(&current, &withheld).await.unwrap().is_empty();
        assert_eq!(waits, !expected[number].is_empty(), "run {number} of {history:#?}: {made:?}");
    }
    // What the last run changed.
    let (before, after) = (all_tiles(&shown(&history[..history.len() - 1])), all_tiles(&expected));
    let change = Change::between(&current[..current.len() - 1], &current).await.unwrap();
    let count = |tiles: usize| tiles as u64;
    let lost = before.keys().filter(|tile| !after.contains_key(tile)).count();
    let gained = after.keys().filter(|tile| !before.contains_key(tile)).count();
    let replaced = after.iter().filter(|(tile, run)| before.get(tile).is_some_and(|was| was != *run)).count();
    let said = Change { lost: count(lost), replaced: count(replaced), gained: count(gained) };
    assert_eq!(change, said, "{history:#?}");
    check_merging(&history, &current).await;
}

/// If runs of one cut may become one, whatever the others show stays what it is; and runs of a single cut may.
async fn check_merging(history: &[(usize, Made)], current: &[&Run]) {
    let is_merged = |(_, made): &&(usize, Made)| made.cut == 0;
    let merged: Vec<&RunId> =
        history.iter().filter(is_merged).map(|(number, _)| &current[*number].id).collect();
    let may = stay_as_they_are(current, &merged).await.unwrap();
    let Some(last) = history.iter().rposition(|run| is_merged(&run)) else { return };
    let (older, newer) = history.split_at(last + 1);
    let (inner, others): (Vec<_>, Vec<_>) = older.iter().cloned().partition(|run| is_merged(&run));
    let moved = [&others[..], &inner, newer].concat();
    let (was, is) = (shown(history), shown(&moved));
    let same = history.iter().filter(|run| !is_merged(run)).all(|(number, _)| was[number] == is[number]);
    assert!(same || !may, "{history:#?}");
    assert!(may || !others.is_empty(), "{history:#?}");
}

fn made(cut: u32, retry: bool, said: &[(usize, bool, &[u32])]) -> Made {
    let said = said
        .iter()
        .map(|(source, whole, xs)| (*source, Said { whole: *whole, xs: xs.iter().copied().collect() }));
    Made { cut, retry, said: said.collect() }
}

fn check_all(histories: impl IntoIterator<Item = Vec<Made>>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    for history in histories {
        runtime.block_on(check(history));
    }
}

/// That a source cannot be cut is its cut's newest word also where another cut has a newer one.
#[test]
fn an_outdated_word_still_replaces_what_is_older() {
    let windows = made(0, false, &[(0, true, &[0, 8])]);
    let cannot = |cut| made(cut, false, &[(0, true, &[])]);
    check_all([
        vec![windows.clone(), cannot(0), cannot(1)],
        vec![windows.clone(), cannot(1), cannot(0), made(1, false, &[(0, true, &[8])])],
        vec![cannot(1), windows, cannot(1)],
    ]);
}

#[test]
fn sources_tiles_and_retries_replace_what_they_cover() {
    let both = made(0, false, &[(0, true, &[0, 8]), (1, true, &[0, 8])]);
    let part = made(0, true, &[(0, false, &[8])]);
    let anew = made(0, true, &[(0, true, &[0, 16])]);
    let other = made(1, false, &[(0, true, &[8, 16]), (2, true, &[0])]);
    check_all([
        vec![both.clone(), part.clone(), anew.clone(), part.clone()],
        vec![both.clone(), part.clone(), other.clone(), part.clone()],
        vec![other.clone(), both.clone(), anew.clone(), other.clone()],
        vec![both.clone(), other, made(0, false, &[(2, true, &[0])]), both, part],
    ]);
}
