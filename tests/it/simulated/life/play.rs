//! Plays a script: lets processes have their turns, kills and begins them again, and lets the last ones finish alone.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use object_store::memory::InMemory;
use tilefleet::output::RunId;
use tilefleet::stages::work::Share;
use tilefleet::vocabulary::error::{Kind, Result};
use tilefleet::vocabulary::process::Process;
use tilefleet_testing::Random;
use tokio::task::{JoinHandle, LocalSet, spawn_local};

use super::super::coverage::Coverage;
use super::super::store::Gate;
use super::super::turns::{Effect, Event, Remains, Turnstile, Who};
use super::cast::{Acting, Command, LocalClock, Queues, Work, WorldTime};
use super::flaws::{Flaw, store_of};
use super::script::{Order, Script, Start, Supply};
use super::table::{Seen, Table};

/// A schedule with more requests goes on for ever.
const MAX_REQUESTS: usize = 20_000;
/// How often a command of an actor is given again after it was killed or has failed.
const MAX_RESTARTS: usize = 2;
/// How often the last ones are begun before they would go on for ever.
const MAX_ROUNDS: usize = 8;

/// What came of a script.
pub struct Played {
    pub violations: Vec<String>,
    /// What was asked of the store, and what each command came to, if that is wanted.
    pub trace: Vec<String>,
    pub coverage: Coverage,
    pub num_requests: usize,
    pub num_faults: usize,
    pub seen: Seen,
}

/// An output to begin with.
struct Base {
    store: InMemory,
    seen: Seen,
}

thread_local! {
    static RUNTIME: tokio::runtime::Runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
}

/// Plays a script.
pub fn play(script: &Script, flaw: Option<Flaw>, is_traced: bool) -> Played {
    let base = base(script.start);
    let world = Rc::new(World::of(script, base, flaw, is_traced));
    RUNTIME.with(|runtime| runtime.block_on(LocalSet::new().run_until(world.played())))
}

/// All that the processes of a schedule share.
struct World {
    script: Script,
    flaw: Option<Flaw>,
    store: Arc<InMemory>,
    table: Arc<Table>,
    time: Arc<WorldTime>,
    work: Arc<Work>,
    turnstile: Arc<Turnstile>,
    actors: Vec<RefCell<Actor>>,
}

/// Where an actor stands.
#[derive(Default)]
struct Actor {
    /// Its command.
    at: usize,
    num_restarts: usize,
    /// Asks its process to stop.
    stop: Arc<AtomicBool>,
    /// It does nothing until so many requests were made.
    paused_until: usize,
    task: Option<JoinHandle<()>>,
}

impl World {
    fn of(script: &Script, base: &Base, flaw: Option<Flaw>, is_traced: bool) -> Self {
        let switches = script.order.switches(script.seed);
        let (faults, time) = (script.faults.clone(), Arc::default());
        let work = match script.work {
            Supply::Open => Work::Open,
            Supply::Shares => Work::Shares,
            Supply::Queue { renews, faulty } => {
                let clock = LocalClock::new(&time, Duration::ZERO, None);
                let troubled_by = faulty.then_some(script.seed);
                Work::Queues(Queues { clock, renews, troubled_by, by_run: Mutex::default() })
            }
        };
        Self {
            script: script.clone(),
            flaw,
            store: Arc::new(base.store.fork()),
            table: Arc::new(Table::of(base.seen.clone())),
            time,
            work: Arc::new(work),
            turnstile: Turnstile::scripted(script.actors.len(), faults, switches, is_traced),
            actors: script.actors.iter().map(|_| RefCell::default()).collect(),
        }
    }

    fn gate(&self) -> Gate {
        Gate::open(&self.store).observed(self.table.clone())
    }

