//! The mode `job`: an Indexed Job whose pods share a run.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Fleet, LATER, SOON, TILES_PER_SHARD, condition, index_note, index_of, kill};
use crate::fixture::jpeg;
use crate::support::cluster::{eventually, name_of, process_of};

const NUM_IMAGES: usize = 600;

/// A node drain, the kernel's killer and a spot machine that vanishes, at once and in mid-work. All shares are the others' too:
/// whoever is left finishes them, and the pods that replace the lost ones find little or nothing left.
#[test]
#[ignore = "Kubernetes takes 10 minutes to build: make kube"]
fn a_job_of_which_pods_are_evicted_killed_and_lost_with_their_node_is_whole() {
    let Some(fleet) = Fleet::new("indexed", NUM_IMAGES) else { return };
    fleet.namespace.cluster.start_node("spot", &["-taint", "spot=true:NoSchedule"]);
    fleet.slow_down(Duration::from_millis(400));
    fleet.install(&json!({
        "job": {"workers": 8},
        "tolerations": [{"key": "spot", "operator": "Exists", "effect": "NoSchedule"}],
        "topologySpreadConstraints": [{
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "DoNotSchedule",
            // Nodes of other tests have taints of their own.
            "nodeTaintsPolicy": "Honor",
            "labelSelector": {"matchLabels": {"app.kubernetes.io/instance": "photos"}},
        }],
    }));
    fleet.wait_until_committed(10);
    let at_work = fleet.workers();
    assert_eq!(at_work.len(), 8);
    let on = |node: &str| at_work.iter().filter(|pod| pod["spec"]["nodeName"] == node).collect::<Vec<_>>();
    let ([evicted, killed, ..], lost) = (&on("first")[..], on("spot")) else { panic!("four on each node") };
    fleet.namespace.evict(name_of(evicted));
    kill(process_of(killed).expect("it is at work"));
    fleet.namespace.cluster.lose_node("spot");
    assert!(fleet.num_committed() * TILES_PER_SHARD < NUM_IMAGES, "the run is complete; make the job longer");
    fleet.proxy.clear();
    // The pods that replace those of the lost node begin when all is done. What has come meanwhile is not for this Job.
    fleet.wait_until_committed(NUM_IMAGES / TILES_PER_SHARD);
    fleet.remote.server.put("scenes", "images/new.jpg", jpeg(0));

    let job = fleet.wait_until_complete(LATER);
    let status = &job["status"];
    assert_eq!((&status["completedIndexes"], &status["failed"]), (&json!("0-7"), &json!(1)), "{status:#}");
    let finished = fleet.workers();
    let last_of = |pod: &Value| finished.iter().rfind(|other| index_of(other) == index_of(pod)).unwrap();
    let failures = |pod: &Value, kind: &str| index_note(last_of(pod), kind).unwrap_or("0").to_owned();
    let counted = |pod: &Value| {
        (failures(pod, "job-index-failure-count"), failures(pod, "job-index-ignored-failure-count"))
    };
    let both = |failed: &str, ignored: &str| (failed.to_owned(), ignored.to_owned());
    assert_eq!(counted(killed), both("1", "0"), "only this one counts");
    assert_eq!(counted(evicted), both("0", "1"));
    assert_eq!(lost.len(), 4);
    for pod in lost {
        assert_eq!(counted(pod), both("0", "1"), "{}", name_of(pod));
    }
    fleet.assert_whole(NUM_IMAGES);
    fleet.uninstall();
}

/// A Job's template is immutable: with another image the release has another Job instead, and the one before is removed.
#[test]
#[ignore = "Kubernetes takes 10 minutes to build: make kube"]
fn a_release_is_upgraded_to_another_image_in_mid_run() {
    let Some(fleet) = Fleet::new("upgraded", 200) else { return };
    fleet.slow_down(Duration::from_millis(400));
    fleet.install(&json!({"job": {"workers": 2}}));
    fleet.wait_until_committed(3);
    let before = fleet.job();
    fleet.install(&json!({"job": {"workers": 2}, "image": {"tag": "2"}}));
    let after = eventually("the Job before is gone", SOON, || {
        let jobs = fleet.namespace.list("jobs");
        let [job] = &jobs[..] else { return None };
        (name_of(job) != name_of(&before)).then(|| job.clone())
    });
    assert_eq!(after["spec"]["template"]["spec"]["containers"][0]["image"], "example.test/tilefleet:2");
    assert!(condition(&before, "Complete").is_none(), "the run was complete; make the job longer");
    fleet.proxy.clear();
    fleet.wait_until_complete(SOON);
    fleet.assert_whole(200);
    // The same once more changes nothing.
    fleet.install(&json!({"job": {"workers": 2}, "image": {"tag": "2"}}));
    assert_eq!(name_of(&fleet.job()), name_of(&after));
    fleet.uninstall();
}
