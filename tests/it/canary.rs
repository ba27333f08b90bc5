//! Nothing of what names a person is seen where sources have pseudonyms: folders, files and manifest columns are stuffed
//! with recognisable names, all commands of an output's life are run over them as a person would, and all that they
//! leave and say is searched.
//!
//! `identity.rs` asks the same of the stages, fault by fault; this asks it of the commands and of `[privacy]`. More kinds of
//! files are added to [`FILES`].

use std::collections::BTreeSet;
use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tilefleet::calibrate::{Reader, Split, TileSelection};
use tilefleet::config::looking;
use tilefleet::formats::cog_writer::{self, Band, Colours, Image, Reduce};
use tilefleet::vocabulary::contract::Contract;
use tilefleet::vocabulary::geometry::Size;

use crate::fixture::{Row, assert_exit, jpeg, png, rows, shown, small_model};
use crate::support;
use crate::support::s3_server::S3Server;

/// What must not be seen, in any case: names, an id, a date of birth, a ward. No other text of a run has them.
const PLANTED: [&str; 6] = ["Quimby", "Zoe", "MRN4711", "19530417", "Wardsix", "Hollerith"];
/// The secret, which must be seen nowhere at all.
const SECRET: &str = "correct-horse-battery-staple";

/// A file below the input: its name, and how it is made.
type Planted = (&'static str, fn() -> Vec<u8>);

/// Good and broken ones.
const FILES: [Planted; 8] = [
    ("Wardsix/Quimby_Zoe/MRN4711_19530417-1.jpg", || jpeg(1)),
    ("Wardsix/Quimby_Zoe/MRN4711_19530417-2.jpg", || jpeg(2)),
    ("Wardsix/Quimby_Zoe/Hollerith-renamed.jpg", || png(3, false)),
    ("Wardsix/Quimby_Zoe/Hollerith-cut.jpg", || jpeg(4)[..700].to_vec()),
    ("Wardsix/Quimby_Zoe/Hollerith-deep.png", || png(5, true)),
    ("Wardsix/Quimby_Zoe/Hollerith-empty.png", Vec::new),
    ("Wardsix/Quimby_Zoe/Hollerith-text.jpg", || {
        b"Zoe Quimby, MRN4711, born 19530417, was not here".to_vec()
    }),
    // Its extension is a name too.
    ("Wardsix/Quimby_Zoe/scan.Hollerith", || jpeg(6)),
];

/// An output, its vault, and everything that commands have said so far.
struct Canary {
    folder: tempfile::TempDir,
    said: Vec<(String, Output)>,
}

impl Canary {
    fn new(input: &str, settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, make) in FILES {
            let path = folder.path().join("images").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, make()).unwrap();
        }
        let canary = Self { folder, said: Vec::new() };
        canary.write_key("key", SECRET);
        canary.list(0..FILES.len());
        canary.write_pipeline("photos", input, settings);
        canary
    }

    /// Of DICOM objects: a patient in each, or what is left of one; `None` where nobody can make them.
    fn of_dicom(kind: &str, settings: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("images")).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/oracles/dicom_run_oracle.py");
        let mut make = Command::new(support::python()?);
        support::stdout_of(make.arg(script).args(["make", kind]).arg(folder.path().join("images")));
        let canary = Self { folder, said: Vec::new() };
        canary.write_key("key", SECRET);
        canary.write_pipeline("photos", FOLDER, &format!("{settings}[tiles]\ngrid = \"frames\"\n"));
        Some(canary)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn table(&self) -> PathBuf {
        self.path("table")
    }

    fn write_key(&self, name: &str, secret: &str) {
        fs::write(self.path(name), format!("{secret}\n")).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Writes a manifest of some files whose columns are names too, and one that is wanted.
    fn list(&self, files: impl IntoIterator<Item = usize>) {
        let line = |at: usize| format!("images/{},Quimby^Zoe,19530417,{at}", FILES[at].0);
        let header = "uri,Hollerith_patient,born,stage".to_owned();
        let gone = "images/Wardsix/Quimby_Zoe/MRN4711-gone.jpg,Quimby^Zoe,19530417,99".to_owned();
        let lines: Vec<String> =
            std::iter::once(header).chain(files.into_iter().map(line)).chain([gone]).collect();
        fs::write(self.path("Hollerith.csv"), lines.join("\n")).unwrap();
    }

    /// Writes a manifest of some files, of three patients in turns.
    fn list_patients(&self, files: impl IntoIterator<Item = usize>) {
        let line = |at: usize| format!("images/{},patient-{:02}", FILES[at].0, at % 3);
        let lines: Vec<String> =
            std::iter::once("uri,patient".to_owned()).chain(files.into_iter().map(line)).collect();
        fs::write(self.path("Hollerith.csv"), lines.join("\n")).unwrap();
    }

    fn write_pipeline(&self, name: &str, input: &str, settings: &str) {
        let text = format!(
            "[input]\n{input}\n[model]\nfile = \"{}\"\n[output]\nuri = \"table\"\n[limits]\nmax_reject_ratio = 1.0\n{settings}\n",
            small_model().display()
        );
        fs::write(self.path(&format!("{name}.toml")), text).unwrap();
    }

    /// Runs a command with everything logged, and keeps what it says.
    fn say(&mut self, words: &[&str]) -> Output {
        self.say_with(words, &[], "")
    }

    fn say_with(&mut self, words: &[&str], variables: &[(&str, &str)], input: &str) -> Output {
        let mut command = support::tilefleet();
        command.args(words).args(["-vv", "--log-format", "json"]).current_dir(self.folder.path());
        command.env("TILEFLEET_LOG", "trace").env("RUST_LOG", "trace").env("RUST_BACKTRACE", "1");
        command.envs(variables.iter().copied());
        let output = output_of(command, input);
        self.said.push((words.join(" "), output.clone()));
        output
    }

    fn say_ok(&mut self, words: &[&str]) -> String {
        let output = self.say(words);
        assert_exit(&output, 0);
        String::from_utf8(output.stdout).unwrap()
    }

    /// Returns each place where something planted is seen: a command that said it, or a file of the table.
    fn seen(&self, planted: &[&str]) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        let mut look = |place: String, text: &[u8]| {
            let text = String::from_utf8_lossy(text).to_lowercase();
            let found = planted.iter().find(|it| text.contains(&it.to_lowercase()));
            seen.extend(found.map(|found| format!("{found} in {place}")));
        };
        for (words, output) in &self.said {
            look(format!("standard output of {words}"), &output.stdout);
            look(format!("standard error of {words}: {}", of_lines(&output.stderr, planted)), &output.stderr);
        }
        for path in files(&self.table()) {
            let name = path.strip_prefix(self.folder.path()).unwrap().display().to_string();
            look(format!("the name of {name}"), name.as_bytes());
            let bytes = fs::read(&path).unwrap();
            if name.ends_with(".parquet") {
                look(format!("the rows of {name}"), parquet_text(&path).as_bytes());
            }
            look(format!("the bytes of {name}"), &bytes);
        }
        seen
    }

    /// Nothing planted is seen, nor the secret.
    fn check(&self) {
        let planted: Vec<&str> = PLANTED.into_iter().chain([SECRET]).collect();
        assert_eq!(self.seen(&planted), BTreeSet::new());
    }

    /// Returns the tables of sources in the vault, as text.
    fn vault(&self) -> Vec<String> {
        let tables = files(&self.path("vault")).into_iter().filter(|path| path.ends_with("sources.parquet"));
        tables.map(|path| parquet_text(&path)).collect()
    }
}

