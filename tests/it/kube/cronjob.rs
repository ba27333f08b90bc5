//! The mode `cronjob`: Indexed Jobs on a schedule.

use serde_json::{Value, json};

use super::{Fleet, LATER, SOON, WORKERS, condition};
use crate::support::cluster::{eventually, name_of};
use crate::support::stdout_of;

/// One Job is started by hand. What comes into the bucket then is the run of the next one, which the schedule starts.
#[test]
#[ignore = "Kubernetes takes 10 minutes to build: make kube"]
fn a_cronjob_takes_what_is_new() {
    let Some(fleet) = Fleet::new("scheduled", 20) else { return };
    fleet.install(&json!({"mode": "cronjob", "job": {"workers": 2}, "cronjob": {"schedule": "* * * * *"}}));
    let [cronjob] = &fleet.namespace.list("cronjobs")[..] else { panic!("one CronJob") };
    let from = format!("--from=cronjob/{}", name_of(cronjob));
    stdout_of(fleet.namespace.kubectl().args(["create", "job", &from, "by-hand"]));
    eventually("the Job started by hand is complete", SOON, || {
        let jobs = fleet.namespace.list("jobs");
        let job = jobs.iter().find(|job| name_of(job) == "by-hand")?;
        condition(job, "Complete").map(|_| ())
    });
    fleet.assert_whole(20);
    for index in 20..25 {
        let image = crate::fixture::jpeg(index);
        fleet.remote.server.put("scenes", &format!("images/{index:05}.jpg"), image);
    }
    eventually("the new images have rows", LATER, || (fleet.remote.rows().len() == 25).then_some(()));
    let scheduled =
        |job: &Value| job["metadata"]["ownerReferences"][0]["kind"] == "CronJob" && name_of(job) != "by-hand";
    eventually("a Job of the schedule is complete", SOON, || {
        let jobs = fleet.namespace.selected("jobs", WORKERS);
        jobs.iter().any(|job| scheduled(job) && condition(job, "Complete").is_some()).then_some(())
    });
    fleet.assert_whole(25);
    fleet.uninstall();
}
