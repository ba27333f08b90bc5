//! Many workers on one run, each with a share of it: nothing is lost or doubled, whatever becomes of them, and each
//! ends with the exit code that its engine needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore as _, PutMode, PutOptions};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use serde_json::Value;
use tilefleet::output::{BegunNote, Run};
use tilefleet::stages::work::{Lease, Next, Share, ShareFirst, WorkSource};
use tilefleet::vocabulary::process::Process;
use tilefleet::vocabulary::time::SystemClock;

use crate::devices::{Habits, attempt_by, open_worker};
use crate::fixture::{Job, assert_exit, ended, jpeg, shard_files, signal, stderr, wait_until};
use crate::simulated::{Gate, loaded};
use crate::support;

// ---------------------------------------------------------------------------------------------------------------
// Real processes

const NUM_IMAGES: usize = 600;

/// A job of so many shards that there is time to do something to its workers.
fn long_job() -> Job {
    job_of(NUM_IMAGES)
}

fn job_of(num_images: usize) -> Job {
    Job::new(num_images, "[plan]\nshard_tiles = 5\n[run]\nthreads = 1\nbatch = 1")
}

/// Starts a worker on a share.
fn worker(job: &Job, share: &str, arguments: &[&str]) -> Child {
    let mut command = job.run_command(&[&["--share", share], arguments].concat());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn ends_well(worker: Child) {
    assert_exit(&ended(worker), 0);
}

fn some_are_committed(job: &Job, num_shards: usize) {
    wait_until("some shards are committed", || shard_files(&job.table()).len() >= num_shards);
}

/// The bytes of all committed shards.
fn contents(job: &Job) -> BTreeMap<String, (PathBuf, Vec<u8>)> {
    let read = |(name, path): (String, PathBuf)| (name, (path.clone(), fs::read(path).unwrap()));
    shard_files(&job.table()).into_iter().map(read).collect()
}

/// Nobody has planned: all race to do so, and each takes what the winner has planned.
#[test]
fn workers_that_start_at_once_share_one_plan() {
    let job = Job::new(60, "[plan]\nshard_tiles = 3");
    let workers = ["0/3", "1/3", "2/3"].map(|share| worker(&job, share, &["--json"]));
    let reports = workers.map(|worker| {
        let output = ended(worker);
        assert_exit(&output, 0);
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    });
    job.each_image_has_one_row(60);
    let runs: BTreeSet<&str> = reports.iter().map(|report| report["run_id"].as_str().unwrap()).collect();
    assert_eq!(runs.len(), 1);
    let ours = reports.iter().map(|report| report["this_process"]["shards_ours"].as_u64().unwrap());
    assert_eq!(ours.sum::<u64>(), 20);
}

/// Kubernetes may run two pods of one index, and SLURM a task that it believes dead.
#[test]
fn two_workers_on_one_index_double_nothing() {
    let job = long_job();
    let workers = [worker(&job, "1/3", &[]), worker(&job, "1/3", &[])];
    workers.into_iter().for_each(ends_well);
    job.each_image_has_one_row(NUM_IMAGES);
}

/// Of two workers one is killed, and three come that believe in another number.
#[test]
fn a_job_that_shrinks_and_grows_in_mid_run_loses_nothing() {
    let job = long_job();
    let (first, mut second) = (worker(&job, "0/2", &[]), worker(&job, "1/2", &[]));
    some_are_committed(&job, 6);
    second.kill().unwrap();
    second.wait().unwrap();
    let before = contents(&job);
    assert!(5 * before.len() < NUM_IMAGES, "the run is complete; make the job longer");
    let grown = ["0/3", "1/3", "2/3"].map(|share| worker(&job, share, &[]));
    ends_well(first);
    grown.into_iter().for_each(ends_well);
    job.each_image_has_one_row(NUM_IMAGES);
    let after = contents(&job);
    assert!(before.iter().all(|(name, file)| after.get(name) == Some(file)), "a committed shard has changed");
}

/// The only worker left is of a share, and the others never came: it finishes the run.
#[test]
fn one_worker_of_many_finishes_the_run() {
    let job = Job::new(40, "[plan]\nshard_tiles = 4");
    ends_well(worker(&job, "5/32", &[]));
    job.each_image_has_one_row(40);
}

/// There is no time to finish anything: what is not committed stays open, and nothing is half there.
#[test]
fn a_grace_that_is_too_short_leaves_shards_open() {
    for (name, code) in [("TERM", 143), ("INT", 130)] {
        let job = long_job();
        let stopped = worker(&job, "0/2", &["--set", "run.grace=0s"]);
        some_are_committed(&job, 2);
        signal(&stopped, name);
        let output = ended(stopped);
        assert_exit(&output, code);
        assert!(stderr(&output).contains("for at most 0s"), "{}", stderr(&output));
        let before = contents(&job);
        assert!(before.values().all(|(_, bytes)| bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1")));
        assert_exit(&job.verify(), 75);
        ends_well(worker(&job, "0/2", &[]));
        job.each_image_has_one_row(NUM_IMAGES);
        let after = contents(&job);
        assert!(before.iter().all(|(name, file)| after.get(name) == Some(file)));
    }
}

/// SLURM signals every process of a task that it requeues, and the task's script passes the signal on.
#[test]
fn a_second_sigterm_does_not_cut_the_grace_short() {
    let job = long_job();
    let stopped = worker(&job, "0/2", &[]);
    some_are_committed(&job, 2);
    signal(&stopped, "TERM");
    signal(&stopped, "TERM");
    let output = ended(stopped);
    assert_exit(&output, 143);
    assert!(stderr(&output).contains("error: drained after SIGTERM"), "{}", stderr(&output));
    ends_well(worker(&job, "0/2", &[]));
    job.each_image_has_one_row(NUM_IMAGES);
}

/// A worker sleeps, as in a machine that is suspended, until long after the run is complete. Meanwhile the other one
/// does its work too, and does not wait for it.
#[test]
fn a_worker_that_wakes_up_after_the_run_is_complete_harms_nobody() {
    // The other one is done before the sleeper, once it is awake, is to look whether its leases are of use.
    let num_images = 200;
    let job = job_of(num_images);
    let sleeper = worker(&job, "0/2", &["--json"]);
    some_are_committed(&job, 2);
    signal(&sleeper, "STOP");
    let num_before = shard_files(&job.table()).len();
    assert!(5 * num_before < num_images, "the run is complete; make the job longer");
    ends_well(worker(&job, "1/2", &[]));
    job.each_image_has_one_row(num_images);
    let complete = contents(&job);
    signal(&sleeper, "CONT");
    let output = ended(sleeper);
    assert_exit(&output, 0);
    assert_eq!(contents(&job), complete);
    job.each_image_has_one_row(num_images);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let ours = &report["this_process"];
    assert_eq!(report["judges"], false);
    assert!(ours["shards_ours"].as_u64().unwrap() <= num_before as u64, "{ours}");
    assert!(ours["shards_theirs"].as_u64().unwrap() > 0, "it had more in hand than it has committed: {ours}");
}

/// Tasks of an array may begin when others have done all of it.
#[test]
fn a_share_with_nothing_left_exits_0() {
    let job = Job::new(6, "[plan]\nshard_tiles = 1");
    ends_well(worker(&job, "0/2", &[]));
    let complete = contents(&job);
    let late = ended(worker(&job, "1/2", &[]));
    assert_exit(&late, 0);
    assert!(stderr(&late).ends_with("covers every source: nothing to do\n"), "{}", stderr(&late));
    assert_eq!(contents(&job), complete);
}

/// An engine that is told 65 by all of its tasks would show as many failures.
#[test]
fn of_all_workers_one_says_that_too_much_was_rejected() {
    let job = Job::new(200, "[plan]\nshard_tiles = 5\n[run]\nthreads = 1\nbatch = 1");
    (0..60).for_each(|index| job.write_image(&format!("{index:05}-broken.jpg"), b"no image"));
    assert_exit(&support::tilefleet().arg("plan").arg(&job.pipeline).output().unwrap(), 0);
    let workers = ["0/3", "1/3", "2/3"].map(|share| worker(&job, share, &["--json"]));
    let outputs = workers.map(ended);
    let mut codes = outputs.each_ref().map(|output| output.status.code().unwrap());
    codes.sort_unstable();
    assert_eq!(codes, [0, 0, 65]);
    for output in outputs {
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["judges"] == true, output.status.code() == Some(65), "{report}");
        assert_eq!(report["summary"]["rejected"], 60, "all know the counts");
    }
    job.each_image_has_one_row(260);
    assert_exit(&job.run(&["--share", "0/3"]), 0);
}

/// Killed after the last commit, before it could say anything: whoever comes next says it, once.
#[test]
fn a_judge_that_was_killed_is_replaced() {
    let job = Job::new(3, "");
    job.write_image("broken.jpg", b"");
    assert_exit(&job.run(&["--share", "0/2"]), 65);
    let record = fs::read_dir(job.path("table/_tilefleet")).unwrap().map(|entry| entry.unwrap().path());
    let summaries: Vec<PathBuf> =
        record.map(|folder| folder.join("summary.json")).filter(|path| path.exists()).collect();
    let [summary] = &summaries[..] else { panic!("one run") };
    fs::remove_file(summary).unwrap();
    assert_exit(&job.run(&["--share", "0/2"]), 65);
    assert_exit(&job.run(&["--share", "1/2"]), 0);
}

/// Most tasks of an array may begin when the first ones have done all of it: they list no input, and plan nothing, not
/// even what the run before was not accepted for.
#[test]
fn a_late_task_of_a_job_has_nothing_left() {
    let job = Job::new(10, "");
    let task = |array: &str, id: &str, arguments: &[&str]| {
        let mut command = job.run_command(&[&["--share", "auto"], arguments].concat());
        let slurm = [("ID", id), ("COUNT", "4"), ("MIN", "0"), ("MAX", "3")];
        command.envs(slurm.map(|(name, value)| (format!("SLURM_ARRAY_TASK_{name}"), value)));
        command.env("SLURM_ARRAY_JOB_ID", array).output().unwrap()
    };
    let runs = || shard_files(&job.table()).into_keys().collect::<Vec<_>>();
    assert_exit(&task("100", "0", &[]), 0);
    (0..5).for_each(|index| job.write_image(&format!("broken-{index}.jpg"), b"no image"));
    let late = task("100", "1", &[]);
    assert_exit(&late, 0);
    assert!(stderr(&late).contains(" is complete: 10 tiles, 10 ok"), "{}", stderr(&late));
    assert_eq!(runs().len(), 1, "what is new is for the next job");
    assert_exit(&task("101", "2", &[]), 65);
    let report = task("101", "3", &["--json"]);
    assert_exit(&report, 0);
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!((&report["current"], &report["summary"]["rejected"]), (&false.into(), &5.into()));
    assert_eq!(runs().len(), 2, "the run that nobody has accepted was not planned again");
    assert_exit(&task("102", "0", &[]), 65);
    assert_eq!(runs().len(), 3);
}

#[test]
fn auto_reads_what_the_engine_says() {
    let job = Job::new(4, "[plan]\nshard_tiles = 1");
    let run = |variables: &[(&str, &str)]| {
        job.run_command(&["--share", "auto"]).envs(variables.iter().copied()).output().unwrap()
    };
    assert_exit(&run(&[]), 64);
    assert_exit(&run(&[("JOB_COMPLETION_INDEX", "1")]), 78);
    assert!(!job.table().exists());
    let slurm = [("ID", "7"), ("COUNT", "2"), ("MIN", "3"), ("MAX", "7")]
        .map(|(name, value)| (format!("SLURM_ARRAY_TASK_{name}"), value));
    let slurm: Vec<(&str, &str)> = slurm.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let output = run(&slurm);
    assert_exit(&output, 0);
    assert!(stderr(&output).contains("share 1/2, by SLURM_ARRAY_TASK_ID\n"), "{}", stderr(&output));
    job.each_image_has_one_row(4);
}

/// A command of one index of an Indexed Job of three.
fn of_indexed_job(mut command: Command, index: &str, name: &str) -> Command {
    command.env("JOB_COMPLETION_INDEX", index).env("TILEFLEET_SHARE_COUNT", "3");
    command.env("TILEFLEET_SHARE_JOB", name).args(["--share", "auto"]);
    command
}

/// A worker of such a job, in whose place nothing of the input can be listed.
fn worker_without_input(job: &Job, index: &str, name: &str, wait: &str) -> Child {
    let nowhere = job.path("nowhere");
    let mut command = of_indexed_job(job.run_command(&[]), index, name);
    command.arg("--input").arg(nowhere).args(["--set", &format!("plan.wait={wait}")]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn plan_command(job: &Job) -> Command {
    let mut command = support::tilefleet();
    command.arg("plan").arg(&job.pipeline);
    command
}

/// Eight pods must not all list a large input: only the first does.
#[test]
fn workers_of_an_array_wait_for_the_plan_of_the_first() {
    let job = Job::new(12, "[plan]\nshard_tiles = 2");
    let early = worker_without_input(&job, "2", "first", "2m");
    // It has time to do what it should not.
    std::thread::sleep(Duration::from_secs(3));
    assert!(shard_files(&job.table()).is_empty());
    assert_exit(&of_indexed_job(plan_command(&job), "0", "first").output().unwrap(), 0);
    let output = ended(early);
    assert_exit(&output, 0);
    let said = stderr(&output);
    assert!(said.contains("waiting for the plan of the first worker, for at most 2m\n"), "{said}");
    job.each_image_has_one_row(12);
}

/// The first finds nothing new; the others take its word for it, also if they come late.
#[test]
fn workers_of_an_array_learn_from_the_first_that_nothing_is_new() {
    let job = Job::new(4, "");
    job.run_ok(&[]);
    let early = worker_without_input(&job, "1", "second", "2m");
    let output = of_indexed_job(job.run_command(&[]), "0", "second").output().unwrap();
    assert_exit(&output, 0);
    ends_well(early);
    ends_well(worker_without_input(&job, "2", "second", "2m"));
    job.each_image_has_one_row(4);
}

/// The first never comes: its machine cannot be had.
#[test]
fn a_worker_plans_by_itself_if_the_first_takes_too_long() {
    let job = Job::new(4, "");
    let output = of_indexed_job(job.run_command(&["--set", "plan.wait=1s"]), "1", "third").output().unwrap();
    assert_exit(&output, 0);
    job.each_image_has_one_row(4);
}

/// As the init container of a pod that is evicted: it is process 1 there, which no signal ends by itself.
#[test]
fn planning_ends_at_sigterm() {
    let job = Job::new(4, "");
    let mut command = of_indexed_job(plan_command(&job), "1", "fourth");
    let mut waiting = command
        .args(["--set", "plan.wait=10m"])
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(waiting.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(said.any(|line| line.contains("waiting for the plan")));
    signal(&waiting, "TERM");
    assert_exit(&ended(waiting), 143);
}

// ---------------------------------------------------------------------------------------------------------------
// What workers do to each other

/// Four workers of one process each on devices that take their time: they share the work, and do little of it twice.
#[test]
fn shares_seldom_do_the_same() {
    let job = Job::new(64, "[plan]\nshard_tiles = 1");
    assert_exit(&support::tilefleet().arg("plan").arg(&job.pipeline).output().unwrap(), 0);
    let slow = Habits { takes: Duration::from_millis(20), ..Habits::default() };
    let work = |index: u32| {
        let share = Share::new(index, 4).unwrap();
        let worker = open_worker(&job, Process::real()).sharing(share, None);
        attempt_by(worker, 1, &[std::slice::from_ref(&slow)]).result.unwrap().this_process
    };
    let reports = std::thread::scope(|scope| {
        [0, 1, 2, 3].map(|index| scope.spawn(move || work(index))).map(|worker| worker.join().unwrap())
    });
    job.each_image_has_one_row(64);
    let ours: u64 = reports.iter().map(|report| report.shards_ours).sum();
    assert_eq!(ours, 64);
    assert!(reports.iter().all(|report| report.shards_ours > 0), "{reports:#?}");
}

/// An earlier run's shards were 100 times as long in work as they may be: the plan says how many tiles fit.
#[test]
fn a_plan_warns_of_shards_that_are_long_in_work() {
    let job = Job::new(8, "[plan]\nshard_tiles = 8");
    let plan = |arguments: &[&str]| {
        let output = support::tilefleet().arg("plan").arg(&job.pipeline).args(arguments).output().unwrap();
        assert_exit(&output, 0);
        output
    };
    let first = plan(&["--dry-run", "--json"]);
    assert!(serde_json::from_slice::<Value>(&first.stdout).unwrap()["shard_seconds"].is_null());
    job.run_ok(&[]);
    let [shard] = &shard_files(&job.table()).into_values().collect::<Vec<_>>()[..] else {
        panic!("one shard")
    };
    say_that_it_took(shard, 240.0);
    job.write_image("new.jpg", &jpeg(9));
    for arguments in [&["--dry-run"][..], &[]] {
        let said = stderr(&plan(arguments));
        assert!(said.contains("warning: a shard of 8 tiles is in work for about 4 min 00 s"), "{said}");
        assert!(said.contains("with `plan.shard_tiles = 2`"), "{said}");
    }
    let answer: Value = serde_json::from_slice(&plan(&["--json"]).stdout).unwrap();
    assert_eq!((&answer["shard_tiles"], &answer["shard_seconds"]), (&8.into(), &240.0.into()));
}

/// Writes another time into the metadata of a shard.
fn say_that_it_took(shard: &std::path::Path, seconds: f64) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(shard).unwrap()).unwrap();
    let mut pairs = reader.metadata().file_metadata().key_value_metadata().cloned().unwrap();
    pairs.retain(|pair| !["ARROW:schema", "tilefleet.seconds"].contains(&pair.key.as_str()));
    pairs.push(KeyValue::new("tilefleet.seconds".to_owned(), seconds.to_string()));
    let properties = WriterProperties::builder().set_key_value_metadata(Some(pairs)).build();
    let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
    let file = fs::File::create(shard).unwrap();
    let mut writer = ArrowWriter::try_new(file, batches[0].schema(), Some(properties)).unwrap();
    for batch in &batches {
        writer.write(batch).unwrap();
    }
    writer.close().unwrap();
}

const NUM_SHARDS: u32 = 128;

/// A worker of the game below: it takes so many turns for a shard.
struct Player {
    run: Arc<Run>,
    work: ShareFirst,
    turns: usize,
    /// The shard in its hands, the note that it has begun it, and when it is finished.
    held: Option<(Lease, BegunNote, usize)>,
    is_done: bool,
    /// Dies at this turn, with whatever it has in its hands.
    dies: Option<usize>,
}

/// What came of a game.
struct Played {
    /// When the last shard was committed.
    turns: usize,
    /// Shards that were finished a second time.
    wasted: usize,
}

/// Lets workers with these shares and turns for a shard play over one plan.
async fn play(players: &[(&str, usize, Option<usize>)]) -> Played {
    let job = Job::new(NUM_SHARDS as usize, "[plan]\nshard_tiles = 1");
    assert_exit(&support::tilefleet().arg("plan").arg(&job.pipeline).output().unwrap(), 0);
    let base = loaded(&job.table()).await;
    let store = Arc::new(base.store);
    let mut all = Vec::new();
    for (number, (share, turns, dies)) in players.iter().enumerate() {
        // Each begins somewhere else in its share, as processes do.
        let seed = (number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let process = Process::new(Arc::new(SystemClock), format!("worker-{number}"), seed);
        let run = Run::open(&Gate::open(&store).output(process), &base.family).await.unwrap().unwrap();
        let run = Arc::new(run);
        let work = ShareFirst::of(run.clone(), share.parse().unwrap()).await.unwrap();
        all.push(Player { run, work, turns: *turns, held: None, is_done: false, dies: *dies });
    }
    let mut played = Played { turns: 0, wasted: 0 };
    for now in 0..10_000 {
        if all.iter().all(|player| player.is_done) {
            return played;
        }
        for player in &mut all {
            player.turn(now, &store, &mut played).await;
        }
    }
    panic!("the game has no end");
}

impl Player {
    async fn turn(&mut self, now: usize, store: &InMemory, played: &mut Played) {
        if self.dies == Some(now) {
            self.is_done = true;
        }
        if self.is_done || self.held.as_ref().is_some_and(|(.., finished)| *finished > now) {
            return;
        }
        if let Some((lease, note, _)) = self.held.take() {
            let key = Path::from(self.run.shard_key(lease.shard));
            let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            if store.put_opts(&key, "rows".into(), create).await.is_ok() {
                played.turns = now;
            } else {
                played.wasted += 1;
                self.work.another_was_first(&lease);
            }
            self.run.remove_note(&note).await;
            self.work.done(&lease).await.unwrap();
        }
        loop {
            match self.work.next().await.unwrap() {
                Next::Shard(lease) => {
                    let note = self.run.begun_note(lease.shard);
                    self.run.write_note(&note).await.unwrap();
                    break self.held = Some((lease, note, now + self.turns));
                }
                Next::Elsewhere(_) => {}
                Next::Done => break self.is_done = true,
                Next::Wait(_) => panic!("it has nothing in its hands"),
            }
        }
    }
}

fn played(players: &[(&str, usize, Option<usize>)]) -> Played {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(play(players))
}

/// Eight workers, one of them ten times as slow: the others take its share. Most of what is done twice is done at the
/// end, when every open shard is in somebody's hands.
#[test]
fn a_slow_worker_does_not_decide() {
    let shares: Vec<String> = (0..8).map(|index| format!("{index}/8")).collect();
    let speed = |share: &String| if share == "3/8" { 40 } else { 4 };
    let players: Vec<_> = shares.iter().map(|share| (share.as_str(), speed(share), None)).collect();
    let Played { turns, wasted } = played(&players);
    println!("{turns} turns, {wasted} shards done twice");
    // Its share alone would take it 640 turns; 72 if nobody ever did the same as another.
    assert!(turns <= 88, "{turns} turns");
    assert!(wasted <= 24, "{wasted} shards were done twice");
}

/// Both believe that they have the second quarter of the run, and nobody has the rest.
#[test]
fn two_workers_on_one_share_seldom_do_the_same() {
    let Played { turns, wasted } = played(&[("1/4", 4, None), ("1/4", 4, None)]);
    println!("{turns} turns, {wasted} shards done twice");
    assert!(turns <= 4 * 68, "{turns} turns, of 256 if they never did the same");
    assert!(wasted <= 8, "{wasted} shards were done twice");
}

/// Half of the workers die in the middle, and another one has come that counts otherwise.
#[test]
fn whoever_is_left_finishes_what_others_had_in_hand() {
    let Played { turns, wasted } =
        played(&[("0/4", 4, None), ("1/4", 4, Some(50)), ("2/4", 4, Some(51)), ("4/5", 4, None)]);
    println!("{turns} turns, {wasted} shards done twice");
    assert!(turns <= 4 * 64, "{turns} turns");
    assert!(wasted <= 12, "{wasted} shards were done twice");
}
