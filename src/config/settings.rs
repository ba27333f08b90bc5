//! Layers of settings: each value remembers where it came from.
//!
//! The embedded `default.toml` says what can be set. Over it lie the pipeline file, the environment
//! and the flags; the topmost value wins. Nothing is checked here but that the key exists.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::pipeline::shown_addresses;
use super::privacy::KEY_VARIABLE;
use crate::observe::stderr::{Level, say};
use crate::vocabulary::error::{Error, Result};

const DEFAULTS: &str = include_str!("default.toml");
const ENV_PREFIX: &str = "TILEFLEET_";
/// Variables with that prefix that are not settings, since they are secrets.
const SECRETS: [&str; 1] = [KEY_VARIABLE];

/// Sections within sections. All other tables within a section are values.
const NESTED: [(&str, &str); 1] = [("input", "stac")];

/// Keys of earlier builds, and what they are called now: section and key of each.
const RENAMED: [[(&str, &str); 2]; 4] = [
    [("input", "dates"), ("input.stac", "dates")],
    [("input", "max_cloud_cover"), ("input.stac", "max_cloud_cover")],
    [("search", "api"), ("input.stac", "api")],
    [("search", "collections"), ("input.stac", "collections")],
];

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The embedded defaults.
    Default,
    /// A line of the pipeline file.
    File {
        /// The file, as named on the command line.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Environment(String),
    /// A flag, such as `--input`.
    Flag(String),
    /// The pipeline file's own name.
    FileName,
    /// What replaces the name of a missing file.
    NoFile,
    /// The record of a run.
    Record(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) | Self::Flag(name) => f.write_str(name),
            Self::FileName => f.write_str("file name"),
            Self::NoFile => f.write_str("no file"),
            Self::Record(run) => write!(f, "the record of run {run}"),
        }
    }
}

/// One value with its origin.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The section, empty for a key above all sections.
    pub section: String,
    /// The key within its section.
    pub key: String,
    /// The value; paths are absolute once the pipeline is checked.
    pub value: Value,
    /// Where the value came from.
    pub origin: Origin,
    /// What was typed, where it was a text and not TOML: a profile called `123` is not a number.
    pub(super) typed: Option<String>,
}

impl Setting {
    /// Returns the name as in `--set`, such as `run.batch`.
    #[must_use]
    pub fn name(&self) -> String {
        dotted(&self.section, &self.key)
    }

    /// Returns the value as anybody may see it: addresses of a queue without passwords.
    #[must_use]
    pub fn shown(&self) -> Value {
        match &self.value {
            Value::String(urls) if self.name() == "queue.url" => shown_addresses(urls).into(),
            value => value.clone(),
        }
    }
}

/// Every setting there is, in the order of `default.toml`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings(Vec<Setting>);

impl Settings {
    /// Returns the defaults.
    pub(super) fn defaults() -> Self {
        // A compaction reads the recorded pipelines of many runs.
        static PARSED: LazyLock<Settings> = LazyLock::new(Settings::parsed_defaults);
        PARSED.clone()
    }

    fn parsed_defaults() -> Self {
        let mut entries = parse(DEFAULTS).expect("default.toml is valid, proved by a unit test");
        entries.sort_by_key(|entry| entry.span.start);
        let setting = |Entry { section, key, value, .. }| {
            let value = value.expect("default.toml has no empty section, proved by a unit test");
            Setting { section, key, value, origin: Origin::Default, typed: None }
        };
        Self(entries.into_iter().map(setting).collect())
    }

    /// Returns the defaults of some sections, over which nothing else can be laid.
    pub(super) fn defaults_of(sections: &[&str]) -> Self {
        let mut settings = Self::defaults();
        settings.0.retain(|setting| sections.contains(&setting.section.as_str()));
        settings
    }

