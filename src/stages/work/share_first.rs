//! A share of a run's shards, and then whatever others have left open, for one worker of an array.
//!
//! ```text
//! own share, from somewhere within, upwards ─▶ what is still open of it ─▶ what is open of others ─▶ done
//!                                                    ▲                           │
//!                                                    └── list what is committed ─┘ after each stretch
//! ```
//!
//! All that workers know of each other is what is committed and what is begun. Everybody works upwards through neighbouring
//! shards. So what is open lies in gaps, and somebody is likely to work at the lower end of each. Who helps begins at
//! random within a gap and goes on to its end, or until another worker is found there. What is begun comes last, as another
//! worker has it; so do the shards just above. They do come: nobody knows whether that worker is still alive.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Backlog, Lease, Next, PutBack, Share, WorkSource, is_committed, is_committed_by_another};
use crate::output::{Committed, Run};
use crate::vocabulary::error::Result;
use crate::vocabulary::process::Process;

/// Only a lease of the worker itself can bring work back, and it knows when one ends.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// A shard that takes longer is looked at this often: if another worker has committed it, the rest of its work is saved.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// So many shards above what another worker has in hand are left to it: it holds that many at once.
const NEXT_IN_HAND: usize = 3;

/// The shards of a run, first those of this worker's share.
///
/// A worker that is given nothing more knows that every shard is committed, but for those that it has put back for
/// good.
pub struct ShareFirst {
    run: Arc<Run>,
    own: Range<u32>,
    backlog: Backlog,
    own_tiles: u64,
    state: Mutex<State>,
}

/// What this worker knows of a shard.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Open,
    Leased,
    /// Handed out once nothing else is left.
    Later,
    LeftOpen,
    Committed,
}

struct State {
    standings: Vec<Standing>,
    /// What is handed out next, one after the other.
    stretch: VecDeque<u32>,
    leases: HashMap<u64, u32>,
    num_leases: u64,
    /// Found to be committed by others, and not told yet.
    elsewhere: VecDeque<u32>,
}

/// What is to be done for a worker that wants a shard.
enum Step {
    /// This is the answer.
    Answer(Next),
    /// Find out whether it is still open.
    Look(Lease),
    /// Find out what is open, and choose.
    List,
}

