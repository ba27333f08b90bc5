//! What people see during a run: counters, progress, logs.

pub mod announce;
mod logging;
mod pace;
mod progress;
pub mod stderr;
mod ticker;

pub use logging::{init as init_logging, keep_to_own_lines, keeps_to_own_lines};
pub use pace::{Busy, Pace, Stage, Widths};
pub use progress::{Progress, ProgressSnapshot};
pub use stderr::LogFormat;
pub use ticker::Ticker;
