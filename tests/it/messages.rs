//! What people read when something is wrong: what happened, why, what to do, and the exit code.
//!
//! One snapshot an area, in `snapshots/`: to be read from top to bottom, as the person on call would. After a
//! change on purpose `INSTA_UPDATE=always cargo test --test it messages` writes them anew.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::fixture::{Job, small_model, stderr};
use crate::support::{self, Fault, FaultProxy, Rule, S3Server};

/// The messages of one area.
struct Book {
    job: Job,
    text: String,
    redactions: Vec<(String, &'static str)>,
}

impl Book {
    /// A folder with images, `model.onnx` and `job.toml`, in which everything is called.
    fn new() -> Self {
        let job = Job::new(2, "");
        symlink(small_model(), job.path("model.onnx")).unwrap();
        symlink(small_model().with_extension("contract.toml"), job.path("model.contract.toml")).unwrap();
        let pipeline =
            "[input]\nuris = [\"images\"]\n[model]\nfile = \"model.onnx\"\n[output]\nuri = \"table\"\n";
        fs::write(job.path("job.toml"), pipeline).unwrap();
        let folder = fs::canonicalize(job.folder.path()).unwrap().display().to_string();
        Self { job, text: String::new(), redactions: vec![(folder, "FOLDER")] }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.job.path(name), text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = support::tilefleet();
        command.args(arguments).current_dir(fs::canonicalize(self.job.folder.path()).unwrap());
        command
    }

    /// Calls tilefleet, which refuses; notes the call as people would type it, and what it says.
    fn refused(&mut self, arguments: &[&str]) {
        let command = self.command(arguments);
        self.refuses(arguments, command);
    }

    fn refuses(&mut self, arguments: &[&str], mut command: Command) {
        let output = command.output().unwrap();
        let call = shell(arguments);
        let said = self.redacted(&stderr(&output));
        let code = output.status.code().unwrap_or_default();
        assert!([64, 65, 70, 75, 78].contains(&code), "{call} ended with {code}:\n{said}");
        assert!(output.stdout.is_empty() || code == 65, "{call} answers and fails");
        assert!(said.starts_with("error: "), "{call}:\n{said}");
        let says_what_to_do =
            ["\n  hint: ", "\n  tip: ", "try '--help'", "` must be "].iter().any(|word| said.contains(word));
        assert!(says_what_to_do, "{call} does not say what to do:\n{said}");
        let first = said.lines().next().unwrap_or_default();
        assert!(!first.ends_with('.'), "{first}");
        let repeated = given_again(arguments, &said);
        assert!(repeated.is_empty(), "{call} is advised to give {repeated:?}, which it did:\n{said}");
        writeln!(self.text, "$ {call}\n{}\nexit {code}\n", said.trim_end()).unwrap();
    }

    /// Takes out what differs from machine to machine and from time to time.
    fn redacted(&self, said: &str) -> String {
        // What a run logs of its beginning and its end is not what this is about.
        let logged = |line: &&str| {
            line.starts_with("run job-")
                && [" begins: ", " is complete"].iter().any(|word| line.contains(word))
        };
        let mut said = said.lines().filter(|line| !logged(line)).collect::<Vec<_>>().join("\n");
        for (from, to) in &self.redactions {
            said = said.replace(from, to);
        }
        for (start, letters, to) in [
            ("127.0.0.1:", "0123456789", "PORT"),
            (".tilefleet-", ALPHANUMERIC, "RANDOM"),
            ("job-", "0123456789abcdef", "FINGERPRINT"),
            ("give the wheel for ", "abcdefghijklmnopqrstuvwxyz_0123456789", "PLATFORM"),
            ("0d9d4138aad2, not ", "0123456789abcdef", "SHA256"),
            ("its SHA-256 is ", "0123456789abcdef", "SHA256"),
            ("the run's model had ", "0123456789abcdef", "SHA256"),
            ("its digest was ", "0123456789abcdef", "SHA256"),
            (", and is ", "0123456789abcdef", "SHA256"),
            ("/models/views/", "0123456789abcdef", "SHA256"),
        ] {
            said = redact_after(&said, start, letters, to);
        }
        said
    }

