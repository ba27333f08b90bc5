//! The `tilefleet` binary: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    keep_to_one_arena();
    tilefleet::cli::main()
}

/// Has glibc allocate from one arena instead of one a thread: images are allocated on one thread and
/// freed on another, and with many arenas peak memory grows with the number of tiles.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "glibc's settings are behind its C interface")]
fn keep_to_one_arena() {
    // SAFETY: `mallopt` takes plain integers and is called before any other thread exists.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

#[cfg(not(target_env = "gnu"))]
fn keep_to_one_arena() {}
