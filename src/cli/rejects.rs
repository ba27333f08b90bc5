//! `tilefleet rejects OUTPUT`

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::cli::{block_on, print_json, run, show};
use crate::config::{Loaded, Overrides, storage_options};
use crate::input::storage::{ObjectUri, Storage};
use crate::observe::stderr::{Level, say};
use crate::output::current_rows::{Current, how_to_accept, waiting};
use crate::output::rejects::Retry;
use crate::output::rejects::{Question, Reject, find};
use crate::output::{Origin, Output, Run, RunId, Scope, Snapshot};
use crate::stages::worker::{Job, Report};
use crate::vocabulary::error::{Error, Kind, Result};
use crate::vocabulary::process::Process;
use crate::vocabulary::reason::Reason;
use crate::vocabulary::visible;

/// Lists rejected tiles by reason, or retries them
///
/// Lists the rejects in the table `tiles`, which are those that no newer run replaces. With --retry, plans and
/// executes a run over only these tiles, with the pipeline that their run recorded; its rows replace them. Repeat the
/// command to resume an interrupted retry. Exit codes of --retry are those of `run`, except that 65 judges the table
/// after the retry; nothing to retry is 0.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilefleet rejects s3://tables/photos
  tilefleet rejects s3://tables/photos --reason truncated --all
  tilefleet rejects s3://tables/photos --retry --model resnet152.onnx")]
pub struct Args {
    /// The output's folder or bucket prefix
    output: String,

    /// Only rejects with this reason, such as `truncated`; repeatable
    #[arg(long = "reason", value_name = "CODE")]
    reasons: Vec<String>,

    /// The rejects of this run, including those that newer runs replace
    #[arg(long, value_name = "ID", conflicts_with = "retry")]
    run: Option<String>,

    /// Number of examples per reason
    #[arg(long, value_name = "N", default_value_t = 10, conflicts_with = "retry")]
    limit: usize,

    /// Show all rejects
    #[arg(long, conflicts_with_all = ["limit", "retry"])]
    all: bool,

    /// Retry these tiles
    #[arg(long)]
    retry: bool,

    /// Path or URI of the ONNX file, if it has moved
    #[arg(long, value_name = "FILE", requires = "retry")]
    model: Option<PathBuf>,

    /// Execution provider, `run.provider`
    #[arg(long, value_name = "PROVIDER", requires = "retry")]
    provider: Option<String>,

    /// Settings of the store, such as `--set storage.region=eu-north-1`; with --retry any setting; repeatable
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,

    /// Print JSON: all rejects, or the reports of the retries
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let output = open(&args)?;
    let question = Question {
        run: args.run.as_deref().map(RunId::parse).transpose()?,
        reasons: args.reasons.iter().map(|code| reason(code)).collect::<Result<_>>()?,
    };
    if args.retry {
        return retry(&output, &question, &args);
    }
    let rejects = block_on(find(&output, &question))?;
    if question.run.is_none() {
        block_on(say_what_waits(&output))?;
    }
    if args.json {
        return print_json(&rejects);
    }
    print(&rejects, if args.all { usize::MAX } else { args.limit });
    Ok(())
}

/// Names the output; with --retry, settings of other sections are left to the pipeline.
fn open(args: &Args) -> Result<Output> {
    let is_storage = |set: &&String| !args.retry || set.trim_start().starts_with("storage.");
    let set: Vec<String> = args.set.iter().filter(is_storage).cloned().collect();
    let uri = ObjectUri::parse(&args.output)?;
    Ok(Output::open(&Storage::new(storage_options(&set)?)?, &uri, Process::real()))
}

fn reason(code: &str) -> Result<Reason> {
    if let Some(reason) = Reason::of_former_code(code) {
        say(Level::Warn, &format!("the reason `{code}` is now `{reason}`"));
        return Ok(reason);
    }
    Reason::of_code(code).ok_or_else(|| {
        let codes: Vec<&str> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        Error::usage(format!("unknown reason `{code}`")).hint(format!("reasons: {}", codes.join(", ")))
    })
}

fn print(rejects: &[Reject], limit: usize) {
    let mut by_reason: BTreeMap<&str, Vec<&Reject>> = BTreeMap::new();
    for reject in rejects {
        by_reason.entry(&reject.reason).or_default().push(reject);
    }
    if by_reason.is_empty() {
        println!("no rejects");
    }
    for (reason, rejects) in by_reason {
        println!("{reason}  {}", show::counted(rejects.len() as u64, "tile"));
        for reject in rejects.iter().take(limit) {
            println!("{}", line(reject, show::terminal_width()));
        }
        if rejects.len() > limit {
            println!("  and {} more (--all shows them)", show::count((rejects.len() - limit) as u64));
        }
    }
}

/// Names a source and what is wrong with it, on lines of their own where a terminal is too narrow for both.
fn line(reject: &Reject, width: Option<usize>) -> String {
    let source = format!("  {}", visible::value(&reject.source));
    let Some(detail) = &reject.detail else { return source };
    let detail = visible::value(detail);
    let line = format!("{source}  {detail}");
    match width {
        Some(width) if line.chars().count() > width => {
            format!("{source}\n      {}", show::hanging_within(&detail, 6, width))
        }
        _ => line,
    }
}