    /// Lays a pipeline file over the settings.
    pub(super) fn lay_file(&mut self, path: &Path, text: &str) -> Result<()> {
        let invalid = |cause: toml::de::Error| {
            let line = cause.span().map_or(1, |span| line_of(text, &span));
            Error::config(format!("{}:{line} is not valid TOML: {}", path.display(), cause.message()))
                .hint("correct that line; text needs quotes, lists need brackets")
        };
        for Entry { section, key, value, span } in parse(text).map_err(invalid)? {
            let origin = Origin::File { path: path.to_owned(), line: line_of(text, &span) };
            match value {
                Some(value) => self.set(&section, &key, value, origin, None)?,
                None => self.check_section(&section, &origin)?,
            }
        }
        Ok(())
    }

    /// Lays environment variables over the settings: `TILEFLEET_RUN_BATCH` is `run.batch`.
    ///
    /// Variables that name none of our sections are ignored; an unknown key of a section is an error.
    pub(super) fn lay_environment(&mut self, variables: &[(String, String)]) -> Result<()> {
        for (variable, text) in variables {
            let Some(name) = variable.strip_prefix(ENV_PREFIX) else { continue };
            if SECRETS.contains(&variable.as_str()) {
                continue;
            }
            let name = name.to_lowercase();
            let (section, key) = split(&name, '_').unwrap_or((String::new(), &name));
            let is_known = |section: &str| self.has_section(section);
            let known = match section.as_str() {
                "" => self.has("", key),
                section => is_known(section) || new_section(section).is_some_and(is_known),
            };
            if known {
                self.set_text(&section, key, text, Origin::Environment(variable.clone()))?;
            }
        }
        Ok(())
    }

    /// Lays what [`Self::to_json`] wrote into the record of a run over the settings.
    pub(super) fn lay_record(&mut self, record: &serde_json::Value, run: &str) -> Result<()> {
        let damaged = || Error::config(format!("the record of run {run} has no pipeline"));
        let origin = || Origin::Record(run.to_owned());
        for (name, value) in record.as_object().ok_or_else(damaged)? {
            match value {
                serde_json::Value::Object(section) => {
                    for (section, key, value) in leaves(name, section) {
                        self.set(
                            &section,
                            key,
                            recorded(value).ok_or_else(damaged)?,
                            origin(),
                            typed(value),
                        )?;
                    }
                }
                value => self.set("", name, recorded(value).ok_or_else(damaged)?, origin(), typed(value))?,
            }
        }
        Ok(())
    }

    /// Lays one `section.key=value` of the command line over the settings.
    pub(super) fn lay_assignment(&mut self, assignment: &str) -> Result<()> {
        let Some((name, text)) = assignment.split_once('=') else {
            return Err(Error::usage(format!("--set {assignment} has no value"))
                .hint("write --set section.key=value, such as --set run.batch=32"));
        };
        let name = name.trim();
        let (section, key) = split(name, '.').unwrap_or((String::new(), name));
        self.set_text(&section, key, text.trim(), Origin::Flag(format!("--set {name}")))
    }

    /// Sets a value from text: TOML if it reads as TOML, else the text itself; of a list, its items between commas.
    pub(super) fn set_text(&mut self, section: &str, key: &str, text: &str, origin: Origin) -> Result<()> {
        let (section, key) = current_name(section, key, &origin);
        let value = match toml::from_str::<Table>(&format!("value = {text}")) {
            Ok(mut table) if table.len() == 1 => table.remove("value"),
            Err(_) if Self::is_list(section, key) && !text.starts_with('[') && text.contains(',') => {
                Some(Value::Array(text.split(',').map(|item| value_of(item.trim())).collect()))
            }
            Err(cause) if text.starts_with(['"', '\'', '[', '{']) => {
                let name = dotted(section, key);
                return Err(Error::config(format!(
                    "the value of `{name}` is not valid TOML: {} ({origin})",
                    cause.message()
                ))
                .hint("quote it for the shell, such as --set 'input.uris=[\"images\"]'"));
            }
            Ok(_) | Err(_) => None,
        };
        let value = value.unwrap_or_else(|| Value::String(text.to_owned()));
        self.set(section, key, value, origin, Some(text.to_owned()))
    }

