//! The mode `scaledjob`: KEDA starts workers while there is work in the queue.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Fleet, LATER, SOON, WORKERS, condition, nats};
use crate::support::cluster::{IMAGE, Keda, cluster, eventually};
use crate::support::stdout_of;

const NUM_IMAGES: usize = 240;
const MAX_WORKERS: usize = 5;

/// Worker Jobs that have not ended.
fn at_work(fleet: &Fleet) -> usize {
    let ended = |job: &Value| condition(job, "Complete").is_some() || condition(job, "Failed").is_some();
    fleet.namespace.selected("jobs", WORKERS).iter().filter(|job| !ended(job)).count()
}

/// From none to five and back to none, twice. While there is no work nobody holds a GPU: a pod that wants all of them gets them.
#[test]
#[ignore = "KEDA's operator takes 10 minutes to build: make kube-keda"]
fn keda_starts_workers_while_there_is_work_and_an_idle_one_holds_no_gpu() {
    let Some(nats) = nats() else { return };
    let Some(cluster) = cluster() else { return };
    // It outlives the namespace: it takes part in the removal of what it looks after.
    let Some(_keda) = Keda::start(&cluster) else { return };
    let Some(fleet) = Fleet::new("elastic", NUM_IMAGES) else { return };
    let gpus = format!("nvidia.com/gpu={MAX_WORKERS}");
    cluster.start_node("gpu", &["-extended", &gpus, "-taint", "nvidia.com/gpu=:NoSchedule"]);
    fleet.slow_down(Duration::from_millis(400));
    let submit = |rerun: &str| {
        fleet.install(&json!({
            // A GPU per worker makes it a ScaledJob.
            "gpu": {"enabled": true},
            "scaledjob": {
                "maxWorkers": MAX_WORKERS,
                "shardsPerWorker": 2,
                "pollingInterval": 2,
                "monitoring": nats.monitoring(),
            },
            "queue": {"url": nats.url(), "idle": "3s"},
            // The node has GPUs in name only.
            "image": {"entrypoint": ["env", "TILEFLEET_RUN_PROVIDER=cpu", "TILEFLEET_RUN_DEVICES=[0]", "tilefleet"]},
            "job": {"rerun": rerun},
            // As a person may write them: KEDA stores 100m, and 1Gi for the sum of the memory, 1024Mi.
            "resources": {"cpu": "0.1", "reserve": "31Mi", "scratch": "1024Mi"},
        }));
    };
    submit("1");
    scales_up_and_down(&fleet, NUM_IMAGES);
    let new = NUM_IMAGES..NUM_IMAGES + 60;
    for index in new.clone() {
        let image = crate::fixture::jpeg(index);
        fleet.remote.server.put("scenes", &format!("images/{index:05}.jpg"), image);
    }
    assert_eq!(at_work(&fleet), 0, "nobody has told the queue");
    submit("2");
    scales_up_and_down(&fleet, new.end);
    fleet.uninstall();
}

fn scales_up_and_down(fleet: &Fleet, num_images: usize) {
    eventually("all workers are at work", SOON, || (at_work(fleet) == MAX_WORKERS).then_some(()));
    fleet.namespace.apply(&wants_all_gpus());
    eventually("nobody is at work", LATER, || {
        nobody_else_has_a_gpu(&fleet.namespace.list("pods"));
        let num = at_work(fleet);
        assert!(num <= MAX_WORKERS, "{num} workers");
        (num == 0).then_some(())
    });
    fleet.assert_whole(num_images);
    eventually("all GPUs are free", SOON, || {
        let pods = fleet.namespace.selected("pods", "wants=gpus");
        pods.iter().all(|pod| pod["status"]["phase"] == "Succeeded").then_some(())
    });
    stdout_of(fleet.namespace.kubectl().args(["delete", "pods", "--selector=wants=gpus"]));
}

/// While a worker runs, the pod that wants all GPUs waits.
fn nobody_else_has_a_gpu(pods: &[Value]) {
    let of = |label: &str, value: &str| {
        pods.iter().filter(|pod| pod["metadata"]["labels"][label] == value).collect::<Vec<_>>()
    };
    let phases =
        |pods: Vec<&Value>| pods.iter().map(|pod| pod["status"]["phase"].clone()).collect::<Vec<_>>();
    if phases(of("app.kubernetes.io/component", "worker")).contains(&json!("Running")) {
        assert_eq!(phases(of("wants", "gpus")), ["Pending"]);
    }
}

fn wants_all_gpus() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "wants-gpus", "labels": {"wants": "gpus"}},
        "spec": {
            "restartPolicy": "Never",
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
            "containers": [{
                "name": "all",
                "image": IMAGE,
                "command": ["true"],
                "resources": {"limits": {"nvidia.com/gpu": MAX_WORKERS.to_string()}},
            }],
        },
    })
}
