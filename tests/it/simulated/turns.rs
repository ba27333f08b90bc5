//! Whose turn it is: one request to the store is let through at a time, and what comes of it may be planned beforehand.
//!
//! ```text
//! process ─▶ turn ─┬─▶ it is the one that passes: at once
//!                  └─▶ waits ─▶ settled: all wait ─▶ grant one of them
//! ```
//!
//! A process whose turn it is passes until somebody else is to have one: that costs less than asking each time, and is
//! the same order of requests.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use object_store::path::Path;
use object_store::{PutOptions, PutPayload};
use tokio::sync::{Notify, oneshot};

use super::coverage::Coverage;

/// What is asked of the store, or of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    Put,
    Get,
    Head,
    List,
    Delete,
    Sleep,
}

impl Verb {
    pub fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::Head => "head",
            Self::List => "list",
            Self::Delete => "delete",
            Self::Sleep => "sleep",
        }
    }
}

/// One request.
pub struct Request {
    pub verb: Verb,
    pub key: String,
    /// What it changes, if anything.
    pub effect: Option<Effect>,
}

impl Request {
    pub fn new(verb: Verb, key: Option<&Path>) -> Self {
        Self { verb, key: key.map_or_else(String::new, |key| key.as_ref().to_owned()), effect: None }
    }

    pub fn changing(self, effect: Effect) -> Self {
        Self { effect: Some(effect), ..self }
    }

    fn creates(&self) -> bool {
        matches!(&self.effect, Some(Effect::Put(_, _, options)) if options.mode == object_store::PutMode::Create)
    }
}

/// What a request changes, to be carried out whoever has asked for it.
#[derive(Clone, Debug)]
pub enum Effect {
    Put(Path, PutPayload, PutOptions),
    Delete(Path),
}

/// What a failed request is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing, for too long.
    Timeout,
    /// 500 or 503.
    Unavailable,
    /// 409 or 412: it exists, or somebody else is writing it.
    Exists,
}

/// What comes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is carried out and answered.
    Answered,
    /// It is not carried out.
    Refused(Trouble),
    /// It is carried out, and the answer says otherwise.
    AnswerLost(Trouble),
    /// The content that is read breaks off in the middle.
    BrokenOff,
    /// It times out, and is carried out after so many requests of whomever.
    Late(usize),
}

impl Fate {
    /// Returns what can come of this request instead, if this cannot.
    fn of(self, request: &Request) -> Self {
        let likely = |trouble| match trouble {
            Trouble::Exists if !request.creates() => Trouble::Unavailable,
            trouble => trouble,
        };
        match self {
            Self::BrokenOff if request.verb != Verb::Get => Self::Refused(Trouble::Unavailable),
            Self::Late(_) | Self::AnswerLost(_) if request.effect.is_none() => {
                Self::Refused(Trouble::Timeout)
            }
            Self::AnswerLost(trouble) => Self::AnswerLost(likely(trouble)),
            Self::Refused(trouble) => Self::Refused(likely(trouble)),
            fate => fate,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused(Trouble::Exists) => "409",
            Self::Refused(_) => "refused",
            Self::AnswerLost(Trouble::Exists) => "own 412",
            Self::AnswerLost(_) => "answer lost",
            Self::BrokenOff => "broken off",
            Self::Late(_) => "late",
        }
    }
}

/// What happens to a process just before a request of its.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is killed, and of the request remains this.
    Killed(Remains),
    /// It stands still until so many requests were made by others, and meanwhile so much time passes.
    Paused { requests: usize, time: Duration },
    /// It is asked to stop.
    Stopped,
}

/// What remains of the request of a killed process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remains {
    /// It was never sent.
    Nothing,
    /// The store carries it out.
    Effect,
    /// The store carries it out after so many requests of whomever.
    Late(usize),
}

impl Event {
    pub fn name(self) -> &'static str {
        match self {
            Self::Killed(Remains::Nothing) => "killed before",
            Self::Killed(Remains::Effect) => "killed after",
            Self::Killed(Remains::Late(_)) => "killed, late",
            Self::Paused { .. } => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// Which of an actor's requests, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Request(usize),
    /// Of those that change something.
    Change(usize),
}

/// What is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// This comes of the request, and of so many after it.
    Fate(Fate, usize),
    Event(Event),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub actor: usize,
    pub at: At,
    pub what: Happening,
}

/// An actor, and how often it was begun again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who {
    pub actor: usize,
    pub incarnation: usize,
}

/// Lets one request through at a time.
pub struct Turnstile {
    turns: Mutex<Turns>,
    changed: Notify,
}