impl ShareFirst {
    /// Lists what is open.
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub async fn of(run: Arc<Run>, share: Share) -> Result<Self> {
        let own = share.shards(run.num_shards());
        let mut state = State::new(run.num_shards());
        let begun = run.begun_shards().await?;
        state.learn(&run.committed().await?);
        state.elsewhere.clear();
        state.begin(&own, &begun, &run.output.process);
        let tiles_in = |shards: Range<u32>| {
            shards.filter(|shard| state.is(*shard, Standing::Open)).map(|shard| run.num_tiles(shard)).sum()
        };
        let (tiles, own_tiles) = (tiles_in(0..run.num_shards()), tiles_in(own.clone()));
        let backlog = Backlog { first: state.stretch.front().copied(), tiles };
        Ok(Self { run, own, backlog, own_tiles, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether there is anything to tell or to hand out now.
    async fn list(&self) -> Result<bool> {
        // A note goes when its shard is committed: in this order none of both is missed.
        let begun = self.run.begun_shards().await?;
        let committed = self.run.committed().await?;
        let mut state = self.state();
        state.learn(&committed);
        Ok(state.choose(&self.own, &begun, &self.run.output.process) || !state.elsewhere.is_empty())
    }

    async fn look(&self, lease: Lease) -> Result<Next> {
        let committed = is_committed(&self.run, lease.shard).await;
        let mut state = self.state();
        match committed {
            Ok(false) => Ok(Next::Shard(lease)),
            Ok(true) => {
                state.end(&lease, Standing::Committed)?;
                // Another worker is at work here.
                state.stretch.clear();
                Ok(Next::Elsewhere(lease.shard))
            }
            Err(error) => {
                state.end(&lease, Standing::Open)?;
                state.stretch.push_front(lease.shard);
                Err(error)
            }
        }
    }

    async fn still_holds(&self, lease: &Lease) -> Result<()> {
        self.state().holding(lease)?;
        if !is_committed_by_another(&self.run, lease.shard).await? {
            return Ok(());
        }
        let mut state = self.state();
        state.end(lease, Standing::Committed)?;
        state.elsewhere.push_back(lease.shard);
        Err(lease.is_useless())
    }
}

impl State {
    fn new(num_shards: u32) -> Self {
        Self {
            standings: vec![Standing::Open; num_shards as usize],
            stretch: VecDeque::new(),
            leases: HashMap::new(),
            num_leases: 0,
            elsewhere: VecDeque::new(),
        }
    }

    fn is(&self, shard: u32, standing: Standing) -> bool {
        self.standings[shard as usize] == standing
    }

    fn open(&self, shards: Range<u32>) -> impl Iterator<Item = u32> + '_ {
        shards.filter(|shard| self.is(*shard, Standing::Open))
    }

    fn all(&self) -> Range<u32> {
        0..self.standings.len() as u32
    }

    /// Notes what is committed. Leased shards are left to their leases.
    fn learn(&mut self, committed: &Committed) {
        for shard in committed.shards.iter().map(|shard| shard.number) {
            if !self.is(shard, Standing::Leased) && !self.is(shard, Standing::Committed) {
                self.standings[shard as usize] = Standing::Committed;
                self.elsewhere.push_back(shard);
            }
        }
    }

    /// Begins in the share, each process somewhere else: another one may have the same share.
    fn begin(&mut self, own: &Range<u32>, begun: &BTreeSet<u32>, process: &Process) {
        let mut open: Vec<u32> = self.open(own.clone()).collect();
        if open.is_empty() {
            self.choose(own, begun, process);
            return;
        }
        let first = (open.len() as f64 * process.beginning()) as usize;
        let first = first.min(open.len() - 1);
        open.rotate_left(first);
        self.stretch = open.into();
    }

    /// Chooses neighbouring open shards at random, of the share if any are open there. Returns false if others have begun
    /// all that is open, and this worker has something in hand itself: so much need not be done twice.
    fn choose(&mut self, own: &Range<u32>, begun: &BTreeSet<u32>, process: &Process) -> bool {
        let within = if self.open(own.clone()).next().is_some() { own.clone() } else { self.all() };
        let depths = self.depths(begun);
        let deepest = self.open(within.clone()).map(|shard| depths[shard as usize]).max();
        let deepest: Vec<u32> =
            self.open(within.clone()).filter(|shard| Some(depths[*shard as usize]) == deepest).collect();
        let Some(&first) = deepest.get(process.below(deepest.len())) else { return true };
        if begun.contains(&first) && !self.leases.is_empty() {
            return false;
        }
        let is_free = |shard: &u32| self.is(*shard, Standing::Open) && !begun.contains(shard);
        self.stretch = (first + 1..within.end).take_while(is_free).collect();
        self.stretch.push_front(first);
        true
    }

    /// Returns how far each shard is above what somebody has in hand or has committed, up to [`NEXT_IN_HAND`] and one more;
    /// 0 for what somebody has in hand.
    fn depths(&self, begun: &BTreeSet<u32>) -> Vec<usize> {
        let mut depth = 0;
        let depth_of = |(shard, standing): (u32, &Standing)| {
            let is_end = matches!(standing, Standing::Committed | Standing::Leased) || begun.contains(&shard);
            depth = if is_end { 0 } else { (depth + 1).min(NEXT_IN_HAND + 1) };
            depth
        };
        (0..).zip(&self.standings).map(depth_of).collect()
    }

    fn step(&mut self) -> Step {
        if let Some(shard) = self.elsewhere.pop_front() {
            return Step::Answer(Next::Elsewhere(shard));
        }
        while let Some(shard) = self.stretch.pop_front() {
            if self.is(shard, Standing::Open) {
                return Step::Look(self.lease(shard));
            }
        }
        if self.open(self.all()).next().is_some() {
            return Step::List;
        }
        if !self.leases.is_empty() {
            return Step::Answer(Next::Wait(ASK_AGAIN));
        }
        let mut later = self.standings.iter_mut().filter(|standing| **standing == Standing::Later).peekable();
        if later.peek().is_none() {
            return Step::Answer(Next::Done);
        }
        later.for_each(|standing| *standing = Standing::Open);
        Step::List
    }

    fn lease(&mut self, shard: u32) -> Lease {
        self.num_leases += 1;
        self.leases.insert(self.num_leases, shard);
        self.standings[shard as usize] = Standing::Leased;
        Lease { shard, id: self.num_leases, renew_every: Some(LOOK_EVERY) }
    }

    fn holding(&self, lease: &Lease) -> Result<()> {
        self.leases.contains_key(&lease.id).then_some(()).ok_or_else(|| lease.ended())
    }

    fn end(&mut self, lease: &Lease, standing: Standing) -> Result<()> {
        self.holding(lease)?;
        self.leases.remove(&lease.id);
        self.standings[lease.shard as usize] = standing;
        Ok(())
    }
}

impl WorkSource for ShareFirst {
    fn backlog(&self) -> Backlog {
        self.backlog
    }

    fn likely_tiles(&self) -> u64 {
        self.own_tiles
    }

    fn next(&self) -> BoxFuture<'_, Result<Next>> {
        async {
            loop {
                let step = self.state().step();
                match step {
                    Step::Answer(next) => return Ok(next),
                    Step::Look(lease) => return self.look(lease).await,
                    Step::List => {
                        if !self.list().await? {
                            return Ok(Next::Wait(LOOK_EVERY));
                        }
                    }
                }
            }
        }
        .boxed()
    }

    fn renew<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<()>> {
        self.still_holds(lease).boxed()
    }

    fn another_was_first(&self, _lease: &Lease) {
        self.state().stretch.clear();
    }

    fn done<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<()>> {
        std::future::ready(self.state().end(lease, Standing::Committed)).boxed()
    }

    fn put_back<'a>(&'a self, lease: &'a Lease, how: PutBack) -> BoxFuture<'a, Result<()>> {
        let standing = match how {
            PutBack::Now => Standing::Open,
            PutBack::Later => Standing::Later,
            PutBack::LeftOpen => Standing::LeftOpen,
        };
        std::future::ready(self.state().end(lease, standing)).boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::vocabulary::time::SystemClock;

    fn process(seed: u64) -> Arc<Process> {
        Process::new(Arc::new(SystemClock), format!("worker-{seed}"), seed)
    }

    /// `#`: committed, `-`: leased by us, `.`: open, `o`: open, and another worker has begun it.
    fn state(shards: &str) -> State {
        let standing = |shard: char| match shard {
            '#' => Standing::Committed,
            '-' => Standing::Leased,
            _ => Standing::Open,
        };
        State { standings: shards.chars().map(standing).collect(), ..State::new(0) }
    }

    fn begun(shards: &str) -> BTreeSet<u32> {
        (0..).zip(shards.chars()).filter(|(_, shard)| *shard == 'o').map(|(number, _)| number).collect()
    }

    /// The stretches that a helper without a share chooses, over many seeds.
    fn choices(shards: &str) -> Vec<Vec<u32>> {
        let choice = |seed| {
            let mut state = state(shards);
            state.choose(&(0..0), &begun(shards), &process(seed));
            Vec::from(state.stretch)
        };
        (0..300).map(choice).collect()
    }

    /// Whoever works at the beginning of a gap has work for as long as possible.
    #[test]
    fn a_helper_goes_to_the_end_of_a_gap_and_leaves_its_beginning() {
        let mut firsts = [0; 10];
        for stretch in choices("#.......##") {
            firsts[stretch[0] as usize] += 1;
            assert_eq!(stretch, (stretch[0]..8).collect::<Vec<_>>());
        }
        assert!(firsts[..4].iter().all(|times| *times == 0), "{firsts:?}");
        assert!(firsts[4..8].iter().all(|times| *times > 20), "{firsts:?}");
    }

    /// What somebody probably works on is taken when nothing else is open, what was begun last first.
    #[test]
    fn stragglers_are_taken_last() {
        assert!(choices("#.#..##...#").iter().all(|stretch| *stretch == [9]));
        let last = |shards| choices(shards).into_iter().collect::<BTreeSet<Vec<u32>>>();
        assert_eq!(last("#.##-.#"), [vec![1], vec![5]].into(), "any of them");
        assert_eq!(last("#ooo.##..oo"), [vec![8]].into());
        assert_eq!(
            last("#o##oo#"),
            [vec![1], vec![4], vec![5]].into(),
            "nobody knows whether they are alive"
        );
        assert_eq!(last("###"), [vec![]].into());
    }

    #[test]
    fn what_others_have_begun_waits_while_there_is_other_work_in_hand() {
        let shards = "#o-#";
        let mut busy = State { leases: HashMap::from([(1, 2)]), ..state(shards) };
        assert!(!busy.choose(&(0..0), &begun(shards), &process(0)) && busy.stretch.is_empty());
        busy.end(&Lease { shard: 2, id: 1, renew_every: None }, Standing::Committed).unwrap();
        assert!(busy.choose(&(0..0), &begun(shards), &process(0)));
        assert_eq!(busy.stretch, [1]);
    }

    #[test]
    fn two_workers_on_one_share_begin_apart() {
        let begins = |seed| {
            let mut state = state(&".".repeat(100));
            state.begin(&(40..60), &BTreeSet::new(), &process(seed));
            assert_eq!(state.stretch.len(), 20);
            *state.stretch.front().unwrap()
        };
        assert_ne!(begins(0), begins(u64::MAX / 2));
        assert!((40..60).contains(&begins(u64::MAX)));
    }
}
