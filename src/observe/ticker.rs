//! The progress bar on a terminal, or a log line now and then elsewhere.

use std::fmt;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::observe::Progress;

const REDRAW: Duration = Duration::from_millis(200);
const LOG_EVERY: Duration = Duration::from_secs(30);

/// Shows a run's progress until dropped.
pub struct Ticker {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Starts showing `progress`: a bar where standard error is a terminal, log lines otherwise.
    #[must_use]
    pub fn start(progress: Arc<Progress>) -> Self {
        let (end, ended) = channel();
        let on_terminal = std::io::stderr().is_terminal();
        let thread = std::thread::spawn(move || {
            let bar = on_terminal.then(bar);
            let period = if on_terminal { REDRAW } else { LOG_EVERY };
            while ended.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
                show(&progress, bar.as_ref());
            }
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

fn bar() -> ProgressBar {
    let style = "{bar:32} {pos}/{len} tiles  {rate}  {eta} left  {msg}";
    let style = ProgressStyle::with_template(style).expect("the template is constant and tested");
    let style = style.with_key("rate", |state: &ProgressState, text: &mut dyn fmt::Write| {
        // A bar that cannot be drawn is no reason to stop.
        let _ = write!(text, "{:.1}/s", state.per_sec());
    });
    ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr()).with_style(style)
}

fn show(progress: &Progress, bar: Option<&ProgressBar>) {
    let now = progress.snapshot();
    let done = now.elsewhere + now.settled;
    let Some(bar) = bar else {
        tracing::info!(
            done,
            planned = now.planned,
            rejected = now.rejected,
            shards = now.shards_ours + now.shards_theirs,
            "progress"
        );
        return;
    };
    if bar.length() != Some(now.planned) {
        bar.set_length(now.planned);
        bar.set_position(now.elsewhere);
        bar.reset_eta();
    }
    bar.set_position(done);
    bar.set_message(if now.rejected > 0 { format!("{} rejected", now.rejected) } else { String::new() });
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_template_is_valid() {
        super::bar().finish_and_clear();
    }
}
