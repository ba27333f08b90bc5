//! The decoder against `OpenJPEG` and `OpenJPH`, on real files, and on damaged streams.

#[path = "../../../../fuzz/bodies/jpeg2000.rs"]
mod body;
mod cases;
mod damaged;
mod golden;
mod header;
mod real;

use tilefleet_testing::counting::Counting;

#[global_allocator]
static COUNTING: Counting = Counting;
