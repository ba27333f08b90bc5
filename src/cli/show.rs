//! What several commands print for people.

use crate::commit::Counts;
use crate::plan::Origin;
use crate::reason::Reason;

pub use crate::observe::words::{bytes, count, counted, seconds};

/// Lines for whoever is no terminal are meant for one of so many columns.
const USUAL_WIDTH: usize = 100;

/// Returns the columns of standard output's terminal; `None` if it is none.
#[must_use]
pub fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_col > 0).then_some(size.ws_col.into())
}

/// Writes why a run exists, after its id; nothing for a pipeline's.
#[must_use]
pub fn origin(origin: &Origin) -> String {
    if *origin == Origin::Pipeline { String::new() } else { format!(" ({origin})") }
}

/// Writes outcome counts: a line of totals, then a line a reason with its meaning where that fits.
#[must_use]
pub fn counts(counts: &Counts) -> String {
    counts_within(counts, terminal_width().unwrap_or(USUAL_WIDTH))
}

/// Callers indent the lines by two columns.
const INDENT: usize = 2;

fn counts_within(counts: &Counts, width: usize) -> String {
    let totals = format!(
        "{} ok, {} skipped, {} rejected",
        count(counts.ok),
        count(counts.skipped),
        count(counts.rejected)
    );
    let codes = counts.reasons.keys().map(String::len).max().unwrap_or_default();
    let line = |(code, number): (&String, &u64)| {
        let short = format!("  {:>8}  {code}", count(*number));
        let known = Reason::ALL.iter().find(|reason| reason.code() == code);
        let Some(meaning) = known.map(|reason| reason.meaning().trim_end_matches('.')) else { return short };
        let long = format!("  {:>8}  {code:codes$}  {meaning}", count(*number));
        if long.chars().count() + INDENT <= width { long } else { short }
    };
    std::iter::once(totals).chain(counts.reasons.iter().map(line)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_come_with_their_meaning_where_it_fits() {
        let reasons = [("empty", 1200), ("too_large", 3), ("of_a_newer_version", 1)];
        let reasons = reasons.map(|(code, number)| (code.to_owned(), number)).into();
        let counts = Counts { ok: 5000, skipped: 0, rejected: 1204, reasons };
        assert_eq!(
            counts_within(&counts, 80),
            "5,000 ok, 0 skipped, 1,204 rejected\n     \
             1,200  empty               The object has no bytes\n         \
             1  of_a_newer_version\n         \
             3  too_large"
        );
        assert!(!counts_within(&counts, 40).contains("no bytes"));
    }
}
