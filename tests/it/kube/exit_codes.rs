//! What the chart's policy makes of the codes that workers end with.

use std::time::Duration;

use serde_json::json;

use super::{Fleet, SOON, condition, index_of};
use crate::support::cluster::{eventually, exit_code_of, name_of};
use crate::support::fault_proxy::{Fault, Rule};

/// One worker says it, and its index fails without another try; the others end well, and the table is whole.
#[test]
#[ignore = "Kubernetes takes 10 minutes to build: make kube"]
fn an_index_that_ends_with_65_is_not_retried() {
    let Some(fleet) = Fleet::new("too-many-rejects", 30) else { return };
    for index in 0..20 {
        fleet.remote.server.put("scenes", &format!("images/broken-{index}.jpg"), "no image");
    }
    fleet.install(&json!({"job": {"workers": 3}}));
    let job = eventually("the Job has failed", SOON, || {
        let job = fleet.job();
        condition(&job, "Failed").is_some().then_some(job)
    });
    assert_eq!(condition(&job, "Failed").as_deref(), Some("FailedIndexes"));
    let workers = fleet.workers();
    let mut codes: Vec<_> = workers.iter().map(exit_code_of).collect();
    codes.sort_unstable();
    assert_eq!(codes, [Some(0), Some(0), Some(65)], "no index has a second pod");
    let failed = workers.iter().find(|pod| exit_code_of(pod) == Some(65)).unwrap();
    assert_eq!(job["status"]["failedIndexes"], index_of(failed));
    fleet.assert_whole(50);
    fleet.uninstall();
}

/// The store takes no shards for a while: workers leave with 75, and others come until it does.
#[test]
#[ignore = "Kubernetes takes 10 minutes to build: make kube"]
fn an_index_that_ends_with_75_is_retried() {
    let Some(fleet) = Fleet::new("store-away", 40) else { return };
    fleet.proxy.add(Rule::new(Fault::Status(503)).on_method("PUT").on_key("/table/tiles/"));
    fleet.install(&json!({"job": {"workers": 2}}));
    let index = eventually("a worker gives up", SOON, || {
        let workers = fleet.workers();
        workers.iter().find(|pod| exit_code_of(pod) == Some(75)).map(|pod| index_of(pod).to_owned())
    });
    fleet.proxy.clear();
    let job = fleet.wait_until_complete(SOON);
    assert_eq!(job["status"]["completedIndexes"], "0,1");
    let codes: Vec<_> =
        fleet.workers().iter().filter(|pod| index_of(pod) == index).map(exit_code_of).collect();
    assert!(matches!(codes[..], [Some(75), .., Some(0)]), "{codes:?}");
    fleet.assert_whole(40);
    fleet.uninstall();
}

/// One worker may no longer write. Whatever is wrong is so for all: the Job fails, and the others are told to stop.
#[test]
#[ignore = "Kubernetes takes 10 minutes to build: make kube"]
fn a_job_of_which_a_pod_ends_with_78_fails_and_its_others_drain() {
    let Some(fleet) = Fleet::new("denied", 200) else { return };
    let ends = fleet.namespace.follow_ends();
    fleet.slow_down(Duration::from_millis(400));
    fleet.install(&json!({"job": {"workers": 3}}));
    fleet.wait_until_committed(3);
    let denied = Rule::new(Fault::Refusal(403, "AccessDenied")).on_method("PUT").on_key("/table/tiles/");
    fleet.proxy.add(denied.times(1));
    eventually("the Job has failed", SOON, || {
        let reason = condition(&fleet.job(), "Failed")?;
        assert_eq!(reason, "PodFailurePolicy");
        Some(())
    });
    let codes = eventually("all have ended", SOON, || {
        let mut codes: Vec<_> = ends.codes().into_values().collect();
        codes.sort_unstable();
        (codes.len() == 3).then_some(codes)
    });
    assert_eq!(codes, [78, 143, 143]);
    // Once the rights are there again, a person starts the same once more.
    fleet.proxy.clear();
    let before = fleet.job();
    fleet.install(&json!({"job": {"workers": 3, "rerun": "1"}}));
    eventually("another Job is there", SOON, || {
        let jobs = fleet.namespace.list("jobs");
        jobs.iter().all(|job| name_of(job) != name_of(&before)).then_some(())
    });
    fleet.wait_until_complete(SOON);
    fleet.assert_whole(200);
    fleet.uninstall();
}