    async fn played(self: Rc<Self>) -> Played {
        for actor in 0..self.actors.len() {
            self.begin(Who { actor, incarnation: 0 });
        }
        self.conduct().await;
        for effect in self.turnstile.take_late(true) {
            self.carry_out(effect).await;
        }
        self.finish().await;
        let seen = self.table.seen().clone();
        Played {
            violations: seen.check_end(),
            trace: self.turnstile.take_trace(),
            coverage: self.turnstile.take_coverage(),
            num_requests: self.turnstile.num_requests(),
            num_faults: self.turnstile.num_faults(),
            seen,
        }
    }

    /// Lets an actor begin where it stands.
    fn begin(self: &Rc<Self>, who: Who) {
        let world = Rc::clone(self);
        let task = spawn_local(async move {
            while let Some(command) = world.next_command(who.actor) {
                let acting = world.acting(who, &command);
                world.actors[who.actor].borrow_mut().stop = Arc::clone(&acting.stop);
                let ended = acting.act(&command).await;
                world.ended(who, &command, ended);
            }
            world.turnstile.finish(who);
        });
        self.actors[who.actor].borrow_mut().task = Some(task);
    }

    fn next_command(&self, actor: usize) -> Option<Command> {
        self.script.actors[actor].get(self.actors[actor].borrow().at).cloned()
    }

    fn acting(&self, who: Who, command: &Command) -> Acting {
        let Who { actor, incarnation } = who;
        let at = self.actors[actor].borrow().at;
        let (number, tries) = (actor * 100 + at * 10 + incarnation, self.actors[actor].borrow().num_restarts);
        let ahead = self.script.clock_ahead(actor, at + tries);
        let clock = LocalClock::new(&self.time, ahead, Some((Arc::clone(&self.turnstile), who)));
        let seed = Random(self.script.seed ^ number as u64).0.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let process = Process::new(clock, format!("{number}-{tries}"), seed);
        let gate = self.gate().taking_turns(&self.turnstile, who);
        let (store, share) = (store_of(gate, self.flaw, command), self.script.share(actor, at + tries));
        Acting::new(store, process, &self.table, &self.work, share, self.flaw)
    }

    /// Notes how a command has ended; one that is to be given again is.
    fn ended(&self, who: Who, command: &Command, ended: Result<()>) {
        let said = match &ended {
            Ok(()) => "0".to_owned(),
            Err(error) => format!("{}: {}", error.kind().exit_code(), error.render().replace('\n', " ")),
        };
        self.turnstile.say(&format!("{} {command:?} exits {said}", who.actor));
        let mut actor = self.actors[who.actor].borrow_mut();
        match ended.map_err(|error| error.kind()) {
            Err(Kind::Unavailable | Kind::Drained) if actor.num_restarts < MAX_RESTARTS => {
                actor.num_restarts += 1;
            }
            Err(Kind::Bug) => {
                self.table.violation(format!("{command:?} exits {said}"));
                actor.at += 1;
            }
            _ => actor.at += 1,
        }
    }

    /// Lets one request through after the other until nobody has anything to do.
    async fn conduct(self: &Rc<Self>) {
        let (mut order, mut random) = (self.script.order.clone(), Random(self.script.seed ^ 0xABCD));
        loop {
            let step = self.turnstile.num_requests();
            for effect in self.turnstile.take_late(false) {
                self.carry_out(effect).await;
            }
            let able = self.turnstile.settled().await;
            if able.is_empty() {
                return;
            }
            if step > MAX_REQUESTS {
                self.table.violation("the schedule goes on for ever".to_owned());
                return;
            }
            let awake = self.awake(&able, step);
            let actor = order.next(&mut random, self.turnstile.take_switch(), &awake);
            match self.turnstile.take_event(actor) {
                Some((event, effect)) => self.happens(actor, event, effect).await,
                None => self.grant(actor, &mut order),
            }
        }
    }