fn output_of(mut command: Command, input: &str) -> Output {
    use std::io::Write as _;
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    // Whoever reads no input may have closed it already.
    let _ = process.stdin.take().unwrap().write_all(input.as_bytes());
    process.wait_with_output().unwrap()
}

/// Returns the lines with something planted, for whoever reads that the test has failed.
fn of_lines(text: &[u8], planted: &[&str]) -> String {
    let text = String::from_utf8_lossy(text).into_owned();
    let holds = |line: &&str| planted.iter().any(|it| line.to_lowercase().contains(&it.to_lowercase()));
    text.lines().filter(holds).take(3).collect::<Vec<_>>().join("\n")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() { found.extend(files(&entry.path())) } else { found.push(entry.path()) }
    }
    found
}

/// Returns all values of a Parquet file, and all its metadata.
fn parquet_text(path: &Path) -> String {
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap();
    let metadata = format!("{:?} {:?}", reader.schema(), reader.metadata().file_metadata());
    let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
    format!("{} {metadata}", arrow::util::pretty::pretty_format_batches(&batches).unwrap())
}

const PSEUDONYMS: &str = "[privacy]\npolicy = \"pseudonyms\"\nkey_file = \"key\"\nvault = \"vault\"\n";
const FOLDER: &str = "uris = [\"images\"]";
const MANIFEST: &str = "manifest = \"Hollerith.csv\"";

fn outcomes(rows: &[Row]) -> Vec<(String, Option<String>)> {
    let mut outcomes: Vec<_> = rows.iter().map(|row| (row.status.clone(), row.reason.clone())).collect();
    outcomes.sort();
    outcomes
}

/// The search finds what it is to find: without pseudonyms everything is seen.
#[test]
fn the_canary_sings_where_uris_are_shown() {
    for policy in ["", "[privacy]\npolicy = \"none\"\n"] {
        let mut canary = Canary::new(MANIFEST, policy);
        canary.say_ok(&["run", "photos.toml", "--json"]);
        canary.say_ok(&["rejects", "table", "--all"]);
        let seen = canary.seen(&PLANTED);
        let all = |place: &str| seen.iter().any(|it| it.contains(place));
        for place in
            ["standard output of rejects", "rows of table/tiles", "rows of table/_tilefleet", "run.json"]
        {
            assert!(all(place), "{place} is not among {seen:#?}");
        }
        let record = files(&canary.table()).into_iter().find(|path| path.ends_with("run.json")).unwrap();
        let record: serde_json::Value = serde_json::from_slice(&fs::read(record).unwrap()).unwrap();
        assert_eq!(record["privacy"]["policy"].as_str(), if policy.is_empty() { None } else { Some("none") });
        let shard =
            files(&canary.table()).into_iter().find(|path| path.to_str().unwrap().contains("shard")).unwrap();
        assert_eq!(parquet_text(&shard).contains("tilefleet.privacy"), !policy.is_empty());
    }
}

/// Run, looked at, run again, retried, compacted, deleted: nothing planted is seen, and the rows are those of a run
/// without pseudonyms.
#[test]
fn no_name_is_seen_in_the_life_of_an_output() {
    let mut public = Canary::new(MANIFEST, "");
    public.say_ok(&["run", "photos.toml"]);
    let settings = format!("{PSEUDONYMS}keep_columns = [\"stage\"]");
    let mut canary = Canary::new(MANIFEST, &settings);
    canary.list(0..4);
    canary.say_ok(&["plan", "photos.toml", "--dry-run"]);
    canary.say_ok(&["run", "photos.toml"]);
    // The rest is new.
    canary.list(0..FILES.len());
    canary.say_ok(&["plan", "photos.toml", "--json"]);
    canary.say_ok(&["run", "photos.toml", "--json"]);
    let again = canary.say_ok(&["run", "photos.toml"]);
    assert!(again.contains("nothing new"), "{again}");
    assert_eq!(outcomes(&shown(&canary.table())), outcomes(&shown(&public.table())));
    let stages = "SELECT extra['stage'] AS stage FROM tiles ORDER BY 1";
    assert!(read_without_key(&mut canary, stages).contains("99"));
    let cured = canary.path("images/Wardsix/Quimby_Zoe/Hollerith-cut.jpg");
    fs::write(cured, jpeg(4)).unwrap();
    let unkeyed = canary.say(&["rejects", "table", "--retry"]);
    assert_exit(&unkeyed, 78);
    canary.say_ok(&[
        "rejects",
        "table",
        "--retry",
        "--set",
        "privacy.vault=vault",
        "--set",
        "privacy.key_file=key",
    ]);
    assert_exit(&canary.say(&["runs", "table", "compact"]), 78);
    canary.say_ok(&["runs", "table", "compact", "--vault", "vault", "--key-file", "key", "--json"]);
    canary.say_ok(&["verify", "table", "--deep"]);
    assert_eq!(canary.vault().len(), 1, "those of the runs that are compacted go with them");
    let vault = canary.vault().remove(0);
    assert!(
        FILES.iter().filter(|(name, _)| !name.contains(' ')).all(|(name, _)| vault.contains(name)),
        "{vault}"
    );
    canary.check();
    delete_all(&mut canary);
    canary.check();
}

