//! `tilefleet decoder`: what this program starts of itself to decode tiles that may crash it. Hidden: nobody types it.

use std::ffi::OsString;
use std::time::Duration;

use crate::stages::child::{Limits, Program};
use crate::stages::decode::serve_decoder;
use crate::vocabulary::error::{Error, Result};

/// Decodes what it is asked on standard input, for another process of this program
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Most bytes of memory
    memory_bytes: u64,

    /// Most seconds of processor time for one question
    seconds: f64,
}

/// Lets workers of this process start decoders.
pub fn register() {
    Program::register_this(&["decoder"], environment());
}

/// A decoder knows no secret. Builds for tests are told which tiles to die of.
#[cfg(debug_assertions)]
fn environment() -> Vec<(OsString, OsString)> {
    let poison = crate::stages::decode::POISON;
    std::env::var_os(poison).map(|value| (poison.into(), value)).into_iter().collect()
}

#[cfg(not(debug_assertions))]
fn environment() -> Vec<(OsString, OsString)> {
    Vec::new()
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let time = Duration::try_from_secs_f64(args.seconds)
        .map_err(|error| Error::usage("these seconds are no time").because(error))?;
    let Args { memory_bytes, .. } = *args;
    serve_decoder(Limits { memory_bytes, memory_alone_bytes: memory_bytes, time })
        .map_err(|error| Error::unavailable("whoever asked this decoder is gone").because(error))
}
