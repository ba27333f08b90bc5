//! Whole lives of runs: planned, worked on, committed, compacted and deleted by several processes at once, over a store
//! that fails, with processes that are killed, stopped and paused at any request.
//!
//! ```text
//! seed ─▶ script ─▶ play: real commands, one request at a time ─▶ finish alone ─▶ what must hold
//!         (actors,       │ after each change: see `table`                        (verify, and `table`)
//!          faults)       └─ faults, kills, pauses as the script says
//! ```
//!
//! What is not played: fetching, decoding, inference, and the threads of a process; see `cast`.

mod cast;
mod flaws;
mod play;
mod script;
mod table;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::coverage::Coverage;
use super::turns::Verb;
use flaws::Flaw;
use play::{Played, play};
use script::Script;

/// Schedules that CI plays.
const SCHEDULES: u64 = 10_000;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// What many schedules came to.
#[derive(Default)]
struct Totals {
    coverage: Coverage,
    num_schedules: u64,
    num_with_faults: u64,
    num_requests: u64,
    num_completed: u64,
    num_deleted: u64,
}

impl Totals {
    fn add(&mut self, played: Played) {
        self.num_schedules += 1;
        self.num_with_faults += u64::from(played.num_faults > 0);
        self.num_requests += played.num_requests as u64;
        self.num_completed += played.seen.num_completed() as u64;
        self.num_deleted += played.seen.num_deleted() as u64;
        self.coverage.merge(played.coverage);
    }

    /// Whatever can go wrong has gone wrong with each kind of object that is created or deleted.
    fn check_coverage(&self) {
        let created =
            ["sources", "part of the plan", "run.json", "shard", "summary", "tombstone", "decision", "note"];
        let deleted = ["shard", "run.json", "sources", "note"];
        let happened =
            ["refused", "answer lost", "late", "killed before", "killed after", "killed, late", "paused"];
        for what in happened {
            let met = |verb, kind: &str| {
                assert!(self.coverage.number(verb, kind, what) > 0, "{verb:?} {kind}: {what}");
            };
            for kind in created {
                met(Verb::Put, kind);
            }
            for kind in deleted {
                met(Verb::Delete, kind);
            }
        }
    }
}

/// Plays schedules on all cores until one violates anything; returns the first that does, by its seed.
fn first_violation(seeds: Range<u64>, flaw: Option<Flaw>, totals: &Mutex<Totals>) -> Option<u64> {
    let (next, first) = (AtomicU64::new(seeds.start), AtomicU64::new(u64::MAX));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || seed > first.load(Ordering::Relaxed) {
                return;
            }
            match sound(&Script::of(seed), flaw) {
                Some(played) => totals.lock().unwrap().add(played),
                None => {
                    first.fetch_min(seed, Ordering::Relaxed);
                }
            }
        }
    };
    let num_threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..num_threads).for_each(|_| drop(scope.spawn(work))));
    Some(first.into_inner()).filter(|seed| *seed != u64::MAX)
}

/// Plays a script; returns `None` if it violates anything, or anybody panics.
fn sound(script: &Script, flaw: Option<Flaw>) -> Option<Played> {
    let played = catch_unwind(AssertUnwindSafe(|| play(script, flaw, false)));
    played.ok().filter(|played| played.violations.is_empty())
}

/// Leaves out of a script what it violates something without.
fn shortest(mut script: Script, flaw: Option<Flaw>) -> Script {
    let violates = |script: &Script| sound(script, flaw).is_none();
    while let Some(shorter) = shorter(&script).into_iter().find(violates) {
        script = shorter;
    }
    script
}

/// Returns the scripts with a fault or a command less.
fn shorter(script: &Script) -> Vec<Script> {
    let without_fault = |at| {
        let mut shorter = script.clone();
        shorter.faults.remove(at);
        shorter
    };
    let without_command = |(actor, at): (usize, usize)| {
        let mut shorter = script.clone();
        shorter.actors[actor].remove(at);
        shorter
    };
    let commands = script.actors.iter().enumerate();
    let commands = commands.flat_map(|(actor, commands)| (0..commands.len()).map(move |at| (actor, at)));
    (0..script.faults.len()).map(without_fault).chain(commands.map(without_command)).collect()
}

/// Says all there is to say of a schedule that violates something.
fn story(seed: u64, flaw: Option<Flaw>) -> String {
    let script = shortest(Script::of(seed), flaw);
    println!("seed {seed}, shortest script: {script:#?}");
    let played = play(&script, flaw, true);
    format!(
        "seed {seed} violates:\n  {}\nrequests of its shortest script, which is above:\n  {}\nplay it alone with \
         TILEFLEET_SEED={seed} cargo test --test it simulated::life",
        played.violations.join("\n  "),
        played.trace.join("\n  ")
    )
}

/// `TILEFLEET_SEEDS` plays more of them, `TILEFLEET_SEED` plays one and shows what was asked of the store.
#[test]
fn whatever_fails_and_whoever_is_killed_each_tile_has_one_row() {
    if let Some(seed) = number("TILEFLEET_SEED") {
        let played = play(&Script::of(seed), None, true);
        println!("{:#?}\n{}\n{:#?}", Script::of(seed), played.trace.join("\n"), played.violations);
    }
    let num_schedules = number("TILEFLEET_SEEDS").unwrap_or(SCHEDULES);
    let seeds = number("TILEFLEET_SEED").map_or(0..num_schedules, |seed| seed..seed + 1);
    let (began, totals) = (std::time::Instant::now(), Mutex::new(Totals::default()));
    let violated = first_violation(seeds, None, &totals);
    let totals = totals.into_inner().unwrap();
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{} schedules in {seconds:.1} s ({:.0} per second), {} with a fault, {:.1} requests each; at the end {:.1} \
         runs stand and {:.1} are deleted\n{}",
        totals.num_schedules,
        totals.num_schedules as f64 / seconds,
        totals.num_with_faults,
        totals.num_requests as f64 / totals.num_schedules as f64,
        totals.num_completed as f64 / totals.num_schedules as f64,
        totals.num_deleted as f64 / totals.num_schedules as f64,
        totals.coverage
    );
    if let Some(seed) = violated {
        panic!("{}", story(seed, None));
    }
    if totals.num_schedules >= SCHEDULES {
        totals.check_coverage();
    }
}

/// Says what a schedule shows of a broken variant.
fn caught(seed: u64, flaw: Flaw) -> String {
    let played = catch_unwind(AssertUnwindSafe(|| play(&Script::of(seed), Some(flaw), false)));
    played.map_or_else(|_| "a panic".to_owned(), |played| played.violations[0].clone())
}

/// Each is caught, or the simulation would not find what it is for.
#[test]
fn each_broken_variant_is_caught() {
    let mut missed = Vec::new();
    for flaw in Flaw::ALL {
        let totals = Mutex::default();
        match first_violation(0..SCHEDULES, Some(flaw), &totals) {
            Some(seed) => {
                let what = caught(seed, flaw);
                println!("{flaw:?}: caught by schedule {}: {what}", seed + 1);
            }
            None => missed.push(flaw),
        }
    }
    assert!(missed.is_empty(), "{SCHEDULES} schedules do not show {missed:?}");
}

/// A seed is all that a schedule depends on.
#[test]
fn a_seed_plays_the_same_schedule_each_time() {
    for seed in 0..60 {
        let [first, second] = [(); 2].map(|()| play(&Script::of(seed), None, true));
        assert_eq!(first.trace, second.trace, "seed {seed}");
        assert!(first.seen.objects == second.seen.objects, "seed {seed}: objects differ");
    }
}
