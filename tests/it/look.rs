//! `inspect` and `chip`: what they say of images is what Pillow and NumPy say, wherever the images lie.
//!
//! `scripts/oracles/look_oracle.py` generates the images and the arrays, and compares what was written.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde::Deserialize;
use serde_json::Value;
use tilefleet::formats::image::{ImageHeader, Parsed, parse_header, parse_partial};
use tilefleet::formats::partial::Partial;
use tilefleet::vocabulary::reason::Rejection;

use crate::fixture::{assert_exit, small_model, stderr};
use crate::support;
use crate::support::fault_proxy::{Fault, FaultProxy, Rule};
use crate::support::s3_server::S3Server;

/// What the oracle says of one image.
#[derive(Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Image {
    path: PathBuf,
    name: String,
    width: u32,
    height: u32,
    bands: u32,
    sample_type: String,
    window: [u32; 4],
    input: bool,
    upright: bool,
    stored: Option<[u32; 2]>,
    format: Option<String>,
    progressive: bool,
    interlaced: bool,
    icc_profile: bool,
}

/// The images with their arrays; one set for all tests that run at the same time.
struct Made {
    folder: tempfile::TempDir,
    images: Vec<Image>,
}

/// The images, and a folder for what one test makes of them.
struct Oracle {
    python: PathBuf,
    made: Arc<Made>,
    folder: tempfile::TempDir,
}

impl Oracle {
    /// Returns `None` where there is no Python or no test data.
    fn make() -> Option<Self> {
        static MADE: Mutex<Weak<Made>> = Mutex::new(Weak::new());
        let (python, data) = (support::python()?, support::test_data()?);
        let mut shared = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        let made = shared.upgrade().unwrap_or_else(|| Arc::new(Made::make(&python, &data)));
        *shared = Arc::downgrade(&made);
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("found")).unwrap();
        Some(Self { python, made, folder })
    }

    fn images(&self) -> &[Image] {
        &self.made.images
    }

    fn image(&self, name: &str) -> PathBuf {
        self.made.folder.path().join("images").join(name)
    }

    fn broken(&self, name: &str) -> String {
        self.made.folder.path().join("broken").join(name).display().to_string()
    }

    /// A file of this test.
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a chip that is to be like the array `name` of the oracle.
    fn chip(&self, source: &str, name: &str, arguments: &[&str]) {
        let out = self.path("found").join(name);
        assert_exit(&chip(source, &out, arguments), 0);
    }

    /// Compares all chips that were written; returns how many.
    fn compare(&self) -> usize {
        let mut compare = Command::new(&self.python);
        compare.arg(script()).arg("compare").arg(self.made.folder.path()).arg(self.path("found"));
        support::stdout_of(&mut compare).trim().parse().unwrap()
    }
}

impl Made {
    fn make(python: &Path, data: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut make = Command::new(python);
        make.arg(script()).arg("make").arg(folder.path()).arg(data);
        let images = serde_json::from_str(&support::stdout_of(&mut make)).unwrap();
        Self { folder, images }
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/oracles/look_oracle.py")
}

fn chip(source: &str, out: &Path, arguments: &[&str]) -> Output {
    support::tilefleet().args(["chip", source, "--out"]).arg(out).args(arguments).output().unwrap()
}

fn inspect(arguments: &[&str]) -> Output {
    support::tilefleet().arg("inspect").args(arguments).output().unwrap()
}

fn said(output: &Output) -> Vec<Value> {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no JSON: {}", stderr(output)))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8 names")
}

/// Whole images and windows equal Pillow's arrays, in type, shape and every sample.
#[test]
fn chips_are_the_arrays_of_pillow() {
    let Some(oracle) = Oracle::make() else { return };
    for image in oracle.images() {
        let (source, name) = (text(&image.path), &image.name);
        oracle.chip(source, &format!("{name}.npy"), &[]);
        let window = image.window.map(|number| number.to_string()).join(",");
        oracle.chip(source, &format!("{name}.window.npy"), &["--window", &window]);
    }
    let num_chips = oracle.compare();
    println!("{num_chips} chips are equal");
    assert!(num_chips == 2 * oracle.images().len() && num_chips > 250, "{num_chips} chips");
}

