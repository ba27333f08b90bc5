//! A fleet on a real queue: each test plays on the server of today and on Debian's, with real processes, and `verify` says
//! whether each tile has exactly one row.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;

use crate::fixture::{Job, assert_exit, ended, jpeg, shard_files, signal, stderr, wait_until};
use crate::support;
use crate::support::nats_server::NatsServer;
use crate::support::s3_server::block_on;

const NUM_IMAGES: usize = 240;
const NUM_SHARDS: usize = 48;

/// Which server.
#[derive(Clone, Copy)]
enum Server {
    Current,
    Debian,
}

impl Server {
    fn program(self) -> Option<PathBuf> {
        let (program, how) = match self {
            Self::Current => (
                support::project().join(".venv/bin/nats-server"),
                "no .venv/bin/nats-server: run scripts/test-env",
            ),
            Self::Debian => (
                PathBuf::from("/usr/sbin/nats-server"),
                "no /usr/sbin/nats-server: apt-get install nats-server",
            ),
        };
        if program.is_file() { Some(program) } else { support::skip(how) }
    }
}

/// A job, and the queue that its workers share.
struct Fleet {
    job: Job,
    nats: NatsServer,
    /// More arguments of all commands.
    arguments: Vec<String>,
}

impl Fleet {
    fn new(server: Server, settings: &str) -> Option<Self> {
        let nats = NatsServer::start(server.program()?);
        let job = Job::new(NUM_IMAGES, &format!("[plan]\nshard_tiles = 5\n{settings}"));
        Some(Self { job, nats, arguments: Vec::new() })
    }

    /// A fleet whose workers have one thread and take their time.
    fn slow(server: Server) -> Option<Self> {
        Self::new(server, "[run]\nthreads = 1\nbatch = 1\n[queue]\nlease = \"3s\"\nidle = \"20s\"")
    }

    fn command(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = support::tilefleet();
        command.arg(name).arg(&self.job.pipeline).args(["--set", &format!("queue.url={}", self.nats.url())]);
        command.args(&self.arguments).args(arguments);
        command
    }

    fn submit(&self) -> Value {
        let output = self.command("submit", &["--json"]).output().unwrap();
        assert_exit(&output, 0);
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn worker(&self, arguments: &[&str]) -> Child {
        self.command("work", arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn workers(&self, num: usize) -> Vec<Child> {
        (0..num).map(|_| self.worker(&["--json"])).collect()
    }

    fn some_are_committed(&self, num_shards: usize) {
        wait_until("some shards are committed", || self.num_committed() >= num_shards);
        assert!(self.num_committed() < NUM_SHARDS, "the run is complete; make the job longer");
    }

    fn num_committed(&self) -> usize {
        shard_files(&self.job.table()).len()
    }

    fn each_image_has_one_row(&self) {
        self.job.each_image_has_one_row(NUM_IMAGES);
    }

    /// Asks the server as a client would.
    fn broker<T>(&self, ask: impl AsyncFnOnce(async_nats::jetstream::Context) -> T) -> T {
        let url = self.nats.url();
        block_on(async {
            let client = async_nats::connect(url).await.unwrap();
            ask(async_nats::jetstream::new(client)).await
        })
    }

    fn num_messages(&self) -> u64 {
        self.broker(async |context| {
            let stream = context.get_stream(QUEUE).await.unwrap();
            stream.cached_info().state.messages
        })
    }
}

/// What the queue of the pipeline `photos` is called.
const QUEUE: &str = "tilefleet-photos";

fn end_well(workers: Vec<Child>) {
    for worker in workers {
        assert_exit(&ended(worker), 0);
    }
}

/// Plays a test on both servers.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod current {
            $(
                #[test]
                fn $name() {
                    super::$name(super::Server::Current);
                }
            )*
        }

        mod debian {
            $(
                #[test]
                fn $name() {
                    super::$name(super::Server::Debian);
                }
            )*
        }
    };
}

