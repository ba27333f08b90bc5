//! What is rendered fits the schemas, and what is made of other files is current.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use super::{
    RENDERED, at, case, chart, examples, of_kind, pod, project, render, root_schema, tool, variable,
};
use crate::support;

#[test]
fn lint_is_strict_for_the_chart_and_its_examples() {
    for values in [None].into_iter().chain(examples().into_iter().map(Some)) {
        let Some(mut helm) = tool("helm") else { return };
        helm.args(["lint", "--strict"]).arg(chart());
        if let Some(values) = &values {
            helm.arg("--values").arg(values);
        }
        support::stdout_of(&mut helm);
    }
}

/// Every manifest of every case, with every version of Kubernetes from the oldest that the chart allows.
#[test]
fn manifests_fit_the_schemas_of_kubernetes_and_of_custom_resources() {
    let Some(rendered_cases) = RENDERED.as_ref() else { return };
    let folder = tempfile::tempdir().unwrap();
    for (name, (yaml, _)) in rendered_cases {
        fs::write(folder.path().join(format!("{name}.yaml")), yaml).unwrap();
    }
    let schemas = project().join(".kube/schemas");
    let location = |version: &str| {
        format!("{}/{version}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json", schemas.display())
    };
    let versions =
        fs::read_dir(&schemas).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let versions: BTreeSet<_> = versions.filter(|version| version.starts_with("1.")).collect();
    assert_eq!(versions.first().map(String::as_str), Some("1.30"), "of kubeVersion in Chart.yaml");
    assert!(versions.len() >= 8, "{versions:?}");
    for version in versions {
        let Some(mut kubeconform) = tool("kubeconform") else { return };
        kubeconform.args(["-strict", "-summary", "-schema-location", &location(&version)]);
        kubeconform.args(["-schema-location", &location("custom")]).arg(folder.path());
        let said = support::stdout_of(&mut kubeconform);
        assert!(said.contains("Invalid: 0, Errors: 0, Skipped: 0"), "{version}: {said}");
    }
}

#[test]
fn without_values_there_is_one_indexed_job() {
    let Some(manifests) = case("none") else { return };
    let kinds: BTreeSet<_> = manifests.iter().map(|manifest| manifest["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, BTreeSet::from(["ConfigMap", "Job", "ServiceAccount"]));
    assert_eq!(of_kind(manifests, "Job")["spec"]["completionMode"], "Indexed");
}

#[test]
fn the_mode_follows_the_gpu() {
    let Some(manifests) = case("gpu") else { return };
    let scaled = of_kind(manifests, "ScaledJob");
    let pod = pod(scaled).unwrap();
    assert_eq!(at(pod, "/spec/containers/0/resources/limits/nvidia.com~1gpu"), "2");
    assert_eq!(at(pod, "/spec/nodeSelector/gpu"), "l4");
    assert_eq!(variable(pod, "TILEFLEET_RUN_PROVIDER")["value"], "cuda");
    // Planning needs none, and must not start a machine that has one.
    let submit = of_kind(manifests, "Job");
    assert!(!submit.to_string().contains("nvidia.com/gpu"), "{submit:#}");
    assert!(!submit.to_string().contains("l4"), "{submit:#}");
}

/// The README and the schema are made of other files, and so is the version.
#[test]
fn what_is_made_of_other_files_is_current() {
    let Some(python) = support::python() else { return };
    support::stdout_of(
        Command::new(python).current_dir(project()).args(["scripts/chart_docs.py", "--check"]),
    );
    let chart = fs::read_to_string(chart().join("Chart.yaml")).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert!(
        chart.contains(&format!("\nversion: {version}\n"))
            && chart.contains(&format!("\nappVersion: \"{version}\"\n"))
    );
}

/// The values that the page begins with are values, and so is whatever else it names.
#[test]
fn the_page_names_values_that_exist() {
    let page = fs::read_to_string(project().join("docs/how-to/run-on-kubernetes.md")).unwrap();
    let first = page.split("<<'END'\n").nth(1).unwrap().split("\nEND\n").next().unwrap();
    let Some(manifests) = render(first) else { return };
    assert_eq!(of_kind(&manifests, "Job")["spec"]["completions"], 8);
    let exists = |name: &str| {
        let mut schema = root_schema();
        name.split('.').all(|key| {
            schema = &schema["properties"][key];
            !schema.is_null()
        })
    };
    let is_name = |word: &&str| {
        word.contains('.') && word.chars().all(|letter| letter.is_ascii_alphabetic() || letter == '.')
    };
    let named: Vec<&str> = page.split('`').skip(1).step_by(2).filter(is_name).collect();
    // `run.memory` and the like are the pipeline's.
    let of_chart = |name: &&&str| !root_schema()["properties"][name.split('.').next().unwrap()].is_null();
    let named: BTreeSet<&str> = named.iter().filter(of_chart).copied().collect();
    assert!(named.len() > 25, "{named:?}");
    let unknown: Vec<_> = named.iter().filter(|name| !exists(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
