//! The checked pipeline, section by section.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Value;

use super::grid::{Grid, frames, grid, windows};
use super::privacy::{Privacy, burned_in, privacy};
use super::settings::{Origin, Settings};
use super::value::{AutomaticRatio, AutomaticSize, ByteSize, PerCent, Ratio, wrong};
use crate::input::storage::{SignOptions, StorageOptions};
use crate::model_cache::ModelPlace;
use crate::vocabulary::contract::precision::Precision;
use crate::vocabulary::contract::{Accept, AcceptAlpha, AcceptGrey, AcceptSixteenBit};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::provider::ConvSearch;
use crate::vocabulary::provider::{CudaOptions, Devices, Provider, ProviderOptions, TensorrtOptions};

/// The settings whose value is a local path or a URI.
const PLACES: [&str; 10] = [
    "input.uris",
    "input.manifest",
    "input.allow",
    "model.file",
    "tensorrt.cache",
    "output.uri",
    "tiles.aoi",
    "privacy.key_file",
    "privacy.vault",
    "queue.credentials",
];

/// A shard's rows are held in memory at once, and a plan's row groups are shards.
const MAX_SHARD_TILES: usize = 1_000_000;

/// One job: what goes in, through which model, and where the table lies.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// Starts the run ids: a lower-case letter, then up to 40 lower-case letters, digits or hyphens.
    pub name: String,
    /// `[input]`
    pub input: Input,
    /// `[tiles]`
    pub tiles: Tiles,
    /// How sources become tiles: `tiles.grid` and the keys that are for it.
    pub grid: Grid,
    /// `[plan]`
    pub plan: Plan,
    /// `[model]`
    pub model: Model,
    /// `[run]`
    pub run: Run,
    /// `[output]`
    pub output: Output,
    /// `[privacy]`; `None`: nobody has said anything.
    pub privacy: Option<Privacy>,
    /// `[limits]`
    pub limits: Limits,
    /// `[queue]`; `None`: there is none.
    pub queue: Option<Queue>,
    /// `[observe]`
    pub observe: Observe,
    /// `[storage]`
    pub storage: StorageOptions,
}

/// `[queue]`: where workers get shards from that are not told which.
#[derive(Clone, PartialEq, Eq)]
pub struct Queue {
    /// Addresses of the servers, which may hold a user's name and password.
    pub servers: Vec<String>,
    /// Name of the stream, and of its consumer.
    pub name: String,
    /// A file with NATS credentials.
    pub credentials: Option<PathBuf>,
    /// How long a worker keeps a shard without being heard of.
    pub lease: Duration,
    /// How long a worker stays without work.
    pub idle: Duration,
    /// Copies of the stream.
    pub replicas: NonZeroUsize,
}

/// Does not show what may be a password.
impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("name", &self.name).finish_non_exhaustive()
    }
}

/// `[observe]`: who may watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observe {
    /// Where monitoring asks; `None`: nowhere.
    pub listen: Option<SocketAddr>,
}

/// `[input]`: what there is to process. Either `uris` or `manifest` is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Folders, objects, globs or URLs; local ones are absolute paths.
    pub uris: Vec<String>,
    /// A Parquet or CSV file with a column `uri`.
    pub manifest: Option<String>,
    /// Folders and buckets that a manifest may name and the links of STAC documents may lead to; empty: any store, and
    /// local files only if what names them is local itself.
    pub allow: Vec<String>,
    /// Maximum number of sources, the first in order of their URIs.
    pub limit: Option<u64>,
    /// Which STAC items are taken.
    pub stac: StacInput,
}

/// `[input.stac]`: which STAC items are taken, and where they are searched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StacInput {
    /// An interval of dates, as in STAC: `2024-05-01/..`.
    pub dates: Option<String>,
    /// Most per cent of clouds.
    pub max_cloud_cover: u8,
    /// The STAC API that is searched.
    pub api: Option<String>,
    /// The collections that are searched.
    pub collections: Vec<String>,
}

/// `[tiles]`: which images are converted; `None` leaves it to the model contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiles {
    /// A grey image for a three-band model.
    pub grey: Option<AcceptGrey>,
    /// An alpha band that the model does not take.
    pub alpha: Option<AcceptAlpha>,
    /// A 16-bit image for an 8-bit model.
    pub sixteen_bit: Option<AcceptSixteenBit>,
}

