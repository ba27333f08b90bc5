//! Logs of libraries and of our own, as text for people or JSON for machines.

use std::sync::atomic::{AtomicBool, Ordering};

use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt};

use crate::observe::stderr::{self, Level, LogFormat};

/// Whether lines of other crates are left out, whatever filter is asked for.
static ONLY_OWN: AtomicBool = AtomicBool::new(false);

/// Leaves out the lines of other crates from now on, in this process: they print addresses as they are, also those
/// whose names are secret.
pub fn keep_to_own_lines() {
    ONLY_OWN.store(true, Ordering::Relaxed);
    // What was found to be enabled is remembered.
    tracing::callsite::rebuild_interest_cache();
}

/// Returns whether lines of others are left out, since they may tell what is secret.
#[must_use]
pub fn keeps_to_own_lines() -> bool {
    ONLY_OWN.load(Ordering::Relaxed)
}

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
    let is_shown =
        filter_fn(|line| !ONLY_OWN.load(Ordering::Relaxed) || line.target().starts_with("tilefleet"));
    // A second call, as in tests, keeps the first subscriber.
    let _ = match stderr::format() {
        LogFormat::Text => lines.with_ansi(stderr::has_colours()).finish().with(is_shown).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).finish().with(is_shown).try_init(),
    };
}
