//! A buffer of values that a thread uses again for the next frame: memory that the kernel has yet to bring, or that another
//! core wrote to last, takes longer than decoding into it.

use std::cell::Cell;

use crate::stored::Samples;

/// Larger buffers go back to the allocator.
const MAX_KEPT_BYTES: usize = 16 << 20;

thread_local! {
    static SPARE: Cell<Vec<u16>> = const { Cell::new(Vec::new()) };
}

/// Gives the values of a frame to the next [`decode_frame`](crate::decode_frame) on this thread, if they are of 16 bits as most
/// are.
pub fn recycle(values: Samples) {
    let words: Vec<u16> = match values {
        Samples::U16(words) => words,
        Samples::I16(words) => bytemuck::cast_vec(words),
        _ => return,
    };
    if words.capacity() * size_of::<u16>() <= MAX_KEPT_BYTES {
        SPARE.set(words);
    }
}

/// Returns an empty buffer: that of the last frame, if it was recycled.
pub(crate) fn words() -> Vec<u16> {
    let mut words = SPARE.take();
    words.clear();
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_of_a_frame_are_written_over_by_the_next() {
        let values = vec![-1_i16; 1000];
        let place = values.as_ptr() as usize;
        recycle(Samples::I16(values));
        recycle(Samples::U8(vec![1; 1000]));
        let next = words();
        assert_eq!((next.as_ptr() as usize, next.len()), (place, 0));
        assert_eq!(words().capacity(), 0, "it is given once");
        recycle(Samples::U16(Vec::with_capacity(MAX_KEPT_BYTES)));
        assert_eq!(words().capacity(), 0, "it is too large to be kept");
    }
}
