//! `tilefleet model head`: fits a classifier on the embeddings of an output.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::answers::head;
use crate::answers::head::{
    ClassReport, Group, GroupCounts, LabelFile, LabelledRows, Labels, NotUsed, Request, Trained,
};
use crate::cli::local_model::{model_at, refuse_uri};
use crate::cli::{WrongArgument, block_on, print_json, show};
use crate::config::{Pipeline, storage_options};
use crate::input::storage::{ObjectUri, Storage, StorageOptions};
use crate::model_cache::ModelPlace;
use crate::models::build::BuiltModel;
use crate::models::file;
use crate::models::head::{Backbone, Head};
use crate::output::{Output, RunId};
use crate::vocabulary::contract::HeadKind;
use crate::vocabulary::contract::{Activation, Contract};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::process::Process;

/// Fits a classifier on the embeddings of an output and writes the network with it
///
/// Takes the rows that `tilefleet query` shows as `tiles`, and labels from a CSV or Parquet file with a column
/// `tile_id` or `source` and a column `label`, or from a column of the manifest. Some tiles of each class are held
/// out, and the report says how many of them the classifier gets right. If the labels have a column `split`, its
/// `test` rows are held out; otherwise whole sources, or the groups of --group. The new model is the run's network
/// with this classifier in place of its own. Use another output for it, since its classes differ.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilefleet model head s3://tables/photos --labels labels.csv \\
      --out photos.onnx
  tilefleet model head table --label-column land_cover --kind ridge \\
      --held-out 0.5 --out land-cover.onnx
  tilefleet model head table --labels slides.csv --group patient \\
      --out tumour.onnx")]
#[command(group = clap::ArgGroup::new("given").required(true).multiple(true))]
pub struct Args {
    /// The output's folder or bucket prefix
    output: String,
    /// The labels: a path or URI, `.csv` or `.parquet`
    #[arg(long, value_name = "FILE", group = "given")]
    labels: Option<String>,
    /// The ONNX file to write; the contract goes beside it, as FILE.contract.toml
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// Column with the labels [default: label]; without --labels, a column of the manifest
    #[arg(long, value_name = "NAME", group = "given")]
    label_column: Option<String>,
    /// Column that names the labelled tiles or sources: `tile_id`, or a column with URIs or paths of sources
    /// [default: the first of `tile_id`, `source` and `uri` that the labels have]
    #[arg(long, value_name = "COLUMN", requires = "labels")]
    key: Option<String>,
    /// Only the rows of this run, including those that newer runs replace
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// Path or URI of the run's ONNX file, if it has moved
    #[arg(long, value_name = "FILE.onnx")]
    model: Option<PathBuf>,
    /// Name in the contract [default: the network's name and `-head`]
    #[arg(long)]
    name: Option<String>,

    /// Kind of classifier
    #[arg(long, value_enum, default_value = "logistic")]
    kind: HeadKind,
    /// Penalty on large weights: 1/C of scikit-learn's logistic regression, alpha of its ridge classifier, on
    /// standardised features
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = positive)]
    l2: f64,
    /// Share of each class to hold out; ignored if the labels have a column `split`
    #[arg(long, value_name = "RATIO", default_value_t = 0.2, value_parser = share)]
    held_out: f64,
    /// Hold out all tiles with the same value in this column, or none of them. A column of the labels, or of the
    /// manifest (`extra.COLUMN`), such as a patient; `source`: all tiles of a scene; `tile_id`: single tiles
    /// [default: source]
    #[arg(long, value_name = "COLUMN")]
    group: Option<String>,
    /// Seed of the hold-out split and of --max-tiles
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Maximum number of labelled tiles; of more, a random sample is used
    #[arg(long, value_name = "N", value_parser = at_least_two)]
    max_tiles: Option<usize>,

    /// Settings of the store, such as `--set storage.region=eu-north-1`; repeatable
    #[arg(long = "set", value_name = "storage.KEY=VALUE")]
    set: Vec<String>,
    /// Replace files that exist
    #[arg(long)]
    force: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

fn at_least_two(text: &str) -> Result<usize, WrongArgument> {
    let number = text.parse().ok().filter(|number| *number >= 2);
    number.ok_or(WrongArgument("expected a whole number from 2"))
}

fn positive(text: &str) -> Result<f64, WrongArgument> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.ok_or(WrongArgument("expected a number above 0"))
}

