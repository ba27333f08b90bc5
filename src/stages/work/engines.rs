//! `--share auto`: what the engines of array jobs tell their tasks.
//!
//! | engine | which one | of how many |
//! |---|---|---|
//! | Kubernetes, Indexed Job | `JOB_COMPLETION_INDEX` | `TILEFLEET_SHARE_COUNT`: Kubernetes does not tell |
//! | SLURM, job array | `SLURM_ARRAY_TASK_ID`, `_MIN`, `_MAX`, `_STEP` | `SLURM_ARRAY_TASK_COUNT` |
//! | AWS Batch, array job | `AWS_BATCH_JOB_ARRAY_INDEX` | `AWS_BATCH_JOB_ARRAY_SIZE`, else `TILEFLEET_SHARE_COUNT` |
//!
//! The first engine in this order that has set its variable counts. What tells one job from another is `TILEFLEET_SHARE_JOB`,
//! else `SLURM_ARRAY_JOB_ID` or `AWS_BATCH_JOB_ID`; Kubernetes sets nothing.

use crate::output::ArrayJob;
use crate::vocabulary::error::{Error, Result};

use super::Share;

/// Says how many workers there are, where the engine does not.
pub const COUNT_VARIABLE: &str = "TILEFLEET_SHARE_COUNT";

/// Tells one array job from another, where the engine does not.
pub const JOB_VARIABLE: &str = "TILEFLEET_SHARE_JOB";

const KUBERNETES: &str = "JOB_COMPLETION_INDEX";
const SLURM: &str = "SLURM_ARRAY_TASK_ID";
const BATCH: &str = "AWS_BATCH_JOB_ARRAY_INDEX";

/// What an engine tells a task of an array job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrayTask {
    /// Its share.
    pub share: Share,
    /// The variable that it was found by.
    pub variable: &'static str,
    /// Its job, as far as told.
    pub job: Option<ArrayJob>,
}

impl ArrayTask {
    /// Returns the task that this process is.
    ///
    /// - `variable`: looks up an environment variable
    ///
    /// # Errors
    ///
    /// `Usage` if no engine has set anything; `Config` if a variable is missing, or variables contradict each other.
    pub fn of_engine(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let variables = Variables(&variable);
        let (share, variable) = variables.share()?;
        let task = variables.number(variable)?;
        let job = variables.job(variable).zip(task).map(|(name, task)| ArrayJob::new(&name, task));
        Ok(Self { share, variable, job })
    }
}

/// The environment of a task.
struct Variables<'a>(&'a dyn Fn(&str) -> Option<String>);

impl Variables<'_> {
    fn share(&self) -> Result<(Share, &'static str)> {
        if let Some(index) = self.number(KUBERNETES)? {
            return Ok((self.counted_by_hand(KUBERNETES, index)?, KUBERNETES));
        }
        if let Some(id) = self.number(SLURM)? {
            return Ok((self.of_slurm(id)?, SLURM));
        }
        if let Some(index) = self.number(BATCH)? {
            return Ok((self.of_batch(index)?, BATCH));
        }
        let none = Error::usage(format!("none of {KUBERNETES}, {SLURM} and {BATCH} is set"));
        Err(Error::usage("`--share auto` finds no array job").because(none).hint(
            "give the share itself, such as 0/4 for the first of four; without a share the worker takes whatever is \
             open",
        ))
    }

    /// Returns a name that no other job has.
    fn job(&self, engine: &str) -> Option<String> {
        if let Some(given) = self.text(JOB_VARIABLE) {
            return Some(given);
        }
        match engine {
            SLURM => {
                let cluster = self.text("SLURM_CLUSTER_NAME").unwrap_or_default();
                Some(format!("slurm {cluster} {}", self.text("SLURM_ARRAY_JOB_ID")?))
            }
            // That of a child is its parent's with the index behind a colon.
            BATCH => Some(format!("batch {}", self.text("AWS_BATCH_JOB_ID")?.split(':').next()?)),
            _ => None,
        }
    }

    /// Returns a variable; one that is empty is not set.
    fn text(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|text| !text.is_empty())
    }

    /// Returns a variable that is a whole number.
    fn number(&self, name: &str) -> Result<Option<u32>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let wrong = || Error::config(format!("{name} is `{text}`, not a whole number")).hint(HOW_ELSE);
        text.trim().parse().map(Some).map_err(|_| wrong())
    }

    fn needed(&self, name: &str, beside: &str) -> Result<u32> {
        let missing = || Error::config(format!("{beside} is set, but {name} is not"));
        self.number(name)?.ok_or_else(|| missing().hint(format!("set {name}, or {HOW_ELSE}")))
    }

    /// The number of workers is what somebody has written beside the job: it may be older than the job's size.
    fn counted_by_hand(&self, name: &str, index: u32) -> Result<Share> {
        let num = self.needed(COUNT_VARIABLE, name)?;
        if num == 0 {
            return Err(contradiction(format!("{COUNT_VARIABLE} is 0")));
        }
        // A job that has grown since: its new workers begin among the others.
        Ok(share(if index < num { index } else { spread(index, num) }, num))
    }

    fn of_batch(&self, index: u32) -> Result<Share> {
        const SIZE: &str = "AWS_BATCH_JOB_ARRAY_SIZE";
        let Some(num) = self.number(SIZE)? else { return self.counted_by_hand(BATCH, index) };
        Share::new(index, num)
            .ok_or_else(|| contradiction(format!("{BATCH} is {index}, but {SIZE} is {num}")))
    }

    /// Ids may have gaps (`--array=3,7`): a task's position among them counts, not its id.
    fn of_slurm(&self, id: u32) -> Result<Share> {
        let needed = |name: &str| self.needed(name, SLURM);
        let num = needed("SLURM_ARRAY_TASK_COUNT")?;
        let (min, max) = (needed("SLURM_ARRAY_TASK_MIN")?, needed("SLURM_ARRAY_TASK_MAX")?);
        let step = self.number("SLURM_ARRAY_TASK_STEP")?.unwrap_or(1);
        if num == 0 || id < min || id > max || num - 1 > max - min || (num == 1 && min != max) {
            return Err(contradiction(format!(
                "SLURM_ARRAY_TASK_ID is {id}, _COUNT {num}, _MIN {min}, _MAX {max}"
            )));
        }
        Ok(share(position(id, min, max, num, step), num))
    }
}