    /// Compares with the snapshot of this name.
    fn compare(&self, name: &str) {
        let calls = self.text.matches("\nexit ").count();
        println!("{name}: {calls} messages");
        let mut settings = insta::Settings::clone_current();
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(name, self.text));
    }
}

const ALPHANUMERIC: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// Returns the flags that a hint names although they were given; `--set` gives many things.
fn given_again<'a>(arguments: &[&'a str], said: &str) -> Vec<&'a str> {
    fn is_between(letter: char) -> bool {
        !letter.is_ascii_alphanumeric() && letter != '-'
    }
    let hints = said.lines().filter(|line| line.starts_with("  hint: "));
    let words: Vec<&str> = hints.flat_map(|line| line.split(is_between)).collect();
    let given = arguments.iter().copied().filter(|word| word.starts_with("--") && *word != "--set");
    given.filter(|flag| words.contains(flag)).collect()
}

/// Replaces the run of these letters after every `start`.
fn redact_after(text: &str, start: &str, letters: &str, to: &str) -> String {
    let mut pieces = text.split(start);
    let mut redacted = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let rest = piece.trim_start_matches(|letter| letters.contains(letter));
        let to = if rest.len() == piece.len() { "" } else { to };
        redacted.extend([start, to, rest]);
    }
    redacted
}

/// Writes a call as a shell would take it.
fn shell(arguments: &[&str]) -> String {
    let plain =
        |word: &str| !word.is_empty() && !word.contains([' ', '\'', '"', '*', '[', '(', '?', '$', ';']);
    let quoted = arguments.iter().map(|&word| {
        if plain(word) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
    });
    std::iter::once("tilefleet".to_owned()).chain(quoted).collect::<Vec<_>>().join(" ")
}

#[test]
fn what_differs_from_run_to_run_is_taken_out() {
    assert_eq!(
        redact_after("at 127.0.0.1:80, 127.0.0.1:x", "127.0.0.1:", "0189", "N"),
        "at 127.0.0.1:N, 127.0.0.1:x"
    );
    assert_eq!(given_again(&["run", "--out", "x"], "error: e\n  hint: choose another --out, x"), ["--out"]);
    assert!(given_again(&["--out"], "error: --out\n  hint: give --out-of or --output").is_empty());
    assert_eq!(shell(&["query", "out", "SELECT 'a'", ""]), "tilefleet query out 'SELECT '\\''a'\\''' ''");
}

#[test]
fn command_line() {
    let mut book = Book::new();
    book.refused(&["fly"]);
    book.refused(&["doctor"]);
    book.refused(&["run"]);
    book.refused(&["run", "job.toml", "--inputs", "images"]);
    book.refused(&["run", "job.toml", "--set", "run.batch"]);
    book.refused(&["run", "job.toml", "--log-format", "xml"]);
    for share in ["4/4", "first", "auto"] {
        book.refused(&["run", "job.toml", "--share", share]);
    }
    for variables in [
        &[("JOB_COMPLETION_INDEX", "3")][..],
        &[("SLURM_ARRAY_TASK_ID", "9"), ("SLURM_ARRAY_TASK_COUNT", "4")],
        &[("AWS_BATCH_JOB_ARRAY_INDEX", "4"), ("AWS_BATCH_JOB_ARRAY_SIZE", "4")],
        &[("AWS_BATCH_JOB_ARRAY_INDEX", "4"), ("TILEFLEET_SHARE_COUNT", "four")],
    ] {
        let arguments = ["run", "job.toml", "--share", "auto"];
        let mut command = book.command(&arguments);
        command.envs(variables.iter().copied());
        book.refuses(&arguments, command);
    }
    book.refused(&["verify", "table", "--run", "latest"]);
    book.refused(&["status", "table", "--set", "storage.region"]);
    book.refused(&["status", "table", "--set", "storage.zone=eu"]);
    book.refused(&["status", "table", "--set", "run.batch=1"]);
    book.refused(&["completions", "tcsh"]);
    book.refused(&["man", "--out", "job.toml/man"]);
    book.compare("command_line");
}

