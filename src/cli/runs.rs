//! `tilefleet runs OUTPUT`

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::output_args::{PlaceArgs, SecretArgs, VaultArgs};
use crate::cli::report::{listing, why_not_current};
use crate::cli::run::print_below;
use crate::cli::{block_on, print_json, show};
use crate::maintenance::compact::{Compacted, Request, compact};
use crate::maintenance::erase;
use crate::maintenance::erase::{Erased, ErasedRun};
use crate::maintenance::runs;
use crate::maintenance::runs::{Accepted, Deleted, Proposal};
use crate::observe::stderr::{Level, say};
use crate::output::report::{ReportDetail, RunPhase, RunReport, report};
use crate::output::{Origin, Output, RunId};
use crate::vocabulary::error::{Error, Result};

/// Lists the runs of an output, accepts and deletes them, merges small ones
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilefleet runs s3://tables/photos
  tilefleet runs s3://tables/photos accept photos-1a2b3c4d-0004
  tilefleet runs s3://tables/photos compact
  tilefleet runs s3://tables/photos delete photos-1a2b3c4d-0003 --yes")]
pub struct Args {
    #[command(flatten)]
    place: PlaceArgs,

    /// Print JSON
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Lists the runs in the order in which they were planned; the default
    #[command(after_help = "Examples:\n  tilefleet runs s3://tables/photos list --json")]
    List,
    Accept(AcceptArgs),
    Delete(DeleteArgs),
    Compact(CompactArgs),
    Erase(EraseArgs),
}

/// Makes a run current although more of it was rejected than `limits.max_reject_ratio` allows
///
/// Until it is accepted, `tiles` shows the same rows as before that run, and the next `run` plans its sources again.
/// Reports how `tiles` changes. To accept a run in advance, give `run` the flag --accept; a run that is not complete
/// can be accepted too.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilefleet runs s3://tables/photos accept photos-1a2b3c4d-0004")]
struct AcceptArgs {
    /// The run
    #[arg(value_name = "ID")]
    id: String,
}

/// Deletes runs, rows and all
///
/// Without --yes, lists what would be deleted and exits 64. Repeat the command to finish an interrupted deletion. The
/// id of a deleted run is never used again; the next `run` covers its sources.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilefleet runs s3://tables/photos delete photos-1a2b3c4d-0003
  tilefleet runs s3://tables/photos delete photos-1a2b3c4d-0003 --yes
  tilefleet runs s3://tables/photos delete --older-than 30d")]
#[command(group = clap::ArgGroup::new("which").required(true))]
struct DeleteArgs {
    /// The runs
    #[arg(group = "which", value_name = "ID")]
    ids: Vec<String>,

    /// All complete runs that were planned longer ago than this, such as 30d, even if `tiles` shows their rows
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, group = "which")]
    older_than: Option<Duration>,

    /// Delete; without this flag only list what would be deleted
    #[arg(long)]
    yes: bool,

    /// Delete unfinished runs too; their workers will fail
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    vault: VaultArgs,
}

/// Merges completed runs into one with fewer files
///
/// Rows are copied, not computed; rows that newer runs have replaced are dropped. The table `tiles` shows the same
/// rows at all times: runs that have not been accepted are not merged, and neither are runs older than another
/// pipeline's rows for the same tiles. The new run is verified before the old ones are deleted. Repeat the command to
/// resume an interrupted compaction.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilefleet runs s3://tables/photos compact
  tilefleet runs s3://tables/photos compact --shard-tiles 8192")]
struct CompactArgs {
    /// Tiles per shard [default: as set in the pipeline of the newest run, otherwise 4096]
    #[arg(long, value_name = "N")]
    shard_tiles: Option<NonZeroU32>,

    /// Only these runs, which must be consecutive
    #[arg(long, value_name = "ID,ID", value_delimiter = ',')]
    runs: Vec<String>,

    #[command(flatten)]
    secrets: SecretArgs,
}

