//! Sample buffers that a thread uses again, so that a chip of the usual size costs no page faults.

use std::cell::RefCell;

use crate::vocabulary::chip::{Chip, Samples};

/// Larger buffers go back to the allocator.
const MAX_KEPT_BYTES: usize = 16 << 20;

thread_local! {
    static SPARE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Returns a buffer of `len` bytes with unspecified content.
pub(super) fn take(len: usize) -> Vec<u8> {
    let mut buffer = SPARE.take();
    buffer.resize(len, 0);
    buffer
}

/// Gives a chip's buffer to the next decode on this thread.
pub fn recycle(chip: Chip) {
    if let Samples::U8(samples) = chip.samples
        && samples.capacity() <= MAX_KEPT_BYTES
    {
        SPARE.set(samples);
    }
}
