//! The pipeline file: layers of settings in, one checked [`Pipeline`] out.
//!
//! Every command that names a pipeline calls [`Pipeline::load`]. Past this room nobody sees an
//! unchecked value, and values carry their units. No secret is ever part of the configuration.
//!
//! ```text
//! default.toml ◀─ pipeline file ◀─ TILEFLEET_SECTION_KEY ◀─ --set ◀─ --input, --output, --model, …
//! ```
//!
//! The rightmost value wins. Local paths in the pipeline file are relative to the file, those in the
//! environment and in flags to the current folder.
//!
//! A new key needs a line in `default.toml`, a field in [`Pipeline`] and the line that reads it.

mod grid;
mod pipeline;
mod privacy;
mod settings;
mod value;
mod variables;

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use toml::Value;

use crate::input::storage::StorageOptions;
use crate::scene::{BurnedIn, FrameTiling};
use crate::vocabulary::error::{Error, Kind, Result};

pub use grid::{Grid, TilesSection};
pub use pipeline::{
    EmbeddingType, Input, Isolate, Limits, Model, NAME_WITHOUT_FILE, Observe, Output, Pipeline, Plan, Queue,
    Run, StacInput, Tiles, Unreadable, is_pipeline_name, shown_addresses,
};
pub use privacy::{Dates, KEY_VARIABLE, Privacy, PrivacyPolicy, Secrets, read_key};
pub use settings::{Origin, Setting, Settings};
pub use variables::Variable;

/// What the command line sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--input`, repeatable: replaces `input.uris`, `input.manifest` and `input.stac.api`.
    pub inputs: Vec<String>,
    /// `--output`: replaces `output.uri`.
    pub output: Option<String>,
    /// `--model`: replaces `model.file`.
    pub model: Option<PathBuf>,
    /// `--precision`: replaces `run.precision`.
    pub precision: Option<String>,
    /// `--provider`: replaces `run.provider`.
    pub provider: Option<String>,
    /// `--aoi`: replaces `tiles.aoi`.
    pub aoi: Option<String>,
    /// `--dates`: replaces `input.stac.dates`.
    pub dates: Option<String>,
    /// `--limit`: replaces `input.limit`.
    pub limit: Option<NonZeroU32>,
    /// `--set section.key=value`, repeatable, in order.
    pub set: Vec<String>,
}

/// A pipeline, and where each of its values came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The checked pipeline.
    pub pipeline: Pipeline,
    /// Every setting with its origin, in the order of the defaults; local paths are absolute.
    pub settings: Settings,
    /// What a run still needs, one sentence each; empty after [`Pipeline::load`].
    pub missing: Vec<String>,
}

impl Pipeline {
    /// Loads a pipeline file, if there is one, under the environment and the flags.
    ///
    /// ```
    /// use std::path::Path;
    ///
    /// use tilefleet::config::{Overrides, Pipeline};
    ///
    /// let overrides = Overrides {
    ///     inputs: vec!["s3://photos/2026/".into()],
    ///     output: Some("s3://tables/photos".into()),
    ///     model: Some("resnet152.onnx".into()),
    ///     set: vec!["output.top_k=3".into()],
    ///     ..Overrides::default()
    /// };
    /// let loaded = Pipeline::load(Some(Path::new("pipelines/tiles.toml")), &overrides)?;
    /// assert_eq!((loaded.pipeline.name.as_str(), loaded.pipeline.output.top_k), ("tiles", 3));
    ///
    /// let error = Pipeline::load(Some(Path::new("pipelines/tiles.toml")), &Overrides::default()).unwrap_err();
    /// assert!(error.to_string().starts_with("the pipeline `pipelines/tiles.toml` has no input"));
    /// # Ok::<(), tilefleet::vocabulary::error::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Kind::Config`] if the file cannot be read, a key or value is wrong, or input, model or output
    /// is missing; [`Kind::Usage`] if a `--set` has no `=`, or something is missing and there is no file.
    pub fn load(path: Option<&Path>, overrides: &Overrides) -> Result<Loaded> {
        let loaded = Loaded::read(path, overrides)?;
        loaded.pipeline.privacy.as_ref().map_or(Ok(()), Privacy::check_complete)?;
        match (loaded.missing.first(), path) {
            (None, _) => Ok(loaded),
            (Some(missing), Some(path)) => {
                Err(Error::config(format!("the pipeline `{}` has {missing}", path.display()))
                    .hint("`tilefleet config PIPELINE` shows all values and where they came from"))
            }
            (Some(missing), None) => Err(Error::usage(format!("no pipeline file is given, and {missing}"))
                .hint("without a file give --input, --model and --output; `tilefleet init` writes a file")),
        }
    }
}