/// Integers of known bands go into a PNG as they are; Pillow reads those again.
#[test]
fn chips_can_be_png() {
    let Some(oracle) = Oracle::make() else { return };
    let kinds = ["37x61-grey.png", "37x61-la.png", "37x61-rgb.jpg", "37x61-rgba.png", "37x61-grey16.png"];
    for kind in kinds {
        let name = format!("images-{kind}");
        oracle.chip(text(&oracle.image(kind)), &format!("{name}.png"), &[]);
    }
    assert_eq!(oracle.compare(), kinds.len());
    for kind in ["37x61-f32.tif", "37x61-many16.tif"] {
        let out = oracle.path("no.png");
        let output = chip(text(&oracle.image(kind)), &out, &[]);
        assert_exit(&output, 64);
        assert!(stderr(&output).contains("hint: name a .npy file"), "{}", stderr(&output));
        assert!(!out.exists());
    }
}

/// `--stage input` is what torchvision's resize and crop make with Pillow: bytes for a network that
/// normalises by itself, normalised planes for one that does not.
#[test]
fn the_input_stage_is_what_the_model_gets() {
    let Some(oracle) = Oracle::make() else { return };
    let model = small_model();
    let contract = fs::read_to_string(model.with_extension("contract.toml")).unwrap();
    let edits = [
        ("layout = \"nhwc\"", "layout = \"nchw\""),
        ("sample_type = \"uint8\"", "sample_type = \"float32\""),
    ];
    let float = edits.into_iter().fold(contract, |text, (from, to)| {
        assert!(text.contains(from), "the contract says `{from}`:\n{text}");
        text.replace(from, to)
    });
    let normalise = "[input.normalise]\nscale = 0.00392156862745098\nmean = [0.485, 0.456, 0.406]\n\
                     std = [0.229, 0.224, 0.225]\n[input.resize]";
    let contract = oracle.path("float.toml");
    fs::write(&contract, float.replace("[input.resize]", normalise)).unwrap();
    let images: Vec<_> = oracle.images().iter().filter(|image| image.input).step_by(3).collect();
    for image in &images {
        let (source, name) = (text(&image.path), &image.name);
        oracle.chip(source, &format!("{name}.input.npy"), &["--stage", "input", "--model", text(model)]);
        oracle.chip(source, &format!("{name}.float.npy"), &["--stage", "input", "--model", text(&contract)]);
    }
    let num_chips = oracle.compare();
    assert!(num_chips == 2 * images.len() && num_chips > 60, "{num_chips} chips");

    let sixteen = oracle.image("37x61-rgb16.png");
    let out = oracle.path("sixteen.png");
    let to_input = ["--stage", "input", "--model", text(model)];
    let refused = chip(text(&sixteen), &out, &to_input);
    assert_exit(&refused, 65);
    assert!(stderr(&refused).contains("because: bit_depth_mismatch: "), "{}", stderr(&refused));
    let scaled = [&to_input[..], &["--set", "tiles.sixteen_bit=scale", "--json"]].concat();
    let scaled = chip(text(&sixteen), &out, &scaled);
    assert_exit(&scaled, 0);
    let said: Value = serde_json::from_slice(&scaled.stdout).unwrap();
    assert_eq!(said["shape"], serde_json::json!([64, 64, 3]));
    assert_eq!((&said["sample_type"], &said["bands"]), (&"uint8".into(), &"rgb".into()));
}

/// Format, sizes, bands and types are Pillow's; so are the notes on progressive files and profiles.
#[test]
fn descriptions_are_those_of_pillow() {
    let Some(oracle) = Oracle::make() else { return };
    let sources: Vec<&str> = oracle.images().iter().map(|image| text(&image.path)).collect();
    let output = inspect(&[&sources[..], &["--json"]].concat());
    assert_exit(&output, 0);
    let descriptions = said(&output);
    assert_eq!(descriptions.len(), oracle.images().len());
    for (description, expected) in descriptions.iter().zip(oracle.images()) {
        let image = &description["image"];
        assert_eq!(description["source"], format!("file://{}", expected.path.display()));
        assert_eq!((&description["status"], &description["extension_agrees"]), (&"ok".into(), &true.into()));
        let found = [&image["width"], &image["height"], &image["num_bands"], &image["sample_type"]];
        let said: [Value; 4] = [
            expected.width.into(),
            expected.height.into(),
            expected.bands.into(),
            expected.sample_type.clone().into(),
        ];
        assert_eq!(found, said.each_ref(), "{}", expected.name);
        assert_eq!(image["orientation"] == 1, expected.upright, "{}", expected.name);
        if let (Some([width, height]), Some(format)) = (expected.stored, &expected.format) {
            assert_eq!(
                [&image["stored_width"], &image["stored_height"]],
                [&Value::from(width), &height.into()]
            );
            assert_eq!(description["format"].as_str().unwrap().to_uppercase(), *format);
        }
        assert_eq!(image["compression"] == "progressive", expected.progressive, "{}", expected.name);
        assert_eq!(image["interlaced"], expected.interlaced, "{}", expected.name);
        assert_eq!(image["icc_profile"], expected.icc_profile, "{}", expected.name);
        for (part, name) in [("4:2:0", "-420-"), ("4:2:2", "-422-"), ("4:4:4", "-444-")] {
            assert!(!expected.name.contains(name) || image["subsampling"] == part, "{}", expected.name);
        }
        let size = expected.path.metadata().unwrap().len();
        assert_eq!(description["size_bytes"], size);
        let read = description["read_bytes"].as_u64().unwrap();
        assert!(read == size || read <= 3 * 65_536, "{}: {read} of {size} bytes", expected.name);
    }
}