impl Tiles {
    /// Returns what the contract accepts, with what the pipeline says otherwise.
    #[must_use]
    pub fn over(self, contract: Accept) -> Accept {
        Accept {
            grey: self.grey.unwrap_or(contract.grey),
            alpha: self.alpha.unwrap_or(contract.alpha),
            sixteen_bit: self.sixteen_bit.unwrap_or(contract.sixteen_bit),
        }
    }
}

/// `[plan]`: how tiles become shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Most tiles of one shard, at most a million; `None`: as the number of tiles suggests.
    pub shard_tiles: Option<NonZeroUsize>,
    /// How long workers of an array job leave it to the first of them to plan.
    pub wait: Duration,
}

/// `[model]`: the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Where the ONNX file lies, a local path being absolute; [`Pipeline::model_place`] has it for whoever needs one.
    pub file: Option<ModelPlace>,
    /// Name of the embedding's tensor, if it cannot be detected.
    pub embedding: Option<String>,
    /// Name of the logits' tensor, if it cannot be detected.
    pub logits: Option<String>,
}

/// `[run]`: how the work is done. Nothing here changes a row's meaning.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Execution provider.
    pub provider: Provider,
    /// Accelerators.
    pub devices: Devices,
    /// Precision of the network's arithmetic; `None`: what the model file has.
    pub precision: Option<Precision>,
    /// Chips per session run; `None`: the provider's default.
    pub batch: Option<NonZeroUsize>,
    /// CPU threads of each: the model, decoding, and input and output; `None`: as many as the machine has.
    pub threads: Option<NonZeroUsize>,
    /// Sessions side by side, which share the threads; `None`: the provider's default.
    pub sessions: Option<NonZeroUsize>,
    /// Whether idle threads of a session spin; `None`: measured.
    pub spinning: Option<bool>,
    /// Whether a model may run whose 16-bit sums saturate on this processor: its rows are others then.
    pub allow_saturation: bool,
    /// Largest difference from the contract's probes that a worker may start with, as a share of an embedding's length;
    /// `None`: the default, or any where saturation is allowed.
    pub probe_tolerance: Option<f64>,
    /// What execution providers are told: `run.cpu_fallback`, `[cuda]`, `[tensorrt]`.
    pub providers: ProviderOptions,
    /// Most requests to the store at once.
    pub fetch_concurrency: NonZeroUsize,
    /// Most bytes in the queues between the stages, all together.
    pub memory_bytes: u64,
    /// A partial batch leaves after this long.
    pub max_wait: Duration,
    /// Once the process is told to end, it may finish shards for this long.
    pub grace: Duration,
    /// Whether tiles are decoded in child processes.
    pub isolate: Isolate,
}

/// When tiles are decoded in child processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolate {
    /// Those of shards that a worker has begun and not ended, for it may have died of one.
    Auto,
    /// All.
    Always,
    /// None.
    Never,
}

/// `[output]`: the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Folder or bucket prefix; a local one is an absolute path.
    pub uri: String,
    /// Element type of the embedding column.
    pub embedding: EmbeddingType,
    /// Classes kept in the column `top_k`.
    pub top_k: usize,
}

/// Element type of the embedding column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmbeddingType {
    /// 32-bit float.
    Float32,
    /// 16-bit float (IEEE 754 half), half the size and 11 bits of precision.
    Float16,
}

impl EmbeddingType {
    /// Returns the name as in pipeline files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Float16 => "float16",
        }
    }

    /// Returns the size of one element.
    #[must_use]
    pub fn num_bytes(self) -> usize {
        match self {
            Self::Float32 => 4,
            Self::Float16 => 2,
        }
    }
}

/// `[limits]`: what bad input may cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Share of rejects, 0 to 1, of tiles and of sources, beyond which a run ends with exit 65.
    pub max_reject_ratio: f64,
    /// Most pixels that a header may announce.
    pub max_pixels: u64,
    /// Largest object, in bytes.
    pub max_object_bytes: u64,
    /// Most bytes of a child process that decodes; `None`: as the machine has.
    pub decode_memory_bytes: Option<u64>,
    /// Most processor time of a child process for one tile.
    pub decode_time: Duration,
    /// Most windows of a scene; one that would be cut into more is rejected.
    pub max_windows: u64,
    /// Most STAC items of one input or search; more are an error.
    pub max_stac_items: u64,
    /// Most STAC documents that one input leads to, or pages of a search; more are an error.
    pub max_stac_documents: u64,
    /// When an object that cannot be read is given up.
    pub unreadable: Unreadable,
}

