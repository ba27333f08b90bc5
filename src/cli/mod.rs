//! The command line: parses, calls, prints; decides nothing.

/// Prints a line for people: the door to standard output, where what would steer a terminal is shown.
/// It stands before the modules, so that in all of them it takes the place of the standard library's.
macro_rules! println {
    () => { std::println!() };
    ($($argument:tt)*) => { std::println!("{}", $crate::vocabulary::visible::text(&format!($($argument)*))) };
}

/// As `println!`, without a line break.
macro_rules! print {
    ($($argument:tt)*) => { std::print!("{}", $crate::vocabulary::visible::text(&format!($($argument)*))) };
}

mod advice;
mod chip;
mod completions;
mod config;
mod decoder;
mod demo;
mod export;
mod first_process;
mod init;
mod inspect;
mod local_model;
mod man;
mod model;
mod output_args;
mod pipeline_args;
mod plan;
mod pseudonym;
#[cfg(feature = "query")]
mod query;
mod queue;
mod rejects;
mod report;
mod run;
mod runs;
mod runtime;
mod show;
mod status;
mod submit;
mod verify;
mod work;

use std::future::Future;
use std::num::NonZeroUsize;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

use crate::observe::stderr::{self, FORMAT_VARIABLE, Level};
use crate::observe::{LogFormat, init_logging, keeps_to_own_lines};
use crate::vocabulary::error::{Error, Kind, Result};
use crate::vocabulary::visible;

pub use pipeline_args::PipelineArgs;

/// An argument is not what it should be, which the text says; clap names both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
struct WrongArgument(&'static str);

/// Turns images into a table of embeddings and predictions that can be queried
#[derive(Debug, Parser)]
#[command(name = "tilefleet", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Examples:
  tilefleet demo
  tilefleet run pipelines/tiles.toml --input images/ \\
      --model resnet152.onnx --output table
  tilefleet verify table")]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Format of standard error [default: `TILEFLEET_LOG_FORMAT`, otherwise text on a terminal and JSON
    /// elsewhere]
    #[arg(long, global = true, help_heading = EVERYWHERE, value_enum, value_name = "text|json")]
    #[arg(hide_possible_values = true)]
    log_format: Option<LogFormat>,

    /// More messages; twice for debugging
    #[arg(short, long, global = true, help_heading = EVERYWHERE, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// Heads the flags that every command has.
const EVERYWHERE: &str = "Options of every command";

/// The commands; what each says of itself stands with its arguments.
#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Init(init::Args),
    Run(run::Args),
    Plan(plan::Args),
    Submit(submit::Args),
    Work(work::Args),
    Status(status::Args),
    Verify(verify::Args),
    #[cfg(feature = "query")]
    Query(query::Args),
    Inspect(inspect::Args),
    Chip(chip::Args),
    Export(export::Args),
    Rejects(rejects::Args),
    Runs(runs::Args),
    Pseudonym(pseudonym::Args),
    /// Builds models, inspects and quantises them, fits classifiers
    #[command(subcommand)]
    Model(model::Command),
    /// Installs ONNX Runtime; shows what this machine can run
    Runtime(runtime::Args),
    Config(config::Args),
    Completions(completions::Args),
    Man(man::Args),
    #[command(hide = true)]
    Decoder(decoder::Args),
}

/// What a process killed by SIGPIPE ends with.
const BROKEN_PIPE_EXIT_CODE: i32 = 141;

/// Runs the command line of this process; returns its exit code.
#[must_use]
pub fn main() -> u8 {
    install_panic_message();
    stderr::set_format(log_format());
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    if let Some(format) = cli.log_format {
        stderr::set_format(format);
    }
    init_logging(cli.verbose);
    first_process::end_at_signals();
    decoder::register();
    warn_of_unknown_format();
    match dispatch(cli.command) {
        Ok(()) => 0,
        Err(error) => {
            stderr::say_error(&error);
            error.kind().exit_code()
        }
    }
}

/// Finds the log format without parsing: what is wrong with the command line is said in it, too.
fn log_format() -> LogFormat {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    LogFormat::asked_for(&arguments, std::env::var(FORMAT_VARIABLE).ok().as_deref())
}

fn warn_of_unknown_format() {
    let known = |value: &str| LogFormat::from_str(value, false).is_ok();
    if let Some(value) = std::env::var(FORMAT_VARIABLE).ok().filter(|value| !known(value)) {
        stderr::say(Level::Warn, &format!("{FORMAT_VARIABLE} is `{value}`, which is neither text nor json"));
    }
}

/// Returns the description of the whole command line, for completions, manual pages and tests.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

