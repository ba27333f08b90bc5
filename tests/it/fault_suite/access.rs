//! Rights that end while a run is under way: a person has to act, and no image is to blame.

use std::fs;

use super::{Bench, Fault, OF_SHARDS, Rule, at_put};
use crate::fixture::assert_exit;

/// Everything is refused once the first shards are computed. That is 78 and says what to do, and nothing is rejected.
#[test]
fn access_that_ends_in_mid_run_is_no_reject() {
    let refusals = [
        Rule::new(Fault::Refusal(400, "ExpiredToken")),
        Rule::new(Fault::Refusal(403, "InvalidAccessKeyId")),
        at_put(Fault::Refusal(403, "AccessDenied"), OF_SHARDS),
    ];
    let Some(first) = Bench::new(40, "[plan]\nshard_tiles = 2") else { return };
    for (number, refusal) in refusals.into_iter().enumerate() {
        let bench = first.beside(&format!("table-{number}"));
        let worker = bench.worker_that_meets(at_put(Fault::Held, OF_SHARDS));
        bench.proxy.replace(refusal);
        let said = worker.ended_with(78);
        assert!(said.contains("check the") && said.contains("credentials"), "{said}");
        assert!(bench.rows().iter().all(|row| row.status == "ok"));
        let records = bench.remote.server.keys("scenes", &format!("{}/_tilefleet", bench.table));
        assert!(!records.iter().any(|key| key.contains("/attempts/")), "{records:?}");
        bench.assert_verdict(75);
        bench.proxy.clear();
        assert_exit(&bench.run(&[]), 0);
        bench.assert_sound(40);
    }
}

/// Credentials that last a moment are fetched again and again. Where they come from may go away: that passes.
#[test]
fn credentials_are_renewed_while_a_run_lasts() {
    let Some(bench) = Bench::new(24, "[plan]\nshard_tiles = 2") else { return };
    let path = |name: &str| bench.remote.job.path(name);
    let (calls, away) = (path("calls"), path("away"));
    let program = format!(
        "#!/bin/sh\necho call >>'{}'\n[ ! -e '{}' ] || {{ echo 'nobody is in' >&2; exit 1; }}\necho '{}'\n",
        calls.display(),
        away.display(),
        "{\"Version\":1,\"AccessKeyId\":\"owner-access-key\",\"SecretAccessKey\":\"owner-secret-4f9c1d\",\
         \"Expiration\":\"2001-01-01T00:00:00Z\"}"
    );
    fs::write(path("keys.sh"), program).unwrap();
    let config = format!("[profile lent]\ncredential_process = sh '{}'\n", path("keys.sh").display());
    fs::write(path("aws"), config).unwrap();
    let command = || {
        let mut command = bench.command(&[]);
        command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
        command.env("AWS_CONFIG_FILE", path("aws")).env("AWS_PROFILE", "lent");
        command
    };
    let worker = bench.meets(at_put(Fault::Held, OF_SHARDS), command());
    assert!(fs::read_to_string(&calls).unwrap().lines().count() > 1, "they are fetched anew");
    fs::write(&away, "").unwrap();
    bench.proxy.clear();
    let said = worker.ended_with(75);
    assert!(said.contains("nobody is in"), "{said}");
    bench.assert_verdict(75);
    fs::remove_file(&away).unwrap();
    assert_exit(&command().output().unwrap(), 0);
    bench.assert_sound(24);
}
