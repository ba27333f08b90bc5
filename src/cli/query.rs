//! `tilefleet query OUTPUT SQL`

use std::fs::File;
use std::future::Future;
use std::io::{BufWriter, IsTerminal, Read, Write, stdin, stdout};
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::{Path, PathBuf};

use futures::{FutureExt, TryStreamExt};

use crate::answers::query::show::{Format, Writer};
use crate::answers::query::{Given, MAX_BYTES, Queryable, STACK_BYTES, crash, fault};
use crate::cli::first_process::or_interrupted;
use crate::cli::output_args::PlaceArgs;
use crate::cli::{block_on_built, show};
use crate::input::storage::{Storage, StorageOptions};
use crate::models::file;
use crate::observe::announce;
use crate::output::Output;
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::guard;
use crate::vocabulary::visible;
use crate::vocabulary::visible::Shown;

/// Queries an output with SQL
///
/// Tables: `tiles` (the newest completed run of each source), `tiles_all` (all committed rows), `runs`, and the views
/// `predictions` and `rejects`. In addition to SQL's functions there are `cosine_similarity(a, b)`, the aggregate
/// `mean_embedding(embedding)`, and `nearest('TILE_ID', K)`, a table of the K most similar tiles; the first digits of
/// an id are enough.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilefleet query out 'SELECT label, count(*) FROM predictions GROUP BY label'
  tilefleet query out 'SELECT reason, count(*) FROM rejects GROUP BY reason'
  tilefleet query out \\
      \"SELECT source, similarity FROM nearest('0123abcd', 10)\"
  tilefleet query s3://bucket/out 'SELECT * FROM tiles' \\
      --out tiles.parquet
  tilefleet query out 'SELECT label, geometry FROM tiles' \\
      --out tiles.geojson
  tilefleet query out --table truth=labels.csv \\
      'SELECT * FROM predictions JOIN truth USING (tile_id)'
  tilefleet query out -f report.sql --out report.csv")]
#[command(group = clap::ArgGroup::new("query").required(true))]
// Clap would write the group before the output.
#[command(override_usage = "tilefleet query [OPTIONS] <OUTPUT> <SQL|--file <FILE>>")]
pub struct Args {
    #[command(flatten)]
    place: PlaceArgs,

    /// The query, one read-only statement; `-`: from standard input
    #[arg(group = "query")]
    sql: Option<String>,

    /// Read the query from this file
    #[arg(short, long, value_name = "FILE", group = "query")]
    file: Option<PathBuf>,

    /// Make a CSV or Parquet file a table of this name; repeatable
    #[arg(long, value_name = "NAME=FILE")]
    table: Vec<String>,

    /// Format of the answer [default: by the extension of --out; on standard output, a table]
    #[arg(long, value_enum)]
    format: Option<Format>,

    /// Same as `--format json`
    #[arg(long, conflicts_with = "format")]
    json: bool,

    /// Write to this file instead of standard output; it appears only when complete
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Replace the file if it exists
    #[arg(long, requires = "out")]
    force: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let format = args.format()?;
    if format == Format::Parquet && args.out.is_none() {
        return Err(Error::usage("Parquet cannot be written to standard output").hint("add `--out FILE`"));
    }
    let (output, storage) = args.place.open_with_storage()?;
    let tables = args.table.iter().map(|table| Given::parse(table)).collect::<Result<Vec<_>>>()?;
    let question = Question { sql: args.sql()?, output, storage, tables };
    let width = if args.out.is_some() { None } else { show::terminal_width() };
    let answer = |out: &mut (dyn Write + Send)| {
        on_large_stacks(|| or_interrupted(answer(&question, format, width, out)))
    };
    match &args.out {
        Some(path) => {
            if !args.force {
                file::refuse_existing(path)?;
            }
            let mut num_rows = 0;
            file::write_with(path, args.force, |staged| {
                answer(staged.as_file_mut()).map(|written| num_rows = written)
            })?;
            announce::answer_written(num_rows, path);
            return Ok(());
        }
        None if stdout().is_terminal() && [Format::Json, Format::GeoJson].contains(&format) => {
            answer(&mut Shown::new(stdout(), visible::json))
        }
        None if stdout().is_terminal() => answer(&mut Shown::new(stdout(), visible::text)),
        None => answer(&mut stdout()),
    }
    .map(|_| ())
}

/// Asks an output one question, and prints the answer as a table.
///
/// # Errors
///
/// As [`Queryable::ask`]; `Unavailable` if nothing can be printed.
pub(super) fn print_answer(output: &Output, sql: &str) -> Result<()> {
    let storage = Storage::new(StorageOptions::default())?;
    let question = Question { sql: sql.to_owned(), output: output.clone(), storage, tables: Vec::new() };
    let (width, mut out) = (show::terminal_width(), Shown::new(stdout(), visible::text));
    on_large_stacks(|| or_interrupted(answer(&question, Format::Table, width, &mut out)))?;
    Ok(())
}