fn share(text: &str) -> Result<f64, WrongArgument> {
    let number = text.parse().ok().filter(|number: &f64| (0.0..1.0).contains(number));
    number.ok_or(WrongArgument("expected a share from 0 to below 1, such as 0.2"))
}

/// Fits, reports, and writes the model.
///
/// # Errors
///
/// `Usage` where a file exists and `--force` is not given, or more memory is needed than is allowed; `Config`
/// for what is wrong with labels, output or model; as the store answers otherwise.
pub fn run(args: &Args) -> Result<()> {
    refuse_uri("--out", &args.out)?;
    if !args.force {
        file::refuse_existing(&args.out)?;
        file::refuse_existing(&Contract::path_for(&args.out))?;
    }
    let options = storage_options(&args.set)?;
    let storage = Storage::new(options.clone())?;
    let output = Output::open(&storage, &ObjectUri::parse(&args.output)?, Process::real());
    let labels = block_on(args.read_labels(&storage))?;
    let job = Job { labels, output, storage: options, request: args.request()? };
    let made = job.make(args.model.as_deref(), args.name.as_deref(), |backbone| args.check_out(backbone))?;
    made.built.write(&args.out, args.force)?;
    let answer = Answer::new(&args.out, &job.request, &made);
    if args.json {
        return print_json(&answer);
    }
    answer.print();
    Ok(())
}

impl Args {
    fn request(&self) -> Result<Request> {
        Ok(Request {
            run: self.run.as_deref().map(RunId::parse).transpose()?,
            kind: self.kind,
            l2: self.l2,
            held_out: self.held_out,
            group: self.group(),
            seed: self.seed,
            max_tiles: self.max_tiles,
        })
    }

    fn group(&self) -> Option<Group> {
        self.group.as_deref().map(|column| Group::parse(column, self.labels.is_some()))
    }

    async fn read_labels(&self, storage: &Storage) -> Result<Labels> {
        let column = self.label_column.as_deref();
        let Some(name) = &self.labels else {
            let column = column.unwrap_or("label");
            return Ok(Labels::Extra(column.strip_prefix("extra.").unwrap_or(column).to_owned()));
        };
        let group = self.group();
        let group = if let Some(Group::Labels(column)) = &group { Some(column.as_str()) } else { None };
        Ok(Labels::File(LabelFile::read(storage, name, column, self.key.as_deref(), group).await?))
    }

    /// The network is needed again for the next head.
    fn check_out(&self, backbone: &Path) -> Result<()> {
        let same = std::fs::canonicalize(&self.out)
            .is_ok_and(|out| std::fs::canonicalize(backbone).is_ok_and(|in_| in_ == out));
        if same {
            return Err(Error::usage(format!("{} is the run's network", self.out.display()))
                .hint("choose another name"));
        }
        Ok(())
    }
}

/// What is to be fitted on what.
pub(in crate::cli) struct Job {
    pub(in crate::cli) output: Output,
    /// Of the store that the model lies in, if it does.
    pub(in crate::cli) storage: StorageOptions,
    pub(in crate::cli) labels: Labels,
    pub(in crate::cli) request: Request,
}

/// A network with a fitted classifier, not yet on disk.
pub(in crate::cli) struct Made {
    pub(in crate::cli) survey: LabelledRows,
    pub(in crate::cli) trained: Trained,
    pub(in crate::cli) built: BuiltModel,
}

