//! Finds the labelled rows of an output, and divides them into those to fit on and those held out.
//!
//! Memory: the labels, the names of what groups tiles, and 48 bytes a labelled tile.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::Fields;
use futures::stream::{self, StreamExt};
use serde::Serialize;

use super::groups::{GroupCounts, Groups};
use super::labels::{Given, as_text, field, no_group, wrong_split};
use super::split::{held_out, rank};
use super::{Group, Labels, Request, Split};
use crate::output::current_rows::CurrentRows;
use crate::output::table::{StoredColumns, tile_id_at};
use crate::output::{ModelRecord, Output, ParquetObject, Run, RunId, RunState, Scope, Snapshot};
use crate::vocabulary::error::{Error, Kind, Result};
use crate::vocabulary::tile_id::TileId;
use crate::vocabulary::words::{counted_of, form};

/// Shards whose identities are read ahead.
const AHEAD: usize = 8;
const SPLIT: &str = "split";
/// More classes than anybody tells apart: a name per tile is not a label.
const MAX_CLASSES: usize = 4_096;
/// From this number of classes on, at most half may have a single tile; with fewer, a single tile may be all there is.
const MANY_CLASSES: usize = 10;

/// The labelled rows of an output.
#[derive(Clone, Debug)]
pub struct LabelledRows {
    /// The model that made the embeddings.
    pub model: ModelRecord,
    /// The pipeline of the newest of the runs, as it was recorded.
    pub pipeline: serde_json::Value,
    /// The runs that the tiles are from.
    pub runs: Vec<RunId>,
    /// Class names in order of class id: numbers by value, other texts by letter.
    pub classes: Vec<String>,
    /// Labelled tiles that have an embedding; those to fit on come first, either part in order of tile id.
    pub tiles: Vec<LabelledTile>,
    /// How many of them to fit on.
    pub num_fitted: usize,
    /// Whether the labels said which are held out.
    pub split_given: bool,
    /// What is on one side as a whole, unless the labels divide it.
    pub group: Group,
    /// How many of these there are.
    pub groups: GroupCounts,
    /// What was left aside.
    pub not_used: NotUsed,
    pub(super) shards: Vec<ShardFile>,
}

/// One labelled tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelledTile {
    /// The tile.
    pub tile: TileId,
    /// Its class id.
    pub class: u32,
    /// Number of its file.
    pub(super) shard: u32,
    /// Number of its row in the file.
    pub(super) row: u32,
}

/// A committed shard.
#[derive(Clone, Debug)]
pub(super) struct ShardFile {
    pub(super) run: RunId,
    pub(super) key: String,
    pub(super) size_bytes: u64,
}

/// What was left aside, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NotUsed {
    /// Tiles without a label.
    pub unlabelled_tiles: u64,
    /// Labelled tiles without an embedding, because they were rejected or skipped.
    pub without_embedding: u64,
    /// Labels of nothing in the output.
    pub unmatched_labels: u64,
    /// Rows of the labels' file where the label, or the split, is empty.
    pub blank_labels: u64,
    /// Labelled tiles beyond the sample that was asked for.
    pub beyond_sample: u64,
}

impl LabelledRows {
    /// Returns the number of tiles that are held out.
    #[must_use]
    pub fn num_held_out(&self) -> usize {
        self.tiles.len() - self.num_fitted
    }
}

/// Finds the labelled rows of what `tiles` shows, or of one run.
///
/// # Errors
///
/// `Config` if there is no such run, rows of several models are mixed, no label matches, there is only one
/// class, or one that occurs among the tiles held out alone, labels are measurements, or a group that was asked
/// for is on both sides of the labels' split; as the store answers otherwise.
pub async fn survey(output: &Output, labels: &Labels, request: &Request) -> Result<LabelledRows> {
    let scope = Scope::of(request.run.as_ref());
    let work = async |snapshot: Snapshot| survey_of(output, &snapshot, labels, request).await;
    output.consistently(scope, work).await
}

