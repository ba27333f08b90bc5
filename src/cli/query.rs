//! `tilefleet query OUTPUT SQL`

use std::future::Future;
use std::io::{BufWriter, IsTerminal, Write, stdout};
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::{Path, PathBuf};

use futures::{FutureExt, TryStreamExt};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::output_args::PlaceArgs;
use crate::cli::{block_on_built, show};
use crate::error::{Error, Kind, Result};
use crate::guard;
use crate::model::file;
use crate::plan::Output;
use crate::query::show::{Format, Writer};
use crate::query::{Queryable, STACK_BYTES, crash, fault};
use crate::visible::{self, Shown};

/// Asks an output in SQL
///
/// Tables: `tiles` (for every source the newest completed run), `tiles_all` (all committed rows),
/// `runs`, and the views `predictions` and `rejects`. Beside SQL's own functions there are
/// `cosine_similarity(a, b)`, the aggregate `mean_embedding(embedding)`, and `nearest('TILE_ID', K)`,
/// a table of the K tiles most like that one.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilefleet query out 'SELECT label, count(*) FROM predictions GROUP BY label'
  tilefleet query out 'SELECT reason, count(*) FROM rejects GROUP BY reason'
  tilefleet query out \\
      \"SELECT * FROM nearest('0123456789abcdef0123456789abcdef', 10)\"
  tilefleet query s3://bucket/out 'SELECT * FROM tiles' \\
      --out tiles.parquet")]
pub struct Args {
    #[command(flatten)]
    place: PlaceArgs,

    /// The query; one statement that only reads
    sql: String,

    /// How the answer is written; else as the ending of `--out` says, else as a table
    #[arg(long, value_enum)]
    format: Option<Format>,

    /// The same as `--format json`
    #[arg(long, conflicts_with = "format")]
    json: bool,

    /// Write to this file instead of standard output; it is there when it is whole
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Replace the file if it exists
    #[arg(long, requires = "out")]
    force: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let format = args.format();
    if format == Format::Parquet && args.out.is_none() {
        return Err(Error::usage("Parquet cannot be written to standard output").hint("add `--out FILE`"));
    }
    let output = args.place.open()?;
    let width = if args.out.is_some() { None } else { show::terminal_width() };
    let answer = |out: &mut (dyn Write + Send)| {
        on_large_stacks(|| or_interrupted(answer(&output, &args.sql, format, width, out)))
    };
    match &args.out {
        Some(path) => {
            if !args.force {
                file::refuse_existing(path)?;
            }
            file::write_with(path, args.force, |staged| answer(staged.as_file_mut()))
        }
        None if stdout().is_terminal() && format == Format::Json => {
            answer(&mut Shown::new(stdout(), visible::json))
        }
        None if stdout().is_terminal() => answer(&mut Shown::new(stdout(), visible::text)),
        None => answer(&mut stdout()),
    }
}

impl Args {
    fn format(&self) -> Format {
        let by_ending = || match self.out.as_deref().and_then(Path::extension)?.to_str()? {
            "csv" => Some(Format::Csv),
            "json" => Some(Format::Json),
            "parquet" => Some(Format::Parquet),
            _ => None,
        };
        let asked_for = if self.json { Some(Format::Json) } else { self.format };
        asked_for.or_else(by_ending).unwrap_or(Format::Table)
    }
}

/// Runs a future to its end where deep queries find room, and crashes are silent: they come back as errors.
fn on_large_stacks<F: Future<Output = Result<()>>>(work: impl FnOnce() -> F + Send) -> Result<()> {
    let work = || {
        guard::keep_quiet();
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.thread_stack_size(STACK_BYTES).on_thread_start(guard::keep_quiet);
        block_on_built(builder, work())
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("query".to_owned()).stack_size(STACK_BYTES);
        let thread = thread.spawn_scoped(scope, work).map_err(|cause| {
            Error::unavailable("cannot start the thread that asks")
                .because(cause)
                .hint("it wants 512 MiB of address space; `ulimit -v` may forbid it")
        })?;
        thread.join().unwrap_or_else(|payload| resume_unwind(payload))
    })
}

async fn answer(
    output: &Output,
    sql: &str,
    format: Format,
    width: Option<usize>,
    out: &mut (dyn Write + Send),
) -> Result<()> {
    let queryable = Queryable::open(output).await?;
    queryable.notes.iter().for_each(|note| tracing::warn!("{note}"));
    let asked = AssertUnwindSafe(write_answer(&queryable, sql, format, width, out)).catch_unwind().await;
    match asked.unwrap_or_else(|payload| Err(crash(&*payload))) {
        Ok(()) => Ok(()),
        Err(error) => Err(queryable.explain(error).await),
    }
}

async fn write_answer(
    queryable: &Queryable,
    sql: &str,
    format: Format,
    width: Option<usize>,
    out: &mut (dyn Write + Send),
) -> Result<()> {
    let mut answer = queryable.ask(sql).await?;
    let mut out = BufWriter::new(out);
    let mut writer = Writer::new(format, &mut out, &answer.schema(), width)?;
    while let Some(batch) = answer.try_next().await.map_err(|cause| fault(&cause))? {
        writer.write(batch)?;
        // Writing does not wait for anything, and only who waits hears a signal.
        tokio::task::yield_now().await;
    }
    writer.finish()?;
    out.flush().map_err(|cause| Error::unavailable("cannot write the answer").because(cause))
}

/// Ends early at a signal, so that what was begun is cleaned away.
async fn or_interrupted(work: impl Future<Output = Result<()>>) -> Result<()> {
    let cannot = |cause| Error::unavailable("cannot listen for signals").because(cause);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    tokio::select! {
        result = work => result,
        _ = interrupt.recv() => Err(Error::new(Kind::Interrupted, "interrupted")),
        _ = terminate.recv() => Err(Error::new(Kind::Drained, "ended by SIGTERM")),
    }
}
