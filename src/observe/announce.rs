//! The beginning and the end of a run, for logs: where nobody sits at a terminal there is no bar to watch. And what is
//! to be said of other work that is done.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::observe::ProgressSnapshot;
use crate::observe::stderr::{self, Level};
use crate::vocabulary::words;

/// Says that a process begins to work on a run.
///
/// - `tiles`, `shards`: of the whole run
/// - `open`: tiles that are still to be done
/// - `limit`: what is left out on purpose
pub fn run_begins(run: &str, tiles: u64, shards: u64, open: u64, limit: Option<&str>) {
    let done = tiles - open;
    let before =
        if done > 0 { format!(", {} of them done before", words::count(done)) } else { String::new() };
    let (all, files) = (words::counted(tiles, "tile"), words::counted(shards, "shard"));
    let part = limit.map_or_else(String::new, |limit| format!(", {limit}"));
    let fields = json!({ "run": run, "tiles": tiles, "shards": shards, "done": done, "limit": limit });
    log(&format!("run {run} begins: {all} in {files}{part}{before}"), "run begins", fields);
}

/// Outcomes of all tiles of a run.
pub struct Outcomes {
    /// All tiles.
    pub tiles: u64,
    /// With a prediction.
    pub ok: u64,
    /// Left out for a reason.
    pub skipped: u64,
    /// That cannot be processed.
    pub rejected: u64,
}

/// Says that a run is complete.
///
/// - `current`: whether `tiles` shows it
/// - `ours`: what this process did
pub fn run_ends(run: &str, outcomes: &Outcomes, current: bool, ours: &ProgressSnapshot) {
    let Outcomes { tiles, ok, skipped, rejected } = *outcomes;
    let accepted = if current { "" } else { ", not accepted" };
    let [of_ok, of_skipped, of_rejected] = [ok, skipped, rejected].map(words::count);
    let sentence = format!(
        "run {run} is complete{accepted}: {}, {of_ok} ok, {of_skipped} skipped, {of_rejected} rejected; {} here in {}",
        words::counted(tiles, "tile"),
        words::count(ours.settled),
        words::seconds(ours.seconds)
    );
    let fields = json!({
        "run": run,
        "tiles": tiles,
        "ok": ok,
        "skipped": skipped,
        "rejected": rejected,
        "current": current,
        "done_here": ours.settled,
        "seconds": ours.seconds,
    });
    log(&sentence, "run is complete", fields);
}

/// Says that there was nothing to do.
///
/// - `run`: the newest run, if there is any
pub fn nothing_to_do(run: Option<&str>) {
    let sentence = run.map_or_else(
        || "no source was found: nothing to do".to_owned(),
        |run| format!("run {run} covers every source: nothing to do"),
    );
    log(&sentence, "nothing to do", json!({ "run": run }));
}

/// Says that the answer to a query is in its file: standard output has nothing to show for it.
pub fn answer_written(num_rows: u64, path: &Path) {
    let sentence = format!("{} in {}", words::counted(num_rows, "row"), path.display());
    let fields = Map::from_iter([
        ("rows".to_owned(), json!(num_rows)),
        ("path".to_owned(), json!(path.display().to_string())),
    ]);
    stderr::say_with(Level::Info, &sentence, "answer written", fields);
}

fn log(sentence: &str, message: &str, fields: Value) {
    if stderr::has_bar() {
        return;
    }
    let fields = if let Value::Object(fields) = fields { fields } else { Map::new() };
    stderr::say_with(Level::Info, sentence, message, fields);
}
