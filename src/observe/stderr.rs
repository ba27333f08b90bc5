//! Standard error: everything that goes there passes here.
//!
//! Goes in: notes, warnings, errors, progress, log lines. Comes out: text for people, above the progress
//! bar where there is one; or JSON, one object a line and nothing else, for machines.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use indicatif::ProgressBar;
use serde_json::{Map, Value, json};

use crate::vocabulary::error::Error;
use crate::vocabulary::visible;

/// Names the format where no flag does.
pub const FORMAT_VARIABLE: &str = "TILEFLEET_LOG_FORMAT";

/// How lines on standard error look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object a line
    Json,
}

impl LogFormat {
    /// Returns text on a terminal and JSON elsewhere.
    #[must_use]
    pub fn for_stderr() -> Self {
        if io::stderr().is_terminal() { Self::Text } else { Self::Json }
    }

    /// Finds the format in a command line that may be wrong in other places, else in the environment, else
    /// by [`Self::for_stderr`].
    #[must_use]
    pub fn asked_for(arguments: &[String], variable: Option<&str>) -> Self {
        let flag = arguments.iter().enumerate().find_map(|(index, argument)| {
            let rest = argument.strip_prefix("--log-format")?;
            rest.strip_prefix('=').or_else(|| arguments.get(index + 1).map(String::as_str))
        });
        let known = |name: &str| <Self as clap::ValueEnum>::from_str(name, false).ok();
        flag.and_then(known).or_else(|| variable.and_then(known)).unwrap_or_else(Self::for_stderr)
    }
}

/// How much a line matters, in the words of log collectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Good to know.
    Info,
    /// Worth a look.
    Warn,
    /// The command fails.
    Error,
}

static JSON: AtomicBool = AtomicBool::new(false);
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Sets the format of everything that follows.
pub fn set_format(format: LogFormat) {
    JSON.store(format == LogFormat::Json, Relaxed);
}

/// Returns the format in force.
pub fn format() -> LogFormat {
    if JSON.load(Relaxed) { LogFormat::Json } else { LogFormat::Text }
}

/// Returns whether progress is a bar: on a terminal for people.
pub fn has_bar() -> bool {
    io::stderr().is_terminal() && format() == LogFormat::Text
}

/// Says something to whoever watches.
pub fn say(level: Level, message: &str) {
    match format() {
        LogFormat::Text => write_text(&text(level, message)),
        LogFormat::Json => write_line(&line(level, message, Map::new())),
    }
}

/// Says something for which a program gets fields beside a short message.
pub fn say_with(level: Level, sentence: &str, message: &str, fields: Map<String, Value>) {
    match format() {
        LogFormat::Text => write_text(&text(level, sentence)),
        LogFormat::Json => write_line(&line(level, message, fields)),
    }
}

/// Says why a command fails: message, causes, hints.
pub fn say_error(error: &Error) {
    let Value::Object(fields) = json!({
        "because": error.causes(),
        "hints": error.hints(),
        "exit_code": error.kind().exit_code(),
    }) else {
        return;
    };
    match format() {
        LogFormat::Text => write_text(&error.render()),
        LogFormat::Json => write_line(&line(Level::Error, &error.to_string(), fields)),
    }
}

/// Shows a progress bar below all lines, until it is replaced by none.
pub(super) fn set_bar(bar: Option<ProgressBar>) {
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = bar;
}

/// A writer of log lines: nothing in them steers the terminal but the colours of `tracing`, which shows
/// escape characters in what it is given by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogLines;

impl Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(bytes);
        let shown = match format() {
            LogFormat::Json => visible::json(&line),
            LogFormat::Text if has_colours() => {
                line.split('\u{1b}').map(visible::text).collect::<Vec<_>>().join("\u{1b}").into()
            }
            LogFormat::Text => visible::text(&line),
        };
        Lines.write_all(shown.as_bytes()).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Lines.flush()
    }
}

/// A writer of whole lines above the progress bar.
#[derive(Clone, Copy, Debug)]
struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let write = || io::stderr().write_all(bytes);
        bar.map_or_else(write, |bar| bar.suspend(write)).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Tells whether text on standard error may have colours: on a terminal that knows them, unless
/// `NO_COLOR` is set (no-color.org).
#[must_use]
pub fn has_colours() -> bool {
    let is = |name: &str, unwanted: fn(&str) -> bool| std::env::var(name).is_ok_and(|value| unwanted(&value));
    io::stderr().is_terminal()
        && !is("NO_COLOR", |value| !value.is_empty())
        && !is("TERM", |value| value == "dumb")
}

fn write_text(text: &str) {
    let shown = visible::text(text);
    write_line(&if has_colours() { coloured(&shown) } else { shown.into_owned() });
}

/// Colours the word that says how much a text matters.
fn coloured(text: &str) -> String {
    const BOLD_RED: &str = "\u{1b}[1;31m";
    const BOLD_YELLOW: &str = "\u{1b}[1;33m";
    const PLAIN: &str = "\u{1b}[0m";
    for (word, colour) in [("error:", BOLD_RED), ("warning:", BOLD_YELLOW)] {
        if let Some(rest) = text.strip_prefix(word) {
            return format!("{colour}{word}{PLAIN}{rest}");
        }
    }
    text.to_owned()
}

fn write_line(line: &str) {
    // A standard error that is closed cannot be told about.
    let _ = Lines.write_all(format!("{line}\n").as_bytes());
}

fn text(level: Level, message: &str) -> String {
    match level {
        Level::Info => message.to_owned(),
        Level::Warn => format!("warning: {message}"),
        Level::Error => format!("error: {message}"),
    }
}

/// Returns one JSON object with the names that the lines of `tracing` have.
fn line(level: Level, message: &str, fields: Map<String, Value>) -> String {
    let level = match level {
        Level::Info => "INFO",
        Level::Warn => "WARN",
        Level::Error => "ERROR",
    };
    let mut object = Map::new();
    object.insert("timestamp".into(), humantime::format_rfc3339_micros(SystemTime::now()).to_string().into());
    object.insert("level".into(), level.into());
    object.insert("message".into(), message.into());
    object.extend(fields);
    visible::json(&Value::Object(object).to_string()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_found_in_a_wrong_command_line() {
        let asked = |line: &str, variable| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            LogFormat::asked_for(&words, variable)
        };
        assert_eq!(asked("tilefleet fly --log-format json", Some("text")), LogFormat::Json);
        assert_eq!(asked("tilefleet --log-format=text fly", Some("json")), LogFormat::Text);
        assert_eq!(asked("tilefleet fly", Some("json")), LogFormat::Json);
        assert_eq!(asked("tilefleet fly --log-format xml", Some("json")), LogFormat::Json);
        assert_eq!(asked("tilefleet fly --log-format", None), LogFormat::for_stderr());
    }

    #[test]
    fn the_first_word_has_its_colour() {
        assert_eq!(coloured("error: a\n  hint: b"), "\u{1b}[1;31merror:\u{1b}[0m a\n  hint: b");
        assert_eq!(coloured("warning: a"), "\u{1b}[1;33mwarning:\u{1b}[0m a");
        assert_eq!(coloured("12 tiles, error: none"), "12 tiles, error: none");
    }

    #[test]
    fn a_line_is_one_json_object() {
        let fields = Map::from_iter([("tiles".to_owned(), json!(7))]);
        let line = line(Level::Warn, "two\nlines and \"quotes\"", fields);
        assert!(!line.contains('\n'));
        let object: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&object["level"], &object["tiles"]), (&json!("WARN"), &json!(7)));
        assert_eq!(object["message"], "two\nlines and \"quotes\"");
    }
}
