//! One word to all stages that no more work is to be started, and why.

use std::future::Future;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use crate::vocabulary::error::{Error, Kind, Result};

/// Tells the stages to stop; cheap to clone.
#[derive(Clone)]
pub struct Stop {
    stopped: watch::Sender<bool>,
    cause: Arc<Mutex<Option<Error>>>,
}

impl Default for Stop {
    fn default() -> Self {
        Self { stopped: watch::Sender::new(false), cause: Arc::default() }
    }
}

impl Stop {
    /// Stops because of an error; the first one counts.
    pub fn fail(&self, error: Error) {
        self.cause.lock().expect("no holder of this lock panics").get_or_insert(error);
        self.stopped.send_replace(true);
    }

    /// Stops because a person or the scheduler asked for it.
    pub fn request(&self, kind: Kind) {
        let word = if kind == Kind::Interrupted { "interrupted" } else { "drained after SIGTERM" };
        self.fail(
            Error::new(kind, format!("{word}; unfinished shards stay open"))
                .hint("run the same command again to resume"),
        );
    }

    /// Returns whether a stop was asked for.
    #[must_use]
    pub fn stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    /// Waits until a stop is asked for.
    pub async fn wait(&self) {
        let mut stopped = self.stopped.subscribe();
        // The sender lives in `self`, so this cannot fail.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }

    /// Waits for some work, or for a stop, whichever comes first.
    ///
    /// # Errors
    ///
    /// The work's own error, or the reason for the stop.
    pub async fn or<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            result = work => result,
            () = self.wait() => Err(self.take_cause().unwrap_or_else(|| Error::bug("stopped for no reason"))),
        }
    }

    /// Takes the reason for the stop.
    #[must_use]
    pub fn take_cause(&self) -> Option<Error> {
        self.cause.lock().expect("no holder of this lock panics").take()
    }
}
