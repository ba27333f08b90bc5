//! Terminal manners: help, examples, completions, manual pages, JSON. New commands are found by themselves.

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use crate::fixture::{Job, assert_exit, small_model, stderr};
use crate::support;

/// A command of the tree, and the words that call it.
struct Found {
    command: clap::Command,
    words: Vec<String>,
}

impl Found {
    fn name(&self) -> String {
        self.words.join(" ")
    }

    fn takes(&self, flag: &str) -> bool {
        self.command.get_arguments().any(|argument| argument.get_long() == Some(flag))
    }

    /// The example lines, each as the words a shell would pass on.
    fn examples(&self) -> Vec<Vec<String>> {
        let help = self.command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let lines = help.replace("\\\n", " ");
        lines.lines().filter(|line| line.starts_with("  ")).map(shell_words).collect()
    }
}

/// All commands, groups and the whole included.
fn commands() -> Vec<Found> {
    fn walk(command: &clap::Command, words: Vec<String>, found: &mut Vec<Found>) {
        // What is hidden is no command for people.
        for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
            walk(below, [&words[..], &[below.get_name().to_owned()]].concat(), found);
        }
        found.push(Found { command: command.clone(), words });
    }
    let mut found = Vec::new();
    walk(&tilefleet::cli::command(), vec!["tilefleet".to_owned()], &mut found);
    assert!(found.len() > 12, "only {} commands", found.len());
    found
}

/// Splits a line as a shell does, up to a redirection or a pipe.
pub fn shell_words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for letter in line.chars() {
        match (quote, letter) {
            (Some(open), _) if open == letter => quote = None,
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, '>' | '|') => break,
            (None, ' ') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    assert_eq!(quote, None, "an open quote in `{line}`");
    words.extend(word);
    words
}

#[test]
fn words_are_split_as_by_a_shell() {
    assert_eq!(shell_words("  a 'b c'  \"d 'e'\" '' > f"), ["a", "b c", "d 'e'", ""]);
}

/// Every command shows how it is called, and whatever an example says is accepted.
#[test]
fn every_command_has_examples_and_they_parse() {
    for found in commands() {
        let help = found.command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let group = found.command.has_subcommands() && found.words.len() > 1;
        assert!(group || help.starts_with("Examples:\n  tilefleet"), "`{}` has no examples", found.name());
        for words in found.examples() {
            let line = words.join(" ");
            // Words that all commands of a group take, such as the output, may stand between the names.
            let mut rest = words.iter();
            let calls_it = found.words.iter().all(|name| rest.any(|word| word == name));
            assert!(calls_it, "an example of `{}` does not call it: {line}", found.name());
            if let Err(error) = tilefleet::cli::command().try_get_matches_from(&words) {
                panic!("an example of `{}` is refused: {line}\n{error}", found.name());
            }
        }
        for line in help.lines() {
            assert!(line.chars().count() <= 79, "too long for a terminal: {line}");
        }
    }
}

/// Summaries say what a command does, in one form; neither they nor the arguments end in a full stop.
#[test]
fn summaries_are_written_alike() {
    for found in commands() {
        let summary = found.command.get_about().map(ToString::to_string).unwrap_or_default();
        let verb = summary.split_whitespace().next().unwrap_or_default();
        assert!(
            verb.ends_with('s') && verb.starts_with(char::is_uppercase),
            "`{}` does not begin with what it does, such as `Shows`: {summary}",
            found.name()
        );
        assert!(!summary.ends_with('.'), "`{}`: {summary}", found.name());
        for argument in found.command.get_arguments() {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            let name = argument.get_id();
            assert!(!help.is_empty(), "{name} of `{}` is not explained", found.name());
            assert!(!help.ends_with('.'), "{name} of `{}`: {help}", found.name());
        }
    }
}

/// Every command explains itself on standard output, in lines that fit.
#[test]
fn help_is_printed_for_every_command() {
    for found in commands() {
        let help = support::tilefleet().args(&found.words[1..]).arg("--help").output().unwrap();
        assert_exit(&help, 0);
        let text = String::from_utf8_lossy(&help.stdout);
        assert!(text.contains("Usage:") && help.stderr.is_empty(), "{}", found.name());
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "`{}`: {line}", found.name());
        }
    }
}