impl Pipeline {
    /// Returns the pipeline that the record of a run holds, and nothing else.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`] if a key or value is wrong.
    pub fn recorded(record: &serde_json::Value, run: &str) -> Result<Self> {
        let mut settings = Settings::defaults();
        settings.lay_record(record, run)?;
        Self::check(&settings)
    }
}

impl Loaded {
    /// Loads a pipeline as [`Pipeline::load`] does, but leaves it to the caller what to think of
    /// missing values: for looking, not for running.
    ///
    /// # Errors
    ///
    /// As [`Pipeline::load`], but for missing values.
    pub fn read(path: Option<&Path>, overrides: &Overrides) -> Result<Self> {
        let read = |path| std::fs::read_to_string(path).map_err(|cause| unreadable(path, cause));
        let file = path.map(|path| Ok::<_, Error>((path, read(path)?))).transpose()?;
        let folder = std::env::current_dir()
            .map_err(|cause| Error::unavailable("cannot resolve the current folder").because(cause))?;
        let file = file.as_ref().map(|(path, text)| (*path, text.as_str()));
        Self::merge(file, &environment(), overrides, &folder)
    }

    /// Loads the pipeline that the record of a run holds, under the environment and the flags: they say where
    /// things lie today.
    ///
    /// - `record`: all settings as nested JSON, as [`Settings::to_json`] wrote them
    ///
    /// # Errors
    ///
    /// [`Kind::Config`] if a key or value is wrong, or something that a run needs is missing.
    pub fn of_record(record: &serde_json::Value, run: &str, overrides: &Overrides) -> Result<Self> {
        let mut settings = Settings::defaults();
        settings.lay_record(record, run)?;
        settings.lay_environment(&environment())?;
        for assignment in &overrides.set {
            settings.lay_assignment(assignment)?;
        }
        lay_flags(&mut settings, overrides)?;
        let folder = std::env::current_dir()
            .map_err(|cause| Error::unavailable("cannot resolve the current folder").because(cause))?;
        pipeline::resolve_paths(&mut settings, None, &folder)?;
        let pipeline = Pipeline::check(&settings)?;
        pipeline.privacy.as_ref().map_or(Ok(()), Privacy::check_complete).map_err(|error| {
            let what =
                format!("run {run} has pseudonyms, and its record tells neither their key nor their vault");
            Error::new(error.kind(), what).because(error).hint(format!(
                "give them with --set privacy.vault=URI --set privacy.key_file=FILE, or {KEY_VARIABLE}"
            ))
        })?;
        match pipeline.missing().first() {
            None => Ok(Self { pipeline, settings, missing: Vec::new() }),
            Some(missing) => Err(Error::config(format!("the record of run {run} has {missing}"))),
        }
    }

    /// Returns the environment variables of others that decide what the pipeline leaves open, in order of name.
    #[must_use]
    pub fn deciding_variables(&self) -> Vec<Variable> {
        let Pipeline { storage, privacy, .. } = &self.pipeline;
        let needs_key =
            |it: &Privacy| it.policy == PrivacyPolicy::Pseudonyms && it.secrets.key_file.is_none();
        variables::deciding(storage, privacy.as_ref().is_some_and(needs_key), &environment())
    }

    /// - `file`: the pipeline file and its text
    fn merge(
        file: Option<(&Path, &str)>,
        environment: &[(String, String)],
        overrides: &Overrides,
        folder: &Path,
    ) -> Result<Self> {
        let mut settings = Settings::defaults();
        if let Some((path, text)) = file {
            settings.lay_file(path, text)?;
        }
        settings.lay_environment(environment)?;
        for assignment in &overrides.set {
            settings.lay_assignment(assignment)?;
        }
        lay_flags(&mut settings, overrides)?;
        let path = file.map(|(path, _)| path);
        pipeline::name_after_file(&mut settings, path);
        pipeline::resolve_paths(&mut settings, path, folder)?;
        let pipeline = Pipeline::check(&settings)?;
        let missing = pipeline.missing();
        Ok(Self { pipeline, settings, missing })
    }
}

