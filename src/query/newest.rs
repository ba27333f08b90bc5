//! Which rows are the newest: for every source those of the newest completed run.

use std::collections::HashSet;
use std::sync::Arc;

use crate::error::Result;
use crate::plan::{Output, Run};
use crate::storage::Fault;

/// Sources looked at in one go.
const SOURCES_AT_ONCE: u64 = 1 << 16;

/// The rows that `tiles` shows.
#[derive(Debug, Default)]
pub(super) struct Newest {
    /// Runs of which any row is shown.
    pub(super) runs: Vec<String>,
    /// In those: run and source of rows that a newer run replaces.
    pub(super) replaced: Vec<(String, Arc<str>)>,
}

impl Newest {
    /// Compares completed runs.
    ///
    /// Of runs that have nothing in common but the output, the one planned later is newer.
    ///
    /// Memory: the URIs of all sources, if there is more than one completed run.
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub(super) async fn of(output: &Output, completed: &[&Run]) -> Result<Self> {
        if let [only] = completed {
            return Ok(Self { runs: vec![only.id.to_string()], replaced: Vec::new() });
        }
        let mut newest = Self::default();
        let mut seen: HashSet<Arc<str>> = HashSet::new();
        for run in newest_first(output, completed).await? {
            let mut replaced = Vec::new();
            let num_sources = run.record.plan.sources;
            for first in (0..num_sources).step_by(SOURCES_AT_ONCE as usize) {
                let range = first..(first + SOURCES_AT_ONCE).min(num_sources);
                for source in run.sources.read(range).await?.sources {
                    if !seen.insert(source.uri.clone()) {
                        replaced.push((run.id.to_string(), source.uri));
                    }
                }
            }
            if (replaced.len() as u64) < num_sources {
                newest.runs.push(run.id.to_string());
                newest.replaced.append(&mut replaced);
            }
        }
        Ok(newest)
    }
}

async fn newest_first<'a>(output: &Output, completed: &[&'a Run]) -> Result<Vec<&'a Run>> {
    let mut runs = Vec::with_capacity(completed.len());
    for &run in completed {
        let key = output.layout.run_json(&run.id);
        let info = output.bucket.head(&key).await.map_err(|fault: Fault| fault.into_error(&key))?;
        runs.push((info.modified, run));
    }
    runs.sort_by(|(a_time, a), (b_time, b)| {
        // Within a family the sequence says it, whatever a copy did to the times.
        let by_sequence = (a.id.family() == b.id.family()).then(|| b.id.sequence().cmp(&a.id.sequence()));
        by_sequence.unwrap_or_else(|| b_time.cmp(a_time).then_with(|| b.id.cmp(&a.id)))
    });
    Ok(runs.into_iter().map(|(_, run)| run).collect())
}
