//! The `tilefleet` binary: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    tilefleet::cli::main()
}
