//! What reading has cost.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Requests and the bytes that came.
#[derive(Debug, Default)]
pub struct Traffic {
    requests: AtomicU64,
    bytes: AtomicU64,
}

impl Traffic {
    /// Notes a request.
    pub fn add(&self, num_bytes: usize) {
        self.requests.fetch_add(1, Relaxed);
        self.bytes.fetch_add(num_bytes as u64, Relaxed);
    }

    /// Returns the number of requests.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// Returns the number of bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }
}