async fn survey_of(
    output: &Output,
    snapshot: &Snapshot,
    labels: &Labels,
    request: &Request,
) -> Result<LabelledRows> {
    if snapshot.runs.is_empty() {
        return Err(snapshot.nothing(output, request.run.as_ref()));
    }
    let newest = match &request.run {
        Some(_) => None,
        None => Some(CurrentRows::of(snapshot).await?),
    };
    let of_interest = |standing: &&RunState| {
        newest.as_ref().is_none_or(|newest| newest.runs.contains_key(standing.run.id()))
    };
    let standing: Vec<&RunState> = snapshot.runs.iter().filter(of_interest).collect();
    let runs: Vec<&Run> = standing.iter().filter_map(|standing| standing.run.planned()).collect();
    let run = one_model(output, &runs)?;
    let extra = runs.iter().find_map(|run| run.sources.extra_fields());
    check_extra(extra.as_ref(), labels, request.group.as_ref())?;
    let shards: Vec<ShardFile> = standing.iter().flat_map(|standing| shards_of(standing)).collect();
    let mut finder = Finder::new(labels, request);
    finder.read(output, &shards, newest.as_ref()).await?;
    finder.finish(run, shards)
}

/// The newest of the runs, all of which have one model.
fn one_model<'r>(output: &Output, runs: &[&'r Run]) -> Result<&'r Run> {
    let newest = runs.iter().copied().max_by(|a, b| a.age().cmp(&b.age())).ok_or_else(|| {
        Error::new(Kind::Unavailable, format!("no run of {} is complete", output.uri))
            .hint("`tilefleet run` resumes one; --run ID uses the rows that it already has")
    })?;
    let same = |run: &&&Run| {
        let (a, b) = (&run.record.model, &newest.record.model);
        (&a.digest, &a.contract_digest) != (&b.digest, &b.contract_digest)
    };
    match runs.iter().find(same) {
        None => Ok(newest),
        Some(other) => Err(Error::config(format!(
            "the embeddings of {} and {} are of different models",
            newest.id, other.id
        ))
        .hint(format!("use the rows of one run: --run {}", newest.id))),
    }
}

fn shards_of(standing: &RunState) -> Vec<ShardFile> {
    let Some(run) = standing.run.planned() else { return Vec::new() };
    let file = |shard: &crate::output::CommittedShard| ShardFile {
        run: run.id.clone(),
        key: run.shard_key(shard.number),
        size_bytes: shard.size_bytes,
    };
    standing.found.shards.iter().map(file).collect()
}

async fn identities(output: &Output, shard: &ShardFile, columns: &[&str]) -> Result<Vec<RecordBatch>> {
    let object = ParquetObject::open_indexed(&output.bucket, &shard.key, shard.size_bytes).await?;
    object.read_columns(columns).await
}

/// A labelled row, its class not yet numbered.
struct Found {
    tile: TileId,
    label: Arc<str>,
    split: Option<Split>,
    group: u32,
    place: (u32, u32),
}

/// Joins rows and labels.
struct Finder<'a> {
    labels: &'a Labels,
    request: &'a Request,
    group: Group,
    /// Of each label of the file, whether a row has it.
    matched: Vec<bool>,
    found: Vec<Found>,
    groups: Groups,
    not_used: NotUsed,
    /// A source or tile of the output, for messages.
    example: Option<String>,
    /// Each label of `extra` once.
    texts: HashMap<String, Arc<str>>,
}

impl<'a> Finder<'a> {
    fn new(labels: &'a Labels, request: &'a Request) -> Self {
        let num = if let Labels::File(file) = labels { file.labels.len() } else { 0 };
        Self {
            labels,
            request,
            group: request.group.clone().unwrap_or(Group::Source),
            matched: vec![false; num],
            found: Vec::new(),
            groups: Groups::default(),
            not_used: NotUsed::default(),
            example: None,
            texts: HashMap::new(),
        }
    }

    /// The columns that tell which rows are labelled.
    fn columns(&self) -> Vec<String> {
        let mut columns = ["tile_id", "source", "status"].map(str::to_owned).to_vec();
        if let Labels::Extra(column) = self.labels {
            columns.extend([format!("extra.{column}"), "extra.split".to_owned()]);
        }
        if let Group::Extra(column) = &self.group {
            columns.push(format!("extra.{column}"));
        }
        columns.sort_unstable();
        columns.dedup();
        columns
    }

