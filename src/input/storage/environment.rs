//! The environment variables that stores look at, as a value: tests bring their own.

use std::collections::BTreeMap;

/// Variables and their values. Has no `Debug` on purpose: some of them are secrets.
#[derive(Clone, Default)]
pub(super) struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Captures the process environment; empty values and values that are not UTF-8 are left out.
    pub(super) fn of_process() -> Self {
        let variables = std::env::vars_os().filter_map(|(key, value)| {
            Some((key.into_string().ok()?, value.into_string().ok().filter(|value| !value.is_empty())?))
        });
        Self(variables.collect())
    }

    /// Makes an environment for a test.
    #[cfg(test)]
    pub(super) fn of<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self(variables.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    /// Returns a variable.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Returns the first of several variables that is set.
    pub(super) fn first(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.get(name))
    }

    /// Returns whether a switch is on.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|value| matches!(&*value.to_ascii_lowercase(), "1" | "true" | "yes" | "on"))
    }

    /// Yields the variables that begin with `prefix`, in lower case as `object_store` names them.
    pub(super) fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (String, &'a str)> {
        let from_prefix = self.0.range(prefix.to_owned()..);
        from_prefix
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(key, value)| (key.to_ascii_lowercase(), value.as_str()))
    }
}