/// Everything that only reads needs neither key nor vault.
fn read_without_key(canary: &mut Canary, question: &str) -> String {
    let vault = (canary.path("vault"), canary.path("locked"));
    fs::rename(&vault.0, &vault.1).unwrap();
    for words in [
        &["verify", "table"][..],
        &["verify", "table", "--deep", "--json"],
        &["status", "table", "--json"],
        &["rejects", "table", "--all"],
        &["rejects", "table", "--json"],
        &["runs", "table"],
        &["runs", "table", "--json"],
        &["query", "table", "SELECT * FROM tiles"],
        &["query", "table", "SELECT * FROM tiles_all", "--json"],
    ] {
        canary.say_ok(words);
    }
    let answer = canary.say_ok(&["query", "table", question, "--json"]);
    fs::rename(&vault.1, &vault.0).unwrap();
    answer
}

/// Without the vault its table stays, which is said; with it, that goes too.
fn delete_all(canary: &mut Canary) {
    let listed = canary.say_ok(&["runs", "table", "--json"]);
    let runs: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let ids: Vec<String> =
        runs.as_array().unwrap().iter().map(|run| run["run_id"].as_str().unwrap().to_owned()).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let deleted = canary.say(&[&["runs", "table", "delete", "--yes"], &ids[..]].concat());
    assert_exit(&deleted, 0);
    assert!(String::from_utf8_lossy(&deleted.stderr).contains("stay in the vault"));
    assert_eq!(canary.vault().len(), 1);
    canary.say_ok(&[&["runs", "table", "delete", "--yes", "--vault", "vault"], &ids[..]].concat());
    assert_eq!(canary.vault().len(), 0);
}

/// Scenes are recorded with the files that they lie in: what the output keeps of that tells no file, and is enough to read.
#[test]
fn no_name_is_seen_of_scenes() {
    let band = |name: &str| Band { description: name.to_owned(), scale: None };
    let scene = cog_writer::encode(&Image {
        size: Size { width: 128, height: 128 },
        bands: ["red", "green", "blue"].map(band).to_vec(),
        samples: (0..128 * 128 * 3).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect(),
        nodata: None,
        reduce: Reduce::Mean,
        colours: Colours::Values,
        place: None,
        notes: Vec::new(),
    })
    .unwrap();
    let settings = format!("{PSEUDONYMS}[tiles]\ngrid = \"regular\"\nbands = [1, 2, 3]");
    let mut canary = Canary::new("uris = [\"images/*/*/*.tif\"]", &settings);
    let folder = canary.path("images/Wardsix/Quimby_Zoe");
    fs::write(folder.join("MRN4711.tif"), &scene).unwrap();
    fs::write(folder.join("MRN4711-cut.tif"), &scene[..scene.len() / 2]).unwrap();
    canary.say_ok(&["run", "photos.toml"]);
    fs::write(folder.join("MRN4711-later.tif"), &scene).unwrap();
    canary.say_ok(&["run", "photos.toml"]);
    let before = outcomes(&shown(&canary.table()));
    assert!(before.iter().filter(|(status, _)| status == "ok").count() > 2, "{before:?}");
    read_without_key(&mut canary, "SELECT status FROM tiles");
    canary.say_ok(&["runs", "table", "compact", "--vault", "vault", "--key-file", "key"]);
    canary.say_ok(&["verify", "table", "--deep"]);
    assert_eq!(outcomes(&shown(&canary.table())), before);
    canary.check();
}

