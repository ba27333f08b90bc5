//! What was meant by a command line that cannot be understood.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Returns what to write instead, if that can be guessed.
///
/// - `arguments`: without the name of the program
pub(super) fn advice(error: &clap::Error, root: &clap::Command, arguments: &[String]) -> Option<String> {
    let named = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            output_first(root, arguments).or_else(|| elsewhere(root, named(ContextKind::InvalidSubcommand)?))
        }
        ErrorKind::UnknownArgument => {
            output_first(root, arguments).or_else(|| unexpected(named(ContextKind::InvalidArg)?, arguments))
        }
        ErrorKind::MissingRequiredArgument => output_first(root, arguments),
        _ => None,
    }
}

/// `runs compact OUTPUT`: what it is done to comes first.
fn output_first(root: &clap::Command, arguments: &[String]) -> Option<String> {
    let [first, second, ..] = arguments else { return None };
    let command = root.find_subcommand(first).filter(|command| has_place(command))?;
    let action = command.find_subcommand(second)?.get_name();
    Some(format!("the output comes first: `tilefleet {first} OUTPUT {action}`"))
}

fn has_place(command: &clap::Command) -> bool {
    command.get_positionals().next().is_some()
}

/// `doctor`: a command of a command.
fn elsewhere(root: &clap::Command, name: &str) -> Option<String> {
    let found = root.get_subcommands().find(|command| command.find_subcommand(name).is_some())?;
    let place = found.get_positionals().map(|place| format!("{} ", place.get_id().as_str().to_uppercase()));
    Some(format!("did you mean `tilefleet {} {}{name}`?", found.get_name(), place.collect::<String>()))
}

/// `--input *.jpg`, which the shell has made many arguments of.
fn unexpected(argument: &str, arguments: &[String]) -> Option<String> {
    let reads_pipeline = arguments.first().is_some_and(|command| matches!(command.as_str(), "run" | "plan"));
    if argument.starts_with('-') || !reads_pipeline {
        return None;
    }
    let advice = "give images with --input; quote a pattern, or the shell expands it to many arguments: --input \
                  'images/*.jpg'";
    Some(advice.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command;

    fn advice_on(line: &str) -> Option<String> {
        let words = line.split(' ').map(str::to_owned);
        let arguments: Vec<String> = words.collect();
        let all = std::iter::once("tilefleet".to_owned()).chain(arguments.iter().cloned());
        let error = command().try_get_matches_from(all).unwrap_err();
        advice(&error, &command(), &arguments)
    }

    #[test]
    fn what_was_meant_is_said() {
        for (line, expected) in [
            ("doctor", "did you mean `tilefleet runtime doctor`?"),
            ("quantize a.onnx", "did you mean `tilefleet model quantize`?"),
            ("compact table", "did you mean `tilefleet runs OUTPUT compact`?"),
            ("runs compact table", "the output comes first: `tilefleet runs OUTPUT compact`"),
            ("run a.toml --input 1.jpg 2.jpg", "give images with --input; quote a pattern"),
            ("run a.toml 1.jpg", "give images with --input"),
        ] {
            let advice = advice_on(line).unwrap_or_else(|| panic!("no advice on {line}"));
            assert!(advice.starts_with(expected), "{line}: {advice}");
        }
        for line in ["weather", "run a.toml --imput x", "verify a b"] {
            assert_eq!(advice_on(line), None, "{line}");
        }
    }
}
