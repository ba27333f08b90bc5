//! The container image, without a container engine: the Dockerfile says what its script does, and the file system that the
//! script makes is run as a container would be: as a user without rights, the first process, read only, without a network.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tilefleet::runtime::cache_dir;

use crate::fixture::{Job, assert_exit, rows, wait_until};
use crate::support::{self, stdout_of};

const USER: u32 = 10001;

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// One instruction of the Dockerfile a line: its word, and what follows.
fn instructions() -> Vec<(String, String)> {
    let text = fs::read_to_string(project().join("Dockerfile")).unwrap();
    let whole = text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    let lines = whole.replace("\\\n", " ");
    let instruction = |line: &str| {
        let (word, rest) = line.split_once(' ')?;
        Some((word.to_owned(), rest.split_whitespace().collect::<Vec<_>>().join(" ")))
    };
    lines.lines().filter(|line| !line.trim().is_empty()).filter_map(instruction).collect()
}

fn all_of(word: &str) -> Vec<String> {
    instructions().into_iter().filter(|(other, _)| other == word).map(|(_, rest)| rest).collect()
}

fn steps(arguments: &[&str]) -> Command {
    let mut command = Command::new(project().join("scripts/image/build-steps"));
    command.args(arguments);
    command
}

#[test]
fn the_dockerfile_names_versions_a_number_for_its_user_and_what_exists() {
    for image in all_of("FROM") {
        let image = image.split(' ').next().unwrap();
        let version = image.split_once(':').map_or("", |(_, tag)| tag);
        assert!(image == "scratch" || version.starts_with(|first: char| first.is_ascii_digit()), "{image}");
    }
    assert_eq!(all_of("USER"), [format!("{USER}:{USER}")], "Kubernetes checks runAsNonRoot by the number");
    assert_eq!(
        all_of("ENTRYPOINT"),
        ["[\"/opt/tilefleet/tilefleet\"]"],
        "no shell that keeps SIGTERM to itself"
    );
    let rust = fs::read_to_string(project().join("rust-toolchain.toml")).unwrap();
    let channel = rust.lines().find_map(|line| line.strip_prefix("channel = ")).unwrap().trim_matches('"');
    assert!(all_of("FROM")[0].starts_with(&format!("rust:{channel}-")), "the Rust that CI builds with");
    assert!(all_of("ENV")[0].contains(&format!("RUSTUP_TOOLCHAIN={channel} ")));
    assert!(all_of("ARG").contains(&format!("VERSION={}", env!("CARGO_PKG_VERSION"))));
    for step in all_of("RUN") {
        let mut words = step.split(' ');
        assert_eq!(
            words.next(),
            Some("scripts/image/build-steps"),
            "what is not in the script is not tested"
        );
        let known = steps(&[]).output().unwrap();
        let usage = String::from_utf8(known.stderr).unwrap();
        assert!(usage.contains(words.next().unwrap()), "{step}: {usage}");
    }
}