/// Returns `[storage]` for a command that has no pipeline file: defaults, `TILEFLEET_STORAGE_KEY`, then
/// `storage.key=value` as given with `--set`.
///
/// # Errors
///
/// [`Kind::Config`] if a key is unknown or of another section, or a value is wrong; [`Kind::Usage`] if
/// an assignment has no `=`.
pub fn storage_options(set: &[String]) -> Result<StorageOptions> {
    merge_storage(&environment(), set)
}

fn merge_storage(environment: &[(String, String)], set: &[String]) -> Result<StorageOptions> {
    pipeline::storage(&merge_sections(&["storage"], environment, set)?)
}

/// Returns where the key and the vault of an output are, for a command that has no pipeline file, as [`storage_options`]
/// does.
///
/// # Errors
///
/// As [`storage_options`].
pub fn secrets(set: &[String]) -> Result<Secrets> {
    Secrets::read(&merge_sections(&["privacy"], &environment(), set)?)
}

/// What a command needs that looks at single sources, without a pipeline file.
#[derive(Clone, Debug, PartialEq)]
pub struct InspectOptions {
    /// `[storage]`
    pub storage: StorageOptions,
    /// `[limits]`
    pub limits: Limits,
    /// `[tiles]`
    pub tiles: Tiles,
    /// How sources become tiles.
    pub grid: Grid,
    /// How scenes would be cut into windows if they were, where they are not; `None`: nobody asks.
    pub other_grid: Option<TilesSection>,
    /// What `[tiles]` and `[dicom]` say of DICOM objects, whose frames are tiles whatever the grid.
    pub frames: FrameTiling,
    /// What a run does with images that may have text burned in.
    pub burned_in: BurnedIn,
    /// `[input.stac]`; nothing is searched.
    pub stac: StacInput,
}

/// Returns the settings of [`InspectOptions`] as [`storage_options`] does.
///
/// # Errors
///
/// As [`storage_options`].
pub fn looking(set: &[String]) -> Result<InspectOptions> {
    let sections = ["input", "input.stac", "tiles", "dicom", "privacy", "limits", "storage"];
    let settings = merge_sections(&sections, &environment(), set)?;
    refuse_other_input(set)?;
    pipeline::looking(&settings)
}

/// Refuses flags that say where input lies: whoever looks names it.
fn refuse_other_input(set: &[String]) -> Result<()> {
    let name = |assignment: &String| assignment.split_once('=').map(|(name, _)| name.trim().to_owned());
    let is_input = |name: &String| ["input.", "search."].iter().any(|prefix| name.starts_with(prefix));
    let selects = |name: &String| {
        let key = name.trim_start_matches("input.").trim_start_matches("stac.");
        name.starts_with("input.") && ["dates", "max_cloud_cover"].contains(&key)
    };
    match set.iter().filter_map(name).find(|name| is_input(name) && !selects(name)) {
        None => Ok(()),
        Some(name) => Err(Error::config(format!("`{name}` has no effect here"))
            .hint("give the sources as arguments; of [input] only stac.dates and stac.max_cloud_cover have an effect")),
    }
}

fn merge_sections(sections: &[&str], environment: &[(String, String)], set: &[String]) -> Result<Settings> {
    let mut settings = Settings::defaults_of(sections);
    settings.lay_environment(environment)?;
    for assignment in set {
        settings.lay_assignment(assignment)?;
    }
    Ok(settings)
}

fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

fn unreadable(path: &Path, cause: std::io::Error) -> Error {
    use std::io::ErrorKind::{InvalidData, IsADirectory};
    let shown = path.display();
    if let InvalidData | IsADirectory = cause.kind() {
        let what = if cause.kind() == IsADirectory { "a folder" } else { "not a text file" };
        return Error::config(format!("`{shown}` is not a pipeline file: it is {what}")).hint(format!(
            "a pipeline is a TOML file; to read images without one give --input {shown}, --model and --output"
        ));
    }
    Error::new(kind_of(&cause), format!("cannot read the pipeline file `{shown}`"))
        .because(cause)
        .hint("give the path of a TOML file; those in pipelines/ are examples")
}