/// Parses with nothing but the ranges that the parser asks for; returns how many bytes those were.
fn parsed_by_ranges(bytes: &[u8]) -> (Result<ImageHeader, Rejection>, usize) {
    let mut object = Partial::new(bytes.len());
    let mut read = 0;
    loop {
        match parse_partial(&object) {
            Parsed::Done(header) => return (header, read),
            Parsed::Needs(range) => {
                read += range.len();
                object.add(range.start, &bytes[range]);
            }
        }
    }
}

/// Seen in parts, a file says what it says as a whole, sound or cut short.
#[test]
fn a_header_read_in_parts_is_that_of_the_whole() {
    let Some(oracle) = Oracle::make() else { return };
    let broken = fs::read_dir(oracle.broken("")).unwrap().map(|file| file.unwrap().path());
    let mut compared = 0;
    for path in oracle.images().iter().map(|image| image.path.clone()).chain(broken) {
        let whole = fs::read(&path).unwrap();
        let cuts = [1, 11, 40, 100, whole.len() / 2, whole.len().saturating_sub(1), whole.len()];
        for len in cuts.into_iter().filter(|&len| len <= whole.len()) {
            let bytes = &whole[..len];
            let (header, read) = parsed_by_ranges(bytes);
            assert_eq!(header, parse_header(bytes), "{} cut to {len}", path.display());
            assert!(read <= 20_000 || header.is_err(), "{}: {read} bytes", path.display());
            compared += 1;
        }
    }
    assert!(compared > 700, "{compared} headers");
}

/// One command over many sources shows all of them and ends with the worst.
#[test]
fn what_a_run_would_reject_is_65_and_says_why() {
    let Some(oracle) = Oracle::make() else { return };
    let refused = [
        ("head.jpg", "truncated"),
        ("half.png", "truncated"),
        ("empty.jpg", "empty"),
        ("text.jpg", "not_an_image"),
        ("cmyk.tif", "unsupported"),
        ("fax.tif", "unsupported"),
        ("picture.gif", "unsupported"),
    ];
    for (file, reason) in refused {
        let out = oracle.path("refused.npy");
        for output in [inspect(&[&oracle.broken(file)]), chip(&oracle.broken(file), &out, &[])] {
            assert_exit(&output, 65);
            assert!(stderr(&output).contains(&format!("\n  because: {reason}: ")), "{}", stderr(&output));
        }
        assert!(!out.exists());
    }
    // Only decoding tells that data are missing, and only where they are looked for.
    let half = oracle.broken("half.jpg");
    assert_exit(&inspect(&[&half]), 0);
    let output = chip(&half, &oracle.path("half.npy"), &["--window", "0,0,8,8"]);
    assert_exit(&output, 65);
    assert!(stderr(&output).contains("\n  because: truncated: "), "{}", stderr(&output));

    let mut sources: Vec<String> = refused.iter().map(|(file, _)| oracle.broken(file)).collect();
    sources.extend([oracle.broken("whole.jpg"), oracle.broken("jpeg.png")]);
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let output = inspect(&[&sources[..], &["--json"]].concat());
    assert_exit(&output, 65);
    let reasons: Vec<_> = said(&output).iter().map(|description| description["reason"].clone()).collect();
    let expected = refused.iter().map(|(_, reason)| Value::from(*reason)).chain([Value::Null, Value::Null]);
    assert_eq!(reasons, expected.collect::<Vec<_>>());
    assert_eq!(said(&output)[4]["image"]["photometric"], "cmyk", "a header that can be read is shown");
    assert_eq!(said(&output)[8]["extension_agrees"], false);
    assert!(stderr(&output).contains("a run would reject 7 of 9 sources"), "{}", stderr(&output));
    let output = inspect(&[sources[0], "/nowhere/a.jpg", sources[7]]);
    assert_exit(&output, 78);
    let shown = String::from_utf8(output.stdout).unwrap();
    for words in ["rejected, truncated: ", "failed: file:///nowhere/a.jpg does not exist", "baseline, 4:2:0"]
    {
        assert!(shown.contains(words), "no `{words}` in:\n{shown}");
    }
}

