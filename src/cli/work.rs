//! `tilefleet work PIPELINE`

use std::sync::Arc;

use crate::cli::queue::connect;
use crate::cli::{PipelineArgs, print_json_line, show};
use crate::observe::stderr::{Level, say};
use crate::stages::work::queue::Broker;
use crate::stages::worker::{Drained, Job};
use crate::vocabulary::error::{Error, Kind, Result};

/// Takes shards from a queue until it is empty
///
/// `tilefleet submit` fills the queue. Any number of workers drain it, on any machine; a worker that is lost loses its shards
/// to the others after `queue.lease`. A worker ends when the queue is empty, or when others have held all that is left for
/// `queue.idle`.
///
/// Exit codes: 0 nothing is left for this worker; 65 too many rejects in a run that this worker completed; 75 try again
/// later; 78 the pipeline, the model or the credentials are wrong; 130 interrupted; 143 drained after SIGTERM.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilefleet work photos.toml --set queue.url=nats://queue:4222
  tilefleet work photos.toml --wait")]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,

    /// Stay when the queue is empty, and take whatever comes. The model is loaded only while there is work
    #[arg(long)]
    wait: bool,

    /// Print a report per run, each as a line of JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let job = super::run::open(&args.pipeline.load()?)?;
    super::run::say_what_is_assumed(&job);
    let mut told = Told { job: &job, json: args.json, runs: 0, rejects: None };
    super::run::drive(&job, async |progress, stop| {
        let queue: Arc<dyn Broker> = Arc::new(stop.or(connect(&job)).await?);
        Box::pin(job.drain(&queue, args.wait, &mut |drained| told.tell(&drained), progress, stop)).await
    })?;
    told.end()
}

/// What was said of each run.
struct Told<'a> {
    job: &'a Job,
    json: bool,
    runs: usize,
    /// Of the first run in which this worker found too many.
    rejects: Option<Error>,
}

impl Told<'_> {
    fn tell(&mut self, drained: &Drained) -> Result<()> {
        self.runs += 1;
        if self.json {
            print_json_line(drained)?;
        }
        match drained {
            Drained::Complete(report) => {
                if !self.json {
                    super::run::print(self.job, report);
                }
                match self.job.check_rejects(report) {
                    Err(error) if error.kind() == Kind::RejectsAboveLimit => {
                        // At once: this process may go on for days, or end with another code.
                        say(Level::Warn, &error.to_string());
                        self.rejects.get_or_insert(error);
                    }
                    checked => checked?,
                }
            }
            Drained::Part(part) if !self.json => println!(
                "{}  {} of {} committed; other workers have the rest",
                part.run_id,
                show::count(part.committed_shards),
                show::counted(part.shards, "shard")
            ),
            Drained::Part(_) => {}
        }
        Ok(())
    }

    fn end(self) -> Result<()> {
        if self.runs == 0 && !self.json {
            println!("the queue is empty; `tilefleet submit` fills it");
        }
        self.rejects.map_or(Ok(()), Err)
    }
}