/// When an object is given up that its store does not give, though it gives others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Minimum number of failed tries,
    pub tries: usize,
    /// in this many runs one after another,
    pub runs: usize,
    /// or over this time,
    pub after: Duration,
    /// while at least this many other objects of its host answered each time.
    pub others: usize,
}

impl Default for Unreadable {
    fn default() -> Self {
        Self { tries: 5, runs: 3, after: Duration::from_hours(24), others: 10 }
    }
}

/// The name of a pipeline without a file, and of the one that `tilefleet init` writes: they resume the same runs.
pub const NAME_WITHOUT_FILE: &str = "tiles";

/// Names an unnamed pipeline after its file.
pub(super) fn name_after_file(settings: &mut Settings, path: Option<&Path>) {
    if settings.get("name").value.as_str() != Some("") {
        return;
    }
    match path.map(|path| path.file_stem()) {
        None => settings.rewrite("name", NAME_WITHOUT_FILE.into(), Origin::NoFile),
        Some(Some(stem)) => {
            settings.rewrite("name", stem.to_string_lossy().into_owned().into(), Origin::FileName);
        }
        Some(None) => {}
    }
}

/// Makes local paths absolute: relative to the pipeline file where it says so, else to `folder`.
pub(super) fn resolve_paths(settings: &mut Settings, path: Option<&Path>, folder: &Path) -> Result<()> {
    let beside_file = folder.join(path.and_then(Path::parent).unwrap_or(Path::new("")));
    for name in PLACES {
        let setting = settings.get(name).clone();
        let base = if matches!(setting.origin, Origin::File { .. }) { &beside_file } else { folder };
        let value = match &setting.value {
            Value::Array(_) => {
                let places: Vec<String> = settings.read(name)?;
                Value::from(places.iter().map(|place| absolute(place, base)).collect::<Vec<_>>())
            }
            _ => Value::String(absolute(&settings.read::<String>(name)?, base)),
        };
        settings.rewrite(name, value, setting.origin);
    }
    Ok(())
}

/// Joins a local path to a folder, `.` and `..` resolved by name; leaves URLs and empty texts alone.
fn absolute(place: &str, base: &Path) -> String {
    let is_box = place.split(',').filter(|edge| edge.trim().parse::<f64>().is_ok()).count() == 4;
    if place.is_empty() || is_box || place.contains("://") || place.starts_with("file:") {
        return place.to_owned();
    }
    let mut path = PathBuf::new();
    for part in base.join(place).components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                path.pop();
            }
            part => path.push(part),
        }
    }
    path.to_string_lossy().into_owned()
}

impl Pipeline {
    /// Checks every setting.
    pub(super) fn check(settings: &Settings) -> Result<Self> {
        Self {
            name: name(settings)?,
            input: input(settings)?,
            tiles: tiles(settings)?,
            grid: grid(settings)?,
            plan: plan(settings)?,
            model: model(settings)?,
            run: run(settings)?,
            output: output(settings)?,
            privacy: privacy(settings)?,
            limits: limits(settings)?,
            queue: queue(settings)?,
            observe: observe(settings)?,
            storage: storage(settings)?,
        }
        .with_tags_of_frames_only()
    }

    /// Refuses to keep tags of objects that are no DICOM.
    fn with_tags_of_frames_only(self) -> Result<Self> {
        let keeps_tags = self.privacy.as_ref().is_some_and(|privacy| !privacy.keep_tags.is_empty());
        if !keeps_tags || matches!(self.grid, Grid::Frames(_)) {
            return Ok(self);
        }
        Err(Error::config("`privacy.keep_tags` has no effect: `tiles.grid` is not \"frames\"").hint(
            "only DICOM objects have tags: set `tiles.grid = \"frames\"`, or leave privacy.keep_tags out",
        ))
    }

    /// Returns where the model lies.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`](crate::vocabulary::error::Kind::Config) if nothing says it; [`Pipeline::load`] lets no such
    /// pipeline pass.
    pub fn model_place(&self) -> Result<&ModelPlace> {
        let missing = || Error::config("the pipeline names no model").hint("give --model FILE");
        self.model.file.as_ref().ok_or_else(missing)
    }

