//! Planners that meet.

use super::{Bench, Fault, Worker, at_put};
use crate::fixture::{assert_exit, jpeg, wait_until};

/// Two planners have listed different sources, and both publish their plan. One decides; the other adopts what it
/// decided, and the next run covers the rest.
#[test]
fn of_two_planners_with_different_listings_one_decides() {
    let Some(bench) = Bench::new(6, "[plan]\nshard_tiles = 2") else { return };
    let late = bench.worker_that_meets(at_put(Fault::Held, "sources.parquet"));
    let put = |index: usize| {
        bench.remote.server.put("scenes", &format!("images/{index:05}.jpg"), jpeg(index));
    };
    (6..10).for_each(put);
    assert_exit(&bench.plan(), 0);
    (10..13).for_each(put);
    bench.proxy.clear();
    late.ended_with(0);
    assert_eq!(bench.proxy.answers_after_hold(), [412]);
    bench.assert_sound(10);
    assert_exit(&bench.run(&[]), 0);
    bench.assert_sound(13);
    let records = bench.remote.server.keys("scenes", "table/_tilefleet");
    assert_eq!(records.iter().filter(|key| key.ends_with("/run.json")).count(), 2, "{records:?}");
}

/// Both planners are held at each object of the plan in turn, so that each is written by both at once.
#[test]
fn whatever_two_planners_write_at_once_is_one_plan() {
    let Some(first) = Bench::new(6, "[plan]\nshard_tiles = 2") else { return };
    for key in ["create-only-probe.txt", "output.json", "sources.parquet", "/plan/", "/run.json"] {
        let bench = first.beside(&format!("table-{}", key.trim_matches('/')));
        bench.proxy.add(at_put(Fault::Held, key));
        let workers = [(); 2].map(|()| Worker::start(&mut bench.command(&[])));
        wait_until("both are held", || bench.proxy.befallen().len() == 2);
        bench.proxy.clear();
        for worker in workers {
            worker.ended_with(0);
        }
        let mut answers = bench.proxy.answers_after_hold();
        answers.sort_unstable();
        assert_eq!(answers, [200, 412], "{key}");
        bench.assert_sound(6);
    }
}
