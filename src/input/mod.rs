//! What comes in: objects in buckets and folders, which of them are sources, and STAC items that describe them.

pub mod byte_ranges;
pub mod open;
pub mod source;
pub mod stac;
pub mod storage;
