//! In what a pipeline differs from the runs that an output has: for messages, key by key with both values.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::output::{ModelRecord, RunRecord};
use crate::vocabulary::contract::Contract;

/// Longest value that is shown whole, in characters.
const LONGEST_VALUE: usize = 60;
/// Keys that are named at most.
const MAX_KEYS: usize = 8;

/// What a run's rows follow from.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    pub(super) model: &'a ModelRecord,
    pub(super) pipeline: &'a Value,
}

impl<'a> Side<'a> {
    pub(super) fn of(record: &'a RunRecord) -> Self {
        Self { model: &record.model, pipeline: &record.pipeline }
    }

    /// What all rows of one table share: its columns, and what a class id means.
    fn table(&self) -> Facts {
        let Self { model: ModelRecord { contract, .. }, pipeline } = self;
        let mut facts = Facts::default();
        facts.add("output.embedding", pipeline.pointer("/output/embedding").cloned());
        // Any grid of windows gives the same columns.
        let grid = pipeline.pointer("/tiles/grid").and_then(Value::as_str);
        facts.add("tiles.grid", grid.map(|grid| if grid == "whole" { grid } else { "windows" }.into()));
        facts.add("embedding_length of the contract", Some(contract.output.embedding_length.into()));
        let classifier = contract.output.classifier.as_ref();
        let classes = classifier.map_or(Value::Null, |classifier| classifier.num_classes.into());
        facts.add("num_classes of the contract", Some(classes));
        if let Some(classifier) = classifier {
            facts.add("activation of the contract", Some(classifier.activation.to_string().into()));
            facts.add("labels of the contract", serde_json::to_value(&classifier.labels).ok());
        }
        facts
    }

    /// What a row's numbers follow from, and the name of the pipeline's runs.
    fn meaning(&self) -> Facts {
        let mut facts = Facts::default();
        facts.add("name", self.pipeline.get("name").cloned());
        for key in ["output.embedding", "output.top_k", "run.precision"] {
            facts.add(key, self.pipeline.pointer(&format!("/{}", key.replace('.', "/"))).cloned());
        }
        facts.add_all("tiles", self.pipeline.get("tiles").unwrap_or(&Value::Null));
        facts.add("the model's SHA-256", Some(self.model.digest.clone().into()));
        let contract: Contract = self.model.contract.meaning();
        facts.add_all("contract", &serde_json::to_value(contract).unwrap_or_default());
        facts
    }
}

/// Values by key.
#[derive(Default)]
struct Facts(BTreeMap<String, Value>);

impl Facts {
    fn add(&mut self, key: &str, value: Option<Value>) {
        self.0.extend(value.map(|value| (key.to_owned(), value)));
    }

    /// Adds the leaves of nested objects.
    fn add_all(&mut self, key: &str, value: &Value) {
        match value {
            Value::Object(members) => {
                members.iter().for_each(|(name, value)| self.add_all(&format!("{key}.{name}"), value));
            }
            leaf => self.add(key, Some(leaf.clone())),
        }
    }

    /// Names what differs. Settings that one side does not know, being of another version, are left out.
    fn differences(&self, ours: &Self) -> Vec<String> {
        let both = self.0.iter().filter_map(|(key, theirs)| Some((key, theirs, ours.0.get(key)?)));
        let different: Vec<_> = both.filter(|(_, theirs, ours)| theirs != ours).collect();
        let named = different.iter().take(MAX_KEYS).map(|(key, theirs, ours)| difference(key, theirs, ours));
        let mut named: Vec<String> = named.collect();
        if different.len() > MAX_KEYS {
            named.push(format!("and {} more", different.len() - MAX_KEYS));
        }
        named
    }
}

/// Of lists the first place that differs is named, so that the difference is seen in long ones.
fn difference(key: &str, theirs: &Value, ours: &Value) -> String {
    if let (Value::Array(theirs), Value::Array(ours)) = (theirs, ours)
        && theirs.len() == ours.len()
        && let Some(at) = theirs.iter().zip(ours).position(|(theirs, ours)| theirs != ours)
    {
        return format!(
            "value {} of {key} is {} there and {} here",
            at + 1,
            short(&theirs[at]),
            short(&ours[at])
        );
    }
    format!("{key} is {} there and {} here", short(theirs), short(ours))
}