/// Limits hold for headers and objects, and can be set.
#[test]
fn limits_hold() {
    let Some(oracle) = Oracle::make() else { return };
    let (whole, out) = (oracle.broken("whole.jpg"), oracle.path("limited.npy"));
    for set in ["limits.max_pixels=1000", "limits.max_object=1KiB"] {
        for output in [inspect(&[&whole, "--set", set]), chip(&whole, &out, &["--set", set])] {
            assert_exit(&output, 65);
            assert!(stderr(&output).contains("\n  because: too_large: "), "{}", stderr(&output));
        }
        let described = said(&inspect(&[&whole, "--json", "--set", set]));
        assert_eq!(
            (&described[0]["reason"], &described[0]["image"]["width"]),
            (&"too_large".into(), &90.into())
        );
    }
    assert!(!out.exists());
}

/// What cannot be asked for is refused with what there is.
#[test]
fn wrong_questions_are_64_and_name_what_there_is() {
    let Some(oracle) = Oracle::make() else { return };
    let (whole, out) = (oracle.broken("whole.jpg"), oracle.path("wrong.npy"));
    let refused: &[(&str, &[&str], &str)] = &[
        (&whole, &["--window", "80,0,11,1"], "which is 90×70"),
        (&whole, &["--window", "0,70,1,1"], "which is 90×70"),
        (&whole, &["--window", "0,0,0,9"], "is 90×70"),
        (&whole, &["--window", "1,2,3"], "X,Y,WIDTH,HEIGHT"),
        (&whole, &["--level", "1"], "only level 0"),
        (&whole, &["--frame", "1"], "only frame 0"),
        (&oracle.broken("pages.tif"), &["--frame", "1"], "only the first of its 2 pages"),
        (&whole, &["--stage", "input"], "--model"),
        (&whole, &["--model", "m.onnx"], "--stage input"),
        (
            &whole,
            &["--stage", "input", "--model", text(small_model()), "--window", "0,0,8,8"],
            "leave --window out",
        ),
    ];
    for (source, arguments, words) in refused {
        let output = chip(source, &out, arguments);
        assert_exit(&output, 64);
        assert!(stderr(&output).contains(words), "no `{words}` in:\n{}", stderr(&output));
    }
    assert_exit(&chip(&whole, &oracle.path("wrong.jpg"), &[]), 64);
    assert_exit(&inspect(&[]), 64);
    assert!(!out.exists() && !oracle.path("wrong.jpg").exists());

    fs::write(&out, "mine").unwrap();
    let output = chip(&whole, &out, &[]);
    assert_exit(&output, 64);
    assert!(stderr(&output).contains("exists already"), "{}", stderr(&output));
    assert_eq!(fs::read_to_string(&out).unwrap(), "mine");
    assert_exit(&chip(&whole, &out, &["--force"]), 0);
    assert_eq!(&fs::read(&out).unwrap()[1..6], b"NUMPY");
    assert_exit(&chip(&whole, &oracle.path("no/such/a.npy"), &[]), 78);
    let left = fs::read_dir(oracle.path("")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().starts_with('.')), "nothing staged is left");
}

/// What is not there is 78, what is away is 75; a folder is told from an image.
#[test]
fn objects_that_cannot_be_had_have_the_usual_codes() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.npy");
    let away = ["--set", "storage.endpoint=http://127.0.0.1:9", "--set", "storage.max_retries=0"];
    let keys =
        [("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_REGION", "us-east-1")];
    let cases: [(&str, &[&str], i32, &str); 4] = [
        ("/nowhere/a.jpg", &[], 78, "does not exist"),
        (text(folder.path()), &[], 78, "is a folder"),
        ("ftp://host/a.jpg", &[], 78, "is not supported"),
        ("s3://bucket/a.jpg", &away, 75, "cannot"),
    ];
    for (source, arguments, code, words) in cases {
        for command in [vec!["inspect", source], vec!["chip", source, "--out", text(&out)]] {
            let mut tilefleet = support::tilefleet();
            let output = tilefleet.args(command).args(arguments).envs(keys).output().unwrap();
            assert_exit(&output, code);
            assert!(stderr(&output).contains(words), "{}", stderr(&output));
        }
    }
    assert!(!out.exists());
}