    /// Sets a value.
    pub(super) fn set(
        &mut self,
        section: &str,
        key: &str,
        value: Value,
        origin: Origin,
        typed: Option<String>,
    ) -> Result<()> {
        let (section, key) = current_name(section, key, &origin);
        if let Some(place) = self.0.iter_mut().find(|place| place.section == section && place.key == key) {
            *place = Setting { section: section.to_owned(), key: key.to_owned(), value, origin, typed };
            return Ok(());
        }
        if !section.is_empty() {
            self.check_section(section, &origin)?;
        }
        Err(self.unknown_key(section, key, &origin))
    }

    /// Returns a setting; the name is one of ours.
    pub(super) fn get(&self, name: &str) -> &Setting {
        let found = self.0.iter().find(|setting| setting.name() == name);
        found.unwrap_or_else(|| panic!("`{name}` is in default.toml, proved by a unit test"))
    }

    /// Replaces a value by an equal one that is written better, such as an absolute path.
    pub(super) fn rewrite(&mut self, name: &str, value: Value, origin: Origin) {
        if let Some(setting) = self.0.iter_mut().find(|setting| setting.name() == name) {
            setting.value = value;
            setting.origin = origin;
        }
    }

    /// Returns all settings, in the order of `default.toml`.
    pub fn iter(&self) -> impl Iterator<Item = &Setting> {
        self.0.iter()
    }

    /// Returns all values as nested JSON, without their origins and without passwords: `{"name": …, "run": {"batch": …}}`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let mut values = serde_json::json!({});
        for setting in &self.0 {
            let Setting { section, key, .. } = setting;
            let value = serde_json::json!(setting.shown());
            let parts = section.split('.').filter(|part| !part.is_empty());
            parts.fold(&mut values, |values, part| &mut values[part])[key] = value;
        }
        values
    }

    /// Returns whether a value is a list by default.
    fn is_list(section: &str, key: &str) -> bool {
        Self::defaults()
            .0
            .iter()
            .any(|setting| setting.section == section && setting.key == key && setting.value.is_array())
    }

    fn has(&self, section: &str, key: &str) -> bool {
        self.0.iter().any(|setting| setting.section == section && setting.key == key)
    }

    fn has_section(&self, section: &str) -> bool {
        self.0.iter().any(|setting| setting.section == section)
    }

    /// Returns the sections' names.
    fn sections(&self) -> Vec<&str> {
        let mut sections: Vec<&str> = self.iter().map(|setting| setting.section.as_str()).collect();
        sections.dedup();
        sections.retain(|section| !section.is_empty());
        sections
    }

    fn check_section(&self, section: &str, origin: &Origin) -> Result<()> {
        if self.has_section(section) {
            return Ok(());
        }
        if let Some(new) = new_section(section).filter(|new| self.has_section(new)) {
            say(Level::Warn, &format!("[{section}] ({origin}) is now [{new}]: rename it"));
            return Ok(());
        }
        let sections = self.sections();
        let hint = match nearest(section, sections.iter().copied()) {
            Some(near) => format!("did you mean [{near}]?"),
            None if sections.len() == 1 => format!("only the keys of [{}] can be set here", sections[0]),
            None => format!("the sections are {}", sections.join(", ")),
        };
        Err(Error::config(format!("unknown section [{section}] ({origin})")).hint(hint))
    }

    fn unknown_key(&self, section: &str, key: &str, origin: &Origin) -> Error {
        let siblings = || self.iter().filter(|setting| setting.section == section);
        let near = nearest(key, siblings().map(|setting| setting.key.as_str()));
        let elsewhere = || self.iter().find(|setting| setting.key == key).map(Setting::name);
        let hint = match near.map(|near| dotted(section, near)).or_else(elsewhere) {
            Some(name) => format!("did you mean `{name}`?"),
            None if section.is_empty() && self.has_section(key) => {
                format!("[{key}] is a section: its keys are written as `{key}.…`")
            }
            None if !self.has_section(section) => {
                format!("only the keys of [{}] can be set here", self.sections().join("], ["))
            }
            None if section.is_empty() => "the only key outside of sections is `name`".to_owned(),
            None => {
                let keys: Vec<&str> = siblings().map(|setting| setting.key.as_str()).collect();
                format!("the keys of [{section}] are {}", keys.join(", "))
            }
        };
        Error::config(format!("unknown key `{}` ({origin})", dotted(section, key))).hint(hint)
    }
}

