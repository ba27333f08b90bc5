//! What earlier runs covered, walked in step with a sorted listing: memory is one record batch a run.
//!
//! A source is new if no run has covered it, or the newest that has saw another version of it, or other values in
//! its row of the manifest: these stand in the table beside what was computed. Nor is a source done if `tiles` shows
//! rows of it that this pipeline has computed with other settings since. Sources that are not listed any more
//! stay as they are; they are counted, so that somebody may hear of it.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array as _, StructArray};
use arrow::row::Rows;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use tokio::runtime::Handle;

use crate::input::source::{Discovered, Entries, Entry, ExtraCodec};
use crate::output::Run;
use crate::output::Source;
use crate::output::sources::SourcesWithExtra;
use crate::vocabulary::error::Result;
use crate::vocabulary::identity::SourceUri;
use crate::vocabulary::words::{counted, form};

/// Yields the sources that no earlier run covered as they are now.
pub(super) struct NewEntries {
    entries: Entries,
    known: KnownSources,
    counts: Counts,
    has_manifest: bool,
    is_limited: bool,
    /// Sources of which only rows with other settings are shown.
    covered_up: HashSet<SourceUri>,
}

#[derive(Default)]
struct Counts {
    new: u64,
    other_version: u64,
    other_values: u64,
    covered_up: u64,
}

/// What an earlier run knows of a source.
enum Seen {
    Never,
    OtherVersion,
    OtherValues,
    CoveredUp,
    Same,
}

impl NewEntries {
    /// Compares what was discovered with what runs covered, oldest run first.
    ///
    /// - `covered_up`: sources that are to be computed again, since `tiles` shows nothing of what was
    pub(super) fn of(
        discovered: &Discovered,
        runs: &[&Run],
        has_manifest: bool,
        covered_up: HashSet<SourceUri>,
    ) -> Result<Self> {
        let known = KnownSources::of(runs, discovered.extra.clone())?;
        let counts = Counts::default();
        let (entries, is_limited) = (discovered.sources.entries(), discovered.limit().is_some());
        Ok(Self { entries, known, counts, has_manifest, is_limited, covered_up })
    }

    fn next_entry(&mut self) -> Result<Option<Entry>> {
        while let Some(entry) = self.entries.next().transpose()? {
            let seen = match self.known.look_for(&entry)? {
                Seen::Same if self.covered_up.contains(&entry.uri) => Seen::CoveredUp,
                seen => seen,
            };
            match seen {
                Seen::Same => continue,
                Seen::CoveredUp => self.counts.covered_up += 1,
                Seen::Never => self.counts.new += 1,
                Seen::OtherVersion => self.counts.other_version += 1,
                Seen::OtherValues => self.counts.other_values += 1,
            }
            return Ok(Some(entry));
        }
        self.known.pass_rest()?;
        self.report();
        Ok(None)
    }

    fn report(&self) {
        let Counts { new, other_version, other_values, covered_up } = self.counts;
        tracing::info!(
            "{} {} new, {other_version} {} changed, {other_values} {} other values",
            counted(new, "source"),
            form(new, "is", "are"),
            form(other_version, "has", "have"),
            form(other_values, "has", "have")
        );
        if covered_up > 0 {
            tracing::warn!(
                "`tiles` shows {} as newer runs of this pipeline with other settings made {}; {} planned again",
                counted(covered_up, "source"),
                form(covered_up, "it", "them"),
                form(covered_up, "it is", "they are")
            );
        }
        let missing = self.known.num_passed;
        // Of what a limit leaves out nobody knows whether it is there.
        if missing == 0 || self.is_limited {
            return;
        }
        let text = format!(
            "{} of earlier runs {} not in the input any more; {} rows stay in the table (`tilefleet runs \
             OUTPUT delete` deletes whole runs)",
            counted(missing, "source"),
            form(missing, "is", "are"),
            form(missing, "its", "their")
        );
        // A folder whose files come and go says so by itself, a manifest is a list of what is meant.
        if self.has_manifest { tracing::warn!("{text}") } else { tracing::info!("{text}") }
    }
}