/// Erases the rows of people, by their keys, in every run and in the vault
///
/// Each row of a source that has one of the keys becomes `skipped` with the reason `erased`: without embedding, classes,
/// manifest columns and place. The vault forgets its URI, and no run covers the source again. Without --yes, says what
/// would be erased and exits 64. Repeat the command to finish an interrupted one. Copies, backups and the versions that
/// a bucket keeps are out of reach; so are rows that have no key, such as rejects whose header could not be read.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilefleet runs table erase --patient 67ddbd6eb9e8075f4544b777bb9716d9 \\
      --vault vault --key-file key.txt
  tilefleet runs table erase --patients keys.txt --column extra.patient \\
      --vault vault --key-file key.txt --yes")]
#[command(group = clap::ArgGroup::new("whose").required(true).multiple(true))]
struct EraseArgs {
    /// Key of a patient, as `tilefleet pseudonym` prints it; repeatable
    #[arg(long = "patient", group = "whose", value_name = "KEY")]
    patients: Vec<String>,

    /// File of such keys, one per line
    #[arg(long = "patients", group = "whose", value_name = "FILE")]
    file: Option<PathBuf>,

    /// The column of the table that has the keys; a column of the manifest is `extra.NAME`
    #[arg(long, value_name = "NAME", default_value = "patient_key")]
    column: String,

    /// Erase; without this flag only say what would be erased
    #[arg(long)]
    yes: bool,

    #[command(flatten)]
    secrets: SecretArgs,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let (place, json) = (&args.place, args.json);
    match args.command.unwrap_or(Command::List) {
        Command::List => list(&place.open()?, json),
        Command::Accept(which) => accept(&place.open()?, &which, json),
        Command::Delete(which) => delete(&place.open_with_vault(&which.vault)?, &which, json),
        Command::Compact(which) => compact_runs(&block_on(place.unlock(&which.secrets))?, &which, json),
        Command::Erase(which) => erase_people(&block_on(place.unlock(&which.secrets))?, &which, json),
    }
}

fn list(output: &Output, json: bool) -> Result<()> {
    let runs = block_on(report(output, None, ReportDetail::Outcomes))?;
    if json {
        return print_json(&runs);
    }
    for run in &runs {
        println!("{}", listing(run));
        print_below(why_not_current(run, &output.uri));
    }
    Ok(())
}

fn accept(output: &Output, args: &AcceptArgs, json: bool) -> Result<()> {
    let accepted = block_on(runs::accept(output, &RunId::parse(&args.id)?))?;
    if json {
        return print_json(&accepted);
    }
    let Accepted { run_id, was_current, complete, change } = &accepted;
    if *was_current && *complete {
        println!("{run_id}  is already current");
        return Ok(());
    }
    if !complete {
        println!("{run_id}  accepted: `tiles` shows it when it is complete");
        return Ok(());
    }
    println!(
        "{run_id}  accepted: `tiles` gains {}, shows other rows of {}, and loses {}",
        show::counted(change.gained, "tile"),
        show::count(change.replaced),
        show::count(change.lost)
    );
    Ok(())
}

fn delete(output: &Output, args: &DeleteArgs, json: bool) -> Result<()> {
    let mut ids = args.ids.iter().map(|id| RunId::parse(id)).collect::<Result<Vec<RunId>>>()?;
    if let Some(age) = args.older_than {
        ids = block_on(runs::older_than(output, age, output.process.now(), args.force))?;
    }
    ids.sort();
    ids.dedup();
    let proposal = block_on(runs::propose(output, &ids))?;
    if !ids.is_empty() {
        refuse(&proposal, args, json)?;
    }
    let deleted = block_on(runs::delete(output, &proposal))?;
    if !deleted.is_empty() && !output.has_vault() && block_on(output.privacy())?.is_some() {
        say(
            Level::Warn,
            "the URIs of the sources of these runs stay in the vault: repeat the command with --vault URI",
        );
    }
    if json {
        return print_json(&deleted);
    }
    if ids.is_empty() {
        println!("no run is old enough");
        return Ok(());
    }
    for Deleted { run_id, removed } in &deleted {
        let files = show::counted(removed.files, "file");
        println!("{run_id}  deleted: {files}, {}", show::bytes(removed.bytes));
    }
    print_consequences(&proposal);
    Ok(())
}