/// Returns the position of an id among `num` ids from `min` to `max`; one that nobody else is likely to have, where it
/// cannot be known.
fn position(id: u32, min: u32, max: u32, num: u32, step: u32) -> u32 {
    let is_regular = |step: u32| u64::from(step) * u64::from(num - 1) == u64::from(max - min);
    let step = if is_regular(1) { 1 } else { step };
    match id {
        // The first and the last are always known, whatever lies between.
        _ if id == min => 0,
        _ if id == max => num - 1,
        _ if is_regular(step) && (id - min).is_multiple_of(step) => (id - min) / step,
        _ => 1 + spread(id, num - 2),
    }
}

/// Returns a position below `num` for any id, the same each time: those of neighbouring ids lie far apart, and seldom
/// two are the same.
///
/// # Reference
///
/// Multiplicative hashing by the golden ratio: Knuth, "The Art of Computer Programming", volume 3, section 6.4.
fn spread(id: u32, num: u32) -> u32 {
    let hash = u64::from(id).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    ((hash * u64::from(num)) >> 32) as u32
}

fn share(index: u32, num: u32) -> Share {
    Share::new(index, num).expect("every position is below the number of workers")
}

const HOW_ELSE: &str = "give the share itself, such as 0/4 for the first of four";

fn contradiction(what: String) -> Error {
    Error::config("the variables of the array job contradict each other")
        .because(Error::config(what))
        .hint(HOW_ELSE)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn found(variables: &[(&str, &str)]) -> Result<ArrayTask> {
        let set =
            |name: &str| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
        ArrayTask::of_engine(set)
    }

    fn both(variables: &[(&str, &str)]) -> (Share, &'static str) {
        let task = found(variables).unwrap();
        (task.share, task.variable)
    }

    fn text(variables: &[(&str, &str)]) -> String {
        found(variables).unwrap().share.to_string()
    }

    fn slurm(id: u32, [num, min, max]: [u32; 3], step: Option<u32>) -> Result<ArrayTask> {
        let numbers = [id, num, min, max].map(|number| number.to_string());
        let names = ["ID", "COUNT", "MIN", "MAX"].map(|name| format!("SLURM_ARRAY_TASK_{name}"));
        let mut set: Vec<(&str, &str)> =
            names.iter().zip(&numbers).map(|(name, number)| (name.as_str(), number.as_str())).collect();
        let step = step.map(|step| step.to_string());
        set.extend(step.as_deref().map(|step| ("SLURM_ARRAY_TASK_STEP", step)));
        found(&set)
    }

    /// The indices that the tasks with these ids get.
    fn indices(ids: &[u32], step: Option<u32>) -> Vec<u32> {
        let shape = [ids.len() as u32, ids[0], ids[ids.len() - 1]];
        let index = |id: &u32| slurm(*id, shape, step).unwrap().share.index;
        ids.iter().map(index).collect()
    }

    #[test]
    fn kubernetes_tells_the_index_and_the_job_the_count() {
        let job = [("JOB_COMPLETION_INDEX", "2"), ("TILEFLEET_SHARE_COUNT", "5")];
        assert_eq!(both(&job), (share(2, 5), "JOB_COMPLETION_INDEX"));
        let error = found(&job[..1]).unwrap_err();
        assert_eq!(error.kind().exit_code(), 78);
        assert!(error.render().contains("TILEFLEET_SHARE_COUNT is not"), "{}", error.render());
    }

    /// An Indexed Job can grow, and its template cannot change: the count is that from before.
    #[test]
    fn a_job_that_has_grown_still_gives_shares() {
        let begins = |index: u32| text(&[(KUBERNETES, index.to_string().as_str()), (COUNT_VARIABLE, "8")]);
        let new: BTreeSet<String> = (8..16).map(begins).collect();
        assert!(new.len() >= 6, "they begin at different places: {new:?}");
    }

    #[test]
    fn slurm_ids_count_by_position() {
        assert_eq!(indices(&[0, 1, 2, 3], Some(1)), [0, 1, 2, 3]);
        assert_eq!(indices(&[1, 2, 3], None), [0, 1, 2]);
        assert_eq!(indices(&[3, 7], None), [0, 1]);
        assert_eq!(indices(&[5], None), [0]);
        assert_eq!(indices(&[4, 6, 8, 10], Some(2)), [0, 1, 2, 3]);
        assert_eq!(indices(&[0, 9, 100], Some(1)), [0, 1, 2], "of three the middle one is known");
    }

    /// Neither first nor last, and no rule: most begin somewhere of their own, and always at the same place.
    #[test]
    fn slurm_ids_with_gaps_are_spread() {
        let ids: Vec<u32> = (0..10).chain(20..30).chain([77]).collect();
        let indices = indices(&ids, Some(1));
        assert_eq!((indices[0], indices[20]), (0, 20));
        assert!(indices.iter().all(|index| *index < 21));
        let different: BTreeSet<&u32> = indices.iter().collect();
        assert!(different.len() >= 14, "{indices:?}");
    }

    #[test]
    fn batch_tells_both_or_the_job_does() {
        let index = ("AWS_BATCH_JOB_ARRAY_INDEX", "9");
        assert_eq!(text(&[index, ("AWS_BATCH_JOB_ARRAY_SIZE", "10")]), "9/10");
        assert_eq!(text(&[index, ("TILEFLEET_SHARE_COUNT", "12")]), "9/12");
        assert_eq!(found(&[index]).unwrap_err().kind().exit_code(), 78);
    }

    #[test]
    fn the_order_of_engines_is_fixed() {
        let all = [
            (BATCH, "1"),
            ("AWS_BATCH_JOB_ARRAY_SIZE", "2"),
            (SLURM, "3"),
            ("SLURM_ARRAY_TASK_COUNT", "4"),
            ("SLURM_ARRAY_TASK_MIN", "0"),
            ("SLURM_ARRAY_TASK_MAX", "3"),
            (KUBERNETES, "5"),
            (COUNT_VARIABLE, "6"),
        ];
        assert_eq!(both(&all), (share(5, 6), KUBERNETES));
        assert_eq!(both(&all[..6]), (share(3, 4), SLURM));
        assert_eq!(both(&all[..2]), (share(1, 2), BATCH));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let outside = slurm(9, [4, 0, 3], None).unwrap_err();
        let crowded = slurm(1, [9, 0, 3], None).unwrap_err();
        let beyond = found(&[(BATCH, "4"), ("AWS_BATCH_JOB_ARRAY_SIZE", "4")]).unwrap_err();
        let none = found(&[(KUBERNETES, "0"), (COUNT_VARIABLE, "0")]).unwrap_err();
        let words = found(&[(SLURM, "first")]).unwrap_err();
        for error in [outside, crowded, beyond, none, words] {
            assert_eq!(error.kind().exit_code(), 78, "{}", error.render());
            assert!(error.render().contains("such as 0/4"), "{}", error.render());
        }
    }

    /// All tasks of a job say the same, those of the next one something else.
    #[test]
    fn a_job_is_told_from_others() {
        let batch = |index: &str, id: &str| {
            let size = ("AWS_BATCH_JOB_ARRAY_SIZE", "4");
            found(&[(BATCH, index), size, ("AWS_BATCH_JOB_ID", id)]).unwrap().job
        };
        let job_of =
            |task: Option<ArrayJob>| task.unwrap().task_name().split_once(" of ").unwrap().1.to_owned();
        let (first, last) = (batch("0", "a1:0"), batch("3", "a1:3"));
        assert_ne!(first, last);
        assert_eq!(batch("3", "a1:3"), last, "a task that is started again is the same");
        assert_eq!(job_of(first.clone()), job_of(last));
        assert_ne!(job_of(first), job_of(batch("0", "b2:0")));
        let kubernetes = [(KUBERNETES, "0"), (COUNT_VARIABLE, "4"), (JOB_VARIABLE, "uid")];
        assert_eq!(found(&kubernetes).unwrap().job, Some(ArrayJob::new("uid", 0)));
        assert_eq!(found(&kubernetes[..2]).unwrap().job, None);
    }

    #[test]
    fn outside_of_an_array_there_is_no_share() {
        let error = found(&[("TILEFLEET_SHARE_COUNT", "4"), (SLURM, "")]).unwrap_err();
        assert_eq!(error.kind().exit_code(), 64);
    }
}
