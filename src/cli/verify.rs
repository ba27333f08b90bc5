//! `tilefleet verify OUTPUT`

use crate::cli::output_args::OutputArgs;
use crate::cli::{block_on, print_json, show};
use crate::maintenance::verify::{Depth, Verdict, verify_output};
use crate::vocabulary::error::{Kind, Result};

/// Proves that every planned tile has exactly one row
///
/// Exit codes: 0 proven; 70 violated, with a list; 75 not complete yet. Without --run, any file in the table's folder
/// that is not a shard of one of the output's runs is a violation.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilefleet verify s3://tables/photos
  tilefleet verify table --run photos-0123abcd-0001
  tilefleet verify table --deep")]
pub struct Args {
    #[command(flatten)]
    output: OutputArgs,

    /// Also decode every page and compare it with its checksum: reads the whole table
    #[arg(long)]
    deep: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let (output, only) = args.output.open()?;
    let depth = if args.deep { Depth::Pages } else { Depth::Rows };
    let verdicts = block_on(verify_output(&output, only.as_ref(), depth))?;
    if args.output.json {
        print_json(&verdicts)?;
    } else {
        verdicts.iter().for_each(print);
    }
    worst(&verdicts)
}

/// A violation outweighs an incomplete run.
fn worst(verdicts: &[Verdict]) -> Result<()> {
    let mut incomplete = Ok(());
    for verdict in verdicts {
        match verdict.check() {
            Err(error) if error.kind() == Kind::Bug => return Err(error),
            Err(error) => incomplete = Err(error),
            Ok(()) => {}
        }
    }
    incomplete
}

/// Prints one run's verdict.
pub fn print(verdict: &Verdict) {
    for violation in &verdict.violations {
        println!("violated: {violation}");
    }
    let listed = verdict.violations.len() as u64;
    if verdict.num_violations > listed {
        println!("violated: and {} more", verdict.num_violations - listed);
    }
    let Some(run) = &verdict.run_id else { return };
    if let Some(num_left) = verdict.left_of_deleted {
        println!("{run}  deleted, but {} of it left", show::counted(num_left, "object"));
        return;
    }
    let word = match (verdict.num_violations, verdict.complete()) {
        (0, true) => "verified",
        (0, false) => "not complete",
        _ => "VIOLATED",
    };
    if !verdict.planned {
        println!("{run}  {word}: being planned, its plan is not published yet");
        return;
    }
    println!(
        "{run}  {word}: {}, {} for {}",
        show::counted_of(verdict.committed.into(), verdict.shards.into(), "shard"),
        show::counted(verdict.rows, "row"),
        show::counted(verdict.tiles, "planned tile")
    );
    println!("  {}", show::counts(&verdict.counts).replace('\n', "\n  "));
    if let Some(line) = verdict.without_checksums.map(pages) {
        println!("  {line}");
    }
}

/// Says what reading all pages has shown, beside what is violated.
fn pages(without_checksums: u64) -> String {
    match without_checksums {
        0 => "every page was decoded and compared with its checksum".to_owned(),
        without => format!(
            "every page was decoded; {} from an earlier version, without checksums",
            show::counted(without, "file")
        ),
    }
}
