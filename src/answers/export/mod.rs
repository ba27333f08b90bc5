//! Completed runs in other people's formats.
//!
//! Goes in: runs and what is committed of them. Comes out: a description of a run for catalogues, for which
//! only the footers of its files are read; or maps of what was predicted, for which the columns of window and
//! prediction are.

mod describe;
mod map;

pub use describe::{Asked, describe_run};
pub use map::{Map, MapQuestion, maps};