/// Reads an item of a list: a number, a text in quotes, or the text itself.
fn value_of(item: &str) -> Value {
    let read = toml::from_str::<Table>(&format!("value = {item}")).ok();
    let read = read.filter(|table| table.len() == 1).and_then(|mut table| table.remove("value"));
    read.unwrap_or_else(|| Value::String(item.to_owned()))
}

/// Reads a recorded value as TOML.
fn recorded(value: &serde_json::Value) -> Option<Value> {
    use serde::Deserialize as _;
    Value::deserialize(value).ok()
}

/// Returns a recorded number as text: a profile called `123` was recorded as one.
fn typed(value: &serde_json::Value) -> Option<String> {
    value.is_number().then(|| value.to_string())
}

/// Splits a name into its section and its key: `input.stac.dates` into `input.stac` and `dates`.
fn split(name: &str, separator: char) -> Option<(String, &str)> {
    let (section, key) = name.split_once(separator)?;
    let nested = key.split_once(separator).filter(|(inner, _)| NESTED.contains(&(section, inner)));
    Some(nested.map_or((section.to_owned(), key), |(inner, key)| (dotted(section, inner), key)))
}

/// Returns the values of a recorded section and of the sections within it.
fn leaves<'a>(
    name: &str,
    section: &'a serde_json::Map<String, serde_json::Value>,
) -> Vec<(String, &'a str, &'a serde_json::Value)> {
    let leaf = |(key, value): (&'a String, &'a serde_json::Value)| match value {
        serde_json::Value::Object(inner) if NESTED.contains(&(name, key.as_str())) => {
            leaves(&dotted(name, key), inner)
        }
        value => vec![(name.to_owned(), key.as_str(), value)],
    };
    section.iter().flat_map(leaf).collect()
}

/// Returns section and key as they are called now; warns of old ones, except in the record of a run.
fn current_name<'a>(section: &'a str, key: &'a str, origin: &Origin) -> (&'a str, &'a str) {
    let Some([_, new]) = RENAMED.iter().find(|[old, _]| *old == (section, key)) else {
        return (section, key);
    };
    if !matches!(origin, Origin::Record(_)) {
        let (old, new) = (dotted(section, key), dotted(new.0, new.1));
        say(Level::Warn, &format!("`{old}` ({origin}) is now `{new}`: rename it"));
    }
    *new
}

/// Returns the section that replaces one of earlier builds.
fn new_section(section: &str) -> Option<&'static str> {
    (section == "search").then_some("input.stac")
}

fn dotted(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

/// One key of a TOML file, or a section without any.
struct Entry {
    section: String,
    key: String,
    value: Option<Value>,
    span: Range<usize>,
}

/// Splits a TOML document into its keys. Tables within sections are values like any other.
fn parse(text: &str) -> Result<Vec<Entry>, toml::de::Error> {
    let values: Table = toml::from_str(text)?;
    let spans = DeTable::parse(text)?.into_inner();
    let mut entries = Vec::new();
    for (name, place) in &spans {
        let value = &values[name.get_ref().as_ref()];
        match (place.get_ref(), value) {
            (DeValue::Table(keys), Value::Table(section)) => {
                entries.extend(entries_of(name.get_ref(), name.span(), keys, section));
            }
            _ => entries.push(Entry {
                section: String::new(),
                key: name.get_ref().to_string(),
                value: Some(value.clone()),
                span: name.span(),
            }),
        }
    }
    entries.sort_by_key(|entry| entry.span.start);
    Ok(entries)
}

/// Lists the keys of a section and of the sections within it.
fn entries_of(name: &str, span: Range<usize>, keys: &DeTable<'_>, section: &Table) -> Vec<Entry> {
    if keys.is_empty() {
        return vec![Entry { section: name.to_owned(), key: String::new(), value: None, span }];
    }
    let mut entries = Vec::new();
    for (key, place) in keys {
        let (key, span) = (key.get_ref().as_ref(), key.span());
        match (place.get_ref(), &section[key]) {
            (DeValue::Table(keys), Value::Table(inner)) if NESTED.contains(&(name, key)) => {
                entries.extend(entries_of(&dotted(name, key), span, keys, inner));
            }
            (_, value) => {
                let (section, key, value) = (name.to_owned(), key.to_owned(), Some(value.clone()));
                entries.push(Entry { section, key, value, span });
            }
        }
    }
    entries
}

fn line_of(text: &str, span: &Range<usize>) -> usize {
    1 + text.as_bytes().iter().take(span.start).filter(|&&byte| byte == b'\n').count()
}

/// Returns the known word that a misspelt one most likely means.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let likely = (word.chars().count() / 3).max(2);
    let (distance, near) = known.map(|known| (edit_distance(word, known), known)).min()?;
    (distance <= likely).then_some(near)
}