struct Turns {
    actors: Vec<Actor>,
    faults: Vec<Fault>,
    switches: Switches,
    /// Whether somebody else is to have a turn.
    is_switched: bool,
    /// Whose requests pass at once.
    passing: Option<usize>,
    num_under_way: usize,
    num_requests: usize,
    /// Of these so many change something.
    num_changes: usize,
    num_faults: usize,
    /// Whom anything has happened to.
    stricken: BTreeSet<usize>,
    /// What is still to be carried out, after so many requests.
    late: Vec<(usize, Effect)>,
    coverage: Coverage,
    /// What was let through, in order, if that is wanted.
    trace: Option<Vec<String>>,
}

/// Says whether somebody else is to have a turn before a request, by its number, and by that of those that change
/// something if it is one.
pub type Switches = Box<dyn Fn(usize, Option<usize>) -> bool + Send>;

#[derive(Default)]
struct Actor {
    waiting: VecDeque<Waiting>,
    incarnation: usize,
    is_over: bool,
    num_requests: usize,
    num_changes: usize,
    /// What comes of its next requests, and of how many.
    outage: Option<(Fate, usize)>,
}

struct Waiting {
    request: Request,
    fate: Fate,
    event: Option<Event>,
    sender: oneshot::Sender<Fate>,
}

impl Turnstile {
    /// Lets nobody pass without a grant, and everything succeed.
    pub fn of(num_actors: usize) -> Arc<Self> {
        Self::scripted(num_actors, Vec::new(), Box::new(|_, _| true), true)
    }

    pub fn scripted(num_actors: usize, faults: Vec<Fault>, switches: Switches, is_traced: bool) -> Arc<Self> {
        let turns = Turns {
            actors: (0..num_actors).map(|_| Actor::default()).collect(),
            faults,
            switches,
            is_switched: false,
            passing: None,
            num_under_way: 0,
            num_requests: 0,
            num_changes: 0,
            num_faults: 0,
            stricken: BTreeSet::new(),
            late: Vec::new(),
            coverage: Coverage::default(),
            trace: is_traced.then(Vec::new),
        };
        Arc::new(Self { turns: Mutex::new(turns), changed: Notify::new() })
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap()
    }

    /// Waits for the process's turn to make this request; `None` if it was killed.
    pub async fn turn(self: &Arc<Self>, who: Who, request: Request) -> Option<Turn> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut turns = self.turns();
            if !turns.is_alive(who) {
                return None;
            }
            let (fate, event) = turns.next(who.actor, &request);
            if turns.passes(who.actor, &request, event) {
                turns.let_through(who, &request, fate);
                return Some(Turn { turnstile: Arc::clone(self), fate });
            }
            turns.passing = None;
            turns.actors[who.actor].waiting.push_back(Waiting { request, fate, event, sender });
        }
        self.changed.notify_one();
        receiver.await.ok().map(|fate| Turn { turnstile: Arc::clone(self), fate })
    }

    /// Notes that the actor has nothing more to do.
    pub fn finish(&self, who: Who) {
        let mut turns = self.turns();
        if turns.is_alive(who) {
            turns.actors[who.actor].is_over = true;
            turns.passing = None;
        }
        drop(turns);
        self.changed.notify_one();
    }

    /// Ends an actor; its next incarnation may begin, see [`Self::revive`].
    pub fn kill(&self, actor: usize) {
        let mut turns = self.turns();
        let actor = &mut turns.actors[actor];
        actor.incarnation += 1;
        actor.is_over = true;
        actor.waiting.clear();
    }

    /// Lets the next incarnation of a killed actor begin.
    pub fn revive(&self, actor: usize) -> Who {
        let mut turns = self.turns();
        turns.actors[actor].is_over = false;
        Who { actor, incarnation: turns.actors[actor].incarnation }
    }

    /// Waits until nobody does anything any more; returns who could, in order.
    pub async fn settled(&self) -> Vec<usize> {
        loop {
            if let Some(able) = self.turns().able() {
                return able;
            }
            self.changed.notified().await;
        }
    }

    /// Takes what happens to an actor before its next request, with what that would change.
    pub fn take_event(&self, actor: usize) -> Option<(Event, Option<Effect>)> {
        let mut turns = self.turns();
        let next = turns.actors[actor].waiting.front_mut()?;
        let event = next.event.take()?;
        let effect = next.request.effect.clone();
        let said = format!("{} of {} {}", event.name(), next.request.verb.name(), next.request.key);
        turns.say(actor, &said);
        Some((event, effect))
    }

    /// Lets the actor's next request through; if it `passes`, also those after it. Returns whether it sleeps.
    pub fn grant(&self, actor: usize, passes: bool) -> bool {
        let mut turns = self.turns();
        let Some(next) = turns.actors[actor].waiting.pop_front() else { return false };
        let who = Who { actor, incarnation: turns.actors[actor].incarnation };
        turns.passing = passes.then_some(actor);
        turns.let_through(who, &next.request, next.fate);
        if next.sender.send(next.fate).is_err() {
            turns.num_under_way -= 1;
        }
        next.request.verb == Verb::Sleep
    }

    /// Carries something out after so many requests.
    pub fn postpone(&self, requests: usize, effect: Effect) {
        let mut turns = self.turns();
        let due = turns.num_requests + requests;
        turns.late.push((due, effect));
    }

    /// Takes what is to be carried out by now, or ever.
    pub fn take_late(&self, all: bool) -> Vec<Effect> {
        let mut turns = self.turns();
        let now = turns.num_requests;
        let (due, later) =
            std::mem::take(&mut turns.late).into_iter().partition(|(due, _)| all || *due <= now);
        turns.late = later;
        let due: Vec<(usize, Effect)> = due;
        due.into_iter().map(|(_, effect)| effect).collect()
    }

    /// Returns whether somebody else is to have a turn now.
    pub fn take_switch(&self) -> bool {
        std::mem::take(&mut self.turns().is_switched)
    }

    pub fn num_requests(&self) -> usize {
        self.turns().num_requests
    }

    pub fn num_faults(&self) -> usize {
        self.turns().num_faults
    }

    /// Returns whether anything has happened to an actor.
    pub fn is_stricken(&self, actor: usize) -> bool {
        self.turns().stricken.contains(&actor)
    }

    pub fn take_coverage(&self) -> Coverage {
        std::mem::take(&mut self.turns().coverage)
    }

    /// Adds a line to the trace.
    pub fn say(&self, what: &str) {
        if let Some(trace) = &mut self.turns().trace {
            trace.push(what.to_owned());
        }
    }

    /// Takes what was let through, in order.
    pub fn take_trace(&self) -> Vec<String> {
        self.turns().trace.as_mut().map(std::mem::take).unwrap_or_default()
    }
}