/// What a person has to put right is said without what was planted.
#[test]
fn no_name_is_seen_in_what_is_refused() {
    let mut canary = Canary::new(FOLDER, PSEUDONYMS);
    canary.write_key("other", "another-horse-battery-staple");
    canary.write_key("short", "horse");
    canary.say_ok(&["run", "photos.toml"]);
    let refused: [(&[&str], &str); 13] = [
        (&["--set", "privacy.key_file=other"], "two keys in one output"),
        (&["--set", "privacy.key_file=short"], "is not a key file"),
        (&["--set", "privacy.key_file=none"], "cannot read the key file"),
        (&["--set", "privacy.key_file="], "need a key"),
        (&["--set", "privacy.vault="], "there is no vault"),
        (&["--set", "privacy.vault=table"], "lies in the output"),
        (&["--set", "privacy.vault=table/deep/vault"], "lies in the output"),
        (&["--set", "privacy.vault=https://host/vault"], "cannot be a vault"),
        (&["--set", "privacy.vault=elsewhere"], "sources.parquet is missing"),
        (
            &["--set", "privacy.policy=none", "--set", "privacy.vault=", "--set", "privacy.key_file="],
            "have pseudonyms",
        ),
        (&["--set", "privacy.policy=pseudonym"], "did you mean \\\"pseudonyms\\\""),
        (&["--set", "input.uris=images/Wardsix/Quimby_Zoe/[MRN4711"], "not a valid pattern"),
        (&["--set", "input.uris=images/Hollerith/MRN4711/"], "no such file or folder"),
    ];
    for (settings, says) in refused {
        let output = canary.say(&[&["run", "photos.toml"], settings].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{settings:?}: {said}");
        assert!(said.contains(says), "{settings:?}: {said}");
    }
    // By a link, too.
    std::os::unix::fs::symlink(canary.table(), canary.path("link")).unwrap();
    assert_exit(&canary.say(&["run", "photos.toml", "--set", "privacy.vault=link/vault"]), 78);
    canary.write_pipeline("listed", MANIFEST, &format!("{PSEUDONYMS}keep_columns = [\"stag\"]"));
    let misspelt = canary.say(&["run", "listed.toml", "--output", "elsewhere"]);
    assert_exit(&misspelt, 78);
    // The other way round: what shows URIs cannot get pseudonyms.
    canary.check();
    let mut public = Canary::new(FOLDER, "");
    public.say_ok(&["run", "photos.toml"]);
    public.write_pipeline("photos", FOLDER, PSEUDONYMS);
    let output = public.say(&["run", "photos.toml"]);
    assert_exit(&output, 78);
    assert!(String::from_utf8_lossy(&output.stderr).contains("shows the URIs of its sources"));
}

/// The key may be in the environment; outputs share a vault, and one that is begun anew adopts nothing of the one before.
#[test]
fn outputs_share_a_vault_and_keys_join() {
    let mut canary = Canary::new(FOLDER, PSEUDONYMS);
    let key = [("TILEFLEET_PRIVACY_KEY", SECRET)];
    let run = |canary: &mut Canary, output: &str| {
        let words = ["run", "photos.toml", "--set", "privacy.key_file=", "--output", output];
        let ran = canary.say_with(&words, &key, "");
        assert_exit(&ran, 0);
    };
    run(&mut canary, "table");
    let first = rows(&canary.table());
    fs::remove_dir_all(canary.table()).unwrap();
    fs::remove_file(canary.path("images").join(FILES[0].0)).unwrap();
    run(&mut canary, "table");
    run(&mut canary, "table/../second");
    assert_eq!(canary.vault().len(), 3);
    let sources = |rows: &[Row]| rows.iter().map(|row| row.source.clone()).collect::<BTreeSet<_>>();
    let (second, other) = (rows(&canary.table()), rows(&canary.path("second")));
    assert_eq!((first.len(), sources(&first).len()), (FILES.len(), FILES.len()));
    assert_eq!(second.len(), FILES.len() - 1, "the old election was adopted");
    assert_eq!(sources(&second), sources(&other));
    assert!(sources(&second).is_subset(&sources(&first)), "one key makes one name");
    // The same key joins what somebody else has a list of.
    let ids: Vec<String> = FILES.iter().map(|(name, _)| format!("images/{name}")).collect();
    let words = ["pseudonym", "--key-file", "key", "--kind", "source", "-"];
    let made = canary.say_with(&words, &[], &ids.join("\n"));
    assert_exit(&made, 0);
    let made = String::from_utf8(made.stdout).unwrap();
    assert_eq!(made.lines().map(str::to_owned).collect::<BTreeSet<_>>(), sources(&first));
    canary.check();
}

/// From bucket to bucket, with a vault in another one, by two workers at once: they elect one run, and each reads the vault.
#[test]
fn workers_share_a_vault_in_a_bucket() {
    let Some(server) = support::seaweedfs() else { return };
    let canary = Canary::new(FOLDER, "");
    for bucket in ["scenes", "vault"] {
        server.create_bucket(bucket);
    }
    server.put_dir("scenes", "images", &canary.path("images"));
    let pseudonyms = PSEUDONYMS.replace("\"vault\"", "\"s3://vault/of/ours\"");
    let settings = format!("{pseudonyms}[plan]\nshard_tiles = 1");
    canary.write_pipeline("photos", "uris = [\"s3://scenes/images/\"]", &settings);
    let tilefleet = |words: &[&str]| {
        let mut command = support::tilefleet();
        command.args(words).current_dir(canary.folder.path());
        command.envs(S3Server::variables(&server.endpoint(), S3Server::OWNER)).env("TILEFLEET_LOG", "trace");
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let run = ["run", "photos.toml", "--output", "s3://scenes/table", "-vv"];
    for worker in [tilefleet(&run), tilefleet(&run)] {
        let ended = worker.wait_with_output().unwrap();
        assert_exit(&ended, 0);
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(
            PLANTED.iter().all(|planted| !said.contains(planted)),
            "{}",
            of_lines(said.as_bytes(), &PLANTED)
        );
    }
    let sources = server.keys("vault", "of/ours/").into_iter().filter(|key| key.ends_with("sources.parquet"));
    assert_eq!(sources.count(), 1, "one run was elected");
    let keys = server.keys("scenes", "table/");
    assert_eq!(keys.iter().filter(|key| key.contains("shard-")).count(), FILES.len());
    for key in &keys {
        let text = String::from_utf8_lossy(&server.get("scenes", key)).into_owned();
        assert!(PLANTED.iter().all(|planted| !text.contains(planted) && !key.contains(planted)), "{key}");
    }
    assert_exit(&tilefleet(&["verify", "s3://scenes/table", "--deep"]).wait_with_output().unwrap(), 0);
    let delete = [
        "runs",
        "s3://scenes/table",
        "delete",
        "--older-than",
        "0s",
        "--yes",
        "--vault",
        "s3://vault/of/ours",
    ];
    assert_exit(&tilefleet(&delete).wait_with_output().unwrap(), 0);
    let left = server.keys("vault", "of/ours/").into_iter().filter(|key| key.ends_with("sources.parquet"));
    assert_eq!(left.count(), 0);
}

/// Everything of some people is taken out of every run and of the vault, and nobody else's rows change.
#[test]
fn erased_people_are_in_no_row_and_in_no_vault() {
    let mut canary = Canary::new(MANIFEST, "");
    let settings = format!("{PSEUDONYMS}keep_columns = [\"patient\"]\n[plan]\nshard_tiles = 2");
    canary.write_pipeline("photos", MANIFEST, &settings);
    canary.list_patients(0..4);
    canary.say_ok(&["run", "photos.toml"]);
    canary.list_patients(0..FILES.len());
    canary.say_ok(&["run", "photos.toml"]);
    let tables = |canary: &Canary| files(&canary.table()).into_iter().chain(files(&canary.path("vault")));
    let before: Vec<(PathBuf, Vec<u8>)> =
        tables(&canary).map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    let sources = |canary: &Canary, reason: &str| {
        let erased = rows(&canary.table()).into_iter().filter(|row| row.reason.as_deref() == Some(reason));
        erased.map(|row| row.source).collect::<BTreeSet<_>>()
    };
    fs::write(canary.path("keys"), "patient-01\npatient-77\n").unwrap();
    let command = ["runs", "table", "erase", "--patients", "keys", "--column", "extra.patient"];
    let secrets = ["--vault", "vault", "--key-file", "key"];
    assert_exit(&canary.say(&command), 78);
    assert_exit(
        &canary.say(&[&["runs", "table", "erase", "--patient", "patient-01"], &secrets[..]].concat()),
        78,
    );
    let asked = [&command[..], &secrets, &["--json"]].concat();
    let proposed = canary.say(&asked);
    assert_exit(&proposed, 64);
    let proposed: serde_json::Value = serde_json::from_slice(&proposed.stdout).unwrap();
    assert_eq!((&proposed["sources"], &proposed["unknown_keys"]), (&3.into(), &1.into()));
    assert!(tables(&canary).eq(before.iter().map(|(path, _)| path.clone())), "it wrote something");
    let others = |canary: &Canary| -> Vec<Row> {
        let names = sources(canary, "erased");
        rows(&canary.table()).into_iter().filter(|row| !names.contains(&row.source)).collect()
    };
    let asked = [&asked[..], &["--yes"]].concat();
    let all = rows(&canary.table());
    canary.say_ok(&asked);
    let erased = sources(&canary, "erased");
    assert_eq!(erased.len(), 3);
    let kept: Vec<Row> = all.into_iter().filter(|row| !erased.contains(&row.source)).collect();
    assert_eq!(others(&canary), kept, "nobody else's row changes");
    check_erased(&mut canary);
    // As if it had been interrupted: what was written first is there, the rest is as before.
    for (path, bytes) in before.iter().filter(|(path, _)| !path.ends_with("summary.json")).skip(2) {
        fs::write(path, bytes).unwrap();
    }
    assert_ne!(sources(&canary, "erased"), erased);
    canary.say_ok(
        &[
            &["runs", "table", "erase", "--patient", "patient-77", "--column", "extra.patient", "--yes"],
            &secrets[..],
        ]
        .concat(),
    );
    assert_eq!((sources(&canary, "erased"), others(&canary)), (erased, kept.clone()));
    check_erased(&mut canary);
    let again = canary.say_ok(&["run", "photos.toml"]);
    assert!(again.contains("nothing new"), "{again}");
    canary.say_ok(&[&["runs", "table", "compact"], &secrets[..]].concat());
    canary.say_ok(&["verify", "table", "--deep"]);
    let ids = |rows: &[Row]| rows.iter().map(|row| row.tile_id.clone()).collect::<BTreeSet<_>>();
    assert_eq!(ids(&rows(&canary.table())), ids(&kept));
    canary.say_ok(&["run", "photos.toml"]);
    check_erased(&mut canary);
    canary.check();
}

/// Nothing of the second patient is left: file 1, 4 and 7.
fn check_erased(canary: &mut Canary) {
    canary.say_ok(&["verify", "table", "--deep"]);
    let status = canary.say_ok(&["status", "table", "--json"]);
    assert!(status.contains("run_id"), "{status}");
    for path in files(&canary.table()).into_iter().chain(files(&canary.path("vault"))) {
        let is_table = path.extension().is_some_and(|extension| extension == "parquet");
        let text = if is_table { parquet_text(&path) } else { String::new() };
        let text = format!("{text}{}", String::from_utf8_lossy(&fs::read(&path).unwrap()));
        let left = ["patient-01", FILES[1].0, FILES[4].0, FILES[7].0].iter().find(|it| text.contains(**it));
        assert_eq!(left, None, "{}", path.display());
    }
    let vault = canary.vault().concat();
    assert!(vault.contains(FILES[0].0) && vault.contains(FILES[2].0));
    let rows =
        canary.say_ok(&["query", "table", "SELECT * FROM tiles_all WHERE reason = 'erased'", "--json"]);
    let rows: serde_json::Value = serde_json::from_str(&rows).unwrap();
    for row in rows.as_array().unwrap() {
        for column in ["embedding", "extra", "source_version", "class_id", "score", "detail"] {
            assert!(row[column].is_null(), "{column} of {row}");
        }
    }
}

/// One line per id in their order, and nothing of the ids.
#[test]
fn pseudonyms_are_printed_in_the_order_of_ids() {
    let mut canary = Canary::new(FOLDER, PSEUDONYMS);
    let input = "MRN4711\n\n MRN4711 \r\nQuimby\n";
    let words = ["pseudonym", "--key-file", "key", "--issuer", "Wardsix", "-"];
    let made = canary.say_with(&words, &[], input);
    assert_exit(&made, 0);
    let lines: Vec<String> = String::from_utf8(made.stdout).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 4);
    assert_eq!((lines[0].len(), lines[1].as_str(), &lines[2]), (32, "", &lines[0]));
    assert_ne!(lines[3], lines[0]);
    let json = canary.say_with(&[&words[..], &["--json"]].concat(), &[], input);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["keys"], serde_json::json!([lines[0], null, lines[2], lines[3]]));
    assert_eq!((json["kind"].as_str(), json["key_id"].as_str().map(str::len)), (Some("patient"), Some(8)));
    assert_exit(
        &canary.say(&["pseudonym", "--key-file", "key", "--kind", "study", "--issuer", "H", "1.2"]),
        64,
    );
    let hidden: Vec<&str> = ["4711", "Quimby", SECRET].to_vec();
    canary.said.retain(|(words, _)| words.contains('-'));
    let said = canary.seen(&hidden);
    assert_eq!(said, BTreeSet::new());
}

