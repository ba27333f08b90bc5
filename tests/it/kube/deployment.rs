//! The mode `deployment`: workers that stay, and take shards from a queue.

use std::time::Duration;

use serde_json::json;

use super::{Fleet, SOON, TILES_PER_SHARD, nats};
use crate::support::cluster::eventually;
use crate::support::stdout_of;

const NUM_IMAGES: usize = 400;

/// Three of four workers are told to stop: each puts back what it has not done, and the fourth does it.
#[test]
#[ignore = "Kubernetes takes 10 minutes to build: make kube"]
fn a_deployment_that_is_scaled_down_in_mid_work_is_whole() {
    let Some(nats) = nats() else { return };
    let Some(fleet) = Fleet::new("scaled", NUM_IMAGES) else { return };
    let ends = fleet.namespace.follow_ends();
    fleet.slow_down(Duration::from_millis(400));
    fleet.install(&json!({
        "mode": "deployment",
        "deployment": {"replicas": 4},
        "queue": {"url": nats.url()},
    }));
    fleet.wait_until_committed(10);
    let scale = ["scale", "deployment/photos-tilefleet", "--replicas=1"];
    stdout_of(fleet.namespace.kubectl().args(scale));
    let codes = eventually("three workers have ended", SOON, || {
        let ended = ends.codes();
        let codes: Vec<_> =
            ended.iter().filter(|(pod, _)| !pod.contains("submit")).map(|(_, code)| *code).collect();
        (codes.len() == 3).then_some(codes)
    });
    assert_eq!(codes, [143, 143, 143]);
    assert!(fleet.num_committed() * TILES_PER_SHARD < NUM_IMAGES, "the run is complete; make the job longer");
    fleet.proxy.clear();
    fleet.wait_until_committed(NUM_IMAGES / TILES_PER_SHARD);
    fleet.assert_whole(NUM_IMAGES);
    assert_eq!(fleet.workers().len(), 1, "it stays, and waits for more");
    fleet.uninstall();
}