    /// Looks through files, some ahead.
    async fn read(
        &mut self,
        output: &Output,
        shards: &[ShardFile],
        newest: Option<&CurrentRows>,
    ) -> Result<()> {
        let columns = self.columns();
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        let batches = stream::iter(shards).map(|shard| identities(output, shard, &columns)).buffered(AHEAD);
        let mut files = batches.enumerate();
        while let Some((number, batches)) = files.next().await {
            let mut first = 0;
            for batch in batches? {
                self.add(&batch, newest, &shards[number], (number as u32, first))?;
                first += batch.num_rows() as u32;
            }
        }
        Ok(())
    }

    /// Adds the rows of a record batch that are shown and labelled.
    ///
    /// - `place`: number of the file, and of the record batch's first row in it
    fn add(
        &mut self,
        batch: &RecordBatch,
        newest: Option<&CurrentRows>,
        shard: &ShardFile,
        place: (u32, u32),
    ) -> Result<()> {
        let text = |name| StoredColumns(batch).text(name).map_err(|bad| bad.in_shard(&shard.key));
        let (tiles, sources, statuses) = (text("tile_id")?, text("source")?, text("status")?);
        let extra = match self.labels {
            Labels::Extra(column) => Some(extra_of(batch, column)?),
            Labels::File(_) => None,
        };
        let groups = match &self.group {
            Group::Extra(column) => Some(text_of_extra(batch, column, ExtraFor::Groups)?),
            _ => None,
        };
        for row in 0..batch.num_rows() {
            let tile = tile_id_at(tiles, row).map_err(|bad| bad.in_shard(&shard.key))?;
            if newest.is_some_and(|newest| !newest.is_current(&shard.run, sources.value(row), tile)) {
                continue;
            }
            let given = match (&extra, self.labels) {
                (Some(extra), _) => self.given_in(extra, row)?,
                (None, Labels::File(file)) => {
                    let key = if file.by_tile { tiles.value(row) } else { sources.value(row) };
                    self.example.get_or_insert_with(|| key.to_owned());
                    file.keys.get(key).map(|at| {
                        self.matched[*at] = true;
                        file.labels[*at].clone()
                    })
                }
                (None, Labels::Extra(_)) => None,
            };
            match given {
                None => self.not_used.unlabelled_tiles += 1,
                Some(_) if statuses.value(row) != "ok" => self.not_used.without_embedding += 1,
                Some(Given { label, split, group }) => {
                    let place = (place.0, place.1 + row as u32);
                    let named = groups.as_ref().and_then(|groups| field(groups, row)).or(group.as_deref());
                    let group = self.group_of(tile, sources.value(row), named)?;
                    self.found.push(Found { tile, label, split, group, place });
                }
            }
        }
        Ok(())
    }

    /// - `named`: its group, where a column has it
    fn group_of(&mut self, tile: TileId, source: &str, named: Option<&str>) -> Result<u32> {
        let seed = self.request.seed;
        match &self.group {
            Group::Source => Ok(self.groups.of_source(source, seed)),
            Group::Tile => Ok(self.groups.of_tile(tile, seed)),
            Group::Labels(_) | Group::Extra(_) => {
                let named = named.ok_or_else(|| no_group(&format!("the row of {source}")))?;
                Ok(self.groups.of_name(named, seed))
            }
        }
    }

    fn given_in(&mut self, extra: &Extra, row: usize) -> Result<Option<Given>> {
        let Some(label) = field(&extra.labels, row) else { return Ok(None) };
        let split = match &extra.splits {
            None => None,
            Some(splits) => match Split::parse(field(splits, row)) {
                Ok(Some(split)) => Some(split),
                Ok(None) => return Ok(None),
                Err(word) => return Err(wrong_split(word, "a row of the manifest")),
            },
        };
        let label = self.texts.entry(label.to_owned()).or_insert_with(|| label.into()).clone();
        Ok(Some(Given { label, split, group: None }))
    }

