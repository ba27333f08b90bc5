//! `tilefleet config`: the merged configuration and where each value came from.

use serde_json::{Map, Value, json};

use super::pipeline_args::PipelineArgs;
use super::print_json;
use crate::config::{Loaded, Overrides, Setting};
use crate::error::Result;

/// Shows the merged configuration and where each value came from
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  tilefleet config photos.toml
  tilefleet config photos.toml --set run.batch=32 --json")]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,

    /// Print JSON: the values, their origins, and what is missing for a run
    #[arg(long)]
    json: bool,
}

impl From<PipelineArgs> for Overrides {
    fn from(args: PipelineArgs) -> Self {
        let PipelineArgs { inputs, output, model, precision, provider, set, .. } = args;
        Self { inputs, output, model, precision, provider, set }
    }
}

/// Prints the merged configuration, as TOML with an origin on every line or as JSON.
///
/// # Errors
///
/// [`crate::error::Kind::Config`] if a key or value is wrong. A missing one is only noted: flags of a
/// later command may bring it.
pub fn run(args: Args) -> Result<()> {
    let path = args.pipeline.pipeline.clone();
    let loaded = Loaded::read(&path, &args.pipeline.into())?;
    if args.json {
        return print_json(&as_json(&loaded));
    }
    print!("{}", as_toml(&loaded));
    Ok(())
}

fn as_toml(loaded: &Loaded) -> String {
    let assignment = |setting: &Setting| format!("{} = {}", setting.key, setting.value);
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
        lines.push(format!("{:column$}  # {}", assignment(setting), setting.origin));
    }
    let missing = loaded.missing.iter().map(|missing| format!("# for a run there is {missing}"));
    lines.extend(missing);
    lines.join("\n") + "\n"
}

fn as_json(loaded: &Loaded) -> Value {
    let origins = loaded.settings.iter().map(|setting| (setting.name(), json!(setting.origin.to_string())));
    let origins: Map<_, _> = origins.collect();
    json!({ "values": loaded.settings.to_json(), "origins": origins, "missing": loaded.missing })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(set: &[&str]) -> Loaded {
        let folder = tempfile::tempdir().unwrap();
        let pipeline = folder.path().join("job.toml");
        std::fs::write(&pipeline, "[run]\nbatch = 2 # two\n[output]\nuri = \"s3://b/table\"\n").unwrap();
        let set = set.iter().map(ToString::to_string).collect();
        Loaded::read(&pipeline, &Overrides { set, ..Overrides::default() }).unwrap()
    }

    #[test]
    fn every_line_says_where_it_came_from() {
        let text = as_toml(&loaded(&["run.memory=2GiB"]));
        let line = |start: &str| {
            let line = text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{text}"));
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line("name"), "name = \"job\" # file name");
        assert!(line("batch").starts_with("batch = 2 # /") && line("batch").ends_with("/job.toml:2"));
        assert_eq!(line("memory"), "memory = \"2GiB\" # --set run.memory");
        assert_eq!(line("sessions"), "sessions = \"auto\" # default");
        assert_eq!(
            line("# for a run"),
            "# for a run there is no input: give --input URI, or set `input.uris`, `input.manifest` or `search.api`"
        );
    }

    #[test]
    fn what_is_printed_is_a_pipeline_file_again() {
        let folder = tempfile::tempdir().unwrap();
        let again = folder.path().join("job.toml");
        std::fs::write(&again, as_toml(&loaded(&[]))).unwrap();
        let loaded = Loaded::read(&again, &Overrides::default()).unwrap();
        assert_eq!(loaded.pipeline.run.batch, std::num::NonZeroUsize::new(2));
        assert_eq!(loaded.pipeline.output.uri, "s3://b/table");
    }

    #[test]
    fn json_holds_values_origins_and_what_is_missing() {
        let json = as_json(&loaded(&["storage.anonymous=true"]));
        assert_eq!(json["values"]["run"]["batch"], 2);
        assert_eq!(json["values"]["name"], "job");
        assert_eq!(json["values"]["storage"]["anonymous"], true);
        assert_eq!(json["origins"]["storage.anonymous"], "--set storage.anonymous");
        assert_eq!(json["missing"].as_array().unwrap().len(), 2);
    }
}
