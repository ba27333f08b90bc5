//! A real SLURM, on this host alone: an array of 8 tasks, of which one is requeued and one is killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::fixture::{Job, rows, shard_files, wait_until};
use crate::support;

const TASKS: usize = 8;
const NUM_IMAGES: usize = 2400;

/// SLURM below a folder, until it is dropped.
struct Slurm {
    folder: tempfile::TempDir,
}

impl Slurm {
    fn start() -> Option<Self> {
        if !support::is_root() {
            // Not `skip`: CI must not need to be root.
            tilefleet_testing::skipped::not_on_this_machine("only root can start SLURM");
            return None;
        }
        let is_there = |program: &&str| Path::new("/usr/sbin").join(program).exists();
        if !["slurmctld", "slurmd", "munged"].iter().all(is_there) {
            return support::skip("no slurmctld, slurmd and munged: apt-get install slurm-wlm munge");
        }
        let folder = tempfile::tempdir().unwrap();
        support::stdout_of(script().arg("up").arg(folder.path()));
        Some(Self { folder })
    }

    /// A command of SLURM.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("SLURM_CONF", self.folder.path().join("slurm.conf"));
        command
    }

    fn asked(&self, program: &str, arguments: &[&str]) -> String {
        support::stdout_of(self.command(program).args(arguments))
    }

    /// The tasks of an array, each with its state and why it waits.
    fn queue(&self, array: &str) -> Vec<(String, String)> {
        let listed =
            self.asked("squeue", &["--noheader", "--array", "--jobs", array, "--format", "%K %T %r"]);
        let task =
            |line: &str| line.trim().split_once(' ').map(|(task, state)| (task.to_owned(), state.to_owned()));
        listed.lines().filter_map(task).collect()
    }
}

impl Drop for Slurm {
    fn drop(&mut self) {
        let _ = script().arg("down").arg(self.folder.path()).status();
    }
}

fn script() -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/slurm-host"))
}

/// The worker of a task: the process that is no shell.
fn worker_of(task: usize, table: &Path) -> Option<u32> {
    let variable = format!("SLURM_ARRAY_TASK_ID={task}");
    let of_task = |process: &PathBuf| {
        let read = |name: &str| fs::read(process.join(name)).unwrap_or_default();
        let has =
            |bytes: Vec<u8>, text: &str| bytes.split(|byte| *byte == 0).any(|found| found == text.as_bytes());
        let is_worker = fs::read_link(process.join("exe")).is_ok_and(|exe| exe.ends_with("tilefleet"));
        is_worker && has(read("environ"), &variable) && has(read("cmdline"), table.to_str().unwrap())
    };
    let mut processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    processes.find(of_task)?.file_name()?.to_str()?.parse().ok()
}

#[test]
fn an_array_of_which_two_tasks_are_lost_is_whole() {
    let Some(slurm) = Slurm::start() else { return };
    let job = Job::new(NUM_IMAGES, "[plan]\nshard_tiles = 8\n[run]\nthreads = 1\nbatch = 2");
    let array = submit(&slurm, &job);
    let log = |task: usize| fs::read_to_string(job.path(&format!("task-{task}.log"))).unwrap_or_default();
    let at_work = |task| worker_of(task, &job.table());
    wait_until("both are at work", || at_work(2).is_some() && at_work(5).is_some());
    wait_until("shards are committed", || shard_files(&job.table()).len() > 20);
    slurm.asked("scontrol", &["requeue", &format!("{array}_2")]);
    let killed = at_work(5).expect("there is more to do").to_string();
    assert!(Command::new("kill").args(["-KILL", &killed]).status().unwrap().success());
    wait_for_the_end(&slurm, &array);
    for task in 0..TASKS {
        let said = slurm.asked("scontrol", &["show", "job", &format!("{array}_{task}")]);
        assert!(
            said.contains("JobState=COMPLETED") && said.contains("ExitCode=0:0"),
            "{said}\n{}",
            log(task)
        );
        let restarts = if [2, 5].contains(&task) { "Restarts=1" } else { "Restarts=0" };
        assert!(said.contains(restarts), "{said}\n{}", log(task));
    }
    assert!(log(5).contains("exit 137: this task is queued again"), "{}", log(5));
    job.verify_ok();
    assert_eq!(rows(&job.table()).len(), NUM_IMAGES);
}

/// Hands the array in; returns its number.
fn submit(slurm: &Slurm, job: &Job) -> String {
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/slurm/array.sh");
    let mut command = slurm.command("sbatch");
    for (name, value) in support::tilefleet().get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.env("TILEFLEET", support::tilefleet().get_program()).current_dir(job.folder.path());
    command.args(["--parsable", "--array=0-7", "--output=task-%a.log"]).arg(template);
    command.arg("run").arg(&job.pipeline).arg("--output").arg(job.table());
    support::stdout_of(&mut command).trim().to_owned()
}

/// Waits until no task is left. One that is queued again would wait for two minutes, which says nothing about us.
fn wait_for_the_end(slurm: &Slurm, array: &str) {
    let give_up = Instant::now() + Duration::from_mins(4);
    loop {
        let queue = slurm.queue(array);
        if queue.is_empty() {
            return;
        }
        assert!(Instant::now() < give_up, "{queue:?}");
        for (task, _) in queue.iter().filter(|(_, state)| state.contains("BeginTime")) {
            // It may have begun meanwhile.
            let arguments = ["update", &format!("JobId={array}_{task}"), "StartTime=now"];
            let _ = slurm.command("scontrol").args(arguments).output();
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}
