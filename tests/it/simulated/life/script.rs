//! What is to be played: who does what, in which order, and what goes wrong. All of it follows from a seed.

use std::time::Duration;

use tilefleet::stages::work::Share;
use tilefleet_testing::Random;

use super::super::turns::{At, Event, Fate, Fault, Happening, Remains, Switches, Trouble};
use super::cast::Command;

/// Of so many requests of an actor any may be the one that something happens to.
const REQUESTS: usize = 120;
/// The same of those that change something.
const CHANGES: usize = 9;

/// The output that a schedule begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Start {
    /// No run.
    Empty,
    /// One complete run.
    One,
    /// One complete run, and another that is planned.
    Open,
    /// Two complete runs.
    Two,
    /// The same, one shard of their compaction copied.
    Begun,
}

/// What is to be played.
#[derive(Clone, Debug)]
pub struct Script {
    pub seed: u64,
    pub start: Start,
    pub work: Supply,
    /// What each actor does, one command after the other.
    pub actors: Vec<Vec<Command>>,
    pub faults: Vec<Fault>,
    pub order: Order,
}

/// Where workers get their shards from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supply {
    Open,
    Shares,
    /// - `faulty`: whether the broker loses messages and answers, delivers again, is wiped, is away
    Queue {
        renews: bool,
        faulty: bool,
    },
}

/// Whose turn it is.
#[derive(Clone, Debug)]
pub enum Order {
    /// Anybody's, after so many requests on average.
    Any { every: usize },
    /// That of the most important, who becomes the least important at some requests, and at some of those that change
    /// something (Burckhardt and others, "A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs", 2010).
    Ranked { ranks: Vec<usize>, requests: Vec<usize>, changes: Vec<usize> },
}

impl Script {
    pub fn of(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let start = one_of(
            &mut random,
            &[Start::Empty, Start::One, Start::Open, Start::Open, Start::Two, Start::Begun],
        );
        let queue = |renews, faulty| Supply::Queue { renews, faulty };
        let supplies = [
            Supply::Open,
            Supply::Shares,
            Supply::Shares,
            queue(true, false),
            queue(true, true),
            queue(false, true),
        ];
        let work = one_of(&mut random, &supplies);
        let num_actors = 2 + usize::from(random.below(3) == 0);
        let actors: Vec<Vec<Command>> = (0..num_actors).map(|_| commands(&mut random, start)).collect();
        let num_faults = [0, 1, 2, 2, 3, 4, 6][random.below(7)];
        let faults = (0..num_faults).map(|_| fault(&mut random, num_actors)).collect();
        let order = order(&mut random, num_actors);
        Self { seed, start, work, actors, faults, order }
    }

    /// Returns how much the clock of an actor's process is ahead: by up to an hour, one in eight by days.
    pub fn clock_ahead(&self, actor: usize, incarnation: usize) -> Duration {
        let mut random = Random(self.seed ^ ((actor as u64) << 40) ^ ((incarnation as u64) << 50));
        random.below(7);
        let days = if random.below(8) == 0 { random.below(3) as u64 } else { 0 };
        Duration::from_secs(random.below(3600) as u64 + days * 86_400)
    }

    /// Returns the share that an actor's process believes it has: the number of shares changes while a run lasts, and no
    /// two processes need believe in the same.
    pub fn share(&self, actor: usize, incarnation: usize) -> Share {
        let mut random = Random(self.seed ^ ((actor as u64) << 32) ^ ((incarnation as u64) << 44));
        random.below(7);
        let num = 1 + random.below(4) as u32;
        Share::new(random.below(num as usize) as u32, num).expect("it is below")
    }
}

fn one_of<T: Clone>(random: &mut Random, of: &[T]) -> T {
    of[random.below(of.len())].clone()
}

fn commands(random: &mut Random, start: Start) -> Vec<Command> {
    let num_commands = 1 + random.below(2);
    (0..num_commands).map(|_| command(random, start)).collect()
}

