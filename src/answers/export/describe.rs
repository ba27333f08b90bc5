//! A run as catalogues describe it.

use std::path::{Component, Path, PathBuf};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;
use serde_json::Value;

use crate::input::stac::{Bbox, Column, RunDescription, Shard, Source, time};
use crate::output::current_rows::Current;
use crate::output::{CommittedShard, Output, ParquetObject, Run, RunId, RunState, Scope};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::words::counted;

/// How many footers are read at a time.
const CONCURRENCY: usize = 16;

/// What the output does not say itself.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The run; `None` for the newest that is complete and current.
    pub run: Option<RunId>,
    /// The catalogue's folder, which addresses in it are relative to where both are local.
    pub folder: PathBuf,
    /// SPDX identifier of the embeddings' licence.
    pub license: String,
}

/// Describes a run for [`crate::input::stac::describe`].
///
/// # Errors
///
/// `Config` if there is no such run or no complete one, or the run has no places; `Unavailable` if the run that
/// was named is not complete; as the store answers.
pub async fn describe_run(output: &Output, asked: &Asked) -> Result<RunDescription> {
    let snapshot = output.snapshot(Scope::of(asked.run.as_ref())).await?;
    if snapshot.is_empty() {
        return Err(snapshot.nothing(output, asked.run.as_ref()));
    }
    let Current { withheld, .. } = match asked.run {
        Some(_) => Current::default(),
        None => Current::of(&snapshot.runs).await?,
    };
    let current = snapshot.runs.iter().filter(|standing| !withheld.contains(standing.run.id()));
    let complete = current.filter_map(|standing| Some((standing, standing.completed()?)));
    let Some((standing, run)) = complete.max_by(|(_, one), (_, other)| one.age().cmp(&other.age())) else {
        let which = asked
            .run
            .as_ref()
            .map_or_else(|| "no run".to_owned(), |id| format!("run {id} is not complete: no run"));
        return Err(Error::unavailable(format!("{which} of {} is complete", output.uri))
            .hint(format!("`tilefleet status {}` shows the progress of the runs", output.uri)));
    };
    description(output, standing, run, asked).await
}

async fn description(
    output: &Output,
    standing: &RunState,
    run: &Run,
    asked: &Asked,
) -> Result<RunDescription> {
    let opened = stream::iter(&standing.found.shards).map(|shard| footer(output, run, shard));
    let footers: Vec<(&CommittedShard, ParquetObject)> = opened.buffered(CONCURRENCY).try_collect().await?;
    let columns = footers.first().map_or_else(Vec::new, |(_, footer)| {
        let fields = footer.schema().fields().iter();
        fields
            .map(|field| Column { name: field.name().clone(), data_type: field.data_type().to_string() })
            .collect()
    });
    let items = asked.folder.join("items");
    let shards = footers.iter().map(|(shard, footer)| {
        let name = file_stem(footer.key());
        let href = href(&output.bucket.uri(footer.key()), &items)?;
        Ok(Shard {
            name,
            href,
            num_rows: footer.num_rows(),
            num_bytes: shard.size_bytes,
            bbox: bbox_of(footer),
            times: times_of(footer),
        })
    });
    let shards = shards.collect::<Result<Vec<_>>>()?;
    let gsd = footers.iter().filter_map(|(_, footer)| range_of(footer, "gsd")).collect::<Vec<_>>();
    let gsd =
        gsd.first().map(|first| first.0).filter(|value| gsd.iter().all(|range| *range == (*value, *value)));
    let sources = output.bucket.uri(&output.layout.sources(&run.id));
    let model = &run.record.model;
    Ok(RunDescription {
        run: run.id.to_string(),
        description: format!(
            "Embeddings of {} by the model {}, made by run {} of tilefleet {}.",
            counted(run.record.plan.tiles, "tile"),
            model.contract.name,
            run.id,
            run.record.tool_version
        ),
        license: asked.license.clone(),
        created: time::parse(&run.planned_at().to_string()).unwrap_or_default(),
        tool_version: run.record.tool_version.clone(),
        data_type: embedding_type(&columns),
        columns,
        contract: model.contract.clone(),
        model_digest: model.digest.clone(),
        model_href: model.file.clone(),
        sources: vec![Source {
            href: href(&sources, &asked.folder)?,
            media_type: "application/vnd.apache.parquet".to_owned(),
            title: "The sources of the run".to_owned(),
        }],
        gsd,
        layout: None,
        shards,
    })
}

