//! Processes over one simulated store: whose turn it is, what fails and who is killed follows from a seed.
//!
//! [`life`] plays whole lives of runs, from the plan to the deletion; [`deletion`] plays every way in which a deletion
//! and a compaction interrupt each other.

mod coverage;
mod deletion;
mod life;
mod store;
mod turns;

pub use deletion::loaded;
pub use store::Gate;