/// Says what would be deleted, unless that is wanted.
fn refuse(proposal: &Proposal, args: &DeleteArgs, json: bool) -> Result<()> {
    let open = |run: &&RunReport| matches!(run.state, RunPhase::Open | RunPhase::Planning);
    let missing = match proposal.runs.iter().find(open).filter(|_| !args.force) {
        Some(run) => Error::usage(format!("run {} is not complete: a worker may be using it", run.run_id))
            .hint("stop its workers, then add `--force`"),
        None if args.yes => return Ok(()),
        None => Error::usage("nothing was deleted").hint("add `--yes` to delete this"),
    };
    if json {
        print_json(proposal)?;
    } else {
        proposal.runs.iter().for_each(|run| println!("{}", listing(run)));
        print_consequences(proposal);
    }
    Err(missing)
}

fn print_consequences(proposal: &Proposal) {
    if proposal.fall_back + proposal.vanish == 0 {
        println!("`tiles` shows no rows of these runs");
        return;
    }
    println!(
        "`tiles` loses {}, and shows {} of other runs instead",
        show::counted(proposal.vanish, "tile"),
        show::counted(proposal.fall_back, "tile")
    );
}

fn compact_runs(output: &Output, args: &CompactArgs, json: bool) -> Result<()> {
    let only = args.runs.iter().map(|id| RunId::parse(id)).collect::<Result<Vec<RunId>>>()?;
    let request = Request { only, shard_tiles: args.shard_tiles.map(NonZeroU32::get) };
    let all = block_on(compact(output, &request))?;
    if json {
        return print_json(&all);
    }
    if all.is_empty() {
        println!(
            "nothing to compact: no two current runs have the same pipeline and fingerprint, without newer \
             rows of another run between them"
        );
    }
    all.iter().for_each(print_compacted);
    Ok(())
}

fn print_compacted(compacted: &Compacted) {
    let id = format!(
        "{}{}",
        compacted.run_id,
        show::origin(&Origin::Compaction { of: compacted.replaced.clone() })
    );
    let how = if compacted.continued { "verified; it was begun earlier" } else { "verified" };
    println!(
        "{id}  {how}: {} in {}, {}",
        show::counted(compacted.tiles, "tile"),
        show::counted(compacted.files, "file"),
        show::bytes(compacted.bytes)
    );
    let Compacted { removed, .. } = compacted;
    println!(
        "  deleted from the old runs: {}, {}",
        show::counted(removed.files, "file"),
        show::bytes(removed.bytes)
    );
    if let Some(superseded) = compacted.superseded {
        println!("  dropped: {} that newer ones had replaced", show::counted(superseded, "row"));
    }
}

fn erase_people(output: &Output, args: &EraseArgs, json: bool) -> Result<()> {
    let request = erase::Request { column: args.column.clone(), keys: keys_of(args)? };
    let (names, unknown_keys) = block_on(erase::find(output, &request))?;
    let runs = if args.yes { block_on(erase::erase(output, &names))? } else { Vec::new() };
    let erased = Erased { sources: names.len() as u64, unknown_keys, runs };
    if json {
        print_json(&erased)?;
    } else {
        print_erased(&erased);
    }
    if args.yes {
        return Ok(());
    }
    Err(Error::usage("nothing was erased").hint("add `--yes` to erase this"))
}

fn keys_of(args: &EraseArgs) -> Result<BTreeSet<String>> {
    let unreadable =
        |cause| Error::usage("cannot read the file of keys").because(cause).hint("it has one key per line");
    let text = args.file.as_ref().map(std::fs::read_to_string).transpose().map_err(unreadable)?;
    let listed = text.as_deref().unwrap_or_default().lines().chain(args.patients.iter().map(String::as_str));
    let keys: BTreeSet<String> =
        listed.map(str::trim).filter(|key| !key.is_empty()).map(str::to_owned).collect();
    if keys.is_empty() {
        return Err(Error::usage("no key is given").hint("a blank id has no key, and so no rows"));
    }
    Ok(keys)
}

fn print_erased(erased: &Erased) {
    println!("{} with rows of these keys", show::counted(erased.sources, "source"));
    if erased.unknown_keys > 0 {
        println!("  {} that no row has", show::counted(erased.unknown_keys, "key"));
    }
    for ErasedRun { run_id, rows, files } in &erased.runs {
        let (rows, files) = (show::counted(*rows, "row"), show::counted(*files, "file"));
        println!("{run_id}  erased: {rows} in {files}");
    }
}