    /// Says what a run still needs.
    pub(super) fn missing(&self) -> Vec<String> {
        let Input { uris, manifest, stac, .. } = &self.input;
        let no_input = uris.is_empty() && manifest.is_none() && stac.api.is_none();
        let needs = [
            (
                no_input,
                "no input: give --input URI, or set `input.uris`, `input.manifest` or `input.stac.api`",
            ),
            (self.model.file.is_none(), "no model: give --model FILE, or set `model.file`"),
            (self.output.uri.is_empty(), "no output: give --output URI, or set `output.uri`"),
            (
                self.privacy.is_none() && matches!(self.grid, Grid::Frames(_)),
                "medical images, but does not say what may be told of them: set `privacy.policy` to \"pseudonyms\", \
                 or to \"none\" for public data",
            ),
            (
                self.privacy.as_ref().is_some_and(|privacy| privacy.check_complete().is_err()),
                "no key or no vault of the pseudonyms: set `privacy.key_file` or TILEFLEET_PRIVACY_KEY, and \
                 `privacy.vault`",
            ),
        ];
        needs.iter().filter(|(missing, _)| *missing).map(|(_, what)| (*what).to_owned()).collect()
    }
}

/// Returns whether a pipeline may have this name: it begins the ids of its runs, and so names of folders.
#[must_use]
pub fn is_pipeline_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let starts_well = name.starts_with(|first: char| first.is_ascii_lowercase());
    starts_well && name.len() <= 41 && name.bytes().all(plain)
}

fn name(settings: &Settings) -> Result<String> {
    let name: String = settings.read("name")?;
    if is_pipeline_name(&name) {
        return Ok(name);
    }
    let expected = "a lower-case letter and up to 40 letters, digits or hyphens";
    Err(wrong(settings.get("name"), expected))
}

fn input(settings: &Settings) -> Result<Input> {
    let uris: Vec<String> = settings.read("input.uris")?;
    let input = Input {
        uris: uris.into_iter().filter(|uri| !uri.is_empty()).collect(),
        manifest: settings.read("input.manifest")?,
        allow: settings.read("input.allow")?,
        limit: Some(settings.read::<usize>("input.limit")? as u64).filter(|limit| *limit > 0),
        stac: StacInput {
            dates: settings.read("input.stac.dates")?,
            max_cloud_cover: settings.read::<PerCent>("input.stac.max_cloud_cover")?.0,
            api: settings.read("input.stac.api")?,
            collections: settings.read("input.stac.collections")?,
        },
    };
    if !input.uris.is_empty() && input.manifest.is_some() {
        let place = |name| format!("`{name}` ({})", settings.get(name).origin);
        let both = format!("{} and {} are both set", place("input.uris"), place("input.manifest"));
        return Err(Error::config(both).hint(
            "a run has one or the other; empty one with --set input.manifest= or --set input.uris=[]",
        ));
    }
    Ok(input)
}

fn tiles(settings: &Settings) -> Result<Tiles> {
    Ok(Tiles {
        grey: settings.choice(
            "tiles.grey",
            &[
                ("contract", None),
                ("replicate", Some(AcceptGrey::Replicate)),
                ("reject", Some(AcceptGrey::Reject)),
            ],
        )?,
        alpha: settings.choice(
            "tiles.alpha",
            &[("contract", None), ("drop", Some(AcceptAlpha::Drop)), ("reject", Some(AcceptAlpha::Reject))],
        )?,
        sixteen_bit: settings.choice(
            "tiles.sixteen_bit",
            &[
                ("contract", None),
                ("scale", Some(AcceptSixteenBit::Scale)),
                ("reject", Some(AcceptSixteenBit::Reject)),
            ],
        )?,
    })
}

fn plan(settings: &Settings) -> Result<Plan> {
    let shard_tiles: Option<NonZeroUsize> = settings.read("plan.shard_tiles")?;
    if shard_tiles.is_some_and(|tiles| tiles.get() > MAX_SHARD_TILES) {
        let expected = format!("\"auto\" or a whole number from 1 to {MAX_SHARD_TILES}");
        return Err(wrong(settings.get("plan.shard_tiles"), &expected));
    }
    Ok(Plan { shard_tiles, wait: settings.read("plan.wait")? })
}