    /// Returns who is not paused; if all are, who is next.
    fn awake(&self, able: &[usize], step: usize) -> Vec<usize> {
        let until = |actor: usize| self.actors[actor].borrow().paused_until;
        let awake: Vec<usize> = able.iter().copied().filter(|actor| until(*actor) <= step).collect();
        if !awake.is_empty() {
            return awake;
        }
        able.iter().copied().min_by_key(|actor| until(*actor)).into_iter().collect()
    }

    fn grant(&self, actor: usize, order: &mut Order) {
        self.time.pass(Duration::from_millis(20));
        let sleeps = self.turnstile.grant(actor, true);
        if sleeps {
            order.sleeps(actor);
        }
    }

    async fn happens(self: &Rc<Self>, actor: usize, event: Event, effect: Option<Effect>) {
        match event {
            Event::Paused { requests, time } => {
                self.time.pass(time);
                let until = self.turnstile.num_requests() + requests;
                self.actors[actor].borrow_mut().paused_until = until;
            }
            Event::Stopped => self.actors[actor].borrow().stop.store(true, Ordering::Relaxed),
            Event::Killed(remains) => {
                self.kill(actor);
                match (remains, effect) {
                    (Remains::Effect, Some(effect)) => self.carry_out(effect).await,
                    (Remains::Late(requests), Some(effect)) => self.turnstile.postpone(requests, effect),
                    _ => {}
                }
                self.begin(self.turnstile.revive(actor));
            }
        }
    }

    /// Ends an actor's process; its command is given again, or the next one is.
    fn kill(&self, actor: usize) {
        self.turnstile.kill(actor);
        let mut actor = self.actors[actor].borrow_mut();
        if let Some(task) = actor.task.take() {
            task.abort();
        }
        let again = actor.num_restarts < MAX_RESTARTS;
        if again { actor.num_restarts += 1 } else { actor.at += 1 }
    }

    async fn carry_out(&self, effect: Effect) {
        self.turnstile.say(&format!("late: {effect:?}"));
        // Nobody hears of it.
        let _ = self.gate().carry_out(effect).await;
    }
}

// ---------------------------------------------------------------------------------------------------------------
// The end

impl World {
    /// A process that nothing happens to any more; of an array it is the only one that is left.
    fn last(&self, number: usize) -> Acting {
        let clock = LocalClock::new(&self.time, Duration::from_hours(100), None);
        let process = Process::new(clock, format!("last-{number}"), 0);
        let command = Command::Compact { shard_tiles: 3 };
        let work = if self.script.work == Supply::Shares { Work::Shares } else { Work::Open };
        let (store, share) = (store_of(self.gate(), self.flaw, &command), self.script.share(0, 100 + number));
        Acting::new(store, process, &self.table, &Arc::new(work), share, self.flaw)
    }

    /// Does what the documentation says until nothing is left to do.
    async fn finish(&self) {
        let left = self.table.seen().left_without_reason(|actor| self.turnstile.is_stricken(actor));
        for key in left {
            self.table.violation(format!("{key} is left of a deleted run, and nothing has failed"));
        }
        for round in 0..MAX_ROUNDS {
            self.turnstile.say("finishing");
            match self.finish_once(round).await {
                Ok(true) => return self.prove(round).await,
                Ok(false) => {}
                Err(what) => return self.table.violation(what),
            }
        }
        self.table.violation(format!("{MAX_ROUNDS} times there is more to do"));
    }

    /// Deletes what is left, runs, and compacts; returns whether nothing is left to do.
    async fn finish_once(&self, round: usize) -> std::result::Result<bool, String> {
        let last = self.last(round);
        let is_clean = self.sweep(&last).await?;
        let nothing_new = match last.run(2, 1).await {
            Err(_) if last.is_dead.load(Ordering::Relaxed) => return Ok(false),
            ran => ran.map_err(|error| error.render())?,
        };
        // What is compacted is one run in the end, which leaves little to look at. What was begun only a compaction finishes.
        let compacts = self.script.seed.is_multiple_of(4) || self.table.seen().has_open_run();
        let compacted = compacts && self.compact(&last).await?;
        // That another one would find nothing to do is tried in some schedules: it costs as much as a whole command.
        let is_done = nothing_new || (self.script.seed % 4 != 1 && self.table.seen().check_end().is_empty());
        Ok(is_clean && is_done && !compacted)
    }

