//! What keeps an output sound: proof of its runs, many runs made one, people erased, runs deleted.

pub mod compact;
pub mod erase;
mod rows;
pub mod runs;
pub mod verify;
