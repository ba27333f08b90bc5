//! The command line: parses, calls, prints; decides nothing.

mod chip;
mod config;
mod demo;
mod inspect;
mod model;
mod output_args;
mod pipeline_args;
mod plan;
#[cfg(feature = "query")]
mod query;
mod rejects;
mod run;
mod runs;
mod runtime;
mod show;
mod status;
mod verify;

use std::future::Future;

use clap::{Parser, Subcommand};

use crate::error::{Error, Kind, Result};
use crate::observe::{LogFormat, init_logging};

pub use pipeline_args::PipelineArgs;

/// Turns a bucket of image tiles into a queryable table of embeddings and predictions.
#[derive(Debug, Parser)]
#[command(name = "tilefleet", version, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Log format on standard error; by default text on a terminal and JSON elsewhere.
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    log_format: Option<LogFormat>,

    /// Say more; twice for debugging.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// The commands; what each says of itself stands with its arguments.
#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Run(run::Args),
    Plan(plan::Args),
    Status(status::Args),
    Verify(verify::Args),
    #[cfg(feature = "query")]
    Query(query::Args),
    Inspect(inspect::Args),
    Chip(chip::Args),
    Rejects(rejects::Args),
    Runs(runs::Args),
    /// Build and look into models
    #[command(subcommand)]
    Model(model::Command),
    /// Get ONNX Runtime; say what this machine can do
    Runtime(runtime::Args),
    Config(config::Args),
}

/// What a process killed by SIGPIPE ends with.
const BROKEN_PIPE_EXIT_CODE: i32 = 141;

/// Runs the command line of this process; returns its exit code.
#[must_use]
pub fn main() -> u8 {
    install_panic_message();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    init_logging(cli.log_format.unwrap_or_else(LogFormat::for_stderr), cli.verbose);
    match dispatch(cli.command) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{}", error.render());
            error.kind().exit_code()
        }
    }
}

fn dispatch(command: Command) -> Result<()> {
    match command {
        Command::Demo(args) => demo::run(args),
        Command::Run(args) => run::run(args),
        Command::Plan(args) => plan::run(args),
        Command::Status(args) => status::run(args),
        Command::Verify(args) => verify::run(args),
        #[cfg(feature = "query")]
        Command::Query(args) => query::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Chip(args) => chip::run(args),
        Command::Rejects(args) => rejects::run(args),
        Command::Runs(args) => runs::run(args),
        Command::Model(command) => model::run(command),
        Command::Runtime(args) => runtime::run(args),
        Command::Config(args) => config::run(args),
    }
}

/// Prints help and version as asked for; anything else is wrong usage, which is 64 and not clap's 2.
fn usage(error: &clap::Error) -> u8 {
    // A closed standard output cannot be reported anywhere.
    let _ = error.print();
    if error.use_stderr() { Kind::Usage.exit_code() } else { 0 }
}

/// Makes a panic exit with 70 and say how to report it.
fn install_panic_message() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        // Whoever read our output has closed it, as `head` does; that is no bug.
        if info.payload_as_str().is_some_and(|message| message.starts_with("failed printing to stdout")) {
            std::process::exit(BROKEN_PIPE_EXIT_CODE);
        }
        default(info);
        eprintln!("hint: this is a bug in tilefleet; please report it with the lines above");
        // Only the main thread ends the process; other threads' crashes are reported by those who join them.
        if std::thread::current().name() == Some("main") {
            std::process::exit(Kind::Bug.exit_code().into());
        }
    }));
}

/// Runs a future to its end on a runtime of its own, and leaves without waiting for abandoned work.
fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        Error::unavailable("cannot start the threads for input and output").because(error)
    })?;
    let result = runtime.block_on(future);
    runtime.shutdown_background();
    result
}

/// Prints a value as JSON on standard output.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let json = serde_json::to_string_pretty(value)
        .map_err(|error| Error::bug("cannot write the answer as JSON").because(error))?;
    println!("{json}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
