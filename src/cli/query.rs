//! `tilefleet query OUTPUT SQL`

use std::future::Future;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use futures::TryStreamExt;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::output_args::PlaceArgs;
use crate::cli::{block_on, show};
use crate::error::{Error, Kind, Result};
use crate::model::file;
use crate::plan::Output;
use crate::query::show::{Format, Writer};
use crate::query::{Queryable, fault};

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
      --format parquet --out tiles.parquet")]
pub struct Args {
    #[command(flatten)]
    place: PlaceArgs,

    /// The query; one statement that only reads
    sql: String,

    /// How the answer is written
    #[arg(long, value_enum, default_value = "table")]
    format: Format,

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
    let format = if args.json { Format::Json } else { args.format };
    if format == Format::Parquet && args.out.is_none() {
        return Err(Error::usage("Parquet cannot be written to standard output").hint("add `--out FILE`"));
    }
    let output = args.place.open()?;
    let width = if args.out.is_some() { None } else { show::terminal_width() };
    let answer = |out: &mut (dyn Write + Send)| {
        block_on(or_interrupted(answer(&output, &args.sql, format, width, out)))
    };
    match &args.out {
        Some(path) => {
            if !args.force {
                file::refuse_existing(path)?;
            }
            file::write_with(path, args.force, |staged| answer(staged.as_file_mut()))
        }
        None => answer(&mut std::io::stdout()),
    }
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
