//! Which requests were made, and what came of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::turns::Verb;

/// Numbers of requests by what they ask for, and what came of them.
#[derive(Clone, Debug, Default)]
pub struct Coverage(BTreeMap<(Verb, &'static str), BTreeMap<&'static str, u64>>);

impl Coverage {
    pub fn add(&mut self, verb: Verb, key: &str, what: &'static str) {
        *self.0.entry((verb, kind_of(key))).or_default().entry(what).or_default() += 1;
    }

    pub fn merge(&mut self, other: Self) {
        for (request, outcomes) in other.0 {
            for (what, number) in outcomes {
                *self.0.entry(request).or_default().entry(what).or_default() += number;
            }
        }
    }

    /// Returns how often this came of such requests.
    pub fn number(&self, verb: Verb, kind: &str, what: &str) -> u64 {
        let of = |(at, outcomes): (&(Verb, &'static str), &BTreeMap<&'static str, u64>)| {
            if *at == (verb, kind) { outcomes.get(what).copied() } else { None }
        };
        self.0.iter().find_map(of).unwrap_or(0)
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: BTreeSet<&str> = self.0.values().flat_map(|outcomes| outcomes.keys().copied()).collect();
        write!(f, "| request |")?;
        columns.iter().try_for_each(|column| write!(f, " {column} |"))?;
        write!(f, "\n|---|{}", "--:|".repeat(columns.len()))?;
        for ((verb, kind), outcomes) in &self.0 {
            write!(f, "\n| {} {kind} |", verb.name())?;
            for column in &columns {
                write!(f, " {} |", outcomes.get(column).unwrap_or(&0))?;
            }
        }
        Ok(())
    }
}

/// Says what kind of object lies at a key, or below it.
fn kind_of(key: &str) -> &'static str {
    const KINDS: [(&str, &str); 15] = [
        ("/begun", "note"),
        ("/deleted.json", "tombstone"),
        ("/replaces/", "decision"),
        ("/run.json", "run.json"),
        ("/summary.json", "summary"),
        ("/accepted.json", "acceptance"),
        ("/sources.parquet", "sources"),
        ("/plan/part-", "part of the plan"),
        ("/shard-", "shard"),
        ("/output.json", "output.json"),
        ("/create-only-probe.txt", "probe"),
        ("/attempts", "attempts"),
        ("/_tilefleet", "records"),
        ("/tiles", "table"),
        ("input", "input"),
    ];
    KINDS.iter().find(|(part, _)| key.contains(part)).map_or("other", |(_, kind)| kind)
}