    fn finish(mut self, run: &Run, shards: Vec<ShardFile>) -> Result<LabelledRows> {
        if let Labels::File(file) = self.labels {
            self.not_used.blank_labels = file.num_blank;
            self.not_used.unmatched_labels = self.matched.iter().filter(|matched| !**matched).count() as u64;
        }
        if self.found.is_empty() {
            return Err(self.no_match());
        }
        check_labels(self.found.iter().map(|found| found.label.as_ref()))?;
        self.sample();
        let classes = class_names(self.found.iter().map(|found| found.label.as_ref()))?;
        let ids: HashMap<&str, u32> =
            classes.iter().enumerate().map(|(id, name)| (name.as_str(), id as u32)).collect();
        let split_given = self.found.iter().any(|found| found.split.is_some());
        let (mut to_fit, mut to_test) = (Vec::new(), Vec::new());
        let grouped = |found: &Found| (ids[found.label.as_ref()], found.group);
        let chosen: Vec<bool> = if split_given {
            self.found.iter().map(|found| found.split == Some(Split::Test)).collect()
        } else {
            let grouped: Vec<_> = self.found.iter().map(grouped).collect();
            held_out(&grouped, self.groups.ranks(), classes.len(), self.request.held_out)
        };
        let sides = self.found.iter().map(|found| found.group).zip(chosen.iter().copied());
        let (groups, divided) = self.groups.count(sides);
        if self.request.group.is_some() && !divided.is_empty() {
            return Err(both_sides(&self.group, groups.on_both_sides, &divided));
        }
        for (found, is_held_out) in self.found.iter().zip(chosen) {
            let (shard, row) = found.place;
            let tile = LabelledTile { tile: found.tile, class: ids[found.label.as_ref()], shard, row };
            if is_held_out { &mut to_test } else { &mut to_fit }.push(tile);
        }
        check_classes(&classes, &to_fit)?;
        for part in [&mut to_fit, &mut to_test] {
            part.sort_unstable_by_key(|tile| tile.tile);
        }
        let num_fitted = to_fit.len();
        to_fit.extend(to_test);
        let runs: BTreeSet<&RunId> = to_fit.iter().map(|tile| &shards[tile.shard as usize].run).collect();
        Ok(LabelledRows {
            model: run.record.model.clone(),
            pipeline: run.record.pipeline.clone(),
            runs: runs.into_iter().cloned().collect(),
            classes,
            tiles: to_fit,
            num_fitted,
            split_given,
            group: self.group,
            groups,
            not_used: self.not_used,
            shards,
        })
    }

    /// Keeps as many tiles as are asked for, those of the lowest rank.
    fn sample(&mut self) {
        let request = self.request;
        let Some(max) = request.max_tiles.filter(|max| *max < self.found.len()) else { return };
        // Other numbers than those that choose what is held out: else a sample would be nothing but that.
        self.found.sort_by_cached_key(|found| rank(found.tile, !request.seed));
        self.not_used.beyond_sample = (self.found.len() - max) as u64;
        self.found.truncate(max);
    }

    fn no_match(&self) -> Error {
        let error = Error::config("no tile with an embedding has a label");
        match self.labels {
            Labels::Extra(column) => error
                .because(format!("the column `{column}` of the manifest is empty in all rows"))
                .hint("give labels in a file: --labels FILE"),
            Labels::File(file) if self.not_used.without_embedding > 0 => error
                .because(format!(
                    "all labelled tiles were rejected or skipped ({})",
                    self.not_used.without_embedding
                ))
                .hint(format!("label others in {}", file.name)),
            Labels::File(file) => {
                let labelled = file.keys.keys().min().map_or("nothing", String::as_str);
                let there = self.example.as_deref().unwrap_or("nothing");
                error
                    .because(format!("the labels name {labelled}, but the output has {there}"))
                    .hint("write keys as in the table's columns `tile_id` or `source`; a relative path starts at the labels' folder")
            }
        }
    }
}

/// The labels in the manifest's columns.
struct Extra {
    labels: StringArray,
    splits: Option<StringArray>,
}

fn extra_of(batch: &RecordBatch, column: &str) -> Result<Extra> {
    let labels = text_of_extra(batch, column, ExtraFor::Labels)?;
    let has_split = extra_columns(batch).is_some_and(|extra| extra.column_by_name(SPLIT).is_some());
    let splits = (has_split && column != SPLIT).then(|| text_of_extra(batch, SPLIT, ExtraFor::Split));
    Ok(Extra { labels, splits: splits.transpose()? })
}