impl Iterator for NewEntries {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        self.next_entry().transpose()
    }
}

/// The sources that earlier runs covered.
struct KnownSources {
    /// Oldest run first, so that the last hit is the newest version.
    cursors: Vec<Cursor>,
    runtime: Handle,
    codec: Option<Arc<ExtraCodec>>,
    /// How many sources were passed that nobody looked for.
    num_passed: u64,
}

/// Sources of a run, some at a time, and where among them we are.
struct Cursor {
    batches: BoxStream<'static, Result<SourcesWithExtra>>,
    batch: Vec<Source>,
    /// The manifest's columns of the batch, and which of its sources have them.
    values: Option<(Rows, StructArray)>,
    next: usize,
}

impl KnownSources {
    fn of(runs: &[&Run], codec: Option<Arc<ExtraCodec>>) -> Result<Self> {
        let cursor = |run: &&Run| {
            let batches = run.sources.stream_with_extra()?;
            Ok(Cursor { batches, batch: Vec::new(), values: None, next: 0 })
        };
        let cursors = runs.iter().map(cursor).collect::<Result<_>>()?;
        Ok(Self { cursors, runtime: Handle::current(), codec, num_passed: 0 })
    }

    /// Returns whether the newest run that covered this source saw it as it is; calls come in order of URI.
    fn look_for(&mut self, entry: &Entry) -> Result<Seen> {
        while self.pass_one(Some(&entry.uri))? {}
        let mut newest = Seen::Never;
        for cursor in &mut self.cursors {
            let Some(source) = cursor.source().filter(|source| source.uri == entry.uri) else { continue };
            // A retry of some windows says nothing of the others.
            if !source.is_part() {
                // Of what could not be looked at nothing says that it has changed.
                let is_same = entry.in_trouble || source.version.as_deref() == entry.version.as_deref();
                newest = match (is_same, &entry.extra) {
                    (false, _) => Seen::OtherVersion,
                    (true, Some(values)) if cursor.values() != Some(values.as_slice()) => Seen::OtherValues,
                    (true, _) => Seen::Same,
                };
            }
            cursor.next += 1;
        }
        Ok(newest)
    }

    /// Goes to the end of all runs.
    fn pass_rest(&mut self) -> Result<()> {
        while self.pass_one(None)? {}
        Ok(())
    }

    /// Passes the first source that comes before `end`, in all runs that have it; returns whether there was one.
    fn pass_one(&mut self, end: Option<&SourceUri>) -> Result<bool> {
        for cursor in &mut self.cursors {
            cursor.load(&self.runtime, self.codec.as_deref())?;
        }
        let first = self.cursors.iter().filter_map(|cursor| Some(cursor.source()?.uri.clone())).min();
        let Some(first) = first.filter(|first| end.is_none_or(|end| first < end)) else {
            return Ok(false);
        };
        let at_first = |cursor: &&mut Cursor| cursor.source().is_some_and(|source| source.uri == first);
        self.cursors.iter_mut().filter(at_first).for_each(|cursor| cursor.next += 1);
        self.num_passed += 1;
        Ok(true)
    }
}

impl Cursor {
    /// Makes sure that there is a source, unless all were passed.
    fn load(&mut self, runtime: &Handle, codec: Option<&ExtraCodec>) -> Result<()> {
        while self.next == self.batch.len() {
            let Some(batch) = runtime.block_on(self.batches.next()) else { return Ok(()) };
            let (sources, extra) = batch?;
            (self.batch, self.next) = (sources, 0);
            self.values =
                codec.zip(extra).and_then(|(codec, extra)| Some((codec.encode_again(&extra)?, extra)));
        }
        Ok(())
    }

    fn source(&self) -> Option<&Source> {
        self.batch.get(self.next)
    }

    /// Returns the source's values of the manifest's columns, encoded.
    fn values(&self) -> Option<&[u8]> {
        let (rows, extra) = self.values.as_ref()?;
        extra.is_valid(self.next).then(|| rows.row(self.next).data())
    }
}
