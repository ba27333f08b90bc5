//! `tilefleet config`: the merged configuration and where each value came from.

use serde_json::{Map, Value, json};

use super::pipeline_args::PipelineArgs;
use super::print_json;
use crate::config::{Loaded, Overrides, Setting, Variable};
use crate::vocabulary::error::Result;

/// Shows the merged configuration and where each value came from
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  tilefleet config photos.toml
  tilefleet config photos.toml --set run.batch=32 --json")]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,

    /// Print JSON: the values, their origins, environment variables that apply, and what a run still needs
    #[arg(long)]
    json: bool,
}

impl From<PipelineArgs> for Overrides {
    fn from(args: PipelineArgs) -> Self {
        let PipelineArgs { pipeline: _, inputs, output, model, precision, provider, aoi, dates, limit, set } =
            args;
        Self { inputs, output, model, precision, provider, aoi, dates, limit, set }
    }
}

/// Prints the merged configuration, as TOML with an origin on every line or as JSON.
///
/// # Errors
///
/// [`crate::vocabulary::error::Kind::Config`] if a key or value is wrong. A missing one is only noted: flags of a
/// later command may bring it.
pub fn run(args: Args) -> Result<()> {
    let path = args.pipeline.pipeline.clone();
    let loaded = Loaded::read(path.as_deref(), &args.pipeline.into())?;
    let variables = loaded.deciding_variables();
    if args.json {
        return print_json(&as_json(&loaded, &variables));
    }
    print!("{}", as_toml(&loaded, &variables));
    Ok(())
}

fn as_toml(loaded: &Loaded, variables: &[Variable]) -> String {
    let assignment = |setting: &Setting| format!("{} = {}", setting.key, setting.shown());
    // Long values may stick out; the others keep their origins in one column.
    let widths = loaded.settings.iter().map(|setting| assignment(setting).chars().count());
    let column = widths.filter(|&width| width <= 48).max().unwrap_or_default();
    let mut lines = Vec::new();
    let mut section = "";
    for setting in loaded.settings.iter() {
        if setting.section != section {
            section = &setting.section;
            lines.extend([String::new(), format!("[{section}]")]);
        }
        let decides = variables.iter().find(|variable| variable.decides == Some(&setting.name()));
        let instead = decides.map(|variable| format!(", so {} decides: {}", variable.name, shown(variable)));
        let origin = format!("{}{}", setting.origin, instead.unwrap_or_default());
        lines.push(format!("{:column$}  # {origin}", assignment(setting)));
    }
    let others: Vec<&Variable> = variables.iter().filter(|variable| variable.decides.is_none()).collect();
    if !others.is_empty() {
        lines.extend([
            String::new(),
            "# set in the environment, for stores, proxies and the runtime:".to_owned(),
        ]);
        lines.extend(others.iter().map(|variable| format!("# {} = {}", variable.name, shown(variable))));
    }
    let missing = loaded.missing.iter().map(|missing| format!("# a run cannot start: {missing}"));
    lines.extend(missing);
    lines.join("\n") + "\n"
}

/// Shows a variable's value in one line, unless it may be a secret.
fn shown(variable: &Variable) -> String {
    let value = variable.value.as_ref().map(|value| toml::Value::from(value.replace(['\n', '\r'], " ")));
    value.map_or_else(|| "(a secret)".to_owned(), |value| value.to_string())
}

fn as_json(loaded: &Loaded, variables: &[Variable]) -> Value {
    let origins = loaded.settings.iter().map(|setting| (setting.name(), json!(setting.origin.to_string())));
    let origins: Map<_, _> = origins.collect();
    let told = |Variable { name, value, decides }: &Variable| {
        let value = value.as_deref().unwrap_or("(a secret)");
        json!({ "name": name, "value": value, "decides": decides })
    };
    let environment: Vec<Value> = variables.iter().map(told).collect();
    let values = loaded.settings.to_json();
    json!({ "values": values, "origins": origins, "environment": environment, "missing": loaded.missing })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(set: &[&str]) -> Loaded {
        let folder = tempfile::tempdir().unwrap();
        let pipeline = folder.path().join("job.toml");
        std::fs::write(&pipeline, "[run]\nbatch = 2 # two\n[output]\nuri = \"s3://b/table\"\n").unwrap();
        let set = set.iter().map(ToString::to_string).collect();
        Loaded::read(Some(&pipeline), &Overrides { set, ..Overrides::default() }).unwrap()
    }

    #[test]
    fn every_line_says_where_it_came_from() {
        let text = as_toml(&loaded(&["run.memory=2GiB"]), &[]);
        let line = |start: &str| {
            let line = text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{text}"));
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line("name"), "name = \"job\" # file name");
        assert!(line("batch").starts_with("batch = 2 # /") && line("batch").ends_with("/job.toml:2"));
        assert_eq!(line("memory"), "memory = \"2GiB\" # --set run.memory");
        assert_eq!(line("sessions"), "sessions = \"auto\" # default");
        assert_eq!(
            line("# a run cannot"),
            "# a run cannot start: no input: give --input URI, or set `input.uris`, `input.manifest` or \
             `input.stac.api`"
        );
    }

    #[test]
    fn what_is_printed_is_a_pipeline_file_again() {
        let folder = tempfile::tempdir().unwrap();
        let again = folder.path().join("job.toml");
        std::fs::write(&again, as_toml(&loaded(&[]), &variables())).unwrap();
        let loaded = Loaded::read(Some(&again), &Overrides::default()).unwrap();
        assert_eq!(loaded.pipeline.run.batch, std::num::NonZeroUsize::new(2));
        assert_eq!(loaded.pipeline.output.uri, "s3://b/table");
    }

    #[test]
    fn json_holds_values_origins_and_what_is_missing() {
        let json = as_json(&loaded(&["storage.anonymous=true"]), &variables());
        assert_eq!(json["values"]["run"]["batch"], 2);
        assert_eq!(json["values"]["name"], "job");
        assert_eq!(json["values"]["storage"]["anonymous"], true);
        assert_eq!(json["origins"]["storage.anonymous"], "--set storage.anonymous");
        assert_eq!(json["missing"].as_array().unwrap().len(), 2);
        assert_eq!(json["environment"][0]["decides"], "storage.endpoint");
        assert_eq!(json["environment"][1]["value"], "(a secret)");
    }

    fn variables() -> Vec<Variable> {
        let endpoint = Variable {
            name: "AWS_ENDPOINT_URL".to_owned(),
            value: Some("http://localhost:9000".to_owned()),
            decides: Some("storage.endpoint"),
        };
        let key = Variable { name: "AWS_SECRET_ACCESS_KEY".to_owned(), value: None, decides: None };
        vec![endpoint, key]
    }

    #[test]
    fn variables_that_decide_are_named() {
        let text = as_toml(&loaded(&[]), &variables());
        let endpoint = text.lines().find(|line| line.starts_with("endpoint = ")).unwrap();
        assert!(
            endpoint.ends_with("# default, so AWS_ENDPOINT_URL decides: \"http://localhost:9000\""),
            "{endpoint}"
        );
        assert!(
            text.ends_with(
                "# AWS_SECRET_ACCESS_KEY = (a secret)\n# a run cannot start: no input: \
             give --input URI, or set `input.uris`, `input.manifest` or `input.stac.api`\n# a run cannot \
                 start: no model: give --model FILE, or set `model.file`\n"
            ),
            "{text}"
        );
    }
}