#[test]
fn pipeline_file() {
    let mut book = Book::new();
    book.refused(&["run", "none.toml"]);
    book.refused(&["run", "images"]);
    book.refused(&["run", "images/00000.jpg"]);
    for (name, text) in [
        ("torn.toml", "[input]\nuris = [\n"),
        ("misspelt.toml", "[run]\nbatchsize = 4\n"),
        ("unknown.toml", "[run]\ncolour = 4\n"),
        ("section.toml", "[inputs]\nuris = [\"images\"]\n"),
        ("above.toml", "batch = 4\n"),
        ("type.toml", "[model]\nfile = 3\n"),
        ("no-input.toml", "[run]\nbatch = 4\n"),
        ("no-model.toml", "[input]\nuris = [\"images\"]\n"),
        ("no-output.toml", "[input]\nuris = [\"images\"]\n[model]\nfile = \"model.onnx\"\n"),
        ("both.toml", "[input]\nuris = [\"images\"]\nmanifest = \"list.csv\"\n"),
    ] {
        book.write(name, text);
        book.refused(&["run", name]);
    }
    for set in [
        "run.batch=0",
        "run.precision=fp8",
        "run.precision=int8",
        "run.threads=none",
        "run.memory=lots",
        "run.max_wait=soon",
        "limits.max_reject_ratio=2",
        "output.embedding=float64",
        "plan.shard_tiles=900000",
        "name=9 lives",
        "input.uris=[\"images\"",
        "run.devices=first,second",
        "colour=4",
    ] {
        book.refused(&["run", "job.toml", "--set", set]);
    }
    book.refused(&["run", "job.toml", "--provider", "abacus"]);
    book.refused(&["config", "misspelt.toml"]);
    book.compare("pipeline_file");
}

#[test]
fn model() {
    let mut book = Book::new();
    book.refused(&["run", "job.toml", "--model", "none.onnx"]);
    book.write("text.onnx", "this is no model\n");
    book.refused(&["run", "job.toml", "--model", "text.onnx"]);
    book.write("empty.onnx", "");
    book.refused(&["model", "inspect", "empty.onnx"]);
    let whole = fs::read(small_model()).unwrap();
    fs::write(book.job.path("torn.onnx"), &whole[..whole.len() / 3]).unwrap();
    book.refused(&["run", "job.toml", "--model", "torn.onnx"]);
    book.refused(&["run", "job.toml", "--set", "model.embedding=pool"]);
    book.refused(&["run", "job.toml", "--set", "model.logits=score"]);
    book.write("labels.txt", "water\nforest\n");
    book.write("weights.safetensors", "no weights");
    let build: [&[&str]; 12] = [
        &["--seed", "1", "--out", "model.onnx"],
        &["--out", "new.onnx"],
        &["--seed", "1", "--weights", "weights.safetensors", "--out", "new.onnx"],
        &["--weights", "none.safetensors", "--out", "new.onnx"],
        &["--weights", "weights.safetensors", "--out", "new.onnx"],
        &["--seed", "1", "--labels", "none.txt", "--out", "new.onnx"],
        &["--seed", "1", "--labels", "labels.txt", "--out", "new.onnx"],
        &["--seed", "1", "--channels", "9", "--bands", "red,nir", "--out", "new.onnx"],
        &["--seed", "1", "--channels", "1", "--input-type", "uint8", "--out", "new.onnx"],
        &["--seed", "1", "--mean", "0.5", "--out", "new.onnx"],
        &["--seed", "1", "--size", "64", "--resize", "32", "--out", "new.onnx"],
        &["--seed", "1", "--out", "no/such/folder/new.onnx"],
    ];
    for flags in build {
        book.refused(&[&["model", "build", "--arch", "resnet18"], flags].concat());
    }
    book.refused(&["model", "build", "--arch", "resnet19", "--seed", "1", "--out", "new.onnx"]);
    book.refused(&[
        "model",
        "build",
        "--arch",
        "resnet18",
        "--seed",
        "1",
        "--precision",
        "int8",
        "--out",
        "new.onnx",
    ]);
    let quantize: [&[&str]; 7] = [
        &["none.onnx", "--calibration", "images", "--out", "new.onnx"],
        &["model.onnx", "--calibration", "images", "--out", "model.onnx"],
        &["model.onnx", "--calibration", "no-such-folder", "--out", "new.onnx"],
        &["model.onnx", "--calibration", "images", "--calibration-tiles", "1000", "--out", "new.onnx"],
        &["model.onnx", "--calibration", "images", "--exclude", "conv9", "--out", "new.onnx"],
        &[
            "model.onnx",
            "--calibration",
            "images",
            "--method",
            "minmax",
            "--percentile",
            "99",
            "--out",
            "new.onnx",
        ],
        &["model.onnx", "--calibration", "images", "--keep-worst", "some", "--out", "new.onnx"],
    ];
    for flags in quantize {
        book.refused(&[&["model", "quantize"], flags].concat());
    }
    book.compare("model");
}

