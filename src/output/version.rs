//! Which version of tilefleet has written a record or a shard.

/// Returns the version of this build. Nothing is decided by it: workers of several versions may share a run.
#[cfg(not(debug_assertions))]
pub fn tool_version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// Returns the version of this build, or the one that tests let it pretend to be.
#[cfg(debug_assertions)]
pub fn tool_version() -> String {
    std::env::var("TILEFLEET_TEST_VERSION").unwrap_or_else(|_| env!("CARGO_PKG_VERSION").to_owned())
}