/// What the Dockerfile copies is there, and is all that `.dockerignore` lets through; and it is enough for Cargo.
#[test]
fn what_is_copied_is_what_cargo_needs() {
    let copied: Vec<String> = all_of("COPY")
        .into_iter()
        .filter(|rest| !rest.starts_with("--from"))
        .flat_map(|rest| {
            let mut places: Vec<_> = rest.split(' ').map(str::to_owned).collect();
            places.pop();
            places
        })
        .collect();
    let ignored = fs::read_to_string(project().join(".dockerignore")).unwrap();
    let mut allowed: Vec<_> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let mut expected = copied.clone();
    expected.sort();
    allowed.sort_unstable();
    assert_eq!(allowed, expected);
    let context = tempfile::tempdir().unwrap();
    for place in &copied {
        let from = project().join(place);
        assert!(from.exists(), "{place}");
        let to = context.path().join(place);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        assert!(Command::new("cp").arg("-r").args([from, to]).status().unwrap().success());
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--locked", "--offline", "--no-deps", "--format-version", "1"]);
    let targets: serde_json::Value =
        serde_json::from_str(&stdout_of(cargo.current_dir(context.path()))).unwrap();
    let tests = |kind: &serde_json::Value| kind == &serde_json::json!(["test"]);
    for package in targets["packages"].as_array().unwrap() {
        for target in package["targets"].as_array().unwrap().iter().filter(|t| !tests(&t["kind"])) {
            assert!(Path::new(target["src_path"].as_str().unwrap()).is_file(), "{target}");
        }
    }
}

#[test]
fn hadolint_finds_nothing() {
    let hadolint = project().join(".venv/bin/hadolint");
    if !hadolint.is_file() {
        support::skip::<()>("no .venv/bin/hadolint: run scripts/test-env");
        return;
    }
    assert_eq!(stdout_of(Command::new(hadolint).arg(project().join("Dockerfile"))), "");
}

/// A file system made by the script, as a container engine would lay it out.
struct Image {
    folder: tempfile::TempDir,
}

impl Image {
    /// Runs the step `root`, with the binary under test in place of a release.
    fn build() -> Option<Self> {
        // Not `skip`: CI must not need to be root, or on Debian.
        let debian = Command::new("apt-get").arg("--version").output().is_ok();
        if !rustix::process::geteuid().is_root() || !debian {
            tilefleet_testing::skipped::not_on_this_machine("only root on Debian can make the image's root");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut command = steps(&["root", folder.path().join("root").to_str().unwrap(), "cpu"]);
        command.env("BINARY", env!("CARGO_BIN_EXE_tilefleet")).env("TILEFLEET_PYTHON", support::python()?);
        command.env("TILEFLEET_CACHE", cache_dir().unwrap());
        let said = stdout_of(&mut command);
        assert!(said.contains("tilefleet "), "it starts: {said}");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Some(Self { folder })
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// Runs the image's program as the first process of a container without a network: read only but for /tmp, where a
    /// folder of this machine lies.
    fn command(&self, work: &Path, arguments: &[&str]) -> Command {
        const BEGIN: &str = "set -e; mount --bind \"$0\" \"$0\"; mount --bind \"$1\" \"$0/tmp\"; \
            mount -t proc proc \"$0/proc\"; mount -t tmpfs -o size=64k none \"$0/dev\"; \
            for device in null zero random urandom; do touch \"$0/dev/$device\"; \
            mount --bind \"/dev/$device\" \"$0/dev/$device\"; done; \
            mount -o remount,bind,ro \"$0\"; root=$0; shift; \
            exec chroot --userspec=10001:10001 \"$root\" /opt/tilefleet/tilefleet \"$@\"";
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "--pid",
            "--net",
            "--ipc",
            "--uts",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            BEGIN,
        ]);
        command.arg(self.root()).arg(work).args(arguments);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("TMPDIR", "/tmp");
        command.env("TILEFLEET_CACHE", "/var/cache/tilefleet").env("TILEFLEET_LOG_FORMAT", "text");
        command
    }

    fn run(&self, work: &Path, arguments: &[&str]) -> Output {
        self.command(work, arguments).output().unwrap()
    }
}

/// Gives a folder to the image's user.
fn give(folder: &Path) {
    assert!(Command::new("chown").args(["-R", "10001:10001"]).arg(folder).status().unwrap().success());
}

/// The pipeline of a job whose folder is /tmp.
fn job_in_tmp(num_images: usize, settings: &str) -> Job {
    let job = Job::new(num_images, settings);
    fs::copy(crate::fixture::small_model(), job.path("model.onnx")).unwrap();
    let contract = crate::fixture::small_model().with_extension("contract.toml");
    if contract.is_file() {
        fs::copy(contract, job.path("model.contract.toml")).unwrap();
    }
    let text = fs::read_to_string(&job.pipeline).unwrap();
    let text = text.replace(crate::fixture::small_model().to_str().unwrap(), "model.onnx");
    fs::write(&job.pipeline, text).unwrap();
    give(job.folder.path());
    job
}

fn exit_of(mut child: Child) -> Option<i32> {
    child.wait().unwrap().code()
}

/// The first process inside, by its number outside; `unshare` is its parent.
fn first_process(unshare: &Child) -> Pid {
    let children = format!("/proc/{0}/task/{0}/children", unshare.id());
    let found =
        || fs::read_to_string(&children).ok()?.split(' ').next()?.parse().ok().and_then(Pid::from_raw);
    wait_until("the container has a process", || found().is_some());
    found().unwrap()
}

/// Building takes seconds, so what can be seen of an image is seen on one.
#[test]
fn the_image_works_read_only_without_a_network_as_nobody() {
    let Some(image) = Image::build() else { return };
    holds_what_it_should(&image.root());
    lists_its_parts(&image.root());

    let job = job_in_tmp(12, "");
    let run = image.run(job.folder.path(), &["run", "/tmp/photos.toml"]);
    assert_exit(&run, 0);
    assert_eq!(rows(&job.table()).len(), 12);
    let table = fs::metadata(job.table()).unwrap();
    assert_eq!((table.uid(), table.gid()), (USER, USER));
    assert_exit(&image.run(job.folder.path(), &["verify", "/tmp/table"]), 0);
    let doctor = image.run(job.folder.path(), &["runtime", "doctor"]);
    let said = String::from_utf8(doctor.stdout).unwrap();
    assert!(said.contains("/opt/tilefleet/libonnxruntime.so"), "{said}");

    the_first_process_drains_at_sigterm(&image);
    the_first_process_ends_at_sigterm(&image);
}

fn holds_what_it_should(root: &Path) {
    let holds = |place: &str| root.join(place).exists();
    for place in ["etc/ssl/certs/ca-certificates.crt", "etc/os-release", "usr/share/tilefleet/LICENSE-MIT"] {
        assert!(holds(place), "{place}");
    }
    for place in ["bin", "usr/bin/sh", "usr/bin/apt-get", "usr/share/man", "usr/lib/x86_64-linux-gnu/gconv"] {
        assert!(!holds(place), "{place}");
    }
    let mut find = Command::new("find");
    find.arg(root).args(["-xdev", "(", "-perm", "/6000", "-o", "-perm", "-o+w", "!", "-type", "l", ")"]);
    assert_eq!(stdout_of(&mut find).trim(), root.join("tmp").to_str().unwrap(), "no rights but to /tmp");
}

fn lists_its_parts(root: &Path) {
    let text = fs::read_to_string(root.join("usr/share/tilefleet/sbom.cdx.json")).unwrap();
    let sbom: serde_json::Value = serde_json::from_str(&text).unwrap();
    let parts: Vec<&str> =
        sbom["components"].as_array().unwrap().iter().map(|part| part["purl"].as_str().unwrap()).collect();
    let has = |start: &str| parts.iter().any(|purl| purl.starts_with(start));
    for part in
        ["pkg:cargo/parquet@", "pkg:cargo/libdeflate-sys@", "pkg:deb/debian/libc6@", "pkg:pypi/onnxruntime@"]
    {
        assert!(has(part), "{part} is not among {parts:?}");
    }
    assert!(
        !has("pkg:cargo/datafusion@") && !has("pkg:cargo/insta@"),
        "neither DataFusion nor what tests use"
    );
}

fn the_first_process_drains_at_sigterm(image: &Image) {
    let job = job_in_tmp(3000, "[plan]\nshard_tiles = 5\n[run]\nthreads = 1\nbatch = 2");
    let mut command = image.command(job.folder.path(), &["run", "/tmp/photos.toml"]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("a shard is committed", || job.table().exists() && !rows(&job.table()).is_empty());
    kill_process(first_process(&child), Signal::TERM).unwrap();
    assert_eq!(exit_of(child), Some(143));
    let num_rows = rows(&job.table()).len();
    assert!(num_rows < 3000 && num_rows.is_multiple_of(5), "whole shards, and not all: {num_rows}");
}

/// Of a command that does not listen itself; it waits for a model that nobody writes.
fn the_first_process_ends_at_sigterm(image: &Image) {
    let folder = tempfile::tempdir().unwrap();
    assert!(Command::new("mkfifo").arg(folder.path().join("model.onnx")).status().unwrap().success());
    give(folder.path());
    let mut command = image.command(folder.path(), &["model", "inspect", "/tmp/model.onnx"]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let inside = first_process(&child);
    let program = format!("/proc/{}/comm", inside.as_raw_nonzero());
    wait_until("tilefleet runs", || fs::read_to_string(&program).is_ok_and(|name| name == "tilefleet\n"));
    std::thread::sleep(std::time::Duration::from_millis(500));
    kill_process(inside, Signal::TERM).unwrap();
    assert_eq!(exit_of(child), Some(143));
}