fn model(settings: &Settings) -> Result<Model> {
    let file: Option<String> = settings.read("model.file")?;
    let file = file.as_deref().map(ModelPlace::parse).transpose().map_err(|error| {
        let origin = &settings.get("model.file").origin;
        Error::new(error.kind(), format!("`model.file` ({origin}) names no model")).because(error)
    })?;
    Ok(Model { file, embedding: settings.read("model.embedding")?, logits: settings.read("model.logits")? })
}

fn run(settings: &Settings) -> Result<Run> {
    Ok(Run {
        provider: settings
            .choice("run.provider", &Provider::ALL.map(|provider| (provider.name(), provider)))?,
        devices: settings.read("run.devices")?,
        precision: precision(settings)?,
        batch: settings.read("run.batch")?,
        threads: settings.read("run.threads")?,
        sessions: settings.read("run.sessions")?,
        spinning: settings.read("run.spinning")?,
        allow_saturation: settings.read("run.allow_saturation")?,
        probe_tolerance: settings.read::<AutomaticRatio>("run.probe_tolerance")?.0,
        providers: providers(settings)?,
        fetch_concurrency: settings.read("run.fetch_concurrency")?,
        memory_bytes: settings.read::<ByteSize>("run.memory")?.0,
        max_wait: settings.read("run.max_wait")?,
        grace: settings.read("run.grace")?,
        isolate: settings.choice(
            "run.isolate",
            &[("auto", Isolate::Auto), ("always", Isolate::Always), ("never", Isolate::Never)],
        )?,
    })
}

fn precision(settings: &Settings) -> Result<Option<Precision>> {
    let named = Precision::ALL.map(|precision| (precision.name(), Some(precision)));
    let choices: Vec<_> = std::iter::once(("auto", None)).chain(named).collect();
    settings.choice("run.precision", &choices)
}

/// Most effort of `TensorRT`'s builder.
const MAX_OPTIMISATION: usize = 5;

fn providers(settings: &Settings) -> Result<ProviderOptions> {
    let searches = [
        ("heuristic", ConvSearch::Heuristic),
        ("exhaustive", ConvSearch::Exhaustive),
        ("default", ConvSearch::Default),
    ];
    let num_bytes = |name| settings.read::<Option<ByteSize>>(name).map(|size| size.map(|size| size.0));
    let optimisation: usize = settings.read("tensorrt.optimisation")?;
    if optimisation > MAX_OPTIMISATION {
        let expected = format!("a whole number from 0 to {MAX_OPTIMISATION}");
        return Err(wrong(settings.get("tensorrt.optimisation"), &expected));
    }
    Ok(ProviderOptions {
        cpu_fallback: settings.read("run.cpu_fallback")?,
        cuda: CudaOptions {
            conv_search: settings.choice("cuda.conv_search", &searches)?,
            prefer_nhwc: settings.read("cuda.prefer_nhwc")?,
            memory_bytes: num_bytes("cuda.memory")?,
        },
        tensorrt: TensorrtOptions {
            cache: settings.read("tensorrt.cache")?,
            optimisation: optimisation as u8,
            workspace_bytes: num_bytes("tensorrt.workspace")?,
        },
    })
}

fn output(settings: &Settings) -> Result<Output> {
    let types = [EmbeddingType::Float32, EmbeddingType::Float16].map(|kind| (kind.name(), kind));
    Ok(Output {
        uri: settings.read("output.uri")?,
        embedding: settings.choice("output.embedding", &types)?,
        top_k: settings.read("output.top_k")?,
    })
}

fn limits(settings: &Settings) -> Result<Limits> {
    let count = |name| settings.read::<NonZeroUsize>(name).map(|count| count.get() as u64);
    Ok(Limits {
        max_reject_ratio: settings.read::<Ratio>("limits.max_reject_ratio")?.0,
        max_pixels: count("limits.max_pixels")?,
        max_object_bytes: settings.read::<ByteSize>("limits.max_object")?.0,
        decode_memory_bytes: settings.read::<AutomaticSize>("limits.decode_memory")?.0,
        decode_time: settings.read("limits.decode_time")?,
        max_windows: count("limits.max_windows")?,
        max_stac_items: count("limits.max_stac_items")?,
        max_stac_documents: count("limits.max_stac_documents")?,
        unreadable: Unreadable {
            tries: settings.read::<NonZeroUsize>("limits.unreadable_tries")?.get(),
            runs: settings.read::<NonZeroUsize>("limits.unreadable_runs")?.get(),
            after: settings.read("limits.unreadable_after")?,
            others: settings.read::<NonZeroUsize>("limits.unreadable_others")?.get(),
        },
    })
}