fn extra_columns(batch: &RecordBatch) -> Option<&arrow::array::StructArray> {
    StoredColumns(batch).structs("extra").ok()
}

/// What a column of the manifest is read for.
#[derive(Clone, Copy)]
enum ExtraFor {
    Labels,
    Split,
    Groups,
}

impl ExtraFor {
    /// Says where else it may come from.
    fn instead(self) -> &'static str {
        match self {
            Self::Labels => "give labels in a file: --labels FILE",
            Self::Split => "write `train` or `test` there, or leave the column out",
            Self::Groups => "group by another column",
        }
    }

    /// Says what a table without any column of a manifest lacks.
    fn without_manifest(self, column: &str) -> Error {
        let (what, otherwise) = match self {
            Self::Labels | Self::Split => ("labels", "give them in a file: --labels FILE"),
            Self::Groups => ("groups", "group by `source` or `tile_id`, or by a column of the labels' file"),
        };
        Error::config(format!("there are no {what} in the column `{column}`: this output was made without a manifest"))
            .because(format!(
                "{what} in the table come from the columns of a CSV or Parquet manifest (`input.manifest`), and the images \
                 of its runs were listed"
            ))
            .hint(otherwise)
    }
}

/// Makes sure that the table has those columns of the manifest that are asked for.
///
/// - `columns`: those that it has; `None` if its runs had no manifest
fn check_extra(columns: Option<&Fields>, labels: &Labels, group: Option<&Group>) -> Result<()> {
    let labels = if let Labels::Extra(column) = labels { Some((column, ExtraFor::Labels)) } else { None };
    let group = if let Some(Group::Extra(column)) = group { Some((column, ExtraFor::Groups)) } else { None };
    for (column, wanted) in labels.into_iter().chain(group) {
        let columns = columns.ok_or_else(|| wanted.without_manifest(column))?;
        let names: Vec<&str> = columns.iter().map(|field| field.name().as_str()).collect();
        if !names.contains(&column.as_str()) {
            return Err(Error::config(format!("the manifest had no column `{column}`"))
                .because(format!("its columns are: {}", names.join(", ")))
                .hint(format!("use one of these, or {}", wanted.instead())));
        }
    }
    Ok(())
}

/// Returns a column of the manifest as text.
fn text_of_extra(batch: &RecordBatch, column: &str, wanted: ExtraFor) -> Result<StringArray> {
    let missing = || Error::config(format!("the manifest had no column `{column}`")).hint(wanted.instead());
    let extra = extra_columns(batch).ok_or_else(missing)?;
    let values = extra.column_by_name(column).ok_or_else(missing)?;
    as_text(&masked(values, extra)).ok_or_else(|| {
        Error::config(format!("the manifest's column `{column}` has neither text nor whole numbers"))
            .hint(wanted.instead())
    })
}

fn both_sides(group: &Group, count: u64, examples: &[&str]) -> Error {
    Error::config(format!(
        "the column `split` puts {count} of the groups by `{group}` into both `train` and `test`: {}{}",
        examples.join(", "),
        if count > examples.len() as u64 { ", …" } else { "" }
    ))
    .hint(
        "mark all tiles of a group `train` or all `test`; or remove the column `split`: then groups are \
         held out as a whole",
    )
}

/// Refuses what are not classes: measurements, and names that hardly any two tiles share.
fn check_labels<'a>(labels: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    labels.for_each(|label| *counts.entry(label).or_default() += 1);
    let numbers: Option<Vec<f64>> = counts.keys().map(|label| label.parse().ok()).collect();
    let is_fraction = |number: &&f64| number.is_finite() && number.fract() != 0.0;
    if let Some(fraction) = numbers.as_deref().and_then(|numbers| numbers.iter().find(is_fraction)) {
        return Err(Error::config(format!(
            "the labels are measurements, such as {fraction}, not \
             classes"
        ))
        .hint(
            "divide the numbers into a few named classes, such as `low` and `high`; if the numbers are \
             classes, name them: `grade 0.5`",
        ));
    }
    let num_single = counts.values().filter(|count| **count == 1).count();
    if (MANY_CLASSES..=MAX_CLASSES).contains(&counts.len()) && 2 * num_single > counts.len() {
        return Err(Error::config(format!(
            "{} {} a single labelled tile, from which nothing can be learned",
            counted_of(num_single as u64, counts.len() as u64, "class"),
            form(num_single as u64, "has", "have")
        ))
        .hint(
            "check that these are the right labels; remove the labels of classes with one tile, or merge \
             these classes",
        ));
    }
    Ok(())
}

