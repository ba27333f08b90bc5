//! What keeps an output sound: proof of its runs, many runs made one, runs deleted.

pub mod compact;
pub mod erase;
pub mod runs;
pub mod verify;
