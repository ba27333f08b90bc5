//! Class names: where an Item lists them, and in which spelling.
//!
//! The extension writes `classification:classes`; its own reader, stac-model, also takes `classification_classes`
//! and `classes`. No list is passed over: one that cannot be read, or under a key that is nearly right, is an error.

use serde_json::{Map, Value};

use crate::vocabulary::error::{Error, Result};

/// The extension's key, and those that its own reader takes.
const KEYS: [&str; 3] = ["classification:classes", "classification_classes", "classes"];
/// What others call such a list, in lower-case letters and digits.
const OTHER_KEYS: [&str; 12] = [
    "classificationclasses",
    "classificationclass",
    "class",
    "classes",
    "classnames",
    "classlabels",
    "classmap",
    "classmapping",
    "classnamemapping",
    "labels",
    "labelnames",
    "categories",
];
const HOW: &str = "write `\"classification:classes\": [{\"value\": 0, \"name\": \"sea\"}, …]`, a class's value being its position \
                   in the model's output";

/// Returns the class names of an output in order of class id; `None` if it lists none.
///
/// # Errors
///
/// [`Kind::Config`](crate::vocabulary::error::Kind::Config): the list cannot be read, two lists differ, or it has a key that
/// the extension does not know.
pub(crate) fn of_output(fields: &Map<String, Value>) -> Result<Option<Vec<String>>> {
    match of_keys(fields, &KEYS)? {
        Some(labels) => Ok(Some(labels)),
        None => no_other_list(fields).map(|()| None),
    }
}

/// Returns those of an Item's properties, or of its model's asset, where `classes` alone may mean anything.
///
/// # Errors
///
/// As [`of_output`].
pub(crate) fn of_place(fields: &Map<String, Value>) -> Result<Option<Vec<String>>> {
    of_keys(fields, &KEYS[..2])
}

fn of_keys(fields: &Map<String, Value>, keys: &[&str]) -> Result<Option<Vec<String>>> {
    let mut found: Option<(&str, Vec<String>)> = None;
    for key in keys {
        let Some(list) = fields.get(*key).filter(|list| !is_empty(list)) else { continue };
        let labels = read(key, list)?;
        match &found {
            Some((first, others)) if *others != labels => {
                return Err(Error::config(format!("`{first}` and `{key}` list different classes"))
                    .hint("leave one of them"));
            }
            _ => found = Some((key, labels)),
        }
    }
    Ok(found.map(|(_, labels)| labels))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

fn no_other_list(fields: &Map<String, Value>) -> Result<()> {
    let plain = |key: &str| -> String {
        key.chars().filter(|letter| letter.is_alphanumeric()).collect::<String>().to_lowercase()
    };
    let is_list = |value: &Value| (value.is_array() || value.is_object()) && !is_empty(value);
    let looks_like =
        |(key, value): &(&String, &Value)| is_list(value) && OTHER_KEYS.contains(&plain(key).as_str());
    match fields.iter().find(looks_like) {
        None => Ok(()),
        Some((key, _)) => Err(Error::config(format!(
            "the output lists classes as `{key}`, which is not a key of the extension"
        ))
        .hint(HOW)),
    }
}

/// Reads a list of objects with a value each, or of plain names in the model's order.
fn read(key: &str, list: &Value) -> Result<Vec<String>> {
    let wrong = |why: String| Error::config(format!("`{key}` cannot be read")).because(why).hint(HOW);
    let Value::Array(items) = list else {
        return Err(wrong("it is not a list".to_owned()));
    };
    if let Some(names) = items.iter().map(plain_name).collect() {
        return Ok(names);
    }
    let mut classes = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let class = item.as_object().and_then(|class| Some((class_id(class.get("value")?)?, class)));
        classes.push(class.ok_or_else(|| {
            wrong(format!("the `value` of class {} is not a whole number: {item}", at + 1))
        })?);
    }
    classes.sort_by_key(|(value, _)| *value);
    if classes.iter().enumerate().any(|(index, (value, _))| *value != index as u64) {
        return Err(Error::config(format!("the values of `{key}` are not 0, 1, 2, …"))
            .hint("a class's value is its position in the model's output"));
    }
    Ok(classes.into_iter().map(|(value, class)| label(value, class)).collect())
}

fn plain_name(item: &Value) -> Option<String> {
    match item {
        Value::String(name) => Some(name.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A whole number, however JSON writes it: the extension's reader takes `1.0` and `"1"` as well.
fn class_id(value: &Value) -> Option<u64> {
    let whole =
        |number: f64| (number >= 0.0 && number.fract() == 0.0 && number < 1e15).then_some(number as u64);
    match value {
        Value::Number(number) => number.as_u64().or_else(|| number.as_f64().and_then(whole)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn label(value: u64, class: &Map<String, Value>) -> String {
    let text = |key| class.get(key).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
    let found = ["name", "title", "description"].into_iter().find_map(text);
    found.map_or_else(|| value.to_string(), str::to_owned)
}