fn dispatch(command: Command) -> Result<()> {
    match command {
        Command::Demo(args) => demo::run(args),
        Command::Init(args) => init::run(&args),
        Command::Run(args) => run::run(args),
        Command::Plan(args) => plan::run(args),
        Command::Submit(args) => submit::run(args),
        Command::Work(args) => work::run(args),
        Command::Status(args) => status::run(args),
        Command::Verify(args) => verify::run(args),
        #[cfg(feature = "query")]
        Command::Query(args) => query::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Chip(args) => chip::run(args),
        Command::Export(args) => export::run(args),
        Command::Rejects(args) => rejects::run(args),
        Command::Runs(args) => runs::run(args),
        Command::Pseudonym(args) => pseudonym::run(args),
        Command::Model(command) => model::run(command),
        Command::Runtime(args) => runtime::run(args),
        Command::Config(args) => config::run(args),
        Command::Completions(args) => {
            completions::run(args);
            Ok(())
        }
        Command::Man(args) => man::run(args),
        Command::Decoder(args) => decoder::run(&args),
    }
}

/// Prints help and version as asked for; anything else is wrong usage, which is 64 and not clap's 2.
fn usage(error: &clap::Error) -> u8 {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    let advice = advice::advice(error, &command(), &arguments);
    if error.use_stderr() && stderr::format() == LogFormat::Json {
        let said = usage_error(error);
        stderr::say_error(&match advice {
            Some(advice) => said.hint(advice),
            None => said,
        });
    } else {
        print_usage(error);
        if let Some(advice) = advice {
            stderr::say(Level::Info, &format!("hint: {advice}"));
        }
    }
    if error.use_stderr() { Kind::Usage.exit_code() } else { 0 }
}

/// Prints what clap says: help as it draws it, an error, which quotes arguments, by our own door.
fn print_usage(error: &clap::Error) {
    let is_help = error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if error.use_stderr() && !is_help {
        stderr::say(Level::Info, error.render().to_string().trim_end());
    } else {
        // A closed standard output cannot be reported anywhere.
        let _ = error.print();
    }
}

/// Takes clap's message apart, for those who read JSON.
fn usage_error(error: &clap::Error) -> Error {
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Error::usage("no command was given").hint("`tilefleet --help` lists the commands");
    }
    let text = error.render().to_string();
    let (message, rest) = text.split_once("\n\n").unwrap_or((&text, ""));
    let message = message.trim_start_matches("error: ").split_whitespace().collect::<Vec<_>>().join(" ");
    let tip = rest.lines().find_map(|line| line.trim().strip_prefix("tip: "));
    Error::usage(message).hint(tip.unwrap_or("`--help` lists the arguments"))
}

const REPORT_IT: &str = "this is a bug in tilefleet; please report it with the lines above";

/// Makes a panic exit with 70 and say how to report it.
fn install_panic_message() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        // Whoever read our output has closed it, as `head` does; that is not a bug.
        if info.payload_as_str().is_some_and(|message| message.starts_with("failed printing to stdout")) {
            std::process::exit(BROKEN_PIPE_EXIT_CODE);
        }
        let is_secret = keeps_to_own_lines();
        if !is_secret && stderr::format() == LogFormat::Text {
            default(info);
            stderr::say(Level::Info, &format!("hint: {REPORT_IT}"));
        } else {
            let text = if is_secret { withheld(info.location()) } else { info.to_string() };
            stderr::say_error(&Error::bug(text).hint(REPORT_IT));
        }
        // Only the main thread ends the process; other threads' crashes are reported by those who join them.
        if std::thread::current().name() == Some("main") {
            std::process::exit(Kind::Bug.exit_code().into());
        }
    }));
}

/// Says where a crash was and not why: the words of a crash may name a source, and names are secret.
fn withheld(place: Option<&std::panic::Location<'_>>) -> String {
    let place = place.map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    format!("panicked at {place}; its words are not shown, since they may name a source")
}

/// Runs a future to its end on a runtime of its own, and leaves without waiting for abandoned work.
fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    block_on_threads(None, future)
}

/// As [`block_on`], with this many threads for input and output; `None`: as many as the machine has.
fn block_on_threads<T>(threads: Option<NonZeroUsize>, future: impl Future<Output = Result<T>>) -> Result<T> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads.get());
    }
    block_on_built(builder, future)
}

/// As [`block_on`], with the threads of this builder.
fn block_on_built<T>(
    mut builder: tokio::runtime::Builder,
    future: impl Future<Output = Result<T>>,
) -> Result<T> {
    let runtime = builder.enable_all().build().map_err(|error| {
        Error::unavailable("cannot start the threads for input and output").because(error)
    })?;
    let result = runtime.block_on(future);
    // Shutting down would detach threads that are just ending. glibc 2.36 reads from the stack of such a thread, and a
    // large one, as queries have, may be unmapped by then: the command would end with SIGSEGV after its work is done.
    std::mem::forget(runtime);
    result
}

/// Prints a value as JSON on standard output.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    std::println!("{}", visible::json(&serde_json::to_string_pretty(value).map_err(not_json)?));
    Ok(())
}

/// Prints an answer of several for programs, in one line.
fn print_json_line(value: &impl serde::Serialize) -> Result<()> {
    std::println!("{}", visible::json(&serde_json::to_string(value).map_err(not_json)?));
    Ok(())
}

fn not_json(error: serde_json::Error) -> Error {
    Error::bug("cannot write the answer as JSON").because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
