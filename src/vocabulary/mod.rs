//! The words that all rooms share. They hold values and rules, and do no I/O.

pub mod chip;
pub mod contract;
pub mod dicom_codes;
pub mod error;
pub mod geometry;
pub mod guard;
pub mod identity;
pub mod kept_tag;
pub mod keys;
pub mod outcome;
pub mod process;
pub mod provider;
pub mod random;
pub mod reason;
pub mod sample;
pub mod tile_id;
pub mod time;
pub mod traffic;
pub mod visible;
pub mod words;