on_both!(
    a_queue_is_drained_by_several_workers,
    a_killed_broker_that_comes_back_loses_nothing,
    a_wiped_broker_is_filled_again_by_its_workers,
    a_stream_that_is_deleted_loses_nothing,
    a_consumer_that_is_deleted_loses_nothing,
    lost_messages_are_stored_again,
    messages_delivered_again_double_nothing,
    a_killed_worker_loses_its_shards_to_others,
    a_lease_lost_during_a_commit_doubles_nothing,
    a_fleet_that_shrinks_loses_nothing,
    a_refill_within_a_second_stores_every_open_shard,
    hundreds_of_pulls_are_served_at_once,
    what_is_put_back_comes_back_when_it_should,
);

fn a_queue_is_drained_by_several_workers(server: Server) {
    let Some(fleet) = Fleet::new(server, "") else { return };
    let submitted = fleet.submit();
    assert_eq!((&submitted["shards"], &submitted["queued"]), (&NUM_SHARDS.into(), &NUM_SHARDS.into()));
    let again = fleet.submit();
    assert_eq!((&again["queued"], &again["queued_before"]), (&0.into(), &NUM_SHARDS.into()));
    end_well(fleet.workers(3));
    fleet.each_image_has_one_row();
    assert_eq!(fleet.num_messages(), 0);
    assert_eq!(fleet.submit()["nothing_new"], true);
    // Nothing is left: the next worker does not even load its model.
    let idle = ended(fleet.worker(&[]));
    assert_exit(&idle, 0);
    assert_eq!(String::from_utf8_lossy(&idle.stdout), "the queue is empty; `tilefleet submit` fills it\n");
}

fn a_killed_broker_that_comes_back_loses_nothing(server: Server) {
    let Some(mut fleet) = Fleet::slow(server) else { return };
    fleet.submit();
    let workers = fleet.workers(2);
    fleet.some_are_committed(4);
    fleet.nats.kill();
    std::thread::sleep(Duration::from_secs(3));
    fleet.nats.start_again();
    end_well(workers);
    fleet.each_image_has_one_row();
}

/// Its disk is new, and nobody submits: the workers know what is open.
fn a_wiped_broker_is_filled_again_by_its_workers(server: Server) {
    let Some(mut fleet) = Fleet::slow(server) else { return };
    fleet.submit();
    let workers = fleet.workers(2);
    fleet.some_are_committed(4);
    fleet.nats.kill();
    fleet.nats.wipe();
    fleet.nats.start_again();
    end_well(workers);
    fleet.each_image_has_one_row();
}

fn a_stream_that_is_deleted_loses_nothing(server: Server) {
    let Some(fleet) = Fleet::slow(server) else { return };
    fleet.submit();
    let workers = fleet.workers(2);
    fleet.some_are_committed(4);
    fleet.broker(async |context| context.delete_stream(QUEUE).await.unwrap());
    end_well(workers);
    fleet.each_image_has_one_row();
}

fn a_consumer_that_is_deleted_loses_nothing(server: Server) {
    let Some(fleet) = Fleet::slow(server) else { return };
    fleet.submit();
    let workers = fleet.workers(2);
    fleet.some_are_committed(4);
    fleet.broker(async |context| {
        context.get_stream(QUEUE).await.unwrap().delete_consumer(QUEUE).await.unwrap();
    });
    end_well(workers);
    fleet.each_image_has_one_row();
}

fn lost_messages_are_stored_again(server: Server) {
    let Some(fleet) = Fleet::slow(server) else { return };
    fleet.submit();
    fleet.broker(async |context| {
        let stream = context.get_stream(QUEUE).await.unwrap();
        for place in [2, 3, 5, 8, 13, 21, 34] {
            stream.delete_message(place).await.unwrap();
        }
    });
    assert_eq!(fleet.num_messages(), NUM_SHARDS as u64 - 7);
    let workers = fleet.workers(2);
    let outputs: Vec<Output> = workers.into_iter().map(ended).collect();
    for output in &outputs {
        assert_exit(output, 0);
    }
    fleet.each_image_has_one_row();
    let said = |output: &Output| stderr(output).contains("stored again");
    assert!(outputs.iter().any(said), "{}", stderr(&outputs[0]));
}