/// A lease is extended three times in its time, which takes a second or two where servers are far.
const SHORTEST_LEASE: Duration = Duration::from_secs(3);

/// More copies are not to be had.
const MOST_REPLICAS: usize = 5;

/// Returns hosts and ports of a queue's addresses, and nothing that may be a part of a password: what has a sign that no
/// host has is not shown, nor what stands before a comma where only a later address has an `@`.
#[must_use]
pub fn shown_addresses(urls: &str) -> String {
    let has_users = urls.contains('@');
    let shown = |url: &str| {
        let (scheme, rest) = url.trim().split_once("://")?;
        let host = match rest.rsplit_once('@') {
            Some((_, host)) => host,
            None if has_users => return None,
            None => rest,
        };
        let host = host.trim_end_matches('/');
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        (host.bytes().all(fits) && matches!(scheme, "nats" | "tls")).then(|| format!("{scheme}://{host}"))
    };
    if urls.is_empty() {
        return String::new();
    }
    let all = urls.split(',').map(|url| shown(url).unwrap_or_else(|| "(not shown)".to_owned()));
    all.collect::<Vec<_>>().join(",")
}

fn queue(settings: &Settings) -> Result<Option<Queue>> {
    let Some(urls) = settings.read::<Option<String>>("queue.url")? else { return Ok(None) };
    let servers: Vec<String> = urls.split(',').map(|url| url.trim().to_owned()).collect();
    let has_scheme = |url: &String| url.starts_with("nats://") || url.starts_with("tls://");
    if !servers.iter().all(has_scheme) {
        // Not shown: it may hold a password.
        return Err(Error::config(format!(
            "`queue.url` is no address of NATS ({})",
            settings.get("queue.url").origin
        ))
        .hint("it looks like nats://host:4222 or tls://host:4222; several stand between commas"));
    }
    let lease: Duration = settings.read("queue.lease")?;
    if lease < SHORTEST_LEASE {
        return Err(wrong(settings.get("queue.lease"), "a time of at least \"3s\""));
    }
    let replicas: NonZeroUsize = settings.read("queue.replicas")?;
    if replicas.get() > MOST_REPLICAS {
        return Err(wrong(settings.get("queue.replicas"), "a number from 1 to 5"));
    }
    Ok(Some(Queue {
        servers,
        name: queue_name(settings)?,
        credentials: settings.read::<Option<String>>("queue.credentials")?.map(PathBuf::from),
        lease,
        idle: settings.read("queue.idle")?,
        replicas,
    }))
}

