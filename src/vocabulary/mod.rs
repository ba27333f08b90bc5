//! The words that all rooms share. They hold values and rules, and do no I/O.

pub mod chip;
pub mod contract;
#[cfg(test)]
pub(crate) mod counting;
pub mod error;
pub mod geometry;
pub(crate) mod guard;
pub mod identity;
pub mod outcome;
pub mod process;
pub mod provider;
pub(crate) mod random;
pub mod reason;
pub mod sample;
#[cfg(test)]
#[path = "../../tests/it/support/skipped.rs"]
pub(crate) mod skipped;
pub mod tile_id;
pub mod time;
pub mod traffic;
pub mod visible;
pub mod words;
