//! Turns a decoder's panic into a rejection, without its message on the console.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use crate::vocabulary::reason::{Reason, Rejection};

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`; a panic inside becomes [`Reason::DecoderCrash`].
///
/// # Errors
///
/// As `work`.
pub fn catch_decoder_panic<T>(work: impl FnOnce() -> Result<T, Rejection>) -> Result<T, Rejection> {
    silence_hook();
    let before = QUIET.replace(true);
    // The decoders keep no state across calls but scratch buffers, which are cleared before use.
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    QUIET.set(before);
    outcome.unwrap_or_else(|payload| {
        let message = message(&*payload);
        Err(Rejection::new(Reason::DecoderCrash, format!("the decoder crashed: {message}")))
    })
}

/// Keeps this thread's panics from the console for good: whoever waits for it says what went wrong.
pub fn keep_quiet() {
    silence_hook();
    QUIET.set(true);
}

/// Returns what a panic said.
pub fn message(payload: &(dyn Any + Send)) -> &str {
    let message = payload.downcast_ref::<String>().map(String::as_str);
    message.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// Puts a hook before the present one, once, that is silent on threads inside [`catch_decoder_panic`].
fn silence_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let next = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                next(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_rejection_and_the_next_call_works() {
        let rejection = catch_decoder_panic::<()>(|| panic!("index {} out of bounds", 7)).unwrap_err();
        assert_eq!(rejection.reason, Reason::DecoderCrash);
        assert_eq!(rejection.detail, "the decoder crashed: index 7 out of bounds");
        assert_eq!(catch_decoder_panic(|| Ok(1)), Ok(1));
        assert!(!QUIET.get());
    }
}