/// Elements of the objects that a table may not hold: study dates and UIDs.
const OF_OBJECTS: [&str; 4] = ["20231109", "20231224", "2.25.4711", "2023-11-09"];

fn query(canary: &mut Canary, sql: &str) -> Vec<serde_json::Value> {
    serde_json::from_str(&canary.say_ok(&["query", "table", sql, "--json"])).unwrap()
}

/// Objects full of names, ids, dates and UIDs, good and broken, in the life of an output: nothing of them is seen.
#[test]
fn no_name_in_dicom_objects_is_seen() {
    let settings = format!("{PSEUDONYMS}dates = \"shifted\"\n");
    let Some(mut canary) = Canary::of_dicom("people", &settings) else { return };
    canary.say_ok(&["plan", "photos.toml", "--dry-run"]);
    canary.say_ok(&["run", "photos.toml", "--json"]);
    assert!(canary.say_ok(&["run", "photos.toml"]).contains("nothing new"));
    let retry =
        ["rejects", "table", "--retry", "--set", "privacy.vault=vault", "--set", "privacy.key_file=key"];
    canary.say_ok(&retry);
    for words in [
        &["verify", "table", "--deep", "--json"][..],
        &["status", "table", "--json"],
        &["rejects", "table", "--all"],
        &["runs", "table", "--json"],
        &["query", "table", "SELECT * FROM tiles_all"],
    ] {
        canary.say_ok(words);
    }
    let outcomes =
        query(&mut canary, "SELECT status, reason, count(*) AS num FROM tiles GROUP BY 1, 2 ORDER BY 2");
    let expected = serde_json::json!([
        { "status": "rejected", "reason": "corrupt", "num": 2 },
        { "status": "rejected", "reason": "not_image", "num": 1 },
        { "status": "rejected", "reason": "truncated", "num": 2 },
        { "status": "rejected", "reason": "unsupported", "num": 2 },
        { "status": "ok", "reason": null, "num": 10 },
    ]);
    assert_eq!(serde_json::Value::from(outcomes), expected);
    let planted: Vec<&str> = PLANTED.into_iter().chain([SECRET]).chain(OF_OBJECTS).collect();
    assert_eq!(canary.seen(&planted), BTreeSet::new());
    assert!(canary.vault().iter().any(|table| table.contains("Quimby_Zoe/MRN4711_19530417-0")));
}