/// An unreadable pipeline file is the person's to mend, unless the disk is in trouble.
fn kind_of(cause: &std::io::Error) -> Kind {
    use std::io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    match cause.kind() {
        NotFound | PermissionDenied | NotADirectory => Kind::Config,
        _ => Kind::Unavailable,
    }
}

fn lay_flags(settings: &mut Settings, overrides: &Overrides) -> Result<()> {
    let model = overrides.model.as_deref().map(utf8).transpose()?;
    let flags = [
        ("--output", "output", "uri", overrides.output.as_deref()),
        ("--model", "model", "file", model),
        ("--precision", "run", "precision", overrides.precision.as_deref()),
        ("--provider", "run", "provider", overrides.provider.as_deref()),
        ("--aoi", "tiles", "aoi", overrides.aoi.as_deref()),
        ("--dates", "input.stac", "dates", overrides.dates.as_deref()),
    ];
    for (flag, section, key, value) in flags {
        if let Some(value) = value {
            settings.set(section, key, value.into(), Origin::Flag(flag.into()), None)?;
        }
    }
    if let Some(limit) = overrides.limit {
        settings.set(
            "input",
            "limit",
            i64::from(limit.get()).into(),
            Origin::Flag("--limit".into()),
            None,
        )?;
    }
    if !overrides.inputs.is_empty() {
        let (uris, flag) = (Value::from(overrides.inputs.clone()), || Origin::Flag("--input".into()));
        settings.set("input", "uris", uris, flag(), None)?;
        // They are all that there is to be read.
        for (section, key) in [("input", "manifest"), ("input.stac", "api")] {
            if settings.get(&format!("{section}.{key}")).value.as_str() != Some("") {
                settings.set(section, key, "".into(), flag(), None)?;
            }
        }
    }
    Ok(())
}