#[test]
fn head() {
    let mut book = Book::new();
    book.refused(&["model", "head", "table", "--out", "head.onnx"]);
    book.write("labels.csv", "source,label\nimages/00000.jpg,sea\nimages/00001.jpg,land\n");
    let call = ["model", "head", "table", "--out", "head.onnx", "--labels", "labels.csv"];
    book.refused(&call);
    book.job_ok(&["plan", "job.toml"]);
    book.refused(&call);
    book.job_ok(&["run", "job.toml"]);
    for flags in [
        &["--l2", "0"][..],
        &["--held-out", "1"],
        &["--max-tiles", "1"],
        &["--kind", "forest"],
        &["--label-column", "class"],
        &["--key", "path"],
        &["--group", "patient"],
        &["--group", "extra.patient"],
        &["--run", "job-01234567-0001"],
        &["--model", "none.onnx"],
        &["--model", "images/00000.jpg"],
    ] {
        book.refused(&[&call, flags].concat());
    }
    book.refused(&["model", "head", "table", "--out", "head.onnx", "--label-column", "site"]);
    book.refused(&["model", "head", "table", "--out", "model.onnx", "--labels", "labels.csv"]);
    book.refused(&["model", "head", "table", "--out", "model.onnx", "--labels", "labels.csv", "--force"]);
    for (name, text) in [
        ("none.csv", ""),
        ("labels.txt", "source,label\n"),
        ("no-key.csv", "path,label\nimages/00000.jpg,sea\n"),
        ("one.csv", "source,label\nimages/00000.jpg,sea\nimages/00001.jpg,sea\n"),
        ("other.csv", "source,label\nphotos/00000.jpg,sea\n"),
        ("twice.csv", "source,label\nimages/00000.jpg,sea\nimages/00000.jpg,land\n"),
        ("id.csv", "tile_id,label\nimages/00000.jpg,sea\n"),
        ("blank.csv", "source,label\n,sea\n"),
        ("split.csv", "source,label,split\nimages/00000.jpg,sea,val\n"),
        ("test.csv", "source,label,split\nimages/00000.jpg,sea,train\nimages/00001.jpg,land,test\n"),
    ] {
        book.write(name, text);
        book.refused(&["model", "head", "table", "--out", "head.onnx", "--labels", name]);
    }
    book.refused(&["model", "head", "table", "--out", "head.onnx", "--labels", "nowhere.csv"]);
    let other = crate::fixture::model(
        "other-seed",
        &["--arch", "resnet18", "--seed", "8", "--classes", "10", "--size", "64", "--resize", "72"],
    );
    let (network, contract) = (book.job.path("other.onnx"), book.job.path("other.contract.toml"));
    symlink(&other, &network).unwrap();
    symlink(other.with_extension("contract.toml"), contract).unwrap();
    book.refused(&[&call, &["--model", "other.onnx"][..]].concat());
    fs::rename(book.job.path("model.onnx"), book.job.path("moved.onnx")).unwrap();
    book.refused(&call);
    fs::create_dir(book.job.path("more")).unwrap();
    fs::write(book.job.path("more/00002.jpg"), crate::fixture::jpeg(2)).unwrap();
    book.job_ok(&["run", "job.toml", "--input", "more", "--model", "other.onnx"]);
    book.refused(&call);
    book.compare("head");
}

