//! What a run takes where a person names something: found by the code that a run finds its sources with.

use std::sync::OnceLock;

use super::Inspector;
use crate::input::source;
use crate::input::source::{Entry, InputSpec, ItemRecord};
use crate::input::storage::{ObjectUri, StoreError};
use crate::stages::worker::spool_folder;
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::identity::SourceUri;

/// So many sources that one argument leads to are looked at; who has more wants a run.
const MAX_SOURCES: u64 = 1000;
/// So many are named where one of them has to be chosen.
const MAX_NAMED: usize = 8;

/// One source of a run: an image, or a STAC item.
#[derive(Clone, Debug)]
pub struct Source {
    /// As rows of a run name it.
    pub uri: SourceUri,
    pub(super) entry: Entry,
    /// What [`Entry::stac_item`] returned.
    item: OnceLock<Option<ItemRecord>>,
}

/// The sources that one argument leads to.
#[derive(Clone, Debug)]
pub struct Sources {
    /// In the order of a run.
    pub sources: Vec<Source>,
    /// What was looked at, if dates, clouds or area leave out some of it.
    pub left_out: Option<String>,
}

impl Source {
    /// Takes an object for a source, whatever it is.
    #[must_use]
    pub fn object(uri: &ObjectUri) -> Self {
        Entry { uri: uri.identity().clone(), ..Entry::default() }.into()
    }

    /// Returns the STAC item that it is, or why it cannot be used; it is parsed once.
    pub(super) fn item(&self) -> Result<Option<&ItemRecord>> {
        if self.item.get().is_none() {
            let _ = self.item.set(self.entry.stac_item()?);
        }
        Ok(self.item.get().and_then(Option::as_ref))
    }

    /// Returns whether it is a STAC item.
    pub(super) fn is_item(&self) -> bool {
        self.entry.item.is_some()
    }
}

impl From<Entry> for Source {
    fn from(entry: Entry) -> Self {
        Self { uri: entry.uri.clone(), entry, item: OnceLock::new() }
    }
}

impl Sources {
    /// Returns the only source.
    ///
    /// # Errors
    ///
    /// `Usage` if there is none, or which of several is meant has to be said.
    pub fn only(self, text: &str) -> Result<Source> {
        match <[Source; 1]>::try_from(self.sources) {
            Ok([source]) => Ok(source),
            Err(sources) if sources.is_empty() => {
                let error = Error::usage(format!("a run finds no sources in {text}"));
                Err(self.left_out.into_iter().fold(error, Error::because))
            }
            Err(sources) => {
                Err(Error::usage(format!("{text} is {} sources, but one is needed", sources.len()))
                    .hint(format!("name one of them: {}", list_of(&sources))))
            }
        }
    }
}

fn list_of(sources: &[Source]) -> String {
    let named = sources.iter().take(MAX_NAMED).map(|source| source.uri.to_string());
    let more = sources.len().saturating_sub(MAX_NAMED);
    let more = (more > 0).then(|| format!("{more} more"));
    named.chain(more).collect::<Vec<_>>().join(", ")
}

impl Inspector {
    /// Returns the sources that a run with these settings takes of an input: an object, a folder, a pattern, a STAC
    /// document, or `DOCUMENT#ITEM`, one item of it.
    ///
    /// # Errors
    ///
    /// `Config` if it cannot be read or holds nothing, `Unavailable` if its store is away, `Usage` if there is no such
    /// item, or if it is more than one would look at.
    pub async fn sources(&self, text: &str) -> Result<Sources> {
        let takes_items = self.items.is_some();
        if let Some((document, item)) = source::item_within(text).filter(|_| takes_items) {
            return self.item(&document, item).await;
        }
        match source::single_object(text, takes_items)? {
            Some(object) => Ok(Sources { sources: vec![Source::object(&object)], left_out: None }),
            None => self.discover(text).await,
        }
    }

    async fn discover(&self, text: &str) -> Result<Sources> {
        let input = InputSpec {
            uris: vec![text.to_owned()],
            look_up: true,
            items: self.items.clone(),
            ..InputSpec::default()
        };
        let spool = spool_folder()?;
        let discovered = source::discover(&input, &self.storage, spool.path()).await?;
        let count = discovered.sources.num_entries;
        if count > MAX_SOURCES {
            return Err(Error::usage(format!("{text} is {count} sources, more than {MAX_SOURCES}"))
                .hint("name some of them; for many, use `tilefleet plan --dry-run`"));
        }
        if count == 0 && self.is_missing(text).await? {
            // Whoever looks at the object says what is wrong.
            return Ok(Sources { sources: vec![Source::object(&ObjectUri::parse(text)?)], left_out: None });
        }
        discovered.require_some()?;
        let sources =
            discovered.sources.entries().map(|entry| entry.map(Source::from)).collect::<Result<_>>()?;
        Ok(Sources { sources, left_out: discovered.filtered.then(|| discovered.summary()) })
    }

    /// Tells whether a text that is no pattern names nothing that can be read.
    async fn is_missing(&self, text: &str) -> Result<bool> {
        let Some(uri) = source::place(text)? else { return Ok(false) };
        match self.storage.bucket(&uri).head(uri.key()).await {
            Ok(_) => Ok(false),
            Err(StoreError::Failed(error)) => Err(error),
            Err(_) => Ok(true),
        }
    }

    /// Returns one item of a document.
    async fn item(&self, document: &ObjectUri, name: &str) -> Result<Sources> {
        let Sources { sources, left_out } = self.discover(document.for_reading()).await?;
        let whole_name = format!("{}#{name}", document.for_reading());
        let by = |is: &dyn Fn(&Source) -> bool| sources.iter().filter(|source| is(source)).cloned().collect();
        let mut found: Vec<Source> = by(&|source| source.uri.for_reading() == whole_name);
        if found.is_empty() {
            found = by(&|source| {
                source.item().is_ok_and(|item| matches!(item, Some(Ok(item)) if item.id == name))
            });
        }
        if found.is_empty() {
            let error = Error::usage(format!("a run finds no item {name} in {document}"));
            let error = left_out.into_iter().fold(error, Error::because);
            return Err(error.hint(format!("its items are {}", list_of(&sources))));
        }
        Ok(Sources { sources: found, left_out: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(count: usize) -> Sources {
        let source =
            |number| Entry { uri: format!("s3://b/{number}.json").into(), ..Entry::default() }.into();
        Sources {
            sources: (0..count).map(source).collect(),
            left_out: Some("2 outside of the area".to_owned()),
        }
    }

    #[test]
    fn one_of_several_has_to_be_named() {
        let refused = |count| sources(count).only("s3://b/").map(|source| source.uri).map_err(|e| e.render());
        assert_eq!(refused(1), Ok("s3://b/0.json".into()));
        assert_eq!(
            refused(0).unwrap_err(),
            "error: a run finds no sources in s3://b/\n  because: 2 outside of the area"
        );
        let several = refused(10).unwrap_err();
        assert!(several.starts_with("error: s3://b/ is 10 sources, but one is needed"), "{several}");
        assert!(several.ends_with("s3://b/7.json, 2 more"), "{several}");
    }
}
