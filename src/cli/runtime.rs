//! `tilefleet runtime install|doctor`: get ONNX Runtime; say what this machine can do and why not.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use serde_json::json;

use crate::cli::{PipelineArgs, block_on, print_json};
use crate::observe::stderr::{Level, say};
use crate::runtime::doctor;
use crate::runtime::{Build, InstallOptions, install};
use crate::stages::worker::Inference;
use crate::vocabulary::error::{Error, Result};

/// The arguments of `tilefleet runtime`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fetches ONNX Runtime with pip, checks it, and puts it into the cache
    Install(InstallArgs),
    /// Shows which ONNX Runtime is used, which execution providers work, and the machine's resources
    Doctor(DoctorArgs),
    Bench(Box<BenchArgs>),
}

/// Measures the rate of a pipeline's model alone, in chips per second
///
/// Uses the sessions of a run, on noise in memory. Reads no input and writes no output.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilefleet runtime bench photos.toml --provider cuda
  tilefleet runtime bench photos.toml --seconds 30 --json")]
struct BenchArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Minimum duration in seconds
    #[arg(long, value_name = "N", default_value_t = 10.0)]
    seconds: f64,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilefleet runtime install
  tilefleet runtime install --provider cuda
  tilefleet runtime install --wheel onnxruntime.whl --force")]
struct InstallArgs {
    /// The build: cpu, or cuda with NVIDIA's libraries (1.4 GB to fetch, 2 GB on disk)
    #[arg(long, value_name = "PROVIDER", default_value = "cpu")]
    provider: Build,
    /// Use this wheel instead of fetching it; repeatable
    #[arg(long = "wheel", value_name = "FILE")]
    wheels: Vec<PathBuf>,
    /// Install again even if it is installed
    #[arg(long)]
    force: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilefleet runtime doctor
  tilefleet runtime doctor --json")]
struct DoctorArgs {
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

/// Runs `tilefleet runtime`.
///
/// # Errors
///
/// As [`install`]; for `doctor`, [`Kind::Config`](crate::vocabulary::error::Kind::Config) if the CPU provider does not
/// work.
pub fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Install(args) => run_install(args),
        Command::Doctor(args) => run_doctor(&args),
        Command::Bench(args) => run_bench(*args),
    }
}

fn run_install(args: InstallArgs) -> Result<()> {
    if args.provider == Build::Cuda && args.wheels.is_empty() {
        say(
            Level::Info,
            "ONNX Runtime for GPUs and NVIDIA's libraries: 1.4 GB to fetch unless they are there",
        );
    }
    let options = InstallOptions { build: args.provider, wheels: args.wheels, force: args.force };
    let installed = install(&options)?;
    if args.json {
        println!(
            "{}",
            json!({
                "path": installed.path,
                "version": installed.version,
                "fetched": installed.fetched,
                "wheels": installed.wheels,
            })
        );
        return Ok(());
    }
    let state = if installed.fetched { "installed" } else { "already installed" };
    println!("ONNX Runtime {} {state}: {}", installed.version, installed.path.display());
    Ok(())
}

fn run_bench(args: BenchArgs) -> Result<()> {
    let at_least = Duration::try_from_secs_f64(args.seconds).map_err(|error| {
        Error::usage("--seconds is not a duration")
            .because(error)
            .hint("give a number of seconds, such as 10 or 0.5")
    })?;
    let job = super::run::open(&args.pipeline.load()?)?;
    let (rate, inference) = block_on(job.bare_rate(at_least))?;
    if args.json {
        return print_json(&json!({"chips_per_second": rate, "inference": inference}));
    }
    for (name, value) in measured(rate, &inference) {
        println!("{name:<10}{value}");
    }
    Ok(())
}

/// What was measured, and with what.
fn measured(rate: f64, inference: &Inference) -> Vec<(&'static str, String)> {
    let Inference { provider, sessions, threads, batch, .. } = inference;
    vec![
        ("rate", format!("{rate:.1} chips/s")),
        ("provider", provider.name().to_owned()),
        ("sessions", sessions.to_string()),
        ("threads", threads.to_string()),
        ("batch", batch.to_string()),
    ]
}

fn run_doctor(args: &DoctorArgs) -> Result<()> {
    let report = doctor::examine();
    if args.json {
        print_json(&report)?;
    } else {
        println!("{}", report.render());
    }
    if report.is_usable() {
        return Ok(());
    }
    let hint =
        report.library_hint.unwrap_or_else(|| "install another ONNX Runtime: `cpu` must work".to_owned());
    Err(Error::config("this machine cannot run models").hint(hint))
}