/// Each shard has a second message, so that most come once more when they are committed.
fn messages_delivered_again_double_nothing(server: Server) {
    let Some(fleet) = Fleet::slow(server) else { return };
    fleet.submit();
    let workers = fleet.workers(2);
    fleet.some_are_committed(4);
    fleet.broker(async |context| {
        let run = run_id(&fleet);
        for shard in 0..NUM_SHARDS {
            // Under another subject the stream takes a second message of a shard.
            let message = format!("{{\"run\":\"{run}\",\"shard\":{shard}}}");
            let stored = context.publish(format!("{QUEUE}.again.{shard}"), message.into()).await.unwrap();
            stored.await.unwrap();
        }
    });
    end_well(workers);
    fleet.each_image_has_one_row();
    assert_eq!(fleet.num_messages(), 0);
}

fn run_id(fleet: &Fleet) -> String {
    let files = shard_files(&fleet.job.table());
    let name = files.keys().next().unwrap();
    name.split('/').next().unwrap().trim_start_matches("run=").to_owned()
}

fn a_killed_worker_loses_its_shards_to_others(server: Server) {
    let Some(fleet) = Fleet::slow(server) else { return };
    fleet.submit();
    let mut workers = fleet.workers(2);
    fleet.some_are_committed(4);
    workers[0].kill().unwrap();
    workers.remove(0).wait().unwrap();
    end_well(workers);
    fleet.each_image_has_one_row();
}

/// A worker is stopped with shards in its hands, and wakes up when they are committed.
fn a_lease_lost_during_a_commit_doubles_nothing(server: Server) {
    let Some(fleet) = Fleet::slow(server) else { return };
    fleet.submit();
    let sleeper = fleet.worker(&["--json"]);
    fleet.some_are_committed(4);
    signal(&sleeper, "STOP");
    end_well(fleet.workers(1));
    assert_eq!(fleet.num_committed(), NUM_SHARDS);
    signal(&sleeper, "CONT");
    end_well(vec![sleeper]);
    fleet.each_image_has_one_row();
    assert_eq!(fleet.num_messages(), 0);
}

/// Those that are told to go give back what they hold: the one that is left would not wait for their leases.
fn a_fleet_that_shrinks_loses_nothing(server: Server) {
    let Some(mut fleet) = Fleet::slow(server) else { return };
    fleet.arguments = ["--set", "queue.lease=2m"].map(str::to_owned).into();
    fleet.submit();
    let mut workers = fleet.workers(3);
    fleet.some_are_committed(6);
    for leaver in workers.drain(..2) {
        signal(&leaver, "TERM");
        assert_exit(&ended(leaver), 143);
    }
    end_well(workers);
    fleet.each_image_has_one_row();
}

/// JetStream remembers the ids of messages that are gone; ours have none.
fn a_refill_within_a_second_stores_every_open_shard(server: Server) {
    let Some(fleet) = Fleet::new(server, "") else { return };
    fleet.submit();
    fleet.broker(async |context| context.get_stream(QUEUE).await.unwrap().purge().await.unwrap());
    let again = fleet.submit();
    assert_eq!(again["queued"], NUM_SHARDS);
    assert_eq!(fleet.num_messages(), NUM_SHARDS as u64);
}