/// What is planted in the objects would be seen, if it were told.
#[test]
fn names_in_dicom_objects_are_seen_where_nothing_is_kept_out() {
    let Some(mut canary) = Canary::of_dicom("people", "[privacy]\npolicy = \"none\"\n") else { return };
    canary.say_ok(&["run", "photos.toml"]);
    canary.say_ok(&["query", "table", "SELECT * FROM tiles"]);
    for planted in ["MRN0042", "QUIMBY", "HOLLERITH", "2.25.4711", "2023-11-09"] {
        assert!(!canary.seen(&[planted]).is_empty(), "{planted}");
    }
}

/// Keys join the objects of a patient, of whom there is none without an id; days between studies stay.
#[test]
fn keys_and_shifted_dates_hold_a_patient_together() {
    let Some(mut canary) = Canary::of_dicom("people", &format!("{PSEUDONYMS}dates = \"shifted\"\n")) else {
        return;
    };
    canary.say_ok(&["run", "photos.toml"]);
    // In the order of the objects, by their last part: MRN4711 twice, another, none.
    let sql = "SELECT DISTINCT patient_key, study_key, series_key, instance_key, \
               arrow_cast(study_date, 'Int32') AS study_date FROM tiles WHERE frame = 1 AND status = 'ok'";
    let found = query(&mut canary, sql);
    assert_eq!(found.len(), 4, "{found:#?}");
    let pseudonym = |canary: &mut Canary, kind: &str, id: &str| {
        let words = ["pseudonym", "--key-file", "key", "--kind", kind, "-"];
        let made = canary.say_with(&words, &[], id);
        String::from_utf8(made.stdout).unwrap().trim().to_owned()
    };
    let keys = [
        ("patient", "MRN4711"),
        ("patient", "MRN0042"),
        ("study", "2.25.47110815.1"),
        ("study", "2.25.47110816.1"),
    ];
    let [zoe, max, first, second] = keys.map(|(kind, id)| pseudonym(&mut canary, kind, id));
    let of = |column: &str, key: &str| found.iter().filter(|row| row[column] == key).collect::<Vec<_>>();
    assert_eq!(
        (of("patient_key", &zoe).len(), of("patient_key", &max).len()),
        (2, 1),
        "padding is no part of an id"
    );
    let day = |study: &str| of("study_key", study)[0]["study_date"].as_i64().unwrap();
    // 2023-11-09 and 2023-12-24, moved back by the same days.
    assert_eq!(day(&second) - day(&first), 45);
    assert!(day(&first) < 19_670, "{}", day(&first));
    let nobody = found.iter().find(|row| row["patient_key"].is_null()).unwrap();
    assert!(nobody["study_date"].is_null() && nobody["study_key"].is_string(), "{nobody}");
    let distinct =
        |column: &str| found.iter().map(|row| row[column].to_string()).collect::<BTreeSet<_>>().len();
    assert_eq!(["study_key", "series_key", "instance_key"].map(distinct), [4, 4, 4]);
    // Who is erased is in no column any more.
    let erase =
        ["runs", "table", "erase", "--patient", &zoe, "--vault", "vault", "--key-file", "key", "--yes"];
    canary.say_ok(&erase);
    let erased = "SELECT count(*) AS n, count(patient_key) AS patients, count(study_key) AS studies, \
                  count(study_date) AS dates, count(modality) AS modalities FROM tiles_all WHERE reason = 'erased'";
    let erased = query(&mut canary, erased);
    let nothing = ["patients", "studies", "dates", "modalities"].map(|column| erased[0][column].as_u64());
    assert_eq!((erased[0]["n"].as_u64() >= Some(4), nothing), (true, [Some(0); 4]), "{erased:?}");
    let left = format!("SELECT count(*) AS n FROM tiles_all WHERE patient_key = '{zoe}'");
    assert_eq!(query(&mut canary, &left)[0]["n"], 0);
    // Without the setting there is no date at all.
    canary.write_pipeline("photos", FOLDER, &format!("{PSEUDONYMS}[tiles]\ngrid = \"frames\"\n"));
    canary.say_ok(&["run", "photos.toml", "--output", "dateless"]);
    let dates = canary.say_ok(&["query", "dateless", "SELECT DISTINCT study_date FROM tiles", "--json"]);
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&dates).unwrap(),
        serde_json::json!([{ "study_date": null }])
    );
}

/// What may have text burned in is rejected, marked or taken.
#[test]
fn burned_in_text_is_rejected_flagged_or_allowed() {
    for policy in ["reject", "flag", "allow"] {
        let settings = format!("{PSEUDONYMS}burned_in = \"{policy}\"\n");
        let Some(mut canary) = Canary::of_dicom("burned", &settings) else { return };
        canary.say_ok(&["run", "photos.toml"]);
        let sql = "SELECT status, reason, modality, may_be_burned_in AS burned FROM tiles ORDER BY 1, 3, 4";
        let found = query(&mut canary, sql);
        let row = |modality: &str, burned: bool| serde_json::json!({ "status": "ok", "reason": null, "modality": modality, "burned": burned });
        let rejected = serde_json::json!({ "status": "rejected", "reason": "burned_in", "modality": null, "burned": null });
        let expected = match policy {
            "reject" => vec![row("CT", false), row("US", false), rejected.clone(), rejected],
            _ => vec![row("CT", false), row("CT", true), row("US", false), row("US", true)],
        };
        assert_eq!(found, expected, "{policy}");
    }
}

