//! Child processes that answer questions, and may die over one.
//!
//! In goes a question, out comes its answer, or what the child died of. A child has one question at a time, so whoever
//! asked knows what killed it. It has limits on memory and on processor time, no environment and no open file but the
//! pipes, and it ends with the process that started it.
//!
//! ```text
//! Children ─▶ a Child, idle or new ─▶ question ─┬─▶ answer           the child waits for the next
//!                                               └─▶ it died: once more, in a new child ─▶ Death
//! ```
//!
//! What questions are about is not known here. `decode` asks them where `run.isolate` says so.

mod inside;
mod memory;
mod message;
mod parent;
mod pool;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use inside::answer_questions;
pub use memory::memory_of_this_process;
pub use message::{read_head, write_message};
pub use parent::{Child, Program};
pub use pool::Children;

/// What a child may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of memory of one among several; enforced by Linux alone.
    pub memory_bytes: u64,
    /// Most bytes of memory of one while no other is asked.
    pub memory_alone_bytes: u64,
    /// Most processor time for one question, rounded up to seconds. A machine that is busy or suspended takes none of it.
    pub time: Duration,
}

impl Limits {
    /// Returns the limits of a child that is asked alone.
    fn alone(self) -> Self {
        Self { memory_bytes: self.memory_alone_bytes, ..self }
    }

    /// An answer that takes so many times the processor time on the clock does not come.
    const CLOCK_PER_TIME: u32 = 10;

    /// Returns how long a parent waits for an answer.
    fn patience(self) -> Duration {
        self.time.saturating_mul(Self::CLOCK_PER_TIME)
    }
}

/// What a child died of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Death {
    /// It crashed; the text says how.
    #[error("it ended with {0}")]
    Crashed(String),
    /// It asked for more memory than it may have.
    #[error("it asked for more memory than it may have")]
    OutOfMemory,
    /// It took longer than it may.
    #[error("it took longer than it may")]
    TooSlow,
    /// Somebody else killed it, such as a system without memory: no fault of the question.
    #[error("it was killed from outside, as by a system that is short of memory")]
    Killed,
    /// It could not be started, for this reason.
    #[error("it cannot be started: {0}")]
    NotStarted(String),
}

impl Death {
    /// Tells whether the question may be at fault.
    #[must_use]
    pub fn is_of_the_question(&self) -> bool {
        matches!(self, Self::Crashed(_) | Self::OutOfMemory | Self::TooSlow)
    }
}