/// The server's own limits are 512 pulls that wait, and 1,000 messages that nobody has acknowledged.
fn hundreds_of_pulls_are_served_at_once(server: Server) {
    const PULLS: usize = 1200;
    let Some(fleet) = Fleet::new(server, "") else { return };
    fleet.submit();
    let (waiting, took) = fleet.broker(async |context| {
        context.get_stream(QUEUE).await.unwrap().purge().await.unwrap();
        let consumer: async_nats::jetstream::consumer::PullConsumer =
            context.get_stream(QUEUE).await.unwrap().get_consumer(QUEUE).await.unwrap();
        let pull = async |consumer: async_nats::jetstream::consumer::PullConsumer| {
            let mut messages =
                consumer.batch().max_messages(1).expires(Duration::from_secs(20)).messages().await.unwrap();
            messages.next().await.expect("a message").unwrap()
        };
        let pulls: Vec<_> = (0..PULLS).map(|_| tokio::spawn(pull(consumer.clone()))).collect();
        while consumer.get_info().await.unwrap().num_waiting < PULLS {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let began = std::time::Instant::now();
        for shard in 0..PULLS {
            let message = format!("{{\"run\":\"photos-00000000-0001\",\"shard\":{shard}}}");
            context.publish(format!("{QUEUE}.x.{shard}"), message.into()).await.unwrap();
        }
        let mut served = BTreeSet::new();
        for pull in pulls {
            served.insert(pull.await.unwrap().payload.clone());
        }
        (served.len(), began.elapsed())
    });
    assert_eq!(waiting, PULLS);
    // In 0.2 s on two cores that nobody else uses.
    assert!(took < Duration::from_secs(15), "{took:?}");
}

/// With a backoff, JetStream would shift the delays of negative acknowledgements by its steps.
fn what_is_put_back_comes_back_when_it_should(server: Server) {
    let Some(fleet) = Fleet::new(server, "") else { return };
    fleet.submit();
    let delays = fleet.broker(async |context| {
        let stream = context.get_stream(QUEUE).await.unwrap();
        stream.purge().await.unwrap();
        let message = "{\"run\":\"photos-00000000-0001\",\"shard\":0}";
        context.publish(format!("{QUEUE}.x.0"), message.into()).await.unwrap().await.unwrap();
        let consumer: async_nats::jetstream::consumer::PullConsumer =
            stream.get_consumer(QUEUE).await.unwrap();
        let mut delays = Vec::new();
        let mut put_back: Option<std::time::Instant> = None;
        for _ in 0..4 {
            let pull = consumer.batch().max_messages(1).expires(Duration::from_secs(20));
            let message = pull.messages().await.unwrap().next().await.expect("a message").unwrap();
            delays.extend(put_back.map(|at| at.elapsed()));
            put_back = Some(std::time::Instant::now());
            let nak = async_nats::jetstream::AckKind::Nak(Some(Duration::from_secs(3)));
            message.double_ack_with(nak).await.unwrap();
        }
        delays
    });
    assert_eq!(delays.len(), 3);
    let is_right = |delay: &Duration| *delay > Duration::from_millis(2500) && *delay < Duration::from_secs(8);
    assert!(delays.iter().all(is_right), "{delays:?}");
}

// ---------------------------------------------------------------------------------------------------------------
// What workers say and do beside that

/// A worker that waits takes the shards of one run after the other, and sums each up.
#[test]
fn a_worker_that_waits_takes_run_after_run() {
    let Some(fleet) = Fleet::new(Server::Current, "") else { return };
    let worker = fleet.worker(&["--wait", "--json"]);
    fleet.submit();
    let summaries = || {
        let runs = std::fs::read_dir(fleet.job.table().join("_tilefleet")).into_iter().flatten().flatten();
        runs.filter(|run| run.path().join("summary.json").is_file()).count()
    };
    wait_until("the first run is summed up", || summaries() == 1);
    fleet.job.write_image("new.jpg", &jpeg(1));
    let submitted = fleet.submit();
    assert_eq!((&submitted["shards"], &submitted["queued"]), (&1.into(), &1.into()));
    wait_until("the second run is summed up", || summaries() == 2);
    signal(&worker, "TERM");
    let output = ended(worker);
    assert_exit(&output, 143);
    let reports = String::from_utf8(output.stdout).unwrap();
    let tiles =
        reports.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["summary"]["tiles"].clone());
    assert_eq!(tiles.collect::<Vec<_>>(), [Value::from(NUM_IMAGES), 1.into()]);
    fleet.job.verify_ok();
}