/// What the ending of a file's name says of the format.
const ENDINGS: [(&str, Format); 6] = [
    ("csv", Format::Csv),
    ("json", Format::Json),
    ("geojson", Format::GeoJson),
    ("parquet", Format::Parquet),
    ("geoparquet", Format::Parquet),
    ("txt", Format::Table),
];

fn format_of(path: &Path) -> Result<Format> {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
    let known = ENDINGS.iter().find(|(known, _)| ending.as_deref() == Some(*known));
    known.map(|(_, format)| *format).ok_or_else(|| {
        let endings: Vec<String> = ENDINGS.iter().map(|(ending, _)| format!(".{ending}")).collect();
        Error::usage(format!("the extension of {} does not give a format", path.display()))
            .hint(format!("use {}, where .txt is a table for people; or give --format", endings.join(", ")))
    })
}

impl Args {
    fn format(&self) -> Result<Format> {
        let asked_for = if self.json { Some(Format::Json) } else { self.format };
        match (asked_for, &self.out) {
            (Some(format), _) => Ok(format),
            (None, Some(path)) => format_of(path),
            (None, None) => Ok(Format::Table),
        }
    }

    fn sql(&self) -> Result<String> {
        match (&self.file, self.sql.as_deref()) {
            (Some(path), _) if path.as_os_str() != "-" => {
                let place = path.display().to_string();
                let file = File::open(path).map_err(|cause| {
                    Error::usage(format!("cannot read the query from {place}")).because(cause)
                })?;
                sql_of(file, &place)
            }
            (None, Some(sql)) if sql != "-" => given(sql),
            _ => sql_of(stdin().lock(), "standard input"),
        }
    }
}

/// Takes the text of a query; the name of a file there is a mistake.
fn given(sql: &str) -> Result<String> {
    if !sql.contains(char::is_whitespace) && Path::new(sql).is_file() {
        return Err(Error::usage(format!("`{sql}` is a file, not a query"))
            .hint(format!("read the query from it: tilefleet query OUTPUT -f {sql}")));
    }
    Ok(sql.to_owned())
}

/// Reads a query, and no more than one may be long.
fn sql_of(from: impl Read, place: &str) -> Result<String> {
    let mut bytes = Vec::new();
    let read = from.take(MAX_BYTES as u64 + 4).read_to_end(&mut bytes);
    let unreadable = || Error::usage(format!("cannot read the query from {place}"));
    read.map_err(|cause| unreadable().because(cause))?;
    let text = String::from_utf8(bytes)
        .map_err(|cause| unreadable().because(cause).hint("a query is SQL in UTF-8"))?;
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Err(Error::usage(format!("there is no query in {place}"))
            .hint("write one statement, such as SELECT count(*) FROM tiles"));
    }
    Ok(text.to_owned())
}

/// What is asked of what.
struct Question {
    sql: String,
    output: Output,
    storage: Storage,
    tables: Vec<Given>,
}

/// Runs a future to its end where deep queries find room, and crashes are silent: they come back as errors.
fn on_large_stacks<F: Future<Output = Result<u64>>>(work: impl FnOnce() -> F + Send) -> Result<u64> {
    let work = || {
        guard::keep_quiet();
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.thread_stack_size(STACK_BYTES).on_thread_start(guard::keep_quiet);
        block_on_built(builder, work())
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("query".to_owned()).stack_size(STACK_BYTES);
        let thread = thread.spawn_scoped(scope, work).map_err(|cause| {
            Error::unavailable("cannot start the thread for the query")
                .because(cause)
                .hint("it needs 512 MiB of address space; check `ulimit -v`")
        })?;
        thread.join().unwrap_or_else(|payload| resume_unwind(payload))
    })
}

/// Returns how many rows the answer has.
async fn answer(
    question: &Question,
    format: Format,
    width: Option<usize>,
    out: &mut (dyn Write + Send),
) -> Result<u64> {
    let queryable = Queryable::open(&question.output).await?;
    queryable.notes.iter().for_each(|note| tracing::warn!("{note}"));
    for table in &question.tables {
        queryable.add(table, &question.storage).await?;
    }
    let asked = write_answer(&queryable, &question.sql, format, width, out);
    let asked = AssertUnwindSafe(asked).catch_unwind().await;
    match asked.unwrap_or_else(|payload| Err(crash(&*payload))) {
        Ok(num_rows) => Ok(num_rows),
        Err(error) => Err(queryable.explain(error).await),
    }
}

async fn write_answer(
    queryable: &Queryable,
    sql: &str,
    format: Format,
    width: Option<usize>,
    out: &mut (dyn Write + Send),
) -> Result<u64> {
    let mut answer = queryable.ask(sql).await?;
    let mut out = BufWriter::new(out);
    let mut writer = Writer::new(format, &mut out, &answer.schema(), width)?;
    let mut num_rows = 0;
    while let Some(batch) = answer.try_next().await.map_err(|cause| fault(&cause))? {
        num_rows += batch.num_rows() as u64;
        writer.write(batch)?;
        // Writing does not wait for anything, and only who waits hears a signal.
        tokio::task::yield_now().await;
    }
    writer.finish()?;
    out.flush().map_err(|cause| Error::unavailable("cannot write the answer").because(cause))?;
    Ok(num_rows)
}