fn completions(shell: &str) -> String {
    support::stdout_of(support::tilefleet().args(["completions", shell]))
}

/// Bash accepts the script, and completes commands, flags and values with it.
#[test]
fn bash_completes_commands_and_flags() {
    let script = completions("bash");
    let mut checked = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().expect("bash is there");
    checked.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(checked.wait().unwrap().success(), "bash refuses the script");
    let complete = |words: &[&str]| {
        let line = words.join(" ");
        let last = words.len() - 1;
        let program = format!(
            "{script}\nCOMP_WORDS=({line})\nCOMP_CWORD={last}\n_tilefleet tilefleet '{}' '{}'\n\
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words[last],
            words[last - 1]
        );
        support::stdout_of(Command::new("bash").args(["--norc", "-c", &program]))
    };
    for found in commands().into_iter().filter(|found| found.words.len() > 1) {
        let words: Vec<&str> = found.words.iter().map(String::as_str).collect();
        let answer = complete(&words);
        assert!(answer.lines().any(|word| word == words[words.len() - 1]), "{}: {answer}", found.name());
    }
    assert!(complete(&["tilefleet", "run", "--inp"]).contains("--input"));
    assert!(complete(&["tilefleet", "--log-format", "j"]).contains("json"));
}

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = completions(shell);
        for found in commands().iter().filter(|found| found.words.len() == 2) {
            assert!(script.contains(&found.words[1]), "{shell} does not know `{}`", found.name());
        }
    }
}

/// Every command has a page with its flags and its examples.
#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("share/man1");
    let output = support::tilefleet().args(["man", "--out"]).arg(&pages).output().unwrap();
    assert_exit(&output, 0);
    let commands = commands();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.starts_with(&format!("{} pages", commands.len())), "{said}");
    for found in &commands {
        let page = fs::read_to_string(pages.join(format!("{}.1", found.words.join("-")))).unwrap();
        assert!(page.contains(".TH ") && page.contains("SYNOPSIS"), "{}", found.name());
        assert_eq!(page.contains("EXAMPLES"), !found.examples().is_empty(), "{}", found.name());
        for flag in found.command.get_arguments().filter_map(clap::Arg::get_long) {
            assert!(page.contains(&flag.replace('-', "\\-")), "{} lacks --{flag}", found.name());
        }
    }
}

/// Fails unless standard output holds one JSON document and nothing else; returns it.
fn document(output: &Output, what: &str) -> serde_json::Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let mut documents = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<serde_json::Value>();
    let first = documents.next().unwrap_or_else(|| panic!("{what}: no JSON")).unwrap_or_else(|error| {
        panic!("{what}: {error}\n{text}");
    });
    assert!(documents.next().is_none(), "{what}: more than one document\n{text}");
    first
}

/// Fails unless every line on standard error is a JSON object with a level and a message.
fn assert_only_json_lines(output: &Output, what: &str) -> Vec<serde_json::Value> {
    let said = stderr(output);
    let lines = said.lines().map(|line| {
        let object: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{what}: {error}: {line}\n{said}"));
        assert!(object["level"].is_string() && object["message"].is_string(), "{what}: {line}");
        object
    });
    lines.collect()
}

fn json_logs(arguments: &[&str]) -> Command {
    let mut command = support::tilefleet();
    command.env_remove("TILEFLEET_LOG_FORMAT").args(arguments);
    command
}