fn utf8(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| Error::config(format!("the path `{}` is not UTF-8", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model_cache::ModelPlace;
    use crate::vocabulary::contract::AcceptGrey;

    const SPINE: &str = "[input]\nuris = [\"images\", \"s3://b/a\"]\n[model]\nfile = \"m.onnx\"\n\
                         [output]\nuri = \"../table\"\n";

    fn merged(text: &str, environment: &[(&str, &str)], overrides: &Overrides) -> Result<Loaded> {
        let environment: Vec<_> =
            environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let file = Some((Path::new("jobs/tiles.toml"), text));
        Loaded::merge(file, &environment, overrides, Path::new("/srv"))
    }

    fn local(path: &str) -> ModelPlace {
        ModelPlace::File(path.into())
    }

    fn origin(loaded: &Loaded, name: &str) -> String {
        loaded.settings.get(name).origin.to_string()
    }

    fn set(assignment: &str) -> Overrides {
        Overrides { set: vec![assignment.into()], ..Overrides::default() }
    }

    #[test]
    fn each_layer_covers_the_one_below() {
        let file = format!("{SPINE}[run]\nbatch = 1\nsessions = 1\nthreads = 1\nmemory = \"1MiB\"\n");
        let environment = [
            ("TILEFLEET_RUN_SESSIONS", "2"),
            ("TILEFLEET_RUN_THREADS", "2"),
            ("TILEFLEET_OUTPUT_URI", "env"),
        ];
        let overrides = Overrides { output: Some("flag".into()), ..set("run.threads=3") };
        let loaded = merged(&file, &environment, &overrides).unwrap();
        let run = &loaded.pipeline.run;
        let counts = [run.batch, run.sessions, run.threads].map(|count| count.unwrap().get());
        assert_eq!(counts, [1, 2, 3]);
        assert_eq!(loaded.pipeline.output.uri, "/srv/flag");
        assert_eq!(origin(&loaded, "run.fetch_concurrency"), "default");
        assert_eq!(origin(&loaded, "run.batch"), "jobs/tiles.toml:8");
        assert_eq!(origin(&loaded, "run.sessions"), "TILEFLEET_RUN_SESSIONS");
        assert_eq!(origin(&loaded, "run.threads"), "--set run.threads");
        assert_eq!(origin(&loaded, "output.uri"), "--output");
    }

    #[test]
    fn paths_are_relative_to_where_they_were_written() {
        let loaded = merged(SPINE, &[], &Overrides::default()).unwrap();
        assert_eq!(loaded.pipeline.input.uris, ["/srv/jobs/images", "s3://b/a"]);
        assert_eq!(loaded.pipeline.model.file, Some(local("/srv/jobs/m.onnx")));
        assert_eq!(loaded.pipeline.output.uri, "/srv/table");
        let overrides = Overrides {
            inputs: vec!["more/*.jpg".into(), "./b/".into()],
            output: Some("https://host/a/../b".into()),
            model: Some("/models/m.onnx".into()),
            ..Overrides::default()
        };
        let loaded = merged(SPINE, &[], &overrides).unwrap();
        assert_eq!(loaded.pipeline.input.uris, ["/srv/more/*.jpg", "/srv/b"]);
        assert_eq!(loaded.pipeline.output.uri, "https://host/a/../b");
        assert_eq!(loaded.pipeline.model.file, Some(local("/models/m.onnx")));
        assert_eq!(origin(&loaded, "input.uris"), "--input");
    }

    #[test]
    fn the_run_is_named_after_the_file_unless_it_says_otherwise() {
        let loaded = merged(SPINE, &[], &Overrides::default()).unwrap();
        assert_eq!((loaded.pipeline.name.as_str(), origin(&loaded, "name").as_str()), ("tiles", "file name"));
        let named = merged(SPINE, &[("TILEFLEET_NAME", "nightly")], &Overrides::default()).unwrap();
        assert_eq!(named.pipeline.name, "nightly");
        let error = merged(SPINE, &[], &set("name=Nightly Run")).unwrap_err();
        assert_eq!(
            error.render(),
            "error: `name` must be a lower-case letter and up to 40 letters, digits or hyphens, not the string \
             \"Nightly Run\" (--set name)"
        );
    }

    #[test]
    fn what_a_run_needs_must_be_there() {
        let missing = |text: &str| merged(text, &[], &Overrides::default()).unwrap().missing;
        assert_eq!(missing(SPINE), Vec::<String>::new());
        assert_eq!(
            missing(""),
            [
                "no input: give --input URI, or set `input.uris`, `input.manifest` or `input.stac.api`",
                "no model: give --model FILE, or set `model.file`",
                "no output: give --output URI, or set `output.uri`",
            ]
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("job.toml");
        std::fs::write(&path, "").unwrap();
        let error = Pipeline::load(Some(&path), &Overrides::default()).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        assert!(error.to_string().contains("has no input: give --input URI"), "{error}");
    }

    /// Every key has a default but three, and these have flags.
    #[test]
    fn flags_alone_make_a_pipeline() {
        let flags = Overrides {
            inputs: vec!["images".into()],
            output: Some("table".into()),
            model: Some("m.onnx".into()),
            aoi: Some("area.geojson".into()),
            dates: Some("2024-05-01/..".into()),
            set: vec!["tiles.grid=regular".into()],
            ..Overrides::default()
        };
        let merged = |flags: &Overrides| Loaded::merge(None, &[], flags, Path::new("/srv"));
        let loaded = merged(&flags).unwrap();
        assert_eq!(loaded.missing, Vec::<String>::new());
        assert_eq!((loaded.pipeline.name.as_str(), origin(&loaded, "name").as_str()), ("tiles", "no file"));
        assert_eq!(loaded.pipeline.input.uris, ["/srv/images"]);
        assert_eq!(loaded.pipeline.model.file, Some(local("/srv/m.onnx")));
        assert_eq!(loaded.pipeline.output.uri, "/srv/table");
        assert_eq!(loaded.pipeline.input.stac.dates.as_deref(), Some("2024-05-01/.."));
        let aoi = loaded.settings.get("tiles.aoi");
        assert_eq!(
            (aoi.value.as_str(), origin(&loaded, "tiles.aoi").as_str()),
            (Some("/srv/area.geojson"), "--aoi")
        );
        // What is recorded reads back as the same pipeline.
        assert_eq!(Pipeline::recorded(&loaded.settings.to_json(), "r").unwrap(), loaded.pipeline);

        let error = Pipeline::load(None, &Overrides::default()).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert!(
            error.render().starts_with("error: no pipeline file is given, and no input: give --input URI"),
            "{}",
            error.render()
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = Pipeline::load(Some(Path::new("/nowhere/job.toml")), &Overrides::default()).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        assert!(error.to_string().contains("cannot read the pipeline file `/nowhere/job.toml`"), "{error}");
    }

    #[test]
    fn input_and_manifest_exclude_each_other() {
        let error = merged(SPINE, &[], &set("input.manifest=list.csv")).unwrap_err();
        assert_eq!(
            error.render(),
            "error: `input.uris` (jobs/tiles.toml:2) and `input.manifest` (--set input.manifest) are both set\n  \
             hint: a run has one or the other; empty one with --set input.manifest= or --set input.uris=[]"
        );
        let manifest = merged("[input]\nmanifest = \"list.csv\"\n", &[], &set("input.uris=[]")).unwrap();
        assert_eq!(manifest.pipeline.input.manifest.as_deref(), Some("/srv/jobs/list.csv"));
    }

    #[test]
    fn an_input_replaces_manifest_and_search() {
        let overrides = Overrides { inputs: vec!["item.json".into()], ..Overrides::default() };
        let text = "[input]\nmanifest = \"list.csv\"\n[search]\napi = \"https://h/v1\"\n";
        let loaded = merged(text, &[], &overrides).unwrap();
        let Input { uris, manifest, stac, .. } = &loaded.pipeline.input;
        assert_eq!(
            (uris.as_slice(), manifest, &stac.api),
            (&["/srv/item.json".to_owned()][..], &None, &None)
        );
        assert_eq!(origin(&loaded, "input.stac.api"), "--input");
        assert_eq!(origin(&merged("", &[], &overrides).unwrap(), "input.stac.api"), "default");
    }

    #[test]
    fn lists_take_commas_and_say_how() {
        let bands = |assignment: &str| {
            let windows = format!("{SPINE}[tiles]\ngrid = \"regular\"\n");
            merged(&windows, &[], &set(assignment))
                .map(|loaded| loaded.pipeline.grid.windows().unwrap().bands.clone())
        };
        assert_eq!(bands("tiles.bands=1,2,B8A").unwrap(), ["1", "2", "B8A"]);
        let text = bands("tiles.cloud_values=3,high").unwrap_err().render();
        assert!(text.contains("hint: write --set tiles.cloud_values=A,B or"), "{text}");
        let text = bands("tiles.scale=0.5,0,1").unwrap_err().render();
        assert!(text.contains("`tiles.scale` must be a number other than 0"), "{text}");
        let inputs = merged(SPINE, &[], &set("input.uris=2023, s3://b/x")).unwrap().pipeline.input.uris;
        assert_eq!(inputs, ["/srv/2023", "s3://b/x"]);
    }

    #[test]
    fn an_image_is_no_pipeline_file() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("a.jpg");
        std::fs::write(&image, [0xff, 0xd8, 0xff]).unwrap();
        let error = Pipeline::load(Some(&image), &Overrides::default()).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        let text = error.render();
        assert!(text.contains("a.jpg` is not a pipeline file: it is not a text file"), "{text}");
        assert!(text.contains("--input"), "{text}");
        let error = Pipeline::load(Some(folder.path()), &Overrides::default()).unwrap_err();
        assert!(error.render().contains("it is a folder"), "{}", error.render());
    }

    #[test]
    fn an_unknown_provider_names_the_known_ones() {
        let text = |assignment: &str| merged(SPINE, &[], &set(assignment)).unwrap_err().render();
        assert_eq!(
            text("run.provider=gpu"),
            "error: `run.provider` must be \"cpu\" or \"cuda\" or \"tensorrt\", not the string \"gpu\" (--set \
             run.provider)"
        );
    }

    #[test]
    fn wrong_values_are_explained() {
        let text = |assignment: &str| merged(SPINE, &[], &set(assignment)).unwrap_err().to_string();
        assert_eq!(
            text("run.batch=0"),
            "`run.batch` must be \"auto\" or a whole number of at least 1, not the integer 0 (--set run.batch)"
        );
        assert_eq!(
            text("run.devices=[0, 0]"),
            "`run.devices` must be \"all\" or a list of different numbers, such as [0, 1], not a list (--set \
             run.devices)"
        );
        assert!(
            text("tensorrt.optimisation=6")
                .starts_with("`tensorrt.optimisation` must be a whole number from 0")
        );
        assert_eq!(text("cuda.prefer_nhcw=true"), "unknown key `cuda.prefer_nhcw` (--set cuda.prefer_nhcw)");
        assert_eq!(
            text("tiles.grey=maybe"),
            "`tiles.grey` must be \"contract\" or \"replicate\" or \"reject\", not the string \"maybe\" \
             (--set tiles.grey)"
        );
        assert_eq!(
            text("limits.max_reject_ratio=10%"),
            "`limits.max_reject_ratio` must be a number from 0 to 1, not the string \"10%\" \
             (--set limits.max_reject_ratio)"
        );
        assert_eq!(
            text("run.probe_tolerance=0"),
            "`run.probe_tolerance` must be \"auto\" or a number above 0, at most 1, not the integer 0 (--set \
             run.probe_tolerance)"
        );
        assert_eq!(
            text("run.max_wait=50"),
            "`run.max_wait` must be a duration such as \"50ms\" or \"2m 30s\", not the integer 50 \
             (--set run.max_wait)"
        );
        let shard_tiles = "`plan.shard_tiles` must be \"auto\" or a whole number from 1 to 1000000, not the integer 2000000";
        assert!(text("plan.shard_tiles=2000000").starts_with(shard_tiles));
        assert!(text("storage.endpoint=s3://host").contains("`storage.endpoint`"));
    }

    /// Commands that look at an output take what `run` takes, as far as it is about access.
    #[test]
    fn storage_can_be_set_without_a_pipeline() {
        let environment = [("TILEFLEET_STORAGE_REGION", "eu"), ("TILEFLEET_RUN_BATCH", "no number")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let merged = |set: &[&str]| {
            let set: Vec<String> = set.iter().map(|&text| text.to_owned()).collect();
            merge_storage(&environment, &set)
        };
        let options = merged(&["storage.max_retries=3"]).unwrap();
        assert_eq!((options.region.as_deref(), options.max_retries), (Some("eu"), 3));
        let region = merged(&["storage.region=us"]).unwrap().region;
        assert_eq!(region.as_deref(), Some("us"));
        let refused = |assignment: &str| {
            let error = merged(&[assignment]).unwrap_err();
            assert_eq!(error.kind(), if assignment.contains('=') { Kind::Config } else { Kind::Usage });
            error.render()
        };
        assert!(refused("storage.endpont=x").ends_with("hint: did you mean `storage.endpoint`?"));
        assert!(refused("endpoint=x").ends_with("hint: did you mean `storage.endpoint`?"));
        assert!(refused("run.batch=3").ends_with("hint: only the keys of [storage] can be set here"));
        assert!(refused("batch=3").ends_with("hint: only the keys of [storage] can be set here"));
        assert!(refused("storage.region").contains("has no value"));
    }

    #[test]
    fn limits_and_conversions_can_be_set_for_looking() {
        let set = ["limits.max_pixels=5", "tiles.grey=reject"].map(str::to_owned);
        let found = looking(&set).unwrap();
        assert_eq!((found.limits.max_pixels, found.tiles.grey), (5, Some(AcceptGrey::Reject)));
        let refused = |assignment: &str| looking(&[assignment.to_owned()]).unwrap_err().render();
        assert!(
            refused("run.batch=3").ends_with(
                "hint: the sections are input, input.stac, tiles, dicom, privacy, limits, storage"
            )
        );
        let hint = "hint: only the keys of [input], [input.stac], [tiles], [dicom], [privacy], [limits], [storage] can be set here";
        assert!(refused("batch=3").ends_with(hint));
        assert!(refused("input.uris=a").starts_with("error: `input.uris` has no effect here"));
        let clouds = looking(&["input.max_cloud_cover=20".to_owned()]).unwrap().stac.max_cloud_cover;
        assert_eq!(clouds, 20);
    }

    #[test]
    fn the_shipped_pipelines_are_right() {
        let folder = tilefleet_testing::project().join("pipelines");
        let entries = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
        let files: Vec<_> =
            entries.filter(|file| file.extension().is_some_and(|end| end == "toml")).collect();
        assert!(files.len() >= 4, "{files:?}");
        for file in files {
            let loaded = Loaded::read(Some(&file), &Overrides::default());
            assert!(loaded.is_ok(), "{}", loaded.unwrap_err().render());
        }
    }
}