fn command(random: &mut Random, start: Start) -> Command {
    let shard_tiles = 1 + random.below(2) as u32;
    let run = Command::Run { shard_tiles, num_held: 1 + random.below(2) };
    match (start, random.below(20)) {
        (Start::Empty, 0..10) | (_, 0..7) => run,
        (_, 12..16) => Command::Delete { which: [0, 0, 1, 2][random.below(4)] },
        (_, 16) => Command::Verify,
        (_, 17) => Command::Plan { shard_tiles },
        (_, 18..) => {
            let name = one_of(random, &["a.jpg", "b.jpg", "z.jpg"]);
            Command::Arrive { name, content: random.below(1000) as u64 }
        }
        _ => Command::Compact { shard_tiles: 1 + random.below(3) as u32 },
    }
}

fn fault(random: &mut Random, num_actors: usize) -> Fault {
    let at = if random.below(2) == 0 {
        At::Request(random.below(REQUESTS))
    } else {
        At::Change(random.below(CHANGES))
    };
    Fault { actor: random.below(num_actors), at, what: happening(random) }
}

fn happening(random: &mut Random) -> Happening {
    let trouble = one_of(random, &[Trouble::Timeout, Trouble::Unavailable, Trouble::Exists]);
    let times = [1, 1, 1, 2, 8][random.below(5)];
    let requests = [5, 20, 80, 400][random.below(4)];
    match random.below(12) {
        0 | 1 => Happening::Fate(Fate::Refused(trouble), times),
        2 | 3 => Happening::Fate(Fate::AnswerLost(trouble), times),
        4 => Happening::Fate(Fate::Late(requests), times),
        5 => Happening::Fate(Fate::BrokenOff, times),
        6 | 7 => Happening::Event(Event::Killed(Remains::Nothing)),
        8 => Happening::Event(Event::Killed(Remains::Effect)),
        9 => Happening::Event(Event::Killed(Remains::Late(requests))),
        10 => Happening::Event(Event::Paused { requests, time: Duration::from_secs(requests as u64 * 30) }),
        _ => Happening::Event(Event::Stopped),
    }
}

fn order(random: &mut Random, num_actors: usize) -> Order {
    if random.below(4) == 0 {
        return Order::Any { every: [2, 6, 20][random.below(3)] };
    }
    let mut ranks: Vec<usize> = (0..num_actors).collect();
    (0..num_actors).for_each(|place| ranks.swap(place, random.below(num_actors)));
    let requests = (0..random.below(3)).map(|_| random.below(num_actors * REQUESTS)).collect();
    let changes = (0..=random.below(3)).map(|_| random.below(num_actors * CHANGES)).collect();
    Order::Ranked { ranks, requests, changes }
}

impl Order {
    /// Returns what says at which requests somebody else is to have a turn.
    pub fn switches(&self, seed: u64) -> Switches {
        match self.clone() {
            Self::Any { every } => Box::new(move |request, _| {
                Random(seed ^ ((request as u64) << 20)).below(every * 7).is_multiple_of(every)
            }),
            Self::Ranked { requests, changes, .. } => Box::new(move |request, change| {
                requests.contains(&request) || change.is_some_and(|change| changes.contains(&change))
            }),
        }
    }

    /// Returns whose turn it is, of those who could have it; if it `switches`, whoever had it comes last.
    pub fn next(&mut self, random: &mut Random, switches: bool, able: &[usize]) -> usize {
        let Self::Ranked { ranks, .. } = self else { return able[random.below(able.len())] };
        let first = highest(ranks, able);
        if !switches {
            return first;
        }
        put_last(ranks, first);
        highest(ranks, able)
    }

    /// Lets an actor that sleeps come last.
    pub fn sleeps(&mut self, actor: usize) {
        if let Self::Ranked { ranks, .. } = self {
            put_last(ranks, actor);
        }
    }
}

fn put_last(ranks: &mut [usize], actor: usize) {
    for rank in ranks.iter_mut() {
        *rank += 1;
    }
    ranks[actor] = 0;
}

fn highest(ranks: &[usize], able: &[usize]) -> usize {
    *able.iter().max_by_key(|actor| ranks[**actor]).expect("somebody is able")
}
