//! Counts what tests allocate: how much memory a piece of work takes at once, on its thread.
//!
//! Whoever measures makes [`Counting`] the allocator of its tests.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static HELD: Cell<i64> = const { Cell::new(0) };
    static PEAK: Cell<i64> = const { Cell::new(0) };
}

/// The system's allocator, counting.
pub struct Counting;

fn add(num_bytes: i64) {
    // What a thread frees when it ends is not counted.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + num_bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

#[expect(unsafe_code, reason = "an allocator is unsafe by its contract")]
// SAFETY: all calls go to the system's allocator as they are.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size() as i64);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size() as i64);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        add(-(layout.size() as i64));
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, num_bytes: usize) -> *mut u8 {
        // Old and new may be there at once.
        add(num_bytes as i64);
        add(-(layout.size() as i64));
        unsafe { System.realloc(block, layout, num_bytes) }
    }
}

/// Returns how many bytes more than before are allocated at once while `work` runs on this thread.
pub fn peak_bytes<T>(work: impl FnOnce() -> T) -> u64 {
    let before = HELD.get();
    PEAK.set(before);
    drop(work());
    (PEAK.get() - before).max(0) as u64
}

#[cfg(test)]
#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn what_is_held_at_once_is_counted() {
    let one = || drop(vec![1_u8; 1000]);
    let peak = peak_bytes(|| (one(), one()));
    assert!((1000..1100).contains(&peak), "{peak}");
}
