//! `tilefleet init`

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use crate::config::{NAME_WITHOUT_FILE, Overrides, Pipeline};
use crate::vocabulary::error::{Error, Result};

const TEMPLATE: &str = include_str!("init.toml");

/// Writes a commented pipeline file; never overwrites one
///
/// The flags fill in input, model and output. Without them the file names `images`, `model.onnx` and `table`; edit
/// these.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilefleet init
  tilefleet init photos.toml --input s3://photos/2026/ \\
      --model resnet152.onnx --output s3://tables/photos")]
pub struct Args {
    /// The file to write; run ids begin with its name
    #[arg(value_name = "FILE", default_value_os_t = PathBuf::from(NAME_WITHOUT_FILE).with_extension("toml"))]
    file: PathBuf,

    /// A folder, file, pattern or URL to read; repeatable
    #[arg(long = "input", value_name = "URI", default_value = "images")]
    inputs: Vec<String>,

    /// The ONNX file
    #[arg(long, value_name = "FILE", default_value = "model.onnx")]
    model: String,

    /// Where the table goes
    #[arg(long, value_name = "URI", default_value = "table")]
    output: String,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let Args { file, .. } = args;
    write_new(file, &pipeline(args)?)?;
    // What is wrong with it is better said now than by the run.
    Pipeline::load(Some(file), &Overrides::default())?;
    println!(
        "{}  written; `tilefleet plan {} --dry-run` counts what it covers",
        file.display(),
        file.display()
    );
    Ok(())
}

/// Fills in the template.
fn pipeline(args: &Args) -> Result<String> {
    let from_file = |place: &String| seen_from(&args.file, place);
    let inputs = args.inputs.iter().map(from_file).collect::<Result<Vec<_>>>()?;
    let text = |place| Ok::<_, Error>(toml::Value::from(from_file(place)?).to_string());
    let values = [
        ("INPUT", toml::Value::from(inputs).to_string()),
        ("MODEL", text(&args.model)?),
        ("OUTPUT", text(&args.output)?),
    ];
    let line = |line: &str| match values.iter().find(|(name, _)| line.contains(&format!("= {name} "))) {
        // The comment stays in its column as far as the value lets it.
        Some((name, value)) => {
            let (key, comment) = line.split_once(name).expect("the line has the name, as was just found");
            format!("{:<28} {}", format!("{key}{value}"), comment.trim_start())
        }
        None => line.to_owned(),
    };
    Ok(TEMPLATE.lines().map(line).collect::<Vec<_>>().join("\n") + "\n")
}

/// Returns a place of the command line, which is relative to the current folder, as the file has to name it.
fn seen_from(file: &Path, place: &str) -> Result<String> {
    let is_beside = file.parent().is_none_or(|folder| folder.as_os_str().is_empty());
    if is_beside || place.contains("://") || place.starts_with("file:") {
        return Ok(place.to_owned());
    }
    let absolute = std::path::absolute(place)
        .map_err(|cause| Error::unavailable("cannot resolve the current folder").because(cause))?;
    Ok(absolute.to_string_lossy().into_owned())
}

fn write_new(file: &Path, text: &str) -> Result<()> {
    let shown = file.display();
    let opened = OpenOptions::new().write(true).create_new(true).open(file);
    match opened.and_then(|mut opened| opened.write_all(text.as_bytes())) {
        Ok(()) => Ok(()),
        Err(cause) if cause.kind() == ErrorKind::AlreadyExists => {
            Err(Error::usage(format!("{shown} already exists; nothing was written"))
                .hint("give another name: `tilefleet init FILE`"))
        }
        Err(cause) if cause.kind() == ErrorKind::StorageFull => {
            Err(Error::unavailable(format!("cannot write {shown}")).because(cause).hint("free some space"))
        }
        Err(cause) => Err(Error::config(format!("cannot write {shown}"))
            .because(cause)
            .hint("give the path of a file in a writable folder")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model_cache::ModelPlace;

    fn args(file: PathBuf, inputs: &[&str]) -> Args {
        let inputs = inputs.iter().map(|&input| input.to_owned()).collect();
        Args { file, inputs, model: "m \"1\".onnx".to_owned(), output: "s3://b/table".to_owned() }
    }

    #[test]
    fn what_is_written_is_a_pipeline_and_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("photos.toml");
        run(&args(file.clone(), &["images", "s3://b/x"])).unwrap();
        let pipeline = Pipeline::load(Some(&file), &Overrides::default()).unwrap().pipeline;
        let here = std::env::current_dir().unwrap();
        assert_eq!(pipeline.name, "photos");
        assert_eq!(pipeline.input.uris, [here.join("images").to_str().unwrap(), "s3://b/x"]);
        assert_eq!(pipeline.model.file, Some(ModelPlace::File(here.join("m \"1\".onnx"))));
        assert_eq!(pipeline.output.uri, "s3://b/table");
        let error = run(&args(file.clone(), &["others"])).unwrap_err();
        assert_eq!(error.kind().exit_code(), 64);
        assert!(std::fs::read_to_string(&file).unwrap().contains("images"));
    }

    /// What the template leaves alone is as if it were missing, and what it has in comments is valid.
    #[test]
    fn the_template_says_the_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let (file, all) = (folder.path().join("a.toml"), folder.path().join("all.toml"));
        run(&args(file.clone(), &["images"])).unwrap();
        let settings =
            |file| crate::config::Loaded::read(Some(file), &Overrides::default()).unwrap().settings.to_json();
        let mut expected = settings(&file);
        std::fs::write(&all, "").unwrap();
        let defaults = settings(&all);
        for name in ["name", "input", "model", "output"] {
            expected[name] = defaults[name].clone();
        }
        assert_eq!(expected, defaults);
        let text = std::fs::read_to_string(&file).unwrap();
        let keys =
            text.lines().filter_map(|line| line.strip_prefix("# ").filter(|line| line.contains(" = ")));
        for line in keys.filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase())) {
            assert!(toml::from_str::<toml::Table>(line).is_ok(), "{line}");
        }
    }
}