/// What is to be tried again of one family.
struct Work {
    /// A run of the family, whose pipeline it is.
    run: Run,
    rejected: Vec<Retry>,
}

/// Names the runs whose rejects are not among those of `tiles`, since nobody has accepted them; those that newer runs
/// cover need no accepting.
async fn say_what_waits(output: &Output) -> Result<()> {
    let look = async |snapshot: Snapshot| {
        let withheld = Current::of(&snapshot.runs).await?.withheld;
        waiting(&snapshot, &withheld).await
    };
    for id in &output.consistently(Scope::All, look).await? {
        let how = how_to_accept(&output.uri, id);
        let what = format!(
            "rejects of run {id} are not shown, since `tiles` does not show the run (--run shows them)"
        );
        say(Level::Info, &format!("{what}; {how}"));
    }
    Ok(())
}

fn retry(output: &Output, question: &Question, args: &Args) -> Result<()> {
    let work = block_on(work_of(output, question))?;
    block_on(say_what_waits(output))?;
    let mut reports: Vec<Report> = Vec::new();
    let mut above_limit = Ok(());
    for Work { run, rejected } in work {
        let job = job(&run, args)?;
        let report =
            run::drive(&job, async |progress, stop| Box::pin(job.retry(&rejected, progress, stop)).await)?;
        let Some(report) = report else { continue };
        if !args.json {
            run::print(&job, &report);
        }
        above_limit = above_limit.and(job.check_rejects(&report));
        reports.push(report);
    }
    if args.json {
        print_json(&reports)?;
    } else if reports.is_empty() {
        println!("nothing to retry");
    }
    above_limit
}

/// Finds the rejects and the unfinished retries, family by family.
async fn work_of(output: &Output, question: &Question) -> Result<Vec<Work>> {
    let rejects = find(output, question).await?;
    let snapshot = output.snapshot(Scope::All).await?;
    let mut families: BTreeMap<String, Vec<Retry>> = BTreeMap::new();
    for id in unfinished_retries(&snapshot) {
        families.entry(id.family().to_owned()).or_default();
    }
    for reject in &rejects {
        families.entry(reject.run.family().to_owned()).or_default().push(reject.place()?);
    }
    let mut work = Vec::new();
    for (family, rejected) in families {
        let runs = snapshot.runs.iter().filter_map(|standing| standing.run.planned());
        let newest = runs.filter(|run| run.id.family() == family).max_by(|a, b| a.age().cmp(&b.age()));
        let run = newest
            .ok_or_else(|| Error::unavailable("runs were deleted in the meantime").hint("try again"))?;
        work.push(Work { run: run.handle(), rejected });
    }
    Ok(work)
}

fn unfinished_retries(snapshot: &Snapshot) -> BTreeSet<&RunId> {
    let open = snapshot.runs.iter().filter(|standing| standing.completed().is_none());
    open.filter(|standing| *standing.run.origin() == Origin::Retry)
        .map(|standing| standing.run.id())
        .collect()
}

/// Opens the job that a run recorded, with what lies elsewhere today.
fn job(run: &Run, args: &Args) -> Result<Job> {
    let overrides = Overrides {
        output: Some(args.output.clone()),
        model: args.model.clone(),
        provider: args.provider.clone(),
        set: args.set.clone(),
        ..Overrides::default()
    };
    let id = run.id.to_string();
    let job = run::open(&Loaded::of_record(&run.record.pipeline, &id, &overrides)?).map_err(|error| {
        Error::new(error.kind(), format!("the pipeline of run {id} cannot be run here")).because(error)
    })?;
    if job.fingerprint() == run.record.fingerprint {
        return Ok(job);
    }
    if let Some(changed) = job.changed_model(run) {
        return Err(changed.hint(
            "rejects are retried with the run's own model: put the objects back as they were, or give their copy with \
             --model; to compute everything with the new one, run the pipeline",
        ));
    }
    Err(Error::new(
        Kind::Config,
        format!("this is not the pipeline of run {id}: its rows would have another meaning"),
    )
    .because(format!("the fingerprint is {}, not {}", job.fingerprint(), run.record.fingerprint))
    .hint("use the run's own model, and set nothing that changes the meaning of a row"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_whole_at_any_width() {
        let reject = Reject {
            tile_id: "0123456789abcdef0123456789abcdef".to_owned(),
            source: "s3://photos/2026/a.jpg".to_owned(),
            source_version: None,
            run: RunId::parse("photos-0123abcd-0001").unwrap(),
            shard: 0,
            reason: "truncated".to_owned(),
            detail: Some("the image ends after 1,234 of 5,678 rows of blocks".to_owned()),
        };
        let one_line = "  s3://photos/2026/a.jpg  the image ends after 1,234 of 5,678 rows of blocks";
        assert_eq!(
            (line(&reject, None), line(&reject, Some(80))),
            (one_line.to_owned(), one_line.to_owned())
        );
        let narrow =
            "  s3://photos/2026/a.jpg\n      the image ends after 1,234 of\n      5,678 rows of blocks";
        assert_eq!(line(&reject, Some(36)), narrow);
    }
}
