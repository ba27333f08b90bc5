//! What people see while a run goes on: counters, progress, logs.

mod logging;
mod progress;
mod ticker;

pub use logging::{LogFormat, init as init_logging};
pub use progress::{Progress, Snapshot};
pub use ticker::Ticker;