/// Attributes that the tests keep: an age, codes, numbers, by keyword and by tag.
const KEPT: &str = "keep_tags = [\"KVP\", \"PatientAge\", \"BodyPartExamined\", \"(0018,0050)\", \"ImageType\", \
                    \"PatientSex\", \"PixelSpacing\"]\n";

/// What is said in all that is kept of an object, by its age.
const TAGS: &str = "SELECT tags['PatientAge'] AS age, tags['PatientSex'] AS sex, tags['BodyPartExamined'] AS part, \
                    tags['ImageType'] AS kind, tags['KVP'] AS kvp, tags['SliceThickness'] AS thickness, \
                    tags['PixelSpacing'] AS spacing FROM tiles WHERE status = 'ok' AND frame = 1 ORDER BY age, kind";

/// Kept attributes tell ages, numbers and listed codes, whatever else stands in them, through the life of an output.
#[test]
fn kept_tags_tell_no_name() {
    let Some(mut canary) = Canary::of_dicom("tags", &format!("{PSEUDONYMS}{KEPT}")) else { return };
    canary.say_ok(&["plan", "photos.toml", "--dry-run"]);
    canary.say_ok(&["run", "photos.toml", "--json"]);
    assert!(canary.say_ok(&["run", "photos.toml"]).contains("nothing new"));
    let row = |age: Option<&str>,
               sex: Option<&str>,
               part: Option<&str>,
               kind: Option<&str>,
               numbers: [Option<&str>; 3]| {
        let [kvp, thickness, spacing] = numbers;
        serde_json::json!({ "age": age, "sex": sex, "part": part, "kind": kind, "kvp": kvp, "thickness": thickness,
                            "spacing": spacing })
    };
    let expected = serde_json::json!([
        row(Some("034Y"), None, None, None, [None, Some("1.25"), Some("\\0.25")]),
        row(
            Some("90+"),
            Some("F"),
            Some("CHEST"),
            Some("ORIGINAL\\PRIMARY\\"),
            [Some("120"), Some("1.50"), Some("0.5\\0.25")]
        ),
        row(None, None, None, Some("\\DERIVED"), [None; 3]),
        row(None, None, None, None, [None; 3]),
    ]);
    assert_eq!(serde_json::Value::from(query(&mut canary, TAGS)), expected);
    // Numbers of the header that have columns of their own are numbers or null.
    let numbers = "SELECT DISTINCT pixel_spacing, orientation, slice_position FROM tiles WHERE status = 'ok'";
    let numbers = query(&mut canary, numbers);
    let spacings: Vec<_> = numbers.iter().filter(|row| !row["pixel_spacing"].is_null()).collect();
    assert_eq!(spacings.len(), 1, "{numbers:?}");
    assert_eq!(spacings[0]["pixel_spacing"], serde_json::json!([0.5, 0.25]));
    assert!(numbers.iter().all(|row| row["slice_position"].is_null() && row["orientation"].is_null()));
    let secrets = ["--vault", "vault", "--key-file", "key"];
    canary.say_ok(&["verify", "table", "--deep"]);
    canary.say_ok(&[&["runs", "table", "compact"], &secrets[..]].concat());
    canary.say_ok(&["verify", "table", "--deep", "--json"]);
    assert_eq!(serde_json::Value::from(query(&mut canary, TAGS)), expected, "as they were before");
    canary.say_ok(&["query", "table", "SELECT * FROM tiles_all"]);
    let planted: Vec<&str> =
        PLANTED.into_iter().chain([SECRET, "MRN0042", "19700229"]).chain(OF_OBJECTS).collect();
    assert_eq!(canary.seen(&planted), BTreeSet::new());
    // The same attributes in other words are the same run.
    let again = KEPT
        .replace("\"KVP\", ", "")
        .replace("(0018,0050)", "SliceThickness")
        .replace(']', ", \"00180060\"]");
    canary.write_pipeline("photos", FOLDER, &format!("{PSEUDONYMS}{again}[tiles]\ngrid = \"frames\"\n"));
    assert!(canary.say_ok(&["run", "photos.toml"]).contains("nothing new"));
    // Other attributes are other columns, and so another output.
    let fewer = format!("{PSEUDONYMS}keep_tags = [\"KVP\"]\n[tiles]\ngrid = \"frames\"\n");
    canary.write_pipeline("photos", FOLDER, &fewer);
    assert_exit(&canary.say(&["run", "photos.toml"]), 78);
}

/// Whose image it was is known of rejects whose header could be read, so that erasing finds them.
#[test]
fn rejected_images_of_a_person_are_erased() {
    let Some(mut canary) = Canary::of_dicom("tags", &format!("{PSEUDONYMS}{KEPT}")) else { return };
    canary.say_ok(&["run", "photos.toml"]);
    let made = canary.say_with(&["pseudonym", "--key-file", "key", "-"], &[], "MRN4711");
    let zoe = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let rejects = format!(
        "SELECT reason, patient_key = '{zoe}' AS is_hers, study_key IS NULL AS no_study, modality, tags IS NULL AS no_tags \
         FROM tiles WHERE status = 'rejected' ORDER BY reason"
    );
    let reject = |reason: &str, is_hers: Option<bool>| serde_json::json!({ "reason": reason, "is_hers": is_hers, "no_study": is_hers.is_none(), "modality": null, "no_tags": true });
    let expected = serde_json::json!([
        reject("burned_in", Some(true)),
        reject("corrupt", Some(true)),
        reject("not_image", Some(true)),
        reject("truncated", None),
    ]);
    assert_eq!(serde_json::Value::from(query(&mut canary, &rejects)), expected);
    let erase =
        ["runs", "table", "erase", "--patient", &zoe, "--vault", "vault", "--key-file", "key", "--yes"];
    canary.say_ok(&erase);
    canary.say_ok(&["verify", "table", "--deep"]);
    let left = "SELECT reason, count(*) AS num, count(patient_key) AS keys, count(tags) AS tags FROM tiles_all \
                WHERE reason IS NOT NULL GROUP BY 1 ORDER BY 1";
    let expected = serde_json::json!([
        { "reason": "erased", "num": 7, "keys": 0, "tags": 0 },
        { "reason": "truncated", "num": 1, "keys": 0, "tags": 0 },
    ]);
    assert_eq!(serde_json::Value::from(query(&mut canary, left)), expected);
    let vault = canary.vault().concat();
    assert!(!vault.contains("Hollerith-burned") && !vault.contains(&zoe), "the vault forgets them");
    assert!(vault.contains("Hollerith-short"), "of this nobody knows whose it is");
    let planted: Vec<&str> = PLANTED.into_iter().chain([SECRET]).chain(OF_OBJECTS).collect();
    assert_eq!(canary.seen(&planted), BTreeSet::new());
}