impl Job {
    /// Does everything but writing; whatever is wrong with the model is found before embeddings are read.
    ///
    /// - `given`: the run's ONNX file, where it has moved
    /// - `check`: looks at where it was found
    pub(in crate::cli) fn make(
        &self,
        given: Option<&Path>,
        name: Option<&str>,
        check: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Made> {
        let survey = block_on(head::survey(&self.output, &self.labels, &self.request))?;
        let place = match given {
            Some(path) => ModelPlace::of(path)?,
            None => recorded_model(&survey)?,
        };
        let hint = match (given, recorded_model(&survey)) {
            (None, _) => "give the run's ONNX file with --model".to_owned(),
            (Some(_), Ok(used)) => {
                format!("the run used {used}; a copy under any name works")
            }
            (Some(_), Err(_)) => "a copy of the run's file works, under any name".to_owned(),
        };
        let model = model_at(&place, &self.storage).map_err(|error| error.hint(&hint))?;
        let backbone = model.read(|path| Backbone::open(path, &survey.model.digest, &hint))?;
        check(model.path())?;
        head::check_memory(&survey, self.request.kind)?;
        let embeddings = block_on(survey.read(&self.output))?;
        let trained = head::train(&survey, &embeddings, &self.request)?;
        let of_contract = head::name_of(&survey.model);
        let head = Head {
            name: name.unwrap_or(&of_contract),
            linear: &trained.linear,
            activation: trained.activation,
            labels: survey.classes.clone(),
            fitted: trained.fitted_on(&survey, &self.request, &self.labels),
        };
        let built = backbone.with_head(&survey.model.contract, &head)?;
        Ok(Made { survey, trained, built })
    }
}

/// Returns where the run found its model.
fn recorded_model(survey: &LabelledRows) -> Result<ModelPlace> {
    let run = survey.runs.first().map(ToString::to_string).unwrap_or_default();
    Ok(Pipeline::recorded(&survey.pipeline, &run)?.model_place()?.clone())
}

/// What is said at the end.
#[derive(Serialize)]
struct Answer<'a> {
    model: &'a Path,
    contract: PathBuf,
    name: &'a str,
    digest: &'a str,
    num_bytes: usize,
    backbone: &'a str,
    runs: &'a [RunId],
    kind: HeadKind,
    l2: f64,
    activation: Activation,
    iterations: usize,
    gradient: f64,
    num_fitted: usize,
    num_held_out: usize,
    /// Whether some tiles were to be held out.
    #[serde(skip)]
    wants_some: bool,
    split_given: bool,
    grouped_by: String,
    groups: GroupCounts,
    not_used: NotUsed,
    /// On the tiles held out.
    accuracy: Option<f64>,
    accuracy_on_fitted: Option<f64>,
    classes: Vec<ClassReport>,
    /// On the tiles held out: one row per class, one column per prediction.
    confusion: &'a [Vec<u64>],
}

/// With more classes the whole matrix is no longer read by anybody.
const MAX_COLUMNS: usize = 12;

impl<'a> Answer<'a> {
    fn new(out: &'a Path, request: &Request, made: &'a Made) -> Self {
        let Made { survey, trained, built } = made;
        Self {
            model: out,
            contract: Contract::path_for(out),
            name: &built.contract.name,
            digest: &built.digest,
            num_bytes: built.bytes.len(),
            backbone: &survey.model.digest,
            runs: &survey.runs,
            kind: request.kind,
            l2: request.l2,
            activation: trained.activation,
            iterations: trained.iterations,
            gradient: trained.gradient,
            num_fitted: survey.num_fitted,
            num_held_out: survey.num_held_out(),
            wants_some: request.held_out > 0.0,
            split_given: survey.split_given,
            grouped_by: survey.group.to_string(),
            groups: survey.groups,
            not_used: survey.not_used,
            accuracy: trained.on_held_out.accuracy,
            accuracy_on_fitted: trained.on_fitted.accuracy,
            classes: trained.classes(survey),
            confusion: &trained.on_held_out.confusion,
        }
    }

    fn print(&self) {
        let chosen = match (self.split_given, self.has_groups()) {
            (true, _) => "by the column `split`".to_owned(),
            (false, true) => format!("chosen by {}", self.grouped_by),
            (false, false) => "chosen by tile id".to_owned(),
        };
        println!(
            "tiles      {} of {} classes to fit on, {} held out, {chosen}",
            show::count(self.num_fitted as u64),
            show::count(self.classes.len() as u64),
            show::count(self.num_held_out as u64)
        );
        self.print_groups();
        for (count, what) in self.left_aside() {
            println!("not used   {what}: {}", show::count(count));
        }
        match self.kind {
            HeadKind::Logistic => println!(
                "fit        logistic, l2 {}, {} steps, gradient {:.1e}; scores are probabilities",
                self.l2, self.iterations, self.gradient
            ),
            HeadKind::Ridge => {
                println!("fit        ridge, l2 {}; scores are not probabilities (activation none)", self.l2);
            }
        }
        let percent =
            |share: Option<f64>| share.map_or("–".to_owned(), |share| format!("{:.1} %", 100.0 * share));
        match self.accuracy {
            Some(_) => println!(
                "accuracy   {} of the held-out tiles, {} of the tiles fitted on",
                percent(self.accuracy),
                percent(self.accuracy_on_fitted)
            ),
            None => println!(
                "accuracy   unknown, since no tile was held out{}; {} of the tiles fitted on",
                self.why_none(),
                percent(self.accuracy_on_fitted)
            ),
        }
        if self.accuracy.is_some() {
            self.print_classes();
            self.print_confusion();
        }
        println!("\n{}  {:.1} MB  sha256 {}", self.model.display(), self.num_bytes as f64 / 1e6, self.digest);
        println!("{}", self.contract.display());
    }