/// Names the stream: NATS allows more, but no dots, wildcards or slashes.
fn queue_name(settings: &Settings) -> Result<String> {
    let Some(named) = settings.read::<Option<String>>("queue.name")? else {
        return Ok(format!("tilefleet-{}", name(settings)?));
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if named.len() <= 200 && named.bytes().all(fits) {
        return Ok(named);
    }
    Err(wrong(settings.get("queue.name"), "up to 200 letters, digits, hyphens and underscores"))
}

fn observe(settings: &Settings) -> Result<Observe> {
    let listen: Option<String> = settings.read("observe.listen")?;
    let address = |text: String| {
        let wrong =
            |_| wrong(settings.get("observe.listen"), "an address and a port, such as \"0.0.0.0:9464\"");
        text.parse().map_err(wrong)
    };
    Ok(Observe { listen: listen.map(address).transpose()? })
}

/// Checks what looking at single sources needs; the settings may hold no other section.
pub(super) fn looking(settings: &Settings) -> Result<super::InspectOptions> {
    let (limits, tiles, grid) = (limits(settings)?, tiles(settings)?, grid(settings)?);
    let other_grid = if grid.windows().is_none() { Some(windows(settings)?) } else { None };
    let frames = frames(settings)?;
    let stac = StacInput {
        dates: settings.read("input.stac.dates")?,
        max_cloud_cover: settings.read::<PerCent>("input.stac.max_cloud_cover")?.0,
        ..StacInput::default()
    };
    let (storage, burned_in) = (storage(settings)?, burned_in(settings)?);
    Ok(super::InspectOptions { storage, limits, tiles, grid, other_grid, frames, burned_in, stac })
}

/// Checks `[storage]`; the settings may hold no other section.
pub(super) fn storage(settings: &Settings) -> Result<StorageOptions> {
    let hosts = settings.read("storage.sign_hosts")?;
    let options = StorageOptions {
        endpoint: settings.read("storage.endpoint")?,
        region: settings.read("storage.region")?,
        profile: settings.read("storage.profile")?,
        anonymous: settings.read("storage.anonymous")?,
        requester_pays: settings.read("storage.requester_pays")?,
        allow_http: settings.read("storage.allow_http")?,
        max_retries: settings.read("storage.max_retries")?,
        retry_timeout: settings.read("storage.retry_timeout")?,
        request_timeout: settings.read("storage.request_timeout")?,
        min_rate: settings.read::<ByteSize>("storage.min_rate")?.0,
        connect_timeout: settings.read("storage.connect_timeout")?,
        sign: settings
            .read::<Option<String>>("storage.sign_endpoint")?
            .map(|endpoint| SignOptions { endpoint, hosts }),
    };
    options.check()?;
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_right_but_for_the_name() {
        let mut settings = Settings::defaults();
        assert!(Pipeline::check(&settings).unwrap_err().to_string().starts_with("`name` must be"));
        name_after_file(&mut settings, Some(Path::new("jobs/sentinel-2.toml")));
        let pipeline = Pipeline::check(&settings).unwrap();
        assert_eq!(pipeline.name, "sentinel-2");
        assert_eq!(pipeline.plan.shard_tiles, None);
        assert_eq!(pipeline.run.memory_bytes, 512 << 20);
        assert_eq!(pipeline.limits.max_object_bytes, 256 << 20);
        assert_eq!(pipeline.limits.unreadable, Unreadable::default());
        assert_eq!(pipeline.storage, StorageOptions::default());
        assert_eq!(pipeline.run.providers, ProviderOptions::default());
        assert_eq!(pipeline.run.devices, Devices::These(vec![0]));
    }

    #[test]
    fn no_part_of_a_password_is_shown() {
        for (url, shown) in [
            ("", ""),
            ("nats://queue:4222", "nats://queue:4222"),
            ("tls://[::1]:4222/", "tls://[::1]:4222"),
            ("nats://fleet:secret@queue", "nats://queue"),
            ("nats://fleet:se cr'et@queue:4222", "nats://queue:4222"),
            ("nats://fleet:se@cr/et?#@queue:4222", "nats://queue:4222"),
            ("nats://fleet:secret/x@y", "nats://y"),
            ("nats://fleet:se,cret@queue,nats://b", "(not shown),(not shown),(not shown)"),
            ("nats://a:b@one,nats://a:b@two:1", "nats://one,nats://two:1"),
            ("nats://one,nats://two", "nats://one,nats://two"),
            ("nats://fleet:se<cret", "(not shown)"),
            ("nats://fleet@secret/word", "(not shown)"),
            ("secret", "(not shown)"),
        ] {
            assert_eq!(shown_addresses(url), shown, "{url}");
        }
    }

    #[test]
    fn names_start_run_ids() {
        let named = |name: &str| {
            let mut settings = Settings::defaults();
            settings.rewrite("name", name.into(), Origin::Default);
            Pipeline::check(&settings).is_ok()
        };
        for good in ["a", "tiles", "s2-l2a", &"a".repeat(41)] {
            assert!(named(good), "{good}");
        }
        for bad in ["", "2tiles", "-a", "Tiles", "a_b", "a b", "ä", &"a".repeat(42)] {
            assert!(!named(bad), "{bad}");
        }
    }

    #[test]
    fn the_pipeline_overrides_the_contract_only_where_it_speaks() {
        let contract = Accept { sixteen_bit: AcceptSixteenBit::Scale, ..Accept::default() };
        let tiles = Tiles { grey: Some(AcceptGrey::Reject), alpha: None, sixteen_bit: None };
        let accept = tiles.over(contract);
        assert_eq!(accept, Accept { grey: AcceptGrey::Reject, ..contract });
    }
}