/// Counts insertions, deletions and substitutions between two words (Levenshtein).
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::error::Kind;

    fn laid(text: &str) -> Result<Settings> {
        let mut settings = Settings::defaults();
        settings.lay_file(Path::new("job.toml"), text)?;
        Ok(settings)
    }

    fn rendered(result: Result<Settings>) -> String {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        error.render()
    }

    fn from_environment(name: &str, text: &str) -> Result<Settings> {
        let mut settings = Settings::defaults();
        settings.lay_environment(&[(name.to_owned(), text.to_owned())])?;
        Ok(settings)
    }

    #[test]
    fn the_defaults_stand_in_their_own_order() {
        let settings = Settings::defaults();
        let names: Vec<String> = settings.iter().map(Setting::name).collect();
        assert_eq!(&names[..3], ["name", "input.uris", "input.manifest"]);
        assert_eq!(names.last().unwrap(), "storage.connect_timeout");
        assert!(settings.iter().all(|setting| setting.origin == Origin::Default));
    }

    /// Old names work in a file, an assignment, the environment and a record, and mean the new ones.
    #[test]
    fn renamed_keys_are_understood_under_their_old_names() {
        let text = |settings: &Settings, name: &str| settings.get(name).value.to_string();
        let old = laid(
            "[input]\ndates = \"2024-05-01/..\"\n[search]\napi = \"https://h/v1\"\ncollections = [\"c\"]\n",
        );
        let new =
            laid("[input.stac]\ndates = \"2024-05-01/..\"\napi = \"https://h/v1\"\ncollections = [\"c\"]\n");
        let (old, new) = (old.unwrap(), new.unwrap());
        assert_eq!(old.to_json(), new.to_json());
        assert_eq!(text(&new, "input.stac.api"), "\"https://h/v1\"");
        assert_eq!(new.get("input.stac.api").origin.to_string(), "job.toml:3");
        assert_eq!(old.get("input.stac.api").origin.to_string(), "job.toml:4");

        let mut set = Settings::defaults();
        for assignment in
            ["input.max_cloud_cover=20", "search.collections=a,b", "input.stac.dates=2024-05-01/.."]
        {
            set.lay_assignment(assignment).unwrap();
        }
        assert_eq!(text(&set, "input.stac.max_cloud_cover"), "20");
        assert_eq!(text(&set, "input.stac.collections"), "[\"a\", \"b\"]");
        assert_eq!(text(&set, "input.stac.dates"), "\"2024-05-01/..\"");

        for name in ["TILEFLEET_SEARCH_API", "TILEFLEET_INPUT_STAC_API"] {
            assert_eq!(
                text(&from_environment(name, "https://h").unwrap(), "input.stac.api"),
                "\"https://h\"",
                "{name}"
            );
        }
        assert!(rendered(from_environment("TILEFLEET_SEARCH_APY", "x")).contains("unknown key `search.apy`"));

        let earlier = serde_json::json!({
            "input": {"uris": ["a"], "dates": "2024-05-01/..", "max_cloud_cover": 20},
            "search": {"api": "https://h/v1", "collections": ["c"]},
        });
        let mut recorded = Settings::defaults();
        recorded.lay_record(&earlier, "r").unwrap();
        let mut again = Settings::defaults();
        again.lay_record(&recorded.to_json(), "r").unwrap();
        assert_eq!(again.to_json(), recorded.to_json());
        assert_eq!(recorded.to_json()["input"]["stac"]["collections"], serde_json::json!(["c"]));
        assert_eq!(recorded.to_json().get("search"), None);
        assert!(laid("[search]\n").is_ok());
    }

    #[test]
    fn a_value_knows_its_line() {
        let settings = laid("name = \"nightly\"\n\n[run]\n# comment\nbatch = 64\n").unwrap();
        let batch = settings.get("run.batch");
        assert_eq!((&batch.value, batch.origin.to_string()), (&Value::Integer(64), "job.toml:5".to_owned()));
        assert_eq!(settings.get("run.provider").origin, Origin::Default);
    }

    #[test]
    fn dotted_and_inline_tables_are_sections_too() {
        let settings = laid("run.batch = 2\nplan = { shard_tiles = 3 }\n").unwrap();
        assert_eq!(settings.get("run.batch").origin.to_string(), "job.toml:1");
        assert_eq!(settings.get("plan.shard_tiles").origin.to_string(), "job.toml:2");
    }

    #[test]
    fn an_unknown_key_names_the_nearest_known_one() {
        assert_eq!(
            rendered(laid("[run]\nbatchs = 64\n")),
            "error: unknown key `run.batchs` (job.toml:2)\n  hint: did you mean `run.batch`?"
        );
        assert_eq!(
            rendered(laid("[run]\nshard_tiles = 64\n")),
            "error: unknown key `run.shard_tiles` (job.toml:2)\n  hint: did you mean `plan.shard_tiles`?"
        );
        assert_eq!(
            rendered(laid("[plan]\ncolour = 1\n")),
            "error: unknown key `plan.colour` (job.toml:2)\n  hint: the keys of [plan] are shard_tiles, wait"
        );
        assert_eq!(
            rendered(laid("batch = 1\n")),
            "error: unknown key `batch` (job.toml:1)\n  hint: did you mean `run.batch`?"
        );
        assert!(rendered(laid("colour = 1\n")).ends_with("hint: the only key outside of sections is `name`"));
    }

    #[test]
    fn an_unknown_section_names_the_nearest_known_one() {
        assert_eq!(
            rendered(laid("\n[limit]\nmax_pixels = 1\n")),
            "error: unknown section [limit] (job.toml:3)\n  hint: did you mean [limits]?"
        );
        let text = rendered(laid("[weather]\n"));
        assert_eq!(
            text,
            "error: unknown section [weather] (job.toml:1)\n  hint: the sections are input, input.stac, tiles, dicom, \
             plan, model, run, cuda, tensorrt, output, privacy, limits, queue, observe, \
             storage"
        );
    }

    #[test]
    fn a_section_given_a_value_is_an_unknown_key() {
        assert_eq!(
            rendered(laid("run = 3\n")),
            "error: unknown key `run` (job.toml:1)\n  hint: [run] is a section: its keys are written as `run.…`"
        );
    }

    #[test]
    fn broken_toml_says_where() {
        let text = rendered(laid("[run]\nbatch = \n"));
        assert!(text.starts_with("error: job.toml:2 is not valid TOML: "), "{text}");
    }

    #[test]
    fn the_environment_reaches_known_sections_only() {
        let settings = from_environment("TILEFLEET_PLAN_SHARD_TILES", "64").unwrap();
        let shard_tiles = settings.get("plan.shard_tiles");
        assert_eq!(shard_tiles.value, Value::Integer(64));
        assert_eq!(shard_tiles.origin.to_string(), "TILEFLEET_PLAN_SHARD_TILES");
        let named = from_environment("TILEFLEET_NAME", "nightly").unwrap();
        assert_eq!(named.get("name").value, Value::String("nightly".into()));
        for foreign in ["TILEFLEET_TEST_DATA", "TILEFLEET_REQUIRE_ALL", "TILEFLEET_LOG", "PATH"] {
            assert_eq!(from_environment(foreign, "1").unwrap(), Settings::defaults(), "{foreign}");
        }
        assert_eq!(
            rendered(from_environment("TILEFLEET_RUN_BATCHES", "1")),
            "error: unknown key `run.batches` (TILEFLEET_RUN_BATCHES)\n  hint: did you mean `run.batch`?"
        );
    }

    #[test]
    fn assignments_are_toml_or_bare_text() {
        let value = |assignment: &str| {
            let mut settings = Settings::defaults();
            settings.lay_assignment(assignment).unwrap();
            settings.get(assignment.split('=').next().unwrap().trim()).value.clone()
        };
        assert_eq!(value("run.batch=32"), Value::Integer(32));
        assert_eq!(value("run.memory = 2GiB"), Value::String("2GiB".into()));
        assert_eq!(value("storage.anonymous=true"), Value::Boolean(true));
        assert_eq!(value("output.uri=s3://a/b=c # d"), Value::String("s3://a/b=c # d".into()));
        assert_eq!(value("model.logits="), Value::String(String::new()));
        assert_eq!(value("input.uris=[\"a\", \"b\"]"), Value::from(vec!["a", "b"]));
        assert_eq!(value("tiles.bands=1,2, nir"), Value::Array(vec![1.into(), 2.into(), "nir".into()]));
        assert_eq!(value("input.uris='a,b'"), Value::String("a,b".into()));
        assert_eq!(value("input.uris=a b,\"c\",s3://d/e"), Value::from(vec!["a b", "c", "s3://d/e"]));
        assert_eq!(value("tiles.aoi=1,2,3,4"), Value::String("1,2,3,4".into()), "no list");
        assert_eq!(value("output.uri=1\nrun.batch=7"), Value::String("1\nrun.batch=7".into()));
    }

    #[test]
    fn a_record_reads_back_as_written() {
        let mut settings = laid("name = \"nightly\"\n[limits]\nmax_reject_ratio = 0.5\n").unwrap();
        settings.lay_assignment("storage.profile=123").unwrap();
        settings.lay_assignment("input.uris=[\"a\", \"b\"]").unwrap();
        let mut again = Settings::defaults();
        again.lay_record(&settings.to_json(), "nightly-1a2b3c4d-0001").unwrap();
        assert_eq!(again.to_json(), settings.to_json());
        assert_eq!(again.read::<Option<String>>("storage.profile").unwrap().as_deref(), Some("123"));
        let origin = again.get("run.batch").origin.to_string();
        assert_eq!(origin, "the record of run nightly-1a2b3c4d-0001");
        let newer = serde_json::json!({ "run": { "batchs": 3 } });
        let text = rendered(Settings::defaults().lay_record(&newer, "x").map(|()| Settings::defaults()));
        assert!(text.contains("unknown key `run.batchs` (the record of run x)"), "{text}");
    }

    #[test]
    fn a_bad_assignment_is_explained() {
        let error = |assignment: &str| Settings::defaults().lay_assignment(assignment).unwrap_err();
        assert_eq!(error("run.batch").kind(), Kind::Usage);
        assert!(
            error("run.batch").render().starts_with("error: --set run.batch has no value\n  hint: write")
        );
        assert_eq!(error("run.bach=1").to_string(), "unknown key `run.bach` (--set run.bach)");
        let broken = error("input.uris=[\"a\"").to_string();
        assert!(broken.starts_with("the value of `input.uris` is not valid TOML: "), "{broken}");
    }

    #[test]
    fn edit_distances_are_levenshteins() {
        for (a, b, distance) in
            [("", "abc", 3), ("kitten", "sitting", 3), ("batch", "batch", 0), ("ü", "u", 1)]
        {
            assert_eq!(edit_distance(a, b), distance);
            assert_eq!(edit_distance(b, a), distance);
        }
    }
}
