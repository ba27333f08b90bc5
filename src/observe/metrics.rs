//! The counters of this process as Prometheus reads them: text format 0.0.4, base units, no identifier in a label.

use std::fmt::{Display, Write as _};

use crate::observe::{Progress, ProgressSnapshot, Stage, Widths};

/// What the format is called in a response.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Renders the counters of this process.
#[must_use]
pub fn metrics(progress: &Progress) -> String {
    let (now, rows) = (progress.snapshot(), progress.rows());
    let mut page = Page::default();
    page.metric("build_info", "gauge", "The build that runs")
        .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    page.metric("run_tiles", "gauge", "Tiles of the run").sample(&[], now.planned);
    page.metric("run_done_tiles", "gauge", "Tiles of the run that have their outcome, here or elsewhere")
        .sample(&[], now.done());
    page.metric("rows_total", "counter", "Rows that this process has committed")
        .sample(&[("status", "ok")], rows.ok)
        .sample(&[("status", "skipped")], rows.skipped)
        .sample(&[("status", "rejected")], rows.rejected);
    let mut reasons = page.metric(
        "rows_by_reason_total",
        "counter",
        "Rows without a prediction that this process has committed",
    );
    for (reason, count) in &rows.reasons {
        reasons = reasons.sample(&[("reason", reason)], count);
    }
    page.metric(
        "shards_total",
        "counter",
        "Shards that this process has worked on until they were committed",
    )
    .sample(&[("committed_by", "this_process")], now.shards_ours)
    .sample(&[("committed_by", "another")], now.shards_theirs);
    page.metric("inferred_tiles_total", "counter", "Tiles that went through the model")
        .sample(&[], now.inferred);
    page.metric("source_bytes_total", "counter", "Bytes read from the sources")
        .sample(&[], now.fetched_bytes);
    page.metric("source_requests_total", "counter", "Requests that brought them")
        .sample(&[], now.fetch_requests);
    page.stages(&now);
    page.metric("model_wait_seconds_total", "counter", "Seconds that sessions have waited for tiles")
        .sample(&[], now.infer_wait_seconds);
    page.metric("planning_seconds", "gauge", "Seconds that finding or planning the run took")
        .sample(&[], now.planning_seconds);
    page.metric("work_seconds", "gauge", "Seconds since work on shards began").sample(&[], now.seconds);
    page.0
}

#[derive(Default)]
struct Page(String);

impl Page {
    /// Begins a metric.
    fn metric(&mut self, name: &'static str, kind: &str, help: &str) -> Samples<'_> {
        let _ = writeln!(self.0, "# HELP tilefleet_{name} {help}.\n# TYPE tilefleet_{name} {kind}");
        Samples { page: self, name }
    }

    fn stages(&mut self, now: &ProgressSnapshot) {
        let seconds = |stage| match stage {
            Stage::Fetch => now.fetch_seconds,
            Stage::Decode => now.decode_seconds,
            Stage::Model => now.infer_seconds,
            Stage::Write => now.commit_seconds,
        };
        self.by_stage(
            "stage_seconds_total",
            "counter",
            "Seconds of work, added up over threads and requests",
            seconds,
        );
        let Widths { fetch, decode, model, write } = now.widths;
        let width = |stage| match stage {
            Stage::Fetch => fetch,
            Stage::Decode => decode,
            Stage::Model => model,
            Stage::Write => write,
        };
        self.by_stage("stage_width", "gauge", "How many things the stage can do at once", width);
    }

    fn by_stage(&mut self, name: &'static str, kind: &str, help: &str, value: impl Fn(Stage) -> f64) {
        let mut samples = self.metric(name, kind, help);
        for stage in Stage::ALL {
            samples = samples.sample(&[("stage", &stage.to_string())], value(stage));
        }
    }
}

struct Samples<'a> {
    page: &'a mut Page,
    name: &'static str,
}

impl Samples<'_> {
    /// Adds a sample. Values of labels are words of ours, which need no escapes.
    fn sample(self, labels: &[(&str, &str)], value: impl Display) -> Self {
        let labels: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.page.0, "tilefleet_{}{labels} {value}", self.name);
        self
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::vocabulary::outcome::{CommittedBy, Counts};

    #[test]
    fn counters_are_said_in_base_units() {
        let progress = Progress::default();
        progress.begin(100, 10);
        let counts = Counts { ok: 6, skipped: 0, rejected: 2, reasons: [("corrupt".to_owned(), 2)].into() };
        progress.committed(CommittedBy::Ours, &counts, Duration::from_millis(1500));
        progress.committed(CommittedBy::Theirs, &counts, Duration::from_millis(500));
        let page = metrics(&progress);
        for line in [
            "# TYPE tilefleet_rows_total counter",
            "tilefleet_run_tiles 100",
            "tilefleet_rows_total{status=\"ok\"} 6",
            "tilefleet_rows_by_reason_total{reason=\"corrupt\"} 2",
            "tilefleet_shards_total{committed_by=\"another\"} 1",
            "tilefleet_stage_seconds_total{stage=\"write\"} 2",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
        assert!(page.lines().all(|line| line.starts_with("tilefleet_") || line.starts_with("# ")));
    }
}
