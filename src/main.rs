//! The `tilefleet` binary: everything is in the library.

use std::io::Write;

fn main() {
    keep_to_one_arena();
    leave(tilefleet::cli::main());
}

/// Ends the process without running the destructors of libraries: after an interruption a session may
/// still be computing, and ONNX Runtime must not be taken down under it.
#[expect(unsafe_code, reason = "only the C library ends a process at once")]
fn leave(code: u8) -> ! {
    // What cannot be written any more cannot be reported either.
    let _ = std::io::stdout().flush();
    // SAFETY: takes a plain integer and does not return.
    unsafe { libc::_exit(code.into()) }
}

/// Has glibc allocate from one arena instead of one per thread: images are allocated on one thread and
/// freed on another, and with many arenas peak memory grows with the number of tiles.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "glibc's settings are behind its C interface")]
fn keep_to_one_arena() {
    // SAFETY: `mallopt` takes plain integers and is called before any other thread exists.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

#[cfg(not(target_env = "gnu"))]
fn keep_to_one_arena() {}
