//! The progress bar on a terminal, or a line now and then elsewhere.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::observe::stderr::{self, Level};
use crate::observe::{Pace, Progress, ProgressSnapshot};
use crate::vocabulary::words;

const REDRAW: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(30);

/// Rate, time left and slowest stage are measured over this many past seconds: batches of a large model take
/// seconds, and what was slow long ago does not matter now.
const WINDOW_SECONDS: f64 = 30.0;

/// Shows a run's progress until dropped.
pub struct Ticker {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Starts showing `progress`: a bar where standard error is a terminal for people, lines otherwise.
    #[must_use]
    pub fn start(progress: Arc<Progress>) -> Self {
        let (end, ended) = channel();
        let on_terminal = stderr::has_bar();
        let thread = std::thread::spawn(move || {
            let bar = on_terminal.then(bar);
            stderr::set_bar(bar.clone());
            let period = if on_terminal { REDRAW } else { LINE_EVERY };
            let mut window = Window::default();
            while ended.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
                show(window.add(progress.snapshot()), bar.as_ref());
            }
            stderr::set_bar(None);
            if let Some(bar) = bar {
                bar.finish_and_clear();
            }
        });
        Self { end: Some(end), thread: Some(thread) }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.end.take();
        if let Some(thread) = self.thread.take() {
            // A crash while drawing must not hide the run's own result.
            let _ = thread.join();
        }
    }
}

/// The snapshots of the last seconds, oldest first; at first the beginning, when nothing was done.
struct Window(VecDeque<ProgressSnapshot>);

impl Default for Window {
    fn default() -> Self {
        Self(VecDeque::from([ProgressSnapshot::default()]))
    }
}

impl Window {
    /// Adds the newest snapshot; returns it with the pace over the window.
    fn add(&mut self, now: ProgressSnapshot) -> (&ProgressSnapshot, Pace) {
        // The last one that is old enough stays: the window is never shorter than it should be.
        while self.0.len() > 1 && now.seconds - self.0[1].seconds >= WINDOW_SECONDS {
            self.0.pop_front();
        }
        let pace = Pace::between(&self.0[0], &now);
        self.0.push_back(now);
        (&self.0[self.0.len() - 1], pace)
    }
}

fn bar() -> ProgressBar {
    let style = "{wide_bar} {msg}";
    let style = ProgressStyle::with_template(style).expect("the template is constant and tested");
    ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr()).with_style(style)
}

fn show((now, pace): (&ProgressSnapshot, Pace), bar: Option<&ProgressBar>) {
    if now.planned == 0 {
        // The plan is being made, or models are being loaded.
        return;
    }
    match bar {
        Some(bar) => {
            bar.set_length(now.planned);
            bar.set_position(now.done());
            bar.set_message(sentence(now, &pace));
        }
        None => stderr::say_with(Level::Info, &sentence(now, &pace), "progress", fields(now, &pace)),
    }
}

/// Says it for people, in one line.
fn sentence(now: &ProgressSnapshot, pace: &Pace) -> String {
    let mut parts = vec![words::counted_of(now.done(), now.planned, "tile")];
    parts.extend(pace.is_typical.then(|| format!("{:.1}/s", pace.tiles_per_second)));
    parts.extend(pace.seconds_left.map(|left| format!("{} left", words::seconds_left(left))));
    parts.extend(pace.slowest().map(|stage| format!("slowest: {stage}")));
    parts.extend((now.rejected > 0).then(|| format!("{} rejected", words::count(now.rejected))));
    parts.join(", ")
}

fn fields(now: &ProgressSnapshot, pace: &Pace) -> serde_json::Map<String, Value> {
    let fields = json!({
        "done": now.done(),
        "planned": now.planned,
        "rejected": now.rejected,
        "shards": now.shards_ours + now.shards_theirs,
        "tiles_per_second": pace.tiles_per_second,
        "seconds_left": pace.seconds_left,
        "slowest": pace.slowest(),
        "busy": pace.busy,
    });
    if let Value::Object(fields) = fields { fields } else { serde_json::Map::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Widths;

    #[test]
    fn the_template_is_valid() {
        bar().finish_and_clear();
    }

    fn at(seconds: f64, settled: u64, infer_seconds: f64, fetch_seconds: f64) -> ProgressSnapshot {
        let widths = Widths { fetch: 32.0, decode: 2.0, model: 1.0, write: 3.0 };
        let rejected = settled / 100;
        let known = ProgressSnapshot {
            seconds,
            settled,
            rejected,
            fetch_seconds,
            infer_seconds,
            ..ProgressSnapshot::default()
        };
        ProgressSnapshot { planned: 12_000, elsewhere: 1000, inferred: settled - rejected, widths, ..known }
    }

    #[test]
    fn a_line_says_rate_time_left_and_the_slowest_stage() {
        let mut window = Window::default();
        let (now, pace) = window.add(at(10.0, 1000, 9.0, 16.0));
        assert_eq!(
            sentence(now, &pace),
            "2,000 of 12,000 tiles, 100.0/s, 1 min 40 s left, slowest: model, 10 rejected"
        );
        let fields = fields(now, &pace);
        assert_eq!((&fields["done"], &fields["seconds_left"]), (&json!(2000), &json!(100.0)));
        assert_eq!((&fields["slowest"], &fields["busy"]["model"]), (&json!("model"), &json!(0.9)));
    }

    /// The store becomes slow after a minute: half a minute later the line says so.
    #[test]
    fn what_was_long_ago_does_not_matter() {
        let mut window = Window::default();
        for second in 1..=60 {
            window.add(at(f64::from(second), 100 * second as u64, f64::from(second), 0.0));
        }
        let (_, pace) = window.add(at(91.0, 6100, 61.0, 900.0));
        assert_eq!(pace.busy.slowest(), Some(crate::observe::Stage::Fetch));
        assert!(pace.tiles_per_second < 4.0, "{pace:?}");
        assert!(window.0.len() < 35);
    }

    #[test]
    fn before_work_begins_there_is_no_rate() {
        let mut window = Window::default();
        let (now, pace) = window.add(ProgressSnapshot { planned: 5, ..ProgressSnapshot::default() });
        assert_eq!(sentence(now, &pace), "0 of 5 tiles");
    }

    #[test]
    fn a_line_on_rejects_alone_has_neither_rate_nor_time_left() {
        let mut window = Window::default();
        let rejects = ProgressSnapshot { settled: 15, rejected: 15, inferred: 0, ..at(0.2, 0, 0.0, 0.1) };
        let (now, pace) = window.add(rejects);
        assert_eq!(sentence(now, &pace), "1,015 of 12,000 tiles, 15 rejected");
        let fields = fields(now, &pace);
        assert_eq!((&fields["seconds_left"], &fields["slowest"]), (&Value::Null, &Value::Null));
    }
}