/// What may not be kept is refused before anything is written, with the reason.
#[test]
fn tags_that_may_name_a_person_are_refused() {
    let Some(mut canary) = Canary::of_dicom("tags", PSEUDONYMS) else { return };
    for (name, why) in [
        ("PatientName", "holds names of people"),
        ("PatientID", "holds text (VR LO)"),
        ("AccessionNumber", "holds text (VR SH)"),
        ("StudyDate", "holds dates or times (VR DA)"),
        ("(0020,000D)", "holds UIDs"),
        ("ImageComments", "holds text (VR LT)"),
        ("(0009,1010)", "is a private tag"),
        ("GPSLatitude", "PS3.15, table E.1-1"),
        ("BodyPartExamine", "did you mean \\\"BodyPartExamined\\\"?"),
    ] {
        let settings = format!("{PSEUDONYMS}keep_tags = [\"{name}\"]\n[tiles]\ngrid = \"frames\"\n");
        canary.write_pipeline("photos", FOLDER, &settings);
        let refused = canary.say(&["run", "photos.toml"]);
        assert_exit(&refused, 78);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(said.contains(why) && said.contains(name), "{name}: {said}");
        assert!(!canary.table().exists(), "{name}");
    }
    // Sources of another kind have no tags.
    canary.write_pipeline("photos", FOLDER, &format!("{PSEUDONYMS}keep_tags = [\"KVP\"]\n"));
    let refused = canary.say(&["run", "photos.toml"]);
    assert_exit(&refused, 78);
    assert!(String::from_utf8(refused.stderr).unwrap().contains("`tiles.grid` is not"));
}

/// Of public data any attribute is kept, as it is written.
#[test]
fn public_data_keep_what_is_asked_for() {
    let settings = "[privacy]\npolicy = \"none\"\nkeep_tags = [\"PatientAge\", \"StudyDescription\"]\n";
    let Some(mut canary) = Canary::of_dicom("tags", settings) else { return };
    canary.say_ok(&["run", "photos.toml"]);
    let tags = "SELECT DISTINCT tags['PatientAge'] AS age, tags['StudyDescription'] AS study FROM tiles \
                WHERE status = 'ok' AND tags['PatientAge'] LIKE '0%' ORDER BY 1";
    let expected = serde_json::json!([
        { "age": "034Y", "study": "Quimby, MRN4711, 19530417" },
        { "age": "093Y", "study": "Quimby, MRN4711, 19530417" },
    ]);
    assert_eq!(serde_json::Value::from(query(&mut canary, tags)), expected);
    canary.say_ok(&["verify", "table", "--deep"]);
}

/// What becomes of text in pixels is followed also where nothing else is kept out, and by those who look.
#[test]
fn burned_in_text_is_refused_in_public_data_and_said_by_inspect() {
    let settings = "[privacy]\npolicy = \"none\"\ndates = \"absent\"\nburned_in = \"reject\"\n";
    let Some(mut canary) = Canary::of_dicom("burned", settings) else { return };
    canary.say_ok(&["run", "photos.toml"]);
    let counts =
        "SELECT status, count(*) AS num, count(study_date) AS dates FROM tiles GROUP BY 1 ORDER BY 1";
    let expected = serde_json::json!([
        { "status": "ok", "num": 2, "dates": 0 },
        { "status": "rejected", "num": 2, "dates": 0 },
    ]);
    assert_eq!(serde_json::Value::from(query(&mut canary, counts)), expected);
    for (set, code) in
        [("privacy.policy=pseudonyms", 65), ("privacy.burned_in=reject", 65), ("privacy.burned_in=flag", 0)]
    {
        let looked = canary.say(&["inspect", "images/silent-us.dcm", "--json", "--set", set]);
        assert_exit(&looked, code);
        let looked: serde_json::Value = serde_json::from_slice(&looked.stdout).unwrap();
        let reason = if code == 65 { "burned_in".into() } else { serde_json::Value::Null };
        assert_eq!(
            (&looked[0]["reason"], &looked[0]["medical"]["may_be_burned_in"]),
            (&reason, &true.into())
        );
        assert_exit(&canary.say(&["inspect", "images/no.dcm", "--set", set]), 0);
    }
    let said = canary.say_ok(&["inspect", "images/silent-us.dcm"]);
    assert!(said.contains("rejected with pseudonyms"), "{said}");
    let chip = ["chip", "images/silent-us.dcm", "--out", "a.npy", "--set", "privacy.burned_in=reject"];
    assert_exit(&canary.say(&chip), 65);
}

/// A calibration leaves out what a run with the same settings rejects.
#[test]
fn a_calibration_follows_the_rule_for_text_in_pixels() {
    let Some(canary) = Canary::of_dicom("burned", PSEUDONYMS) else { return };
    let contract = Contract::load(&Contract::path_for(small_model())).unwrap();
    let reasons = |set: &str| {
        let settings = looking(&["tiles.grid=frames".to_owned(), set.to_owned()]).unwrap();
        let reader = Reader::new(&settings, &contract.input, NonZeroUsize::MIN).unwrap();
        let wanted = TileSelection {
            calibration: vec![canary.path("images").display().to_string()],
            held_out: Vec::new(),
            num_calibration: None,
            num_held_out: None,
        };
        let Split { calibration, held_out } =
            tokio::runtime::Runtime::new().unwrap().block_on(reader.read(&wanted)).unwrap();
        let left_out: Vec<&str> = calibration.left_out.iter().map(|tile| tile.why.reason.code()).collect();
        (calibration.len() + held_out.len(), left_out.join(" "))
    };
    assert_eq!(reasons("privacy.policy=pseudonyms"), (2, "burned_in burned_in".to_owned()));
    assert_eq!(reasons("privacy.burned_in=reject"), (2, "burned_in burned_in".to_owned()));
    assert_eq!(reasons("privacy.policy=none"), (4, String::new()));
}