#[test]
fn contract() {
    let mut book = Book::new();
    symlink(small_model(), book.job.path("other.onnx")).unwrap();
    let written = fs::read_to_string(small_model().with_extension("contract.toml")).unwrap();
    for (from, to) in [
        ("contract = 1", "contract = 9"),
        ("num_classes = 10", "num_classes = 11"),
        ("num_classes = 10", "num_classes = 0"),
        ("num_classes = 10", "num_classes = 10\nlabels = [\"water\"]"),
        ("embedding_length = 512", "embedding_length = 2048"),
        ("embedding = \"embedding\"", "embedding = \"pooled\""),
        ("\"red\", \"green\", \"blue\"", "\"red\", \"green\", \"blue\", \"nir\""),
        ("bands = [\"red\", \"green\", \"blue\"]", "bands = []"),
        ("width = 64", "width = 0"),
        ("height = 64", "hight = 64"),
        ("short_side = 72", "short_side = 32"),
        ("\"uint8\"", "\"uint16\""),
        ("\"softmax\"", "\"tanh\""),
        ("[output]", "[output"),
    ] {
        assert!(written.contains(from), "the contract says `{from}`:\n{written}");
        book.write("other.contract.toml", &written.replacen(from, to, 1));
        writeln!(book.text, "# in other.contract.toml: {}", to.replace('\n', " ")).unwrap();
        book.refused(&["run", "job.toml", "--model", "other.onnx"]);
    }
    book.compare("contract");
}

#[test]
fn inputs() {
    let mut book = Book::new();
    fs::create_dir(book.job.path("empty")).unwrap();
    for input in [
        "no-such-folder",
        "empty",
        "images/*.nope",
        "images/[x",
        "ftp://host/x.jpg",
        "s3://",
        "file://host/x.jpg",
        "http://user:secret@host/x.jpg",
        "https://host/x.jpg?signature=1",
        "https://host/*.jpg",
    ] {
        book.refused(&["run", "job.toml", "--input", input]);
    }
    for (name, text) in [
        ("no-uri.csv", "path\nimages/00000.jpg\n"),
        ("empty.csv", "uri\n"),
        ("ragged.csv", "uri,site\nimages/00000.jpg\n"),
        ("twice.csv", "uri,site\nimages/00000.jpg,a\nimages/00000.jpg,b\n"),
        ("columns.csv", "uri,site,site\nimages/00000.jpg,a,b\n"),
        ("blank.csv", "uri,site\nimages/00000.jpg,a\n,b\n"),
        ("scheme.csv", "uri\nftp://host/x.jpg\n"),
        ("folder.csv", "uri\ns3://bucket/\n"),
        ("list.txt", "uri\nimages/00000.jpg\n"),
        ("no.parquet", "PAR?"),
        ("torn.csv", format!("uri,site\nimages/00000.jpg,\"{}\n", "x".repeat(2 << 20)).as_str()),
    ] {
        book.write(name, text);
        let manifest = format!("input.manifest={name}");
        book.refused(&["run", "job.toml", "--set", "input.uris=[]", "--set", &manifest]);
    }
    let none = ["run", "job.toml", "--set", "input.uris=[]", "--set", "input.manifest=none.csv"];
    book.refused(&none);
    book.write("outside.csv", "uri\ns3://other/x.jpg\n");
    let outside = ["--set", "input.manifest=outside.csv", "--set", "input.allow=[\"images\"]"];
    book.refused(&[&none[..4], &outside].concat());
    book.job.write_image("broken.jpg", b"");
    book.refused(&["run", "job.toml"]);
    book.job.write_image("broken-too.jpg", b"");
    book.refused(&["run", "job.toml"]);
    book.refused(&["runs", "table", "accept", "job-01234567-0009"]);
    book.compare("inputs");
}

#[test]
fn output() {
    let mut book = Book::new();
    book.refused(&["verify", "table"]);
    book.refused(&["status", "table"]);
    book.refused(&["run", "job.toml", "--output", "job.toml"]);
    book.refused(&["run", "job.toml", "--output", "https://host/table"]);
    book.refused(&["run", "job.toml", "--output", "az://container/table"]);
    let planned = book.command(&["plan", "job.toml"]).output().unwrap();
    crate::fixture::assert_exit(&planned, 0);
    book.refused_with_answer(&["verify", "table"]);
    book.job_ok(&["run", "job.toml"]);
    book.refused(&["verify", "table", "--run", "job-01234567-0001"]);
    let wider = crate::fixture::model(
        "wider-message",
        &["--arch", "resnet18", "--classes", "12", "--size", "64", "--resize", "72"],
    );
    symlink(&wider, book.job.path("wider.onnx")).unwrap();
    symlink(wider.with_extension("contract.toml"), book.job.path("wider.contract.toml")).unwrap();
    book.refused(&["run", "job.toml", "--model", "wider.onnx"]);
    book.write("list.csv", "uri,site\nimages/00000.jpg,north\n");
    let manifest = ["run", "job.toml", "--set", "input.uris=[]", "--set", "input.manifest=list.csv"];
    book.refused(&manifest);
    book.write("table/_tilefleet/output.json", "{");
    book.job.write_image("new.jpg", &crate::fixture::jpeg(9));
    book.refused(&["run", "job.toml"]);
    book.compare("output");
}