/// What programs read: one document on standard output with `--json`, also where the exit code is not 0.
#[test]
fn json_is_one_document_on_standard_output() {
    let job = Job::new(3, "[limits]\nmax_reject_ratio = 0.1");
    job.write_image("broken.jpg", b"");
    let pipeline = job.pipeline.to_str().unwrap();
    let table = job.table();
    let table = table.to_str().unwrap();
    let built = job.path("built.onnx");
    let built = built.to_str().unwrap();
    let model = small_model().to_str().unwrap();
    let calls = [
        (vec!["config", pipeline], 0),
        (vec!["plan", pipeline, "--dry-run"], 65),
        (vec!["plan", pipeline], 0),
        (vec!["verify", table], 75),
        (vec!["run", pipeline], 65),
        (vec!["run", pipeline], 0),
        (vec!["status", table], 0),
        (vec!["verify", table], 0),
        (vec!["model", "inspect", model], 0),
        (vec!["model", "build", "--arch", "resnet18", "--seed", "1", "--size", "32", "--out", built], 0),
        (vec!["runtime", "doctor"], 0),
        (vec!["runtime", "bench", pipeline, "--seconds", "0.01"], 0),
        (vec!["runtime", "install"], 0),
        #[cfg(feature = "query")]
        (vec!["query", table, "SELECT reason FROM rejects"], 0),
    ];
    for (words, code) in calls {
        let what = words.join(" ");
        let output = json_logs(&[&words[..], &["--json", "--log-format", "json"]].concat()).output().unwrap();
        assert_exit(&output, code);
        document(&output, &what);
        let lines = assert_only_json_lines(&output, &what);
        let error = lines.iter().find(|line| line["level"] == "ERROR");
        assert_eq!(
            error.map(|error| error["exit_code"].as_i64().unwrap()),
            (code != 0).then_some(code.into())
        );
    }
}

/// Where there is no answer, standard output stays empty and standard error holds one JSON error. The
/// examples in the help are run where nothing of what they name is there, so every command is tried.
#[test]
fn a_failure_is_one_json_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut num_failed = 0;
    for found in commands().into_iter().filter(|found| found.takes("json") && found.words[1] != "runtime") {
        for words in found.examples() {
            // On this machine: a store that cannot be reached takes its time to say so.
            let words: Vec<String> =
                words[1..].iter().map(|word| word.replace("s3://", "nowhere/")).collect();
            let json = if words.iter().any(|word| word == "--json" || word == "--format") {
                &[][..]
            } else {
                &["--json"]
            };
            let mut command = json_logs(&[]);
            command.args(&words).args(json).current_dir(folder.path());
            let output = command.output().unwrap();
            let what = words.join(" ");
            let lines = assert_only_json_lines(&output, &what);
            if output.status.success() {
                document(&output, &what);
                continue;
            }
            num_failed += 1;
            assert!(output.stdout.is_empty(), "{what}: {}", String::from_utf8_lossy(&output.stdout));
            let error = lines.last().unwrap_or_else(|| panic!("{what} says nothing"));
            assert_eq!(error["level"], "ERROR", "{what}: {error}");
            assert_eq!(error["exit_code"].as_i64(), output.status.code().map(Into::into), "{what}: {error}");
            assert!(error["because"].is_array() && error["hints"].is_array(), "{what}: {error}");
        }
    }
    assert!(num_failed > 10, "only {num_failed} examples failed");
}

/// A wrong command line is a JSON error, too.
#[test]
fn wrong_usage_is_json_where_json_is_asked_for() {
    for words in [
        &["fly", "--log-format", "json"][..],
        &["run"],
        &["--log-format=json", "run", "x", "--inputs", "y"],
        &[],
    ] {
        let output = json_logs(words).output().unwrap();
        assert_exit(&output, 64);
        let lines = assert_only_json_lines(&output, &words.join(" "));
        assert_eq!((lines.len(), &lines[0]["exit_code"]), (1, &64.into()));
        assert!(!lines[0]["hints"][0].as_str().unwrap().is_empty(), "{}", lines[0]);
    }
}

/// Warnings and log lines are JSON as well; text is text although nobody sits at a terminal.
#[test]
fn the_format_of_standard_error_is_the_one_asked_for() {
    let Some(data) = support::test_data() else { return };
    let network = data.join("models/resnet20_cifar10.onnx");
    let job = Job::new(2, "");
    let arguments = ["run", job.pipeline.to_str().unwrap(), "--model", network.to_str().unwrap(), "-vv"];
    let output = json_logs(&arguments).output().unwrap();
    assert_exit(&output, 0);
    let lines = assert_only_json_lines(&output, "run");
    let warning = lines.iter().find(|line| line["level"] == "WARN").expect("what is assumed is said");
    assert!(warning["message"].as_str().unwrap().contains("has no contract"), "{warning}");
    assert!(lines.iter().any(|line| line["message"] == "shard committed"));
    let text = json_logs(&[&arguments[..], &["--log-format", "text"]].concat()).output().unwrap();
    assert!(stderr(&text).contains("warning: resnet20_cifar10 has no contract"), "{}", stderr(&text));
}