/// The same name, output and queue, but another fingerprint: nobody could work on both.
#[test]
fn another_model_waits_until_the_queue_is_drained() {
    let Some(mut fleet) = Fleet::new(Server::Current, "") else { return };
    fleet.submit();
    fleet.arguments = ["--set", "output.top_k=3"].map(str::to_owned).into();
    for command in ["submit", "work"] {
        let output = fleet.command(command, &[]).output().unwrap();
        assert_exit(&output, 78);
        assert!(stderr(&output).contains("and has 48 messages; this queue is for"), "{}", stderr(&output));
    }
    fleet.arguments.clear();
    assert_eq!((fleet.num_messages(), fleet.num_committed()), (NUM_SHARDS as u64, 0));
    end_well(fleet.workers(1));
    fleet.each_image_has_one_row();
    fleet.arguments = ["--set", "output.top_k=3"].map(str::to_owned).into();
    assert_eq!(fleet.submit()["queued"], NUM_SHARDS);
    end_well(fleet.workers(2));
    fleet.job.verify_ok();
}

/// A folder that is not mounted, or another store behind the same name: nothing is taken out of the queue for that.
#[test]
fn a_worker_that_does_not_see_the_output_takes_nothing_away() {
    let Some(fleet) = Fleet::new(Server::Current, "") else { return };
    fleet.submit();
    let (table, away) = (fleet.job.table(), fleet.job.path("away"));
    std::fs::rename(&table, &away).unwrap();
    let output = ended(fleet.worker(&[]));
    assert_exit(&output, 75);
    assert!(stderr(&output).contains("the queue names run photos-"), "{}", stderr(&output));
    std::fs::remove_dir_all(&table).ok();
    std::fs::rename(&away, &table).unwrap();
    assert_eq!(fleet.num_messages(), NUM_SHARDS as u64);
    end_well(fleet.workers(2));
    fleet.each_image_has_one_row();
}

/// Whoever asks for another lease later does not change it for those that work.
#[test]
fn the_lease_of_a_queue_stays_as_it_was_made() {
    let Some(mut fleet) = Fleet::new(Server::Current, "[queue]\nlease = \"40s\"") else { return };
    fleet.submit();
    fleet.arguments = ["--set", "queue.lease=3s"].map(str::to_owned).into();
    fleet.submit();
    let lease = fleet.broker(async |context| {
        let stream = context.get_stream(QUEUE).await.unwrap();
        stream.consumer_info(QUEUE).await.unwrap().config.ack_wait
    });
    assert_eq!(lease, Duration::from_secs(40));
}

#[test]
fn a_queue_is_for_one_output() {
    let Some(mut fleet) = Fleet::new(Server::Current, "") else { return };
    fleet.submit();
    fleet.arguments = vec!["--output".to_owned(), fleet.job.path("other").display().to_string()];
    let output = fleet.command("submit", &[]).output().unwrap();
    assert_exit(&output, 78);
    assert!(
        stderr(&output).contains("the stream tilefleet-photos is for open shards of"),
        "{}",
        stderr(&output)
    );
    fleet.arguments = ["--set", "queue.name=three", "--set", "queue.replicas=3"].map(str::to_owned).into();
    let output = fleet.command("submit", &[]).output().unwrap();
    assert_exit(&output, 78);
    assert!(stderr(&output).contains("needs a cluster"), "{}", stderr(&output));
}

