//! A buffer of samples that a thread uses again, so that an image of the usual size costs no page faults.

use std::cell::RefCell;

/// Larger buffers go back to the allocator.
const MAX_KEPT_BYTES: usize = 16 << 20;

thread_local! {
    static SPARE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Returns a buffer of `len` bytes with unspecified content: that which this thread recycled last, if there is one.
#[must_use]
pub fn spare(len: usize) -> Vec<u8> {
    let mut buffer = SPARE.take();
    buffer.resize(len, 0);
    buffer
}

/// Gives the samples of an image to the next [`decode`](crate::decode) or [`spare`] on this thread.
pub fn recycle(samples: Vec<u8>) {
    if samples.capacity() <= MAX_KEPT_BYTES {
        SPARE.set(samples);
    }
}
