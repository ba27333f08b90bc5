//! `tilefleet query OUTPUT SQL`

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use futures::TryStreamExt;

use crate::cli::output_args::PlaceArgs;
use crate::cli::{block_on, show};
use crate::error::{Error, Result};
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

    /// Write to this file instead of standard output; it must not exist yet
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let format = if args.json { Format::Json } else { args.format };
    if format == Format::Parquet && args.out.is_none() {
        return Err(Error::usage("Parquet cannot be written to standard output").hint("add `--out FILE`"));
    }
    let output = args.place.open()?;
    block_on(async {
        let queryable = Queryable::open(&output).await?;
        queryable.notes.iter().for_each(|note| tracing::warn!("{note}"));
        let mut answer = queryable.ask(&args.sql).await?;
        let out: Box<dyn Write + Send> = match &args.out {
            Some(path) => Box::new(BufWriter::new(create(path)?)),
            None => Box::new(BufWriter::new(std::io::stdout())),
        };
        let width = if args.out.is_some() { None } else { show::terminal_width() };
        let mut writer = Writer::new(format, out, &answer.schema(), width)?;
        while let Some(batch) = answer.try_next().await.map_err(|cause| fault(&cause))? {
            writer.write(batch)?;
        }
        writer.finish()
    })
}

fn create(path: &Path) -> Result<File> {
    File::create_new(path).map_err(|cause| {
        Error::config(format!("cannot create {}", path.display()))
            .because(cause)
            .hint("choose a file that does not exist, in a folder that does")
    })
}