/// A bucket gives what a folder gives, and of a large file only what the header needs is read.
#[test]
fn a_bucket_gives_what_a_folder_gives() {
    let Some(oracle) = Oracle::make() else { return };
    let Some(server) = support::seaweedfs() else { return };
    server.create_bucket("photos");
    let names = [
        "37x61-420-q85.jpg",
        "37x61-rgb16.tif",
        "orientation6.png",
        "orientation-large.tif",
        "orientation-large.webp",
    ];
    for name in names {
        server.put("photos", name, fs::read(oracle.image(name)).unwrap());
    }
    let run = |arguments: &[&str]| {
        let variables = S3Server::variables(&server.endpoint(), S3Server::OWNER);
        support::tilefleet().args(arguments).envs(variables).output().unwrap()
    };
    for name in names {
        let (uri, local) = (format!("s3://photos/{name}"), oracle.image(name));
        let remote = run(&["inspect", "--json", &uri]);
        assert_exit(&remote, 0);
        let (remote, local) = (said(&remote), said(&inspect(&["--json", text(&local)])));
        for part in ["image", "format", "status", "size_bytes", "read_bytes"] {
            assert_eq!(remote[0][part], local[0][part], "{part} of {name}");
        }
        let (read, size) = (&remote[0]["read_bytes"], &remote[0]["size_bytes"]);
        assert!(read == size || read.as_u64() <= Some(3 * 65_536), "{read} of {size} bytes of {name}");
        let out = oracle.path("found").join(format!("images-{name}.npy"));
        assert_exit(&run(&["chip", &uri, "--out", text(&out)]), 0);
    }
    assert_eq!(oracle.compare(), names.len());
    for (uri, words) in
        [("s3://photos/no.jpg", "does not exist"), ("s3://nowhere/a.jpg", "there is no such bucket")]
    {
        for output in [run(&["inspect", uri]), run(&["chip", uri, "--out", "no.npy"])] {
            assert_exit(&output, 78);
            assert!(stderr(&output).contains(words), "{uri}: {}", stderr(&output));
        }
    }
}

/// A web server of Python's, which knows no ranges.
struct PlainServer(Child, String);

impl PlainServer {
    fn start(python: &Path, folder: &Path) -> Self {
        let program = "import http.server, functools, sys\n\
             handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[1])\n\
             server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)\n\
             print(server.server_port, flush=True)\n\
             server.serve_forever()";
        let mut command = Command::new(python);
        command.args(["-c", program]).arg(folder).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut port = String::new();
        let stdout = child.stdout.as_mut().expect("it is piped");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut port).unwrap();
        Self(child, format!("http://127.0.0.1:{}", port.trim()))
    }
}

impl Drop for PlainServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Web servers with and without ranges give the same; without them, the whole file is read.
#[test]
fn web_servers_give_what_a_folder_gives() {
    let Some(oracle) = Oracle::make() else { return };
    let name = "orientation-large.tif";
    let (images, size) = (oracle.image(""), oracle.image(name).metadata().unwrap().len());
    let (ranged, plain) = (FaultProxy::before_folder(&images), PlainServer::start(&oracle.python, &images));
    for (endpoint, most) in [(ranged.endpoint(), 3 * 65_536), (plain.1.clone(), size)] {
        let uri = format!("{endpoint}/{name}");
        let output = inspect(&["--json", &uri]);
        assert_exit(&output, 0);
        assert_eq!(said(&output)[0]["image"]["width"], 1500);
        let read = said(&output)[0]["read_bytes"].as_u64().unwrap();
        assert!(read <= most, "{read} bytes from {uri}");
        oracle.chip(&uri, &format!("images-{name}.npy"), &["--force"]);
        assert_eq!(oracle.compare(), 1);
        let missing = inspect(&[&format!("{endpoint}/no.jpg")]);
        assert_exit(&missing, 78);
    }
    for (status, code) in [(403, 78), (503, 75)] {
        ranged.add(Rule::new(Fault::Status(status)).on_key(&format!("/{status}.jpg")));
        let uri = format!("{}/{status}.jpg", ranged.endpoint());
        let few_retries = ["--set", "storage.max_retries=0"];
        assert_exit(&inspect(&[&[uri.as_str()][..], &few_retries].concat()), code);
        assert_exit(&chip(&uri, &oracle.path("no.npy"), &few_retries), code);
    }
}

/// Coarse rows first: the header tells, and it is all that is looked at.
#[test]
fn an_interlaced_png_is_said_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    let mut file = crate::fixture::png(1, false);
    // The interlace method is the last of the 13 bytes of IHDR (PNG, 11.2.1).
    file[28] = 1;
    fs::write(&path, file).unwrap();
    let output = inspect(&[text(&path)]);
    assert_exit(&output, 0);
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("  compression deflate, interlaced\n"), "{shown}");
}
