//! Clocks of whole processes that are wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Loaded before the C library, it answers for the system's clock; the time that passes is the true one.
const LIBRARY: &str = r#"
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    long failed = syscall(SYS_clock_gettime, clock, now);
    const char *skew = getenv("TEST_SKEW_SECONDS");
    if (!failed && skew && clock == CLOCK_REALTIME) now->tv_sec += atol(skew);
    return (int)failed;
}
"#;

/// Lets a command start with a clock that is so many hours ahead, or behind.
pub fn skewed(command: &mut Command, hours: i64) -> &mut Command {
    command.env("LD_PRELOAD", library()).env("TEST_SKEW_SECONDS", (hours * 3600).to_string())
}

/// Builds the library once, with the C compiler that Rust links with.
fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("skew-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (source, library) = (folder.join("skew.c"), folder.join("skew.so"));
        fs::write(&source, LIBRARY).unwrap();
        let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
        assert!(built.unwrap().success(), "cc builds a library");
        library
    })
}

#[test]
fn a_process_believes_in_its_skewed_clock() {
    let hour = |hours| {
        let mut date = Command::new("date");
        super::stdout_of(skewed(date.arg("+%s"), hours)).trim().parse::<i64>().unwrap() / 3600
    };
    let now = hour(0);
    assert!((now + 29..=now + 31).contains(&hour(30)), "{now}");
    assert!((now - 8..=now - 6).contains(&hour(-7)), "{now}");
}
