//! Tiles that no decoder of ours is known to die of, for tests: a build with debug assertions dies of them, where the
//! environment says so. A release knows nothing of it.

use std::hint::black_box;
use std::sync::OnceLock;
use std::time::Duration;

use memchr::memmem;

/// Set, whatever its value, it lets a process die of a tile with one of the marks.
pub const POISON: &str = "TILEFLEET_TEST_POISON";

/// What a tile holds that a process is to die of, and how.
const MARKS: [(&[u8], Fate); 4] = [
    (b"poison:crash", Fate::Crash),
    (b"poison:loop", Fate::Loop),
    (b"poison:sleep", Fate::Sleep),
    (b"poison:memory", Fate::Memory),
];

#[derive(Clone, Copy)]
enum Fate {
    Crash,
    Loop,
    Sleep,
    Memory,
}

/// Dies of what is stored, if it holds a mark.
pub fn taste(stored: &[u8]) {
    static IS_SET: OnceLock<bool> = OnceLock::new();
    if !*IS_SET.get_or_init(|| std::env::var_os(POISON).is_some()) {
        return;
    }
    for (mark, fate) in MARKS {
        if memmem::find(stored, mark).is_some() {
            die(fate);
        }
    }
}

fn die(fate: Fate) {
    let mut taken = Vec::new();
    loop {
        match fate {
            Fate::Crash => std::process::abort(),
            Fate::Loop => _ = black_box(0),
            Fate::Sleep => std::thread::sleep(Duration::from_hours(1)),
            Fate::Memory => taken.push(vec![1_u8; 64 << 20]),
        }
        black_box(&taken);
    }
}