impl Turns {
    fn is_alive(&self, who: Who) -> bool {
        let actor = &self.actors[who.actor];
        actor.incarnation == who.incarnation && !actor.is_over
    }

    /// Returns what comes of an actor's next request, and what happens before it.
    fn next(&mut self, index: usize, request: &Request) -> (Fate, Option<Event>) {
        if request.verb == Verb::Sleep {
            return (Fate::Answered, None);
        }
        let actor = &mut self.actors[index];
        let mut at = vec![At::Request(actor.num_requests)];
        actor.num_requests += 1;
        if request.effect.is_some() {
            at.push(At::Change(actor.num_changes));
            actor.num_changes += 1;
        }
        let planned = self.faults.iter().find(|fault| fault.actor == index && at.contains(&fault.at));
        let mut event = None;
        match planned.map(|fault| fault.what) {
            Some(Happening::Fate(fate, times)) => actor.outage = Some((fate, times)),
            Some(Happening::Event(happens)) => event = Some(happens),
            None => {}
        }
        let fate = match &mut actor.outage {
            Some((fate, times)) if *times > 0 => {
                *times -= 1;
                fate.of(request)
            }
            _ => Fate::Answered,
        };
        if event.is_some() || fate != Fate::Answered {
            self.num_faults += 1;
            self.stricken.insert(index);
        }
        let what = event.map_or(fate.name(), Event::name);
        self.coverage.add(request.verb, &request.key, what);
        (fate, event)
    }

    fn passes(&mut self, actor: usize, request: &Request, event: Option<Event>) -> bool {
        if self.passing != Some(actor) || event.is_some() || request.verb == Verb::Sleep {
            return false;
        }
        let change = request.effect.is_some().then_some(self.num_changes);
        self.is_switched = (self.switches)(self.num_requests, change);
        !self.is_switched
    }

    fn let_through(&mut self, who: Who, request: &Request, fate: Fate) {
        self.num_requests += 1;
        self.num_changes += usize::from(request.effect.is_some());
        self.num_under_way += 1;
        if self.trace.is_some() {
            let came = if fate == Fate::Answered { String::new() } else { format!(": {}", fate.name()) };
            self.say(who.actor, &format!("{} {}{came}", request.verb.name(), request.key));
        }
    }

    fn say(&mut self, actor: usize, what: &str) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{actor} {what}"));
        }
    }

    /// Returns who waits, once all do.
    fn able(&self) -> Option<Vec<usize>> {
        let is_idle = |actor: &Actor| actor.is_over || !actor.waiting.is_empty();
        if self.num_under_way > 0 || !self.actors.iter().all(is_idle) {
            return None;
        }
        let actors = self.actors.iter().enumerate();
        Some(actors.filter(|(_, actor)| !actor.is_over).map(|(index, _)| index).collect())
    }
}

/// A request that is under way.
pub struct Turn {
    turnstile: Arc<Turnstile>,
    pub fate: Fate,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turnstile.turns().num_under_way -= 1;
        self.turnstile.changed.notify_one();
    }
}
