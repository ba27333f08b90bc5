//! Alerts and dashboard: they ask for what is served, and fire when they should.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tilefleet::observe::{Progress, metrics};
use tilefleet::vocabulary::outcome::{CommittedBy, Counts};

use super::{at, case, of_kind, project, tool};
use crate::support;

/// The rules as Prometheus reads them, in a file.
fn rules(folder: &Path) -> Option<PathBuf> {
    let file = folder.join("rules.yaml");
    // YAML reads JSON.
    fs::write(&file, of_kind(case("all-else")?, "PrometheusRule")["spec"].to_string()).unwrap();
    Some(file)
}

#[test]
fn prometheus_accepts_the_rules() {
    let folder = tempfile::tempdir().unwrap();
    let Some(rules) = rules(folder.path()) else { return };
    let Some(mut promtool) = tool("promtool") else { return };
    support::stdout_of(promtool.args(["check", "rules"]).arg(rules));
}

#[test]
fn alerts_fire_when_they_should_and_only_then() {
    let folder = tempfile::tempdir().unwrap();
    if rules(folder.path()).is_none() {
        return;
    }
    let Some(mut promtool) = tool("promtool") else { return };
    let file = folder.path().join("alerts.yaml");
    fs::copy(project().join("tests/it/chart/alerts.yaml"), &file).unwrap();
    support::stdout_of(promtool.args(["test", "rules"]).arg(file));
}

/// Splits a query at what can be no part of a name.
fn names(query: &str) -> impl Iterator<Item = &str> {
    query
        .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|word| word.starts_with("tilefleet_"))
}

/// The labels that a query asks of our metrics, but those that Prometheus adds.
fn labels(query: &str) -> impl Iterator<Item = &str> {
    let braces = query.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let matched =
        braces.flat_map(|inside| inside.split(',')).filter_map(|matcher| matcher.split(['=', '!']).next());
    let grouped = query
        .split("by (")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .flat_map(|inside| inside.split(','));
    matched.chain(grouped).map(str::trim).filter(|label| !["namespace", "job", "pod"].contains(label))
}

#[test]
fn every_metric_that_alerts_and_dashboard_name_is_served() {
    let Some(manifests) = case("all-else") else { return };
    let groups = at(of_kind(manifests, "PrometheusRule"), "/spec/groups").as_array().unwrap();
    let alerts = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
    let mut queries: Vec<String> = alerts.map(|rule| rule["expr"].as_str().unwrap().to_owned()).collect();
    assert_eq!(queries.len(), 4);
    let is_dashboard = |manifest: &&Value| manifest["data"]["tilefleet.json"].is_string();
    let dashboard = manifests.iter().find(is_dashboard).unwrap()["data"]["tilefleet.json"].as_str().unwrap();
    let dashboard: Value = serde_json::from_str(dashboard).unwrap();
    let targets =
        dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    queries.extend(targets.map(|target| target["expr"].as_str().unwrap().to_owned()));
    let variables = at(&dashboard, "/templating/list").as_array().unwrap();
    queries.extend(variables.iter().filter_map(|variable| Some(variable["query"].as_str()?.to_owned())));
    assert!(queries.len() > 18, "{queries:#?}");

    let progress = Progress::default();
    progress.begin(1, 0);
    let counts = Counts { rejected: 1, reasons: [("corrupt".to_owned(), 1)].into(), ..Default::default() };
    progress.committed(CommittedBy::Ours, &counts, Duration::ZERO);
    let page = metrics(&progress);
    let served: BTreeSet<&str> = page.lines().filter_map(|line| line.split([' ', '{']).next()).collect();
    for query in &queries {
        for name in names(query) {
            assert!(served.contains(name), "{name} of {query} is not in\n{page}");
        }
        for label in labels(query) {
            let is_served = names(query).any(|name| {
                page.lines().any(|line| line.starts_with(name) && line.contains(&format!("{label}=\"")))
            });
            assert!(is_served, "label {label} of {query} is not in\n{page}");
        }
    }
}
