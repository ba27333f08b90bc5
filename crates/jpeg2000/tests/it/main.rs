//! The decoder against OpenJPEG and OpenJPH, on real files, and on damaged streams.

mod cases;
mod golden;