async fn footer<'a>(
    output: &Output,
    run: &Run,
    shard: &'a CommittedShard,
) -> Result<(&'a CommittedShard, ParquetObject)> {
    let key = run.shard_key(shard.number);
    let gone = || {
        Error::unavailable(format!("{key} does not exist any more"))
            .hint("the run was deleted in the meantime: run the command again")
    };
    let footer = ParquetObject::open(&output.bucket, &key).await?.ok_or_else(gone)?;
    Ok((shard, footer))
}

fn file_stem(key: &str) -> String {
    Path::new(key).file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Returns how an object is named from a folder: relative where both are local, so that they can move together.
fn href(uri: &crate::input::storage::ObjectUri, folder: &Path) -> Result<String> {
    let Some(path) = uri.local_path() else { return Ok(uri.to_string()) };
    let folder = std::path::absolute(folder)
        .map_err(|cause| Error::unavailable("cannot resolve the current folder").because(cause))?;
    Ok(relative(&folder, &path).unwrap_or_else(|| uri.to_string()))
}

/// Returns the way from a folder to a file, both absolute; `None` where it cannot be written as text.
fn relative(folder: &Path, file: &Path) -> Option<String> {
    let (from, to): (Vec<_>, Vec<_>) = (folder.components().collect(), file.components().collect());
    if from.contains(&Component::ParentDir) {
        return None;
    }
    let shared = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
    let up = std::iter::repeat_n("..", from.len() - shared);
    let down = to[shared..].iter().map(|part| part.as_os_str().to_str()).collect::<Option<Vec<_>>>()?;
    Some(up.chain(down).collect::<Vec<_>>().join("/"))
}

/// What the rows of a file cover, from its `GeoParquet` metadata.
fn bbox_of(footer: &ParquetObject) -> Option<Bbox> {
    let geo: Value = serde_json::from_str(footer.key_values().get("geo")?).ok()?;
    let numbers: Vec<f64> = serde_json::from_value(geo["columns"]["geometry"]["bbox"].clone()).ok()?;
    Bbox::of(&numbers)
}

fn times_of(footer: &ParquetObject) -> Option<(i64, i64)> {
    let ranges = statistics(footer, "datetime").map(|statistics| match statistics? {
        Statistics::Int64(values) => Some((*values.min_opt()?, *values.max_opt()?)),
        _ => None,
    });
    ranges.flatten().reduce(|(first, last), (start, end)| (first.min(start), last.max(end)))
}

fn range_of(footer: &ParquetObject, column: &str) -> Option<(f64, f64)> {
    let ranges = statistics(footer, column).map(|statistics| match statistics? {
        Statistics::Double(values) => Some((*values.min_opt()?, *values.max_opt()?)),
        _ => None,
    });
    ranges.flatten().reduce(|(least, greatest), (min, max)| (least.min(min), greatest.max(max)))
}

fn statistics<'a>(
    footer: &'a ParquetObject,
    column: &'a str,
) -> impl Iterator<Item = Option<&'a Statistics>> {
    let groups = footer.parquet().row_groups().iter();
    groups
        .flat_map(RowGroupMetaData::columns)
        .filter(move |chunk| chunk.column_path().string() == column)
        .map(|chunk| chunk.statistics())
}

fn embedding_type(columns: &[Column]) -> String {
    let embedding = columns.iter().find(|column| column.name == "embedding");
    let is_half = embedding.is_some_and(|column| column.data_type.contains("Float16"));
    if is_half { "float16" } else { "float32" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_a_file_is_relative() {
        let way = |folder: &str, file: &str| relative(Path::new(folder), Path::new(file));
        assert_eq!(
            way("/out/stac/items", "/out/tiles/run=a/s.parquet").as_deref(),
            Some("../../tiles/run=a/s.parquet")
        );
        assert_eq!(way("/out", "/out/s.parquet").as_deref(), Some("s.parquet"));
        assert_eq!(way("/a/b", "/c/s.parquet").as_deref(), Some("../../c/s.parquet"));
        assert_eq!(way("/a/../b", "/c/s.parquet"), None);
    }
}