/// A run that is deleted leaves messages behind.
#[test]
fn messages_of_a_deleted_run_are_taken_away() {
    let Some(fleet) = Fleet::new(Server::Current, "") else { return };
    let run = fleet.submit()["run_id"].as_str().unwrap().to_owned();
    let mut delete = support::tilefleet();
    delete.arg("runs").arg(fleet.job.table()).args(["delete", &run, "--yes", "--force"]);
    assert_exit(&delete.output().unwrap(), 0);
    end_well(fleet.workers(1));
    assert_eq!((fleet.num_messages(), fleet.num_committed()), (0, 0));
}

/// A worker that stays says so at once; its end is another matter.
#[test]
fn a_worker_that_waits_says_that_too_much_is_rejected() {
    let Some(fleet) = Fleet::new(Server::Current, "") else { return };
    (0..60).for_each(|index| fleet.job.write_image(&format!("bad-{index}.jpg"), b"no image"));
    fleet.submit();
    let worker = fleet.worker(&["--wait"]);
    wait_until("the run is complete", || fleet.num_committed() == NUM_SHARDS + 12);
    wait_until("it is summed up", || {
        let runs = std::fs::read_dir(fleet.job.table().join("_tilefleet")).unwrap().flatten();
        runs.into_iter().any(|run| run.path().join("summary.json").is_file())
    });
    std::thread::sleep(Duration::from_secs(2));
    signal(&worker, "TERM");
    let output = ended(worker);
    assert_exit(&output, 143);
    assert!(stderr(&output).contains("limits.max_reject_ratio allows 10.0 %"), "{}", stderr(&output));
}

/// Too many rejects: one worker says so, the others end well.
#[test]
fn one_worker_judges_the_run() {
    let Some(fleet) = Fleet::new(Server::Current, "") else { return };
    (0..60).for_each(|index| fleet.job.write_image(&format!("bad-{index}.jpg"), b"no image"));
    fleet.submit();
    let codes: Vec<_> = fleet.workers(3).into_iter().map(|worker| ended(worker).status.code()).collect();
    let num = |code| codes.iter().filter(|ended| **ended == Some(code)).count();
    assert_eq!((num(65), num(0)), (1, 2), "{codes:?}");
}

#[test]
fn what_is_wrong_with_the_queue_is_said() {
    let job = Job::new(2, "");
    let said = |arguments: &[&str], code| {
        let mut command = support::tilefleet();
        let output = command.arg("work").arg(&job.pipeline).args(arguments).output().unwrap();
        assert_exit(&output, code);
        stderr(&output)
    };
    assert!(said(&[], 78).contains("the pipeline names no queue"));
    assert!(said(&["--set", "queue.url=http://localhost"], 78).contains("`queue.url` is no address of NATS"));
    let away = said(&["--set", "queue.url=nats://127.0.0.1:1"], 75);
    assert!(away.contains("cannot connect to the queue at nats://127.0.0.1:1"), "{away}");
    let Some(program) = Server::Current.program() else { return };
    let closed = NatsServer::start_with(program.clone(), &["--user", "fleet", "--pass", "open sesame's"]);
    let refused = said(&["--set", &format!("queue.url={}", closed.url())], 78);
    assert!(refused.contains("authorization violation"), "{refused}");
    let address = closed.url().replace("nats://", "nats://fleet:open sesame's@");
    let mut submit = support::tilefleet();
    submit.arg("submit").arg(&job.pipeline).args(["-vv", "--set", &format!("queue.url={address}")]);
    let output = submit.output().unwrap();
    assert_exit(&output, 0);
    let mut config = support::tilefleet();
    config.arg("config").arg(&job.pipeline).args(["--set", &format!("queue.url={address}")]);
    let shown = [output.stdout, output.stderr, config.output().unwrap().stdout].concat();
    assert!(!String::from_utf8_lossy(&shown).contains("sesame"));
    let grep = Command::new("grep").args(["-r", "sesame"]).arg(job.table()).output().unwrap();
    assert!(grep.stdout.is_empty(), "a password lies in the output");
}
