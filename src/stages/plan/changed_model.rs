//! A model in a store that was replaced under its name while a run is not complete.
//!
//! A run is finished with the model that it was planned with. Workers that start after the object was replaced would
//! otherwise plan another run over everything, beside those that still work on the first.

use serde_json::Value;

use super::planner::{Planner, RunSeries, RunSpec};
use crate::input::storage::ObjectUri;
use crate::output::{ModelRecord, Run, RunRecord, Scope};
use crate::vocabulary::contract::{Accept, Contract};
use crate::vocabulary::error::{Error, Result};

impl Planner<'_> {
    /// Refuses to plan a run while one of this pipeline is not complete whose model was another, at the same place of a
    /// store.
    ///
    /// # Errors
    ///
    /// `Config` with the run's id; as the store answers otherwise.
    pub(super) async fn check_model(&self, family: &RunSeries) -> Result<()> {
        if place_of(&self.draft.pipeline).is_none() || !family.snapshot.is_part() {
            return Ok(());
        }
        let snapshot = self.output.snapshot(Scope::All).await?;
        let unfinished = snapshot.runs.iter().filter(|standing| standing.completed().is_none());
        let mut computed = unfinished
            .filter_map(|standing| standing.run.planned())
            .filter(|run| run.id.name() == self.draft.name && !run.record.origin.is_compaction());
        let changed = computed.find_map(|run| Some((&run.id, changed_model(run, self.draft)?)));
        changed.map_or(Ok(()), |(id, changed)| {
            let output = &self.output.uri;
            Err(changed.hint(format!(
                "to finish the run, put the objects back as they were, or give their copy with --model; to begin anew \
                 with what is there now, delete the run first: `tilefleet runs {output} delete {id} --yes --force`"
            )))
        })
    }
}

/// Returns the error that a run cannot be continued with, if its model or contract was another, at the same place of a
/// store.
#[must_use]
pub fn changed_model(run: &Run, draft: &RunSpec) -> Option<Error> {
    let place =
        place_of(&draft.pipeline).filter(|place| place_of(&run.record.pipeline).as_ref() == Some(place))?;
    let change = difference(&run.record, draft)?;
    Some(
        Error::config(format!("the model {place} has changed since run {} was planned", run.id))
            .because(change),
    )
}

/// Returns where a recorded pipeline has its model, if that is an object.
fn place_of(pipeline: &Value) -> Option<ObjectUri> {
    let uri = ObjectUri::parse(pipeline.pointer("/model/file")?.as_str()?).ok()?;
    (!uri.scheme().is_local()).then_some(uri)
}

fn difference(record: &RunRecord, draft: &RunSpec) -> Option<String> {
    let (then, now): (&ModelRecord, _) = (&record.model, &draft.model);
    if then.digest != now.digest {
        return Some(format!("its digest was {}, and is {}", then.digest, now.digest));
    }
    let same_settings = record.pipeline.get("model") == draft.pipeline.get("model");
    let differs = same_settings && of_object(&then.contract) != of_object(&now.contract);
    differs.then(|| "the network is the same, but its contract is another".to_owned())
}

/// What of a contract no other setting changes.
fn of_object(contract: &Contract) -> Contract {
    let mut contract = contract.meaning();
    contract.input.accept = Accept::default();
    contract
}
