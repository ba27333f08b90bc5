//! What people and monitoring see during a run: counters, progress, logs, metrics.

pub mod announce;
mod logging;
mod metrics;
mod pace;
mod progress;
mod server;
pub mod stderr;
mod ticker;

pub use logging::{init as init_logging, keep_to_own_lines, keeps_to_own_lines};
pub use metrics::metrics;
pub use pace::{Busy, Pace, Stage, Widths};
pub use progress::{Progress, ProgressSnapshot, Readiness};
pub use server::Monitor;
pub use stderr::LogFormat;
pub use ticker::Ticker;