    /// Returns whether any group has several tiles.
    fn has_groups(&self) -> bool {
        let GroupCounts { fitted, held_out, on_both_sides } = self.groups;
        fitted + held_out - on_both_sides < (self.num_fitted + self.num_held_out) as u64
    }

    /// Says how tiles were grouped, where it makes a difference.
    fn print_groups(&self) {
        if !self.has_groups() {
            return;
        }
        let GroupCounts { fitted, held_out, on_both_sides } = self.groups;
        let by = &self.grouped_by;
        let (fitted, held_out) = (show::count(fitted), show::count(held_out));
        println!("groups     by {by}: {fitted} to fit on, {held_out} held out");
        if on_both_sides > 0 {
            println!(
                "           {} on both sides, as the column `split` says; tiles of one {by} are similar, so \
                 the accuracy is too high",
                show::count(on_both_sides)
            );
        }
    }

    /// Says why nothing was held out that should have been.
    fn why_none(&self) -> String {
        if self.split_given || !self.wants_some {
            return String::new();
        }
        match self.grouped_by.as_str() {
            "tile_id" => ": the classes have too few tiles".to_owned(),
            by => format!(
                ": no {by} can be spared by its classes (`--group tile_id` divides the tiles of a {by})"
            ),
        }
    }

    fn left_aside(&self) -> impl Iterator<Item = (u64, &'static str)> {
        let left = self.not_used;
        [
            (left.unlabelled_tiles, "tiles without a label"),
            (left.without_embedding, "labelled tiles without an embedding"),
            (left.unmatched_labels, "labels without a tile in the output"),
            (left.blank_labels, "rows of the labels without a label or a split"),
            (left.beyond_sample, "labelled tiles beyond --max-tiles"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
    }

    fn print_classes(&self) {
        let width = self.label_width();
        println!("\n{:<width$}  precision  recall  held out  fitted on", "class");
        let share = |share: Option<f64>| share.map_or("–".to_owned(), |share| format!("{share:.3}"));
        for class in &self.classes {
            let ClassReport { label, num_fitted, num_held_out, score } = class;
            println!(
                "{:<width$}  {:>9}  {:>6}  {:>8}  {:>9}",
                short(label),
                share(score.precision),
                share(score.recall),
                show::count(*num_held_out),
                show::count(*num_fitted)
            );
        }
    }

    /// Prints the matrix, or of many classes what was mistaken most.
    fn print_confusion(&self) {
        let width = self.label_width();
        if self.classes.len() > MAX_COLUMNS {
            return self.print_mistakes();
        }
        println!("\nRows are true classes, columns are predicted classes:");
        let columns: Vec<String> = (1..=self.classes.len()).map(|column| format!("{column:>6}")).collect();
        println!("{:<width$}   {}", "", columns.concat());
        for (number, (class, row)) in (1..).zip(self.classes.iter().zip(self.confusion)) {
            let counts: Vec<String> = row.iter().map(|count| format!("{count:>6}")).collect();
            println!("{:<width$} {number:>2}{}", short(&class.label), counts.concat());
        }
    }

    fn print_mistakes(&self) {
        let mut mistakes: Vec<(u64, usize, usize)> = Vec::new();
        for (class, row) in self.confusion.iter().enumerate() {
            let others = row.iter().enumerate().filter(|(other, count)| *other != class && **count > 0);
            mistakes.extend(others.map(|(other, count)| (*count, class, other)));
        }
        mistakes.sort_by_key(|(count, class, other)| (std::cmp::Reverse(*count), *class, *other));
        println!("\nMost frequent confusions; --json has the whole matrix:");
        for (count, class, other) in mistakes.into_iter().take(10) {
            let (class, other) = (&self.classes[class].label, &self.classes[other].label);
            println!("  {:>6}  {} predicted as {}", show::count(count), short(class), short(other));
        }
    }

    fn label_width(&self) -> usize {
        self.classes.iter().map(|class| short(&class.label).chars().count()).max().unwrap_or_default().max(5)
    }
}

/// Cuts a long label.
fn short(label: &str) -> String {
    const MOST: usize = 30;
    match label.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &label[..end]),
        None => label.to_owned(),
    }
}
