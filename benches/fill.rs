//! Commits the open shards of an output's planned runs with seeded embeddings in the place of a model's.
//!
//! `fill --output FOLDER`: a table of any size in no time, by our own sink and commit, for benchmarks of
//! what reads it. Every value lies in −0.5 to 0.5; every hundredth tile is a reject. With `--no-embeddings` all are.

use std::path::Path;

use tilefleet::input::storage::{ObjectUri, Storage, StorageOptions};
use tilefleet::output::provenance::Provenance;
use tilefleet::output::table::{EmbeddingType, ShardRows, TableSpec, encode};
use tilefleet::output::{Output, Run, Scope, Shard, Tile};
use tilefleet::stages::commit::commit;
use tilefleet::vocabulary::error::Result;
use tilefleet::vocabulary::outcome::Counts;
use tilefleet::vocabulary::outcome::{Outcome, TileRow};
use tilefleet::vocabulary::process::Process;
use tilefleet::vocabulary::reason::{Reason, Rejection};
use tilefleet_testing::Random;

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--output");
    let Some(output) = arguments.nth(1) else {
        println!("SKIPPED: fill needs --output FOLDER with a planned run; benches/nearest.py passes it");
        return;
    };
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    let reject_every = if std::env::args().any(|argument| argument == "--no-embeddings") { 1 } else { 100 };
    if let Err(error) = runtime.block_on(fill(output.as_ref(), reject_every)) {
        eprintln!("{}", error.render());
        std::process::exit(error.kind().exit_code().into());
    }
}

async fn fill(output: &Path, reject_every: usize) -> Result<()> {
    let uri = ObjectUri::parse(&output.display().to_string())?;
    let output = Output::open(&Storage::new(StorageOptions::default())?, &uri, Process::real());
    for run in output.snapshot(Scope::All).await?.runs.iter().filter_map(|standing| standing.run.planned()) {
        for number in 0..run.num_shards() {
            commit_shard(run, &run.shard(number).await?, reject_every).await?;
        }
        println!("{} tiles in {}", run.record.plan.tiles, run.id);
    }
    Ok(())
}

async fn commit_shard(run: &Run, shard: &Shard, reject_every: usize) -> Result<()> {
    let length = run.record.model.contract.output.embedding_length;
    let spec = TableSpec {
        embedding_length: length,
        embedding_type: EmbeddingType::Float32,
        classifier: false,
        labels: None,
        top_k: 0,
        extra: None,
        domains: Vec::new(),
    };
    let is_rejected = |number: usize| number % reject_every == reject_every - 1;
    let tiles = shard.tiles.iter().enumerate();
    let rows: Vec<TileRow> = tiles.map(|(number, tile)| row(number, is_rejected(number), tile)).collect();
    let mut random = Random(u64::from(shard.number) + 1);
    let num_values = if reject_every > 1 { rows.len() * length } else { 0 };
    let embeddings: Vec<f32> = (0..num_values).map(|_| random.around_0()).collect();
    let mut counts = Counts::default();
    for row in &rows {
        counts.add(&row.outcome);
    }
    let mut provenance = Provenance::new(run, shard.number, "fill");
    provenance.set_counts(&counts);
    let shard = ShardRows { shard: shard.number, rows: &rows, embeddings: &embeddings, extra: None };
    let file = encode(&spec, &shard, provenance.pairs())?;
    commit(&run.output, &run.shard_key(shard.shard), file, &provenance).await.map(|_| ())
}

fn row(number: usize, is_rejected: bool, tile: &Tile) -> TileRow {
    let outcome = if is_rejected {
        Outcome::Rejected(Rejection::new(Reason::Truncated, "ends in row 7"))
    } else {
        Outcome::Ok { detail: None, prediction: None, embedding: number }
    };
    TileRow {
        geo: None,
        medical: None,
        tile_id: tile.id,
        source: tile.source.uri.clone(),
        source_version: tile.source.version.clone(),
        level: tile.level,
        frame: tile.frame,
        window: tile.window,
        outcome,
    }
}
