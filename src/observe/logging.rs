//! Logs to standard error, as text for people or JSON for machines.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// Returns text on a terminal and JSON elsewhere.
    #[must_use]
    pub fn for_stderr() -> Self {
        if io::IsTerminal::is_terminal(&io::stderr()) { Self::Text } else { Self::Json }
    }
}

/// Starts logging; `verbosity` counts the `-v`.
///
/// Other crates stay at warnings unless `TILEFLEET_LOG` says otherwise: some of them print request
/// headers at lower levels, and credentials never belong in a log.
pub fn init(format: LogFormat, verbosity: u8) {
    let own = ["warn", "info", "debug", "trace"][usize::from(verbosity.min(3))];
    let filter = std::env::var("TILEFLEET_LOG").unwrap_or_else(|_| format!("warn,ort=error,tilefleet={own}"));
    let filter = EnvFilter::try_new(&filter).unwrap_or_else(|_| EnvFilter::new("warn"));
    let lines = fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false);
    // A second call, as in tests, keeps the first subscriber.
    let _ = match format {
        LogFormat::Text => lines.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}
