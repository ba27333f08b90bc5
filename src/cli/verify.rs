//! `tilefleet verify OUTPUT`

use crate::cli::status::open_runs;
use crate::cli::{block_on, print_json, show};
use crate::error::{Kind, Result};
use crate::verify::{Verdict, verify};

/// Proves that every planned tile has exactly one row.
///
/// Exit 0: proven. Exit 75: not complete yet. Exit 70: violated, with the list.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The output's folder or bucket prefix.
    output: String,

    /// Only this run; otherwise every run of the output.
    #[arg(long, value_name = "ID")]
    run: Option<String>,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let verdicts = block_on(async {
        let mut verdicts = Vec::new();
        for run in open_runs(&args.output, args.run.as_deref()).await? {
            verdicts.push(verify(&run).await?);
        }
        Ok(verdicts)
    })?;
    if args.json {
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
    let word = match (verdict.num_violations, verdict.complete()) {
        (0, true) => "verified",
        (0, false) => "not complete",
        _ => "VIOLATED",
    };
    println!(
        "{}  {word}: {} of {} shards, {} rows for {} planned tiles",
        verdict.run_id,
        verdict.committed,
        verdict.shards,
        show::count(verdict.rows),
        show::count(verdict.tiles)
    );
    println!("  {}", show::counts(&verdict.counts).replace('\n', "\n  "));
}