    async fn prove(&self, round: usize) {
        if let Err(error) = self.last(round + 1).verify().await {
            self.table.violation(error.render());
        }
    }

    /// Deletes what is left of deleted runs, as `verify` says one may.
    async fn sweep(&self, last: &Acting) -> std::result::Result<bool, String> {
        let left: Vec<String> = self.table.seen().left_of_deleted();
        let ids =
            left.iter().filter_map(|key| key.split(['/', '=']).find_map(|part| RunId::parse(part).ok()));
        for id in ids.collect::<BTreeSet<_>>() {
            last.delete(&id).await.map_err(|error| error.render())?;
        }
        Ok(left.is_empty())
    }

    /// Compacts; where a run was deleted under a compaction, that one is deleted, as the hint says.
    async fn compact(&self, last: &Acting) -> std::result::Result<bool, String> {
        let error = match last.compact(3).await {
            Ok(compacted) => return Ok(compacted),
            Err(error) => error.render(),
        };
        let named = |text: &str| RunId::parse(text.trim_matches(|it: char| !it.is_alphanumeric())).ok();
        let (_, hint) = error.rsplit_once("delete ").ok_or(error.clone())?;
        let id = hint.split_whitespace().next().and_then(named).ok_or(error.clone())?;
        last.delete(&id).await.map_err(|second| format!("{error}\nthen {}", second.render()))?;
        Ok(true)
    }
}

// ---------------------------------------------------------------------------------------------------------------
// The beginning

fn base(start: Start) -> &'static Base {
    static BASES: OnceLock<BTreeMap<Start, Base>> = OnceLock::new();
    let make = || RUNTIME.with(|runtime| runtime.block_on(Base::all()));
    &BASES.get_or_init(make)[&start]
}

impl Base {
    async fn all() -> BTreeMap<Start, Self> {
        let store = Arc::new(InMemory::new());
        let table = Arc::new(Table::default());
        let mut bases = BTreeMap::new();
        let mut keep = |start| bases.insert(start, Self { store: store.fork(), seen: table.seen().clone() });
        let time = Arc::new(WorldTime::default());
        let begin = |number: usize, refused: Option<&str>| {
            time.pass(Duration::from_mins(1));
            let gate = Gate::open(&store).observed(table.clone());
            let gate = refused.into_iter().fold(gate, Gate::refusing);
            let process =
                Process::new(LocalClock::new(&time, Duration::ZERO, None), format!("first-{number}"), 0);
            let alone = Share::new(0, 1).expect("it is below");
            Acting::new(Arc::new(gate), process, &table, &Arc::new(Work::Open), alone, None)
        };
        let arrive = async |name, content| {
            begin(0, None).act(&Command::Arrive { name, content }).await.unwrap();
        };
        let run = Command::Run { shard_tiles: 2, num_held: 1 };
        arrive("a.jpg", 1).await;
        arrive("c.jpg", 1).await;
        arrive("e.jpg", 1).await;
        keep(Start::Empty);
        begin(1, None).act(&run).await.unwrap();
        keep(Start::One);
        arrive("a.jpg", 2).await;
        arrive("d.jpg", 1).await;
        begin(2, None).act(&Command::Plan { shard_tiles: 1 }).await.unwrap();
        keep(Start::Open);
        begin(3, None).act(&run).await.unwrap();
        keep(Start::Two);
        begin(4, Some("-0003/shard-00000001")).act(&Command::Compact { shard_tiles: 2 }).await.unwrap_err();
        keep(Start::Begun);
        bases
    }
}