fn short(value: &Value) -> String {
    let text = match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => format!("`{text}`"),
        other => other.to_string(),
    };
    match text.char_indices().nth(LONGEST_VALUE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Names what makes the rows of both sides another table each.
pub(super) fn of_tables(theirs: Side<'_>, ours: Side<'_>) -> Vec<String> {
    theirs.table().differences(&ours.table())
}

/// Names what makes both sides other work.
pub(super) fn of_meanings(theirs: Side<'_>, ours: Side<'_>) -> Vec<String> {
    theirs.meaning().differences(&ours.meaning())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const CONTRACT: &str = r#"{"contract":1,"name":"toy","input":{"tensor":"x","layout":"nhwc","sample_type":"uint8","bands":["red"],"unit":"dn","width":8,"height":8},"output":{"embedding":"e","embedding_length":4,"classifier":{"logits":"l","num_classes":2,"activation":"softmax","labels":["sea","land"]}}}"#;

    fn model() -> ModelRecord {
        ModelRecord {
            file: "m".to_owned(),
            digest: "00ff".to_owned(),
            contract_digest: String::new(),
            contract_origin: "file".to_owned(),
            contract: Contract::from_json(CONTRACT).unwrap(),
        }
    }

    fn pipeline() -> Value {
        json!({"name": "photos", "output": {"embedding": "float32", "top_k": 5}, "run": {"precision": "auto"},
               "tiles": {"grid": "whole", "bands": []}})
    }

    fn differ(change: impl Fn(&mut ModelRecord, &mut Value)) -> [Vec<String>; 2] {
        let (model, pipeline) = (model(), pipeline());
        let (mut other_model, mut other_pipeline) = (model.clone(), pipeline.clone());
        change(&mut other_model, &mut other_pipeline);
        let theirs = Side { model: &model, pipeline: &pipeline };
        let ours = Side { model: &other_model, pipeline: &other_pipeline };
        [of_tables(theirs, ours), of_meanings(theirs, ours)]
    }

    #[test]
    fn each_key_that_differs_is_named_with_both_values() {
        let said = differ(|_, pipeline| pipeline["output"]["embedding"] = "float16".into());
        assert_eq!(said, [["output.embedding is `float32` there and `float16` here"]; 2]);
        let [tables, meanings] = differ(|_, pipeline| {
            pipeline["tiles"]["bands"] = json!(["B4"]);
            pipeline["output"]["top_k"] = 3.into();
        });
        assert!(tables.is_empty());
        assert_eq!(
            meanings,
            ["output.top_k is 5 there and 3 here", "tiles.bands is [] there and [\"B4\"] here"]
        );
        let [tables, _] = differ(|model, pipeline| {
            let classifier = model.contract.output.classifier.as_mut().unwrap();
            classifier.labels.as_mut().unwrap()[1] = "rock".to_owned();
            classifier.activation = crate::vocabulary::contract::Activation::Sigmoid;
            model.contract.output.embedding_length = 8;
            pipeline["tiles"]["grid"] = "regular".into();
        });
        assert_eq!(
            tables,
            [
                "activation of the contract is `softmax` there and `sigmoid` here",
                "embedding_length of the contract is 4 there and 8 here",
                "value 2 of labels of the contract is `land` there and `rock` here",
                "tiles.grid is `whole` there and `windows` here",
            ]
        );
        let [tables, _] = differ(|model, _| model.contract.output.classifier = None);
        assert_eq!(tables, ["num_classes of the contract is 2 there and none here"]);
        assert_eq!(differ(|model, _| model.digest = "aa".to_owned())[0], Vec::<String>::new());
    }

    #[test]
    fn long_values_and_many_keys_are_cut() {
        let [_, meanings] = differ(|_, pipeline| pipeline["name"] = "x".repeat(500).into());
        assert!(meanings[0].chars().count() < 120, "{meanings:?}");
        let (model, mut ours) = (model(), pipeline());
        let mut theirs = pipeline();
        for key in 0..20 {
            theirs["tiles"][format!("key{key}")] = 1.into();
            ours["tiles"][format!("key{key}")] = 2.into();
        }
        theirs["tiles"]["of_another_version"] = 1.into();
        let side = |pipeline| Side { model: &model, pipeline };
        let said = of_meanings(side(&theirs), side(&ours));
        assert_eq!((said.len(), said[8].as_str()), (9, "and 12 more"));
    }
}
