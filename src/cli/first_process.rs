//! Commands that end at signals. The kernel passes the first process of a container only signals that it listens for, so a
//! command that listens for none would go on until it is killed, however long the engine waits.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use crate::vocabulary::error::{Error, Kind, Result};

/// How many parts of this process end it themselves.
static NUM_LISTENING: AtomicUsize = AtomicUsize::new(0);

/// Says that somebody else ends this process at signals, in a better way, while this value lives.
pub(super) struct Listening(());

impl Listening {
    /// Begins to listen.
    pub(super) fn new() -> Self {
        NUM_LISTENING.fetch_add(1, Ordering::SeqCst);
        Self(())
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        NUM_LISTENING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Ends work early at SIGTERM and Ctrl-C, so that what was begun is cleaned away.
pub(super) async fn or_interrupted<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let cannot = |cause| Error::unavailable("cannot listen for signals").because(cause);
    let _listening = Listening::new();
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let ended = tokio::select! {
        result = work => return result,
        _ = interrupt.recv() => Error::new(Kind::Interrupted, "interrupted"),
        _ = terminate.recv() => Error::new(Kind::Drained, "ended by SIGTERM"),
    };
    Err(ended.hint("run the same command again"))
}

/// Ends the process at SIGTERM and Ctrl-C, if it is the first one and nobody else listens.
pub(super) fn end_at_signals() {
    if std::process::id() != 1 {
        return;
    }
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        match runtime.and_then(|runtime| runtime.block_on(signal_for_nobody())) {
            Ok(code) => leave(code),
            Err(cause) => tracing::warn!(%cause, "signals cannot be caught here: SIGTERM ends no command"),
        }
    });
}

/// Waits for a signal that nobody else listens for; returns the exit code that says so.
async fn signal_for_nobody() -> std::io::Result<i32> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    loop {
        let code = tokio::select! {
            _ = interrupt.recv() => 130,
            _ = terminate.recv() => 143,
        };
        if NUM_LISTENING.load(Ordering::SeqCst) == 0 {
            return Ok(code);
        }
    }
}

/// Ends the process as a signal would: nothing is cleaned up.
#[expect(unsafe_code, reason = "only the C library ends a process at once")]
fn leave(code: i32) -> ! {
    // SAFETY: takes a plain integer and does not return.
    unsafe { libc::_exit(code) }
}