/// A member of a struct, null where the struct is.
fn masked(column: &ArrayRef, parent: &arrow::array::StructArray) -> ArrayRef {
    let Some(nulls) = parent.nulls() else { return column.clone() };
    let absent = arrow::array::BooleanArray::new(!nulls.inner(), None);
    arrow::compute::nullif(column, &absent).unwrap_or_else(|_| column.clone())
}

/// Sorts the labels, each once.
fn class_names<'a>(labels: impl Iterator<Item = &'a str>) -> Result<Vec<String>> {
    let names: BTreeSet<&str> = labels.collect();
    if names.len() < 2 {
        let only = names.first().copied().unwrap_or_default();
        return Err(Error::config(format!("all labelled tiles have the same class, `{only}`"))
            .hint("label tiles of at least two classes"));
    }
    if names.len() > MAX_CLASSES {
        return Err(Error::config(format!("the labels have {} classes", names.len()))
            .hint(format!("the maximum is {MAX_CLASSES}; check that these are the right labels")));
    }
    let numbers: Option<BTreeMap<i64, &str>> =
        names.iter().map(|name| Some((name.parse().ok()?, *name))).collect();
    let sorted: Vec<&str> = match numbers {
        Some(numbers) if numbers.len() == names.len() => numbers.into_values().collect(),
        _ => names.into_iter().collect(),
    };
    Ok(sorted.into_iter().map(str::to_owned).collect())
}

fn check_classes(classes: &[String], to_fit: &[LabelledTile]) -> Result<()> {
    let mut occurs = vec![false; classes.len()];
    for tile in to_fit {
        occurs[tile.class as usize] = true;
    }
    match occurs.iter().position(|occurs| !occurs) {
        None => Ok(()),
        Some(class) => {
            Err(Error::config(format!("there is no tile of the class `{}` to fit on", classes[class]))
                .hint("set `split` to `train` for some of its tiles, or leave the class out"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measurements_and_names_are_no_classes() {
        let check = |labels: &[String]| check_labels(labels.iter().map(String::as_str));
        let labels = |label: &dyn Fn(usize) -> String| (0..200).map(label).collect::<Vec<_>>();
        let message = |labels: &[String]| check(labels).unwrap_err().render();
        let measured = message(&labels(&|at| format!("{:.1}", at as f64 / 2.0)));
        assert!(measured.contains("measurements, such as 0.5") && measured.contains("hint: "), "{measured}");
        assert!(
            message(&labels(&|at| format!("{}e-1", at % 3))).contains("measurements"),
            "few classes, all numbers"
        );
        let named = message(&labels(&|at| format!("photo {at}")));
        assert!(named.contains("200 of 200 classes have a single labelled tile"), "{named}");
        assert!(
            message(&labels(&|at| if at < 100 { at.to_string() } else { "100".to_owned() }))
                .contains("100 of 101")
        );
        for fine in [
            labels(&|at| (at % 20).to_string()),
            labels(&|at| format!("{}.0", at % 2)),
            labels(&|at| format!("grade {}", (at % 3) as f64 / 2.0)),
            labels(&|at| if at % 2 == 0 { "0.5".to_owned() } else { "other".to_owned() }),
            labels(&|at| at.to_string())[..9].to_vec(),
        ] {
            check(&fine).unwrap();
        }
    }

    #[test]
    fn classes_are_sorted_by_value_if_all_are_numbers() {
        let names = |labels: &[&'static str]| class_names(labels.iter().copied()).unwrap();
        assert_eq!(names(&["10", "9", "10", "-1"]), ["-1", "9", "10"]);
        assert_eq!(names(&["10", "9", "x"]), ["10", "9", "x"]);
        assert_eq!(names(&["7", "007"]), ["007", "7"]);
        assert!(class_names(["a", "a"].into_iter()).is_err());
    }
}