impl Book {
    fn job_ok(&self, arguments: &[&str]) {
        crate::fixture::assert_exit(&self.command(arguments).output().unwrap(), 0);
    }

    /// As [`Self::refused`], of a command that says how things stand before it fails.
    fn refused_with_answer(&mut self, arguments: &[&str]) {
        let mut command = Command::new("sh");
        let call = self.command(arguments);
        command.args(["-c", "exec \"$@\" > /dev/null", "sh"]).arg(call.get_program()).args(call.get_args());
        command.env_clear().envs(call.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir(call.get_current_dir().unwrap_or(Path::new(".")));
        self.refuses(arguments, command);
    }
}

#[test]
fn storage() {
    let mut book = Book::new();
    for set in [
        "storage.endpoint=host",
        "storage.endpoint=ftp://host",
        "storage.endpoint=http://user:secret@host",
        "storage.endpont=x",
    ] {
        book.refused(&["status", "table", "--set", set]);
    }
    let Some(server) = support::seaweedfs() else { return };
    server.create_bucket("scenes");
    // One image: which of two would fail first is not certain.
    server.put("scenes", "images/00000.jpg", crate::fixture::jpeg(0));
    let proxy = FaultProxy::before_server(&server);
    let mut call = |arguments: &[&str], credentials, rule: Option<Rule>| {
        proxy.clear();
        if let Some(rule) = rule {
            proxy.add(rule);
        }
        let quick = ["--set", "storage.max_retries=1", "--set", "storage.retry_timeout=2s"];
        let mut command = book.command(&[arguments, &quick].concat());
        command.envs(S3Server::variables(&proxy.endpoint(), credentials));
        book.refuses(arguments, command);
    };
    let input = ["run", "job.toml", "--input", "s3://scenes/images/"];
    let wrong = support::s3_server::Credentials { access_key: "owner-access-key", secret_key: "wrong" };
    call(&["run", "job.toml", "--input", "s3://no-such-bucket/images/"], S3Server::OWNER, None);
    call(&["run", "job.toml", "--input", "s3://scenes/no-such-folder/"], S3Server::OWNER, None);
    call(&input, wrong, None);
    call(&["run", "job.toml", "--output", "s3://scenes/table"], S3Server::READER, None);
    call(&["verify", "s3://scenes/nothing"], S3Server::OWNER, None);
    let listing = |status| Some(Rule::new(Fault::Status(status)).on_key("list-type"));
    call(&input, S3Server::OWNER, listing(503));
    call(&input, S3Server::OWNER, listing(403));
    let read = |status| Some(Rule::new(Fault::Status(status)).on_method("GET").on_key("/scenes/images/0"));
    call(&input, S3Server::OWNER, read(403));
    call(&input, S3Server::OWNER, read(503));
    proxy.refuse(true);
    call(&input, S3Server::OWNER, None);
    book.compare("storage");
}

#[test]
fn model_store() {
    let mut book = Book::new();
    let network = "s3://models/nets/small.onnx";
    for uri in [
        "https://ann:secret@host/m.onnx",
        "https://host/m.onnx?sig=secret",
        "s3://models",
        "ftp://host/m.onnx",
    ] {
        book.refused(&["model", "inspect", uri]);
    }
    book.refused(&["run", "job.toml", "--model", "https://host/m.onnx?sig=secret"]);
    book.refused(&["model", "build", "--arch", "resnet18", "--seed", "1", "--out", network]);
    let Some(server) = support::seaweedfs() else { return };
    server.create_bucket("models");
    let put = |model: &Path| {
        for (ending, key) in [("onnx", "nets/small.onnx"), ("contract.toml", "nets/small.contract.toml")] {
            server.put("models", key, fs::read(model.with_extension(ending)).unwrap());
        }
    };
    put(small_model());
    let (proxy, cache) = (FaultProxy::before_server(&server), crate::model_store::Cache::new());
    book.redactions.push((cache.path().display().to_string(), "CACHE"));
    let pipeline = format!(
        "name = \"job\"\n[input]\nuris = [\"images\"]\n[model]\nfile = \"{network}\"\n[output]\nuri = \"table\"\n"
    );
    book.write("stored.toml", &pipeline);
    let plan = ["plan", "stored.toml"];
    let prepared = |book: &Book, arguments: &[&str]| {
        let quick = ["--set", "storage.max_retries=1", "--set", "storage.retry_timeout=2s"];
        let mut command = book.command(&[arguments, &quick].concat());
        command.envs(S3Server::variables(&proxy.endpoint(), S3Server::OWNER));
        cache.of(&mut command);
        command
    };
    assert!(prepared(&book, &plan).output().unwrap().status.success());
    put(&crate::model_store::other_model());
    let mut call = |arguments: &[&str], rule: Option<Rule>| {
        proxy.clear();
        if let Some(rule) = rule {
            proxy.add(rule);
        }
        let command = prepared(&book, arguments);
        book.refuses(arguments, command);
    };
    call(&plan, None);
    call(&["model", "inspect", "s3://models/nets/none.onnx"], None);
    call(&["model", "inspect", "s3://no-such-bucket/small.onnx"], None);
    let refused = |key| Some(Rule::new(Fault::Status(403)).on_key(key));
    call(&["model", "inspect", network], refused("small.onnx"));
    call(&["model", "inspect", network], refused("small.contract.toml"));
    server.put("models", "nets/text.onnx", "this is no model");
    call(&["model", "inspect", "s3://models/nets/text.onnx"], None);
    proxy.refuse(true);
    call(&["model", "inspect", network], None);
    book.compare("model_store");
}

#[test]
fn runtime() {
    let mut book = Book::new();
    let run = ["run", "job.toml"];
    for (variable, value) in
        [("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so"), ("ORT_DYLIB_PATH", "./model.onnx")]
    {
        writeln!(book.text, "# with {variable}={value}").unwrap();
        let mut command = book.command(&run);
        command.env(variable, value);
        book.refuses(&run, command);
    }
    book.write("other.whl", "no wheel");
    let install = ["runtime", "install", "--force", "--wheel", "other.whl"];
    let mut command = book.command(&install);
    command.env("TILEFLEET_CACHE", book.job.path("cache"));
    book.redactions.push((book.job.folder.path().display().to_string(), "FOLDER"));
    book.refuses(&install, command);
    writeln!(book.text, "# with TILEFLEET_PYTHON=/nowhere/python3").unwrap();
    let install = ["runtime", "install", "--force"];
    let mut command = book.command(&install);
    command.env("TILEFLEET_CACHE", book.job.path("cache")).env("TILEFLEET_PYTHON", "/nowhere/python3");
    book.refuses(&install, command);
    book.compare("runtime");
}

#[cfg(feature = "query")]
#[test]
fn query() {
    let mut book = Book::new();
    book.refused(&["query", "table", "SELECT 1"]);
    book.job_ok(&["plan", "job.toml"]);
    book.refused(&["query", "table", "SELECT 1"]);
    book.job_ok(&["run", "job.toml"]);
    for sql in [
        "SELEKT 1",
        "SELECT colour FROM tiles",
        "SELECT * FROM nowhere",
        "DROP VIEW tiles",
        "SELECT cosine_similarity(source, embedding) FROM tiles",
        "SELECT * FROM nearest('0123')",
    ] {
        book.refused(&["query", "table", sql]);
    }
    book.refused(&["query", "table", "SELECT 1", "--format", "parquet"]);
    book.refused(&["query", "table", "SELECT 1", "--format", "xlsx"]);
    book.refused(&["query", "table", "SELECT 1", "--format", "csv", "--out", "job.toml"]);
    book.refused(&["query", "table", "SELECT 1", "--out", "answer.tsv"]);
    book.refused(&["query", "table"]);
    book.compare("query");
}
