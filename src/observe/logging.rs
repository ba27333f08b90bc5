//! Logs of libraries and of our own, as text for people or JSON for machines.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::observe::stderr::{self, Level, LogFormat};

/// Starts logging in the format of standard error; `verbosity` counts the `-v`.
///
/// Other crates stay at warnings unless `TILEFLEET_LOG` says otherwise: some of them print request
/// headers at lower levels, and credentials never belong in a log.
pub fn init(verbosity: u8) {
    let own = ["warn", "info", "debug", "trace"][usize::from(verbosity.min(3))];
    let filter = std::env::var("TILEFLEET_LOG").unwrap_or_else(|_| format!("warn,ort=error,tilefleet={own}"));
    let filter = EnvFilter::try_new(&filter).unwrap_or_else(|cause| {
        stderr::say(
            Level::Warn,
            &format!("TILEFLEET_LOG is not valid, so only warnings are logged: {cause}"),
        );
        EnvFilter::new("warn")
    });
    let lines = fmt().with_env_filter(filter).with_writer(|| stderr::LogLines).with_target(false);
    // A second call, as in tests, keeps the first subscriber.
    let _ = match stderr::format() {
        LogFormat::Text => lines.with_ansi(stderr::has_colours()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}
