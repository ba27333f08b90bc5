//! Credentials that a cluster hands to its pods, tried for real: the binary works from bucket to bucket, with a store that
//! takes what a local service of AWS, Google or Microsoft has lent, and nothing else.

use std::process::Output;
use std::time::Duration;

use crate::fixture::{assert_exit, stderr};
use crate::stores::{FAST_RETRIES, StoreJob};
use crate::support::fault_proxy::{Fault, FaultProxy, Rule};
use crate::support::lending::{Gate, Way};
use crate::support::store_server::StoreServer;

fn assert_no_secret(gate: &Gate, output: &Output) {
    let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), stderr(output));
    for secret in gate.secrets().into_iter().chain(["Signature", "Authorization"]) {
        assert!(!printed.contains(secret), "`{secret}` was printed:\n{printed}");
    }
}

/// A job that takes several seconds, however fast the machine is: one image after the other, each request delayed.
fn slow_job(gate: &Gate) -> (StoreJob<'_>, FaultProxy) {
    let remote = StoreJob::new(gate, 30, "[plan]\nshard_tiles = 5\n[run]\nfetch_concurrency = 1");
    let proxy = FaultProxy::before_server(gate);
    proxy.add(Rule::new(Fault::Delay(Duration::from_millis(200))));
    gate.lender().lend_for(Duration::from_secs(6));
    (remote, proxy)
}

/// A service that is not ready yet, as GKE's in a pod that has just started, is asked again.
fn a_run_works_with_what_is_lent(gate: &Gate) {
    let remote = StoreJob::new(gate, 24, "[plan]\nshard_tiles = 10");
    gate.lender().be_busy(2);
    let output = remote.run(&["-vv"]);
    assert_exit(&output, 0);
    assert_exit(&remote.verify(), 0);
    assert_eq!(remote.rows().len(), 24);
    let printed = stderr(&output);
    assert!(printed.contains("committed"), "-vv says what happens:\n{printed}");
    assert_no_secret(gate, &output);
    assert_eq!(gate.lender().turned_away(), [""; 0]);
}

/// Each token is good for one exchange, so its file is read each time; and nothing that has expired reaches the store.
fn credentials_are_renewed_with_the_token_of_the_day(gate: &Gate) {
    let (remote, proxy) = slow_job(gate);
    let output = remote.run_through(&proxy, &["-vv"]);
    assert_exit(&output, 0);
    assert!(gate.lender().num_loans() >= 2, "{}", gate.lender().num_loans());
    assert_eq!(gate.lender().turned_away(), [""; 0]);
    assert_no_secret(gate, &output);
    assert_exit(&remote.verify(), 0);
    assert_eq!(remote.rows().len(), 30);
}

/// That passes, before the run and in the middle of it: 75, and the next run makes it whole.
fn a_lender_that_is_away_is_waited_for(gate: &Gate) {
    let (remote, proxy) = slow_job(gate);
    gate.lender().be_down(true);
    let output = remote.run(&FAST_RETRIES);
    assert_exit(&output, 75);
    let said = stderr(&output);
    assert!(
        said.contains("cannot connect") && said.contains("the service that gives the credentials"),
        "{said}"
    );
    gate.lender().be_down(false);

    gate.lender().leave_after(1);
    let output = remote.run_through(&proxy, &[&FAST_RETRIES[..], &["-vv"]].concat());
    assert_exit(&output, 75);
    assert!(stderr(&output).contains("503"), "{}", stderr(&output));
    assert_no_secret(gate, &output);
    assert_eq!(gate.lender().num_loans(), 1);

    gate.lender().return_again();
    gate.lender().lend_for(Duration::from_hours(1));
    assert_exit(&remote.run(&[]), 0);
    assert_exit(&remote.verify(), 0);
    assert_eq!(remote.rows().len(), 30);
}

/// A person has to change something: 78, and what.
fn a_refusal_says_what_to_check(gate: &Gate, words: &str, advice: &str) {
    let remote = StoreJob::new(gate, 2, "");
    gate.lender().refuse();
    let output = remote.run(&["-vv"]);
    assert_exit(&output, 78);
    let said = stderr(&output);
    assert!(said.contains("there are no usable credentials"), "{said}");
    assert!(said.contains(words) && said.contains(advice), "{said}");
    assert_no_secret(gate, &output);
}

/// Makes a test of each check for the gate that an expression starts.
macro_rules! checks {
    ($kind:ident, $gate:expr, $words:expr, $advice:expr) => {
        mod $kind {
            use super::*;

            #[test]
            fn a_run_works_with_what_is_lent() {
                let Some(gate) = $gate else { return };
                super::a_run_works_with_what_is_lent(&gate);
            }

            #[test]
            fn credentials_are_renewed_with_the_token_of_the_day() {
                let Some(gate) = $gate else { return };
                super::credentials_are_renewed_with_the_token_of_the_day(&gate);
            }

            #[test]
            fn a_lender_that_is_away_is_waited_for() {
                let Some(gate) = $gate else { return };
                super::a_lender_that_is_away_is_waited_for(&gate);
            }

            #[test]
            fn a_refusal_says_what_to_check() {
                let Some(gate) = $gate else { return };
                super::a_refusal_says_what_to_check(&gate, $words, $advice);
            }
        }
    };
}

checks!(
    web_identity,
    Gate::before_s3(Way::WebIdentity),
    "it answered 403 AccessDenied: Not authorized to perform",
    "trust policy names this cluster's OIDC provider"
);
checks!(
    pod_identity,
    Gate::before_s3(Way::PodIdentity),
    "it answered 400 (AccessDeniedException)",
    "pod identity association"
);
checks!(
    google,
    Gate::before_google(),
    "it answered 403 Permission 'iam.serviceAccounts.getAccessToken' denied",
    "roles/iam.workloadIdentityUser"
);
checks!(
    azure,
    Gate::before_azure(),
    "it answered 401 invalid_client: AADSTS700213",
    "federated credential of the identity in AZURE_CLIENT_ID"
);
